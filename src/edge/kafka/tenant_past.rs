//! Owns the question whether the past of a tenant can still be judged in order: what the processor has judged of the tenant, and
//! what it has not read yet. Read-only; processes may run meanwhile.
//!
//! The state says how far the time of the tenant has moved, and the offsets from which the processor reads on. Only from there
//! on the source topics are read, so the cost is that of one shard of state and of the processor's lag. Without state
//! they are read from what was written a day before the instant in question.
//!
//! Not looked at: messages of the tenant in partitions of others, until the processor has rerouted and judged them; and what is
//! written meanwhile.

use super::client::{self, CallError, is_permanent};
use super::client_log::{self, LoggedContext};
use super::control::Stop;
use super::patience::Patience;
use super::restore::compacted_reader::{Collector, CompactedConsumer, CompactedReader};
use super::topics::{self, TopicsError};
use crate::codec::{self, Encoding};
use crate::config::Config;
use crate::dataflow::state::StateLoader;
use crate::domain::event::progress::Incoming;
use crate::domain::id::TenantId;
use crate::domain::shard::partitioner::shard;
use crate::domain::shard::tenant_clock::TenantClock;
use crate::domain::source::{ShardId, Source, Topic};
use crate::domain::time::{Span, Timestamp};
use crate::edge::memory::MemoryBudget;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::{Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Timeout of a broker request.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long messages are read before progress is checked.
const READ_TIME: Duration = Duration::from_millis(20);
/// Reading fails after this time without progress: no transaction of the processor or the gateway is open longer.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long before its date an event may have been written.
const MARGIN: Span = Span::DAY;

/// What was judged or sent of a tenant could not be determined.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// A call failed permanently.
    #[error("{0}; the right Read or Describe on the topic of state or on a source topic may be missing")]
    Call(#[from] CallError),
    /// The topics are missing or wrong.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// Reading makes no progress.
    #[error(
        "read {topic}: no progress for {} s; a transaction may be open, or the brokers may be unreachable",
        STALL_TIMEOUT.as_secs()
    )]
    Stuck {
        /// The topic.
        topic: String,
    },
}

/// What was judged and sent of a tenant.
#[derive(Debug, Default)]
pub struct TenantPast {
    /// Whether the processor has state of it.
    is_judged: bool,
    /// Its time, with what was not read yet.
    clock: TenantClock,
}

impl TenantPast {
    /// Asks the topics of the processor. `from` is the instant in question.
    pub fn read(config: &Config, tenant: &TenantId, from: Timestamp) -> Result<Self, PastError> {
        let memory = MemoryBudget::detect();
        let state = CompactedConsumer::<Clocks>::new(&config.kafka, memory, &config.topics.state)?;
        let (client, stop) = (state.metadata_client.client(), Stop::default());
        let mut patience = Patience::limited(&stop);
        let crm = &config.topics.sources[Topic::Crm].name;
        let shards = topics::partition_count(client, config, crm, &mut patience)?.unwrap_or_default();
        let shard = shard(tenant.as_str(), u32::try_from(shards).unwrap_or_default().max(1));
        // Topics that the processor needs may not exist yet.
        let stored = topics::partition_count(client, config, &config.topics.state, &mut patience)?.unwrap_or_default();
        let Clocks(state) = match stored {
            0 => Clocks::default(),
            _ => read_state(&state, shard)?,
        };
        let clock = state.clock(tenant);
        let mut past = Self { is_judged: clock.is_some(), clock: clock.cloned().unwrap_or_default() };
        past.read_on(config, tenant, shard, &state, from)?;
        Ok(past)
    }

    /// The latest date that is known of the tenant, if what is dated from `from` on would come too late: the time of the tenant
    /// has passed it or is going to.
    ///
    /// Another source may be filling in its own past. While its marks are not later than `from`, they keep the time of the
    /// tenant back for all its sources.
    pub fn later_than(&self, from: Timestamp) -> Option<Timestamp> {
        let TenantClock { watermark, seen, marks, .. } = &self.clock;
        let is_held_back = marks.iter().any(|mark| mark.backfill && mark.up_to <= from);
        if is_held_back && *watermark <= from {
            return None;
        }
        let seen = seen.iter().map(|(_, seen)| seen.at);
        let latest = seen.chain(marks.iter().map(|mark| mark.up_to)).fold(*watermark, Timestamp::max);
        // The time of a tenant that was judged and is silent follows the wall clock.
        let is_late = latest > from || self.is_judged;
        (is_late && latest > Timestamp::MIN).then_some(latest)
    }

    /// Reads what the processor has not read.
    fn read_on(
        &mut self,
        config: &Config,
        tenant: &TenantId,
        shard: ShardId,
        state: &StateLoader,
        from: Timestamp,
    ) -> Result<(), PastError> {
        let consumer = client::state_consumer(&config.kafka, MemoryBudget::detect())?;
        let ends = client::metadata_client(&config.kafka)?;
        for topic in Topic::ALL {
            let name = &config.topics.sources[topic].name;
            let failed = CallError::of("read a source topic");
            let mut progress = Instant::now();
            let stuck = |since: &Instant| match since.elapsed() > STALL_TIMEOUT {
                true => Err(PastError::Stuck { topic: name.clone() }),
                false => Ok(()),
            };
            let (mut position, end) = loop {
                match bounds(&ends, (name, shard), state, topic, from) {
                    Ok(bounds) => break bounds,
                    Err(cause) if is_permanent(&cause) => return Err(failed(cause).into()),
                    Err(error) => tracing::debug!("query the bounds of {name} [{shard}]: {error}; retrying"),
                }
                stuck(&progress)?;
            };
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition_offset(name, shard.partition(), Offset::Offset(position)).map_err(&failed)?;
            consumer.assign(&list).map_err(&failed)?;
            while position < end {
                stuck(&progress)?;
                let message = match consumer.poll(READ_TIME) {
                    Some(Ok(message)) => message,
                    None | Some(Err(KafkaError::PartitionEOF(_))) => {
                        // The end may be one of a transaction, which is no message.
                        let at = consumer.position().map_err(&failed)?;
                        if let Some(Offset::Offset(at)) =
                            at.find_partition(name, shard.partition()).map(|at| at.offset())
                        {
                            position = position.max(at);
                        }
                        continue;
                    }
                    Some(Err(cause)) if is_permanent(&cause) => return Err(failed(cause).into()),
                    Some(Err(error)) => {
                        client_log::error(&error, &format!("read {name}: {error}"));
                        continue;
                    }
                };
                if message.topic() != name || message.offset() < position {
                    continue;
                }
                (position, progress) = (message.offset() + 1, Instant::now());
                let headers = message.headers().into_iter().flat_map(Headers::iter);
                let content_type = headers.filter(|header| header.key.eq_ignore_ascii_case("content-type")).last();
                let encoding = config.topics.sources[topic].encoding;
                let encoding = match content_type.and_then(|header| header.value) {
                    Some(content_type) => encoding.of_message(content_type),
                    None => Some(encoding),
                };
                self.look_at(tenant, topic, encoding, message.payload().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Looks at a message that the processor has not read. What is no event will be rejected, and moves no time.
    fn look_at(&mut self, tenant: &TenantId, topic: Topic, encoding: Option<Encoding>, value: &[u8]) {
        let Some(Ok((incoming, _))) = encoding.map(|encoding| codec::decode(encoding, topic, false, value)) else {
            return;
        };
        match incoming {
            Incoming::Event(event) if event.tenant == *tenant => self.clock.see(topic, event.at, Timestamp::MIN),
            // A mark that is not taken changes nothing.
            Incoming::Progress(mark) if mark.tenant == *tenant => {
                _ = self.clock.mark(topic, mark, Timestamp::MIN);
            }
            _ => {}
        }
    }
}

/// The offsets of a source partition from which the processor reads on, and its end, open transactions included.
fn bounds(
    client: &BaseConsumer<LoggedContext>,
    (topic, shard): (&str, ShardId),
    state: &StateLoader,
    source: Topic,
    from: Timestamp,
) -> Result<(i64, i64), KafkaError> {
    let (low, end) = client.fetch_watermarks(topic, shard.partition(), QUERY_TIMEOUT)?;
    let source = Source::Topic(source);
    let next = state.shard().and_then(|record| {
        let shift = record.logs.get(&source).map_or(0, |log| log.shift);
        Some(record.checkpoint.next.get(&source)?.0 - shift)
    });
    if let Some(next) = next.filter(|next| (low..=end).contains(next)) {
        return Ok((next, end));
    }
    let mut list = TopicPartitionList::with_capacity(1);
    let written = Offset::Offset(from.saturating_sub(MARGIN).0.max(0));
    list.add_partition_offset(topic, shard.partition(), written)?;
    let found = client.offsets_for_times(list, QUERY_TIMEOUT)?;
    let start = match found.find_partition(topic, shard.partition()) {
        Some(found) => {
            found.error()?;
            match found.offset() {
                Offset::Offset(offset) => offset,
                // Nothing was written since.
                _ => end,
            }
        }
        None => low,
    };
    Ok((start.max(low), end))
}

/// The records of a shard about time, and no others.
#[derive(Default)]
struct Clocks(StateLoader);

impl Collector for Clocks {
    fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        if StateLoader::is_about_time(key) {
            self.0.push(key, value);
        }
    }
}

fn read_state(consumer: &CompactedConsumer<Clocks>, shard: ShardId) -> Result<Clocks, PastError> {
    let mut progress = (Instant::now(), 0);
    let stuck = |since: Instant| match since.elapsed() > STALL_TIMEOUT {
        true => Err(PastError::Stuck { topic: consumer.topic.clone() }),
        false => Ok(()),
    };
    let bounds = loop {
        if let Some(bounds) = consumer.bounds(shard, QUERY_TIMEOUT)? {
            break bounds;
        }
        stuck(progress.0)?;
        std::thread::sleep(READ_TIME);
    };
    let mut readers = BTreeMap::from([(shard, CompactedReader::new(bounds))]);
    consumer.assign(&mut readers)?;
    while let Some(reader) = readers.get(&shard).filter(|reader| !reader.is_complete()) {
        let (read, _) = reader.progress();
        if read > progress.1 {
            progress = (Instant::now(), read);
        }
        stuck(progress.0)?;
        consumer.read(&mut readers, READ_TIME)?;
    }
    Ok(readers.remove(&shard).map(|reader| reader.collected).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::progress::Progress;

    const FROM: Timestamp = Timestamp(1_000_000);

    fn mark(source: &str, up_to: i64, backfill: bool) -> Progress {
        Progress { tenant: "acme".into(), source: source.into(), up_to: Timestamp(up_to), backfill }
    }

    fn past(is_judged: bool, watermark: i64, seen: &[i64], marks: &[(&str, i64, bool)]) -> TenantPast {
        let mut clock = TenantClock { watermark: Timestamp(watermark), ..TenantClock::default() };
        seen.iter().for_each(|at| clock.see(Topic::Crm, Timestamp(*at), Timestamp(0)));
        for (source, up_to, backfill) in marks {
            clock.mark(Topic::Telephony, mark(source, *up_to, *backfill), Timestamp(0)).expect("a mark");
        }
        TenantPast { is_judged, clock }
    }

    #[test]
    fn a_back_fill_is_too_late_when_time_has_passed_its_beginning() {
        let min = i64::MIN;
        let table = [
            ("an unknown tenant", past(false, min, &[], &[]), None),
            ("only older events, not judged yet", past(false, min, &[900_000], &[]), None),
            (
                "older events that were judged: time follows the clock",
                past(true, 800_000, &[900_000], &[]),
                Some(900_000),
            ),
            ("a later event, not judged yet", past(false, min, &[1_500_000], &[]), Some(1_500_000)),
            ("the watermark", past(true, 2_000_000, &[1_500_000], &[]), Some(2_000_000)),
            ("a live mark of another source", past(false, min, &[], &[("a", 3_000_000, false)]), Some(3_000_000)),
            ("another source begins its own past", past(true, 900_000, &[5_000_000], &[("a", 999_000, true)]), None),
            ("it has passed the beginning", past(true, 1_100_000, &[], &[("a", 1_100_000, true)]), Some(1_100_000)),
            ("it began after time had moved on", past(true, 4_000_000, &[], &[("a", 999_000, true)]), Some(4_000_000)),
        ];
        for (what, past, expected) in table {
            assert_eq!(past.later_than(FROM), expected.map(Timestamp), "{what}");
        }
    }

    #[test]
    fn messages_that_were_not_read_count_by_their_tenant() {
        let mut past = TenantPast::default();
        let look = |past: &mut TenantPast, text: &str| {
            past.look_at(&"acme".into(), Topic::Crm, Some(Encoding::Json), text.as_bytes());
        };
        let other = r#"{"tenant_id":"other","event_id":"1","occurred_at":"2026-01-01T00:00:00Z","lead_created":{"lead_id":"1"}}"#;
        for text in ["", "{", other] {
            look(&mut past, text);
        }
        assert_eq!(past.later_than(FROM), None);
        look(&mut past, &other.replace("other", "acme"));
        assert_eq!(past.later_than(FROM), Timestamp::parse("2026-01-01T00:00:00Z"));
    }
}

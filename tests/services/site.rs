//! Owns what every services test needs: topics of its own, events, a processor to start and stop, and what came out.

use funnelwatch::codec::json;
use funnelwatch::config::Config;
use funnelwatch::dataflow::epoch::{Batch, EpochOutput};
use funnelwatch::dataflow::workers::DataflowSettings;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::rule;
use funnelwatch::domain::shard_processor::{Source, Timing};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::edge::files::{EventFiles, EventWriter};
use funnelwatch::edge::kafka::producer::EventProducer;
use funnelwatch::edge::kafka::topics::{self, Wanted};
use funnelwatch::edge::kafka::{self, Mode, NormsHandle, Observer, RunError, Stop, Summary};
use funnelwatch::edge::replay::{self, Outcome};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The value of an environment variable that `tests/services/up` prints.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests by tests/services/run"))
}

/// A test's own corner of the broker.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) partitions: u32,
    prefix: String,
    text: String,
}

/// A record as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        value.as_deref().and_then(|value| str::from_utf8(value).ok())
    }

    pub(crate) fn text(&self) -> &str {
        self.value.as_deref().and_then(|value| str::from_utf8(value).ok()).unwrap_or_default()
    }
}

/// What an observer saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) transactions: Mutex<Vec<Duration>>,
    pub(crate) shards: Mutex<Vec<Vec<u32>>>,
    pub(crate) applied: Mutex<u64>,
    pub(crate) epochs: Mutex<Vec<u64>>,
    /// The last watermark of each shard.
    pub(crate) watermarks: Mutex<BTreeMap<u32, Timestamp>>,
    /// Of each shard, when events of it were committed, and how many.
    pub(crate) commits: Mutex<BTreeMap<u32, Vec<(Instant, u64)>>>,
    /// Of which partitions messages were refused.
    pub(crate) refused: Mutex<BTreeSet<(u32, Source)>>,
}

impl Observer for Seen {
    fn committed(&self, made: &EpochOutput) {
        let applied: u64 = made.shards.iter().map(|mark| mark.counts.applied.iter().sum::<u64>()).sum();
        *self.applied.lock().expect("no panic") += applied;
        self.epochs.lock().expect("no panic").push(made.epoch);
        let mut commits = self.commits.lock().expect("no panic");
        for mark in &made.shards {
            let applied = mark.counts.applied.iter().sum::<u64>();
            if applied > 0 {
                commits.entry(mark.shard).or_default().push((Instant::now(), applied));
            }
        }
        let place = |batch: &Batch| (batch.shard.expect("a partition"), batch.source);
        let places = made.refusals.iter().map(|refusal| place(&refusal.batch));
        self.refused.lock().expect("no panic").extend(places);
        self.watermarks.lock().expect("no panic").extend(made.shards.iter().map(|mark| (mark.shard, mark.watermark)));
    }

    fn transaction(&self, took: Duration, _: usize) {
        self.transactions.lock().expect("no panic").push(took);
    }

    fn assigned(&self, shards: &[u32]) {
        self.shards.lock().expect("no panic").push(shards.to_vec());
    }
}

/// A processor that runs in this process.
pub(crate) struct Running {
    pub(crate) stop: Stop,
    pub(crate) seen: Arc<Seen>,
    thread: JoinHandle<Result<Summary, RunError>>,
}

impl Running {
    pub(crate) fn stop(self) -> Summary {
        self.stop.stop();
        self.join().expect("the run ends well")
    }

    pub(crate) fn join(self) -> Result<Summary, RunError> {
        self.thread.join().expect("the run does not panic")
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The shards that it reads now.
    pub(crate) fn shards(&self) -> Vec<u32> {
        self.seen.shards.lock().expect("no panic").last().cloned().unwrap_or_default()
    }

    /// Waits until it reads partitions.
    pub(crate) fn await_assignment(&self) {
        until("an assignment", || !self.shards().is_empty());
    }
}

static SITES: AtomicU32 = AtomicU32::new(0);
static LOG: Once = Once::new();

impl Site {
    /// Makes the topics; `extra` is further configuration.
    pub(crate) fn new(name: &str, partitions: u32, extra: &str) -> Self {
        let site = Self::bare(name, partitions, extra);
        let wanted = Wanted { create: true, partitions: Some(partitions), replication: 1 };
        let report = topics::verify(&site.config, &wanted).expect("topics are made");
        assert!(report.is_good(), "{report}");
        site
    }

    /// Makes no topics.
    pub(crate) fn bare(name: &str, partitions: u32, extra: &str) -> Self {
        LOG.call_once(|| {
            let filter = tracing_subscriber::EnvFilter::try_from_default_env();
            let filter =
                filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,rdkafka=off,librdkafka=off"));
            tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().init();
        });
        let nanos = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
        let number = SITES.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{name}-{}-{nanos}-{number}", std::process::id());
        let bootstrap = variable("FUNNELWATCH_KAFKA");
        let text = format!(
            "kafka: {{bootstrap: '{bootstrap}', group: '{prefix}', transactional_id: '{prefix}-TXID'}}
topics:
  crm: {{name: {prefix}.crm, encoding: CRM}}
  telephony: {{name: {prefix}.telephony}}
  email: {{name: {prefix}.email}}
  alerts: {prefix}.alerts
  metrics: {prefix}.metrics
  reviews: {prefix}.reviews
  dead_letters: {prefix}.dlq
  state: {prefix}.state
  rerouted: {prefix}.rerouted
  output: OUTPUT
{extra}"
        );
        let config = parse(&text, "0");
        Self { config, partitions, prefix, text }
    }

    /// The configuration of another process of the same group.
    pub(crate) fn sibling(&self, id: &str) -> Config {
        parse(&self.text, id)
    }

    /// The sections of its configuration that say where its topics are, for a process of its own.
    pub(crate) fn sections(&self) -> String {
        self.sections_of("0")
    }

    /// Likewise, for one that has another name.
    pub(crate) fn sections_of(&self, id: &str) -> String {
        let (kafka, rest) = self.text.split_once("topics:").expect("a section");
        let (topics, _) = rest.split_once("OUTPUT\n").expect("a last key");
        fill(&format!("{kafka}topics:{topics}OUTPUT\n"), id)
    }

    pub(crate) fn settings(config: &Config) -> DataflowSettings {
        settings_of(config, Arc::new(config.norms.clone()))
    }

    /// Starts a processor.
    pub(crate) fn start(&self, mode: Mode) -> Running {
        Self::start_as(self.config.clone(), mode)
    }

    pub(crate) fn start_as(config: Config, mode: Mode) -> Running {
        let settings = Self::settings(&config);
        Self::start_with(config, settings, mode)
    }

    pub(crate) fn start_with(config: Config, settings: DataflowSettings, mode: Mode) -> Running {
        let (stop, seen) = (Stop::default(), Arc::new(Seen::default()));
        let (asked, observer) = (stop.clone(), Arc::clone(&seen));
        let thread =
            std::thread::spawn(move || kafka::run(&config, settings, mode, &asked, NormsHandle::default(), observer));
        Running { stop, seen, thread }
    }

    /// Sends events to their topics.
    pub(crate) fn produce(&self, events: &[Event]) {
        let mut producer = EventProducer::new(&self.config).expect("a producer");
        for event in events {
            producer.send(event).expect("an event is sent");
        }
        assert!(producer.flush(PATIENCE), "events are delivered");
        let counts = producer.counts();
        assert_eq!((counts.delivered, counts.failed), (events.len() as u64, 0));
    }

    /// A topic of this site.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// All that readers of committed records find in a topic.
    pub(crate) fn read(&self, name: &str) -> Vec<Record> {
        read(&self.topic(name))
    }

    /// Waits until a topic holds at least `n` records, and a moment longer for those that should not come.
    pub(crate) fn await_records(&self, name: &str, n: usize) -> Vec<Record> {
        let (mut records, started) = (Vec::new(), Instant::now());
        while records.len() < n {
            assert!(started.elapsed() < PATIENCE, "{n} records in {name}: not in time: {:?}", summary(&records));
            std::thread::sleep(Duration::from_millis(50));
            records = self.read(name);
        }
        std::thread::sleep(Duration::from_millis(500));
        self.read(name)
    }

    /// What is committed and where the ends are, of every source partition: (topic, partition, committed, end).
    pub(crate) fn offsets(&self) -> Vec<(String, i32, Option<i64>, i64)> {
        let consumer: BaseConsumer = client().set("group.id", &self.config.kafka.group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for name in ["crm", "telephony", "email", "rerouted"] {
            for partition in 0..self.partitions {
                list.add_partition(&self.topic(name), partition as i32);
            }
        }
        let committed = consumer.committed_offsets(list, PATIENCE).expect("committed offsets");
        let offset = |partition: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let (topic, number) = (partition.topic().to_owned(), partition.partition());
            let (_, end) = consumer.fetch_watermarks(&topic, number, PATIENCE).expect("watermarks");
            let committed = match partition.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            (topic, number, committed, end)
        };
        committed.elements().into_iter().map(offset).collect()
    }

    /// Waits until everything that is in the source topics is committed.
    pub(crate) fn await_no_lag(&self) {
        until("no lag", || self.offsets().iter().all(|(_, _, committed, end)| committed.unwrap_or(0) == *end));
    }

    /// What a replay of the same events finds, as lines: alerts, and rows.
    pub(crate) fn replay(&self, events: &[Event], until: Option<Timestamp>) -> (Vec<String>, Vec<String>) {
        let path = std::env::temp_dir().join(format!("{}.ndjson", self.prefix));
        let file = std::fs::File::create(&path).expect("a file");
        let mut writer = EventWriter::new(std::io::BufWriter::new(file), funnelwatch::codec::Encoding::Json);
        // The order of delivery: by time.
        let mut ordered: Vec<_> = events.iter().collect();
        ordered.sort_by_key(|event| event.at);
        ordered.iter().for_each(|event| writer.write(event).expect("an event is written"));
        writer.finish().expect("the file is written");
        let outcome = replay_file(&self.config, &path, until);
        std::fs::remove_file(&path).expect("the file is removed");
        lines(&self.config, &outcome)
    }
}

/// A replay of a file under a configuration.
pub(crate) fn replay_file(config: &Config, path: &std::path::Path, until: Option<Timestamp>) -> Outcome {
    let settings = Site::settings(config);
    let options = replay::Options {
        norms: settings.norms,
        timing: Timing { until, ..settings.timing },
        workers: 1,
        max_message_bytes: settings.max_message_bytes,
    };
    let files = EventFiles::open(&[path.to_owned()], &Arc::default()).expect("the file opens");
    replay::replay(files, &options, |_, _, _| {}).expect("the replay ends well")
}

/// Alerts and rows as they are written, in an order of their own.
pub(crate) fn lines(config: &Config, outcome: &Outcome) -> (Vec<String>, Vec<String>) {
    let mut alerts: Vec<_> = outcome
        .alerts
        .iter()
        .map(|alert| {
            let mut line = Vec::new();
            json::encode_alert(alert, &rule::message(alert, config.language), &mut line);
            String::from_utf8(line).expect("UTF-8")
        })
        .collect();
    let mut rows: Vec<_> = outcome
        .rows
        .iter()
        .map(|row| {
            let mut line = Vec::new();
            json::encode_row(row, &mut line);
            String::from_utf8(line).expect("UTF-8")
        })
        .collect();
    alerts.sort();
    rows.sort();
    (alerts, rows)
}

/// The values of records, in the same order.
pub(crate) fn values(records: &[Record]) -> Vec<String> {
    let mut values: Vec<_> = records.iter().map(|record| record.text().to_owned()).collect();
    values.sort();
    values
}

/// The last value of each key.
pub(crate) fn latest(records: &[Record]) -> Vec<String> {
    let mut latest = BTreeMap::new();
    for record in records {
        latest.insert(record.key.clone(), record.text().to_owned());
    }
    let mut values: Vec<_> = latest.into_values().collect();
    values.sort();
    values
}

fn fill(text: &str, id: &str) -> String {
    let defaults = [("CRM", "json"), ("OUTPUT", "json"), ("TXID", id)];
    defaults.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn parse(text: &str, id: &str) -> Config {
    let text = fill(text, id);
    Config::parse("test", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) fn settings_of(config: &Config, norms: Arc<Norms>) -> DataflowSettings {
    let max_message_bytes = config.engine.max_message_bytes;
    DataflowSettings { max_message_bytes, ..DataflowSettings::new(norms, config.timing()) }
}

/// Settings of the tests' own clients.
pub(crate) fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", variable("FUNNELWATCH_KAFKA"))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("message.max.bytes", "1048588");
    config
}

/// Sends raw messages to one partition of a topic.
pub(crate) struct Raw(BaseProducer);

impl Raw {
    pub(crate) fn new() -> Self {
        Self(client().set("linger.ms", "0").create().expect("a producer"))
    }

    pub(crate) fn send(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) {
        let mut list = rdkafka::message::OwnedHeaders::new();
        for (key, value) in headers {
            list = list.insert(rdkafka::message::Header { key, value: Some(*value) });
        }
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord {
            topic,
            partition: Some(partition),
            payload: value,
            key,
            timestamp: None,
            headers: Some(list).filter(|_| !headers.is_empty()),
            delivery_opaque: (),
        };
        self.0.send(record).map_err(|(error, _)| error).expect("a message is sent");
    }

    pub(crate) fn flush(&self) {
        self.0.flush(PATIENCE).expect("messages are delivered");
    }
}

/// All committed records of a topic, partition by partition.
pub(crate) fn read(topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer =
        client().set("group.id", "none").set("isolation.level", "read_committed").create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("an assignment");
    let (mut records, mut ended) = (Vec::new(), 0);
    let started = Instant::now();
    while ended < partitions {
        assert!(started.elapsed() < PATIENCE, "{topic} is not read to its end in time");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(record(&message)),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("read {topic}: {error}"),
            None => {}
        }
    }
    records
}

pub(crate) fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// The headers of the last records.
fn summary(records: &[Record]) -> (usize, Vec<Vec<String>>) {
    let shown = |record: &Record| {
        record.headers.iter().map(|(name, _)| format!("{name}={}", record.header(name).unwrap_or("-"))).collect()
    };
    (records.len(), records.iter().rev().take(20).map(shown).collect())
}

/// Says something to whoever runs the tests.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An instant of the tests' own day, in seconds after its beginning.
pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp(1_767_600_000_000 + (seconds * 1000.0) as i64)
}

fn event(tenant: &str, id: &str, at: Timestamp, payload: &str) -> Event {
    let text =
        format!(r#"{{"event_id":"{id}","tenant_id":"{tenant}","occurred_at":"{at}","source":"test",{payload}}}"#);
    json::decode(text.as_bytes()).unwrap_or_else(|reject| panic!("{reject}: {text}"))
}

/// A lead comes in.
pub(crate) fn lead(tenant: &str, id: &str, at: Timestamp) -> Event {
    event(
        tenant,
        &format!("lead-{id}"),
        at,
        &format!(r#""lead_created":{{"lead_id":"{id}","manager_id":"m-{tenant}","contacts":[]}}"#),
    )
}

/// A manager calls the customer of a lead.
pub(crate) fn call(tenant: &str, id: &str, at: Timestamp) -> Event {
    event(
        tenant,
        &format!("call-{id}"),
        at,
        &format!(
            r#""call_ended":{{"call_id":"c-{id}","direction":"OUTBOUND","phone":"+79210000000","manager_id":"m-{tenant}",
            "entity":{{"kind":"LEAD","id":"{id}"}},"started_at":"{at}","answered_at":"{at}","talk_seconds":5,"outcome":"ANSWERED"}}"#
        ),
    )
}

/// Something that moves event time and nothing else.
pub(crate) fn tick(tenant: &str, id: &str, at: Timestamp) -> Event {
    event(
        tenant,
        &format!("tick-{id}"),
        at,
        &format!(r#""manager_upserted":{{"manager_id":"m-{tenant}","active":true}}"#),
    )
}

/// Leads of several tenants: every second one is called in time, every third too late, others never; and at the end a
/// tick of each tenant after all deadlines of 15 minutes.
pub(crate) fn floor(tenants: u32, leads: u32) -> Vec<Event> {
    let mut events = Vec::new();
    for tenant in 0..tenants {
        let name = format!("tenant-{tenant}");
        for number in 0..leads {
            let id = format!("{tenant}-{number}");
            let begin = f64::from(number) * 20.0 + f64::from(tenant);
            events.push(lead(&name, &id, at(begin)));
            match number % 6 {
                0 | 2 | 4 => events.push(call(&name, &id, at(begin + 60.0))),
                3 => events.push(call(&name, &id, at(begin + 1000.0))),
                _ => {}
            }
        }
        events.push(tick(&name, &format!("{tenant}-end"), at(f64::from(leads) * 20.0 + 4000.0)));
    }
    events.sort_by_key(|event| event.at);
    events
}

/// The norms that the events of [`floor`] are judged by, and no waiting.
pub(crate) const QUICK: &str = "norms: {first_response_late: {within: 15m}}
windows: [{size: 1h, slide: 1m}]
time: {allowed_lateness: 0s, idle_after: 500ms, watermark_follows_clock: false}
engine: {workers: 2, epoch: 100ms}
";

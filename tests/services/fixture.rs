//! Shared fixture of the services tests: separate topics, events, processors to start and stop, and their output.

use funnelwatch::codec::json;
use funnelwatch::config::Config;
use funnelwatch::dataflow::epoch::{Batch, EpochOutput};
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::rule::message;
use funnelwatch::domain::shard::processor::Timing;
use funnelwatch::domain::source::{ShardId, Source};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::edge::files::{EventFiles, EventWriter};
use funnelwatch::edge::kafka::producer::EventProducer;
use funnelwatch::edge::kafka::topics::{self, Wanted};
use funnelwatch::edge::kafka::{self, LostOffsets, Mode, NormsHandle, Observer, RunError, RuntimeEvent, Stop, Summary};
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
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, TestWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Timeout of waits, longer than any of them takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The value of an environment variable that `tests/services/up` prints.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with tests/services/run"))
}

/// The topics, the group and the configuration of one test.
pub(crate) struct Fixture {
    pub(crate) config: Config,
    pub(crate) partitions: u32,
    prefix: String,
    text: String,
}

/// A record of a topic.
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

/// What an observer recorded.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) transactions: Mutex<Vec<Duration>>,
    pub(crate) shards: Mutex<Vec<Vec<ShardId>>>,
    pub(crate) applied: Mutex<u64>,
    pub(crate) epochs: Mutex<Vec<u64>>,
    /// The last watermark of each shard.
    pub(crate) watermarks: Mutex<BTreeMap<ShardId, Timestamp>>,
    /// For each shard, when events were committed, and how many.
    pub(crate) commits: Mutex<BTreeMap<ShardId, Vec<(Instant, u64)>>>,
    /// The source partitions with rejected messages.
    pub(crate) rejected: Mutex<BTreeSet<(ShardId, Source)>>,
    /// Why the run was started again in its process.
    pub(crate) restarts: Mutex<Vec<String>>,
    /// What was gone before it was read.
    pub(crate) lost: Mutex<Vec<LostOffsets>>,
}

impl Seen {
    fn see(&self, event: RuntimeEvent<'_>) {
        match event {
            RuntimeEvent::EpochCommitted(output, _) => self.committed(&output),
            RuntimeEvent::TransactionCommitted(took) => self.transactions.lock().expect("no panic").push(took),
            RuntimeEvent::Assigned(shards) => self.shards.lock().expect("no panic").push(shards.to_vec()),
            RuntimeEvent::Restarting(error) => self.restarts.lock().expect("no panic").push(error.to_string()),
            RuntimeEvent::OffsetsLost(lost) => self.lost.lock().expect("no panic").push(lost.clone()),
            _ => {}
        }
    }

    fn committed(&self, output: &EpochOutput) {
        let applied: u64 = output.shards.iter().map(|status| status.counts.applied.iter().sum::<u64>()).sum();
        *self.applied.lock().expect("no panic") += applied;
        self.epochs.lock().expect("no panic").push(output.epoch);
        let mut commits = self.commits.lock().expect("no panic");
        for status in &output.shards {
            let applied = status.counts.applied.iter().sum::<u64>();
            if applied > 0 {
                commits.entry(status.shard).or_default().push((Instant::now(), applied));
            }
        }
        let partition = |batch: &Batch| (batch.shard.expect("a partition"), batch.source);
        let partitions = output.rejected.iter().map(|rejected| partition(&rejected.batch));
        self.rejected.lock().expect("no panic").extend(partitions);
        self.watermarks
            .lock()
            .expect("no panic")
            .extend(output.shards.iter().map(|status| (status.shard, status.watermark)));
    }
}

/// A processor running in this process.
pub(crate) struct Running {
    pub(crate) stop: Stop,
    pub(crate) seen: Arc<Seen>,
    thread: JoinHandle<Result<Summary, RunError>>,
}

impl Running {
    pub(crate) fn stop(self) -> Summary {
        self.stop.stop();
        self.join().expect("the run succeeds")
    }

    pub(crate) fn join(self) -> Result<Summary, RunError> {
        self.thread.join().expect("the run does not panic")
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The shards that it currently reads.
    pub(crate) fn shards(&self) -> Vec<ShardId> {
        self.seen.shards.lock().expect("no panic").last().cloned().unwrap_or_default()
    }

    /// Waits until it has shards.
    pub(crate) fn await_assignment(&self) {
        until("an assignment", || !self.shards().is_empty());
    }
}

static FIXTURES: AtomicU32 = AtomicU32::new(0);
static LOG: Once = Once::new();

impl Fixture {
    /// Creates the topics; `extra` is additional configuration.
    pub(crate) fn new(name: &str, partitions: u32, extra: &str) -> Self {
        let fixture = Self::bare(name, partitions, extra);
        let wanted = Wanted { create: true, partitions: Some(partitions), replication: 1 };
        let report = topics::verify(&fixture.config, &wanted).expect("topics are created");
        assert!(report.is_ok(), "{report}");
        fixture
    }

    /// Does not create the topics.
    pub(crate) fn bare(name: &str, partitions: u32, extra: &str) -> Self {
        LOG.call_once(|| {
            let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn,rdkafka=off,librdkafka=off".into());
            let filter: Targets = filter.parse().expect("a filter by target");
            let layer = fmt::layer().with_writer(TestWriter::new());
            tracing_subscriber::registry().with(filter).with(layer).init();
        });
        let nanos = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
        let index = FIXTURES.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{name}-{}-{nanos}-{index}", std::process::id());
        let bootstrap = variable("FUNNELWATCH_KAFKA");
        let text = format!(
            "kafka: {{bootstrap: '{bootstrap}', group: '{prefix}', transactional_id: '{prefix}-TXID'}}
topics:
  crm: {{name: {prefix}.crm, encoding: CRM}}
  telephony: {{name: {prefix}.telephony}}
  email: {{name: {prefix}.email}}
  alerts: {prefix}.alerts
  open_alerts: {prefix}.alerts.open
  metrics: {prefix}.metrics
  reviews: {prefix}.reviews
  dead_letters: {prefix}.dlq
  state: {prefix}.state
  rerouted: {prefix}.rerouted
  hints: {prefix}.hints
  cursors: {prefix}.gateway
  notify: {prefix}.notify
  members: {prefix}.members
  output: OUTPUT
{extra}"
        );
        let config = parse(&text, "0");
        Self { config, partitions, prefix, text }
    }

    /// The same source topics with another group, other state and other outputs, which are created.
    pub(crate) fn beside(&self, name: &str) -> Self {
        let prefix = format!("{}-{name}", self.prefix);
        let line = |line: &str| {
            let is_source = ["crm:", "telephony:", "email:"].iter().any(|key| line.trim_start().starts_with(key));
            if is_source { format!("{line}\n") } else { format!("{}\n", line.replace(&self.prefix, &prefix)) }
        };
        let text: String = self.text.lines().map(line).collect();
        let config = parse(&text, "0");
        let wanted = Wanted { create: true, partitions: Some(self.partitions), replication: 1 };
        assert!(topics::verify(&config, &wanted).expect("topics are created").is_ok());
        Self { config, partitions: self.partitions, prefix, text }
    }

    /// The configuration of another process of the same group.
    pub(crate) fn sibling(&self, id: &str) -> Config {
        parse(&self.text, id)
    }

    /// The `kafka` and `topics` sections of the configuration, for a child process.
    pub(crate) fn sections(&self) -> String {
        self.sections_of("0")
    }

    /// The same for a process with another id.
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
        let (asked, see) = (stop.clone(), Arc::clone(&seen));
        let observer = Arc::new(Observer::new(Arc::default(), Arc::default(), move |event| see.see(event)));
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

    /// A topic of this fixture.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// All committed records of a topic.
    pub(crate) fn read(&self, name: &str) -> Vec<Record> {
        read(&self.topic(name))
    }

    /// Waits until a topic has at least `n` records, then a moment longer for unexpected ones.
    pub(crate) fn await_records(&self, name: &str, n: usize) -> Vec<Record> {
        let (mut records, started) = (Vec::new(), Instant::now());
        while records.len() < n {
            assert!(
                started.elapsed() < PATIENCE,
                "timed out waiting for {n} records in {name}: {:?}",
                summary(&records)
            );
            std::thread::sleep(Duration::from_millis(50));
            records = self.read(name);
        }
        std::thread::sleep(Duration::from_millis(500));
        self.read(name)
    }

    /// The committed and end offsets of every source partition: (topic, partition, committed, end).
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
            let (topic, index) = (partition.topic().to_owned(), partition.partition());
            let (_, end) = consumer.fetch_watermarks(&topic, index, PATIENCE).expect("watermarks");
            let committed = match partition.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            (topic, index, committed, end)
        };
        committed.elements().into_iter().map(offset).collect()
    }

    /// Waits until all messages of the source topics are committed.
    pub(crate) fn await_no_lag(&self) {
        until("no lag", || self.offsets().iter().all(|(_, _, committed, end)| committed.unwrap_or(0) == *end));
    }

    /// The alerts and rows of a replay of the same events, as lines.
    pub(crate) fn replay(&self, events: &[Event], until: Option<Timestamp>) -> (Vec<String>, Vec<String>) {
        let path = std::env::temp_dir().join(format!("{}.ndjson", self.prefix));
        let file = std::fs::File::create(&path).expect("a file");
        let mut writer = EventWriter::new(std::io::BufWriter::new(file), funnelwatch::codec::Encoding::Json);
        // In order of event time, as they are delivered.
        let mut ordered: Vec<_> = events.iter().collect();
        ordered.sort_by_key(|event| event.at);
        ordered.iter().for_each(|event| writer.write(event).expect("an event is written"));
        writer.finish().expect("the file is written");
        let outcome = replay_file(&self.config, &path, until);
        std::fs::remove_file(&path).expect("the file is removed");
        lines(&self.config, &outcome)
    }
}

/// Replays a file with a configuration.
pub(crate) fn replay_file(config: &Config, path: &std::path::Path, until: Option<Timestamp>) -> Outcome {
    let settings = Fixture::settings(config);
    let options = replay::Options {
        norms: settings.norms,
        timing: Timing { until, ..settings.timing },
        workers: 1,
        max_message_bytes: settings.max_message_bytes,
        event_limits: settings.event_limits,
        admission_limits: settings.admission_limits,
        latest: None,
        epoch_messages: replay::EPOCH_MESSAGES,
        delivery: replay::Delivery::AsDelivered,
    };
    let files = EventFiles::open(&[path.to_owned()], &Arc::default()).expect("the file opens");
    replay::replay(files, &options, |_, _, _| {}).expect("the replay succeeds")
}

/// Alerts and rows as they are written, sorted.
pub(crate) fn lines(config: &Config, outcome: &Outcome) -> (Vec<String>, Vec<String>) {
    let mut alerts: Vec<_> = outcome
        .alerts
        .iter()
        .map(|alert| {
            let mut line = Vec::new();
            json::encode_alert(alert, &message::of(alert, config.language), &mut line);
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

/// The values of records, sorted.
pub(crate) fn values(records: &[Record]) -> Vec<String> {
    let mut values: Vec<_> = records.iter().map(|record| record.text().to_owned()).collect();
    values.sort();
    values
}

/// The last value of each key, sorted.
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
    let (event_limits, admission_limits) = (config.limits.event, config.limits.admission.clone());
    DataflowSettings {
        max_message_bytes,
        event_limits,
        admission_limits,
        ..DataflowSettings::new(norms, config.timing())
    }
}

/// The configuration of the tests' own clients.
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
        // Removes the delivery reports, which count towards the limit of the queue.
        self.0.poll(Duration::ZERO);
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
        assert!(started.elapsed() < PATIENCE, "timed out reading {topic} to its end");
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

/// Prints a line to standard error.
pub(crate) fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Waits until a condition holds; `what` describes it.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "timed out waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An instant of the tests' day, in seconds after its start.
pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp(1_767_600_000_000 + (seconds * 1000.0) as i64)
}

fn event(tenant: &str, id: &str, at: Timestamp, payload: &str) -> Event {
    let text =
        format!(r#"{{"event_id":"{id}","tenant_id":"{tenant}","occurred_at":"{at}","source":"test",{payload}}}"#);
    json::decode(text.as_bytes()).unwrap_or_else(|reject| panic!("{reject}: {text}"))
}

/// A lead is created.
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

/// An event that only advances event time.
pub(crate) fn tick(tenant: &str, id: &str, at: Timestamp) -> Event {
    event(
        tenant,
        &format!("tick-{id}"),
        at,
        &format!(r#""manager_upserted":{{"manager_id":"m-{tenant}","active":true}}"#),
    )
}

/// Leads of several tenants: of six, three are called in time, one too late and two never. At the end, a tick of each
/// tenant after all deadlines of 15 minutes.
pub(crate) fn sample_events(tenants: u32, leads: u32) -> Vec<Event> {
    let mut events = Vec::new();
    for tenant in 0..tenants {
        let name = format!("tenant-{tenant}");
        for index in 0..leads {
            let id = format!("{tenant}-{index}");
            let begin = f64::from(index) * 20.0 + f64::from(tenant);
            events.push(lead(&name, &id, at(begin)));
            match index % 6 {
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

/// Norms for the events of [`sample_events`], without allowed lateness.
pub(crate) const QUICK: &str = "norms: {first_response_late: {within: 15m}}
windows: [{size: 1h, slide: 1m}]
time: {allowed_lateness: 0s, idle_after: 500ms, watermark_follows_clock: false}
engine: {workers: 2, epoch: 100ms}
";

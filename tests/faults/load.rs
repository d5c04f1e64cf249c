//! Generates the load: simulated events, sent in order of event time at a given speed, some calls to wrong partitions
//! and some events twice. Records everything sent in a file for the replay that determines the expected output.
//!
//! **Faults make no event late.** A misrouted message waits for the process that reads its partition, while its right
//! partition continues. Therefore event time pauses while such a message has been waiting for half the allowed
//! lateness, and while the broker accepts nothing.

use crate::environment::{Environment, SHARDS};
use crate::file_log::FileLogContext;
use crate::random::Random;
use anyhow::{Context, bail};
use funnelwatch::codec::json;
use funnelwatch::domain::shard::partitioner::shard;
use funnelwatch::domain::source::Topic;
use funnelwatch::domain::time::{Span, Timestamp};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The share of calls that are keyed by call id instead of tenant.
const MISROUTED_SHARE: f64 = 0.33;
/// The share of events that are sent twice.
const DUPLICATE_SHARE: f64 = 0.03;
/// With more messages in flight than this, the broker is considered down.
const MAX_IN_FLIGHT: i32 = 1000;

/// Reasons for a pause of event time: indices into `Progress::paused_ms`.
const MISROUTED: usize = 0;
const BROKER: usize = 1;

/// The producer of the load does not recover: there is no verdict about the processes. Seen once in six restarts of the
/// broker, with an idempotent producer of librdkafka 2.12 that had a thousand messages in flight and reported no error.
#[derive(Debug, thiserror::Error)]
#[error("no verdict: the producer of the load has not delivered {0} events within two minutes")]
pub(crate) struct Undelivered(i32);

/// The parameters of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadConfig {
    pub(crate) seed: u64,
    pub(crate) tenants: u32,
    pub(crate) managers: u32,
    /// Seconds of event time per second.
    pub(crate) speed: f64,
}

/// Progress of the load, shared with other threads.
#[derive(Default)]
pub(crate) struct Progress {
    /// Asks the load to stop.
    pub(crate) stop: AtomicBool,
    /// The load has stopped.
    pub(crate) stopped: AtomicBool,
    pub(crate) sent: AtomicU64,
    /// Event time of the last message sent, in milliseconds.
    pub(crate) event_time: AtomicI64,
    /// How long event time was paused for misrouted messages, and for the broker, in milliseconds.
    pub(crate) paused_ms: [AtomicU64; 2],
    /// Event time is paused for misrouted messages.
    pub(crate) paused: AtomicBool,
    misrouted: Mutex<Misrouted>,
}

/// Misrouted messages that have not been rerouted yet.
#[derive(Default)]
struct Misrouted {
    by_id: BTreeMap<String, (Timestamp, u32)>,
    by_time: BTreeSet<(Timestamp, String)>,
}

/// Totals of the load.
pub(crate) struct LoadSummary {
    producer: BaseProducer<FileLogContext>,
    pub(crate) events: u64,
    pub(crate) misrouted: u64,
    pub(crate) duplicates: u64,
    pub(crate) last: Timestamp,
    tenants: BTreeSet<String>,
}

impl Progress {
    fn misrouted(&self) -> MutexGuard<'_, Misrouted> {
        self.misrouted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_misrouted(&self, id: &str, at: Timestamp) {
        let mut misrouted = self.misrouted();
        misrouted.by_id.entry(id.to_owned()).or_insert((at, 0)).1 += 1;
        misrouted.by_time.insert((at, id.to_owned()));
    }

    /// Notes a message in the rerouted topic; `false` if it was there before.
    pub(crate) fn note_rerouted(&self, id: &str) -> bool {
        let mut misrouted = self.misrouted();
        let Some((at, copies)) = misrouted.by_id.get_mut(id) else { return false };
        *copies -= 1;
        if *copies == 0 {
            let key = (*at, id.to_owned());
            misrouted.by_id.remove(id);
            misrouted.by_time.remove(&key);
        }
        true
    }

    pub(crate) fn misrouted_count(&self) -> usize {
        self.misrouted().by_id.len()
    }

    fn oldest_misrouted(&self) -> Option<Timestamp> {
        self.misrouted().by_time.first().map(|(at, _)| *at)
    }
}

/// An event to send.
struct Message {
    id: String,
    topic: Topic,
    tenant: String,
    call: Option<String>,
    at: Timestamp,
    line: String,
}

impl Message {
    fn read(line: String) -> anyhow::Result<Self> {
        let event = json::decode(line.as_bytes()).map_err(|reject| anyhow::anyhow!("{reject}: {line}"))?;
        let value: serde_json::Value = serde_json::from_str(&line)?;
        let call = ["call_started", "call_ended"].iter().find_map(|kind| value[kind]["call_id"].as_str());
        Ok(Self {
            id: value["event_id"].as_str().context("an event_id")?.to_owned(),
            topic: event.payload.topic(),
            tenant: event.tenant.as_str().to_owned(),
            call: call.map(str::to_owned),
            at: event.at,
            line,
        })
    }
}

/// Starts the load.
pub(crate) fn start(
    env: &Arc<Environment>,
    config: LoadConfig,
    progress: &Arc<Progress>,
) -> JoinHandle<anyhow::Result<LoadSummary>> {
    let (env, progress) = (Arc::clone(env), Arc::clone(progress));
    std::thread::spawn(move || {
        let summary = run(&env, config, &progress);
        progress.stopped.store(true, Ordering::Relaxed);
        summary
    })
}

fn run(env: &Environment, config: LoadConfig, progress: &Progress) -> anyhow::Result<LoadSummary> {
    let mut simulation = Command::new(&env.binary)
        .args(["simulate", "--density", "1", "--out", "-", "--seed", &config.seed.to_string()])
        .args(["--tenants", &config.tenants.to_string(), "--managers", &config.managers.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let events = simulation.stdout.take().context("the events of the simulation")?;
    let summary = send(env, config, progress, BufReader::new(events));
    let _ = simulation.kill();
    let _ = simulation.wait();
    summary
}

fn send(
    env: &Environment,
    config: LoadConfig,
    progress: &Progress,
    events: impl BufRead,
) -> anyhow::Result<LoadSummary> {
    let producer: BaseProducer<FileLogContext> = env
        .client()
        .set("enable.idempotence", "true")
        // Deliveries never time out: an outage only delays them.
        .set("message.timeout.ms", "0")
        .set("retry.backoff.ms", "50")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create_with_context(env.client_context())?;
    let mut sender = Sender { env, progress, random: Random::new(config.seed, 3), file: env.file("events.ndjson")? };
    let tenants = BTreeSet::new();
    let mut summary = LoadSummary { producer, events: 0, misrouted: 0, duplicates: 0, last: Timestamp::MIN, tenants };
    let mut lines = events.lines();
    let mut next = read(&mut lines)?;
    let mut now = next.at.0 as f64;
    let mut last_step = Instant::now();
    while !progress.stop.load(Ordering::Relaxed) {
        let elapsed = std::mem::replace(&mut last_step, Instant::now()).elapsed().as_secs_f64().min(0.1);
        let pause = sender.pause_reason(&summary, Timestamp(now as i64));
        progress.paused.store(pause == Some(MISROUTED), Ordering::Relaxed);
        match pause {
            Some(reason) => drop(progress.paused_ms[reason].fetch_add((elapsed * 1000.0) as u64, Ordering::Relaxed)),
            None => now += elapsed * 1000.0 * config.speed,
        }
        // Events of one instant are sent together, see `key`.
        while next.at.0 as f64 <= now {
            let at = next.at;
            let mut group = Vec::new();
            while next.at == at {
                group.push(std::mem::replace(&mut next, read(&mut lines)?));
            }
            sender.send_all(&mut summary, &group)?;
        }
        summary.serve();
        std::thread::sleep(Duration::from_millis(5));
    }
    sender.file.flush()?;
    summary.flush()?;
    Ok(summary)
}

fn read(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> anyhow::Result<Message> {
    Message::read(lines.next().context("the simulation has ended")??)
}

struct Sender<'a> {
    env: &'a Environment,
    progress: &'a Progress,
    random: Random,
    file: BufWriter<File>,
}

impl Sender<'_> {
    /// The reason for which event time must pause, if any.
    fn pause_reason(&self, summary: &LoadSummary, now: Timestamp) -> Option<usize> {
        let longest = Span(i64::from(self.env.lateness) * Span::HOUR.0 / 2);
        if self.progress.oldest_misrouted().is_some_and(|at| now - at > longest) {
            return Some(MISROUTED);
        }
        (summary.producer.in_flight_count() > MAX_IN_FLIGHT).then_some(BROKER)
    }

    fn send_all(&mut self, summary: &mut LoadSummary, group: &[Message]) -> anyhow::Result<()> {
        for message in group {
            let (key, is_misrouted) = self.key(message, group);
            let copies = 1 + u8::from(self.random.chance(DUPLICATE_SHARE));
            summary.duplicates += u64::from(copies > 1);
            for _ in 0..copies {
                writeln!(self.file, "{}", message.line)?;
                if is_misrouted {
                    self.progress.add_misrouted(&message.id, message.at);
                    summary.misrouted += 1;
                }
                let topic = ["crm", "telephony", "email"][message.topic as usize];
                summary.produce(&self.env.topic(topic), key, &message.line)?;
                summary.events += 1;
            }
            summary.last = message.at;
            if !summary.tenants.contains(&message.tenant) {
                summary.tenants.insert(message.tenant.clone());
            }
        }
        self.progress.sent.store(summary.events, Ordering::Relaxed);
        self.progress.event_time.store(summary.last.0, Ordering::Relaxed);
        Ok(())
    }

    /// The key of a message, and whether it leads to a wrong partition. If a tenant has several calls at one instant,
    /// none of them is misrouted: they are ordered by offset, which rerouting does not preserve.
    fn key<'m>(&mut self, message: &'m Message, group: &[Message]) -> (&'m str, bool) {
        let right = shard(&message.tenant, SHARDS);
        let calls = group.iter().filter(|other| other.topic == message.topic && other.tenant == message.tenant).count();
        match &message.call {
            Some(call) if self.random.chance(MISROUTED_SHARE) && calls == 1 => (call, shard(call, SHARDS) != right),
            _ => (&message.tenant, false),
        }
    }
}

impl Environment {
    fn file(&self, name: &str) -> anyhow::Result<BufWriter<File>> {
        Ok(BufWriter::new(File::create(self.path(name))?))
    }
}

impl LoadSummary {
    fn produce(&self, topic: &str, key: &str, value: &str) -> anyhow::Result<()> {
        let mut record = BaseRecord::to(topic).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    self.producer.poll(Duration::from_millis(10));
                    record = returned;
                }
                Err((error, _)) => bail!("send an event to {topic}: {error}"),
            }
        }
    }

    /// Serves all pending delivery reports; one poll serves at most one batch.
    fn serve(&self) {
        let mut before = i32::MAX;
        while self.producer.in_flight_count() < before {
            before = self.producer.in_flight_count();
            self.producer.poll(Duration::ZERO);
        }
    }

    fn flush(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.producer.in_flight_count() > 0 {
            if Instant::now() > deadline {
                let left = self.producer.in_flight_count();
                match self.producer.client().fatal_error() {
                    None => return Err(Undelivered(left).into()),
                    Some((code, reason)) => bail!("producer of the load: {code}: {reason}"),
                }
            }
            self.producer.poll(Duration::from_millis(10));
        }
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            bail!("producer of the load: {code}: {reason}");
        }
        match self.producer.client().context().failed() {
            0 => Ok(()),
            n => bail!("producer of the load: {n} events were not delivered"),
        }
    }

    /// Sends an event without effect for each tenant, late enough to advance the watermark to `end`. Returns the number
    /// of these events per partition of the CRM topic.
    pub(crate) fn tick(&self, env: &Environment, end: Timestamp) -> anyhow::Result<BTreeMap<u32, i64>> {
        let at = end.saturating_add(Span(i64::from(env.lateness) * Span::HOUR.0));
        let mut ticks = BTreeMap::new();
        for tenant in &self.tenants {
            let line = format!(
                r#"{{"event_id":"tick","tenant_id":"{tenant}","occurred_at":"{at}","manager_upserted":{{"manager_id":"tick","active":true}}}}"#
            );
            self.produce(&env.topic("crm"), tenant, &line)?;
            *ticks.entry(shard(tenant, SHARDS).0).or_default() += 1;
        }
        self.flush()?;
        Ok(ticks)
    }
}

//! Owns the load: events of a simulated sales floor, sent in order of event time at a pace, a part of the calls to wrong
//! partitions, some events twice; and the file of all that was sent, for the replay that says what must come of it.
//!
//! **No event comes late by a fault.** What lies in a wrong partition waits for the process that reads it, while the
//! partition where it belongs goes on. So event time stands still while such a message has been waiting for half the
//! allowed lateness, and while the broker takes nothing.

use crate::dice::Dice;
use crate::quiet::Quiet;
use crate::site::{SHARDS, Site};
use anyhow::{Context, bail};
use funnelwatch::codec::json;
use funnelwatch::domain::event::Topic;
use funnelwatch::domain::partitioner::shard;
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

/// Of the calls, sent under the call's id and not the tenant's.
const MISPLACED: f64 = 0.33;
/// Of all events, sent twice.
const TWICE: f64 = 0.03;
/// So many messages without an answer of the broker: it is away.
const UNANSWERED: i32 = 1000;

/// Why event time stands still: places in `Progress::waited`.
const ABROAD: usize = 0;
const AWAY: usize = 1;

/// How the load is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) tenants: u32,
    pub(crate) managers: u32,
    /// Seconds of event time in a second.
    pub(crate) speed: f64,
}

/// What others may know while it runs.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) finish: AtomicBool,
    pub(crate) over: AtomicBool,
    pub(crate) sent: AtomicU64,
    /// Event time of what was sent last, in milliseconds.
    pub(crate) frontier: AtomicI64,
    /// How long event time stood still for messages in wrong partitions, and for the broker, in milliseconds.
    pub(crate) waited: [AtomicU64; 2],
    /// It stands still now, for messages in wrong partitions.
    pub(crate) stands: AtomicBool,
    abroad: Mutex<Abroad>,
}

/// Messages in wrong partitions that have not come to the right one.
#[derive(Default)]
struct Abroad {
    by_id: BTreeMap<String, (Timestamp, u32)>,
    by_time: BTreeSet<(Timestamp, String)>,
}

/// What was sent in the end.
pub(crate) struct Loaded {
    producer: BaseProducer<Quiet>,
    pub(crate) events: u64,
    pub(crate) misplaced: u64,
    pub(crate) twice: u64,
    pub(crate) last: Timestamp,
    tenants: BTreeSet<String>,
}

impl Progress {
    fn abroad(&self) -> MutexGuard<'_, Abroad> {
        self.abroad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, id: &str, at: Timestamp) {
        let mut abroad = self.abroad();
        abroad.by_id.entry(id.to_owned()).or_insert((at, 0)).1 += 1;
        abroad.by_time.insert((at, id.to_owned()));
    }

    /// A message was seen in the topic for rerouted ones; `false` if it had come there before.
    pub(crate) fn arrive(&self, id: &str) -> bool {
        let mut abroad = self.abroad();
        let Some((at, copies)) = abroad.by_id.get_mut(id) else { return false };
        *copies -= 1;
        if *copies == 0 {
            let key = (*at, id.to_owned());
            abroad.by_id.remove(id);
            abroad.by_time.remove(&key);
        }
        true
    }

    pub(crate) fn abroad_count(&self) -> usize {
        self.abroad().by_id.len()
    }

    fn eldest_abroad(&self) -> Option<Timestamp> {
        self.abroad().by_time.first().map(|(at, _)| *at)
    }
}

/// An event on its way.
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
pub(crate) fn start(site: &Arc<Site>, plan: Plan, progress: &Arc<Progress>) -> JoinHandle<anyhow::Result<Loaded>> {
    let (site, progress) = (Arc::clone(site), Arc::clone(progress));
    std::thread::spawn(move || {
        let loaded = run(&site, plan, &progress);
        progress.over.store(true, Ordering::Relaxed);
        loaded
    })
}

fn run(site: &Site, plan: Plan, progress: &Progress) -> anyhow::Result<Loaded> {
    let mut simulation = Command::new(&site.binary)
        .args(["simulate", "--density", "1", "--out", "-", "--seed", &plan.seed.to_string()])
        .args(["--tenants", &plan.tenants.to_string(), "--managers", &plan.managers.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let events = simulation.stdout.take().context("the events of the simulation")?;
    let loaded = send(site, plan, progress, BufReader::new(events));
    let _ = simulation.kill();
    let _ = simulation.wait();
    loaded
}

fn send(site: &Site, plan: Plan, progress: &Progress, events: impl BufRead) -> anyhow::Result<Loaded> {
    let producer: BaseProducer<Quiet> = site
        .client()
        .set("enable.idempotence", "true")
        // Nothing is ever given up: an outage only delays.
        .set("message.timeout.ms", "0")
        .set("retry.backoff.ms", "50")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create_with_context(site.quiet())?;
    let mut sender = Sender { site, progress, dice: Dice::new(plan.seed, 3), file: site.file("events.ndjson")? };
    let tenants = BTreeSet::new();
    let mut loaded = Loaded { producer, events: 0, misplaced: 0, twice: 0, last: Timestamp::MIN, tenants };
    let mut lines = events.lines();
    let mut next = read(&mut lines)?;
    let mut now = next.at.0 as f64;
    let mut looked = Instant::now();
    while !progress.finish.load(Ordering::Relaxed) {
        let passed = std::mem::replace(&mut looked, Instant::now()).elapsed().as_secs_f64().min(0.1);
        let waits = sender.waits(&loaded, Timestamp(now as i64));
        progress.stands.store(waits == Some(ABROAD), Ordering::Relaxed);
        match waits {
            Some(why) => drop(progress.waited[why].fetch_add((passed * 1000.0) as u64, Ordering::Relaxed)),
            None => now += passed * 1000.0 * plan.speed,
        }
        // Those of one instant together: see `place`.
        while next.at.0 as f64 <= now {
            let at = next.at;
            let mut group = Vec::new();
            while next.at == at {
                group.push(std::mem::replace(&mut next, read(&mut lines)?));
            }
            sender.send_all(&mut loaded, &group)?;
        }
        loaded.serve();
        std::thread::sleep(Duration::from_millis(5));
    }
    sender.file.flush()?;
    loaded.flush()?;
    Ok(loaded)
}

fn read(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> anyhow::Result<Message> {
    Message::read(lines.next().context("the simulation has ended")??)
}

struct Sender<'a> {
    site: &'a Site,
    progress: &'a Progress,
    dice: Dice,
    file: BufWriter<File>,
}

impl Sender<'_> {
    /// Why event time has to stand still.
    fn waits(&self, loaded: &Loaded, now: Timestamp) -> Option<usize> {
        let longest = Span(i64::from(self.site.lateness) * Span::HOUR.0 / 2);
        if self.progress.eldest_abroad().is_some_and(|at| now - at > longest) {
            return Some(ABROAD);
        }
        (loaded.producer.in_flight_count() > UNANSWERED).then_some(AWAY)
    }

    fn send_all(&mut self, loaded: &mut Loaded, group: &[Message]) -> anyhow::Result<()> {
        for message in group {
            let (key, is_misplaced) = self.place(message, group);
            let copies = 1 + u8::from(self.dice.chance(TWICE));
            loaded.twice += u64::from(copies > 1);
            for _ in 0..copies {
                writeln!(self.file, "{}", message.line)?;
                if is_misplaced {
                    self.progress.leave(&message.id, message.at);
                    loaded.misplaced += 1;
                }
                let topic = ["crm", "telephony", "email"][message.topic as usize];
                loaded.produce(&self.site.topic(topic), key, &message.line)?;
                loaded.events += 1;
            }
            loaded.last = message.at;
            if !loaded.tenants.contains(&message.tenant) {
                loaded.tenants.insert(message.tenant.clone());
            }
        }
        self.progress.sent.store(loaded.events, Ordering::Relaxed);
        self.progress.frontier.store(loaded.last.0, Ordering::Relaxed);
        Ok(())
    }

    /// The key of a message, and whether it leads to a wrong partition. Of two calls of a tenant at one instant neither is
    /// misplaced: their order is that of their offsets, which the way round does not keep.
    fn place<'m>(&mut self, message: &'m Message, group: &[Message]) -> (&'m str, bool) {
        let right = shard(&message.tenant, SHARDS);
        let calls = group.iter().filter(|other| other.topic == message.topic && other.tenant == message.tenant).count();
        match &message.call {
            Some(call) if self.dice.chance(MISPLACED) && calls == 1 => (call, shard(call, SHARDS) != right),
            _ => (&message.tenant, false),
        }
    }
}

impl Site {
    fn file(&self, name: &str) -> anyhow::Result<BufWriter<File>> {
        Ok(BufWriter::new(File::create(self.path(name))?))
    }
}

impl Loaded {
    fn produce(&self, topic: &str, key: &str, value: &str) -> anyhow::Result<()> {
        let mut record = BaseRecord::to(topic).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(10));
                    record = back;
                }
                Err((error, _)) => bail!("send an event to {topic}: {error}"),
            }
        }
    }

    /// Serves delivery reports: a poll serves no more than one batch of them.
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
                bail!("the broker takes no events: {left} left, {:?}", self.producer.client().fatal_error());
            }
            self.producer.poll(Duration::from_millis(10));
        }
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            bail!("our own producer: {code}: {reason}");
        }
        match self.producer.client().context().failed() {
            0 => Ok(()),
            n => bail!("our own producer: {n} events were not delivered"),
        }
    }

    /// Sends one event of each tenant so late that the watermark goes to `end`, where nothing is left to be done of it;
    /// how many went to each partition of the CRM's topic.
    pub(crate) fn tick(&self, site: &Site, end: Timestamp) -> anyhow::Result<BTreeMap<u32, i64>> {
        let at = end.saturating_add(Span(i64::from(site.lateness) * Span::HOUR.0));
        let mut ticks = BTreeMap::new();
        for tenant in &self.tenants {
            let line = format!(
                r#"{{"event_id":"tick","tenant_id":"{tenant}","occurred_at":"{at}","manager_upserted":{{"manager_id":"tick","active":true}}}}"#
            );
            self.produce(&site.topic("crm"), tenant, &line)?;
            *ticks.entry(shard(tenant, SHARDS)).or_default() += 1;
        }
        self.flush()?;
        Ok(ticks)
    }
}

//! Owns the life of the sources that this process reads: it starts a reader for each source of its partitions, passes hints to
//! it, and commits what it returns.
//!
//! ```text
//!  topic of hints ──► driver thread ──hints──► thread of a reader ──asks──► CRM
//!                      ▲    │  ▲                     │
//!    group, cursors ───┘    │  └─────portions────────┘
//!                           └──► one transaction: events, marks, cursors, offset of the hints
//! ```
//!
//! **One reader.** A source is read by one process at a time, and in it by one thread: a reader that is asked to return is
//! awaited before the next one of its source starts. What a former owner still returns is refused by the broker.
//!
//! **Failures.** A portion that is not committed ends its reader; a new one starts from the committed cursors. Errors of the
//! clients end all readers, and the driver starts again with new clients, as the processor does.

mod active;

use super::encode;
use super::hint_record;
use super::source::{Cursors, Hint, ReadError, Reader};
use crate::config::Config;
use crate::config::gateway::GatewaySource;
use crate::domain::source::ShardId;
use crate::edge::kafka::shared_log::{LogEvent, LogRecord, SharedLog, SharedTopics, StateRecords};
use crate::edge::kafka::{Observer, Restarts, RunError, Stop};
use crate::telemetry::gateway_metrics::{GatewayMetrics, SourceMetrics};
use crate::telemetry::liveness::Liveness;
use active::{Active, Delivery};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the driver waits for hints before it looks at portions.
const TICK: Duration = Duration::from_millis(10);
/// The pause before a reader that has ended is started again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a stop waits for readers that are asking their source.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the membership in the group is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Builds the reader of a source from its committed cursors.
pub type Opener =
    Arc<dyn Fn(&GatewaySource, &Cursors, Arc<SourceMetrics>) -> Result<Box<dyn Reader>, ReadError> + Send + Sync>;

/// What the driver needs from its process.
pub struct DriverContext {
    /// The configuration; its group and transactional id are those of the gateway.
    pub config: Config,
    /// Builds readers.
    pub open: Opener,
    /// Metrics of the sources.
    pub metrics: Arc<GatewayMetrics>,
    /// Liveness and readiness.
    pub liveness: Arc<Liveness>,
    /// Receives what the Kafka clients report.
    pub observer: Arc<Observer>,
    /// Ends the run.
    pub stop: Stop,
}

/// Reads the sources of this process until a stop is requested. Waits for brokers and topics without limit.
pub fn run(context: &DriverContext) -> Result<(), RunError> {
    let mut restarts = Restarts::default();
    loop {
        let Err(error) = start(context) else { return Ok(()) };
        let of_run = (&context.stop, &*context.observer);
        restarts.after(error, &context.config, of_run, || context.metrics.restarting())?;
    }
}

fn start(context: &DriverContext) -> Result<(), RunError> {
    let Some(log) = SharedLog::open(&context.config, SharedTopics::GATEWAY, &context.stop, &context.observer)? else {
        return Ok(());
    };
    let (deliveries_in, deliveries) = unbounded();
    let sources = context.config.gateway.as_ref().map_or(&[][..], |gateway| &gateway.sources);
    let sources = sources.iter().map(|source| Source::new(context, &log, source)).collect();
    let driver = Driver {
        context,
        log,
        sources,
        partitions: BTreeMap::new(),
        deliveries_in,
        deliveries,
        last_reader: 0,
        is_stopping: false,
    };
    driver.run()
}

/// A source of the configuration.
struct Source {
    config: GatewaySource,
    partition: ShardId,
    metrics: Arc<SourceMetrics>,
    /// The committed cursors, while its partition is assigned.
    cursors: Cursors,
    active: Option<Active>,
    /// Readers that were asked to return and have not.
    leaving: Vec<Active>,
    /// When a reader may start.
    start_at: Instant,
}

impl Source {
    fn new(context: &DriverContext, log: &SharedLog, config: &GatewaySource) -> Self {
        Self {
            config: config.clone(),
            partition: log.partition_of(&config.name),
            metrics: context.metrics.source(&config.name),
            cursors: Cursors::new(),
            active: None,
            leaving: Vec::new(),
            start_at: Instant::now(),
        }
    }

    /// Asks the reader to return.
    fn release(&mut self) {
        if let Some(active) = self.active.take() {
            active.stop();
            self.leaving.push(active);
        }
    }
}

/// The hints of a partition that are not used up.
#[derive(Default)]
struct Pending {
    /// The offset after the last hint that was read.
    next: Option<i64>,
    /// By offset, with the index of their source.
    hints: BTreeMap<i64, (usize, Hint)>,
}

impl Pending {
    /// The offset up to which all hints are used up.
    fn up_to(&self) -> Option<i64> {
        self.hints.first_key_value().map(|(offset, _)| *offset).or(self.next)
    }
}

struct Driver<'a> {
    context: &'a DriverContext,
    log: SharedLog,
    sources: Vec<Source>,
    /// The assigned partitions.
    partitions: BTreeMap<ShardId, Pending>,
    deliveries_in: Sender<Delivery>,
    deliveries: Receiver<Delivery>,
    last_reader: u64,
    is_stopping: bool,
}

impl Driver<'_> {
    fn run(mut self) -> Result<(), RunError> {
        let result = self.read();
        self.sources.iter_mut().for_each(Source::release);
        match result {
            Ok(()) => self.finish(),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self) -> Result<(), RunError> {
        let mut checked = Instant::now();
        while !self.context.stop.is_set() {
            let time = if self.deliveries.is_empty() { TICK } else { Duration::ZERO };
            match self.log.next(time)? {
                Some(LogEvent::Assigned(records)) => self.assigned(&records),
                Some(LogEvent::Revoked) => self.revoked(),
                Some(LogEvent::Read { at, key, value, .. }) => self.hint(at, &key, &value),
                None => {}
            }
            while let Ok(delivery) = self.deliveries.try_recv() {
                self.commit(delivery)?;
            }
            self.start_readers();
            if checked.elapsed() > CHECK_INTERVAL {
                checked = Instant::now();
                if self.log.is_lost() {
                    return Err(RunError::Removed);
                }
            }
        }
        Ok(())
    }

    /// Commits what the readers return that are asking their sources, and leaves the group.
    fn finish(mut self) -> Result<(), RunError> {
        self.is_stopping = true;
        let stopped = Instant::now();
        let is_running = |source: &Source| source.leaving.iter().any(|active| !active.is_finished());
        while self.sources.iter().any(is_running) && stopped.elapsed() < STOP_TIMEOUT {
            if let Ok(delivery) = self.deliveries.recv_timeout(TICK) {
                self.commit(delivery)?;
            }
        }
        self.log.leave();
        Ok(())
    }

    fn assigned(&mut self, records: &BTreeMap<ShardId, StateRecords>) {
        self.partitions = records.keys().map(|partition| (*partition, Pending::default())).collect();
        for source in &mut self.sources {
            source.cursors = Cursors::new();
            source.start_at = Instant::now();
            let Some(StateRecords(records)) = records.get(&source.partition) else { continue };
            let prefix = key_of(&source.config.name, "");
            for (key, value) in records.range(prefix.clone()..) {
                let Some(leg) = key.strip_prefix(prefix.as_slice()) else { break };
                source.cursors.insert(String::from_utf8_lossy(leg).into(), value.clone());
            }
        }
        let read = self.sources.iter().filter(|source| self.is_to_be_read(source)).count();
        tracing::info!("reading {read} of {} sources", self.sources.len());
        self.context.liveness.set_ready(true);
    }

    fn is_to_be_read(&self, source: &Source) -> bool {
        source.config.kind.is_read() && self.partitions.contains_key(&source.partition)
    }

    fn revoked(&mut self) {
        self.partitions.clear();
        for source in &mut self.sources {
            source.release();
            source.cursors.clear();
            source.metrics.set_active(false);
        }
    }

    fn hint(&mut self, (partition, offset): (ShardId, i64), key: &[u8], value: &[u8]) {
        let Some(pending) = self.partitions.get_mut(&partition) else { return };
        pending.next = Some(offset + 1);
        // A source that is not in the configuration any more, or a foreign record.
        let source = self.sources.iter().position(|source| source.config.name.as_bytes() == key);
        let Some((index, hint)) = source.zip(hint_record::decode(value)) else {
            tracing::debug!("a record of the topic of hints is none of a source");
            return;
        };
        let source = &self.sources[index];
        if !source.config.kind.is_read() || source.partition != partition {
            return;
        }
        if source.active.as_ref().is_none_or(|active| active.hint(offset, hint.clone())) {
            pending.hints.insert(offset, (index, hint));
            if pending.hints.len() > 2 * active::WAITING {
                // Without a reader nothing else bounds them; the oldest is left to the next sweep.
                pending.hints.pop_first();
                source.metrics.left_to_sweep(1);
            }
        } else {
            source.metrics.left_to_sweep(1);
        }
    }

    /// Starts the readers that are due.
    fn start_readers(&mut self) {
        for index in 0..self.sources.len() {
            let is_to_be_read = self.is_to_be_read(&self.sources[index]);
            let source = &mut self.sources[index];
            source.leaving.retain(|active| !active.is_finished());
            if source.active.as_ref().is_some_and(Active::is_finished) {
                source.release();
                source.leaving.clear();
                source.start_at = Instant::now() + PAUSE;
            }
            let may_start = source.leaving.is_empty() && source.start_at <= Instant::now();
            if !is_to_be_read || source.active.is_some() || !may_start {
                continue;
            }
            self.last_reader += 1;
            let (open, config, cursors) =
                (Arc::clone(&self.context.open), source.config.clone(), source.cursors.clone());
            let metrics = Arc::clone(&source.metrics);
            let open = move || open(&config, &cursors, metrics);
            let (name, metrics) = (source.config.name.as_str(), Arc::clone(&source.metrics));
            match Active::start((index, name, self.last_reader), open, metrics, self.deliveries_in.clone()) {
                Ok(active) => {
                    let pending = self.partitions.get(&source.partition).into_iter().flat_map(|of| &of.hints);
                    for (offset, (_, hint)) in pending.filter(|(_, (of, _))| *of == index) {
                        active.hint(*offset, hint.clone());
                    }
                    source.active = Some(active);
                }
                Err(error) => {
                    tracing::error!("start the reader of source {name}: {error}");
                    source.start_at = Instant::now() + PAUSE;
                }
            }
        }
    }

    /// Writes a portion with the cursors after it.
    fn commit(&mut self, delivery: Delivery) -> Result<(), RunError> {
        let Delivery { source: index, reader, portion, finished, answer } = delivery;
        let source = &mut self.sources[index];
        let partition = source.partition;
        // A reader that was asked to return may still finish at a stop. Otherwise its cursors may be those of an assignment
        // that is over.
        let leaving = source.leaving.iter().filter(|_| self.is_stopping);
        let mut readers = source.active.iter().chain(leaving);
        let Some(pending) = self.partitions.get_mut(&partition).filter(|_| readers.any(|own| own.reader == reader))
        else {
            let _ = answer.send(false);
            return Ok(());
        };
        let used: Vec<_> =
            finished.iter().filter_map(|offset| Some((*offset, pending.hints.remove(offset)?))).collect();
        let topics = &self.context.config.topics;
        let tenant = source.config.tenant.as_str().as_bytes();
        let events = portion.events.iter().map(|event| (event.topic(), encode::event(topics, event)));
        let marks = portion.marks.iter().map(|(topic, progress)| (*topic, encode::mark(topics, *topic, progress)));
        let messages: Vec<_> = events.chain(marks).collect();
        let cursors: Vec<_> =
            portion.cursors.iter().map(|(leg, value)| (key_of(&source.config.name, leg), value.as_deref())).collect();
        let messages = messages.iter().map(|(topic, value)| LogRecord {
            topic: &topics.sources[*topic].name,
            partition: None,
            key: tenant,
            value: Some(value),
        });
        let cursors = cursors.iter().map(|(key, value)| LogRecord {
            topic: &topics.cursors,
            partition: Some(partition),
            key,
            value: *value,
        });
        let records: Vec<_> = messages.chain(cursors).collect();
        let started = Instant::now();
        let metrics = &self.context.metrics;
        if self.log.commit(partition, &records, pending.up_to(), || metrics.aborted())? {
            metrics.committed(started.elapsed());
            source.metrics.written(portion.events.iter().map(|event| event.event.payload.kind()));
            for (leg, value) in portion.cursors {
                match value {
                    Some(value) => source.cursors.insert(leg, value),
                    None => source.cursors.remove(&leg),
                };
            }
            let _ = answer.send(true);
        } else {
            pending.hints.extend(used);
            source.start_at = Instant::now() + PAUSE;
            source.release();
            let _ = answer.send(false);
        }
        Ok(())
    }
}

/// The key of a cursor in its topic. Names of sources contain no slash.
fn key_of(source: &str, leg: &str) -> Vec<u8> {
    format!("{source}/{leg}").into_bytes()
}

//! Monitors the group from outside: assignments, committed offsets, metrics of the processes, and recovery times: how
//! long it takes until every shard of a stopped process is committed again, by any process.

use crate::environment::{Environment, PROCESSES, REQUEST_TIMEOUT, SHARDS, SOURCES};
use crate::file_log::FileLogContext;
use crate::load::Progress;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A commit in flight when its process is stopped may still complete. Offsets are compared only after this time.
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// Committed offsets by shard and source topic; -1 if there is none.
pub(crate) type Offsets = BTreeMap<u32, Vec<i64>>;

/// How a process was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
}

/// The recovery from a stop of a process.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    pub(crate) cause: Cause,
    started: Instant,
    /// The shards that are not committed again yet.
    shards: BTreeSet<u32>,
    baseline: Option<Offsets>,
    pub(crate) took: Option<Duration>,
    /// Another kind of fault was active, so the recovery time says little about the process.
    pub(crate) disturbed: bool,
}

#[derive(Default)]
struct Observed {
    owned: Vec<BTreeSet<u32>>,
    members: usize,
    offsets: Offsets,
    recoveries: Vec<Recovery>,
    /// For each process: its counter of late events since its start, and the sum over earlier starts.
    late: Vec<[u64; 2]>,
}

/// Observations of the group.
#[derive(Default)]
pub(crate) struct Monitor {
    observed: Mutex<Observed>,
    pub(crate) stop: AtomicBool,
    pub(crate) alerts: AtomicU64,
    pub(crate) rerouted: AtomicU64,
    /// Messages that were rerouted more than once.
    pub(crate) rerouted_again: AtomicU64,
    pub(crate) state_bytes: AtomicU64,
    pub(crate) state_records: AtomicU64,
    /// How often a change of offsets was observed.
    moves: AtomicU64,
}

impl Monitor {
    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shards that each process owns, or owned last.
    pub(crate) fn owned(&self) -> Vec<BTreeSet<u32>> {
        self.observed().owned.clone()
    }

    pub(crate) fn members(&self) -> usize {
        self.observed().members
    }

    pub(crate) fn offsets(&self) -> Offsets {
        self.observed().offsets.clone()
    }

    /// Begins a recovery: a process is being stopped.
    pub(crate) fn process_stopped(&self, process: usize, cause: Cause, disturbed: bool) {
        let mut observed = self.observed();
        let shards = observed.owned.get(process).cloned().unwrap_or_default();
        if !shards.is_empty() {
            let started = Instant::now();
            observed.recoveries.push(Recovery { cause, started, shards, baseline: None, took: None, disturbed });
        }
    }

    /// Marks all open recoveries as disturbed by another kind of fault.
    pub(crate) fn disturb(&self) {
        self.observed()
            .recoveries
            .iter_mut()
            .filter(|recovery| recovery.took.is_none())
            .for_each(|recovery| recovery.disturbed = true);
    }

    pub(crate) fn recoveries(&self) -> Vec<Recovery> {
        self.observed().recoveries.clone()
    }

    pub(crate) fn late(&self) -> u64 {
        self.observed().late.iter().flatten().sum()
    }

    fn update_offsets(&self, requested_at: Instant, offsets: Offsets) {
        let mut observed = self.observed();
        if observed.offsets != offsets {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        for recovery in observed
            .recoveries
            .iter_mut()
            .filter(|recovery| recovery.took.is_none() && recovery.started + SETTLE_TIME <= requested_at)
        {
            let baseline = recovery.baseline.get_or_insert_with(|| offsets.clone());
            let moved = |shard: &u32| {
                let pair = (baseline.get(shard), offsets.get(shard));
                matches!(pair, (Some(before), Some(now)) if before.iter().zip(now).any(|(before, now)| before < now))
            };
            recovery.shards.retain(|shard| !moved(shard));
            if recovery.shards.is_empty() {
                recovery.took = Some(recovery.started.elapsed());
            }
        }
        observed.offsets = offsets;
    }

    /// How often a change of offsets was observed.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }
}

/// Starts the monitor threads.
pub(crate) fn start(
    env: &Arc<Environment>,
    progress: &Arc<Progress>,
) -> anyhow::Result<(Arc<Monitor>, Vec<JoinHandle<()>>)> {
    let monitor = Arc::new(Monitor::default());
    {
        let mut observed = monitor.observed();
        observed.owned = vec![BTreeSet::new(); PROCESSES];
        observed.late = vec![[0; 2]; PROCESSES];
    }
    let group: BaseConsumer<FileLogContext> =
        env.client().set("group.id", &env.group).create_with_context(env.client_context())?;
    let reader = env.reader(&["rerouted", "alerts", "state"])?;
    let threads = [
        spawn(&monitor, {
            let env = Arc::clone(env);
            move |monitor| poll_group(monitor, &env, &group)
        }),
        spawn(&monitor, {
            let (env, progress) = (Arc::clone(env), Arc::clone(progress));
            move |monitor| read(monitor, &env, &progress, &reader)
        }),
        spawn(&monitor, {
            let env = Arc::clone(env);
            move |monitor| scrape_all(monitor, &env)
        }),
    ];
    Ok((monitor, threads.into()))
}

/// Runs a function repeatedly in a thread until the monitor stops.
fn spawn(monitor: &Arc<Monitor>, mut step: impl FnMut(&Monitor) + Send + 'static) -> JoinHandle<()> {
    let monitor = Arc::clone(monitor);
    std::thread::spawn(move || {
        while !monitor.stop.load(Ordering::Relaxed) {
            step(&monitor);
        }
    })
}

fn poll_group(monitor: &Monitor, env: &Environment, consumer: &BaseConsumer<FileLogContext>) {
    let requested_at = Instant::now();
    let mut list = TopicPartitionList::new();
    for topic in SOURCES {
        for partition in 0..SHARDS {
            list.add_partition(&env.topic(topic), partition as i32);
        }
    }
    if let Ok(committed) = consumer.committed_offsets(list, REQUEST_TIMEOUT) {
        let mut offsets = Offsets::new();
        for partition in committed.elements() {
            let shard = partition.partition() as u32;
            let shard_offsets = offsets.entry(shard).or_insert_with(|| vec![-1; SOURCES.len()]);
            let source = SOURCES.iter().position(|topic| env.topic(topic) == partition.topic());
            if let (Some(source), Offset::Offset(offset)) = (source, partition.offset()) {
                shard_offsets[source] = offset;
            }
        }
        monitor.update_offsets(requested_at, offsets);
    }
    if let Ok(groups) = consumer.fetch_group_list(Some(&env.group), REQUEST_TIMEOUT)
        && let Some(group) = groups.groups().first()
    {
        let mut observed = monitor.observed();
        observed.members = group.members().len();
        for member in group.members() {
            let process = (0..PROCESSES).find(|process| {
                let id = env.transactional_id(*process);
                member.client_id().strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('-'))
            });
            let shards = member.assignment().and_then(decode_assignment).unwrap_or_default();
            if let Some(process) = process
                && group.state() == "Stable"
                && !shards.is_empty()
            {
                observed.owned[process] = shards;
            }
        }
    }
    std::thread::sleep(Duration::from_millis(100).saturating_sub(requested_at.elapsed()));
}

/// The partitions of an assignment in the format of the group protocol: a version, then topics with their partitions.
fn decode_assignment(mut bytes: &[u8]) -> Option<BTreeSet<u32>> {
    fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
        let (head, tail) = bytes.split_at_checked(n)?;
        *bytes = tail;
        Some(head)
    }
    fn number(bytes: &mut &[u8]) -> Option<u32> {
        Some(u32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))
    }
    let mut shards = BTreeSet::new();
    take(&mut bytes, 2)?;
    for _ in 0..number(&mut bytes)? {
        let length = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        take(&mut bytes, length.into())?;
        for _ in 0..number(&mut bytes)? {
            shards.insert(number(&mut bytes)?);
        }
    }
    Some(shards)
}

/// Counts the records of the output topics.
fn read(monitor: &Monitor, env: &Environment, progress: &Progress, reader: &BaseConsumer<FileLogContext>) {
    let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) else { return };
    let value = message.payload().unwrap_or_default();
    match message.topic().strip_prefix(&env.topic("")) {
        Some("alerts") => {
            monitor.alerts.fetch_add(1, Ordering::Relaxed);
        }
        Some("state") => {
            monitor.state_records.fetch_add(1, Ordering::Relaxed);
            let bytes = value.len() + message.key().map_or(0, <[u8]>::len);
            monitor.state_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        _ => {
            monitor.rerouted.fetch_add(1, Ordering::Relaxed);
            let event: Option<serde_json::Value> = serde_json::from_slice(value).ok();
            let id = event.as_ref().and_then(|event| event["event_id"].as_str());
            if !id.is_some_and(|id| progress.note_rerouted(id)) {
                monitor.rerouted_again.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn scrape_all(monitor: &Monitor, env: &Environment) {
    for process in 0..PROCESSES {
        let Some(late) = scrape(env.ports[process][2], "funnelwatch_events_late_total") else { continue };
        let [current, earlier] = &mut monitor.observed().late[process];
        if late < *current {
            *earlier += *current;
        }
        *current = late;
    }
    std::thread::sleep(Duration::from_millis(300));
}

/// A counter from the metrics of a process; `None` if the process does not respond.
fn scrape(port: u16, name: &str) -> Option<u64> {
    let timeout = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())?;
    Some(value as u64)
}

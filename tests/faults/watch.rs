//! Owns what is seen of the group from outside: who has which shards, what is committed, and how long it takes until
//! every shard of a process that was stopped is committed again, by whomever; and what the processes count themselves.

use crate::load::Progress;
use crate::quiet::Quiet;
use crate::site::{ASK, PROCESSES, SHARDS, SOURCES, Site};
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

/// A commit that was under way when its process died may still come through for a moment: it does not count.
const SETTLED: Duration = Duration::from_millis(200);

/// Committed offsets, of each topic in each partition; -1 where there is none.
pub(crate) type Offsets = BTreeMap<u32, Vec<i64>>;

/// What a process was stopped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
}

/// A process was stopped.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    pub(crate) cause: Cause,
    begun: Instant,
    /// Those that are not committed again.
    shards: BTreeSet<u32>,
    baseline: Option<Offsets>,
    pub(crate) took: Option<Duration>,
    /// Another kind of fault was under way: what it took says little about the process.
    pub(crate) disturbed: bool,
}

#[derive(Default)]
struct Seen {
    owned: Vec<BTreeSet<u32>>,
    members: usize,
    offsets: Offsets,
    recoveries: Vec<Recovery>,
    /// Of each process: its counter of late events, of this life and of the former ones.
    late: Vec<[u64; 2]>,
}

/// What is seen.
#[derive(Default)]
pub(crate) struct Watch {
    seen: Mutex<Seen>,
    pub(crate) over: AtomicBool,
    pub(crate) alerts: AtomicU64,
    pub(crate) rerouted: AtomicU64,
    /// Messages that were rerouted more often than they were sent.
    pub(crate) rerouted_again: AtomicU64,
    pub(crate) state_bytes: AtomicU64,
    pub(crate) state_records: AtomicU64,
    /// When any offset was last seen to move, in milliseconds since the start.
    moved: AtomicU64,
}

impl Watch {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shards that each process has, or had last.
    pub(crate) fn owned(&self) -> Vec<BTreeSet<u32>> {
        self.seen().owned.clone()
    }

    pub(crate) fn members(&self) -> usize {
        self.seen().members
    }

    pub(crate) fn offsets(&self) -> Offsets {
        self.seen().offsets.clone()
    }

    /// A process is stopped now.
    pub(crate) fn stopped(&self, process: usize, cause: Cause, disturbed: bool) {
        let mut seen = self.seen();
        let shards = seen.owned.get(process).cloned().unwrap_or_default();
        if !shards.is_empty() {
            let begun = Instant::now();
            seen.recoveries.push(Recovery { cause, begun, shards, baseline: None, took: None, disturbed });
        }
    }

    /// Another kind of fault happens: it disturbs those who recover now.
    pub(crate) fn disturb(&self) {
        self.seen().recoveries.iter_mut().filter(|one| one.took.is_none()).for_each(|one| one.disturbed = true);
    }

    pub(crate) fn recoveries(&self) -> Vec<Recovery> {
        self.seen().recoveries.clone()
    }

    pub(crate) fn late(&self) -> u64 {
        self.seen().late.iter().flatten().sum()
    }

    fn take_offsets(&self, asked: Instant, offsets: Offsets) {
        let mut seen = self.seen();
        if seen.offsets != offsets {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        for one in seen.recoveries.iter_mut().filter(|one| one.took.is_none() && one.begun + SETTLED <= asked) {
            let baseline = one.baseline.get_or_insert_with(|| offsets.clone());
            let moved = |shard: &u32| {
                let pair = (baseline.get(shard), offsets.get(shard));
                matches!(pair, (Some(before), Some(now)) if before.iter().zip(now).any(|(before, now)| before < now))
            };
            one.shards.retain(|shard| !moved(shard));
            if one.shards.is_empty() {
                one.took = Some(one.begun.elapsed());
            }
        }
        seen.offsets = offsets;
    }

    /// How often offsets were seen to move.
    pub(crate) fn moves(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}

/// Starts watching.
pub(crate) fn start(site: &Arc<Site>, progress: &Arc<Progress>) -> anyhow::Result<(Arc<Watch>, Vec<JoinHandle<()>>)> {
    let watch = Arc::new(Watch::default());
    {
        let mut seen = watch.seen();
        seen.owned = vec![BTreeSet::new(); PROCESSES];
        seen.late = vec![[0; 2]; PROCESSES];
    }
    let group: BaseConsumer<Quiet> = site.client().set("group.id", &site.group).create_with_context(site.quiet())?;
    let reader = site.reader(&["rerouted", "alerts", "state"])?;
    let threads = [
        spawn(&watch, {
            let site = Arc::clone(site);
            move |watch| watch_group(watch, &site, &group)
        }),
        spawn(&watch, {
            let (site, progress) = (Arc::clone(site), Arc::clone(progress));
            move |watch| read(watch, &site, &progress, &reader)
        }),
        spawn(&watch, {
            let site = Arc::clone(site);
            move |watch| scrape_all(watch, &site)
        }),
    ];
    Ok((watch, threads.into()))
}

/// Does something again and again.
fn spawn(watch: &Arc<Watch>, mut turn: impl FnMut(&Watch) + Send + 'static) -> JoinHandle<()> {
    let watch = Arc::clone(watch);
    std::thread::spawn(move || {
        while !watch.over.load(Ordering::Relaxed) {
            turn(&watch);
        }
    })
}

fn watch_group(watch: &Watch, site: &Site, consumer: &BaseConsumer<Quiet>) {
    let asked = Instant::now();
    let mut list = TopicPartitionList::new();
    for topic in SOURCES {
        for partition in 0..SHARDS {
            list.add_partition(&site.topic(topic), partition as i32);
        }
    }
    if let Ok(committed) = consumer.committed_offsets(list, ASK) {
        let mut offsets = Offsets::new();
        for partition in committed.elements() {
            let number = partition.partition() as u32;
            let of_shard = offsets.entry(number).or_insert_with(|| vec![-1; SOURCES.len()]);
            let place = SOURCES.iter().position(|topic| site.topic(topic) == partition.topic());
            if let (Some(place), Offset::Offset(offset)) = (place, partition.offset()) {
                of_shard[place] = offset;
            }
        }
        watch.take_offsets(asked, offsets);
    }
    if let Ok(groups) = consumer.fetch_group_list(Some(&site.group), ASK)
        && let Some(group) = groups.groups().first()
    {
        let mut seen = watch.seen();
        seen.members = group.members().len();
        for member in group.members() {
            let process = (0..PROCESSES).find(|process| {
                let id = site.transactional_id(*process);
                member.client_id().strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('-'))
            });
            let shards = member.assignment().and_then(shards).unwrap_or_default();
            if let Some(process) = process
                && group.state() == "Stable"
                && !shards.is_empty()
            {
                seen.owned[process] = shards;
            }
        }
    }
    std::thread::sleep(Duration::from_millis(100).saturating_sub(asked.elapsed()));
}

/// The partitions of an assignment, as the group protocol writes it: a version, then topics with their partitions.
fn shards(mut bytes: &[u8]) -> Option<BTreeSet<u32>> {
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

/// Reads what comes out while it runs.
fn read(watch: &Watch, site: &Site, progress: &Progress, reader: &BaseConsumer<Quiet>) {
    let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) else { return };
    let value = message.payload().unwrap_or_default();
    match message.topic().strip_prefix(&site.topic("")) {
        Some("alerts") => {
            watch.alerts.fetch_add(1, Ordering::Relaxed);
        }
        Some("state") => {
            watch.state_records.fetch_add(1, Ordering::Relaxed);
            let bytes = value.len() + message.key().map_or(0, <[u8]>::len);
            watch.state_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        _ => {
            watch.rerouted.fetch_add(1, Ordering::Relaxed);
            let event: Option<serde_json::Value> = serde_json::from_slice(value).ok();
            let id = event.as_ref().and_then(|event| event["event_id"].as_str());
            if !id.is_some_and(|id| progress.arrive(id)) {
                watch.rerouted_again.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn scrape_all(watch: &Watch, site: &Site) {
    for process in 0..PROCESSES {
        let Some(late) = scrape(site.ports[process][2], "funnelwatch_events_late_total") else { continue };
        let [now, before] = &mut watch.seen().late[process];
        if late < *now {
            *before += *now;
        }
        *now = late;
    }
    std::thread::sleep(Duration::from_millis(300));
}

/// One counter of a process' metrics; `None` if it does not answer.
fn scrape(port: u16, name: &str) -> Option<u64> {
    let patience = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())?;
    Some(value as u64)
}

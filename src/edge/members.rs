//! Owns the decision which process answers for a tenant, when several share the shards.
//!
//! Each process announces its shards in a topic with one partition, again every second, and reads the announcements of all.
//! **Invariant: at no time do two processes answer for a shard.** A process answers for a shard only if
//!
//! - it has the shard, restored and read, and has not been asked to release it;
//! - it has read back an announcement of its own that claims the shard and that it sent less than a lease ago, so it has read
//!   everything that was announced before;
//! - no other process claims the shard in what it has read.
//!
//! A process that claims a shard keeps others from answering until it announces that it no longer does, or for a lease. Of two
//! that claim a shard, the one with the older generation of the group withdraws: it has lost the shard and does not know yet.
//! A process that is suspended or cut off, whatever it believes, has no lease when it goes on.
//!
//! *Alternative considered*: to ask the coordinator of the group who owns a shard. That is one request for each answer, and it
//! does not say where the owner listens, nor whether it has restored the shard.

mod record;
mod table;

pub use record::{Announcement, MemberUrl};

use super::clock;
use crate::dataflow::live::lock;
use crate::domain::shard::partitioner::shard;
use crate::domain::source::ShardId;
use crate::domain::time::Timestamp;
use crate::telemetry::member_metrics::MemberMetrics;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use table::{Claimant, LEASE, Table};

/// How often a process announces itself.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most announcements of this process that it has not read back and may still count as read back.
const MAX_SENT: usize = 64;

/// A process, as others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: MemberUrl,
}

/// Which process answers for a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This one.
    Here,
    /// Another one.
    Elsewhere(Member),
    /// None at the moment: its shard is being moved, or it is not known where it is.
    Moving,
}

/// The processes that share the shards, as this process knows them.
#[derive(Debug)]
pub struct Members {
    name: String,
    token: Option<Arc<str>>,
    metrics: Arc<MemberMetrics>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    table: Table,
    /// The run of this process.
    run: String,
    /// Where others reach this process; `None` before its endpoints are open.
    url: Option<MemberUrl>,
    /// The number of shards; `None` before it is known.
    shards: Option<u32>,
    /// The shards that are read.
    read: BTreeSet<ShardId>,
    /// The generation in which each shard was assigned last.
    generations: BTreeMap<ShardId, i32>,
    /// The shards that this process answers for if no other one claims them, with their generation.
    held: BTreeMap<ShardId, i32>,
    /// When announcements were sent that were not read back yet, by number.
    sent: VecDeque<(u64, Sent)>,
    number: u64,
    /// When the last announcement was sent that was read back.
    confirmed: Option<Sent>,
    /// Whether this process had a lease when it was measured last.
    had_lease: bool,
    /// When the next one is due; `None`: now.
    due: Option<Instant>,
    /// The process is about to end.
    left: bool,
}

/// When an announcement was sent, by two clocks: one stands still while the machine is suspended, the other may be set.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    wall: Timestamp,
}

impl Sent {
    fn is_within_lease(self, now: Instant) -> bool {
        let by_wall = u64::try_from((clock::now() - self.wall).0).map_or(Duration::ZERO, Duration::from_millis);
        now.saturating_duration_since(self.at) < LEASE && by_wall < LEASE
    }
}

impl Members {
    /// A process of this name, which shows others this token.
    pub fn new(name: &str, token: Option<&str>, metrics: Arc<MemberMetrics>) -> Self {
        let state = State {
            table: Table::default(),
            run: run_name(),
            url: None,
            shards: None,
            read: BTreeSet::new(),
            generations: BTreeMap::new(),
            held: BTreeMap::new(),
            sent: VecDeque::new(),
            number: 0,
            confirmed: None,
            had_lease: false,
            due: None,
            left: false,
        };
        Self { name: name.into(), token: token.map(Arc::from), metrics, state: Mutex::new(state) }
    }

    /// The name of this process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token that processes show each other.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The metrics.
    pub fn metrics(&self) -> &MemberMetrics {
        &self.metrics
    }

    /// Sets where others reach this process.
    pub fn set_url(&self, url: MemberUrl) {
        lock(&self.state).url = Some(url);
    }

    /// Sets the number of shards.
    pub fn set_shards(&self, shards: u32) {
        lock(&self.state).shards = Some(shards);
    }

    /// The group has assigned shards in this generation; they are not read yet.
    pub fn received(&self, shards: &[ShardId], generation: i32) {
        let mut state = lock(&self.state);
        for shard in shards {
            state.held.remove(shard);
            state.generations.insert(*shard, generation);
        }
        state.due = None;
    }

    /// These are all shards that are read; the others are released.
    pub fn reading(&self, shards: &[ShardId]) {
        let mut state = lock(&self.state);
        state.read = shards.iter().copied().collect();
        let State { read, held, .. } = &mut *state;
        held.retain(|shard, _| read.contains(shard));
        state.due = None;
    }

    /// The state of these shards is in place, so that their tenants are known.
    pub fn restored(&self, shards: impl IntoIterator<Item = ShardId>) {
        let mut state = lock(&self.state);
        for shard in shards {
            if state.read.contains(&shard)
                && let Some(generation) = state.generations.get(&shard).copied()
            {
                state.held.insert(shard, generation);
                state.due = None;
            }
        }
    }

    /// No shard is answered for until it is assigned again.
    pub fn lost(&self) {
        let mut state = lock(&self.state);
        state.held.clear();
        state.due = None;
    }

    /// The process is about to end: it answers for nothing any more.
    pub fn leave(&self) {
        let mut state = lock(&self.state);
        state.held.clear();
        state.left = true;
    }

    /// The announcement that is due.
    pub fn announcement(&self, now: Instant) -> Option<Announcement> {
        let mut state = lock(&self.state);
        let url = state.url.clone().filter(|_| !state.left && state.due.is_none_or(|due| due <= now))?;
        state.due = Some(now + INTERVAL);
        state.number += 1;
        let number = state.number;
        if state.sent.len() >= MAX_SENT {
            state.sent.pop_front();
        }
        state.sent.push_back((number, Sent { at: now, wall: clock::now() }));
        Some(Announcement {
            member: self.name.clone(),
            url,
            run: state.run.clone(),
            number,
            shards: state.held.clone(),
        })
    }

    /// Applies a record of the topic: an announcement, or the removal of a process. `appended`: when the broker appended it, in
    /// milliseconds since 1970, if it was the broker that wrote the time.
    pub fn apply(&self, key: &[u8], value: Option<&[u8]>, offset: i64, appended: Option<i64>, now: Instant) {
        let Ok(key) = str::from_utf8(key) else { return };
        let mut state = lock(&self.state);
        let Some(value) = value else {
            state.table.remove(key, appended);
            return;
        };
        let Some(announcement) = Announcement::decode(key, value) else {
            tracing::debug!("a record of the topic of members is not valid");
            return;
        };
        if announcement.member == self.name && announcement.run == state.run {
            while let Some((number, sent)) = state.sent.front().copied()
                && number <= announcement.number
            {
                state.sent.pop_front();
                if number == announcement.number {
                    state.confirmed = Some(sent);
                }
            }
        }
        state.table.announce(announcement, offset, appended, now);
        state.withdraw(&self.name);
    }

    /// Which process answers for a tenant.
    pub fn decide(&self, tenant: &str, now: Instant) -> Decision {
        let mut state = lock(&self.state);
        state.table.expire(now);
        match state.shards {
            Some(shards) => state.decide(&self.name, shard(tenant, shards), now),
            None => Decision::Moving,
        }
    }

    /// The shard of a tenant; `None`: the number of shards is not known yet.
    pub fn shard_of(&self, tenant: &str) -> Option<ShardId> {
        lock(&self.state).shards.map(|shards| shard(tenant, shards))
    }

    /// All shards; none if their number is not known yet.
    pub fn shards(&self) -> BTreeSet<ShardId> {
        (0..lock(&self.state).shards.unwrap_or_default()).map(ShardId).collect()
    }

    /// The shards that this process answers for.
    pub fn here(&self, now: Instant) -> BTreeSet<ShardId> {
        let mut state = lock(&self.state);
        state.table.expire(now);
        let held = state.held.keys().copied();
        held.filter(|shard| state.decide(&self.name, *shard, now) == Decision::Here).collect()
    }

    /// The other processes.
    pub fn others(&self, now: Instant) -> Vec<Member> {
        let mut state = lock(&self.state);
        state.table.expire(now);
        let others = state.table.members().filter(|(name, _)| *name != self.name);
        others.map(|(name, url)| Member { name: name.to_owned(), url: url.clone() }).collect()
    }

    /// Updates the metrics, and reports changes that matter to an operator.
    pub fn measure(&self, now: Instant) {
        let mut state = lock(&self.state);
        state.table.expire(now);
        let has_lease = state.confirmed.is_some_and(|sent| sent.is_within_lease(now));
        match (std::mem::replace(&mut state.had_lease, has_lease), has_lease) {
            (true, false) => tracing::warn!(
                "no announcement of this process was read back for {} s: it answers for no tenant until one is",
                LEASE.as_secs()
            ),
            (false, true) => tracing::info!("announcements of this process are read back: it answers for its tenants"),
            _ => {}
        }
        self.metrics.set_known(state.table.members().count(), state.moving(&self.name, now).len());
    }
}

impl State {
    fn decide(&self, name: &str, shard: ShardId, now: Instant) -> Decision {
        let mut claimants = self.table.claimants(shard);
        let (Some(claimant), None) = (claimants.next(), claimants.next()) else { return Decision::Moving };
        if !self.is_own(name, &claimant) {
            return Decision::Elsewhere(Member { name: claimant.member.to_owned(), url: claimant.url.clone() });
        }
        let has_lease = self.confirmed.is_some_and(|sent| sent.is_within_lease(now));
        let is_held = self.held.get(&shard) == Some(&claimant.claim.generation);
        if has_lease && is_held { Decision::Here } else { Decision::Moving }
    }

    fn moving(&self, name: &str, now: Instant) -> Vec<ShardId> {
        let shards = (0..self.shards.unwrap_or_default()).map(ShardId);
        shards.filter(|shard| self.decide(name, *shard, now) == Decision::Moving).collect()
    }

    fn is_own(&self, name: &str, claimant: &Claimant<'_>) -> bool {
        claimant.member == name && claimant.run == self.run
    }

    /// Withdraws claims that another process has since a later generation of the group.
    fn withdraw(&mut self, name: &str) {
        let outranked = |shard: ShardId, generation: i32| {
            let own = self.table.claimants(shard).find(|claimant| self.is_own(name, claimant));
            let since = own.filter(|own| own.claim.generation == generation).map_or(i64::MAX, |own| own.claim.since);
            let mut others = self.table.claimants(shard).filter(|claimant| !self.is_own(name, claimant));
            others.any(|other| (other.claim.generation, other.claim.since) > (generation, since))
        };
        let lost: Vec<ShardId> =
            self.held.iter().filter(|(shard, generation)| outranked(**shard, **generation)).map(|(s, _)| *s).collect();
        for shard in lost {
            tracing::warn!("shard {shard} is answered for by another process: this one no longer does");
            self.held.remove(&shard);
            self.due = None;
        }
    }
}

/// A name that no other run has: the keys of a hasher are random.
fn run_name() -> String {
    format!("{:016x}-{:x}", RandomState::new().build_hasher().finish(), clock::now().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// The only shard.
    const SHARD: ShardId = ShardId(0);

    /// Processes with one shard between them, and the topic.
    struct Topic {
        processes: Vec<Members>,
        records: Vec<(String, Option<Vec<u8>>)>,
        now: Instant,
    }

    impl Topic {
        fn new(names: &[&str]) -> Self {
            let start = |name: &&str| {
                let members = Members::new(name, None, Arc::default());
                members.set_shards(1);
                members.set_url(MemberUrl::parse(&format!("http://{name}:1")).expect("an address"));
                members
            };
            Self { processes: names.iter().map(start).collect(), records: Vec::new(), now: Instant::now() }
        }

        /// A process gets the shard in this generation, restored and read.
        fn assign(&self, process: usize, generation: i32) {
            self.processes[process].received(&[SHARD], generation);
            self.processes[process].reading(&[SHARD]);
            self.processes[process].restored([SHARD]);
        }

        /// A process announces itself, if that is due.
        fn announce(&mut self, process: usize) {
            if let Some(announcement) = self.processes[process].announcement(self.now) {
                self.records.push((announcement.member.clone(), Some(announcement.encode())));
            }
        }

        /// A process reads the records from `from` on.
        fn read_from(&self, process: usize, from: usize) {
            for (offset, (key, value)) in self.records.iter().enumerate().skip(from) {
                self.processes[process].apply(key.as_bytes(), value.as_deref(), offset as i64, None, self.now);
            }
        }

        /// All announce themselves and read that.
        fn round(&mut self, processes: &[usize]) {
            let from = self.records.len();
            processes.iter().for_each(|process| self.announce(*process));
            processes.iter().for_each(|process| self.read_from(*process, from));
        }

        /// What each process decides: the name of the process that answers.
        fn decisions(&self) -> Vec<String> {
            let decide = |members: &Members| match members.decide("acme", self.now) {
                Decision::Here => "here".into(),
                Decision::Elsewhere(member) => member.name,
                Decision::Moving => "-".into(),
            };
            self.processes.iter().map(decide).collect()
        }
    }

    #[test]
    fn a_process_answers_once_its_announcement_is_read_back() {
        let mut topic = Topic::new(&["a", "b"]);
        assert_eq!(topic.decisions(), ["-", "-"], "nobody has the shard");
        topic.assign(0, 1);
        topic.announce(0);
        assert_eq!(topic.decisions(), ["-", "-"], "nothing is read yet");
        topic.read_from(0, 0);
        topic.read_from(1, 0);
        assert_eq!(topic.decisions(), ["here", "a"]);
    }

    #[test]
    fn a_shard_that_is_not_in_place_is_not_answered_for() {
        let mut topic = Topic::new(&["a"]);
        let process = &topic.processes[0];
        process.restored([SHARD]);
        process.received(&[SHARD], 1);
        process.restored([SHARD]);
        process.reading(&[SHARD]);
        topic.round(&[0]);
        assert_eq!(topic.decisions(), ["-"], "it is read, but its state is not in place");
        topic.processes[0].restored([SHARD]);
        topic.round(&[0]);
        assert_eq!(topic.decisions(), ["here"]);
        topic.processes[0].received(&[SHARD], 2);
        assert_eq!(topic.decisions(), ["-"], "it is restored again");
    }

    #[test]
    fn a_released_shard_is_answered_for_by_its_next_owner_and_never_by_two() {
        let mut topic = Topic::new(&["a", "b"]);
        topic.assign(0, 1);
        topic.round(&[0, 1]);
        topic.processes[0].reading(&[]);
        assert_eq!(topic.decisions(), ["-", "a"], "the old owner stops at once");
        topic.assign(1, 2);
        topic.now += SECOND;
        let from = topic.records.len();
        topic.announce(1);
        topic.read_from(1, from);
        assert_eq!(topic.decisions(), ["-", "-"], "the new one waits for the release");
        topic.announce(0);
        topic.read_from(0, from);
        topic.read_from(1, from + 1);
        assert_eq!(topic.decisions(), ["b", "here"]);
    }

    #[test]
    fn a_shard_that_returns_is_not_answered_for_on_an_old_announcement() {
        let mut topic = Topic::new(&["a", "b"]);
        topic.assign(0, 1);
        topic.round(&[0, 1]);
        topic.processes[0].reading(&[]);
        topic.assign(0, 3);
        assert_eq!(topic.decisions(), ["-", "a"], "another process may have had it in between");
        topic.round(&[0, 1]);
        assert_eq!(topic.decisions(), ["here", "a"]);
    }

    #[test]
    fn the_shards_of_a_process_that_was_killed_are_answered_for_after_its_lease() {
        let mut topic = Topic::new(&["dead", "b"]);
        topic.assign(0, 1);
        topic.round(&[0, 1]);
        for _ in 0..5 {
            topic.now += SECOND;
            topic.round(&[1]);
        }
        topic.assign(1, 2);
        topic.round(&[1]);
        assert_eq!(topic.decisions()[1], "-", "a process that is suspended might go on");
        topic.now += SECOND;
        topic.round(&[1]);
        assert_eq!(topic.decisions()[1], "here");
        assert_eq!(topic.decisions()[0], "-", "and if it does, it has no lease");
    }

    #[test]
    fn a_process_that_was_suspended_withdraws_when_it_reads_who_has_its_shard() {
        let mut topic = Topic::new(&["zombie", "b", "c"]);
        topic.assign(0, 1);
        topic.round(&[0, 1, 2]);
        let from = topic.records.len();
        topic.now += 10 * SECOND;
        topic.assign(1, 2);
        topic.round(&[1, 2]);
        assert_eq!(topic.decisions(), ["-", "here", "b"]);
        // It goes on, and announces what it had before it reads anything.
        let late = topic.records.len();
        topic.announce(0);
        topic.read_from(1, late);
        topic.read_from(2, late);
        assert_eq!(topic.decisions(), ["-", "-", "-"], "two claim the shard");
        topic.read_from(0, from);
        topic.now += SECOND;
        topic.round(&[0, 1, 2]);
        assert_eq!(topic.decisions(), ["b", "here", "b"], "the older generation has withdrawn");
        topic.processes[0].reading(&[]);
        topic.now += SECOND;
        topic.round(&[0, 1, 2]);
        assert_eq!(topic.decisions(), ["b", "here", "b"]);
    }

    #[test]
    fn a_process_that_is_cut_off_answers_for_nothing() {
        let mut topic = Topic::new(&["a"]);
        topic.assign(0, 1);
        topic.round(&[0]);
        topic.now += SECOND;
        topic.announce(0);
        topic.now += 4 * SECOND;
        assert_eq!(topic.decisions(), ["here"]);
        topic.now += SECOND;
        assert_eq!(topic.decisions(), ["-"], "the lease is over");
        topic.read_from(0, 1);
        assert_eq!(topic.decisions(), ["here"], "what was sent a moment ago has arrived");
        topic.now += SECOND;
        assert_eq!(topic.decisions(), ["-"], "the lease counts from when it was sent");
    }

    #[test]
    fn a_process_that_leaves_makes_room_at_once_and_another_run_of_it_does_not() {
        let mut topic = Topic::new(&["a", "b"]);
        topic.assign(0, 1);
        topic.round(&[0, 1]);
        topic.processes[0].leave();
        assert_eq!(topic.decisions()[0], "-");
        assert_eq!(topic.processes[0].announcement(topic.now + SECOND), None);
        topic.records.push(("a".into(), None));
        topic.read_from(1, topic.records.len() - 1);
        topic.assign(1, 2);
        topic.now += SECOND;
        topic.round(&[1]);
        assert_eq!(topic.decisions()[1], "here");

        let mut topic = Topic::new(&["a", "a"]);
        topic.assign(0, 1);
        topic.round(&[0, 1]);
        topic.assign(1, 1);
        topic.now += SECOND;
        topic.round(&[1]);
        assert_eq!(topic.decisions()[1], "-", "the run before may still answer");
        topic.now += 5 * SECOND;
        topic.round(&[1]);
        assert_eq!(topic.decisions()[1], "here");
    }

    #[test]
    fn the_other_processes_and_the_own_shards_are_known() {
        let mut topic = Topic::new(&["a", "b"]);
        topic.round(&[0, 1]);
        let others = topic.processes[0].others(topic.now);
        assert_eq!(others.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["b"]);
        topic.assign(1, 1);
        assert_eq!(topic.processes[1].here(topic.now), BTreeSet::new());
        topic.now += SECOND;
        topic.round(&[0, 1]);
        assert_eq!(topic.processes[1].here(topic.now), BTreeSet::from([SHARD]));
        assert_eq!(topic.processes[0].here(topic.now), BTreeSet::new());
    }

    #[test]
    fn invalid_records_are_ignored() {
        let topic = Topic::new(&["a"]);
        for (key, value) in [(&b"b"[..], &b"{}"[..]), (b"\xff", b"{}"), (b"", b"")] {
            topic.processes[0].apply(key, Some(value), 0, None, topic.now);
        }
        assert_eq!(topic.processes[0].others(topic.now), []);
    }
}

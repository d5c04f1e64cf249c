//! Owns what the announcements of all processes say together: which process alone claims a shard.
//!
//! A claim lasts until the process announces something else, removes its record, or has announced nothing for [`LEASE`]. Its
//! age counts from when it was seen first, or by the clock of the broker if the topic has the times of the broker: then a
//! table that is read from the start of the topic knows at once which claims are old.

use super::record::{Announcement, MemberUrl};
use crate::domain::source::ShardId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a claim lasts that is not announced again. A process that dies holds its shards in the group for as long.
pub(super) const LEASE: Duration = Duration::from_secs(6);
/// The most runs of processes that are known at a time; further ones are ignored.
pub(super) const MAX_RUNS: usize = 1000;

/// A shard that a process claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    /// The generation of the group in which it was assigned.
    pub(super) generation: i32,
    /// The offset of the first record since when it has been claimed without a break.
    pub(super) since: i64,
}

/// A run of a process, as last announced.
#[derive(Clone, Debug)]
struct Run {
    url: MemberUrl,
    claims: BTreeMap<ShardId, Claim>,
    seen: Instant,
    /// When the broker appended the record, in milliseconds since 1970.
    appended: Option<i64>,
}

/// A process that claims a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claimant<'a> {
    pub(super) member: &'a str,
    pub(super) run: &'a str,
    pub(super) url: &'a MemberUrl,
    pub(super) claim: Claim,
}

/// The announcements of all processes, in the order of the topic.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By member and run.
    runs: BTreeMap<(String, String), Run>,
    /// The latest time of the broker.
    newest: Option<i64>,
}

impl Table {
    /// Applies a record at this offset. `appended`: when the broker appended it, if that is known.
    pub(super) fn announce(&mut self, announcement: Announcement, offset: i64, appended: Option<i64>, now: Instant) {
        self.newest = self.newest.max(appended);
        self.expire(now);
        let Announcement { member, url, run, number: _, shards } = announcement;
        let key = (member, run);
        if self.runs.len() >= MAX_RUNS && !self.runs.contains_key(&key) {
            return;
        }
        let old = self.runs.remove(&key).map(|run| run.claims).unwrap_or_default();
        let claim = |(shard, generation)| {
            let continued = old.get(&shard).filter(|old| old.generation == generation);
            (shard, continued.copied().unwrap_or(Claim { generation, since: offset }))
        };
        let claims = shards.into_iter().map(claim).collect();
        self.runs.insert(key, Run { url, claims, seen: now, appended });
    }

    /// Applies a record that removes a process.
    pub(super) fn remove(&mut self, member: &str, appended: Option<i64>) {
        self.newest = self.newest.max(appended);
        self.runs.retain(|(known, _), _| known != member);
    }

    /// Removes the runs that have announced nothing for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let newest = self.newest;
        let is_old = |appended: Option<i64>| {
            let age = newest.zip(appended).and_then(|(newest, appended)| u64::try_from(newest - appended).ok());
            age.is_some_and(|age| Duration::from_millis(age) >= LEASE)
        };
        self.runs.retain(|_, run| now.saturating_duration_since(run.seen) < LEASE && !is_old(run.appended));
    }

    /// The processes that claim a shard, as of the last call of [`Self::expire`].
    pub(super) fn claimants(&self, shard: ShardId) -> impl Iterator<Item = Claimant<'_>> {
        self.runs.iter().filter_map(move |((member, run), of)| {
            Some(Claimant { member, run, url: &of.url, claim: *of.claims.get(&shard)? })
        })
    }

    /// The processes and their addresses.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &MemberUrl)> {
        self.runs.iter().map(|((member, _), of)| (member.as_str(), &of.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(member: &str, run: &str, shards: &[(u32, i32)]) -> Announcement {
        let shards = shards.iter().map(|(shard, generation)| (ShardId(*shard), *generation)).collect();
        let url = MemberUrl::parse(&format!("http://{member}:1")).expect("an address");
        Announcement { member: member.into(), url, run: run.into(), number: 0, shards }
    }

    fn claimants(table: &Table, shard: u32) -> Vec<(String, i32, i64)> {
        let shown = |of: Claimant<'_>| (format!("{}/{}", of.member, of.run), of.claim.generation, of.claim.since);
        table.claimants(ShardId(shard)).map(shown).collect()
    }

    #[test]
    fn a_claim_lasts_while_it_is_announced() {
        let (mut table, start) = (Table::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        table.announce(announcement("a", "1", &[(0, 5), (1, 5)]), 10, None, start);
        table.announce(announcement("a", "1", &[(0, 5)]), 11, None, after(3));
        assert_eq!(claimants(&table, 0), [("a/1".into(), 5, 10)]);
        assert_eq!(claimants(&table, 1), [], "it was released");
        table.announce(announcement("a", "1", &[(0, 5), (1, 7)]), 12, None, after(4));
        assert_eq!(claimants(&table, 1), [("a/1".into(), 7, 12)], "another claim");
        table.expire(after(9));
        assert_eq!(claimants(&table, 0).len(), 1);
        table.expire(after(10));
        assert_eq!((claimants(&table, 0), table.members().count()), (Vec::new(), 0));
    }

    #[test]
    fn a_record_that_removes_a_process_removes_all_its_runs() {
        let (mut table, now) = (Table::default(), Instant::now());
        for (member, run) in [("a", "1"), ("a", "2"), ("b", "1")] {
            table.announce(announcement(member, run, &[(0, 1)]), 0, None, now);
        }
        assert_eq!(claimants(&table, 0).len(), 3);
        table.remove("a", None);
        assert_eq!(claimants(&table, 0), [("b/1".into(), 1, 0)]);
    }

    #[test]
    fn what_the_broker_appended_long_ago_is_old_however_late_it_is_read() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.announce(announcement("dead", "1", &[(0, 1)]), 0, Some(1_000), now);
        table.announce(announcement("a", "1", &[(1, 1)]), 1, Some(6_999), now);
        assert_eq!(claimants(&table, 0).len(), 1);
        table.announce(announcement("b", "1", &[]), 2, Some(7_000), now);
        table.expire(now);
        assert_eq!((claimants(&table, 0).len(), claimants(&table, 1).len()), (0, 1));
        table.announce(announcement("c", "1", &[(2, 1)]), 3, Some(6_000), now);
        assert_eq!(claimants(&table, 2).len(), 1, "the clock of another broker is behind");
    }

    #[test]
    fn the_number_of_runs_is_bounded() {
        let (mut table, now) = (Table::default(), Instant::now());
        for n in 0..MAX_RUNS + 10 {
            table.announce(announcement(&format!("m{n}"), "1", &[]), 0, None, now);
        }
        assert_eq!(table.members().count(), MAX_RUNS);
        table.announce(announcement("m0", "1", &[(0, 1)]), 1, None, now);
        assert_eq!(claimants(&table, 0).len(), 1, "known ones are updated");
    }
}

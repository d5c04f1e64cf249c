//! Owns what the processor counts of itself: what was read, refused and committed, how long it took, how far behind it is.
//! Told by the edge's threads after each commit; read when it is scraped.

use super::metric::BOUNDS;
use crate::dataflow::epoch::EpochOutput;
use crate::dataflow::live_state::lock;
use crate::domain::alert::{Severity, Status};
use crate::domain::event::EventKind;
use crate::domain::reject::Reason;
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What the processor knows of itself.
#[derive(Debug, Default)]
pub struct ProcessorMetrics {
    counted: Mutex<Counters>,
}

/// The counts, of one instant.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) applied: [u64; EventKind::ALL.len()],
    pub(super) duplicates: u64,
    pub(super) late: u64,
    pub(super) rerouted: u64,
    pub(super) refused: BTreeMap<Reason, u64>,
    pub(super) alerts: BTreeMap<(Rule, Severity, Status), u64>,
    pub(super) review_requests: u64,
    pub(super) shards: BTreeMap<u32, Shard>,
    /// Shards that are read.
    pub(super) assigned: usize,
    /// Shards that are being restored, and how much of their state they have read.
    pub(super) restoring: BTreeMap<u32, f64>,
    /// Records and bytes of the state topic.
    pub(super) state: (u64, u64),
    pub(super) epochs: Durations,
    pub(super) commits: Durations,
    pub(super) aborted: u64,
    pub(super) in_flight: usize,
    /// The most epochs in flight.
    pub(super) in_flight_limit: usize,
    /// Applied, and refused.
    pub(super) reloads: [u64; 2],
    /// When the norms in force were read.
    pub(super) norms_in_force: Option<Timestamp>,
    pub(super) lag: BTreeMap<(String, i32), PartitionLag>,
}

/// How far a shard is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard {
    pub(super) held: usize,
    pub(super) watermark: Timestamp,
    pub(super) entries: u64,
}

/// How far behind a partition is read.
#[derive(Clone, Copy, Debug)]
pub struct PartitionLag {
    /// Messages that are there and not read.
    pub messages: i64,
    /// The age of the last message that was read.
    pub age: Span,
    /// When this was so: nobody may have been able to say more since.
    pub told: Instant,
}

impl PartitionLag {
    /// How old the last message that was read is by now, in seconds; 0 if it is the last one that there is.
    pub(super) fn seconds(&self) -> f64 {
        if self.messages > 0 { self.age.seconds().max(0.0) + self.told.elapsed().as_secs_f64() } else { 0.0 }
    }
}

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Durations {
    /// By the bounds; the last one is for what took longer than all of them.
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) total: Duration,
}

impl Durations {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.buckets[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.total += took;
    }

    /// How often.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl ProcessorMetrics {
    pub(super) fn counted(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counted)
    }

    /// At most so many epochs are in flight.
    pub fn limit(&self, in_flight: usize) {
        self.counted().in_flight_limit = in_flight;
    }

    /// A transaction was committed.
    pub fn transaction(&self, took: Duration) {
        self.counted().commits.add(took);
    }

    /// A transaction was taken back.
    pub fn aborted(&self) {
        self.counted().aborted += 1;
    }

    /// An epoch was committed so long after its reading had ended.
    pub fn epoch(&self, took: Duration) {
        self.counted().epochs.add(took);
    }

    /// So many epochs are read and not committed.
    pub fn in_flight(&self, epochs: usize) {
        self.counted().in_flight = epochs;
    }

    /// How far behind the partitions that are read are now, by topic and number.
    pub fn lag(&self, lags: impl Iterator<Item = ((String, i32), PartitionLag)>) {
        let lags = lags.collect();
        self.counted().lag = lags;
    }

    /// So many shards are read.
    pub fn assigned(&self, shards: usize) {
        self.counted().assigned = shards;
    }

    /// How much of their state the shards that are being restored have read.
    pub fn restoring(&self, shares: impl Iterator<Item = (u32, f64)>) {
        let shares = shares.collect();
        self.counted().restoring = shares;
    }

    /// The norms that are in force from now on were read at `now`.
    pub fn norms_in_force(&self, now: Timestamp) {
        self.counted().norms_in_force = Some(now);
    }

    /// Changed norms were applied, or refused.
    pub fn reloaded(&self, applied: bool) {
        self.counted().reloads[usize::from(!applied)] += 1;
    }

    /// An epoch was committed.
    pub fn committed(&self, made: &EpochOutput) {
        let mut counted = self.counted();
        counted.review_requests += made.reviews.len() as u64;
        counted.rerouted += made.misplaced.len() as u64;
        for mark in &made.shards {
            for (sum, n) in counted.applied.iter_mut().zip(mark.counts.applied) {
                *sum += n;
            }
            counted.duplicates += mark.counts.duplicates;
            counted.late += mark.counts.late;
            let shard = Shard { held: mark.held, watermark: mark.watermark, entries: mark.entries };
            counted.shards.insert(mark.shard, shard);
        }
        for (_, records) in &made.state {
            counted.state.0 += records.len() as u64;
            counted.state.1 += records.bytes() as u64;
        }
        for shard in &made.revoked {
            counted.shards.remove(shard);
        }
        for refused in &made.refusals {
            *counted.refused.entry(refused.reject.reason).or_default() += 1;
        }
        for alert in &made.alerts {
            *counted.alerts.entry((alert.rule, alert.severity, alert.status)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let mut durations = Durations::default();
        for millis in [1, 2, 60_000, 60_001] {
            durations.add(Duration::from_millis(millis));
        }
        assert_eq!((durations.buckets[0], durations.buckets[1]), (1, 1), "a bound is of its bucket");
        assert_eq!(durations.buckets[BOUNDS.len() - 1..], [1, 1]);
        assert_eq!((durations.count(), durations.total), (4, Duration::from_millis(120_004)));
    }
}

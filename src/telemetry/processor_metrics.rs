//! Metrics of the processor: messages read, rejected and committed, durations, and lag. Updated by the threads of the
//! edge after each commit, read by scrapes.

use super::metric::BOUNDS;
use crate::dataflow::epoch::EpochOutput;
use crate::dataflow::live::lock;
use crate::domain::alert::{Severity, Status};
use crate::domain::event::EventKind;
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repair;
use crate::domain::rule::Rule;
use crate::domain::shard::admission::LimitsUsed;
use crate::domain::source::ShardId;
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Metrics of the processor.
#[derive(Debug, Default)]
pub struct ProcessorMetrics {
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) applied: [u64; EventKind::ALL.len()],
    pub(crate) duplicates: u64,
    pub(crate) ignored: u64,
    pub(crate) late: u64,
    pub(crate) passed_early: u64,
    pub(crate) marks_below: u64,
    /// How far the wall clock is ahead of the broker, and whether watermarks follow it.
    pub(crate) clock: (Option<Span>, bool),
    pub(crate) left_out: u64,
    pub(crate) summed_up: [u64; 2],
    pub(crate) rerouted: u64,
    pub(crate) refused: BTreeMap<Reason, u64>,
    pub(crate) repaired: BTreeMap<Repair, u64>,
    pub(crate) alerts: BTreeMap<(Rule, Severity, Status), u64>,
    pub(crate) review_requests: u64,
    pub(crate) shards: BTreeMap<ShardId, Shard>,
    /// Shards being read.
    pub(crate) assigned: usize,
    /// Shards being restored, with the share of their state that has been read.
    pub(crate) restoring: BTreeMap<ShardId, f64>,
    /// Records and bytes written to the state topic.
    pub(crate) state: (u64, u64),
    pub(crate) epochs: Durations,
    pub(crate) commits: Durations,
    pub(crate) aborted: u64,
    /// The memory limit of the process, in bytes, and whether less is read at a time because it is near.
    pub(crate) memory_limit: Option<u64>,
    pub(crate) memory_is_tight: bool,
    /// How often the run was started again in this process.
    pub(crate) restarts: u64,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_limit: usize,
    /// Applied and refused reloads.
    pub(crate) reloads: [u64; 2],
    /// Time at which the norms in force were read.
    pub(crate) norms_in_force: Option<Timestamp>,
    /// Offsets that were gone before they were read, by topic.
    pub(crate) offsets_lost: BTreeMap<String, u64>,
    pub(crate) lag: BTreeMap<(String, i32), PartitionLag>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shard {
    pub(super) held: usize,
    pub(super) entries: u64,
    pub(super) limits_used: LimitsUsed,
}

/// Consumer lag of a partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionLag {
    /// Messages available and not read.
    pub messages: i64,
    /// The age of the last message read.
    pub age: Span,
    /// When this was measured; there may have been no update since.
    pub measured_at: Instant,
}

impl PartitionLag {
    /// The current age of the last message read, in seconds; 0 at the end of the partition.
    pub(super) fn seconds(&self) -> f64 {
        if self.messages > 0 { self.age.seconds().max(0.0) + self.measured_at.elapsed().as_secs_f64() } else { 0.0 }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Durations {
    /// Counts by [`BOUNDS`]; the last bucket is unbounded.
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) total: Duration,
}

impl Durations {
    pub(crate) fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.buckets[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.total += took;
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl ProcessorMetrics {
    pub(crate) fn counters(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
    }

    /// Counts a restart of the run in this process: nothing is read until shards are assigned again.
    pub(crate) fn restarting(&self) {
        let mut counters = self.counters();
        counters.restarts += 1;
        (counters.in_flight, counters.assigned) = (0, 0);
        counters.restoring.clear();
        counters.shards.clear();
        counters.lag.clear();
    }

    /// Sets the time at which the norms in force were read.
    pub fn norms_in_force(&self, now: Timestamp) {
        self.counters().norms_in_force = Some(now);
    }

    /// Counts a reload of norms, applied or refused.
    pub fn reloaded(&self, applied: bool) {
        self.counters().reloads[usize::from(!applied)] += 1;
    }

    /// Counts a committed epoch and its output; `took` is the time since the end of its reading.
    pub fn committed(&self, output: &EpochOutput, took: Duration) {
        let mut counters = self.counters();
        counters.epochs.add(took);
        counters.review_requests += output.reviews.len() as u64;
        counters.rerouted += output.misrouted.len() as u64;
        for mark in &output.shards {
            for (sum, n) in counters.applied.iter_mut().zip(mark.counts.applied) {
                *sum += n;
            }
            counters.duplicates += mark.counts.duplicates;
            counters.ignored += mark.counts.ignored;
            counters.late += mark.counts.late;
            counters.passed_early += mark.counts.passed_early;
            counters.marks_below += mark.counts.marks_below;
            counters.left_out += mark.counts.left_out;
            counters.summed_up.iter_mut().zip(mark.counts.summed_up).for_each(|(sum, n)| *sum += n);
            let (limits_used, entries) = (mark.limits_used, mark.entries);
            let shard = Shard { held: mark.held, entries, limits_used };
            counters.shards.insert(mark.shard, shard);
        }
        for (_, records) in &output.state {
            counters.state.0 += records.len() as u64;
            counters.state.1 += records.bytes() as u64;
        }
        for shard in &output.revoked {
            counters.shards.remove(shard);
        }
        for refused in &output.rejected {
            *counters.refused.entry(refused.reject.reason).or_default() += 1;
        }
        for (repair, n) in &output.repaired {
            *counters.repaired.entry(*repair).or_default() += n;
        }
        for alert in &output.alerts {
            *counters.alerts.entry((alert.rule, alert.severity, alert.status)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_includes_it() {
        let mut durations = Durations::default();
        for millis in [1, 2, 60_000, 60_001] {
            durations.add(Duration::from_millis(millis));
        }
        assert_eq!((durations.buckets[0], durations.buckets[1]), (1, 1), "a bound belongs to its bucket");
        assert_eq!(durations.buckets[BOUNDS.len() - 1..], [1, 1]);
        assert_eq!((durations.count(), durations.total), (4, Duration::from_millis(120_004)));
    }
}

//! Owns what a run reports: one type for all events. The log line and the metric of an event are written here.

use super::lost::LostOffsets;
use crate::dataflow::epoch::{EpochOutput, UnlistedStage};
use crate::domain::figures::row::Row;
use crate::domain::source::ShardId;
use crate::domain::time::Span;
use crate::edge::clock;
use crate::telemetry::liveness::{Liveness, Thread};
use crate::telemetry::processor_metrics::{PartitionLag, ProcessorMetrics};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// An event of a run.
#[derive(Debug)]
pub enum RuntimeEvent<'a> {
    /// A thread is alive. Unreachable brokers do not prevent this event.
    Alive(Thread),
    /// Why the run has not started yet; `None`: it starts now.
    Waiting(Option<&'a str>),
    /// Whether a broker is reachable; about once a second.
    Reachable(bool),
    /// The run has failed for this reason, and starts again in this process. Nothing of it is left: no shard is read.
    Restarting(&'a str),
    /// The number of epochs that are read and not committed.
    InFlight(usize),
    /// An epoch was committed: its output, and the time since it was closed. In epoch order. It lacks the rows that
    /// follow later.
    EpochCommitted(Box<EpochOutput>, Duration),
    /// Rows of committed epochs were committed in a transaction of their own.
    RowsCommitted(Vec<Row>),
    /// A transaction was committed; the time that it took includes its retries.
    TransactionCommitted(Duration),
    /// A transaction was aborted: the first of its epochs, the broker's error code, and what follows.
    TransactionAborted(u64, RDKafkaErrorCode, Reaction),
    /// Everything that is not committed is dropped and read again, with this number of shards.
    EpochsAbandoned(usize),
    /// The number of shards, before the first of them is assigned.
    Shards(u32),
    /// The group has assigned shards, or they must be restored again; they are not read. The generation of the group, -1 if this
    /// process is not part of it.
    Received(&'a [ShardId], i32),
    /// The shards without state among those that are read since the last [`RuntimeEvent::Assigned`]. The others are in place when
    /// an epoch that restored them is committed.
    WithoutState(&'a [ShardId]),
    /// The shards that are read from now on; replaces the previous list.
    Assigned(&'a [ShardId]),
    /// Restored shards are read.
    ShardsOpened {
        /// The number of shards that are read.
        all: usize,
        /// The number of those that were restored.
        new: usize,
    },
    /// Revoked shards are no longer read.
    ShardsReleased {
        /// The number of shards that were revoked.
        revoked: usize,
        /// The number of shards that are still read.
        remaining: usize,
    },
    /// Progress of the shards that are being restored, several times a second; empty when all are done.
    Restoring(&'a [RestoreProgress]),
    /// A shard was restored from its state.
    ShardRestored {
        /// The shard.
        shard: ShardId,
        /// The number of records read, and the time that it took.
        read: (u64, Duration),
        /// The number of events replayed, and the time that it took.
        replayed: (u64, Duration),
    },
    /// The restore of a shard takes long.
    RestoreOverdue(RestoreProgress),
    /// The memory limit of the process, in bytes, if there is one; at the start.
    MemoryLimit(Option<u64>),
    /// Whether memory is tight, so that less is read at a time; and the resident memory, in bytes.
    MemoryTight(bool, u64),
    /// How far the wall clock is ahead of the broker, if that is known, and whether watermarks follow it.
    Clock {
        /// The difference.
        ahead: Option<Span>,
        /// Whether they follow it.
        is_right: bool,
    },
    /// The topics that are read, at the start.
    Sources(&'a [&'a str]),
    /// Messages of a source partition were gone before they were read; reading goes on.
    OffsetsLost(&'a LostOffsets),
    /// Lag of the partitions that are read, by topic and partition; about once a second.
    Lag(BTreeMap<(String, i32), PartitionLag>),
}

/// What follows an aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Retry.
    Retry,
    /// Retry with the current generation of the group.
    UpdateGeneration,
    /// Wait until the ingest thread abandons the epochs: the coordinator no longer recognizes this member.
    AwaitRevocation,
    /// End the run: retries fail the same way.
    Fail,
}

/// The progress of a shard that is being restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreProgress {
    /// The shard.
    pub shard: ShardId,
    /// Offsets read from the start of the partition.
    pub read: u64,
    /// Offsets in total; 0 while unknown.
    pub total: u64,
}

/// The share of the offsets that has been read.
fn share(shards: &[RestoreProgress]) -> f64 {
    let sum = |of: fn(&RestoreProgress) -> u64| shards.iter().map(of).sum::<u64>();
    let total = sum(|shard| shard.total);
    if total == 0 { 0.0 } else { sum(|shard| shard.read) as f64 / total as f64 }
}

/// Where the threads of a run report their events.
pub struct Observer {
    metrics: Arc<ProcessorMetrics>,
    liveness: Arc<Liveness>,
    listener: Box<dyn Fn(RuntimeEvent<'_>) + Send + Sync>,
}

impl Observer {
    /// `listener` receives each event after it was logged and counted. The threads of the run call it, so it must not
    /// block.
    pub fn new(
        metrics: Arc<ProcessorMetrics>,
        liveness: Arc<Liveness>,
        listener: impl Fn(RuntimeEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self { metrics, liveness, listener: Box::new(listener) }
    }

    pub(crate) fn emit(&self, event: RuntimeEvent<'_>) {
        self.record(&event);
        (self.listener)(event);
    }

    fn record(&self, event: &RuntimeEvent<'_>) {
        match event {
            RuntimeEvent::Alive(thread) => self.liveness.beat(*thread, clock::now()),
            RuntimeEvent::Waiting(reason) => self.liveness.set_waiting(*reason),
            RuntimeEvent::Reachable(is_reachable) => {
                if self.liveness.set_cut_off(!is_reachable) {
                    if *is_reachable {
                        tracing::info!("a broker is reachable again");
                    } else {
                        tracing::warn!("no broker is reachable: nothing is read until one is");
                    }
                }
            }
            RuntimeEvent::Restarting(error) => {
                tracing::error!(
                    "{error}; starting again with new clients, if no other process has the same transactional_id"
                );
                self.liveness.set_ready(false);
                self.liveness.set_restoring(0, 0.0);
                self.metrics.restarting();
            }
            RuntimeEvent::InFlight(epochs) => self.metrics.counters().in_flight = *epochs,
            RuntimeEvent::EpochCommitted(output, took) => {
                self.metrics.committed(output, *took);
                log_unlisted(&output.unlisted);
            }
            RuntimeEvent::RowsCommitted(_)
            | RuntimeEvent::Shards(_)
            | RuntimeEvent::Received(..)
            | RuntimeEvent::WithoutState(_) => {}
            RuntimeEvent::TransactionCommitted(took) => self.metrics.counters().commits.add(*took),
            RuntimeEvent::TransactionAborted(epoch, code, reaction) => {
                self.metrics.counters().aborted += 1;
                log_abort(*epoch, *code, *reaction);
            }
            RuntimeEvent::EpochsAbandoned(shards) => {
                tracing::warn!("abandoned uncommitted epochs of {shards} shards; they are read again");
            }
            RuntimeEvent::Assigned(shards) => {
                self.liveness.set_ready(!shards.is_empty());
                self.metrics.counters().assigned = shards.len();
            }
            RuntimeEvent::ShardsOpened { new, all } => tracing::info!("reading {all} shards, {new} of them new"),
            RuntimeEvent::ShardsReleased { revoked, remaining } => {
                tracing::info!("released {revoked} shards; {remaining} remain");
            }
            RuntimeEvent::Restoring(shards) => {
                self.liveness.set_restoring(shards.len(), share(shards));
                let shares = shards.iter().map(|shard| (shard.shard, share(&[*shard]))).collect();
                self.metrics.counters().restoring = shares;
            }
            RuntimeEvent::ShardRestored { shard, read: (records, read_time), replayed: (events, replay_time) } => {
                tracing::info!(
                    "restored shard {shard}: read {records} records in {:.1} s, replayed {events} events in {:.1} s",
                    read_time.as_secs_f64(),
                    replay_time.as_secs_f64()
                );
            }
            RuntimeEvent::RestoreOverdue(RestoreProgress { shard, read, total }) => tracing::warn!(
                "shard {shard} is still restoring: {read} of {total} offsets read; a transaction may be open on the rest \
                 or on the committed offsets, or the brokers may be unreachable"
            ),
            RuntimeEvent::MemoryLimit(limit) => {
                if let Some(limit) = limit {
                    tracing::info!("the memory limit is {} MiB", limit >> 20);
                }
                let mut counters = self.metrics.counters();
                (counters.memory_limit, counters.memory_is_tight) = (*limit, false);
            }
            RuntimeEvent::MemoryTight(is_tight, resident) => {
                let resident = resident >> 20;
                if *is_tight {
                    tracing::warn!("{resident} MiB of memory are near the limit: less is read at a time");
                } else {
                    tracing::info!("{resident} MiB of memory are far from the limit again");
                }
                self.metrics.counters().memory_is_tight = *is_tight;
            }
            RuntimeEvent::Clock { ahead, is_right } => {
                self.metrics.counters().clock = (*ahead, *is_right);
            }
            RuntimeEvent::Sources(topics) => {
                let lost = topics.iter().map(|topic| ((*topic).to_owned(), 0));
                self.metrics.counters().offsets_lost = lost.collect();
            }
            RuntimeEvent::OffsetsLost(lost) => {
                tracing::error!("{lost}; reading goes on with what is left");
                *self.metrics.counters().offsets_lost.entry(lost.topic.clone()).or_default() += lost.offsets;
            }
            RuntimeEvent::Lag(lags) => self.metrics.counters().lag.clone_from(lags),
        }
    }
}

/// How many unlisted stages of an epoch are logged.
const LOGGED_UNLISTED: usize = 20;

fn log_unlisted(stages: &[UnlistedStage]) {
    for unlisted in stages.iter().take(LOGGED_UNLISTED) {
        tracing::warn!("{unlisted}");
    }
    if let Some(more) = stages.len().checked_sub(LOGGED_UNLISTED).filter(|more| *more > 0) {
        tracing::warn!(
            "and {more} more stages that no pipeline lists; funnelwatch_unlisted_stages counts their entities"
        );
    }
}

fn log_abort(epoch: u64, code: RDKafkaErrorCode, reaction: Reaction) {
    match reaction {
        Reaction::Retry => tracing::warn!("commit epoch {epoch}: transaction aborted ({code}); retrying"),
        Reaction::UpdateGeneration => tracing::debug!("commit epoch {epoch}: stale generation; retrying"),
        Reaction::AwaitRevocation => {
            tracing::warn!("commit epoch {epoch}: fenced: the coordinator no longer recognizes this member ({code})");
        }
        // The error that ends the run is logged.
        Reaction::Fail => {}
    }
}

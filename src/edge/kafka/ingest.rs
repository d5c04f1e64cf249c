//! Owns the ingest thread: reads partitions, closes epochs, and answers rebalances.
//!
//! **Backpressure.** While the maximum number of epochs is in flight, nothing is taken from the queues, but the
//! consumer is still polled. If a shard holds many events, its sources that are ahead are paused: the events that wait
//! for the slower sources would fill the memory.
//! **Silence.** A topic holds back the watermark of a silent tenant no longer once everything was read that its partition
//! contained `time.idle_after` ago; its leader must be reachable.
//! **Clock.** Watermarks follow the wall clock only while it agrees with the broker: see `wall_clock` below.
//! **Rebalances.** See `rebalance` below: what was read is committed before a shard is released.

mod epoch_cutter;
pub(super) mod group_member;
pub(super) mod once;
mod partition_readers;
mod rebalance;
mod unreadable;
mod wall_clock;

use super::client::CallError;
use super::commit::{CommitHandle, CommitOutcome, EpochEnd};
use super::control::{NormsHandle, Stop};
use super::error::RunError;
use super::event::{Observer, RuntimeEvent};
use super::part;
use super::restore::RestoreHandle;
use super::watch::WatchHandle;
use crate::config::Config;
use crate::dataflow::workers::EpochSender;
use crate::domain::norms::Norms;
use crate::domain::time::{Span, Timestamp};
use crate::edge::clock;
use crate::edge::memory::MemoryBudget;
use crate::telemetry::liveness::Thread;
use crate::telemetry::process;
use crossbeam_channel::{RecvTimeoutError, TryRecvError};
use epoch_cutter::{Boundary, EpochCutter, EpochLimits, MAX_PARK, Step};
use group_member::GroupMember;
use once::BoundedRun;
use partition_readers::PartitionReaders;
use rdkafka::consumer::Consumer;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use wall_clock::WallClock;

/// How long a rebalance or a shutdown waits for commits.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the resident memory is compared with its limit.
const MEMORY_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the fence is checked while waiting for commits.
const FENCE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The ingest thread.
struct Ingest {
    group: GroupMember,
    readers: PartitionReaders,
    cutter: EpochCutter,
    clock: WallClock,
    memory: MemoryBudget,
    memory_checked: Instant,
    workers: EpochSender,
    commit: CommitHandle,
    restore: RestoreHandle,
    watch: WatchHandle,
    /// The norms of the last epoch, and the source of newer ones.
    norms: Arc<Norms>,
    new_norms: NormsHandle,
    /// `None`: the run ends at a stop request only.
    bounded: Option<BoundedRun>,
    stop: Stop,
    observer: Arc<Observer>,
}

/// Starts the ingest thread, which reads until a stop is requested or everything is read. `norms` are those at the
/// start.
pub(super) fn spawn(
    (config, memory): (&Config, MemoryBudget),
    group: GroupMember,
    (workers, commit, restore, watch): (EpochSender, CommitHandle, RestoreHandle, WatchHandle),
    (norms, new_norms): (Arc<Norms>, NormsHandle),
    bounded: Option<BoundedRun>,
    stop: Stop,
    observer: Arc<Observer>,
) -> Result<JoinHandle<Result<(), RunError>>, RunError> {
    let limits = EpochLimits {
        max_age: duration(config.engine.epoch),
        max_messages: config.engine.epoch_messages,
        max_bytes: config.engine.transaction_bytes,
        max_in_flight: config.engine.epochs_in_flight.max(1),
    };
    let readers = PartitionReaders::new(duration(config.time.idle_after));
    let cutter = EpochCutter::new(limits, Instant::now());
    let clock = WallClock::default();
    let ingest = Ingest {
        group,
        readers,
        cutter,
        clock,
        memory,
        memory_checked: Instant::now(),
        workers,
        commit,
        restore,
        watch,
        norms,
        new_norms,
        bounded,
        stop,
        observer,
    };
    part::spawn("ingest", move || ingest.run())
}

impl Ingest {
    fn run(mut self) -> Result<(), RunError> {
        self.group.join()?;
        let result = self.read_until_stopped();
        // Whatever is still in flight is read by the new owners.
        self.commit.fence.abandon(u64::MAX);
        self.readers.list.clear();
        self.group.leave();
        result
    }

    fn read_until_stopped(&mut self) -> Result<(), RunError> {
        loop {
            self.serve_group()?;
            loop {
                match self.commit.outcomes.try_recv() {
                    Ok(outcome) => self.apply(outcome),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Err(RunError::ThreadEnded("commit thread")),
                }
            }
            if self.stop.is_set() {
                return self.shut_down();
            }
            if self.commit.fence.is_refused() {
                // Whatever is read now would be fenced as well, until the group revokes the shards. The commit thread
                // bounds that wait.
                thread::park_timeout(MAX_PARK);
                continue;
            }
            let more = self.cutter.has_room() && self.read()?;
            let step = self.cutter.next_step(!self.readers.list.is_empty(), more, Instant::now());
            if step == Step::Cut {
                self.cut(Boundary::Regular)?;
            } else if let Some(end) = self.end_of_input()? {
                self.cut(Boundary::End(end))?;
                // The last rows of many managers and the last timers may take long.
                return self.drain_unless_stopped("stop");
            } else if let Step::Park(time) = step {
                thread::park_timeout(time);
            }
        }
    }

    /// The end of event time, once a bounded run has read and committed everything.
    fn end_of_input(&mut self) -> Result<Option<Timestamp>, RunError> {
        let is_started = self.group.joined && self.restore.shards().len() == 0;
        match &mut self.bounded {
            Some(bounded) if is_started && self.cutter.in_flight == 0 && self.cutter.messages == 0 => {
                Ok(bounded.end_of_input(&self.group, &mut self.readers.list)?)
            }
            _ => Ok(None),
        }
    }

    /// Reads the available messages; returns whether there may be more.
    fn read(&mut self) -> Result<bool, RunError> {
        let polled = self.readers.read(&mut self.cutter);
        let (more, at_end) = polled.map_err(CallError::of("read messages"))?;
        for reader in self.readers.list.iter_mut().filter(|reader| reader.obstacle.is_some()) {
            if reader.is_out_of_range() {
                if reader.has_messages() {
                    continue;
                }
                self.group.resume(reader)?;
                self.cutter.logs.insert(reader.partition, reader.log);
            } else if self.group.skip_unreadable(reader)? {
                self.cutter.add(1, 0, Instant::now());
            }
        }
        if at_end {
            self.readers.update_positions(&self.group.positions()?);
        }
        Ok(more)
    }

    /// Closes the epoch: sends the messages to the workers and the positions to the commit thread.
    fn cut(&mut self, boundary: Boundary) -> Result<(), RunError> {
        self.readers.update_positions(&self.group.positions()?);
        let (sources, batches) =
            self.readers.take_epoch(self.workers.workers(), &self.group.consumer.context().unreachable());
        let norms = self.new_norms.take();
        if let Some(norms) = &norms {
            self.norms = Arc::clone(norms);
        }
        let closed = Instant::now();
        let reading = self.clock.read(clock::now(), closed);
        let wall = reading.wall;
        let (header, positions) = self.cutter.cut(boundary, &sources, norms, reading, closed);
        let (open_alerts, logs) = (std::mem::take(&mut self.cutter.open_alerts), std::mem::take(&mut self.cutter.logs));
        let (epoch, member) = (header.epoch, self.group.id.clone());
        let end = EpochEnd { epoch, member, wall, closed, positions, open_alerts, logs };
        self.commit.ends.send(end).map_err(|_| RunError::ThreadEnded("commit thread"))?;
        if !self.workers.send(header, batches) {
            return Err(RunError::ThreadEnded("workers"));
        }
        self.check_memory(closed);
        self.observer.emit(RuntimeEvent::InFlight(self.cutter.in_flight));
        self.observer.emit(RuntimeEvent::Clock { ahead: reading.ahead, is_right: reading.is_right });
        self.observer.emit(RuntimeEvent::Alive(Thread::Ingest));
        Ok(())
    }

    /// Reads less at a time while memory is tight.
    fn check_memory(&mut self, now: Instant) {
        if now.duration_since(self.memory_checked) < MEMORY_CHECK_INTERVAL {
            return;
        }
        self.memory_checked = now;
        let resident = process::resident_bytes();
        let is_tight = self.memory.is_tight(resident);
        if self.cutter.set_tight(is_tight) {
            self.observer.emit(RuntimeEvent::MemoryTight(is_tight, resident));
        }
    }

    fn apply(&mut self, outcome: CommitOutcome) {
        if let CommitOutcome::Epoch { rerouted, paused, rows_follow, broker_time } = outcome {
            self.readers.paused = paused;
            self.clock.compare(broker_time);
            if let Some(bounded) = &mut self.bounded {
                bounded.rerouted |= rerouted > 0;
            }
            if rows_follow {
                return;
            }
        }
        self.cutter.settle();
        self.observer.emit(RuntimeEvent::InFlight(self.cutter.in_flight));
    }

    /// Waits until nothing is in flight; `false`: timed out, or this member is fenced.
    fn drain(&mut self) -> Result<bool, RunError> {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while self.cutter.in_flight > 0 {
            match self.commit.outcomes.recv_deadline(deadline.min(Instant::now() + FENCE_CHECK_INTERVAL)) {
                Ok(outcome) => self.apply(outcome),
                Err(RecvTimeoutError::Timeout) if self.commit.fence.is_refused() || Instant::now() >= deadline => {
                    return Ok(false);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::ThreadEnded("commit thread")),
            }
            self.observer.emit(RuntimeEvent::Alive(Thread::Ingest));
        }
        Ok(true)
    }

    /// The same without a time limit before a stop request.
    fn drain_unless_stopped(&mut self, what: &'static str) -> Result<(), RunError> {
        while !self.drain()? {
            if self.stop.is_set() {
                return Err(self.stuck(what));
            }
        }
        Ok(())
    }

    fn stuck(&self, what: &'static str) -> RunError {
        RunError::Stuck { what, epochs: self.cutter.in_flight, after: DRAIN_TIMEOUT }
    }

    /// Commits what was read, after a stop request.
    fn shut_down(&mut self) -> Result<(), RunError> {
        if self.cutter.messages > 0 && !self.commit.fence.is_refused() {
            self.cut(Boundary::Regular)?;
        }
        let mut drained = self.drain()?;
        if self.commit.fence.is_refused() {
            // The new owners of the shards read it again.
            self.commit.fence.abandon(self.cutter.epoch);
            drained = self.drain()?;
        }
        if drained { Ok(()) } else { Err(self.stuck("stop")) }
    }
}

fn duration(span: Span) -> Duration {
    Duration::from_millis(span.0.max(0).unsigned_abs())
}

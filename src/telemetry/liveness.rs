//! Liveness and readiness state for probes: recent progress of threads, whether all assigned shards are read, and whether a
//! broker is reachable.

use crate::domain::time::{Span, Timestamp};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Threads whose progress shows that the process is alive. An unavailable broker stops neither of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Polls the consumer.
    Ingest,
    /// Commits epochs.
    Commit,
}

/// Liveness and readiness state.
#[derive(Debug, Default)]
pub struct Liveness {
    beats: [AtomicI64; 2],
    ready: AtomicBool,
    /// No broker is reachable.
    cut_off: AtomicBool,
    /// Why the run has not started.
    waiting: Mutex<Option<String>>,
    /// The number of shards being restored, and the share of their state that has been read, in thousandths.
    restoring: AtomicU32,
    restored: AtomicU32,
}

/// A thread without progress for this duration is considered stuck. Longer than a commit may take.
pub const SILENCE: Span = Span(90_000);

impl Liveness {
    /// Records progress of a thread.
    pub fn beat(&self, thread: Thread, now: Timestamp) {
        self.beats[thread as usize].store(now.0, Ordering::Relaxed);
    }

    /// Sets whether partitions are assigned and read.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Sets why the run has not started; `None`: it has.
    pub fn set_waiting(&self, reason: Option<&str>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(str::to_owned);
    }

    /// Sets whether no broker is reachable; returns whether that is new.
    pub fn set_cut_off(&self, cut_off: bool) -> bool {
        self.cut_off.swap(cut_off, Ordering::Relaxed) != cut_off
    }

    /// Sets the number of shards being restored and the share of their state that has been read.
    pub fn set_restoring(&self, shards: usize, share: f64) {
        self.restored.store((share * 1e3) as u32, Ordering::Relaxed);
        self.restoring.store(shards.try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// `Ok` if all assigned partitions are read; otherwise a human-readable reason.
    pub fn ready(&self) -> Result<(), String> {
        if let Some(reason) = &*self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(reason.clone());
        }
        if self.cut_off.load(Ordering::Relaxed) {
            return Err("no broker is reachable".into());
        }
        match self.restoring.load(Ordering::Relaxed) {
            0 if self.ready.load(Ordering::Relaxed) => Ok(()),
            0 => Err("no partitions are assigned yet".into()),
            shards => {
                let share = f64::from(self.restored.load(Ordering::Relaxed)) / 10.0;
                Err(format!("restoring {shards} shards: {share} % of their state read"))
            }
        }
    }

    /// A thread without progress for longer than [`SILENCE`], if any. Threads that have not started are ignored.
    pub fn stuck(&self, now: Timestamp) -> Option<Thread> {
        [Thread::Ingest, Thread::Commit].into_iter().find(|thread| {
            let beat = self.beats[*thread as usize].load(Ordering::Relaxed);
            beat != 0 && now - Timestamp(beat) > SILENCE
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_assigned_partitions_are_read() {
        let liveness = Liveness::default();
        assert_eq!(liveness.ready(), Err("no partitions are assigned yet".into()));
        liveness.set_ready(true);
        assert_eq!(liveness.ready(), Ok(()));
        liveness.set_restoring(2, 0.4567);
        assert_eq!(liveness.ready(), Err("restoring 2 shards: 45.6 % of their state read".into()));
        liveness.set_restoring(0, 0.0);
        assert_eq!(liveness.ready(), Ok(()));
    }

    #[test]
    fn not_ready_while_the_run_waits_to_start_or_no_broker_is_reachable() {
        let liveness = Liveness::default();
        liveness.set_ready(true);
        liveness.set_waiting(Some("reach Kafka at kafka:9092: Connection refused"));
        assert_eq!(liveness.ready(), Err("reach Kafka at kafka:9092: Connection refused".into()));
        liveness.set_waiting(None);
        assert_eq!(liveness.ready(), Ok(()));
        assert!(liveness.set_cut_off(true));
        assert!(!liveness.set_cut_off(true), "not new");
        assert_eq!(liveness.ready(), Err("no broker is reachable".into()));
        assert!(liveness.set_cut_off(false));
        assert_eq!(liveness.ready(), Ok(()));
    }

    #[test]
    fn a_thread_is_stuck_only_after_the_silence_limit() {
        let liveness = Liveness::default();
        assert_eq!(liveness.stuck(Timestamp(1_000_000)), None, "no thread has started");
        liveness.beat(Thread::Ingest, Timestamp(1_000_000));
        liveness.beat(Thread::Commit, Timestamp(1_050_000));
        assert_eq!(liveness.stuck(Timestamp(1_090_000)), None);
        assert_eq!(liveness.stuck(Timestamp(1_090_001)), Some(Thread::Ingest));
    }
}

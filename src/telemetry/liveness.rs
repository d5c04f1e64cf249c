//! Owns the signs of life that probes ask for: which threads made progress lately, and whether work has begun.

use crate::domain::time::{Span, Timestamp};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

/// Threads whose progress means that the process lives. A broker that is away stops neither of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Polls the consumer.
    Ingest,
    /// Commits epochs.
    Commit,
}

/// Signs of life.
#[derive(Debug, Default)]
pub struct Liveness {
    beats: [AtomicI64; 2],
    ready: AtomicBool,
    /// How many shards are being restored, and how many thousandths of their state are read.
    restoring: AtomicU32,
    restored: AtomicU32,
}

/// A thread without progress for so long is taken for dead: longer than a commit may take.
pub const SILENCE: Span = Span(90_000);

impl Liveness {
    /// A thread made progress.
    pub fn beat(&self, thread: Thread, now: Timestamp) {
        self.beats[thread as usize].store(now.0, Ordering::Relaxed);
    }

    /// Partitions are assigned and read, or not.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// So many shards are being restored, and of their state this share is read.
    pub fn set_restoring(&self, shards: usize, share: f64) {
        self.restored.store((share * 1e3) as u32, Ordering::Relaxed);
        self.restoring.store(shards.try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Whether all partitions that are assigned are read; else what is missing, for people.
    pub fn ready(&self) -> Result<(), String> {
        match self.restoring.load(Ordering::Relaxed) {
            0 if self.ready.load(Ordering::Relaxed) => Ok(()),
            0 => Err("no partitions are assigned yet".into()),
            shards => {
                let share = f64::from(self.restored.load(Ordering::Relaxed)) / 10.0;
                Err(format!("{shards} shards are being restored: {share} % of their state is read"))
            }
        }
    }

    /// The thread that made no progress for too long, if any; one that has not begun yet is not waited for.
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
    fn ready_is_who_reads_all_that_is_assigned() {
        let liveness = Liveness::default();
        assert_eq!(liveness.ready(), Err("no partitions are assigned yet".into()));
        liveness.set_ready(true);
        assert_eq!(liveness.ready(), Ok(()));
        liveness.set_restoring(2, 0.4567);
        assert_eq!(liveness.ready(), Err("2 shards are being restored: 45.6 % of their state is read".into()));
        liveness.set_restoring(0, 0.0);
        assert_eq!(liveness.ready(), Ok(()));
    }

    #[test]
    fn a_thread_is_stuck_only_after_a_long_silence() {
        let liveness = Liveness::default();
        assert_eq!(liveness.stuck(Timestamp(1_000_000)), None, "nothing has begun");
        liveness.beat(Thread::Ingest, Timestamp(1_000_000));
        liveness.beat(Thread::Commit, Timestamp(1_050_000));
        assert_eq!(liveness.stuck(Timestamp(1_090_000)), None);
        assert_eq!(liveness.stuck(Timestamp(1_090_001)), Some(Thread::Ingest));
    }
}

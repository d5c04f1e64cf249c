//! Owns the signs of life that probes ask for: which threads made progress lately, and whether work has begun.

use crate::domain::time::{Span, Timestamp};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

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
pub struct Vitals {
    beats: [AtomicI64; 2],
    ready: AtomicBool,
}

/// A thread without progress for so long is taken for dead: longer than a commit may take.
pub const SILENCE: Span = Span(90_000);

impl Vitals {
    /// A thread made progress.
    pub fn beat(&self, thread: Thread, now: Timestamp) {
        self.beats[thread as usize].store(now.0, Ordering::Relaxed);
    }

    /// Partitions are assigned and read, or not.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether partitions are assigned and read.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
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
    fn a_thread_is_stuck_only_after_a_long_silence() {
        let vitals = Vitals::default();
        assert_eq!(vitals.stuck(Timestamp(1_000_000)), None, "nothing has begun");
        vitals.beat(Thread::Ingest, Timestamp(1_000_000));
        vitals.beat(Thread::Commit, Timestamp(1_050_000));
        assert_eq!(vitals.stuck(Timestamp(1_090_000)), None);
        assert_eq!(vitals.stuck(Timestamp(1_090_001)), Some(Thread::Ingest));
    }
}

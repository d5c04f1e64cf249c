//! Owns how large a transaction becomes: what goes into it beyond its first epoch.
//!
//! A transaction that is open for too long is aborted by its coordinator, which fences the process, and readers of
//! committed records wait for it. So the size follows the speed of the brokers: a transaction takes half the permitted
//! time at the speed of the last large one.

use std::time::Duration;

/// The least size; a slower broker than this in the permitted time is not usable.
const LEAST: usize = 256 << 10;

/// The size of the next transaction.
#[derive(Debug)]
pub(super) struct TransactionSize {
    /// The configured limits.
    max_bytes: usize,
    max_time: Duration,
    /// The size of the next transaction.
    bytes: usize,
}

impl TransactionSize {
    pub(super) fn new(max_bytes: usize, max_time: Duration) -> Self {
        Self { max_bytes, max_time, bytes: max_bytes }
    }

    /// The size of the next transaction, in bytes of keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing more should go into a transaction of this size that has been open for so long.
    pub(super) fn is_reached(&self, bytes: usize, open: Duration) -> bool {
        bytes >= self.bytes || open >= self.max_time / 2
    }

    /// A transaction of this size took so long. Small ones say nothing about the speed.
    pub(super) fn took(&mut self, bytes: usize, time: Duration) {
        if bytes < LEAST / 2 {
            return;
        }
        let share = self.max_time.as_secs_f64() / 2.0 / time.as_secs_f64().max(1e-3);
        self.bytes = ((bytes as f64 * share) as usize).clamp(LEAST, self.max_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_broker_gets_smaller_transactions() {
        let second = Duration::from_secs(1);
        let mut size = TransactionSize::new(8 << 20, second * 5);
        assert!(!size.is_reached((8 << 20) - 1, second) && size.is_reached(8 << 20, second));
        assert!(size.is_reached(0, second * 3), "the time is over");
        size.took(1000, second * 60);
        assert_eq!(size.bytes(), 8 << 20, "a short one that waited");
        size.took(8 << 20, second * 5);
        assert_eq!(size.bytes(), 4 << 20);
        size.took(4 << 20, second * 60);
        assert_eq!(size.bytes(), LEAST);
        size.took(LEAST, second / 10);
        assert_eq!(size.bytes(), LEAST * 25);
        size.took(LEAST * 25, second / 10);
        assert_eq!(size.bytes(), 8 << 20, "not beyond the limit");
    }
}

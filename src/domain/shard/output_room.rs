//! Owns how much of the output of an epoch is left, and divides it among shards and tenants.
//!
//! The state, the alerts and the offsets of an epoch are one transaction. Watermarks therefore stop when the output is
//! large, and go on in the next epoch: what follows from event time does not depend on where an epoch ends. Events that
//! arrived in the same epoch are not counted, because the size of what is read for an epoch has a bound of its own.

use crate::domain::effect::Effect;
use crate::domain::shard::held_events;

/// The typical size of an alert with its copy in the topic of open ones, in bytes.
pub const TYPICAL_ALERT: usize = 2 << 10;
/// The typical size of a review request, in bytes.
pub const TYPICAL_REVIEW: usize = 1 << 10;
/// What the records of an applied event take besides its payload and id, in bytes: keys, ids, the tombstone of the held one.
const RECORD: usize = 192;
/// What each may have, in bytes, however little is left.
const LEAST: usize = 16 << 10;

/// What is left of the output of an epoch, in bytes.
#[derive(Debug)]
pub struct OutputRoom(Option<usize>);

impl OutputRoom {
    /// This number of bytes; `usize::MAX`: unbounded.
    pub fn new(bytes: usize) -> Self {
        Self(Some(bytes).filter(|bytes| *bytes < usize::MAX))
    }

    /// The part of one of so many workers.
    pub fn of_worker(self, workers: usize) -> Self {
        Self(self.0.map(|bytes| bytes / workers.max(1)))
    }

    /// What the next one of so many tenants or shards may have, in bytes: half of what is left, so that none takes all from
    /// those after it.
    pub fn part(&self, of: usize) -> usize {
        let part = |left: usize| left.div_ceil(of.clamp(1, 2)).max(LEAST);
        self.0.map_or(usize::MAX, part)
    }

    /// This much was used, in bytes.
    pub fn take(&mut self, bytes: usize) {
        self.0.iter_mut().for_each(|left| *left = left.saturating_sub(bytes));
    }
}

/// The size of the records of an effect, in bytes.
pub(super) fn of_effect(effect: &Effect) -> usize {
    match effect {
        Effect::Alert(_) => TYPICAL_ALERT,
        Effect::Review(_) => TYPICAL_REVIEW,
        _ => 0,
    }
}

/// The size of the records of an applied event, in bytes; `size`: as measured while it was held, 0 if it was not.
pub(super) fn of_event(size: usize) -> usize {
    if size == 0 { 0 } else { size - held_events::ROOM + RECORD }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenant_gets_what_is_left_and_each_gets_something() {
        let mut room = OutputRoom::new(1 << 20);
        assert_eq!([room.part(3), room.part(2), room.part(1), room.part(0)], [1 << 19, 1 << 19, 1 << 20, 1 << 20]);
        room.take(1 << 19);
        assert_eq!(room.part(2), 1 << 18);
        assert_eq!(OutputRoom::new(1 << 20).of_worker(4).part(1), 1 << 18);
        room.take(2 << 20);
        assert_eq!(room.part(2), LEAST);
        let mut unbounded = OutputRoom::new(usize::MAX);
        unbounded.take(1 << 20);
        assert_eq!(unbounded.part(9), usize::MAX);
    }
}

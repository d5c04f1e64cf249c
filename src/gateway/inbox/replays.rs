//! Recognizes webhooks that come again: somebody who has recorded one sends it a second time.
//!
//! Two changes of an object within a second give two equal webhooks, and a proxy may double one, so only a repetition some
//! time after the first counts. **Bound**: the latest [`REMEMBERED`] webhooks of a source. An older one is only a hint: it
//! costs the portal one request and changes nothing.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The number of webhooks that are remembered.
const REMEMBERED: usize = 8192;
/// A repetition within this time is not a replay.
const SAME: Duration = Duration::from_secs(10);

/// The part of a digest that is remembered.
type Print = u128;

/// The webhooks of a source that were acknowledged.
#[derive(Debug, Default)]
pub(super) struct Replays {
    seen: BTreeMap<Print, Instant>,
    order: VecDeque<Print>,
}

/// What identifies a webhook: all its fields but those that prove where it comes from.
pub(super) fn print<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Print {
    let mut digest = Sha256::new();
    for part in fields.flat_map(|(name, value)| [name, value]) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let bytes: [u8; 32] = digest.finalize().into();
    bytes.iter().take(16).fold(0, |print, byte| print << 8 | Print::from(*byte))
}

impl Replays {
    /// Whether it was acknowledged some time ago.
    pub(super) fn is_replay(&self, print: Print, now: Instant) -> bool {
        self.seen.get(&print).is_some_and(|first| now.duration_since(*first) > SAME)
    }

    /// Remembers an acknowledged webhook.
    pub(super) fn acknowledged(&mut self, print: Print, now: Instant) {
        if self.seen.contains_key(&print) {
            return;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.seen.insert(print, now);
        self.order.push_back(print);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_that_comes_again_later_is_a_replay() {
        let (mut replays, start) = (Replays::default(), Instant::now());
        let one = print([("event", "X"), ("id", "1")].into_iter());
        assert_ne!(one, print([("event", "X"), ("id", "2")].into_iter()));
        assert_ne!(one, print([("event", "Xi"), ("d", "1")].into_iter()));
        assert!(!replays.is_replay(one, start));
        replays.acknowledged(one, start);
        assert!(!replays.is_replay(one, start + SAME), "a second change within a second");
        replays.acknowledged(one, start + SAME);
        assert!(replays.is_replay(one, start + SAME + Duration::from_millis(1)));
    }

    #[test]
    fn no_more_are_remembered_than_the_bound() {
        let (mut replays, start) = (Replays::default(), Instant::now());
        for number in 0..REMEMBERED as Print + 10 {
            replays.acknowledged(number, start);
        }
        assert_eq!((replays.seen.len(), replays.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!replays.is_replay(9, start + 2 * SAME) && replays.is_replay(10, start + 2 * SAME));
    }
}

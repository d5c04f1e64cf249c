//! Owns deduplication by event id: a second event with the same id within the window is ignored.
//!
//! Ids are kept as long as late events are accepted, because a duplicate may be as late as its original.
//!
//! **Only a 128-bit fingerprint of an id is kept**; an id takes 24 bytes and, if it is long, a heap allocation. Two ids
//! of equal length that differ in a single 16-byte chunk always have different fingerprints; other pairs collide with
//! probability 2^-128. With a billion ids kept, a new id is taken for a duplicate with probability 2^-98, which is far
//! below that of a memory error.

use crate::domain::id::EventId;
use crate::domain::mem::seeded::hash;
use crate::domain::source::Topic;
use crate::domain::time::{Span, Timestamp};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

/// When ids were last seen, in generations of one window length each, so that expiry is cheap.
#[derive(Debug)]
pub struct Duplicates {
    window: Span,
    horizon: Span,
    /// Newest first.
    generations: VecDeque<Generation>,
}

#[derive(Debug)]
struct Generation {
    start: Timestamp,
    seen: FxHashMap<Fingerprint, Timestamp>,
}

/// The fingerprint of an id and its topic, by a seed of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint([u64; 2]);

/// Without it, a sender could compute two ids with one fingerprint.
static SEED: LazyLock<u128> = LazyLock::new(|| [0u8, 1].iter().fold(0, |seed, n| seed << 64 | u128::from(hash(n))));

impl Fingerprint {
    /// An odd number without pattern: the digits of the golden ratio.
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

    fn of(topic: Topic, id: &EventId) -> Self {
        // Each step is invertible, so differences before it, and in its chunk, are never lost.
        let step = |fingerprint: u128, chunk: u128| {
            let mixed = (fingerprint ^ chunk).wrapping_mul(Self::FACTOR);
            mixed ^ (mixed >> 67)
        };
        let text = id.as_str().as_bytes();
        let begin = step(*SEED, (text.len() as u128) << 8 | u128::from(topic.info().id));
        let fingerprint = text.chunks(16).fold(begin, |fingerprint, chunk| {
            let mut bytes = [0; 16];
            bytes[..chunk.len()].copy_from_slice(chunk);
            step(fingerprint, u128::from_le_bytes(bytes))
        });
        let fingerprint = step(fingerprint, 0);
        Self([(fingerprint >> 64) as u64, fingerprint as u64])
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

impl Duplicates {
    /// Detects duplicates within `window` of event time that are up to `horizon` late.
    pub fn new(window: Span, horizon: Span) -> Self {
        Self { window, horizon, generations: VecDeque::new() }
    }

    /// Records an id at `at`. Returns `false` if it was recorded within the window before (inclusive).
    pub fn insert(&mut self, topic: Topic, id: &EventId, at: Timestamp) -> bool {
        self.rotate(at);
        let key = Fingerprint::of(topic, id);
        // Older generations are older than the window.
        let seen = self.generations.iter().take(2).find_map(|generation| generation.seen.get(&key));
        if seen.is_some_and(|seen| at.saturating_sub(self.window) <= *seen) {
            return false;
        }
        if let Some(generation) = self.generations.front_mut() {
            generation.seen.insert(key, at);
        }
        true
    }

    /// Records the id of a late event. Returns `false` if it was recorded within the window before or after.
    pub fn insert_late(&mut self, topic: Topic, id: &EventId, at: Timestamp) -> bool {
        let key = Fingerprint::of(topic, id);
        let near = |seen: &Timestamp| (at.0 - seen.0).abs() <= self.window.0;
        if self.generations.iter().any(|generation| generation.seen.get(&key).is_some_and(near)) {
            return false;
        }
        let index = self.generations.iter().position(|generation| generation.start <= at);
        let index = index.unwrap_or_else(|| {
            self.generations.push_back(Generation { start: at, seen: FxHashMap::default() });
            self.generations.len() - 1
        });
        let seen = self.generations[index].seen.entry(key).or_insert(at);
        *seen = at.max(*seen);
        true
    }

    /// Starts a new generation once the newest is older than the window, and drops expired ones.
    fn rotate(&mut self, at: Timestamp) {
        let is_current = |generation: &Generation| at <= generation.start.saturating_add(self.window);
        if self.generations.front().is_some_and(is_current) {
            return;
        }
        let expired = at.saturating_sub(self.horizon).saturating_sub(self.window).saturating_sub(self.window);
        while self.generations.back().is_some_and(|generation| generation.start < expired) {
            self.generations.pop_back();
        }
        self.generations.push_front(Generation { start: at, seen: FxHashMap::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_can_be_reused_only_after_the_window() {
        let mut duplicates = Duplicates::new(Span(100), Span(300));
        let insert =
            |duplicates: &mut Duplicates, id: &str, at| duplicates.insert(Topic::Crm, &id.into(), Timestamp(at));
        assert!(insert(&mut duplicates, "a", 0));
        assert!(!insert(&mut duplicates, "a", 100), "inclusive");
        assert!(insert(&mut duplicates, "a", 101));
        assert!(!insert(&mut duplicates, "a", 150), "measured from the last one recorded");
        assert!(insert(&mut duplicates, "b", 201));
        assert!(!insert(&mut duplicates, "a", 201));
        assert!(insert(&mut duplicates, "a", 202));
        assert!(insert(&mut duplicates, "a", 1000));
    }

    #[test]
    fn topics_do_not_share_ids() {
        let mut duplicates = Duplicates::new(Span(100), Span(300));
        assert!(duplicates.insert(Topic::Crm, &"a".into(), Timestamp(0)));
        assert!(duplicates.insert(Topic::Email, &"a".into(), Timestamp(0)));
    }

    #[test]
    fn fingerprints_are_distinct_for_ids_of_all_lengths() {
        let long = "x".repeat(70);
        let mut fingerprints = std::collections::BTreeSet::new();
        for topic in Topic::ALL {
            for length in 0..long.len() {
                for end in ["", "y", "\0", "\0\0", "xy"] {
                    fingerprints.insert(Fingerprint::of(topic, &format!("{}{end}", &long[..length]).into()).0);
                }
            }
        }
        // A prefix with suffix `xy` equals the next longer prefix with suffix `y`.
        assert_eq!(fingerprints.len(), Topic::COUNT * (4 * 70 + 1));
        assert_eq!(size_of::<(Fingerprint, Timestamp)>(), 24);
    }

    #[test]
    fn expiry_does_not_change_the_result() {
        let mut duplicates = Duplicates::new(Span(50), Span(0));
        let mut naive = std::collections::BTreeMap::<u64, i64>::new();
        let (mut seed, mut at) = (7u64, 0i64);
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            at += (seed >> 60) as i64 / 4;
            let id = (seed >> 33) % 40;
            let expected = naive.get(&id).is_none_or(|seen| at - seen > 50);
            if expected {
                naive.insert(id, at);
            }
            assert_eq!(duplicates.insert(Topic::Crm, &id.to_string().into(), Timestamp(at)), expected);
        }
    }

    #[test]
    fn a_duplicate_may_be_as_late_as_its_original() {
        let mut duplicates = Duplicates::new(Span(100), Span(1000));
        let id = |name: &str| EventId::from(name);
        for at in 0..20 {
            assert!(duplicates.insert(Topic::Crm, &id(&at.to_string()), Timestamp(at * 90)));
        }
        for at in 8..20 {
            assert!(!duplicates.insert_late(Topic::Crm, &id(&at.to_string()), Timestamp(at * 90 - 50)), "{at}");
        }
        assert!(duplicates.insert_late(Topic::Crm, &id("late"), Timestamp(900)));
        assert!(!duplicates.insert_late(Topic::Crm, &id("late"), Timestamp(1000)));
        assert!(duplicates.insert_late(Topic::Crm, &id("late"), Timestamp(1001)), "beyond the window");
        assert!(duplicates.generations.len() < 20, "unreachable generations are dropped");
    }
}

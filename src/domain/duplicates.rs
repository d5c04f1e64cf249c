//! Owns the memory of event ids: a second event with the same id inside the window changes nothing.
//!
//! Ids are kept for as long as late events are taken, as a copy may come as late as its original could.
//!
//! **Of an id its print is kept**: 128 bits, where an id takes 24 bytes and, if it is long, a block of memory more. Two
//! ids of one length that differ in one stretch of 16 bytes only have different prints in any case; of others two in
//! 2^128 share one. Among a billion ids that are remembered, a new one is taken for a copy with a chance of one in 2^98,
//! which is far below that of the memory failing.

use super::event::Topic;
use super::id::EventId;
use super::time::{Span, Timestamp};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// When ids were last taken, in generations as long as the window, so that forgetting costs nothing.
#[derive(Debug)]
pub struct Duplicates {
    window: Span,
    horizon: Span,
    /// The youngest first.
    generations: VecDeque<Generation>,
}

#[derive(Debug)]
struct Generation {
    began: Timestamp,
    taken: FxHashMap<Print, Timestamp>,
}

/// What is kept of an id in its topic. It is the same in every process, though nothing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print([u64; 2]);

impl Print {
    /// Odd, and without pattern: the digits of the golden ratio.
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

    fn of(topic: Topic, id: &EventId) -> Self {
        // Each step can be undone, so what differed before it still does, and what differs in its chunk does from now on.
        let step = |print: u128, chunk: u128| {
            let mixed = (print ^ chunk).wrapping_mul(Self::FACTOR);
            mixed ^ (mixed >> 67)
        };
        let text = id.as_str().as_bytes();
        let begin = step(Self::FACTOR, (text.len() as u128) << 8 | u128::from(topic as u8));
        let print = text.chunks(16).fold(begin, |print, chunk| {
            let mut bytes = [0; 16];
            bytes[..chunk.len()].copy_from_slice(chunk);
            step(print, u128::from_le_bytes(bytes))
        });
        let print = step(print, 0);
        Self([(print >> 64) as u64, print as u64])
    }
}

impl Hash for Print {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

impl Duplicates {
    /// A memory for copies within `window` of event time, that come up to `horizon` late.
    pub fn new(window: Span, horizon: Span) -> Self {
        Self { window, horizon, generations: VecDeque::new() }
    }

    /// Takes an id at `at`; `false` if it was taken within the window before (inclusive).
    pub fn take(&mut self, topic: Topic, id: &EventId, at: Timestamp) -> bool {
        self.order(at);
        let key = Print::of(topic, id);
        // What is older than these is older than the window.
        let taken = self.generations.iter().take(2).find_map(|generation| generation.taken.get(&key));
        if taken.is_some_and(|taken| at.saturating_sub(self.window) <= *taken) {
            return false;
        }
        if let Some(generation) = self.generations.front_mut() {
            generation.taken.insert(key, at);
        }
        true
    }

    /// Takes the id of a late event; `false` if it was taken within the window before or after.
    pub fn take_late(&mut self, topic: Topic, id: &EventId, at: Timestamp) -> bool {
        let key = Print::of(topic, id);
        let near = |taken: &Timestamp| (at.0 - taken.0).abs() <= self.window.0;
        if self.generations.iter().any(|generation| generation.taken.get(&key).is_some_and(near)) {
            return false;
        }
        let place = self.generations.iter().position(|generation| generation.began <= at);
        let place = place.unwrap_or_else(|| {
            self.generations.push_back(Generation { began: at, taken: FxHashMap::default() });
            self.generations.len() - 1
        });
        let taken = self.generations[place].taken.entry(key).or_insert(at);
        *taken = at.max(*taken);
        true
    }

    /// Begins a new generation once the youngest has lasted longer than the window.
    fn order(&mut self, at: Timestamp) {
        let lasts = |generation: &Generation| at <= generation.began.saturating_add(self.window);
        if self.generations.front().is_some_and(lasts) {
            return;
        }
        let reached = at.saturating_sub(self.horizon).saturating_sub(self.window).saturating_sub(self.window);
        while self.generations.back().is_some_and(|generation| generation.began < reached) {
            self.generations.pop_back();
        }
        self.generations.push_front(Generation { began: at, taken: FxHashMap::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_free_again_only_after_the_window() {
        let mut duplicates = Duplicates::new(Span(100), Span(300));
        let take = |duplicates: &mut Duplicates, id: &str, at| duplicates.take(Topic::Crm, &id.into(), Timestamp(at));
        assert!(take(&mut duplicates, "a", 0));
        assert!(!take(&mut duplicates, "a", 100), "inclusive");
        assert!(take(&mut duplicates, "a", 101));
        assert!(!take(&mut duplicates, "a", 150), "counted from the last one taken");
        assert!(take(&mut duplicates, "b", 201));
        assert!(!take(&mut duplicates, "a", 201));
        assert!(take(&mut duplicates, "a", 202));
        assert!(take(&mut duplicates, "a", 1000));
    }

    #[test]
    fn topics_do_not_share_ids() {
        let mut duplicates = Duplicates::new(Span(100), Span(300));
        assert!(duplicates.take(Topic::Crm, &"a".into(), Timestamp(0)));
        assert!(duplicates.take(Topic::Email, &"a".into(), Timestamp(0)));
    }

    #[test]
    fn ids_of_all_lengths_have_prints_of_their_own() {
        let long = "x".repeat(70);
        let mut prints = std::collections::BTreeSet::new();
        for topic in Topic::ALL {
            for length in 0..long.len() {
                for end in ["", "y", "\0", "\0\0", "xy"] {
                    prints.insert(Print::of(topic, &format!("{}{end}", &long[..length]).into()).0);
                }
            }
        }
        // `xy` after some is `y` after one more.
        assert_eq!(prints.len(), 3 * (4 * 70 + 1));
        assert_eq!(size_of::<(Print, Timestamp)>(), 24);
    }

    #[test]
    fn forgetting_agrees_with_a_memory_that_never_forgets() {
        let mut duplicates = Duplicates::new(Span(50), Span(0));
        let mut naive = std::collections::BTreeMap::<u64, i64>::new();
        let (mut seed, mut at) = (7u64, 0i64);
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            at += (seed >> 60) as i64 / 4;
            let id = (seed >> 33) % 40;
            let expected = naive.get(&id).is_none_or(|taken| at - taken > 50);
            if expected {
                naive.insert(id, at);
            }
            assert_eq!(duplicates.take(Topic::Crm, &id.to_string().into(), Timestamp(at)), expected);
        }
    }

    #[test]
    fn a_copy_may_come_as_late_as_its_original_could() {
        let mut duplicates = Duplicates::new(Span(100), Span(1000));
        let id = |name: &str| EventId::from(name);
        for at in 0..20 {
            assert!(duplicates.take(Topic::Crm, &id(&at.to_string()), Timestamp(at * 90)));
        }
        for at in 8..20 {
            assert!(!duplicates.take_late(Topic::Crm, &id(&at.to_string()), Timestamp(at * 90 - 50)), "{at}");
        }
        assert!(duplicates.take_late(Topic::Crm, &id("late"), Timestamp(900)));
        assert!(!duplicates.take_late(Topic::Crm, &id("late"), Timestamp(1000)));
        assert!(duplicates.take_late(Topic::Crm, &id("late"), Timestamp(1001)), "beyond the window");
        assert!(duplicates.generations.len() < 20, "what no copy can reach is forgotten");
    }
}

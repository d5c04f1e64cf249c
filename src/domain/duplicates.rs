//! Owns the memory of event ids: a second event with the same id inside the window changes nothing.

use super::event::Topic;
use super::id::EventId;
use super::time::{Span, Timestamp};
use rustc_hash::FxHashMap;

type Taken = FxHashMap<(Topic, EventId), Timestamp>;

/// When ids were last taken: two generations, each as long as the window, so that forgetting costs nothing.
#[derive(Debug)]
pub struct Duplicates {
    window: Span,
    began: Timestamp,
    recent: Taken,
    older: Taken,
}

impl Duplicates {
    /// A memory of `window` of event time.
    pub fn new(window: Span) -> Self {
        Self { window, began: Timestamp::MIN, recent: Taken::default(), older: Taken::default() }
    }

    /// Takes an id at `at`; `false` if it was taken within the window before (inclusive).
    pub fn take(&mut self, topic: Topic, id: &EventId, at: Timestamp) -> bool {
        self.turn(at);
        let key = (topic, id.clone());
        let fresh = |taken: &Timestamp| at.saturating_sub(self.window) <= *taken;
        if self.recent.get(&key).or_else(|| self.older.get(&key)).is_some_and(fresh) {
            return false;
        }
        self.recent.insert(key, at);
        true
    }

    /// Begins a new generation once the recent one has lasted longer than the window.
    fn turn(&mut self, at: Timestamp) {
        if self.began.saturating_add(self.window) < at {
            self.older = if self.began.saturating_add(self.window).saturating_add(self.window) < at {
                Taken::default()
            } else {
                std::mem::take(&mut self.recent)
            };
            self.recent.clear();
            self.began = at;
        }
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.recent.len() + self.older.len()
    }

    /// Whether no id is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_free_again_only_after_the_window() {
        let mut duplicates = Duplicates::new(Span(100));
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
        let mut duplicates = Duplicates::new(Span(100));
        assert!(duplicates.take(Topic::Crm, &"a".into(), Timestamp(0)));
        assert!(duplicates.take(Topic::Email, &"a".into(), Timestamp(0)));
    }

    #[test]
    fn forgetting_agrees_with_a_memory_that_never_forgets() {
        let mut duplicates = Duplicates::new(Span(50));
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
}

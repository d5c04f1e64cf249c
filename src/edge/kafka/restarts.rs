//! Owns how often the parts of a process may start again within it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many starts are allowed within [`WINDOW`].
const MAX: usize = 5;
/// See [`MAX`].
const WINDOW: Duration = Duration::from_secs(300);

/// The recent starts.
#[derive(Debug, Default)]
pub struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Records a further start, unless there were too many recently. Returns whether it is allowed.
    pub fn allow(&mut self) -> bool {
        let now = Instant::now();
        self.0.retain(|started| now.duration_since(*started) < WINDOW);
        let allowed = self.0.len() < MAX;
        if allowed {
            self.0.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_starts_are_allowed_at_a_time() {
        let mut restarts = Restarts::default();
        assert!((0..MAX).all(|_| restarts.allow()));
        assert!(!restarts.allow());
        restarts.0.pop_front();
        assert!(restarts.allow());
    }
}

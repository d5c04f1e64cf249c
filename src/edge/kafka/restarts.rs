//! Owns whether the parts of a process start again within it after an error, and how often.

use super::control::Stop;
use super::error::RunError;
use super::event::{Observer, RuntimeEvent};
use super::namesake;
use super::patience::Patience;
use crate::config::Config;
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
    /// Decides whether a live run that ended with `error` starts again with new clients: `Ok` if it does, else the error that
    /// ends it. `prepare` discards what belongs to the old clients, before brokers are asked for a process with the same
    /// transactional id: two of them would fence each other forever.
    pub fn after(
        &mut self,
        error: RunError,
        config: &Config,
        (stop, observer): (&Stop, &Observer),
        prepare: impl FnOnce(),
    ) -> Result<(), RunError> {
        if stop.is_set() || !error.heals() || !self.allow() {
            return Err(error);
        }
        prepare();
        observer.emit(RuntimeEvent::Restarting(&error.to_string()));
        if namesake::exists(config, &mut Patience::observed(stop, observer))? {
            return Err(RunError::Namesake(Box::new(error)));
        }
        Ok(())
    }

    /// Records a further start, unless there were too many recently. Returns whether it is allowed.
    fn allow(&mut self) -> bool {
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

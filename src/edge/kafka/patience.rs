//! Owns how long a start waits for brokers and topics, and what it reports meanwhile.

use super::client_log::gist;
use super::control::Stop;
use super::event::{Observer, RuntimeEvent};
use std::time::{Duration, Instant};

/// How long a command waits that somebody is waiting for.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a reason is logged that stays the same.
const REPEAT: Duration = Duration::from_secs(60);
/// Pause between two attempts that fail at once.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// Waits until something outside is there: with a limit, or until a stop is requested.
pub(super) struct Patience<'a> {
    stop: Stop,
    limit: Option<Duration>,
    /// Receives the reasons.
    observer: Option<&'a Observer>,
    started: Instant,
    /// The last reason, and when it was logged.
    last: Option<(String, Instant)>,
}

impl<'a> Patience<'a> {
    /// Waits a minute at most.
    pub(super) fn limited(stop: &Stop) -> Self {
        Self { stop: stop.clone(), limit: Some(LIMIT), observer: None, started: Instant::now(), last: None }
    }

    /// Waits without limit.
    pub(super) fn unlimited(stop: &Stop) -> Self {
        Self { limit: None, ..Self::limited(stop) }
    }

    /// The same; the reasons are those why the process is not ready.
    pub(super) fn observed(stop: &Stop, observer: &'a Observer) -> Self {
        Self { observer: Some(observer), ..Self::unlimited(stop) }
    }

    /// Whether a stop is requested.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// Whether there is no limit.
    pub(super) fn is_unlimited(&self) -> bool {
        self.limit.is_none()
    }

    /// Reports why the last attempt failed. `false`: the time is over.
    pub(super) fn go_on(&mut self, reason: &str) -> bool {
        if self.limit.is_some_and(|limit| self.started.elapsed() > limit) {
            return false;
        }
        let reason = gist(reason);
        let is_logged = |(last, at): &(String, Instant)| *last == reason && at.elapsed() < REPEAT;
        if !self.last.as_ref().is_some_and(is_logged) {
            tracing::warn!("waiting: {reason}");
            self.last = Some((reason.clone(), Instant::now()));
        }
        if let Some(observer) = self.observer {
            observer.emit(RuntimeEvent::Waiting(Some(&reason)));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::liveness::Liveness;
    use std::sync::Arc;

    #[test]
    fn the_reason_of_the_last_attempt_is_why_the_process_is_not_ready() {
        let (stop, liveness) = (Stop::default(), Arc::new(Liveness::default()));
        let observer = Observer::new(Arc::default(), Arc::clone(&liveness), |_| ());
        let mut patience = Patience::observed(&stop, &observer);
        patience.started -= 100 * LIMIT;
        assert!(patience.go_on("kafka:9092/bootstrap: Connection refused (after 0ms in state CONNECT)"));
        assert_eq!(liveness.ready(), Err("kafka:9092: Connection refused".into()));
        observer.emit(RuntimeEvent::Waiting(None));
        assert_eq!(liveness.ready(), Err("no partitions are assigned yet".into()));
    }

    #[test]
    fn a_command_gives_up_after_a_minute() {
        let stop = Stop::default();
        let mut patience = Patience::limited(&stop);
        assert!(patience.go_on("refused"));
        patience.started -= LIMIT;
        assert!(!patience.go_on("refused"));
    }
}

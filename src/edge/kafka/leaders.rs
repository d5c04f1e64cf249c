//! Owns which brokers answer the consumer: what silence of a partition is worth depends on its leader.
//!
//! The statistics of librdkafka contain high watermarks of the last response, however old it is. A broker that throttles a client
//! sends responses without partitions, and one that hangs sends none; its connection is up all the time. So a leader answers
//! while requests for messages follow each other, each of which is sent after the response to the one before, and while none is
//! throttled.

use super::client::STATISTICS_INTERVAL;
use rdkafka::statistics::Broker;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The name of the request for messages in the statistics.
const FETCH: &str = "Fetch";

/// The brokers, by their ids.
#[derive(Debug)]
pub(super) struct Leaders {
    /// The longest time between two requests for messages.
    pause: Duration,
    by_id: BTreeMap<i32, Leader>,
}

#[derive(Clone, Copy, Debug)]
struct Leader {
    /// The requests for messages that were sent to it, and when a report had more of them for the last time.
    requests: i64,
    sent_at: Option<Instant>,
    answering_since: Option<Instant>,
}

impl Leaders {
    /// `wait`: how long a broker may wait for messages before it responds, `fetch.wait.max.ms`.
    pub(super) fn new(wait: Duration) -> Self {
        Self { pause: wait.max(STATISTICS_INTERVAL) + STATISTICS_INTERVAL / 2, by_id: BTreeMap::new() }
    }

    /// A report about a broker, at `now`.
    pub(super) fn report(&mut self, broker: &Broker, now: Instant) {
        let requests = broker.req.get(FETCH).copied().unwrap_or(0);
        let unknown = Leader { requests, sent_at: None, answering_since: None };
        let leader = self.by_id.entry(broker.nodeid).or_insert(unknown);
        // After a new connection the number may begin at zero.
        if requests != leader.requests {
            (leader.requests, leader.sent_at) = (requests, Some(now));
        }
        let is_throttled = broker.throttle.as_ref().is_some_and(|window| window.max > 0);
        let is_asked = leader.sent_at.is_some_and(|at| now.saturating_duration_since(at) < self.pause);
        let answers = broker.state == "UP" && is_asked && !is_throttled;
        leader.answering_since = if answers { leader.answering_since.or(Some(now)) } else { None };
    }

    /// Since when the broker has answered without interruption; `None` if it does not answer.
    pub(super) fn answering_since(&self, id: i32) -> Option<Instant> {
        self.by_id.get(&id)?.answering_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::Window;

    const WAIT: Duration = Duration::from_millis(50);

    /// A report after so many seconds.
    fn report(
        leaders: &mut Leaders,
        start: Instant,
        seconds: u64,
        state: &str,
        requests: i64,
        throttled: i64,
    ) -> Option<u64> {
        let broker = Broker {
            nodeid: 1,
            state: state.into(),
            req: [(FETCH.to_owned(), requests)].into(),
            throttle: Some(Window { max: throttled, ..Window::default() }),
            ..Broker::default()
        };
        leaders.report(&broker, start + Duration::from_secs(seconds));
        leaders.answering_since(1).map(|since| since.duration_since(start).as_secs())
    }

    #[test]
    fn a_leader_answers_while_requests_follow_each_other() {
        let (mut leaders, start) = (Leaders::new(WAIT), Instant::now());
        assert_eq!(report(&mut leaders, start, 0, "UP", 20, 0), None);
        assert_eq!(report(&mut leaders, start, 1, "UP", 40, 0), Some(1));
        assert_eq!(report(&mut leaders, start, 2, "UP", 60, 0), Some(1));
        // The last request was sent, and is not answered.
        assert_eq!(report(&mut leaders, start, 3, "UP", 60, 0), Some(1));
        assert_eq!(report(&mut leaders, start, 4, "UP", 60, 0), None);
        assert_eq!(report(&mut leaders, start, 5, "UP", 61, 0), Some(5));
        assert_eq!(leaders.answering_since(2), None);
    }

    #[test]
    fn a_leader_that_throttles_or_is_unreachable_does_not_answer() {
        let (mut leaders, start) = (Leaders::new(WAIT), Instant::now());
        report(&mut leaders, start, 0, "UP", 20, 0);
        assert_eq!(report(&mut leaders, start, 1, "UP", 40, 0), Some(1));
        assert_eq!(report(&mut leaders, start, 2, "UP", 41, 700), None);
        assert_eq!(report(&mut leaders, start, 3, "UP", 60, 0), Some(3));
        assert_eq!(report(&mut leaders, start, 4, "DOWN", 80, 0), None);
        assert_eq!(report(&mut leaders, start, 5, "UP", 20, 0), Some(5));
    }

    #[test]
    fn a_broker_may_wait_for_messages_as_long_as_it_is_asked_to() {
        let (mut leaders, start) = (Leaders::new(Duration::from_secs(5)), Instant::now());
        report(&mut leaders, start, 0, "UP", 1, 0);
        assert_eq!(report(&mut leaders, start, 1, "UP", 2, 0), Some(1));
        assert_eq!(report(&mut leaders, start, 6, "UP", 2, 0), Some(1));
        assert_eq!(report(&mut leaders, start, 7, "UP", 2, 0), None);
    }
}

//! Owns the wall clock that watermarks follow. Pure: the caller reads the clocks.
//!
//! A wall clock can be wrong: set by hand, by a bad time server, or after a suspend. A watermark that follows it cannot go
//! back, so one wrong second would last for as long as the jump was. So between two readings the monotonic clock counts,
//! and a step of the wall clock against it is taken over only if the broker agrees, whose time is known from the delivery
//! reports of topics with `LogAppendTime`. While the wall clock and the broker differ by more than [`MAX_DIFFERENCE`], no
//! watermark follows the clock.

use crate::domain::time::{Span, Timestamp};
use crate::edge::kafka::client::BrokerTime;
use std::time::{Duration, Instant};

/// The largest difference between the wall clock and the broker.
pub(super) const MAX_DIFFERENCE: Span = Span(30_000);
/// The largest step from one reading to the next that is taken for an adjustment.
const MAX_STEP: Span = Span(2_000);

/// The wall clock.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    last: Option<(Timestamp, Instant)>,
    broker: Option<BrokerTime>,
}

/// A reading of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The time.
    pub(super) wall: Timestamp,
    /// How far it is ahead of the broker, if that is known.
    pub(super) ahead: Option<Span>,
    /// Whether watermarks may follow it.
    pub(super) is_right: bool,
}

impl WallClock {
    /// Takes over the time of a broker.
    pub(super) fn compare(&mut self, broker: Option<BrokerTime>) {
        self.broker = broker.or(self.broker);
    }

    /// A reading, `wall` being what the system says at `now`.
    pub(super) fn read(&mut self, wall: Timestamp, now: Instant) -> Reading {
        let after = |(at, since): (Timestamp, Instant)| at.saturating_add(span(now.saturating_duration_since(since)));
        let expected = self.last.map_or(wall, after);
        let broker = self.broker.map(after);
        let is_near = |other: Timestamp, limit: Span| (wall - other).0.abs() <= limit.0;
        let has_jumped = !is_near(expected, MAX_STEP);
        let agrees = broker.map(|broker| is_near(broker, MAX_DIFFERENCE));
        // Without a broker to ask, only the first reading is believed.
        let believed = if has_jumped && agrees != Some(true) { expected } else { wall };
        self.last = Some((believed, now));
        let ahead = broker.map(|broker| believed - broker);
        let is_right = ahead.map_or(!has_jumped, |ahead| ahead.0.abs() <= MAX_DIFFERENCE.0);
        Reading { wall: believed, ahead, is_right }
    }
}

fn span(duration: Duration) -> Span {
    Span(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = Span::DAY.0;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Reads the clock at an instant after the start; the result is the believed time and whether it is right.
    fn read(clock: &mut WallClock, wall: i64, now: Instant) -> (i64, bool) {
        let reading = clock.read(Timestamp(wall), now);
        (reading.wall.0, reading.is_right)
    }

    #[test]
    fn a_jump_that_the_broker_does_not_confirm_is_not_followed() {
        let (start, mut clock) = (Instant::now(), WallClock::default());
        assert_eq!(read(&mut clock, 1000, start), (1000, true));
        clock.compare(Some((Timestamp(1100), start + ms(100))));
        assert_eq!(read(&mut clock, 1200 + 9 * DAY, start + ms(200)), (1200, true), "the monotonic clock counts");
        assert_eq!(read(&mut clock, 10_200 + 9 * DAY, start + ms(9_200)), (10_200, true));
        assert_eq!(read(&mut clock, 10_300, start + ms(9_300)), (10_300, true), "it was put right");
    }

    #[test]
    fn a_jump_that_the_broker_confirms_is_followed() {
        let (start, mut clock) = (Instant::now(), WallClock::default());
        assert_eq!(read(&mut clock, 1000, start), (1000, true));
        clock.compare(Some((Timestamp(60_000), start)));
        assert_eq!(read(&mut clock, 1100, start + ms(100)), (1100, false), "it is a minute behind");
        assert_eq!(read(&mut clock, 60_200, start + ms(200)), (60_200, true));
        assert_eq!(clock.read(Timestamp(60_300), start + ms(300)).ahead, Some(Span(0)));
    }

    #[test]
    fn without_a_broker_a_jump_stops_the_watermarks() {
        let (start, mut clock) = (Instant::now(), WallClock::default());
        assert_eq!(read(&mut clock, 1000, start), (1000, true));
        assert_eq!(read(&mut clock, 1000 + DAY, start + ms(100)), (1100, false));
        assert_eq!(read(&mut clock, 1100 + DAY, start + ms(200)), (1200, false));
        assert_eq!(read(&mut clock, 1300, start + ms(300)), (1300, true));
    }

    #[test]
    fn small_steps_are_adjustments() {
        let (start, mut clock) = (Instant::now(), WallClock::default());
        assert_eq!(read(&mut clock, 10_000, start), (10_000, true));
        assert_eq!(read(&mut clock, 8_100, start + ms(100)), (8_100, true));
        assert_eq!(read(&mut clock, 10_200, start + ms(200)), (10_200, true));
    }

    #[test]
    fn a_clock_that_was_wrong_from_the_beginning_is_found_by_the_broker() {
        let (start, mut clock) = (Instant::now(), WallClock::default());
        assert_eq!(read(&mut clock, 9 * DAY, start), (9 * DAY, true), "nothing to compare with");
        clock.compare(Some((Timestamp(100), start + ms(100))));
        assert_eq!(read(&mut clock, 9 * DAY + 200, start + ms(200)), (9 * DAY + 200, false));
    }
}

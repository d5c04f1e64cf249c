//! Working hours of the simulated staff, in plain arithmetic without holidays.
//!
//! It deliberately does not use the domain's calendar, so that expected alerts are computed independently of it.

use crate::domain::time::{Span, Timestamp};

/// Working hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// 09:00 to 18:00 Moscow time, Monday to Friday. Customers arrive then, and a few in the evening and at weekends.
    Moscow,
    /// Around the clock, at an even rate.
    Always,
}

/// Moscow's UTC offset since 2014.
const OFFSET: i64 = 3 * Span::HOUR.0;
const OPENS: i64 = 9 * Span::HOUR.0;
const CLOSES: i64 = 18 * Span::HOUR.0;
const WORKDAY: i64 = CLOSES - OPENS;
/// 1970-01-01 was a Thursday, 0 being Monday.
const EPOCH_WEEKDAY: i64 = 3;
/// 1970-01-05, in days since the epoch.
const FIRST_MONDAY: i64 = 4;

/// The day in Moscow since the Unix epoch, its weekday (0 is Monday), and the time of day.
fn local(at: Timestamp) -> (i64, i64, i64) {
    let local = at.0 + OFFSET;
    let day = local.div_euclid(Span::DAY.0);
    (day, (day + EPOCH_WEEKDAY).rem_euclid(7), local.rem_euclid(Span::DAY.0))
}

impl Shift {
    /// Whether the instant is within working hours.
    pub(super) fn works(self, at: Timestamp) -> bool {
        let (_, weekday, time) = local(at);
        self == Self::Always || weekday < 5 && (OPENS..CLOSES).contains(&time)
    }

    /// The arrival rate at this time, in percent of that in working hours.
    pub(super) fn arrival_percent(self, at: Timestamp) -> u32 {
        let (_, weekday, time) = local(at);
        match time / Span::HOUR.0 {
            _ if self.works(at) => 100,
            8..=21 if weekday < 5 => 12,
            8..=21 => 5,
            _ => 1,
        }
    }

    /// The first instant by which `span` of working time has passed since `from`.
    pub(super) fn after(self, from: Timestamp, span: Span) -> Timestamp {
        if self == Self::Always || span <= Span::ZERO {
            return from.saturating_add(span);
        }
        let (day, weekday, time) = local(from);
        let days = (day - weekday - FIRST_MONDAY) / 7 * 5 + weekday.min(5);
        let today = if weekday < 5 { (time - OPENS).clamp(0, WORKDAY) } else { 0 };
        // The last millisecond of the span, counted in working time since the first Monday.
        let last = days * WORKDAY + today + span.0 - 1;
        let (days, time) = (last.div_euclid(WORKDAY), last.rem_euclid(WORKDAY));
        let day = FIRST_MONDAY + days.div_euclid(5) * 7 + days.rem_euclid(5);
        Timestamp(day * Span::DAY.0 + OPENS + time + 1 - OFFSET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::calendar::Calendar;
    use crate::domain::time::hours::Hours;
    use std::collections::{BTreeMap, BTreeSet};

    fn calendar() -> Calendar {
        let hours = vec![Hours::parse("09:00-18:00").expect("hours")];
        let week = std::array::from_fn(|weekday| if weekday < 5 { hours.clone() } else { Vec::new() });
        Calendar::new("moscow", "Europe/Moscow", week, BTreeMap::new(), BTreeSet::new()).expect("a calendar")
    }

    #[test]
    fn agrees_with_the_calendar_of_the_norms() {
        let calendar = calendar();
        let start = Timestamp::parse("2026-02-26T00:00:00Z").expect("a time");
        for step in 0..3000 {
            let from = Timestamp(start.0 + step * 617_000);
            for span in [Span(1), Span::MINUTE, Span::HOUR, Span(9 * Span::HOUR.0), Span(100 * Span::HOUR.0 + 1)] {
                assert_eq!(Some(Shift::Moscow.after(from, span)), calendar.deadline(from, span), "{from} {span}");
            }
            let works = calendar.working(from, Timestamp(from.0 + 1)) > Span::ZERO;
            assert_eq!(Shift::Moscow.works(from), works, "{from}");
        }
    }

    #[test]
    fn a_zero_span_ends_at_once_and_the_always_shift_has_no_gaps() {
        let night = Timestamp::parse("2026-03-01T00:00:00Z").expect("a time");
        assert_eq!(Shift::Moscow.after(night, Span::ZERO), night);
        assert_eq!(Shift::Always.after(night, Span::HOUR), night + Span::HOUR);
        assert!(
            Shift::Always.works(night)
                && Shift::Always.arrival_percent(night) == 100
                && Shift::Moscow.arrival_percent(night) == 1
        );
    }
}

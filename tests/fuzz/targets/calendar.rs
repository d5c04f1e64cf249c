//! Fuzzes calendars: `working` is additive and monotonic, and `deadline` is its inverse.

#![no_main]

use funnelwatch::domain::time::calendar::Calendar;
use funnelwatch::domain::time::hours::{Hours, Schedule};
use funnelwatch::domain::time::{Span, Timestamp};
use jiff::civil::Date;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Arbitrary, Debug)]
struct Input {
    zone: u8,
    week: [Vec<(u16, u16)>; 7],
    /// Days since the beginning of 2024.
    days: Vec<(u16, Vec<(u16, u16)>)>,
    from: i64,
    /// 255: `from` can be any valid instant.
    anywhere: u8,
    span: u32,
    further: u32,
    /// In milliseconds, else in minutes.
    fine: bool,
}

const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Moscow",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "America/St_Johns",
    "Asia/Kolkata",
    "Asia/Gaza",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Apia",
    "Pacific/Auckland",
    "America/Scoresbysund",
];

/// Up to three disjoint intervals, of which the last may pass midnight.
fn hours(raw: &[(u16, u16)]) -> Vec<Hours> {
    let mut hours: Vec<Hours> = Vec::new();
    for (start, length) in raw.iter().take(3) {
        let start = u32::from(*start) % 1440;
        let end = if *length < 0xc000 { (start + 1 + u32::from(*length) % 1440).min(1440) } else { start + 1 + u32::from(*length) % 1439 };
        if hours.iter().all(|other| end <= other.start || other.end <= start) {
            hours.push(Hours { start, end });
        }
    }
    hours
}

fuzz_target!(|input: Input| {
    let zone = ZONES[input.zone as usize % ZONES.len()];
    let first = jiff::civil::date(2024, 1, 1);
    let day = |(number, raw): &(u16, Vec<(u16, u16)>)| -> (Date, Vec<Hours>) {
        (first.saturating_add(jiff::Span::new().days(i64::from(number % 1500))), hours(raw))
    };
    let mut days: BTreeMap<Date, Vec<Hours>> = input.days.iter().take(8).map(day).collect();
    let mut week = input.week.each_ref().map(|raw| hours(raw));
    if Schedule::new(week.clone(), days.clone()).is_err() {
        // Nights that reach into the hours of the next day are rejected.
        let all = week.iter_mut().chain(days.values_mut()).flatten();
        all.for_each(|hours| hours.end = hours.end.min(Hours::DAY));
    }
    let calendar = Calendar::new("fuzz", zone, week, days, BTreeSet::new()).expect("a valid calendar");
    for hours in (0..7).flat_map(|day| calendar.schedule().hours(first.saturating_add(jiff::Span::new().days(day)))) {
        assert_eq!(Hours::parse(&hours.to_string()), Ok(*hours));
    }

    let unit = if input.fine { 1 } else { 60_000 };
    let from = if input.anywhere == 255 {
        let (first, last) = (*Timestamp::VALID.start(), *Timestamp::VALID.end());
        Timestamp(first + input.from.rem_euclid(last - first))
    } else {
        // From 2023 to 2028, where the listed days are.
        Timestamp(1_672_531_200_000 + input.from.rem_euclid(5 * 365 * Span::DAY.0) / unit * unit)
    };
    let span = |raw: u32| Span(i64::from(raw) * unit % (800 * Span::DAY.0));
    let (span, further) = (span(input.span), span(input.further));

    let due = calendar.deadline(from, span);
    if let Some(due) = due {
        assert!(due >= from);
        assert_eq!(calendar.working(from, due), span, "until {due:?}");
        if span > Span::ZERO {
            assert!(calendar.working(from, Timestamp(due.0 - 1)) < span, "{due:?} is not the first instant");
        }
    }
    let later = calendar.deadline(from, Span(span.0 + further.0));
    assert!(due.is_some() || later.is_none(), "a later deadline exists but not the earlier one");
    if let (Some(due), Some(later)) = (due, later) {
        assert!(due <= later);
        assert_eq!(calendar.deadline(due, further), Some(later), "in two steps");
    }

    let middle = Timestamp(from.0 + span.0);
    let to = Timestamp(middle.0 + further.0);
    let [near, far, all] = [(from, middle), (middle, to), (from, to)].map(|(from, to)| calendar.working(from, to));
    assert!(Span::ZERO <= near && near <= Span(middle.0 - from.0));
    assert_eq!(near.0 + far.0, all.0, "the parts must add up to the whole");
    assert_eq!(calendar.working(to, from), if to > from { Span::ZERO } else { calendar.working(to, from) });

    let day = calendar.day(from);
    let end = calendar.day_end(day);
    assert!(calendar.day(Timestamp(end.0 - 1)) <= day || end == Timestamp::MAX, "{day} ends at {end:?}");
    calendar.lists(from);
});

//! Owns working time: how much of it lies between two instants, and when a given amount of it has passed. Promises the
//! same answer on every machine (the time zone data are built in), in well under a microsecond. Never reads the system
//! clock, and rejects contradictory calendars.
//!
//! **Working time is a set of instants.** Hours are written in local time ([`Schedule`]). Each end is converted to UTC
//! separately (decision 27: a local time skipped by a clock change uses the offset before the change; a repeated one is
//! the first of the two). An interval that becomes empty is ignored, and instants covered twice count once. So
//! `working(a, b) + working(b, c) = working(a, c)`, across all clock changes.
//!
//! **Blocks.** The time line is divided into blocks of 2³⁵ ms (a little more than a year) of UTC, so the block of an
//! instant is found by a shift. The working intervals of a block are computed on first use and cached, with the working
//! time before each of them. A query is then a binary search in one block, or in two plus the sum of the blocks between.
//!
//! **Cycles.** Blocks exist for the years 1400 to 2619 only. Before 1800 no zone had changed its clocks yet, after 2199
//! every zone follows a yearly rule, and all listed days with their nights lie between. Outside that range the calendar
//! repeats every 400 years, a whole number of weeks, so a distant instant is moved by whole cycles into the range of the
//! blocks.

use crate::domain::time::hours::{Hours, Schedule, ScheduleError};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

/// Why a calendar was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalendarError {
    /// The IANA time zone database has no zone of this name.
    UnknownZone {
        /// The name as given.
        timezone: CompactString,
    },
    /// Its hours contradict each other in these ways.
    Schedule(Vec<ScheduleError>),
}

impl fmt::Display for CalendarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownZone { timezone } => write!(f, "unknown IANA time zone `{timezone}`"),
            Self::Schedule(errors) => {
                f.write_str(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
        }
    }
}

impl std::error::Error for CalendarError {}

/// The working time of a department: a time zone, the hours of an ordinary week, and the days that differ from it.
pub struct Calendar {
    name: CompactString,
    zone: TimeZone,
    schedule: Schedule,
    years: BTreeSet<i16>,
    blocks: Box<[OnceLock<Block>]>,
    /// Working time of 400 years before [`EARLY`].
    early_cycle: OnceLock<i64>,
    /// Working time of 400 years after [`LATE`].
    late_cycle: OnceLock<i64>,
}

struct Block {
    /// In order, disjoint, clipped to the block.
    intervals: Box<[WorkingInterval]>,
    /// Total milliseconds of all intervals.
    total: i64,
}

/// Uninterrupted working time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy)]
struct WorkingInterval {
    start: i64,
    end: i64,
    /// Milliseconds of working time in the block before `start`.
    before: i64,
}

/// The length of a block in milliseconds, as a power of two.
const BLOCK_BITS: u32 = 35;
/// Four hundred Gregorian years: 20 871 weeks.
const CYCLE: i64 = 146_097 * Span::DAY.0;
/// 1800-01-04T00:00:00Z: no clock changes before it.
const EARLY: i64 = -5_364_403_200_000;
/// 2200-01-04T00:00:00Z: the night of the last day that can be listed is over everywhere; all repeats from here on.
const LATE: i64 = EARLY + CYCLE;
/// Twenty years: a more distant deadline counts as never.
const HORIZON: i64 = 7305 * Span::DAY.0;
const FIRST_BLOCK: i64 = (EARLY - CYCLE) >> BLOCK_BITS;
const BLOCKS: i64 = ((LATE + CYCLE + HORIZON) >> BLOCK_BITS) - FIRST_BLOCK + 1;

impl Block {
    /// Milliseconds of working time in this block before `at`.
    fn until(&self, at: i64) -> i64 {
        let started = self.intervals.partition_point(|interval| interval.start <= at);
        match self.intervals[..started].last() {
            Some(interval) => interval.before + (at.min(interval.end) - interval.start),
            None => 0,
        }
    }

    /// The first instant by which `need` milliseconds of working time of this block have passed.
    fn instant_after(&self, need: i64) -> Option<i64> {
        let index = self.intervals.partition_point(|interval| interval.before + (interval.end - interval.start) < need);
        self.intervals.get(index).map(|interval| interval.start + (need - interval.before))
    }

    /// The last instant by which `passed` milliseconds of working time of this block have passed; `None` if the block
    /// does not contain it.
    fn instant_before(&self, passed: i64) -> Option<i64> {
        let index =
            self.intervals.partition_point(|interval| interval.before + (interval.end - interval.start) <= passed);
        let interval = self.intervals.get(index).filter(|_| passed >= 0)?;
        Some(interval.start + (passed - interval.before))
    }
}

impl Calendar {
    /// Creates a calendar in an IANA time zone: the hours of an ordinary week, Monday first, the days that differ from it
    /// (no hours: a day off), and the years whose differing days are listed.
    pub fn new(
        name: &str,
        timezone: &str,
        week: [Vec<Hours>; 7],
        days: BTreeMap<Date, Vec<Hours>>,
        years: BTreeSet<i16>,
    ) -> Result<Self, CalendarError> {
        let zone = TimeZoneDatabase::bundled().get(timezone).ok().filter(|zone| !zone.is_unknown());
        let zone = zone.ok_or_else(|| CalendarError::UnknownZone { timezone: timezone.into() })?;
        let schedule = Schedule::new(week, days).map_err(CalendarError::Schedule)?;
        let blocks = (0..BLOCKS).map(|_| OnceLock::new()).collect();
        let (early_cycle, late_cycle) = (OnceLock::new(), OnceLock::new());
        Ok(Self { name: name.into(), zone, schedule, years, blocks, early_cycle, late_cycle })
    }

    /// The name by which norms refer to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The IANA name of its time zone.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or_default()
    }

    /// The hours as written.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The uninterrupted working times that begin on a local day. A clock change can leave one out.
    pub fn shifts(&self, day: Date) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let ends = self.schedule.hours(day).iter().map(move |hours| [hours.start, hours.end]);
        let shifts = ends.map(move |ends| ends.map(|minute| Timestamp(self.to_utc(day, minute))));
        shifts.filter(|[start, end]| start < end).map(|[start, end]| (start, end))
    }

    /// The working time from `from` up to `to`; zero if `to` is not later.
    pub fn working(&self, from: Timestamp, to: Timestamp) -> Span {
        let (from, to) = (from.0, to.0);
        if to <= from {
            Span::ZERO
        } else if from >= EARLY && to <= LATE {
            Span(self.between(from, to))
        } else {
            let near = self.between(from.clamp(EARLY, LATE), to.clamp(EARLY, LATE));
            let early = self.early(from) - self.early(to);
            let late = self.late(to) - self.late(from);
            Span(near.saturating_add(early).saturating_add(late))
        }
    }

    /// The first instant by which `span` of working time has passed since `from`; `from` itself if `span` is not
    /// positive. `None` if the twenty years after `from` have less working time.
    pub fn deadline(&self, from: Timestamp, span: Span) -> Option<Timestamp> {
        if span <= Span::ZERO {
            return Some(from);
        }
        let cycles = cycles_to_blocks(from.0);
        let start = from.0 + cycles * CYCLE;
        let limit = start + HORIZON;
        let mut need = span.0.saturating_add(self.block(block_index(start)).until(start));
        for block in (block_index(start)..=block_index(limit)).map(|index| self.block(index)) {
            if let Some(at) = block.instant_after(need) {
                return (at <= limit).then(|| Timestamp(at.saturating_sub(cycles * CYCLE)));
            }
            need -= block.total;
        }
        None
    }

    /// The latest instant from which `span` of working time passes until `until`; `until` itself if `span` is not
    /// positive. `None` if the twenty years before `until` have less working time.
    pub fn latest_before(&self, until: Timestamp, span: Span) -> Option<Timestamp> {
        if span <= Span::ZERO {
            return Some(until);
        }
        let cycles = cycles_to_blocks(until.0);
        let end = until.0 + cycles * CYCLE;
        let limit = end - HORIZON;
        let mut passed = self.block(block_index(end)).until(end).saturating_sub(span.0);
        for index in (block_index(limit)..=block_index(end)).rev() {
            if let Some(at) = self.block(index).instant_before(passed) {
                return (at >= limit).then(|| Timestamp(at.saturating_sub(cycles * CYCLE)));
            }
            passed += self.block(index - 1).total;
        }
        None
    }

    /// The local day of `at`; the nearest representable date at the limits of time.
    pub fn day(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(jiff_timestamp(at.0)).date()
    }

    /// The first instant of the local day after `day`; [`Timestamp::MAX`] if that day is not representable.
    ///
    /// If clocks go back across midnight, some later instants still belong to `day`.
    pub fn day_end(&self, day: Date) -> Timestamp {
        let Ok(next) = day.tomorrow() else { return Timestamp::MAX };
        let midnight = next.to_datetime(Time::midnight());
        if let AmbiguousOffset::Gap { before, .. } = self.zone.to_ambiguous_timestamp(midnight).offset() {
            // Clocks go forward across midnight: the day begins at the change.
            let change = before.to_timestamp(midnight).ok().and_then(|at| {
                let just_after = at.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
                self.zone.preceding(just_after).next().map(|change| change.timestamp())
            });
            if let Some(change) = change {
                return Timestamp(change.as_millisecond());
            }
        }
        Timestamp(self.local_to_utc(midnight))
    }

    /// Whether the differing days are listed for the local year of `at`; always true for a calendar without listed years.
    pub fn lists(&self, at: Timestamp) -> bool {
        self.years.is_empty() || self.years.contains(&self.day(at).year())
    }

    /// Milliseconds of working time between two instants within the blocks, `from` not after `to`.
    fn between(&self, from: i64, to: i64) -> i64 {
        let (first, last) = (block_index(from), block_index(to));
        let whole: i64 = (first..last).map(|index| self.block(index).total).sum();
        whole + self.block(last).until(to) - self.block(first).until(from)
    }

    /// Milliseconds of working time from `at` to [`EARLY`], 0 after it.
    fn early(&self, at: i64) -> i64 {
        if at >= EARLY {
            return 0;
        }
        let cycles = (EARLY - at) / CYCLE;
        cycles * self.early_cycle.get_or_init(|| self.between(EARLY - CYCLE, EARLY))
            + self.between(at + cycles * CYCLE, EARLY)
    }

    /// Milliseconds of working time from [`LATE`] to `at`, 0 before it.
    fn late(&self, at: i64) -> i64 {
        if at <= LATE {
            return 0;
        }
        let cycles = (at - LATE) / CYCLE;
        cycles * self.late_cycle.get_or_init(|| self.between(LATE, LATE + CYCLE))
            + self.between(LATE, at - cycles * CYCLE)
    }

    fn block(&self, index: i64) -> &Block {
        self.blocks[(index - FIRST_BLOCK) as usize].get_or_init(|| self.build_block(index))
    }

    fn build_block(&self, index: i64) -> Block {
        let (begin, end) = (index << BLOCK_BITS, (index + 1) << BLOCK_BITS);
        // Every UTC offset is shorter than two days, and hours end on the day after they begin.
        let (first, last) = (jiff_timestamp(begin - 3 * Span::DAY.0), jiff_timestamp(end + 2 * Span::DAY.0));
        let (first, last) = (self.zone.to_datetime(first).date(), self.zone.to_datetime(last).date());
        let mut intervals = Vec::new();
        for day in first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last) {
            let shifts = self.shifts(day).map(|(start, finish)| (start.0.max(begin), finish.0.min(end)));
            intervals.extend(shifts.filter(|(start, finish)| start < finish));
        }
        // Already sorted, except around clock changes inside working hours.
        intervals.sort_unstable();
        let mut merged: Vec<WorkingInterval> = Vec::with_capacity(intervals.len());
        let mut total = 0;
        for (start, end) in intervals {
            match merged.last_mut() {
                Some(last) if start <= last.end => {
                    total += (end - last.end).max(0);
                    last.end = last.end.max(end);
                }
                _ => {
                    merged.push(WorkingInterval { start, end, before: total });
                    total += end - start;
                }
            }
        }
        Block { intervals: merged.into(), total }
    }

    /// Milliseconds since the epoch of a minute, counted from the beginning of a local day.
    fn to_utc(&self, day: Date, minute: u32) -> i64 {
        let (day, minute) =
            if minute < Hours::DAY { (day, minute) } else { (day.tomorrow().unwrap_or(day), minute - Hours::DAY) };
        self.local_to_utc(day.at((minute / 60) as i8, (minute % 60) as i8, 0, 0))
    }

    /// Milliseconds since the epoch of a local time: a skipped one uses the offset before the change, a repeated one is
    /// the first.
    fn local_to_utc(&self, local: DateTime) -> i64 {
        match self.zone.to_ambiguous_timestamp(local).compatible() {
            Ok(at) => at.as_millisecond(),
            Err(_) if local.year() > 0 => Timestamp::MAX.0,
            Err(_) => Timestamp::MIN.0,
        }
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calendar")
            .field("name", &self.name)
            .field("timezone", &self.zone.iana_name())
            .field("schedule", &self.schedule)
            .field("years", &self.years)
            .finish_non_exhaustive()
    }
}

/// By how many cycles an instant is moved to reach the blocks.
fn cycles_to_blocks(at: i64) -> i64 {
    match at {
        at if at < EARLY => (EARLY - 1 - at) / CYCLE,
        at if at >= LATE => -((at - LATE) / CYCLE),
        _ => 0,
    }
}

/// The index of the block that contains an instant.
fn block_index(at: i64) -> i64 {
    at >> BLOCK_BITS
}

/// The local date and time of an instant; without a calendar, in UTC.
pub fn local(calendar: Option<&Calendar>, at: Timestamp) -> DateTime {
    let at = jiff_timestamp(at.0);
    calendar.map_or_else(|| TimeZone::UTC.to_datetime(at), |calendar| calendar.zone.to_datetime(at))
}

/// The nearest instant that jiff can represent.
fn jiff_timestamp(millis: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(millis).unwrap_or(if millis > 0 {
        jiff::Timestamp::MAX
    } else {
        jiff::Timestamp::MIN
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NINE_TO_SIX: &[&str] = &["09:00-18:00"];

    fn hours(texts: &[&str]) -> Vec<Hours> {
        texts.iter().map(|text| Hours::parse(text).expect(text)).collect()
    }

    fn date(text: &str) -> Date {
        text.parse().expect(text)
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn try_calendar(zone: &str, week: [&[&str]; 7], days: &[(&str, &[&str])]) -> Result<Calendar, CalendarError> {
        let days = days.iter().map(|(day, texts)| (date(day), hours(texts))).collect();
        Calendar::new("test", zone, week.map(hours), days, BTreeSet::new())
    }

    fn calendar(zone: &str, week: [&[&str]; 7], days: &[(&str, &[&str])]) -> Calendar {
        try_calendar(zone, week, days).expect("a good calendar")
    }

    /// Monday to Friday.
    fn five(hours: &'static [&'static str]) -> [&'static [&'static str]; 7] {
        [hours, hours, hours, hours, hours, &[], &[]]
    }

    /// Every day of the week.
    fn daily(hours: &'static [&'static str]) -> [&'static [&'static str]; 7] {
        [hours; 7]
    }

    fn minutes(calendar: &Calendar, from: &str, to: &str) -> f64 {
        calendar.working(at(from), at(to)).0 as f64 / 60_000.0
    }

    fn due(calendar: &Calendar, from: &str, minutes: i64) -> String {
        calendar.deadline(at(from), Span(minutes * 60_000)).map_or("never".into(), |at| at.to_string())
    }

    #[test]
    fn contradictory_calendars_are_rejected() {
        let error = try_calendar("Mars/Olympus", five(NINE_TO_SIX), &[]).expect_err("no such zone");
        assert_eq!(error.to_string(), "unknown IANA time zone `Mars/Olympus`");
        assert!(try_calendar("Etc/Unknown", five(NINE_TO_SIX), &[]).is_err());
        let days: &[(&str, &[&str])] = &[("2026-01-09", &["09:00-12:00", "09:00-12:00"])];
        let error = try_calendar("UTC", [&[], &["14:00-18:00", "09:00-14:01"], &[], &[], &[], &[], &[]], days);
        let text = "overlapping hours on tue: 09:00-14:01 and 14:00-18:00; overlapping hours on 2026-01-09: 09:00-12:00 and \
                    09:00-12:00";
        assert_eq!(error.expect_err("overlap").to_string(), text);
    }

    #[test]
    fn a_weekend_stops_the_clock() {
        let moscow = calendar("Europe/Moscow", five(NINE_TO_SIX), &[]);
        assert_eq!(moscow.name(), "test");
        // Friday 17:50 to Monday 09:05, local time.
        assert_eq!(minutes(&moscow, "2026-03-06T14:50:00Z", "2026-03-09T06:05:00Z"), 15.0);
        assert_eq!(due(&moscow, "2026-03-06T14:50:00Z", 15), "2026-03-09T06:05:00.000Z");
        // An exact fit ends with the day, not at the beginning of the next one.
        assert_eq!(due(&moscow, "2026-03-06T14:50:00Z", 10), "2026-03-06T15:00:00.000Z");
        // An event outside working time starts its clock at the next working minute.
        assert_eq!(due(&moscow, "2026-03-06T20:00:00Z", 15), "2026-03-09T06:15:00.000Z");
        assert_eq!(due(&moscow, "2026-03-06T20:00:00Z", 0), "2026-03-06T20:00:00.000Z");
        assert_eq!(due(&moscow, "2026-03-06T20:00:00Z", -5), "2026-03-06T20:00:00.000Z");
        assert_eq!(minutes(&moscow, "2026-03-09T06:05:00Z", "2026-03-06T14:50:00Z"), 0.0);
        assert_eq!(minutes(&moscow, "2026-03-07T00:00:00Z", "2026-03-08T21:00:00Z"), 0.0);
    }

    #[test]
    fn listed_days_replace_the_week() {
        let days: &[(&str, &[&str])] = &[
            ("2026-01-01", &[]),
            ("2026-04-30", &["09:00-17:00"]),
            ("2027-02-20", &["10:00-12:00", "13:00-15:00"]),
            ("2030-06-15", &["09:00-10:00"]),
        ];
        let moscow = calendar("Europe/Moscow", five(NINE_TO_SIX), days);
        // Thursday 1 January is off: Wednesday 17:00 to Friday 10:00.
        assert_eq!(minutes(&moscow, "2025-12-31T14:00:00Z", "2026-01-02T07:00:00Z"), 120.0);
        assert_eq!(due(&moscow, "2025-12-31T14:00:00Z", 90), "2026-01-02T06:30:00.000Z");
        // A day shortened by an hour; the first of May is not listed here and is a working day.
        assert_eq!(due(&moscow, "2026-04-30T13:30:00Z", 60), "2026-05-01T06:30:00.000Z");
        // A working Saturday with a break.
        assert_eq!(minutes(&moscow, "2027-02-19T15:00:00Z", "2027-02-22T06:00:00Z"), 240.0);
        assert_eq!(due(&moscow, "2027-02-20T08:30:00Z", 45), "2027-02-20T10:15:00.000Z");
        // Listed days count even outside the listed years.
        assert_eq!(minutes(&moscow, "2030-06-15T00:00:00Z", "2030-06-16T00:00:00Z"), 60.0);
    }

    #[test]
    fn night_hours_span_midnight_and_new_year() {
        let night = calendar("Asia/Almaty", daily(&["20:00-24:00", "00:00-04:00"]), &[]);
        // Almaty was at +06:00 until 2024-03-01, at +05:00 since.
        assert_eq!(due(&night, "2023-12-31T14:00:00Z", 480), "2023-12-31T22:00:00.000Z");
        assert_eq!(due(&night, "2023-12-31T14:00:00Z", 481), "2024-01-01T14:01:00.000Z");
        assert_eq!(due(&night, "2025-12-31T15:00:00Z", 480), "2025-12-31T23:00:00.000Z");
        assert_eq!(minutes(&night, "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"), 366.0 * 480.0);
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night: &[&str] = &["21:00-02:00"];
        let days: &[(&str, &[&str])] =
            &[("2025-03-12", &[]), ("2025-03-14", &["20:00-24:00"]), ("2025-03-15", &["22:00-06:00"])];
        let moscow = calendar("Europe/Moscow", five(night), days);
        // Saturday 01:50 belongs to Friday; the rest of half an hour is on Monday from 21:00.
        assert_eq!(due(&moscow, "2025-03-07T22:50:00Z", 10), "2025-03-07T23:00:00.000Z");
        assert_eq!(due(&moscow, "2025-03-07T22:50:00Z", 30), "2025-03-10T18:20:00.000Z");
        // Sunday's night does not exist, Monday begins at 21:00.
        assert_eq!(minutes(&moscow, "2025-03-08T21:00:00Z", "2025-03-10T18:00:00Z"), 0.0);
        // Wednesday the 12th is off: the end of Tuesday's night stays, the night to Thursday is gone.
        assert_eq!(minutes(&moscow, "2025-03-11T21:00:00Z", "2025-03-12T21:00:00Z"), 120.0);
        assert_eq!(minutes(&moscow, "2025-03-12T21:00:00Z", "2025-03-13T18:00:00Z"), 0.0);
        // A short Friday, and a Saturday whose night ends on Sunday morning.
        assert_eq!(minutes(&moscow, "2025-03-13T21:00:00Z", "2025-03-14T21:00:00Z"), 120.0 + 240.0);
        assert_eq!(minutes(&moscow, "2025-03-14T21:00:00Z", "2025-03-15T21:00:00Z"), 120.0);
        assert_eq!(minutes(&moscow, "2025-03-15T21:00:00Z", "2025-03-17T18:00:00Z"), 360.0);
        // The same as hours that are divided at midnight.
        let (whole, halves) = (daily(&["20:00-04:00"]), daily(&["20:00-24:00", "00:00-04:00"]));
        let (whole, halves) = (calendar("Asia/Almaty", whole, &[]), calendar("Asia/Almaty", halves, &[]));
        for hour in 0..9000 {
            let (from, span) = (Timestamp(hour * 7 * 3_600_000), Span(hour * 60_000));
            assert_eq!(whole.deadline(from, span), halves.deadline(from, span));
        }
        let shifts: Vec<_> = moscow.shifts(date("2025-03-15")).collect();
        assert_eq!(shifts, [(at("2025-03-15T19:00:00Z"), at("2025-03-16T03:00:00Z"))]);
    }

    #[test]
    fn clock_changes_at_night_count_in_the_night() {
        // Berlin 2026: 29 March 02:00 → 03:00, 25 October 03:00 → 02:00. The night begins on Saturday.
        let saturday: [&[&str]; 7] = [&[], &[], &[], &[], &[], &["22:00-06:00"], &[]];
        let berlin = calendar("Europe/Berlin", saturday, &[]);
        assert_eq!(minutes(&berlin, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), 7.0 * 60.0);
        assert_eq!(minutes(&berlin, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), 9.0 * 60.0);
        // It ends in the gap: 02:30 with the offset before the change.
        let berlin = calendar("Europe/Berlin", [&[], &[], &[], &[], &[], &["22:00-02:30"], &[]], &[]);
        assert_eq!(minutes(&berlin, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), 270.0);
        assert_eq!(due(&berlin, "2026-03-28T12:00:00Z", 270), "2026-03-29T01:30:00.000Z");
        // The first of two.
        assert_eq!(due(&berlin, "2026-10-24T12:00:00Z", 270), "2026-10-25T00:30:00.000Z");
        // Midnight itself is skipped (São Paulo, 4 November 2018) and repeated (18 February 2018).
        let paulo = calendar("America/Sao_Paulo", [&[], &[], &[], &[], &[], &["22:00-02:00"], &[]], &[]);
        assert_eq!(minutes(&paulo, "2018-11-03T12:00:00Z", "2018-11-04T12:00:00Z"), 180.0);
        assert_eq!(minutes(&paulo, "2018-02-17T12:00:00Z", "2018-02-18T12:00:00Z"), 300.0);
        // The day after the night does not exist: Apia, 30 December 2011, a Friday.
        let apia = calendar("Pacific/Apia", [&[], &[], &[], &["22:00-02:00"], &[], &[], &[]], &[]);
        assert_eq!(minutes(&apia, "2011-12-29T12:00:00Z", "2012-01-01T12:00:00Z"), 240.0);
    }

    #[test]
    fn skipped_and_repeated_hours_follow_the_decision() {
        // 2026-03-29 02:00 → 03:00 (01:00Z); 2026-10-25 03:00 → 02:00 (01:00Z).
        let spring = ("2026-03-29T00:00:00Z", "2026-03-29T20:00:00Z");
        let autumn = ("2026-10-24T22:00:00Z", "2026-10-25T20:00:00Z");
        for (text, on_spring, on_autumn) in [
            // Begins in the gap: 02:30 with the offset before the change is 03:30.
            ("02:30-06:00", 150.0, 270.0),
            // Ends in the gap.
            ("01:00-02:30", 90.0, 90.0),
            // Both ends in the gap, or reversed by it.
            ("02:10-02:30", 20.0, 20.0),
            ("02:30-03:00", 0.0, 90.0),
            ("02:30-03:15", 0.0, 105.0),
            ("02:00-03:00", 0.0, 120.0),
            ("00:00-24:00", 1380.0, 1500.0),
        ] {
            let week = [(); 7].map(|()| vec![Hours::parse(text).expect(text)]);
            let berlin = Calendar::new("b", "Europe/Berlin", week, BTreeMap::new(), BTreeSet::new()).expect(text);
            let day = |from: &str, to: &str| minutes(&berlin, from, to);
            let (from, to) =
                if text == "00:00-24:00" { ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z") } else { spring };
            assert_eq!(day(from, to), on_spring, "{text} in spring");
            let (from, to) =
                if text == "00:00-24:00" { ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z") } else { autumn };
            assert_eq!(day(from, to), on_autumn, "{text} in autumn");
        }
        // Instants covered twice after conversion count once, even if the later interval begins first.
        for (texts, expected) in [
            (["00:00-02:45", "03:00-06:00"], 300.0),
            (["00:00-02:45", "03:00-03:30"], 165.0),
            (["02:15-02:45", "03:00-06:00"], 180.0),
            (["02:15-02:45", "03:00-03:30"], 45.0),
        ] {
            let week = [(); 7].map(|()| hours(&texts));
            let berlin = Calendar::new("b", "Europe/Berlin", week, BTreeMap::new(), BTreeSet::new()).expect("good");
            assert_eq!(minutes(&berlin, "2026-03-28T23:00:00Z", spring.1), expected, "{texts:?}");
        }
        let berlin = calendar("Europe/Berlin", daily(&["00:00-02:30", "02:30-04:00"]), &[]);
        assert_eq!(due(&berlin, "2026-10-24T22:00:00Z", 300), "2026-10-25T03:00:00.000Z");
    }

    #[test]
    fn clocks_may_change_at_midnight() {
        // 2018-11-04 00:00 → 01:00; 2018-02-18 00:00 → the 17th, 23:00.
        let paulo = calendar("America/Sao_Paulo", daily(&["00:00-02:00", "22:00-24:00"]), &[]);
        assert_eq!(minutes(&paulo, "2018-11-04T01:00:00Z", "2018-11-04T05:00:00Z"), 120.0 + 60.0);
        assert_eq!(minutes(&paulo, "2018-02-17T23:00:00Z", "2018-02-18T06:00:00Z"), 180.0 + 120.0);
        assert_eq!(paulo.day_end(date("2018-11-03")), at("2018-11-04T03:00:00Z"));
        assert_eq!(paulo.day_end(date("2018-11-04")), at("2018-11-05T02:00:00Z"));
        assert_eq!(paulo.day_end(date("2018-02-17")), at("2018-02-18T03:00:00Z"));
        assert_eq!(paulo.day(at("2018-11-04T02:59:59.999Z")), date("2018-11-03"));
        assert_eq!(paulo.day(at("2018-11-04T03:00:00Z")), date("2018-11-04"));
        // Across midnight: Toronto, 1919-03-30 23:30 → the 31st, 00:30.
        let toronto = calendar("America/Toronto", daily(&["00:00-24:00"]), &[]);
        assert_eq!(toronto.day_end(date("1919-03-30")), at("1919-03-31T04:30:00Z"));
        assert_eq!(toronto.day(at("1919-03-31T04:30:00Z")), date("1919-03-31"));
        // A skipped day: Apia, 2011-12-30.
        let apia = calendar("Pacific/Apia", daily(NINE_TO_SIX), &[]);
        assert_eq!(apia.day_end(date("2011-12-29")), at("2011-12-30T10:00:00Z"));
        assert_eq!(apia.day_end(date("2011-12-30")), at("2011-12-30T10:00:00Z"));
        assert_eq!(minutes(&apia, "2011-12-29T10:00:00Z", "2012-01-01T10:00:00Z"), 3.0 * 540.0 - 540.0 + 540.0);
    }

    #[test]
    fn volgograd_changed_its_offset_twice() {
        // +03:00 until 2018-10-28 02:00, +04:00 until 2020-12-27 02:00, +03:00 since.
        let volgograd = calendar("Europe/Volgograd", daily(NINE_TO_SIX), &[]);
        assert_eq!(due(&volgograd, "2018-10-27T15:00:00Z", 1), "2018-10-28T05:01:00.000Z");
        assert_eq!(due(&volgograd, "2020-12-26T14:00:00Z", 1), "2020-12-27T06:01:00.000Z");
        let night = calendar("Europe/Volgograd", daily(&["00:00-04:00"]), &[]);
        assert_eq!(minutes(&night, "2018-10-27T20:00:00Z", "2018-10-28T06:00:00Z"), 180.0);
        assert_eq!(minutes(&night, "2020-12-26T19:00:00Z", "2020-12-27T06:00:00Z"), 300.0);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_is_none() {
        let idle = calendar("Europe/Moscow", [&[]; 7], &[]);
        assert_eq!(due(&idle, "2026-01-01T00:00:00Z", 1), "never");
        assert_eq!(due(&idle, "2026-01-01T00:00:00Z", 0), "2026-01-01T00:00:00.000Z");
        assert_eq!(minutes(&idle, "2026-01-01T00:00:00Z", "2040-01-01T00:00:00Z"), 0.0);
        let one_day = calendar("Europe/Moscow", [&[]; 7], &[("2045-12-31", NINE_TO_SIX)]);
        assert_eq!(due(&one_day, "2025-12-31T07:00:00Z", 60), "2045-12-31T07:00:00.000Z");
        assert_eq!(due(&one_day, "2025-12-31T07:00:00Z", 61), "never");
        assert_eq!(due(&one_day, "2025-12-30T07:00:00Z", 60), "never");
        assert_eq!(one_day.deadline(at("2030-01-01T00:00:00Z"), Span(i64::MAX)), None);
        let always = calendar("UTC", daily(&["00:00-24:00"]), &[]);
        assert_eq!(due(&always, "2026-01-01T00:00:00Z", 7305 * 1440), "2046-01-01T00:00:00.000Z");
        assert_eq!(due(&always, "2026-01-01T00:00:00Z", 7305 * 1440 + 1), "never");
    }

    #[test]
    fn listed_years_are_checked_in_local_time() {
        let empty: [Vec<Hours>; 7] = Default::default();
        let years = BTreeSet::from([2026, 2027]);
        let moscow = Calendar::new("m", "Europe/Moscow", empty, BTreeMap::new(), years).expect("good");
        assert!(!moscow.lists(at("2025-12-31T20:59:59Z")));
        assert!(moscow.lists(at("2025-12-31T21:00:00Z")));
        assert!(moscow.lists(at("2027-12-31T20:59:59Z")));
        assert!(!moscow.lists(at("2027-12-31T21:00:00Z")));
        assert!(calendar("UTC", [&[]; 7], &[]).lists(at("1999-01-01T00:00:00Z")));
    }

    #[test]
    fn extreme_instants_do_not_overflow() {
        let always = calendar("Europe/Moscow", daily(&["00:00-24:00"]), &[]);
        let (first, last) = (at("0001-01-01T00:00:00Z"), at("9998-12-31T23:59:59.999Z"));
        // Clock changes, including the one from local mean time to standard time, neither add nor remove time.
        assert_eq!(always.working(first, last), last - first);
        assert_eq!(always.working(Timestamp::MIN, Timestamp::MAX), Span(i64::MAX));
        assert_eq!(always.deadline(first, Span::DAY), Some(first + Span::DAY));
        assert_eq!(always.deadline(last, Span::DAY), Some(last + Span::DAY));
        assert_eq!(always.deadline(Timestamp::MIN, Span(1)), Some(Timestamp(i64::MIN + 1)));
        assert_eq!(always.deadline(Timestamp::MAX, Span(1)), Some(Timestamp::MAX));
        assert_eq!(always.latest_before(last, Span::DAY), Some(Timestamp(last.0 - Span::DAY.0)));
        assert_eq!(always.latest_before(Timestamp::MAX, Span(1)), Some(Timestamp(i64::MAX - 1)));
        assert_eq!(always.latest_before(Timestamp::MIN, Span(1)), Some(Timestamp::MIN));
        assert_eq!(always.latest_before(last, Span(i64::MAX)), None);
        assert_eq!(always.day_end(Date::MAX), Timestamp::MAX);
        assert_eq!(always.day(Timestamp::MAX).year(), 9999);
        assert!(always.day(Timestamp::MIN).year() < 0);
        assert!(always.day_end(Date::MIN) < first);
        let week = calendar("Europe/Berlin", five(NINE_TO_SIX), &[]);
        // 2000 years before 1800, 7799 years after 2199: week for week.
        let far = week.working(at("0001-01-01T00:00:00Z"), at("1601-01-01T00:00:00Z"));
        assert_eq!(far, Span(4 * 20_871 * 45 * Span::HOUR.0));
        let far = week.working(at("2300-06-15T00:00:00Z"), at("9900-06-15T00:00:00Z"));
        assert_eq!(far, Span(19 * 20_871 * 45 * Span::HOUR.0));
        // Monday 1 January 9900, 17:55 in Berlin.
        assert_eq!(due(&week, "9900-01-01T16:55:00Z", 10), "9900-01-02T08:05:00.000Z");
        // Friday 3 July 1400 in the Gregorian calendar; mean local time is 53 min 28 s ahead.
        assert_eq!(due(&week, "1400-07-04T17:06:31Z", 1), "1400-07-07T08:07:31.000Z");
    }

    #[test]
    fn distant_years_repeat_near_ones() {
        for zone in ["Europe/Berlin", "Australia/Lord_Howe", "America/Los_Angeles"] {
            let days: &[(&str, &[&str])] = &[("2199-12-31", &["23:00-02:00"]), ("1900-01-01", &["01:00-02:00"])];
            let calendar = calendar(zone, five(&["02:15-12:00", "13:00-01:30"]), days);
            // The years 2200 to 2599 represent all later ones, without listed days.
            for (near, cycles) in
                [(LATE, 1), (LATE + CYCLE / 3, 2), (LATE + CYCLE - 1, 16), (EARLY - 1, -1), (EARLY - CYCLE, -4)]
            {
                let (near, far) = (Timestamp(near), Timestamp(near + cycles * CYCLE));
                for span in [Span(1), Span::HOUR, Span(60 * Span::DAY.0), Span(3000 * Span::DAY.0)] {
                    assert_eq!(calendar.working(far, far + span), calendar.working(near, near + span), "{zone} {far}");
                    let due = calendar.deadline(near, span).map(|due| Timestamp(due.0 + cycles * CYCLE));
                    assert_eq!(calendar.deadline(far, span), due, "{zone} {far}");
                }
            }
            let (first, last) = (Timestamp(EARLY - 2 * CYCLE - 5), Timestamp(LATE + 2 * CYCLE + 5));
            let middle = Timestamp(LATE - 12_345);
            let sum = calendar.working(first, middle).0 + calendar.working(middle, last).0;
            assert_eq!(calendar.working(first, last), Span(sum), "{zone}");
        }
    }

    /// Verifies the paragraph "Cycles" for every zone.
    #[test]
    fn zones_have_no_changes_before_1820_and_repeat_after_2199() {
        let zones = TimeZoneDatabase::bundled();
        assert!(zones.available().count() > 400);
        for name in zones.available() {
            let zone = zones.get(name.as_str()).expect("listed");
            let early = jiff_timestamp(EARLY + HORIZON + Span::DAY.0);
            assert!(zone.preceding(early).next().is_none(), "{name} changed before 1820");
            let changes = |from: i64| {
                let until = jiff_timestamp(from + HORIZON);
                let changes = zone.following(jiff_timestamp(from)).take_while(move |change| change.timestamp() < until);
                changes.map(move |change| (change.timestamp().as_millisecond() - from, change.offset()))
            };
            assert!(changes(LATE).eq(changes(LATE + CYCLE)), "{name} does not repeat");
        }
    }

    #[test]
    fn a_calendar_is_shareable_and_has_a_short_debug_form() {
        fn shared<T: Send + Sync>(_: &T) {}
        let moscow = calendar("europe/moscow", five(NINE_TO_SIX), &[]);
        shared(&moscow);
        let shown = format!("{moscow:?}");
        assert!(shown.contains("Europe/Moscow") && shown.len() < 1000, "{shown}");
    }

    // The reference implementation: finds boundaries by trying offsets and counts working time minute by minute.

    /// Converts a local time, in milliseconds as if it were UTC, to UTC.
    fn read(zone: &TimeZone, local: i64) -> i64 {
        let offset = |at: i64| zone.to_offset(jiff_timestamp(at)).seconds() as i64 * 1000;
        let offsets: BTreeSet<i64> = (-30..=30).map(|hour| offset(local + hour * Span::HOUR.0)).collect();
        let readings = offsets.iter().map(|offset| local - offset);
        let greatest = offsets.last().copied().unwrap_or(0);
        readings.filter(|at| at + offset(*at) == local).min().unwrap_or_else(|| local - offset(local - greatest))
    }

    /// The working intervals of all local days around `from` to `to`.
    fn intervals(calendar: &Calendar, from: Timestamp, to: Timestamp) -> Vec<(i64, i64)> {
        let epoch = date("1970-01-01");
        (from.0.div_euclid(Span::DAY.0) - 3..=to.0.div_euclid(Span::DAY.0) + 2)
            .flat_map(|number| {
                let day = epoch.checked_add(jiff::Span::new().days(number)).expect("a date");
                calendar.schedule.hours(day).iter().map(move |hours| {
                    let minute = |minute: u32| number * Span::DAY.0 + i64::from(minute) * Span::MINUTE.0;
                    (read(&calendar.zone, minute(hours.start)), read(&calendar.zone, minute(hours.end)))
                })
            })
            .collect()
    }

    /// Counts whole minutes: all clock changes and hours are at whole minutes.
    fn naive_working(calendar: &Calendar, from: Timestamp, to: Timestamp) -> Span {
        let intervals = intervals(calendar, from, to);
        let minutes = from.0.div_euclid(Span::MINUTE.0)..=to.0.div_euclid(Span::MINUTE.0);
        let starts = minutes.map(|minute| minute * Span::MINUTE.0);
        let working = starts.filter(|minute| intervals.iter().any(|(start, end)| (start..end).contains(&minute)));
        Span(working.map(|minute| ((minute + Span::MINUTE.0).min(to.0) - minute.max(from.0)).max(0)).sum())
    }

    const ZONES: [&str; 8] = [
        "Europe/Moscow",
        "Europe/Berlin",
        "America/Sao_Paulo",
        "Europe/Volgograd",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/St_Johns",
        "Asia/Kathmandu",
    ];

    /// Up to two intervals in the first `quarters` quarter hours of a day.
    fn any_hours(quarters: u32) -> impl Strategy<Value = Vec<Hours>> {
        prop::collection::btree_set(0..=quarters, 0..=4).prop_map(|ends| {
            let ends: Vec<u32> = ends.into_iter().map(|quarter| quarter * 15).collect();
            ends.chunks_exact(2).map(|pair| Hours { start: pair[0], end: pair[1] }).collect()
        })
    }

    fn any_day() -> impl Strategy<Value = Vec<Hours>> {
        prop_oneof![
            Just(vec![]),
            Just(hours(NINE_TO_SIX)),
            Just(hours(&["00:00-04:00", "20:00-24:00"])),
            Just(hours(&["21:00-02:00"])),
            (any_hours(96), 1_u32..16).prop_map(|(mut hours, quarters)| {
                hours
                    .iter_mut()
                    .filter(|hours| hours.end == 1440 && hours.start > 240)
                    .for_each(|hours| hours.end += quarters * 15);
                hours
            }),
            (any_hours(72), 72_u32..96, 97_u32..144).prop_map(|(mut hours, start, end)| {
                hours.push(Hours { start: start * 15, end: end * 15 });
                hours
            }),
            any_hours(20),
        ]
    }

    /// Ends nights where hours of the next day begin, whether they are listed or those of the week.
    fn end_nights_before_the_next_day(week: &mut [Vec<Hours>; 7], days: &mut BTreeMap<Date, Vec<Hours>>) {
        let begins = |hours: &Vec<Hours>| hours.iter().map(|hours| hours.start).min().unwrap_or(Hours::DAY);
        let (regular, listed) = (week.each_ref().map(begins), days.clone());
        let weekday = |date: Date| date.weekday().to_monday_zero_offset() as usize;
        let shorten = |hours: &mut Vec<Hours>, begin: u32| {
            hours.iter_mut().for_each(|hours| hours.end = hours.end.min(Hours::DAY + begin));
        };
        for (day, hours) in week.iter_mut().enumerate() {
            let next = (day + 1) % 7;
            let listed = listed.iter().filter(|(date, _)| weekday(**date) == next).map(|(_, hours)| begins(hours));
            shorten(hours, listed.chain([regular[next]]).min().unwrap_or(0));
        }
        for (date, hours) in days {
            let next = date.tomorrow().expect("a date");
            shorten(hours, listed.get(&next).map_or(regular[weekday(next)], begins));
        }
    }

    prop_compose! {
        /// A calendar and an instant near a clock change, a new year or a block boundary.
        fn any_calendar()(
            zone in prop::sample::select(&ZONES[..]),
            week in prop::collection::vec(any_day(), 7),
            listed in prop::collection::vec((-4_i64..8, any_day()), 0..4),
            year in 1995_i64..2045,
            pick in 0_usize..4,
            offset in -3 * Span::DAY.0..Span::DAY.0,
        ) -> (Calendar, Timestamp) {
            let new_year = (year - 1970) * 31_556_952_000;
            let tz = TimeZoneDatabase::bundled().get(zone).expect("known");
            let changes = tz.following(jiff_timestamp(new_year)).take(2).map(|change| change.timestamp().as_millisecond());
            let edge = (block_index(new_year) + 1) << BLOCK_BITS;
            let near = changes.chain([new_year, edge]).cycle().nth(pick).unwrap_or(new_year);
            let days = listed.into_iter().map(|(day, hours)| {
                (tz.to_datetime(jiff_timestamp(near + day * Span::DAY.0)).date(), hours)
            });
            let (mut week, mut days) = (week.try_into().expect("seven days"), days.collect());
            end_nights_before_the_next_day(&mut week, &mut days);
            let calendar = Calendar::new("any", zone, week, days, BTreeSet::new()).expect("good");
            (calendar, Timestamp(near + offset))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn working_equals_counting_minutes(
            (calendar, from) in any_calendar(), length in 0..5 * Span::DAY.0,
        ) {
            let to = from + Span(length);
            prop_assert_eq!(calendar.working(from, to), naive_working(&calendar, from, to));
        }

        #[test]
        fn working_time_adds_up(
            (calendar, a) in any_calendar(),
            first in 0..3000 * Span::DAY.0,
            second in 0..3000 * Span::DAY.0,
        ) {
            let (b, c) = (a + Span(first), a + Span(first + second));
            let sum = calendar.working(a, b).0 + calendar.working(b, c).0;
            prop_assert_eq!(Span(sum), calendar.working(a, c));
        }

        #[test]
        fn a_deadline_is_the_first_instant_by_which_the_time_has_passed(
            (calendar, from) in any_calendar(), span in 1..400 * Span::HOUR.0,
        ) {
            match calendar.deadline(from, Span(span)) {
                Some(due) => {
                    prop_assert_eq!(calendar.working(from, due), Span(span));
                    prop_assert!(calendar.working(from, Timestamp(due.0 - 1)) < Span(span));
                }
                None => prop_assert!(calendar.working(from, Timestamp(from.0 + HORIZON)) < Span(span)),
            }
        }

        #[test]
        fn the_latest_instant_before_is_followed_by_exactly_the_time(
            (calendar, until) in any_calendar(), span in 1..400 * Span::HOUR.0,
        ) {
            match calendar.latest_before(until, Span(span)) {
                Some(at) => {
                    prop_assert_eq!(calendar.working(at, until), Span(span));
                    prop_assert!(calendar.working(Timestamp(at.0 + 1), until) < Span(span));
                }
                None => prop_assert!(calendar.working(Timestamp(until.0 - HORIZON), until) < Span(span)),
            }
        }

        #[test]
        fn a_day_ends_where_the_next_begins((calendar, from) in any_calendar()) {
            let day = calendar.day(from);
            let end = calendar.day_end(day);
            // No instant before the end belongs to a later day; the end itself does.
            prop_assert!(calendar.day(Timestamp(end.0 - 1)) <= day);
            prop_assert!(calendar.day(end) > day);
        }
    }
}

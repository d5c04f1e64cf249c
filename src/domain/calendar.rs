//! Owns working time: how much of it lies between two instants, and when a given amount of it has passed. Promises
//! one answer for an instant on every machine (the time zone data are built in) in well under a microsecond. Refuses to
//! read a clock, and calendars that contradict themselves.
//!
//! **Working time is a set of instants.** Hours are written in local time; each end is converted to UTC by itself
//! (decision 27: a local time that a change of clocks skips is read with the offset before it, one that comes twice is
//! the first), an interval that ends up empty is none, and instants covered twice count once. So `working(a, b) +
//! working(b, c) = working(a, c)`, whatever the clocks do.
//!
//! **Blocks.** The time line is cut into blocks of 2³⁵ ms (a good year) by UTC, so that an instant's block is a shift;
//! a block's stretches of working time are computed when it is first asked for, and kept, with the working time before
//! each: a question is then a binary search in one block, or in two and the sum of those between.
//!
//! **Cycles.** Blocks are kept for the years 1400 to 2619 only. Before 1800 no zone had changed its clocks yet, after
//! 2199 every zone follows a yearly rule, and listed days lie between: there the calendar repeats every 400 years, a
//! whole number of weeks, and a far instant is moved by whole cycles into the years that are kept.

use super::time::{Span, Timestamp};
use compact_str::CompactString;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

/// Working hours inside one local day, from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hours {
    /// Minute of the day at which they begin, 0 to 1439.
    pub start: u32,
    /// Minute of the day at which they end, `start` + 1 to 1440.
    pub end: u32,
}

impl Hours {
    /// Minutes in a local day as calendars write it.
    const DAY: u32 = 24 * 60;

    /// Reads `09:00-18:00`; `24:00` ends a day.
    ///
    /// Returns `None` for anything else, and for hours that do not end after they begin.
    pub fn parse(text: &str) -> Option<Self> {
        fn two_digits(text: &str) -> Option<u32> {
            let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse().ok() } else { None }
        }
        fn minute(text: &str) -> Option<u32> {
            let (hours, minutes) = text.split_once(':')?;
            let minutes = two_digits(minutes).filter(|minutes| *minutes < 60)?;
            Some(two_digits(hours)? * 60 + minutes)
        }
        let (start, end) = text.split_once('-')?;
        Some(Self { start: minute(start.trim())?, end: minute(end.trim())? }).filter(|hours| hours.valid())
    }

    fn valid(self) -> bool {
        self.start < self.end && self.end <= Self::DAY
    }
}

/// As calendars write them: `09:00-18:00`.
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
    }
}

/// Which day of a calendar an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarDay {
    /// A day of the ordinary week.
    Weekday(Weekday),
    /// A day that is listed.
    Date(Date),
}

/// As calendars write it: `mon`, `2026-01-01`.
impl fmt::Display for CalendarDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        match self {
            Self::Weekday(day) => f.write_str(NAMES[day.to_monday_zero_offset() as usize]),
            Self::Date(date) => write!(f, "{date}"),
        }
    }
}

/// Why a calendar was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalendarError {
    /// The IANA time zone data base has no zone of this name.
    UnknownZone {
        /// The name as given.
        timezone: CompactString,
    },
    /// Hours that do not end after they begin, or end after the day.
    BadHours {
        /// The day they are for.
        day: CalendarDay,
        /// The hours.
        hours: Hours,
    },
    /// Two intervals of one day have working time in common.
    Overlap {
        /// The day they are for.
        day: CalendarDay,
        /// The earlier interval.
        first: Hours,
        /// The later one.
        second: Hours,
    },
    /// A listed day before 1900 or after 2199: a slip of the pen.
    DayOutOfRange {
        /// The day.
        date: Date,
    },
}

impl fmt::Display for CalendarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownZone { timezone } => write!(f, "looking up time zone `{timezone}`: no such IANA name"),
            Self::BadHours { day, hours } => {
                write!(f, "reading hours {hours} of {day}: they must end after they begin and by 24:00")
            }
            Self::Overlap { day, first, second } => {
                write!(f, "reading the hours of {day}: {first} and {second} overlap")
            }
            Self::DayOutOfRange { date } => {
                write!(f, "reading listed day {date}: its year must lie between 1900 and 2199")
            }
        }
    }
}

impl std::error::Error for CalendarError {}

/// When a department works: a time zone, a week of working hours, and the days that differ from it.
pub struct Calendar {
    name: CompactString,
    zone: TimeZone,
    /// Monday first; each day's hours in order, without overlaps.
    week: [Vec<Hours>; 7],
    days: BTreeMap<Date, Vec<Hours>>,
    years: BTreeSet<i16>,
    blocks: Box<[OnceLock<Block>]>,
    /// Working time of 400 years before [`EARLY`].
    early_cycle: OnceLock<i64>,
    /// Working time of 400 years after [`LATE`].
    late_cycle: OnceLock<i64>,
}

/// The working time of one block.
struct Block {
    /// In order, apart from each other, clipped to the block.
    stretches: Box<[Stretch]>,
    /// Milliseconds of them all.
    total: i64,
}

/// Working time without a break, in milliseconds since the Unix epoch.
#[derive(Clone, Copy)]
struct Stretch {
    start: i64,
    end: i64,
    /// Milliseconds of working time in the block before `start`.
    before: i64,
}

/// A block's length in milliseconds is two to this power.
const BLOCK_BITS: u32 = 35;
/// Four hundred Gregorian years: 20 871 weeks.
const CYCLE: i64 = 146_097 * Span::DAY.0;
/// 1800-01-01T00:00:00Z: before it nothing changed.
const EARLY: i64 = -5_364_662_400_000;
/// 2200-01-01T00:00:00Z: from it on everything repeats.
const LATE: i64 = EARLY + CYCLE;
/// Twenty years: a deadline further away than this never comes.
const HORIZON: i64 = 7305 * Span::DAY.0;
/// The number of the first block that is kept.
const FIRST_BLOCK: i64 = (EARLY - CYCLE) >> BLOCK_BITS;
/// How many blocks are kept.
const BLOCKS: i64 = ((LATE + CYCLE + HORIZON) >> BLOCK_BITS) - FIRST_BLOCK + 1;

impl Block {
    /// Milliseconds of working time in this block before `at`.
    fn until(&self, at: i64) -> i64 {
        let begun = self.stretches.partition_point(|stretch| stretch.start <= at);
        match self.stretches[..begun].last() {
            Some(stretch) => stretch.before + (at.min(stretch.end) - stretch.start),
            None => 0,
        }
    }

    /// The first instant by which `need` milliseconds of this block's working time have passed.
    fn reach(&self, need: i64) -> Option<i64> {
        let at = self.stretches.partition_point(|stretch| stretch.before + (stretch.end - stretch.start) < need);
        self.stretches.get(at).map(|stretch| stretch.start + (need - stretch.before))
    }
}

impl Calendar {
    /// A calendar called `name` in an IANA time zone: the hours of an ordinary week, Monday first, the days that differ
    /// from it (no hours: a day off), and the years whose different days are listed.
    ///
    /// Hours may come in any order; they may touch, but not overlap.
    pub fn new(
        name: &str,
        timezone: &str,
        mut week: [Vec<Hours>; 7],
        mut days: BTreeMap<Date, Vec<Hours>>,
        years: BTreeSet<i16>,
    ) -> Result<Self, CalendarError> {
        let zone = TimeZoneDatabase::bundled().get(timezone).ok().filter(|zone| !zone.is_unknown());
        let zone = zone.ok_or_else(|| CalendarError::UnknownZone { timezone: timezone.into() })?;
        for (weekday, hours) in Weekday::Monday.cycle_forward().zip(&mut week) {
            put_in_order(CalendarDay::Weekday(weekday), hours)?;
        }
        for (date, hours) in &mut days {
            if !(1900..=2199).contains(&date.year()) {
                return Err(CalendarError::DayOutOfRange { date: *date });
            }
            put_in_order(CalendarDay::Date(*date), hours)?;
        }
        let blocks = (0..BLOCKS).map(|_| OnceLock::new()).collect();
        let (early_cycle, late_cycle) = (OnceLock::new(), OnceLock::new());
        Ok(Self { name: name.into(), zone, week, days, years, blocks, early_cycle, late_cycle })
    }

    /// The name that norms call it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The IANA name of its time zone.
    pub fn timezone(&self) -> &str {
        // Every zone of the data base has one.
        self.zone.iana_name().unwrap_or_default()
    }

    /// The hours of an ordinary week, Monday first.
    pub fn week(&self) -> &[Vec<Hours>; 7] {
        &self.week
    }

    /// The days that differ from it.
    pub fn days(&self) -> &BTreeMap<Date, Vec<Hours>> {
        &self.days
    }

    /// The years whose different days are listed.
    pub fn years(&self) -> &BTreeSet<i16> {
        &self.years
    }

    /// The working time from `from` up to `to`; none if `to` is not later.
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
    /// positive. `None` if the twenty years after `from` have not that much.
    pub fn deadline(&self, from: Timestamp, span: Span) -> Option<Timestamp> {
        if span <= Span::ZERO {
            return Some(from);
        }
        let cycles = match from.0 {
            at if at < EARLY => (EARLY - 1 - at) / CYCLE,
            at if at >= LATE => -((at - LATE) / CYCLE),
            _ => 0,
        };
        let start = from.0 + cycles * CYCLE;
        let limit = start + HORIZON;
        let mut need = span.0.saturating_add(self.block(number(start)).until(start));
        for block in (number(start)..=number(limit)).map(|number| self.block(number)) {
            if let Some(at) = block.reach(need) {
                return (at <= limit).then(|| Timestamp(at.saturating_sub(cycles * CYCLE)));
            }
            need -= block.total;
        }
        None
    }

    /// The local day of `at`; at the edges of time, the nearest that a date can name.
    pub fn day(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(instant(at.0)).date()
    }

    /// The first instant of the local day after `day`; [`Timestamp::MAX`] where no date can name that.
    ///
    /// Where clocks were put back over midnight, some instants after it still are of `day`.
    pub fn day_end(&self, day: Date) -> Timestamp {
        let Ok(next) = day.tomorrow() else { return Timestamp::MAX };
        let midnight = next.to_datetime(Time::midnight());
        if let AmbiguousOffset::Gap { before, .. } = self.zone.to_ambiguous_timestamp(midnight).offset() {
            // Clocks were put forward over midnight: the day begins with the change, at midnight or some time before
            // what a clock that was not put forward calls so.
            let change = before.to_timestamp(midnight).ok().and_then(|at| {
                let just_after = at.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
                self.zone.preceding(just_after).next().map(|change| change.timestamp())
            });
            if let Some(change) = change {
                return Timestamp(change.as_millisecond());
            }
        }
        Timestamp(self.first_reading(midnight))
    }

    /// Whether the days that differ from the ordinary week are listed for the local year of `at`: a calendar that names
    /// no years has nothing to warn about.
    pub fn lists(&self, at: Timestamp) -> bool {
        self.years.is_empty() || self.years.contains(&self.day(at).year())
    }

    /// Milliseconds of working time between two instants whose blocks are kept, `from` not after `to`.
    fn between(&self, from: i64, to: i64) -> i64 {
        let (first, last) = (number(from), number(to));
        let whole: i64 = (first..last).map(|number| self.block(number).total).sum();
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

    fn block(&self, number: i64) -> &Block {
        self.blocks[(number - FIRST_BLOCK) as usize].get_or_init(|| self.build(number))
    }

    fn build(&self, number: i64) -> Block {
        let (begin, end) = (number << BLOCK_BITS, (number + 1) << BLOCK_BITS);
        // No zone's offset, before or after any change of clocks, is as long as two days.
        let (first, last) = (instant(begin - 2 * Span::DAY.0), instant(end + 2 * Span::DAY.0));
        let (first, last) = (self.zone.to_datetime(first).date(), self.zone.to_datetime(last).date());
        let mut intervals = Vec::new();
        for day in first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last) {
            for hours in self.hours(day) {
                let start = self.reading(day, hours.start).max(begin);
                let end = self.reading(day, hours.end).min(end);
                if start < end {
                    intervals.push((start, end));
                }
            }
        }
        // In order already, but for changes of clocks inside working hours.
        intervals.sort_unstable();
        let mut stretches: Vec<Stretch> = Vec::with_capacity(intervals.len());
        let mut total = 0;
        for (start, end) in intervals {
            match stretches.last_mut() {
                Some(last) if start <= last.end => {
                    total += (end - last.end).max(0);
                    last.end = last.end.max(end);
                }
                _ => {
                    stretches.push(Stretch { start, end, before: total });
                    total += end - start;
                }
            }
        }
        Block { stretches: stretches.into(), total }
    }

    fn hours(&self, day: Date) -> &[Hours] {
        self.days.get(&day).unwrap_or_else(|| &self.week[day.weekday().to_monday_zero_offset() as usize])
    }

    /// The instant, in milliseconds, at which a minute of a local day is taken to be.
    fn reading(&self, day: Date, minute: u32) -> i64 {
        let (day, minute) = if minute == Hours::DAY { (day.tomorrow().unwrap_or(day), 0) } else { (day, minute) };
        self.first_reading(day.at((minute / 60) as i8, (minute % 60) as i8, 0, 0))
    }

    /// Milliseconds since the epoch of a local time: a skipped one with the offset before the change, the first of two.
    fn first_reading(&self, local: DateTime) -> i64 {
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
            .field("week", &self.week)
            .field("days", &self.days)
            .field("years", &self.years)
            .finish_non_exhaustive()
    }
}

/// The number of the block that an instant lies in.
fn number(at: i64) -> i64 {
    at >> BLOCK_BITS
}

/// The nearest instant that jiff knows.
fn instant(millis: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(millis).unwrap_or(if millis > 0 {
        jiff::Timestamp::MAX
    } else {
        jiff::Timestamp::MIN
    })
}

/// Sorts a day's hours; refuses bad ones and overlaps.
fn put_in_order(day: CalendarDay, hours: &mut [Hours]) -> Result<(), CalendarError> {
    if let Some(bad) = hours.iter().find(|hours| !hours.valid()) {
        return Err(CalendarError::BadHours { day, hours: *bad });
    }
    hours.sort_unstable();
    match hours.windows(2).find(|pair| pair[1].start < pair[0].end) {
        Some(pair) => Err(CalendarError::Overlap { day, first: pair[0], second: pair[1] }),
        None => Ok(()),
    }
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
    fn hours_are_read_strictly() {
        assert_eq!(Hours::parse("09:00-18:00"), Some(Hours { start: 540, end: 1080 }));
        assert_eq!(Hours::parse("00:00 - 24:00"), Some(Hours { start: 0, end: 1440 }));
        for bad in [
            "",
            "09:00",
            "18:00-09:00",
            "09:00-09:00",
            "9:00-18:00",
            "09:00-24:01",
            "09:60-18:00",
            "+9:00-18:00",
            "09:00-18:00-19:00",
            "25:00-26:00",
            "24:00-24:00",
        ] {
            assert_eq!(Hours::parse(bad), None, "{bad}");
        }
        assert_eq!(Hours { start: 5, end: 1440 }.to_string(), "00:05-24:00");
    }

    #[test]
    fn contradictions_are_refused_with_their_day() {
        let error = try_calendar("Mars/Olympus", five(NINE_TO_SIX), &[]).expect_err("no such zone");
        assert_eq!(error.to_string(), "looking up time zone `Mars/Olympus`: no such IANA name");
        assert!(try_calendar("Etc/Unknown", five(NINE_TO_SIX), &[]).is_err());
        let error = try_calendar("UTC", five(&["14:00-18:00", "09:00-14:01"]), &[]).expect_err("overlap");
        assert_eq!(error.to_string(), "reading the hours of mon: 09:00-14:01 and 14:00-18:00 overlap");
        let error = try_calendar("UTC", five(NINE_TO_SIX), &[("2026-01-09", &["09:00-12:00", "09:00-12:00"])]);
        assert!(error.expect_err("overlap").to_string().contains("2026-01-09"));
        assert!(try_calendar("UTC", five(NINE_TO_SIX), &[("0206-01-01", &[])]).is_err());
        let mut week: [Vec<Hours>; 7] = Default::default();
        week[6] = vec![Hours { start: 60, end: 1441 }];
        let error = Calendar::new("x", "UTC", week, BTreeMap::new(), BTreeSet::new()).expect_err("too long");
        assert!(error.to_string().contains("of sun"), "{error}");
    }

    #[test]
    fn a_weekend_stops_the_clock() {
        let moscow = calendar("Europe/Moscow", five(NINE_TO_SIX), &[]);
        assert_eq!(moscow.name(), "test");
        // Friday 17:50 to Monday 09:05, local time.
        assert_eq!(minutes(&moscow, "2026-03-06T14:50:00Z", "2026-03-09T06:05:00Z"), 15.0);
        assert_eq!(due(&moscow, "2026-03-06T14:50:00Z", 15), "2026-03-09T06:05:00.000Z");
        // What fits exactly ends with the day, not with the next one's beginning.
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
        // A day shortened by an hour; the first of May is not listed here and works.
        assert_eq!(due(&moscow, "2026-04-30T13:30:00Z", 60), "2026-05-01T06:30:00.000Z");
        // A working Saturday with a break.
        assert_eq!(minutes(&moscow, "2027-02-19T15:00:00Z", "2027-02-22T06:00:00Z"), 240.0);
        assert_eq!(due(&moscow, "2027-02-20T08:30:00Z", 45), "2027-02-20T10:15:00.000Z");
        // Days count outside the years that the calendar lists.
        assert_eq!(minutes(&moscow, "2030-06-15T00:00:00Z", "2030-06-16T00:00:00Z"), 60.0);
    }

    #[test]
    fn night_hours_run_over_midnight_and_new_year() {
        let night = calendar("Asia/Almaty", daily(&["20:00-24:00", "00:00-04:00"]), &[]);
        // Almaty was at +06:00 until 2024-03-01, at +05:00 since.
        assert_eq!(due(&night, "2023-12-31T14:00:00Z", 480), "2023-12-31T22:00:00.000Z");
        assert_eq!(due(&night, "2023-12-31T14:00:00Z", 481), "2024-01-01T14:01:00.000Z");
        assert_eq!(due(&night, "2025-12-31T15:00:00Z", 480), "2025-12-31T23:00:00.000Z");
        assert_eq!(minutes(&night, "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"), 366.0 * 480.0);
    }

    #[test]
    fn skipped_and_repeated_hours_follow_the_decision() {
        // 2026-03-29 02:00 → 03:00 (01:00Z); 2026-10-25 03:00 → 02:00 (01:00Z).
        let spring = ("2026-03-29T00:00:00Z", "2026-03-29T20:00:00Z");
        let autumn = ("2026-10-24T22:00:00Z", "2026-10-25T20:00:00Z");
        for (text, on_spring, on_autumn) in [
            // Begins in the gap: 02:30 with the offset before is 03:30.
            ("02:30-06:00", 150.0, 270.0),
            // Ends in the gap.
            ("01:00-02:30", 90.0, 90.0),
            // Inside the gap on both ends, or turned round by it.
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
        // Instants that two intervals cover after conversion count once, also where the later one begins first.
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
        // Over midnight: Toronto, 1919-03-30 23:30 → the 31st, 00:30.
        let toronto = calendar("America/Toronto", daily(&["00:00-24:00"]), &[]);
        assert_eq!(toronto.day_end(date("1919-03-30")), at("1919-03-31T04:30:00Z"));
        assert_eq!(toronto.day(at("1919-03-31T04:30:00Z")), date("1919-03-31"));
        // A whole day left out: Apia, 2011-12-30.
        let apia = calendar("Pacific/Apia", daily(NINE_TO_SIX), &[]);
        assert_eq!(apia.day_end(date("2011-12-29")), at("2011-12-30T10:00:00Z"));
        assert_eq!(apia.day_end(date("2011-12-30")), at("2011-12-30T10:00:00Z"));
        assert_eq!(minutes(&apia, "2011-12-29T10:00:00Z", "2012-01-01T10:00:00Z"), 3.0 * 540.0 - 540.0 + 540.0);
    }

    #[test]
    fn volgograd_changed_its_mind() {
        // +03:00 until 2018-10-28 02:00, +04:00 until 2020-12-27 02:00, +03:00 since.
        let volgograd = calendar("Europe/Volgograd", daily(NINE_TO_SIX), &[]);
        assert_eq!(due(&volgograd, "2018-10-27T15:00:00Z", 1), "2018-10-28T05:01:00.000Z");
        assert_eq!(due(&volgograd, "2020-12-26T14:00:00Z", 1), "2020-12-27T06:01:00.000Z");
        let night = calendar("Europe/Volgograd", daily(&["00:00-04:00"]), &[]);
        assert_eq!(minutes(&night, "2018-10-27T20:00:00Z", "2018-10-28T06:00:00Z"), 180.0);
        assert_eq!(minutes(&night, "2020-12-26T19:00:00Z", "2020-12-27T06:00:00Z"), 300.0);
    }

    #[test]
    fn what_never_comes_has_no_deadline() {
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
    fn years_that_are_not_listed_are_told_in_local_time() {
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
    fn the_ends_of_time_are_no_danger() {
        let always = calendar("Europe/Moscow", daily(&["00:00-24:00"]), &[]);
        let (first, last) = (at("0001-01-01T00:00:00Z"), at("9998-12-31T23:59:59.999Z"));
        // The change from mean local to standard time, and all later ones, neither add nor take away.
        assert_eq!(always.working(first, last), last - first);
        assert_eq!(always.working(Timestamp::MIN, Timestamp::MAX), Span(i64::MAX));
        assert_eq!(always.deadline(first, Span::DAY), Some(first + Span::DAY));
        assert_eq!(always.deadline(last, Span::DAY), Some(last + Span::DAY));
        assert_eq!(always.deadline(Timestamp::MIN, Span(1)), Some(Timestamp(i64::MIN + 1)));
        assert_eq!(always.deadline(Timestamp::MAX, Span(1)), Some(Timestamp::MAX));
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
    fn far_years_are_like_near_ones() {
        for zone in ["Europe/Berlin", "Australia/Lord_Howe"] {
            let days: &[(&str, &[&str])] = &[("2199-12-31", &["01:00-02:00"]), ("1900-01-01", &["01:00-02:00"])];
            let calendar = calendar(zone, five(&["02:15-12:00", "13:00-24:00"]), days);
            // The years 2200 to 2599 stand for all later ones, without the days that are listed.
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

    /// The paragraph "Cycles", for every zone that there is.
    #[test]
    fn zones_stand_still_before_1800_and_repeat_after_2199() {
        let zones = TimeZoneDatabase::bundled();
        assert!(zones.available().count() > 400);
        for name in zones.available() {
            let zone = zones.get(name.as_str()).expect("listed");
            let early = instant(EARLY + HORIZON + Span::DAY.0);
            assert!(zone.preceding(early).next().is_none(), "{name} changed before 1820");
            let changes = |from: i64| {
                let until = instant(from + HORIZON);
                let changes = zone.following(instant(from)).take_while(move |change| change.timestamp() < until);
                changes.map(move |change| (change.timestamp().as_millisecond() - from, change.offset()))
            };
            assert!(changes(LATE).eq(changes(LATE + CYCLE)), "{name} does not repeat");
        }
    }

    #[test]
    fn it_can_be_shared_and_shown() {
        fn shared<T: Send + Sync>(_: &T) {}
        let moscow = calendar("europe/moscow", five(NINE_TO_SIX), &[]);
        shared(&moscow);
        let shown = format!("{moscow:?}");
        assert!(shown.contains("Europe/Moscow") && shown.len() < 1000, "{shown}");
    }

    // The reference: boundaries found by trying offsets, working time counted minute by minute.

    /// A local time in milliseconds as if it were UTC, read in `zone`.
    fn read(zone: &TimeZone, local: i64) -> i64 {
        let offset = |at: i64| zone.to_offset(instant(at)).seconds() as i64 * 1000;
        let offsets: BTreeSet<i64> = (-30..=30).map(|hour| offset(local + hour * Span::HOUR.0)).collect();
        let readings = offsets.iter().map(|offset| local - offset);
        let greatest = offsets.last().copied().unwrap_or(0);
        readings.filter(|at| at + offset(*at) == local).min().unwrap_or_else(|| local - offset(local - greatest))
    }

    /// The working intervals of all local days that touch the days from `from` to `to`.
    fn intervals(calendar: &Calendar, from: Timestamp, to: Timestamp) -> Vec<(i64, i64)> {
        let epoch = date("1970-01-01");
        (from.0.div_euclid(Span::DAY.0) - 2..=to.0.div_euclid(Span::DAY.0) + 2)
            .flat_map(|number| {
                let day = epoch.checked_add(jiff::Span::new().days(number)).expect("a date");
                let week = &calendar.week[day.weekday().to_monday_zero_offset() as usize];
                calendar.days.get(&day).unwrap_or(week).iter().map(move |hours| {
                    let minute = |minute: u32| number * Span::DAY.0 + i64::from(minute) * Span::MINUTE.0;
                    (read(&calendar.zone, minute(hours.start)), read(&calendar.zone, minute(hours.end)))
                })
            })
            .collect()
    }

    /// Every change of clocks and all hours being on whole minutes, a minute works or does not.
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

    /// Up to two intervals in the first quarters of an hour of a day.
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
            any_hours(96),
            any_hours(20),
        ]
    }

    prop_compose! {
        /// A calendar and an instant near a change of clocks, a new year or the edge of a block.
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
            let changes = tz.following(instant(new_year)).take(2).map(|change| change.timestamp().as_millisecond());
            let edge = (number(new_year) + 1) << BLOCK_BITS;
            let near = changes.chain([new_year, edge]).cycle().nth(pick).unwrap_or(new_year);
            let days = listed.into_iter().map(|(day, hours)| {
                (tz.to_datetime(instant(near + day * Span::DAY.0)).date(), hours)
            });
            let week = week.try_into().expect("seven days");
            let calendar = Calendar::new("any", zone, week, days.collect(), BTreeSet::new()).expect("good");
            (calendar, Timestamp(near + offset))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn working_is_what_counting_minutes_gives(
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
        fn a_day_ends_where_the_next_begins((calendar, from) in any_calendar()) {
            let day = calendar.day(from);
            let end = calendar.day_end(day);
            // Nothing before the end is of a later day; the end itself is.
            prop_assert!(calendar.day(Timestamp(end.0 - 1)) <= day);
            prop_assert!(calendar.day(end) > day);
        }
    }
}

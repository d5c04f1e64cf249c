//! Owns working hours as calendars write them: how they are spelled, and which of them contradict each other.
//!
//! **Nights.** Hours may pass midnight. They belong to the day on which they begin, so a day off takes away the night
//! that begins on it, and not the end of the night before.

use jiff::civil::{Date, Weekday};
use std::collections::BTreeMap;
use std::fmt;

/// Working hours that begin on a local day, from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hours {
    /// Minute of the day at which they begin, 0 to 1439.
    pub start: u32,
    /// Minute at which they end, counted from the beginning of the same day: at most 1440, or on the next day, less than a
    /// day after `start`.
    pub end: u32,
}

impl Hours {
    /// Minutes in a local day as calendars write it.
    pub const DAY: u32 = 24 * 60;

    /// Parses `09:00-18:00`, `21:00-02:00`, `20:00-28:00`, `9-18`, `9am-6pm`, with any dash; `24:00` is the end of the day.
    pub fn parse(text: &str) -> Result<Self, HoursError> {
        let (start, end) = text.trim().split_once(DASHES).ok_or(HoursError::NotHours)?;
        let (start, end) = (Time::parse(start)?, Time::parse(end)?);
        if start.half_day != end.half_day {
            return Err(HoursError::HalfDays);
        }
        let day = Self::DAY;
        let hours = Self { start: start.minute, end: end.minute };
        match hours {
            Self { start, end } if start == end => Err(HoursError::Empty),
            Self { start, end } if start >= day && end > start => {
                Err(HoursError::NextDay(Self { start: start % day, end: end - day }))
            }
            Self { start, .. } if start >= day => Err(HoursError::NotHours),
            Self { start: from, end: to } if to > 0 && to < from && from <= 12 * 60 && start.bare && end.bare => {
                Err(HoursError::Ambiguous {
                    day: Self { end: to + day / 2, ..hours },
                    night: Self { end: to + day, ..hours },
                })
            }
            Self { start, end } if end < start => Ok(Self { start, end: end + day }),
            _ => Some(hours).filter(|hours| hours.valid()).ok_or(HoursError::TooLong),
        }
    }

    /// Whether they pass midnight.
    pub fn is_night(self) -> bool {
        self.end > Self::DAY
    }

    fn valid(self) -> bool {
        self.start < self.end && self.start < Self::DAY && (self.end <= Self::DAY || self.end - self.start < Self::DAY)
    }
}

/// The dashes that separate two times: the hyphen, and what word processors make of it.
const DASHES: [char; 7] = ['-', '\u{2010}', '\u{2011}', '\u{2012}', '–', '—', '\u{2212}'];

/// As in calendars: `09:00-18:00`, `21:00-02:00`.
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_night() { self.end - Self::DAY } else { self.end };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.start / 60, self.start % 60, end / 60, end % 60)
    }
}

/// One end of an interval as written.
#[derive(Clone, Copy)]
struct Time {
    minute: u32,
    /// Written without minutes.
    bare: bool,
    /// Written with `am` or `pm`.
    half_day: bool,
}

impl Time {
    /// Parses `9`, `09:00`, `9.30`, `6pm`, `6:30 p.m.`.
    fn parse(text: &str) -> Result<Self, HoursError> {
        let text = text.trim().to_ascii_lowercase().replace("a.m.", "am").replace("p.m.", "pm");
        let half_day = ["am", "pm"].into_iter().find(|half| text.ends_with(half));
        let digits = text.trim_end_matches("am").trim_end_matches("pm").trim_end();
        let (hour, minute) =
            digits.split_once([':', '.']).map_or((digits, None), |(hour, minute)| (hour, Some(minute)));
        let number = |text: &str, least: usize| {
            let plain = (least..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse::<u32>().map_err(|_| HoursError::NotHours) } else { Err(HoursError::NotHours) }
        };
        let (bare, hour, minute) = (minute.is_none(), number(hour, 1)?, number(minute.unwrap_or("00"), 2)?);
        let hour = match half_day {
            None if hour < 48 => hour,
            Some("am") if (1..=12).contains(&hour) => hour % 12,
            Some("pm") if (1..=12).contains(&hour) => hour % 12 + 12,
            _ => return Err(HoursError::NotHours),
        };
        if minute > 59 {
            return Err(HoursError::NotHours);
        }
        Ok(Self { minute: hour * 60 + minute, bare, half_day: half_day.is_some() })
    }
}

/// Why a text is not working hours. Displayed as a hint for its author, empty if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoursError {
    /// Not two times.
    NotHours,
    /// Begins and ends at the same time.
    Empty,
    /// A day or longer.
    TooLong,
    /// `am` or `pm` with one of the times only.
    HalfDays,
    /// Begins on the next day, on which these hours should be listed.
    NextDay(Hours),
    /// Could be in the daytime or at night.
    Ambiguous {
        /// If the end is in the afternoon.
        day: Hours,
        /// If it is in the morning.
        night: Hours,
    },
}

impl fmt::Display for HoursError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHours => Ok(()),
            Self::Empty => f.write_str("; it begins and ends at the same time; around the clock is 00:00-24:00"),
            Self::TooLong => f.write_str("; it is a day or longer; around the clock is 00:00-24:00"),
            Self::HalfDays => f.write_str("; write am or pm after both times, or use 24-hour times"),
            Self::NextDay(hours) => write!(f, "; it begins on the next day: list it there as {hours}"),
            Self::Ambiguous { day, night } => write!(f, "; did you mean {day}, or {night} at night?"),
        }
    }
}

impl std::error::Error for HoursError {}

/// The names of weekdays in calendars, Monday first.
pub const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A day of a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarDay {
    /// A day of the ordinary week.
    Weekday(Weekday),
    /// A listed day.
    Date(Date),
}

/// As in calendars: `mon`, `2026-01-01`.
impl fmt::Display for CalendarDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weekday(day) => f.write_str(WEEKDAYS[day.to_monday_zero_offset() as usize]),
            Self::Date(date) => write!(f, "{date}"),
        }
    }
}

/// The working hours of an ordinary week, Monday first, and of the days that differ from it.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Each day's hours; in order, without overlaps.
    week: [Vec<Hours>; 7],
    days: BTreeMap<Date, Vec<Hours>>,
}

/// A day and its hours.
type DayHours<'s> = (CalendarDay, &'s [Hours]);

/// Why a schedule is contradictory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleError {
    /// Hours that do not end after they begin, or that last longer than a day.
    BadHours {
        /// The day of the hours.
        day: CalendarDay,
        /// The hours.
        hours: Hours,
    },
    /// Two intervals overlap, on one day or around midnight.
    Overlap {
        /// The earlier interval.
        first: (CalendarDay, Hours),
        /// The later one; it begins on the same or on the next day.
        second: (CalendarDay, Hours),
    },
    /// A listed day before 1900 or after 2199, probably a typing error.
    DayOutOfRange {
        /// The day.
        date: Date,
    },
}

impl ScheduleError {
    /// The day to correct: a listed one, if one is involved.
    pub fn day(&self) -> CalendarDay {
        match self {
            Self::BadHours { day, .. } => *day,
            Self::Overlap { first: (day @ CalendarDay::Date(_), _), .. } | Self::Overlap { second: (day, _), .. } => {
                *day
            }
            Self::DayOutOfRange { date } => CalendarDay::Date(*date),
        }
    }
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHours { day, hours } => {
                write!(f, "invalid hours {hours} on {day}: must end after they begin, and within a day")
            }
            Self::Overlap { first: (day, first), second: (other, second) } if day == other => {
                write!(f, "overlapping hours on {day}: {first} and {second}")
            }
            Self::Overlap { first: (day, first), second: (next, second) } => {
                write!(f, "overlapping hours: {first} of {day} reach into the next day and {second} of {next}")
            }
            Self::DayOutOfRange { date } => {
                write!(f, "listed day {date} out of range: expected a year from 1900 to 2199")
            }
        }
    }
}

impl std::error::Error for ScheduleError {}

impl Schedule {
    /// Hours may be in any order. They may touch but not overlap, also where a night meets the next day.
    ///
    /// Returns all contradictions; those of nights only if each day by itself is without any.
    pub fn new(mut week: [Vec<Hours>; 7], mut days: BTreeMap<Date, Vec<Hours>>) -> Result<Self, Vec<ScheduleError>> {
        let weekdays = Weekday::Monday.cycle_forward().map(CalendarDay::Weekday).zip(&mut week);
        let dates = days.iter_mut().map(|(date, hours)| (CalendarDay::Date(*date), hours));
        let errors: Vec<_> = weekdays.chain(dates).filter_map(|(day, hours)| sort_hours(day, hours).err()).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let schedule = Self { week, days };
        let errors: Vec<_> = schedule.nights().filter_map(|(day, next)| check_night(day, next).err()).collect();
        if errors.is_empty() { Ok(schedule) } else { Err(errors) }
    }

    /// The days with the days after them: those of the ordinary week, and the pairs of which one is listed.
    fn nights(&self) -> impl Iterator<Item = (DayHours<'_>, DayHours<'_>)> {
        let weekdays = Weekday::Monday.cycle_forward().take(7);
        let listed = self.days.keys().flat_map(|date| {
            // The day before has its own pair if it is listed.
            let before = date.yesterday().ok().filter(|before| !self.days.contains_key(before));
            [before.map(|before| (before, *date)), date.tomorrow().ok().map(|next| (*date, next))]
        });
        let listed = listed.flatten().map(|(day, next)| (self.listed(day), self.listed(next)));
        weekdays.map(|day| (self.regular(day), self.regular(day.next()))).chain(listed)
    }

    /// The hours that begin on a local day, in order.
    pub fn hours(&self, day: Date) -> &[Hours] {
        self.listed(day).1
    }

    /// The hours of an ordinary weekday, in order.
    pub fn regular_hours(&self, day: Weekday) -> &[Hours] {
        self.regular(day).1
    }

    fn listed(&self, day: Date) -> DayHours<'_> {
        match self.days.get(&day) {
            Some(hours) => (CalendarDay::Date(day), hours),
            None => self.regular(day.weekday()),
        }
    }

    fn regular(&self, day: Weekday) -> DayHours<'_> {
        (CalendarDay::Weekday(day), &self.week[day.to_monday_zero_offset() as usize])
    }
}

/// Sorts the hours of a day; rejects invalid and overlapping ones, and a day that cannot be listed.
fn sort_hours(day: CalendarDay, hours: &mut [Hours]) -> Result<(), ScheduleError> {
    if let CalendarDay::Date(date) = day
        && !(1900..=2199).contains(&date.year())
    {
        return Err(ScheduleError::DayOutOfRange { date });
    }
    if let Some(bad) = hours.iter().find(|hours| !hours.valid()) {
        return Err(ScheduleError::BadHours { day, hours: *bad });
    }
    hours.sort_unstable();
    match hours.windows(2).find(|pair| pair[1].start < pair[0].end) {
        Some(pair) => Err(ScheduleError::Overlap { first: (day, pair[0]), second: (day, pair[1]) }),
        None => Ok(()),
    }
}

/// Rejects a night that reaches into the hours of the next day.
fn check_night(day: DayHours<'_>, next: DayHours<'_>) -> Result<(), ScheduleError> {
    match (day.1.last(), next.1.first()) {
        (Some(last), Some(first)) if last.end > first.start + Hours::DAY => {
            Err(ScheduleError::Overlap { first: (day.0, *last), second: (next.0, *first) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_as_people_write_them() {
        for (text, start, end) in [
            ("09:00-18:00", 540, 1080),
            ("00:00 - 24:00", 0, 1440),
            ("9:00-18:00", 540, 1080),
            ("9.30–18.00", 570, 1080),
            ("09:00—18:00", 540, 1080),
            ("09:00\u{2212}18:00", 540, 1080),
            ("9-18", 540, 1080),
            ("9-18:30", 540, 1110),
            ("9am-6pm", 540, 1080),
            ("9 AM – 6:30 p.m.", 540, 1110),
            ("12am-12pm", 0, 720),
            // Past midnight.
            ("21:00-02:00", 1260, 1560),
            ("21:00-26:00", 1260, 1560),
            ("20:00-28:00", 1200, 1680),
            ("21-2", 1260, 1560),
            ("9pm-2am", 1260, 1560),
            ("18:00-00:00", 1080, 1440),
            ("6pm-12am", 1080, 1440),
            ("18:00-09:00", 1080, 1980),
            ("00:01-24:00", 1, 1440),
            ("00:02-24:01", 2, 1441),
        ] {
            assert_eq!(Hours::parse(text), Ok(Hours { start, end }), "{text}");
        }
    }

    #[test]
    fn other_spellings_are_rejected_with_a_hint() {
        for (text, hint) in [
            ("", ""),
            ("09:00", ""),
            ("09:60-18:00", ""),
            ("+9:00-18:00", ""),
            ("09:00-18:00-19:00", ""),
            ("9:0-18:00", ""),
            ("009:00-18:00", ""),
            ("0900-1800", ""),
            ("13pm-18pm", ""),
            ("0am-6pm", ""),
            ("9a-6p", ""),
            ("09:00-48:00", ""),
            ("26:00-02:00", ""),
            ("ночь", ""),
            ("09:00-09:00", "; it begins and ends at the same time; around the clock is 00:00-24:00"),
            ("24:00-24:00", "; it begins and ends at the same time; around the clock is 00:00-24:00"),
            ("09:00-33:00", "; it is a day or longer; around the clock is 00:00-24:00"),
            ("00:00-24:01", "; it is a day or longer; around the clock is 00:00-24:00"),
            ("9-6pm", "; write am or pm after both times, or use 24-hour times"),
            ("9am-18:00", "; write am or pm after both times, or use 24-hour times"),
            ("25:00-28:30", "; it begins on the next day: list it there as 01:00-04:30"),
            ("9-6", "; did you mean 09:00-18:00, or 09:00-06:00 at night?"),
        ] {
            assert_eq!(Hours::parse(text).expect_err(text).to_string(), hint, "{text}");
        }
    }

    #[test]
    fn every_interval_is_written_as_it_is_read() {
        for start in 0..Hours::DAY {
            for end in start + 1..=start + Hours::DAY {
                let hours = Hours { start, end };
                if hours.valid() {
                    assert_eq!(Hours::parse(&hours.to_string()), Ok(hours));
                }
            }
        }
    }

    fn hours(texts: &[&str]) -> Vec<Hours> {
        texts.iter().map(|text| Hours::parse(text).expect(text)).collect()
    }

    fn flaw(week: [&[&str]; 7], days: &[(&str, &[&str])]) -> Option<(String, String)> {
        let days = days.iter().map(|(day, texts)| (day.parse().expect(day), hours(texts))).collect();
        let errors = Schedule::new(week.map(hours), days).err()?;
        assert_eq!(errors.len(), 1, "{errors:?}");
        Some((errors[0].day().to_string(), errors[0].to_string()))
    }

    fn rejected(day: &str, text: &str) -> Option<(String, String)> {
        Some((day.into(), text.into()))
    }

    #[test]
    fn contradictory_schedules_are_rejected_with_the_day() {
        let monday = |hours: &'static [&'static str]| [hours, &[], &[], &[], &[], &[], &[]];
        assert_eq!(
            flaw(monday(&["14:00-18:00", "09:00-14:01"]), &[]),
            rejected("mon", "overlapping hours on mon: 09:00-14:01 and 14:00-18:00")
        );
        assert_eq!(
            flaw(monday(&[]), &[("2026-01-09", &["09:00-12:00", "09:00-12:00"])]),
            rejected("2026-01-09", "overlapping hours on 2026-01-09: 09:00-12:00 and 09:00-12:00")
        );
        assert_eq!(flaw(monday(&["09:00-12:00", "12:00-13:00"]), &[]), None);
        assert!(flaw(monday(&[]), &[("0206-01-01", &[])]).is_some());
        for hours in [(60, 60), (60, 1500 + 1), (1440, 1441), (0, 1441)] {
            let week = std::array::from_fn(|day| vec![Hours { start: hours.0, end: hours.1 }; usize::from(day == 6)]);
            let errors = Schedule::new(week, BTreeMap::new()).expect_err("invalid");
            assert!(errors[0].to_string().contains("on sun"), "{errors:?}");
        }
    }

    #[test]
    fn a_night_must_end_before_the_hours_of_the_next_day() {
        let night: &[&str] = &["21:00-02:00"];
        let monday_night = |tuesday: &'static [&'static str]| [night, tuesday, &[], &[], &[], &[], &[]];
        assert_eq!(flaw([night; 7], &[]), None);
        assert_eq!(flaw(monday_night(&["02:00-03:00"]), &[]), None);
        assert_eq!(
            flaw(monday_night(&["12:00-13:00", "01:59-03:00"]), &[]),
            rejected("tue", "overlapping hours: 21:00-02:00 of mon reach into the next day and 01:59-03:00 of tue")
        );
        // From Sunday to Monday.
        assert_eq!(
            flaw([&["01:00-03:00"], &[], &[], &[], &[], &[], night], &[]),
            rejected("mon", "overlapping hours: 21:00-02:00 of sun reach into the next day and 01:00-03:00 of mon")
        );
        // Monday 2 March 2026: a listed Tuesday, a listed Sunday, and both neighbours listed.
        assert_eq!(
            flaw(monday_night(&[]), &[("2026-03-03", &["01:00-05:00"])]),
            rejected(
                "2026-03-03",
                "overlapping hours: 21:00-02:00 of mon reach into the next day and 01:00-05:00 of 2026-03-03"
            )
        );
        let early = [&["01:00-05:00"][..], &[], &[], &[], &[], &[], &[]];
        assert_eq!(
            flaw(early, &[("2026-03-01", night)]),
            rejected(
                "2026-03-01",
                "overlapping hours: 21:00-02:00 of 2026-03-01 reach into the next day and 01:00-05:00 of mon"
            )
        );
        assert_eq!(flaw(early, &[("2026-03-01", night), ("2026-03-02", &[])]), None);
        assert!(flaw([&[]; 7], &[("2026-03-01", night), ("2026-03-02", &["01:00-05:00"])]).is_some());
        // A day off ends the night before it as usual.
        assert_eq!(flaw([night; 7], &[("2026-03-03", &[])]), None);
    }
}

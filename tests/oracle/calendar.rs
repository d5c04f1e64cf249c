//! Working time: calendars, the two clocks, durations and the format of instants.
//!
//! Instants are milliseconds since the Unix epoch; spans are milliseconds.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

const DAY_NAMES: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Intervals of minutes of a local day; 1440 is its end, later minutes are of the next day.
type Hours = Vec<(i16, i16)>;

#[derive(Debug)]
pub struct Calendar {
    zone: TimeZone,
    /// By weekday, Monday first.
    week: [Hours; 7],
    /// Listed days replace the regular week, independent of `years` (decision 27).
    days: BTreeMap<Date, Hours>,
    /// The working intervals of the dates asked for so far.
    known: RefCell<HashMap<Date, Rc<[Interval]>>>,
}

/// From one instant to another.
type Interval = (i64, i64);

impl Calendar {
    pub fn read(value: &Value) -> Calendar {
        let zone =
            TimeZone::get(value["timezone"].as_str().expect("a calendar has a timezone")).expect("a known timezone");
        let mut week: [Hours; 7] = Default::default();
        for (index, (name, _)) in DAY_NAMES.iter().enumerate() {
            week[index] = hours(&value["week"][*name]);
        }
        let mut days = BTreeMap::new();
        if let Some(listed) = value["days"].as_object() {
            for (date, intervals) in listed {
                days.insert(date.parse().expect("a date"), hours(intervals));
            }
        }
        Calendar { zone, week, days, known: RefCell::default() }
    }

    /// The working intervals of one local date, as instants, in order and disjoint.
    fn working(&self, date: Date) -> Rc<[Interval]> {
        Rc::clone(self.known.borrow_mut().entry(date).or_insert_with(|| self.working_of(date).into()))
    }

    fn working_of(&self, date: Date) -> Vec<Interval> {
        let weekday = DAY_NAMES.iter().position(|(_, day)| *day == date.weekday()).unwrap();
        let hours = self.days.get(&date).unwrap_or(&self.week[weekday]);
        let mut intervals: Vec<Interval> = hours
            .iter()
            .map(|&(from, to)| (self.instant(date, from), self.instant(date, to)))
            // A DST change may empty an interval.
            .filter(|(from, to)| from < to)
            .collect();
        intervals.sort_unstable();
        let mut disjoint: Vec<Interval> = Vec::new();
        for (from, to) in intervals {
            match disjoint.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => disjoint.push((from, to)),
            }
        }
        disjoint
    }

    /// Decision 27: a local time skipped by a DST change is read with the offset before it, an ambiguous one is the
    /// first; `24:00` is the start of the next day.
    fn instant(&self, date: Date, minute: i16) -> i64 {
        let (date, minute) = if minute >= 1440 { (date.tomorrow().unwrap(), minute - 1440) } else { (date, minute) };
        let local = date.at((minute / 60) as i8, (minute % 60) as i8, 0, 0);
        self.zone.to_ambiguous_timestamp(local).compatible().unwrap().as_millisecond()
    }

    /// The local date of an instant.
    pub fn date(&self, at: i64) -> Date {
        self.zone.to_datetime(Timestamp::from_millisecond(at).unwrap()).date()
    }

    /// The beginning of a local day.
    pub fn midnight(&self, date: Date) -> i64 {
        self.instant(date, 0)
    }

    /// Working time between two instants.
    pub fn between(&self, from: i64, to: i64) -> i64 {
        let mut sum = 0;
        // One day more at both ends: intervals may touch midnight, where DST changes are possible.
        let mut date = self.date(from).yesterday().unwrap();
        let last = self.date(to.max(from)).tomorrow().unwrap();
        while date <= last {
            for &(start, end) in self.working(date).iter() {
                sum += (end.min(to) - start.max(from)).max(0);
            }
            date = date.tomorrow().unwrap();
        }
        sum
    }

    /// The first instant at which `need` of working time has elapsed since `from`; `None` if there is none.
    pub fn after(&self, from: i64, need: i64) -> Option<i64> {
        if need <= 0 {
            return Some(from);
        }
        let never_again = self.week.iter().all(|hours| hours.is_empty());
        let mut passed = 0;
        let mut date = self.date(from).yesterday().unwrap();
        loop {
            for &(start, end) in self.working(date).iter() {
                let start = start.max(from);
                let worked = (end - start).max(0);
                if worked > 0 && passed + worked >= need {
                    return Some(start + need - passed);
                }
                passed += worked;
            }
            let past_all_listed = self.days.keys().next_back().is_none_or(|last| date > *last);
            if never_again && past_all_listed || date.year() > 2500 {
                return None;
            }
            date = date.checked_add(1.day()).unwrap();
        }
    }

    /// The latest instant from which `need` of working time is left until `to`; `None` if there is none.
    pub fn before(&self, to: i64, need: i64) -> Option<i64> {
        let mut left = need;
        let mut date = self.date(to).tomorrow().unwrap();
        let earliest = self.days.keys().next().copied().unwrap_or(date).min(date).checked_sub(60.days()).unwrap();
        while date >= earliest {
            for &(start, end) in self.working(date).iter().rev() {
                let end = end.min(to);
                if end > start && end - start >= left {
                    return Some(end - left);
                }
                left -= (end - start).max(0);
            }
            date = date.yesterday().unwrap();
        }
        None
    }

    /// The starts and ends of working intervals between two instants (for the stream generator).
    pub fn edges(&self, from: i64, to: i64) -> Vec<i64> {
        let mut edges = Vec::new();
        let mut date = self.date(from).yesterday().unwrap();
        while date <= self.date(to) {
            edges.extend(self.working(date).iter().flat_map(|(start, end)| [*start, *end]));
            date = date.tomorrow().unwrap();
        }
        edges.retain(|edge| (from..=to).contains(edge));
        edges
    }
}

fn hours(value: &Value) -> Hours {
    let Some(list) = value.as_array() else { return Vec::new() };
    list.iter()
        .map(|interval| {
            let (from, to) = interval.as_str().unwrap().split_once('-').expect("HH:MM-HH:MM");
            let (from, to) = (minute(from), minute(to));
            // An interval that passes midnight belongs to the day on which it began.
            (from, if to <= from { to + 1440 } else { to })
        })
        .collect()
}

fn minute(text: &str) -> i16 {
    let (hours, minutes) = text.trim().split_once(':').expect("HH:MM");
    hours.parse::<i16>().unwrap() * 60 + minutes.parse::<i16>().unwrap()
}

/// The time that a norm is measured in.
#[derive(Clone, Debug)]
pub enum Clock {
    Wall,
    Business(Rc<Calendar>),
}

impl Clock {
    /// Business time on the calendar of a scope; decision 27: without a calendar, wall time.
    pub fn business(calendar: Option<Rc<Calendar>>) -> Clock {
        calendar.map_or(Clock::Wall, Clock::Business)
    }

    pub fn between(&self, from: i64, to: i64) -> i64 {
        match self {
            Clock::Wall => to - from,
            Clock::Business(calendar) => calendar.between(from, to),
        }
    }

    pub fn after(&self, from: i64, span: i64) -> Option<i64> {
        match self {
            Clock::Wall => Some(from + span),
            Clock::Business(calendar) => calendar.after(from, span),
        }
    }

    /// The latest instant at which `span` of counted time is left until `to`.
    pub fn before(&self, to: i64, span: i64) -> Option<i64> {
        match self {
            Clock::Wall => Some(to - span),
            Clock::Business(calendar) => calendar.before(to, span),
        }
    }
}

/// `90s`, `15m`, `4h`, `7d`.
pub fn span(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    Some(text[..text.len() - 1].trim().parse::<i64>().ok()? * unit)
}

/// RFC 3339 in UTC with milliseconds.
pub fn written(at: i64) -> String {
    let moment = Timestamp::from_millisecond(at).unwrap();
    let local = TimeZone::UTC.to_datetime(moment);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second(),
        local.millisecond()
    )
}

/// An RFC 3339 instant, cut after the millisecond; second 60 is the last millisecond of its minute. An offset beyond
/// ±23:59 is none.
pub fn instant(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone);
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    let parts = |text: &'_ str, separator| text.split(separator).map(number).collect::<Option<Vec<i64>>>();
    let [year, month, day] = parts(date, '-')?[..] else { return None };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = parts(clock, ':')?[..] else { return None };
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let date = Date::new(year as i16, month as i8, day as i8).ok()?;
    let (second, milli) = if second == 60 { (59, 999) } else { (second, number(&format!("{fraction:0<3}")[..3])?) };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let [hours, minutes] = parts(&zone[1..], ':')?[..] else { return None };
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if zone.starts_with('-') { -1 } else { 1 }
        }
    };
    let midnight = i64::from(date.since(Date::constant(1970, 1, 1)).ok()?.get_days()) * 86_400_000;
    Some(midnight + ((hour * 60 + minute - offset) * 60 + second) * 1000 + milli)
}

/// Whether an instant lies in the years 1 to 9998 (UTC).
pub fn is_dated(at: i64) -> bool {
    let start_of = |year| TimeZone::UTC.to_timestamp(Date::constant(year, 1, 1).at(0, 0, 0, 0)).unwrap();
    (start_of(1).as_millisecond()..start_of(9999).as_millisecond()).contains(&at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> i64 {
        instant(text).unwrap()
    }

    fn moscow() -> Calendar {
        let day = json!(["09:00-18:00"]);
        Calendar::read(&json!({
            "timezone": "Europe/Moscow",
            "week": {"mon": day, "tue": day, "wed": day, "thu": day, "fri": day},
            "days": {"2026-01-01": [], "2026-04-30": ["09:00-17:00"], "2026-05-02": ["10:00-12:00", "13:00-14:00"]},
        }))
    }

    #[test]
    fn instants_are_truncated_to_the_millisecond_and_formatted() {
        assert_eq!(at("1970-01-01T00:00:00.0019Z"), 1);
        assert_eq!(at("1969-12-31T23:59:59.9991Z"), -1);
        assert_eq!(at("2026-01-01T03:00:00+03:00"), at("2026-01-01T00:00:00Z"));
        assert_eq!(written(at("2026-01-01T03:00:00.5+03:00")), "2026-01-01T00:00:00.500Z");
        assert_eq!(written(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(at("2026-01-01T00:00:60.5Z"), at("2026-01-01T00:00:59.999Z"));
        assert_eq!(at("2026-01-01T00:00:00.00199999999999999Z"), at("2026-01-01T00:00:00.001Z"));
        assert_eq!(instant("2026-01-01T00:00:00+24:00"), None);
        assert_eq!(instant("2026-02-29T00:00:00Z"), None);
        assert!(is_dated(at("0001-01-01T00:00:00Z")) && !is_dated(at("0001-01-01T00:00:00+00:01")));
        assert!(is_dated(at("9998-12-31T23:59:59.999Z")) && !is_dated(at("9998-12-31T23:59:59-00:01")));
    }

    #[test]
    fn a_night_event_starts_its_clock_at_the_next_working_minute() {
        let calendar = moscow();
        // Friday 22:00 in Moscow; Monday 09:15.
        assert_eq!(calendar.after(at("2026-03-06T19:00:00Z"), 900_000), Some(at("2026-03-09T06:15:00Z")));
        // A deadline may be exactly the end of the day rather than the next morning.
        assert_eq!(calendar.after(at("2026-03-06T14:45:00Z"), 900_000), Some(at("2026-03-06T15:00:00Z")));
        assert_eq!(calendar.after(at("2026-03-06T14:45:00Z"), 900_001), Some(at("2026-03-09T06:00:00.001Z")));
        // Starting at the end and at the start of an interval.
        assert_eq!(calendar.after(at("2026-03-06T15:00:00Z"), 1), Some(at("2026-03-09T06:00:00.001Z")));
        assert_eq!(calendar.after(at("2026-03-06T06:00:00Z"), 1), Some(at("2026-03-06T06:00:00.001Z")));
    }

    #[test]
    fn listed_days_replace_the_week() {
        let calendar = moscow();
        // 1 January 2026 is a Thursday: off.
        assert_eq!(calendar.after(at("2025-12-31T14:59:00Z"), 120_000), Some(at("2026-01-02T06:01:00Z")));
        // 30 April ends at 17:00; 1 May (Friday) is a regular day; 2 May is a working Saturday with a break.
        assert_eq!(calendar.between(at("2026-04-29T21:00:00Z"), at("2026-04-30T21:00:00Z")), 8 * 3_600_000);
        assert_eq!(calendar.between(at("2026-05-01T21:00:00Z"), at("2026-05-03T21:00:00Z")), 3 * 3_600_000);
        assert_eq!(calendar.after(at("2026-05-01T21:00:00Z"), 150 * 60_000), Some(at("2026-05-02T10:30:00Z")));
    }

    #[test]
    fn an_interval_past_midnight_belongs_to_the_day_on_which_it_began() {
        let night = json!(["21:00-02:00"]);
        let week = json!({"mon": night, "tue": night, "wed": night, "thu": night, "fri": night});
        let calendar = Calendar::read(&json!({"timezone": "Europe/Moscow", "week": week, "days": {"2026-03-09": []}}));
        // Saturday 01:50 in Moscow is still Friday's; 9 March, a Monday, is off; Tuesday begins at 21:00.
        assert_eq!(calendar.after(at("2026-03-06T22:50:00Z"), 1_800_000), Some(at("2026-03-10T18:20:00Z")));
        assert_eq!(calendar.between(at("2026-03-06T22:50:00Z"), at("2026-03-10T18:20:00Z")), 1_800_000);
        // Monday 00:30 belongs to Sunday.
        assert_eq!(calendar.after(at("2026-03-01T21:30:00Z"), 1), Some(at("2026-03-02T18:00:00.001Z")));
    }

    #[test]
    fn a_deadline_without_working_time_is_none() {
        let calendar = Calendar::read(&json!({"timezone": "UTC", "week": {}, "days": {"2026-02-01": ["00:00-00:10"]}}));
        assert_eq!(calendar.after(at("2026-01-01T00:00:00Z"), 600_000), Some(at("2026-02-01T00:10:00Z")));
        assert_eq!(calendar.after(at("2026-01-01T00:00:00Z"), 600_001), None);
        assert_eq!(calendar.between(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")), 600_000);
    }

    #[test]
    fn dst_changes() {
        let all_night = json!(["00:00-04:00"]);
        let berlin =
            Calendar::read(&json!({"timezone": "Europe/Berlin", "week": {"sat": all_night, "sun": all_night}}));
        // 29 March 2026, 02:00 → 03:00: three hours remain; 25 October, 03:00 → 02:00: five hours.
        assert_eq!(berlin.between(at("2026-03-28T12:00:00Z"), at("2026-03-29T12:00:00Z")), 3 * 3_600_000);
        assert_eq!(berlin.between(at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z")), 5 * 3_600_000);
        // Skipped: 02:30 is read with +01:00, which is 01:30Z = 03:30 local. Ambiguous: the first 02:30 = 00:30Z.
        let skipped = Calendar::read(&json!({"timezone": "Europe/Berlin", "week": {"sun": ["02:30-04:00"]}}));
        assert_eq!(
            skipped.edges(at("2026-03-28T23:00:00Z"), at("2026-03-29T12:00:00Z")),
            [at("2026-03-29T01:30:00Z"), at("2026-03-29T02:00:00Z")]
        );
        assert_eq!(
            skipped.edges(at("2026-10-24T23:00:00Z"), at("2026-10-25T12:00:00Z")),
            [at("2026-10-25T00:30:00Z"), at("2026-10-25T03:00:00Z")]
        );
        // An interval skipped by the change is empty, not negative.
        let swallowed = Calendar::read(&json!({"timezone": "Europe/Berlin", "week": {"sun": ["02:30-03:00"]}}));
        assert!(swallowed.edges(at("2026-03-28T23:00:00Z"), at("2026-03-29T12:00:00Z")).is_empty());
        // Midnight is skipped: São Paulo, 4 November 2018, 00:00 → 01:00. The evening ends at the change.
        let late = Calendar::read(
            &json!({"timezone": "America/Sao_Paulo", "week": {"sat": ["20:00-24:00"], "sun": ["00:00-02:00"]}}),
        );
        assert_eq!(late.between(at("2018-11-03T12:00:00Z"), at("2018-11-04T12:00:00Z")), 5 * 3_600_000);
        // 17 February 2018, 24:00 → 23:00: the evening is an hour longer.
        assert_eq!(late.between(at("2018-02-17T12:00:00Z"), at("2018-02-18T00:30:00-03:00")), (5 * 60 + 30) * 60_000);
        // Intervals to 24:00 continue on the next day.
        let nights = Calendar::read(
            &json!({"timezone": "Asia/Kolkata", "week": {"mon": ["20:00-24:00"], "tue": ["00:00-02:00"]}}),
        );
        assert_eq!(nights.after(at("2026-03-02T23:59:00+05:30"), 120_000), Some(at("2026-03-03T00:01:00+05:30")));
    }

    /// Compares with a minute-by-minute scan of local time, in zones with and without whole-hour changes.
    #[test]
    fn agrees_with_a_minute_by_minute_scan() {
        let zones = [
            ("Europe/Berlin", "2026-03-27T00:00:00Z"),
            ("Europe/Berlin", "2026-10-23T00:00:00Z"),
            ("America/New_York", "2026-03-06T00:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-03T00:00:00Z"),
            ("Asia/Kolkata", "2026-01-30T00:00:00Z"),
        ];
        for (zone, start) in zones {
            let days = json!(["03:30-09:00", "13:00-18:30", "22:00-24:00"]);
            let calendar = Calendar::read(
                &json!({"timezone": zone, "week": {"fri": days, "sat": ["00:00-24:00"], "sun": days, "mon": ["00:00-00:30"]}}),
            );
            let tz = TimeZone::get(zone).unwrap();
            let start = at(start);
            let works = |minute: i64| {
                let local = tz.to_datetime(Timestamp::from_millisecond(start + minute * 60_000).unwrap());
                let of_day = local.hour() as i16 * 60 + local.minute() as i16;
                let hours: &[(i16, i16)] = match local.weekday() {
                    Weekday::Friday | Weekday::Sunday => &[(210, 540), (780, 1110), (1320, 1440)],
                    Weekday::Saturday => &[(0, 1440)],
                    Weekday::Monday => &[(0, 30)],
                    _ => &[],
                };
                hours.iter().any(|&(from, to)| (from..to).contains(&of_day))
            };
            let total = 4 * 1440;
            for from in (0..total).step_by(97) {
                let mut worked = 0;
                let mut deadline = None;
                for minute in from..total {
                    worked += i64::from(works(minute));
                    if worked == 61 && deadline.is_none() {
                        deadline = Some(start + (minute + 1) * 60_000);
                    }
                }
                assert_eq!(
                    calendar.between(start + from * 60_000, start + total * 60_000),
                    worked * 60_000,
                    "{zone} {from}"
                );
                if let Some(deadline) = deadline {
                    assert_eq!(calendar.after(start + from * 60_000, 61 * 60_000), Some(deadline), "{zone} {from}");
                }
            }
        }
    }
}

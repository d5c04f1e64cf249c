//! Describes a calendar in words: its regular week and the exceptions of the years it lists. Days are counted by the
//! working time that begins on them, across clock changes.

use crate::domain::time::calendar::Calendar;
use crate::domain::time::hours::{Hours, WEEKDAYS};
use crate::domain::time::{Span, Timestamp};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::Offset;

/// The years that a calendar can list.
const YEARS: std::ops::RangeInclusive<i16> = 1900..=2199;

/// The description of a calendar, in lines.
pub(super) fn description(calendar: &Calendar) -> Vec<String> {
    let week: Vec<&[Hours]> =
        Weekday::Monday.cycle_forward().take(7).map(|day| calendar.schedule().regular_hours(day)).collect();
    let years: Vec<i16> = YEARS.filter(|year| lists(calendar, *year)).collect();
    let listed = if years.len() == YEARS.count() { &[][..] } else { &years[..] };
    let recent = listed.last().copied().unwrap_or(2026);
    let offsets = [1, 7].map(|month| Date::new(recent, month, 15).map(|day| offset(calendar, day)).unwrap_or_default());
    let zone = match offsets {
        [winter, summer] if winter == summer => winter,
        [january, july] => format!("{january} in January, {july} in July"),
    };
    let mut lines = vec![format!("{} ({zone})", regular_week(&week))];
    lines.extend(listed.iter().map(|year| format!("{year}: {}", exceptions(calendar, *year, &week))));
    if listed.is_empty() {
        lines.push("no years listed: holidays count as regular days".into());
    }
    lines
}

/// The regular week, with days of equal hours grouped: `mon to fri 09:00-18:00, sat 10:00-14:00`.
fn regular_week(week: &[&[Hours]]) -> String {
    let mut parts = Vec::new();
    let mut first = 0;
    for day in 0..week.len() {
        if week.get(day + 1) == week.get(day) {
            continue;
        }
        if !week[day].is_empty() {
            let days =
                if first == day { WEEKDAYS[day].into() } else { format!("{} to {}", WEEKDAYS[first], WEEKDAYS[day]) };
            let hours: Vec<_> = week[day].iter().map(ToString::to_string).collect();
            parts.push(format!("{days} {}", hours.join(" and ")));
        }
        first = day + 1;
    }
    if parts.is_empty() { "no working hours".into() } else { parts.join(", ") }
}

/// The number of working days in a year and the days that differ from the regular week.
fn exceptions(calendar: &Calendar, year: i16, week: &[&[Hours]]) -> String {
    let minutes = |hours: &[Hours]| {
        Span(hours.iter().map(|hours| i64::from(hours.end - hours.start)).sum::<i64>() * Span::MINUTE.0)
    };
    let Ok(first) = Date::new(year, 1, 1) else { return String::new() };
    let (mut worked, mut run) = (0, None);
    let [mut off, mut shorter, mut longer, mut extra]: [Vec<String>; 4] = Default::default();
    for day in first.series(jiff::Span::new().days(1)).take_while(|day| day.year() == year) {
        let usual = minutes(week[day.weekday().to_monday_zero_offset() as usize]);
        let found = Span(calendar.shifts(day).map(|(start, end)| end.0 - start.0).sum());
        worked += i32::from(found > Span::ZERO);
        if found == Span::ZERO {
            if usual > Span::ZERO {
                run = Some((run.map_or(day, |(first, _)| first), day));
            }
            continue;
        }
        off.extend(run.take().map(range));
        match usual {
            Span::ZERO => extra.push(short(day)),
            usual if found < usual => shorter.push(short(day)),
            usual if found > usual => longer.push(short(day)),
            _ => {}
        }
    }
    off.extend(run.map(range));
    let lists = [("off", off), ("shorter", shorter), ("longer", longer), ("also working", extra)];
    let lists =
        lists.iter().filter(|(_, days)| !days.is_empty()).map(|(what, days)| format!("; {what} {}", days.join(", ")));
    format!("{worked} working days{}", lists.collect::<String>())
}

fn range((first, last): (Date, Date)) -> String {
    if first == last { short(first) } else { format!("{} to {}", short(first), short(last)) }
}

fn short(day: Date) -> String {
    format!("{:02}-{:02}", day.month(), day.day())
}

fn lists(calendar: &Calendar, year: i16) -> bool {
    Date::new(year, 7, 1).is_ok_and(|day| calendar.lists(bounds(calendar, day).0))
}

/// The beginning and end of a local day.
fn bounds(calendar: &Calendar, day: Date) -> (Timestamp, Timestamp) {
    (calendar.day_end(day.saturating_sub(jiff::Span::new().days(1))), calendar.day_end(day))
}

/// The UTC offset of local time at the beginning of a day.
fn offset(calendar: &Calendar, day: Date) -> String {
    let Ok(midnight) = Offset::UTC.to_timestamp(day.to_datetime(Time::midnight())) else { return String::new() };
    let minutes = (midnight.as_millisecond() - bounds(calendar, day).0.0) / Span::MINUTE.0;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("UTC{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::super::norms::{load_norms, parse_norms};
    use super::*;
    use std::path::Path;

    #[test]
    fn the_calendar_of_russia_is_described() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/calendar-russia.yaml");
        let norms = load_norms(&example).unwrap_or_else(|problems| panic!("{problems}")).norms;
        assert_eq!(
            description(&norms.calendars["russia"]),
            [
                "mon to fri 09:00-18:00 (UTC+03:00)",
                "2025: 247 working days; off 01-01 to 01-08, 05-01 to 05-02, 05-08 to 05-09, 06-12 to 06-13, 11-03 to \
                 11-04, 12-31; shorter 03-07, 04-30, 06-11; also working 11-01",
                "2026: 247 working days; off 01-01 to 01-09, 02-23, 03-09, 05-01, 05-11, 06-12, 11-04, 12-31; shorter \
                 04-30, 05-08, 06-11, 11-03",
                "2027: 247 working days; off 01-01 to 01-08, 02-22 to 02-23, 03-08, 05-03, 05-10, 06-14, 11-04 to \
                 11-05, 12-31; shorter 04-30, 06-11, 11-03; also working 02-20",
            ]
        );
    }

    #[test]
    fn any_calendar_is_described() {
        let text = "\
calendars:
  a:
    timezone: Europe/Berlin
    week:
      mon: ['13:00-18:00', '09:00-12:00']
      tue: ['13:00-18:00', '09:00-12:00']
      sun: ['00:00-24:00']
    days: {2026-06-01: ['08:00-20:00']}
    years: [2026]
  b: {timezone: America/New_York, week: {}}
  night:
    timezone: Europe/Moscow
    week: {mon: ['21:00-26:00'], tue: ['21:00-02:00'], wed: ['21:00-02:00']}
    days: {2026-06-02: [], 2026-06-03: ['21:00-24:00'], 2026-06-06: ['22:00-04:00']}
    years: [2026]
";
        let norms = parse_norms("norms.yaml", text).unwrap_or_else(|problems| panic!("{problems}")).norms;
        assert_eq!(
            description(&norms.calendars["a"]),
            [
                "mon to tue 09:00-12:00 and 13:00-18:00, sun 00:00-24:00 (UTC+01:00 in January, UTC+02:00 in July)",
                "2026: 156 working days; shorter 03-29; longer 06-01, 10-25",
            ]
        );
        assert_eq!(
            description(&norms.calendars["night"]),
            [
                "mon to wed 21:00-02:00 (UTC+03:00)",
                "2026: 156 working days; off 06-02; shorter 06-03; also working 06-06",
            ]
        );
        assert_eq!(
            description(&norms.calendars["b"]),
            [
                "no working hours (UTC-05:00 in January, UTC-04:00 in July)",
                "no years listed: holidays count as regular days",
            ]
        );
    }
}

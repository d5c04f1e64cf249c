//! Owns event time: instants and spans in whole milliseconds. Never reads the system clock.

pub mod calendar;
pub mod window;

use compact_str::{CompactString, format_compact};
use std::fmt;
use std::ops::{Add, Sub};

/// An instant in milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A duration in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

/// A duration as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// The duration.
    pub span: Span,
    /// Written in days, which only the wall clock counts.
    pub in_days: bool,
}

impl Timestamp {
    /// Before every event.
    pub const MIN: Self = Self(i64::MIN);
    /// After every event.
    pub const MAX: Self = Self(i64::MAX);
    /// The valid event times: years 0001 to 9998, so that arithmetic cannot overflow and every time zone can represent
    /// them.
    pub const VALID: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_370_764_799_999;

    /// Parses an RFC 3339 date and time; digits beyond milliseconds are truncated.
    ///
    /// Returns `None` for anything else, and for instants outside [`Timestamp::VALID`].
    pub fn parse(text: &str) -> Option<Self> {
        parse_utc(text.as_bytes()).or_else(|| {
            let instant: jiff::Timestamp = text.parse().ok()?;
            Self::checked(instant.as_nanosecond().div_euclid(1_000_000).try_into().ok()?)
        })
    }

    /// The instant, if it lies in [`Timestamp::VALID`].
    pub fn checked(millis: i64) -> Option<Self> {
        Self::VALID.contains(&millis).then_some(Self(millis))
    }

    /// The index of the pane of length `slide` that contains this instant; panes are aligned to the Unix epoch.
    pub fn pane(self, slide: Span) -> i64 {
        self.0.div_euclid(slide.0)
    }

    /// This instant plus `span`, saturating.
    pub fn saturating_add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// This instant minus `span`, saturating.
    pub fn saturating_sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// An optional instant in the size of a [`Timestamp`]; no event happens at [`Timestamp::MIN`], which means unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maybe(Timestamp);

impl Maybe {
    /// Not known.
    pub const UNKNOWN: Self = Self(Timestamp::MIN);

    /// The instant, if it is known.
    pub fn get(self) -> Option<Timestamp> {
        (self != Self::UNKNOWN).then_some(self.0)
    }
}

impl Default for Maybe {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl From<Timestamp> for Maybe {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// Fast path for the common form `2026-01-31T09:00:00[.123]Z`, because every event carries one.
fn parse_utc(text: &[u8]) -> Option<Timestamp> {
    fn number(digits: &[u8]) -> Option<i64> {
        digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    }
    let (head, tail) = text.split_at_checked(19)?;
    let separators = [head[4], head[7], head[10], head[13], head[16]];
    if separators != *b"--T::" {
        return None;
    }
    let millis = match tail {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if digits.len() == 3 => number(digits)?,
        _ => return None,
    };
    let (year, month, day) = (number(&head[..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > days_in_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970-01-01 in the proleptic Gregorian calendar, with years that begin in March.
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * march_year + march_year / 4 - march_year / 100 + march_year / 400 + (153 * march_month + 2) / 5 + day
            - 719_469;
    Some(Timestamp(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + millis))
}

impl Span {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One second.
    pub const SECOND: Self = Self(1000);
    /// One minute.
    pub const MINUTE: Self = Self(60_000);
    /// One hour.
    pub const HOUR: Self = Self(3_600_000);
    /// Twenty-four hours.
    pub const DAY: Self = Self(86_400_000);

    /// The span in seconds, as published in outputs.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Formats like [`Display`](fmt::Display), but never in days: `24h`.
    pub fn in_hours(self) -> CompactString {
        if self.0 % Self::HOUR.0 == 0 { format_compact!("{}h", self.0 / Self::HOUR.0) } else { self.to_string().into() }
    }

    /// `seconds` rounded to whole milliseconds.
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1000.0).round() as i64)
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0 + span.0)
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Self) -> Span {
        Span(self.0 - earlier.0)
    }
}

/// RFC 3339 in UTC with milliseconds, the format of all outputs.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The largest unit that represents the span exactly: `90s`, `15m`, `4h`, `7d`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(Self::DAY, "d"), (Self::HOUR, "h"), (Self::MINUTE, "m"), (Self::SECOND, "s")] {
            if self.0 % unit.0 == 0 && self.0 != 0 {
                return write!(f, "{}{name}", self.0 / unit.0);
            }
        }
        write!(f, "{}s", self.seconds())
    }
}

/// In the largest unit that represents it exactly, in days only if it is written so: `90s`, `24h`, `7d`.
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_days { self.span.fmt(f) } else { f.write_str(&self.span.in_hours()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parsers_agree_on_every_day_of_centuries() {
        let mut at = Timestamp::parse("1899-12-31T23:59:59.999Z").expect("valid");
        while at.0 < 4_200_000_000_000 {
            let text = at.to_string();
            assert_eq!(parse_utc(text.as_bytes()), Some(at), "{text}");
            at = at + Span(Span::DAY.0 - 1);
        }
    }

    #[test]
    fn lengths_keep_their_unit() {
        let day = |in_days| Length { span: Span::DAY, in_days }.to_string();
        assert_eq!((day(true), day(false)), ("1d".into(), "24h".into()));
    }

    #[test]
    fn offsets_and_fractions_are_parsed_and_invalid_text_is_rejected() {
        let at = Timestamp::parse("2026-03-01T12:00:00Z");
        for same in ["2026-03-01T12:00:00.0Z", "2026-03-01T15:00:00+03:00", "2026-03-01T12:00:00.000999Z"] {
            assert_eq!(Timestamp::parse(same), at, "{same}");
        }
        for bad in ["", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "x"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn panes_are_aligned_even_before_the_epoch() {
        assert_eq!(Timestamp(60_000).pane(Span::MINUTE), 1);
        assert_eq!(Timestamp(59_999).pane(Span::MINUTE), 0);
        assert_eq!(Timestamp(-1).pane(Span::MINUTE), -1);
    }

    #[test]
    fn spans_are_formatted_in_their_largest_whole_unit() {
        for (span, text) in
            [(Span(90_000), "90s"), (Span::HOUR, "1h"), (Span(7 * 86_400_000), "7d"), (Span(1500), "1.5s")]
        {
            assert_eq!(span.to_string(), text);
        }
    }
}

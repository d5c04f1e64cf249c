//! Owns event time: instants and spans in whole milliseconds. Never reads the system clock.

pub mod calendar;
pub mod hours;
mod text;
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

    /// Parses an RFC 3339 date and time.
    ///
    /// Returns `None` for anything else, and for instants outside [`Timestamp::VALID`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_any(text).and_then(|at| Self::checked(at.0))
    }

    /// Parses an RFC 3339 date and time of any year. Digits beyond milliseconds are truncated; second 60 is the last
    /// millisecond of its minute, because a leap second has no instant of its own.
    ///
    /// Other spellings of ISO 8601 that sources use are accepted, too: see [`text`].
    pub fn parse_any(text: &str) -> Option<Self> {
        text::parse_utc(text.as_bytes()).or_else(|| text::parse(text.as_bytes())).map(Self)
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
    fn lengths_keep_their_unit() {
        let day = |in_days| Length { span: Span::DAY, in_days }.to_string();
        assert_eq!((day(true), day(false)), ("1d".into(), "24h".into()));
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

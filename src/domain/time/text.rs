//! Owns the text form of instants: RFC 3339, and the spellings of ISO 8601 that sources write instead. Instants are
//! milliseconds since the Unix epoch.
//!
//! ```text
//! 2026-03-02T12:00:00.250Z    2026-03-02T15:00:00+03:00    2026-03-02 12:00:00z
//! 20260302T150000,25+0300     2026-03-02T15:00+03          2026-03-02T15:00:00+03:00[Europe/Moscow]
//! +002026-03-02T12:00:00Z
//! ```

const DAY: i64 = 86_400_000;

/// The highest offset from UTC: 23:59.
const MAX_OFFSET: i64 = DAY - 60_000;

/// Periods of 400 years, which all have the same number of days, between year 0 and the lowest year with six digits.
const EPOCHS: i64 = 2500;

/// Fast path for the common form `2026-01-31T09:00:00[.123]Z`, because every event carries one.
pub(super) fn parse_utc(text: &[u8]) -> Option<i64> {
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
    let date = [number(&head[..4])?, number(&head[5..7])?, number(&head[8..10])?];
    let clock = [number(&head[11..13])?, number(&head[14..16])?, number(&head[17..])?];
    Some(midnight(date)? + time_of_day(clock, millis)?)
}

/// Parses any of the spellings.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let mut text = Cursor(text);
    let date = text.date()?;
    text.take_one_of(b"Tt ")?;
    let (clock, millis) = text.clock()?;
    let offset = match text.take_one_of(b"Zz+-")? {
        b'+' => text.offset()?,
        b'-' => -text.offset()?,
        _ => 0,
    };
    // The name of a time zone adds nothing to an offset.
    let ends = matches!(text.0, [] | [b'[', .., b']']);
    ends.then_some(midnight(date)? + time_of_day(clock, millis)? - offset)
}

/// A position in a text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// Year, month and day, all with dashes or all without; a year with a sign has six digits.
    fn date(&mut self) -> Option<[i64; 3]> {
        let year = match self.take_one_of(b"+-") {
            None => self.digits(4)?,
            Some(b'-') => -self.digits(6)?,
            Some(_) => self.digits(6)?,
        };
        let dashes = self.take(b'-');
        let month = self.digits(2)?;
        (self.take(b'-') == dashes).then_some([year, month, self.digits(2)?])
    }

    /// Hour, minute, second and milliseconds; minute and second may be missing from the right, all with colons or all
    /// without.
    fn clock(&mut self) -> Option<([i64; 3], i64)> {
        let mut clock = [self.digits(2)?, 0, 0];
        let colons = self.0.first() == Some(&b':');
        for part in &mut clock[1..] {
            if colons && !self.take(b':') || !colons && !self.0.first().is_some_and(u8::is_ascii_digit) {
                return Some((clock, 0));
            }
            *part = self.digits(2)?;
        }
        Some((clock, self.millis()?))
    }

    /// The fraction of a second, cut after the millisecond; 0 if there is none.
    fn millis(&mut self) -> Option<i64> {
        if self.take_one_of(b".,").is_none() {
            return Some(0);
        }
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        let padded = digits.iter().chain(b"00").take(3);
        (length > 0).then(|| padded.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// An offset from UTC without its sign, in milliseconds.
    fn offset(&mut self) -> Option<i64> {
        let ([hour, minute, second], millis) = self.clock()?;
        let offset = time_of_day([hour, minute, second], millis)?;
        (second < 60 && offset <= MAX_OFFSET).then_some(offset)
    }

    /// The number in the next `count` digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        number(digits)
    }

    fn take(&mut self, byte: u8) -> bool {
        self.take_one_of(&[byte]).is_some()
    }

    fn take_one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first().filter(|(first, _)| bytes.contains(first))?;
        self.0 = rest;
        Some(*first)
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

/// The first instant of a day.
fn midnight([year, month, day]: [i64; 3]) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > days_in_month {
        return None;
    }
    // Days in the proleptic Gregorian calendar, with years that begin in March. They are counted from before the lowest
    // year, so that all are positive and divisions round down.
    let year = if month > 2 { year } else { year - 1 } + 400 * EPOCHS;
    let march_month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * march_month + 2) / 5 + day;
    Some((days - 719_469 - 146_097 * EPOCHS) * DAY)
}

/// The time since midnight, in milliseconds.
fn time_of_day([hour, minute, second]: [i64; 3], millis: i64) -> Option<i64> {
    let last = second == 60;
    let (second, millis) = if last { (59, 999) } else { (second, millis) };
    let is_valid = hour < 24 && minute < 60 && second < 60;
    is_valid.then_some(((hour * 60 + minute) * 60 + second) * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::{Span, Timestamp};

    fn instant(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn both_parsers_agree_on_every_day_of_centuries() {
        let mut at = instant("1899-12-31T23:59:59.999Z");
        while at.0 < 4_200_000_000_000 {
            let text = at.to_string();
            assert_eq!(parse_utc(text.as_bytes()), Some(at.0), "{text}");
            assert_eq!(parse(text.as_bytes()), Some(at.0), "{text}");
            at = at + Span(Span::DAY.0 - 1);
        }
    }

    #[test]
    fn every_spelling_of_an_instant_is_read() {
        let at = instant("2026-03-01T12:00:00Z");
        for same in [
            "2026-03-01T12:00:00.0Z",
            "2026-03-01T15:00:00+03:00",
            "2026-03-01T12:00:00.000999Z",
            "2026-03-01T12:00:00.00000000000000000000999Z",
            "2026-03-01t12:00:00z",
            "2026-03-01 12:00:00-00:00",
            "20260301T120000,0Z",
            "2026-03-01T15:00+03",
            "2026-03-01T12Z",
            "20260301T173000+0530",
            "+002026-03-01T12:00:00Z",
            "2026-03-01T15:00:00+03:00[Europe/Moscow]",
            "2026-03-02T11:59:00+23:59",
            "2026-02-28T12:01:00-23:59:00",
        ] {
            assert_eq!(Timestamp::parse(same), Some(at), "{same}");
        }
        let fraction = instant("2026-03-01T12:00:00.120Z");
        for same in ["2026-03-01T12:00:00.12Z", "2026-03-01T12:00:00.1209999999999Z", "20260301T150000,12+03"] {
            assert_eq!(Timestamp::parse(same), Some(fraction), "{same}");
        }
    }

    #[test]
    fn a_leap_second_is_the_last_millisecond_of_its_minute() {
        let last = instant("2016-12-31T23:59:59.999Z");
        for text in ["23:59:60Z", "23:59:60.5Z", "23:59:60.000Z", "23:59:60,99999999999Z", "22:59:60-01:00"] {
            assert_eq!(Timestamp::parse(&format!("2016-12-31T{text}")), Some(last), "{text}");
        }
        assert_eq!(Timestamp::parse("20161231T235960Z"), Some(last));
        assert_eq!(instant("2026-03-01T12:00:60Z"), instant("2026-03-01T12:00:59.999Z"));
    }

    #[test]
    fn invalid_text_is_rejected() {
        for bad in [
            "",
            "x",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00[Europe/Moscow]",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1.2Z",
            "2026-01-01T0000:00Z",
            "2026-01-01T00:0000Z",
            "2026-0101T00:00:00Z",
            "2026-01-01T00:00:00ZZ",
            "2026-01-01T00:00:00+3:00",
            "2026-01-01T00:00:00+",
            " 2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z ",
            "12026-01-01T00:00:00Z",
            "2026-01-01T00:00:0\u{661}Z",
        ] {
            assert_eq!(Timestamp::parse_any(bad), None, "{bad}");
        }
    }

    #[test]
    fn offsets_beyond_a_day_are_rejected_in_every_spelling() {
        for offset in
            ["24:00", "24", "2400", "23:60", "24:00:00", "23:59:01", "235901", "23:59:00.001", "25:59", "99:99"]
        {
            for sign in ['+', '-'] {
                for time in ["2026-01-01T00:00:00", "20260101T000000", "2026-01-01T00:00:00.250", "2026-01-01 00:00"] {
                    let text = format!("{time}{sign}{offset}");
                    assert_eq!(Timestamp::parse_any(&text), None, "{text}");
                }
            }
        }
    }

    #[test]
    fn the_utc_instant_decides_whether_a_year_is_valid() {
        for (text, valid) in [
            ("0001-01-01T00:00:00Z", true),
            ("0000-12-31T23:30:00-00:30", true),
            ("0001-01-01T00:00:00+00:01", false),
            ("0000-12-31T23:59:59.999Z", false),
            ("-000001-12-31T23:59:59Z", false),
            ("9998-12-31T23:59:60.5Z", true),
            ("9999-01-01T00:00:00+00:01", true),
            ("9998-12-31T23:59:59-00:01", false),
            ("9999-01-01T00:00:00Z", false),
            ("9999-12-31T23:59:59.999999999Z", false),
            ("+012026-01-01T00:00:00Z", false),
        ] {
            let at = Timestamp::parse_any(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(Timestamp::checked(at.0).is_some(), valid, "{text}");
        }
        assert_eq!(Timestamp::parse_any("0001-01-01T00:00:00Z"), Some(Timestamp(*Timestamp::VALID.start())));
        assert_eq!(Timestamp::parse_any("9998-12-31T23:59:59.999Z"), Some(Timestamp(*Timestamp::VALID.end())));
    }
}

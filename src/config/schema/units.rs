//! Durations and sizes in document syntax: `100ms`, `90s`, `15m`, `4h`, `7d`; `100B`, `256KiB`, `1MiB`.

use crate::domain::time::{Length, Span};

/// The longest duration that a norm can have: ten years.
const MAX_LENGTH: Span = Span(3653 * Span::DAY.0);

/// Parses the duration of a norm: positive, and not in milliseconds.
pub(super) fn norm_length(text: &str) -> Option<Length> {
    let fits = |length: &Length| Span::ZERO < length.span && length.span <= MAX_LENGTH && !text.ends_with("ms");
    length(text).filter(fits)
}

/// Parses a duration.
pub(super) fn length(text: &str) -> Option<Length> {
    let (number, unit) = number_and_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => Span::SECOND.0,
        "m" => Span::MINUTE.0,
        "h" => Span::HOUR.0,
        "d" => Span::DAY.0,
        _ => return None,
    };
    Some(Length { span: Span(number.checked_mul(millis)?), in_days: unit == "d" })
}

/// Parses a size in bytes.
pub(super) fn size(text: &str) -> Option<i64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn number_and_unit(text: &str) -> Option<(i64, &str)> {
    let (digits, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    Some((digits.parse().ok()?, unit))
}

/// Formats a span in its largest whole unit, down to milliseconds.
pub(crate) fn format_span(span: Span) -> String {
    if span.0 % Span::SECOND.0 == 0 { span.to_string() } else { format!("{}ms", span.0) }
}

/// Formats a duration as it was written, in its largest whole unit.
pub(super) fn format_length(length: Length) -> String {
    if length.span.0 % Span::SECOND.0 == 0 { length.to_string() } else { format_span(length.span) }
}

/// Formats a size in its largest whole unit.
pub(super) fn format_bytes(size: i64) -> String {
    match size {
        0 => "0B".into(),
        size if size % (1 << 20) == 0 => format!("{}MiB", size >> 20),
        size if size % (1 << 10) == 0 => format!("{}KiB", size >> 10),
        size => format!("{size}B"),
    }
}

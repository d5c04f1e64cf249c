//! Owns the words of the page in its languages, and how numbers, times and durations are written.

use crate::domain::figures::statistics::Ratio;
use crate::domain::norms::targets::{Per, TargetFigure};
use crate::domain::rule::message::{self, Language};
use crate::domain::time::calendar::{Calendar, local};
use crate::domain::time::{Span, Timestamp};

/// A text in English and Russian.
pub(super) type Text = [&'static str; 2];

/// What an absent figure is written as.
pub(super) const NONE: &str = "–";
/// From this length on, durations are written without seconds.
const LONG: Span = Span(10 * Span::MINUTE.0);

/// The text in a language.
pub(super) fn say(language: Language, text: Text) -> &'static str {
    text[language as usize]
}

/// A number with the form of its noun: `[one, more]` in English, `[one, few, many]` in Russian
/// (<https://www.unicode.org/cldr/charts/48/supplemental/language_plural_rules.html>).
pub(super) fn counted(language: Language, n: i64, en: [&str; 2], ru: [&str; 3]) -> String {
    let noun = match language {
        Language::En => en[usize::from(n != 1)],
        Language::Ru => match (n % 100, n % 10) {
            (11..=14, _) => ru[2],
            (_, 1) => ru[0],
            (_, 2..=4) => ru[1],
            _ => ru[2],
        },
    };
    format!("{n} {noun}")
}

/// A duration in its two largest units, without seconds if it is long.
pub(super) fn duration(language: Language, span: Span) -> String {
    message::format_duration(rounded(span).seconds(), language)
}

/// A duration without the seconds that nobody needs.
pub(super) fn rounded(span: Span) -> Span {
    if span < LONG { span } else { Span(span.0 - span.0 % Span::MINUTE.0) }
}

/// A sentence with a capital letter.
pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A lag in seconds; a dash without a sample.
pub(super) fn lag(language: Language, n: i64, seconds: f64) -> String {
    if n == 0 { NONE.into() } else { duration(language, Span::from_seconds(seconds)) }
}

/// A share as a percentage; a dash without a sample.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.into(), |share| format!("{:.0} %", share * 100.0))
}

/// The confidence interval of a share; empty without a sample.
pub(super) fn interval(ratio: Ratio) -> String {
    let bounds = ratio.bounds();
    bounds.map_or_else(String::new, |(lower, upper)| format!("{:.0}–{:.0} %", lower * 100.0, upper * 100.0))
}

/// A number with groups of three digits.
pub(super) fn number(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let groups: Vec<&str> = {
        let (first, rest) = digits.split_at(digits.len() % 3);
        let rest = (0..rest.len()).step_by(3).map(|at| &rest[at..at + 3]);
        (!first.is_empty()).then_some(first).into_iter().chain(rest).collect()
    };
    format!("{}{}", if n < 0 { "−" } else { "" }, groups.join("\u{202f}"))
}

/// The value of a target: amounts are in minor units.
pub(super) fn target_value(figure: TargetFigure, currency: Option<&str>, value: f64) -> String {
    match (figure, currency) {
        (TargetFigure::AmountWon, Some(currency)) => format!("{} {currency}", number((value / 100.0).round() as i64)),
        _ => number(value.round() as i64),
    }
}

/// A time of day in the zone of a calendar, with the date if it is another day than `today`.
pub(super) fn time(calendar: Option<&Calendar>, at: Timestamp, today: Timestamp) -> String {
    let (at, today) = (local(calendar, at), local(calendar, today));
    let clock = format!("{:02}:{:02}", at.hour(), at.minute());
    if at.date() == today.date() { clock } else { format!("{:02}.{:02} {clock}", at.day(), at.month()) }
}

/// What a target counts.
pub(super) fn figure(figure: TargetFigure) -> Text {
    match figure {
        TargetFigure::LeadsConverted => ["Leads converted", "Лиды в сделки"],
        TargetFigure::DealsWon => ["Deals won", "Выигранные сделки"],
        TargetFigure::AmountWon => ["Amount won", "Сумма выигранных сделок"],
        TargetFigure::CallsOutbound => ["Outbound calls", "Исходящие звонки"],
        TargetFigure::Conversations => ["Conversations", "Разговоры"],
        TargetFigure::MessagesSent => ["Messages sent", "Отправленные сообщения"],
        TargetFigure::Meetings => ["Meetings", "Встречи"],
        TargetFigure::Touches => ["Touches", "Касания"],
        TargetFigure::TermsOffered => ["Offers", "Предложения условий"],
        TargetFigure::PlansDone => ["Planned steps done", "Выполненные шаги"],
    }
}

/// The length of a period, after what is counted.
pub(super) fn per(per: Per) -> Text {
    match per {
        Per::Day => ["today", "за день"],
        Per::Week => ["this week", "за неделю"],
        Per::Month => ["this month", "за месяц"],
        Per::Quarter => ["this quarter", "за квартал"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_follow_their_numbers() {
        let people = |n| {
            [Language::En, Language::Ru]
                .map(|l| counted(l, n, ["person", "people"], ["человек", "человека", "человек"]))
        };
        assert_eq!(people(1), ["1 person", "1 человек"]);
        assert_eq!(people(3), ["3 people", "3 человека"]);
        assert_eq!(people(12), ["12 people", "12 человек"]);
        assert_eq!(people(22), ["22 people", "22 человека"]);
        assert_eq!(people(111), ["111 people", "111 человек"]);
    }

    #[test]
    fn numbers_have_groups_of_three_digits() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1\u{202f}000"), (-1_234_567, "−1\u{202f}234\u{202f}567")] {
            assert_eq!(number(n), text);
        }
        assert_eq!(target_value(TargetFigure::AmountWon, Some("RUB"), 444_200_050.0), "4\u{202f}442\u{202f}001 RUB");
        assert_eq!(target_value(TargetFigure::DealsWon, None, 12.4), "12");
    }

    #[test]
    fn shares_without_a_sample_are_dashes() {
        assert_eq!((percent(None), interval(Ratio::default())), (NONE.into(), String::new()));
        let ratio = Ratio { n: 26, k: 8 };
        assert_eq!((percent(ratio.ratio()), interval(ratio)), ("31 %".into(), "17–50 %".into()));
    }
}

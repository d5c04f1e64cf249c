//! Owns the messages of alerts: one sentence for a person, in English and Russian, from the wording of the rule.

use crate::domain::alert::{Alert, Resolution, Status, Value};
use crate::domain::named::named_enum;
use crate::domain::rule::evidence::{self, Unit};
use crate::domain::rule::{Rule, catalog};

/// The message template of resolutions that all rules have in common; `None` for the others.
pub fn common_wording(resolution: Resolution) -> Option<[&'static str; 2]> {
    Some(match resolution {
        Resolution::Closed => ["{subject} was closed in the meantime", "{subject}: карточка тем временем закрыта"],
        Resolution::Merged => ["{subject} was merged into another record", "{subject}: карточка объединена с другой"],
        Resolution::Deleted => ["{subject} was deleted", "{subject}: карточка удалена"],
        Resolution::Waiting => ["{subject}: it is the customer's turn now", "{subject}: теперь ход за клиентом"],
        Resolution::Reassigned => {
            ["{subject} was handed over to another manager", "{subject}: ответственность передана другому менеджеру"]
        }
        Resolution::LateEvidence => [
            "{subject}: no violation after all; the evidence arrived late",
            "{subject}: нарушения всё-таки не было, подтверждение пришло с опозданием",
        ],
        Resolution::SampleTooSmall => [
            "{subject}: too few cases are left to judge ({n})",
            "{subject}: для оценки осталось слишком мало случаев ({n})",
        ],
        Resolution::Reached => {
            ["{subject}: the plan is reached, {fact} of {at_least}", "{subject}: план выполнен, {fact} из {at_least}"]
        }
        Resolution::PeriodOver => [
            "{subject}: the period is over, {fact} of {at_least}",
            "{subject}: период закончился, {fact} из {at_least}",
        ],
        Resolution::Disabled => ["{subject}: the norm no longer applies", "{subject}: норма больше не действует"],
        _ => return None,
    })
}

/// The message template of a wait that ended after the warning and before the deadline.
pub const AVERTED: [&str; 2] = ["{subject}: done before the deadline", "{subject}: сделано до срока"];

named_enum! {
    /// The languages of messages.
    #[derive(Default)]
    pub enum Language, named "in the configuration" {
        /// English.
        #[default]
        En = "en",
        /// Russian.
        Ru = "ru",
    }
}

/// The message of an alert: one sentence for a person.
pub fn of(alert: &Alert, language: Language) -> String {
    let wording = catalog::definition(alert.rule).wording;
    let settled = || if wording.settled[0].is_empty() { wording.lasting } else { wording.settled };
    let sentence = match (alert.status, alert.resolution) {
        (Status::DueSoon, _) => wording.due_soon,
        (_, None) => wording.lasting,
        (status, Some(resolution)) => match common_wording(resolution) {
            Some(sentence) => sentence,
            None if status == Status::Averted => AVERTED,
            None => settled(),
        },
    };
    let mut rest = sentence[language as usize];
    let mut message = String::with_capacity(rest.len() + 32);
    while let Some((before, after)) = rest.split_once('{') {
        let (key, after) = after.split_once('}').unwrap_or((after, ""));
        message += before;
        if key == "subject" {
            message += &alert.subject;
        } else if let Some((_, value)) = alert.observed.iter().chain(&alert.norm).find(|(name, _)| *name == key) {
            message += &format_value(alert.rule, key, value, language);
        }
        rest = after;
    }
    message + rest
}

fn format_value(rule: Rule, key: &str, value: &Value, language: Language) -> String {
    match (value, evidence::of(rule, key).map(|evidence| evidence.unit)) {
        (Value::Number(seconds), Some(Unit::Seconds)) => format_duration(*seconds, language),
        (Value::Number(share), Some(Unit::Share)) => format!("{} %", to_tenths(share * 100.0)),
        (Value::Number(quantile), Some(Unit::Quantile)) => format!("p{}", to_tenths(quantile * 100.0)),
        (Value::Number(number), _) => to_tenths(*number).to_string(),
        (Value::Count(count), _) => count.to_string(),
        (Value::Text(text), _) => match (key, text.as_str(), language) {
            ("clock", "business", Language::Ru) => "рабочее".into(),
            ("clock", "wall", Language::Ru) => "календарное".into(),
            _ => text.to_string(),
        },
    }
}

fn to_tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Formats a duration in its two largest units.
pub fn format_duration(seconds: f64, language: Language) -> String {
    let seconds = seconds as i64;
    let units = match language {
        Language::En => ["d", "h", "min", "s"],
        Language::Ru => ["дн", "ч", "мин", "с"],
    };
    let parts = [seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    let first = parts.iter().position(|part| *part > 0).unwrap_or(3);
    let shown = (first..(first + 2).min(4)).filter(|i| *i == first || parts[*i] > 0);
    shown.map(|i| format!("{} {}", parts[i], units[i])).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_formatted_in_their_two_largest_units() {
        let formatted = |seconds| [Language::En, Language::Ru].map(|language| format_duration(seconds, language));
        assert_eq!(formatted(0.0), ["0 s", "0 с"]);
        assert_eq!(formatted(59.9), ["59 s", "59 с"]);
        assert_eq!(formatted(3600.0), ["1 h", "1 ч"]);
        assert_eq!(formatted(3725.0), ["1 h 2 min", "1 ч 2 мин"]);
        assert_eq!(formatted(90_061.0), ["1 d 1 h", "1 дн 1 ч"]);
    }
}

//! Owns the list of rules: their names, in the order of the table in the docs. One file a rule below.

pub mod first_response_late;
pub mod missed_call_not_returned;

use super::alert::{Alert, Resolution, Value, Values};

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident $name:literal)*) => {
        /// The rules that a norm can be set for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Rule {
            $($(#[$doc])* $rule,)*
        }

        impl Rule {
            /// Every rule, in order.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// The name in norms, alerts and labels.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)*
                }
            }
        }
    };
}

rules! {
    /// A lead had no touch by its deadline.
    FirstResponseLate "first_response_late"
    /// An open lead had fewer touches than wanted.
    TooFewAttempts "too_few_attempts"
    /// An open entity had no touch for too long.
    Neglected "neglected"
    /// A lead was turned down and nobody said why.
    DisqualifiedWithoutReason "disqualified_without_reason"
    /// A lead was turned down and hardly anybody had turned to it.
    DisqualifiedWithoutContact "disqualified_without_contact"
    /// A required stage was passed over.
    StageSkipped "stage_skipped"
    /// An entity entered a stage before it was ripe for it.
    StageRequirementsUnmet "stage_requirements_unmet"
    /// An entity moved back.
    StageReverted "stage_reverted"
    /// An entity stays in its stage for too long.
    StageOverdue "stage_overdue"
    /// An inbound call that was no conversation was not returned.
    MissedCallNotReturned "missed_call_not_returned"
    /// A customer's message was not answered.
    MessageUnanswered "message_unanswered"
    /// A discount beyond the policy.
    DiscountOverLimit "discount_over_limit"
    /// An instalment plan beyond the policy.
    InstallmentNotAllowed "installment_not_allowed"
    /// A prepayment below the policy.
    PrepaymentTooLow "prepayment_too_low"
    /// A manager converts too few.
    ConversionLow "conversion_low"
    /// A manager responds too slowly.
    ResponseSlow "response_slow"
    /// A manager's reviews are bad.
    QualityLow "quality_low"
    /// Too many of a manager's deals are stuck in early stages.
    StuckEarly "stuck_early"
    /// Too many of a manager's deals need special terms.
    SpecialTermsFrequent "special_terms_frequent"
    /// A source of a tenant went silent.
    SourceSilent "source_silent"
}

impl Rule {
    /// Whether this version judges the rule; the others are read and kept, and set off nothing.
    pub fn is_judged(self) -> bool {
        matches!(self, Self::FirstResponseLate | Self::MissedCallNotReturned)
    }
}

/// Sentences for a person in English and Russian, with `{subject}`, `{within}`, `{clock}` and `{lag}` to be filled in.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// While it lasts.
    pub lasting: [&'static str; 2],
    /// When an act ended it.
    pub settled: [&'static str; 2],
}

/// When the entity was closed.
const CLOSED: [&str; 2] =
    ["{subject} was closed after {lag} without it", "{subject}: закрыт через {lag}, так и не дождавшись"];
/// When the entity was deleted.
const DELETED: [&str; 2] = ["{subject} was deleted", "{subject}: удалён"];
/// When late evidence took it back.
const RETRACTED: [&str; 2] = [
    "{subject} was attended to in time after all ({lag}; the norm is {within}, {clock} time)",
    "{subject}: всё-таки вовремя ({lag} при норме {within}, {clock} время)",
];

/// The languages of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Russian.
    Ru,
}

impl Language {
    /// The language of this code.
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Self::En),
            "ru" => Some(Self::Ru),
            _ => None,
        }
    }
}

/// One sentence about an alert for a person.
pub fn message(alert: &Alert, language: Language) -> String {
    let wording = match alert.rule {
        Rule::FirstResponseLate => first_response_late::WORDING,
        Rule::MissedCallNotReturned => missed_call_not_returned::WORDING,
        _ => return alert.rule.name().to_owned(),
    };
    let sentence = match alert.resolution {
        None => wording.lasting,
        Some(Resolution::Closed) => CLOSED,
        Some(Resolution::Deleted) => DELETED,
        Some(Resolution::LateEvidence) => RETRACTED,
        Some(_) => wording.settled,
    };
    let template = sentence[language as usize];
    let find = |values: &Values, key| values.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
    let length = |value| match value {
        Some(Value::Number(seconds)) => length(seconds, language),
        _ => String::new(),
    };
    let clock = match (find(&alert.norm, "clock"), language) {
        (Some(Value::Text(clock)), Language::Ru) => {
            if clock == "business" { "рабочее" } else { "календарное" }.to_owned()
        }
        (Some(Value::Text(clock)), Language::En) => clock.to_string(),
        _ => String::new(),
    };
    template
        .replace("{subject}", &alert.subject)
        .replace("{within}", &length(find(&alert.norm, "within_seconds")))
        .replace("{lag}", &length(find(&alert.observed, "lag_seconds")))
        .replace("{clock}", &clock)
}

/// A length of time in the two largest units that it has.
fn length(seconds: f64, language: Language) -> String {
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
    fn lengths_are_told_in_their_two_largest_units() {
        let told = |seconds| [Language::En, Language::Ru].map(|language| length(seconds, language));
        assert_eq!(told(0.0), ["0 s", "0 с"]);
        assert_eq!(told(59.9), ["59 s", "59 с"]);
        assert_eq!(told(3600.0), ["1 h", "1 ч"]);
        assert_eq!(told(3725.0), ["1 h 2 min", "1 ч 2 мин"]);
        assert_eq!(told(90_061.0), ["1 d 1 h", "1 дн 1 ч"]);
    }

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
    }
}

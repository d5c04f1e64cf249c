//! Owns the list of rules: one line each, in the order of the table in the docs, and one file per rule. A rule's file
//! declares why the rule matters to a head of sales, its parameters and evidence, its wording, and how it is judged.

pub mod conversion_low;
pub mod discount_over_limit;
pub mod disqualified_without_contact;
pub mod disqualified_without_reason;
pub mod first_response_late;
pub mod installment_not_allowed;
pub mod message_unanswered;
pub mod missed_call_not_returned;
pub mod neglected;
pub mod prepayment_too_low;
pub mod quality_low;
pub mod response_slow;
pub mod source_silent;
pub mod special_terms_frequent;
pub mod stage_overdue;
pub mod stage_requirements_unmet;
pub mod stage_reverted;
pub mod stage_skipped;
pub mod stuck_early;
pub mod terms;
pub mod too_few_attempts;

/// The example of `docs/add-a-rule.md`.
#[cfg(test)]
#[path = "../../docs/examples/won_without_amount.rs"]
pub mod won_without_amount;

use crate::domain::alert::evidence::{self, Unit};
use crate::domain::alert::{Alert, Resolution, Value, Values};
use crate::domain::context::TenantContext;
use crate::domain::event::{Outcome, TermsOffered};
use crate::domain::figures::row::Ratio;
use crate::domain::figures::window::WindowSample;
use crate::domain::id::StageId;
use crate::domain::journey::{Clocks, Journey, JourneyChange};
use crate::domain::norms::{Params, Pipeline, Scope};
use crate::domain::pending_replies::DemandKind;
use compact_str::CompactString;

macro_rules! rules {
    ($($rule:ident $module:ident)*) => {
        /// The rules that norms can be set for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Rule {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $rule,)*
        }

        impl Rule {
            /// Every rule, in order.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// The name in norms, alerts and labels.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => stringify!($module),)*
                }
            }

            /// The definition in the rule's file.
            pub const fn definition(self) -> &'static Definition {
                match self {
                    $(Self::$rule => &$module::RULE,)*
                }
            }
        }
    };
}

rules! {
    FirstResponseLate first_response_late
    TooFewAttempts too_few_attempts
    Neglected neglected
    DisqualifiedWithoutReason disqualified_without_reason
    DisqualifiedWithoutContact disqualified_without_contact
    StageSkipped stage_skipped
    StageRequirementsUnmet stage_requirements_unmet
    StageReverted stage_reverted
    StageOverdue stage_overdue
    MissedCallNotReturned missed_call_not_returned
    MessageUnanswered message_unanswered
    DiscountOverLimit discount_over_limit
    InstallmentNotAllowed installment_not_allowed
    PrepaymentTooLow prepayment_too_low
    ConversionLow conversion_low
    ResponseSlow response_slow
    QualityLow quality_low
    StuckEarly stuck_early
    SpecialTermsFrequent special_terms_frequent
    SourceSilent source_silent
}

/// The definition of a rule. Texts are in English and Russian.
#[derive(Debug)]
pub struct Definition {
    /// What the rule detects, in one line.
    pub about: [&'static str; 2],
    /// Why it matters to a head of sales.
    pub why: [&'static str; 2],
    /// The forms of the `subject` of its alerts.
    pub subjects: &'static [&'static str],
    /// Its parameters besides those of every rule.
    pub takes: &'static [Parameter],
    /// The keys of `observed`, in order.
    pub observed: &'static [&'static str],
    /// The keys of `norm`, in order.
    pub norm: &'static [&'static str],
    /// Sentences of its alert messages.
    pub wording: Wording,
    /// How it is judged.
    pub evaluation: Evaluation,
}

/// The parameters of rules besides `enabled`, `severity` and `escalate_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `within`
    Within,
    /// `clock`
    Clock,
    /// `response`
    Response,
    /// `attempts`
    Attempts,
    /// `entities`
    Entities,
    /// `applies_to`
    AppliesTo,
    /// `allowed_reasons`
    AllowedReasons,
    /// `min_touches`
    MinTouches,
    /// `channels`
    Channels,
    /// `window`
    Window,
    /// `basis`
    Basis,
    /// `at_least`, a share, or `of_department`
    Share,
    /// `at_least`, a score
    Score,
    /// `at_most`, a duration
    AtMostLag,
    /// `at_most`, a share
    AtMost,
    /// `quantile`
    Quantile,
    /// `min_sample`
    MinSample,
    /// `terms`: the allowed special terms
    Terms,
}

/// How a rule is judged.
#[derive(Clone, Copy, Debug)]
pub enum Evaluation {
    /// By clocks of a lead or deal, which the function updates at every change of the journey.
    Journey(fn(&mut Clocks, &Journey, &mut TenantContext, JourneyChange)),
    /// By an act on a lead or deal.
    Act(fn(&Act<'_>, &Journey, &Params, &Scope) -> Vec<Finding>),
    /// By the pending replies of a contact.
    Demands(&'static DemandKind),
    /// By a manager's figures at the slide boundaries of a window; `None` if no limit is set.
    Window(fn(&Params, &WindowSample<'_>) -> Option<Judgement>),
    /// By silences of source topics.
    Topics,
}

/// An act on a lead or deal.
#[derive(Clone, Debug)]
pub enum Act<'a> {
    /// The entity was closed.
    Closed {
        /// The outcome.
        outcome: Outcome,
        /// The reason, as in the CRM.
        reason: Option<&'a CompactString>,
    },
    /// The entity moved to another stage, or to the end of its pipeline.
    Moved(Move<'a>),
    /// Terms were offered.
    Offered {
        /// The offered terms.
        terms: &'a TermsOffered,
        /// The grade of the manager who offered them.
        grade: Option<&'a str>,
    },
}

/// A move within a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Index of the previous stage, if it belongs to the same pipeline.
    pub from: Option<usize>,
    /// Index of the entered stage; one past the last stage for a successful end.
    pub to: usize,
    /// The outcome of a successful end.
    pub end: Option<Outcome>,
    /// Whether the earlier stages are known, so that skipped ones can be detected.
    pub skips: bool,
    /// Which stages have been visited, by index.
    pub visited: &'a [bool],
}

impl Move<'_> {
    /// The entered stage or the outcome, as in alerts.
    pub fn target(&self) -> &str {
        let stage = || self.pipeline.stages.get(self.to).map(|stage| stage.id.as_str());
        self.end.map(Outcome::name).or_else(stage).unwrap_or_default()
    }
}

/// A norm that an act violates.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The stage in the subject, after the entity; such a violation is raised once per entity and stage.
    pub part: Option<StageId>,
    /// The observed values.
    pub observed: Values,
    /// The required values.
    pub norm: Values,
}

/// The verdict of a window rule on a manager's figures at a boundary.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The sample size.
    pub n: i64,
    /// Whether the norm is violated: a violation begins if none is open and the sample is large enough.
    pub violated: bool,
    /// Whether the figure itself meets the norm: an open violation ends.
    pub met: bool,
    /// The observed values, counts (`n`, `k`) first; an empty sample has only counts.
    pub observed: Values,
    /// The required values.
    pub norm: Values,
}

/// Judges a share with an upper limit.
fn share_over(share: Ratio, norm: &Params) -> Option<Judgement> {
    let limit = norm.at_most?;
    let ratio = share.ratio();
    let mut observed = vec![("n", share.n.into()), ("k", share.k.into())];
    observed.extend(ratio.map(|ratio| ("ratio", ratio.into())));
    let is_over = |over: bool| ratio.is_some_and(|ratio| (ratio > limit) == over);
    let norm = vec![("at_most", limit.into()), ("min_sample", norm.min_sample.unwrap_or(1).into())];
    Some(Judgement { n: share.n, violated: is_over(true), met: is_over(false), observed, norm })
}

/// Message templates in English and Russian, with `{subject}` and keys of `observed` and `norm` as placeholders.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// While the violation is open, or for the act.
    pub lasting: [&'static str; 2],
    /// When an act settled the violation or the figure recovered; empty for act rules.
    pub settled: [&'static str; 2],
}

/// The message template of resolutions that all rules have in common; `None` for the others.
pub fn common_wording(resolution: Resolution) -> Option<[&'static str; 2]> {
    Some(match resolution {
        Resolution::Closed => ["{subject} was closed in the meantime", "{subject}: карточка тем временем закрыта"],
        Resolution::Deleted => ["{subject} was deleted", "{subject}: карточка удалена"],
        Resolution::LateEvidence => [
            "{subject}: no violation after all; the evidence arrived late",
            "{subject}: нарушения всё-таки не было, подтверждение пришло с опозданием",
        ],
        Resolution::SampleTooSmall => [
            "{subject}: too few cases are left to judge ({n})",
            "{subject}: для оценки осталось слишком мало случаев ({n})",
        ],
        Resolution::Disabled => ["{subject}: the norm no longer applies", "{subject}: норма больше не действует"],
        _ => return None,
    })
}

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
    /// The language with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Self::En),
            "ru" => Some(Self::Ru),
            _ => None,
        }
    }
}

/// The message of an alert: one sentence for a person.
pub fn message(alert: &Alert, language: Language) -> String {
    let wording = alert.rule.definition().wording;
    let settled = || if wording.settled[0].is_empty() { wording.lasting } else { wording.settled };
    let sentence =
        alert.resolution.map_or(wording.lasting, |resolution| common_wording(resolution).unwrap_or_else(settled));
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

/// Formats a value for a message.
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

/// Rounds to one decimal place.
fn to_tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Formats a duration in its two largest units.
fn format_duration(seconds: f64, language: Language) -> String {
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
    use crate::domain::id::EntityId;

    #[test]
    fn durations_are_formatted_in_their_two_largest_units() {
        let formatted = |seconds| [Language::En, Language::Ru].map(|language| format_duration(seconds, language));
        assert_eq!(formatted(0.0), ["0 s", "0 с"]);
        assert_eq!(formatted(59.9), ["59 s", "59 с"]);
        assert_eq!(formatted(3600.0), ["1 h", "1 ч"]);
        assert_eq!(formatted(3725.0), ["1 h 2 min", "1 ч 2 мин"]);
        assert_eq!(formatted(90_061.0), ["1 d 1 h", "1 дн 1 ч"]);
    }

    /// Rule names are on the wire: in norms, alerts, labels and stored records. Add a line for a new rule, change none.
    #[test]
    fn rule_names_are_pinned() {
        let names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        let pinned = [
            "first_response_late",
            "too_few_attempts",
            "neglected",
            "disqualified_without_reason",
            "disqualified_without_contact",
            "stage_skipped",
            "stage_requirements_unmet",
            "stage_reverted",
            "stage_overdue",
            "missed_call_not_returned",
            "message_unanswered",
            "discount_over_limit",
            "installment_not_allowed",
            "prepayment_too_low",
            "conversion_low",
            "response_slow",
            "quality_low",
            "stuck_early",
            "special_terms_frequent",
            "source_silent",
        ];
        assert_eq!(names, pinned);
    }

    fn check_texts(name: &str, definition: &Definition) {
        let Definition { wording, observed, norm, about, why, .. } = definition;
        for sentence in [wording.lasting, wording.settled].concat() {
            for key in sentence.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)) {
                let known = key == "subject" || observed.contains(&key) || norm.contains(&key);
                assert!(known, "{name}: {{{key}}} in {sentence:?}");
            }
        }
        assert!(about.iter().chain(why).all(|text| !text.is_empty()), "{name}");
    }

    #[test]
    fn message_templates_use_only_evidence_of_their_rule() {
        Rule::ALL.iter().for_each(|rule| check_texts(rule.name(), rule.definition()));
    }

    #[test]
    fn the_tutorial_shows_a_rule_that_compiles() {
        let code = include_str!("../../docs/examples/won_without_amount.rs");
        let page = include_str!("../../docs/add-a-rule.md");
        assert!(page.contains(&format!("```rust\n{code}```")), "docs/add-a-rule.md shows other code");
        check_texts("won_without_amount", &won_without_amount::RULE);
        let Evaluation::Act(judge) = won_without_amount::RULE.evaluation else { panic!("a rule about acts") };
        let findings = |outcome| {
            let journey = Journey::new(EntityId::deal("1"), 0);
            judge(&Act::Closed { outcome, reason: None }, &journey, &Params::default(), &Scope::default()).len()
        };
        assert_eq!((findings(Outcome::Won), findings(Outcome::Lost)), (1, 0));
    }
}

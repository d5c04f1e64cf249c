//! Owns the list of rules: one line each here, in the order of the table in the docs, and one file each below. A file
//! says why a head of sales should care, what the rule goes by, what it tells, and how it is judged.

use super::alert::{Alert, Resolution, Value, Values};
use super::event::{Outcome, TermsOffered};
use super::evidence::{self, Unit};
use super::id::StageId;
use super::journey::{Clocks, Journey, JourneyChange};
use super::norms::{Params, Pipeline, Scope};
use super::pending_replies::DemandKind;
use super::row::Ratio;
use super::tenant_context::TenantContext;
use super::window::WindowSample;
use compact_str::CompactString;

macro_rules! rules {
    ($($rule:ident $module:ident)*) => {
        $(pub mod $module;)*

        /// The rules that a norm can be set for.
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

            /// What its file says of it.
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

/// All that is to be known of a rule. Texts are in English and Russian.
#[derive(Debug)]
pub struct Definition {
    /// What it finds, in one line.
    pub about: [&'static str; 2],
    /// Why a head of sales should care.
    pub why: [&'static str; 2],
    /// What its alerts are about, as their `subject` says it.
    pub subjects: &'static [&'static str],
    /// What it takes from the norms besides what every rule takes.
    pub takes: &'static [Parameter],
    /// The keys of `observed`, in order.
    pub observed: &'static [&'static str],
    /// The keys of `norm`, in order.
    pub norm: &'static [&'static str],
    /// What a person reads.
    pub wording: Wording,
    /// How it is judged.
    pub evaluation: Evaluation,
}

/// What a norm may say beside `enabled`, `severity` and `escalate_after`.
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
    /// `at_most`, a length of time
    AtMostLag,
    /// `at_most`, a share
    AtMost,
    /// `quantile`
    Quantile,
    /// `min_sample`
    MinSample,
    /// `terms`: what special terms are allowed
    Terms,
}

/// How a rule is judged.
#[derive(Clone, Copy, Debug)]
pub enum Evaluation {
    /// By clocks of a lead or deal, which it looks after at every change.
    Journey(fn(&mut Clocks, &Journey, &mut TenantContext, JourneyChange)),
    /// By what somebody did to a lead or deal.
    Act(fn(&Act<'_>, &Journey, &Params, &Scope) -> Vec<Finding>),
    /// By what is owed to a contact.
    Demands(&'static DemandKind),
    /// By a manager's figures, at the slide boundaries of a window; `None` without a limit to hold them against.
    Window(fn(&Params, &WindowSample<'_>) -> Option<Judgement>),
    /// By the silence of source topics.
    Topics,
}

/// Something that was done to a lead or deal.
#[derive(Clone, Debug)]
pub enum Act<'a> {
    /// It was closed.
    Closed {
        /// How it ended.
        outcome: Outcome,
        /// Why, in the CRM's words.
        reason: Option<&'a CompactString>,
    },
    /// It moved, or came to the end of its pipeline.
    Moved(Move<'a>),
    /// Terms were offered.
    Offered {
        /// What.
        terms: &'a TermsOffered,
        /// The grade of who offered.
        grade: Option<&'a str>,
    },
}

/// A move in a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// The place of the stage that it came from, if it is one of the same pipeline.
    pub from: Option<usize>,
    /// The place of the stage that it came to; past the last one for a good end.
    pub to: usize,
    /// The good end.
    pub end: Option<Outcome>,
    /// Whether it is known what was before, so that what was passed over can be told.
    pub skips: bool,
    /// Which of its stages have been visited.
    pub visited: &'a [bool],
}

impl Move<'_> {
    /// Where it came to, as an alert says it.
    pub fn target(&self) -> &str {
        let stage = || self.pipeline.stages.get(self.to).map(|stage| stage.id.as_str());
        self.end.map(Outcome::name).or_else(stage).unwrap_or_default()
    }
}

/// Something wrong with a deed.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The stage that its subject has behind the entity; such a one is told once.
    pub part: Option<StageId>,
    /// What was found.
    pub observed: Values,
    /// What is wanted.
    pub norm: Values,
}

/// What a window rule says of a manager's figures at a boundary.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// How many cases the figure stands on.
    pub n: i64,
    /// Whether a violation begins now, if there is none and the sample is large enough.
    pub bad: bool,
    /// Whether the bare figure is at its norm: a violation ends.
    pub good: bool,
    /// What was found, the counts (`n`, `k`) first; without any case there is nothing else.
    pub observed: Values,
    /// What is wanted.
    pub norm: Values,
}

/// Judges a share that has an upper limit.
fn share_over(share: Ratio, norm: &Params) -> Option<Judgement> {
    let limit = norm.at_most?;
    let ratio = share.ratio();
    let mut observed = vec![("n", share.n.into()), ("k", share.k.into())];
    observed.extend(ratio.map(|ratio| ("ratio", ratio.into())));
    let over = |over: bool| ratio.is_some_and(|ratio| (ratio > limit) == over);
    let norm = vec![("at_most", limit.into()), ("min_sample", norm.min_sample.unwrap_or(1).into())];
    Some(Judgement { n: share.n, bad: over(true), good: over(false), observed, norm })
}

/// Sentences for a person in English and Russian, with the `{subject}` and keys of `observed` and `norm` to be filled in.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// While it lasts, or of the act.
    pub lasting: [&'static str; 2],
    /// When an act ended it, or the figure is back; empty for acts.
    pub settled: [&'static str; 2],
}

/// What is said of every rule's alert when it ended in one of the common ways.
pub fn common(resolution: Resolution) -> Option<[&'static str; 2]> {
    Some(match resolution {
        Resolution::Closed => ["{subject} was closed meanwhile", "{subject}: тем временем закрыт"],
        Resolution::Deleted => ["{subject} was deleted", "{subject}: удалён"],
        Resolution::LateEvidence => [
            "{subject} was in order after all: what shows it became known late",
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
    let wording = alert.rule.definition().wording;
    let settled = || if wording.settled[0].is_empty() { wording.lasting } else { wording.settled };
    let sentence = alert.resolution.map_or(wording.lasting, |resolution| common(resolution).unwrap_or_else(settled));
    let mut rest = sentence[language as usize];
    let mut message = String::with_capacity(rest.len() + 32);
    while let Some((before, after)) = rest.split_once('{') {
        let (key, after) = after.split_once('}').unwrap_or((after, ""));
        message += before;
        if key == "subject" {
            message += &alert.subject;
        } else if let Some((_, value)) = alert.observed.iter().chain(&alert.norm).find(|(name, _)| *name == key) {
            message += &told(alert.rule, key, value, language);
        }
        rest = after;
    }
    message + rest
}

/// A value of an alert as a person reads it.
fn told(rule: Rule, key: &str, value: &Value, language: Language) -> String {
    match (value, evidence::of(rule, key).map(|evidence| evidence.unit)) {
        (Value::Number(seconds), Some(Unit::Seconds)) => length(*seconds, language),
        (Value::Number(share), Some(Unit::Share)) => format!("{} %", round(share * 100.0)),
        (Value::Number(quantile), Some(Unit::Quantile)) => format!("p{}", round(quantile * 100.0)),
        (Value::Number(number), _) => round(*number).to_string(),
        (Value::Count(count), _) => count.to_string(),
        (Value::Text(text), _) => match (key, text.as_str(), language) {
            ("clock", "business", Language::Ru) => "рабочее".into(),
            ("clock", "wall", Language::Ru) => "календарное".into(),
            _ => text.to_string(),
        },
    }
}

/// To one decimal.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
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

    #[test]
    fn every_sentence_names_only_what_its_rule_tells() {
        for rule in Rule::ALL {
            let Definition { wording, observed, norm, about, why, .. } = rule.definition();
            for sentence in [wording.lasting, wording.settled].concat() {
                for key in sentence.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)) {
                    let known = key == "subject" || observed.contains(&key) || norm.contains(&key);
                    assert!(known, "{}: {{{key}}} in {sentence:?}", rule.name());
                }
            }
            assert!(about.iter().chain(why).all(|text| !text.is_empty()), "{}", rule.name());
        }
    }
}

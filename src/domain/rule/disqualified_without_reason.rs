//! Owns `disqualified_without_reason`: a lead that was turned down, and nobody said why.
//!
//! The reason's text never reaches the alert: it may hold a name.

use super::super::alert::{Value, Values};
use super::super::event::Outcome;
use super::super::journey::Journey;
use super::super::norms::{Params, Scope};
use super::{Act, Definition, Evaluation, Finding, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    about: [
        "a lead or deal was turned down without a good reason",
        "лид или сделку отклонили без уважительной причины",
    ],
    why: [
        "Without reasons nobody learns which advertising brings the wrong people, and turning a lead down is the easiest \
         way to hide that it was neglected.",
        "Без причин не узнать, какая реклама приводит не тех, а отказ без объяснений — самый простой способ скрыть, что \
         лидом не занимались.",
    ],
    subjects: &["lead:ID", "deal:ID"],
    takes: &[Parameter::AppliesTo, Parameter::AllowedReasons],
    observed: &["outcome", "reason_given"],
    norm: &[],
    wording: Wording {
        lasting: [
            "{subject} was closed as {outcome} without a reason that counts",
            "{subject}: закрыт как {outcome} без допустимой причины",
        ],
        settled: ["", ""],
    },
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act<'_>, _: &Journey, norm: &Params, _: &Scope) -> Vec<Finding> {
    let Act::Closed { outcome, reason } = act else { return Vec::new() };
    let applies = norm.applies_to.as_deref().unwrap_or(&[Outcome::Disqualified]).contains(outcome);
    let good = reason.is_some_and(|reason| norm.allowed_reasons.as_ref().is_none_or(|good| good.contains(reason)));
    if !applies || good {
        return Vec::new();
    }
    let given = Value::Count(i64::from(reason.is_some()));
    let observed = vec![("outcome", outcome.name().into()), ("reason_given", given)];
    vec![Finding { part: None, observed, norm: Values::new() }]
}

//! Owns `disqualified_without_reason`: a lead or deal closed without an accepted reason.
//!
//! The text of the reason is never part of the alert: it may contain personal data.

use crate::domain::alert::{Value, Values};
use crate::domain::change::Act;
use crate::domain::event::Outcome;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Disqualified without a reason", "Отказ без причины"],
    about: ["a lead or deal was closed without an accepted reason", "лид или сделку закрыли без допустимой причины"],
    why: [
        "Without reasons nobody learns which advertising brings the wrong people, and disqualifying a lead is the \
         easiest way to hide that it was neglected.",
        "Без причин не понять, какая реклама приводит не тех клиентов, а отказ без объяснений — самый простой способ скрыть, что \
         лидом не занимались.",
    ],
    subjects: &["lead:ID", "deal:ID"],
    takes: &[Parameter::AppliesTo, Parameter::AllowedReasons],
    observed: &["outcome", "reason_given"],
    norm: &[],
    wording: Wording::of_act([
        "{subject} was closed as {outcome} without an accepted reason",
        "{subject}: закрытие с итогом {outcome} без допустимой причины",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, _: &Journey, norm: &Params, _: &Scope) -> Vec<Finding> {
    let Act::Closed { outcome, reason } = act else { return Vec::new() };
    let applies = norm.applies_to.as_deref().unwrap_or(&[Outcome::Disqualified]).contains(outcome);
    let accepted = reason
        .as_ref()
        .is_some_and(|reason| norm.allowed_reasons.as_ref().is_none_or(|allowed| allowed.contains(reason)));
    if !applies || accepted {
        return Vec::new();
    }
    let given = Value::Count(i64::from(reason.is_some()));
    let observed = vec![("outcome", outcome.name().into()), ("reason_given", given)];
    vec![Finding { part: None, observed, norm: Values::new() }]
}

//! Owns `disqualified_without_contact`: a lead disqualified after too few touches.

use crate::domain::alert::Value;
use crate::domain::change::Act;
use crate::domain::event::Outcome;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Disqualified without contact", "Отказ без контакта"],
    about: ["a lead was disqualified after too few touches", "лид отклонили, почти не пытаясь связаться с клиентом"],
    why: [
        "A paid lead is thrown away unseen, and a manager who does this shows better figures than those who try.",
        "Оплаченный лид выбрасывают не глядя, и показатели такого менеджера лучше, чем у тех, кто старается.",
    ],
    subjects: &["lead:ID"],
    takes: &[Parameter::MinTouches],
    observed: &["touches"],
    norm: &["min_touches"],
    wording: Wording::of_act([
        "{subject} was disqualified after {touches} touches; the norm is at least {min_touches}",
        "{subject}: отклонён, попыток связаться {touches} при норме не меньше {min_touches}",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, journey: &Journey, norm: &Params, _: &Scope) -> Vec<Finding> {
    let (touches, required) = (journey.touches().len() as i64, norm.min_touches.unwrap_or(1));
    if !matches!(act, Act::Closed { outcome: Outcome::Disqualified, .. }) || touches >= required {
        return Vec::new();
    }
    let (observed, norm) = (vec![("touches", Value::Count(touches))], vec![("min_touches", Value::Count(required))]);
    vec![Finding { part: None, observed, norm }]
}

//! Owns `disqualified_without_contact`: a lead that was turned down, and hardly anybody had turned to it.

use super::super::alert::Value;
use super::super::event::Outcome;
use super::super::journey::Journey;
use super::super::norms::{Params, Scope};
use super::{Act, Definition, Evaluation, Finding, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    about: ["a lead was turned down after too few touches", "лид отклонили, почти не пытаясь связаться"],
    why: [
        "A lead that was paid for is thrown away unseen; whoever does it has better figures than those who try.",
        "Оплаченный лид выбрасывают не глядя, и показатели такого менеджера лучше, чем у тех, кто старается.",
    ],
    subjects: &["lead:ID"],
    takes: &[Parameter::MinTouches],
    observed: &["touches"],
    norm: &["min_touches"],
    wording: Wording {
        lasting: [
            "{subject} was disqualified after {touches} touches; at least {min_touches} are wanted",
            "{subject}: отклонён, попыток связаться {touches} при норме не меньше {min_touches}",
        ],
        settled: ["", ""],
    },
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act<'_>, journey: &Journey, norm: &Params, _: &Scope) -> Vec<Finding> {
    let (touches, wanted) = (journey.touches().len() as i64, norm.min_touches.unwrap_or(1));
    if !matches!(act, Act::Closed { outcome: Outcome::Disqualified, .. }) || touches >= wanted {
        return Vec::new();
    }
    let (observed, norm) = (vec![("touches", Value::Count(touches))], vec![("min_touches", Value::Count(wanted))]);
    vec![Finding { part: None, observed, norm }]
}

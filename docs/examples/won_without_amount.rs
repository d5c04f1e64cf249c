//! Owns `won_without_amount`: a deal that was won without an amount.

use crate::domain::change::Act;
use crate::domain::event::Outcome;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Won without an amount", "Выигрыш без суммы"],
    about: ["a deal was won without an amount", "сделка выиграна без указания суммы"],
    why: [
        "Without the amount, the revenue of the month is wrong, and no commission can be calculated.",
        "Без суммы выручка за месяц занижена, а премию не рассчитать.",
    ],
    subjects: &["deal:ID"],
    takes: &[],
    observed: &["outcome"],
    norm: &[],
    wording: Wording::of_act([
        "{subject} was closed as {outcome} without an amount",
        "{subject}: закрытие с итогом {outcome} без указания суммы",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, deal: &Journey, _: &Params, _: &Scope) -> Vec<Finding> {
    match act {
        Act::Closed { outcome: Outcome::Won, .. } if deal.sale.amount.minor.is_none() => {
            let observed = vec![("outcome", Outcome::Won.name().into())];
            vec![Finding { part: None, observed, norm: Vec::new() }]
        }
        _ => Vec::new(),
    }
}

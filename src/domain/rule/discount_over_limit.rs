//! Owns `discount_over_limit`: a discount above the policy limit without approval.

use crate::domain::alert::Value;
use crate::domain::change::Act;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Parameter, Wording};
use crate::domain::rule::terms::{beyond, judged};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Discount over the limit", "Скидка больше разрешённой"],
    about: [
        "a discount above the limit in `terms`, without approval",
        "скидка больше разрешённой (`terms`) без согласования",
    ],
    why: [
        "Discounts are the fastest way to lose margin, and a customer who got one will ask again.",
        "Скидка — самый быстрый способ потерять маржу, и получивший её клиент попросит снова.",
    ],
    subjects: &["deal:ID"],
    takes: &[Parameter::Terms],
    observed: &["discount_percent"],
    norm: &["max_discount_percent"],
    wording: Wording::of_act([
        "{subject} was offered a discount of {discount_percent} %; {max_discount_percent} % is allowed",
        "{subject}: предложена скидка {discount_percent} % при допустимых {max_discount_percent} %",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, deal: &Journey, _: &Params, scope: &Scope) -> Vec<Finding> {
    let Some((terms, row)) = judged(act, deal, scope) else { return Vec::new() };
    match (terms.discount_percent, row.max_discount_percent) {
        (Some(given), Some(limit)) if given > limit => {
            beyond(("discount_percent", Value::Number(given)), ("max_discount_percent", Value::Number(limit)))
        }
        _ => Vec::new(),
    }
}

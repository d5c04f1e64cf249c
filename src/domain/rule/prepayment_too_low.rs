//! Owns `prepayment_too_low`: a prepayment below the policy minimum, without approval.

use crate::domain::alert::Value;
use crate::domain::change::Act;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Parameter, Wording};
use crate::domain::rule::terms::{beyond, judged};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Prepayment too low", "Предоплата ниже разрешённой"],
    about: [
        "a prepayment below the minimum in `terms`, without approval",
        "предоплата меньше требуемой (`terms`) без согласования",
    ],
    why: [
        "Work that begins without a prepayment is paid late, or never.",
        "Работа, начатая без предоплаты, оплачивается поздно или никогда.",
    ],
    subjects: &["deal:ID"],
    takes: &[Parameter::Terms],
    observed: &["prepayment_percent"],
    norm: &["min_prepayment_percent"],
    wording: Wording::of_act([
        "{subject} was offered a prepayment of {prepayment_percent} %; at least {min_prepayment_percent} % is required",
        "{subject}: предложена предоплата {prepayment_percent} % при норме не меньше {min_prepayment_percent} %",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, deal: &Journey, _: &Params, scope: &Scope) -> Vec<Finding> {
    let Some((terms, row)) = judged(act, deal, scope) else { return Vec::new() };
    match (terms.prepayment_percent, row.min_prepayment_percent) {
        (Some(given), Some(limit)) if given < limit => {
            beyond(("prepayment_percent", Value::Number(given)), ("min_prepayment_percent", Value::Number(limit)))
        }
        _ => Vec::new(),
    }
}

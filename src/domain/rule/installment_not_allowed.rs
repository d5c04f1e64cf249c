//! Owns `installment_not_allowed`: an instalment plan longer than the policy allows, without approval.

use crate::domain::alert::Value;
use crate::domain::change::Act;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Parameter, Wording};
use crate::domain::rule::terms::{beyond, judged};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Instalments not allowed", "Рассрочка дольше разрешённой"],
    about: [
        "an instalment plan longer than `terms` allow, without approval",
        "рассрочка дольше разрешённой (`terms`) без согласования",
    ],
    why: [
        "An instalment plan is a loan from the company's pocket; somebody responsible for the money has to allow it.",
        "Рассрочка — это кредит из кармана компании; её должен разрешать тот, кто отвечает за деньги.",
    ],
    subjects: &["deal:ID"],
    takes: &[Parameter::Terms],
    observed: &["installment_months"],
    norm: &["max_installment_months"],
    wording: Wording::of_act([
        "{subject} was offered instalments over {installment_months} months; {max_installment_months} are allowed",
        "{subject}: предложена рассрочка на {installment_months} мес. при допустимых {max_installment_months}",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, deal: &Journey, _: &Params, scope: &Scope) -> Vec<Finding> {
    let Some((terms, row)) = judged(act, deal, scope) else { return Vec::new() };
    match (terms.installment_months, row.max_installment_months) {
        (Some(given), Some(limit)) if given > limit => {
            beyond(("installment_months", Value::Count(given)), ("max_installment_months", Value::Count(limit)))
        }
        _ => Vec::new(),
    }
}

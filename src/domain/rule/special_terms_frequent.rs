//! Owns `special_terms_frequent`: a manager who offers special terms too often.

use crate::domain::figures::window::WindowSample;
use crate::domain::norms::Params;
use crate::domain::rule::definition::{Definition, Evaluation, Judgement, Parameter, Wording, share_over};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Special terms too often", "Слишком часто особые условия"],
    about: [
        "too many of a manager's deals got a discount, an instalment plan or less than full prepayment",
        "менеджер слишком часто даёт скидку, рассрочку или неполную предоплату",
    ],
    why: [
        "Special terms that become a habit become the price list: each may be allowed, but together they eat the margin.",
        "Особые условия, вошедшие в привычку, становятся прайс-листом: каждое по отдельности допустимо, а вместе они \
         съедают маржу.",
    ],
    subjects: &["manager:ID/WINDOW"],
    takes: &[Parameter::Window, Parameter::AtMost, Parameter::MinSample],
    observed: &["n", "k", "ratio"],
    norm: &["at_most", "min_sample"],
    wording: Wording {
        lasting: [
            "{subject}: special terms in {k} of {n} deals with offers, {ratio}; the norm is at most {at_most}",
            "{subject}: особые условия в {k} из {n} сделок с предложениями, {ratio} при норме до {at_most}",
        ],
        settled: [
            "{subject}: special terms in {k} of {n} deals with offers, {ratio}; that is back at the norm of at most \
             {at_most}",
            "{subject}: особые условия в {k} из {n} сделок с предложениями, {ratio}; это снова в норме (до {at_most})",
        ],
        due_soon: [""; 2],
    },
    evaluation: Evaluation::Window(judge),
};

fn judge(norm: &Params, sample: &WindowSample<'_>) -> Option<Judgement> {
    share_over(sample.special, norm)
}

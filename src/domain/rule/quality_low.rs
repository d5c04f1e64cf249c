//! Owns `quality_low`: a manager whose mean review score is too low.

use crate::domain::figures::window::WindowSample;
use crate::domain::norms::Params;
use crate::domain::rule::definition::{Definition, Evaluation, Judgement, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Low review scores", "Низкие оценки проверок"],
    about: [
        "the mean score of a manager's reviews is below `at_least`",
        "средняя оценка разговоров и писем менеджера ниже `at_least`",
    ],
    why: [
        "Reviews show what numbers cannot: whether the customer was listened to. Low scores come before lost deals.",
        "Проверки показывают то, чего не видно в цифрах: услышали ли клиента. Сначала падают оценки, потом теряются сделки.",
    ],
    subjects: &["manager:ID/WINDOW"],
    takes: &[Parameter::Window, Parameter::Score, Parameter::MinSample],
    observed: &["n", "mean_score"],
    norm: &["at_least", "min_sample"],
    wording: Wording {
        lasting: [
            "{subject}: the mean review score is {mean_score} ({n} reviews); the norm is at least {at_least}",
            "{subject}: средняя оценка {mean_score} (проверок: {n}) при норме от {at_least}",
        ],
        settled: [
            "{subject}: the mean review score is {mean_score} ({n} reviews); that is back at the norm of at least \
             {at_least}",
            "{subject}: средняя оценка {mean_score} (проверок: {n}); это снова в норме (от {at_least})",
        ],
        due_soon: [""; 2],
    },
    evaluation: Evaluation::Window(judge),
};

fn judge(norm: &Params, sample: &WindowSample<'_>) -> Option<Judgement> {
    let limit = norm.min_score?;
    let reviews = sample.own.reviews();
    let mut observed = vec![("n", reviews.n.into())];
    observed.extend(reviews.mean_score.map(|mean| ("mean_score", mean.into())));
    let norm = vec![("at_least", limit.into()), ("min_sample", norm.min_sample.unwrap_or(1).into())];
    let is_below = |below: bool| reviews.mean_score.is_some_and(|mean| (mean < limit) == below);
    Some(Judgement { n: reviews.n, violated: is_below(true), met: is_below(false), observed, norm })
}

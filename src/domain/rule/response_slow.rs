//! Owns `response_slow`: a manager whose first responses are usually too slow.
//!
//! Judged by the histogram's estimate of the quantile, the same figure as in rows.

use crate::domain::figures::window::WindowSample;
use crate::domain::norms::Params;
use crate::domain::rule::definition::{Definition, Evaluation, Judgement, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Habitually slow responses", "Обычно долгий ответ"],
    about: [
        "a `quantile` of a manager's first-response lags is above `at_most`",
        "менеджер обычно отвечает на новые лиды слишком долго (`quantile` первых ответов больше `at_most`)",
    ],
    why: [
        "One late answer may be bad luck; habitually late answers lose customers every day and are worth a talk.",
        "Один поздний ответ — случай; привычка отвечать поздно каждый день теряет клиентов, и о ней стоит поговорить.",
    ],
    subjects: &["manager:ID/WINDOW"],
    takes: &[Parameter::Window, Parameter::Quantile, Parameter::Clock, Parameter::AtMostLag, Parameter::MinSample],
    observed: &["n", "quantile_seconds"],
    norm: &["at_most_seconds", "quantile", "clock", "min_sample"],
    wording: Wording {
        lasting: [
            "{subject}: {quantile} of {n} first responses is {quantile_seconds} ({clock} time); the norm is at most \
             {at_most_seconds}",
            "{subject}: {quantile} первых ответов ({n}) — {quantile_seconds} ({clock} время) при норме до \
             {at_most_seconds}",
        ],
        settled: [
            "{subject}: {quantile} of {n} first responses is {quantile_seconds} ({clock} time); that is back at the norm \
             of at most {at_most_seconds}",
            "{subject}: {quantile} первых ответов ({n}) — {quantile_seconds} ({clock} время); это снова в норме (до \
             {at_most_seconds})",
        ],
        due_soon: [""; 2],
    },
    evaluation: Evaluation::Window(judge),
};

fn judge(norm: &Params, sample: &WindowSample<'_>) -> Option<Judgement> {
    let limit = norm.at_most_lag?.span;
    let (clock, quantile) = (norm.clock.unwrap_or_default(), norm.quantile.unwrap_or(0.9));
    let lags = sample.own.first_response(clock);
    let (n, found) = (lags.count(), lags.quantile(quantile));
    let mut observed = vec![("n", n.into())];
    observed.extend(found.map(|lag| ("quantile_seconds", lag.into())));
    let norm = vec![
        ("at_most_seconds", limit.into()),
        ("quantile", quantile.into()),
        ("clock", clock.name().into()),
        ("min_sample", norm.min_sample.unwrap_or(1).into()),
    ];
    let is_over = |over: bool| found.is_some_and(|lag| (lag > limit) == over);
    Some(Judgement { n, violated: is_over(true), met: is_over(false), observed, norm })
}

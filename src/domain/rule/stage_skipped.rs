//! Owns `stage_skipped`: a required stage that was skipped.

use crate::domain::change::Act;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Stage skipped", "Пропущен этап"],
    about: ["a `required` stage was skipped", "пропущен обязательный этап (`required`)"],
    why: [
        "Required stages are what the company has learned to do before it makes an offer or sends an invoice; skipping \
         them costs margin and trust, and distorts stage figures.",
        "Обязательные этапы — это шаги, которые, по опыту компании, нужны до предложения или счёта; их пропуск стоит \
         маржи и доверия и искажает статистику воронки.",
    ],
    subjects: &["lead:ID/STAGE", "deal:ID/STAGE"],
    takes: &[],
    observed: &["to_stage"],
    norm: &["required_stage"],
    wording: Wording::of_act([
        "{subject}: moved to {to_stage} without ever having been in {required_stage}",
        "{subject}: переход на {to_stage} минуя обязательный этап {required_stage}",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, _: &Journey, _: &Params, _: &Scope) -> Vec<Finding> {
    let Act::Moved(step) = act else { return Vec::new() };
    let passed = step.stages().iter().zip(&step.visited).take(if step.skips { step.to } else { 0 });
    let skipped = passed.filter(|(stage, visited)| stage.required && !**visited);
    skipped
        .map(|(stage, _)| Finding {
            part: Some(stage.id.clone()),
            observed: vec![("to_stage", step.target().into())],
            norm: vec![("required_stage", stage.id.as_str().into())],
        })
        .collect()
}

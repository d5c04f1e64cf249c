//! Owns `stage_reverted`: a move to an earlier stage.

use crate::domain::change::Act;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Moved back a stage", "Возврат на этап назад"],
    about: ["an entity moved to an earlier stage", "лид или сделку вернули на более ранний этап"],
    why: [
        "A deal that moves back was moved forward too early, or is moved only to look active; both distort the forecast.",
        "Сделку, которая идёт назад, продвинули слишком рано или «освежают» для вида; и то и другое искажает прогноз.",
    ],
    subjects: &["lead:ID", "deal:ID"],
    takes: &[],
    observed: &["from_stage", "to_stage"],
    norm: &[],
    wording: Wording::of_act([
        "{subject} moved back from {from_stage} to {to_stage}",
        "{subject}: возврат с этапа {from_stage} на {to_stage}",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, _: &Journey, _: &Params, _: &Scope) -> Vec<Finding> {
    let Act::Moved(step) = act else { return Vec::new() };
    let Some(from) = step.from.filter(|from| *from > step.to) else { return Vec::new() };
    let from = step.stages().get(from).map(|stage| stage.id.as_str()).unwrap_or_default();
    let observed = vec![("from_stage", from.into()), ("to_stage", step.target().into())];
    vec![Finding { part: None, observed, norm: Vec::new() }]
}

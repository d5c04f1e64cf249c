//! Owns `stage_requirements_unmet`: a move into a stage without what the stage requires.

use crate::domain::change::Act;
use crate::domain::journey::Journey;
use crate::domain::norms::{Params, Scope};
use crate::domain::rule::definition::{Definition, Evaluation, Finding, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Stage requirements not met", "Этап без нужных данных"],
    about: [
        "an entity entered a stage without what the stage `requires`",
        "переход на этап без того, что для него требуется (`requires`)",
    ],
    why: [
        "A proposal without a known budget or known needs is a guess; the pipeline looks better than it is.",
        "Предложение без бюджета и выявленных потребностей — это гадание; воронка выглядит лучше, чем есть.",
    ],
    subjects: &["lead:ID", "deal:ID"],
    takes: &[],
    observed: &["stage", "missing"],
    norm: &["fields", "activities"],
    wording: Wording::of_act([
        "{subject} entered {stage} without: {missing}",
        "{subject}: переход на {stage}, не хватает: {missing}",
    ]),
    evaluation: Evaluation::Act(judge),
};

fn judge(act: &Act, journey: &Journey, _: &Params, _: &Scope) -> Vec<Finding> {
    let Act::Moved(step) = act else { return Vec::new() };
    let Some(stage) = step.stages().get(step.to) else { return Vec::new() };
    let fields = stage.requires_fields.iter().filter(|field| !journey.is_filled(field));
    let activities = stage.requires_activities.iter().filter(|kind| !journey.is_completed(kind));
    let missing: Vec<_> = fields.chain(activities).map(|name| name.as_str()).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let observed = vec![("stage", stage.id.as_str().into()), ("missing", missing.join(",").as_str().into())];
    let norm = vec![
        ("fields", stage.requires_fields.join(",").as_str().into()),
        ("activities", stage.requires_activities.join(",").as_str().into()),
    ];
    vec![Finding { part: None, observed, norm }]
}

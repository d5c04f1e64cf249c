//! `stage_skipped`, `stage_requirements_unmet`, `stage_reverted`: judged at the move, by what was known then.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::alert::{Alert, Heading};
use super::super::history::{Entity, Goal, Move, World};
use super::super::norms::{Norms, Pipeline};
use super::super::readings;

pub fn judge(world: &World, norms: &Norms) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for entity in world.entities.values() {
        // Each skipped stage once per entity, whether or not it was told in another scope.
        let mut skipped = BTreeSet::new();
        for moved in &entity.moves {
            // Decision 13: without a pipeline nothing is judged.
            let Some(name) = &moved.pipeline else { continue };
            let Some(pipeline) = norms.pipelines.get(name) else { continue };
            if moved.from.is_some() || matches!(moved.to, Goal::Closed(_)) {
                alerts.extend(stage_skipped(world, norms, entity, moved, pipeline, name, &mut skipped));
                alerts.extend(stage_reverted(world, norms, entity, moved, pipeline));
            }
            alerts.extend(stage_requirements_unmet(world, norms, entity, moved, pipeline));
        }
    }
    alerts
}

fn stage_skipped(
    world: &World,
    norms: &Norms,
    entity: &Entity,
    moved: &Move,
    pipeline: &Pipeline,
    name: &str,
    skipped: &mut BTreeSet<(String, String)>,
) -> Vec<Alert> {
    const RULE: &str = "stage_skipped";
    let Some(norm) = norms.rule(RULE, &moved.scope) else { return Vec::new() };
    let (to, before) = match &moved.to {
        Goal::Stage(to) => (to.as_str(), pipeline.order(to).unwrap_or(0)),
        Goal::Closed(outcome) => (*outcome, pipeline.stages.len()),
    };
    let mut alerts = Vec::new();
    for stage in pipeline.stages[..before].iter().filter(|stage| stage.required && !moved.visited.contains(&stage.id)) {
        let name = if readings::SKIPPED_ONCE_PER_PIPELINE { name.to_owned() } else { String::new() };
        if skipped.insert((name, stage.id.clone())) {
            let heading = Heading::entity(RULE, &entity.id, moved.at, norm.severity);
            let heading = Heading { subject: format!("{}/{}", entity.id, stage.id), ..heading };
            let observed = json!({"to_stage": to});
            alerts.push(heading.raise(world, moved.moment, observed, json!({"required_stage": stage.id})));
        }
    }
    alerts
}

fn stage_reverted(world: &World, norms: &Norms, entity: &Entity, moved: &Move, pipeline: &Pipeline) -> Option<Alert> {
    const RULE: &str = "stage_reverted";
    let norm = norms.rule(RULE, &moved.scope)?;
    let (Some(from), Goal::Stage(to)) = (&moved.from, &moved.to) else { return None };
    // Decision 13: a change of pipeline is never reverted.
    if moved.from_another || pipeline.order(to)? >= pipeline.order(from)? {
        return None;
    }
    let heading = Heading::entity(RULE, &entity.id, moved.at, norm.severity);
    Some(heading.raise(world, moved.moment, json!({"from_stage": from, "to_stage": to}), json!({})))
}

fn stage_requirements_unmet(
    world: &World,
    norms: &Norms,
    entity: &Entity,
    moved: &Move,
    pipeline: &Pipeline,
) -> Option<Alert> {
    const RULE: &str = "stage_requirements_unmet";
    let norm = norms.rule(RULE, &moved.scope)?;
    let Goal::Stage(to) = &moved.to else { return None };
    let stage = pipeline.stage(to)?;
    let fields = stage.fields.iter().filter(|field| !moved.fields.contains(*field));
    let activities = stage.activities.iter().filter(|kind| !moved.activities.contains(*kind));
    let missing: Vec<&str> = fields.chain(activities).map(String::as_str).collect();
    if missing.is_empty() {
        return None;
    }
    let observed = json!({"stage": to, "missing": missing.join(",")});
    let asked = json!({"fields": stage.fields.join(","), "activities": stage.activities.join(",")});
    let heading = Heading::entity(RULE, &entity.id, moved.at, norm.severity);
    Some(heading.raise(world, moved.moment, observed, asked))
}

//! `stage_skipped`, `stage_requirements_unmet`, `stage_reverted`: judge each move by what was known then.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::alert::{Alert, AlertHeader};
use super::super::history::{Entity, Goal, Move, TenantHistory};
use super::super::norms::{Norms, Pipeline};
use super::super::readings;

pub fn judge(history: &TenantHistory, norms: &Norms) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for entity in history.entities.values() {
        // Each skipped stage once per entity, even if it was reported in another scope.
        let mut skipped = BTreeSet::new();
        for moved in &entity.moves {
            // Decision 13: without a pipeline nothing is judged.
            let Some(name) = &moved.pipeline else { continue };
            let Some(pipeline) = norms.pipelines.get(name) else { continue };
            if moved.from.is_some() || matches!(moved.to, Goal::Closed(_)) {
                alerts.extend(stage_skipped(history, norms, entity, moved, pipeline, name, &mut skipped));
                alerts.extend(stage_reverted(history, norms, entity, moved, pipeline));
            }
            alerts.extend(stage_requirements_unmet(history, norms, entity, moved, pipeline));
        }
    }
    alerts
}

fn stage_skipped(
    history: &TenantHistory,
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
            let header = AlertHeader::entity(RULE, &entity.id, moved.at, norm.severity);
            let header = AlertHeader { subject: format!("{}/{}", entity.id, stage.id), ..header };
            let observed = json!({"to_stage": to});
            alerts.push(header.raise(history, moved.moment, observed, json!({"required_stage": stage.id})));
        }
    }
    alerts
}

fn stage_reverted(
    history: &TenantHistory,
    norms: &Norms,
    entity: &Entity,
    moved: &Move,
    pipeline: &Pipeline,
) -> Option<Alert> {
    const RULE: &str = "stage_reverted";
    let norm = norms.rule(RULE, &moved.scope)?;
    let (Some(from), Goal::Stage(to)) = (&moved.from, &moved.to) else { return None };
    // Decision 13: a change of pipeline is never reverted.
    if moved.changes_pipeline || pipeline.order(to)? >= pipeline.order(from)? {
        return None;
    }
    let header = AlertHeader::entity(RULE, &entity.id, moved.at, norm.severity);
    Some(header.raise(history, moved.moment, json!({"from_stage": from, "to_stage": to}), json!({})))
}

fn stage_requirements_unmet(
    history: &TenantHistory,
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
    let required = json!({"fields": stage.fields.join(","), "activities": stage.activities.join(",")});
    let header = AlertHeader::entity(RULE, &entity.id, moved.at, norm.severity);
    Some(header.raise(history, moved.moment, observed, required))
}

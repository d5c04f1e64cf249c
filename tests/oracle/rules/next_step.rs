//! `next_step_missing`: an open entity has no open plan for longer than `within`; `next_step_overdue`: a plan is open
//! `within` after its deadline.

use super::super::alert::{Alert, AlertHeader};
use super::super::history::{Entity, TenantHistory};
use super::super::identity::Kind;
use super::super::norms::{Norm, Norms};
use super::super::steps::{Bare, Plan, Term};
use super::neglected::stop;
use super::{RunningClock, lifecycle, observe_duration, within};

const MISSING: &str = "next_step_missing";
const OVERDUE: &str = "next_step_overdue";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for entity in history.entities.values() {
        alerts.extend(entity.bare.iter().filter_map(|bare| missing(history, norms, entity, bare, until)));
        for plan in &entity.plans {
            alerts.extend(plan.terms.iter().filter_map(|term| overdue(history, norms, entity, plan, term, until)));
        }
    }
    alerts
}

/// Whether `next_step_missing` is about leads or deals; by default only about deals.
pub fn is_about(norm: &Norm, kind: Kind) -> bool {
    let name = if kind == Kind::Lead { "lead" } else { "deal" };
    norm.texts("entities").unwrap_or(vec!["deal"]).contains(&name)
}

/// Whether `without_next_step` counts such an entity: deals always, leads if the rule is about them.
pub fn counts(history: &TenantHistory, norms: &Norms, entity: &Entity) -> bool {
    let norm = norms.rule(MISSING, &history.scope_of(&entity.id));
    entity.id.kind == Kind::Deal || norm.is_some_and(|norm| is_about(&norm, Kind::Lead))
}

fn missing(history: &TenantHistory, norms: &Norms, entity: &Entity, bare: &Bare, until: i64) -> Option<Alert> {
    let norm = norms.rule(MISSING, &bare.scope).filter(|norm| is_about(norm, entity.id.kind))?;
    let running = RunningClock {
        anchor: bare.anchor,
        opened: bare.moment,
        within: norm.within,
        clock: &norm.clock,
        warn_before: norm.warn_before(),
        warns_early: false,
        escalate_after: &norm.escalate_after,
        acts: bare.ends.clone(),
        stop: stop(entity, bare.moment),
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let header = AlertHeader::entity(MISSING, &entity.id, bare.anchor, norm.severity);
    let details = observe_duration(steps, &norm.clock, bare.anchor, 0, "idle_seconds", &within(&norm));
    Some(AlertHeader { due: Some(due), ..header }.build(history, details))
}

fn overdue(
    history: &TenantHistory,
    norms: &Norms,
    entity: &Entity,
    plan: &Plan,
    term: &Term,
    until: i64,
) -> Option<Alert> {
    let deadline = term.deadline?;
    let norm = norms.rule(OVERDUE, &term.scope)?;
    let running = RunningClock {
        anchor: deadline,
        opened: term.moment,
        within: norm.within,
        clock: &norm.clock,
        warn_before: norm.warn_before(),
        warns_early: true,
        escalate_after: &norm.escalate_after,
        acts: Vec::new(),
        stop: term.end,
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let header = AlertHeader::entity(OVERDUE, &entity.id, deadline, norm.severity);
    let subject = format!("{}/{}", entity.id, plan.activity);
    let details = observe_duration(steps, &norm.clock, deadline, 0, "overdue_seconds", &within(&norm));
    Some(AlertHeader { due: Some(due), subject, ..header }.build(history, details))
}

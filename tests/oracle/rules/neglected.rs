//! `neglected`: an open entity has had no touch for longer than `within`. Its clocks start at each latest touch, the
//! creation or a reopening.

use super::super::alert::{Alert, AlertHeader};
use super::super::history::{Act, Entity, Idle, TenantHistory};
use super::super::identity::Kind;
use super::super::norms::Norms;
use super::{Ending, RunningClock, lifecycle, observe_duration, within};

const RULE: &str = "neglected";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let clocks = history.entities.values().flat_map(|entity| entity.idle.iter().map(move |idle| (entity, idle)));
    clocks.filter_map(|(entity, idle)| alert(history, norms, entity, idle, until)).collect()
}

fn alert(history: &TenantHistory, norms: &Norms, entity: &Entity, idle: &Idle, until: i64) -> Option<Alert> {
    let norm = norms.rule(RULE, &idle.scope)?;
    let kind = if entity.id.kind == Kind::Lead { "lead" } else { "deal" };
    if norm.texts("entities").is_some_and(|kinds| !kinds.contains(&kind)) {
        return None;
    }
    // Only acts known after the clock can end it; earlier evidence would have started another clock.
    let open_so_far = |act: &Act| entity.open_changes.iter().all(|open_change| open_change.moment >= act.moment);
    let first = |act: &Act| {
        idle.untouched && act.moment >= idle.moment && open_so_far(act) && act.moment == entity.touches[0].moment
    };
    let stood = |act: &&Act| act.gone.is_none_or(|gone| gone > idle.moment);
    let touches = entity.touches.iter().filter(stood).filter(|act| act.date > idle.anchor || first(act));
    let dated_back = idle.dated_back.map(|moment| Ending::taken_back(idle.anchor, moment));
    let touches = touches.map(|act| Ending::of_act(act, act.date, "responded"));
    let running = RunningClock {
        anchor: idle.anchor,
        opened: idle.moment,
        within: norm.within,
        clock: &norm.clock,
        warn_before: norm.warn_before(),
        warns_early: false,
        escalate_after: &norm.escalate_after,
        acts: touches.chain(dated_back).chain(idle.waits.iter().copied()).collect(),
        stop: stop(entity, idle.moment),
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let header = AlertHeader::entity(RULE, &entity.id, idle.anchor, norm.severity);
    let details = observe_duration(steps, &norm.clock, idle.anchor, 0, "idle_seconds", &within(&norm));
    Some(AlertHeader { due: Some(due), ..header }.build(history, details))
}

/// The first closing from this moment on, or the deletion.
pub fn stop(entity: &Entity, since: usize) -> Option<Ending> {
    let closed = entity.open_changes.iter().find(|open_change| !open_change.open && open_change.moment >= since);
    let closed = closed.map(|t| Ending::new(t.at, t.moment, "closed"));
    closed.into_iter().chain(entity.deletion()).min_by_key(|ending| ending.moment)
}

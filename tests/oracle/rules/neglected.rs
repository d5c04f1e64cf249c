//! `neglected`: an open entity has had no touch for longer than `within`. Its clocks are those of the history: from each
//! latest touch, from the creation, from a reopening.

use super::super::alert::{Alert, Heading};
use super::super::history::{Act, Entity, Idle, World};
use super::super::identity::Kind;
use super::super::norms::Norms;
use super::{Ending, Watch, lasting, life, within};

const RULE: &str = "neglected";

pub fn judge(world: &World, norms: &Norms, until: i64) -> Vec<Alert> {
    let clocks = world.entities.values().flat_map(|entity| entity.idle.iter().map(move |idle| (entity, idle)));
    clocks.filter_map(|(entity, idle)| alert(world, norms, entity, idle, until)).collect()
}

fn alert(world: &World, norms: &Norms, entity: &Entity, idle: &Idle, until: i64) -> Option<Alert> {
    let norm = norms.rule(RULE, &idle.scope)?;
    let kind = if entity.id.kind == Kind::Lead { "lead" } else { "deal" };
    if norm.texts("entities").is_some_and(|kinds| !kinds.contains(&kind)) {
        return None;
    }
    // Only what came after the clock was known can end it; evidence of before would have made another clock.
    let open_so_far = |act: &Act| entity.turnings.iter().all(|turning| turning.moment > act.moment);
    let first = |act: &Act| {
        idle.untouched && act.moment >= idle.moment && open_so_far(act) && act.moment == entity.touches[0].moment
    };
    let touches = entity.touches.iter().filter(|act| act.date > idle.anchor || first(act));
    let watch = Watch {
        anchor: idle.anchor,
        opened: idle.moment,
        within: norm.within,
        clock: &norm.clock,
        escalate_after: &norm.escalate_after,
        acts: touches.map(|a| Ending { date: a.date, moment: a.moment, resolution: "responded" }).collect(),
        stop: stop(entity, idle.moment),
    };
    let (due, steps) = life(world, &watch, until)?;
    let heading = Heading::entity(RULE, &entity.id, idle.anchor, norm.severity);
    let told = lasting(steps, &norm.clock, idle.anchor, 0, "idle_seconds", &within(&norm));
    Some(Heading { due: Some(due), ..heading }.tell(world, told))
}

/// The next closing from this moment on, or the deletion.
pub fn stop(entity: &Entity, since: usize) -> Option<Ending> {
    let closed = entity.turnings.iter().find(|turning| !turning.open && turning.moment >= since);
    let closed = closed.map(|t| Ending { date: t.at, moment: t.moment, resolution: "closed" });
    let deleted = entity.deleted.map(|(at, moment)| Ending { date: at, moment, resolution: "deleted" });
    closed.into_iter().chain(deleted).min_by_key(|ending| ending.moment)
}

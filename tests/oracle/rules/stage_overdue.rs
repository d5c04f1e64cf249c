//! `stage_overdue`: the cumulative time of an open entity in its present stage is over the stage's `max_time`; and the
//! gauge of what is overdue.
//!
//! The places of an entity, with the turnings (closed, reopened) cut out of them, make **pieces** of time in a stage.
//! A piece that runs when it becomes known has a clock, which counts what earlier pieces left of `max_time`.

use serde_json::json;

use super::super::alert::{Alert, Heading};
use super::super::calendar::Clock;
use super::super::history::{Entity, Place, World};
use super::super::norms::{Norms, Scope};
use super::super::readings;
use super::neglected::stop;
use super::{Ending, Watch, lasting, life, seconds};

const RULE: &str = "stage_overdue";

/// A clock of a stay.
pub struct Stay<'a> {
    pub place: &'a Place,
    pub early: bool,
    pub anchor: i64,
    /// When it was known that it runs.
    opened: usize,
    /// When the stay began, in order of effect (its pipeline may be named later).
    began: usize,
    scope: Scope,
    max_time: i64,
    /// What earlier pieces in this stage add up to.
    earlier: i64,
    clock: Clock,
    pub due: Option<i64>,
    /// The next place.
    left: Option<Ending>,
}

pub fn judge(world: &World, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for entity in world.entities.values() {
        for stay in stays(norms, entity) {
            alerts.extend(alert(world, norms, entity, &stay, until));
        }
    }
    alerts
}

fn alert(world: &World, norms: &Norms, entity: &Entity, stay: &Stay, until: i64) -> Option<Alert> {
    let norm = norms.rule(RULE, &stay.scope)?;
    let watch = Watch {
        anchor: stay.anchor,
        opened: stay.opened,
        within: (stay.max_time - stay.earlier).max(0),
        clock: &norm.clock,
        escalate_after: &norm.escalate_after,
        acts: stay.left.into_iter().collect(),
        stop: stop(entity, stay.began),
    };
    let (due, steps) = life(world, &watch, until)?;
    let asked = json!({"max_time_seconds": seconds(stay.max_time), "clock": norm.clock_name});
    let heading = Heading::entity(RULE, &entity.id, stay.anchor, norm.severity);
    let subject = format!("{}/{}", entity.id, stay.place.stage);
    let told = lasting(steps, &norm.clock, stay.anchor, stay.earlier, "time_in_stage_seconds", &asked);
    Some(Heading { due: Some(due), subject, ..heading }.tell(world, told))
}

/// The stay of an open entity that runs now, if its stage has a `max_time`.
pub fn present<'a>(norms: &Norms, entity: &'a Entity) -> Option<Stay<'a>> {
    let last = entity.places.len().checked_sub(1)?;
    if !entity.is_open() {
        return None;
    }
    stays_of(norms, entity, last).pop()
}

fn stays<'a>(norms: &Norms, entity: &'a Entity) -> Vec<Stay<'a>> {
    (0..entity.places.len()).flat_map(|index| stays_of(norms, entity, index)).collect()
}

/// The clocks of one place: from the entry, if the entity was open then, and from each reopening in it.
fn stays_of<'a>(norms: &Norms, entity: &'a Entity, index: usize) -> Vec<Stay<'a>> {
    let place = &entity.places[index];
    let pipeline = place.pipeline.as_ref().and_then(|name| norms.pipelines.get(name));
    let Some(stage) = pipeline.and_then(|pipeline| pipeline.stage(&place.stage)) else { return Vec::new() };
    let Some(max_time) = stage.max_time else { return Vec::new() };
    let next = entity.places.get(index + 1);

    let before = entity.turnings.iter().rfind(|turning| turning.moment <= place.moment);
    let mut begins: Vec<(i64, usize)> = Vec::new();
    match before {
        None => begins.push((place.date, place.moment)),
        Some(turning) if turning.open => begins.push((place.date.max(turning.at), place.moment)),
        Some(_) => {}
    }
    let held = |moment: usize| moment > place.moment && next.is_none_or(|next| moment < next.moment);
    begins.extend(entity.turnings.iter().filter(|t| t.open && held(t.moment)).map(|t| (t.at, t.moment)));

    let mut stays = Vec::new();
    for (anchor, began) in begins {
        let opened = began.max(place.named.unwrap_or(0));
        let own = pieces(entity, index, opened);
        let Some(scope) = own.last().map(|piece| piece.scope.clone()) else { continue };
        let clock = clock(norms, &scope);
        let mut earlier = 0;
        for (other, at) in entity.places[..=index].iter().enumerate() {
            if at.pipeline == place.pipeline && at.stage == place.stage {
                for piece in pieces(entity, other, opened).iter().filter(|piece| piece.begin < anchor) {
                    let end = piece.end.map_or(anchor, |end| end.min(anchor));
                    earlier += self::clock(norms, &piece.scope).between(piece.begin, end);
                }
            }
        }
        stays.push(Stay {
            place,
            early: stage.early,
            anchor,
            opened,
            began,
            due: clock.after(anchor, (max_time - earlier).max(0)),
            scope,
            max_time,
            earlier,
            clock,
            left: next.map(|next| Ending { date: next.date, moment: next.moment, resolution: "left_stage" }),
        });
    }
    stays
}

/// Of the rule where it is on, else the wall (decision 16).
fn clock(norms: &Norms, scope: &Scope) -> Clock {
    norms.rule(RULE, scope).map_or(Clock::Wall, |norm| norm.clock)
}

struct Piece {
    begin: i64,
    end: Option<i64>,
    scope: Scope,
}

/// The moment and the scope of a reopening.
type Reopened<'a> = (usize, &'a Scope);

/// The open time of a place, as known at a moment.
fn pieces(entity: &Entity, index: usize, known: usize) -> Vec<Piece> {
    let place = &entity.places[index];
    let left = entity.places.get(index + 1).filter(|next| next.moment <= known).map(|next| next.date);
    let mut open: Vec<(i64, Option<i64>, Option<Reopened>)> = vec![(i64::MIN, None, None)];
    for turning in entity.turnings.iter().filter(|turning| turning.moment <= known) {
        if turning.open {
            open.push((turning.at, None, Some((turning.moment, &turning.scope))));
        } else {
            open.last_mut().unwrap().1 = Some(turning.at);
        }
    }
    let mut pieces = Vec::new();
    for (from, to, reopened) in open {
        let begin = from.max(place.date);
        let end = match (to, left) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if end.is_some_and(|end| end < begin) {
            continue;
        }
        let mut scopes = vec![(place.moment, &place.scope)];
        if let (Some(moment), Some(scope)) = (place.named, &place.named_scope)
            && readings::NAMING_THE_PIPELINE_SETS_THE_SCOPE
            && moment <= known
        {
            scopes.push((moment, scope));
        }
        scopes.extend(reopened);
        let scope = scopes.iter().max_by_key(|(moment, _)| *moment).unwrap().1.clone();
        pieces.push(Piece { begin, end, scope });
    }
    pieces
}

//! `stage_overdue`: the cumulative time of an open entity in its current stage exceeds the stage's `max_time`; and the
//! overdue gauge.
//!
//! The open time of each stage visit consists of **pieces**, separated by closings. A piece that is running when it
//! becomes known has a clock for the part of `max_time` that earlier pieces have not used.

use serde_json::json;

use super::super::alert::{Alert, AlertHeader};
use super::super::calendar::Clock;
use super::super::history::{Entity, StageVisit, TenantHistory};
use super::super::norms::{Norms, Scope};
use super::super::readings;
use super::neglected::stop;
use super::{Ending, RunningClock, lifecycle, observe_duration, seconds};

const RULE: &str = "stage_overdue";

/// A clock of a stage visit.
pub struct Stay<'a> {
    pub visit: &'a StageVisit,
    pub early: bool,
    pub anchor: i64,
    /// The moment when the clock became known.
    opened: usize,
    /// The moment when the stay began (its pipeline may become known later).
    began: usize,
    scope: Scope,
    max_time: i64,
    /// The total of earlier pieces in this stage.
    earlier: i64,
    clock: Clock,
    pub due: Option<i64>,
    /// The next visit.
    left: Option<Ending>,
}

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for entity in history.entities.values() {
        for stay in stays(norms, entity) {
            alerts.extend(alert(history, norms, entity, &stay, until));
        }
    }
    alerts
}

fn alert(history: &TenantHistory, norms: &Norms, entity: &Entity, stay: &Stay, until: i64) -> Option<Alert> {
    let norm = norms.rule(RULE, &stay.scope)?;
    let running = RunningClock {
        anchor: stay.anchor,
        opened: stay.opened,
        within: (stay.max_time - stay.earlier).max(0),
        clock: &norm.clock,
        warn_before: norm.warn_before(),
        warns_early: false,
        escalate_after: &norm.escalate_after,
        acts: stay.left.into_iter().collect(),
        stop: stop(entity, stay.began),
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let required = json!({"max_time_seconds": seconds(stay.max_time), "clock": norm.clock_name});
    let header = AlertHeader::entity(RULE, &entity.id, stay.anchor, norm.severity);
    let subject = format!("{}/{}", entity.id, stay.visit.stage);
    let details = observe_duration(steps, &norm.clock, stay.anchor, stay.earlier, "time_in_stage_seconds", &required);
    Some(AlertHeader { due: Some(due), subject, ..header }.build(history, details))
}

/// The running stay of an open entity, if its stage has a `max_time`.
pub fn present<'a>(norms: &Norms, entity: &'a Entity) -> Option<Stay<'a>> {
    let last = entity.visits.len().checked_sub(1)?;
    if !entity.is_open() {
        return None;
    }
    stays_of(norms, entity, last).pop()
}

fn stays<'a>(norms: &Norms, entity: &'a Entity) -> Vec<Stay<'a>> {
    (0..entity.visits.len()).flat_map(|index| stays_of(norms, entity, index)).collect()
}

/// The clocks of one visit: from the entry, if the entity was open then, and from each reopening during it.
fn stays_of<'a>(norms: &Norms, entity: &'a Entity, index: usize) -> Vec<Stay<'a>> {
    let visit = &entity.visits[index];
    let pipeline = visit.pipeline.as_ref().and_then(|name| norms.pipelines.get(name));
    let Some(stage) = pipeline.and_then(|pipeline| pipeline.stage(&visit.stage)) else { return Vec::new() };
    let Some(max_time) = stage.max_time else { return Vec::new() };
    let next = entity.visits.get(index + 1);

    let before = entity.open_changes.iter().rfind(|open_change| open_change.moment <= visit.moment);
    let mut begins: Vec<(i64, usize)> = Vec::new();
    match before {
        None => begins.push((visit.date, visit.moment)),
        Some(open_change) if open_change.open => begins.push((visit.date.max(open_change.at), visit.moment)),
        Some(_) => {}
    }
    let held = |moment: usize| moment > visit.moment && next.is_none_or(|next| moment < next.moment);
    begins.extend(entity.open_changes.iter().filter(|t| t.open && held(t.moment)).map(|t| (t.at, t.moment)));

    let mut stays = Vec::new();
    for (anchor, began) in begins {
        let opened = began.max(visit.pipeline_known.unwrap_or(0));
        let own = pieces(entity, index, opened);
        let Some(scope) = own.last().map(|piece| piece.scope.clone()) else { continue };
        let clock = clock(norms, &scope);
        let mut earlier = 0;
        for (other, at) in entity.visits[..=index].iter().enumerate() {
            if at.pipeline == visit.pipeline && at.stage == visit.stage {
                for piece in pieces(entity, other, opened).iter().filter(|piece| piece.begin < anchor) {
                    let end = piece.end.map_or(anchor, |end| end.min(anchor));
                    earlier += self::clock(norms, &piece.scope).between(piece.begin, end);
                }
            }
        }
        stays.push(Stay {
            visit,
            early: stage.early,
            anchor,
            opened,
            began,
            due: clock.after(anchor, (max_time - earlier).max(0)),
            scope,
            max_time,
            earlier,
            clock,
            left: next.map(|next| Ending::new(next.date, next.moment, "left_stage")),
        });
    }
    stays
}

/// The rule's clock where the rule is on, else wall time (decision 16).
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

/// The open time of a visit, as known at a moment.
fn pieces(entity: &Entity, index: usize, known: usize) -> Vec<Piece> {
    let visit = &entity.visits[index];
    let left = entity.visits.get(index + 1).filter(|next| next.moment <= known).map(|next| next.date);
    let mut open: Vec<(i64, Option<i64>, Option<Reopened>)> = vec![(i64::MIN, None, None)];
    for open_change in entity.open_changes.iter().filter(|open_change| open_change.moment <= known) {
        if open_change.open {
            open.push((open_change.at, None, Some((open_change.moment, &open_change.scope))));
        } else {
            open.last_mut().unwrap().1 = Some(open_change.at);
        }
    }
    let mut pieces = Vec::new();
    for (from, to, reopened) in open {
        let begin = from.max(visit.date);
        let end = match (to, left) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if end.is_some_and(|end| end < begin) {
            continue;
        }
        let mut scopes = vec![(visit.moment, &visit.scope)];
        if let (Some(moment), Some(scope)) = (visit.pipeline_known, &visit.pipeline_scope)
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

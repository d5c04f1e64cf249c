//! `first_response_late`: a lead, or a deal without a lead, has no touch by its deadline; and the first-response figures,
//! which use the same clock.

use serde_json::json;

use super::super::alert::{Alert, AlertHeader};
use super::super::calls::{Leg, Start};
use super::super::history::{Act, Entity, FirstResponse, HandOver, TenantHistory};
use super::super::identity::EntityId;
use super::super::norms::{Norm, Norms};
use super::super::readings;
use super::{Ending, RunningClock, lifecycle, observe_duration, seconds};

const RULE: &str = "first_response_late";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let entities = history.entities.values();
    entities.flat_map(|entity| alerts(history, norms, entity, until)).collect()
}

/// A clock of a wait for the first response: from the creation, or again from each hand-over.
struct ResponseClock {
    anchor: i64,
    moment: usize,
    norm: Norm,
    /// The hand-over that ends it.
    handed_over: Option<Ending>,
}

fn clocks(norms: &Norms, entity: &Entity) -> Vec<ResponseClock> {
    let Some(first) = &entity.first_response else { return Vec::new() };
    let mut clocks: Vec<ResponseClock> = Vec::new();
    let (known, later): (Vec<&HandOver>, Vec<&HandOver>) =
        entity.handovers.iter().partition(|one| one.moment <= first.moment);
    if let Some(norm) = norms.rule(RULE, &first.scope) {
        let anchor = match known[..] {
            _ if !from_assigned(&norm) => Some(first.created_at),
            // Unassigned: no clock yet.
            [] => None,
            // Created with a manager.
            [one] if one.moment == first.moment => Some(first.created_at),
            [.., last] => Some(last.at),
        };
        clocks.extend(anchor.map(|anchor| ResponseClock { anchor, moment: first.moment, norm, handed_over: None }));
    }
    for hand_over in later {
        let Some(norm) = norms.rule(RULE, &hand_over.scope).filter(from_assigned) else { continue };
        let stands = |act: &Act| act.stands_at(hand_over.moment);
        let answered = |norm: &Norm| acts(entity, norm).iter().any(stands);
        if answered(&norm)
            || clocks.iter().any(|clock| answered(&clock.norm))
            || stop(entity).is_some_and(|stop| stop.moment < hand_over.moment)
        {
            continue;
        }
        if let Some(last) = clocks.last_mut() {
            last.handed_over = Some(Ending::new(hand_over.at, hand_over.moment, "reassigned"));
        }
        clocks.push(ResponseClock { anchor: hand_over.at, moment: hand_over.moment, norm, handed_over: None });
    }
    clocks
}

fn from_assigned(norm: &Norm) -> bool {
    norm.keys.get("from").and_then(|from| from.as_str()) == Some("assigned")
}

/// If the norm requires a conversation, the wait ends with the contact both ways.
fn acts<'a>(entity: &'a Entity, norm: &Norm) -> &'a [Act] {
    if response(norm) == "conversation" { &entity.two_way_contacts } else { &entity.touches }
}

fn alerts(history: &TenantHistory, norms: &Norms, entity: &Entity, until: i64) -> Vec<Alert> {
    let clocks = clocks(norms, entity);
    clocks.iter().filter_map(|clock| alert(history, entity, clock, until)).collect()
}

fn alert(history: &TenantHistory, entity: &Entity, clock: &ResponseClock, until: i64) -> Option<Alert> {
    let (norm, anchor) = (&clock.norm, clock.anchor);
    // A snapshot hands over before it closes.
    let stops = clock.handed_over.into_iter().chain(stop(entity));
    let running = RunningClock {
        anchor,
        opened: clock.moment,
        within: norm.within,
        clock: &norm.clock,
        warn_before: norm.warn_before(),
        warns_early: false,
        escalate_after: &norm.escalate_after,
        // A response dated before the beginning counts as given then (fixed reading a; decision 23).
        acts: acts(entity, norm).iter().map(|act| Ending::of_act(act, act.date.max(anchor), "responded")).collect(),
        stop: stops.min_by_key(|ending| ending.moment),
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let response = response(norm);
    let required = json!({"within_seconds": seconds(norm.within), "clock": norm.clock_name, "response": response});
    let header = AlertHeader::entity(RULE, &entity.id, anchor, norm.severity);
    let details = observe_duration(steps, &norm.clock, anchor, 0, "lag_seconds", &required);
    Some(AlertHeader { due: Some(due), ..header }.build(history, details))
}

fn response(norm: &Norm) -> &'static str {
    match norm.keys.get("response").and_then(|r| r.as_str()) {
        Some("conversation") => "conversation",
        _ => "attempt",
    }
}

/// Decision 12: the first closing ends the clock permanently, and so does the deletion.
pub fn stop(entity: &Entity) -> Option<Ending> {
    let closed = entity.closings.first().map(|c| Ending::new(c.at, c.moment, "closed"));
    closed.into_iter().chain(entity.deletion()).min_by_key(|ending| ending.moment)
}

/// A first response; lags in milliseconds.
pub struct Lag {
    pub date: i64,
    pub who: Option<String>,
    pub wall: i64,
    pub business: i64,
}

/// The verdict on an entity, at its response or its deadline, whichever is first.
pub struct Judged {
    pub date: i64,
    pub who: Option<String>,
    pub in_time: bool,
}

/// Decision 23: the earliest dated touch known, never before the creation.
pub fn first_response(entity: &Entity) -> Option<&Act> {
    entity.standing_touches().min_by_key(|act| (act.date, act.origin))
}

/// Decision 5: the manager responsible when the act became known.
fn responsible(entity: &Entity, act: &Act, clock: &FirstResponse) -> Option<String> {
    let known = if readings::LAG_MANAGER_WHEN_CREATION_KNOWN_TOO { act.origin.max(clock.moment) } else { act.origin };
    entity.responsible_at(known).map(str::to_owned)
}

/// Whether the entity was closed or deleted before this act, by date and, at one instant, event order.
fn ended_before(entity: &Entity, act: &Act) -> bool {
    stop(entity).is_some_and(|end| (end.date, end.moment) < (act.date, act.origin))
}

pub fn lag(norms: &Norms, entity: &Entity) -> Option<Lag> {
    let clock = entity.first_response.as_ref().filter(|_| !entity.merged)?;
    let act = first_response(entity)?;
    if ended_before(entity, act) && !readings::FIRST_RESPONSE_AFTER_CLOSING_GIVES_LAG {
        return None;
    }
    let date = act.date.max(clock.created_at);
    Some(Lag {
        date,
        who: responsible(entity, act, clock),
        wall: date - clock.created_at,
        business: norms.business(&clock.scope).between(clock.created_at, date),
    })
}

/// Figures use the dates of the acts and the earliest touch, independent of `response` in the norm.
pub fn judged(history: &TenantHistory, norms: &Norms, entity: &Entity, until: i64) -> Option<Judged> {
    let created = entity.first_response.as_ref().filter(|_| !entity.merged)?;
    // Decision 23: without a norm there is no `within_norm`.
    let clocks = clocks(norms, entity);
    let due_of = |clock: &ResponseClock| clock.norm.clock.after(clock.anchor, clock.norm.within);
    let act = first_response(entity).filter(|act| !ended_before(entity, act));
    let mut ran = clocks.len();
    if let Some(act) = act {
        let date = act.date.max(created.created_at);
        // The clock that ran at its date; of a response before any clock nothing is judged.
        let began = |clock: &ResponseClock| {
            let moment = if clock.moment == created.moment { 0 } else { clock.moment };
            (clock.anchor, moment) < (date, act.origin)
        };
        ran = clocks.iter().rposition(began)? + 1;
        let due = due_of(&clocks[ran - 1]);
        if due.is_none_or(|due| date <= due) {
            return Some(Judged { date, who: responsible(entity, act, created), in_time: true });
        }
    }
    // The last one missed.
    let missed = |clock: &&ResponseClock| {
        let due = due_of(clock).filter(|due| *due <= until)?;
        // Closed or handed over unanswered by the deadline (at the same instant events precede it): not missed.
        let mut ends = stop(entity).into_iter().chain(clock.handed_over);
        ends.all(|end| end.date > due).then_some(due)
    };
    let (clock, due) = clocks[..ran].iter().rev().find_map(|clock| Some((clock, missed(&clock)?)))?;
    // Decision 3: a deadline that becomes known after it has passed follows the other events of that instant.
    let decided = history.moment_at(due.max(history.instant_of(clock.moment)));
    Some(Judged { date: due, who: entity.responsible_at(decided).map(str::to_owned), in_time: false })
}

/// The time that the first touch took since the last assignment before it, for the manager who made the touch.
pub fn human_response(history: &TenantHistory, norms: &Norms, entity: &Entity) -> Option<Lag> {
    let created = entity.first_response.as_ref().filter(|_| !entity.merged)?;
    let act = first_response(entity)?;
    if ended_before(entity, act) && !readings::FIRST_RESPONSE_AFTER_CLOSING_GIVES_LAG {
        return None;
    }
    let date = act.date.max(created.created_at);
    // Created with a manager: assigned at the creation.
    let at = |index: usize| {
        let one = &entity.handovers[index];
        if index == 0 && one.moment == created.moment { created.created_at } else { one.at }
    };
    let before = |index: &usize| (at(*index), entity.handovers[*index].moment) < (date, act.origin);
    let last = (0..entity.handovers.len()).rfind(before)?;
    let assigned = at(last);
    Some(Lag {
        date,
        who: maker(history, &entity.id, act),
        wall: date - assigned,
        business: norms.business(&entity.handovers[last].scope).between(assigned, date),
    })
}

/// Who made a touch: the event's manager, else the responsible.
fn maker(history: &TenantHistory, id: &EntityId, act: &Act) -> Option<String> {
    let Some(call) = &act.call else { return act.by.clone() };
    let group = history.calls.group(&history.calls.key(call, usize::MAX), usize::MAX);
    let attempt = |start: &&&Start| start.outbound && start.call == *call && start.at == act.date;
    let started = group.starts.iter().filter(attempt).find(|start| start.entities.contains(id));
    let touches = |leg: &&&Leg| leg.call == *call && leg.start == act.date && (leg.outbound || leg.conversation);
    let leg = || group.legs.iter().find(touches);
    started.map(|start| start.actor.clone()).or_else(|| leg().map(|leg| leg.actor.clone()))?
}

/// The start of the wait for a first response. Decision 25: an entity that was ever closed does not wait.
pub fn awaiting_since(entity: &Entity) -> Option<i64> {
    let clock = entity.first_response.as_ref()?;
    (entity.standing_touches().next().is_none() && stop(entity).is_none()).then_some(clock.created_at)
}

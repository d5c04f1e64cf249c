//! `first_response_late`: a lead, or a deal without a lead, has no touch by its deadline; and the first-response figures,
//! which use the same clock.

use serde_json::json;

use super::super::alert::{Alert, AlertHeader};
use super::super::history::{Act, Entity, FirstResponse, TenantHistory};
use super::super::norms::{Norm, Norms};
use super::super::readings;
use super::{Ending, RunningClock, lifecycle, observe_duration, seconds};

const RULE: &str = "first_response_late";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    history.entities.values().filter_map(|entity| alert(history, norms, entity, until)).collect()
}

fn alert(history: &TenantHistory, norms: &Norms, entity: &Entity, until: i64) -> Option<Alert> {
    let clock = entity.first_response.as_ref()?;
    let norm = norms.rule(RULE, &clock.scope)?;
    let response = response(&norm);
    // If the norm requires a conversation, the alert ends with the contact both ways.
    let acts = if response == "conversation" { &entity.two_way_contacts } else { &entity.touches };
    let running = RunningClock {
        anchor: clock.created_at,
        opened: clock.moment,
        within: norm.within,
        clock: &norm.clock,
        escalate_after: &norm.escalate_after,
        acts: acts.iter().map(|act| ending(act, clock)).collect(),
        stop: stop(entity),
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let required = json!({"within_seconds": seconds(norm.within), "clock": norm.clock_name, "response": response});
    let header = AlertHeader::entity(RULE, &entity.id, clock.created_at, norm.severity);
    let details = observe_duration(steps, &norm.clock, clock.created_at, 0, "lag_seconds", &required);
    Some(AlertHeader { due: Some(due), ..header }.build(history, details))
}

fn response(norm: &Norm) -> &'static str {
    match norm.keys.get("response").and_then(|r| r.as_str()) {
        Some("conversation") => "conversation",
        _ => "attempt",
    }
}

/// A response dated before the creation counts as given at the creation (fixed reading a; decision 23).
fn ending(act: &Act, clock: &FirstResponse) -> Ending {
    Ending::of_act(act, act.date.max(clock.created_at), "responded")
}

/// Decision 12: the first closing ends the clock permanently, and so does the deletion.
pub fn stop(entity: &Entity) -> Option<Ending> {
    let closed = entity.closings.first().map(|c| Ending::new(c.at, c.moment, "closed"));
    let deleted = entity.deleted.map(|(at, moment)| Ending::new(at, moment, "deleted"));
    closed.into_iter().chain(deleted).min_by_key(|ending| ending.moment)
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
    entity.standing_touches().min_by_key(|act| (act.date, act.moment))
}

/// Decision 5: the manager responsible when the act became known.
fn responsible(entity: &Entity, act: &Act, clock: &FirstResponse) -> Option<String> {
    let known = if readings::LAG_MANAGER_WHEN_CREATION_KNOWN_TOO { act.moment.max(clock.moment) } else { act.moment };
    entity.responsible_at(known).map(str::to_owned)
}

/// Whether the entity was closed or deleted before this act, by date and, at one instant, event order.
fn ended_before(entity: &Entity, act: &Act) -> bool {
    stop(entity).is_some_and(|end| (end.date, end.moment) < (act.date, act.moment))
}

pub fn lag(norms: &Norms, entity: &Entity) -> Option<Lag> {
    let clock = entity.first_response.as_ref()?;
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
    let clock = entity.first_response.as_ref()?;
    // Decision 23: without a norm there is no `within_norm`.
    let norm = norms.rule(RULE, &clock.scope)?;
    let due = norm.clock.after(clock.created_at, norm.within);
    let act = first_response(entity).filter(|act| !ended_before(entity, act));
    if let Some(act) = act {
        let date = act.date.max(clock.created_at);
        if due.is_none_or(|due| date <= due) {
            return Some(Judged { date, who: responsible(entity, act, clock), in_time: true });
        }
    }
    let due = due.filter(|due| *due <= until)?;
    // Closed unanswered by the deadline (at the same instant events precede it): not judged.
    if stop(entity).is_some_and(|end| end.date <= due) {
        return None;
    }
    // Decision 3: a deadline that becomes known after it has passed follows the other events of that instant.
    let decided = history.moment_at(due.max(history.instant_of(clock.moment)));
    Some(Judged { date: due, who: entity.responsible_at(decided).map(str::to_owned), in_time: false })
}

/// The start of the wait for a first response. Decision 25: an entity that was ever closed does not wait.
pub fn awaiting_since(entity: &Entity) -> Option<i64> {
    let clock = entity.first_response.as_ref()?;
    (entity.standing_touches().next().is_none() && stop(entity).is_none()).then_some(clock.created_at)
}

//! One rule a file; each is a query over a [`World`](super::history::World) that gives its alerts with their whole
//! lives. What the life of a state that lasts looks like is here, once.

pub mod disqualified;
pub mod first_response_late;
pub mod message_unanswered;
pub mod missed_call_not_returned;
pub mod moves;
pub mod neglected;
pub mod source_silent;
pub mod stage_overdue;
pub mod terms;
pub mod too_few_attempts;
pub mod windows;

use serde_json::{Value, json};

use super::alert::{Alert, Told};
use super::calendar::Clock;
use super::history::World;
use super::norms::{Norm, Norms};

/// Every alert of the rules that go by single acts and clocks.
pub fn judge(world: &World, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = first_response_late::judge(world, norms, until);
    alerts.extend(missed_call_not_returned::judge(world, norms, until));
    alerts.extend(message_unanswered::judge(world, norms, until));
    alerts.extend(too_few_attempts::judge(world, norms, until));
    alerts.extend(neglected::judge(world, norms, until));
    alerts.extend(source_silent::judge(world, norms, until));
    alerts.extend(stage_overdue::judge(world, norms, until));
    alerts.extend(disqualified::judge(world, norms));
    alerts.extend(moves::judge(world, norms));
    alerts.extend(terms::judge(world, norms));
    // Decision 20: two wrong acts of one rule on one subject in one millisecond are one alert, the first.
    let mut raised = std::collections::BTreeSet::new();
    alerts.retain(|alert| alert.began().turn != Turn::Raised || raised.insert(alert.id.clone()));
    alerts
}

/// Steps that observe how long something lasts, in `key`.
fn lasting(steps: Vec<Step>, clock: &Clock, anchor: i64, before: i64, key: &str, asked: &Value) -> Vec<Told> {
    let observed = |step: &Step| {
        let lasted = before + clock.between(anchor, step.observed_to.max(anchor));
        json!({key: seconds(lasted)})
    };
    steps.into_iter().map(|step| (step, observed(&step), asked.clone())).collect()
}

fn within(norm: &Norm) -> Value {
    json!({"within_seconds": seconds(norm.within), "clock": norm.clock_name})
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// A running clock and everything that may end it.
pub struct Watch<'a> {
    pub anchor: i64,
    /// When it became known that the clock runs.
    pub opened: usize,
    pub within: i64,
    pub clock: &'a Clock,
    pub escalate_after: &'a [i64],
    /// Acts that answer it, in any order.
    pub acts: Vec<Ending>,
    /// What else ends it for good (closed, deleted).
    pub stop: Option<Ending>,
}

#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub date: i64,
    pub moment: usize,
    pub resolution: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Raised,
    Firing,
    Escalated,
    Resolved,
    Retracted,
}

/// One status in the life of an alert.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub turn: Turn,
    pub at: i64,
    /// What is known then.
    pub moment: usize,
    pub level: usize,
    /// Until when the lag is observed: the status' instant, or the date of the act that ended it.
    pub observed_to: i64,
    pub resolution: Option<&'static str>,
}

/// The life of the alert of a watch; empty if it never fires by `until`. Returns the deadline with it.
///
/// Decision 2: a status is dated at the instant at which it can be decided, the later of deadline and event; decision 3:
/// events go before deadlines at one instant.
pub fn life(world: &World, watch: &Watch, until: i64) -> Option<(i64, Vec<Step>)> {
    let due = watch.clock.after(watch.anchor, watch.within)?;
    let fires = due.max(world.instant_of(watch.opened));
    if fires > until {
        return None;
    }
    let known = world.moment_at(fires);
    let mut acts = watch.acts.clone();
    acts.sort_by_key(|act| act.moment);
    if acts.iter().chain(&watch.stop).any(|ending| ending.moment <= known) {
        return None;
    }
    let mut steps =
        vec![Step { turn: Turn::Firing, at: fires, moment: known, level: 0, observed_to: fires, resolution: None }];

    // What is known first ends it.
    let end = acts.first().into_iter().chain(&watch.stop).min_by_key(|ending| ending.moment).copied();
    let ends_at = end.map(|ending| world.instant_of(ending.moment));
    let mut level = 0;
    for (index, after) in watch.escalate_after.iter().enumerate() {
        let Some(at) = watch.clock.after(due, *after) else { break };
        let at = at.max(fires);
        if at > until || ends_at.is_some_and(|end| end <= at) {
            break;
        }
        level = index + 1;
        steps.push(Step {
            turn: Turn::Escalated,
            at,
            moment: world.moment_at(at),
            level,
            observed_to: at,
            resolution: None,
        });
    }

    if let Some(end) = end {
        let step = |turn, ending: Ending, resolution| Step {
            turn,
            at: world.instant_of(ending.moment),
            moment: ending.moment,
            level,
            observed_to: ending.date,
            resolution: Some(resolution),
        };
        // An act dated in time but known only after the deadline, also after a RESOLVED by a later act.
        let in_time = acts.iter().find(|act| act.date <= due).copied();
        match in_time {
            Some(act) if act.moment <= end.moment => steps.push(step(Turn::Retracted, act, "late_evidence")),
            _ => {
                steps.push(step(Turn::Resolved, end, end.resolution));
                steps.extend(in_time.map(|act| step(Turn::Retracted, act, "late_evidence")));
            }
        }
    }
    Some((due, steps))
}

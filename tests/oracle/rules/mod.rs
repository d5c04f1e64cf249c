//! The rules, one per file: each is a query over a [`TenantHistory`](super::history::TenantHistory) that returns its
//! alerts with all their statuses. The lifecycle common to the rules with a deadline is here.

pub mod disqualified;
pub mod first_response_late;
pub mod message_unanswered;
pub mod missed_call_not_returned;
pub mod moves;
pub mod neglected;
pub mod next_step;
pub mod source_silent;
pub mod stage_overdue;
pub mod terms;
pub mod too_few_attempts;
pub mod waits;
pub mod windows;

use serde_json::{Value, json};

use super::alert::{Alert, StatusDetails};
use super::calendar::Clock;
use super::history::{Act, TenantHistory};
use super::norms::{Norm, Norms};
use super::readings;

/// All alerts of the rules that judge acts or clocks.
pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = first_response_late::judge(history, norms, until);
    alerts.extend(missed_call_not_returned::judge(history, norms, until));
    alerts.extend(message_unanswered::judge(history, norms, until));
    alerts.extend(too_few_attempts::judge(history, norms, until));
    alerts.extend(neglected::judge(history, norms, until));
    alerts.extend(next_step::judge(history, norms, until));
    alerts.extend(source_silent::judge(history, norms, until));
    alerts.extend(stage_overdue::judge(history, norms, until));
    alerts.extend(disqualified::judge(history, norms));
    alerts.extend(moves::judge(history, norms));
    alerts.extend(terms::judge(history, norms));
    // Decision 20: two violations of one rule on one subject in one millisecond are one alert, the first.
    let mut raised = std::collections::BTreeSet::new();
    alerts.retain(|alert| alert.statuses[0].kind != StatusKind::Raised || raised.insert(alert.id.clone()));
    alerts
}

/// Adds the observed duration, in `key`, to each step.
fn observe_duration(
    steps: Vec<Step>,
    clock: &Clock,
    anchor: i64,
    before: i64,
    key: &str,
    required: &Value,
) -> Vec<StatusDetails> {
    let observed = |step: &Step| {
        let lasted = before + clock.between(anchor, step.observed_to.max(anchor));
        json!({key: seconds(lasted)})
    };
    steps.into_iter().map(|step| (step, observed(&step), required.clone())).collect()
}

fn within(norm: &Norm) -> Value {
    json!({"within_seconds": seconds(norm.within), "clock": norm.clock_name})
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// A running clock and everything that can end it.
pub struct RunningClock<'a> {
    pub anchor: i64,
    /// The moment when the clock became known.
    pub opened: usize,
    pub within: i64,
    pub clock: &'a Clock,
    /// How much counted time is left at the warning.
    pub warn_before: Option<i64>,
    /// The warning may precede the anchor.
    pub warns_early: bool,
    pub escalate_after: &'a [i64],
    /// The acts that settle it, in any order.
    pub acts: Vec<Ending>,
    /// Another permanent end (closed, deleted).
    pub stop: Option<Ending>,
}

#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub date: i64,
    pub moment: usize,
    pub resolution: &'static str,
    /// It shows that there was nothing to wait for: as an act in time, whatever its date.
    pub taken_back: bool,
    /// The moment when it turned out that there was no such act.
    pub gone: Option<usize>,
}

impl Ending {
    pub fn new(date: i64, moment: usize, resolution: &'static str) -> Ending {
        Ending { date, moment, resolution, taken_back: false, gone: None }
    }

    pub fn taken_back(date: i64, moment: usize) -> Ending {
        Ending { taken_back: true, ..Ending::new(date, moment, "late_evidence") }
    }

    pub fn of_act(act: &Act, date: i64, resolution: &'static str) -> Ending {
        Ending { gone: act.gone, ..Ending::new(date, act.moment, resolution) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKind {
    DueSoon,
    Averted,
    Raised,
    Firing,
    Escalated,
    Resolved,
    Retracted,
}

impl StatusKind {
    /// Before the deadline.
    pub fn is_warning(self) -> bool {
        matches!(self, StatusKind::DueSoon | StatusKind::Averted)
    }
}

/// One status in the lifecycle of an alert.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub kind: StatusKind,
    pub at: i64,
    /// The moment whose state it uses.
    pub moment: usize,
    pub level: usize,
    /// The end of the observed lag: the instant of the status, or the date of the act that ended the clock.
    pub observed_to: i64,
    pub resolution: Option<&'static str>,
}

/// The deadline of a clock and the statuses of its alert; `None` if there are none by `until`.
///
/// Decision 2: a status is dated at the instant when it can be decided, the later of deadline and event. Decision 3: at
/// one instant events precede deadlines.
pub fn lifecycle(history: &TenantHistory, running: &RunningClock, until: i64) -> Option<(i64, Vec<Step>)> {
    let due = running.clock.after(running.anchor, running.within)?;
    let fires = due.max(history.instant_of(running.opened));
    let known = history.moment_at(fires);
    let mut acts = running.acts.clone();
    acts.sort_by_key(|act| act.moment);
    // What was withdrawn before the clock began never ended it.
    acts.retain(|act| act.gone.is_none_or(|gone| gone > running.opened));
    if !readings::A_REPLACED_ACT_STILL_ENDED_ITS_CLOCKS {
        acts.retain(|act| act.gone.is_none_or(|gone| gone > known));
    }
    // The end that becomes known first counts.
    let end = acts.first().into_iter().chain(&running.stop).min_by_key(|ending| ending.moment).copied();
    let warning = warning(history, running, due, end, until);
    let mut steps: Vec<Step> = warning.into_iter().collect();
    if let Some(end) = end.filter(|end| end.moment <= known) {
        if let Some(warning) = warning {
            steps.extend(averted(history, warning.at, end, &acts));
        }
        return (!steps.is_empty()).then_some((due, steps));
    }
    if fires > until {
        return (!steps.is_empty()).then_some((due, steps));
    }
    steps.push(Step {
        kind: StatusKind::Firing,
        at: fires,
        moment: known,
        level: 0,
        observed_to: fires,
        resolution: None,
    });

    let ends_at = end.map(|ending| history.instant_of(ending.moment));
    let mut level = 0;
    for (index, after) in running.escalate_after.iter().enumerate() {
        let Some(at) = running.clock.after(due, *after) else { break };
        let at = at.max(fires);
        if at > until || ends_at.is_some_and(|end| end <= at) {
            break;
        }
        level = index + 1;
        steps.push(Step {
            kind: StatusKind::Escalated,
            at,
            moment: history.moment_at(at),
            level,
            observed_to: at,
            resolution: None,
        });
    }

    if let Some(end) = end {
        let step = |kind, ending: Ending, resolution| Step {
            kind,
            at: history.instant_of(ending.moment),
            moment: ending.moment,
            level,
            observed_to: ending.date,
            resolution: Some(resolution),
        };
        // An act in time that became known after the deadline, even after a RESOLVED by a later act.
        let in_time = acts.iter().find(|act| act.taken_back || act.date <= due).copied();
        match in_time {
            Some(act) if act.moment <= end.moment => steps.push(step(StatusKind::Retracted, act, "late_evidence")),
            _ => {
                steps.push(step(StatusKind::Resolved, end, end.resolution));
                steps.extend(in_time.map(|act| step(StatusKind::Retracted, act, "late_evidence")));
            }
        }
    }
    Some((due, steps))
}

/// The latest instant at which the counted time before the deadline is left, but not before the wait began and was known.
fn warning(history: &TenantHistory, running: &RunningClock, due: i64, end: Option<Ending>, until: i64) -> Option<Step> {
    let begins = if running.warns_early { i64::MIN } else { running.anchor };
    let at = running.clock.before(due, running.warn_before?).unwrap_or(begins);
    let at = at.max(begins).max(history.instant_of(running.opened));
    if at >= due || at > until {
        return None;
    }
    let moment = history.moment_at(at);
    let runs = end.is_none_or(|end| end.moment > moment);
    let step = Step { kind: StatusKind::DueSoon, at, moment, level: 0, observed_to: at, resolution: None };
    runs.then_some(step)
}

/// What ends a wait after its warning; an act that came before the warning proves it wrong, even if it is known later.
fn averted(history: &TenantHistory, warned: i64, end: Ending, acts: &[Ending]) -> Vec<Step> {
    let step = |ending: Ending, resolution| Step {
        kind: StatusKind::Averted,
        at: history.instant_of(ending.moment),
        moment: ending.moment,
        level: 0,
        observed_to: ending.date,
        resolution: Some(resolution),
    };
    match acts.iter().find(|act| act.taken_back || act.date <= warned).copied() {
        Some(act) if act.moment <= end.moment => vec![step(act, "late_evidence")],
        early => {
            let mut steps = vec![step(end, end.resolution)];
            steps.extend(early.map(|act| step(act, "late_evidence")));
            steps
        }
    }
}

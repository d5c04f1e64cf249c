//! Owns the clocks that rules keep of one lead or deal, and the changes that rules hear of.

use super::super::alert::{Resolution, Values};
use super::super::desk::{Desk, Timer};
use super::super::id::StageId;
use super::super::norms::Scope;
use super::super::rare::{Blank, Rare};
use super::super::rule::first_response_late::FirstResponse;
use super::super::rule::{Rule, Watch};
use super::super::time::{Maybe, Span, Timestamp};
use super::super::violation::{Charge, State, Violation};
use super::{Journey, Limit};
use compact_str::{CompactString, format_compact};
use std::sync::{Arc, LazyLock};

/// What happened to a lead or deal, as its rules hear of it. The journey is as it is after the change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Its creation became known. `watched`: clocks that count from it run.
    Born {
        /// When it was created.
        at: Timestamp,
        /// Whether it is not earlier than the first event seen of the tenant.
        watched: bool,
    },
    /// A manager turned to the customer.
    Touch {
        /// The date of the act.
        at: Timestamp,
    },
    /// An earlier conversation than known before.
    Talk,
    /// An earlier contact both ways than known before.
    Contact,
    /// It was closed, having been open.
    Closed {
        /// For the first time.
        first: bool,
    },
    /// It was opened again.
    Reopened,
    /// It was deleted.
    Deleted,
    /// It got another responsible.
    Assigned,
    /// It came to a stage, or was opened again in it.
    Came {
        /// When.
        at: Timestamp,
    },
    /// It left its stage, or was closed in it.
    Left {
        /// When.
        at: Timestamp,
        /// How that ends what was wrong with the stay.
        resolution: Resolution,
    },
    /// Other norms are in force.
    Reloaded,
    /// A timer went off.
    Rung,
}

type Follow = fn(&mut Clocks, &Journey, &mut Desk, Change);

/// The rules that keep clocks, in order.
pub(super) static FOLLOWERS: LazyLock<Vec<Follow>> = LazyLock::new(|| {
    let follow = |rule: &Rule| match rule.definition().watch {
        Watch::Journey(follow) => Some(follow),
        _ => None,
    };
    Rule::ALL.iter().filter_map(follow).collect()
});

/// The clocks of one lead or deal.
#[derive(Debug, Default)]
pub struct Clocks {
    /// The first response: it is counted also where no rule watches.
    pub response: Option<Box<FirstResponse>>,
    /// Since when nobody has turned to it, while it is open; whether or not a rule watches.
    pub idle_since: Maybe,
    running: Rare<Vec<Running>>,
}

impl Blank for Vec<Running> {
    fn blank() -> &'static Self {
        static BLANK: Vec<Running> = Vec::new();
        &BLANK
    }
}

/// A clock of a rule.
#[derive(Debug)]
pub struct Running {
    /// Whose.
    pub rule: Rule,
    /// The norms where it started.
    pub scope: Arc<Scope>,
    /// The stage that it is about, if it is.
    pub stage: Option<StageId>,
    /// What it counted before its anchor, where several stretches count together.
    pub before: Span,
    /// How much is allowed.
    pub limit: Span,
    /// What may come of it.
    pub violation: Violation,
}

/// How a rule tells of its clocks.
#[derive(Clone, Copy, Debug)]
pub struct Tell {
    /// The rule.
    pub rule: Rule,
    /// What is observed between an anchor and an instant.
    pub observe: fn(&Journey, &Running, Timestamp, Timestamp) -> Values,
    /// What is wanted.
    pub norm: fn(&Running) -> Values,
}

/// Clocks that were told of and are kept for late evidence, per rule.
const KEPT: usize = 64;

impl Clocks {
    /// Starts a clock that falls due at `due`.
    pub fn start(
        &mut self,
        desk: &mut Desk,
        journey: &Journey,
        rule: Rule,
        scope: Arc<Scope>,
        anchor: Timestamp,
        due: Timestamp,
    ) {
        let violation = Violation::new(anchor, due);
        let running = Running { rule, scope, stage: None, before: Span::ZERO, limit: Span::ZERO, violation };
        self.start_with(desk, journey, running);
    }

    /// Starts a clock.
    pub fn start_with(&mut self, desk: &mut Desk, journey: &Journey, running: Running) {
        desk.wake(running.violation.due, Timer::Journey(journey.number));
        if self.running.is_empty() {
            // Most have one clock at a time.
            self.running.reserve_exact(1);
        }
        self.running.push(running);
    }

    /// Whether a clock of a rule runs, or its violation lasts.
    pub fn runs(&self, rule: Rule) -> bool {
        let lasts = |running: &Running| matches!(running.violation.state, State::Waiting | State::Open);
        self.running.iter().any(|running| running.rule == rule && lasts(running))
    }

    /// Those that run or were told of, but for the first response.
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// Works on every clock of a rule, and lets go of those of which nothing can come any more.
    pub fn each(
        &mut self,
        tell: &Tell,
        journey: &Journey,
        desk: &mut Desk,
        mut work: impl FnMut(&mut Violation, &mut Desk, &Charge<'_>),
    ) {
        let Some(all) = self.running.taken() else { return };
        let mut told = 0;
        for running in all.iter_mut().rev().filter(|running| running.rule == tell.rule) {
            let mut violation = running.violation.clone();
            charged(tell, journey, running, |charge| work(&mut violation, desk, charge));
            running.violation = violation;
            told += usize::from(running.violation.state == State::Resolved);
            if told > KEPT && running.violation.state == State::Resolved {
                running.violation.state = State::Averted;
            }
        }
        all.retain(|running| {
            running.rule != tell.rule || !matches!(running.violation.state, State::Averted | State::Retracted)
        });
    }

    /// Other norms are in force, by which a clock of a rule falls due at `due`.
    pub fn reload(
        &mut self,
        tell: &Tell,
        journey: &Journey,
        desk: &mut Desk,
        scope: &Arc<Scope>,
        due: impl Fn(Timestamp) -> Option<Timestamp>,
    ) {
        self.each(tell, journey, desk, |violation, desk, charge| {
            if violation.state != State::Resolved && !violation.reload(desk, charge, due(violation.anchor)) {
                violation.state = State::Averted;
            }
        });
        let lasts = |running: &&mut Running| matches!(running.violation.state, State::Waiting | State::Open);
        let all = self.running.taken().into_iter().flatten();
        for running in all.filter(|running| running.rule == tell.rule).filter(lasts) {
            running.scope = Arc::clone(scope);
        }
    }

    /// The limit of a stay is another one.
    pub fn relimit(&mut self, rule: Rule, limit: &Limit) {
        let all = self.running.taken().into_iter().flatten();
        for running in all.filter(|running| running.rule == rule) {
            (running.before, running.limit) = (limit.before, limit.limit);
        }
    }

    /// What most clocks do when a timer goes off or another responsible is named.
    pub fn look_after(&mut self, tell: &Tell, journey: &Journey, desk: &mut Desk, change: Change) {
        match change {
            Change::Rung => self.each(tell, journey, desk, |violation, desk, charge| {
                if violation.ring(desk, charge) {
                    violation.fire(desk, charge);
                }
            }),
            Change::Assigned => self.each(tell, journey, desk, |violation, desk, charge| {
                violation.hand_over(desk, charge.rule, charge.holder);
            }),
            _ => {}
        }
    }
}

fn charged(tell: &Tell, journey: &Journey, running: &Running, work: impl FnOnce(&Charge<'_>)) {
    let (clock, severity, escalate_after) = Charge::of(running.scope.rules.get(&tell.rule));
    let subject: CompactString = match &running.stage {
        Some(stage) => format_compact!("{}/{stage}", journey.id),
        None => format_compact!("{}", journey.id),
    };
    work(&Charge {
        rule: tell.rule,
        subject,
        who: journey.who,
        holder: journey.who,
        entity: Some(&journey.id),
        interaction: None,
        scope: &running.scope,
        clock,
        severity,
        escalate_after,
        observe: &|anchor, until| (tell.observe)(journey, running, anchor, until),
        norm: &|| (tell.norm)(running),
        timer: Timer::Journey(journey.number),
    });
}

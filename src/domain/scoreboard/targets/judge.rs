//! Owns the judgement of plans: when an alert begins, what it says at a boundary or an escalation, and how it ends.

use super::Targets;
use super::open::{About, HolderContext, Moment, Open};
use super::plan::Plan;
use super::stored::{Found, TargetViolation, TargetViolationKey};
use crate::domain::alert::{Alert, Resolution};
use crate::domain::figures::row::Subject;
use crate::domain::index::ManagerIx;
use crate::domain::lifecycle::Violation;
use crate::domain::norms::targets::{Period, Progress, Target};
use crate::domain::rule::definition::{Evaluation, Judgement};
use crate::domain::rule::{Rule, catalog};
use crate::domain::scoreboard::managers::Managers;
use crate::domain::time::{Span, Timestamp};
use std::sync::Arc;

impl Targets {
    /// Judges a plan at a boundary.
    pub(super) fn judge(&mut self, moment: &mut Moment<'_>, index: usize) {
        let Some(plan) = self.plans[index].as_mut() else { return };
        plan.is_dirty = false;
        let Plan { target, period, is_gone, open, .. } = &*plan;
        let open_period = open.as_ref().map(|open| (open.about.target.per, open.about.period.index));
        match open_period {
            _ if *is_gone => {
                self.end_open(moment, index, Resolution::Disabled, None);
                return self.remove(index);
            }
            // Another length of periods is another target.
            Some((per, _)) if per != target.per => self.end_open(moment, index, Resolution::Disabled, None),
            Some((_, ended)) if ended != period.index => {
                let ended = target.period(ended);
                let (target, subject) = (target.clone(), plan.subject.clone());
                let fact = self.sum(&subject, &target, ended, None);
                if ended.counts() {
                    let progress = target.progress(&ended, fact, ended.end);
                    let reached = progress.is_reached();
                    let resolution = if reached { Resolution::Reached } else { Resolution::PeriodOver };
                    self.end_open(moment, index, resolution, Some((target, ended, progress)));
                } else {
                    self.end_open(moment, index, Resolution::Disabled, None);
                }
            }
            Some(_) if !plan.is_judged() => self.end_open(moment, index, Resolution::Disabled, None),
            Some(_) => {
                let progress = plan.progress(moment.at);
                let evaluated = Some((plan.target.clone(), plan.period, progress));
                if progress.is_reached() {
                    self.end_open(moment, index, Resolution::Reached, evaluated);
                } else if judged(&plan.target, &progress).met {
                    self.end_open(moment, index, Resolution::Recovered, evaluated);
                } else {
                    self.update_open(moment.at, index);
                }
            }
            None => {}
        }
        self.begin_alert(moment, index);
        self.schedule(index);
    }

    /// Begins an alert at a boundary, if none is open and the plan is behind.
    fn begin_alert(&mut self, moment: &mut Moment<'_>, index: usize) {
        let Some(plan) = self.plans[index].as_ref() else { return };
        let at = moment.at;
        if plan.open.is_some() || !plan.is_judged() || at < plan.period.start || at >= plan.period.end {
            return;
        }
        let progress = plan.progress(at);
        let Judgement { violated, observed, norm, .. } = judged(&plan.target, &progress);
        if !violated {
            return;
        }
        let (who, department) = match &plan.subject {
            Subject::Manager(id) => {
                let who = moment.managers.find(id).unwrap_or(ManagerIx::NONE);
                (who, Some(moment.managers.department(who)))
            }
            Subject::Department(id) => (ManagerIx::NONE, Some(id.clone())),
            Subject::Tenant => (ManagerIx::NONE, None),
        };
        let (target, period) = (plan.target.clone(), plan.period);
        let key = TargetViolationKey { began: at, subject: plan.subject.clone(), target: target.id.clone() };
        let record = TargetViolation {
            ended: false,
            department,
            per: target.per,
            period: period.index,
            severity: target.scope.severity(Rule::TargetBehind),
            level: 0,
            fact: progress.count(),
            evaluated: at,
            last_status: None,
        };
        let (scope, found, plan) = (Arc::clone(&target.scope), (observed, norm), index);
        let about = About { key: key.clone(), record, who, plan, target, period, scope, found };
        let mut violation = Violation::new(at, at);
        violation.fire(&mut HolderContext { moment: &mut *moment, holder: &key.subject }, &about);
        let mut open = Open { violation, about };
        open.record_alert(moment);
        self.changes.insert(key, Some(open.about.record.clone()));
        if let Some(plan) = &mut self.plans[index] {
            plan.open = Some(Box::new(open));
        }
    }

    /// The fact of an open alert at a boundary.
    fn update_open(&mut self, at: Timestamp, index: usize) {
        let Some(plan) = self.plans[index].as_mut() else { return };
        let progress = plan.progress(at);
        let Some(open) = &mut plan.open else { return };
        let About { key, record, target, period, .. } = &mut open.about;
        let same = record.fact == progress.count() && is_same(target, &plan.target);
        (*target, *period) = (plan.target.clone(), plan.period);
        if !same {
            (record.fact, record.evaluated) = (progress.count(), at);
            self.changes.insert(key.clone(), Some(record.clone()));
        }
    }

    /// Ends the alert of a plan, if one is open. Without what is found now, the alert carries what the last boundary found.
    pub(super) fn end_open(
        &mut self,
        moment: &mut Moment<'_>,
        index: usize,
        resolution: Resolution,
        found: Option<(Target, Period, Progress)>,
    ) {
        let last = self.last_boundary(Timestamp(moment.at.0 - 1));
        let Some(mut open) = self.plans[index].as_mut().and_then(|plan| plan.open.take()) else { return };
        let about = &mut open.about;
        about.found = match found {
            Some((target, period, progress)) => {
                let Judgement { observed, norm, .. } = judged(&target, &progress);
                (about.target, about.period) = (target, period);
                (observed, norm)
            }
            None => found_at(about, last),
        };
        let holder = about.key.subject.clone();
        let mut context = HolderContext { moment, holder: &holder };
        let at = context.moment.at;
        open.violation.resolve(&mut context, &open.about, resolution, at);
        let About { key, mut record, .. } = open.about;
        (record.ended, record.last_status) = (true, None);
        self.changes.insert(key.clone(), Some(record));
        self.ended.push_back(key);
    }

    /// The last boundary at or before an instant.
    fn last_boundary(&self, at: Timestamp) -> Timestamp {
        let slide = self.window().map_or(Span::MINUTE, |window| window.slide);
        Timestamp(at.pane(slide).saturating_mul(slide.0))
    }

    /// Performs the escalations that are due.
    pub(super) fn escalate(&mut self, managers: &mut Managers, at: Timestamp, alerts: &mut Vec<Alert>) {
        let last = self.last_boundary(at);
        while let Some((_, index)) = self.escalations.first().copied().filter(|(due, _)| *due <= at) {
            self.escalations.pop_first();
            let Some(mut open) = self.plans[index].as_mut().and_then(|plan| plan.open.take()) else { continue };
            open.about.found = found_at(&open.about, last);
            self.at(at, managers, alerts, |targets, moment| {
                let holder = open.about.key.subject.clone();
                open.violation.on_timer(&mut HolderContext { moment: &mut *moment, holder: &holder }, &open.about);
                if open.violation.level() > open.about.record.level {
                    open.record_alert(moment);
                    targets.changes.insert(open.about.key.clone(), Some(open.about.record.clone()));
                }
            });
            if let Some(plan) = &mut self.plans[index] {
                plan.open = Some(open);
            }
        }
    }
}

/// The verdict of the rule.
fn judged(target: &Target, progress: &Progress) -> Judgement {
    match catalog::definition(Rule::TargetBehind).evaluation {
        Evaluation::Targets(judge) => judge(target, progress),
        _ => unreachable!("the rule judges targets"),
    }
}

/// What an open alert found at a boundary, not before it began.
fn found_at(about: &About, boundary: Timestamp) -> Found {
    let at = boundary.max(about.key.began).min(about.period.end);
    let progress = about.target.progress(&about.period, i128::from(about.record.fact), at);
    let Judgement { observed, norm, .. } = judged(&about.target, &progress);
    (observed, norm)
}

/// Whether two versions of a target are judged alike.
fn is_same(one: &Target, other: &Target) -> bool {
    one.at_least == other.at_least
        && one.tolerance == other.tolerance
        && one.figure == other.figure
        && one.from == other.from
        && one.clock == other.clock
        && one.scope.calendar.as_ref().map(Arc::as_ptr) == other.scope.calendar.as_ref().map(Arc::as_ptr)
}

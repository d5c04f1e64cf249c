//! Owns the evaluation of window rules: which managers are judged at which boundary, and the lifecycle of violations.
//!
//! **Definition.** At every slide boundary of a rule's window, after the events and deadlines of that instant, every
//! manager is judged by the norms of their current department. A violation begins at a boundary. It escalates at exact
//! instants counted from its beginning, by the steps and severity of the norm under which it began; the alert carries the
//! figures of the last boundary. It ends at a boundary: because no norm applies any more (`disabled`, whatever the
//! figure), because the sample is too small, or because the figure itself is back at the norm. Past boundaries are never
//! judged again, even when late events change their figures.
//!
//! **Lazy evaluation.** A verdict can change only if a fact was counted, a non-empty pane left the window, or the manager
//! changed department; if the norm is a part of the department's figure, also if this happened to a colleague. Only those
//! (dirty) managers are judged, and boundaries without any are skipped. The alerts are the same as without this
//! optimization.

use crate::domain::alert::{Alert, Resolution, Severity, Status, Values, alert_id};
use crate::domain::effect::{Fact, ManagerIx};
use crate::domain::figures::pane::Measure;
use crate::domain::figures::statistics::{Conversion, Ratio};
use crate::domain::figures::window::WindowSample;
use crate::domain::id::{DepartmentId, TenantId};
use crate::domain::norms::{Norms, Params, Scope, ScopeQuery};
use crate::domain::rule::Rule;
use crate::domain::rule::catalog;
use crate::domain::rule::definition::{Evaluation, Judgement};
use crate::domain::scoreboard::{LastStatus, Scoreboard, WindowViolation, WindowViolationKey, terms};
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use compact_str::format_compact;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What has been judged, and what has to be judged next.
#[derive(Debug)]
pub(super) struct WindowEvaluator {
    pub(super) norms: Arc<Norms>,
    schedules: Vec<WindowSchedule>,
    /// Everything up to and including this instant has been judged.
    judged_through: Timestamp,
    /// The next instant with something to judge or escalate.
    next_wakeup: Option<Timestamp>,
    /// Cached norms of each department.
    scopes: BTreeMap<DepartmentId, Arc<Scope>>,
    open: BTreeMap<ViolationKey, OpenViolation>,
    /// Scheduled escalations.
    escalations: BTreeSet<(Timestamp, ViolationKey)>,
    /// Ended violations that a window still covers, with their beginning.
    ended: VecDeque<(Timestamp, WindowViolationKey)>,
    /// Changes since the last [`Scoreboard::take_changes`]; `None`: delete.
    changes: BTreeMap<WindowViolationKey, Option<WindowViolation>>,
}

/// The slide boundaries of one window that at least one rule uses.
#[derive(Debug)]
struct WindowSchedule {
    window: Window,
    /// Its index among all windows.
    index: usize,
    rules: Vec<Rule>,
    /// Managers to judge at the next boundary, and the same as flags by index.
    dirty: Vec<ManagerIx>,
    is_dirty: Vec<bool>,
    /// Departments that a manager joined or left since the last boundary.
    affected_departments: BTreeSet<DepartmentId>,
    /// When a non-empty pane leaves a manager's window.
    expiries: BTreeSet<(Timestamp, ManagerIx)>,
}

/// A possible violation: at most one is open per schedule (by index), manager and rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ViolationKey {
    schedule: usize,
    who: ManagerIx,
    rule: Rule,
}

/// An open violation.
#[derive(Debug)]
struct OpenViolation {
    began: Timestamp,
    /// The norms, department and severity with which it began.
    scope: Arc<Scope>,
    department: DepartmentId,
    severity: Severity,
    /// Figures and norm at the last boundary.
    observed: Values,
    norm: Values,
    level: u32,
    next_escalation: Option<Timestamp>,
    /// Its last alert.
    last: LastStatus,
}

/// One status of a violation, as its alert reports it.
struct StatusChange {
    status: Status,
    at: Timestamp,
    observed: Values,
    norm: Values,
    resolution: Option<Resolution>,
}

impl OpenViolation {
    /// A status with the figures of the last boundary.
    fn status_change(&self, status: Status, at: Timestamp) -> StatusChange {
        StatusChange { status, at, observed: self.observed.clone(), norm: self.norm.clone(), resolution: None }
    }
}

impl WindowEvaluator {
    /// Applies new norms from the next boundary on.
    pub(super) fn reload(&mut self, norms: Arc<Norms>, tenant: &TenantId, managers: impl Iterator<Item = ManagerIx>) {
        let mut schedules: BTreeMap<usize, WindowSchedule> =
            schedules(&norms, tenant).into_iter().map(|schedule| (schedule.index, schedule)).collect();
        // Keys refer to schedules by index: a window that no rule uses any more stays for its open violations.
        for schedule in &mut self.schedules {
            schedule.rules = schedules.remove(&schedule.index).map(|schedule| schedule.rules).unwrap_or_default();
        }
        self.schedules.extend(schedules.into_values());
        for ViolationKey { schedule, rule, .. } in self.open.keys() {
            if !self.schedules[*schedule].rules.contains(rule) {
                self.schedules[*schedule].rules.push(*rule);
            }
        }
        managers.for_each(|who| self.mark_dirty(who));
        self.norms = norms;
        self.scopes.clear();
    }

    pub(super) fn new(norms: Arc<Norms>, tenant: &TenantId) -> Self {
        let schedules = schedules(&norms, tenant);
        let judged_through = Timestamp::MIN;
        let (scopes, open, escalations, ended, changes) = Default::default();
        Self { norms, schedules, judged_through, next_wakeup: None, scopes, open, escalations, ended, changes }
    }

    /// A fact was counted for a manager, or without one.
    pub(super) fn mark_dirty(&mut self, who: ManagerIx) {
        for schedule in &mut self.schedules {
            if schedule.mark_dirty(who) {
                let boundary = schedule.window.boundary_after(self.judged_through);
                self.next_wakeup = Some(self.next_wakeup.map_or(boundary, |next_wakeup| next_wakeup.min(boundary)));
            }
        }
    }

    /// A manager moved to another department.
    pub(super) fn change_department(&mut self, who: ManagerIx, from: DepartmentId, to: DepartmentId) {
        self.mark_dirty(who);
        for schedule in &mut self.schedules {
            schedule.affected_departments.extend([from.clone(), to.clone()]);
        }
    }

    fn next(&self) -> Option<Timestamp> {
        let schedules = self.schedules.iter().filter_map(|schedule| schedule.next(self.judged_through));
        schedules.chain(self.escalations.first().map(|(at, _)| *at)).min()
    }

    fn scope(&mut self, tenant: &TenantId, department: &DepartmentId) -> Arc<Scope> {
        if let Some(scope) = self.scopes.get(department) {
            return Arc::clone(scope);
        }
        let department_name = department.as_str();
        let query = ScopeQuery { tenant: tenant.as_str(), department: department_name, pipeline: None, source: None };
        let scope = Arc::new(self.norms.scope(query));
        self.scopes.insert(department.clone(), Arc::clone(&scope));
        scope
    }

    /// The norm of a key in a scope, if it uses the window of the key's schedule.
    fn norm<'a>(&self, key: ViolationKey, scope: &'a Scope) -> Option<&'a Params> {
        let size = self.schedules[key.schedule].window.size;
        let default = self.norms.windows.first().map(|window| window.size);
        scope.rules.get(&key.rule).filter(|norm| norm.window.or(default) == Some(size))
    }

    /// Schedules the next escalation of a violation, if there is one.
    fn schedule_escalation(&mut self, key: ViolationKey, at: Timestamp) {
        let Some(scope) = self.open.get(&key).map(|violation| Arc::clone(&violation.scope)) else { return };
        let norm = self.norm(key, &scope);
        let Some(violation) = self.open.get_mut(&key) else { return };
        if let Some(instant) = violation.next_escalation.take() {
            self.escalations.remove(&(instant, key));
        }
        violation.next_escalation = norm.and_then(|norm| {
            let after = norm.escalate_after.as_ref()?.get(violation.level as usize)?;
            let instant = scope.deadline(norm.clock.unwrap_or_default(), violation.began, after.span)?;
            Some(instant.max(at))
        });
        self.escalations.extend(violation.next_escalation.map(|instant| (instant, key)));
    }
}

impl WindowSchedule {
    fn mark_dirty(&mut self, who: ManagerIx) -> bool {
        let index = who.0 as usize;
        if self.is_dirty.len() <= index {
            self.is_dirty.resize(index + 1, false);
        }
        let newly_dirty = !self.is_dirty[index];
        if newly_dirty {
            self.is_dirty[index] = true;
            self.dirty.push(who);
        }
        newly_dirty
    }

    /// The next boundary at which at least one manager has to be judged.
    fn next(&self, judged_through: Timestamp) -> Option<Timestamp> {
        if self.dirty.is_empty() {
            return self.expiries.first().map(|(at, _)| *at);
        }
        Some(self.window.boundary_after(judged_through))
    }

    /// Removes and returns the managers to judge at this boundary.
    fn take_due(&mut self, at: Timestamp) -> BTreeSet<ManagerIx> {
        self.dirty.iter().for_each(|who| self.is_dirty[who.0 as usize] = false);
        let mut due: BTreeSet<ManagerIx> = self.dirty.drain(..).collect();
        while let Some((_, who)) = self.expiries.first().copied().filter(|(expiry, _)| *expiry <= at) {
            self.expiries.pop_first();
            due.insert(who);
        }
        due
    }
}

impl Scoreboard {
    /// Judges all slide boundaries and performs all escalations up to and including `until`, in time order.
    pub fn judge_until(&mut self, until: Timestamp, alerts: &mut Vec<Alert>) {
        while let Some(at) = self.evaluator.next_wakeup.filter(|next_wakeup| *next_wakeup <= until) {
            for schedule in 0..self.evaluator.schedules.len() {
                if self.evaluator.schedules[schedule].next(self.evaluator.judged_through) == Some(at) {
                    self.judge_boundary(schedule, at, alerts);
                }
            }
            self.escalate(at, alerts);
            self.evaluator.judged_through = at;
            self.evaluator.next_wakeup = self.evaluator.next();
        }
        self.evaluator.judged_through = self.evaluator.judged_through.max(until);
    }

    /// Judges the managers whose verdict may have changed at a boundary.
    fn judge_boundary(&mut self, schedule: usize, at: Timestamp, alerts: &mut Vec<Alert>) {
        let WindowSchedule { window, index, .. } = self.evaluator.schedules[schedule];
        let rules = self.evaluator.schedules[schedule].rules.clone();
        let mut due = self.evaluator.schedules[schedule].take_due(at);
        let mut departments = std::mem::take(&mut self.evaluator.schedules[schedule].affected_departments);
        departments.extend(due.iter().map(|who| self.managers[who.0 as usize].department()));
        let mut conversions = BTreeMap::<DepartmentId, Conversion>::new();
        for department in departments {
            let scope = self.evaluator.scope(&self.tenant, &department);
            let norms = rules.iter().filter_map(|rule| scope.rules.get(rule));
            if norms.clone().any(|norm| norm.of_department.is_some()) {
                due.extend(self.managers_in(&department));
                conversions.insert(department.clone(), self.department_conversion(&department, index, at));
            }
        }
        for who in due {
            let manager = &mut self.managers[who.0 as usize];
            manager.advance(&self.windows, index, at);
            let offer = manager.offers(window, at).next().map(|offer| window.leaves(offer.at.pane(window.slide)));
            let expiries = manager.sliding[index].next_expiry().into_iter().chain(offer);
            self.evaluator.schedules[schedule].expiries.extend(expiries.map(|expiry| (expiry, who)));
            if who != ManagerIx::NONE {
                let conversion = conversions.get(&manager.department()).copied().unwrap_or_default();
                for rule in &rules {
                    self.judge_manager(ViolationKey { schedule, who, rule: *rule }, at, conversion, alerts);
                }
            }
        }
    }

    /// Judges a manager by one rule at a boundary and updates the violation.
    fn judge_manager(&mut self, key: ViolationKey, at: Timestamp, conversion: Conversion, alerts: &mut Vec<Alert>) {
        let department = self.managers[key.who.0 as usize].department();
        let scope = self.evaluator.scope(&self.tenant, &department);
        let judgement = self.judge(key, &scope, at, conversion);
        let is_open = self.evaluator.open.contains_key(&key);
        let Some(Judgement { n, violated, met, mut observed, norm }) = judgement else {
            if is_open {
                self.resolve(key, at, Resolution::Disabled, None, alerts);
            }
            return;
        };
        let params = self.evaluator.norm(key, &scope);
        let enough = n >= params.and_then(|params| params.min_sample).unwrap_or(1);
        if is_open && !enough {
            observed.retain(|(key, _)| ["n", "k"].contains(key));
            self.resolve(key, at, Resolution::SampleTooSmall, Some((observed, norm)), alerts);
        } else if is_open && met {
            self.resolve(key, at, Resolution::Recovered, Some((observed, norm)), alerts);
        } else if is_open {
            if let Some(violation) = self.evaluator.open.get_mut(&key)
                && (&violation.observed, &violation.norm) != (&observed, &norm)
            {
                (violation.observed, violation.norm) = (observed, norm);
                self.record_change(key, false);
            }
        } else if enough && violated {
            let severity = params.and_then(|params| params.severity).unwrap_or_default();
            let (level, next_escalation) = (0, None);
            let last =
                LastStatus { at, department: department.clone(), observed: observed.clone(), norm: norm.clone() };
            let violation =
                OpenViolation { began: at, scope, department, severity, observed, norm, level, next_escalation, last };
            let change = violation.status_change(Status::Firing, at);
            alerts.push(self.alert(key, &violation, change));
            self.count_violation(key, at, 1, Measure::Violation(key.rule));
            self.count_violation(key, at, 1, Measure::OpenAlert(key.rule));
            self.evaluator.open.insert(key, violation);
            self.evaluator.schedule_escalation(key, at);
            self.record_change(key, false);
        }
    }

    /// Ends a violation; without a current judgement the alert carries the figures of the last one.
    fn resolve(
        &mut self,
        key: ViolationKey,
        at: Timestamp,
        resolution: Resolution,
        judgement: Option<(Values, Values)>,
        alerts: &mut Vec<Alert>,
    ) {
        self.record_change(key, true);
        let Some(violation) = self.evaluator.open.remove(&key) else { return };
        if let Some(instant) = violation.next_escalation {
            self.evaluator.escalations.remove(&(instant, key));
        }
        self.count_violation(key, at, -1, Measure::OpenAlert(key.rule));
        let (observed, norm) = judgement.unwrap_or_else(|| (violation.observed.clone(), violation.norm.clone()));
        let change = StatusChange { status: Status::Resolved, at, observed, norm, resolution: Some(resolution) };
        alerts.push(self.alert(key, &violation, change));
    }

    /// Performs the escalations that are due at `at`.
    fn escalate(&mut self, at: Timestamp, alerts: &mut Vec<Alert>) {
        while let Some((_, key)) = self.evaluator.escalations.first().copied().filter(|(instant, _)| *instant <= at) {
            self.evaluator.escalations.pop_first();
            let Some(mut violation) = self.evaluator.open.remove(&key) else { continue };
            violation.next_escalation = None;
            violation.level += 1;
            violation.last = LastStatus {
                at,
                department: self.managers[key.who.0 as usize].department(),
                observed: violation.observed.clone(),
                norm: violation.norm.clone(),
            };
            alerts.push(self.alert(key, &violation, violation.status_change(Status::Escalated, at)));
            self.evaluator.open.insert(key, violation);
            self.evaluator.schedule_escalation(key, at);
            self.record_change(key, false);
        }
    }

    /// Records the state of a violation for the state topic.
    fn record_change(&mut self, key: ViolationKey, ended: bool) {
        let Some(violation) = self.evaluator.open.get(&key) else { return };
        let OpenViolation { began, department, severity, level, observed, norm, last, .. } = violation;
        let key = WindowViolationKey {
            began: *began,
            window: self.evaluator.schedules[key.schedule].window.size,
            manager: self.managers[key.who.0 as usize].id.clone(),
            rule: key.rule,
        };
        let (department, observed, norm) = (department.clone(), observed.clone(), norm.clone());
        let last_status = (!ended).then(|| last.clone());
        let (severity, level) = (*severity, *level);
        let record = WindowViolation { ended, department, severity, level, observed, norm, last_status };
        if ended {
            self.evaluator.ended.push_back((*began, key.clone()));
        }
        self.evaluator.changes.insert(key, Some(record));
    }

    /// The violations to store, as far as they changed since the last call; `None`: delete.
    pub fn take_changes(&mut self) -> BTreeMap<WindowViolationKey, Option<WindowViolation>> {
        let longest = self.windows.iter().map(|window| Span(window.size.0 + window.slide.0)).max().unwrap_or_default();
        let oldest = self.evaluator.judged_through.saturating_sub(longest);
        let WindowEvaluator { ended, changes, .. } = &mut self.evaluator;
        if ended.front().is_some_and(|(began, _)| *began < oldest) {
            ended.retain(|(began, key)| {
                let expired = *began < oldest;
                if expired {
                    changes.insert(key.clone(), None);
                }
                !expired
            });
        }
        std::mem::take(changes)
    }

    /// Resumes evaluation after a restore: everything up to `at` has been judged, with these stored violations. `norms`
    /// returns the norms in force at an instant.
    pub fn resume(
        &mut self,
        at: Timestamp,
        violations: BTreeMap<WindowViolationKey, WindowViolation>,
        norms: impl Fn(Timestamp) -> Arc<Norms>,
    ) {
        self.evaluator.judged_through = at;
        for (stored, violation) in violations {
            let WindowViolation { ended, department, severity, level, observed, norm, last_status } = violation;
            let Some(who) = self.managers.iter().position(|manager| manager.id == stored.manager) else { continue };
            let Some(schedule) =
                self.evaluator.schedules.iter().position(|schedule| schedule.window.size == stored.window)
            else {
                continue;
            };
            let key = ViolationKey { schedule, who: ManagerIx(who as u32), rule: stored.rule };
            self.count_violation(key, stored.began, 1, Measure::Violation(key.rule));
            if ended {
                self.evaluator.ended.push_back((stored.began, stored));
                continue;
            }
            self.count_violation(key, stored.began, 1, Measure::OpenAlert(key.rule));
            let query = ScopeQuery {
                tenant: self.tenant.as_str(),
                department: department.as_str(),
                pipeline: None,
                source: None,
            };
            let scope = Arc::new(norms(stored.began).scope(query));
            let rules = &mut self.evaluator.schedules[schedule].rules;
            if !rules.contains(&key.rule) {
                rules.push(key.rule);
            }
            let (began, next_escalation) = (stored.began, None);
            let last = last_status.unwrap_or_else(|| LastStatus {
                at: began,
                department: department.clone(),
                observed: observed.clone(),
                norm: norm.clone(),
            });
            let violation =
                OpenViolation { began, scope, department, severity, observed, norm, level, next_escalation, last };
            self.evaluator.open.insert(key, violation);
            self.evaluator.schedule_escalation(key, at);
        }
        for who in 0..self.managers.len() as u32 {
            self.evaluator.mark_dirty(ManagerIx(who));
        }
        self.evaluator.next_wakeup = self.evaluator.next();
    }

    /// The last alert of each open violation.
    pub fn open_alerts(&self) -> impl Iterator<Item = Alert> {
        self.evaluator.open.iter().map(|(key, violation)| {
            let LastStatus { at, department, observed, norm } = violation.last.clone();
            let status = if violation.level == 0 { Status::Firing } else { Status::Escalated };
            let change = StatusChange { status, at, observed, norm, resolution: None };
            Alert { department: Some(department), ..self.alert(*key, violation, change) }
        })
    }

    /// Judges a manager's figures at `at` by the norm of a scope; `None` without one.
    fn judge(&self, key: ViolationKey, scope: &Scope, at: Timestamp, conversion: Conversion) -> Option<Judgement> {
        let Evaluation::Window(judge) = catalog::definition(key.rule).evaluation else { return None };
        let norm = self.evaluator.norm(key, scope)?;
        let WindowSchedule { window, index, .. } = self.evaluator.schedules[key.schedule];
        let manager = &self.managers[key.who.0 as usize];
        let offers = terms(manager.offers(window, at));
        let sample = WindowSample {
            own: manager.sliding[index].total(),
            department: conversion,
            special: Ratio { n: offers.offered, k: offers.special },
            stuck: Ratio { n: manager.now.open_deals, k: manager.now.stuck_deals },
        };
        judge(norm, &sample)
    }

    /// The managers of a department; facts without a manager count as `unknown`.
    fn managers_in(&self, department: &DepartmentId) -> impl Iterator<Item = ManagerIx> {
        let managers = (0..).map(ManagerIx).zip(&self.managers);
        managers.filter(move |(_, manager)| manager.is_in(department)).map(|(who, _)| who)
    }

    /// The lead conversion of a department at `at`.
    fn department_conversion(&mut self, department: &DepartmentId, index: usize, at: Timestamp) -> Conversion {
        let mut conversion = Conversion::default();
        for manager in self.managers.iter_mut().filter(|manager| manager.is_in(department)) {
            manager.advance(&self.windows, index, at);
            conversion += manager.sliding[index].total().lead_conversion();
        }
        conversion
    }

    fn count_violation(&mut self, key: ViolationKey, at: Timestamp, times: i32, measure: Measure) {
        self.count(&Fact { known: at, at, who: key.who, times, measure });
    }

    fn alert(&self, key: ViolationKey, violation: &OpenViolation, change: StatusChange) -> Alert {
        let StatusChange { status, at, observed, norm, resolution } = change;
        let window = self.evaluator.schedules[key.schedule].window;
        let manager = &self.managers[key.who.0 as usize];
        let subject = format_compact!("manager:{}/{}", manager.id, window.name());
        Alert {
            id: alert_id(&self.tenant, key.rule, &subject, violation.began),
            tenant: self.tenant.clone(),
            rule: key.rule,
            severity: violation.severity.raised(violation.level),
            level: violation.level,
            status,
            subject,
            at,
            anchor_at: violation.began,
            due_at: None,
            manager: Some(manager.id.clone()),
            department: Some(manager.department()),
            entity: None,
            interaction: None,
            window: Some(window),
            observed,
            norm,
            resolution,
        }
    }
}

/// The schedules of all windows that a rule uses anywhere in a tenant.
fn schedules(norms: &Norms, tenant: &TenantId) -> Vec<WindowSchedule> {
    let mut rules = BTreeMap::<usize, Vec<Rule>>::new();
    for rule in Rule::ALL.iter().filter(|rule| matches!(catalog::definition(**rule).evaluation, Evaluation::Window(_)))
    {
        let base = norms.base.rules.get(rule);
        // Managers have neither pipeline nor source, so overrides for these never apply to them.
        let here = norms.overrides.iter().filter(|over| {
            let same_tenant = over.tenant.as_ref().is_none_or(|name| name == tenant.as_str());
            same_tenant && over.pipeline.is_none() && over.source.is_none()
        });
        let overs: Vec<&Params> = here.filter_map(|over| over.layer.rules.get(rule)).collect();
        let mut sizes: Vec<_> = overs.iter().filter_map(|norm| norm.window).collect();
        if base.is_some() || overs.iter().any(|norm| norm.window.is_none()) {
            let default = norms.windows.first().map(|window| window.size);
            sizes.extend(base.and_then(|norm| norm.window).or(default));
        }
        sizes.sort_unstable();
        sizes.dedup();
        for index in sizes.iter().filter_map(|size| norms.windows.iter().position(|window| window.size == *size)) {
            rules.entry(index).or_default().push(*rule);
        }
    }
    let schedule = |(index, rules)| {
        let (dirty, is_dirty, affected_departments, expiries) = Default::default();
        WindowSchedule { window: norms.windows[index], index, rules, dirty, is_dirty, affected_departments, expiries }
    };
    rules.into_iter().map(schedule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effect::{Effect, ManagerUpdate};
    use crate::domain::event::Verdict;
    use crate::domain::figures::pane::PaneAggregate;
    use crate::domain::figures::pane::Percent;
    use crate::domain::id::UNKNOWN;
    use crate::domain::identity::Country;
    use crate::domain::norms::{Basis, Layer, Override};
    use crate::domain::time::{Length, Span};
    use proptest::prelude::*;

    const SHORT: Window = Window { size: Span(40), in_days: false, slide: Span(10) };
    const LONG: Window = Window { size: Span(60), in_days: false, slide: Span(20) };
    const UNUSED: Window = Window { size: Span(7), in_days: false, slide: Span(1) };
    const DEPARTMENTS: [&str; 3] = ["north", "south", UNKNOWN];
    const MANAGERS: u32 = 4;

    fn norms() -> Norms {
        let length = |span| Length { span: Span(span), in_days: false };
        let steps = |steps: &[i64]| Some(steps.iter().map(|step| length(*step)).collect());
        let none = Params::default;
        let base = [
            (
                Rule::ConversionLow,
                Params {
                    of_department: Some(0.95),
                    basis: Some(Basis::Closed),
                    min_sample: Some(2),
                    escalate_after: steps(&[7, 40]),
                    ..none()
                },
            ),
            (Rule::ResponseSlow, Params { at_most_lag: Some(length(3)), quantile: Some(0.5), ..none() }),
            (
                Rule::QualityLow,
                Params { min_score: Some(60.0), window: Some(LONG.size), escalate_after: steps(&[5]), ..none() },
            ),
            (Rule::StuckEarly, Params { at_most: Some(0.5), escalate_after: steps(&[0, 35]), ..none() }),
            (Rule::SpecialTermsFrequent, Params { at_most: Some(0.5), window: Some(LONG.size), ..none() }),
        ];
        let south = [
            (Rule::ConversionLow, Params { at_least: Some(0.9), window: Some(LONG.size), ..none() }),
            (Rule::QualityLow, Params { enabled: Some(false), ..none() }),
            (Rule::StuckEarly, Params { severity: Some(Severity::Info), escalate_after: steps(&[3]), ..none() }),
        ];
        let layer = |rules: &[(Rule, Params)]| Layer { rules: rules.iter().cloned().collect(), ..Layer::default() };
        Norms {
            document: String::new(),
            calendars: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            windows: vec![SHORT, LONG, UNUSED],
            min_talk: Span::SECOND,
            country: Country::default(),
            privacy_key: None,
            base: layer(&base),
            overrides: vec![Override { department: Some("south".into()), layer: layer(&south), ..Override::default() }],
        }
    }

    /// One step of a generated run; each comes with its delay after the step before.
    #[derive(Clone, Debug)]
    enum Step {
        Fact { before: i64, who: u32, times: i32, measure: Measure },
        Retract(prop::sample::Index),
        Move { who: u32, department: usize },
        Watermark,
    }

    fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
        let measure = prop_oneof![
            Just(Measure::OpenDeal),
            Just(Measure::Stuck),
            Just(Measure::Touch),
            (0..6i64).prop_map(|lag| Measure::FirstResponse { wall: Span(lag), business: Span(0) }),
            (0..100i64)
                .prop_map(|score| Measure::Review { score_micros: score * 1_000_000, verdict: Verdict::Neutral }),
            (0..3u32, any::<bool>()).prop_map(|(deal, special)| Measure::Terms {
                deal,
                special,
                discount: Percent::default()
            }),
        ];
        let closing =
            any::<bool>().prop_map(|good| if good { Measure::LeadClosedConverted } else { Measure::LeadDisqualified });
        let measure = prop_oneof![4 => measure.prop_map(|measure| (1, measure)), 3 => (1..9, closing)];
        let before = prop_oneof![3 => Just(0), 2 => 0..90i64];
        let step = prop_oneof![
            12 => (before, 0..=MANAGERS, measure)
                .prop_map(|(before, who, (times, measure))| Step::Fact { before, who, times, measure }),
            3 => any::<prop::sample::Index>().prop_map(Step::Retract),
            2 => (1..=MANAGERS, 0..3usize).prop_map(|(who, department)| Step::Move { who, department }),
            2 => Just(Step::Watermark),
        ];
        let later = prop_oneof![4 => Just(0), 8 => 0..12i64, 1 => 0..150i64];
        prop::collection::vec((later, step), 1..100)
    }

    fn manager_update(known: Timestamp, who: u32, department: usize) -> ManagerUpdate {
        let department = Some(DEPARTMENTS[department].into()).filter(|_| department < 2);
        ManagerUpdate { known, who: ManagerIx(who), id: format!("m{who}").into(), department, active: true }
    }

    /// An open violation of the naive model: beginning, level, severity, norm at the beginning, and the figures and norm
    /// of the last boundary.
    type Open = (Timestamp, u32, Severity, Params, Values, Values);

    /// The definition, implemented literally: every manager is judged at every boundary on a recount of all facts.
    #[derive(Default)]
    struct Naive {
        windows: Vec<Window>,
        /// By index of the department.
        scopes: Vec<Arc<Scope>>,
        facts: Vec<Fact>,
        departments: [usize; MANAGERS as usize + 1],
        judged_through: i64,
        open: BTreeMap<(usize, u32, Rule), Open>,
        alerts: Vec<String>,
    }

    impl Naive {
        fn until(&mut self, until: i64) {
            let windows = self.windows.clone();
            let rules = || {
                Rule::ALL.iter().filter(|rule| matches!(catalog::definition(**rule).evaluation, Evaluation::Window(_)))
            };
            for at in self.judged_through + 1..=until {
                for (index, window) in windows.iter().enumerate().filter(|(_, window)| at % window.slide.0 == 0) {
                    for (who, rule) in (1..=MANAGERS).flat_map(|who| rules().map(move |rule| (who, *rule))) {
                        self.judge_manager(Timestamp(at), (index, *window), who, rule);
                    }
                }
                self.escalate(Timestamp(at));
            }
            self.judged_through = self.judged_through.max(until);
        }

        fn aggregate(&self, at: Timestamp, window: Window, of: impl Fn(u32) -> bool) -> PaneAggregate {
            let running = at.pane(window.slide);
            let covered = running - window.panes()..=running;
            let mut aggregate = PaneAggregate::default();
            let facts =
                self.facts.iter().filter(|fact| of(fact.who.0) && covered.contains(&fact.at.pane(window.slide)));
            facts.for_each(|fact| aggregate.count(fact.measure, fact.times));
            aggregate
        }

        fn judge(&self, at: Timestamp, window: Window, who: u32, rule: Rule, norm: &Params) -> Option<Judgement> {
            let Evaluation::Window(judge) = catalog::definition(rule).evaluation else { return None };
            let own_department = self.departments[who as usize];
            let own = self.aggregate(at, window, |other| other == who);
            let department = self
                .aggregate(at, window, |other| self.departments[other as usize] == own_department)
                .lead_conversion();
            let running = at.pane(window.slide);
            let mut offers = BTreeMap::<(Timestamp, u32, bool), i32>::new();
            let (mut open, mut stuck) = (0, 0);
            for fact in self.facts.iter().filter(|fact| fact.who.0 == who) {
                let times = i64::from(fact.times);
                match fact.measure {
                    Measure::OpenDeal => open += times,
                    Measure::Stuck => stuck += times,
                    Measure::Terms { deal, special, .. } if fact.at.pane(window.slide) >= running - window.panes() => {
                        *offers.entry((fact.at, deal, special)).or_default() += fact.times;
                    }
                    _ => {}
                }
            }
            let deals = |special: bool| {
                let counted = offers.iter().filter(|((_, _, is), times)| **times > 0 && (*is || !special));
                counted.map(|((_, deal, _), _)| deal).collect::<BTreeSet<_>>().len() as i64
            };
            let special = Ratio { n: deals(false), k: deals(true) };
            judge(norm, &WindowSample { own: &own, department, special, stuck: Ratio { n: open, k: stuck } })
        }

        fn judge_manager(&mut self, at: Timestamp, (index, window): (usize, Window), who: u32, rule: Rule) {
            let scope = Arc::clone(&self.scopes[self.departments[who as usize]]);
            let norm = scope.rules.get(&rule).filter(|norm| norm.window.unwrap_or(SHORT.size) == window.size);
            let open = self.open.remove(&(index, who, rule));
            let judged = norm.and_then(|norm| Some((norm, self.judge(at, window, who, rule, norm)?)));
            let Some((norm, judgement)) = judged else {
                let Some((began, level, severity, _, observed, limits)) = open else { return };
                let end = (Status::Resolved, Some(Resolution::Disabled));
                return self.emit(at, window, who, rule, (began, level, severity), end, Some(&observed), &limits);
            };
            let Judgement { n, violated, met, mut observed, norm: limits } = judgement;
            let enough = n >= norm.min_sample.unwrap_or(1);
            let resolution = if !enough { Resolution::SampleTooSmall } else { Resolution::Recovered };
            match open {
                Some((began, level, severity, ..)) if !enough || met => {
                    observed.retain(|(key, _)| enough || ["n", "k"].contains(key));
                    let end = (Status::Resolved, Some(resolution));
                    self.emit(at, window, who, rule, (began, level, severity), end, Some(&observed), &limits);
                }
                Some((began, level, severity, norm, ..)) => {
                    self.open.insert((index, who, rule), (began, level, severity, norm, observed, limits));
                }
                None if enough && violated => {
                    let severity = norm.severity.unwrap_or_default();
                    self.emit(
                        at,
                        window,
                        who,
                        rule,
                        (at, 0, severity),
                        (Status::Firing, None),
                        Some(&observed),
                        &limits,
                    );
                    self.open.insert((index, who, rule), (at, 0, severity, norm.clone(), observed, limits));
                }
                None => {}
            }
        }

        fn escalate(&mut self, at: Timestamp) {
            let keys: Vec<_> = self.open.keys().copied().collect();
            for (index, who, rule) in keys {
                while let Some((began, level, _, norm, observed, limits)) = self.open.get(&(index, who, rule)).cloned()
                {
                    let after = norm.escalate_after.as_ref().and_then(|steps| steps.get(level as usize));
                    if after.is_none_or(|after| began + after.span > at) {
                        break;
                    }
                    let severity = norm.severity.unwrap_or_default().raised(level + 1);
                    let window = self.windows[index];
                    let state = (began, level + 1, severity);
                    self.emit(at, window, who, rule, state, (Status::Escalated, None), Some(&observed), &limits);
                    self.open.insert((index, who, rule), (began, level + 1, severity, norm, observed, limits));
                }
            }
        }

        #[expect(clippy::too_many_arguments, reason = "everything an alert contains")]
        fn emit(
            &mut self,
            at: Timestamp,
            window: Window,
            who: u32,
            rule: Rule,
            (began, level, severity): (Timestamp, u32, Severity),
            (status, resolution): (Status, Option<Resolution>),
            observed: Option<&Values>,
            norm: &Values,
        ) {
            let department = DEPARTMENTS[self.departments[who as usize]];
            let (rule, subject) = (rule.name(), format!("manager:m{who}/{}", window.name()));
            let observed = observed.cloned().unwrap_or_default();
            self.alerts.push(format!(
                "{} {status:?} {rule} {subject} {department} {level} {severity:?} {} {resolution:?} {observed:?} {norm:?}",
                at.0, began.0
            ));
        }
    }

    fn describe(alert: &Alert) -> String {
        let Alert { rule, severity, level, status, subject, at, anchor_at, resolution, .. } = alert;
        let department = alert.department.as_ref().map_or("", DepartmentId::as_str);
        let (rule, observed, norm) = (rule.name(), &alert.observed, &alert.norm);
        format!(
            "{} {status:?} {rule} {subject} {department} {level} {severity:?} {} {resolution:?} {observed:?} {norm:?}",
            at.0, anchor_at.0
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn lazy_evaluation_finds_the_same_as_judging_every_manager_at_every_boundary(steps in steps()) {
            let mut board = Scoreboard::new("acme".into(), Arc::new(norms()));
            let query = |department| ScopeQuery { tenant: "acme", department, pipeline: None, source: None };
            let scope = |department| Arc::new(norms().scope(query(department)));
            let (windows, scopes) = (norms().windows, DEPARTMENTS.map(scope).into());
            let mut naive = Naive { windows, scopes, ..Naive::default() };
            let mut alerts = Vec::new();
            for who in 1..=MANAGERS {
                let department = who as usize % 3;
                naive.departments[who as usize] = department;
                board.apply(Effect::ManagerUpdate(Box::new(manager_update(Timestamp::MIN, who, department))), &mut alerts);
            }
            naive.departments[0] = 2;
            board.judge_until(Timestamp::MIN, &mut alerts);
            let mut now = 1;
            let mut retracted = BTreeSet::new();
            for (later, step) in steps.into_iter().chain([(500, Step::Watermark)]) {
                now += later;
                let known = Timestamp(now);
                // A fact at a watermark is a correction: boundaries already judged stay as they are.
                naive.until(now - 1);
                let fact = match step {
                    Step::Watermark => {
                        naive.until(now);
                        board.judge_until(known, &mut alerts);
                        continue;
                    }
                    Step::Move { who, department } => {
                        naive.departments[who as usize] = department;
                        board.apply(Effect::ManagerUpdate(Box::new(manager_update(known, who, department))), &mut alerts);
                        continue;
                    }
                    Step::Fact { before, who, times, measure } => {
                        Fact { known, at: Timestamp(now - before), who: ManagerIx(who), times, measure }
                    }
                    Step::Retract(which) => {
                        let which = which.index(naive.facts.len().max(1));
                        let Some(fact) = naive.facts.get(which).filter(|fact| fact.times > 0) else { continue };
                        if !retracted.insert(which) {
                            continue;
                        }
                        Fact { known, times: -fact.times, ..*fact }
                    }
                };
                naive.facts.push(fact);
                board.apply(Effect::Fact(fact), &mut alerts);
            }
            prop_assert_eq!(alerts.iter().map(describe).collect::<Vec<_>>(), naive.alerts);
            let open: i64 = board.managers.iter().flat_map(|manager| manager.now.open_alerts.values()).sum();
            prop_assert_eq!(open, naive.open.len() as i64);
        }
    }

    #[test]
    fn a_window_without_rules_has_no_schedule() {
        let board = |norms| Scoreboard::new("acme".into(), Arc::new(norms));
        let all = board(norms()).evaluator.schedules;
        assert_eq!(all.iter().map(|schedule| schedule.window).collect::<Vec<_>>(), [SHORT, LONG]);
        let none = board(Norms { base: Layer::default(), overrides: Vec::new(), ..norms() }).evaluator.schedules;
        assert!(none.is_empty());
        let mut elsewhere = norms();
        elsewhere.base = Layer::default();
        elsewhere.overrides[0].tenant = Some("other".into());
        assert!(board(elsewhere).evaluator.schedules.is_empty());
    }
}

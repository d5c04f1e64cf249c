//! Owns the evaluation of window rules: which managers are judged at which boundary, and with which verdict.
//!
//! **Definition.** At every slide boundary of a rule's window, after the events and deadlines of that instant, every
//! manager is judged by the manager's own norms and those of the current department. A violation begins at a boundary. It escalates at exact
//! instants counted from its beginning, by the steps and severity of the norm under which it began; the alert carries the
//! figures of the last boundary. It ends at a boundary: because no norm applies any more (`disabled`, whatever the
//! figure), because the sample is too small, or because the figure itself is back at the norm. Past boundaries are never
//! judged again, even when late events change their figures.
//!
//! **Lazy evaluation.** A verdict can change only if a fact was counted, a non-empty pane left the window, or the manager
//! changed department; if the norm is a part of the department's figure, also if this happened to a colleague. Only those
//! (dirty) managers are judged, and boundaries without any are skipped. The alerts are the same as without this
//! optimization.

use crate::domain::alert::{Alert, Resolution};
use crate::domain::figures::statistics::Conversion;
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::index::ManagerIx;
use crate::domain::norms::{Layer, Norms, Override, Params, Scope, ScopeQuery};
use crate::domain::rule::definition::{Evaluation, Judgement};
use crate::domain::rule::{Rule, catalog};
use crate::domain::scoreboard::managers::Managers;
use crate::domain::scoreboard::open_violations::{Moment, OpenViolations, ViolationKey, WindowSubject};
use crate::domain::scoreboard::window_violation::{WindowViolation, WindowViolationKey};
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What has been judged, and what has to be judged next.
#[derive(Debug)]
pub(super) struct WindowEvaluator {
    pub(super) norms: Arc<Norms>,
    pub(super) schedules: Vec<WindowSchedule>,
    /// Everything up to and including this instant has been judged.
    judged_through: Timestamp,
    /// The next instant with something to judge or escalate.
    next_wakeup: Option<Timestamp>,
    /// The managers that overrides name.
    named_managers: FxHashSet<ManagerId>,
    /// Cached norms by department: of each manager that an override names, and of all others ([`ManagerIx::NONE`]).
    scopes: BTreeMap<ManagerIx, BTreeMap<DepartmentId, Arc<Scope>>>,
    violations: OpenViolations,
}

/// The slide boundaries of one window that at least one rule uses.
#[derive(Debug)]
pub(super) struct WindowSchedule {
    pub(super) window: Window,
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

impl WindowEvaluator {
    pub(super) fn new(norms: Arc<Norms>, tenant: &TenantId) -> Self {
        let (schedules, named_managers) = (schedules(&norms, tenant), norms.named_managers(tenant));
        let (scopes, violations) = Default::default();
        let (judged_through, next_wakeup) = (Timestamp::MIN, None);
        Self { norms, schedules, judged_through, next_wakeup, named_managers, scopes, violations }
    }

    /// Applies new norms from the next boundary on.
    pub(super) fn reload(&mut self, norms: Arc<Norms>, managers: &Managers) {
        let mut schedules: BTreeMap<usize, WindowSchedule> =
            schedules(&norms, &managers.tenant).into_iter().map(|schedule| (schedule.index, schedule)).collect();
        // Keys refer to schedules by index: a window that no rule uses any more stays for its open violations.
        for schedule in &mut self.schedules {
            schedule.rules = schedules.remove(&schedule.index).map(|schedule| schedule.rules).unwrap_or_default();
        }
        self.schedules.extend(schedules.into_values());
        for ViolationKey { schedule, rule, .. } in self.violations.keys() {
            self.schedules[*schedule].add_rule(*rule);
        }
        managers.indices().for_each(|who| self.mark_dirty(who));
        self.named_managers = norms.named_managers(&managers.tenant);
        self.norms = norms;
        self.scopes.clear();
    }

    /// Resumes after a restore: everything up to `at` has been judged, with these stored violations. `norms` returns the
    /// norms in force at an instant. Returns the last alert of each open violation.
    pub(super) fn resume(
        &mut self,
        managers: &mut Managers,
        at: Timestamp,
        violations: BTreeMap<WindowViolationKey, WindowViolation>,
        norms: impl Fn(Timestamp) -> Arc<Norms>,
    ) -> Vec<Alert> {
        self.judged_through = at;
        let mut open = Vec::new();
        let mut moment = Moment { at, managers, alerts: &mut open };
        for (stored, record) in violations {
            let rule = stored.rule;
            let Some(who) = moment.managers.find(&stored.manager) else { continue };
            let is_used = |schedule: &WindowSchedule| schedule.window.size == stored.window;
            let Some(schedule) = self.schedules.iter().position(is_used) else { continue };
            if record.ended {
                self.violations.restore_ended(&mut moment, who, stored);
                continue;
            }
            let shared = scope(&norms(stored.began), moment.managers, &record.department, Some(&stored.manager));
            let (mut scope, window) = (Scope::clone(&shared), self.schedules[schedule].window);
            scope.rules.retain(|_, norm| self.uses(norm, window));
            self.schedules[schedule].add_rule(rule);
            let (key, scope) = (ViolationKey { schedule, who, rule }, Arc::new(scope));
            self.violations.restore(&mut moment, WindowSubject { key, window, scope, stored, record });
        }
        managers.indices().for_each(|who| self.mark_dirty(who));
        self.next_wakeup = self.next();
        open
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

    pub(super) fn change_department(&mut self, who: ManagerIx, from: DepartmentId, to: DepartmentId) {
        self.mark_dirty(who);
        for schedule in &mut self.schedules {
            schedule.affected_departments.extend([from.clone(), to.clone()]);
        }
    }

    /// Judges all slide boundaries and performs all escalations up to and including `until`, in time order.
    pub(super) fn judge_until(&mut self, managers: &mut Managers, until: Timestamp, alerts: &mut Vec<Alert>) {
        while let Some(at) = self.next_wakeup.filter(|next_wakeup| *next_wakeup <= until) {
            let mut moment = Moment { at, managers, alerts };
            for schedule in 0..self.schedules.len() {
                if self.schedules[schedule].next(self.judged_through) == Some(at) {
                    self.judge_boundary(&mut moment, schedule);
                }
            }
            self.violations.escalate(&mut moment);
            self.judged_through = at;
            self.next_wakeup = self.next();
        }
        self.judged_through = self.judged_through.max(until);
    }

    /// Ends all violations at `at`, and deletes their records.
    pub(super) fn end(&mut self, managers: &mut Managers, at: Timestamp, alerts: &mut Vec<Alert>) {
        self.violations.end_all(&mut Moment { at, managers, alerts }, |_| true);
    }

    /// Ends the violations of a manager at `at`, and deletes their records.
    pub(super) fn forget(&mut self, managers: &mut Managers, at: Timestamp, who: ManagerIx, alerts: &mut Vec<Alert>) {
        let id = managers.id(who).clone();
        self.violations.end_all(&mut Moment { at, managers, alerts }, |violation| violation.manager == id);
        self.scopes.remove(&who);
        self.mark_dirty(who);
    }

    /// The violations to store, as far as they changed since the last call; `None`: delete.
    pub(super) fn take_changes(&mut self) -> BTreeMap<WindowViolationKey, Option<WindowViolation>> {
        let longest = self.norms.windows.iter().map(|window| Span(window.size.0 + window.slide.0)).max();
        self.violations.take_changes(self.judged_through.saturating_sub(longest.unwrap_or_default()))
    }

    fn next(&self) -> Option<Timestamp> {
        let schedules = self.schedules.iter().filter_map(|schedule| schedule.next(self.judged_through));
        schedules.chain(self.violations.next_timer()).min()
    }

    /// Judges the managers whose verdict may have changed at a boundary.
    fn judge_boundary(&mut self, moment: &mut Moment<'_>, schedule: usize) {
        let index = self.schedules[schedule].index;
        let rules = self.schedules[schedule].rules.clone();
        let mut due = self.schedules[schedule].take_due(moment.at);
        let mut departments = std::mem::take(&mut self.schedules[schedule].affected_departments);
        departments.extend(due.iter().map(|who| moment.managers.department(*who)));
        let mut conversions = BTreeMap::<DepartmentId, Conversion>::new();
        for department in departments {
            if self.compares_with(moment.managers, &department, &rules) {
                due.extend(moment.managers.in_department(&department));
                let conversion = moment.managers.conversion(&department, index, moment.at);
                conversions.insert(department, conversion);
            }
        }
        for who in due {
            let expiries = moment.managers.advance(who, index, moment.at);
            self.schedules[schedule].expiries.extend(expiries.map(|expiry| (expiry, who)));
            if who != ManagerIx::NONE {
                let conversion = conversions.get(&moment.managers.department(who)).copied().unwrap_or_default();
                for rule in &rules {
                    self.judge_manager(moment, ViolationKey { schedule, who, rule: *rule }, conversion);
                }
            }
        }
    }

    /// Judges a manager by one rule at a boundary and updates the violation.
    fn judge_manager(&mut self, moment: &mut Moment<'_>, key: ViolationKey, conversion: Conversion) {
        let department = moment.managers.department(key.who);
        let scope = self.scope(moment.managers, &department, key.who);
        let WindowSchedule { window, index, .. } = self.schedules[key.schedule];
        let params = scope.rules.get(&key.rule).filter(|norm| self.uses(norm, window));
        let judged = params.and_then(|params| {
            let Evaluation::Window(judge) = catalog::definition(key.rule).evaluation else { return None };
            Some((params, judge(params, &moment.managers.sample(key.who, index, moment.at, conversion))?))
        });
        let Some((params, Judgement { n, violated, met, mut observed, norm })) = judged else {
            return self.violations.end(moment, key, Resolution::Disabled, None);
        };
        let enough = n >= params.min_sample.unwrap_or(1);
        match self.violations.is_open(key) {
            true if !enough => {
                observed.retain(|(key, _)| ["n", "k"].contains(key));
                self.violations.end(moment, key, Resolution::SampleTooSmall, Some((observed, norm)));
            }
            true if met => self.violations.end(moment, key, Resolution::Recovered, Some((observed, norm))),
            true => self.violations.update(key, observed, norm),
            false if enough && violated => {
                let (manager, severity, level) = (moment.managers.id(key.who).clone(), scope.severity(key.rule), 0);
                let stored = WindowViolationKey { began: moment.at, window: window.size, manager, rule: key.rule };
                let (ended, last_status) = (false, None);
                let record = WindowViolation { ended, department, severity, level, observed, norm, last_status };
                self.violations.fire(moment, WindowSubject { key, window, scope, stored, record });
            }
            false => {}
        }
    }

    /// Whether one of the rules compares any manager of a department with the department.
    fn compares_with(&mut self, managers: &Managers, department: &DepartmentId, rules: &[Rule]) -> bool {
        let named = |who: &ManagerIx| self.named_managers.contains(managers.id(*who));
        let named = if self.named_managers.is_empty() {
            Vec::new()
        } else {
            managers.in_department(department).filter(named).collect()
        };
        [ManagerIx::NONE].into_iter().chain(named).any(|who| {
            let scope = self.scope(managers, department, who);
            rules.iter().filter_map(|rule| scope.rules.get(rule)).any(|norm| norm.of_department.is_some())
        })
    }

    /// The current norms of a manager in a department.
    fn scope(&mut self, managers: &Managers, department: &DepartmentId, who: ManagerIx) -> Arc<Scope> {
        let manager = (who != ManagerIx::NONE).then(|| managers.id(who)).filter(|id| self.named_managers.contains(*id));
        let scopes = self.scopes.entry(manager.map_or(ManagerIx::NONE, |_| who)).or_default();
        if let Some(scope) = scopes.get(department) {
            return Arc::clone(scope);
        }
        let scope = scope(&self.norms, managers, department, manager);
        scopes.insert(department.clone(), Arc::clone(&scope));
        scope
    }

    fn uses(&self, norm: &Params, window: Window) -> bool {
        self.norms.window_of(norm) == Some(window)
    }
}

impl WindowSchedule {
    fn add_rule(&mut self, rule: Rule) {
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }

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

/// The norms of a manager in a department.
fn scope(norms: &Norms, managers: &Managers, department: &DepartmentId, manager: Option<&ManagerId>) -> Arc<Scope> {
    let (tenant, department, manager) = (managers.tenant.as_str(), department.as_str(), manager.map(ManagerId::as_str));
    norms.shared_scope(ScopeQuery { tenant, department, manager, pipeline: None, source: None })
}

/// The schedules of all windows that a rule uses anywhere in a tenant.
fn schedules(norms: &Norms, tenant: &TenantId) -> Vec<WindowSchedule> {
    // Managers have neither pipeline nor source, so overrides for these never apply to them.
    let is_here = |over: &&Override| {
        let same_tenant = over.tenant.as_ref().is_none_or(|name| name == tenant.as_str());
        same_tenant && over.pipeline.is_none() && over.source.is_none()
    };
    let overrides = norms.overrides.iter().filter(is_here).map(|over| &over.layer);
    let layers: Vec<&Layer> = std::iter::once(&norms.base).chain(overrides).collect();
    let uses = |rule: &Rule, index: usize| {
        let base = norms.base.rules.get(rule).and_then(|norm| norm.window);
        let mut sizes = layers.iter().filter_map(|layer| Some(layer.rules.get(rule)?.window.or(base)));
        sizes.any(|size| norms.windows.iter().position(|window| size.is_none_or(|it| it == window.size)) == Some(index))
    };
    let is_window_rule = |rule: &Rule| matches!(catalog::definition(*rule).evaluation, Evaluation::Window(_));
    let schedule = |(index, window): (usize, &Window)| {
        let rules = Rule::ALL.iter().copied().filter(|rule| is_window_rule(rule) && uses(rule, index)).collect();
        let (dirty, is_dirty, affected_departments, expiries) = Default::default();
        WindowSchedule { window: *window, index, rules, dirty, is_dirty, affected_departments, expiries }
    };
    norms.windows.iter().enumerate().map(schedule).filter(|schedule| !schedule.rules.is_empty()).collect()
}

//! Owns the targets of one tenant: how far each manager, each department and the company is, and who is behind.
//!
//! **Definition.** A target is judged at the slide boundaries of the first window, after the events and deadlines of that
//! instant. The first boundary at or after the end of a period ends an alert of that period. Past boundaries are never
//! judged again, even when late events change their facts.
//!
//! **Lazy evaluation.** The fact of a running period is a counter. The pace only grows, so the boundary at which a plan will
//! be behind follows from its fact; more facts only put it off. A plan is looked at then, at the end of its period, and
//! at the boundary after a fact was taken away or while an alert is open. The alerts are the same as without this
//! optimization.
//!
//! The figures are in `targets/ledger.rs`, the rows of closed periods in `targets/closing_rows.rs`.

mod closing_rows;
mod closings;
mod judge;
mod ledger;
mod open;
mod plan;
mod stored;

use crate::domain::alert::{Alert, Resolution};
use crate::domain::effect::{ManagerUpdate, PastClosing};
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::figures::row::Subject;
use crate::domain::figures::table::TargetFigures;
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::index::ManagerIx;
use crate::domain::norms::targets::{Of, Period, Target, TargetFigure};
use crate::domain::norms::{Norms, ScopeQuery};
use crate::domain::scoreboard::managers::Managers;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use closings::Closings;
use compact_str::CompactString;
use ledger::{Counted, Ledger, NOBODY};
use open::{About, Moment, Open};
use plan::Plan;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
pub use stored::{DayRecord, Membership, PersonRecord, Published, TargetChange, TargetViolation, TargetViolationKey};

/// The targets of one tenant.
#[derive(Debug)]
pub(super) struct Targets {
    tenant: TenantId,
    norms: Arc<Norms>,
    /// The norms in force, each with the instant from which they apply; the first applies always.
    versions: Vec<(Timestamp, Arc<Norms>)>,
    ledger: Ledger,
    /// The first event of the tenant.
    begun: Option<Timestamp>,
    plans: Vec<Option<Plan>>,
    free: Vec<usize>,
    by_subject: BTreeMap<Subject, Vec<usize>>,
    /// The number of plans of each figure: most facts count for none.
    of_figure: [usize; TargetFigure::ALL.len()],
    /// The plans of managers by slot of the ledger: they are looked up for each fact.
    of_manager: Vec<Vec<usize>>,
    /// The latest beginning of a running period: what is dated before it may belong to closed ones.
    latest_start: Timestamp,
    /// The active managers of each department.
    active: BTreeMap<DepartmentId, usize>,
    /// The plans to judge at the next boundary.
    dirty: BTreeSet<usize>,
    /// The ends of periods, the boundaries at which plans will be behind, and escalations.
    ends: BTreeSet<(Timestamp, usize)>,
    behind: BTreeSet<(Timestamp, usize)>,
    /// Timers stay when an alert ends or a plan is removed: too early a timer does nothing.
    escalations: BTreeSet<(Timestamp, usize)>,
    judged_through: Timestamp,
    closings: Closings,
    /// The day (UTC) on which the past was last forgotten.
    forgot_on: i64,
    /// Ended violations that a window still covers.
    ended: VecDeque<TargetViolationKey>,
    changes: BTreeMap<TargetViolationKey, Option<TargetViolation>>,
}

impl Targets {
    pub(super) fn new(norms: Arc<Norms>, tenant: &TenantId) -> Self {
        Self {
            tenant: tenant.clone(),
            versions: vec![(Timestamp::MIN, Arc::clone(&norms))],
            ledger: Ledger::new(&norms, tenant.as_str()),
            norms,
            begun: None,
            plans: Vec::new(),
            free: Vec::new(),
            by_subject: BTreeMap::new(),
            of_figure: Default::default(),
            of_manager: Vec::new(),
            latest_start: Timestamp::MIN,
            active: BTreeMap::new(),
            dirty: BTreeSet::new(),
            ends: BTreeSet::new(),
            behind: BTreeSet::new(),
            escalations: BTreeSet::new(),
            judged_through: Timestamp::MIN,
            closings: Closings::default(),
            forgot_on: i64::MIN,
            ended: VecDeque::new(),
            changes: BTreeMap::new(),
        }
    }

    fn window(&self) -> Option<Window> {
        self.norms.windows.first().copied()
    }

    /// Counts a fact, after everything before it was judged. `currency`: of its amount.
    pub(super) fn count(&mut self, fact: &Fact, currency: Option<&CompactString>) {
        let slot = self.ledger.slot(fact.who);
        for figure in fact.measure.target_figures().into_iter().flatten() {
            let times = times(fact);
            self.add(&Counted { slot, at: fact.at, known: fact.known, figure, currency, times });
        }
    }

    /// Counts a closing whose case was dropped.
    pub(super) fn count_past(&mut self, past: &PastClosing) {
        let slot = self.slot_of(past.manager.as_ref());
        self.add(&counted(past, slot));
    }

    fn slot_of(&mut self, manager: Option<&ManagerId>) -> usize {
        manager.map_or(NOBODY, |manager| self.ledger.find_or_add(manager))
    }

    fn add(&mut self, counted: &Counted<'_>) {
        self.ledger.count(counted, counted.known <= self.judged_through);
        if counted.times == 0 || self.by_subject.is_empty() || !self.ledger.covers(counted.at) {
            return;
        }
        let Counted { slot, at, figure, .. } = *counted;
        if self.of_figure[figure as usize] > 0 {
            self.add_to_plans(counted);
        }
        if at < self.latest_start {
            self.change_closed(slot, at);
        }
    }

    /// Counts for the plans of the manager, the department and the company.
    fn add_to_plans(&mut self, counted: &Counted<'_>) {
        let Counted { slot, at, figure, currency, times, .. } = *counted;
        let Self { ledger, plans, by_subject, of_manager, dirty, .. } = self;
        let department = Subject::Department(ledger.person(slot).membership(None).0.into());
        let of_subjects = [by_subject.get(&department), by_subject.get(&Subject::Tenant)];
        for index in of_manager.get(slot).into_iter().chain(of_subjects.into_iter().flatten()).flatten() {
            let Some(plan) = plans[*index].as_mut() else { continue };
            if plan.target.figure != figure
                || figure == TargetFigure::AmountWon && plan.target.currency.as_ref() != currency
            {
                continue;
            }
            if plan.period.start <= at && at < plan.period.end {
                plan.fact += times;
            }
            // More facts do not begin an alert; they put it off.
            if (times < 0 || plan.open.is_some()) && !plan.is_dirty {
                plan.is_dirty = true;
                dirty.insert(*index);
            }
        }
    }

    fn of_department(&self, department: &str) -> Option<&Vec<usize>> {
        // A department that nobody has a target in has no entry.
        self.by_subject.get(&Subject::Department(department.into()))
    }

    /// The first event of the tenant became known.
    pub(super) fn begin(&mut self, at: Timestamp) {
        self.begun = Some(self.begun.map_or(at, |begun| begun.min(at)));
        self.ledger.set_complete_since(Timestamp::MIN);
        self.refresh(&Subject::Tenant, at);
        self.begin_earlier(&Subject::Tenant, at);
        self.enter_all();
    }

    /// A late event shows that a subject had its targets earlier: periods that have ended since have a row.
    fn begin_earlier(&mut self, subject: &Subject, at: Timestamp) {
        for index in self.by_subject.get(subject).cloned().unwrap_or_default() {
            let Some(plan) = self.plans[index].as_ref().filter(|plan| !plan.is_gone) else { continue };
            for ended in plan.target.period_at(at).index..plan.period.index {
                self.closings.close(subject, &plan.target, ended);
            }
            let start = plan.period.start;
            self.enter(index, self.judged_through.max(start));
            self.mark_dirty(index);
        }
    }

    /// A manager became known or changed.
    pub(super) fn update(&mut self, update: &ManagerUpdate) {
        let known = self.ledger.find(&update.id).filter(|slot| self.ledger.person(*slot).seen.is_some());
        let before = known.map(|slot| self.membership(slot));
        let seen = known.and_then(|slot| self.ledger.person(slot).seen);
        let slot = self.ledger.update(update, false);
        let after = self.membership(slot);
        let subject = Subject::Manager(update.id.clone());
        if seen.is_some_and(|seen| update.seen < seen) {
            self.begin_earlier(&subject, update.seen);
        }
        if before.as_ref() == Some(&after) && self.by_subject.contains_key(&subject) {
            return;
        }
        if let Some((department, true)) = &before {
            self.count_active(department, false);
        }
        if after.1 {
            self.count_active(&after.0, true);
        }
        match &before {
            Some((department, _)) if *department != after.0 => {
                self.move_facts(slot, department, -1);
                self.move_facts(slot, &after.0, 1);
            }
            Some(_) => {}
            None => self.move_facts(slot, &after.0, 1),
        }
        let at = update.known.max(update.seen).max(self.judged_through);
        for department in before.iter().map(|(department, _)| department).chain([&after.0]) {
            let subject = Subject::Department(department.clone());
            if self.active.contains_key(department) != self.by_subject.contains_key(&subject) {
                self.refresh(&subject, at);
            }
        }
        // Periods since the first event that names the manager may have ended, if it is late.
        self.refresh(&subject, if before.is_none() { update.seen } else { at });
    }

    /// Adds the facts of a manager to those of a department, or takes them away.
    fn move_facts(&mut self, slot: usize, department: &DepartmentId, sign: i128) {
        for index in self.of_department(department.as_str()).cloned().unwrap_or_default() {
            let Some(plan) = self.plans[index].as_mut() else { continue };
            let Plan { target, period, .. } = plan;
            let days = period.start..period.end;
            let moved = self.ledger.person(slot).sum(target.figure, target.currency.as_ref(), days);
            if moved != 0 {
                plan.fact += sign * moved;
                self.mark_dirty(index);
            }
        }
    }

    /// The department, and whether the manager has targets.
    fn membership(&self, slot: usize) -> (DepartmentId, bool) {
        let person = self.ledger.person(slot);
        let (department, active) = person.membership(None);
        (department.into(), active && !person.is_forgotten)
    }

    fn count_active(&mut self, department: &DepartmentId, joins: bool) {
        let active = self.active.entry(department.clone()).or_default();
        *active = if joins { *active + 1 } else { active.saturating_sub(1) };
        if *active == 0 {
            self.active.remove(department);
        }
    }

    /// Ends the targets of a manager who was forgotten.
    pub(super) fn forget(&mut self, managers: &mut Managers, at: Timestamp, who: ManagerIx, alerts: &mut Vec<Alert>) {
        let slot = self.ledger.slot(who);
        if slot == NOBODY {
            return;
        }
        let (department, active) = self.membership(slot);
        if active {
            self.count_active(&department, false);
        }
        self.ledger.forget(who);
        let subject = Subject::Manager(self.ledger.person(slot).id.clone());
        for index in self.by_subject.get(&subject).cloned().unwrap_or_default() {
            self.at(at, managers, alerts, |targets, moment| {
                targets.end_open(moment, index, Resolution::Disabled, None);
            });
            self.remove(index);
        }
        let of_manager = |key: &TargetViolationKey| key.subject == subject;
        let (changes, ended) = (&mut self.changes, &mut self.ended);
        ended.retain(|key| {
            if of_manager(key) {
                changes.insert(key.clone(), None);
            }
            !of_manager(key)
        });
        self.refresh(&Subject::Department(department), at);
        self.ledger.release(slot);
    }

    /// Counts a fact of a replay after a restore.
    pub(super) fn replay(&mut self, fact: &Fact, currency: Option<&CompactString>) {
        let slot = self.ledger.slot(fact.who);
        for figure in fact.measure.target_figures().into_iter().flatten() {
            let times = times(fact);
            self.ledger.replay(&Counted { slot, at: fact.at, known: fact.known, figure, currency, times });
        }
    }

    /// The same for a closing whose case was dropped.
    pub(super) fn replay_past(&mut self, past: &PastClosing) {
        let slot = self.slot_of(past.manager.as_ref());
        self.ledger.replay(&counted(past, slot));
    }

    pub(super) fn replay_begin(&mut self, at: Timestamp) {
        self.begun = Some(self.begun.map_or(at, |begun| begun.min(at)));
    }

    pub(super) fn replay_update(&mut self, update: &ManagerUpdate) {
        self.ledger.update(update, true);
    }

    pub(super) fn replay_forget(&mut self, who: ManagerIx) {
        self.ledger.forget(who);
    }

    /// Events up to this one are dropped.
    pub(super) fn expire(&mut self, last: Timestamp) {
        self.ledger.expire(last);
    }

    /// Applies new norms: a changed target applies to the whole of the running period.
    pub(super) fn reload(&mut self, norms: Arc<Norms>) {
        self.ledger.set_norms(&norms, self.tenant.as_str());
        if self.judged_through > Timestamp::MIN {
            self.versions.push((self.judged_through, Arc::clone(&norms)));
        }
        self.norms = norms;
        if self.judged_through > Timestamp::MIN {
            self.refresh_all(self.judged_through);
        }
    }

    /// Takes over what was stored, before the events are replayed. `versions`: the norms in force, each with the instant
    /// from which they apply. `unknown_until`: the latest event that was dropped.
    pub(super) fn load(
        &mut self,
        stored: &[TargetChange],
        versions: Vec<(Timestamp, Arc<Norms>)>,
        unknown_until: Timestamp,
    ) {
        self.versions = versions;
        for change in stored {
            self.ledger.load(change);
            self.closings.load(change);
        }
        // The counters of an earlier version of this program did not exist: what was dropped is not counted.
        let since = if unknown_until > Timestamp::MIN { Timestamp(unknown_until.0 + 1) } else { Timestamp::MIN };
        self.ledger.set_complete_since(since);
    }

    /// Resumes after a restore: everything up to `at` has been judged. Returns the last alert of each open violation.
    pub(super) fn resume(&mut self, managers: &mut Managers, at: Timestamp, stored: Vec<TargetChange>) -> Vec<Alert> {
        self.judged_through = at;
        self.active.clear();
        for slot in self.ledger.all().collect::<Vec<_>>() {
            let (department, active) = self.membership(slot);
            if active {
                self.count_active(&department, true);
            }
        }
        self.refresh_all(at);
        let mut alerts = Vec::new();
        let mut violations: Vec<_> = stored
            .into_iter()
            .filter_map(|change| match change {
                TargetChange::Violation(key, Some(record)) => Some((key, record)),
                _ => None,
            })
            .collect();
        violations.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (key, record) in violations {
            let who = match &key.subject {
                Subject::Manager(id) => match managers.find(id) {
                    Some(who) => who,
                    None => continue,
                },
                _ => ManagerIx::NONE,
            };
            if record.ended {
                self.at(at, managers, &mut alerts, |targets, moment| {
                    open::restore_ended(moment, &key.subject, who, key.began);
                    targets.ended.push_back(key);
                });
            } else {
                self.at(at, managers, &mut alerts, |targets, moment| targets.restore(moment, key, record, who));
            }
        }
        alerts
    }

    /// Restores an open violation. Its target may not apply any more; then it ends at the next boundary.
    fn restore(&mut self, moment: &mut Moment<'_>, key: TargetViolationKey, record: TargetViolation, who: ManagerIx) {
        let department = record.department.clone();
        let find = |targets: &Self, at| {
            let found = targets.targets_in(&targets.norms_at(at), &key.subject, department.as_ref());
            found.into_iter().find(|target| target.id == key.target)
        };
        let Some(began) = find(self, key.began).or_else(|| find(self, record.evaluated)) else { return };
        let target = find(self, record.evaluated).unwrap_or_else(|| began.clone());
        let period = target.period(record.period);
        let index = match self.find_plan(&key.subject, &key.target) {
            Some(index) => index,
            None => {
                let plan = Plan::new(key.subject.clone(), target.clone(), period);
                self.insert(Plan { is_gone: true, ..plan })
            }
        };
        let (plan, scope, found) = (index, Arc::clone(&began.scope), Default::default());
        let about = About { key, record, who, plan, target, period, scope, found };
        let open = Open::restore(about, moment);
        if let Some(plan) = &mut self.plans[index] {
            plan.open = Some(Box::new(open));
        }
        self.mark_dirty(index);
        self.schedule(index);
    }

    /// Runs `act` at an instant, and sets the timers of the escalations that it needs.
    fn at(
        &mut self,
        at: Timestamp,
        managers: &mut Managers,
        alerts: &mut Vec<Alert>,
        act: impl FnOnce(&mut Self, &mut Moment<'_>),
    ) {
        let mut timers = Vec::new();
        act(self, &mut Moment { at, managers, alerts, timers: &mut timers });
        self.escalations.extend(timers);
    }

    /// Judges all slide boundaries and performs all escalations up to and including `until`, in time order.
    pub(super) fn judge_until(&mut self, managers: &mut Managers, until: Timestamp, alerts: &mut Vec<Alert>) {
        while let Some(at) = self.next_wakeup().filter(|at| *at <= until) {
            self.end_periods(at);
            if self.window().is_some_and(|window| at.0.rem_euclid(window.slide.0) == 0) {
                for index in self.take_due(at) {
                    self.at(at, managers, alerts, |targets, moment| targets.judge(moment, index));
                }
            }
            self.escalate(managers, at, alerts);
            self.judged_through = self.judged_through.max(at);
        }
        self.judged_through = self.judged_through.max(until);
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, usize)>| set.first().map(|(at, _)| *at);
        let boundary = || Some(self.window()?.boundary_after(self.judged_through));
        let dirty = if self.dirty.is_empty() { None } else { boundary() };
        [first(&self.ends), first(&self.behind), first(&self.escalations), dirty].into_iter().flatten().min()
    }

    /// Begins the next periods of the plans whose periods end.
    fn end_periods(&mut self, at: Timestamp) {
        while let Some((end, index)) = self.ends.first().copied().filter(|(end, _)| *end <= at) {
            self.ends.remove(&(end, index));
            let Some(plan) = self.plans[index].as_ref() else { continue };
            if plan.is_shown(end) {
                self.closings.close(&plan.subject, &plan.target, plan.period.index);
            }
            if plan.open.is_some() {
                self.mark_dirty(index);
            }
            self.enter(index, end);
        }
    }

    /// The plans to judge at a boundary, in the order of their subjects and targets.
    fn take_due(&mut self, at: Timestamp) -> Vec<usize> {
        let mut due = std::mem::take(&mut self.dirty);
        while let Some((_, index)) = self.behind.first().copied().filter(|(behind, _)| *behind <= at) {
            self.behind.pop_first();
            due.insert(index);
        }
        let mut due: Vec<usize> = due.into_iter().filter(|index| self.plans[*index].is_some()).collect();
        let key = |index: &usize| self.plans[*index].as_ref().map(|plan| (&plan.subject, &plan.target.id));
        due.sort_by(|a, b| key(a).cmp(&key(b)));
        due
    }

    /// Ends everything, because the tenant is forgotten: deletes what is stored, and the rows of closed periods.
    pub(super) fn end(&mut self, managers: &mut Managers, at: Timestamp, alerts: &mut Vec<Alert>) {
        for index in self.take_all() {
            self.at(at, managers, alerts, |targets, moment| {
                targets.end_open(moment, index, Resolution::Disabled, None);
            });
            self.remove(index);
        }
        for key in std::mem::take(&mut self.ended) {
            self.changes.insert(key, None);
        }
        self.closings.end();
    }

    fn take_all(&self) -> Vec<usize> {
        self.by_subject.values().flatten().copied().collect()
    }

    /// What changed since the last call, at the end of an epoch of which everything known up to `at` was counted.
    pub(super) fn take_changes(&mut self, at: Timestamp) -> Vec<TargetChange> {
        let longest = self.norms.windows.iter().map(|window| Span(window.size.0 + window.slide.0)).max();
        let oldest = at.saturating_sub(longest.unwrap_or_default());
        if self.ended.iter().any(|key| key.began < oldest) {
            let changes = &mut self.changes;
            self.ended.retain(|key| {
                if key.began < oldest {
                    changes.insert(key.clone(), None);
                }
                key.began >= oldest
            });
        }
        let mut changes = Vec::new();
        self.ledger.take_changes(at, &mut changes);
        self.take_other_changes(changes)
    }

    /// Deletes all that is stored.
    pub(super) fn delete(&mut self) -> Vec<TargetChange> {
        let mut changes = Vec::new();
        self.ledger.delete(&mut changes);
        self.take_other_changes(changes)
    }

    /// Adds the changes of violations and closed periods.
    fn take_other_changes(&mut self, mut changes: Vec<TargetChange>) -> Vec<TargetChange> {
        let violations = std::mem::take(&mut self.changes).into_iter();
        changes.extend(violations.map(|(key, change)| TargetChange::Violation(key, change)));
        self.closings.take_changes(&mut changes);
        changes
    }

    /// Drops the figures before the previous quarter, and the rows of closed periods that are old.
    pub(super) fn forget_past(&mut self, at: Timestamp) {
        let day = at.pane(Span::DAY);
        if std::mem::replace(&mut self.forgot_on, day) == day {
            return;
        }
        self.ledger.forget_past(at);
        self.closings.forget_past(at);
        let oldest = self.versions.partition_point(|(since, _)| self.ledger.is_past(*since)).saturating_sub(1);
        self.versions.drain(..oldest);
    }

    /// The figures of the targets of a subject at the watermark.
    pub(super) fn figures(&self, subject: &Subject, at: Timestamp) -> BTreeMap<CompactString, TargetFigures> {
        if self.by_subject.is_empty() {
            return BTreeMap::new();
        }
        let plans = self.by_subject.get(subject).into_iter().flatten().filter_map(|index| self.plans[*index].as_ref());
        plans.filter(|plan| plan.is_shown(at)).map(|plan| (plan.target.id.clone(), plan.figures(at))).collect()
    }

    /// The targets of a subject at present; none if it has none any more.
    fn targets_of(&self, subject: &Subject) -> Vec<Target> {
        if !self.norms.has_targets() {
            return Vec::new();
        }
        match subject {
            Subject::Tenant if self.begun.is_none() => Vec::new(),
            Subject::Department(id) if !self.active.contains_key(id) => Vec::new(),
            Subject::Manager(id) => match self.ledger.find(id).map(|slot| self.membership(slot)) {
                Some((department, true)) => self.targets_in(&self.norms, subject, Some(&department)),
                _ => Vec::new(),
            },
            Subject::Department(id) => self.targets_in(&self.norms, subject, Some(id)),
            Subject::Tenant => self.targets_in(&self.norms, subject, None),
        }
    }

    /// The targets of a subject under some norms; `department`: that of a manager.
    fn targets_in(&self, norms: &Norms, subject: &Subject, department: Option<&DepartmentId>) -> Vec<Target> {
        let (tenant, department) = (self.tenant.as_str(), department.map_or("", DepartmentId::as_str));
        let (of, manager, department) = match subject {
            Subject::Tenant => (Of::Tenant, None, ""),
            Subject::Department(_) => (Of::Department, None, department),
            Subject::Manager(id) => (Of::Manager, Some(id.as_str()), department),
        };
        let mut targets = norms.targets(ScopeQuery { tenant, department, manager, pipeline: None, source: None });
        targets.retain(|target| target.of == of);
        targets
    }

    /// The norms in force at an instant.
    fn norms_at(&self, at: Timestamp) -> Arc<Norms> {
        let version = self.versions.partition_point(|(since, _)| *since < at).saturating_sub(1);
        self.versions.get(version).map_or_else(|| Arc::clone(&self.norms), |(_, norms)| Arc::clone(norms))
    }

    fn find_plan(&self, subject: &Subject, id: &CompactString) -> Option<usize> {
        let plans = self.by_subject.get(subject)?;
        plans.iter().copied().find(|index| self.plans[*index].as_ref().is_some_and(|plan| plan.target.id == *id))
    }

    /// Makes the plans of all subjects those of the norms.
    fn refresh_all(&mut self, at: Timestamp) {
        let mut subjects: BTreeSet<Subject> = self.by_subject.keys().cloned().collect();
        subjects.insert(Subject::Tenant);
        subjects.extend(self.active.keys().cloned().map(Subject::Department));
        let managers = self.ledger.all().filter(|slot| *slot != NOBODY);
        subjects.extend(managers.map(|slot| Subject::Manager(self.ledger.person(slot).id.clone())));
        subjects.into_iter().for_each(|subject| self.refresh(&subject, at));
    }

    /// Makes the plans of a subject those of the norms.
    fn refresh(&mut self, subject: &Subject, at: Timestamp) {
        let targets = self.targets_of(subject);
        let existing = self.by_subject.get(subject).cloned().unwrap_or_default();
        for index in existing {
            let Some(plan) = self.plans[index].as_mut() else { continue };
            if !targets.iter().any(|target| target.id == plan.target.id) {
                plan.is_gone = true;
                if plan.open.is_none() {
                    self.remove(index);
                } else {
                    self.mark_dirty(index);
                }
            }
        }
        for target in targets {
            match self.find_plan(subject, &target.id) {
                Some(index) => {
                    if let Some(plan) = self.plans[index].as_mut() {
                        self.of_figure[plan.target.figure as usize] -= 1;
                        self.of_figure[target.figure as usize] += 1;
                        (plan.target, plan.is_gone) = (target, false);
                    }
                    self.enter(index, at.max(self.judged_through));
                    self.mark_dirty(index);
                }
                None => {
                    let period = target.period_at(at);
                    let index = self.insert(Plan::new(subject.clone(), target, period));
                    self.enter(index, at);
                    // Of what became known late, periods may have ended since.
                    self.end_periods(self.judged_through);
                }
            }
        }
    }

    fn insert(&mut self, plan: Plan) -> usize {
        let subject = plan.subject.clone();
        self.of_figure[plan.target.figure as usize] += 1;
        let index = match self.free.pop() {
            Some(index) => {
                self.plans[index] = Some(plan);
                index
            }
            None => {
                self.plans.push(Some(plan));
                self.plans.len() - 1
            }
        };
        if let Subject::Manager(id) = &subject {
            let slot = self.ledger.find_or_add(id);
            if self.of_manager.len() <= slot {
                self.of_manager.resize_with(slot + 1, Vec::new);
            }
            self.of_manager[slot].push(index);
        }
        self.by_subject.entry(subject).or_default().push(index);
        index
    }

    fn remove(&mut self, index: usize) {
        self.unschedule(index);
        let Some(plan) = self.plans[index].take() else { return };
        self.free.push(index);
        self.of_figure[plan.target.figure as usize] -= 1;
        self.dirty.remove(&index);
        if let Subject::Manager(id) = &plan.subject
            && let Some(slot) = self.ledger.find(id)
            && let Some(plans) = self.of_manager.get_mut(slot)
        {
            plans.retain(|other| *other != index);
        }
        if let Some(plans) = self.by_subject.get_mut(&plan.subject) {
            plans.retain(|other| *other != index);
            if plans.is_empty() {
                self.by_subject.remove(&plan.subject);
            }
        }
    }

    fn mark_dirty(&mut self, index: usize) {
        if let Some(plan) = self.plans[index].as_mut().filter(|plan| !plan.is_dirty) {
            plan.is_dirty = true;
            self.dirty.insert(index);
        }
    }

    /// Looks at all plans again, because what is known of the tenant's beginning has changed.
    fn enter_all(&mut self) {
        for index in self.take_all() {
            let start = self.plans[index].as_ref().map_or(self.judged_through, |plan| plan.period.start);
            self.enter(index, self.judged_through.max(start));
        }
    }

    /// Makes the period of an instant the running one of a plan, and counts its fact.
    fn enter(&mut self, index: usize, at: Timestamp) {
        let Some(plan) = self.plans[index].as_ref() else { return };
        let period = plan.target.period_at(at);
        let fact = self.sum(&plan.subject, &plan.target, period, None);
        let incomplete = self.is_incomplete(&plan.subject, &period);
        if let Some(plan) = self.plans[index].as_mut() {
            self.ends.remove(&(plan.period.end, index));
            (plan.period, plan.fact, plan.incomplete) = (period, fact, incomplete);
        }
        self.latest_start = self.latest_start.max(period.start.min(at));
        self.schedule(index);
    }

    fn unschedule(&mut self, index: usize) {
        let Some(plan) = self.plans[index].as_mut() else { return };
        self.ends.remove(&(plan.period.end, index));
        if let Some(at) = plan.behind_at.take() {
            self.behind.remove(&(at, index));
        }
    }

    /// Sets the instants at which a plan is looked at next.
    fn schedule(&mut self, index: usize) {
        self.unschedule(index);
        let window = self.window();
        let judged_through = self.judged_through;
        let Some(plan) = self.plans[index].as_mut() else { return };
        if plan.is_gone {
            return;
        }
        self.ends.insert((plan.period.end, index));
        if plan.open.is_none()
            && plan.is_judged()
            && let Some(behind) = plan.target.behind_from(&plan.period, plan.fact)
            && let Some(window) = window
        {
            let at = window.boundary_after(Timestamp(behind.0 - 1).max(judged_through));
            if at < plan.period.end {
                plan.behind_at = Some(at);
                self.behind.insert((at, index));
            }
        }
    }

    /// Whether a part of a period is not known.
    fn is_incomplete(&self, subject: &Subject, period: &Period) -> bool {
        let begun = self.begun.unwrap_or(Timestamp::MAX).max(self.ledger.complete_since());
        if period.start < begun {
            return true;
        }
        let Subject::Manager(id) = subject else { return false };
        let seen = self.ledger.find(id).and_then(|slot| self.ledger.person(slot).seen);
        !period.says_from && seen.is_some_and(|seen| seen > period.start)
    }

    /// The fact of a subject in a period, by the managers of a time, at present by default.
    fn sum(&self, subject: &Subject, target: &Target, period: Period, at: Option<Timestamp>) -> i128 {
        let of = |slot: usize| {
            self.ledger.person(slot).sum(target.figure, target.currency.as_ref(), period.start..period.end)
        };
        match subject {
            Subject::Tenant => self.ledger.all().map(of).sum(),
            Subject::Department(id) if at.is_none() => self.ledger.members(id).map(of).sum(),
            Subject::Department(id) => {
                let is_in = |slot: &usize| self.ledger.person(*slot).membership(at).0 == id.as_str();
                self.ledger.all().filter(is_in).map(of).sum()
            }
            Subject::Manager(id) => self.ledger.find(id).map_or(0, of),
        }
    }
}

/// How often a fact counts; of an amount, how much.
fn times(fact: &Fact) -> i128 {
    match fact.measure {
        Measure::AmountWon { minor, .. } => i128::from(minor) * i128::from(fact.times),
        _ => i128::from(fact.times),
    }
}

fn counted(past: &PastClosing, slot: usize) -> Counted<'_> {
    let PastClosing { at, figure, currency, times, known, .. } = past;
    let (at, known, figure, times) = (*at, *known, *figure, i128::from(*times));
    Counted { slot, at, known, figure, currency: currency.as_ref(), times }
}

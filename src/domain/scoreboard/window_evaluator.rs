//! Owns the judging of managers by their windows: who is looked at when, and the lives of the violations found.
//!
//! **Definition.** At every slide boundary of a rule's window, after the events and deadlines of that instant, every
//! manager is held against the norms of the department that he is in. A violation begins at a boundary, escalates at
//! exact instants counted from there (by the steps and severity of the norm by which it began, with what the last boundary
//! found), and ends at a boundary: because no norm holds any more (`disabled`, whatever the
//! figure), because the sample is too small, or because the bare figure is back. Boundaries that are past are not judged
//! again, whatever becomes known.
//!
//! **Laziness.** A verdict can change only if something was counted, a pane with something in it left the window, or
//! somebody changed department; where the norm is a part of the department's figure, if that happened to a colleague. So
//! only those managers are looked at, and boundaries at which there are none are passed over. What is told is the same.

use super::super::alert::{Alert, Resolution, Severity, Status, Values, alert_id};
use super::super::effect::{Fact, ManagerIx, Measure};
use super::super::id::{DepartmentId, TenantId};
use super::super::norms::{Norms, Params, Scope, ScopeQuery, Window};
use super::super::row::{Conversion, Ratio};
use super::super::rule::{Evaluation, Judgement, Rule};
use super::super::time::{Span, Timestamp};
use super::super::window::WindowSample;
use super::{LastStatus, Scoreboard, WindowViolation, WindowViolationKey, terms};
use compact_str::format_compact;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What has been judged, and what is to be looked at next.
#[derive(Debug)]
pub(super) struct WindowEvaluator {
    pub(super) norms: Arc<Norms>,
    rounds: Vec<WindowSchedule>,
    /// Everything up to and including this instant has been judged.
    through: Timestamp,
    /// When there is something to do next.
    wake: Option<Timestamp>,
    /// The norms of each department.
    scopes: BTreeMap<DepartmentId, Arc<Scope>>,
    open: BTreeMap<ViolationKey, OpenViolation>,
    /// Escalations to come.
    steps: BTreeSet<(Timestamp, ViolationKey)>,
    /// Violations that are over and still in a window, by their beginning.
    over: VecDeque<(Timestamp, WindowViolationKey)>,
    /// What changed since it was last taken; `None`: is to be forgotten.
    changes: BTreeMap<WindowViolationKey, Option<WindowViolation>>,
}

/// The boundaries of one window that some rule goes by.
#[derive(Debug)]
struct WindowSchedule {
    window: Window,
    /// Its place among all windows.
    index: usize,
    rules: Vec<Rule>,
    /// Whom to look at, at the next boundary; by number, whether he is among them.
    dirty: Vec<ManagerIx>,
    is_dirty: Vec<bool>,
    /// Departments whose figures changed as somebody left.
    shaken: BTreeSet<DepartmentId>,
    /// When something leaves whose window.
    expiries: BTreeSet<(Timestamp, ManagerIx)>,
}

/// What somebody may be charged with, by number of the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ViolationKey {
    round: usize,
    who: ManagerIx,
    rule: Rule,
}

/// A violation that lasts.
#[derive(Debug)]
struct OpenViolation {
    began: Timestamp,
    /// The norms by which it began, of which department, and how much it mattered then.
    scope: Arc<Scope>,
    department: DepartmentId,
    severity: Severity,
    /// What the last boundary found, and what was wanted there.
    observed: Values,
    norm: Values,
    level: u32,
    step: Option<Timestamp>,
    /// Its last alert.
    last: LastStatus,
}

/// One status, as an alert tells it.
struct StatusChange {
    status: Status,
    at: Timestamp,
    observed: Values,
    norm: Values,
    resolution: Option<Resolution>,
}

impl OpenViolation {
    /// As it was found at the last boundary.
    fn told(&self, status: Status, at: Timestamp) -> StatusChange {
        StatusChange { status, at, observed: self.observed.clone(), norm: self.norm.clone(), resolution: None }
    }
}

impl WindowEvaluator {
    /// Other norms are in force from the next boundary on.
    pub(super) fn reload(&mut self, norms: Arc<Norms>, tenant: &TenantId, members: impl Iterator<Item = ManagerIx>) {
        let mut rounds: BTreeMap<usize, WindowSchedule> =
            rounds(&norms, tenant).into_iter().map(|round| (round.index, round)).collect();
        // Charges name their round by its number: a window that no rule goes by any more stays for what lasts.
        for round in &mut self.rounds {
            round.rules = rounds.remove(&round.index).map(|round| round.rules).unwrap_or_default();
        }
        self.rounds.extend(rounds.into_values());
        for ViolationKey { round, rule, .. } in self.open.keys() {
            if !self.rounds[*round].rules.contains(rule) {
                self.rounds[*round].rules.push(*rule);
            }
        }
        members.for_each(|who| self.mark_dirty(who));
        self.norms = norms;
        self.scopes.clear();
    }

    pub(super) fn new(norms: Arc<Norms>, tenant: &TenantId) -> Self {
        let rounds = rounds(&norms, tenant);
        let through = Timestamp::MIN;
        let (scopes, open, steps, over, changes) = Default::default();
        Self { norms, rounds, through, wake: None, scopes, open, steps, over, changes }
    }

    /// Something was counted for a manager, or for nobody.
    pub(super) fn mark_dirty(&mut self, who: ManagerIx) {
        for round in &mut self.rounds {
            if round.mark_dirty(who) {
                let boundary = round.window.boundary_after(self.through);
                self.wake = Some(self.wake.map_or(boundary, |wake| wake.min(boundary)));
            }
        }
    }

    /// A manager went from one department to another.
    pub(super) fn shift(&mut self, who: ManagerIx, from: DepartmentId, to: DepartmentId) {
        self.mark_dirty(who);
        for round in &mut self.rounds {
            round.shaken.extend([from.clone(), to.clone()]);
        }
    }

    fn next(&self) -> Option<Timestamp> {
        let rounds = self.rounds.iter().filter_map(|round| round.next(self.through));
        rounds.chain(self.steps.first().map(|(at, _)| *at)).min()
    }

    fn scope(&mut self, tenant: &TenantId, department: &DepartmentId) -> Arc<Scope> {
        if let Some(scope) = self.scopes.get(department) {
            return Arc::clone(scope);
        }
        let department_name = department.as_str();
        let place = ScopeQuery { tenant: tenant.as_str(), department: department_name, pipeline: None, source: None };
        let scope = Arc::new(self.norms.scope(place));
        self.scopes.insert(department.clone(), Arc::clone(&scope));
        scope
    }

    /// The norm of a charge in a scope, if its window is the one that is judged.
    fn norm<'a>(&self, key: ViolationKey, scope: &'a Scope) -> Option<&'a Params> {
        let size = self.rounds[key.round].window.size;
        let default = self.norms.windows.first().map(|window| window.size);
        scope.rules.get(&key.rule).filter(|norm| norm.window.or(default) == Some(size))
    }

    /// Plans the next escalation of a violation, or none.
    fn plan(&mut self, key: ViolationKey, at: Timestamp) {
        let Some(scope) = self.open.get(&key).map(|violation| Arc::clone(&violation.scope)) else { return };
        let norm = self.norm(key, &scope);
        let Some(violation) = self.open.get_mut(&key) else { return };
        if let Some(step) = violation.step.take() {
            self.steps.remove(&(step, key));
        }
        violation.step = norm.and_then(|norm| {
            let after = norm.escalate_after.as_ref()?.get(violation.level as usize)?;
            let step = scope.deadline(norm.clock.unwrap_or_default(), violation.began, after.span)?;
            Some(step.max(at))
        });
        self.steps.extend(violation.step.map(|step| (step, key)));
    }
}

impl WindowSchedule {
    fn mark_dirty(&mut self, who: ManagerIx) -> bool {
        let number = who.0 as usize;
        if self.is_dirty.len() <= number {
            self.is_dirty.resize(number + 1, false);
        }
        let fresh = !self.is_dirty[number];
        if fresh {
            self.is_dirty[number] = true;
            self.dirty.push(who);
        }
        fresh
    }

    /// The next boundary at which there is anybody to look at.
    fn next(&self, through: Timestamp) -> Option<Timestamp> {
        if self.dirty.is_empty() {
            return self.expiries.first().map(|(at, _)| *at);
        }
        Some(self.window.boundary_after(through))
    }

    /// Whom to look at at this boundary.
    fn due(&mut self, at: Timestamp) -> BTreeSet<ManagerIx> {
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
    /// Judges all slide boundaries and tells all escalations up to and including `until`, in order of time.
    pub fn judge_until(&mut self, until: Timestamp, alerts: &mut Vec<Alert>) {
        while let Some(at) = self.judge.wake.filter(|wake| *wake <= until) {
            for round in 0..self.judge.rounds.len() {
                if self.judge.rounds[round].next(self.judge.through) == Some(at) {
                    self.look(round, at, alerts);
                }
            }
            self.escalate(at, alerts);
            self.judge.through = at;
            self.judge.wake = self.judge.next();
        }
        self.judge.through = self.judge.through.max(until);
    }

    /// Judges at a boundary those whose verdict may have changed.
    fn look(&mut self, round: usize, at: Timestamp, alerts: &mut Vec<Alert>) {
        let WindowSchedule { window, index, .. } = self.judge.rounds[round];
        let rules = self.judge.rounds[round].rules.clone();
        let mut due = self.judge.rounds[round].due(at);
        let mut shaken = std::mem::take(&mut self.judge.rounds[round].shaken);
        shaken.extend(due.iter().map(|who| self.members[who.0 as usize].department()));
        let mut rates = BTreeMap::<DepartmentId, Conversion>::new();
        for department in shaken {
            let scope = self.judge.scope(&self.tenant, &department);
            let norms = rules.iter().filter_map(|rule| scope.rules.get(rule));
            if norms.clone().any(|norm| norm.of_department.is_some()) {
                due.extend(self.colleagues(&department));
                rates.insert(department.clone(), self.rate(&department, index, at));
            }
        }
        for who in due {
            let member = &mut self.members[who.0 as usize];
            member.advance(&self.windows, index, at);
            let offer = member.offers(window, at).next().map(|offer| window.leaves(offer.at.pane(window.slide)));
            let expiries = member.sliding[index].next_expiry().into_iter().chain(offer);
            self.judge.rounds[round].expiries.extend(expiries.map(|expiry| (expiry, who)));
            if who != ManagerIx::NONE {
                let rate = rates.get(&member.department()).copied().unwrap_or_default();
                for rule in &rules {
                    self.hold(ViolationKey { round, who, rule: *rule }, at, rate, alerts);
                }
            }
        }
    }

    /// Holds a manager's figures at a boundary against his norm.
    fn hold(&mut self, key: ViolationKey, at: Timestamp, rate: Conversion, alerts: &mut Vec<Alert>) {
        let department = self.members[key.who.0 as usize].department();
        let scope = self.judge.scope(&self.tenant, &department);
        let found = self.find(key, &scope, at, rate);
        let lasts = self.judge.open.contains_key(&key);
        let Some(Judgement { n, bad, good, mut observed, norm }) = found else {
            if lasts {
                self.resolve(key, at, Resolution::Disabled, None, alerts);
            }
            return;
        };
        let params = self.judge.norm(key, &scope);
        let enough = n >= params.and_then(|params| params.min_sample).unwrap_or(1);
        if lasts && !enough {
            observed.retain(|(key, _)| ["n", "k"].contains(key));
            self.resolve(key, at, Resolution::SampleTooSmall, Some((observed, norm)), alerts);
        } else if lasts && good {
            self.resolve(key, at, Resolution::Recovered, Some((observed, norm)), alerts);
        } else if lasts {
            if let Some(violation) = self.judge.open.get_mut(&key)
                && (&violation.observed, &violation.norm) != (&observed, &norm)
            {
                (violation.observed, violation.norm) = (observed, norm);
                self.note(key, false);
            }
        } else if enough && bad {
            let severity = params.and_then(|params| params.severity).unwrap_or_default();
            let (level, step) = (0, None);
            let last =
                LastStatus { at, department: department.clone(), observed: observed.clone(), norm: norm.clone() };
            let violation = OpenViolation { began: at, scope, department, severity, observed, norm, level, step, last };
            let told = violation.told(Status::Firing, at);
            alerts.push(self.tell(key, &violation, told));
            self.tally(key, at, 1, Measure::Violation(key.rule));
            self.tally(key, at, 1, Measure::OpenAlert(key.rule));
            self.judge.open.insert(key, violation);
            self.judge.plan(key, at);
            self.note(key, false);
        }
    }

    /// It ends; if there is no norm any more, what was found last is told.
    fn resolve(
        &mut self,
        key: ViolationKey,
        at: Timestamp,
        resolution: Resolution,
        found: Option<(Values, Values)>,
        alerts: &mut Vec<Alert>,
    ) {
        self.note(key, true);
        let Some(violation) = self.judge.open.remove(&key) else { return };
        if let Some(step) = violation.step {
            self.judge.steps.remove(&(step, key));
        }
        self.tally(key, at, -1, Measure::OpenAlert(key.rule));
        let (observed, norm) = found.unwrap_or_else(|| (violation.observed.clone(), violation.norm.clone()));
        let told = StatusChange { status: Status::Resolved, at, observed, norm, resolution: Some(resolution) };
        alerts.push(self.tell(key, &violation, told));
    }

    /// Tells the escalations of this instant.
    fn escalate(&mut self, at: Timestamp, alerts: &mut Vec<Alert>) {
        while let Some((_, key)) = self.judge.steps.first().copied().filter(|(step, _)| *step <= at) {
            self.judge.steps.pop_first();
            let Some(mut violation) = self.judge.open.remove(&key) else { continue };
            violation.step = None;
            violation.level += 1;
            violation.last = LastStatus {
                at,
                department: self.members[key.who.0 as usize].department(),
                observed: violation.observed.clone(),
                norm: violation.norm.clone(),
            };
            alerts.push(self.tell(key, &violation, violation.told(Status::Escalated, at)));
            self.judge.open.insert(key, violation);
            self.judge.plan(key, at);
            self.note(key, false);
        }
    }

    /// Notes how a violation stands, to be kept.
    fn note(&mut self, key: ViolationKey, over: bool) {
        let Some(violation) = self.judge.open.get(&key) else { return };
        let OpenViolation { began, department, severity, level, observed, norm, last, .. } = violation;
        let key = WindowViolationKey {
            began: *began,
            window: self.judge.rounds[key.round].window.size,
            manager: self.members[key.who.0 as usize].id.clone(),
            rule: key.rule,
        };
        let (department, observed, norm) = (department.clone(), observed.clone(), norm.clone());
        let told = (!over).then(|| last.clone());
        let kept = WindowViolation { over, department, severity: *severity, level: *level, observed, norm, told };
        if over {
            self.judge.over.push_back((*began, key.clone()));
        }
        self.judge.changes.insert(key, Some(kept));
    }

    /// What is to be kept of violations, as far as it changed since it was last asked; `None`: nothing any more.
    pub fn take_changes(&mut self) -> BTreeMap<WindowViolationKey, Option<WindowViolation>> {
        let longest = self.windows.iter().map(|window| Span(window.size.0 + window.slide.0)).max().unwrap_or_default();
        let oldest = self.judge.through.saturating_sub(longest);
        let WindowEvaluator { over, changes, .. } = &mut self.judge;
        if over.front().is_some_and(|(began, _)| *began < oldest) {
            over.retain(|(began, key)| {
                let gone = *began < oldest;
                if gone {
                    changes.insert(key.clone(), None);
                }
                !gone
            });
        }
        std::mem::take(changes)
    }

    /// Goes on from `at`, up to where everything was judged, with the violations that were kept. `norms`: those in force at
    /// an instant.
    pub fn resume(
        &mut self,
        at: Timestamp,
        kept: BTreeMap<WindowViolationKey, WindowViolation>,
        norms: impl Fn(Timestamp) -> Arc<Norms>,
    ) {
        self.judge.through = at;
        for (stored, violation) in kept {
            let WindowViolation { over, department, severity, level, observed, norm, told } = violation;
            let Some(who) = self.members.iter().position(|member| member.id == stored.manager) else { continue };
            let Some(round) = self.judge.rounds.iter().position(|round| round.window.size == stored.window) else {
                continue;
            };
            let key = ViolationKey { round, who: ManagerIx(who as u32), rule: stored.rule };
            self.tally(key, stored.began, 1, Measure::Violation(key.rule));
            if over {
                self.judge.over.push_back((stored.began, stored));
                continue;
            }
            self.tally(key, stored.began, 1, Measure::OpenAlert(key.rule));
            let place = ScopeQuery {
                tenant: self.tenant.as_str(),
                department: department.as_str(),
                pipeline: None,
                source: None,
            };
            let scope = Arc::new(norms(stored.began).scope(place));
            let rules = &mut self.judge.rounds[round].rules;
            if !rules.contains(&key.rule) {
                rules.push(key.rule);
            }
            let (began, step) = (stored.began, None);
            let last = told.unwrap_or_else(|| LastStatus {
                at: began,
                department: department.clone(),
                observed: observed.clone(),
                norm: norm.clone(),
            });
            let violation = OpenViolation { began, scope, department, severity, observed, norm, level, step, last };
            self.judge.open.insert(key, violation);
            self.judge.plan(key, at);
        }
        for who in 0..self.members.len() as u32 {
            self.judge.mark_dirty(ManagerIx(who));
        }
        self.judge.wake = self.judge.next();
    }

    /// The last alert of each violation that lasts.
    pub fn open_alerts(&self) -> impl Iterator<Item = Alert> {
        self.judge.open.iter().map(|(key, violation)| {
            let LastStatus { at, department, observed, norm } = violation.last.clone();
            let status = if violation.level == 0 { Status::Firing } else { Status::Escalated };
            let told = StatusChange { status, at, observed, norm, resolution: None };
            Alert { department: Some(department), ..self.tell(*key, violation, told) }
        })
    }

    /// What the norm of a scope says of a manager's figures at `at`.
    fn find(&self, key: ViolationKey, scope: &Scope, at: Timestamp, rate: Conversion) -> Option<Judgement> {
        let Evaluation::Window(judge) = key.rule.definition().evaluation else { return None };
        let norm = self.judge.norm(key, scope)?;
        let WindowSchedule { window, index, .. } = self.judge.rounds[key.round];
        let member = &self.members[key.who.0 as usize];
        let offers = terms(member.offers(window, at));
        let sample = WindowSample {
            own: member.sliding[index].total(),
            department: rate,
            special: Ratio { n: offers.offered, k: offers.special },
            stuck: Ratio { n: member.now.open_deals, k: member.now.stuck_deals },
        };
        judge(norm, &sample)
    }

    /// Everybody in a department; nobody is in `unknown`.
    fn colleagues(&self, department: &DepartmentId) -> impl Iterator<Item = ManagerIx> {
        let members = (0..).map(ManagerIx).zip(&self.members);
        members.filter(move |(_, member)| member.is_in(department)).map(|(who, _)| who)
    }

    /// The conversion of a department's leads at `at`.
    fn rate(&mut self, department: &DepartmentId, index: usize, at: Timestamp) -> Conversion {
        let mut rate = Conversion::default();
        for member in self.members.iter_mut().filter(|member| member.is_in(department)) {
            member.advance(&self.windows, index, at);
            rate += member.sliding[index].total().lead_conversion();
        }
        rate
    }

    fn tally(&mut self, key: ViolationKey, at: Timestamp, times: i32, measure: Measure) {
        self.count(&Fact { known: at, at, who: key.who, times, measure });
    }

    fn tell(&self, key: ViolationKey, violation: &OpenViolation, told: StatusChange) -> Alert {
        let StatusChange { status, at, observed, norm, resolution } = told;
        let window = self.judge.rounds[key.round].window;
        let member = &self.members[key.who.0 as usize];
        let subject = format_compact!("manager:{}/{}", member.id, window.name());
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
            manager: Some(member.id.clone()),
            department: Some(member.department()),
            entity: None,
            interaction: None,
            window: Some(window),
            observed,
            norm,
            resolution,
        }
    }
}

/// The windows that a rule goes by anywhere in a tenant.
fn rounds(norms: &Norms, tenant: &TenantId) -> Vec<WindowSchedule> {
    let mut rules = BTreeMap::<usize, Vec<Rule>>::new();
    for rule in Rule::ALL.iter().filter(|rule| matches!(rule.definition().evaluation, Evaluation::Window(_))) {
        let base = norms.base.rules.get(rule);
        // Managers have neither pipeline nor source, so what is meant for these never fits.
        let here = norms.overrides.iter().filter(|over| {
            let ours = over.tenant.as_ref().is_none_or(|name| name == tenant.as_str());
            ours && over.pipeline.is_none() && over.source.is_none()
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
    let round = |(index, rules)| {
        let (dirty, is_dirty, shaken, expiries) = Default::default();
        WindowSchedule { window: norms.windows[index], index, rules, dirty, is_dirty, shaken, expiries }
    };
    rules.into_iter().map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::effect::{Effect, ManagerUpdate, Percent};
    use super::super::super::event::Verdict;
    use super::super::super::id::UNKNOWN;
    use super::super::super::identity::Country;
    use super::super::super::norms::{Basis, Layer, Length, Override};
    use super::super::super::time::Span;
    use super::super::super::window::PaneAggregate;
    use super::*;
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
                Params { at_least: Some(60.0), window: Some(LONG.size), escalate_after: steps(&[5]), ..none() },
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

    /// What may happen, so much later than what happened before.
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

    fn person(known: Timestamp, who: u32, department: usize) -> ManagerUpdate {
        let department = Some(DEPARTMENTS[department].into()).filter(|_| department < 2);
        ManagerUpdate { known, who: ManagerIx(who), id: format!("m{who}").into(), department, active: true }
    }

    /// A violation as the naive model keeps it: beginning, level, severity, the norm of the beginning, and what the last
    /// boundary found and wanted.
    type Lasting = (Timestamp, u32, Severity, Params, Values, Values);

    /// The definition, taken at its word: everybody is judged at every boundary on a recount of all facts.
    #[derive(Default)]
    struct Naive {
        windows: Vec<Window>,
        /// By number of the department.
        scopes: Vec<Arc<Scope>>,
        facts: Vec<Fact>,
        departments: [usize; MANAGERS as usize + 1],
        through: i64,
        open: BTreeMap<(usize, u32, Rule), Lasting>,
        told: Vec<String>,
    }

    impl Naive {
        fn until(&mut self, until: i64) {
            let windows = self.windows.clone();
            let rules =
                || Rule::ALL.iter().filter(|rule| matches!(rule.definition().evaluation, Evaluation::Window(_)));
            for at in self.through + 1..=until {
                for (index, window) in windows.iter().enumerate().filter(|(_, window)| at % window.slide.0 == 0) {
                    for (who, rule) in (1..=MANAGERS).flat_map(|who| rules().map(move |rule| (who, *rule))) {
                        self.hold(Timestamp(at), (index, *window), who, rule);
                    }
                }
                self.escalate(Timestamp(at));
            }
            self.through = self.through.max(until);
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

        fn find(&self, at: Timestamp, window: Window, who: u32, rule: Rule, norm: &Params) -> Option<Judgement> {
            let Evaluation::Window(judge) = rule.definition().evaluation else { return None };
            let home = self.departments[who as usize];
            let own = self.aggregate(at, window, |other| other == who);
            let department =
                self.aggregate(at, window, |other| self.departments[other as usize] == home).lead_conversion();
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
                let standing = offers.iter().filter(|((_, _, is), times)| **times > 0 && (*is || !special));
                standing.map(|((_, deal, _), _)| deal).collect::<BTreeSet<_>>().len() as i64
            };
            let special = Ratio { n: deals(false), k: deals(true) };
            judge(norm, &WindowSample { own: &own, department, special, stuck: Ratio { n: open, k: stuck } })
        }

        fn hold(&mut self, at: Timestamp, (index, window): (usize, Window), who: u32, rule: Rule) {
            let scope = Arc::clone(&self.scopes[self.departments[who as usize]]);
            let norm = scope.rules.get(&rule).filter(|norm| norm.window.unwrap_or(SHORT.size) == window.size);
            let lasts = self.open.remove(&(index, who, rule));
            let found = norm.and_then(|norm| Some((norm, self.find(at, window, who, rule, norm)?)));
            let Some((norm, found)) = found else {
                let Some((began, level, severity, _, observed, wanted)) = lasts else { return };
                let told = (Status::Resolved, Some(Resolution::Disabled));
                return self.tell(at, window, who, rule, (began, level, severity), told, Some(&observed), &wanted);
            };
            let Judgement { n, bad, good, mut observed, norm: wanted } = found;
            let enough = n >= norm.min_sample.unwrap_or(1);
            let resolution = if !enough { Resolution::SampleTooSmall } else { Resolution::Recovered };
            match lasts {
                Some((began, level, severity, ..)) if !enough || good => {
                    observed.retain(|(key, _)| enough || ["n", "k"].contains(key));
                    let told = (Status::Resolved, Some(resolution));
                    self.tell(at, window, who, rule, (began, level, severity), told, Some(&observed), &wanted);
                }
                Some((began, level, severity, norm, ..)) => {
                    self.open.insert((index, who, rule), (began, level, severity, norm, observed, wanted));
                }
                None if enough && bad => {
                    let severity = norm.severity.unwrap_or_default();
                    self.tell(
                        at,
                        window,
                        who,
                        rule,
                        (at, 0, severity),
                        (Status::Firing, None),
                        Some(&observed),
                        &wanted,
                    );
                    self.open.insert((index, who, rule), (at, 0, severity, norm.clone(), observed, wanted));
                }
                None => {}
            }
        }

        fn escalate(&mut self, at: Timestamp) {
            let charges: Vec<_> = self.open.keys().copied().collect();
            for (index, who, rule) in charges {
                while let Some((began, level, _, norm, observed, wanted)) = self.open.get(&(index, who, rule)).cloned()
                {
                    let after = norm.escalate_after.as_ref().and_then(|steps| steps.get(level as usize));
                    if after.is_none_or(|after| began + after.span > at) {
                        break;
                    }
                    let severity = norm.severity.unwrap_or_default().raised(level + 1);
                    let window = self.windows[index];
                    let life = (began, level + 1, severity);
                    self.tell(at, window, who, rule, life, (Status::Escalated, None), Some(&observed), &wanted);
                    self.open.insert((index, who, rule), (began, level + 1, severity, norm, observed, wanted));
                }
            }
        }

        #[expect(clippy::too_many_arguments, reason = "all that an alert tells")]
        fn tell(
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
            self.told.push(format!(
                "{} {status:?} {rule} {subject} {department} {level} {severity:?} {} {resolution:?} {observed:?} {norm:?}",
                at.0, began.0
            ));
        }
    }

    fn told(alert: &Alert) -> String {
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
        fn who_looks_only_where_something_changed_finds_what_who_looks_everywhere_finds(steps in steps()) {
            let mut board = Scoreboard::new("acme".into(), Arc::new(norms()));
            let place = |department| ScopeQuery { tenant: "acme", department, pipeline: None, source: None };
            let scope = |department| Arc::new(norms().scope(place(department)));
            let (windows, scopes) = (norms().windows, DEPARTMENTS.map(scope).into());
            let mut naive = Naive { windows, scopes, ..Naive::default() };
            let mut alerts = Vec::new();
            for who in 1..=MANAGERS {
                let department = who as usize % 3;
                naive.departments[who as usize] = department;
                board.take(Effect::ManagerUpdate(Box::new(person(Timestamp::MIN, who, department))), &mut alerts);
            }
            naive.departments[0] = 2;
            board.judge_until(Timestamp::MIN, &mut alerts);
            let mut now = 1;
            let mut retracted = BTreeSet::new();
            for (later, step) in steps.into_iter().chain([(500, Step::Watermark)]) {
                now += later;
                let known = Timestamp(now);
                // What comes at a watermark is a correction: what was judged stays.
                naive.until(now - 1);
                let fact = match step {
                    Step::Watermark => {
                        naive.until(now);
                        board.judge_until(known, &mut alerts);
                        continue;
                    }
                    Step::Move { who, department } => {
                        naive.departments[who as usize] = department;
                        board.take(Effect::ManagerUpdate(Box::new(person(known, who, department))), &mut alerts);
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
                board.take(Effect::Fact(fact), &mut alerts);
            }
            prop_assert_eq!(alerts.iter().map(told).collect::<Vec<_>>(), naive.told);
            let open: i64 = board.members.iter().flat_map(|member| member.now.open_alerts.values()).sum();
            prop_assert_eq!(open, naive.open.len() as i64);
        }
    }

    #[test]
    fn windows_that_no_rule_goes_by_cost_nothing() {
        let board = |norms| Scoreboard::new("acme".into(), Arc::new(norms));
        let all = board(norms()).judge.rounds;
        assert_eq!(all.iter().map(|round| round.window).collect::<Vec<_>>(), [SHORT, LONG]);
        let none = board(Norms { base: Layer::default(), overrides: Vec::new(), ..norms() }).judge.rounds;
        assert!(none.is_empty());
        let mut elsewhere = norms();
        elsewhere.base = Layer::default();
        elsewhere.overrides[0].tenant = Some("other".into());
        assert!(board(elsewhere).judge.rounds.is_empty());
    }
}

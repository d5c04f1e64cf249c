//! Targets and `target_behind` (second edition, 63 to 65), from the definitions alone: the events are applied step by step,
//! and at every slide boundary and at every end of a period each figure is counted again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::alert::{Alert, AlertHeader, AlertOwner, StatusDetails};
use super::calendar::{Calendar, Clock, span, written};
use super::calls;
use super::decode::{Body, Event, Outcome};
use super::history::TenantHistory;
use super::identity::Kind;
use super::norms::{Norms, SEVERITIES, Scope};
use super::rules::{StatusKind, Step};
use super::steps::PlanFact;

/// What targets add to the output of a tenant.
pub struct Judged {
    pub alerts: Vec<Alert>,
    /// `targets` of the `now` row of a subject.
    pub now: BTreeMap<String, Value>,
    /// The closing rows.
    pub closed: Vec<Value>,
}

/// A subject: as in a row.
type Subject = String;

/// Each subject with one of its targets.
type Targets = Vec<(Subject, Target)>;

/// A number as written, times a million.
const ONE: i128 = 1_000_000;

#[derive(Clone)]
struct Target {
    id: String,
    figure: String,
    currency: Option<String>,
    per: String,
    at_least: Value,
    judge_after: i128,
    tolerance: Value,
    judged: bool,
    from: Option<Date>,
    calendar: Option<Rc<Calendar>>,
    clock: Clock,
    severity: usize,
    escalate_after: Vec<i64>,
}

/// A period.
#[derive(Clone, Debug, PartialEq)]
struct Period {
    name: String,
    start: i64,
    end: i64,
    total: i64,
    by_from: bool,
}

/// Something that counts: figure, currency, date, manager, how much.
type Counted = (&'static str, Option<String>, i64, Option<String>, i128);

struct Open {
    began: i64,
    moment: usize,
    period: Period,
    per: String,
    window: String,
    severity: usize,
    escalations: Vec<i64>,
    level: usize,
    observed: Value,
    required: Value,
    details: Vec<StatusDetails>,
}

/// A closed period: whose managers count, and what the row says besides the fact.
struct Closed {
    subject: Subject,
    target: Target,
    period: Period,
    managers: Option<BTreeSet<String>>,
    nobody: bool,
    incomplete: bool,
}

pub fn judge(history: &TenantHistory, events: &[Event], norms: &Norms, until: i64) -> Judged {
    let mut judged = Judged { alerts: Vec::new(), now: BTreeMap::new(), closed: Vec::new() };
    if norms.targets().is_empty() {
        return judged;
    }
    let mut run = Run {
        norms,
        history,
        as_of: TenantHistory::empty(&history.tenant, events, norms),
        applied: 0,
        active: BTreeMap::new(),
        seen: BTreeMap::new(),
        counted: Vec::new(),
        open: BTreeMap::new(),
        alerts: Vec::new(),
        known: RefCell::default(),
    };
    let slide = norms.windows[0].slide;
    let Some(first) = events.first().map(|event| event.at) else { return judged };
    let mut closed = Vec::new();
    let mut at = first;
    run.apply(events, at);
    loop {
        if at.rem_euclid(slide) == 0 {
            run.boundary(at);
        }
        let targets = run.targets();
        let ends = targets.iter().map(|(_, target)| target.period_at(at).end);
        let next = ends.chain([(at.div_euclid(slide) + 1) * slide]).min().unwrap();
        if next > until {
            break;
        }
        // Who had a target just before.
        run.apply(events, next - 1);
        let before: BTreeSet<(Subject, String)> =
            run.targets().iter().map(|(subject, target)| (subject.clone(), target.id.clone())).collect();
        run.apply(events, next);
        for (subject, target) in run.targets().iter() {
            let period = target.period_at(next - 1);
            if period.end == next
                && period.total > 0
                && period.start < period.end
                && before.contains(&(subject.clone(), target.id.clone()))
            {
                let (managers, nobody) = run.managers_of(subject);
                let incomplete = run.is_incomplete(subject, &period);
                let (subject, target) = (subject.clone(), target.clone());
                closed.push(Closed { subject, target, period, managers, nobody, incomplete });
            }
        }
        at = next;
    }
    run.apply(events, until);
    for (subject, target) in run.targets().iter() {
        let period = target.period_at(until);
        if until < period.start || period.total == 0 {
            continue;
        }
        let fact = run.fact(subject, target, &period);
        let passed = target.clock.between(period.start, until);
        let mut row = target.values(fact, passed, period.total);
        row.insert("at_least".to_owned(), target.at_least.clone());
        row.entry("forecast").or_insert(Value::Null);
        if run.is_incomplete(subject, &period) {
            row.insert("incomplete".to_owned(), json!(true));
        }
        let targets = judged.now.entry(subject.clone()).or_insert_with(|| json!({}));
        targets[&target.id] = Value::Object(row);
    }
    for Closed { subject, target, period, managers, nobody, incomplete } in closed {
        let fact = run.sum(&target, &period, |who| match who {
            Some(who) => managers.as_ref().is_none_or(|managers| managers.contains(who)),
            None => nobody,
        });
        let mut row = json!({
            "tenant_id": history.tenant,
            "subject": subject,
            "window": format!("{}/{}", target.id, period.name),
            "at": written(period.end),
            "at_least": target.at_least,
            "fact": fact as i64,
            "share": 1,
        });
        if incomplete {
            row["incomplete"] = json!(true);
        }
        judged.closed.push(row);
    }
    run.finish(until);
    judged.alerts = run.alerts;
    judged
}

struct Run<'a> {
    norms: &'a Norms,
    history: &'a TenantHistory,
    as_of: TenantHistory,
    applied: usize,
    /// Whether the latest record of a manager says active.
    active: BTreeMap<String, bool>,
    /// When a manager was first named.
    seen: BTreeMap<String, i64>,
    counted: Vec<Counted>,
    open: BTreeMap<(Subject, String), Open>,
    alerts: Vec<Alert>,
    /// The targets after this number of events.
    known: RefCell<Option<(usize, Rc<Targets>)>>,
}

impl Run<'_> {
    fn apply(&mut self, events: &[Event], at: i64) {
        let before = self.applied;
        while self.applied < events.len() && events[self.applied].at <= at {
            let event = &events[self.applied];
            self.applied += 1;
            self.as_of.apply(event, self.applied);
            if let Body::Manager { manager, active, .. } = &event.body {
                self.active.insert(manager.clone(), *active);
            }
            for manager in &self.as_of.all_managers {
                self.seen.entry(manager.clone()).or_insert(event.at);
            }
        }
        if before < self.applied {
            self.counted = counted(&self.as_of);
        }
    }

    fn is_active(&self, manager: &str) -> bool {
        self.active.get(manager).copied().unwrap_or(true)
    }

    fn department(&self, manager: Option<&str>) -> String {
        self.as_of.department_at(manager, usize::MAX).to_owned()
    }

    /// Every subject with each of its targets. They change only with events.
    fn targets(&self) -> Rc<Targets> {
        let mut known = self.known.borrow_mut();
        match &*known {
            Some((applied, targets)) if *applied == self.applied => Rc::clone(targets),
            _ => {
                let targets = Rc::new(self.read_targets());
                *known = Some((self.applied, Rc::clone(&targets)));
                targets
            }
        }
    }

    fn read_targets(&self) -> Targets {
        let mut all = Vec::new();
        let mut departments = BTreeSet::new();
        let mut add = |subject: String, of: &str, department: &str, manager: Option<&str>| {
            let targets = read(self.norms, &self.as_of.tenant, of, department, manager);
            all.extend(targets.into_iter().map(|target| (subject.clone(), target)));
        };
        for manager in self.as_of.all_managers.iter().filter(|manager| self.is_active(manager)) {
            let department = self.department(Some(manager));
            add(format!("manager:{manager}"), "manager", &department, Some(manager));
            departments.insert(department);
        }
        for department in departments {
            add(format!("department:{department}"), "department", &department, None);
        }
        add("tenant".to_owned(), "tenant", "", None);
        all
    }

    /// The managers whose figures a subject sums up; `None`: all. And whether what is nobody's counts.
    fn managers_of(&self, subject: &str) -> (Option<BTreeSet<String>>, bool) {
        match subject.split_once(':') {
            Some(("manager", id)) => (Some([id.to_owned()].into()), false),
            Some((_, id)) => {
                let managers = self.as_of.all_managers.iter();
                let own = managers.filter(|manager| self.department(Some(manager)) == id).cloned().collect();
                (Some(own), self.department(None) == id)
            }
            None => (None, true),
        }
    }

    fn fact(&self, subject: &str, target: &Target, period: &Period) -> i128 {
        let (managers, nobody) = self.managers_of(subject);
        self.sum(target, period, |who| match who {
            Some(who) => managers.as_ref().is_none_or(|managers| managers.contains(who)),
            None => nobody,
        })
    }

    fn sum(&self, target: &Target, period: &Period, includes: impl Fn(Option<&String>) -> bool) -> i128 {
        let counts = |(figure, currency, date, who, _): &&Counted| {
            *figure == target.figure
                && (target.currency.is_none() || *currency == target.currency)
                && (period.start..period.end).contains(date)
                && includes(who.as_ref())
        };
        self.counted.iter().filter(counts).map(|(.., n)| n).sum()
    }

    fn is_incomplete(&self, subject: &str, period: &Period) -> bool {
        let seen = subject.strip_prefix("manager:").and_then(|manager| self.seen.get(manager));
        period.start < self.history.first_seen || !period.by_from && seen.is_some_and(|seen| *seen > period.start)
    }

    fn boundary(&mut self, at: i64) {
        let all = self.targets();
        let targets: BTreeMap<(Subject, String), &Target> =
            all.iter().map(|(subject, target)| ((subject.clone(), target.id.clone()), target)).collect();
        let keys: BTreeSet<(Subject, String)> = self.open.keys().chain(targets.keys()).cloned().collect();
        for key in keys {
            let target = targets.get(&key).copied();
            if let Some(mut open) = self.open.remove(&key) {
                self.escalate(&mut open, at, false);
                match self.outcome(&key.0, target, &open, at) {
                    Some((resolution, values)) => {
                        if let Some((observed, required)) = values {
                            (open.observed, open.required) = (observed, required);
                        }
                        self.end(&key, open, resolution, at);
                    }
                    None => {
                        let target = target.expect("a target that goes on");
                        let period = target.period_at(at);
                        (open.observed, open.required) = self.values(&key.0, target, &period, at);
                        self.open.insert(key.clone(), open);
                    }
                }
            }
            if let Some(target) = target.filter(|_| !self.open.contains_key(&key)) {
                self.begin(key, target, at);
            }
        }
    }

    fn values(&self, subject: &str, target: &Target, period: &Period, at: i64) -> (Value, Value) {
        let fact = self.fact(subject, target, period);
        let passed = target.clock.between(period.start, at.min(period.end));
        let observed = Value::Object(target.values(fact, passed, period.total));
        (observed, json!({"at_least": target.at_least, "per": target.per, "tolerance": target.tolerance}))
    }

    /// How an open alert ends at a boundary, and what it says then.
    #[allow(clippy::type_complexity)]
    fn outcome(
        &self,
        subject: &str,
        target: Option<&Target>,
        open: &Open,
        at: i64,
    ) -> Option<(&'static str, Option<(Value, Value)>)> {
        let Some(target) = target.filter(|target| target.per == open.per) else { return Some(("disabled", None)) };
        let ended = at >= open.period.end;
        let period = if ended { target.period_at(open.period.end - 1) } else { target.period_at(at) };
        if period.total == 0 || !ended && (!target.judged || self.is_incomplete(subject, &period)) {
            return Some(("disabled", None));
        }
        let fact = self.fact(subject, target, &period);
        let passed = target.clock.between(period.start, at.min(period.end));
        let values = Some(self.values(subject, target, &period, at));
        let at_least = million(&target.at_least);
        if fact * ONE >= at_least {
            Some(("reached", values))
        } else if ended {
            Some(("period_over", values))
        } else if fact * ONE * i128::from(period.total) >= at_least * i128::from(passed) {
            Some(("recovered", values))
        } else {
            None
        }
    }

    fn begin(&mut self, key: (Subject, String), target: &Target, at: i64) {
        let period = target.period_at(at);
        if !target.judged || period.total == 0 || at < period.start || self.is_incomplete(&key.0, &period) {
            return;
        }
        let fact = self.fact(&key.0, target, &period);
        let (passed, total) = (i128::from(target.clock.between(period.start, at)), i128::from(period.total));
        let (at_least, tolerance) = (million(&target.at_least), million(&target.tolerance));
        let behind = passed * ONE >= target.judge_after * total
            && fact * ONE * ONE * total < at_least * passed * (ONE - tolerance)
            && fact * ONE < at_least;
        if !behind {
            return;
        }
        let (observed, required) = self.values(&key.0, target, &period, at);
        let step =
            Step { kind: StatusKind::Firing, at, moment: self.applied, level: 0, observed_to: at, resolution: None };
        let window = format!("{}/{}", target.id, period.name);
        let escalations = target.escalate_after.iter().map_while(|span| target.clock.after(at, *span)).collect();
        let (severity, per, moment) = (target.severity, target.per.clone(), self.applied);
        let details = vec![(step, observed.clone(), required.clone())];
        let open = Open {
            began: at,
            moment,
            period,
            per,
            window,
            severity,
            escalations,
            level: 0,
            observed,
            required,
            details,
        };
        self.open.insert(key, open);
    }

    fn escalate(&self, open: &mut Open, to: i64, inclusive: bool) {
        while let Some(at) = open.escalations.get(open.level).copied()
            && (at < to || inclusive && at == to)
        {
            open.level += 1;
            let step = Step {
                kind: StatusKind::Escalated,
                at,
                moment: self.history.moment_at(at),
                level: open.level,
                observed_to: at,
                resolution: None,
            };
            open.details.push((step, open.observed.clone(), open.required.clone()));
        }
    }

    fn end(&mut self, key: &(Subject, String), mut open: Open, resolution: &'static str, at: i64) {
        let step = Step {
            kind: StatusKind::Resolved,
            at,
            moment: self.applied,
            level: open.level,
            observed_to: at,
            resolution: Some(resolution),
        };
        open.details.push((step, open.observed.clone(), open.required.clone()));
        self.publish(key, open);
    }

    fn publish(&mut self, (subject, target): &(Subject, String), open: Open) {
        let owner = match subject.split_once(':') {
            Some(("manager", id)) => AlertOwner::Manager(Some(id.to_owned())),
            Some((_, id)) => AlertOwner::Department(id.to_owned()),
            None => AlertOwner::Tenant,
        };
        let header = AlertHeader {
            rule: "target_behind",
            subject: format!("{subject}/{target}"),
            owner,
            entity: None,
            interaction: None,
            window: Some(&open.window),
            anchor: open.began,
            due: None,
            severity: open.severity,
        };
        self.alerts.push(header.build(self.history, open.details));
    }

    fn finish(&mut self, until: i64) {
        for (key, mut open) in std::mem::take(&mut self.open) {
            // The escalations of the boundary itself come after it.
            self.escalate(&mut open, until, true);
            self.publish(&key, open);
        }
    }
}

/// All that targets count, as known now.
fn counted(history: &TenantHistory) -> Vec<Counted> {
    let mut all: Vec<Counted> = Vec::new();
    for entity in history.entities.values().filter(|entity| entity.deleted.is_none()) {
        let Some(closing) = entity.current_closing() else { continue };
        let (at, who) = (closing.at, closing.who.clone());
        match (entity.id.kind, closing.outcome) {
            (Kind::Lead, Outcome::Converted) => all.push(("leads_converted", None, at, who, 1)),
            (Kind::Deal, Outcome::Won) => {
                all.push(("deals_won", None, at, who.clone(), 1));
                if let Some((currency, minor)) = entity.amount_won() {
                    all.push(("amount_won", Some(currency), at, who, i128::from(minor)));
                }
            }
            _ => {}
        }
    }
    let (calls, touches) = calls::facts(history);
    for call in calls {
        if call.value.outbound {
            all.push(("calls_outbound", None, call.date, call.who.clone(), 1));
        }
        if call.value.conversation {
            all.push(("conversations", None, call.date, call.who, 1));
        }
    }
    all.extend(touches.iter().chain(&history.touches).map(|fact| ("touches", None, fact.date, fact.who.clone(), 1)));
    let sent = history.messages.iter().filter(|message| message.value.0);
    all.extend(sent.map(|fact| ("messages_sent", None, fact.date, fact.who.clone(), 1)));
    all.extend(history.meetings.iter().map(|fact| ("meetings", None, fact.date, fact.who.clone(), 1)));
    all.extend(history.offers.iter().map(|fact| ("terms_offered", None, fact.date, fact.who.clone(), 1)));
    let done = history.plan_facts.iter().filter(|fact| matches!(fact.value, PlanFact::Done { .. }));
    all.extend(done.map(|fact| ("plans_done", None, fact.date, fact.who.clone(), 1)));
    all
}

impl Target {
    fn midnight(&self, date: Date) -> i64 {
        match &self.calendar {
            Some(calendar) => calendar.midnight(date),
            None => i64::from(date.since(Date::constant(1970, 1, 1)).unwrap().get_days()) * 86_400_000,
        }
    }

    fn date(&self, at: i64) -> Date {
        match &self.calendar {
            Some(calendar) => calendar.date(at),
            None => Date::constant(1970, 1, 1).checked_add((at.div_euclid(86_400_000)).days()).unwrap(),
        }
    }

    fn period_at(&self, at: i64) -> Period {
        let mut date = self.date(at);
        loop {
            let (first, next, name) = self.bounds(date);
            let (begins, end) = (self.midnight(first), self.midnight(next));
            // Where clocks go back across midnight, the date is not that of the period.
            if at < begins {
                date = first.yesterday().unwrap();
                continue;
            }
            if at >= end {
                date = next;
                continue;
            }
            let from = self.from.map(|from| self.midnight(from));
            let start = from.unwrap_or(begins).max(begins).min(end);
            let total = self.clock.between(start, end);
            return Period { name, start, end, total, by_from: from.is_some_and(|from| from >= begins) };
        }
    }

    /// The first day of the period of a date, that of the next one, and the name.
    fn bounds(&self, date: Date) -> (Date, Date, String) {
        match self.per.as_str() {
            "day" => (date, date.tomorrow().unwrap(), date.to_string()),
            "week" => {
                let first = date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).unwrap();
                let week = first.iso_week_date();
                let name = format!("{:04}-W{:02}", week.year(), week.week());
                (first, first.checked_add(7.days()).unwrap(), name)
            }
            "month" => {
                let first = Date::new(date.year(), date.month(), 1).unwrap();
                (first, first.checked_add(1.month()).unwrap(), format!("{:04}-{:02}", first.year(), first.month()))
            }
            _ => {
                let quarter = (date.month() - 1) / 3;
                let first = Date::new(date.year(), quarter * 3 + 1, 1).unwrap();
                let name = format!("{:04}-Q{}", first.year(), quarter + 1);
                (first, first.checked_add(3.months()).unwrap(), name)
            }
        }
    }

    /// The observed values.
    fn values(&self, fact: i128, passed: i64, total: i64) -> Map<String, Value> {
        let share = passed as f64 / total as f64;
        let mut values = Map::new();
        values.insert("fact".to_owned(), json!(fact as i64));
        values.insert("pace".to_owned(), json!(self.at_least.as_f64().unwrap() * share));
        values.insert("share".to_owned(), json!(share));
        if i128::from(passed) * 20 >= i128::from(total) {
            values.insert("forecast".to_owned(), json!(fact as f64 / share));
        }
        values
    }
}

/// The targets of a scope.
fn read(norms: &Norms, tenant: &str, of: &str, department: &str, manager: Option<&str>) -> Vec<Target> {
    let scope = Scope {
        tenant: tenant.to_owned(),
        department: department.to_owned(),
        manager: manager.map(str::to_owned),
        pipeline: None,
        source: None,
    };
    let general = norms.keys_of("target_behind", &scope);
    let mut targets = Vec::new();
    for (id, keys) in norms.targets_in(&scope) {
        let text = |key: &str| keys.get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |keys: &Map<String, Value>, key: &str| keys.get(key).and_then(Value::as_bool) != Some(false);
        if text("of").as_deref().unwrap_or("manager") != of || !flag(&keys, "enabled") {
            continue;
        }
        let calendar = norms.calendar(&scope);
        let business = text("clock").as_deref() != Some("wall");
        let clock = if business { Clock::business(calendar.clone()) } else { Clock::Wall };
        let of_rule = |key: &str| keys.get(key).or_else(|| general.get(key)).cloned();
        let severity = of_rule("severity").and_then(|name| name.as_str().map(str::to_owned));
        let severity = severity.as_deref().unwrap_or("warning");
        let steps = of_rule("escalate_after").and_then(|steps| steps.as_array().cloned()).unwrap_or_default();
        targets.push(Target {
            figure: text("figure").unwrap(),
            currency: text("currency").filter(|_| text("figure").as_deref() == Some("amount_won")),
            per: text("per").unwrap(),
            at_least: keys["at_least"].clone(),
            judge_after: million(keys.get("judge_after").unwrap_or(&json!(0.5))),
            tolerance: keys.get("tolerance").cloned().unwrap_or(json!(0.1)),
            judged: flag(&keys, "judge") && flag(&general, "enabled"),
            from: text("from").map(|date| date.parse().unwrap()),
            calendar,
            clock,
            severity: SEVERITIES.iter().position(|name| *name == severity).unwrap(),
            escalate_after: steps.iter().map(|step| span(step.as_str().unwrap()).unwrap()).collect(),
            id,
        });
    }
    targets
}

/// A number as written, times a million.
fn million(number: &Value) -> i128 {
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{fraction:0<6}").parse().unwrap()
}

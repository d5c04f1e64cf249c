//! Owns what the page says of a company: who to talk to first and about what, and which clocks end next.
//!
//! **Order of people.** Open alerts count by their severity ([`weight`]); at equal weight the longest wait of a customer
//! comes first, then the smaller share of first responses within the norm. A warning counts as nothing: it is listed with
//! the clocks, where it can still be averted.

use super::text::{Text, capitalized, rounded, say};
use crate::dataflow::live::TenantSnapshot;
use crate::domain::alert::{Alert, Severity, Status, Value};
use crate::domain::figures::row::{Figures, Subject};
use crate::domain::figures::table::{NowFigures, WindowFigures};
use crate::domain::id::{DepartmentId, EntityId, EntityKind, ManagerId, UNKNOWN};
use crate::domain::norms::targets::{Of, Target};
use crate::domain::norms::{Clock, Scope, ScopeQuery};
use crate::domain::rule::Rule;
use crate::domain::rule::message::{self, Language};
use crate::domain::time::calendar::Calendar;
use crate::domain::time::{Span, Timestamp};
use crate::edge::http::source::Open;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One company at one instant, for one reader.
pub(super) struct Board<'a> {
    pub(super) snapshot: &'a TenantSnapshot,
    alerts: &'a [Open],
    /// The chosen window.
    pub(super) window: &'a str,
    /// The chosen department; `None`: the whole company.
    pub(super) department: Option<&'a DepartmentId>,
    pub(super) language: Language,
    figures: BTreeMap<&'a Subject, SubjectFigures<'a>>,
    /// The calendar in whose zone times are shown.
    pub(super) calendar: Option<Arc<Calendar>>,
}

/// The figures of a subject, as far as it has any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SubjectFigures<'a> {
    pub(super) window: Option<&'a WindowFigures>,
    pub(super) now: Option<&'a NowFigures>,
    department: Option<&'a DepartmentId>,
}

/// A manager, or what has no manager.
pub(super) struct Person<'a> {
    /// `None`: nobody is responsible.
    pub(super) id: Option<&'a ManagerId>,
    pub(super) department: &'a str,
    pub(super) figures: SubjectFigures<'a>,
    /// The open alerts without warnings, the most important one first.
    pub(super) open: Vec<&'a Open>,
    /// The longest wait of a customer.
    pub(super) wait: Option<(Span, &'a Alert)>,
    score: u32,
}

/// A clock that runs towards its deadline, or has passed it.
pub(super) struct RunningClock<'a> {
    pub(super) open: &'a Open,
    /// Time on the clock of the rule until the deadline, or since then.
    pub(super) left: Span,
    pub(super) is_overdue: bool,
    /// Whether the clock counts now.
    pub(super) counts: bool,
}

/// What an open alert counts in the order of people.
fn weight(severity: Severity) -> u32 {
    match severity {
        Severity::Info => 1,
        Severity::Warning => 10,
        Severity::Critical => 100,
    }
}

/// Whether a customer waits while the alert is open.
fn is_wait(rule: Rule) -> bool {
    matches!(rule, Rule::FirstResponseLate | Rule::MissedCallNotReturned | Rule::MessageUnanswered)
}

impl<'a> Board<'a> {
    pub(super) fn new(
        snapshot: &'a TenantSnapshot,
        alerts: &'a [Open],
        window: &'a str,
        department: Option<&'a DepartmentId>,
        language: Language,
    ) -> Self {
        let mut figures: BTreeMap<&Subject, SubjectFigures<'_>> = BTreeMap::new();
        for row in &snapshot.rows {
            let of_subject = figures.entry(&row.subject).or_default();
            of_subject.department = row.department.as_ref();
            match &row.figures {
                Figures::Window(own, figures) if own.name() == window => of_subject.window = Some(figures),
                Figures::Now(figures) => of_subject.now = Some(figures),
                Figures::Window(..) | Figures::Closing(..) | Figures::Gone(_) => {}
            }
        }
        let query = ScopeQuery {
            tenant: snapshot.tenant.as_str(),
            department: department.map_or("", DepartmentId::as_str),
            manager: None,
            pipeline: None,
            source: None,
        };
        let calendar = snapshot.norms.shared_scope(query).calendar.clone();
        Self { snapshot, alerts, window, department, language, figures, calendar }
    }

    /// The instant of the figures.
    pub(super) fn now(&self) -> Timestamp {
        self.snapshot.watermark
    }

    pub(super) fn say(&self, text: Text) -> &'static str {
        say(self.language, text)
    }

    pub(super) fn figures(&self, subject: &Subject) -> SubjectFigures<'a> {
        self.figures.get(subject).copied().unwrap_or_default()
    }

    /// The name of a manager; the id if it is not known.
    pub(super) fn manager_name<'b>(&'b self, id: &'b ManagerId) -> &'b str {
        self.snapshot.names.get(id).map_or(id.as_str(), String::as_str)
    }

    /// The name of a department; the id if it is not known.
    pub(super) fn department_name<'b>(&'b self, id: &'b str) -> &'b str {
        if id == UNKNOWN {
            return self.say(["no department", "без отдела"]);
        }
        let described = self.snapshot.described.get(&DepartmentId::from(id));
        described.and_then(|department| department.name.as_deref()).unwrap_or(id)
    }

    /// The norms of a manager.
    pub(super) fn scope(&self, manager: Option<&ManagerId>, department: &str) -> Arc<Scope> {
        self.snapshot.norms.shared_scope(ScopeQuery {
            tenant: self.snapshot.tenant.as_str(),
            department,
            manager: manager.map(ManagerId::as_str),
            pipeline: None,
            source: None,
        })
    }

    /// The targets of a subject.
    pub(super) fn targets(&self, subject: &Subject) -> Vec<Target> {
        let own = self.figures(subject).department.map_or(UNKNOWN, DepartmentId::as_str);
        let (of, manager, department) = match subject {
            Subject::Tenant => (Of::Tenant, None, ""),
            Subject::Department(id) => (Of::Department, None, id.as_str()),
            Subject::Manager(id) => (Of::Manager, Some(id.as_str()), own),
        };
        let tenant = self.snapshot.tenant.as_str();
        let query = ScopeQuery { tenant, department, manager, pipeline: None, source: None };
        let mut targets = self.snapshot.norms.targets(query);
        targets.retain(|target| target.of == of);
        targets
    }

    /// The subjects with figures in the chosen department: the company or the department first, then people.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &'a Subject> {
        let is_chosen = |subject: &Subject, figures: &SubjectFigures<'_>| match (self.department, subject) {
            (None, _) => true,
            (Some(_), Subject::Tenant) => false,
            (Some(chosen), Subject::Department(id)) => id == chosen,
            (Some(chosen), Subject::Manager(_)) => figures.department == Some(chosen),
        };
        self.figures.iter().filter(move |(subject, figures)| is_chosen(subject, figures)).map(|(subject, _)| *subject)
    }

    /// The open alerts of the chosen department.
    pub(super) fn alerts(&self) -> impl Iterator<Item = &'a Open> {
        let chosen = self.department;
        self.alerts.iter().filter(move |open| chosen.is_none() || open.alert.department.as_ref() == chosen)
    }

    /// The time between two instants on the clock of an alert.
    fn elapsed(&self, alert: &Alert, from: Timestamp, to: Timestamp) -> Span {
        let department = alert.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        let scope = self.scope(alert.manager.as_ref(), department);
        scope.elapsed(clock_of(alert), from, to)
    }

    /// The people of the chosen department, those who need attention first.
    pub(super) fn people(&self) -> Vec<Person<'a>> {
        let mut people: BTreeMap<Option<&ManagerId>, Person<'_>> = BTreeMap::new();
        for subject in self.subjects() {
            if let Subject::Manager(id) = subject {
                people.insert(Some(id), self.person(Some(id)));
            }
        }
        for open in self.alerts().filter(|open| open.alert.status != Status::DueSoon) {
            let alert = &open.alert;
            if alert.manager.is_none() && alert.entity.is_none() && alert.interaction.is_none() {
                continue;
            }
            let id = alert.manager.as_ref();
            let person = people.entry(id).or_insert_with(|| self.person(id));
            person.score = person.score.saturating_add(weight(alert.severity));
            person.open.push(open);
            if is_wait(alert.rule) {
                let waited = self.elapsed(alert, alert.anchor_at, self.now());
                if person.wait.is_none_or(|(longest, _)| waited > longest) {
                    person.wait = Some((waited, alert));
                }
            }
        }
        let mut people: Vec<Person<'_>> = people.into_values().collect();
        for person in &mut people {
            person.open.sort_by_key(|open| (Reverse(open.alert.severity as u8), open.alert.anchor_at, open.alert.id));
        }
        let within = |person: &Person<'_>| {
            let ratio = person.figures.window.and_then(|figures| figures.first_response_within_norm.ratio());
            ratio.map_or(100, |ratio| (ratio * 100.0) as i64)
        };
        let wait = |person: &Person<'_>| person.wait.map_or(Span::ZERO, |(waited, _)| waited);
        people.sort_by_key(|person| (Reverse(person.score), Reverse(wait(person)), within(person), person.id));
        people
    }

    fn person(&self, id: Option<&'a ManagerId>) -> Person<'a> {
        let figures = id.map(|id| self.figures(&Subject::Manager(id.clone()))).unwrap_or_default();
        let department = figures.department.map_or(UNKNOWN, DepartmentId::as_str);
        Person { id, department, figures, open: Vec::new(), wait: None, score: 0 }
    }

    /// One manager with the open alerts.
    pub(super) fn find(&self, id: &ManagerId) -> Option<Person<'a>> {
        self.people().into_iter().find(|person| person.id == Some(id))
    }

    /// The clocks with a warning, by the time that is left, then those of open alerts, the latest first.
    pub(super) fn clocks(&self) -> Vec<RunningClock<'a>> {
        let mut clocks: Vec<RunningClock<'_>> = self
            .alerts()
            .filter_map(|open| {
                let (alert, due) = (&open.alert, open.alert.due_at?);
                let now = self.now();
                let is_overdue = alert.status != Status::DueSoon;
                let left = if is_overdue { self.elapsed(alert, due, now) } else { self.elapsed(alert, now, due) };
                let counts = self.elapsed(alert, now, now.saturating_add(Span::SECOND)) > Span::ZERO;
                Some(RunningClock { open, left, is_overdue, counts })
            })
            .collect();
        clocks.sort_by_key(|clock| {
            let rank = if clock.is_overdue { -clock.left.0 } else { clock.left.0 };
            (clock.is_overdue, rank, clock.open.alert.id)
        });
        clocks
    }

    /// Whom or what an alert is about, for people: `lead 17`, `Vera, 1h`.
    pub(super) fn subject(&self, alert: &Alert) -> String {
        if let Some(entity) = &alert.entity {
            return entity_name(self.language, entity);
        }
        if let Some(contact) = alert.subject.strip_prefix("contact:") {
            return format!("{} {}", self.say(["customer", "клиент"]), contact.get(..6).unwrap_or(contact));
        }
        let name = match (&alert.manager, &alert.department) {
            (Some(id), _) => self.manager_name(id),
            (None, Some(id)) => {
                let described = self.snapshot.described.get(id);
                described.and_then(|department| department.name.as_deref()).unwrap_or(id.as_str())
            }
            (None, None) => return alert.subject.to_string(),
        };
        alert.window.as_ref().map_or_else(|| name.to_owned(), |window| format!("{name}, {window}"))
    }

    /// The message of an open alert as of now, with names instead of ids.
    pub(super) fn message(&self, alert: &Alert) -> String {
        let mut current = Alert { subject: self.subject(alert).into(), ..alert.clone() };
        if is_wait(alert.rule) && alert.status != Status::DueSoon {
            let waited = self.elapsed(alert, alert.anchor_at, self.now());
            let lags = current.observed.iter_mut().filter(|(key, _)| *key == "lag_seconds");
            lags.for_each(|(_, lag)| *lag = rounded(waited).into());
        }
        capitalized(&message::of(&current, self.language))
    }

    /// The open alert of a silent source, if there is one.
    pub(super) fn silent_source(&self) -> Option<&'a Alert> {
        let is_silence = |open: &&Open| open.alert.rule == Rule::SourceSilent && open.alert.status != Status::DueSoon;
        self.alerts.iter().find(is_silence).map(|open| &*open.alert)
    }
}

/// The name of a lead or deal for people.
pub(super) fn entity_name(language: Language, entity: &EntityId) -> String {
    let kind = match entity.kind {
        EntityKind::Lead => ["lead", "лид"],
        EntityKind::Deal => ["deal", "сделка"],
    };
    format!("{} {}", say(language, kind), entity.id)
}

/// The clock that an alert counts on.
fn clock_of(alert: &Alert) -> Clock {
    let is_business = |(key, value): &(&str, Value)| {
        *key == "clock" && matches!(value, Value::Text(text) if text == Clock::Business.name())
    };
    if alert.norm.iter().any(is_business) { Clock::Business } else { Clock::Wall }
}

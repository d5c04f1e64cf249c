//! The comparison report for people: one sentence on the effect of the new norms, then one table per tenant, largest
//! changes first. Every counted alert is in a table; managers without changes are summed up. Pure.

use super::super::table::Table;
use super::compare::{AlertChange, Verdict};
use crate::domain::alert::Value;
use crate::domain::figures::row::{Row, Subject};
use crate::domain::id::{TenantId, UNKNOWN};
use crate::domain::norms::{Norms, ScopeQuery};
use crate::domain::rule::Rule;
use crate::domain::time::calendar::Calendar;
use crate::domain::time::{Span, Timestamp};
use crate::telemetry::clean::clean;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// A norm with more distinct values than this (by department or source) is not shown.
const NORM_VALUES: usize = 3;

/// Numbers of alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Under the old norms.
    pub old: u64,
    /// Under the new norms.
    pub new: u64,
    /// Only under the new norms.
    pub added: u64,
    /// Only under the old norms.
    pub removed: u64,
    /// Under both, with differences.
    pub changed: u64,
    /// Of the changed ones: those with a higher severity or level under the new norms.
    pub worse: u64,
    /// Of the changed ones: those with a lower severity or level under the new norms.
    pub milder: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.old += other.old;
        self.new += other.new;
        self.added += other.added;
        self.removed += other.removed;
        self.changed += other.changed;
        self.worse += other.worse;
        self.milder += other.milder;
    }

    /// Sort key: added and removed alerts weigh more than changed ones.
    fn weight(self) -> (u64, u64, u64, u64) {
        (self.added + self.removed, self.worse + self.milder, self.changed, self.old + self.new)
    }

    fn differs(self) -> bool {
        self.added + self.removed + self.changed > 0
    }

    /// Whether anything differs besides deadlines and managers.
    fn is_notable(self) -> bool {
        self.added + self.removed + self.worse + self.milder > 0
    }
}

/// Manager (empty: unassigned) and department.
type ManagerKey = (String, String);

#[derive(Debug, Default)]
struct TenantReport {
    rules: BTreeMap<Rule, BTreeMap<ManagerKey, Tally>>,
    /// The norms as shown in alerts, by rule and key: the distinct values under the old and the new norms.
    norms: BTreeMap<Rule, BTreeMap<&'static str, [BTreeSet<String>; 2]>>,
    /// All managers in rows or alerts.
    managers: BTreeSet<String>,
    days: Days,
}

/// Number of days in the period.
#[derive(Clone, Copy, Debug, Default)]
struct Days {
    count: u64,
    /// Whether only days with working time in the calendar count.
    working: bool,
}

/// The comparison report.
#[derive(Debug)]
pub struct Report {
    names: [String; 2],
    period: Option<(String, String)>,
    tenants: BTreeMap<TenantId, TenantReport>,
}

impl Report {
    /// Reports on `verdicts`. `names` are the names of the old and the new norms, `period` the first and the last
    /// instant that counts, `norms` the new norms (for their calendars), and `rows` the source of the list of managers.
    pub fn new(
        names: [String; 2],
        period: Option<(Timestamp, Timestamp)>,
        norms: &Norms,
        rows: &[Row],
        verdicts: &[Verdict],
    ) -> Self {
        let mut tenants = BTreeMap::<TenantId, TenantReport>::new();
        for row in rows {
            let report = tenants.entry(row.tenant.clone()).or_default();
            if let Subject::Manager(id) = &row.subject {
                report.managers.insert(id.to_string());
            }
        }
        for verdict in verdicts {
            let report = tenants.entry(verdict.alert().tenant.clone()).or_default();
            report.count(verdict);
        }
        let mut dates = None;
        for (tenant, report) in &mut tenants {
            let query = ScopeQuery { tenant: tenant.as_str(), department: UNKNOWN, ..ScopeQuery::default() };
            let calendar = norms.scope(query).calendar;
            report.days = period.map_or(Days::default(), |period| days(calendar.as_ref(), period));
            dates = dates.or(period.map(|(from, to)| {
                let date = |at| calendar.as_ref().map_or_else(|| utc_date(at), |calendar| calendar.day(at).to_string());
                (date(from), date(to))
            }));
        }
        Self { names, period: dates, tenants }
    }

    /// The overall effect in one sentence.
    pub fn conclusion(&self) -> String {
        let [old, new] = &self.names;
        let Some((from, to)) = &self.period else { return "There are no events to compare.".into() };
        let days = Days {
            count: self.tenants.values().map(|report| report.days.count).max().unwrap_or_default(),
            working: self.tenants.values().all(|report| report.days.working),
        };
        let tally = self.tally();
        let when = if from == to { format!("On {from}") } else { format!("From {from} to {to}") };
        let scope = format!("{when} ({} {})", days.count, days.name(days.count));
        if tally.added + tally.removed == 0 {
            let remark = match (tally.changed, tally.worse + tally.milder) {
                (0, _) => "no difference".into(),
                (changed, 0) => format!("{changed} of them with a different deadline"),
                (changed, reached) => format!("{changed} of them changed, {reached} in severity or level"),
            };
            return format!("{scope}, {new} would have produced the same {} as {old}: {remark}.", alerts(tally.new));
        }
        let people: Vec<_> = self.tenants.values().map(|report| (report.assigned(), report.managers.len())).collect();
        let (assigned, managers) =
            (sum(people.iter().map(|(assigned, _)| *assigned)), people.iter().map(|(_, n)| n).sum());
        format!(
            "{scope}, {new} would have produced {} instead of {} under {old}, {} added and {} removed{}.",
            alerts(tally.new),
            tally.old,
            tally.added,
            tally.removed,
            rates(tally, assigned, managers, days)
        )
    }

    /// The conclusion and the tables.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.conclusion());
        let mut tenants: Vec<_> = self.tenants.iter().collect();
        tenants.sort_by_key(|(_, report)| Reverse(report.tally().weight()));
        let single_tenant = tenants.len() == 1;
        let without_alerts = tenants.iter().filter(|(_, report)| report.rules.is_empty()).count();
        for (tenant, report) in tenants.iter().filter(|(_, report)| !report.rules.is_empty()) {
            // Writing to a string cannot fail.
            let _ =
                write!(text, "\n{}: {}\n{}", clean(tenant.as_str()), report.headline(single_tenant), report.table());
        }
        if without_alerts > 0 {
            let _ = writeln!(text, "\n{} without alerts.", counted(without_alerts, "tenant", "tenants"));
        }
        if self.tally().differs() {
            text.push_str(
                "\nadded: only under the new norms; removed: only under the old norms; changed: under both, with a\n\
                 different deadline, severity, escalation level or manager; worse, milder: changed alerts with a\n\
                 higher or lower severity or level under the new norms. Retracted alerts are not counted.\n",
            );
        }
        text
    }

    /// The totals.
    pub fn tally(&self) -> Tally {
        sum(self.tenants.values().map(TenantReport::tally))
    }
}

impl TenantReport {
    fn count(&mut self, verdict: &Verdict) {
        let rule = self.rules.entry(verdict.alert().rule).or_default();
        let keys = [verdict.under_old(), verdict.under_new()].map(|life| {
            life.map(|life| {
                let manager = life.alert.manager.as_ref().map_or("", |id| id.as_str());
                (manager.to_owned(), life.alert.department.as_ref().map_or("", |id| id.as_str()).to_owned())
            })
        });
        for (side, manager_key) in keys.iter().enumerate() {
            if let Some(manager_key) = manager_key {
                self.managers.extend(Some(manager_key.0.clone()).filter(|manager| !manager.is_empty()));
                let tally = rule.entry(manager_key.clone()).or_default();
                *[&mut tally.old, &mut tally.new][side] += 1;
            }
        }
        let norms = self.norms.entry(verdict.alert().rule).or_default();
        for (side, life) in [verdict.under_old(), verdict.under_new()].into_iter().enumerate() {
            for (key, value) in life.iter().flat_map(|life| &life.alert.norm) {
                let values = &mut norms.entry(key).or_default()[side];
                if values.len() <= NORM_VALUES {
                    values.insert(format_value(key, value));
                }
            }
        }
        let [old, new] = keys;
        if let Some((change, manager_key)) = verdict.change().zip(new.or(old)) {
            let tally = rule.entry(manager_key).or_default();
            *match change {
                AlertChange::Added => &mut tally.added,
                AlertChange::Removed => &mut tally.removed,
                AlertChange::Changed => &mut tally.changed,
            } += 1;
            if change == AlertChange::Changed {
                tally.worse += u64::from(verdict.gravity() == Ordering::Greater);
                tally.milder += u64::from(verdict.gravity() == Ordering::Less);
            }
        }
    }

    fn tally(&self) -> Tally {
        sum(self.rules.values().flat_map(BTreeMap::values).copied())
    }

    /// The totals without unassigned alerts.
    fn assigned(&self) -> Tally {
        sum(self.rules.values().flatten().filter(|((manager, _), _)| !manager.is_empty()).map(|(_, tally)| *tally))
    }

    /// The effect on this tenant (omitted for a `single_tenant`, whose totals are in the conclusion) and on its
    /// managers.
    fn headline(&self, single_tenant: bool) -> String {
        let tally = self.tally();
        let mut managers = BTreeMap::<&str, Tally>::new();
        for ((manager, _), tally) in self.rules.values().flatten().filter(|((manager, _), _)| !manager.is_empty()) {
            managers.entry(manager).or_default().add(*tally);
        }
        let more = managers.values().filter(|tally| tally.new > tally.old).count();
        let fewer = managers.values().filter(|tally| tally.new < tally.old).count();
        let mut text = String::new();
        if !single_tenant {
            let _ = write!(text, "{} instead of {}", alerts(tally.new), tally.old);
            if tally.added + tally.removed > 0 {
                text += &rates(tally, self.assigned(), self.managers.len(), self.days);
            }
            text += "; ";
        }
        let managers = counted(self.managers.len(), "manager", "managers");
        text + &match (more, fewer) {
            (0, 0) => format!("none of {managers} would have had more or fewer alerts"),
            (more, 0) => format!("{more} of {managers} would have had more alerts"),
            (0, fewer) => format!("{fewer} of {managers} would have had fewer alerts"),
            (more, fewer) => format!("of {managers}, {more} would have had more alerts and {fewer} fewer"),
        }
    }

    /// The difference between the norms of a rule, as shown in alerts: `within 15m → 5m`.
    fn norm(&self, rule: Rule) -> Option<String> {
        let keys = self.norms.get(&rule)?.iter();
        let is_shown = |values: &BTreeSet<String>| (1..=NORM_VALUES).contains(&values.len());
        let parts = keys.filter(|(_, [old, new])| old != new && is_shown(old) && is_shown(new)).map(|(key, values)| {
            let [old, new] =
                values.each_ref().map(|values| Vec::from_iter(values.iter().map(String::as_str)).join("/"));
            format!("{} {old} → {new}", key.trim_end_matches("_seconds"))
        });
        let parts: Vec<_> = parts.collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// The total of each rule, followed by its managers, largest changes first.
    fn table(&self) -> String {
        let columns = "<rule <manager <department >old >new >added >removed >changed >worse >milder";
        let mut table = Table::new(columns);
        table.row(columns.split(' ').map(|column| column[1..].to_owned()).collect());
        let mut rules: Vec<_> =
            self.rules.iter().map(|(rule, managers)| (sum(managers.values().copied()), *rule, managers)).collect();
        rules.sort_by_key(|(tally, rule, _)| (Reverse(tally.weight()), *rule));
        let mut text = String::new();
        for (_, rule, _) in &rules {
            if let Some(norm) = self.norm(*rule) {
                let _ = writeln!(text, "  {}: {norm}", rule.name());
            }
        }
        for (total, rule, managers) in rules {
            table.row(line(rule.name(), "all", "", total));
            let (mut notable, rest): (Vec<_>, Vec<_>) = managers.iter().partition(|(_, tally)| tally.is_notable());
            if notable.is_empty() {
                continue;
            }
            // The sort is stable: equal weights stay in order of names.
            notable.sort_by_key(|(_, tally)| Reverse(tally.weight()));
            for ((manager, department), tally) in notable {
                table.row(line("", if manager.is_empty() { "(unassigned)" } else { manager }, department, *tally));
            }
            if !rest.is_empty() {
                let others = format!("{} more", rest.len());
                table.row(line("", &others, "", sum(rest.into_iter().map(|(_, tally)| *tally))));
            }
        }
        text + &table.body()
    }
}

impl Days {
    fn name(self, count: u64) -> &'static str {
        match (self.working, count) {
            (true, 1) => "working day",
            (true, _) => "working days",
            (false, 1) => "day",
            (false, _) => "days",
        }
    }
}

fn sum(tallies: impl Iterator<Item = Tally>) -> Tally {
    tallies.fold(Tally::default(), |mut sum, tally| {
        sum.add(tally);
        sum
    })
}

/// `: 12.0 instead of 7.9 per working day, 0.86 instead of 0.56 per manager and day`
fn rates(tally: Tally, assigned: Tally, managers: usize, days: Days) -> String {
    let pair = |tally: Tally, by: f64| {
        let [old, new] = [tally.old, tally.new].map(|count| rate(count as f64 / by));
        if old == new { format!("unchanged at {new}") } else { format!("{new} instead of {old}") }
    };
    let count = days.count as f64;
    let mut text = String::new();
    if days.count > 0 {
        let _ = write!(text, ": {} per {}", pair(tally, count), days.name(1));
    }
    if days.count > 0 && managers > 0 && assigned != Tally::default() {
        let _ = write!(text, ", {} per manager and day", pair(assigned, count * managers as f64));
    }
    text
}

fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".into(),
        rate if rate < 1.0 => format!("{rate:.2}"),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

fn alerts(count: u64) -> String {
    counted(count as usize, "alert", "alerts")
}

fn counted(count: usize, singular: &str, plural: &str) -> String {
    format!("{count} {}", if count == 1 { singular } else { plural })
}

fn line(rule: &str, manager: &str, department: &str, tally: Tally) -> Vec<String> {
    let signed = |sign: &str, n: u64| if n == 0 { "·".into() } else { format!("{sign}{n}") };
    vec![
        rule.into(),
        manager.into(),
        department.into(),
        tally.old.to_string(),
        tally.new.to_string(),
        signed("+", tally.added),
        signed("−", tally.removed),
        signed("", tally.changed),
        signed("", tally.worse),
        signed("", tally.milder),
    ]
}

/// A value of a norm in the syntax of a norms file.
fn format_value(key: &str, value: &Value) -> String {
    match value {
        Value::Number(seconds) if key.ends_with("_seconds") => Span::from_seconds(*seconds).to_string(),
        Value::Number(number) => number.to_string(),
        Value::Count(count) => count.to_string(),
        Value::Text(text) => text.to_string(),
    }
}

fn utc_date(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// The days of a period; with a calendar, those whose working time is at least in part in the period.
fn days(calendar: Option<&Arc<Calendar>>, (from, to): (Timestamp, Timestamp)) -> Days {
    let Some(calendar) = calendar else {
        let count = to.pane(Span::DAY) - from.pane(Span::DAY) + 1;
        return Days { count: count.max(0) as u64, working: false };
    };
    // A night can begin on the day before.
    let (first, last) = (calendar.day(from).yesterday().ok(), calendar.day(to));
    let days = std::iter::successors(first, |day| day.tomorrow().ok()).take_while(|day| *day <= last);
    let worked = days.filter(|day| calendar.shifts(*day).any(|(start, end)| start < to && from < end));
    Days { count: worked.count() as u64, working: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("an instant")
    }

    #[test]
    fn working_days_are_those_with_working_time_in_the_period() {
        let hours = vec![crate::domain::time::hours::Hours { start: 9 * 60, end: 18 * 60 }];
        let week = std::array::from_fn(|day| if day < 5 { hours.clone() } else { Vec::new() });
        let calendar = Calendar::new("desk", "Europe/Moscow", week, BTreeMap::new(), BTreeSet::new());
        let calendar = Arc::new(calendar.expect("a calendar"));
        let count = |from, to| days(Some(&calendar), (at(from), at(to))).count;
        // Monday 2 March 2026, Moscow time is UTC+3.
        assert_eq!(count("2026-03-02T06:00:00Z", "2026-03-02T15:00:00Z"), 1);
        assert_eq!(count("2026-03-02T00:00:00Z", "2026-03-15T20:00:00Z"), 10);
        assert_eq!(count("2026-03-02T15:00:00Z", "2026-03-03T06:00:00Z"), 0);
        assert_eq!(count("2026-03-02T14:59:00Z", "2026-03-03T06:01:00Z"), 2);
        assert_eq!(count("2026-03-07T00:00:00Z", "2026-03-08T20:00:00Z"), 0);
        // Nights count on the day on which they begin: the two hours of Saturday belong to Friday.
        let night = vec![crate::domain::time::hours::Hours { start: 21 * 60, end: 26 * 60 }];
        let week = std::array::from_fn(|day| if day < 5 { night.clone() } else { Vec::new() });
        let calendar = Calendar::new("desk", "Europe/Moscow", week, BTreeMap::new(), BTreeSet::new());
        let calendar = Arc::new(calendar.expect("a calendar"));
        let count = |from, to| days(Some(&calendar), (at(from), at(to))).count;
        assert_eq!(count("2026-03-02T00:00:00Z", "2026-03-15T20:00:00Z"), 10);
        assert_eq!(count("2026-03-06T21:30:00Z", "2026-03-08T20:00:00Z"), 1);
        assert_eq!(count("2026-03-07T00:00:00Z", "2026-03-08T20:00:00Z"), 0);
        let wall = days(None, (at("2026-03-07T23:00:00Z"), at("2026-03-08T01:00:00Z")));
        assert_eq!((wall.count, wall.working), (2, false));
    }

    #[test]
    fn rates_have_only_significant_digits() {
        assert_eq!([0.0, 0.051, 0.5, 12.34, 1234.5].map(rate), ["0", "0.05", "0.50", "12.3", "1234"]);
    }
}

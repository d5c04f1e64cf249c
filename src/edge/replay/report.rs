//! Owns the back-test as people read it: one sentence that says what the new norms would have meant, then a table a
//! company, what changes most first. Promises that whatever counts is in the table; managers of whom nothing changes are
//! summed up. Pure.

use super::super::table::Table;
use super::compare::{AlertChange, Verdict};
use crate::domain::alert::Value;
use crate::domain::calendar::Calendar;
use crate::domain::id::{TenantId, UNKNOWN};
use crate::domain::norms::{Norms, ScopeQuery};
use crate::domain::row::{Row, Subject};
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// A norm that has more values than this, by department or source, is not shown in words.
const NORM_VALUES: usize = 3;

/// How many alerts there were, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Under the old norms.
    pub old: u64,
    /// Under the new ones.
    pub new: u64,
    /// Only under the new ones.
    pub added: u64,
    /// Only under the old ones.
    pub removed: u64,
    /// Under both, and not the same.
    pub changed: u64,
    /// Of those, how many go further under the new norms.
    pub graver: u64,
    /// … and how many less far.
    pub milder: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.old += other.old;
        self.new += other.new;
        self.added += other.added;
        self.removed += other.removed;
        self.changed += other.changed;
        self.graver += other.graver;
        self.milder += other.milder;
    }

    /// What is sorted by: alerts that come or go weigh more than any that are only changed.
    fn weight(self) -> (u64, u64, u64, u64) {
        (self.added + self.removed, self.graver + self.milder, self.changed, self.old + self.new)
    }

    fn differs(self) -> bool {
        self.added + self.removed + self.changed > 0
    }

    /// Whether more differs than a deadline or a name.
    fn is_notable(self) -> bool {
        self.added + self.removed + self.graver + self.milder > 0
    }
}

/// Whose alerts are counted: manager (empty: nobody's) and department.
type Whose = (String, String);

/// One company's part of the report.
#[derive(Debug, Default)]
struct Company {
    rules: BTreeMap<Rule, BTreeMap<Whose, Tally>>,
    /// What the alerts of a rule say of the old norm and of the new one: each key with the values it has.
    norms: BTreeMap<Rule, BTreeMap<&'static str, [BTreeSet<String>; 2]>>,
    /// Managers of whom anything is known.
    managers: BTreeSet<String>,
    days: Days,
}

/// How many days the period has.
#[derive(Clone, Copy, Debug, Default)]
struct Days {
    number: u64,
    /// By a calendar: days off are not among them.
    working: bool,
}

/// The back-test as people read it.
#[derive(Debug)]
pub struct Report {
    names: [String; 2],
    period: Option<(String, String)>,
    companies: BTreeMap<TenantId, Company>,
}

impl Report {
    /// Reports on `verdicts`. `names` are what the old and the new norms are called, `period` the first and the last
    /// instant that counts, `norms` the new norms (for their calendars), and `rows` tell which managers there are.
    pub fn new(
        names: [String; 2],
        period: Option<(Timestamp, Timestamp)>,
        norms: &Norms,
        rows: &[Row],
        verdicts: &[Verdict],
    ) -> Self {
        let mut companies = BTreeMap::<TenantId, Company>::new();
        for row in rows {
            let company = companies.entry(row.tenant.clone()).or_default();
            if let Subject::Manager(id) = &row.subject {
                company.managers.insert(id.to_string());
            }
        }
        for verdict in verdicts {
            let company = companies.entry(verdict.alert().tenant.clone()).or_default();
            company.count(verdict);
        }
        let mut shown = None;
        for (tenant, company) in &mut companies {
            let place = ScopeQuery { tenant: tenant.as_str(), department: UNKNOWN, ..ScopeQuery::default() };
            let calendar = norms.scope(place).calendar;
            company.days = period.map_or(Days::default(), |period| days(calendar.as_ref(), period));
            shown = shown.or(period.map(|(from, to)| {
                let date = |at| calendar.as_ref().map_or_else(|| utc_date(at), |calendar| calendar.day(at).to_string());
                (date(from), date(to))
            }));
        }
        Self { names, period: shown, companies }
    }

    /// One sentence on all of it.
    pub fn conclusion(&self) -> String {
        let [old, new] = &self.names;
        let Some((from, to)) = &self.period else { return "There are no events to judge.".into() };
        let days = Days {
            number: self.companies.values().map(|company| company.days.number).max().unwrap_or_default(),
            working: self.companies.values().all(|company| company.days.working),
        };
        let tally = self.tally();
        let when = if from == to { format!("On {from}") } else { format!("From {from} to {to}") };
        let scope = format!("{when} ({} {})", days.number, days.name(days.number));
        if tally.added + tally.removed == 0 {
            let but = match (tally.changed, tally.graver + tally.milder) {
                (0, _) => "no difference".into(),
                (changed, 0) => format!("{changed} of them with another deadline"),
                (changed, reached) => format!("{changed} of them changed, {reached} in how far they went"),
            };
            return format!("{scope} {new} would have meant the same {} as {old}: {but}.", alerts(tally.new));
        }
        let people: Vec<_> = self.companies.values().map(|company| (company.named(), company.managers.len())).collect();
        let (named, managers) = (sum(people.iter().map(|(named, _)| *named)), people.iter().map(|(_, n)| n).sum());
        format!(
            "{scope} {new} would have meant {} instead of {} under {old}, {} added and {} removed{}.",
            alerts(tally.new),
            tally.old,
            tally.added,
            tally.removed,
            rates(tally, named, managers, days)
        )
    }

    /// The conclusion and the tables.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.conclusion());
        let mut companies: Vec<_> = self.companies.iter().collect();
        companies.sort_by_key(|(_, company)| Reverse(company.tally().weight()));
        let alone = companies.len() == 1;
        let quiet = companies.iter().filter(|(_, company)| company.rules.is_empty()).count();
        for (tenant, company) in companies.iter().filter(|(_, company)| !company.rules.is_empty()) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{tenant}: {}\n{}", company.headline(alone), company.table());
        }
        if quiet > 0 {
            let _ = writeln!(text, "\n{} without any alert.", counted(quiet, "company", "companies"));
        }
        if self.tally().differs() {
            text.push_str(
                "\nadded: only under the new norms; removed: only under the old; changed: under both, with another\n\
                 deadline, severity, escalation level or manager; graver, milder: those of them that went further under\n\
                 the new norms, or less far. Alerts that were retracted do not count.\n",
            );
        }
        text
    }

    /// Everything together.
    pub fn tally(&self) -> Tally {
        sum(self.companies.values().map(Company::tally))
    }
}

impl Company {
    fn count(&mut self, verdict: &Verdict) {
        let rule = self.rules.entry(verdict.alert().rule).or_default();
        let sides = [verdict.under_old(), verdict.under_new()].map(|life| {
            life.map(|life| {
                let manager = life.alert.manager.as_ref().map_or("", |id| id.as_str());
                (manager.to_owned(), life.alert.department.as_ref().map_or("", |id| id.as_str()).to_owned())
            })
        });
        for (number, whose) in sides.iter().enumerate() {
            if let Some(whose) = whose {
                self.managers.extend(Some(whose.0.clone()).filter(|manager| !manager.is_empty()));
                let tally = rule.entry(whose.clone()).or_default();
                *[&mut tally.old, &mut tally.new][number] += 1;
            }
        }
        let norms = self.norms.entry(verdict.alert().rule).or_default();
        for (number, life) in [verdict.under_old(), verdict.under_new()].into_iter().enumerate() {
            for (key, value) in life.iter().flat_map(|life| &life.alert.norm) {
                let values = &mut norms.entry(key).or_default()[number];
                if values.len() <= NORM_VALUES {
                    values.insert(shown(key, value));
                }
            }
        }
        let [old, new] = sides;
        if let Some((change, whose)) = verdict.change().zip(new.or(old)) {
            let tally = rule.entry(whose).or_default();
            *match change {
                AlertChange::Added => &mut tally.added,
                AlertChange::Removed => &mut tally.removed,
                AlertChange::Changed => &mut tally.changed,
            } += 1;
            if change == AlertChange::Changed {
                tally.graver += u64::from(verdict.gravity() == Ordering::Greater);
                tally.milder += u64::from(verdict.gravity() == Ordering::Less);
            }
        }
    }

    fn tally(&self) -> Tally {
        sum(self.rules.values().flat_map(BTreeMap::values).copied())
    }

    /// What was found of managers, not of nobody's customers.
    fn named(&self) -> Tally {
        sum(self.rules.values().flatten().filter(|((manager, _), _)| !manager.is_empty()).map(|(_, tally)| *tally))
    }

    /// What it comes to for this company (if the conclusion is not on it `alone`), and for how many of its managers.
    fn headline(&self, alone: bool) -> String {
        let tally = self.tally();
        let mut managers = BTreeMap::<&str, Tally>::new();
        for ((manager, _), tally) in self.rules.values().flatten().filter(|((manager, _), _)| !manager.is_empty()) {
            managers.entry(manager).or_default().add(*tally);
        }
        let more = managers.values().filter(|tally| tally.new > tally.old).count();
        let fewer = managers.values().filter(|tally| tally.new < tally.old).count();
        let mut text = String::new();
        if !alone {
            let _ = write!(text, "{} instead of {}", alerts(tally.new), tally.old);
            if tally.added + tally.removed > 0 {
                text += &rates(tally, self.named(), self.managers.len(), self.days);
            }
            text += "; ";
        }
        let managers = counted(self.managers.len(), "manager", "managers");
        text + &match (more, fewer) {
            (0, 0) => format!("none of {managers} would have had more alerts, or fewer"),
            (more, 0) => format!("{more} of {managers} would have had more alerts"),
            (0, fewer) => format!("{fewer} of {managers} would have had fewer alerts"),
            (more, fewer) => format!("of {managers} {more} would have had more alerts, {fewer} fewer"),
        }
    }

    /// What the alerts say of the norms of a rule, if it is not the same: `within 15m → 5m`.
    fn norm(&self, rule: Rule) -> Option<String> {
        let keys = self.norms.get(&rule)?.iter();
        let told = |values: &BTreeSet<String>| (1..=NORM_VALUES).contains(&values.len());
        let parts = keys.filter(|(_, [old, new])| old != new && told(old) && told(new)).map(|(key, values)| {
            let [old, new] =
                values.each_ref().map(|values| Vec::from_iter(values.iter().map(String::as_str)).join("/"));
            format!("{} {old} → {new}", key.trim_end_matches("_seconds"))
        });
        let parts: Vec<_> = parts.collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// A total a rule, below it its managers, what changes most first.
    fn table(&self) -> String {
        let columns = "<rule <manager <department >old >new >added >removed >changed >graver >milder";
        let mut table = Table::new(columns);
        table.row(columns.split(' ').map(|column| column[1..].to_owned()).collect());
        let mut rules: Vec<_> =
            self.rules.iter().map(|(rule, whose)| (sum(whose.values().copied()), *rule, whose)).collect();
        rules.sort_by_key(|(tally, rule, _)| (Reverse(tally.weight()), *rule));
        let mut text = String::new();
        for (_, rule, _) in &rules {
            if let Some(norm) = self.norm(*rule) {
                let _ = writeln!(text, "  {}: {norm}", rule.name());
            }
        }
        for (total, rule, whose) in rules {
            table.row(line(rule.name(), "all", "", total));
            let (mut notable, rest): (Vec<_>, Vec<_>) = whose.iter().partition(|(_, tally)| tally.is_notable());
            if notable.is_empty() {
                continue;
            }
            // They are in order of names, and stay so where they weigh the same.
            notable.sort_by_key(|(_, tally)| Reverse(tally.weight()));
            for ((manager, department), tally) in notable {
                table.row(line("", if manager.is_empty() { "(nobody)" } else { manager }, department, *tally));
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
    fn name(self, number: u64) -> &'static str {
        match (self.working, number) {
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

/// `: 12.0 instead of 7.9 a working day, 0.86 instead of 0.56 a manager and day`
fn rates(tally: Tally, named: Tally, managers: usize, days: Days) -> String {
    let pair = |tally: Tally, by: f64| {
        let [old, new] = [tally.old, tally.new].map(|number| rate(number as f64 / by));
        if old == new { format!("still {new}") } else { format!("{new} instead of {old}") }
    };
    let number = days.number as f64;
    let mut text = String::new();
    if days.number > 0 {
        let _ = write!(text, ": {} a {}", pair(tally, number), days.name(1));
    }
    if days.number > 0 && managers > 0 && named != Tally::default() {
        let _ = write!(text, ", {} a manager and day", pair(named, number * managers as f64));
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

fn alerts(number: u64) -> String {
    counted(number as usize, "alert", "alerts")
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
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
        signed("", tally.graver),
        signed("", tally.milder),
    ]
}

/// A value of a norm as norms spell it.
fn shown(key: &str, value: &Value) -> String {
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

/// The days of a period, of which a calendar knows those that have any working time in it.
fn days(calendar: Option<&Arc<Calendar>>, (from, to): (Timestamp, Timestamp)) -> Days {
    let Some(calendar) = calendar else {
        let number = to.pane(Span::DAY) - from.pane(Span::DAY) + 1;
        return Days { number: number.max(0) as u64, working: false };
    };
    let (mut day, last) = (calendar.day(from), calendar.day(to));
    let (mut start, mut number) = (from, 0);
    while day <= last {
        let end = calendar.day_end(day).min(to);
        if calendar.working(start, end) > Span::ZERO {
            number += 1;
        }
        let Ok(next) = day.tomorrow() else { break };
        (day, start) = (next, end.max(start));
    }
    Days { number, working: true }
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
        let hours = vec![crate::domain::calendar::Hours { start: 9 * 60, end: 18 * 60 }];
        let week = std::array::from_fn(|day| if day < 5 { hours.clone() } else { Vec::new() });
        let calendar = Calendar::new("desk", "Europe/Moscow", week, BTreeMap::new(), BTreeSet::new());
        let calendar = Arc::new(calendar.expect("a calendar"));
        let number = |from, to| days(Some(&calendar), (at(from), at(to))).number;
        // Monday 2 March 2026, Moscow time is UTC+3.
        assert_eq!(number("2026-03-02T06:00:00Z", "2026-03-02T15:00:00Z"), 1);
        assert_eq!(number("2026-03-02T00:00:00Z", "2026-03-15T20:00:00Z"), 10);
        assert_eq!(number("2026-03-02T15:00:00Z", "2026-03-03T06:00:00Z"), 0);
        assert_eq!(number("2026-03-02T14:59:00Z", "2026-03-03T06:01:00Z"), 2);
        assert_eq!(number("2026-03-07T00:00:00Z", "2026-03-08T20:00:00Z"), 0);
        let wall = days(None, (at("2026-03-07T23:00:00Z"), at("2026-03-08T01:00:00Z")));
        assert_eq!((wall.number, wall.working), (2, false));
    }

    #[test]
    fn rates_have_as_many_digits_as_say_something() {
        assert_eq!([0.0, 0.051, 0.5, 12.34, 1234.5].map(rate), ["0", "0.05", "0.50", "12.3", "1234"]);
    }
}

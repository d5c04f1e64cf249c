//! Owns targets: what a manager, a department or the company is to reach in a period, and how the time of a period is
//! counted.
//!
//! A document lists targets; overrides change any key of a listed one. Everything is exact: amounts and shares are
//! decimals with [`Decimal::DIGITS`] digits, shares of time are fractions of milliseconds, and comparisons multiply.

use crate::domain::norms::{Clock, Norms, Params, Scope, ScopeQuery};
use crate::domain::rule::Rule;
use crate::domain::time::calendar::Calendar;
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::domain::norms::target_params::{Of, Per, TargetFigure, TargetParams};

/// A number that is not negative, in units of 10^-[`Self::DIGITS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(i128);

impl Decimal {
    /// The digits after the point; further ones are rounded.
    pub const DIGITS: usize = 6;
    /// One.
    pub const ONE: i128 = 1_000_000;

    /// The decimal that is written like this: the shortest one that reads as the same floating-point number.
    pub fn new(number: f64) -> Self {
        let text = format!("{number:.*}", Self::DIGITS);
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        Self(digits.parse().unwrap_or_default())
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0 as f64 / Self::ONE as f64
    }

    /// The number times 10^[`Self::DIGITS`].
    pub fn scaled(self) -> i128 {
        self.0
    }
}

/// A target in force in a scope.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its id.
    pub id: CompactString,
    /// What is counted.
    pub figure: TargetFigure,
    /// The currency of amounts.
    pub currency: Option<CompactString>,
    /// The length of its periods.
    pub per: Per,
    /// What is to be reached.
    pub at_least: Decimal,
    /// Who is to reach it.
    pub of: Of,
    /// The share of a period from which it is judged.
    pub judge_after: Decimal,
    /// The share of the pace that may be missing.
    pub tolerance: Decimal,
    /// Whether it is judged.
    pub judge: bool,
    /// Its first day.
    pub from: Option<Date>,
    /// Which time counts.
    pub clock: Clock,
    /// The calendar, and the parameters of the rule.
    pub scope: Arc<Scope>,
}

impl Norms {
    /// The targets in force for `query`, by id.
    pub fn targets(&self, query: ScopeQuery<'_>) -> Vec<Target> {
        if self.base.targets.is_empty() {
            return Vec::new();
        }
        let layer = self.layer(query);
        let calendar = layer.calendar.as_ref().and_then(|name| self.calendars.get(name));
        let general = layer.rules.get(&Rule::TargetBehind).cloned().unwrap_or_default();
        layer.targets.iter().filter_map(|(id, params)| target(id, params, calendar, &general)).collect()
    }

    /// Whether a tenant can have targets.
    pub fn has_targets(&self) -> bool {
        !self.base.targets.is_empty()
    }

    /// The calendars of the scopes of a tenant that managers can be in.
    pub fn calendars_of_managers(&self, tenant: &str) -> impl Iterator<Item = &Arc<Calendar>> {
        let overrides = self.overrides.iter().filter(move |over| {
            over.tenant.as_ref().is_none_or(|name| name == tenant) && over.pipeline.is_none() && over.source.is_none()
        });
        let layers = std::iter::once(&self.base).chain(overrides.map(|over| &over.layer));
        layers.filter_map(|layer| self.calendars.get(layer.calendar.as_ref()?))
    }
}

/// The target, if it is on and complete.
fn target(
    id: &CompactString,
    params: &TargetParams,
    calendar: Option<&Arc<Calendar>>,
    general: &Params,
) -> Option<Target> {
    if params.enabled == Some(false) {
        return None;
    }
    let clock = params.clock();
    let of_rule = Params {
        clock: Some(clock),
        severity: params.severity.or(general.severity),
        escalate_after: params.escalate_after.clone().or_else(|| general.escalate_after.clone()),
        ..Params::default()
    };
    let rules = BTreeMap::from([(Rule::TargetBehind, of_rule)]);
    let figure = params.figure?;
    Some(Target {
        id: id.clone(),
        figure,
        currency: params.currency.clone().filter(|_| figure == TargetFigure::AmountWon),
        per: params.per?,
        at_least: Decimal::new(params.at_least?).max(Decimal(1)),
        of: params.of.unwrap_or_default(),
        judge_after: Decimal::new(params.judge_after.unwrap_or(0.5)),
        tolerance: Decimal::new(params.tolerance.unwrap_or(0.1)),
        judge: params.judge != Some(false) && general.enabled != Some(false),
        from: params.from,
        clock,
        scope: Arc::new(Scope { calendar: calendar.cloned(), rules, ..Scope::default() }),
    })
}

impl Target {
    /// The period that contains an instant.
    pub fn period_at(&self, at: Timestamp) -> Period {
        self.period(index_at(self.per, self.scope.calendar.as_deref(), at))
    }

    /// A period by its index.
    pub fn period(&self, index: i32) -> Period {
        let calendar = self.scope.calendar.as_deref();
        let (begins, end) =
            (midnight(calendar, self.per.first_day(index)), midnight(calendar, self.per.first_day(index + 1)));
        let from = self.from.map(|date| midnight(calendar, date));
        let start = from.map_or(begins, |from| from.max(begins)).min(end);
        let total = self.counted(start, end).0;
        Period { index, start, end, total, says_from: from.is_some_and(|from| from >= begins) }
    }

    /// The counted time between two instants.
    pub fn counted(&self, from: Timestamp, to: Timestamp) -> Span {
        self.scope.elapsed(self.clock, from, to)
    }

    /// The window of a period in closing rows and alerts: `ID/2026-03`.
    pub fn window(&self, index: i32) -> CompactString {
        window(&self.id, self.per, index)
    }

    /// What is found at an instant of a period with this fact.
    pub fn progress(&self, period: &Period, fact: i128, at: Timestamp) -> Progress {
        let passed = self.counted(period.start, at.min(period.end)).0;
        Progress { fact, passed, total: period.total, at_least: self.at_least, tolerance: self.tolerance }
    }

    /// The first instant of a period at which the target is behind if the fact stays as it is; `None` if never.
    pub fn behind_from(&self, period: &Period, fact: i128) -> Option<Timestamp> {
        let (total, one) = (i128::from(period.total), Decimal::ONE);
        let at_least = self.at_least.scaled();
        let fact = clamp(fact);
        if fact * one >= at_least || !self.judge {
            return None;
        }
        let judged = (self.judge_after.scaled() * total + one - 1) / one;
        let divisor = (at_least * (one - self.tolerance.scaled())).max(1);
        let behind = (fact * one * one * total).div_euclid(divisor) + 1;
        let passed = judged.max(behind).max(0);
        if passed > total {
            return None;
        }
        self.scope.deadline(self.clock, period.start, Span(i64::try_from(passed).ok()?))
    }
}

/// A period of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Which one.
    pub index: i32,
    /// Its first instant: local midnight of its first day, or of `from`.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
    /// All its counted time, in milliseconds.
    pub total: i64,
    /// It begins where `from` says.
    pub says_from: bool,
}

impl Period {
    /// Whether it has counted time.
    pub fn counts(&self) -> bool {
        self.total > 0
    }
}

/// How far a target is at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The figure so far.
    pub fact: i128,
    /// The counted time of the period that has passed, in milliseconds.
    pub passed: i64,
    /// All its counted time, in milliseconds; positive.
    pub total: i64,
    /// What is to be reached.
    pub at_least: Decimal,
    /// The share of the pace that may be missing.
    pub tolerance: Decimal,
}

impl Progress {
    /// The share of the counted time that has passed.
    pub fn share(&self) -> f64 {
        self.passed as f64 / self.total as f64
    }

    /// What the fact would be if the target were reached evenly.
    pub fn pace(&self) -> f64 {
        (self.at_least.scaled() * i128::from(self.passed)) as f64 / (Decimal::ONE * i128::from(self.total)) as f64
    }

    /// What the fact will be at the end of the period if it goes on like this; `None` while little time has passed.
    pub fn forecast(&self) -> Option<f64> {
        let known = i128::from(self.passed) * 20 >= i128::from(self.total);
        known.then(|| (clamp(self.fact) * i128::from(self.total)) as f64 / self.passed as f64)
    }

    /// The fact as a count.
    pub fn count(&self) -> i64 {
        clamp(self.fact) as i64
    }

    /// Whether the target is reached.
    pub fn is_reached(&self) -> bool {
        clamp(self.fact) * Decimal::ONE >= self.at_least.scaled()
    }

    /// Whether the fact is not behind the pace.
    pub fn is_on_pace(&self) -> bool {
        clamp(self.fact) * Decimal::ONE * i128::from(self.total) >= self.at_least.scaled() * i128::from(self.passed)
    }

    /// Whether an alert begins: enough of the period has passed, the fact is behind the pace by more than the tolerance, and
    /// the target is not reached.
    pub fn is_behind(&self, judge_after: Decimal) -> bool {
        let one = Decimal::ONE;
        let (passed, total) = (i128::from(self.passed), i128::from(self.total));
        passed * one >= judge_after.scaled() * total
            && clamp(self.fact) * one * one * total < self.at_least.scaled() * passed * (one - self.tolerance.scaled())
            && !self.is_reached()
    }
}

/// The largest fact that counts, so that products of it with times and decimals fit.
const MAX_FACT: i128 = 10_000_000_000_000_000;

fn clamp(fact: i128) -> i128 {
    fact.clamp(-MAX_FACT, MAX_FACT)
}

/// The largest `at_least`.
pub const MAX_AT_LEAST: f64 = 1e15;

impl Per {
    /// The index of the period that contains a date.
    pub fn index(self, date: Date) -> i32 {
        let months = i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
        match self {
            Self::Day => days(date),
            Self::Week => (days(date) + 3).div_euclid(7),
            Self::Month => months,
            Self::Quarter => months.div_euclid(3),
        }
    }

    /// The first day of a period.
    pub fn first_day(self, index: i32) -> Date {
        let month = |months: i32| {
            let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
            i16::try_from(year).ok().and_then(|year| Date::new(year, month as i8, 1).ok()).unwrap_or(Date::MAX)
        };
        match self {
            Self::Day => date(index),
            Self::Week => date(index.saturating_mul(7).saturating_sub(3)),
            Self::Month => month(index),
            Self::Quarter => month(index.saturating_mul(3)),
        }
    }
}

/// The window of a period of a target: `ID/2026-03-02`, `ID/2026-W10`, `ID/2026-03` or `ID/2026-Q1`.
pub fn window(id: &str, per: Per, index: i32) -> CompactString {
    let first = per.first_day(index);
    match per {
        Per::Day => format_compact!("{id}/{first}"),
        Per::Week => {
            let week = first.iso_week_date();
            format_compact!("{id}/{:04}-W{:02}", week.year(), week.week())
        }
        Per::Month => format_compact!("{id}/{:04}-{:02}", first.year(), first.month()),
        Per::Quarter => format_compact!("{id}/{:04}-Q{}", first.year(), (first.month() - 1) / 3 + 1),
    }
}

/// The local date of an instant; in UTC without a calendar.
pub fn day(calendar: Option<&Calendar>, at: Timestamp) -> Date {
    calendar.map_or_else(|| date(at.pane(Span::DAY) as i32), |calendar| calendar.day(at))
}

/// The first instant of a local day.
pub fn midnight(calendar: Option<&Calendar>, day: Date) -> Timestamp {
    match (calendar, day.yesterday()) {
        (Some(calendar), Ok(before)) => calendar.day_end(before),
        _ => Timestamp(i64::from(days(day)) * Span::DAY.0),
    }
}

/// The last midnight at or before an instant, and the next one.
pub fn day_around(calendar: Option<&Calendar>, at: Timestamp) -> (Timestamp, Timestamp) {
    let index = index_at(Per::Day, calendar, at);
    (midnight(calendar, date(index)), midnight(calendar, date(index + 1)))
}

/// The index of the period that contains an instant.
fn index_at(per: Per, calendar: Option<&Calendar>, at: Timestamp) -> i32 {
    let mut index = per.index(day(calendar, at));
    // Where clocks go back across midnight, an instant can have the date of the day before.
    while at >= midnight(calendar, per.first_day(index.saturating_add(1))) {
        index += 1;
    }
    while at < midnight(calendar, per.first_day(index)) {
        index -= 1;
    }
    index
}

/// Days since 1970-01-01.
fn days(date: Date) -> i32 {
    date.since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days())
}

fn date(days: i32) -> Date {
    let span = jiff::Span::new().try_days(days);
    let limit = if days > 0 { Date::MAX } else { Date::MIN };
    span.and_then(|span| Date::constant(1970, 1, 1).checked_add(span)).unwrap_or(limit)
}

//! Owns how boards ask Prometheus: queries are built from the enum of metrics, and carry the labels of their result, so
//! that a metric, a matcher or a join on a label that is not there does not get as far as a board.

use funnelwatch::domain::rule::Rule;
use funnelwatch::telemetry::metric::{Level, Metric, MetricGroup, MetricKind};

/// Labels that Prometheus itself puts on what a process exports.
const TARGET: [&str; 2] = ["job", "instance"];

/// How long a rate looks back: what Grafana takes to be right for the interval of scrapes.
const RATE: &str = "$__rate_interval";

/// Series of one metric, as far as the variables of a board let them through.
#[derive(Clone)]
pub(crate) struct Series {
    name: String,
    kind: MetricKind,
    matchers: Vec<String>,
    /// Labels that are not pinned to one value.
    free: Vec<&'static str>,
}

/// A figure of each manager.
pub(crate) fn of_managers(metric: Metric) -> Series {
    Series::figure(metric, Level::Manager)
}

/// A figure of each department.
pub(crate) fn of_departments(metric: Metric) -> Series {
    Series::figure(metric, Level::Department)
}

/// A figure of the company.
pub(crate) fn of_tenant(metric: Metric) -> Series {
    Series::figure(metric, Level::Tenant)
}

/// What the norms say of a rule.
pub(crate) fn norm(metric: Metric, rule: Rule) -> Series {
    assert_eq!(metric.group(), MetricGroup::Norm, "{metric:?} is no norm");
    Series::figure(metric, Level::Department).is("rule", rule.name())
}

/// A metric of the processor.
pub(crate) fn of_processor(metric: Metric) -> Series {
    assert_eq!(metric.group(), MetricGroup::Processor, "{metric:?} is not about the processor");
    Series::of_process(metric.name(Level::Tenant), metric.kind(), metric.all_labels(Level::Tenant))
}

impl Series {
    fn figure(metric: Metric, level: Level) -> Self {
        assert_ne!(metric.group(), MetricGroup::Processor, "{metric:?} is not about a department");
        let free = metric.all_labels(level);
        let mut series = Self { name: metric.name(level), kind: metric.kind(), matchers: Vec::new(), free };
        for scope in level.labels().iter().filter(|label| **label != "tenant") {
            series.matchers.push(format!("{scope}=~\"${scope}\""));
        }
        series = series.is("tenant", "$tenant");
        if metric.group() == MetricGroup::Window { series.in_the_window() } else { series }
    }

    /// Those of the window that is looked at.
    pub(crate) fn in_the_window(self) -> Self {
        self.is("window", "$window")
    }

    /// Series that a process exports, whatever spells their name: `up`, and what the client library tells of a process.
    pub(crate) fn of_process(name: impl Into<String>, kind: MetricKind, labels: Vec<&'static str>) -> Self {
        let matchers = TARGET.map(|label| format!("{label}=~\"${label}\"")).to_vec();
        Self { name: name.into(), kind, matchers, free: [&TARGET, labels.as_slice()].concat() }
    }

    /// Those whose label is this; it is none of the result's then.
    pub(crate) fn is(mut self, label: &'static str, value: &str) -> Self {
        assert!(self.free.contains(&label), "{} has no free label {label}", self.name);
        self.free.retain(|free| *free != label);
        self.matchers.push(format!("{label}=\"{value}\""));
        self
    }

    /// Those of everybody, whichever departments and managers are chosen.
    pub(crate) fn of_everybody(mut self) -> Self {
        self.matchers.retain(|matcher| !matcher.contains("=~"));
        self
    }

    /// The labels that are not pinned to one value.
    pub(crate) fn free(&self) -> &[&'static str] {
        &self.free
    }

    fn selector(&self, suffix: &str) -> String {
        format!("{}{suffix}{{{}}}", self.name, self.matchers.join(","))
    }

    /// Each figure once, though two processes may export it for one scrape while it moves from one to the other.
    pub(crate) fn once(self) -> Expr {
        assert_eq!(self.kind, MetricKind::Gauge, "{} is no gauge", self.name);
        Expr { text: self.selector(""), labels: self.free.clone() }.max(&self.free)
    }

    /// Gauges of every process.
    pub(crate) fn each(self) -> Expr {
        assert_eq!(self.kind, MetricKind::Gauge, "{} is no gauge", self.name);
        Expr { text: self.selector(""), labels: self.free }
    }

    /// What a counter grows by in a second.
    pub(crate) fn rate(self) -> Expr {
        assert_eq!(self.kind, MetricKind::Counter, "{} is no counter", self.name);
        Expr { text: format!("rate({}[{RATE}])", self.selector("")), labels: self.free }
    }

    /// What a counter grew by in the time that the board shows.
    pub(crate) fn growth(self) -> Expr {
        assert_eq!(self.kind, MetricKind::Counter, "{} is no counter", self.name);
        Expr { text: format!("increase({}[$__range])", self.selector("")), labels: self.free }
    }

    /// A quantile over all processes.
    pub(crate) fn quantile(self, q: &str) -> Expr {
        assert_eq!(self.kind, MetricKind::Histogram, "{} is no histogram", self.name);
        let buckets = self.selector("_bucket");
        Expr { text: format!("histogram_quantile({q}, sum by (le) (rate({buckets}[{RATE}])))"), labels: Vec::new() }
    }
}

/// A query, and the labels of its result.
#[derive(Clone)]
pub(crate) struct Expr {
    text: String,
    labels: Vec<&'static str>,
}

impl Expr {
    /// As Prometheus reads it.
    pub(crate) fn text(&self) -> &str {
        self.text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'))
            .filter(|text| whole(text))
            .unwrap_or(&self.text)
    }

    /// The labels of its result.
    pub(crate) fn labels(&self) -> &[&'static str] {
        &self.labels
    }

    fn fold(self, how: &str, by: &[&'static str]) -> Self {
        for label in by {
            assert!(self.labels.contains(label), "{} has no label {label}", self.text);
        }
        let by_text = if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
        let space = if by.is_empty() { "" } else { " " };
        Self { text: format!("{how}{by_text}{space}({})", self.text()), labels: by.to_vec() }
    }

    pub(crate) fn sum(self, by: &[&'static str]) -> Self {
        self.fold("sum", by)
    }

    pub(crate) fn max(self, by: &[&'static str]) -> Self {
        self.fold("max", by)
    }

    pub(crate) fn count(self, by: &[&'static str]) -> Self {
        self.fold("count", by)
    }

    /// An operation with what has the same labels, or fewer of them: a norm of the department, a figure of it.
    fn with(self, operator: &str, other: Self) -> Self {
        for label in &other.labels {
            assert!(self.labels.contains(label), "{} has no label {label}, which {} has", self.text, other.text);
        }
        let on = match () {
            () if self.labels.len() == other.labels.len() => String::new(),
            () => format!(" on ({}) group_left ()", other.labels.join(", ")),
        };
        Self { text: format!("({} {operator}{on} {})", self.text, other.text), labels: self.labels }
    }

    /// How many times the other it is.
    pub(crate) fn over(self, other: Self) -> Self {
        self.with("/", other)
    }

    pub(crate) fn times(self, other: Self) -> Self {
        self.with("*", other)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.with("+", other)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.with("-", other)
    }

    /// 1 where it is less than the other, else 0.
    pub(crate) fn below(self, other: Self) -> Self {
        self.with("< bool", other)
    }

    /// 1 where it is more than the other, else 0.
    pub(crate) fn above(self, other: Self) -> Self {
        self.with("> bool", other)
    }

    /// 1 where it is 0, else 0.
    pub(crate) fn none(self) -> Self {
        Self { text: format!("({} == bool 0)", self.text), ..self }
    }

    fn filtered(self, operator: &str, other: &Self) -> Self {
        for label in &other.labels {
            assert!(self.labels.contains(label), "{} has no label {label}, which {} has", self.text, other.text);
        }
        let on = other.labels.join(", ");
        Self { text: format!("({} {operator} on ({on}) {})", self.text, other.text), labels: self.labels }
    }

    /// As it is where the other has series with the same labels.
    pub(crate) fn where_there_is(self, other: &Self) -> Self {
        self.filtered("and", other)
    }

    /// The other where there is nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        let sorted = |expr: &Self| {
            let mut labels = expr.labels.clone();
            labels.sort_unstable();
            labels
        };
        assert_eq!(sorted(&self), sorted(&other), "{} or {}", self.text, other.text);
        Self { text: format!("({} or {})", self.text, other.text), labels: self.labels }
    }

    /// As it is where the other has no series with the same labels.
    pub(crate) fn where_there_is_no(self, other: &Self) -> Self {
        self.filtered("unless", other)
    }

    /// The same series, all of them 0.
    pub(crate) fn zero(self) -> Self {
        Self { text: format!("(0 * {})", self.text), ..self }
    }

    /// 0 where there is nothing, for everything that the other has series of.
    pub(crate) fn or_none_of(self, other: Self) -> Self {
        self.or(other.zero())
    }

    /// 0 where there is nothing at all.
    pub(crate) fn or_none(self) -> Self {
        assert!(self.labels.is_empty(), "{} has labels", self.text);
        Self { text: format!("({} or vector(0))", self.text), labels: Vec::new() }
    }
}

/// The query of a variable: the values of a label of a metric, those alone that the variables before it let through.
pub(crate) fn values(metric: Metric, level: Level, label: &str, matchers: &[&str]) -> String {
    let labels = [&TARGET, metric.all_labels(level).as_slice()].concat();
    for matcher in matchers.iter().filter_map(|matcher| matcher.split(['=', '~']).next()).chain([label]) {
        assert!(labels.contains(&matcher), "{metric:?} has no label {matcher}");
    }
    let matchers = if matchers.is_empty() { String::new() } else { format!("{{{}}}", matchers.join(",")) };
    format!("label_values({}{matchers}, {label})", metric.name(level))
}

/// Whether no bracket closes that was not opened in the text.
fn whole(text: &str) -> bool {
    let mut open = 0_i32;
    text.bytes().all(|byte| {
        open += i32::from(byte == b'(') - i32::from(byte == b')');
        open >= 0
    })
}

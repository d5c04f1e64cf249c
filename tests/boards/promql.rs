//! Builds the PromQL queries of boards from the metric families. A query knows the labels of its result, so that an
//! unknown metric, or a matcher or join on a label that does not exist, fails here and not in Grafana.

use funnelwatch::domain::rule::Rule;
use funnelwatch::telemetry::metric::{Family, Level, Metric, MetricGroup, MetricKind};

/// Labels that Prometheus adds to the series of a process.
const TARGET: [&str; 2] = ["job", "instance"];

/// The range of a rate: Grafana derives it from the scrape interval.
const RATE: &str = "$__rate_interval";

/// Series of one metric, filtered by the variables of a board.
#[derive(Clone)]
pub(crate) struct Series {
    name: String,
    kind: MetricKind,
    matchers: Vec<String>,
    /// Labels that are not fixed to one value.
    free: Vec<&'static str>,
}

/// A figure of each manager.
pub(crate) fn of_managers(name: &str) -> Series {
    Series::figure(figure(name), Level::Manager)
}

/// A figure of each department.
pub(crate) fn of_departments(name: &str) -> Series {
    Series::figure(figure(name), Level::Department)
}

/// A figure of the company.
pub(crate) fn of_tenant(name: &str) -> Series {
    Series::figure(figure(name), Level::Tenant)
}

/// A norm of a rule.
pub(crate) fn norm(metric: Metric, rule: Rule) -> Series {
    assert_eq!(metric.family().group, MetricGroup::Norm, "{metric:?} is not a norm");
    Series::figure(metric.family(), Level::Department).with_label("rule", rule.name())
}

/// A value of the targets of each manager.
pub(crate) fn target_of_managers(value: &str) -> Series {
    let mut series = target(value);
    series
        .matchers
        .extend(["department=~\"$department\"", "manager=~\"$manager\"", "manager!=\"\""].map(str::to_owned));
    series
}

/// A value of the targets of each department, and of the company, which has an empty `department`.
pub(crate) fn target_of_groups(value: &str) -> Series {
    target(value).with_label("manager", "")
}

fn target(value: &str) -> Series {
    Series::plain(Metric::Target.family()).with_label("tenant", "$tenant").with_label("value", value)
}

/// A metric of the processor or of the gateway.
pub(crate) fn of_processor(metric: Metric) -> Series {
    let family = metric.family();
    let own = [MetricGroup::Processor, MetricGroup::Gateway, MetricGroup::Notify];
    assert!(own.contains(&family.group), "{metric:?} is not a metric of a process");
    Series::of_process(family.name(Level::Tenant), family.kind, family.all_labels(Level::Tenant))
}

/// The family of a figure.
pub(crate) fn figure(name: &str) -> &'static Family {
    Family::figures().find(|family| family.stem == name).unwrap_or_else(|| panic!("unknown figure {name}"))
}

impl Series {
    fn plain(family: &Family) -> Self {
        let (name, free) = (family.name(Level::Tenant), family.all_labels(Level::Tenant));
        Self { name, kind: family.kind, matchers: Vec::new(), free }
    }

    fn figure(family: &Family, level: Level) -> Self {
        let free = family.all_labels(level);
        let mut series = Self { name: family.name(level), kind: family.kind, matchers: Vec::new(), free };
        for scope in level.labels().iter().filter(|label| **label != "tenant") {
            series.matchers.push(format!("{scope}=~\"${scope}\""));
        }
        series = series.with_label("tenant", "$tenant");
        if family.group == MetricGroup::Window { series.in_window() } else { series }
    }

    /// Restricts the series to the selected window.
    pub(crate) fn in_window(self) -> Self {
        self.with_label("window", "$window")
    }

    /// Series of a process under any name, for example `up` or those of the client library.
    pub(crate) fn of_process(name: impl Into<String>, kind: MetricKind, labels: Vec<&'static str>) -> Self {
        let matchers = TARGET.map(|label| format!("{label}=~\"${label}\"")).to_vec();
        Self { name: name.into(), kind, matchers, free: [&TARGET, labels.as_slice()].concat() }
    }

    /// Restricts the series to one value of a label, which the result then does not have.
    pub(crate) fn with_label(mut self, label: &'static str, value: &str) -> Self {
        assert!(self.free.contains(&label), "{} has no free label {label}", self.name);
        self.free.retain(|free| *free != label);
        self.matchers.push(format!("{label}=\"{value}\""));
        self
    }

    /// Ignores the selection of departments and managers.
    pub(crate) fn without_selection(mut self) -> Self {
        self.matchers.retain(|matcher| !matcher.contains("=~"));
        self
    }

    /// The labels that are not fixed to one value.
    pub(crate) fn free(&self) -> &[&'static str] {
        &self.free
    }

    fn selector(&self, suffix: &str) -> String {
        format!("{}{suffix}{{{}}}", self.name, self.matchers.join(","))
    }

    /// Each figure once: while a shard moves, two processes may export the same figure for one scrape.
    pub(crate) fn deduplicated(self) -> Expr {
        assert_eq!(self.kind, MetricKind::Gauge, "{} is not a gauge", self.name);
        Expr { text: self.selector(""), labels: self.free.clone() }.max(&self.free)
    }

    /// The gauge of each process.
    pub(crate) fn per_process(self) -> Expr {
        assert_eq!(self.kind, MetricKind::Gauge, "{} is not a gauge", self.name);
        Expr { text: self.selector(""), labels: self.free }
    }

    /// The increase of a counter per second.
    pub(crate) fn rate(self) -> Expr {
        assert_eq!(self.kind, MetricKind::Counter, "{} is not a counter", self.name);
        Expr { text: format!("rate({}[{RATE}])", self.selector("")), labels: self.free }
    }

    /// The increase of a counter over the time range of the board.
    pub(crate) fn increase(self) -> Expr {
        assert_eq!(self.kind, MetricKind::Counter, "{} is not a counter", self.name);
        Expr { text: format!("increase({}[$__range])", self.selector("")), labels: self.free }
    }

    /// A quantile over all processes.
    pub(crate) fn quantile(self, q: &str) -> Expr {
        assert_eq!(self.kind, MetricKind::Histogram, "{} is not a histogram", self.name);
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
    /// The PromQL, without redundant outer parentheses.
    pub(crate) fn text(&self) -> &str {
        self.text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'))
            .filter(|text| is_balanced(text))
            .unwrap_or(&self.text)
    }

    /// The labels of its result.
    pub(crate) fn labels(&self) -> &[&'static str] {
        &self.labels
    }

    fn aggregate(self, how: &str, by: &[&'static str]) -> Self {
        for label in by {
            assert!(self.labels.contains(label), "{} has no label {label}", self.text);
        }
        let by_text = if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
        let space = if by.is_empty() { "" } else { " " };
        Self { text: format!("{how}{by_text}{space}({})", self.text()), labels: by.to_vec() }
    }

    pub(crate) fn sum(self, by: &[&'static str]) -> Self {
        self.aggregate("sum", by)
    }

    pub(crate) fn max(self, by: &[&'static str]) -> Self {
        self.aggregate("max", by)
    }

    pub(crate) fn count(self, by: &[&'static str]) -> Self {
        self.aggregate("count", by)
    }

    /// A binary operation with an expression that has the same labels or a subset of them, such as a norm or a figure
    /// of the department.
    fn binary(self, operator: &str, other: Self) -> Self {
        for label in &other.labels {
            assert!(self.labels.contains(label), "{} has no label {label}, which {} has", self.text, other.text);
        }
        let on = match () {
            () if self.labels.len() == other.labels.len() => String::new(),
            () => format!(" on ({}) group_left ()", other.labels.join(", ")),
        };
        Self { text: format!("({} {operator}{on} {})", self.text, other.text), labels: self.labels }
    }

    /// The quotient.
    pub(crate) fn divided_by(self, other: Self) -> Self {
        self.binary("/", other)
    }

    pub(crate) fn times(self, other: Self) -> Self {
        self.binary("*", other)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.binary("+", other)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.binary("-", other)
    }

    /// 1 where this is less than the other, else 0.
    pub(crate) fn below(self, other: Self) -> Self {
        self.binary("< bool", other)
    }

    /// 1 where this is greater than the other, else 0.
    pub(crate) fn above(self, other: Self) -> Self {
        self.binary("> bool", other)
    }

    /// 1 where this is 0, else 0.
    pub(crate) fn equal_to_zero(self) -> Self {
        Self { text: format!("({} == bool 0)", self.text), ..self }
    }

    fn set_operation(self, operator: &str, other: &Self) -> Self {
        for label in &other.labels {
            assert!(self.labels.contains(label), "{} has no label {label}, which {} has", self.text, other.text);
        }
        let on = other.labels.join(", ");
        Self { text: format!("({} {operator} on ({on}) {})", self.text, other.text), labels: self.labels }
    }

    /// The series for which the other has one with the same labels.
    pub(crate) fn where_present(self, other: &Self) -> Self {
        self.set_operation("and", other)
    }

    /// This, and the series of the other that this lacks.
    pub(crate) fn or(self, other: Self) -> Self {
        let sorted = |expr: &Self| {
            let mut labels = expr.labels.clone();
            labels.sort_unstable();
            labels
        };
        assert_eq!(sorted(&self), sorted(&other), "{} or {}", self.text, other.text);
        Self { text: format!("({} or {})", self.text, other.text), labels: self.labels }
    }

    /// The series for which the other has none with the same labels.
    pub(crate) fn where_absent(self, other: &Self) -> Self {
        self.set_operation("unless", other)
    }

    /// The same series with value 0.
    pub(crate) fn zero(self) -> Self {
        Self { text: format!("(0 * {})", self.text), ..self }
    }

    /// This, and 0 for the series of the other that this lacks.
    pub(crate) fn or_zero_for(self, other: Self) -> Self {
        self.or(other.zero())
    }

    /// The same with the labels `name` and `department_name`; see [`Self::joined`].
    pub(crate) fn with_names_of_managers(self) -> Self {
        self.joined(
            Metric::ManagerInfo,
            &["department", "manager"],
            &[("name", "manager"), ("department_name", "department")],
        )
    }

    /// The same with the label `department_name`; see [`Self::joined`].
    pub(crate) fn with_names_of_departments(self) -> Self {
        self.joined(Metric::DepartmentInfo, &["department"], &[("department_name", "department")])
    }

    /// Adds labels of an info metric, which has the same labels `on`; where it has no series, the ids: the label after
    /// each name.
    fn joined(self, info: Metric, on: &[&'static str], names: &[(&'static str, &'static str)]) -> Self {
        let added: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let mut series = Series::plain(info.family()).with_label("tenant", "$tenant");
        series.matchers.extend(on.iter().map(|label| format!("{label}=~\"${label}\"")));
        let info = Self { text: series.selector(""), labels: series.free }.max(&[on, &added].concat()).zero();
        let with_id = |text: String, (name, id): &(&str, &str)| {
            format!("label_replace({text}, \"{name}\", \"$1\", \"{id}\", \"(.*)\")")
        };
        let ids = names.iter().fold(self.text.clone(), with_id);
        let (on, all) = (on.join(", "), self.labels.join(", "));
        let text =
            format!("({} + on ({on}) group_left ({}) {} or on ({all}) {ids})", self.text, added.join(", "), info.text);
        Self { text, labels: [self.labels, added].concat() }
    }

    /// This, or 0 if the result is empty.
    pub(crate) fn or_zero(self) -> Self {
        assert!(self.labels.is_empty(), "{} has labels", self.text);
        Self { text: format!("({} or vector(0))", self.text), labels: Vec::new() }
    }
}

/// The query of a variable: the values of a label of a metric, in the series that match.
pub(crate) fn values(family: &Family, level: Level, label: &str, matchers: &[&str]) -> String {
    let labels = [&TARGET, family.all_labels(level).as_slice()].concat();
    for matcher in matchers.iter().filter_map(|matcher| matcher.split(['=', '~']).next()).chain([label]) {
        assert!(labels.contains(&matcher), "{} has no label {matcher}", family.stem);
    }
    let matchers = if matchers.is_empty() { String::new() } else { format!("{{{}}}", matchers.join(",")) };
    format!("label_values({}{matchers}, {label})", family.name(level))
}

/// Whether each closing parenthesis of a text has an opening one before it.
fn is_balanced(text: &str) -> bool {
    let mut open = 0_i32;
    text.bytes().all(|byte| {
        open += i32::from(byte == b'(') - i32::from(byte == b')');
        open >= 0
    })
}

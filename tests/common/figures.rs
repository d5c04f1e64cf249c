//! Converts metric rows to the series that Prometheus must get for them; written from docs/metrics.md and the format of
//! rows, independent of the code.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Series and their values. A series is a name with its labels in alphabetical order, without the department of a
/// manager, which rows do not contain.
pub(crate) type Series = BTreeMap<String, f64>;

/// The series of rows; empty rows of managers and departments have none.
pub(crate) fn series_of_rows<'a>(rows: impl IntoIterator<Item = &'a Value>) -> Series {
    let mut all = Series::new();
    for row in rows {
        let mut series = SeriesBuilder::of(row);
        if series.level == "tenant" || !is_empty_row(row) {
            series.row(row);
            all.append(&mut series.all);
        }
    }
    all
}

/// The series of figures in a scrape.
pub(crate) fn series_of_scrape(text: &str) -> Series {
    let of_figures = ["funnelwatch_manager_", "funnelwatch_department_", "funnelwatch_tenant_", "funnelwatch_target{"];
    let lines = text.lines().filter(|line| of_figures.iter().any(|prefix| line.starts_with(prefix)));
    lines.map(sample).collect()
}

fn sample(line: &str) -> (String, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = series.split_once('{').expect("labels");
    let is_of_manager = labels.contains("manager=");
    let labels = labels.strip_suffix('}').expect("a closed brace").split(',');
    let mut labels: Vec<_> = labels.filter(|label| !(is_of_manager && label.starts_with("department="))).collect();
    labels.sort_unstable();
    (format!("{name}{{{}}}", labels.join(",")), value.parse().expect("a number"))
}

/// Asserts the same series with the same values, except for the last digit: JSON parsing is less exact than formatting.
pub(crate) fn assert_equal(found: &Series, wanted: &Series) {
    let keys: BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    let same = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a.abs().max(b.abs());
    let differ = keys.into_iter().filter(|key| match (found.get(*key), wanted.get(*key)) {
        (Some(found), Some(wanted)) => !same(*found, *wanted),
        _ => true,
    });
    let line = |key: &String| format!("{key}: {:?}, wanted {:?}", found.get(key), wanted.get(key));
    let lines: Vec<_> = differ.map(line).collect();
    assert!(lines.is_empty(), "{} differ:\n{}", lines.len(), lines[..lines.len().min(20)].join("\n"));
}

/// Whether all figures of a row are zero or empty.
fn is_empty_row(row: &Value) -> bool {
    fn is_zero(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Object(fields) => fields.values().all(is_zero),
            _ => false,
        }
    }
    let about = ["tenant_id", "subject", "window", "at"];
    row.as_object().expect("a row").iter().all(|(key, value)| about.contains(&key.as_str()) || is_zero(value))
}

struct SeriesBuilder {
    level: &'static str,
    labels: Vec<String>,
    all: Series,
}

impl SeriesBuilder {
    fn of(row: &Value) -> Self {
        let text = |key: &str| row[key].as_str().unwrap_or_else(|| panic!("{key} of {row}")).to_owned();
        let (level, id) = match text("subject").split_once(':') {
            Some(("manager", id)) => ("manager", Some(id.to_owned())),
            Some((_, id)) => ("department", Some(id.to_owned())),
            None => ("tenant", None),
        };
        let mut labels = vec![format!("tenant=\"{}\"", text("tenant_id"))];
        labels.extend(id.map(|id| format!("{level}=\"{id}\"")));
        if text("window") != "now" {
            labels.push(format!("window=\"{}\"", text("window")));
        }
        Self { level, labels, all: Series::new() }
    }

    fn add(&mut self, name: &str, own: &[(&str, &str)], value: &Value) {
        let Some(value) = value.as_f64() else { return };
        let mut labels = self.labels.clone();
        labels.extend(own.iter().map(|(name, value)| format!("{name}=\"{value}\"")));
        labels.sort_unstable();
        let series = format!("funnelwatch_{}_{name}{{{}}}", self.level, labels.join(","));
        assert!(self.all.insert(series.clone(), value).is_none(), "{series} twice");
    }

    fn ratio(&mut self, stem: &str, own: &[(&str, &str)], ratio: &Value) {
        self.add(&format!("{stem}_sample"), own, &ratio["n"]);
        for (suffix, key) in [("ratio", "ratio"), ("lower_ratio", "lower"), ("upper_ratio", "upper")] {
            self.add(&format!("{stem}_{suffix}"), own, &ratio[key]);
        }
    }

    fn lags(&mut self, stem: &str, own: &[(&str, &str)], lags: &Value) {
        for (q, key) in [("0.5", "p50_seconds"), ("0.9", "p90_seconds"), ("0.99", "p99_seconds")] {
            self.add(&format!("{stem}_lag_seconds"), &[own, &[("q", q)]].concat(), &lags[key]);
        }
        self.add(&format!("{stem}_lag_mean_seconds"), own, &lags["mean_seconds"]);
    }

    /// Targets of all levels are one metric.
    fn target(&mut self, id: &str, target: &Value) {
        for value in ["at_least", "fact", "pace", "forecast"] {
            let Some(number) = target[value].as_f64() else { continue };
            let mut labels = self.labels.clone();
            labels.extend([format!("target=\"{id}\""), format!("value=\"{value}\"")]);
            labels.sort_unstable();
            self.all.insert(format!("funnelwatch_target{{{}}}", labels.join(",")), number);
        }
    }

    fn by_stage(&mut self, name: &str, counts: &Value) {
        each(counts, |pipeline, stages| {
            each(stages, |stage, n| self.add(name, &[("pipeline", pipeline), ("deal_stage", stage)], n));
        });
    }

    fn by_rule(&mut self, name: &str, counts: &Value) {
        each(counts, |rule, n| self.add(name, &[("rule", rule)], n));
    }

    fn row(&mut self, row: &Value) {
        // Every plain number is exported under its key.
        each(row, |key, value| self.add(key, &[], value));
        if row["window"] == "now" {
            if row["oldest_wait_seconds"].is_null() {
                self.add("oldest_wait_seconds", &[], &0.into());
            }
            self.by_stage("open_entities", &row["open"]);
            self.by_stage("overdue_entities", &row["overdue"]);
            self.by_rule("open_alerts", &row["open_alerts"]);
            self.by_rule("due_soon", &row["due_soon"]);
            each(&row["targets"], |id, target| self.target(id, target));
            return;
        }
        for basis in ["cohort", "closed"] {
            self.ratio("lead_conversion", &[("basis", basis)], &row["lead_conversion"][basis]);
            self.ratio("win_rate", &[("basis", basis)], &row["win_rate"][basis]);
        }
        each(&row["stage_conversion"], |pipeline, stages| {
            each(stages, |stage, ratio| {
                self.ratio("stage_conversion", &[("pipeline", pipeline), ("deal_stage", stage)], ratio);
            });
        });
        let first = &row["first_response"];
        for clock in ["wall", "business"] {
            self.lags("first_response", &[("clock", clock)], &first[clock]);
            self.lags("human_response", &[("clock", clock)], &row["human_response"][clock]);
        }
        self.add("human_responses", &[], &row["human_response"]["wall"]["n"]);
        self.add("first_responses", &[], &first["wall"]["n"]);
        self.ratio("first_response_within_norm", &[], &first["within_norm"]);
        self.lags("call_back", &[], &row["call_back"]);
        self.add("call_backs", &[], &row["call_back"]["n"]);
        self.lags("reply", &[], &row["reply"]);
        self.add("replies", &[], &row["reply"]["n"]);
        each(&row["calls"], |kind, n| {
            let (direction, outcome) = kind.split_once('_').expect("a direction and an outcome");
            self.add("calls", &[("direction", direction), ("outcome", outcome)], n);
        });
        each(&row["messages"], |direction, channels| {
            each(channels, |channel, n| self.add("messages", &[("direction", direction), ("channel", channel)], n));
        });
        each(&row["amount_won"], |currency, minor| {
            self.add("amount_won_minor_units", &[("currency", currency)], minor);
        });
        each(&row["plans"], |what, n| self.add(&format!("plans_{what}"), &[], n));
        let terms = &row["terms"];
        self.add("terms_offered", &[], &terms["offered"]);
        self.add("terms_special", &[], &terms["special"]);
        if let (Some(special), Some(offered @ 1.0..)) = (terms["special"].as_f64(), terms["offered"].as_f64()) {
            self.add("special_terms_ratio", &[], &(special / offered).into());
        }
        if let Some(percent) = terms["mean_discount_percent"].as_f64() {
            self.add("discount_mean_ratio", &[], &(percent / 100.0).into());
        }
        let reviews = &row["reviews"];
        self.add("reviews", &[], &reviews["n"]);
        self.add("review_mean_score", &[], &reviews["mean_score"]);
        self.add("review_successes", &[], &reviews["successes"]);
        self.add("review_failures", &[], &reviews["failures"]);
        self.by_rule("violations", &row["violations"]);
    }
}

fn each(fields: &Value, mut show: impl FnMut(&str, &Value)) {
    let empty = Map::new();
    fields.as_object().unwrap_or(&empty).iter().for_each(|(key, value)| show(key, value));
}

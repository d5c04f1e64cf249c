//! Tests the queries of rules and boards: a real Prometheus scrapes the demo, with its part that informs people, and
//! evaluates each of them. Every query must parse and return data if the demo has such data, and no alert may fire while
//! the demo is healthy.

use super::demo::{get, lint};
use super::fixture::{PATIENCE, report, until, variable};
use crate::promql::{Selector, names, path, rules};
use funnelwatch::telemetry::metric::{Family, Level, MetricKind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Metrics that the demo does not export, with the reason; names without `funnelwatch_` and without a level. Queries of
/// these metrics may return nothing. Each entry must be needed.
const NOT_IN_DEMO: &[(&str, &str)] = &[
    ("norm_of_department_ratio", "no norm of the demo is relative to the figure of the department"),
    ("members", ONE_PROCESS),
    ("members_requests_forwarded_total", ONE_PROCESS),
    ("members_requests_received_total", ONE_PROCESS),
    ("members_shards_moving", ONE_PROCESS),
    ("overdue_entities", "its stages may take eight hours or more, and the run is shorter"),
    ("clock_ahead_seconds", "its broker has no clock"),
    ("progress_age_seconds", "its sources send no progress marks"),
    ("redis_batches_dropped_total", NO_REDIS),
    ("redis_errors_total", NO_REDIS),
    ("redis_queue_batches", NO_REDIS),
    ("redis_up", NO_REDIS),
    ("redis_whole_writes_total", NO_REDIS),
    ("redis_writes_total", NO_REDIS),
    ("restore_progress_ratio", "its shards have no state: they are restored before the first scrape"),
    ("reviews_answered", NO_REVIEWS),
    ("reviews_open", NO_REVIEWS),
    ("unlisted_stages", "its pipelines list every stage"),
];

const ONE_PROCESS: &str = "the demo is one process, without `members`";
const NO_REDIS: &str = "the demo has no Redis";
const NO_REVIEWS: &str = "reviews are requested at the end of a day, and the run is shorter than a day";

/// Parts of queries that return nothing although the series exist, with the reason. Each entry must be needed.
const RETURNS_NOTHING: &[(&str, &str)] = &[
    (r#"rule="response_slow",q="0.5""#, "the norm of the demo is about the quantile 0.9 only"),
    (r#"notify_messages_total{outcome!~"#, "no channel of the demo fails"),
];

/// How long the demo runs before the queries are evaluated: at 120 times real time, more than an hour and a half.
const RUN: Duration = Duration::from_secs(50);

/// The period, in seconds, in which no alert expression may be true all the time.
const HEALTHY: i64 = 20;

/// A running demo that Prometheus scrapes, until this is dropped.
struct Demo {
    child: Child,
    /// Where the processor listens, and where the part that informs people does.
    addresses: [String; 2],
    targets: String,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["demo", "--for", "10m", "--notify", "--http", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let addresses = ["http: ", "http on "].map(|before| {
            let address = |line: String| {
                line.split(before).nth(1)?.split_whitespace().next().map(|word| word.trim_end_matches(':').to_owned())
            };
            log.find_map(address).expect("the demo logs the addresses of its endpoints")
        });
        std::thread::spawn(move || log.for_each(drop));
        let demo = Self { child, addresses, targets: variable("FUNNELWATCH_PROMETHEUS_TARGETS") };
        demo.scrape(&json!([{ "targets": demo.addresses }]));
        demo
    }

    /// Replaces the scrape targets of Prometheus atomically.
    fn scrape(&self, targets: &Value) {
        let fresh = format!("{}.new", self.targets);
        std::fs::write(&fresh, targets.to_string()).expect("a file");
        std::fs::rename(fresh, &self.targets).expect("a file");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.scrape(&json!([]));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The data of an API request to Prometheus, or its error.
fn request(what: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "30", "--get"]);
    for (name, value) in parameters {
        curl.args(["--data-urlencode", &format!("{name}={value}")]);
    }
    let output = curl.arg(format!("{}/api/v1/{what}", variable("FUNNELWATCH_PROMETHEUS"))).output().expect("curl runs");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    let mut answer: Value = serde_json::from_slice(&output.stdout).expect("the response is JSON");
    match answer["status"].as_str() {
        Some("success") => Ok(answer["data"].take()),
        _ => Err(answer["error"].as_str().unwrap_or("no error given").to_owned()),
    }
}

/// Whether a query returns data.
fn has_data(query: &str) -> Result<bool, String> {
    let data = request("query", &[("query", query)])?;
    Ok(data["result"].as_array().is_some_and(|series| !series.is_empty()))
}

/// All values of a label, optionally only in series that match.
fn label_values(label: &str, matching: Option<&str>) -> Result<Vec<String>, String> {
    let parameters: Vec<_> = matching.map(|matching| ("match[]", matching)).into_iter().collect();
    let data = request(&format!("label/{label}/values"), &parameters)?;
    Ok(data.as_array().into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect())
}

/// A query of a rule or a board.
struct Query {
    /// The rule or board file.
    origin: String,
    /// The query with different values of variables. One of them must return data.
    forms: Vec<String>,
}

/// A variable of a board.
struct Variable {
    name: String,
    values: Vec<String>,
    /// Whether it may have several values at once.
    multiple: bool,
}

impl Variable {
    /// Texts that may replace it in a query.
    fn choices(&self) -> Vec<String> {
        if self.multiple { vec![format!("({})", self.values.join("|"))] } else { self.values.clone() }
    }
}

/// Replaces `$name`, `${name}` and `${name:format}` by a value.
fn replace(text: &str, name: &str, value: &str) -> String {
    let (mut replaced, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        replaced.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let found = match rest.strip_prefix('{') {
            None => {
                rest.strip_prefix(name).filter(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            }
            Some(inside) => inside
                .strip_prefix(name)
                .filter(|after| after.starts_with([':', '}']))
                .and_then(|after| after.split_once('}'))
                .map(|(_, after)| after),
        };
        match found {
            Some(after) => {
                replaced.push_str(value);
                rest = after;
            }
            None => replaced.push('$'),
        }
    }
    replaced.push_str(rest);
    replaced
}

/// Replaces the built-in variables of Grafana.
fn replace_builtins(text: &str) -> String {
    [
        ("__rate_interval", "30s"),
        ("__interval", "5s"),
        ("__interval_ms", "5000"),
        ("__range", "40s"),
        ("__range_s", "40"),
        ("__range_ms", "40000"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (name, value)| replace(&text, name, value))
}

/// All values under the key `key`, at any depth.
fn collect<'a>(node: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match node {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|value| collect(value, key, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, key, found)),
        _ => {}
    }
}

/// The variables of a board with their current values in Prometheus.
fn variables(origin: &str, board: &Value, problems: &mut Vec<String>) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    for variable in board["templating"]["list"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().expect("variables have names").to_owned();
        let query = variable["query"].as_str().or(variable["query"]["query"].as_str()).unwrap_or_default();
        let multiple = variable["multi"] == true || variable["includeAll"] == true;
        let values = match variable["type"].as_str() {
            Some("datasource") => continue,
            Some("query") => {
                let with_first_values = variables.iter().fold(replace_builtins(query), |query, variable| {
                    variable.choices().first().map_or(query.clone(), |value| replace(&query, &variable.name, value))
                });
                let arguments =
                    with_first_values.strip_prefix("label_values(").and_then(|inside| inside.strip_suffix(')'));
                match arguments.map(|arguments| {
                    arguments.rsplit_once(',').map_or((None, arguments), |(series, label)| (Some(series), label))
                }) {
                    Some((series, label)) => label_values(label.trim(), series),
                    None => Err("not of the form label_values(series, label)".into()),
                }
            }
            _ => Ok(query.split(',').map(|one| one.rsplit(" : ").next().unwrap_or(one).trim().to_owned()).collect()),
        };
        match values {
            Ok(values) if values.is_empty() => problems.push(format!("{origin}: ${name} has no values: {query}")),
            Ok(values) => variables.push(Variable { name, values, multiple }),
            Err(error) => problems.push(format!("{origin}: ${name}: {query}: {error}")),
        }
    }
    variables
}

/// The queries of all boards.
fn queries_of_boards(problems: &mut Vec<String>) -> Vec<Query> {
    let Ok(folder) = std::fs::read_dir(path("k8s/boards")) else { return Vec::new() };
    let mut files: Vec<_> = folder.map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut queries = Vec::new();
    for file in files {
        let origin = file.file_name().expect("a name").to_string_lossy().into_owned();
        let board: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("a board is JSON");
        let variables = variables(&origin, &board, problems);
        let mut found = Vec::new();
        collect(&board["panels"], "expr", &mut found);
        let before = queries.len();
        for expr in found.into_iter().map(|expr| expr.as_str().expect("a query is text")) {
            let forms = variables.iter().fold(vec![replace_builtins(expr)], |forms, variable| {
                let all = forms
                    .iter()
                    .flat_map(|form| variable.choices().into_iter().map(|value| replace(form, &variable.name, &value)));
                all.collect::<BTreeSet<_>>().into_iter().collect()
            });
            queries.push(Query { origin: origin.clone(), forms });
        }
        if queries.len() == before {
            problems.push(format!("{origin}: the board has no query"));
        }
    }
    queries
}

/// The name of a metric without `funnelwatch_` and its level, as in [`NOT_IN_DEMO`].
fn bare_name(metric: &str) -> &str {
    let name = metric.strip_prefix("funnelwatch_").unwrap_or(metric);
    let levels = Level::ALL.into_iter().filter_map(|level| name.strip_prefix(level.name())?.strip_prefix('_'));
    levels.into_iter().next().unwrap_or(name)
}

fn not_in_demo(metric: &str) -> bool {
    // Only `demo --source bitrix24` has a gateway, with metrics on another port.
    bare_name(metric).starts_with("gateway_") || NOT_IN_DEMO.iter().any(|(name, _)| *name == bare_name(metric))
}

/// The problems of queries, each of which must return data in at least one form.
fn check(queries: &[Query]) -> Vec<String> {
    let (mut problems, mut unneeded) = (Vec::new(), BTreeMap::new());
    for (part, _) in RETURNS_NOTHING {
        unneeded.insert(*part, true);
    }
    let mut known: BTreeMap<&str, Result<bool, String>> = BTreeMap::new();
    for query in queries {
        let mut found = Ok(false);
        for form in &query.forms {
            found = known.entry(form).or_insert_with(|| has_data(form)).clone();
            if found != Ok(false) {
                break;
            }
        }
        let form = &query.forms[0];
        match found {
            Ok(true) => {}
            Err(error) => problems.push(format!("{}: {form}: {error}", query.origin)),
            Ok(false) if names(form).selectors.iter().any(|selector| not_in_demo(&selector.metric)) => {}
            Ok(false) => match RETURNS_NOTHING.iter().find(|(part, _)| form.contains(part)) {
                Some((part, _)) => drop(unneeded.insert(part, false)),
                None => problems.push(format!("{}: {form}: returns nothing", query.origin)),
            },
        }
    }
    // The entries are about boards: without boards, none is needed.
    let boards = queries.iter().any(|query| query.origin.ends_with(".json"));
    let unneeded = unneeded.into_iter().filter(|(_, unneeded)| *unneeded && boards);
    problems.extend(unneeded.map(|(part, _)| format!("`{part}` is not needed in RETURNS_NOTHING")));
    problems
}

/// The queries of the rules: recorded expressions, and the selectors of all rules.
fn queries_of_rules() -> Vec<Query> {
    let mut queries = Vec::new();
    for rule in rules() {
        if !rule.alerts {
            queries.push(Query { origin: rule.name.clone(), forms: vec![rule.expr.clone()] });
        }
        let selectors: BTreeSet<Selector> = names(&rule.expr).selectors.into_iter().collect();
        let forms = selectors.iter().map(|selector| vec![selector.text()]);
        queries.extend(forms.map(|forms| Query { origin: rule.name.clone(), forms }));
    }
    queries
}

/// Alert expressions that have been true for the whole period.
fn firing() -> Vec<String> {
    let mut firing = Vec::new();
    let now = request("query", &[("query", "time()")]).expect("the time")["result"][0].as_f64().expect("a time") as i64;
    let (start, end) = ((now - HEALTHY).to_string(), now.to_string());
    for rule in rules().into_iter().filter(|rule| rule.alerts) {
        let range = [("query", rule.expr.as_str()), ("start", &start), ("end", &end), ("step", "1")];
        match request("query_range", &range) {
            Err(error) => firing.push(format!("{}: {error}", rule.name)),
            Ok(data) => {
                let required = if rule.waits { HEALTHY as usize + 1 } else { 1 };
                let held = data["result"].as_array().into_iter().flatten();
                let held = held.filter(|series| series["values"].as_array().map_or(0, Vec::len) >= required);
                firing.extend(held.map(|series| format!("{} is true for a healthy demo: {series}", rule.name)));
            }
        }
    }
    firing
}

/// Metrics that the demo should export and does not, or should not export and does.
fn metric_problems() -> Vec<String> {
    let present: BTreeSet<String> =
        label_values("__name__", Some(r#"{job="funnelwatch"}"#)).expect("names").into_iter().collect();
    let mut problems = Vec::new();
    for family in Family::all() {
        for (_, name) in family.names() {
            let series = if family.kind == MetricKind::Histogram { format!("{name}_bucket") } else { name };
            if !present.contains(&series) && !not_in_demo(&series) {
                problems.push(format!("the demo does not export {series}"));
            }
        }
    }
    for (name, _) in NOT_IN_DEMO.iter().filter(|(name, _)| present.iter().any(|present| bare_name(present) == *name)) {
        problems.push(format!("{name} is not needed in NOT_IN_DEMO: the demo exports it"));
    }
    problems
}

#[test]
fn queries_of_rules_and_boards_return_data() {
    let demo = Demo::start();
    let started = Instant::now();
    until("Prometheus scrapes the demo", || has_data(r#"up{job="funnelwatch"} == 1"#).expect("a query"));
    std::thread::sleep(RUN.saturating_sub(started.elapsed()));

    for address in &demo.addresses {
        lint(&get(address, "/metrics"));
    }
    let mut problems = metric_problems();
    let mut queries = queries_of_rules();
    queries.extend(queries_of_boards(&mut problems));
    problems.extend(check(&queries));
    problems.extend(firing());
    let loaded = request("rules", &[]).expect("rules");
    let mut errors = Vec::new();
    collect(&loaded, "lastError", &mut errors);
    problems.extend(errors.into_iter().map(|error| format!("Prometheus reports a rule error: {error}")));
    report(&format!("{} queries, evaluated after {:.0} s", queries.len(), started.elapsed().as_secs_f64()));
    assert!(started.elapsed() < RUN + PATIENCE, "Prometheus takes too long");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

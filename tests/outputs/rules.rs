//! Checks the Prometheus rules: they use exported metrics and labels, each alert has a runbook, a test case in which it
//! fires and one in which it does not, and the resource for the Prometheus operator has the same rules.
//!
//! `UPDATE_DOCS=1 cargo test --test outputs rules` writes that resource. `tests/rules/check` tests the behaviour of the
//! rules, the services suite tests that their queries return data.

#[path = "../rules/promql.rs"]
mod promql;

use funnelwatch::telemetry::metric::{Family, MetricKind};
use promql::{RULES, list, names, read, rules, text, yaml};
use std::collections::{BTreeMap, BTreeSet};

/// The same rules as a resource of the Prometheus operator.
const OPERATOR: &str = "k8s/components/monitoring/prometheusrule.yaml";
/// Test cases for promtool.
const CASES: &str = "k8s/prometheus/funnelwatch.rules.test.yml";
/// Where the runbooks are.
const RUNBOOKS: &str = "docs/operate.md";

/// Metrics of the Prometheus client library about the process, and of Prometheus about its targets.
const FOREIGN: [&str; 8] = [
    "up",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

/// Labels of targets: `job`, `instance` from Prometheus and `pod` from the operator.
const TARGET: [&str; 3] = ["job", "instance", "pod"];

/// All exported series with their labels, without those of targets.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for family in Family::all() {
        for (level, name) in family.names() {
            let labels: BTreeSet<String> = family.all_labels(level).into_iter().map(str::to_owned).collect();
            if family.kind == MetricKind::Histogram {
                let with_bounds = labels.iter().cloned().chain(["le".to_owned()]).collect();
                all.insert(format!("{name}_bucket"), with_bounds);
                all.insert(format!("{name}_sum"), labels.clone());
                all.insert(format!("{name}_count"), labels);
            } else {
                all.insert(name, labels);
            }
        }
    }
    all.extend(FOREIGN.map(|name| (name.to_owned(), BTreeSet::new())));
    all
}

/// The labels that the result of an expression may have; an error lists unknown metrics and labels.
fn check(expr: &str, known: &BTreeMap<String, BTreeSet<String>>) -> Result<BTreeSet<String>, Vec<String>> {
    let names = names(expr);
    let mut problems = Vec::new();
    let mut labels: BTreeSet<String> = TARGET.map(str::to_owned).into();
    labels.extend(names.created);
    if names.selectors.is_empty() {
        problems.push("selects nothing".into());
    }
    for selector in names.selectors {
        let Some(own) = known.get(&selector.metric) else {
            problems.push(format!("unknown metric `{}`", selector.metric));
            continue;
        };
        for (label, ..) in &selector.matchers {
            if !own.contains(label) && !TARGET.contains(&label.as_str()) {
                problems.push(format!("`{}` has no label `{label}`", selector.metric));
            }
        }
        labels.extend(own.iter().cloned());
    }
    for label in names.grouping.iter().filter(|label| !labels.contains(*label)) {
        problems.push(format!("groups by `{label}`, which none of its metrics has"));
    }
    if problems.is_empty() { Ok(labels) } else { Err(problems) }
}

#[test]
fn expressions_use_exported_metrics_and_labels() {
    let mut known = exported();
    let mut problems = Vec::new();
    for rule in rules() {
        match check(&rule.expr, &known) {
            Err(found) => problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", rule.name))),
            Ok(labels) => {
                for (annotation, text) in &rule.annotations {
                    for label in text.split("$labels.").skip(1) {
                        let label = label.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
                        let label = label.unwrap_or_default();
                        if !labels.contains(label) {
                            problems.push(format!("{}: its {annotation} uses the unknown label `{label}`", rule.name));
                        }
                    }
                }
                // A rule follows the recording rules that it uses.
                if !rule.alerts {
                    known.insert(rule.name, labels);
                }
            }
        }
    }
    assert!(problems.is_empty(), "{RULES}:\n{}", problems.join("\n"));
}

#[test]
fn recording_rules_are_used() {
    let rules = rules();
    let used: BTreeSet<String> =
        rules.iter().flat_map(|rule| names(&rule.expr).selectors).map(|selector| selector.metric).collect();
    for rule in rules.iter().filter(|rule| !rule.alerts) {
        assert!(used.contains(&rule.name), "{RULES}: {} is not used", rule.name);
        assert_eq!(rule.name.split(':').count(), 3, "{}: expected level:metric:operation", rule.name);
    }
}

#[test]
fn every_alert_has_a_runbook_and_annotations() {
    let page = read(RUNBOOKS);
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### Funnelwatch")).collect();
    let headings: Vec<String> = headings.into_iter().map(|name| format!("Funnelwatch{name}")).collect();
    let alerts: Vec<_> = rules().into_iter().filter(|rule| rule.alerts).collect();
    let names: Vec<String> = alerts.iter().map(|rule| rule.name.clone()).collect();
    assert_eq!(headings, names, "{RUNBOOKS} must have a runbook for each alert, in the order of the rules");
    for rule in alerts {
        let name = &rule.name;
        assert!(matches!(rule.severity.as_deref(), Some("critical" | "warning")), "{name}: {:?}", rule.severity);
        let annotations: BTreeMap<&str, &str> =
            rule.annotations.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
        let keys: Vec<&str> = annotations.keys().copied().collect();
        assert_eq!(keys, ["description", "runbook", "summary"], "{name}");
        assert_eq!(annotations["runbook"], format!("{RUNBOOKS}#{}", name.to_lowercase()), "{name}");
    }
}

#[test]
fn runbooks_use_existing_metrics() {
    let mut known: BTreeSet<String> = exported().into_keys().collect();
    known.extend(Family::all().iter().flat_map(Family::names).map(|(_, name)| name));
    known.extend(rules().into_iter().map(|rule| rule.name));
    let page = read(RUNBOOKS);
    let words = page.split(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter));
    for word in words.filter(|word| word.contains("funnelwatch_")) {
        assert!(known.contains(word.trim_matches(':')), "{RUNBOOKS}: unknown metric `{word}`");
    }
}

#[test]
fn every_alert_is_tested_firing_and_not_firing() {
    let cases = yaml(&read(CASES));
    let (mut firing, mut not_firing) = (BTreeSet::new(), BTreeSet::new());
    for check in list(&cases, "tests").iter().flat_map(|case| list(case, "alert_rule_test")) {
        let name = text(check, "alertname").expect("an alert").to_owned();
        if list(check, "exp_alerts").is_empty() {
            not_firing.insert(name)
        } else {
            firing.insert(name)
        };
    }
    let alerts: BTreeSet<String> = rules().into_iter().filter(|rule| rule.alerts).map(|rule| rule.name).collect();
    assert_eq!(firing, alerts, "{CASES} must have a case in which each alert fires");
    assert_eq!(not_firing, alerts, "{CASES} must have a case in which each alert does not fire");
}

#[test]
fn the_operator_has_the_same_rules() {
    let rules = read(RULES);
    let (_, groups) = rules.split_once("\ngroups:\n").expect("groups");
    let mut wanted = format!(
        "# The rules of {RULES} as a resource of the Prometheus operator.\n\
         # Generated by `UPDATE_DOCS=1 cargo test --test outputs rules`; edit them there.\n\
         apiVersion: monitoring.coreos.com/v1\n\
         kind: PrometheusRule\n\
         metadata:\n  name: funnelwatch\n  labels:\n    app.kubernetes.io/name: funnelwatch\n    \
         app.kubernetes.io/component: processor\n\
         spec:\n  groups:\n"
    );
    for line in groups.lines() {
        wanted.push_str(if line.is_empty() { "" } else { "  " });
        wanted.push_str(line);
        wanted.push('\n');
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(promql::path(OPERATOR), &wanted).expect("a writable folder");
    }
    let found = std::fs::read_to_string(promql::path(OPERATOR)).unwrap_or_default();
    assert!(found == wanted, "{OPERATOR} is stale: UPDATE_DOCS=1 cargo test --test outputs rules");
    let spec = yaml(&wanted);
    let spec = spec.as_mapping_get("spec").and_then(|spec| spec.as_mapping_get("groups"));
    assert_eq!(spec, yaml(&rules).as_mapping_get("groups"), "indentation changed the content");
}

#[test]
fn invalid_expressions_are_detected() {
    let known = exported();
    let problems = |expr: &str| check(expr, &known).expect_err(expr);
    assert_eq!(problems("sum(rate(funnelwatch_event_total[5m]))"), ["unknown metric `funnelwatch_event_total`"]);
    assert_eq!(problems("funnelwatch_commit_seconds > 1"), ["unknown metric `funnelwatch_commit_seconds`"]);
    assert_eq!(
        problems(r#"funnelwatch_events_refused_total{cause="no_time", reason!~"a|b"}"#),
        ["`funnelwatch_events_refused_total` has no label `cause`"]
    );
    assert_eq!(
        problems("sum by (job, topic) (funnelwatch_events_held) / on (shard) funnelwatch_state_entries"),
        ["groups by `topic`, which none of its metrics has"]
    );
    assert_eq!(problems("vector(1)"), ["selects nothing"]);
    let labels_of_valid = check(
        r#"sum by (source) (label_replace(max without(pod) (funnelwatch_lag_messages offset 1h), "source", "$1", "topic", "(.*)"))
           / ignoring (source) group_left count(up{job="funnelwatch"} == 1) # comment of no_metric
           or histogram_quantile(0.9, sum(rate(funnelwatch_epoch_seconds_bucket{pod=~"a|b"}[5m])) by (le)) > bool 1e3"#,
        &known,
    );
    let labels = ["instance", "job", "le", "partition", "pod", "source", "topic"].map(str::to_owned);
    assert_eq!(labels_of_valid, Ok(labels.into()));
}

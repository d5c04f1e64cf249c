//! Checks the contract with readers of alerts: every sequence of statuses follows the table in `docs/alerts.md`, over
//! generated streams, in order and with late events; `restart.rs` checks it while norms change and across restarts.

use crate::common::Replay;
use crate::delay::{at, delayed};
use crate::oracle;
use funnelwatch::domain::alert::{Severity, Status};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a reader has read of each alert.
#[derive(Debug, Default)]
pub(super) struct Reader {
    alerts: BTreeMap<String, Vec<(Status, u64)>>,
}

impl Reader {
    /// Reads a status. Fails if the table does not allow it.
    pub(super) fn read(&mut self, alert: &Value) {
        let text = |key: &str| alert[key].as_str().expect("a text");
        let status = Status::ALL.into_iter().find(|status| status.name() == text("status")).expect("a status");
        let step = (status, alert["level"].as_u64().expect("a level"));
        let steps = self.alerts.entry(text("alert_id").to_owned()).or_default();
        let allowed = match steps.last() {
            None => matches!(status, Status::Raised | Status::Firing | Status::DueSoon),
            Some((Status::Retracted, _)) => status == Status::Retracted,
            Some((last, _)) => steps.contains(&step) || last.successors().contains(&status),
        };
        assert!(allowed, "after {steps:?}: {alert}");
        steps.push(step);
        let in_advance = matches!(status, Status::DueSoon | Status::Averted);
        assert!(!in_advance || (step.1, text("severity")) == (0, Severity::Info.name()), "{alert}");
        let ended = matches!(status, Status::Resolved | Status::Retracted | Status::Averted);
        assert_eq!(ended, alert["resolution"].is_string(), "{alert}");
    }

    /// How many alerts had a status.
    pub(super) fn count(&self, status: Status) -> usize {
        self.alerts.values().filter(|steps| steps.iter().any(|step| step.0 == status)).count()
    }
}

/// The rules with a deadline `within`.
const WITHIN: [&str; 5] =
    ["first_response_late", "too_few_attempts", "neglected", "missed_call_not_returned", "message_unanswered"];

/// A third of a duration.
fn third(text: &str) -> String {
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => 86_400,
    };
    format!("{}s", number.parse::<u64>().expect("a number") * seconds / 3)
}

/// Adds warnings to every rule that can warn.
pub(super) fn with_warnings(mut norms: Value) -> Value {
    let times = |pipeline: &Value| {
        let stages = pipeline["stages"].as_array().cloned().unwrap_or_default();
        stages.iter().filter_map(|stage| stage["max_time"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let pipelines = norms["pipelines"].as_object().into_iter().flat_map(|pipelines| pipelines.values());
    let shortest = pipelines.flat_map(times).map(|time| third(&time)).min_by_key(|time| (time.len(), time.clone()));
    if let (Some(before), Some(rule)) = (shortest, norms["norms"].get_mut("stage_overdue")) {
        rule["warn_before"] = json!(before);
    }
    let warn = |layer: &mut Value| {
        for rule in WITHIN {
            if let Some(before) = layer["norms"][rule]["within"].as_str().map(third) {
                layer["norms"][rule]["warn_before"] = json!(before);
            }
        }
    };
    for layer in norms.get_mut("overrides").and_then(Value::as_array_mut).into_iter().flatten() {
        warn(layer);
    }
    warn(&mut norms);
    norms
}

#[test]
fn every_sequence_of_statuses_follows_the_table() {
    let mut counts = BTreeMap::new();
    for seed in 12_000..12_060 {
        let (events, norms) = oracle::stream::stream(seed, 300);
        let norms = with_warnings(norms).to_string();
        let until = events.iter().filter(|event| oracle::decodes(event)).map(at).max();
        let (late_events, _) = delayed(&events, seed);
        for (events, as_delivered) in [(events, false), (late_events, true)] {
            let mut reader = Reader::default();
            let output = Replay { until, as_delivered, ..Replay::PLAIN }.run(&events, &norms);
            output.alerts.iter().for_each(|alert| reader.read(alert));
            for status in Status::ALL {
                *counts.entry((status, as_delivered)).or_insert(0) += reader.count(status);
            }
        }
    }
    assert_eq!(counts.len(), 2 * Status::ALL.len());
    assert!(counts.values().all(|count| *count > 20), "{counts:?}");
}

/// The names in backticks in a cell of a table.
fn names(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_table_in_the_docs_is_the_contract() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let page = std::fs::read_to_string(page).expect("docs/alerts.md");
    let rows = page.split_once("| may be followed by |").expect("the table").1.lines().skip(2);
    let rows: BTreeMap<_, _> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.split('|').collect();
            (cells[1].trim().trim_matches('`'), names(cells[3]))
        })
        .collect();
    let table: BTreeMap<&str, BTreeSet<&str>> = Status::ALL
        .into_iter()
        .map(|status| (status.name(), status.successors().iter().map(|next| next.name()).collect()))
        .collect();
    assert_eq!(rows, table);
}

//! Checks the output against the schemas in `docs/schema`: all output is valid, has no unknown keys, and every property
//! of a schema occurs. Also checks that the examples in `docs/alerts.md` are what the program produces.

use crate::common::Replay;
use funnelwatch::codec::json;
use funnelwatch::domain::alert::{Alert, Resolution, Severity, Status, Value as Observed};
use funnelwatch::domain::event::{Direction, Outcome};
use funnelwatch::domain::figures::row::{Figures, Row, Subject};
use funnelwatch::domain::figures::statistics::Ratio;
use funnelwatch::domain::figures::table::{NowFigures, TargetFigures, WindowFigures};
use funnelwatch::domain::id::EntityId;
use funnelwatch::domain::review::{About, Ending, Medium, ReviewRequest};
use funnelwatch::domain::rule::definition::Evaluation;
use funnelwatch::domain::rule::evidence::{self, Unit};
use funnelwatch::domain::rule::message::Language;
use funnelwatch::domain::rule::{Rule, catalog, message};
use funnelwatch::domain::time::window::Window;
use funnelwatch::domain::time::{Span, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::iter::successors;
use std::path::Path;

/// A validator for the part of JSON Schema 2020-12 that our schemas use. An unknown keyword is a problem and not
/// ignored.
struct Schema {
    root: Value,
    /// The pointers of the subschemas that some value was checked against.
    visited: BTreeSet<String>,
    problems: Vec<String>,
}

impl Schema {
    fn load(name: &str) -> Self {
        let root = serde_json::from_str(&read(&format!("docs/schema/{name}.schema.json"))).expect("a schema is JSON");
        Self { root, visited: BTreeSet::new(), problems: Vec::new() }
    }

    /// The problems of a value, one line each.
    fn problems(&mut self, value: &Value) -> Vec<String> {
        self.check("", "", value);
        std::mem::take(&mut self.problems)
    }

    /// Whether a value is valid; does not record problems.
    fn fits(&mut self, pointer: &str, path: &str, value: &Value) -> bool {
        let before = self.problems.len();
        self.check(pointer, path, value);
        let fits = self.problems.len() == before;
        self.problems.truncate(before);
        fits
    }

    /// Checks the value at `path` against the schema at `pointer`.
    fn check(&mut self, pointer: &str, path: &str, value: &Value) {
        self.visited.insert(pointer.into());
        let schema = match self.root.pointer(pointer) {
            Some(Value::Object(schema)) => schema.clone(),
            Some(Value::Bool(true)) => return,
            Some(Value::Bool(false)) => return self.problem(path, "is not allowed"),
            _ => return self.problem(path, &format!("no schema at #{pointer}")),
        };
        let nothing = Map::new();
        let object = value.as_object().unwrap_or(&nothing);
        for (keyword, wanted) in &schema {
            let here = format!("{pointer}/{keyword}");
            let names = || wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
            match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => {}
                "$ref" => match wanted.as_str().and_then(|reference| reference.strip_prefix('#')) {
                    Some(target) => self.check(target, path, value),
                    None => self.problem(path, &format!("unsupported reference {wanted}")),
                },
                "type" => {
                    let one = wanted.as_str();
                    if !one.into_iter().chain(names()).any(|name| is_of_type(value, name)) {
                        self.problem(path, &format!("{value} is not of type {wanted}"));
                    }
                }
                "format" => {
                    let text = value.as_str().unwrap_or_default();
                    let fits = match wanted.as_str() {
                        Some("date-time") => Timestamp::parse(text).is_some_and(|at| at.to_string() == text),
                        Some("date") => Timestamp::parse(&format!("{text}T00:00:00Z")).is_some(),
                        Some("uuid") => uuid::Uuid::parse_str(text).is_ok_and(|id| id.to_string() == text),
                        _ => false,
                    };
                    if value.is_string() && !fits {
                        self.problem(path, &format!("{value} is not of format {wanted}"));
                    }
                }
                "enum" | "const" => {
                    let equal =
                        |other: &Value| other == value || other.as_f64().is_some_and(|n| value.as_f64() == Some(n));
                    let all = if keyword == "enum" { wanted.as_array() } else { None };
                    if !all.map_or_else(|| equal(wanted), |all| all.iter().any(equal)) {
                        self.problem(path, &format!("expected one of {wanted}, found {value}"));
                    }
                }
                "pattern" => {
                    let text = wanted.as_str().expect("a pattern is a text");
                    assert!(!text.contains(|c| r"\^$.|?*+()[]{}".contains(c)), "#{here}: only literal patterns");
                    if value.as_str().is_some_and(|value| !value.contains(text)) {
                        self.problem(path, &format!("{value} does not contain {wanted}"));
                    }
                }
                "minimum" | "maximum" => {
                    let (limit, number) = (wanted.as_f64().expect("a limit is a number"), value.as_f64());
                    let fits = |number| if keyword == "minimum" { number >= limit } else { number <= limit };
                    if !number.is_none_or(fits) {
                        self.problem(path, &format!("{value} is beyond the {keyword} {limit}"));
                    }
                }
                "required" => {
                    names().filter(|name| value.is_object() && !object.contains_key(*name)).for_each(|name| {
                        self.problem(path, &format!("{name} is missing"));
                    })
                }
                "dependentRequired" => {
                    for (name, required) in wanted.as_object().into_iter().flatten() {
                        let required = required.as_array().into_iter().flatten().filter_map(Value::as_str);
                        required.filter(|other| object.contains_key(name) && !object.contains_key(*other)).for_each(
                            |other| {
                                self.problem(path, &format!("{name} requires {other}"));
                            },
                        );
                    }
                }
                "properties" => {
                    let known = |(name, _): &(&String, &Value)| wanted.get(name.as_str()).is_some();
                    for (name, value) in object.iter().filter(known) {
                        self.check(&format!("{here}/{name}"), &format!("{path}.{name}"), value);
                    }
                }
                "additionalProperties" => {
                    let named = |name: &String| schema.get("properties").is_some_and(|all| all.get(name).is_some());
                    for (name, value) in object.iter().filter(|(name, _)| !named(name)) {
                        self.check(&here, &format!("{path}.{name}"), value);
                    }
                }
                "allOf" => (0..wanted.as_array().map_or(0, Vec::len)).for_each(|part| {
                    self.check(&format!("{here}/{part}"), path, value);
                }),
                "if" => {
                    let branch = if self.fits(&here, path, value) { "then" } else { "else" };
                    if schema.contains_key(branch) {
                        self.check(&format!("{pointer}/{branch}"), path, value);
                    }
                }
                "then" | "else" => assert!(schema.contains_key("if"), "#{here} without an if"),
                _ => self.problem(path, &format!("unknown keyword #{here}")),
            }
        }
    }

    fn problem(&mut self, path: &str, text: &str) {
        self.problems.push(format!("{path}: {text}"));
    }

    /// The properties that no value has had.
    fn never_seen(&self) -> Vec<String> {
        fn properties(pointer: &str, schema: &Value, into: &mut Vec<String>) {
            for (name, part) in schema.as_object().into_iter().flatten() {
                let here = format!("{pointer}/{name}");
                if pointer.ends_with("/properties") && *part != Value::Bool(false) {
                    into.push(here.clone());
                }
                properties(&here, part, into);
            }
            for (index, part) in schema.as_array().into_iter().flatten().enumerate() {
                properties(&format!("{pointer}/{index}"), part, into);
            }
        }
        let mut all = Vec::new();
        properties("", &self.root, &mut all);
        all.retain(|pointer| !self.visited.contains(pointer));
        all
    }

    /// The names of an enum.
    fn names(&self, pointer: &str) -> Vec<String> {
        let list = self.root.pointer(pointer).and_then(Value::as_array).expect("a list");
        list.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        _ => false,
    }
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const NORMS: &str = "
calendars: {c: {timezone: Europe/Moscow, week: {mon: ['09:00-18:00']}}}
calendar: c
norms:
  first_response_late: {within: 15m, clock: business, escalate_after: [15m]}
  missed_call_not_returned: {within: 30m, warn_before: 10m}
  source_silent: {within: 45m}
review_sampling: {per_day: 4, min_talk_seconds: 30}
targets:
- {id: calls, figure: calls_outbound, per: day, at_least: 400, from: 2026-03-01}
- {id: week, figure: amount_won, currency: RUB, per: week, at_least: 2.5, of: department, clock: wall}
";

/// One day with all kinds of events: a tenant with leads, and one without any.
fn day() -> Vec<Value> {
    let lead = |id: &str| json!({"kind": "LEAD", "id": id});
    let deal = json!({"kind": "DEAL", "id": "d"});
    let phone = "+79160000001";
    let call = |id: &str, direction: &str, started: &str, outcome: &str| {
        let started = format!("2026-03-02T{started}:00Z");
        json!({"call_ended": {"call_id": id, "direction": direction, "phone": phone, "started_at": started,
            "talk_seconds": if outcome == "ANSWERED" { 60.5 } else { 0.0 }, "outcome": outcome, "manager_id": "ann"}})
    };
    let message = |kind: &str, id: &str, channel: &str| json!({kind: {"message_id": id, "channel": channel, "contact": {"handle": "@x", "channel": channel}, "manager_id": "ann"}});
    let list = [
        ("07:00", json!({"manager_upserted": {"manager_id": "ann", "department_id": "north", "active": true}})),
        ("07:00", json!({"lead_created": {"lead_id": "1", "manager_id": "ann", "contacts": [{"phone": phone}]}})),
        ("07:01", json!({"lead_created": {"lead_id": "2", "manager_id": "ann"}})),
        ("07:02", json!({"lead_created": {"lead_id": "3"}})),
        ("07:03", json!({"lead_created": {"lead_id": "4"}})),
        ("07:40", call("a", "OUTBOUND", "07:39", "BUSY")),
        ("07:50", call("b", "OUTBOUND", "07:10", "ANSWERED")),
        ("08:00", call("c", "INBOUND", "07:59", "NO_ANSWER")),
        ("08:40", call("d", "OUTBOUND", "08:39", "ANSWERED")),
        ("08:50", call("e", "INBOUND", "08:49", "NO_ANSWER")),
        ("09:30", call("f", "INBOUND", "09:29", "ANSWERED")),
        ("09:50", call("g", "INBOUND", "09:49", "NO_ANSWER")),
        ("09:51", json!({"closed": {"entity": lead("2"), "outcome": "DISQUALIFIED"}})),
        ("09:51", json!({"deleted": {"entity": lead("3")}})),
        ("10:00", json!({"deal_created": {"deal_id": "d", "lead_id": "1", "manager_id": "ann", "amount_minor": 100}})),
        ("10:01", json!({"activity_completed": {"entity": deal, "kind": "MEETING"}})),
        ("10:02", json!({"terms_offered": {"deal_id": "d", "discount_percent": 2.5}})),
        ("10:03", json!({"closed": {"entity": deal, "outcome": "WON"}})),
        (
            "10:04",
            json!({"deal_snapshot": {"deal_id": "l", "outcome": "LOST", "pipeline_id": "sales", "stage_id": "NEW"}}),
        ),
        (
            "10:05",
            json!({"interaction_reviewed": {"interaction_id": "d", "manager_id": "ann", "reviewer_id": "eve",
            "score": 71.5, "verdict": "SUCCESS"}}),
        ),
        ("10:10", message("message_received", "m1", "EMAIL")),
        ("10:11", message("message_sent", "m2", "EMAIL")),
        ("10:12", message("message_received", "m3", "CHAT")),
        ("10:15", call("h", "OUTBOUND", "10:14", "BUSY")),
        ("10:13", message("message_sent", "m4", "CHAT")),
        ("10:14", message("message_received", "m5", "SMS")),
        ("10:15", message("message_sent", "m6", "SMS")),
        ("10:16", message("message_sent", "m7", "MESSENGER")),
        ("10:17", message("message_received", "m8", "MESSENGER")),
        ("10:40", json!({"lead_created": {"lead_id": "5", "manager_id": "bob"}})),
    ];
    let with_envelope = |(at, payload): (&str, Value)| {
        let mut event = json!({"tenant_id": "acme", "occurred_at": format!("2026-03-02T{at}:00Z")});
        event.as_object_mut().expect("an object").extend(payload.as_object().cloned().unwrap_or_default());
        event
    };
    let mut events: Vec<_> = list.into_iter().map(with_envelope).collect();
    events.push(json!({"tenant_id": "empty", "occurred_at": "2026-03-02T10:50:00Z",
        "manager_upserted": {"manager_id": "zoe", "active": true}}));
    events
}

/// An alert of a rule with all fields.
fn full_alert(rule: Rule) -> Alert {
    let at = Timestamp::parse("2026-03-02T10:00:00Z").expect("valid");
    let definition = catalog::definition(rule);
    let act = matches!(definition.evaluation, Evaluation::Act(_));
    let values = |keys: &[&'static str]| {
        let value = |key| match evidence::of(rule, key).unwrap_or_else(|| panic!("{key} has no definition")).unit {
            Unit::Count | Unit::Months | Unit::Flag => Observed::Count(1),
            Unit::Stage | Unit::Names => "NEW".into(),
            Unit::Name(names) => names[0].into(),
            _ => Observed::Number(0.5),
        };
        keys.iter().map(|key| (*key, value(key))).collect()
    };
    Alert {
        id: uuid::Uuid::nil(),
        tenant: "acme".into(),
        rule,
        severity: Severity::Info,
        level: 1,
        status: if act { Status::Raised } else { Status::Resolved },
        subject: definition.subjects[0].into(),
        at,
        anchor_at: at,
        due_at: Some(at),
        manager: Some("ann".into()),
        department: Some("north".into()),
        entity: Some(EntityId::deal("d")),
        interaction: Some("c".into()),
        window: Some("7d".into()),
        observed: values(definition.observed),
        norm: values(definition.norm),
        resolution: Some(Resolution::Recovered).filter(|_| !act),
        historic: true,
    }
}

/// Rows with the figures that the sample day does not fill.
fn additional_rows() -> [Row; 3] {
    let window = WindowFigures {
        stage_conversion: [("sales".into(), [("NEW".into(), Ratio { n: 4, k: 1 })].into())].into(),
        ..WindowFigures::default()
    };
    let now = NowFigures { overdue: [("sales".into(), [("NEW".into(), 2)].into())].into(), ..NowFigures::default() };
    let closing = TargetFigures { incomplete: true, ..TargetFigures::default() };
    [
        Figures::Window(Window { size: Span::DAY, in_days: false, slide: Span(15 * Span::MINUTE.0) }, Box::new(window)),
        Figures::Now(Box::new(now)),
        Figures::Closing("calls/2026-03-02".into(), Some(closing)),
    ]
    .map(|figures| Row {
        tenant: "acme".into(),
        subject: Subject::Tenant,
        department: None,
        at: Timestamp(0),
        historic: true,
        figures,
    })
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut line = Vec::new();
    write(&mut line);
    serde_json::from_slice(&line).expect("output is JSON")
}

fn alerts() -> Vec<Value> {
    let mut alerts = Replay::PLAIN.run(&day(), NORMS).alerts;
    alerts.extend(Rule::ALL.iter().map(|rule| {
        let alert = full_alert(*rule);
        encoded(|line| json::encode_alert(&alert, &message::of(&alert, Language::Ru), line))
    }));
    alerts
}

fn rows() -> Vec<Value> {
    let mut rows = Replay::PLAIN.run(&day(), NORMS).rows;
    rows.extend(additional_rows().iter().map(|row| encoded(|line| json::encode_row(row, line))));
    rows
}

fn reviews() -> Vec<Value> {
    let next_day = Timestamp::parse("2026-03-03T00:00:00Z").map(|at| at.0);
    let mut reviews = Replay { until: next_day, ..Replay::PLAIN }.run(&day(), NORMS).reviews;
    let about = About {
        entity: EntityId::deal("d"),
        ending: Ending::Closed(Outcome::Won),
        pipeline: Some("sales".into()),
        stage: Some("NEW".into()),
    };
    let recording_url = Some("https://pbx/1".into());
    let request = ReviewRequest {
        tenant: "acme".into(),
        manager: "ann".into(),
        department: "north".into(),
        interaction: "c".into(),
        medium: Medium::Call { direction: Direction::Inbound, talk: Span(1500), recording_url },
        at: Timestamp(0),
        day: "2026-03-02".parse().expect("a day"),
        requested_at: Timestamp(1),
        about: Some(about),
    };
    reviews.push(encoded(|line| json::encode_review(&request, line)));
    reviews
}

fn assert_valid(name: &str, values: &[Value]) {
    let mut schema = Schema::load(name);
    for value in values {
        let problems = schema.problems(value);
        assert!(problems.is_empty(), "{value}\nis not valid under {name}.schema.json:\n{}", problems.join("\n"));
    }
    assert_eq!(schema.never_seen(), Vec::<String>::new(), "properties of {name}.schema.json that never occur");
}

#[test]
fn alerts_match_their_schema() {
    let alerts = alerts();
    let statuses: BTreeSet<_> = alerts.iter().filter_map(|alert| alert["status"].as_str()).collect();
    assert_eq!(statuses, Status::ALL.map(Status::name).into());
    assert!(alerts.iter().any(|alert| alert.get("manager_id").is_none()), "the day has an alert without a manager");
    assert_valid("alert", &alerts);
}

#[test]
fn rows_match_their_schema() {
    assert_valid("metric-row", &rows());
}

#[test]
fn review_requests_match_their_schema() {
    let reviews = reviews();
    let kinds: BTreeSet<_> = reviews.iter().filter_map(|request| request["kind"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["call", "message"]));
    assert_valid("review-request", &reviews);
    assert!(
        alerts().iter().all(|alert| !alert.to_string().contains("pbx")),
        "recording links are published in review requests only"
    );
}

#[test]
fn the_review_request_in_the_docs_matches_its_schema() {
    let text = read("docs/reviews.md");
    let shown = blocks(&text, "json");
    let request: Value = serde_json::from_str(shown[0]).expect("JSON");
    assert_eq!(Schema::load("review-request").problems(&request), Vec::<String>::new());
    json::decode(shown[1].trim().as_bytes()).expect("the answer is an event");
}

#[test]
fn the_schema_has_every_status_and_resolution() {
    let schema = Schema::load("alert");
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    // The matches are exhaustive: a new status or resolution does not compile until it is added here.
    let statuses = successors(Some(Status::Raised), |status| match status {
        Status::Raised => Some(Status::Firing),
        Status::Firing => Some(Status::Escalated),
        Status::Escalated => Some(Status::Resolved),
        Status::Resolved => Some(Status::Retracted),
        Status::Retracted => Some(Status::DueSoon),
        Status::DueSoon => Some(Status::Averted),
        Status::Averted => None,
    });
    assert_eq!(schema.names("/properties/status/enum"), names(&statuses.map(Status::name).collect::<Vec<_>>()));
    let resolutions = successors(Some(Resolution::Responded), |resolution| match resolution {
        Resolution::Responded => Some(Resolution::Closed),
        Resolution::Closed => Some(Resolution::Deleted),
        Resolution::Deleted => Some(Resolution::Merged),
        Resolution::Merged => Some(Resolution::Reassigned),
        Resolution::Reassigned => Some(Resolution::LeftStage),
        Resolution::LeftStage => Some(Resolution::Waiting),
        Resolution::Waiting => Some(Resolution::Returned),
        Resolution::Returned => Some(Resolution::CustomerCalledAgain),
        Resolution::CustomerCalledAgain => Some(Resolution::Answered),
        Resolution::Answered => Some(Resolution::Planned),
        Resolution::Planned => Some(Resolution::Done),
        Resolution::Done => Some(Resolution::Rescheduled),
        Resolution::Rescheduled => Some(Resolution::Cancelled),
        Resolution::Cancelled => Some(Resolution::Dismissed),
        Resolution::Dismissed => Some(Resolution::Recovered),
        Resolution::Recovered => Some(Resolution::Reached),
        Resolution::Reached => Some(Resolution::PeriodOver),
        Resolution::PeriodOver => Some(Resolution::SampleTooSmall),
        Resolution::SampleTooSmall => Some(Resolution::LateEvidence),
        Resolution::LateEvidence => Some(Resolution::Disabled),
        Resolution::Disabled => None,
    });
    assert_eq!(
        schema.names("/properties/resolution/enum"),
        names(&resolutions.map(Resolution::name).collect::<Vec<_>>())
    );
}

#[test]
fn every_rule_has_its_own_values_in_the_schema() {
    let mut schema = Schema::load("alert");
    for mut alert in alerts() {
        for part in ["observed", "norm"] {
            alert[part]["surprise"] = json!(1);
            let problems = schema.problems(&alert);
            assert_eq!(problems, [format!(".{part}.surprise: is not allowed")], "{}", alert["rule"]);
            alert[part].as_object_mut().expect("an object").remove("surprise");
        }
    }
}

/// Tests the validator: a value that is changed in any place is invalid.
#[test]
fn changed_values_are_invalid() {
    for (name, values) in [("alert", alerts()), ("metric-row", rows()), ("review-request", reviews())] {
        let mut schema = Schema::load(name);
        let mut assert_invalid = |value: &Value, what: &str| {
            assert!(!schema.problems(value).is_empty(), "{name}: {what} is accepted: {value}");
        };
        for value in values {
            for key in value.as_object().expect("an object").keys() {
                // Only the plan of a department has no manager.
                let needs_no_manager = value["rule"] == "target_behind" && key == "manager_id";
                let mut changed = value.clone();
                changed[key] = json!(["a list is valid nowhere"]);
                assert_invalid(&changed, "a list");
                let optional: &[&str] = match name {
                    "alert" => &["due_at", "entity", "interaction_id", "window", "historic"],
                    "metric-row" => &["historic", "incomplete", "targets"],
                    "review-request" => &["recording_url", "pipeline_id", "stage_id"],
                    _ => &[],
                };
                if !optional.contains(&key.as_str()) && !needs_no_manager {
                    changed.as_object_mut().expect("an object").remove(key);
                    assert_invalid(&changed, &format!("a value without {key}"));
                }
            }
            let mut changed = value.clone();
            changed["surprise"] = json!(0);
            assert_invalid(&changed, "an unknown key");
        }
    }
    let mut schema = Schema::load("metric-row");
    let row = rows().into_iter().find(|row| row["calls"]["inbound_missed"] == 3).expect("a row with missed calls");
    for (pointer, value) in [
        ("/touches", json!(-1)),
        ("/touches", json!(0.5)),
        ("/at", json!("2026-03-02T10:00:00Z")),
        ("/messages/sent", json!({"FAX": 1})),
        ("/violations", json!({"first_response_late": "one"})),
        ("/reviews/mean_score", json!(101)),
        ("/call_back/n", json!(0)),
        ("/lead_conversion/cohort/ratio", json!(null)),
        ("/first_response/within_norm/upper", json!(1.1)),
    ] {
        let mut changed = row.clone();
        *changed.pointer_mut(pointer).expect("a pointer into the row") = value;
        assert!(
            !schema.problems(&changed).is_empty(),
            "{pointer} may be {}",
            changed.pointer(pointer).expect("the value")
        );
    }
}

/// The fenced blocks of a language in a document.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    text.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_examples_in_the_docs_match_the_output() {
    let text = read("docs/alerts.md");
    let [norms] = blocks(&text, "yaml")[..] else { panic!("one block of norms") };
    let [events] = blocks(&text, "ndjson")[..] else { panic!("one block of events") };
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let alerts = Replay::PLAIN.run(&events, norms).alerts;
    let mut lines = Vec::new();
    for alert in &alerts {
        let field = |name: &str| alert[name].as_str().unwrap_or_default();
        lines.push(format!(
            "| `{}` | `{}` | {} | {} | {} | {} | {} | {} |",
            field("subject"),
            field("status"),
            &field("at")[11..16],
            alert["level"],
            field("severity"),
            field("manager_id"),
            alert["observed"]["lag_seconds"],
            field("resolution"),
        ));
    }
    let table: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| `lead:") || line.starts_with("| `contact:")).collect();
    assert_eq!(table, lines, "the table of statuses in docs/alerts.md");
    let shown: Vec<Value> =
        blocks(&text, "json").into_iter().map(|block| serde_json::from_str(block).expect("JSON")).collect();
    assert!(!shown.is_empty());
    for alert in shown {
        assert!(alerts.contains(&alert), "docs/alerts.md shows an alert that is not produced: {alert}");
    }
}

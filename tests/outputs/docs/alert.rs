//! Generates `docs/schema/alert.schema.json`, the JSON Schema 2020-12 of alerts, from the rule definitions and the
//! evidence table: a new rule gets its branch without changes here.
//!
//! `tests/outputs/schemas.rs` validates the program's output against the schema.

use super::assert_document;
use funnelwatch::domain::alert::{Resolution, Severity, Status};
use funnelwatch::domain::rule::definition::{Evaluation, Parameter};
use funnelwatch::domain::rule::evidence::{self, Unit};
use funnelwatch::domain::rule::{Rule, catalog};
use serde_json::{Map, Value, json};

/// The schema.
fn schema() -> Value {
    let time = |what: &str| json!({ "description": what, "type": "string", "format": "date-time" });
    let text = |what: &str| json!({ "description": what, "type": "string" });
    let one_of = |what: &str, names: Vec<&str>| json!({ "description": what, "enum": names });
    let values = |what: &str| json!({ "description": what, "type": "object", "additionalProperties": { "type": ["number", "string"] } });
    let properties = json!({
        "alert_id": {
            "description": "UUIDv5, identical for all statuses of the violation and in every replay",
            "type": "string",
            "format": "uuid",
        },
        "tenant_id": text("the tenant"),
        "rule": one_of(
            "the violated rule, by its name in the norms",
            Rule::ALL.iter().map(|rule| rule.name()).collect(),
        ),
        "severity": one_of(
            "the severity; each escalation raises it by one level, up to critical",
            Severity::ALL.map(Severity::name).into(),
        ),
        "level": { "description": "the number of escalations so far", "type": "integer", "minimum": 0 },
        "status": one_of("the status of the violation", Status::ALL.map(Status::name).into()),
        "subject": text(
            "the subject: lead:ID, deal:ID, contact:KEY, manager:ID or topic:NAME; some rules append a part after a \
             slash",
        ),
        "at": time("event time of this status"),
        "anchor_at": time("when the clock started"),
        "due_at": time("the deadline, if there is one"),
        "manager_id": text("the responsible manager; absent if there is none"),
        "department_id": text("the manager's department, `unknown` if they have none; absent without a manager"),
        "entity": text("the lead or deal, as in a subject: lead:ID or deal:ID"),
        "interaction_id": text("the call or message that started the clock"),
        "window": text("the size of the evaluated window, such as 24h or 7d"),
        "observed": values("the observed values, in base units"),
        "norm": values("the norm, in base units"),
        "resolution": one_of("why it ended", Resolution::ALL.map(Resolution::name).into()),
        "message": text("one sentence for people"),
        "historic": {
            "description": "it belongs to the past that a back-fill reports; absent otherwise",
            "type": "boolean",
            "const": true,
        },
    });
    let ended = [Status::Resolved, Status::Retracted, Status::Averted].map(Status::name);
    let mut branches = vec![json!({
        "if": { "properties": { "status": { "enum": ended } } },
        "then": { "required": ["resolution"] },
        "else": { "properties": { "resolution": false } },
    })];
    branches.extend(Rule::ALL.iter().map(|rule| branch(*rule)));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:funnelwatch:alert:1",
        "title": "Alert",
        "description": "One status of one violation: a record of the alerts topic or a line of a replay.",
        "type": "object",
        "properties": properties,
        "required": [
            "alert_id", "tenant_id", "rule", "severity", "level", "status", "subject", "at", "anchor_at", "observed",
            "norm", "message",
        ],
        "additionalProperties": false,
        "dependentRequired": { "manager_id": ["department_id"] },
        "allOf": branches,
    })
}

/// The conditions on the alerts of a rule.
fn branch(rule: Rule) -> Value {
    let definition = catalog::definition(rule);
    let warns = definition.takes.contains(&Parameter::WarnBefore);
    let act = |status: &Status| matches!(status, Status::Raised | Status::Retracted);
    let lasting = |status: &Status| *status != Status::Raised;
    let (required, statuses): (&[&str], fn(&Status) -> bool) = match definition.evaluation {
        Evaluation::Journey(_) => (&["due_at", "entity"], lasting),
        Evaluation::Act(_) => (&["entity"], act),
        Evaluation::Demands(_) => (&["due_at", "interaction_id"], lasting),
        Evaluation::Window(_) => (&["manager_id", "window"], lasting),
        Evaluation::Targets(_) => (&["window"], lasting),
        Evaluation::Topics => (&[], lasting),
    };
    let emitted = |status: &Status| statuses(status) && (warns || !matches!(status, Status::DueSoon | Status::Averted));
    let statuses: Vec<_> = Status::ALL.into_iter().filter(emitted).map(Status::name).collect();
    // With a sample that is too small, only counts are reported.
    let always = |key: &&&str| {
        let unit = evidence::of(rule, key).map(|evidence| evidence.unit);
        // Early in a period there is no forecast.
        !matches!(definition.evaluation, Evaluation::Window(_)) && **key != "forecast" || unit == Some(Unit::Count)
    };
    let observed: Vec<_> = definition.observed.iter().filter(always).collect();
    let mut then = json!({
        "description": definition.about[0],
        "properties": {
            "status": { "enum": statuses },
            "observed": object(rule, definition.observed, &observed),
            "norm": object(rule, definition.norm, &definition.norm.iter().collect::<Vec<_>>()),
        },
        "required": required,
    });
    // Only the plan of a department has no manager.
    if !matches!(definition.evaluation, Evaluation::Targets(_)) {
        then["dependentRequired"] = json!({ "department_id": ["manager_id"] });
    }
    json!({ "if": { "properties": { "rule": { "const": rule.name() } } }, "then": then })
}

fn object(rule: Rule, keys: &[&str], required: &[&&str]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .filter_map(|key| {
            let evidence = evidence::of(rule, key)?;
            let mut value = of_unit(evidence.unit);
            value["description"] = evidence.about[0].into();
            Some(((*key).into(), value))
        })
        .collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn of_unit(unit: Unit) -> Value {
    match unit {
        Unit::Seconds => json!({ "type": "number", "minimum": 0 }),
        Unit::Count | Unit::Months => json!({ "type": "integer", "minimum": 0 }),
        Unit::Quantity => json!({ "type": "number" }),
        Unit::Share | Unit::Quantile => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Unit::Percent | Unit::Score => json!({ "type": "number", "minimum": 0, "maximum": 100 }),
        Unit::Flag => json!({ "type": "integer", "minimum": 0, "maximum": 1 }),
        Unit::Stage | Unit::Names => json!({ "type": "string" }),
        Unit::Name(names) => json!({ "enum": names }),
    }
}

#[test]
fn the_schema_in_docs_is_up_to_date() {
    assert_document("schema/alert.schema.json", &format!("{:#}\n", schema()));
}

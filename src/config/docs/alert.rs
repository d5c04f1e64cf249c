//! Owns `docs/schema/alert.schema.json`: JSON Schema 2020-12 of alerts. Promises that what a rule tells there comes from
//! the rule's own file and from the table of evidence: a rule that is added has its branch without a line of its own.
//!
//! `tests/schemas.rs` holds the schema against what the program writes.

use crate::domain::alert::{Resolution, Severity, Status};
use crate::domain::evidence::{self, Unit};
use crate::domain::rule::{Evaluation, Rule};
use serde_json::{Map, Value, json};

/// The schema.
pub fn schema() -> Value {
    let time = |what: &str| json!({ "description": what, "type": "string", "format": "date-time" });
    let text = |what: &str| json!({ "description": what, "type": "string" });
    let among = |what: &str, names: Vec<&str>| json!({ "description": what, "enum": names });
    let values = |what: &str| json!({ "description": what, "type": "object", "additionalProperties": { "type": ["number", "string"] } });
    let properties = json!({
        "alert_id": {
            "description": "UUIDv5, the same for every status of the violation and in every replay",
            "type": "string",
            "format": "uuid",
        },
        "tenant_id": text("the company"),
        "rule": among(
            "which rule was broken, by its name in the norms",
            Rule::ALL.iter().map(|rule| rule.name()).collect(),
        ),
        "severity": among(
            "how much it matters; an escalation raises it by one, up to critical",
            Severity::ALL.map(Severity::name).into(),
        ),
        "level": { "description": "how many escalations it has had", "type": "integer", "minimum": 0 },
        "status": among("where the violation stands in its life", Status::ALL.map(Status::name).into()),
        "subject": text(
            "what it is about: lead:ID, deal:ID, contact:KEY, manager:ID, topic:NAME; some rules append a part behind a \
             slash",
        ),
        "at": time("event time of this status"),
        "anchor_at": time("when the clock started"),
        "due_at": time("the deadline, where there is one"),
        "manager_id": text("whose it is; absent where it is nobody's"),
        "department_id": text("the manager's department, `unknown` if he has none; absent without a manager"),
        "entity": text("the lead or deal, written as in a subject: lead:ID or deal:ID"),
        "interaction_id": text("the call or message that started the clock"),
        "window": text("the rolling window that was judged: 24h, 7d"),
        "observed": values("what was found, in base units"),
        "norm": values("what is wanted, in base units"),
        "resolution": among("why it ended", Resolution::ALL.map(Resolution::name).into()),
        "message": text("one sentence for a person"),
    });
    let ended = [Status::Resolved, Status::Retracted].map(Status::name);
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
        "description": "One status of one violation: a record of the alerts topic, or a line of a replay.",
        "type": "object",
        "properties": properties,
        "required": [
            "alert_id", "tenant_id", "rule", "severity", "level", "status", "subject", "at", "anchor_at", "observed",
            "norm", "message",
        ],
        "additionalProperties": false,
        "dependentRequired": { "manager_id": ["department_id"], "department_id": ["manager_id"] },
        "allOf": branches,
    })
}

/// What holds of the alerts of a rule.
fn branch(rule: Rule) -> Value {
    let definition = rule.definition();
    let act = |status: &Status| matches!(status, Status::Raised | Status::Retracted);
    let (required, statuses): (&[&str], fn(&Status) -> bool) = match definition.evaluation {
        Evaluation::Journey(_) => (&["due_at", "entity"], |status| *status != Status::Raised),
        Evaluation::Act(_) => (&["entity"], act),
        Evaluation::Demands(_) => (&["due_at", "interaction_id"], |status| *status != Status::Raised),
        Evaluation::Window(_) => (&["manager_id", "window"], |status| *status != Status::Raised),
        Evaluation::Topics => (&[], |status| *status != Status::Raised),
    };
    let statuses: Vec<_> = Status::ALL.into_iter().filter(statuses).map(Status::name).collect();
    // With too small a sample only the counts are told.
    let always = |key: &&&str| {
        let unit = evidence::of(rule, key).map(|evidence| evidence.unit);
        !matches!(definition.evaluation, Evaluation::Window(_)) || unit == Some(Unit::Count)
    };
    let observed: Vec<_> = definition.observed.iter().filter(always).collect();
    json!({
        "if": { "properties": { "rule": { "const": rule.name() } } },
        "then": {
            "description": definition.about[0],
            "properties": {
                "status": { "enum": statuses },
                "observed": object(rule, definition.observed, &observed),
                "norm": object(rule, definition.norm, &definition.norm.iter().collect::<Vec<_>>()),
            },
            "required": required,
        },
    })
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
        Unit::Share | Unit::Quantile => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Unit::Percent | Unit::Score => json!({ "type": "number", "minimum": 0, "maximum": 100 }),
        Unit::Flag => json!({ "type": "integer", "minimum": 0, "maximum": 1 }),
        Unit::Stage | Unit::Names => json!({ "type": "string" }),
        Unit::Name(names) => json!({ "enum": names }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hold;
    use super::*;

    #[test]
    fn the_schema_of_alerts_is_the_one_in_docs() {
        hold("schema/alert.schema.json", &format!("{:#}\n", schema()));
    }
}

//! Generates `docs/schema/metric-row.schema.json` from the table of figures: `UPDATE_DOCS=1 cargo test --test outputs
//! row_schema` writes it. `schemas.rs` checks it against the output.

use funnelwatch::domain::event::Channel;
use funnelwatch::domain::figures::table::{Figure, FigureValue, Kind, NOW, NowFigures, Part, WINDOW};
use serde_json::{Map, Value, json};
use std::path::Path;

fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:funnelwatch:metric-row:1",
        "title": "Metric row",
        "description": "The figures of one subject over one sliding window, or as of now: a record of the metrics topic, or \
            a line of a replay. Maps omit entries that are zero.",
        "if": {"properties": {"window": {"const": "now"}}},
        "then": {"$ref": "#/$defs/now"},
        "else": {
            "if": {"properties": {"window": {"pattern": "/"}}},
            "then": {"$ref": "#/$defs/closing"},
            "else": {"$ref": "#/$defs/window"},
        },
        "$defs": {
            "closing": closing(),
            "target": target(),
            "window": row("figures of a sliding window", WINDOW),
            "now": row("figures as of now", NOW),
            "ratio": statistics("a share; all fields except n and k are null if n is 0", &[
                ("n", "the sample size", json!({"$ref": "#/$defs/count"})),
                ("k", "the cases that count", json!({"$ref": "#/$defs/count"})),
                ("ratio", "k / n", number(Some(1))),
                ("lower", "lower bound of the Wilson 95 % interval", number(Some(1))),
                ("upper", "upper bound of the interval", number(Some(1))),
            ]),
            "quantiles": statistics("lags; all fields except n are null if n is 0", &[
                ("n", "number of lags", json!({"$ref": "#/$defs/count"})),
                ("mean_seconds", "mean", number(None)),
                ("p50_seconds", "median (nearest rank), with a relative error of up to 1 %", number(None)),
                ("p90_seconds", "90th percentile, likewise", number(None)),
                ("p99_seconds", "99th percentile, likewise", number(None)),
            ]),
            "count": {"type": "integer", "minimum": 0},
        },
    })
}

fn row<F: Default>(description: &str, table: &[Figure<F>]) -> Value {
    let mut properties = Map::new();
    for (key, description) in [
        ("tenant_id", "the tenant"),
        ("subject", "the subject: tenant, department:ID or manager:ID"),
        ("window", "the size of the window, such as 1h, 24h, 7d; or now"),
        ("at", "event time of the figures"),
    ] {
        properties.insert(key.into(), json!({"description": description, "type": "string"}));
    }
    properties["at"]["format"] = "date-time".into();
    let mut targets = None;
    let historic = "it belongs to the past that a back-fill reports; absent otherwise";
    for (figure, part) in table.iter().flat_map(|figure| figure.values.iter().map(move |part| (figure, part))) {
        match part.path {
            [(group, _), (key, _)] => {
                let group = properties.entry(*group).or_insert_with(|| object(Map::new()));
                group["properties"][key] = value(figure, part);
                group["required"].as_array_mut().expect("a list").push((*key).into());
            }
            [("targets", _)] => {
                let each = json!({"$ref": "#/$defs/target"});
                targets = Some(json!({"description": figure.help, "type": "object", "additionalProperties": each}));
            }
            [(key, _)] => {
                properties.insert((*key).into(), value(figure, part));
            }
            _ => {}
        }
    }
    let mut row = object(properties);
    if let Some(targets) = targets {
        row["properties"]["targets"] = targets;
    }
    row["properties"]["historic"] = json!({"description": historic, "type": "boolean", "const": true});
    row["description"] = description.into();
    row
}

/// The row that closes a period of a target.
fn closing() -> Value {
    let mut row = row::<NowFigures>("the figure of a target at the end of a period", &[]);
    for (key, description, kind) in [
        ("at_least", "what was to be reached", "number"),
        ("fact", "the figure in the period; amounts in minor units", "integer"),
        ("share", "the share of the counted time that has passed: 1", "number"),
    ] {
        row["properties"][key] = json!({"description": description, "type": kind});
        row["required"].as_array_mut().expect("a list").push(key.into());
    }
    row["properties"]["window"]["description"] =
        "the target and the period: ID/2026-03-02, ID/2026-W10, ID/2026-03 or ID/2026-Q1".into();
    row["properties"]["at"]["description"] = "the end of the period".into();
    row["properties"]["incomplete"] = incomplete();
    row
}

/// A target in a `now` row.
fn target() -> Value {
    let mut properties = Map::new();
    for (key, description, kind) in [
        ("at_least", "what is to be reached in the period; amounts in minor units", json!("number")),
        ("fact", "the figure so far", json!("integer")),
        ("pace", "what it would be if the target were reached evenly over the counted time", json!("number")),
        ("share", "the share of the counted time of the period that has passed, 0 to 1", json!("number")),
        ("forecast", "what the fact will be at the end; null while the share is below 0.05", json!(["number", "null"])),
    ] {
        properties.insert(key.into(), json!({"description": description, "type": kind}));
    }
    let mut target = object(properties);
    target["properties"]["incomplete"] = incomplete();
    target
}

fn incomplete() -> Value {
    json!({"description": "a part of the period is not known; absent otherwise", "type": "boolean", "const": true})
}

/// An object with exactly these properties.
fn object(properties: Map<String, Value>) -> Value {
    let required: Vec<_> = properties.keys().cloned().collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn value<F: Default>(figure: &Figure<F>, part: &Part<F>) -> Value {
    let mut schema = match (figure.kind, (part.value)(&F::default())) {
        (Kind::Share(..), _) => json!({"$ref": "#/$defs/ratio"}),
        (Kind::Lags, _) => json!({"$ref": "#/$defs/quantiles"}),
        (Kind::Plain("minor units"), _) => json!({"type": "integer"}),
        (_, FigureValue::Number(_)) => json!({"type": "number", "minimum": 0}),
        (Kind::Plain("percent" | "score 0 to 100"), _) => number(Some(100)),
        (_, FigureValue::Optional(_)) => number(None),
        _ => json!({"$ref": "#/$defs/count"}),
    };
    for label in figure.labels[part.labels.len()..].iter().rev() {
        let of_channel = |channel: &Channel| (channel.name().to_owned(), schema.clone());
        schema = match *label {
            "channel" => {
                let properties: Map<String, Value> = Channel::ALL.iter().map(of_channel).collect();
                json!({"type": "object", "properties": properties, "additionalProperties": false})
            }
            label => json!({"description": format!("by {label}"), "type": "object", "additionalProperties": schema}),
        };
    }
    schema["description"] = figure.help.into();
    schema
}

/// A number that may be absent.
fn number(maximum: Option<u32>) -> Value {
    let mut schema = json!({"type": ["number", "null"], "minimum": 0});
    if let Some(maximum) = maximum {
        schema["maximum"] = maximum.into();
    }
    schema
}

/// Statistics whose numbers are absent exactly if the sample is empty.
fn statistics(description: &str, fields: &[(&str, &str, Value)]) -> Value {
    let numbers = |kind: &str| {
        let numbers = fields.iter().filter(|(.., schema)| schema.get("type").is_some());
        let numbers: Map<String, Value> = numbers.map(|(key, ..)| ((*key).into(), json!({"type": kind}))).collect();
        json!({"properties": numbers})
    };
    let described = |(key, description, schema): &(&str, &str, Value)| {
        let mut schema = schema.clone();
        schema["description"] = (*description).into();
        ((*key).to_owned(), schema)
    };
    let mut schema = object(fields.iter().map(described).collect());
    schema["description"] = description.into();
    schema["if"] = json!({"properties": {"n": {"const": 0}}});
    schema["then"] = numbers("null");
    schema["else"] = numbers("number");
    schema
}

#[test]
fn the_schema_in_docs_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/metric-row.schema.json");
    let text = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("a writable docs folder");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "the schema is stale: UPDATE_DOCS=1 cargo test --test outputs row_schema");
}

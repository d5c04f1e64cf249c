//! Generates `docs/schema/asyncapi.json`: the topics as AsyncAPI 3.0 (<https://www.asyncapi.com/docs/reference/specification/v3.0.0>),
//! from the table of topics and the messages in `proto`.

use super::assert_document;
use funnelwatch::config::{Config, TopicRole};
use funnelwatch::domain::source::Topic;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A message or an enum of a `.proto` file.
#[derive(Default)]
struct Definition {
    is_enum: bool,
    /// The name, the type, whether it is repeated, and whether it is in the oneof.
    fields: Vec<(String, String, bool, bool)>,
    /// The names of an enum, without the unspecified one.
    names: Vec<String>,
}

/// The definitions of a file; comments and reserved numbers are skipped.
fn definitions(text: &str) -> BTreeMap<String, Definition> {
    let (mut all, mut current, mut in_oneof) = (BTreeMap::new(), None::<(String, Definition)>, false);
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        let words: Vec<&str> = line.trim_end_matches([';', '{']).split_whitespace().collect();
        match (words.as_slice(), &mut current) {
            (["message" | "enum", name, ..], None) => {
                let is_enum = words[0] == "enum";
                current = Some(((*name).to_owned(), Definition { is_enum, ..Definition::default() }));
            }
            (["oneof", ..], Some(_)) => in_oneof = true,
            (["}"], Some(_)) if in_oneof => in_oneof = false,
            (["}"], Some(_)) => all.extend(current.take()),
            ([name, "=", ..], Some(_)) if name.ends_with("_UNSPECIFIED") => {}
            ([name, "=", ..], Some((_, definition))) if definition.is_enum => {
                definition.names.push((*name).to_owned());
            }
            (["optional", kind, name, "=", ..], Some((_, definition))) => {
                definition.fields.push(((*name).to_owned(), (*kind).to_owned(), false, in_oneof));
            }
            (["repeated", kind, name, "=", ..], Some((_, definition))) => {
                definition.fields.push(((*name).to_owned(), (*kind).to_owned(), true, in_oneof));
            }
            ([kind, name, "=", ..], Some((_, definition))) => {
                definition.fields.push(((*name).to_owned(), (*kind).to_owned(), false, in_oneof));
            }
            _ => {}
        }
    }
    all
}

fn schema_of(kind: &str) -> Value {
    match kind {
        "string" => json!({"type": "string"}),
        "bool" => json!({"type": "boolean"}),
        "double" | "float" => json!({"type": "number"}),
        "int32" | "int64" | "uint32" | "uint64" => json!({"type": "integer"}),
        "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
        name => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

fn document() -> Value {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/funnelwatch/v1/event.proto");
    let definitions = definitions(&std::fs::read_to_string(proto).expect("the messages"));
    let events = ["CrmEvent", "TelephonyEvent", "MessageEvent"];
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = events.map(str::to_owned).to_vec();
    while let Some(name) = open.pop() {
        if let Some(definition) = definitions.get(&name)
            && used.insert(name)
        {
            open.extend(definition.fields.iter().map(|(_, kind, ..)| kind.clone()));
        }
    }
    let mut schemas = Map::new();
    for (name, definition) in definitions.iter().filter(|(name, _)| used.contains(*name)) {
        let schema = if definition.is_enum {
            json!({"type": "string", "enum": definition.names})
        } else {
            let mut schema = json!({"type": "object", "properties": {}});
            for (field, kind, is_list, _) in &definition.fields {
                let one = schema_of(kind);
                schema["properties"][field] = if *is_list { json!({"type": "array", "items": one}) } else { one };
            }
            if events.contains(&name.as_str()) {
                let cases = definition.fields.iter().filter(|(.., in_oneof)| *in_oneof);
                schema["required"] = json!(["tenant_id", "occurred_at"]);
                schema["oneOf"] = cases.map(|(case, ..)| json!({"required": [case]})).collect();
            }
            schema
        };
        schemas.insert(name.clone(), schema);
    }
    let topics = Config::default().topics;
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    let mut add = |key: &str, role: TopicRole, action: &str, message: &str, payload: Value, help: &str| {
        let message_key = message.to_owned();
        messages.entry(message_key).or_insert_with(|| json!({"contentType": "application/json", "payload": payload}));
        channels.insert(
            key.into(),
            json!({
                "address": topics.name(role),
                "description": help,
                "messages": {message: {"$ref": format!("#/components/messages/{message}")}},
            }),
        );
        let channel = json!({"$ref": format!("#/channels/{key}")});
        operations.insert(format!("{action}_{key}"), json!({"action": action, "channel": channel}));
    };
    for (topic, message) in Topic::ALL.into_iter().zip(events) {
        let payload = json!({"$ref": format!("#/components/schemas/{message}")});
        add(topic.info().key, TopicRole::Source(topic), "receive", message, payload, topic.info().purpose);
    }
    let outputs = [
        ("alerts", TopicRole::Alerts, "Alert", "alert.schema.json", "alert statuses"),
        (
            "open_alerts",
            TopicRole::OpenAlerts,
            "Alert",
            "alert.schema.json",
            "the latest status of each alert that is not over, compacted",
        ),
        ("metrics", TopicRole::Metrics, "MetricRow", "metric-row.schema.json", "latest metric rows, compacted"),
        ("reviews", TopicRole::Reviews, "ReviewRequest", "review-request.schema.json", "review requests"),
    ];
    for (key, role, message, file, help) in outputs {
        add(key, role, "send", message, json!({"$ref": format!("./{file}")}), help);
    }
    let crm = Topic::Crm.info().key;
    operations.insert(format!("send_{crm}"), json!({
        "action": "send",
        "channel": {"$ref": format!("#/channels/{crm}")},
        "summary": "alert_taken and interaction_reviewed of users of the page and the API, as JSON with a content-type header",
    }));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "funnelwatch",
            "version": "v1",
            "description": "The topics in JSON; each can also be protobuf (proto/funnelwatch/v1). Reference: docs/events.md, docs/alerts.md, docs/metrics.md, docs/reviews.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    })
}

#[test]
fn the_document_of_the_topics_is_up_to_date() {
    let document = document();
    assert_document("schema/asyncapi.json", &format!("{document:#}\n"));
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let case = &schemas["CrmEvent"]["properties"]["interaction_reviewed"]["$ref"];
    assert_eq!(case, "#/components/schemas/InteractionReviewed");
    assert_eq!(schemas["EntityKind"]["enum"], json!(["LEAD", "DEAL"]));
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().expect("a reference")) {
        let is_there = match reference.strip_prefix('#') {
            Some(pointer) => document.pointer(pointer).is_some(),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(reference).exists(),
        };
        assert!(is_there, "{reference}");
    }
}

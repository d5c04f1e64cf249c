//! Owns how answers are described: fields with their kinds, as JSON Schema.

use serde_json::{Map, Value, json};

/// A field of a JSON object.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether it is always there.
    pub(super) need: bool,
}

/// The kind of the value of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Texts,
    Time,
    Flag,
    Count,
    Number,
    /// A number in a range, bounds included.
    Range(i64, i64),
    Names(&'static [&'static str]),
    Object(&'static [Field]),
    List(&'static [Field]),
}

pub(super) const fn required(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, need: true }
}

pub(super) const fn optional(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, need: false }
}

/// A list of objects that is always there.
pub(super) const fn list(name: &'static str, fields: &'static [Field]) -> Field {
    required(name, Kind::List(fields))
}

/// The schema of an object; `closed`: it has no other fields.
pub(super) fn object(fields: &[Field], closed: bool) -> Value {
    let properties: Map<_, _> = fields.iter().map(|field| (field.name.to_owned(), kind(field.kind))).collect();
    let needed: Vec<_> = fields.iter().filter(|field| field.need).map(|field| field.name).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !needed.is_empty() {
        schema["required"] = json!(needed);
    }
    if closed {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Count => json!({"type": "integer"}),
        Kind::Number => json!({"type": "number"}),
        Kind::Range(from, to) => json!({"type": "number", "minimum": from, "maximum": to}),
        Kind::Names(names) => json!({"type": "string", "enum": names}),
        Kind::Object(fields) => object(fields, false),
        Kind::List(fields) => json!({"type": "array", "items": object(fields, false)}),
    }
}

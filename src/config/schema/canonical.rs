//! Writes documents in canonical form: the same values give the same text, however they were spelled and ordered.
//!
//! The text is JSON, which is also YAML, so the reader reads it. It contains the defaults that the reader filled in, and no
//! secrets.

use super::key::KeySpec;
use super::units::format_length;
use super::value::{Data, Table, Value};
use serde_json::{Map, Value as Json};

/// The values of these keys of a document.
pub(crate) fn write(table: &Table, keys: &[KeySpec]) -> String {
    let entries = keys.iter().filter_map(|key| Some((key.name.into(), json(table.value(key.name)?)?)));
    Json::Object(entries.collect()).to_string()
}

/// A value; `None` if it is left out.
fn json(value: &Value) -> Option<Json> {
    Some(match &value.data {
        Data::Bad | Data::Text(_, true) => return None,
        // The same as no mapping.
        Data::Map(entries) if entries.is_empty() => return None,
        Data::Flag(flag) => (*flag).into(),
        Data::Count(count) => (*count).into(),
        Data::Number(number) => (*number).into(),
        Data::Length(length) => format_length(*length).into(),
        Data::Text(text, false) => text.as_str().into(),
        Data::List(items) => items.iter().filter_map(json).collect(),
        Data::Map(entries) => object(entries.iter().map(|(name, value)| (name.as_str(), value))),
        Data::Table(table) => object(table.entries.iter().map(|(name, entry)| (*name, &entry.value))),
    })
}

fn object<'v>(entries: impl Iterator<Item = (&'v str, &'v Value)>) -> Json {
    let entries: Map<String, Json> = entries.filter_map(|(name, value)| Some((name.into(), json(value)?))).collect();
    entries.into()
}

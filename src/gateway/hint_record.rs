//! Owns the form of hints in their topic: a JSON object with the time of receipt and the fields of the webhook.

use super::source::Hint;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use serde_json::{Value, json};

/// A hint as it is stored.
pub(super) fn encode(hint: &Hint) -> Vec<u8> {
    let fields: Vec<_> = hint.fields.iter().map(|(name, value)| [name.as_str(), value.as_str()]).collect();
    json!({"received_at": hint.received_at.to_string(), "fields": fields}).to_string().into_bytes()
}

/// Reads a stored hint; `None`: it is none.
pub(super) fn decode(bytes: &[u8]) -> Option<Hint> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let received_at = Timestamp::parse(value.get("received_at")?.as_str()?)?;
    let field = |field: &Value| -> Option<(CompactString, CompactString)> {
        Some((field.get(0)?.as_str()?.into(), field.get(1)?.as_str()?.into()))
    };
    let fields = value.get("fields")?.as_array()?.iter().map(field).collect::<Option<_>>()?;
    Some(Hint { received_at, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_read_as_it_was_stored() {
        let fields = [("event", "ONCRMDEALUPDATE"), ("data[FIELDS][ID]", "17"), ("Имя", "\"a\"\n")];
        let fields = fields.map(|(name, value)| (name.into(), value.into())).into();
        let hint = Hint { received_at: Timestamp(1_767_600_000_123), fields };
        assert_eq!(decode(&encode(&hint)), Some(hint));
        for other in ["", "{}", "[]", r#"{"received_at":"x","fields":[]}"#, r#"{"received_at":1,"fields":[]}"#] {
            assert_eq!(decode(other.as_bytes()), None, "{other}");
        }
        assert_eq!(decode(br#"{"received_at":"2026-01-05T08:00:00Z","fields":[["a"]]}"#), None);
    }
}

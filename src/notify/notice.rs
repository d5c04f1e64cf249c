//! Reads alerts as they are published, in JSON or protobuf.

use crate::codec::protobuf;
use crate::domain::alert::{Alert, Resolution, Severity, Status, Value, Values};
use crate::domain::id::EntityId;
use crate::domain::rule::{Rule, catalog, evidence};
use crate::domain::time::Timestamp;
use serde_json::Value as Json;
use uuid::Uuid;

/// The alert of a record; `None` if it is none that this version knows.
pub fn read(bytes: &[u8]) -> Option<Alert> {
    // No message of protobuf begins with a brace: its field would be 15, of a type that protobuf has given up.
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => read_json(&serde_json::from_slice(bytes).ok()?),
        _ => protobuf::decode_alert(bytes),
    }
}

/// The alert of a JSON object.
pub(super) fn read_json(json: &Json) -> Option<Alert> {
    let text = |key: &str| json.get(key).and_then(Json::as_str);
    let time = |key: &str| text(key).and_then(Timestamp::parse);
    let rule = Rule::named(text("rule")?)?;
    let definition = catalog::definition(rule);
    Some(Alert {
        id: Uuid::parse_str(text("alert_id")?).ok()?,
        tenant: text("tenant_id")?.into(),
        rule,
        severity: Severity::named(text("severity")?)?,
        level: json.get("level").and_then(Json::as_u64).and_then(|level| u32::try_from(level).ok()).unwrap_or_default(),
        status: Status::named(text("status")?)?,
        subject: text("subject")?.into(),
        at: time("at")?,
        anchor_at: time("anchor_at")?,
        due_at: time("due_at"),
        manager: text("manager_id").map(Into::into),
        department: text("department_id").map(Into::into),
        entity: text("entity").and_then(EntityId::parse),
        interaction: text("interaction_id").map(Into::into),
        window: text("window").map(Into::into),
        observed: values(rule, json.get("observed"), definition.observed),
        norm: values(rule, json.get("norm"), definition.norm),
        resolution: text("resolution").and_then(Resolution::named),
        historic: json.get("historic").and_then(Json::as_bool).unwrap_or_default(),
    })
}

/// The values whose keys the rule declares, in its order.
fn values(rule: Rule, json: Option<&Json>, keys: &[&'static str]) -> Values {
    let value = |key: &'static str| {
        let value = match json?.get(key)? {
            Json::Number(number) => evidence::of(rule, key)?.unit.number(number.as_f64()?),
            Json::String(text) => Value::Text(text.as_str().into()),
            _ => return None,
        };
        Some((key, value))
    };
    keys.iter().filter_map(|key| value(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;
    use crate::domain::rule::message::{self, Language};

    fn alert() -> Alert {
        let lag = Value::Number(900.5);
        Alert {
            due_at: Some(Timestamp(900_000)),
            manager: Some("vera".into()),
            department: Some("north".into()),
            entity: Some(EntityId::lead("17")),
            interaction: Some("c1".into()),
            observed: vec![("lag_seconds", lag)],
            norm: vec![
                ("within_seconds", Value::Number(900.5)),
                ("clock", Value::Text("business".into())),
                ("response", Value::Text("attempt".into())),
            ],
            resolution: Some(Resolution::Responded),
            status: Status::Resolved,
            level: 2,
            historic: true,
            ..Alert::sample("acme", Rule::FirstResponseLate, "lead:17", Timestamp(0))
        }
    }

    #[test]
    fn alerts_are_read_as_they_were_published() {
        for encode in [json::encode_alert, protobuf::encode_alert] {
            let mut bytes = Vec::new();
            encode(&alert(), "a message", &mut bytes);
            let read = read(&bytes).expect("an alert");
            assert_eq!(read, alert());
            let say = |alert: &Alert| message::of(alert, Language::Ru);
            assert_eq!(say(&read), say(&alert()));
        }
    }

    #[test]
    fn other_records_are_no_alerts() {
        for bytes in [&b""[..], b"{}", b"[1]", b"{\"alert_id\":1}", b"\xff\xfe", b"text", &[0; 40]] {
            assert_eq!(read(bytes), None);
        }
    }
}

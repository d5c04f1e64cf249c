//! Writes alerts and review requests as protobuf.

use super::write::{text, time, write};
use crate::codec::names::Name;
use crate::codec::proto;
use crate::domain::alert::{Alert, Resolution, Severity, Status, Value, Values};
use crate::domain::id::EntityId;
use crate::domain::review::{Medium, ReviewRequest};
use crate::domain::rule::{Rule, catalog, evidence};
use crate::domain::time::Timestamp;
use prost::Message as _;
use proto::well_known;
use uuid::Uuid;

/// Writes an alert with its human-readable message.
pub fn encode_alert(alert: &Alert, message: &str, out: &mut Vec<u8>) {
    let message = proto::Alert {
        alert_id: alert.id.to_string(),
        tenant_id: alert.tenant.to_string(),
        rule: alert.rule.name().into(),
        severity: alert.severity.name().into(),
        level: alert.level,
        status: alert.status.number(),
        subject: alert.subject.to_string(),
        at: Some(time(alert.at)),
        anchor_at: Some(time(alert.anchor_at)),
        due_at: alert.due_at.map(time),
        manager_id: text(&alert.manager),
        department_id: text(&alert.department),
        entity: text(&alert.entity),
        interaction_id: text(&alert.interaction),
        window: text(&alert.window),
        observed: Some(values(&alert.observed)),
        norm: Some(values(&alert.norm)),
        resolution: text(&alert.resolution.map(|resolution| resolution.name())),
        message: message.into(),
        historic: alert.historic,
    };
    write(&message, out);
}

fn values(values: &Values) -> well_known::Struct {
    let fields = values.iter().map(|(key, value)| {
        let kind = match value {
            Value::Count(count) => well_known::value::Kind::NumberValue(*count as f64),
            Value::Number(number) => well_known::value::Kind::NumberValue(*number),
            Value::Text(text) => well_known::value::Kind::StringValue(text.to_string()),
        };
        (key.to_string(), well_known::Value { kind: Some(kind) })
    });
    well_known::Struct { fields: fields.collect() }
}

/// Reads an alert; `None` for other bytes, and for names that this version does not know. Of the values only those remain whose
/// keys the rule declares.
pub fn decode_alert(bytes: &[u8]) -> Option<Alert> {
    let read = proto::Alert::decode(bytes).ok()?;
    let rule = Rule::named(&read.rule)?;
    let definition = catalog::definition(rule);
    let time = |at: well_known::Timestamp| {
        Timestamp(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos) / 1_000_000))
    };
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let entity = text(read.entity).and_then(|entity| EntityId::parse(&entity));
    Some(Alert {
        id: Uuid::parse_str(&read.alert_id).ok()?,
        tenant: read.tenant_id.into(),
        rule,
        severity: Severity::named(&read.severity)?,
        level: read.level,
        status: Status::ALL.into_iter().find(|status| status.number() == read.status)?,
        subject: read.subject.into(),
        at: time(read.at?),
        anchor_at: time(read.anchor_at?),
        due_at: read.due_at.map(time),
        manager: text(read.manager_id).map(Into::into),
        department: text(read.department_id).map(Into::into),
        entity,
        interaction: text(read.interaction_id).map(Into::into),
        window: text(read.window).map(Into::into),
        observed: read_values(rule, read.observed, definition.observed),
        norm: read_values(rule, read.norm, definition.norm),
        resolution: Resolution::named(&read.resolution),
        historic: read.historic,
    })
}

fn read_values(rule: Rule, read: Option<well_known::Struct>, keys: &[&'static str]) -> Values {
    let mut fields = read.map(|read| read.fields).unwrap_or_default();
    let mut value = |key: &'static str| {
        let value = match fields.remove(key)?.kind? {
            well_known::value::Kind::NumberValue(number) => evidence::of(rule, key)?.unit.number(number),
            well_known::value::Kind::StringValue(text) => Value::Text(text.into()),
            _ => return None,
        };
        Some((key, value))
    };
    keys.iter().filter_map(|key| value(key)).collect()
}

/// Writes a review request.
pub fn encode_review(request: &ReviewRequest, out: &mut Vec<u8>) {
    let envelope = proto::ReviewRequest {
        tenant_id: request.tenant.to_string(),
        interaction_id: request.interaction.to_string(),
        kind: request.medium.name().into(),
        at: Some(time(request.at)),
        day: request.day.to_string(),
        requested_at: Some(time(request.requested_at)),
        manager_id: request.manager.to_string(),
        department_id: request.department.to_string(),
        ..Default::default()
    };
    let mut message = match &request.medium {
        Medium::Call { direction, talk, recording_url } => proto::ReviewRequest {
            direction: direction.number(),
            talk_seconds: Some(talk.seconds()),
            recording_url: text(recording_url),
            ..envelope
        },
        Medium::Message { channel } => proto::ReviewRequest { channel: channel.number(), ..envelope },
    };
    if let Some(about) = &request.about {
        message.entity = about.entity.to_string();
        message.outcome = about.ending.name().into();
        message.pipeline_id = text(&about.pipeline);
        message.stage_id = text(&about.stage);
    }
    write(&message, out);
}

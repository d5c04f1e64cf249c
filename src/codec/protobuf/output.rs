//! Writes alerts and review requests as protobuf.

use super::write::{text, time, write};
use crate::codec::names::Name;
use crate::codec::proto;
use crate::domain::alert::{Alert, Value, Values};
use crate::domain::review::{Medium, ReviewRequest};
use proto::well_known;

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

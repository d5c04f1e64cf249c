//! Writes alerts, alert changes between norms and review requests as JSON. Owns the keys, their order, and which absent
//! values are omitted.

use super::write::{Object, object};
use crate::codec::names::Name;
use crate::domain::alert::{Alert, Value, Values};
use crate::domain::review::{Medium, ReviewRequest};

/// Writes an alert as one JSON object with its human-readable message.
pub fn encode_alert(alert: &Alert, message: &str, out: &mut Vec<u8>) {
    object(out, |object| {
        object.plain("alert_id", alert.id);
        object.text("tenant_id", alert.tenant.as_str());
        object.text("rule", alert.rule.name());
        object.text("severity", alert.severity.name());
        object.bare("level", alert.level);
        object.text("status", alert.status.name());
        object.text("subject", &alert.subject);
        object.plain("at", alert.at);
        object.plain("anchor_at", alert.anchor_at);
        object.maybe_time("due_at", alert.due_at);
        object.maybe("manager_id", alert.manager.as_ref().map(|id| id.as_str()));
        object.maybe("department_id", alert.department.as_ref().map(|id| id.as_str()));
        if let Some(entity) = &alert.entity {
            object.text("entity", &entity.to_string());
        }
        object.maybe("interaction_id", alert.interaction.as_deref());
        if let Some(window) = alert.window {
            object.text("window", &window.name());
        }
        object.object("observed", |object| values(object, &alert.observed));
        object.object("norm", |object| values(object, &alert.norm));
        object.maybe("resolution", alert.resolution.map(|resolution| resolution.name()));
        object.text("message", message);
    });
}

/// Writes how one violation differs between two sets of norms: its alert under the `old` and under the `new` norms. If
/// both exist, the identifying fields (manager, anchor) are taken from the new one.
pub fn encode_change(change: &str, old: Option<&Alert>, new: Option<&Alert>, out: &mut Vec<u8>) {
    let Some(alert) = new.or(old) else { return };
    object(out, |object| {
        object.text("change", change);
        object.text("tenant_id", alert.tenant.as_str());
        object.text("rule", alert.rule.name());
        object.text("subject", &alert.subject);
        object.plain("anchor_at", alert.anchor_at);
        object.maybe("manager_id", alert.manager.as_ref().map(|id| id.as_str()));
        object.maybe("department_id", alert.department.as_ref().map(|id| id.as_str()));
        if let Some(entity) = &alert.entity {
            object.text("entity", &entity.to_string());
        }
        object.maybe("interaction_id", alert.interaction.as_deref());
        if let Some(window) = alert.window {
            object.text("window", &window.name());
        }
        for (key, version) in [("old", old), ("new", new)] {
            if let Some(version) = version {
                object.object(key, |object| alert_course(object, version));
            }
        }
    });
}

/// Writes the course of an alert: its start, its manager at that time, and its final status.
fn alert_course(object: &mut Object<'_>, alert: &Alert) {
    object.plain("alert_id", alert.id);
    object.plain("anchor_at", alert.anchor_at);
    object.maybe_time("due_at", alert.due_at);
    object.plain("began_at", alert.at);
    object.maybe("manager_id", alert.manager.as_ref().map(|id| id.as_str()));
    object.text("severity", alert.severity.name());
    object.bare("level", alert.level);
    object.text("status", alert.status.name());
    object.maybe("resolution", alert.resolution.map(|resolution| resolution.name()));
    object.object("observed", |object| values(object, &alert.observed));
    object.object("norm", |object| values(object, &alert.norm));
}

pub(super) fn values(object: &mut Object<'_>, values: &Values) {
    for (key, value) in values {
        match value {
            Value::Count(count) => object.bare(key, count),
            Value::Number(number) => object.number(key, *number),
            Value::Text(text) => object.text(key, text),
        }
    }
}

/// Writes a review request as one JSON object.
pub fn encode_review(request: &ReviewRequest, out: &mut Vec<u8>) {
    object(out, |object| {
        object.text("tenant_id", request.tenant.as_str());
        object.text("interaction_id", &request.interaction);
        object.text("kind", request.medium.name());
        match &request.medium {
            Medium::Call { direction, talk, recording_url } => {
                object.text("direction", direction.wire_name());
                object.number("talk_seconds", talk.seconds());
                object.maybe("recording_url", recording_url.as_deref());
            }
            Medium::Message { channel } => object.text("channel", channel.wire_name()),
        }
        object.plain("at", request.at);
        object.plain("day", request.day);
        object.plain("requested_at", request.requested_at);
        object.text("manager_id", request.manager.as_str());
        object.text("department_id", request.department.as_str());
        if let Some(about) = &request.about {
            object.text("entity", &about.entity.to_string());
            object.text("outcome", about.ending.name());
            object.maybe("pipeline_id", about.pipeline.as_ref().map(|id| id.as_str()));
            object.maybe("stage_id", about.stage.as_ref().map(|id| id.as_str()));
        }
    });
}

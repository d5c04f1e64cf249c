//! Writes alerts, alert changes between norms and review requests as JSON. Owns the keys, their order, and which absent
//! values are omitted.

use super::write::{Object, object};
use crate::domain::alert::{Alert, AlertTaken, Value, Values};
use crate::domain::id::EntityId;
use crate::domain::review::{Medium, ReviewRequest};

/// Writes an alert as one JSON object with its human-readable message.
pub fn encode_alert(alert: &Alert, message: &str, out: &mut Vec<u8>) {
    object(out, |object| alert_fields(object, alert, message));
}

/// Writes an open alert likewise, with who takes care of it.
pub fn encode_open_alert(alert: &Alert, taken: Option<&AlertTaken>, message: &str, out: &mut Vec<u8>) {
    object(out, |object| {
        alert_fields(object, alert, message);
        if let Some(taken) = taken {
            object.field("taken_by", &taken.manager);
            object.field("taken_at", &taken.at);
        }
    });
}

fn alert_fields(object: &mut Object<'_>, alert: &Alert, message: &str) {
    object.field("alert_id", &alert.id);
    object.field("tenant_id", &alert.tenant);
    object.field("rule", alert.rule.name());
    object.field("severity", alert.severity.name());
    object.field("level", &alert.level);
    object.field("status", alert.status.name());
    object.field("subject", &alert.subject);
    object.field("at", &alert.at);
    object.field("anchor_at", &alert.anchor_at);
    object.field("due_at", &alert.due_at);
    concerned(object, alert);
    object.object("observed", |object| values(object, &alert.observed));
    object.object("norm", |object| values(object, &alert.norm));
    object.field("resolution", &alert.resolution.map(|resolution| resolution.name()));
    object.field("message", message);
    object.field("historic", &alert.historic.then_some(true));
}

/// Writes whom or what an alert is about.
fn concerned(object: &mut Object<'_>, alert: &Alert) {
    object.field("manager_id", &alert.manager);
    object.field("department_id", &alert.department);
    object.field("entity", &alert.entity.as_ref().map(EntityId::to_string));
    object.field("interaction_id", &alert.interaction);
    object.field("window", &alert.window);
}

/// Writes how one violation differs between two sets of norms: its alert under the `old` and under the `new` norms. If
/// both exist, the identifying fields (manager, anchor) are taken from the new one.
pub fn encode_change(change: &str, old: Option<&Alert>, new: Option<&Alert>, out: &mut Vec<u8>) {
    let Some(alert) = new.or(old) else { return };
    object(out, |object| {
        object.field("change", change);
        object.field("tenant_id", &alert.tenant);
        object.field("rule", alert.rule.name());
        object.field("subject", &alert.subject);
        object.field("anchor_at", &alert.anchor_at);
        concerned(object, alert);
        for (key, version) in [("old", old), ("new", new)] {
            if let Some(version) = version {
                object.object(key, |object| alert_course(object, version));
            }
        }
    });
}

/// Writes the course of an alert: its start, its manager at that time, and its final status.
fn alert_course(object: &mut Object<'_>, alert: &Alert) {
    object.field("alert_id", &alert.id);
    object.field("anchor_at", &alert.anchor_at);
    object.field("due_at", &alert.due_at);
    object.field("began_at", &alert.at);
    object.field("manager_id", &alert.manager);
    object.field("severity", alert.severity.name());
    object.field("level", &alert.level);
    object.field("status", alert.status.name());
    object.field("resolution", &alert.resolution.map(|resolution| resolution.name()));
    object.object("observed", |object| values(object, &alert.observed));
    object.object("norm", |object| values(object, &alert.norm));
}

pub(super) fn values(object: &mut Object<'_>, values: &Values) {
    for (key, value) in values {
        match value {
            Value::Count(count) => object.field(key, count),
            Value::Number(number) => object.field(key, number),
            Value::Text(text) => object.field(key, text),
        }
    }
}

/// Writes a review request as one JSON object.
pub fn encode_review(request: &ReviewRequest, out: &mut Vec<u8>) {
    object(out, |object| {
        object.field("tenant_id", &request.tenant);
        object.field("interaction_id", &request.interaction);
        object.field("kind", request.medium.name());
        match &request.medium {
            Medium::Call { direction, talk, recording_url } => {
                object.field("direction", direction);
                object.field("talk_seconds", talk);
                object.field("recording_url", recording_url);
            }
            Medium::Message { channel } => object.field("channel", channel),
        }
        object.field("at", &request.at);
        object.plain("day", request.day);
        object.field("requested_at", &request.requested_at);
        object.field("manager_id", &request.manager);
        object.field("department_id", &request.department);
        if let Some(about) = &request.about {
            object.field("entity", &about.entity.to_string());
            object.field("outcome", about.ending.name());
            object.field("pipeline_id", &about.pipeline);
            object.field("stage_id", &about.stage);
        }
    });
}

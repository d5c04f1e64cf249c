//! Owns the form of events: the envelope, and the digests in their ids.

use super::settings::Settings;
use super::webhook::Webhook;
use crate::codec::Reject;
use crate::codec::ascii::hex;
use crate::domain::id::{EntityKind, TenantId};
use crate::domain::source::Topic;
use crate::domain::time::Timestamp;
use crate::gateway::source::Outgoing;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Makes events, and keeps them until they are taken.
#[derive(Debug)]
pub(super) struct Events {
    tenant: TenantId,
    source: String,
    webhook: Webhook,
    made: Vec<Outgoing>,
}

impl Events {
    pub(super) fn new(settings: &Settings) -> Self {
        let (tenant, source, webhook) = (settings.tenant.clone(), settings.source(), settings.webhook.clone());
        Self { tenant, source, webhook, made: Vec::new() }
    }

    /// Adds an event. Absent values of its payload are left out.
    pub(super) fn push(&mut self, topic: Topic, id: String, at: Timestamp, name: &str, payload: Value) {
        let mut event = Map::new();
        event.insert("event_id".into(), id.into());
        event.insert("tenant_id".into(), self.tenant.as_str().into());
        event.insert("occurred_at".into(), at.to_string().into());
        event.insert("source".into(), self.source.as_str().into());
        event.insert(name.into(), present(payload));
        let mut text = Value::Object(event).to_string();
        // Links of a portal can contain the code of the webhook that asked for them.
        if self.webhook.is_in(&text) {
            text = self.webhook.censored(&text);
        }
        match Outgoing::new(topic, text.into_bytes()) {
            Ok(event) => self.made.push(event),
            Err(reject) => self.rejected(name, &reject),
        }
    }

    fn rejected(&self, name: &str, reject: &Reject) {
        tracing::warn!(source = self.source, event = name, %reject, "a row of the portal makes no valid event");
    }

    pub(super) fn crm(&mut self, id: String, at: Timestamp, name: &str, payload: Value) {
        self.push(Topic::Crm, id, at, name, payload);
    }

    /// How many were made.
    pub(super) fn len(&self) -> usize {
        self.made.len()
    }

    /// Takes at most `most` of them, the oldest first.
    pub(super) fn take(&mut self, most: usize) -> Vec<Outgoing> {
        let rest = self.made.split_off(most.min(self.made.len()));
        std::mem::replace(&mut self.made, rest)
    }
}

/// The value without fields that are null.
fn present(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into(),
        other => other,
    }
}

/// A lead or deal in an event.
pub(super) fn entity(kind: EntityKind, id: u64) -> Value {
    let kind = match kind {
        EntityKind::Lead => "LEAD",
        EntityKind::Deal => "DEAL",
    };
    json!({"kind": kind, "id": id.to_string()})
}

/// 64 bits of the SHA-256 of a value, in hexadecimal.
pub(super) fn digest(value: &Value) -> String {
    digest_of(&value.to_string())
}

/// 64 bits of the SHA-256 of a text, in hexadecimal.
pub(super) fn digest_of(text: &str) -> String {
    hex(&Sha256::digest(text)[..8])
}

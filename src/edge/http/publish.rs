//! Owns what users write: events for the CRM topic, as JSON.

use crate::domain::id::TenantId;
use crate::domain::time::Timestamp;
use serde_json::{Map, Value, json};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Whether an event is stored, as soon as that is known.
pub type Published = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Writes an event of a tenant, given as JSON.
pub type Publish = Arc<dyn Fn(&TenantId, Vec<u8>) -> Published + Send + Sync>;

/// The name of the source in the envelope.
const SOURCE: &str = "funnelwatch";

/// An event with a payload under its key, and its id. Two events of one instant have different ids.
pub(super) fn event(tenant: &TenantId, at: Timestamp, key: &str, payload: Value) -> (String, Vec<u8>) {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{tenant} {at} {key} {payload} {number}");
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, seed.as_bytes()).to_string();
    let mut event = Map::new();
    event.insert("event_id".into(), json!(id));
    event.insert("tenant_id".into(), json!(tenant.as_str()));
    event.insert("occurred_at".into(), json!(at.to_string()));
    event.insert("source".into(), json!(SOURCE));
    event.insert(key.into(), payload);
    (id, Value::Object(event).to_string().into_bytes())
}

//! Events of our own format over HTTP: one JSON object, or one a line. Each is checked on its own, and the answer lists what
//! was refused and why.

use crate::codec::{EventLimits, Reject, json};
use crate::domain::event::progress::Incoming;
use crate::domain::id::TenantId;
use crate::gateway::source::Outgoing;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// The most refused events that an answer lists; the others are only counted.
const LISTED: usize = 100;

/// The events of a body, and what is refused of it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Outgoing>,
    refused: Vec<Value>,
    pub(super) refused_count: usize,
}

/// Why an event is refused.
struct Refusal {
    reason: &'static str,
    detail: String,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self { reason: reject.reason.name(), detail: reject.detail.to_string() }
    }
}

/// Reads a body. Every event must be of this tenant.
pub(super) fn read(body: &[u8], tenant: &TenantId, limits: &EventLimits, max_bytes: usize) -> Batch {
    let mut batch = Batch::default();
    // One object may have several lines.
    if serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        batch.add(1, body.trim_ascii(), tenant, limits, max_bytes);
        return batch;
    }
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if !line.is_empty() {
            batch.add(index + 1, line, tenant, limits, max_bytes);
        }
    }
    batch
}

impl Batch {
    fn add(&mut self, line: usize, text: &[u8], tenant: &TenantId, limits: &EventLimits, max_bytes: usize) {
        match event(text, tenant, limits, max_bytes) {
            Ok(event) => self.events.push(event),
            Err(Refusal { reason, detail }) => {
                self.refused_count += 1;
                if self.refused.len() < LISTED {
                    self.refused.push(json!({"line": line, "reason": reason, "detail": detail}));
                }
            }
        }
    }

    /// The body of the answer, if this many events are stored.
    pub(super) fn answer(&self, stored: usize) -> String {
        let refused = self.refused_count;
        json!({"accepted": stored, "refused": refused, "problems": self.refused}).to_string() + "\n"
    }
}

fn event(text: &[u8], tenant: &TenantId, limits: &EventLimits, max_bytes: usize) -> Result<Outgoing, Refusal> {
    if text.len() > max_bytes {
        return Err(Reject::oversized().into());
    }
    let (mut incoming, mut repairs) = json::decode_with_repairs(None, text)?;
    limits.apply(&mut incoming, &mut repairs)?;
    if incoming.tenant() != tenant {
        // The name of another tenant is not repeated.
        return Err(Refusal { reason: "other_tenant", detail: "tenant_id: not that of this source".into() });
    }
    match incoming {
        Incoming::Event(event) => Ok(Outgoing::new(event.payload.topic(), text.to_vec())?),
        Incoming::Progress(_) => Err(Refusal {
            reason: "no_payload",
            detail: "a progress mark; send it to Kafka, to the topic it is about".into(),
        }),
    }
}

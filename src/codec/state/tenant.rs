//! The record of a tenant: its state that cannot be derived from its stored events.

use super::flaw::StateFlaw;
use super::keys;
use super::records::Records;
use crate::codec::proto::{self, tenant_state};
use crate::domain::id::TenantId;
use crate::domain::source::{PerTopic, Topic};
use crate::domain::time::Timestamp;
use prost::encoding::message;
use uuid::Uuid;

/// The state of a tenant that cannot be derived from its stored events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRecord {
    /// The time of the first event.
    pub first_event: Option<Timestamp>,
    /// The time of the first plan.
    pub first_plan: Option<Timestamp>,
    /// The time of the last event of each topic among the events that are no longer stored.
    pub last_event: PerTopic<Timestamp>,
    /// The norms that were in force, each with its start time and the id of its record.
    pub norm_versions: Vec<(Timestamp, String)>,
    /// Retracted alerts, in order.
    pub retracted: Vec<Uuid>,
}

impl Records {
    /// Adds the state of a tenant.
    pub fn tenant(&mut self, tenant: &TenantId, state: &TenantRecord) {
        let last_event = state.last_event.iter().filter(|(_, at)| **at > Timestamp::MIN);
        let message = proto::TenantState {
            tenant_id: tenant.to_string(),
            first_event_ms: state.first_event.map(|at| at.0),
            first_plan_ms: state.first_plan.map(|at| at.0),
            last_event: last_event
                .map(|(topic, at)| tenant_state::LastEvent { topic: topic.info().id.into(), at_ms: at.0 })
                .collect(),
            norm_versions: state
                .norm_versions
                .iter()
                .map(|(since, norms)| tenant_state::NormVersion { since_ms: since.0, norms: norms.clone() })
                .collect(),
            retracted: state.retracted.iter().flat_map(|alert| *alert.as_bytes()).collect(),
        };
        self.put(|key| keys::tenant(tenant, key), |out| message::encode(5, &message, out));
    }

    /// Adds the tombstone of the state of a tenant.
    pub fn remove_tenant(&mut self, tenant: &TenantId) {
        self.remove(|key| keys::tenant(tenant, key));
    }
}

/// Decodes the state of a tenant.
pub(super) fn read(tenant: proto::TenantState) -> Result<(TenantId, TenantRecord), StateFlaw> {
    let mut last_event = PerTopic::from_fn(|_| Timestamp::MIN);
    for last in tenant.last_event {
        let topic = Topic::from_id(last.topic).ok_or(StateFlaw::Unknown("a topic"))?;
        last_event[topic] = Timestamp(last.at_ms);
    }
    let norm_versions = tenant.norm_versions.into_iter();
    let (ids, rest) = tenant.retracted.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(StateFlaw::Unknown("an alert id"));
    }
    let state = TenantRecord {
        first_event: tenant.first_event_ms.map(Timestamp),
        first_plan: tenant.first_plan_ms.map(Timestamp),
        last_event,
        norm_versions: norm_versions.map(|version| (Timestamp(version.since_ms), version.norms)).collect(),
        retracted: ids.iter().copied().map(Uuid::from_bytes).collect(),
    };
    Ok((tenant.tenant_id.into(), state))
}

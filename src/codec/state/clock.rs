//! The record of the time of a tenant.

use super::flaw::StateFlaw;
use super::keys;
use super::records::Records;
use crate::codec::proto::{self, tenant_clock};
use crate::domain::id::TenantId;
use crate::domain::shard::tenant_clock::{Mark, Seen, TenantClock};
use crate::domain::source::Topic;
use crate::domain::time::Timestamp;
use prost::encoding::message;

impl Records {
    /// Adds the time of a tenant.
    pub fn clock(&mut self, tenant: &TenantId, clock: &TenantClock) {
        let dated = |at: Timestamp| Some(at.0).filter(|at| *at > i64::MIN);
        let seen = clock.seen.iter().filter(|(_, seen)| seen.at > Timestamp::MIN);
        let mark = |mark: &Mark| tenant_clock::Mark {
            topic: mark.topic.info().id.into(),
            source: mark.source.to_string(),
            up_to_ms: mark.up_to.0,
            backfill: mark.backfill,
            arrived_ms: mark.arrived.0,
        };
        let message = proto::TenantClock {
            tenant_id: tenant.to_string(),
            watermark_ms: dated(clock.watermark),
            seen: seen
                .map(|(topic, seen)| tenant_clock::Seen {
                    topic: topic.info().id.into(),
                    at_ms: seen.at.0,
                    arrived_ms: seen.arrived.0,
                })
                .collect(),
            marks: clock.marks.iter().map(mark).collect(),
            backfilled_until_ms: dated(clock.backfilled_until),
        };
        self.put(|key| keys::clock(tenant, key), |out| message::encode(9, &message, out));
    }

    /// Adds the tombstone of the time of a tenant.
    pub fn remove_clock(&mut self, tenant: &TenantId) {
        self.remove(|key| keys::clock(tenant, key));
    }
}

/// Decodes the time of a tenant.
pub(super) fn read(stored: proto::TenantClock) -> Result<(TenantId, TenantClock), StateFlaw> {
    let topic_of = |id| Topic::from_id(id).ok_or(StateFlaw::Unknown("a topic"));
    let dated = |at: Option<i64>| at.map_or(Timestamp::MIN, Timestamp);
    let mut clock = TenantClock {
        watermark: dated(stored.watermark_ms),
        backfilled_until: dated(stored.backfilled_until_ms),
        ..TenantClock::default()
    };
    for seen in stored.seen {
        clock.seen[topic_of(seen.topic)?] = Seen { at: Timestamp(seen.at_ms), arrived: Timestamp(seen.arrived_ms) };
    }
    for mark in stored.marks {
        clock.marks.push(Mark {
            topic: topic_of(mark.topic)?,
            source: mark.source.into(),
            up_to: Timestamp(mark.up_to_ms),
            backfill: mark.backfill,
            arrived: Timestamp(mark.arrived_ms),
        });
    }
    clock.marks.sort_by(|a, b| (a.topic, &a.source).cmp(&(b.topic, &b.source)));
    Ok((stored.tenant_id.into(), clock))
}

//! Owns what every format requires of an event beyond its syntax: what must be there, and which ranges hold.

use super::reject::{Flaw, Read};
use crate::domain::event::{Channel, Contact, Event, Payload};
use crate::domain::id::{EntityId, EntityKind, EventId, TenantId};
use crate::domain::reject::Reason;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;

/// The longest time talked, about 31,000 years: sums of it cannot overflow.
const MAX_SECONDS: f64 = 1e12;

/// The envelope as it was read.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) id: Option<CompactString>,
    pub(super) tenant: Option<CompactString>,
    pub(super) at: Option<Timestamp>,
}

impl Envelope {
    /// The event, if nothing is missing.
    pub(super) fn around(self, payload: Option<Payload>) -> Read<Event> {
        let tenant = self.tenant.ok_or_else(|| Flaw::new(Reason::NoTenant, "missing").within("tenant_id"))?;
        let at = self.at.ok_or_else(|| Flaw::new(Reason::NoTime, "missing").within("occurred_at"))?;
        let payload = payload.ok_or_else(|| Flaw::new(Reason::NoPayload, "no payload that is known here"))?;
        Ok(Event { tenant: TenantId(tenant), at, id: self.id.map(EventId), payload })
    }
}

/// The value, which must be there.
pub(super) fn required<T>(value: Option<T>, field: &str) -> Read<T> {
    value.ok_or_else(|| Flaw::missing(field))
}

/// An entity: whole, or not there at all.
pub(super) fn entity(kind: Option<EntityKind>, id: Option<CompactString>) -> Read<Option<EntityId>> {
    match (kind, id) {
        (None, None) => Ok(None),
        (kind, id) => Ok(Some(EntityId { kind: required(kind, "kind")?, id: required(id, "id")? })),
    }
}

/// A percentage or a score.
pub(super) fn percent(value: Option<f64>, field: &str) -> Read<Option<f64>> {
    match value {
        Some(value) if !(0.0..=100.0).contains(&value) => Err(Flaw::bad_value("not between 0 and 100").within(field)),
        value => Ok(value),
    }
}

/// The length of an instalment plan.
pub(super) fn months(value: Option<i64>) -> Read<Option<i64>> {
    match value {
        Some(value) if !(0..=i64::from(i32::MAX)).contains(&value) => {
            Err(Flaw::bad_value("negative or too large").within("installment_months"))
        }
        value => Ok(value),
    }
}

/// Time talked; none given is none.
pub(super) fn talk(seconds: Option<f64>) -> Read<Span> {
    let seconds = seconds.unwrap_or(0.0);
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        Ok(Span::from_seconds(seconds))
    } else {
        Err(Flaw::bad_value("negative or too large").within("talk_seconds"))
    }
}

/// The entity that a snapshot shows, and the lead that a deal grew from.
pub(super) fn snapshot_of(
    kind: EntityKind,
    lead: Option<CompactString>,
    deal: Option<CompactString>,
) -> Read<(EntityId, Option<CompactString>)> {
    Ok(match kind {
        EntityKind::Lead => (EntityId { kind, id: required(lead, "lead_id")? }, None),
        EntityKind::Deal => (EntityId { kind, id: required(deal, "deal_id")? }, lead),
    })
}

/// A contact: one address of the three, a handle with its channel; without any there is none.
pub(super) fn contact(
    phone: Option<CompactString>,
    email: Option<CompactString>,
    handle: Option<CompactString>,
    channel: Option<Channel>,
) -> Read<Option<Contact>> {
    match (phone, email, handle) {
        (None, None, None) => Ok(None),
        (Some(phone), None, None) => Ok(Some(Contact::Phone(phone))),
        (None, Some(email), None) => Ok(Some(Contact::Email(email))),
        (None, None, Some(handle)) => Ok(Some(Contact::Handle { handle, channel: required(channel, "channel")? })),
        _ => Err(Flaw::bad_value("more than one of phone, email and handle")),
    }
}

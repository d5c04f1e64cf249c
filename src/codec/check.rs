//! Owns the checks that every format applies to an event beyond its syntax: required fields and value ranges.

use super::reject::{Flaw, Read};
use crate::domain::event::reject::Reason;
use crate::domain::event::{Channel, Contact, Event, Payload};
use crate::domain::id::{EntityId, EntityKind, EventId, TenantId};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use std::ops::RangeInclusive;

/// The longest talk time, about 31,000 years. Sums of talk times cannot overflow.
const MAX_SECONDS: f64 = 1e12;

/// The envelope of an event as read.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) id: Option<CompactString>,
    pub(super) tenant: Option<CompactString>,
    pub(super) at: Option<Timestamp>,
}

impl Envelope {
    /// Combines the envelope and the payload, if nothing is missing.
    pub(super) fn with_payload(self, payload: Option<Payload>) -> Read<Event> {
        let tenant = self.tenant.ok_or_else(|| Flaw::new(Reason::NoTenant, "missing").within("tenant_id"))?;
        let at = self.at.ok_or_else(|| Flaw::new(Reason::NoTime, "missing").within("occurred_at"))?;
        let payload = payload.ok_or_else(|| Flaw::new(Reason::NoPayload, "no known payload"))?;
        Ok(Event { tenant: TenantId(tenant), at, id: self.id.map(EventId), payload })
    }
}

/// The value of a required field.
pub(super) fn required<T>(value: Option<T>, field: &str) -> Read<T> {
    value.ok_or_else(|| Flaw::missing(field))
}

/// The value of an optional field.
pub(super) fn optional<T>(value: Option<T>, _: &str) -> Read<Option<T>> {
    Ok(value)
}

/// The value of a field that has a default.
pub(super) fn or_default<T: Default>(value: Option<T>, _: &str) -> Read<T> {
    Ok(value.unwrap_or_default())
}

/// An entity: both kind and id, or neither.
pub(super) fn entity(kind: Option<EntityKind>, id: Option<CompactString>) -> Read<Option<EntityId>> {
    match (kind, id) {
        (None, None) => Ok(None),
        (kind, id) => Ok(Some(EntityId { kind: required(kind, "kind")?, id: required(id, "id")? })),
    }
}

pub(super) fn percent(value: Option<f64>, field: &str) -> Read<Option<f64>> {
    in_range(value, 0.0..=100.0, "out of range: expected 0 to 100", field)
}

fn in_range<T: PartialOrd>(
    value: Option<T>,
    range: RangeInclusive<T>,
    problem: &'static str,
    field: &str,
) -> Read<Option<T>> {
    match value {
        Some(value) if !range.contains(&value) => Err(Flaw::bad_value(problem).within(field)),
        value => Ok(value),
    }
}

/// A score in percent; absent means zero.
pub(super) fn score(value: Option<f64>, field: &str) -> Read<f64> {
    Ok(percent(value, field)?.unwrap_or_default())
}

pub(super) fn months(value: Option<i64>, field: &str) -> Read<Option<i64>> {
    in_range(value, 0..=i64::from(i32::MAX), "out of range: expected 0 to 2147483647", field)
}

/// Talk time; absent means zero.
pub(super) fn talk(seconds: Option<f64>, field: &str) -> Read<Span> {
    let seconds = in_range(seconds, 0.0..=MAX_SECONDS, "out of range: expected 0 to 1e12", field)?;
    Ok(Span::from_seconds(seconds.unwrap_or_default()))
}

/// A contact: one of the three addresses, a handle together with its channel; no address means no contact.
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
        _ => Err(Flaw::bad_value("expected at most one of phone, email, handle")),
    }
}

//! Owns the checks that every format applies to an event beyond its syntax: required fields and value ranges, the form of
//! ids and currencies, and the repair of dates and call times.

use super::reject::{Flaw, Read};
use crate::domain::event::progress::Progress;
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::{Repair, Repairs};
use crate::domain::event::{CallEnd, Channel, Contact, CrmPayload, Event, Payload};
use crate::domain::id::{EntityId, EntityKind, EventId, TenantId};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use std::ops::RangeInclusive;

/// The longest talk time, about 31,000 years. Sums of talk times cannot overflow.
const MAX_SECONDS: f64 = 1e12;

/// The longest time between the start and the end of a call. Earlier starts are errors, such as an unset time.
const MAX_CALL: Span = Span::DAY;

const YEARS: &str = "out of range: expected years 1 to 9998";

/// The envelope of an event as read.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) id: Option<CompactString>,
    pub(super) tenant: Option<CompactString>,
    pub(super) at: Option<Timestamp>,
    /// Kept for progress marks only.
    pub(super) source: Option<CompactString>,
}

impl Envelope {
    /// Combines the envelope and the payload, if nothing is missing, and puts right the times of a call.
    pub(super) fn with_payload(mut self, payload: Option<Payload>, repairs: &mut Repairs) -> Read<Event> {
        let (tenant, at) = self.tenant_and_time()?;
        let mut payload = payload.ok_or_else(|| Flaw::new(Reason::NoPayload, "no known payload"))?;
        match &mut payload {
            Payload::Call(call) => call.end.iter_mut().for_each(|end| repair_times(end, at, repairs)),
            Payload::Crm(payload) => same_kind(payload)?,
            Payload::Message(_) => {}
        }
        Ok(Event { tenant, at, id: self.id.map(EventId), payload })
    }

    /// Combines the envelope and the content of a progress mark, if nothing is missing.
    pub(super) fn with_progress(mut self, (up_to, backfill): (Option<Timestamp>, bool)) -> Read<Progress> {
        let (tenant, _) = self.tenant_and_time()?;
        let up_to = up_to.ok_or_else(|| Flaw::missing("up_to").within("progress"))?;
        let up_to =
            Timestamp::checked(up_to.0).ok_or_else(|| Flaw::bad_value(YEARS).within("up_to").within("progress"))?;
        let source = self.source.as_deref().map(trimmed).unwrap_or_default().into();
        Ok(Progress { tenant, source, up_to, backfill })
    }

    fn tenant_and_time(&mut self) -> Read<(TenantId, Timestamp)> {
        let tenant = self.tenant.take().ok_or_else(|| Flaw::new(Reason::NoTenant, "missing").within("tenant_id"))?;
        let at = self.at.ok_or_else(|| Flaw::new(Reason::NoTime, "missing").within("occurred_at"))?;
        let at = Timestamp::checked(at.0).ok_or_else(|| Flaw::bad_value(YEARS).within("occurred_at"))?;
        Ok((TenantId(tenant), at))
    }
}

/// A lead cannot be merged into a deal, nor a deal into a lead.
fn same_kind(payload: &CrmPayload) -> Read<()> {
    match payload {
        CrmPayload::Merged { entity, into } if entity.kind != into.kind => {
            Err(Flaw::bad_value("expected the kind of `entity`").within("kind").within("into").within("merged"))
        }
        _ => Ok(()),
    }
}

/// Drops an impossible start of a call that ended `at`, and computes the talk time if it was absent.
fn repair_times(end: &mut CallEnd, at: Timestamp, repairs: &mut Repairs) {
    let earliest = at.saturating_sub(MAX_CALL);
    let unusable = match end.started_at {
        None => Some(Repair::StartMissing),
        Some(start) if start > at => Some(Repair::StartAfterEnd),
        Some(start) if start < earliest => Some(Repair::StartTooEarly),
        Some(_) => None,
    };
    if let Some(repair) = unusable {
        end.started_at = None;
        repairs.add(repair);
    }
    if repairs.contains(Repair::TalkMissing) {
        match end.answered_at {
            Some(answered) if (earliest..=at).contains(&answered) => end.talk = at - answered,
            Some(_) => {}
            None => repairs.remove(Repair::TalkMissing),
        }
    }
}

/// `text` without white space at its ends, as [`char::is_whitespace`] defines it: ids are compared in this form.
#[inline]
pub(super) fn trimmed(text: &str) -> &str {
    let bytes = text.as_bytes();
    let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    if is_plain(bytes.first()) && is_plain(bytes.last()) { text } else { text.trim() }
}

/// The code of a currency, in upper case.
pub(super) fn currency(text: &str) -> Option<CompactString> {
    let code = trimmed(text);
    let is_upper = code.bytes().all(|byte| byte.is_ascii_uppercase());
    (!code.is_empty()).then(|| if is_upper { code.into() } else { code.to_uppercase().into() })
}

/// The value of a field that must be there.
pub(super) fn present<T>(value: Option<T>, field: &str) -> Read<T> {
    value.ok_or_else(|| Flaw::missing(field))
}

/// The value of a required field.
pub(super) fn required<T>(value: Option<T>, field: &str, _: &mut Repairs) -> Read<T> {
    present(value, field)
}

/// The value of an optional field.
pub(super) fn optional<T>(value: Option<T>, _: &str, _: &mut Repairs) -> Read<Option<T>> {
    Ok(value)
}

/// The value of a field that has a default.
pub(super) fn or_default<T: Default>(value: Option<T>, _: &str, _: &mut Repairs) -> Read<T> {
    Ok(value.unwrap_or_default())
}

/// A flag that is set unless it is given.
pub(super) fn or_true(value: Option<bool>, _: &str, _: &mut Repairs) -> Read<bool> {
    Ok(value.unwrap_or(true))
}

/// `text`, but empty if it consists of blanks.
pub(super) fn unless_blank(text: &str) -> &str {
    if trimmed(text).is_empty() { "" } else { text }
}

/// An entity: both kind and id, or neither.
pub(super) fn entity(kind: Option<EntityKind>, id: Option<CompactString>) -> Read<Option<EntityId>> {
    match (kind, id) {
        (None, None) => Ok(None),
        (kind, id) => Ok(Some(EntityId { kind: present(kind, "kind")?, id: present(id, "id")? })),
    }
}

/// A date, if a calendar can represent it.
pub(super) fn date(value: Option<Timestamp>, _: &str, repairs: &mut Repairs) -> Read<Option<Timestamp>> {
    let valid = value.and_then(|at| Timestamp::checked(at.0));
    if valid != value {
        repairs.add(Repair::DateOutOfRange);
    }
    Ok(valid)
}

pub(super) fn percent(value: Option<f64>, field: &str, _: &mut Repairs) -> Read<Option<f64>> {
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
pub(super) fn score(value: Option<f64>, field: &str, repairs: &mut Repairs) -> Read<f64> {
    Ok(percent(value, field, repairs)?.unwrap_or_default())
}

pub(super) fn months(value: Option<i64>, field: &str, _: &mut Repairs) -> Read<Option<i64>> {
    in_range(value, 0..=i64::from(i32::MAX), "out of range: expected 0 to 2147483647", field)
}

/// Talk time. If it is absent, it is computed once the end of the call is known.
pub(super) fn talk(seconds: Option<f64>, field: &str, repairs: &mut Repairs) -> Read<Span> {
    let seconds = in_range(seconds, f64::MIN..=MAX_SECONDS, "out of range: expected at most 1e12", field)?;
    match seconds {
        None => repairs.add(Repair::TalkMissing),
        Some(seconds) if seconds < 0.0 => repairs.add(Repair::TalkNegative),
        Some(seconds) => return Ok(Span::from_seconds(seconds)),
    }
    Ok(Span::ZERO)
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
        (None, None, Some(handle)) => Ok(Some(Contact::Handle { handle, channel: present(channel, "channel")? })),
        _ => Err(Flaw::bad_value("expected at most one of phone, email, handle")),
    }
}

//! Converts field values of the generated protobuf messages to those of events.

use crate::codec::check;
use crate::codec::names::{Name, Named};
use crate::codec::proto::{self, contact::Address, well_known};
use crate::codec::reject::{Flaw, Read};
use crate::domain::event::Contact;
use crate::domain::id::EntityId;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// A string, if it is not empty.
pub(super) fn text<T: From<CompactString>>(text: String) -> Read<Option<T>> {
    Ok((!text.is_empty()).then(|| CompactString::from(text).into()))
}

/// An id without the blanks around it, if it is not empty.
pub(super) fn id<T: From<CompactString>>(id: String) -> Read<Option<T>> {
    match check::trimmed(&id) {
        trimmed if trimmed.len() == id.len() => text(id),
        trimmed => text(trimmed.into()),
    }
}

/// An id that an empty string takes away.
pub(super) fn erasable_id<T: From<CompactString>>(id: Option<String>) -> Read<Option<T>> {
    Ok(id.map(|id| CompactString::from(check::trimmed(&id)).into()))
}

/// A string that an empty one, or one of blanks, takes away.
pub(super) fn erasable_text(text: Option<String>) -> Read<Option<CompactString>> {
    Ok(text.map(|text| check::unless_blank(&text).into()))
}

/// A currency code.
pub(super) fn currency(code: String) -> Read<Option<CompactString>> {
    Ok(check::currency(&code))
}

/// A list of strings; empty ones are dropped.
pub(super) fn texts(texts: Vec<String>) -> Read<Option<Vec<CompactString>>> {
    texts.into_iter().filter_map(|item| text(item).transpose()).collect::<Read<_>>().map(Some)
}

/// Any string.
pub(super) fn string(_: String) -> Read<()> {
    Ok(())
}

// Their bounds differ.
pub(super) use self::{id as message_id, id as thread_id, text as link, text as phone};

// What JSON can get wrong in these fields has a type here.
pub(super) use self::{string as actor, string as any_id, string as note, text as free_text};

/// Any checklist.
pub(super) fn checklist(_: Vec<proto::ChecklistItem>) -> Read<()> {
    Ok(())
}

pub(super) fn number(number: impl Into<Option<f64>>) -> Read<Option<f64>> {
    Ok(number.into())
}

pub(super) fn integer(integer: Option<impl Into<i64>>) -> Read<Option<i64>> {
    Ok(integer.map(Into::into))
}

/// `true` or `false`.
pub(super) fn flag(flag: impl Into<Option<bool>>) -> Read<Option<bool>> {
    Ok(flag.into())
}

/// A timestamp of any year, truncated to milliseconds.
pub(super) fn time(time: Option<well_known::Timestamp>) -> Read<Option<Timestamp>> {
    let Some(time) = time else { return Ok(None) };
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let nanos = nanos.ok_or_else(|| Flaw::bad_value("nanos out of range: expected 0 to 999999999"))?;
    Ok(Some(Timestamp(time.seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000)))))
}

/// An enum value, by number.
pub(super) fn name<T: Name>(number: i32) -> Read<Option<T>> {
    match T::from_number(number) {
        Named::Absent => Ok(None),
        Named::Known(value) => Ok(Some(value)),
        Named::Unknown => Err(Flaw::bad_value("unknown enum value")),
    }
}

/// A lead or deal.
pub(super) fn entity(entity: Option<proto::Entity>) -> Read<Option<EntityId>> {
    let Some(entity) = entity else { return Ok(None) };
    let kind = name(entity.kind).map_err(|flaw| flaw.within("kind"))?;
    check::entity(kind, id(entity.id)?)
}

/// A phone or an address.
pub(super) fn contact(contact: Option<proto::Contact>) -> Read<Option<Contact>> {
    let Some(contact) = contact else { return Ok(None) };
    let channel = name(contact.channel).map_err(|flaw| flaw.within("channel"))?;
    match contact.address {
        None => Ok(None),
        Some(Address::Phone(phone)) => check::contact(text(phone)?, None, None, channel),
        Some(Address::Email(email)) => check::contact(None, text(email)?, None, channel),
        Some(Address::Handle(handle)) => check::contact(None, None, text(handle)?, channel),
    }
}

/// A list of contacts; absent ones are dropped.
pub(super) fn contacts(contacts: Vec<proto::Contact>) -> Read<Option<Vec<Contact>>> {
    contacts.into_iter().filter_map(|item| contact(Some(item)).transpose()).collect::<Read<_>>().map(Some)
}

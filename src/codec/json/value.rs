//! Owns the readers of the value types in events, and what counts as absent.

use super::scan::Scanner;
use crate::codec::check;
use crate::codec::names::{Name, Named};
use crate::codec::reject::{Flaw, Read};
use crate::domain::event::Contact;
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repair;
use crate::domain::id::EntityId;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// Reads an object into one variable per key, `None` if the key is absent.
macro_rules! fields {
    ($scanner:expr, { $($key:ident: $read:ident),* }) => {
        $(let mut $key = None;)*
        $scanner.object(|scanner, key| {
            match key {
                $(stringify!($key) => $key = self::$read(scanner)?,)*
                _ => return Ok(false),
            }
            Ok(true)
        })?;
    };
}

/// A string.
pub(super) fn text<T: From<CompactString>>(scanner: &mut Scanner<'_>) -> Read<Option<T>> {
    let text = scanner.text()?;
    Ok((!text.is_empty()).then(|| CompactString::from(text).into()))
}

/// An id: a string without the blanks around it, or an integer as it is written.
pub(super) fn id<T: From<CompactString>>(scanner: &mut Scanner<'_>) -> Read<Option<T>> {
    let text = check::trimmed(scanner.id()?);
    Ok((!text.is_empty()).then(|| CompactString::from(text).into()))
}

// Their bounds differ.
pub(super) use self::{free_text as link, id as message_id, id as thread_id, text as phone};

/// An id that empty text takes away: only `null` is absent.
pub(super) fn erasable_id<T: From<CompactString>>(scanner: &mut Scanner<'_>) -> Read<Option<T>> {
    if scanner.null()? {
        return Ok(None);
    }
    Ok(Some(CompactString::from(check::trimmed(scanner.id()?)).into()))
}

/// A string that empty text, or text of blanks, takes away: only `null` is absent.
pub(super) fn erasable_text(scanner: &mut Scanner<'_>) -> Read<Option<CompactString>> {
    if scanner.null()? {
        return Ok(None);
    }
    scanner.text().map(|text| Some(check::unless_blank(text).into()))
}

/// A currency code.
pub(super) fn currency(scanner: &mut Scanner<'_>) -> Read<Option<CompactString>> {
    scanner.text().map(check::currency)
}

/// Validates a string without keeping it.
pub(super) fn string(scanner: &mut Scanner<'_>) -> Read<()> {
    scanner.text().map(drop)
}

/// Validates an id without keeping it.
pub(super) fn any_id(scanner: &mut Scanner<'_>) -> Read<()> {
    scanner.id().map(drop)
}

/// Reads a value that no rule needs; a wrong one is dropped.
fn unless_wrong<T: Default>(scanner: &mut Scanner<'_>, read: fn(&mut Scanner<'_>) -> Read<T>) -> Read<T> {
    let start = scanner.position();
    match read(scanner) {
        Err(flaw) if flaw.reason() != Reason::Malformed => {
            scanner.skip_from(start)?;
            scanner.repairs.add(Repair::WrongValue);
            Ok(T::default())
        }
        result => result,
    }
}

/// A string that is not kept and need not be right.
pub(super) fn note(scanner: &mut Scanner<'_>) -> Read<()> {
    unless_wrong(scanner, string)
}

/// The id of someone who acted, not kept: it need not be right.
pub(super) fn actor(scanner: &mut Scanner<'_>) -> Read<()> {
    unless_wrong(scanner, any_id)
}

/// A text that no rule needs, if it is right.
pub(super) fn free_text(scanner: &mut Scanner<'_>) -> Read<Option<CompactString>> {
    unless_wrong(scanner, text)
}

pub(super) fn number(scanner: &mut Scanner<'_>) -> Read<Option<f64>> {
    scanner.number()
}

pub(super) fn integer(scanner: &mut Scanner<'_>) -> Read<Option<i64>> {
    scanner.integer()
}

/// `true` or `false`, or yes or no in the spellings of [`Scanner::flag`].
pub(super) fn flag(scanner: &mut Scanner<'_>) -> Read<Option<bool>> {
    scanner.flag()
}

/// An RFC 3339 timestamp of any year.
pub(super) fn time(scanner: &mut Scanner<'_>) -> Read<Option<Timestamp>> {
    match scanner.text()? {
        "" => Ok(None),
        text => Timestamp::parse_any(text).map(Some).ok_or_else(|| Flaw::bad_value("expected an RFC 3339 timestamp")),
    }
}

/// An enum value, by name in any case.
pub(super) fn name<T: Name>(scanner: &mut Scanner<'_>) -> Read<Option<T>> {
    let text = scanner.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let named = match T::from_name(text) {
        Named::Unknown => in_upper_case(text),
        named => named,
    };
    match named {
        Named::Absent => Ok(None),
        Named::Known(value) => Ok(Some(value)),
        Named::Unknown => Err(Flaw::bad_value("unknown enum value")),
    }
}

#[cold]
fn in_upper_case<T: Name>(text: &str) -> Named<T> {
    T::from_name(&text.to_ascii_uppercase())
}

/// `{kind, id}`.
pub(super) fn entity(scanner: &mut Scanner<'_>) -> Read<Option<EntityId>> {
    if scanner.absent_or(b"[]")? {
        return Ok(None);
    }
    fields!(scanner, { kind: name, id: id });
    check::entity(kind, id)
}

/// `{phone}`, `{email}` or `{handle, channel}`.
pub(super) fn contact(scanner: &mut Scanner<'_>) -> Read<Option<Contact>> {
    if scanner.absent_or(b"[]")? {
        return Ok(None);
    }
    fields!(scanner, { phone: text, email: text, handle: text, channel: name });
    check::contact(phone, email, handle, channel)
}

/// A list of contacts.
pub(super) fn contacts(scanner: &mut Scanner<'_>) -> Read<Option<Vec<Contact>>> {
    list(scanner, contact)
}

/// A list of strings.
pub(super) fn texts(scanner: &mut Scanner<'_>) -> Read<Option<Vec<CompactString>>> {
    list(scanner, text)
}

/// Reads a list and drops absent elements.
fn list<T>(scanner: &mut Scanner<'_>, item: fn(&mut Scanner<'_>) -> Read<Option<T>>) -> Read<Option<Vec<T>>> {
    if scanner.absent_or(b"{}")? {
        return Ok(None);
    }
    let mut items = Vec::new();
    scanner.array(|scanner| {
        items.extend(item(scanner)?);
        Ok(())
    })?;
    Ok(Some(items))
}

/// A list of `{item, passed}` that is not kept and need not be right.
pub(super) fn checklist(scanner: &mut Scanner<'_>) -> Read<()> {
    unless_wrong(scanner, |scanner| {
        list(scanner, |scanner| {
            if !scanner.absent_or(b"[]")? {
                fields!(scanner, { item: text, passed: flag });
                let (_, _): (Option<CompactString>, Option<bool>) = (item, passed);
            }
            Ok(None::<()>)
        })
        .map(drop)
    })
}

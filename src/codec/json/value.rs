//! Owns the readers of the value types in events, and what counts as absent.

use super::scan::Scanner;
use crate::codec::check;
use crate::codec::names::{Name, Named};
use crate::codec::reject::{Flaw, Read};
use crate::domain::event::Contact;
use crate::domain::id::EntityId;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// Reads an object into one variable per key, `None` if the key is absent.
macro_rules! fields {
    ($scanner:expr, { $($key:ident: $read:ident),* }) => {
        $(let mut $key = None;)*
        $scanner.object(|scanner, key| {
            match key {
                $(stringify!($key) => $key = $read(scanner)?,)*
                _ => return Ok(false),
            }
            Ok(true)
        })?;
    };
}

/// A string or an id.
pub(super) fn text<T: From<CompactString>>(scanner: &mut Scanner<'_>) -> Read<Option<T>> {
    let text = scanner.text()?;
    Ok((!text.is_empty()).then(|| CompactString::from(text).into()))
}

/// Validates a string without keeping it.
pub(super) fn string(scanner: &mut Scanner<'_>) -> Read<()> {
    scanner.text().map(drop)
}

pub(super) fn number(scanner: &mut Scanner<'_>) -> Read<Option<f64>> {
    scanner.number()
}

pub(super) fn integer(scanner: &mut Scanner<'_>) -> Read<Option<i64>> {
    scanner.integer()
}

/// `true` or `false`.
pub(super) fn flag(scanner: &mut Scanner<'_>) -> Read<Option<bool>> {
    scanner.flag()
}

/// An RFC 3339 timestamp.
pub(super) fn time(scanner: &mut Scanner<'_>) -> Read<Option<Timestamp>> {
    match scanner.text()? {
        "" => Ok(None),
        text => Timestamp::parse(text).map(Some).ok_or_else(|| Flaw::bad_value("expected an RFC 3339 timestamp")),
    }
}

/// An enum value, by name.
pub(super) fn name<T: Name>(scanner: &mut Scanner<'_>) -> Read<Option<T>> {
    let text = scanner.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    match T::from_name(text) {
        Named::Absent => Ok(None),
        Named::Known(value) => Ok(Some(value)),
        Named::Unknown => Err(Flaw::bad_value("unknown enum value")),
    }
}

/// `{kind, id}`.
pub(super) fn entity(scanner: &mut Scanner<'_>) -> Read<Option<EntityId>> {
    if scanner.absent()? {
        return Ok(None);
    }
    fields!(scanner, { kind: name, id: text });
    check::entity(kind, id)
}

/// `{phone}`, `{email}` or `{handle, channel}`.
pub(super) fn contact(scanner: &mut Scanner<'_>) -> Read<Option<Contact>> {
    if scanner.absent()? {
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
    if scanner.absent()? {
        return Ok(None);
    }
    let mut items = Vec::new();
    scanner.array(|scanner| {
        items.extend(item(scanner)?);
        Ok(())
    })?;
    Ok(Some(items))
}

/// Validates `[{item, passed}]` without keeping it.
pub(super) fn checklist(scanner: &mut Scanner<'_>) -> Read<()> {
    if scanner.absent()? {
        return Ok(());
    }
    scanner.array(|scanner| {
        if scanner.absent()? {
            return Ok(());
        }
        fields!(scanner, { item: text, passed: flag });
        let (_, _): (Option<CompactString>, Option<bool>) = (item, passed);
        Ok(())
    })
}

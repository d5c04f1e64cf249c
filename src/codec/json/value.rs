//! Owns the values that events are made of: how each kind is read, and what is absent.

use super::scan::Scanner;
use crate::codec::check;
use crate::codec::names::{Name, Named};
use crate::codec::reject::{Flaw, Read};
use crate::domain::event::Contact;
use crate::domain::id::EntityId;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// Reads an object into one variable a key, `None` where the key is absent: `keep` binds them, `check` only looks.
macro_rules! fields {
    ($scanner:expr, keep { $($kept:ident: $read:ident),* $(,)? } check { $($checked:ident: $look:ident),* $(,)? }) => {
        $(let mut $kept = None;)*
        $scanner.object(|scanner, key| {
            match key {
                $(stringify!($kept) => $kept = $crate::codec::json::value::$read(scanner)?,)*
                $(stringify!($checked) => _ = $crate::codec::json::value::$look(scanner)?,)*
                _ => return Ok(false),
            }
            Ok(true)
        })?;
    };
}

pub(super) use fields;

/// A string to keep.
pub(super) fn text(scanner: &mut Scanner<'_>) -> Read<Option<CompactString>> {
    let text = scanner.text()?;
    Ok((!text.is_empty()).then(|| text.into()))
}

/// A string to look at.
pub(super) fn string(scanner: &mut Scanner<'_>) -> Read<()> {
    scanner.text().map(drop)
}

/// A number.
pub(super) fn number(scanner: &mut Scanner<'_>) -> Read<Option<f64>> {
    scanner.number()
}

/// A whole number.
pub(super) fn integer(scanner: &mut Scanner<'_>) -> Read<Option<i64>> {
    scanner.integer()
}

/// `true` or `false`.
pub(super) fn flag(scanner: &mut Scanner<'_>) -> Read<Option<bool>> {
    scanner.flag()
}

/// A time.
pub(super) fn time(scanner: &mut Scanner<'_>) -> Read<Option<Timestamp>> {
    match scanner.text()? {
        "" => Ok(None),
        text => Timestamp::parse(text).map(Some).ok_or_else(|| Flaw::bad_value("not an RFC 3339 time")),
    }
}

/// One of an enum, by its name.
pub(super) fn name<T: Name>(scanner: &mut Scanner<'_>) -> Read<Option<T>> {
    let text = scanner.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    match T::from_name(text) {
        Named::Absent => Ok(None),
        Named::Known(value) => Ok(Some(value)),
        Named::Unknown => Err(Flaw::bad_value("not a known name")),
    }
}

/// `{kind, id}`.
pub(super) fn entity(scanner: &mut Scanner<'_>) -> Read<Option<EntityId>> {
    if scanner.absent()? {
        return Ok(None);
    }
    fields!(scanner, keep { kind: name, id: text } check {});
    check::entity(kind, id)
}

/// `{phone}`, `{email}` or `{handle, channel}`.
pub(super) fn contact(scanner: &mut Scanner<'_>) -> Read<Option<Contact>> {
    if scanner.absent()? {
        return Ok(None);
    }
    fields!(scanner, keep { phone: text, email: text, handle: text, channel: name } check {});
    check::contact(phone, email, handle, channel)
}

/// Contacts.
pub(super) fn contacts(scanner: &mut Scanner<'_>) -> Read<Option<Vec<Contact>>> {
    list(scanner, contact)
}

/// Strings to keep.
pub(super) fn texts(scanner: &mut Scanner<'_>) -> Read<Option<Vec<CompactString>>> {
    list(scanner, text)
}

/// The list without its absent elements.
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

/// `[{item, passed}]`, to look at.
pub(super) fn checklist(scanner: &mut Scanner<'_>) -> Read<()> {
    if scanner.absent()? {
        return Ok(());
    }
    scanner.array(|scanner| {
        if scanner.absent()? {
            return Ok(());
        }
        fields!(scanner, keep {} check { item: string, passed: flag });
        Ok(())
    })
}

//! Writes JSON objects and the values of their fields.
//!
//! serde would take more code: the domain must not depend on a format, so each output would need a second type, and
//! `serde_json` writes numbers differently (`5.0`, `1e-7`).

use crate::codec::names::Text;
use crate::domain::event::Contact;
use crate::domain::id::EntityId;
use crate::domain::time::{Span, Timestamp};
use std::fmt::Display;
use std::io::Write;
use uuid::Uuid;

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

/// Writes `{…}` with the fields that `fill` adds.
pub(super) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, empty: true });
    out.push(b'}');
}

impl Object<'_> {
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        string(self.out, key);
        self.out.push(b':');
        self.out
    }

    /// A value; nothing if it is absent.
    pub(super) fn field(&mut self, key: &str, value: &(impl Value + ?Sized)) {
        if !value.is_absent() {
            value.write(self.key(key));
        }
    }

    /// A string that needs no escapes, formatted with `Display`: a timestamp, a generated id.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        display(self.key(key), format_args!("\"{value}\""));
    }

    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), fill);
    }

    pub(super) fn list<T>(&mut self, key: &str, items: &[T], write: impl FnMut(&mut Vec<u8>, &T)) {
        list(self.key(key), items, write);
    }
}

fn list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    for (index, item) in items.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        write(out, item);
    }
    out.extend_from_slice(if items.is_empty() { b"[]" } else { b"]" });
}

/// Writes a string and escapes only what JSON requires.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => display(out, format_args!("\\u{control:04x}")),
        }
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
    out.push(b'"');
}

/// Writes a number: integers without a decimal point, non-finite numbers as `null`.
fn number(out: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !value.is_finite() {
        out.extend_from_slice(b"null");
    } else if value.fract() == 0.0 && value.abs() <= EXACT {
        display(out, value as i64);
    } else {
        display(out, value);
    }
}

fn display(out: &mut Vec<u8>, value: impl Display) {
    write!(out, "{value}").expect("a Vec grows as needed");
}

/// A value of a field. What is absent is omitted.
pub(super) trait Value {
    fn write(&self, out: &mut Vec<u8>);

    fn is_absent(&self) -> bool {
        false
    }
}

impl<T: Value> Value for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|value| value.write(out));
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        list(out, self, |out, value| value.write(out));
    }
}

impl<T: Text + ?Sized> Value for T {
    fn write(&self, out: &mut Vec<u8>) {
        string(out, self.text());
    }
}

macro_rules! values {
    ($($type:ty: |$value:ident, $out:ident| $write:expr,)*) => {$(
        impl Value for $type {
            fn write(&self, $out: &mut Vec<u8>) {
                let $value = self;
                $write;
            }
        }
    )*};
}

values! {
    bool: |value, out| display(out, value),
    u32: |value, out| display(out, value),
    i64: |value, out| display(out, value),
    usize: |value, out| display(out, value),
    f64: |value, out| number(out, *value),
    Span: |value, out| number(out, value.seconds()),
    Timestamp: |value, out| display(out, format_args!("\"{value}\"")),
    Uuid: |value, out| display(out, format_args!("\"{value}\"")),
    EntityId: |value, out| object(out, |object| {
        object.field("kind", &value.kind);
        object.field("id", &value.id);
    }),
    Contact: |value, out| object(out, |object| match value {
        Contact::Phone(phone) => object.field("phone", phone),
        Contact::Email(email) => object.field("email", email),
        Contact::Handle { handle, channel } => {
            object.field("handle", handle);
            object.field("channel", channel);
        }
    }),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json::scan::Scanner;
    use proptest::prelude::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        number(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn integers_have_no_decimal_point_and_non_finite_numbers_are_null() {
        let table =
            [(900.0, "900"), (-0.0, "0"), (0.1, "0.1"), (-2.5, "-2.5"), (f64::NAN, "null"), (f64::INFINITY, "null")];
        for (value, text) in table {
            assert_eq!(written(value), text);
        }
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            let text = written(value);
            let read = Scanner::new(text.as_bytes()).and_then(|mut scanner| scanner.number());
            prop_assert_eq!(read.ok(), Some(Some(value)));
        }

        #[test]
        fn strings_are_read_back_by_serde_json(chars in prop::collection::vec(any::<char>(), 0..20)) {
            let text = String::from_iter(chars);
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).ok(), Some(text));
        }
    }
}

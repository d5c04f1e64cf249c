//! Reads the form body of a webhook: fields with bracketed names, as PHP writes them.
//!
//! Names are kept as sent and never turned into a tree, so brackets cost nothing. **Bounds**: the size of the body, the
//! number of fields, the length and depth of names and the length of values; a body beyond them is refused as a whole.

use compact_str::CompactString;
use std::borrow::Cow;

/// The most fields; a webhook of Bitrix24 has about twenty.
const FIELDS: usize = 500;
/// The longest name, in bytes.
const NAME_BYTES: usize = 256;
/// The deepest name: brackets that open in it.
const DEPTH: usize = 8;
/// The longest value, in bytes.
const VALUE_BYTES: usize = 8 << 10;

/// A field: its name as sent, and its value.
pub(super) type Field = (CompactString, CompactString);

/// The fields of a body; `Err`: what is wrong, without any content.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Field>, &'static str> {
    parse_within(body, VALUE_BYTES)
}

/// The same with other values: a field may contain a document.
pub(super) fn parse_within(body: &[u8], value_bytes: usize) -> Result<Vec<Field>, &'static str> {
    if body.iter().filter(|byte| **byte == b'&').count() >= FIELDS {
        return Err("too many fields");
    }
    let mut fields = Vec::new();
    for (name, value) in form_urlencoded::parse(body) {
        // What is not UTF-8 is replaced by this character, which no field of a webhook contains.
        let is_damaged = |text: &Cow<'_, str>| text.contains(['\u{fffd}', '\0']);
        if name.is_empty() && value.is_empty() {
            continue;
        }
        if is_damaged(&name) || is_damaged(&value) {
            return Err("not UTF-8");
        }
        if name.len() > NAME_BYTES || value.len() > value_bytes {
            return Err("a field is too long");
        }
        if !is_balanced(&name) {
            return Err("brackets that do not match, or too many");
        }
        fields.push((name.as_ref().into(), value.as_ref().into()));
    }
    Ok(fields)
}

/// Whether the brackets of a name follow each other, `a[b][c]`, and are few.
fn is_balanced(name: &str) -> bool {
    let (mut open, mut count) = (false, 0);
    for byte in name.bytes() {
        match byte {
            b'[' if open => return false,
            b'[' => (open, count) = (true, count + 1),
            b']' if !open => return false,
            b']' => open = false,
            _ => {}
        }
    }
    !open && count <= DEPTH
}

/// The part of a name before its first bracket.
pub(super) fn root(name: &str) -> &str {
    name.split_once('[').map_or(name, |(root, _)| root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_with_their_names() {
        let body =
            b"event=ONCRMCONTACTADD&event_handler_id=58&data%5BFIELDS%5D%5BID%5D=134806&ts=1727018926&a+b=%D1%8E&=&&x";
        let fields = parse(body).expect("a form");
        let expected = [
            ("event", "ONCRMCONTACTADD"),
            ("event_handler_id", "58"),
            ("data[FIELDS][ID]", "134806"),
            ("ts", "1727018926"),
            ("a b", "ю"),
            ("x", ""),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(root("auth[application_token]"), "auth");
    }

    #[test]
    fn bodies_beyond_the_bounds_are_refused() {
        assert!(parse("a=1&".repeat(FIELDS - 1).as_bytes()).is_ok());
        assert_eq!(parse("a=1&".repeat(FIELDS).as_bytes()), Err("too many fields"));
        assert!(parse(format!("a{}=1", "[b]".repeat(DEPTH)).as_bytes()).is_ok());
        for name in
            [format!("a{}", "[b]".repeat(DEPTH + 1)), "a[b".into(), "a]".into(), "a[[b]]".into(), "[".repeat(100)]
        {
            assert_eq!(parse(format!("{name}=1").as_bytes()), Err("brackets that do not match, or too many"), "{name}");
        }
        assert_eq!(parse(format!("{}=1", "a".repeat(NAME_BYTES + 1)).as_bytes()), Err("a field is too long"));
        assert_eq!(parse(format!("a={}", "b".repeat(VALUE_BYTES + 1)).as_bytes()), Err("a field is too long"));
        assert_eq!(parse(b"a=%FF%FE"), Err("not UTF-8"));
        assert_eq!(parse(b"a=\xff"), Err("not UTF-8"));
        assert_eq!(parse(b"a%00=1"), Err("not UTF-8"));
        assert_eq!(parse(b""), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..2000)) {
            if let Ok(fields) = parse(&body) {
                prop_assert!(fields.len() <= FIELDS);
                prop_assert!(fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= body.len());
            }
        }
    }
}

//! Owns Schema Registry framing: locates the message after the header. Rejects unknown framing and paths to nested
//! messages; never contacts a registry.
//!
//! ```text
//! 0 │ schema id, 4 bytes    │ message indexes (protobuf only) │ message
//! 1 │ schema GUID, 16 bytes │ message indexes (protobuf only) │ message
//! message                               │ with the GUID and the indexes in the header `__value_schema_id`
//! ```
//!
//! The indexes are the path to the message type in its file: a count followed by that many numbers, all zig-zag
//! varints; the path `[0]` is written as a count of zero. Some writers omit the zig-zag encoding. The topic determines
//! the message type, and the producer's file may declare it at a different position than ours: so every path of length
//! one is accepted.
//!
//! No protobuf message begins with a byte of 0 or 1 (the field number would be 0), and no JSON text does. So a message
//! that has both the header and the framing is decoded too.

use super::reject::Reject;
use crate::domain::event::reject::Reason;
use crate::domain::source::Topic;

const BY_ID: u8 = 0;
const BY_GUID: u8 = 1;
const ID_LENGTH: usize = 4;
const GUID_LENGTH: usize = 16;

/// The protobuf message without its framing; with `schema_in_header` the framing is optional.
pub fn strip_protobuf(bytes: &[u8], schema_in_header: bool) -> Result<&[u8], Reject> {
    let Some(mut rest) = after_schema(bytes, schema_in_header)? else { return Ok(bytes) };
    message_indexes(&mut rest)?;
    Ok(rest)
}

/// The JSON text without its framing; with `schema_in_header` the framing is optional.
pub fn strip_json(bytes: &[u8], schema_in_header: bool) -> Result<&[u8], Reject> {
    Ok(after_schema(bytes, schema_in_header)?.unwrap_or(bytes))
}

/// What follows the id of the schema; `None`: there is none, because it is in the header.
fn after_schema(bytes: &[u8], schema_in_header: bool) -> Result<Option<&[u8]>, Reject> {
    let (schema_length, rest) = match bytes {
        [BY_ID, rest @ ..] => (ID_LENGTH, rest),
        [BY_GUID, rest @ ..] => (GUID_LENGTH, rest),
        _ if schema_in_header => return Ok(None),
        _ => return Err(invalid("missing magic byte")),
    };
    rest.get(schema_length..).map(Some).ok_or_else(|| invalid("truncated schema id"))
}

/// Skips the message indexes, which must be the path to a top-level message.
fn message_indexes(bytes: &mut &[u8]) -> Result<(), Reject> {
    let truncated = || invalid("truncated message indexes");
    match varint(bytes).ok_or_else(truncated)? {
        0 => Ok(()),
        // One index: 2 with zig-zag, 1 without; a zig-zag 1 would be a count of -1.
        count @ (1 | 2) => {
            let index = varint(bytes).ok_or_else(truncated)?;
            if count == 2 && index & 1 == 1 { Err(invalid("negative message index")) } else { Ok(()) }
        }
        _ => Err(invalid("message indexes refer to a nested message")),
    }
}

/// Reads a varint of at most 64 bits and advances `bytes`.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Writes the framing of a JSON event as the registry's serializers do.
pub fn write_json_prefix(schema_id: u32, out: &mut Vec<u8>) {
    out.push(BY_ID);
    out.extend_from_slice(&schema_id.to_be_bytes());
}

/// Writes the framing of an event of `topic` as the registry's serializers do for our `event.proto`.
pub fn write_protobuf_prefix(schema_id: u32, topic: Topic, out: &mut Vec<u8>) {
    write_json_prefix(schema_id, out);
    match topic.info().message_index {
        0 => out.push(0),
        index => out.extend_from_slice(&[2, 2 * index]),
    }
}

fn invalid(detail: &str) -> Reject {
    Reject::new(Reason::BadFraming, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = &[0x0a, 1, b'x'];

    fn framed(prefix: &[u8]) -> Vec<u8> {
        [prefix, MESSAGE].concat()
    }

    #[test]
    fn every_known_framing_is_stripped() {
        let guid: Vec<u8> = (0..16).collect();
        let known: [(&str, Vec<u8>); 9] = [
            ("the short form", vec![0, 0, 0, 0, 7, 0]),
            ("[0] in full", vec![0, 0, 0, 0, 7, 2, 0]),
            ("[0] without zig-zag", vec![0, 0, 0, 0, 7, 1, 0]),
            ("[2]", vec![0, 0, 0, 0, 7, 2, 4]),
            ("[2] without zig-zag", vec![0, 0, 0, 0, 7, 1, 2]),
            ("[300]", vec![0, 0, 0, 0, 7, 2, 0xd8, 4]),
            ("an id of four bytes", vec![0, 0xff, 0xff, 0xff, 0xff, 0]),
            ("a GUID, the short form", [&[1][..], &guid, &[0]].concat()),
            ("a GUID, [1]", [&[1][..], &guid, &[2, 2]].concat()),
        ];
        for (case, prefix) in known {
            for in_header in [false, true] {
                assert_eq!(strip_protobuf(&framed(&prefix), in_header), Ok(MESSAGE), "{case}");
            }
            for cut in 0..prefix.len() {
                let reject = strip_protobuf(&prefix[..cut], false).expect_err(case);
                assert_eq!(reject.reason, Reason::BadFraming, "{case}, cut at {cut}");
            }
            assert_eq!(strip_protobuf(&prefix, false), Ok(&[][..]), "{case}, an empty message");
        }
    }

    #[test]
    fn json_is_framed_without_message_indexes() {
        let text = b"{\"a\":1}";
        let mut by_id = Vec::new();
        write_json_prefix(258, &mut by_id);
        assert_eq!(by_id, [0, 0, 0, 1, 2]);
        let by_guid: Vec<u8> = [1].into_iter().chain(0..16).collect();
        for prefix in [by_id, by_guid] {
            for in_header in [false, true] {
                assert_eq!(strip_json(&[&prefix[..], text].concat(), in_header), Ok(&text[..]));
            }
            for cut in 0..prefix.len() {
                let reject = strip_json(&prefix[..cut], false).expect_err("truncated");
                assert_eq!(reject.reason, Reason::BadFraming, "cut at {cut}");
            }
        }
        assert_eq!(strip_json(text, true), Ok(&text[..]));
        assert_eq!(strip_json(text, false).map_err(|reject| reject.reason), Err(Reason::BadFraming));
    }

    #[test]
    fn with_the_schema_in_a_header_framing_is_optional() {
        assert_eq!(strip_protobuf(MESSAGE, true), Ok(MESSAGE));
        assert_eq!(strip_protobuf(&[], true), Ok(&[][..]));
        assert_eq!(strip_protobuf(MESSAGE, false).map_err(|reject| reject.reason), Err(Reason::BadFraming));
        assert_eq!(strip_protobuf(&[], false).map_err(|reject| reject.reason), Err(Reason::BadFraming));
    }

    #[test]
    fn only_paths_to_top_level_messages_are_accepted() {
        let wrong: [(&str, &[u8]); 6] = [
            ("[0, 1]", &[0, 0, 0, 0, 7, 4, 0, 2]),
            ("[0, 1, 0] without zig-zag", &[0, 0, 0, 0, 7, 3, 0, 1, 0]),
            ("[-1]", &[0, 0, 0, 0, 7, 2, 1]),
            ("an endless count", &[0, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]),
            ("a JSON object", b"{}"),
            ("another magic byte", &[2, 0, 0, 0, 7, 0]),
        ];
        for (case, bytes) in wrong {
            assert_eq!(
                strip_protobuf(&framed(bytes), false).map_err(|reject| reject.reason),
                Err(Reason::BadFraming),
                "{case}"
            );
        }
    }

    #[test]
    fn the_written_prefix_matches_the_registry_serializers() {
        for (topic, path) in [(Topic::Crm, &[0][..]), (Topic::Telephony, &[2, 2]), (Topic::Email, &[2, 4])] {
            let mut bytes = Vec::new();
            write_protobuf_prefix(258, topic, &mut bytes);
            assert_eq!(bytes, [&[0, 0, 0, 1, 2][..], path].concat());
        }
    }

    #[test]
    fn varints_are_at_most_ten_bytes() {
        let mut bytes: &[u8] = &[0xac, 2, 9];
        assert_eq!(varint(&mut bytes), Some(300));
        assert_eq!(bytes, [9]);
        let mut most: &[u8] = &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(varint(&mut most), Some(u64::MAX));
        for bad in [&[][..], &[0x80], &[0x80; 11]] {
            assert_eq!(varint(&mut &*bad), None);
        }
    }
}

//! Owns Schema Registry framing: finds the protobuf message behind it. Refuses what is no framing, and paths to nested
//! messages; never asks a registry.
//!
//! ```text
//! 0 │ schema id, 4 bytes │ message indexes │ message
//! 1 │ schema GUID, 16 bytes │ message indexes │ message
//! message                               │ with the GUID and the indexes in the header `__value_schema_id`
//! ```
//!
//! The indexes are the path to the message type in its file: a count and as many numbers, zig-zag varints; the path
//! `[0]` is written as a count of zero. Some writers forget the zig-zag. The topic says which message it is, and a file
//! of the producer's may hold it at another place than ours: so every path of one number is taken.
//!
//! No protobuf message begins with a byte of 0 or 1 (it would be field number 0), so a header is no promise that the
//! framing is missing: who writes both is understood.

use super::reject::Reject;
use crate::domain::event::Topic;
use crate::domain::reject::Reason;

const BY_ID: u8 = 0;
const BY_GUID: u8 = 1;
const ID_LENGTH: usize = 4;
const GUID_LENGTH: usize = 16;

/// The message behind the framing; `schema_in_header` says that there need not be any.
pub fn strip(bytes: &[u8], schema_in_header: bool) -> Result<&[u8], Reject> {
    let (schema_length, rest) = match bytes {
        [BY_ID, rest @ ..] => (ID_LENGTH, rest),
        [BY_GUID, rest @ ..] => (GUID_LENGTH, rest),
        _ if schema_in_header => return Ok(bytes),
        _ => return Err(broken("no magic byte")),
    };
    let mut rest = rest.get(schema_length..).ok_or_else(|| broken("cut short in the schema id"))?;
    message_indexes(&mut rest)?;
    Ok(rest)
}

/// Passes over the message indexes, which must be the path to a top-level message.
fn message_indexes(bytes: &mut &[u8]) -> Result<(), Reject> {
    let cut_short = || broken("cut short in the message indexes");
    match varint(bytes).ok_or_else(cut_short)? {
        0 => Ok(()),
        // One index: 2 in zig-zag, 1 without; a zig-zag 1 would be a count of -1.
        count @ (1 | 2) => {
            let index = varint(bytes).ok_or_else(cut_short)?;
            if count == 2 && index & 1 == 1 { Err(broken("a negative message index")) } else { Ok(()) }
        }
        _ => Err(broken("message indexes of a nested message")),
    }
}

/// Takes a varint of at most 64 bits off the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F).checked_shl(7 * place as u32)?;
        if byte & 0x80 == 0 {
            *bytes = &bytes[place + 1..];
            return Some(value);
        }
    }
    None
}

/// Writes the framing of an event of `topic` as the registry's own serializers do for our `event.proto`.
pub fn write_prefix(schema_id: u32, topic: Topic, out: &mut Vec<u8>) {
    out.push(BY_ID);
    out.extend_from_slice(&schema_id.to_be_bytes());
    match topic {
        Topic::Crm => out.push(0),
        Topic::Telephony => out.extend_from_slice(&[2, 2]),
        Topic::Email => out.extend_from_slice(&[2, 4]),
    }
}

fn broken(detail: &str) -> Reject {
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
    fn every_known_framing_is_taken_off() {
        let guid: Vec<u8> = (0..16).collect();
        let known: [(&str, Vec<u8>); 9] = [
            ("the short path", vec![0, 0, 0, 0, 7, 0]),
            ("[0] in full", vec![0, 0, 0, 0, 7, 2, 0]),
            ("[0] without zig-zag", vec![0, 0, 0, 0, 7, 1, 0]),
            ("[2]", vec![0, 0, 0, 0, 7, 2, 4]),
            ("[2] without zig-zag", vec![0, 0, 0, 0, 7, 1, 2]),
            ("[300]", vec![0, 0, 0, 0, 7, 2, 0xd8, 4]),
            ("an id of four bytes", vec![0, 0xff, 0xff, 0xff, 0xff, 0]),
            ("a GUID, the short path", [&[1][..], &guid, &[0]].concat()),
            ("a GUID, [1]", [&[1][..], &guid, &[2, 2]].concat()),
        ];
        for (what, prefix) in known {
            for in_header in [false, true] {
                assert_eq!(strip(&framed(&prefix), in_header), Ok(MESSAGE), "{what}");
            }
            for cut in 0..prefix.len() {
                let reject = strip(&prefix[..cut], false).expect_err(what);
                assert_eq!(reject.reason, Reason::BadFraming, "{what}, cut at {cut}");
            }
            assert_eq!(strip(&prefix, false), Ok(&[][..]), "{what}, an empty message");
        }
    }

    #[test]
    fn with_the_schema_in_a_header_the_message_is_bare() {
        assert_eq!(strip(MESSAGE, true), Ok(MESSAGE));
        assert_eq!(strip(&[], true), Ok(&[][..]));
        assert_eq!(strip(MESSAGE, false).map_err(|reject| reject.reason), Err(Reason::BadFraming));
        assert_eq!(strip(&[], false).map_err(|reject| reject.reason), Err(Reason::BadFraming));
    }

    #[test]
    fn what_is_no_path_to_a_top_level_message_is_refused() {
        let wrong: [(&str, &[u8]); 6] = [
            ("[0, 1]", &[0, 0, 0, 0, 7, 4, 0, 2]),
            ("[0, 1, 0] without zig-zag", &[0, 0, 0, 0, 7, 3, 0, 1, 0]),
            ("[-1]", &[0, 0, 0, 0, 7, 2, 1]),
            ("an endless count", &[0, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]),
            ("a JSON object", b"{}"),
            ("another magic byte", &[2, 0, 0, 0, 7, 0]),
        ];
        for (what, bytes) in wrong {
            assert_eq!(strip(&framed(bytes), false).map_err(|reject| reject.reason), Err(Reason::BadFraming), "{what}");
        }
    }

    #[test]
    fn our_prefix_is_the_serializers() {
        for (topic, path) in [(Topic::Crm, &[0][..]), (Topic::Telephony, &[2, 2]), (Topic::Email, &[2, 4])] {
            let mut bytes = Vec::new();
            write_prefix(258, topic, &mut bytes);
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

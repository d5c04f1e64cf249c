//! Converts values to the field values of the generated protobuf messages.

use crate::codec::proto::well_known;
use crate::domain::time::Timestamp;

pub(super) fn write(message: &impl prost::Message, out: &mut Vec<u8>) {
    message.encode(out).expect("a Vec grows as needed");
}

/// A string; empty if absent.
pub(super) fn text(value: &Option<impl ToString>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn time(at: Timestamp) -> well_known::Timestamp {
    let nanos = at.0.rem_euclid(1000) * 1_000_000;
    well_known::Timestamp { seconds: at.0.div_euclid(1000), nanos: i32::try_from(nanos).unwrap_or_default() }
}

//! Owns the protobuf format: reads events (and writes them, for the simulator), writes alerts and metric rows.
//!
//! The topic determines the message type. Payload field numbers are disjoint between the message types, so an event on
//! the wrong topic has no payload. Several payloads are rejected; protobuf itself would keep the last one.

mod event;
mod output;
mod read;
mod row;
mod write;

pub use event::{encode_event, pack, unpack};
pub use output::{encode_alert, encode_review};
pub use row::encode_row;

use super::framing::varint;
use super::reject::{Flaw, Read, Reject};
use crate::domain::event::Event;
use crate::domain::event::reject::Reason;
use crate::domain::source::Topic;
use prost::Message;
use std::ops::RangeInclusive;

/// Decodes a bare message of `topic`.
pub fn decode(topic: Topic, bytes: &[u8]) -> Result<Event, Reject> {
    Ok(event::event(topic, bytes)?)
}

/// Decodes a message that contains at most one field with a number in `payloads`.
fn parse<M: Message + Default>(bytes: &[u8], payloads: RangeInclusive<u64>) -> Read<M> {
    // The error text of prost may contain message content, so it is dropped.
    let message = M::decode(bytes).map_err(|_| Flaw::malformed("not a valid protobuf message of this topic"))?;
    match fields(bytes).filter(|number| payloads.contains(number)).count() {
        0 | 1 => Ok(message),
        _ => Err(Flaw::new(Reason::SeveralPayloads, "more than one payload")),
    }
}

/// The numbers of the top-level fields of a message that is known to be valid.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = u64> {
    let mut groups = 0_u32;
    std::iter::from_fn(move || {
        loop {
            let key = varint(&mut bytes)?;
            let length = match key & 7 {
                0 => varint(&mut bytes).map(|_| 0)?,
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)?).ok()?,
                5 => 4,
                3 => {
                    groups += 1;
                    continue;
                }
                _ => {
                    groups = groups.checked_sub(1)?;
                    continue;
                }
            };
            bytes = bytes.get(length..)?;
            if groups == 0 {
                return Some(key >> 3);
            }
        }
    })
}

#[cfg(test)]
mod tests;

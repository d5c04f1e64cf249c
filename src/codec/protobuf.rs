//! Owns the protobuf format: reads events (and writes them, for the simulator), writes alerts and metric rows.
//!
//! The topic determines the message type. Payload field numbers are disjoint between the message types, so an event on
//! the wrong topic has no payload. Several payloads are rejected; protobuf itself would keep the last one.

mod event;
mod output;
mod put;
mod read;
mod row;
mod write;

pub use event::{decode, decode_with_repairs, encode_event, encode_progress, pack, unpack};
pub use output::{decode_alert, encode_alert, encode_review};
pub use row::encode_row;

#[cfg(test)]
mod tests;

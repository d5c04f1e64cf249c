//! Owns what a message of event files is: its position, how it is decoded, and the failure to read it.

use crate::codec::{Encoding, Reject, json, protobuf};
use crate::domain::event::progress::Incoming;
use crate::domain::source::{Offset, Topic};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Events could not be read, or not be sorted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{attempt}: {cause}")]
pub struct ReadError {
    attempt: String,
    cause: Arc<io::Error>,
}

impl ReadError {
    pub(super) fn of_file(path: &Path, cause: io::Error) -> Self {
        Self { attempt: format!("read events from {}", path.display()), cause: Arc::new(cause) }
    }

    pub(super) fn of_sorting(cause: io::Error) -> Self {
        Self { attempt: "sort events in a temporary file".into(), cause: Arc::new(cause) }
    }
}

/// The offset of a message: the file's index in the upper bits, then the line or record, from 1.
pub(super) fn offset_of(file: usize, line: u64) -> Offset {
    Offset(((file as i64) << 40) | line as i64)
}

/// File index and line of an offset.
pub fn file_and_line(Offset(offset): Offset) -> (usize, u64) {
    ((offset >> 40) as usize, (offset & ((1 << 40) - 1)) as u64)
}

/// Decodes a message of files; without a topic the payload determines it.
pub fn decode(encoding: Encoding, topic: Option<Topic>, bytes: &[u8]) -> Result<Incoming, Reject> {
    let decoded = match topic {
        Some(topic) if encoding != Encoding::Json => protobuf::decode_with_repairs(topic, bytes),
        _ => json::decode_with_repairs(None, bytes),
    };
    decoded.map(|(incoming, _)| incoming)
}

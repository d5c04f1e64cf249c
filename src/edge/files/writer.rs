//! Writes events as a file that the replay reads.

use super::records::record_tag;
use crate::codec::{Encoding, json, protobuf};
use crate::domain::event::Event;
use std::io::{self, Write};

/// Writes events as a file that the replay reads.
pub struct EventWriter<W> {
    out: W,
    encoding: Encoding,
    buffer: Vec<u8>,
    record: Vec<u8>,
}

impl<W: Write> EventWriter<W> {
    /// Writes to `out`: NDJSON, or protobuf records.
    pub fn new(out: W, encoding: Encoding) -> Self {
        Self { out, encoding, buffer: Vec::new(), record: Vec::new() }
    }

    /// Writes one event.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        self.buffer.clear();
        if self.encoding == Encoding::Json {
            json::encode_event(event, &mut self.buffer);
            self.buffer.push(b'\n');
        } else {
            self.record.clear();
            protobuf::encode_event(event, &mut self.record);
            let tag = record_tag(event.payload.topic());
            let payload_length = self.record.len() as u64;
            let length = 1 + prost::encoding::encoded_len_varint(payload_length) as u64 + payload_length;
            prost::encoding::encode_varint(length, &mut self.buffer);
            self.buffer.push(tag);
            prost::encoding::encode_varint(payload_length, &mut self.buffer);
            self.buffer.extend_from_slice(&self.record);
        }
        self.out.write_all(&self.buffer)
    }

    /// Flushes the output.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

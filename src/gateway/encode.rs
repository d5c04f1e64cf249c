//! Owns the encoding of events and marks for the topics of the configuration.

use super::source::Outgoing;
use crate::codec::{Encoding, framing, json, protobuf};
use crate::config::Topics;
use crate::domain::event::progress::Progress;
use crate::domain::source::Topic;

/// The schema id in the Schema Registry framing; the processor does not look it up.
const SCHEMA_ID: u32 = 1;

/// The value of the message of an event.
pub fn event(topics: &Topics, outgoing: &Outgoing) -> Vec<u8> {
    let topic = outgoing.topic();
    let mut value = Vec::with_capacity(outgoing.json().len() + 8);
    match framed(topics, topic, &mut value) {
        Encoding::Json | Encoding::ConfluentJson => value.extend_from_slice(outgoing.json()),
        Encoding::Protobuf | Encoding::ConfluentProtobuf => outgoing.write_protobuf(&mut value),
    }
    value
}

/// The value of the message of a progress mark.
pub fn mark(topics: &Topics, topic: Topic, progress: &Progress) -> Vec<u8> {
    let mut value = Vec::with_capacity(128);
    match framed(topics, topic, &mut value) {
        Encoding::Json | Encoding::ConfluentJson => json::encode_progress(progress, &mut value),
        Encoding::Protobuf | Encoding::ConfluentProtobuf => protobuf::encode_progress(topic, progress, &mut value),
    }
    value
}

/// Writes the framing of a topic; returns its encoding.
fn framed(topics: &Topics, topic: Topic, value: &mut Vec<u8>) -> Encoding {
    let encoding = topics.sources[topic].encoding;
    match encoding {
        Encoding::Json | Encoding::Protobuf => {}
        Encoding::ConfluentJson => framing::write_json_prefix(SCHEMA_ID, value),
        Encoding::ConfluentProtobuf => framing::write_protobuf_prefix(SCHEMA_ID, topic, value),
    }
    encoding
}

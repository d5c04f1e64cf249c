//! Converts between bytes and domain types, one format per file. Every encoding accepts the same events and rejects the
//! same messages, and no input panics. What an event means is decided in the domain.
//!
//! Required fields and value ranges are defined once, in `check`; the formats differ only in syntax. A rejection names
//! the field and the problem, never the value, which may be personal data.

#[cfg(test)]
mod arbitrary;
mod check;
pub mod framing;
pub mod json;
mod names;
mod payloads;
pub mod proto;
pub mod protobuf;
mod reject;
pub mod state;

pub use reject::Reject;

use crate::domain::event::Event;
use crate::domain::named::named_enum;
use crate::domain::source::Topic;

named_enum! {
    /// The encoding of the messages of a topic.
    #[derive(Default)]
    pub enum Encoding, named "used in the configuration" {
        /// One JSON object per message.
        #[default]
        Json = "json",
        /// A bare protobuf message.
        Protobuf = "protobuf",
        /// A protobuf message with Schema Registry framing.
        ConfluentProtobuf = "confluent_protobuf",
    }
}

impl Encoding {
    /// The `content-type` header of messages in this encoding.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
            Self::ConfluentProtobuf => "application/vnd.confluent.protobuf",
        }
    }

    /// The encoding named by a `content-type` header; parameters and letter case are ignored.
    pub fn from_content_type(header: &[u8]) -> Option<Self> {
        let text = str::from_utf8(header).ok()?;
        let media_type = text.split(';').next()?.trim().to_ascii_lowercase();
        match media_type.as_str() {
            // Structured-mode CloudEvents wrap the event in their own envelope, which is not supported.
            "application/cloudevents+json" => None,
            "application/json" | "text/json" => Some(Self::Json),
            "application/protobuf"
            | "application/x-protobuf"
            | "application/vnd.google.protobuf"
            | "application/x-google-protobuf" => Some(Self::Protobuf),
            "application/vnd.confluent.protobuf"
            | "application/vnd.confluent+protobuf"
            | "application/x-confluent-protobuf" => Some(Self::ConfluentProtobuf),
            other => (other.starts_with("application/") && other.ends_with("+json")).then_some(Self::Json),
        }
    }
}

/// Decodes a message of `topic`; `schema_in_header` is set if the message has a `__value_schema_id` header.
pub fn decode(encoding: Encoding, topic: Topic, schema_in_header: bool, bytes: &[u8]) -> Result<Event, Reject> {
    match encoding {
        Encoding::Json => json::decode_for(topic, bytes),
        Encoding::Protobuf => protobuf::decode(topic, bytes),
        Encoding::ConfluentProtobuf => protobuf::decode(topic, framing::strip(bytes, schema_in_header)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::reject::Reason;
    use proptest::prelude::*;

    #[test]
    fn encodings_are_found_by_content_type() {
        for encoding in Encoding::ALL {
            assert_eq!(Encoding::from_content_type(encoding.content_type().as_bytes()), Some(encoding));
        }
    }

    #[test]
    fn content_types_ignore_case_and_parameters() {
        let json = ["application/json", "Application/JSON; charset=utf-8", " application/problem+json ", "text/json"];
        for text in json {
            assert_eq!(Encoding::from_content_type(text.as_bytes()), Some(Encoding::Json), "{text}");
        }
        for text in ["application/x-protobuf", "APPLICATION/PROTOBUF;v=1", "application/vnd.google.protobuf"] {
            assert_eq!(Encoding::from_content_type(text.as_bytes()), Some(Encoding::Protobuf), "{text}");
        }
        let unknown: [&[u8]; 6] =
            [b"", b";", b"text/plain", b"application/cloudevents+json", b"avro/binary", b"application/json\xff"];
        for bytes in unknown {
            assert_eq!(Encoding::from_content_type(bytes), None, "{bytes:?}");
        }
    }

    /// The event in `encoding`.
    fn encoded(encoding: Encoding, event: &Event) -> Vec<u8> {
        let mut bytes = Vec::new();
        match encoding {
            Encoding::Json => json::encode_event(event, &mut bytes),
            Encoding::Protobuf => protobuf::encode_event(event, &mut bytes),
            Encoding::ConfluentProtobuf => {
                framing::write_prefix(7, event.payload.topic(), &mut bytes);
                protobuf::encode_event(event, &mut bytes);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn every_event_round_trips_through_every_encoding(event in arbitrary::event()) {
            for encoding in Encoding::ALL {
                let bytes = encoded(encoding, &event);
                let back = decode(encoding, event.payload.topic(), false, &bytes);
                prop_assert_eq!(back.as_ref(), Ok(&event), "{}: {:?}", encoding.name(), bytes);
            }
        }

        #[test]
        fn an_event_on_the_wrong_topic_has_no_payload(event in arbitrary::event()) {
            for encoding in Encoding::ALL {
                let bytes = encoded(encoding, &event);
                for topic in Topic::ALL.into_iter().filter(|topic| *topic != event.payload.topic()) {
                    let reject = decode(encoding, topic, false, &bytes).expect_err("rejected");
                    prop_assert_eq!(reject.reason, Reason::NoPayload);
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
            for encoding in Encoding::ALL {
                for topic in Topic::ALL {
                    let _ = decode(encoding, topic, header, &bytes);
                }
            }
        }

        #[test]
        fn no_corruption_panics(event in arbitrary::event(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            for encoding in Encoding::ALL {
                let mut bytes = encoded(encoding, &event);
                let at = at.index(bytes.len());
                bytes[at] = byte;
                let _ = decode(encoding, event.payload.topic(), false, &bytes);
                let _ = decode(encoding, event.payload.topic(), true, &bytes[at..]);
            }
        }
    }
}

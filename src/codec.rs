//! Converts between bytes and domain types, one format per file. Every encoding accepts the same events and rejects the
//! same messages, and no input panics. What an event means is decided in the domain.
//!
//! Required fields and value ranges are defined once, in `check`; the formats differ only in syntax. A rejection names
//! the field and the problem, never the value, which may be personal data.

#[cfg(test)]
mod arbitrary;
pub mod ascii;
mod check;
pub mod framing;
pub mod json;
mod limits;
mod names;
mod payloads;
pub mod proto;
pub mod protobuf;
mod reject;
pub mod state;

pub use limits::{EventLimits, MAX_LINK_BYTES};
pub use reject::Reject;

#[cfg(test)]
use crate::domain::event::Event;
use crate::domain::event::progress::Incoming;
use crate::domain::event::repair::Repairs;
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
        /// One JSON object with Schema Registry framing.
        ConfluentJson = "confluent_json",
    }
}

impl Encoding {
    /// The `content-type` header of messages in this encoding.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
            Self::ConfluentProtobuf => "application/vnd.confluent.protobuf",
            Self::ConfluentJson => "application/vnd.confluent.json",
        }
    }

    /// The encoding of a message with this `content-type` header on a topic of this encoding. Registry framing is
    /// configured for a topic: the serializers do not announce it in the header.
    pub fn of_message(self, content_type: &[u8]) -> Option<Self> {
        Some(match (self, Self::from_content_type(content_type)?) {
            (Self::ConfluentProtobuf, Self::Protobuf) | (Self::ConfluentJson, Self::Json) => self,
            (_, stated) => stated,
        })
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
            "application/vnd.confluent.json" | "application/vnd.confluent+json" | "application/x-confluent-json" => {
                Some(Self::ConfluentJson)
            }
            other => (other.starts_with("application/") && other.ends_with("+json")).then_some(Self::Json),
        }
    }
}

/// Decodes a message of `topic`, with its repairs; `schema_in_header` is set if the message has a `__value_schema_id`
/// header.
pub fn decode(
    encoding: Encoding,
    topic: Topic,
    schema_in_header: bool,
    bytes: &[u8],
) -> Result<(Incoming, Repairs), Reject> {
    match encoding {
        Encoding::Json => json::decode_with_repairs(Some(topic), bytes),
        Encoding::Protobuf => protobuf::decode_with_repairs(topic, bytes),
        Encoding::ConfluentProtobuf => {
            protobuf::decode_with_repairs(topic, framing::strip_protobuf(bytes, schema_in_header)?)
        }
        Encoding::ConfluentJson => {
            json::decode_with_repairs(Some(topic), framing::strip_json(bytes, schema_in_header)?)
        }
    }
}

/// The event in `encoding`.
#[cfg(test)]
fn encoded(encoding: Encoding, event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    match encoding {
        Encoding::Json => json::encode_event(event, &mut bytes),
        Encoding::Protobuf => protobuf::encode_event(event, &mut bytes),
        Encoding::ConfluentProtobuf => {
            framing::write_protobuf_prefix(7, event.payload.topic(), &mut bytes);
            protobuf::encode_event(event, &mut bytes);
        }
        Encoding::ConfluentJson => {
            framing::write_json_prefix(7, &mut bytes);
            json::encode_event(event, &mut bytes);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Payload;
    use crate::domain::event::progress::Progress;
    use crate::domain::event::reject::Reason;
    use crate::domain::event::repair::Repair;
    use crate::domain::time::{Span, Timestamp};
    use proptest::prelude::*;

    #[test]
    fn encodings_are_found_by_content_type() {
        for encoding in Encoding::ALL {
            assert_eq!(Encoding::from_content_type(encoding.content_type().as_bytes()), Some(encoding));
        }
    }

    #[test]
    fn registry_framing_is_not_announced() {
        let table = [
            (Encoding::ConfluentJson, "application/json", Encoding::ConfluentJson),
            (Encoding::ConfluentJson, "application/x-protobuf", Encoding::Protobuf),
            (Encoding::ConfluentProtobuf, "application/protobuf", Encoding::ConfluentProtobuf),
            (Encoding::ConfluentProtobuf, "application/json", Encoding::Json),
            (Encoding::Json, "application/vnd.confluent+json", Encoding::ConfluentJson),
            (Encoding::Protobuf, "text/json", Encoding::Json),
        ];
        for (topic, header, expected) in table {
            assert_eq!(topic.of_message(header.as_bytes()), Some(expected), "{header}");
            assert_eq!(topic.of_message(b"text/csv"), None);
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

    /// What decoding makes of the times of a call that ends at 12:00 on 2 March 2026, in both formats.
    fn call_times(
        started: Option<&str>,
        answered: Option<&str>,
        talk: Option<f64>,
    ) -> (Option<Timestamp>, Span, Vec<Repair>) {
        use proto::well_known;
        let time = |text: &str| {
            let at = Timestamp::parse_any(text).expect(text);
            well_known::Timestamp { seconds: at.0.div_euclid(1000), nanos: (at.0.rem_euclid(1000) * 1_000_000) as i32 }
        };
        let call = proto::CallEnded {
            call_id: "c".into(),
            direction: proto::Direction::Inbound.into(),
            outcome: proto::CallOutcome::Answered.into(),
            started_at: started.map(time),
            answered_at: answered.map(time),
            talk_seconds: talk,
            ..Default::default()
        };
        let message = proto::TelephonyEvent {
            tenant_id: "t".into(),
            occurred_at: Some(time("2026-03-02T12:00:00Z")),
            payload: Some(proto::telephony_event::Payload::CallEnded(call)),
            ..Default::default()
        };
        let text = serde_json::json!({"tenant_id": "t", "call_ended": {"call_id": "c", "direction": "INBOUND",
            "outcome": "ANSWERED", "started_at": started, "answered_at": answered, "talk_seconds": talk},
            "occurred_at": "2026-03-02T12:00:00Z"});
        let decoded = decode(Encoding::Json, Topic::Telephony, false, text.to_string().as_bytes());
        let message = prost::Message::encode_to_vec(&message);
        assert_eq!(decode(Encoding::Protobuf, Topic::Telephony, false, &message), decoded, "{text}");
        let (event, repairs) = decoded.unwrap_or_else(|reject| panic!("{reject}: {text}"));
        match event.event().expect("an event").payload {
            Payload::Call(call) => {
                let end = call.end.expect("an end");
                (end.started_at, end.talk, repairs.iter().collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_progress_mark_needs_its_tenant_and_an_instant() {
        let whole = serde_json::json!({"tenant_id": "t", "occurred_at": "2026-03-02T12:00:00Z", "source": 7,
            "progress": {"upTo": "2026-03-02T12:00:00Z", "backfill": "Y", "more": 1}});
        let read = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = whole.clone();
            change(&mut value);
            decode(Encoding::Json, Topic::Email, false, value.to_string().as_bytes())
                .map_err(|reject| reject.to_string())
        };
        let Ok((Incoming::Progress(progress), repairs)) = read(&|_| {}) else { panic!("not accepted") };
        assert_eq!((progress.backfill, progress.source.as_str()), (true, ""), "a wrong source is dropped");
        assert_eq!(repairs.iter().collect::<Vec<_>>(), [Repair::WrongValue]);
        type Change<'a> = &'a dyn Fn(&mut serde_json::Value);
        let table: [(Change<'_>, _); 5] = [
            (&|value| value["tenant_id"] = "".into(), "no_tenant: tenant_id: missing"),
            (&|value| value["occurred_at"] = "".into(), "no_time: occurred_at: missing"),
            (&|value| value["progress"]["upTo"] = "".into(), "missing_field: progress.up_to: missing"),
            (
                &|value| value["progress"]["upTo"] = "9999-01-01T00:00:00Z".into(),
                "bad_value: progress.up_to: out of range: expected years 1 to 9998",
            ),
            (
                &|value| value["deleted"] = serde_json::json!({"entity": {"kind": "LEAD", "id": 1}}),
                "several_payloads: progress: more than one payload",
            ),
        ];
        for (change, reject) in table {
            assert_eq!(read(change).err().as_deref(), Some(reject));
        }
        assert!(json::decode(whole.to_string().as_bytes()).is_err(), "it is no event");
    }

    #[test]
    fn impossible_times_of_calls_are_put_right() {
        use Repair::*;
        let (start, answer) = (Some("2026-03-02T11:55:00Z"), Some("2026-03-02T11:56:00Z"));
        let at = Timestamp::parse("2026-03-02T11:55:00Z");
        let seconds = Span::from_seconds;
        let table: [(_, _, _, _, _, &[Repair]); 18] = [
            (start, answer, Some(10.5), at, 10.5, &[]),
            (start, answer, Some(0.0), at, 0.0, &[]),
            (start, None, None, at, 0.0, &[]),
            (start, answer, None, at, 240.0, &[TalkMissing]),
            (start, Some("2026-03-02T12:00:00Z"), None, at, 0.0, &[TalkMissing]),
            (start, Some("2026-03-02T12:00:00.001Z"), None, at, 0.0, &[TalkMissing]),
            (start, Some("2026-03-01T12:00:00Z"), None, at, 86_400.0, &[TalkMissing]),
            (start, Some("2026-03-01T11:59:59.999Z"), None, at, 0.0, &[TalkMissing]),
            (start, Some("9999-03-01T11:59:59Z"), None, at, 0.0, &[DateOutOfRange]),
            (start, answer, Some(-3.0), at, 0.0, &[TalkNegative]),
            (start, None, Some(-1e300), at, 0.0, &[TalkNegative]),
            (None, answer, Some(5.0), None, 5.0, &[StartMissing]),
            (Some("2026-03-02T12:00:00Z"), None, None, Timestamp::parse("2026-03-02T12:00:00Z"), 0.0, &[]),
            (Some("2026-03-02T12:00:00.001Z"), None, Some(5.0), None, 5.0, &[StartAfterEnd]),
            (Some("2026-03-01T12:00:00Z"), None, None, Timestamp::parse("2026-03-01T12:00:00Z"), 0.0, &[]),
            (Some("2026-03-01T11:59:59.999Z"), None, Some(5.0), None, 5.0, &[StartTooEarly]),
            (Some("0001-01-01T00:00:00Z"), answer, None, None, 240.0, &[StartTooEarly, TalkMissing]),
            (Some("0000-12-31T00:00:00Z"), None, Some(-1.0), None, 0.0, &[DateOutOfRange, StartMissing, TalkNegative]),
        ];
        for (started, answered, talk, expected_start, expected_talk, repairs) in table {
            let expected = (expected_start, seconds(expected_talk), repairs.to_vec());
            assert_eq!(call_times(started, answered, talk), expected, "{started:?} {answered:?} {talk:?}");
        }
    }

    proptest! {
        #[test]
        fn every_event_round_trips_through_every_encoding(event in arbitrary::event()) {
            for encoding in Encoding::ALL {
                let bytes = encoded(encoding, &event);
                let back = decode(encoding, event.payload.topic(), false, &bytes);
                prop_assert_eq!(back.map(|(back, _)| back.event()), Ok(Some(event.clone())), "{}: {:?}", encoding.name(), bytes);
            }
        }

        #[test]
        fn every_progress_mark_round_trips_through_every_encoding(
            tenant in "[a-zа-я]{1,9}",
            source in "[a-z 0-9]{0,9}",
            up_to in Timestamp::VALID,
            backfill in any::<bool>(),
            topic in proptest::sample::select(&Topic::ALL[..]),
        ) {
            let source = source.trim().into();
            let progress = Progress { tenant: tenant.as_str().into(), source, up_to: Timestamp(up_to), backfill };
            let mut bytes = [Vec::new(), Vec::new()];
            json::encode_progress(&progress, &mut bytes[0]);
            protobuf::encode_progress(topic, &progress, &mut bytes[1]);
            for (encoding, bytes) in [Encoding::Json, Encoding::Protobuf].into_iter().zip(&bytes) {
                let back = decode(encoding, topic, false, bytes).map(|(incoming, _)| incoming);
                prop_assert_eq!(back, Ok(Incoming::Progress(progress.clone())), "{}: {:?}", encoding.name(), bytes);
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

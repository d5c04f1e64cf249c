//! Benchmarks of decoding an event from JSON and protobuf: a call, a lead, and a mix of simulated events.

use crate::load;
use crate::load::Hash;
use criterion::Criterion;
use funnelwatch::codec::{Encoding, decode, protobuf};
use funnelwatch::domain::event::Event;
use funnelwatch::domain::source::Topic;
use std::hint::black_box;

const CALL_ENDED: &str = r#"{"event_id":"5f3c2a1e-7b7d-4e0a-9d55-0a1b2c3d4e5f","tenant_id":"acme","occurred_at":"2026-03-02T12:03:20.500Z","source":"asterisk","call_ended":{"call_id":"1709294400.12345","direction":"INBOUND","phone":"+7 812 123-45-67","manager_id":"m-17","entity":{"kind":"LEAD","id":"1001"},"line":"100","started_at":"2026-03-02T12:00:00.000Z","answered_at":"2026-03-02T12:00:10.000Z","talk_seconds":183.5,"outcome":"ANSWERED","recording_url":"https://pbx.example.com/rec/1709294400.12345.mp3"}}"#;

const LEAD_CREATED: &str = r#"{"event_id":"evt-000001234567","tenant_id":"acme","occurred_at":"2026-03-02T12:00:00Z","source":"bitrix24","lead_created":{"lead_id":"L-100023","manager_id":"m-17","pipeline_id":"sales","stage_id":"NEW","source_id":"WEB","contacts":[{"phone":"+7 812 123-45-67"},{"email":"ivan@example.com"}]}}"#;

fn decoded(encoding: Encoding, topic: Topic, bytes: &[u8]) -> Event {
    decode(encoding, topic, false, bytes).unwrap_or_else(|reject| panic!("{reject}")).0.event().expect("an event")
}

fn to_protobuf(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    protobuf::encode_event(event, &mut bytes);
    bytes
}

fn single_event(criterion: &mut Criterion, name: &str, topic: Topic, json: &str) {
    let event = decoded(Encoding::Json, topic, json.as_bytes());
    let mut group = load::group(criterion, &format!("decode/{name}"), 1);
    for (encoding, bytes) in [(Encoding::Json, json.as_bytes().to_vec()), (Encoding::Protobuf, to_protobuf(&event))] {
        let hash = Hash::EMPTY.add(&decoded(encoding, topic, &bytes));
        load::print_hash(&format!("decode/{name}/{} ({} bytes)", encoding.name(), bytes.len()), hash);
        group.bench_function(encoding.name(), |bencher| {
            bencher.iter(|| decoded(encoding, topic, black_box(&bytes)));
        });
    }
    group.finish();
}

fn mix(criterion: &mut Criterion) {
    let events = load::events(load::size(10_000, 50));
    let mut group = load::group(criterion, "decode/mix", events.len());
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let messages: Vec<(Topic, Vec<u8>)> = events
            .iter()
            .map(|event| {
                let bytes = match encoding {
                    Encoding::Json => load::encoded(std::slice::from_ref(event), encoding).trim_ascii_end().to_vec(),
                    _ => to_protobuf(event),
                };
                (event.payload.topic(), bytes)
            })
            .collect();
        let decode_all = || messages.iter().map(|(topic, bytes)| decoded(encoding, *topic, bytes));
        load::print_hash(
            &format!("decode/mix/{}", encoding.name()),
            decode_all().fold(Hash::EMPTY, |hash, event| hash.add(&event)),
        );
        group.bench_function(encoding.name(), |bencher| {
            bencher.iter(|| decode_all().map(black_box).count());
        });
    }
    group.finish();
}

pub(crate) fn benches(criterion: &mut Criterion) {
    single_event(criterion, "call_ended", Topic::Telephony, CALL_ENDED);
    single_event(criterion, "lead_created", Topic::Crm, LEAD_CREATED);
    mix(criterion);
}

//! No output record is larger than its topic takes, whatever the input.

use super::*;
use crate::codec::state::{PACKING, ShardRecord, SourceLog, StateDigest};
use crate::codec::{EventLimits, Reject};
use crate::domain::alert::{Status, Value, Values};
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repairs;
use crate::domain::event::{Direction, EventOrder};
use crate::domain::figures::row::{Figures, Subject};
use crate::domain::figures::statistics::Ratio;
use crate::domain::figures::table::{ByStage, NowFigures, WindowFigures};
use crate::domain::id::{EntityId, ManagerId};
use crate::domain::review::{About, Ending, Medium};
use crate::domain::rule::Rule;
use crate::domain::shard::processor::ShardCheckpoint;
use crate::domain::source::{Offset, Topic};
use crate::domain::time::Span;
use crate::domain::time::window::Window;
use compact_str::CompactString;
use proptest::prelude::*;
use rdkafka::message::Headers as _;
use std::convert::Infallible;
use std::sync::Arc;

/// The least that a topic takes.
const LEAST: usize = 256 << 10;
/// What the record of an event has besides it.
const ROOM: usize = 16 << 10;
/// The longest ids and texts that can be configured.
const LIMITS: EventLimits = EventLimits { id_bytes: 512, name_bytes: 4096, list_entries: 100_000 };

/// The sizes of the records of an epoch, with an upper bound of their framing.
fn sizes(output: &EpochOutput, record_bytes: usize, encoding: Encoding) -> Vec<usize> {
    let mut config = Config::default();
    config.topics.output = encoding;
    let mut sizes = Vec::new();
    let mut keep = |record: OutputRecord<'_>| -> Result<(), Infallible> {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = record.headers.iter().flat_map(|headers| headers.iter());
        let headers: usize = headers.map(|header| header.key.len() + length(header.value) + 10).sum();
        // 61 bytes for the batch, 7 numbers of at most 10 bytes for the record.
        sizes.push(length(record.key) + length(record.value) + headers + 61 + 70);
        Ok(())
    };
    let mut writer = RecordWriter::new(&config, 4, record_bytes);
    let Ok(()) = writer.write(output, Timestamp(0), &mut keep);
    let Ok(()) = output.rows.iter().try_for_each(|row| keep(writer.row(row)));
    sizes
}

fn encodings() -> impl Strategy<Value = Encoding> {
    proptest::sample::select(vec![Encoding::Json, Encoding::Protobuf])
}

/// An id of the greatest length, in which each byte is two in JSON.
fn id(number: usize) -> CompactString {
    format!("{number:04}").chars().chain(std::iter::repeat_n('"', LIMITS.id_bytes - 4)).collect()
}

fn row(stages: usize, now: bool) -> Row {
    let mut open = ByStage::new();
    let mut passed = ByStage::new();
    for number in 0..stages {
        open.entry(id(number % 7).as_str().into()).or_default().insert(id(number).as_str().into(), i64::MAX / 4096);
        let ratio = Ratio { n: i64::MAX / 4096, k: 1 };
        passed.entry(id(number).as_str().into()).or_default().insert(id(number).as_str().into(), ratio);
    }
    let amount_won = (0..stages).map(|number| (id(number), -1)).collect();
    let window = Window { size: Span::DAY, in_days: false, slide: Span::HOUR };
    let figures = match now {
        true => Figures::Now(Box::new(NowFigures { overdue: open.clone(), open, ..NowFigures::default() })),
        false => Figures::Window(
            window,
            Box::new(WindowFigures { stage_conversion: passed, amount_won, ..WindowFigures::default() }),
        ),
    };
    let subject = Subject::Manager(id(0).as_str().into());
    Row { tenant: id(1).as_str().into(), subject, department: None, at: Timestamp(0), historic: false, figures }
}

/// A message of a topic of CRM events with a key, headers and a value of these lengths.
fn message(key: usize, headers: &[usize], value: usize) -> Arc<Batch> {
    let mut bytes = vec![b'k'; key];
    bytes.resize(key + value, b'v');
    let header = |(number, length): (usize, &usize)| (format!("header-{number}"), Some(vec![b'h'; *length]));
    let mut list: Vec<_> = headers.iter().enumerate().map(header).collect();
    let long = format!("application/{}+json", "x".repeat(headers.first().copied().unwrap_or_default()));
    list.push(("content-type".into(), Some(long.into_bytes())));
    list.push((SCHEMA_HEADER.into(), Some(b"1".into())));
    let message = Message {
        offset: Offset(i64::MAX),
        topic: Some(Topic::Crm),
        timestamp: None,
        key: Some(0..key as u32),
        value: Some(key as u32..(key + value) as u32),
        headers: Some(list.into()),
    };
    let mut batch = Batch::new(Source::Topic(Topic::Crm), Some(ShardId(2)), Encoding::Json);
    (batch.bytes, batch.messages) = (bytes, vec![message]);
    Arc::new(batch)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_name_as_many_stages_as_fit(
        stages in prop_oneof![0..600usize, 2000..2500usize],
        now in any::<bool>(),
        record_bytes in LEAST..1 << 20,
        encoding in encodings(),
    ) {
        let output = EpochOutput { rows: vec![row(stages, now)], ..EpochOutput::default() };
        let sizes = sizes(&output, record_bytes, encoding);
        prop_assert!(sizes.iter().all(|size| *size <= record_bytes), "{sizes:?}");
        prop_assert!(stages < 300 || sizes[0] > record_bytes / 5, "much was left out: {sizes:?}");
    }

    #[test]
    fn dead_letters_and_rerouted_messages_keep_what_fits(
        key in 0..2_500_000usize,
        headers in prop::collection::vec(0..2_000_000usize, 0..4),
        value in 0..3_000_000usize,
        record_bytes in LEAST..1 << 20,
    ) {
        let reject = Reject::new(Reason::Malformed, "not JSON");
        let rejected = vec![RejectedMessage { batch: message(key, &headers, value), message: 0, reject }];
        // Only a message that was decoded is rerouted.
        let batch = message(key, &headers, value.min(record_bytes - ROOM));
        let misrouted = vec![MisroutedMessage { batch, message: 0, shard: ShardId(3), topic: Topic::Crm }];
        let output = EpochOutput { rejected, misrouted, ..EpochOutput::default() };
        let sizes = sizes(&output, record_bytes, Encoding::Json);
        prop_assert_eq!(sizes.len(), 2);
        prop_assert!(sizes.iter().all(|size| *size <= record_bytes), "{sizes:?}");
    }

    #[test]
    fn the_record_of_an_applied_event_is_little_larger_than_its_message(
        contacts in prop::collection::vec(0..300usize, 0..1000),
        encoding in proptest::sample::select(vec![Encoding::Json, Encoding::Protobuf]),
    ) {
        let phone = |length: &usize| serde_json::json!({"phone": "1".repeat(*length)});
        let contacts: Vec<_> = contacts.iter().map(phone).collect();
        let text = serde_json::json!({"tenant_id": id(1).as_str(), "event_id": id(2).as_str(), "occurred_at": "2026-03-02T12:00:00Z",
            "lead_created": {"lead_id": id(3).as_str(), "stage_id": id(4).as_str(), "contacts": contacts}});
        let mut bytes = text.to_string().into_bytes();
        if encoding == Encoding::Protobuf {
            let event = json::decode(&bytes).expect("an event");
            bytes.clear();
            protobuf::encode_event(&event, &mut bytes);
        }
        let (mut incoming, _) = crate::codec::decode(encoding, Topic::Crm, false, &bytes).expect("an event");
        LIMITS.apply(&mut incoming, &mut Repairs::default()).expect("within the limits");
        let event = incoming.event().expect("an event");
        let (mut packed, mut records) = (Vec::new(), Records::default());
        (PACKING.pack)(&event.payload, &mut packed);
        let order = EventOrder::of(event.at, Topic::Crm, Source::Topic(Topic::Crm), Offset(i64::MAX));
        records.applied(&event.tenant, order, event.id.as_ref(), &packed);
        prop_assert!(records.bytes() + FRAMING <= bytes.len() + ROOM, "{} of {}", records.bytes(), bytes.len());
    }
}

#[test]
fn alerts_and_review_requests_of_the_longest_ids_are_small() {
    let long = |text: &str| Value::Text(text.repeat(LIMITS.name_bytes).into());
    let observed: Values = vec![("reason", long("\u{1}")), ("stage", Value::Text(id(1)))];
    for rule in Rule::ALL {
        let alert = Alert {
            tenant: id(0).as_str().into(),
            rule: *rule,
            status: Status::Firing,
            subject: EntityId::deal(&id(2)).subject(Some(&id(3))),
            manager: Some(id(4).as_str().into()),
            department: Some(id(5).as_str().into()),
            entity: Some(EntityId::deal(&id(2))),
            interaction: Some(id(6)),
            observed: observed.clone(),
            norm: observed.clone(),
            ..Alert::sample("acme", *rule, "lead:1", Timestamp(0))
        };
        let recording_url = Some("\u{1}".repeat(crate::codec::MAX_LINK_BYTES).into());
        let review = ReviewRequest {
            tenant: id(0).as_str().into(),
            manager: ManagerId(id(1)),
            department: id(2).as_str().into(),
            interaction: id(3),
            medium: Medium::Call { direction: Direction::Inbound, talk: Span(i64::MAX), recording_url },
            at: Timestamp(0),
            day: Default::default(),
            requested_at: Timestamp(0),
            about: Some(About {
                entity: EntityId::deal(&id(4)),
                ending: Ending::Open,
                pipeline: Some(id(5).as_str().into()),
                stage: Some(id(6).as_str().into()),
            }),
        };
        let output = EpochOutput { alerts: vec![alert], reviews: vec![review], ..EpochOutput::default() };
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let sizes = sizes(&output, LEAST, encoding);
            assert_eq!(sizes.len(), 3, "an alert, an open alert, a review request");
            assert!(sizes.iter().all(|size| *size <= LEAST), "{}: {sizes:?}", rule.name());
        }
    }
}

#[test]
fn the_shard_record_is_small_if_every_second_event_was_refused() {
    let mut checkpoint = ShardCheckpoint::default();
    for source in Source::LIVE {
        checkpoint.read.insert(source, Offset(i64::MAX));
        (0..15_000).for_each(|number| checkpoint.refused.insert(source, Offset((1 << 40) + number * 2)));
    }
    let log = SourceLog { topic: Some(uuid::Uuid::max()), shift: i64::MIN };
    let logs = Source::LIVE.map(|source| (source, log)).into();
    let digest = StateDigest::default();
    let state = ShardRecord { checkpoint, digest, written: Timestamp(0), logs, rows_follow: true };
    assert!(state.encode().bytes() + FRAMING <= LEAST, "{}", state.encode().bytes());
}

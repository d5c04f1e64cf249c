//! Metamorphic tests: the same events at another time, with other names, with another tenant, in other batches,
//! duplicated, in disorder or in another encoding give the same alerts and rows.
//!
//! They contain no expectations and do not use the oracle's output, so they also hold for future rules. The events are
//! streams of the oracle's generator and of the simulator.

use super::contract::with_warnings;
use crate::common::{Output, Replay};
use crate::delay::delayed;
use crate::oracle;
use compact_str::format_compact;
use funnelwatch::codec::state::PACKING;
use funnelwatch::codec::{Encoding, json};
use funnelwatch::config;
use funnelwatch::domain::alert::{Alert, alert_id};
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::{AnsweredBy, Call, CallOutcome, CrmPayload, Direction, Event, Payload};
use funnelwatch::domain::figures::pane::Fact;
use funnelwatch::domain::id::{CallId, EventId, SessionId, TenantId};
use funnelwatch::domain::identity::{self, Country};
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::rule::message::Language;
use funnelwatch::domain::rule::{Rule, message};
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard::processor::{ShardProcessor, ShardProgress, SourceProgress, Timing};
use funnelwatch::domain::source::{Offset, Source};
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::files::{EventFiles, EventWriter};
use funnelwatch::sim::{Disorder, Plan, Simulation, norms_yaml};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Events in time order, and norms to judge them by.
#[derive(Clone)]
struct Case {
    name: String,
    events: Vec<Value>,
    norms: Value,
}

/// Fourteen streams of the oracle's generator and two of the simulator; every property has different ones.
fn cases(first_seed: u64) -> impl Iterator<Item = Case> {
    let generated = (first_seed..first_seed + 14).map(|seed| {
        let (events, norms) = oracle::stream::stream(seed, 300);
        Case { name: format!("generated {seed}"), events, norms }
    });
    let simulated = (first_seed..first_seed + 2).map(|seed| {
        let events = Simulation::new(Plan::demo(seed)).take(800).duplicated(0.05, seed);
        let norms = Yaml::load_from_str(norms_yaml()).expect("YAML");
        Case {
            name: format!("simulated {seed}"),
            events: events.map(|e| written(&e)).collect(),
            norms: value(&norms[0]),
        }
    });
    generated.chain(simulated)
}

fn written(event: &Event) -> Value {
    let mut line = Vec::new();
    json::encode_event(event, &mut line);
    serde_json::from_slice(&line).expect("events are JSON")
}

/// Converts YAML to JSON.
fn value(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Mapping(map) => map.iter().map(|(key, of)| (key.as_str().expect("text").to_owned(), value(of))).collect(),
        Yaml::Sequence(list) => list.iter().map(value).collect(),
        Yaml::Value(Scalar::String(text)) => json!(text),
        Yaml::Value(Scalar::Integer(number)) => json!(number),
        Yaml::Value(Scalar::FloatingPoint(number)) => json!(number.into_inner()),
        Yaml::Value(Scalar::Boolean(truth)) => json!(truth),
        _ => Value::Null,
    }
}

impl Case {
    fn replay(&self) -> Output {
        Replay::PLAIN.run(&self.events, &self.norms.to_string())
    }

    fn norms(&self) -> Arc<Norms> {
        let document = config::parse_norms("norms", &self.norms.to_string());
        Arc::new(document.unwrap_or_else(|problems| panic!("{}: {problems}", self.name)).norms)
    }

    /// Every event that can be decoded.
    fn decoded(&self) -> Vec<Event> {
        self.events.iter().filter_map(decoded).collect()
    }

    /// Fails with the first few lines that differ.
    #[track_caller]
    fn assert_same(&self, what: &str, expected: &Output, found: &Output) {
        for (kind, expected, found) in
            [("alert", &expected.alerts, &found.alerts), ("row", &expected.rows, &found.rows)]
        {
            let (expected, found) = (counted(expected), counted(found));
            let more = |these: &BTreeMap<String, i32>, those: &BTreeMap<String, i32>, mark| {
                let surplus = these.iter().filter(|(line, n)| those.get(*line).unwrap_or(&0) < n);
                surplus.take(4).map(|(line, _)| format!("{mark} {kind} {line}\n")).collect::<String>()
            };
            let difference = more(&expected, &found, '-') + &more(&found, &expected, '+');
            assert!(difference.is_empty(), "{}, {what} (- original, + changed):\n{difference}", self.name);
        }
        assert!(!expected.rows.is_empty(), "{}: no rows", self.name);
    }
}

fn counted(values: &[Value]) -> BTreeMap<String, i32> {
    let mut counted = BTreeMap::new();
    values.iter().for_each(|value| *counted.entry(value.to_string()).or_default() += 1);
    counted
}

fn decoded(event: &Value) -> Option<Event> {
    json::decode(event.to_string().as_bytes()).ok()
}

/// Changes every string in a value; `key` is the closest key above it.
fn change_texts(value: &mut Value, key: &str, change: &impl Fn(&str, &mut String)) {
    match value {
        Value::String(text) => change(key, text),
        Value::Array(list) => list.iter_mut().for_each(|item| change_texts(item, key, change)),
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| change_texts(value, key, change)),
        _ => {}
    }
}

/// The output with every alert and row changed.
fn changed(output: &Output, change: impl Fn(&mut Value)) -> Output {
    let mut output = output.clone();
    output.alerts.iter_mut().chain(&mut output.rows).for_each(change);
    output
}

// ---- time shift

/// Shifts every instant in a value.
fn shifted(value: &mut Value, by: Span) {
    change_texts(value, "", &|key, text| {
        if (key == "at" || key.ends_with("_at") || key.ends_with("At"))
            && let Some(at) = Timestamp::parse(text)
        {
            *text = at.saturating_add(by).to_string();
        }
    });
}

/// The alert id computed from the other fields.
fn id_of(alert: &Value) -> String {
    let text = |key: &str| alert[key].as_str().expect("a text");
    let rule = Rule::ALL.iter().find(|rule| rule.name() == text("rule")).expect("a rule");
    let anchor = Timestamp::parse(text("anchor_at")).expect("an instant");
    alert_id(&text("tenant_id").into(), *rule, text("subject"), anchor).to_string()
}

#[test]
fn a_time_shift_by_weeks_shifts_the_output() {
    for (mut case, weeks) in cases(1000).zip([1, -3, 52, 500].into_iter().cycle()) {
        for (_, calendar) in case.norms["calendars"].as_object_mut().expect("calendars") {
            calendar["timezone"] = json!("UTC");
            let calendar = calendar.as_object_mut().expect("a calendar");
            calendar.retain(|key, _| key != "days" && key != "years");
        }
        // Months and quarters are no number of weeks.
        case.norms.as_object_mut().expect("norms").remove("targets");
        let by = Span(7 * weeks * Span::DAY.0);
        let mut later = case.clone();
        later.events.iter_mut().for_each(|event| shifted(event, by));
        let found = later.replay();
        for alert in &found.alerts {
            assert_eq!(alert["alert_id"], id_of(alert), "{}", case.name);
        }
        let expected = changed(&case.replay(), |value| {
            shifted(value, by);
            if value.get("alert_id").is_some() {
                value["alert_id"] = json!(id_of(value));
            }
        });
        assert_eq!(expected.alerts, found.alerts, "{}: in the same order", case.name);
        case.assert_same(&format!("{weeks} weeks later"), &expected, &found);
    }
}

// ---- renaming

/// Another name that contains the old one but sorts differently.
fn renamed(name: &str) -> String {
    format!("{:04x}~{name}", fnv(name) >> 16)
}

/// FNV-1a, 32 bits.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn old_names(value: &mut Value) {
    let mut text = value.to_string();
    while let Some(end) = text.find('~') {
        text.replace_range(end - 4..=end, "");
    }
    *value = serde_json::from_str(&text).expect("JSON as before");
}

/// Name fields in events: envelope, payload, entities.
const NAMED: [&str; 26] = [
    "event_id",
    "tenant_id",
    "manager_id",
    "previous_manager_id",
    "changed_by",
    "closed_by",
    "approved_by",
    "reviewer_id",
    "department_id",
    "lead_id",
    "deal_id",
    "id",
    "call_id",
    "session_id",
    "leg_id",
    "message_id",
    "thread_id",
    "in_reply_to",
    "interaction_id",
    "pipeline_id",
    "stage_id",
    "from_stage_id",
    "to_stage_id",
    "source_id",
    "grade",
    "approvers",
];

/// Additional name fields in norms.
const NAMED_IN_NORMS: [&str; 4] = ["tenant", "department", "pipeline", "privacy_key"];

fn rename(key: &str, text: &mut String) {
    let snake: String = key.chars().fold(String::new(), |snake, letter| {
        if letter.is_ascii_uppercase() {
            snake + "_" + &letter.to_ascii_lowercase().to_string()
        } else {
            snake + &letter.to_string()
        }
    });
    if !text.is_empty() && (NAMED.contains(&snake.as_str()) || NAMED_IN_NORMS.contains(&key) && key != "privacy_key") {
        *text = renamed(text);
    }
}

#[test]
fn renaming_changes_only_names() {
    for mut case in cases(2000) {
        // By default the tenant id is the privacy key, which would change the contact keys.
        case.norms["privacy_key"] = json!("secret");
        let mut other = case.clone();
        other.events.iter_mut().for_each(|event| change_texts(event, "", &rename));
        change_texts(&mut other.norms, "", &rename);
        let pipelines = other.norms["pipelines"].as_object_mut().expect("pipelines");
        let renamed = std::mem::take(pipelines).into_iter().map(|(name, pipeline)| (renamed(&name), pipeline));
        *pipelines = renamed.collect::<Map<_, _>>();
        let without_id = |value: &mut Value| {
            value.as_object_mut().expect("an object").remove("alert_id");
        };
        let found = changed(&changed(&other.replay(), without_id), old_names);
        // Both are parsed once more, because parsing may change the last digit of a number.
        let expected = changed(&changed(&case.replay(), without_id), old_names);
        case.assert_same("other names", &expected, &found);
    }
}

// ---- another tenant

#[test]
fn another_tenant_does_not_affect_the_others() {
    for case in cases(3000) {
        let dated = |event: &Value| decoded(event).map(|event| event.at);
        let until = case.events.iter().filter_map(dated).max().map(|at| at.0);
        let replay = Replay { until, ..Replay::PLAIN };
        let mut larger = case.clone();
        // The new tenant has the events of the others, at almost the same time and with the same ids.
        let mut newcomer = case.events.clone();
        newcomer.iter_mut().for_each(|event| {
            shifted(event, Span(7 * Span::MINUTE.0 + 1));
            change_texts(event, "", &|key, text| {
                if key == "tenant_id" || key == "tenantId" {
                    *text = "newcomer".into();
                }
            });
        });
        larger.events.extend(newcomer);
        larger.events.sort_by_key(dated);
        let output = replay.run(&case.events, &case.norms.to_string());
        let found = Replay { workers: 2, ..replay }.run(&larger.events, &larger.norms.to_string());
        case.assert_same("another tenant", &output, &without_the_newcomer(&found));
        // A replay has one shard per tenant; here they share one.
        let (norms, end) = (case.norms(), until.map(Timestamp));
        let (output, _) = in_batches(&case.decoded(), &norms, &[5], end);
        let (found, _) = in_batches(&larger.decoded(), &norms, &[5], end);
        case.assert_same("another tenant in the same shard", &output, &without_the_newcomer(&found));
    }
}

fn without_the_newcomer(output: &Output) -> Output {
    let mut other_shards = output.clone();
    other_shards.alerts.retain(|alert| alert["tenant_id"] != "newcomer");
    other_shards.rows.retain(|row| row["tenant_id"] != "newcomer");
    assert!(other_shards.rows.len() < output.rows.len(), "the new tenant has rows too");
    other_shards
}

// ---- other batches

/// The output and facts of a shard up to `end` if the watermark advances after batches of these sizes and at the end.
fn in_batches(
    events: &[Event],
    norms: &Arc<Norms>,
    batch_sizes: &[usize],
    end: Option<Timestamp>,
) -> (Output, BTreeMap<String, i32>) {
    let timing = Timing { max_future_skew: None, until: end, ..Timing::default() };
    let mut processor = ShardProcessor::new(Arc::clone(norms), timing, PACKING);
    let mut outputs = Vec::new();
    let progress =
        ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
    let mut batch_sizes = batch_sizes.iter().copied().cycle();
    let mut left = batch_sizes.next().expect("a batch size");
    for (offset, event) in (0..).zip(events) {
        processor.arrive(Source::Files, Offset(offset), event.clone(), event.at).expect("nothing is too late");
        left -= 1;
        if left == 0 {
            processor.advance(&progress, &mut outputs);
            left = batch_sizes.next().expect("a batch size");
        }
    }
    processor.advance(&ShardProgress { close: end, ..progress }, &mut outputs);
    assert_eq!(processor.take_counts().late, 0, "nothing is late");

    let mut scoreboards: BTreeMap<TenantId, Scoreboard> = BTreeMap::new();
    let mut facts: BTreeMap<String, i32> = BTreeMap::new();
    let mut alerts = Vec::new();
    for effects in outputs {
        let tenant = effects.tenant;
        let scoreboard = || Scoreboard::new(tenant.clone(), Arc::clone(norms));
        let scoreboard = scoreboards.entry(tenant.clone()).or_insert_with(scoreboard);
        for effect in effects.effects {
            if let Effect::Fact(Fact { at, who, times, measure, known: _ }) = &effect {
                *facts.entry(format!("{tenant} {at} {who:?} {measure:?}")).or_default() += times;
            }
            scoreboard.apply(effect, &mut alerts);
        }
    }
    let mut rows = Vec::new();
    for scoreboard in scoreboards.values_mut() {
        scoreboard.judge_until(end.unwrap_or_default(), &mut alerts);
        scoreboard.rows(end.unwrap_or_default(), &mut rows);
    }
    // Batches interleave tenants differently.
    alerts.sort_by(|a, b| (&a.tenant, a.at).cmp(&(&b.tenant, b.at)));
    let encode = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut line = Vec::new();
        write(&mut line);
        serde_json::from_slice(&line).expect("JSON")
    };
    let alert_json = |alert: &Alert| encode(&|line| json::encode_alert(alert, &message::of(alert, Language::En), line));
    let output = Output {
        alerts: alerts.iter().map(alert_json).collect(),
        late: 0,
        rows: rows.iter().map(|row| encode(&|line| json::encode_row(row, line))).collect(),
        reviews: Vec::new(),
    };
    facts.retain(|_, times| *times != 0);
    (output, facts)
}

#[test]
fn the_batch_sizes_do_not_matter() {
    for case in cases(4000) {
        let (norms, events) = (case.norms(), case.decoded());
        let end = events.last().map(|event| event.at.saturating_add(Span::DAY));
        let (expected, facts) = in_batches(&events, &norms, &[usize::MAX], end);
        let third = events.len() / 3 + 1;
        for batch_sizes in [&[1][..], &[7], &[third, usize::MAX], &[1, 50, 2, 3]] {
            let (found, found_facts) = in_batches(&events, &norms, batch_sizes, end);
            case.assert_same(&format!("batches of {batch_sizes:?}"), &expected, &found);
            assert_eq!(expected.alerts, found.alerts, "{}, {batch_sizes:?}: in the same order", case.name);
            assert!(facts == found_facts, "{}, {batch_sizes:?}: other facts", case.name);
        }
    }
}

// ---- duplicates, disorder, undecodable events

#[test]
fn duplicates_do_not_matter() {
    for case in cases(5000) {
        let mut twice = case.clone();
        let again = |event: &Value| decoded(event).is_some_and(|event| event.id.is_some());
        let copies = |event: &Value| vec![event.clone(); if again(event) { 2 } else { 1 }];
        twice.events = case.events.iter().flat_map(copies).collect();
        assert!(twice.events.len() > case.events.len() * 3 / 2);
        case.assert_same("twice", &case.replay(), &twice.replay());
        let shuffled = Replay { shuffle: Some(5), workers: 2, ..Replay::PLAIN };
        case.assert_same("twice, in disorder", &case.replay(), &shuffled.run(&twice.events, &twice.norms.to_string()));
    }
}

#[test]
fn disorder_within_the_lateness_does_not_matter() {
    for case in cases(6000) {
        let expected = case.replay();
        for seed in 1..4 {
            let replay = Replay { shuffle: Some(seed), workers: seed as usize, ..Replay::PLAIN };
            let found = replay.run(&case.events, &case.norms.to_string());
            assert_eq!(expected.alerts, found.alerts, "{}: in the same order", case.name);
            case.assert_same("in disorder", &expected, &found);
        }
    }
}

/// The event, made invalid in one of six ways.
fn corrupted(event: &Value, kind: usize) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().expect("an object");
    match kind % 6 {
        0 => fields.retain(|key, _| key != "tenant_id" && key != "tenantId"),
        1 => fields.retain(|key, _| key != "occurred_at" && key != "occurredAt"),
        2 => fields.retain(|_, value| !value.is_object()),
        3 => drop(fields.insert("tenant_id".into(), json!(7.5))),
        4 => fields.values_mut().filter(|value| value.is_object()).for_each(|payload| *payload = json!({})),
        _ => ["call_started", "assigned"].iter().for_each(|name| drop(fields.insert((*name).into(), json!({"x": 1})))),
    }
    event
}

#[test]
fn undecodable_events_do_not_matter() {
    for case in cases(7000) {
        let mut clean = case.clone();
        clean.events.retain(|event| decoded(event).is_some());
        let expected = clean.replay();
        case.assert_same("with undecodable events", &expected, &case.replay());
        let mut with_corrupted = case.clone();
        let more = |(index, event): (usize, &Value)| [event.clone(), corrupted(event, index)];
        with_corrupted.events = case.events.iter().enumerate().flat_map(more).collect();
        let read = with_corrupted.decoded().len();
        assert_eq!(read, clean.events.len(), "{}: corrupted events are undecodable", case.name);
        case.assert_same("with more undecodable events", &expected, &with_corrupted.replay());
    }
}

// ---- another encoding

#[test]
fn protobuf_gives_the_same_output() {
    for (index, case) in cases(8000).enumerate() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("metamorphic-{index}.pb"));
        let mut writer = EventWriter::new(File::create(&path).expect("a file"), Encoding::Protobuf);
        case.decoded().iter().for_each(|event| writer.write(event).expect("written"));
        writer.finish().expect("written");
        let files = EventFiles::open(std::slice::from_ref(&path), &Arc::default()).expect("the file");
        let found = Replay::PLAIN.run_files(files, Arc::unwrap_or_clone(case.norms()));
        let expected = case.replay();
        assert_eq!(expected.alerts, found.alerts, "{}: in the same order", case.name);
        case.assert_same("as protobuf", &expected, &found);
    }
}

// ---- calls in legs

/// How one record of a call becomes two.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Split {
    /// A leg with the same `call_id`.
    SameCall,
    /// A leg of the same session.
    Session,
    /// A leg that only overlaps.
    Overlap,
    /// A call of its own, from another number: not the same events.
    Apart,
}

/// What the whole stream says about a call: whether it can be split, and how.
#[derive(Default)]
struct CallRecords {
    ends: usize,
    session: Option<SessionId>,
    /// Whether its start is reported at another instant than by its end.
    starts_twice: bool,
    dismissed: bool,
}

/// The records of every call, by tenant and id.
fn call_records(events: &[Event]) -> BTreeMap<(String, String), CallRecords> {
    let mut records: BTreeMap<_, CallRecords> = BTreeMap::new();
    let mut started = BTreeMap::new();
    for event in events {
        let key = |id: &str| (event.tenant.to_string(), id.to_owned());
        match &event.payload {
            Payload::Call(call) => {
                let record = records.entry(key(&call.id.0)).or_default();
                record.session = record.session.take().or(call.session.clone());
                if let Some(end) = &call.end {
                    record.ends += 1;
                    let begun = started.get(&key(&call.id.0));
                    record.starts_twice |= begun.is_some_and(|at| end.started_at != Some(*at));
                } else {
                    started.insert(key(&call.id.0), event.at);
                }
            }
            Payload::Crm(payload) => {
                if let CrmPayload::InteractionDismissed { interaction, .. } = &**payload {
                    records.entry(key(interaction)).or_default().dismissed = true;
                }
            }
            Payload::Message(_) => {}
        }
    }
    records
}

/// Whether no other inbound leg of any number overlaps or touches this one.
fn is_alone(call: &Call, started: Timestamp, ended: Timestamp, events: &[Event]) -> bool {
    !events.iter().any(|event| match &event.payload {
        Payload::Call(other) if other.id != call.id && other.end.is_some() => {
            let begun = other.end.as_ref().and_then(|end| end.started_at).unwrap_or(Timestamp::MIN);
            begun <= ended && started <= event.at
        }
        _ => false,
    })
}

/// The stream with some calls in two legs, and how many there are of each kind.
fn in_legs(case: &Case, wanted: Option<Split>) -> (Vec<Event>, BTreeMap<String, usize>) {
    let events = case.decoded();
    let records = call_records(&events);
    let (min_talk, country) = (case.norms().min_talk, case.norms().country);
    let (mut found, mut counts) = (Vec::new(), BTreeMap::new());
    let mut sessions = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        found.push(event.clone());
        let Payload::Call(call) = &event.payload else { continue };
        let Some(end) = &call.end else { continue };
        let record = &records[&(event.tenant.to_string(), call.id.to_string())];
        let machine = end.answered_by.is_some_and(|by| by != AnsweredBy::Person) || end.answered_at.is_some();
        let Some(started) = end.started_at.filter(|started| *started < event.at && event.at - *started < Span::DAY)
        else {
            continue;
        };
        if record.ends > 1 || record.starts_twice || record.dismissed || end.leg.is_some() || machine {
            continue;
        }
        let inbound = call.direction == Direction::Inbound;
        let has_number = identity::phones(&call.phone, country).next().is_some();
        let alone = record.session.is_none() && (!inbound || is_alone(call, started, event.at, &events));
        let possible = [
            (Split::SameCall, true),
            (Split::Session, alone || record.session.is_some()),
            (Split::Overlap, inbound && has_number && record.session.is_none()),
            (Split::Apart, inbound && wanted == Some(Split::Apart)),
        ];
        let kinds: Vec<Split> = possible
            .into_iter()
            .filter_map(|(kind, possible)| possible.then_some(kind))
            .filter(|kind| wanted.is_none_or(|wanted| *kind == wanted))
            .collect();
        if kinds.is_empty() {
            continue;
        }
        let kind = kinds[number % kinds.len()];
        let mut leg = call.clone();
        let leg_end = leg.end.as_mut().expect("an end");
        leg_end.recording_url = None;
        let talk = Span(end.talk.0 / 3);
        let splits_talk = alone && kind != Split::Overlap && talk >= min_talk.max(Span(1)) && number % 2 == 0;
        if splits_talk && end.outcome == CallOutcome::Answered {
            leg_end.talk = talk;
            let Some(Event { payload: Payload::Call(first), .. }) = found.last_mut() else { unreachable!() };
            first.end.as_mut().expect("an end").talk = Span(end.talk.0 - talk.0);
        } else {
            let busy = end.outcome == CallOutcome::NoAnswer;
            (leg_end.talk, leg_end.outcome) =
                (Span::ZERO, if busy { CallOutcome::Busy } else { CallOutcome::NoAnswer });
        }
        if kind != Split::SameCall {
            leg.id = CallId(format_compact!("{}-split-{number}", call.id));
        }
        match kind {
            Split::Session => {
                let named = || SessionId(format_compact!("session-{number}"));
                let session = record.session.clone().unwrap_or_else(named);
                sessions.insert((event.tenant.clone(), call.id.clone()), session.clone());
                leg.session = Some(session);
            }
            Split::Apart => leg.phone = format_compact!("+4930{:07}", number),
            Split::SameCall | Split::Overlap => {}
        }
        *counts.entry(format!("{kind:?}")).or_default() += 1;
        let id = Some(EventId(format_compact!("split-{number}")));
        found.push(Event { id, payload: Payload::Call(leg), ..event.clone() });
    }
    for event in &mut found {
        if let Payload::Call(call) = &mut event.payload
            && let Some(session) = sessions.get(&(event.tenant.clone(), call.id.clone()))
        {
            call.session = Some(session.clone());
        }
    }
    (found, counts)
}

#[test]
fn splitting_calls_into_legs_does_not_matter() {
    let mut total: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases(9000) {
        let whole = Case { events: case.decoded().iter().map(written).collect(), ..case.clone() };
        let expected = whole.replay();
        let replay = |wanted| {
            let (events, counts) = in_legs(&case, wanted);
            (Case { events: events.iter().map(written).collect(), ..case.clone() }.replay(), counts)
        };
        let (found, counts) = replay(None);
        whole.assert_same(&format!("calls in legs {counts:?}"), &expected, &found);
        counts.into_iter().for_each(|(kind, count)| *total.entry(kind).or_default() += count);
        let (apart, counts) = replay(Some(Split::Apart));
        assert!(counts.is_empty() || expected.rows != apart.rows, "{}: another call is found", case.name);
    }
    assert!(total.len() == 3 && total.values().all(|count| *count > 20), "{total:?}");
}

// ---- other spellings

/// The text with another spelling of the same phone; unchanged if that is not known for certain.
fn respelled_phone(text: &str, country: Country, number: usize) -> String {
    let forms: Vec<_> = identity::phones(text, country).collect();
    let [form] = &forms[..] else { return text.into() };
    let Some(national) = form.strip_prefix('7').filter(|national| national.len() == 10) else { return text.into() };
    let (area, rest) = national.split_at(3);
    let (first, last) = rest.split_at(3);
    match number % 7 {
        0 => format!("+7 ({area}) {first}-{last}"),
        1 => format!("tel:+7{national}"),
        2 => format!("моб. +7 {area} {first} {last}"),
        3 => format!("+7{national} доб. 123"),
        4 => format!("sip:+7{national}@pbx.example"),
        5 => format!("007{national}"),
        _ => format!("\u{a0}+7.{area}.{first}.{last} "),
    }
}

fn respelled_email(text: &str, number: usize) -> String {
    let Some(form) = identity::email(text).filter(|form| form.is_ascii()) else { return text.into() };
    match number % 4 {
        0 => format!("Client <{}>", form.to_ascii_uppercase()),
        1 => format!("mailto:{form}"),
        2 => format!(" {form}. "),
        _ => format!("{form} (work)"),
    }
}

/// Ids that are trimmed; the others in `NAMED` are names of roles.
fn is_id(key: &str) -> bool {
    NAMED.contains(&key) && !["grade", "approvers"].contains(&key)
}

fn respelled(event: &Value, country: Country, number: usize) -> Value {
    let mut event = event.clone();
    change_texts(&mut event, "", &|key, text| match key {
        "phone" => *text = respelled_phone(text, country, number),
        "email" => *text = respelled_email(text, number),
        "handle" if text.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            *text = format!(" {} ", text.to_ascii_uppercase());
        }
        "in_reply_to" if !text.contains(['<', '>']) => *text = format!(" <{}> (relay)", text.trim()),
        "currency" => *text = format!(" {} ", text.to_ascii_lowercase()),
        key if is_id(key) => *text = format!("\t{text} "),
        _ => {}
    });
    event
}

#[test]
fn other_spellings_of_contacts_and_ids_do_not_matter() {
    let mut different = 0;
    for case in cases(10_000) {
        let plain = Case { events: case.decoded().iter().map(written).collect(), ..case.clone() };
        let country = case.norms().country;
        let mut other = plain.clone();
        other.events =
            plain.events.iter().enumerate().map(|(number, event)| respelled(event, country, number)).collect();
        let changed = plain.events.iter().zip(&other.events).filter(|(plain, other)| plain != other).count();
        assert!(changed > plain.events.len() / 2, "{}: {changed} events are spelled otherwise", case.name);
        let expected = plain.replay();
        plain.assert_same("other spellings", &expected, &other.replay());
        // The phones of other people are no other spelling; a stream may have no call that matters.
        let mut wrong = plain.clone();
        let calls = |event: &&mut Value| event.get("call_started").or(event.get("call_ended")).is_some();
        wrong.events.iter_mut().filter(calls).for_each(|event| {
            change_texts(event, "", &|key, text| {
                if key == "phone" {
                    *text = respelled_phone(text, country, 0).replace("+7", "+375");
                }
            });
        });
        different += usize::from(expected.rows != wrong.replay().rows);
    }
    assert!(different > 8, "{different} streams differ if calls come from other people");
}

// ---- order of arrival

#[test]
fn the_order_of_arrival_does_not_matter() {
    for case in cases(11_000) {
        let (mut instants, mut ids) = (BTreeSet::new(), BTreeSet::new());
        let mut events = case.decoded();
        events.retain(|event| {
            let id = event.id.as_ref().map_or_else(|| event.at.to_string(), ToString::to_string);
            instants.insert((event.tenant.clone(), event.at)) && ids.insert((event.tenant.clone(), id))
        });
        let (norms, end) = (case.norms(), events.last().map(|event| event.at.saturating_add(Span::DAY)));
        let run = |events: &[Event]| in_batches(events, &norms, &[usize::MAX], end);
        let (expected, facts) = run(&events);
        let mut shuffled = events.clone();
        shuffled.sort_by_key(|event| fnv(&format!("{} {:?}", event.at, event.id)));
        let reversed: Vec<Event> = events.iter().rev().cloned().collect();
        for (what, other) in [("reversed", reversed), ("shuffled", shuffled)] {
            let (found, found_facts) = run(&other);
            assert_eq!(expected.alerts, found.alerts, "{}, {what}: in the same order", case.name);
            case.assert_same(what, &expected, &found);
            assert!(facts == found_facts, "{}, {what}: other facts", case.name);
        }
        // At other instants it does matter.
        let mut redated = events.clone();
        let instants = events.iter().map(|event| event.at).rev();
        redated.iter_mut().zip(instants).for_each(|(event, at)| event.at = at);
        assert!(run(&redated).0.rows != expected.rows, "{}: another order of the dates is found", case.name);
    }
}

// ---- warnings

/// Removes the warnings that norms ask for.
fn remove_warnings(norms: &mut Value) {
    match norms {
        Value::Object(keys) => {
            keys.remove("warn_before");
            keys.values_mut().for_each(remove_warnings);
        }
        Value::Array(list) => list.iter_mut().for_each(remove_warnings),
        _ => {}
    }
}

#[test]
fn without_warn_before_exactly_the_warnings_are_missing() {
    let (mut warnings, mut rows) = (0, 0);
    for (number, mut case) in cases(12_000).enumerate() {
        remove_warnings(&mut case.norms);
        let norms = with_warnings(case.norms.clone());
        let late_events = delayed(&case.events, number as u64).0;
        for (events, as_delivered) in [(&case.events, false), (&late_events, true)] {
            let run = |norms: &Value| Replay { as_delivered, ..Replay::PLAIN }.run(events, &norms.to_string());
            let (expected, mut found) = (run(&case.norms), run(&norms));
            let emitted = found.alerts.len();
            found.alerts.retain(|alert| alert["status"] != "DUE_SOON" && alert["status"] != "AVERTED");
            warnings += emitted - found.alerts.len();
            for row in found.rows.iter_mut().filter(|row| row["window"] == "now") {
                rows += usize::from(row["due_soon"] != json!({}));
                row["due_soon"] = json!({});
            }
            case.assert_same(if as_delivered { "warnings, late events" } else { "warnings" }, &expected, &found);
        }
    }
    assert!(warnings > 1_000 && rows > 20, "{warnings} warnings, {rows} rows with some");
}

//! Metamorphic tests: the same events at another time, with other names, with another tenant, in other batches,
//! duplicated, in disorder or in another encoding give the same alerts and rows.
//!
//! They contain no expectations and do not use the oracle's output, so they also hold for future rules. The events are
//! streams of the oracle's generator and of the simulator.

use crate::common::{Output, Replay};
use crate::oracle;
use funnelwatch::codec::state::PACKING;
use funnelwatch::codec::{Encoding, json};
use funnelwatch::config;
use funnelwatch::domain::alert::{Alert, alert_id};
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::figures::pane::Fact;
use funnelwatch::domain::id::TenantId;
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
use std::collections::BTreeMap;
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
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{:04x}~{name}", hash >> 16)
}

fn old_names(value: &mut Value) {
    let mut text = value.to_string();
    while let Some(end) = text.find('~') {
        text.replace_range(end - 4..=end, "");
    }
    *value = serde_json::from_str(&text).expect("JSON as before");
}

/// Name fields in events: envelope, payload, entities.
const NAMED: [&str; 24] = [
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
        case.assert_same("other names", &changed(&case.replay(), without_id), &found);
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
        3 => drop(fields.insert("tenant_id".into(), json!(7))),
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

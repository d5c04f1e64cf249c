//! What must not matter does not: the same events told at another time, under other names, in other company, in other
//! portions, twice, in disorder or in another encoding give the same alerts and rows.
//!
//! No expectation is written down here and no oracle is asked, so these tests hold for rules that are yet to come. The
//! events are the hard streams of the oracle's generator and the lifelike ones of the simulator.

mod common;
// Of which only the generator is needed.
#[allow(unused_imports)]
mod oracle;

use common::{Output, Replay};
use funnelwatch::codec::state::PACKING;
use funnelwatch::codec::{Encoding, json};
use funnelwatch::config;
use funnelwatch::domain::alert::Alert;
use funnelwatch::domain::alert::alert_id;
use funnelwatch::domain::effect::{Effect, Fact};
use funnelwatch::domain::event::Event;
use funnelwatch::domain::id::TenantId;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::rule::{self, Language, Rule};
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard_processor::{ShardProcessor, ShardProgress, Source, SourceProgress, Timing};
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::files::{EventFiles, EventWriter};
use funnelwatch::sim::{Disturb, Plan, Simulation, norms_yaml};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Events in order of time and the norms to judge them by.
#[derive(Clone)]
struct Story {
    name: String,
    events: Vec<Value>,
    norms: Value,
}

/// Fourteen of the oracle's generator and two of the simulator; every property has its own.
fn stories(first_seed: u64) -> impl Iterator<Item = Story> {
    let generated = (first_seed..first_seed + 14).map(|seed| {
        let (events, norms) = oracle::stream::stream(seed, 300);
        Story { name: format!("generated {seed}"), events, norms }
    });
    let simulated = (first_seed..first_seed + 2).map(|seed| {
        let events = Simulation::new(Plan::demo(seed)).take(800).duplicated(0.05, seed);
        let norms = Yaml::load_from_str(norms_yaml()).expect("YAML");
        Story {
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

/// YAML as JSON.
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

impl Story {
    fn replay(&self) -> Output {
        Replay::PLAIN.run(&self.events, &self.norms.to_string())
    }

    fn norms(&self) -> Arc<Norms> {
        let document = config::parse_norms("norms", &self.norms.to_string());
        Arc::new(document.unwrap_or_else(|problems| panic!("{}: {problems}", self.name)).norms)
    }

    /// Every event that can be read.
    fn decoded(&self) -> Vec<Event> {
        self.events.iter().filter_map(decoded).collect()
    }

    /// Fails with the first few lines that differ.
    #[track_caller]
    fn same(&self, what: &str, expected: &Output, found: &Output) {
        for (kind, expected, found) in
            [("alert", &expected.alerts, &found.alerts), ("row", &expected.rows, &found.rows)]
        {
            let (expected, found) = (counted(expected), counted(found));
            let more = |these: &BTreeMap<String, i32>, those: &BTreeMap<String, i32>, mark| {
                let surplus = these.iter().filter(|(line, n)| those.get(*line).unwrap_or(&0) < n);
                surplus.take(4).map(|(line, _)| format!("{mark} {kind} {line}\n")).collect::<String>()
            };
            let told = more(&expected, &found, '-') + &more(&found, &expected, '+');
            assert!(told.is_empty(), "{}, {what} (- as it was, + changed):\n{told}", self.name);
        }
        assert!(!expected.rows.is_empty(), "{}: nothing was found", self.name);
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

/// Changes every text in a value; `key` is the last key above it.
fn texts(value: &mut Value, key: &str, change: &impl Fn(&str, &mut String)) {
    match value {
        Value::String(text) => change(key, text),
        Value::Array(list) => list.iter_mut().for_each(|item| texts(item, key, change)),
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| texts(value, key, change)),
        _ => {}
    }
}

/// The output with every value changed.
fn changed(output: &Output, change: impl Fn(&mut Value)) -> Output {
    let mut output = output.clone();
    output.alerts.iter_mut().chain(&mut output.rows).for_each(change);
    output
}

// ---- another time

/// Moves every instant in a value.
fn moved(value: &mut Value, by: Span) {
    texts(value, "", &|key, text| {
        if (key == "at" || key.ends_with("_at") || key.ends_with("At"))
            && let Some(at) = Timestamp::parse(text)
        {
            *text = at.saturating_add(by).to_string();
        }
    });
}

/// The id that follows from an alert's other fields.
fn id_of(alert: &Value) -> String {
    let text = |key: &str| alert[key].as_str().expect("a text");
    let rule = Rule::ALL.iter().find(|rule| rule.name() == text("rule")).expect("a rule");
    let anchor = Timestamp::parse(text("anchor_at")).expect("an instant");
    alert_id(&text("tenant_id").into(), *rule, text("subject"), anchor).to_string()
}

#[test]
fn some_weeks_later_everything_is_some_weeks_later() {
    for (mut story, weeks) in stories(1000).zip([1, -3, 52, 500].into_iter().cycle()) {
        for (_, calendar) in story.norms["calendars"].as_object_mut().expect("calendars") {
            calendar["timezone"] = json!("UTC");
            let calendar = calendar.as_object_mut().expect("a calendar");
            calendar.retain(|key, _| key != "days" && key != "years");
        }
        let by = Span(7 * weeks * Span::DAY.0);
        let mut later = story.clone();
        later.events.iter_mut().for_each(|event| moved(event, by));
        let found = later.replay();
        for alert in &found.alerts {
            assert_eq!(alert["alert_id"], id_of(alert), "{}", story.name);
        }
        let expected = changed(&story.replay(), |value| {
            moved(value, by);
            if value.get("alert_id").is_some() {
                value["alert_id"] = json!(id_of(value));
            }
        });
        assert_eq!(expected.alerts, found.alerts, "{}: in the same order", story.name);
        story.same(&format!("{weeks} weeks later"), &expected, &found);
    }
}

// ---- other names

/// Another name, from which the old one can be told, and which stands elsewhere in any order.
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

/// Names of things in events: envelope, payload, entities.
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

/// Names of things in norms, besides.
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
fn other_names_change_nothing_but_names() {
    for mut story in stories(2000) {
        // By default the tenant's name is the key to the customers' names.
        story.norms["privacy_key"] = json!("secret");
        let mut other = story.clone();
        other.events.iter_mut().for_each(|event| texts(event, "", &rename));
        texts(&mut other.norms, "", &rename);
        let pipelines = other.norms["pipelines"].as_object_mut().expect("pipelines");
        let renamed = std::mem::take(pipelines).into_iter().map(|(name, pipeline)| (renamed(&name), pipeline));
        *pipelines = renamed.collect::<Map<_, _>>();
        let without_id = |value: &mut Value| {
            value.as_object_mut().expect("an object").remove("alert_id");
        };
        let found = changed(&changed(&other.replay(), without_id), old_names);
        story.same("other names", &changed(&story.replay(), without_id), &found);
    }
}

// ---- other company

#[test]
fn a_tenant_more_changes_nothing_for_the_others() {
    for story in stories(3000) {
        let dated = |event: &Value| decoded(event).map(|event| event.at);
        let until = story.events.iter().filter_map(dated).max().map(|at| at.0);
        let replay = Replay { until, ..Replay::PLAIN };
        let mut larger = story.clone();
        // The newcomer does as others do, at almost the same time and under the same ids.
        let mut newcomer = story.events.clone();
        newcomer.iter_mut().for_each(|event| {
            moved(event, Span(7 * Span::MINUTE.0 + 1));
            texts(event, "", &|key, text| {
                if key == "tenant_id" || key == "tenantId" {
                    *text = "newcomer".into();
                }
            });
        });
        larger.events.extend(newcomer);
        larger.events.sort_by_key(dated);
        let output = replay.run(&story.events, &story.norms.to_string());
        let found = Replay { workers: 2, ..replay }.run(&larger.events, &larger.norms.to_string());
        story.same("a tenant more", &output, &without_the_newcomer(&found));
        // A replay has a shard for every tenant; here they share one.
        let (norms, end) = (story.norms(), until.map(Timestamp));
        let (output, _) = in_portions(&story.decoded(), &norms, &[5], end);
        let (found, _) = in_portions(&larger.decoded(), &norms, &[5], end);
        story.same("a tenant more on the same floor", &output, &without_the_newcomer(&found));
    }
}

fn without_the_newcomer(output: &Output) -> Output {
    let mut other_shards = output.clone();
    other_shards.alerts.retain(|alert| alert["tenant_id"] != "newcomer");
    other_shards.rows.retain(|row| row["tenant_id"] != "newcomer");
    assert!(other_shards.rows.len() < output.rows.len(), "the newcomer has rows too");
    other_shards
}

// ---- other portions

/// What a floor says, up to `end`, when its watermark moves after so many events each, and at the end.
fn in_portions(
    events: &[Event],
    norms: &Arc<Norms>,
    portions: &[usize],
    end: Option<Timestamp>,
) -> (Output, BTreeMap<String, i32>) {
    let timing = Timing { max_future_skew: None, until: end, ..Timing::default() };
    let mut floor = ShardProcessor::new(Arc::clone(norms), timing, PACKING);
    let mut made = Vec::new();
    let progress =
        ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
    let mut portions = portions.iter().copied().cycle();
    let mut left = portions.next().expect("a portion");
    for (offset, event) in (0..).zip(events) {
        floor.arrive(Source::Files, offset, event.clone(), event.at).expect("nothing is too late");
        left -= 1;
        if left == 0 {
            floor.advance(&progress, &mut made);
            left = portions.next().expect("a portion");
        }
    }
    floor.advance(&ShardProgress { close: end, ..progress }, &mut made);
    assert_eq!(floor.take_counts().late, 0, "nothing is late");

    let mut boards: BTreeMap<TenantId, Scoreboard> = BTreeMap::new();
    let mut facts: BTreeMap<String, i32> = BTreeMap::new();
    let mut alerts = Vec::new();
    for effects in made {
        let tenant = effects.tenant;
        let board = || Scoreboard::new(tenant.clone(), Arc::clone(norms));
        let board = boards.entry(tenant.clone()).or_insert_with(board);
        for effect in effects.effects {
            if let Effect::Fact(Fact { at, who, times, measure, known: _ }) = &effect {
                *facts.entry(format!("{tenant} {at} {who:?} {measure:?}")).or_default() += times;
            }
            board.take(effect, &mut alerts);
        }
    }
    let mut rows = Vec::new();
    for board in boards.values_mut() {
        board.judge_until(end.unwrap_or_default(), &mut alerts);
        board.rows(end.unwrap_or_default(), &mut rows);
    }
    // Tenants take turns otherwise when they are asked more often.
    alerts.sort_by(|a, b| (&a.tenant, a.at).cmp(&(&b.tenant, b.at)));
    let encode = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut line = Vec::new();
        write(&mut line);
        serde_json::from_slice(&line).expect("JSON")
    };
    let told = |alert: &Alert| encode(&|line| json::encode_alert(alert, &rule::message(alert, Language::En), line));
    let output = Output {
        alerts: alerts.iter().map(told).collect(),
        rows: rows.iter().map(|row| encode(&|line| json::encode_row(row, line))).collect(),
        reviews: Vec::new(),
    };
    facts.retain(|_, times| *times != 0);
    (output, facts)
}

#[test]
fn the_portions_do_not_matter() {
    for story in stories(4000) {
        let (norms, events) = (story.norms(), story.decoded());
        let end = events.last().map(|event| event.at.saturating_add(Span::DAY));
        let (expected, facts) = in_portions(&events, &norms, &[usize::MAX], end);
        let halves = events.len() / 3 + 1;
        for portions in [&[1][..], &[7], &[halves, usize::MAX], &[1, 50, 2, 3]] {
            let (found, found_facts) = in_portions(&events, &norms, portions, end);
            story.same(&format!("portions of {portions:?}"), &expected, &found);
            assert_eq!(expected.alerts, found.alerts, "{}, {portions:?}: in the same order", story.name);
            assert!(facts == found_facts, "{}, {portions:?}: other facts", story.name);
        }
    }
}

// ---- twice, in disorder, without what cannot be read

#[test]
fn what_is_told_twice_changes_nothing() {
    for story in stories(5000) {
        let mut twice = story.clone();
        let again = |event: &Value| decoded(event).is_some_and(|event| event.id.is_some());
        let copies = |event: &Value| vec![event.clone(); if again(event) { 2 } else { 1 }];
        twice.events = story.events.iter().flat_map(copies).collect();
        assert!(twice.events.len() > story.events.len() * 3 / 2);
        story.same("twice", &story.replay(), &twice.replay());
        let shuffled = Replay { shuffle: Some(5), workers: 2, ..Replay::PLAIN };
        story.same("twice, in disorder", &story.replay(), &shuffled.run(&twice.events, &twice.norms.to_string()));
    }
}

#[test]
fn disorder_within_the_lateness_changes_nothing() {
    for story in stories(6000) {
        let expected = story.replay();
        for seed in 1..4 {
            let replay = Replay { shuffle: Some(seed), workers: seed as usize, ..Replay::PLAIN };
            let found = replay.run(&story.events, &story.norms.to_string());
            assert_eq!(expected.alerts, found.alerts, "{}: in the same order", story.name);
            story.same("in disorder", &expected, &found);
        }
    }
}

/// The event with something wrong with it, of six kinds.
fn spoilt(event: &Value, kind: usize) -> Value {
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
fn what_cannot_be_read_changes_nothing() {
    for story in stories(7000) {
        let mut clean = story.clone();
        clean.events.retain(|event| decoded(event).is_some());
        let expected = clean.replay();
        story.same("with what cannot be read", &expected, &story.replay());
        let mut spoilt_too = story.clone();
        let more = |(number, event): (usize, &Value)| [event.clone(), spoilt(event, number)];
        spoilt_too.events = story.events.iter().enumerate().flat_map(more).collect();
        let read = spoilt_too.decoded().len();
        assert_eq!(read, clean.events.len(), "{}: nothing spoilt can be read", story.name);
        story.same("with more that cannot be read", &expected, &spoilt_too.replay());
    }
}

// ---- another encoding

#[test]
fn protobuf_says_the_same() {
    for (number, story) in stories(8000).enumerate() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("metamorphic-{number}.pb"));
        let mut writer = EventWriter::new(File::create(&path).expect("a file"), Encoding::Protobuf);
        story.decoded().iter().for_each(|event| writer.write(event).expect("written"));
        writer.finish().expect("written");
        let files = EventFiles::open(std::slice::from_ref(&path), &Arc::default()).expect("the file");
        let found = Replay::PLAIN.run_files(files, Arc::unwrap_or_clone(story.norms()));
        let expected = story.replay();
        assert_eq!(expected.alerts, found.alerts, "{}: in the same order", story.name);
        story.same("as protobuf", &expected, &found);
    }
}

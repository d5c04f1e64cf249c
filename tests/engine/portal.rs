//! A month in a simulated Bitrix24 portal, read by the gateway: whatever goes wrong on the way, what comes out is exactly
//! what happened.

use compact_str::CompactString;
use funnelwatch::domain::source::Topic;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::gateway::bitrix24::{Bitrix24, Budget, Fields, Received, Settings, Transport, Webhook};
use funnelwatch::gateway::source::{Clock, Cursors, Hint, Next, ReadError, Reader, Stop};
use funnelwatch::sim::portal::{Fact, Hook, Interface, Pace, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SECRET: &str = "s3cretcode0123456789";

/// Something breaks or is repaired at an instant.
type Change = (Timestamp, fn(&mut Interface));

/// The portal, its clock and the faults that are due.
struct Scene {
    world: World,
    interface: Interface,
    now: Timestamp,
    /// Instants at which something breaks or is repaired.
    script: Vec<Change>,
    requests: u64,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Scene>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Shared {
    fn now(&self) -> Timestamp {
        // The clock of the portal is an hour ahead.
        Timestamp(self.lock().now.0 - 3_600_000)
    }

    fn wait(&self, time: Duration, _: &Stop) {
        let mut scene = self.lock();
        scene.now = Timestamp(scene.now.0 + time.as_millis() as i64);
    }
}

impl Transport for Shared {
    fn post(&mut self, webhook: &Webhook, method: &str, body: &str) -> Result<Received, &'static str> {
        let mut scene = self.lock();
        let scene = &mut *scene;
        assert!(!webhook.host().contains("evil"), "the secret went to another host");
        // A request takes a while.
        scene.now = Timestamp(scene.now.0 + 200);
        while let Some((at, _)) = scene.script.first().filter(|(at, _)| *at <= scene.now) {
            let _ = at;
            let (_, change) = scene.script.remove(0);
            change(&mut scene.interface);
        }
        scene.world.advance(scene.now);
        scene.requests += 1;
        if webhook.host().starts_with("new.") {
            scene.interface.faults.renamed = None;
        }
        let answer = scene.interface.answer(&mut scene.world.tables, method, body);
        Ok(Received { status: answer.status, location: answer.location, body: answer.body.into_bytes() })
    }
}

fn settings(backfill_from: Option<Timestamp>) -> Settings {
    Settings {
        name: "romashka".into(),
        tenant: "romashka".into(),
        time_zone: jiff::tz::TimeZone::get("Europe/Moscow").expect("a zone"),
        webhook: Webhook::parse(&format!("https://old.bitrix24.ru/rest/1/{SECRET}/")).expect("a webhook"),
        ca: None,
        sweep: Span(300_000),
        backfill_from,
        budget: Budget::default(),
        lead_pipeline: "leads".into(),
        deal_pipelines: [(0, "sales".into()), (9, "service".into())].into(),
        fields: Fields {
            reject_reason: vec!["UF_CRM_REASON".into(), "STATUS_DESCRIPTION".into()],
            filled: [("UF_CRM_NEED".into(), "need".into())].into(),
            ..Fields::default()
        },
        grade: None,
    }
}

/// What a run has committed.
#[derive(Default)]
struct Committed {
    events: Vec<(Topic, String)>,
    cursors: Cursors,
    marks: Vec<(Topic, Timestamp, bool, usize)>,
    errors: Vec<ReadError>,
}

/// Which webhooks arrive.
#[derive(Clone, Copy)]
struct Mail {
    lost: u64,
    doubled: u64,
}

/// Reads the portal until `end`; the reader is killed now and then, with what it has not committed.
fn run(shared: &Shared, settings: &Settings, end: Timestamp, mail: Mail, kill_every: u64) -> Committed {
    let mut committed = Committed::default();
    let stop = Stop::default();
    let build = |cursors: &Cursors| {
        let (transport, clock) = (Box::new(shared.clone()), Arc::new(shared.clone()));
        Bitrix24::new(settings.clone(), cursors, transport, clock, Arc::new(())).expect("readable cursors")
    };
    let mut reader = build(&committed.cursors);
    let mut steps = 0u64;
    let mut hints: Vec<Hint> = Vec::new();
    while shared.lock().now < end {
        steps += 1;
        hints.extend(arrived(shared, mail, steps));
        let outcome = reader.step(&hints, &stop);
        if kill_every > 0 && steps.is_multiple_of(kill_every) {
            // Killed before the commit.
            reader = build(&committed.cursors);
            continue;
        }
        let wait = match outcome {
            Ok(portion) => {
                hints.drain(..portion.finished_hints);
                for event in portion.events {
                    let text = String::from_utf8(event.json().to_vec()).expect("text");
                    committed.events.push((event.topic(), text));
                }
                let count = committed.events.len();
                committed
                    .marks
                    .extend(portion.marks.iter().map(|(topic, mark)| (*topic, mark.up_to, mark.backfill, count)));
                store(&mut committed.cursors, portion.cursors);
                match portion.next {
                    Next::AtOnce => Duration::ZERO,
                    // A hint wakes the reader: here, after at most a quarter of a minute.
                    Next::Within(time) => time.min(Duration::from_secs(15)).max(Duration::from_millis(50)),
                }
            }
            Err(error) => {
                let wait = error.retry_in();
                committed.errors.push(error);
                wait.max(Duration::from_secs(1))
            }
        };
        let mut scene = shared.lock();
        scene.now = Timestamp(scene.now.0 + wait.as_millis() as i64);
        let now = scene.now;
        scene.world.advance(now);
    }
    committed
}

/// Stores the cursors of a portion.
pub(crate) fn store(cursors: &mut Cursors, changed: impl IntoIterator<Item = (CompactString, Option<Vec<u8>>)>) {
    for (key, bytes) in changed {
        match bytes {
            Some(bytes) => _ = cursors.insert(key, bytes),
            None => _ = cursors.remove(&key),
        }
    }
}

fn arrived(shared: &Shared, mail: Mail, seed: u64) -> Vec<Hint> {
    let mut scene = shared.lock();
    let now = scene.now;
    let (arrived, under_way) =
        std::mem::take(&mut scene.world.tables.hooks).into_iter().partition(|hook| hook.at <= now);
    scene.world.tables.hooks = under_way;
    let arrived: Vec<Hook> = arrived;
    let mut hints = Vec::new();
    for (index, hook) in arrived.into_iter().enumerate() {
        let dice = (seed * 7919 + index as u64 * 104_729) % 100;
        if dice < mail.lost {
            continue;
        }
        let fields = hook.fields.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        let hint = Hint { received_at: now, fields };
        hints.push(hint.clone());
        if dice >= 100 - mail.doubled {
            hints.push(hint);
        }
    }
    hints
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect(text)
}

/// The committed events by id; the first one with an id counts, as in the processor.
struct Output {
    by_id: BTreeMap<String, Value>,
}

impl Output {
    fn of(committed: &Committed) -> Self {
        let mut by_id = BTreeMap::new();
        for (_, text) in &committed.events {
            assert!(!text.contains(SECRET), "a secret in {text}");
            let event: Value = serde_json::from_str(text).expect("JSON");
            let id = event["event_id"].as_str().expect("an id").to_owned();
            by_id.entry(id).or_insert(event);
        }
        Self { by_id }
    }

    fn time(event: &Value) -> Timestamp {
        at(event["occurred_at"].as_str().expect("a time"))
    }

    fn with(&self, prefix: &str) -> impl Iterator<Item = (&String, &Value)> + use<'_> {
        let prefix = prefix.to_owned();
        self.by_id.range(prefix.clone()..).take_while(move |(id, _)| id.starts_with(&prefix))
    }
}

/// Compares the output with what happened after `from`; what the portal does not keep is known from `live` on.
fn check(world: &World, output: &Output, from: Timestamp, live: Timestamp, until: Timestamp) {
    let tables = &world.tables;
    let relevant = |at: Timestamp| at >= from && at < until;
    let mut rows = BTreeSet::new();
    let mut assignments: BTreeMap<(u64, u64), Vec<(Timestamp, u64)>> = BTreeMap::new();
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut last_visible = BTreeMap::new();
    for fact in &tables.facts {
        match fact {
            Fact::Row { id: (of, row), owner, at, stage, from: before, leaves_final, visible } => {
                rows.insert(format!("b24:sh:{of}:{row}"));
                // The row before may have become visible after this one.
                let after = last_visible.insert((*of, *owner), *visible).is_none_or(|before| before <= *visible);
                if !relevant(*at) {
                    continue;
                }
                *counts.entry("rows").or_default() += 1;
                let event = output.by_id.get(&format!("b24:sh:{of}:{row}"));
                let Some(event) = event else {
                    // An object that was deleted or changed its funnel within a sweep has lost its rows.
                    let visible = tables.history[of].contains_key(row);
                    assert!(!visible, "the move {fact:?} is missing");
                    continue;
                };
                assert_eq!(Output::time(event), *at, "{fact:?} is misdated");
                let (name, payload) = payload(event);
                let expected = match stage.1 {
                    'P' if *leaves_final => "reopened",
                    'P' => "stage_changed",
                    _ => "closed",
                };
                assert!(name == expected || !after, "{fact:?}: {event}");
                assert_eq!(payload["entity"]["id"], owner.to_string());
                if name == "stage_changed" {
                    assert_eq!(payload["to_stage_id"], stage.0.as_str());
                    assert!(payload["from_stage_id"].as_str() == before.as_deref() || !after, "{fact:?}: {event}");
                    let pipeline = match (of, stage.0.starts_with("C9:")) {
                        (1, _) => "leads",
                        (_, true) => "service",
                        _ => "sales",
                    };
                    assert_eq!(payload["pipeline_id"], pipeline);
                } else if name == "closed" {
                    let outcome = match (of, stage.1) {
                        (1, 'S') => "CONVERTED",
                        (1, _) => "DISQUALIFIED",
                        (_, 'S') => "WON",
                        _ => "LOST",
                    };
                    assert_eq!(payload["outcome"], outcome);
                    if outcome == "DISQUALIFIED" && tables.items[of].contains_key(owner) {
                        assert_eq!(payload["reason"], "no money");
                    }
                }
            }
            Fact::Assigned { object, manager, at } => assignments.entry(*object).or_default().push((*at, *manager)),
            Fact::Call { id } => {
                let row = &tables.calls[id];
                let start = at_of(&row["CALL_START_DATE"]);
                if !relevant(start) {
                    continue;
                }
                *counts.entry("calls").or_default() += 1;
                let versions: Vec<&Value> = output.with(&format!("b24:vx:{id}:")).map(|(_, event)| event).collect();
                assert!(!versions.is_empty(), "the call {row} is missing");
                for event in versions {
                    let call = &event["call_ended"];
                    let seconds: i64 = row["CALL_DURATION"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
                    assert_eq!(Output::time(event).0, start.0 + seconds * 1000);
                    assert_eq!(call["leg_id"], id.to_string());
                    let name = row["CALL_ID"].as_str().unwrap_or_default();
                    let first = format!("call.{id}") == name;
                    let expected = if first { name.to_owned() } else { format!("{name}/{id}") };
                    assert_eq!(call["call_id"], expected);
                    assert_eq!(call["direction"], if row["CALL_TYPE"] == "2" { "INBOUND" } else { "OUTBOUND" });
                    assert_eq!(call["outcome"] == "ANSWERED", row["CALL_FAILED_CODE"] == "200");
                    assert_eq!(call["manager_id"], row["PORTAL_USER_ID"]);
                }
            }
            Fact::Message { id, at, inbound } => {
                if !relevant(*at) {
                    continue;
                }
                *counts.entry("messages").or_default() += 1;
                let event = output.by_id.get(id).unwrap_or_else(|| panic!("the message {fact:?} is missing"));
                assert_eq!(Output::time(event), *at);
                assert_eq!(event.get("message_received").is_some(), *inbound, "{event}");
                let (_, message) = payload(event);
                assert!(message["entity"].is_object() && message["contact"].is_object(), "{event}");
                assert!(*inbound || message["manager_id"].is_string(), "{event}");
            }
            Fact::Planned { id, at } => {
                let prefix = format!("b24:act:{id}:");
                let seen = output.with(&prefix).find(|(_, event)| event.get("activity_planned").is_some());
                let kept = tables.activities.get(id).is_some_and(|row| row["COMPLETED"] == "N");
                if relevant(*at) && kept {
                    *counts.entry("plans").or_default() += 1;
                    let (_, event) = seen.unwrap_or_else(|| panic!("the plan {fact:?} is missing"));
                    assert!(output.with(&prefix).any(|(_, event)| Output::time(event) == *at), "{event}");
                }
            }
            Fact::Completed { id, at } => {
                let kept = tables.activities.get(id).is_some_and(|row| at_of(&row["LAST_UPDATED"]) == *at);
                if relevant(*at) && kept {
                    *counts.entry("completed").or_default() += 1;
                    let prefix = format!("b24:act:{id}:");
                    let done = output.with(&prefix).filter(|(_, event)| event.get("activity_completed").is_some());
                    let times: Vec<Timestamp> = done.map(|(_, event)| Output::time(event)).collect();
                    assert_eq!(times, [*at], "{fact:?}");
                }
            }
            Fact::Cancelled { id } => {
                let planned = output.with(&format!("b24:act:{id}:")).next().is_some();
                let gone = output.by_id.contains_key(&format!("b24:gone:act:{id}"));
                assert_eq!(planned, gone, "{fact:?}");
                *counts.entry("cancelled").or_default() += u64::from(gone);
            }
            Fact::Deleted { object: (of, id) } => {
                let known = output.with(&format!("b24:item:{of}:{id}:")).any(|(id, _)| !id.ends_with(":created"))
                    || output.with("b24:sh:").any(|(_, event)| {
                        payload(event).1["entity"] == json!({"kind": kind(*of), "id": id.to_string()})
                    });
                let gone = output.by_id.contains_key(&format!("b24:gone:{of}:{id}"));
                assert_eq!(known, gone, "{fact:?}");
                *counts.entry("deleted").or_default() += u64::from(gone);
            }
        }
    }
    for (id, event) in &output.by_id {
        let invented = match id.split(':').nth(1) {
            Some("sh") => !rows.contains(id),
            Some("vx") => !tables.calls.contains_key(&number(id, 2)),
            Some("gone") if id.contains(":act:") => tables.activities.contains_key(&number(id, 3)),
            Some("gone") => tables.items[&number(id, 2)].contains_key(&number(id, 3)),
            _ => false,
        };
        assert!(!invented, "{event} is invented");
    }
    // An assignment that stood for some hours is in a snapshot.
    for ((of, id), history) in &assignments {
        let mut snapshots: Vec<(Timestamp, String)> = output
            .with(&format!("b24:item:{of}:{id}:"))
            .map(|(_, event)| {
                (Output::time(event), payload(event).1["manager_id"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        snapshots.sort();
        for (index, (since, manager)) in history.iter().enumerate() {
            let ended = history.get(index + 1).map_or(until, |(at, _)| *at);
            // Of the past, only the last one is known.
            let is_kept = *since >= live || index + 1 == history.len();
            if relevant(*since) && is_kept && ended.0 - since.0 > 3_600_000 * 4 && tables.items[of].contains_key(id) {
                *counts.entry("assignments").or_default() += 1;
                let seen =
                    snapshots.iter().any(|(at, seen)| at >= since && *at <= ended && *seen == manager.to_string());
                assert!(seen, "{of} {id}: {since} {manager} is missing in {snapshots:?}");
            }
        }
    }
    let mut least =
        vec![("rows", 100), ("calls", 100), ("messages", 50), ("plans", 5), ("completed", 20), ("assignments", 50)];
    if live <= from {
        least.extend([("cancelled", 3), ("deleted", 2)]);
    }
    for (name, least) in least {
        let count = counts.get(name).copied().unwrap_or(0);
        assert!(count >= least, "only {count} {name}: the month is too quiet for a test");
    }
}

fn payload(event: &Value) -> (&str, &Value) {
    let envelope = ["event_id", "tenant_id", "occurred_at", "source"];
    let fields = event.as_object().expect("an object");
    fields
        .iter()
        .find(|(key, _)| !envelope.contains(&key.as_str()))
        .map(|(key, value)| (key.as_str(), value))
        .expect("a payload")
}

fn kind(of: u64) -> &'static str {
    if of == 1 { "LEAD" } else { "DEAL" }
}

fn number(id: &str, part: usize) -> u64 {
    id.split(':').nth(part).and_then(|part| part.parse().ok()).unwrap_or(0)
}

fn at_of(value: &Value) -> Timestamp {
    at(value.as_str().expect("a time"))
}

fn scene(seed: u64, start: Timestamp, end: Timestamp) -> Shared {
    let pace = Pace { leads: 12, managers: 6, odd: true, step: Span(5 * 3_600_000) };
    let world = World::new(seed, start, end, pace);
    Shared(Arc::new(Mutex::new(Scene {
        world,
        interface: Interface::default(),
        now: start,
        script: Vec::new(),
        requests: 0,
    })))
}

/// Faults, each repaired some time later.
fn faults(start: Timestamp) -> Vec<Change> {
    let after = |hours: i64| Timestamp(start.0 + hours * 3_600_000);
    let mut script: Vec<Change> = vec![
        (after(20), |portal| portal.faults.html = true),
        (after(21), |portal| portal.faults.html = false),
        (after(40), |portal| portal.faults.shift = 2 * 3_600_000),
        (after(60), |portal| portal.faults.expired = true),
        (after(63), |portal| portal.faults.expired = false),
        (after(90), |portal| portal.faults.denied = Some("voximplant")),
        (after(100), |portal| portal.faults.denied = None),
        (after(110), |portal| portal.faults.denied = Some("crm.stagehistory")),
        (after(112), |portal| portal.faults.denied = None),
        (after(120), |portal| portal.faults.renamed = Some("https://evil.example.com/rest/1/x/".to_owned())),
        (after(121), |portal| portal.faults.renamed = Some(format!("https://new.bitrix24.ru/rest/1/{SECRET}/"))),
        (after(150), |portal| portal.faults.forgets_after = Some(3)),
        (after(152), |portal| portal.faults.forgets_after = None),
        (after(160), |portal| portal.faults.shift = -3 * 3_600_000),
        (after(170), |portal| portal.faults.operating_limit = Some(0.5)),
        (after(171), |portal| portal.faults.operating_limit = None),
    ];
    script.sort_by_key(|(at, _)| *at);
    script
}

#[test]
fn a_month_with_faults_comes_out_as_it_happened() {
    let (start, end) = (at("2026-03-02T06:00:00Z"), at("2026-03-10T06:00:00Z"));
    let mut ids = Vec::new();
    for (seed, kill_every, mail) in [(1, 0, Mail { lost: 40, doubled: 20 }), (1, 301, Mail { lost: 100, doubled: 0 })] {
        let shared = scene(seed, start, end);
        shared.lock().script = faults(start);
        let quiet = Timestamp(end.0 + 4 * 3_600_000);
        let committed = run(&shared, &settings(None), quiet, mail, kill_every);
        let scene = shared.lock();
        let output = Output::of(&committed);
        check(&scene.world, &output, Timestamp(start.0 + 1000), start, end);
        marks_hold(&committed, &scene.world, start);
        assert!(committed.errors.iter().all(|error| !error.to_string().contains(SECRET)));
        assert!(committed.errors.iter().any(|error| matches!(error, ReadError::Refused { .. })));
        assert!(committed.cursors.values().all(|bytes| !String::from_utf8_lossy(bytes).contains(SECRET)));
        let rows = output
            .by_id
            .keys()
            .filter(|id| id.starts_with("b24:sh:") || id.starts_with("b24:act:") || id.starts_with("b24:ol:"));
        ids.push(
            rows.filter(|id| id.matches(':').count() == 3 && !id.starts_with("b24:act"))
                .cloned()
                .collect::<BTreeSet<_>>(),
        );
    }
    assert_eq!(ids[0], ids[1], "two runs gave different ids");
}

/// No event arrives after a mark that covers it, but those that the portal itself made visible late.
fn marks_hold(committed: &Committed, world: &World, start: Timestamp) {
    let mut late = 0;
    let mut total = 0;
    let events: Vec<(Topic, Value)> =
        committed.events.iter().map(|(topic, text)| (*topic, serde_json::from_str(text).expect("JSON"))).collect();
    for (topic, up_to, backfill, count) in &committed.marks {
        assert!(!backfill);
        assert!(*up_to >= Timestamp(start.0 - 2000));
        let _ = (topic, count);
    }
    let mut marked: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut marks = committed.marks.iter().peekable();
    for (index, (topic, event)) in events.iter().enumerate() {
        while let Some((of, up_to, ..)) = marks.next_if(|(.., count)| *count <= index) {
            marked.insert(of.name(), *up_to);
        }
        total += 1;
        let is_row = event["event_id"].as_str().is_some_and(|id| id.starts_with("b24:sh:"));
        if is_row && marked.get(topic.name()).is_some_and(|up_to| Output::time(event) <= *up_to) {
            late += 1;
        }
    }
    assert!(committed.marks.len() > 100, "hardly any marks");
    assert!(late * 20 < total, "{late} of {total} events came after their marks");
    let _ = world;
}

#[test]
fn the_past_is_filled_in_month_by_month() {
    let (start, now) = (at("2026-01-25T06:00:00Z"), at("2026-03-03T06:00:00Z"));
    let shared = scene(3, start, Timestamp(now.0 + 86_400_000));
    {
        let mut scene = shared.lock();
        scene.now = now;
        scene.world.advance(now);
        scene.world.tables.hooks.clear();
    }
    let from = at("2026-01-31T21:00:00Z");
    let end = Timestamp(now.0 + 86_400_000 / 2);
    let committed = run(&shared, &settings(Some(from)), end, Mail { lost: 100, doubled: 0 }, 51);
    let scene = shared.lock();
    assert_eq!(scene.interface.requests().1, 0, "the portal had to refuse requests");
    let output = Output::of(&committed);
    check(&scene.world, &output, from, now, end);
    // Opening marks, months in order, and then live marks for ever.
    let crm: Vec<&(Topic, Timestamp, bool, usize)> =
        committed.marks.iter().filter(|(topic, ..)| *topic == Topic::Crm).collect();
    let backfill: Vec<Timestamp> =
        crm.iter().filter(|(_, _, backfill, _)| *backfill).map(|(_, up_to, ..)| *up_to).collect();
    let expected = [from.0 - 1000, at("2026-02-28T21:00:00Z").0 - 1000];
    assert_eq!(backfill.iter().map(|at| at.0).take(2).collect::<Vec<_>>(), expected);
    assert_eq!(backfill.len(), 3);
    let first_live = crm.iter().position(|(_, _, backfill, _)| !backfill).expect("live marks");
    assert!(crm[first_live..].iter().all(|(_, _, backfill, _)| !backfill));
    assert!(crm.windows(2).all(|pair| pair[0].1 <= pair[1].1), "marks go back");
    // Between the marks of a month, everything is of that month, or later.
    assert_eq!(crm[0].3, 0, "an event came before the opening mark");
    let first_month = crm[1].3;
    for (_, text) in &committed.events[first_month..] {
        let event: Value = serde_json::from_str(text).expect("JSON");
        let id = event["event_id"].as_str().expect("an id");
        let is_row = ["b24:sh:", "b24:vx:", "b24:item:"].iter().any(|prefix| id.starts_with(prefix));
        assert!(!is_row || Output::time(&event) > crm[1].1, "{event} came after the mark {:?}", crm[1]);
    }
}

//! Restarts do not change the output: the same stream with and without restarts gives the same alerts, review requests
//! and rows.
//!
//! The committed output of an epoch is what a transaction would contain. The state topic is a list of records, complete
//! or compacted.

use super::batch::targets::target_stream;
use super::contract::{Reader, with_warnings};
use crate::delay::{Rng, delayed};
use crate::engine::merges;
use crate::oracle;
use funnelwatch::codec::state::{self, OLDEST, ShardRecord, StateRecord, VERSION};
use funnelwatch::codec::{Encoding, json};
use funnelwatch::config;
use funnelwatch::dataflow::epoch::Batch;
use funnelwatch::dataflow::live::LiveState;
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::output::OutputCollector;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::dataflow::state::{RestoreContext, RestoredShard, StateLoader};
use funnelwatch::dataflow::workers::{self, EpochSender};
use funnelwatch::domain::alert::{Alert, Status};
use funnelwatch::domain::event::repair::Repair;
use funnelwatch::domain::figures::row::Subject;
use funnelwatch::domain::id::EntityId;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::rule::message;
use funnelwatch::domain::rule::message::Language;
use funnelwatch::domain::shard::partitioner;
use funnelwatch::domain::shard::processor::{MAX_HELD, ShardProgress, SourceProgress, Timing};
use funnelwatch::domain::shard::spill::HeldMemory;
use funnelwatch::domain::source::{Offset, ShardId, Source, Topic};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::spill::TemporaryEvents;
use serde_json::{Value, json as value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use timely::communication::WorkerGuards;
use uuid::Uuid;

pub(super) type Log = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The committed records, as read by consumers and by the next process.
#[derive(Default)]
pub(super) struct Committed {
    pub(super) alerts: Vec<String>,
    /// Checks the order of the statuses; `None` if the earlier output is unknown.
    reader: Option<Reader>,
    /// The open alerts by id; `None` if the earlier output is unknown.
    open: Option<BTreeMap<Uuid, String>>,
    reviews: Vec<String>,
    pub(super) rows: BTreeMap<String, String>,
    /// The reports of all leads and deals at the end.
    entity_reports: BTreeMap<String, String>,
    rejected: usize,
    repaired: BTreeMap<Repair, u64>,
    pub(super) offset: usize,
    /// The position up to which the stream was read.
    pub(super) read: usize,
    pub(super) log: Log,
}

/// How to run a stream.
#[derive(Clone, Copy)]
struct RunOptions {
    /// The mean number of epochs between restarts, at least 2, because a restart may read the last epoch again; 0: no restarts.
    restarts: usize,
    seed: u64,
    retention: Option<Span>,
    /// Whether held events go to a temporary file at once, and the output of an epoch is next to nothing.
    tight: bool,
}

struct TestStream {
    lines: Vec<String>,
    norms: Vec<Arc<Norms>>,
}

impl TestStream {
    fn read(events: &[u8], norms: &[u8]) -> Self {
        let [events, norms] = [events, norms].map(|bytes| str::from_utf8(bytes).expect("UTF-8"));
        let document = config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}"));
        Self { lines: events.lines().map(str::to_owned).collect(), norms: vec![Arc::new(document.norms)] }
    }

    fn settings(&self, norms: usize, options: RunOptions) -> DataflowSettings {
        let memory = Memory { durable: true, retention: options.retention, undo_events: 2, ..Memory::default() };
        let timing = Timing { max_future_skew: None, follows_clock: false, memory, ..Timing::default() };
        let settings = DataflowSettings::new(Arc::clone(&self.norms[norms]), timing);
        if !options.tight {
            return settings;
        }
        let held_memory = Arc::new(HeldMemory::new(4 << 10, Box::<TemporaryEvents>::default()));
        DataflowSettings { held_memory, max_output: 1, ..settings }
    }

    fn batch(&self, lines: std::ops::Range<usize>) -> Arc<Batch> {
        batch(Source::Files, lines.start, &self.lines[lines])
    }

    /// Runs the stream; several norms are in force one after the other.
    fn run(&self, options: RunOptions) -> (Committed, usize) {
        let committed = Committed { reader: Some(Reader::default()), ..Committed::default() };
        self.run_on(committed, options, usize::MAX)
    }

    /// Continues the stream from the committed state up to this number of lines.
    fn run_on(&self, mut committed: Committed, options: RunOptions, max_lines: usize) -> (Committed, usize) {
        let mut rng = Rng(options.seed);
        let (mut restarts, mut closed) = (0, false);
        while !closed && committed.read < max_lines {
            let norms_at =
                |offset: usize| (offset * self.norms.len() / (self.lines.len() + 1)).min(self.norms.len() - 1);
            let mut norms = norms_at(committed.read);
            let settings = self.settings(norms, options);
            let restored_shard = restore(&committed.log, &settings, &mut rng);
            let live_state = Arc::clone(&settings.live_state);
            let (guards, mut collector, sender) = start(1, settings);
            let (mut position, mut epoch, mut restored_shard) = (committed.offset, 0, Some(restored_shard));
            loop {
                // Epochs end where they end without restarts, because lateness and norm changes depend on it.
                let end = if position < committed.read { committed.read } else { self.cut(position, options.seed) };
                closed = position == self.lines.len();
                let close = closed.then_some(Timestamp(i64::MAX)).map(|_| self.last());
                let source_progress = SourceProgress {
                    source: Source::Files,
                    current: false,
                    ended: false,
                    position: Offset(end as i64),
                };
                let progress = vec![(
                    ShardId(0),
                    ShardProgress { sources: vec![source_progress], close, ..ShardProgress::default() },
                )];
                let next = norms_at(end);
                let new_norms = (next != norms).then(|| Arc::clone(&self.norms[next]));
                norms = next;
                let restored = restored_shard.take().flatten().into_iter().collect::<Vec<_>>().into();
                let head = EpochHeader { epoch, progress, norms: new_norms, restored, ..EpochHeader::default() };
                assert!(sender.send(head, vec![vec![self.batch(position..end)]]));
                let output = collector.next_epoch().expect("workers");
                committed.apply(output, end);
                position = end;
                epoch += 1;
                if closed || end >= max_lines || (options.restarts > 0 && rng.below(options.restarts as u64) == 0) {
                    break;
                }
            }
            restarts += usize::from(!closed);
            if closed {
                committed.entity_reports = self.entity_reports(&live_state);
            }
            drop(sender);
            guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
        }
        committed.alerts.sort();
        committed.reviews.sort();
        (committed, restarts)
    }

    /// The reports of all leads and deals that an event names.
    fn entity_reports(&self, live_state: &LiveState) -> BTreeMap<String, String> {
        let mut entity_reports = BTreeMap::new();
        for event in self.lines.iter().filter_map(|line| json::decode(line.as_bytes()).ok()) {
            event.payload.each_entity(|kind, id| {
                let entity = EntityId { kind, id: id.clone() };
                if let Some(entity_report) = live_state.entity_report(&event.tenant, &entity) {
                    let mut text = Vec::new();
                    json::encode_entity_report(&event.tenant, &entity_report, &mut text);
                    let text = String::from_utf8(text).expect("UTF-8");
                    entity_reports.insert(format!("{} {entity}", event.tenant), text);
                }
            });
        }
        entity_reports
    }

    fn cut(&self, position: usize, seed: u64) -> usize {
        (position + 1 + Rng(seed ^ position as u64).below(60) as usize).min(self.lines.len())
    }

    fn last(&self) -> Timestamp {
        let dated = self.lines.iter().filter_map(|line| json::decode(line.as_bytes()).ok()).map(|event| event.at);
        dated.max().expect("an event")
    }
}

/// A batch of lines of one source, from an offset on.
pub(super) fn batch(source: Source, offset: usize, lines: &[String]) -> Arc<Batch> {
    let mut batch = Batch::new(source, Some(ShardId(0)), Encoding::Json);
    (offset as i64..).zip(lines).for_each(|(offset, line)| batch.push(Offset(offset), None, line.as_bytes()));
    Arc::new(batch)
}

impl Committed {
    pub(super) fn apply(&mut self, output: funnelwatch::dataflow::epoch::EpochOutput, position: usize) {
        let encode = |alert: &Alert| {
            let mut line = Vec::new();
            json::encode_alert(alert, &message::of(alert, Language::En), &mut line);
            String::from_utf8(line).expect("UTF-8")
        };
        for (_, open) in &output.restored {
            let open: BTreeMap<_, _> = open.iter().map(|alert| (alert.id, encode(alert))).collect();
            let open_alerts = self.open.get_or_insert_with(|| open.clone());
            assert_eq!(&open, open_alerts, "a restored shard has its open alerts");
        }
        let open_alerts = self.open.get_or_insert_default();
        for alert in &output.alerts {
            self.alerts.push(encode(alert));
            if let Some(reader) = &mut self.reader {
                reader.read(&serde_json::from_str(&encode(alert)).expect("JSON"));
            }
            match alert.status {
                Status::DueSoon | Status::Firing | Status::Escalated => {
                    open_alerts.insert(alert.id, encode(alert));
                }
                Status::Averted | Status::Resolved | Status::Retracted => drop(open_alerts.remove(&alert.id)),
                Status::Raised => {}
            }
        }
        for request in &output.reviews {
            let mut line = Vec::new();
            json::encode_review(request, &mut line);
            self.reviews.push(String::from_utf8(line).expect("UTF-8"));
        }
        for row in &output.rows {
            let mut line = Vec::new();
            json::encode_row(row, &mut line);
            let key = format!("{} {:?} {}", row.tenant, row.subject, row.figures.window());
            if row.is_gone() {
                self.rows.remove(&key);
            } else {
                self.rows.insert(key, String::from_utf8(line).expect("UTF-8"));
            }
        }
        self.rejected += output.rejected.len();
        for (repair, n) in &output.repaired {
            *self.repaired.entry(*repair).or_default() += n;
        }
        let own = |(key, value): (&[u8], Option<&[u8]>)| (key.to_vec(), value.map(<[u8]>::to_vec));
        for (_, records) in &output.state {
            self.log.extend(records.iter().map(own));
        }
        for status in &output.shards {
            if let Some(checkpoint) = status.checkpoint.as_ref().filter(|_| status.dirty) {
                self.log.extend(checkpoint.encode().iter().map(own));
            }
            let lowest = status.lowest.first().map(|(_, offset)| offset.0 as usize);
            self.read = position;
            self.offset = lowest.unwrap_or(position).min(position);
        }
    }
}

/// The guards are first in the tuple, so that a failing test drops the sender first, which ends the worker.
pub(super) fn start(workers: usize, settings: DataflowSettings) -> (WorkerGuards<()>, OutputCollector, EpochSender) {
    let (sender, collector, guards) = workers::start(workers, settings).expect("threads");
    (guards, collector, sender)
}

/// Restores the shard from the log, complete or compacted.
pub(super) fn restore(log: &Log, settings: &DataflowSettings, rng: &mut Rng) -> Option<RestoredShard> {
    let mut loader = StateLoader::default();
    let mut push = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| {
        loader.push(key, value.as_deref());
    };
    if rng.below(2) == 0 {
        log.iter().for_each(&mut push);
    } else {
        let last: BTreeMap<_, _> = log.iter().enumerate().map(|(index, (key, _))| (key, index)).collect();
        let kept = log.iter().enumerate().filter(|(index, (key, value))| last[key] == *index && value.is_some());
        kept.for_each(|(_, record)| push(record));
    }
    let context = RestoreContext {
        norms: Arc::clone(&settings.norms),
        timing: settings.timing,
        held_memory: Arc::clone(&settings.held_memory),
        read_norms: config::restore_norms,
    };
    loader.restore(ShardId(0), &context).unwrap_or_else(|error| panic!("{error}"))
}

/// A generated stream, in order or with late events, with one or several norms.
fn stream(seed: u64, events: usize, late: bool, norms: usize) -> TestStream {
    test_stream(oracle::stream::stream(seed, events), seed, late, norms)
}

fn test_stream((mut events, document): (Vec<Value>, Value), seed: u64, late: bool, norms: usize) -> TestStream {
    if late {
        events = delayed(&events, seed).0;
    }
    let read = |norms_index| {
        let text = with_warnings(varied(document.clone(), norms_index)).to_string();
        let document = config::parse_norms("norms", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        Arc::new(document.norms)
    };
    TestStream { lines: events.iter().map(ToString::to_string).collect(), norms: (0..norms).map(read).collect() }
}

/// The norms after this number of changes: durations differ, a rule is disabled.
fn varied(mut document: Value, times: usize) -> Value {
    if times > 0 {
        let rules = document["norms"].as_object_mut().expect("rules");
        for (index, (_, norm)) in rules.iter_mut().enumerate() {
            if norm.get("within").is_some() {
                norm["within"] = value!(["20m", "3h", "8h"][(index + times) % 3]);
            }
            if index % 5 == times {
                norm["enabled"] = value!(false);
            }
        }
    }
    document
}

/// Compares a run with restarts and one without. Returns the number of restarts and of discarded events.
fn compare(stream: &TestStream, options: RunOptions) -> (usize, usize) {
    let (uninterrupted, _) = stream.run(RunOptions { restarts: 0, tight: false, ..options });
    let (restarted, restarts) = stream.run(options);
    let seed = options.seed;
    let (mut missing, mut more) = (uninterrupted.alerts.clone(), restarted.alerts.clone());
    missing.retain(|alert| !restarted.alerts.contains(alert));
    more.retain(|alert| !uninterrupted.alerts.contains(alert));
    assert!(
        uninterrupted.alerts == restarted.alerts,
        "seed {seed}, {restarts} restarts, missing:\n{}\nmore:\n{}",
        missing[..missing.len().min(4)].join("\n"),
        more[..more.len().min(4)].join("\n")
    );
    assert_eq!(uninterrupted.reviews, restarted.reviews, "seed {seed}");
    assert_eq!(uninterrupted.rejected, restarted.rejected, "seed {seed}");
    assert_eq!(uninterrupted.repaired, restarted.repaired, "seed {seed}");
    for (key, row) in &uninterrupted.rows {
        let other = restarted.rows.get(key).map_or("", String::as_str);
        let index = row.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let from = index.saturating_sub(100);
        assert!(row == other, "seed {seed}: {key}:\n{}\n{}", &row[from..], &other[from.min(other.len())..]);
    }
    assert_eq!(uninterrupted.rows.len(), restarted.rows.len(), "seed {seed}");
    for (entity, entity_report) in &uninterrupted.entity_reports {
        assert_eq!(Some(entity_report), restarted.entity_reports.get(entity), "seed {seed}: {entity}");
    }
    assert_eq!(uninterrupted.entity_reports.len(), restarted.entity_reports.len(), "seed {seed}");
    assert!(uninterrupted.entity_reports.len() > 10, "seed {seed}");
    let discarded = restarted.log.iter().filter(|(key, value)| key.starts_with(b"e/") && value.is_none()).count();
    (restarts, discarded)
}

fn compare_seeds(seeds: std::ops::Range<u64>, late: bool, norms: usize) {
    let from = seeds.start;
    let options = |seed| RunOptions { restarts: 4, seed, retention: None, tight: false };
    let restarts: usize = seeds.map(|seed| compare(&stream(seed, 300, late, norms), options(seed)).0).sum();
    assert!(restarts > 20, "from seed {from}: {restarts} restarts");
}

#[test]
fn restarts_do_not_change_the_output_with_plans_hand_overs_and_merges() {
    use oracle::stream::{floor_stream, merge_stream};
    let options = |seed| RunOptions { restarts: 4, seed, retention: None, tight: false };
    for seed in 700..708 {
        for stream in [merges::stream, floor_stream, merge_stream] {
            compare(&test_stream(stream(seed, 300), seed, seed % 2 == 0, 1), options(seed));
        }
    }
}

#[test]
fn restarts_do_not_change_the_output() {
    compare_seeds(0..15, false, 1);
}

#[test]
fn neither_spilled_events_nor_small_epochs_change_the_output() {
    for seed in 500..510 {
        compare(&stream(seed, 300, false, 1), RunOptions { restarts: 4, seed, retention: None, tight: true });
    }
}

#[test]
fn restarts_do_not_change_the_output_with_late_events() {
    compare_seeds(100..115, true, 1);
}

#[test]
fn restarts_do_not_change_the_output_while_norms_change() {
    compare_seeds(200..215, false, 3);
}

/// What a run says of targets: alerts, current figures and closing rows.
fn of_targets(committed: &Committed) -> Vec<String> {
    let alerts = committed.alerts.iter().filter(|alert| alert.contains("\"target_behind\"")).cloned();
    let rows = committed.rows.values().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
    let rows = rows.filter_map(|row| {
        let (subject, window) = (row["subject"].clone(), row["window"].as_str().unwrap_or_default().to_owned());
        match window.contains('/') {
            true => Some(format!("{subject} {window} {} {}", row["at_least"], row["fact"])),
            false => Some(format!("{subject} {window} {}", row.get("targets")?)),
        }
    });
    alerts.chain(rows).collect()
}

#[test]
fn restarts_do_not_change_targets_whatever_is_dropped() {
    let mut dropped = 0;
    for seed in 4300..4312 {
        let (late, norms) = (seed % 2 == 0, 1 + seed as usize / 2 % 2);
        let (events, mut document) = target_stream(seed, 300);
        // Windows and silences need a longer retention.
        let only_targets = |layer: &mut Value| {
            let rules = layer.get_mut("norms").and_then(Value::as_object_mut);
            rules.into_iter().for_each(|rules| rules.retain(|rule, _| rule == "target_behind"));
        };
        only_targets(&mut document);
        document["overrides"].as_array_mut().expect("overrides").iter_mut().for_each(only_targets);
        let stream = test_stream((events, document), seed, late, norms);
        for days in [1, 3] {
            let options = RunOptions { restarts: 4, seed, retention: Some(Span(days * Span::DAY.0)), tight: false };
            let (uninterrupted, _) = stream.run(RunOptions { restarts: 0, ..options });
            let (restarted, _) = stream.run(options);
            let (expected, found) = (of_targets(&uninterrupted), of_targets(&restarted));
            let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).take(4).collect();
            let more: Vec<_> = found.iter().filter(|line| !expected.contains(line)).take(4).collect();
            assert!(expected == found, "seed {seed}, {days} days: missing {missing:#?}\nmore {more:#?}");
            dropped += restarted.log.iter().filter(|(key, value)| key.starts_with(b"e/") && value.is_none()).count();
        }
    }
    assert!(dropped > 200, "only {dropped} events were dropped");
}

#[test]
fn a_closing_whose_case_was_dropped_still_can_be_taken_away() {
    let event = |at: &str, payload: &str, content: Value| {
        value!({"tenant_id": "acme", "occurred_at": at, payload: content}).to_string()
    };
    let deal = |id: usize| value!({"kind": "DEAL", "id": id.to_string()});
    let mut lines =
        vec![event("2025-12-30T10:00:00Z", "manager_upserted", value!({"manager_id": "ann", "active": true}))];
    for id in 1..9 {
        let created = value!({"deal_id": id.to_string(), "manager_id": "ann", "amount_minor": 10_i64.pow(id as u32), "currency": "RUB"});
        lines.push(event(&format!("2026-01-05T10:{id:02}:00Z"), "deal_created", created));
        lines.push(event(
            &format!("2026-01-06T10:{id:02}:00Z"),
            "closed",
            value!({"entity": deal(id), "outcome": "WON"}),
        ));
    }
    // Time passes; the cases of January are dropped.
    for day in 1..=28 {
        let call = value!({"call_id": format!("c{day}"), "direction": "OUTBOUND", "phone": "+79161234567", "manager_id": "ann",
            "talk_seconds": 60, "outcome": "ANSWERED"});
        lines.push(event(&format!("2026-02-{day:02}T10:00:00Z"), "call_ended", call));
    }
    lines.push(event("2026-03-01T10:01:00Z", "reopened", value!({"entity": deal(1)})));
    lines.push(event("2026-03-01T10:02:00Z", "deleted", value!({"entity": deal(2)})));
    lines.push(event("2026-03-01T10:03:00Z", "closed", value!({"entity": deal(3), "outcome": "WON"})));
    lines.push(event(
        "2026-03-01T10:04:00Z",
        "deal_snapshot",
        value!({"deal_id": "4", "amount_minor": 7, "currency": "RUB", "outcome": "WON"}),
    ));
    lines.push(event("2026-03-01T10:05:00Z", "closed", value!({"entity": deal(5), "outcome": "LOST"})));
    lines.push(event("2026-03-01T10:06:00Z", "merged", value!({"entity": deal(6), "into": deal(7)})));
    lines.push(event("2026-03-02T10:01:00Z", "closed", value!({"entity": deal(1), "outcome": "WON"})));
    // Those cases are dropped too; then the third deal is reopened after all.
    for day in 3..=25 {
        let call = value!({"call_id": format!("d{day}"), "direction": "OUTBOUND", "phone": "+79161234568", "manager_id": "ann",
            "talk_seconds": 60, "outcome": "ANSWERED"});
        lines.push(event(&format!("2026-03-{day:02}T10:00:00Z"), "call_ended", call));
    }
    lines.push(event("2026-03-26T10:00:00Z", "reopened", value!({"entity": deal(3)})));
    lines.push(event("2026-03-27T10:00:00Z", "closed", value!({"entity": deal(3), "outcome": "WON"})));
    let norms = "windows: [{size: 24h, slide: 1h}]\ntargets:\n\
        - {id: won, figure: deals_won, per: month, at_least: 9, clock: wall, judge: false}\n\
        - {id: money, figure: amount_won, currency: RUB, per: quarter, at_least: 9, clock: wall, judge: false}\n";
    let norms = config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}")).norms;
    let stream = TestStream { lines, norms: vec![Arc::new(norms)] };
    let run = |restarts, retention, seed| {
        let (committed, _) = stream.run(RunOptions { restarts, seed, retention, tight: false });
        let facts = of_targets(&committed).into_iter().filter(|line| line.contains("manager:ann"));
        (facts.collect::<Vec<_>>(), committed)
    };
    let (expected, _) = run(0, None, 1);
    // In January 4, 7 and 8 stand; in March 1 and 3 were won again.
    let january = "\"manager:ann\" won/2026-01 9 3".to_owned();
    assert!(expected.contains(&january), "{expected:#?}");
    let now = expected.iter().find(|line| line.contains("now")).expect("a row");
    let money = 7 + 10_000_000 + 100_000_000 + 10 + 1000;
    assert!(now.contains(&format!("\"fact\":{money},")) && now.contains("\"fact\":2,"), "{now}");
    for seed in 0..12 {
        let (found, committed) = run([0, 2, 3][seed as usize % 3], Some(Span(8 * Span::DAY.0)), seed);
        assert_eq!(found, expected, "seed {seed}");
        let dropped = committed.log.iter().filter(|(key, value)| key.starts_with(b"e/") && value.is_none()).count();
        assert!(dropped > 16, "only {dropped} events were dropped");
    }
}

#[test]
fn restarts_do_not_change_the_output_with_retention() {
    let (mut restarts, mut discarded) = (0, 0);
    for seed in 300..340 {
        let stream = stream(seed, 400, true, 1);
        let longest = stream.norms[0].windows.iter().map(|window| window.size.0).max().expect("a window");
        if longest > 3 * Span::DAY.0 {
            // The stream would end before the retention.
            continue;
        }
        // The minimum that the configuration allows.
        let retention = Some(Span(longest + Memory::default().correction_horizon.0));
        let (times, discarded_events) = compare(&stream, RunOptions { restarts: 4, seed, retention, tight: false });
        restarts += times;
        discarded += discarded_events;
    }
    assert!(restarts > 40 && discarded > 100, "{restarts} restarts, {discarded} events forgotten");
}

/// Runs three sources read at varying speeds, different after each restart: the watermark must not pass held events of a
/// source before they have been read again.
fn run_sources(stream: &TestStream, seed: u64, every: u64, tight: bool) -> (Committed, usize) {
    let options = RunOptions { restarts: 0, seed, retention: None, tight };
    let mut sources: Vec<(Source, Vec<String>)> =
        Topic::ALL.into_iter().map(|topic| (Source::Topic(topic), Vec::new())).collect();
    for line in &stream.lines {
        if let Ok(event) = json::decode(line.as_bytes()) {
            sources[event.payload.topic() as usize].1.push(line.clone());
        }
    }
    let (mut committed, mut rng) = (Committed::default(), Rng(seed));
    let mut next = [0; Topic::COUNT];
    let (mut restarts, mut closed) = (0, false);
    while !closed {
        let settings = stream.settings(0, options);
        let mut restored_shard = restore(&committed.log, &settings, &mut rng);
        let (guards, mut collector, sender) = start(1, settings);
        let mut positions = next;
        for epoch in 0.. {
            let (mut source_progress, mut batches) = (Vec::new(), Vec::new());
            closed = sources.iter().zip(positions).all(|((_, lines), position)| position == lines.len());
            for ((source, lines), position) in sources.iter().zip(&mut positions) {
                let end = (*position + rng.below(40) as usize).min(lines.len());
                batches.push(batch(*source, *position, &lines[*position..end]));
                *position = end;
                source_progress.push(SourceProgress {
                    source: *source,
                    current: end == lines.len(),
                    ended: end == lines.len(),
                    position: Offset(end as i64),
                });
            }
            let close = closed.then(|| stream.last());
            let progress =
                vec![(ShardId(0), ShardProgress { sources: source_progress, close, ..ShardProgress::default() })];
            let restored = restored_shard.take().into_iter().collect::<Vec<_>>().into();
            assert!(sender.send(EpochHeader { epoch, progress, restored, ..EpochHeader::default() }, vec![batches]));
            let output = collector.next_epoch().expect("workers");
            assert_eq!(
                output.shards.iter().map(|status| status.counts.late).sum::<u64>(),
                0,
                "seed {seed}: nothing is late"
            );
            for status in &output.shards {
                for (index, (source, _)) in sources.iter().enumerate() {
                    let lowest = status.lowest.iter().find(|(of, _)| of == source).map(|(_, offset)| offset.0 as usize);
                    next[index] = lowest.unwrap_or(positions[index]);
                }
            }
            committed.apply(output, 0);
            if closed || (every > 0 && rng.below(every) == 0) {
                break;
            }
        }
        restarts += usize::from(!closed);
        drop(sender);
        guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    }
    committed.alerts.sort();
    (committed, restarts)
}

/// The log, with a last shard record that says whether rows follow.
fn with_rows_follow(log: &Log, rows_follow: bool) -> Log {
    let last =
        log.iter().rfind(|(key, _)| key == b"s").and_then(|(key, value)| state::decode(key, value.as_ref()?).ok());
    let Some(StateRecord::Shard(record)) = last else { panic!("no shard record") };
    let records = ShardRecord { rows_follow, ..record }.encode();
    let own = |(key, value): (&[u8], Option<&[u8]>)| (key.to_vec(), value.map(<[u8]>::to_vec));
    log.iter().cloned().chain(records.iter().map(own)).collect()
}

#[test]
fn rows_that_an_earlier_process_did_not_write_are_written_after_a_restore() {
    let stream = stream(5, 300, false, 1);
    let options = RunOptions { restarts: 0, seed: 5, retention: None, tight: false };
    let (committed, _) = stream.run_on(Committed::default(), options, 250);
    for rows_follow in [false, true] {
        let settings = DataflowSettings { rows_at_boundaries: true, ..stream.settings(0, options) };
        let restored = restore(&with_rows_follow(&committed.log, rows_follow), &settings, &mut Rng(1));
        let (guards, mut collector, sender) = start(1, settings);
        let sources = vec![SourceProgress::of(Source::Files, false)];
        let progress = vec![(ShardId(0), ShardProgress { sources, ..ShardProgress::default() })];
        let restored = restored.into_iter().collect::<Vec<_>>().into();
        assert!(sender.send(EpochHeader { progress, restored, ..EpochHeader::default() }, vec![Vec::new()]));
        let output = collector.next_epoch().expect("workers");
        drop(sender);
        guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
        let windows = stream.norms[0].windows.len() + 1;
        let of_tenants = output.rows.iter().filter(|row| matches!(row.subject, Subject::Tenant)).count();
        let tenants: BTreeSet<_> =
            committed.log.iter().map(|(key, _)| key).filter(|key| key.starts_with(b"t/")).collect();
        assert_eq!(of_tenants, if rows_follow { windows * tenants.len() } else { 0 });
        assert_eq!(output.shards[0].dirty, rows_follow, "the shard record is written with the rows");
    }
}

#[test]
fn restarts_do_not_change_the_output_with_sources_read_at_varying_speeds() {
    let mut restarts = 0;
    for seed in 400..412 {
        let stream = stream(seed, 300, false, 1);
        let (uninterrupted, _) = run_sources(&stream, seed, 0, false);
        for tight in [false, true] {
            let (restarted, times) = run_sources(&stream, seed, 4, tight);
            assert_eq!(uninterrupted.alerts, restarted.alerts, "seed {seed}");
            assert_eq!(uninterrupted.rows, restarted.rows, "seed {seed}");
            let of_held = |(key, _): &&(Vec<u8>, Option<Vec<u8>>)| key.starts_with(b"h/");
            assert_eq!(restarted.log.iter().any(|record| of_held(&record)), tight, "seed {seed}: spilled");
            restarts += times;
        }
    }
    assert!(restarts > 20, "{restarts} restarts");
}

/// In a backlog one source may be far ahead of another in event time: it is paused, so that held events are bounded.
#[test]
fn a_source_that_is_ahead_is_paused() {
    let stream = stream(1, 50, false, 1);
    let lead = |n: usize| {
        let at = Timestamp(1_772_434_800_000 + n as i64 * 1000);
        format!(r#"{{"event_id":"e{n}","tenant_id":"acme","occurred_at":"{at}","lead_created":{{"lead_id":"{n}"}}}}"#)
    };
    let call = |n: usize| {
        let at = Timestamp(1_772_434_800_000 + n as i64 * 1000);
        let call = r#""call_started":{"call_id":"c","direction":"OUTBOUND","phone":"+79120000000"}"#;
        format!(r#"{{"event_id":"e{n}","tenant_id":"acme","occurred_at":"{at}",{call}}}"#)
    };
    let leads: Vec<String> = (1..MAX_HELD + 2).map(lead).collect();
    let (crm, telephony) = (Source::Topic(Topic::Crm), Source::Topic(Topic::Telephony));
    let settings = stream.settings(0, RunOptions { restarts: 0, seed: 0, retention: None, tight: false });
    let (guards, mut collector, sender) = start(1, settings);
    let mut run = |epoch, batches: Vec<Arc<Batch>>| {
        let sources = vec![SourceProgress::of(crm, false), SourceProgress::of(telephony, false)];
        let progress = vec![(ShardId(0), ShardProgress { sources, ..ShardProgress::default() })];
        assert!(sender.send(EpochHeader { epoch, progress, ..EpochHeader::default() }, vec![batches]));
        let output = collector.next_epoch().expect("workers");
        (output.shards[0].held, output.shards[0].paused.clone())
    };
    assert_eq!(
        run(0, vec![batch(telephony, 0, &[call(0)]), batch(crm, 0, &leads[..MAX_HELD - 10])]).1,
        [],
        "few events are held"
    );
    let (held, ahead) = run(1, vec![batch(crm, MAX_HELD, &leads[MAX_HELD - 10..])]);
    assert!(held > MAX_HELD);
    assert_eq!(ahead, [crm]);
    let (held, ahead) = run(2, vec![batch(telephony, 1, &[call(MAX_HELD)])]);
    assert!(held < 100, "{held}");
    assert_eq!(ahead, []);
    drop(sender);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
}

/// The last worker decodes and the first one has the shard, which decides what is emitted and counted. Every lead has a
/// wrong `source`; only those that are accepted count as repaired.
#[test]
fn rejected_misrouted_and_repaired_messages_are_emitted_once_in_spite_of_a_restore() {
    let stream = stream(1, 50, false, 1);
    let lead = |tenant: &str, at: &str| {
        let payload = r#""lead_created":{"lead_id":"1"}"#;
        format!(r#"{{"event_id":"1","source":7,"tenant_id":"{tenant}","occurred_at":"{at}",{payload}}}"#)
    };
    let tenant = |shard: u32| (0..).map(|n| format!("t{n}")).find(|name| partitioner::shard(name, 2) == ShardId(shard));
    let [own, other] = [0, 1].map(|shard| tenant(shard).expect("such a name exists"));
    let (now, future) = ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z");
    let no_event = || "{}".to_owned();
    let first = [lead(&own, now), no_event(), lead(&other, now), lead(&own, future)];
    let lines = [&first[..], &[no_event(), lead(&other, now), lead(&own, now)]].concat();
    for workers in [1, 2, 4] {
        let (mut committed, mut emitted) = (Committed::default(), Vec::new());
        for end in [4, 7] {
            let mut settings = stream.settings(0, RunOptions { restarts: 0, seed: 0, retention: None, tight: false });
            settings.shards = 2;
            settings.timing.max_future_skew = Some(Span::HOUR);
            let restored = restore(&committed.log, &settings, &mut Rng(0)).into_iter().collect::<Vec<_>>().into();
            let (guards, mut collector, sender) = start(workers, settings);
            let sources = vec![SourceProgress {
                source: Source::Files,
                current: false,
                ended: false,
                position: Offset(end as i64),
            }];
            let progress = vec![(ShardId(0), ShardProgress { sources, ..ShardProgress::default() })];
            let mut batches = vec![Vec::new(); workers];
            batches[workers - 1].push(batch(Source::Files, 0, &lines[..end]));
            assert!(sender.send(EpochHeader { progress, restored, ..EpochHeader::default() }, batches));
            let output = collector.next_epoch().expect("workers");
            emitted.extend(output.rejected.iter().map(|found| ("rejected", found.message)));
            emitted.extend(output.misrouted.iter().map(|found| ("misrouted", found.message)));
            committed.apply(output, end);
            drop(sender);
            guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
        }
        let expected = [("rejected", 1), ("rejected", 3), ("misrouted", 2), ("rejected", 4), ("misrouted", 5)];
        assert_eq!(emitted, expected, "{workers} workers");
        assert_eq!(committed.repaired, [(Repair::WrongValue, 2)].into(), "{workers} workers");
    }
}

/// The fixture is state in the layout of one version with its events and the alerts that follow; it can be restored as
/// long as that layout is supported. `UPDATE_FIXTURE=1` writes it: only for a new version, into a new directory.
#[test]
fn state_written_by_an_earlier_build_is_restored() {
    (OLDEST..=VERSION).for_each(restore_fixture);
}

fn restore_fixture(version: u32) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/state/v{version}"));
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let options = RunOptions { restarts: 0, seed: 7, retention: None, tight: false };
    if version == VERSION && std::env::var_os("UPDATE_FIXTURE").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("the file is written");
        let (events, norms) = oracle::stream::stream(7, 300);
        let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
        write("events.ndjson", lines.join("\n").as_bytes());
        write("norms.json", norms.to_string().as_bytes());
        let stream = TestStream::read(&read("events.ndjson"), &read("norms.json"));
        let (half, _) = stream.run_on(Committed::default(), options, 150);
        write("state.bin", &encode_log(&half.log));
        write("offsets.json", format!("[{},{}]", half.offset, half.read).as_bytes());
        let (whole, _) = stream.run(options);
        let rest: Vec<_> = whole.alerts.iter().filter(|alert| !half.alerts.contains(alert)).cloned().collect();
        write("alerts.ndjson", rest.join("\n").as_bytes());
    }
    let stream = TestStream::read(&read("events.ndjson"), &read("norms.json"));
    let [offset, position]: [usize; 2] = serde_json::from_slice(&read("offsets.json")).expect("two numbers");
    let committed = Committed { log: decode_log(&read("state.bin")), offset, read: position, ..Committed::default() };
    let (rest, _) = stream.run_on(committed, options, usize::MAX);
    let expected = String::from_utf8(read("alerts.ndjson")).expect("UTF-8");
    assert!(expected.lines().count() > 20, "the fixture has alerts");
    assert_eq!(rest.alerts, expected.lines().collect::<Vec<_>>());
}

#[test]
fn state_of_an_unreleased_layout_is_rejected_with_instructions() {
    for version in 1..OLDEST {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/state/v{version}.bin"));
        let mut loader = StateLoader::default();
        for (key, value) in decode_log(&std::fs::read(path).expect("the fixture")) {
            loader.push(&key, value.as_deref());
        }
        let error = loader.verify().expect_err("the version is not supported").to_string();
        assert!(error.contains(&format!("layout version {version}")), "{error}");
        assert!(error.contains("funnelwatch state reset --shard N --yes"), "{error}");
    }
}

fn encode_log(log: &Log) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in log {
        for part in [Some(key), value.as_ref()] {
            bytes.extend(part.map_or(u32::MAX, |part| part.len() as u32).to_le_bytes());
            bytes.extend(part.into_iter().flatten());
        }
    }
    bytes
}

fn decode_log(mut bytes: &[u8]) -> Log {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        let (part, rest) = rest.split_at(if length == u32::MAX { 0 } else { length as usize });
        parts.push((length < u32::MAX).then(|| part.to_vec()));
        bytes = rest;
    }
    let whole = |pair: &[Option<Vec<u8>>]| (pair[0].clone().expect("a key"), pair[1].clone());
    parts.chunks(2).map(whole).collect()
}

/// One slow source holds events back for long: they are stored, and a restart does not read them again.
#[test]
fn events_that_are_held_for_long_are_restored_from_the_state() {
    let begin = 1_772_434_800_000;
    let at = |minutes: i64| Timestamp(begin + minutes * 60_000);
    let mark = |minutes| {
        let at = at(minutes);
        format!(r#"{{"tenant_id":"acme","occurred_at":"{at}","source":"b24","progress":{{"up_to":"{at}"}}}}"#)
    };
    let lead = |id: &str, minutes| {
        let payload = format!(r#""lead_created":{{"lead_id":"{id}","manager_id":"m"}}"#);
        format!(r#"{{"tenant_id":"acme","occurred_at":"{}",{payload}}}"#, at(minutes))
    };
    let norms = config::parse_norms("norms", r#"{"norms": {"first_response_late": {"within": "10m"}}}"#);
    let stream = TestStream { lines: Vec::new(), norms: vec![Arc::new(norms.expect("norms").norms)] };
    let crm = Source::Topic(Topic::Crm);
    let mut committed = Committed::default();
    // The wall clock and the messages of each epoch of each process.
    let processes = [
        vec![(1, vec![mark(0), lead("early", 0), lead("held", 1)]), (2, Vec::new())],
        vec![(3, vec![lead("new", 2)]), (20, vec![mark(20)])],
        vec![(21, vec![mark(21)])],
    ];
    let mut found = Vec::new();
    for epochs in processes {
        let mut settings = stream.settings(0, RunOptions { restarts: 0, seed: 0, retention: None, tight: false });
        settings.timing.follows_clock = true;
        let mut restored = restore(&committed.log, &settings, &mut Rng(7)).into_iter().collect::<Vec<_>>();
        let (guards, mut collector, sender) = start(1, settings);
        for (epoch, (minutes, lines)) in (0..).zip(epochs) {
            let (position, wall) = (committed.read, at(minutes));
            let end = position + lines.len();
            let position = Offset(end as i64);
            let sources = vec![SourceProgress { source: crm, current: true, ended: false, position }];
            let progress = vec![(ShardId(0), ShardProgress { wall: Some(wall), sources, ..ShardProgress::default() })];
            let restored = std::mem::take(&mut restored).into();
            let header = EpochHeader { epoch, wall, progress, restored, ..EpochHeader::default() };
            assert!(sender.send(header, vec![vec![batch(crm, end - lines.len(), &lines)]]));
            let output = collector.next_epoch().expect("workers");
            let alerts: Vec<_> = output.alerts.iter().map(|alert| alert.subject.to_string()).collect();
            committed.apply(output, end);
            found.push((end - committed.offset, alerts.join(" ")));
        }
        drop(sender);
        guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    }
    let expected = [(1, ""), (0, ""), (1, ""), (0, "lead:early lead:held lead:new"), (0, "")];
    assert_eq!(found, expected.map(|(held, alerts)| (held, alerts.to_owned())), "messages to read again, and alerts");
    let of_held = |(key, _): &&(Vec<u8>, Option<Vec<u8>>)| key.starts_with(b"h/");
    let changes: Vec<bool> = committed.log.iter().filter(of_held).map(|(_, value)| value.is_some()).collect();
    assert_eq!(changes, [true, false], "stored once, and removed");
}

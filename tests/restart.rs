//! A shard that is restored goes on as if nothing had happened: the same stream, straight and with restarts anywhere,
//! gives the same alerts, review requests and rows. What is committed of an epoch is what a transaction would carry; the
//! state topic is a list of records here, whole or compacted.

#[path = "common/delay.rs"]
mod delay;
mod oracle;

use delay::{Rng, delayed};
use funnelwatch::codec::Encoding;
use funnelwatch::codec::json;
use funnelwatch::config;
use funnelwatch::dataflow::epoch::{Batch, EpochHeader};
use funnelwatch::dataflow::live_state::LiveState;
use funnelwatch::dataflow::state::{RestoreContext, RestoredShard, StateLoader};
use funnelwatch::dataflow::workers::{DataflowSettings, EpochSender, OutputCollector, Workers};
use funnelwatch::domain::alert::{Alert, Status};
use funnelwatch::domain::event::Topic;
use funnelwatch::domain::id::EntityId;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::rule::{self, Language};
use funnelwatch::domain::shard_processor::{HELD, ShardProgress, Source, SourceProgress, Timing};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::{Span, Timestamp};
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use timely::communication::WorkerGuards;
use uuid::Uuid;

type Log = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What readers of committed records see, and what a successor finds.
#[derive(Default)]
struct Committed {
    alerts: Vec<String>,
    /// Those that are open, by their ids; `None`: what was told before is not known.
    open: Option<BTreeMap<Uuid, String>>,
    reviews: Vec<String>,
    rows: BTreeMap<String, String>,
    /// Of every lead and deal, once all is over.
    dossiers: BTreeMap<String, String>,
    refused: usize,
    offset: usize,
    /// Up to where it was read.
    read: usize,
    log: Log,
}

/// How a stream is run.
#[derive(Clone, Copy)]
struct Course {
    /// A restart after so many epochs on average; 0: none.
    restarts: usize,
    seed: u64,
    retention: Option<Span>,
}

struct Shop {
    lines: Vec<String>,
    norms: Vec<Arc<Norms>>,
}

impl Shop {
    fn read(events: &[u8], norms: &[u8]) -> Self {
        let [events, norms] = [events, norms].map(|bytes| str::from_utf8(bytes).expect("UTF-8"));
        let document = config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}"));
        Self { lines: events.lines().map(str::to_owned).collect(), norms: vec![Arc::new(document.norms)] }
    }

    fn settings(&self, norms: usize, course: Course) -> DataflowSettings {
        let memory = Memory { durable: true, retention: course.retention, ..Memory::default() };
        let timing = Timing { max_future_skew: None, follows_clock: false, memory, ..Timing::default() };
        DataflowSettings::new(Arc::clone(&self.norms[norms]), timing)
    }

    fn batch(&self, lines: std::ops::Range<usize>) -> Arc<Batch> {
        batch(Source::Files, lines.start, &self.lines[lines])
    }
    /// Runs the stream; if there are several norms, each is in force for a part of it.
    fn run(&self, course: Course) -> (Committed, usize) {
        self.run_on(Committed::default(), course, usize::MAX)
    }

    /// Goes on with the stream from what is committed, up to so many lines.
    fn run_on(&self, mut committed: Committed, course: Course, most: usize) -> (Committed, usize) {
        let mut rng = Rng(course.seed);
        let (mut restarts, mut closed) = (0, false);
        while !closed && committed.read < most {
            let turn = |offset: usize| (offset * self.norms.len() / (self.lines.len() + 1)).min(self.norms.len() - 1);
            let mut norms = turn(committed.read);
            let settings = self.settings(norms, course);
            let rebuilt = restore(&committed.log, &settings, &mut rng);
            let board = Arc::clone(&settings.board);
            let (guards, mut gather, supply) = start(settings);
            let (mut position, mut epoch, mut rebuilt) = (committed.offset, 0, Some(rebuilt));
            loop {
                // Epochs are cut where they are cut without restarts: what is late depends on it, and when norms change.
                let end = if position < committed.read { committed.read } else { self.cut(position, course.seed) };
                closed = position == self.lines.len();
                let close = closed.then_some(Timestamp(i64::MAX)).map(|_| self.last());
                let flow = SourceProgress { source: Source::Files, idle: false, position: end as i64 };
                let progress = vec![(0, ShardProgress { sources: vec![flow], close, ..ShardProgress::default() })];
                let next = turn(end);
                let renewed = (next != norms).then(|| Arc::clone(&self.norms[next]));
                norms = next;
                let taken = rebuilt.take().flatten().into_iter().collect::<Vec<_>>().into();
                let head = EpochHeader { epoch, progress, norms: renewed, restored: taken, ..EpochHeader::default() };
                assert!(supply.send(head, vec![vec![self.batch(position..end)]]));
                let made = gather.gather().expect("workers");
                committed.take(made, end);
                position = end;
                epoch += 1;
                if closed || end >= most || (course.restarts > 0 && rng.below(course.restarts as u64) == 0) {
                    break;
                }
            }
            restarts += usize::from(!closed);
            if closed {
                committed.dossiers = self.dossiers(&board);
            }
            drop(supply);
            guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
        }
        committed.alerts.sort();
        committed.reviews.sort();
        (committed, restarts)
    }

    /// What is known of every lead and deal that an event names.
    fn dossiers(&self, board: &LiveState) -> BTreeMap<String, String> {
        let mut dossiers = BTreeMap::new();
        for event in self.lines.iter().filter_map(|line| json::decode(line.as_bytes()).ok()) {
            event.payload.each_entity(|kind, id| {
                let entity = EntityId { kind, id: id.clone() };
                if let Some(entity_report) = board.entity_report(&event.tenant, &entity) {
                    let mut text = Vec::new();
                    json::encode_entity_report(&event.tenant, &entity_report, &mut text);
                    let text = String::from_utf8(text).expect("UTF-8");
                    dossiers.insert(format!("{} {entity}", event.tenant), text);
                }
            });
        }
        dossiers
    }

    fn cut(&self, position: usize, seed: u64) -> usize {
        (position + 1 + Rng(seed ^ position as u64).below(60) as usize).min(self.lines.len())
    }

    fn last(&self) -> Timestamp {
        let dated = self.lines.iter().filter_map(|line| json::decode(line.as_bytes()).ok()).map(|event| event.at);
        dated.max().expect("an event")
    }
}

/// Lines of one source, from an offset on.
fn batch(source: Source, offset: usize, lines: &[String]) -> Arc<Batch> {
    let mut batch = Batch::new(source, Some(0), Encoding::Json);
    (offset as i64..).zip(lines).for_each(|(offset, line)| batch.push(offset, None, line.as_bytes()));
    Arc::new(batch)
}

impl Committed {
    fn take(&mut self, made: funnelwatch::dataflow::epoch::EpochOutput, position: usize) {
        let written = |alert: &Alert| {
            let mut line = Vec::new();
            json::encode_alert(alert, &rule::message(alert, Language::En), &mut line);
            String::from_utf8(line).expect("UTF-8")
        };
        for (_, open) in &made.adopted {
            let open: BTreeMap<_, _> = open.iter().map(|alert| (alert.id, written(alert))).collect();
            let told = self.open.get_or_insert_with(|| open.clone());
            assert_eq!(&open, told, "a shard comes with its open alerts");
        }
        let told = self.open.get_or_insert_default();
        for alert in &made.alerts {
            self.alerts.push(written(alert));
            match alert.status {
                Status::Firing | Status::Escalated => drop(told.insert(alert.id, written(alert))),
                Status::Resolved | Status::Retracted => drop(told.remove(&alert.id)),
                Status::Raised => {}
            }
        }
        for request in &made.reviews {
            let mut line = Vec::new();
            json::encode_review(request, &mut line);
            self.reviews.push(String::from_utf8(line).expect("UTF-8"));
        }
        for row in &made.rows {
            let mut line = Vec::new();
            json::encode_row(row, &mut line);
            let key = format!("{} {:?} {}", row.tenant, row.subject, row.figures.window());
            self.rows.insert(key, String::from_utf8(line).expect("UTF-8"));
        }
        self.refused += made.refusals.len();
        let own = |(key, value): (&[u8], Option<&[u8]>)| (key.to_vec(), value.map(<[u8]>::to_vec));
        for (_, records) in &made.state {
            self.log.extend(records.iter().map(own));
        }
        for mark in &made.shards {
            if mark.dirty {
                self.log.extend(mark.checkpoint.iter().map(own));
            }
            let lowest = mark.lowest.first().map(|(_, offset)| *offset as usize);
            self.read = position;
            self.offset = lowest.unwrap_or(position).min(position);
        }
    }
}

/// The worker's guards come first: what a failed test drops first is the supply, without which the worker ends.
fn start(settings: DataflowSettings) -> (WorkerGuards<()>, OutputCollector, EpochSender) {
    let (supply, gather, guards) = Workers::start(1, settings).expect("threads").split();
    (guards, gather, supply)
}

/// Rebuilds from the log, as it is or compacted.
fn restore(log: &Log, settings: &DataflowSettings, rng: &mut Rng) -> Option<RestoredShard> {
    let mut gathering = StateLoader::default();
    let mut push = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| {
        gathering.push(key, value.as_deref());
    };
    if rng.below(2) == 0 {
        log.iter().for_each(&mut push);
    } else {
        let last: BTreeMap<_, _> = log.iter().enumerate().map(|(place, (key, _))| (key, place)).collect();
        let kept = log.iter().enumerate().filter(|(place, (key, value))| last[key] == *place && value.is_some());
        kept.for_each(|(_, record)| push(record));
    }
    let plan = RestoreContext { norms: Arc::clone(&settings.norms), timing: settings.timing };
    gathering.restore(0, &plan).unwrap_or_else(|error| panic!("{error}"))
}

/// A generated stream, in order or with late events, under norms that stay or change.
fn shop(seed: u64, events: usize, late: bool, norms: usize) -> Shop {
    let (mut events, document) = oracle::stream::stream(seed, events);
    if late {
        events = delayed(&events, seed).0;
    }
    let read = |number| {
        let text = varied(document.clone(), number).to_string();
        let document = config::parse_norms("norms", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        Arc::new(document.norms)
    };
    Shop { lines: events.iter().map(ToString::to_string).collect(), norms: (0..norms).map(read).collect() }
}

/// The norms as they were changed so many times: lengths grow or shrink, a rule is switched off.
fn varied(mut document: Value, times: usize) -> Value {
    if times > 0 {
        let rules = document["norms"].as_object_mut().expect("rules");
        for (place, (_, norm)) in rules.iter_mut().enumerate() {
            if norm.get("within").is_some() {
                norm["within"] = value!(["20m", "3h", "8h"][(place + times) % 3]);
            }
            if place % 5 == times {
                norm["enabled"] = value!(false);
            }
        }
    }
    document
}

/// Restarts, and events that were forgotten.
fn compare(shop: &Shop, course: Course) -> (usize, usize) {
    let (straight, _) = shop.run(Course { restarts: 0, ..course });
    let (broken, restarts) = shop.run(course);
    let seed = course.seed;
    let (mut missing, mut more) = (straight.alerts.clone(), broken.alerts.clone());
    missing.retain(|alert| !broken.alerts.contains(alert));
    more.retain(|alert| !straight.alerts.contains(alert));
    assert!(
        straight.alerts == broken.alerts,
        "seed {seed}, {restarts} restarts, missing:\n{}\nmore:\n{}",
        missing[..missing.len().min(4)].join("\n"),
        more[..more.len().min(4)].join("\n")
    );
    assert_eq!(straight.reviews, broken.reviews, "seed {seed}");
    assert_eq!(straight.refused, broken.refused, "seed {seed}");
    for (key, row) in &straight.rows {
        let other = broken.rows.get(key).map_or("", String::as_str);
        let place = row.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let from = place.saturating_sub(100);
        assert!(row == other, "seed {seed}: {key}:\n{}\n{}", &row[from..], &other[from.min(other.len())..]);
    }
    assert_eq!(straight.rows.len(), broken.rows.len(), "seed {seed}");
    for (entity, entity_report) in &straight.dossiers {
        assert_eq!(Some(entity_report), broken.dossiers.get(entity), "seed {seed}: {entity}");
    }
    assert_eq!(straight.dossiers.len(), broken.dossiers.len(), "seed {seed}");
    assert!(straight.dossiers.len() > 10, "seed {seed}");
    let forgotten = broken.log.iter().filter(|(key, value)| key.starts_with(b"e/") && value.is_none()).count();
    (restarts, forgotten)
}

fn all(seeds: std::ops::Range<u64>, late: bool, norms: usize) {
    let from = seeds.start;
    let course = |seed| Course { restarts: 4, seed, retention: None };
    let restarts: usize = seeds.map(|seed| compare(&shop(seed, 300, late, norms), course(seed)).0).sum();
    assert!(restarts > 20, "from seed {from}: {restarts} restarts");
}

#[test]
fn restarts_anywhere_do_not_show() {
    all(0..15, false, 1);
}

#[test]
fn nor_do_they_among_late_events() {
    all(100..115, true, 1);
}

#[test]
fn nor_while_norms_change() {
    all(200..215, false, 3);
}

#[test]
fn nor_where_what_is_over_is_forgotten() {
    let (mut restarts, mut forgotten) = (0, 0);
    for seed in 300..340 {
        let shop = shop(seed, 400, true, 1);
        let longest = shop.norms[0].windows.iter().map(|window| window.size.0).max().expect("a window");
        if longest > 3 * Span::DAY.0 {
            // The stream would be over before anything is.
            continue;
        }
        // The least that the configuration allows.
        let retention = Some(Span(longest + Memory::default().correction_horizon.0));
        let (times, gone) = compare(&shop, Course { restarts: 4, seed, retention });
        restarts += times;
        forgotten += gone;
    }
    assert!(restarts > 40 && forgotten > 100, "{restarts} restarts, {forgotten} events forgotten");
}

/// Three sources that are read at changing speeds, and after a restart again at others: what one of them held must not be
/// passed by the watermark before it has come again.
fn run_sources(shop: &Shop, seed: u64, every: u64) -> (Committed, usize) {
    let course = Course { restarts: 0, seed, retention: None };
    let mut sources: Vec<(Source, Vec<String>)> =
        Topic::ALL.into_iter().map(|topic| (Source::Topic(topic), Vec::new())).collect();
    for line in &shop.lines {
        if let Ok(event) = json::decode(line.as_bytes()) {
            sources[event.payload.topic() as usize].1.push(line.clone());
        }
    }
    let (mut committed, mut rng) = (Committed::default(), Rng(seed));
    let mut next = [0; 3];
    let (mut restarts, mut closed) = (0, false);
    while !closed {
        let settings = shop.settings(0, course);
        let mut rebuilt = restore(&committed.log, &settings, &mut rng);
        let (guards, mut gather, supply) = start(settings);
        let mut positions = next;
        for epoch in 0.. {
            let (mut flows, mut batches) = (Vec::new(), Vec::new());
            closed = sources.iter().zip(positions).all(|((_, lines), position)| position == lines.len());
            for ((source, lines), position) in sources.iter().zip(&mut positions) {
                let end = (*position + rng.below(40) as usize).min(lines.len());
                batches.push(batch(*source, *position, &lines[*position..end]));
                *position = end;
                flows.push(SourceProgress { source: *source, idle: end == lines.len(), position: end as i64 });
            }
            let close = closed.then(|| shop.last());
            let progress = vec![(0, ShardProgress { sources: flows, close, ..ShardProgress::default() })];
            let taken = rebuilt.take().into_iter().collect::<Vec<_>>().into();
            assert!(
                supply.send(EpochHeader { epoch, progress, restored: taken, ..EpochHeader::default() }, vec![batches])
            );
            let made = gather.gather().expect("workers");
            assert_eq!(made.shards.iter().map(|mark| mark.counts.late).sum::<u64>(), 0, "seed {seed}: nothing is late");
            for mark in &made.shards {
                for (place, (source, _)) in sources.iter().enumerate() {
                    let lowest = mark.lowest.iter().find(|(of, _)| of == source).map(|(_, offset)| *offset as usize);
                    next[place] = lowest.unwrap_or(positions[place]);
                }
            }
            committed.take(made, 0);
            if closed || (every > 0 && rng.below(every) == 0) {
                break;
            }
        }
        restarts += usize::from(!closed);
        drop(supply);
        guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    }
    committed.alerts.sort();
    (committed, restarts)
}

#[test]
fn nor_where_sources_are_read_at_changing_speeds() {
    let mut restarts = 0;
    for seed in 400..412 {
        let shop = shop(seed, 300, false, 1);
        let (straight, _) = run_sources(&shop, seed, 0);
        let (broken, times) = run_sources(&shop, seed, 4);
        assert_eq!(straight.alerts, broken.alerts, "seed {seed}");
        assert_eq!(straight.rows, broken.rows, "seed {seed}");
        restarts += times;
    }
    assert!(restarts > 20, "{restarts} restarts");
}

/// In a backlog one source may be far ahead of another in event time: it rests, or what it says would fill the memory.
#[test]
fn a_source_that_is_ahead_rests() {
    let shop = shop(1, 50, false, 1);
    let lead = |n: usize| {
        let at = Timestamp(1_772_434_800_000 + n as i64 * 1000);
        format!(r#"{{"event_id":"e{n}","tenant_id":"acme","occurred_at":"{at}","lead_created":{{"lead_id":"{n}"}}}}"#)
    };
    let call = |n: usize| {
        let at = Timestamp(1_772_434_800_000 + n as i64 * 1000);
        let call = r#""call_started":{"call_id":"c","direction":"OUTBOUND","phone":"+79120000000"}"#;
        format!(r#"{{"event_id":"e{n}","tenant_id":"acme","occurred_at":"{at}",{call}}}"#)
    };
    let leads: Vec<String> = (1..HELD + 2).map(lead).collect();
    let (crm, telephony) = (Source::Topic(Topic::Crm), Source::Topic(Topic::Telephony));
    let settings = shop.settings(0, Course { restarts: 0, seed: 0, retention: None });
    let (guards, mut gather, supply) = start(settings);
    let mut run = |epoch, batches: Vec<Arc<Batch>>| {
        let sources = vec![SourceProgress::of(crm, false), SourceProgress::of(telephony, false)];
        let progress = vec![(0, ShardProgress { sources, ..ShardProgress::default() })];
        assert!(supply.send(EpochHeader { epoch, progress, ..EpochHeader::default() }, vec![batches]));
        let made = gather.gather().expect("workers");
        (made.shards[0].held, made.shards[0].paused.clone())
    };
    assert_eq!(
        run(0, vec![batch(telephony, 0, &[call(0)]), batch(crm, 0, &leads[..HELD - 10])]).1,
        [],
        "not much is held"
    );
    let (held, ahead) = run(1, vec![batch(crm, HELD, &leads[HELD - 10..])]);
    assert!(held > HELD);
    assert_eq!(ahead, [crm]);
    let (held, ahead) = run(2, vec![batch(telephony, 1, &[call(HELD)])]);
    assert!(held < 100, "{held}");
    assert_eq!(ahead, []);
    drop(supply);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
}

/// State that version 1 wrote, with the events that it is of and the alerts that follow, is read for ever. To be written
/// anew (`UPDATE_FIXTURE=1`) only under another version, into another folder.
#[test]
fn state_that_an_earlier_version_wrote_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state/v1");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let course = Course { restarts: 0, seed: 7, retention: None };
    if std::env::var_os("UPDATE_FIXTURE").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("the file is written");
        let (events, norms) = oracle::stream::stream(7, 300);
        let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
        write("events.ndjson", lines.join("\n").as_bytes());
        write("norms.json", norms.to_string().as_bytes());
        let shop = Shop::read(&read("events.ndjson"), &read("norms.json"));
        let (half, _) = shop.run_on(Committed::default(), course, 150);
        write("state.bin", &packed(&half.log));
        write("offsets.json", format!("[{},{}]", half.offset, half.read).as_bytes());
        let (whole, _) = shop.run(course);
        let rest: Vec<_> = whole.alerts.iter().filter(|alert| !half.alerts.contains(alert)).cloned().collect();
        write("alerts.ndjson", rest.join("\n").as_bytes());
    }
    let shop = Shop::read(&read("events.ndjson"), &read("norms.json"));
    let [offset, position]: [usize; 2] = serde_json::from_slice(&read("offsets.json")).expect("two numbers");
    let committed = Committed { log: unpacked(&read("state.bin")), offset, read: position, ..Committed::default() };
    let (rest, _) = shop.run_on(committed, course, usize::MAX);
    let expected = String::from_utf8(read("alerts.ndjson")).expect("UTF-8");
    assert!(expected.lines().count() > 20, "a fixture that says something");
    assert_eq!(rest.alerts, expected.lines().collect::<Vec<_>>());
}

fn packed(log: &Log) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in log {
        for part in [Some(key), value.as_ref()] {
            bytes.extend(part.map_or(u32::MAX, |part| part.len() as u32).to_le_bytes());
            bytes.extend(part.into_iter().flatten());
        }
    }
    bytes
}

fn unpacked(mut bytes: &[u8]) -> Log {
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

//! Tests that what a source returns is written once, whatever happens to the processes of the gateway. The source is one of
//! the test: it has a number of events, and an event for each hint.

use super::child::Killed;
use super::fixture::{Fixture, Raw, until};
use funnelwatch::config::Config;
use funnelwatch::domain::event::progress::Progress;
use funnelwatch::domain::shard::partitioner::shard;
use funnelwatch::domain::source::Topic;
use funnelwatch::edge::clock;
use funnelwatch::edge::kafka::shared_log::{LogEvent, SharedLog, SharedTopics};
use funnelwatch::edge::kafka::{Observer, RunError, Stop};
use funnelwatch::gateway::driver::{self, DriverContext, Opener};
use funnelwatch::gateway::source::{self, Hint, Next, Outgoing, Portion, ReadError, Reader};
use funnelwatch::telemetry::gateway_metrics::GatewayMetrics;
use funnelwatch::telemetry::http_metrics::HttpMetrics;
use funnelwatch::telemetry::liveness::Liveness;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The section of a configuration for which the topics of the gateway are created.
pub(super) const SECTION: &str = "gateway: {sources: [{name: x, tenant: x, events: {token: 0123456789abcdef}}]}\n";

/// Events of a source, and of one portion.
const EVENTS: u64 = 2000;
const PORTION: u64 = 40;

/// A source that has [`EVENTS`] events.
struct Counting {
    name: String,
    next: u64,
    /// Who reads it, while it is read.
    readers: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Reader for Counting {
    fn step(&mut self, hints: &[Hint], _: &source::Stop) -> Result<Portion, ReadError> {
        std::thread::sleep(Duration::from_millis(3));
        let end = EVENTS.min(self.next + PORTION);
        let numbers = (self.next..end).map(|number| format!("{}-{number}", self.name));
        let hinted = hints.iter().filter_map(|hint| Some(format!("{}-hint-{}", self.name, hint.field("id")?)));
        let events = numbers.chain(hinted).map(|id| event(&id)).collect();
        self.next = end;
        let up_to = clock::now();
        let mark = Progress { tenant: "romashka".into(), source: self.name.as_str().into(), up_to, backfill: false };
        Ok(Portion {
            events,
            marks: if end == EVENTS { vec![(Topic::Crm, mark)] } else { Vec::new() },
            cursors: vec![("next".into(), Some(end.to_string().into_bytes()))],
            finished_hints: hints.len(),
            next: if end == EVENTS { Next::Within(Duration::from_secs(3600)) } else { Next::AtOnce },
        })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        *self.readers.lock().expect("no panic").entry(self.name.clone()).or_default() -= 1;
    }
}

fn event(id: &str) -> Outgoing {
    let at = clock::now();
    let text = format!(
        r#"{{"event_id":"{id}","tenant_id":"romashka","occurred_at":"{at}","lead_created":{{"lead_id":"{id}"}}}}"#
    );
    Outgoing::new(Topic::Crm, text.into_bytes()).expect("an event")
}

/// The sections of a process of the gateway that reads these sources.
fn sections(fixture: &Fixture, id: &str, sources: &[&str]) -> String {
    let source = |name: &&str| {
        format!("    - {{name: {name}, tenant: romashka, bitrix24: {{url: 'http://127.0.0.1:9/rest/1/x/'}}}}\n")
    };
    let (kafka, group) = (fixture.sections_of(id), fixture.topic("gateway"));
    format!("{kafka}gateway:\n  group: {group}\n  sources:\n{}", sources.iter().map(source).collect::<String>())
}

/// A fixture with the topics of the gateway.
pub(super) fn fixture(name: &str, partitions: u32) -> Fixture {
    Fixture::new(name, partitions, SECTION)
}

/// A driver in this process.
struct Driving {
    stop: Stop,
    thread: JoinHandle<Result<(), RunError>>,
    readers: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Driving {
    fn start(text: &str) -> Self {
        let config = Config::parse("test", text).unwrap_or_else(|problems| panic!("{problems}"));
        let (stop, readers, liveness) = (Stop::default(), Arc::<Mutex<BTreeMap<_, _>>>::default(), Arc::default());
        let context = context(config, Arc::clone(&readers), stop.clone(), liveness);
        let thread = std::thread::spawn(move || driver::run(&context));
        Self { stop, thread, readers }
    }

    fn stop(self) {
        self.stop.stop();
        self.thread.join().expect("no panic").expect("no error");
    }

    fn reads(&self) -> BTreeSet<String> {
        let readers = self.readers.lock().expect("no panic");
        assert!(readers.values().all(|count| *count <= 1), "one reader of a source at a time: {readers:?}");
        readers.iter().filter(|(_, count)| **count == 1).map(|(name, _)| name.clone()).collect()
    }
}

fn context(
    mut config: Config,
    readers: Arc<Mutex<BTreeMap<String, u32>>>,
    stop: Stop,
    liveness: Arc<Liveness>,
) -> DriverContext {
    let gateway = config.gateway.clone().expect("a gateway");
    config.kafka.group.clone_from(&gateway.group);
    config.kafka.transactional_id.push_str("-gateway");
    let open: Opener = Arc::new(move |source, cursors, _| {
        let next = cursors.get("next").map_or(0, |text| String::from_utf8_lossy(text).parse().expect("a number"));
        *readers.lock().expect("no panic").entry(source.name.clone()).or_default() += 1;
        Ok(Box::new(Counting { name: source.name.clone(), next, readers: Arc::clone(&readers) }))
    });
    let names = gateway.sources.iter().map(|source| source.name.as_str());
    let metrics = GatewayMetrics::new(names, Arc::new(HttpMetrics::new(1)), Arc::new(clock::now));
    let observer = Arc::new(Observer::new(Arc::default(), Arc::clone(&liveness), |_| ()));
    DriverContext { config, open, metrics: Arc::new(metrics), liveness, observer, stop }
}

/// The ids of all events, in the order of their partitions, without marks.
fn ids(fixture: &Fixture) -> Vec<String> {
    let id = |text: &str| Some(text.split_once(r#""event_id":""#)?.1.split_once('"')?.0.to_owned());
    fixture.read("crm").iter().filter_map(|record| id(record.text())).collect()
}

/// Asserts that each source has each of its events once, in order.
fn assert_complete(fixture: &Fixture, sources: &[&str]) {
    let ids = ids(fixture);
    for name in sources {
        let own: Vec<_> = ids.iter().filter(|id| id.starts_with(&format!("{name}-")) && !id.contains("hint")).collect();
        let expected: Vec<_> = (0..EVENTS).map(|number| format!("{name}-{number}")).collect();
        assert!(own.iter().copied().eq(&expected), "{name} has {} events of {EVENTS}", own.len());
    }
}

/// The process that [`a_killed_process_loses_and_repeats_nothing`] kills.
#[test]
#[ignore = "a part of another test"]
fn process_to_be_killed() {
    let Ok(path) = std::env::var("FUNNELWATCH_TEST_GATEWAY") else { return };
    let text = std::fs::read_to_string(path).expect("a configuration");
    let driving = Driving::start(&text);
    driving.thread.join().expect("no panic").expect("no error");
}

fn start(config: &std::path::Path) -> Killed {
    let child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "services::gateway::process_to_be_killed", "--ignored", "--nocapture"])
        .env("FUNNELWATCH_TEST_GATEWAY", config)
        .stdout(Stdio::null())
        .spawn();
    Killed(child.expect("the process starts"))
}

#[test]
fn a_killed_process_loses_and_repeats_nothing() {
    let fixture = fixture("gateway-killed", 2);
    let path = std::env::temp_dir().join(format!("{}.yaml", fixture.topic("config")));
    std::fs::write(&path, sections(&fixture, "0", &["a", "b"])).expect("a file");
    for kill in 0..4 {
        let before = ids(&fixture).len();
        let process = start(&path);
        let enough = before + 150 + 100 * kill;
        until("some events", || ids(&fixture).len() >= enough.min(2 * EVENTS as usize));
        drop(process);
    }
    let process = start(&path);
    until("all events", || ids(&fixture).len() >= 2 * EVENTS as usize);
    drop(process);
    std::fs::remove_file(&path).expect("the file is removed");
    assert_complete(&fixture, &["a", "b"]);
    let marks = fixture.read("crm").iter().filter(|record| record.text().contains(r#""progress""#)).count();
    assert!(marks >= 2, "each source has ended with a mark: {marks}");
}

#[test]
fn a_run_that_ends_with_an_error_closes_its_consumer() {
    let fixture = fixture("gateway-closed", 2);
    let mut config =
        Config::parse("test", &sections(&fixture, "0", &["a"])).unwrap_or_else(|problems| panic!("{problems}"));
    config.kafka.group = fixture.topic("gateway");
    let (stop, liveness) = (Stop::default(), Arc::default());
    let observer = Arc::new(Observer::new(Arc::default(), liveness, |_| ()));
    let log = SharedLog::open(&config, SharedTopics::GATEWAY, &stop, &observer).expect("no error");
    let mut log = log.expect("no stop");
    until("partitions are assigned", || {
        matches!(log.next(Duration::from_millis(20)).expect("no error"), Some(LogEvent::Assigned(_)))
    });
    // Nothing leaves the group first, as after an error.
    let closing = std::thread::spawn(move || drop(log));
    until("the consumer is closed", || closing.is_finished());
}

#[test]
fn processes_share_the_sources_and_take_over_from_each_other() {
    let fixture = fixture("gateway-shared", 4);
    // Two of each half of the partitions.
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    let of = |partitions: [u32; 2]| names.iter().filter(move |name| partitions.contains(&shard(name, 4).0)).take(2);
    let sources: Vec<&str> = of([0, 1]).chain(of([2, 3])).map(String::as_str).collect();
    let all: BTreeSet<String> = sources.iter().map(|name| (*name).to_owned()).collect();
    let first = Driving::start(&sections(&fixture, "first", &sources));
    until("the first reads all", || first.reads() == all);
    let second = Driving::start(&sections(&fixture, "second", &sources));
    until("both read half", || {
        let (ours, theirs) = (first.reads(), second.reads());
        ours.len() == 2 && theirs.len() == 2 && ours.is_disjoint(&theirs)
    });
    first.stop();
    until("the second reads all", || second.reads() == all);
    until("all events", || ids(&fixture).len() >= sources.len() * EVENTS as usize);
    second.stop();
    assert_complete(&fixture, &sources);
}

#[test]
fn a_hint_reaches_the_reader_of_its_source_and_is_used_up_once() {
    let fixture = fixture("gateway-hints", 2);
    let text = sections(&fixture, "0", &["a", "b"]);
    let raw = Raw::new();
    let hint = |name: &str, value: &str| {
        let partition = shard(name, 2).partition();
        raw.send(&fixture.topic("hints"), partition, Some(name.as_bytes()), Some(value.as_bytes()), &[]);
    };
    let valid = |id: u32| format!(r#"{{"received_at":"2026-01-05T08:00:00Z","fields":[["event","X"],["ID","{id}"]]}}"#);
    // What is no hint, and hints of a source that is not in the configuration, are passed over.
    ["", "x", "{}", r#"{"received_at":1}"#].iter().for_each(|text| hint("a", text));
    hint("gone", &valid(0));
    (0..3).for_each(|id| hint("a", &valid(id)));
    raw.flush();
    let driving = Driving::start(&text);
    let hinted = || ids(&fixture).into_iter().filter(|id| id.contains("hint")).collect::<Vec<_>>();
    until("the first hints", || hinted().len() == 3);
    let sent = Instant::now();
    hint("b", &valid(7));
    raw.flush();
    until("a hint in between", || hinted().len() == 4);
    super::fixture::report(&format!("a hint became an event in {:?}, read in steps of 20 ms", sent.elapsed()));
    driving.stop();
    // A new process begins after them.
    let driving = Driving::start(&text);
    hint("b", &valid(8));
    raw.flush();
    until("a hint after the restart", || hinted().len() == 5);
    driving.stop();
    let found: BTreeSet<_> = hinted().into_iter().collect();
    let expected = ["a-hint-0", "a-hint-1", "a-hint-2", "b-hint-7", "b-hint-8"];
    assert_eq!(found, expected.map(str::to_owned).into());
    assert_complete(&fixture, &["a", "b"]);
}

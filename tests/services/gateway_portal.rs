//! Tests the whole way from a Bitrix24 portal to alerts: the program reads a simulated portal over HTTP into Kafka and is
//! killed on the way, and the processor judges the past that it fills in as a replay of the same events does.

use super::child::Killed;
use super::fixture::{Fixture, Record, report, tick, until};
use super::gateway::SECTION;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::clock;
use funnelwatch::edge::kafka::Mode;
use funnelwatch::sim::portal::{Fact, Interface, Pace, World};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const NORMS: &str = include_str!("../../src/sim/portal/norms.yaml");
const CODE: &str = "s3cretcode0123456789";
const TOPICS: [&str; 3] = ["crm", "telephony", "email"];
/// The past of the portal.
const DAYS: i64 = 12;

/// A portal with its past.
struct Portal(Mutex<(World, Interface)>);

impl Portal {
    fn new(now: Timestamp) -> Self {
        let pace = Pace { leads: 40, managers: 6, odd: true, step: Span(4 * Span::HOUR.0) };
        let mut world = World::new(11, now.saturating_sub(Span(DAYS * Span::DAY.0)), now + Span::DAY, pace);
        world.advance(now);
        Self(Mutex::new((world, Interface::default())))
    }

    fn answer(&self, method: &str, body: &str) -> (StatusCode, String) {
        let (world, interface) = &mut *self.0.lock().expect("no panic");
        world.advance(clock::now());
        let answer = interface.answer(&mut world.tables, method, body);
        (StatusCode::from_u16(answer.status).expect("a status"), answer.body)
    }

    /// Listens until the test process ends.
    fn serve(self: &Arc<Self>) -> SocketAddr {
        let (sender, receiver) = std::sync::mpsc::channel();
        let portal = Arc::clone(self);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                sender.send(listener.local_addr().expect("an address")).expect("the test waits");
                let path = format!("/rest/1/{CODE}/{{method}}");
                let app = Router::new().route(&path, post(answer)).with_state(portal);
                axum::serve(listener, app).await.expect("the portal answers");
            });
        });
        receiver.recv().expect("the portal listens")
    }
}

async fn answer(State(portal): State<Arc<Portal>>, Path(method): Path<String>, body: String) -> (StatusCode, String) {
    portal.answer(&method, &body)
}

fn sections(fixture: &Fixture, portal: SocketAddr, from: Timestamp) -> String {
    let (kafka, group, from) = (fixture.sections(), fixture.topic("gateway"), &from.to_string()[..10]);
    format!(
        "{kafka}gateway:
  group: {group}
  listen: 127.0.0.1:0
  sources:
    - name: portal
      tenant: romashka
      time_zone: Europe/Moscow
      bitrix24:
        url: 'http://{portal}/rest/1/{CODE}/'
        sweep: 60s
        backfill_from: {from}
        deals: {{pipelines: {{0: sales, 9: service}}}}
        budget: {{requests_per_second: 50, burst: 250}}
"
    )
}

/// The events and the marks of the source topics.
fn arrived(fixture: &Fixture) -> (Vec<Value>, Vec<(&'static str, Value)>) {
    let (mut events, mut marks) = (Vec::new(), Vec::new());
    for topic in TOPICS {
        for record in fixture.read(topic) {
            let event: Value = serde_json::from_str(record.text()).expect("JSON");
            match event.get("progress") {
                Some(mark) => marks.push((topic, mark.clone())),
                None => events.push(event),
            }
        }
    }
    (events, marks)
}

/// What is said of each alert up to an instant: its statuses, without whether they are of the past.
fn alerts<'a>(lines: impl Iterator<Item = &'a str>, until: Timestamp) -> BTreeMap<String, Vec<Value>> {
    let mut alerts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines {
        let mut alert: Value = serde_json::from_str(line).expect("JSON");
        let at = Timestamp::parse(alert["at"].as_str().expect("an instant")).expect("an instant");
        if at <= until {
            alert.as_object_mut().expect("an object").remove("historic");
            alerts.entry(alert["alert_id"].as_str().expect("an id").to_owned()).or_default().push(alert);
        }
    }
    alerts
}

/// The alerts of a replay of these events by the program.
fn replayed(fixture: &Fixture, events: &[Value], until: Timestamp) -> BTreeMap<String, Vec<Value>> {
    let [norms, file] = ["norms.yaml", "events.ndjson"].map(|name| std::env::temp_dir().join(fixture.topic(name)));
    std::fs::write(&norms, NORMS).expect("a file");
    let lines: Vec<String> = events.iter().map(|event| format!("{event}\n")).collect();
    std::fs::write(&file, lines.concat()).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
        .args(["replay", "--until", &until.to_string(), "--alerts", "-", "--norms"])
        .args([&norms, std::path::Path::new("--events"), &file])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    [norms, file].iter().for_each(|path| std::fs::remove_file(path).expect("the file is removed"));
    alerts(str::from_utf8(&output.stdout).expect("UTF-8").lines(), until)
}

/// What happened in the portal is in the topics: rows of the history and calls, each once or with the same content.
fn assert_all_arrived(portal: &Portal, events: &[Value], from: Timestamp, until: Timestamp) {
    let ids: BTreeSet<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    let (world, _) = &*portal.0.lock().expect("no panic");
    let (mut rows, mut calls) = (0, 0);
    for fact in &world.tables.facts {
        match fact {
            Fact::Row { id: (of, row), at, .. } if (from..until).contains(at) => {
                let is_kept = world.tables.history[of].contains_key(row);
                assert!(!is_kept || ids.contains(format!("b24:sh:{of}:{row}").as_str()), "{fact:?} is missing");
                rows += u32::from(is_kept);
            }
            Fact::Call { id } => {
                let started = world.tables.calls[id]["CALL_START_DATE"].as_str().and_then(Timestamp::parse);
                if started.is_some_and(|at| (from..until).contains(&at)) {
                    assert!(
                        ids.iter().any(|known| known.starts_with(&format!("b24:vx:{id}:"))),
                        "call {id} is missing"
                    );
                    calls += 1;
                }
            }
            _ => {}
        }
    }
    assert!(rows > 300 && calls > 100, "the portal is too quiet: {rows} moves, {calls} calls");
}

#[test]
fn the_past_of_a_portal_gives_the_alerts_of_a_replay() {
    let fixture = Fixture::new("gateway-portal", 2, &format!("{SECTION}{NORMS}"));
    let now = clock::now();
    let (from, cut) = (now.saturating_sub(Span((DAYS - 1) * Span::DAY.0)), now.saturating_sub(Span(2 * Span::HOUR.0)));
    let portal = Arc::new(Portal::new(now));
    let address = portal.serve();
    let config = std::env::temp_dir().join(fixture.topic("gateway.yaml"));
    std::fs::write(&config, sections(&fixture, address, from)).expect("a file");

    let running = fixture.start(Mode::Live);
    for portion in [40, 400, 900] {
        let process = Killed::gateway(&config);
        until("some of the past", || arrived(&fixture).0.len() >= portion);
        drop(process);
    }
    let process = Killed::gateway(&config);
    let is_live = |mark: &Value| mark.get("backfill").is_none_or(|backfill| backfill == false);
    let live = |marks: &[(&str, Value)]| -> BTreeSet<String> {
        marks.iter().filter(|(_, mark)| is_live(mark)).map(|(topic, _)| (*topic).to_owned()).collect()
    };
    until("the present", || live(&arrived(&fixture).1).len() == TOPICS.len());
    let (events, marks) = arrived(&fixture);
    assert!(marks.iter().any(|(_, mark)| !is_live(mark)), "the past begins with a mark");
    let twice = events.len() - events.iter().map(|event| event["event_id"].to_string()).collect::<BTreeSet<_>>().len();
    assert_eq!(twice, 0, "of {} events", events.len());
    assert!(!events.iter().any(|event| event.to_string().contains(CODE)), "the secret is in an event");
    // `backfill_from` is a day.
    assert_all_arrived(&portal, &events, from + Span::DAY, cut);

    let expected = replayed(&fixture, &events, cut);
    let published =
        || fixture.read("alerts").iter().map(|record: &Record| record.text().to_owned()).collect::<Vec<_>>();
    let found = |lines: &[String]| alerts(lines.iter().map(String::as_str), cut);
    let started = Instant::now();
    while found(&published()) != expected && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(200));
    }
    let lines = published();
    let found = found(&lines);
    let differ = |id: &&String| expected.get(*id) != found.get(*id);
    let ids: BTreeSet<&String> = expected.keys().chain(found.keys()).filter(differ).collect();
    let first: Vec<_> = ids.iter().take(3).map(|id| format!("{:?}\n{:?}", expected.get(*id), found.get(*id))).collect();
    assert!(ids.is_empty(), "{} of {} alerts differ:\n{}", ids.len(), expected.len(), first.join("\n"));
    assert!(expected.len() > 200, "only {} alerts", expected.len());
    assert!(lines.iter().filter(|line| line.contains(r#""historic":true"#)).count() > 200, "the past is marked");
    assert_eq!(fixture.read("dlq"), [], "nothing is late or refused");
    report(&format!("{} events of a portal, {} alerts", events.len(), expected.len()));
    drop(process);
    running.stop();
    std::fs::remove_file(&config).expect("the file is removed");
}

/// A command of the program with this configuration: whether it succeeded, and all that it said.
fn command(arguments: &[&str], config: &std::path::Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .env("RUST_LOG", "warn,rdkafka=off,librdkafka=off")
        .output()
        .expect("the program starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn a_back_fill_into_a_tenant_that_another_source_has_moved_on_is_refused() {
    let fixture = Fixture::new("gateway-late", 1, &format!("{SECTION}{NORMS}"));
    let now = clock::now();
    let from = now.saturating_sub(Span((DAYS - 1) * Span::DAY.0));
    let portal = Arc::new(Portal::new(now));
    let address = portal.serve();
    let path = |name: &str| std::env::temp_dir().join(fixture.topic(name));
    let (config, log) = (path("gateway.yaml"), path("gateway.log"));
    std::fs::write(&config, format!("{}{NORMS}", sections(&fixture, address, from))).expect("a file");
    let refused = "tenant romashka already has events of another source";
    let start = || {
        let stderr = std::fs::File::create(&log).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["gateway", "--config"])
            .arg(&config)
            .stderr(stderr)
            .spawn();
        Killed(child.expect("the process starts"))
    };
    let is_refused = || {
        let process = start();
        until("the refusal", || std::fs::read_to_string(&log).expect("a file").contains(refused));
        drop(process);
        let (succeeds, text) = command(&["gateway", "backfill"], &config);
        assert!(succeeds && text.contains(refused), "{text}");
        assert_eq!(fixture.read("gateway"), [], "nothing is written");
        assert_eq!(arrived(&fixture).1, [], "no mark");
    };

    // Other tenants do not matter, nor do earlier events that were not judged.
    fixture
        .produce(&[tick("other", "now", now), tick("romashka", "before", from.saturating_sub(Span(2 * Span::DAY.0)))]);
    let (_, text) = command(&["gateway", "backfill"], &config);
    assert!(text.contains("not read yet"), "{text}");
    // The processor has not read it.
    fixture.produce(&[tick("romashka", "now", now)]);
    is_refused();
    // It has, and the topics have nothing new.
    let running = fixture.start(Mode::Live);
    until("all events are applied", || *running.seen.applied.lock().expect("no panic") == 3);
    fixture.await_no_lag();
    running.stop();
    is_refused();
    // The tenant begins again.
    let (succeeds, text) = command(&["state", "reset", "--tenant", "romashka", "--yes"], &config);
    assert!(succeeds, "{text}");
    let process = start();
    until("the past", || arrived(&fixture).0.len() > 100);
    let log_of = std::fs::read_to_string(&log).expect("a file");
    assert!(!log_of.contains(refused), "{log_of}");
    drop(process);
    // Now it has its own past, and goes on.
    let process = start();
    let before = arrived(&fixture).0.len();
    until("more of the past", || arrived(&fixture).0.len() > before);
    drop(process);
    [config, log].iter().for_each(|path| std::fs::remove_file(path).expect("the file is removed"));
}

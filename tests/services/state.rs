//! Tests the command `state`: it lists, shows and verifies the state of a stopped processor, reports damaged records,
//! and a reset deletes exactly what it reports.

use super::fixture::{
    Fixture, PATIENCE, QUICK, Raw, Record, at, call, client, lead, report, sample_events, tick, until,
};
use funnelwatch::domain::shard::partitioner::shard;
use funnelwatch::domain::source::ShardId;
use funnelwatch::edge::kafka::Mode;
use funnelwatch::edge::kafka::inspect::Inspector;
use funnelwatch::edge::kafka::producer::EventProducer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Runs `funnelwatch state` with the configuration of a fixture.
struct StateCommand {
    config: PathBuf,
}

/// The result of a command.
#[derive(Debug)]
struct CommandOutput {
    code: i32,
    out: String,
    log: String,
}

impl StateCommand {
    fn of(fixture: &Fixture) -> Self {
        let config = std::env::temp_dir().join(format!("{}.yaml", fixture.topic("state-command")));
        std::fs::write(&config, format!("{}{QUICK}", fixture.sections())).expect("a file");
        Self { config }
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        let result = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .arg("state")
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .env("RUST_LOG", "info,rdkafka=off,librdkafka=off")
            .output()
            .expect("the command runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let output = CommandOutput {
            code: result.status.code().expect("no signal"),
            out: text(result.stdout),
            log: text(result.stderr),
        };
        report(&format!(
            "$ funnelwatch state {} (exit {})\n{}{}",
            arguments.join(" "),
            output.code,
            output.out,
            output.log
        ));
        output
    }

    /// The standard output of a command that must succeed.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.code, 0, "{output:?}");
        output.out
    }
}

impl Drop for StateCommand {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

/// A fixture with a stopped processor and two tenants, each with an open alert.
fn stopped_fixture(name: &str, partitions: u32) -> Fixture {
    let fixture = Fixture::new(name, partitions, QUICK);
    let mut events = Vec::new();
    for tenant in ["acme", "globex"] {
        events.push(tick(tenant, "begin", at(0.0)));
        events.push(lead(tenant, "1", at(10.0)));
        events.push(lead(tenant, "2", at(20.0)));
        events.push(call(tenant, "2", at(60.0)));
        events.push(tick(tenant, "later", at(2000.0)));
    }
    events.sort_by_key(|event| event.at);
    // Before the processor starts: it would not wait for an idle source.
    fixture.produce(&events);
    let running = fixture.start(Mode::Live);
    assert_eq!(
        statuses(&fixture.await_records("alerts", 2)),
        [("acme lead:1 FIRING".into(), 1), ("globex lead:1 FIRING".into(), 1)]
    );
    until("all events are applied", || *running.seen.applied.lock().expect("no panic") == 10);
    running.stop();
    fixture
}

/// The number of alerts by tenant, subject and status.
fn statuses(records: &[Record]) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    for record in records {
        let alert: Value = serde_json::from_str(record.text()).expect("JSON");
        let field = |name: &str| alert[name].as_str().unwrap_or("?").to_owned();
        let subject = alert["subject"].as_str().unwrap_or("?");
        *counts.entry(format!("{} {subject} {}", field("tenant_id"), field("status"))).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// All records of the state topic, in order.
fn records(fixture: &Fixture) -> Vec<Record> {
    let mut records = fixture.read("state");
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// The last record of each key of the state topic.
fn live(fixture: &Fixture) -> BTreeMap<(i32, String), Vec<u8>> {
    let mut live = BTreeMap::new();
    for record in records(fixture) {
        let key = String::from_utf8(record.key.expect("a key")).expect("UTF-8");
        match record.value {
            Some(value) => drop(live.insert((record.partition, key), value)),
            None => drop(live.remove(&(record.partition, key))),
        }
    }
    live
}

#[test]
fn state_is_listed_shown_and_verified() {
    let fixture = stopped_fixture("state-look", 3);
    let state = StateCommand::of(&fixture);
    let before = records(&fixture);
    let out = state.succeed(&["list"]);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        rows.iter().any(|row| row.starts_with(&["acme", &shard("acme", 3).to_string()]) && row[3..5] == ["5", "0"]),
        "{out}"
    );
    let lines: Vec<Value> =
        state.succeed(&["list", "--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let events = |line: &&Value| line["shard"].is_number() && line["tenant_id"].is_null();
    assert_eq!(lines.iter().filter(events).count(), 3);
    let sum: u64 = lines.iter().filter(events).map(|line| line["events"].as_u64().expect("a number")).sum();
    assert_eq!(sum, 10);
    let kept: u64 = lines.iter().filter(events).map(|line| line["records"].as_u64().expect("a number")).sum();
    assert_eq!(kept, live(&fixture).len() as u64);
    let acme = lines.iter().find(|line| line["tenant_id"] == "acme").expect("a tenant");
    assert_eq!((&acme["events"], &acme["damaged"], &acme["open_windows"]), (&5.into(), &0.into(), &0.into()));
    assert_eq!(acme["first_event_at"], at(0.0).to_string());
    assert_eq!(acme["eras"][0]["since"], Value::Null);
    let one = state.succeed(&["list", "--tenant", "globex", "--json"]);
    assert_eq!(one.lines().count(), 2);
    assert!(!one.contains("acme"), "{one}");

    let out = state.succeed(&["show", "--tenant", "acme"]);
    let rows: Vec<Vec<&str>> = out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let what: Vec<_> = rows.iter().map(|row| (row[1], row[3], row[4], row.get(5).copied().unwrap_or(""))).collect();
    assert_eq!(
        what,
        [
            ("crm", "tick-begin", "manager_upserted", ""),
            ("crm", "lead-1", "lead_created", "lead:1"),
            ("crm", "lead-2", "lead_created", "lead:2"),
            ("telephony", "call-2", "call_ended", "lead:2"),
            ("crm", "tick-later", "manager_upserted", ""),
        ]
    );
    assert!(!out.contains("7921"), "a phone number is shown: {out}");
    assert_eq!(rows[1][0], at(10.0).to_string());
    assert_eq!(state.succeed(&["show", "--tenant", "acme", "--entity", "lead:2"]).lines().count(), 3);
    assert_eq!(state.succeed(&["show", "--tenant", "nobody"]).lines().count(), 1);

    let out = state.succeed(&["verify"]);
    assert_eq!(out.lines().filter(|line| line.contains(": good")).count(), 3, "{out}");
    assert_eq!(state.succeed(&["verify", "--shard", "1"]).lines().count(), 1);
    assert_eq!(state.run(&["verify", "--shard", "3"]).code, 2);
    assert_eq!(state.run(&["show", "--tenant", "acme", "--entity", "17"]).code, 2);
    assert_eq!(state.run(&["reset", "--yes"]).code, 2);
    assert!(records(&fixture) == before, "nothing was written");
}

#[test]
fn a_reset_tenant_starts_empty_and_other_tenants_keep_their_state() {
    let fixture = stopped_fixture("state-tenant", 1);
    let state = StateCommand::of(&fixture);
    let before = records(&fixture);
    let out = state.succeed(&["reset", "--tenant", "globex"]);
    assert!(out.starts_with("tenant globex: 9 records would be deleted\n"), "{out}");
    assert!(records(&fixture) == before, "a dry run changes nothing");
    let out = state.succeed(&["reset", "--tenant", "globex", "--yes"]);
    assert!(out.starts_with("tenant globex: 9 records deleted\n"), "{out}");
    assert!(live(&fixture).keys().all(|(_, key)| !key.contains("globex")));
    assert_eq!(records(&fixture).len(), before.len() + 10);
    assert!(state.succeed(&["verify"]).contains("5 events, 1 tenant;"));
    assert!(state.succeed(&["reset", "--tenant", "globex", "--yes"]).contains("nothing to reset"));

    let running = fixture.start(Mode::Live);
    let mut events = Vec::new();
    for tenant in ["acme", "globex"] {
        events.push(call(tenant, "1", at(2100.0)));
        events.push(lead(tenant, "3", at(2110.0)));
        events.push(tick(tenant, "end", at(4000.0)));
    }
    events.sort_by_key(|event| event.at);
    fixture.produce(&events);
    let expected: Vec<(String, usize)> = [
        "acme lead:1 FIRING",
        "acme lead:1 RESOLVED",
        "acme lead:3 FIRING",
        "globex lead:1 FIRING",
        "globex lead:3 FIRING",
    ]
    .map(|status| (status.to_owned(), 1))
    .into();
    assert_eq!(statuses(&fixture.await_records("alerts", 5)), expected);
    until("all events are applied", || *running.seen.applied.lock().expect("no panic") == 6);
    running.stop();
    // The alert of the tenant that was reset is no longer open.
    let open: BTreeMap<_, _> =
        fixture.read("alerts.open").into_iter().map(|record| (record.key.clone(), record)).collect();
    let open: Vec<Record> = open.into_values().filter(|record| record.value.is_some()).collect();
    assert_eq!(statuses(&open), [("acme lead:3 FIRING".into(), 1), ("globex lead:3 FIRING".into(), 1)]);
    assert!(state.succeed(&["verify"]).contains("11 events, 2 tenants;"));
}

#[test]
fn a_damaged_record_is_reported_and_a_reset_of_its_shard_repairs_it() {
    let fixture = stopped_fixture("state-damaged", 2);
    let state = StateCommand::of(&fixture);
    let home = shard("acme", 2);
    let shard_arg = home.to_string();
    let intact = live(&fixture);
    let ((_, key), value) = intact.iter().find(|((_, key), _)| key.starts_with("e/acme/")).expect("an event");
    let mut changed = value.clone();
    changed[8] ^= 1;
    let raw = Raw::new();
    raw.send(&fixture.topic("state"), home.partition(), Some(key.as_bytes()), Some(&changed), &[]);
    raw.send(&fixture.topic("state"), home.partition(), Some(b"t/acme"), Some(b"\x08\x09nothing"), &[]);
    raw.flush();

    let output = state.run(&["verify"]);
    assert_eq!(output.code, 1);
    for named in [format!("event record \"{key}\": the record is damaged"), "tenant record \"t/acme\": the".into()] {
        assert!(output.out.contains(&named), "{named}: {}", output.out);
    }
    assert!(output.log.contains("1 of 2 shards cannot be restored"), "{}", output.log);
    assert!(state.succeed(&["list"]).lines().any(|line| line.starts_with("acme ")));
    let error = fixture.start(Mode::Live).join().expect_err("rejected").to_string();
    report(&format!("run: {error}"));
    assert!(error.contains("event record") && error.contains("`funnelwatch state verify`"), "{error}");
    assert!(error.contains(&format!("shard {home} ")), "{error}");

    until("the group is empty", || state.run(&["reset", "--shard", &shard_arg]).log.contains("pass --yes"));
    assert_eq!(live(&fixture).len(), intact.len(), "a dry run changes nothing");
    let out = state.succeed(&["reset", "--shard", &shard_arg, "--yes"]);
    assert!(out.contains("2  damaged"), "{out}");
    assert!(live(&fixture).keys().all(|(partition, _)| *partition != home.partition()));
    assert_eq!(state.succeed(&["verify"]).lines().count(), 2);

    // The shard starts at the committed offsets with empty state.
    let running = fixture.start(Mode::Live);
    fixture.produce(&[lead("acme", "3", at(2110.0)), tick("acme", "end", at(4000.0))]);
    let alerts = fixture.await_records("alerts", 3);
    assert!(statuses(&alerts).contains(&("acme lead:3 FIRING".into(), 1)), "{:?}", statuses(&alerts));
    until("all events are applied", || *running.seen.applied.lock().expect("no panic") >= 2);
    running.stop();
    state.succeed(&["verify"]);
}

#[test]
fn a_reset_is_refused_while_a_process_runs() {
    let fixture = stopped_fixture("state-busy", 2);
    let state = StateCommand::of(&fixture);
    let running = fixture.start(Mode::Live);
    running.await_assignment();
    let before = live(&fixture);
    for what in [["--tenant", "acme"], ["--shard", "0"]] {
        let output = state.run(&["reset", what[0], what[1], "--yes"]);
        assert_eq!(output.code, 1);
        assert!(output.log.contains(&format!("{}-consumer", fixture.config.kafka.transactional_id)), "{}", output.log);
        let output = state.run(&["reset", what[0], what[1]]);
        assert!(output.code == 0 && output.log.contains("--yes would be refused"), "{output:?}");
    }
    assert!(live(&fixture).len() >= before.len());
    // The process was not disturbed. While it writes, an incomplete transaction is not reported as damage.
    let events = sample_events(6, 400);
    let thread = {
        let config = fixture.config.clone();
        std::thread::spawn(move || {
            let mut producer = EventProducer::new(&config).expect("a producer");
            for chunk in events.chunks(20) {
                chunk.iter().for_each(|event| producer.send(event).expect("an event is sent"));
                std::thread::sleep(Duration::from_millis(15));
            }
            assert!(producer.flush(PATIENCE));
            events.len() as u64
        })
    };
    let inspector = Inspector::new(&fixture.config).expect("a client");
    let mut reads = 0;
    while !thread.is_finished() || reads < 10 {
        for shard in (0..inspector.shards()).map(ShardId) {
            let loader = inspector.read(shard).expect("the state is readable");
            loader.verify().expect("the state is complete");
            reads += 1;
        }
    }
    report(&format!("{reads} reads while the process ran"));
    let sent = thread.join().expect("no panic");
    until("all events are applied", || *running.seen.applied.lock().expect("no panic") >= sent);
    running.stop();
    state.succeed(&["verify"]);
}

#[test]
fn a_read_during_a_transaction_waits_for_its_end() {
    let fixture = stopped_fixture("state-transaction", 1);
    let intact = live(&fixture);
    let value = |key: &str| intact[&(0, key.to_owned())].clone();
    let id = format!("{}-test", fixture.config.kafka.transactional_id);
    let producer: BaseProducer =
        client().set("transactional.id", id).set("linger.ms", "0").create().expect("a producer");
    let topic = fixture.topic("state");
    let send = |key: &str| {
        let value = value(key);
        let record = BaseRecord::to(&topic).partition(0).key(key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).expect("a record is sent");
        producer.flush(PATIENCE).expect("the record is delivered");
    };
    producer.init_transactions(PATIENCE).expect("transactions");
    let inspector = Inspector::new(&fixture.config).expect("a client");
    let before = inspector.read(ShardId(0)).expect("the state is readable").records();
    producer.begin_transaction().expect("a transaction");
    send("t/acme");
    let loader = std::thread::scope(|scope| {
        let reader = scope.spawn(|| inspector.read(ShardId(0)).expect("the state is readable"));
        std::thread::sleep(Duration::from_secs(1));
        assert!(!reader.is_finished(), "the read waits for the open transaction");
        send("t/globex");
        send("s");
        producer.commit_transaction(PATIENCE).expect("committed");
        reader.join().expect("no panic")
    });
    assert_eq!(loader.records(), before + 3);
    assert!(loader.is_settled());
}

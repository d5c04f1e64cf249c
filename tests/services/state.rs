//! Owns the proof of the command `state`: what a processor left is found and shown, what is damaged is found and named, and
//! a reset changes what it says and nothing else.

use super::site::{PATIENCE, QUICK, Raw, Record, Site, at, call, client, floor, lead, say, tick, until};
use funnelwatch::domain::partitioner::shard;
use funnelwatch::edge::kafka::Mode;
use funnelwatch::edge::kafka::inspect::Inspector;
use funnelwatch::edge::kafka::producer::EventProducer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// `funnelwatch state` in a process of its own, by the configuration of a site.
struct State {
    config: PathBuf,
}

/// What it came to.
#[derive(Debug)]
struct Answer {
    code: i32,
    out: String,
    log: String,
}

impl State {
    fn of(site: &Site) -> Self {
        let config = std::env::temp_dir().join(format!("{}.yaml", site.topic("state-command")));
        std::fs::write(&config, format!("{}{QUICK}", site.sections())).expect("a file");
        Self { config }
    }

    fn ask(&self, words: &[&str]) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .arg("state")
            .args(words)
            .arg("--config")
            .arg(&self.config)
            .env("RUST_LOG", "info,rdkafka=off,librdkafka=off")
            .output()
            .expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let answer = Answer {
            code: output.status.code().expect("no signal"),
            out: text(output.stdout),
            log: text(output.stderr),
        };
        say(&format!("$ funnelwatch state {} (exit {})\n{}{}", words.join(" "), answer.code, answer.out, answer.log));
        answer
    }

    /// What is printed by what is well.
    fn good(&self, words: &[&str]) -> String {
        let answer = self.ask(words);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.out
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

/// Two tenants with an open alert each, in a site whose processor has stopped. All in one shard, or in two.
fn site(name: &str, partitions: u32) -> Site {
    let site = Site::new(name, partitions, QUICK);
    let mut events = Vec::new();
    for tenant in ["acme", "globex"] {
        events.push(tick(tenant, "begin", at(0.0)));
        events.push(lead(tenant, "1", at(10.0)));
        events.push(lead(tenant, "2", at(20.0)));
        events.push(call(tenant, "2", at(60.0)));
        events.push(tick(tenant, "later", at(2000.0)));
    }
    events.sort_by_key(|event| event.at);
    // Before anybody reads: a source that is silent already would not be waited for.
    site.produce(&events);
    let running = site.start(Mode::Live);
    assert_eq!(
        statuses(&site.await_records("alerts", 2)),
        [("acme lead:1 FIRING".into(), 1), ("globex lead:1 FIRING".into(), 1)]
    );
    until("all is applied", || *running.seen.applied.lock().expect("no panic") == 10);
    running.stop();
    site
}

/// How many alerts there are of which tenant, lead and status.
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
fn records(site: &Site) -> Vec<Record> {
    let mut records = site.read("state");
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// The last record of each key of the state topic.
fn live(site: &Site) -> BTreeMap<(i32, String), Vec<u8>> {
    let mut live = BTreeMap::new();
    for record in records(site) {
        let key = String::from_utf8(record.key.expect("a key")).expect("UTF-8");
        match record.value {
            Some(value) => drop(live.insert((record.partition, key), value)),
            None => drop(live.remove(&(record.partition, key))),
        }
    }
    live
}

#[test]
fn what_a_processor_left_is_listed_shown_and_verified() {
    let site = site("state-look", 3);
    let state = State::of(&site);
    let before = records(&site);
    let out = state.good(&["list"]);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.iter().any(|row| row.starts_with(&["acme", &shard("acme", 3).to_string(), "5"])), "{out}");
    let lines: Vec<Value> =
        state.good(&["list", "--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let events = |line: &&Value| line["shard"].is_number() && line["tenant_id"].is_null();
    assert_eq!(lines.iter().filter(events).count(), 3);
    let sum: u64 = lines.iter().filter(events).map(|line| line["events"].as_u64().expect("a number")).sum();
    assert_eq!(sum, 10);
    let kept: u64 = lines.iter().filter(events).map(|line| line["records"].as_u64().expect("a number")).sum();
    assert_eq!(kept, live(&site).len() as u64);
    let acme = lines.iter().find(|line| line["tenant_id"] == "acme").expect("a tenant");
    assert_eq!((&acme["events"], &acme["damaged"], &acme["open_windows"]), (&5.into(), &0.into(), &0.into()));
    assert_eq!(acme["first_event_at"], at(0.0).to_string());
    assert_eq!(acme["eras"][0]["since"], Value::Null);
    let one = state.good(&["list", "--tenant", "globex", "--json"]);
    assert_eq!(one.lines().count(), 2);
    assert!(!one.contains("acme"), "{one}");

    let out = state.good(&["show", "--tenant", "acme"]);
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
    assert!(!out.contains("7921"), "no phone is shown: {out}");
    assert_eq!(rows[1][0], at(10.0).to_string());
    assert_eq!(state.good(&["show", "--tenant", "acme", "--entity", "lead:2"]).lines().count(), 3);
    assert_eq!(state.good(&["show", "--tenant", "nobody"]).lines().count(), 1);

    let out = state.good(&["verify"]);
    assert_eq!(out.lines().filter(|line| line.contains(": good")).count(), 3, "{out}");
    assert_eq!(state.good(&["verify", "--shard", "1"]).lines().count(), 1);
    assert_eq!(state.ask(&["verify", "--shard", "3"]).code, 2);
    assert_eq!(state.ask(&["show", "--tenant", "acme", "--entity", "17"]).code, 2);
    assert_eq!(state.ask(&["reset", "--yes"]).code, 2);
    assert!(records(&site) == before, "nobody wrote");
}

#[test]
fn a_tenant_that_is_reset_begins_anew_and_the_other_goes_on() {
    let site = site("state-tenant", 1);
    let state = State::of(&site);
    let before = records(&site);
    let out = state.good(&["reset", "--tenant", "globex"]);
    assert!(out.starts_with("tenant globex: 6 records would go\n"), "{out}");
    assert!(records(&site) == before, "a dry run changes nothing");
    let out = state.good(&["reset", "--tenant", "globex", "--yes"]);
    assert!(out.starts_with("tenant globex: 6 records gone\n"), "{out}");
    assert!(live(&site).keys().all(|(_, key)| !key.contains("globex")));
    assert_eq!(records(&site).len(), before.len() + 7);
    assert!(state.good(&["verify"]).contains("5 events, 1 tenant;"));
    assert!(state.good(&["reset", "--tenant", "globex", "--yes"]).contains("nothing to reset"));

    let running = site.start(Mode::Live);
    let mut events = Vec::new();
    for tenant in ["acme", "globex"] {
        events.push(call(tenant, "1", at(2100.0)));
        events.push(lead(tenant, "3", at(2110.0)));
        events.push(tick(tenant, "end", at(4000.0)));
    }
    events.sort_by_key(|event| event.at);
    site.produce(&events);
    let expected: Vec<(String, usize)> = [
        "acme lead:1 FIRING",
        "acme lead:1 RESOLVED",
        "acme lead:3 FIRING",
        "globex lead:1 FIRING",
        "globex lead:3 FIRING",
    ]
    .map(|status| (status.to_owned(), 1))
    .into();
    assert_eq!(statuses(&site.await_records("alerts", 5)), expected);
    until("all is applied", || *running.seen.applied.lock().expect("no panic") == 6);
    running.stop();
    assert!(state.good(&["verify"]).contains("11 events, 2 tenants;"));
}

#[test]
fn a_damaged_record_is_found_and_a_reset_of_its_shard_mends_it() {
    let site = site("state-damaged", 2);
    let state = State::of(&site);
    let home = shard("acme", 2);
    let number = home.to_string();
    let whole = live(&site);
    let ((_, key), value) = whole.iter().find(|((_, key), _)| key.starts_with("e/acme/")).expect("an event");
    let mut changed = value.clone();
    changed[8] ^= 1;
    let raw = Raw::new();
    raw.send(&site.topic("state"), home as i32, Some(key.as_bytes()), Some(&changed), &[]);
    raw.send(&site.topic("state"), home as i32, Some(b"t/acme"), Some(b"\x08\x09nothing"), &[]);
    raw.flush();

    let answer = state.ask(&["verify"]);
    assert_eq!(answer.code, 1);
    for named in [format!("event record \"{key}\": the record is damaged"), "tenant record \"t/acme\": the".into()] {
        assert!(answer.out.contains(&named), "{named}: {}", answer.out);
    }
    assert!(answer.log.contains("1 of 2 shards cannot be restored"), "{}", answer.log);
    assert!(state.good(&["list"]).lines().any(|line| line.starts_with("acme ")));
    let error = site.start(Mode::Live).join().expect_err("refused").to_string();
    say(&format!("run: {error}"));
    assert!(error.contains("event record") && error.contains("`funnelwatch state verify`"), "{error}");
    assert!(error.contains(&format!("shard {home} ")), "{error}");

    until("the group is empty", || state.ask(&["reset", "--shard", &number]).log.contains("--yes does it"));
    assert_eq!(live(&site).len(), whole.len(), "a dry run changes nothing");
    let out = state.good(&["reset", "--shard", &number, "--yes"]);
    assert!(out.contains("2  damaged"), "{out}");
    assert!(live(&site).keys().all(|(partition, _)| *partition != home as i32));
    assert_eq!(state.good(&["verify"]).lines().count(), 2);

    // It begins at the committed offsets, and is written anew.
    let running = site.start(Mode::Live);
    site.produce(&[lead("acme", "3", at(2110.0)), tick("acme", "end", at(4000.0))]);
    let alerts = site.await_records("alerts", 3);
    assert!(statuses(&alerts).contains(&("acme lead:3 FIRING".into(), 1)), "{:?}", statuses(&alerts));
    until("all is applied", || *running.seen.applied.lock().expect("no panic") >= 2);
    running.stop();
    state.good(&["verify"]);
}

#[test]
fn nothing_is_reset_while_a_process_runs() {
    let site = site("state-busy", 2);
    let state = State::of(&site);
    let running = site.start(Mode::Live);
    running.await_assignment();
    let before = live(&site);
    for what in [["--tenant", "acme"], ["--shard", "0"]] {
        let answer = state.ask(&["reset", what[0], what[1], "--yes"]);
        assert_eq!(answer.code, 1);
        assert!(answer.log.contains(&format!("{}-consumer", site.config.kafka.transactional_id)), "{}", answer.log);
        let answer = state.ask(&["reset", what[0], what[1]]);
        assert!(answer.code == 0 && answer.log.contains("--yes would be refused"), "{answer:?}");
    }
    assert!(live(&site).len() >= before.len());
    // It was not disturbed; and while it writes, no half of a transaction is taken for damage.
    let events = floor(6, 400);
    let thread = {
        let config = site.config.clone();
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
    let inspector = Inspector::new(&site.config).expect("a client");
    let mut looks = 0;
    while !thread.is_finished() || looks < 10 {
        for shard in 0..inspector.shards() {
            let gathering = inspector.read(shard).expect("it is read");
            gathering.verify().expect("it is whole");
            looks += 1;
        }
    }
    say(&format!("{looks} looks while it ran"));
    let sent = thread.join().expect("no panic");
    until("all is applied", || *running.seen.applied.lock().expect("no panic") >= sent);
    running.stop();
    state.good(&["verify"]);
}

#[test]
fn a_look_into_the_midst_of_a_transaction_sees_all_of_it() {
    let site = site("state-midst", 1);
    let whole = live(&site);
    let value = |key: &str| whole[&(0, key.to_owned())].clone();
    let id = format!("{}-test", site.config.kafka.transactional_id);
    let producer: BaseProducer =
        client().set("transactional.id", id).set("linger.ms", "0").create().expect("a producer");
    let topic = site.topic("state");
    let send = |key: &str| {
        let value = value(key);
        let record = BaseRecord::to(&topic).partition(0).key(key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).expect("a record is sent");
        producer.flush(PATIENCE).expect("it is delivered");
    };
    producer.init_transactions(PATIENCE).expect("transactions");
    let inspector = Inspector::new(&site.config).expect("a client");
    let before = inspector.read(0).expect("it is read").records();
    producer.begin_transaction().expect("a transaction");
    send("t/acme");
    let gathering = std::thread::scope(|scope| {
        let look = scope.spawn(|| inspector.read(0).expect("it is read"));
        std::thread::sleep(Duration::from_secs(1));
        assert!(!look.is_finished(), "what is open is waited for");
        send("t/globex");
        send("s");
        producer.commit_transaction(PATIENCE).expect("committed");
        look.join().expect("no panic")
    });
    assert_eq!(gathering.records(), before + 3);
    assert!(gathering.is_settled());
}

//! Tests that digests are sent once, and that none delays another one.

use super::*;
use crate::config::Config;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const PATIENCE: Duration = Duration::from_secs(60);

/// An API with companies, of which some have no answer yet.
struct Said {
    companies: Vec<&'static str>,
    silent: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Api for Said {
    fn get(&self, path: &str) -> Option<Value> {
        let silent = self.silent.lock().expect("no panic");
        if silent.iter().any(|company| path.contains(&format!("/{company}/"))) {
            return None;
        }
        let tenants: Vec<Value> = self.companies.iter().map(|company| json!({"tenant_id": company})).collect();
        Some(match path {
            "/tenants" => json!({"tenants": tenants}),
            path if path.ends_with("/people?window=24h") => json!({"departments": [
                {"id": "north", "head": "boss"}, {"id": "south", "head": "chief"}, {"id": "empty", "head": "nobody"}]}),
            path if path.contains("/departments/empty") => Value::Null,
            path if path.contains("/departments/") => json!({"rows": [{"leads_received": 5}]}),
            _ => json!({}),
        })
    }
}

fn config() -> Config {
    let text = "notify:
  api: {url: 'http://localhost:1'}
  digest: {via: [mail, telegram], days: all}
  targets: {mail: {host: localhost, from: fw@example.com, tls: none}, telegram: {token: '1:0123456789abcdef'}}
  people: {boss: {mail: boss@example.com, telegram: 1}, chief: {mail: chief@example.com, telegram: 2}, nobody: {mail: no@example.com}}
";
    Config::parse("test", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn started(companies: &[&'static str], silent: &Arc<Mutex<BTreeSet<&'static str>>>) -> Digests {
    let said = Said { companies: companies.to_vec(), silent: Arc::clone(silent) };
    Digests::start(config().notify.as_ref().expect("the section"), said)
}

fn day(day: &str) -> Due {
    Due { day: day.into(), is_weekly: false }
}

/// Has the messages of a day made, until the thread has asked all that it can.
fn make(digests: &mut Digests, due: &Due, now: Timestamp) {
    digests.want(due.clone());
    let started = Instant::now();
    while digests.is_making {
        assert!(started.elapsed() < PATIENCE, "timed out");
        digests.take_made(now);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ledger() -> Ledger {
    Ledger::new(Span::HOUR)
}

fn sorted(jobs: &[Job]) -> Vec<String> {
    let mut keys: Vec<String> = jobs.iter().map(|job| job.key.clone()).collect();
    keys.sort();
    keys
}

#[test]
fn channels_send_side_by_side_and_one_message_at_a_time() {
    let (mut digests, mut ledger) = (started(&["acme"], &Arc::default()), ledger());
    make(&mut digests, &day("2026-03-02"), Timestamp(0));
    let first = digests.take_due(&mut ledger, Timestamp(0));
    assert_eq!(
        sorted(&first),
        ["digest/acme/2026-03-02/mail/boss@example.com", "digest/acme/2026-03-02/telegram/1"],
        "one of each channel; the empty one is not sent"
    );
    assert!(digests.take_due(&mut ledger, Timestamp(0)).is_empty(), "they are under way");
    // A channel that does not answer delays no other one, and a message that failed no other one of its channel.
    let mail = first.iter().find(|job| job.address.channel == Channel::Mail).expect("a mail");
    let chat = first.iter().find(|job| job.address.channel == Channel::Telegram).expect("a message");
    assert!(digests.done(chat.id, &Outcome::Sent(None), &mut ledger, Timestamp(10)));
    let second = digests.take_due(&mut ledger, Timestamp(10));
    assert_eq!(sorted(&second), ["digest/acme/2026-03-02/telegram/2"]);
    assert!(digests.done(mail.id, &Outcome::Unknown(Span(1_000), "timeout"), &mut ledger, Timestamp(20)));
    let third = digests.take_due(&mut ledger, Timestamp(60_000));
    assert_eq!(sorted(&third), ["digest/acme/2026-03-02/mail/chief@example.com"], "the one that has waited longest");
    assert!(digests.done(third[0].id, &Outcome::Sent(None), &mut ledger, Timestamp(60_000)));
    assert_eq!(
        sorted(&digests.take_due(&mut ledger, Timestamp(60_000))),
        ["digest/acme/2026-03-02/mail/boss@example.com"]
    );
    assert_eq!(digests.doubled(), 1);
}

#[test]
fn a_company_without_figures_delays_no_other_one() {
    let silent = Arc::new(Mutex::new(BTreeSet::from(["late"])));
    let (mut digests, mut ledger) = (started(&["late", "acme"], &silent), ledger());
    let send = |digests: &mut Digests, ledger: &mut Ledger| {
        let mut keys = Vec::new();
        loop {
            let jobs = digests.take_due(ledger, Timestamp(0));
            if jobs.is_empty() {
                return keys.iter().filter(|key: &&String| key.starts_with("digest/late")).count() * 10 + keys.len();
            }
            for job in jobs {
                digests.done(job.id, &Outcome::Sent(None), ledger, Timestamp(0));
                keys.push(job.key);
            }
        }
    };
    make(&mut digests, &day("2026-03-02"), Timestamp(0));
    assert_eq!(send(&mut digests, &mut ledger), 4, "those of the other company");
    make(&mut digests, &day("2026-03-02"), Timestamp(0));
    assert_eq!(send(&mut digests, &mut ledger), 0, "once");
    silent.lock().expect("no panic").clear();
    make(&mut digests, &day("2026-03-02"), Timestamp(0));
    assert_eq!(send(&mut digests, &mut ledger), 44);
    make(&mut digests, &day("2026-03-02"), Timestamp(0));
    assert_eq!(send(&mut digests, &mut ledger), 0);
}

#[test]
fn a_process_that_is_killed_doubles_one_message_of_a_channel_at_most() {
    let mut ledger = ledger();
    let mut stored: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut store = |digests: &mut Digests| {
        for (key, value) in digests.take_records() {
            match value {
                Some(value) => stored.insert(key, value),
                None => stored.remove(&key),
            };
        }
        stored.clone()
    };
    let mut digests = started(&["acme", "beta", "gamma"], &Arc::default());
    make(&mut digests, &day("2026-03-02"), Timestamp(0));
    let mut given: BTreeMap<String, usize> = BTreeMap::new();
    for kill in [true, false, true, false, false] {
        let jobs = digests.take_due(&mut ledger, Timestamp(0));
        jobs.iter().for_each(|job| *given.entry(job.key.clone()).or_default() += 1);
        let records = store(&mut digests);
        if kill {
            let doubled = digests.doubled();
            (digests, ledger) = (started(&["acme", "beta", "gamma"], &Arc::default()), super::tests::ledger());
            digests.doubled = doubled;
            for (key, value) in records {
                assert!(digests.restore(&key, &value));
            }
            make(&mut digests, &day("2026-03-02"), Timestamp(0));
        } else {
            for job in jobs {
                digests.done(job.id, &Outcome::Sent(None), &mut ledger, Timestamp(0));
            }
        }
    }
    loop {
        let jobs = digests.take_due(&mut ledger, Timestamp(0));
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            *given.entry(job.key.clone()).or_default() += 1;
            digests.done(job.id, &Outcome::Sent(None), &mut ledger, Timestamp(0));
        }
    }
    assert_eq!(given.len(), 12, "three companies, two heads, two channels");
    let twice = given.values().map(|times| times - 1).sum::<usize>();
    assert_eq!((twice, digests.doubled()), (4, 4), "two kills, two channels");
}

#[test]
fn a_message_of_the_day_before_does_not_block_its_channel() {
    let (mut digests, mut ledger) = (started(&["acme"], &Arc::default()), ledger());
    make(&mut digests, &day("2026-03-02"), Timestamp(0));
    let old = digests.take_due(&mut ledger, Timestamp(0));
    digests.take_records();
    make(&mut digests, &day("2026-03-03"), Timestamp(0));
    assert!(digests.take_records().iter().all(|(_, value)| value.is_none()), "the old ones are forgotten");
    assert!(digests.take_due(&mut ledger, Timestamp(0)).is_empty(), "their channels are still busy");
    for job in old {
        assert!(digests.done(job.id, &Outcome::Later(Span(1), "no_connection"), &mut ledger, Timestamp(0)));
    }
    assert!(digests.take_due(&mut ledger, Timestamp(0)).iter().all(|job| job.key.contains("/2026-03-03/")));
    // What belongs to partitions that were given up is of no effect.
    digests.clear();
    assert!(digests.take_due(&mut ledger, Timestamp(0)).is_empty());
}

//! On a listener with TLS, SCRAM and ACLs: the rights that `docs/install.md` lists are enough, each of them is needed, and
//! the error names what is missing or wrong.

use super::fixture::{Fixture, PATIENCE, QUICK, call, lead, tick, variable};
use funnelwatch::config::Config;
use funnelwatch::domain::source::ShardId;
use funnelwatch::edge::kafka::member_log::MemberLog;
use funnelwatch::edge::members::{Decision, MemberUrl, Members};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Numbers of <https://kafka.apache.org/protocol>: kinds of resources, and operations.
const TOPIC: u8 = 2;
const GROUP: u8 = 3;
const TRANSACTIONAL_ID: u8 = 5;
const READ: u8 = 3;
const WRITE: u8 = 4;
const DESCRIBE: u8 = 8;

/// The users that `tests/services/lib.sh` creates, each for one set of rights.
static USERS: AtomicU32 = AtomicU32::new(0);

/// A kind of resource, its name without the prefix of the fixture, and an operation.
type Right = (u8, &'static str, u8);

/// What the processor needs. Read and Write include Describe.
const RIGHTS: [Right; 15] = [
    (TOPIC, ".crm", READ),
    (TOPIC, ".telephony", READ),
    (TOPIC, ".email", READ),
    (TOPIC, ".rerouted", READ),
    (TOPIC, ".rerouted", WRITE),
    (TOPIC, ".state", READ),
    (TOPIC, ".state", WRITE),
    (TOPIC, ".alerts.open", READ),
    (TOPIC, ".alerts.open", WRITE),
    (TOPIC, ".alerts", WRITE),
    (TOPIC, ".metrics", WRITE),
    (TOPIC, ".reviews", WRITE),
    (TOPIC, ".dlq", WRITE),
    (GROUP, "", READ),
    (TRANSACTIONAL_ID, "-0", WRITE),
];

/// A user with rights on the resources of a fixture.
fn user(fixture: &Fixture, rights: &[Right]) -> String {
    let user = format!("user-{}", 1 + USERS.fetch_add(1, Ordering::Relaxed));
    let mut broker = TcpStream::connect(variable("FUNNELWATCH_KAFKA")).expect("a broker");
    let text = |text: &str, into: &mut Vec<u8>| {
        into.extend((text.len() as u16).to_be_bytes());
        into.extend(text.as_bytes());
    };
    // CreateAcls, version 1.
    let mut request = vec![0, 30, 0, 1, 0, 0, 0, 0];
    text("test", &mut request);
    request.extend((rights.len() as u32).to_be_bytes());
    for (kind, name, operation) in rights {
        request.push(*kind);
        text(&format!("{}{name}", fixture.topic("").trim_end_matches('.')), &mut request);
        request.push(3);
        text(&format!("User:{user}"), &mut request);
        text("*", &mut request);
        request.extend([*operation, 3]);
    }
    broker.write_all(&(request.len() as u32).to_be_bytes()).expect("sent");
    broker.write_all(&request).expect("sent");
    let mut length = [0; 4];
    broker.read_exact(&mut length).expect("a response");
    let mut response = vec![0; u32::from_be_bytes(length) as usize];
    broker.read_exact(&mut response).expect("a response");
    // Correlation id, throttle time, number of results; of each no error code and an empty text.
    assert_eq!(response.split_off(12), vec![0; 4 * rights.len()]);
    user
}

/// How to connect, with what is wrong.
struct Connection<'a> {
    address: String,
    protocol: &'a str,
    mechanism: &'a str,
    user: &'a str,
    password: &'a str,
    ca: &'a str,
}

impl<'a> Connection<'a> {
    fn of(user: &'a str) -> Self {
        Self {
            address: variable("FUNNELWATCH_KAFKA_SECURE"),
            protocol: "SASL_SSL",
            mechanism: "SCRAM-SHA-512",
            user,
            password: "secret",
            ca: "ca.pem",
        }
    }

    /// Processes all events; returns whether that succeeded, and the log.
    fn run(&self, fixture: &Fixture) -> (bool, String) {
        let started = Instant::now();
        let run = self.run_for(fixture, PATIENCE);
        assert!(started.elapsed() < PATIENCE, "still running after {PATIENCE:?}:\n{}", run.1);
        run
    }

    /// The configuration.
    fn configuration(&self, fixture: &Fixture) -> String {
        let ca = format!("{}/kafka/{}", variable("FUNNELWATCH_SERVICES_DIR"), self.ca);
        let (plain, address) = (variable("FUNNELWATCH_KAFKA"), &self.address);
        let client = format!(
            "client: {{security.protocol: {}, sasl.mechanism: {}, sasl.username: {}, sasl.password: {}, \
             ssl.ca.location: {ca}}}",
            self.protocol, self.mechanism, self.user, self.password
        );
        let sections = fixture.sections_of("0");
        let secure =
            sections.replacen(&format!("bootstrap: '{plain}'"), &format!("bootstrap: '{address}', {client}"), 1);
        format!("{secure}{QUICK}")
    }

    /// The same as [`Self::run`], for at most this time.
    fn run_for(&self, fixture: &Fixture, time: Duration) -> (bool, String) {
        let file = std::env::temp_dir().join(format!("{}.yaml", fixture.topic(&format!("{}-{}", self.user, self.ca))));
        std::fs::write(&file, self.configuration(fixture)).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["run", "--once", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let mut stderr = child.stderr.take().expect("piped");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).map(|_| log)
        });
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("the status is available") {
                break Some(status);
            }
            if started.elapsed() > time {
                child.kill().expect("the process is killed");
                child.wait().expect("the process exits");
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        std::fs::remove_file(&file).expect("the file is removed");
        let log = log.join().expect("no panic").expect("the log is UTF-8");
        (status.is_some_and(|status| status.success()), log)
    }

    fn fails_with(&self, fixture: &Fixture, expected: &[&str]) {
        let (succeeded, log) = self.run(fixture);
        assert!(!succeeded, "{log}");
        for text in expected {
            assert!(log.contains(text), "{text} is not in:\n{log}");
        }
    }
}

/// A lead that was not answered, so that there are alerts, rows and state, and a call.
fn produce(fixture: &Fixture, number: u32) {
    let at = |hours: u32| super::fixture::at(f64::from(3 * number + hours) * 3600.0);
    let id = |name: &str| format!("{name}-{number}");
    fixture.produce(&[lead("a", &id("l"), at(0)), call("a", &id("c"), at(1)), tick("a", &id("t"), at(2))]);
}

fn without(left_out: &[Right], instead: &[Right]) -> Vec<Right> {
    RIGHTS.iter().filter(|right| !left_out.contains(right)).chain(instead).copied().collect()
}

#[test]
fn the_listed_rights_are_enough_also_with_state() {
    let fixture = Fixture::new("rights", 1, "");
    let user = user(&fixture, &RIGHTS);
    for number in 0..2 {
        produce(&fixture, number);
        let (succeeded, log) = Connection::of(&user).run(&fixture);
        assert!(succeeded, "{log}");
    }
    assert!(!fixture.read("alerts").is_empty());
    // Only a process that restores state reads open alerts.
    let user = self::user(&fixture, &without(&[(TOPIC, ".alerts.open", READ)], &[]));
    Connection::of(&user).fails_with(&fixture, &["alerts.open: the right Read on the topic is missing"]);
}

#[test]
fn each_missing_right_is_named() {
    let fixture = Fixture::new("rights-missing", 1, "");
    let written = "the right Write on a topic of the output is missing";
    // A state that is empty is not read, so there must be one.
    produce(&fixture, 0);
    let (succeeded, log) = Connection::of(&user(&fixture, &RIGHTS)).run(&fixture);
    assert!(succeeded, "{log}");
    for (number, (left_out, instead, expected)) in [
        ((TOPIC, ".crm", READ), None, [".crm", "the right Describe is missing"]),
        ((TOPIC, ".crm", READ), Some(DESCRIBE), [".crm", "the right Read on the topic is missing"]),
        ((TOPIC, ".telephony", READ), Some(DESCRIBE), [".telephony", "the right Read on the topic is missing"]),
        ((TOPIC, ".state", READ), None, [".state", "the right Read on the topic is missing"]),
        ((TOPIC, ".state", WRITE), None, [".state", written]),
        ((TOPIC, ".alerts", WRITE), Some(DESCRIBE), [".alerts", written]),
        ((TOPIC, ".alerts", WRITE), None, [".alerts", "the right Describe is missing"]),
        ((TOPIC, ".alerts.open", WRITE), None, [".alerts.open", written]),
        ((TOPIC, ".metrics", WRITE), Some(DESCRIBE), [".metrics", written]),
        ((TOPIC, ".reviews", WRITE), None, [".reviews", "the right Describe is missing"]),
        ((TOPIC, ".dlq", WRITE), None, [".dlq", "the right Describe is missing"]),
        ((GROUP, "", READ), None, ["the group", "the right Read on the group is missing"]),
        ((TRANSACTIONAL_ID, "-0", WRITE), None, ["init", "the right Write on the transactional id is missing"]),
    ]
    .into_iter()
    .enumerate()
    {
        produce(&fixture, 1 + number as u32);
        let instead: Vec<Right> = instead.map(|operation| (left_out.0, left_out.1, operation)).into_iter().collect();
        let user = user(&fixture, &without(&[left_out], &instead));
        Connection::of(&user).fails_with(&fixture, &expected);
    }
}

#[test]
fn a_process_answers_for_tenants_only_if_it_may_read_and_write_the_topic_of_members() {
    let fixture = Fixture::new("rights-members", 1, "members: {}\n");
    let (read, write) = ((TOPIC, ".members", READ), (TOPIC, ".members", WRITE));
    for (rights, expected) in [(vec![read, write], true), (vec![read], false), (vec![write], false)] {
        let user = user(&fixture, &[rights, vec![(GROUP, "", READ)]].concat());
        let text = Connection::of(&user).configuration(&fixture);
        let config = Config::parse("rights", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let members = Arc::new(Members::new(&user, None, Arc::default()));
        members.set_url(MemberUrl::parse("http://127.0.0.1:1").expect("an address"));
        members.set_shards(1);
        members.received(&[ShardId(0)], 1);
        members.reading(&[ShardId(0)]);
        members.restored([ShardId(0)]);
        let log = MemberLog::start(&config, Arc::clone(&members)).expect("it starts");
        let started = Instant::now();
        let answers = || members.decide("a", Instant::now()) == Decision::Here;
        while !answers() && started.elapsed() < if expected { PATIENCE } else { Duration::from_secs(8) } {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(answers(), expected, "{user}");
        log.leave();
        assert!(!answers(), "it has left");
    }
}

#[test]
fn what_is_wrong_with_a_connection_is_named() {
    let fixture = Fixture::new("rights-wrong", 1, "");
    let user = user(&fixture, &RIGHTS);
    let right = || Connection::of(&user);
    let (secure, plain) = (right().address, variable("FUNNELWATCH_KAFKA"));
    let localhost = secure.replace("127.0.0.1", "localhost");
    Connection { password: "wrong", ..right() }.fails_with(&fixture, &["invalid credentials"]);
    Connection { mechanism: "PLAIN", ..right() }.fails_with(&fixture, &["supported mechanisms: SCRAM-SHA-512"]);
    Connection { ca: "other-ca.pem", ..right() }.fails_with(&fixture, &["its CA is not trusted"]);
    Connection { address: localhost, ..right() }.fails_with(&fixture, &["issued for another host name"]);
    // These can heal, so they are retried for a minute.
    for (connection, expected) in [
        (Connection { address: plain, ..right() }, "connecting to a PLAINTEXT broker listener?"),
        (Connection { protocol: "PLAINTEXT", ..right() }, "does this listener expect TLS?"),
    ] {
        let (succeeded, log) = connection.run_for(&fixture, Duration::from_secs(10));
        assert!(!succeeded && log.contains(expected), "{log}");
    }
}

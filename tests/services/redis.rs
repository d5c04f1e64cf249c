//! Tests the live view on a real Redis: it equals the topics, every alert is published on its channel, and when Redis
//! is killed under load, processing continues and the view is complete again afterwards. With TLS, the log names what is
//! wrong with a connection.

use super::child::Child;
use super::demo::get;
use super::fixture::{Fixture, QUICK, latest, report, sample_events, until, values, variable};
use redis::Commands;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A Redis server of one test, which the test can kill.
pub(crate) struct Redis {
    port: u16,
    /// The port with TLS, if it has one.
    tls_port: u16,
    dir: PathBuf,
    server: Option<std::process::Child>,
}

/// The password of a Redis with TLS.
const PASSWORD: &str = "rEd1s-password";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// A certificate or key that `tests/services/lib.sh` made.
fn certificate(name: &str) -> String {
    format!("{}/kafka/{name}", variable("FUNNELWATCH_SERVICES_DIR"))
}

impl Redis {
    pub(crate) fn start(fixture: &Fixture) -> Self {
        Self::start_with(fixture, 0)
    }

    /// A server that also has a port with TLS, where it requires a password and a certificate of the client.
    fn start_tls(fixture: &Fixture) -> Self {
        Self::start_with(fixture, free_port())
    }

    fn start_with(fixture: &Fixture, tls_port: u16) -> Self {
        let dir = std::env::temp_dir().join(fixture.topic("redis"));
        std::fs::create_dir(&dir).expect("a folder");
        let mut redis = Self { port: free_port(), tls_port, dir, server: None };
        redis.restart();
        redis
    }

    pub(crate) fn url(&self) -> String {
        let user = if self.tls_port == 0 { String::new() } else { format!(":{PASSWORD}@") };
        format!("redis://{user}127.0.0.1:{}", self.port)
    }

    fn tls_arguments(&self) -> Vec<String> {
        if self.tls_port == 0 {
            return Vec::new();
        }
        let (port, server, ca) = (self.tls_port.to_string(), certificate("server.pem"), certificate("ca.pem"));
        let files = ["--tls-cert-file", &server, "--tls-key-file", &server, "--tls-ca-cert-file", &ca];
        let others = ["--tls-port", &port, "--requirepass", PASSWORD];
        files.into_iter().chain(others).map(str::to_owned).collect()
    }

    /// Starts an empty server.
    fn restart(&mut self) {
        let port = self.port.to_string();
        let arguments = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port];
        let server = Command::new("redis-server")
            .args(arguments)
            .args(self.tls_arguments())
            .current_dir(&self.dir)
            .stdout(Stdio::null())
            .spawn();
        self.server = Some(server.expect("redis-server starts"));
        until("redis accepts connections", || self.connect().is_ok());
    }

    fn signal(&self, name: &str) {
        let server = self.server.as_ref().expect("the server runs");
        let sent = Command::new("kill").args([name, &server.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn kill(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        server.kill().expect("the server is killed");
        server.wait().expect("the server exits");
    }

    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(1))
    }

    /// All rows, and all open alerts.
    pub(crate) fn view(&self, prefix: &str) -> (Vec<String>, Vec<String>) {
        let mut redis = self.connect().expect("redis accepts connections");
        let (mut rows, mut alerts) = (Vec::new(), Vec::new());
        let tenants: BTreeSet<String> = redis.zrange(format!("{prefix}:tenants"), 0, -1).expect("tenants");
        for tenant in tenants {
            let key = |rest: &str| format!("{prefix}:{{{tenant}}}:{rest}");
            let subjects: BTreeSet<String> = redis.smembers(key("subjects")).expect("subjects");
            for subject in subjects {
                let key = key(&format!("row:{subject}"));
                let stored: BTreeMap<String, String> = redis.hgetall(&key).expect("rows");
                rows.extend(stored.into_values());
            }
            let stored: BTreeMap<String, String> = redis.hgetall(key("alerts")).expect("alerts");
            assert!(stored.iter().all(|(id, alert)| alert.contains(id)));
            alerts.extend(stored.into_values());
        }
        let keys: Vec<String> = redis.keys(format!("{prefix}:*")).expect("keys");
        for key in keys {
            assert_ne!(redis.ttl::<_, i64>(&key).expect("a time to live"), -1, "{key} does not expire");
        }
        rows.sort();
        alerts.sort();
        (rows, alerts)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The open alerts according to the topic.
pub(crate) fn open(fixture: &Fixture) -> Vec<String> {
    let mut open = BTreeMap::new();
    // The statuses of one alert are in one partition, in order.
    for record in fixture.read("alerts") {
        if matches!(record.header("status"), Some("DUE_SOON" | "FIRING" | "ESCALATED")) {
            open.insert(record.key.clone(), record.text().to_owned());
        } else {
            open.remove(&record.key);
        }
    }
    let mut open: Vec<_> = open.into_values().collect();
    open.sort();
    open
}

/// The value of a metric without labels.
fn metric(address: &str, name: &str) -> f64 {
    let metrics = get(address, "/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is missing"))
}

#[test]
fn the_view_is_complete_again_after_redis_is_killed_under_load() {
    let fixture = Fixture::new("redis", 4, QUICK);
    let mut redis = Redis::start(&fixture);
    let prefix = fixture.topic("view");
    let sections = format!("{QUICK}redis: {{url: '{}', prefix: '{prefix}', queue: 16}}\n", redis.url());
    let published = subscribe(&redis, &prefix);
    let processor = Child::start_with(&fixture, "0", &sections);
    let address = processor.address();
    let events = sample_events(8, 600);
    let third = events.len() / 3;

    fixture.produce(&events[..third]);
    until("the view is written", || {
        metric(&address, "funnelwatch_redis_up") == 1.0 && !redis.view(&prefix).0.is_empty()
    });
    fixture.await_no_lag();
    let before = fixture.read("alerts").len();
    until("every alert is published", || published.lock().expect("no panic").len() == before);
    let mut messages = published.lock().expect("no panic").clone();
    messages.sort();
    assert_eq!(messages, values(&fixture.read("alerts")));

    redis.kill();
    fixture.produce(&events[third..2 * third]);
    fixture.await_no_lag();
    let after = fixture.read("alerts").len();
    assert!(after > before, "alerts are raised while Redis is down");
    until("redis_up is 0", || metric(&address, "funnelwatch_redis_up") == 0.0);
    let dropped = metric(&address, "funnelwatch_redis_batches_dropped_total");
    assert!(dropped > 0.0);
    report(&format!("{before} alerts before, {} while Redis was down, {dropped} batches dropped", after - before));

    redis.restart();
    until("the view is complete", || metric(&address, "funnelwatch_redis_up") == 1.0);
    let (rows, alerts) = redis.view(&prefix);
    assert_eq!(alerts, open(&fixture));
    assert_eq!(names(&rows), names(&latest(&fixture.read("metrics"))), "rows of all subjects and windows");
    fixture.produce(&events[2 * third..]);
    fixture.await_no_lag();
    assert_equal(&redis, &prefix, &fixture);

    // A process that takes over shards writes the complete view, also into an empty Redis.
    let status = processor.stop();
    assert!(status.success());
    redis.kill();
    redis.restart();
    let next = Child::start_with(&fixture, "0", &sections);
    let wanted = open(&fixture);
    until("the open alerts of restored shards are in Redis", || redis.view(&prefix).1 == wanted);
    assert!(metric(&next.address(), "funnelwatch_redis_whole_writes_total") > 1.0);
    assert_eq!(names(&redis.view(&prefix).0), names(&latest(&fixture.read("metrics"))));
}

/// A Redis that does not respond is detected even without writes, and a stop does not wait for it.
#[test]
fn an_unresponsive_redis_is_detected_and_does_not_delay_a_stop() {
    let fixture = Fixture::new("redis-hangs", 2, QUICK);
    let redis = Redis::start(&fixture);
    let prefix = fixture.topic("view");
    let processor = Child::start_with(&fixture, "0", &sections(&redis, &prefix));
    let address = processor.address();
    let events = sample_events(2, 60);
    let half = events.len() / 2;
    fixture.produce(&events[..half]);
    fixture.await_no_lag();
    until("the view is written", || !redis.view(&prefix).0.is_empty());

    redis.signal("-STOP");
    until("redis_up is 0", || metric(&address, "funnelwatch_redis_up") == 0.0);
    fixture.produce(&events[half..]);
    fixture.await_no_lag();
    redis.signal("-CONT");
    until("redis_up is 1", || metric(&address, "funnelwatch_redis_up") == 1.0);
    assert_equal(&redis, &prefix, &fixture);

    redis.signal("-STOP");
    let started = Instant::now();
    let status = processor.stop();
    redis.signal("-CONT");
    assert!(status.success());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

/// Windows, subjects, tenants and alerts that no longer exist are removed from the view.
#[test]
fn stale_entries_are_removed_from_the_view() {
    let fixture = Fixture::new("redis-gone", 2, QUICK);
    let redis = Redis::start(&fixture);
    let prefix = fixture.topic("view");
    let mut connection = redis.connect().expect("redis accepts connections");
    let key = |rest: &str| format!("{prefix}:{{tenant-0}}:{rest}");
    let _: () =
        connection.hset(key("row:tenant"), "9d", "a window that is no longer configured").expect("a write succeeds");
    let _: () = connection.hset(key("alerts"), "a", "an alert that is closed").expect("a write succeeds");
    let _: () = connection.sadd(key("subjects"), "manager:gone").expect("a write succeeds");
    let _: () = connection.zadd(format!("{prefix}:tenants"), "gone", 1_700_000_000).expect("a write succeeds");
    let processor = Child::start_with(&fixture, "0", &sections(&redis, &prefix));
    fixture.produce(&sample_events(2, 60));
    fixture.await_no_lag();
    assert!(processor.stop().success());
    // A process that takes over shards writes the complete view.
    let processor = Child::start_with(&fixture, "0", &sections(&redis, &prefix));
    let wanted = open(&fixture);
    until("only open alerts are in Redis", || redis.view(&prefix).1 == wanted);
    let fields: BTreeSet<String> = connection.hkeys(key("row:tenant")).expect("rows");
    assert_eq!(fields, ["1h", "now"].map(String::from).into());
    let subjects: BTreeSet<String> = connection.smembers(key("subjects")).expect("subjects");
    assert_eq!(subjects, ["department:unknown", "manager:m-tenant-0", "tenant"].map(String::from).into());
    let tenants: BTreeSet<String> = connection.zrange(format!("{prefix}:tenants"), 0, -1).expect("tenants");
    assert_eq!(tenants, ["tenant-0", "tenant-1"].map(String::from).into());
    assert!(processor.stop().success());
}

/// How a processor connects to a Redis with TLS, with what is wrong.
struct Tls {
    scheme: &'static str,
    host: &'static str,
    password: &'static str,
    ca: &'static str,
    certificate: Option<&'static str>,
}

const RIGHT: Tls =
    Tls { scheme: "rediss", host: "127.0.0.1", password: PASSWORD, ca: "ca.pem", certificate: Some("server.pem") };

impl Tls {
    fn sections(&self, port: u16, prefix: &str) -> String {
        let Self { scheme, host, password, .. } = self;
        let user = if password.is_empty() { String::new() } else { format!(":{password}@") };
        let mut text = format!("{QUICK}redis:\n  url: '{scheme}://{user}{host}:{port}'\n  prefix: '{prefix}'\n");
        if *scheme == "rediss" {
            text += &format!("  ca_file: {}\n", certificate(self.ca));
        }
        if let Some(name) = self.certificate {
            let file = certificate(name);
            text += &format!("  certificate_file: {file}\n  key_file: {file}\n");
        }
        text
    }
}

#[test]
fn the_view_is_written_with_tls() {
    let fixture = Fixture::new("redis-tls", 2, QUICK);
    let mut redis = Redis::start_tls(&fixture);
    let prefix = fixture.topic("view");
    let processor = Child::start_with(&fixture, "0", &RIGHT.sections(redis.tls_port, &prefix));
    fixture.produce(&sample_events(8, 600));
    fixture.await_no_lag();
    assert_equal(&redis, &prefix, &fixture);
    // It is written again after the connection is lost, and a Redis that hangs is noticed.
    redis.kill();
    redis.restart();
    let wanted = open(&fixture);
    until("the view is complete", || redis.view(&prefix).1 == wanted);
    let address = processor.address();
    redis.signal("-STOP");
    until("redis_up is 0", || metric(&address, "funnelwatch_redis_up") == 0.0);
    redis.signal("-CONT");
    until("redis_up is 1", || metric(&address, "funnelwatch_redis_up") == 1.0);
    assert!(processor.stop().success());
}

#[test]
fn what_is_wrong_with_a_tls_connection_is_named() {
    let fixture = Fixture::new("redis-tls-wrong", 1, QUICK);
    let redis = Redis::start_tls(&fixture);
    let prefix = fixture.topic("view");
    for (number, (tls, port, expected)) in [
        (Tls { ca: "other-ca.pem", ..RIGHT }, redis.tls_port, "its CA is not among those in `redis.ca_file`"),
        (Tls { host: "localhost", ..RIGHT }, redis.tls_port, "issued for another host name"),
        (
            Tls { password: "wr0ng-password", ..RIGHT },
            redis.tls_port,
            "the user or the password in `redis.url` is wrong",
        ),
        (Tls { certificate: None, ..RIGHT }, redis.tls_port, "require a client certificate"),
        (Tls { password: "", ..RIGHT }, redis.tls_port, "Redis requires a password in `redis.url`"),
        (Tls { scheme: "redis", certificate: None, ..RIGHT }, redis.tls_port, "does this port expect TLS"),
        (RIGHT, redis.port, "expect connections without TLS?"),
        (
            Tls { scheme: "redis", password: "wr0ng-password", certificate: None, ..RIGHT },
            redis.port,
            "the user or the password in `redis.url` is wrong",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let processor = Child::start_with(&fixture, &number.to_string(), &tls.sections(port, &prefix));
        until(expected, || processor.log_count("redis unavailable") > 0);
        let log = processor.log().join("\n");
        assert_eq!(processor.log_count(expected), 1, "{expected} is not in:\n{log}");
        assert!(!log.contains("password@") && !log.contains(PASSWORD) && !log.contains("wr0ng"), "{log}");
    }
    assert_eq!(redis.view(&prefix), (Vec::new(), Vec::new()));
}

fn sections(redis: &Redis, prefix: &str) -> String {
    format!("{QUICK}redis: {{url: '{}', prefix: '{prefix}'}}\n", redis.url())
}

/// Waits until the view equals the topics; the last batch may still be in flight. A full rewrite has rows at the
/// watermark, the topic has rows at the last slide of a window. At the end of the events these are the same.
fn assert_equal(redis: &Redis, prefix: &str, fixture: &Fixture) {
    let wanted = (latest(&fixture.read("metrics")), open(fixture));
    assert!(!wanted.0.is_empty() && !wanted.1.is_empty());
    until("the view equals the topics", || redis.view(prefix) == wanted);
}

/// The subjects and windows of rows.
fn names(rows: &[String]) -> BTreeSet<String> {
    rows.iter().map(|row| row.split(",\"at\"").next().expect("a beginning").to_owned()).collect()
}

/// Subscribes to the alerts; returns the messages received so far.
fn subscribe(redis: &Redis, prefix: &str) -> std::sync::Arc<std::sync::Mutex<Vec<String>>> {
    let published = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (received, pattern) = (std::sync::Arc::clone(&published), format!("{prefix}:*:alerts"));
    let mut connection = redis.connect().expect("redis accepts connections");
    let (ready, subscribed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut channel = connection.as_pubsub();
        channel.psubscribe(pattern).expect("a channel");
        ready.send(()).expect("the test waits");
        // Until Redis is killed.
        while let Ok(message) = channel.get_message() {
            received.lock().expect("no panic").push(message.get_payload().expect("text"));
        }
    });
    subscribed.recv().expect("the subscription succeeds");
    published
}

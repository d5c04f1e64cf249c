//! Owns the proof of the live view on a real Redis: it holds what the topics hold, it hears of every alert, and when Redis is
//! killed under load the stream goes on and the view is whole again afterwards.

use super::child::Child;
use super::demo::get;
use super::site::{QUICK, Site, floor, latest, say, until, values};
use redis::Commands;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A Redis of the test's own, to be killed.
pub(crate) struct Redis {
    port: u16,
    dir: PathBuf,
    server: Option<std::process::Child>,
}

impl Redis {
    pub(crate) fn start(site: &Site) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let dir = std::env::temp_dir().join(site.topic("redis"));
        std::fs::create_dir(&dir).expect("a folder");
        let mut redis = Self { port, dir, server: None };
        redis.revive();
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it, empty.
    fn revive(&mut self) {
        let port = self.port.to_string();
        let words = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port];
        let server = Command::new("redis-server").args(words).current_dir(&self.dir).stdout(Stdio::null()).spawn();
        self.server = Some(server.expect("redis-server starts"));
        until("redis answers", || self.ask().is_ok());
    }

    fn signal(&self, name: &str) {
        let server = self.server.as_ref().expect("it runs");
        let sent = Command::new("kill").args([name, &server.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.kill().expect("it is killed");
        server.wait().expect("it is gone");
    }

    fn ask(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(1))
    }

    /// All rows, and all open alerts.
    pub(crate) fn view(&self, prefix: &str) -> (Vec<String>, Vec<String>) {
        let mut redis = self.ask().expect("redis answers");
        let (mut rows, mut alerts) = (Vec::new(), Vec::new());
        let tenants: BTreeSet<String> = redis.zrange(format!("{prefix}:tenants"), 0, -1).expect("tenants");
        for tenant in tenants {
            let key = |rest: &str| format!("{prefix}:{{{tenant}}}:{rest}");
            let subjects: BTreeSet<String> = redis.smembers(key("subjects")).expect("subjects");
            for subject in subjects {
                let key = key(&format!("row:{subject}"));
                let of: BTreeMap<String, String> = redis.hgetall(&key).expect("rows");
                rows.extend(of.into_values());
            }
            let of: BTreeMap<String, String> = redis.hgetall(key("alerts")).expect("alerts");
            assert!(of.iter().all(|(id, alert)| alert.contains(id)));
            alerts.extend(of.into_values());
        }
        let keys: Vec<String> = redis.keys(format!("{prefix}:*")).expect("keys");
        for key in keys {
            assert_ne!(redis.ttl::<_, i64>(&key).expect("a life"), -1, "{key} lives for ever");
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

/// The alerts that are open by what the topic says.
pub(crate) fn open(site: &Site) -> Vec<String> {
    let mut open = BTreeMap::new();
    // Statuses of one alert lie in one partition, in order.
    for record in site.read("alerts") {
        match record.header("status") {
            Some("FIRING" | "ESCALATED") => drop(open.insert(record.key.clone(), record.text().to_owned())),
            _ => drop(open.remove(&record.key)),
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
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn redis_may_be_killed_under_load_and_the_view_is_whole_again() {
    let site = Site::new("redis", 4, QUICK);
    let mut redis = Redis::start(&site);
    let prefix = site.topic("view");
    let sections = format!("{QUICK}redis: {{url: '{}', prefix: '{prefix}', queue: 16}}\n", redis.url());
    let heard = listen(&redis, &prefix);
    let processor = Child::start_with(&site, "0", &sections);
    let address = processor.address();
    let events = floor(8, 600);
    let third = events.len() / 3;

    site.produce(&events[..third]);
    until("the view is written", || {
        metric(&address, "funnelwatch_redis_up") == 1.0 && !redis.view(&prefix).0.is_empty()
    });
    site.await_no_lag();
    let before = site.read("alerts").len();
    until("whoever listens has heard of every alert", || heard.lock().expect("no panic").len() == before);
    let mut told = heard.lock().expect("no panic").clone();
    told.sort();
    assert_eq!(told, values(&site.read("alerts")));

    redis.kill();
    site.produce(&events[third..2 * third]);
    site.await_no_lag();
    let after = site.read("alerts").len();
    assert!(after > before, "alerts come while Redis is away");
    until("a metric says so", || metric(&address, "funnelwatch_redis_up") == 0.0);
    let dropped = metric(&address, "funnelwatch_redis_batches_dropped_total");
    assert!(dropped > 0.0);
    say(&format!("{before} alerts before, {} while Redis was away, {dropped} batches dropped", after - before));

    redis.revive();
    until("the view is whole", || metric(&address, "funnelwatch_redis_up") == 1.0);
    let (rows, alerts) = redis.view(&prefix);
    assert_eq!(alerts, open(&site));
    assert_eq!(names(&rows), names(&latest(&site.read("metrics"))), "rows of everybody, over every window");
    site.produce(&events[2 * third..]);
    site.await_no_lag();
    assert_equal(&redis, &prefix, &site);

    // Who takes over writes the view whole, into an empty Redis too.
    let ended = processor.stop();
    assert!(ended.success());
    redis.kill();
    redis.revive();
    let next = Child::start_with(&site, "0", &sections);
    let wanted = open(&site);
    until("the open alerts of restored shards are there", || redis.view(&prefix).1 == wanted);
    assert!(metric(&next.address(), "funnelwatch_redis_whole_writes_total") > 1.0);
    assert_eq!(names(&redis.view(&prefix).0), names(&latest(&site.read("metrics"))));
}

/// Nobody asks anything of it, and yet it shows that it hangs; whoever stops then need not wait for it.
#[test]
fn a_redis_that_hangs_is_noticed_and_holds_up_no_stop() {
    let site = Site::new("redis-hangs", 2, QUICK);
    let redis = Redis::start(&site);
    let prefix = site.topic("view");
    let processor = Child::start_with(&site, "0", &sections(&redis, &prefix));
    let address = processor.address();
    let events = floor(2, 60);
    let half = events.len() / 2;
    site.produce(&events[..half]);
    site.await_no_lag();
    until("the view is written", || !redis.view(&prefix).0.is_empty());

    redis.signal("-STOP");
    until("a metric says so", || metric(&address, "funnelwatch_redis_up") == 0.0);
    site.produce(&events[half..]);
    site.await_no_lag();
    redis.signal("-CONT");
    until("it is back", || metric(&address, "funnelwatch_redis_up") == 1.0);
    assert_equal(&redis, &prefix, &site);

    redis.signal("-STOP");
    let asked = Instant::now();
    let ended = processor.stop();
    redis.signal("-CONT");
    assert!(ended.success());
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

/// Windows, subjects and alerts of before that nobody knows any more.
#[test]
fn what_is_no_more_leaves_the_view() {
    let site = Site::new("redis-gone", 2, QUICK);
    let redis = Redis::start(&site);
    let prefix = site.topic("view");
    let mut there = redis.ask().expect("redis answers");
    let key = |rest: &str| format!("{prefix}:{{tenant-0}}:{rest}");
    let _: () = there.hset(key("row:tenant"), "9d", "a window that is judged no more").expect("it is written");
    let _: () = there.hset(key("alerts"), "a", "one that is over").expect("it is written");
    let _: () = there.sadd(key("subjects"), "manager:gone").expect("it is written");
    let _: () = there.zadd(format!("{prefix}:tenants"), "gone", 1_700_000_000).expect("it is written");
    let processor = Child::start_with(&site, "0", &sections(&redis, &prefix));
    site.produce(&floor(2, 60));
    site.await_no_lag();
    assert!(processor.stop().success());
    // Who takes over writes it whole.
    let processor = Child::start_with(&site, "0", &sections(&redis, &prefix));
    let wanted = open(&site);
    until("only what is open is there", || redis.view(&prefix).1 == wanted);
    let fields: BTreeSet<String> = there.hkeys(key("row:tenant")).expect("rows");
    assert_eq!(fields, ["1h", "now"].map(String::from).into());
    let subjects: BTreeSet<String> = there.smembers(key("subjects")).expect("subjects");
    assert_eq!(subjects, ["department:unknown", "manager:m-tenant-0", "tenant"].map(String::from).into());
    let tenants: BTreeSet<String> = there.zrange(format!("{prefix}:tenants"), 0, -1).expect("tenants");
    assert_eq!(tenants, ["tenant-0", "tenant-1"].map(String::from).into());
    assert!(processor.stop().success());
}

fn sections(redis: &Redis, prefix: &str) -> String {
    format!("{QUICK}redis: {{url: '{}', prefix: '{prefix}'}}\n", redis.url())
}

/// Waits until the view is what the topics say; the last batch may still be on its way. Rows that were written whole are of
/// the watermark, those of the topic of the last time that a window moved: at the end of the events that is the same.
fn assert_equal(redis: &Redis, prefix: &str, site: &Site) {
    let wanted = (latest(&site.read("metrics")), open(site));
    assert!(!wanted.0.is_empty() && !wanted.1.is_empty());
    until("the view is what the topics say", || redis.view(prefix) == wanted);
}

/// Whom rows are about, and their windows.
fn names(rows: &[String]) -> BTreeSet<String> {
    rows.iter().map(|row| row.split(",\"at\"").next().expect("a beginning").to_owned()).collect()
}

/// Hears every alert that is published.
fn listen(redis: &Redis, prefix: &str) -> std::sync::Arc<std::sync::Mutex<Vec<String>>> {
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (kept, pattern) = (std::sync::Arc::clone(&heard), format!("{prefix}:*:alerts"));
    let mut connection = redis.ask().expect("redis answers");
    let (ready, listening) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut channel = connection.as_pubsub();
        channel.psubscribe(pattern).expect("a channel");
        ready.send(()).expect("somebody waits");
        // Until Redis is killed.
        while let Ok(message) = channel.get_message() {
            kept.lock().expect("no panic").push(message.get_payload().expect("text"));
        }
    });
    listening.recv().expect("it listens");
    heard
}

//! Tests on the whole process of the gateway that what it has acknowledged is in Kafka: while it is killed, and, in a longer
//! form that `tests/gateway/load` runs, while Kafka is stopped and started.

use super::child::Killed;
use super::fixture::{Fixture, PATIENCE, report, until, variable};
use super::gateway;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TOKEN: &str = "51856fefc120afa4b628cc82d3935cce";
/// Connections that send at the same time.
const CONNECTIONS: u64 = 32;
/// Webhooks a second.
const RATE: u64 = 1000;

/// A process of the gateway, always at the same address.
struct Gateway {
    child: Killed,
    config: PathBuf,
    address: SocketAddr,
}

impl Gateway {
    fn start(fixture: &Fixture, address: SocketAddr) -> Self {
        let group = fixture.topic("gateway");
        let text = format!(
            "{}gateway:\n  listen: '{address}'\n  group: {group}\n  sources:\n    - name: romashka\n      tenant: romashka\n      \
             bitrix24: {{url: 'http://127.0.0.1:9/rest/1/s3cretcode/', application_token: {TOKEN}}}\n    \
             - {{name: own, tenant: romashka, events: {{token: 0123456789abcdef}}}}\n",
            fixture.sections()
        );
        let config = std::env::temp_dir().join(format!("{}.yaml", fixture.topic("config")));
        std::fs::write(&config, text).expect("a file");
        Self { child: Killed::gateway(&config), config, address }
    }

    /// Kills the process and starts another one.
    fn replace(&mut self) {
        self.child.kill();
        self.child = Killed::gateway(&self.config);
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn await_ready(&self) {
        until("the gateway is ready", || self.get("/readyz").is_some_and(|(status, _)| status == 200));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

/// A connection that sends one request after another, and opens itself again.
struct Sender {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Sender {
    /// Sends a webhook about the object with this id; returns whether it was acknowledged.
    fn send(&mut self, id: u64) -> bool {
        let body = format!(
            "event=ONCRMDEALUPDATE&data%5BFIELDS%5D%5BID%5D={id}&ts=1767600000&auth%5Bapplication_token%5D={TOKEN}"
        );
        let status = self.exchange(&format!(
            "POST /in/romashka HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        if status.is_none() {
            self.stream = None;
        }
        status == Some(200)
    }

    fn exchange(&mut self, request: &str) -> Option<u16> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).ok()?;
            stream.set_nodelay(true).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
            self.stream = Some(BufReader::new(stream));
        }
        let reader = self.stream.as_mut()?;
        reader.get_mut().write_all(request.as_bytes()).ok()?;
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
                Some(_) => {}
                None => break,
            }
        }
        std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
        Some(status)
    }
}

/// What was sent and acknowledged.
#[derive(Default)]
struct Sent {
    requests: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
    slowest: Mutex<Duration>,
}

/// Sends webhooks at [`RATE`] for a time; `disturb` is called meanwhile.
fn load(gateway: &mut Gateway, time: Duration, disturb: impl FnOnce(&mut Gateway)) -> Arc<Sent> {
    let (sent, over) = (Arc::<Sent>::default(), Arc::new(AtomicBool::new(false)));
    let address = gateway.address;
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (sent, over) = (Arc::clone(&sent), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut sender = Sender { address, stream: None };
                let started = Instant::now();
                for number in 0.. {
                    let due = Duration::from_secs_f64((number * CONNECTIONS + connection) as f64 / RATE as f64);
                    std::thread::sleep(due.saturating_sub(started.elapsed()));
                    if over.load(Ordering::Relaxed) || started.elapsed() > time {
                        return;
                    }
                    let id = number * CONNECTIONS + connection;
                    let at = Instant::now();
                    sent.requests.fetch_add(1, Ordering::Relaxed);
                    if sender.send(id) {
                        sent.acknowledged.lock().expect("no panic").insert(id);
                        let mut slowest = sent.slowest.lock().expect("no panic");
                        *slowest = slowest.max(at.elapsed());
                    }
                }
            })
        })
        .collect();
    disturb(gateway);
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    over.store(true, Ordering::Relaxed);
    sent
}

/// The ids of all hints.
fn stored(fixture: &Fixture) -> BTreeSet<u64> {
    let id = |text: &str| text.split_once(r#""data[FIELDS][ID]",""#)?.1.split_once('"')?.0.parse().ok();
    let records = fixture.read("hints");
    for record in &records {
        assert!(!record.text().contains(TOKEN) && !record.text().contains("auth"), "a secret: {}", record.text());
    }
    records.iter().filter_map(|record| id(record.text())).collect()
}

fn assert_nothing_lost(fixture: &Fixture, sent: &Sent) {
    let acknowledged = sent.acknowledged.lock().expect("no panic");
    let stored = stored(fixture);
    let lost: Vec<_> = acknowledged.difference(&stored).take(10).collect();
    let slowest = sent.slowest.lock().expect("no panic");
    report(&format!(
        "{} webhooks sent, {} acknowledged (the slowest in {slowest:?}), {} stored",
        sent.requests.load(Ordering::Relaxed),
        acknowledged.len(),
        stored.len()
    ));
    assert!(lost.is_empty(), "acknowledged and not stored: {lost:?}");
    assert!(!acknowledged.is_empty());
}

fn gateway(fixture: &Fixture) -> Gateway {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let gateway = Gateway::start(fixture, free);
    gateway.await_ready();
    gateway
}

#[test]
fn what_is_acknowledged_under_load_is_stored_though_the_gateway_is_killed() {
    let fixture = gateway::fixture("inbox-killed", 4);
    let mut gateway = gateway(&fixture);
    let sent = load(&mut gateway, Duration::from_secs(6), |gateway| {
        std::thread::sleep(Duration::from_secs(2));
        gateway.replace();
    });
    assert_nothing_lost(&fixture, &sent);
}

#[test]
#[ignore = "stops the broker of all tests; tests/gateway/load runs it"]
fn what_is_acknowledged_in_a_minute_is_stored_though_kafka_is_stopped_and_the_gateway_killed() {
    let fixture = gateway::fixture("inbox-load", 4);
    let mut gateway = gateway(&fixture);
    let script = |name: &str| {
        let path = format!("{}/tests/services/{name}", env!("CARGO_MANIFEST_DIR"));
        let done = Command::new(path).env("FUNNELWATCH_SERVICES_DIR", variable("FUNNELWATCH_SERVICES_DIR")).status();
        assert!(done.expect("the script runs").success(), "{name}");
    };
    let sent = load(&mut gateway, Duration::from_secs(60), |gateway| {
        std::thread::sleep(Duration::from_secs(10));
        script("kafka-stop");
        std::thread::sleep(Duration::from_secs(10));
        script("kafka-start");
        std::thread::sleep(Duration::from_secs(8));
        gateway.replace();
        std::thread::sleep(Duration::from_secs(8));
        gateway.replace();
    });
    assert_nothing_lost(&fixture, &sent);
    gateway.await_ready();
}

#[test]
fn a_stop_ends_the_process_after_what_it_has_accepted_is_stored() {
    let fixture = gateway::fixture("inbox-stop", 4);
    let mut gateway = gateway(&fixture);
    let sent = load(&mut gateway, Duration::from_secs(3), |gateway| {
        std::thread::sleep(Duration::from_secs(1));
        let stopped = Command::new("kill").args(["-TERM", &gateway.child.0.id().to_string()]).status();
        assert!(stopped.expect("kill runs").success());
    });
    let started = Instant::now();
    let status = gateway.child.0.wait().expect("it exits");
    assert!(status.success() && started.elapsed() < PATIENCE, "{status}");
    assert_nothing_lost(&fixture, &sent);
}

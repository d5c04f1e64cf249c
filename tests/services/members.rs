//! Tests that several processes behind a plain proxy, which knows nothing of shards, answer every request as one process would:
//! through kill -9, a rolling restart, a scale-out and a process that is suspended. What is not answered is a 503, and never
//! something else than the truth.

use super::child::Child;
use super::fixture::{Fixture, PATIENCE, at, lead, report, sample_events, tick, until};
use funnelwatch::domain::event::Event;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 6;
const TENANTS: u32 = 12;
const LEADS: u32 = 30;
const USER: &str = "0123456789abcdef-user";
const POD: &str = "0123456789abcdef-pod";
const SECTIONS: &str = "norms: {first_response_late: {within: 15m}}
windows: [{size: 1h, slide: 1m}, {size: 24h, slide: 1h}]
time: {allowed_lateness: 0s, idle_after: 500ms, watermark_follows_clock: false}
engine: {workers: 1, epoch: 100ms}
api: {token: 0123456789abcdef-user}
";
const MEMBERS: &str = "members: {token: 0123456789abcdef-pod}\n";

/// Passes each connection to the next backend, as a Service does.
struct Proxy {
    address: String,
    backends: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let backends: Arc<Mutex<Vec<String>>> = Arc::default();
        let (known, next) = (Arc::clone(&backends), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let backends = known.lock().expect("no panic").clone();
                let first = next.fetch_add(1, Ordering::Relaxed);
                let mut in_turn = (0..backends.len()).map(|index| &backends[(first + index) % backends.len()]);
                let Some(backend) = in_turn.find_map(|backend| TcpStream::connect(backend).ok()) else { continue };
                for (mut from, mut to) in
                    [(client.try_clone(), backend.try_clone()), (backend.try_clone(), client.try_clone())]
                        .map(|(from, to)| (from.expect("a socket"), to.expect("a socket")))
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address, backends }
    }

    fn set(&self, pods: &BTreeMap<usize, Pod>) {
        *self.backends.lock().expect("no panic") = pods.values().map(|pod| pod.address.clone()).collect();
    }
}

struct Pod {
    child: Child,
    address: String,
}

impl Pod {
    fn start(fixture: &Fixture, ordinal: usize) -> Self {
        let child = Child::start_with(fixture, &format!("pod-{ordinal}"), &format!("{SECTIONS}{MEMBERS}"));
        let address = child.address();
        Self { child, address }
    }

    fn is_ready(&self) -> bool {
        get(&self.address, "/readyz").is_some_and(|response| response.status == 200)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    head: String,
    body: String,
}

/// The response; `None`: the connection broke.
fn get(address: &str, path: &str) -> Option<Response> {
    let mut stream = open(address, path)?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok()?;
    let text = String::from_utf8(text).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    if length.is_some_and(|length| length != body.len()) {
        return None;
    }
    Some(Response { status, head: head.to_owned(), body: body.to_owned() })
}

fn open(address: &str, path: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {USER}\r\nconnection: close\r\n\r\n"
    )
    .ok()?;
    Some(stream)
}

/// What is compared: the API and the page.
fn paths() -> Vec<String> {
    let mut paths = vec!["/api/v1/tenants".to_owned(), "/".into()];
    for tenant in (0..TENANTS).map(|tenant| format!("tenant-{tenant}")) {
        for path in ["", "/managers", "/alerts"] {
            paths.push(format!("/api/v1/tenants/{tenant}{path}"));
        }
        for path in ["", "/people.csv"] {
            paths.push(format!("/t/{tenant}{path}"));
        }
        let number = tenant.strip_prefix("tenant-").expect("a number");
        paths.push(format!("/t/{tenant}/leads/{number}-1"));
    }
    paths.push("/api/v1/tenants/nobody".into());
    paths
}

/// A page without what depends on the wall clock: how old the figures are.
fn comparable(path: &str, response: &Response) -> (u16, String) {
    let mut body = response.body.clone();
    if path.starts_with("/t/")
        && !path.ends_with(".csv")
        && let Some(from) = body.find("id=\"top\"")
        && let Some(end) = body[from..].find("</p>")
    {
        body.replace_range(from..from + end, "");
    }
    // A sparkline has the points since its process began to read the shard: they differ after a restart or a move.
    while let Some(from) = body.find("<svg class=\"spark\"")
        && let Some(end) = body[from..].find("</svg>")
    {
        body.replace_range(from..from + end + "</svg>".len(), "");
    }
    (response.status, body)
}

type Expected = BTreeMap<String, (u16, String)>;

/// What the single process answers.
fn expected(single: &str) -> Expected {
    let ask = |path: String| {
        let response = get(single, &path).expect("the single process answers");
        (path.clone(), comparable(&path, &response))
    };
    paths().into_iter().map(ask).collect()
}

/// Whether all answers at an address are those of the single process.
fn is_equal(address: &str, expected: &Expected) -> bool {
    expected
        .iter()
        .all(|(path, expected)| get(address, path).is_some_and(|response| comparable(path, &response) == *expected))
}

/// Whether every tenant is answered for.
fn answers_for_all(address: &str) -> bool {
    (0..TENANTS).all(|tenant| {
        get(address, &format!("/api/v1/tenants/tenant-{tenant}")).is_some_and(|response| response.status == 200)
    })
}

/// Fails unless an answer is the truth or says that there is none at the moment; returns whether it is the truth.
fn assert_true_or_refused(path: &str, response: &Response, expected: &Expected) -> bool {
    if comparable(path, response) == expected[path] {
        return true;
    }
    if path == "/api/v1/tenants" && response.status == 200 {
        assert!(response.body.contains("\"shards_moving\":["), "{}", response.body);
        let all = &expected[path].1;
        for entry in response.body.split("{\"tenant_id\"").skip(1) {
            let entry = entry.split('}').next().expect("an entry");
            assert!(all.contains(entry), "{entry} is not in {all}");
        }
    } else if path == "/" && response.status == 200 {
        assert!(response.body.contains("Some companies are being moved"), "{}", response.body);
    } else {
        assert_eq!(response.status, 503, "{path}: {response:?}");
        assert!(response.head.contains("retry-after: "), "{}", response.head);
    }
    false
}

/// Asks in turn everything, all the time, until it is stopped.
struct Asker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<[usize; 3]>,
}

impl Asker {
    fn start(address: &str, expected: &Expected) -> Self {
        let (stop, address, expected) = (Arc::new(AtomicBool::new(false)), address.to_owned(), expected.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let [mut right, mut refused, mut broken] = [0; 3];
            while !stopped.load(Ordering::Relaxed) {
                for path in expected.keys() {
                    match get(&address, path) {
                        Some(response) if assert_true_or_refused(path, &response, &expected) => right += 1,
                        Some(_) => refused += 1,
                        None => broken += 1,
                    }
                }
            }
            [right, refused, broken]
        });
        Self { stop, thread }
    }

    fn stop(self, step: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let [right, refused, broken] = self.thread.join().expect("every answer is right or refused");
        report(&format!("{step}: {right} answers, {refused} refused, {broken} broken connections"));
        assert!(right > 0);
    }
}

/// The stream of a tenant's page as a browser reads it: it connects again when it ends.
struct Viewer {
    newest: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
}

impl Viewer {
    fn start(proxy: &Proxy, tenant: &str) -> Self {
        let (newest, stop): (Arc<Mutex<String>>, Arc<AtomicBool>) = Default::default();
        let (address, path) = (proxy.address.clone(), format!("/t/{tenant}/stream"));
        let (seen, stopped) = (Arc::clone(&newest), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(stream) = open(&address, &path) {
                    let lines = BufReader::new(stream).lines().map_while(Result::ok);
                    for line in lines.take_while(|_| !stopped.load(Ordering::Relaxed)) {
                        if let Some(data) = line.strip_prefix("data: ") {
                            *seen.lock().expect("no panic") = data.to_owned();
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { newest, stop }
    }

    fn sees(&self, text: &str) -> bool {
        self.newest.lock().expect("no panic").contains(text)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A lead of each tenant that gets no response, and what brings event time past its deadline.
fn further(round: u32) -> Vec<Event> {
    let begin = f64::from(LEADS) * 20.0 + 4000.0 + f64::from(round) * 4000.0;
    let of = |tenant: u32| {
        let name = format!("tenant-{tenant}");
        let id = format!("{tenant}-further-{round}");
        [lead(&name, &id, at(begin + 10.0)), tick(&name, &id, at(begin + 3000.0))]
    };
    let mut events: Vec<Event> = (0..TENANTS).flat_map(of).collect();
    events.sort_by_key(|event| event.at);
    events
}

/// Waits until the single process has processed everything; returns what it answers.
fn settled(single: &str, fixture: &Fixture, alerts: usize) -> Expected {
    let count = || {
        (0..TENANTS).map(|tenant| {
            let path = format!("/api/v1/tenants/tenant-{tenant}/alerts");
            get(single, &path).map_or(0, |response| response.body.matches("\"alert_id\"").count())
        })
    };
    until("the alerts of the single process", || count().sum::<usize>() == alerts);
    fixture.await_no_lag();
    let mut last = expected(single);
    until("the single process is idle", || {
        std::thread::sleep(Duration::from_millis(1500));
        let now = expected(single);
        let is_same = now == last;
        last = now;
        is_same
    });
    last
}

#[test]
fn several_processes_behind_a_proxy_answer_as_one() {
    let fixture = Fixture::new("members", PARTITIONS, &format!("{SECTIONS}{MEMBERS}"));
    let beside = fixture.beside("single");
    let single = Child::start_with(&beside, "single", SECTIONS);
    let single_address = single.address();
    let events = sample_events(TENANTS, LEADS);
    fixture.produce(&events);
    let mut pods: BTreeMap<usize, Pod> = (0..3).map(|ordinal| (ordinal, Pod::start(&fixture, ordinal))).collect();
    let proxy = Proxy::start();
    proxy.set(&pods);
    until("ready", || pods.values().all(Pod::is_ready));
    // Of six leads two get no response.
    let late = |rounds: usize| TENANTS as usize * (LEADS as usize / 6 * 2 + rounds);
    let mut truth = settled(&single_address, &fixture, late(0));
    for pod in pods.values() {
        until("every process answers as the single one", || is_equal(&pod.address, &truth));
    }
    let viewers: Vec<_> = (0..TENANTS).map(|tenant| Viewer::start(&proxy, &format!("tenant-{tenant}"))).collect();
    until("every viewer sees people", || viewers.iter().all(|viewer| viewer.sees("id=\"people\"")));

    let asker = Asker::start(&proxy.address, &truth);
    pods.get_mut(&1).expect("a pod").child.kill();
    let killed = Instant::now();
    until("all tenants", || answers_for_all(&pods[&0].address));
    report(&format!("all tenants are answered for {:.1} s after a kill", killed.elapsed().as_secs_f64()));
    until("the others answer for everything", || {
        is_equal(&pods[&0].address, &truth) && is_equal(&pods[&2].address, &truth)
    });
    asker.stop("one of three is killed");
    pods.insert(1, Pod::start(&fixture, 1));
    proxy.set(&pods);
    until("ready", || pods[&1].is_ready());
    until("all answer", || pods.values().all(|pod| is_equal(&pod.address, &truth)));

    let asker = Asker::start(&proxy.address, &truth);
    let rolled = Instant::now();
    for ordinal in (0..3).rev() {
        let old = pods.remove(&ordinal).expect("a pod");
        // A Service leaves out a pod that is being stopped.
        proxy.set(&pods);
        assert!(old.child.stop().success());
        pods.insert(ordinal, Pod::start(&fixture, ordinal));
        until("ready", || pods[&ordinal].is_ready());
        proxy.set(&pods);
    }
    until("all tenants", || pods.values().all(|pod| answers_for_all(&pod.address)));
    report(&format!("all tenants are answered for {:.1} s after the first stop", rolled.elapsed().as_secs_f64()));
    until("all answer", || pods.values().all(|pod| is_equal(&pod.address, &truth)));
    asker.stop("a rolling restart");

    let asker = Asker::start(&proxy.address, &truth);
    for ordinal in 3..5 {
        pods.insert(ordinal, Pod::start(&fixture, ordinal));
        proxy.set(&pods);
    }
    until("ready", || pods.values().all(Pod::is_ready));
    until("all answer", || pods.values().all(|pod| is_equal(&pod.address, &truth)));
    asker.stop("two more");

    fixture.produce(&further(0));
    truth = settled(&single_address, &fixture, late(1));
    until("all answer", || pods.values().all(|pod| is_equal(&pod.address, &truth)));
    let is_shown = |round: u32| {
        viewers.iter().enumerate().all(|(tenant, viewer)| viewer.sees(&format!("{tenant}-further-{round}")))
    };
    until("every viewer sees the new leads", || is_shown(0));

    // A process is suspended, loses its shards, and goes on: what it has is old.
    let suspended = pods.remove(&0).expect("a pod");
    proxy.set(&pods);
    suspended.child.signal("-STOP");
    fixture.produce(&further(1));
    truth = settled(&single_address, &fixture, late(2));
    until("the others answer", || pods.values().all(|pod| is_equal(&pod.address, &truth)));
    let askers: Vec<_> = truth
        .keys()
        .cloned()
        .map(|path| {
            let (address, truth) = (suspended.address.clone(), truth.clone());
            std::thread::spawn(move || {
                for _ in 0..20 {
                    let response = get(&address, &path).expect("an answer");
                    assert_true_or_refused(&path, &response, &truth);
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    suspended.child.signal("-CONT");
    for asker in askers {
        asker.join().expect("every answer is right or refused");
    }
    pods.insert(0, suspended);
    proxy.set(&pods);
    until("all answer", || pods.values().all(|pod| is_equal(&pod.address, &truth)));
    until("every viewer sees the new leads", || is_shown(1));

    // Who may ask.
    let direct = |headers: &str, path: &str| {
        let address = &pods[&0].address;
        let mut stream = TcpStream::connect(address).expect("open");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("a response");
        text.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).expect("a status")
    };
    let tenants = || (0..TENANTS).map(|tenant| format!("/api/v1/tenants/tenant-{tenant}"));
    for path in tenants() {
        assert_eq!(direct("", &path), 401);
        assert_eq!(direct(&format!("authorization: Bearer {POD}\r\n"), &path), 401);
        assert_eq!(
            direct(&format!("funnelwatch-member-token: {USER}\r\nauthorization: Bearer {USER}\r\n"), &path),
            403
        );
        let pod = format!("funnelwatch-member: pod-1\r\nfunnelwatch-member-token: {POD}\r\n");
        assert!([401, 503].contains(&direct(&pod, &path)), "the user's token is checked by the owner, too");
    }
    let metrics = get(&pods[&0].address, "/metrics").expect("metrics").body;
    assert!(metrics.contains("funnelwatch_members 5\n"), "{metrics}");
    assert!(metrics.contains("funnelwatch_members_shards_moving 0\n"));
    let all: Vec<String> = pods.values().flat_map(|pod| pod.child.log()).collect();
    assert!(all.iter().all(|line| !line.contains(POD) && !line.contains(USER)), "a token is in a log");
    for (_, pod) in pods {
        assert!(pod.child.stop().success());
    }
    let records = fixture.read("members");
    let last: BTreeMap<_, _> = records.into_iter().map(|record| (record.key, record.value)).collect();
    assert_eq!(last.len(), 5);
    assert!(last.values().all(Option::is_none), "each has removed itself at its end");
    drop(single);
}

//! Tests that processes which share the shards answer for each other over HTTP as one process would, that nothing is answered
//! while a shard moves, and who may ask.

use super::api::{NORMS, context_after, exchange, sample_events};
use funnelwatch::config::Config;
use funnelwatch::domain::shard::partitioner::shard;
use funnelwatch::domain::source::ShardId;
use funnelwatch::edge::http::{EndpointContext, serve};
use funnelwatch::edge::members::{MemberUrl, Members};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SHARDS: u32 = 4;
const TOKEN: &str = "0123456789abcdef-pods";
const USER: &str = "0123456789abcdef-user";
/// One tenant in each process.
const TENANTS: [&str; 2] = ["acme north", "globex"];
/// How long the others wait for a process that says nothing.
const LEASE: Duration = Duration::from_secs(6);
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn events(tenant: &str) -> Vec<String> {
    sample_events().into_iter().map(|event| event.replace(TENANTS[0], tenant)).collect()
}

/// The topic of members, in memory.
#[derive(Clone, Default)]
struct Topic(Arc<Mutex<(Vec<Arc<Members>>, i64)>>);

impl Topic {
    /// Every process announces itself if that is due, and all read it.
    fn pump(&self) {
        let (members, offset) = &mut *self.0.lock().expect("no panic");
        for member in &*members {
            if let Some(announcement) = member.announcement(Instant::now()) {
                let value = announcement.encode();
                for reader in &*members {
                    reader.apply(announcement.member.as_bytes(), Some(&value), *offset, None, Instant::now());
                }
                *offset += 1;
            }
        }
    }

    fn join(&self, member: &Arc<Members>) {
        self.0.lock().expect("no panic").0.push(Arc::clone(member));
    }
}

/// Pumps until it is dropped.
struct Pump(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Pump {
    fn start(topic: &Topic) -> Self {
        let (stop, topic) = (Arc::new(AtomicBool::new(false)), topic.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                topic.pump();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// Two processes, each with one tenant, and one process with both.
struct Setup {
    addresses: [SocketAddr; 2],
    members: [Arc<Members>; 2],
    single: SocketAddr,
    topic: Topic,
    _pump: Pump,
}

fn listen(context: EndpointContext) -> SocketAddr {
    serve("127.0.0.1:0".parse().expect("an address"), &Config::default().http_server, context).expect("a port")
}

fn member(topic: &Topic, name: &str, token: Option<&str>) -> Arc<Members> {
    let members = Arc::new(Members::new(name, token, Arc::default()));
    members.set_shards(SHARDS);
    topic.join(&members);
    members
}

/// A process gets the shard of a tenant; no other has the shards that belong to none.
fn assign(members: &Members, shards: &[ShardId], generation: i32) {
    members.received(shards, generation);
    members.reading(shards);
    members.restored(shards.iter().copied());
}

impl Setup {
    fn new(token: Option<&str>, user: Option<&str>) -> Self {
        let topic = Topic::default();
        let names = ["first", "second"];
        let members = names.map(|name| member(&topic, name, token));
        let mut addresses = Vec::new();
        for (tenant, members) in TENANTS.into_iter().zip(&members) {
            let members = Some(Arc::clone(members));
            addresses.push(listen(EndpointContext { members, ..context_after(NORMS, events(tenant), user) }));
        }
        let both = TENANTS.into_iter().flat_map(events).collect();
        let single = listen(context_after(NORMS, both, user));
        let addresses: [SocketAddr; 2] = addresses.try_into().expect("two");
        for (members, address) in members.iter().zip(addresses) {
            members.set_url(MemberUrl::parse(&format!("http://{address}")).expect("an address"));
        }
        let setup = Self { addresses, members, single, _pump: Pump::start(&topic), topic };
        let [first, second] = TENANTS.map(|tenant| shard(tenant, SHARDS));
        assert_ne!(first, second, "the tenants are in different shards");
        let rest = (0..SHARDS).map(ShardId).filter(|shard| *shard != second);
        assign(&setup.members[0], &rest.collect::<Vec<_>>(), 1);
        assign(&setup.members[1], &[second], 1);
        let headers = user.map(|user| format!("authorization: Bearer {user}\r\n")).unwrap_or_default();
        for address in setup.addresses {
            for tenant in ["acme%20north", "globex"] {
                until(|| get_with(address, &format!("/api/v1/tenants/{tenant}"), &headers).0 == 200);
            }
        }
        setup
    }

    fn second_shard() -> ShardId {
        shard(TENANTS[1], SHARDS)
    }
}

fn until(holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "timed out");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn get_with(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let (head, body) = exchange(address, &format!("GET {path}"), "localhost", headers, "");
    (status(&head), body)
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    get_with(address, path, "")
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

/// Headers that hold for one connection or one moment, and the order of the rest, say nothing.
fn essential(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
    lines.retain(|line| !["date", "connection", "transfer-encoding"].iter().any(|name| line.starts_with(name)));
    lines.sort();
    lines
}

#[test]
fn every_process_answers_as_one_process_would() {
    let setup = Setup::new(None, None);
    let mut paths = vec!["/api/v1/tenants".to_owned(), "/".into(), "/?lang=ru".into(), "/api/v1/tenants?x=1".into()];
    for tenant in ["acme%20north", "globex"] {
        for path in
            ["", "/managers", "/managers?window=24h", "/managers/vera", "/departments", "/alerts", "/leads/late%2F1"]
        {
            paths.push(format!("/api/v1/tenants/{tenant}{path}"));
        }
        for path in ["/managers/none", "/leads/none", "?window=none", "/none", "/alerts?rule=none"] {
            paths.push(format!("/api/v1/tenants/{tenant}{path}"));
        }
        for path in
            ["", "?lang=ru&window=24h", "/people.csv", "/clocks.csv", "/plan.csv", "/managers/vera", "/leads/late%2F1"]
        {
            paths.push(format!("/t/{tenant}{path}"));
        }
        for path in ["/none", "/managers/x%0d%0aX-Evil:%201", "/managers/%22%3E%3Cscript%3E", "/leads/%E4"] {
            paths.push(format!("/t/{tenant}{path}"));
        }
    }
    paths.extend(["/t/%0d%0aX-Evil:%201", "/t/%E4", "/t//people.csv", "/t/", "/api/v1/tenants/"].map(String::from));
    for path in paths {
        let ask = |address| exchange(address, &format!("GET {path}"), "localhost", "", "");
        let (head, body) = ask(setup.single);
        for address in setup.addresses {
            let (other_head, other) = ask(address);
            assert_eq!(other, body, "{path}");
            assert_eq!(essential(&other_head), essential(&head), "{path}");
        }
    }
    for method in ["POST", "DELETE"] {
        for address in setup.addresses {
            let (head, _) = exchange(address, &format!("{method} /api/v1/tenants/globex"), "localhost", "", "x");
            assert_eq!(status(&head), 405);
        }
    }
    let metrics = get(setup.addresses[0], "/metrics").1;
    assert!(!metrics.contains("globex"), "a scrape is that of one process");
}

#[test]
fn while_a_shard_moves_its_tenants_are_not_answered_for_and_the_others_are() {
    let setup = Setup::new(None, None);
    setup.members[1].reading(&[]);
    for address in setup.addresses {
        until(|| get(address, "/api/v1/tenants/globex").0 == 503);
        let (head, body) = exchange(address, "GET /api/v1/tenants/globex/alerts", "localhost", "", "");
        assert!(essential(&head).contains(&"retry-after: 2".to_owned()), "{head}");
        assert!(body.contains("is being moved"), "{body}");
        let (code, page) = get(address, "/t/globex?lang=ru");
        assert_eq!(code, 503);
        assert!(page.contains("Показатели переносятся в другой процесс; страница появится"), "{page}");
        assert_eq!(get(address, "/api/v1/tenants/acme%20north").0, 200);
        assert_eq!(get(address, "/t/acme%20north").0, 200);
        let (_, list) = get(address, "/api/v1/tenants");
        assert!(list.contains("acme north") && !list.contains("globex"), "{list}");
        assert!(list.contains(&format!("\"shards_moving\":[{}]", Setup::second_shard().0)), "{list}");
        let (code, page) = get(address, "/");
        assert_eq!(code, 200, "with one company known, there may be others");
        assert!(page.contains("Some companies are being moved") && page.contains("acme north"), "{page}");
    }
    assign(&setup.members[1], &[Setup::second_shard()], 2);
    for address in setup.addresses {
        until(|| get(address, "/t/globex").0 == 200);
        until(|| get(address, "/api/v1/tenants").1 == get(setup.single, "/api/v1/tenants").1);
    }
}

#[test]
fn a_process_that_another_one_has_followed_does_not_answer() {
    let setup = Setup::new(None, None);
    // A third one gets the shard; the second has not been asked to release it.
    let third = member(&setup.topic, "third", None);
    let both = TENANTS.into_iter().flat_map(events).collect();
    let members = Some(Arc::clone(&third));
    let address = listen(EndpointContext { members, ..context_after(NORMS, both, None) });
    third.set_url(MemberUrl::parse(&format!("http://{address}")).expect("an address"));
    assign(&third, &[Setup::second_shard()], 2);
    until(|| get(address, "/api/v1/tenants/globex").0 == 200);
    until(|| get(setup.addresses[1], "/api/v1/tenants/globex").0 == 200);
    let headers = "funnelwatch-member: first\r\n";
    assert_eq!(get_with(setup.addresses[1], "/api/v1/tenants/globex", headers).0, 503, "its own figures are old");
    let list = get_with(setup.addresses[1], "/api/v1/tenants", headers).1;
    assert!(!list.contains("globex"), "{list}");
}

#[test]
fn a_forwarded_request_is_answered_or_refused_and_never_forwarded_again() {
    let setup = Setup::new(Some(TOKEN), Some(USER));
    let headers =
        format!("authorization: Bearer {USER}\r\nfunnelwatch-member: second\r\nfunnelwatch-member-token: {TOKEN}\r\n");
    assert_eq!(get_with(setup.addresses[0], "/api/v1/tenants/globex", &headers).0, 503);
    assert_eq!(get_with(setup.addresses[0], "/t/globex/stream", &headers).0, 503);
    assert_eq!(get_with(setup.addresses[1], "/api/v1/tenants/globex", &headers).0, 200);
    let (_, list) = get_with(setup.addresses[0], "/api/v1/tenants", &headers);
    assert!(list.contains("acme north") && !list.contains("globex"), "only its own: {list}");
}

#[test]
fn processes_show_their_token_and_users_theirs() {
    let setup = Setup::new(Some(TOKEN), Some(USER));
    let user = format!("authorization: Bearer {USER}\r\n");
    for address in setup.addresses {
        for path in ["/api/v1/tenants/globex", "/api/v1/tenants/acme%20north", "/api/v1/tenants"] {
            for headers in ["", "authorization: Bearer wrong\r\n", &format!("authorization: Bearer {TOKEN}\r\n")] {
                assert_eq!(get_with(address, path, headers).0, 401, "{path} {headers}");
            }
            assert_eq!(get_with(address, path, &user).0, 200, "{path}");
        }
        for path in ["/t/globex", "/t/globex/stream", "/"] {
            assert_eq!(get_with(address, path, "").0, 303, "{path}: to the form");
        }
        let from = "funnelwatch-member: first\r\n";
        for token in ["", "funnelwatch-member-token: \r\n", "funnelwatch-member-token: 0123456789abcdef-podz\r\n"] {
            for headers in [format!("{from}{token}"), format!("{user}{from}{token}"), format!("{user}{token}")] {
                let is_forwarded = headers.contains("funnelwatch");
                for path in ["/api/v1/tenants/globex", "/t/acme%20north", "/api/v1/tenants", "/"] {
                    let expected = if is_forwarded { 403 } else { 200 };
                    let code = get_with(address, path, &headers).0;
                    assert!(code == expected || !is_forwarded && code == 303, "{path} {headers}: {code}");
                }
            }
        }
        // The token of the processes does not replace that of a user.
        let pods = format!("{from}funnelwatch-member-token: {TOKEN}\r\n");
        assert_eq!(get_with(setup.addresses[1], "/api/v1/tenants/globex", &pods).0, 401);
        assert_eq!(get_with(setup.addresses[1], "/t/globex", &pods).0, 303);
    }
    let metrics: Vec<String> = setup.members.iter().map(|members| format!("{:?}", members.metrics())).collect();
    assert!(!format!("{metrics:?}").contains(TOKEN));
}

#[test]
fn a_process_with_another_token_is_no_reason_to_refuse_the_user() {
    let setup = Setup::new(Some(TOKEN), Some(USER));
    let stranger = Arc::new(Members::new("stranger", Some("another token of pods"), Arc::default()));
    stranger.set_shards(SHARDS);
    setup.topic.join(&stranger);
    let members = Some(Arc::clone(&stranger));
    let address = listen(EndpointContext { members, ..context_after(NORMS, events("other"), Some(USER)) });
    stranger.set_url(MemberUrl::parse(&format!("http://{address}")).expect("an address"));
    let user = format!("authorization: Bearer {USER}\r\n");
    until(|| get_with(address, "/api/v1/tenants/globex", &user).0 == 503);
    let (_, list) = get_with(address, "/api/v1/tenants", &user);
    assert!(list.contains("\"shards_moving\":[0,1,2,3]"), "{list}");
}

#[test]
fn a_session_of_a_browser_holds_at_every_process() {
    let setup = Setup::new(Some(TOKEN), Some(USER));
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let (head, _) = exchange(setup.addresses[0], "POST /sign-in", "localhost", form, &format!("token={USER}"));
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    let session = format!("cookie: {}\r\n", cookie.split(';').next().expect("a value"));
    for address in setup.addresses {
        for path in ["/t/globex", "/t/acme%20north/people.csv", "/"] {
            assert_eq!(get_with(address, path, &session).0, 200, "{path}");
        }
    }
}

#[test]
fn without_a_token_of_users_a_process_vouches_for_clients_on_its_machine() {
    let setup = Setup::new(Some(TOKEN), None);
    let ask = |host: &str, headers: &str| {
        let (head, _) = exchange(setup.addresses[1], "GET /api/v1/tenants/globex", host, headers, "");
        status(&head)
    };
    let pods = format!("funnelwatch-member: first\r\nfunnelwatch-member-token: {TOKEN}\r\n");
    assert_eq!(ask("10.0.0.7:9464", &pods), 200, "as from another machine");
    assert_eq!(ask("10.0.0.7:9464", ""), 403);
    // What the first process does not accept from its client it does not forward either.
    for (host, headers) in [("10.0.0.7:9464", ""), ("localhost", "x-forwarded-for: 10.0.0.1\r\n")] {
        let (head, _) = exchange(setup.addresses[0], "GET /api/v1/tenants/globex", host, headers, "");
        assert_eq!(status(&head), 403, "{host} {headers}");
    }
    let (head, _) = exchange(setup.addresses[0], "GET /t/globex", "evil.example.org", "", "");
    assert_eq!(status(&head), 403);
    let two = "host: evil.example.org\r\n";
    let (head, _) = exchange(setup.addresses[0], "GET /t/globex", "localhost", two, "");
    assert_eq!(status(&head), 400, "two hosts");
}

#[test]
fn a_process_that_hangs_costs_few_requests_and_the_others_are_served() {
    let setup = Setup::new(None, None);
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let third = member(&setup.topic, "third", None);
    let address = hanging.local_addr().expect("an address");
    third.set_url(MemberUrl::parse(&format!("http://{address}")).expect("an address"));
    setup.members[1].reading(&[]);
    assign(&third, &[Setup::second_shard()], 2);
    let first = setup.addresses[0];
    until(|| {
        let mut stream = TcpStream::connect(first).expect("open");
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        write!(stream, "GET /t/globex HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
        // An answer: the shard is still moving. None: the request waits for the process that hangs.
        stream.read(&mut [0]).is_err()
    });
    let waiting: Vec<_> = (0..40).map(|_| std::thread::spawn(move || get(first, "/api/v1/tenants/globex").0)).collect();
    for _ in 0..10 {
        assert_eq!(get(first, "/api/v1/tenants/acme%20north").0, 200);
    }
    assert!(waiting.into_iter().all(|request| request.join().expect("no panic") == 503));
    let (_, list) = get(first, "/api/v1/tenants");
    assert!(list.contains("acme north") && list.contains("shards_moving"), "{list}");
}

/// Reads events of a stream until one contains a text.
fn read_until(events: &mut impl BufRead, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(events.read_line(&mut line).expect("an event in time") > 0, "the stream ended: {seen}");
        if line.starts_with("data: ") && line.contains(text) {
            return line;
        }
        seen.push_str(&line);
    }
}

#[test]
fn a_stream_goes_on_when_the_shard_has_moved() {
    let setup = Setup::new(None, None);
    let mut streams: Vec<_> = setup
        .addresses
        .iter()
        .map(|address| {
            let mut stream = TcpStream::connect(address).expect("open");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            write!(stream, "GET /t/globex/stream?lang=ru HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
            let mut events = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(events.read_line(&mut head).expect("a head") > 0, "{head}");
            }
            assert!(head.starts_with("HTTP/1.1 200") && head.contains("x-accel-buffering: no"), "{head}");
            read_until(&mut events, "id=\"people\"");
            events
        })
        .collect();
    setup.members[1].reading(&[]);
    for events in &mut streams {
        read_until(events, "Показатели переносятся в другой процесс");
    }
    assign(&setup.members[1], &[Setup::second_shard()], 2);
    for events in &mut streams {
        read_until(events, "id=\"people\"");
    }
    // One that begins while the shard moves.
    setup.members[1].reading(&[]);
    until(|| get(setup.addresses[0], "/t/globex").0 == 503);
    let mut stream = TcpStream::connect(setup.addresses[0]).expect("open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET /t/globex/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut events = BufReader::new(stream);
    read_until(&mut events, "These figures are being moved");
    assign(&setup.members[1], &[Setup::second_shard()], 3);
    read_until(&mut events, "id=\"people\"");
}

#[test]
fn a_process_that_is_cut_off_from_the_topic_answers_for_nothing() {
    let mut setup = Setup::new(None, None);
    setup._pump = Pump::start(&Topic::default());
    std::thread::sleep(LEASE);
    for address in setup.addresses {
        for path in ["/api/v1/tenants/globex", "/api/v1/tenants/acme%20north", "/t/globex"] {
            assert_eq!(get(address, path).0, 503, "{path}");
        }
        assert_eq!(get(address, "/livez").0, 200);
    }
}

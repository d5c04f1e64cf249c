//! Tests what clients of the HTTP server can do to it and to each other: idle and slow connections, half and large
//! requests, foreign hosts, shared scrapes.

use funnelwatch::codec::Encoding;
use funnelwatch::config::{self, Api, Config, HttpServer};
use funnelwatch::dataflow::epoch::Batch;
use funnelwatch::dataflow::live::{LiveState, OpenAlertsView};
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::dataflow::workers;
use funnelwatch::domain::rule::message::Language;
use funnelwatch::domain::shard::processor::{ShardProgress, Timing};
use funnelwatch::domain::source::{Offset, Source};
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::http::{Access, EndpointContext, in_memory, serve, serve_probes};
use funnelwatch::telemetry::exporter::{Exporter, Selection};
use funnelwatch::telemetry::http_metrics::HttpMetrics;
use funnelwatch::telemetry::liveness::Liveness;
use funnelwatch::telemetry::processor_metrics::ProcessorMetrics;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than anything here takes; a test that waits for this long fails.
const GENEROUS: Duration = Duration::from_secs(60);

fn settings() -> HttpServer {
    let longest = Span::MINUTE;
    HttpServer { read_timeout: longest, write_timeout: longest, ..Config::default().http_server }
}

fn context(settings: &HttpServer, live_state: Arc<LiveState>) -> EndpointContext {
    let http = Arc::new(HttpMetrics::new(settings.connections));
    let selection = Selection { names: true, ..Config::default().prometheus };
    let (metrics, clock) = (Arc::new(ProcessorMetrics::default()), Arc::new(|| Timestamp(0)));
    let exporter = Exporter::new(Arc::clone(&live_state), metrics, clock, selection).with_http(Arc::clone(&http));
    EndpointContext {
        exporter: Arc::new(exporter),
        liveness: Arc::new(Liveness::default()),
        open_alerts: Arc::new(OpenAlertsView::new(Arc::clone(&live_state))),
        live_state,
        language: Language::En,
        publish: None,
        access: Arc::new(Access::new(&Api::default())),
        page: Default::default(),
        deliveries: Arc::default(),
        http,
        members: None,
    }
}

fn start(settings: &HttpServer) -> SocketAddr {
    start_with(settings, Arc::default())
}

fn start_with(settings: &HttpServer, live_state: Arc<LiveState>) -> SocketAddr {
    serve(any_port(), settings, context(settings, live_state)).expect("a port")
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// Names that make a scrape larger than what sockets buffer.
fn large_live_state() -> Arc<LiveState> {
    let norms = config::parse_norms("norms", "").unwrap_or_else(|problems| panic!("{problems}")).norms;
    let timing = Timing { max_future_skew: None, follows_clock: false, ..Timing::default() };
    let settings = DataflowSettings { shards: 1, ..DataflowSettings::new(Arc::new(norms), timing) };
    let live_state = Arc::clone(&settings.live_state);
    let mut batch = Batch::new(Source::Files, None, Encoding::Json);
    for n in 0..9_000_u64 {
        let manager = json!({"manager_id": n.to_string(), "name": "x".repeat(1000), "department_id": "north"});
        let event = json!({"tenant_id": "acme", "occurred_at": "2026-03-02T09:00:00Z", "manager_upserted": manager});
        batch.push(Offset(n as i64), None, event.to_string().as_bytes());
    }
    let (supply, mut collector, guards) = workers::start(1, settings).expect("threads");
    let other_shards = Some(ShardProgress { close: Some(Timestamp(1_772_448_000_000)), ..ShardProgress::default() });
    assert!(supply.send(EpochHeader { other_shards, ..EpochHeader::default() }, vec![vec![Arc::new(batch)]]));
    assert!(collector.next_epoch().expect("workers").rejected.is_empty());
    drop(supply);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    live_state
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts connections");
    stream.set_read_timeout(Some(GENEROUS)).expect("a timeout");
    stream
}

/// A connection that asked, and has read nothing.
fn ask(address: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").expect("a request");
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

fn get(address: SocketAddr, path: &str) -> String {
    answer(ask(address, path, "Host: localhost\r\n"))
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

/// Whether the server closes the connection, with or without a response.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn value(scrape: &str, series: &str) -> u64 {
    let line = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing in {scrape}")).parse().expect("a whole number")
}

/// The fuzz target relies on it.
#[test]
fn without_sockets_the_responses_are_the_same() {
    let (settings, peer) = (settings(), any_port());
    let address = start(&settings);
    let in_memory = in_memory(&settings, context(&settings, Arc::default())).expect("a server");
    let without_date = |response: &str| {
        let lines = response.lines().filter(|line| !line.starts_with("date: "));
        lines.collect::<Vec<_>>().join("\n")
    };
    for request in [
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n",
        "GET /api/v1/tenants HTTP/1.1\r\nHost: localhost\r\n",
        "GET /api/v1/tenants/acme?window=1h HTTP/1.1\r\nHost: evil.org\r\n",
        "HEAD /nowhere HTTP/1.1\r\nHost: 10.0.0.1\r\n",
        "odd",
    ] {
        let bytes = format!("{request}Connection: close\r\n\r\n");
        let mut stream = connect(address);
        stream.write_all(bytes.as_bytes()).expect("a request");
        let expected = answer(stream);
        let found = String::from_utf8(in_memory.exchange(bytes.as_bytes(), peer)).expect("text");
        assert_eq!(without_date(&found), without_date(&expected), "{request}");
    }
    let two = "GET /api/v1/tenants HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    let found = String::from_utf8(in_memory.exchange(two.as_bytes(), peer)).expect("text");
    assert_eq!(found.matches("{\"tenants\":[]}").count(), 2, "{found}");
    assert!(in_memory.exchange(b"", peer).is_empty());
}

#[test]
fn probes_and_scrapes_answer_while_a_thousand_connections_are_idle() {
    let settings = settings();
    let context = context(&settings, Arc::default());
    let both = serve(any_port(), &settings, context.clone()).expect("a port");
    let probes = serve_probes(any_port(), &settings, context).expect("a port");
    for address in [both, probes] {
        let idle: Vec<_> = (0..1000).map(|_| connect(address)).collect();
        for _ in 0..3 {
            assert!(get(address, "/livez").ends_with("alive\n"));
            assert_eq!(status(&get(address, "/readyz")), "503", "nothing is assigned in this test");
        }
        drop(idle);
    }
    let scrape = get(both, "/metrics");
    assert_eq!(value(&scrape, "funnelwatch_http_connections_limit"), 256);
    let closed = value(&scrape, "funnelwatch_http_connections_closed_total{reason=\"limit\"}");
    assert!(closed >= 2 * (1000 - 256), "{closed}");
    assert_eq!(status(&get(probes, "/metrics")), "404", "only probes are served there");
    assert_eq!(status(&get(probes, "/api/v1/tenants")), "404");
}

#[test]
fn a_request_in_progress_outlives_idle_connections() {
    let settings = HttpServer { connections: 8, ..settings() };
    let address = start_with(&settings, large_live_state());
    let slow = ask(address, "/metrics", "Host: localhost\r\n");
    // Its answer begins: from now on it is being sent.
    slow.peek(&mut [0]).expect("an answer");
    let idle: Vec<_> = (0..100).map(|_| connect(address)).collect();
    assert!(get(address, "/livez").ends_with("alive\n"));
    let response = answer(slow);
    assert!(response.len() > 9_000_000 && response.contains("funnelwatch_build_info"), "{}", response.len());
    drop(idle);
}

#[test]
fn half_requests_and_idle_connections_are_closed() {
    let settings = HttpServer { read_timeout: Span(200), ..settings() };
    let address = start(&settings);
    let mut half = connect(address);
    write!(half, "GET /livez HTTP/1.1\r\nHost: local").expect("half a request");
    let mut kept = connect(address);
    write!(kept, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    for stream in [connect(address), half, kept] {
        assert!(is_closed(stream));
    }
    assert!(
        value(&get(address, "/metrics"), "funnelwatch_http_connections_closed_total{reason=\"read_timeout\"}") >= 2
    );
}

#[test]
fn large_headers_are_refused() {
    let address = start(&settings());
    let with_header = |size: usize| format!("Host: localhost\r\nCookie: {}\r\n", "x".repeat(size));
    assert_eq!(status(&answer(ask(address, "/livez", &with_header(8 << 10)))), "200");
    let mut large = connect(address);
    // The server may stop reading, and close the connection while this is still being written.
    let _ = write!(large, "GET /livez HTTP/1.1\r\n{}\r\n", with_header(390 << 10));
    let mut head = [0; 12];
    match large.read_exact(&mut head) {
        Ok(()) => assert_eq!(&head, b"HTTP/1.1 431"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert!(get(address, "/livez").ends_with("alive\n"));
}

#[test]
fn foreign_hosts_and_origins_are_refused_on_every_endpoint() {
    let allowed_hosts = vec!["funnelwatch".into()];
    let address = start(&HttpServer { allowed_hosts, shared_scrape: Span::ZERO, ..settings() });
    for path in ["/", "/metrics", "/livez", "/readyz", "/api/v1/tenants", "/nothing"] {
        let with = |headers: &str| answer(ask(address, path, headers));
        for (headers, wanted) in [
            ("Host: rebound.example.org\r\n", "403"),
            ("Host: 127.0.0.1:9464, evil\r\n", "400"),
            ("Host: localhost\r\nHost: localhost\r\n", "400"),
            ("", "400"),
            ("Host: localhost\r\nOrigin: http://evil.example.org\r\n", "403"),
            ("Host: localhost\r\nOrigin: null\r\n", "403"),
        ] {
            let response = with(headers);
            assert_eq!(status(&response), wanted, "{path} {headers}");
            assert!(response.contains("\r\n\r\n{\"error\":\""), "{response}");
        }
        for host in ["localhost:9464", "127.0.0.1:9464", "10.0.0.1:9464", "[fd00::1]:9464", "funnelwatch:9464"] {
            let response = with(&format!("Host: {host}\r\n"));
            assert!(status(&response) != "400" && !response.contains("allowed_hosts"), "{path} {host}: {response}");
        }
        let response = with("Host: localhost\r\n").to_lowercase();
        for header in ["x-content-type-options: nosniff", "cache-control: no-store", "content-security-policy: "] {
            assert!(response.contains(header), "{path}: {response}");
        }
    }
    assert_eq!(value(&get(address, "/metrics"), "funnelwatch_http_requests_refused_total"), 36);
    let other = answer(ask(address, "http://evil.example.org/metrics", "Host: localhost\r\n"));
    assert_eq!(status(&other), "400", "the address of the request is another host");
}

#[test]
fn requests_at_the_same_time_share_one_scrape() {
    let address = start_with(&HttpServer { shared_scrape: Span::MINUTE, ..settings() }, large_live_state());
    let asked: Vec<_> = (0..40).map(|_| ask(address, "/metrics", "Host: localhost\r\n")).collect();
    let bodies: Vec<_> = asked.into_iter().map(answer).collect();
    let text = |response: &str| response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    assert!(bodies.iter().all(|body| text(body) == text(&bodies[0])));
    assert_eq!(value(&bodies[0], "funnelwatch_scrapes_total{result=\"rendered\"}"), 1);
}

#[test]
fn slow_readers_keep_no_more_than_two_scrapes() {
    let address = start_with(&HttpServer { shared_scrape: Span::ZERO, ..settings() }, large_live_state());
    let rendered = |response: &str| value(response, "funnelwatch_scrapes_total{result=\"rendered\"}");
    let slow = ask(address, "/metrics", "Host: localhost\r\n");
    slow.peek(&mut [0]).expect("an answer");
    // The first one is being read, so the second one stays the latest.
    let latest = [get(address, "/metrics"), get(address, "/metrics"), get(address, "/metrics")];
    assert_eq!(latest.each_ref().map(|response| rendered(response)), [2; 3]);
    drop(slow);
    let started = Instant::now();
    while rendered(&get(address, "/metrics")) == 2 {
        assert!(started.elapsed() < GENEROUS, "no other scrape after the reader has gone");
    }
}

#[test]
fn a_reader_that_does_not_read_is_closed() {
    let address = start_with(&HttpServer { write_timeout: Span(200), ..settings() }, large_live_state());
    let slow = ask(address, "/metrics", "Host: localhost\r\n");
    let counted = || {
        // The text of a scrape is large here, too.
        let mut response = Vec::new();
        let _ = ask(address, "/metrics", "Host: localhost\r\n").read_to_end(&mut response);
        let text = String::from_utf8_lossy(&response);
        let series = "funnelwatch_http_connections_closed_total{reason=\"write_timeout\"} ";
        text.lines().any(|line| line.strip_prefix(series).is_some_and(|n| n != "0"))
    };
    let started = Instant::now();
    while !counted() {
        assert!(started.elapsed() < GENEROUS, "a connection that is not read stays open");
    }
    assert!(is_closed(slow));
}

/// A request of usual and odd parts, cut off somewhere or not.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "GET", "GET", "HEAD", "POST", "get", "G\u{e9}T", ""]);
    let path = select(vec![
        "/metrics",
        "/livez",
        "/readyz",
        "/api/v1/tenants",
        "/api/v1/tenants/%00/entities/lead/..%2f..",
        "/api/v1/alerts?tenant=%ff&limit=-1",
        "http://evil.org/metrics",
        "/nowhere",
        "*",
        "//",
        "",
    ]);
    let version = select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""]);
    let host =
        select(vec!["localhost", "localhost", "127.0.0.1:1", "[::1]", "evil.org", "localhost, evil.org", "\u{ff}", ""]);
    let name = select(vec![
        "Accept",
        "Origin",
        "Authorization",
        "X-Forwarded-For",
        "Content-Length",
        "Transfer-Encoding",
        "",
        "a b",
    ]);
    let value = prop_oneof![
        select(vec!["1", "-1", "99999999999999999999", "chunked", "http://evil.org", "Bearer x", "\t", "\0"])
            .prop_map(str::to_owned),
        (0..40_000usize).prop_map(|length| "x".repeat(length)),
    ];
    let headers = prop::collection::vec((name, value), 0..3);
    let cut = prop_oneof![3 => Just(1.0), 1 => 0.0..1.0f64];
    (method, path, version, host, headers, any::<[u8; 4]>(), cut).prop_map(
        |(method, path, version, host, headers, noise, cut)| {
            let mut request =
                format!("{method} {path} {version}\r\nHost: {host}\r\nConnection: close\r\n").into_bytes();
            headers.iter().for_each(|(name, value)| request.extend(format!("{name}: {value}\r\n").bytes()));
            request.extend(b"\r\n");
            if noise[0] > 220 {
                let at = noise[1] as usize % request.len();
                request[at] = noise[2];
            }
            request.truncate((request.len() as f64 * cut) as usize);
            request
        },
    )
}

#[test]
fn odd_requests_get_an_error_or_nothing_and_harm_no_other() {
    let address = start(&HttpServer { read_timeout: Span(50), ..settings() });
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..400 {
        let request = requests().new_tree(&mut runner).expect("a request").current();
        let mut stream = connect(address);
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(&request);
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response);
        let (request, response) = (String::from_utf8_lossy(&request), String::from_utf8_lossy(&response));
        assert!(response.is_empty() || response.starts_with("HTTP/1."), "{request}\n{response}");
        let status = status(&response);
        if status == "200" {
            let own = ["Host: localhost\r\n", "Host: 127.0.0.1:1\r\n", "Host: [::1]\r\n"];
            assert!(own.iter().any(|host| request.contains(host)), "{request}\n{response}");
            assert!(response.contains("x-content-type-options: nosniff"), "{response}");
        }
        *seen.entry(status.to_owned()).or_default() += 1;
    }
    for expected in ["", "200", "400", "403", "404", "405", "431"] {
        assert!(seen.contains_key(expected), "no {expected} in {seen:?}");
    }
    assert_eq!(status(&get(address, "/livez")), "200", "{seen:?}");
}

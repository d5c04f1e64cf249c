//! Fuzzes what clients send to the HTTP server: nothing panics or hangs, every response is one, and without access no
//! response contains what the API knows. The first byte of an input chooses the server and the address of the client.

#![no_main]

use funnelwatch::codec::Encoding;
use funnelwatch::config::{self, Api, Config};
use funnelwatch::dataflow::epoch::Batch;
use funnelwatch::dataflow::live::OpenAlertsView;
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::dataflow::workers;
use funnelwatch::domain::rule::message::Language;
use funnelwatch::domain::shard::processor::{ShardProgress, Timing};
use funnelwatch::domain::source::{Offset, Source};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::edge::http::{self, Access, EndpointContext, InMemory};
use funnelwatch::telemetry::exporter::Exporter;
use funnelwatch::telemetry::http_metrics::HttpMetrics;
use funnelwatch::telemetry::processor_metrics::ProcessorMetrics;
use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;
use std::sync::Arc;

const TOKEN: &str = "0123456789abcdef";
/// What only the API knows: a field of all its responses with data, and a lead.
const KNOWN: [&str; 2] = ["tenant_id", "c4nary"];
const EVENTS: [&str; 2] = [
    r#"{"event_id":"1","tenant_id":"acme","occurred_at":"2026-03-02T09:00:00Z","manager_upserted":
        {"manager_id":"vera","name":"Vera","department_id":"north"}}"#,
    r#"{"event_id":"2","tenant_id":"acme","occurred_at":"2026-03-02T09:01:00Z","lead_created":
        {"lead_id":"c4nary","manager_id":"vera","contacts":[{"phone":"+78125550177"}]}}"#,
];
/// 2026-03-02 at 12:00.
const END: i64 = 1_772_452_800_000;

/// What the endpoints read: a tenant with a lead that is late.
fn context() -> EndpointContext {
    let norms = config::parse_norms("norms", "norms: {first_response_late: {within: 15m}}").expect("norms").norms;
    let timing = Timing { max_future_skew: None, follows_clock: false, ..Timing::default() };
    let settings = DataflowSettings { shards: 1, ..DataflowSettings::new(Arc::new(norms), timing) };
    let live_state = Arc::clone(&settings.live_state);
    let mut batch = Batch::new(Source::Files, None, Encoding::Json);
    (0..).zip(EVENTS).for_each(|(offset, event)| batch.push(Offset(offset), None, event.as_bytes()));
    let (supply, mut collector, guards) = workers::start(1, settings).expect("threads");
    let other_shards = Some(ShardProgress { close: Some(Timestamp(END)), ..ShardProgress::default() });
    assert!(supply.send(EpochHeader { other_shards, ..EpochHeader::default() }, vec![vec![Arc::new(batch)]]));
    let output = collector.next_epoch().expect("workers");
    assert!(output.rejected.is_empty());
    let open_alerts = Arc::new(OpenAlertsView::new(Arc::clone(&live_state)));
    open_alerts.committed(&output);
    drop(supply);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    let (metrics, clock) = (Arc::new(ProcessorMetrics::default()), Arc::new(|| Timestamp(END)));
    let exporter = Exporter::new(Arc::clone(&live_state), metrics, clock, Config::default().prometheus);
    EndpointContext {
        exporter: Arc::new(exporter),
        liveness: Arc::default(),
        live_state,
        open_alerts,
        language: Language::En,
        publish: None,
        access: Arc::new(Access::new(&Api::default())),
        page: Default::default(),
        deliveries: Arc::default(),
        http: Arc::new(HttpMetrics::new(1)),
        members: None,
    }
}

/// The servers without and with a token.
struct Servers([InMemory; 2]);

impl Servers {
    fn new() -> Self {
        let open = context();
        let api = Api { token: Some(TOKEN.into()), ..Api::default() };
        let guarded = EndpointContext { publish: None,
        access: Arc::new(Access::new(&api)), ..open.clone() };
        let settings = Config::default().http_server;
        let servers = Self([open, guarded].map(|context| http::in_memory(&settings, context).expect("a server")));
        // The checks below would hold for a server that never answers.
        let alerts =
            servers.0[0].exchange(b"GET /api/v1/tenants/acme/alerts HTTP/1.1\r\nhost: localhost\r\n\r\n", LOCAL);
        assert!(KNOWN.iter().all(|known| contains(&alerts, known)), "{}", String::from_utf8_lossy(&alerts));
        servers
    }
}

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

thread_local! {
    static SERVERS: Servers = Servers::new();
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let (server, peer) = match choice {
        b't' => (1, LOCAL),
        b'r' => (0, SocketAddr::from(([203, 0, 113, 7], 1))),
        _ => (0, LOCAL),
    };
    let response = SERVERS.with(|servers| servers.0[server].exchange(bytes, peer));
    let text = || String::from_utf8_lossy(&response);
    assert!(response.is_empty() || response.starts_with(b"HTTP/1."), "{}", text());
    // A handler that panics is a 500; errors show parts of requests.
    assert!(!contains(&response, " 500 Internal") || contains(bytes, "500"), "{}", text());
    let has_access = match choice {
        b't' => contains(bytes, TOKEN),
        b'r' => false,
        _ => true,
    };
    if !has_access {
        for known in KNOWN {
            assert!(!contains(&response, known) || contains(bytes, known), "{}", text());
        }
    }
});

//! Tests `/api/v1`: access control, responses and errors, and that an entity report explains why an alert fired without
//! personal data of customers.

use funnelwatch::codec::Encoding;
use funnelwatch::config;
use funnelwatch::config::{Api, Config};
use funnelwatch::dataflow::epoch::Batch;
use funnelwatch::dataflow::live::OpenAlertsView;
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::dataflow::workers;
use funnelwatch::domain::alert::alert_id;
use funnelwatch::domain::rule::Rule;
use funnelwatch::domain::rule::message::Language;
use funnelwatch::domain::shard::processor::{ShardProgress, Timing};
use funnelwatch::domain::source::{Offset, Source};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::edge::deliveries::Deliveries;
use funnelwatch::edge::http::{Access, EndpointContext, Publish, serve};
use funnelwatch::telemetry::exporter::{Exporter, Selection};
use funnelwatch::telemetry::http_metrics::HttpMetrics;
use funnelwatch::telemetry::liveness::Liveness;
use funnelwatch::telemetry::processor_metrics::ProcessorMetrics;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

pub(super) const NORMS: &str = "
pipelines: {sales: {entity: deal, stages: [{id: NEW, max_time: 1h}, {id: WON_SOON}]}}
norms:
  first_response_late: {within: 15m, escalate_after: [10m, 3h]}
  too_few_attempts: {within: 24h, attempts: 3}
  stage_overdue: {}
  missed_call_not_returned: {within: 30m}
";
/// Monday, 2026-03-02 at 09:00.
const BEGIN: i64 = 1_772_442_000_000;
const PHONE: &str = "+7 812 555-01-77";
const MAIL: &str = "ivan.petrov@example.org";

/// An event of `acme north`, some minutes after the beginning.
pub(super) fn event(index: usize, minute: i64, payload: Value) -> String {
    let at = Timestamp(BEGIN + minute * 60_000).to_string();
    let mut event =
        json!({"event_id": index.to_string(), "tenant_id": "acme north", "occurred_at": at, "source": "test"});
    let fields = event.as_object_mut().expect("an object");
    payload
        .as_object()
        .expect("an object")
        .iter()
        .for_each(|(key, value)| drop(fields.insert(key.clone(), value.clone())));
    event.to_string()
}

/// Events of two leads and a deal until noon: one lead gets a response at once, the other none, and the deal does not
/// move. Another deal is merged into it.
pub(super) fn sample_events() -> Vec<String> {
    let lead = |id: &str, manager: &str| {
        let contacts = json!([{"phone": PHONE}, {"email": MAIL}]);
        json!({"lead_created": {"lead_id": id, "manager_id": manager, "source_id": "WEB", "contacts": contacts}})
    };
    let call = |id: &str, direction: &str, outcome: &str, talk: i64, lead: Option<&str>| {
        let mut call = json!({"call_id": id, "direction": direction, "phone": PHONE, "manager_id": "vera", "outcome": outcome,
            "talk_seconds": talk, "recording_url": "https://records.example.org/1"});
        if let Some(id) = lead {
            call["entity"] = json!({"kind": "LEAD", "id": id});
        }
        json!({"call_ended": call})
    };
    let payloads = [
        (0, json!({"manager_upserted": {"manager_id": "vera", "department_id": "north", "active": true}})),
        (1, lead("prompt", "vera")),
        (5, call("c-1", "OUTBOUND", "ANSWERED", 60, Some("prompt"))),
        (30, lead("late/1", "vera")),
        (
            40,
            json!({"deal_created": {"deal_id": "7", "lead_id": "prompt", "manager_id": "vera", "pipeline_id": "sales",
            "stage_id": "NEW"}}),
        ),
        (100, call("c-2", "INBOUND", "NO_ANSWER", 0, None)),
        (
            101,
            json!({"closed": {"entity": {"kind": "LEAD", "id": "prompt"}, "outcome": "DISQUALIFIED",
            "reason": "Иван Петров не берёт трубку"}}),
        ),
        (110, json!({"alert_taken": {"alert_id": late_lead(), "manager_id": "anna"}})),
        (170, json!({"deal_created": {"deal_id": "8", "manager_id": "vera"}})),
        (171, json!({"merged": {"entity": {"kind": "DEAL", "id": "8"}, "into": {"kind": "DEAL", "id": "7"}}})),
        (180, json!({"manager_upserted": {"manager_id": "vera", "department_id": "north", "active": true}})),
    ];
    payloads.into_iter().enumerate().map(|(index, (minute, payload))| event(index, minute, payload)).collect()
}

/// The alert about the lead that is late.
fn late_lead() -> String {
    alert_id(&"acme north".into(), Rule::FirstResponseLate, "lead:late/1", Timestamp(BEGIN + 30 * 60_000)).to_string()
}

/// Starts the endpoints after processing [`sample_events`].
fn endpoints(token: Option<&str>) -> SocketAddr {
    endpoints_after(NORMS, sample_events(), token)
}

/// Starts the endpoints after processing events until noon.
pub(super) fn endpoints_after(norms: &str, events: Vec<String>, token: Option<&str>) -> SocketAddr {
    endpoints_for(norms, events, &Api { token: token.map(Into::into), users: Vec::new() })
}

/// The same for users.
pub(super) fn endpoints_for(norms: &str, events: Vec<String>, api: &Api) -> SocketAddr {
    Setup { api: api.clone(), ..Setup::new(norms, events) }.start()
}

/// What the endpoints read after processing events until noon.
pub(super) fn context_after(norms: &str, events: Vec<String>, token: Option<&str>) -> EndpointContext {
    let api = Api { token: token.map(Into::into), users: Vec::new() };
    Setup { api, ..Setup::new(norms, events) }.context()
}

/// What the endpoints are started with.
pub(super) struct Setup<'a> {
    pub(super) norms: &'a str,
    pub(super) events: Vec<String>,
    pub(super) api: Api,
    /// The instant up to which everything is processed.
    pub(super) close: Timestamp,
    pub(super) publish: Option<Publish>,
    pub(super) deliveries: Arc<Deliveries>,
}

impl<'a> Setup<'a> {
    pub(super) fn new(norms: &'a str, events: Vec<String>) -> Self {
        let close = Timestamp(BEGIN + 180 * 60_000);
        Self { norms, events, api: Api::default(), close, publish: None, deliveries: Arc::default() }
    }

    /// Starts the endpoints after processing the events.
    pub(super) fn start(self) -> SocketAddr {
        let address = "127.0.0.1:0".parse().expect("an address");
        serve(address, &Config::default().http_server, self.context()).expect("a port")
    }

    /// What the endpoints read after processing the events.
    pub(super) fn context(self) -> EndpointContext {
        let Self { norms, events, api, close, publish, deliveries } = self;
        let norms = config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}")).norms;
        let timing = Timing { max_future_skew: None, follows_clock: false, ..Timing::default() };
        let new = DataflowSettings::new(Arc::new(norms), timing);
        let settings = DataflowSettings { shards: 4, rows_at_boundaries: true, ..new };
        let live_state = Arc::clone(&settings.live_state);
        let mut batch = Batch::new(Source::Files, None, Encoding::Json);
        (0..).zip(events).for_each(|(offset, line)| batch.push(Offset(offset), None, line.as_bytes()));
        let (supply, mut collector, guards) = workers::start(1, settings).expect("threads");
        let other_shards = Some(ShardProgress { close: Some(close), ..ShardProgress::default() });
        assert!(supply.send(EpochHeader { other_shards, ..EpochHeader::default() }, vec![vec![Arc::new(batch)]]));
        let output = collector.next_epoch().expect("workers");
        assert!(output.rejected.is_empty(), "{:?}", output.rejected.first().map(|rejected| &rejected.reject));
        let open_alerts = Arc::new(OpenAlertsView::new(Arc::clone(&live_state)));
        open_alerts.committed(&output);
        drop(supply);
        guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
        let selection = Selection {
            manager_windows: None,
            manager_metrics: None,
            max_series: 1000,
            max_bytes: 1 << 20,
            names: false,
        };
        let (metrics, clock) = (Arc::new(ProcessorMetrics::default()), Arc::new(move || close));
        let exporter = Arc::new(Exporter::new(Arc::clone(&live_state), metrics, clock, selection));
        let liveness = Arc::new(Liveness::default());
        liveness.set_ready(true);
        EndpointContext {
            exporter,
            liveness,
            live_state,
            open_alerts,
            language: Language::En,
            publish,
            access: Arc::new(Access::new(&api)),
            page: Default::default(),
            deliveries,
            http: Arc::new(HttpMetrics::new(256)),
            members: None,
        }
    }
}

/// The status and the body of a request; `headers` are additional header lines.
fn request(address: SocketAddr, request: &str, host: &str, headers: &str) -> (u16, String) {
    let (head, body) = exchange(address, request, host, headers, "");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body)
}

/// The head and the body of the response to a request with a body.
pub(super) fn exchange(address: SocketAddr, request: &str, host: &str, headers: &str, sent: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the endpoints are open");
    let length = if sent.is_empty() { String::new() } else { format!("content-length: {}\r\n", sent.len()) };
    write!(stream, "{request} HTTP/1.1\r\nhost: {host}\r\n{headers}{length}connection: close\r\n\r\n{sent}")
        .expect("a request");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = request(address, &format!("GET /api/v1{path}"), "localhost", "");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

#[test]
fn figures_and_alerts_are_filtered_by_the_request() {
    let address = endpoints(None);
    let get_ok = |path: &str| {
        let (status, body) = get(address, path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    };
    let tenants = get_ok("/tenants");
    assert_eq!(tenants["tenants"][0]["tenant_id"], "acme north");
    assert_eq!(tenants["tenants"][0]["at"], "2026-03-02T12:00:00.000Z");
    let subjects = |path: &str| -> Vec<String> {
        let body = get_ok(path);
        let rows = body["rows"].as_array().expect("rows");
        rows.iter()
            .map(|row| format!("{} {}", row["subject"].as_str().expect("text"), row["window"].as_str().expect("text")))
            .collect()
    };
    assert_eq!(subjects("/tenants/acme%20north?window=now"), ["tenant now"]);
    assert_eq!(subjects("/tenants/acme%20north").len(), 5);
    assert_eq!(subjects("/tenants/acme%20north/managers/vera?window=24h"), ["manager:vera 24h"]);
    assert_eq!(subjects("/tenants/acme%20north/managers?window=1h&department=north"), ["manager:vera 1h"]);
    assert_eq!(subjects("/tenants/acme%20north/departments/north?window=30d"), ["department:north 30d"]);
    let now = get_ok("/tenants/acme%20north?window=now");
    let open =
        now["rows"][0]["open_alerts"].as_object().expect("rules").values().filter_map(Value::as_i64).sum::<i64>();
    let alerts = get_ok("/tenants/acme%20north/alerts");
    let alerts = alerts["alerts"].as_array().expect("alerts");
    assert_eq!(alerts.len() as i64, open);
    let count =
        |filter: &str| get_ok(&format!("/tenants/acme%20north/alerts?{filter}"))["alerts"].as_array().map(Vec::len);
    assert_eq!(count("rule=first_response_late&manager=vera&severity=critical"), Some(1));
    assert_eq!(count("entity=deal%3A7"), Some(1));
    assert_eq!((count("manager=anna"), count("department=south")), (Some(0), Some(0)));
    let taken: Vec<_> = alerts.iter().filter(|alert| alert.get("taken_by").is_some()).collect();
    assert_eq!(taken.iter().map(|alert| alert["alert_id"].clone()).collect::<Vec<_>>(), [late_lead()]);
    assert_eq!((&taken[0]["taken_by"], &taken[0]["taken_at"]), (&json!("anna"), &json!("2026-03-02T10:50:00.000Z")));
}

#[test]
fn invalid_requests_get_an_error_with_a_reason() {
    let address = endpoints(None);
    for (path, wanted) in [
        ("/tenants/other", 404),
        ("/tenants/other/alerts", 404),
        ("/tenants/acme%20north/managers/nobody", 404),
        ("/tenants/acme%20north/leads/unknown", 404),
        ("/tenants/acme%20north/leads/7", 404),
        ("/nothing", 404),
        ("/tenants/acme%20north/managers?window=2h", 400),
        ("/tenants/acme%20north/managers?windw=1h", 400),
        ("/tenants/acme%20north/alerts?rule=late", 400),
        ("/tenants/acme%20north/alerts?severity=high", 400),
        ("/tenants/acme%20north/leads/late%2F1?window=1h", 400),
        ("/tenants?tenant=acme", 400),
        ("/tenants/%FF/alerts", 400),
        ("/tenants/acme%20north/leads/%C3", 400),
        ("", 404),
    ] {
        let (status, body) = get(address, path);
        assert_eq!(status, wanted, "{path}: {body}");
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{path}: {body}");
    }
    for path in ["/api/v1/tenants", "/api/v1/tenants/acme%20north/leads/7", "/metrics"] {
        for method in ["POST", "DELETE"] {
            let (status, body) = request(address, &format!("{method} {path}"), "localhost", "");
            assert_eq!(status, 405, "{method} {path}");
            let body: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(body["error"], "method not allowed; use GET");
        }
    }
}

#[test]
fn requests_need_the_token_or_without_a_token_a_local_host() {
    let open = endpoints(None);
    let status = |host: &str| request(open, "GET /api/v1/tenants", host, "").0;
    assert_eq!([status("localhost:9464"), status("127.0.0.1"), status("[::1]:80")], [200; 3]);
    assert_eq!([status("rebound.example.org"), status("10.0.0.1")], [403; 2], "DNS rebinding is rejected");
    let forwarded = |header: &str| request(open, "GET /api/v1/tenants", "localhost", header).0;
    for header in ["X-Forwarded-For: 10.0.0.1\r\n", "Forwarded: for=10.0.0.1\r\n", "Via: 1.1 proxy\r\n"] {
        assert_eq!(forwarded(header), 403, "the client of a proxy is not this host");
    }
    // Scrapes and probes need no token.
    let token = "correct-horse-battery";
    let closed = endpoints(Some(token));
    let with_header = |header: &str| request(closed, "GET /api/v1/tenants", "10.0.0.1", header).0;
    assert_eq!(with_header(&format!("Authorization: Bearer {token}\r\n")), 200);
    assert_eq!(with_header(&format!("authorization: bearer {token}\r\n")), 200);
    for header in
        ["", "Authorization: Bearer wrong-horse-battery\r\n", "Authorization: Basic correct-horse-battery\r\n"]
    {
        assert_eq!(with_header(header), 401, "{header}");
    }
    assert_eq!(
        request(closed, "GET /api/v1/nothing", "localhost", "").0,
        401,
        "paths are not revealed without the token"
    );
    assert_eq!(request(closed, "GET /metrics", "10.0.0.1", "").0, 200);
    assert_eq!(request(closed, "GET /livez", "10.0.0.1", "").0, 200);
}

#[test]
fn an_entity_report_explains_open_and_absent_alerts() {
    let address = endpoints(None);
    let entity_report = |path: &str| {
        let (status, body) = get(address, &format!("/tenants/acme%20north/{path}"));
        assert_eq!(status, 200, "{path}: {body}");
        body
    };
    let clock = |entity_report: &Value, rule: &str| {
        let clocks = entity_report["clocks"].as_array().expect("clocks");
        clocks
            .iter()
            .find(|clock| clock["rule"] == rule)
            .unwrap_or_else(|| panic!("no {rule} in {entity_report}"))
            .clone()
    };
    let late = entity_report("leads/late%2F1");
    assert_eq!(
        (&late["open"], &late["manager_id"], &late["department_id"]),
        (&json!(true), &json!("vera"), &json!("north"))
    );
    assert_eq!(late["touches"], json!({"n": 0}));
    let overdue = clock(&late, "first_response_late");
    assert_eq!((&overdue["state"], &overdue["anchor_at"]), (&json!("overdue"), &json!("2026-03-02T09:30:00.000Z")));
    assert_eq!((&overdue["due_at"], &overdue["within_seconds"]), (&json!("2026-03-02T09:45:00.000Z"), &json!(900)));
    assert_eq!(overdue["counted_seconds"], json!(9000));
    let alert = &overdue["alert"];
    assert_eq!((&alert["level"], &alert["severity"]), (&json!(1), &json!("critical")));
    assert_eq!(alert["next_escalation_at"], "2026-03-02T12:45:00.000Z");
    let (_, open) = get(address, "/tenants/acme%20north/alerts?entity=lead%3Alate%2F1&rule=first_response_late");
    assert_eq!(open["alerts"][0]["alert_id"], alert["alert_id"], "the same alert");
    let attempts = clock(&late, "too_few_attempts");
    assert_eq!((&attempts["state"], &attempts["alert"]), (&json!("running"), &Value::Null));
    // The missed call is from a contact of this lead, too.
    assert_eq!(clock(&late, "missed_call_not_returned")["state"], "overdue");
    let events: Vec<_> =
        late["history"].as_array().expect("events").iter().map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["lead_created", "call_ended"]);

    let prompt = entity_report("leads/prompt");
    let met = clock(&prompt, "first_response_late");
    assert_eq!((&met["state"], &met["counted_seconds"], &met["alert"]), (&json!("stopped"), &json!(180), &Value::Null));
    assert_eq!(met["stopped_at"], "2026-03-02T09:04:00.000Z");
    assert_eq!((&prompt["open"], &prompt["outcome"]), (&json!(false), &json!("DISQUALIFIED")), "the last outcome");

    let deal = entity_report("deals/7");
    let stay = clock(&deal, "stage_overdue");
    assert_eq!((&stay["state"], &stay["subject"]), (&json!("overdue"), &json!("deal:7/NEW")));
    assert_eq!((&stay["within_seconds"], &stay["counted_seconds"]), (&json!(3600), &json!(8400)));
    assert_eq!((&deal["stage_id"], &deal["lead_id"]), (&json!("NEW"), &json!("prompt")));

    assert_eq!((&deal["merged"], &deal["merged_into"]), (&json!(["deal:8"]), &Value::Null));
    let history = deal["history"].as_array().expect("events");
    assert_eq!(
        history.last().map(|event| (&event["event"], &event["into"])),
        Some((&json!("merged"), &json!("deal:7")))
    );
    let merged = entity_report("deals/8");
    assert_eq!((&merged["open"], &merged["merged_into"]), (&json!(false), &json!("deal:7")));
    assert_eq!((&merged["deleted_at"], merged.get("merged")), (&json!("2026-03-02T11:51:00.000Z"), None));

    for text in [late, prompt, deal].map(|entity_report| entity_report.to_string()) {
        for personal in ["812", "555", "petrov", "example.org", "Иван"] {
            assert!(!text.contains(personal), "{personal} in {text}");
        }
    }
}

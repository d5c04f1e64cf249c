//! Owns the proof of `/api/v1`: who is answered, with what, and that a dossier says why an alert fired, and nothing of whom it
//! is about.

use funnelwatch::codec::Encoding;
use funnelwatch::config;
use funnelwatch::dataflow::epoch::{Batch, EpochHeader};
use funnelwatch::dataflow::open_alerts::OpenAlertsView;
use funnelwatch::dataflow::workers::{DataflowSettings, Workers};
use funnelwatch::domain::rule::Language;
use funnelwatch::domain::shard_processor::{ShardProgress, Source, Timing};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::edge::http::{EndpointContext, serve};
use funnelwatch::telemetry::exporter::{Exporter, Selection};
use funnelwatch::telemetry::liveness::Liveness;
use funnelwatch::telemetry::processor_metrics::ProcessorMetrics;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

const NORMS: &str = "
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

fn event(number: usize, minute: i64, payload: Value) -> String {
    let at = Timestamp(BEGIN + minute * 60_000).to_string();
    let mut event =
        json!({"event_id": number.to_string(), "tenant_id": "acme north", "occurred_at": at, "source": "test"});
    let fields = event.as_object_mut().expect("an object");
    payload
        .as_object()
        .expect("an object")
        .iter()
        .for_each(|(key, value)| drop(fields.insert(key.clone(), value.clone())));
    event.to_string()
}

/// Two leads and a deal up to noon: one lead was answered at once, nobody turned to the other, the deal lies.
fn story() -> Vec<String> {
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
        (180, json!({"manager_upserted": {"manager_id": "vera", "department_id": "north", "active": true}})),
    ];
    payloads.into_iter().enumerate().map(|(number, (minute, payload))| event(number, minute, payload)).collect()
}

/// The endpoints over the story.
fn endpoints(token: Option<&str>) -> SocketAddr {
    let norms = config::parse_norms("norms", NORMS).unwrap_or_else(|problems| panic!("{problems}")).norms;
    let timing = Timing { max_future_skew: None, follows_clock: false, ..Timing::default() };
    let settings = DataflowSettings { shards: 4, ..DataflowSettings::new(Arc::new(norms), timing) };
    let board = Arc::clone(&settings.board);
    let mut batch = Batch::new(Source::Files, None, Encoding::Json);
    (0..).zip(story()).for_each(|(offset, line)| batch.push(offset, None, line.as_bytes()));
    let (supply, mut gather, guards) = Workers::start(1, settings).expect("threads").split();
    let other_shards = Some(ShardProgress { close: Some(Timestamp(BEGIN + 180 * 60_000)), ..ShardProgress::default() });
    assert!(supply.send(EpochHeader { other_shards, ..EpochHeader::default() }, vec![vec![Arc::new(batch)]]));
    let made = gather.gather().expect("workers");
    assert!(made.refusals.is_empty(), "{:?}", made.refusals.first().map(|refused| &refused.reject));
    let view = Arc::new(OpenAlertsView::new(Arc::clone(&board)));
    view.committed(&made);
    drop(supply);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    let selection = Selection { manager_windows: None, manager_metrics: None, max_series: 1000 };
    let (health, clock) = (Arc::new(ProcessorMetrics::default()), Arc::new(|| Timestamp(0)));
    let exporter = Arc::new(Exporter::new(Arc::clone(&board), health, clock, selection));
    let shown = EndpointContext {
        exporter,
        liveness: Arc::new(Liveness::default()),
        board,
        view,
        language: Language::En,
        token: token.map(Arc::from),
    };
    serve("127.0.0.1:0".parse().expect("an address"), shown).expect("a port")
}

/// The status and the body of a request; `more` are further header lines.
fn ask(address: SocketAddr, request: &str, host: &str, more: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the endpoints are open");
    write!(stream, "{request} HTTP/1.1\r\nhost: {host}\r\n{more}connection: close\r\n\r\n").expect("a request");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = ask(address, &format!("GET /api/v1{path}"), "localhost", "");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

#[test]
fn figures_and_alerts_are_those_that_were_asked_for() {
    let address = endpoints(None);
    let good = |path: &str| {
        let (status, body) = get(address, path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    };
    let tenants = good("/tenants");
    assert_eq!(tenants["tenants"][0]["tenant_id"], "acme north");
    assert_eq!(tenants["tenants"][0]["at"], "2026-03-02T12:00:00.000Z");
    let subjects = |path: &str| -> Vec<String> {
        let body = good(path);
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
    let now = good("/tenants/acme%20north?window=now");
    let open =
        now["rows"][0]["open_alerts"].as_object().expect("rules").values().filter_map(Value::as_i64).sum::<i64>();
    let alerts = good("/tenants/acme%20north/alerts");
    let alerts = alerts["alerts"].as_array().expect("alerts");
    assert_eq!(alerts.len() as i64, open);
    let count =
        |filter: &str| good(&format!("/tenants/acme%20north/alerts?{filter}"))["alerts"].as_array().map(Vec::len);
    assert_eq!(count("rule=first_response_late&manager=vera&severity=critical"), Some(1));
    assert_eq!(count("entity=deal%3A7"), Some(1));
    assert_eq!((count("manager=anna"), count("department=south")), (Some(0), Some(0)));
}

#[test]
fn what_is_wrong_with_a_question_is_said() {
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
    ] {
        let (status, body) = get(address, path);
        assert_eq!(status, wanted, "{path}: {body}");
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{path}: {body}");
    }
    assert_eq!(ask(address, "POST /api/v1/tenants", "localhost", "").0, 405);
    assert_eq!(ask(address, "DELETE /api/v1/tenants", "localhost", "").0, 405);
}

#[test]
fn without_a_token_only_this_machine_is_answered_and_with_one_whoever_shows_it() {
    let open = endpoints(None);
    let of = |host: &str| ask(open, "GET /api/v1/tenants", host, "").0;
    assert_eq!([of("localhost:9464"), of("127.0.0.1"), of("[::1]:80")], [200; 3]);
    assert_eq!([of("rebound.example.org"), of("10.0.0.1")], [403; 2], "a page in a browser here is no friend");
    // Whoever scrapes or probes needs no token.
    let token = "correct-horse-battery";
    let closed = endpoints(Some(token));
    let showing = |header: &str| ask(closed, "GET /api/v1/tenants", "anything", header).0;
    assert_eq!(showing(&format!("Authorization: Bearer {token}\r\n")), 200);
    assert_eq!(showing(&format!("authorization: bearer {token}\r\n")), 200);
    for header in
        ["", "Authorization: Bearer wrong-horse-battery\r\n", "Authorization: Basic correct-horse-battery\r\n"]
    {
        assert_eq!(showing(header), 401, "{header}");
    }
    assert_eq!(ask(closed, "GET /api/v1/nothing", "localhost", "").0, 401, "nobody learns what there is");
    assert_eq!(ask(closed, "GET /metrics", "anything", "").0, 200);
    assert_eq!(ask(closed, "GET /livez", "anything", "").0, 200);
}

#[test]
fn a_dossier_says_why_it_fired_and_why_not() {
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
    assert_eq!(open["alerts"][0]["alert_id"], alert["alert_id"], "the very alert");
    let attempts = clock(&late, "too_few_attempts");
    assert_eq!((&attempts["state"], &attempts["alert"]), (&json!("running"), &Value::Null));
    // The missed call came from a contact of this lead, too.
    assert_eq!(clock(&late, "missed_call_not_returned")["state"], "overdue");
    let events: Vec<_> =
        late["history"].as_array().expect("events").iter().map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["lead_created", "call_ended"]);

    let prompt = entity_report("leads/prompt");
    let met = clock(&prompt, "first_response_late");
    assert_eq!((&met["state"], &met["counted_seconds"], &met["alert"]), (&json!("stopped"), &json!(240), &Value::Null));
    assert_eq!(met["stopped_at"], "2026-03-02T09:05:00.000Z");
    assert_eq!((&prompt["open"], &prompt["outcome"]), (&json!(false), &json!("DISQUALIFIED")), "the last closing");

    let deal = entity_report("deals/7");
    let stay = clock(&deal, "stage_overdue");
    assert_eq!((&stay["state"], &stay["subject"]), (&json!("overdue"), &json!("deal:7/NEW")));
    assert_eq!((&stay["within_seconds"], &stay["counted_seconds"]), (&json!(3600), &json!(8400)));
    assert_eq!((&deal["stage_id"], &deal["lead_id"]), (&json!("NEW"), &json!("prompt")));

    for text in [late, prompt, deal].map(|entity_report| entity_report.to_string()) {
        for secret in ["812", "555", "petrov", "example.org", "Иван"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

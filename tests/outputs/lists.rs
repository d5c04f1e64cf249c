//! Tests the lists of `/api/v1`: that a figure has as many members as it counts, clocks, plans, targets, reviews and cases, CSV and
//! the stream; and what may be written by whom.

use super::api::{Setup, event, exchange};
use funnelwatch::codec::json;
use funnelwatch::config::{Api, ApiUser, Role};
use funnelwatch::domain::figures::behind::BEHIND;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::http::{Publish, openapi};
use funnelwatch::sim::{self, Plan, Simulation};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let (head, body) = exchange(address, &format!("GET /api/v1{path}"), "localhost", "", "");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

fn get_ok(address: SocketAddr, path: &str) -> Value {
    let (status, body) = get(address, path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// The floor of the demo after some hours.
fn floor() -> SocketAddr {
    let plan = Plan { keeps_expected: false, ..Plan::demo(7) };
    let close = plan.start + Span(100 * Span::MINUTE.0);
    let mut events = Vec::new();
    for event in Simulation::new(plan).take_while(|event| event.at <= close) {
        let mut line = Vec::new();
        json::encode_event(&event, &mut line);
        events.push(String::from_utf8(line).expect("UTF-8"));
    }
    Setup { close, ..Setup::new(sim::norms_yaml(), events) }.start()
}

/// The figure of a row, as the table of figures names it.
fn figure(row: &Value, name: &str, labels: &[(&str, &str)]) -> (i64, Option<i64>) {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let sum = |value: &Value| -> i64 {
        let of = |value: &Value| value.as_object().map_or(number(value), |map| map.values().map(number).sum());
        value.as_object().map_or(number(value), |map| map.values().map(of).sum())
    };
    let share = |value: &Value| (number(&value["n"]), Some(number(&value["k"])));
    let label = |wanted: &str| labels.iter().find(|(label, _)| *label == wanted).map(|(_, value)| *value);
    match name {
        "lead_conversion" | "win_rate" => share(&row[name][label("basis").unwrap_or("closed")]),
        "stage_conversion" => {
            let stages = row[name].as_object().into_iter().flat_map(|map| map.values());
            let stages = stages.flat_map(|map| map.as_object().expect("stages").values());
            stages
                .map(share)
                .fold((0, Some(0)), |(n, k), share| (n + share.0, Some(k.unwrap_or(0) + share.1.unwrap_or(0))))
        }
        "first_responses" => (number(&row["first_response"]["wall"]["n"]), None),
        "first_response_within_norm" => share(&row["first_response"]["within_norm"]),
        "human_responses" => (number(&row["human_response"]["wall"]["n"]), None),
        "call_backs" => (number(&row["call_back"]["n"]), None),
        "replies" => (number(&row["reply"]["n"]), None),
        "messages" => (sum(&row["messages"]), None),
        "terms_offered" => (number(&row["terms"]["offered"]), None),
        "terms_special" => (number(&row["terms"]["special"]), None),
        "special_terms_ratio" => (number(&row["terms"]["offered"]), Some(number(&row["terms"]["special"]))),
        "reviews" => (number(&row["reviews"]["n"]), None),
        "review_successes" => (number(&row["reviews"]["successes"]), None),
        "review_failures" => (number(&row["reviews"]["failures"]), None),
        "plans_made" => (number(&row["plans"]["made"]), None),
        "plans_done" => (number(&row["plans"]["done"]), None),
        "plans_done_in_time" => (number(&row["plans"]["done_in_time"]), None),
        "plans_moved" => (number(&row["plans"]["moved"]), None),
        "open_entities" => (sum(&row["open"]), None),
        "overdue_entities" => (sum(&row["overdue"]), None),
        name => (sum(&row[name]), None),
    }
}

#[test]
fn a_figure_has_as_many_members_as_it_counts() {
    let address = floor();
    let tenant = get_ok(address, "/tenants")["tenants"][0]["tenant_id"].as_str().expect("a tenant").to_owned();
    let managers = get_ok(address, &format!("/tenants/{tenant}/managers?window=now"));
    let ids: Vec<String> = managers["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["subject"].as_str().expect("a subject").trim_start_matches("manager:").to_owned())
        .collect();
    let mut counted = 0;
    for (subject, window) in [(None, "24h"), (None, "1h"), (Some(&ids[0]), "24h")] {
        for of in BEHIND {
            let bases: &[&[(&str, &str)]] =
                if of.labels == ["basis"] { &[&[], &[("basis", "cohort")]] } else { &[&[]] };
            for labels in bases {
                let window = if of.now { "now" } else { window };
                let rows = match subject {
                    None => format!("/tenants/{tenant}?window={window}"),
                    Some(id) => format!("/tenants/{tenant}/managers/{id}?window={window}"),
                };
                let (n, k) = figure(&get_ok(address, &rows)["rows"][0], of.name, labels);
                let mut path = format!("/tenants/{tenant}/figures/{}/members?limit=1000", of.name);
                path += &subject.map(|id| format!("&manager={id}")).unwrap_or_default();
                path += &if of.now { String::new() } else { format!("&window={window}") };
                labels.iter().for_each(|(label, value)| path += &format!("&{label}={value}"));
                let members = get_ok(address, &path);
                let elsewhere = members["elsewhere"].as_i64().unwrap_or_default();
                if !["violations", "open_alerts", "due_soon"].contains(&of.name) {
                    assert_eq!(elsewhere, 0, "{path}");
                }
                let found = (members["n"].as_i64().expect("a number"), members["k"].as_i64());
                assert_eq!((found.0 + elsewhere, found.1), (n, k), "{path}");
                let listed = members["members"].as_array().expect("members");
                assert_eq!(listed.len() as i64, found.0.min(1000), "{path}");
                counted += i64::from(n > 0);
                for member in listed {
                    let is_named = ["entity", "contact", "interaction_id"].iter().any(|key| member.get(*key).is_some());
                    assert!(is_named, "{path}: {member}");
                    if let Some(id) = subject {
                        assert_eq!(member["manager_id"], json!(id), "{path}");
                    }
                }
            }
        }
    }
    assert!(counted > 55, "{counted} figures are not zero");
    // Pages together are the whole list.
    let all = get_ok(address, &format!("/tenants/{tenant}/figures/touches/members?window=24h&limit=1000"));
    let (mut cursor, mut pages) = (String::new(), Vec::new());
    loop {
        let page = get_ok(address, &format!("/tenants/{tenant}/figures/touches/members?window=24h&limit=137{cursor}"));
        pages.extend(page["members"].as_array().expect("members").iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let first: Vec<Value> = pages.iter().take(1000).cloned().collect();
    assert_eq!(json!(first), all["members"]);
    assert_eq!(json!(pages.len()), all["n"]);
}

const NORMS: &str = "
calendars: {office: {timezone: Europe/Moscow, week: {mon: ['09:00-18:00'], tue: ['09:00-18:00']}}}
calendar: office
pipelines: {sales: {entity: deal, stages: [{id: NEW, max_time: 100h}]}}
review_sampling: {per_day: 2, min_talk_seconds: 10}
norms:
  first_response_late: {within: 30m, clock: business, warn_before: 20m}
  missed_call_not_returned: {within: 30m}
targets:
  - {id: won, figure: deals_won, per: month, at_least: 10, judge: false}
";

/// Vera answered in time and talks to a customer; a lead waits since 09:50 UTC, a plan is overdue. The next day a review came.
fn events() -> Vec<String> {
    let call = |id: &str, minute: i64| {
        (
            minute,
            json!({"call_ended": {"call_id": id, "direction": "OUTBOUND", "phone": "+79160000003", "manager_id": "vera",
            "outcome": "ANSWERED", "talk_seconds": 60, "recording_url": format!("https://records.example.org/{id}")}}),
        )
    };
    let payloads = [
        (0, json!({"manager_upserted": {"manager_id": "vera", "department_id": "north", "name": "Vera"}})),
        (0, json!({"manager_upserted": {"manager_id": "zoe", "department_id": "south", "name": "Zoe"}})),
        (1, json!({"lead_created": {"lead_id": "3", "manager_id": "vera", "contacts": [{"phone": "+79160000003"}]}})),
        call("c1", 5),
        call("c2", 6),
        (
            10,
            json!({"deal_created": {"deal_id": "7", "manager_id": "vera", "pipeline_id": "sales", "stage_id": "NEW"}}),
        ),
        (
            11,
            json!({"activity_planned": {"entity": {"kind": "DEAL", "id": "7"}, "activity_id": "a1", "kind": "MEETING",
            "deadline": "2026-03-02T10:00:00Z"}}),
        ),
        (12, json!({"activity_planned": {"entity": {"kind": "DEAL", "id": "7"}, "activity_id": "a2", "kind": "TASK"}})),
        (
            50,
            json!({"lead_created": {"lead_id": "1", "manager_id": "zoe", "contacts": [{"phone": "+79160000001"}, {"email": "a@b.example"}]}}),
        ),
        (
            55,
            json!({"call_ended": {"call_id": "m1", "direction": "INBOUND", "phone": "+79160000009", "manager_id": "vera",
            "outcome": "NO_ANSWER", "talk_seconds": 0}}),
        ),
        (
            60,
            json!({"message_sent": {"message_id": "s1", "channel": "EMAIL", "contact": {"email": "c@d.example"}, "manager_id": "zoe",
            "automatic": false}}),
        ),
        (
            1400,
            json!({"interaction_reviewed": {"interaction_id": "c1", "manager_id": "vera", "reviewer_id": "head", "score": 90,
            "verdict": "SUCCESS", "checklist": []}}),
        ),
        (
            1401,
            json!({"lead_created": {"lead_id": "9", "manager_id": "vera", "contacts": [{"phone": "+79160000010"}]}}),
        ),
    ];
    payloads.into_iter().enumerate().map(|(index, (minute, payload))| event(index, minute, payload)).collect()
}

pub(super) fn users() -> Api {
    let user = |name: &str, departments: Option<&str>, roles: &[Role]| ApiUser {
        name: name.into(),
        token: format!("token-of-{name}-0123"),
        tenants: None,
        departments: departments.map(|id| [id.into()].into()),
        roles: roles.iter().copied().collect(),
    };
    let users = vec![
        user("reader", None, &[Role::Viewer]),
        user("judge", Some("north"), &[Role::Reviewer]),
        user("desk", Some("south"), &[Role::Contacts]),
    ];
    Api { token: Some("token-of-the-house-0".into()), users }
}

pub(super) type Written = Arc<Mutex<Vec<(String, Value)>>>;

/// The endpoints on the next day, and what they write.
pub(super) fn start(api: Api) -> (SocketAddr, Written) {
    let written = Written::default();
    let into = Arc::clone(&written);
    let publish: Publish = Arc::new(move |tenant, event| {
        let event = serde_json::from_slice(&event).expect("JSON");
        into.lock().expect("no panic").push((tenant.to_string(), event));
        Box::pin(std::future::ready(true))
    });
    let close = Timestamp::parse("2026-03-03T08:35:00Z").expect("a time");
    (Setup { api, close, publish: Some(publish), ..Setup::new(NORMS, events()) }.start(), written)
}

const ACME: &str = "/tenants/acme%20north";

#[test]
fn clocks_plans_targets_and_reviews_are_listed() {
    let (address, _) = start(Api::default());
    let clocks = get_ok(address, &format!("{ACME}/clocks"));
    let states: Vec<_> = clocks["clocks"]
        .as_array()
        .expect("clocks")
        .iter()
        .map(|clock| (clock["subject"].as_str(), clock["state"].as_str()))
        .collect();
    assert_eq!(states.len(), 4, "{clocks}");
    assert_eq!(states[0], (Some("lead:9"), Some("due_soon")));
    assert!(states[1..].iter().all(|(_, state)| *state == Some("overdue")), "{clocks}");
    assert_eq!(clocks["n"], 4);
    let count = |filter: &str| get_ok(address, &format!("{ACME}/clocks?{filter}"))["n"].as_i64();
    assert_eq!(count("state=due_soon"), Some(1));
    assert_eq!(count("state=running"), Some(0));
    assert_eq!((count("due_within=30m"), count("due_within=1m")), (Some(4), Some(3)));
    assert_eq!(
        (count("manager=zoe"), count("department=north"), count("rule=missed_call_not_returned")),
        (Some(1), Some(3), Some(1))
    );
    assert_eq!(get_ok(address, &format!("{ACME}/clocks?limit=1"))["clocks"].as_array().map(Vec::len), Some(1));

    let plans = get_ok(address, &format!("{ACME}/plans"));
    let of =
        |key: &str| plans["plans"].as_array().expect("plans").iter().map(|plan| plan[key].clone()).collect::<Vec<_>>();
    assert_eq!((of("activity_id"), of("overdue")), (vec![json!("a1"), json!("a2")], vec![json!(true), json!(false)]));
    let targets = get_ok(address, &format!("{ACME}/targets?manager=vera"));
    assert_eq!(targets["targets"][0]["subject"], "manager:vera");
    assert_eq!((&targets["targets"][0]["fact"], &targets["targets"][0]["at_least"]), (&json!(0), &json!(10.0)));

    let reviews = get_ok(address, &format!("{ACME}/reviews?manager=vera"));
    let list = reviews["reviews"].as_array().expect("reviews");
    assert_eq!(list.len(), 2, "{reviews}");
    let c1 = list.iter().find(|review| review["interaction_id"] == "c1").expect("c1");
    assert_eq!((&c1["state"], &c1["score"], &c1["verdict"]), (&json!("answered"), &json!(90.0), &json!("SUCCESS")));
    assert_eq!(c1["recording_url"], "https://records.example.org/c1");
    let count = |filter: &str| get_ok(address, &format!("{ACME}/reviews?{filter}"))["n"].as_i64();
    assert_eq!((count("state=open"), count("state=answered"), count("department=south")), (Some(2), Some(1), Some(1)));
    assert_eq!((count("day=2026-03-02"), count("day=2026-03-03")), (Some(3), Some(0)));
    let cases = get_ok(address, &format!("{ACME}/cases"));
    assert_eq!(
        (&cases["n"], &cases["cases"][0]["recording_url"]),
        (&json!(1), &json!("https://records.example.org/c1"))
    );

    let history = get_ok(address, &format!("{ACME}/figures/touches/history?manager=vera"));
    assert_eq!((&history["window"], &history["subject"]), (&json!("24h"), &json!("manager:vera")));
    assert!(history["points"].is_array());
    for (path, wanted) in [
        ("/figures/touches/history?manager=nobody", 404),
        ("/figures/talk/history", 404),
        ("/figures/talk_seconds/members", 404),
        ("/figures/touches/members?window=2h", 400),
        ("/figures/open_plans/members?window=24h", 400),
        ("/figures/touches/members?rule=neglected", 400),
        ("/figures/touches/members?cursor=x", 400),
        ("/clocks?due_within=soon", 400),
        ("/clocks?state=late", 400),
        ("/clocks?limit=0", 400),
        ("/clocks?manager=vera&manager=zoe", 400),
        ("/clocks?limit=1001", 400),
        ("/alerts/x/contacts", 403),
    ] {
        let (status, body) = get(address, &format!("{ACME}{path}"));
        assert_eq!(status, wanted, "{path}: {body}");
    }
}

pub(super) fn bearer(name: &str) -> String {
    format!("authorization: Bearer token-of-{name}-0123\r\n")
}

pub(super) fn send(address: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, String) {
    let (head, body) = exchange(address, request, "localhost", headers, body);
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body)
}

#[test]
fn reviews_and_taken_alerts_are_written_by_those_who_may() {
    let (address, written) = start(users());
    let (_, alerts) = send(address, &format!("GET /api/v1{ACME}/alerts"), &bearer("judge"), "");
    let alerts: Value = serde_json::from_str(&alerts).expect("JSON");
    let id = alerts["alerts"][0]["alert_id"].as_str().expect("an alert").to_owned();
    let (_, others) = send(address, &format!("GET /api/v1{ACME}/alerts?department=south"), &bearer("desk"), "");
    let others: Value = serde_json::from_str(&others).expect("JSON");
    let of_south = others["alerts"][0]["alert_id"].as_str().expect("an alert").to_owned();
    let take = |id: &str| format!("POST /api/v1{ACME}/alerts/{id}/taken");
    let review = |id: &str| format!("POST /api/v1{ACME}/reviews/{id}");
    let good = r#"{"score":70,"verdict":"NEUTRAL","checklist":[{"item":"Greeting","passed":true}],"comment":" well "}"#;
    for (request, headers, body, wanted) in [
        (take(&id), bearer("reader"), "", 403),
        (take(&id), String::new(), "", 401),
        (take(&of_south), bearer("judge"), "", 404),
        (take("x"), bearer("judge"), "", 400),
        (take(&id), bearer("judge"), "[]", 400),
        (take(&id), bearer("judge"), r#"{"manager":"x"}"#, 400),
        (take(&id), bearer("judge"), r#"{"manager_id":7}"#, 400),
        (review("c2"), bearer("reader"), good, 403),
        (review("s1"), bearer("judge"), good, 404),
        (review("none"), bearer("judge"), good, 404),
        (review("c2"), bearer("judge"), "", 400),
        (review("c2"), bearer("judge"), r#"{"score":101,"verdict":"SUCCESS"}"#, 400),
        (review("c2"), bearer("judge"), r#"{"score":50,"verdict":"GOOD"}"#, 400),
        (review("c2"), bearer("judge"), r#"{"score":50,"verdict":"SUCCESS","checklist":[1]}"#, 400),
    ] {
        let (status, answer) = send(address, &request, &headers, body);
        assert_eq!(status, wanted, "{request} {body}: {answer}");
    }
    assert!(written.lock().expect("no panic").is_empty());
    assert_eq!(send(address, &take(&id), &bearer("judge"), "").0, 202);
    assert_eq!(send(address, &take(&id), &bearer("judge"), r#"{"manager_id":"vera"}"#).0, 202);
    assert_eq!(send(address, &review("c2"), &bearer("judge"), good).0, 202);
    let written = written.lock().expect("no panic");
    let payloads: Vec<_> = written.iter().map(|(tenant, event)| (tenant.as_str(), event)).collect();
    assert!(
        payloads
            .iter()
            .all(|(tenant, event)| *tenant == "acme north" && event["occurred_at"] == "2026-03-03T08:35:00.000Z")
    );
    assert_eq!(payloads[0].1["alert_taken"], json!({"alert_id": id, "manager_id": "judge"}));
    assert_eq!(payloads[1].1["alert_taken"]["manager_id"], "vera");
    let expected = json!({"interaction_id": "c2", "manager_id": "vera", "reviewer_id": "judge", "score": 70.0,
        "verdict": "NEUTRAL", "checklist": [{"item": "Greeting", "passed": true}], "comment": "well"});
    assert_eq!(payloads[2].1["interaction_reviewed"], expected);
    for (_, event) in &payloads {
        funnelwatch::codec::json::decode(event.to_string().as_bytes()).expect("an event that the program reads");
    }
    assert_ne!(payloads[0].1["event_id"], payloads[1].1["event_id"]);
}

#[test]
fn other_sites_can_change_nothing() {
    let (address, written) = start(Api::default());
    let (_, alerts) = send(address, &format!("GET /api/v1{ACME}/alerts"), "", "");
    let alerts: Value = serde_json::from_str(&alerts).expect("JSON");
    let take =
        format!("POST /api/v1{ACME}/alerts/{}/taken", alerts["alerts"][0]["alert_id"].as_str().expect("an alert"));
    for headers in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "origin: https://evil.example.org\r\ncontent-type: application/json\r\n",
        "origin: null\r\n",
        "sec-fetch-site: cross-site\r\ncontent-type: application/json\r\n",
    ] {
        assert_eq!(send(address, &take, headers, "{}").0, 403, "{headers}");
    }
    assert!(written.lock().expect("no panic").is_empty());
    assert_eq!(send(address, &take, "content-type: application/json\r\n", "{}").0, 202);
    assert_eq!(send(address, &take, "origin: http://localhost\r\n", "").0, 202);
}

#[test]
fn only_the_role_contacts_sees_numbers() {
    let (address, _) = start(users());
    let get = |path: &str, name: &str| send(address, &format!("GET /api/v1{ACME}{path}"), &bearer(name), "");
    let (status, body) = get("/leads/1/contacts", "desk");
    let contacts: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (status, &contacts["contacts"]),
        (200, &json!([{"kind": "phone", "value": "+79160000001"}, {"kind": "email", "value": "a@b.example"}]))
    );
    for name in ["reader", "judge"] {
        assert_eq!(get("/leads/1/contacts", name).0, 403, "{name}");
    }
    let house = send(
        address,
        &format!("GET /api/v1{ACME}/leads/1/contacts"),
        "authorization: Bearer token-of-the-house-0\r\n",
        "",
    );
    assert_eq!(house.0, 403);
    assert_eq!(get("/leads/3/contacts", "desk").0, 404, "the lead of another department");
    let (_, alerts) = get("/alerts", "desk");
    let alerts: Value = serde_json::from_str(&alerts).expect("JSON");
    let id = alerts["alerts"][0]["alert_id"].as_str().expect("an alert");
    assert!(get(&format!("/alerts/{id}/contacts"), "desk").1.contains("+79160000001"));
    let (_, all) = get("/alerts", "reader");
    let all: Value = serde_json::from_str(&all).expect("JSON");
    for alert in all["alerts"].as_array().expect("alerts").iter().filter(|alert| alert["department_id"] != "south") {
        let path = format!("/alerts/{}/contacts", alert["alert_id"].as_str().expect("an id"));
        assert_eq!(get(&path, "desk").0, 404, "{alert}");
    }
    for path in ["/alerts", "/clocks", "/leads/1", "/plans", "/figures/touches/members", "/managers"] {
        assert!(!get(path, "desk").1.contains("7916"), "{path}");
    }
}

#[test]
fn lists_are_csv_if_that_is_wanted_and_alerts_are_streamed() {
    let (address, _) = start(Api::default());
    let csv = "accept: text/csv\r\n";
    let (head, body) = exchange(address, &format!("GET /api/v1{ACME}/clocks"), "localhost", csv, "");
    assert!(head.contains("text/csv"), "{head}");
    assert_eq!(body.lines().count(), 5, "{body}");
    assert!(body.starts_with("alert.alert_id,alert.level,"), "{body}");
    let (head, _) = exchange(address, &format!("GET /api/v1{ACME}/clocks"), "localhost", "accept: */*\r\n", "");
    assert!(head.contains("application/json"), "{head}");
    let mut stream = TcpStream::connect(address).expect("the endpoints are open");
    write!(stream, "GET /api/v1{ACME}/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("a request");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let data = lines.find(|line| line.starts_with("data: ")).expect("data");
    let streamed: Value = serde_json::from_str(data.trim_start_matches("data: ")).expect("JSON");
    assert_eq!(streamed, get_ok(address, &format!("{ACME}/alerts")));
}

#[test]
fn the_document_of_the_api_is_the_one_in_docs() {
    let (address, _) = start(Api::default());
    let document = openapi();
    assert_eq!(get_ok(address, "/openapi.json"), document);
    let text = format!("{document:#}\n");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/openapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("docs");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "run UPDATE_DOCS=1 cargo test --test outputs");
}

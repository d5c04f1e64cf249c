//! Tests the page: whom it names first and why, that its figures are those of the API, that nothing from outside becomes
//! markup, who may see it, and that viewers get new fragments.

use super::api::{endpoints_after, event, exchange};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

const NORMS: &str = "
calendars: {office: {timezone: Europe/Moscow, week: {mon: ['09:00-18:00']}}}
calendar: office
pipelines: {sales: {entity: deal, stages: [{id: NEW, max_time: 100h}]}}
norms:
  first_response_late: {within: 30m, clock: business, warn_before: 20m, escalate_after: [1h]}
targets:
  - {id: won, figure: deals_won, per: month, at_least: 10, judge: false}
";

/// Names that would be markup, a path or a formula if they were not escaped.
const VERA: &str = "<script>alert(1)</script>";
const NORTH: &str = "\"North\" & 'South'";

/// Vera has left a lead unanswered since 12:30 local time and another one since 14:40; Anna has answered one in time and has
/// won a deal. It is 15:00.
fn events() -> Vec<String> {
    let manager =
        |id: &str, name: &str| json!({"manager_upserted": {"manager_id": id, "department_id": "north", "name": name}});
    let lead = |id: &str, manager: &str, phone: &str| json!({"lead_created": {"lead_id": id, "manager_id": manager, "contacts": [{"phone": phone}]}});
    let call = json!({"call_ended": {"call_id": "c", "direction": "OUTBOUND", "phone": "+79160000003", "manager_id": "anna",
        "outcome": "ANSWERED", "talk_seconds": 60}});
    let payloads = [
        (0, json!({"department_upserted": {"department_id": "north", "name": NORTH}})),
        (0, manager("vera/=1", VERA)),
        (0, manager("anna", "Anna")),
        (30, lead("late/1", "vera/=1", "+79160000001")),
        (100, lead("3", "anna", "+79160000003")),
        (105, call),
        (
            106,
            json!({"deal_created": {"deal_id": "7", "manager_id": "anna", "pipeline_id": "sales", "stage_id": "NEW"}}),
        ),
        (110, json!({"closed": {"entity": {"kind": "DEAL", "id": "7"}, "outcome": "WON"}})),
        (160, lead("2", "vera/=1", "+79160000002")),
        (180, json!({"manager_upserted": {"manager_id": "anna", "department_id": "north", "name": "Anna"}})),
    ];
    payloads.into_iter().enumerate().map(|(index, (minute, payload))| event(index, minute, payload)).collect()
}

fn start(token: Option<&str>) -> SocketAddr {
    endpoints_after(NORMS, events(), token)
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    exchange(address, &format!("GET {path}"), "localhost", "", "")
}

fn get_ok(address: SocketAddr, path: &str) -> String {
    let (head, body) = get(address, path);
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    body
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The text between two markers.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("no {from} in {text}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("no {to} after {from}")).0
}

const COMPANY: &str = "/t/acme%20north";

#[test]
fn the_first_line_says_whom_to_talk_to_and_who_waits_longest() {
    let address = start(None);
    let (head, _) = get(address, "/");
    assert_eq!(header(&head, "location"), Some(COMPANY), "there is one company");
    let top = |path: &str| {
        let page = get_ok(address, path);
        between(&page, "id=\"top\"", "</p>").split_once('>').expect("a text").1.to_owned()
    };
    let name = "&lt;script&gt;alert(1)&lt;/script&gt;";
    assert_eq!(top(COMPANY), format!("1 person to talk to today; longest wait 2 h 30 min (lead late/1, {name})"));
    assert_eq!(
        top(&format!("{COMPANY}?lang=ru")),
        format!("Сегодня стоит поговорить с 1 человеком; дольше всего ждут 2 ч 30 мин (лид late/1, {name})")
    );
    assert_eq!(top(&format!("{COMPANY}/managers/anna")), "All norms are kept");
    assert_eq!(
        top(&format!("{COMPANY}/managers/vera%2F%3D1")),
        "1 open violation; longest wait 2 h 30 min (lead late/1)"
    );
}

#[test]
fn those_who_need_attention_come_first_and_clocks_that_can_still_be_kept() {
    let address = start(None);
    let page = get_ok(address, COMPANY);
    let people = between(&page, "id=\"people\"", "</section>");
    let (vera, anna) =
        (people.find("data-key=\"vera/=1\"").expect("vera"), people.find("data-key=\"anna\"").expect("anna"));
    assert!(vera < anna);
    assert!(
        people.contains("Lead late/1 had no response within 30 min (business time): 2 h 30 min so far"),
        "{people}"
    );
    let clocks = between(&page, "id=\"clocks\"", "</section>");
    // The lead of 14:40 has 10 of 30 minutes left; that of 12:30 is two hours late.
    let seconds: Vec<&str> =
        clocks.split("data-seconds=\"").skip(1).map(|rest| rest.split('"').next().expect("seconds")).collect();
    assert_eq!(seconds, ["600", "7200"], "{clocks}");
    assert_eq!(clocks.matches("data-runs=\"1\"").count(), 2);
    let plan = between(&page, "id=\"plan\"", "</section>");
    assert!(plan.contains("Deals won this month"), "{plan}");
}

#[test]
fn figures_are_those_of_the_api() {
    let address = start(None);
    let body = get_ok(address, "/api/v1/tenants/acme%20north/managers/anna?window=24h");
    let rows: Value = serde_json::from_str(&body).expect("JSON");
    let within = &rows["rows"][0]["first_response"]["within_norm"];
    assert_eq!((&within["n"], &within["k"]), (&json!(1), &json!(1)));
    let csv = get_ok(address, &format!("{COMPANY}/people.csv?window=24h"));
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| lines[0].iter().position(|own| *own == name).expect("a column");
    let anna = lines.iter().find(|line| line[0] == "anna").expect("anna");
    assert_eq!((anna[column("within_norm")], anna[column("within_norm_n")]), ("1", "1"));
    assert_eq!(anna[column("leads_received")], rows["rows"][0]["leads_received"].to_string());
    assert_eq!(lines[1][..2], ["vera/=1", VERA]);
    assert_eq!(lines[1][column("longest_wait_seconds")], "9000");
    let clocks = get_ok(address, &format!("{COMPANY}/clocks.csv"));
    assert_eq!(clocks.lines().count(), 3, "{clocks}");
    assert!(
        clocks
            .lines()
            .nth(2)
            .expect("a line")
            .contains("lead:late/1,2026-03-02T09:30:00.000Z,2026-03-02T10:00:00.000Z,-7200"),
        "{clocks}"
    );
    let plan = get_ok(address, &format!("{COMPANY}/plan.csv"));
    assert!(plan.contains("manager:anna,Anna,won,deals_won,month,,10,1,"), "{plan}");
}

#[test]
fn a_journey_shows_its_clock_and_its_events() {
    let address = start(None);
    let page = get_ok(address, &format!("{COMPANY}/leads/late%2F1"));
    for part in ["First response late", "overdue", "2 h 30 min", "Lead created", "<svg", "class=\"clock late\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (head, _) = get(address, &format!("{COMPANY}/leads/none"));
    assert!(head.starts_with("HTTP/1.1 404"));
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let address = start(None);
    let hostile = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for path in [
        COMPANY.to_owned(),
        format!("{COMPANY}?department={hostile}&window={hostile}&lang={hostile}&wall=1"),
        format!("{COMPANY}/managers/vera%2F%3D1?department={hostile}"),
        format!("{COMPANY}/managers/{hostile}"),
        format!("{COMPANY}/leads/{hostile}"),
        format!("/t/{hostile}"),
        format!("{COMPANY}/{hostile}"),
    ] {
        let (head, page) = get(address, &path);
        assert_eq!(page.matches("<script").count(), 1, "{path}: the script of the page is the only one");
        let policy = header(&head, "content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'; script-src 'self'") && policy.contains("frame-ancestors 'none'"));
    }
    assert!(get_ok(address, COMPANY).contains("&quot;North&quot; &amp; 'South'"), "the name of the department");
}

#[test]
fn with_a_token_a_browser_signs_in() {
    let address = start(Some("secret"));
    let (head, _) = get(address, COMPANY);
    assert_eq!(header(&head, "location"), Some("/sign-in"));
    assert!(get_ok(address, "/sign-in").contains("<form"));
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let (head, page) = exchange(address, "POST /sign-in", "localhost", form, "token=wrong");
    assert!(head.starts_with("HTTP/1.1 401") && page.contains("This is not the token."));
    let (head, _) = exchange(address, "POST /sign-in", "localhost", form, &format!("token={}", "x".repeat(1 << 16)));
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    let other = format!("{form}origin: https://other.example.org\r\n");
    let (head, _) = exchange(address, "POST /sign-in", "localhost", &other, "token=secret");
    assert!(head.starts_with("HTTP/1.1 403"), "another site cannot sign a browser in");

    let (head, _) = exchange(address, "POST /sign-in", "localhost", form, "token=secret");
    let cookie = header(&head, "set-cookie").expect("a cookie");
    for part in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("secret"));
    let session = format!("cookie: {}\r\n", cookie.split(';').next().expect("a value"));
    for path in [COMPANY, "/api/v1/tenants", "/t/acme%20north/people.csv"] {
        let (head, _) = exchange(address, &format!("GET {path}"), "localhost", &session, "");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    }
    let forged = session.replace("cookie: funnelwatch_session=", "cookie: funnelwatch_session=9");
    let (head, _) = exchange(address, &format!("GET {COMPANY}"), "localhost", &forged, "");
    assert_eq!(header(&head, "location"), Some("/sign-in"));
    let (head, _) = exchange(address, "POST /sign-out", "localhost", &session, "");
    assert!(head.starts_with("HTTP/1.1 403"), "another site cannot sign a browser out");
    let session = format!("{session}origin: https://localhost\r\n");
    let (head, _) = exchange(address, "POST /sign-out", "localhost", &session, "");
    assert!(header(&head, "set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
}

#[test]
fn without_a_token_the_page_is_open_on_this_machine_only() {
    let address = start(None);
    for (host, headers) in [("page.example.org", ""), ("localhost", "x-forwarded-for: 10.0.0.1\r\n"), ("10.0.0.1", "")]
    {
        let (head, _) = exchange(address, &format!("GET {COMPANY}"), host, headers, "");
        assert!(head.starts_with("HTTP/1.1 403"), "{host} {headers}: {head}");
        let (head, _) = exchange(address, &format!("GET {COMPANY}/stream"), host, headers, "");
        assert!(head.starts_with("HTTP/1.1 403"), "{host} {headers}: {head}");
    }
}

/// The first fragment of a stream.
fn first_fragment(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the endpoints are open");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("a request");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let mut data = lines.skip_while(|line| !line.starts_with("data: "));
    data.next().expect("a fragment").trim_start_matches("data: ").to_owned()
}

#[test]
fn viewers_get_the_changing_part_of_what_they_look_at() {
    let address = start(None);
    for path in [COMPANY.to_owned(), format!("{COMPANY}/managers/anna")] {
        let page = get_ok(address, &path);
        let content = between(&page, "data-stream=\"", "</main>").split_once('>').expect("the content").1;
        let streams = [0; 3].map(|_| first_fragment(address, &format!("{path}/stream")));
        assert!(streams.iter().all(|fragment| fragment == content), "{path}");
    }
    let (head, _) = get(address, "/t/other/stream");
    assert!(head.starts_with("HTTP/1.1 404"));
}

//! Tests who may see what: of each user the page, the API, the tables and the streams show the same departments and no others;
//! tokens and sessions that are wrong, forged or of somebody who was removed are refused; other sites can change nothing.

use super::api::{endpoints_for, event, exchange};
use funnelwatch::config::{Api, ApiUser, Role};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

const NORMS: &str = "
pipelines: {sales: {entity: deal, stages: [{id: NEW, max_time: 100h}]}}
norms:
  first_response_late: {within: 30m, warn_before: 20m}
  missed_call_not_returned: {within: 30m}
targets:
  - {id: won, figure: deals_won, per: month, at_least: 10, judge: false}
";
/// The tenant in paths.
const ACME: &str = "/tenants/acme%20north";

/// Nora (north) and Zoe (south) have each left a lead unanswered, and missed a call of its customer.
fn events() -> Vec<String> {
    let mut events = Vec::new();
    let mut add = |minute, payload: Value| events.push(event(events.len(), minute, payload));
    for (id, department, phone) in [("nora", "north", "+79160000001"), ("zoe", "south", "+79160000002")] {
        let name = format!("Name of {id}");
        add(0, json!({"department_upserted": {"department_id": department, "name": format!("Team {department}")}}));
        add(0, json!({"manager_upserted": {"manager_id": id, "department_id": department, "name": name}}));
        let contacts = json!([{"phone": phone}, {"email": format!("{id}@customer.example")}]);
        add(30, json!({"lead_created": {"lead_id": format!("of-{id}"), "manager_id": id, "contacts": contacts}}));
        add(
            40,
            json!({"call_ended": {"call_id": format!("c-{id}"), "direction": "INBOUND", "phone": phone, "manager_id": id,
            "outcome": "NO_ANSWER", "talk_seconds": 0}}),
        );
    }
    add(41, json!({"lead_created": {"lead_id": "of-nobody", "contacts": [{"phone": "+79160000003"}]}}));
    events
}

fn user(name: &str, tenants: Option<&[&str]>, departments: Option<&[&str]>, roles: &[Role]) -> ApiUser {
    ApiUser {
        name: name.into(),
        token: format!("token-of-{name}-0123"),
        tenants: tenants.map(|ids| ids.iter().map(|id| (*id).into()).collect()),
        departments: departments.map(|ids| ids.iter().map(|id| (*id).into()).collect()),
        roles: roles.iter().copied().collect(),
    }
}

fn users() -> Api {
    let users = vec![
        user("north", None, Some(&["north"]), &[Role::Viewer]),
        user("all", None, None, &[Role::Viewer]),
        user("other", Some(&["other"]), None, &[Role::Admin, Role::Contacts]),
        user("desk", Some(&["acme north"]), Some(&["north"]), &[Role::Contacts]),
    ];
    Api { token: Some("token-of-the-house-0".into()), users }
}

fn start(api: &Api) -> SocketAddr {
    endpoints_for(NORMS, events(), api)
}

fn bearer(name: &str) -> String {
    format!("authorization: Bearer token-of-{name}-0123\r\n")
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let (head, body) = exchange(address, &format!("GET {path}"), "localhost", headers, "");
    (status(&head), body)
}

/// The first data of a stream.
fn first_data(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the endpoints are open");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").expect("a request");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let mut data = lines.skip_while(|line| !line.starts_with("data: "));
    data.next().expect("data")
}

#[test]
fn a_viewer_of_a_department_sees_nothing_of_others_anywhere() {
    let address = start(&users());
    let paths = |path: &str| format!("/api/v1{ACME}{path}");
    let seen: Vec<String> = [
        paths("/managers"),
        paths("/departments"),
        paths("/alerts"),
        paths("/managers/nora"),
        paths("/leads/of-nora"),
        "/t/acme%20north".into(),
        "/t/acme%20north/people.csv".into(),
        "/t/acme%20north/clocks.csv".into(),
        "/t/acme%20north/plan.csv".into(),
        "/t/acme%20north/managers/nora".into(),
        "/t/acme%20north/leads/of-nora".into(),
    ]
    .into();
    for path in &seen {
        let (status, body) = get(address, path, &bearer("north"));
        assert_eq!(status, 200, "{path}: {body}");
        assert!(body.contains("nora") || body.contains("north"), "{path}: {body}");
        for hidden in ["zoe", "south", "of-nobody", "nobody is"] {
            assert!(!body.contains(hidden), "{hidden} in {path}: {body}");
        }
        let (status, body) = get(address, path, &bearer("all"));
        assert_eq!(status, 200, "{path}");
        let is_of_one = path.contains("nora");
        assert!(is_of_one || body.contains("zoe") || body.contains("south"), "{path}: {body}");
    }
    let hidden: Vec<String> = [
        paths(""),
        paths("/managers/zoe"),
        paths("/departments/south"),
        paths("/departments/unknown"),
        paths("/leads/of-zoe"),
        paths("/leads/of-nobody"),
        "/t/acme%20north/managers/zoe".into(),
        "/t/acme%20north/leads/of-zoe".into(),
        "/t/acme%20north/leads/of-nobody".into(),
    ]
    .into();
    for path in &hidden {
        assert_eq!(get(address, path, &bearer("north")).0, 404, "{path}");
        assert_ne!(get(address, path, &bearer("all")).0, 404, "{path}");
    }
    // A filter cannot widen what is seen.
    let (_, alerts) = get(address, &paths("/alerts?department=south"), &bearer("north"));
    assert_eq!(alerts, "{\"tenant_id\":\"acme north\",\"alerts\":[]}\n");
    let (_, page) = get(address, "/t/acme%20north?department=south", &bearer("north"));
    assert!(!page.contains("zoe") && page.contains("nora"), "{page}");
    for path in ["/t/acme%20north/stream", "/t/acme%20north/managers/nora/stream"] {
        // Two viewers with different rights share no fragment, in any order.
        let of_all = first_data(address, path, &bearer("all"));
        let of_north = first_data(address, path, &bearer("north"));
        assert!(of_all.contains("of-nora") && of_north.contains("of-nora"));
        assert!(!of_north.contains("zoe") && !of_north.contains("south"), "{of_north}");
    }
}

#[test]
fn another_company_is_as_if_it_did_not_exist() {
    let address = start(&users());
    assert_eq!(get(address, "/api/v1/tenants", &bearer("other")), (200, "{\"tenants\":[]}\n".into()));
    for path in [
        format!("/api/v1{ACME}"),
        format!("/api/v1{ACME}/alerts"),
        format!("/api/v1{ACME}/managers/nora"),
        format!("/api/v1{ACME}/leads/of-nora"),
        "/t/acme%20north".into(),
        "/t/acme%20north/people.csv".into(),
        "/t/acme%20north/stream".into(),
        "/t/acme%20north/leads/of-nora".into(),
    ] {
        let (status, body) = get(address, &path, &bearer("other"));
        assert_eq!(status, 404, "{path}");
        assert!(!body.contains("nora") || path.contains("nora"), "{path}: {body}");
    }
}

#[test]
fn wrong_and_removed_tokens_and_forged_sessions_are_refused() {
    let address = start(&users());
    for header in [
        "",
        "authorization: Bearer token-of-north-012\r\n",
        "authorization: Bearer token-of-north-0123x\r\n",
        "authorization: Bearer\r\n",
        "authorization: Basic token-of-north-0123\r\n",
        "cookie: funnelwatch_session=token-of-north-0123\r\n",
        "cookie: funnelwatch_session=99999999999.00\r\n",
        "cookie: funnelwatch_session=99999999999.\r\n",
        "x-user: north\r\n",
    ] {
        assert_eq!(get(address, "/api/v1/tenants", header).0, 401, "{header}");
        assert_eq!(get(address, "/t/acme%20north", header).0, 303, "{header}");
    }
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let (head, _) = exchange(address, "POST /sign-in", "localhost", form, "token=token-of-north-0123");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    let session = format!("cookie: {}\r\n", cookie.split(';').next().expect("a value"));
    let (status, page) = get(address, "/t/acme%20north", &session);
    assert!(status == 200 && page.contains("nora") && !page.contains("zoe"), "the session has the rights of its user");
    // Each character of the value counts.
    let value = session.trim_end().rsplit('=').next().expect("a value").to_owned();
    for at in 0..value.len() {
        let other = if value.as_bytes()[at] == b'1' { "2" } else { "1" };
        let forged = format!("cookie: funnelwatch_session={}{other}{}\r\n", &value[..at], &value[at + 1..]);
        assert_eq!(get(address, "/api/v1/tenants", &forged).0, 401, "{forged}");
    }
    // The same server without this user, as after a restart.
    let mut fewer = users();
    fewer.users.retain(|user| user.name != "north");
    let later = start(&fewer);
    assert_eq!(get(later, "/api/v1/tenants", &bearer("north")).0, 401);
    assert_eq!(get(later, "/api/v1/tenants", &session).0, 401, "the session ended with its user");
    let other = get(later, "/api/v1/tenants", "authorization: Bearer token-of-the-house-0\r\n");
    assert_eq!(other.0, 200);
}

#[test]
fn headers_cannot_be_injected_and_names_of_sites_cannot_be_rebound() {
    let address = start(&users());
    for path in ["/t/a%0d%0aset-cookie:%20x=1", "/t/acme%20north?lang=ru%0d%0ax-injected:1", "/%0d%0ax-injected:1/x"] {
        let (head, _) = exchange(address, &format!("GET {path}"), "localhost", &bearer("all"), "");
        assert!(!head.contains("x-injected") && !head.contains("x=1"), "{head}");
    }
    let (head, _) = exchange(address, "GET /t/acme%20north", "evil.example.org", &bearer("all"), "");
    assert_eq!(status(&head), 403);
    let foreign = format!("{}origin: https://evil.example.org\r\n", bearer("all"));
    let (head, _) = exchange(address, "GET /api/v1/tenants", "localhost", &foreign, "");
    assert_eq!(status(&head), 403);
}

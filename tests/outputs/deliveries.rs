//! Tests what the API and the page show of the messages that `notify` has sent, from the records that its ledger writes.

use super::api::{Setup, event, exchange};
use funnelwatch::config::notify::Channel;
use funnelwatch::config::{Api, ApiUser, Role};
use funnelwatch::domain::rule::message::Language;
use funnelwatch::domain::source::ShardId;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::deliveries::Deliveries;
use funnelwatch::notify::channel::{Address, Outcome};
use funnelwatch::notify::ledger::Ledger;
use funnelwatch::notify::notice;
use funnelwatch::notify::routing::Duty;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

const NORMS: &str = "
pipelines: {sales: {entity: deal, stages: [{id: NEW, max_time: 100h}]}}
norms: {first_response_late: {within: 30m}}
";
const SHARD: ShardId = ShardId(0);
/// A name that would be markup if it were not escaped.
const NORA: &str = "<b>Nora</b>";

/// Nora (north) and Zoe (south) have each left a lead unanswered; the head is somebody else.
fn events() -> Vec<String> {
    let mut events = Vec::new();
    let mut add = |minute, payload: Value| events.push(event(events.len(), minute, payload));
    for (id, name, department) in [("nora", NORA, "north"), ("zoe", "Zoe", "south"), ("head", "The head", "north")] {
        add(0, json!({"manager_upserted": {"manager_id": id, "department_id": department, "name": name}}));
    }
    for id in ["nora", "zoe"] {
        add(30, json!({"lead_created": {"lead_id": format!("of-{id}"), "manager_id": id}}));
    }
    events
}

/// What notify does to an alert: a status with the addresses that it goes to, and what becomes of each message.
struct Notify {
    ledger: Ledger,
    deliveries: Arc<Deliveries>,
}

impl Notify {
    fn status(
        &mut self,
        (id, manager, department): (u128, &str, &str),
        status: &str,
        to: &[(Channel, &str)],
        now: i64,
    ) {
        let alert = json!({
            "alert_id": uuid::Uuid::from_u128(id).to_string(), "tenant_id": "acme north", "rule": "first_response_late",
            "severity": "critical", "status": status, "level": 0, "subject": format!("lead:of-{manager}"),
            "entity": format!("lead:of-{manager}"), "at": "2026-03-02T09:00:00.000Z", "anchor_at": "2026-03-02T09:00:00.000Z",
            "manager_id": manager, "department_id": department,
        });
        let alert = notice::read(alert.to_string().as_bytes()).expect("an alert");
        let duty = |(channel, person): &(Channel, &str)| Duty {
            address: Address {
                channel: *channel,
                to: format!("address of {person}"),
                person: (!person.is_empty()).then(|| (*person).to_owned()),
                language: Language::En,
            },
            ready_at: Timestamp(now),
            group: None,
            most: 1,
            is_quiet: false,
        };
        self.ledger.status(SHARD, alert, to.iter().map(duty).collect(), Timestamp(now));
        self.show();
    }

    /// Sends what is due; the channel of e-mails refuses.
    fn send(&mut self, now: i64) {
        for job in self.ledger.take_due(Timestamp(now), |_| None, |_| None) {
            let outcome = match job.address.channel {
                Channel::Mail => Outcome::Refused("no such mailbox"),
                _ => Outcome::Sent(Some("1".into())),
            };
            self.ledger.done(job.id, &outcome, Timestamp(now));
        }
        self.show();
    }

    fn show(&mut self) {
        for (_, key, value) in self.ledger.take_records() {
            self.deliveries.apply(&key, value.as_deref());
        }
    }
}

/// Both managers and the head of one were informed of the leads.
fn start(api: Api) -> (SocketAddr, Notify) {
    let deliveries = Arc::<Deliveries>::default();
    let setup = Setup { api, deliveries: Arc::clone(&deliveries), ..Setup::new(NORMS, events()) };
    let (ledger, address) = (Ledger::new(Span::HOUR), setup.start());
    let mut notify = Notify { ledger, deliveries };
    notify.status((1, "nora", "north"), "FIRING", &[(Channel::Telegram, "nora"), (Channel::Mail, "head")], 1000);
    notify.send(2000);
    notify.status((2, "zoe", "south"), "FIRING", &[(Channel::Bitrix24, "zoe"), (Channel::Webhook, "")], 3000);
    (address, notify)
}

fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let (head, body) = exchange(address, &format!("GET {path}"), "localhost", headers, "");
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head} {body}");
    body
}

/// The deliveries in short: of which lead, through which channel, to whom, with which outcome and status, and when.
fn listed(address: SocketAddr, query: &str, headers: &str) -> Vec<String> {
    let body = get(address, &format!("/api/v1/tenants/acme%20north/deliveries{query}"), headers);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let entries = body["deliveries"].as_array().expect("a list");
    assert_eq!(body["n"], json!(entries.len()));
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("-").to_owned();
    let keys = ["entity", "channel", "person_id", "outcome", "status", "at"];
    entries.iter().map(|entry| keys.map(|key| text(entry, key)).join(" ")).collect()
}

#[test]
fn the_api_lists_what_was_sent_to_whom() {
    let (address, mut notify) = start(Api::default());
    let nora = [
        "lead:of-nora telegram nora sent FIRING 1970-01-01T00:00:02.000Z",
        "lead:of-nora mail head refused FIRING 1970-01-01T00:00:01.000Z",
    ];
    let zoe = [
        "lead:of-zoe bitrix24 zoe waiting FIRING 1970-01-01T00:00:03.000Z",
        "lead:of-zoe webhook - waiting FIRING 1970-01-01T00:00:03.000Z",
    ];
    assert_eq!(listed(address, "", ""), [zoe, nora].concat());
    for (query, expected) in [
        ("?manager=nora", &nora[..]),
        ("?manager=head", &nora[1..]),
        ("?manager=zoe", &zoe[..]),
        ("?entity=lead:of-zoe", &zoe[..]),
        ("?department=north", &nora[..]),
        ("?outcome=refused", &nora[1..]),
        ("?rule=neglected", &[]),
    ] {
        assert_eq!(listed(address, query, ""), expected, "{query}");
    }
    // The message follows its alert.
    notify.send(4000);
    notify.status((1, "nora", "north"), "RESOLVED", &[], 5000);
    assert_eq!(
        listed(address, "?manager=nora&outcome=waiting", ""),
        ["lead:of-nora telegram nora waiting FIRING 1970-01-01T00:00:02.000Z"]
    );
    notify.send(6000);
    let follows = "lead:of-nora telegram nora sent RESOLVED 1970-01-01T00:00:06.000Z";
    assert_eq!(listed(address, "?manager=nora&outcome=sent", ""), [follows]);
    assert!(
        !get(address, "/api/v1/tenants/acme%20north/deliveries", "").contains("address of"),
        "addresses are not shown"
    );
}

#[test]
fn the_page_shows_what_was_sent_to_whom() {
    let (address, mut notify) = start(Api::default());
    notify.send(4000);
    let section = |path: &str| {
        let page = get(address, &format!("/t/acme%20north{path}"), "");
        let (_, section) = page.split_once("id=\"deliveries\"").unwrap_or_else(|| panic!("{path}: {page}"));
        section.split("</section>").next().expect("a section").to_owned()
    };
    let person = section("/managers/nora");
    for part in
        ["&lt;b&gt;Nora&lt;/b&gt;", "The head", "Telegram", "e-mail", "sent", "the channel refused it", "of-nora"]
    {
        assert!(person.contains(part), "{part}: {person}");
    }
    assert!(!person.contains("of-zoe") && !person.contains("address of") && !person.contains(NORA), "{person}");
    let lead = section("/leads/of-zoe");
    assert!(lead.contains("notification in Bitrix24") && lead.contains("a list"), "{lead}");
    assert!(!lead.contains("of-nora"), "{lead}");
    assert!(section("/managers/nora?lang=ru").contains("не доставлено: канал отказал"));
    // Where nobody was ever informed, nothing is said of it.
    let alone = Setup::new(NORMS, events()).start();
    assert!(!get(alone, "/t/acme%20north/managers/nora", "").contains("id=\"deliveries\""));
}

#[test]
fn a_viewer_of_a_department_sees_its_deliveries_only() {
    let user = ApiUser {
        name: "north".into(),
        token: "token-of-north-0123".into(),
        tenants: None,
        departments: Some(["north".into()].into()),
        roles: [Role::Viewer].into(),
    };
    let (address, _) = start(Api { token: Some("token-of-the-house-0".into()), users: vec![user] });
    let (north, house) =
        ("authorization: Bearer token-of-north-0123\r\n", "authorization: Bearer token-of-the-house-0\r\n");
    assert_eq!((listed(address, "", north).len(), listed(address, "", house).len()), (2, 4));
    assert!(listed(address, "?manager=zoe", north).is_empty());
}

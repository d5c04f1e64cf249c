//! Hand-worked cases of what an event says: spellings of contacts, lenient JSON, ids; and of overrides by manager and
//! intervals past midnight. Times as in `cases`.

use serde_json::{Value, json};

use super::cases::{lead, row, run, time};
use super::cases_calls::summary;
use super::judge;

/// Whether an act towards the second spelling answers a lead with the first.
fn meet(lead: Value, act: Value) -> bool {
    let norms = json!({"norms": {"first_response_late": {"within": "15m"}}});
    let created = json!({"lead_created": {"lead_id": "1", "manager_id": "anna", "contacts": [lead]}});
    run(&norms, "12:00", &[("07:00", created), ("07:05", act)]).alerts.is_empty()
}

#[test]
fn spellings_of_phones_meet() {
    // Shared case 40.
    for (crm, other, same) in [
        ("+44 07700 900001", "+447700900001", true),
        ("+44 (0)20 7946 0958", "+442079460958", true),
        ("+49 (0) 30 23125 101", "+493023125101", true),
        ("+7 8 (812) 555-00-21", "+78125550021", true),
        ("+8 921 555-00-22", "+79215550022", true),
        ("+799912345678", "+79991234567", false),
        ("84955550107", "4955550107", true),
        ("8-800-555-01-20", "+78005550120", true),
        ("007 894 123 45 67", "+7 894 123 45 67", true),
        ("+992 88 123 4567", "8 10 992 88 1234567", true),
        ("tel:+78125550031", "+78125550031", true),
        ("tel:+7-812-555-00-32;ext=1234", "+78125550032", true),
        ("8 812 555-00-33, 8 921 555-00-33", "+78125550033", true),
        ("8 812 555-00-34, 8 921 555-00-34", "+79215550034", true),
        ("8 812 555-00-35 / 8 921 555-00-35", "+78125550035", true),
        ("+7 812 555-00-36 ::: +7 921 555-00-36", "+78125550036", true),
        ("8 (812) 555-00-41 (доб. 123)", "+78125550041", true),
    ] {
        let call = json!({"call_ended": {"call_id": "c", "direction": "OUTBOUND", "phone": other, "outcome": "NO_ANSWER", "started_at": time("07:05")}});
        assert_eq!(meet(json!({ "phone": crm }), call), same, "{crm}");
    }
}

#[test]
fn spellings_of_addresses_meet() {
    // Shared case 41, and handles.
    let email = |text: &str| json!({ "email": text });
    let handle = |text: &str| json!({"handle": text, "channel": "MESSENGER"});
    for (crm, other, same) in [
        (email("Anna.Petrova@Example.COM"), email("anna.petrova@example.com"), true),
        (email("info@пример.испытание"), email("info@xn--e1afmkfd.xn--80akhbyknj4f"), true),
        (email("anna1@example.com (Anna Petrova)"), email("anna1@example.com"), true),
        (email("mailto:anna2@example.com"), email("anna2@example.com"), true),
        (email("anna3@example.com, office3@example.com"), email("office3@example.com"), true),
        (email("anna4@example.com; office4@example.com"), email("anna4@example.com"), true),
        (email("anna@example.com"), email("an.na@example.com"), false),
        (handle("@Anna "), handle("@anna"), true),
        (json!({"phone": "8 900 000-20-01"}), handle("79000002001@c.us"), true),
        (handle("+79000002001"), json!({"phone": "79000002001@s.whatsapp.net"}), true),
        (json!({"phone": "8 900 000-20-01"}), json!({"handle": "79000002001", "channel": "CHAT"}), false),
    ] {
        let sent = json!({"message_sent": {"message_id": "m", "channel": "MESSENGER", "contact": other}});
        assert_eq!(meet(crm.clone(), sent), same, "{crm}");
    }
    // A message whose field holds several addresses is with the first of them.
    let sent = |text: &str| json!({"message_sent": {"message_id": "m", "channel": "EMAIL", "contact": email(text)}});
    assert!(meet(email("a@x.ru"), sent("a@x.ru, b@x.ru")));
    assert!(!meet(email("b@x.ru"), sent("a@x.ru, b@x.ru")));
}

#[test]
fn exports_of_php_are_read() {
    let event = |id: u32, at: &str, payload: Value| {
        let mut event = json!({"event_id": id, "tenant_id": " t ", "occurred_at": time(at), "source": 1, "reopened": [], "deleted": ""});
        event.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
        event
    };
    let events = [
        event(1, "10:00", json!({"lead_created": {"lead_id": 17, "manager_id": 5, "contacts": {}, "stage_id": "  "}})),
        event(
            2,
            "10:05",
            json!({"message_sent": {"message_id": 3, "channel": "email", "contact": [], "entity": {"kind": "lead", "id": " 17 "}, "automatic": "N", "manager_id": "5"}}),
        ),
        // A repetition, a robot, and a deal with a currency in lower case.
        event(
            2,
            "10:06",
            json!({"message_sent": {"message_id": 3, "channel": "email", "entity": {"kind": "Lead", "id": 17}}}),
        ),
        event(
            4,
            "10:07",
            json!({"message_sent": {"message_id": 4, "channel": "Email", "entity": {"kind": "Lead", "id": 17}, "automatic": "yes"}}),
        ),
        event(
            5,
            "10:08",
            json!({"deal_created": {"deal_id": 1, "manager_id": 5, "currency": " rub ", "amount_minor": 700}}),
        ),
        event(
            6,
            "10:09",
            json!({"closed": {"entity": {"kind": "DEAL", "id": "1"}, "outcome": "won", "closed_by": [5]}}),
        ),
    ];
    let verdict = judge(&events, &json!({"norms": {}}), None);
    let tenant = row(&verdict, "tenant", "24h");
    assert_eq!(tenant["tenant_id"], "t");
    assert_eq!((&tenant["touches"], &tenant["messages"]["sent"]), (&json!(1), &json!({"EMAIL": 2})));
    assert_eq!(tenant["first_response"]["wall"]["mean_seconds"], 300.0);
    assert_eq!(tenant["amount_won"], json!({"RUB": 700}));
    assert_eq!(row(&verdict, "manager:5", "24h")["leads_received"], 1);
}

#[test]
fn a_manager_has_own_norms_and_hours() {
    let (day, late) = (json!(["09:00-18:00"]), json!(["21:00-02:00"]));
    let week = |hours: &Value| json!({"mon": hours, "tue": hours, "wed": hours, "thu": hours, "fri": hours});
    let norms = json!({
        "calendars": {
            "day": {"timezone": "UTC", "week": week(&day)},
            "night": {"timezone": "UTC", "week": week(&late)},
        },
        "calendar": "day",
        "norms": {"first_response_late": {"within": "30m", "clock": "business"}},
        "overrides": [
            {"when": {"manager": "boris"}, "calendar": "night"},
            {"when": {"manager": "vera"}, "norms": {"first_response_late": {"within": "1h"}}},
        ],
    });
    let created = |manager: &str| json!({"lead_created": {"lead_id": manager, "manager_id": manager}});
    let verdict = run(
        &norms,
        "4 00:00",
        &[
            ("10:00", created("anna")),
            ("10:00", created("boris")),
            ("10:00", created("vera")),
            // 01:50 of Tuesday belongs to Monday's night: 10 minutes, and 20 of Tuesday's.
            ("3 01:50", json!({"lead_created": {"lead_id": "night", "manager_id": "boris"}})),
            // The first clock stays with the norm of its start.
            ("3 02:00", json!({"assigned": {"entity": lead("vera"), "manager_id": "anna"}})),
        ],
    );
    let fired: Vec<String> = verdict
        .alerts
        .iter()
        .map(|a| format!("{} {}", a["subject"].as_str().unwrap(), &a["at"].as_str().unwrap()[8..16]))
        .collect();
    assert_eq!(fired, ["lead:anna 02T10:30", "lead:vera 02T11:00", "lead:boris 02T21:30", "lead:night 03T21:20"]);
}

#[test]
fn window_rules_take_the_norm_of_the_manager() {
    let norms = json!({
        "windows": [{"size": "24h", "slide": "1h"}],
        "norms": {"quality_low": {"at_least": 60}},
        "overrides": [{"when": {"manager": "boris"}, "norms": {"quality_low": {"at_least": 40}}}],
    });
    let review = |manager: &str| json!({"interaction_reviewed": {"interaction_id": "i", "manager_id": manager, "reviewer_id": "r", "score": 50, "verdict": "NEUTRAL"}});
    let verdict = run(&norms, "12:00", &[("10:30", review("anna")), ("10:30", review("boris"))]);
    assert_eq!(summary(&verdict).len(), 1);
    assert_eq!(verdict.alerts[0]["subject"], "manager:anna/24h");
}

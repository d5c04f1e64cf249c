//! Hand-worked cases of messages: closings, goodbyes, dismissals (of calls too), ids of replies. Times as in `cases`.

use serde_json::{Value, json};

use super::Verdict;
use super::cases::{lead, row, run, time};
use super::cases_calls::summary;

fn norms() -> Value {
    json!({"norms": {"message_unanswered": {"within": "1h"}, "missed_call_not_returned": {"within": "30m"}}})
}

fn entity(kind: &str, id: &str) -> Value {
    json!({"kind": kind, "id": id})
}

fn received(id: &str, email: &str, about: Value) -> Value {
    json!({"message_received": {"message_id": id, "channel": "EMAIL", "contact": {"email": email}, "entity": about, "manager_id": "boris"}})
}

fn sent(email: &str, reply: Value) -> Value {
    json!({"message_sent": {"message_id": "r", "channel": "EMAIL", "contact": {"email": email}, "in_reply_to": reply, "manager_id": "anna"}})
}

fn deal(id: &str, lead: Value, email: &str) -> Value {
    json!({"deal_created": {"deal_id": id, "lead_id": lead, "manager_id": "anna", "contacts": [{"email": email}]}})
}

fn lead_with(id: &str, email: &str) -> Value {
    json!({"lead_created": {"lead_id": id, "manager_id": "anna", "contacts": [{"email": email}]}})
}

fn closed(kind: &str, id: &str, outcome: &str) -> Value {
    json!({"closed": {"entity": entity(kind, id), "outcome": outcome}})
}

fn dismissed(id: &str, manager: Value) -> Value {
    json!({"interaction_dismissed": {"interaction_id": id, "manager_id": manager, "reason": "spam"}})
}

fn missed(id: &str, start: &str) -> Value {
    json!({"call_ended": {"call_id": id, "direction": "INBOUND", "phone": "+79000003701", "outcome": "NO_ANSWER", "started_at": time(start), "manager_id": "boris"}})
}

fn waiting(verdict: &Verdict) -> (Value, Value) {
    let now = row(verdict, "tenant", "now");
    (now["unanswered_messages"].clone(), now["unreturned_calls"].clone())
}

fn figure(verdict: &Verdict, subject: &str, path: &str) -> Value {
    row(verdict, subject, "24h").pointer(path).unwrap().clone()
}

const NOTHING: [&str; 0] = [];

#[test]
fn goodbyes_need_no_answer() {
    // Shared case 51.
    let mut norms = norms();
    let list = [
        ("06:30", deal("D1", Value::Null, "c1@x.ru")),
        ("06:30", deal("D2", Value::Null, "c2@x.ru")),
        ("07:45", received("q1", "c1@x.ru", Value::Null)),
        ("07:50", closed("DEAL", "D1", "WON")),
        ("07:50", closed("DEAL", "D2", "WON")),
        ("08:10", received("q2", "c2@x.ru", Value::Null)),
    ];
    // By default a message after the closing waits.
    assert_eq!(summary(&run(&norms, "12:00", &list)), ["message_unanswered FIRING 09:10:00 3600.0"]);
    norms["norms"]["message_unanswered"]["quiet_after_close"] = json!("1h");
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(summary(&verdict), NOTHING);
    assert_eq!(waiting(&verdict).0, 0);
    assert_eq!(figure(&verdict, "tenant", "/reply/n"), 0);
    assert_eq!(figure(&verdict, "tenant", "/messages/received/EMAIL"), 2);
    // 20 minutes are longer than 19.
    norms["norms"]["message_unanswered"]["quiet_after_close"] = json!("19m");
    assert_eq!(waiting(&run(&norms, "12:00", &list)).0, 1);
}

#[test]
fn the_last_closing_ends_a_message_and_not_what_belongs_to_others() {
    // q1 belongs to both deals of the contact, q2 names D2, q3 names D3.
    let verdict = run(
        &norms(),
        "14:00",
        &[
            ("06:30", deal("D1", Value::Null, "c@x.ru")),
            ("06:31", deal("D2", Value::Null, "c@x.ru")),
            ("06:32", deal("D3", Value::Null, "d@x.ru")),
            ("07:00", received("q1", "c@x.ru", Value::Null)),
            ("07:10", received("q2", "c@x.ru", entity("DEAL", "D2"))),
            ("07:20", received("q3", "c@x.ru", entity("DEAL", "D3"))),
            ("08:10", closed("DEAL", "D1", "LOST")),
            ("08:30", closed("DEAL", "D2", "WON")),
            ("08:40", sent("c@x.ru", Value::Null)),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            "message_unanswered FIRING 08:00:00 3600.0",
            // D1 alone ends nothing. D2 ends q1 and q2; q3 waits on its own since 07:20, known at 08:30.
            "message_unanswered RESOLVED 08:30:00 5400.0 closed",
            "message_unanswered FIRING 08:30:00 4200.0",
            "message_unanswered RESOLVED 08:40:00 4800.0 answered",
        ]
    );
    // The reply lag of q3 only.
    let lag = |path: &str| figure(&verdict, "tenant", path);
    assert_eq!((lag("/reply/n"), lag("/reply/mean_seconds")), (json!(1), json!(4800.0)));
}

#[test]
fn a_converted_lead_hands_its_messages_to_its_deals() {
    let list = |more: &[(&'static str, Value)]| {
        let mut list = vec![
            ("06:30", lead_with("1", "c@x.ru")),
            ("07:00", received("q1", "c@x.ru", Value::Null)),
            // Closes the lead as CONVERTED.
            ("07:10", deal("D1", json!("1"), "other@x.ru")),
            ("07:11", closed("LEAD", "1", "DISQUALIFIED")),
        ];
        list.extend(more.iter().cloned());
        run(&norms(), "12:00", &list)
    };
    let firing = "message_unanswered FIRING 08:00:00 3600.0";
    assert_eq!(summary(&list(&[])), [firing]);
    assert_eq!(summary(&list(&[("07:30", closed("DEAL", "D1", "LOST"))])), NOTHING);
    // A second deal names the lead: the last one closed counts.
    let second = ("07:20", deal("D2", json!("1"), "other@x.ru"));
    let both = list(&[second, ("07:30", closed("DEAL", "D1", "LOST")), ("09:00", closed("DEAL", "D2", "WON"))]);
    assert_eq!(summary(&both), [firing, "message_unanswered RESOLVED 09:00:00 7200.0 closed"]);
    // A conversation with the deal answers the message of the lead.
    let talk = json!({"call_ended": {"call_id": "c", "direction": "OUTBOUND", "phone": "+79000003709", "outcome": "ANSWERED", "talk_seconds": 60, "started_at": time("07:40"), "entity": entity("DEAL", "D1")}});
    assert_eq!(summary(&list(&[("07:41", talk)])), NOTHING);
}

#[test]
fn a_message_of_closed_entities_is_ended_by_an_answer_alone() {
    let verdict = run(
        &norms(),
        "12:00",
        &[
            ("06:30", lead_with("1", "c@x.ru")),
            ("06:40", closed("LEAD", "1", "DISQUALIFIED")),
            ("07:00", received("q1", "c@x.ru", lead("1"))),
            ("07:10", json!({"reopened": {"entity": lead("1")}})),
            ("07:20", closed("LEAD", "1", "LOST")),
            ("08:20", sent("c@x.ru", Value::Null)),
        ],
    );
    assert_eq!(
        summary(&verdict),
        ["message_unanswered FIRING 08:00:00 3600.0", "message_unanswered RESOLVED 08:20:00 4800.0 answered"]
    );
}

#[test]
fn dismissals_take_demands_off_the_list() {
    // Shared case 37.
    let verdict = run(
        &norms(),
        "12:00",
        &[
            ("07:00", received("q1", "ads@x.ru", Value::Null)),
            ("07:00:20", missed("c1", "07:00")),
            ("07:10", dismissed("q1", json!("anna"))),
            ("07:50", dismissed("c1", json!("anna"))),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            "missed_call_not_returned FIRING 07:30:20 1800.0",
            "missed_call_not_returned RESOLVED 07:50:00 2980.0 dismissed"
        ]
    );
    assert_eq!(figure(&verdict, "manager:anna", "/dismissed"), 2);
    assert_eq!(
        (figure(&verdict, "tenant", "/reply/n"), figure(&verdict, "tenant", "/call_back/n")),
        (json!(0), json!(0))
    );
    assert_eq!(waiting(&verdict), (json!(0), json!(0)));
}

#[test]
fn a_dismissal_ends_what_is_dated_up_to_it() {
    let verdict = run(
        &norms(),
        "12:00",
        &[
            ("07:00", received("<q1@x>", "c@x.ru", Value::Null)),
            ("07:10", received(" <q2@x> (mobile)", "c@x.ru", Value::Null)),
            ("07:20", received("q3@x", "c@x.ru", Value::Null)),
            ("08:05", dismissed("q2@x", Value::Null)),
            // Nothing left to take off.
            ("08:06", dismissed("q1@x", Value::Null)),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            "message_unanswered FIRING 08:00:00 3600.0",
            "message_unanswered RESOLVED 08:05:00 3900.0 dismissed",
            // The first later one waits on its own.
            "message_unanswered FIRING 08:20:00 3600.0",
        ]
    );
    assert_eq!(verdict.alerts[0]["interaction_id"], "<q1@x>");
    // By the event's manager, else the demand's.
    assert_eq!((figure(&verdict, "manager:boris", "/dismissed"), waiting(&verdict).0), (json!(1), json!(1)));
}

#[test]
fn a_dismissal_may_come_before_its_interaction() {
    let verdict = run(
        &norms(),
        "12:00",
        &[
            ("06:00", dismissed("q1", json!("anna"))),
            ("06:00", dismissed("s1", Value::Null)),
            ("07:00", received("q1", "c@x.ru", Value::Null)),
            ("07:01", received("q1", "c@x.ru", Value::Null)),
            ("07:02", {
                let mut call = missed("c1", "07:01");
                call["call_ended"]["session_id"] = json!("s1");
                call
            }),
        ],
    );
    // The first q1 after the dismissal; the second waits on its own. No call waits.
    assert_eq!(summary(&verdict), ["message_unanswered FIRING 08:01:00 3600.0"]);
    assert_eq!(waiting(&verdict), (json!(1), json!(0)));
    assert_eq!(figure(&verdict, "manager:anna", "/dismissed"), 1);
    assert_eq!(figure(&verdict, "manager:boris", "/dismissed"), 1);
}

#[test]
fn a_call_is_dismissed_by_any_of_its_ids() {
    let leg = |id: &str, start: &str| {
        let mut call = missed(id, start);
        call["call_ended"]["session_id"] = json!("s");
        call
    };
    for id in ["a", "b", "s"] {
        let verdict = run(
            &norms(),
            "12:00",
            &[
                ("07:00:20", leg("a", "07:00")),
                ("07:00:40", leg("b", "07:00:20")),
                ("07:05", missed("later", "07:04")),
                ("07:10", dismissed(id, json!("anna"))),
            ],
        );
        // The later call waits on its own, from its own end.
        assert_eq!(summary(&verdict), ["missed_call_not_returned FIRING 07:35:00 1800.0"], "{id}");
        assert_eq!(figure(&verdict, "manager:anna", "/dismissed"), 1, "{id}");
    }
}

#[test]
fn ids_of_replies_are_compared_without_brackets() {
    let list = |reply: &str| {
        run(
            &norms(),
            "12:00",
            &[("07:00", received("<a@b> ", "c@x.ru", Value::Null)), ("07:30", sent("another@x.ru", json!(reply)))],
        )
    };
    for reply in ["<a@b>", "a@b", " <a@b> (sent from my phone)"] {
        assert_eq!(summary(&list(reply)), NOTHING, "{reply}");
    }
    assert_eq!(summary(&list("A@b")), ["message_unanswered FIRING 08:00:00 3600.0"]);
}

#[test]
fn evidence_retracts_what_was_dismissed_or_closed() {
    // A conversation of 07:20, known at 09:00, answers q1 in time.
    let talk = json!({"call_ended": {"call_id": "c", "direction": "OUTBOUND", "phone": "+79000003709", "outcome": "ANSWERED", "talk_seconds": 60, "started_at": time("07:20"), "entity": entity("DEAL", "D1")}});
    for (end, resolution) in [(dismissed("q1", json!("anna")), "dismissed"), (closed("DEAL", "D1", "WON"), "closed")] {
        let verdict = run(
            &norms(),
            "12:00",
            &[
                ("06:30", deal("D1", Value::Null, "c@x.ru")),
                ("07:00", received("q1", "c@x.ru", Value::Null)),
                ("08:10", end),
                ("09:00", talk.clone()),
            ],
        );
        assert_eq!(
            summary(&verdict),
            [
                "message_unanswered FIRING 08:00:00 3600.0".to_owned(),
                format!("message_unanswered RESOLVED 08:10:00 4200.0 {resolution}"),
                "message_unanswered RETRACTED 09:00:00 1200.0 late_evidence".to_owned(),
            ]
        );
        // By the dates of the acts it was answered first.
        assert_eq!(figure(&verdict, "tenant", "/reply/n"), 1);
    }
}

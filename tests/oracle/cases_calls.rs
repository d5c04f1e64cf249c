//! Hand-worked cases of calls: legs, sessions, overlaps, versions, impossible times, who answered, short rings, ignored
//! and shared contacts, call backs on another number. Times as in `cases`.

use serde_json::{Value, json};

use super::Verdict;
use super::cases::{lead, row, run, time};

/// The alerts as `rule STATUS HH:MM:SS observed [resolution]`.
pub fn summary(verdict: &Verdict) -> Vec<String> {
    let line = |a: &Value| {
        let resolution = a["resolution"].as_str().map_or(String::new(), |r| format!(" {r}"));
        let (rule, status) = (a["rule"].as_str().unwrap(), a["status"].as_str().unwrap());
        let observed = a["observed"].as_object().unwrap().values().next().unwrap();
        format!("{rule} {status} {} {observed}{resolution}", &a["at"].as_str().unwrap()[11..19])
    };
    verdict.alerts.iter().map(line).collect()
}

fn with(defaults: Value, given: Value) -> Value {
    let mut all = defaults;
    all.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
    all
}

const ONE: &str = "+79000002001";
const OTHER: &str = "+79000002002";

/// A `call_ended`, by default a missed call from one number.
fn ended(given: Value) -> Value {
    let defaults =
        json!({"call_id": "c", "direction": "INBOUND", "phone": ONE, "outcome": "NO_ANSWER", "talk_seconds": 0});
    json!({"call_ended": with(defaults, given)})
}

/// An answered leg.
fn answered(given: Value) -> Value {
    ended(with(json!({"outcome": "ANSWERED", "talk_seconds": 60}), given))
}

fn started(given: Value) -> Value {
    json!({"call_started": with(json!({"call_id": "c", "direction": "OUTBOUND", "phone": ONE}), given)})
}

/// An attempt to call.
fn tried(given: Value) -> Value {
    ended(with(json!({"direction": "OUTBOUND", "call_id": "out"}), given))
}

fn lead_with(id: &str, phones: &[&str]) -> Value {
    let contacts: Vec<Value> = phones.iter().map(|phone| json!({ "phone": phone })).collect();
    json!({"lead_created": {"lead_id": id, "manager_id": "anna", "contacts": contacts}})
}

fn norms() -> Value {
    json!({"norms": {"missed_call_not_returned": {"within": "30m"}}})
}

fn missed_norm(more: Value) -> Value {
    json!({"norms": {"missed_call_not_returned": with(json!({"within": "30m"}), more)}})
}

/// (inbound answered, inbound missed, outbound answered, outbound unanswered, talk, touches) of a subject.
fn calls(verdict: &Verdict, subject: &str) -> (u64, u64, u64, u64, f64, u64) {
    let row = row(verdict, subject, "24h");
    let count = |key: &str| row["calls"][key].as_u64().unwrap();
    (
        count("inbound_answered"),
        count("inbound_missed"),
        count("outbound_answered"),
        count("outbound_unanswered"),
        row["talk_seconds"].as_f64().unwrap(),
        row["touches"].as_u64().unwrap(),
    )
}

fn unreturned(verdict: &Verdict) -> u64 {
    row(verdict, "tenant", "now")["unreturned_calls"].as_u64().unwrap()
}

fn call_back(verdict: &Verdict) -> (u64, Value) {
    let lags = &row(verdict, "tenant", "24h")["call_back"];
    (lags["n"].as_u64().unwrap(), lags["mean_seconds"].clone())
}

#[test]
fn three_phones_ring_for_one_caller() {
    // Shared case 20a. One component 10:00:00–10:05:00, answered by anna.
    let verdict = run(
        &norms(),
        "15:00",
        &[
            ("10:00:20", ended(json!({"call_id": "b", "started_at": time("10:00"), "manager_id": "boris"}))),
            ("10:00:20", ended(json!({"call_id": "v", "started_at": time("10:00"), "manager_id": "vera"}))),
            (
                "10:05",
                answered(
                    json!({"call_id": "a", "started_at": time("10:00"), "manager_id": "anna", "talk_seconds": 280}),
                ),
            ),
        ],
    );
    assert_eq!(summary(&verdict), [""; 0]);
    assert_eq!(calls(&verdict, "tenant"), (1, 0, 0, 0, 280.0, 1));
    assert_eq!(calls(&verdict, "manager:anna"), (1, 0, 0, 0, 280.0, 1));
    assert_eq!(unreturned(&verdict), 0);
}

#[test]
fn one_linkedid_has_two_legs() {
    // Shared case 20c: the second record differs, so it is another leg of the same call.
    let verdict = run(
        &norms(),
        "15:00",
        &[
            ("10:00:20", ended(json!({"started_at": time("10:00"), "manager_id": "boris"}))),
            ("10:05", answered(json!({"started_at": time("10:00"), "manager_id": "anna", "talk_seconds": 280}))),
        ],
    );
    assert_eq!(summary(&verdict), [""; 0]);
    assert_eq!(calls(&verdict, "manager:anna"), (1, 0, 0, 0, 280.0, 1));
    assert_eq!(calls(&verdict, "manager:boris"), (0, 0, 0, 0, 0.0, 0));
}

#[test]
fn nobody_answers_a_chain_of_overlapping_legs() {
    // 10:00–10:01, 10:00:30–10:01:30, 10:01:10–10:02 form a chain: one missed call, dated 10:00. 10:02–10:03 is
    // adjacent: another one. The first wait is that of the leg that ended first.
    let leg = |id: &str, start: &str| ended(json!({"call_id": id, "started_at": time(start), "manager_id": id}));
    let verdict = run(
        &norms(),
        "15:00",
        &[
            ("10:01", leg("a", "10:00")),
            ("10:01:30", leg("b", "10:00:30")),
            ("10:02", leg("c", "10:01:10")),
            ("10:03", leg("d", "10:02")),
        ],
    );
    assert_eq!(calls(&verdict, "tenant"), (0, 2, 0, 0, 0.0, 0));
    // For the first leg by start that names a manager.
    assert_eq!(calls(&verdict, "manager:a"), (0, 1, 0, 0, 0.0, 0));
    assert_eq!(summary(&verdict), ["missed_call_not_returned FIRING 10:31:00 1800.0"]);
    assert_eq!(verdict.alerts[0]["interaction_id"], "a");
    assert_eq!(unreturned(&verdict), 1);
}

#[test]
fn legs_with_a_session_do_not_overlap() {
    // Both legs must be without session: the missed call of session s is not that of b.
    let verdict = run(
        &norms(),
        "15:00",
        &[
            ("10:00:20", ended(json!({"call_id": "a", "session_id": "s", "started_at": time("10:00")}))),
            ("10:05", answered(json!({"call_id": "b", "started_at": time("10:00"), "manager_id": "anna"}))),
        ],
    );
    // The conversation began before the missed call ended, so it is no call back either.
    assert_eq!(summary(&verdict), ["missed_call_not_returned FIRING 10:30:20 1800.0"]);
    assert_eq!(calls(&verdict, "tenant"), (1, 1, 0, 0, 60.0, 1));
}

#[test]
fn a_leg_of_length_zero_overlaps_what_contains_it() {
    let short = |at: &str| ended(json!({"call_id": "z", "started_at": time(at)}));
    let long = answered(json!({"call_id": "a", "started_at": time("10:00"), "manager_id": "anna"}));
    for (at, missed) in [("10:00", 1), ("10:00:01", 0), ("10:01", 1)] {
        let mut list = vec![(at, short(at)), ("10:01", long.clone())];
        list.sort_by_key(|(at, _)| time(at));
        let verdict = run(&norms(), "10:10", &list);
        assert_eq!(calls(&verdict, "tenant").1, missed, "{at}");
    }
}

#[test]
fn a_session_named_late_joins_its_legs() {
    // Missed at 10:00:20 (call a); b talks from 10:41 to 10:45. Both name their session later: a by another leg, b by a
    // late call_started, which is no attempt.
    let b = json!({"call_id": "b", "manager_id": "anna", "talk_seconds": 100});
    let list = |joined: bool| {
        let mut list = vec![
            ("10:00:20", ended(json!({"call_id": "a", "started_at": time("10:00"), "manager_id": "boris"}))),
            ("10:45", answered(with(b.clone(), json!({"started_at": time("10:41")})))),
        ];
        if joined {
            let session = json!({"call_id": "a", "session_id": "s", "started_at": time("10:45"), "manager_id": "vera"});
            list.push(("10:46", ended(session)));
            let session = json!({"call_id": "b", "session_id": "s", "direction": "INBOUND"});
            list.push(("10:47", started(session)));
        }
        list
    };
    let verdict = run(&norms(), "15:00", &list(false));
    assert_eq!(
        summary(&verdict),
        [
            "missed_call_not_returned FIRING 10:30:20 1800.0",
            "missed_call_not_returned RESOLVED 10:45:00 2440.0 customer_called_again"
        ]
    );
    let verdict = run(&norms(), "15:00", &list(true));
    // 10:47: one call, whose conversation began at 10:41: the lag is 2440 s, and it counts as returned in time.
    assert_eq!(
        summary(&verdict),
        [
            "missed_call_not_returned FIRING 10:30:20 1800.0",
            "missed_call_not_returned RESOLVED 10:45:00 2440.0 customer_called_again",
            "missed_call_not_returned RETRACTED 10:47:00 2440.0 late_evidence"
        ]
    );
    // One call from the beginning: 10:00 inbound, answered by anna.
    assert_eq!(calls(&verdict, "manager:anna"), (1, 0, 0, 0, 100.0, 1));
    assert_eq!((call_back(&verdict), unreturned(&verdict)), ((0, Value::Null), 0));
    assert_eq!(row(&verdict, "tenant", "24h")["violations"], json!({}));
}

#[test]
fn its_own_conversation_is_in_time_whenever_it_began() {
    // Within 1 min. The queue gives up boris at 10:00:20; anna takes the call at 10:05 and talks to 10:07.
    let norms = missed_norm(json!({"within": "1m"}));
    let leg = |manager: &str, start: &str| json!({"session_id": "s", "call_id": manager, "manager_id": manager, "started_at": time(start)});
    let verdict =
        run(&norms, "15:00", &[("10:00:20", ended(leg("boris", "10:00"))), ("10:07", answered(leg("anna", "10:05")))]);
    assert_eq!(
        summary(&verdict),
        [
            "missed_call_not_returned FIRING 10:01:20 60.0",
            // From 10:00:20 to 10:05.
            "missed_call_not_returned RETRACTED 10:07:00 280.0 late_evidence"
        ]
    );
    assert_eq!(call_back(&verdict), (0, Value::Null));
    // The call is dated 10:00.
    assert_eq!(calls(&verdict, "manager:anna"), (1, 0, 0, 0, 60.0, 1));
}

#[test]
fn talk_is_summed_and_counts_for_the_longest_conversation() {
    // A transfer: anna 40 s, then vera 200 s in one session; boris did not answer.
    let leg = |manager: &str, start: &str, talk: u32| json!({"session_id": "s", "call_id": manager, "manager_id": manager, "started_at": time(start), "talk_seconds": talk});
    let verdict = run(
        &norms(),
        "15:00",
        &[
            ("10:00:20", ended(leg("boris", "10:00", 0))),
            ("10:01:10", answered(leg("anna", "10:00:20", 40))),
            ("10:05", answered(leg("vera", "10:01:10", 200))),
        ],
    );
    // The touch counts for anna, whose leg is the earliest that makes it.
    assert_eq!(calls(&verdict, "manager:vera"), (1, 0, 0, 0, 240.0, 0));
    assert_eq!(calls(&verdict, "manager:anna"), (0, 0, 0, 0, 0.0, 1));
    // Nobody named by the longest conversation: the first leg by start that names a manager.
    let mut unnamed = leg("vera", "10:01:10", 200);
    unnamed["manager_id"] = Value::Null;
    let verdict = run(
        &norms(),
        "15:00",
        &[
            ("10:00:20", ended(leg("boris", "10:00", 0))),
            ("10:01:10", answered(leg("anna", "10:00:20", 40))),
            ("10:05", answered(unnamed)),
        ],
    );
    assert_eq!(calls(&verdict, "manager:boris"), (1, 0, 0, 0, 240.0, 0));
}

#[test]
fn a_repeated_record_fills_what_was_absent() {
    // The same leg with its recording, then with its lead: one call, one leg. The lead is touched at the call's start.
    let leg = json!({"call_id": "out", "direction": "OUTBOUND", "started_at": time("10:05"), "manager_id": "anna"});
    let norms = json!({"norms": {"first_response_late": {"within": "15m"}}});
    let again = with(leg.clone(), json!({"recording_url": "x", "entity": lead("1")}));
    let verdict = run(
        &norms,
        "12:00",
        &[
            ("10:00", lead_with("1", &[])),
            ("10:06", ended(leg.clone())),
            ("10:06", ended(again.clone())),
            ("10:06", ended(again)),
        ],
    );
    assert_eq!(summary(&verdict), [""; 0]);
    assert_eq!(calls(&verdict, "tenant"), (0, 0, 0, 1, 0.0, 1));
    let lag = &row(&verdict, "tenant", "24h")["first_response"]["wall"];
    assert_eq!((&lag["n"], &lag["mean_seconds"]), (&json!(1), &json!(300.0)));
    // Another end is another leg: one call, and still one touch.
    let verdict = run(
        &norms,
        "12:00",
        &[("10:00", lead_with("1", &[ONE])), ("10:06", ended(leg.clone())), ("10:07", ended(leg))],
    );
    assert_eq!(calls(&verdict, "tenant"), (0, 0, 0, 1, 0.0, 1));
}

#[test]
fn another_version_replaces_a_leg() {
    // The first record of leg l says unanswered at 10:00:20, the corrected one of 10:05 that anna talked.
    let version = json!({"call_id": "a", "leg_id": "l", "started_at": time("10:00"), "manager_id": "anna"});
    let verdict = run(&norms(), "15:00", &[("10:00:20", ended(version.clone())), ("10:05", answered(version.clone()))]);
    assert_eq!(summary(&verdict), [""; 0]);
    assert_eq!(calls(&verdict, "tenant"), (1, 0, 0, 0, 60.0, 1));
    // The other way round: the conversation is withdrawn, and the missed call waits from its own end.
    let verdict = run(&norms(), "15:00", &[("10:02", answered(version.clone())), ("10:05", ended(version.clone()))]);
    assert_eq!(summary(&verdict), ["missed_call_not_returned FIRING 10:35:00 1800.0"]);
    assert_eq!(verdict.alerts[0]["anchor_at"], time("10:05"));
    assert_eq!(calls(&verdict, "tenant"), (0, 1, 0, 0, 0.0, 0));
    // A demand that is open keeps its anchor.
    let verdict = run(&norms(), "15:00", &[("10:02", ended(version.clone())), ("10:05", ended(version.clone()))]);
    assert_eq!(summary(&verdict), ["missed_call_not_returned FIRING 10:32:00 1800.0"]);
    assert_eq!(calls(&verdict, "tenant"), (0, 1, 0, 0, 0.0, 0));
    // Under another call_id the leg leaves its old call, which had no other leg; the open demand goes with it.
    let elsewhere = with(version.clone(), json!({"call_id": "b"}));
    let list = |second: Value| [("10:02", ended(version.clone())), ("10:05", second)];
    let verdict = run(&norms(), "15:00", &list(ended(elsewhere.clone())));
    assert_eq!(summary(&verdict), ["missed_call_not_returned FIRING 10:32:00 1800.0"]);
    assert_eq!(verdict.alerts[0]["interaction_id"], "a");
    assert_eq!(calls(&verdict, "tenant"), (0, 1, 0, 0, 0.0, 0));
    // If it was a conversation there, nothing was missed here.
    let verdict = run(&norms(), "15:00", &list(answered(elsewhere)));
    assert_eq!((summary(&verdict).len(), unreturned(&verdict)), (0, 0));
    assert_eq!(calls(&verdict, "tenant"), (1, 0, 0, 0, 60.0, 1));
    // A call back to a version that was missed too stays one, and no wait begins again.
    let back = tried(json!({"started_at": time("10:10")}));
    let list = [("10:02", ended(version.clone())), ("10:10", back), ("10:30", ended(version))];
    let verdict = run(&norms(), "15:00", &list);
    assert_eq!((summary(&verdict).len(), call_back(&verdict), unreturned(&verdict)), (0, (1, json!(480.0)), 0));
}

#[test]
fn a_replaced_touch_leaves_the_figures_and_not_the_alerts() {
    let norms = json!({"norms": {"first_response_late": {"within": "15m"}}});
    let version = json!({"leg_id": "l", "call_id": "a", "started_at": time("10:20"), "entity": lead("1")});
    let verdict = run(
        &norms,
        "12:00",
        &[
            ("10:00", lead_with("1", &[ONE])),
            ("10:21", ended(with(version.clone(), json!({"direction": "OUTBOUND"})))),
            ("10:30", ended(version)),
        ],
    );
    assert_eq!(
        summary(&verdict),
        ["first_response_late FIRING 10:15:00 900.0", "first_response_late RESOLVED 10:21:00 1200.0 responded"]
    );
    assert_eq!(calls(&verdict, "tenant"), (0, 1, 0, 0, 0.0, 0));
    assert_eq!(row(&verdict, "tenant", "now")["awaiting_first_response"], 1);
    assert_eq!(row(&verdict, "tenant", "24h")["first_response"]["wall"]["n"], 0);
}

#[test]
fn machines_do_not_talk() {
    for (by, conversations) in [("PERSON", 1), ("QUEUE", 0), ("IVR", 0), ("VOICEMAIL", 0)] {
        let leg = json!({"answered_by": by, "started_at": time("10:00"), "manager_id": "anna"});
        let verdict = run(&norms(), "12:00", &[("10:01", answered(leg))]);
        assert_eq!(calls(&verdict, "tenant").0, conversations, "{by}");
        assert_eq!(unreturned(&verdict), 1 - conversations, "{by}");
    }
    // With `conversation_needs_manager` an inbound answer that names nobody is none; an outbound one is.
    let leg = |direction: &str| answered(json!({"direction": direction, "started_at": time("10:00")}));
    for (needs, direction, conversation) in
        [(false, "INBOUND", true), (true, "INBOUND", false), (true, "OUTBOUND", true)]
    {
        let mut norms = norms();
        norms["conversation_needs_manager"] = json!(needs);
        let verdict = run(&norms, "12:00", &[("10:01", leg(direction))]);
        let (inbound, _, outbound, ..) = calls(&verdict, "tenant");
        assert_eq!(inbound + outbound == 1, conversation, "{needs} {direction}");
    }
}

#[test]
fn answered_without_talk_time() {
    // Shared case 23: 10:05:00 − 10:00:10 = 290 s.
    let leg = |answered_at: &str, talk: Value| {
        answered(
            json!({"started_at": time("10:00"), "answered_at": answered_at, "talk_seconds": talk, "manager_id": "anna"}),
        )
    };
    let talk = |leg: Value| calls(&run(&norms(), "12:00", &[("10:05", leg)]), "tenant").4;
    assert_eq!(talk(leg(&time("10:00:10"), Value::Null)), 290.0);
    // After the end or more than 24 h before it: no talk. A given talk stands; a negative one is none.
    assert_eq!(talk(leg(&time("10:05:01"), Value::Null)), 0.0);
    assert_eq!(talk(leg(&time("1 10:04:59"), Value::Null)), 0.0);
    assert_eq!(talk(leg(&time("10:00:10"), json!(7))), 7.0);
    assert_eq!(talk(leg(&time("10:00:10"), json!(-7))), 0.0);
}

#[test]
fn impossible_starts_are_put_right() {
    // Shared case 25a: no call_started is known, so the start is the end less the talk.
    let norms = json!({"norms": {"first_response_late": {"within": "15m"}}});
    let attempt = |start: &str| tried(json!({"started_at": start, "manager_id": "anna"}));
    let list = |start: &str| [("07:00", lead_with("1", &[ONE])), ("10:01", attempt(start))];
    for start in ["0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", &time("10:02"), &time("1 10:00")] {
        let verdict = run(&norms, "12:00", &list(start));
        assert_eq!(
            summary(&verdict),
            ["first_response_late FIRING 07:15:00 900.0", "first_response_late RESOLVED 10:01:00 10860.0 responded"],
            "{start}"
        );
        assert_eq!(calls(&verdict, "tenant"), (0, 0, 0, 1, 0.0, 1));
    }
    // The end less 30 s of talk; or the instant of the call_started, which of two is the first within 24 h.
    let talk = |list: &[(&str, Value)]| {
        let verdict = run(&norms, "4 12:00", list);
        row(&verdict, "tenant", "7d")["first_response"]["wall"]["mean_seconds"].clone()
    };
    let end = ("3 10:01", answered(json!({"direction": "OUTBOUND", "talk_seconds": 30, "manager_id": "anna"})));
    let lead = ("2 08:00", lead_with("1", &[ONE]));
    // From 08:00 to 10:00:30 of the next day.
    assert_eq!(talk(&[lead.clone(), end.clone()]), 26.0 * 3600.0 + 30.0);
    let inbound = |at: &'static str| (at, started(json!({"direction": "INBOUND"})));
    assert_eq!(talk(&[lead.clone(), inbound("2 09:00"), inbound("3 09:00"), inbound("3 09:30"), end]), 25.0 * 3600.0);
}

#[test]
fn short_rings_open_no_clock() {
    let norms = missed_norm(json!({"min_ring": "10s"}));
    let leg = |id: &str, start: &str| json!({"session_id": "s", "call_id": id, "started_at": time(start)});
    let verdict = run(&norms, "12:00", &[("10:00:09", ended(leg("a", "10:00")))]);
    assert_eq!((summary(&verdict).len(), unreturned(&verdict)), (0, 0));
    assert_eq!(calls(&verdict, "tenant").1, 1);
    let verdict = run(&norms, "12:00", &[("10:00:10", ended(leg("a", "10:00")))]);
    assert_eq!(unreturned(&verdict), 1);
    // The call rings from 10:00:00 to 10:00:12: the second leg opens the demand, with the anchor of the first.
    let verdict =
        run(&norms, "12:00", &[("10:00:05", ended(leg("a", "10:00"))), ("10:00:12", ended(leg("b", "10:00:06")))]);
    assert_eq!(summary(&verdict), ["missed_call_not_returned FIRING 10:30:05 1800.0"]);
    assert_eq!(
        (&verdict.alerts[0]["interaction_id"], &verdict.alerts[0]["anchor_at"]),
        (&json!("a"), &json!(time("10:00:05")))
    );
    // An IVR answered after 4 s and played music for a minute; a queue rings.
    let machine =
        |by: &str| answered(with(leg("a", "10:00"), json!({"answered_by": by, "answered_at": time("10:00:04")})));
    assert_eq!(unreturned(&run(&norms, "12:00", &[("10:01", machine("IVR"))])), 0);
    assert_eq!(unreturned(&run(&norms, "12:00", &[("10:01", machine("QUEUE"))])), 1);
}

#[test]
fn ignored_contacts_do_nothing() {
    let mut norms = norms();
    norms["norms"]["first_response_late"] = json!({"within": "15m"});
    norms["ignored_contacts"] = json!(["8 900 000-20-01"]);
    let list = [
        ("10:00", lead_with("1", &[ONE])),
        ("10:01", tried(json!({"started_at": time("10:01"), "manager_id": "anna"}))),
        ("10:02", ended(json!({"started_at": time("10:01:50")}))),
        // In a field of several numbers one is enough.
        ("10:04", ended(json!({"started_at": time("10:03"), "call_id": "d", "phone": format!("{OTHER}, {ONE}")}))),
    ];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(summary(&verdict), ["first_response_late FIRING 10:15:00 900.0"]);
    assert_eq!(calls(&verdict, "tenant"), (0, 0, 0, 0, 0.0, 0));
    // An override replaces the list.
    norms["overrides"] = json!([{"when": {"tenant": "t"}, "ignored_contacts": ["@example.com"]}]);
    let verdict = run(&norms, "10:10", &list);
    assert_eq!(calls(&verdict, "tenant"), (0, 2, 0, 1, 0.0, 1));
}

#[test]
fn a_call_back_on_another_number_of_the_lead() {
    // Shared case 35: 10:10:00 − 10:00:20 = 580 s.
    let missed = ("10:00:20", ended(json!({"started_at": time("10:00"), "manager_id": "anna"})));
    let lead1 = ("09:30", lead_with("1", &[ONE, OTHER]));
    let back = |phone: &str, more: Value| {
        tried(with(json!({"phone": phone, "started_at": time("10:10"), "manager_id": "anna"}), more))
    };
    let verdict = run(&norms(), "12:00", &[lead1.clone(), missed.clone(), ("10:15", back(OTHER, json!({})))]);
    assert_eq!(summary(&verdict), [""; 0]);
    assert_eq!((call_back(&verdict), unreturned(&verdict)), ((1, json!(580.0)), 0));
    // A number of nobody returns nothing, unless the call names the lead.
    let stranger = "+79000002099";
    let verdict = run(&norms(), "12:00", &[lead1.clone(), missed.clone(), ("10:15", back(stranger, json!({})))]);
    assert_eq!((summary(&verdict).len(), call_back(&verdict).0), (1, 0));
    let verdict = run(
        &norms(),
        "12:00",
        &[lead1.clone(), missed.clone(), ("10:15", back(stranger, json!({"entity": lead("1")})))],
    );
    assert_eq!((summary(&verdict).len(), call_back(&verdict).0), (0, 1));
    // The contact is linked after the call back became known: it proves nothing.
    let linked = json!({"contact_linked": {"entity": lead("1"), "contact": {"phone": OTHER}}});
    let late = [("09:30", lead_with("1", &[ONE])), missed, ("10:15", back(OTHER, json!({}))), ("10:20", linked)];
    let verdict = run(&norms(), "12:00", &late);
    assert_eq!((summary(&verdict).len(), call_back(&verdict).0, unreturned(&verdict)), (1, 0, 1));
}

#[test]
fn what_settles_one_missed_call_settles_all_of_the_contact() {
    // The second missed call names another lead; the call goes to the other number of lead 1.
    let verdict = run(
        &norms(),
        "12:00",
        &[
            ("09:30", lead_with("1", &[ONE, OTHER])),
            ("09:31", lead_with("2", &[])),
            ("10:00", ended(json!({"started_at": time("09:59"), "call_id": "a", "entity": lead("1")}))),
            ("10:05", ended(json!({"started_at": time("10:04"), "call_id": "b", "entity": lead("2")}))),
            ("10:10", tried(json!({"started_at": time("10:10"), "phone": OTHER}))),
        ],
    );
    assert_eq!((summary(&verdict).len(), call_back(&verdict), unreturned(&verdict)), (0, (1, json!(600.0)), 0));
}

#[test]
fn a_text_may_return_a_call() {
    let text = |more: Value| json!({"message_sent": with(json!({"message_id": "m", "channel": "SMS", "manager_id": "anna"}), more)});
    let list = |text: Value| {
        [
            ("09:30", lead_with("1", &[ONE, OTHER])),
            ("10:00", ended(json!({"started_at": time("09:59")}))),
            ("10:40", text),
        ]
    };
    let other = text(json!({"contact": {"phone": OTHER}}));
    assert_eq!(summary(&run(&norms(), "12:00", &list(other.clone()))).len(), 1);
    let norms = missed_norm(json!({"text_returns": true}));
    let verdict = run(&norms, "12:00", &list(other));
    assert_eq!(
        summary(&verdict),
        [
            "missed_call_not_returned FIRING 10:30:00 1800.0",
            "missed_call_not_returned RESOLVED 10:40:00 2400.0 returned"
        ]
    );
    assert_eq!(call_back(&verdict), (1, json!(2400.0)));
    // An automatic one returns nothing; one that only names the lead does not either.
    for more in [json!({"contact": {"phone": ONE}, "automatic": true}), json!({"entity": lead("1")})] {
        assert_eq!(summary(&run(&norms, "12:00", &list(text(more)))).len(), 1);
    }
}

#[test]
fn an_outbound_leg_of_an_inbound_call_returns_other_calls_only() {
    // Missed a at 10:00. The customer calls again at 10:10 (session s): nobody answers, the queue dials anna's mobile.
    let leg = |id: &str, direction: &str, start: &str| {
        ended(json!({"session_id": "s", "call_id": id, "direction": direction, "started_at": time(start)}))
    };
    let verdict = run(
        &norms(),
        "12:00",
        &[
            ("10:00", ended(json!({"call_id": "a", "started_at": time("09:59")}))),
            ("10:10:30", leg("s1", "INBOUND", "10:10")),
            ("10:11", leg("s2", "OUTBOUND", "10:10:30")),
        ],
    );
    // Call a is settled by the attempt of an inbound call, which is no call back; the second call waits.
    assert_eq!(summary(&verdict), ["missed_call_not_returned FIRING 10:40:30 1800.0"]);
    assert_eq!((call_back(&verdict).0, unreturned(&verdict)), (0, 1));
    assert_eq!(calls(&verdict, "tenant"), (0, 2, 0, 0, 0.0, 1));
}

#[test]
fn an_earlier_outbound_leg_takes_the_missed_call_back() {
    // Click to call: the leg of the manager's phone looks inbound, that of the customer is known later.
    let leg = |id: &str, direction: &str, start: &str| {
        ended(json!({"session_id": "s", "call_id": id, "direction": direction, "started_at": time(start)}))
    };
    let verdict = run(
        &norms(),
        "12:00",
        &[("10:00:20", leg("a", "INBOUND", "10:00:10")), ("10:31", leg("b", "OUTBOUND", "10:00"))],
    );
    assert_eq!(
        summary(&verdict),
        [
            "missed_call_not_returned FIRING 10:30:20 1800.0",
            "missed_call_not_returned RETRACTED 10:31:00 0.0 late_evidence"
        ]
    );
    assert_eq!(calls(&verdict, "tenant"), (0, 0, 0, 1, 0.0, 1));
}

#[test]
fn a_conversation_counts_for_every_leg() {
    // The first leg is of lead 1, the conversation of lead 2: both are touched at the conversation.
    let norms = json!({"norms": {"first_response_late": {"within": "15m"}}});
    let leg = |id: &str, entity: &str, start: &str| json!({"session_id": "s", "call_id": id, "entity": lead(entity), "started_at": time(start)});
    let verdict = run(
        &norms,
        "12:00",
        &[
            ("10:00", lead_with("1", &[])),
            ("10:00", lead_with("2", &[])),
            ("10:00", lead_with("3", &[])),
            ("10:02", ended(leg("a", "1", "10:01"))),
            ("10:05", answered(leg("b", "2", "10:03"))),
            // Known after the conversation: touched then, dated at the conversation.
            ("10:20", ended(leg("d", "3", "10:19"))),
        ],
    );
    assert_eq!(
        summary(&verdict),
        ["first_response_late FIRING 10:15:00 900.0", "first_response_late RETRACTED 10:20:00 180.0 late_evidence"]
    );
    assert_eq!(row(&verdict, "tenant", "24h")["first_response"]["wall"]["mean_seconds"], 180.0);
    assert_eq!(calls(&verdict, "tenant"), (1, 0, 0, 0, 60.0, 1));
}

#[test]
fn a_shared_contact_matches_nothing() {
    let mut norms = json!({"norms": {"first_response_late": {"within": "15m"}}});
    let mut list: Vec<(&str, Value)> = ["1", "2", "3"].map(|id| ("10:00", lead_with(id, &[ONE]))).to_vec();
    list.push(("10:05", tried(json!({"started_at": time("10:05")}))));
    assert_eq!(summary(&run(&norms, "12:00", &list)).len(), 0);
    norms["shared_contact_limit"] = json!(2);
    assert_eq!(summary(&run(&norms, "12:00", &list)).len(), 3);
    // Two open ones are not more than two.
    list.insert(3, ("10:01", json!({"closed": {"entity": lead("3"), "outcome": "LOST"}})));
    assert_eq!(summary(&run(&norms, "12:00", &list)).len(), 0);
}

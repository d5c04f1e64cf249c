//! Inputs that repeat one thing: a number, an address, a lead, a call, a field. The others are different in each
//! event. Tenants are not among them: in a replay each is a shard of its own.

use funnelwatch::domain::time::{Span, Timestamp};
use serde_json::{Value, json};

/// An input.
pub(crate) struct Input {
    pub(crate) name: &'static str,
    /// The payload, and other fields, of the event of this number, of so many, at this instant.
    pub(crate) event: fn(usize, usize, Timestamp) -> Value,
    /// An event costs a hundred times what others do, up to a bound, or is known to cost more and more: not in the short
    /// form.
    pub(crate) slow: bool,
}

const PHONE: &str = "+79161234567";
const INBOUND: &str = "INBOUND";
const OUTBOUND: &str = "OUTBOUND";

fn phone(n: usize) -> String {
    format!("+7916{n:07}")
}

fn lead() -> Value {
    json!({"kind": "LEAD", "id": "1"})
}

fn deal() -> Value {
    json!({"kind": "DEAL", "id": "1"})
}

fn new_lead(id: &str, phone: &str) -> Value {
    json!({"lead_created": {"lead_id": id, "manager_id": "ann", "contacts": [{"phone": phone}]}})
}

/// A lead of three contacts, four that are merged into it, and another one, in ten events.
fn merged(n: usize) -> Value {
    let contacts = json!([{"phone": PHONE}, {"phone": phone(1)}, {"email": "a@b.com"}]);
    match n {
        0 => json!({"lead_created": {"lead_id": "1", "manager_id": "ann", "contacts": contacts}}),
        _ if n % 2 == 1 => new_lead(&(10 * n).to_string(), &phone(n + 10)),
        _ => json!({"merged": {"entity": {"kind": "LEAD", "id": (10 * n - 10).to_string()}, "into": lead()}}),
    }
}

fn new_deal(id: &str) -> Value {
    json!({"deal_created": {"deal_id": id, "manager_id": "ann", "pipeline_id": "p", "stage_id": "a",
        "amount_minor": 5, "currency": "RUB"}})
}

/// A call, with more fields or others.
fn call(n: usize, direction: &str, more: Value) -> Value {
    let answered = direction == OUTBOUND;
    let mut call = json!({"call_id": format!("c{n}"), "direction": direction, "phone": PHONE,
        "talk_seconds": if answered { 5 } else { 0 }, "outcome": if answered { "ANSWERED" } else { "NO_ANSWER" }});
    let fields = call.as_object_mut().expect("an object");
    if answered {
        fields.insert("manager_id".into(), "ann".into());
    }
    fields.extend(more.as_object().expect("an object").clone());
    json!({"call_ended": call})
}

/// A message, with more fields or others.
fn message(n: usize, inbound: bool, more: Value) -> Value {
    let mut message = json!({"message_id": format!("m{n}"), "channel": "EMAIL", "contact": {"email": "a@b.com"}});
    let fields = message.as_object_mut().expect("an object");
    if !inbound {
        fields.insert("manager_id".into(), "ann".into());
    }
    fields.extend(more.as_object().expect("an object").clone());
    json!({if inbound { "message_received" } else { "message_sent" }: message})
}

/// The two in turn.
fn of(n: usize, two: [&'static str; 2]) -> &'static str {
    two[n % 2]
}

/// Missed calls and calls back in turn.
fn turn(n: usize) -> &'static str {
    of(n, [INBOUND, OUTBOUND])
}

/// After `first`, an event of each.
fn after(n: usize, first: Value, next: impl FnOnce() -> Value) -> Value {
    if n == 0 { first } else { next() }
}

macro_rules! inputs {
    ($($name:literal $($slow:ident)?: |$n:pat_param, $all:pat_param, $at:pat_param| $event:expr;)*) => {
        /// All inputs.
        pub(crate) const INPUTS: &[Input] = &[$(Input { name: $name, event: |$n, $all, $at| $event, slow: !stringify!($($slow)?).is_empty() }),*];
    };
}

inputs! {
    // A number.
    "missed and returned calls": |n, _, _| call(n, turn(n), json!({}));
    "missed calls": |n, _, _| call(n, INBOUND, json!({}));
    "calls back": |n, _, _| call(n, if n == 0 { INBOUND } else { OUTBOUND }, json!({}));
    "missed, then returned": |n, all, _| call(n, if n < all / 2 { INBOUND } else { OUTBOUND }, json!({}));
    "calls of all numbers": |n, _, _| call(n, turn(n), json!({"phone": phone(n / 2)}));
    "missed calls of all numbers": |n, _, _| call(n, INBOUND, json!({"phone": phone(n)}));
    "anonymous calls": |n, _, _| call(n, turn(n), json!({"phone": "anonymous"}));
    "overlapping calls" slow: |n, _, at| call(n, turn(n), json!({"started_at": (at + Span(-700_000)).to_string()}));
    "leads and deals of a number": |n, _, _| new_lead(&n.to_string(), PHONE);
    // Each call looks at all leads and deals of its number for other contacts that wait.
    "leads of a number, then calls" slow: |n, all, _| {
        if n < all / 2 { new_lead(&n.to_string(), PHONE) } else { call(n, turn(n), json!({})) }
    };
    "leads of a number and calls" slow: |n, _, _| {
        if n % 4 == 0 { new_lead(&n.to_string(), PHONE) } else { call(n, turn(n), json!({})) }
    };
    "calls of a lead's number": |n, _, _| after(n, new_lead("1", PHONE), || call(n, turn(n), json!({})));

    // A call.
    "a call" slow: |n, _, _| call(n, OUTBOUND, json!({"call_id": "c"}));
    "a call, missed" slow: |n, _, _| call(n, INBOUND, json!({"call_id": "c"}));
    "a call with other ends" slow: |n, _, _| call(n, turn(n), json!({"call_id": "c", "leg_id": format!("l{n}")}));
    "a leg": |n, _, _| call(n, OUTBOUND, json!({"leg_id": "l"}));
    "a leg of a call": |n, _, _| call(n, OUTBOUND, json!({"call_id": "c", "leg_id": "l"}));
    "legs of a session" slow: |n, _, _| call(n, OUTBOUND, json!({"session_id": "s", "leg_id": format!("l{n}")}));
    "missed legs of a session" slow: |n, _, _| call(n, INBOUND, json!({"session_id": "s"}));
    "sessions of two legs": |n, _, _| call(n, turn(n), json!({"session_id": format!("s{}", n / 2)}));
    "calls that start": |n, _, _| {
        json!({"call_started": {"call_id": format!("c{n}"), "direction": INBOUND, "phone": PHONE}})
    };
    "a call that starts": |_, _, _| json!({"call_started": {"call_id": "c", "direction": INBOUND, "phone": PHONE}});

    // An address, a thread, a message.
    "questions and answers": |n, _, _| message(n, n % 2 == 0, json!({}));
    "questions": |n, _, _| message(n, true, json!({}));
    "answers": |n, _, _| message(n, n == 0, json!({}));
    "questions, then answers": |n, all, _| message(n, n < all / 2, json!({}));
    "messages of all addresses": |n, _, _| {
        message(n, n % 2 == 0, json!({"contact": {"email": format!("a{}@b.com", n / 2)}}))
    };
    "a thread": |n, _, _| message(n, n % 2 == 0, json!({"thread_id": "t"}));
    "questions of a thread": |n, _, _| message(n, true, json!({"thread_id": "t"}));
    "a thread of all addresses": |n, _, _| {
        message(n, n % 2 == 0, json!({"thread_id": "t", "contact": {"email": format!("a{n}@b.com")}}))
    };
    "threads of an address": |n, _, _| message(n, n % 2 == 0, json!({"thread_id": format!("t{}", n / 2)}));
    "a message": |n, _, _| message(n, true, json!({"message_id": "m"}));
    "a message, sent and received": |n, _, _| message(n, n % 2 == 0, json!({"message_id": "m"}));
    "replies to a message": |n, _, _| message(n, n % 2 == 0, json!({"in_reply_to": "m0"}));
    "a chain of replies": |n, _, _| message(n, n % 2 == 0, json!({"in_reply_to": format!("m{}", n.saturating_sub(1))}));
    "replies to what is to come": |n, _, _| message(n, n % 2 == 0, json!({"in_reply_to": format!("m{}", n + 1)}));
    "messages of a lead": |n, _, _| after(n, new_lead("1", PHONE), || message(n, n % 2 == 0, json!({"entity": lead()})));
    "dismissed messages": |n, _, _| {
        if n % 2 == 0 { message(n, true, json!({})) } else {
            json!({"interaction_dismissed": {"interaction_id": format!("m{}", n - 1), "manager_id": "ann"}})
        }
    };
    "questions, the oldest dismissed": |n, _, _| match n % 3 {
        2 => {
            let of = n / 3;
            json!({"interaction_dismissed": {"interaction_id": format!("m{}", of / 2 * 3 + of % 2), "manager_id": "ann"}})
        }
        _ => message(n, true, json!({})),
    };
    "dismissals in advance": |n, _, _| json!({"interaction_dismissed": {"interaction_id": format!("m{n}")}});
    "a message dismissed": |n, _, _| after(n, message(0, true, json!({})), || {
        json!({"interaction_dismissed": {"interaction_id": "m0", "manager_id": "ann"}})
    });
    "an interaction reviewed": |n, _, _| after(n, call(0, OUTBOUND, json!({})), || {
        json!({"interaction_reviewed": {"interaction_id": "c0", "manager_id": "ann", "reviewer_id": "bob", "score": n % 100,
            "verdict": "SUCCESS"}})
    });
    "reviews of all": |n, _, _| {
        json!({"interaction_reviewed": {"interaction_id": format!("c{n}"), "manager_id": "ann", "reviewer_id": "bob",
            "score": 50, "verdict": "SUCCESS"}})
    };

    // Questions that wait, and what happens elsewhere: with another contact, about another lead or in another thread.
    "questions, and calls of another contact of the lead": |n, _, _| match n {
        0..=9 => merged(n),
        10 => message(n, true, json!({"entity": lead()})),
        11 => message(n, false, json!({"entity": lead()})),
        _ if n % 2 == 0 => message(n, true, json!({"entity": {"kind": "LEAD", "id": "90"}})),
        _ => call(n, OUTBOUND, json!({"entity": lead()})),
    };
    "questions, and calls of another contact reported again": |n, _, at| match n {
        0..=9 => merged(n),
        10 => message(n, true, json!({"entity": lead()})),
        11 => message(n, false, json!({"entity": lead()})),
        _ if n % 3 == 0 => message(n, true, json!({"entity": {"kind": "LEAD", "id": "90"}})),
        _ => call(n, OUTBOUND, json!({"entity": lead(), "call_id": format!("c{}", n / 3), "leg_id": "l",
            "talk_seconds": 5 + n % 3, "started_at": (at + Span((n % 3) as i64 * -300_000)).to_string()})),
    };
    "missed calls, and calls of another contact of the lead": |n, _, _| match n {
        0..=9 => merged(n),
        10 => call(n, INBOUND, json!({"phone": phone(1), "entity": lead()})),
        11 => call(n, OUTBOUND, json!({"phone": phone(1), "entity": lead()})),
        _ if n % 2 == 0 => call(n, INBOUND, json!({"phone": phone(1), "entity": {"kind": "LEAD", "id": "90"}})),
        _ => call(n, OUTBOUND, json!({})),
    };
    "questions, and answers in another thread": |n, _, _| match n {
        0 => message(n, true, json!({"thread_id": "t"})),
        1 => message(n, false, json!({"thread_id": "t"})),
        _ if n % 2 == 0 => message(n, true, json!({"thread_id": "u"})),
        _ => message(n, false, json!({"thread_id": "t", "contact": {"email": "c@d.com"}})),
    };
    "questions, one dismissed, and answers to that": |n, _, _| match n {
        0 => message(n, true, json!({"thread_id": "t"})),
        1 => message(n, true, json!({"thread_id": "u"})),
        2 => json!({"interaction_dismissed": {"interaction_id": "m0", "manager_id": "ann"}}),
        _ if n % 2 == 0 => message(n, true, json!({"thread_id": "u"})),
        _ => message(n, false, json!({"thread_id": "t", "in_reply_to": "m0", "contact": {"email": "c@d.com"}})),
    };
    "questions, and answers before a question of their thread": |n, all, _| match n {
        0 => message(n, true, json!({"thread_id": "t"})),
        1 => message(n, false, json!({"thread_id": "t"})),
        _ if n == all / 2 => message(n, true, json!({"thread_id": "t"})),
        _ if n % 2 == 0 => message(n, true, json!({"thread_id": "u"})),
        _ if n < all / 2 => message(n, false, json!({"thread_id": "t", "contact": {"email": "c@d.com"}})),
        _ => message(n, false, json!({"thread_id": "v", "contact": {"email": "c@d.com"}})),
    };
    "questions of two leads, and calls of another contact": |n, _, _| match n {
        0..=9 => merged(n),
        _ if n % 2 == 0 => message(n, true, json!({"entity": {"kind": "LEAD", "id": of(n / 2, ["1", "90"])}})),
        _ => call(n, OUTBOUND, json!({"entity": lead()})),
    };

    // A lead or deal.
    "leads": |n, _, _| new_lead(&n.to_string(), &phone(n));
    "deals": |n, _, _| new_deal(&n.to_string());
    "a lead": |_, _, _| new_lead("1", PHONE);
    "a lead with other contacts": |n, _, _| new_lead("1", &phone(n));
    "deals of a lead": |n, _, _| after(n, new_lead("1", PHONE), || {
        json!({"deal_created": {"deal_id": n.to_string(), "lead_id": "1", "manager_id": "ann"}})
    });
    "calls of a lead": |n, _, _| after(n, new_lead("1", PHONE), || call(n, OUTBOUND, json!({"entity": lead()})));
    "missed calls of a lead": |n, _, _| after(n, new_lead("1", PHONE), || call(n, INBOUND, json!({"entity": lead()})));
    "calls of a lead without end": |n, _, _| after(n, new_lead("1", PHONE), || {
        call(n, OUTBOUND, json!({"entity": lead(), "phone": phone(n)}))
    });
    "contacts linked": |n, _, _| after(n, new_lead("1", PHONE), || {
        json!({"contact_linked": {"entity": lead(), "contact": {"phone": phone(n)}}})
    });
    "a contact linked": |n, _, _| after(n, new_lead("1", PHONE), || {
        json!({"contact_linked": {"entity": lead(), "contact": {"phone": phone(2)}}})
    });
    "closed and reopened": |n, _, _| after(n, new_lead("1", PHONE), || {
        if n % 2 == 0 { json!({"reopened": {"entity": lead()}}) } else {
            json!({"closed": {"entity": lead(), "outcome": "DISQUALIFIED", "reason": "x"}})
        }
    });
    "closed": |n, _, _| after(n, new_lead("1", PHONE), || json!({"closed": {"entity": lead(), "outcome": "LOST"}}));
    "created and closed": |n, _, _| {
        if n % 2 == 0 { new_lead(&n.to_string(), PHONE) } else {
            json!({"closed": {"entity": {"kind": "LEAD", "id": (n - 1).to_string()}, "outcome": "LOST", "reason": "x"}})
        }
    };
    "created and deleted": |n, _, _| {
        if n % 2 == 0 { new_lead("1", PHONE) } else { json!({"deleted": {"entity": lead()}}) }
    };
    "merged into one": |n, _, _| {
        let id = |n: usize| json!({"kind": "LEAD", "id": n.to_string()});
        if n < 2 || n % 2 == 0 { new_lead(&n.to_string(), PHONE) } else {
            json!({"merged": {"entity": id(n - 1), "into": id(0)}})
        }
    };
    "merged in a chain": |n, _, _| {
        let id = |n: usize| json!({"kind": "LEAD", "id": n.to_string()});
        if n < 2 || n % 2 == 0 { new_lead(&n.to_string(), &phone(n)) } else {
            json!({"merged": {"entity": id(n - 3 + n % 3 / 2), "into": id(n - 1)}})
        }
    };
    "handed over": |n, _, _| after(n, new_lead("1", PHONE), || {
        json!({"assigned": {"entity": lead(), "manager_id": of(n, ["ann", "bob"])}})
    });
    "handed over to all": |n, _, _| after(n, new_lead("1", PHONE), || {
        json!({"assigned": {"entity": lead(), "manager_id": format!("m{}", n % 1000)}})
    });
    "terms": |n, _, _| after(n, new_deal("1"), || {
        json!({"terms_offered": {"deal_id": "1", "manager_id": "ann", "discount_percent": n % 50}})
    });
    "snapshots": |_, _, _| json!({"deal_snapshot": {"deal_id": "1", "manager_id": "ann", "pipeline_id": "p", "stage_id": "a"}});
    "snapshots of all": |n, _, _| {
        json!({"deal_snapshot": {"deal_id": n.to_string(), "manager_id": "ann", "pipeline_id": "p", "stage_id": "a"}})
    };

    // A stage, a field.
    "two stages": |n, _, _| after(n, new_deal("1"), || {
        json!({"stage_changed": {"entity": deal(), "from_stage_id": of(n + 1, ["a", "b"]), "to_stage_id": of(n, ["a", "b"])}})
    });
    "a stage": |n, _, _| after(n, new_deal("1"), || json!({"stage_changed": {"entity": deal(), "to_stage_id": "b"}}));
    "other stages": |n, _, _| after(n, new_deal("1"), || {
        json!({"stage_changed": {"entity": deal(), "to_stage_id": format!("s{n}")}})
    });
    "snapshots of two stages": |n, _, _| {
        json!({"deal_snapshot": {"deal_id": "1", "manager_id": "ann", "pipeline_id": "p", "stage_id": of(n, ["a", "b"])}})
    };
    "deals in other stages": |n, _, _| {
        json!({"deal_created": {"deal_id": n.to_string(), "pipeline_id": "p", "stage_id": format!("s{n}"), "manager_id": "ann",
            "amount_minor": 5, "currency": format!("C{n}")}})
    };
    "a field filled": |n, _, _| after(n, new_deal("1"), || {
        json!({"stage_changed": {"entity": deal(), "to_stage_id": "b", "filled_fields": ["f1"]}})
    });
    "other fields filled": |n, _, _| after(n, new_deal("1"), || {
        json!({"stage_changed": {"entity": deal(), "to_stage_id": "b", "filled_fields": [format!("f{n}")]}})
    });
    "fields of snapshots": |n, _, _| {
        json!({"deal_snapshot": {"deal_id": "1", "pipeline_id": "p", "stage_id": "a", "filled_fields": [format!("f{n}")]}})
    };

    // A plan, an activity.
    "plans": |n, _, at| after(n, new_deal("1"), || {
        json!({"activity_planned": {"entity": deal(), "kind": "MEETING", "activity_id": format!("a{n}"),
            "deadline": (at + Span::DAY).to_string()}})
    });
    "a plan": |n, _, at| after(n, new_deal("1"), || {
        json!({"activity_planned": {"entity": deal(), "kind": "MEETING", "activity_id": "a",
            "deadline": (at + Span::DAY).to_string()}})
    });
    "plans done": |n, _, at| after(n, new_deal("1"), || {
        if n % 2 == 0 {
            json!({"activity_completed": {"entity": deal(), "kind": "MEETING", "activity_id": format!("a{}", n - 1)}})
        } else {
            json!({"activity_planned": {"entity": deal(), "kind": "MEETING", "activity_id": format!("a{n}"),
                "deadline": (at + Span::DAY).to_string()}})
        }
    });
    "plans missed": |n, _, at| after(n, new_deal("1"), || {
        json!({"activity_planned": {"entity": deal(), "kind": "MEETING", "activity_id": format!("a{n}"),
            "deadline": (at + Span::MINUTE).to_string()}})
    });
    "plans cancelled": |n, _, at| after(n, new_deal("1"), || {
        if n % 2 == 0 { json!({"activity_cancelled": {"entity": deal(), "activity_id": "a"}}) } else {
            json!({"activity_planned": {"entity": deal(), "kind": "MEETING", "activity_id": "a",
                "deadline": (at + Span::DAY).to_string()}})
        }
    });
    "cancellations in advance": |n, _, _| after(n, new_deal("1"), || {
        json!({"activity_cancelled": {"entity": deal(), "activity_id": format!("a{n}")}})
    });
    "activities": |n, _, _| after(n, new_deal("1"), || {
        json!({"activity_completed": {"entity": deal(), "kind": "MEETING", "manager_id": "ann"}})
    });

    // A manager, a department, an alert.
    "a manager's record": |_, _, _| json!({"manager_upserted": {"manager_id": "ann", "department_id": "d"}});
    "a manager who moves": |n, _, _| json!({"manager_upserted": {"manager_id": "ann", "department_id": format!("d{}", n % 2)}});
    "a manager who moves, and calls": |n, _, _| {
        if n % 2 == 0 { json!({"manager_upserted": {"manager_id": "ann", "department_id": format!("d{}", n % 4)}}) }
        else { call(n, OUTBOUND, json!({"phone": phone(n)})) }
    };
    "grades of a manager": |n, _, _| json!({"manager_upserted": {"manager_id": "ann", "grade": format!("g{n}")}});
    "managers of a department": |n, _, _| {
        json!({"manager_upserted": {"manager_id": format!("m{}", n % 10_000), "department_id": "d"}})
    };
    "managers of departments of their own": |n, _, _| {
        json!({"manager_upserted": {"manager_id": format!("m{}", n % 10_000), "department_id": format!("d{}", n % 900)}})
    };
    "managers whose department is known after their first call": |n, _, _| {
        if n % 2 == 0 { call(n, OUTBOUND, json!({"phone": phone(n), "manager_id": format!("m{}", n % 10_000)})) }
        else { json!({"manager_upserted": {"manager_id": format!("m{}", n % 10_000 - 1), "department_id": "d"}}) }
    };
    "a department's record": |n, _, _| json!({"department_upserted": {"department_id": "d", "name": format!("n{n}")}});
    "departments in a chain": |n, _, _| {
        json!({"department_upserted": {"department_id": format!("d{}", n % 900), "parent_id": format!("d{}", (n + 1) % 900)}})
    };
    "an alert taken": |_, _, _| {
        json!({"alert_taken": {"alert_id": "29b9046d-0842-585f-a8ec-0d27b66fa528", "manager_id": "ann"}})
    };
    "alerts taken": |n, _, _| json!({"alert_taken": {"alert_id": format!("29b9046d-0842-585f-a8ec-{n:012}"), "manager_id": "ann"}});
    "an event": |_, _, _| {
        let mut event = new_lead("1", PHONE);
        event["event_id"] = "e".into();
        event
    };
    "events of an instant": |n, _, at| {
        let mut event = call(n, turn(n), json!({}));
        event["occurred_at"] = (at + Span((n % 10) as i64 * -300_000)).to_string().into();
        event
    };
}

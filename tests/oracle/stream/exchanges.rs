//! Streams as exchanges and real customers send them: ring groups, queues, transfers, sessions named late, repeated and
//! corrected records, impossible times, second numbers, spellings, switchboards, dismissals, goodbyes, converted leads
//! with waiting messages. A few people per tenant, so that everything collides.

use serde_json::{Map, Value, json};

use super::{
    CRM, CallPlan, EMAIL, Generator, HOUR, MINUTE, Person, Rng, SECOND, Style, Subject, TELEPHONY, person, rule_norm,
    rules, written,
};

/// The contacts of a robot that the norms ignore.
const ROBOT: [&str; 3] = ["79005550199", "robot@ads.example.com", "@adsbot"];

/// Adds what the norms of the second edition have to a document of the first.
pub(super) fn norms(rng: &mut Rng, document: &mut Value, tenants: &[String], style: &Style) {
    if rng.percent(30) {
        document["conversation_needs_manager"] = json!(true);
    }
    if rng.percent(40) {
        document["shared_contact_limit"] = json!(rng.pick(&[1, 2, 2, 3]));
    }
    let lists = [json!(["8 (900) 555-01-99", "@ads.example.com"]), json!(["@adsbot", "robot@ads.example.com"])];
    if rng.percent(60) {
        document["ignored_contacts"] = rng.pick(&lists);
    }
    let night = rng.pick(&["21:00-02:00", "20:00-04:30", "22:30-06:00"]);
    let week: Map<String, Value> =
        ["mon", "tue", "wed", "thu", "fri"].iter().map(|day| ((*day).to_owned(), json!([night]))).collect();
    let zone = rng.pick(&super::ZONES);
    document["calendars"]["night"] = json!({"timezone": zone, "week": week, "years": [2025, 2026]});
    if rng.percent(20) {
        document["calendar"] = json!("night");
    }
    // The rules of calls and messages are on, whatever the first edition chose.
    for rule in ["missed_call_not_returned", "message_unanswered", "first_response_late"] {
        if document["norms"].get(rule).is_none() && rng.percent(85) {
            document["norms"][rule] = rule_norm(rng, rule, false, style);
        }
    }
    if let Some(norm) = document["norms"].get_mut("missed_call_not_returned") {
        if rng.percent(50) {
            norm["min_ring"] = json!(rng.pick(&["3s", "10s", "20s"]));
        }
        if rng.percent(50) {
            norm["text_returns"] = json!(true);
        }
    }
    if let Some(norm) = document["norms"].get_mut("message_unanswered")
        && rng.percent(60)
    {
        norm["quiet_after_close"] = json!(rng.pick(&["15m", "1h", "24h"]));
    }
    let mut overrides = document["overrides"].as_array().cloned().unwrap_or_default();
    for _ in 0..rng.below(3) {
        let mut when = json!({"manager": rng.pick(&["m0", "m0", "m1", "m2"])});
        if rng.percent(30) {
            when["tenant"] = json!(rng.pick(tenants));
        }
        if rng.percent(20) {
            when["department"] = json!("north");
        }
        let mut one = json!({"when": when});
        if rng.percent(60) {
            one["calendar"] = json!(rng.pick(&["night", "calendar-0"]));
        }
        let changed: Map<String, Value> = rules()
            .filter(|_| rng.percent(25))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|rule| (rule.to_owned(), rule_norm(rng, rule, true, style)))
            .collect();
        if !changed.is_empty() {
            one["norms"] = Value::Object(changed);
        }
        if one.get("norms").is_some() || one.get("calendar").is_some() {
            overrides.push(one);
        }
    }
    if rng.percent(40) {
        overrides.push(json!({"when": {"tenant": rng.pick(tenants)}, "ignored_contacts": rng.pick(&lists)}));
    }
    if !overrides.is_empty() {
        document["overrides"] = Value::Array(overrides);
    }
}

/// The people of a tenant: a few with two numbers, some abroad, and the robot.
pub(super) fn people(rng: &mut Rng, tenant: usize) -> Vec<Person> {
    let count = 3 + rng.below(3);
    let mut people: Vec<Person> = (0..count).map(|index| person(rng, tenant * 100 + index)).collect();
    for (index, person) in people.iter_mut().enumerate() {
        let number = 10_000 + tenant * 100 + index;
        person.mobile = match rng.below(8) {
            // National forms of which only the shorter is the normal one.
            0 => format!("55118765{:04}", number % 10_000),
            1 => format!("52551234{:04}", number % 10_000),
            2 => format!("54112345{:04}", number % 10_000),
            3 => format!("1212555{:04}", number % 10_000),
            _ => format!("7921{number:07}"),
        };
        if rng.percent(25) {
            person.email = format!("person{index}@пример.испытание");
        }
    }
    people.push(Person {
        phone: ROBOT[0].into(),
        mobile: "79005550198".into(),
        email: ROBOT[1].into(),
        handle: ROBOT[2].into(),
    });
    people
}

/// One record of an exchange.
struct Leg {
    call: String,
    session: Option<String>,
    leg_id: Option<String>,
    outbound: bool,
    phone: String,
    manager: Value,
    entity: Value,
    start: i64,
    end: i64,
    outcome: &'static str,
    talk: i64,
    answered_by: Option<&'static str>,
}

impl Generator {
    pub(super) fn exchange_scenario(&mut self, tenant: usize) {
        match self.rng.below(100) {
            0..=21 => self.ring_group(tenant),
            22..=34 => self.session(tenant),
            35..=47 => self.versions(tenant),
            48..=56 => self.other_number(tenant),
            57..=68 => self.dismissal(tenant),
            69..=92 => self.goodbye(tenant),
            _ => self.switchboard(tenant),
        }
    }

    // ---- calls

    fn number(&mut self, person: &Person) -> String {
        if self.rng.percent(75) { self.spelled(person) } else { self.spelled_mobile(person) }
    }

    pub(super) fn spelled_mobile(&mut self, person: &Person) -> String {
        self.spelled(&Person { phone: person.mobile.clone(), ..person.clone() })
    }

    fn some_entity(&mut self, tenant: usize, percent: usize) -> Value {
        let subject = self.subject(tenant).filter(|_| self.rng.percent(percent));
        subject.map_or(Value::Null, |subject| entity_of(&subject))
    }

    fn leg(&mut self, tenant: usize, leg: &Leg) {
        let mut payload = json!({
            "call_id": leg.call,
            "session_id": leg.session,
            "leg_id": leg.leg_id,
            "direction": if leg.outbound { "OUTBOUND" } else { "INBOUND" },
            "phone": leg.phone,
            "manager_id": leg.manager,
            "entity": leg.entity,
            "started_at": written(leg.start),
            "talk_seconds": leg.talk,
            "outcome": leg.outcome,
            "answered_by": leg.answered_by,
        });
        if self.rng.percent(9) {
            payload["started_at"] = self.rng.pick(&[
                Value::Null,
                json!("0001-01-01T00:00:00Z"),
                json!("0000-01-01T00:00:00Z"),
                json!("1970-01-01T00:00:00Z"),
                json!(written(leg.end + HOUR)),
                json!(written(leg.end - 24 * HOUR)),
                json!(written(leg.end - 24 * HOUR - 1)),
            ]);
        }
        if leg.answered_by.is_some() || leg.outcome == "VOICEMAIL" || self.rng.percent(25) {
            payload["answered_at"] = json!(written((leg.end - leg.talk * SECOND).max(leg.start)));
            if self.rng.percent(30) {
                payload["talk_seconds"] = Value::Null;
            }
            if self.rng.percent(4) {
                payload["answered_at"] = json!(written(leg.end + SECOND));
            }
        }
        if self.rng.percent(2) {
            payload["talk_seconds"] = json!(-5);
        }
        self.emit(tenant, TELEPHONY, leg.end, "call_ended", payload.clone());
        if self.rng.percent(10) {
            // The same record again, equal or with more in it.
            let mut again = payload.clone();
            again["recording_url"] = json!("https://records.example.com/1");
            if again["entity"].is_null() {
                again["entity"] = self.some_entity(tenant, 60);
            }
            if again["leg_id"].is_null() && self.rng.percent(20) {
                again["leg_id"] = json!(self.serial("leg-"));
            }
            self.emit(tenant, TELEPHONY, leg.end, "call_ended", again);
        }
        if !leg.outbound && leg.outcome != "ANSWERED" {
            let id = leg.session.clone().filter(|_| self.rng.percent(40)).unwrap_or(leg.call.clone());
            if self.rng.percent(12) {
                self.dismiss(tenant, leg.end, &id);
            }
            self.tenants[tenant].interactions.push((leg.end, id));
        }
    }

    /// Several phones ring for one caller, at once or in turn.
    fn ring_group(&mut self, tenant: usize) {
        let person = self.person(tenant);
        let begin = self.random_instant();
        let style = self.rng.below(6);
        let (shared, session) = (self.serial("call-"), self.serial("session-"));
        let entity = self.some_entity(tenant, 25);
        let count = 2 + self.rng.below(3);
        let answered = self.rng.percent(45).then(|| self.rng.below(count));
        let (mut start, mut calls, mut last) = (begin, Vec::new(), begin);
        for index in 0..count {
            let call = if style == 2 { shared.clone() } else { self.serial("call-") };
            let ring = self.rng.between(0, 40) * SECOND;
            let mut leg = Leg {
                session: (style == 1 || style == 5 && index % 2 == 0).then(|| session.clone()),
                leg_id: None,
                outbound: false,
                phone: match self.rng.below(20) {
                    0 => "anonymous".to_owned(),
                    1 => self.spelled_mobile(&person),
                    _ => self.spelled(&person),
                },
                manager: self.manager(tenant, 75),
                entity: if self.rng.percent(80) { entity.clone() } else { self.some_entity(tenant, 50) },
                start,
                end: start + ring,
                outcome: self.rng.pick(&["NO_ANSWER", "NO_ANSWER", "BUSY", "REJECTED", "VOICEMAIL"]),
                talk: 0,
                answered_by: None,
                call,
            };
            if answered == Some(index) {
                leg.talk = self.rng.between(0, 400);
                leg.end += leg.talk * SECOND;
                leg.outcome = "ANSWERED";
                leg.answered_by =
                    self.rng.pick(&[None, None, None, Some("PERSON"), Some("QUEUE"), Some("IVR"), Some("VOICEMAIL")]);
                if self.rng.percent(20) {
                    // Known after the deadline.
                    leg.end = self.after(leg.end).clamp(leg.end, leg.end + 20 * HOUR);
                }
            }
            if self.rng.percent(20) && leg.end > leg.start {
                let base = json!({"call_id": leg.call, "session_id": leg.session, "direction": "INBOUND", "phone": leg.phone, "manager_id": leg.manager, "entity": leg.entity});
                self.emit(tenant, TELEPHONY, leg.start, "call_started", base);
            }
            self.leg(tenant, &leg);
            calls.push(leg.call);
            last = last.max(leg.end);
            start = match self.rng.below(6) {
                // In turn: adjacent, with a gap, just overlapping.
                0 => leg.end,
                1 => leg.end + SECOND,
                2 => (leg.end - 1).max(leg.start),
                3 => start + self.rng.between(0, 3),
                _ => begin,
            };
        }
        if style == 3 || style == 4 {
            // The session becomes known late, for all or for some of them.
            let mut named = self.after(last);
            for call in calls {
                if style == 3 || self.rng.percent(70) {
                    let base =
                        json!({"call_id": call, "session_id": session, "direction": "INBOUND", "phone": person.phone});
                    self.emit(tenant, TELEPHONY, named, "call_started", base);
                    named += self.rng.pick(&[0, 0, 1, 30 * SECOND]);
                }
            }
            self.tenants[tenant].interactions.push((last, session));
        }
        if self.rng.percent(50) {
            self.return_of(tenant, &person, last, &entity);
        }
    }

    /// Something that may return a call: to the number, to another one, about the entity, by text, from the customer.
    fn return_of(&mut self, tenant: usize, person: &Person, missed: i64, entity: &Value) {
        let at = self.after(missed);
        let other = self.person(tenant);
        let phone = match self.rng.below(4) {
            0 => self.spelled_mobile(person),
            1 => self.spelled(&other),
            _ => self.spelled(person),
        };
        if self.rng.percent(25) {
            let contact = json!({ "phone": phone });
            let (id, manager) = (self.message_id(), self.manager(tenant, 75));
            let sent = json!({"message_id": id, "channel": "SMS", "contact": contact, "manager_id": manager, "automatic": self.rng.percent(10)});
            self.emit(tenant, EMAIL, at, "message_sent", sent);
            return;
        }
        let entity = Some(entity.clone()).filter(|entity| !entity.is_null() && self.rng.percent(50));
        let (outbound, answered) = (self.rng.percent(75), self.rng.percent(50));
        self.call(tenant, at, CallPlan { outbound, answered, phone, entity, long: false, end: None });
    }

    /// A queue, transfers, a mobile that the exchange dials, a click to call: legs of one session.
    fn session(&mut self, tenant: usize) {
        let person = self.person(tenant);
        let mut at = self.random_instant();
        let session = self.serial("session-");
        let entity = self.some_entity(tenant, 25);
        let outbound = self.rng.percent(25);
        let begin = at;
        for index in 0..2 + self.rng.below(3) {
            let (ring, talk) = (self.rng.between(0, 30), self.rng.between(0, 300));
            let mut leg = Leg {
                call: self.serial("call-"),
                session: Some(session.clone()),
                leg_id: None,
                outbound,
                phone: self.number(&person),
                manager: self.manager(tenant, 65),
                entity: if self.rng.percent(70) { entity.clone() } else { Value::Null },
                start: at,
                end: at + ring * SECOND,
                outcome: "NO_ANSWER",
                talk: 0,
                answered_by: None,
            };
            match self.rng.below(6) {
                0 if index == 0 => {
                    // A queue, an IVR.
                    (leg.outcome, leg.talk) = ("ANSWERED", talk);
                    leg.answered_by = self.rng.pick(&[Some("QUEUE"), Some("IVR")]);
                    leg.manager = Value::Null;
                    leg.end += talk * SECOND;
                }
                1..=2 => {
                    (leg.outcome, leg.talk) = ("ANSWERED", talk);
                    leg.end += talk * SECOND;
                }
                3 => {
                    // The exchange dials someone's mobile, or the first leg of a click to call looks inbound.
                    leg.outbound = !outbound;
                    if self.rng.percent(40) {
                        let colleague = self.person(tenant);
                        leg.phone = self.spelled(&colleague);
                    }
                    if self.rng.percent(30) {
                        leg.start = begin - self.rng.between(1, 20) * SECOND;
                    }
                }
                4 => {
                    (leg.outcome, leg.answered_by) = ("VOICEMAIL", Some("VOICEMAIL"));
                    leg.end += self.rng.between(0, 30) * SECOND;
                }
                _ => {}
            }
            if self.rng.percent(15) {
                leg.end = self.after(leg.end).min(leg.start + 20 * HOUR).max(leg.end);
            }
            if leg.outbound && self.rng.percent(40) && leg.end > leg.start {
                let at = (leg.start + self.rng.pick(&[0, 0, -2 * SECOND, 2 * SECOND])).min(leg.end - 1);
                let base = json!({"call_id": leg.call, "session_id": leg.session, "direction": "OUTBOUND", "phone": leg.phone, "manager_id": leg.manager, "entity": leg.entity});
                self.emit(tenant, TELEPHONY, at, "call_started", base);
            }
            self.leg(tenant, &leg);
            at = match self.rng.below(4) {
                0 => at,
                1 => leg.end,
                2 => leg.end + self.rng.between(0, 20) * SECOND,
                _ => at + self.rng.between(0, 10) * SECOND,
            };
        }
        if self.rng.percent(40) {
            self.return_of(tenant, &person, at, &entity);
        }
    }

    /// A leg whose record is corrected later, once: its outcome, manager or end. Corrections of corrections, and those that
    /// move a leg to another call or number, are judged by hand in `cases_calls`.
    fn versions(&mut self, tenant: usize) {
        let person = self.person(tenant);
        let start = self.random_instant();
        let entity = self.some_entity(tenant, 35);
        let mut leg = Leg {
            call: self.serial("call-"),
            session: None,
            leg_id: Some(self.serial("leg-")),
            outbound: self.rng.percent(35),
            phone: self.spelled(&person),
            manager: self.manager(tenant, 70),
            entity: entity.clone(),
            start,
            end: start + self.rng.between(0, 40) * SECOND,
            outcome: "NO_ANSWER",
            talk: 0,
            answered_by: None,
        };
        if self.rng.percent(35) {
            // Another leg of the call, without id.
            let (call, end) = (leg.call.clone(), start + self.rng.between(0, 30) * SECOND);
            let (phone, manager) = (self.spelled(&person), self.manager(tenant, 70));
            let other = Leg { call, leg_id: None, phone, manager, end, entity: entity.clone(), ..leg };
            self.leg(tenant, &other);
            leg = Leg { leg_id: Some(self.serial("leg-")), start, ..other };
        }
        for version in 0..2 {
            if self.rng.percent(50) {
                leg.outcome = if leg.outcome == "ANSWERED" { "NO_ANSWER" } else { "ANSWERED" };
                leg.talk = if leg.outcome == "ANSWERED" { self.rng.between(0, 200) } else { 0 };
            }
            if version > 0 {
                match self.rng.below(10) {
                    2 => leg.manager = self.manager(tenant, 80),
                    5 => leg.start += self.rng.pick(&[-MINUTE, -SECOND, SECOND]),
                    6 => leg.entity = self.some_entity(tenant, 70),
                    _ => {}
                }
                leg.start = leg.start.min(leg.end);
            }
            leg.end = leg.end.max(leg.start + leg.talk * SECOND);
            self.leg(tenant, &leg);
            leg.end = self.after(leg.end).clamp(leg.end, leg.end + 8 * HOUR);
        }
        if self.rng.percent(50) {
            self.return_of(tenant, &person, leg.end, &entity);
        }
    }

    /// A lead with two numbers: called from one, called back on the other.
    fn other_number(&mut self, tenant: usize) {
        let person = self.person(tenant);
        let id = self.serial("L");
        let created = self.random_instant();
        let (phone, mobile) = (self.spelled(&person), self.spelled_mobile(&person));
        let contacts = if self.rng.percent(30) {
            // Both in one field.
            let between = self.rng.pick(&[", ", "; ", " / ", " ::: ", "\n"]);
            json!([{"phone": format!("{}{between}{}", plain(&person.phone), plain(&person.mobile))}])
        } else {
            json!([{"phone": phone}, {"phone": mobile}])
        };
        let manager = self.manager(tenant, 80);
        let attributes = json!({"lead_id": id, "manager_id": manager, "contacts": contacts});
        self.emit(tenant, CRM, created, "lead_created", attributes);
        let subject = Subject { is_lead: true, id, anchor: created };
        for _ in 0..1 + self.rng.below(2) {
            let start = self.after(created);
            let entity = Some(entity_of(&subject)).filter(|_| self.rng.percent(20));
            let phone = self.spelled(&person);
            let plan = CallPlan { outbound: false, answered: false, phone, entity, long: false, end: None };
            let end = self.call(tenant, start, plan);
            self.return_of(tenant, &person, end, &entity_of(&subject));
        }
        if self.rng.percent(40) {
            let at = self.after(created);
            let contact = json!({"phone": self.spelled_mobile(&person)});
            self.emit(tenant, CRM, at, "contact_linked", json!({"entity": entity_of(&subject), "contact": contact}));
        }
        self.tenants[tenant].leads.push(subject);
    }

    /// Many entities with one contact.
    fn switchboard(&mut self, tenant: usize) {
        let person = self.person(tenant);
        let mut at = self.random_instant();
        for _ in 0..1 + self.rng.below(3) {
            let Some(subject) = self.subject(tenant) else { break };
            let contact = self.contact_of(&person);
            self.emit(tenant, CRM, at, "contact_linked", json!({"entity": entity_of(&subject), "contact": contact}));
            at += self.rng.between(0, 600) * SECOND;
        }
        for _ in 0..self.rng.below(3) {
            at = self.after(at);
            if self.rng.percent(50) {
                let phone = self.number(&person);
                let (outbound, answered) = (self.rng.percent(50), self.rng.percent(50));
                self.call(tenant, at, CallPlan { outbound, answered, phone, entity: None, long: false, end: None });
            } else {
                let thread = self.serial("thread-");
                self.message(tenant, at, &person, None, Some(&thread), None);
            }
        }
    }

    // ---- messages

    /// A message id as the channels write them.
    pub(super) fn message_id(&mut self) -> String {
        let id = self.serial("msg-");
        if self.rng.percent(60) { id } else { format!("<{id}@mail.example.com>") }
    }

    /// Another spelling of a message id.
    pub(super) fn spelled_id(&mut self, id: &str) -> String {
        let bare = id.trim_start_matches('<').trim_end_matches('>');
        match self.rng.below(5) {
            0 => format!("<{bare}>"),
            1 => bare.to_owned(),
            2 => format!(" <{bare}> (mobile)"),
            3 => format!("{id} "),
            _ => id.to_owned(),
        }
    }

    /// Dismissals of interactions, mostly of what came last: it may still wait.
    fn dismissal(&mut self, tenant: usize) {
        for _ in 0..1 + self.rng.below(3) {
            let known = &self.tenants[tenant].interactions;
            if !known.is_empty() {
                let recent = known.len() - self.rng.below(known.len().min(8)) - 1;
                let (of, id) = known[recent].clone();
                self.dismiss(tenant, of, &id);
            }
        }
    }

    /// Takes an interaction off the list, afterwards or before.
    fn dismiss(&mut self, tenant: usize, of: i64, id: &str) {
        let at = match self.rng.below(10) {
            0..=1 => of - self.rng.between(0, 7200) * SECOND,
            2..=3 => of + self.rng.between(0, 900) * SECOND,
            _ => self.after(of),
        };
        let id = if self.rng.percent(20) { self.spelled_id(id) } else { id.to_owned() };
        let manager = self.manager(tenant, 60);
        let payload = json!({"interaction_id": id, "manager_id": manager, "reason": "spam"});
        self.emit(tenant, CRM, at, "interaction_dismissed", payload);
    }

    /// Messages around closings: of one deal, of several, of a converted lead and its deals, reopened ones too.
    fn goodbye(&mut self, tenant: usize) {
        let person = self.person(tenant);
        let created = self.random_instant();
        // Half of them are nobody else's.
        let guest = json!({"email": format!("{}@example.com", self.serial("guest-"))});
        let contact = if self.rng.percent(50) { guest } else { json!({"email": self.address(&person)}) };
        let mut subjects = Vec::new();
        let is_lead = self.rng.percent(50);
        for _ in 0..1 + self.rng.below(2) {
            let id = self.serial(if is_lead { "L" } else { "D" });
            let manager = self.manager(tenant, 80);
            let (name, key) = if is_lead { ("lead_created", "lead_id") } else { ("deal_created", "deal_id") };
            let mut payload = json!({"manager_id": manager, "contacts": [contact.clone()]});
            payload[key] = json!(id);
            self.emit(tenant, CRM, created, name, payload);
            subjects.push(Subject { is_lead, id, anchor: created });
        }
        let mut at = self.after(created);
        let thread = self.serial("thread-");
        let lead = subjects[0].clone();
        for _ in 0..2 + self.rng.below(5) {
            match self.rng.below(10) {
                0..=3 => {
                    let about = self.rng.pick(&subjects);
                    let about = self.rng.maybe(40, entity_of(&about));
                    let id = self.message_id();
                    let thread = self.rng.maybe(30, thread.clone());
                    let manager = self.manager(tenant, 30);
                    let payload = json!({"message_id": id, "thread_id": thread, "channel": "EMAIL", "contact": contact, "entity": about, "manager_id": manager});
                    self.emit(tenant, EMAIL, at, "message_received", payload);
                    if self.rng.percent(12) {
                        self.dismiss(tenant, at, &id);
                    }
                    self.tenants[tenant].interactions.push((at, id));
                }
                4..=6 => {
                    let closed = self.rng.pick(&subjects);
                    let outcomes: &[&str] = if closed.is_lead {
                        &["DISQUALIFIED", "LOST", "CONVERTED", "CONVERTED"]
                    } else {
                        &["WON", "LOST", "WON", "CONVERTED"]
                    };
                    let outcome = self.rng.pick(outcomes);
                    self.emit(
                        tenant,
                        CRM,
                        at,
                        "closed",
                        json!({"entity": entity_of(&closed), "outcome": outcome, "reason": "spam"}),
                    );
                }
                7 if lead.is_lead => {
                    // A deal that names the lead converts it.
                    let id = self.serial("D");
                    let manager = self.manager(tenant, 80);
                    self.emit(
                        tenant,
                        CRM,
                        at,
                        "deal_created",
                        json!({"deal_id": id, "lead_id": lead.id, "manager_id": manager}),
                    );
                    subjects.push(Subject { is_lead: false, id, anchor: at });
                }
                8 => {
                    let again = self.rng.pick(&subjects);
                    let name = self.rng.pick(&["reopened", "reopened", "deleted"]);
                    self.emit(tenant, CRM, at, name, json!({"entity": entity_of(&again)}));
                }
                _ => {
                    let about = self.rng.pick(&subjects);
                    let phone = self.spelled(&person);
                    let entity = Some(entity_of(&about));
                    let plan = CallPlan { outbound: true, answered: true, phone, entity, long: false, end: None };
                    if self.rng.percent(60) {
                        // Begun in time, known late.
                        self.call_across_deadline(tenant, at, plan);
                    } else {
                        self.call(tenant, at, plan);
                    }
                }
            }
            at = if self.rng.percent(50) { at + self.rng.between(0, 5400) * SECOND } else { self.after(at) };
        }
        for subject in subjects {
            let list = if subject.is_lead { &mut self.tenants[tenant].leads } else { &mut self.tenants[tenant].deals };
            list.push(subject);
        }
    }

    // ---- spellings

    /// Another spelling of a number that is written as the first edition reads it.
    pub(super) fn respelled(&mut self, digits: &str, written: String) -> String {
        let national = digits.strip_prefix('7').filter(|rest| rest.len() == 10);
        match (self.rng.below(40), national) {
            (0, _) => format!("tel:+{digits}"),
            (1, _) => format!("sip:+{digits}@pbx.example.com"),
            (2, _) => format!("тел. {}", plain(digits)),
            (3, _) => format!("{} Иван", plain(digits)),
            (4, _) => format!("phone: {} (home)", plain(digits)),
            (5, _) => format!(
                "{}{}",
                plain(digits),
                self.rng.pick(&[" доп 12", " вн. 12", " (доб. 12)", "x12", "#12", "p12", "w12", ";ext=12", " int 12"])
            ),
            (6, _) => format!("{} (123)", plain(digits)),
            (7, _) => format!("{digits}@c.us"),
            (8, _) => format!("{digits}@s.whatsapp.net"),
            (9, Some(rest)) => format!("+7 8 ({}) {}", &rest[..3], &rest[3..]),
            (10, Some(rest)) if rest.starts_with(['8', '9', '4', '3']) => format!("+8 ({}) {}", &rest[..3], &rest[3..]),
            (11, Some(rest)) => format!("007 {rest}"),
            // The longer form of a mobile, a zero after the country code.
            (9..=14, None) => match (&digits[..2], digits.len()) {
                ("55", 12) => format!("+55 {} 9{}", &digits[2..4], &digits[4..]),
                ("52", 12) => format!("+52 1 {}", &digits[2..]),
                ("54", 12) => format!("+54 9 {}", &digits[2..]),
                ("44" | "49", _) => format!("+{} (0){}", &digits[..2], &digits[2..]),
                _ => written,
            },
            (15, _) => {
                let (tenant, between) =
                    (self.rng.below(self.tenants.len()), self.rng.pick(&[", ", " / ", ";", " ::: "]));
                let other = self.rng.pick(&self.tenants[tenant].people).mobile;
                format!("{}{between}{}", plain(digits), plain(&other))
            }
            _ => written,
        }
    }

    pub(super) fn respelled_address(&mut self, address: String) -> String {
        let ascii = |text: &str| text.replace("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f");
        match self.rng.below(12) {
            0 if !address.contains('<') => format!("mailto:{address}"),
            1 => format!("{address} (Some Body)"),
            2 if !address.contains('<') => format!("{address}."),
            3 => address.replacen('@', "\u{200b}@", 1),
            4 => format!("{address}, office@example.org"),
            5..=8 => ascii(&address),
            _ => address,
        }
    }

    pub(super) fn respelled_handle(&mut self, person: &Person) -> Value {
        let handle = match self.rng.below(6) {
            0 => format!("{}@c.us", person.phone),
            1 => format!("+{}", person.phone),
            2 => format!("{}@s.whatsapp.net", person.mobile),
            3 => person.handle.to_uppercase(),
            4 => format!(" {}", person.handle),
            _ => person.handle.clone(),
        };
        json!({"handle": handle, "channel": "MESSENGER"})
    }

    /// The payload as loose exporters write it.
    pub(super) fn loosened(&mut self, event: &mut Value, payload: &mut Value) {
        let fields = payload.as_object_mut().unwrap();
        match self.rng.below(30) {
            0..=1 => {
                for name in ["direction", "outcome", "channel", "kind", "verdict", "answered_by"] {
                    if let Some(Value::String(text)) = fields.get_mut(name) {
                        *text = text.to_lowercase();
                    }
                }
            }
            2 => {
                for name in ["call_id", "session_id", "manager_id", "lead_id", "stage_id", "thread_id", "to_stage_id"] {
                    if let Some(Value::String(text)) = fields.get_mut(name) {
                        *text = format!(" {text}\t");
                    }
                }
            }
            3 => {
                if let Some(automatic) = fields.get_mut("automatic") {
                    let yes = *automatic == true;
                    *automatic = if yes {
                        self.rng.pick(&[json!("Y"), json!(1), json!("TRUE")])
                    } else {
                        self.rng.pick(&[json!("n"), json!(0), json!("false")])
                    };
                }
            }
            4 => {
                if fields.get("contacts") == Some(&json!([])) {
                    fields.insert("contacts".into(), self.rng.pick(&[json!({}), json!("")]));
                }
                fields.entry("filled_fields").or_insert(json!({}));
            }
            5 => {
                for name in ["line", "comment", "recording_url", "changed_by", "closed_by", "checklist"] {
                    fields.insert(name.into(), json!({"wrong": [1]}));
                }
            }
            6 => {
                event["reopened"] = json!([]);
                event["source"] = json!(17);
            }
            7 => {
                if let Some(Value::String(currency)) = fields.get_mut("currency") {
                    *currency = format!("{} ", currency.to_lowercase());
                }
            }
            8 => {
                let at = event["occurred_at"].as_str().unwrap().to_owned();
                if let Some(cut) = at.strip_suffix('Z') {
                    event["occurred_at"] = json!(format!("{cut}999999999999Z"));
                }
            }
            _ => {}
        }
        // Ids of digits may come as numbers.
        for name in ["call_id", "interaction_id"] {
            let number = fields.get(name).and_then(Value::as_str).and_then(|text| text.parse::<i64>().ok());
            if let Some(number) = number.filter(|_| self.rng.percent(50)) {
                fields.insert(name.into(), json!(number));
            }
        }
    }
}

pub(super) fn entity_of(subject: &Subject) -> Value {
    json!({"kind": if subject.is_lead { "LEAD" } else { "DEAL" }, "id": subject.id})
}

/// A number as it is by itself, whatever stands around it.
fn plain(digits: &str) -> String {
    format!("+{digits}")
}

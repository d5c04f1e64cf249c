//! Owns a department that works in a simulated portal: what it does, at random but the same for a seed.

use super::tables::{Fact, Tables};
use crate::domain::time::{Span, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::collections::BTreeMap;

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Leads a day.
    pub leads: u32,
    /// Managers.
    pub managers: u64,
    /// Whether rows become visible late, several moves happen in a second, and other odd things that portals do.
    pub odd: bool,
    /// The mean time between two steps of a manager in a case.
    pub step: Span,
}

/// What will be done.
#[derive(Clone, Debug)]
enum Act {
    Lead,
    Work(u64, u8),
    Deal(u64, u8),
    Vote(u64),
    Recording(u64),
    Done(u64),
    Chat(u64, u64),
    People,
}

/// A department.
#[derive(Debug)]
pub struct World {
    /// The portal.
    pub tables: Tables,
    pace: Pace,
    random: ChaCha8Rng,
    acts: BTreeMap<(Timestamp, u64), Act>,
    count: u64,
    end: Timestamp,
}

impl World {
    /// A department that works from `start` to `end`.
    pub fn new(seed: u64, start: Timestamp, end: Timestamp, pace: Pace) -> Self {
        let mut tables = Tables::default();
        tables.advance(start);
        for (id, name, parent) in [(1, "Company", None), (2, "Sales", Some(1)), (3, "Service", Some(1))] {
            let mut row = json!({"ID": id.to_string(), "NAME": name, "SORT": 500, "PARENT": parent.map(|id: u64| id.to_string())});
            if id == 2 {
                row["UF_HEAD"] = "1".into();
            }
            tables.departments.insert(id, row);
        }
        for id in 1..=pace.managers {
            let names = ["Anna", "Boris", "Vera", "Gleb", "Dina", "Egor"];
            let name = names[id as usize % names.len()];
            let department = if id % 4 == 3 { json!([]) } else { json!([2 + id % 2]) };
            let row = json!({"ID": id.to_string(), "ACTIVE": true, "NAME": name, "LAST_NAME": format!("N{id}"),
                "TIMESTAMP_X": {}, "UF_DEPARTMENT": department, "USER_TYPE": "employee"});
            tables.users.insert(id, row);
        }
        let random = ChaCha8Rng::seed_from_u64(seed);
        let mut world = Self { tables, pace, random, acts: BTreeMap::new(), count: 0, end };
        world.plan(start, Act::Lead);
        world.plan(start + Span::DAY, Act::People);
        world
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.acts.keys().next().map(|(at, _)| *at)
    }

    /// Lets everything happen up to `now`.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((&(at, number), _)) = self.acts.first_key_value().filter(|((at, _), _)| *at <= now) {
            let act = self.acts.remove(&(at, number));
            self.tables.advance(at);
            act.into_iter().for_each(|act| self.act(act));
        }
        self.tables.advance(now);
    }

    fn plan(&mut self, at: Timestamp, act: Act) {
        if at <= self.end {
            self.count += 1;
            // The portal keeps whole seconds.
            self.acts.insert((Timestamp(at.0 / 1000 * 1000), self.count), act);
        }
    }

    fn after(&mut self, mean: Span) -> Timestamp {
        let factor = self.random.random_range(0.2..1.8);
        self.tables.now + Span((mean.0 as f64 * factor) as i64)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn odd(&mut self, percent: u32) -> bool {
        self.pace.odd && self.chance(percent)
    }

    fn manager(&mut self) -> u64 {
        self.random.random_range(1..=self.pace.managers)
    }

    fn late(&mut self) -> Span {
        if self.odd(10) { Span(self.random.random_range(1..90) * 1000) } else { Span::ZERO }
    }

    fn responsible(&self, of: u64, id: u64) -> u64 {
        let object = self.tables.items.get(&of).and_then(|items| items.get(&id));
        object.and_then(|object| object["assignedById"].as_u64()).unwrap_or(1)
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Lead => self.lead(),
            Act::Work(lead, step) => self.work(lead, step),
            Act::Deal(deal, step) => self.deal(deal, step),
            Act::Vote(call) => {
                let vote = self.random.random_range(1..=5).to_string();
                if let Some(row) = self.tables.calls.get_mut(&call) {
                    super::tables::merge(row, json!({"CALL_VOTE": vote}));
                }
            }
            Act::Recording(call) => {
                let url = format!("https://records.example/{call}.mp3");
                if let Some(row) = self.tables.calls.get_mut(&call) {
                    super::tables::merge(row, json!({"CALL_RECORD_URL": url}));
                }
            }
            Act::Done(activity) => self.done(activity),
            Act::Chat(session, left) => self.chat(session, left),
            Act::People => {
                let user = self.manager();
                let department = json!([self.random.random_range(1..=3)]);
                if let Some(row) = self.tables.users.get_mut(&user) {
                    super::tables::merge(row, json!({"UF_DEPARTMENT": department}));
                }
                let at = self.after(Span::DAY);
                self.plan(at, Act::People);
            }
        }
    }

    fn lead(&mut self) {
        let manager = self.manager();
        let phone = format!("+7916{:07}", self.random.random_range(0..10_000_000));
        let fields = json!({"assignedById": manager, "sourceId": "WEB", "stageId": "NEW", "stageSemanticId": "P",
            "fm": [{"id": 1, "valueType": "WORK", "value": phone, "typeId": "PHONE"}], "phone": phone, "ufCrmNeed": "",
            "statusDescription": null});
        let lead = self.tables.create(1, fields);
        let late = self.late();
        self.tables.enter(1, lead, 0, "NEW", 'P', late);
        let at = self.after(self.pace.step);
        self.plan(at, Act::Work(lead, 0));
        let mean = Span(Span::DAY.0 / i64::from(self.pace.leads.max(1)));
        let at = self.after(mean);
        self.plan(at, Act::Lead);
    }

    fn call(&mut self, lead: Option<u64>, phone: &str, manager: u64, activity: Option<u64>) {
        let answered = self.chance(60);
        let seconds: i64 = if answered { self.random.random_range(5..600) } else { 0 };
        let inbound = self.chance(30);
        let code = if answered { "200" } else { ["304", "603-S", "486", "OTHER"][self.random.random_range(0..4)] };
        let start = Tables::time(Timestamp(self.tables.now.0 - seconds * 1000));
        let fields = json!({"PORTAL_USER_ID": manager.to_string(), "PHONE_NUMBER": phone, "CALL_TYPE": if inbound { "2" } else { "1" },
            "CALL_DURATION": seconds.to_string(), "CALL_FAILED_CODE": code, "CALL_START_DATE": start,
            "CRM_ENTITY_TYPE": lead.map(|_| "LEAD"), "CRM_ENTITY_ID": lead.map(|id| id.to_string()),
            "CRM_ACTIVITY_ID": activity.map(|id| id.to_string())});
        let late = if self.odd(20) { Span(self.random.random_range(60..900) * 1000) } else { Span(2_000) };
        let again = self.odd(5);
        let call = self.tables.call(fields, late);
        if again {
            // The same CALL_ID for another call, some minutes later.
            let start = Tables::time(self.tables.now + Span(900_000));
            let fields = json!({"PORTAL_USER_ID": manager.to_string(), "PHONE_NUMBER": phone, "CALL_TYPE": "1",
                "CALL_ID": format!("call.{call}"), "CALL_DURATION": "30", "CALL_START_DATE": start});
            self.tables.call(fields, Span(960_000));
        }
        if answered {
            let at = self.after(Span(300_000));
            self.plan(at, Act::Recording(call));
            if self.chance(20) {
                let at = self.after(Span(6 * 3_600_000));
                self.plan(at, Act::Vote(call));
            }
        }
    }

    fn mail(&mut self, owner: (u64, u64), manager: u64) {
        let inbound = self.chance(50);
        let direction = if inbound { "1" } else { "2" };
        let fields = json!({"TYPE_ID": "4", "PROVIDER_ID": "CRM_EMAIL", "PROVIDER_TYPE_ID": "EMAIL", "DIRECTION": direction,
            "RESPONSIBLE_ID": manager.to_string(),
            "COMMUNICATIONS": [{"TYPE": "EMAIL", "VALUE": format!("c{}@example.com", owner.1), "ENTITY_ID": "1"}]});
        let id = self.tables.activity(owner, fields);
        let at = self.tables.now;
        self.tables.facts.push(Fact::Message { id: format!("b24:act:{id}"), at, inbound });
    }

    fn todo(&mut self, owner: (u64, u64), manager: u64) {
        let at = self.tables.now;
        let deadline =
            if self.chance(50) { Tables::time(at + Span::DAY) } else { "9999-12-31T00:00:00+03:00".to_owned() };
        let (kind, provider) =
            [("6", "CRM_TODO"), ("1", "CRM_MEETING"), ("3", "TASKS")][self.random.random_range(0..3)];
        let fields = json!({"TYPE_ID": kind, "PROVIDER_ID": provider, "RESPONSIBLE_ID": manager.to_string(),
            "DEADLINE": deadline});
        let id = self.tables.activity(owner, fields);
        self.tables.facts.push(Fact::Planned { id, at });
        let at = self.after(Span(20 * 3_600_000));
        self.plan(at, Act::Done(id));
    }

    fn done(&mut self, activity: u64) {
        let at = self.tables.now;
        match self.random.random_range(0..10) {
            0 => self.tables.delete_activity(activity),
            1 | 2 => {
                let deadline = Tables::time(at + Span::DAY);
                self.tables.change_activity(activity, json!({"DEADLINE": deadline}));
                let at = self.after(Span(20 * 3_600_000));
                self.plan(at, Act::Done(activity));
            }
            _ => {
                let is_open = self.tables.activities.get(&activity).is_some_and(|row| row["COMPLETED"] == "N");
                self.tables.change_activity(activity, json!({"COMPLETED": "Y", "STATUS": "2"}));
                if is_open {
                    self.tables.facts.push(Fact::Completed { id: activity, at });
                }
            }
        }
    }

    fn open_chat(&mut self, owner: (u64, u64)) {
        let session = self.tables.next("session");
        let fields =
            json!({"TYPE_ID": "6", "PROVIDER_ID": "IMOPENLINES_SESSION", "ASSOCIATED_ENTITY_ID": session.to_string()});
        let activity = self.tables.activity(owner, fields);
        let code = format!("telegrambot|2|{}|{}", 200_000_000 + session, 5_000 + session);
        let history = json!({"chatId": 900 + session, "sessionId": session, "message": {},
            "users": {"7": {"id": "7", "bot": true, "connector": false}},
            "chat": {(900 + session).to_string(): {"id": (900 + session).to_string(), "entityId": code}}});
        self.tables.sessions.insert(session, history);
        let messages = self.random.random_range(2..8);
        self.plan(self.tables.now, Act::Chat(session, activity * 100 + messages));
    }

    fn chat(&mut self, session: u64, left: u64) {
        let (activity, messages) = (left / 100, left % 100);
        if messages == 0 {
            return self.tables.change_activity(activity, json!({"COMPLETED": "Y"}));
        }
        let id = self.tables.next("message");
        let inbound = self.chance(50);
        let manager = self.manager();
        let sender = if inbound { 5_000 + session } else { manager };
        let at = self.tables.now;
        if let Some(history) = self.tables.sessions.get_mut(&session) {
            history["message"][id.to_string()] = json!({"id": id.to_string(), "chatid": "1", "senderid": sender.to_string(),
                "date": Tables::time(at), "text": "x", "params": []});
            history["users"][sender.to_string()] =
                json!({"id": sender.to_string(), "bot": false, "connector": inbound, "extranet": inbound});
        }
        self.tables.facts.push(Fact::Message { id: format!("b24:ol:{session}:{id}"), at, inbound });
        let next = self.after(Span(180_000));
        self.plan(next, Act::Chat(session, left - 1));
    }

    fn work(&mut self, lead: u64, step: u8) {
        let Some(object) = self.tables.items.get(&1).and_then(|leads| leads.get(&lead)).cloned() else { return };
        let manager = self.responsible(1, lead);
        let phone = object["phone"].as_str().unwrap_or_default().to_owned();
        self.call(Some(lead), &phone, manager, None);
        if self.chance(30) {
            self.mail((1, lead), manager);
        }
        if self.chance(20) {
            self.todo((1, lead), manager);
        }
        if self.chance(10) {
            self.open_chat((1, lead));
        }
        if self.chance(10) {
            let manager = self.manager();
            self.tables.update(1, lead, json!({"assignedById": manager}));
        }
        if self.odd(3) {
            return self.tables.delete(1, lead);
        }
        match step {
            0 => {
                self.tables.update(1, lead, json!({"ufCrmNeed": "crane"}));
                let late = self.late();
                self.tables.enter(1, lead, 0, "IN_PROCESS", 'P', late);
                if self.odd(20) {
                    // Several moves in one second.
                    self.tables.enter(1, lead, 0, "PROCESSED", 'P', Span::ZERO);
                    self.tables.enter(1, lead, 0, "IN_PROCESS", 'P', Span::ZERO);
                }
                let at = self.after(self.pace.step);
                self.plan(at, Act::Work(lead, 1));
            }
            _ if self.chance(50) => self.convert(lead, manager, &phone),
            _ => {
                self.tables.update(1, lead, json!({"statusDescription": "no money"}));
                self.tables.enter(1, lead, 0, "JUNK", 'F', Span::ZERO);
                if self.odd(20) {
                    let at = self.after(self.pace.step);
                    self.plan(at, Act::Work(lead, 0));
                }
            }
        }
    }

    fn convert(&mut self, lead: u64, manager: u64, phone: &str) {
        let contact = self.tables.create(3, json!({"fm": [{"typeId": "PHONE", "value": phone}]}));
        let fields = json!({"assignedById": manager, "leadId": lead, "contactId": contact, "contactIds": [contact],
            "stageId": "NEW", "stageSemanticId": "P", "categoryId": 0, "opportunity": 1000.5});
        let deal = self.tables.create(2, fields);
        self.tables.enter(1, lead, 0, "CONVERTED", 'S', Span::ZERO);
        let late = self.late();
        self.tables.enter(2, deal, 0, "NEW", 'P', late);
        let at = self.after(self.pace.step);
        self.plan(at, Act::Deal(deal, 0));
    }

    fn deal(&mut self, deal: u64, step: u8) {
        let Some(object) = self.tables.items.get(&2).and_then(|deals| deals.get(&deal)).cloned() else { return };
        let manager = self.responsible(2, deal);
        let funnel = object["categoryId"].as_u64().unwrap_or(0);
        let (work, won, lost) = match funnel {
            9 => ("C9:WORK", "C9:WON", "C9:LOSE"),
            _ => ("PREPARATION", "WON", "LOSE"),
        };
        if self.chance(50) {
            let activity = self.tables.activity((2, deal), json!({"TYPE_ID": "2", "PROVIDER_ID": "VOXIMPLANT_CALL"}));
            self.call(None, "+79160000000", manager, Some(activity));
        }
        if self.chance(30) {
            self.todo((2, deal), manager);
        }
        if self.odd(3) {
            let contact = object["contactId"].as_u64().unwrap_or(0);
            let phone = format!("+7495{:07}", self.random.random_range(0..10_000_000));
            self.tables.update(3, contact, json!({"fm": [{"typeId": "PHONE", "value": phone}]}));
        }
        match step {
            0 => {
                let price = 900.0 + f64::from(self.random.random_range(0..100));
                self.tables.products.insert(
                    deal,
                    vec![json!({"id": deal, "ownerId": deal, "ownerType": "D", "productId": 5, "productName": "Crane",
                        "price": price, "priceBrutto": 1000.0, "quantity": 2, "discountTypeId": 2})],
                );
                self.tables.update(2, deal, json!({"opportunity": price * 2.0}));
                let late = self.late();
                self.tables.enter(2, deal, funnel, work, 'P', late);
                let at = self.after(self.pace.step);
                self.plan(at, Act::Deal(deal, 1));
            }
            1 if self.odd(20) => {
                self.tables.enter(2, deal, 9, "C9:NEW", 'P', Span::ZERO);
                let at = self.after(self.pace.step);
                self.plan(at, Act::Deal(deal, 2));
            }
            _ => {
                let wins = self.chance(50);
                let (stage, meaning) = if wins { (won, 'S') } else { (lost, 'F') };
                self.tables.enter(2, deal, funnel, stage, meaning, Span::ZERO);
                if self.odd(20) {
                    let at = self.after(self.pace.step);
                    self.plan(at, Act::Deal(deal, 0));
                }
            }
        }
    }
}

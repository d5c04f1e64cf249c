//! Owns the tables of a simulated portal, and the facts that a perfect reader of it would report.

use crate::domain::time::{Span, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The offset of the portal's clock from UTC, in milliseconds.
const OFFSET: i64 = 3 * 3_600_000;

/// A webhook that the portal sends: event code and id.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// When it arrives.
    pub at: Timestamp,
    /// Its form fields.
    pub fields: Vec<(String, String)>,
}

/// What happened in the portal.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A row of the stage history.
    Row {
        /// Its id, for leads or deals (`entityTypeId`).
        id: (u64, u64),
        /// The object.
        owner: u64,
        /// When.
        at: Timestamp,
        /// The new stage and what it means: `P`, `S` or `F`.
        stage: (String, char),
        /// The stage before in the same funnel.
        from: Option<String>,
        /// Whether it leaves a final stage.
        leaves_final: bool,
        /// When it becomes visible.
        visible: Timestamp,
    },
    /// Somebody became responsible.
    Assigned {
        /// Type and id.
        object: (u64, u64),
        /// Who.
        manager: u64,
        /// When.
        at: Timestamp,
    },
    /// A row of the call statistics, in its present form.
    Call {
        /// Its id.
        id: u64,
    },
    /// A message, by the id of its event.
    Message {
        /// `b24:act:…` or `b24:ol:…`
        id: String,
        /// When it was sent.
        at: Timestamp,
        /// From the customer.
        inbound: bool,
    },
    /// An activity was planned.
    Planned {
        /// Its id.
        id: u64,
        /// When.
        at: Timestamp,
    },
    /// An activity was completed.
    Completed {
        /// Its id.
        id: u64,
        /// When.
        at: Timestamp,
    },
    /// An open activity was deleted.
    Cancelled {
        /// Its id.
        id: u64,
    },
    /// A lead or deal was deleted.
    Deleted {
        /// Type and id.
        object: (u64, u64),
    },
}

/// A change that becomes visible later.
#[derive(Clone, Debug)]
enum Late {
    History(u64, u64, Value),
    Call(u64, Value),
}

/// The funnel and stage of an object, and what the stage means.
type Position = (u64, String, char);

/// The tables of a portal.
#[derive(Debug, Default)]
pub struct Tables {
    /// The present instant.
    pub now: Timestamp,
    /// Leads (1), deals (2), contacts (3), companies (4).
    pub items: BTreeMap<u64, BTreeMap<u64, Value>>,
    /// Rows of the history of leads (1) and deals (2).
    pub history: BTreeMap<u64, BTreeMap<u64, Value>>,
    /// Rows of the call statistics.
    pub calls: BTreeMap<u64, Value>,
    /// Activities.
    pub activities: BTreeMap<u64, Value>,
    /// What activities are bound to: type and id.
    pub bindings: BTreeMap<u64, Vec<(u64, u64)>>,
    /// Product rows of deals.
    pub products: BTreeMap<u64, Vec<Value>>,
    /// Histories of sessions of open lines.
    pub sessions: BTreeMap<u64, Value>,
    /// Users.
    pub users: BTreeMap<u64, Value>,
    /// Departments.
    pub departments: BTreeMap<u64, Value>,
    /// Webhooks that are under way.
    pub hooks: Vec<Hook>,
    /// What happened.
    pub facts: Vec<Fact>,
    late: Vec<(Timestamp, Late)>,
    ids: BTreeMap<&'static str, u64>,
    positions: BTreeMap<(u64, u64), Vec<Position>>,
}

impl Tables {
    /// A time as the portal writes it.
    pub fn time(at: Timestamp) -> String {
        let local = Timestamp(at.0 + OFFSET).to_string();
        format!("{}+03:00", &local[..19])
    }

    /// The next id of a table.
    pub fn next(&mut self, table: &'static str) -> u64 {
        let id = self.ids.entry(table).or_insert(0);
        *id += 1;
        *id
    }

    /// Moves the clock; what was late becomes visible.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = now;
        let (visible, late) = std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= now);
        self.late = late;
        let visible: Vec<(Timestamp, Late)> = visible;
        for (_, change) in visible {
            match change {
                Late::History(of, id, row) => _ = self.history.entry(of).or_default().insert(id, row),
                Late::Call(id, row) => _ = self.calls.insert(id, row),
            }
        }
    }

    /// Sends a webhook about an object.
    pub fn hook(&mut self, event: &str, id: u64) {
        let ts = (self.now.0 / 1000).to_string();
        let fields = [("event", event), ("event_handler_id", "58"), ("data[FIELDS][ID]", &id.to_string()), ("ts", &ts)];
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        self.hooks.push(Hook { at: Timestamp(self.now.0 + 800), fields });
    }

    fn code(of: u64, verb: &str) -> String {
        let name = ["", "LEAD", "DEAL", "CONTACT", "COMPANY"][of as usize];
        format!("ONCRM{name}{verb}")
    }

    /// Creates an object with these fields.
    pub fn create(&mut self, of: u64, fields: Value) -> u64 {
        let id = self.next(["", "lead", "deal", "contact", "company"][of as usize]);
        let time = Self::time(self.now);
        let mut row = json!({"id": id, "createdTime": time, "updatedTime": time, "createdBy": 1, "updatedBy": 1,
            "assignedById": 1, "opened": "Y", "companyId": 0, "contactId": null, "contactIds": [], "sourceId": "WEB",
            "opportunity": 0, "currencyId": "RUB", "isManualOpportunity": "N", "title": "x", "entityTypeId": of,
            "movedBy": 1, "movedTime": time, "lastActivityTime": time, "fm": []});
        merge(&mut row, fields);
        let manager = row["assignedById"].as_u64().unwrap_or(0);
        self.items.entry(of).or_default().insert(id, row);
        if of <= 2 {
            self.facts.push(Fact::Assigned { object: (of, id), manager, at: self.now });
        }
        self.hook(&Self::code(of, "ADD"), id);
        id
    }

    /// Changes fields of an object.
    pub fn update(&mut self, of: u64, id: u64, fields: Value) {
        let now = self.now;
        let Some(row) = self.items.get_mut(&of).and_then(|items| items.get_mut(&id)) else { return };
        let before = row["assignedById"].as_u64();
        merge(row, fields);
        row["updatedTime"] = Self::time(now).into();
        let manager = row["assignedById"].as_u64();
        if of <= 2 && manager != before {
            self.facts.push(Fact::Assigned { object: (of, id), manager: manager.unwrap_or(0), at: now });
        }
        self.hook(&Self::code(of, "UPDATE"), id);
    }

    /// Moves a lead or deal to a stage; its row becomes visible after `late`, the object shows it at once.
    pub fn enter(&mut self, of: u64, id: u64, funnel: u64, stage: &str, meaning: char, late: Span) {
        let row_id = self.next(if of == 1 { "lead_history" } else { "deal_history" });
        let now = self.now;
        let mut positions = self.positions.remove(&(of, id)).unwrap_or_default();
        let last = positions.last().cloned();
        let kind = match &last {
            None => 1,
            Some((before, _, _)) if *before != funnel => 5,
            Some(_) if meaning == 'P' => 2,
            Some(_) => 3,
        };
        if kind == 5 {
            // The interface answers only the history of the present funnel.
            if let Some(rows) = self.history.get_mut(&of) {
                rows.retain(|_, row| row["OWNER_ID"].as_u64() != Some(id));
            }
        }
        let from = last.as_ref().filter(|(before, _, _)| *before == funnel).map(|(_, stage, _)| stage.clone());
        let leaves_final = last.is_some_and(|(_, _, meaning)| meaning != 'P');
        positions.push((funnel, stage.to_owned(), meaning));
        self.positions.insert((of, id), positions);
        let time = Self::time(now);
        let mut row = json!({"ID": row_id, "TYPE_ID": kind, "OWNER_ID": id, "CREATED_TIME": time});
        if of == 1 {
            merge(&mut row, json!({"STATUS_ID": stage, "STATUS_SEMANTIC_ID": meaning.to_string()}));
        } else {
            let fields = json!({"CATEGORY_ID": funnel, "STAGE_ID": stage, "STAGE_SEMANTIC_ID": meaning.to_string()});
            merge(&mut row, fields);
        }
        self.late.push((now + late, Late::History(of, row_id, row)));
        let stage_of = (stage.to_owned(), meaning);
        self.facts.push(Fact::Row {
            id: (of, row_id),
            owner: id,
            at: now,
            stage: stage_of,
            from,
            leaves_final,
            visible: now + late,
        });
        let mover = self.items.get(&of).and_then(|items| items.get(&id)).map(|row| row["assignedById"].clone());
        let fields = json!({"stageId": stage, "stageSemanticId": meaning.to_string(), "categoryId": funnel,
            "movedTime": time, "movedBy": mover});
        self.update(of, id, fields);
        self.advance(now);
    }

    /// Deletes a lead or deal; rows of calls lose it.
    pub fn delete(&mut self, of: u64, id: u64) {
        if self.items.get_mut(&of).and_then(|items| items.remove(&id)).is_none() {
            return;
        }
        let name = id.to_string();
        if of == 1 {
            for row in self.calls.values_mut() {
                if row["CRM_ENTITY_TYPE"] == "LEAD" && row["CRM_ENTITY_ID"].as_str() == Some(&name) {
                    merge(row, json!({"CRM_ENTITY_TYPE": null, "CRM_ENTITY_ID": null}));
                }
            }
        }
        self.facts.push(Fact::Deleted { object: (of, id) });
        self.hook(&Self::code(of, "DELETE"), id);
    }

    /// Adds a row to the call statistics that becomes visible after `late`.
    pub fn call(&mut self, fields: Value, late: Span) -> u64 {
        let id = self.next("call");
        let mut row = json!({"ID": id.to_string(), "PORTAL_USER_ID": "1", "PORTAL_NUMBER": "sip1", "PHONE_NUMBER": "",
            "CALL_ID": format!("call.{id}"), "CALL_CATEGORY": "external", "CALL_DURATION": "0", "CALL_VOTE": "0",
            "CALL_START_DATE": Self::time(self.now), "CALL_RECORD_URL": null, "CALL_FAILED_CODE": "200", "COST": "0.0000",
            "COST_CURRENCY": "", "CRM_ENTITY_TYPE": null, "CRM_ENTITY_ID": null, "CRM_ACTIVITY_ID": null,
            "SESSION_ID": null, "CALL_TYPE": "1", "RECORD_FILE_ID": null});
        merge(&mut row, fields);
        self.late.push((self.now + late, Late::Call(id, row)));
        self.facts.push(Fact::Call { id });
        let now = self.now;
        self.advance(now);
        self.hook("ONVOXIMPLANTCALLEND", id);
        id
    }

    /// Adds an activity.
    pub fn activity(&mut self, owner: (u64, u64), fields: Value) -> u64 {
        let id = self.next("activity");
        let time = Self::time(self.now);
        let mut row = json!({"ID": id.to_string(), "OWNER_TYPE_ID": owner.0.to_string(), "OWNER_ID": owner.1.to_string(),
            "TYPE_ID": "6", "PROVIDER_ID": "", "SUBJECT": "x", "CREATED": time, "LAST_UPDATED": time, "START_TIME": time,
            "END_TIME": time, "DEADLINE": "9999-12-31T00:00:00+03:00", "COMPLETED": "N", "STATUS": "1",
            "RESPONSIBLE_ID": "1", "DIRECTION": "0", "SETTINGS": [], "PROVIDER_PARAMS": [], "ASSOCIATED_ENTITY_ID": "0",
            "AUTHOR_ID": "1", "ORIGINATOR_ID": null, "ORIGIN_ID": null});
        merge(&mut row, fields);
        self.activities.insert(id, row);
        self.bindings.insert(id, vec![owner]);
        self.hook("onCrmActivityAdd", id);
        id
    }

    /// Changes fields of an activity.
    pub fn change_activity(&mut self, id: u64, fields: Value) {
        let now = self.now;
        let Some(row) = self.activities.get_mut(&id) else { return };
        merge(row, fields);
        row["LAST_UPDATED"] = Self::time(now).into();
        self.hook("ONCRMACTIVITYUPDATE", id);
    }

    /// Deletes an activity.
    pub fn delete_activity(&mut self, id: u64) {
        if let Some(row) = self.activities.remove(&id) {
            if row["COMPLETED"] == "N" {
                self.facts.push(Fact::Cancelled { id });
            }
            self.hook("ONCRMACTIVITYDELETE", id);
        }
    }
}

/// Sets the fields of `row` to those of `fields`.
pub(super) fn merge(row: &mut Value, fields: Value) {
    if let (Value::Object(row), Value::Object(fields)) = (row, fields) {
        row.extend(fields);
    }
}

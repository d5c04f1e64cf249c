//! Owns what was sent to whom, as `notify` records it, for the API and the page.
//!
//! **Bound.** At most [`MAX_ALERTS`] alerts with [`MAX_LINES`] addresses each; those that changed longest ago are dropped first.

pub mod record;

use crate::config::notify::Channel;
use crate::dataflow::live::lock;
use crate::domain::alert::Status;
use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::named::named_enum;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use record::{CaseRecord, LineRecord};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// The alerts that are kept, of all tenants.
pub const MAX_ALERTS: usize = 20_000;
/// The addresses of an alert that are kept.
pub const MAX_LINES: usize = 50;

/// An alert of which somebody was informed.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// The alert.
    pub alert: Uuid,
    /// Its rule.
    pub rule: Rule,
    /// The lead or deal that it is about.
    pub entity: Option<EntityId>,
    /// The manager that it is about.
    pub manager: Option<ManagerId>,
    /// The department of this manager.
    pub department: Option<DepartmentId>,
    /// Who takes care of it.
    pub taken_by: Option<ManagerId>,
    /// What was sent to each address.
    pub deliveries: Vec<Delivery>,
}

impl Told {
    /// Whether a delivery is about an act of a manager, or was sent to this manager.
    pub fn concerns(&self, delivery: &Delivery, manager: &str) -> bool {
        [&self.manager, &delivery.person].into_iter().flatten().any(|id| id.as_str() == manager)
    }
}

named_enum! {
    /// What became of the messages to an address.
    pub enum Outcome, named "in the API" {
        /// Everything that there is to say was sent.
        Sent = "sent",
        /// A message waits: for its time, for others of its group, or for the channel.
        Waiting = "waiting",
        /// The channel does not take it.
        Refused = "refused",
    }
}

/// What an address was sent about an alert: one message that follows the alert.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Through which channel.
    pub channel: Channel,
    /// The person, by the id in the CRM; `None`: a list or a program.
    pub person: Option<ManagerId>,
    /// What became of it.
    pub outcome: Outcome,
    /// The status that was said last, or is to be said if nothing was said yet.
    pub status: Status,
    /// The number of escalations that it names.
    pub level: u32,
    /// When it was said, or since when it is to be said.
    pub at: Timestamp,
}

/// The deliveries of alerts that are chosen, the latest first.
pub fn latest(told: &[Arc<Told>], is_chosen: impl Fn(&Told, &Delivery) -> bool) -> Vec<(&Told, &Delivery)> {
    let all = told.iter().flat_map(|told| told.deliveries.iter().map(move |delivery| (&**told, delivery)));
    let mut chosen: Vec<_> = all.filter(|(told, delivery)| is_chosen(told, delivery)).collect();
    chosen.sort_by_key(|(told, delivery)| (Reverse(delivery.at), told.alert));
    chosen
}

/// What was sent to whom.
#[derive(Debug, Default)]
pub struct Deliveries(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    tenants: BTreeMap<TenantId, BTreeMap<Uuid, Arc<Told>>>,
    /// The tenant of each alert, and when it changed.
    alerts: BTreeMap<Uuid, (Timestamp, TenantId)>,
    by_age: BTreeSet<(Timestamp, Uuid)>,
}

impl Deliveries {
    /// Applies a record of the topic; without a value it removes its alert. What is no record of an alert is ignored.
    pub fn apply(&self, key: &[u8], value: Option<&[u8]>) {
        let Some(id) = record::id(key) else { return };
        let Some(value) = value else {
            lock(&self.0).remove(id);
            return;
        };
        let Some((tenant, updated, told)) = record::read(value).and_then(|record| read(id, record)) else { return };
        let mut table = lock(&self.0);
        table.remove(id);
        if told.deliveries.is_empty() {
            return;
        }
        table.alerts.insert(id, (updated, tenant.clone()));
        table.by_age.insert((updated, id));
        table.tenants.entry(tenant).or_default().insert(id, Arc::new(told));
        while table.alerts.len() > MAX_ALERTS {
            let Some((_, oldest)) = table.by_age.first().copied() else { return };
            table.remove(oldest);
        }
    }

    /// The alerts of a tenant of which somebody was informed.
    pub fn of(&self, tenant: &TenantId) -> Vec<Arc<Told>> {
        lock(&self.0).tenants.get(tenant).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }
}

impl Table {
    fn remove(&mut self, id: Uuid) {
        let Some((updated, tenant)) = self.alerts.remove(&id) else { return };
        self.by_age.remove(&(updated, id));
        if let Some(alerts) = self.tenants.get_mut(&tenant) {
            alerts.remove(&id);
            if alerts.is_empty() {
                self.tenants.remove(&tenant);
            }
        }
    }
}

/// What is kept of a record, with its tenant and when it changed.
fn read(alert: Uuid, record: CaseRecord) -> Option<(TenantId, Timestamp, Told)> {
    let text = |key: &str| record.alert.get(key).and_then(serde_json::Value::as_str);
    let tenant = TenantId::from(text("tenant_id")?);
    let told = Told {
        alert,
        rule: Rule::named(text("rule")?)?,
        entity: text("entity").and_then(EntityId::parse),
        manager: text("manager_id").map(ManagerId::from),
        department: text("department_id").map(DepartmentId::from),
        taken_by: record.taken_by.as_deref().map(ManagerId::from),
        deliveries: record.lines.iter().filter_map(delivery).take(MAX_LINES).collect(),
    };
    Some((tenant, Timestamp(record.updated), told))
}

fn delivery(line: &LineRecord) -> Option<Delivery> {
    // It is a program that informs others, and gets everything again and again.
    if line.channel == Channel::Alertmanager {
        return None;
    }
    let said = line.sent.as_ref().unwrap_or(&line.wanted);
    let outcome = match &line.sent {
        _ if line.refused => Outcome::Refused,
        Some(sent) if *sent == line.wanted && !line.uncertain => Outcome::Sent,
        _ => Outcome::Waiting,
    };
    Some(Delivery {
        channel: line.channel,
        person: line.person.as_deref().map(ManagerId::from),
        outcome,
        status: Status::named(&said.status)?,
        level: said.level,
        at: Timestamp(line.sent_at.unwrap_or(line.since)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(tenant: &str, updated: i64, lines: &serde_json::Value) -> Vec<u8> {
        let alert = json!({"tenant_id": tenant, "rule": "first_response_late", "entity": "lead:17", "manager_id": "vera",
            "department_id": "north"});
        json!({"v": 1, "alert": alert, "updated": updated, "lines": lines}).to_string().into_bytes()
    }

    fn line(channel: &str, more: &serde_json::Value) -> serde_json::Value {
        let mut line = json!({"channel": channel, "to": "1", "language": "en", "ready_at": 5, "since": 7, "most": 1,
            "wanted": {"status": "FIRING", "level": 1}});
        let (line_of, more) = (line.as_object_mut().expect("an object"), more.as_object().expect("an object"));
        line_of.extend(more.clone());
        line
    }

    #[test]
    fn each_address_says_what_it_was_sent() {
        let deliveries = Deliveries::default();
        let sent = |level: u32| json!({"status": "FIRING", "level": level});
        let lines = json!([
            line("mail", &json!({"person": "vera", "sent": sent(1), "sent_at": 9})),
            line("telegram", &json!({"sent": sent(0), "sent_at": 9})),
            line("bitrix24", &json!({"refused": true})),
            line("task", &json!({})),
            line("alertmanager", &json!({"sent": sent(1)})),
        ]);
        let id = Uuid::from_u128(1);
        deliveries.apply(&record::key(id), Some(&record("acme", 3, &lines)));
        let told = deliveries.of(&"acme".into());
        assert_eq!(
            (told.len(), told[0].rule, told[0].entity.clone()),
            (1, Rule::FirstResponseLate, Some(EntityId::lead("17")))
        );
        let said: Vec<_> = told[0]
            .deliveries
            .iter()
            .map(|one| (one.channel.name(), one.outcome.name(), one.level, one.at.0))
            .collect();
        let expected = [
            ("mail", "sent", 1, 9),
            ("telegram", "waiting", 0, 9),
            ("bitrix24", "refused", 1, 7),
            ("task", "waiting", 1, 7),
        ];
        assert_eq!(said, expected);
        assert_eq!(told[0].deliveries[0].person, Some("vera".into()));
        assert!(deliveries.of(&"other".into()).is_empty());
        deliveries.apply(&record::key(id), None);
        assert!(deliveries.of(&"acme".into()).is_empty());
    }

    #[test]
    fn what_is_no_record_of_an_alert_is_ignored() {
        let deliveries = Deliveries::default();
        let lines = json!([line("mail", &json!({}))]);
        let newer = String::from_utf8(record("acme", 1, &lines)).expect("text").replace("\"v\":1", "\"v\":2");
        for value in [newer.as_bytes(), b"", b"{}", b"\xff", b"[1]"] {
            deliveries.apply(&record::key(Uuid::nil()), Some(value));
        }
        deliveries.apply(b"u/token", Some(&record("acme", 1, &lines)));
        assert!(deliveries.of(&"acme".into()).is_empty());
    }

    #[test]
    fn the_alerts_that_changed_longest_ago_are_dropped() {
        let deliveries = Deliveries::default();
        let lines = json!([line("mail", &json!({}))]);
        for n in 0..MAX_ALERTS + 2 {
            let tenant = if n == 0 { "old" } else { "acme" };
            deliveries.apply(&record::key(Uuid::from_u128(n as u128)), Some(&record(tenant, n as i64, &lines)));
        }
        // A change is no second alert.
        deliveries.apply(&record::key(Uuid::from_u128(5)), Some(&record("acme", 1 << 40, &lines)));
        let kept: BTreeSet<Uuid> = deliveries.of(&"acme".into()).iter().map(|told| told.alert).collect();
        assert_eq!((kept.len(), deliveries.of(&"old".into()).len()), (MAX_ALERTS, 0));
        assert!(!kept.contains(&Uuid::from_u128(1)) && kept.contains(&Uuid::from_u128(2)));
    }
}

//! Alerts: from the steps of a life to the objects of `formats.md`.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::calendar::written;
use super::history::{Standing, World};
use super::identity::{self, EntityId};
use super::norms::SEVERITIES;
use super::readings;
use super::rules::{Step, Turn};

/// One alert with its whole life, for the figures that count alerts.
pub struct Alert {
    pub rule: &'static str,
    pub id: String,
    pub statuses: Vec<Status>,
    pub whose: Whose,
}

/// Whose an alert is (decision 5).
#[derive(Clone, Debug)]
pub enum Whose {
    /// Of the responsible of the entity.
    Responsible(EntityId),
    /// Fixed reading f: a contact alert's manager is fixed at the first call or message.
    Contact { primary: Option<EntityId>, event: Option<String>, fixed: Option<String> },
    /// Of this manager.
    Manager(Option<String>),
}

impl Alert {
    pub fn began(&self) -> &Status {
        &self.statuses[0]
    }

    pub fn is_open(&self) -> bool {
        matches!(self.statuses.last().unwrap().turn, Turn::Firing | Turn::Escalated)
    }

    pub fn is_retracted(&self) -> bool {
        self.statuses.last().unwrap().turn == Turn::Retracted
    }
}

pub struct Status {
    pub at: i64,
    pub tenant: String,
    pub turn: Turn,
    pub manager: Option<String>,
    json: Value,
}

impl Status {
    pub fn json(&self) -> Value {
        self.json.clone()
    }
}

/// What all statuses of an alert have in common.
pub struct Heading<'a> {
    pub rule: &'static str,
    pub subject: String,
    pub whose: Whose,
    pub entity: Option<EntityId>,
    pub interaction: Option<&'a str>,
    pub window: Option<&'a str>,
    pub anchor: i64,
    pub due: Option<i64>,
    pub severity: usize,
}

/// A status: the step, `observed`, `norm`.
pub type Told = (Step, Value, Value);

impl<'a> Heading<'a> {
    pub fn entity(rule: &'static str, id: &EntityId, anchor: i64, severity: usize) -> Heading<'a> {
        Heading {
            rule,
            subject: id.to_string(),
            whose: Whose::Responsible(id.clone()),
            entity: Some(id.clone()),
            interaction: None,
            window: None,
            anchor,
            due: None,
            severity,
        }
    }

    pub fn contact(
        world: &World,
        rule: &'static str,
        normal: &str,
        standing: &Standing,
        interaction: &'a str,
        anchor: i64,
        severity: usize,
    ) -> Heading<'a> {
        Heading {
            rule,
            subject: format!("contact:{}", identity::key(&world.tenant, normal)),
            whose: Whose::Contact {
                primary: standing.primary.clone(),
                event: standing.manager.clone(),
                fixed: standing.who.clone(),
            },
            entity: standing.primary.clone(),
            interaction: readings::MISSED_CALL_ALERT_NAMES_CALL.then_some(interaction),
            window: None,
            anchor,
            due: None,
            severity,
        }
    }

    /// An act that is wrong in itself.
    pub fn raise(self, world: &World, moment: usize, observed: Value, asked: Value) -> Alert {
        let step =
            Step { turn: Turn::Raised, at: self.anchor, moment, level: 0, observed_to: self.anchor, resolution: None };
        self.tell(world, vec![(step, observed, asked)])
    }

    pub fn tell(self, world: &World, told: Vec<Told>) -> Alert {
        let id = alert_id(&world.tenant, self.rule, &self.subject, self.anchor);
        let first = told[0].0.moment;
        let manager_at = |moment: usize| match &self.whose {
            Whose::Responsible(entity) => {
                let moment = if readings::ENTITY_ALERT_MANAGER_AT_EACH_STATUS { moment } else { first };
                world.entities[entity].responsible_at(moment).map(str::to_owned)
            }
            Whose::Contact { fixed, .. } => fixed.clone(),
            Whose::Manager(manager) => manager.clone(),
        };
        let statuses = told
            .into_iter()
            .map(|(step, observed, asked)| {
                let manager = manager_at(step.moment);
                let mut fields = Map::new();
                let mut put = |name: &str, value: Value| {
                    fields.insert(name.to_owned(), value);
                };
                put("alert_id", json!(id));
                put("tenant_id", json!(world.tenant));
                put("rule", json!(self.rule));
                // An escalation raises the severity by one, up to critical.
                put("severity", json!(SEVERITIES[(self.severity + step.level).min(SEVERITIES.len() - 1)]));
                put("level", json!(step.level));
                put("status", json!(status(step.turn)));
                put("subject", json!(self.subject));
                put("at", json!(written(step.at)));
                put("anchor_at", json!(written(self.anchor)));
                if let Some(due) = self.due {
                    put("due_at", json!(written(due)));
                }
                if manager.is_some() || readings::NOBODYS_ALERT_IS_IN_UNKNOWN {
                    put("department_id", json!(world.department_at(manager.as_deref(), step.moment)));
                }
                if let Some(manager) = &manager {
                    put("manager_id", json!(manager));
                }
                if let Some(entity) = &self.entity {
                    put("entity", json!(entity.to_string()));
                }
                if let Some(interaction) = self.interaction {
                    put("interaction_id", json!(interaction));
                }
                if let Some(window) = self.window {
                    put("window", json!(window));
                }
                put("observed", observed);
                put("norm", asked);
                if let Some(resolution) = step.resolution {
                    put("resolution", json!(resolution));
                }
                put("message", json!(format!("{} of {}: {}", self.rule, self.subject, status(step.turn))));
                Status {
                    at: step.at,
                    tenant: world.tenant.clone(),
                    turn: step.turn,
                    manager,
                    json: Value::Object(fields),
                }
            })
            .collect();
        Alert { rule: self.rule, id, statuses, whose: self.whose }
    }
}

fn status(turn: Turn) -> &'static str {
    match turn {
        Turn::Raised => "RAISED",
        Turn::Firing => "FIRING",
        Turn::Escalated => "ESCALATED",
        Turn::Resolved => "RESOLVED",
        Turn::Retracted => "RETRACTED",
    }
}

/// UUIDv5 in the URL namespace.
pub fn alert_id(tenant: &str, rule: &str, subject: &str, anchor: i64) -> String {
    let name = format!("funnelwatch/{tenant}/{rule}/{subject}/{anchor}");
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_what_other_implementations_say() {
        // uuid.uuid5(uuid.NAMESPACE_URL, "funnelwatch/acme/first_response_late/lead:1/1767225600000") in Python.
        assert_eq!(
            super::alert_id("acme", "first_response_late", "lead:1", 1_767_225_600_000),
            "29b9046d-0842-585f-a8ec-0d27b66fa528"
        );
    }
}

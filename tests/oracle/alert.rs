//! Alerts: from the steps of a life to the objects of `formats.md`.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::calendar::written;
use super::history::{Entity, Standing, World};
use super::identity::{self, EntityId};
use super::norms::{Norm, SEVERITIES};
use super::readings;
use super::rules::{Step, Turn};

/// One alert with its whole life, for the figures that count alerts.
pub struct Alert {
    pub rule: &'static str,
    pub statuses: Vec<Status>,
    pub entity: Option<EntityId>,
    /// For a contact alert: the manager fixed at the first call or message.
    pub fixed_manager: Option<String>,
    pub event_manager: Option<String>,
    pub is_contact: bool,
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

/// What an alert is about.
pub enum Subject<'a> {
    Entity(&'a Entity),
    Contact { normal: &'a str, standing: &'a Standing, interaction: &'a str },
}

impl Alert {
    #[allow(clippy::too_many_arguments, reason = "one alert has that many fields")]
    pub fn tell(
        world: &World,
        norm: &Norm,
        rule: &'static str,
        subject: Subject,
        anchor: i64,
        due: i64,
        steps: &[Step],
        asked: Value,
    ) -> Alert {
        let (name, entity) = match &subject {
            Subject::Entity(entity) => (entity.id.to_string(), Some(entity.id.clone())),
            Subject::Contact { normal, standing, .. } => {
                (format!("contact:{}", identity::key(&world.tenant, normal)), standing.primary.clone())
            }
        };
        let id = alert_id(&world.tenant, rule, &name, anchor);
        let manager_at = |moment: usize| match &subject {
            Subject::Entity(entity) => {
                let moment = if readings::ENTITY_ALERT_MANAGER_AT_EACH_STATUS { moment } else { steps[0].moment };
                entity.responsible_at(moment).map(str::to_owned)
            }
            // Fixed reading f: a contact alert's manager is fixed at the first call.
            Subject::Contact { standing, .. } => standing.who.clone(),
        };
        let statuses = steps
            .iter()
            .map(|step| {
                let manager = manager_at(step.moment);
                let mut fields = Map::new();
                let mut put = |name: &str, value: Value| {
                    fields.insert(name.to_owned(), value);
                };
                put("alert_id", json!(id));
                put("tenant_id", json!(world.tenant));
                put("rule", json!(rule));
                // An escalation raises the severity by one, up to critical.
                put("severity", json!(SEVERITIES[(norm.severity + step.level).min(SEVERITIES.len() - 1)]));
                put("level", json!(step.level));
                put("status", json!(status(step.turn)));
                put("subject", json!(name));
                put("at", json!(written(step.at)));
                put("anchor_at", json!(written(anchor)));
                put("due_at", json!(written(due)));
                if manager.is_some() || readings::NOBODYS_ALERT_IS_IN_UNKNOWN {
                    put("department_id", json!(world.department_at(manager.as_deref(), step.moment)));
                }
                if let Some(manager) = &manager {
                    put("manager_id", json!(manager));
                }
                if let Some(entity) = &entity {
                    put("entity", json!(entity.to_string()));
                }
                if let Subject::Contact { interaction, .. } = &subject
                    && readings::MISSED_CALL_ALERT_NAMES_CALL
                {
                    put("interaction_id", json!(interaction));
                }
                let lag = norm.clock.between(anchor, step.observed_to) as f64 / 1000.0;
                put("observed", json!({"lag_seconds": lag}));
                put("norm", asked.clone());
                if let Some(resolution) = step.resolution {
                    put("resolution", json!(resolution));
                }
                put("message", json!(format!("{rule} of {name}: {}", status(step.turn))));
                Status {
                    at: step.at,
                    tenant: world.tenant.clone(),
                    turn: step.turn,
                    manager,
                    json: Value::Object(fields),
                }
            })
            .collect();
        let (fixed_manager, event_manager, is_contact) = match subject {
            Subject::Entity(_) => (None, None, false),
            Subject::Contact { standing, .. } => (standing.who.clone(), standing.manager.clone(), true),
        };
        Alert { rule, statuses, entity, fixed_manager, event_manager, is_contact }
    }
}

fn status(turn: Turn) -> &'static str {
    match turn {
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

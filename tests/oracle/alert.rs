//! Converts the steps of an alert's lifecycle to the alert objects of `formats.md`.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::calendar::written;
use super::history::{Attribution, TenantHistory};
use super::identity::{self, EntityId};
use super::norms::SEVERITIES;
use super::readings;
use super::rules::{StatusKind, Step};

/// One alert with all its statuses, for the figures that count alerts.
pub struct Alert {
    pub rule: &'static str,
    pub id: String,
    pub statuses: Vec<Status>,
    pub owner: AlertOwner,
}

/// How the manager of an alert is determined (decision 5).
#[derive(Clone, Debug)]
pub enum AlertOwner {
    /// The manager responsible for the entity.
    Responsible(EntityId),
    /// Fixed reading f: the manager of a contact alert is fixed at the first call or message.
    Contact {
        primary: Option<EntityId>,
        event: Option<String>,
        fixed: Option<String>,
    },
    /// This manager, if any.
    Manager(Option<String>),
    /// A department itself, or the company: such an alert has no manager.
    Department(String),
    Tenant,
}

impl Alert {
    /// The status with which the violation began; none after a mere warning.
    pub fn began(&self) -> Option<&Status> {
        self.statuses.iter().find(|status| !status.kind.is_warning())
    }

    pub fn is_due_soon(&self) -> bool {
        self.statuses.last().unwrap().kind == StatusKind::DueSoon
    }

    pub fn is_open(&self) -> bool {
        matches!(self.statuses.last().unwrap().kind, StatusKind::Firing | StatusKind::Escalated)
    }

    pub fn is_retracted(&self) -> bool {
        self.statuses.last().unwrap().kind == StatusKind::Retracted
    }
}

pub struct Status {
    pub at: i64,
    pub tenant: String,
    pub kind: StatusKind,
    pub manager: Option<String>,
    json: Value,
}

impl Status {
    pub fn json(&self) -> Value {
        self.json.clone()
    }
}

/// The fields common to all statuses of an alert.
pub struct AlertHeader<'a> {
    pub rule: &'static str,
    pub subject: String,
    pub owner: AlertOwner,
    pub entity: Option<EntityId>,
    pub interaction: Option<&'a str>,
    pub window: Option<&'a str>,
    pub anchor: i64,
    pub due: Option<i64>,
    pub severity: usize,
}

/// The contents of a status: its step, `observed`, `norm`.
pub type StatusDetails = (Step, Value, Value);

impl<'a> AlertHeader<'a> {
    pub fn entity(rule: &'static str, id: &EntityId, anchor: i64, severity: usize) -> AlertHeader<'a> {
        AlertHeader {
            rule,
            subject: id.to_string(),
            owner: AlertOwner::Responsible(id.clone()),
            entity: Some(id.clone()),
            interaction: None,
            window: None,
            anchor,
            due: None,
            severity,
        }
    }

    pub fn contact(
        history: &TenantHistory,
        rule: &'static str,
        normal: &str,
        attribution: &Attribution,
        interaction: &'a str,
        anchor: i64,
        severity: usize,
    ) -> AlertHeader<'a> {
        AlertHeader {
            rule,
            subject: format!("contact:{}", identity::key(&history.tenant, normal)),
            owner: AlertOwner::Contact {
                primary: attribution.primary.clone(),
                event: attribution.manager.clone(),
                fixed: attribution.who.clone(),
            },
            entity: attribution.primary.clone(),
            interaction: readings::MISSED_CALL_ALERT_NAMES_CALL.then_some(interaction),
            window: None,
            anchor,
            due: None,
            severity,
        }
    }

    /// The alert of an act that violates a norm by itself.
    pub fn raise(self, history: &TenantHistory, moment: usize, observed: Value, required: Value) -> Alert {
        let step = Step {
            kind: StatusKind::Raised,
            at: self.anchor,
            moment,
            level: 0,
            observed_to: self.anchor,
            resolution: None,
        };
        self.build(history, vec![(step, observed, required)])
    }

    pub fn build(self, history: &TenantHistory, details: Vec<StatusDetails>) -> Alert {
        let id = alert_id(&history.tenant, self.rule, &self.subject, self.anchor);
        let first = details[0].0.moment;
        let manager_at = |moment: usize| match &self.owner {
            AlertOwner::Responsible(entity) => {
                let moment = if readings::ENTITY_ALERT_MANAGER_AT_EACH_STATUS { moment } else { first };
                history.entities[entity].responsible_at(moment).map(str::to_owned)
            }
            AlertOwner::Contact { fixed, .. } => fixed.clone(),
            AlertOwner::Manager(manager) => manager.clone(),
            AlertOwner::Department(_) | AlertOwner::Tenant => None,
        };
        let statuses = details
            .into_iter()
            .map(|(step, observed, required)| {
                let manager = manager_at(step.moment);
                let mut fields = Map::new();
                let mut put = |name: &str, value: Value| {
                    fields.insert(name.to_owned(), value);
                };
                put("alert_id", json!(id));
                put("tenant_id", json!(history.tenant));
                put("rule", json!(self.rule));
                // An escalation raises the severity by one, up to critical.
                let severity = (self.severity + step.level).min(SEVERITIES.len() - 1);
                put("severity", json!(SEVERITIES[if step.kind.is_warning() { 0 } else { severity }]));
                put("level", json!(step.level));
                put("status", json!(status(step.kind)));
                put("subject", json!(self.subject));
                put("at", json!(written(step.at)));
                put("anchor_at", json!(written(self.anchor)));
                if let Some(due) = self.due {
                    put("due_at", json!(written(due)));
                }
                if let AlertOwner::Department(id) = &self.owner {
                    put("department_id", json!(id));
                } else if !matches!(self.owner, AlertOwner::Tenant)
                    && (manager.is_some() || readings::UNASSIGNED_ALERT_IS_IN_UNKNOWN)
                {
                    put("department_id", json!(history.department_at(manager.as_deref(), step.moment)));
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
                put("norm", required);
                if let Some(resolution) = step.resolution {
                    put("resolution", json!(resolution));
                }
                put("message", json!(format!("{} of {}: {}", self.rule, self.subject, status(step.kind))));
                Status {
                    at: step.at,
                    tenant: history.tenant.clone(),
                    kind: step.kind,
                    manager,
                    json: Value::Object(fields),
                }
            })
            .collect();
        Alert { rule: self.rule, id, statuses, owner: self.owner }
    }
}

fn status(kind: StatusKind) -> &'static str {
    match kind {
        StatusKind::DueSoon => "DUE_SOON",
        StatusKind::Averted => "AVERTED",
        StatusKind::Raised => "RAISED",
        StatusKind::Firing => "FIRING",
        StatusKind::Escalated => "ESCALATED",
        StatusKind::Resolved => "RESOLVED",
        StatusKind::Retracted => "RETRACTED",
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
    fn ids_match_another_implementation() {
        // uuid.uuid5(uuid.NAMESPACE_URL, "funnelwatch/acme/first_response_late/lead:1/1767225600000") in Python.
        assert_eq!(
            super::alert_id("acme", "first_response_late", "lead:1", 1_767_225_600_000),
            "29b9046d-0842-585f-a8ec-0d27b66fa528"
        );
    }
}

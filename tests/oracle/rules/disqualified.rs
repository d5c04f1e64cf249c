//! `disqualified_without_reason`, `disqualified_without_contact`: judge each closing that changes the outcome.

use serde_json::json;

use super::super::alert::{Alert, AlertHeader};
use super::super::decode::Outcome;
use super::super::history::{Closing, Entity, TenantHistory};
use super::super::norms::Norms;

pub fn judge(history: &TenantHistory, norms: &Norms) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for entity in history.entities.values() {
        for closing in &entity.closings {
            alerts.extend(without_reason(history, norms, entity, closing));
            alerts.extend(without_contact(history, norms, entity, closing));
        }
    }
    alerts
}

fn without_reason(history: &TenantHistory, norms: &Norms, entity: &Entity, closing: &Closing) -> Option<Alert> {
    const RULE: &str = "disqualified_without_reason";
    let norm = norms.rule(RULE, &closing.scope)?;
    let outcome = match closing.outcome {
        Outcome::Won => "WON",
        Outcome::Lost => "LOST",
        Outcome::Converted => "CONVERTED",
        Outcome::Disqualified => "DISQUALIFIED",
    };
    if !norm.texts("applies_to").unwrap_or(vec!["DISQUALIFIED"]).contains(&outcome) {
        return None;
    }
    let allowed = norm.texts("allowed_reasons");
    let fits = |reason: &String| allowed.as_ref().is_none_or(|allowed| allowed.contains(&reason.as_str()));
    if closing.reason.as_ref().is_some_and(fits) {
        return None;
    }
    let observed = json!({"outcome": outcome, "reason_given": usize::from(closing.reason.is_some())});
    let header = AlertHeader::entity(RULE, &entity.id, closing.at, norm.severity);
    Some(header.raise(history, closing.moment, observed, json!({})))
}

fn without_contact(history: &TenantHistory, norms: &Norms, entity: &Entity, closing: &Closing) -> Option<Alert> {
    const RULE: &str = "disqualified_without_contact";
    let norm = norms.rule(RULE, &closing.scope)?;
    let min = norm.number("min_touches").unwrap_or(1.0) as usize;
    if closing.outcome != Outcome::Disqualified || closing.touches >= min {
        return None;
    }
    let header = AlertHeader::entity(RULE, &entity.id, closing.at, norm.severity);
    Some(header.raise(history, closing.moment, json!({"touches": closing.touches}), json!({"min_touches": min})))
}

//! `discount_over_limit`, `installment_not_allowed`, `prepayment_too_low`: an offer violates the matching policy row.

use serde_json::{Map, Value, json};

use super::super::alert::{Alert, AlertHeader, AlertOwner};
use super::super::history::{Offered, TenantHistory};
use super::super::norms::{Norm, Norms};

pub fn judge(history: &TenantHistory, norms: &Norms) -> Vec<Alert> {
    history.offered.iter().flat_map(|offered| alerts(history, norms, offered)).collect()
}

fn alerts(history: &TenantHistory, norms: &Norms, offered: &Offered) -> Vec<Alert> {
    let Some(norm) = norms.rule("terms", &offered.scope) else { return Vec::new() };
    let approvers = norm.texts("approvers").unwrap_or_default();
    if offered.terms.approved_by.as_ref().is_some_and(|by| approvers.contains(&by.as_str())) {
        return Vec::new();
    }
    // Decision 17: without a matching row everything is allowed.
    let Some(row) = policy(&norm, offered) else { return Vec::new() };
    let terms = &offered.terms;
    let limit = |key: &str| row[key].as_f64();
    let mut alerts = Vec::new();
    let mut judge = |rule, key: &str, value: Option<f64>, limit_key: &str, wrong: fn(f64, f64) -> bool| {
        // A missing limit or a missing value is not judged.
        let (Some(value), Some(limit)) = (value, limit(limit_key)) else { return };
        if wrong(value, limit) {
            let header = AlertHeader::entity(rule, &offered.deal, offered.at, norm.severity);
            let header = AlertHeader { owner: AlertOwner::Manager(offered.who.clone()), ..header };
            let object = |key: &str, value: f64| Value::Object(Map::from_iter([(key.to_owned(), json!(value))]));
            alerts.push(header.raise(history, offered.moment, object(key, value), object(limit_key, limit)));
        }
    };
    let over: fn(f64, f64) -> bool = |value, max| value > max;
    let under: fn(f64, f64) -> bool = |value, min| value < min;
    judge("discount_over_limit", "discount_percent", terms.discount, "max_discount_percent", over);
    let months = terms.installment.map(|months| months as f64);
    judge("installment_not_allowed", "installment_months", months, "max_installment_months", over);
    judge("prepayment_too_low", "prepayment_percent", terms.prepayment, "min_prepayment_percent", under);
    alerts
}

/// The first matching row: by the deal's pipeline, the offering manager's grade and the amount.
fn policy<'a>(norm: &'a Norm, offered: &Offered) -> Option<&'a Value> {
    let fits = |row: &&Value| {
        let agrees =
            |key: &str, have: &Option<String>| row[key].as_str().is_none_or(|want| have.as_deref() == Some(want));
        agrees("pipeline", &offered.pipeline)
            && agrees("grade", &offered.grade)
            && row["amount_minor_below"].as_i64().is_none_or(|below| offered.amount.is_some_and(|a| a < below))
    };
    norm.keys.get("policies")?.as_array()?.iter().find(fits)
}

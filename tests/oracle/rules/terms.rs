//! `discount_over_limit`, `installment_not_allowed`, `prepayment_too_low`: an offer beyond the policy row that fits.

use serde_json::{Map, Value, json};

use super::super::alert::{Alert, Heading, Whose};
use super::super::history::{Offered, World};
use super::super::norms::{Norm, Norms};

pub fn judge(world: &World, norms: &Norms) -> Vec<Alert> {
    world.offered.iter().flat_map(|offered| alerts(world, norms, offered)).collect()
}

fn alerts(world: &World, norms: &Norms, offered: &Offered) -> Vec<Alert> {
    let Some(norm) = norms.rule("terms", &offered.scope) else { return Vec::new() };
    let approvers = norm.texts("approvers").unwrap_or_default();
    if offered.terms.approved_by.as_ref().is_some_and(|by| approvers.contains(&by.as_str())) {
        return Vec::new();
    }
    // Decision 17: no row fits: nothing is forbidden.
    let Some(row) = policy(&norm, offered) else { return Vec::new() };
    let terms = &offered.terms;
    let limit = |key: &str| row[key].as_f64();
    let mut alerts = Vec::new();
    let mut judge = |rule, key: &str, value: Option<f64>, limit_key: &str, wrong: fn(f64, f64) -> bool| {
        // A limit that the row lacks, or a value not offered, is not judged.
        let (Some(value), Some(limit)) = (value, limit(limit_key)) else { return };
        if wrong(value, limit) {
            let heading = Heading::entity(rule, &offered.deal, offered.at, norm.severity);
            let heading = Heading { whose: Whose::Manager(offered.who.clone()), ..heading };
            let object = |key: &str, value: f64| Value::Object(Map::from_iter([(key.to_owned(), json!(value))]));
            alerts.push(heading.raise(world, offered.moment, object(key, value), object(limit_key, limit)));
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

/// The first row that fits: the deal's pipeline, the offering manager's grade, the amount.
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

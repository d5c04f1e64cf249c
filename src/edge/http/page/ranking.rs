//! Owns the order of people as JSON: who to talk to first and about what, as the page shows it; and who heads which department.

use super::board::{Board, Person};
use super::document::window_name;
use crate::domain::effect::DepartmentUpdate;
use crate::domain::id::{DepartmentId, ManagerId, TenantId, UNKNOWN};
use crate::domain::rule::message::Language;
use crate::edge::http::source::Source;
use serde_json::{Value, json};

/// The people of a company, those who need attention first, and its departments. `None`: the company is not known.
pub(crate) fn people(
    source: &Source,
    tenant: &TenantId,
    (window, department): (Option<&String>, Option<&String>),
    language: Language,
) -> Option<Value> {
    let snapshot = source.snapshot(tenant)?;
    let alerts = source.alerts(tenant);
    let window = window_name(&snapshot.norms, window);
    let chosen = department.map(|id| DepartmentId::from(id.as_str()));
    let board = Board::new(&snapshot, &alerts, &window, chosen.as_ref(), language);
    let mut managers: Vec<Value> = board.people().iter().filter_map(|person| manager(&board, person)).collect();
    // Those without figures yet have a name, and may head a department.
    let is_listed = |id: &ManagerId, managers: &[Value]| managers.iter().any(|known| known["id"] == id.as_str());
    for (id, name) in &snapshot.names {
        if chosen.is_none() && !is_listed(id, &managers) {
            managers.push(json!({"id": id.as_str(), "name": name, "open_alerts": 0}));
        }
    }
    let mut departments: Vec<Value> = snapshot.described.values().map(described).collect();
    for id in snapshot.departments.iter().filter(|id| id.as_str() != UNKNOWN && !snapshot.described.contains_key(*id)) {
        departments.push(json!({"id": id.as_str()}));
    }
    Some(json!({
        "tenant_id": tenant.as_str(),
        "at": snapshot.watermark.to_string(),
        "window": window,
        "managers": managers,
        "departments": departments,
    }))
}

fn manager(board: &Board<'_>, person: &Person<'_>) -> Option<Value> {
    let id = person.id?;
    let name = board.snapshot.names.get(id);
    let top = person.open.first().map(|open| {
        json!({
            "alert_id": open.alert.id.to_string(),
            "rule": open.alert.rule.name(),
            "severity": open.alert.severity.name(),
            "message": board.message(&open.alert),
        })
    });
    Some(json!({
        "id": id.as_str(),
        "name": name,
        "department": Some(person.department).filter(|id| *id != UNKNOWN),
        "open_alerts": person.open.len(),
        "longest_wait_seconds": person.wait.map(|(waited, _)| waited.seconds()),
        "about": top,
    }))
}

fn described(department: &DepartmentUpdate) -> Value {
    json!({
        "id": department.id.as_str(),
        "name": department.name.as_deref(),
        "parent": department.parent.as_ref().map(DepartmentId::as_str),
        "head": department.head.as_ref().map(ManagerId::as_str),
    })
}

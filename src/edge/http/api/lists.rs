//! Owns the answers that are lists: clocks, plans, targets, reviews, cases, deliveries, and the numbers of customers. A list is
//! bounded; the answer says how many entries there are.

use super::asked::{
    ApiResult, Asked, Filters, Request, bad_request, check, duration, limit, line, not_found, unknown_tenant,
};
use super::endpoints::{
    ALERT_CONTACTS, CASES, CLOCKS, DEAL_CONTACTS, DELIVERIES, Endpoint, LEAD_CONTACTS, PEOPLE, PLANS, REVIEWS, TARGETS,
};
use crate::codec::json;
use crate::dataflow::live::RequestedReview;
use crate::domain::event::Verdict;
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::id::{DepartmentId, EntityId, EntityKind, ManagerId, TenantId, UNKNOWN};
use crate::domain::norms::ScopeQuery;
use crate::domain::rule::message::Language;
use crate::domain::tenant::entity_report::ClockStatus;
use crate::domain::tenant::listing::{GivenReview, OpenPlan, RunningClock};
use crate::domain::time::Timestamp;
use crate::edge::deliveries::{Delivery, Told, latest};
use crate::edge::http::contact::contact_value;
use crate::edge::http::page::ranking;
use crate::edge::http::response::ApiError;
use crate::edge::http::source::Source;
use axum::http::StatusCode;
use compact_str::CompactString;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use uuid::Uuid;

/// One line of JSON, without the fields that have no value.
pub(super) fn written(mut value: Value) -> Vec<u8> {
    drop_absent(&mut value);
    line(|body| body.extend_from_slice(value.to_string().as_bytes()))
}

fn drop_absent(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_absent);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_absent),
        _ => {}
    }
}

/// Whether something has the value that is asked for, if one is.
fn is(filters: &Filters, key: &str, value: Option<&str>) -> bool {
    filters.get(key).is_none_or(|wanted| Some(wanted.as_str()) == value)
}

/// Whether something is of the manager and the department that are asked for.
pub(super) fn is_of(filters: &Filters, manager: Option<&ManagerId>, department: Option<&DepartmentId>) -> bool {
    let department = department.map_or(UNKNOWN, DepartmentId::as_str);
    is(filters, "manager", manager.map(ManagerId::as_str)) && is(filters, "department", Some(department))
}

async fn list(
    request: Request,
    tenant: &str,
    filters: Filters,
    endpoint: &Endpoint,
    compute: impl FnOnce(&Source, &TenantId, &Filters) -> Option<Value> + Send + 'static,
) -> ApiResult {
    check(&filters, endpoint)?;
    let id = request.tenant(tenant)?;
    request.answer(move |source| compute(source, &id, &filters).map(written).ok_or_else(unknown_tenant)).await
}

pub(super) async fn clocks(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    list(request, &tenant, filters, &CLOCKS, |source, tenant, filters| {
        let (at, mut clocks) = source.running_clocks(tenant)?;
        let until = filters.get("due_within").and_then(|text| duration(text)).map(|span| at + span);
        let state = filters.get("state");
        let rule = filters.get("rule");
        clocks.retain(|running| {
            let RunningClock { manager, department, clock, .. } = running;
            let is_due = until.is_none_or(|until| clock.due.is_some_and(|due| due <= until));
            is_due
                && state.is_none_or(|state| clock.status.name() == state)
                && rule.is_none_or(|rule| clock.rule.name() == rule)
                && is_of(filters, manager.as_ref(), department.as_ref())
        });
        // What can still be averted comes first.
        clocks.sort_by_key(|running| {
            let is_late = running.clock.status == ClockStatus::Overdue;
            let due = running.clock.due.unwrap_or(Timestamp::MAX);
            (is_late, if is_late { -due.0 } else { due.0 }, running.clock.subject.clone(), running.clock.rule)
        });
        let n = clocks.len();
        let entries: Vec<Value> = clocks.iter().take(limit(filters)).map(clock).collect();
        Some(json!({"tenant_id": tenant.as_str(), "at": at.to_string(), "n": n, "clocks": entries}))
    })
    .await
}

fn clock(running: &RunningClock) -> Value {
    let RunningClock { entity, manager, department, clock } = running;
    let time = |at: Timestamp| at.to_string();
    json!({
        "rule": clock.rule.name(),
        "subject": clock.subject.as_str(),
        "state": clock.status.name(),
        "entity": entity.as_ref().map(EntityId::to_string),
        "manager_id": manager.as_ref().map(ManagerId::as_str),
        "department_id": department.as_ref().map(DepartmentId::as_str),
        "anchor_at": time(clock.anchor),
        "due_at": clock.due.map(time),
        "clock": clock.clock.name(),
        "calendar": clock.calendar.as_deref(),
        "within_seconds": clock.within.map(|span| span.seconds()),
        "counted_seconds": clock.counted.seconds(),
        "alert": clock.alert.as_ref().map(|alert| json!({
            "alert_id": alert.id.to_string(),
            "level": alert.level,
            "severity": alert.severity.name(),
            "next_escalation_at": alert.next_escalation.map(time),
        })),
    })
}

pub(super) async fn plans(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    list(request, &tenant, filters, &PLANS, |source, tenant, filters| {
        let (at, mut plans) = source.open_plans(tenant)?;
        plans.retain(|plan| is_of(filters, plan.manager.as_ref(), plan.department.as_ref()));
        plans.sort_by_key(|plan| (plan.deadline.unwrap_or(Timestamp::MAX), plan.entity.clone(), plan.activity.clone()));
        let n = plans.len();
        let entry = |plan: &OpenPlan| {
            json!({
                "entity": plan.entity.to_string(),
                "activity_id": plan.activity.as_str(),
                "made_at": plan.made.to_string(),
                "deadline": plan.deadline.map(|deadline| deadline.to_string()),
                "overdue": plan.deadline.is_some_and(|deadline| deadline < at),
                "manager_id": plan.manager.as_ref().map(ManagerId::as_str),
                "department_id": plan.department.as_ref().map(DepartmentId::as_str),
            })
        };
        let entries: Vec<Value> = plans.iter().take(limit(filters)).map(entry).collect();
        Some(json!({"tenant_id": tenant.as_str(), "at": at.to_string(), "n": n, "plans": entries}))
    })
    .await
}

pub(super) async fn targets(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    list(request, &tenant, filters, &TARGETS, |source, tenant, filters| {
        let snapshot = source.snapshot(tenant)?;
        let is_asked = |row: &&Row| match &row.subject {
            Subject::Manager(id) => is_of(filters, Some(id), row.department.as_ref()),
            Subject::Department(id) => !filters.contains_key("manager") && is_of(filters, None, Some(id)),
            Subject::Tenant => filters.is_empty(),
        };
        let mut targets = Vec::new();
        for row in snapshot.rows.iter().filter(is_asked) {
            let Figures::Now(figures) = &row.figures else { continue };
            let (manager, department) = match &row.subject {
                Subject::Tenant => (None, ""),
                Subject::Department(id) => (None, id.as_str()),
                Subject::Manager(id) => {
                    (Some(id.as_str()), row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str))
                }
            };
            let query = ScopeQuery { tenant: tenant.as_str(), department, manager, pipeline: None, source: None };
            for target in snapshot.norms.targets(query) {
                let Some(found) = figures.targets.get(&target.id) else { continue };
                targets.push(json!({
                    "subject": row.subject.to_string(),
                    "target": target.id.as_str(),
                    "figure": target.figure.name(),
                    "per": target.per.name(),
                    "currency": target.currency.as_deref(),
                    "at_least": found.at_least,
                    "fact": found.fact,
                    "pace": found.pace,
                    "share": found.share,
                    "forecast": found.forecast,
                    "incomplete": found.incomplete.then_some(true),
                }));
            }
        }
        Some(json!({"tenant_id": tenant.as_str(), "at": snapshot.watermark.to_string(), "targets": targets}))
    })
    .await
}

/// The people in the order of the page.
pub(super) async fn people(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    let default = request.http.context.language;
    list(request, &tenant, filters, &PEOPLE, move |source, tenant, filters| {
        let language = filters.get("language").and_then(|name| Language::named(name)).unwrap_or(default);
        ranking::people(source, tenant, (filters.get("window"), filters.get("department")), language)
    })
    .await
}

/// The name of a verdict in events.
pub(super) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "SUCCESS",
        Verdict::Failure => "FAILURE",
        Verdict::Neutral => "NEUTRAL",
    }
}

/// The state of a request for a review.
pub(super) fn state_of(requested: &RequestedReview) -> &'static str {
    match requested.answered {
        None => "open",
        Some(true) => "answered",
        Some(false) => "given_up",
    }
}

pub(super) async fn reviews(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    list(request, &tenant, filters, &REVIEWS, |source, tenant, filters| {
        let (mut requests, given) = source.reviews(tenant)?;
        let latest: BTreeMap<_, &GivenReview> = given.iter().map(|review| (&review.interaction, review)).collect();
        requests.retain(|requested| {
            let request = &requested.request;
            is_of(filters, Some(&request.manager), Some(&request.department))
                && filters.get("state").is_none_or(|state| state_of(requested) == state)
                && filters.get("day").is_none_or(|day| request.day.to_string() == *day)
        });
        requests.sort_by_key(|requested| {
            let request = &requested.request;
            (Reverse(request.day), request.manager.clone(), request.at, request.interaction.clone())
        });
        let n = requests.len();
        let entry = |requested: &RequestedReview| {
            let mut body = Vec::new();
            json::encode_review(&requested.request, &mut body);
            let mut entry: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
            entry.remove("tenant_id");
            entry.insert("state".into(), json!(state_of(requested)));
            if let Some(review) = latest.get(&requested.request.interaction) {
                entry.insert("score".into(), json!(review.score));
                entry.insert("verdict".into(), json!(verdict_name(review.verdict)));
                entry.insert("reviewed_at".into(), json!(review.at.to_string()));
            }
            Value::Object(entry)
        };
        let entries: Vec<Value> = requests.iter().take(limit(filters)).map(entry).collect();
        Some(json!({"tenant_id": tenant.as_str(), "n": n, "reviews": entries}))
    })
    .await
}

pub(super) async fn cases(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    list(request, &tenant, filters, &CASES, |source, tenant, filters| {
        let (requests, mut given) = source.reviews(tenant)?;
        let by_id: BTreeMap<_, _> =
            requests.iter().map(|requested| (&requested.request.interaction, &requested.request)).collect();
        given.retain(|review| {
            review.verdict != Verdict::Neutral
                && is_of(filters, Some(&review.manager), Some(&review.department))
                && filters.get("verdict").is_none_or(|verdict| verdict_name(review.verdict) == verdict)
        });
        // The extremes come first: the best successes, the worst failures.
        given.sort_by(|a, b| {
            let extreme = |review: &GivenReview| match review.verdict {
                Verdict::Failure => 100.0 - review.score,
                _ => review.score,
            };
            extreme(b).total_cmp(&extreme(a)).then(b.at.cmp(&a.at))
        });
        let n = given.len();
        let entry = |review: &GivenReview| {
            let request = by_id.get(&review.interaction);
            let mut body = Vec::new();
            request.into_iter().for_each(|request| json::encode_review(request, &mut body));
            let known: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
            json!({
                "interaction_id": review.interaction.as_str(),
                "manager_id": review.manager.as_str(),
                "department_id": review.department.as_str(),
                "verdict": verdict_name(review.verdict),
                "score": review.score,
                "reviewed_at": review.at.to_string(),
                "kind": known.get("kind"),
                "recording_url": known.get("recording_url"),
                "entity": known.get("entity"),
            })
        };
        let entries: Vec<Value> = given.iter().take(limit(filters)).map(entry).collect();
        Some(json!({"tenant_id": tenant.as_str(), "n": n, "cases": entries}))
    })
    .await
}

pub(super) async fn deliveries(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    list(request, &tenant, filters, &DELIVERIES, |source, tenant, filters| {
        let told = source.told(tenant);
        let deliveries = latest(&told, |told, delivery| {
            let department = told.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
            is(filters, "rule", Some(told.rule.name()))
                && is(filters, "entity", told.entity.as_ref().map(EntityId::to_string).as_deref())
                && is(filters, "department", Some(department))
                && is(filters, "outcome", Some(delivery.outcome.name()))
                && filters.get("manager").is_none_or(|id| told.concerns(delivery, id))
        });
        let n = deliveries.len();
        let entry = |(told, delivery): &(&Told, &Delivery)| {
            json!({
                "alert_id": told.alert.to_string(),
                "rule": told.rule.name(),
                "entity": told.entity.as_ref().map(EntityId::to_string),
                "manager_id": told.manager.as_ref().map(ManagerId::as_str),
                "department_id": told.department.as_ref().map(DepartmentId::as_str),
                "channel": delivery.channel.name(),
                "person_id": delivery.person.as_ref().map(ManagerId::as_str),
                "outcome": delivery.outcome.name(),
                "status": delivery.status.name(),
                "level": delivery.level,
                "at": delivery.at.to_string(),
                "taken_by": told.taken_by.as_ref().map(ManagerId::as_str),
            })
        };
        let entries: Vec<Value> = deliveries.iter().take(limit(filters)).map(entry).collect();
        Some(json!({"tenant_id": tenant.as_str(), "n": n, "deliveries": entries}))
    })
    .await
}

pub(super) async fn lead_contacts(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &LEAD_CONTACTS)?;
    contacts(request, &tenant, EntityId { kind: EntityKind::Lead, id: id.into() }).await
}

pub(super) async fn deal_contacts(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &DEAL_CONTACTS)?;
    contacts(request, &tenant, EntityId { kind: EntityKind::Deal, id: id.into() }).await
}

async fn contacts(request: Request, tenant: &str, entity: EntityId) -> ApiResult {
    let id = request.tenant(tenant)?;
    require_contacts(&request)?;
    request
        .answer(move |source| {
            let contacts = source.contacts_of(&id, &entity);
            let contacts = contacts.ok_or_else(|| not_found("unknown lead or deal, or its state has expired"))?;
            Ok(written(contacts_answer(&id, &contacts)))
        })
        .await
}

pub(super) async fn alert_contacts(Asked(request, (tenant, alert), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &ALERT_CONTACTS)?;
    let id = request.tenant(&tenant)?;
    require_contacts(&request)?;
    let alert = alert_id(&alert)?;
    request
        .answer(move |source| {
            let contacts = source.contacts_of_alert(&id, alert).ok_or_else(unknown_alert)?;
            Ok(written(contacts_answer(&id, &contacts)))
        })
        .await
}

/// The id of an alert in a path.
pub(super) fn alert_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| bad_request("expected the id of an alert"))
}

pub(super) fn unknown_alert() -> ApiError {
    not_found("no such open alert")
}

fn require_contacts(request: &Request) -> Result<(), ApiError> {
    if request.source.viewer.sees_contacts() {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "only the role contacts sees numbers and addresses of customers"))
}

fn contacts_answer(tenant: &TenantId, contacts: &[CompactString]) -> Value {
    let entry = |contact: &CompactString| {
        let (kind, value) = contact_value(contact);
        json!({"kind": kind, "value": value})
    };
    json!({"tenant_id": tenant.as_str(), "contacts": contacts.iter().map(entry).collect::<Vec<_>>()})
}

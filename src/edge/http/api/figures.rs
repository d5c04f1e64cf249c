//! Owns the answers about rows, open alerts, and the journey of each lead and deal.
//!
//! Rows and alerts have the same JSON as in their topics. Rows are computed at the time of the request, all at one
//! watermark; open alerts are those that are committed.

use super::asked::{ApiResult, Asked, Filters, Request, bad_request, check, line, unknown_tenant};
use super::endpoints::{
    ALERTS, DEAL, DEPARTMENT_ROWS, DEPARTMENTS, Endpoint, LEAD, MANAGER_ROWS, MANAGERS, TENANT, TENANTS,
};
use crate::codec::json;
use crate::dataflow::live::{OpenAlert, TenantSnapshot};
use crate::domain::alert::Alert;
use crate::domain::figures::row::{Row, Subject};
use crate::domain::id::{DepartmentId, EntityId, EntityKind, TenantId, UNKNOWN};
use crate::domain::rule::message;
use crate::edge::http::response::ApiError;
use crate::edge::http::source::Source;
use axum::http::StatusCode;

pub(super) async fn tenants(Asked(request, (), filters): Asked<()>) -> ApiResult {
    check(&filters, &TENANTS)?;
    request.answer(|source| Ok(line(|body| json::encode_tenants(&source.tenants(), body)))).await
}

pub(super) async fn tenant(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    rows(request, tenant, filters, &TENANT, |row, _| row.subject == Subject::Tenant).await
}

pub(super) async fn managers(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    rows(request, tenant, filters, &MANAGERS, |row, filters| {
        let own = row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        matches!(row.subject, Subject::Manager(_)) && filters.get("department").is_none_or(|wanted| wanted == own)
    })
    .await
}

pub(super) async fn manager(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    let subject = Subject::Manager(id.as_str().into());
    rows(request, tenant, filters, &MANAGER_ROWS, move |row, _| row.subject == subject).await
}

pub(super) async fn departments(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    rows(request, tenant, filters, &DEPARTMENTS, |row, _| matches!(row.subject, Subject::Department(_))).await
}

pub(super) async fn department(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    let subject = Subject::Department(id.as_str().into());
    rows(request, tenant, filters, &DEPARTMENT_ROWS, move |row, _| row.subject == subject).await
}

/// The rows of a tenant that match.
async fn rows(
    request: Request,
    tenant: String,
    filters: Filters,
    endpoint: &Endpoint,
    matches: impl Fn(&Row, &Filters) -> bool + Send + 'static,
) -> ApiResult {
    check(&filters, endpoint)?;
    let id = TenantId::from(tenant.as_str());
    let compute = move |source: &Source| {
        let TenantSnapshot { rows, norms, .. } = source.snapshot(&id).ok_or_else(unknown_tenant)?;
        let window = filters.get("window");
        let names = norms.windows.iter().map(|window| window.name()).chain(["now".into()]);
        if window.is_some_and(|wanted| !names.into_iter().any(|name| name == *wanted)) {
            return Err(bad_request("unknown window; expected one of the configured windows, or now"));
        }
        let matches =
            |row: &&Row| window.is_none_or(|wanted| row.figures.window() == *wanted) && matches(row, &filters);
        let chosen: Vec<&Row> = rows.iter().filter(matches).collect();
        if chosen.is_empty() {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "no figures for this subject"));
        }
        Ok(line(|body| json::encode_rows(&id, &chosen, body)))
    };
    request.answer(compute).await
}

pub(super) async fn alerts(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    check(&filters, &ALERTS)?;
    let id = request.tenant(&tenant)?;
    let language = request.http.context.language;
    let matches = move |alert: &Alert| {
        let is = |key: &str, value: Option<&str>| filters.get(key).is_none_or(|wanted| Some(wanted.as_str()) == value);
        is("rule", Some(alert.rule.name()))
            && is("severity", Some(alert.severity.name()))
            && is("manager", alert.manager.as_ref().map(|id| id.as_str()))
            && is("department", alert.department.as_ref().map(|id| id.as_str()))
            && is("entity", alert.entity.as_ref().map(EntityId::to_string).as_deref())
    };
    let compute = move |source: &Source| {
        let open = source.alerts(&id);
        let alerts_with_messages: Vec<_> = open
            .iter()
            .filter(|open| matches(&open.alert))
            .map(|OpenAlert { alert, taken }| (&**alert, taken.as_ref(), message::of(alert, language)))
            .collect();
        Ok(line(|body| json::encode_alerts(&id, &alerts_with_messages, body)))
    };
    request.answer(compute).await
}

pub(super) async fn lead(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &LEAD)?;
    entity_report(request, &tenant, EntityId { kind: EntityKind::Lead, id: id.into() }).await
}

pub(super) async fn deal(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &DEAL)?;
    entity_report(request, &tenant, EntityId { kind: EntityKind::Deal, id: id.into() }).await
}

async fn entity_report(request: Request, tenant: &str, entity: EntityId) -> ApiResult {
    let id = request.tenant(tenant)?;
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "unknown lead or deal, or its state has expired");
    let compute = move |source: &Source| {
        let entity_report = source.entity_report(&id, &entity).ok_or_else(unknown)?;
        Ok(line(|body| json::encode_entity_report(&id, &entity_report, body)))
    };
    request.answer(compute).await
}

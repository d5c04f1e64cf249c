//! `/api/v1`: rows, open alerts, and the journey of each lead and deal, from memory. Reference: `docs/api.md`.
//!
//! Rows and alerts have the same JSON as in their topics. Rows are computed at the time of the request, all at one
//! watermark; open alerts are those that are committed.

use super::context::{HttpState, run_blocking};
use super::guard::guard;
use super::response::{ApiError, json_response};
use crate::codec::json;
use crate::dataflow::live::{OpenAlert, TenantSnapshot};
use crate::domain::alert::{Alert, Severity};
use crate::domain::figures::row::{Row, Subject};
use crate::domain::id::{DepartmentId, EntityId, EntityKind, TenantId, UNKNOWN};
use crate::domain::rule::{Rule, message};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use std::collections::BTreeMap;
use std::sync::Arc;

type ApiResult = Result<Response, ApiError>;
type Filters = BTreeMap<String, String>;

/// A request with query parameters about `T`, the parameters of the path.
type Filtered<T> = (State<HttpState>, Path<T>, Query<Filters>);

/// The routes, open to requests that [`guard`] accepts.
pub(super) fn routes(token: Option<Arc<str>>) -> Router<HttpState> {
    Router::new()
        .route("/tenants", get(tenants))
        .route("/tenants/{tenant}", get(tenant))
        .route("/tenants/{tenant}/managers", get(managers))
        .route("/tenants/{tenant}/managers/{id}", get(manager))
        .route("/tenants/{tenant}/departments", get(departments))
        .route("/tenants/{tenant}/departments/{id}", get(department))
        .route("/tenants/{tenant}/alerts", get(alerts))
        .route("/tenants/{tenant}/leads/{id}", get(lead))
        .route("/tenants/{tenant}/deals/{id}", get(deal))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no such endpoint; see docs/api.md") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; use GET")
        })
        .layer(from_fn_with_state(token, guard))
}

async fn tenants(State(state): State<HttpState>) -> Response {
    let mut body = Vec::new();
    json::encode_tenants(&state.context.live_state.tenants(), &mut body);
    json_response(body)
}

async fn tenant((State(state), Path(tenant), Query(filters)): Filtered<String>) -> ApiResult {
    rows(&state, tenant, filters, &["window"], |row, _| row.subject == Subject::Tenant).await
}

async fn managers((State(state), Path(tenant), Query(filters)): Filtered<String>) -> ApiResult {
    rows(&state, tenant, filters, &["window", "department"], |row, filters| {
        let own = row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        matches!(row.subject, Subject::Manager(_)) && filters.get("department").is_none_or(|wanted| wanted == own)
    })
    .await
}

async fn manager((State(state), Path((tenant, id)), Query(filters)): Filtered<(String, String)>) -> ApiResult {
    let subject = Subject::Manager(id.as_str().into());
    rows(&state, tenant, filters, &["window"], move |row, _| row.subject == subject).await
}

async fn departments((State(state), Path(tenant), Query(filters)): Filtered<String>) -> ApiResult {
    rows(&state, tenant, filters, &["window"], |row, _| matches!(row.subject, Subject::Department(_))).await
}

async fn department((State(state), Path((tenant, id)), Query(filters)): Filtered<(String, String)>) -> ApiResult {
    let subject = Subject::Department(id.as_str().into());
    rows(&state, tenant, filters, &["window"], move |row, _| row.subject == subject).await
}

/// The rows of a tenant that match.
async fn rows(
    state: &HttpState,
    tenant: String,
    filters: Filters,
    allowed: &[&str],
    matches: impl Fn(&Row, &Filters) -> bool + Send + 'static,
) -> ApiResult {
    check(&filters, allowed)?;
    let (live_state, id) = (Arc::clone(&state.context.live_state), TenantId::from(tenant.as_str()));
    let result = run_blocking(&state.queries, move || {
        let TenantSnapshot { rows, norms, .. } = live_state.snapshot(&id)?;
        let window = filters.get("window");
        let names = norms.windows.iter().map(|window| window.name()).chain(["now".into()]);
        if window.is_some_and(|wanted| !names.into_iter().any(|name| name == *wanted)) {
            return Some(Err(bad_request("unknown window; expected one of the configured windows, or now")));
        }
        let matches =
            |row: &&Row| window.is_none_or(|wanted| row.figures.window() == *wanted) && matches(row, &filters);
        let chosen: Vec<&Row> = rows.iter().filter(matches).collect();
        let mut body = Vec::new();
        json::encode_rows(&id, &chosen, &mut body);
        Some(Ok((chosen.is_empty(), body)))
    });
    match result.await.ok_or_else(query_failed)?.ok_or_else(unknown_tenant)?? {
        (true, _) => Err(ApiError::new(StatusCode::NOT_FOUND, "no figures for this subject")),
        (false, body) => Ok(json_response(body)),
    }
}

async fn alerts((State(state), Path(tenant), Query(filters)): Filtered<String>) -> ApiResult {
    check(&filters, &["rule", "manager", "department", "severity", "entity"])?;
    let is_rule = |name: &String| Rule::ALL.iter().any(|rule| rule.name() == name);
    if filters.get("rule").is_some_and(|name| !is_rule(name)) {
        return Err(bad_request("unknown rule; see docs/rules.md"));
    }
    if filters.get("severity").is_some_and(|name| !Severity::ALL.iter().any(|severity| severity.name() == name)) {
        return Err(bad_request("unknown severity; expected one of info, warning, critical"));
    }
    let id = TenantId::from(tenant.as_str());
    if !state.context.live_state.contains_tenant(&id) {
        return Err(unknown_tenant());
    }
    let matches = |alert: &Alert| {
        let is = |key: &str, value: Option<&str>| filters.get(key).is_none_or(|wanted| Some(wanted.as_str()) == value);
        is("rule", Some(alert.rule.name()))
            && is("severity", Some(alert.severity.name()))
            && is("manager", alert.manager.as_ref().map(|id| id.as_str()))
            && is("department", alert.department.as_ref().map(|id| id.as_str()))
            && is("entity", alert.entity.as_ref().map(EntityId::to_string).as_deref())
    };
    let open = state.context.open_alerts.alerts(&id);
    let open = open.iter().filter(|open| matches(&open.alert));
    let alerts_with_messages: Vec<_> = open
        .map(|OpenAlert { alert, taken }| (&**alert, taken.as_ref(), message::of(alert, state.context.language)))
        .collect();
    let mut body = Vec::new();
    json::encode_alerts(&id, &alerts_with_messages, &mut body);
    Ok(json_response(body))
}

async fn lead(State(state): State<HttpState>, Path((tenant, id)): Path<(String, String)>) -> ApiResult {
    entity_report(&state, &tenant, EntityId { kind: EntityKind::Lead, id: id.into() }).await
}

async fn deal(State(state): State<HttpState>, Path((tenant, id)): Path<(String, String)>) -> ApiResult {
    entity_report(&state, &tenant, EntityId { kind: EntityKind::Deal, id: id.into() }).await
}

async fn entity_report(state: &HttpState, tenant: &str, entity: EntityId) -> ApiResult {
    let (live_state, id) = (Arc::clone(&state.context.live_state), TenantId::from(tenant));
    if !live_state.contains_tenant(&id) {
        return Err(unknown_tenant());
    }
    let result = run_blocking(&state.queries, move || {
        let entity_report = live_state.entity_report(&id, &entity)?;
        let mut body = Vec::new();
        json::encode_entity_report(&id, &entity_report, &mut body);
        Some(body)
    });
    let body = result.await.ok_or_else(query_failed)?;
    body.map(json_response)
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "unknown lead or deal, or its state has expired"))
}

/// Rejects unknown query parameters.
fn check(filters: &Filters, allowed: &[&str]) -> Result<(), ApiError> {
    match filters.keys().find(|key| !allowed.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let text = format!("unknown query parameter \"{key}\"; expected one of {}", allowed.join(", "));
            Err(bad_request(text))
        }
    }
}

fn bad_request(text: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, text)
}

fn query_failed() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed to compute the figures")
}

/// This process does not have the tenant.
fn unknown_tenant() -> ApiError {
    let text = "unknown tenant in this process: it has no events yet, or its shard is assigned to another process";
    ApiError::new(StatusCode::NOT_FOUND, text)
}

//! `/api/v1`: rows, open alerts, and the journey of each lead and deal, from memory. Reference: `docs/api.md`.
//!
//! Rows and alerts have the same JSON as in their topics. Rows are computed at the time of the request, all at one
//! watermark; open alerts are those that are committed.

use super::access::{Access, Viewer, is_meant};
use super::context::HttpState;
use super::guard::{guard, not_meant};
use super::response::{ApiError, method_not_allowed};
use super::source::Source;
use crate::codec::json;
use crate::dataflow::live::{OpenAlert, TenantSnapshot};
use crate::domain::alert::{Alert, Severity};
use crate::domain::figures::row::{Row, Subject};
use crate::domain::id::{DepartmentId, EntityId, EntityKind, TenantId, UNKNOWN};
use crate::domain::rule::{Rule, message};
use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

type ApiResult = Result<Response, ApiError>;
type Filters = BTreeMap<String, String>;

/// A request about `T`, the parameters of the path, with its query parameters.
struct Asked<T>(Request, T, Filters);

/// Where a request is answered, and from what.
struct Request {
    http: HttpState,
    source: Source,
}

impl<T: DeserializeOwned + Send> FromRequestParts<HttpState> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, ApiError> {
        if !parts.method.is_safe() && !is_meant(&parts.headers) {
            return Err(not_meant());
        }
        let path = Path::from_request_parts(parts, state).await;
        let Path(subject) = path.map_err(|error: PathRejection| bad_request(error.body_text()))?;
        let query = Query::from_request_parts(parts, state).await;
        let Query(filters) = query.map_err(|error: QueryRejection| bad_request(error.body_text()))?;
        let viewer = parts.extensions.get::<Arc<Viewer>>().ok_or_else(|| {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has no viewer")
        })?;
        let request = Request { http: state.clone(), source: state.source(viewer) };
        Ok(Self(request, subject, filters))
    }
}

/// The routes, open to requests that [`guard`] accepts.
pub(super) fn routes(access: Arc<Access>) -> Router<HttpState> {
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
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(access, guard))
}

async fn tenants(Asked(request, (), filters): Asked<()>) -> ApiResult {
    check(&filters, &[])?;
    let Request { http, source } = request;
    http.answer(move || Ok(line(|body| json::encode_tenants(&source.tenants(), body)))).await
}

async fn tenant(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    rows(request, tenant, filters, &["window"], |row, _| row.subject == Subject::Tenant).await
}

async fn managers(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    rows(request, tenant, filters, &["window", "department"], |row, filters| {
        let own = row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        matches!(row.subject, Subject::Manager(_)) && filters.get("department").is_none_or(|wanted| wanted == own)
    })
    .await
}

async fn manager(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    let subject = Subject::Manager(id.as_str().into());
    rows(request, tenant, filters, &["window"], move |row, _| row.subject == subject).await
}

async fn departments(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    rows(request, tenant, filters, &["window"], |row, _| matches!(row.subject, Subject::Department(_))).await
}

async fn department(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    let subject = Subject::Department(id.as_str().into());
    rows(request, tenant, filters, &["window"], move |row, _| row.subject == subject).await
}

/// The rows of a tenant that match.
async fn rows(
    request: Request,
    tenant: String,
    filters: Filters,
    allowed: &[&str],
    matches: impl Fn(&Row, &Filters) -> bool + Send + 'static,
) -> ApiResult {
    check(&filters, allowed)?;
    let (Request { http, source }, id) = (request, TenantId::from(tenant.as_str()));
    let compute = move || {
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
    http.answer(compute).await
}

async fn alerts(Asked(request, tenant, filters): Asked<String>) -> ApiResult {
    check(&filters, &["rule", "manager", "department", "severity", "entity"])?;
    let is_rule = |name: &String| Rule::ALL.iter().any(|rule| rule.name() == name);
    if filters.get("rule").is_some_and(|name| !is_rule(name)) {
        return Err(bad_request("unknown rule; see docs/rules.md"));
    }
    if filters.get("severity").is_some_and(|name| !Severity::ALL.iter().any(|severity| severity.name() == name)) {
        return Err(bad_request("unknown severity; expected one of info, warning, critical"));
    }
    let id = TenantId::from(tenant.as_str());
    let Request { http, source } = request;
    if !source.contains(&id) {
        return Err(unknown_tenant());
    }
    let language = http.context.language;
    let matches = move |alert: &Alert| {
        let is = |key: &str, value: Option<&str>| filters.get(key).is_none_or(|wanted| Some(wanted.as_str()) == value);
        is("rule", Some(alert.rule.name()))
            && is("severity", Some(alert.severity.name()))
            && is("manager", alert.manager.as_ref().map(|id| id.as_str()))
            && is("department", alert.department.as_ref().map(|id| id.as_str()))
            && is("entity", alert.entity.as_ref().map(EntityId::to_string).as_deref())
    };
    let compute = move || {
        let open = source.alerts(&id);
        let alerts_with_messages: Vec<_> = open
            .iter()
            .filter(|open| matches(&open.alert))
            .map(|OpenAlert { alert, taken }| (&**alert, taken.as_ref(), message::of(alert, language)))
            .collect();
        Ok(line(|body| json::encode_alerts(&id, &alerts_with_messages, body)))
    };
    http.answer(compute).await
}

async fn lead(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &[])?;
    entity_report(request, &tenant, EntityId { kind: EntityKind::Lead, id: id.into() }).await
}

async fn deal(Asked(request, (tenant, id), filters): Asked<(String, String)>) -> ApiResult {
    check(&filters, &[])?;
    entity_report(request, &tenant, EntityId { kind: EntityKind::Deal, id: id.into() }).await
}

async fn entity_report(request: Request, tenant: &str, entity: EntityId) -> ApiResult {
    let (Request { http, source }, id) = (request, TenantId::from(tenant));
    if !source.contains(&id) {
        return Err(unknown_tenant());
    }
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "unknown lead or deal, or its state has expired");
    let compute = move || {
        let entity_report = source.entity_report(&id, &entity).ok_or_else(unknown)?;
        Ok(line(|body| json::encode_entity_report(&id, &entity_report, body)))
    };
    http.answer(compute).await
}

/// One line of JSON.
fn line(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::new();
    encode(&mut body);
    body.push(b'\n');
    body
}

/// Rejects unknown query parameters.
fn check(filters: &Filters, allowed: &[&str]) -> Result<(), ApiError> {
    match filters.keys().find(|key| !allowed.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) if allowed.is_empty() => {
            Err(bad_request(format!("unknown query parameter \"{key}\"; expected none")))
        }
        Some(key) => {
            let text = format!("unknown query parameter \"{key}\"; expected one of {}", allowed.join(", "));
            Err(bad_request(text))
        }
    }
}

fn bad_request(text: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, text)
}

/// This process does not have the tenant.
fn unknown_tenant() -> ApiError {
    let text = "unknown tenant in this process: it has no events yet, or its shard is assigned to another process";
    ApiError::new(StatusCode::NOT_FOUND, text)
}

//! Owns `/api/v1`: rows, open alerts and dossiers of leads and deals, from memory. What is in it, and what not: `docs/api.md`.
//!
//! Rows and alerts are the very JSON of their topics. Rows are of the instant of the question, all of one watermark; open
//! alerts are those that are committed.

use super::{HttpState, apart, guard};
use crate::codec::json;
use crate::dataflow::live_state::TenantSnapshot;
use crate::domain::alert::{Alert, Severity};
use crate::domain::id::{DepartmentId, EntityId, EntityKind, TenantId, UNKNOWN};
use crate::domain::row::{Row, Subject};
use crate::domain::rule::{self, Rule};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A question that is not answered, and why.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut body = Vec::new();
        json::encode_error(&self.why, &mut body);
        (self.status, answer(body)).into_response()
    }
}

type Answer = Result<Response, Refused>;
/// What stands behind the question mark.
type Filters = BTreeMap<String, String>;

fn answer(mut body: Vec<u8>) -> Response {
    body.push(b'\n');
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) fn routes(desk: &HttpState) -> Router<HttpState> {
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
        .fallback(|| async { Refused::new(StatusCode::NOT_FOUND, "there is no such page: see docs/api.md") })
        .method_not_allowed_fallback(|| async { Refused::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered") })
        .layer(from_fn_with_state(desk.clone(), guard::guard))
}

async fn tenants(State(desk): State<HttpState>) -> Response {
    let mut body = Vec::new();
    json::encode_tenants(&desk.shown.board.tenants(), &mut body);
    answer(body)
}

async fn tenant(State(desk): State<HttpState>, Path(tenant): Path<String>, Query(filters): Query<Filters>) -> Answer {
    rows(&desk, tenant, filters, &["window"], |row, _| row.subject == Subject::Tenant).await
}

async fn managers(State(desk): State<HttpState>, Path(tenant): Path<String>, Query(filters): Query<Filters>) -> Answer {
    rows(&desk, tenant, filters, &["window", "department"], |row, filters| {
        let own = row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        matches!(row.subject, Subject::Manager(_)) && filters.get("department").is_none_or(|wanted| wanted == own)
    })
    .await
}

async fn manager(
    State(desk): State<HttpState>,
    Path((tenant, id)): Path<(String, String)>,
    Query(filters): Query<Filters>,
) -> Answer {
    let subject = Subject::Manager(id.as_str().into());
    rows(&desk, tenant, filters, &["window"], move |row, _| row.subject == subject).await
}

async fn departments(
    State(desk): State<HttpState>,
    Path(tenant): Path<String>,
    Query(filters): Query<Filters>,
) -> Answer {
    rows(&desk, tenant, filters, &["window"], |row, _| matches!(row.subject, Subject::Department(_))).await
}

async fn department(
    State(desk): State<HttpState>,
    Path((tenant, id)): Path<(String, String)>,
    Query(filters): Query<Filters>,
) -> Answer {
    let subject = Subject::Department(id.as_str().into());
    rows(&desk, tenant, filters, &["window"], move |row, _| row.subject == subject).await
}

/// The rows of a tenant that fit.
async fn rows(
    desk: &HttpState,
    tenant: String,
    filters: Filters,
    known: &[&str],
    fits: impl Fn(&Row, &Filters) -> bool + Send + 'static,
) -> Answer {
    check(&filters, known)?;
    let (board, id) = (Arc::clone(&desk.shown.board), TenantId::from(tenant.as_str()));
    let made = apart(&desk.question, move || {
        let TenantSnapshot { rows, norms, .. } = board.snapshot(&id)?;
        let window = filters.get("window");
        let names = norms.windows.iter().map(|window| window.name()).chain(["now".into()]);
        if window.is_some_and(|wanted| !names.into_iter().any(|name| name == *wanted)) {
            return Some(Err(Refused::new(StatusCode::BAD_REQUEST, "window: there is none of this name")));
        }
        let fits = |row: &&Row| window.is_none_or(|wanted| row.figures.window() == *wanted) && fits(row, &filters);
        let chosen: Vec<&Row> = rows.iter().filter(fits).collect();
        let mut body = Vec::new();
        json::encode_rows(&id, &chosen, &mut body);
        Some(Ok((chosen.is_empty(), body)))
    });
    match made.await.ok_or_else(failed)?.ok_or_else(elsewhere)?? {
        (true, _) => Err(Refused::new(StatusCode::NOT_FOUND, "there are no figures of this")),
        (false, body) => Ok(answer(body)),
    }
}

async fn alerts(State(desk): State<HttpState>, Path(tenant): Path<String>, Query(filters): Query<Filters>) -> Answer {
    check(&filters, &["rule", "manager", "department", "severity", "entity"])?;
    let is_rule = |name: &String| Rule::ALL.iter().any(|rule| rule.name() == name);
    if filters.get("rule").is_some_and(|name| !is_rule(name)) {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "rule: there is none of this name"));
    }
    if filters.get("severity").is_some_and(|name| !Severity::ALL.iter().any(|severity| severity.name() == name)) {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "severity: info, warning or critical"));
    }
    let id = TenantId::from(tenant.as_str());
    if !desk.shown.board.holds(&id) {
        return Err(elsewhere());
    }
    let fits = |alert: &Alert| {
        let is = |key: &str, value: Option<&str>| filters.get(key).is_none_or(|wanted| Some(wanted.as_str()) == value);
        is("rule", Some(alert.rule.name()))
            && is("severity", Some(alert.severity.name()))
            && is("manager", alert.manager.as_ref().map(|id| id.as_str()))
            && is("department", alert.department.as_ref().map(|id| id.as_str()))
            && is("entity", alert.entity.as_ref().map(EntityId::to_string).as_deref())
    };
    let open = desk.shown.view.alerts(&id);
    let open = open.iter().filter(|alert| fits(alert));
    let told: Vec<_> = open.map(|alert| (&**alert, rule::message(alert, desk.shown.language))).collect();
    let mut body = Vec::new();
    json::encode_alerts(&id, &told, &mut body);
    Ok(answer(body))
}

async fn lead(State(desk): State<HttpState>, Path((tenant, id)): Path<(String, String)>) -> Answer {
    entity_report(&desk, &tenant, EntityId { kind: EntityKind::Lead, id: id.into() }).await
}

async fn deal(State(desk): State<HttpState>, Path((tenant, id)): Path<(String, String)>) -> Answer {
    entity_report(&desk, &tenant, EntityId { kind: EntityKind::Deal, id: id.into() }).await
}

async fn entity_report(desk: &HttpState, tenant: &str, entity: EntityId) -> Answer {
    let (board, id) = (Arc::clone(&desk.shown.board), TenantId::from(tenant));
    if !board.holds(&id) {
        return Err(elsewhere());
    }
    let made = apart(&desk.question, move || {
        let entity_report = board.entity_report(&id, &entity)?;
        let mut body = Vec::new();
        json::encode_entity_report(&id, &entity_report, &mut body);
        Some(body)
    });
    let body = made.await.ok_or_else(failed)?;
    body.map(answer).ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "nothing is known of it, or not any more"))
}

/// Whether there is nothing behind the question mark that nobody looks at.
fn check(filters: &Filters, known: &[&str]) -> Result<(), Refused> {
    match filters.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let text = format!("{key}: nothing goes by this; there are {}", known.join(", "));
            Err(Refused::new(StatusCode::BAD_REQUEST, text))
        }
    }
}

fn failed() -> Refused {
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be summed")
}

/// The tenant is not here.
fn elsewhere() -> Refused {
    let text = "this process does not hold the tenant: nothing came of it yet, or another process has its shard";
    Refused::new(StatusCode::NOT_FOUND, text)
}

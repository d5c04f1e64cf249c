//! `/api/v1`: rows, open alerts, the journey of each lead and deal, lists and what stands behind a figure, from memory; and the
//! events that its users write. Reference: `docs/api.md`.
//!
//! A question is answered from the tenant, the viewer and the parameters alone.

mod actions;
mod asked;
mod endpoints;
mod figures;
mod lists;
mod members;
mod openapi;
mod schema;
mod stream;

use super::access::Access;
use super::context::HttpState;
use super::guard::guard;
use super::response::{ApiError, method_not_allowed};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use endpoints as of;
pub use openapi::document;
use std::sync::Arc;

/// The routes, open to requests that [`guard`] accepts.
pub(super) fn routes(access: Arc<Access>) -> Router<HttpState> {
    Router::new()
        .route(of::TENANTS.path, get(figures::tenants))
        .route(of::TENANT.path, get(figures::tenant))
        .route(of::MANAGERS.path, get(figures::managers))
        .route(of::MANAGER_ROWS.path, get(figures::manager))
        .route(of::DEPARTMENTS.path, get(figures::departments))
        .route(of::DEPARTMENT_ROWS.path, get(figures::department))
        .route(of::ALERTS.path, get(figures::alerts))
        .route(of::LEAD.path, get(figures::lead))
        .route(of::DEAL.path, get(figures::deal))
        .route(of::LEAD_CONTACTS.path, get(lists::lead_contacts))
        .route(of::DEAL_CONTACTS.path, get(lists::deal_contacts))
        .route(of::ALERT_CONTACTS.path, get(lists::alert_contacts))
        .route(of::CLOCKS.path, get(lists::clocks))
        .route(of::MEMBERS.path, get(members::members))
        .route(of::HISTORY.path, get(members::history))
        .route(of::PEOPLE.path, get(lists::people))
        .route(of::PLANS.path, get(lists::plans))
        .route(of::TARGETS.path, get(lists::targets))
        .route(of::REVIEWS.path, get(lists::reviews))
        .route(of::CASES.path, get(lists::cases))
        .route(of::DELIVERIES.path, get(lists::deliveries))
        .route(of::TAKEN.path, post(actions::take))
        .route(of::REVIEW.path, post(actions::review))
        .route(of::OPENAPI.path, get(openapi::get))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no such endpoint; see docs/api.md") })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(access, guard))
}

/// The route that answers without end.
pub(super) fn streams(access: Arc<Access>) -> Router<HttpState> {
    Router::new().route(of::STREAM.path, get(stream::alerts)).layer(from_fn_with_state(access, guard))
}

//! The HTTP endpoints: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes, `/api/v1` for queries,
//! and the page for people at `/`.
//!
//! `/livez` reports whether the threads that poll and commit make progress, not whether a broker is reachable: a broker
//! outage must not restart the fleet. `/readyz` reports whether shards are assigned, restored and read.
//!
//! **Invariant: probes never wait.** Requests that compute figures run on separate threads. A connection can always be
//! opened ([`server`]), and probes may have an address and a thread of their own.
//!
//! **Invariant: a client costs bounded memory.** Connections, headers and times are limited, all scrapes at a time share
//! one text ([`scrapes`]), and so few answers of the API exist at a time ([`context`]).

mod access;
mod action;
mod activity;
mod api;
mod contact;
mod context;
mod csv;
mod forward;
mod forwarding;
mod guard;
mod hosts;
mod in_memory;
mod members;
mod page;
mod publish;
mod relay;
mod response;
mod scrapes;
mod secret;
mod server;
mod session;
mod source;
mod write_deadline;

pub use access::Access;
pub use api::document as openapi;
pub use context::EndpointContext;
pub use guard::has_token;
pub use in_memory::InMemory;

use super::clock;
use crate::config::HttpServer;
use crate::telemetry::http_metrics::HttpMetrics;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use context::HttpState;
use forwarding::Forwarding;
use hosts::Hosts;
use page::PageState;
pub use publish::{Publish, Published};
pub use response::ApiError;
pub use secret::is_secret;
use server::Server;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// The endpoints could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("serve http on {address}: {cause}")]
pub struct HttpError {
    address: SocketAddr,
    cause: io::Error,
}

/// Serves all endpoints on `address` on a separate thread until the process ends; returns the bound address (port 0
/// binds a free port).
pub fn serve(address: SocketAddr, settings: &HttpServer, context: EndpointContext) -> Result<SocketAddr, HttpError> {
    let state = HttpState::new(context, settings);
    let page = page::state(&state);
    let api = Router::new().nest("/api/v1", api::streams(Arc::clone(&state.context.access)));
    let routes = all_routes(&state, &page).merge(page::streams(&page)).merge(api);
    let routes = with_members(routes, &state, &page);
    start("http", address, settings, routes, state)
}

/// Has other processes answer for the tenants that they have.
fn with_members(routes: Router<HttpState>, state: &HttpState, page: &PageState) -> Router<HttpState> {
    match Forwarding::new(state, page) {
        Some(forwarding) => routes.layer(from_fn_with_state(forwarding, members::route)),
        None => routes,
    }
}

fn all_routes(state: &HttpState, page: &PageState) -> Router<HttpState> {
    Router::new()
        .nest("/api/v1", api::routes(Arc::clone(&state.context.access)))
        .route("/metrics", get(metrics))
        .merge(page::routes(page))
        .merge(probes())
}

/// The endpoints that [`serve`] opens, without sockets and without streams, which do not end.
pub fn in_memory(settings: &HttpServer, context: EndpointContext) -> io::Result<InMemory> {
    let state = HttpState::new(context, settings);
    let metrics = Arc::clone(&state.context.http);
    let routes = with_checks(all_routes(&state, &page::state(&state)), settings, state);
    InMemory::new(Server::new(settings, routes, metrics))
}

/// Serves the probes alone, likewise.
pub fn serve_probes(
    address: SocketAddr,
    settings: &HttpServer,
    context: EndpointContext,
) -> Result<SocketAddr, HttpError> {
    start("probes", address, settings, probes(), HttpState::new(context, settings))
}

/// Serves the routes of another part of the program, likewise. `local` is for those who address this process by an accepted
/// name, `open` for everyone: it does not tell anything to a page of another site.
pub fn serve_routes(
    address: SocketAddr,
    settings: &HttpServer,
    open: Router,
    local: Router,
    metrics: Arc<HttpMetrics>,
) -> Result<SocketAddr, HttpError> {
    let hosts = Arc::new(Hosts::new(&settings.allowed_hosts, Arc::clone(&metrics)));
    let routes = open
        .merge(local.layer(from_fn_with_state(hosts, hosts::check)))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no such page") })
        .method_not_allowed_fallback(|| async { ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed") })
        .layer(map_response(harden));
    server::start("http", address, settings, routes, metrics).map_err(|cause| HttpError { address, cause })
}

fn start(
    thread: &'static str,
    address: SocketAddr,
    settings: &HttpServer,
    routes: Router<HttpState>,
    state: HttpState,
) -> Result<SocketAddr, HttpError> {
    let metrics = Arc::clone(&state.context.http);
    let routes = with_checks(routes, settings, state);
    server::start(thread, address, settings, routes, metrics).map_err(|cause| HttpError { address, cause })
}

/// Adds what holds for all pages: the check of the host, and errors.
fn with_checks(routes: Router<HttpState>, settings: &HttpServer, state: HttpState) -> Router {
    let hosts = Arc::new(Hosts::new(&settings.allowed_hosts, Arc::clone(&state.context.http)));
    routes
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no such page") })
        .method_not_allowed_fallback(response::method_not_allowed)
        .layer(from_fn_with_state(hosts, hosts::check))
        .layer(map_response(harden))
        .with_state(state)
}

fn probes() -> Router<HttpState> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

/// What a browser may do with a response: display it as what it is, and nothing else.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        // The page says itself what it may load.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn metrics(State(state): State<HttpState>) -> Response {
    match state.scrapes.latest().await {
        // https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
        Some(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "failed to compute the figures\n").into_response(),
    }
}

async fn livez(State(state): State<HttpState>) -> Response {
    match state.context.liveness.stuck(clock::now()) {
        None => "alive\n".into_response(),
        Some(thread) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the {thread:?} thread makes no progress\n")).into_response()
        }
    }
}

async fn readyz(State(state): State<HttpState>) -> Response {
    match state.context.liveness.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

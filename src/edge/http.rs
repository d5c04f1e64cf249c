//! The HTTP endpoints: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes, `/api/v1` for queries.
//!
//! `/livez` reports whether the threads that poll and commit make progress, not whether a broker is reachable: a broker
//! outage must not restart the fleet. `/readyz` reports whether shards are assigned, restored and read.
//!
//! **Invariant: probes never wait.** Requests that compute figures run on separate threads, one at a time per endpoint.

mod api;
mod context;
mod guard;
mod response;

pub use context::EndpointContext;

use super::clock;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use context::{HttpState, run_blocking};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Threads that compute figures: one for `/metrics`, one for `/api/v1`, and one spare.
const THREADS: usize = 3;

/// The endpoints could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("serve http on {address}: {cause}")]
pub struct HttpError {
    address: SocketAddr,
    cause: io::Error,
}

/// Serves on `address` on a separate thread until the process ends; returns the bound address (port 0 binds a free
/// port).
pub fn serve(address: SocketAddr, context: EndpointContext) -> Result<SocketAddr, HttpError> {
    let failed = |cause| HttpError { address, cause };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().enable_time().max_blocking_threads(THREADS).build().map_err(failed)?;
    let work = move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let service = routes(context).into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await
        });
        if let Err(error) = served {
            tracing::error!("serve http on {bound}: {error}");
        }
    };
    std::thread::Builder::new().name("http".into()).spawn(work).map_err(failed)?;
    Ok(bound)
}

fn routes(context: EndpointContext) -> Router {
    let state = HttpState { context, scrapes: Arc::new(Semaphore::new(1)), queries: Arc::new(Semaphore::new(1)) };
    Router::new()
        .nest("/api/v1", api::routes(state.context.token.clone()))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/", get(|| async { "funnelwatch: /metrics /livez /readyz /api/v1/tenants\n" }))
        .with_state(state)
}

async fn metrics(State(state): State<HttpState>) -> Response {
    let exporter = Arc::clone(&state.context.exporter);
    match run_blocking(&state.scrapes, move || exporter.render()).await {
        // https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
        Some(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
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

//! Owns the HTTP endpoints: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes.
//!
//! `/livez` says whether the threads that poll and commit make progress, not whether a broker can be reached: a broker
//! outage must not restart the fleet. `/readyz` says whether partitions are assigned, restored and read.

use super::clock;
use crate::telemetry::exporter::Exporter;
use crate::telemetry::vitals::Vitals;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// The endpoints could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("serve http on {address}: {cause}")]
pub struct HttpError {
    address: SocketAddr,
    cause: io::Error,
}

/// What the endpoints show.
#[derive(Clone)]
pub struct Shown {
    /// Renders the metrics.
    pub exporter: Arc<Exporter>,
    /// Signs of life.
    pub vitals: Arc<Vitals>,
}

/// Serves on `address` from a thread of its own until the process ends; returns the address that was bound (port 0
/// takes a free one).
pub fn serve(address: SocketAddr, shown: Shown) -> Result<SocketAddr, HttpError> {
    let failed = |cause| HttpError { address, cause };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
    let work = move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, routes(shown)).await
        });
        if let Err(error) = served {
            tracing::error!("serve http on {bound}: {error}");
        }
    };
    std::thread::Builder::new().name("http".into()).spawn(work).map_err(failed)?;
    Ok(bound)
}

fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/", get(|| async { "funnelwatch: /metrics /livez /readyz\n" }))
        .with_state(shown)
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match shown.exporter.render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn livez(State(shown): State<Shown>) -> Response {
    match shown.vitals.stuck(clock::now()) {
        None => "alive\n".into_response(),
        Some(thread) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("no progress of the {thread:?} thread\n")).into_response()
        }
    }
}

async fn readyz(State(shown): State<Shown>) -> Response {
    match shown.vitals.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

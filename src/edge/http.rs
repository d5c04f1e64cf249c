//! Owns the HTTP endpoints: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes, `/api/v1` for services and for
//! people who want to know why.
//!
//! `/livez` says whether the threads that poll and commit make progress, not whether a broker can be reached: a broker
//! outage must not restart the fleet. `/readyz` says whether partitions are assigned, restored and read.
//!
//! **Invariant: probes are answered at once.** Whatever sums figures does so on a thread of its own, one at a time.

mod api;
mod guard;

use super::clock;
use crate::dataflow::live_state::LiveState;
use crate::dataflow::open_alerts::OpenAlertsView;
use crate::domain::rule::Language;
use crate::telemetry::exporter::Exporter;
use crate::telemetry::liveness::Liveness;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Threads that sum figures: one for `/metrics`, one for `/api/v1`, and one to spare.
const THREADS: usize = 3;

/// The endpoints could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("serve http on {address}: {cause}")]
pub struct HttpError {
    address: SocketAddr,
    cause: io::Error,
}

/// What the endpoints show.
#[derive(Clone)]
pub struct EndpointContext {
    /// Renders the metrics.
    pub exporter: Arc<Exporter>,
    /// Signs of life.
    pub liveness: Arc<Liveness>,
    /// The live figures, leads and deals.
    pub board: Arc<LiveState>,
    /// The alerts that are open.
    pub view: Arc<OpenAlertsView>,
    /// The language of alerts' messages.
    pub language: Language,
    /// What who asks at `/api/v1` must show; `None`: only this machine may ask.
    pub token: Option<Arc<str>>,
}

/// What the handlers share.
#[derive(Clone)]
struct HttpState {
    shown: EndpointContext,
    /// Room for one scrape, and for one question about figures, at a time.
    scrape: Arc<Semaphore>,
    question: Arc<Semaphore>,
}

/// Serves on `address` from a thread of its own until the process ends; returns the address that was bound (port 0
/// takes a free one).
pub fn serve(address: SocketAddr, shown: EndpointContext) -> Result<SocketAddr, HttpError> {
    let failed = |cause| HttpError { address, cause };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().enable_time().max_blocking_threads(THREADS).build().map_err(failed)?;
    let work = move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let service = routes(shown).into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await
        });
        if let Err(error) = served {
            tracing::error!("serve http on {bound}: {error}");
        }
    };
    std::thread::Builder::new().name("http".into()).spawn(work).map_err(failed)?;
    Ok(bound)
}

fn routes(shown: EndpointContext) -> Router {
    let desk = HttpState { shown, scrape: Arc::new(Semaphore::new(1)), question: Arc::new(Semaphore::new(1)) };
    Router::new()
        .nest("/api/v1", api::routes(&desk))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/", get(|| async { "funnelwatch: /metrics /livez /readyz /api/v1/tenants\n" }))
        .with_state(desk)
}

/// Does what takes longer than a moment, when its turn comes; `None`: it panicked.
async fn apart<T: Send + 'static>(turn: &Arc<Semaphore>, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let _turn = turn.acquire().await.ok()?;
    tokio::task::spawn_blocking(work).await.ok()
}

async fn metrics(State(desk): State<HttpState>) -> Response {
    let exporter = Arc::clone(&desk.shown.exporter);
    let error = match apart(&desk.scrape, move || exporter.render()).await {
        Some(Ok(text)) => return ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Some(Err(error)) => error.to_string(),
        None => "the figures could not be summed".into(),
    };
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}

async fn livez(State(desk): State<HttpState>) -> Response {
    match desk.shown.liveness.stuck(clock::now()) {
        None => "alive\n".into_response(),
        Some(thread) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("no progress of the {thread:?} thread\n")).into_response()
        }
    }
}

async fn readyz(State(desk): State<HttpState>) -> Response {
    match desk.shown.liveness.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

//! What the handlers share: the sources they read, and the permits to compute figures.

use crate::dataflow::live::{LiveState, OpenAlertsView};
use crate::domain::rule::message::Language;
use crate::telemetry::exporter::Exporter;
use crate::telemetry::liveness::Liveness;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What the endpoints read.
#[derive(Clone)]
pub struct EndpointContext {
    /// Renders the metrics.
    pub exporter: Arc<Exporter>,
    /// Liveness and readiness.
    pub liveness: Arc<Liveness>,
    /// The live figures, leads and deals.
    pub live_state: Arc<LiveState>,
    /// The open alerts.
    pub open_alerts: Arc<OpenAlertsView>,
    /// The language of alerts' messages.
    pub language: Language,
    /// The bearer token that `/api/v1` requires; `None`: only requests from this host are accepted.
    pub token: Option<Arc<str>>,
}

#[derive(Clone)]
pub(super) struct HttpState {
    pub(super) context: EndpointContext,
    /// One permit each: one scrape and one query at a time.
    pub(super) scrapes: Arc<Semaphore>,
    pub(super) queries: Arc<Semaphore>,
}

/// Runs blocking work once a permit is available; `None`: it panicked.
pub(super) async fn run_blocking<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let _permit = permits.acquire().await.ok()?;
    tokio::task::spawn_blocking(work).await.ok()
}

//! What the handlers share: the sources they read, and the permits to compute answers.

use super::access::Access;
use super::publish::Publish;
use super::response::{ApiError, json_response};
use super::scrapes::Scrapes;
use crate::config::{HttpServer, Page};
use crate::dataflow::live::{LiveState, OpenAlertsView};
use crate::domain::rule::message::Language;
use crate::edge::deliveries::Deliveries;
use crate::edge::members::{Decision, Members};
use crate::telemetry::exporter::Exporter;
use crate::telemetry::http_metrics::HttpMetrics;
use crate::telemetry::liveness::Liveness;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    /// Who may ask.
    pub access: Arc<Access>,
    /// Writes what users do as events; `None`: nothing can be written.
    pub publish: Option<Publish>,
    /// The settings of the page.
    pub page: Page,
    /// What was sent to whom.
    pub deliveries: Arc<Deliveries>,
    /// Metrics of the server.
    pub http: Arc<HttpMetrics>,
    /// The processes that answer for each other; `None`: this one answers for all tenants that it has.
    pub members: Option<Arc<Members>>,
}

/// The tenants of other processes, for the list on the page.
#[derive(Clone, Debug, Default)]
pub(super) struct Elsewhere {
    pub(super) tenants: Vec<String>,
    /// Whether every shard has answered.
    pub(super) is_complete: bool,
}

#[derive(Clone)]
pub(super) struct HttpState {
    pub(super) context: EndpointContext,
    pub(super) scrapes: Arc<Scrapes>,
    /// One permit: one query is computed at a time.
    queries: Arc<Semaphore>,
    /// One permit: what stands behind a figure is found for one request at a time, beside other queries.
    scans: Arc<Semaphore>,
    /// One permit for each answer in memory.
    answers: Arc<Semaphore>,
}

/// Answers of the API in memory, being computed or read by their clients. Each may be large.
const ANSWERS: usize = 4;

impl HttpState {
    pub(super) fn new(context: EndpointContext, settings: &HttpServer) -> Self {
        let shared_for = Duration::from_millis(settings.shared_scrape.0 as u64);
        let scrapes = Scrapes::new(Arc::clone(&context.exporter), Arc::clone(&context.http), shared_for);
        let permits = |n| Arc::new(Semaphore::new(n));
        Self { context, scrapes: Arc::new(scrapes), queries: permits(1), scans: permits(1), answers: permits(ANSWERS) }
    }

    /// Whether this process answers for a tenant that it has.
    pub(super) fn answers_for(&self, tenant: &str) -> bool {
        let members = self.context.members.as_ref();
        members.is_none_or(|members| members.decide(tenant, Instant::now()) == Decision::Here)
    }

    /// Computes a part of the page on a separate thread.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.compute_one_of(&self.queries, compute).await
    }

    /// Computes what takes longer than other queries, which do not wait for it.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.compute_one_of(&self.scans, compute).await
    }

    async fn compute_one_of<T: Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let failed = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed to compute the figures");
        let query = Arc::clone(permits).acquire_owned().await.map_err(|_| failed())?;
        let work = move || {
            let _query = query;
            compute()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| failed())
    }

    /// Computes the JSON of an answer on a separate thread; `scans`: as [`Self::scan`] does.
    pub(super) async fn answer(
        &self,
        scans: bool,
        compute: impl FnOnce() -> Result<Vec<u8>, ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let failed = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed to compute the figures");
        let answer = Arc::clone(&self.answers).acquire_owned().await.map_err(|_| failed())?;
        // The permits go with the work: a client that leaves starts no other work beside it.
        let work = move || compute().map(|body| Answer { body, _permit: answer });
        let answer = if scans { self.scan(work).await } else { self.compute(work).await }??;
        Ok(json_response(Bytes::from_owner(answer)))
    }
}

/// The body of an answer, with its permit until it was sent.
struct Answer {
    body: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

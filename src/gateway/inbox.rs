//! Owns the HTTP side of the gateway: what may be sent to `/in/NAME`, and the answers.
//!
//! **Invariant: what is acknowledged is in Kafka.** A request is answered with 200 after all in-sync replicas have its hint or
//! events, and with 503 if they have not within some seconds. It is proven and checked before that.
//!
//! **Invariant: no secret leaves a request.** Tokens are compared and dropped; answers, logs and metrics contain nothing that
//! a request said.
//!
//! **Bounds.** The body in size and time, the fields of a form, the requests with events in memory, and what waits for Kafka.

mod events;
mod form;
mod replays;
mod telephony;
mod webhook;

use super::encode;
use super::hint_record;
use super::lock;
use super::source::{Hint, Outgoing};
use crate::codec::EventLimits;
use crate::config::gateway::{Gateway, GatewaySource, SourceKind};
use crate::config::{Config, Topics};
use crate::edge::clock;
use crate::edge::http::{self, ApiError, HttpError};
use crate::edge::kafka::acknowledged::{Acknowledged, AcknowledgedProducer};
use crate::telemetry::gateway_metrics::{GatewayMetrics, SourceMetrics};
use crate::telemetry::liveness::Liveness;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use replays::Replays;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The largest webhook, in bytes.
const WEBHOOK_BYTES: usize = 64 << 10;
/// The requests with events that are in memory at a time.
const BATCHES: usize = 16;
/// What a client is asked to wait for before it tries again, in seconds.
const RETRY_SECONDS: &str = "5";

/// What the endpoints need.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

struct Shared {
    sources: BTreeMap<String, Door>,
    producer: AcknowledgedProducer,
    topics: Topics,
    limits: EventLimits,
    /// The largest event, in bytes.
    event_bytes: usize,
    body_bytes: usize,
    body_timeout: Duration,
    batches: Semaphore,
    metrics: Arc<GatewayMetrics>,
    liveness: Arc<Liveness>,
}

/// A source, and what recognizes its webhooks.
struct Door {
    source: GatewaySource,
    metrics: Arc<SourceMetrics>,
    replays: Mutex<Replays>,
}

/// A request that is refused: the verdict that metrics count, and the answer.
struct Refused(&'static str, ApiError);

impl Refused {
    fn new(verdict: &'static str, status: StatusCode, reason: impl Into<String>) -> Self {
        Self(verdict, ApiError::new(status, reason))
    }

    fn malformed(reason: &'static str) -> Self {
        Self::new("malformed", StatusCode::BAD_REQUEST, reason)
    }

    fn wrong_token(reason: &'static str) -> Self {
        Self::new("wrong_token", StatusCode::FORBIDDEN, reason)
    }

    fn not_stored() -> Self {
        Self::new("not_stored", StatusCode::SERVICE_UNAVAILABLE, "Kafka has not acknowledged it; send it again later")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        match response.status() {
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl Inbox {
    /// The endpoints of a gateway.
    pub fn new(
        (config, gateway): (&Config, &Gateway),
        producer: AcknowledgedProducer,
        metrics: &Arc<GatewayMetrics>,
        liveness: &Arc<Liveness>,
    ) -> Self {
        let door = |source: &GatewaySource| {
            let metrics = metrics.source(&source.name);
            (source.name.clone(), Door { source: source.clone(), metrics, replays: Mutex::default() })
        };
        Self(Arc::new(Shared {
            sources: gateway.sources.iter().map(door).collect(),
            producer,
            topics: config.topics.clone(),
            limits: config.limits.event,
            event_bytes: config.engine.max_message_bytes,
            body_bytes: gateway.body_bytes,
            body_timeout: Duration::from_millis(config.http_server.read_timeout.0.unsigned_abs()),
            batches: Semaphore::new(BATCHES),
            metrics: Arc::clone(metrics),
            liveness: Arc::clone(liveness),
        }))
    }

    /// Serves them on a thread of their own until the process ends; returns the bound address.
    pub fn serve(&self, config: &Config, address: SocketAddr) -> Result<SocketAddr, HttpError> {
        let open = Router::new()
            .route("/in/{name}", post(root))
            .route("/in/{name}/{*path}", post(below))
            .with_state(self.clone());
        let local = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/", get(|| async { "funnelwatch gateway: POST /in/NAME; GET /metrics /livez /readyz\n" }))
            .with_state(self.clone());
        http::serve_routes(address, &config.http_server, open, local, Arc::clone(self.0.metrics.http()))
    }

    async fn receive(&self, name: &str, path: &str, headers: &HeaderMap, body: Body) -> Response {
        let Some(door) = self.0.sources.get(name) else {
            self.0.metrics.unknown_source();
            return ApiError::new(StatusCode::NOT_FOUND, "no such source").into_response();
        };
        match &door.source.kind {
            SourceKind::Bitrix24(portal) if path.is_empty() => {
                let token = portal.application_token.as_deref();
                self.webhook(door, token, headers, body).await.into_response()
            }
            SourceKind::Events(token) if path == "events" => match self.events(door, &token.0, headers, body).await {
                Ok(response) => response,
                Err(refused) => {
                    door.metrics.received(refused.0, 1);
                    refused.into_response()
                }
            },
            SourceKind::Telephony(_) => match self.call(door, path, headers, body).await {
                Ok(response) => response,
                Err(refused) => {
                    door.metrics.received(refused.0, 1);
                    refused.into_response()
                }
            },
            SourceKind::Bitrix24(_) | SourceKind::Events(_) => {
                ApiError::new(StatusCode::NOT_FOUND, "this source has no such path").into_response()
            }
        }
    }

    /// A webhook of Bitrix24 becomes a hint.
    async fn webhook(
        &self,
        door: &Door,
        token: Option<&str>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<&'static str, Refused> {
        let mut event = webhook::OTHER;
        let result = async {
            let token = token.ok_or_else(|| Refused::wrong_token("this source has no application_token"))?;
            let body = self.body(headers, body, WEBHOOK_BYTES).await?;
            let webhook = webhook::read(&body, token).map_err(|refusal| match refusal {
                webhook::Refusal::Malformed(reason) => Refused::malformed(reason),
                webhook::Refusal::WrongToken => Refused::wrong_token("the application_token is missing or wrong"),
            })?;
            event = webhook.event;
            if lock(&door.replays).is_replay(webhook.print, Instant::now()) {
                return Err(Refused::new("replayed", StatusCode::CONFLICT, "this webhook was acknowledged before"));
            }
            let hint = hint_record::encode(&Hint { received_at: clock::now(), fields: webhook.fields });
            let sent = self.0.producer.send(&self.0.topics.hints, None, door.source.name.as_bytes(), &hint);
            if !acknowledged(sent).await {
                return Err(Refused::not_stored());
            }
            lock(&door.replays).acknowledged(webhook.print, Instant::now());
            Ok("ok\n")
        };
        let result = result.await;
        door.metrics.hint(event, result.as_ref().err().map_or("accepted", |refused| refused.0));
        result
    }

    /// Events of our own format.
    async fn events(&self, door: &Door, token: &str, headers: &HeaderMap, body: Body) -> Result<Response, Refused> {
        if !http::has_token(headers, token) {
            let text = "missing or invalid token: expected header \"Authorization: Bearer <token>\"";
            return Err(Refused::new("wrong_token", StatusCode::UNAUTHORIZED, text));
        }
        let Ok(_permit) = self.0.batches.try_acquire() else {
            return Err(Refused::new("busy", StatusCode::SERVICE_UNAVAILABLE, "too many requests at a time"));
        };
        let body = self.body(headers, body, self.0.body_bytes).await?;
        let batch = events::read(&body, &door.source.tenant, &self.0.limits, self.0.event_bytes);
        if batch.events.is_empty() && batch.refused_count == 0 {
            return Err(Refused::malformed("no events"));
        }
        let sent: Vec<_> = batch.events.iter().map(|event| self.send(door, event)).collect();
        let mut stored = 0;
        for (event, sent) in batch.events.iter().zip(sent) {
            if acknowledged(sent).await {
                stored += 1;
                door.metrics.written([event.event.payload.kind()]);
            }
        }
        door.metrics.received("accepted", stored as u64);
        door.metrics.received("invalid", batch.refused_count as u64);
        let status = match stored {
            stored if stored < batch.events.len() => {
                door.metrics.received("not_stored", (batch.events.len() - stored) as u64);
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ if batch.refused_count > 0 => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::OK,
        };
        let mut response = (status, [(CONTENT_TYPE, "application/json")], batch.answer(stored)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        Ok(response)
    }

    /// A webhook of a phone system becomes an event.
    async fn call(&self, door: &Door, path: &str, headers: &HeaderMap, body: Body) -> Result<Response, Refused> {
        let SourceKind::Telephony(telephony) = &door.source.kind else {
            return Err(Refused::malformed("no phone system"));
        };
        let body = self.body(headers, body, WEBHOOK_BYTES).await?;
        let has_bearer = http::has_token(headers, &telephony.token);
        let request = telephony::Request { path, has_bearer, body: &body, now: clock::now() };
        let event = telephony::read(&door.source, telephony, &self.0.limits, &request);
        let event = event.map_err(|refusal| match refusal {
            telephony::Refusal::Malformed(reason) => Refused::malformed(reason),
            telephony::Refusal::WrongToken => Refused::wrong_token("the token or signature is missing or wrong"),
            telephony::Refusal::Invalid(reason) => {
                tracing::warn!("source {}: a webhook makes no event: {reason}", door.source.name);
                Refused::new("invalid", StatusCode::UNPROCESSABLE_ENTITY, reason)
            }
        })?;
        let Some(event) = event else {
            door.metrics.received("ignored", 1);
            return Ok("ignored\n".into_response());
        };
        if !acknowledged(self.send(door, &event)).await {
            return Err(Refused::not_stored());
        }
        door.metrics.received("accepted", 1);
        door.metrics.written([event.event.payload.kind()]);
        Ok("ok\n".into_response())
    }

    fn send(&self, door: &Door, event: &Outgoing) -> Option<Acknowledged> {
        let topic = &self.0.topics.sources[event.topic()].name;
        let value = encode::event(&self.0.topics, event);
        self.0.producer.send(topic, None, door.source.tenant.as_str().as_bytes(), &value)
    }

    /// Reads a body of at most this size, in time.
    async fn body(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Refused> {
        let too_large = || {
            Refused::new(
                "too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("expected a body of at most {limit} bytes"),
            )
        };
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        match tokio::time::timeout(self.0.body_timeout, to_bytes(body, limit)).await {
            Ok(Ok(body)) => Ok(body),
            Err(_) => Err(Refused::new("too_slow", StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
            Ok(Err(error)) if is_too_long(&error) => Err(too_large()),
            Ok(Err(_)) => Err(Refused::malformed("the body is damaged")),
        }
    }
}

/// Whether reading a body ended at its limit.
fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.to_string() == "length limit exceeded" {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn acknowledged(sent: Option<Acknowledged>) -> bool {
    match sent {
        Some(answer) => answer.await.unwrap_or(false),
        None => false,
    }
}

async fn root(State(inbox): State<Inbox>, Path(name): Path<String>, headers: HeaderMap, body: Body) -> Response {
    inbox.receive(&name, "", &headers, body).await
}

async fn below(
    State(inbox): State<Inbox>,
    Path((name, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    inbox.receive(&name, &path, &headers, body).await
}

async fn metrics(State(inbox): State<Inbox>) -> Response {
    inbox.0.metrics.http().scraped(false);
    // https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], inbox.0.metrics.render()).into_response()
}

async fn livez(State(inbox): State<Inbox>) -> Response {
    match inbox.0.liveness.stuck(clock::now()) {
        None => "alive\n".into_response(),
        Some(thread) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the {thread:?} thread makes no progress\n")).into_response()
        }
    }
}

async fn readyz(State(inbox): State<Inbox>) -> Response {
    match inbox.0.liveness.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

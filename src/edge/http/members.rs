//! In front of all endpoints: a request about a tenant goes to the process that has it ([`crate::edge::members`]), and what is
//! about all tenants is asked of all processes.
//!
//! | the shard of the tenant | a client asks | another process asks |
//! | --- | --- | --- |
//! | is here | answered | answered |
//! | is elsewhere | forwarded, if the client is admitted | 503 |
//! | is being moved | 503 with `Retry-After`, if the client is admitted | 503 |
//!
//! So a request is forwarded once at most. The client is admitted where it asks and again where its request is answered; without
//! `api.token`, the process that forwards vouches for a client on its own machine. A page is streamed on through moves
//! ([`relay`]).

use super::context::Elsewhere;
use super::forward::{Forwarder, MEMBER, TOKEN};
use super::forwarding::{CHECK, Forwarding, is_of_page, is_stream};
use super::hosts::Host;
use super::relay;
use super::response::{ApiError, json_response};
use crate::domain::source::ShardId;
use crate::edge::members::{Decision, Member};
use crate::telemetry::member_metrics::{Forwarded, Received};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The address of the list of tenants.
const TENANTS: &str = "/api/v1/tenants";
/// The longest body of a request that is forwarded.
const MAX_BODY: usize = 64 << 10;
/// Time for a client to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest list of tenants of one process.
const MAX_LIST: usize = 16 << 20;
/// Time for another process to send its list of tenants.
const LIST_TIMEOUT: Duration = Duration::from_secs(3);

/// The tenant that a request is about.
async fn tenant_of(parts: &mut Parts) -> Option<String> {
    if let Ok(params) = RawPathParams::from_request_parts(parts, &()).await
        && let Some((_, tenant)) = params.iter().find(|(name, _)| *name == "tenant")
    {
        return Some(tenant.to_owned());
    }
    let query = parts.uri.query().filter(|_| parts.uri.path() != TENANTS)?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == "tenant").map(|(_, tenant)| tenant.into_owned())
}

/// Answers a request here, or has another process answer it.
pub(super) async fn route(State(state): State<Forwarding>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_forwarded = match state.is_forwarded(&parts.headers) {
        Ok(is_forwarded) => is_forwarded,
        Err(refused) => return *refused,
    };
    parts.headers.remove(MEMBER);
    parts.headers.remove(TOKEN);
    if is_forwarded && state.members.token().is_some() && !state.page.http.context.access.needs_token() {
        // The process that forwards has seen that its client is on its machine.
        parts.extensions.insert(ConnectInfo(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        parts.extensions.insert(Host::local());
    }
    let Some(tenant) = tenant_of(&mut parts).await else {
        return of_all(&state, parts, body, next, is_forwarded).await;
    };
    let decision = state.decide(&tenant);
    if is_forwarded {
        let is_here = decision == Decision::Here;
        state.members.metrics().received(if is_here { Received::Accepted } else { Received::Moving });
        return match is_here {
            true => here(state, tenant, Request::from_parts(parts, body), next).await,
            false => state.moving(&parts.uri, &parts.headers),
        };
    }
    if !state.is_admitted(&parts) {
        // The endpoint says what is missing.
        return next.run(Request::from_parts(parts, body)).await;
    }
    if is_of_page(&parts.uri) && parts.uri.path().ends_with("/stream") && parts.method == Method::GET {
        return relay::stream(state, tenant, parts, next).await;
    }
    match decision {
        Decision::Here => here(state, tenant, Request::from_parts(parts, body), next).await,
        Decision::Elsewhere(member) => {
            let body = match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
                Ok(Ok(body)) => body,
                Ok(Err(_)) => {
                    return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long").into_response();
                }
                Err(_) => return ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body is too late").into_response(),
            };
            let uri = parts.uri.clone();
            match state.forwarder.send(&member, &parts, &uri, body).await {
                Ok(response) => response,
                Err(_) => state.moving(&parts.uri, &parts.headers),
            }
        }
        Decision::Moving => {
            state.members.metrics().forwarded(Forwarded::Moving);
            state.moving(&parts.uri, &parts.headers)
        }
    }
}

/// Answers for a tenant of this process. What was read while the shard was given up is not sent.
async fn here(state: Forwarding, tenant: String, request: Request, next: Next) -> Response {
    let is_read = request.method().is_safe();
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    let response = next.run(request).await;
    if is_read && state.decide(&tenant) != Decision::Here {
        return state.moving(&uri, &headers);
    }
    if is_stream(&response) { while_here(state, tenant, response) } else { response }
}

/// A stream that ends when this process no longer answers for the tenant.
fn while_here(state: Forwarding, tenant: String, response: Response) -> Response {
    let (head, body) = response.into_parts();
    let start = (state, tenant, body.into_data_stream());
    let body = stream::unfold(start, |(state, tenant, mut data)| async move {
        loop {
            let item = timeout(CHECK, data.next()).await;
            if state.decide(&tenant) != Decision::Here {
                return None;
            }
            if let Ok(item) = item {
                return Some((item?, (state, tenant, data)));
            }
        }
    });
    Response::from_parts(head, Body::from_stream(body))
}

/// The tenants of some processes, and the shards that these have answered for.
#[derive(Default)]
struct Listed {
    tenants: BTreeMap<String, Box<RawValue>>,
    shards: BTreeSet<ShardId>,
}

/// A list of tenants, as `/api/v1/tenants` answers it.
#[derive(Deserialize)]
struct List {
    tenants: Vec<Box<RawValue>>,
    /// Only between processes.
    #[serde(default)]
    shards: BTreeSet<u32>,
}

#[derive(Deserialize)]
struct Named {
    tenant_id: String,
}

/// The answer about all processes, or about one to another one.
#[derive(Serialize)]
struct Merged<'a> {
    tenants: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards_moving: Vec<u32>,
}

impl Listed {
    fn read(body: &[u8]) -> Option<Self> {
        let List { tenants, shards } = serde_json::from_slice(body).ok()?;
        let entry = |raw: Box<RawValue>| Some((serde_json::from_str::<Named>(raw.get()).ok()?.tenant_id, raw));
        let tenants = tenants.into_iter().map(entry).collect::<Option<_>>()?;
        Some(Self { tenants, shards: shards.into_iter().map(ShardId).collect() })
    }

    fn extend(&mut self, other: Self) {
        self.tenants.extend(other.tenants);
        self.shards.extend(other.shards);
    }

    fn respond(&self, shards: &BTreeSet<ShardId>, shards_moving: &BTreeSet<ShardId>) -> Response {
        let numbers = |shards: &BTreeSet<ShardId>| shards.iter().map(|shard| shard.0).collect();
        let tenants = self.tenants.values().map(|entry| &**entry).collect();
        let merged = Merged { tenants, shards: numbers(shards), shards_moving: numbers(shards_moving) };
        let mut body = serde_json::to_vec(&merged).unwrap_or_default();
        body.push(b'\n');
        json_response(body)
    }
}

/// Answers what is not about one tenant.
async fn of_all(state: &Forwarding, mut parts: Parts, body: Body, next: Next, is_forwarded: bool) -> Response {
    let is_list = parts.uri.path() == TENANTS;
    if parts.method != Method::GET || !(is_list || parts.uri.path() == "/") || !state.is_admitted(&parts) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    if state.members.shards().is_empty() {
        // This process has just started, and does not know what there is.
        return state.moving(&parts.uri, &parts.headers);
    }
    let others = if is_forwarded { Listed::default() } else { from_others(state, &parts).await };
    let (uri, headers, before) = (parts.uri.clone(), parts.headers.clone(), state.members.here(Instant::now()));
    let missing = |shards: &BTreeSet<ShardId>| -> BTreeSet<ShardId> {
        let mut missing = state.members.shards();
        missing.retain(|shard| !shards.contains(shard) && !others.shards.contains(shard));
        missing
    };
    if !is_list {
        let is_complete = missing(&before).is_empty();
        let tenants = others.tenants.into_keys().collect();
        parts.extensions.insert(Elsewhere { tenants, is_complete });
        let response = next.run(Request::from_parts(parts, body)).await;
        let is_same = state.members.here(Instant::now()).is_superset(&before);
        return if is_same { response } else { state.moving(&uri, &headers) };
    }
    let (head, body) = next.run(Request::from_parts(parts, body)).await.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed to list the tenants").into_response();
    };
    let own = Some(&body).filter(|_| head.status == StatusCode::OK).and_then(|body| Listed::read(body));
    let Some(mut all) = own else { return Response::from_parts(head, body.into()) };
    // Only shards that were here all the time: the list may lack the tenants of another one, or have old ones.
    let after = state.members.here(Instant::now());
    all.shards = &before & &after;
    let Listed { tenants, shards } = &mut all;
    tenants.retain(|tenant, _| state.members.shard_of(tenant).is_some_and(|shard| shards.contains(&shard)));
    if is_forwarded {
        return all.respond(&all.shards, &BTreeSet::new());
    }
    let missing = missing(&all.shards);
    all.extend(others);
    all.respond(&BTreeSet::new(), &missing)
}

/// The tenants of the other processes.
async fn from_others(state: &Forwarding, parts: &Parts) -> Listed {
    // Parameters are checked by this process.
    let (uri, mut asked) = (Uri::from_static(TENANTS), JoinSet::new());
    for member in state.members.others(Instant::now()) {
        let (forwarder, parts, uri) = (Arc::clone(&state.forwarder), parts.clone(), uri.clone());
        asked.spawn(async move { timeout(LIST_TIMEOUT, list(&forwarder, &member, &parts, &uri)).await });
    }
    let mut all = Listed::default();
    while let Some(answer) = asked.join_next().await {
        if let Ok(Ok(Some(listed))) = answer {
            all.extend(listed);
        }
    }
    all
}

/// The tenants of another process.
async fn list(forwarder: &Arc<Forwarder>, member: &Member, parts: &Parts, uri: &Uri) -> Option<Listed> {
    let response = forwarder.send(member, parts, uri, Bytes::new()).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    Listed::read(&to_bytes(response.into_body(), MAX_LIST).await.ok()?)
}

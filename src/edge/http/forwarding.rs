//! Owns what it takes to answer for other processes: who asks, who answers, and what is answered while nobody does.

use super::context::HttpState;
use super::forward::{Forwarder, MEMBER, TOKEN};
use super::hosts::Host;
use super::page::{self, PageState};
use super::response::ApiError;
use super::secret::is_secret;
use crate::edge::members::{Decision, Members};
use crate::telemetry::member_metrics::Received;
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After how many seconds a client should ask again.
const RETRY: &str = "2";
/// How often a stream is compared with the decision.
pub(super) const CHECK: Duration = Duration::from_secs(1);

/// What the layer needs.
#[derive(Clone)]
pub(super) struct Forwarding {
    pub(super) page: PageState,
    pub(super) members: Arc<Members>,
    pub(super) forwarder: Arc<Forwarder>,
}

impl Forwarding {
    /// `None`: each process answers for its own shards.
    pub(super) fn new(http: &HttpState, page: &PageState) -> Option<Self> {
        let members = Arc::clone(http.context.members.as_ref()?);
        let forwarder = Arc::new(Forwarder::new(Arc::clone(&members)));
        Some(Self { page: Arc::clone(page), members, forwarder })
    }

    /// Whether another process forwards the request.
    pub(super) fn is_forwarded(&self, headers: &HeaderMap) -> Result<bool, Box<Response>> {
        if !headers.contains_key(MEMBER) && !headers.contains_key(TOKEN) {
            return Ok(false);
        }
        let given = headers.get(TOKEN).and_then(|value| value.to_str().ok());
        let is_right = match self.members.token() {
            Some(token) => given.is_some_and(|given| is_secret(given, token)),
            None => given.is_none(),
        };
        if is_right {
            return Ok(true);
        }
        self.members.metrics().received(Received::Refused);
        let text = "the token of the process that forwards the request is missing or wrong";
        let mut response = ApiError::new(StatusCode::FORBIDDEN, text).into_response();
        response.headers_mut().insert(MEMBER, HeaderValue::from_static("refused"));
        Err(Box::new(response))
    }

    pub(super) fn decide(&self, tenant: &str) -> Decision {
        self.members.decide(tenant, Instant::now())
    }

    /// Whether the client may ask at all.
    pub(super) fn is_admitted(&self, parts: &Parts) -> bool {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let (Some(ConnectInfo(peer)), Some(host)) = (peer, parts.extensions.get::<Host>()) else { return false };
        self.page.http.context.access.admit(*peer, host, &parts.headers).is_ok()
    }

    /// The answer while no process answers for the tenant.
    pub(super) fn moving(&self, uri: &Uri, headers: &HeaderMap) -> Response {
        let mut response = if is_of_page(uri) {
            page::moving(&self.page, uri, headers)
        } else {
            let text = "the shard of this tenant is being moved to another process; try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        };
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
        response
    }
}

/// Whether the address is one of the page, not of the API.
pub(super) fn is_of_page(uri: &Uri) -> bool {
    uri.path() == "/" || uri.path().starts_with("/t/")
}

/// Whether a response goes on.
pub(super) fn is_stream(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|content_type| content_type.starts_with(b"text/event-stream"))
}

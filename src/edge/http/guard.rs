//! Access control of `/api/v1`: requests must carry the configured token; without one, only requests from this host
//! pass.
//!
//! A proxy on this host also sends requests from this host, for clients that are elsewhere. So without a token a request
//! must address this host by a local name, and must not say that a proxy forwarded it. (A proxy that says nothing and
//! addresses `localhost` cannot be distinguished from a local client.)

use super::hosts::Host;
use super::response::ApiError;
use super::secret::is_secret;
use super::session;
use axum::Extension;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, FORWARDED, VIA, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Passes a request on, or rejects it.
pub(super) async fn guard(
    State(token): State<Option<Arc<str>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(host): Extension<Host>,
    request: Request,
    next: Next,
) -> Response {
    match &token {
        _ if is_admitted(token.as_deref(), peer, &host, request.headers()) => next.run(request).await,
        Some(_) => {
            let mut response = ApiError::new(
                StatusCode::UNAUTHORIZED,
                "missing or invalid token: expected header \"Authorization: Bearer <token>\"",
            )
            .into_response();
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        None => {
            let text = "api.token is not set: only requests from this host to localhost or a loopback address are \
                        accepted, and none that a proxy forwards";
            ApiError::new(StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

/// Whether a request carries the token or belongs to a session; without a token, whether it comes from this host.
pub(super) fn is_admitted(token: Option<&str>, peer: SocketAddr, host: &Host, headers: &HeaderMap) -> bool {
    match token {
        Some(token) => has_token(headers, token) || session::is_open(headers, token, session::now()),
        None => is_local_request(peer, host, headers),
    }
}

/// Whether the request carries the token.
pub fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let credentials =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
    credentials.is_some_and(|(scheme, value)| scheme.eq_ignore_ascii_case("bearer") && is_secret(value.trim(), token))
}

/// Whether a request comes from this host, and no proxy forwards it.
fn is_local_request(peer: SocketAddr, host: &Host, headers: &HeaderMap) -> bool {
    is_loopback(peer.ip()) && host.is_local() && !is_forwarded(headers)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether a proxy says that it forwards the request of another client.
fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let text = name.as_str();
        *name == FORWARDED || *name == VIA || text.starts_with("x-forwarded-") || text == "x-real-ip"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn proxies_announce_what_they_forward() {
        let forwarded = |name: &'static str| {
            is_forwarded(&HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("10.0.0.1"))]))
        };
        for name in ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"] {
            assert!(forwarded(name), "{name}");
        }
        for name in ["host", "user-agent", "accept", "x-request-id"] {
            assert!(!forwarded(name), "{name}");
        }
    }
}

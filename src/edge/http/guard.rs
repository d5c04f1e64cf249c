//! Access control of `/api/v1`: requests must carry the configured token; without one, only requests from this host
//! pass.
//!
//! A web page in a browser on this host also sends requests from this host, with the name of its site as `Host` (DNS
//! rebinding). So without a token, the `Host` header must name this host, too.

use super::response::ApiError;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Passes a request on, or rejects it.
pub(super) async fn guard(
    State(token): State<Option<Arc<str>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match &token {
        Some(token) if has_token(request.headers(), token) => next.run(request).await,
        Some(_) => {
            let mut response = ApiError::new(
                StatusCode::UNAUTHORIZED,
                "missing or invalid token: expected header \"Authorization: Bearer <token>\"",
            )
            .into_response();
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        None if is_loopback(peer.ip()) && host_is_loopback(request.headers()) => next.run(request).await,
        None => {
            let text =
                "api.token is not set: only requests from this host to localhost or a loopback address are accepted";
            ApiError::new(StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

/// Whether the request carries the token. Compares hashes, so that timing reveals nothing about the token.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let credentials =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
    credentials.is_some_and(|(scheme, value)| {
        scheme.eq_ignore_ascii_case("bearer") && Sha256::digest(value.trim()) == Sha256::digest(token)
    })
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether the `Host` header is `localhost` or a loopback address.
fn host_is_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_and_loopback_addresses_are_this_host() {
        let accepted = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            host_is_loopback(&headers)
        };
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.8.9.1", "[::1]:9464", "[::ffff:127.0.0.1]"] {
            assert!(accepted(host), "{host}");
        }
        for host in ["example.org", "localhost.example.org:80", "10.0.0.1", "[::2]:80", ""] {
            assert!(!accepted(host), "{host}");
        }
        assert!(!host_is_loopback(&HeaderMap::new()));
    }
}

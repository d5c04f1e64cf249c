//! Owns who may ask at `/api/v1`: whoever shows the token; without one, whoever asks from this machine.
//!
//! A page in a browser on this machine asks from this machine too, under whatever name its site has: so without a token the
//! host that is asked for must be this machine by name as well.

use super::HttpState;
use super::api::Refused;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};

/// Lets a request through, or says why not.
pub(super) async fn guard(
    State(desk): State<HttpState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match &desk.shown.token {
        Some(token) if shows(request.headers(), token) => next.run(request).await,
        Some(_) => {
            let mut response =
                Refused::new(StatusCode::UNAUTHORIZED, "show the token: Authorization: Bearer …").into_response();
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        None if is_here(peer.ip()) && names_this_machine(request.headers()) => next.run(request).await,
        None => {
            let text = "without api.token only this machine is answered, under the name localhost or its address";
            Refused::new(StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

/// Whether the token is shown. Hashes are compared: how long that takes says nothing about the token.
fn shows(headers: &HeaderMap, token: &str) -> bool {
    let shown =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
    shown.is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case("bearer") && Sha256::digest(shown.trim()) == Sha256::digest(token)
    })
}

fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether the host that is asked for is this machine, by name or address.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        let named = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            names_this_machine(&headers)
        };
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.8.9.1", "[::1]:9464", "[::ffff:127.0.0.1]"] {
            assert!(named(host), "{host}");
        }
        for host in ["example.org", "localhost.example.org:80", "10.0.0.1", "[::2]:80", ""] {
            assert!(!named(host), "{host}");
        }
        assert!(!names_this_machine(&HeaderMap::new()));
    }
}

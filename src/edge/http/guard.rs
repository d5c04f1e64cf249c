//! Access control of `/api/v1`: requests must carry a token or belong to a session; without tokens, only requests from this
//! host pass. What passes has its [`super::access::Viewer`] with it.
//!
//! A proxy on this host also sends requests from this host, for clients that are elsewhere. So without a token a request
//! must address this host by a local name, and must not say that a proxy forwarded it. (A proxy that says nothing and
//! addresses `localhost` cannot be distinguished from a local client.)

use super::access::{Access, Denied, bearer};
use super::hosts::Host;
use super::response::ApiError;
use super::secret::is_secret;
use axum::Extension;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;

/// Passes a request on, or rejects it.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(host): Extension<Host>,
    mut request: Request,
    next: Next,
) -> Response {
    match access.admit(peer, &host, request.headers()) {
        Ok(viewer) => {
            request.extensions_mut().insert(viewer);
            next.run(request).await
        }
        Err(Denied::NoToken) => {
            let mut response = ApiError::new(
                StatusCode::UNAUTHORIZED,
                "missing or invalid token: expected header \"Authorization: Bearer <token>\"",
            )
            .into_response();
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        Err(Denied::NotLocal) => {
            let text = "neither api.token nor api.users is set: only requests from this host to localhost or a loopback \
                        address are accepted, and none that a proxy forwards";
            ApiError::new(StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

/// The answer to a request that a page of another site may have caused.
pub(super) fn not_meant() -> ApiError {
    let text =
        "a request that changes something must carry a bearer token, come from a page of this address, or be JSON";
    ApiError::new(StatusCode::FORBIDDEN, text)
}

/// Whether the request carries the token.
pub fn has_token(headers: &HeaderMap, token: &str) -> bool {
    bearer(headers).is_some_and(|given| is_secret(given, token))
}

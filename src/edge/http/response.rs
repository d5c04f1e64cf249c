//! The JSON responses of `/api/v1`, and all errors.

use crate::codec::json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// An error as it is answered: a JSON object with the reason.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// An error with this status and reason.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = Vec::new();
        json::encode_error(&self.message, &mut body);
        body.push(b'\n');
        (self.status, json_response(body)).into_response()
    }
}

pub(super) fn json_response(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// The answer to a change: the id of the event that was stored.
pub(super) fn accepted(event: &str) -> Response {
    let body = format!("{{\"event_id\":\"{event}\"}}\n");
    (StatusCode::ACCEPTED, json_response(body)).into_response()
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; use GET")
}

//! Owns what the API writes: who takes care of an alert, and the review of a call or message.

use super::asked::{ApiResult, Asked, Request, bad_request, check, not_found};
use super::endpoints::{REVIEW, TAKEN};
use super::lists::{alert_id, unknown_alert};
use crate::domain::id::{ManagerId, TenantId};
use crate::edge::http::action::{self, Scored};
use crate::edge::http::response::{ApiError, accepted};
use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use serde_json::Value;

/// The longest body.
const BODY_BYTES: usize = 64 << 10;

/// A JSON object in the body of a request; an absent body is an empty object.
async fn object(body: Body) -> Result<serde_json::Map<String, Value>, ApiError> {
    let too_large = |_| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    let bytes = to_bytes(body, BODY_BYTES).await.map_err(too_large)?;
    if bytes.is_empty() {
        return Ok(serde_json::Map::new());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(bad_request("expected a JSON object")),
    }
}

fn expect_writer(request: &Request) -> Result<(), ApiError> {
    if request.source.viewer.may_write() {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "only the roles reviewer and admin may do this"))
}

fn known(object: &serde_json::Map<String, Value>, keys: &[&str]) -> Result<(), ApiError> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(bad_request(format!("unknown key \"{key}\"; expected {}", keys.join(", ")))),
    }
}

pub(super) async fn take(Asked(request, (tenant, alert), filters): Asked<(String, String)>, body: Body) -> ApiResult {
    check(&filters, &TAKEN)?;
    let tenant = request.tenant(&tenant)?;
    expect_writer(&request)?;
    let object = object(body).await?;
    known(&object, &["manager_id"])?;
    let manager = match object.get("manager_id") {
        None => ManagerId::from(request.source.viewer.name.as_str()),
        Some(Value::String(id)) if is_id(id) => ManagerId::from(id.as_str()),
        Some(_) => return Err(bad_request("expected manager_id: the id of a manager")),
    };
    let alert = alert_id(&alert)?;
    if request.source.alert(&tenant, alert).is_none() {
        return Err(unknown_alert());
    }
    Ok(accepted(&action::take(&request.http, &tenant, alert, &manager).await?))
}

fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.trim().len()) && !text.chars().any(char::is_control)
}

pub(super) async fn review(
    Asked(request, (tenant, interaction), filters): Asked<(String, String)>,
    body: Body,
) -> ApiResult {
    check(&filters, &REVIEW)?;
    let tenant: TenantId = request.tenant(&tenant)?;
    expect_writer(&request)?;
    let object = object(body).await?;
    known(&object, &["score", "verdict", "checklist", "comment"])?;
    let scored = Scored::of_json(&object).map_err(bad_request)?;
    let requested = request.source.requested(&tenant, &interaction);
    let requested = requested.ok_or_else(|| not_found("this call or message was not picked for review"))?;
    let reviewer = request.source.viewer.name.clone();
    Ok(accepted(&action::review(&request.http, &requested, &reviewer, &scored).await?))
}

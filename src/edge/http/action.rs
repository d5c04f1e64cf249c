//! Owns the events of what users do, for the API and the page alike: taking care of an alert, and reviewing.

use super::context::HttpState;
use super::publish;
use super::response::ApiError;
use crate::domain::id::{ManagerId, TenantId};
use crate::domain::review::ReviewRequest;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The most items of a checklist.
const ITEMS: usize = 50;
/// The longest item of a checklist, in characters.
const ITEM_CHARS: usize = 200;
/// The longest comment, in characters.
const COMMENT_CHARS: usize = 4000;

/// What a reviewer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scored {
    pub(super) score: f64,
    pub(super) verdict: String,
    /// The items of the checklist, and whether each is passed.
    pub(super) checklist: Vec<(String, bool)>,
    pub(super) comment: Option<String>,
}

impl Scored {
    /// Reads the JSON of a review, or says what is wrong.
    pub(super) fn of_json(object: &Map<String, Value>) -> Result<Self, String> {
        let item = |item: &Value| {
            let (text, passed) = (item.get("item")?.as_str()?, item.get("passed")?.as_bool()?);
            Some((text.to_owned(), passed))
        };
        let checklist = match object.get("checklist") {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let items: Option<Vec<_>> = items.iter().map(item).collect();
                items.ok_or("expected checklist: a list of {item, passed}")?
            }
            Some(_) => return Err("expected checklist: a list of {item, passed}".into()),
        };
        let comment = match object.get("comment") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err("expected comment: a text".into()),
        };
        let score = object.get("score").and_then(Value::as_f64).ok_or("expected score: a number from 0 to 100")?;
        let verdict = object.get("verdict").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { score, verdict, checklist, comment }.checked()
    }

    /// Checks the values.
    pub(super) fn checked(self) -> Result<Self, String> {
        if !(0.0..=100.0).contains(&self.score) {
            return Err("expected score: a number from 0 to 100".into());
        }
        if !["SUCCESS", "FAILURE", "NEUTRAL"].contains(&self.verdict.as_str()) {
            return Err("expected verdict: SUCCESS, FAILURE or NEUTRAL".into());
        }
        let is_short = |text: &str, most: usize| text.chars().count() <= most;
        if self.checklist.len() > ITEMS || !self.checklist.iter().all(|(item, _)| is_short(item, ITEM_CHARS)) {
            return Err(format!("expected at most {ITEMS} items of at most {ITEM_CHARS} characters"));
        }
        if !self.comment.as_ref().is_none_or(|comment| is_short(comment, COMMENT_CHARS)) {
            return Err(format!("expected a comment of at most {COMMENT_CHARS} characters"));
        }
        Ok(self)
    }
}

/// Writes that somebody takes care of an alert. Returns the id of the event.
pub(super) async fn take(
    http: &HttpState,
    tenant: &TenantId,
    alert: Uuid,
    manager: &ManagerId,
) -> Result<String, ApiError> {
    let payload = json!({"alert_id": alert.to_string(), "manager_id": manager.as_str()});
    write(http, tenant, "alert_taken", payload).await
}

/// Writes a review of what was requested. Returns the id of the event.
pub(super) async fn review(
    http: &HttpState,
    requested: &ReviewRequest,
    reviewer: &str,
    scored: &Scored,
) -> Result<String, ApiError> {
    let item = |(item, passed): &(String, bool)| json!({"item": item, "passed": passed});
    let mut payload = json!({
        "interaction_id": requested.interaction.as_str(),
        "manager_id": requested.manager.as_str(),
        "reviewer_id": reviewer,
        "score": scored.score,
        "verdict": scored.verdict,
        "checklist": scored.checklist.iter().map(item).collect::<Vec<_>>(),
    });
    if let Some(comment) = scored.comment.as_ref().filter(|comment| !comment.trim().is_empty()) {
        payload["comment"] = json!(comment.trim());
    }
    write(http, &requested.tenant, "interaction_reviewed", payload).await
}

async fn write(http: &HttpState, tenant: &TenantId, key: &str, payload: Value) -> Result<String, ApiError> {
    let unavailable = |text: &str| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text);
    let publish = http.context.publish.as_ref().ok_or_else(|| unavailable("this process writes no events"))?;
    let (id, event) = publish::event(tenant, http.context.exporter.now(), key, payload);
    if publish(tenant, event).await { Ok(id) } else { Err(unavailable("the event could not be stored; try again")) }
}

//! Owns what an answer of a portal means: its envelope, and the reaction to each error.
//!
//! The same error comes as a code in capitals or lower case, as a sentence, or as a number, so the HTTP status decides
//! together with the code. What a portal writes is never repeated in an error: it may contain anything.

use super::value::{Row, Zone, text, whole};
use crate::domain::time::{Span, Timestamp};
use serde_json::Value;
use std::time::Duration;

/// The answer to a request, as received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The HTTP status.
    pub status: u16,
    /// The address of a redirect.
    pub location: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// The clock and the costs of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Timing {
    /// The clock of the portal when it began to work.
    pub(super) began: Option<Timestamp>,
    /// Seconds of work counted for the method in the present window.
    pub(super) operating: Option<f64>,
    /// When the oldest part of them is forgotten, by the clock of the portal.
    pub(super) reset: Option<Timestamp>,
}

impl Timing {
    pub(super) fn read(time: Row<'_>, zone: &Zone) -> Self {
        let reset = time.get("operating_reset_at").and_then(|value| match whole(value) {
            Some(seconds) => {
                seconds.checked_mul(1000).and_then(|millis| Timestamp::checked(i64::try_from(millis).ok()?))
            }
            None => text(value).and_then(|text| zone.read(&text)),
        });
        Self { began: time.time("date_start", zone), operating: time.decimal("operating"), reset }
    }
}

/// Why a request or a command was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Try again later; the time to wait at least, if the portal has a rule for it.
    Busy(&'static str, Option<Duration>),
    /// The method has used up its time.
    OverTime,
    /// The portal was blocked by hand.
    Blocked,
    /// The webhook is not accepted.
    NoAccess(&'static str),
    /// The webhook lacks a right.
    NoRight(&'static str),
    /// The portal has no such method.
    NoMethod,
    /// The object does not exist.
    NotFound,
    /// The portal does not accept the request.
    Wrong(String),
    /// The portal redirects to a host that the secret is not sent to.
    Redirect,
    /// The portal was renamed to this host.
    Renamed(String),
}

impl Failure {
    /// A short name for metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Busy(name, _) => name,
            Self::OverTime => "operation_time_limit",
            Self::Blocked => "blocked",
            Self::NoAccess(_) => "no_access",
            Self::NoRight(_) => "no_right",
            Self::NoMethod => "no_method",
            Self::NotFound => "not_found",
            Self::Wrong(_) => "wrong_request",
            Self::Redirect => "redirect_refused",
            Self::Renamed(_) => "renamed",
        }
    }
}

/// A successful answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// The result.
    pub(super) result: Value,
    /// Clock and costs.
    pub(super) timing: Timing,
    /// How many rows there are, if they were counted.
    pub(super) total: Option<u64>,
    /// Whether there are more.
    pub(super) next: Option<u64>,
}

/// Reads the answer to a request.
pub(super) fn read(received: &Received, zone: &Zone) -> Result<Reply, Failure> {
    let Received { status, body, .. } = received;
    if (300..400).contains(status) {
        return Err(Failure::Redirect);
    }
    if is_bomb(body) {
        return Err(Failure::Busy("too_large", None));
    }
    // Overloaded portals and proxies answer with HTML and any status.
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        return Err(match status {
            401 => Failure::NoAccess("401 without a reason"),
            404 => Failure::Busy("not_json", Some(Duration::from_secs(60))),
            _ => Failure::Busy("not_json", None),
        });
    };
    if let Some(failure) = failure(*status, &value) {
        return Err(failure);
    }
    if !(200..300).contains(status) {
        return Err(Failure::Busy("http_error", None));
    }
    let row = Row(&value);
    let timing = row.row("time").map(|time| Timing::read(time, zone)).unwrap_or_default();
    let (total, next) = (row.get("total").and_then(whole), row.number("next"));
    match value.get_mut("result") {
        Some(result) => Ok(Reply { result: result.take(), timing, total, next }),
        None => Err(Failure::Busy("no_result", None)),
    }
}

/// Whether a body has so many values that reading it would take many times its size of memory.
fn is_bomb(body: &[u8]) -> bool {
    const MOST_VALUES: usize = 2_000_000;
    body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).nth(MOST_VALUES).is_some()
}

/// What is missing if a method is not in the scopes of the webhook.
pub(super) const NO_SCOPE: &str = "the webhook lacks a scope";

/// The failure that an answer or a command of a batch reports.
pub(super) fn failure(status: u16, value: &Value) -> Option<Failure> {
    let error = value.get("error")?;
    if error.is_null() && value.get("result").is_some() {
        return None;
    }
    // REST 3 nests the code.
    let code = error.get("code").unwrap_or(error);
    let code = text(code).unwrap_or_default();
    let description = value.get("error_description").and_then(text).unwrap_or_default().to_lowercase();
    Some(match code.to_ascii_lowercase().as_str() {
        "query_limit_exceeded" => Failure::Busy("query_limit_exceeded", None),
        "operation_time_limit" => Failure::OverTime,
        "overload_limit" => Failure::Blocked,
        "internal_server_error" | "error_unexpected_answer" => Failure::Busy("internal_server_error", None),
        "expired_token" | "invalid_token" => Failure::NoAccess("the webhook has expired or was revoked"),
        "no_auth_found" | "invalid_credentials" | "authorization_error" => {
            Failure::NoAccess("the portal does not accept the webhook")
        }
        "portal_deleted" => Failure::NoAccess("the portal was deleted"),
        "insufficient_scope" => Failure::NoRight(NO_SCOPE),
        "user_access_error" | "allowed_only_intranet_user" => Failure::NoRight("its owner may not use the interface"),
        "access_denied" | "access denied." | "access denied" | "access_error" => Failure::NoRight("access denied"),
        "error_method_not_found" | "error_manifest_is_not_available" | "method_not_found" => Failure::NoMethod,
        "wrong_auth_type" | "error_batch_method_not_allowed" => Failure::NoMethod,
        "not_found" => Failure::NotFound,
        other if other.ends_with("_not_found") => Failure::NotFound,
        "" | "0" | "100" | "error_core" if description.contains("not found") => Failure::NotFound,
        "" | "0" | "100" | "error_core" if description.contains("access denied") => Failure::NoRight("access denied"),
        _ => match status {
            408 | 429 | 500..=599 => Failure::Busy("http_error", None),
            401 => Failure::NoAccess("the portal does not accept the webhook"),
            403 => Failure::NoRight("access denied"),
            _ => Failure::Wrong(code_name(&code)),
        },
    })
}

/// The code of an error if it is a code, for messages.
fn code_name(code: &str) -> String {
    let is_code = code.len() <= 60 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if is_code && !code.is_empty() { code.to_owned() } else { "an error without a code".to_owned() }
}

/// How long to wait before attempt `attempt` (from 1) of a request that the portal was too busy for.
pub(super) fn back_off(attempt: u32) -> Duration {
    let seconds = 1.5f64.powi(attempt.min(20) as i32).min(30.0);
    Duration::from_millis((seconds * 1000.0) as u64)
}

/// The time until a method that has used up its time may be called again, by the clock of the portal.
pub(super) fn until_reset(now: Timestamp, reset: Option<Timestamp>) -> Span {
    let known = reset.map(|reset| reset.0 - now.0 + 1000);
    // Without a date ten seconds; one in the far future is a wrong clock, for the window is ten minutes long.
    Span(known.unwrap_or(10_000).clamp(1_000, 660_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_json(status: u16, body: &Value) -> Result<Reply, Failure> {
        read(&Received { status, location: None, body: body.to_string().into() }, &Zone::named("Europe/Moscow"))
    }

    #[test]
    fn every_error_has_its_reaction() {
        let table = [
            (503, json!("QUERY_LIMIT_EXCEEDED"), "query_limit_exceeded"),
            (429, json!("OPERATION_TIME_LIMIT"), "operation_time_limit"),
            (503, json!("OVERLOAD_LIMIT"), "blocked"),
            (500, json!("INTERNAL_SERVER_ERROR"), "internal_server_error"),
            (500, json!("ERROR_UNEXPECTED_ANSWER"), "internal_server_error"),
            (401, json!("expired_token"), "no_access"),
            (401, json!("NO_AUTH_FOUND"), "no_access"),
            (500, json!("PORTAL_DELETED"), "no_access"),
            (403, json!("INVALID_CREDENTIALS"), "no_access"),
            (403, json!("insufficient_scope"), "no_right"),
            (403, json!("ACCESS_DENIED"), "no_right"),
            (400, json!("Access denied."), "no_right"),
            (400, json!("INVALID_ARG_VALUE"), "wrong_request"),
            (400, json!("Invalid parameters."), "wrong_request"),
            (404, json!("ERROR_METHOD_NOT_FOUND"), "no_method"),
            (405, json!("ERROR_BATCH_METHOD_NOT_ALLOWED"), "no_method"),
            (400, json!("NOT_FOUND"), "not_found"),
            (400, json!(0), "wrong_request"),
            (502, json!("whatever"), "http_error"),
            (400, json!({"code": "BITRIX_REST_V3_EXCEPTION_X", "message": "x"}), "wrong_request"),
        ];
        for (status, error, name) in table {
            let answer = read_json(status, &json!({"error": error, "error_description": "<br>secret"}));
            let failure = answer.expect_err("an error");
            assert_eq!(failure.name(), name, "{status} {error}");
            assert!(!format!("{failure:?}").contains("secret"));
        }
        let gone = read_json(400, &json!({"error": "", "error_description": "Not found"}));
        assert_eq!(gone.expect_err("an error"), Failure::NotFound);
        let html = Received { status: 200, location: None, body: b"<html>overload".to_vec() };
        assert_eq!(read(&html, &Zone::named("UTC")).expect_err("an error").name(), "not_json");
    }

    #[test]
    fn an_answer_of_countless_values_is_not_read() {
        let read = |values: usize| read_json(200, &json!({"result": vec![0; values], "error": null})).map(|_| ());
        assert_eq!(read(1_000_000), Ok(()));
        assert_eq!(read(2_000_001).expect_err("refused").name(), "too_large");
        let nested = Received { status: 200, location: None, body: "[".repeat(3_000_000).into() };
        assert_eq!(super::read(&nested, &Zone::named("UTC")).expect_err("refused").name(), "too_large");
        let deep = Received { status: 200, location: None, body: "[".repeat(100_000).into() };
        assert_eq!(super::read(&deep, &Zone::named("UTC")).expect_err("refused").name(), "not_json");
    }

    #[test]
    fn the_clock_and_the_costs_are_read_in_both_forms() {
        let time = json!({"start": 1724677896.29, "date_start": "2024-08-26T16:11:36+03:00", "operating": 0.4,
            "operating_reset_at": 1724678496});
        let reply = read_json(200, &json!({"result": [], "total": 3, "time": time})).expect("a reply");
        assert_eq!(reply.timing.began, Timestamp::parse("2024-08-26T13:11:36Z"));
        assert_eq!((reply.timing.operating, reply.total), (Some(0.4), Some(3)));
        assert_eq!(reply.timing.reset, Timestamp::parse("2024-08-26T13:21:36Z"));
        let time = json!({"operating_reset_at": "2024-08-26T16:21:36+03:00"});
        assert_eq!(Timing::read(Row(&time), &Zone::named("UTC")).reset, Timestamp::parse("2024-08-26T13:21:36Z"));
        assert_eq!(until_reset(Timestamp(0), Some(Timestamp(5_000))), Span(6_000));
        assert_eq!(until_reset(Timestamp(0), None), Span(10_000));
        assert_eq!(until_reset(Timestamp(0), Some(Timestamp(i64::MAX / 2))), Span(660_000));
    }
}

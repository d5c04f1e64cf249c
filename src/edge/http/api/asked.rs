//! Owns what a request to `/api/v1` asks: whom it comes from, about what, and with which parameters; and how it is answered.

use super::endpoints::{Endpoint, MOST_LISTED, ParameterKind};
use crate::domain::id::TenantId;
use crate::domain::time::Span;
use crate::edge::http::access::{Viewer, is_meant};
use crate::edge::http::context::HttpState;
use crate::edge::http::csv;
use crate::edge::http::guard::not_meant;
use crate::edge::http::response::ApiError;
use crate::edge::http::source::Source;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) type ApiResult = Result<Response, ApiError>;
pub(super) type Filters = BTreeMap<String, String>;

/// A request about `T`, the parameters of the path, with its query parameters.
pub(super) struct Asked<T>(pub(super) Request, pub(super) T, pub(super) Filters);

/// Where a request is answered, and from what.
pub(super) struct Request {
    pub(super) http: HttpState,
    pub(super) source: Source,
    /// Whether CSV is wanted.
    csv: bool,
}

impl<T: DeserializeOwned + Send> FromRequestParts<HttpState> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, ApiError> {
        if !parts.method.is_safe() && !is_meant(&parts.headers) {
            return Err(not_meant());
        }
        let path = Path::from_request_parts(parts, state).await;
        let Path(subject) = path.map_err(|error: PathRejection| bad_request(error.body_text()))?;
        let query = Query::from_request_parts(parts, state).await;
        let Query(given): Query<Vec<(String, String)>> =
            query.map_err(|error: QueryRejection| bad_request(error.body_text()))?;
        let mut filters = Filters::new();
        for (key, value) in given {
            if filters.contains_key(&key) {
                return Err(bad_request(format!("the query parameter \"{key}\" is given more than once")));
            }
            filters.insert(key, value);
        }
        let viewer = parts.extensions.get::<Arc<Viewer>>();
        let viewer =
            viewer.ok_or_else(|| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has no viewer"))?;
        let request = Request {
            http: state.clone(),
            source: Source::new(&state.context, viewer),
            csv: wants_csv(&parts.headers),
        };
        Ok(Self(request, subject, filters))
    }
}

/// Whether the first type that a client accepts, of those that there are, is CSV.
fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let types = accepted.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    let mut known = types.filter(|name| ["text/csv", "application/json", "application/*", "*/*"].contains(name));
    known.next() == Some("text/csv")
}

impl Request {
    /// Computes the JSON of an answer on a separate thread, and makes CSV of its list if that is wanted.
    pub(super) async fn answer(
        self,
        compute: impl FnOnce(&Source) -> Result<Vec<u8>, ApiError> + Send + 'static,
    ) -> ApiResult {
        self.answer_of(false, compute).await
    }

    /// The same for what takes longer than other queries, which do not wait for it.
    pub(super) async fn scan(
        self,
        compute: impl FnOnce(&Source) -> Result<Vec<u8>, ApiError> + Send + 'static,
    ) -> ApiResult {
        self.answer_of(true, compute).await
    }

    async fn answer_of(
        self,
        scans: bool,
        compute: impl FnOnce(&Source) -> Result<Vec<u8>, ApiError> + Send + 'static,
    ) -> ApiResult {
        let Self { http, source, csv } = self;
        let compute = move || {
            let body = compute(&source)?;
            Ok(if csv { csv::of_json(&body) } else { body })
        };
        let mut response = http.answer(scans, compute).await?;
        if csv {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
        }
        Ok(response)
    }

    /// The tenant, if the viewer sees it.
    pub(super) fn tenant(&self, id: &str) -> Result<TenantId, ApiError> {
        let tenant = TenantId::from(id);
        if self.source.contains(&tenant) { Ok(tenant) } else { Err(unknown_tenant()) }
    }
}

/// One line of JSON.
pub(super) fn line(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::new();
    encode(&mut body);
    body.push(b'\n');
    body
}

/// Rejects unknown query parameters, and values that they cannot have.
pub(super) fn check(filters: &Filters, endpoint: &Endpoint) -> Result<(), ApiError> {
    let known = endpoint.parameters;
    for (key, value) in filters {
        let Some(parameter) = known.iter().find(|parameter| parameter.name == key) else {
            let names: Vec<_> = known.iter().map(|parameter| parameter.name).collect();
            let expected = if names.is_empty() { "none".into() } else { format!("one of {}", names.join(", ")) };
            return Err(bad_request(format!("unknown query parameter \"{key}\"; expected {expected}")));
        };
        let expected = match parameter.kind {
            ParameterKind::Names(names) if !names().contains(&value.as_str()) => {
                Some(format!("one of {}", names().join(", ")))
            }
            ParameterKind::Count(most) if count(value).is_none_or(|n| n == 0 || n > most) => {
                Some(format!("a whole number from 1 to {most}"))
            }
            ParameterKind::Duration if duration(value).is_none() => Some("a duration such as 30m".into()),
            ParameterKind::Cursor if cursor(value).is_none() => Some("the `next` of an answer".into()),
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(bad_request(format!("invalid value of \"{key}\"; expected {expected}")));
        }
    }
    Ok(())
}

/// A whole number in its plain form.
fn count(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// A duration: a whole number of `s`, `m`, `h` or `d`.
pub(super) fn duration(text: &str) -> Option<Span> {
    let unit = match text.chars().last()? {
        's' => Span::SECOND,
        'm' => Span::MINUTE,
        'h' => Span::HOUR,
        'd' => Span::DAY,
        _ => return None,
    };
    let n = count(&text[..text.len() - 1]).filter(|n| *n <= 100_000)?;
    Some(Span(unit.0 * n as i64))
}

/// Where a list goes on: after so many entries of an instant, in milliseconds since 1970.
pub(super) fn cursor(text: &str) -> Option<(i64, usize)> {
    let (at, passed) = text.split_once('.')?;
    let digits = at.strip_prefix('-').unwrap_or(at);
    let at = count(digits).and_then(|_| at.parse().ok())?;
    Some((at, usize::try_from(count(passed)?).ok()?))
}

/// The most entries of an answer.
pub(super) fn limit(filters: &Filters) -> usize {
    filters.get("limit").and_then(|text| count(text)).map_or(100, |n| n.min(MOST_LISTED) as usize)
}

pub(super) fn bad_request(text: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, text)
}

pub(super) fn not_found(text: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, text)
}

/// This process does not have the tenant, or the viewer does not see it.
pub(super) fn unknown_tenant() -> ApiError {
    not_found("unknown tenant in this process: it has no events yet, or its shard is assigned to another process")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_cursors_have_one_form() {
        assert_eq!(duration("30m"), Some(Span(30 * Span::MINUTE.0)));
        assert_eq!(duration("0s"), Some(Span(0)));
        for text in ["", "m", "30", "-1m", "+1m", "1.5h", "30 m", "1w", "99999999999999999999h", "1ч", "100001d"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(cursor("1772442000000.3"), Some((1_772_442_000_000, 3)));
        assert_eq!(cursor("-1.0"), Some((-1, 0)));
        for text in ["", "1", ".", "1.", ".1", "1.-1", "--1.0", "1.2.3", "x.1", "1.99999999999999999999"] {
            assert_eq!(cursor(text), None, "{text}");
        }
    }
}

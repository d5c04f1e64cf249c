//! Owns what a request for the page asks: whom it comes from, about what, and how it is to be shown.

use super::document::{Missing, Values, language_of, not_found, shown};
use super::links::{Content, Shown, View};
use super::stream::Streams;
use crate::domain::rule::message::Language;
use crate::edge::http::access::Viewer;
use crate::edge::http::source::Source;
use axum::Extension;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A request about `T`, the parameters of the path.
pub(super) struct Asked<T> {
    pub(super) state: Arc<Streams>,
    pub(super) viewer: Arc<Viewer>,
    pub(super) path: T,
    pub(super) values: Values,
    pub(super) headers: HeaderMap,
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Streams>> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Streams>) -> Result<Self, Response> {
        let values = Query::from_request_parts(parts, state).await;
        let values: Values = values.map(|Query(values)| values).unwrap_or_default();
        let missing = |values: &Values, headers: &HeaderMap| {
            not_found(language_of(state.http.context.language, values, headers), &Missing::Entity)
        };
        let Ok(Path(path)) = Path::from_request_parts(parts, state).await else {
            return Err(missing(&values, &parts.headers));
        };
        let Ok(Extension(viewer)) = Extension::<Arc<Viewer>>::from_request_parts(parts, state).await else {
            return Err(missing(&values, &parts.headers));
        };
        Ok(Self { state: Arc::clone(state), viewer, path, values, headers: parts.headers.clone() })
    }
}

impl<T> Asked<T> {
    pub(super) fn language(&self) -> Language {
        language_of(self.state.http.context.language, &self.values, &self.headers)
    }

    /// The view of a company.
    pub(super) fn view(&self, tenant: &str, content: Content) -> View {
        let (shown, language): (Shown, _) = (shown(&self.values), self.language());
        View { tenant: tenant.into(), content, shown, language, viewer: Arc::clone(&self.viewer) }
    }

    /// What the answer is made of.
    pub(super) fn source(&self) -> Source {
        Source::new(&self.state.http.context, &self.viewer)
    }

    /// What the answer is rendered by.
    pub(super) fn streams(&self) -> Arc<Streams> {
        Arc::clone(&self.state)
    }
}

//! Owns what all pages have in common: the document around the content, the language, errors, and style and script.

use super::links::Shown;
use super::text;
use crate::domain::norms::Norms;
use crate::domain::rule::message::Language;
use crate::edge::http::response::ApiError;
use axum::body::Body;
use axum::http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use std::collections::BTreeMap;

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");
/// A page loads its own style and script, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The longest body of a form.
pub(super) const FORM_BYTES: usize = 8 << 10;
/// How often a browser without scripts reloads, in seconds.
const REFRESH: &str = "15";
/// How soon a page is loaded again that waits for the first events, in seconds.
const SOON: &str = "3";

/// When a browser loads a page again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresh {
    Never,
    /// Without scripts every few seconds; with them it is kept up to date.
    WithoutScripts,
    Soon,
}

/// Why there is no page.
pub(super) enum Missing {
    Company,
    Person,
    Entity,
    Review,
    Alert,
    Figure,
    /// There are too many.
    Members,
}

pub(super) type Values = BTreeMap<String, String>;

/// The first language of the reader that the page has: of the address, else of the browser, else of the configuration.
pub(super) fn language_of(default: Language, values: &Values, headers: &HeaderMap) -> Language {
    if let Some(language) = wanted_language(values) {
        return language;
    }
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut tags = accepted.split(',').filter_map(|tag| Language::named(tag.trim().split(['-', ';']).next()?));
    tags.next().unwrap_or(default)
}

/// The language that an address asks for.
fn wanted_language(values: &Values) -> Option<Language> {
    values.get("lang").and_then(|name| Language::named(name))
}

/// How a request wants the page. Values that do not exist are as if they were absent.
pub(super) fn shown(values: &Values) -> Shown {
    Shown {
        window: values.get("window").cloned(),
        department: values.get("department").filter(|id| !id.is_empty()).cloned(),
        language: wanted_language(values),
        wall: values.get("wall").is_some_and(|value| value == "1"),
    }
}

/// The name of the chosen window: by default a day, else the first one.
pub(super) fn window_name(norms: &Norms, wanted: Option<&String>) -> String {
    let names: Vec<_> = norms.windows.iter().map(|window| window.name()).collect();
    let known = |name: &str| names.iter().any(|known| known == name);
    match wanted {
        Some(name) if known(name) => name.clone(),
        _ if known("24h") => "24h".into(),
        _ => names.first().map_or_else(|| "now".into(), ToString::to_string),
    }
}

/// A whole page.
pub(super) fn document(language: Language, title: &str, wall: bool, refresh: Refresh, body: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang=(language.name()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · funnelwatch" }
                link rel="stylesheet" href="/page.css";
                link rel="icon" href="data:,";
                script type="module" src="/page.js" {}
                @match refresh {
                    Refresh::Never => {},
                    Refresh::WithoutScripts => noscript { meta http-equiv="refresh" content=(REFRESH); },
                    Refresh::Soon => meta http-equiv="refresh" content=(SOON);,
                }
            }
            body class=[wall.then_some("wall")] { (body) }
        }
    };
    html_response(StatusCode::OK, markup)
}

fn html_response(status: StatusCode, markup: Markup) -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    (status, headers, Body::from(markup.into_string())).into_response()
}

pub(super) fn asset(content_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")], text).into_response()
}

/// What was rendered, or why it was not.
pub(super) fn answer(language: Language, rendered: Result<Result<Response, Missing>, ApiError>) -> Response {
    match rendered {
        Ok(Ok(page)) => page,
        Ok(Err(missing)) => not_found(language, &missing),
        Err(_) => failed(language),
    }
}

pub(super) fn problem(language: Language, status: StatusCode, text: text::Text) -> Response {
    let body = html! {
        main { p .top.stale { (text::say(language, text)) }
            p { a href="/" { (text::say(language, ["To the beginning", "На главную"])) } } }
    };
    let mut response =
        document(language, text::say(language, ["Nothing to show", "Нечего показать"]), false, Refresh::Never, &body);
    *response.status_mut() = status;
    response
}

pub(super) fn not_found(language: Language, missing: &Missing) -> Response {
    let text = match missing {
        Missing::Company => ["This company is not known here.", "Здесь нет такой компании."],
        Missing::Person => ["Nothing is known of this person.", "Об этом человеке ничего не известно."],
        Missing::Review => [
            "This call or message was not picked for review, or too long ago.",
            "Этот разговор не выбран для проверки, или это было слишком давно.",
        ],
        Missing::Alert => ["This violation is over.", "Этого нарушения больше нет."],
        Missing::Figure => ["There is no such figure.", "Такого показателя нет."],
        Missing::Members => [
            "There is too much to list: choose a person or a shorter window.",
            "Слишком много записей: выберите человека или период короче.",
        ],
        Missing::Entity => [
            "This lead or deal is not known, or its history has expired.",
            "Такого лида или сделки нет, или срок хранения истории истёк.",
        ],
    };
    problem(language, StatusCode::NOT_FOUND, text)
}

pub(super) fn failed(language: Language) -> Response {
    let text = ["The page could not be computed.", "Не удалось построить страницу."];
    problem(language, StatusCode::INTERNAL_SERVER_ERROR, text)
}

pub(super) fn see_other(address: &str) -> Response {
    let Ok(address) = HeaderValue::from_str(address) else {
        return ApiError::new(StatusCode::BAD_REQUEST, "no such page").into_response();
    };
    (StatusCode::SEE_OTHER, [(LOCATION, address)]).into_response()
}

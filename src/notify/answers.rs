//! Owns the answers of people: the HTTP side of links, and the buttons of Telegram.
//!
//! **GET shows, POST acts**: scanners of mail follow links, and must not answer for people. What is asked is read from the
//! signed token; nothing else in a request has any effect. A link works once.
//!
//! The driver decides, because it knows the alerts: an answer is a question to it, with a time limit.

use super::asked::{Asked, done};
use super::link::{self, Answer, Claim};
use super::text;
use crate::config::Config;
use crate::config::notify::{Hidden, Notify};
use crate::domain::rule::message::Language;
use crate::edge::clock;
use crate::edge::http::{self, ApiError, HttpError};
use crate::telemetry::liveness::Liveness;
use crate::telemetry::notify_metrics::{NotifyMetrics, Verdict};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use crossbeam_channel::Sender;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a person waits for the driver.
const PATIENCE: Duration = Duration::from_secs(10);
/// The HTTP side of links.
#[derive(Clone)]
pub struct Desk(Arc<Shared>);

struct Shared {
    secret: Option<Hidden>,
    language: Language,
    asked: Sender<Asked>,
    metrics: Arc<NotifyMetrics>,
    liveness: Arc<Liveness>,
}

impl Desk {
    /// The endpoints.
    pub fn new(notify: &Notify, asked: Sender<Asked>, metrics: &Arc<NotifyMetrics>, liveness: &Arc<Liveness>) -> Self {
        Self(Arc::new(Shared {
            secret: notify.links.as_ref().map(|links| links.secret.clone()),
            language: notify.language,
            asked,
            metrics: Arc::clone(metrics),
            liveness: Arc::clone(liveness),
        }))
    }

    /// Serves them on a thread of their own until the process ends; returns the bound address.
    pub fn serve(&self, config: &Config, address: SocketAddr) -> Result<SocketAddr, HttpError> {
        let open = Router::new().route("/a/{token}", get(show).post(act)).with_state(self.clone());
        let local = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/", get(|| async { "funnelwatch notify: GET /metrics /livez /readyz\n" }))
            .with_state(self.clone());
        http::serve_routes(address, &config.http_server, open, local, Arc::clone(self.0.metrics.http()))
    }

    fn claim(&self, token: &str) -> Option<Claim> {
        let claim = self.0.secret.as_ref().and_then(|secret| link::verify(secret, token, clock::now()));
        if claim.is_none() {
            self.0.metrics.answered(Verdict::ForgedOrExpired);
        }
        claim
    }

    fn language(&self, headers: &HeaderMap) -> Language {
        let accepted = headers.get("accept-language").and_then(|value| value.to_str().ok()).unwrap_or_default();
        match accepted.get(..2) {
            Some("ru") => Language::Ru,
            Some("en") => Language::En,
            _ => self.0.language,
        }
    }
}

async fn show(State(desk): State<Desk>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let language = desk.language(&headers);
    let Some(claim) = desk.claim(&token) else { return invalid(language) };
    let button = format!("<form method=\"post\"><button>{}</button></form>", text::name(claim.answer, language));
    let [english, russian] = match claim.answer {
        Answer::Taken => ["Do you take care of this case?", "Берёте этот вопрос в работу?"],
        Answer::Dismissed => ["Does this need no answer?", "Ответ действительно не нужен?"],
    };
    page(StatusCode::OK, language, if language == Language::Ru { russian } else { english }, &button)
}

async fn act(State(desk): State<Desk>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let language = desk.language(&headers);
    let Some(claim) = desk.claim(&token) else { return invalid(language) };
    let (reply, answer) = oneshot::channel();
    let signature = token.rsplit('.').next().unwrap_or_default().to_owned();
    let asked = Asked { claim, token: signature, chat: None, reply };
    if desk.0.asked.try_send(asked).is_err() {
        return page(StatusCode::SERVICE_UNAVAILABLE, language, later(language), "");
    }
    let answered = tokio::time::timeout(PATIENCE, answer).await;
    let said = match answered {
        Ok(Ok(result)) => result,
        _ => return page(StatusCode::SERVICE_UNAVAILABLE, language, later(language), ""),
    };
    match said {
        Ok(()) => page(StatusCode::OK, language, done(language), ""),
        Err(refusal) => page(StatusCode::CONFLICT, language, refusal.text(language), ""),
    }
}

fn later(language: Language) -> &'static str {
    match language {
        Language::En => "This cannot be stored at the moment. Please try again in a minute.",
        Language::Ru => "Сейчас ответ не удаётся сохранить. Попробуйте ещё раз через минуту.",
    }
}

fn invalid(language: Language) -> Response {
    let text = match language {
        Language::En => "This link is not valid, or not any more.",
        Language::Ru => "Ссылка недействительна или её срок истёк.",
    };
    page(StatusCode::NOT_FOUND, language, text, "")
}

/// A small page; `text` and `more` are ours.
fn page(status: StatusCode, language: Language, text: &str, more: &str) -> Response {
    let body = format!(
        "<!doctype html><html lang=\"{}\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>funnelwatch</title><style>:root{{color-scheme:light dark}}body{{font:1.25rem/1.5 system-ui,sans-serif;margin:20vh \
         auto;max-width:30rem;padding:0 1rem}}button{{font:inherit;padding:.5rem 1.5rem;border-radius:.5rem;border:1px solid}}\
         </style><main><p>{text}</p>{more}</main></html>",
        language.name()
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
    ];
    (status, headers, body).into_response()
}

async fn metrics(State(desk): State<Desk>) -> Response {
    desk.0.metrics.http().scraped(false);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], desk.0.metrics.render()).into_response()
}

async fn livez(State(desk): State<Desk>) -> Response {
    match desk.0.liveness.stuck(clock::now()) {
        None => "alive\n".into_response(),
        Some(thread) => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("the {thread:?} thread makes no progress"))
                .into_response()
        }
    }
}

async fn readyz(State(desk): State<Desk>) -> Response {
    match desk.0.liveness.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

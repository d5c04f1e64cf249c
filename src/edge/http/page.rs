//! The page for the head of sales: who to talk to today, and about what. Served at `/` from the memory of this process.
//!
//! | address | content |
//! | --- | --- |
//! | `/` | the companies; with one of them, its page |
//! | `/t/TENANT` | the company or, with `?department=`, a department |
//! | `/t/TENANT/managers/ID` | a person |
//! | `/t/TENANT/leads/ID`, `…/deals/ID` | a journey |
//! | `/t/TENANT/TABLE.csv` | the tables `people`, `clocks`, `plan` |
//! | `/t/TENANT/stream`, `…/managers/ID/stream` | the changing part, as server-sent events |
//!
//! Markup is rendered here; a small script puts new fragments in place. *Alternative considered*: a client that renders the
//! JSON of the API. It would need a build step and a second implementation of every sentence.
//!
//! **Access** is that of the API. With a token, a browser signs in at `/sign-in` ([`session`]).

mod board;
mod journey;
mod links;
mod stream;
mod tables;
mod text;
mod view;

use super::context::{Elsewhere, HttpState};
use super::guard::is_admitted;
use super::hosts::Host;
use super::response::ApiError;
use super::secret::is_secret;
use super::session;
use crate::domain::id::{DepartmentId, EntityId, EntityKind, TenantId};
use crate::domain::norms::Norms;
use crate::domain::rule::message::Language;
use axum::Extension;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION,
    SET_COOKIE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use board::Board;
use links::{Content, Shown, View};
use maud::{DOCTYPE, Markup, html};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use stream::{Seen, Streams};
use tables::Table;
use view::Reader;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
/// A page loads its own style and script, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The longest body of a form.
const FORM_BYTES: usize = 8 << 10;
/// How often a browser without scripts reloads, in seconds.
const REFRESH: &str = "15";
/// How soon a page is loaded again that waits for the first events, in seconds.
const SOON: &str = "3";

/// When a browser loads a page again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refresh {
    Never,
    /// Without scripts every few seconds; with them it is kept up to date.
    WithoutScripts,
    Soon,
}

/// Why there is no page.
enum Missing {
    Company,
    Person,
    Entity,
}

type Values = BTreeMap<String, String>;

/// What the routes share.
pub(super) type PageState = Arc<Streams>;

/// The state of the page.
pub(super) fn state(http: &HttpState) -> PageState {
    Arc::new(Streams::new(http.clone()))
}

/// The routes that answer without end.
pub(super) fn streams(state: &PageState) -> Router<HttpState> {
    Router::new()
        .route("/t/{tenant}/stream", get(company_stream))
        .route("/t/{tenant}/managers/{id}/stream", get(manager_stream))
        .layer(from_fn_with_state(Arc::clone(state), admit))
        .with_state(Arc::clone(state))
}

/// The other routes of the page.
pub(super) fn routes(state: &PageState) -> Router<HttpState> {
    let open = Router::new()
        .route("/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/page.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/sign-in", get(sign_in_form).post(sign_in))
        .route("/sign-out", axum::routing::post(sign_out));
    Router::new()
        .route("/", get(companies))
        .route("/t/{tenant}", get(company))
        .route("/t/{tenant}/{table}", get(table))
        .route("/t/{tenant}/managers/{id}", get(manager))
        .route("/t/{tenant}/leads/{id}", get(lead))
        .route("/t/{tenant}/deals/{id}", get(deal))
        .layer(from_fn_with_state(Arc::clone(state), admit))
        .merge(open)
        .with_state(Arc::clone(state))
}

/// Passes on requests of those who may see the page; sends others to the form.
async fn admit(
    State(state): State<PageState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(host): Extension<Host>,
    request: Request,
    next: Next,
) -> Response {
    let token = state.http.context.token.as_deref();
    match token {
        _ if is_admitted(token, peer, &host, request.headers()) => next.run(request).await,
        Some(_) => see_other("/sign-in"),
        None => {
            let language = language_of(&state, &Values::new(), request.headers());
            let text = [
                "Without api.token the page is open only on this machine.",
                "Без api.token страница открыта только на этом компьютере.",
            ];
            problem(language, StatusCode::FORBIDDEN, text)
        }
    }
}

/// The first language of the reader that the page has: of the address, else of the browser, else of the configuration.
fn language_of(state: &PageState, values: &Values, headers: &HeaderMap) -> Language {
    if let Some(language) = wanted_language(values) {
        return language;
    }
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut tags = accepted.split(',').filter_map(|tag| language_named(tag.trim().split(['-', ';']).next()?));
    tags.next().unwrap_or(state.http.context.language)
}

/// The language that an address asks for.
fn wanted_language(values: &Values) -> Option<Language> {
    values.get("lang").and_then(|name| language_named(name))
}

fn language_named(name: &str) -> Option<Language> {
    Language::ALL.iter().copied().find(|language| language.name() == name)
}

/// How a request wants the page. Values that do not exist are as if they were absent.
fn shown(values: &Values) -> Shown {
    Shown {
        window: values.get("window").cloned(),
        department: values.get("department").filter(|id| !id.is_empty()).cloned(),
        language: wanted_language(values),
        wall: values.get("wall").is_some_and(|value| value == "1"),
    }
}

/// The name of the chosen window: by default a day, else the first one.
fn window_name(norms: &Norms, wanted: Option<&String>) -> String {
    let names: Vec<_> = norms.windows.iter().map(|window| window.name()).collect();
    let known = |name: &str| names.iter().any(|known| known == name);
    match wanted {
        Some(name) if known(name) => name.clone(),
        _ if known("24h") => "24h".into(),
        _ => names.first().map_or_else(|| "now".into(), ToString::to_string),
    }
}

/// Calls `read` with a company as of now.
fn with_reader<T>(state: &Streams, view: &View, read: impl FnOnce(&Reader<'_>) -> T) -> Result<T, Missing> {
    let seen = state.seen(&view.tenant).ok_or(Missing::Company)?;
    let Seen { snapshot, alerts, .. } = &*seen;
    let window = window_name(&snapshot.norms, view.shown.window.as_ref());
    let department = view.shown.department.as_ref().map(|id| DepartmentId::from(id.as_str()));
    let department = department.as_ref().filter(|id| snapshot.departments.contains(id));
    let board = Board::new(snapshot, alerts, &window, department, view.language);
    let clock = state.http.context.exporter.now();
    let settings = &state.http.context.page;
    Ok(read(&Reader { board: &board, seen: &seen, shown: &view.shown, clock, settings }))
}

/// The changing part of a view.
fn content(reader: &Reader<'_>, view: &View) -> Result<Markup, Missing> {
    match &view.content {
        Content::Company => Ok(reader.company()),
        Content::Manager(id) => reader.board.find(id).map(|person| reader.person(&person)).ok_or(Missing::Person),
    }
}

/// The changing part of a view as it is sent to those who look.
fn render(state: &Streams, view: &View) -> String {
    let rendered = with_reader(state, view, |reader| content(reader, view)).and_then(|content| content);
    rendered.unwrap_or_else(|_| away(view.language)).into_string()
}

/// The first line while the shard of the company is being moved.
fn away(language: Language) -> Markup {
    let text = [
        "These figures are being moved to another process; what is below is old",
        "Показатели переносятся в другой процесс; данные ниже устарели",
    ];
    html! { p #top .top.stale role="status" { (text::say(language, text)) } }
}

/// The same, for a request that another process will answer.
pub(super) fn moving_fragment(state: &PageState, uri: &Uri, headers: &HeaderMap) -> String {
    away(language_at(state, uri, headers)).into_string()
}

/// The page while the shard of its company is being moved.
pub(super) fn moving(state: &PageState, uri: &Uri, headers: &HeaderMap) -> Response {
    let language = language_at(state, uri, headers);
    let text = [
        "The figures are being moved to another process; the page returns in a few seconds.",
        "Показатели переносятся в другой процесс; страница появится через несколько секунд.",
    ];
    let title = ["One moment", "Подождите немного"];
    let body = html! { main { p .top.stale role="status" { (text::say(language, text)) } } };
    let mut response = document(language, text::say(language, title), false, Refresh::Soon, &body);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// The language of the reader of an address.
fn language_at(state: &PageState, uri: &Uri, headers: &HeaderMap) -> Language {
    let values = Query::<Values>::try_from_uri(uri).map(|Query(values)| values).unwrap_or_default();
    language_of(state, &values, headers)
}

async fn companies(
    State(state): State<PageState>,
    Query(values): Query<Values>,
    elsewhere: Option<Extension<Elsewhere>>,
    headers: HeaderMap,
) -> Response {
    let (language, shown) = (language_of(&state, &values, &headers), shown(&values));
    let live_state = Arc::clone(&state.http.context.live_state);
    let Ok(own) = state.http.compute(move || live_state.tenants()).await else { return failed(language) };
    let mut tenants: BTreeSet<TenantId> = own.into_iter().map(|(tenant, ..)| tenant).collect();
    tenants.retain(|tenant| state.http.answers_for(tenant.as_str()));
    let is_complete = elsewhere.as_ref().is_none_or(|Extension(elsewhere)| elsewhere.is_complete);
    let others = elsewhere.into_iter().flat_map(|Extension(elsewhere)| elsewhere.tenants);
    tenants.extend(others.map(|tenant| TenantId::from(tenant.as_str())));
    if let (Some(tenant), 1, true) = (tenants.first(), tenants.len(), is_complete) {
        return see_other(&shown.company(tenant));
    }
    let title = text::say(language, ["Companies", "Компании"]);
    let none = text::say(language, ["Waiting for the first events.", "Ожидаем первые события."]);
    let moving = [
        "Some companies are being moved to another process; the list will be complete in a few seconds.",
        "Некоторые компании переносятся в другой процесс; через несколько секунд список будет полным.",
    ];
    let moving = text::say(language, moving);
    let body = html! {
        main {
            h1 { (title) }
            @if !is_complete { p .top.stale { (moving) } } @else if tenants.is_empty() { p .top.stale { (none) } }
            ul .companies { @for tenant in &tenants { li { a href=(shown.company(tenant)) { (tenant) } } } }
        }
    };
    let refresh = if tenants.is_empty() || !is_complete { Refresh::Soon } else { Refresh::Never };
    document(language, title, shown.wall, refresh, &body)
}

async fn company(
    State(state): State<PageState>,
    Path(tenant): Path<String>,
    Query(values): Query<Values>,
    headers: HeaderMap,
) -> Response {
    page(state, tenant, Content::Company, &values, &headers).await
}

async fn manager(
    State(state): State<PageState>,
    Path((tenant, id)): Path<(String, String)>,
    Query(values): Query<Values>,
    headers: HeaderMap,
) -> Response {
    page(state, tenant, Content::Manager(id.as_str().into()), &values, &headers).await
}

async fn page(state: PageState, tenant: String, content: Content, values: &Values, headers: &HeaderMap) -> Response {
    let language = language_of(&state, values, headers);
    let view = View { tenant: tenant.as_str().into(), content, shown: shown(values), language };
    let of_work = state.clone();
    let rendered = state.http.compute(move || {
        with_reader(&of_work, &view, |reader| {
            let content = self::content(reader, &view)?;
            let title = match &view.content {
                Content::Company => tenant,
                Content::Manager(id) => reader.board.manager_name(id).to_owned(),
            };
            let stream = view.shown.stream(&view.tenant, &view.content);
            let body = html! { (header(reader, &view, &title)) main #live data-stream=(stream) { (content) } };
            Ok(document(language, &title, view.shown.wall, Refresh::WithoutScripts, &body))
        })
        .and_then(|page| page)
    });
    answer(language, rendered.await)
}

async fn company_stream(
    State(state): State<PageState>,
    Path(tenant): Path<String>,
    Query(values): Query<Values>,
    headers: HeaderMap,
) -> Response {
    stream_of(&state, &tenant, Content::Company, &values, &headers)
}

async fn manager_stream(
    State(state): State<PageState>,
    Path((tenant, id)): Path<(String, String)>,
    Query(values): Query<Values>,
    headers: HeaderMap,
) -> Response {
    stream_of(&state, &tenant, Content::Manager(id.as_str().into()), &values, &headers)
}

fn stream_of(state: &PageState, tenant: &str, content: Content, values: &Values, headers: &HeaderMap) -> Response {
    let language = language_of(state, values, headers);
    let tenant = TenantId::from(tenant);
    if !state.http.context.live_state.contains_tenant(&tenant) {
        return not_found(language, &Missing::Company);
    }
    let events = stream::of(state, &View { tenant, content, shown: shown(values), language }, render);
    // nginx would collect the events (https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering).
    ([(HeaderName::from_static("x-accel-buffering"), "no")], events).into_response()
}

async fn table(
    State(state): State<PageState>,
    Path((tenant, file)): Path<(String, String)>,
    Query(values): Query<Values>,
    headers: HeaderMap,
) -> Response {
    let language = language_of(&state, &values, &headers);
    let Some(table) = Table::of_file(&file) else { return not_found(language, &Missing::Entity) };
    let view = View { tenant: tenant.as_str().into(), content: Content::Company, shown: shown(&values), language };
    let of_work = state.clone();
    let rendered = state.http.compute(move || {
        with_reader(&of_work, &view, |reader| {
            let disposition = format!("attachment; filename=\"{file}\"");
            let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, disposition.as_str())];
            (headers, table.csv(reader)).into_response()
        })
    });
    answer(language, rendered.await)
}

async fn lead(
    State(state): State<PageState>,
    Path((tenant, id)): Path<(String, String)>,
    Query(values): Query<Values>,
    headers: HeaderMap,
) -> Response {
    entity(state, tenant, EntityId { kind: EntityKind::Lead, id: id.into() }, &values, &headers).await
}

async fn deal(
    State(state): State<PageState>,
    Path((tenant, id)): Path<(String, String)>,
    Query(values): Query<Values>,
    headers: HeaderMap,
) -> Response {
    entity(state, tenant, EntityId { kind: EntityKind::Deal, id: id.into() }, &values, &headers).await
}

async fn entity(state: PageState, tenant: String, id: EntityId, values: &Values, headers: &HeaderMap) -> Response {
    let language = language_of(&state, values, headers);
    let view = View { tenant: tenant.as_str().into(), content: Content::Company, shown: shown(values), language };
    let of_work = state.clone();
    let rendered = state.http.compute(move || {
        let report = of_work.http.context.live_state.entity_report(&view.tenant, &id).ok_or(Missing::Entity)?;
        with_reader(&of_work, &view, |reader| {
            let title = board::entity_name(language, &id);
            let journey = journey::view(reader, &report);
            let body = html! { (header(reader, &view, &title)) main { (journey) } };
            document(language, &title, view.shown.wall, Refresh::WithoutScripts, &body)
        })
    });
    answer(language, rendered.await)
}

/// The head of a page: where the reader is, and the filters, which are a form so that they work without scripts.
fn header(reader: &Reader<'_>, view: &View, title: &str) -> Markup {
    let (board, shown) = (reader.board, &view.shown);
    let windows: Vec<_> = board.snapshot.norms.windows.iter().map(|window| window.name()).collect();
    let departments = reader.departments();
    let company = shown.company(&view.tenant);
    let action = company.split('?').next().unwrap_or_default();
    let other = match view.language {
        Language::En => (Language::Ru, "Русский"),
        Language::Ru => (Language::En, "English"),
    };
    let translated = Shown { language: Some(other.0), ..shown.clone() };
    let wall = Shown { wall: true, ..shown.clone() };
    let is_company = view.content == Content::Company && title == view.tenant.as_str();
    html! {
        header {
            h1 { @if is_company { (title) } @else { a href=(company) { (view.tenant) } " / " (title) } }
            form .filters action=(action) method="get" {
                label { (board.say(["Department", "Отдел"])) " "
                    select name="department" {
                        option value="" selected[shown.department.is_none()] { (board.say(["all", "все"])) }
                        @for (name, id) in &departments {
                            option value=(id) selected[shown.department.as_deref() == Some(id.as_str())] { (name) }
                        }
                    }
                }
                label { (board.say(["Window", "Период"])) " "
                    select name="window" {
                        @for name in &windows { option value=(name) selected[name == board.window] { (name) } }
                    }
                }
                @if let Some(language) = shown.language { input type="hidden" name="lang" value=(language.name()); }
                @if shown.wall { input type="hidden" name="wall" value="1"; }
                button { (board.say(["Show", "Показать"])) }
            }
            nav {
                button #pause type="button" hidden data-pause=(board.say(["Pause", "Пауза"])) data-resume=(board.say(["Resume", "Продолжить"])) aria-pressed="false" {
                    (board.say(["Pause", "Пауза"]))
                }
                a href=(wall.company(&view.tenant)) { (board.say(["For the wall", "На экран"])) }
                a href=(translated.company(&view.tenant)) lang=(other.0.name()) hreflang=(other.0.name()) { (other.1) }
            }
            p #connection .stale role="alert" hidden {
                (board.say(["The connection is lost: what you see is old.", "Связь потеряна: данные на экране устарели."]))
            }
        }
    }
}

/// A whole page.
fn document(language: Language, title: &str, wall: bool, refresh: Refresh, body: &Markup) -> Response {
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

fn asset(content_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")], text).into_response()
}

/// What was rendered, or why it was not.
fn answer(language: Language, rendered: Result<Result<Response, Missing>, ApiError>) -> Response {
    match rendered {
        Ok(Ok(page)) => page,
        Ok(Err(missing)) => not_found(language, &missing),
        Err(_) => failed(language),
    }
}

fn problem(language: Language, status: StatusCode, text: text::Text) -> Response {
    let body = html! {
        main { p .top.stale { (text::say(language, text)) }
            p { a href="/" { (text::say(language, ["To the beginning", "На главную"])) } } }
    };
    let mut response =
        document(language, text::say(language, ["Nothing to show", "Нечего показать"]), false, Refresh::Never, &body);
    *response.status_mut() = status;
    response
}

fn not_found(language: Language, missing: &Missing) -> Response {
    let text = match missing {
        Missing::Company => ["This company is not known here.", "Здесь нет такой компании."],
        Missing::Person => ["Nothing is known of this person.", "Об этом человеке ничего не известно."],
        Missing::Entity => [
            "This lead or deal is not known, or its history has expired.",
            "Такого лида или сделки нет, или срок хранения истории истёк.",
        ],
    };
    problem(language, StatusCode::NOT_FOUND, text)
}

fn failed(language: Language) -> Response {
    let text = ["The page could not be computed.", "Не удалось построить страницу."];
    problem(language, StatusCode::INTERNAL_SERVER_ERROR, text)
}

fn see_other(address: &str) -> Response {
    let Ok(address) = HeaderValue::from_str(address) else {
        return ApiError::new(StatusCode::BAD_REQUEST, "no such page").into_response();
    };
    (StatusCode::SEE_OTHER, [(LOCATION, address)]).into_response()
}

async fn sign_in_form(State(state): State<PageState>, Query(values): Query<Values>, headers: HeaderMap) -> Response {
    sign_in_page(language_of(&state, &values, &headers), StatusCode::OK)
}

fn sign_in_page(language: Language, status: StatusCode) -> Response {
    let say = |text| text::say(language, text);
    let body = html! {
        main {
            h1 { "funnelwatch" }
            form .sign-in action="/sign-in" method="post" {
                label { (say(["Token", "Токен"])) " " input type="password" name="token" required autocomplete="current-password" autofocus; }
                button { (say(["Sign in", "Войти"])) }
            }
            @if status != StatusCode::OK { p .bad role="alert" { (say(["This is not the token.", "Токен не подходит."])) } }
        }
    };
    let mut response = document(language, say(["Sign in", "Вход"]), false, Refresh::Never, &body);
    *response.status_mut() = status;
    response
}

/// Exchanges the token for a session. Requests of pages of other sites do not get here ([`super::hosts`]).
async fn sign_in(State(state): State<PageState>, request: Request) -> Response {
    let language = language_of(&state, &Values::new(), request.headers());
    let Some(token) = &state.http.context.token else { return see_other("/") };
    let Ok(body) = to_bytes(request.into_body(), FORM_BYTES).await else {
        return sign_in_page(language, StatusCode::PAYLOAD_TOO_LARGE);
    };
    let given = form_urlencoded::parse(&body).find(|(key, _)| key == "token").map(|(_, value)| value.into_owned());
    if !given.is_some_and(|given| is_secret(given.trim(), token)) {
        return sign_in_page(language, StatusCode::UNAUTHORIZED);
    }
    with_cookie(see_other("/"), &session::begin(token, session::now()))
}

async fn sign_out() -> Response {
    with_cookie(see_other("/sign-in"), &session::end())
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

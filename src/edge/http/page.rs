//! The page for the head of sales: who to talk to today, and about what. Served at `/` from the memory of this process.
//!
//! | address | content |
//! | --- | --- |
//! | `/` | the companies; with one of them, its page |
//! | `/t/TENANT` | the company or, with `?department=`, a department |
//! | `/t/TENANT/managers/ID` | a person |
//! | `/t/TENANT/leads/ID`, `…/deals/ID` | a journey |
//! | `/t/TENANT/reviews` | calls and messages to review, and cases to learn from |
//! | `/t/TENANT/figures/NAME` | what stands behind a figure; `NAME.csv` as a table |
//! | `/t/TENANT/TABLE.csv` | the tables `people`, `clocks`, `plan` |
//! | `/t/TENANT/stream`, `…/managers/ID/stream` | the changing part, as server-sent events |
//!
//! Markup is rendered here; a small script puts new fragments in place. *Alternative considered*: a client that renders the
//! JSON of the API. It would need a build step and a second implementation of every sentence.
//!
//! **Access** is that of the API. With a token, a browser signs in at `/sign-in` ([`session`]).

mod asked;
mod board;
mod deliveries;
mod document;
mod journey;
mod links;
mod members;
pub(super) mod ranking;
mod reviews;
mod sparkline;
mod stream;
mod tables;
mod text;
mod view;

use super::access::{Denied, is_meant};
use super::action;
use super::context::{Elsewhere, HttpState};
use super::csv;
use super::guard::not_meant;
use super::hosts::Host;
use super::session;
use super::source::Source;
use crate::codec::ascii::percent_encoded_segment as encoded;
use crate::dataflow::live::{FigureMember, FigureQuery};
use crate::domain::figures::behind::Behind;
use crate::domain::figures::row::Subject;
use crate::domain::id::{DepartmentId, EntityId, EntityKind, ManagerId, TenantId};
use crate::domain::rule::message::Language;
use asked::Asked;
use axum::Extension;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use board::Board;
use document::{
    FORM_BYTES, Missing, Refresh, SCRIPT, STYLE, Values, answer, asset, document, failed, language_of, not_found,
    problem, see_other, shown, window_name,
};
use links::{Content, Shown, View};
use maud::{Markup, html};
use members::Members;
use reviews::Reviews;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use stream::{Seen, Streams};
use tables::Table;
use uuid::Uuid;
use view::Reader;

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
        .route("/t/{tenant}/reviews", get(reviews))
        .route("/t/{tenant}/reviews/{interaction}", post(review))
        .route("/t/{tenant}/alerts/{alert}/taken", post(take))
        .route("/t/{tenant}/figures/{figure}", get(figure))
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
    mut request: Request,
    next: Next,
) -> Response {
    match state.http.context.access.admit(peer, &host, request.headers()) {
        Ok(_) if !request.method().is_safe() && !is_meant(request.headers()) => {
            let language = language_of(state.http.context.language, &Values::new(), request.headers());
            let text = [
                "This form was not sent from this page, so it was refused.",
                "Форма отправлена не с этой страницы и поэтому отклонена.",
            ];
            problem(language, StatusCode::FORBIDDEN, text)
        }
        Ok(viewer) => {
            request.extensions_mut().insert(viewer);
            next.run(request).await
        }
        Err(Denied::NoToken) => see_other("/sign-in"),
        Err(Denied::NotLocal) => {
            let language = language_of(state.http.context.language, &Values::new(), request.headers());
            let text = [
                "Without api.token or api.users the page is open only on this machine.",
                "Без api.token и api.users страница открыта только на этом компьютере.",
            ];
            problem(language, StatusCode::FORBIDDEN, text)
        }
    }
}

/// Calls `read` with a company as of now.
fn with_reader<T>(state: &Streams, view: &View, read: impl FnOnce(&Reader<'_>) -> T) -> Result<T, Missing> {
    let seen = state.seen(&view.viewer, &view.tenant).ok_or(Missing::Company)?;
    let Seen { snapshot, alerts, .. } = &*seen;
    let window = window_name(&snapshot.norms, view.shown.window.as_ref());
    let department = view.shown.department.as_ref().map(|id| DepartmentId::from(id.as_str()));
    let department = department.as_ref().filter(|id| snapshot.departments.contains(id));
    let board = Board::new(snapshot, alerts, &window, department, view.language);
    let clock = state.http.context.exporter.now();
    let settings = &state.http.context.page;
    let is_signed_in = state.http.context.access.needs_token();
    let source = Source::new(&state.http.context, &view.viewer);
    Ok(read(&Reader { board: &board, seen: &seen, source, shown: &view.shown, clock, settings, is_signed_in }))
}

/// The changing part of a view.
fn content(reader: &Reader<'_>, view: &View) -> Result<Markup, Missing> {
    match &view.content {
        Content::Company => Ok(reader.company()),
        Content::Manager(id) => {
            let person = reader.board.find(id).ok_or(Missing::Person)?;
            let sent = deliveries::section(reader, |told, delivery| told.concerns(delivery, id.as_str()));
            Ok(html! { (reader.person(&person)) (sent) })
        }
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
    language_of(state.http.context.language, &values, headers)
}

async fn companies(elsewhere: Option<Extension<Elsewhere>>, asked: Asked<()>) -> Response {
    let (language, shown, source) = (asked.language(), shown(&asked.values), asked.source());
    let state = Arc::clone(&asked.state);
    let Ok(own) = asked.state.http.compute(move || source.tenants()).await else { return failed(language) };
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

async fn company(asked: Asked<String>) -> Response {
    let view = asked.view(&asked.path, Content::Company);
    page(&asked.state, view).await
}

async fn manager(asked: Asked<(String, String)>) -> Response {
    let (tenant, id) = &asked.path;
    let view = asked.view(tenant, Content::Manager(id.as_str().into()));
    page(&asked.state, view).await
}

/// A page whose content is kept up to date.
async fn page(state: &PageState, view: View) -> Response {
    let (of_work, language) = (Arc::clone(state), view.language);
    let rendered = state.http.compute(move || {
        with_reader(&of_work, &view, |reader| {
            let content = self::content(reader, &view)?;
            let title = match &view.content {
                Content::Company => view.tenant.to_string(),
                Content::Manager(id) => reader.board.manager_name(id).to_owned(),
            };
            let stream = view.shown.stream(&view.tenant, &view.content);
            let body = html! { (header(reader, &view, &title, None)) main #live data-stream=(stream) { (content) } };
            Ok(document(language, &title, view.shown.wall, Refresh::WithoutScripts, &body))
        })
        .and_then(|page| page)
    });
    answer(language, rendered.await)
}

async fn company_stream(asked: Asked<String>) -> Response {
    let view = asked.view(&asked.path, Content::Company);
    stream_of(&asked, view)
}

async fn manager_stream(asked: Asked<(String, String)>) -> Response {
    let (tenant, id) = &asked.path;
    let view = asked.view(tenant, Content::Manager(id.as_str().into()));
    stream_of(&asked, view)
}

fn stream_of<T>(asked: &Asked<T>, view: View) -> Response {
    if !asked.source().contains(&view.tenant) {
        return not_found(view.language, &Missing::Company);
    }
    let events = stream::of(&asked.state, &view, render);
    // nginx would collect the events (https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering).
    ([(HeaderName::from_static("x-accel-buffering"), "no")], events).into_response()
}

async fn table(asked: Asked<(String, String)>) -> Response {
    let (tenant, file) = asked.path.clone();
    let language = asked.language();
    let Some(table) = Table::of_file(&file) else { return not_found(language, &Missing::Entity) };
    let view = asked.view(&tenant, Content::Company);
    let of_work = asked.streams();
    let rendered = asked.state.http.compute(move || {
        with_reader(&of_work, &view, |reader| {
            let disposition = format!("attachment; filename=\"{file}\"");
            let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, disposition.as_str())];
            (headers, table.csv(reader)).into_response()
        })
    });
    answer(language, rendered.await)
}

async fn lead(asked: Asked<(String, String)>) -> Response {
    let id = EntityId { kind: EntityKind::Lead, id: asked.path.1.as_str().into() };
    entity(asked, id).await
}

async fn deal(asked: Asked<(String, String)>) -> Response {
    let id = EntityId { kind: EntityKind::Deal, id: asked.path.1.as_str().into() };
    entity(asked, id).await
}

async fn entity(asked: Asked<(String, String)>, id: EntityId) -> Response {
    let view = asked.view(&asked.path.0, Content::Company);
    let (language, source, of_work) = (view.language, asked.source(), asked.streams());
    let rendered = asked.state.http.compute(move || {
        let report = source.entity_report(&view.tenant, &id).ok_or(Missing::Entity)?;
        let contacts = source.contacts_of(&view.tenant, &id).unwrap_or_default();
        with_reader(&of_work, &view, |reader| {
            let title = board::entity_name(language, &id);
            let journey = journey::view(reader, &report, &contacts);
            let body = html! { (header(reader, &view, &title, None)) main { (journey) } };
            document(language, &title, view.shown.wall, Refresh::WithoutScripts, &body)
        })
    });
    answer(language, rendered.await)
}

/// The calls and messages to review, and the cases to learn from.
async fn reviews(asked: Asked<String>) -> Response {
    let view = asked.view(&asked.path, Content::Company);
    let done = asked.values.get("done").cloned();
    let (language, source, of_work) = (view.language, asked.source(), asked.streams());
    let rendered = asked.state.http.compute(move || {
        let (requests, given) = source.reviews(&view.tenant).ok_or(Missing::Company)?;
        let reviews = Reviews { requests, given, may_write: view.viewer.may_write(), done };
        with_reader(&of_work, &view, |reader| {
            let title = reader.board.say(["Reviews", "Проверки"]);
            let body = html! { (header(reader, &view, title, Some(&view.shown.reviews(&view.tenant)))) main { (reviews::view(reader, &reviews)) } };
            document(language, title, view.shown.wall, Refresh::Never, &body)
        })
    });
    answer(language, rendered.await)
}

/// The longest body of a review.
const REVIEW_BYTES: usize = 64 << 10;

/// The answer to somebody who may not write; `None`: the viewer may.
fn refused<T>(asked: &Asked<T>) -> Option<Response> {
    let text = ["Only the roles reviewer and admin may do this.", "Это могут только роли reviewer и admin."];
    (!asked.viewer.may_write()).then(|| problem(asked.language(), StatusCode::FORBIDDEN, text))
}

const NOT_STORED: text::Text =
    ["This could not be saved; please try again.", "Сохранить не удалось, попробуйте ещё раз."];

/// Writes a review.
async fn review(asked: Asked<(String, String)>, body: Body) -> Response {
    let language = asked.language();
    if let Some(response) = refused(&asked) {
        return response;
    }
    let (tenant, interaction) = (TenantId::from(asked.path.0.as_str()), asked.path.1.clone());
    let Ok(bytes) = to_bytes(body, REVIEW_BYTES).await else {
        return problem(language, StatusCode::PAYLOAD_TOO_LARGE, ["The form is too long.", "Форма слишком длинная."]);
    };
    let Ok(scored) = reviews::of_form(&bytes) else {
        let text = ["Give a score from 0 to 100.", "Поставьте оценку от 0 до 100."];
        return problem(language, StatusCode::BAD_REQUEST, text);
    };
    let (source, of_tenant, id) = (asked.source(), tenant.clone(), interaction.clone());
    let requested = match asked.state.http.compute(move || source.requested(&of_tenant, &id)).await {
        Ok(Some(requested)) => requested,
        Ok(None) => return not_found(language, &Missing::Review),
        Err(_) => return failed(language),
    };
    if action::review(&asked.state.http, &requested, &asked.viewer.name, &scored).await.is_err() {
        return problem(language, StatusCode::SERVICE_UNAVAILABLE, NOT_STORED);
    }
    let mut address = shown(&asked.values).reviews(&tenant);
    address += &format!("{}done={}", if address.contains('?') { '&' } else { '?' }, encoded(&interaction));
    see_other(&address)
}

/// Writes that the viewer takes care of an alert.
async fn take(asked: Asked<(String, String)>) -> Response {
    let language = asked.language();
    if let Some(response) = refused(&asked) {
        return response;
    }
    let tenant = TenantId::from(asked.path.0.as_str());
    let open = Uuid::parse_str(&asked.path.1).ok().and_then(|id| asked.source().alert(&tenant, id));
    let Some(open) = open else { return not_found(language, &Missing::Alert) };
    let manager = ManagerId::from(asked.viewer.name.as_str());
    match action::take(&asked.state.http, &tenant, open.alert.id, &manager).await {
        Ok(_) => see_other(&shown(&asked.values).company(&tenant)),
        Err(_) => problem(language, StatusCode::SERVICE_UNAVAILABLE, NOT_STORED),
    }
}

/// What stands behind a figure.
async fn figure(asked: Asked<(String, String)>) -> Response {
    let (tenant, file) = asked.path.clone();
    let (name, is_csv) = file.strip_suffix(".csv").map_or((file.as_str(), false), |name| (name, true));
    let language = asked.language();
    let Some(figure) = Behind::named(name) else { return not_found(language, &Missing::Figure) };
    let view = asked.view(&tenant, Content::Company);
    let values = asked.values.clone();
    let (source, of_work) = (asked.source(), asked.streams());
    let rendered = asked.state.http.scan(move || {
        let snapshot = source.snapshot(&view.tenant).ok_or(Missing::Company)?;
        let window = window_name(&snapshot.norms, view.shown.window.as_ref());
        let window = snapshot.norms.windows.iter().find(|one| one.name() == window).copied().filter(|_| !figure.now);
        let manager = values.get("manager").map(|id| ManagerId::from(id.as_str()));
        let query = FigureQuery { figure, labels: &values, window, manager: manager.as_ref(), at: snapshot.watermark };
        let mut members = source.members(&view.tenant, &query).map_err(|_| Missing::Members)?;
        if let Some(id) = view.shown.department.as_ref() {
            members.retain(|member| member.department.as_str() == id);
        }
        if is_csv {
            return Ok(csv_of(members_json(&members), &format!("{}.csv", figure.name)));
        }
        let subject = match (&manager, &view.shown.department) {
            (Some(id), _) => Subject::Manager(id.clone()),
            (None, Some(id)) => Subject::Department(id.as_str().into()),
            (None, None) => Subject::Tenant,
        };
        let is_seen = snapshot.rows.iter().any(|row| row.subject == subject);
        let course = source.course(&view.tenant, &subject, figure.name).flatten().filter(|_| is_seen);
        let labels = figure.labels.iter().filter_map(|label| Some(((*label).to_owned(), values.get(*label)?.clone())));
        let parameters: Vec<(String, String)> = values.clone().into_iter().collect();
        with_reader(&of_work, &view, |reader| {
            let shown = Members {
                figure,
                labels: labels.collect(),
                whose: reader.subject_name(&subject),
                window: window.map(|window| window.name().to_string()),
                members,
                course,
                csv: links::members_csv(&view.tenant, figure.name, &parameters),
            };
            let title = reader.board.say(members::title(figure.name));
            let body = html! { (header(reader, &view, title, None)) main { (members::view(reader, &shown)) } };
            document(language, title, view.shown.wall, Refresh::WithoutScripts, &body)
        })
    });
    answer(language, rendered.await)
}

/// The members of a figure, as the table is made of them.
fn members_json(members: &[FigureMember]) -> Vec<u8> {
    let entry = |member: &FigureMember| {
        json!({
            "at": member.at.to_string(),
            "manager_id": member.manager.as_ref().map(ManagerId::as_str),
            "department_id": member.department.as_str(),
            "entity": member.origin.entity.as_ref().map(EntityId::to_string),
            "contact": member.origin.contact.as_deref(),
            "interaction_id": member.origin.interaction.as_deref(),
            "counts": member.counts,
            "value": member.value,
        })
    };
    json!({"members": members.iter().take(CSV_LINES).map(entry).collect::<Vec<_>>()}).to_string().into_bytes()
}

/// The most lines of the members of a figure as CSV.
const CSV_LINES: usize = 1000;

fn csv_of(json: Vec<u8>, file: &str) -> Response {
    let disposition = format!("attachment; filename=\"{file}\"");
    let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, disposition.as_str())];
    (headers, csv::of_json(&json)).into_response()
}

/// The head of a page: where the reader is, and the filters, which are a form so that they work without scripts.
///
/// `filtered`: the address that the filters apply to; the company without it.
fn header(reader: &Reader<'_>, view: &View, title: &str, filtered: Option<&str>) -> Markup {
    let (board, shown) = (reader.board, &view.shown);
    let windows: Vec<_> = board.snapshot.norms.windows.iter().map(|window| window.name()).collect();
    let departments = reader.departments();
    let company = shown.company(&view.tenant);
    let action = filtered.unwrap_or(&company).split('?').next().unwrap_or_default();
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
                a href=(shown.reviews(&view.tenant)) { (board.say(["Reviews", "Проверки"])) }
                a href=(wall.company(&view.tenant)) { (board.say(["For the wall", "На экран"])) }
                a href=(translated.company(&view.tenant)) lang=(other.0.name()) hreflang=(other.0.name()) { (other.1) }
                @if reader.is_signed_in && !shown.wall {
                    form method="post" action="/sign-out" {
                        button .small { (board.say(["Sign out", "Выйти"])) ", " (reader.source.viewer.name) }
                    }
                }
            }
            p #connection .stale role="alert" hidden {
                (board.say(["The connection is lost: what you see is old.", "Связь потеряна: данные на экране устарели."]))
            }
        }
    }
}

async fn sign_in_form(State(state): State<PageState>, Query(values): Query<Values>, headers: HeaderMap) -> Response {
    sign_in_page(language_of(state.http.context.language, &values, &headers), StatusCode::OK)
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
    let language = language_of(state.http.context.language, &Values::new(), request.headers());
    let access = Arc::clone(&state.http.context.access);
    if !access.needs_token() {
        return see_other("/");
    }
    let Ok(body) = to_bytes(request.into_body(), FORM_BYTES).await else {
        return sign_in_page(language, StatusCode::PAYLOAD_TOO_LARGE);
    };
    let given = form_urlencoded::parse(&body).find(|(key, _)| key == "token").map(|(_, value)| value.into_owned());
    match given.and_then(|given| access.begin_session(given.trim())) {
        Some(cookie) => with_cookie(see_other("/"), &cookie),
        None => sign_in_page(language, StatusCode::UNAUTHORIZED),
    }
}

async fn sign_out(headers: HeaderMap) -> Response {
    if !is_meant(&headers) {
        return not_meant().into_response();
    }
    with_cookie(see_other("/sign-in"), &session::end())
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

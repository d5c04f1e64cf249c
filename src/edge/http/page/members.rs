//! Owns the view of what stands behind a figure: its members, and its course over the day.

use super::sparkline;
use super::text::{NONE, Text, duration, percent};
use super::view::{Reader, table};
use crate::dataflow::live::{CoursePoints, FigureMember};
use crate::domain::figures::behind::Behind;
use crate::domain::rule::message::Language;
use crate::domain::time::{Span, Timestamp};
use maud::{Markup, html};

/// How many members are listed.
const SHOWN: usize = 200;

/// What is shown of a figure.
pub(super) struct Members {
    pub(super) figure: &'static Behind,
    /// The labels by which its members are chosen.
    pub(super) labels: Vec<(String, String)>,
    /// Whose it is.
    pub(super) whose: String,
    /// The window in the title; `None`: it is a current figure.
    pub(super) window: Option<String>,
    pub(super) members: Vec<FigureMember>,
    /// The course of the day, if it is kept.
    pub(super) course: Option<CoursePoints>,
    /// The address of the members as CSV.
    pub(super) csv: String,
}

/// The view.
pub(super) fn view(reader: &Reader<'_>, shown: &Members) -> Markup {
    let board = reader.board;
    let n = shown.members.len();
    let counted = shown.members.iter().filter(|member| member.counts).count();
    let share = (n > 0).then(|| counted as f64 / n as f64);
    let has = |of: fn(&FigureMember) -> bool| shown.members.iter().any(of);
    let has_value = has(|member| member.value.is_some());
    let mut head =
        vec![(board.say(["When", "Когда"]), "n"), (board.say(["What", "Что"]), ""), (board.say(["Whose", "Чей"]), "")];
    if has_value {
        head.push((board.say(value_name(shown.figure)), "n"));
    }
    if shown.figure.share {
        head.push((board.say(["Counts", "Засчитано"]), ""));
    }
    html! {
        p .top {
            (board.say(title(shown.figure.name))) ": "
            @if shown.figure.share { (percent(share)) " (" (counted) " " (board.say(["of", "из"])) " " (n) ")" } @else { (n) }
        }
        p .as-of {
            (shown.whose)
            @if let Some(window) = &shown.window { " · " (window) }
            @for (_, value) in &shown.labels { " · " (value) }
            " · " (board.say(["as of", "на"])) " " (reader.time(board.now()))
        }
        @if let Some(course) = shown.course.as_ref().filter(|course| course.len() > 1) {
            section #course {
                h2 { (board.say(["Over the day", "За день"])) }
                (sparkline::large(&points(course), board.say(title(shown.figure.name)), board.language))
                p .quiet { (reader.time(course[0].0)) " – " (reader.time(course[course.len() - 1].0)) }
            }
        }
        section #members {
            h2 { (board.say(["What is counted", "Что засчитано"])) }
            @if n == 0 {
                p .quiet { (board.say(["Nothing.", "Ничего."])) }
            } @else {
                (table(board.say(["What is counted", "Что засчитано"]), &head, false, &html! {
                    @for member in shown.members.iter().take(SHOWN) { (row(reader, shown, member, has_value)) }
                }))
                @if n > SHOWN { p { (match board.language {
                    Language::En => format!("{SHOWN} of {n} are shown; the CSV has up to a thousand."),
                    Language::Ru => format!("Показаны {SHOWN} из {n}; в CSV — до тысячи."),
                }) } }
                p .more { a href=(shown.csv) { "CSV" } }
            }
        }
    }
}

fn points(course: &CoursePoints) -> Vec<f64> {
    course.iter().filter_map(|(_, value)| *value).collect()
}

fn row(reader: &Reader<'_>, shown: &Members, member: &FigureMember, has_value: bool) -> Markup {
    let board = reader.board;
    let origin = &member.origin;
    html! {
        tr {
            td .n { @if member.at < Timestamp::MAX { (reader.time(member.at)) } @else { (NONE) } }
            th scope="row" {
                @match (&origin.entity, &origin.contact) {
                    (Some(entity), _) => { (reader.link_to_entity(entity)) (reader.card(entity)) }
                    (None, Some(contact)) => {
                        (board.say(["customer", "клиент"])) " " (contact.trim_start_matches("contact:").get(..6).unwrap_or(contact))
                    }
                    (None, None) => { (board.say(["call or message", "звонок или сообщение"])) }
                }
                @if let Some(interaction) = &origin.interaction { small { (interaction) } }
            }
            td { @match &member.manager {
                Some(id) => a href=(reader.shown.manager(&board.snapshot.tenant, id)) { (board.manager_name(id)) },
                None => (board.say(["nobody", "никто"])),
            } }
            @if has_value { td .n { @if let Some(value) = member.value {
                @if shown.figure.name.starts_with("review") { (format!("{value:.0}")) } @else { (duration(board.language, Span::from_seconds(value))) }
            } } }
            @if shown.figure.share { td { (board.say(if member.counts { ["yes", "да"] } else { ["no", "нет"] })) } }
        }
    }
}

fn value_name(figure: &Behind) -> Text {
    if figure.name.starts_with("review") { ["Score", "Оценка"] } else { ["After", "Через"] }
}

/// The name of a figure for people.
pub(super) fn title(figure: &str) -> Text {
    match figure {
        "leads_received" => ["Leads received", "Получено лидов"],
        "leads_disqualified" => ["Leads disqualified", "Отклонённые лиды"],
        "leads_excluded" => ["Leads left out", "Исключённые лиды"],
        "lead_conversion" => ["Leads to deals", "Лиды в сделки"],
        "stage_conversion" => ["Stage to stage", "С этапа на этап"],
        "win_rate" => ["Deals won", "Выигранные сделки"],
        "first_responses" => ["First responses", "Первые ответы"],
        "first_response_within_norm" => ["Answered within the norm", "Ответы в норме"],
        "human_responses" => ["First touches after the assignment", "Первые касания после назначения"],
        "call_backs" => ["Missed calls returned", "Перезвонили"],
        "replies" => ["Messages answered", "Ответы на сообщения"],
        "calls" => ["Calls", "Звонки"],
        "messages" => ["Messages", "Сообщения"],
        "meetings" => ["Meetings", "Встречи"],
        "touches" => ["Touches", "Касания"],
        "dismissed" => ["No answer needed", "Ответ не нужен"],
        "deals_won" => ["Deals won", "Выигранные сделки"],
        "deals_lost" => ["Deals lost", "Проигранные сделки"],
        "terms_offered" | "special_terms_ratio" => ["Deals with an offer", "Сделки с предложением"],
        "terms_special" => ["Deals with special terms", "Сделки с особыми условиями"],
        "reviews" => ["Reviews", "Проверки"],
        "review_successes" => ["Cases to learn from", "Примеры, как надо"],
        "review_failures" => ["Cases to avoid", "Примеры, как не надо"],
        "violations" => ["Violations", "Нарушения"],
        "plans_made" => ["Steps planned", "Запланированные шаги"],
        "plans_done" => ["Steps done", "Выполненные шаги"],
        "plans_done_in_time" => ["Steps done in time", "Шаги, сделанные в срок"],
        "plans_moved" => ["Deadlines moved", "Перенесённые сроки"],
        "awaiting_first_response" => ["Leads without a first response", "Лиды без первого ответа"],
        "open_entities" => ["Open leads and deals", "Открытые лиды и сделки"],
        "overdue_entities" => ["Too long in their stage", "Застряли на этапе"],
        "open_alerts" => ["Open violations", "Открытые нарушения"],
        "due_soon" => ["Deadlines that are near", "Близкие сроки"],
        "unreturned_calls" => ["Missed calls to return", "Пропущенные без перезвона"],
        "unanswered_messages" => ["Messages to answer", "Сообщения без ответа"],
        "open_plans" => ["Open steps", "Открытые шаги"],
        "overdue_plans" => ["Overdue steps", "Просроченные шаги"],
        _ => ["Without a next step", "Без следующего шага"],
    }
}

//! Owns the view of one lead or deal: its journey on one time axis, its clocks, and why alerts fired.

use super::board::{Board, entity_name};
use super::deliveries;
use super::text::{Text, duration, time};
use super::view::{Reader, table};
use crate::domain::alert::Value;
use crate::domain::event::EventKind;
use crate::domain::rule::catalog;
use crate::domain::tenant::entity_report::{ClockState, ClockStatus, EntityReport, HistoryEntry};
use crate::domain::time::{Span, Timestamp};
use crate::edge::http::contact::contact_value;
use compact_str::CompactString;
use maud::{Markup, html};

/// The width of the time axis, in units of the drawing.
const WIDTH: f64 = 1000.0;
/// The height of a line of the drawing.
const LINE: f64 = 26.0;
/// How many events and clocks are shown.
const SHOWN: usize = 200;
/// How many clocks are drawn.
const DRAWN: usize = 12;

/// The view of a lead or deal.
///
/// `contacts`: the numbers and addresses of the customer, for those who may see them.
pub(super) fn view(reader: &Reader<'_>, report: &EntityReport, contacts: &[CompactString]) -> Markup {
    let (board, shown) = (reader.board, reader.shown);
    let manager = report.manager.as_ref();
    html! {
        p .top {
            (entity_name(board.language, &report.entity))
            @if let Some(stage) = &report.stage { " · " (stage) }
            @if let Some((outcome, at)) = &report.closed { " · " (outcome.name()) " " (local(board, *at)) }
        }
        p .as-of {
            (board.say(["Responsible", "Ответственный"])) ": "
            @match manager {
                Some(id) => a href=(shown.manager(&board.snapshot.tenant, id)) { (board.manager_name(id)) },
                None => (board.say(["nobody", "никто"])),
            }
            @if let Some(lead) = &report.lead { " · " (board.say(["from lead", "из лида"])) " " (lead) }
            (reader.card(&report.entity))
        }
        @if !contacts.is_empty() {
            p .as-of { (board.say(["Customer", "Клиент"])) ": "
                @for (index, contact) in contacts.iter().enumerate() { @if index > 0 { ", " } (link_to(contact)) } }
        }
        section {
            h2 { (board.say(["Why did it fire?", "Почему сработало?"])) }
            (clocks(board, report))
        }
        section {
            h2 { (board.say(["Journey", "История"])) }
            (axis(board, report))
            (history(board, report))
        }
        (deliveries::section(reader, |told, _| told.entity.as_ref() == Some(&report.entity)))
    }
}

/// A number or an address that a phone or a mail program opens.
fn link_to(contact: &str) -> Markup {
    match contact_value(contact) {
        ("phone", number) => html! { a href={ "tel:" (number) } { (number) } },
        ("email", address) => html! { a href={ "mailto:" (address) } { (address) } },
        (_, handle) => html! { (handle) },
    }
}

fn local(board: &Board<'_>, at: Timestamp) -> String {
    time(board.calendar.as_deref(), at, board.now())
}

fn clocks(board: &Board<'_>, report: &EntityReport) -> Markup {
    if report.clocks.is_empty() {
        return html! { p .quiet { (board.say(["No clock runs.", "Ни один срок не идёт."])) } };
    }
    html! {
        (table(
            board.say(["Clocks", "Сроки"]),
            &[
                (board.say(["Norm", "Норма"]), ""),
                (board.say(["State", "Состояние"]), ""),
                (board.say(["Counted", "Прошло"]), "n"),
                (board.say(["Allowed", "Разрешено"]), "n"),
                (board.say(["From", "С"]), "n"),
                (board.say(["Deadline", "Срок"]), "n"),
            ],
            false,
            &html! {
                @for clock in report.clocks.iter().take(SHOWN) { (clock_row(board, clock)) }
            },
        ))
    }
}

fn clock_row(board: &Board<'_>, clock: &ClockState) -> Markup {
    let is_bad = clock.status == ClockStatus::Overdue;
    html! {
        tr class=[is_bad.then_some("urgent")] {
            th scope="row" { (board.say(catalog::definition(clock.rule).title)) }
            td { (board.say(status(clock.status))) }
            td .n { (duration(board.language, clock.counted)) }
            td .n { @if let Some(within) = clock.within { (duration(board.language, within)) } }
            td .n { (local(board, clock.anchor)) }
            td .n { @if let Some(due) = clock.due { (local(board, due)) } }
        }
    }
}

fn status(status: ClockStatus) -> Text {
    match status {
        ClockStatus::Running => ["running", "идёт"],
        ClockStatus::DueSoon => ["deadline is near", "срок близко"],
        ClockStatus::Overdue => ["overdue", "просрочено"],
        ClockStatus::Stopped => ["in time", "вовремя"],
        ClockStatus::Resolved => ["done late", "сделано с опозданием"],
        ClockStatus::Retracted => ["no violation after all", "нарушения не было"],
    }
}

/// Events and clocks on one axis from the first event to now. The table below it says the same in words.
fn axis(board: &Board<'_>, report: &EntityReport) -> Markup {
    let anchors = report.clocks.iter().map(|clock| clock.anchor);
    let Some(start) = report.history.iter().map(|entry| entry.at).chain(anchors).min() else { return html! {} };
    let end = report.at.max(Timestamp(start.0 + 1));
    let x = |at: Timestamp| WIDTH * ((at.0 - start.0) as f64 / (end.0 - start.0) as f64).clamp(0.0, 1.0);
    let drawn: Vec<&ClockState> = report.clocks.iter().take(DRAWN).collect();
    let height = LINE * (drawn.len() as f64 + 2.0);
    // Working hours are drawn while they can be told apart.
    let shifts: Vec<(Timestamp, Timestamp)> = match &board.calendar {
        Some(calendar) if (end - start) < Span(60 * Span::DAY.0) => {
            let mut shifts = Vec::new();
            let mut day = calendar.day(start);
            while shifts.len() < 400 {
                shifts.extend(calendar.shifts(day).filter(|(from, to)| *to > start && *from < end));
                let next = day.tomorrow().ok().filter(|next| calendar.day_end(day) < end && *next > day);
                let Some(next) = next else { break };
                day = next;
            }
            shifts
        }
        _ => Vec::new(),
    };
    let label = board.say([
        "The journey on a time axis; the table below has the same events",
        "История на оси времени; те же события в таблице ниже",
    ]);
    html! {
        svg .axis viewBox=(format!("-8 0 {} {height}", WIDTH + 16.0)) role="img" aria-label=(label) preserveAspectRatio="none" {
            @for (from, to) in &shifts {
                rect .hours x=(x(*from)) y="0" width=(x(*to) - x(*from)) height=(height) {}
            }
            line .line x1="0" x2=(WIDTH) y1=(LINE) y2=(LINE) {}
            @for entry in report.history.iter().take(SHOWN) {
                circle class=(if is_act(entry.kind) { "act" } else { "event" }) cx=(x(entry.at)) cy=(LINE) r="6" {
                    title { (local(board, entry.at)) " " (board.say(kind(entry.kind))) }
                }
            }
            @for (line, clock) in drawn.iter().enumerate() {
                @let y = LINE * (line as f64 + 2.0);
                @let stop = clock.stopped_at.unwrap_or(report.at);
                rect class=(if clock.status == ClockStatus::Overdue { "clock late" } else { "clock" })
                    x=(x(clock.anchor)) y=(y) width=((x(stop) - x(clock.anchor)).max(2.0)) height="10" {
                    title { (board.say(catalog::definition(clock.rule).title)) }
                }
                @if let Some(due) = clock.due.filter(|due| *due <= end) {
                    line .due x1=(x(due)) x2=(x(due)) y1=(y - 4.0) y2=(y + 14.0) {}
                }
            }
        }
        p .quiet { (local(board, start)) " – " (local(board, end)) }
    }
}

fn history(board: &Board<'_>, report: &EntityReport) -> Markup {
    html! {
        (table(
            board.say(["Events", "События"]),
            &[
                (board.say(["When", "Когда"]), "n"),
                (board.say(["What", "Что"]), ""),
                (board.say(["Who", "Кто"]), ""),
                (board.say(["Details", "Подробности"]), ""),
            ],
            false,
            &html! {
                @for entry in report.history.iter().rev().take(SHOWN) {
                        tr {
                            td .n { (local(board, entry.at)) }
                            th scope="row" { (board.say(kind(entry.kind))) }
                            td { @if let Some(id) = &entry.manager { (board.manager_name(id)) } }
                            td { (details(board, entry)) }
                        }
                    }
            },
        ))
    }
}

/// What rules look at, in words.
fn details(board: &Board<'_>, entry: &HistoryEntry) -> String {
    let text = |(key, value): &(&'static str, Value)| {
        let value = match value {
            Value::Count(0 | 1) if is_flag(key) => {
                board.say(if matches!(value, Value::Count(1)) { ["yes", "да"] } else { ["no", "нет"] }).to_owned()
            }
            Value::Count(count) => count.to_string(),
            Value::Number(seconds) if key.ends_with("_seconds") => {
                duration(board.language, Span::from_seconds(*seconds))
            }
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.to_string(),
        };
        format!("{}: {value}", board.say(label(key)))
    };
    entry.details.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn is_flag(key: &str) -> bool {
    matches!(key, "reason_given" | "automatic")
}

/// The name of a detail.
fn label(key: &'static str) -> Text {
    match key {
        "pipeline_id" => ["pipeline", "воронка"],
        "stage_id" => ["stage", "этап"],
        "from_stage_id" => ["from stage", "с этапа"],
        "to_stage_id" => ["to stage", "на этап"],
        "source_id" => ["source", "источник"],
        "lead_id" => ["lead", "лид"],
        "contacts" => ["contacts", "контактов"],
        "outcome" => ["outcome", "итог"],
        "filled_fields" => ["filled fields", "заполнены поля"],
        "reason_given" => ["reason given", "причина указана"],
        "discount_percent" => ["discount, %", "скидка, %"],
        "installment_months" => ["instalments, months", "рассрочка, мес."],
        "prepayment_percent" => ["prepayment, %", "предоплата, %"],
        "approved_by" => ["approved by", "согласовано"],
        "merged" => ["merged", "объединена"],
        "into" => ["into", "в"],
        "activity" => ["activity", "дело"],
        "activity_id" => ["activity id", "номер дела"],
        "deadline" => ["deadline", "срок"],
        "direction" => ["direction", "направление"],
        "talk_seconds" => ["talk", "разговор"],
        "started_at" => ["started", "начало"],
        "channel" => ["channel", "канал"],
        "automatic" => ["automatic", "автоматически"],
        other => [other, other],
    }
}

/// Whether an event is an act of a manager towards the customer.
fn is_act(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::ActivityCompleted | EventKind::TermsOffered | EventKind::CallEnded | EventKind::MessageSent
    )
}

fn kind(kind: EventKind) -> Text {
    match kind {
        EventKind::LeadCreated => ["Lead created", "Лид создан"],
        EventKind::DealCreated => ["Deal created", "Сделка создана"],
        EventKind::StageChanged => ["Stage changed", "Смена этапа"],
        EventKind::Assigned => ["Assigned", "Назначен ответственный"],
        EventKind::Closed => ["Closed", "Закрыта"],
        EventKind::Reopened => ["Reopened", "Открыта снова"],
        EventKind::Deleted => ["Deleted", "Удалена"],
        EventKind::Merged => ["Merged", "Объединена"],
        EventKind::ContactLinked => ["Contact linked", "Контакт привязан"],
        EventKind::TermsOffered => ["Terms offered", "Предложены условия"],
        EventKind::ActivityPlanned => ["Step planned", "Шаг запланирован"],
        EventKind::ActivityCompleted => ["Step done", "Шаг выполнен"],
        EventKind::ActivityCancelled => ["Step cancelled", "Шаг отменён"],
        EventKind::InteractionReviewed => ["Conversation reviewed", "Разговор проверен"],
        EventKind::InteractionDismissed => ["No answer needed", "Ответ не нужен"],
        EventKind::AlertTaken => ["Alert taken", "Взято в работу"],
        EventKind::ManagerUpserted => ["Manager changed", "Изменён менеджер"],
        EventKind::DepartmentUpserted => ["Department changed", "Изменён отдел"],
        EventKind::LeadSnapshot | EventKind::DealSnapshot => ["State reported", "Состояние из CRM"],
        EventKind::CallStarted => ["Call started", "Звонок начался"],
        EventKind::CallEnded => ["Call", "Звонок"],
        EventKind::MessageReceived => ["Message received", "Входящее сообщение"],
        EventKind::MessageSent => ["Message sent", "Отправлено сообщение"],
    }
}

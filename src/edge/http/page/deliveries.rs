//! Owns the table of what `notify` sent to whom, about a person or about a lead or deal.

use super::text::Text;
use super::view::{Reader, table};
use crate::config::notify::Channel;
use crate::domain::alert::Status;
use crate::domain::rule::catalog;
use crate::edge::deliveries::{Delivery, Outcome, Told, latest};
use maud::{Markup, html};

/// How many deliveries are listed.
const SHOWN: usize = 30;

/// The section with the deliveries that are chosen, the latest first; nothing if nobody of this company was ever informed.
pub(super) fn section(reader: &Reader<'_>, is_chosen: impl Fn(&Told, &Delivery) -> bool) -> Markup {
    let board = reader.board;
    let told = reader.source.told(&board.snapshot.tenant);
    if told.is_empty() {
        return html! {};
    }
    let chosen = latest(&told, is_chosen);
    html! {
        section #deliveries {
            h2 { (board.say(["What was sent to whom", "Что и кому отправлено"])) }
            @if chosen.is_empty() {
                p .quiet { (board.say(["Nothing was sent.", "Ничего не отправлялось."])) }
            } @else {
                (table(
                    board.say(["What was sent to whom", "Что и кому отправлено"]),
                    &[
                        (board.say(["When", "Когда"]), "n"),
                        (board.say(["About", "О чём"]), ""),
                        (board.say(["To whom", "Кому"]), ""),
                        (board.say(["Message", "Сообщение"]), ""),
                    ],
                    true,
                    &html! { @for (told, delivery) in chosen.iter().take(SHOWN) { (row(reader, told, delivery)) } },
                ))
                @if chosen.len() > SHOWN { p { (SHOWN) " / " (chosen.len()) } }
            }
        }
    }
}

fn row(reader: &Reader<'_>, told: &Told, delivery: &Delivery) -> Markup {
    let board = reader.board;
    let person = delivery.person.as_ref();
    let key = format!("{}/{}/{}", told.alert, delivery.channel.name(), person.map_or("", |id| id.as_str()));
    let is_bad = delivery.outcome == Outcome::Refused;
    html! {
        tr data-key=(key) {
            td .n { (reader.time(delivery.at)) }
            th scope="row" {
                (board.say(catalog::definition(told.rule).title))
                @if let Some(entity) = &told.entity { small { (reader.link_to_entity(entity)) } }
            }
            td {
                @match person {
                    Some(id) => (board.manager_name(id)),
                    None => (board.say(["a list", "список"])),
                }
                small { (board.say(channel(delivery.channel))) }
            }
            td class=[is_bad.then_some("bad")] {
                (board.say(outcome(delivery.outcome)))
                small {
                    (board.say(status(delivery.status)))
                    @if let Some(id) = &told.taken_by { " · " (board.say(["taken by", "взял(а)"])) " " (board.manager_name(id)) }
                }
            }
        }
    }
}

fn channel(channel: Channel) -> Text {
    match channel {
        Channel::Bitrix24 => ["notification in Bitrix24", "уведомление в Битрикс24"],
        Channel::Todo => ["to-do in Bitrix24", "дело в Битрикс24"],
        Channel::Task => ["task in Bitrix24", "задача в Битрикс24"],
        Channel::Telegram => ["Telegram", "Telegram"],
        Channel::Mail => ["e-mail", "письмо"],
        Channel::Webhook => ["program", "программа"],
        Channel::Alertmanager => ["Alertmanager", "Alertmanager"],
    }
}

fn outcome(outcome: Outcome) -> Text {
    match outcome {
        Outcome::Sent => ["sent", "отправлено"],
        Outcome::Waiting => ["waits to be sent", "ждёт отправки"],
        Outcome::Refused => ["not delivered: the channel refused it", "не доставлено: канал отказал"],
    }
}

/// What a message says of its alert.
fn status(status: Status) -> Text {
    match status {
        Status::DueSoon => ["the deadline is near", "срок близко"],
        Status::Firing | Status::Raised => ["the norm is broken", "норма нарушена"],
        Status::Escalated => ["escalated", "эскалация"],
        Status::Resolved => ["resolved", "нарушение закрыто"],
        Status::Averted => ["done before the deadline", "сделано до срока"],
        Status::Retracted => ["no violation after all", "нарушения не было"],
    }
}

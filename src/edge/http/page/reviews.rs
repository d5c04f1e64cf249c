//! Owns the view of reviews: the calls and messages that were picked, with a form to score each, and the best and worst cases of
//! every manager to learn from.

use super::links::reviewed;
use super::text::{Text, counted, duration};
use super::view::{Reader, table};
use crate::dataflow::live::RequestedReview;
use crate::domain::event::Verdict;
use crate::domain::id::ManagerId;
use crate::domain::review::{Medium, ReviewRequest};
use crate::domain::rule::message::Language;
use crate::domain::tenant::listing::GivenReview;
use crate::edge::http::action::Scored;
use maud::{Markup, html};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many requests and cases are listed.
const SHOWN: usize = 100;
/// How many cases of a manager and a verdict are listed.
const CASES: usize = 3;

/// The checklist if the configuration has none.
const CHECKLIST: [Text; 4] = [
    ["Introduced by name and company", "Представился: имя и компания"],
    ["Found out what the customer needs", "Выяснил, что нужно клиенту"],
    ["Offered what fits the need", "Предложил то, что подходит"],
    ["Agreed on the next step", "Договорился о следующем шаге"],
];

/// What there is to review, and what was reviewed.
pub(super) struct Reviews {
    pub(super) requests: Vec<RequestedReview>,
    pub(super) given: Vec<GivenReview>,
    /// Whether the viewer may score.
    pub(super) may_write: bool,
    /// The call or message that was scored just now.
    pub(super) done: Option<String>,
}

/// The items of the checklist in a language.
fn checklist(configured: &[String], language: Language) -> Vec<String> {
    if configured.is_empty() {
        return CHECKLIST.iter().map(|item| item[language as usize].to_owned()).collect();
    }
    configured.to_vec()
}

/// The view.
pub(super) fn view(reader: &Reader<'_>, reviews: &Reviews) -> Markup {
    let board = reader.board;
    let is_chosen = |request: &ReviewRequest| board.department.is_none_or(|chosen| *chosen == request.department);
    let mut open: Vec<&ReviewRequest> = reviews
        .requests
        .iter()
        .filter(|requested| requested.answered.is_none())
        .map(|requested| &requested.request)
        .filter(|request| is_chosen(request) && reviews.done.as_deref() != Some(request.interaction.as_str()))
        .collect();
    open.sort_by_key(|request| (Reverse(request.day), request.manager.clone(), request.at));
    let n = open.len() as i64;
    let waiting = match board.language {
        Language::En => format!("{} to review", counted(board.language, n, ["conversation", "conversations"], [""; 3])),
        Language::Ru => {
            format!("Проверить {}", counted(board.language, n, [""; 2], ["разговор", "разговора", "разговоров"]))
        }
    };
    let none = board.say([
        "Nothing to review: the sample of a day is drawn at its end.",
        "Проверять нечего: выборка за день составляется в его конце.",
    ]);
    html! {
        p .top .calm[open.is_empty()] { @if open.is_empty() { (none) } @else { (waiting) } }
        @if reviews.done.is_some() {
            p .done role="status" { (board.say(["The review is saved; the figures follow in a moment.", "Оценка сохранена, показатели обновятся через мгновение."])) }
        }
        @if !open.is_empty() {
            section #reviews {
                h2 { (board.say(["A random sample, the same number for everyone", "Случайная выборка, поровну на каждого"])) }
                @if !reviews.may_write {
                    p .quiet { (board.say(["Only the roles reviewer and admin may score.", "Оценивать могут только роли reviewer и admin."])) }
                }
                ol .reviews { @for request in open.iter().take(SHOWN) { li { (entry(reader, request, reviews.may_write)) } } }
                @if open.len() > SHOWN { p { (SHOWN) " / " (open.len()) } }
            }
        }
        section #cases { (cases(reader, reviews)) }
    }
}

fn entry(reader: &Reader<'_>, request: &ReviewRequest, may_write: bool) -> Markup {
    let board = reader.board;
    let name = board.manager_name(&request.manager);
    let label = format!("{name}, {}", about(board.language, &request.medium));
    html! {
        details {
            summary {
                b { (name) } " · " (about(board.language, &request.medium)) " · " (reader.time(request.at))
            }
            p {
                @if let Some(address) = recording(request) {
                    a href=(address) target="_blank" rel="noopener noreferrer" { (board.say(["Listen to the recording ↗", "Прослушать запись ↗"])) }
                } @else {
                    span .quiet { (board.say(["There is no link to a recording.", "Ссылки на запись нет."])) }
                }
                @if let Some(known) = &request.about { " · " (reader.link_to_entity(&known.entity)) (reader.card(&known.entity)) }
            }
            @if may_write {
                form .review method="post" action=(reviewed(reader.shown, &request.tenant, &request.interaction)) aria-label=(label) {
                    fieldset {
                        legend { (board.say(["Checklist", "Чек-лист"])) }
                        @for item in checklist(&reader.settings.checklist, board.language) {
                            label { input type="checkbox" name="passed" value=(item); " " (item) }
                            input type="hidden" name="item" value=(item);
                        }
                    }
                    label { (board.say(["Score, 0 to 100", "Оценка, от 0 до 100"])) " "
                        input type="number" name="score" min="0" max="100" step="1" required inputmode="numeric"; }
                    fieldset {
                        legend { (board.say(["An example?", "Это пример?"])) }
                        @for (value, text, checked) in [
                            ("SUCCESS", ["to learn from", "как надо"], false),
                            ("FAILURE", ["to avoid", "как не надо"], false),
                            ("NEUTRAL", ["neither", "ни то ни другое"], true),
                        ] {
                            label { input type="radio" name="verdict" value=(value) checked[checked]; " " (board.say(text)) }
                        }
                    }
                    label .wide { (board.say(["Comment", "Комментарий"])) textarea name="comment" rows="2" maxlength="4000" {} }
                    button { (board.say(["Save the review", "Сохранить оценку"])) }
                }
            }
        }
    }
}

/// The address of a recording that a browser may be sent to.
fn recording(request: &ReviewRequest) -> Option<&str> {
    let Medium::Call { recording_url: Some(url), .. } = &request.medium else { return None };
    (url.starts_with("https://") || url.starts_with("http://")).then_some(url.as_str())
}

fn about(language: Language, medium: &Medium) -> String {
    match medium {
        Medium::Call { direction, talk, .. } => {
            let kind: Text = match direction.name() {
                "INBOUND" => ["inbound call", "входящий звонок"],
                _ => ["outbound call", "исходящий звонок"],
            };
            format!("{}, {}", kind[language as usize], duration(language, *talk))
        }
        Medium::Message { channel } => {
            let kind: Text = match channel.name() {
                "EMAIL" => ["e-mail", "письмо"],
                "SMS" => ["text message", "SMS"],
                _ => ["chat message", "сообщение в чате"],
            };
            kind[language as usize].into()
        }
    }
}

/// The best and worst cases, by manager.
fn cases(reader: &Reader<'_>, reviews: &Reviews) -> Markup {
    let board = reader.board;
    let mut by_manager: BTreeMap<&ManagerId, [Vec<&GivenReview>; 2]> = BTreeMap::new();
    for review in reviews.given.iter().filter(|review| review.verdict != Verdict::Neutral) {
        if board.department.is_some_and(|chosen| *chosen != review.department) {
            continue;
        }
        let index = usize::from(review.verdict == Verdict::Failure);
        by_manager.entry(&review.manager).or_default()[index].push(review);
    }
    for [best, worst] in by_manager.values_mut() {
        best.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.at.cmp(&a.at)));
        worst.sort_by(|a, b| a.score.total_cmp(&b.score).then(b.at.cmp(&a.at)));
    }
    let requests: BTreeMap<&str, &ReviewRequest> =
        reviews.requests.iter().map(|known| (known.request.interaction.as_str(), &known.request)).collect();
    html! {
        h2 { (board.say(["Best and worst cases", "Лучшие и худшие примеры"])) }
        @if by_manager.is_empty() {
            p .quiet { (board.say(["No case is marked yet.", "Примеры ещё не отмечены."])) }
        } @else {
            (table(
                board.say(["Best and worst cases", "Лучшие и худшие примеры"]),
                &[
                    (board.say(["Name", "Имя"]), ""),
                    (board.say(["To learn from", "Как надо"]), ""),
                    (board.say(["To avoid", "Как не надо"]), ""),
                ],
                false,
                &html! {
                    @for (manager, lists) in &by_manager {
                        tr {
                            th scope="row" { a href=(reader.shown.manager(&board.snapshot.tenant, manager)) { (board.manager_name(manager)) } }
                            @for list in lists {
                                td { @for review in list.iter().take(CASES) { (case(reader, review, requests.get(review.interaction.as_str()).copied())) } }
                            }
                        }
                    }
                },
            ))
        }
    }
}

fn case(reader: &Reader<'_>, review: &GivenReview, request: Option<&ReviewRequest>) -> Markup {
    let board = reader.board;
    html! {
        p .case {
            b { (format!("{:.0}", review.score)) } " · " (reader.time(request.map_or(review.at, |request| request.at)))
            @if let Some(request) = request {
                " · " (about(board.language, &request.medium))
                @if let Some(address) = recording(request) {
                    " · " a href=(address) target="_blank" rel="noopener noreferrer" { (board.say(["recording ↗", "запись ↗"])) }
                }
                @if let Some(known) = &request.about { " · " (reader.link_to_entity(&known.entity)) }
            }
        }
    }
}

/// What a form says.
pub(super) fn of_form(body: &[u8]) -> Result<Scored, String> {
    let mut scored = Scored::default();
    let (mut items, mut passed) = (Vec::new(), Vec::new());
    let mut score = None;
    for (key, value) in form_urlencoded::parse(body) {
        match &*key {
            "item" => items.push(value.into_owned()),
            "passed" => passed.push(value.into_owned()),
            "score" => score = value.trim().parse().ok(),
            "verdict" => scored.verdict = value.into_owned(),
            "comment" => scored.comment = Some(value.into_owned()),
            _ => {}
        }
    }
    scored.score = score.ok_or("expected score: a number from 0 to 100")?;
    scored.checklist = items.into_iter().map(|item| (item.clone(), passed.contains(&item))).collect();
    scored.checked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_review() {
        let scored =
            of_form(b"item=A&passed=B%20c&item=B+c&score=70&verdict=SUCCESS&comment=%D1%85").expect("a review");
        assert_eq!(scored.checklist, [("A".into(), false), ("B c".into(), true)]);
        assert_eq!((scored.score, scored.verdict.as_str(), scored.comment.as_deref()), (70.0, "SUCCESS", Some("х")));
        for body in [
            "",
            "score=&verdict=SUCCESS",
            "score=101&verdict=SUCCESS",
            "score=NaN&verdict=SUCCESS",
            "score=1&verdict=x",
        ] {
            assert!(of_form(body.as_bytes()).is_err(), "{body}");
        }
    }
}

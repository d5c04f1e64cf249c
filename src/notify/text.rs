//! Owns what messages say, in English and Russian. The channels only add their markup.

use super::case::is_over;
use super::channel::{Item, Job};
use super::link::{self, Answer};
pub use super::message::{Line, Message};
use crate::config::Page;
use crate::config::notify::Links;
use crate::domain::alert::{Alert, Status};
use crate::domain::rule::catalog;
use crate::domain::rule::message::{self, Language};
use crate::domain::time::Timestamp;

/// What texts need besides the message.
#[derive(Clone, Debug, Default)]
pub struct Wording {
    /// Links by which people answer.
    pub links: Option<Links>,
    /// Addresses of cards.
    pub cards: Page,
}

pub(super) fn choose<T>(language: Language, english: T, russian: T) -> T {
    match language {
        Language::En => english,
        Language::Ru => russian,
    }
}

/// A number with the form of a Russian noun: one, two to four, five and more.
pub fn russian_count(n: usize, [one, few, many]: [&'static str; 3]) -> &'static str {
    match (n % 100, n % 10) {
        (11..=14, _) => many,
        (_, 1) => one,
        (_, 2..=4) => few,
        _ => many,
    }
}

/// "3 violations".
pub fn violations(n: usize, language: Language) -> String {
    match language {
        Language::En => format!("{n} violation{}", if n == 1 { "" } else { "s" }),
        Language::Ru => format!("{n} {}", russian_count(n, ["нарушение", "нарушения", "нарушений"])),
    }
}

/// What happened, in one sentence that begins with a capital letter and names things as people do.
fn sentence(alert: &Alert, manager: Option<&str>, language: Language) -> String {
    let named = Alert { subject: subject(alert, manager, language).into(), ..alert.clone() };
    let sentence = message::of(&named, language);
    let mut letters = sentence.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => sentence,
    }
}

/// The subject of an alert in words: "lead 17", "customer 06bdaf", the name of the manager.
fn subject(alert: &Alert, manager: Option<&str>, language: Language) -> String {
    let Some((kind, rest)) = alert.subject.split_once(':') else { return alert.subject.to_string() };
    let (id, part) = rest.rsplit_once('/').map_or((rest, None), |(id, part)| (id, Some(part)));
    let whole = alert.entity.as_ref().map_or(id, |entity| entity.id.as_str());
    let with_part = |text: String| match part.filter(|_| whole.len() < rest.len()) {
        Some(part) => format!("{text}, {part}"),
        None => text,
    };
    match kind {
        "lead" => with_part(choose(language, format!("lead {whole}"), format!("лид {whole}"))),
        "deal" => with_part(choose(language, format!("deal {whole}"), format!("сделка {whole}"))),
        "contact" => {
            let key = rest.get(..6).unwrap_or(rest);
            choose(language, format!("customer {key}"), format!("клиент {key}"))
        }
        "manager" => with_part(manager.unwrap_or(id).to_owned()),
        _ => alert.subject.to_string(),
    }
}

fn label(status: Status, language: Language) -> &'static str {
    let [english, russian] = match status {
        Status::DueSoon => ["Due soon", "Скоро срок"],
        Status::Firing | Status::Raised => ["Violation", "Нарушение"],
        Status::Escalated => ["Still not done", "До сих пор не сделано"],
        Status::Resolved => ["Over", "Вопрос закрыт"],
        Status::Averted => ["Done in time", "Сделано в срок"],
        Status::Retracted => ["No violation after all", "Нарушения не было"],
    };
    choose(language, english, russian)
}

impl Wording {
    /// What a message says; `now` is the wall clock.
    pub fn of(&self, job: &Job, now: Timestamp) -> Message {
        if let Some(text) = &job.text {
            return text.clone();
        }
        let language = job.address.language;
        let lines: Vec<Line> = job.items.iter().map(|item| self.line(job, item, now)).collect();
        let all = lines.len() + job.more;
        let open = job.open;
        let title = match (lines.as_slice(), job.more) {
            ([line], 0) => format!("{}: {}", line.label, line.rule),
            _ if job.is_summary => choose(
                language,
                format!("While no messages were sent: {}", violations(all, language)),
                format!("Пока сообщения не отправлялись: {}", violations(all, language)),
            ),
            _ if open < all => choose(
                language,
                format!("{}, {open} of them still open", violations(all, language)),
                format!("{}, из них открыто: {open}", violations(all, language)),
            ),
            _ => violations(all, language),
        };
        let more =
            (job.more > 0).then(|| choose(language, format!("and {} more", job.more), format!("и ещё {}", job.more)));
        Message { title, lines, more }
    }

    fn line(&self, job: &Job, Item { alert, manager, taken_by }: &Item, now: Timestamp) -> Line {
        let language = job.address.language;
        let is_over = is_over(alert.status);
        Line {
            label: label(alert.status, language).to_owned(),
            rule: catalog::definition(alert.rule).title[language as usize],
            sentence: sentence(alert, manager.as_deref(), language),
            manager: manager.clone(),
            taken_by: taken_by.clone(),
            is_over,
            card: self.card(alert),
            answers: if is_over || taken_by.is_some() { Vec::new() } else { self.answers(job, alert, now) },
        }
    }

    /// The address of the lead or deal in the CRM.
    pub fn card(&self, alert: &Alert) -> Option<String> {
        self.cards.card(&alert.tenant, alert.entity.as_ref()?)
    }

    fn answers(&self, job: &Job, alert: &Alert, now: Timestamp) -> Vec<(&'static str, String)> {
        let Some((links, person)) = self.links.as_ref().zip(job.address.person.as_ref()) else { return Vec::new() };
        let can = |answer: Answer| answer == Answer::Taken || alert.interaction.is_some();
        let link =
            |answer: Answer| (name(answer, job.address.language), link::address(links, answer, alert, person, now));
        Answer::ALL.into_iter().filter(|answer| can(*answer)).map(link).collect()
    }
}

impl Line {
    /// A line of a digest.
    pub(super) fn of_digest(label: String, sentence: String) -> Self {
        let (manager, taken_by, card, answers) = Default::default();
        Self { label, rule: "", sentence, manager, taken_by, is_over: false, card, answers }
    }
}

/// The name of an answer, as on a button.
pub fn name(answer: Answer, language: Language) -> &'static str {
    match answer {
        Answer::Taken => choose(language, "I take care of it", "Беру в работу"),
        Answer::Dismissed => choose(language, "No answer needed", "Ответ не нужен"),
    }
}

/// "manager: Vera", and who takes care.
pub fn about_people(line: &Line, language: Language) -> Option<String> {
    let manager =
        line.manager.as_ref().map(|name| choose(language, format!("Manager: {name}"), format!("Менеджер: {name}")));
    let taken = line
        .taken_by
        .as_ref()
        .map(|name| choose(language, format!("taken by {name}"), format!("взято в работу: {name}")));
    let parts: Vec<String> = manager.into_iter().chain(taken).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What the link to a card is called.
pub fn open_card(language: Language) -> &'static str {
    choose(language, "Open in the CRM", "Открыть в CRM")
}

/// What the numbers of a customer are called.
pub fn call_back(language: Language) -> &'static str {
    choose(language, "Call back", "Перезвонить")
}

/// A text in HTML.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            letter if letter.is_control() && letter != '\n' => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A text without what Bitrix24 takes for markup.
pub fn bb(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            // Its codes have no escapes.
            '[' => '(',
            ']' => ')',
            letter if letter.is_control() && letter != '\n' => ' ',
            letter => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn russian_numbers_have_the_right_form() {
        let forms = |n| violations(n, Language::Ru);
        assert_eq!(
            [1, 2, 5, 11, 12, 21, 22, 25, 111].map(forms),
            [
                "1 нарушение",
                "2 нарушения",
                "5 нарушений",
                "11 нарушений",
                "12 нарушений",
                "21 нарушение",
                "22 нарушения",
                "25 нарушений",
                "111 нарушений"
            ]
        );
        assert_eq!([1, 2].map(|n| violations(n, Language::En)), ["1 violation", "2 violations"]);
    }

    #[test]
    fn subjects_are_named_as_people_do() {
        use crate::domain::id::EntityId;
        use crate::domain::rule::Rule;
        let named = |subject_id: &str, entity: Option<EntityId>| {
            let alert = Alert { entity, ..Alert::sample("acme", Rule::Neglected, subject_id, Timestamp(0)) };
            Language::ALL.map(|language| subject(&alert, Some("Vera"), language))
        };
        assert_eq!(named("lead:17", Some(EntityId::lead("17"))), ["lead 17", "лид 17"]);
        assert_eq!(named("deal:D/7/NEW", Some(EntityId::deal("D/7"))), ["deal D/7, NEW", "сделка D/7, NEW"]);
        assert_eq!(named("contact:06bdaf5a", None), ["customer 06bdaf", "клиент 06bdaf"]);
        assert_eq!(named("manager:v1/7d", None), ["Vera, 7d", "Vera, 7d"]);
        assert_eq!(named("topic:crm", None), ["topic:crm", "topic:crm"]);
    }

    #[test]
    fn markup_of_ids_and_names_is_taken_away() {
        assert_eq!(html("<b onclick=\"x\">&\u{7}"), "&lt;b onclick=&quot;x&quot;&gt;&amp; ");
        assert_eq!(bb("[url=http://x]y[/url]"), "(url=http://x)y(/url)");
        use crate::domain::id::EntityId;
        use crate::domain::rule::Rule;
        let lead_url = Some("https://{tenant}.example.com/lead/{id}/".into());
        let wording = Wording { cards: Page { lead_url, ..Page::default() }, ..Wording::default() };
        let entity = Some(EntityId::lead("../\"x?"));
        let alert = Alert { entity, ..Alert::sample("a.b", Rule::Neglected, "lead:1", Timestamp(0)) };
        assert_eq!(wording.card(&alert).as_deref(), Some("https://a%2Eb.example.com/lead/%2E%2E%2F%22x%3F/"));
    }
}

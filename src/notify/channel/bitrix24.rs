//! Notifications, to-dos and tasks in Bitrix24, by an incoming webhook. Methods:
//! `im.notify.personal.add`, `crm.activity.todo.add` and `tasks.task.add` of <https://apidocs.bitrix24.com>.
//!
//! **One notification follows an alert**: a notification with the same tag replaces the earlier one. **A task is made once**:
//! REST 3 recognizes a repeated request by its `Idempotency-Key`. A to-do cannot be recognized.
//!
//! Titles of to-dos and tasks begin with [`OWN_TITLE`]: the gateway does not take them for the work or the plan of a manager.

use super::{Job, Outcome, Sender};
use crate::config::notify::Channel;
use crate::domain::alert::Status;
use crate::domain::id::EntityKind;
use crate::domain::rule::message::Language;
use crate::domain::time::Span;
use crate::edge::clock;
use crate::edge::http_client::HttpClient;
use crate::gateway::bitrix24::OWN_TITLE;
use crate::notify::text::{self, Message, Wording, bb};
use serde_json::{Value, json};

/// The longest text of a notification, in characters.
const MAX_TEXT: usize = 20_000;

/// Sends notifications, to-dos and tasks.
pub struct Bitrix24 {
    client: HttpClient,
    /// The address of the webhook with a slash at the end. Secret.
    url: String,
    wording: Wording,
}

impl Bitrix24 {
    /// The portal of a webhook.
    pub fn new(client: HttpClient, url: &str, wording: Wording) -> Self {
        let url = format!("{}/", url.trim_end_matches('/'));
        Self { client, url, wording }
    }

    fn call(&self, method: &str, headers: &[(&str, &str)], body: &Value) -> Result<Value, Outcome> {
        let base = match method {
            // REST 3 has another path.
            "tasks.task.add" => self.url.replacen("/rest/", "/rest/api/", 1),
            _ => self.url.clone(),
        };
        let answer = self.client.post(&format!("{base}{method}"), headers, &body.to_string());
        let answer = answer.map_err(|kind| Outcome::of_failure(Span(10_000), kind))?;
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let code = match &json["error"] {
            Value::String(code) => code.to_ascii_uppercase(),
            Value::Object(error) => error.get("code").and_then(Value::as_str).unwrap_or_default().to_ascii_uppercase(),
            _ => String::new(),
        };
        match (answer.status, code.as_str()) {
            (200, "") if json.get("result").is_some_and(|result| *result != Value::Bool(false)) => Ok(json),
            (_, "QUERY_LIMIT_EXCEEDED") => Err(Outcome::Later(Span(3_000), "query_limit_exceeded")),
            (_, "OPERATION_TIME_LIMIT") | (429, _) => Err(Outcome::Later(Span(60_000), "operation_time_limit")),
            (_, "OVERLOAD_LIMIT") => Err(Outcome::Later(Span(600_000), "overload_limit")),
            (401 | 403, _) => Err(Outcome::Later(Span(60_000), "no_right")),
            (200, _) | (400, _) | (404, _) | (422, _) => Err(Outcome::Refused("bad_request")),
            (500 | 504, _) => Err(Outcome::Unknown(Span(15_000), "server_error")),
            _ => Err(Outcome::Later(Span(15_000), "server_error")),
        }
    }

    /// A notification, which replaces the earlier one of its alert.
    fn notification(&self, job: &Job, message: &Message) -> Result<Value, Outcome> {
        let tag = job.replaces.clone().unwrap_or_else(|| tag(job));
        let body = json!({
            "USER_ID": job.address.to.parse::<i64>().unwrap_or_default(),
            "MESSAGE": notification_text(message, job.address.language),
            "TAG": tag,
            // The portal wants it with a tag of a webhook.
            "CLIENT_ID": "funnelwatch",
        });
        self.call("im.notify.personal.add", &[], &body)
    }

    /// A to-do on the card.
    fn todo(&self, job: &Job, message: &Message) -> Result<Value, Outcome> {
        let Some((owner_type, owner)) = card(job) else { return Err(Outcome::Refused("no_card")) };
        let deadline =
            job.items.first().and_then(|item| item.alert.due_at).map_or(clock::now(), |due| due.max(clock::now()));
        let body = json!({
            "ownerTypeId": owner_type,
            "ownerId": owner,
            "deadline": deadline.to_string(),
            "title": format!("{OWN_TITLE}{}", bb(&message.title)),
            "description": with_contacts(plain(message, job.address.language), job),
            "responsibleId": job.address.to.parse::<i64>().unwrap_or_default(),
            "pingOffsets": [0],
        });
        self.call("crm.activity.todo.add", &[], &body)
    }

    /// A task.
    fn task(&self, job: &Job, message: &Message) -> Result<Value, Outcome> {
        let letter = |kind| if kind == EntityKind::Lead { "L" } else { "D" };
        let entity = job.items.first().and_then(|item| item.alert.entity.as_ref());
        let cards: Vec<String> = entity.iter().map(|entity| format!("{}_{}", letter(entity.kind), entity.id)).collect();
        let fields = json!({
            "title": format!("{OWN_TITLE}{}", bb(&message.title)),
            "description": plain(message, job.address.language),
            "responsibleId": job.address.to.parse::<i64>().unwrap_or_default(),
            "crmItemIds": cards,
        });
        let key: String = job.key.chars().filter(char::is_ascii_graphic).take(255).collect();
        self.call("tasks.task.add", &[("idempotency-key", &key)], &json!({"fields": fields}))
    }
}

impl Sender for Bitrix24 {
    fn send(&mut self, job: &Job) -> Outcome {
        let message = self.wording.of(job, clock::now());
        let sent = match job.address.channel {
            Channel::Todo => self.todo(job, &message),
            Channel::Task => self.task(job, &message),
            _ => self.notification(job, &message),
        };
        match sent {
            Ok(_) if job.address.channel == Channel::Bitrix24 => {
                Outcome::Sent(Some(job.replaces.clone().unwrap_or_else(|| tag(job))))
            }
            Ok(answer) => {
                let id =
                    ["/result/id", "/result/item/id", "/result/task/id"].iter().find_map(|path| answer.pointer(path));
                Outcome::Sent(id.map(|id| id.to_string().trim_matches('"').to_owned()))
            }
            Err(outcome) => outcome,
        }
    }

    fn check(&mut self) -> Result<String, String> {
        let scopes = match self.call("scope", &[], &json!({})) {
            Ok(answer) => answer["result"].clone(),
            Err(Outcome::Later(_, "no_right")) => return Err("the portal refuses the webhook".into()),
            Err(Outcome::Later(_, kind) | Outcome::Unknown(_, kind) | Outcome::Refused(kind)) => {
                return Err(format!("the portal does not answer ({kind})"));
            }
            Err(Outcome::Sent(_)) => return Err("the portal does not answer".into()),
        };
        let has = |scope: &str| scopes.as_array().is_some_and(|scopes| scopes.iter().any(|found| found == scope));
        let missing: Vec<&str> = ["im", "crm", "task"].into_iter().filter(|scope| !has(scope)).collect();
        if missing.is_empty() {
            Ok("the webhook has the rights im, crm and task".into())
        } else {
            Err(format!("the webhook lacks the right {}", missing.join(" and ")))
        }
    }
}

/// The tag of the notification about a message's alerts: the same for each status.
fn tag(job: &Job) -> String {
    if job.items.is_empty() {
        return format!("FUNNELWATCH|{}", job.key);
    }
    let first = job.items.iter().map(|item| item.alert.id).min().unwrap_or_default();
    format!("FUNNELWATCH|{first}|{}", job.items.len() + job.more)
}

/// The type and the id of the card that an alert is about.
fn card(job: &Job) -> Option<(u8, i64)> {
    let entity = job.items.first()?.alert.entity.as_ref()?;
    let owner_type = match entity.kind {
        EntityKind::Lead => 1,
        EntityKind::Deal => 2,
    };
    Some((owner_type, entity.id.parse().ok()?))
}

fn notification_text(message: &Message, language: Language) -> String {
    let mut text = format!("[b]{}[/b]", bb(&message.title));
    for line in &message.lines {
        text += "\n";
        if message.lines.len() > 1 {
            text += &format!("[b]{}[/b]: ", bb(&line.label));
        }
        text += &bb(&line.sentence);
        if let Some(people) = text::about_people(line, language) {
            text += &format!("\n{}", bb(&people));
        }
        if let Some(card) = &line.card {
            text += &format!("\n[url={}]{}[/url]", card.replace(['[', ']'], ""), text::open_card(language));
        }
        for (label, address) in &line.answers {
            text += &format!("\n[url={address}]{label}[/url]");
        }
    }
    if let Some(more) = &message.more {
        text += &format!("\n{}", bb(more));
    }
    text.chars().take(MAX_TEXT).collect()
}

/// A text with whom to call back.
fn with_contacts(text: String, job: &Job) -> String {
    if job.call_back.is_empty() {
        return text;
    }
    format!("{text}\n{}: {}", text::call_back(job.address.language), bb(&job.call_back.join(", ")))
}

fn plain(message: &Message, language: Language) -> String {
    let line = |line: &text::Line| {
        let people = text::about_people(line, language);
        let answers = line.answers.iter().map(|(label, address)| format!("{label}: {address}"));
        std::iter::once(bb(&line.sentence))
            .chain(people.map(|people| bb(&people)))
            .chain(answers)
            .collect::<Vec<_>>()
            .join("\n")
    };
    message.lines.iter().map(line).chain(message.more.clone()).collect::<Vec<_>>().join("\n\n")
}

/// Whether a status asks for work, so that a to-do or task makes sense.
pub const fn asks_for_work(status: Status) -> bool {
    matches!(status, Status::DueSoon | Status::Firing | Status::Escalated | Status::Raised)
}

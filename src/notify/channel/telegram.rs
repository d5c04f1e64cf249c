//! Messages of a Telegram bot, which are edited until their alert is over. Limits and errors: <https://core.telegram.org/bots/api>
//! and <https://core.telegram.org/bots/faq>.
//!
//! **Limits.** One message a second to a chat, twenty a minute to a group, thirty a second in all; after 429 the bot waits as
//! long as it is informed. A group that became a supergroup has another id, which is used until the configuration has it.

use super::{Job, Outcome, Sender as Sends};
use crate::codec::ascii::hex;
use crate::config::notify::Telegram as Settings;
use crate::domain::rule::message::Language;
use crate::domain::time::{Span, Timestamp};
use crate::edge::clock;
use crate::edge::http_client::{HttpAnswer, HttpClient, HttpClientSettings};
use crate::notify::asked::{Asked, Refusal, done};
use crate::notify::link::{Answer, Claim};
use crate::notify::text::{self, Message, Wording, html};
use crossbeam_channel::Sender;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The longest message, in characters.
const MAX_TEXT: usize = 4096;
/// The pause between two messages to a person, and to a group.
const PAUSES: [Span; 2] = [Span(1_050), Span(3_100)];
/// The pause between any two messages.
const PAUSE: Duration = Duration::from_millis(40);
/// The chats whose last message is remembered.
const MAX_CHATS: usize = 10_000;

/// Sends messages of a bot.
pub struct Telegram {
    client: HttpClient,
    /// The address of the bot's methods. Secret.
    base: String,
    wording: Wording,
    /// When a message may be sent to a chat again.
    free_at: BTreeMap<String, Timestamp>,
    /// The new ids of groups.
    moved: BTreeMap<String, String>,
}

impl Telegram {
    /// A bot with this token.
    pub fn new(client: HttpClient, api_url: &str, token: &str, wording: Wording) -> Self {
        let base = format!("{api_url}/bot{token}");
        Self { client, base, wording, free_at: BTreeMap::new(), moved: BTreeMap::new() }
    }

    fn call(&self, method: &str, body: &Value) -> Result<Answered, &'static str> {
        let answer = self.client.post(&format!("{}/{method}", self.base), &[], &body.to_string())?;
        Ok(Answered::read(&answer))
    }

    fn try_send(&mut self, job: &Job) -> Outcome {
        let to = self.moved.get(&job.address.to).unwrap_or(&job.address.to).clone();
        let now = clock::now();
        if let Some(free_at) = self.free_at.get(&to).filter(|free_at| **free_at > now) {
            return Outcome::Later(Span(free_at.0 - now.0), "paced");
        }
        let message = self.wording.of(job, now);
        let mut body = json!({
            "chat_id": to,
            "text": body(&message, job.address.language),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": true},
            "reply_markup": {"inline_keyboard": buttons(job, &message)},
        });
        let method = match &job.replaces {
            Some(message) => {
                body["message_id"] = message.parse::<i64>().unwrap_or_default().into();
                "editMessageText"
            }
            None => "sendMessage",
        };
        let pause = PAUSES[usize::from(to.starts_with('-'))];
        if self.free_at.len() > MAX_CHATS {
            self.free_at.clear();
        }
        self.free_at.insert(to.clone(), now + pause);
        std::thread::sleep(PAUSE);
        let answered = match self.call(method, &body) {
            Ok(answered) => answered,
            Err(kind) => return Outcome::of_failure(Span(5_000), kind),
        };
        if answered.ok {
            return Outcome::Sent(answered.message_id.map(|id| id.to_string()).or_else(|| job.replaces.clone()));
        }
        if let Some(moved) = answered.moved_to {
            tracing::warn!("telegram: a group became a supergroup: replace its id in the configuration by {moved}");
            self.moved.insert(job.address.to.clone(), moved.to_string());
            return Outcome::Later(Span::ZERO, "moved");
        }
        match (answered.code, answered.retry_after) {
            (_, Some(seconds)) => {
                self.free_at.insert(to, now + Span(seconds.saturating_mul(1000)));
                Outcome::Later(Span(seconds.saturating_mul(1000)), "too_many_requests")
            }
            (429, None) => Outcome::Later(Span(30_000), "too_many_requests"),
            (400, _) if answered.says("message is not modified") => Outcome::Sent(job.replaces.clone()),
            // Somebody deleted it, or it is too old to be edited: nothing is left to follow the alert.
            (400, _) if job.replaces.is_some() => Outcome::Sent(job.replaces.clone()),
            (400 | 403, _) => Outcome::Refused(if answered.code == 403 { "blocked_by_user" } else { "bad_request" }),
            (401 | 404, _) => Outcome::Later(Span(60_000), "token_refused"),
            (500 | 504, _) => Outcome::Unknown(Span(10_000), "server_error"),
            _ => Outcome::Later(Span(10_000), "server_error"),
        }
    }
}

impl Sends for Telegram {
    fn send(&mut self, job: &Job) -> Outcome {
        self.try_send(job)
    }

    fn check(&mut self) -> Result<String, String> {
        match self.call("getMe", &json!({})) {
            Ok(answered) if answered.ok => Ok("the bot is known to Telegram".into()),
            Ok(answered) if matches!(answered.code, 401 | 404) => Err("Telegram does not know the token".into()),
            Ok(answered) => Err(format!("Telegram answers {}", answered.code)),
            Err(kind) => Err(format!("Telegram cannot be reached ({kind})")),
        }
    }
}

/// What Telegram answers.
#[derive(Debug, Default)]
struct Answered {
    ok: bool,
    code: u64,
    description: String,
    message_id: Option<i64>,
    retry_after: Option<i64>,
    moved_to: Option<i64>,
}

impl Answered {
    fn read(answer: &HttpAnswer) -> Self {
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let number = |path: &str| json.pointer(path).and_then(Value::as_i64);
        Self {
            ok: json["ok"].as_bool().unwrap_or_default(),
            code: json["error_code"].as_u64().unwrap_or(u64::from(answer.status)),
            description: json["description"].as_str().unwrap_or_default().to_ascii_lowercase(),
            message_id: number("/result/message_id"),
            retry_after: number("/parameters/retry_after").filter(|seconds| (0..=86_400).contains(seconds)),
            moved_to: number("/parameters/migrate_to_chat_id"),
        }
    }

    fn says(&self, text: &str) -> bool {
        self.description.contains(text)
    }
}

/// The text of a message in Telegram's HTML.
fn body(message: &Message, language: Language) -> String {
    let mut text = format!("<b>{}</b>", html(&message.title));
    for line in &message.lines {
        let mut paragraph = String::from("\n\n");
        if message.lines.len() > 1 || message.more.is_some() {
            paragraph += &format!("<b>{}</b>: ", html(&line.label));
        }
        paragraph += &html(&line.sentence);
        if let Some(people) = text::about_people(line, language) {
            paragraph += &format!("\n{}", html(&people));
        }
        if let Some(card) = &line.card {
            paragraph += &format!("\n<a href=\"{}\">{}</a>", html(card), text::open_card(language));
        }
        if text.chars().count() + paragraph.chars().count() > MAX_TEXT - 100 {
            text += "\n…";
            break;
        }
        text += &paragraph;
    }
    if let Some(more) = &message.more {
        text += &format!("\n\n{}", html(more));
    }
    text
}

/// Buttons for a message about one open alert: Telegram proves who presses them.
fn buttons(job: &Job, message: &Message) -> Value {
    let ([item], [line]) = (job.items.as_slice(), message.lines.as_slice()) else { return json!([]) };
    if line.is_over || line.taken_by.is_some() || job.address.person.is_none() {
        return json!([]);
    }
    let button = |answer: Answer| {
        let data = format!("{}{}", answer.name(), hex(item.alert.id.as_bytes()));
        json!([{"text": text::name(answer, job.address.language), "callback_data": data}])
    };
    let can = |answer: &Answer| *answer == Answer::Taken || item.alert.interaction.is_some();
    Answer::ALL.into_iter().filter(can).map(button).collect()
}

/// Reads presses of buttons by long polling: a bot needs no address that Telegram can reach.
pub struct Buttons {
    client: HttpClient,
    base: String,
    language: Language,
    asked: Sender<Asked>,
}

/// How long Telegram may wait for a press, in seconds.
const POLL_SECONDS: u64 = 25;
/// The pause after an error, and while another process polls.
const POLL_PAUSE: Duration = Duration::from_secs(10);

impl Buttons {
    /// Starts the thread, which runs until the process ends.
    pub fn start(bot: &Settings, language: Language, asked: Sender<Asked>) -> Result<(), String> {
        let time = Duration::from_secs(POLL_SECONDS + 10);
        let settings = HttpClientSettings { ca: None, time, max_bytes: 4 << 20, name: "notify" };
        let client = HttpClient::new(settings).map_err(|error| error.to_string())?;
        let buttons = Self { client, base: format!("{}/bot{}", bot.api_url, bot.token.0), language, asked };
        let thread = std::thread::Builder::new().name("buttons".into());
        thread.spawn(move || buttons.run()).map(drop).map_err(|error| error.to_string())
    }

    fn run(&self) {
        let mut next = 0;
        let mut is_away = false;
        loop {
            let body = json!({"offset": next, "timeout": POLL_SECONDS, "allowed_updates": ["callback_query"]});
            let answer = self.client.post(&format!("{}/getUpdates", self.base), &[], &body.to_string());
            let updates: Option<Value> = match &answer {
                Ok(answer) if answer.status == 200 => serde_json::from_slice(&answer.body).ok(),
                _ => None,
            };
            let Some(updates) = updates else {
                if !std::mem::replace(&mut is_away, true) {
                    let reason = answer.map_or_else(str::to_owned, |answer| format!("status {}", answer.status));
                    tracing::warn!("telegram: buttons cannot be read ({reason})");
                }
                std::thread::sleep(POLL_PAUSE);
                continue;
            };
            is_away = false;
            for update in updates["result"].as_array().into_iter().flatten() {
                if let Some(id) = update["update_id"].as_i64() {
                    next = next.max(id.saturating_add(1));
                }
                self.press(&update["callback_query"]);
            }
        }
    }

    /// Passes a press on, and informs the person what became of it.
    fn press(&self, query: &Value) {
        let Some(id) = query["id"].as_str() else { return };
        let said = self.decide(query).map_or_else(|refusal| refusal.text(self.language), |()| done(self.language));
        let body = json!({"callback_query_id": id, "text": said});
        if let Err(kind) = self.client.post(&format!("{}/answerCallbackQuery", self.base), &[], &body.to_string()) {
            tracing::debug!("telegram: the answer to a press: {kind}");
        }
    }

    fn decide(&self, query: &Value) -> Result<(), Refusal> {
        let data = query["data"].as_str().unwrap_or_default();
        let answer =
            Answer::ALL.into_iter().find(|answer| data.starts_with(answer.name())).ok_or(Refusal::NotRecipient)?;
        let alert = Uuid::parse_str(data.get(1..).unwrap_or_default()).map_err(|_| Refusal::NotRecipient)?;
        // In a chat with a person, its id is that of the person.
        let (chat, from) = (&query["message"]["chat"]["id"], &query["from"]["id"]);
        let chat = chat.as_i64().filter(|chat| Some(*chat) == from.as_i64()).ok_or(Refusal::NotRecipient)?;
        let claim = Claim { answer, alert, valid_until: clock::now() + Span::DAY, person: String::new() };
        let (reply, answered) = oneshot::channel();
        let token = format!("telegram-{}-{}", answer.name(), alert.simple());
        let asked = Asked { claim, token, chat: Some(chat.to_string()), reply };
        self.asked.try_send(asked).map_err(|_| Refusal::NotStored)?;
        answered.blocking_recv().unwrap_or(Err(Refusal::NotStored))
    }
}

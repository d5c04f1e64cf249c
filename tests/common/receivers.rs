//! Programs that receive messages, faked from what their documentation says: Telegram, Bitrix24, a signed webhook, an
//! Alertmanager, and the API that knows people. All on one real socket; each can be away, refuse, or lose an answer.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub(crate) const BOT_TOKEN: &str = "123456:AAbbCCddEEffGGhhIIjj-KKll_MM";
pub(crate) const PORTAL_CODE: &str = "s3cretportalcode42";
pub(crate) const HOOK_SECRET: &str = "hook-secret-0123456789";
pub(crate) const API_TOKEN: &str = "api-token-0123456789";

/// How long a request for updates waits, though it asks for more.
const LONGEST_POLL: Duration = Duration::from_secs(2);
/// Telegram takes about one message a second for a chat; slightly less, because the sender's clock starts earlier.
const CHAT_PAUSE: Duration = Duration::from_millis(900);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
    pub(crate) body: Value,
}

/// What a request is answered with in place of the usual answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This answer.
    Answer(u16, Value),
    /// The request has its effect, and its answer is lost.
    Lost,
    /// The connection is closed.
    Away,
}

/// A message of the bot with all its texts, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChatMessage {
    pub(crate) chat: i64,
    pub(crate) id: i64,
    pub(crate) texts: Vec<String>,
    pub(crate) buttons: Vec<(String, String)>,
}

/// A notification with all its texts, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notification {
    pub(crate) user: i64,
    pub(crate) tag: String,
    pub(crate) texts: Vec<String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) requests: Vec<Request>,
    /// By the end of a path, until each is used up.
    pub(crate) faults: Vec<(String, VecDeque<Fault>)>,
    pub(crate) is_away: bool,
    pub(crate) messages: Vec<ChatMessage>,
    last_in_chat: BTreeMap<i64, Instant>,
    /// The messages that came too soon after another one.
    pub(crate) too_soon: usize,
    /// The new ids of groups.
    pub(crate) moved: BTreeMap<i64, i64>,
    updates: Vec<Value>,
    last_update: i64,
    /// What people who pressed a button were informed.
    pub(crate) said: Vec<(String, String)>,
    pub(crate) notifications: Vec<Notification>,
    pub(crate) todos: Vec<Value>,
    pub(crate) tasks: Vec<(String, Value)>,
    /// The alerts that the webhook received, each with its idempotency key, without repetitions of a key.
    pub(crate) hooked: Vec<(String, Value)>,
    pub(crate) bad_signatures: usize,
    /// What the Alertmanager was informed last of each alert.
    pub(crate) told: BTreeMap<String, Value>,
    pub(crate) people: Value,
}

/// The programs.
#[derive(Clone)]
pub(crate) struct Receivers {
    pub(crate) address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Receivers {
    /// Starts them on a free port, until the test process ends.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let receivers = Self { address: listener.local_addr().expect("an address"), shared: Arc::default() };
        let serving = receivers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        receivers
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().expect("no panic")
    }

    /// The next requests whose path ends so meet these faults.
    pub(crate) fn fail(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.push((path.to_owned(), faults.into_iter().collect()));
    }

    /// The targets of a configuration, without mail.
    pub(crate) fn targets(&self) -> String {
        let at = format!("http://{}", self.address);
        format!(
            "bitrix24: {{url: '{at}/rest/1/{PORTAL_CODE}/'}}, telegram: {{token: '{BOT_TOKEN}', api_url: '{at}'}}, \
             webhook: {{url: '{at}/hook', secret: {HOOK_SECRET}}}"
        )
    }

    /// Somebody presses a button.
    pub(crate) fn press(&self, id: &str, from: i64, chat: i64, data: &str) {
        let mut state = self.state();
        state.last_update += 1;
        let update = json!({"update_id": state.last_update, "callback_query": {
            "id": id, "from": {"id": from}, "message": {"message_id": 1, "chat": {"id": chat}}, "data": data}});
        state.updates.push(update);
        self.shared.1.notify_all();
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
        while let Some(request) = read(&mut reader) {
            let Some((status, body)) = self.answer(request) else { return };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            if (&stream).write_all(format!("{head}{body}").as_bytes()).is_err() {
                return;
            }
        }
    }

    /// The answer to a request; `None`: the connection is closed.
    fn answer(&self, request: Request) -> Option<(u16, Value)> {
        if request.path.ends_with("/getUpdates") {
            return self.updates(&request.body);
        }
        let mut state = self.state();
        if state.is_away {
            return None;
        }
        state.requests.push(request.clone());
        let fault =
            state.faults.iter_mut().find(|(path, faults)| request.path.ends_with(path.as_str()) && !faults.is_empty());
        match fault.and_then(|(_, faults)| faults.pop_front()) {
            Some(Fault::Away) => return None,
            Some(Fault::Answer(status, body)) => return Some((status, body)),
            Some(Fault::Lost) => {
                let _ = state.effect(&request);
                return None;
            }
            None => {}
        }
        Some(state.effect(&request))
    }

    fn updates(&self, body: &Value) -> Option<(u16, Value)> {
        let offset = body["offset"].as_i64().unwrap_or_default();
        let mut state = self.state();
        if state.is_away {
            return None;
        }
        state.updates.retain(|update| update["update_id"].as_i64() >= Some(offset));
        if state.updates.is_empty() {
            (state, _) = self.shared.1.wait_timeout(state, LONGEST_POLL).expect("no panic");
        }
        Some((200, json!({"ok": true, "result": state.updates})))
    }
}

impl State {
    fn effect(&mut self, request: &Request) -> (u16, Value) {
        let bot = format!("/bot{BOT_TOKEN}/");
        let [old, new] = [format!("/rest/1/{PORTAL_CODE}/"), format!("/rest/api/1/{PORTAL_CODE}/")];
        let path = request.path.as_str();
        if let Some(method) = path.strip_prefix(&bot) {
            self.telegram(method, &request.body)
        } else if let Some(method) = path.strip_prefix(&new) {
            self.tasks(method, request)
        } else if let Some(method) = path.strip_prefix(&old) {
            self.portal(method, &request.body)
        } else if path == "/hook" {
            self.hook(request)
        } else if path == "/api/v2/alerts" {
            self.alertmanager(&request.body)
        } else if path.starts_with("/api/v1/tenants/")
            && request.headers.get("authorization").is_some_and(|token| *token == format!("Bearer {API_TOKEN}"))
        {
            (200, self.people.clone())
        } else if path.starts_with("/bot") {
            (404, json!({"ok": false, "error_code": 404, "description": "Not Found"}))
        } else {
            (401, json!({"error": "NO_AUTH_FOUND"}))
        }
    }

    fn telegram(&mut self, method: &str, body: &Value) -> (u16, Value) {
        let refuse = |code: u16, text: &str, parameters: Value| {
            (code, json!({"ok": false, "error_code": code, "description": text, "parameters": parameters}))
        };
        match method {
            "getMe" => return (200, json!({"ok": true, "result": {"id": 1, "is_bot": true}})),
            "answerCallbackQuery" => {
                let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
                self.said.push((text("callback_query_id"), text("text")));
                return (200, json!({"ok": true, "result": true}));
            }
            "sendMessage" | "editMessageText" => {}
            _ => return refuse(404, "Not Found", json!({})),
        }
        let chat = body["chat_id"].as_i64().or_else(|| body["chat_id"].as_str()?.parse().ok()).unwrap_or_default();
        if let Some(moved) = self.moved.get(&chat) {
            let text = "Bad Request: group chat was upgraded to a supergroup chat";
            return refuse(400, text, json!({"migrate_to_chat_id": moved}));
        }
        let last = self.last_in_chat.insert(chat, Instant::now());
        if last.is_some_and(|last| last.elapsed() < CHAT_PAUSE) {
            self.too_soon += 1;
            return refuse(429, "Too Many Requests: retry after 1", json!({"retry_after": 1}));
        }
        let text = body["text"].as_str().unwrap_or_default().to_owned();
        if text.is_empty() || text.chars().count() > 4096 || body["parse_mode"] != "HTML" || !is_telegram_html(&text) {
            return refuse(400, "Bad Request: can't parse entities", json!({}));
        }
        let rows = body["reply_markup"]["inline_keyboard"].as_array().cloned().unwrap_or_default();
        let button = |button: &Value| {
            let data = button["callback_data"].as_str().expect("data").to_owned();
            assert!(data.len() <= 64, "Telegram takes 64 bytes: {data}");
            (button["text"].as_str().expect("a text").to_owned(), data)
        };
        let buttons: Vec<_> = rows.iter().filter_map(Value::as_array).flatten().map(button).collect();
        let id = match body["message_id"].as_i64() {
            None => {
                let id = self.messages.len() as i64 + 1;
                self.messages.push(ChatMessage { chat, id, texts: vec![text], buttons });
                id
            }
            Some(id) => {
                let Some(message) = self.messages.iter_mut().find(|message| message.chat == chat && message.id == id)
                else {
                    return refuse(400, "Bad Request: message to edit not found", json!({}));
                };
                if message.texts.last() == Some(&text) && message.buttons == buttons {
                    return refuse(
                        400,
                        "Bad Request: message is not modified: specified new message content is the same",
                        json!({}),
                    );
                }
                message.texts.push(text);
                message.buttons = buttons;
                id
            }
        };
        (200, json!({"ok": true, "result": {"message_id": id, "chat": {"id": chat}}}))
    }

    fn portal(&mut self, method: &str, body: &Value) -> (u16, Value) {
        let refuse = |code: &str| (400, json!({"error": code, "error_description": code}));
        match method {
            "scope" => (200, json!({"result": ["im", "crm", "task"]})),
            "im.notify.personal.add" => {
                let (Some(user), Some(text)) =
                    (body["USER_ID"].as_i64().filter(|id| *id > 0), body["MESSAGE"].as_str())
                else {
                    return refuse("USER_ID_EMPTY");
                };
                let tag = body["TAG"].as_str().unwrap_or_default().to_owned();
                assert!(tag.is_empty() || body["CLIENT_ID"].is_string(), "a tag of a webhook needs a client id");
                let same = |known: &&mut Notification| known.user == user && known.tag == tag && !tag.is_empty();
                match self.notifications.iter_mut().find(same) {
                    Some(known) => known.texts.push(text.to_owned()),
                    None => self.notifications.push(Notification { user, tag, texts: vec![text.to_owned()] }),
                }
                (200, json!({"result": self.notifications.len()}))
            }
            "crm.activity.todo.add" => {
                if body["ownerTypeId"].as_i64().is_none()
                    || body["ownerId"].as_i64().is_none()
                    || body["deadline"].is_null()
                {
                    return refuse("NOT_FOUND");
                }
                self.todos.push(body.clone());
                (200, json!({"result": {"id": 900 + self.todos.len()}}))
            }
            _ => (404, json!({"error": "ERROR_METHOD_NOT_FOUND"})),
        }
    }

    fn tasks(&mut self, method: &str, request: &Request) -> (u16, Value) {
        if method != "tasks.task.add" {
            return (404, json!({"error": {"code": "BITRIX_REST_V3_EXCEPTION_METHODNOTFOUND"}}));
        }
        let key = request.headers.get("idempotency-key").cloned().unwrap_or_default();
        let known = self.tasks.iter().position(|(known, _)| *known == key && !key.is_empty());
        let index = known.unwrap_or_else(|| {
            self.tasks.push((key, request.body["fields"].clone()));
            self.tasks.len() - 1
        });
        (200, json!({"result": {"item": {"id": index + 1}}}))
    }

    fn hook(&mut self, request: &Request) -> (u16, Value) {
        let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(HOOK_SECRET.as_bytes()).expect("a key");
        mac.update(format!("{}.{}", header("x-funnelwatch-timestamp"), request.text).as_bytes());
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        if header("x-funnelwatch-signature") != format!("sha256={expected}") {
            self.bad_signatures += 1;
            return (403, json!({}));
        }
        let key = header("idempotency-key").to_owned();
        if !self.hooked.iter().any(|(known, _)| *known == key) {
            let alerts = request.body["alerts"].as_array().cloned().unwrap_or_default();
            self.hooked.extend(alerts.into_iter().map(|alert| (key.clone(), alert)));
        }
        (200, json!({}))
    }

    fn alertmanager(&mut self, body: &Value) -> (u16, Value) {
        for alert in body.as_array().into_iter().flatten() {
            let id = alert["labels"]["alert_id"].as_str().unwrap_or_default().to_owned();
            self.told.insert(id, alert.clone());
        }
        (200, json!({}))
    }
}

/// Whether a text has only the tags that Telegram knows, each closed, and no bare `<` or `&`.
fn is_telegram_html(text: &str) -> bool {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        rest = &rest[at..];
        if rest.starts_with('&') {
            if !["&lt;", "&gt;", "&amp;", "&quot;"].iter().any(|entity| rest.starts_with(entity)) {
                return false;
            }
            rest = &rest[1..];
            continue;
        }
        let Some(end) = rest.find('>') else { return false };
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        match tag.strip_prefix('/') {
            Some(name) => {
                if open.pop() != Some(name) {
                    return false;
                }
            }
            None if tag == "b" => open.push("b"),
            None if tag.starts_with("a href=\"") && tag.matches('"').count() == 2 && tag.ends_with('"') => {
                open.push("a")
            }
            None => return false,
        }
    }
    open.is_empty()
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let body = serde_json::from_str(&text).unwrap_or_default();
    Some(Request { path, headers, text, body })
}

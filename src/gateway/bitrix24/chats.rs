//! Owns the messages of open lines. Every open session is read again in each sweep: its messages change nothing else.

use super::answer::Failure;
use super::events::entity;
use super::portal::{Outcome, Portal, Session, kind_of, read};
use super::query::Command;
use super::value::{Row, whole};
use crate::domain::source::Topic;
use crate::domain::time::Span;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Sessions that are read in one request: their histories can be long.
const SESSIONS: usize = 10;

/// Sessions of one step.
const STEP: usize = 100;

/// For how long the end of a session is remembered.
const REMEMBERED: Span = Span(30 * 86_400_000);

impl Portal {
    /// The sessions whose messages are to be read.
    pub(super) fn open_sessions(&self) -> Vec<u64> {
        self.memory.sessions.iter().filter(|(_, session)| !session.ended || !session.read).map(|(id, _)| id).collect()
    }

    /// Reads the messages of the next open sessions; returns whether there are more.
    ///
    /// The position is stored: if the budget does not allow to read all of them in a sweep, the next one continues. It has
    /// not seen all of them then, so the chats are not complete in it.
    pub(super) fn read_open_sessions(&mut self) -> Outcome<bool> {
        let after = self.memory.regular.get().sessions_after;
        let mut next: Vec<u64> = self.open_sessions().into_iter().filter(|id| *id > after).take(STEP + 1).collect();
        let more = next.len() > STEP;
        next.truncate(STEP);
        read!(self.read_sessions(&next));
        let last = next.last().copied().unwrap_or(0);
        self.memory.regular.change().sessions_after = if more { last } else { 0 };
        Ok(Ok(more))
    }

    /// Reads the messages of these sessions.
    pub(super) fn read_sessions(&mut self, ids: &[u64]) -> Outcome<()> {
        for part in ids.chunks(STEP) {
            let command =
                |id: &u64| Command { method: "imopenlines.session.history.get", params: json!({"SESSION_ID": id}) };
            let commands: Vec<Command> = part.iter().map(command).collect();
            let answers = self.client.batch(&commands, SESSIONS)?;
            let is_readable = answers.iter().any(Result::is_ok);
            for (id, answer) in part.iter().zip(answers) {
                match answer {
                    // One chat that the owner of the webhook may not see; without the right, all are refused.
                    Err(Failure::NoRight(_)) if is_readable => {}
                    Ok(reply) => match self.report_session(*id, &reply.result)? {
                        Ok(()) => {}
                        Err(failure) => return Ok(Err(failure)),
                    },
                    // The session is gone, or its chat is not accessible.
                    Err(Failure::NotFound | Failure::Wrong(_)) => self.close_session(*id),
                    Err(failure) => return Ok(Err(failure)),
                }
            }
        }
        let now = self.client.portal_now();
        self.memory
            .sessions
            .retain(|_, session| !session.ended || !session.read || session.updated >= now.0 - REMEMBERED.0);
        Ok(Ok(()))
    }

    fn close_session(&mut self, id: u64) {
        if let Some(session) = self.memory.sessions.get(id).cloned() {
            self.memory.sessions.insert(id, Session { ended: true, read: true, ..session });
        }
    }

    fn report_session(&mut self, id: u64, history: &Value) -> Outcome<()> {
        let history = Row(history);
        let Some(session) = self.memory.sessions.get(id).cloned() else { return Ok(Ok(())) };
        let zone = self.client.zone().clone();
        let mut messages = BTreeMap::new();
        for message in history.list("message").into_iter().map(Row) {
            messages.extend(message.number("id").map(|id| (id, message)));
        }
        let mut users = BTreeMap::new();
        for user in history.list("users").into_iter().map(Row) {
            users.extend(user.number("id").map(|id| (id, user)));
        }
        let chat = history.list("chat").into_iter().map(Row).next();
        let mut code = chat.and_then(|chat| chat.text("entityId").or_else(|| chat.text("entity_id")));
        let mut of = session.entity;
        if code.is_none() || of.is_none() {
            let command = Command { method: "imopenlines.dialog.get", params: json!({"SESSION_ID": id}) };
            if let Some(Ok(dialog)) = self.client.batch(&[command], 1)?.pop() {
                let dialog = Row(&dialog.result);
                code = code.or_else(|| dialog.text("entity_id").or_else(|| dialog.text("entityId")));
                let data = |name: &str| dialog.text(name).unwrap_or_default();
                of = of.or_else(|| entity_in(&data("entity_data_2")).or_else(|| entity_in(&data("entity_data_1"))));
            }
        }
        let customer = code.as_deref().and_then(Customer::of);
        let thread = history.number("chatId").map(|chat| format!("b24:chat:{chat}"));
        let mut last = session.last;
        for (message_id, message) in messages.range(session.last + 1..) {
            last = *message_id;
            let sender = message.get("senderid").and_then(whole).unwrap_or(0);
            // 0 is the system: "the dialogue was completed".
            let Some(user) = users.get(&sender).filter(|_| sender > 0) else {
                if sender > 0 {
                    self.report_line(id, *message_id, *message, Some(sender), false, of, &thread, &customer);
                }
                continue;
            };
            let inbound = user.flag("connector");
            let bot = user.flag("bot");
            let manager = (!inbound && !bot).then_some(sender);
            if message.time("date", &zone).is_some() {
                let sender = if inbound { None } else { manager };
                self.report_line(id, *message_id, *message, sender, !inbound && bot, of, &thread, &customer);
            }
        }
        let read = session.ended;
        self.memory.sessions.insert(id, Session { entity: of, last, read, ..session });
        Ok(Ok(()))
    }

    /// A message of the manager, of a bot (`automatic`), or else of the customer.
    #[allow(clippy::too_many_arguments)]
    fn report_line(
        &mut self,
        session: u64,
        id: u64,
        message: Row<'_>,
        manager: Option<u64>,
        automatic: bool,
        of: Option<(u64, u64)>,
        thread: &Option<String>,
        customer: &Option<Customer>,
    ) {
        let zone = self.client.zone().clone();
        let Some(at) = message.time("date", &zone) else { return };
        let event_id = format!("b24:ol:{session}:{id}");
        let channel = customer.as_ref().map_or("CHAT", |customer| customer.channel);
        let payload = json!({
            "message_id": event_id,
            "thread_id": thread,
            "channel": channel,
            "contact": customer.as_ref().map(|customer| customer.contact.clone()),
            "manager_id": manager.map(|id| id.to_string()),
            "entity": of.and_then(|(kind, id)| Some(entity(kind_of(kind)?, id))),
            "automatic": automatic,
        });
        let name = if manager.is_some() || automatic { "message_sent" } else { "message_received" };
        self.events.push(Topic::Email, event_id, at, name, payload);
    }
}

/// The customer of a chat.
#[derive(Clone, Debug, PartialEq)]
struct Customer {
    channel: &'static str,
    contact: Value,
}

impl Customer {
    /// The customer in the code of a chat: the connector, the line, the user outside, the user inside.
    fn of(code: &str) -> Option<Self> {
        let mut parts = code.trim().trim_start_matches("imol|").split('|');
        let (connector, _, outside) = (parts.next()?, parts.next(), parts.next()?.trim());
        if connector.is_empty() || outside.is_empty() {
            return None;
        }
        let channel = if connector.starts_with("livechat") { "CHAT" } else { "MESSENGER" };
        let digits = outside.split('@').next().unwrap_or_default().trim_start_matches('+');
        let is_number = (10..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let whatsapp = outside.ends_with("@c.us")
            || outside.ends_with("@s.whatsapp.net")
            || connector.to_ascii_lowercase().contains("whatsapp");
        let contact = if whatsapp && is_number {
            json!({"phone": format!("+{digits}")})
        } else {
            json!({"handle": format!("{connector}:{outside}"), "channel": channel})
        };
        Some(Self { channel, contact })
    }
}

/// The deal or lead in the data of a chat: `LEAD|5|COMPANY|0|CONTACT|3|DEAL|9`, or `Y|LEAD|5|N|…`.
fn entity_in(data: &str) -> Option<(u64, u64)> {
    let parts: Vec<&str> = data.split('|').collect();
    let after = |name: &str| {
        let at = parts.iter().position(|part| *part == name)?;
        parts.get(at + 1)?.parse().ok().filter(|id| *id > 0)
    };
    after("DEAL").map(|id| (2, id)).or_else(|| after("LEAD").map(|id| (1, id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_of_chats_are_recognized() {
        let contact = |code| Customer::of(code).map(|customer| (customer.channel, customer.contact));
        let handle = |handle: &str, channel: &str| json!({"handle": handle, "channel": channel});
        let table = [
            ("livechat|58|1981|450", Some(("CHAT", handle("livechat:1981", "CHAT")))),
            ("imol|telegrambot|2|209607941|744", Some(("MESSENGER", handle("telegrambot:209607941", "MESSENGER")))),
            ("wz_whatsapp|1|79161234567@c.us|9", Some(("MESSENGER", json!({"phone": "+79161234567"})))),
            ("notifications|1", None),
        ];
        for (code, expected) in table {
            assert_eq!(contact(code), expected, "{code}");
        }
        assert_eq!(entity_in("LEAD|5|COMPANY|0|CONTACT|3|DEAL|9"), Some((2, 9)));
        assert_eq!(entity_in("LEAD|5|COMPANY|0|CONTACT|3|DEAL|0"), Some((1, 5)));
        assert_eq!(entity_in("Y|LEAD|5|N|N|44|0|0|0"), Some((1, 5)));
        assert_eq!(entity_in("N|NONE|0|N|N|0"), None);
    }
}

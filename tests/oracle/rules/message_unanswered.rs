//! `message_unanswered`: one clock per contact at a time, from the first message known to be unanswered; and the matching
//! of replies to messages, also used by the reply figures.

use super::super::alert::{Alert, AlertHeader};
use super::super::history::{Answer, ReceivedMessage, TenantHistory};
use super::super::norms::Norms;
use super::super::readings;
use super::{Ending, RunningClock, lifecycle, observe_duration, within};

const RULE: &str = "message_unanswered";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (contact, log) in &history.contacts {
        let messages: Vec<&ReceivedMessage> =
            log.messages.iter().filter(|message| expects_reply(norms, message, true)).collect();
        let relevant: Vec<&Answer> =
            history.answers.iter().filter(|a| messages.iter().any(|message| answers(a, message, contact))).collect();
        for (first, opened) in clocks(&messages, &relevant, contact) {
            alerts.extend(alert(history, norms, contact, &messages, &relevant, first, opened, until));
        }
    }
    alerts
}

/// Whether the norm's `channels` include the channel of this message.
pub fn expects_reply(norms: &Norms, message: &ReceivedMessage, limited: bool) -> bool {
    let norm = norms.rule(RULE, &message.attribution.scope);
    let channels = norm.as_ref().and_then(|norm| norm.texts("channels"));
    !limited || channels.is_none_or(|channels| channels.contains(&message.channel.as_str()))
}

#[allow(clippy::too_many_arguments, reason = "a clock depends on all of them")]
fn alert(
    history: &TenantHistory,
    norms: &Norms,
    contact: &str,
    messages: &[&ReceivedMessage],
    relevant: &[&Answer],
    first: &ReceivedMessage,
    opened: usize,
    until: i64,
) -> Option<Alert> {
    let norm = norms.rule(RULE, &first.attribution.scope)?;
    // A reply to any pending message settles all pending messages.
    let ends = |answer: &&&Answer| {
        after(answer, first)
            && messages.iter().any(|l| l.moment >= first.moment && after(answer, l) && answers(answer, l, contact))
    };
    let ending = |answer: &&Answer| Ending { date: date(answer, first), moment: answer.moment, resolution: "answered" };
    let running = RunningClock {
        anchor: first.at,
        opened,
        within: norm.within,
        clock: &norm.clock,
        escalate_after: &norm.escalate_after,
        acts: relevant.iter().filter(ends).map(ending).collect(),
        // Decision 11: alerts of a contact do not end with its entities.
        stop: None,
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let header = AlertHeader::contact(history, RULE, contact, &first.attribution, &first.id, first.at, norm.severity);
    let details = observe_duration(steps, &norm.clock, first.at, 0, "lag_seconds", &within(&norm));
    Some(AlertHeader { due: Some(due), ..header }.build(history, details))
}

/// The date of a reply, relative to this message.
fn date(answer: &Answer, message: &ReceivedMessage) -> i64 {
    if readings::CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES { answer.date } else { answer.date.max(message.at) }
}

/// Whether the reply follows the message, by date and, at one instant, event order.
fn after(answer: &Answer, message: &ReceivedMessage) -> bool {
    if readings::CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES {
        (answer.date, answer.moment) > (message.at, message.moment)
    } else {
        answer.moment > message.moment
    }
}

/// The clocks in the order they started: the first pending message, and the moment when it was known to be the first.
fn clocks<'a>(
    messages: &[&'a ReceivedMessage],
    relevant: &[&Answer],
    contact: &str,
) -> Vec<(&'a ReceivedMessage, usize)> {
    enum Entry<'a, 'b> {
        ReceivedMessage(&'a ReceivedMessage),
        Answer(&'b Answer),
    }
    let mut known: Vec<(usize, Entry)> = Vec::new();
    known.extend(messages.iter().map(|message| (message.moment, Entry::ReceivedMessage(message))));
    known.extend(relevant.iter().map(|answer| (answer.moment, Entry::Answer(answer))));
    known.sort_by_key(|(moment, _)| *moment);

    let mut clocks = Vec::new();
    let mut pending: Vec<&ReceivedMessage> = Vec::new();
    for (moment, entry) in known {
        let before = pending.first().map(|message| message.moment);
        match entry {
            Entry::ReceivedMessage(message) => pending.push(message),
            Entry::Answer(answer) => {
                if pending.iter().any(|message| after(answer, message) && answers(answer, message, contact)) {
                    pending.retain(|message| !after(answer, message));
                }
            }
        }
        if let Some(first) = pending.first()
            && before != Some(first.moment)
        {
            clocks.push((*first, moment));
        }
    }
    clocks
}

/// Whether the reply settles the message (decision 15).
pub fn answers(answer: &Answer, message: &ReceivedMessage, contact: &str) -> bool {
    let same = |a: &Option<String>, b: Option<&String>| a.is_some() && a.as_ref() == b;
    answer.contact.as_deref() == Some(contact)
        || !answer.conversation
            && (same(&answer.thread, message.thread.as_ref()) || same(&answer.in_reply_to, Some(&message.id)))
        || answer.conversation && answer.entities.iter().any(|id| message.entities.contains(id))
}

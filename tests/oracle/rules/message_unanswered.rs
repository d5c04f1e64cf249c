//! `message_unanswered`: one clock per contact at a time, from the first message known to be unanswered; and the matching
//! of replies to messages, also used by the reply figures.

use std::collections::BTreeSet;

use super::super::alert::Alert;
use super::super::calls::Key;
use super::super::decode::Outcome;
use super::super::history::{Dismissal, Entity, ReceivedMessage, SentMessage, TenantHistory};
use super::super::identity::{EntityId, Kind};
use super::super::norms::Norms;
use super::super::readings;
use super::Ending;
use super::waits::{Wait, Waits};

const RULE: &str = "message_unanswered";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    replay(history, norms, true).alerts(history, norms, RULE, until)
}

/// Whether a message asks for an answer. `limited`: only on the norm's `channels`.
fn expects_reply(norms: &Norms, message: &ReceivedMessage, limited: bool) -> bool {
    let norm = norms.rule(RULE, &message.attribution.scope);
    let channels = norm.as_ref().and_then(|norm| norm.texts("channels"));
    let quiet = norm.as_ref().and_then(|norm| norm.span("quiet_after_close")).filter(|quiet| *quiet > 0);
    let after_close = message.closed_at.zip(quiet).is_some_and(|(closed, quiet)| message.at - closed <= quiet);
    !message.automatic
        && !after_close
        && (!limited || channels.is_none_or(|channels| channels.contains(&message.channel.as_str())))
}

/// A sent message or a conversation, as known at a moment.
struct Answer<'a> {
    date: i64,
    moment: usize,
    conversation: bool,
    contacts: BTreeSet<&'a str>,
    thread: Option<&'a String>,
    in_reply_to: Option<&'a String>,
    entities: BTreeSet<&'a EntityId>,
    who: Option<String>,
}

/// Replays the waits, moment by moment.
pub fn replay(history: &TenantHistory, norms: &Norms, limited: bool) -> Waits {
    let mut waits = Waits::default();
    let mut closed: Vec<Option<Ending>> = Vec::new();
    let targets: Vec<Option<usize>> =
        history.dismissals.iter().map(|one| target(history, norms, limited, one)).collect();
    for moment in 1..=history.moments() {
        let received = history.received.binary_search_by_key(&moment, |message| message.moment).ok();
        if let Some(source) = received
            && expects_reply(norms, &history.received[source], limited)
        {
            let message = &history.received[source];
            waits.open(Wait {
                contact: message.contact.clone(),
                anchor: message.at,
                moment,
                source,
                leg: source,
                interaction: message.id.clone(),
                attribution: message.attribution.clone(),
                ends: Vec::new(),
                ended: None,
                merged: false,
            });
            closed.push(closing(history, message));
        }
        for answer in answers_of(history, moment) {
            settle(history, &mut waits, &answer, moment);
        }
        for (index, closing) in closed.iter().enumerate() {
            if let Some(closing) = closing.filter(|closing| closing.moment == moment) {
                waits.end(index, closing);
            }
        }
        for (dismissal, target) in history.dismissals.iter().zip(&targets) {
            let Some(target) = target.map(|index| &history.received[index]) else { continue };
            if dismissal.moment.max(target.moment) == moment {
                let (up_to, at) = ((target.at, target.moment), history.instant_of(moment));
                waits.dismiss(dismissal, &target.contact, up_to, at, moment);
            }
        }
        waits.start_clocks(moment);
    }
    waits
}

/// The message that an id names: the last known before the dismissal, else the first after it.
fn target(history: &TenantHistory, norms: &Norms, limited: bool, dismissal: &Dismissal) -> Option<usize> {
    let named = |index: &usize| {
        let message = &history.received[*index];
        message.key == dismissal.key
            && (readings::WHAT_DID_NOT_WAIT_CAN_BE_DISMISSED || expects_reply(norms, message, limited))
    };
    let dismissed = dismissal.moment;
    let all: Vec<usize> = (0..history.received.len()).filter(named).collect();
    let before = all.iter().rfind(|index| history.received[**index].moment < dismissed);
    before.or(all.iter().find(|index| history.received[**index].moment > dismissed)).copied()
}

/// The answers that an event of this moment made, or whose numbers and entities it may have changed.
fn answers_of(history: &TenantHistory, moment: usize) -> Vec<Answer<'_>> {
    let sent_now = history.sent.binary_search_by_key(&moment, |message| message.moment);
    let mut answers: Vec<Answer> = sent_now.iter().map(|index| sent(&history.sent[*index])).collect();
    if let Some(changed) = history.call_changes.get(&moment) {
        let keys = changed.iter().map(|call| history.calls.key(call, moment)).collect();
        answers.extend(conversations(history, &keys, moment));
    }
    answers
}

fn sent(message: &SentMessage) -> Answer<'_> {
    Answer {
        date: message.at,
        moment: message.moment,
        conversation: false,
        contacts: message.contact.iter().map(String::as_str).collect(),
        thread: message.thread.as_ref(),
        in_reply_to: message.in_reply_to.as_ref(),
        entities: BTreeSet::new(),
        who: message.who.clone(),
    }
}

fn conversations<'a>(history: &'a TenantHistory, keys: &BTreeSet<Key>, moment: usize) -> Vec<Answer<'a>> {
    let mut answers = Vec::new();
    for key in keys {
        let group = history.calls.group(key, moment);
        // Acts of an entity stay when it is deleted later.
        let present = |leg: usize, id: &&EntityId| !history.entities[*id].is_deleted_at(leg);
        answers.extend(group.conversations().map(|leg| Answer {
            date: leg.start,
            moment: leg.moment,
            conversation: true,
            contacts: group.numbers().into_keys().collect(),
            thread: None,
            in_reply_to: None,
            entities: group.entities(moment).into_iter().filter(|id| present(leg.moment, id)).collect(),
            who: leg.attribution.who.clone(),
        }));
    }
    answers
}

/// Whether the reply follows the message, by date and, at one instant, event order.
fn after(answer: &Answer, wait: &Wait) -> bool {
    if readings::CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES {
        (answer.date, answer.moment) > (wait.anchor, wait.moment)
    } else {
        answer.moment > wait.moment
    }
}

/// Whether the reply settles the message (decision 15).
fn answers(history: &TenantHistory, answer: &Answer, wait: &Wait, moment: usize) -> bool {
    let message = &history.received[wait.source];
    let same = |a: Option<&String>, b: Option<&String>| a.is_some() && a == b;
    answer.contacts.contains(wait.contact.as_str())
        || !answer.conversation
            && (same(answer.thread, message.thread.as_ref()) || same(answer.in_reply_to, Some(&message.key)))
        || answer.conversation && {
            let entities: BTreeSet<&EntityId> =
                answer.entities.iter().map(|id| history.survivor_at(id, moment)).collect();
            !entities.is_disjoint(&belongs(history, message, moment))
        }
}

fn settle(history: &TenantHistory, waits: &mut Waits, answer: &Answer, moment: usize) {
    for contact in waits.contacts() {
        let of: Vec<usize> =
            waits.of(&contact).filter(|(_, wait)| after(answer, wait)).map(|(index, _)| index).collect();
        let direct: Vec<usize> =
            of.iter().copied().filter(|index| answers(history, answer, &waits.waits[*index], moment)).collect();
        let pending = |waits: &Waits, index: usize| waits.waited_at(index, answer.date);
        // A reply to any pending message settles all pending messages.
        let settles = direct.iter().any(|index| pending(waits, *index));
        for index in of {
            let proves = direct.iter().any(|other| waits.waits[*other].order() >= waits.waits[index].order());
            if settles || !pending(waits, index) && proves {
                waits.end(index, Ending::new(answer.date, moment, "answered"));
            }
        }
    }
}

/// The deals that name a lead, as known at a moment.
fn deals<'a>(history: &'a TenantHistory, lead: &'a EntityId, moment: usize) -> impl Iterator<Item = &'a Entity> {
    let deals = history.entities.values().filter(move |_| lead.kind == Kind::Lead);
    deals.filter(move |deal| history.named_by(deal, moment).any(|named| named == lead))
}

/// Whether a lead was converted, from open, after a message of that moment.
fn converted(entity: &Entity, since: usize, moment: usize) -> bool {
    let closings =
        entity.open_changes.iter().filter(|change| !change.open && (since + 1..=moment).contains(&change.moment));
    closings.clone().any(|change| entity.outcome_at(change.moment) == Some(Outcome::Converted))
}

/// The deals of a lead that a message belonged to since a moment, if it was converted since, or the one into which it was
/// merged.
fn converted_to<'a>(
    history: &'a TenantHistory,
    id: &'a EntityId,
    since: usize,
    moment: usize,
) -> impl Iterator<Item = &'a EntityId> {
    let (mut own, mut since, mut was_converted) = (id, since, false);
    loop {
        was_converted |= converted(&history.entities[own], since, moment);
        match &history.entities[own].survivor {
            Some((into, merged)) if *merged <= moment => (own, since) = (into, since.max(merged - 1)),
            _ => break,
        }
    }
    deals(history, own, moment).filter(move |_| was_converted).map(|deal| &deal.id)
}

/// The entities that a message belongs to: if one is converted, from then on the deals that name it too.
fn belongs<'a>(history: &'a TenantHistory, message: &'a ReceivedMessage, moment: usize) -> BTreeSet<&'a EntityId> {
    let now = message.entities.iter().map(|id| history.survivor_at(id, moment));
    let mut entities: BTreeSet<&EntityId> = now.collect();
    let since = if readings::A_CONVERTED_LEADS_LATER_MESSAGES_BELONG_TO_ITS_DEALS { 0 } else { message.moment };
    for id in &message.entities {
        entities.extend(converted_to(history, id, since, moment));
    }
    entities
}

/// The closing that ends a message: of the last of its entities that were open. CONVERTED settles nothing.
fn closing(history: &TenantHistory, message: &ReceivedMessage) -> Option<Ending> {
    let opened = |id: &&EntityId| history.entities[*id].is_open_at(message.moment);
    let open: Vec<&EntityId> = message.entities.iter().filter(opened).collect();
    let mut closings: Vec<(usize, i64, &EntityId)> = Vec::new();
    for entity in history.entities.values() {
        let own = entity.open_changes.iter().filter(|change| !change.open && change.moment > message.moment);
        let own = own.filter(|change| entity.outcome_at(change.moment) != Some(Outcome::Converted));
        closings.extend(own.map(|change| (change.moment, change.at, &entity.id)));
    }
    closings.sort_by_key(|(moment, _, _)| *moment);
    let ends = |(moment, _, closed): &&(usize, i64, &EntityId)| {
        let now = open.iter().map(|id| history.survivor_at(id, *moment));
        let mut holders: BTreeSet<&EntityId> = now.collect();
        for id in &open {
            holders.extend(converted_to(history, id, message.moment, *moment));
        }
        holders.contains(closed) && !holders.iter().any(|id| still_holds(history, id, *moment))
    };
    let (moment, at, _) = closings.iter().find(ends)?;
    Some(Ending::new(*at, *moment, "closed"))
}

/// Whether an entity keeps a message waiting: it is open, or converted without a deal that would do so.
fn still_holds(history: &TenantHistory, id: &EntityId, moment: usize) -> bool {
    let entity = &history.entities[id];
    if entity.is_deleted_at(moment) {
        return false;
    }
    match entity.open_change_at(moment) {
        Some(change) if !change.open => {
            // The closing itself, not a later change of the outcome.
            entity.outcome_at(change.moment) == Some(Outcome::Converted)
                && deals(history, id, moment).all(|deal| deal.is_deleted_at(moment))
        }
        _ => true,
    }
}

/// A group of messages as known at T: the first one, and the reply that settled them: when, whose.
pub struct Group<'a> {
    pub first: &'a Wait,
    pub answered: Option<(i64, Option<String>)>,
}

/// Merges the messages and replies of each contact by date (at one instant in event order): a reply settles all messages
/// pending at that date. Returns each reply with the first message it settled, and the first message still pending.
pub fn groups<'a>(history: &TenantHistory, waits: &'a Waits) -> Vec<Group<'a>> {
    enum Entry<'a, 'b> {
        Wait(usize, &'a Wait),
        Answer(&'b Answer<'b>),
        Closed(usize),
        Dismissed((i64, usize)),
    }
    let mut all: Vec<Answer> = history.sent.iter().map(sent).collect();
    all.extend(conversations(history, &history.calls.keys(usize::MAX), usize::MAX));
    let date_of = |answer: &Answer| match readings::CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES {
        true => answer.date,
        false => history.instant_of(answer.moment),
    };
    let known = |answer: &Answer, wait: &Wait| answers(history, answer, wait, answer.moment.max(wait.moment));
    let mut groups = Vec::new();
    for contact in waits.contacts() {
        let mut dated: Vec<(i64, usize, Entry)> = Vec::new();
        for (index, wait) in waits.of(&contact) {
            dated.push((wait.anchor, wait.moment, Entry::Wait(index, wait)));
            if let Some(closing) = closing(history, &history.received[wait.source]) {
                dated.push((closing.date, closing.moment, Entry::Closed(index)));
            }
        }
        let relevant = all.iter().filter(|answer| waits.of(&contact).any(|(_, wait)| known(answer, wait)));
        dated.extend(relevant.map(|answer| (date_of(answer), answer.moment, Entry::Answer(answer))));
        let dismissed = waits.dismissed.iter().filter(|dismissed| dismissed.contact == contact);
        dated.extend(dismissed.map(|one| (one.at, one.moment, Entry::Dismissed(one.up_to))));
        // A dismissal of a message at its own moment comes after it.
        dated.sort_by_key(|(date, moment, entry)| (*date, *moment, matches!(entry, Entry::Dismissed(_))));
        let mut pending: Vec<(usize, &Wait)> = Vec::new();
        for (_, _, entry) in dated {
            match entry {
                Entry::Wait(index, wait) => pending.push((index, wait)),
                Entry::Closed(index) => pending.retain(|(other, _)| *other != index),
                Entry::Dismissed(up_to) => pending.retain(|(_, wait)| wait.order() > up_to),
                Entry::Answer(answer) => {
                    if pending.iter().any(|(_, wait)| known(answer, wait)) {
                        let answered = Some((answer.date, answer.who.clone()));
                        groups.push(Group { first: pending[0].1, answered });
                        pending.clear();
                    }
                }
            }
        }
        groups.extend(pending.first().map(|(_, first)| Group { first, answered: None }));
    }
    groups
}

//! `message_unanswered`: one clock per contact at a time, from the first message that is unanswered as far as is known;
//! and what answers what, for the reply figures too.

use super::super::alert::{Alert, Heading};
use super::super::history::{Answer, Letter, World};
use super::super::norms::Norms;
use super::super::readings;
use super::{Ending, Watch, lasting, life, within};

const RULE: &str = "message_unanswered";

pub fn judge(world: &World, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (contact, log) in &world.contacts {
        let letters: Vec<&Letter> = log.letters.iter().filter(|letter| asks_by_channel(norms, letter, true)).collect();
        let relevant: Vec<&Answer> =
            world.answers.iter().filter(|a| letters.iter().any(|letter| answers(a, letter, contact))).collect();
        for (first, opened) in clocks(&letters, &relevant, contact) {
            alerts.extend(alert(world, norms, contact, &letters, &relevant, first, opened, until));
        }
    }
    alerts
}

/// Does the norm's `channels` take in this message?
pub fn asks_by_channel(norms: &Norms, letter: &Letter, limited: bool) -> bool {
    let norm = norms.rule(RULE, &letter.standing.scope);
    let channels = norm.as_ref().and_then(|norm| norm.texts("channels"));
    !limited || channels.is_none_or(|channels| channels.contains(&letter.channel.as_str()))
}

#[allow(clippy::too_many_arguments, reason = "one clock has that many parts")]
fn alert(
    world: &World,
    norms: &Norms,
    contact: &str,
    letters: &[&Letter],
    relevant: &[&Answer],
    first: &Letter,
    opened: usize,
    until: i64,
) -> Option<Alert> {
    let norm = norms.rule(RULE, &first.standing.scope)?;
    // An answer to any message that waits by then ends all that wait.
    let ends = |answer: &&&Answer| {
        after(answer, first)
            && letters.iter().any(|l| l.moment >= first.moment && after(answer, l) && answers(answer, l, contact))
    };
    let ending = |answer: &&Answer| Ending { date: date(answer, first), moment: answer.moment, resolution: "answered" };
    let watch = Watch {
        anchor: first.at,
        opened,
        within: norm.within,
        clock: &norm.clock,
        escalate_after: &norm.escalate_after,
        acts: relevant.iter().filter(ends).map(ending).collect(),
        // Decision 11: a contact's alerts stay whatever becomes of its entities.
        stop: None,
    };
    let (due, steps) = life(world, &watch, until)?;
    let heading = Heading::contact(world, RULE, contact, &first.standing, &first.id, first.at, norm.severity);
    let told = lasting(steps, &norm.clock, first.at, 0, "lag_seconds", &within(&norm));
    Some(Heading { due: Some(due), ..heading }.tell(world, told))
}

/// An answer's date, as an answer to this message.
fn date(answer: &Answer, letter: &Letter) -> i64 {
    if readings::CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES { answer.date } else { answer.date.max(letter.at) }
}

/// Was it given after the message, by date and at one instant by the order of effect?
fn after(answer: &Answer, letter: &Letter) -> bool {
    if readings::CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES {
        (answer.date, answer.moment) > (letter.at, letter.moment)
    } else {
        answer.moment > letter.moment
    }
}

/// The clocks as they started one after the other: the first message that waited, and when it was known to be the first.
fn clocks<'a>(letters: &[&'a Letter], relevant: &[&Answer], contact: &str) -> Vec<(&'a Letter, usize)> {
    enum What<'a, 'b> {
        Letter(&'a Letter),
        Answer(&'b Answer),
    }
    let mut known: Vec<(usize, What)> = Vec::new();
    known.extend(letters.iter().map(|letter| (letter.moment, What::Letter(letter))));
    known.extend(relevant.iter().map(|answer| (answer.moment, What::Answer(answer))));
    known.sort_by_key(|(moment, _)| *moment);

    let mut clocks = Vec::new();
    let mut pending: Vec<&Letter> = Vec::new();
    for (moment, what) in known {
        let before = pending.first().map(|letter| letter.moment);
        match what {
            What::Letter(letter) => pending.push(letter),
            What::Answer(answer) => {
                if pending.iter().any(|letter| after(answer, letter) && answers(answer, letter, contact)) {
                    pending.retain(|letter| !after(answer, letter));
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

/// Decision 15.
pub fn answers(answer: &Answer, letter: &Letter, contact: &str) -> bool {
    let same = |a: &Option<String>, b: Option<&String>| a.is_some() && a.as_ref() == b;
    answer.contact.as_deref() == Some(contact)
        || !answer.conversation
            && (same(&answer.thread, letter.thread.as_ref()) || same(&answer.in_reply_to, Some(&letter.id)))
        || answer.conversation && answer.entities.iter().any(|id| letter.entities.contains(id))
}

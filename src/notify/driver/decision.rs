//! Owns whether an answer of a person counts: the link was not used, the person was informed of the alert, the alert is open,
//! and nobody takes care of it.

use crate::config::notify::Channel;
use crate::domain::alert::Alert;
use crate::notify::asked::{Asked, Refusal};
use crate::notify::case::{self, Line};
use crate::notify::ledger::Ledger;
use crate::notify::link::Answer;

/// What is known when an answer comes; `None`: nothing, because no partitions are assigned at the moment.
pub(super) type Known<'a> = Option<&'a Ledger>;

/// The alert and the person of an answer, if it counts.
pub(super) fn decide(known: Known<'_>, is_used: bool, asked: &Asked) -> Result<(Alert, String), Refusal> {
    let Asked { claim, chat, .. } = asked;
    // Whether the alert is over is not known: the person may try again.
    let ledger = known.ok_or(Refusal::NotStored)?;
    if is_used {
        return Err(Refusal::Used);
    }
    let case = ledger.case(claim.alert).ok_or(Refusal::Over)?;
    let person = match chat {
        None => claim.person.clone(),
        // The chat shows whose button it is.
        Some(chat) => {
            let own = |line: &&Line| line.address.channel == Channel::Telegram && line.address.to == *chat;
            case.lines.iter().find(own).and_then(|line| line.address.person.clone()).ok_or(Refusal::NotRecipient)?
        }
    };
    if case.lines.iter().all(|line| line.address.person.as_deref() != Some(person.as_str())) {
        return Err(Refusal::NotRecipient);
    }
    if case::is_over(case.alert.status) {
        return Err(Refusal::Over);
    }
    if let Some(taken_by) = case.taken_by.as_ref().filter(|_| claim.answer == Answer::Taken) {
        return Err(if *taken_by == person { Refusal::Used } else { Refusal::Taken });
    }
    Ok((case.alert.clone(), person))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rule::Rule;
    use crate::domain::rule::message::Language;
    use crate::domain::source::ShardId;
    use crate::domain::time::{Span, Timestamp};
    use crate::notify::channel::Address;
    use crate::notify::link::Claim;
    use crate::notify::routing::Duty;

    #[test]
    fn while_no_alerts_are_known_nobody_is_told_that_an_alert_is_over() {
        let alert = Alert::sample("acme", Rule::Neglected, "lead:1", Timestamp(0));
        let address = Address {
            channel: Channel::Mail,
            to: "v@x.example".into(),
            person: Some("vera".into()),
            language: Language::En,
        };
        let mut ledger = Ledger::new(Span::HOUR);
        let duty = Duty { address, ready_at: Timestamp(0), group: None, most: 1, is_quiet: false };
        ledger.status(ShardId(0), alert.clone(), vec![duty], Timestamp(0));
        let claim = |person: &str| Claim {
            answer: Answer::Taken,
            alert: alert.id,
            valid_until: Timestamp(1),
            person: person.into(),
        };
        let asked = |person: &str| Asked {
            claim: claim(person),
            token: "t".into(),
            chat: None,
            reply: tokio::sync::oneshot::channel().0,
        };
        assert_eq!(decide(None, false, &asked("vera")), Err(Refusal::NotStored));
        assert_eq!(decide(Some(&ledger), false, &asked("vera")), Ok((alert.clone(), "vera".into())));
        assert_eq!(decide(Some(&ledger), true, &asked("vera")), Err(Refusal::Used));
        assert_eq!(decide(Some(&ledger), false, &asked("oleg")), Err(Refusal::NotRecipient));
        assert_eq!(decide(Some(&Ledger::new(Span::HOUR)), false, &asked("vera")), Err(Refusal::Over));
    }
}

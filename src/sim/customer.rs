//! A simulated customer: identifiers, spellings of phone and address, and the state of the story.
//!
//! No two customers share a phone or an address, and all spellings of a phone have one normal form. Customers have no
//! names.

use super::random::Random;
use crate::domain::event::{CallOutcome, Channel, Contact};
use crate::domain::id::{EntityId, EntityKind, MessageId, ThreadId};
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};

/// What happens next in a customer's story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The lead, or the walk-in's deal, is created.
    Create,
    /// The lead is assigned to a manager.
    Assign,
    /// A colleague takes over.
    Reassign,
    /// The manager moves the lead to the stage "in work".
    Accept,
    /// The manager calls.
    OutboundCall,
    /// The customer calls.
    InboundCall,
    /// The call ends.
    HangUp,
    /// The customer writes.
    Ask,
    /// An automatic reply is sent.
    AutoReply,
    /// The manager replies.
    Answer,
    /// The manager writes without having been asked.
    Write,
    /// They meet.
    Meet,
    /// The last call is reviewed.
    Review,
    /// The customer leaves an address.
    Link,
    /// The lead's deal is created.
    OpenDeal,
    /// The lead is closed as converted.
    Convert,
    /// The lead is disqualified.
    Disqualify,
    /// The needs analysis of the deal is completed.
    Analyse,
    /// Terms are offered.
    Offer,
    /// The invoice is sent.
    Invoice,
    /// The deal moves to its next stage.
    Move,
    /// The deal is won or lost.
    Finish,
}

/// What the company knows of the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A caller with neither a lead nor a deal.
    UnknownCaller,
    /// A lead.
    Lead,
    /// A deal.
    Deal,
}

/// A customer and the state of the story.
#[derive(Clone, Copy, Debug)]
pub(super) struct Customer {
    /// Unique number, from which ids, phone and address are derived.
    pub(super) number: u64,
    /// Index of the company.
    pub(super) company: u32,
    /// Index of the responsible manager in the company's staff.
    pub(super) member: u32,
    pub(super) step: Step,
    pub(super) phase: Phase,
    pub(super) phone: bool,
    /// The channel that the customer writes on, if any.
    pub(super) channel: Option<Channel>,
    /// Rounds left in this part of the story.
    pub(super) rounds: u8,
    pub(super) stage: u8,
    /// Consecutive calls by the manager that the customer did not answer.
    pub(super) failed_calls: u8,
    pub(super) touched: bool,
    pub(super) talked: bool,
    pub(super) responded: bool,
    /// Whether the lead is in the stage "in work".
    pub(super) in_work: bool,
    /// Whether the deal has no lead.
    pub(super) walk_in: bool,
    /// Whether the deal will be lost.
    pub(super) lost: bool,
    /// Whether a missed call has not been returned yet.
    pub(super) awaits_call_back: bool,
    /// Whether the customer's next call will be answered.
    pub(super) gets_through: bool,
    pub(super) inbound: bool,
    pub(super) outcome: CallOutcome,
    /// The step that will settle what is pending.
    pub(super) planned_step: Step,
    pub(super) planned_at: Timestamp,
    pub(super) call: u64,
    pub(super) call_started: Timestamp,
    pub(super) talk: Span,
    /// The last message.
    pub(super) message: u64,
    pub(super) created: Timestamp,
    /// When the current stage was entered.
    pub(super) entered: Timestamp,
    pub(super) amount_minor: i64,
}

impl Customer {
    /// A customer at the beginning of the story.
    pub(super) fn new(number: u64, company: u32, member: u32, phase: Phase, random: &mut Random) -> Self {
        let unknown_caller = phase == Phase::UnknownCaller;
        let written = !unknown_caller && random.chance(65);
        let phone = unknown_caller || !written || random.chance(90);
        let channels = [Channel::Email, Channel::Email, Channel::Messenger, Channel::Messenger, Channel::Chat];
        let channel = written.then(|| random.pick(channels));
        Self {
            number,
            company,
            member,
            step: if unknown_caller { Step::InboundCall } else { Step::Create },
            phase,
            phone,
            channel: channel.or((phone && random.chance(10)).then_some(Channel::Sms)),
            rounds: 0,
            stage: 0,
            failed_calls: 0,
            touched: false,
            talked: false,
            responded: false,
            in_work: false,
            walk_in: false,
            lost: false,
            awaits_call_back: false,
            gets_through: false,
            inbound: false,
            outcome: CallOutcome::NoAnswer,
            planned_step: Step::OutboundCall,
            planned_at: Timestamp(0),
            call: 0,
            call_started: Timestamp(0),
            talk: Span::ZERO,
            message: 0,
            created: Timestamp(0),
            entered: Timestamp(0),
            amount_minor: 0,
        }
    }

    /// The id of the lead, and of the deal created from it.
    pub(super) fn id(&self) -> CompactString {
        id("", self.number)
    }

    /// The lead or deal that the story is about now.
    pub(super) fn entity(&self) -> EntityId {
        let kind = if self.phase == Phase::Deal { EntityKind::Deal } else { EntityKind::Lead };
        EntityId { kind, id: self.id() }
    }

    /// The thread of the current messages, on channels that have threads.
    pub(super) fn thread(&self) -> Option<ThreadId> {
        let prefix = if self.phase == Phase::Deal { "deal-" } else { "lead-" };
        matches!(self.channel, Some(Channel::Email | Channel::Chat)).then(|| ThreadId(id(prefix, self.number)))
    }

    /// The id of the last message.
    pub(super) fn message_id(&self) -> MessageId {
        MessageId(id("m", self.message))
    }

    pub(super) fn phone_form(&self) -> CompactString {
        spell("7##########", self.number)
    }

    /// The phone as a telephony system spells it.
    pub(super) fn phone_dialled(&self, random: &mut Random) -> CompactString {
        spell(random.pick(["+7##########", "+7##########", "8##########", "7##########"]), self.number)
    }

    /// Phone and address as typed by people.
    pub(super) fn contacts(&self, random: &mut Random) -> Vec<Contact> {
        let mut contacts = Vec::with_capacity(2);
        if self.phone {
            contacts.push(Contact::Phone(spell(random.pick(TYPED), self.number)));
        }
        if self.channel.is_some_and(|channel| channel != Channel::Sms) {
            contacts.extend(self.address(random));
        }
        contacts
    }

    /// The address that the customer writes from.
    pub(super) fn address(&self, random: &mut Random) -> Option<Contact> {
        Some(match self.channel? {
            Channel::Email => Contact::Email(match random.below(10) {
                0 => format_compact!("Client {0} <c{0}@mail.example>", self.number),
                1 | 2 => format_compact!("C{}@Mail.Example", self.number),
                _ => format_compact!("c{}@mail.example", self.number),
            }),
            Channel::Sms => Contact::Phone(self.phone_dialled(random)),
            channel => Contact::Handle { handle: id("user", self.number), channel },
        })
    }

    /// The normal form of the address that the customer writes from.
    pub(super) fn address_form(&self) -> Option<CompactString> {
        Some(match self.channel? {
            Channel::Email => format_compact!("c{}@mail.example", self.number),
            Channel::Sms => self.phone_form(),
            channel => format_compact!("{}:user{}", channel.name(), self.number),
        })
    }
}

/// Spellings of phones as typed by people; `#` is a digit.
pub(super) const TYPED: [&str; 10] = [
    "+7##########",
    "+7##########",
    "8##########",
    "##########",
    "+7 (###) ###-##-##",
    "8 (###) ###-##-##",
    "+7 ### ### ## ##",
    "8-###-###-##-##",
    "(###) ###-##-##",
    "8 (###) ###-##-## доб. 12",
];

/// Area codes, including ones that begin with 8.
const AREAS: [u64; 16] = [495, 812, 831, 861, 862, 343, 383, 846, 903, 916, 921, 926, 962, 985, 999, 701];
/// Coprime to ten million: consecutive customers get numbers far apart, and no two get the same.
const STRIDE: u64 = 6_180_339;

/// The phone of a customer, spelled by a pattern.
pub(super) fn spell(pattern: &str, number: u64) -> CompactString {
    let area = AREAS[(number % 16) as usize];
    let mut rest = area * 10_000_000 + number / 16 % 10_000_000 * STRIDE % 10_000_000;
    let mut digits = [0; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut digits = digits.into_iter();
    let mut spelling = [0; 40];
    let length = pattern.len().min(spelling.len());
    for (to, from) in spelling.iter_mut().zip(pattern.bytes()) {
        *to = if from == b'#' { digits.next().unwrap_or(from) } else { from };
    }
    str::from_utf8(&spelling[..length]).unwrap_or_default().into()
}

/// A short prefix and a number.
pub(super) fn id(prefix: &str, number: u64) -> CompactString {
    let mut text = [0; 40];
    let mut start = text.len();
    let mut rest = number;
    loop {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    start -= prefix.len();
    text[start..start + prefix.len()].copy_from_slice(prefix.as_bytes());
    str::from_utf8(&text[start..]).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::domain::identity::{Country, email, normal_form, phone};
    use std::collections::BTreeSet;

    #[test]
    fn all_spellings_of_a_phone_have_one_normal_form() {
        for number in (0..100_000).step_by(77).chain([u64::MAX]) {
            let form = spell("7##########", number);
            for pattern in TYPED {
                let spelling = spell(pattern, number);
                assert_eq!(phone(&spelling, Country::Ru).as_ref(), Some(&form), "{spelling}");
            }
        }
    }

    #[test]
    fn no_two_customers_share_a_phone() {
        let phones: BTreeSet<_> = (0..50_000).map(|number| spell("7##########", number)).collect();
        assert_eq!(phones.len(), 50_000);
    }

    #[test]
    fn addresses_have_the_expected_normal_form() {
        let mut random = Random::new(3, 0);
        for number in 0..500 {
            let customer = Customer::new(number, 0, 0, Phase::Lead, &mut random);
            assert!(customer.phone || customer.channel.is_some());
            for _ in 0..5 {
                let form = customer.address(&mut random).and_then(|address| normal_form(&address, Country::Ru));
                assert_eq!(form, customer.address_form());
                let dialled = customer.phone_dialled(&mut random);
                assert_eq!(phone(&dialled, Country::Ru), Some(customer.phone_form()));
            }
        }
        assert_eq!(email("Client 1 <c1@mail.example>").as_deref(), Some("c1@mail.example"));
    }

    #[test]
    fn ids_are_a_prefix_and_a_number() {
        assert_eq!((id("", 0).as_str(), id("m", 1200).as_str()), ("0", "m1200"));
        assert_eq!(id("lead-", u64::MAX), format!("lead-{}", u64::MAX));
    }
}

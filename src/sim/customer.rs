//! Owns the customer: what one is known by, under which spellings, and where one's story stands. Promises that no two
//! share a phone or an address, and that every spelling of a phone has one normal form. Refuses names.

use super::random::Dice;
use crate::domain::event::{CallOutcome, Channel, Contact};
use crate::domain::id::{EntityId, EntityKind, MessageId, ThreadId};
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};

/// What happens next in a customer's story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The lead, or the walk-in's deal, is created.
    Create,
    /// It gets its manager.
    Assign,
    /// A colleague takes over.
    Reassign,
    /// The manager takes the lead to work.
    Accept,
    /// The manager calls.
    Dial,
    /// The customer calls.
    Ring,
    /// The call ends.
    HangUp,
    /// The customer writes.
    Ask,
    /// A robot says that an answer will follow.
    Excuse,
    /// The manager answers.
    Answer,
    /// The manager writes unasked.
    Write,
    /// They meet.
    Meet,
    /// Somebody listens to the last call.
    Review,
    /// The customer leaves an address.
    Link,
    /// The lead becomes a deal.
    OpenDeal,
    /// And is closed.
    Convert,
    /// The lead is turned down.
    Disqualify,
    /// The deal needs an analysis of needs.
    Analyse,
    /// Then terms.
    Offer,
    /// Then an invoice.
    Invoice,
    /// The deal moves to its next stage.
    Move,
    /// The deal is won or lost.
    Finish,
}

/// What a customer is to the company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A stranger who rang.
    Stranger,
    /// A lead.
    Lead,
    /// A deal.
    Deal,
}

/// A customer, and the point that the story has reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Customer {
    /// Which one; ids, phones and addresses come of it.
    pub(super) number: u64,
    /// Of which company.
    pub(super) company: u32,
    /// In whose hands.
    pub(super) member: u32,
    pub(super) step: Step,
    pub(super) phase: Phase,
    /// Whether the customer has a phone.
    pub(super) phone: bool,
    /// How the customer writes.
    pub(super) channel: Option<Channel>,
    /// Rounds left in this part of the story.
    pub(super) rounds: u8,
    /// The deal's stage.
    pub(super) stage: u8,
    /// Calls by the manager that nobody took, in a row.
    pub(super) tries: u8,
    /// Whether a manager ever turned to the customer.
    pub(super) touched: bool,
    /// Whether they ever talked.
    pub(super) talked: bool,
    /// Whether the first response is over.
    pub(super) responded: bool,
    /// Whether the lead was taken to work.
    pub(super) in_work: bool,
    /// Whether the deal comes without lead.
    pub(super) walk_in: bool,
    /// Whether the deal will be lost.
    pub(super) lost: bool,
    /// Whether a missed call waits to be returned.
    pub(super) waits: bool,
    /// Whether the customer will get through this time.
    pub(super) gets_through: bool,
    /// Whether the call is the customer's.
    pub(super) inbound: bool,
    pub(super) outcome: CallOutcome,
    /// What was promised.
    pub(super) then: Step,
    /// When it will be done.
    pub(super) promised: Timestamp,
    pub(super) call: u64,
    pub(super) call_started: Timestamp,
    pub(super) talk: Span,
    /// The last message.
    pub(super) message: u64,
    pub(super) created: Timestamp,
    /// When the present stage was entered.
    pub(super) entered: Timestamp,
    pub(super) amount_minor: i64,
}

impl Customer {
    /// A customer whom nothing is known of.
    pub(super) fn new(number: u64, company: u32, member: u32, phase: Phase, dice: &mut Dice) -> Self {
        let stranger = phase == Phase::Stranger;
        let written = !stranger && dice.chance(65);
        let phone = stranger || !written || dice.chance(90);
        let channels = [Channel::Email, Channel::Email, Channel::Messenger, Channel::Messenger, Channel::Chat];
        let channel = written.then(|| dice.pick(channels));
        Self {
            number,
            company,
            member,
            step: if stranger { Step::Ring } else { Step::Create },
            phase,
            phone,
            channel: channel.or((phone && dice.chance(10)).then_some(Channel::Sms)),
            rounds: 0,
            stage: 0,
            tries: 0,
            touched: false,
            talked: false,
            responded: false,
            in_work: false,
            walk_in: false,
            lost: false,
            waits: false,
            gets_through: false,
            inbound: false,
            outcome: CallOutcome::NoAnswer,
            then: Step::Dial,
            promised: Timestamp(0),
            call: 0,
            call_started: Timestamp(0),
            talk: Span::ZERO,
            message: 0,
            created: Timestamp(0),
            entered: Timestamp(0),
            amount_minor: 0,
        }
    }

    /// The id that the lead, and the deal grown from it, go by.
    pub(super) fn id(&self) -> CompactString {
        id("", self.number)
    }

    /// The lead or deal that the story is about now.
    pub(super) fn entity(&self) -> EntityId {
        let kind = if self.phase == Phase::Deal { EntityKind::Deal } else { EntityKind::Lead };
        EntityId { kind, id: self.id() }
    }

    /// The thread that the present messages stand in, where the channel has threads.
    pub(super) fn thread(&self) -> Option<ThreadId> {
        let prefix = if self.phase == Phase::Deal { "deal-" } else { "lead-" };
        matches!(self.channel, Some(Channel::Email | Channel::Chat)).then(|| ThreadId(id(prefix, self.number)))
    }

    /// The id of the last message.
    pub(super) fn message_id(&self) -> MessageId {
        MessageId(id("m", self.message))
    }

    /// The normal form of the phone.
    pub(super) fn phone_form(&self) -> CompactString {
        spell("7##########", self.number)
    }

    /// The phone as a telephone system spells it.
    pub(super) fn phone_dialled(&self, dice: &mut Dice) -> CompactString {
        spell(dice.pick(["+7##########", "+7##########", "8##########", "7##########"]), self.number)
    }

    /// Phones and addresses as people typed them in.
    pub(super) fn contacts(&self, dice: &mut Dice) -> Vec<Contact> {
        let mut contacts = Vec::with_capacity(2);
        if self.phone {
            contacts.push(Contact::Phone(spell(dice.pick(TYPED), self.number)));
        }
        if self.channel.is_some_and(|channel| channel != Channel::Sms) {
            contacts.extend(self.address(dice));
        }
        contacts
    }

    /// Where the customer writes from.
    pub(super) fn address(&self, dice: &mut Dice) -> Option<Contact> {
        Some(match self.channel? {
            Channel::Email => Contact::Email(match dice.below(10) {
                0 => format_compact!("Client {0} <c{0}@mail.example>", self.number),
                1 | 2 => format_compact!("C{}@Mail.Example", self.number),
                _ => format_compact!("c{}@mail.example", self.number),
            }),
            Channel::Sms => Contact::Phone(self.phone_dialled(dice)),
            channel => Contact::Handle { handle: id("user", self.number), channel },
        })
    }

    /// The normal form of where the customer writes from.
    pub(super) fn address_form(&self) -> Option<CompactString> {
        Some(match self.channel? {
            Channel::Email => format_compact!("c{}@mail.example", self.number),
            Channel::Sms => self.phone_form(),
            channel => format_compact!("{}:user{}", channel.name(), self.number),
        })
    }
}

/// How people type a phone in; `#` is a digit.
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

/// Area codes, among them those that begin with 8.
const AREAS: [u64; 16] = [495, 812, 831, 861, 862, 343, 383, 846, 903, 916, 921, 926, 962, 985, 999, 701];
/// Without a common divisor with ten million: neighbours get numbers far apart, and no two the same.
const STRIDE: u64 = 6_180_339;

/// The phone of a customer after a pattern.
pub(super) fn spell(pattern: &str, number: u64) -> CompactString {
    let area = AREAS[(number % 16) as usize];
    let mut left = area * 10_000_000 + number / 16 % 10_000_000 * STRIDE % 10_000_000;
    let mut digits = [0; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
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
    let mut left = number;
    loop {
        start -= 1;
        text[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
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
    fn all_spellings_of_a_phone_meet() {
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
    fn addresses_have_the_form_that_is_owed() {
        let mut dice = Dice::new(3, 0);
        for number in 0..500 {
            let customer = Customer::new(number, 0, 0, Phase::Lead, &mut dice);
            assert!(customer.phone || customer.channel.is_some());
            for _ in 0..5 {
                let form = customer.address(&mut dice).and_then(|address| normal_form(&address, Country::Ru));
                assert_eq!(form, customer.address_form());
                let dialled = customer.phone_dialled(&mut dice);
                assert_eq!(phone(&dialled, Country::Ru), Some(customer.phone_form()));
            }
        }
        assert_eq!(email("Client 1 <c1@mail.example>").as_deref(), Some("c1@mail.example"));
    }

    #[test]
    fn ids_are_numbers_after_a_prefix() {
        assert_eq!((id("", 0).as_str(), id("m", 1200).as_str()), ("0", "m1200"));
        assert_eq!(id("lead-", u64::MAX), format!("lead-{}", u64::MAX));
    }
}

//! A simulated customer: identifiers, spellings of phone and address, and the state of the story.
//!
//! No two customers share a phone or an address, and all spellings of a phone have one normal form. One customer in
//! seven has a second phone, one in fifty a foreign one. Customers have no names.

use super::random::Random;
use crate::domain::event::{CallOutcome, Channel, Contact, Direction};
use crate::domain::id::{ActivityId, EntityId, EntityKind, MessageId, ThreadId};
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};

/// What happens next in a customer's story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The lead, or the walk-in's deal, is created.
    Create,
    /// The lead is assigned to a manager.
    Assign,
    /// The customer sends the form again: a second lead.
    Duplicate,
    /// The second lead is merged into the first one.
    Merge,
    /// A colleague takes over.
    Reassign,
    /// The manager moves the lead to the stage "in work".
    Accept,
    /// The manager calls.
    OutboundCall,
    /// The customer calls.
    InboundCall,
    /// The customer leaves the queue.
    LeaveQueue,
    /// A colleague's phone stops ringing.
    StopRinging,
    /// The manager's leg of the call ends.
    HangUp,
    /// Its record comes again, with the recording.
    Repeat,
    /// Its record comes again, corrected.
    Correct,
    /// The conversation with a colleague ends.
    Transfer,
    /// The customer writes.
    Ask,
    /// An automatic reply is sent.
    AutoReply,
    /// The manager replies.
    Answer,
    /// The manager dismisses what is pending.
    Dismiss,
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
    /// A meeting is planned, or its date is moved.
    Plan,
    /// The planned meeting takes place.
    KeepPlan,
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
    /// The customer says thanks.
    Thank,
}

/// What follows the manager's leg of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sequel {
    #[default]
    None,
    Transfer,
    Repeat,
    Correct,
}

/// The current or last call.
#[derive(Clone, Copy, Debug)]
pub(super) struct CurrentCall {
    /// Number of the leg of the queue, then of the manager.
    pub(super) leg: u64,
    /// Number of the last leg reported.
    pub(super) last_leg: u64,
    /// Number of the session, if the exchange reports it.
    pub(super) session: Option<u64>,
    pub(super) direction: Direction,
    pub(super) second_number: bool,
    pub(super) outcome: CallOutcome,
    pub(super) sequel: Sequel,
    /// Colleagues whose phones ring too and are still to be reported.
    pub(super) colleagues: u8,
    /// When the current leg started.
    pub(super) started: Timestamp,
    /// When the manager's leg will end.
    pub(super) hangs_up: Timestamp,
    /// End of the first leg of a missed call.
    pub(super) missed: Timestamp,
    pub(super) talk: Span,
}

impl Default for CurrentCall {
    fn default() -> Self {
        Self {
            leg: 0,
            last_leg: 0,
            session: None,
            direction: Direction::Outbound,
            second_number: false,
            outcome: CallOutcome::NoAnswer,
            sequel: Sequel::None,
            colleagues: 0,
            started: Timestamp(0),
            hangs_up: Timestamp(0),
            missed: Timestamp(0),
            talk: Span::ZERO,
        }
    }
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
    /// Whether the customer has a second phone.
    pub(super) second_phone: bool,
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
    /// The step that will settle what is pending.
    pub(super) planned_step: Step,
    pub(super) planned_at: Timestamp,
    pub(super) call: CurrentCall,
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
            second_phone: phone && foreign(number).is_none() && random.chance(SECOND_PHONES),
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
            planned_step: Step::OutboundCall,
            planned_at: Timestamp(0),
            call: CurrentCall::default(),
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

    /// The lead that is merged into the first one.
    pub(super) fn duplicate(&self) -> EntityId {
        EntityId { kind: EntityKind::Lead, id: id("d", self.number) }
    }

    /// The planned meeting.
    pub(super) fn activity(&self) -> ActivityId {
        ActivityId(id("a", self.number))
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

    /// The normal form of the phone.
    pub(super) fn phone_form(&self) -> CompactString {
        match foreign(self.number) {
            Some([form, ..]) => spell(form, subscriber(self.number)),
            None => spell("7##########", national(AREAS, self.number)),
        }
    }

    /// The phone, or the second one, as a telephony system spells it.
    pub(super) fn phone_dialled(&self, second: bool, random: &mut Random) -> CompactString {
        if let Some([_, plus, zeros, _]) = foreign(self.number) {
            return spell(random.pick([plus, plus, plus, zeros]), subscriber(self.number));
        }
        let areas = if second { SECOND_AREAS } else { AREAS };
        let spelling = random.pick(["+7##########", "+7##########", "8##########", "7##########"]);
        spell(spelling, national(areas, self.number))
    }

    /// The phones as typed by people: two of them in two fields, or in one.
    fn phones_typed(&self, random: &mut Random, contacts: &mut Vec<Contact>) {
        if let Some([_, plus, zeros, spaced]) = foreign(self.number) {
            contacts.push(Contact::Phone(spell(random.pick([plus, zeros, spaced]), subscriber(self.number))));
            return;
        }
        let first = spell(random.pick(TYPED), national(AREAS, self.number));
        if !self.second_phone {
            contacts.push(Contact::Phone(first));
            return;
        }
        let second = spell(random.pick(TYPED), national(SECOND_AREAS, self.number));
        if random.chance(TWO_IN_A_FIELD) {
            contacts.push(Contact::Phone(format_compact!("{first}; {second}")));
        } else {
            contacts.extend([Contact::Phone(first), Contact::Phone(second)]);
        }
    }

    /// Phones and address as typed by people.
    pub(super) fn contacts(&self, random: &mut Random) -> Vec<Contact> {
        let mut contacts = Vec::with_capacity(2);
        if self.phone {
            self.phones_typed(random, &mut contacts);
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
            Channel::Sms => Contact::Phone(self.phone_dialled(false, random)),
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

/// Customers with a phone who have a second one, in percent.
const SECOND_PHONES: u32 = 15;
/// Of their contacts, those typed into one field.
const TWO_IN_A_FIELD: u32 = 30;
/// Area codes, including ones that begin with 8.
const AREAS: [u64; 16] = [495, 812, 831, 861, 862, 343, 383, 846, 903, 916, 921, 926, 962, 985, 999, 701];
/// Codes of second phones.
const SECOND_AREAS: [u64; 16] = [901, 902, 904, 905, 906, 908, 909, 910, 911, 912, 913, 914, 915, 917, 918, 919];
/// Coprime to ten million: consecutive customers get numbers far apart, and no two get the same.
const STRIDE: u64 = 6_180_339;
/// Phones in Germany, Belarus and Great Britain: the normal form, and spellings.
const FOREIGN: [[&str; 4]; 3] = [
    ["4930#######", "+4930#######", "004930#######", "+49 (0)30 #######"],
    ["37529#######", "+37529#######", "0037529#######", "+375 (29) ###-##-##"],
    ["44207#######", "+44207#######", "0044207#######", "+44 207 ### ####"],
];

/// The spellings of a customer's phone abroad, if it is there.
fn foreign(number: u64) -> Option<[&'static str; 4]> {
    (number % 48 == 11).then(|| FOREIGN[(number / 48 % 3) as usize])
}

/// The last seven digits of a customer's phones.
fn subscriber(number: u64) -> u64 {
    number / 16 % 10_000_000 * STRIDE % 10_000_000
}

/// The ten digits of a Russian or Kazakh phone of a customer.
fn national(areas: [u64; 16], number: u64) -> u64 {
    areas[(number % 16) as usize] * 10_000_000 + subscriber(number)
}

/// A phone, spelled by a pattern.
fn spell(pattern: &str, phone: u64) -> CompactString {
    let mut rest = phone;
    let mut spelling = [0; 40];
    let length = pattern.len().min(spelling.len());
    for (to, from) in spelling[..length].iter_mut().zip(pattern.bytes()).rev() {
        *to = if from == b'#' {
            let digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            digit
        } else {
            from
        };
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

    use crate::domain::identity::{Country, email, normal_forms, phones};

    fn only(phone: &str) -> CompactString {
        let forms: Vec<_> = phones(phone, Country::default()).collect();
        let [form] = &forms[..] else { panic!("{phone}: {forms:?}") };
        form.clone()
    }

    #[test]
    fn all_spellings_of_a_phone_have_one_normal_form() {
        for number in (0..100_000).step_by(77).chain([u64::MAX]) {
            for areas in [AREAS, SECOND_AREAS] {
                let phone = national(areas, number);
                TYPED.iter().for_each(|pattern| assert_eq!(only(&spell(pattern, phone)), spell("7##########", phone)));
            }
            for [form, spellings @ ..] in FOREIGN {
                let phone = subscriber(number);
                spellings.iter().for_each(|pattern| assert_eq!(only(&spell(pattern, phone)), spell(form, phone)));
            }
        }
    }

    #[test]
    fn no_two_customers_share_a_phone() {
        let mut random = Random::new(4, 0);
        let mut phones: Vec<_> = (0..50_000)
            .flat_map(|number| Customer::new(number, 0, 0, Phase::UnknownCaller, &mut random).contacts(&mut random))
            .flat_map(|contact| normal_forms(&contact, Country::default()).collect::<Vec<_>>())
            .collect();
        let all = phones.len();
        assert!((56_000..60_000).contains(&all), "{all}");
        phones.sort_unstable();
        phones.dedup();
        assert_eq!(phones.len(), all);
    }

    #[test]
    fn addresses_have_the_expected_normal_form() {
        let mut random = Random::new(3, 0);
        for number in 0..500 {
            let customer = Customer::new(number, 0, 0, Phase::Lead, &mut random);
            assert!(customer.phone || customer.channel.is_some());
            for _ in 0..5 {
                let address = customer.address(&mut random);
                let form = address.and_then(|address| normal_forms(&address, Country::default()).next());
                assert_eq!(form, customer.address_form());
                assert_eq!(only(&customer.phone_dialled(false, &mut random)), customer.phone_form());
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

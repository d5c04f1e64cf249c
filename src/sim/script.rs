//! Owns the stories: what managers and customers do with each other, one event a step. Promises that a customer's
//! events never share an instant, and that exactly what is entered as owed violates the norms. Refuses to keep
//! customers: whoever calls a scene keeps them and calls again when the next step is due.
//!
//! **One thing at a time.** A story has one next step. While something is owed to a customer (a first response, a call
//! back, an answer) nothing else happens to him that could settle it, so what is planned is what comes out.

use super::customer::{Customer, Phase, Step, id};
use super::expected::{ExpectedAlert, Subject};
use super::plan::{Company, Habit, Member, Plan, Traits, Weights};
use super::random::Dice;
use crate::domain::event::{
    ActivityKind, Amount, Call, CallEnd, CallOutcome, Channel, Created, CrmPayload, Direction, Event, Message, Outcome,
    Payload, Snapshot, StageChanged, TermsOffered, Verdict,
};
use crate::domain::id::{CallId, EntityId, EntityKind, EventId, MessageId, PipelineId, SourceId, StageId};
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;

/// What all stories share.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) dice: Dice,
    /// The last number of each that was given out.
    pub(super) events: u64,
    pub(super) customers: u64,
    pub(super) calls: u64,
    pub(super) messages: u64,
    pub(super) owed: Vec<ExpectedAlert>,
}

/// One instant in one company.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) plan: &'a Plan,
    pub(super) company: &'a Company,
    pub(super) books: &'a mut Books,
    pub(super) now: Timestamp,
}

/// When the next step is due; `None`: the story is over.
type Next = Option<Timestamp>;

/// The stages of [`norms_yaml`](super::norms_yaml)'s pipeline.
const STAGES: [&str; 4] = ["NEW", "NEEDS", "PROPOSAL", "INVOICE"];
const SOURCES: [&str; 5] = ["WEB", "CALL", "ADVERT", "PARTNER", "FAIR"];
const REASONS: [&str; 4] = ["no_budget", "not_interested", "duplicate", "bought_elsewhere"];
/// Who allows large discounts, listens to calls, and is no manager.
pub(super) const BOSS: &str = "boss";

/// Too late, but done: parts of the norm in percent.
const LATE: (i64, i64) = (120, 200);
/// Too late by hours.
const NEVER: (i64, i64) = (400, 700);
/// From one thing to the next where nothing presses.
const LEISURE: (Span, Span) = (Span::MINUTE, Span(6 * Span::MINUTE.0));
/// From the moment at which a colleague takes over to the first touch.
const TAKEN_OVER: Span = Span(2 * Span::MINUTE.0);

impl Scene<'_> {
    /// Plays the customer's next step: what it sends, and when the one after it is due.
    pub(super) fn play(&mut self, customer: &mut Customer) -> (Event, Next) {
        let (payload, next) = match customer.step {
            Step::Create => self.create(customer),
            Step::Assign => self.assign(customer),
            Step::Reassign => self.reassign(customer),
            Step::Accept => self.accept(customer),
            Step::Dial => self.dial(customer),
            Step::Ring => self.ring(customer),
            Step::HangUp => self.hang_up(customer),
            Step::Ask => self.ask(customer),
            Step::Excuse => self.excuse(customer),
            Step::Answer => self.answer(customer),
            Step::Write => self.write(customer),
            Step::Meet => self.meet(customer),
            Step::Review => self.review(customer),
            Step::Link => self.link(customer),
            Step::OpenDeal => self.open_deal(customer),
            Step::Convert => self.convert(customer),
            Step::Disqualify => self.disqualify(customer),
            Step::Analyse | Step::Invoice => self.prepare(customer),
            Step::Offer => self.offer(customer),
            Step::Move => self.advance(customer),
            Step::Finish => self.finish(customer),
        };
        (self.event(payload), next.map(|next| next.max(Timestamp(self.now.0 + 1))))
    }

    /// The company presents a manager.
    pub(super) fn present(&mut self, member: &Member) -> Event {
        self.event(crm(CrmPayload::ManagerUpserted {
            manager: member.id.clone(),
            department: Some(member.department.clone()),
            grade: Some(member.grade.clone()),
            active: true,
        }))
    }

    fn event(&mut self, payload: Payload) -> Event {
        self.books.events += 1;
        let event_id = EventId(id("e", self.books.events));
        Event { tenant: self.company.tenant.clone(), at: self.now, id: Some(event_id), payload }
    }

    // Whose, and when.

    fn member(&self, customer: &Customer) -> &Member {
        &self.company.staff[customer.member as usize]
    }

    fn traits(&self, customer: &Customer) -> Traits {
        self.member(customer).habit.traits()
    }

    pub(super) fn weights(&self) -> Weights {
        self.plan.mix.weights()
    }

    /// A part of a norm, in percent, that is exceeded on purpose.
    fn late(&mut self, norm: Span, (low, high): (i64, i64)) -> Timestamp {
        let span = self.books.dice.span(Span(norm.0 * low / 100), Span(norm.0 * high / 100));
        self.plan.shift.after(self.now, span)
    }

    /// A part of a norm that is kept.
    fn prompt(&mut self, customer: &Customer, norm: Span) -> Timestamp {
        let (low, high) = self.traits(customer).prompt;
        let span = self.books.dice.span(Span(norm.0 * low / 100), Span(norm.0 * high / 100));
        self.plan.shift.after(self.now, self.quick(span))
    }

    /// A span at the plan's pace.
    fn quick(&self, span: Span) -> Span {
        Span((span.0 / i64::from(self.plan.pace.max(1))).max(1))
    }

    /// Some seconds later.
    fn soon(&mut self, low: i64, high: i64) -> Timestamp {
        let span = self.books.dice.span(Span(low * 1000), Span(high * 1000));
        self.now + self.quick(span)
    }

    /// When the manager comes to it, with nothing pressing.
    fn at_leisure(&mut self, customer: &Customer) -> Timestamp {
        let slowness = self.traits(customer).slowness;
        let span = self.books.dice.span(LEISURE.0, LEISURE.1);
        self.plan.shift.after(self.now, self.quick(Span(span.0 * slowness)))
    }

    /// When the customer thinks of it: some do so after hours.
    fn at_will(&mut self) -> Timestamp {
        let span = self.books.dice.span(LEISURE.0, LEISURE.1);
        let span = self.quick(span);
        if self.books.dice.chance(20) { self.now + span } else { self.plan.shift.after(self.now, span) }
    }

    fn owe(&mut self, customer: &Customer, rule: Rule, subject: Subject, anchor: Timestamp, settled: Next) {
        if self.plan.keeps_owed {
            let (tenant, manager) = (self.company.tenant.clone(), self.member(customer).id.clone());
            self.books.owed.push(ExpectedAlert { tenant, manager, rule, subject, anchor, settled });
        }
    }

    // The lead comes in.

    fn create(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.phase = if customer.walk_in { Phase::Deal } else { Phase::Lead };
        customer.created = self.seen_by_crm(self.now);
        customer.entered = customer.created;
        customer.amount_minor = self.books.dice.between(10, 500) * 100_000;
        // What came before, on the phone, was no touch of this lead.
        (customer.touched, customer.talked) = (false, false);
        self.plan_first_response(customer);
        let assigned = self.company.snapshots || customer.walk_in || self.books.dice.chance(60);
        let payload = self.created(customer, assigned);
        if assigned {
            customer.step = customer.then;
            return (payload, Some(customer.promised));
        }
        customer.step = Step::Assign;
        // One part in a hundred to one in thirty of the norm: always before the first touch.
        let norm = self.plan.norm.first_response.0;
        let wait = self.books.dice.span(Span(norm / 100), Span(norm / 30));
        (payload, Some(self.now + self.quick(wait)))
    }

    pub(super) fn rounds(&mut self, (low, high): (i64, i64)) -> u8 {
        self.books.dice.between(low, high) as u8
    }

    /// When the CRM says that something was that becomes known now.
    fn seen_by_crm(&mut self, now: Timestamp) -> Timestamp {
        if !self.company.snapshots {
            return now;
        }
        // The staff were presented in the first milliseconds: what lies before is no concern of the norms.
        let first = Timestamp(self.plan.start.0 + self.company.staff.len() as i64);
        (now.saturating_sub(self.books.dice.span_below(Span(2000)))).max(first).min(now)
    }

    fn created(&mut self, customer: &Customer, assigned: bool) -> Payload {
        if self.company.snapshots {
            return self.snapshot(customer, customer.entity(), None, None);
        }
        let deal = customer.phase == Phase::Deal;
        let created = Created {
            id: customer.id(),
            lead: None,
            manager: assigned.then(|| self.member(customer).id.clone()),
            pipeline: deal.then(pipeline),
            stage: Some(stage(STAGES[0])),
            source: (!deal).then(|| source(customer)),
            amount: if deal { amount(customer) } else { Amount::default() },
            contacts: customer.contacts(&mut self.books.dice),
        };
        crm(if deal { CrmPayload::DealCreated(created) } else { CrmPayload::LeadCreated(created) })
    }

    /// When the first response will be, or what comes instead; by the manager's habits.
    fn plan_first_response(&mut self, customer: &mut Customer) {
        let (traits, norm) = (self.traits(customer), self.plan.norm.first_response);
        let known_at = std::mem::replace(&mut self.now, customer.created);
        customer.then = self.touch(customer);
        if !customer.walk_in && self.books.dice.chance(traits.turns_down) {
            customer.then = Step::Disqualify;
            customer.promised = self.prompt(customer, norm);
        } else if !customer.walk_in && self.books.dice.chance(traits.abandons) {
            customer.promised = self.late(norm, NEVER);
            let saved = self.books.dice.chance(60) && self.colleague(customer).is_some();
            customer.then = if saved { Step::Reassign } else { Step::Disqualify };
            let settled = if saved { self.plan.shift.after(customer.promised, TAKEN_OVER) } else { customer.promised };
            self.owe_first_response(customer, settled);
        } else if self.books.dice.chance(traits.answers_late) {
            customer.promised = self.late(norm, LATE);
            self.owe_first_response(customer, customer.promised);
        } else {
            customer.promised = self.prompt(customer, norm);
        }
        self.now = known_at;
    }

    fn owe_first_response(&mut self, customer: &Customer, settled: Timestamp) {
        let subject = Subject::Entity(customer.entity());
        self.owe(customer, Rule::FirstResponseLate, subject, customer.created, Some(settled));
    }

    /// How the manager turns to the customer.
    fn touch(&mut self, customer: &Customer) -> Step {
        let calls = customer.phone && (customer.channel.is_none() || self.books.dice.chance(80));
        if calls { Step::Dial } else { Step::Write }
    }

    /// A brisk colleague.
    fn colleague(&self, customer: &Customer) -> Option<u32> {
        let brisk = |member: &Member| member.habit == Habit::Brisk;
        let other = self.company.staff.iter().position(brisk)? as u32;
        (other != customer.member).then_some(other)
    }

    fn assign(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.step = customer.then;
        (self.assigned(customer), Some(customer.promised))
    }

    fn reassign(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.member = self.colleague(customer).unwrap_or(customer.member);
        customer.step = self.touch(customer);
        (self.assigned(customer), Some(self.plan.shift.after(self.now, TAKEN_OVER)))
    }

    fn assigned(&mut self, customer: &Customer) -> Payload {
        if self.company.snapshots {
            return self.snapshot(customer, customer.entity(), None, None);
        }
        crm(CrmPayload::Assigned { entity: customer.entity(), manager: self.member(customer).id.clone() })
    }

    fn accept(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.in_work = true;
        customer.entered = self.seen_by_crm(self.now).max(customer.entered);
        let payload = if self.company.snapshots {
            self.snapshot(customer, customer.entity(), None, None)
        } else {
            crm(CrmPayload::StageChanged(StageChanged {
                entity: customer.entity(),
                pipeline: None,
                from: Some(stage(STAGES[0])),
                to: stage(IN_WORK),
                filled_fields: Vec::new(),
            }))
        };
        (payload, self.onwards(customer))
    }

    // What goes on between them.

    /// What comes after something is done.
    fn onwards(&mut self, customer: &mut Customer) -> Next {
        match customer.phase {
            Phase::Stranger => self.stranger_goes_on(customer),
            Phase::Lead if !customer.responded => {
                customer.responded = true;
                if self.books.dice.chance(50) {
                    customer.step = Step::Accept;
                    return Some(self.soon(5, 60));
                }
                self.onwards(customer)
            }
            _ if customer.rounds > 0 => {
                customer.rounds -= 1;
                Some(self.round(customer))
            }
            Phase::Lead => Some(self.decide(customer)),
            Phase::Deal => Some(self.work_on_deal(customer)),
        }
    }

    /// A stranger who was served becomes a lead, buys at once, or is never heard of again.
    fn stranger_goes_on(&mut self, customer: &mut Customer) -> Next {
        let wish = self.books.dice.below(100);
        if !customer.talked || wish >= 40 {
            return None;
        }
        customer.walk_in = wish < 5;
        customer.rounds = self.rounds(self.weights().lead_rounds);
        customer.step = Step::Create;
        Some(self.soon(20, 90))
    }

    fn round(&mut self, customer: &mut Customer) -> Timestamp {
        let weights = self.weights();
        let choice = self.books.dice.below(100);
        let rings = weights.dials + weights.rings;
        let asks = rings + weights.asks;
        let writes = asks + weights.writes;
        customer.step = match (choice, customer.phone, customer.channel.is_some()) {
            (choice, true, _) if choice < weights.dials => Step::Dial,
            (choice, true, _) if choice < rings => Step::Ring,
            (choice, _, true) if choice < asks => Step::Ask,
            (choice, _, true) if choice < writes => Step::Write,
            (choice, _, _) if choice >= writes => Step::Meet,
            (_, true, _) => Step::Dial,
            _ => Step::Write,
        };
        match customer.step {
            Step::Ring | Step::Ask => self.at_will(),
            _ => self.at_leisure(customer),
        }
    }

    fn meet(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.touched = true;
        customer.talked = true;
        let kind = if self.books.dice.chance(70) { ActivityKind::Meeting } else { ActivityKind::Demo };
        (self.activity(customer, kind), self.onwards(customer))
    }

    fn activity(&self, customer: &Customer, kind: ActivityKind) -> Payload {
        let manager = Some(self.member(customer).id.clone());
        crm(CrmPayload::ActivityCompleted { entity: customer.entity(), manager, kind })
    }

    fn review(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let (low, high) = self.traits(customer).score;
        let score = self.books.dice.between(low, high);
        let verdict = match score {
            ..50 => Verdict::Failure,
            50..80 => Verdict::Neutral,
            _ => Verdict::Success,
        };
        let payload = crm(CrmPayload::InteractionReviewed {
            interaction: id("c", customer.call),
            manager: self.member(customer).id.clone(),
            score: score as f64,
            verdict,
        });
        (payload, self.onwards(customer))
    }

    fn link(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.channel = Some(Channel::Email);
        let contact = customer.address(&mut self.books.dice);
        (crm(CrmPayload::ContactLinked { entity: customer.entity(), contact }), self.onwards(customer))
    }

    // Calls.

    fn dial(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.touched = true;
        customer.waits = false;
        let answered = self.books.dice.chance(70);
        self.pick_up(customer, Direction::Outbound, answered)
    }

    fn ring(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let at_work = self.plan.shift.works(self.now);
        let misses = self.traits(customer).misses;
        let answered = customer.gets_through || at_work && !customer.waits && !self.books.dice.chance(misses);
        self.pick_up(customer, Direction::Inbound, answered)
    }

    /// A call begins; how it will end is known to the simulator only.
    fn pick_up(&mut self, customer: &mut Customer, direction: Direction, answered: bool) -> (Payload, Next) {
        use CallOutcome::{Answered, Busy, Failed, NoAnswer, Rejected, Voicemail};
        let dice = &mut self.books.dice;
        self.books.calls += 1;
        customer.call = self.books.calls;
        customer.call_started = self.now;
        customer.inbound = direction == Direction::Inbound;
        let (ringing, talk) = match answered {
            true => (dice.between(3, 20), dice.between(15, 240)),
            false => (dice.between(10, 40), 0),
        };
        customer.outcome = match (answered, direction) {
            (true, _) => Answered,
            (false, Direction::Inbound) => dice.pick([NoAnswer, NoAnswer, NoAnswer, Busy, Rejected, Voicemail]),
            (false, Direction::Outbound) => dice.pick([NoAnswer, NoAnswer, NoAnswer, Busy, Rejected, Failed]),
        };
        // However fast life goes by, a conversation is one: it takes more than a second.
        customer.talk = if answered { self.quick(Span(talk * 1000)).max(Span(1200)) } else { Span::ZERO };
        let ends = self.now + self.quick(Span(ringing * 1000)) + customer.talk;
        customer.step = Step::HangUp;
        (Payload::Call(Box::new(self.call(customer, None))), Some(ends))
    }

    fn call(&mut self, customer: &Customer, end: Option<CallEnd>) -> Call {
        let dice = &mut self.books.dice;
        let phone = customer.phone_dialled(dice);
        let known = customer.phase != Phase::Stranger;
        let entity = (known && dice.chance(30)).then(|| customer.entity());
        let names = !customer.inbound || !known || customer.talk > Span::ZERO || dice.chance(70);
        let direction = if customer.inbound { Direction::Inbound } else { Direction::Outbound };
        let manager = names.then(|| self.member(customer).id.clone());
        Call { id: CallId(id("c", customer.call)), direction, phone, manager, entity, end }
    }

    fn hang_up(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let answered = customer.outcome == CallOutcome::Answered;
        let end = CallEnd {
            started_at: Some(customer.call_started),
            talk: customer.talk,
            outcome: customer.outcome,
            recording_url: answered.then(|| id("rec://", customer.call)),
        };
        let payload = Payload::Call(Box::new(self.call(customer, Some(end))));
        let next = match (answered, customer.inbound) {
            (true, _) => self.talked(customer),
            (false, true) => Some(self.missed(customer)),
            (false, false) => self.not_reached(customer),
        };
        (payload, next)
    }

    fn talked(&mut self, customer: &mut Customer) -> Next {
        customer.touched = true;
        customer.talked = true;
        customer.tries = 0;
        customer.waits = false;
        customer.gets_through = false;
        if customer.phase != Phase::Stranger {
            if self.books.dice.chance(4) {
                customer.step = Step::Review;
                return Some(self.at_leisure(customer));
            }
            if customer.channel.is_none() && self.books.dice.chance(10) {
                customer.step = Step::Link;
                return Some(self.soon(20, 120));
            }
        }
        self.onwards(customer)
    }

    fn not_reached(&mut self, customer: &mut Customer) -> Next {
        customer.tries += 1;
        if customer.tries < 3 && customer.phase != Phase::Stranger {
            customer.step = Step::Dial;
            return Some(self.at_leisure(customer));
        }
        customer.tries = 0;
        if customer.phase == Phase::Lead && !customer.talked {
            customer.step = Step::Disqualify;
            return Some(self.at_leisure(customer));
        }
        self.onwards(customer)
    }

    /// The customer's call was missed: it is promised to be returned, or the customer will get through before.
    fn missed(&mut self, customer: &mut Customer) -> Timestamp {
        if !customer.waits {
            customer.waits = true;
            self.plan_call_back(customer);
            let left = customer.promised - self.now;
            if left > Span(3 * Span::MINUTE.0) && self.books.dice.chance(25) {
                // In vain: that call ends long before the promised one.
                customer.step = Step::Ring;
                let patience = self.books.dice.span(Span(5 * Span::MINUTE.0), Span(20 * Span::MINUTE.0));
                return self.now + Span(left.0 / 3).min(patience);
            }
        }
        customer.gets_through = customer.then == Step::Ring;
        customer.step = customer.then;
        customer.promised
    }

    fn plan_call_back(&mut self, customer: &mut Customer) {
        let norm = self.plan.norm.call_back;
        let ignores = self.traits(customer).ignores;
        customer.then = Step::Dial;
        if !self.books.dice.chance(ignores) {
            customer.promised = self.prompt(customer, norm);
            return;
        }
        let (gets_through, range) = match self.books.dice.below(10) {
            0..5 => (false, LATE),
            5..8 => (true, LATE),
            _ => (false, NEVER),
        };
        if gets_through {
            customer.then = Step::Ring;
        }
        customer.promised = self.late(norm, range);
        let subject = Subject::Contact(customer.phone_form());
        self.owe(customer, Rule::MissedCallNotReturned, subject, self.now, Some(customer.promised));
    }

    // Letters.

    fn ask(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let (norm, late) = (self.plan.norm.reply, self.traits(customer).replies_late);
        let payload = self.message(customer, Direction::Inbound, None, false);
        if self.books.dice.chance(late) {
            customer.promised = self.late(norm, LATE);
            if let Some(form) = customer.address_form() {
                let subject = Subject::Contact(form);
                self.owe(customer, Rule::MessageUnanswered, subject, self.now, Some(customer.promised));
            }
        } else {
            customer.promised = self.prompt(customer, norm);
        }
        let excused = self.now + Span(self.books.dice.between(900, 4000));
        if customer.channel == Some(Channel::Email) && excused < customer.promised && self.books.dice.chance(15) {
            customer.step = Step::Excuse;
            return (payload, Some(excused));
        }
        customer.step = Step::Answer;
        (payload, Some(customer.promised))
    }

    fn excuse(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let asked = customer.message;
        let payload = self.message(customer, Direction::Outbound, Some(customer.message_id()), true);
        customer.message = asked;
        customer.step = Step::Answer;
        (payload, Some(customer.promised))
    }

    fn answer(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let reply = self.books.dice.chance(70).then(|| customer.message_id());
        let payload = self.message(customer, Direction::Outbound, reply, false);
        (payload, self.written(customer, 25))
    }

    fn write(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let payload = self.message(customer, Direction::Outbound, None, false);
        (payload, self.written(customer, 45))
    }

    /// The manager wrote; so many customers in a hundred write back.
    fn written(&mut self, customer: &mut Customer, write_back: u32) -> Next {
        customer.touched = true;
        if self.books.dice.chance(write_back) {
            customer.step = Step::Ask;
            return Some(self.at_will());
        }
        self.onwards(customer)
    }

    fn message(
        &mut self,
        customer: &mut Customer,
        direction: Direction,
        in_reply_to: Option<MessageId>,
        automatic: bool,
    ) -> Payload {
        self.books.messages += 1;
        customer.message = self.books.messages;
        let named = direction == Direction::Outbound || self.books.dice.chance(50);
        Payload::Message(Box::new(Message {
            id: customer.message_id(),
            direction,
            thread: customer.thread(),
            in_reply_to,
            channel: customer.channel.unwrap_or(Channel::Email),
            contact: customer.address(&mut self.books.dice),
            manager: (named && !automatic).then(|| self.member(customer).id.clone()),
            entity: self.books.dice.chance(30).then(|| customer.entity()),
            automatic,
        }))
    }

    // How it ends.

    /// The lead becomes a deal or is turned down.
    fn decide(&mut self, customer: &mut Customer) -> Timestamp {
        let converts = self.traits(customer).converts;
        customer.step = if self.books.dice.chance(converts) { Step::OpenDeal } else { Step::Disqualify };
        self.at_leisure(customer)
    }

    fn disqualify(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let dice = &mut self.books.dice;
        let reason = match (customer.touched, customer.talked) {
            (true, true) => Some(dice.pick(REASONS)),
            (true, false) => Some("not_reached"),
            (false, _) => dice.chance(50).then_some("spam"),
        };
        if !customer.touched {
            let subject = Subject::Entity(customer.entity());
            self.owe(customer, Rule::DisqualifiedWithoutContact, subject.clone(), self.now, None);
            if reason.is_none() {
                self.owe(customer, Rule::DisqualifiedWithoutReason, subject, self.now, None);
            }
        }
        (self.closed(customer, customer.entity(), Outcome::Disqualified, reason), None)
    }

    fn closed(
        &mut self,
        customer: &Customer,
        entity: EntityId,
        outcome: Outcome,
        reason: Option<&'static str>,
    ) -> Payload {
        let reason = reason.map(CompactString::const_new);
        if self.company.snapshots {
            return self.snapshot(customer, entity, Some(outcome), reason);
        }
        crm(CrmPayload::Closed { entity, outcome, reason })
    }

    fn open_deal(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.phase = Phase::Deal;
        customer.created = self.seen_by_crm(self.now).max(customer.entered);
        customer.entered = customer.created;
        customer.step = Step::Convert;
        let payload = if self.company.snapshots {
            self.snapshot(customer, customer.entity(), None, None)
        } else {
            crm(CrmPayload::DealCreated(Created {
                id: customer.id(),
                lead: Some(customer.id()),
                manager: Some(self.member(customer).id.clone()),
                pipeline: Some(pipeline()),
                stage: Some(stage(STAGES[0])),
                source: None,
                amount: amount(customer),
                contacts: customer.contacts(&mut self.books.dice),
            }))
        };
        (payload, Some(self.soon(1, 4)))
    }

    fn convert(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let lead = EntityId { kind: EntityKind::Lead, id: customer.id() };
        let payload = self.closed(customer, lead, Outcome::Converted, None);
        customer.rounds = self.rounds(self.weights().deal_rounds);
        (payload, self.onwards(customer))
    }

    // The deal.

    fn work_on_deal(&mut self, customer: &mut Customer) -> Timestamp {
        customer.lost = self.books.dice.chance(10);
        customer.step = match customer.stage {
            _ if customer.lost => Step::Finish,
            0 => Step::Move,
            1 => Step::Analyse,
            2 => Step::Offer,
            _ => Step::Finish,
        };
        self.at_leisure(customer)
    }

    fn prepare(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let analyses = customer.step == Step::Analyse;
        let kind = if analyses { ActivityKind::NeedsAnalysis } else { ActivityKind::Invoice };
        customer.step = Step::Move;
        (self.activity(customer, kind), Some(self.soon(10, 120)))
    }

    fn offer(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let discounts = self.traits(customer).discounts;
        let dice = &mut self.books.dice;
        // Up to 10 % everybody may give; more needs the boss.
        let beyond = dice.chance(discounts);
        let generous = !beyond && dice.chance(4);
        let discount = match (beyond || generous, dice.below(100)) {
            (true, _) => dice.between(13, 30),
            (false, 0..15) => dice.between(1, 5) * 2,
            (false, _) => 0,
        };
        let (installment_months, prepayment_percent) = match dice.below(100) {
            0..5 => (Some(3), Some(50.0)),
            5..60 => (Some(0), Some(100.0)),
            _ => (None, None),
        };
        if beyond {
            let subject = Subject::Entity(customer.entity());
            self.owe(customer, Rule::DiscountOverLimit, subject, self.now, None);
        }
        customer.step = Step::Invoice;
        let terms = TermsOffered {
            deal: customer.id(),
            manager: Some(self.member(customer).id.clone()),
            discount_percent: Some(discount as f64),
            installment_months,
            prepayment_percent,
            approved_by: generous.then(|| BOSS.into()),
            amount: amount(customer),
        };
        (crm(CrmPayload::TermsOffered(terms)), Some(self.soon(60, 300)))
    }

    fn advance(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let from = STAGES[usize::from(customer.stage)];
        customer.stage += 1;
        customer.entered = self.seen_by_crm(self.now).max(customer.entered);
        let payload = if self.company.snapshots {
            self.snapshot(customer, customer.entity(), None, None)
        } else {
            crm(CrmPayload::StageChanged(StageChanged {
                entity: customer.entity(),
                pipeline: Some(pipeline()),
                from: Some(stage(from)),
                to: stage(STAGES[usize::from(customer.stage)]),
                filled_fields: fields(customer),
            }))
        };
        customer.rounds = self.rounds(self.weights().deal_rounds);
        (payload, self.onwards(customer))
    }

    fn finish(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let won = !customer.lost && self.books.dice.chance(80);
        let (outcome, reason) = if won { (Outcome::Won, None) } else { (Outcome::Lost, Some("price")) };
        (self.closed(customer, customer.entity(), outcome, reason), None)
    }

    /// The whole lead or deal as a CRM shows it that never says what changed.
    fn snapshot(
        &mut self,
        customer: &Customer,
        entity: EntityId,
        outcome: Option<Outcome>,
        reason: Option<CompactString>,
    ) -> Payload {
        let deal = entity.kind == EntityKind::Deal;
        // Once the deal is open, its dates stand in the story and the lead's are forgotten.
        let dated = deal == (customer.phase == Phase::Deal);
        let name = match (deal, customer.in_work) {
            (true, _) => STAGES[usize::from(customer.stage)],
            (false, true) => IN_WORK,
            (false, false) => STAGES[0],
        };
        crm(CrmPayload::Snapshot(Box::new(Snapshot {
            entity,
            lead: (deal && !customer.walk_in).then(|| customer.id()),
            manager: Some(self.member(customer).id.clone()),
            source: (!deal).then(|| source(customer)),
            pipeline: deal.then(pipeline),
            stage: Some(stage(name)),
            contacts: customer.contacts(&mut self.books.dice),
            amount: if deal { amount(customer) } else { Amount::default() },
            outcome,
            reason,
            created_at: dated.then_some(customer.created),
            stage_entered_at: dated.then_some(customer.entered),
            filled_fields: if deal { fields(customer) } else { Vec::new() },
        })))
    }
}

/// The stage of leads that somebody works on.
const IN_WORK: &str = "IN_WORK";

fn crm(payload: CrmPayload) -> Payload {
    Payload::Crm(Box::new(payload))
}

fn pipeline() -> PipelineId {
    PipelineId(CompactString::const_new("sales"))
}

fn stage(name: &'static str) -> StageId {
    StageId(CompactString::const_new(name))
}

fn source(customer: &Customer) -> SourceId {
    SourceId(CompactString::const_new(SOURCES[(customer.number % SOURCES.len() as u64) as usize]))
}

fn amount(customer: &Customer) -> Amount {
    Amount { minor: Some(customer.amount_minor), currency: Some(CompactString::const_new("RUB")) }
}

/// What a deal's card says by its stage.
fn fields(customer: &Customer) -> Vec<CompactString> {
    if customer.stage >= 2 { vec![CompactString::const_new("budget")] } else { Vec::new() }
}

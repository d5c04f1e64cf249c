//! The stories: what customers and managers do, one event per step. `calls.rs` has the steps of calls.
//!
//! Events of one customer never share a timestamp, except a call's record that is repeated, and exactly the recorded
//! violations break the norms. The caller keeps the customers and runs the next step when it is due.
//!
//! **One thing at a time.** A story has one next step. While a customer waits for a first response, a call back, a reply
//! or a planned meeting, nothing else happens that could settle it, so the planned outcome is the actual one.

use super::customer::{Customer, Phase, Step, id};
use super::expected::{ExpectedAlert, Subject};
use super::plan::{Company, Habit, Member, Plan, Traits, Weights};
use super::random::Random;
use crate::domain::event::{
    ActivityKind, ActivityPlanned, Amount, Channel, Created, CrmPayload, Direction, Event, Message, Outcome, Payload,
    Snapshot, StageChanged, TermsOffered, Verdict,
};
use crate::domain::id::{ActivityId, EntityId, EntityKind, EventId, MessageId, PipelineId, SourceId, StageId};
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;

#[derive(Debug)]
pub(super) struct SharedState {
    pub(super) random: Random,
    /// The last number assigned, per kind.
    pub(super) events: u64,
    pub(super) customers: u64,
    pub(super) calls: u64,
    pub(super) messages: u64,
    pub(super) expected: Vec<ExpectedAlert>,
}

/// What a step needs besides its customer.
#[derive(Debug)]
pub(super) struct StepContext<'a> {
    pub(super) plan: &'a Plan,
    pub(super) company: &'a Company,
    pub(super) shared: &'a mut SharedState,
    pub(super) now: Timestamp,
}

/// When the next step is due; `None`: the story has ended.
pub(super) type Next = Option<Timestamp>;

/// The stages of [`norms_yaml`](super::norms_yaml)'s pipeline.
const STAGES: [&str; 4] = ["NEW", "NEEDS", "PROPOSAL", "INVOICE"];
const SOURCES: [&str; 5] = ["WEB", "CALL", "ADVERT", "PARTNER", "FAIR"];
const REASONS: [&str; 4] = ["no_budget", "not_interested", "duplicate", "bought_elsewhere"];
/// Approves large discounts; is not a manager.
pub(super) const BOSS: &str = "boss";

/// How long a late act takes, in percent of the norm.
pub(super) const LATE: (i64, i64) = (120, 200);
/// The same for an act that is far too late.
pub(super) const VERY_LATE: (i64, i64) = (400, 700);
/// Gap between steps when nothing is pending.
const IDLE_GAP: (Span, Span) = (Span::MINUTE, Span(6 * Span::MINUTE.0));
/// Missed calls and messages that are dismissed instead of answered in time, in percent.
pub(super) const DISMISSALS: u32 = 4;
/// Customers who say thanks for a deal, in percent.
const THANKS: u32 = 20;
/// From the reassignment of a lead to the first touch.
const TAKEOVER_GAP: Span = Span(2 * Span::MINUTE.0);
/// Leads of customers who write that come twice, where the CRM reports merges, in percent.
const DUPLICATES: u32 = 5;
/// In this time a lead can come twice and be merged.
const MERGE_TIME: Span = Span(2 * Span::MINUTE.0);
/// From planning a meeting to its deadline.
const PLANNED_AHEAD: (Span, Span) = (Span(15 * Span::MINUTE.0), Span(45 * Span::MINUTE.0));
/// Meetings whose date is moved, in percent.
const MOVED: u32 = 10;
/// Of the meetings that are missed, those that never take place: the deal is lost; in percent.
const FORGOTTEN: u32 = 30;

impl StepContext<'_> {
    /// Runs the customer's next step: its event, and when the following step is due.
    pub(super) fn run_step(&mut self, customer: &mut Customer) -> (Event, Next) {
        let (payload, next) = match customer.step {
            Step::Create => self.create(customer),
            Step::Assign => self.assign(customer),
            Step::Duplicate => self.duplicate(customer),
            Step::Merge => self.merge(customer),
            Step::Reassign => self.reassign(customer),
            Step::Accept => self.accept(customer),
            Step::OutboundCall => self.outbound_call(customer),
            Step::InboundCall => self.inbound_call(customer),
            Step::LeaveQueue => self.leave_queue(customer),
            Step::StopRinging => self.stop_ringing(customer),
            Step::HangUp => self.hang_up(customer),
            Step::Repeat | Step::Correct => self.report_again(customer),
            Step::Transfer => self.transfer(customer),
            Step::Ask => self.ask(customer),
            Step::AutoReply => self.auto_reply(customer),
            Step::Answer => self.answer(customer),
            Step::Dismiss => self.dismiss(customer),
            Step::Write => self.write(customer),
            Step::Meet => self.meet(customer),
            Step::Review => self.review(customer),
            Step::Link => self.link(customer),
            Step::OpenDeal => self.open_deal(customer),
            Step::Convert => self.convert(customer),
            Step::Disqualify => self.disqualify(customer),
            Step::Plan => self.plan_meeting(customer),
            Step::KeepPlan | Step::Analyse | Step::Invoice => self.prepare(customer),
            Step::Offer => self.offer(customer),
            Step::Move => self.advance(customer),
            Step::Finish => self.finish(customer),
            Step::Thank => self.thank(customer),
        };
        // A repeated record has the instant of the first one.
        let earliest = if customer.step == Step::Repeat { self.now } else { Timestamp(self.now.0 + 1) };
        (self.event(payload), next.map(|next| next.max(earliest)))
    }

    pub(super) fn announce(&mut self, member: &Member) -> Event {
        self.event(crm(CrmPayload::ManagerUpserted {
            manager: member.id.clone(),
            department: Some(member.department.clone()),
            grade: Some(member.grade.clone()),
            active: true,
            name: None,
        }))
    }

    fn event(&mut self, payload: Payload) -> Event {
        self.shared.events += 1;
        let event_id = EventId(id("e", self.shared.events));
        Event { tenant: self.company.tenant.clone(), at: self.now, id: Some(event_id), payload }
    }

    // Managers and timing.

    pub(super) fn member(&self, customer: &Customer) -> &Member {
        &self.company.staff[customer.member as usize]
    }

    pub(super) fn traits(&self, customer: &Customer) -> Traits {
        self.member(customer).habit.traits()
    }

    pub(super) fn weights(&self) -> Weights {
        self.plan.mix.weights()
    }

    /// When a deliberately late act happens; the range is in percent of the norm, whose clock starts at `anchor`.
    pub(super) fn late(&mut self, anchor: Timestamp, norm: Span, (low, high): (i64, i64)) -> Timestamp {
        let span = self.shared.random.span(Span(norm.0 * low / 100), Span(norm.0 * high / 100));
        self.plan.shift.after(anchor, span)
    }

    /// When an act in time happens.
    pub(super) fn prompt(&mut self, customer: &Customer, norm: Span) -> Timestamp {
        let (low, high) = self.traits(customer).prompt;
        let span = self.shared.random.span(Span(norm.0 * low / 100), Span(norm.0 * high / 100));
        self.plan.shift.after(self.now, self.at_pace(span))
    }

    /// A span, shortened by the plan's pace.
    pub(super) fn at_pace(&self, span: Span) -> Span {
        Span((span.0 / i64::from(self.plan.pace.max(1))).max(1))
    }

    /// A random number of seconds from now.
    pub(super) fn after_seconds(&mut self, low: i64, high: i64) -> Timestamp {
        let span = self.shared.random.span(Span(low * 1000), Span(high * 1000));
        self.now + self.at_pace(span)
    }

    /// When the manager acts next while nothing is pending.
    pub(super) fn manager_gap(&mut self, customer: &Customer) -> Timestamp {
        let slowness = self.traits(customer).slowness;
        let span = self.shared.random.span(IDLE_GAP.0, IDLE_GAP.1);
        self.plan.shift.after(self.now, self.at_pace(Span(span.0 * slowness)))
    }

    /// When the customer acts next: sometimes outside working hours.
    fn customer_gap(&mut self) -> Timestamp {
        let span = self.shared.random.span(IDLE_GAP.0, IDLE_GAP.1);
        let span = self.at_pace(span);
        if self.shared.random.chance(20) { self.now + span } else { self.plan.shift.after(self.now, span) }
    }

    pub(super) fn record_expected(
        &mut self,
        customer: &Customer,
        rule: Rule,
        subject: Subject,
        anchor: Timestamp,
        settled: Next,
    ) {
        if self.plan.keeps_expected {
            let (tenant, manager) = (self.company.tenant.clone(), self.member(customer).id.clone());
            self.shared.expected.push(ExpectedAlert { tenant, manager, rule, subject, anchor, settled });
        }
    }

    // A new lead.

    fn create(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.phase = if customer.walk_in { Phase::Deal } else { Phase::Lead };
        customer.created = self.seen_by_crm(self.now);
        customer.entered = customer.created;
        customer.amount_minor = self.shared.random.between(10, 500) * 100_000;
        // Calls before the lead was created are not touches of this lead.
        (customer.touched, customer.talked) = (false, false);
        self.plan_first_response(customer);
        let assigned = self.company.snapshots || customer.walk_in || self.shared.random.chance(60);
        let payload = self.created(customer, customer.id(), assigned);
        if assigned {
            return (payload, self.await_response(customer));
        }
        customer.step = Step::Assign;
        // 1/100 to 1/30 of the norm: always before the first touch.
        let norm = self.plan.norm.first_response.0;
        let wait = self.shared.random.span(Span(norm / 100), Span(norm / 30));
        (payload, Some(self.now + self.at_pace(wait)))
    }

    pub(super) fn rounds(&mut self, (low, high): (i64, i64)) -> u8 {
        self.shared.random.between(low, high) as u8
    }

    /// The date that the CRM gives a change reported now: with snapshots, up to two seconds earlier.
    fn seen_by_crm(&mut self, now: Timestamp) -> Timestamp {
        if !self.company.snapshots {
            return now;
        }
        // Managers are announced in the first milliseconds; norms do not apply before.
        let first = Timestamp(self.plan.start.0 + self.company.staff.len() as i64);
        (now.saturating_sub(self.shared.random.span_below(Span(2000)))).max(first).min(now)
    }

    fn created(&mut self, customer: &Customer, id: CompactString, assigned: bool) -> Payload {
        if self.company.snapshots {
            return self.snapshot(customer, customer.entity(), None, None);
        }
        let deal = customer.phase == Phase::Deal;
        let created = Created {
            id,
            lead: None,
            manager: assigned.then(|| self.member(customer).id.clone()),
            pipeline: deal.then(pipeline),
            stage: Some(stage(STAGES[0])),
            source: (!deal).then(|| source(customer)),
            amount: if deal { amount(customer) } else { Amount::default() },
            contacts: customer.contacts(&mut self.shared.random),
        };
        crm(if deal { CrmPayload::DealCreated(created) } else { CrmPayload::LeadCreated(created) })
    }

    /// Plans the first response, or what happens instead, by the manager's habit.
    fn plan_first_response(&mut self, customer: &mut Customer) {
        let (traits, norm) = (self.traits(customer), self.plan.norm.first_response);
        let now = std::mem::replace(&mut self.now, customer.created);
        customer.planned_step = self.choose_touch(customer);
        if !customer.walk_in && self.shared.random.chance(traits.disqualifies_untouched) {
            customer.planned_step = Step::Disqualify;
            customer.planned_at = self.prompt(customer, norm);
        } else if !customer.walk_in && self.shared.random.chance(traits.abandons) {
            customer.planned_at = self.late(self.now, norm, VERY_LATE);
            let reassigned = self.shared.random.chance(60) && self.colleague(customer).is_some();
            customer.planned_step = if reassigned { Step::Reassign } else { Step::Disqualify };
            let settled =
                if reassigned { self.plan.shift.after(customer.planned_at, TAKEOVER_GAP) } else { customer.planned_at };
            self.record_late_first_response(customer, settled);
        } else if self.shared.random.chance(traits.answers_late) {
            customer.planned_at = self.late(self.now, norm, LATE);
            self.record_late_first_response(customer, customer.planned_at);
        } else {
            customer.planned_at = self.prompt(customer, norm);
        }
        self.now = now;
    }

    fn record_late_first_response(&mut self, customer: &Customer, settled: Timestamp) {
        let subject = Subject::Entity(customer.entity());
        self.record_expected(customer, Rule::FirstResponseLate, subject, customer.created, Some(settled));
    }

    fn choose_touch(&mut self, customer: &Customer) -> Step {
        let by_phone = customer.phone && (customer.channel.is_none() || self.shared.random.chance(80));
        if by_phone { Step::OutboundCall } else { Step::Write }
    }

    /// Another manager, with the habit [`Habit::Brisk`].
    fn colleague(&self, customer: &Customer) -> Option<u32> {
        let brisk = |member: &Member| member.habit == Habit::Brisk;
        let other = self.company.staff.iter().position(brisk)? as u32;
        (other != customer.member).then_some(other)
    }

    fn assign(&mut self, customer: &mut Customer) -> (Payload, Next) {
        (self.assigned(customer), self.await_response(customer))
    }

    /// The lead or deal waits for the planned first response. Meanwhile a lead may come twice.
    fn await_response(&mut self, customer: &mut Customer) -> Next {
        let may_merge = !self.company.snapshots && !customer.walk_in && customer.channel.is_some();
        let in_time = customer.planned_at - self.now > self.at_pace(MERGE_TIME);
        if may_merge && in_time && self.shared.random.chance(DUPLICATES) {
            customer.step = Step::Duplicate;
            return Some(self.after_seconds(15, 60));
        }
        customer.step = customer.planned_step;
        Some(customer.planned_at)
    }

    fn duplicate(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.step = Step::Merge;
        (self.created(customer, customer.duplicate().id, false), Some(self.after_seconds(10, 40)))
    }

    fn merge(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.step = customer.planned_step;
        let merged = CrmPayload::Merged { entity: customer.duplicate(), into: customer.entity() };
        (crm(merged), Some(customer.planned_at))
    }

    fn reassign(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.member = self.colleague(customer).unwrap_or(customer.member);
        customer.step = self.choose_touch(customer);
        (self.assigned(customer), Some(self.plan.shift.after(self.now, TAKEOVER_GAP)))
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
        (payload, self.continue_story(customer))
    }

    // Interactions.

    /// Plans the step after a completed interaction.
    pub(super) fn continue_story(&mut self, customer: &mut Customer) -> Next {
        match customer.phase {
            Phase::UnknownCaller => self.continue_unknown_caller(customer),
            Phase::Lead if !customer.responded => {
                customer.responded = true;
                if self.shared.random.chance(50) {
                    customer.step = Step::Accept;
                    return Some(self.after_seconds(5, 60));
                }
                self.continue_story(customer)
            }
            _ if customer.rounds > 0 => {
                customer.rounds -= 1;
                Some(self.round(customer))
            }
            Phase::Lead => Some(self.decide(customer)),
            Phase::Deal => Some(self.work_on_deal(customer)),
        }
    }

    /// An unknown caller becomes a lead, opens a deal at once, or ends the story.
    fn continue_unknown_caller(&mut self, customer: &mut Customer) -> Next {
        let draw = self.shared.random.below(100);
        if !customer.talked || draw >= 40 {
            return None;
        }
        customer.walk_in = draw < 5;
        customer.rounds = self.rounds(self.weights().lead_rounds);
        customer.step = Step::Create;
        Some(self.after_seconds(20, 90))
    }

    fn round(&mut self, customer: &mut Customer) -> Timestamp {
        let weights = self.weights();
        let draw = self.shared.random.below(100);
        let inbound_calls = weights.outbound_calls + weights.inbound_calls;
        let questions = inbound_calls + weights.questions;
        let messages = questions + weights.messages;
        customer.step = match (draw, customer.phone, customer.channel.is_some()) {
            (draw, true, _) if draw < weights.outbound_calls => Step::OutboundCall,
            (draw, true, _) if draw < inbound_calls => Step::InboundCall,
            (draw, _, true) if draw < questions => Step::Ask,
            (draw, _, true) if draw < messages => Step::Write,
            (draw, _, _) if draw >= messages => Step::Meet,
            (_, true, _) => Step::OutboundCall,
            _ => Step::Write,
        };
        match customer.step {
            Step::InboundCall | Step::Ask => self.customer_gap(),
            _ => self.manager_gap(customer),
        }
    }

    fn meet(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.touched = true;
        customer.talked = true;
        let kind = if self.shared.random.chance(70) { ActivityKind::Meeting } else { ActivityKind::Demo };
        (self.activity(customer, kind, None), self.continue_story(customer))
    }

    fn activity(&self, customer: &Customer, kind: ActivityKind, activity: Option<ActivityId>) -> Payload {
        let manager = Some(self.member(customer).id.clone());
        crm(CrmPayload::ActivityCompleted { entity: customer.entity(), activity, manager, kind })
    }

    fn review(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let (low, high) = self.traits(customer).score;
        let score = self.shared.random.between(low, high);
        let verdict = match score {
            ..50 => Verdict::Failure,
            50..80 => Verdict::Neutral,
            _ => Verdict::Success,
        };
        let payload = crm(CrmPayload::InteractionReviewed {
            interaction: id("c", customer.call.leg),
            manager: self.member(customer).id.clone(),
            score: score as f64,
            verdict,
        });
        (payload, self.continue_story(customer))
    }

    fn link(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.channel = Some(Channel::Email);
        let contact = customer.address(&mut self.shared.random);
        (crm(CrmPayload::ContactLinked { entity: customer.entity(), contact }), self.continue_story(customer))
    }

    // Messages.

    fn ask(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let (norm, late) = (self.plan.norm.reply, self.traits(customer).replies_late);
        let payload = self.message(customer, Direction::Inbound, None, false);
        customer.planned_step = Step::Answer;
        if self.shared.random.chance(late) {
            customer.planned_at = self.late(self.now, norm, LATE);
            if let Some(form) = customer.address_form() {
                let subject = Subject::Contact(form);
                self.record_expected(customer, Rule::MessageUnanswered, subject, self.now, Some(customer.planned_at));
            }
        } else {
            if self.shared.random.chance(DISMISSALS) {
                customer.planned_step = Step::Dismiss;
            }
            customer.planned_at = self.prompt(customer, norm);
        }
        let replied_at = self.now + Span(self.shared.random.between(900, 4000));
        if customer.channel == Some(Channel::Email) && replied_at < customer.planned_at && self.shared.random.chance(15)
        {
            customer.step = Step::AutoReply;
            return (payload, Some(replied_at));
        }
        customer.step = customer.planned_step;
        (payload, Some(customer.planned_at))
    }

    fn auto_reply(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let asked = customer.message;
        let payload = self.message(customer, Direction::Outbound, Some(customer.message_id()), true);
        customer.message = asked;
        customer.step = customer.planned_step;
        (payload, Some(customer.planned_at))
    }

    fn answer(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let reply = self.shared.random.chance(70).then(|| customer.message_id());
        let payload = self.message(customer, Direction::Outbound, reply, false);
        (payload, self.written(customer, 25))
    }

    fn write(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let payload = self.message(customer, Direction::Outbound, None, false);
        (payload, self.written(customer, 45))
    }

    /// The manager wrote; `write_back` percent of the customers write back.
    fn written(&mut self, customer: &mut Customer, write_back: u32) -> Next {
        customer.touched = true;
        if self.shared.random.chance(write_back) {
            customer.step = Step::Ask;
            return Some(self.customer_gap());
        }
        self.continue_story(customer)
    }

    fn message(
        &mut self,
        customer: &mut Customer,
        direction: Direction,
        in_reply_to: Option<MessageId>,
        automatic: bool,
    ) -> Payload {
        self.shared.messages += 1;
        customer.message = self.shared.messages;
        let named = direction == Direction::Outbound || self.shared.random.chance(50);
        Payload::Message(Box::new(Message {
            id: customer.message_id(),
            direction,
            thread: customer.thread(),
            in_reply_to,
            channel: customer.channel.unwrap_or(Channel::Email),
            contact: customer.address(&mut self.shared.random),
            manager: (named && !automatic).then(|| self.member(customer).id.clone()),
            entity: self.shared.random.chance(30).then(|| customer.entity()),
            automatic,
        }))
    }

    // Closing a lead.

    /// The lead is converted or disqualified.
    fn decide(&mut self, customer: &mut Customer) -> Timestamp {
        let converts = self.traits(customer).converts;
        customer.step = if self.shared.random.chance(converts) { Step::OpenDeal } else { Step::Disqualify };
        self.manager_gap(customer)
    }

    fn disqualify(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let random = &mut self.shared.random;
        let reason = match (customer.touched, customer.talked) {
            (true, true) => Some(random.pick(REASONS)),
            (true, false) => Some("not_reached"),
            (false, _) => random.chance(50).then_some("spam"),
        };
        if !customer.touched {
            let subject = Subject::Entity(customer.entity());
            self.record_expected(customer, Rule::DisqualifiedWithoutContact, subject.clone(), self.now, None);
            if reason.is_none() {
                self.record_expected(customer, Rule::DisqualifiedWithoutReason, subject, self.now, None);
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
                contacts: customer.contacts(&mut self.shared.random),
            }))
        };
        (payload, Some(self.after_seconds(1, 4)))
    }

    fn convert(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let lead = EntityId { kind: EntityKind::Lead, id: customer.id() };
        let payload = self.closed(customer, lead, Outcome::Converted, None);
        customer.rounds = self.rounds(self.weights().deal_rounds);
        (payload, self.continue_story(customer))
    }

    // Deals.

    fn work_on_deal(&mut self, customer: &mut Customer) -> Timestamp {
        customer.lost = self.shared.random.chance(10);
        customer.step = match customer.stage {
            _ if customer.lost => Step::Finish,
            0 => Step::Plan,
            1 => Step::Analyse,
            2 => Step::Offer,
            _ => Step::Finish,
        };
        self.manager_gap(customer)
    }

    /// Plans a meeting, or moves it, and decides by the manager's habit what becomes of it.
    fn plan_meeting(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let (misses, norm) = (self.traits(customer).misses_plans, self.plan.norm.next_step);
        let ahead = self.shared.random.span(PLANNED_AHEAD.0, PLANNED_AHEAD.1);
        let deadline = self.plan.shift.after(self.now, self.at_pace(ahead));
        let next = if self.shared.random.chance(misses) {
            customer.lost = self.shared.random.chance(FORGOTTEN);
            let (step, range) = if customer.lost { (Step::Finish, VERY_LATE) } else { (Step::KeepPlan, LATE) };
            customer.step = step;
            let settled = self.late(deadline, norm, range);
            let subject = Subject::Plan(customer.entity(), customer.activity());
            self.record_expected(customer, Rule::NextStepOverdue, subject, deadline, Some(settled));
            settled
        } else {
            customer.step = if self.shared.random.chance(MOVED) { Step::Plan } else { Step::KeepPlan };
            self.prompt(customer, Span(ahead.0 + norm.0))
        };
        let planned = ActivityPlanned {
            entity: customer.entity(),
            activity: customer.activity(),
            manager: Some(self.member(customer).id.clone()),
            kind: ActivityKind::Meeting,
            deadline: Some(deadline),
        };
        (crm(CrmPayload::ActivityPlanned(planned)), Some(next))
    }

    fn prepare(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let (kind, plan) = match customer.step {
            Step::KeepPlan => (ActivityKind::Meeting, Some(customer.activity())),
            Step::Analyse => (ActivityKind::NeedsAnalysis, None),
            _ => (ActivityKind::Invoice, None),
        };
        customer.step = Step::Move;
        (self.activity(customer, kind, plan), Some(self.after_seconds(10, 120)))
    }

    fn offer(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let discounts = self.traits(customer).discounts;
        let random = &mut self.shared.random;
        // Managers may give up to 10 %; more requires approval.
        let over_limit = random.chance(discounts);
        let approved = !over_limit && random.chance(4);
        let discount = match (over_limit || approved, random.below(100)) {
            (true, _) => random.between(13, 30),
            (false, 0..15) => random.between(1, 5) * 2,
            (false, _) => 0,
        };
        let (installment_months, prepayment_percent) = match random.below(100) {
            0..5 => (Some(3), Some(50.0)),
            5..60 => (Some(0), Some(100.0)),
            _ => (None, None),
        };
        if over_limit {
            let subject = Subject::Entity(customer.entity());
            self.record_expected(customer, Rule::DiscountOverLimit, subject, self.now, None);
        }
        customer.step = Step::Invoice;
        let terms = TermsOffered {
            deal: customer.id(),
            manager: Some(self.member(customer).id.clone()),
            discount_percent: Some(discount as f64),
            installment_months,
            prepayment_percent,
            approved_by: approved.then(|| BOSS.into()),
            amount: amount(customer),
        };
        (crm(CrmPayload::TermsOffered(terms)), Some(self.after_seconds(60, 300)))
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
        (payload, self.continue_story(customer))
    }

    fn finish(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let won = !customer.lost && self.shared.random.chance(80);
        let (outcome, reason) = if won { (Outcome::Won, None) } else { (Outcome::Lost, Some("price")) };
        let payload = self.closed(customer, customer.entity(), outcome, reason);
        let thanks = won && customer.channel.is_some() && self.shared.random.chance(THANKS);
        customer.step = Step::Thank;
        (payload, thanks.then(|| self.after_seconds(60, 1800)))
    }

    /// Thanks for a deal that is won: a message that nobody needs to answer.
    fn thank(&mut self, customer: &mut Customer) -> (Payload, Next) {
        (self.message(customer, Direction::Inbound, None, false), None)
    }

    /// A snapshot of the lead or deal, for a CRM that does not report changes.
    fn snapshot(
        &mut self,
        customer: &Customer,
        entity: EntityId,
        outcome: Option<Outcome>,
        reason: Option<CompactString>,
    ) -> Payload {
        let deal = entity.kind == EntityKind::Deal;
        // Once the deal is open, `created` and `entered` are the deal's dates; the lead's are no longer known.
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
            contacts: customer.contacts(&mut self.shared.random),
            amount: if deal { amount(customer) } else { Amount::default() },
            outcome,
            reason,
            created_at: dated.then_some(customer.created),
            stage_entered_at: dated.then_some(customer.entered),
            filled_fields: if deal { fields(customer) } else { Vec::new() },
        })))
    }
}

/// The stage of accepted leads.
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

/// The fields of a deal that are filled at its stage.
fn fields(customer: &Customer) -> Vec<CompactString> {
    if customer.stage >= 2 { vec![CompactString::const_new("budget")] } else { Vec::new() }
}

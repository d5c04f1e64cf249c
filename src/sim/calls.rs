//! Calls in the stories, as exchanges report them: one record per leg.
//!
//! An inbound call may ring several phones or wait in a queue, and a conversation may move to a colleague. Legs that do
//! not overlap name the session of their call; those of a ring group do so in part. The legs of the responsible manager
//! come first, so that a missed call is that manager's. Exchanges also repeat a record with the recording, or correct it.

use super::customer::{CurrentCall, Customer, Phase, Sequel, Step, id};
use super::expected::Subject;
use super::plan::Member;
use super::script::{DISMISSALS, LATE, Next, StepContext, VERY_LATE};
use crate::domain::event::{AnsweredBy, Call, CallEnd, CallOutcome, CrmPayload, Direction, Payload};
use crate::domain::id::{CallId, LegId, ManagerId, SessionId};
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};

/// Inbound calls that ring colleagues too, in percent.
const RING_GROUPS: u32 = 20;
/// Ring groups whose legs name the session of the call; the others only overlap.
const WITH_SESSION: u32 = 60;
/// Inbound calls that wait in a queue first.
const QUEUED: u32 = 10;
/// Conversations that are transferred to a colleague.
const TRANSFERS: u32 = 6;
/// Conversations whose record is repeated, then with the recording.
const REPETITIONS: u32 = 1;
/// Conversations whose record is corrected after some seconds.
const CORRECTIONS: u32 = 1;
/// Calls to a customer with two numbers that go to the second one.
const SECOND_NUMBERS: u32 = 30;

impl StepContext<'_> {
    pub(super) fn outbound_call(&mut self, customer: &mut Customer) -> (Payload, Next) {
        customer.touched = true;
        customer.awaits_call_back = false;
        let answered = self.shared.random.chance(70);
        self.start_call(customer, Direction::Outbound, answered)
    }

    pub(super) fn inbound_call(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let at_work = self.plan.shift.works(self.now);
        let misses = self.traits(customer).misses;
        let answered =
            customer.gets_through || at_work && !customer.awaits_call_back && !self.shared.random.chance(misses);
        self.start_call(customer, Direction::Inbound, answered)
    }

    /// Starts a call. Its outcome is decided now and reported when it ends.
    fn start_call(&mut self, customer: &mut Customer, direction: Direction, answered: bool) -> (Payload, Next) {
        use CallOutcome::{Answered, Busy, Failed, NoAnswer, Rejected, Voicemail};
        let random = &mut self.shared.random;
        self.shared.calls += 1;
        let (ringing, talk) = match answered {
            true => (random.between(3, 20), random.between(15, 240)),
            false => (random.between(10, 40), 0),
        };
        let outcome = match (answered, direction) {
            (true, _) => Answered,
            (false, Direction::Inbound) => random.pick([NoAnswer, NoAnswer, NoAnswer, Busy, Rejected, Voicemail]),
            (false, Direction::Outbound) => random.pick([NoAnswer, NoAnswer, NoAnswer, Busy, Rejected, Failed]),
        };
        customer.call = CurrentCall {
            leg: self.shared.calls,
            last_leg: self.shared.calls,
            direction,
            outcome,
            started: self.now,
            // A conversation takes more than a second at any pace, so that it counts as one.
            talk: if answered { self.conversation(talk) } else { Span::ZERO },
            ..CurrentCall::default()
        };
        let ringing = self.at_pace(Span(ringing * 1000));
        let next = self.route(customer, self.now + ringing);
        let manager = self.named_manager(customer);
        (self.leg(customer, customer.call.leg, manager, None), Some(next))
    }

    fn conversation(&self, seconds: i64) -> Span {
        self.at_pace(Span(seconds * 1000)).max(Span(1200))
    }

    /// Decides how a call goes through the exchange. Returns when its first leg ends, if the phone rings until `rung`.
    fn route(&mut self, customer: &mut Customer, rung: Timestamp) -> Timestamp {
        let answered = customer.call.outcome == CallOutcome::Answered;
        let known = customer.phase != Phase::UnknownCaller;
        let has_colleagues = self.company.staff.len() > 1;
        let random = &mut self.shared.random;
        customer.call.hangs_up = rung + customer.call.talk;
        customer.step = Step::HangUp;
        customer.call.sequel = match random.below(100) {
            _ if !answered => Sequel::None,
            draw if draw < TRANSFERS && has_colleagues => Sequel::Transfer,
            draw if (50..50 + REPETITIONS).contains(&draw) => Sequel::Repeat,
            draw if (60..60 + CORRECTIONS).contains(&draw) => Sequel::Correct,
            _ => Sequel::None,
        };
        let (mut names_session, mut ends) = (customer.call.sequel == Sequel::Transfer, customer.call.hangs_up);
        if customer.call.direction == Direction::Outbound {
            customer.call.second_number = known && customer.second_phone && random.chance(SECOND_NUMBERS);
        } else {
            match random.below(100) {
                draw if draw < RING_GROUPS && has_colleagues => {
                    names_session |= random.chance(WITH_SESSION);
                    customer.call.colleagues = 1 + random.below(2) as u8;
                    if answered {
                        (customer.step, ends) = (Step::StopRinging, rung);
                    }
                }
                // An unknown caller who hangs up in the queue would be nobody's missed call.
                draw if draw >= 100 - QUEUED && (answered || known) && !customer.gets_through => {
                    names_session = true;
                    let wait = Span(random.between(10, 60) * 1000);
                    (customer.step, ends) = (Step::LeaveQueue, self.now + self.at_pace(wait));
                }
                _ => {}
            }
        }
        customer.call.session = names_session.then_some(customer.call.leg);
        ends
    }

    /// The wait in the queue is over: the manager's phone rings, or the customer has hung up.
    pub(super) fn leave_queue(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let waited = self.now - customer.call.started;
        let end = CallEnd {
            answered_at: Some(customer.call.started),
            answered_by: Some(AnsweredBy::Queue),
            talk: waited,
            ..unanswered(customer, CallOutcome::Answered)
        };
        let payload = self.leg(customer, customer.call.leg, None, Some(end));
        if customer.call.outcome != CallOutcome::Answered {
            customer.call.missed = self.now;
            return (payload, Some(self.missed(customer)));
        }
        customer.call.leg = self.next_leg(customer);
        customer.call.started = self.now;
        let ringing = Span(self.shared.random.between(3, 20) * 1000);
        customer.call.hangs_up = self.now + self.at_pace(ringing) + customer.call.talk;
        customer.step = Step::HangUp;
        (payload, Some(customer.call.hangs_up))
    }

    /// The phone of a colleague in the ring group stops ringing.
    pub(super) fn stop_ringing(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let colleague = self.colleague_at(customer, customer.call.colleagues).id.clone();
        let leg = self.next_leg(customer);
        let end = unanswered(customer, CallOutcome::NoAnswer);
        let payload = self.leg(customer, leg, Some(colleague), Some(end));
        customer.call.colleagues -= 1;
        if customer.call.colleagues > 0 {
            return (payload, Some(self.now));
        }
        if customer.call.outcome == CallOutcome::Answered {
            customer.step = Step::HangUp;
            return (payload, Some(customer.call.hangs_up));
        }
        (payload, self.after_call(customer))
    }

    pub(super) fn hang_up(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let sequel = customer.call.sequel;
        let mut end = self.manager_end(customer);
        if sequel == Sequel::Repeat {
            end.recording_url = None;
        }
        let manager = self.named_manager(customer);
        let payload = self.leg(customer, customer.call.leg, manager, Some(end));
        customer.call.missed = self.now;
        let next = match sequel {
            Sequel::Repeat => {
                customer.step = Step::Repeat;
                Some(self.now)
            }
            Sequel::Correct => {
                customer.step = Step::Correct;
                Some(self.after_seconds(2, 10))
            }
            Sequel::Transfer => {
                customer.step = Step::Transfer;
                customer.call.started = self.now;
                let talk = self.shared.random.between(15, 120);
                Some(self.now + self.conversation(talk))
            }
            Sequel::None if customer.call.colleagues > 0 => {
                customer.step = Step::StopRinging;
                Some(self.now)
            }
            Sequel::None => self.after_call(customer),
        };
        (payload, next)
    }

    /// The record of the manager's leg comes again: with the recording, or corrected.
    pub(super) fn report_again(&mut self, customer: &mut Customer) -> (Payload, Next) {
        if customer.call.sequel == Sequel::Correct {
            customer.call.talk = Span(customer.call.talk.0 + 1000);
        }
        let (manager, end) = (self.named_manager(customer), self.manager_end(customer));
        let payload = self.leg(customer, customer.call.leg, manager, Some(end));
        (payload, self.after_call(customer))
    }

    /// The conversation with a colleague, to whom the call was transferred, ends.
    pub(super) fn transfer(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let colleague = self.colleague_at(customer, 1).id.clone();
        let leg = self.next_leg(customer);
        let end = CallEnd {
            talk: self.now - customer.call.started,
            recording_url: Some(id("rec://", leg)),
            ..unanswered(customer, CallOutcome::Answered)
        };
        (self.leg(customer, leg, Some(colleague), Some(end)), self.after_call(customer))
    }

    fn next_leg(&mut self, customer: &mut Customer) -> u64 {
        self.shared.calls += 1;
        customer.call.last_leg = self.shared.calls;
        self.shared.calls
    }

    fn colleague_at(&self, customer: &Customer, distance: u8) -> &Member {
        &self.company.staff[(customer.member as usize + usize::from(distance)) % self.company.staff.len()]
    }

    /// The manager of the leg as the exchange reports it.
    fn named_manager(&mut self, customer: &Customer) -> Option<ManagerId> {
        let CurrentCall { direction, talk, .. } = customer.call;
        let unknown = customer.phase == Phase::UnknownCaller;
        let named = direction == Direction::Outbound || unknown || talk > Span::ZERO || self.shared.random.chance(70);
        named.then(|| self.member(customer).id.clone())
    }

    /// The end of the manager's leg.
    fn manager_end(&self, customer: &Customer) -> CallEnd {
        let CurrentCall { leg, talk, outcome, sequel, .. } = customer.call;
        CallEnd {
            leg: (sequel == Sequel::Correct).then(|| LegId(id("l", leg))),
            talk,
            recording_url: (outcome == CallOutcome::Answered).then(|| id("rec://", leg)),
            ..unanswered(customer, outcome)
        }
    }

    fn leg(&mut self, customer: &Customer, leg: u64, manager: Option<ManagerId>, end: Option<CallEnd>) -> Payload {
        let random = &mut self.shared.random;
        let phone = customer.phone_dialled(customer.call.second_number, random);
        let known = customer.phase != Phase::UnknownCaller;
        Payload::Call(Box::new(Call {
            id: CallId(id("c", leg)),
            session: customer.call.session.map(|session| SessionId(id("s", session))),
            direction: customer.call.direction,
            phone,
            manager,
            entity: (known && random.chance(30)).then(|| customer.entity()),
            end,
        }))
    }

    /// Continues the story when the last leg has been reported.
    fn after_call(&mut self, customer: &mut Customer) -> Next {
        match (customer.call.outcome, customer.call.direction) {
            (CallOutcome::Answered, _) => self.talked(customer),
            (_, Direction::Inbound) => Some(self.missed(customer)),
            (_, Direction::Outbound) => self.not_reached(customer),
        }
    }

    fn talked(&mut self, customer: &mut Customer) -> Next {
        customer.touched = true;
        customer.talked = true;
        customer.failed_calls = 0;
        customer.awaits_call_back = false;
        customer.gets_through = false;
        if customer.phase != Phase::UnknownCaller {
            if self.shared.random.chance(4) {
                customer.step = Step::Review;
                return Some(self.manager_gap(customer));
            }
            if customer.channel.is_none() && self.shared.random.chance(10) {
                customer.step = Step::Link;
                return Some(self.after_seconds(20, 120));
            }
        }
        self.continue_story(customer)
    }

    fn not_reached(&mut self, customer: &mut Customer) -> Next {
        customer.failed_calls += 1;
        if customer.failed_calls < 3 && customer.phase != Phase::UnknownCaller {
            customer.step = Step::OutboundCall;
            return Some(self.manager_gap(customer));
        }
        customer.failed_calls = 0;
        if customer.phase == Phase::Lead && !customer.talked {
            customer.step = Step::Disqualify;
            return Some(self.manager_gap(customer));
        }
        self.continue_story(customer)
    }

    /// The customer's call was missed: plans the call back, or the customer's next, answered call.
    fn missed(&mut self, customer: &mut Customer) -> Timestamp {
        if !customer.awaits_call_back {
            customer.awaits_call_back = true;
            self.plan_call_back(customer);
            let left = customer.planned_at - self.now;
            if left > Span(3 * Span::MINUTE.0) && self.shared.random.chance(25) {
                // Another missed call, which ends long before the planned one.
                customer.step = Step::InboundCall;
                let patience = self.shared.random.span(Span(5 * Span::MINUTE.0), Span(20 * Span::MINUTE.0));
                return self.now + Span(left.0 / 3).min(patience);
            }
        }
        customer.gets_through = customer.planned_step == Step::InboundCall;
        customer.step = customer.planned_step;
        customer.planned_at
    }

    fn plan_call_back(&mut self, customer: &mut Customer) {
        let norm = self.plan.norm.call_back;
        let ignores = self.traits(customer).ignores;
        customer.planned_step = Step::OutboundCall;
        if !self.shared.random.chance(ignores) {
            if self.shared.random.chance(DISMISSALS) {
                customer.planned_step = Step::Dismiss;
            }
            customer.planned_at = self.prompt(customer, norm);
            return;
        }
        let (gets_through, range) = match self.shared.random.below(10) {
            0..5 => (false, LATE),
            5..8 => (true, LATE),
            _ => (false, VERY_LATE),
        };
        if gets_through {
            customer.planned_step = Step::InboundCall;
        }
        customer.planned_at = self.late(self.now, norm, range);
        let (subject, missed) = (Subject::Contact(customer.phone_form()), customer.call.missed);
        self.record_expected(customer, Rule::MissedCallNotReturned, subject, missed, Some(customer.planned_at));
    }

    /// The manager takes a missed call or a message off the list.
    pub(super) fn dismiss(&mut self, customer: &mut Customer) -> (Payload, Next) {
        let interaction = match (customer.awaits_call_back, customer.call.session) {
            (true, Some(session)) => id("s", session),
            (true, None) => id("c", customer.call.last_leg),
            (false, _) => customer.message_id().0,
        };
        customer.awaits_call_back = false;
        let manager = Some(self.member(customer).id.clone());
        let dismissed = CrmPayload::InteractionDismissed { interaction, manager };
        (Payload::Crm(Box::new(dismissed)), self.continue_story(customer))
    }
}

/// A leg without talk that ends now.
fn unanswered(customer: &Customer, outcome: CallOutcome) -> CallEnd {
    CallEnd {
        leg: None,
        started_at: Some(customer.call.started),
        answered_at: None,
        talk: Span::ZERO,
        outcome,
        answered_by: None,
        recording_url: None,
    }
}

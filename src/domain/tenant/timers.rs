//! Owns what is due in a tenant between two events: clocks, the expiry of cases, and forgetting.

use crate::domain::context::Timer;
use crate::domain::event::EventOrder;
use crate::domain::journey::Journey;
use crate::domain::rule::message_unanswered::KIND as MESSAGES;
use crate::domain::rule::missed_call_not_returned::KIND as CALLS;
use crate::domain::tenant::Tenant;
use crate::domain::time::Timestamp;
use std::cmp::Reverse;

impl Tenant {
    /// The instant of the next timer.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let retention_timers = self.retention_timers.peek().map(|Reverse((at, _))| *at);
        self.context
            .next_timer()
            .into_iter()
            .chain(retention_timers)
            .chain(self.forget_at)
            .chain(self.named.next())
            .min()
    }

    /// Fires all timers and expires all cases due at or before `until`; forgets the tenant and managers
    /// if that is due.
    pub fn run_timers(&mut self, until: Timestamp) {
        while let Some(at) = self.forget_at.filter(|at| *at <= until) {
            self.run_until(at);
            self.forget_or_wait(at);
        }
        self.run_until(until);
    }

    fn run_until(&mut self, until: Timestamp) {
        self.expire_cases(until);
        self.fire_timers(until);
        self.forget_managers(until);
    }

    pub(super) fn fire_timers(&mut self, until: Timestamp) {
        while let Some((at, timer)) = self.context.pop_due(until) {
            self.context.advance_to(EventOrder::deadline(at));
            let case = self.recorded_case_of(timer);
            self.begin_recording(case);
            self.record_timer(at, timer);
            self.fire(timer);
            self.end_recording();
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Journey(ix) => {
                self.refresh_lead_source(ix);
                self.change(ix, Journey::on_timer);
                self.emit_facts(ix);
            }
            Timer::MissedCalls(ix, first) => self.demand_timer(ix, CALLS, first),
            Timer::Messages(ix, first) => self.demand_timer(ix, MESSAGES, first),
            Timer::Silence(topic) => {
                self.silences.iter_mut().for_each(|silences| silences.on_timer(topic, &mut self.context));
            }
            Timer::Reviews(who) => {
                self.sampler.iter_mut().for_each(|sampler| sampler.on_timer(&mut self.context, who, &self.journeys));
            }
        }
    }
}

//! Owns when a tenant is forgotten: `tenant_retention` after its last event, if nothing of it is open.
//!
//! **Open** are leads, deals, missed calls and messages that wait: their cases are kept (`persistence.rs`), and with a case
//! the tenant. All other cases have expired by then. The silence of a source topic keeps no tenant: it could end only
//! with an event, so a tenant that has left would stay for ever. Its alert is resolved (`disabled`), and what follows is
//! as for a new tenant.
//!
//! **A progress mark counts like an event.** Its source still reports on the tenant, and its next mark would make the
//! tenant known again.
//!
//! **At an instant of event time.** The tenant becomes one without events in place, between two events and after all
//! timers of that instant. So an event after it meets a new tenant, however epochs are cut. *Alternative considered*: to
//! remove the tenant when the watermark has passed that instant. Then a later event of the same epoch would still find
//! it. If something is open, the tenant is checked again at fixed intervals from its last event on, so that a restored
//! tenant is checked at the same instants.

use crate::domain::effect::Effect;
use crate::domain::event::EventOrder;
use crate::domain::tenant::Tenant;
use crate::domain::time::{Span, Timestamp};
use std::sync::Arc;

/// A tenant that cannot be forgotten yet is checked again after `tenant_retention` divided by this.
const RECHECK_DIVISOR: i64 = 100;

impl Tenant {
    /// There was an event, or a progress mark up to this instant: the tenant is kept for `tenant_retention` from it on.
    pub fn keep_since(&mut self, at: Timestamp) {
        if at > self.last {
            self.last = at;
            self.forget_at = self.memory.tenant_retention.map(|retention| at.saturating_add(retention));
        }
    }

    /// Resumes after a restore as of `upto`; `mark`: the latest progress mark, or `MIN`. What was checked until then was
    /// open.
    pub fn resume_forgetting(&mut self, mark: Timestamp, upto: Timestamp) {
        let expired = self.last_event.iter().map(|(_, at)| *at).max().unwrap_or(Timestamp::MIN);
        self.named.is_replaying = false;
        let last = std::mem::replace(&mut self.last, Timestamp::MIN);
        self.keep_since(last.max(expired).max(mark));
        if let Some(at) = self.forget_at.filter(|at| *at <= upto) {
            let interval = self.recheck_interval();
            let next = at.saturating_add(Span(((upto - at).0 / interval.0 + 1) * interval.0));
            // Of a tenant without events nothing was open.
            self.forget_at = (!self.is_unused()).then_some(next);
        }
    }

    /// Runs everything before an event, if the tenant is forgotten before it: its id belongs to the new tenant.
    pub(super) fn forget_before(&mut self, event_at: Timestamp) {
        if self.forget_at.is_some_and(|at| at < event_at) {
            self.run_timers(Timestamp(event_at.0 - 1));
        }
    }

    /// Forgets the tenant at `at`, after everything up to then, unless something is open.
    pub(super) fn forget_or_wait(&mut self, at: Timestamp) {
        if self.cases.is_empty() {
            self.forget(at);
        } else {
            self.forget_at = Some(at.saturating_add(self.recheck_interval()));
        }
    }

    fn recheck_interval(&self) -> Span {
        Span((self.memory.tenant_retention.unwrap_or_default().0 / RECHECK_DIVISOR).max(1))
    }

    /// Becomes a tenant without events, except for what is still to be published, stored and counted.
    fn forget(&mut self, at: Timestamp) {
        self.context.advance_to(EventOrder::deadline(at));
        if let Some(mut silences) = self.silences.take() {
            silences.end(&mut self.context);
        }
        for entry in self.cases.take_loose(|_| true) {
            self.forget_event(entry.order);
        }
        self.forget_past_closings();
        let (id, norms) = (self.context.tenant.clone(), Arc::clone(&self.context.norms));
        let old = std::mem::replace(self, Self::new(id, norms, self.memory, self.codec));
        self.changelog = old.changelog;
        self.changelog.mark_changed = true;
        (self.left_out, self.context.summed_up) = (old.left_out, old.context.summed_up);
        self.context.effects = old.context.effects;
        self.context.effects.push(Effect::Forgotten(at));
    }
}

//! Owns the persistence of a tenant: which events it keeps, when it expires them, and how it is restored from them.
//!
//! **Expiry.** A case is expired as a whole when all its leads and deals are closed or deleted, its contacts have no
//! open demands, and it had no event for `retention`: by then no window and no late event reaches it. Later events
//! about the same entities start a new case. Expiry happens in event time, so it does not depend on how epochs are cut.
//!
//! **Restore** replays the events in event order, under the norms in force at the time, without publishing alerts. The
//! derived state is the same as before, except that alerts published before a late event corrected them are not part of
//! it; they are already published and final. The ids of retracted ones are stored.

use crate::domain::context::TenantContext;
use crate::domain::effect::{ArchivedClosing, Effect};
use crate::domain::event::{CrmPayload, EventOrder, Payload};
use crate::domain::id::{EntityId, EventId, TenantId};
use crate::domain::index::{ContactIx, JourneyIx};
use crate::domain::journey::Journey;
use crate::domain::tenant::cases::{self, Entry};
use crate::domain::tenant::changelog::{self, AppliedEvent, PayloadCodec, TenantMark};
use crate::domain::tenant::contacts::{ContactPending, ContactState};
use crate::domain::tenant::replay::ReplayedEvent;
use crate::domain::tenant::{Memory, Tenant};
use crate::domain::time::{Span, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A case that cannot be expired yet is checked again after `retention` divided by this.
const RECHECK_DIVISOR: i64 = 4;

impl Tenant {
    /// Restores a tenant as of `upto` from its state and its events in event order; [`Self::resume_forgetting`] follows. Calls `after_each` after each step, so that the
    /// caller can take its effects. Fails with the position of an event that cannot be decoded.
    pub fn restore(
        id: TenantId,
        (mark, closings): (TenantMark, BTreeMap<EntityId, ArchivedClosing>),
        memory: Memory,
        codec: PayloadCodec,
        events: impl IntoIterator<Item = AppliedEvent>,
        upto: Timestamp,
        mut after_each: impl FnMut(&mut Self),
    ) -> Result<Self, EventOrder> {
        let mut norm_versions = mark.norm_versions.into_iter();
        let (_, norms) = norm_versions.next().expect("a tenant has norms");
        let mut norm_versions = norm_versions.peekable();
        let mut tenant = Self::new(id, norms, memory, codec);
        tenant.named.is_replaying = true;
        (tenant.context.first_event, tenant.context.first_plan) = (mark.first_event, mark.first_plan);
        tenant.last_event = mark.last_event;
        tenant.context.effects.extend(mark.first_event.map(Effect::FirstEvent));
        tenant.load_past_closings(closings);
        for alert in mark.retracted {
            tenant.context.mark_retracted(alert);
        }
        tenant.restore_silences();
        let mut events = events.into_iter().peekable();
        let mut instant: Vec<(AppliedEvent, Payload)> = Vec::new();
        while let Some(at) = events.peek().map(|event| event.order.at) {
            while let Some(event) = events.next_if(|event| event.order.at == at) {
                let payload = (codec.unpack)(changelog::topic(event.order), &event.packed).ok_or(event.order)?;
                instant.push((event, payload));
            }
            while let Some((at, norms)) = norm_versions.next_if(|(since, _)| *since < at) {
                tenant.reload(norms, at);
                after_each(&mut tenant);
            }
            tenant.chains.collect(instant.iter().map(|(_, payload)| payload));
            for (AppliedEvent { order, id, packed }, payload) in instant.drain(..) {
                tenant.reapply(order, id, packed, &payload);
                after_each(&mut tenant);
            }
        }
        tenant.chains.clear();
        for (at, norms) in norm_versions {
            tenant.reload(norms, at);
        }
        tenant.run_timers(upto);
        after_each(&mut tenant);
        // Counted by the process that applied the events.
        (tenant.left_out, tenant.context.summed_up) = (0, [0; 2]);
        // Everything is persisted already, except what expired during the replay.
        tenant.changelog.mark_changed = !tenant.changelog.expired.is_empty();
        Ok(tenant)
    }

    /// Reapplies an event that was applied before the restore.
    fn reapply(&mut self, order: EventOrder, id: Option<EventId>, packed: Box<[u8]>, payload: &Payload) {
        self.run_timers(Timestamp(order.at.0 - 1));
        if let Some(id) = id {
            self.duplicates.insert(changelog::topic(order), &id, order.at);
        }
        let case = self.process(order, payload);
        if self.cases.log(case, order, &packed) {
            self.schedule_expiry(case, order.at);
        }
        self.last = self.last.max(order.at);
        self.name_manager(order.at, payload);
    }

    /// The part of the state that cannot be derived from the events.
    pub fn mark(&self) -> TenantMark {
        TenantMark {
            first_event: self.context.first_event,
            first_plan: self.context.first_plan,
            last_event: self.last_event,
            norm_versions: self.norm_versions.clone(),
            retracted: self.context.retracted().collect(),
        }
    }

    /// Encodes an applied event into `packed` and appends it to the changelog.
    pub(super) fn record(&mut self, order: EventOrder, id: Option<EventId>, payload: &Payload) {
        self.keep_since(order.at);
        self.name_manager(order.at, payload);
        self.packed.clear();
        (self.codec.pack)(payload, &mut self.packed);
        if self.memory.durable {
            self.changelog.applied.append(order, id, |bytes| bytes.extend_from_slice(&self.packed));
        }
    }

    /// Schedules the first expiry check of a new case.
    pub(super) fn schedule_expiry(&mut self, case: Option<u32>, at: Timestamp) {
        if let (Some(case), Some(retention)) = (case, self.memory.retention) {
            self.retention_timers.push(Reverse((at.saturating_add(retention), case)));
        }
    }

    /// Expires the cases that are due at or before `until`; timers due before each case fire first.
    pub(super) fn expire_cases(&mut self, until: Timestamp) {
        let Some(retention) = self.memory.retention else { return };
        self.drop_past_closings(until);
        let mut expired = false;
        while let Some(Reverse((at, case))) = self.retention_timers.peek().copied().filter(|next| next.0.0 <= until) {
            self.retention_timers.pop();
            let Some(last) = self.cases.last_event_at(case) else { continue };
            let due = last.saturating_add(retention);
            if due > at {
                self.retention_timers.push(Reverse((due, case)));
                continue;
            }
            self.fire_timers(at);
            if self.expire_case(case, at) {
                expired = true;
            } else {
                let recheck = Span((retention.0 / RECHECK_DIVISOR).max(1));
                self.retention_timers.push(Reverse((at.saturating_add(recheck), case)));
            }
        }
        if expired {
            if self.cases.has_many_loose() {
                self.expire_loose_events(until.saturating_sub(retention));
            }
            self.compact();
        }
    }

    /// Expires a case at `at`; returns `false` if it is still active.
    fn expire_case(&mut self, case: u32, at: Timestamp) -> bool {
        let log = self.read_log(case);
        let (journeys, contacts) = self.indices_named_by(log.iter().map(|event| &event.payload));
        if self.is_active(&journeys, &contacts) {
            return false;
        }
        self.discard_undo_log(case);
        self.cases.last_event_at(case).into_iter().for_each(|last| self.emit_expired(last));
        journeys.iter().for_each(|ix| self.archive_closing(*ix, at));
        self.cases.remove_log(case);
        let mut expired_keys = Vec::new();
        for ReplayedEvent { entry, payload } in &log {
            self.clear_event_state(payload);
            let ignored = self.ignores(payload);
            cases::keys(payload, self.context.norms.country, ignored, &mut self.number, &mut self.keys);
            expired_keys.append(&mut self.keys);
            self.forget_event(entry.order);
            self.release_manager(at, payload);
        }
        self.cases.remove_keys(expired_keys);
        for ix in journeys {
            let kind = self.journeys[ix].id.kind;
            self.journeys.remove(ix, Journey::new(EntityId { kind, id: Default::default() }, ix));
        }
        for ix in contacts {
            self.calls.remove_contact(ix);
            self.contacts.remove(ix, ContactState::default());
        }
        true
    }

    /// Whether something of a case is open: one of its leads or deals, or a demand of its contacts.
    pub(super) fn is_active(&self, journeys: &BTreeSet<JourneyIx>, contacts: &BTreeSet<ContactIx>) -> bool {
        journeys.iter().any(|ix| self.journeys[*ix].open())
            || contacts.iter().any(|ix| {
                let ContactPending { calls, messages, .. } = &*self.contacts[*ix].pending;
                [calls, messages].into_iter().flatten().any(|pending_replies| pending_replies.open_demand().is_some())
            })
    }

    /// Expires events without a case: reviews older than every window, and records of managers and departments that
    /// say nothing new.
    fn expire_loose_events(&mut self, oldest: Timestamp) {
        let (codec, TenantContext { people, departments, .. }) = (self.codec, &self.context);
        let obsolete = |entry: &mut Entry| {
            let Payload::Crm(payload) = codec.unpack_trusted(entry.order, &entry.packed) else { return false };
            entry.order.at < oldest
                && match &*payload {
                    CrmPayload::ManagerUpserted { manager, .. } => !people.has_record(manager, entry.order),
                    CrmPayload::DepartmentUpserted { department, .. } => !departments.is_from(department, entry.order),
                    _ => true,
                }
        };
        for entry in self.cases.take_loose(obsolete) {
            self.forget_event(entry.order);
        }
    }

    /// Removes an event from the changelog.
    pub(super) fn forget_event(&mut self, order: EventOrder) {
        let last_event = &mut self.last_event[changelog::topic(order)];
        *last_event = order.at.max(*last_event);
        if self.memory.durable {
            self.changelog.expired.push((order.source, order.offset));
            self.changelog.mark_changed = true;
        }
    }

    fn compact(&mut self) {
        let mut moved = rustc_hash::FxHashMap::default();
        let compacted = self.cases.compact(|from, to| {
            moved.insert(from, to);
        });
        if compacted {
            let retention_timers = std::mem::take(&mut self.retention_timers).into_iter();
            self.retention_timers =
                retention_timers.filter_map(|Reverse((at, case))| Some(Reverse((at, *moved.get(&case)?)))).collect();
        }
    }

    /// Replays the latest expired event of each topic for `source_silent`.
    fn restore_silences(&mut self) {
        let Some(silences) = &mut self.silences else { return };
        let mut last_event: Vec<_> = self.last_event.iter().map(|(topic, at)| (topic, *at)).collect();
        last_event.retain(|(_, at)| *at > Timestamp::MIN);
        last_event.sort_by_key(|(topic, at)| (*at, *topic));
        for (topic, at) in last_event {
            self.context.advance_to(EventOrder::before(at, topic));
            silences.record_event(topic, &mut self.context);
        }
    }
}

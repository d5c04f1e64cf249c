//! Owns what a tenant keeps of its events, what it forgets, and how it comes back from what was kept.
//!
//! **Forgetting.** A case whose leads and deals are closed or deleted, to whose contacts nothing is owed, and of which
//! nothing was heard for `retention`, is forgotten whole: no window and no late event reaches it any more. What comes
//! about it later is heard of for the first time. Its turn comes at an instant of event time, so where epochs are cut
//! does not show.
//!
//! **Coming back** is living the events again, in their order, under the norms of then, with nobody listening. What is
//! derived is so the same, but for a past that was told before a late event put it right; that is told, and over.

use super::super::changelog::{self, AppliedEvent, PayloadCodec, TenantMark};
use super::super::event::{CrmPayload, EventOrder, Payload, Topic};
use super::super::id::{EntityId, EventId, TenantId};
use super::super::journey::Journey;
use super::super::tenant_context::TenantContext;
use super::super::time::{Span, Timestamp};
use super::cases::{self, Entry};
use super::correction::ReplayedEvent;
use super::{ContactPending, ContactState, Memory, Tenant};
use std::cmp::Reverse;

/// A case that is not over is looked at again after this part of `retention`.
const AGAIN: i64 = 4;

impl Tenant {
    /// A tenant as it was at `upto`, from what was kept of it: its events in order of effect. What comes of them goes to
    /// `lived` one after another, with the effects of each. Fails with the place of an event that cannot be unpacked.
    pub fn restore(
        id: TenantId,
        mark: TenantMark,
        memory: Memory,
        packing: PayloadCodec,
        kept: impl IntoIterator<Item = AppliedEvent>,
        upto: Timestamp,
        mut lived: impl FnMut(&mut Self),
    ) -> Result<Self, EventOrder> {
        let mut norm_versions = mark.norm_versions.into_iter();
        let (_, norms) = norm_versions.next().expect("a tenant has norms");
        let mut norm_versions = norm_versions.peekable();
        let mut tenant = Self::new(id, norms, memory, packing);
        tenant.context.first_event = mark.first_event;
        tenant.last_event = mark.last_event;
        tenant.remember_silences();
        for AppliedEvent { order, id, packed } in kept {
            while let Some((at, norms)) = norm_versions.next_if(|(at, _)| *at < order.at) {
                tenant.reload(norms, at);
                lived(&mut tenant);
            }
            let payload = (packing.unpack)(changelog::topic(order), &packed).ok_or(order)?;
            tenant.live(order, id, packed, &payload);
            lived(&mut tenant);
        }
        for (at, norms) in norm_versions {
            tenant.reload(norms, at);
        }
        tenant.run_timers(upto);
        lived(&mut tenant);
        // What was forgotten meanwhile is still to be written; the rest is.
        tenant.changelog.marked = !tenant.changelog.gone.is_empty();
        Ok(tenant)
    }

    /// Lives an event that took effect once.
    fn live(&mut self, order: EventOrder, id: Option<EventId>, packed: Box<[u8]>, payload: &Payload) {
        self.run_timers(Timestamp(order.at.0 - 1));
        if let Some(id) = id {
            self.duplicates.take(changelog::topic(order), &id, order.at);
        }
        self.take_effect(order, payload);
        let case = self.cases.join(&self.keys);
        if self.cases.log(case, order, &packed) {
            self.fade(case, order.at);
        }
    }

    /// What of it does not follow from its events.
    pub fn mark(&self) -> TenantMark {
        TenantMark {
            first_event: self.context.first_event,
            last_event: self.last_event,
            norm_versions: self.norm_versions.clone(),
        }
    }

    /// Packs an event that took effect into `packed`, and notes that it is to be written.
    pub(super) fn keep(&mut self, order: EventOrder, id: Option<EventId>, payload: &Payload) {
        self.packed.clear();
        (self.packing.pack)(payload, &mut self.packed);
        if self.memory.durable {
            self.changelog.keep(order, id, &self.packed);
        }
    }

    /// Has a new case looked at when nothing was heard of it for long enough.
    pub(super) fn fade(&mut self, case: Option<u32>, at: Timestamp) {
        if let (Some(case), Some(retention)) = (case, self.memory.retention) {
            self.fading.push(Reverse((at.saturating_add(retention), case)));
        }
    }

    /// Forgets the cases that are over for long enough by `until`; timers before each go off first.
    pub(super) fn forget_until(&mut self, until: Timestamp) {
        let Some(retention) = self.memory.retention else { return };
        let mut forgot = false;
        while let Some(Reverse((at, case))) = self.fading.peek().copied().filter(|next| next.0.0 <= until) {
            self.fading.pop();
            let Some(last) = self.cases.last(case) else { continue };
            let due = last.saturating_add(retention);
            if due > at {
                self.fading.push(Reverse((due, case)));
                continue;
            }
            self.ring_timers(at);
            if self.forget_case(case) {
                forgot = true;
            } else {
                let again = Span((retention.0 / AGAIN).max(1));
                self.fading.push(Reverse((at.saturating_add(again), case)));
            }
        }
        if forgot {
            self.forget_loose(until.saturating_sub(retention));
            self.compact();
        }
    }

    /// Forgets a case, if it is over.
    fn forget_case(&mut self, case: u32) -> bool {
        let log = self.recall(case);
        let (journeys, contacts) = self.numbers(log.iter().map(|told| &told.payload));
        let lasts = journeys.iter().any(|number| self.journeys[*number].open())
            || contacts.iter().any(|number| {
                let ContactPending { calls, messages, .. } = &*self.contacts[*number].pending;
                [calls, messages].into_iter().flatten().any(|pending_replies| pending_replies.waiting().is_some())
            });
        if lasts {
            self.cases.put(case, log.into_iter().map(|told| told.entry).collect());
            return false;
        }
        let mut gone = Vec::new();
        for ReplayedEvent { entry, payload } in &log {
            self.forget(payload);
            cases::keys(payload, self.context.norms.country, &mut self.keys);
            gone.append(&mut self.keys);
            self.let_go(entry.order);
        }
        self.cases.forget(gone);
        for number in journeys {
            let kind = self.journeys[number].id.kind;
            self.journeys.forget(number, Journey::new(EntityId { kind, id: Default::default() }, number));
        }
        for number in contacts {
            self.contacts.forget(number, ContactState::default());
        }
        true
    }

    /// Forgets reviews that no window covers any more, and records of managers that say what the one before said.
    fn forget_loose(&mut self, oldest: Timestamp) {
        let (packing, TenantContext { people, .. }) = (self.packing, &self.context);
        let over = |entry: &mut Entry| {
            let Payload::Crm(payload) = packing.recall(entry.order, &entry.packed) else { return false };
            entry.order.at < oldest
                && match &*payload {
                    CrmPayload::ManagerUpserted { manager, .. } => !people.stands(manager, entry.order),
                    _ => true,
                }
        };
        for entry in self.cases.take_loose(over) {
            self.let_go(entry.order);
        }
    }

    /// An event is not kept any more.
    fn let_go(&mut self, order: EventOrder) {
        let last_event = &mut self.last_event[changelog::topic(order) as usize];
        *last_event = order.at.max(*last_event);
        if self.memory.durable {
            self.changelog.gone.push((order.source, order.offset));
            self.changelog.marked = true;
        }
    }

    fn compact(&mut self) {
        let mut moved = rustc_hash::FxHashMap::default();
        let compacted = self.cases.compact(|from, to| {
            moved.insert(from, to);
        });
        if compacted {
            let fading = std::mem::take(&mut self.fading).into_iter();
            self.fading = fading.filter_map(|Reverse((at, case))| Some(Reverse((at, *moved.get(&case)?)))).collect();
        }
    }

    /// Topics spoke before the events that are kept.
    fn remember_silences(&mut self) {
        let Some(silences) = &mut self.silences else { return };
        let mut last_event: Vec<_> = Topic::ALL.into_iter().zip(self.last_event).collect();
        last_event.retain(|(_, at)| *at > Timestamp::MIN);
        last_event.sort_by_key(|(topic, at)| (*at, *topic));
        for (topic, at) in last_event {
            self.context.advance_to(EventOrder { at, rank: topic as u8, offset: 0, source: 0 });
            silences.record_event(topic, &mut self.context);
        }
    }
}

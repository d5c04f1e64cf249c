//! Owns the contacts of a tenant: their entities, and what waits for a reply to them.

use crate::domain::context::TenantContext;
use crate::domain::figures::pane::Measure;
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx};
use crate::domain::mem::indexed_arena::Keyed;
use crate::domain::mem::lazy_box::{LazyBox, StaticDefault};
use crate::domain::mem::recorded::Recorded;
use crate::domain::mem::small_index_vec::SmallIndexVec;
use crate::domain::pending_replies::{PendingBefore, PendingReplies};
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// A contact, the entities that have it, and its pending replies.
#[derive(Debug, Default)]
pub(super) struct ContactState {
    pub(super) normalized: CompactString,
    pub(super) entities: SmallIndexVec<JourneyIx>,
    /// How many of them are open.
    pub(super) open_entities: u32,
    /// Empty for most contacts.
    pub(super) pending: LazyBox<ContactPending>,
}

#[derive(Debug, Default)]
pub(super) struct ContactPending {
    /// `contact:KEY`, computed on first use.
    pub(super) subject: Option<CompactString>,
    pub(super) calls: Option<Box<PendingReplies>>,
    pub(super) messages: Option<Box<PendingReplies>>,
}

/// The before-image of a contact.
#[derive(Debug)]
pub(super) struct ContactBefore {
    entities: SmallIndexVec<JourneyIx>,
    open_entities: u32,
    /// Of missed calls and of messages.
    pending: [Option<PendingBefore>; 2],
}

impl ContactState {
    /// Counts an open entity more or less. A contact of more than the limit is shared.
    pub(super) fn count_open(&mut self, times: i32, context: &mut TenantContext) {
        let limit = context.norms.shared_contact_limit;
        let was_shared = self.open_entities > limit;
        self.open_entities = self.open_entities.saturating_add_signed(times);
        if (self.open_entities > limit) != was_shared {
            context.emit_fact(Timestamp::default(), ManagerIx::NONE, times, Measure::SharedContact);
        }
    }

    fn each_pending(&mut self, mut apply: impl FnMut(usize, &mut Option<Box<PendingReplies>>)) {
        if let Some(ContactPending { calls, messages, .. }) = self.pending.existing_mut() {
            apply(0, calls);
            apply(1, messages);
        }
    }
}

impl Recorded for ContactState {
    type Before = ContactBefore;

    fn begin_recording(&mut self) -> ContactBefore {
        let mut pending = [None, None];
        self.each_pending(|kind, of_kind| pending[kind] = of_kind.as_mut().map(|of_kind| of_kind.begin_recording()));
        ContactBefore { entities: self.entities.clone(), open_entities: self.open_entities, pending }
    }

    fn end_recording(&mut self, before: &mut ContactBefore) {
        self.each_pending(|kind, of_kind| {
            if let (Some(of_kind), Some(before)) = (of_kind, &mut before.pending[kind]) {
                of_kind.end_recording(before);
            }
        });
    }

    fn reset(&mut self) {
        self.entities.clear();
        self.open_entities = 0;
        self.each_pending(|_, pending| {
            if pending.as_mut().is_some_and(|pending| !pending.clear_recorded()) {
                *pending = None;
            }
        });
    }

    fn restore(&mut self, before: ContactBefore) {
        (self.entities, self.open_entities) = (before.entities, before.open_entities);
        let mut pending = before.pending;
        self.each_pending(|kind, of_kind| match pending[kind].take() {
            Some(before) => of_kind.get_or_insert_default().restore(before),
            None => *of_kind = None,
        });
    }

    fn merge(earlier: &mut ContactBefore, later: ContactBefore) {
        for (earlier, later) in earlier.pending.iter_mut().zip(later.pending) {
            if let (Some(earlier), Some(later)) = (earlier, later) {
                PendingReplies::merge(earlier, later);
            }
        }
    }
}

impl StaticDefault for ContactPending {
    const DEFAULT: &'static Self = &Self { subject: None, calls: None, messages: None };
}

impl Keyed for ContactState {
    type Key = CompactString;
    type Index = ContactIx;
    fn key(&self) -> &CompactString {
        &self.normalized
    }
}

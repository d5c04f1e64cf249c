//! Owns the dated acts that a journey keeps: touches, conversations and other two-way contact.

use crate::domain::event::Position;
use crate::domain::index::{CallIx, ContactIx, ManagerIx};
use crate::domain::mem::lazy_box::StaticDefault;
use crate::domain::mem::small_index_vec::SmallIndexVec;
use crate::domain::time::Timestamp;

/// Touches and contacts with the customer.
#[derive(Clone, Debug, Default)]
pub(super) struct ContactHistory {
    /// Ordered by date, then as they became known.
    pub touches: Vec<Touch>,
    /// Whether a touch ever became known, even if it was taken away since.
    pub was_touched: bool,
    /// Starts of the first conversations of calls, in order.
    pub talks: Vec<Timestamp>,
    /// The first two-way contact that is not a call.
    pub first_exchange: Option<Timestamp>,
    /// Messages of the customer before any touch was known: their dates and positions.
    pub asked: Vec<(Timestamp, Position)>,
    /// Indices of its contacts with demands.
    pub pending_contacts: SmallIndexVec<ContactIx>,
    /// Assignments after the first event: the position of each, and who was responsible before.
    pub reassigned: Vec<(Position, ManagerIx)>,
}

/// A touch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Touch {
    /// Its date.
    pub at: Timestamp,
    /// The position of the event with which it became known.
    pub known: Position,
    /// The call that makes it.
    pub call: Option<CallIx>,
    /// The manager who made it.
    pub by: ManagerIx,
}

impl StaticDefault for ContactHistory {
    const DEFAULT: &'static Self = &Self {
        touches: Vec::new(),
        was_touched: false,
        talks: Vec::new(),
        first_exchange: None,
        asked: Vec::new(),
        pending_contacts: SmallIndexVec::EMPTY,
        reassigned: Vec::new(),
    };
}

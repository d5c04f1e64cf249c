//! Owns the closings that targets count and whose cases were dropped: a reopening, a deletion or another closing takes them
//! away, however long ago they were.
//!
//! They are kept until their quarter and the correction horizon are over, and as long as their entity has a new case.

use crate::domain::effect::ArchivedClosing;
use crate::domain::id::EntityId;
use crate::domain::mem::seeded::SeededMap;
use crate::domain::norms::targets::{Per, day, midnight};
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeSet;

/// The past closings of a tenant.
#[derive(Debug, Default)]
pub(super) struct PastClosings {
    pub(super) by_entity: SeededMap<EntityId, ArchivedClosing>,
    /// When they can be dropped.
    pub(super) expiries: BTreeSet<(Timestamp, EntityId)>,
}

impl PastClosings {
    pub(super) fn insert(&mut self, entity: EntityId, closing: ArchivedClosing, horizon: Span) {
        self.expiries.insert((expiry(closing.at, horizon), entity.clone()));
        self.by_entity.insert(entity, closing);
    }
}

/// When the quarter of a closing and the correction horizon are over, in every time zone.
pub(super) fn expiry(at: Timestamp, horizon: Span) -> Timestamp {
    let end = midnight(None, Per::Quarter.first_day(Per::Quarter.index(day(None, at)) + 1));
    end.saturating_add(horizon).saturating_add(Span::DAY)
}

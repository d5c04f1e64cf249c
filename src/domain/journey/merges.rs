//! Owns the record of the merges that a lead or deal took part in.

use crate::domain::index::JourneyIx;
use crate::domain::mem::small_index_vec::SmallIndexVec;

/// The merges that an entity took part in.
#[derive(Clone, Debug, Default)]
pub(super) struct Merges {
    /// Whether it was merged into another one.
    pub(super) merged: bool,
    /// The one that has taken over its history; `None` if that one had been deleted before.
    pub(super) survivor: Option<JourneyIx>,
    /// Those whose histories it has taken over, also by way of others.
    pub(super) absorbed: SmallIndexVec<JourneyIx>,
}

impl Merges {
    pub(super) const NONE: Self = Self { merged: false, survivor: None, absorbed: SmallIndexVec::EMPTY };
}

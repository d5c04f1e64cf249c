//! Owns the open plans of a journey: the activities that were planned and are neither completed nor cancelled.

use crate::domain::id::ActivityId;
use crate::domain::mem::lazy_box::StaticDefault;
use crate::domain::time::{Maybe, Timestamp};
use std::collections::BTreeMap;

/// The plans of an entity. Most have none and allocate nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Plans {
    pub(super) open: BTreeMap<ActivityId, Plan>,
    /// When it last came to need a plan: a plan ended, or it was reopened.
    pub(super) needed_since: Maybe,
}

/// An open plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// When it was made.
    pub(super) made: Timestamp,
    pub(super) deadline: Option<Timestamp>,
}

impl StaticDefault for Plans {
    const DEFAULT: &'static Self = &Self { open: BTreeMap::new(), needed_since: Maybe::UNKNOWN };
}

impl Plans {
    /// The deadlines of the open plans, in the order of their ids.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Option<Timestamp>> {
        self.open.values().map(|plan| plan.deadline)
    }
}

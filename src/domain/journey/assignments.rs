//! Owns the assignments of a lead or deal: since when each manager was responsible, and under which norms.
//!
//! All are kept, because a call that becomes known at its end may turn out to be the first touch of an earlier manager.

use crate::domain::event::Position;
use crate::domain::index::ManagerIx;
use crate::domain::mem::lazy_box::StaticDefault;
use crate::domain::mem::short::Short;
use crate::domain::norms::Scope;
use crate::domain::time::Timestamp;
use std::sync::Arc;

/// A manager became responsible.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// When.
    pub at: Timestamp,
    /// The manager.
    pub who: ManagerIx,
    /// The position of the event that reported it.
    pub known: Position,
    /// The scope then.
    pub scope: Arc<Scope>,
}

/// The assignments, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Assignments(Vec<Assignment>);

impl StaticDefault for Assignments {
    const DEFAULT: &'static Self = &Self(Vec::new());
}

impl Assignments {
    pub(super) fn push(&mut self, assignment: Assignment) {
        self.0.push_short(assignment);
    }

    pub(super) fn last(&self) -> Option<&Assignment> {
        self.0.last()
    }

    /// The one before the last.
    pub(super) fn previous(&self) -> Option<&Assignment> {
        self.0.iter().rev().nth(1)
    }

    /// The last one before a touch of this date; at one instant, before the event with which the touch became known.
    pub(super) fn before(&self, touch: Timestamp, known: Position) -> Option<&Assignment> {
        self.0.iter().rfind(|assignment| (assignment.at, assignment.known) < (touch, known))
    }
}

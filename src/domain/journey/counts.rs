//! Owns what a journey currently counts in the figures of its manager.

use crate::domain::figures::pane::Measure;
use crate::domain::index::{ManagerIx, StageIx};
use crate::domain::mem::lazy_box::StaticDefault;
use crate::domain::time::Timestamp;

/// What is currently counted for `who`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counted {
    pub who: ManagerIx,
    pub received: bool,
    pub converted: bool,
    pub awaiting: bool,
    pub stuck: bool,
    pub without_plan: bool,
    /// The stage, if open; the stage, if overdue.
    pub open: Option<StageIx>,
    pub overdue: Option<StageIx>,
}

/// What is counted in addition for closed entities and moving deals.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CountedRarely {
    pub closing: Option<(Timestamp, ManagerIx, Measure)>,
    pub amount: Option<(Timestamp, ManagerIx, Measure)>,
    /// A lead that was no lost opportunity, instead of being received.
    pub excluded: Option<(Timestamp, ManagerIx, Measure)>,
    /// Stages that a deal reached: when, and whether it moved on.
    pub reached: Vec<(StageIx, Timestamp, bool)>,
    /// Deadlines of the open plans; `MAX` if there is none.
    pub plans: Vec<Timestamp>,
}

impl StaticDefault for CountedRarely {
    const DEFAULT: &'static Self =
        &Self { closing: None, amount: None, excluded: None, reached: Vec::new(), plans: Vec::new() };
}

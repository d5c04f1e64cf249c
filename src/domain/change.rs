//! Owns the changes of a lead or deal that rules react to. A journey records them in the context, and the tenant passes
//! them to the rules when the journey includes them.

use crate::domain::alert::Resolution;
use crate::domain::event::{Outcome, TermsOffered};
use crate::domain::id::PipelineId;
use crate::domain::index::ManagerIx;
use crate::domain::norms::{Norms, Stage};
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::sync::Arc;

/// A recorded change.
#[derive(Clone, Debug)]
pub enum Change {
    /// The state changed; rules update their clocks.
    State(JourneyChange),
    /// A manager acted; act rules judge it.
    Act(Box<Act>, ManagerIx),
}

/// A change of the state of a lead or deal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JourneyChange {
    /// The creation became known.
    Created {
        /// Event time of the creation.
        at: Timestamp,
        /// Whether clocks run from it: it is not earlier than the tenant's first event.
        watched: bool,
    },
    /// A touch.
    Touch {
        /// Event time of the touch.
        at: Timestamp,
        /// Whether it is the first one that became known.
        first: bool,
    },
    /// A touch turned out to be of another date.
    TouchMoved {
        /// The date that it had.
        from: Timestamp,
    },
    /// A touch or two-way contact turned out not to have happened, or later, or by another manager.
    ActsWithdrawn,
    /// A conversation earlier than all known before.
    Talk,
    /// A two-way contact earlier than all known before.
    Contact,
    /// An open entity was closed.
    Closed {
        /// Whether it is the first closing.
        first: bool,
    },
    /// A closed entity was reopened.
    Reopened,
    /// The entity was deleted.
    Deleted,
    /// Another manager was assigned.
    Assigned,
    /// The norms of the manager who was assigned apply from now on; follows [`Self::Assigned`].
    HandedOver,
    /// A stay in a stage started: by a move or by reopening.
    StageEntered {
        /// When.
        at: Timestamp,
    },
    /// The stay in a stage ended: by a move, closing or deletion.
    StageLeft {
        /// When.
        at: Timestamp,
        /// The resolution of violations of that stay.
        resolution: Resolution,
    },
    /// An activity was planned, or its plan was changed.
    Planned {
        /// When the plan was made.
        at: Timestamp,
    },
    /// A planned activity was completed or cancelled.
    PlanEnded {
        /// The resolution of violations of that plan.
        resolution: Resolution,
    },
    /// An open entity entered a stage in which the customer is to act, from one in which not.
    WaitStarted {
        /// When.
        at: Timestamp,
    },
    /// An open entity left a stage in which the customer is to act, for one in which not.
    WaitEnded {
        /// When.
        at: Timestamp,
    },
    /// New norms are in force.
    Reloaded,
    /// A timer fired.
    TimerFired,
}

/// An act on a lead or deal.
#[derive(Clone, Debug)]
pub enum Act {
    /// The entity was closed.
    Closed {
        /// The outcome.
        outcome: Outcome,
        /// The reason, as in the CRM.
        reason: Option<CompactString>,
    },
    /// The entity moved to another stage, or to the end of its pipeline.
    Moved(Move),
    /// Terms were offered.
    Offered {
        /// The offered terms.
        terms: TermsOffered,
        /// The grade of the manager who offered them.
        grade: Option<CompactString>,
    },
}

/// A move within a pipeline.
#[derive(Clone, Debug)]
pub struct Move {
    /// The norms in force, and the pipeline in them.
    pub norms: Arc<Norms>,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Index of the previous stage, if it belongs to the same pipeline.
    pub from: Option<usize>,
    /// Index of the entered stage; one past the last stage for a successful end.
    pub to: usize,
    /// The outcome of a successful end.
    pub end: Option<Outcome>,
    /// Whether the earlier stages are known, so that skipped ones can be detected.
    pub skips: bool,
    /// Which stages have been visited, by index.
    pub visited: Vec<bool>,
}

impl Move {
    /// The stages of the pipeline, in order.
    pub fn stages(&self) -> &[Stage] {
        self.norms.pipelines.get(&self.pipeline).map_or(&[], |pipeline| &pipeline.stages)
    }

    /// The entered stage or the outcome, as in alerts.
    pub fn target(&self) -> &str {
        let stage = || self.stages().get(self.to).map(|stage| stage.id.as_str());
        self.end.map(Outcome::name).or_else(stage).unwrap_or_default()
    }
}

//! Owns the effects: the only output of the domain core. The core never logs, counts, sends or sleeps; it returns these.

use crate::domain::alert::{Alert, AlertTaken};
use crate::domain::event::Outcome;
use crate::domain::figures::pane::Fact;
use crate::domain::id::{DepartmentId, ManagerId, PipelineId, StageId};
use crate::domain::index::{CurrencyIx, ManagerIx, StageIx};
use crate::domain::norms::targets::TargetFigure;
use crate::domain::review::ReviewRequest;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// A consequence of an event or a deadline, emitted in event order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A fact to count.
    Fact(Fact),
    /// A violation changed its status.
    Alert(Box<Alert>),
    /// Somebody takes care of an alert, if it is open.
    AlertTaken(Box<AlertTaken>),
    /// A manager became known or changed; facts refer to managers by index.
    ManagerUpdate(Box<ManagerUpdate>),
    /// A department was described, as it is now.
    DepartmentUpdate(Box<DepartmentUpdate>),
    /// A pipeline and stage became known; facts refer to them by index.
    StageDeclaration(Box<StageDeclaration>),
    /// A currency became known; facts refer to currencies by index.
    Currency(CurrencyIx, CompactString),
    /// The tenant was forgotten at this instant: what follows is about a new one.
    Forgotten(Timestamp),
    /// A manager was forgotten: the index is of another one from now on.
    ManagerForgotten {
        /// When.
        known: Timestamp,
        /// The index that facts used.
        who: ManagerIx,
        /// The CRM's id.
        id: ManagerId,
    },
    /// A department was forgotten.
    DepartmentForgotten {
        /// When.
        known: Timestamp,
        /// The CRM's id.
        id: DepartmentId,
    },
    /// The first event of the tenant is dated this.
    FirstEvent(Timestamp),
    /// Events up to this one were dropped from the state: what they counted follows from no event any more.
    Expired {
        /// The event time of the latest of them.
        last: Timestamp,
    },
    /// A closing whose case was dropped counts, or counts no more.
    PastClosing(Box<PastClosing>),
    /// A call or message was picked for review.
    Review(Box<ReviewRequest>),
    /// A review request for this manager ended: it was answered or expired.
    ReviewOver {
        /// The manager of the reviewed interaction.
        manager: ManagerId,
        /// The reviewed interaction.
        interaction: CompactString,
        /// Whether the review was received.
        answered: bool,
    },
}

impl Effect {
    /// Whether it declares an index that facts refer to.
    pub fn declares(&self) -> bool {
        matches!(self, Self::ManagerUpdate(_) | Self::StageDeclaration(_) | Self::Currency(..))
    }

    /// Whether something was forgotten.
    pub fn forgets(&self) -> bool {
        matches!(self, Self::Forgotten(_) | Self::ManagerForgotten { .. } | Self::DepartmentForgotten { .. })
    }
}

/// The attributes of a manager that the scoreboard needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerUpdate {
    /// When it took effect, in the same order as facts.
    pub known: Timestamp,
    /// The index that facts use.
    pub who: ManagerIx,
    /// The CRM's id.
    pub id: ManagerId,
    /// The department; `None` is `unknown`.
    pub department: Option<DepartmentId>,
    /// Whether the manager is active.
    pub active: bool,
    /// The name, if it is known.
    pub name: Option<CompactString>,
    /// The event time of the first event that names the manager.
    pub seen: Timestamp,
}

/// What a closing counts for targets, if its case was dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PastClosing {
    /// The date of the closing.
    pub at: Timestamp,
    /// The manager it counts for.
    pub manager: Option<ManagerId>,
    /// What it counts.
    pub figure: TargetFigure,
    /// The currency of an amount.
    pub currency: Option<CompactString>,
    /// The count, or the amount in minor units; negative to take it away.
    pub times: i64,
    /// When it took effect.
    pub known: Timestamp,
}

/// A closing that targets count, of a lead or deal whose events were dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedClosing {
    /// WON or CONVERTED.
    pub outcome: Outcome,
    /// Its date.
    pub at: Timestamp,
    /// The manager it counts for.
    pub manager: Option<ManagerId>,
    /// The amount in minor units and its currency, if it is known.
    pub amount: Option<(i64, CompactString)>,
}

/// A department as far as it is described; nothing is counted by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepartmentUpdate {
    /// The CRM's id.
    pub id: DepartmentId,
    /// The name, if it is known.
    pub name: Option<CompactString>,
    /// The department above it.
    pub parent: Option<DepartmentId>,
    /// The manager who heads it.
    pub head: Option<ManagerId>,
}

/// A pipeline and a stage in it; `unknown` for missing ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageDeclaration {
    /// The index that facts use.
    pub ix: StageIx,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The stage.
    pub stage: StageId,
}

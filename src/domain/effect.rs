//! Owns the effects: the only output of the domain core. The core never logs, counts, sends or sleeps; it returns these.

use crate::domain::alert::Alert;
use crate::domain::figures::pane::Measure;
use crate::domain::id::{DepartmentId, ManagerId, PipelineId, StageId};
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
    /// A manager became known or changed; facts refer to managers by index.
    ManagerUpdate(Box<ManagerUpdate>),
    /// A pipeline and stage became known; facts refer to them by index.
    StageDeclaration(Box<StageDeclaration>),
    /// A currency became known; facts refer to currencies by index.
    Currency(u32, CompactString),
    /// A call or message was picked for review.
    Review(Box<ReviewRequest>),
    /// A review request for this manager ended: it was answered or expired.
    ReviewOver {
        /// The manager of the reviewed interaction.
        manager: ManagerId,
        /// Whether the review was received.
        answered: bool,
    },
}

/// Index of a manager within the tenant; 0 is no manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManagerIx(pub u32);

impl ManagerIx {
    /// No manager: counts for department `unknown` and the tenant.
    pub const NONE: Self = Self(0);

    /// This index, or `other` if this is [`Self::NONE`].
    pub fn or(self, other: Self) -> Self {
        if self == Self::NONE { other } else { self }
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
}

/// A pipeline and a stage in it; `unknown` for missing ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageDeclaration {
    /// The index that facts use.
    pub ix: u32,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The stage.
    pub stage: StageId,
}

/// A dated, countable observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact {
    /// When it took effect. Facts are emitted in this order; corrections take effect when they are made.
    pub known: Timestamp,
    /// Its date, which determines its pane.
    pub at: Timestamp,
    /// The manager.
    pub who: ManagerIx,
    /// 1, or -1 to retract an earlier fact.
    pub times: i32,
    /// What is counted.
    pub measure: Measure,
}

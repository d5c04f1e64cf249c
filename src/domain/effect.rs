//! Owns the effects: the only output of the domain core. The core never logs, counts, sends or sleeps; it returns these.

use crate::domain::alert::Alert;
use crate::domain::event::{Channel, Direction, Verdict};
use crate::domain::id::{DepartmentId, ManagerId, PipelineId, StageId};
use crate::domain::review::ReviewRequest;
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
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

/// A percentage, stored as the bits of its `f64` so that facts can be compared and retracted exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u64);

impl Percent {
    /// From a value between 0 and 100.
    pub fn new(percent: f64) -> Self {
        Self(percent.to_bits())
    }

    /// The value, 0 to 100.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// What a fact counts. The measures after `Violation` describe current state: the sum of their facts is the current value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// A lead, dated at its creation.
    LeadReceived,
    /// A lead that became a deal, dated at its creation.
    LeadConverted,
    /// A lead closed as converted, dated at the closing.
    LeadClosedConverted,
    /// A lead closed as disqualified, dated at the closing.
    LeadDisqualified,
    /// A deal, dated at its creation.
    DealReceived,
    /// A won deal, dated at its creation.
    DealConverted,
    /// A deal that first reached this stage or a later one, dated at that instant.
    StageReached(u32),
    /// One of these deals that also reached the next stage, or was won.
    StagePassed(u32),
    /// A won deal, dated at the closing.
    DealWon,
    /// A lost deal, dated at the closing.
    DealLost,
    /// The amount of a won deal, dated at the closing.
    AmountWon {
        /// Index of the currency.
        currency: u32,
        /// Amount in minor units.
        minor: i64,
    },
    /// A first response, with its lag on both clocks.
    FirstResponse {
        /// On the wall clock.
        wall: Span,
        /// In working time.
        business: Span,
    },
    /// A lead judged by its response norm.
    FirstResponseJudged {
        /// Whether it was answered by the deadline.
        within: bool,
    },
    /// A returned call, with its lag.
    CallBack(Span),
    /// An answer to a message, with its lag.
    Reply(Span),
    /// A call.
    Call {
        /// Inbound or outbound.
        direction: Direction,
        /// Whether it was a conversation.
        answered: bool,
    },
    /// Talk time.
    Talk(Span),
    /// A message sent.
    MessageSent(Channel),
    /// A message received.
    MessageReceived(Channel),
    /// A meeting.
    Meeting,
    /// A touch.
    Touch,
    /// Terms offered.
    Terms {
        /// Index of the deal's journey.
        deal: u32,
        /// Whether the terms are special.
        special: bool,
        /// The discount, 0 if none was offered.
        discount: Percent,
    },
    /// A review.
    Review {
        /// Score in millionths, so that sums stay exact.
        score_micros: i64,
        /// Success, failure or neither.
        verdict: Verdict,
    },
    /// A violation that began.
    Violation(Rule),
    /// An entity that waits for its first response, dated at its creation.
    Awaiting,
    /// An open entity, by index of its stage.
    Open(u32),
    /// An open deal.
    OpenDeal,
    /// An open entity that is overdue in its stage.
    Overdue(u32),
    /// An overdue deal in an early stage.
    Stuck,
    /// An open alert.
    OpenAlert(Rule),
    /// A contact with an unreturned missed call.
    Unreturned,
    /// A contact with an unanswered message.
    Unanswered,
}

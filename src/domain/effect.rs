//! Owns the effects: all that the core says to the world. It never logs, counts, sends or sleeps; it returns these.

use super::alert::Alert;
use super::event::{Channel, Direction, Verdict};
use super::id::{DepartmentId, ManagerId, PipelineId, StageId};
use super::review::ReviewRequest;
use super::rule::Rule;
use super::time::{Span, Timestamp};
use compact_str::CompactString;

/// One consequence of an event or of a deadline, in the order in which they take effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Something to count.
    Fact(Fact),
    /// A violation changed its status.
    Alert(Box<Alert>),
    /// A manager became known or changed; facts name managers by number.
    ManagerUpdate(Box<ManagerUpdate>),
    /// A pipeline and stage became known; facts name them by number.
    StageDeclaration(Box<StageDeclaration>),
    /// A currency became known; facts name currencies by number.
    Currency(u32, CompactString),
    /// A call or message was picked for review.
    Review(Box<ReviewRequest>),
    /// A request for a review of this manager is over: it was answered, or is too old to wait for.
    ReviewOver {
        /// Whose interaction it was about.
        manager: ManagerId,
        /// Whether the review came.
        answered: bool,
    },
}

/// A manager's number inside the tenant; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManagerIx(pub u32);

impl ManagerIx {
    /// Nobody: counts for department `unknown` and the tenant.
    pub const NONE: Self = Self(0);

    /// This one, or `other` if this is nobody.
    pub fn or(self, other: Self) -> Self {
        if self == Self::NONE { other } else { self }
    }
}

/// A manager as the scoreboard needs him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerUpdate {
    /// When it took effect, in the order of the facts.
    pub known: Timestamp,
    /// The number that facts use.
    pub who: ManagerIx,
    /// The CRM's id.
    pub id: ManagerId,
    /// Where he works; `None` is `unknown`.
    pub department: Option<DepartmentId>,
    /// Whether he still works.
    pub active: bool,
}

/// A pipeline and a stage in it, `unknown` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageDeclaration {
    /// The number that facts use.
    pub number: u32,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The stage.
    pub stage: StageId,
}

/// Something to count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact {
    /// When it took effect; facts come in this order, and corrections take effect when they are made.
    pub known: Timestamp,
    /// The date it has: the pane it belongs to.
    pub at: Timestamp,
    /// Whose it is.
    pub who: ManagerIx,
    /// 1, or -1 to take an earlier one back.
    pub times: i32,
    /// What to count.
    pub measure: Measure,
}

/// A percentage, by the bits of its `f64`: so facts can be compared and taken back exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u64);

impl Percent {
    /// From 0 to 100.
    pub fn new(percent: f64) -> Self {
        Self(percent.to_bits())
    }

    /// From 0 to 100.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// What a fact counts. Those after `Violation` are no events but states that last: their sum is what stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// A lead, at its creation.
    LeadReceived,
    /// A lead that became a deal, at its creation.
    LeadConverted,
    /// A lead closed as converted, at the closing.
    LeadClosedConverted,
    /// A lead turned down, at the closing.
    LeadDisqualified,
    /// A deal, at its creation.
    DealReceived,
    /// A deal that is won, at its creation.
    DealConverted,
    /// A deal that first reached this spot or one after it, at that instant.
    StageReached(u32),
    /// One of these that reached the next one too, or was won.
    StagePassed(u32),
    /// A deal won, at the closing.
    DealWon,
    /// A deal lost, at the closing.
    DealLost,
    /// The amount of a deal won, at the closing.
    AmountWon {
        /// Number of the currency.
        currency: u32,
        /// Minor units.
        minor: i64,
    },
    /// A first response given, and its lag on both clocks.
    FirstResponse {
        /// On the wall clock.
        wall: Span,
        /// In working time.
        business: Span,
    },
    /// A lead judged by its norm.
    FirstResponseJudged {
        /// Whether it was answered by its deadline.
        within: bool,
    },
    /// A call back, and its lag.
    CallBack(Span),
    /// An answer to a message, and its lag.
    Reply(Span),
    /// A call.
    Call {
        /// Who called whom.
        direction: Direction,
        /// Whether it was a conversation.
        answered: bool,
    },
    /// Time talked.
    Talk(Span),
    /// A message sent.
    MessageSent(Channel),
    /// A message received.
    MessageReceived(Channel),
    /// A meeting.
    Meeting,
    /// An act towards a customer.
    Touch,
    /// Terms offered.
    Terms {
        /// Number of the deal's journey.
        deal: u32,
        /// Whether they are special.
        special: bool,
        /// The discount in percent, 0 if none was given.
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
    /// An entity that waits for its first response, at its creation.
    Awaiting,
    /// An open entity, by number of its spot.
    Open(u32),
    /// An open deal.
    OpenDeal,
    /// An open entity that has been in its spot for too long.
    Overdue(u32),
    /// A deal among these in a stage that counts as early.
    Stuck,
    /// An open alert.
    OpenAlert(Rule),
    /// A contact with a missed call that nobody returned.
    Unreturned,
    /// A contact with a message that nobody answered.
    Unanswered,
}

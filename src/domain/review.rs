//! Owns the review request: a call or message that a person should review.

use crate::domain::event::{Channel, Direction, Outcome};
use crate::domain::id::{DepartmentId, EntityId, ManagerId, PipelineId, StageId, TenantId};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use jiff::civil::Date;
use std::fmt;

/// A request to review a call or message.
#[derive(Clone, Debug, PartialEq)]
pub struct ReviewRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The manager reviewed.
    pub manager: ManagerId,
    /// The manager's department at the end of the day; `unknown` if none.
    pub department: DepartmentId,
    /// The id of the call or message.
    pub interaction: CompactString,
    /// Its medium.
    pub medium: Medium,
    /// Event time: the start of a call.
    pub at: Timestamp,
    /// The day that was sampled.
    pub day: Date,
    /// The end of that day.
    pub requested_at: Timestamp,
    /// The primary lead or deal, as of the end of the day.
    pub about: Option<About>,
}

/// The medium of an interaction.
#[derive(Clone, PartialEq)]
pub enum Medium {
    /// A conversation.
    Call {
        /// The direction of the call.
        direction: Direction,
        /// Time talked.
        talk: Span,
        /// Link to the recording; no other output contains it.
        recording_url: Option<CompactString>,
    },
    /// A message sent.
    Message {
        /// The channel.
        channel: Channel,
    },
}

/// Hides the link to the recording.
impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { direction, talk, recording_url } => f
                .debug_struct("Call")
                .field("direction", direction)
                .field("talk", talk)
                .field("recording_url", &recording_url.as_ref().map(|_| "(link)"))
                .finish(),
            Self::Message { channel } => f.debug_struct("Message").field("channel", channel).finish(),
        }
    }
}

impl Medium {
    /// The name of calls.
    pub const CALL: &str = "call";

    /// The name in requests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Call { .. } => Self::CALL,
            Self::Message { .. } => "message",
        }
    }
}

/// The state of a lead or deal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The lead or deal.
    pub entity: EntityId,
    /// Whether and how it ended.
    pub ending: Ending,
    /// Its pipeline.
    pub pipeline: Option<PipelineId>,
    /// Its stage.
    pub stage: Option<StageId>,
}

/// Whether and how a lead or deal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is open.
    Open,
    /// It was closed.
    Closed(Outcome),
    /// It was deleted.
    Deleted,
}

impl Ending {
    /// The name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed(outcome) => outcome.name(),
            Self::Deleted => "deleted",
        }
    }
}

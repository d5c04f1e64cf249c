//! Owns the wire form of strings, ids and enums: domain variant ↔ protobuf number ↔ name. The names are those of
//! the proto file.

use super::proto;
use crate::domain::alert::Status;
use crate::domain::event::{ActivityKind, AnsweredBy, CallOutcome, Channel, Direction, Outcome, Verdict};
use crate::domain::id::{
    ActivityId, CallId, DepartmentId, EntityKind, EventId, LegId, ManagerId, MessageId, PipelineId, SessionId,
    SourceId, StageId, TenantId, ThreadId,
};
use compact_str::CompactString;

/// The meaning of a name or number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named<T> {
    /// Zero, or a name that ends in UNSPECIFIED: treated as an absent field.
    Absent,
    /// A known variant.
    Known(T),
    /// A value that this version does not know.
    Unknown,
}

/// A value that is a string in JSON.
pub(super) trait Text {
    /// The string.
    fn text(&self) -> &str;
}

impl<T: Name> Text for T {
    fn text(&self) -> &str {
        self.wire_name()
    }
}

/// Passes the types of strings to a macro.
macro_rules! text_types {
    ($macro:ident) => {
        $macro! {
            str &str String CompactString
            TenantId EventId ManagerId DepartmentId PipelineId StageId SourceId CallId SessionId LegId MessageId
            ThreadId ActivityId
        }
    };
}

pub(super) use text_types;

macro_rules! texts {
    ($($type:ty)*) => {$(
        impl Text for $type {
            fn text(&self) -> &str {
                self.as_ref()
            }
        }
    )*};
}

text_types!(texts);

/// A domain enum that has a protobuf counterpart.
pub(super) trait Name: Copy {
    /// Converts from the JSON form.
    fn from_name(name: &str) -> Named<Self>;
    /// Converts to the JSON form.
    fn wire_name(self) -> &'static str;
    /// Converts from the protobuf form.
    fn from_number(number: i32) -> Named<Self>;
    /// Converts to the protobuf form.
    fn number(self) -> i32;
}

macro_rules! names {
    ($($name:ident { $($variant:ident)* })*) => {$(
        impl From<proto::$name> for Named<$name> {
            fn from(value: proto::$name) -> Self {
                match value {
                    proto::$name::Unspecified => Self::Absent,
                    $(proto::$name::$variant => Self::Known($name::$variant),)*
                }
            }
        }

        impl From<$name> for proto::$name {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => Self::$variant,)*
                }
            }
        }

        impl Name for $name {
            fn from_name(name: &str) -> Named<Self> {
                proto::$name::from_str_name(name).map_or(Named::Unknown, Named::from)
            }

            fn wire_name(self) -> &'static str {
                proto::$name::from(self).as_str_name()
            }

            fn from_number(number: i32) -> Named<Self> {
                proto::$name::try_from(number).map_or(Named::Unknown, Named::from)
            }

            fn number(self) -> i32 {
                proto::$name::from(self).into()
            }
        }
    )*};
}

names! {
    EntityKind { Lead Deal }
    Channel { Email Chat Sms Messenger }
    Outcome { Won Lost Converted Disqualified }
    ActivityKind { Meeting Demo Proposal Invoice Task NeedsAnalysis Other }
    Verdict { Success Failure Neutral }
    Direction { Inbound Outbound }
    CallOutcome { Answered NoAnswer Busy Rejected Voicemail Failed }
    AnsweredBy { Person Queue Ivr Voicemail }
    Status { Raised Firing Escalated Resolved Retracted DueSoon Averted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_match_the_domain_names() {
        for channel in Channel::ALL {
            assert_eq!(channel.wire_name(), channel.name());
        }
        for outcome in [Outcome::Won, Outcome::Lost, Outcome::Converted, Outcome::Disqualified] {
            assert_eq!(outcome.wire_name(), outcome.name());
        }
    }

    #[test]
    fn only_exact_names_and_numbers_are_known() {
        assert_eq!(CallOutcome::from_name("NO_ANSWER"), Named::Known(CallOutcome::NoAnswer));
        assert_eq!(CallOutcome::from_name("CALL_OUTCOME_UNSPECIFIED"), Named::Absent);
        assert_eq!(CallOutcome::from_name("no_answer"), Named::Unknown);
        assert_eq!(CallOutcome::from_number(0), Named::Absent);
        assert_eq!(CallOutcome::from_number(CallOutcome::Failed.number()), Named::Known(CallOutcome::Failed));
        assert_eq!(CallOutcome::from_number(-1), Named::Unknown);
    }
}

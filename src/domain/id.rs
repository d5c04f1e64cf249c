//! Owns the identifiers: opaque ids as the sources write them, with a separate type for each kind.

use crate::domain::named::named_enum;
use compact_str::{CompactString, format_compact};
use sha2::{Digest, Sha256};
use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub CompactString);

        impl $name {
            /// The id as its source writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<CompactString> for $name {
            fn from(text: CompactString) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// A company (CRM portal): the unit of isolation and of sharding.
    TenantId
    /// An event inside its tenant and topic.
    EventId
    /// A manager: a person responsible for customers or in contact with them.
    ManagerId
    /// A department of a tenant.
    DepartmentId
    /// A pipeline (funnel) of stages.
    PipelineId
    /// A stage of a pipeline.
    StageId
    /// Where a lead came from, as the CRM names it.
    SourceId
    /// A call, or a leg of one, as its source names it.
    CallId
    /// A whole call with all of its legs.
    SessionId
    /// A leg of a call at its source.
    LegId
    /// A written message.
    MessageId
    /// A thread of written messages.
    ThreadId
    /// A planned activity of a lead or deal.
    ActivityId
}

impl MessageId {
    /// The form in which ids of messages are compared, see [`reply_key`].
    pub fn reply_key(&self) -> &str {
        reply_key(&self.0)
    }
}

/// An id of a message as mail programs repeat it in a reply, reduced to what all spellings share: without surrounding
/// blanks and angle brackets, and without anything after the closing bracket.
pub fn reply_key(id: &str) -> &str {
    let opened = id.trim().trim_start_matches('<');
    opened.split_once('>').map_or(opened, |(id, _)| id).trim()
}

/// The SHA-256 of an id in hexadecimal, which stands for an id that is too long.
pub fn sha256(id: &str) -> CompactString {
    Sha256::digest(id).iter().map(|byte| format_compact!("{byte:02x}")).collect()
}

/// The department of managers without one, and of facts without a manager.
pub const UNKNOWN: &str = "unknown";

named_enum! {
    /// The kind of an entity.
    pub enum EntityKind, named "in norms and in subjects of alerts" {
        /// An inquiry that is not qualified yet.
        Lead = "lead",
        /// A sale in progress.
        Deal = "deal",
    }
}

/// A lead or a deal of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId {
    /// Lead or deal.
    pub kind: EntityKind,
    /// The CRM's id.
    pub id: CompactString,
}

impl EntityId {
    /// The lead with this id.
    pub fn lead(id: &str) -> Self {
        Self { kind: EntityKind::Lead, id: id.into() }
    }

    /// The deal with this id.
    pub fn deal(id: &str) -> Self {
        Self { kind: EntityKind::Deal, id: id.into() }
    }

    /// Reads `lead:ID` or `deal:ID`, as it is displayed; `None`: it is another text.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        Some(Self { kind: EntityKind::named(kind)?, id: id.into() })
    }

    /// The `subject` of alerts about it, or about a part of it: `lead:ID`, `lead:ID/STAGE`, `deal:ID/ACTIVITY`.
    pub fn subject(&self, part: Option<&str>) -> CompactString {
        match part {
            Some(part) => format_compact!("{self}/{part}"),
            None => format_compact!("{self}"),
        }
    }
}

/// As in an alert's subject: `lead:ID` or `deal:ID`.
impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.id)
    }
}

/// How many characters of an id are shown to people.
const SHOWN_CHARACTERS: usize = 60;

/// An id as shown to people: without control characters, and not longer than a line.
pub fn shown(id: &str) -> String {
    id.chars().take(SHOWN_CHARACTERS).map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_message_id_have_one_reply_key() {
        for text in
            ["<m1@host>", "m1@host", " <m1@host> ", "<m1@host> (Ann, Monday)", "< m1@host >\r\n\t<m0@host>", "m1@host>"]
        {
            assert_eq!(MessageId::from(text).reply_key(), "m1@host", "{text}");
        }
        for (text, key) in [("a b", "a b"), ("", ""), ("<>", ""), ("<\u{a0}я\u{a0}>", "я")] {
            assert_eq!(reply_key(text), key, "{text}");
        }
    }
}

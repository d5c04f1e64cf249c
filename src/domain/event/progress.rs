//! Owns progress marks: a source has sent all events of a tenant and topic dated up to an instant.

use crate::domain::event::Event;
use crate::domain::id::TenantId;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// A progress mark. It is no event: it only moves the watermark of its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The tenant; never empty.
    pub tenant: TenantId,
    /// The name of the source, unique among those of the tenant; may be empty.
    pub source: CompactString,
    /// The source has sent every event of the tenant and topic that is dated up to this instant.
    pub up_to: Timestamp,
    /// Whether the source sends past events.
    pub backfill: bool,
}

/// The content of a valid message.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// An event.
    Event(Event),
    /// A progress mark.
    Progress(Progress),
}

impl Incoming {
    /// The event; `None` if it is a progress mark.
    pub fn event(self) -> Option<Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Progress(_) => None,
        }
    }

    /// Its date.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Event(event) => event.at,
            Self::Progress(progress) => progress.up_to,
        }
    }

    /// The tenant that it concerns.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Event(event) => &event.tenant,
            Self::Progress(progress) => &progress.tenant,
        }
    }
}

//! Owns what a customer waits for, and what settles it: demands (missed calls, messages) and settlements.

use crate::domain::alert::Resolution;
use crate::domain::event::Position;
use crate::domain::id::{MessageId, ThreadId, reply_key};
use crate::domain::index::{CallIx, ContactIx, JourneyIx, ManagerIx};
use crate::domain::mem::seeded::SeededSet;
use crate::domain::norms::Scope;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::sync::Arc;

/// What identifies a demand among those of its contact, and orders them: its date and the position of its event.
pub type DemandKey = (Timestamp, Position);

/// A missed call or a message that requires a reply.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Event time: the end of the call, or the receipt of the message.
    pub at: Timestamp,
    /// The position of the event; breaks ties between equal dates.
    pub order: Position,
    /// The call or message.
    pub interaction: CompactString,
    /// Index of the primary entity.
    pub entity: Option<JourneyIx>,
    /// Indices of all entities that it belongs to.
    pub entities: Vec<JourneyIx>,
    /// The thread of a message.
    pub thread: Option<ThreadId>,
    /// The manager that the event names.
    pub who: ManagerIx,
    /// The manager on its alerts: responsible for the primary entity at that time, else named by the event.
    pub accountable: ManagerIx,
    /// The scope at that time.
    pub scope: Arc<Scope>,
    /// Whether it belonged to an open entity.
    pub open: bool,
    /// The call of a missed leg. An attempt to call within the same call does not settle it.
    pub call: Option<CallIx>,
    /// How it ended on its own.
    pub ended: Option<Box<Settlement>>,
    /// What counts it.
    pub counts: Counts,
    /// The position of the event with which it began to count: its clock does not replace one that runs already.
    pub opened: Position,
}

/// Whether a demand counts. What settles it is known in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// It has a clock and alerts.
    pub alerts: bool,
    /// It is part of the figures.
    pub figures: bool,
}

impl Counts {
    /// An ordinary demand.
    pub const ALL: Self = Self { alerts: true, figures: true };
    /// No demand: the call rang too short so far, or was a leg of a conversation.
    pub const NOT: Self = Self { alerts: false, figures: false };
}

/// A touch or conversation that settles demands.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Event time.
    pub at: Timestamp,
    /// The position of the event; breaks ties between equal dates. [`Position::MAX`]: it settles all demands of its date.
    pub order: Position,
    /// The resolution of the violation that it ends.
    pub resolution: Resolution,
    /// The manager that the lag is counted for.
    pub who: ManagerIx,
    /// What a demand must share with it; `None`: it was directed at the contact itself.
    pub reach: Option<Arc<Reach>>,
    /// The call that it is part of, and the position of the leg.
    pub act: Option<(CallIx, Position)>,
    /// Whether it is a text, which returns missed calls only where the norm says so.
    pub text: bool,
    /// Whether the lag until it is counted: it is a reply, and not the customer's own act or a decision not to reply.
    pub reply: bool,
    /// Whether it was replaced: it still has settled what it settled, but figures do not count it.
    pub replaced: bool,
}

/// A call that settles missed calls at the current instant.
#[derive(Debug)]
pub struct ActNow {
    /// The contacts that it was directed at.
    pub contacts: Vec<ContactIx>,
    /// The entities that have one of them, or that it names.
    pub entities: Vec<JourneyIx>,
    /// How it settles demands.
    pub settlement: Settlement,
}

/// How a settlement with another contact can settle a demand; one match is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// A message in the demand's thread.
    pub thread: Option<ThreadId>,
    /// A message in reply to the demand.
    pub reply: Option<MessageId>,
    /// A conversation with one of the demand's entities.
    pub entities: Vec<JourneyIx>,
    /// A conversation with a deal that one of the demand's leads became since.
    pub leads: Vec<JourneyIx>,
}

/// What settlements with other contacts can share with some demands: most of them share nothing, and need not be compared
/// with each demand.
#[derive(Debug, Default)]
pub(super) struct Shared<'a> {
    threads: SeededSet<&'a ThreadId>,
    replies: SeededSet<&'a str>,
    entities: SeededSet<JourneyIx>,
}

impl<'a> Shared<'a> {
    pub(super) fn of(demands: &[&'a Demand]) -> Self {
        let mut shared = Self::default();
        // For a few it costs more than it saves.
        for demand in demands.iter().filter(|_| demands.len() > FEW_DEMANDS) {
            shared.threads.extend(&demand.thread);
            shared.replies.insert(reply_key(&demand.interaction));
            shared.entities.extend(&demand.entities);
        }
        shared
    }

    /// Whether a settlement of this reach can cover one of the demands.
    pub(super) fn may_be_covered_by(&self, reach: &Reach) -> bool {
        let Reach { thread, reply, entities, leads } = reach;
        self.replies.is_empty()
            || thread.as_ref().is_some_and(|thread| self.threads.contains(thread))
            || reply.as_ref().is_some_and(|reply| self.replies.contains(reply.reply_key()))
            || entities.iter().chain(leads).any(|entity| self.entities.contains(entity))
    }
}

/// So many demands are compared one by one.
const FEW_DEMANDS: usize = 8;

impl Demand {
    /// What identifies it among the demands of its contact, and orders them.
    pub fn key(&self) -> DemandKey {
        (self.at, self.order)
    }

    /// Whether figures count it if alerts do, and always did.
    pub(super) fn is_ordinary(&self) -> bool {
        self.counts.alerts == self.counts.figures && self.opened <= self.order
    }

    /// The order in which clocks run.
    pub(super) fn turn(&self) -> (Position, Timestamp, Position) {
        (self.opened, self.at, self.order)
    }

    /// Whether it has not ended on its own before a settlement.
    pub(super) fn waits_at(&self, settlement: &Settlement) -> bool {
        self.ended.as_ref().is_none_or(|ended| ended.key() > settlement.key())
    }

    /// Whether this is how it ended on its own.
    pub(super) fn ends_by(&self, end: &Settlement) -> bool {
        self.ended.as_deref() == Some(end)
    }
}

impl Settlement {
    /// The order in which acts of one date settle: the order of effect.
    pub(super) fn turn(&self) -> (Timestamp, Position) {
        (self.at, self.act.map_or(self.order, |(_, leg)| leg))
    }

    pub(super) fn key(&self) -> (Timestamp, Position) {
        (self.at, self.order)
    }

    /// Whether it is dated at or after a demand.
    fn follows(&self, demand: &Demand) -> bool {
        self.key() >= demand.key()
    }

    /// Whether it settles a demand of its contact.
    pub(super) fn settles(&self, demand: &Demand) -> bool {
        self.follows(demand)
            && self.act.is_none_or(|(call, _)| demand.call != Some(call))
            && (!self.text || demand.scope.text_returns())
    }

    /// Whether it is the end of one demand, and not of all that wait.
    pub(super) fn is_own_end(&self) -> bool {
        matches!(self.resolution, Resolution::Closed | Resolution::Dismissed)
    }
}

impl Reach {
    pub(super) fn covers(&self, demand: &Demand) -> bool {
        (self.thread.is_some() && self.thread == demand.thread)
            || self.reply.as_ref().is_some_and(|reply| reply.reply_key() == reply_key(&demand.interaction))
            || self.entities.iter().any(|entity| demand.entities.contains(entity))
            || demand.open && self.leads.iter().any(|lead| demand.entities.contains(lead))
    }
}

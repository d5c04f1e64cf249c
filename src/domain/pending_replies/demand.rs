//! Owns what a customer waits for, and what settles it: demands (missed calls, messages) and settlements.

use crate::domain::alert::Resolution;
use crate::domain::event::Position;
use crate::domain::id::{MessageId, ThreadId, reply_key};
use crate::domain::index::{CallIx, ContactIx, JourneyIx, ManagerIx};
use crate::domain::mem::seeded::{SeededMap, hash};
use crate::domain::mem::small_index_vec::SmallIndexVec;
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
    pub contacts: SmallIndexVec<ContactIx>,
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

/// Which settlements with other contacts can settle one of some demands, without a comparison with each demand: by what the
/// demands have, and the period in which one of those that have it waits. Most such settlements settle none.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// By the hash of what a demand has: equal hashes of different things cost time, and change no result.
    periods: SeededMap<u64, Period>,
}

/// From the first demand to the last end.
#[derive(Clone, Copy, Debug)]
struct Period {
    from: DemandKey,
    until: (Timestamp, Position),
}

/// What a demand can have in common with a settlement.
#[derive(Hash)]
enum Common<'a> {
    Thread(&'a ThreadId),
    Reply(&'a str),
    Entity(JourneyIx),
    /// An entity of a demand that belonged to an open one.
    OpenEntity(JourneyIx),
}

impl Common<'_> {
    /// The key in [`Shared`], of all settlements or of texts.
    fn key(&self, text: bool) -> u64 {
        hash(&(text, self))
    }
}

impl Shared {
    pub(super) fn of<'a>(demands: impl IntoIterator<Item = &'a Demand>) -> Self {
        let mut shared = Self::default();
        demands.into_iter().for_each(|demand| shared.add(demand));
        shared
    }

    /// Adds a demand, or what one of them has in addition to before.
    pub(super) fn add(&mut self, demand: &Demand) {
        let until = demand.ended.as_ref().map_or((Timestamp::MAX, Position::MAX), |ended| ended.key());
        let open = demand.entities.iter().filter(|_| demand.open).map(|entity| Common::OpenEntity(*entity));
        let common = [Common::Reply(reply_key(&demand.interaction))].into_iter();
        let common = common.chain(demand.thread.as_ref().map(Common::Thread)).chain(open);
        for common in common.chain(demand.entities.iter().map(|entity| Common::Entity(*entity))) {
            for text in [false, true].into_iter().filter(|text| !text || demand.scope.text_returns()) {
                let new = Period { from: demand.key(), until };
                let period = self.periods.entry(common.key(text)).or_insert(new);
                (period.from, period.until) = (period.from.min(new.from), period.until.max(new.until));
            }
        }
    }

    /// Whether a settlement of this reach can settle one of the demands.
    pub(super) fn may_settle(&self, settlement: &Settlement, reach: &Reach) -> bool {
        let Reach { thread, reply, entities, leads } = reach;
        let meets = |common: Common<'_>| {
            let period = self.periods.get(&common.key(settlement.text));
            period.is_some_and(|period| (period.from..period.until).contains(&settlement.key()))
        };
        thread.as_ref().is_some_and(|thread| meets(Common::Thread(thread)))
            || reply.as_ref().is_some_and(|reply| meets(Common::Reply(reply.reply_key())))
            || entities.iter().any(|entity| meets(Common::Entity(*entity)))
            || leads.iter().any(|entity| meets(Common::OpenEntity(*entity)))
    }
}

/// So many demands are compared one by one: for them [`Shared`] costs more than it saves.
pub(super) const FEW_DEMANDS: usize = 8;

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

    /// Whether it settles a demand that still waits and belongs to what it reaches.
    pub(super) fn settles_by(&self, demand: &Demand, reach: &Reach) -> bool {
        self.settles(demand) && demand.waits_at(self) && reach.covers(demand)
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

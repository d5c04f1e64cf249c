//! Owns what facts are counted for: recorded only while that is asked, in a replay whose changes are undone.

use crate::domain::id::EntityId;
use compact_str::CompactString;

/// What a fact is counted for, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The lead or deal.
    pub entity: Option<EntityId>,
    /// The contact, as alerts name it: `contact:KEY`.
    pub contact: Option<CompactString>,
    /// The call, message or planned activity.
    pub interaction: Option<CompactString>,
}

/// The origins of the facts of a replay, in their order.
#[derive(Debug, Default)]
pub struct Origins {
    /// What is being worked on.
    pub current: Origin,
    /// Of the facts so far.
    pub of_facts: Vec<Origin>,
}

impl Origins {
    /// Notes what a fact of now is counted for.
    pub fn note_fact(&mut self) {
        self.of_facts.push(self.current.clone());
    }
}

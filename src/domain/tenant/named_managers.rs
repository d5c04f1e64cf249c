//! Owns how many kept events name each manager, and when to check whether a manager can be forgotten.

use crate::domain::id::ManagerId;
use crate::domain::mem::seeded::SeededMap;
use crate::domain::time::Timestamp;
use std::collections::BTreeSet;

/// The managers that kept events name, and when to check whether they can be forgotten.
#[derive(Debug, Default)]
pub(super) struct NamedManagers {
    by_id: SeededMap<ManagerId, Named>,
    checks: BTreeSet<(Timestamp, ManagerId)>,
    /// Whether a restore is replaying: what is replayed is kept, so no manager of it was forgotten.
    pub(super) is_replaying: bool,
}

#[derive(Debug)]
struct Named {
    /// The number of events in cases.
    events: u32,
    /// The latest record or review.
    last: Timestamp,
    /// Whether a check is scheduled.
    is_checked: bool,
}

impl Default for Named {
    fn default() -> Self {
        Self { events: 0, last: Timestamp::MIN, is_checked: false }
    }
}

impl NamedManagers {
    /// The instant of the next check.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// Schedules a check, unless one is scheduled: it is not later than needed.
    pub(super) fn check(&mut self, manager: &ManagerId, at: Timestamp) {
        if let Some(named) = self.by_id.get_mut(manager).filter(|named| !named.is_checked) {
            named.is_checked = true;
            self.checks.insert((at, manager.clone()));
        }
    }

    /// An event of a case that names a manager was applied.
    pub(super) fn add_event(&mut self, manager: &ManagerId) {
        self.by_id.entry(manager.clone()).or_default().events += 1;
    }

    /// A record or review of a manager was applied.
    pub(super) fn add_loose(&mut self, manager: &ManagerId, at: Timestamp) {
        let named = self.by_id.entry(manager.clone()).or_default();
        named.last = named.last.max(at);
    }

    /// An event of a case that names a manager expired. Returns the date of the last record or review if it was the last
    /// event.
    pub(super) fn remove_event(&mut self, manager: &ManagerId) -> Option<Timestamp> {
        let named = self.by_id.get_mut(manager)?;
        named.events = named.events.saturating_sub(1);
        (named.events == 0).then_some(named.last)
    }

    /// Removes a manager who was forgotten.
    pub(super) fn remove(&mut self, manager: &ManagerId) {
        self.by_id.remove(manager);
    }

    /// Takes the next check that is due, with the events and the date of the manager.
    pub(super) fn take_due(&mut self, until: Timestamp) -> Option<(Timestamp, ManagerId, u32, Timestamp)> {
        self.next().filter(|next| *next <= until)?;
        let (at, manager) = self.checks.pop_first()?;
        let named = self.by_id.get_mut(&manager)?;
        named.is_checked = false;
        Some((at, manager, named.events, named.last))
    }
}

//! Owns what is known about the departments of a tenant: names, places and heads. No figure or clock depends on it.
//!
//! The last value in event order counts, so that a late event does not undo a later one.

use crate::domain::effect::{DepartmentUpdate, Effect};
use crate::domain::event::EventOrder;
use crate::domain::id::{DepartmentId, ManagerId};
use compact_str::CompactString;
use std::collections::BTreeMap;

/// The departments of a tenant that `department_upserted` has described.
#[derive(Debug, Default)]
pub struct Departments(BTreeMap<DepartmentId, Description>);

/// Each field with the event that it is from.
#[derive(Debug, Default)]
struct Description {
    name: Latest<CompactString>,
    parent: Latest<DepartmentId>,
    head: Latest<ManagerId>,
}

/// A value and the position of the event that gave it; `None` before the first.
pub(super) type Latest<T> = Option<(EventOrder, T)>;

/// Replaces a value unless it is from a later event; returns whether it has changed.
pub(super) fn replace<T: PartialEq>(latest: &mut Latest<T>, order: EventOrder, value: Option<T>) -> bool {
    let Some(value) = value else { return false };
    if latest.as_ref().is_some_and(|(from, _)| *from > order) {
        return false;
    }
    let previous = latest.replace((order, value));
    previous.as_ref().map(|(_, value)| value) != latest.as_ref().map(|(_, value)| value)
}

impl Departments {
    /// Applies a `department_upserted`: what is absent stays, and an empty id takes one away.
    pub fn upsert(&mut self, given: DepartmentUpdate, order: EventOrder, effects: &mut Vec<Effect>) {
        let DepartmentUpdate { id, name, parent, head } = given;
        let known = self.0.entry(id.clone()).or_default();
        let changed = [
            replace(&mut known.name, order, name),
            replace(&mut known.parent, order, parent),
            replace(&mut known.head, order, head),
        ];
        if changed.contains(&true) {
            effects.push(Effect::DepartmentUpdate(Box::new(known.current(id))));
        }
    }

    /// The departments.
    pub fn ids(&self) -> impl Iterator<Item = &DepartmentId> {
        self.0.keys()
    }

    /// Whether the event at this position still gives a value.
    pub fn is_from(&self, id: &DepartmentId, order: EventOrder) -> bool {
        self.0.get(id).is_some_and(|Description { name, parent, head }| {
            let positions = [
                name.as_ref().map(|(from, _)| *from),
                parent.as_ref().map(|(from, _)| *from),
                head.as_ref().map(|(from, _)| *from),
            ];
            positions.contains(&Some(order))
        })
    }
}

impl Description {
    fn current(&self, id: DepartmentId) -> DepartmentUpdate {
        let Self { name, parent, head } = self;
        DepartmentUpdate {
            id,
            name: name.as_ref().map(|(_, name)| name.clone()),
            parent: parent.as_ref().map(|(_, parent)| parent.clone()).filter(|parent| !parent.as_str().is_empty()),
            head: head.as_ref().map(|(_, head)| head.clone()).filter(|head| !head.as_str().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn given(name: Option<&str>, parent: Option<&str>, head: Option<&str>) -> DepartmentUpdate {
        DepartmentUpdate {
            id: "north".into(),
            name: name.map(Into::into),
            parent: parent.map(Into::into),
            head: head.map(Into::into),
        }
    }

    /// The effects of an update at an instant.
    fn upsert(departments: &mut Departments, at: i64, update: DepartmentUpdate) -> Vec<DepartmentUpdate> {
        let mut effects = Vec::new();
        departments.upsert(update, EventOrder::deadline(Timestamp(at)), &mut effects);
        let update = |effect| match effect {
            Effect::DepartmentUpdate(update) => Some(*update),
            _ => None,
        };
        effects.into_iter().filter_map(update).collect()
    }

    #[test]
    fn what_is_absent_stays_and_an_empty_id_takes_one_away() {
        let mut departments = Departments::default();
        let update = given(Some("North"), Some("sales"), Some("ann"));
        assert_eq!(upsert(&mut departments, 1, update.clone()), std::slice::from_ref(&update));
        assert_eq!(
            upsert(&mut departments, 2, given(None, None, Some("bob"))),
            [given(Some("North"), Some("sales"), Some("bob"))]
        );
        assert_eq!(upsert(&mut departments, 3, given(None, Some(""), None)), [given(Some("North"), None, Some("bob"))]);
        assert_eq!(upsert(&mut departments, 4, given(Some("North"), None, None)), [], "nothing changes");
    }

    #[test]
    fn a_late_event_changes_only_what_no_later_one_gives() {
        let mut departments = Departments::default();
        upsert(&mut departments, 5, given(Some("North"), None, None));
        let late = given(Some("Old"), Some("sales"), None);
        assert_eq!(upsert(&mut departments, 1, late), [given(Some("North"), Some("sales"), None)]);
        let (id, order) = ("north".into(), |at| EventOrder::deadline(Timestamp(at)));
        assert!(departments.is_from(&id, order(5)) && departments.is_from(&id, order(1)));
        upsert(&mut departments, 7, given(Some("New"), Some("all"), None));
        assert!(!departments.is_from(&id, order(5)) && !departments.is_from(&id, order(1)));
    }
}

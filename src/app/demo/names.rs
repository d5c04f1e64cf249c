//! Owns the names of the people and departments of the demo: the simulation itself knows ids only.

use crate::domain::event::{CrmPayload, Event, Payload};
use crate::domain::id::{DepartmentId, ManagerId};
use crate::domain::time::Timestamp;
use compact_str::format_compact;

/// The managers by company, each with the id that the simulation uses.
const PEOPLE: [(&str, &[(&str, &str)]); 2] = [
    (
        "romashka",
        &[
            ("anna", "Anna Belova"),
            ("boris", "Boris Kuznetsov"),
            ("vera", "Vera Sokolova"),
            ("gleb", "Gleb Morozov"),
            ("daria", "Daria Volkova"),
            ("egor", "Egor Lebedev"),
            ("zhanna", "Zhanna Orlova"),
            ("ilya", "Ilya Fedorov"),
        ],
    ),
    (
        "northwind",
        &[
            ("olga", "Olga Smirnova"),
            ("pavel", "Pavel Novikov"),
            ("roman", "Roman Zaitsev"),
            ("svetlana", "Svetlana Pavlova"),
            ("timur", "Timur Karimov"),
        ],
    ),
];

/// The departments by company, each with its id, its name and the manager who heads it.
const DEPARTMENTS: [(&str, &str, &str, &str); 3] = [
    ("romashka", "moscow", "Moscow", "anna"),
    ("romashka", "petersburg", "Saint Petersburg", "daria"),
    ("northwind", "field", "Field sales", "olga"),
];

/// The ids of all managers.
pub(super) fn ids() -> impl Iterator<Item = &'static str> {
    PEOPLE.iter().flat_map(|(_, people)| people.iter().map(|(id, _)| *id))
}

/// The events that name them, dated `at`.
pub(super) fn events(at: Timestamp) -> Vec<Event> {
    let event = |tenant: &str, id: &str, payload: CrmPayload| Event {
        id: Some(format_compact!("name-{id}").into()),
        tenant: tenant.into(),
        at,
        payload: Payload::Crm(Box::new(payload)),
    };
    let mut events = Vec::new();
    for (tenant, id, name, head) in DEPARTMENTS {
        let payload = CrmPayload::DepartmentUpserted {
            department: DepartmentId::from(id),
            name: Some(name.into()),
            parent: None,
            head: Some(head.into()),
        };
        events.push(event(tenant, id, payload));
    }
    for (tenant, people) in PEOPLE {
        for (id, name) in people {
            let payload = CrmPayload::ManagerUpserted {
                manager: ManagerId::from(*id),
                department: None,
                grade: None,
                active: true,
                name: Some((*name).into()),
            };
            events.push(event(tenant, id, payload));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Plan;
    use std::collections::BTreeSet;

    #[test]
    fn everybody_in_the_demo_has_a_name() {
        let plan = Plan::demo(1);
        let staff = plan.companies.iter().flat_map(|company| company.staff.iter().map(|member| member.id.clone()));
        let named = PEOPLE.iter().flat_map(|(_, people)| people.iter().map(|(id, _)| ManagerId::from(*id)));
        assert_eq!(staff.collect::<BTreeSet<_>>(), named.collect());
        let departments =
            plan.companies.iter().flat_map(|company| company.staff.iter().map(|member| &member.department));
        let named: BTreeSet<DepartmentId> = DEPARTMENTS.iter().map(|(_, id, ..)| DepartmentId::from(*id)).collect();
        assert_eq!(departments.cloned().collect::<BTreeSet<_>>(), named);
    }
}

//! Owns what is known of people: names, departments and their heads, as the API of the processor says.
//!
//! **Bound.** What one answer says of a company replaces what was known of it, and an answer is bounded where it is read.

use crate::config::notify::{Notify, Person};
use crate::domain::rule::message::Language;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is known of the people of all companies.
#[derive(Debug, Default)]
pub struct Directory {
    companies: BTreeMap<String, Company>,
}

/// The people of a company, as the API says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Company {
    /// The managers by id.
    #[serde(default)]
    pub managers: Vec<Manager>,
    /// The departments by id.
    #[serde(default)]
    pub departments: Vec<Department>,
}

/// A manager.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Manager {
    /// The CRM's id.
    pub id: String,
    /// The name, if it is known.
    pub name: Option<String>,
    /// The department.
    pub department: Option<String>,
}

/// A department.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Department {
    /// The CRM's id.
    pub id: String,
    /// The name, if it is known.
    pub name: Option<String>,
    /// The department above it.
    pub parent: Option<String>,
    /// The manager who heads it.
    pub head: Option<String>,
}

/// The departments above one another that are looked at: more are a cycle.
const MAX_LEVELS: usize = 16;

impl Directory {
    /// Replaces what is known of a company. Returns what was known before, if it is something else.
    pub fn replace(&mut self, tenant: &str, company: Company) -> Option<Company> {
        let before = self.companies.insert(tenant.to_owned(), company).unwrap_or_default();
        (self.companies.get(tenant) != Some(&before)).then_some(before)
    }

    /// Whether anything is known of a company.
    pub fn knows(&self, tenant: &str) -> bool {
        self.companies.contains_key(tenant)
    }

    /// The name of a manager, else the id.
    pub fn name<'a>(&'a self, tenant: &str, manager: &'a str) -> &'a str {
        let company = self.companies.get(tenant);
        let found = company.and_then(|company| company.managers.iter().find(|known| known.id == manager));
        found.and_then(|found| found.name.as_deref()).unwrap_or(manager)
    }

    /// The heads above a manager of a department, nearest first, without the manager and without repetitions.
    pub fn heads(&self, tenant: &str, department: Option<&str>, manager: Option<&str>) -> Vec<&str> {
        let Some(company) = self.companies.get(tenant) else { return Vec::new() };
        let find = |id: &str| company.departments.iter().find(|department| department.id == id);
        let own = || company.managers.iter().find(|known| Some(known.id.as_str()) == manager)?.department.as_deref();
        let mut heads = Vec::new();
        let mut next = department.or_else(own).and_then(find);
        for _ in 0..MAX_LEVELS {
            let Some(department) = next else { break };
            if let Some(head) = department.head.as_deref()
                && Some(head) != manager
                && !heads.contains(&head)
            {
                heads.push(head);
            }
            next = department.parent.as_deref().and_then(find);
        }
        heads
    }
}

/// The addresses of a person of a company.
pub fn person<'a>(notify: &'a Notify, tenant: &str, id: &str) -> Option<&'a Person> {
    notify.people.get(&format!("{tenant}/{id}")).or_else(|| notify.people.get(id))
}

/// The language of a person.
pub fn language(notify: &Notify, person: Option<&Person>) -> Language {
    person.and_then(|person| person.language).unwrap_or(notify.language)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let json = r#"{"managers": [{"id": "vera", "name": "Vera", "department": "north"}, {"id": "oleg"}],
            "departments": [{"id": "north", "head": "oleg", "parent": "sales"}, {"id": "sales", "head": "boss", "parent": "top"},
                {"id": "top", "head": "boss", "parent": "north"}]}"#;
        let mut directory = Directory::default();
        directory.replace("acme", serde_json::from_str(json).expect("people"));
        directory
    }

    #[test]
    fn heads_are_those_of_the_departments_above() {
        let directory = directory();
        let heads = |department, manager| directory.heads("acme", department, manager);
        assert_eq!(heads(Some("north"), Some("vera")), ["oleg", "boss"]);
        assert_eq!(heads(None, Some("vera")), ["oleg", "boss"], "by the manager's department");
        assert_eq!(heads(Some("north"), Some("oleg")), ["boss"], "nobody is informed of themselves");
        assert_eq!(heads(Some("unknown"), Some("vera")), [""; 0]);
        assert_eq!(directory.heads("other", Some("north"), None), [""; 0]);
    }

    #[test]
    fn people_without_a_known_name_are_named_by_their_id() {
        let directory = directory();
        assert_eq!((directory.name("acme", "vera"), directory.name("acme", "oleg")), ("Vera", "oleg"));
        assert_eq!(directory.name("other", "vera"), "vera");
    }
}

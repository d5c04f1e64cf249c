//! Owns changes of contacts and companies: their phones and addresses are linked to the open leads and deals that have them.

use super::answer::Failure;
use super::events::{digest_of, entity};
use super::objects::addresses;
use super::pages::{self, List, PAGE};
use super::portal::{CONTACT, Outcome, Portal, index, read};
use super::query::Command;
use super::value::{Row, elements};
use crate::domain::id::EntityKind;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Portal {
    /// Reads contacts (3) or companies (4) that have changed; returns whether there are more.
    pub(super) fn read_changed_contacts(&mut self, type_id: u64) -> Outcome<bool> {
        self.each_changed(&List::items(type_id), "updatedTime", |portal, rows| {
            portal.report_contacts(type_id, &rows);
            Ok(Ok(()))
        })
    }

    /// Reads contacts or companies by id.
    pub(super) fn read_contacts(&mut self, type_id: u64, ids: &BTreeSet<u64>) -> Outcome<()> {
        let ids: Vec<u64> = ids.iter().copied().collect();
        let rows = read!(pages::of_ids(&mut self.client, &List::items(type_id), "id", &ids));
        self.report_contacts(type_id, &rows);
        Ok(Ok(()))
    }

    fn report_contacts(&mut self, type_id: u64, rows: &[Value]) {
        let zone = self.client.zone().clone();
        for row in rows.iter().map(Row) {
            let (Some(id), Some(at)) = (row.number("id"), row.time("updatedTime", &zone)) else { continue };
            let contacts = addresses(row);
            let digest = digest_of(&json!(contacts).to_string());
            if self.contacts_reported.insert((type_id, id), digest.clone()) == Some(digest) {
                continue;
            }
            for kind in [EntityKind::Lead, EntityKind::Deal] {
                let links = self.memory.links[index(kind)].iter();
                let linked = links.filter(|(_, links)| match type_id {
                    CONTACT => links.contacts.contains(&id),
                    _ => links.company == Some(id),
                });
                let owners: Vec<u64> = linked.map(|(owner, _)| owner).collect();
                for (owner, contact) in owners.iter().flat_map(|owner| contacts.iter().map(move |it| (owner, it))) {
                    let payload = json!({"entity": entity(kind, *owner), "contact": contact});
                    let digest = digest_of(&format!("{type_id} {payload}"));
                    self.events.crm(format!("b24:contact:{id}:{digest}"), at, "contact_linked", payload);
                }
            }
        }
    }

    /// The lead or deal that activities are bound to, by id of the activity: a deal rather than a lead.
    pub(super) fn bindings(&mut self, activities: &[u64]) -> Outcome<BTreeMap<u64, (u64, u64)>> {
        let command = |id: &u64| {
            let params = json!({"activityId": id});
            Command { method: "crm.activity.binding.list", params }
        };
        let commands: Vec<_> = activities.iter().map(command).collect();
        let mut found = BTreeMap::new();
        for (id, answer) in activities.iter().zip(self.client.batch(&commands, PAGE)?) {
            let reply = match answer {
                Ok(reply) => reply,
                // An activity that is gone has none, and older portals lack the method.
                Err(Failure::NotFound | Failure::NoMethod) => continue,
                Err(Failure::NoRight(_) | Failure::Wrong(_)) => continue,
                Err(failure) => return Ok(Err(failure)),
            };
            let bound: Vec<(u64, u64)> = elements(&reply.result)
                .into_iter()
                .map(Row)
                .filter_map(|row| {
                    let (kind, id) = (row.number("entityTypeId"), row.number("entityId"));
                    Some((kind.or(row.number("OWNER_TYPE_ID"))?, id.or(row.number("OWNER_ID"))?))
                })
                .collect();
            let chosen = [2, 1].iter().find_map(|kind| bound.iter().find(|(of, _)| of == kind));
            found.extend(chosen.map(|entity| (*id, *entity)));
        }
        Ok(Ok(found))
    }
}

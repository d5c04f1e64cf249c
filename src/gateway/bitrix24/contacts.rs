//! Owns changes of contacts and companies: their phones and addresses are linked to the open leads and deals that have them.

use super::answer::Failure;
use super::events::{digest_of, entity};
use super::objects::addresses;
use super::pages::{self, List, PAGE};
use super::portal::{CONTACT, Linking, Links, Outcome, Portal, index, kind_of, read};
use super::query::Command;
use super::value::{Row, elements};
use crate::domain::id::EntityKind;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Links of one step, in events.
const LINKS: usize = 1_000;

/// Contacts that a step reads because of webhooks.
const MOST_HINTED: usize = 500;

/// The most contacts and companies that are noted because their links need further steps; a step adds at most those that it
/// reads.
const MOST_LINKINGS: usize = 1_000;

impl Portal {
    /// Reads contacts (3) or companies (4) that have changed; returns whether there are more.
    pub(super) fn read_changed_contacts(&mut self, type_id: u64) -> Outcome<bool> {
        if let Some(next) = self.memory.linking.get().iter().find(|linking| linking.of.0 == type_id).copied() {
            read!(self.link_next(next));
            return Ok(Ok(true));
        }
        let more = read!(self.each_changed(&List::items(type_id), "updatedTime", |portal, rows| {
            portal.report_contacts(type_id, &rows);
            Ok(Ok(()))
        }));
        Ok(Ok(more || self.memory.linking.get().iter().any(|linking| linking.of.0 == type_id)))
    }

    /// Reads contacts or companies by id.
    pub(super) fn read_contacts(&mut self, type_id: u64, ids: &BTreeSet<u64>) -> Outcome<()> {
        // The next sweep finds those that there is no room for.
        let ids: Vec<u64> = ids.iter().copied().take(MOST_HINTED).collect();
        let rows = read!(pages::of_ids(&mut self.client, &List::items(type_id), "id", &ids));
        if self.memory.linking.get().len() < MOST_LINKINGS {
            self.report_contacts(type_id, &rows);
        }
        Ok(Ok(()))
    }

    /// Links contacts or companies to their leads and deals, as many as a step allows. Those of which there are more are
    /// noted, and linked in the next steps.
    fn report_contacts(&mut self, type_id: u64, rows: &[Value]) {
        let zone = self.client.zone().clone();
        let mut room = LINKS;
        for row in rows.iter().map(Row) {
            let (Some(id), Some(_)) = (row.number("id"), row.time("updatedTime", &zone)) else { continue };
            let digest = digest_of(&json!(addresses(row)).to_string());
            if self.contacts_reported.insert((type_id, id), digest.clone()) == Some(digest) {
                continue;
            }
            for kind in [EntityKind::Lead, EntityKind::Deal] {
                let linking = Linking { of: (type_id, id), kind: super::portal::type_id(kind), after: 0 };
                let rest = self.link(row, linking, &mut room);
                // What is noted already begins again, with the new addresses.
                let mut noted = self.memory.linking.get().clone();
                noted.retain(|noted| (noted.of, noted.kind) != (linking.of, linking.kind));
                noted.extend(rest);
                self.memory.linking.set(noted);
            }
        }
    }

    /// Does the next step of what was noted.
    fn link_next(&mut self, next: Linking) -> Outcome<()> {
        let (type_id, id) = next.of;
        let rows = read!(pages::of_ids(&mut self.client, &List::items(type_id), "id", &[id]));
        let mut room = LINKS;
        let rest = rows.first().and_then(|row| self.link(Row(row), next, &mut room));
        // One contact after the other, so that each is complete soon.
        let noted = self.memory.linking.change();
        match noted.iter().position(|noted| *noted == next) {
            Some(at) if rest.is_none() => _ = noted.remove(at),
            Some(at) => noted[at] = rest.unwrap_or(next),
            None => {}
        }
        Ok(Ok(()))
    }

    /// Links a contact or company to its leads or deals, within `room` events; returns what is left to do.
    fn link(&mut self, row: Row<'_>, linking: Linking, room: &mut usize) -> Option<Linking> {
        let (type_id, id) = linking.of;
        let (kind, at) = (kind_of(linking.kind)?, row.time("updatedTime", self.client.zone())?);
        let contacts = addresses(row);
        if contacts.is_empty() {
            return None;
        }
        let is_linked = |links: &Links| match type_id {
            CONTACT => links.contacts.contains(&id),
            _ => links.company == Some(id),
        };
        let after = self.memory.links[index(kind)].after(linking.after);
        // A lead or deal is linked to all addresses in one step.
        let most = room.div_ceil(contacts.len());
        let mut owners: Vec<u64> =
            after.filter(|(_, links)| is_linked(links)).map(|(owner, _)| owner).take(most + 1).collect();
        let rest = (owners.len() > most).then(|| owners.pop()).flatten();
        for (owner, contact) in owners.iter().flat_map(|owner| contacts.iter().map(move |it| (owner, it))) {
            let payload = json!({"entity": entity(kind, *owner), "contact": contact});
            let digest = digest_of(&format!("{type_id} {payload}"));
            self.events.crm(format!("b24:contact:{id}:{digest}"), at, "contact_linked", payload);
        }
        *room = room.saturating_sub(owners.len() * contacts.len());
        rest.map(|_| Linking { after: owners.last().copied().unwrap_or(linking.after), ..linking })
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

//! Owns the search for leads and deals that do not exist any more. A merge looks the same as a deletion.
//!
//! Webhooks of deletions can be lost, and lists are silent about objects that are gone as well as about those that the
//! webhook's owner may not see. So once an hour the portal counts its objects in ranges of ids, the ranges with fewer than
//! expected are listed by the ids that are known, and what is missing there is asked for by itself: only `NOT_FOUND` proves a
//! deletion.

use super::answer::Failure;
use super::events::entity;
use super::memory::{Mark, Marks};
use super::pages::{self, List};
use super::portal::{Outcome, Portal, index, items, kind_of, read, type_id};
use super::query::Command;
use crate::domain::id::EntityKind;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Ranges of ids that are compared in one step.
const BUCKETS: usize = 50;

impl Portal {
    /// Compares some of the known objects of a kind with those that the portal counts; returns whether there are more.
    pub(super) fn compare(&mut self, kind: EntityKind) -> Outcome<bool> {
        let from = self.compare_at[index(kind)];
        let buckets = self.memory.objects[index(kind)].used().filter(|bucket| *bucket >= from);
        let mut buckets: Vec<u64> = buckets.take(BUCKETS + 1).collect();
        let next = if buckets.len() > BUCKETS { buckets.pop() } else { None };
        let bounds = |bucket: &u64| {
            let (first, end) = (bucket * Marks::BUCKET, (bucket + 1) * Marks::BUCKET);
            Map::from_iter([(">=id".to_owned(), Value::from(first)), ("<id".to_owned(), Value::from(end))])
        };
        let command = |bucket: &u64| {
            let params = json!({"entityTypeId": type_id(kind), "select": ["id"], "filter": bounds(bucket),
                "order": {"id": "ASC"}, "start": 0});
            Command { method: "crm.item.list", params }
        };
        let commands: Vec<Command> = buckets.iter().map(command).collect();
        let answers = self.client.batch(&commands, super::client::LISTS_PER_BATCH)?;
        for (bucket, answer) in buckets.iter().zip(answers) {
            let reply = match answer {
                Ok(reply) => reply,
                Err(failure) => return Ok(Err(failure)),
            };
            let known = self.memory.objects[index(kind)].ids(*bucket, Mark::Known, None);
            let page = items(kind).rows(reply.result);
            // A short page is the whole range, whatever was counted.
            let total = if page.len() < pages::PAGE { page.len() as u64 } else { reply.total.unwrap_or(0) };
            let now = (total, known.len() as u64);
            let key = (type_id(kind), *bucket);
            if total == known.len() as u64 || self.compared.get(&key) == Some(&now) {
                self.compared.insert(key, now);
                continue;
            }
            // Most objects of a range may be unknown: they are older than the first reading.
            let list = List { select: &["id"], ..items(kind) };
            let found = read!(pages::of_ids(&mut self.client, &list, "id", &known));
            let found: BTreeSet<u64> = found.iter().map(|row| list.id_of(row)).collect();
            self.suspects.extend(known.into_iter().filter(|id| !found.contains(id)).map(|id| (type_id(kind), id)));
            self.compared.insert(key, now);
        }
        self.compare_at[index(kind)] = next.unwrap_or(0);
        Ok(Ok(next.is_some()))
    }

    /// Asks for each object that may be gone.
    pub(super) fn read_suspects(&mut self) -> Outcome<()> {
        let suspects: Vec<(u64, u64)> = self.suspects.iter().copied().take(500).collect();
        let command = |(type_id, id): &(u64, u64)| Command {
            method: "crm.item.get",
            params: json!({"entityTypeId": type_id, "id": id}),
        };
        let commands: Vec<Command> = suspects.iter().map(command).collect();
        let answers = self.client.batch(&commands, pages::PAGE)?;
        for (suspect, answer) in suspects.into_iter().zip(answers) {
            match answer {
                Err(Failure::NotFound) => self.gone(suspect.0, suspect.1),
                Ok(_) | Err(Failure::NoRight(_) | Failure::NoMethod | Failure::Wrong(_)) => {}
                Err(failure) => return Ok(Err(failure)),
            }
            self.suspects.remove(&suspect);
        }
        Ok(Ok(()))
    }

    fn gone(&mut self, type_id: u64, id: u64) {
        let Some(kind) = kind_of(type_id) else { return };
        if !self.memory.objects[index(kind)].has(id, Mark::Known) {
            return;
        }
        let at = self.client.portal_now();
        self.events.crm(format!("b24:gone:{type_id}:{id}"), at, "deleted", json!({"entity": entity(kind, id)}));
        self.memory.objects[index(kind)].set(id, Mark::Known, false);
        self.memory.links[index(kind)].remove(id);
        self.memory.terms.remove(id);
        self.recent.remove(&(type_id, id));
    }
}

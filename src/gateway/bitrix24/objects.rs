//! Owns leads and deals: their snapshots, their contacts, and the terms of deals.
//!
//! A snapshot has no stage and no outcome, because the stage history reports every move and closing with its own date. The
//! exception are objects that existed before the history was read: their first snapshot states where they are.

use super::answer::Failure;
use super::events::{digest, digest_of};
use super::legs::{Leg, read_or};
use super::memory::Mark;
use super::pages::{self, List, PAGE};
use super::portal::{COMPANY, CONTACT, Changed, Links, OVERLAP, Outcome, Portal, Walk, index, items, read, type_id};
use super::query::Command;
use super::value::{Row, decimal, elements, is_filled, text, whole};
use crate::domain::id::EntityKind;
use crate::domain::time::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Objects with everything that their events need.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    objects: Vec<Value>,
    /// Phones and addresses by type and id of contacts and companies.
    contacts: BTreeMap<(u64, u64), Vec<Value>>,
    /// Product rows of deals.
    products: BTreeMap<u64, Vec<Value>>,
    /// The last row of the history before a back-fill.
    stages: BTreeMap<u64, Value>,
}

/// Why objects are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    /// They have changed.
    Changed,
    /// They were created in the month that is being back-filled.
    Created,
    /// They existed before the back-fill begins, which is at this instant.
    Existed(Timestamp),
    /// They were last changed in the month that is being back-filled.
    Updated,
}

impl Portal {
    /// Reads objects by id, reports them, and notes those that may be gone.
    pub(super) fn read_objects(&mut self, kind: EntityKind, ids: &BTreeSet<u64>) -> Outcome<()> {
        let ids: Vec<u64> = ids.iter().copied().collect();
        let objects = read!(pages::of_ids(&mut self.client, &items(kind), "id", &ids));
        let found: BTreeSet<u64> = objects.iter().map(|object| items(kind).id_of(object)).collect();
        let prepared = read!(self.prepare(kind, objects, Because::Changed));
        self.report(kind, &prepared, Because::Changed, &BTreeSet::new());
        self.suspects.extend(ids.iter().filter(|id| !found.contains(id)).map(|id| (type_id(kind), *id)));
        Ok(Ok(()))
    }

    /// Reads objects that have changed, reports them, and moves the position; returns whether there are more.
    pub(super) fn read_changed(&mut self, kind: EntityKind) -> Outcome<bool> {
        self.each_changed(&items(kind), "updatedTime", |portal, rows| {
            let prepared = read!(portal.prepare(kind, rows, Because::Changed));
            portal.report(kind, &prepared, Because::Changed, &BTreeSet::new());
            Ok(Ok(()))
        })
    }

    /// Reads the rows of a list that have changed, and moves its position; returns whether there are more.
    ///
    /// After a change of very many rows this takes many steps. Each of them moves the stored position, so neither an
    /// exhausted budget nor a restart makes it begin again.
    pub(super) fn each_changed(
        &mut self,
        list: &List,
        date: &str,
        report: impl FnOnce(&mut Self, Vec<Value>) -> Outcome<()>,
    ) -> Outcome<bool> {
        const PAGES: usize = 10;
        let (zone, now) = (self.client.zone().clone(), self.client.portal_now().0);
        let position = self.changed_of(list).clone();
        let since = match position.since {
            0 => self.memory.known.get().started.unwrap_or(now),
            since => since.saturating_sub(OVERLAP.0),
        };
        let keep = |since: i64| move |row: &Value| Row(row).time(date, &zone).is_none_or(|at| at.0 >= since);
        let walk = match position.walk {
            Some(walk) => walk,
            None => match read!(pages::changed(&mut self.client, list, date, Timestamp(since))) {
                pages::Changed::All(mut rows) => {
                    rows.retain(keep(since));
                    rows.sort_by_key(|row| list.id_of(row));
                    read!(report(self, rows));
                    self.set_changed(list, Changed { since: now, walk: None });
                    return Ok(Ok(false));
                }
                pages::Changed::Many => Walk { since, began: now, after: 0 },
            },
        };
        let filter = pages::since_filter(self.client.zone(), date, Timestamp(walk.since));
        let found = read!(pages::after(&mut self.client, list, &filter, walk.after, PAGES));
        let after = found.rows.last().map_or(walk.after, |row| list.id_of(row));
        let mut rows = found.rows;
        rows.retain(keep(walk.since));
        read!(report(self, rows));
        // What has changed since a walk of several steps began is looked for once more.
        let more = found.more || position.walk.is_some();
        let changed = match found.more {
            true => Changed { walk: Some(Walk { after, ..walk }), ..position },
            false => Changed { since: walk.began, walk: None },
        };
        self.set_changed(list, changed);
        Ok(Ok(more))
    }

    /// Up to when the rows of a list were read by the date of their last change.
    fn changed_of(&self, list: &List) -> &Changed {
        match list.type_id {
            Some(type_id) => self.memory.changed[type_id as usize - 1].get(),
            None => self.memory.activities_changed.get(),
        }
    }

    fn set_changed(&mut self, list: &List, changed: Changed) {
        match list.type_id {
            Some(type_id) => self.memory.changed[type_id as usize - 1].set(changed),
            None => self.memory.activities_changed.set(changed),
        }
    }

    /// Reads the contacts and product rows of objects. Objects that were reported as they are need none.
    pub(super) fn prepare(&mut self, kind: EntityKind, objects: Vec<Value>, because: Because) -> Outcome<Prepared> {
        let mut prepared = Prepared { objects, ..Prepared::default() };
        if because == Because::Changed {
            prepared.objects.retain(|object| {
                let id = Row(object).number("id").unwrap_or(0);
                self.recent.get(&(type_id(kind), id)).is_none_or(|(raw, _)| *raw != raw_digest(object))
            });
        }
        let mut wanted = BTreeSet::new();
        for object in &prepared.objects {
            let links = links_of(Row(object));
            wanted.extend(links.contacts.iter().map(|id| (CONTACT, *id)));
            wanted.extend(links.company.map(|id| (COMPANY, id)));
        }
        for type_id in [CONTACT, COMPANY] {
            let ids: Vec<u64> = wanted.iter().filter(|(of, _)| *of == type_id).map(|(_, id)| *id).collect();
            let leg = if type_id == CONTACT { Leg::Contacts } else { Leg::Companies };
            // Without the right to read contacts, objects are reported without them.
            let read = pages::of_ids(&mut self.client, &List::items(type_id), "id", &ids)?;
            let rows = read_or!(self.legs.usable(leg, read), Vec::new());
            let contacts = rows.iter().map(|row| ((type_id, List::items(type_id).id_of(row)), addresses(Row(row))));
            prepared.contacts.extend(contacts);
        }
        if let Because::Existed(from) = because {
            prepared.stages = read!(self.stages_before(kind, &prepared.objects, from));
        }
        if kind == EntityKind::Deal && !matches!(because, Because::Created | Because::Existed(_)) {
            let ids: Vec<u64> = prepared.objects.iter().map(|object| items(kind).id_of(object)).collect();
            if self.legs.is_on(Leg::Terms, self.client.portal_now()) {
                let read = self.products(&ids)?;
                prepared.products = read_or!(self.legs.usable(Leg::Terms, read), BTreeMap::new());
            }
        }
        Ok(Ok(prepared))
    }

    /// The last rows of the history before an instant.
    fn stages_before(&mut self, kind: EntityKind, objects: &[Value], from: Timestamp) -> Outcome<BTreeMap<u64, Value>> {
        let ids: Vec<u64> = objects.iter().map(|object| items(kind).id_of(object)).collect();
        let list = List::history(type_id(kind));
        let rows = match pages::of_ids(&mut self.client, &list, "OWNER_ID", &ids)? {
            Err(failure @ (Failure::Busy(..) | Failure::OverTime)) => return Ok(Err(failure)),
            // Without the history, the stage is not known.
            other => other.unwrap_or_default(),
        };
        let zone = self.client.zone().clone();
        let before = rows.into_iter().filter(|row| Row(row).time("CREATED_TIME", &zone).is_some_and(|at| at < from));
        Ok(Ok(before.filter_map(|row| Some((Row(&row).number("OWNER_ID")?, row))).collect()))
    }

    /// Reads the product rows of deals.
    fn products(&mut self, deals: &[u64]) -> Outcome<BTreeMap<u64, Vec<Value>>> {
        let mut rows: BTreeMap<u64, Vec<Value>> = deals.iter().map(|deal| (*deal, Vec::new())).collect();
        let mut open: Vec<u64> = deals.to_vec();
        while !open.is_empty() {
            let commands: Vec<Command> = open
                .iter()
                .map(|deal| {
                    let (filter, start) = (json!({"=ownerType": "D", "=ownerId": deal}), rows[deal].len());
                    let params = json!({"filter": filter, "order": {"id": "ASC"}, "start": start});
                    Command { method: "crm.item.productrow.list", params }
                })
                .collect();
            let mut more = Vec::new();
            for (deal, answer) in open.iter().zip(self.client.batch(&commands, super::client::COMMANDS_PER_BATCH)?) {
                let reply = match answer {
                    Ok(reply) => reply,
                    Err(failure) => return Ok(Err(failure)),
                };
                let page = Row(&reply.result).list("productRows");
                if page.len() >= PAGE {
                    more.push(*deal);
                }
                rows.entry(*deal).or_default().extend(page.into_iter().cloned());
            }
            open = more;
        }
        Ok(Ok(rows))
    }

    /// Reports objects. Those in `moved` have changed their funnel.
    pub(super) fn report(&mut self, kind: EntityKind, prepared: &Prepared, because: Because, moved: &BTreeSet<u64>) {
        for object in &prepared.objects {
            let row = Row(object);
            if let Some(id) = row.number("id") {
                self.report_snapshot(kind, id, row, prepared, because, moved.contains(&id));
                if kind == EntityKind::Deal && matches!(because, Because::Changed | Because::Updated) {
                    match prepared.products.get(&id) {
                        Some(products) => self.report_terms(id, row, products),
                        // The rows cannot be read at the moment, which does not change the terms.
                        None if self.memory.terms.get(id).is_some() => {}
                        None => self.report_terms(id, row, &[]),
                    }
                }
            }
        }
        self.forget();
    }

    fn report_snapshot(
        &mut self,
        kind: EntityKind,
        id: u64,
        row: Row<'_>,
        prepared: &Prepared,
        because: Because,
        moved: bool,
    ) {
        let zone = self.client.zone().clone();
        let (created, updated) = (row.time("createdTime", &zone), row.time("updatedTime", &zone));
        let is_new = !self.memory.objects[index(kind)].has(id, Mark::Known);
        let links = links_of(row);
        let mut contacts = addresses(row);
        let linked = links.contacts.iter().map(|id| (CONTACT, *id)).chain(links.company.map(|id| (COMPANY, id)));
        contacts.extend(linked.filter_map(|key| prepared.contacts.get(&key)).flatten().cloned());
        dedup(&mut contacts);
        let filled = self.filled(row.0);
        let mut payload = json!({
            "manager_id": row.id("assignedById"),
            "source_id": row.text("sourceId"),
            "contacts": contacts,
            "created_at": created.map(|at| at.to_string()),
            "filled_fields": filled,
        });
        let (name, number) = match kind {
            EntityKind::Lead => ("lead_snapshot", "lead_id"),
            EntityKind::Deal => ("deal_snapshot", "deal_id"),
        };
        payload[number] = id.to_string().into();
        if kind == EntityKind::Deal && !self.memory.known.get().without_leads {
            payload["lead_id"] = row.id("leadId").into();
        }
        let semantic = semantic(row.text("stageSemanticId").as_deref());
        let past = matches!(because, Because::Created | Because::Existed(_));
        let pipeline = self.pipeline(kind, row.number("categoryId").unwrap_or(0));
        if !past {
            let amount = row.decimal("opportunity");
            let currency = row.text("currencyId");
            payload["amount_minor"] = amount.map(|amount| minor(amount, currency.as_deref())).into();
            payload["currency"] = currency.into();
        }
        if moved {
            payload["pipeline_id"] = pipeline.as_str().into();
        }
        // What follows is said of an object once. It is not part of the id, so that a row that is read again after a restart
        // is recognized as the same event.
        let (type_id, digest) = (type_id(kind), digest(&payload));
        if is_new || past {
            payload["pipeline_id"] = pipeline.into();
        }
        if let Some(stage) = prepared.stages.get(&id).map(Row) {
            let meaning = meaning(stage);
            payload["stage_id"] = self::stage(stage).into();
            payload["pipeline_id"] = self.pipeline(kind, stage.number("CATEGORY_ID").unwrap_or(0)).into();
            payload["stage_entered_at"] = stage.time("CREATED_TIME", &zone).map(|at| at.to_string()).into();
            payload["outcome"] = outcome(kind, meaning).into();
            self.memory.objects[index(kind)].set(id, Mark::Ended, meaning != Semantic::Open);
        }
        if !past && is_new && !self.is_covered(created) {
            payload["stage_id"] = row.text("stageId").into();
            payload["stage_entered_at"] = row.time("movedTime", &zone).map(|at| at.to_string()).into();
            payload["outcome"] = outcome(kind, semantic).into();
            payload["reason"] = self.reason(row.0).filter(|_| semantic == Semantic::Failure).into();
            self.memory.objects[index(kind)].set(id, Mark::Ended, semantic != Semantic::Open);
        }
        let (event_id, at) = match because {
            Because::Created => (format!("b24:item:{type_id}:{id}:created"), created),
            Because::Existed(from) => (format!("b24:item:{type_id}:{id}:created"), Some(from)),
            Because::Changed | Because::Updated => {
                let time = row.text("updatedTime").unwrap_or_default();
                (format!("b24:item:{type_id}:{id}:{time}:{digest}"), updated)
            }
        };
        if semantic == Semantic::Open {
            self.memory.links[index(kind)].insert(id, links);
        } else {
            self.memory.links[index(kind)].remove(id);
        }
        let Some(at) = at.or(created) else { return };
        if !past {
            self.memory.objects[index(kind)].set(id, Mark::Known, true);
            let last = self.recent.insert((type_id, id), (raw_digest(row.0), event_id.clone()));
            if last.is_some_and(|(_, last)| last == event_id) {
                return;
            }
        }
        self.events.crm(event_id, at, name, payload);
    }

    fn report_terms(&mut self, id: u64, row: Row<'_>, products: &[Value]) {
        let fields = &self.settings.fields;
        let own =
            |name: &Option<_>| name.as_ref().and_then(|name: &compact_str::CompactString| self.own_field(row.0, name));
        let months = own(&fields.installment_months).and_then(decimal).filter(|months| *months > 0.0);
        let prepayment = own(&fields.prepayment_percent).and_then(decimal);
        let approved_by = own(&fields.approved_by).and_then(user);
        if products.is_empty() && months.is_none() && prepayment.is_none() && approved_by.is_none() {
            return;
        }
        let (mut gross, mut net) = (0.0, 0.0);
        let mut offered = Vec::new();
        for product in products.iter().map(Row) {
            let quantity = product.decimal("quantity").unwrap_or(1.0);
            let price = product.decimal("price").unwrap_or(0.0);
            let before = product.decimal("priceBrutto").unwrap_or(price);
            gross += before * quantity;
            net += price * quantity;
            offered.push(json!([product.text("productId"), product.text("productName"), price, before, quantity]));
        }
        let discount = (gross > 0.0).then(|| round((1.0 - net / gross).clamp(0.0, 1.0) * 100.0));
        let hash = digest_of(&json!([offered, months, prepayment, approved_by]).to_string());
        if !self.memory.terms.insert(id, hash.clone()) {
            return;
        }
        let zone = self.client.zone();
        let Some(at) = row.time("updatedTime", zone).or_else(|| row.time("createdTime", zone)) else { return };
        let currency = row.text("currencyId");
        let payload = json!({
            "deal_id": id.to_string(),
            "manager_id": row.id("assignedById"),
            "discount_percent": discount,
            "installment_months": months.map(|months| months.round() as i64),
            "prepayment_percent": prepayment,
            "approved_by": approved_by,
            "amount_minor": row.decimal("opportunity").map(|amount| minor(amount, currency.as_deref())),
            "currency": currency,
        });
        self.events.crm(format!("b24:terms:{id}:{hash}"), at, "terms_offered", payload);
    }

    /// The names of the fields that are filled.
    pub(super) fn filled(&self, object: &Value) -> Vec<String> {
        let filled = self.settings.fields.filled.iter();
        let is_filled = |name: &str| self.own_field(object, name).is_some_and(is_filled);
        filled.filter(|(field, _)| is_filled(field)).map(|(_, name)| name.to_string()).collect()
    }

    /// The reason of a closing: the first field that is filled.
    pub(super) fn reason(&self, object: &Value) -> Option<String> {
        let fields = &self.settings.fields.reject_reason;
        fields.iter().filter_map(|name| self.own_field(object, name)).find_map(|value| {
            // A choice of several values is a list.
            let first = elements(value).into_iter().next().unwrap_or(value);
            text(first).filter(|text| text != "0")
        })
    }

    /// The pipeline of an object.
    pub(super) fn pipeline(&self, kind: EntityKind, funnel: u64) -> String {
        match kind {
            EntityKind::Lead => self.settings.lead_pipeline.to_string(),
            EntityKind::Deal => self.settings.deal_pipeline(funnel),
        }
    }
}

/// What a stage means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Semantic {
    Open,
    Success,
    Failure,
}

/// The meaning of a stage by its letter.
pub(super) fn semantic(letter: Option<&str>) -> Semantic {
    match letter {
        Some("S" | "s") => Semantic::Success,
        Some("F" | "f") => Semantic::Failure,
        _ => Semantic::Open,
    }
}

/// The outcome in events.
pub(super) fn outcome(kind: EntityKind, semantic: Semantic) -> Option<&'static str> {
    Some(match (kind, semantic) {
        (_, Semantic::Open) => return None,
        (EntityKind::Lead, Semantic::Success) => "CONVERTED",
        (EntityKind::Lead, Semantic::Failure) => "DISQUALIFIED",
        (EntityKind::Deal, Semantic::Success) => "WON",
        (EntityKind::Deal, Semantic::Failure) => "LOST",
    })
}

/// The stage of a row of the history: leads have a status.
pub(super) fn stage(row: Row<'_>) -> Option<String> {
    row.text("STAGE_ID").or_else(|| row.text("STATUS_ID"))
}

/// What the stage of such a row means. Where a portal does not say it, the ids of the system's own final stages do.
pub(super) fn meaning(row: Row<'_>) -> Semantic {
    let letter = row.text("STAGE_SEMANTIC_ID").or_else(|| row.text("STATUS_SEMANTIC_ID"));
    if letter.is_some() {
        return semantic(letter.as_deref());
    }
    let stage = stage(row).unwrap_or_default();
    match stage.rsplit(':').next() {
        Some("WON" | "CONVERTED") => Semantic::Success,
        Some("LOSE" | "JUNK" | "APOLOGY") => Semantic::Failure,
        _ => Semantic::Open,
    }
}

/// The contacts and the company of an object.
fn links_of(row: Row<'_>) -> Links {
    let listed = row.list("contactIds").into_iter().filter_map(whole);
    let mut contacts: Vec<u64> = row.number("contactId").into_iter().chain(listed).filter(|id| *id > 0).collect();
    contacts.sort_unstable();
    contacts.dedup();
    Links { contacts, company: row.number("companyId") }
}

/// The phones and addresses of a lead, a contact or a company, as contacts of events.
pub(super) fn addresses(row: Row<'_>) -> Vec<Value> {
    let mut contacts = Vec::new();
    for field in row.list("fm").into_iter().map(Row) {
        let kind = field.text("typeId").unwrap_or_default().to_ascii_uppercase();
        match (kind.as_str(), field.text("value")) {
            ("PHONE", Some(value)) => contacts.push(json!({"phone": value})),
            ("EMAIL", Some(value)) => contacts.push(json!({"email": value})),
            _ => {}
        }
    }
    for (name, key) in [("phone", "phone"), ("phoneMobile", "phone"), ("phoneWork", "phone"), ("email", "email")] {
        contacts.extend(row.text(name).map(|value| json!({key: value})));
    }
    // The older spelling.
    for (name, key) in [("PHONE", "phone"), ("EMAIL", "email")] {
        let values = row.list(name).into_iter().filter_map(|value| Row(value).text("VALUE"));
        contacts.extend(values.map(|value| json!({key: value})));
    }
    dedup(&mut contacts);
    contacts
}

fn dedup(contacts: &mut Vec<Value>) {
    let mut seen = BTreeSet::new();
    contacts.retain(|contact| seen.insert(contact.to_string()));
}

/// A user in a field that the portal has defined itself: an id, or a list of them.
fn user(value: &Value) -> Option<String> {
    let first = elements(value).into_iter().next().unwrap_or(value);
    text(first).map(|text| text.trim_start_matches("user_").to_owned()).filter(|id| id != "0")
}

/// The row without what changes at every activity.
fn raw_digest(object: &Value) -> String {
    match object {
        Value::Object(map) => {
            let stable = map.iter().filter(|(key, _)| !key.starts_with("lastActivity"));
            digest_of(
                &Value::Object(stable.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>())
                    .to_string(),
            )
        }
        other => digest(other),
    }
}

/// An amount in minor units.
pub(super) fn minor(amount: f64, currency: Option<&str>) -> i64 {
    let digits = match currency {
        Some("JPY" | "KRW" | "VND" | "CLP" | "ISK" | "UGX" | "XAF" | "XOF" | "XPF" | "PYG") => 0,
        Some("KWD" | "BHD" | "OMR" | "TND" | "JOD" | "IQD" | "LYD") => 3,
        _ => 2,
    };
    // The text of a number is its shortest decimal form, so nothing is lost as long as it has few digits.
    let text = format!("{:.1$}", amount, digits);
    text.replace('.', "").parse().unwrap_or(0)
}

/// A percentage without the noise of floating point.
fn round(percent: f64) -> f64 {
    (percent * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (amount, currency, expected) in
            [(999.9, "RUB", 99_990), (0.29, "RUB", 29), (1_234_567.89, "EUR", 123_456_789), (1500.0, "JPY", 1500)]
        {
            assert_eq!(minor(amount, Some(currency)), expected);
        }
        assert_eq!(minor(-1.5, None), -150);
    }

    #[test]
    fn addresses_come_from_every_form_once() {
        let lead = json!({"phone": "+7 1", "phoneWork": "+7 1", "email": "",
            "fm": [{"typeId": "PHONE", "value": "+7 1"}, {"typeId": "EMAIL", "value": "a@b.c"}, {"typeId": "WEB", "value": "x"}]});
        assert_eq!(addresses(Row(&lead)), [json!({"phone": "+7 1"}), json!({"email": "a@b.c"})]);
        assert_eq!(links_of(Row(&json!({"contactId": 5, "contactIds": [7, "5"], "companyId": 0}))).contacts, [5, 7]);
    }
}

//! Writes JSON objects, and events in the format that `read` accepts.

use crate::codec::names::Name;
use crate::domain::event::{
    Amount, Call, CallEnd, Contact, Created, CrmPayload, Direction, Event, Message, Payload, Snapshot, StageChanged,
    TermsOffered,
};
use crate::domain::id::{EntityId, EntityKind, UNKNOWN};
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::fmt::Display;
use std::io::Write;

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

/// Writes `{…}` with the fields that `fill` adds.
pub(super) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, empty: true });
    out.push(b'}');
}

impl Object<'_> {
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        string(self.out, key);
        self.out.push(b':');
        self.out
    }

    /// A string.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        string(self.key(key), value);
    }

    /// A string that needs no escapes, formatted with `Display`: a timestamp, a generated id.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        display(self.key(key), format_args!("\"{value}\""));
    }

    /// An integer or a boolean.
    pub(super) fn bare(&mut self, key: &str, value: impl Display) {
        display(self.key(key), value);
    }

    /// A number.
    pub(super) fn number(&mut self, key: &str, value: f64) {
        number(self.key(key), value);
    }

    /// A number or `null`.
    pub(super) fn nullable(&mut self, key: &str, value: Option<f64>) {
        number(self.key(key), value.unwrap_or(f64::NAN));
    }

    /// An object.
    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), fill);
    }

    /// A list.
    pub(super) fn list<T>(&mut self, key: &str, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
        let out = self.key(key);
        for (index, item) in items.iter().enumerate() {
            out.push(if index == 0 { b'[' } else { b',' });
            write(out, item);
        }
        out.extend_from_slice(if items.is_empty() { b"[]" } else { b"]" });
    }

    /// A string, if present.
    pub(super) fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A timestamp, if present.
    pub(super) fn maybe_time(&mut self, key: &str, value: Option<Timestamp>) {
        if let Some(value) = value {
            self.plain(key, value);
        }
    }

    fn maybe_bare(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.bare(key, value);
        }
    }

    fn maybe_number(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.number(key, value);
        }
    }

    fn entity(&mut self, entity: &EntityId) {
        self.object("entity", |object| {
            object.plain("kind", entity.kind.wire_name());
            object.text("id", &entity.id);
        });
    }

    fn amount(&mut self, amount: &Amount) {
        self.maybe_bare("amount_minor", amount.minor);
        self.maybe("currency", amount.currency.as_deref());
    }

    fn contacts(&mut self, contacts: &[Contact]) {
        self.list("contacts", contacts, contact);
    }

    fn filled_fields(&mut self, fields: &[CompactString]) {
        self.list("filled_fields", fields, |out, field| string(out, field));
    }
}

/// Writes a string and escapes only what JSON requires.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => display(out, format_args!("\\u{control:04x}")),
        }
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
    out.push(b'"');
}

/// Writes a number: integers without a decimal point, non-finite numbers as `null`.
fn number(out: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !value.is_finite() {
        out.extend_from_slice(b"null");
    } else if value.fract() == 0.0 && value.abs() <= EXACT {
        display(out, value as i64);
    } else {
        display(out, value);
    }
}

fn display(out: &mut Vec<u8>, value: impl Display) {
    write!(out, "{value}").expect("a Vec grows as needed");
}

fn contact(out: &mut Vec<u8>, contact: &Contact) {
    object(out, |object| match contact {
        Contact::Phone(phone) => object.text("phone", phone),
        Contact::Email(email) => object.text("email", email),
        Contact::Handle { handle, channel } => {
            object.text("handle", handle);
            object.plain("channel", channel.wire_name());
        }
    });
}

/// Writes an event as one JSON object with keys in snake_case. Absent values are omitted.
pub fn encode_event(event: &Event, out: &mut Vec<u8>) {
    object(out, |object| {
        object.maybe("event_id", event.id.as_ref().map(|id| id.as_str()));
        object.text("tenant_id", event.tenant.as_str());
        object.plain("occurred_at", event.at);
        match &event.payload {
            Payload::Crm(payload) => crm(object, payload),
            Payload::Call(payload) => call(object, payload),
            Payload::Message(payload) => message(object, payload),
        }
    });
}

fn crm(object: &mut Object<'_>, payload: &CrmPayload) {
    match payload {
        CrmPayload::LeadCreated(created) => object.object("lead_created", |object| {
            object.text("lead_id", &created.id);
            created_fields(object, created);
        }),
        CrmPayload::DealCreated(created) => object.object("deal_created", |object| {
            object.text("deal_id", &created.id);
            object.maybe("lead_id", created.lead.as_deref());
            created_fields(object, created);
        }),
        CrmPayload::StageChanged(changed) => object.object("stage_changed", |object| stage_changed(object, changed)),
        CrmPayload::Assigned { entity, manager } => object.object("assigned", |object| {
            object.entity(entity);
            object.text("manager_id", manager.as_str());
        }),
        CrmPayload::Closed { entity, outcome, reason } => object.object("closed", |object| {
            object.entity(entity);
            object.plain("outcome", outcome.wire_name());
            object.maybe("reason", reason.as_deref());
        }),
        CrmPayload::Reopened { entity, stage } => object.object("reopened", |object| {
            object.entity(entity);
            object.maybe("stage_id", stage.as_ref().map(|id| id.as_str()));
        }),
        CrmPayload::Deleted { entity } => object.object("deleted", |object| object.entity(entity)),
        CrmPayload::ContactLinked { entity, contact: linked } => object.object("contact_linked", |object| {
            object.entity(entity);
            if let Some(linked) = linked {
                contact(object.key("contact"), linked);
            }
        }),
        CrmPayload::TermsOffered(terms) => object.object("terms_offered", |object| terms_offered(object, terms)),
        CrmPayload::ActivityCompleted { entity, manager, kind } => object.object("activity_completed", |object| {
            object.entity(entity);
            object.maybe("manager_id", manager.as_ref().map(|id| id.as_str()));
            object.plain("kind", kind.wire_name());
        }),
        CrmPayload::InteractionReviewed { interaction, manager, score, verdict } => {
            object.object("interaction_reviewed", |object| {
                object.text("interaction_id", interaction);
                object.text("manager_id", manager.as_str());
                // The domain does not keep the reviewer, but the field is required.
                object.text("reviewer_id", UNKNOWN);
                object.number("score", *score);
                object.plain("verdict", verdict.wire_name());
            });
        }
        CrmPayload::ManagerUpserted { manager, department, grade, active } => {
            object.object("manager_upserted", |object| {
                object.text("manager_id", manager.as_str());
                object.maybe("department_id", department.as_ref().map(|id| id.as_str()));
                object.maybe("grade", grade.as_deref());
                object.bare("active", active);
            });
        }
        CrmPayload::Snapshot(state) => {
            let case = match state.entity.kind {
                EntityKind::Lead => "lead_snapshot",
                EntityKind::Deal => "deal_snapshot",
            };
            object.object(case, |object| snapshot(object, state));
        }
    }
}

fn created_fields(object: &mut Object<'_>, created: &Created) {
    object.maybe("manager_id", created.manager.as_ref().map(|id| id.as_str()));
    object.maybe("pipeline_id", created.pipeline.as_ref().map(|id| id.as_str()));
    object.maybe("stage_id", created.stage.as_ref().map(|id| id.as_str()));
    object.maybe("source_id", created.source.as_ref().map(|id| id.as_str()));
    object.amount(&created.amount);
    object.contacts(&created.contacts);
}

fn stage_changed(object: &mut Object<'_>, changed: &StageChanged) {
    object.entity(&changed.entity);
    object.maybe("pipeline_id", changed.pipeline.as_ref().map(|id| id.as_str()));
    object.maybe("from_stage_id", changed.from.as_ref().map(|id| id.as_str()));
    object.text("to_stage_id", changed.to.as_str());
    object.filled_fields(&changed.filled_fields);
}

fn terms_offered(object: &mut Object<'_>, terms: &TermsOffered) {
    object.text("deal_id", &terms.deal);
    object.maybe("manager_id", terms.manager.as_ref().map(|id| id.as_str()));
    object.maybe_number("discount_percent", terms.discount_percent);
    object.maybe_bare("installment_months", terms.installment_months);
    object.maybe_number("prepayment_percent", terms.prepayment_percent);
    object.maybe("approved_by", terms.approved_by.as_ref().map(|id| id.as_str()));
    object.amount(&terms.amount);
}

fn snapshot(object: &mut Object<'_>, snapshot: &Snapshot) {
    match snapshot.entity.kind {
        EntityKind::Lead => object.text("lead_id", &snapshot.entity.id),
        EntityKind::Deal => {
            object.text("deal_id", &snapshot.entity.id);
            object.maybe("lead_id", snapshot.lead.as_deref());
        }
    }
    object.maybe("manager_id", snapshot.manager.as_ref().map(|id| id.as_str()));
    object.maybe("source_id", snapshot.source.as_ref().map(|id| id.as_str()));
    object.maybe("pipeline_id", snapshot.pipeline.as_ref().map(|id| id.as_str()));
    object.maybe("stage_id", snapshot.stage.as_ref().map(|id| id.as_str()));
    object.contacts(&snapshot.contacts);
    object.amount(&snapshot.amount);
    object.maybe("outcome", snapshot.outcome.map(|outcome| outcome.wire_name()));
    object.maybe("reason", snapshot.reason.as_deref());
    object.maybe_time("created_at", snapshot.created_at);
    object.maybe_time("stage_entered_at", snapshot.stage_entered_at);
    object.filled_fields(&snapshot.filled_fields);
}

fn call(object: &mut Object<'_>, call: &Call) {
    let case = if call.end.is_some() { "call_ended" } else { "call_started" };
    object.object(case, |object| {
        object.text("call_id", call.id.as_str());
        object.plain("direction", call.direction.wire_name());
        object.text("phone", &call.phone);
        object.maybe("manager_id", call.manager.as_ref().map(|id| id.as_str()));
        call.entity.iter().for_each(|entity| object.entity(entity));
        call.end.iter().for_each(|end| call_end(object, end));
    });
}

fn call_end(object: &mut Object<'_>, end: &CallEnd) {
    object.maybe_time("started_at", end.started_at);
    object.number("talk_seconds", end.talk.seconds());
    object.plain("outcome", end.outcome.wire_name());
    object.maybe("recording_url", end.recording_url.as_deref());
}

fn message(object: &mut Object<'_>, message: &Message) {
    let case = match message.direction {
        Direction::Inbound => "message_received",
        Direction::Outbound => "message_sent",
    };
    object.object(case, |object| {
        object.text("message_id", message.id.as_str());
        object.maybe("thread_id", message.thread.as_ref().map(|id| id.as_str()));
        object.maybe("in_reply_to", message.in_reply_to.as_ref().map(|id| id.as_str()));
        object.plain("channel", message.channel.wire_name());
        if let Some(address) = &message.contact {
            contact(object.key("contact"), address);
        }
        object.maybe("manager_id", message.manager.as_ref().map(|id| id.as_str()));
        message.entity.iter().for_each(|entity| object.entity(entity));
        object.bare("automatic", message.automatic);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json::scan::Scanner;
    use proptest::prelude::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        number(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn integers_have_no_decimal_point_and_non_finite_numbers_are_null() {
        let table =
            [(900.0, "900"), (-0.0, "0"), (0.1, "0.1"), (-2.5, "-2.5"), (f64::NAN, "null"), (f64::INFINITY, "null")];
        for (value, text) in table {
            assert_eq!(written(value), text);
        }
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            let text = written(value);
            let read = Scanner::new(text.as_bytes()).and_then(|mut scanner| scanner.number());
            prop_assert_eq!(read.ok(), Some(Some(value)));
        }

        #[test]
        fn strings_are_read_back_by_serde_json(chars in prop::collection::vec(any::<char>(), 0..20)) {
            let text = String::from_iter(chars);
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).ok(), Some(text));
        }
    }
}

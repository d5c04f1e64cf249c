//! Decodes one JSON object into a typed event, or rejects it (decision 26).
//!
//! Ids, entity, outcome, direction, channel, kind and verdict are required; other fields have defaults; `null`, `""` and
//! blank ids mean absent; unknown keys are ignored; unknown enum names, wrong types and several payloads are rejected.
//! Keys are in snake_case or camelCase. Contacts are normalized here, so later code sees normal forms only.
//!
//! Ids are trimmed and may be whole numbers; enum names are in any case; a list or an object may be written as an empty
//! list, object or text; a wrong value in a field that no rule needs is as good as none.

use serde_json::{Map, Value};

use super::calendar;
use super::contacts;
use super::identity::{EntityId, Kind};

/// In the order in which events of one instant take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Crm,
    Telephony,
    Email,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub at: i64,
    pub tenant: String,
    pub event_id: Option<String>,
    pub topic: Topic,
    pub line: usize,
    pub body: Body,
}

/// The contacts of a field in their normal forms; none where there is no number or address.
pub type Contacts = Vec<String>;

#[derive(Clone, Debug)]
pub enum Body {
    /// `lead_created`, `deal_created`.
    Created(Object),
    /// `lead_snapshot`, `deal_snapshot`.
    Snapshot(Object),
    StageChanged(StageChange),
    Assigned {
        entity: EntityId,
        manager: String,
    },
    Closed {
        entity: EntityId,
        outcome: Outcome,
        reason: Option<String>,
    },
    Reopened {
        entity: EntityId,
        stage: Option<String>,
    },
    Deleted {
        entity: EntityId,
    },
    ContactLinked {
        entity: EntityId,
        contacts: Contacts,
    },
    TermsOffered(Terms),
    Activity {
        entity: EntityId,
        manager: Option<String>,
        kind: String,
        activity: Option<String>,
    },
    Planned(Planned),
    Cancelled {
        entity: EntityId,
        activity: String,
    },
    Merged {
        entity: EntityId,
        into: EntityId,
    },
    /// `alert_taken` and `department_upserted`: part of no alert and no figure.
    Annotation,
    Reviewed {
        manager: String,
        score: f64,
        verdict: String,
    },
    Dismissed {
        interaction: String,
        manager: Option<String>,
    },
    /// A department or grade: absent, taken away, or given.
    Manager {
        active: bool,
        manager: String,
        department: Option<Option<String>>,
        grade: Option<Option<String>>,
    },
    CallStarted(Call),
    CallEnded(Call, CallEnd),
    Message(Message),
}

/// A `stage_changed`.
#[derive(Clone, Debug)]
pub struct StageChange {
    pub entity: EntityId,
    pub pipeline: Option<String>,
    pub from: Option<String>,
    pub to: String,
    pub fields: Vec<String>,
}

/// An `activity_planned`.
#[derive(Clone, Debug)]
pub struct Planned {
    pub entity: EntityId,
    pub activity: String,
    pub manager: Option<String>,
    pub deadline: Option<i64>,
}

/// The attributes of a lead or deal in a creation or snapshot.
#[derive(Clone, Debug)]
pub struct Object {
    pub entity: EntityId,
    pub lead: Option<String>,
    pub manager: Option<String>,
    pub pipeline: Option<String>,
    pub stage: Option<String>,
    pub source: Option<String>,
    pub contacts: Contacts,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub outcome: Option<Outcome>,
    pub reason: Option<String>,
    pub created_at: Option<i64>,
    pub stage_entered_at: Option<i64>,
    pub fields: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Won,
    Lost,
    Converted,
    Disqualified,
}

#[derive(Clone, Debug)]
pub struct Terms {
    pub deal: String,
    pub manager: Option<String>,
    pub discount: Option<f64>,
    pub installment: Option<i64>,
    pub prepayment: Option<f64>,
    pub approved_by: Option<String>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub id: String,
    pub session: Option<String>,
    pub outbound: bool,
    /// The call is with the first of them.
    pub phones: Contacts,
    pub manager: Option<String>,
    pub entity: Option<EntityId>,
}

#[derive(Clone, Debug)]
pub struct CallEnd {
    pub leg: Option<String>,
    pub started_at: Option<i64>,
    pub answered_at: Option<i64>,
    pub talk_seconds: Option<f64>,
    pub outcome: String,
    pub answered_by: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub sent: bool,
    /// As it came.
    pub id: String,
    pub thread: Option<String>,
    /// Without blanks and brackets.
    pub in_reply_to: Option<String>,
    pub channel: String,
    /// The message is with the first of them.
    pub contacts: Contacts,
    pub manager: Option<String>,
    pub entity: Option<EntityId>,
    pub automatic: bool,
}

/// Whether the program must accept this event; otherwise it is a dead letter.
pub fn decodes(event: &Value) -> bool {
    read(event, 0).is_ok()
}

type Read<T> = Result<T, String>;

const PAYLOADS: [(&str, Topic); 24] = [
    ("lead_created", Topic::Crm),
    ("deal_created", Topic::Crm),
    ("stage_changed", Topic::Crm),
    ("assigned", Topic::Crm),
    ("closed", Topic::Crm),
    ("reopened", Topic::Crm),
    ("deleted", Topic::Crm),
    ("contact_linked", Topic::Crm),
    ("terms_offered", Topic::Crm),
    ("activity_completed", Topic::Crm),
    ("activity_planned", Topic::Crm),
    ("activity_cancelled", Topic::Crm),
    ("alert_taken", Topic::Crm),
    ("department_upserted", Topic::Crm),
    ("merged", Topic::Crm),
    ("interaction_reviewed", Topic::Crm),
    ("interaction_dismissed", Topic::Crm),
    ("manager_upserted", Topic::Crm),
    ("lead_snapshot", Topic::Crm),
    ("deal_snapshot", Topic::Crm),
    ("call_started", Topic::Telephony),
    ("call_ended", Topic::Telephony),
    ("message_received", Topic::Email),
    ("message_sent", Topic::Email),
];

const ACTIVITIES: [&str; 7] = ["MEETING", "DEMO", "PROPOSAL", "INVOICE", "TASK", "NEEDS_ANALYSIS", "OTHER"];

const CHANNELS: [&str; 4] = ["EMAIL", "CHAT", "SMS", "MESSENGER"];

/// Reads one event; the error is the reason for rejection.
pub fn read(event: &Value, line: usize) -> Read<Event> {
    let envelope = Fields(event.as_object().ok_or("not an object")?);
    // `[]` is as good as no payload.
    let is_given = |name: &str| envelope.get(name).is_some_and(|value| *value != Value::Array(Vec::new()));
    let mut payloads = PAYLOADS.iter().filter(|(name, _)| is_given(name));
    let (name, topic) = *payloads.next().ok_or("no payload")?;
    if payloads.next().is_some() {
        return Err("several payloads".to_owned());
    }
    let payload = Fields(envelope.get(name).unwrap().as_object().ok_or("the payload is not an object")?);
    let at = envelope.instant("occurred_at")?.ok_or("no occurred_at")?;
    if !calendar::is_dated(at) {
        return Err("occurred_at is out of range".to_owned());
    }
    Ok(Event {
        at,
        tenant: envelope.must_id("tenant_id")?,
        event_id: envelope.id("event_id")?,
        topic,
        line,
        body: body(name, &payload)?,
    })
}

fn body(name: &str, p: &Fields) -> Read<Body> {
    Ok(match name {
        "lead_created" => Body::Created(object(p, Kind::Lead)?),
        // A deal is created without a source of its own.
        "deal_created" => Body::Created(Object { source: None, ..object(p, Kind::Deal)? }),
        "lead_snapshot" => Body::Snapshot(object(p, Kind::Lead)?),
        "deal_snapshot" => Body::Snapshot(object(p, Kind::Deal)?),
        "stage_changed" => Body::StageChanged(StageChange {
            entity: p.entity()?,
            pipeline: p.id("pipeline_id")?,
            from: p.id("from_stage_id")?,
            to: p.must_id("to_stage_id")?,
            fields: p.texts("filled_fields")?,
        }),
        "assigned" => {
            p.id("previous_manager_id")?;
            Body::Assigned { entity: p.entity()?, manager: p.must_id("manager_id")? }
        }
        "closed" => {
            p.id("deal_id")?;
            Body::Closed { entity: p.entity()?, outcome: outcome(p)?.ok_or("no outcome")?, reason: p.text("reason")? }
        }
        "reopened" => Body::Reopened { entity: p.entity()?, stage: p.id("stage_id")? },
        "deleted" => Body::Deleted { entity: p.entity()? },
        "contact_linked" => Body::ContactLinked { entity: p.entity()?, contacts: contact(p.get("contact"))? },
        "terms_offered" => Body::TermsOffered(Terms {
            deal: p.must_id("deal_id")?,
            manager: p.id("manager_id")?,
            discount: p.number("discount_percent")?,
            installment: p.integer("installment_months")?,
            prepayment: p.number("prepayment_percent")?,
            approved_by: p.id("approved_by")?,
            amount: p.integer("amount_minor")?,
            currency: currency(p)?,
        }),
        "activity_completed" => {
            let kind = p.name("kind", &ACTIVITIES)?.ok_or("no kind")?;
            let activity = p.id("activity_id")?;
            Body::Activity { entity: p.entity()?, manager: p.id("manager_id")?, kind, activity }
        }
        "activity_planned" => {
            p.name("kind", &ACTIVITIES)?.ok_or("no kind")?;
            Body::Planned(Planned {
                entity: p.entity()?,
                activity: p.must_id("activity_id")?,
                manager: p.id("manager_id")?,
                deadline: p.time("deadline")?,
            })
        }
        "activity_cancelled" => Body::Cancelled { entity: p.entity()?, activity: p.must_id("activity_id")? },
        "alert_taken" => {
            p.must_id("alert_id")?;
            p.must_id("manager_id")?;
            Body::Annotation
        }
        "department_upserted" => {
            p.must_id("department_id")?;
            p.text("name")?;
            p.id("parent_id")?;
            p.id("head_manager_id")?;
            Body::Annotation
        }
        "merged" => {
            let (entity, into) = (p.entity()?, p.entity_in("into")?.ok_or("no into")?);
            if entity.kind != into.kind {
                return Err("entities of two kinds".to_owned());
            }
            Body::Merged { entity, into }
        }
        "interaction_reviewed" => {
            p.must_id("interaction_id")?;
            p.must_id("reviewer_id")?;
            let verdict = p.name("verdict", &["SUCCESS", "FAILURE", "NEUTRAL"])?.ok_or("no verdict")?;
            Body::Reviewed { manager: p.must_id("manager_id")?, score: p.number("score")?.unwrap_or(0.0), verdict }
        }
        "interaction_dismissed" => {
            p.text("reason")?;
            Body::Dismissed { interaction: p.must_id("interaction_id")?, manager: p.id("manager_id")? }
        }
        "manager_upserted" => {
            // Second edition, 43: absent means active.
            let active = p.get("active").is_none() || p.flag("active")?;
            // Second edition, 43: blank text takes away, absent means unchanged.
            let erasable = |name, value: Option<String>| if p.is_blank(name) { Some(None) } else { value.map(Some) };
            Body::Manager {
                active,
                manager: p.must_id("manager_id")?,
                department: erasable("department_id", p.id("department_id")?),
                grade: erasable("grade", p.text("grade")?),
            }
        }
        "call_started" => Body::CallStarted(call(p)?),
        "call_ended" => {
            let outcomes = ["ANSWERED", "NO_ANSWER", "BUSY", "REJECTED", "VOICEMAIL", "FAILED"];
            let outcome = p.name("outcome", &outcomes)?.ok_or("no outcome")?;
            let ending = CallEnd {
                leg: p.id("leg_id")?,
                started_at: p.time("started_at")?,
                answered_at: p.time("answered_at")?,
                talk_seconds: p.number("talk_seconds")?,
                outcome,
                answered_by: p.name("answered_by", &["PERSON", "QUEUE", "IVR", "VOICEMAIL"])?,
            };
            Body::CallEnded(call(p)?, ending)
        }
        "message_received" | "message_sent" => Body::Message(Message {
            sent: name == "message_sent",
            id: p.must_id("message_id")?,
            thread: p.id("thread_id")?,
            in_reply_to: p.id("in_reply_to")?.map(|id| contacts::message_key(&id)).filter(|key| !key.is_empty()),
            channel: p.name("channel", &CHANNELS)?.ok_or("no channel")?,
            contacts: contact(p.get("contact"))?,
            manager: p.id("manager_id")?,
            entity: p.entity_if_any()?,
            automatic: p.flag("automatic")?,
        }),
        _ => unreachable!("listed in PAYLOADS"),
    })
}

fn object(p: &Fields, kind: Kind) -> Read<Object> {
    let (id, lead) = match kind {
        Kind::Lead => (p.must_id("lead_id")?, None),
        Kind::Deal => (p.must_id("deal_id")?, p.id("lead_id")?),
    };
    Ok(Object {
        entity: EntityId { kind, id },
        lead,
        manager: p.id("manager_id")?,
        pipeline: p.id("pipeline_id")?,
        stage: p.id("stage_id")?,
        source: p.id("source_id")?,
        contacts: p.list("contacts")?.iter().map(|c| contact(Some(c))).collect::<Read<Vec<_>>>()?.concat(),
        amount: p.integer("amount_minor")?,
        currency: currency(p)?,
        outcome: outcome(p)?,
        reason: p.text("reason")?,
        created_at: p.time("created_at")?,
        stage_entered_at: p.time("stage_entered_at")?,
        fields: p.texts("filled_fields")?,
    })
}

fn outcome(p: &Fields) -> Read<Option<Outcome>> {
    Ok(p.name("outcome", &["WON", "LOST", "CONVERTED", "DISQUALIFIED"])?.map(|name| match name.as_str() {
        "WON" => Outcome::Won,
        "LOST" => Outcome::Lost,
        "CONVERTED" => Outcome::Converted,
        _ => Outcome::Disqualified,
    }))
}

/// In upper case.
fn currency(p: &Fields) -> Read<Option<String>> {
    let text = p.text("currency")?.map(|text| text.trim().to_uppercase());
    Ok(text.filter(|text| !text.is_empty()))
}

fn call(p: &Fields) -> Read<Call> {
    Ok(Call {
        id: p.must_id("call_id")?,
        session: p.id("session_id")?,
        outbound: p.name("direction", &["INBOUND", "OUTBOUND"])?.ok_or("no direction")? == "OUTBOUND",
        phones: p.text("phone")?.map_or(Vec::new(), |raw| contacts::phones(&raw)),
        manager: p.id("manager_id")?,
        entity: p.entity_if_any()?,
    })
}

/// `{phone}` or `{email}` or `{handle, channel}`.
fn contact(value: Option<&Value>) -> Read<Contacts> {
    let Some(c) = value.map(object_or_empty).transpose()?.flatten() else { return Ok(Vec::new()) };
    let (phone, email, handle) = (c.text("phone")?, c.text("email")?, c.text("handle")?);
    let channel = c.name("channel", &CHANNELS)?;
    if let Some(raw) = phone {
        Ok(contacts::phones(&raw))
    } else if let Some(raw) = email {
        Ok(contacts::emails(&raw))
    } else if let Some(raw) = handle {
        Ok(contacts::handle(&channel.ok_or("a handle without channel")?, &raw).into_iter().collect())
    } else {
        Ok(Vec::new())
    }
}

/// An object; `None` where it is empty, as a list or a text too.
fn object_or_empty(value: &Value) -> Read<Option<Fields<'_>>> {
    match value {
        Value::Object(map) => Ok((!map.is_empty()).then_some(Fields(map))),
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::Null => Ok(None),
        _ => Err("not an object".to_owned()),
    }
}

struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The field under its proto name or in camelCase; `null` and `""` are absent.
    fn get(&self, name: &str) -> Option<&'a Value> {
        let found = self.0.get(name).or_else(|| self.0.get(&camel(name)))?;
        (!found.is_null() && found.as_str() != Some("")).then_some(found)
    }

    fn is_blank(&self, name: &str) -> bool {
        let found = self.0.get(name).or_else(|| self.0.get(&camel(name)));
        found.and_then(Value::as_str).is_some_and(|text| text.trim().is_empty())
    }

    fn text(&self, name: &str) -> Read<Option<String>> {
        self.get(name).map(|v| v.as_str().map(str::to_owned).ok_or(format!("{name} is not a string"))).transpose()
    }

    /// Trimmed; a whole number is taken as text.
    fn id(&self, name: &str) -> Read<Option<String>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
            _ => return Err(format!("{name} is not an id")),
        };
        Ok((!text.is_empty()).then_some(text))
    }

    fn must_id(&self, name: &str) -> Read<String> {
        self.id(name)?.ok_or(format!("no {name}"))
    }

    fn texts(&self, name: &str) -> Read<Vec<String>> {
        self.list(name)?
            .iter()
            .map(|v| v.as_str().map(str::to_owned).ok_or(format!("{name} has a non-string")))
            .collect()
    }

    fn list(&self, name: &str) -> Read<&'a [Value]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Object(map)) if map.is_empty() => Ok(&[]),
            Some(value) => value.as_array().map(Vec::as_slice).ok_or(format!("{name} is not a list")),
        }
    }

    /// In any case; returned in upper case.
    fn name(&self, name: &str, known: &[&str]) -> Read<Option<String>> {
        match self.text(name)?.map(|text| text.to_ascii_uppercase()) {
            Some(text) if !known.contains(&text.as_str()) => Err(format!("unknown {name}")),
            other => Ok(other),
        }
    }

    fn instant(&self, name: &str) -> Read<Option<i64>> {
        self.text(name)?.map(|text| calendar::instant(&text).ok_or(format!("{name} is not RFC 3339"))).transpose()
    }

    /// A date outside the years 1 to 9998 is dropped.
    fn time(&self, name: &str) -> Read<Option<i64>> {
        Ok(self.instant(name)?.filter(|at| calendar::is_dated(*at)))
    }

    fn number(&self, name: &str) -> Read<Option<f64>> {
        self.get(name).map(|v| v.as_f64().ok_or(format!("{name} is not a number"))).transpose()
    }

    /// An int64; proto3 JSON may write it as a string.
    fn integer(&self, name: &str) -> Read<Option<i64>> {
        let whole = |v: &Value| match v {
            Value::String(text) => text.parse().ok(),
            _ => v.as_i64().or_else(|| v.as_f64().filter(|x| x.fract() == 0.0).map(|x| x as i64)),
        };
        self.get(name).map(|v| whole(v).ok_or(format!("{name} is not an integer"))).transpose()
    }

    fn flag(&self, name: &str) -> Read<bool> {
        let Some(value) = self.get(name) else { return Ok(false) };
        let text = match value {
            Value::Bool(flag) => return Ok(*flag),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.to_lowercase(),
            _ => return Err(format!("{name} is not a flag")),
        };
        match text.as_str() {
            "true" | "y" | "yes" | "1" => Ok(true),
            "false" | "n" | "no" | "0" => Ok(false),
            _ => Err(format!("{name} is not a flag")),
        }
    }

    fn entity(&self) -> Read<EntityId> {
        self.entity_if_any()?.ok_or("no entity".to_owned())
    }

    fn entity_if_any(&self) -> Read<Option<EntityId>> {
        self.entity_in("entity")
    }

    fn entity_in(&self, name: &str) -> Read<Option<EntityId>> {
        let Some(entity) = self.get(name).map(object_or_empty).transpose()?.flatten() else { return Ok(None) };
        let kind = match entity.name("kind", &["LEAD", "DEAL"])?.ok_or("no kind of entity")?.as_str() {
            "LEAD" => Kind::Lead,
            _ => Kind::Deal,
        };
        Ok(Some(EntityId { kind, id: entity.must_id("id")? }))
    }
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else {
            out.extend(upper.then(|| c.to_ascii_uppercase()).or(Some(c)));
            upper = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(payload: Value) -> Value {
        let mut event =
            json!({"event_id": "1", "tenant_id": "t", "occurred_at": "2026-01-01T00:00:00Z", "source": "x"});
        event.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
        event
    }

    #[test]
    fn accepted_events() {
        assert!(decodes(&with(json!({"lead_created": {"lead_id": "1"}}))));
        assert!(decodes(&with(
            json!({"leadCreated": {"leadId": "1", "managerId": null, "stageId": "", "what": 1}, "closed": null})
        )));
        assert!(decodes(&with(json!({"lead_created": {"lead_id": 1, "contacts": {}}, "closed": [], "source": 7}))));
        assert!(decodes(&with(json!({"interaction_dismissed": {"interaction_id": 5}}))));
        let lenient = json!({"message_id": 5, "channel": "chat", "contact": [], "entity": [], "automatic": "N"});
        assert!(decodes(&with(json!({ "message_sent": lenient }))));
        let start =
            |at: &str| json!({"call_id": "1", "direction": "Inbound", "outcome": "busy", "started_at": at, "line": 1});
        for at in ["0000-01-01T00:00:00Z", "2026-01-01T00:00:60.5Z", "2026-01-01T00:00:00.0000000000001Z"] {
            assert!(decodes(&with(json!({"call_ended": start(at)}))), "{at}");
        }
        assert!(decodes(&with(json!({"event_id": "", "manager_upserted": {"manager_id": "m"}}))));
        assert!(decodes(&with(json!({"call_ended": {"call_id": "1", "direction": "INBOUND", "outcome": "BUSY"}}))));
    }

    #[test]
    fn rejected_events() {
        for payload in [
            json!({}),
            json!({"lead_created": {}}),
            json!({"lead_created": {"lead_id": 1.5}}),
            json!({"lead_created": {"lead_id": "  "}}),
            json!({"lead_created": []}),
            json!({"lead_created": {"lead_id": "1", "contacts": [7]}}),
            json!({"message_sent": {"message_id": "1", "channel": "CHAT", "automatic": "maybe"}}),
            json!({"call_ended": {"call_id": "1", "direction": "INBOUND", "outcome": "BUSY", "answered_by": "GHOST"}}),
            json!({"occurred_at": "2026-01-01T00:00:00+24:00", "lead_created": {"lead_id": "1"}}),
            json!({"occurred_at": "0000-12-31T23:59:59Z", "lead_created": {"lead_id": "1"}}),
            json!({"occurred_at": "9999-01-01T00:00:00Z", "lead_created": {"lead_id": "1"}}),
            json!({"lead_created": {"lead_id": "1"}, "deleted": {"entity": {"kind": "LEAD", "id": "1"}}}),
            json!({"deleted": {"entity": {"kind": "LEAD"}}}),
            json!({"deleted": {"entity": {"kind": "CAR", "id": "1"}}}),
            json!({"closed": {"entity": {"kind": "LEAD", "id": "1"}}}),
            json!({"closed": {"entity": {"kind": "LEAD", "id": "1"}, "outcome": "GONE"}}),
            json!({"call_ended": {"call_id": "1", "outcome": "BUSY"}}),
            json!({"call_ended": {"call_id": "1", "direction": "INBOUND", "outcome": "BUSY", "talk_seconds": "7"}}),
            json!({"message_sent": {"message_id": "1"}}),
            json!({"tenant_id": "", "lead_created": {"lead_id": "1"}}),
            json!({"occurred_at": "yesterday", "lead_created": {"lead_id": "1"}}),
        ] {
            assert!(!decodes(&with(payload.clone())), "{payload}");
        }
    }
}

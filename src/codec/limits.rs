//! Owns the bounds on what one event may contain, for all formats: every field of the table of payloads has the bound of
//! its type, so that no field is without one.
//!
//! An id that the customer's own systems choose is rejected if it is too long, because two cut ids could be equal. Message,
//! thread and recording ids are chosen by outsiders, who must not be able to hide an event: such an id is replaced by its
//! SHA-256, which is equal for equal ids. Control characters in ids are treated likewise, because each becomes six bytes
//! in JSON. Texts that only people read are cut.

use super::payloads::*;
use super::reject::{Flaw, Read, Reject};
use crate::domain::event::progress::{Incoming, Progress};
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::{Repair, Repairs};
use crate::domain::event::{Contact, Event};
use crate::domain::id::{
    ActivityId, CallId, DepartmentId, EventId, LegId, ManagerId, MessageId, PipelineId, SessionId, SourceId, StageId,
    TenantId, ThreadId, reply_key, sha256,
};
use crate::domain::identity::MAX_CONTACT_BYTES;
use compact_str::CompactString;

/// The longest link to a recording, in bytes: what browsers and proxies accept at most.
pub const MAX_LINK_BYTES: usize = 2048;

/// The bounds on what one event may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// The longest id, in bytes.
    pub id_bytes: usize,
    /// The longest name, reason, grade or name of a field, in bytes.
    pub name_bytes: usize,
    /// The longest list.
    pub list_entries: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { id_bytes: 256, name_bytes: 1024, list_entries: 1000 }
    }
}

impl EventLimits {
    /// Applies the bounds to a decoded message: it is rejected, or put right.
    pub fn apply(&self, incoming: &mut Incoming, repairs: &mut Repairs) -> Result<(), Reject> {
        let mut bounds = Bounds { limits: self, repairs };
        Ok(match incoming {
            Incoming::Event(event) => bounds.event(event),
            Incoming::Progress(progress) => bounds.progress(progress),
        }?)
    }
}

/// The bounds, and the repairs of one event; a function for each type of value in the table of payloads.
struct Bounds<'a> {
    limits: &'a EventLimits,
    repairs: &'a mut Repairs,
}

/// A payload of the table.
trait Bounded {
    fn bound(&mut self, bounds: &mut Bounds<'_>) -> Read<()>;
}

macro_rules! bounds {
    ($($topic:ident: $payload:path = $event:ident($oneof:ident) $numbers:expr, $stored:ident => {$(
        $domain:ident $(or $other:ident)? {$(
            $case:ident = $variant:ident($message:ident) {
                $($field:ident: $kind:ident $complete:ident $name:ident,)*
            } $(check { $($checked:ident: $check:ident),* })? $(absent { $($absent:ident),* })?
            $(fixed { $ignored:ident: $fixed:ident = $value:expr })? => [$($shape:tt)*]
        )*}
    )*})*) => {
        impl Bounds<'_> {
            fn event(&mut self, event: &mut Event) -> Read<()> {
                self.id(&mut event.tenant).map_err(|flaw| flaw.within("tenant_id"))?;
                self.id(&mut event.id).map_err(|flaw| flaw.within("event_id"))?;
                match &mut event.payload {
                    $($payload(payload) => payload.bound(self),)*
                }
            }
        }

        $($(impl Bounded for $domain {
            fn bound(&mut self, bounds: &mut Bounds<'_>) -> Read<()> {
                match self {
                    $($($shape)* => {
                        $($(let _ = $absent;)*)?
                        $(let $fixed = &mut CompactString::const_new($value);)?
                        $(bounds.$kind($name)
                            .map_err(|flaw| flaw.within(stringify!($field)).within(stringify!($case)))?;)*
                    })*
                    $(Self::$other(other) => other.bound(bounds)?,)?
                }
                Ok(())
            }
        })*)*
    };
}

payloads!(bounds);

impl Bounds<'_> {
    fn is_id(&self, text: &str) -> bool {
        text.len() <= self.limits.id_bytes && !text.bytes().any(|byte| byte.is_ascii_control())
    }

    fn progress(&mut self, progress: &mut Progress) -> Read<()> {
        self.id(&mut progress.tenant).map_err(|flaw| flaw.within("tenant_id"))?;
        self.id(&mut progress.source).map_err(|flaw| flaw.within("source"))
    }

    /// An id of the customer's own systems, a currency, or a lead or deal.
    #[inline]
    fn id(&mut self, id: &mut impl Held) -> Read<()> {
        match id.held() {
            Some(text) if !self.is_id(text) => Err(self.flaw_of(text)),
            _ => Ok(()),
        }
    }

    #[cold]
    fn flaw_of(&self, id: &str) -> Flaw {
        if id.len() > self.limits.id_bytes {
            Flaw::new(Reason::OverLimit, "longer than `limits.id_bytes`")
        } else {
            Flaw::bad_value("control characters in an id")
        }
    }

    fn erasable_id(&mut self, id: &mut impl Held) -> Read<()> {
        self.id(id)
    }

    fn currency(&mut self, code: &mut Option<CompactString>) -> Read<()> {
        self.id(code)
    }

    fn entity(&mut self, entity: &mut impl Held) -> Read<()> {
        self.id(entity)
    }

    /// An id of a message, as mail programs spell it: all spellings stay equal.
    #[inline]
    fn message_id(&mut self, id: &mut impl Held) -> Read<()> {
        if let Some(id) = id.held().filter(|id| !self.is_id(id)) {
            let key = Some(reply_key(id)).filter(|key| !key.is_empty()).unwrap_or(id);
            *id = if self.is_id(key) { key.into() } else { self.hashed(key) };
        }
        Ok(())
    }

    /// An id of a thread.
    #[inline]
    fn thread_id(&mut self, id: &mut impl Held) -> Read<()> {
        if let Some(id) = id.held().filter(|id| !self.is_id(id)) {
            *id = self.hashed(id);
        }
        Ok(())
    }

    /// A link to a recording.
    fn link(&mut self, link: &mut Option<CompactString>) -> Read<()> {
        if let Some(link) = link.as_mut().filter(|link| link.len() > MAX_LINK_BYTES) {
            *link = self.hashed(link);
        }
        Ok(())
    }

    #[cold]
    fn hashed(&mut self, id: &str) -> CompactString {
        self.repairs.add(Repair::IdHashed);
        sha256(id)
    }

    /// A text for people, or one that norms list.
    #[inline]
    fn text(&mut self, text: &mut Option<CompactString>) -> Read<()> {
        text.iter_mut().for_each(|text| self.cut(text));
        Ok(())
    }

    fn erasable_text(&mut self, text: &mut Option<CompactString>) -> Read<()> {
        self.text(text)
    }

    fn free_text(&mut self, text: &mut Option<CompactString>) -> Read<()> {
        self.text(text)
    }

    fn cut(&mut self, text: &mut CompactString) {
        if text.len() > self.limits.name_bytes {
            self.repairs.add(Repair::TextCut);
            let end = (0..=self.limits.name_bytes).rev().find(|end| text.is_char_boundary(*end));
            // Copied, because a truncated string would keep its memory.
            *text = text[..end.unwrap_or_default()].into();
        }
    }

    fn texts(&mut self, texts: &mut [CompactString]) -> Read<()> {
        self.list(texts)?;
        texts.iter_mut().for_each(|text| self.cut(text));
        Ok(())
    }

    fn list<T>(&self, list: &[T]) -> Read<()> {
        if list.len() > self.limits.list_entries {
            return Err(Flaw::new(Reason::OverLimit, "more than `limits.list_entries` entries"));
        }
        Ok(())
    }

    /// A field with phone numbers. One that is too long has no normal form.
    fn phone(&mut self, phone: &mut CompactString) -> Read<()> {
        if phone.len() > MAX_CONTACT_BYTES {
            self.repairs.add(Repair::ContactDropped);
            *phone = CompactString::default();
        }
        Ok(())
    }

    fn contact(&mut self, contact: &mut Option<Contact>) -> Read<()> {
        if contact.as_ref().is_some_and(is_long) {
            self.repairs.add(Repair::ContactDropped);
            *contact = None;
        }
        Ok(())
    }

    fn contacts(&mut self, contacts: &mut Vec<Contact>) -> Read<()> {
        self.list(contacts)?;
        if contacts.iter().any(is_long) {
            self.repairs.add(Repair::ContactDropped);
            contacts.retain(|contact| !is_long(contact));
        }
        Ok(())
    }
}

fn is_long(contact: &Contact) -> bool {
    let (Contact::Phone(text) | Contact::Email(text) | Contact::Handle { handle: text, .. }) = contact;
    text.len() > MAX_CONTACT_BYTES
}

macro_rules! unbounded {
    ($($kind:ident)*) => {
        /// Values of a fixed size.
        impl Bounds<'_> {
            $(fn $kind<T>(&mut self, _: &mut T) -> Read<()> {
                Ok(())
            })*
        }
    };
}

unbounded! { number integer flag time name }

/// An id, or what holds one.
trait Held {
    fn held(&mut self) -> Option<&mut CompactString>;
}

impl Held for CompactString {
    fn held(&mut self) -> Option<&mut CompactString> {
        Some(self)
    }
}

impl Held for EntityId {
    fn held(&mut self) -> Option<&mut CompactString> {
        Some(&mut self.id)
    }
}

impl<T: Held> Held for Option<T> {
    fn held(&mut self) -> Option<&mut CompactString> {
        self.as_mut()?.held()
    }
}

macro_rules! ids {
    ($($type:ty)*) => {$(
        impl Held for $type {
            fn held(&mut self) -> Option<&mut CompactString> {
                Some(&mut self.0)
            }
        }
    )*};
}

ids! {
    TenantId EventId ManagerId DepartmentId PipelineId StageId SourceId CallId SessionId LegId MessageId ThreadId ActivityId
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Encoding, arbitrary, encoded, json};
    use crate::domain::time::Timestamp;
    use proptest::prelude::*;

    /// A payload with these fields, as read with bounds, and its repairs.
    fn read(case: &str, fields: &serde_json::Value) -> Result<(Event, Vec<Repair>), Reject> {
        let text = serde_json::json!({"tenant_id": "t", "occurred_at": "2026-03-02T12:00:00Z", case: fields});
        let (mut incoming, mut repairs) = json::decode_with_repairs(None, text.to_string().as_bytes())?;
        EventLimits::default().apply(&mut incoming, &mut repairs)?;
        Ok((incoming.event().expect("an event"), repairs.iter().collect()))
    }

    fn message(fields: serde_json::Value) -> (Message, Vec<Repair>) {
        let mut all = serde_json::json!({"message_id": "m", "channel": "EMAIL"});
        all.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        match read("message_received", &all).expect("accepted") {
            (Event { payload: Payload::Message(message), .. }, repairs) => (*message, repairs),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_are_rejected_beyond_the_limit_or_with_control_characters() {
        let entity = |id: &str| serde_json::json!({"entity": {"kind": "LEAD", "id": id}, "manager_id": id});
        assert!(read("assigned", &entity(&"ы".repeat(128))).is_ok());
        let long = read("assigned", &entity(&"a".repeat(257))).expect_err("long");
        assert_eq!(long.to_string(), "over_limit: assigned.entity: longer than `limits.id_bytes`");
        let control = read("assigned", &entity("a\u{1}b")).expect_err("a control character");
        assert_eq!(control.to_string(), "bad_value: assigned.entity: control characters in an id");
    }

    #[test]
    fn ids_that_outsiders_choose_are_replaced_by_their_hash() {
        let long = format!("{}@host", "x".repeat(256));
        let hash = sha256(&long);
        assert_eq!(hash.len(), 64);
        let given = serde_json::json!({"message_id": format!("<{long}>"), "in_reply_to": long, "thread_id": long});
        let (found, repairs) = message(given);
        assert_eq!(repairs, [Repair::IdHashed]);
        assert_eq!(
            (found.id.as_str(), found.in_reply_to, found.thread),
            (hash.as_str(), Some(MessageId(hash.clone())), Some(ThreadId(hash.clone())))
        );
        let dismissed = serde_json::json!({"interaction_id": long});
        let (event, _) = read("interaction_dismissed", &dismissed).expect("accepted");
        let dismissed = CrmPayload::InteractionDismissed { interaction: hash, manager: None };
        assert_eq!(event.payload, Payload::Crm(Box::new(dismissed)));
    }

    #[test]
    fn a_folded_header_keeps_the_id_that_it_names() {
        let (found, repairs) = message(serde_json::json!({"in_reply_to": "< m1@host >\r\n\t<m0@host>"}));
        assert_eq!(
            (found.in_reply_to.as_ref().map(MessageId::reply_key), repairs.as_slice()),
            (Some("m1@host"), &[][..])
        );
        let (found, repairs) = message(serde_json::json!({"in_reply_to": "<\u{0}>", "thread_id": "a\tb"}));
        assert_eq!(found.in_reply_to, Some(MessageId(sha256("\u{0}"))));
        assert_eq!((found.thread, repairs.as_slice()), (Some(ThreadId(sha256("a\tb"))), &[Repair::IdHashed][..]));
    }

    #[test]
    fn texts_are_cut_at_a_character_and_long_contacts_dropped() {
        let name = "я".repeat(513);
        let (event, repairs) =
            read("department_upserted", &serde_json::json!({"department_id": "d", "name": name})).expect("accepted");
        assert_eq!(repairs, [Repair::TextCut]);
        match event.payload {
            Payload::Crm(payload) => match *payload {
                CrmPayload::DepartmentUpserted { name: Some(cut), .. } => assert_eq!(cut, "я".repeat(512)),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        let long = "7".repeat(MAX_CONTACT_BYTES + 1);
        let contacts =
            serde_json::json!({"lead_id": "1", "contacts": [{"phone": "1"}, {"email": long}, {"phone": "2"}]});
        let (event, repairs) = read("lead_created", &contacts).expect("accepted");
        assert_eq!(repairs, [Repair::ContactDropped]);
        let mut kept = 0;
        event.payload.each_contact(|_| kept += 1);
        assert_eq!(kept, 2);
    }

    #[test]
    fn long_lists_are_rejected() {
        let change = |n: usize| {
            let fields = vec!["field"; n];
            serde_json::json!({"entity": {"kind": "DEAL", "id": "1"}, "to_stage_id": "s", "filled_fields": fields})
        };
        assert!(read("stage_changed", &change(1000)).is_ok());
        let long = read("stage_changed", &change(1001)).expect_err("long");
        let text = "over_limit: stage_changed.filled_fields: more than `limits.list_entries` entries";
        assert_eq!(long.to_string(), text);
    }

    proptest! {
        /// Lengths, because the JSON of an event contains every string that it holds.
        #[test]
        fn no_string_of_an_event_is_without_a_bound(event in arbitrary::event()) {
            let limits = EventLimits { id_bytes: 40, name_bytes: 40, list_entries: 3 };
            let bounded = Event { at: Timestamp(0), ..event };
            let (mut bounded, mut repairs) = (Incoming::Event(bounded), Repairs::default());
            if limits.apply(&mut bounded, &mut repairs).is_ok() {
                let text = encoded(Encoding::Json, &bounded.event().expect("an event"));
                let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
                prop_assert_eq!(too_long(&value), None);
            }
        }
    }

    /// A string of more than 40 bytes that is not a hash, a date, a contact, a link or the name of an enum value.
    fn too_long(value: &serde_json::Value) -> Option<String> {
        use serde_json::Value;
        match value {
            Value::String(text) => Some(text).filter(|text| text.len() > 40).cloned(),
            Value::Array(items) => items.iter().find_map(too_long),
            Value::Object(fields) => fields.iter().find_map(|(key, value)| match key.as_str() {
                "phone" | "email" | "handle" | "channel" | "kind" | "outcome" | "direction" | "verdict" => None,
                "occurred_at" | "started_at" | "answered_at" | "created_at" | "stage_entered_at" | "deadline" => None,
                "answered_by" | "recording_url" | "reviewer_id" => None,
                "message_id" | "in_reply_to" | "thread_id" | "interaction_id" => {
                    value.as_str().filter(|text| text.len() > 40 && text.len() != 64).map(Into::into)
                }
                _ => too_long(value),
            }),
            _ => None,
        }
    }
}

//! Owns the configuration of phone systems that send webhooks: how a mapping file says what their fields mean.
//!
//! A mapping consists of rules. The first one whose path and conditions match makes an event from the values that JSON
//! pointers (RFC 6901) find; a body that no rule matches is accepted and ignored. Form bodies are read as an object of their
//! fields.

use super::token::token;
use crate::config::schema::env::reason;
use crate::config::schema::key::ValueKind::{Form as Of, List, Map, Name, Secret, Table as Keys, Text};
use crate::config::schema::key::{ANY, Form, KeySpec};
use crate::config::schema::reader::Reader;
use crate::config::schema::value::{Table, Value};
use crate::domain::id::ManagerId;
use std::collections::BTreeMap;
use std::fmt;

/// A phone system that sends webhooks.
#[derive(Clone, PartialEq, Eq)]
pub struct Telephony {
    /// What its fields mean.
    pub mapping: Mapping,
    /// The token or the key of the signature. Secret.
    pub token: String,
    /// Managers by their extension; others are the extension itself.
    pub managers: BTreeMap<String, ManagerId>,
}

/// Hides the token.
impl fmt::Debug for Telephony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mapping, token: _, managers } = self;
        f.debug_struct("Telephony").field("mapping", mapping).field("managers", managers).finish_non_exhaustive()
    }
}

/// What the fields of a phone system mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// How a webhook proves where it comes from.
    pub proof: Proof,
    /// The field that contains the JSON document to read; `None`: the body itself.
    pub body: Option<Pointer>,
    /// The rules; the first that matches applies.
    pub rules: Vec<MappingRule>,
}

/// How a webhook proves where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `Authorization: Bearer` with the token.
    Bearer,
    /// A field of the body is the token.
    Field(Pointer),
    /// A field is the SHA-256, in hex, of other fields and the token.
    Signature {
        /// The field with the signature.
        at: Pointer,
        /// The signed fields, in order.
        over: Vec<Pointer>,
    },
}

/// A JSON pointer (<https://www.rfc-editor.org/rfc/rfc6901>).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer(pub String);

/// Makes an event of the webhooks that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingRule {
    /// The path below that of the source; `None`: any.
    pub path: Option<String>,
    /// Values of which one must be found; none: nothing must be found.
    pub when: Vec<(Pointer, Vec<String>)>,
    /// The same for webhooks that are not meant.
    pub unless: Vec<(Pointer, Vec<String>)>,
    /// The event: `call_started` or `call_ended`.
    pub event: &'static str,
    /// When it happened; `None`: now.
    pub at: Option<MappedField>,
    /// The fields of the event.
    pub fields: Vec<(&'static str, MappedField)>,
}

/// The value of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappedField {
    /// Where it is: the first that is filled.
    pub from: Vec<Pointer>,
    /// What is subtracted, of numbers and times.
    pub minus: Option<Pointer>,
    /// The values of the source, with ours.
    pub values: BTreeMap<String, String>,
    /// Our value for all others, or if nothing is filled.
    pub otherwise: Option<String>,
}

pub(super) const TELEPHONY: &[KeySpec] = &[
    KeySpec::new("mapping", Name(|| SHIPPED.iter().map(|(name, _)| *name).collect()), "a mapping that is shipped")
        .described("`mapping_file`"),
    KeySpec::new("mapping_file", Text, "a file that says what the fields mean, relative to this file")
        .described("`mapping`"),
    KeySpec::new("token", Secret, "the token that webhooks show, or the key that they are signed with").required(),
    KeySpec::new("managers", Map(ANY, &Text), "managers by their extension; others are the extension itself"),
];

/// The mappings that are shipped.
const SHIPPED: &[(&str, &str)] = &[("mango", include_str!("mappings/mango.yaml"))];

/// The keys of a mapping file.
pub const MAPPING: &[KeySpec] = &[
    KeySpec::new("token_in", Of(POINTER), "the field of the body that is the token")
        .described("the header `Authorization: Bearer …`"),
    KeySpec::new("signature", Keys(&[SIGNATURE]), "a signature instead of a token"),
    KeySpec::new("body", Of(POINTER), "the field that contains the JSON document to read").described("the body itself"),
    KeySpec::new("rules", List(&Keys(&[RULE]), 1), "the rules: the first that matches makes an event").required(),
];

const SIGNATURE: &[KeySpec] = &[
    KeySpec::new("at", Of(POINTER), "the field with the signature: the SHA-256, in hex, of `over` and the token")
        .required(),
    KeySpec::new("over", List(&Of(POINTER), 0), "the fields that are signed, one after another").default("[]"),
];

const CONDITION: crate::config::schema::key::ValueKind = Map(POINTER, &List(&Text, 0));

const RULE: &[KeySpec] = &[
    KeySpec::new("path", Text, "the path below that of the source, such as `events/summary`").described("any"),
    KeySpec::new("when", CONDITION, "values of which one must be found; of `[]`, that nothing is found"),
    KeySpec::new("unless", CONDITION, "the same for webhooks to which the rule does not apply"),
    KeySpec::new("event", Name(|| EVENTS.to_vec()), "the event").required(),
    KeySpec::new("at", Keys(&[FIELD]), "when it happened").described("now"),
    KeySpec::new("fields", Keys(&[FIELDS]), "the fields of the event").required(),
];

const EVENTS: [&str; 2] = ["call_started", "call_ended"];

const FIELD: &[KeySpec] = &[
    KeySpec::new("from", List(&Of(POINTER), 0), "where the value is: the first that is filled").default("[]"),
    KeySpec::new("minus", Of(POINTER), "what is subtracted, of numbers and times").described("nothing"),
    KeySpec::new("values", Map(ANY, &Text), "values of the source, with ours"),
    KeySpec::new("otherwise", Text, "our value for all others, or if nothing is filled").described("the value itself"),
];

/// The fields of calls that a mapping can fill, of all events.
const NAMES: [&str; 14] = [
    "call_id",
    "session_id",
    "leg_id",
    "direction",
    "phone",
    "line",
    "manager_id",
    "lead_id",
    "deal_id",
    "started_at",
    "answered_at",
    "talk_seconds",
    "outcome",
    "recording_url",
];

/// What only the end of a call has.
const OF_THE_END: [&str; 6] = ["leg_id", "started_at", "answered_at", "talk_seconds", "outcome", "recording_url"];

const FIELDS: &[KeySpec] = &{
    let mut fields = [KeySpec::new("", Keys(&[FIELD]), "the field of the event"); NAMES.len()];
    let mut index = 0;
    while index < fields.len() {
        fields[index].name = NAMES[index];
        index += 1;
    }
    fields
};

const POINTER: Form =
    Form { expected: "a JSON pointer such as /from/number", fits: |text| text.starts_with('/'), pattern: "^/", ..ANY };

impl Telephony {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let token = token(reader, table);
        let mapping = match (table.text("mapping"), table.text("mapping_file")) {
            (Some(_), Some(_)) => {
                reader.problem_of(table, "mapping_file", "`mapping` is set, too");
                None
            }
            (None, None) if !table.is_set("mapping") && !table.is_set("mapping_file") => {
                reader.problem(table.line, &table.path, "expected `mapping` or `mapping_file`");
                None
            }
            (Some(name), None) => {
                let (name, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name)?;
                let mut inner = Reader::new(name, text, reader.env());
                let mapping = Mapping::read(&mut inner);
                reader.problems.append(&mut inner.problems);
                mapping
            }
            (None, file) => {
                let path = reader.locate(file?);
                match reader.env().file(&path) {
                    Ok(text) => {
                        let name = path.display().to_string();
                        let mut inner = Reader::new(&name, &text, reader.env());
                        let mapping = Mapping::read(&mut inner);
                        reader.merge(inner, path);
                        mapping
                    }
                    Err(error) => {
                        let text = format!("cannot read {}: {}", path.display(), reason(&error));
                        reader.problem_of(table, "mapping_file", text);
                        None
                    }
                }
            }
        };
        let manager = |(extension, id): &(String, Value)| Some((extension.clone(), ManagerId::from(id.text()?)));
        Some(Self {
            mapping: mapping?,
            token: token?,
            managers: table.map("managers").iter().filter_map(manager).collect(),
        })
    }
}

fn pointer(table: &Table, key: &str) -> Option<Pointer> {
    table.text(key).map(|text| Pointer(text.into()))
}

fn pointers(table: &Table, key: &str) -> Vec<Pointer> {
    table.list(key).iter().filter_map(|value| Some(Pointer(value.text()?.into()))).collect()
}

impl Mapping {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let table = &reader.document(&[MAPPING]);
        let proof = match (pointer(table, "token_in"), table.table("signature")) {
            (Some(_), Some(_)) => {
                reader.problem_of(table, "signature", "`token_in` is set, too");
                None
            }
            (Some(field), None) => Some(Proof::Field(field)),
            (None, Some(table)) => {
                pointer(table, "at").map(|at| Proof::Signature { at, over: pointers(table, "over") })
            }
            (None, None) => Some(Proof::Bearer),
        };
        let rules: Option<Vec<_>> =
            table.list("rules").iter().map(|rule| MappingRule::read(reader, rule.table()?)).collect();
        Some(Self { proof: proof?, body: pointer(table, "body"), rules: rules? })
    }
}

impl MappingRule {
    fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let event = EVENTS.into_iter().find(|event| table.text("event") == Some(event))?;
        let fields = table.table("fields")?;
        let mut required = vec!["call_id", "direction"];
        if event == "call_ended" {
            required.push("outcome");
            if !table.is_set("at") {
                reader.problem(table.line, table.path_of("at"), "required key is missing: when the call ended");
            }
        }
        for name in required.into_iter().filter(|name| !fields.is_set(name)) {
            let text = format!("required key is missing: {event} has this field");
            reader.problem(fields.line, fields.path_of(name), text);
        }
        for name in OF_THE_END.into_iter().filter(|name| event == "call_started" && fields.is_set(name)) {
            reader.problem_of(fields, name, "call_started does not have this field");
        }
        let read = |name| Some((name, MappedField::read(fields.table(name)?)));
        Some(Self {
            path: table.text("path").map(|path| path.trim_matches('/').to_owned()),
            when: conditions(table, "when"),
            unless: conditions(table, "unless"),
            event,
            at: table.table("at").map(MappedField::read),
            fields: NAMES.into_iter().filter_map(read).collect(),
        })
    }
}

fn conditions(table: &Table, key: &str) -> Vec<(Pointer, Vec<String>)> {
    let texts = |value: &Value| match &value.data {
        crate::config::schema::value::Data::List(items) => {
            items.iter().filter_map(|item| item.text().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    table.map(key).iter().map(|(pointer, value)| (Pointer(pointer.clone()), texts(value))).collect()
}

impl MappedField {
    fn read(table: &Table) -> Self {
        let value = |(theirs, ours): &(String, Value)| Some((theirs.clone(), ours.text()?.to_owned()));
        Self {
            from: pointers(table, "from"),
            minus: pointer(table, "minus"),
            values: table.map("values").iter().filter_map(value).collect(),
            otherwise: table.text("otherwise").map(str::to_owned),
        }
    }
}

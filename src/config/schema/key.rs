//! The declaration of a document's keys: name, kind of value, default and help text. The reader, the reference page and
//! the JSON Schema all use the same declaration.
//!
//! A mapping or list that may be empty may also have no value, so that all its lines can be commented out.

use super::units::{format_bytes, format_span};
use crate::domain::time::Span;

/// One key of a mapping.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// The name as spelled in the document.
    pub name: &'static str,
    /// The kind of value it accepts.
    pub kind: ValueKind,
    /// Whether it is required.
    pub need: Need,
    /// What applies without it.
    pub absent: Absent,
    /// What it is for, in lower case and without a full stop.
    pub help: &'static str,
}

/// Whether a key is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It may be omitted.
    Optional,
    /// It is required in its mapping.
    Required,
    /// Some layer must set it wherever the rule is enabled; an override may leave it to the base.
    InForce,
    /// Exactly one of the keys marked this way must be in force.
    OneInForce,
}

/// What applies where a key is omitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// No value.
    Nothing,
    /// This value, in document syntax; the reader fills it in.
    Default(&'static str),
    /// This value, in document syntax; the rule applies it, so that a layer holds only the keys it sets.
    RuleDefault(&'static str),
    /// A default described in words.
    Described(&'static str),
}

/// The kind of value a key accepts.
#[derive(Clone, Copy, Debug)]
pub enum ValueKind {
    /// True or false.
    Flag,
    /// An integer in a range.
    Count(i64, i64),
    /// A number in a range, bounds included.
    Number(f64, f64),
    /// A number in a range, bounds excluded.
    Between(f64, f64),
    /// A positive duration of a norm, in `s`, `m`, `h` or `d`.
    Length,
    /// A duration in a range; also in `ms`.
    Span(Span, Span),
    /// A size in a range, in bytes, `KiB` or `MiB`.
    Bytes(i64, i64),
    /// An id or a name: a string, or an integer in its plain decimal form.
    Text,
    /// A string of a certain form.
    Form(Form),
    /// One of these names.
    Name(fn() -> Vec<&'static str>),
    /// A string that may contain `${NAME}`.
    Setting,
    /// A string that may contain `${NAME}`, or the contents of a file; never shown.
    Secret,
    /// Like a secret, but also a number or a flag: librdkafka takes all values as strings.
    Property,
    /// A list with a minimum length.
    List(&'static ValueKind, usize),
    /// A mapping with user-defined keys.
    Map(Form, &'static ValueKind),
    /// A mapping with these keys, declared in parts.
    Table(&'static [&'static [KeySpec]]),
    /// A string of a certain form, or a mapping with these keys.
    Either(Form, &'static [&'static [KeySpec]]),
}

/// The form of a string.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// What is expected, with an article.
    pub expected: &'static str,
    /// Whether a string has this form.
    pub fits: fn(&str) -> bool,
    /// The form as a regular expression; empty if it cannot be expressed as one.
    pub pattern: &'static str,
    /// Of several spellings of a value, the one that is kept.
    pub canonical: fn(String) -> String,
    /// A hint for the author of a string of another form; empty if there is none.
    pub hint: fn(&str) -> String,
}

/// Any user-defined name.
pub const ANY: Form = Form {
    expected: "a name",
    fits: |text| !text.is_empty(),
    pattern: "",
    canonical: |text| text,
    hint: |_| String::new(),
};

impl KeySpec {
    /// An optional key.
    pub const fn new(name: &'static str, kind: ValueKind, help: &'static str) -> Self {
        Self { name, kind, need: Need::Optional, absent: Absent::Nothing, help }
    }

    /// Makes it required in its mapping.
    pub const fn required(self) -> Self {
        Self { need: Need::Required, ..self }
    }

    /// Requires some layer to set it.
    pub const fn in_force(self) -> Self {
        Self { need: Need::InForce, ..self }
    }

    /// Requires exactly one of the keys marked this way to be in force.
    pub const fn one_in_force(self) -> Self {
        Self { need: Need::OneInForce, ..self }
    }

    /// Adds a default that the reader fills in.
    pub const fn default(self, default: &'static str) -> Self {
        Self { absent: Absent::Default(default), ..self }
    }

    /// Adds a default that the rule applies.
    pub const fn rule_default(self, default: &'static str) -> Self {
        Self { absent: Absent::RuleDefault(default), ..self }
    }

    /// Adds a default described in words.
    pub const fn described(self, default: &'static str) -> Self {
        Self { absent: Absent::Described(default), ..self }
    }
}

impl ValueKind {
    /// The expected value, in words.
    pub fn expected(&self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Count(from, i64::MAX) => format!("an integer of at least {from}"),
            Self::Count(from, to) => format!("an integer from {from} to {to}"),
            Self::Number(from, to) => format!("a number from {from} to {to}"),
            Self::Between(from, to) => format!("a number between {from} and {to}, exclusive"),
            Self::Length => "a duration such as 90s, 15m, 4h or 7d".into(),
            Self::Span(from, to) => format!("a duration from {} to {}", format_span(*from), format_span(*to)),
            Self::Bytes(from, to) => format!("a size from {} to {}", format_bytes(*from), format_bytes(*to)),
            Self::Text => "a string".into(),
            Self::Form(form) => form.expected.into(),
            Self::Name(names) => format!("one of {}", names().join(", ")),
            Self::Setting => "a string, optionally with ${NAME}".into(),
            Self::Secret | Self::Property => "a string, optionally with ${NAME}, or {file: PATH}".into(),
            Self::List(of, 0) => format!("a list of {}", of.expected_items()),
            Self::List(of, _) => format!("a non-empty list of {}", of.expected_items()),
            Self::Map(form, of) => format!("a mapping from {} to {}", form.expected, of.expected()),
            Self::Table(_) => "a mapping".into(),
            Self::Either(form, _) => form.expected.into(),
        }
    }

    /// The expected items of a list, in words.
    fn expected_items(&self) -> String {
        match self {
            Self::Length => "durations such as 15m".into(),
            Self::Text => "strings".into(),
            Self::Count(from, to) => format!("integers from {from} to {to}"),
            Self::Name(names) => format!("any of {}", names().join(", ")),
            Self::Table(_) => "mappings".into(),
            other => format!("items, each {}", other.expected()),
        }
    }
}

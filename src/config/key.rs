//! Owns the language in which the keys of a document are declared: a name, a kind of value, a default, a sentence of
//! help. Promises that reading, `docs/configuration.md` and the JSON Schema all go by the same declaration.
//!
//! A mapping or a list that may be empty may also be left without a value: its lines may all be comments.

use crate::domain::time::Span;

/// One key of a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpec {
    /// As it is written.
    pub(crate) name: &'static str,
    /// What may stand there.
    pub(crate) kind: ValueKind,
    /// Whether it must be there.
    pub(crate) need: Need,
    /// What holds without it.
    pub(crate) absent: Absent,
    /// What it is for: the second half of a sentence, lower case, without a full stop.
    pub(crate) help: &'static str,
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It may be left out.
    Optional,
    /// It must stand in its mapping.
    Must,
    /// Some layer must give it wherever the rule is on; an override may leave it to the base.
    InForce,
    /// Of the keys so marked, exactly one must be in force.
    OneInForce,
}

/// What holds where a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Nothing.
    Nothing,
    /// This value, as one would write it; the reader fills it in.
    Filled(&'static str),
    /// This value, as one would write it; whoever goes by the norm knows it, so that layers can be told apart.
    Known(&'static str),
    /// What these words say.
    Told(&'static str),
}

/// What may stand under a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ValueKind {
    /// True or false.
    Flag,
    /// A whole number in a range.
    Count(i64, i64),
    /// A number in a range, its ends included.
    Number(f64, f64),
    /// A number in a range, its ends excluded.
    Between(f64, f64),
    /// The length of a norm, longer than nothing, in `s`, `m`, `h`, `d`.
    Length,
    /// A length of time in a range; also in `ms`.
    Span(Span, Span),
    /// A size in a range, in bytes, `KiB` or `MiB`.
    Bytes(i64, i64),
    /// An id or a name: text, or a whole number written plainly.
    Text,
    /// Text of a form.
    Form(Form),
    /// One of these names.
    Name(fn() -> Vec<&'static str>),
    /// Text with `${NAME}` in it.
    Setting,
    /// Text with `${NAME}` in it, or the contents of a file; never shown.
    Secret,
    /// As a secret, also a number or a flag: what a library reads as text.
    Property,
    /// A list of at least so many.
    List(&'static ValueKind, usize),
    /// A mapping with keys of the user's own.
    Map(Form, &'static ValueKind),
    /// A mapping with these keys, declared in parts.
    Table(&'static [&'static [KeySpec]]),
}

/// A form of text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// What it is, with an article.
    pub(crate) wanted: &'static str,
    /// Whether a text has it.
    pub(crate) fits: fn(&str) -> bool,
    /// As a regular expression, where one can say it.
    pub(crate) pattern: &'static str,
}

/// Any name of the user's own.
pub(crate) const ANY: Form = Form { wanted: "a name", fits: |text| !text.is_empty(), pattern: "" };

impl KeySpec {
    /// A key that may be left out.
    pub(crate) const fn new(name: &'static str, kind: ValueKind, help: &'static str) -> Self {
        Self { name, kind, need: Need::Optional, absent: Absent::Nothing, help }
    }

    /// The same, but it must stand in its mapping.
    pub(crate) const fn must(self) -> Self {
        Self { need: Need::Must, ..self }
    }

    /// The same, but some layer must give it.
    pub(crate) const fn in_force(self) -> Self {
        Self { need: Need::InForce, ..self }
    }

    /// The same, but exactly one of its kind must be in force.
    pub(crate) const fn one_in_force(self) -> Self {
        Self { need: Need::OneInForce, ..self }
    }

    /// The same with a default that the reader fills in.
    pub(crate) const fn filled(self, default: &'static str) -> Self {
        Self { absent: Absent::Filled(default), ..self }
    }

    /// The same with a default that whoever goes by the norm knows.
    pub(crate) const fn known(self, default: &'static str) -> Self {
        Self { absent: Absent::Known(default), ..self }
    }

    /// The same with a default in words.
    pub(crate) const fn told(self, default: &'static str) -> Self {
        Self { absent: Absent::Told(default), ..self }
    }
}

impl ValueKind {
    /// What is wanted, in words.
    pub(crate) fn wanted(&self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Count(from, i64::MAX) => format!("a whole number from {from}"),
            Self::Count(from, to) => format!("a whole number from {from} to {to}"),
            Self::Number(from, to) => format!("a number from {from} to {to}"),
            Self::Between(from, to) => format!("a number above {from} and below {to}"),
            Self::Length => "a length of time such as 90s, 15m, 4h or 7d".into(),
            Self::Span(from, to) => format!("a length of time from {} to {}", whole(*from), whole(*to)),
            Self::Bytes(from, to) => format!("a size from {} to {}", bytes(*from), bytes(*to)),
            Self::Text => "text".into(),
            Self::Form(form) => form.wanted.into(),
            Self::Name(names) => format!("one of {}", names().join(", ")),
            Self::Setting => "text, in which ${NAME} stands for an environment variable".into(),
            Self::Secret | Self::Property => {
                "text, in which ${NAME} stands for an environment variable, or {file: PATH}".into()
            }
            Self::List(of, 0) => format!("a list of {}", of.many()),
            Self::List(of, _) => format!("a list, not empty, of {}", of.many()),
            Self::Map(form, of) => format!("a mapping from {} to {}", form.wanted, of.wanted()),
            Self::Table(_) => "a mapping".into(),
        }
    }

    /// Several of what is wanted, in words.
    fn many(&self) -> String {
        match self {
            Self::Length => "lengths of time such as 15m".into(),
            Self::Text => "texts".into(),
            Self::Count(from, to) => format!("whole numbers from {from} to {to}"),
            Self::Name(names) => format!("names out of {}", names().join(", ")),
            Self::Table(_) => "mappings".into(),
            other => format!("which each is {}", other.wanted()),
        }
    }
}

/// A span in its largest whole unit, milliseconds included.
pub(crate) fn whole(span: Span) -> String {
    if span.0 % Span::SECOND.0 == 0 { span.to_string() } else { format!("{}ms", span.0) }
}

/// A size in its largest whole unit.
pub(crate) fn bytes(size: i64) -> String {
    match size {
        0 => "0B".into(),
        size if size % (1 << 20) == 0 => format!("{}MiB", size >> 20),
        size if size % (1 << 10) == 0 => format!("{}KiB", size >> 10),
        size => format!("{size}B"),
    }
}

//! Reads scalars against the kind of value that their key accepts, and describes rejected nodes.

use super::env::{Env, expand};
use super::key::ValueKind;
use super::similar::suggestion;
use super::text::excerpt;
use super::units::{length, norm_length, size};
use super::value::Data;
use saphyr::ScalarOwned::{Boolean, FloatingPoint, Integer, Null, String as Text};
use saphyr::{MarkedYamlOwned, ScalarOwned, YamlDataOwned};

/// What scalars are read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    /// The environment that strings may refer to.
    pub(super) env: &'a dyn Env,
}

enum Rejection {
    /// It is not of the accepted kind; with a hint for the author, which may be empty.
    Mismatch(String),
    /// Another message.
    Other(String),
}

type Read = Result<Data, Rejection>;

impl Source<'_> {
    /// Reads the scalar of a node; the error is the message.
    pub(super) fn read(self, scalar: &ScalarOwned, node: &MarkedYamlOwned, kind: &ValueKind) -> Result<Data, String> {
        self.data(scalar, node, kind).map_err(|rejection| match rejection {
            Rejection::Mismatch(hint) => {
                let secret = matches!(kind, ValueKind::Secret | ValueKind::Property);
                format!("expected {}, found {}{hint}", kind.expected(), describe_node(node, secret))
            }
            Rejection::Other(message) => message,
        })
    }

    fn data(self, scalar: &ScalarOwned, node: &MarkedYamlOwned, kind: &ValueKind) -> Read {
        let in_range = |(from, to): (&i64, &i64), count: &i64| (from..=to).contains(&count);
        let accepted = match (kind, scalar) {
            (ValueKind::Flag, Boolean(flag)) => Some(Data::Flag(*flag)),
            (ValueKind::Count(from, to) | ValueKind::Bytes(from, to), Integer(count)) => {
                Some(*count).filter(|count| in_range((from, to), count)).map(Data::Count)
            }
            (ValueKind::Bytes(from, to), Text(text)) => {
                size(text).filter(|size| in_range((from, to), size)).map(Data::Count)
            }
            (ValueKind::Number(..) | ValueKind::Between(..), Integer(count)) => number(*count as f64, kind),
            (ValueKind::Number(..) | ValueKind::Between(..), FloatingPoint(found)) => number(found.0, kind),
            (ValueKind::Length, Text(text)) => norm_length(text).map(Data::Length),
            (ValueKind::Span(from, to), Text(text)) => {
                length(text).filter(|length| (*from..=*to).contains(&length.span)).map(Data::Length)
            }
            (ValueKind::Text | ValueKind::Form(_) | ValueKind::Either(..), Text(_) | Integer(_)) => {
                return self.text(node, scalar, kind);
            }
            (ValueKind::Name(names), Text(text)) => return name(text, &names()),
            (ValueKind::Setting | ValueKind::Secret | ValueKind::Property, Text(text)) => {
                return self.expanded(text, kind);
            }
            (ValueKind::Property, Boolean(_) | Integer(_) | FloatingPoint(_)) => {
                self.verbatim(node, scalar).map(|text| Data::Text(text, false))
            }
            _ => None,
        };
        accepted.ok_or_else(|| Rejection::Mismatch(hint(kind, scalar).into()))
    }

    fn text(self, node: &MarkedYamlOwned, scalar: &ScalarOwned, kind: &ValueKind) -> Read {
        let text = self.id_text(node).ok_or_else(|| Rejection::Mismatch(hint(kind, scalar).into()))?;
        if text.contains("${") {
            let message =
                "environment variables are not expanded here; the documentation lists the keys in which they are";
            return Err(Rejection::Other(message.into()));
        }
        match kind {
            _ if text.is_empty() => Err(Rejection::Mismatch(String::new())),
            ValueKind::Form(form) | ValueKind::Either(form, _) if !(form.fits)(&text) => {
                Err(Rejection::Mismatch((form.hint)(&text)))
            }
            ValueKind::Form(form) | ValueKind::Either(form, _) => Ok(Data::Text((form.canonical)(text), false)),
            _ => Ok(Data::Text(text, false)),
        }
    }

    fn expanded(self, text: &str, kind: &ValueKind) -> Read {
        let (expanded, substituted) = expand(text, self.env).map_err(Rejection::Other)?;
        if expanded.is_empty() && !matches!(kind, ValueKind::Property) {
            return Err(Rejection::Other("expected a non-empty string".into()));
        }
        Ok(Data::Text(expanded, substituted || matches!(kind, ValueKind::Secret)))
    }

    /// The text of a node that may be an id: a string, or an integer in its plain decimal form.
    pub(super) fn id_text(self, node: &MarkedYamlOwned) -> Option<String> {
        match &node.data {
            YamlDataOwned::Value(Text(text)) => Some(text.clone()),
            YamlDataOwned::Value(scalar @ Integer(_)) => self.verbatim(node, scalar),
            _ => None,
        }
    }

    /// Whether a string is written without quotes.
    pub(super) fn is_plain(self, node: &MarkedYamlOwned) -> bool {
        !matches!(self.text.chars().nth(node.span.start.index()), Some('"' | '\''))
    }

    /// The text of a value that is not a string, if the document spells it the same way: `007` must not become `7`.
    fn verbatim(self, node: &MarkedYamlOwned, scalar: &ScalarOwned) -> Option<String> {
        let text = match scalar {
            Boolean(flag) => flag.to_string(),
            Integer(count) => count.to_string(),
            FloatingPoint(number) => number.to_string(),
            Null | Text(_) => return None,
        };
        let (start, end) = (node.span.start.index(), node.span.end.index());
        let written = self.text.chars().skip(start).take(end.saturating_sub(start));
        text.chars().eq(written).then_some(text)
    }
}

fn number(number: f64, kind: &ValueKind) -> Option<Data> {
    let fits = match kind {
        ValueKind::Between(from, to) => *from < number && number < *to,
        ValueKind::Number(from, to) => (*from..=*to).contains(&number),
        _ => false,
    };
    fits.then_some(Data::Number(number))
}

fn name(text: &str, names: &[&str]) -> Read {
    if names.contains(&text) {
        return Ok(Data::Text(text.into(), false));
    }
    Err(Rejection::Mismatch(suggestion(text, names)))
}

/// How to correct a scalar of the wrong type, if that is obvious.
fn hint(kind: &ValueKind, scalar: &ScalarOwned) -> &'static str {
    use ValueKind::{Between, Count, Flag, Form, Length, Number, Property, Secret, Setting, Span};
    match (kind, scalar) {
        (Length | Span(..), Integer(_)) => "; the unit is missing",
        (ValueKind::Text | Form(_) | Setting | Secret | Property, Integer(_) | FloatingPoint(_) | Boolean(_)) => {
            "; put it in quotes"
        }
        (Flag, Text(text)) if ["true", "false"].contains(&text.as_str()) => "; remove the quotes",
        (Count(..) | Number(..) | Between(..), Text(text)) if text.parse::<f64>().is_ok() => "; remove the quotes",
        _ => "",
    }
}

pub(super) fn describe_node(node: &MarkedYamlOwned, secret: bool) -> String {
    match &node.data {
        YamlDataOwned::Value(Null) => "no value".into(),
        YamlDataOwned::Value(Boolean(flag)) => flag.to_string(),
        YamlDataOwned::Value(Integer(_) | FloatingPoint(_)) if secret => "a number".into(),
        YamlDataOwned::Value(Integer(number)) => format!("number {number}"),
        YamlDataOwned::Value(FloatingPoint(number)) => format!("number {number}"),
        YamlDataOwned::Value(Text(text)) if text.is_empty() => "an empty string".into(),
        YamlDataOwned::Value(Text(_)) if secret => "a string".into(),
        YamlDataOwned::Value(Text(text)) => format!("string `{}`", excerpt(text)),
        YamlDataOwned::Sequence(items) if items.is_empty() => "an empty list".into(),
        YamlDataOwned::Sequence(_) => "a list".into(),
        YamlDataOwned::Mapping(_) => "a mapping".into(),
        YamlDataOwned::Tagged(tag, _) => format!("tag {tag}"),
        _ => "an unreadable node".into(),
    }
}

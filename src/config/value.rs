//! Owns values that were read and passed: typed, with the lines that they stand on.

use super::reader::join;
use crate::domain::norms::Length;
use std::collections::BTreeMap;

/// A value that was read.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// Where it stands.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) data: Data,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// Refused; the problem is told.
    Bad,
    /// True or false.
    Flag(bool),
    /// A whole number, or a size in bytes.
    Count(i64),
    /// A number.
    Number(f64),
    /// A length of time.
    Length(Length),
    /// Text, and whether it must not be shown.
    Text(String, bool),
    /// A list.
    List(Vec<Value>),
    /// A mapping with keys of the user's own, in their order.
    Map(Vec<(String, Value)>),
    /// A mapping with declared keys.
    Table(Table),
}

/// A mapping with declared keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Where it begins.
    pub(crate) line: usize,
    /// The keys that lead to it.
    pub(crate) path: String,
    /// What was given, and what the reader filled in (on the line of the table).
    pub(super) entries: BTreeMap<&'static str, Entry>,
}

/// What stands under a key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The line of the key.
    pub(super) line: usize,
    /// Whether the document has it.
    pub(super) given: bool,
    /// The value.
    pub(super) value: Value,
}

impl Table {
    /// Whether the document itself has the key, rightly or wrongly filled.
    pub(crate) fn gives(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.given)
    }

    /// The keys that the document itself has.
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().filter(|(_, entry)| entry.given).map(|(name, _)| *name)
    }

    /// The line of a key, or of the table where it is left out.
    pub(crate) fn line_of(&self, name: &str) -> usize {
        self.entries.get(name).map_or(self.line, |entry| entry.line)
    }

    /// The path of a key.
    pub(crate) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// The value of a key.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.entries.get(name).map(|entry| &entry.value)
    }

    /// A flag.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.value(name)?.data {
            Data::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    /// A whole number, or a size in bytes.
    pub(crate) fn count(&self, name: &str) -> Option<i64> {
        match self.value(name)?.data {
            Data::Count(count) => Some(count),
            _ => None,
        }
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.value(name)?.data {
            Data::Number(number) => Some(number),
            _ => None,
        }
    }

    /// A length of time.
    pub(crate) fn length(&self, name: &str) -> Option<Length> {
        self.value(name)?.length()
    }

    /// Text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.text()
    }

    /// The items of a list; none where it is left out.
    pub(crate) fn list(&self, name: &str) -> &[Value] {
        match self.value(name).map(|value| &value.data) {
            Some(Data::List(items)) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; none where it is left out.
    pub(crate) fn map(&self, name: &str) -> &[(String, Value)] {
        match self.value(name).map(|value| &value.data) {
            Some(Data::Map(entries)) => entries,
            _ => &[],
        }
    }

    /// A mapping with declared keys.
    pub(crate) fn table(&self, name: &str) -> Option<&Table> {
        self.value(name)?.table()
    }
}

impl Value {
    /// As text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// As a length of time.
    pub(crate) fn length(&self) -> Option<Length> {
        match self.data {
            Data::Length(length) => Some(length),
            _ => None,
        }
    }

    /// As a mapping with declared keys.
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }

    /// As the texts of a list.
    pub(crate) fn texts(&self) -> Option<impl Iterator<Item = &str>> {
        match &self.data {
            Data::List(items) => Some(items.iter().filter_map(Self::text)),
            _ => None,
        }
    }
}

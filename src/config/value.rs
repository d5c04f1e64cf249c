//! Typed values read from a document, with their line numbers.

use super::reader::join;
use crate::domain::norms::Length;
use std::collections::BTreeMap;

/// A value that was read.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// The line it is on.
    pub(crate) line: usize,
    /// The typed value.
    pub(crate) data: Data,
}

/// A typed value.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// Rejected; the problem has been reported.
    Bad,
    /// True or false.
    Flag(bool),
    /// An integer, or a size in bytes.
    Count(i64),
    /// A number.
    Number(f64),
    /// A duration.
    Length(Length),
    /// A string, and whether it is secret.
    Text(String, bool),
    /// A list.
    List(Vec<Value>),
    /// A mapping with user-defined keys, in document order.
    Map(Vec<(String, Value)>),
    /// A mapping with declared keys.
    Table(Table),
}

/// A mapping with declared keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The line it begins on.
    pub(crate) line: usize,
    /// The path of keys to it.
    pub(crate) path: String,
    /// The keys of the document, and the defaults that the reader filled in (on the line of the table).
    pub(super) entries: BTreeMap<&'static str, Entry>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The line of the key.
    pub(super) line: usize,
    /// Whether the document sets it.
    pub(super) explicit: bool,
    /// The value.
    pub(super) value: Value,
}

impl Table {
    /// Whether the document itself sets the key, with a valid value or not.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.explicit)
    }

    /// The keys that the document itself sets.
    pub(crate) fn set_keys(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().filter(|(_, entry)| entry.explicit).map(|(name, _)| *name)
    }

    /// The line of a key, or of the table if the key is absent.
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

    /// An integer, or a size in bytes.
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

    /// A duration.
    pub(crate) fn length(&self, name: &str) -> Option<Length> {
        self.value(name)?.length()
    }

    /// A string.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.text()
    }

    /// The items of a list; empty if the key is absent.
    pub(crate) fn list(&self, name: &str) -> &[Value] {
        match self.value(name).map(|value| &value.data) {
            Some(Data::List(items)) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; empty if the key is absent.
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
    /// As a string.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// As a duration.
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

    /// As a list of strings.
    pub(crate) fn texts(&self) -> Option<impl Iterator<Item = &str>> {
        match &self.data {
            Data::List(items) => Some(items.iter().filter_map(Self::text)),
            _ => None,
        }
    }
}

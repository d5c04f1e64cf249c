//! Typed values read from a document, with their line numbers.

use super::text::join;
use crate::domain::time::Length;
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

    /// Takes a key and its value from another table.
    pub(crate) fn copy(&mut self, name: &'static str, from: &Self) {
        self.entries.extend(from.entries.get(name).map(|entry| (name, entry.clone())));
    }

    /// Adds entries to a mapping with user-defined keys.
    pub(crate) fn extend(&mut self, name: &'static str, more: &[(String, Value)]) {
        let value = Value { line: self.line, data: Data::Map(Vec::new()) };
        let entry = self.entries.entry(name).or_insert(Entry { line: self.line, explicit: false, value });
        if let Data::Map(entries) = &mut entry.value.data {
            entries.extend_from_slice(more);
        }
    }

    /// The value of a key.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.entries.get(name).map(|entry| &entry.value)
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

    /// As a mapping with declared keys.
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }
}

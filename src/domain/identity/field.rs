//! Owns fields that hold several contacts: what separates them, and how many are read.

use compact_str::CompactString;
use std::{iter, option, vec};

/// The maximum length of a field, in bytes. A longer one is free text, and has no form.
pub const MAX_CONTACT_BYTES: usize = 2048;
/// The maximum number of contacts of one field; further ones are not read.
const MAX_CONTACTS: usize = 16;

/// What separates contacts, strongest first. A slash stands last: it is also written within numbers.
const SEPARATORS: &[&str] = &["\n", "\r", ":::", ";", ",", " / ", "/"];

/// The normal forms of the contacts in one field, in its order and without repetitions. Only a second form allocates.
#[derive(Debug, Default)]
pub(super) struct NormalForms {
    first: Option<CompactString>,
    more: Vec<CompactString>,
}

impl NormalForms {
    /// Adds a form.
    pub(super) fn push(&mut self, form: CompactString) {
        match &self.first {
            None => self.first = Some(form),
            Some(first) => {
                if *first != form && !self.more.contains(&form) && self.more.len() + 1 < MAX_CONTACTS {
                    self.more.push(form);
                }
            }
        }
    }

    /// The forms.
    pub(super) fn iter(&self) -> impl Iterator<Item = &CompactString> {
        self.first.iter().chain(&self.more)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds the forms of the contacts in a text. `single` reads a text with one contact; its second argument states
    /// whether the text is a part of a field.
    pub(super) fn read(&mut self, text: &str, single: &impl Fn(&str, bool) -> Option<CompactString>) {
        let separated = || text.bytes().any(|byte| matches!(byte, b'\n' | b'\r' | b':' | b';' | b',' | b'/'));
        if text.len() <= MAX_CONTACT_BYTES && !(separated() && self.separate(text, SEPARATORS, single)) {
            single(text, false).into_iter().for_each(|form| self.push(form));
        }
    }

    /// Separates a text at the first of these separators at which every part has contacts. Returns false, and adds
    /// nothing, if there is none.
    fn separate(
        &mut self,
        text: &str,
        separators: &[&str],
        single: &impl Fn(&str, bool) -> Option<CompactString>,
    ) -> bool {
        let Some((separator, weaker)) = separators.split_first() else { return false };
        let inner = text.trim().trim_start_matches(separator).trim_end_matches(separator);
        let mut found = Self::default();
        let mut part = |part: &str| {
            // Two commas are a pause before an extension.
            (part.trim().is_empty() && *separator != ",") || found.separate(part, weaker, single) || {
                let form = single(part, true);
                let read = form.is_some();
                form.into_iter().for_each(|form| found.push(form));
                read
            }
        };
        if text.contains(separator) && inner.split(separator).take(MAX_CONTACTS).all(&mut part) {
            found.into_iter().for_each(|form| self.push(form));
            return true;
        }
        self.separate(text, weaker, single)
    }
}

impl IntoIterator for NormalForms {
    type Item = CompactString;
    type IntoIter = iter::Chain<option::IntoIter<CompactString>, vec::IntoIter<CompactString>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

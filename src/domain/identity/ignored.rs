//! Owns the contacts whose calls and messages are ignored: the list `ignored_contacts` of the norms.

use super::country::Country;
use super::email::{domain, emails};
use super::field::NormalForms;
use super::handle::{name, without_at};
use super::phone::phones;
use compact_str::{CompactString, format_compact};
use rustc_hash::FxHashSet;

/// The contacts whose calls and messages are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoredContacts {
    /// Phone numbers and e-mail addresses, in normal form.
    contacts: FxHashSet<CompactString>,
    /// Domains of e-mail addresses, in normal form.
    domains: FxHashSet<CompactString>,
    /// Handles of any channel, in normal form and without `@`.
    handles: FxHashSet<CompactString>,
}

impl IgnoredContacts {
    /// Reads the entries of the list: phone numbers, e-mail addresses, `@domain.tld` for the addresses of this domain
    /// without its subdomains, and `@name`, without a dot, for the handle in every channel.
    ///
    /// # Errors
    ///
    /// Returns the index of the first entry that is none of these.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>, country: Country) -> Result<Self, usize> {
        let mut ignored = Self::default();
        for (ix, entry) in entries.into_iter().enumerate() {
            ignored.add(entry.trim(), country).ok_or(ix)?;
        }
        Ok(ignored)
    }

    /// Adds an entry; `None` if it is unreadable.
    fn add(&mut self, entry: &str, country: Country) -> Option<()> {
        match entry.strip_prefix('@') {
            Some(after) if after.contains('@') => return None,
            Some(after) if after.contains('.') => drop(self.domains.insert(domain(after)?)),
            Some(after) => drop(self.handles.insert(name(after)?)),
            None => {
                let mut forms = NormalForms::default();
                phones(entry, country, &mut forms);
                if forms.is_empty() {
                    emails(entry, &mut forms);
                }
                self.contacts.extend((!forms.is_empty()).then_some(forms)?);
            }
        }
        Some(())
    }

    /// The entries in normal form, in alphabetical order; reading them gives the same contacts.
    pub fn entries(&self) -> Vec<CompactString> {
        let after_at = |name: &CompactString| format_compact!("@{name}");
        // With a plus a number does not depend on the country.
        let spelled = |contact: &CompactString| {
            let international = format_compact!("+{contact}");
            let read = Self::new([international.as_str()], Country::default());
            if read.is_ok_and(|read| read.contains(contact)) { international } else { contact.clone() }
        };
        let mut entries = Vec::from_iter(self.contacts.iter().map(spelled));
        entries.extend(self.domains.iter().chain(&self.handles).map(after_at));
        entries.sort_unstable();
        entries
    }

    /// Whether no contact is ignored.
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.domains.is_empty() && self.handles.is_empty()
    }

    /// Whether the contact with this normal form is ignored.
    pub fn contains(&self, normal_form: &str) -> bool {
        match normal_form.as_bytes().first() {
            // The name of a channel begins in upper case, an address does not.
            Some(first) if first.is_ascii_uppercase() => {
                let name = normal_form.split_once(':').map_or(normal_form, |(_, name)| name);
                self.handles.contains(without_at(name))
            }
            _ => {
                self.contacts.contains(normal_form)
                    || normal_form.rsplit_once('@').is_some_and(|(_, domain)| self.domains.contains(domain))
            }
        }
    }
}

//! Owns the normalization of phone numbers and addresses, so that one customer is recognized under different spellings,
//! and the keys that replace them in alerts. Promises that the normal form of a number or address never changes,
//! because forms are stored in state. Never guesses: text that may not be a number or an address has no form.
//!
//! **Forms.** Phone: digits with country code, without plus; of mobile numbers with two forms the shorter. E-mail
//! address: lower case, with the ASCII form of the domain, without display name. Name in another channel:
//! `CHANNEL:name`, in lower case and without blanks; a messenger's name that is a phone number is that number.

mod country;
mod email;
mod field;
mod handle;
mod ignored;
mod last_number;
mod numbering;
mod phone;

pub use country::Country;
pub use email::email;
pub use field::MAX_CONTACT_BYTES;
pub use ignored::IgnoredContacts;
pub use last_number::LastNumber;
pub use phone::phone;

use crate::domain::event::Contact;
use compact_str::{CompactString, format_compact};
use field::NormalForms;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// The normal forms of the numbers in a field, in its order and without repetitions.
pub fn phones(text: &str, country: Country) -> impl Iterator<Item = CompactString> {
    let mut forms = NormalForms::default();
    phone::phones(text, country, &mut forms);
    forms.into_iter()
}

/// The normal forms by which the contacts of a field are compared, stored and keyed, in its order and without
/// repetitions.
pub fn normal_forms(contact: &Contact, country: Country) -> impl Iterator<Item = CompactString> {
    let mut forms = NormalForms::default();
    match contact {
        Contact::Phone(text) => phone::phones(text, country, &mut forms),
        Contact::Email(text) => email::emails(text, &mut forms),
        Contact::Handle { handle, channel } => {
            handle::handle(handle, *channel, country).into_iter().for_each(|form| forms.push(form));
        }
    }
    forms.into_iter()
}

/// The HMAC-SHA-256 of texts under a key. It keeps the state after the key, which half of the work leads to.
#[derive(Clone)]
pub struct Keyed(Hmac<Sha256>);

impl Keyed {
    /// The function of a key, such as `privacy_key`, in UTF-8.
    pub fn new(key: &str) -> Self {
        Self(Hmac::new_from_slice(key.as_bytes()).expect("HMAC accepts keys of any length"))
    }

    /// The HMAC of a text.
    pub fn digest(&self, text: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The `KEY` of alert subjects: the first 16 hexadecimal digits of the HMAC of a normal form.
    pub fn key(&self, normal_form: &str) -> CompactString {
        let digest = self.digest(normal_form);
        let first = digest.iter().take(8).fold(0_u64, |first, byte| first << 8 | u64::from(*byte));
        format_compact!("{first:016x}")
    }
}

/// The `KEY` of alert subjects for a normal form, under `privacy_key`.
pub fn key(normal_form: &str, privacy_key: &str) -> CompactString {
    Keyed::new(privacy_key).key(normal_form)
}

/// Hides the key.
impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests;

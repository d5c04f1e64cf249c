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
mod numbering;
mod phone;

pub use country::Country;
pub use email::email;
pub use field::MAX_CONTACT_BYTES;
pub use ignored::IgnoredContacts;
pub use phone::phone;

use crate::domain::event::Contact;
use compact_str::{CompactString, format_compact};
use field::NormalForms;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

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

/// The `KEY` of alert subjects: the first 16 hexadecimal digits of the HMAC-SHA-256 of a normal form, keyed with
/// `privacy_key` in UTF-8.
pub fn key(normal_form: &str, privacy_key: &str) -> CompactString {
    let digest = digest(normal_form, privacy_key);
    let first = digest.iter().take(8).fold(0_u64, |first, byte| first << 8 | u64::from(*byte));
    format_compact!("{first:016x}")
}

/// The HMAC-SHA-256 of a text, keyed with `privacy_key` in UTF-8.
pub fn digest(text: &str, privacy_key: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(privacy_key.as_bytes()).expect("HMAC accepts keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;

//! Owns the normal form of handles: names in a channel.

use super::country::Country;
use super::field::MAX_CONTACT_BYTES;
use super::phone::{messenger_number, whatsapp_number};
use crate::domain::event::Channel;
use compact_str::{CompactString, format_compact};

/// The normal form of a handle: `CHANNEL:name`, or the number if a messenger uses a phone number as the name.
pub(super) fn handle(text: &str, channel: Channel, country: Country) -> Option<CompactString> {
    let name = name(text)?;
    let number = match channel {
        Channel::Messenger => whatsapp_number(&name, country).or_else(|| messenger_number(&name, country)),
        Channel::Email | Channel::Chat | Channel::Sms => None,
    };
    Some(number.unwrap_or_else(|| format_compact!("{}:{name}", channel.name())))
}

/// The name of a handle: in lower case, without blanks. `None` if it is empty or too long.
pub(super) fn name(text: &str) -> Option<CompactString> {
    if text.len() > MAX_CONTACT_BYTES {
        return None;
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    let name = match text.bytes().all(plain) {
        true => CompactString::from(text),
        false => text.split_whitespace().collect::<String>().to_lowercase().into(),
    };
    (!name.is_empty()).then_some(name)
}

/// A name without the `@` that precedes it in some messengers.
pub(super) fn without_at(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}

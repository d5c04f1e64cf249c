//! Owns the addresses of people.

use crate::config::schema::key::ValueKind::{Count, Form as Of};
use crate::config::schema::key::{ANY, Form, KeySpec};
use crate::config::schema::typed::one_of;
use crate::config::schema::value::Value;
use crate::domain::rule::message::Language;
use std::collections::BTreeMap;

/// The addresses of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// The id of the user in Bitrix24.
    pub bitrix24: Option<i64>,
    /// The id of the person's chat with the bot in Telegram.
    pub telegram: Option<i64>,
    /// The e-mail address.
    pub mail: Option<String>,
    /// The language of messages.
    pub language: Option<Language>,
}

pub(super) const PERSON: &[KeySpec] = &[
    KeySpec::new("bitrix24", Count(1, i64::MAX), "the id of the user in the portal").described("none"),
    KeySpec::new("telegram", Count(i64::MIN, i64::MAX), "the id of the person's chat with the bot").described("none"),
    KeySpec::new("mail", Of(MAILBOX), "the e-mail address").described("none"),
    KeySpec::new("language", one_of::<Language>(), "the language of messages").described("`notify.language`"),
];

/// An e-mail address.
pub(super) const MAILBOX: Form = Form {
    expected: "an e-mail address such as vera@example.com",
    fits: |text| {
        let parts = text.split_once('@');
        let is_clean =
            text.len() <= 254 && !text.contains(|letter: char| letter.is_whitespace() || letter.is_control());
        is_clean && parts.is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'))
    },
    ..ANY
};

pub(super) fn read(people: &[(String, Value)]) -> BTreeMap<String, Person> {
    let person = |(id, value): &(String, Value)| {
        let table = value.table()?;
        let person = Person {
            bitrix24: table.get("bitrix24"),
            telegram: table.get("telegram"),
            mail: table.get("mail"),
            language: table.get("language"),
        };
        Some((id.clone(), person))
    };
    people.iter().filter_map(person).collect()
}

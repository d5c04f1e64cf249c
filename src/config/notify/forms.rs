//! Owns the forms of values that several parts of the section have: secrets and addresses.

use crate::config::schema::key::{ANY, Form};
use std::fmt;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// An address with a host.
pub(super) const URL: Form = Form {
    expected: "an address such as https://fw.example.com",
    fits: |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| {
            !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', '?', '#', ' ', '"', '<', '>'])
        })
    },
    canonical: |text| text.trim_end_matches('/').to_owned(),
    ..ANY
};

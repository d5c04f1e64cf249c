//! Owns the refusal of a message: its reason, and where it lies in words that hold nothing of the message itself.

use crate::domain::reject::Reason;
use std::fmt;

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The kind of refusal: a header, a metric label.
    pub reason: Reason,
    /// The field and what was wrong with it; never a value from the message, which may be personal data.
    pub detail: String,
}

impl Reject {
    /// A refusal of the message as a whole.
    pub fn new(reason: Reason, detail: &str) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// `bad_value: call_ended.talk_seconds: negative`
impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

impl std::error::Error for Reject {}

/// A refusal on its way up from the field that it lies in, boxed so that the results of readers stay small.
#[derive(Debug)]
pub(super) struct Flaw(Box<FieldPath>);

#[derive(Debug)]
struct FieldPath {
    reason: Reason,
    /// From the outermost field inwards.
    path: String,
    what: &'static str,
}

impl Flaw {
    #[cold]
    pub(super) fn new(reason: Reason, what: &'static str) -> Self {
        Self(Box::new(FieldPath { reason, path: String::new(), what }))
    }

    pub(super) fn malformed(what: &'static str) -> Self {
        Self::new(Reason::Malformed, what)
    }

    pub(super) fn bad_value(what: &'static str) -> Self {
        Self::new(Reason::BadValue, what)
    }

    pub(super) fn missing(field: &str) -> Self {
        Self::new(Reason::MissingField, "missing").within(field)
    }

    pub(super) fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The same refusal, seen from the object that has it in `field`: one of our field names, never one of the
    /// message's.
    #[cold]
    pub(super) fn within(mut self, field: &str) -> Self {
        let inner = std::mem::take(&mut self.0.path);
        self.0.path = if inner.is_empty() { field.into() } else { format!("{field}.{inner}") };
        self
    }
}

impl From<Flaw> for Reject {
    fn from(flaw: Flaw) -> Self {
        let FieldPath { reason, path, what } = *flaw.0;
        let detail = if path.is_empty() { what.into() } else { format!("{path}: {what}") };
        Self { reason, detail }
    }
}

/// What a reader of a part of a message gives.
pub(super) type Read<T> = Result<T, Flaw>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_names_the_way_to_the_field() {
        let flaw = Flaw::missing("kind").within("entity").within("closed");
        let reject = Reject::from(flaw);
        assert_eq!(reject.to_string(), "missing_field: closed.entity.kind: missing");
    }
}

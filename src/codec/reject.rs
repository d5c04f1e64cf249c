//! Owns the rejection of a message: its reason and the path of the offending field, without any content of the message.

use crate::domain::event::reject::Reason;
use std::fmt;

/// Why a message was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The reason code, used as a dead-letter header and a metric label.
    pub reason: Reason,
    /// The field and the problem; never a value from the message, which may be personal data.
    pub detail: String,
}

impl Reject {
    /// A rejection of the message as a whole.
    pub fn new(reason: Reason, detail: &str) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// A progress mark where an event is expected.
    pub(super) fn not_an_event() -> Self {
        Self::new(Reason::NoPayload, "a progress mark is not an event")
    }

    /// A message that is larger than `max_message_bytes`.
    pub fn oversized() -> Self {
        Self::new(Reason::Oversized, "value larger than max_message_bytes")
    }

    /// An event that was rejected when it arrived.
    pub fn on_arrival(reason: Reason) -> Self {
        match reason {
            Reason::OverLimit => Self::new(reason, "a further tenant, manager or department than `limits` allow"),
            Reason::UnknownTenant => Self::new(reason, "tenant_id: not in `tenants`"),
            reason => Self::out_of_time(reason),
        }
    }

    /// An event dated too early or too late.
    pub fn out_of_time(reason: Reason) -> Self {
        Self::new(reason, "occurred_at: outside the accepted time range")
    }
}

/// For example `bad_value: call_ended.talk_seconds: expected a number`.
impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

impl std::error::Error for Reject {}

/// A rejection that is being propagated up from its field. Boxed to keep the results of readers small.
#[derive(Debug)]
pub(super) struct Flaw(Box<FieldPath>);

#[derive(Debug)]
struct FieldPath {
    reason: Reason,
    /// From the outermost field to the innermost.
    path: String,
    problem: &'static str,
}

impl Flaw {
    #[cold]
    pub(super) fn new(reason: Reason, problem: &'static str) -> Self {
        Self(Box::new(FieldPath { reason, path: String::new(), problem }))
    }

    pub(super) fn malformed(problem: &'static str) -> Self {
        Self::new(Reason::Malformed, problem)
    }

    pub(super) fn bad_value(problem: &'static str) -> Self {
        Self::new(Reason::BadValue, problem)
    }

    pub(super) fn missing(field: &str) -> Self {
        Self::new(Reason::MissingField, "missing").within(field)
    }

    pub(super) fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Prepends `field` to the path. It is a name from our schema, never a key taken from the message.
    #[cold]
    pub(super) fn within(mut self, field: &str) -> Self {
        let inner = std::mem::take(&mut self.0.path);
        self.0.path = if inner.is_empty() { field.into() } else { format!("{field}.{inner}") };
        self
    }
}

impl From<Flaw> for Reject {
    fn from(flaw: Flaw) -> Self {
        let FieldPath { reason, path, problem } = *flaw.0;
        let detail = if path.is_empty() { problem.into() } else { format!("{path}: {problem}") };
        Self { reason, detail }
    }
}

/// The result of reading a part of a message.
pub(super) type Read<T> = Result<T, Flaw>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_names_the_path_of_the_field() {
        let flaw = Flaw::missing("kind").within("entity").within("closed");
        let reject = Reject::from(flaw);
        assert_eq!(reject.to_string(), "missing_field: closed.entity.kind: missing");
    }
}

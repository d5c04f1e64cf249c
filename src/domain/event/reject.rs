//! Owns the reasons for which a message is rejected. A rejected message is a value on its own stream, never an error.

/// Why a message is written to the dead-letter topic; the name is the `reason` header and the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Not valid JSON or protobuf, or truncated.
    Malformed,
    /// The Schema Registry framing is invalid or of an unknown variant.
    BadFraming,
    /// The `content-type` header names an unknown encoding.
    UnknownEncoding,
    /// No `tenant_id`.
    NoTenant,
    /// No `occurred_at`.
    NoTime,
    /// No payload, or one unknown to this version.
    NoPayload,
    /// More than one payload.
    SeveralPayloads,
    /// A required field is missing.
    MissingField,
    /// A value of the wrong type or out of range, or an unknown enum name.
    BadValue,
    /// Larger than `max_message_bytes`.
    Oversized,
    /// Further ahead of the wall clock than `max_future_skew`.
    Future,
    /// Older than the watermark by more than `correction_horizon`.
    TooLate,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::BadFraming,
        Self::UnknownEncoding,
        Self::NoTenant,
        Self::NoTime,
        Self::NoPayload,
        Self::SeveralPayloads,
        Self::MissingField,
        Self::BadValue,
        Self::Oversized,
        Self::Future,
        Self::TooLate,
    ];

    /// The name in headers, labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadFraming => "bad_framing",
            Self::UnknownEncoding => "unknown_encoding",
            Self::NoTenant => "no_tenant",
            Self::NoTime => "no_time",
            Self::NoPayload => "no_payload",
            Self::SeveralPayloads => "several_payloads",
            Self::MissingField => "missing_field",
            Self::BadValue => "bad_value",
            Self::Oversized => "oversized",
            Self::Future => "future",
            Self::TooLate => "too_late",
        }
    }
}

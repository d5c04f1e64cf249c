//! Owns the reasons for which a message is rejected. A rejected message is a value on its own stream, never an error.

use crate::domain::named::named_enum;

named_enum! {
    /// Why a message is written to the dead-letter topic; the name is the `reason` header and the metric label.
    pub enum Reason, named "in headers, labels and logs" {
        /// Not valid JSON or protobuf, or truncated.
        Malformed = "malformed",
        /// The Schema Registry framing is invalid or of an unknown variant.
        BadFraming = "bad_framing",
        /// The `content-type` header names an unknown encoding.
        UnknownEncoding = "unknown_encoding",
        /// No `tenant_id`.
        NoTenant = "no_tenant",
        /// No `occurred_at`.
        NoTime = "no_time",
        /// No payload, or one unknown to this version.
        NoPayload = "no_payload",
        /// More than one payload.
        SeveralPayloads = "several_payloads",
        /// A required field is missing.
        MissingField = "missing_field",
        /// A value of the wrong type or out of range, or an unknown enum name.
        BadValue = "bad_value",
        /// In a batch that cannot be read: one rejection stands for the whole batch.
        Unreadable = "unreadable",
        /// Larger than `max_message_bytes`.
        Oversized = "oversized",
        /// More of something than a limit allows: a longer id or list, a further tenant, manager or department.
        OverLimit = "over_limit",
        /// The tenant is not in the list `tenants`.
        UnknownTenant = "unknown_tenant",
        /// Further ahead of the wall clock than `max_future_skew`.
        Future = "future",
        /// Older than the watermark by more than `correction_horizon`.
        TooLate = "too_late",
    }
}

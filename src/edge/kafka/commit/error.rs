//! Owns the errors of commits.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::Duration;

/// How often a transaction is tried that the broker rejects with a permanent error.
pub(super) const PERMANENT_ERROR_TRIES: u32 = 3;
/// How long after a refused epoch its shards may stay assigned.
pub(super) const REVOKE_TIMEOUT: Duration = Duration::from_secs(90);

/// Committing failed permanently.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A call failed, and neither a retry nor an abort can help.
    #[error("{what}: {cause}")]
    Call {
        /// The operation.
        what: &'static str,
        /// librdkafka's error.
        cause: KafkaError,
    },
    /// The broker rejected the same epochs repeatedly.
    #[error("commit epoch {epoch}: rejected {PERMANENT_ERROR_TRIES} times: {code}")]
    Refused {
        /// The first of the epochs.
        epoch: u64,
        /// The broker's error code.
        code: RDKafkaErrorCode,
    },
    /// The coordinator refuses our offsets, but the group does not revoke the shards.
    #[error("commit epoch {epoch}: fenced, but no shards were revoked within {} s", REVOKE_TIMEOUT.as_secs())]
    NotRevoked {
        /// The first of the epochs.
        epoch: u64,
    },
    /// The workers have ended or hang.
    #[error("commit epoch {epoch}: no output from the workers")]
    Workers {
        /// The epoch.
        epoch: u64,
    },
}

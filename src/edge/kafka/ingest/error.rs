//! Owns the errors of reading.

use crate::edge::kafka::restore::RestoreError;
use rdkafka::error::KafkaError;
use std::time::Duration;

/// Reading failed permanently.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A call failed.
    #[error("{what}: {cause}")]
    Call {
        /// The operation.
        what: &'static str,
        /// librdkafka's error.
        cause: KafkaError,
    },
    /// State could not be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Another thread has ended.
    #[error("read: the {0} ended")]
    ThreadEnded(&'static str),
    /// Epochs are not committed in time.
    #[error("{what}: {epochs} epochs still uncommitted after {} s", after.as_secs())]
    Stuck {
        /// The operation that waits for them.
        what: &'static str,
        /// The number of epochs.
        epochs: usize,
        /// How long it waited.
        after: Duration,
    },
    /// Partitions were added to the topics: tenants may map to other shards now.
    #[error("read: partition {shard} is new, expected {before} partitions; tenants may map to other partitions now")]
    PartitionsAdded {
        /// The partition count at the start.
        before: u32,
        /// A partition beyond it.
        shard: u32,
    },
}

impl IngestError {
    /// Turns the error of a call into that of its operation.
    pub(super) fn call(what: &'static str) -> impl Fn(KafkaError) -> Self {
        move |cause| Self::Call { what, cause }
    }
}

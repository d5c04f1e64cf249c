//! Owns the errors of a run.

use super::client::{self, CallError};
use super::lost::LostOffsets;
use super::topics::TopicsError;
use crate::dataflow::state::RebuildError;
use crate::domain::source::ShardId;
use rdkafka::error::RDKafkaErrorCode;
use std::time::Duration;

/// A run failed; nothing is lost when it is started again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A call failed, and neither a retry nor an abort can help.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The topics are missing or wrong.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// Partitions were added to the topics: tenants may map to other shards now.
    #[error("read: partition {shard} is new, expected {before} partitions; tenants may map to other partitions now")]
    PartitionsAdded {
        /// The partition count at the start.
        before: u32,
        /// A partition beyond it.
        shard: ShardId,
    },
    /// Messages of a source topic are gone, and the configuration says to stop; or a topic was created again while it was
    /// read.
    #[error("read {0}; `kafka.lost_log` says whether a run stops or goes on")]
    LostLog(LostOffsets),
    /// State could not be read.
    #[error("restore: {0}")]
    Restore(CallError),
    /// A topic that processes of a group share, or that of its state, could not be read.
    #[error("topic {0}: {1}")]
    Topic(String, CallError),
    /// A shard cannot be rebuilt from its records.
    #[error("restore shard {shard} from {topic}: {cause}; for details run `funnelwatch state verify`")]
    Rebuild {
        /// The shard.
        shard: ShardId,
        /// The state topic.
        topic: String,
        /// The defect.
        cause: RebuildError,
    },
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
    /// The workers have ended or hang: no output for this epoch.
    #[error("commit epoch {0}: no output from the workers")]
    NoOutput(u64),
    /// The broker rejected the epochs from this one on this many times, the last time with this code.
    #[error("commit epoch {0}: rejected {1} times: {2}")]
    Rejected(u64, u32, RDKafkaErrorCode),
    /// A topic of the output may not be written; librdkafka's log names it.
    #[error("commit epoch {0}: the right Write on a topic of the output is missing, see the log")]
    MayNotWrite(u64),
    /// The state of what was read, in this topic, or what follows from it may not be written; librdkafka's log names the topic.
    #[error("write what was read: the right Write on {0} or on a topic of the output is missing, see the log")]
    MayNotWriteState(String),
    /// The coordinator refuses the offsets of this epoch, but the group has not revoked the shards in this time.
    #[error("commit epoch {}: fenced, but no shards were revoked within {} s", .0, .1.as_secs())]
    NotRevoked(u64, Duration),
    /// What follows from what was read was rejected this many times, the last time with this code.
    #[error("write what was read: rejected {0} times: {1}")]
    NotCommitted(u32, RDKafkaErrorCode),
    /// The group does not know this process any more.
    #[error("the group has removed this process")]
    Removed,
    /// A librdkafka call of the commit thread has not returned for this long.
    #[error("commit: a librdkafka call has not returned for {} s", .0.as_secs())]
    Hung(Duration),
    /// The shutdown took longer than this.
    #[error("stop: not finished within {} s", .0.as_secs())]
    StopTimeout(Duration),
    /// Another thread has ended while this one needed it.
    #[error("read: the {0} ended")]
    ThreadEnded(&'static str),
    /// The run has failed, and another process has joined the group under the same `transactional_id`.
    #[error("{0}; another process has the same transactional_id")]
    Namesake(Box<RunError>),
    /// A thread could not be started, or panicked: its name, and the cause.
    #[error("run {0}: {1}")]
    Thread(&'static str, String),
}

impl RunError {
    /// Whether the run may succeed with new clients, without a change from outside: what ends with a connection, a producer
    /// or a membership. Not what an operator must repair, and not a thread that still runs.
    pub(crate) fn heals(&self) -> bool {
        match self {
            Self::Call(error) | Self::Restore(error) | Self::Topic(_, error) => error.heals(),
            Self::NotRevoked(..) | Self::Removed | Self::Topics(TopicsError::Refused { .. }) => true,
            Self::NotCommitted(_, code) => !client::is_final(*code),
            Self::Topics(_)
            | Self::PartitionsAdded { .. }
            | Self::LostLog(_)
            | Self::Rebuild { .. }
            | Self::Stuck { .. }
            | Self::NoOutput(_)
            | Self::Rejected(..)
            | Self::MayNotWrite(_)
            | Self::MayNotWriteState(_)
            | Self::Hung(_)
            | Self::StopTimeout(_)
            | Self::Namesake(_)
            | Self::ThreadEnded(_)
            | Self::Thread(..) => false,
        }
    }
}

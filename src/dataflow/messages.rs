//! Owns the messages between operators, one type per edge of the graph. Raw messages and the output of an epoch, which
//! are visible outside, are in `epoch.rs`.

use super::epoch::{Batch, EpochOutput, MisroutedMessage, RejectedMessage};
use super::live::TenantFigures;
use super::state::RestoredShard;
use crate::domain::event::Event;
use crate::domain::event::progress::Progress;
use crate::domain::event::repair::Repairs;
use crate::domain::id::TenantId;
use crate::domain::norms::Norms;
use crate::domain::shard::processor::{Effects, ShardProgress, ShardTime};
use crate::domain::source::{ShardId, Topic};
use crate::domain::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::{Arc, Mutex};
use timely::dataflow::StreamVec;

/// An edge of the graph; timestamps are epoch numbers.
pub(super) type Edge<'scope, T> = StreamVec<'scope, u64, T>;

/// The part of an epoch that every worker gets.
#[derive(Debug, Default)]
pub struct EpochHeader {
    /// The number of the epoch: timely's timestamp.
    pub epoch: u64,
    /// The wall clock when the epoch was closed.
    pub wall: Timestamp,
    /// The progress of each assigned shard.
    pub progress: Vec<(ShardId, ShardProgress)>,
    /// The progress of all shards that are not listed. Used for files, where a shard appears with its first tenant.
    pub other_shards: Option<ShardProgress>,
    /// Revoked shards, dropped after this epoch.
    pub revoked: Vec<ShardId>,
    /// Norms in force from this epoch on; `None` if unchanged.
    pub norms: Option<Arc<Norms>>,
    /// Restored shards that start with this epoch; each worker takes its own.
    pub restored: Mutex<Vec<RestoredShard>>,
}

impl EpochHeader {
    /// Whether the stream ends with this epoch.
    pub(super) fn is_closing(&self) -> bool {
        let listed = self.progress.iter().map(|(_, progress)| progress);
        listed.chain(&self.other_shards).any(|progress| progress.close.is_some())
    }
}

/// What the messages of one batch are decoded to, for one shard. The four lists share an edge, because they have the
/// same destination: the shard decides which messages an earlier process has handled already.
#[derive(Debug)]
pub(super) struct Decoded {
    /// The shard of the events. It has read the rejected and misrouted messages.
    pub(super) shard: ShardId,
    pub(super) batch: Arc<Batch>,
    /// The events, each with the index of its message in the batch and its repairs.
    pub(super) events: Vec<(u32, Repairs, Event)>,
    /// The progress marks, each with the index of its message and its topic.
    pub(super) marks: Vec<(u32, Topic, Progress)>,
    pub(super) rejected: Vec<RejectedMessage>,
    pub(super) misrouted: Vec<MisroutedMessage>,
}

/// The output of the `shard` operator of one worker for an epoch.
#[derive(Debug, Default)]
pub(super) struct ShardOutput {
    /// The effects on each tenant, with its shard.
    pub(super) effects: Vec<(ShardId, Effects)>,
    /// Norms in force from this epoch on; `None` if unchanged.
    pub(super) norms: Option<Arc<Norms>>,
    /// The time of each shard.
    pub(super) times: Vec<(ShardId, ShardTime)>,
    /// The figures of the tenants of restored shards.
    pub(super) restored: Vec<(TenantId, TenantFigures)>,
    /// Restored shards all of whose rows must be written again.
    pub(super) rows_due: Vec<ShardId>,
    /// The remaining output.
    pub(super) rest: EpochOutput,
}

/// A message between workers. Timely's exchange requires that it can be serialized, for workers in other processes.
/// There are none (processes exchange data only through Kafka), and between threads a message is moved.
#[derive(Debug)]
pub(super) struct ProcessLocal<T>(pub(super) T);

impl<T> Serialize for ProcessLocal<T> {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("messages do not leave their process"))
    }
}

impl<'de, T> Deserialize<'de> for ProcessLocal<T> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("messages do not leave their process"))
    }
}

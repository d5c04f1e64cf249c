//! Owns the only way to change state from outside: one transaction on one shard, under the configured transactional id,
//! while the group is empty.
//!
//! **Invariant: no process continues from stale state.** A process with the shard in memory would. So the group must be
//! empty before anything is changed; this also protects a process with the same transactional id, which the
//! transactional producer would fence. And it must still be empty when our records are in the topic, before they are
//! committed: a process that joined in between may have read the state without them. A process that joins later finds
//! the transaction open, and waits for it.

use super::client::{self, CallError};
use super::commit::record_writer::RecordWriter;
use super::commit::transaction::{self, Failure, Transactions};
use super::control::Stop;
use super::event::Observer;
use super::inspect::{InspectError, Inspector};
use super::patience::Patience;
use crate::codec::state::Records;
use crate::config::Config;
use crate::dataflow::state::StateLoader;
use crate::domain::source::ShardId;
use crate::edge::memory::MemoryBudget;
use rdkafka::error::RDKafkaErrorCode;
use std::sync::Arc;
use std::time::Duration;

/// The transaction timeout: long enough for tombstones for millions of records. If this process dies meanwhile, the
/// next process with the same transactional id aborts the transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(300);

/// State could not be reset; it is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// A call failed, and neither a retry nor an abort can help.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The state could not be read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The group is not empty: a member may have the state in memory.
    #[error(
        "the group has members, which would overwrite the reset with their state in memory: {}; stop them first (a \
         killed process is a member until its session times out)", .0.join(", ")
    )]
    Members(Vec<String>),
    /// The transaction was aborted.
    #[error("transaction aborted ({0}): nothing has changed; try again")]
    Aborted(RDKafkaErrorCode),
}

/// Exclusive write access to a shard: taking over the transactional id fences its previous owner.
pub struct Seized<'a> {
    inspector: &'a Inspector,
    transactions: Transactions,
    writer: RecordWriter,
    shard: ShardId,
    loader: StateLoader,
}

impl<'a> Seized<'a> {
    /// Takes over the transactional id, and reads the shard.
    pub fn new(config: &Config, inspector: &'a Inspector, shard: ShardId) -> Result<Self, ResetError> {
        require_empty_group(inspector)?;
        let record_bytes = client::max_batch_bytes(&config.kafka);
        let producer = client::transactional(&config.kafka, MemoryBudget::detect(), TRANSACTION_TIMEOUT, record_bytes)?;
        transaction::init(&producer, &mut Patience::limited(&Stop::default()))?;
        let transactions = Transactions::new(producer, Arc::new(Observer::new(Arc::default(), Arc::default(), |_| ())));
        let loader = inspector.read(shard)?;
        let writer = RecordWriter::new(config, inspector.shards(), record_bytes);
        Ok(Self { inspector, transactions, writer, shard, loader })
    }

    /// The current state.
    pub fn loader(&self) -> &StateLoader {
        &self.loader
    }

    /// Writes records to the shard atomically.
    pub fn write(mut self, records: &Records) -> Result<(), ResetError> {
        match self.attempt(records) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.transactions.abort()?;
                Err(error)
            }
            Err(Failure::Abort(code)) => {
                self.transactions.abort()?;
                Err(ResetError::Aborted(code))
            }
            Err(Failure::Fatal(error)) => Err(error.into()),
        }
    }

    fn attempt(&mut self, records: &Records) -> Result<Result<(), ResetError>, Failure> {
        self.transactions.open()?;
        let transactions = &mut self.transactions;
        self.writer.state(self.shard, records).try_for_each(|record| transactions.send(record))?;
        self.transactions.drain();
        if let Err(error) = require_empty_group(self.inspector) {
            return Ok(Err(error));
        }
        self.transactions.commit().map(Ok)
    }
}

fn require_empty_group(inspector: &Inspector) -> Result<(), ResetError> {
    match inspector.members()? {
        members if members.is_empty() => Ok(()),
        members => Err(ResetError::Members(members)),
    }
}

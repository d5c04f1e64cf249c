//! Owns the one way to change state from outside: one transaction on one shard, under the name of the configuration, while
//! nobody is in the group.
//!
//! **Invariant: nobody writes on from what he remembers.** A process that has the shard in memory would. So the group must
//! be empty before anything is touched, which also spares a process of the same name: the transactional producer would end
//! it. And it must be empty again when our records lie in the topic, before they are committed. Whoever joined in between
//! may have read state without them; whoever joins later finds the transaction open, and waits for it.

use super::client;
use super::commit::CommitError;
use super::inspect::{InspectError, Inspector};
use super::record_writer::RecordWriter;
use super::transaction::{self, Failure, Heartbeat, Transactions};
use super::{ClientError, Stop};
use crate::codec::state::Records;
use crate::config::Config;
use crate::dataflow::state::StateLoader;
use rdkafka::error::RDKafkaErrorCode;
use std::sync::Arc;
use std::time::Duration;

/// As long as a transaction may be open: a tombstone for each of millions of records. Should we die meanwhile, the next
/// process of our name ends it.
const TRANSACTION: Duration = Duration::from_secs(300);

/// State could not be reset; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// A client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The state could not be looked at.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Somebody has the state in memory.
    #[error(
        "the group has members, and they would write on from what they have in memory: {}; stop them first (one that was \
         killed is a member until its session is over)", .0.join(", ")
    )]
    Members(Vec<String>),
    /// The transaction failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The broker took it back.
    #[error("the transaction was taken back ({0}): nothing is changed, try again")]
    Aborted(RDKafkaErrorCode),
}

/// A shard that nobody else writes to, by the name that we took.
pub struct Seized<'a> {
    inspector: &'a Inspector,
    transactions: Transactions,
    writer: RecordWriter,
    shard: u32,
    loader: StateLoader,
}

impl<'a> Seized<'a> {
    /// Takes the transactional name, and reads the shard.
    pub fn new(config: &Config, inspector: &'a Inspector, shard: u32) -> Result<Self, ResetError> {
        nobody(inspector)?;
        let producer = client::transactional_for(&config.kafka, TRANSACTION)?;
        transaction::begin(&producer, &Stop::default())?;
        let transactions = Transactions::new(producer, Arc::new(Heartbeat::default()), Arc::new(()));
        let loader = inspector.read(shard)?;
        Ok(Self { inspector, transactions, writer: RecordWriter::new(config), shard, loader })
    }

    /// What there is.
    pub fn loader(&self) -> &StateLoader {
        &self.loader
    }

    /// Writes records to the shard, all or none.
    pub fn write(mut self, records: &Records) -> Result<(), ResetError> {
        match self.attempt(records) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => {
                self.transactions.abort()?;
                Err(refused)
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
        self.writer.state(self.shard, records, &mut |record| transactions.send(record))?;
        self.transactions.drain();
        if let Err(refused) = nobody(self.inspector) {
            return Ok(Err(refused));
        }
        self.transactions.commit().map(Ok)
    }
}

fn nobody(inspector: &Inspector) -> Result<(), ResetError> {
    match inspector.members()? {
        members if members.is_empty() => Ok(()),
        members => Err(ResetError::Members(members)),
    }
}

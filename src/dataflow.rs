//! Owns the timely dataflow graph and its workers. Every operator is a thin wrapper around one domain or codec call.
//!
//! ```text
//!              ┌─ each worker ──────────────────────────────────────────────────────────┐
//! EpochSender ►│ headers ────────────────────────────┐                                  │► OutputCollector
//! (epochs)     │ batches ──► decode ─── by shard ────┴─► shard ──► figures ──► output   │  (epochs)
//!              └────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Timely's timestamp is the epoch number; an epoch is a bounded batch of raw messages, and yields one `EpochOutput`.
//! Event time is part of the data. The `shard` operator processes an epoch once its frontier has passed it, so results
//! depend neither on thread scheduling nor on the number of workers. Processes exchange data only through Kafka.

mod decode;
pub mod epoch;
mod figures;
mod graph;
pub mod live;
pub mod messages;
pub mod output;
pub mod settings;
mod shard;
pub mod state;
pub mod workers;

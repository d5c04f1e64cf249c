//! Owns the timely dataflow graph and its workers. Every operator is a thin wrapper around one domain or codec call.
//!
//! ```text
//!              ┌─ each worker ──────────────────────────────────────────────────────────────────────┐
//! EpochSender ►│ input ─────────► decode ── by shard ──► shard ─────────► figures ─────────► output │► OutputCollector
//! (epochs)     │   [WorkerInput]         [EdgeMessage]       [EdgeMessage]       [EdgeMessage]      │  (epochs)
//!              └────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Timely's timestamp is the epoch number; an epoch is a bounded batch of raw messages, and yields one `EpochOutput`.
//! Event time is part of the data. A stateful operator processes an epoch once its frontier has passed it, so results
//! depend neither on thread scheduling nor on the number of workers. Processes exchange data only through Kafka.

pub mod epoch;
mod graph;
pub mod live_state;
pub mod open_alerts;
mod operators;
pub mod state;
pub mod workers;

//! The ring that moves. Owns the timely graph and its workers; every operator is thin round one domain or codec call.
//!
//! ```text
//!            ┌─ each worker ──────────────────────────────────────────────────────────────────────┐
//! Supply ──► │ input ──► decode ──⇄ by shard ──► floor ──► scoreboard ──► capture ──────────────  │ ──► Yield
//! (epochs)   │ [WorkerInput]          [EdgeMessage]            [EdgeMessage]           [EdgeMessage]     one Yield an epoch
//!            └────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Timely time is the number of the epoch, a bounded batch of raw messages. Event time travels as data. An operator that
//! keeps state acts on an epoch when its frontier has passed it, so results depend neither on thread timing nor on the
//! number of workers. Nothing crosses processes here but Kafka.

pub mod epoch;
mod graph;
pub mod live_state;
pub mod open_alerts;
mod operators;
pub mod state;
pub mod workers;

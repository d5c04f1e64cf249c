//! Owns the Kafka edge: reads events, and writes each epoch's output and source offsets in one transaction.
//!
//! ```text
//!  source topics ──► ingest thread ──► workers ──► commit thread ──► alerts, metrics, reviews,
//!  and rerouted      (owns consumer)                (owns producer)  dead letters, state, offsets
//!                      ▲  │  epoch ends (with positions) ▲    │
//!       restore thread │  └──────────────────────────────┘    │ one outcome per epoch:
//!       (new shards) ──┘  ▲                                   │ a permit for another one
//!                         └───────────────────────────────────┘
//! ```
//!
//! **Exactly once.** An epoch's output and the offsets up to which events have been applied are one transaction, which
//! carries the consumer group metadata: a process that lost its shards is fenced.
//! **Bounds.** At most `engine.epochs_in_flight` epochs are read and not committed, plus librdkafka's bounded
//! read-ahead. While the limit is reached the consumer is polled for the group protocol, but nothing is read.
//! **Latency.** From sending an event until a read_committed consumer sees its alert: p50 5 ms, p99 25 to 35 ms, if
//! nothing waits for the watermark (`allowed_lateness: 0s`; broker, processor and reader on two busy cores).
//! **Parts.** `run` starts the parts; each is a thread whose handle contains the other ends of its channels. The
//! supervisor waits for them, with a watchdog and a time limit for stops, and returns the result.
//! **Failures.** An error that neither a retry nor an abort resolves ends the parts. If new clients and restored state can
//! help, `run` starts them again in the same process, otherwise it returns the error.

pub mod acknowledged;
mod client;
mod client_log;
mod commit;
mod control;
pub mod crm_events;
pub mod delivery_log;
mod error;
mod event;
pub mod gateway_cursors;
mod group;
pub mod in_process;
mod ingest;
pub mod inspect;
mod leaders;
mod lost;
pub mod member_log;
mod namesake;
mod native;
mod orphans;
mod part;
mod patience;
pub mod producer;
pub mod reset;
mod restarts;
mod restore;
mod run;
pub mod shared_log;
mod source_logs;
mod source_topics;
mod supervisor;
pub mod tenant_past;
pub mod topics;
mod watch;

pub use client::CallError;
pub use commit::Summary;
pub use control::{NormsHandle, Stop};
pub use error::RunError;
pub use event::{Observer, Reaction, RuntimeEvent};
pub use lost::{LossCause, LostOffsets};
pub use restarts::Restarts;
pub use run::{Mode, run};
pub use topics::TopicsError;

//! The domain core: journeys, rules and windows. It is pure: the same events in the same order produce the same
//! effects. It contains no I/O, wall clock, threads, logging or wire formats.

pub mod alert;
pub mod call;
pub mod change;
pub mod context;
pub mod effect;
pub mod event;
pub mod figures;
pub mod id;
pub mod identity;
pub mod index;
pub mod journey;
pub mod lifecycle;
pub mod mem;
pub(crate) mod named;
pub mod norms;
pub mod pending_replies;
pub mod review;
pub mod rule;
pub mod scoreboard;
pub mod shard;
pub mod source;
pub mod tenant;
pub mod time;

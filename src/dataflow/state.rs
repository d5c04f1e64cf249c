//! Owns the durable state of a shard: the records written for an epoch, and restoring the shard from its records.

pub mod inspect;
mod loader;
pub mod reset;
mod restore;
mod writer;

pub use loader::{RebuildError, StateLoader};
pub use restore::{RestoreContext, RestoredShard};
pub(super) use writer::StateWriter;

#[cfg(test)]
mod tests;

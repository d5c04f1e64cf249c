//! The shard: the partitioner that assigns tenants to shards, and the processor of one shard's events.

pub mod admission;
pub mod held_events;
mod held_offsets;
pub mod output_room;
pub mod partitioner;
pub mod processor;
pub mod refused_offsets;
pub mod spill;
pub mod tenant_clock;
mod tenant_held;

//! The shard: the partitioner that assigns tenants to shards, and the processor of one shard's events.

pub mod admission;
mod held_offsets;
pub mod partitioner;
pub mod processor;
pub mod refused_offsets;

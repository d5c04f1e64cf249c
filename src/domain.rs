//! The domain core: journeys, rules and windows. It is pure: the same events in the same order produce the same
//! effects. It contains no I/O, wall clock, threads, logging or wire formats.

pub mod alert;
pub mod calendar;
pub mod changelog;
pub mod chunked_arena;
pub mod duplicates;
pub mod effect;
pub mod entity_report;
pub mod event;
pub mod evidence;
mod held_offsets;
pub mod histogram;
pub mod id;
pub mod identity;
pub mod indexed_arena;
pub mod journey;
pub mod lazy_box;
pub mod norms;
pub mod partitioner;
pub mod pending_replies;
pub mod people;
pub mod reject;
pub mod review;
pub mod row;
pub mod rule;
pub mod scoreboard;
pub mod shard_processor;
pub mod small_index_vec;
pub mod source;
pub mod tenant;
pub mod tenant_context;
pub mod terms;
pub mod time;
pub mod violation;
pub mod window;

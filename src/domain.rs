//! The ring that decides. Owns what events mean: journeys, rules, windows. Promises to be pure: the same events in the
//! same order give the same effects. Refuses I/O, clocks, threads, logs and wire formats.

pub mod alert;
pub mod calendar;
pub mod changelog;
pub mod chunked_arena;
pub mod duplicates;
pub mod effect;
pub mod entity_report;
pub mod event;
pub mod evidence;
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
pub mod tenant;
pub mod tenant_context;
pub mod terms;
pub mod time;
pub mod violation;
pub mod window;

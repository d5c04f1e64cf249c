//! The ring that decides. Owns what events mean: journeys, rules, windows. Promises to be pure: the same events in the
//! same order give the same effects. Refuses I/O, clocks, threads, logs and wire formats.

pub mod alert;
pub mod calendar;
pub mod desk;
pub mod dossier;
pub mod duplicates;
pub mod effect;
pub mod event;
pub mod evidence;
pub mod few;
pub mod floor;
pub mod histogram;
pub mod id;
pub mod identity;
pub mod journey;
pub mod norms;
pub mod owed;
pub mod people;
pub mod rare;
pub mod register;
pub mod reject;
pub mod review;
pub mod row;
pub mod rule;
pub mod scoreboard;
pub mod shard;
pub mod slab;
pub mod state;
pub mod tenant;
pub mod terms;
pub mod time;
pub mod violation;
pub mod window;

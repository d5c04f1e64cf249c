//! A simulated Bitrix24 portal: its tables, its interface, and a department that works in it.
//!
//! It answers as the documentation of the interface and published recordings of it say: numbers as strings in the older
//! methods, `[]` for empty maps, pages of 50, filters whose dates are shifted, references inside a batch, both budgets.
//! It runs on whatever clock its caller passes, without a network. [`Faults`] make it as unreliable as real portals are.

mod filter;
mod rest;
mod tables;
mod world;

pub use rest::{Answer, Faults, Interface};
pub use tables::{Fact, Hook, Tables};
pub use world::{Pace, World};

//! Tests of the engine from events to alerts and figures, without services: against the oracle, with late events,
//! restarts and irrelevant changes, and a model of the commit protocol.
//!
//! They are one binary, so that shared modules are compiled once.

mod common;
#[path = "common/delay.rs"]
mod delay;
mod oracle;

mod engine {
    mod batch;
    mod compare;
    mod contract;
    mod files;
    mod forget;
    mod held;
    mod late;
    mod limits;
    mod merges;
    mod metamorphic;
    mod portal;
    mod portal_errors;
    mod portal_large;
    mod portal_positions;
    mod protocol;
    mod real_data;
    mod restart;
    mod reviews;
    mod scenarios;
    mod silences;
    mod simulator;
    mod targets;
    mod tenants;
    mod workers;
}

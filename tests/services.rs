//! Owns the proof on a real Kafka: what is promised of the edge holds there. `tests/services/run` starts the services.
//!
//! Every test has topics, a group and a transactional id of its own, so that they run side by side, and twice at once.
#![cfg(feature = "services")]

#[path = "rules/promql.rs"]
mod promql;

mod services {
    mod child;
    mod data;
    mod dead_letters;
    mod demo;
    #[path = "../common/figures.rs"]
    mod figures;
    mod group;
    mod latency;
    mod one_instant;
    mod path;
    mod prometheus;
    mod redis;
    mod reload;
    mod rerouted;
    mod site;
    mod state;
    mod stateful_set;
    mod topics;
}

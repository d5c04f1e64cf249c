//! Tests of the edge against real Kafka, Redis and Prometheus. `tests/services/run` starts the services.
//!
//! Every test has its own topics, group and transactional id, so tests can run in parallel, and the suite twice at
//! once.
#![cfg(feature = "services")]

#[path = "rules/promql.rs"]
mod promql;

mod services {
    mod child;
    mod data;
    mod dead_letters;
    mod deliveries;
    mod demo;
    #[path = "../common/figures.rs"]
    mod figures;
    mod fixture;
    mod gateway;
    mod gateway_inbox;
    mod gateway_portal;
    mod group;
    mod latency;
    mod lost_log;
    mod members;
    mod notify;
    mod one_instant;
    mod open_alerts;
    mod orphans;
    mod path;
    mod prometheus;
    // Nobody presses a button here.
    #[allow(dead_code)]
    #[path = "../common/receivers.rs"]
    mod receivers;
    mod redis;
    mod reload;
    mod rerouted;
    mod rights;
    mod state;
    mod stateful_set;
    mod topics;
    mod transactions;
    mod unreadable;
}

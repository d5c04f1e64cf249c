//! funnelwatch: a real-time stream processor that supervises sales departments.

pub mod app;
pub mod cli;
pub mod codec;
pub mod config;
pub mod dataflow;
pub mod domain;
pub mod edge;
pub mod gateway;
pub mod notify;
pub mod sim;
pub mod telemetry;

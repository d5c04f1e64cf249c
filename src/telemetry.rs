//! Observability of the process: logging, metrics and probes.

pub mod clean;
pub mod exporter;
pub mod gateway_metrics;
pub mod http_metrics;
pub mod live_view_metrics;
pub mod liveness;
mod log_output;
pub mod member_metrics;
pub mod metric;
pub mod notify_metrics;
mod page;
pub(crate) mod process;
pub mod processor_metrics;
mod samples;

use clean::CleanLog;
use log_output::{LogOutput, Output};
use std::io::{self, IsTerminal};
use std::sync::{LazyLock, Mutex};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Initializes logging to stderr. `RUST_LOG` has a level (`debug`) or levels by target (`info,rdkafka=debug`); without it,
/// or if it is invalid, the level is `info`. `FUNNELWATCH_LOG=json` selects JSON lines.
/// The phone library writes the numbers that it reads at level `trace`; its target stays off.
pub fn log_to_stderr() {
    let default = || Targets::new().with_default(LevelFilter::INFO);
    let variable = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let filter = variable
        .and_then(|filter| filter.parse().ok())
        .unwrap_or_else(default)
        .with_target("rlibphonenumber", LevelFilter::OFF);
    static STDERR: LazyLock<Mutex<Output>> = LazyLock::new(Mutex::default);
    let layer = fmt::layer().with_writer(|| CleanLog(LogOutput(&STDERR, io::stderr()))).with_target(false);
    let layer = if std::env::var_os("FUNNELWATCH_LOG").is_some_and(|format| format == "json") {
        layer.json().boxed()
    } else {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
}

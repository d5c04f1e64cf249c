//! Owns what the process says of itself: its log and its metrics.

pub mod exporter;
pub mod live_view_metrics;
pub mod liveness;
pub mod metric;
mod page;
pub mod processor_metrics;
mod samples;

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Logs to stderr: `RUST_LOG` says what (default `info`), `FUNNELWATCH_LOG=json` makes each line a JSON object.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var_os("FUNNELWATCH_LOG").is_some_and(|form| form == "json") {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

//! The thread that reloads the norms during `run`: when one of their files changes, and immediately on SIGHUP. Invalid
//! norms are logged and counted once per version of the file, and leave the norms in force unchanged.

use super::configuration::{log_notes, warn_missing_holidays};
use crate::config::{ReloadOutcome, Watched};
use crate::edge::clock;
use crate::edge::kafka::{NormsHandle, Stop};
use crate::telemetry::processor_metrics::ProcessorMetrics;
use anyhow::Context;
use signal_hook::consts::SIGHUP;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

/// How often files are checked. Two checks must agree, so a change is applied within two intervals.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How soon a SIGHUP is handled.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// Makes SIGHUP request a reload instead of terminating the process.
pub(super) fn on_sighup() -> anyhow::Result<Arc<AtomicBool>> {
    let requested = Arc::default();
    signal_hook::flag::register(SIGHUP, Arc::clone(&requested)).context("handle signals")?;
    Ok(requested)
}

pub(super) struct Reload {
    pub(super) watched: Watched,
    /// Set to request an immediate reload.
    pub(super) requested: Arc<AtomicBool>,
    pub(super) norms_handle: NormsHandle,
    pub(super) metrics: Arc<ProcessorMetrics>,
    /// Ends the thread together with the run.
    pub(super) stop: Stop,
}

impl Reload {
    pub(super) fn start(self) -> anyhow::Result<()> {
        Builder::new()
            .name("reload".into())
            .spawn(move || self.run())
            .context("start the thread that reloads norms")?;
        Ok(())
    }

    fn run(mut self) {
        let (mut requested, mut checked_at) = (false, Instant::now());
        while !self.stop.is_set() {
            sleep(SIGNAL_INTERVAL);
            requested |= self.requested.swap(false, Ordering::Relaxed);
            if requested || checked_at.elapsed() >= POLL_INTERVAL {
                checked_at = Instant::now();
                // A request made while files are being written stays pending until they are complete.
                requested = !self.check(requested) && requested;
            }
        }
    }

    /// Checks the files; whether a request was handled.
    fn check(&mut self, requested: bool) -> bool {
        match self.watched.check(requested) {
            ReloadOutcome::Unsettled => return false,
            ReloadOutcome::Same if requested => tracing::info!("norms unchanged; nothing to reload"),
            ReloadOutcome::Same => {}
            ReloadOutcome::Applied(reloaded) => {
                let now = clock::now();
                log_notes(&reloaded.notes);
                warn_missing_holidays(&reloaded.norms, now);
                self.norms_handle.set(reloaded.norms);
                self.metrics.reloaded(true);
                self.metrics.norms_in_force(now);
                tracing::info!("norms reloaded");
                if !reloaded.waiting.is_empty() {
                    tracing::warn!("changes that take effect only after a restart: {}", reloaded.waiting.join(", "));
                }
            }
            ReloadOutcome::Refused(problems) => {
                self.metrics.reloaded(false);
                for problem in &problems.0 {
                    tracing::error!("{problem}");
                }
                tracing::error!("norms not reloaded; the previous norms stay in force");
            }
        }
        true
    }
}

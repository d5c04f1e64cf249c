//! Owns the thread that reads the norms again while `run` goes on: when a file that they came from changes, and at once
//! on SIGHUP. What is broken is told and counted, once for each text of it, and leaves in force what was.

use super::{note, note_unlisted};
use crate::config::{Look, Watched};
use crate::edge::clock;
use crate::edge::kafka::{NormsHandle, Stop};
use crate::telemetry::processor_metrics::ProcessorMetrics;
use anyhow::Context;
use signal_hook::consts::SIGHUP;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

/// How often files are looked at. Two looks must agree, so a change takes force within two of these.
const PACE: Duration = Duration::from_secs(1);
/// How soon a SIGHUP is answered.
const TICK: Duration = Duration::from_millis(100);

/// SIGHUP asks for a reload from here on, and ends the process no more.
pub(super) fn on_hang_up() -> anyhow::Result<Arc<AtomicBool>> {
    let asked = Arc::default();
    signal_hook::flag::register(SIGHUP, Arc::clone(&asked)).context("handle signals")?;
    Ok(asked)
}

/// Reads norms again and hands them to a run.
pub(super) struct Reload {
    pub(super) watched: Watched,
    /// Set by whoever wants a reload at once.
    pub(super) asked: Arc<AtomicBool>,
    pub(super) norms_handle: NormsHandle,
    pub(super) metrics: Arc<ProcessorMetrics>,
    /// Ends it together with the run.
    pub(super) stop: Stop,
}

impl Reload {
    /// Goes on in a thread of its own.
    pub(super) fn start(self) -> anyhow::Result<()> {
        Builder::new()
            .name("reload".into())
            .spawn(move || self.run())
            .context("start the thread that reloads norms")?;
        Ok(())
    }

    fn run(mut self) {
        let (mut asked, mut looked) = (false, Instant::now());
        while !self.stop.is_set() {
            sleep(TICK);
            asked |= self.asked.swap(false, Ordering::Relaxed);
            if asked || looked.elapsed() >= PACE {
                looked = Instant::now();
                // Who asks while files are being written is answered when they are whole.
                asked = !self.look(asked) && asked;
            }
        }
    }

    /// Looks at the files; whether there was an answer.
    fn look(&mut self, asked: bool) -> bool {
        match self.watched.look(asked) {
            Look::Unsettled => return false,
            Look::Same if asked => tracing::info!("the norms in force are those of the files: nothing to reload"),
            Look::Same => {}
            Look::Applied(renewed) => {
                let now = clock::now();
                note(&renewed.notes);
                note_unlisted(&renewed.norms, now);
                self.norms_handle.renew(renewed.norms);
                self.metrics.reloaded(true);
                self.metrics.norms_in_force(now);
                tracing::info!("norms reloaded");
                if !renewed.waiting.is_empty() {
                    tracing::warn!("changed, and not applied before a restart: {}", renewed.waiting.join(", "));
                }
            }
            Look::Refused(problems) => {
                self.metrics.reloaded(false);
                for problem in &problems.0 {
                    tracing::error!("{problem}");
                }
                tracing::error!("norms not reloaded: those from before stay in force");
            }
        }
        true
    }
}

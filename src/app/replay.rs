//! `replay`: evaluates files of events against norms.

use super::configuration::{load, log_notes, warn_missing_holidays};
use super::output::{is_stdout, progress_bar, write_lines};
use crate::cli;
use crate::codec::json;
use crate::config::{self, Config};
use crate::domain::norms::Norms;
use crate::domain::rule::message::{self, Language};
use crate::domain::shard::processor::Timing;
use crate::domain::tenant::Memory;
use crate::edge::files::{EventFiles, ReadError};
use crate::edge::replay::{self, Outcome};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) fn replay(args: &cli::Replay) -> anyhow::Result<()> {
    let document = config::load_norms(&args.norms)?;
    log_notes(&document.notes);
    let config = load(args.config.as_deref())?;
    let options = options(args, document.norms, &config);
    let language = document.language;
    let progress = Progress::over(&args.events);
    let started = Instant::now();
    let files = open(args, &progress, &options)?;
    let outcome = replay::replay(files, &options, |file, line, refusal| {
        tracing::debug!("{} line {line}: {}", args.events[file].display(), refusal.reject);
    })?;
    progress.finish();
    outcome.until.into_iter().for_each(|until| warn_missing_holidays(&options.norms, until));
    log_summary(&outcome, started.elapsed());
    let stdout_is_free = !is_stdout(args.metrics.as_deref()) && !is_stdout(args.reviews.as_deref());
    write(args, args.alerts.as_deref().or(stdout_is_free.then_some(Path::new("-"))), &outcome, language)
}

/// Writes the output of a replay to the requested files.
pub(super) fn write(
    args: &cli::Replay,
    alerts: Option<&Path>,
    outcome: &Outcome,
    language: Language,
) -> anyhow::Result<()> {
    if let Some(path) = alerts {
        write_lines(path, &outcome.alerts, |alert, line| {
            json::encode_alert(alert, &message::of(alert, language), line);
        })?;
    }
    if let Some(path) = &args.reviews {
        write_lines(path, &outcome.reviews, json::encode_review)?;
    }
    if let Some(path) = &args.metrics {
        write_lines(path, &outcome.rows, json::encode_row)?;
    }
    Ok(())
}

pub(super) fn options(args: &cli::Replay, norms: Norms, config: &Config) -> replay::Options {
    replay::Options {
        norms: Arc::new(norms),
        timing: Timing {
            until: args.until,
            memory: Memory { retention: args.retention, ..config.timing().memory },
            ..config.timing()
        },
        workers: args.workers.unwrap_or(config.engine.workers).max(1),
        max_message_bytes: config.engine.max_message_bytes,
    }
}

/// Opens the files of a replay, shuffled if requested.
pub(super) fn open(
    args: &cli::Replay,
    progress: &Progress,
    options: &replay::Options,
) -> Result<EventFiles, ReadError> {
    let mut files = EventFiles::open(&args.events, &progress.read)?;
    if let Some(seed) = args.shuffle {
        files.shuffle(seed, options.timing.allowed_lateness)?;
    }
    Ok(files)
}

pub(super) fn log_summary(outcome: &Outcome, took: Duration) {
    let until = outcome.until.map_or_else(|| "-".into(), |until| until.to_string());
    let rate = outcome.messages() as f64 / took.as_secs_f64().max(1e-9);
    tracing::info!(
        "{} events applied up to {until}, {} duplicates, {} late, {} alerts; {:.1} s, {rate:.0} events/s",
        outcome.applied,
        outcome.duplicates,
        outcome.late,
        outcome.alerts.len(),
        took.as_secs_f64(),
    );
    for (reason, n) in &outcome.rejected {
        tracing::warn!("{n} messages rejected: {} (RUST_LOG=debug logs each line)", reason.name());
    }
}

/// A progress bar over the bytes of files, if standard error is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

impl Progress {
    /// Starts the bar. It advances with `read`.
    pub(super) fn over(files: &[PathBuf]) -> Self {
        let sizes = files.iter().map(|path| std::fs::metadata(path).map(|data| data.len()).ok());
        let bar = progress_bar(sizes.sum(), "{bar:30} {percent}% {bytes} {bytes_per_sec} {eta}");
        let (read, done): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let (thread_bar, thread_read, thread_done) = (bar.clone(), Arc::clone(&read), Arc::clone(&done));
        std::thread::spawn(move || {
            while !thread_done.load(Ordering::Relaxed) {
                thread_bar.set_position(thread_read.load(Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { bar, read, done }
    }

    /// Removes the bar.
    pub(super) fn finish(self) {
        self.done.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}

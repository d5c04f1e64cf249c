//! `replay`: evaluates files of events against norms.
//!
//! The wall clock is read once, at the start, to refuse events that are dated in the future.

use super::configuration::{load, log_notes, warn_missing_holidays};
use super::output::{is_stdout, progress_bar, write_lines};
use crate::cli;
use crate::codec::json;
use crate::config::{self, Config};
use crate::domain::norms::Norms;
use crate::domain::rule::message::{self, Language};
use crate::domain::shard::processor::Timing;
use crate::domain::tenant::Memory;
use crate::domain::time::{Span, Timestamp};
use crate::edge::clock;
use crate::edge::files::{EventFiles, ReadError};
use crate::edge::replay::{self, Delivery, Outcome, Refusal, Refusals};
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
    let files = progress.open(&args.events)?;
    let mut outcome = replay::replay(files, &options, |file, line, refusal| {
        tracing::debug!("{} line {line}: {}", args.events[file].display(), refusal.reject);
    })?;
    progress.finish();
    if args.sort_by_at {
        outcome.sort_alerts_by_time();
    }
    outcome.until.into_iter().for_each(|until| warn_missing_holidays(&options.norms, until));
    log_summary(&args.events, &outcome, started.elapsed());
    let stdout_is_free = !is_stdout(args.metrics.as_deref()) && !is_stdout(args.reviews.as_deref());
    write(args, args.alerts.as_deref().or(stdout_is_free.then_some(Path::new("-"))), &outcome, language)?;
    ensure_readable(&outcome)
}

/// Fails if nothing could be read.
pub(super) fn ensure_readable(outcome: &Outcome) -> anyhow::Result<()> {
    anyhow::ensure!(!outcome.is_unreadable(), "none of the {} messages could be read", outcome.refusals.total());
    Ok(())
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
    let delivery = match args.shuffle {
        Some(seed) => Delivery::Shuffled(seed),
        None if args.as_delivered => Delivery::AsDelivered,
        None => Delivery::Sorted,
    };
    replay::Options {
        latest: latest(config).filter(|latest| args.until.is_none_or(|until| until <= *latest)),
        epoch_messages: replay::EPOCH_MESSAGES,
        delivery,
        norms: Arc::new(norms),
        timing: Timing { until: args.until, memory: memory(args.retention, config.timing().memory), ..config.timing() },
        workers: args.workers.unwrap_or(config.engine.workers).max(1),
        max_message_bytes: config.engine.max_message_bytes,
        event_limits: config.limits.event,
        admission_limits: config.limits.admission.clone(),
    }
}

/// How long state is kept: for ever, unless `retention` is given.
fn memory(retention: Option<Span>, configured: Memory) -> Memory {
    let of_tenant = |retention| configured.tenant_retention.map_or(retention, |of_tenant| of_tenant.max(retention));
    Memory { retention, tenant_retention: retention.map(of_tenant), ..configured }
}

/// The instant after which events are refused, as dated in the future.
pub(super) fn latest(config: &Config) -> Option<Timestamp> {
    config.timing().max_future_skew.map(|skew| clock::now().saturating_add(skew))
}

/// How many reasons of refusal are shown.
const SHOWN_REFUSALS: usize = 5;
/// How many unlisted stages and days are shown.
const SHOWN_UNLISTED: usize = 50;

pub(super) fn log_summary(files: &[PathBuf], outcome: &Outcome, took: Duration) {
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
    for (repair, n) in &outcome.repaired {
        tracing::info!("{n} events repaired: {}", repair.name());
    }
    if outcome.since.is_none() && outcome.refusals.total() == 0 {
        tracing::warn!("the files contain no events");
    }
    log_refusals(files, &outcome.refusals);
    for unlisted in outcome.unlisted.iter().take(SHOWN_UNLISTED) {
        tracing::warn!("{unlisted}");
    }
    if let Some(more) = outcome.unlisted.len().checked_sub(SHOWN_UNLISTED).filter(|more| *more > 0) {
        tracing::warn!("and {more} more such stages and days; `check --events` lists the stages");
    }
}

/// Logs the commonest reasons for which messages were refused.
pub(super) fn log_refusals(files: &[PathBuf], refusals: &Refusals) {
    let commonest = refusals.commonest();
    for Refusal { reject, count, file, line } in commonest.iter().take(SHOWN_REFUSALS) {
        let file = files.get(*file).map(|path| path.display().to_string()).unwrap_or_default();
        tracing::warn!("{count} refused: {reject}; the first at {file}:{line}");
    }
    let rest = commonest.iter().skip(SHOWN_REFUSALS);
    let (reasons, count) = (rest.len(), rest.map(|refusal| refusal.count).sum::<u64>());
    if reasons > 0 {
        tracing::warn!("{count} refused for {reasons} other reasons (RUST_LOG=debug logs each)");
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

    /// Opens files that advance the bar.
    pub(super) fn open(&self, files: &[PathBuf]) -> Result<EventFiles, ReadError> {
        EventFiles::open(files, &self.read)
    }

    /// Removes the bar.
    pub(super) fn finish(self) {
        self.done.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}

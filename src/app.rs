//! Implements the commands by wiring the rings together; the only module that depends on all of them.

mod compare;
mod demo;
mod live;
mod reload;
mod state;

use crate::cli::{self, Cli, Command};
use crate::codec::json;
use crate::config::{self, Config, Problem, Problems};
use crate::domain::alert::Alert;
use crate::domain::norms::{Norms, ScopeQuery};
use crate::domain::rule::message;
use crate::domain::rule::message::Language;
use crate::domain::shard::processor::Timing;
use crate::domain::tenant::Memory;
use crate::domain::time::Timestamp;
use crate::edge::files::{EventFiles, ReadError};
use crate::edge::replay::{self, Outcome};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Runs a command. Exit codes: 0 success, 1 runtime failure, 2 invalid usage or configuration.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Demo(args) => demo::demo(&args),
        Command::Run(args) => live::run(&args),
        Command::Replay(args) => replay(&args),
        Command::Simulate(args) => live::simulate(&args),
        Command::Check(args) => check(&args),
        Command::Topics(args) => live::topics(&args),
        Command::State(args) => state::state(&args.command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            if error.is::<Problems>() || error.is::<state::NoSuchShard>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Whether the reader of standard output closed the pipe.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `replay`: evaluates files of events against norms.
fn replay(args: &cli::Replay) -> anyhow::Result<()> {
    if let Some(old) = &args.compare {
        return compare::compare(args, old);
    }
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
    let stdout_is_free = !is_stdout(&args.metrics) && !is_stdout(&args.reviews);
    write(args, args.alerts.as_deref().or(stdout_is_free.then_some(Path::new("-"))), &outcome, language)
}

/// Writes the output of a replay to the requested files.
fn write(args: &cli::Replay, alerts: Option<&Path>, outcome: &Outcome, language: Language) -> anyhow::Result<()> {
    if let Some(path) = alerts {
        write_lines(path, &outcome.alerts, |alert, line| encode_alert(alert, language, line))?;
    }
    if let Some(path) = &args.reviews {
        write_lines(path, &outcome.reviews, json::encode_review)?;
    }
    if let Some(path) = &args.metrics {
        write_lines(path, &outcome.rows, json::encode_row)?;
    }
    Ok(())
}

/// The options of a replay.
fn options(args: &cli::Replay, norms: Norms, config: &Config) -> replay::Options {
    replay::Options {
        norms: Arc::new(norms),
        timing: Timing {
            until: args.until,
            memory: Memory { retention: args.retention, ..config.timing().memory },
            ..config.timing()
        },
        workers: workers(args.workers, config),
        max_message_bytes: config.engine.max_message_bytes,
    }
}

/// Opens the files of a replay, shuffled if requested.
fn open(args: &cli::Replay, progress: &Progress, options: &replay::Options) -> Result<EventFiles, ReadError> {
    let mut files = EventFiles::open(&args.events, &progress.read)?;
    if let Some(seed) = args.shuffle {
        files.shuffle(seed, options.timing.allowed_lateness)?;
    }
    Ok(files)
}

fn is_stdout(path: &Option<PathBuf>) -> bool {
    path.as_deref() == Some(Path::new("-"))
}

fn encode_alert(alert: &Alert, language: Language, line: &mut Vec<u8>) {
    json::encode_alert(alert, &message::of(alert, language), line);
}

fn log_summary(outcome: &Outcome, took: Duration) {
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

fn write_lines<T>(path: &Path, items: &[T], encode: impl Fn(&T, &mut Vec<u8>)) -> anyhow::Result<()> {
    let out: Box<dyn Write> = if path == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(path).with_context(|| format!("create {}", path.display()))?)
    };
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let mut line = Vec::new();
    for item in items {
        line.clear();
        encode(item, &mut line);
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(out.flush()?)
}

/// `check`: reports all problems of a configuration, or shows the norms that apply.
fn check(args: &cli::Check) -> anyhow::Result<()> {
    let norms = match (&args.norms, &args.config) {
        (Some(path), _) => {
            let document = config::load_norms(path)?;
            log_notes(&document.notes);
            document.norms
        }
        (None, path) => load(path.as_deref())?.norms,
    };
    let query = ScopeQuery {
        tenant: args.tenant.as_deref().unwrap_or_default(),
        department: args.department.as_deref().unwrap_or(crate::domain::id::UNKNOWN),
        pipeline: args.pipeline.as_deref(),
        source: args.source.as_deref(),
    };
    io::stdout().lock().write_all(config::describe(&norms, query).as_bytes())?;
    Ok(())
}

/// Loads a configuration file, or the defaults.
fn load(path: Option<&Path>) -> Result<Config, Problems> {
    let config = match path {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    log_notes(&config.notes);
    Ok(config)
}

fn log_notes(notes: &[Problem]) {
    for note in notes {
        tracing::warn!("{note}");
    }
}

/// Warns of calendars without holidays for the year of `at`, all of whose days count as ordinary.
fn warn_missing_holidays(norms: &Norms, at: Timestamp) {
    for calendar in norms.calendars.values().filter(|calendar| !calendar.lists(at)) {
        tracing::warn!("calendar {}: no holidays listed for the year of {at}", calendar.name());
    }
}

fn workers(requested: Option<usize>, config: &Config) -> usize {
    requested.unwrap_or(config.engine.workers).max(1)
}

/// A progress bar over the bytes of files, if standard error is a terminal.
struct Progress {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    done: Arc<std::sync::atomic::AtomicBool>,
}

impl Progress {
    fn over(files: &[PathBuf]) -> Self {
        let sizes = files.iter().map(|path| std::fs::metadata(path).map(|data| data.len()).ok());
        let bar = match sizes.sum::<Option<u64>>() {
            Some(bytes) => ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(5)),
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5)),
        };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}% {bytes} {bytes_per_sec} {eta}") {
            bar.set_style(style);
        }
        let (read, done) = (Arc::new(AtomicU64::new(0)), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let (thread_bar, thread_read, thread_done) = (bar.clone(), Arc::clone(&read), Arc::clone(&done));
        std::thread::spawn(move || {
            while !thread_done.load(Ordering::Relaxed) {
                thread_bar.set_position(thread_read.load(Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { bar, read, done }
    }

    fn finish(self) {
        self.done.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}

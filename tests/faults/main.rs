//! The fault suite: three processes, a load with known expected output, faults at random moments, and a check that no
//! output is missing or duplicated. `tests/faults/run` starts the broker and documents the options.

mod environment;
mod faults;
mod file_log;
mod load;
mod monitor;
mod processes;
mod proxy;
mod random;
mod report;
mod verify;

use anyhow::{Context, bail};
use clap::Parser;
use environment::{Environment, PROCESSES, SHARDS, SOURCES};
use faults::{Fault, Injector};
use funnelwatch::domain::time::{Span, Timestamp};
use load::{LoadConfig, LoadSummary, Progress, Undelivered};
use monitor::Monitor;
use processes::Processes;
use proxy::Proxy;
use report::{INCONCLUSIVE, Report};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Kill processes, cut connections and stop the broker under load, and count missing and duplicated output
#[derive(Debug, Parser)]
struct Arguments {
    /// Number of processes to kill; other faults are in proportion
    #[arg(long, default_value_t = 30)]
    kills: u32,
    /// Seed of the load and of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary under test
    #[arg(long)]
    binary: PathBuf,
    /// Mean time between two faults, in seconds
    #[arg(long, default_value_t = 1.6)]
    gap: f64,
    /// Inject only these kinds of faults, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = Fault::named)]
    only: Vec<Fault>,
    /// Seconds of event time per second
    #[arg(long, default_value_t = 400.0)]
    speed: f64,
    /// `allowed_lateness`, in hours of event time
    #[arg(long, default_value_t = 2)]
    lateness: u32,
    /// Number of simulated tenants
    #[arg(long, default_value_t = 12)]
    tenants: u32,
    /// Number of managers per tenant
    #[arg(long, default_value_t = 6)]
    managers: u32,
    /// Minimum duration of the load, in seconds
    #[arg(long, default_value_t = 40.0)]
    least: f64,
    /// Break a guarantee on purpose and expect the suite to detect it (FUNNELWATCH_INJECT_FAULT of the processes)
    #[arg(long)]
    inject_fault: Option<String>,
    /// Keep the folder of the run, also on success
    #[arg(long)]
    keep: bool,
}

/// Timeout of waits for the group.
const PATIENCE: Duration = Duration::from_secs(90);
/// The longest time without a commit while uncommitted events exist.
const STANDSTILL: Duration = Duration::from_secs(60);

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether SIGINT or SIGTERM was received.
pub(crate) fn stop_requested() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// Prints a line to standard error.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stop = Arc::clone(STOP.get_or_init(Arc::default));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            print(&format!("handle signals: {error}"));
        }
    }
    let env = match Environment::new(arguments.binary.clone(), arguments.lateness) {
        Ok(env) => Arc::new(env),
        Err(error) => {
            print(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let (processes, supervisor) = Processes::supervise(&env, arguments.inject_fault.clone());
    let code = match run(&arguments, &env, &processes) {
        Ok(report) => {
            let _ = writeln!(std::io::stdout(), "{}", report.line());
            report.code(arguments.inject_fault.is_some())
        }
        Err(error) => {
            print(&format!("{error:#}"));
            if error.is::<Undelivered>() { INCONCLUSIVE } else { 1 }
        }
    };
    processes.end();
    let _ = supervisor.join();
    if code == 0 && !arguments.keep {
        let _ = std::fs::remove_dir_all(&env.dir);
    } else {
        // The folder of the broker is deleted at the end.
        if let Ok(services) = std::env::var("FUNNELWATCH_SERVICES_DIR") {
            let _ = std::fs::copy(format!("{services}/kafka/log"), env.path("kafka.log"));
        }
        print(&format!("kept {}", env.dir.display()));
    }
    ExitCode::from(code)
}

fn run(arguments: &Arguments, env: &Arc<Environment>, processes: &Arc<Processes>) -> anyhow::Result<Report> {
    let started = Instant::now();
    let config = env.config(0).display().to_string();
    // The proxies must listen before the first client connects through them.
    let ports = env.ports.iter().take(PROCESSES);
    let proxies = ports.map(|[broker, listens, _]| Proxy::start(*listens, *broker)).collect::<Result<Vec<_>, _>>();
    let proxies = proxies.context("start a proxy")?;
    env.call("topics.log", &["topics", "--create", "--partitions", &SHARDS.to_string(), "--config", &config])?;
    let progress = Arc::new(Progress::default());
    let (monitor, monitor_threads) = monitor::start(env, &progress)?;
    start_all(processes, &monitor)?;
    let Arguments { seed, tenants, managers, speed, .. } = *arguments;
    let load = load::start(env, LoadConfig { seed, tenants, managers, speed }, &progress);
    let load_started = Instant::now();
    let plan = (seed, arguments.kills, arguments.gap);
    let mut injector = Injector::new(plan, &arguments.only, processes, (&monitor, &progress), proxies);
    let mut last_report = Instant::now();
    let mut report_progress = |injector: &Injector| {
        if last_report.elapsed() > Duration::from_secs(30) {
            last_report = Instant::now();
            print(&report::partial(load_started.elapsed(), injector, processes, &progress, &monitor));
        }
    };
    // Until event time has advanced by the allowed lateness there is no output, and no state that faults could lose.
    let warmup = f64::from(arguments.lateness) * 3600.0 / speed + 10.0;
    pause(warmup, &mut || report_progress(&injector))?;
    let succeeded = injector.run(&mut report_progress);
    injector.restore();
    while load_started.elapsed().as_secs_f64() < arguments.least + warmup
        && succeeded
        && !progress.stopped.load(Ordering::Relaxed)
    {
        pause(0.1, &mut || report_progress(&injector))?;
    }
    progress.stop.store(true, Ordering::Relaxed);
    let summary = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    if !succeeded {
        bail!("not all faults were injected");
    }
    print(&format!(
        "{} events in {:.0} s; waiting until all are committed",
        summary.events,
        load_started.elapsed().as_secs_f64()
    ));
    let expects_loss = arguments.inject_fault.is_some();
    let end = finish(env, processes, &progress, &monitor, &summary, expects_loss).inspect_err(|_| {
        print(&report::partial(load_started.elapsed(), &injector, processes, &progress, &monitor));
        print(&report::committed(&monitor));
    })?;
    monitor.stop.store(true, Ordering::Relaxed);
    monitor_threads.into_iter().for_each(|thread| drop(thread.join()));
    replay(env, &end)?;
    let differences = verify::verify(env, &end)?;
    let report = Report::new(&injector, processes, &progress, &monitor, &summary, differences);
    report.print(started.elapsed());
    Ok(report)
}

/// Sleeps; calls `report` repeatedly. Fails if a stop is requested meanwhile.
fn pause(seconds: f64, report: &mut dyn FnMut()) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        if stop_requested() {
            bail!("stop requested");
        }
        report();
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until a condition holds; `what` describes it.
fn until(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    while !holds() {
        if Instant::now() > deadline {
            bail!("timed out after {} s waiting: {what}", timeout.as_secs());
        }
        pause(0.05, &mut || {})?;
    }
    Ok(())
}

/// Starts the processes one after another, so that the assignment is stable before the first event.
fn start_all(processes: &Processes, monitor: &Monitor) -> anyhow::Result<()> {
    for process in 0..PROCESSES {
        processes.start(process, Duration::ZERO);
        until("a process has shards", PATIENCE, || {
            monitor.owned().get(process).is_some_and(|shards| !shards.is_empty())
        })?;
    }
    let share = SHARDS as usize / PROCESSES;
    until("the shards are spread evenly", PATIENCE, || monitor.owned().iter().all(|shards| shards.len() == share))
}

/// Waits until all messages are committed, advances event time to the next full hour, and finishes with `run --once` as
/// a back-fill does. Returns that hour.
///
/// The hour is a boundary of all windows: the running processes evaluate and write everything up to it, and `run
/// --once` must arrive at the same result.
fn finish(
    env: &Environment,
    processes: &Processes,
    progress: &Progress,
    monitor: &Monitor,
    summary: &LoadSummary,
    expects_loss: bool,
) -> anyhow::Result<String> {
    until("all processes run", PATIENCE, || processes.running().len() == PROCESSES)?;
    let mut last_move = (Instant::now(), 0);
    if expects_loss {
        // Messages may be lost; the verification detects that.
        pause(20.0, &mut || {})?;
    } else {
        until("all misrouted messages are rerouted", PATIENCE * 2, || progress.misrouted_count() == 0)?;
    }
    pause(2.0, &mut || {})?;
    let hour = Span::HOUR.0;
    let end = Timestamp((summary.last.0 / hour + 1) * hour);
    let ticks = summary.tick(env, end)?;
    let ends = ends(env)?;
    loop {
        // The watermark never passes a tick, so the offset before it is the last one committed.
        let offsets = monitor.offsets();
        let left: Vec<_> = (0..SHARDS)
            .flat_map(|shard| SOURCES.iter().enumerate().map(move |(source, topic)| (shard, source, *topic)))
            .filter_map(|(shard, source, topic)| {
                let ticks = if topic == "crm" { ticks.get(&shard).copied().unwrap_or(0) } else { 0 };
                let expected = ends.get(&(shard, source)).copied().unwrap_or(0) - ticks;
                let found = offsets.get(&shard).and_then(|all| all.get(source)).copied().unwrap_or(-1);
                (found.max(0) < expected).then(|| format!("{topic}/{shard} {found} of {expected}"))
            })
            .collect();
        if left.is_empty() {
            break;
        }
        if last_move.1 != monitor.moves() {
            last_move = (Instant::now(), monitor.moves());
        }
        if last_move.0.elapsed() > STANDSTILL {
            bail!("no commits any more: {}", left.join(", "));
        }
        pause(0.1, &mut || {})?;
    }
    (0..PROCESSES).for_each(|process| processes.terminate(process, None));
    until("all processes have exited", PATIENCE, || processes.all_exited())?;
    // A member that exits without leaving the group keeps its shards until its session times out.
    until("the group is empty", PATIENCE, || monitor.members() == 0)?;
    let (config, end) = (env.config(0).display().to_string(), end.to_string());
    env.call("once.log", &["run", "--once", "--until", &end, "--config", &config])?;
    Ok(end)
}

/// The end offsets of all source partitions.
fn ends(env: &Environment) -> anyhow::Result<std::collections::BTreeMap<(u32, usize), i64>> {
    use rdkafka::consumer::Consumer;
    let reader = env.reader(&[])?;
    let mut ends = std::collections::BTreeMap::new();
    for (source, topic) in SOURCES.iter().enumerate() {
        for shard in 0..SHARDS {
            let (_, end) = reader.fetch_watermarks(&env.topic(topic), shard as i32, environment::REQUEST_TIMEOUT)?;
            ends.insert((shard, source), end);
        }
    }
    Ok(ends)
}

/// Replays the events to determine the expected output.
fn replay(env: &Environment, end: &str) -> anyhow::Result<()> {
    let config = env.config(0).display().to_string();
    let input = ["replay", "--events", "events.ndjson", "--norms", "norms.yaml", "--until", end, "--config", &config];
    let output = ["--alerts", "alerts.expected.ndjson", "--metrics", "metrics.expected.ndjson", "--reviews"];
    env.call("replay.log", &[&input[..], &output, &["reviews.expected.ndjson"]].concat())
}

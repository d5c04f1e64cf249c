//! Owns the fault suite: three processes, a load whose right outcome is known, faults at random moments, and the
//! judgement: nothing missing, nothing twice. `tests/faults/run` starts the broker that it needs, and tells more.

mod dice;
mod faults;
mod judge;
mod load;
mod processes;
mod proxy;
mod quiet;
mod report;
mod site;
mod watch;

use anyhow::{Context, bail};
use clap::Parser;
use faults::{Director, Fault};
use funnelwatch::domain::time::{Span, Timestamp};
use load::{Loaded, Plan, Progress};
use processes::Processes;
use proxy::Proxy;
use report::Report;
use site::{PROCESSES, SHARDS, SOURCES, Site};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use watch::Watch;

/// Kills processes, cuts connections and stops the broker while events run, and counts what is missing or twice.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many processes to kill; other faults come in proportion
    #[arg(long, default_value_t = 30)]
    kills: u32,
    /// The same seed throws the same load and the same faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary under test
    #[arg(long)]
    binary: PathBuf,
    /// Seconds between two faults, on average
    #[arg(long, default_value_t = 1.6)]
    gap: f64,
    /// Only these kinds of faults, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = Fault::named)]
    only: Vec<Fault>,
    /// Seconds of event time in a second
    #[arg(long, default_value_t = 400.0)]
    speed: f64,
    /// `allowed_lateness`, in hours of event time
    #[arg(long, default_value_t = 2)]
    lateness: u32,
    /// Simulated companies
    #[arg(long, default_value_t = 12)]
    tenants: u32,
    /// Managers of each
    #[arg(long, default_value_t = 6)]
    managers: u32,
    /// The load runs at least for so many seconds
    #[arg(long, default_value_t = 40.0)]
    least: f64,
    /// Break a promise on purpose, and expect this suite to notice (FUNNELWATCH_INJECT_FAULT of the processes)
    #[arg(long)]
    inject_fault: Option<String>,
    /// Keep the folder of the run, however it ends
    #[arg(long)]
    keep: bool,
}

/// Longer than all processes take to find each other.
const PATIENCE: Duration = Duration::from_secs(90);
/// So long nothing may be committed while events wait to be.
const STANDSTILL: Duration = Duration::from_secs(60);

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether a signal asked this program to end.
pub(crate) fn asked_to_stop() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// Says something to whoever watches.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stop = Arc::clone(STOP.get_or_init(Arc::default));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            say(&format!("handle signals: {error}"));
        }
    }
    let site = match Site::new(arguments.binary.clone(), arguments.lateness) {
        Ok(site) => Arc::new(site),
        Err(error) => {
            say(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let (processes, keeper) = Processes::supervise(&site, arguments.inject_fault.clone());
    let code = match run(&arguments, &site, &processes) {
        Ok(report) => {
            let _ = writeln!(std::io::stdout(), "{}", report.line());
            report.code(arguments.inject_fault.is_some())
        }
        Err(error) => {
            say(&format!("{error:#}"));
            1
        }
    };
    processes.end();
    let _ = keeper.join();
    if code == 0 && !arguments.keep {
        let _ = std::fs::remove_dir_all(&site.dir);
    } else {
        // It goes with the broker's folder.
        if let Ok(services) = std::env::var("FUNNELWATCH_SERVICES_DIR") {
            let _ = std::fs::copy(format!("{services}/kafka/log"), site.path("kafka.log"));
        }
        say(&format!("kept: {}", site.dir.display()));
    }
    ExitCode::from(code)
}

fn run(arguments: &Arguments, site: &Arc<Site>, processes: &Arc<Processes>) -> anyhow::Result<Report> {
    let started = Instant::now();
    let config = site.config(0).display().to_string();
    // The proxies must stand before anybody asks the broker by way of them.
    let ports = site.ports.iter().take(PROCESSES);
    let proxies = ports.map(|[broker, listens, _]| Proxy::start(*listens, *broker)).collect::<Result<Vec<_>, _>>();
    let proxies = proxies.context("listen as a proxy")?;
    site.call("topics.log", &["topics", "--create", "--partitions", &SHARDS.to_string(), "--config", &config])?;
    let progress = Arc::new(Progress::default());
    let (watch, watchers) = watch::start(site, &progress)?;
    start_all(processes, &watch)?;
    let Arguments { seed, tenants, managers, speed, .. } = *arguments;
    let load = load::start(site, Plan { seed, tenants, managers, speed }, &progress);
    let begun = Instant::now();
    let throw = (seed, arguments.kills, arguments.gap);
    let mut director = Director::new(throw, &arguments.only, processes, (&watch, &progress), proxies);
    let mut told = Instant::now();
    let mut tell = |director: &Director| {
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            say(&report::partial(begun.elapsed(), director, processes, &progress, &watch));
        }
    };
    // Until events are past the allowed lateness nothing comes out, and there is no state that could be lost.
    let lead = f64::from(arguments.lateness) * 3600.0 / speed + 10.0;
    pause(lead, &mut || tell(&director))?;
    let went_well = director.run(&mut tell);
    director.restore();
    while begun.elapsed().as_secs_f64() < arguments.least + lead && went_well && !progress.over.load(Ordering::Relaxed)
    {
        pause(0.1, &mut || tell(&director))?;
    }
    progress.finish.store(true, Ordering::Relaxed);
    let loaded = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    if !went_well {
        bail!("the faults could not be done to their end");
    }
    say(&format!("{} events in {:.0} s; waiting until all are judged", loaded.events, begun.elapsed().as_secs_f64()));
    let broken = arguments.inject_fault.is_some();
    let end = finish(site, processes, &progress, &watch, &loaded, broken).inspect_err(|_| {
        say(&report::partial(begun.elapsed(), &director, processes, &progress, &watch));
        say(&report::committed(&watch));
    })?;
    watch.over.store(true, Ordering::Relaxed);
    watchers.into_iter().for_each(|thread| drop(thread.join()));
    replay(site, &end)?;
    let verdict = judge::judge(site, &end)?;
    let report = Report::new(&director, processes, &progress, &watch, &loaded, verdict);
    report.tell(started.elapsed());
    Ok(report)
}

/// Sleeps for so many seconds; an error if asked to stop meanwhile.
fn pause(seconds: f64, tell: &mut dyn FnMut()) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        if asked_to_stop() {
            bail!("asked to stop");
        }
        tell();
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until something holds.
fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", patience.as_secs());
        }
        pause(0.05, &mut || {})?;
    }
    Ok(())
}

/// One after another, so that the shards are where they stay before the first event.
fn start_all(processes: &Processes, watch: &Watch) -> anyhow::Result<()> {
    for process in 0..PROCESSES {
        processes.start(process, Duration::ZERO);
        until("a process has shards", PATIENCE, || watch.owned().get(process).is_some_and(|own| !own.is_empty()))?;
    }
    let share = SHARDS as usize / PROCESSES;
    until("the shards are shared", PATIENCE, || watch.owned().iter().all(|own| own.len() == share))
}

/// Waits for all that was sent, brings event time to the next full hour, and closes as a back-fill does; that hour.
///
/// The hour is a boundary of all windows. So the running processes judge and write everything up to it, and `run --once`
/// has to find the same again.
fn finish(
    site: &Site,
    processes: &Processes,
    progress: &Progress,
    watch: &Watch,
    loaded: &Loaded,
    broken: bool,
) -> anyhow::Result<String> {
    until("all runs", PATIENCE, || processes.running().len() == PROCESSES)?;
    let mut since = (Instant::now(), 0);
    if broken {
        // Some may be lost: that is for the judge.
        pause(20.0, &mut || {})?;
    } else {
        until("all calls are in their partitions", PATIENCE * 2, || progress.abroad_count() == 0)?;
    }
    pause(2.0, &mut || {})?;
    let hour = Span::HOUR.0;
    let end = Timestamp((loaded.last.0 / hour + 1) * hour);
    let ticks = loaded.tick(site, end)?;
    let ends = ends(site)?;
    loop {
        // A tick waits for the watermark for ever, so the offset before it is the last one.
        let offsets = watch.offsets();
        let left: Vec<_> = (0..SHARDS)
            .flat_map(|shard| SOURCES.iter().enumerate().map(move |(place, topic)| (shard, place, *topic)))
            .filter_map(|(shard, place, topic)| {
                let ticks = if topic == "crm" { ticks.get(&shard).copied().unwrap_or(0) } else { 0 };
                let wanted = ends.get(&(shard, place)).copied().unwrap_or(0) - ticks;
                let found = offsets.get(&shard).and_then(|all| all.get(place)).copied().unwrap_or(-1);
                (found.max(0) < wanted).then(|| format!("{topic}/{shard} {found} of {wanted}"))
            })
            .collect();
        if left.is_empty() {
            break;
        }
        if since.1 != watch.moves() {
            since = (Instant::now(), watch.moves());
        }
        if since.0.elapsed() > STANDSTILL {
            bail!("nothing is committed any more: {}", left.join(", "));
        }
        pause(0.1, &mut || {})?;
    }
    (0..PROCESSES).for_each(|process| processes.terminate(process, None));
    until("all have ended", PATIENCE, || processes.are_all_gone())?;
    // A member that has left in silence keeps its shards until its session ends.
    until("the group is empty", PATIENCE, || watch.members() == 0)?;
    let (config, end) = (site.config(0).display().to_string(), end.to_string());
    site.call("once.log", &["run", "--once", "--until", &end, "--config", &config])?;
    Ok(end)
}

/// The ends of all source partitions.
fn ends(site: &Site) -> anyhow::Result<std::collections::BTreeMap<(u32, usize), i64>> {
    use rdkafka::consumer::Consumer;
    let reader = site.reader(&[])?;
    let mut ends = std::collections::BTreeMap::new();
    for (place, topic) in SOURCES.iter().enumerate() {
        for shard in 0..SHARDS {
            let (_, end) = reader.fetch_watermarks(&site.topic(topic), shard as i32, site::ASK)?;
            ends.insert((shard, place), end);
        }
    }
    Ok(ends)
}

/// What must come of the events.
fn replay(site: &Site, end: &str) -> anyhow::Result<()> {
    let config = site.config(0).display().to_string();
    let words = ["replay", "--events", "events.ndjson", "--norms", "norms.yaml", "--until", end, "--config", &config];
    let out = ["--alerts", "alerts.wanted.ndjson", "--metrics", "metrics.wanted.ndjson", "--reviews"];
    site.call("replay.log", &[&words[..], &out, &["reviews.wanted.ndjson"]].concat())
}

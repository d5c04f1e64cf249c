//! Owns the output of the suite: progress lines, the final report, the summary line and the exit code.

use crate::environment::SOURCES;
use crate::faults::Injector;
use crate::load::{LoadSummary, Progress};
use crate::monitor::{Cause, Monitor, Recovery};
use crate::processes::{Exit, Processes};
use crate::verify::{Differences, Lines};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The maximum number of exits shown; the others are in the logs.
const SHOWN: usize = 8;
/// The exit code of a run without a verdict.
pub(crate) const INCONCLUSIVE: u8 = 3;

/// The results of a run.
pub(crate) struct Report {
    kills: u32,
    events: u64,
    late: u64,
    rerouted_again: u64,
    differences: Differences,
    exits: Vec<Exit>,
    lines: Vec<String>,
}

/// A progress line.
pub(crate) fn partial(
    elapsed: Duration,
    injector: &Injector,
    processes: &Processes,
    progress: &Progress,
    monitor: &Monitor,
) -> String {
    let recoveries = monitor.recoveries();
    let open = recoveries.iter().filter(|recovery| recovery.took.is_none()).count();
    format!(
        "{:.0} s: kills {} events {} alerts {} rerouted {} misrouted {} recovering {open} late {} starts {} unexpected \
         exits {} event time paused {:.0} s",
        elapsed.as_secs_f64(),
        injector.kills,
        progress.sent.load(Ordering::Relaxed),
        monitor.alerts.load(Ordering::Relaxed),
        monitor.rerouted.load(Ordering::Relaxed),
        progress.misrouted_count(),
        monitor.late(),
        processes.starts(),
        processes.exits().len(),
        paused_seconds(progress).iter().sum::<f64>(),
    )
}

/// The committed offsets by shard, to find one that makes no progress.
pub(crate) fn committed(monitor: &Monitor) -> String {
    let owned = monitor.owned();
    let line = |(shard, offsets): (&u32, &Vec<i64>)| {
        let owners: Vec<_> = (0..owned.len()).filter(|process| owned[*process].contains(shard)).collect();
        format!("\n  shard {shard}: {offsets:?} of {SOURCES:?}, last owner {owners:?}")
    };
    format!("committed: {}", monitor.offsets().iter().map(line).collect::<String>())
}

fn paused_seconds(progress: &Progress) -> [f64; 2] {
    [0, 1].map(|reason| progress.paused_ms[reason].load(Ordering::Relaxed) as f64 / 1000.0)
}

impl Report {
    pub(crate) fn new(
        injector: &Injector,
        processes: &Processes,
        progress: &Progress,
        monitor: &Monitor,
        load: &LoadSummary,
        differences: Differences,
    ) -> Self {
        let mut lines = Vec::new();
        let injected: Vec<_> = injector.injected.iter().map(|(fault, n)| format!("{} {n}", fault.name())).collect();
        lines.push(format!("faults: {}", if injected.is_empty() { "none".into() } else { injected.join(", ") }));
        let [misrouted, broker] = paused_seconds(progress);
        lines.push(format!(
            "load: {} events, {} sent twice, {} misrouted; event time paused {misrouted:.1} s for misrouted events, \
             {broker:.1} s for the broker",
            load.events, load.duplicates, load.misrouted
        ));
        let recoveries = monitor.recoveries();
        for (cause, name) in [(Cause::Kill, "kill"), (Cause::Term, "clean stop")] {
            for (disturbed, suffix) in [(false, ""), (true, " during other faults")] {
                lines.extend(recovery(&recoveries, (cause, disturbed), &format!("{name}{suffix}")));
            }
        }
        let bytes = monitor.state_bytes.load(Ordering::Relaxed);
        let records = monitor.state_records.load(Ordering::Relaxed);
        let per_event = |n: u64| n as f64 / load.events.max(1) as f64;
        lines.push(format!("state: {:.0} bytes and {:.2} records per event", per_event(bytes), per_event(records)));
        let rows = &differences.rows;
        lines.push(format!("rows: {} of {} compared, {} different", rows.compared, rows.total, rows.different));
        let open = &differences.open_alerts;
        let (missing, surplus) = (open.missing, open.duplicated);
        lines.push(format!("open alerts: {}, {missing} missing in their topic, {surplus} surplus", open.total));
        let reviews = &differences.reviews;
        lines.push(format!(
            "reviews: {}, {} missing, {} duplicated; dead letters: {}; alerts that are not in the replay: {}",
            reviews.total,
            reviews.missing,
            reviews.duplicated,
            differences.dead_letters.len(),
            differences.alerts.unexpected
        ));
        let rerouted_again = monitor.rerouted_again.load(Ordering::Relaxed);
        lines.push(format!("late events: {}; rerouted more than once: {rerouted_again}", monitor.late()));
        let exits = processes.exits();
        let (explained, others): (Vec<_>, Vec<_>) = exits.iter().partition(|exit| exit.after.is_some());
        lines.push(format!("unexpected exits: {} after faults, {} without a cause", explained.len(), others.len()));
        for Exit { process, status, after, log } in others.into_iter().chain(explained).take(SHOWN) {
            lines.push(format!(
                "exit of process {process}: {status}, {}",
                after.map_or("WITHOUT A CAUSE".into(), |after| { format!("after {after}") })
            ));
            lines.extend(log.lines().map(|line| format!("    {line}")));
        }
        lines.extend(differences.examples());
        Self {
            kills: injector.kills,
            events: load.events,
            late: monitor.late(),
            rerouted_again,
            differences,
            exits,
            lines,
        }
    }

    /// Prints everything except the summary line.
    pub(crate) fn print(&self, took: Duration) {
        self.lines.iter().for_each(|line| crate::print(line));
        crate::print(&format!("took {:.0} s", took.as_secs_f64()));
    }

    pub(crate) fn line(&self) -> String {
        let alerts = &self.differences.alerts;
        format!(
            "kills {} events {} alerts {} missing {} duplicated {}",
            self.kills, self.events, alerts.total, alerts.missing, alerts.duplicated
        )
    }

    pub(crate) fn code(&self, expects_differences: bool) -> u8 {
        let Differences { alerts, open_alerts, reviews, rows, dead_letters } = &self.differences;
        if expects_differences {
            return u8::from(alerts.is_equal());
        }
        // Late events cause corrections, so differences are not errors and the run is inconclusive. But messages that
        // are rerouted more than once also count as late, and they are errors.
        if self.late > self.rerouted_again {
            return INCONCLUSIVE;
        }
        let unexplained = self.exits.iter().any(|exit| exit.after.is_none());
        let equal = [alerts, open_alerts, reviews].into_iter().all(Lines::is_equal);
        let good = equal && rows.different == 0 && rows.compared == rows.total;
        u8::from(!good || !dead_letters.is_empty() || unexplained || alerts.total == 0)
    }
}

fn recovery(all: &[Recovery], (cause, disturbed): (Cause, bool), name: &str) -> Option<String> {
    let matching = || all.iter().filter(move |recovery| (recovery.cause, recovery.disturbed) == (cause, disturbed));
    let mut took: Vec<_> = matching().filter_map(|recovery| recovery.took).collect();
    took.sort();
    let open = matching().count() - took.len();
    let max = took.last()?.as_secs_f64();
    let median = took[(took.len() - 1) / 2].as_secs_f64();
    Some(format!("recovery after a {name}: p50 {median:.1} s, max {max:.1} s, of {}; {open} not completed", took.len()))
}

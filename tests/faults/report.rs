//! Owns what the suite says: a line while it runs, all figures at the end, the last line, and the exit code.

use crate::faults::Director;
use crate::judge::Verdict;
use crate::load::{Loaded, Progress};
use crate::processes::{Exit, Processes};
use crate::site::SOURCES;
use crate::watch::{Cause, Recovery, Watch};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// So many exits are shown; the others are in the logs.
const SHOWN: usize = 8;

/// All that came of a run.
pub(crate) struct Report {
    kills: u32,
    events: u64,
    late: u64,
    rerouted_again: u64,
    verdict: Verdict,
    exits: Vec<Exit>,
    lines: Vec<String>,
}

/// How things stand.
pub(crate) fn partial(
    since: Duration,
    director: &Director,
    processes: &Processes,
    progress: &Progress,
    watch: &Watch,
) -> String {
    let recoveries = watch.recoveries();
    let open = recoveries.iter().filter(|one| one.took.is_none()).count();
    format!(
        "{:.0} s: kills {} events {} alerts {} rerouted {} waiting {} recovering {open} late {}; {} starts, {} exits by \
         themselves; event time stood still {:.0} s",
        since.as_secs_f64(),
        director.kills,
        progress.sent.load(Ordering::Relaxed),
        watch.alerts.load(Ordering::Relaxed),
        watch.rerouted.load(Ordering::Relaxed),
        progress.abroad_count(),
        watch.late(),
        processes.starts(),
        processes.exits().len(),
        stood_still(progress).iter().sum::<f64>(),
    )
}

/// What is committed, shard by shard, for whoever looks for one that stands still.
pub(crate) fn committed(watch: &Watch) -> String {
    let owned = watch.owned();
    let of_shard = |(shard, offsets): (&u32, &Vec<i64>)| {
        let owners: Vec<_> = (0..owned.len()).filter(|process| owned[*process].contains(shard)).collect();
        format!("\n  shard {shard}: {offsets:?} of {SOURCES:?}, last with {owners:?}")
    };
    format!("committed: {}", watch.offsets().iter().map(of_shard).collect::<String>())
}

fn stood_still(progress: &Progress) -> [f64; 2] {
    [0, 1].map(|why| progress.waited[why].load(Ordering::Relaxed) as f64 / 1000.0)
}

impl Report {
    pub(crate) fn new(
        director: &Director,
        processes: &Processes,
        progress: &Progress,
        watch: &Watch,
        loaded: &Loaded,
        verdict: Verdict,
    ) -> Self {
        let mut lines = Vec::new();
        let done: Vec<_> = director.done.iter().map(|(fault, n)| format!("{} {n}", fault.name())).collect();
        lines.push(format!("faults: {}", if done.is_empty() { "none".into() } else { done.join(", ") }));
        let [abroad, broker] = stood_still(progress);
        lines.push(format!(
            "load: {} events, {} sent twice, {} to wrong partitions; event time stood still {abroad:.1} s for these, \
             {broker:.1} s for the broker",
            loaded.events, loaded.twice, loaded.misplaced
        ));
        let recoveries = watch.recoveries();
        for (cause, name) in [(Cause::Kill, "kill"), (Cause::Term, "clean stop")] {
            for (disturbed, what) in [(false, ""), (true, " amid other faults")] {
                lines.extend(recovery(&recoveries, (cause, disturbed), &format!("{name}{what}")));
            }
        }
        let bytes = watch.state_bytes.load(Ordering::Relaxed);
        let records = watch.state_records.load(Ordering::Relaxed);
        let each = |n: u64| n as f64 / loaded.events.max(1) as f64;
        lines.push(format!("state: {:.0} bytes and {:.2} records an event", each(bytes), each(records)));
        let rows = &verdict.rows;
        lines.push(format!("rows: {} of {} compared, {} different", rows.compared, rows.total, rows.different));
        let reviews = &verdict.reviews;
        lines.push(format!(
            "reviews: {}, {} missing, {} duplicated; dead letters: {}; alerts that no replay knows: {}",
            reviews.total,
            reviews.missing,
            reviews.duplicated,
            verdict.dead_letters.len(),
            verdict.alerts.unexpected
        ));
        let rerouted_again = watch.rerouted_again.load(Ordering::Relaxed);
        lines.push(format!("late events seen: {}; rerouted more than once: {rerouted_again}", watch.late()));
        let exits = processes.exits();
        let (explained, others): (Vec<_>, Vec<_>) = exits.iter().partition(|exit| exit.after.is_some());
        lines.push(format!("exits by themselves: {} after faults, {} without cause", explained.len(), others.len()));
        for Exit { process, status, after, log } in others.into_iter().chain(explained).take(SHOWN) {
            lines.push(format!(
                "exit of process {process}: {status}, {}",
                after.map_or("WITHOUT CAUSE".into(), |after| { format!("after {after}") })
            ));
            lines.extend(log.lines().map(|line| format!("    {line}")));
        }
        lines.extend(verdict.examples());
        Self { kills: director.kills, events: loaded.events, late: watch.late(), rerouted_again, verdict, exits, lines }
    }

    /// All but the last line.
    pub(crate) fn tell(&self, took: Duration) {
        self.lines.iter().for_each(|line| crate::say(line));
        crate::say(&format!("took {:.0} s", took.as_secs_f64()));
    }

    pub(crate) fn line(&self) -> String {
        let alerts = &self.verdict.alerts;
        format!(
            "kills {} events {} alerts {} missing {} duplicated {}",
            self.kills, self.events, alerts.total, alerts.missing, alerts.duplicated
        )
    }

    pub(crate) fn code(&self, expected_to_notice: bool) -> u8 {
        let Verdict { alerts, reviews, rows, dead_letters } = &self.verdict;
        if expected_to_notice {
            return u8::from(alerts.agree());
        }
        // Late events are put right by corrections, and say so: what differs then is no fault of what is tested here. But
        // what is rerouted again counts as late too, and is the fault of nobody else.
        if self.late > self.rerouted_again {
            return 3;
        }
        let unexplained = self.exits.iter().any(|exit| exit.after.is_none());
        let good = alerts.agree() && reviews.agree() && rows.different == 0 && rows.compared == rows.total;
        u8::from(!good || !dead_letters.is_empty() || unexplained || alerts.total == 0)
    }
}

fn recovery(all: &[Recovery], (cause, disturbed): (Cause, bool), name: &str) -> Option<String> {
    let these = || all.iter().filter(move |one| (one.cause, one.disturbed) == (cause, disturbed));
    let mut took: Vec<_> = these().filter_map(|one| one.took).collect();
    took.sort();
    let open = these().count() - took.len();
    let last = took.last()?.as_secs_f64();
    let middle = took[(took.len() - 1) / 2].as_secs_f64();
    Some(format!("recovery after a {name}: p50 {middle:.1} s, max {last:.1} s, of {}; {open} not seen", took.len()))
}

//! `replay --compare`: evaluates the same events under two sets of norms and reports the differences. Standard output
//! gets the report, unless it is used for data; then the report's first sentence is logged.

use super::configuration::{load, log_notes, warn_missing_holidays};
use super::output::{is_stdout, write_lines};
use super::replay::{Progress, ensure_readable, log_summary, options, write};
use crate::codec::json;
use crate::edge::replay::report::Report;
use crate::edge::replay::{self, Options, compare};
use crate::{cli, config};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Evaluates the events under the `old` norms and those of `--norms`, side by side, and reports the differences.
pub(super) fn compare(args: &cli::Replay, old: &Path) -> anyhow::Result<()> {
    let config = load(args.config.as_deref())?;
    let (before, after) = (config::load_norms(old)?, config::load_norms(&args.norms)?);
    [&before, &after].iter().for_each(|document| log_notes(&document.notes));
    let mut norms = before.norms;
    // Contacts are identified by a keyed hash: with different keys, no contact would match.
    norms.privacy_key.clone_from(&after.norms.privacy_key);
    let mut options = options(args, after.norms, &config);
    // The two replays share the worker threads of one.
    options.workers = options.workers.div_ceil(2);
    let old_options = Options { norms: Arc::new(norms), ..options.clone() };

    let progress = Progress::over(&args.events);
    let started = Instant::now();
    let files = progress.open(&args.events)?;
    let [old_outcome, mut outcome] = replay::replay_both(files, [&old_options, &options], |file, line, refusal| {
        tracing::debug!("{} line {line}: {}", args.events[file].display(), refusal.reject);
    })?;
    progress.finish();
    outcome.until.into_iter().for_each(|until| warn_missing_holidays(&options.norms, until));
    if args.sort_by_at {
        outcome.sort_alerts_by_time();
    }
    log_summary(&args.events, &outcome, started.elapsed());

    write(args, args.alerts.as_deref(), &outcome, after.language)?;
    ensure_readable(&outcome)?;
    let [old_lives, new_lives] = [old_outcome.alerts, std::mem::take(&mut outcome.alerts)].map(compare::lives);
    let verdicts = compare::compare(old_lives, new_lives, args.since);
    if let Some(path) = &args.compare_out {
        let changes: Vec<_> =
            verdicts.iter().filter_map(|verdict| verdict.change().map(|change| (change, verdict))).collect();
        write_lines(path, &changes, |(change, verdict), line| {
            let [old, new] = [verdict.under_old(), verdict.under_new()].map(|life| life.map(|life| &life.alert));
            json::encode_change(change.name(), old, new, line);
        })?;
    }
    let period = outcome.since.map(|first| args.since.map_or(first, |since| since.max(first)));
    let period = period.zip(outcome.until).filter(|(from, to)| from <= to);
    let names = names(old, &args.norms);
    let report = Report::new(names, period, &options.norms, &outcome.rows, &verdicts);
    if [&args.alerts, &args.reviews, &args.metrics, &args.compare_out]
        .into_iter()
        .any(|path| is_stdout(path.as_deref()))
    {
        tracing::info!("{}", report.conclusion());
        return Ok(());
    }
    Ok(io::stdout().lock().write_all(report.text().as_bytes())?)
}

/// Display names of the norms: their file names, or their paths if the file names are equal.
fn names(old: &Path, new: &Path) -> [String; 2] {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let names = [name(old), name(new)];
    if names[0] == names[1] { [old, new].map(|path| path.display().to_string()) } else { names }
}

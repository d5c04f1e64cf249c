//! `notify`: informs people of alerts, until stopped.

use super::configuration::log_notes;
use super::live::stop_on_signals;
use crate::cli;
use crate::config::notify::Notify;
use crate::config::{Config, Problem, Problems};
use crate::edge::clock;
use crate::edge::kafka::acknowledged::AcknowledgedProducer;
use crate::edge::kafka::{Observer, RuntimeEvent, Stop};
use crate::notify::answers::Desk;
use crate::notify::asked::WAITING;
use crate::notify::channel::telegram::Buttons;
use crate::notify::digest;
use crate::notify::driver::{self, NotifyContext};
use crate::notify::text::Wording;
use crate::telemetry::http_metrics::HttpMetrics;
use crate::telemetry::liveness::{Liveness, Thread};
use crate::telemetry::notify_metrics::NotifyMetrics;
use anyhow::{anyhow, bail};
use crossbeam_channel::bounded;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// `notify`: runs until stopped.
pub(super) fn notify(args: &cli::Notify) -> anyhow::Result<()> {
    match &args.command {
        Some(cli::NotifyCommand::Check(args)) => return check(&args.config),
        Some(cli::NotifyCommand::Digest(args)) => return print_digest(args),
        None => {}
    }
    let Some(path) = &args.config else { bail!("--config is missing") };
    let (config, notify) = load(path)?;
    let stop = stop_on_signals()?;
    run(config, notify, if args.dry_run { Told::Printed } else { Told::Sent }, &stop)
}

/// What becomes of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// They are sent.
    Sent,
    /// They are printed, and nothing is recorded.
    Printed,
    /// They are printed, and recorded as sent.
    PrintedAndRecorded,
}

fn load(path: &Path) -> anyhow::Result<(Config, Notify)> {
    let config = Config::load(path)?;
    let notes: Vec<_> = config.notes.iter().filter(|note| note.path != "norms").cloned().collect();
    log_notes(&notes);
    let Some(notify) = config.notify.clone() else {
        let text = "required key is missing: who is informed of alerts".into();
        let file = path.display().to_string();
        return Err(Problems(vec![Problem { file, line: 0, path: "notify".into(), text }]).into());
    };
    // What cannot be used as it is configured is an error now and not with the first message.
    driver::build_senders(&config, &notify).map_err(|error| anyhow!(error))?;
    Ok((config, notify))
}

/// Informs people until `stop` is set.
pub(super) fn run(mut config: Config, notify: Notify, told: Told, stop: &Stop) -> anyhow::Result<()> {
    let dry_run = told != Told::Sent;
    config.kafka.group.clone_from(&notify.group);
    config.kafka.transactional_id.push_str("-notify");
    if dry_run {
        config.kafka.group.push_str("-dry-run");
        config.kafka.transactional_id.push_str("-dry-run");
    }
    let http = Arc::new(HttpMetrics::new(config.http_server.connections));
    let metrics = Arc::new(NotifyMetrics::new(http, Arc::new(clock::now)));
    let liveness = Arc::new(Liveness::default());
    let producer = AcknowledgedProducer::start(&config)?;
    let (asked_in, asked) = bounded(WAITING);
    let address = Desk::new(&notify, asked_in.clone(), &metrics, &liveness).serve(&config, notify.listen)?;
    tracing::info!("http on {address}: answers at /a/…, /metrics /livez /readyz");
    if let Some(bot) = notify.targets.telegram.as_ref().filter(|_| !dry_run) {
        Buttons::start(bot, notify.language, asked_in).map_err(|error| anyhow!(error))?;
    }
    let beats = Arc::clone(&liveness);
    let alive = move |event: RuntimeEvent<'_>| {
        if let RuntimeEvent::Alive(Thread::Commit | Thread::Ingest) | RuntimeEvent::Waiting(_) = event {
            beats.beat(Thread::Ingest, clock::now());
        }
    };
    let observer = Arc::new(Observer::new(Arc::default(), Arc::clone(&liveness), alive));
    let context = NotifyContext {
        config,
        notify,
        metrics,
        liveness,
        observer,
        stop: stop.clone(),
        asked,
        producer: producer.clone(),
        dry_run,
        records: told != Told::Printed,
    };
    let result = driver::run(&context);
    producer.close();
    Ok(result?)
}

/// `notify check`: reaches each target without sending anything to a person.
fn check(path: &Path) -> anyhow::Result<()> {
    let (config, notify) = load(path)?;
    let mut failed = 0;
    let mut say = |name: &str, result: Result<String, String>| match result {
        Ok(text) => print(&format!("{name}: ok: {text}")),
        Err(text) => {
            failed += 1;
            print(&format!("{name}: {text}"));
        }
    };
    for (name, mut sender) in driver::build_senders(&config, &notify).map_err(|error| anyhow!(error))? {
        say(name, sender.check());
    }
    if let Some(server) = driver::build_alertmanager(&config, &notify).map_err(|error| anyhow!(error))? {
        say("alertmanager", server.check());
    }
    if let Some(result) = driver::check_api(&notify) {
        say("api", result);
    }
    if failed > 0 {
        bail!("{failed} of the targets cannot be used");
    }
    Ok(())
}

/// `notify digest --dry-run`: prints the digest as it would be sent now.
fn print_digest(args: &cli::NotifyDigest) -> anyhow::Result<()> {
    let (config, notify) = load(&args.config)?;
    let Some(settings) = &notify.digest else { bail!("the configuration has no section notify.digest") };
    let now = clock::now();
    let due = digest::Due { day: now.to_string(), is_weekly: args.weekly };
    let Some(jobs) = digest::messages(&notify, settings, &driver::api_of(&notify), &due) else {
        bail!("the API does not answer; see `funnelwatch notify check`");
    };
    let wording = Wording { links: None, cards: config.page.clone() };
    for job in &jobs {
        print(&format!("{}\n", driver::printed(job, &wording, now)));
    }
    if jobs.is_empty() {
        print("nobody would be sent a digest: no recipient is known, or there is nothing to say");
    }
    Ok(())
}

/// Prints a line; a reader that has gone is no error.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

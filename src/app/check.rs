//! `check`: reports all problems of a configuration, or shows the norms that apply; compares norms with events.

use super::configuration::{load, log_notes};
use super::replay::{Progress, latest, log_refusals};
use crate::codec::Reject;
use crate::config::{Config, EventNames, Unshared};
use crate::domain::event::progress::Incoming;
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repairs;
use crate::domain::id::UNKNOWN;
use crate::domain::norms::ScopeQuery;
use crate::edge::files;
use crate::edge::replay::Refusals;
use crate::{cli, config};
use std::io::{self, Write};

pub(super) fn check(args: &cli::Check) -> anyhow::Result<()> {
    let config = match &args.norms {
        Some(path) => {
            let document = config::load_norms(path)?;
            log_notes(&document.notes);
            Config { norms: document.norms, ..Config::default() }
        }
        None => load(args.config.as_deref())?,
    };
    if !args.events.is_empty() {
        return compare_with_events(args, &config);
    }
    io::stdout().lock().write_all(config::describe(&config.norms, query(args)).as_bytes())?;
    Ok(())
}

fn query(args: &cli::Check) -> ScopeQuery<'_> {
    ScopeQuery {
        tenant: args.tenant.as_deref().unwrap_or_default(),
        department: args.department.as_deref().unwrap_or(UNKNOWN),
        manager: args.manager.as_deref(),
        pipeline: args.pipeline.as_deref(),
        source: args.source.as_deref(),
    }
}

/// Lists the names that norms and events do not share, and why events were refused.
fn compare_with_events(args: &cli::Check, config: &Config) -> anyhow::Result<()> {
    let (names, refusals) = read_names(args, config)?;
    log_refusals(&args.events, &refusals);
    let unshared = Unshared::between(&config.norms, &names);
    io::stdout().lock().write_all(unshared.to_string().as_bytes())?;
    anyhow::ensure!(
        names.events() > 0 || refusals.total() == 0,
        "none of the {} messages could be read",
        refusals.total()
    );
    anyhow::ensure!(!args.strict || unshared.hints() == 0, "norms and events do not share all names");
    Ok(())
}

/// How many messages are read at once.
const BATCH_MESSAGES: usize = 1024;

fn read_names(args: &cli::Check, config: &Config) -> anyhow::Result<(EventNames, Refusals)> {
    let progress = Progress::over(&args.events);
    let latest = latest(config);
    let mut stream = progress.open(&args.events)?.stream()?;
    let (mut names, mut refusals) = (EventNames::default(), Refusals::default());
    while let Some(batch) = stream.batch(BATCH_MESSAGES)? {
        for message in &batch.messages {
            let value = batch.slice(&message.value).unwrap_or_default();
            let incoming = match files::decode(batch.encoding, message.topic, value) {
                _ if value.len() > config.engine.max_message_bytes => Err(Reject::oversized()),
                Ok(incoming) if latest.is_some_and(|latest| incoming.at() > latest) => {
                    Err(Reject::out_of_time(Reason::Future))
                }
                Ok(mut incoming) => {
                    config.limits.event.apply(&mut incoming, &mut Repairs::default()).map(|()| incoming)
                }
                Err(reject) => Err(reject),
            };
            match incoming {
                Ok(Incoming::Event(event)) => names.add(&event),
                Ok(Incoming::Progress(_)) => {}
                Err(reject) => refusals.add(message.offset, &reject),
            }
        }
    }
    progress.finish();
    Ok((names, refusals))
}

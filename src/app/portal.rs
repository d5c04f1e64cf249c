//! Connects sources of Bitrix24 with their configuration: the readers of the gateway, and `gateway check`, `gateway norms`
//! and `gateway backfill`.

use super::configuration::log_notes;
use crate::cli;
use crate::config::Config;
use crate::config::gateway::bitrix24::Bitrix24 as Section;
use crate::config::gateway::{GatewaySource, SourceKind};
use crate::domain::time::Timestamp;
use crate::edge::clock;
use crate::edge::kafka::gateway_cursors;
use crate::edge::kafka::tenant_past::{PastError, TenantPast};
use crate::gateway::bitrix24::{
    BackfillProgress, Bitrix24, Budget, Fields, Http, Inspector, Settings, Transport, Webhook,
};
use crate::gateway::source::{Clock, Cursors, ReadError, Reader, Stop, Watch};
use anyhow::{Context, anyhow, bail};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a wait looks for the signal to stop.
const TICK: Duration = Duration::from_millis(50);

/// The clock of this machine.
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn wait(&self, time: Duration, stop: &Stop) {
        let end = Instant::now() + time;
        while !stop.is_set() && Instant::now() < end {
            std::thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
        }
    }
}

/// The settings of a source.
pub(super) fn settings(source: &GatewaySource, section: &Section) -> anyhow::Result<Settings> {
    let zone = &source.time_zone;
    let backfill_from = section.backfill_from.map(|date| {
        let midnight = zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible();
        midnight.map(|at| Timestamp(at.as_millisecond()))
    });
    let fields = &section.fields;
    let text = |name: &Option<String>| name.as_deref().map(Into::into);
    Ok(Settings {
        name: source.name.as_str().into(),
        tenant: source.tenant.clone(),
        time_zone: zone.clone(),
        webhook: Webhook::parse(&section.url)?,
        ca: section.ca.clone(),
        sweep: section.sweep,
        backfill_from: backfill_from.transpose().context("backfill_from")?,
        budget: Budget {
            requests_per_second: section.budget.requests_per_second,
            burst: f64::from(section.budget.burst),
            operating_seconds: section.budget.operating_seconds,
        },
        lead_pipeline: section.lead_pipeline.as_str().into(),
        deal_pipelines: section
            .deal_pipelines
            .iter()
            .map(|(id, name)| (u64::from(*id), name.as_str().into()))
            .collect(),
        fields: Fields {
            reject_reason: fields.reject_reason.iter().map(|name| name.as_str().into()).collect(),
            installment_months: text(&fields.installment_months),
            prepayment_percent: text(&fields.prepayment_percent),
            approved_by: text(&fields.approved_by),
            filled: fields.filled.iter().map(|(field, name)| (field.as_str().into(), name.as_str().into())).collect(),
        },
        grade: text(&section.grade),
    })
}

/// Builds the reader of a portal.
pub(super) fn open(
    source: &GatewaySource,
    section: &Section,
    cursors: &Cursors,
    watch: Arc<dyn Watch>,
) -> Result<Box<dyn Reader>, ReadError> {
    let refused = |error: anyhow::Error| ReadError::Refused {
        what: format!("source {}: {error:#}", source.name),
        retry_in: Duration::from_secs(300),
    };
    let settings = settings(source, section).map_err(refused)?;
    let transport = transport(&settings).map_err(refused)?;
    let reader = Bitrix24::new(settings, cursors, transport, Arc::new(WallClock), watch);
    Ok(Box::new(reader.map_err(|error| refused(error.into()))?))
}

/// Refuses the back-fill of a source that was never read, if the tenant already has later events: the past would come too late.
pub(super) fn check_past(
    config: &Config,
    source: &GatewaySource,
    section: &Section,
    cursors: &Cursors,
) -> Result<(), ReadError> {
    const AGAIN: Duration = Duration::from_secs(600);
    let refused = |error: anyhow::Error| ReadError::Refused { what: format!("{error:#}"), retry_in: AGAIN };
    match too_late(config, source, section, cursors).map_err(refused)? {
        None => Ok(()),
        Some(Ok(why)) => Err(ReadError::Refused { what: why, retry_in: AGAIN }),
        Some(Err(error)) => Err(ReadError::Unavailable { what: format!("{error}"), retry_in: Duration::from_secs(10) }),
    }
}

/// Why a source cannot be back-filled; `None`: it can be, or need not be.
fn too_late(
    config: &Config,
    source: &GatewaySource,
    section: &Section,
    cursors: &Cursors,
) -> anyhow::Result<Option<Result<String, PastError>>> {
    let Some(from) = settings(source, section)?.backfill_from.filter(|from| *from < clock::now()) else {
        return Ok(None);
    };
    if BackfillProgress::of(cursors)? != BackfillProgress::NotStarted {
        return Ok(None);
    }
    let past = match TenantPast::read(config, &source.tenant, from) {
        Ok(past) => past,
        Err(error) => return Ok(Some(Err(error))),
    };
    let tenant = &source.tenant;
    let why = |latest| {
        format!(
            "the back-fill from {from} is refused, and nothing is read: tenant {tenant} already has events of another \
             source, the latest of {latest}, and what is filled in would come too late. Give the source a new tenant, or \
             remove `backfill_from`, or begin the tenant again: stop the processor and all sources of the tenant, run \
             `funnelwatch state reset --tenant {tenant} --yes`, and start this source first"
        )
    };
    Ok(past.later_than(from).map(|latest| Ok(why(latest))))
}

fn transport(settings: &Settings) -> anyhow::Result<Box<dyn Transport>> {
    Ok(Box::new(Http::new(settings.ca.as_deref())?))
}

/// The subcommands of `gateway`.
pub(super) fn command(command: &cli::GatewayCommand) -> anyhow::Result<()> {
    match command {
        cli::GatewayCommand::Check(args) => check(&args.config, args.source.as_deref()),
        cli::GatewayCommand::Norms(args) => norms(&args.config, &args.source),
        cli::GatewayCommand::Backfill(args) => backfill(&args.config, args.source.as_deref()),
    }
}

/// The portals of a configuration, or the one with this name.
fn portals(config: &Config, name: Option<&str>) -> anyhow::Result<Vec<(GatewaySource, Section)>> {
    let Some(gateway) = &config.gateway else { bail!("the configuration has no section `gateway`") };
    let chosen = gateway.sources.iter().filter(|source| name.is_none_or(|name| source.name == name));
    let portals: Vec<_> = chosen
        .filter_map(|source| match &source.kind {
            SourceKind::Bitrix24(section) => Some((source.clone(), (**section).clone())),
            _ => None,
        })
        .collect();
    if portals.is_empty() {
        bail!(
            "the configuration has no source of Bitrix24{}",
            name.map(|name| format!(" named {name}")).unwrap_or_default()
        );
    }
    Ok(portals)
}

fn load(path: &Path) -> anyhow::Result<Config> {
    let config = Config::load(path)?;
    // Norms concern the processor.
    let notes: Vec<_> = config.notes.iter().filter(|note| note.path != "norms").cloned().collect();
    log_notes(&notes);
    Ok(config)
}

fn inspector(source: &GatewaySource, section: &Section) -> anyhow::Result<Inspector> {
    let settings = settings(source, section)?;
    let transport = transport(&settings)?;
    Ok(Inspector::new(settings, transport, Arc::new(WallClock)))
}

fn check(path: &Path, name: Option<&str>) -> anyhow::Result<()> {
    let config = load(path)?;
    let mut out = io::stdout().lock();
    let mut missing = 0;
    for (source, section) in portals(&config, name)? {
        let found = inspector(&source, &section)?.check()?;
        writeln!(out, "{}", source.name)?;
        for (word, sentence) in &found.facts {
            writeln!(out, "  {word:<12} {sentence}")?;
        }
        for sentence in &found.missing {
            writeln!(out, "  MISSING      {sentence}")?;
        }
        missing += found.missing.len();
    }
    if missing > 0 {
        return Err(anyhow!("{missing} things will be missing"));
    }
    Ok(())
}

fn norms(path: &Path, name: &str) -> anyhow::Result<()> {
    let config = load(path)?;
    for (source, section) in portals(&config, Some(name))? {
        let text = inspector(&source, &section)?.norms()?;
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    Ok(())
}

fn backfill(path: &Path, name: Option<&str>) -> anyhow::Result<()> {
    let config = load(path)?;
    let mut out = io::stdout().lock();
    for (source, section) in portals(&config, name)? {
        let records = gateway_cursors::read(&config, &source.name)?;
        let cursors: Cursors = records.into_iter().map(|(leg, bytes)| (leg.into(), bytes)).collect();
        let name = &source.name;
        match BackfillProgress::of(&cursors)? {
            BackfillProgress::NotStarted => match too_late(&config, &source, &section, &cursors)?.transpose()? {
                Some(why) => writeln!(out, "{name}: {why}")?,
                None => writeln!(out, "{name}: not read yet")?,
            },
            BackfillProgress::None => writeln!(out, "{name}: read without a back-fill")?,
            BackfillProgress::Running { from, at, until, share } => {
                writeln!(out, "{name}: back-fill from {from} to {until}, now at {at}: {:.0} %", share * 100.0)?;
            }
            BackfillProgress::Over { from, until } => {
                writeln!(out, "{name}: back-fill from {from} to {until} is complete")?
            }
        }
    }
    Ok(())
}

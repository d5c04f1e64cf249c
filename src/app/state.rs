//! Owns the command `state`: what is kept of shards and tenants, for whoever runs the processor. Promises that no phone,
//! address or name is shown, and that nothing is changed but by `reset --yes`.

use super::load;
use crate::cli::{StateCommand, StateList, StateReset, StateShow, StateVerify};
use crate::config::Config;
use crate::dataflow::state::inspect::Holding;
use crate::dataflow::state::reset::Gone;
use crate::dataflow::state::{RestoreContext, StateLoader};
use crate::domain::event::{Payload, Topic};
use crate::domain::id::{EntityId, EntityKind, TenantId};
use crate::domain::partitioner::shard as shard_of;
use crate::domain::shard_processor::{Source, Timing};
use crate::domain::tenant::Memory;
use crate::domain::time::Timestamp;
use crate::edge::clock;
use crate::edge::kafka::SOURCES;
use crate::edge::kafka::inspect::Inspector;
use crate::edge::kafka::reset::{ResetError, Seized};
use crate::edge::table::{Table, clean};
use anyhow::{Context, bail};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::sync::Arc;

/// A shard that there is not was asked for.
#[derive(Debug, thiserror::Error)]
#[error("there is no shard {shard}: there are {shards}, from 0 on")]
pub(super) struct NoSuchShard {
    shard: u32,
    shards: u32,
}

/// `state`: one of its commands.
pub(super) fn state(command: &StateCommand) -> anyhow::Result<()> {
    match command {
        StateCommand::List(args) => list(args),
        StateCommand::Show(args) => show(args),
        StateCommand::Verify(args) => verify(args),
        StateCommand::Reset(args) => reset(args),
    }
}

/// The shards that are asked for.
fn wanted(inspector: &Inspector, shard: Option<u32>) -> Result<Range<u32>, NoSuchShard> {
    let shards = inspector.shards();
    match shard {
        None => Ok(0..shards),
        Some(shard) if shard < shards => Ok(shard..shard + 1),
        Some(shard) => Err(NoSuchShard { shard, shards }),
    }
}

/// `state list`: what there is.
fn list(args: &StateList) -> anyhow::Result<()> {
    let inspector = Inspector::new(&load(args.config.as_deref())?)?;
    let home = args.tenant.as_deref().map(|tenant| shard_of(tenant, inspector.shards()));
    let mut out = BufWriter::new(io::stdout().lock());
    let mut shards = Table::new("<shard <watermark <written >records >events >tenants >damaged");
    SOURCES.iter().for_each(|feed| shards.column(&format!(">{}", source(*feed))));
    let mut tenants = Table::new("<tenant <shard >events <first_event >open_windows >damaged <norms_since <norms");
    for shard in wanted(&inspector, args.shard.or(home))? {
        let loader = inspector.read(shard)?;
        let mut holdings = loader.holdings();
        let count = holdings.len();
        holdings.retain(|holding| args.tenant.as_deref().is_none_or(|tenant| holding.tenant.as_str() == tenant));
        if args.json {
            writeln!(out, "{}", shard_json(shard, &loader, count))?;
            for holding in &holdings {
                writeln!(out, "{}", tenant_json(shard, holding))?;
            }
            continue;
        }
        shards.row(shard_row(shard, &loader, count));
        holdings.iter().for_each(|holding| tenant_rows(shard, holding, &mut tenants));
    }
    if !args.json {
        write!(out, "{shards}\n{tenants}")?;
    }
    Ok(out.flush()?)
}

/// The sources as the configuration calls their topics.
fn source(feed: Source) -> &'static str {
    match feed {
        Source::Topic(Topic::Crm) => "crm",
        Source::Topic(Topic::Telephony) => "telephony",
        Source::Topic(Topic::Email) => "email",
        Source::Rerouted => "rerouted",
        Source::Files => "files",
    }
}

fn shard_row(shard: u32, loader: &StateLoader, tenants: usize) -> Vec<String> {
    let state = loader.shard();
    let instant = |at: Option<Timestamp>| at.map_or_else(|| "-".into(), |at| at.to_string());
    let mut row = vec![
        shard.to_string(),
        instant(state.map(|state| state.checkpoint.watermark)),
        instant(state.map(|state| state.written)),
        loader.live().to_string(),
        loader.digest().applied.to_string(),
        tenants.to_string(),
        loader.damaged().to_string(),
    ];
    row.extend(SOURCES.iter().map(|feed| {
        let checkpoint = state.map(|state| &state.checkpoint).filter(|checkpoint| checkpoint.read.contains_key(feed));
        let at =
            |checkpoint: &std::collections::BTreeMap<Source, i64>| checkpoint.get(feed).copied().unwrap_or_default();
        checkpoint.map_or_else(|| "-".into(), |checkpoint| format!("{}/{}", at(&checkpoint.next), at(&checkpoint.read)))
    }));
    row
}

fn shard_json(shard: u32, loader: &StateLoader, tenants: usize) -> serde_json::Value {
    let state = loader.shard();
    let mut sources = serde_json::Map::new();
    for (feed, read) in state.iter().flat_map(|state| &state.checkpoint.read) {
        let next = state.and_then(|state| state.checkpoint.next.get(feed));
        sources.insert(source(*feed).into(), json!({"next": next, "read": read}));
    }
    json!({
        "shard": shard,
        "watermark": state.map(|state| state.checkpoint.watermark.to_string()),
        "written_at": state.map(|state| state.written.to_string()),
        "records": loader.live(),
        "events": loader.digest().applied,
        "tenants": tenants,
        "damaged": loader.damaged(),
        "sources": sources,
    })
}

/// A row for each of its norms; the first has the rest.
fn tenant_rows(shard: u32, holding: &Holding<'_>, table: &mut Table) {
    let Holding { tenant, events, open, damaged, state } = holding;
    let first = state.and_then(|state| state.first_event).map_or_else(|| "-".into(), |at| at.to_string());
    let head =
        [clean(tenant.as_str()), shard.to_string(), events.to_string(), first, open.to_string(), damaged.to_string()];
    let norm_versions = state.map_or(&[][..], |state| &state.norm_versions);
    for (number, (since, norms)) in norm_versions.iter().enumerate() {
        let mut row = if number == 0 { head.to_vec() } else { vec![String::new(); head.len()] };
        row.extend([if number == 0 { "always".into() } else { since.to_string() }, norms.clone()]);
        table.row(row);
    }
    if norm_versions.is_empty() {
        table.row(head.into_iter().chain(["-".into(), "-".into()]).collect());
    }
}

fn tenant_json(shard: u32, holding: &Holding<'_>) -> serde_json::Value {
    let Holding { tenant, events, open, damaged, state } = holding;
    let norm_versions = state.map_or(&[][..], |state| &state.norm_versions);
    let era = |(number, (since, norms)): (usize, &(Timestamp, String))| {
        // The first ones always were in force.
        json!({"since": (number > 0).then(|| since.to_string()), "norms": norms})
    };
    json!({
        "tenant_id": tenant.as_str(),
        "shard": shard,
        "events": events,
        "first_event_at": state.and_then(|state| state.first_event).map(|at| at.to_string()),
        "open_windows": open,
        "damaged": damaged,
        "eras": norm_versions.iter().enumerate().map(era).collect::<Vec<_>>(),
    })
}

/// `state show`: the events of a tenant.
fn show(args: &StateShow) -> anyhow::Result<()> {
    let inspector = Inspector::new(&load(args.config.as_deref())?)?;
    let tenant = TenantId::from(args.tenant.as_str());
    let shard = shard_of(&args.tenant, inspector.shards());
    let loader = inspector.read(shard)?;
    let mut table = Table::new("<at <source >offset <event <kind <names");
    for (kept, payload) in loader.history(&tenant) {
        let entities = payload.as_ref().map(entities).unwrap_or_default();
        if args.entity.as_ref().is_some_and(|entity| !entities.contains(entity)) {
            continue;
        }
        let names: Vec<String> = entities.iter().map(ToString::to_string).collect();
        table.row(vec![
            kept.order.at.to_string(),
            Source::from_number(kept.order.source).map_or("unknown", source).into(),
            kept.order.offset.to_string(),
            kept.id.as_ref().map_or_else(|| "-".into(), |id| clean(id.as_str())),
            payload.as_ref().map_or("unknown", |payload| payload.kind().name()).into(),
            clean(&names.join(" ")),
        ]);
    }
    match (loader.damaged(), table.height()) {
        (0, 0) => tracing::info!("shard {shard} has no such events of tenant {tenant}"),
        (0, shown) => tracing::info!("shard {shard}, tenant {tenant}: {}", many(shown, "event")),
        (damaged, _) => tracing::warn!(
            "{damaged} records of shard {shard} are damaged and not shown; `funnelwatch state verify` names them"
        ),
    }
    let mut out = BufWriter::new(io::stdout().lock());
    write!(out, "{table}")?;
    Ok(out.flush()?)
}

/// The leads and deals that a payload names, once each.
fn entities(payload: &Payload) -> Vec<EntityId> {
    let mut entities = Vec::new();
    payload.each_entity(|kind, id| {
        let entity = match kind {
            EntityKind::Lead => EntityId::lead(id),
            EntityKind::Deal => EntityId::deal(id),
        };
        if !entities.contains(&entity) {
            entities.push(entity);
        }
    });
    entities
}

/// `state verify`: all that is wrong.
fn verify(args: &StateVerify) -> anyhow::Result<()> {
    let config = load(args.config.as_deref())?;
    let inspector = Inspector::new(&config)?;
    let plan = plan(&config);
    let (mut bad, mut all) = (0, 0);
    for shard in wanted(&inspector, args.shard)? {
        let loader = inspector.read(shard)?;
        let (records, live, events) = (loader.records(), loader.live(), loader.digest().applied);
        let tenants = loader.holdings().len();
        let mut faults = loader.faults(shard, inspector.shards(), &plan);
        if faults.is_empty() {
            faults.extend(loader.restore(shard, &plan).err());
        }
        all += 1;
        bad += usize::from(!faults.is_empty());
        // Before the next shard is read: that may take a while.
        let mut out = io::stdout().lock();
        let counts = format!(
            "{} ({records} with those replaced), {}, {}",
            many(live, "record"),
            many(events as usize, "event"),
            many(tenants, "tenant")
        );
        match faults.len() {
            0 if live == 0 => writeln!(out, "shard {shard}: good: there is no state")?,
            0 => writeln!(out, "shard {shard}: good: {counts}; can be rebuilt")?,
            n => writeln!(out, "shard {shard}: bad, {}: {counts}; cannot be rebuilt", many(n, "fault"))?,
        }
        for fault in faults {
            writeln!(out, "  {}", clean(&fault.to_string()))?;
        }
    }
    if bad > 0 {
        bail!("{bad} of {all} shards cannot be restored");
    }
    Ok(())
}

fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// As a run would rebuild.
fn plan(config: &Config) -> RestoreContext {
    let timing = config.timing();
    let memory = Memory { durable: true, ..timing.memory };
    RestoreContext { norms: Arc::new(config.norms.clone()), timing: Timing { memory, ..timing } }
}

/// `state reset`: makes a tenant or a shard begin anew.
fn reset(args: &StateReset) -> anyhow::Result<()> {
    let config = load(args.config.as_deref())?;
    let inspector = Inspector::new(&config)?;
    let tenant = args.tenant.as_deref().map(TenantId::from);
    let home = tenant.as_ref().map(|tenant| shard_of(tenant.as_str(), inspector.shards()));
    let Some(shard) = wanted(&inspector, args.shard.or(home))?.next() else { bail!("there are no shards") };
    let compose = |loader: &StateLoader| match &tenant {
        Some(tenant) => loader.without_tenant(tenant, clock::now()).with_context(|| {
            format!(
                "shard {shard} cannot be left without tenant {tenant} alone; `funnelwatch state reset --shard` works"
            )
        }),
        None => Ok(loader.without_all()),
    };
    let whose = tenant.as_ref().map_or_else(|| format!("shard {shard}"), |tenant| format!("tenant {tenant}"));
    if !args.yes {
        let (_, gone) = compose(&inspector.read(shard)?)?;
        write!(io::stdout().lock(), "{}", told(&whose, tenant.is_some(), gone, false))?;
        match inspector.members()? {
            members if members.is_empty() => tracing::info!("nothing is changed: this was a dry run; --yes does it"),
            members => tracing::warn!(
                "nothing is changed: this was a dry run, and --yes would be refused: {}",
                ResetError::Members(members)
            ),
        }
        return Ok(());
    }
    let seized = Seized::new(&config, &inspector, shard)?;
    let (records, gone) = compose(seized.loader())?;
    if gone.records() > 0 {
        seized.write(&records).with_context(|| format!("reset {whose}"))?;
    }
    write!(io::stdout().lock(), "{}", told(&whose, tenant.is_some(), gone, true))?;
    Ok(())
}

/// What goes, and what that means.
fn told(whose: &str, of_tenant: bool, gone: Gone, done: bool) -> String {
    let whose = clean(whose);
    if gone.records() == 0 {
        return format!("{whose}: there is no state, so nothing to reset\n");
    }
    let Gone { events, tenants, violations, open, norms, damaged, shards } = gone;
    let (go, will) = if done { ("gone", "get") } else { ("would go", "would get") };
    let mut text = format!("{whose}: {} {go}\n", many(gone.records(), "record"));
    let mut table = Table::new(">n <what");
    for (n, what) in [
        (events, "applied events".into()),
        (tenants, "of what does not follow from a tenant's events".into()),
        (violations, format!("violations of window rules, {open} of them open")),
        (norms, "norms".into()),
        (damaged, "damaged".into()),
        (shards, "of where the shard stands".into()),
    ] {
        if n > 0 {
            table.row(vec![n.to_string(), what]);
        }
    }
    text.push_str(&table.body());
    let next = if of_tenant {
        "It is read on from where it was: what came before is not read again. Other tenants notice nothing."
    } else {
        "It begins at the offsets that the group has committed. What lies behind them and was applied already is judged once\n\
         more, under the same alert ids."
    };
    text + &format!(
        "Alerts of it that are open {will} no further status. Leads and deals are unknown until events name them again,\n\
         figures begin at zero, and an event that was seen before counts as a new one.\n{next}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_is_told_in_numbers_and_words() {
        let gone = Gone { events: 1200, tenants: 1, violations: 3, open: 2, damaged: 1, ..Gone::default() };
        let text = told("tenant acme", true, gone, false);
        assert!(text.starts_with("tenant acme: 1205 records would go\n  1200  applied events\n"), "{text}");
        assert!(text.contains("     3  violations of window rules, 2 of them open\n"), "{text}");
        assert!(text.contains("no further status") && text.contains("read on from where it was"), "{text}");
        assert!(!text.contains("norms"), "{text}");
        let text = told("shard 3", false, Gone { shards: 1, ..Gone::default() }, true);
        assert!(text.starts_with("shard 3: 1 record gone\n") && text.contains("has committed"), "{text}");
        assert!(told("shard 3", false, Gone::default(), true).contains("nothing to reset"));
    }
}

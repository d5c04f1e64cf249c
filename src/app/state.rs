//! The `state` commands for operators. They print no phone, address or name, and only `reset --yes` changes anything.

use super::configuration::load;
use crate::cli::{StateCommand, StateList, StateReset, StateShow, StateVerify};
use crate::config::{self, Config};
use crate::dataflow::state::inspect::Holding;
use crate::dataflow::state::reset::RemovedRecords;
use crate::dataflow::state::{RestoreContext, StateLoader};
use crate::domain::event::Payload;
use crate::domain::id::{EntityId, TenantId};
use crate::domain::shard::partitioner::shard as shard_of;
use crate::domain::shard::processor::Timing;
use crate::domain::source::{Offset, ShardId, Source};
use crate::domain::tenant::Memory;
use crate::domain::time::Timestamp;
use crate::edge::clock;
use crate::edge::kafka::inspect::Inspector;
use crate::edge::kafka::reset::{ResetError, Seized};
use crate::edge::table::Table;
use crate::telemetry::clean::clean;
use anyhow::{Context, bail};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

/// The requested shard does not exist.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} does not exist: the topics have {shards} partitions, numbered from 0")]
pub(super) struct NoSuchShard {
    shard: ShardId,
    shards: u32,
}

pub(super) fn state(command: &StateCommand) -> anyhow::Result<()> {
    match command {
        StateCommand::List(args) => list(args),
        StateCommand::Show(args) => show(args),
        StateCommand::Verify(args) => verify(args),
        StateCommand::Reset(args) => reset(args),
    }
}

fn selected_shards(
    inspector: &Inspector,
    shard: Option<ShardId>,
) -> Result<impl Iterator<Item = ShardId>, NoSuchShard> {
    let shards = inspector.shards();
    let selected = match shard {
        None => 0..shards,
        Some(ShardId(shard)) if shard < shards => shard..shard + 1,
        Some(shard) => return Err(NoSuchShard { shard, shards }),
    };
    Ok(selected.map(ShardId))
}

/// `state list`: lists shards and tenants.
fn list(args: &StateList) -> anyhow::Result<()> {
    let inspector = Inspector::new(&load(args.config.as_deref())?)?;
    let tenant_shard = args.tenant.as_deref().map(|tenant| shard_of(tenant, inspector.shards()));
    let mut out = BufWriter::new(io::stdout().lock());
    let mut shards = Table::new("<shard <written >records >events >tenants >damaged");
    Source::LIVE.iter().for_each(|source| shards.column(&format!(">{}", source.name())));
    let mut tenants =
        Table::new("<tenant <shard <watermark >events >held <first_event >open_windows >damaged <norms_since <norms");
    for shard in selected_shards(&inspector, args.shard.map(ShardId).or(tenant_shard))? {
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

fn shard_row(shard: ShardId, loader: &StateLoader, tenants: usize) -> Vec<String> {
    let state = loader.shard();
    let mut row = vec![
        shard.to_string(),
        instant(state.map(|state| state.written)),
        loader.live().to_string(),
        loader.digest().applied.to_string(),
        tenants.to_string(),
        loader.damaged().to_string(),
    ];
    row.extend(Source::LIVE.iter().map(|source| {
        let checkpoint = state.map(|state| &state.checkpoint).filter(|checkpoint| checkpoint.read.contains_key(source));
        let at = |offsets: &BTreeMap<Source, Offset>| offsets.get(source).copied().unwrap_or_default();
        checkpoint.map_or_else(|| "-".into(), |checkpoint| format!("{}/{}", at(&checkpoint.next), at(&checkpoint.read)))
    }));
    row
}

fn shard_json(shard: ShardId, loader: &StateLoader, tenants: usize) -> serde_json::Value {
    let state = loader.shard();
    let mut sources = serde_json::Map::new();
    for (source, read) in state.iter().flat_map(|state| &state.checkpoint.read) {
        let next = state.and_then(|state| state.checkpoint.next.get(source)).map(|next| next.0);
        sources.insert(source.name().into(), json!({"next": next, "read": read.0}));
    }
    json!({
        "shard": shard.0,
        "written_at": state.map(|state| state.written.to_string()),
        "records": loader.live(),
        "events": loader.digest().applied,
        "tenants": tenants,
        "damaged": loader.damaged(),
        "sources": sources,
    })
}

/// An instant in a table.
fn instant(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".into(), |at| at.to_string())
}

/// One row per norm version; the first also has the other columns.
fn tenant_rows(shard: ShardId, holding: &Holding<'_>, table: &mut Table) {
    let Holding { tenant, events, held, watermark, open, damaged, state } = holding;
    let head = [
        tenant.to_string(),
        shard.to_string(),
        instant(*watermark),
        events.to_string(),
        held.to_string(),
        instant(state.and_then(|state| state.first_event)),
        open.to_string(),
        damaged.to_string(),
    ];
    let norm_versions = state.map_or(&[][..], |state| &state.norm_versions);
    for (index, (since, norms)) in norm_versions.iter().enumerate() {
        let mut row = if index == 0 { head.to_vec() } else { vec![String::new(); head.len()] };
        row.extend([if index == 0 { "always".into() } else { since.to_string() }, norms.clone()]);
        table.row(row);
    }
    if norm_versions.is_empty() {
        table.row(head.into_iter().chain(["-".into(), "-".into()]).collect());
    }
}

fn tenant_json(shard: ShardId, holding: &Holding<'_>) -> serde_json::Value {
    let Holding { tenant, events, held, watermark, open, damaged, state } = holding;
    let norm_versions = state.map_or(&[][..], |state| &state.norm_versions);
    let norm_version = |(index, (since, norms)): (usize, &(Timestamp, String))| {
        // The first version has no beginning.
        json!({"since": (index > 0).then(|| since.to_string()), "norms": norms})
    };
    json!({
        "tenant_id": tenant.as_str(),
        "shard": shard.0,
        "watermark": watermark.map(|at| at.to_string()),
        "events": events,
        "held": held,
        "first_event_at": state.and_then(|state| state.first_event).map(|at| at.to_string()),
        "open_windows": open,
        "damaged": damaged,
        "eras": norm_versions.iter().enumerate().map(norm_version).collect::<Vec<_>>(),
    })
}

/// `state show`: prints the applied events of a tenant.
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
            Source::from_id(kept.order.source).map_or("unknown", Source::name).into(),
            kept.order.offset.to_string(),
            kept.id.as_ref().map_or_else(|| "-".into(), |id| id.as_str().into()),
            payload.as_ref().map_or("unknown", |payload| payload.kind().name()).into(),
            names.join(" "),
        ]);
    }
    match (loader.damaged(), table.height()) {
        (0, 0) => tracing::info!("shard {shard}, tenant {tenant}: no matching events"),
        (0, shown) => tracing::info!("shard {shard}, tenant {tenant}: {}", counted(shown, "event")),
        (damaged, _) => tracing::warn!(
            "{damaged} damaged records of shard {shard} are not shown; `funnelwatch state verify` lists them"
        ),
    }
    let mut out = BufWriter::new(io::stdout().lock());
    write!(out, "{table}")?;
    Ok(out.flush()?)
}

/// The distinct leads and deals that a payload names.
fn entities(payload: &Payload) -> Vec<EntityId> {
    let mut entities = Vec::new();
    payload.each_entity(|kind, id| {
        let entity = EntityId { kind, id: id.clone() };
        if !entities.contains(&entity) {
            entities.push(entity);
        }
    });
    entities
}

/// `state verify`: prints all faults.
fn verify(args: &StateVerify) -> anyhow::Result<()> {
    let config = load(args.config.as_deref())?;
    let inspector = Inspector::new(&config)?;
    let restore_context = restore_context(&config);
    let (mut failed, mut checked) = (0, 0);
    for shard in selected_shards(&inspector, args.shard.map(ShardId))? {
        let loader = inspector.read(shard)?;
        let (records, live, events) = (loader.records(), loader.live(), loader.digest().applied);
        let tenants = loader.holdings().len();
        let mut faults = loader.faults(shard, inspector.shards(), &restore_context);
        if faults.is_empty() {
            faults.extend(loader.restore(shard, &restore_context).err());
        }
        checked += 1;
        failed += usize::from(!faults.is_empty());
        // Printed before the next shard is read, which may take a while.
        let mut out = io::stdout().lock();
        let counts = format!(
            "{} ({records} including superseded ones), {}, {}",
            counted(live, "record"),
            counted(events as usize, "event"),
            counted(tenants, "tenant")
        );
        match faults.len() {
            0 if live == 0 => writeln!(out, "shard {shard}: good: no state")?,
            0 => writeln!(out, "shard {shard}: good: {counts}; restorable")?,
            n => writeln!(out, "shard {shard}: bad, {}: {counts}; not restorable", counted(n, "fault"))?,
        }
        for fault in faults {
            writeln!(out, "  {}", clean(&fault.to_string()))?;
        }
    }
    if failed > 0 {
        bail!("{failed} of {checked} shards cannot be restored");
    }
    Ok(())
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What a run would restore with.
fn restore_context(config: &Config) -> RestoreContext {
    let timing = config.timing();
    let memory = Memory { durable: true, ..timing.memory };
    RestoreContext {
        norms: Arc::new(config.norms.clone()),
        timing: Timing { memory, ..timing },
        held_memory: Arc::default(),
        read_norms: config::restore_norms,
    }
}

/// `state reset`: deletes the state of a tenant or a shard.
fn reset(args: &StateReset) -> anyhow::Result<()> {
    let config = load(args.config.as_deref())?;
    let inspector = Inspector::new(&config)?;
    let tenant = args.tenant.as_deref().map(TenantId::from);
    let tenant_shard = tenant.as_ref().map(|tenant| shard_of(tenant.as_str(), inspector.shards()));
    let Some(shard) = selected_shards(&inspector, args.shard.map(ShardId).or(tenant_shard))?.next() else {
        bail!("there are no shards")
    };
    let replacement = |loader: &StateLoader| match &tenant {
        Some(tenant) => loader.reset_tenant(tenant, clock::now()).with_context(|| {
            format!("cannot reset tenant {tenant} alone; `funnelwatch state reset --shard {shard}` resets its shard")
        }),
        None => Ok(loader.reset_shard()),
    };
    let target = tenant.as_ref().map_or_else(|| format!("shard {shard}"), |tenant| format!("tenant {tenant}"));
    if !args.yes {
        let (_, removed) = replacement(&inspector.read(shard)?)?;
        write!(io::stdout().lock(), "{}", reset_report(&target, tenant.is_some(), removed, false))?;
        match inspector.members()? {
            members if members.is_empty() => tracing::info!("dry run: nothing was changed; pass --yes to reset"),
            members => {
                tracing::warn!("dry run: nothing was changed; --yes would be refused: {}", ResetError::Members(members))
            }
        }
        return Ok(());
    }
    let seized = Seized::new(&config, &inspector, shard)?;
    let (records, removed) = replacement(seized.loader())?;
    if removed.records() > 0 {
        seized.write(&records).with_context(|| format!("reset {target}"))?;
    }
    write!(io::stdout().lock(), "{}", reset_report(&target, tenant.is_some(), removed, true))?;
    Ok(())
}

/// What is deleted, and the consequences.
fn reset_report(target: &str, is_tenant: bool, removed: RemovedRecords, done: bool) -> String {
    let target = clean(target);
    if removed.records() == 0 {
        return format!("{target}: no state, nothing to reset\n");
    }
    let RemovedRecords { events, tenants, violations, targets, open, norms, damaged, shards } = removed;
    let (verb, modal) = if done { ("deleted", "will") } else { ("would be deleted", "would") };
    let mut text = format!("{target}: {} {verb}\n", counted(removed.records(), "record"));
    let mut table = Table::new(">n <what");
    for (n, what) in [
        (events, "applied events".into()),
        (tenants, "tenant records".into()),
        (violations, "violations of window rules".into()),
        (targets, "records of targets".into()),
        (norms, "norms records".into()),
        (damaged, "damaged records".into()),
        (shards, "shard record".into()),
    ] {
        if n > 0 {
            table.row(vec![n.to_string(), what]);
        }
    }
    if open > 0 {
        table.row(vec![open.to_string(), "of the violations are open".into()]);
    }
    text.push_str(&table.body());
    let next = if is_tenant {
        "Processing continues at the current offsets: earlier events are not read again. Other tenants are unaffected."
    } else {
        "Processing starts at the committed offsets of the group. Events after them that were applied before are\n\
         processed again, with the same alert ids."
    };
    text + &format!(
        "Its open alerts {modal} get no further status. Leads and deals are unknown until events name them again,\n\
         figures start at zero, and events processed before are no longer recognized as duplicates.\n{next}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_report_lists_counts_and_consequences() {
        let removed = RemovedRecords {
            events: 1200,
            tenants: 1,
            violations: 3,
            targets: 4,
            open: 2,
            damaged: 1,
            ..RemovedRecords::default()
        };
        let text = reset_report("tenant acme", true, removed, false);
        assert!(text.starts_with("tenant acme: 1209 records would be deleted\n  1200  applied events\n"), "{text}");
        assert!(text.contains("     3  violations of window rules\n     4  records of targets\n"), "{text}");
        assert!(text.contains("     2  of the violations are open\n"), "{text}");
        assert!(text.contains("no further status") && text.contains("continues at the current offsets"), "{text}");
        assert!(!text.contains("norms"), "{text}");
        let text = reset_report("shard 3", false, RemovedRecords { shards: 1, ..RemovedRecords::default() }, true);
        assert!(text.starts_with("shard 3: 1 record deleted\n") && text.contains("committed offsets"), "{text}");
        assert!(reset_report("shard 3", false, RemovedRecords::default(), true).contains("nothing to reset"));
    }
}

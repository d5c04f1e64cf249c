//! Restores a shard from its records: replays the applied events of its tenants, without output.

use super::loader::{RebuildError, StateLoader, TenantRecords};
use super::writer::{NormsWithId, StateWriter};
use crate::codec::state::{PACKING, ShardRecord, TenantRecord};
use crate::dataflow::live::{OpenAlert, TenantFigures, take_open, update_open};
use crate::domain::alert::{Alert, AlertTaken};
use crate::domain::effect::Effect;
use crate::domain::event::Event;
use crate::domain::id::TenantId;
use crate::domain::norms::Norms;
use crate::domain::scoreboard::TargetChange;
use crate::domain::shard::processor::{ShardProcessor, TenantTime, Timing};
use crate::domain::shard::spill::HeldMemory;
use crate::domain::shard::tenant_clock::TenantClock;
use crate::domain::source::ShardId;
use crate::domain::tenant::changelog::{self, AppliedEvent, TenantMark};
use crate::domain::tenant::{Memory, Tenant};
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is needed to restore a shard in addition to its records.
#[derive(Clone, Debug)]
pub struct RestoreContext {
    /// The current norms.
    pub norms: Arc<Norms>,
    /// The settings of event time.
    pub timing: Timing,
    /// The memory for held events.
    pub held_memory: Arc<HeldMemory>,
    /// Reads norms from their document; without the privacy key, which is not in it.
    pub read_norms: fn(&str) -> Result<Norms, String>,
}

/// A shard restored from its records.
#[derive(Debug)]
pub struct RestoredShard {
    /// The shard.
    pub shard: ShardId,
    pub(crate) processor: ShardProcessor,
    pub(crate) writer: StateWriter,
    /// The figures of its tenants.
    pub(crate) figures: Vec<(TenantId, TenantFigures)>,
    /// Its open alerts, each with its last status.
    pub(crate) open: Vec<Alert>,
    /// Who takes care of them.
    pub(crate) taken: Vec<AlertTaken>,
    /// Whether an earlier process has not written all its rows.
    pub(crate) rows_due: bool,
}

impl RestoredShard {
    /// Applies the norms in force, if they have changed since the state was written.
    pub(crate) fn reload(&mut self, norms: &Arc<Norms>) {
        if !Arc::ptr_eq(self.processor.norms(), norms) {
            self.processor.reload(Arc::clone(norms));
            self.figures.iter_mut().for_each(|(_, figures)| figures.scoreboard.reload(Arc::clone(norms)));
        }
    }
}

impl StateLoader {
    /// Restores the shard; `None` if there is no state.
    pub fn restore(mut self, shard: ShardId, context: &RestoreContext) -> Result<Option<RestoredShard>, RebuildError> {
        self.verify()?;
        let Some(ShardRecord { checkpoint, rows_follow: rows_due, .. }) = self.shard.take() else { return Ok(None) };
        let (mut norms, mut latest) = (Vec::new(), None);
        let (mut tenants, mut clocks, mut held) = (Vec::new(), Vec::new(), Vec::new());
        let (mut figures, mut open, mut taken) = (Vec::new(), Vec::new(), Vec::new());
        let mut all_records: Vec<_> = std::mem::take(&mut self.tenants).into_iter().collect();
        all_records.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        // Of a tenant that was forgotten nothing is left.
        all_records.retain(|(_, records)| records.count() > 0);
        for (id, mut records) in all_records {
            let own = records.clock.take().unwrap_or_default();
            // A state of an earlier layout has one watermark for all tenants.
            let clock = TenantClock { watermark: own.watermark.max(checkpoint.watermark), ..own };
            held.push((id.clone(), std::mem::take(&mut records.held)));
            let Some(state) = records.state.take() else {
                clocks.push((id, clock));
                continue;
            };
            let mut norm_versions = Vec::with_capacity(state.norm_versions.len());
            for (since, name) in state.norm_versions {
                norm_versions.push((since, self.norms_of(&name, context, &mut norms)?));
            }
            let (Some((_, first)), Some((_, last))) = (norm_versions.first(), norm_versions.last()) else {
                return Err(RebuildError::Missing(format!("norms of tenant {id}")));
            };
            latest.get_or_insert_with(|| Arc::clone(last));
            let mut tenant_figures = TenantFigures::new(shard, TenantTime::restored(clock.clone()), id.clone(), first);
            let TenantRecord { first_event, first_plan, last_event, retracted, .. } = state;
            let mark = TenantMark { first_event, first_plan, last_event, norm_versions, retracted };
            let stored: Vec<TargetChange> = std::mem::take(&mut records.targets).into_values().collect();
            let dropped = mark.last_event.iter().map(|(_, at)| *at).max().unwrap_or(Timestamp::MIN);
            tenant_figures.scoreboard.load_targets(&stored, mark.norm_versions.clone(), dropped);
            let first_open = open.len();
            let alerts = (&mut open, &mut taken);
            let tenant = replay(&id, mark, records, context.timing.memory, &mut tenant_figures, alerts)?;
            open.extend(tenant_figures.scoreboard.resume_targets(tenant_figures.at, stored));
            let time = &tenant_figures.time;
            open[first_open..].iter_mut().for_each(|alert| alert.historic = time.is_historic(alert.at));
            tenants.push((tenant, clock));
            figures.push((id, tenant_figures));
        }
        let latest = latest.unwrap_or_else(|| Arc::clone(&context.norms));
        let mut processor = ShardProcessor::restore(latest, context.timing, PACKING, checkpoint);
        processor.share_held(Arc::clone(&context.held_memory));
        tenants.into_iter().for_each(|(tenant, clock)| processor.adopt(tenant, clock));
        clocks.into_iter().for_each(|(tenant, clock)| processor.adopt_clock(&tenant, clock));
        for (tenant, events) in held {
            for AppliedEvent { order, id, packed } in events.into_values() {
                let payload = (PACKING.unpack)(changelog::topic(order), &packed);
                let payload = payload.ok_or_else(|| RebuildError::unreadable(&tenant, (order.source, order.offset)))?;
                processor.adopt_held(order, Event { tenant: tenant.clone(), at: order.at, id, payload });
            }
        }
        let writer = StateWriter { digest: self.digest, norms };
        Ok(Some(RestoredShard { shard, processor, writer, figures, open, taken, rows_due }))
    }

    /// The norms with this id; the current ones if they are equal.
    pub(super) fn norms_of(
        &self,
        name: &str,
        context: &RestoreContext,
        known: &mut Vec<NormsWithId>,
    ) -> Result<Arc<Norms>, RebuildError> {
        if let Some((norms, _)) = known.iter().find(|(_, id)| id == name) {
            return Ok(Arc::clone(norms));
        }
        let missing = || RebuildError::Missing(format!("norms {name}"));
        let document = self.norms.get(name).ok_or_else(missing)?;
        let unreadable = |flaw| RebuildError::Missing(format!("norms {name} (unreadable: {flaw})"));
        let norms = (context.read_norms)(document).map_err(unreadable)?;
        let norms = if norms.document == context.norms.document {
            Arc::clone(&context.norms)
        } else {
            Arc::new(Norms { privacy_key: context.norms.privacy_key.clone(), ..norms })
        };
        known.push((Arc::clone(&norms), name.into()));
        Ok(norms)
    }
}

/// Replays the events of a tenant up to the watermark of `figures`; adds its open alerts to `open`, and who takes care of
/// them to `taken`.
fn replay(
    id: &TenantId,
    mark: TenantMark,
    records: TenantRecords,
    memory: Memory,
    figures: &mut TenantFigures,
    (open, taken): (&mut Vec<Alert>, &mut Vec<AlertTaken>),
) -> Result<Tenant, RebuildError> {
    let (watermark, norm_versions) = (figures.at, mark.norm_versions.clone());
    let mut events: Vec<AppliedEvent> = records.events.into_values().collect();
    events.sort_unstable_by_key(|event| event.order);
    let (mut effects, mut open_alerts, mut of_windows) = (Vec::new(), BTreeMap::new(), Vec::new());
    let closings = records.closings.into_iter().collect();
    let tenant = Tenant::restore(id.clone(), (mark, closings), memory, PACKING, events, watermark, |tenant| {
        tenant.take_effects(&mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Alert(alert) => update_open(&mut open_alerts, alert.id, alert.status, || alert),
                // Alerts of window rules are not replayed.
                Effect::AlertTaken(taken) => of_windows.extend(take_open(&mut open_alerts, *taken)),
                effect => figures.replay(effect),
            }
        }
    });
    let tenant = tenant.map_err(|order| RebuildError::unreadable(id, (order.source, order.offset)))?;
    for (_, norms) in &norm_versions[1..] {
        figures.scoreboard.reload(Arc::clone(norms));
    }
    for OpenAlert { alert, taken: by } in open_alerts.into_values() {
        taken.extend(by);
        open.push(*alert);
    }
    let resumed = figures.scoreboard.resume(watermark, records.violations.into_values().collect(), |at| {
        let version = norm_versions.partition_point(|(since, _)| *since < at).saturating_sub(1);
        Arc::clone(&norm_versions[version].1)
    });
    let is_open = |by: &AlertTaken| resumed.iter().any(|alert| alert.id == by.alert && alert.anchor_at <= by.at);
    taken.extend(of_windows.into_iter().filter(is_open));
    open.extend(resumed);
    Ok(tenant)
}

//! The `figures` operator: aggregates effects into the figures of tenants, and emits alerts, review requests and rows.

use super::epoch::{EpochOutput, ShardStatus, UnlistedStage};
use super::live::{TenantFigures, lock};
use super::messages::{Edge, ShardOutput};
use super::settings::DataflowSettings;
use crate::codec::state::Records;
use crate::domain::effect::Effect;
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::figures::row::Row;
use crate::domain::id::TenantId;
use crate::domain::index::StageIx;
use crate::domain::shard::processor::Effects;
use crate::domain::source::ShardId;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use timely::dataflow::operators::vec::Map;

/// Aggregates effects.
pub(super) fn figures<'scope>(
    shards: Edge<'scope, ShardOutput>,
    settings: DataflowSettings,
) -> Edge<'scope, EpochOutput> {
    let mut tenants = Tenants { settings, by_shard: BTreeMap::new() };
    shards.map(move |output| tenants.run_epoch(output))
}

/// The tenants of one worker.
struct Tenants {
    settings: DataflowSettings,
    by_shard: BTreeMap<ShardId, BTreeMap<TenantId, CountedTenant>>,
}

struct CountedTenant {
    /// Behind a lock, so that other threads can read them.
    figures: Arc<Mutex<TenantFigures>>,
    /// For each window, the pane in which its rows were last emitted.
    last_emitted: Vec<i64>,
    /// For each stage, the day on which it was last reported as unlisted; `None`: it is listed.
    reported: Vec<Option<i64>>,
}

impl CountedTenant {
    fn new(id: TenantId, figures: TenantFigures, settings: &DataflowSettings) -> Self {
        let last_emitted = settings.norms.windows.iter().map(|window| figures.at.pane(window.slide)).collect();
        Self { figures: settings.live_state.insert_tenant(id, figures), last_emitted, reported: Vec::new() }
    }
}

impl Tenants {
    fn run_epoch(&mut self, output: ShardOutput) -> EpochOutput {
        let ShardOutput { effects, norms, restored, mut rest } = output;
        if let Some(norms) = norms {
            for tenant in self.by_shard.values_mut().flat_map(BTreeMap::values_mut) {
                lock(&tenant.figures).scoreboard.reload(Arc::clone(&norms));
                tenant.reported.clear();
            }
            self.settings.norms = norms;
        }
        for (id, figures) in restored {
            let tenants = self.by_shard.entry(figures.shard).or_default();
            tenants.insert(id.clone(), CountedTenant::new(id, figures, &self.settings));
        }
        for (shard, effects) in effects {
            self.count(shard, effects, &mut rest);
        }
        let mut shards = std::mem::take(&mut rest.shards);
        for status in &mut shards {
            self.advance(status, &mut rest);
        }
        rest.shards = shards;
        for shard in &rest.revoked {
            self.by_shard.remove(shard);
            self.settings.live_state.remove_shard(*shard);
        }
        rest
    }

    /// Applies the effects on a tenant to its figures.
    fn count(&mut self, shard: ShardId, effects: Effects, output: &mut EpochOutput) {
        let Effects { tenant, effects, .. } = effects;
        let Self { settings, by_shard } = self;
        let counted = by_shard.entry(shard).or_default().entry(tenant.clone()).or_insert_with(|| {
            let figures = TenantFigures::new(shard, Timestamp::MIN, tenant.clone(), &settings.norms);
            CountedTenant::new(tenant, figures, settings)
        });
        let mut figures = lock(&counted.figures);
        for effect in effects {
            if let Effect::Fact(Fact { measure: Measure::Open(stage), times: 1.., known, .. }) = &effect {
                let unlisted = report_unlisted(&mut counted.reported, &figures, *stage, *known);
                output.unlisted.extend(unlisted);
            }
            match effect {
                Effect::AlertTaken(taken) => output.taken.push(*taken),
                effect => figures.apply(effect, &mut output.alerts, &mut output.reviews),
            }
        }
    }

    /// Advances the figures of a shard's tenants to its watermark: evaluates window rules, and emits rows.
    fn advance(&mut self, status: &mut ShardStatus, output: &mut EpochOutput) {
        let Some(tenants) = self.by_shard.get_mut(&status.shard) else { return };
        let emitted = output.alerts.len() + output.rows.len();
        let mut records = Records::default();
        for (id, tenant) in tenants {
            let mut figures = lock(&tenant.figures);
            figures.at = status.watermark;
            figures.scoreboard.judge_until(status.watermark, &mut output.alerts);
            if output.closing {
                figures.scoreboard.rows(status.watermark, &mut output.rows);
            } else if self.settings.rows_at_boundaries && status.watermark > Timestamp::MIN {
                let windows = &self.settings.norms.windows;
                emit_rows(&mut figures, windows, &mut tenant.last_emitted, &mut output.rows);
            }
            for (key, violation) in figures.scoreboard.take_changes() {
                records.violation(id, &key, violation.as_ref());
            }
        }
        status.dirty |= emitted < output.alerts.len() + output.rows.len();
        if self.settings.timing.memory.durable && !records.is_empty() {
            status.dirty = true;
            output.state.push((status.shard, records));
        }
    }
}

/// What is reported when an entity enters a stage: once a day if no pipeline lists it.
fn report_unlisted(
    reported: &mut Vec<Option<i64>>,
    figures: &TenantFigures,
    stage: StageIx,
    at: Timestamp,
) -> Option<UnlistedStage> {
    while reported.len() <= stage.0 as usize {
        let next = StageIx(reported.len() as u32);
        reported.push((!figures.scoreboard.is_listed(next)).then_some(i64::MIN));
    }
    let (last, day) = (reported[stage.0 as usize].as_mut()?, at.pane(Span::DAY));
    if std::mem::replace(last, day) == day {
        return None;
    }
    let (tenant, declared) = figures.scoreboard.stage(stage)?;
    let (pipeline, stage) = (declared.pipeline.clone(), declared.stage.clone());
    Some(UnlistedStage { day: Timestamp(day * Span::DAY.0), tenant: tenant.clone(), pipeline, stage })
}

/// Emits the rows of the windows that slid since the last emission. `now` rows are emitted with the first window.
fn emit_rows(figures: &mut TenantFigures, windows: &[Window], last_emitted: &mut [i64], rows: &mut Vec<Row>) {
    let TenantFigures { at, scoreboard, .. } = figures;
    for (index, (window, last_emitted)) in windows.iter().zip(last_emitted).enumerate() {
        let pane = at.pane(window.slide);
        if pane > *last_emitted {
            *last_emitted = pane;
            scoreboard.window_rows(index, *at, rows);
            if index == 0 {
                scoreboard.now_rows(*at, rows);
            }
        }
    }
}

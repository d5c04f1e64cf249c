//! The `figures` operator: aggregates effects into the figures of tenants, and emits alerts, review requests and rows.

use super::epoch::{EpochOutput, ShardStatus, UnlistedStage};
use super::live::{History, TenantFigures, lock};
use super::messages::{Edge, ShardOutput};
use super::settings::DataflowSettings;
use crate::codec::state::Records;
use crate::domain::alert::Alert;
use crate::domain::effect::Effect;
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::id::TenantId;
use crate::domain::index::StageIx;
use crate::domain::shard::processor::{Effects, ShardTime, TenantTime};
use crate::domain::shard::tenant_clock::TenantClock;
use crate::domain::source::ShardId;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use timely::dataflow::operators::vec::Map;

/// Aggregates effects.
pub(super) fn figures<'scope>(
    shards: Edge<'scope, ShardOutput>,
    settings: DataflowSettings,
) -> Edge<'scope, EpochOutput> {
    let mut tenants = Tenants { settings, by_shard: BTreeMap::new(), forgotten: BTreeMap::new() };
    shards.map(move |output| tenants.run_epoch(output))
}

/// The tenants of one worker.
struct Tenants {
    settings: DataflowSettings,
    by_shard: BTreeMap<ShardId, BTreeMap<TenantId, CountedTenant>>,
    /// The state records of the tenants that were forgotten in this epoch.
    forgotten: BTreeMap<ShardId, Records>,
}

struct CountedTenant {
    /// Behind a lock, so that other threads can read them.
    figures: Arc<Mutex<TenantFigures>>,
    /// For each window, the pane in which its rows were last emitted.
    last_emitted: Vec<i64>,
    /// For each stage, the day on which it was last reported as unlisted; `None`: it is listed.
    reported: Vec<Option<i64>>,
    /// Whether it has output in this epoch, so that its time must be stored.
    has_output: bool,
    /// Whether the rows of all closed periods are to be written.
    closing_rows_due: bool,
}

impl CountedTenant {
    fn new(id: TenantId, figures: TenantFigures, settings: &DataflowSettings) -> Self {
        let last_emitted = settings.norms.windows.iter().map(|window| figures.at.pane(window.slide)).collect();
        let figures = settings.live_state.insert_tenant(id, figures);
        Self { figures, last_emitted, reported: Vec::new(), has_output: false, closing_rows_due: false }
    }
}

impl Tenants {
    fn run_epoch(&mut self, output: ShardOutput) -> EpochOutput {
        let ShardOutput { effects, norms, times, restored, rows_due, mut rest } = output;
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
        let (mut clocks, mut removed) = (FxHashMap::default(), Vec::new());
        for (shard, ShardTime { clock, tenants, removed: of_shard }) in times {
            clocks.insert(shard, clock);
            removed.extend(of_shard.into_iter().map(|tenant| (shard, tenant)));
            let counted: FxHashSet<&TenantId> =
                effects.iter().filter(|(of, _)| *of == shard).map(|(_, effects)| &effects.tenant).collect();
            for (tenant, time) in tenants {
                let is_counted = counted.contains(&tenant);
                self.set_time(shard, tenant, time, is_counted);
            }
        }
        for shard in rows_due {
            let tenants = self.by_shard.entry(shard).or_default().values_mut();
            tenants.for_each(|tenant| {
                tenant.last_emitted.fill(i64::MIN);
                tenant.closing_rows_due = true;
            });
        }
        for (shard, effects) in effects {
            self.count(shard, effects, &mut rest);
        }
        if self.settings.timing.memory.durable {
            removed.iter().for_each(|(shard, tenant)| self.forgotten.entry(*shard).or_default().remove_clock(tenant));
        }
        let mut shards = std::mem::take(&mut rest.shards);
        for status in &mut shards {
            let clock = clocks.get(&status.shard).copied().unwrap_or(Timestamp::MIN);
            self.advance(status, clock, &mut rest);
        }
        rest.shards = shards;
        for shard in &rest.revoked {
            self.by_shard.remove(shard);
            self.settings.live_state.remove_shard(*shard);
        }
        rest
    }

    /// Replaces the time of a tenant. A tenant without figures gets them if it `is_counted` in this epoch, or has marks.
    fn set_time(&mut self, shard: ShardId, tenant: TenantId, time: TenantTime, is_counted: bool) {
        let Self { settings, by_shard, .. } = self;
        let tenants = by_shard.entry(shard).or_default();
        let counted = match tenants.get_mut(&tenant) {
            Some(counted) => counted,
            None if !is_counted && !time.marks_changed => return,
            None => {
                let figures = TenantFigures::new(shard, TenantTime::default(), tenant.clone(), &settings.norms);
                let counted = CountedTenant::new(tenant.clone(), figures, settings);
                tenants.entry(tenant).or_insert(counted)
            }
        };
        counted.has_output |= is_counted || time.marks_changed;
        lock(&counted.figures).time = time;
    }

    /// Applies the effects on a tenant to its figures.
    fn count(&mut self, shard: ShardId, effects: Effects, output: &mut EpochOutput) {
        let Effects { tenant, effects, is_unused, .. } = effects;
        let Some(counted) = self.by_shard.get_mut(&shard).and_then(|tenants| tenants.get_mut(&tenant)) else { return };
        let first_alert = output.alerts.len();
        let (mut figures, mut is_forgotten) = (lock(&counted.figures), false);
        for effect in effects {
            if let Effect::Fact(Fact { measure: Measure::Open(stage), times: 1.., known, .. }) = &effect {
                let unlisted = report_unlisted(&mut counted.reported, &figures, *stage, *known);
                output.unlisted.extend(unlisted);
            }
            match effect {
                Effect::AlertTaken(taken) => output.taken.push(*taken),
                Effect::Forgotten(at) => {
                    forget(&mut figures, at, &self.settings, self.forgotten.entry(shard).or_default(), output);
                    counted.last_emitted.fill(i64::MIN);
                    counted.reported.clear();
                    is_forgotten = true;
                }
                effect => {
                    if effect.forgets() {
                        output.rows.extend(rows_removed(&effect, &tenant, &self.settings));
                    }
                    figures.apply(effect, &mut output.alerts, &mut output.reviews);
                }
            }
        }
        mark_historic(&mut output.alerts[first_alert..], &figures.time);
        if is_forgotten && is_unused {
            self.forgotten.entry(shard).or_default().clock(&tenant, &figures.time.clock);
            drop(figures);
            self.remove(shard, &tenant);
        }
    }

    /// Removes the figures of a tenant.
    fn remove(&mut self, shard: ShardId, tenant: &TenantId) {
        self.by_shard.entry(shard).or_default().remove(tenant);
        self.settings.live_state.remove_tenant(tenant);
    }

    /// Advances the figures of a shard's tenants to their watermarks: evaluates window rules, and emits rows. `clock`: the
    /// watermark of the tenants that follow the wall clock.
    fn advance(&mut self, status: &mut ShardStatus, clock: Timestamp, output: &mut EpochOutput) {
        let Some(tenants) = self.by_shard.get_mut(&status.shard) else { return };
        let durable = self.settings.timing.memory.durable;
        let mut records = self.forgotten.remove(&status.shard).unwrap_or_default();
        let mut lowest = None::<Timestamp>;
        for (id, tenant) in tenants {
            let (first_alert, first_row) = (output.alerts.len(), output.rows.len());
            let mut figures = lock(&tenant.figures);
            let watermark = figures.time.watermark(clock);
            figures.at = watermark;
            lowest = lowest.into_iter().chain([watermark]).min();
            figures.scoreboard.judge_until(watermark, &mut output.alerts);
            if output.closing {
                figures.scoreboard.rows(watermark, &mut output.rows);
            } else if self.settings.rows_at_boundaries && watermark > Timestamp::MIN {
                let windows = &self.settings.norms.windows;
                emit_rows(&mut figures, windows, &mut tenant.last_emitted, &mut output.rows);
            }
            if self.settings.rows_at_boundaries || output.closing {
                // A replay has written none before.
                let all = std::mem::take(&mut tenant.closing_rows_due) || !self.settings.rows_at_boundaries;
                figures.scoreboard.closing_rows(all, watermark, &mut output.rows);
            }
            if self.settings.timing.memory.retention.is_some() {
                figures.scoreboard.forget_past(watermark);
            }
            mark_historic(&mut output.alerts[first_alert..], &figures.time);
            output.rows[first_row..].iter_mut().for_each(|row| row.historic = figures.time.is_historic(row.at));
            let written = records.len();
            for (key, violation) in figures.scoreboard.take_changes() {
                records.violation(id, &key, violation.as_ref());
            }
            for change in figures.scoreboard.take_target_changes(watermark) {
                records.target(id, &change);
            }
            let has_emitted = first_alert < output.alerts.len() || first_row < output.rows.len();
            status.dirty |= has_emitted;
            let has_output = std::mem::take(&mut tenant.has_output) || has_emitted || written < records.len();
            if durable && has_output {
                records.clock(id, &TenantClock { watermark, ..figures.time.clock.clone() });
            }
        }
        status.watermark = lowest.unwrap_or(Timestamp::MIN);
        if durable && !records.is_empty() {
            status.dirty = true;
            output.state.push((status.shard, records));
        }
    }
}

/// Replaces the figures of a tenant that was forgotten at `at` by those of a new one: removes its rows, and in `records` the
/// violations of its window rules.
fn forget(
    figures: &mut TenantFigures,
    at: Timestamp,
    settings: &DataflowSettings,
    records: &mut Records,
    output: &mut EpochOutput,
) {
    let TenantFigures { shard, scoreboard, time, .. } = figures;
    scoreboard.end(at, &mut output.alerts);
    if settings.rows_at_boundaries {
        let mut rows = Vec::new();
        scoreboard.rows(at, &mut rows);
        output.rows.extend(rows.into_iter().map(Row::into_gone));
        scoreboard.closing_rows(false, at, &mut output.rows);
    }
    for (key, violation) in scoreboard.take_changes() {
        records.violation(scoreboard.tenant(), &key, violation.as_ref());
    }
    for change in scoreboard.delete_targets() {
        records.target(scoreboard.tenant(), &change);
    }
    *figures = TenantFigures::new(*shard, time.clone(), scoreboard.tenant().clone(), &settings.norms);
}

/// The rows that remove those of a manager or department that was forgotten.
fn rows_removed(effect: &Effect, tenant: &TenantId, settings: &DataflowSettings) -> Vec<Row> {
    let (at, subject) = match effect {
        Effect::ManagerForgotten { known, id, .. } => (*known, Subject::Manager(id.clone())),
        Effect::DepartmentForgotten { known, id } => (*known, Subject::Department(id.clone())),
        _ => return Vec::new(),
    };
    let windows = settings.norms.windows.iter().map(|window| window.name()).chain(["now".into()]);
    let row = |window| Row {
        tenant: tenant.clone(),
        subject: subject.clone(),
        department: None,
        at,
        historic: false,
        figures: Figures::Gone(window),
    };
    windows.filter(|_| settings.rows_at_boundaries).map(row).collect()
}

/// Marks the historic ones among the alerts of a tenant.
fn mark_historic(alerts: &mut [Alert], time: &TenantTime) {
    alerts.iter_mut().for_each(|alert| alert.historic = time.is_historic(alert.at));
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
    let TenantFigures { at, scoreboard, history, .. } = figures;
    let of_day = History::window(scoreboard.norms());
    for (index, (window, last_emitted)) in windows.iter().zip(last_emitted).enumerate() {
        let pane = at.pane(window.slide);
        if pane > *last_emitted {
            *last_emitted = pane;
            let first = rows.len();
            scoreboard.window_rows(index, *at, rows);
            if of_day == Some(*window) && history.is_due(*at) {
                let mut current = Vec::new();
                scoreboard.now_rows(*at, &mut current);
                history.record(*at, &rows[first..]);
                history.record(*at, &current);
            }
            if index == 0 {
                scoreboard.now_rows(*at, rows);
            }
        }
    }
}

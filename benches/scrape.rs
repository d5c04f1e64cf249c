//! Benchmarks of a scrape, and of the part of it during which the worker of a tenant is blocked: one tenant with five
//! thousand managers and four windows, with all figures of all managers and with the default limit on series.

use crate::load;
use crate::load::Hash;
use criterion::{BatchSize, Criterion};
use funnelwatch::codec::state::PACKING;
use funnelwatch::dataflow::live::{LiveState, TenantFigures};
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard::processor::{ShardProcessor, ShardProgress, SourceProgress, TenantTime, Timing};
use funnelwatch::domain::shard::tenant_clock::TenantClock;
use funnelwatch::domain::source::{Offset, ShardId, Source};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::sim::{Plan, Simulation};
use funnelwatch::telemetry::exporter::{Exporter, Selection};
use funnelwatch::telemetry::processor_metrics::ProcessorMetrics;
use std::sync::Arc;

/// The live state of one tenant after a number of events.
fn live_state(managers: u32, events: usize) -> Arc<LiveState> {
    let norms = load::norms();
    let timing = Timing { max_future_skew: None, ..Timing::default() };
    let mut processor = ShardProcessor::new(Arc::clone(&norms), timing, PACKING);
    let mut last = Timestamp::MIN;
    for (event, offset) in Simulation::new(Plan::load(7, 1, managers, 100)).take(events).zip(0..) {
        last = event.at;
        processor.arrive(Source::Files, Offset(offset), event, Timestamp::default()).expect("nothing is late");
    }
    let mut outputs = Vec::new();
    processor.advance(
        &ShardProgress {
            sources: vec![SourceProgress::of(Source::Files, false)],
            close: Some(last),
            ..ShardProgress::default()
        },
        &mut outputs,
    );
    let live_state = LiveState::default();
    let tenant = outputs.first().expect("a tenant").tenant.clone();
    let mut scoreboard = Scoreboard::new(tenant.clone(), Arc::clone(&norms));
    let mut alerts = Vec::new();
    for effect in outputs.into_iter().flat_map(|output| output.effects) {
        scoreboard.apply(effect, &mut alerts);
    }
    let time = TenantTime::restored(TenantClock { watermark: last, ..TenantClock::default() });
    let figures = TenantFigures { scoreboard, ..TenantFigures::new(ShardId(0), time, tenant.clone(), &norms) };
    live_state.insert_tenant(tenant, figures);
    Arc::new(live_state)
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let managers = load::size(5_000, 20);
    let live_state = live_state(managers as u32, load::size(1_000_000, 2_000));
    let exporter = |max_series| {
        let selection =
            Selection { manager_windows: None, manager_metrics: None, max_series, max_bytes: usize::MAX, names: false };
        Exporter::new(
            Arc::clone(&live_state),
            Arc::new(ProcessorMetrics::default()),
            Arc::new(|| Timestamp(0)),
            selection,
        )
    };
    let (unlimited, limited) = (exporter(usize::MAX), exporter(200_000));
    let text = unlimited.render();
    let figures: Vec<_> = text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"funnelwatch_")).collect();
    let name = format!("scrape ({managers} managers, {} series, {} bytes)", figures.len(), text.len());
    load::print_hash(&name, Hash::EMPTY.add(&figures));

    let mut group = load::group(criterion, "scrape", managers);
    group.sample_size(10);
    // The worker is blocked during this part.
    group.bench_function("rows", |bencher| {
        bencher.iter_batched(|| (), |()| live_state.snapshots(), BatchSize::PerIteration)
    });
    group.bench_function("everything", |bencher| bencher.iter(|| unlimited.render()));
    group.bench_function("limited", |bencher| bencher.iter(|| limited.render()));
    group.finish();
}

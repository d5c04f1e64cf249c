//! How long a scrape takes, and for how long of it a tenant's worker waits: one company with five thousand managers and
//! four windows, with every figure of every manager and with the default bound on series.

#[path = "common/load.rs"]
mod load;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use funnelwatch::codec::state::PACKING;
use funnelwatch::dataflow::live_state::{LiveState, TenantFigures};
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard_processor::{ShardProcessor, ShardProgress, Source, SourceProgress, Timing};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::sim::{Plan, Simulation};
use funnelwatch::telemetry::exporter::{Exporter, Selection};
use funnelwatch::telemetry::processor_metrics::ProcessorMetrics;
use load::Hash;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A board with one company after so many events.
fn board(managers: u32, events: usize) -> Arc<LiveState> {
    let norms = load::norms();
    let timing = Timing { max_future_skew: None, ..Timing::default() };
    let mut floor = ShardProcessor::new(Arc::clone(&norms), timing, PACKING);
    let mut last = Timestamp::MIN;
    for (event, offset) in Simulation::new(Plan::load(7, 1, managers, 100)).take(events).zip(0..) {
        last = event.at;
        floor.arrive(Source::Files, offset, event, Timestamp::default()).expect("nothing is late");
    }
    let mut made = Vec::new();
    floor.advance(
        &ShardProgress {
            sources: vec![SourceProgress::of(Source::Files, false)],
            close: Some(last),
            ..ShardProgress::default()
        },
        &mut made,
    );
    let board = LiveState::default();
    let tenant = made.first().expect("a tenant").tenant.clone();
    let mut scoreboard = Scoreboard::new(tenant.clone(), norms);
    let mut alerts = Vec::new();
    for effect in made.into_iter().flat_map(|made| made.effects) {
        scoreboard.take(effect, &mut alerts);
    }
    board.enter(tenant, TenantFigures { shard: 0, at: last, scoreboard, reviews: BTreeMap::new() });
    Arc::new(board)
}

fn benches(criterion: &mut Criterion) {
    let managers = load::size(5_000, 20);
    let board = board(managers as u32, load::size(1_000_000, 2_000));
    let exporter = |max_series| {
        let selection = Selection { manager_windows: None, manager_metrics: None, max_series };
        Exporter::new(Arc::clone(&board), Arc::new(ProcessorMetrics::default()), Arc::new(|| Timestamp(0)), selection)
    };
    let (everything, bounded) = (exporter(usize::MAX), exporter(200_000));
    let text = everything.render().expect("text");
    let figures: Vec<_> = text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"funnelwatch_")).collect();
    let name = format!("scrape ({managers} managers, {} series, {} bytes)", figures.len(), text.len());
    load::told(&name, Hash::EMPTY.add(&figures));

    let mut group = load::group(criterion, "scrape", managers);
    group.sample_size(10);
    // A worker waits for this part.
    group
        .bench_function("rows", |bencher| bencher.iter_batched(|| (), |()| board.snapshots(), BatchSize::PerIteration));
    group.bench_function("everything", |bencher| bencher.iter(|| everything.render()));
    group.bench_function("bounded", |bencher| bencher.iter(|| bounded.render()));
    group.finish();
}

criterion_group!(scrape_benches, benches);
criterion_main!(scrape_benches);

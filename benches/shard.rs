//! How many events a second one core judges and counts: the floor and the scoreboards, without decoding and threads.

#[path = "common/load.rs"]
mod load;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use funnelwatch::codec::state::PACKING;
use funnelwatch::domain::alert::Alert;
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::id::TenantId;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::row::Row;
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard_processor::{Effects, ShardProcessor, ShardProgress, Source, SourceProgress, Timing};
use funnelwatch::domain::time::Timestamp;
use load::Hash;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events between two moves of the watermark.
const EPOCH: usize = 1024;

struct Hall {
    norms: Arc<Norms>,
    floor: ShardProcessor,
    boards: BTreeMap<TenantId, Scoreboard>,
    alerts: Vec<Alert>,
    facts: u64,
}

impl Hall {
    fn new(norms: &Arc<Norms>) -> Self {
        let timing = Timing { max_future_skew: None, ..Timing::default() };
        let floor = ShardProcessor::new(Arc::clone(norms), timing, PACKING);
        Self { norms: Arc::clone(norms), floor, boards: BTreeMap::new(), alerts: Vec::new(), facts: 0 }
    }

    fn play(&mut self, events: Vec<Event>) {
        let progress =
            ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
        let last = events.last().map(|event| event.at);
        let mut made = Vec::new();
        for (event, offset) in events.into_iter().zip(0..) {
            self.floor.arrive(Source::Files, offset, event, Timestamp::default()).expect("nothing is late");
            if offset as usize % EPOCH == EPOCH - 1 {
                self.advance(&progress, &mut made);
            }
        }
        self.advance(&ShardProgress { close: last, ..progress }, &mut made);
    }

    fn advance(&mut self, progress: &ShardProgress, made: &mut Vec<Effects>) {
        self.floor.advance(progress, made);
        for Effects { tenant, effects, .. } in made.drain(..) {
            let norms = Arc::clone(&self.norms);
            let board = self.boards.entry(tenant.clone()).or_insert_with(|| Scoreboard::new(tenant, norms));
            for effect in effects {
                self.facts += u64::from(matches!(effect, Effect::Fact(_)));
                board.take(effect, &mut self.alerts);
            }
        }
        let watermark = self.floor.watermark();
        self.boards.values_mut().for_each(|board| board.judge_until(watermark, &mut self.alerts));
    }

    fn rows(&mut self) -> Vec<Row> {
        let at = self.floor.watermark();
        let mut rows = Vec::new();
        self.boards.values_mut().for_each(|board| board.rows(at, &mut rows));
        rows
    }
}

fn benches(criterion: &mut Criterion) {
    let norms = load::norms();
    let events = load::events(load::size(200_000, 500));
    let mut hall = Hall::new(&norms);
    hall.play(events.clone());
    let rows = hall.rows();
    let hash = Hash::EMPTY.add(&hall.alerts).add(&rows);
    let (alerts, facts) = (hall.alerts.len(), hall.facts);
    load::told(&format!("floor ({} events, {facts} facts, {alerts} alerts, {} rows)", events.len(), rows.len()), hash);

    let mut group = load::group(criterion, "floor", events.len());
    group.sample_size(10);
    group.bench_function("events", |bencher| {
        bencher.iter_batched(
            || (Hall::new(&norms), events.clone()),
            |(mut hall, events)| {
                hall.play(events);
                hall
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let mut group = load::group(criterion, "floor", rows.len());
    group.sample_size(10);
    group.bench_function("rows", |bencher| bencher.iter(|| hall.rows()));
    group.finish();
}

criterion_group!(floor_benches, benches);
criterion_main!(floor_benches);

//! Throughput of one core in the domain: the shard processor and the scoreboards, without decoding and threads.

use crate::load;
use crate::load::Hash;
use criterion::{BatchSize, Criterion};
use funnelwatch::codec::state::PACKING;
use funnelwatch::domain::alert::Alert;
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::figures::row::Row;
use funnelwatch::domain::id::TenantId;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard::processor::{Effects, ShardProcessor, ShardProgress, SourceProgress, Timing};
use funnelwatch::domain::source::{Offset, Source};
use funnelwatch::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events between two advances of the watermark.
const EPOCH: usize = 1024;

struct Shard {
    norms: Arc<Norms>,
    processor: ShardProcessor,
    scoreboards: BTreeMap<TenantId, Scoreboard>,
    alerts: Vec<Alert>,
    facts: u64,
}

impl Shard {
    fn new(norms: &Arc<Norms>) -> Self {
        let timing = Timing { max_future_skew: None, ..Timing::default() };
        let processor = ShardProcessor::new(Arc::clone(norms), timing, PACKING);
        Self { norms: Arc::clone(norms), processor, scoreboards: BTreeMap::new(), alerts: Vec::new(), facts: 0 }
    }

    fn process(&mut self, events: Vec<Event>) {
        let progress =
            ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
        let last = events.last().map(|event| event.at);
        let mut outputs = Vec::new();
        for (event, offset) in events.into_iter().zip(0..) {
            self.processor.arrive(Source::Files, Offset(offset), event, Timestamp::default()).expect("nothing is late");
            if offset as usize % EPOCH == EPOCH - 1 {
                self.advance(&progress, &mut outputs);
            }
        }
        self.advance(&ShardProgress { close: last, ..progress }, &mut outputs);
    }

    fn advance(&mut self, progress: &ShardProgress, outputs: &mut Vec<Effects>) {
        self.processor.advance(progress, outputs);
        for Effects { tenant, effects, .. } in outputs.drain(..) {
            let norms = Arc::clone(&self.norms);
            let scoreboard = self.scoreboards.entry(tenant.clone()).or_insert_with(|| Scoreboard::new(tenant, norms));
            for effect in effects {
                self.facts += u64::from(matches!(effect, Effect::Fact(_)));
                scoreboard.apply(effect, &mut self.alerts);
            }
        }
        let watermark = self.processor.watermark();
        self.scoreboards.values_mut().for_each(|scoreboard| scoreboard.judge_until(watermark, &mut self.alerts));
    }

    fn rows(&mut self) -> Vec<Row> {
        let at = self.processor.watermark();
        let mut rows = Vec::new();
        self.scoreboards.values_mut().for_each(|scoreboard| scoreboard.rows(at, &mut rows));
        rows
    }
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let norms = load::norms();
    let events = load::events(load::size(200_000, 500));
    let mut shard = Shard::new(&norms);
    shard.process(events.clone());
    let rows = shard.rows();
    let hash = Hash::EMPTY.add(&shard.alerts).add(&rows);
    let (alerts, facts) = (shard.alerts.len(), shard.facts);
    load::print_hash(
        &format!("shard ({} events, {facts} facts, {alerts} alerts, {} rows)", events.len(), rows.len()),
        hash,
    );

    let mut group = load::group(criterion, "shard", events.len());
    group.sample_size(10);
    group.bench_function("events", |bencher| {
        bencher.iter_batched(
            || (Shard::new(&norms), events.clone()),
            |(mut shard, events)| {
                shard.process(events);
                shard
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let mut group = load::group(criterion, "shard", rows.len());
    group.sample_size(10);
    group.bench_function("rows", |bencher| bencher.iter(|| shard.rows()));
    group.finish();
}

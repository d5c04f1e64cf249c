//! Benchmarks of lag histograms: adding a lag, adding and subtracting a pane, computing quantiles.

use crate::load;
use crate::load::{Hash, Numbers};
use criterion::{BatchSize, Criterion};
use funnelwatch::domain::figures::histogram::Histogram;
use funnelwatch::domain::time::Span;
use std::hint::black_box;

/// Realistic lags: many within minutes or an hour, some within a day.
fn lags(count: usize) -> Vec<Span> {
    let mut numbers = Numbers(7);
    let mut lag = || {
        let max_lag = [Span::MINUTE, Span::HOUR, Span::HOUR, Span::DAY][numbers.below(4) as usize];
        Span(numbers.below(max_lag.0))
    };
    (0..count).map(|_| lag()).collect()
}

fn filled(lags: &[Span]) -> Histogram {
    let mut histogram = Histogram::default();
    lags.iter().for_each(|lag| histogram.add(*lag, 1));
    histogram
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let lags = lags(load::size(10_000, 100));
    let window = filled(&lags);
    let pane = filled(&lags[..lags.len() / 100]);
    let quantiles = || [0.5, 0.9, 0.99].map(|q| window.quantile(q));
    load::print_hash("histogram/add", Hash::EMPTY.add(&window));
    load::print_hash("histogram/quantile", Hash::EMPTY.add(&quantiles()));

    let mut group = load::group(criterion, "histogram", lags.len());
    group.bench_function("add", |bencher| bencher.iter(|| filled(black_box(&lags))));
    group.finish();

    let mut slid = window.clone();
    slid.merge(&pane);
    slid.subtract(&pane);
    load::print_hash("histogram/pane", Hash::EMPTY.add(&slid));
    assert_eq!(slid, window, "subtract does not undo merge");
    let mut group = load::group(criterion, "histogram/pane", 1);
    for (name, work) in [("add", Histogram::merge as fn(&mut Histogram, &Histogram)), ("subtract", Histogram::subtract)]
    {
        group.bench_function(name, |bencher| {
            let mut start = window.clone();
            if name == "subtract" {
                start.merge(&pane);
            }
            bencher.iter_batched_ref(|| start.clone(), |window| work(window, black_box(&pane)), BatchSize::SmallInput);
        });
    }
    group.finish();

    let mut group = load::group(criterion, "histogram", 3);
    group.bench_function("quantile", |bencher| bencher.iter(|| black_box(quantiles())));
    group.finish();
}

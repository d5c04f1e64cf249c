//! What histograms of lags cost: adding a lag, adding and taking away a pane, finding a quantile.

#[path = "common/load.rs"]
mod load;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use funnelwatch::domain::histogram::Histogram;
use funnelwatch::domain::time::Span;
use load::{Hash, Numbers};
use std::hint::black_box;

/// Lags as they come: most within minutes, some within days.
fn lags(count: usize) -> Vec<Span> {
    let mut numbers = Numbers(7);
    let mut lag = || {
        let longest = [Span::MINUTE, Span::HOUR, Span::HOUR, Span::DAY][numbers.below(4) as usize];
        Span(numbers.below(longest.0))
    };
    (0..count).map(|_| lag()).collect()
}

fn filled(lags: &[Span]) -> Histogram {
    let mut histogram = Histogram::new();
    lags.iter().for_each(|lag| histogram.add(*lag, 1));
    histogram
}

fn benches(criterion: &mut Criterion) {
    let lags = lags(load::size(10_000, 100));
    let window = filled(&lags);
    let pane = filled(&lags[..lags.len() / 100]);
    let quantiles = || [0.5, 0.9, 0.99].map(|q| window.quantile(q));
    load::told("histogram/add", Hash::EMPTY.add(&window));
    load::told("histogram/quantile", Hash::EMPTY.add(&quantiles()));

    let mut group = load::group(criterion, "histogram", lags.len());
    group.bench_function("add", |bencher| bencher.iter(|| filled(black_box(&lags))));
    group.finish();

    let mut moved = window.clone();
    moved.merge(&pane);
    moved.subtract(&pane);
    load::told("histogram/pane", Hash::EMPTY.add(&moved));
    assert_eq!(moved, window, "what was added was not taken away");
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

criterion_group!(histogram_benches, benches);
criterion_main!(histogram_benches);

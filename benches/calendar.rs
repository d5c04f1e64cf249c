//! Benchmarks of working time: the working time between two instants, and the instant after a given working time; over
//! hours, as for deadlines, and over years.

use crate::load;
use crate::load::{Hash, Numbers};
use criterion::Criterion;
use funnelwatch::config;
use funnelwatch::domain::time::{Span, Timestamp};
use std::hint::black_box;

const NORMS: &str = r#"
calendars:
  moscow:
    timezone: Europe/Moscow
    week:
      mon: ["09:00-13:00", "14:00-18:00"]
      tue: ["09:00-13:00", "14:00-18:00"]
      wed: ["09:00-13:00", "14:00-18:00"]
      thu: ["09:00-13:00", "14:00-18:00"]
      fri: ["09:00-13:00", "14:00-17:00"]
    days: {"2026-03-09": [], "2026-04-30": ["09:00-17:00"], "2026-05-01": [], "2026-05-11": []}
    years: [2026]
calendar: moscow
norms: {}
"#;

/// 2026-01-01.
const START: Timestamp = Timestamp(1_767_225_600_000);

pub(crate) fn benches(criterion: &mut Criterion) {
    let document = config::parse_norms("norms", NORMS).unwrap_or_else(|problems| panic!("{problems}"));
    let calendar = &document.norms.calendars["moscow"];
    let count = load::size(4096, 32);
    for (name, max_span) in [("hours", Span(72 * Span::HOUR.0)), ("years", Span(1500 * Span::DAY.0))] {
        let mut numbers = Numbers(7);
        let pairs: Vec<(Timestamp, Span)> = (0..count)
            .map(|_| (START + Span(numbers.below(365 * Span::DAY.0)), Span(numbers.below(max_span.0))))
            .collect();
        let working = || pairs.iter().map(|(from, span)| calendar.working(*from, *from + *span));
        let deadlines = || pairs.iter().map(|(from, span)| calendar.deadline(*from, Span(span.0 / 8)));
        load::print_hash(
            &format!("calendar/working/{name}"),
            working().fold(Hash::EMPTY, |hash, span| hash.add(&span)),
        );
        load::print_hash(&format!("calendar/deadline/{name}"), deadlines().fold(Hash::EMPTY, |hash, at| hash.add(&at)));
        let mut group = load::group(criterion, "calendar", count);
        group.bench_function(format!("working/{name}"), |bencher| {
            bencher.iter(|| working().map(black_box).count());
        });
        group.bench_function(format!("deadline/{name}"), |bencher| {
            bencher.iter(|| deadlines().map(black_box).count());
        });
        group.finish();
    }
}

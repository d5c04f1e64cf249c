//! What working time costs: how much of it lies between two instants, and when so much of it has passed; over hours, as
//! deadlines need it, and over years.

#[path = "common/load.rs"]
mod load;

use criterion::{Criterion, criterion_group, criterion_main};
use funnelwatch::config;
use funnelwatch::domain::time::{Span, Timestamp};
use load::{Hash, Numbers};
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

fn benches(criterion: &mut Criterion) {
    let document = config::parse_norms("norms", NORMS).unwrap_or_else(|problems| panic!("{problems}"));
    let calendar = &document.norms.calendars["moscow"];
    let questions = load::size(4096, 32);
    for (name, longest) in [("hours", Span(72 * Span::HOUR.0)), ("years", Span(1500 * Span::DAY.0))] {
        let mut numbers = Numbers(7);
        let pairs: Vec<(Timestamp, Span)> = (0..questions)
            .map(|_| (START + Span(numbers.below(365 * Span::DAY.0)), Span(numbers.below(longest.0))))
            .collect();
        let working = || pairs.iter().map(|(from, span)| calendar.working(*from, *from + *span));
        let deadlines = || pairs.iter().map(|(from, span)| calendar.deadline(*from, Span(span.0 / 8)));
        load::told(&format!("calendar/working/{name}"), working().fold(Hash::EMPTY, |hash, span| hash.add(&span)));
        load::told(&format!("calendar/deadline/{name}"), deadlines().fold(Hash::EMPTY, |hash, at| hash.add(&at)));
        let mut group = load::group(criterion, "calendar", questions);
        group.bench_function(format!("working/{name}"), |bencher| {
            bencher.iter(|| working().map(black_box).count());
        });
        group.bench_function(format!("deadline/{name}"), |bencher| {
            bencher.iter(|| deadlines().map(black_box).count());
        });
        group.finish();
    }
}

criterion_group!(calendar_benches, benches);
criterion_main!(calendar_benches);

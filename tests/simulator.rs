//! The simulator knows what must come out: what the floor delivers is what is owed, and nothing that is not, also with
//! duplicates and in disorder.

use funnelwatch::codec::state::PACKING;
use funnelwatch::config::parse_norms;
use funnelwatch::domain::alert::{Alert, Status};
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::norms::{Clock, Norms, ScopeQuery};
use funnelwatch::domain::rule::Rule;
use funnelwatch::domain::shard_processor::{ShardProcessor, ShardProgress, Source, SourceProgress, Timing};
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::sim::{Disturb, Plan, Simulation, norms_yaml};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every alert that a floor raises over these events, which come in batches of a hundred.
fn alerts(events: impl Iterator<Item = Event>, norms: &Arc<Norms>, until: Timestamp) -> Vec<Alert> {
    let timing = Timing { max_future_skew: None, until: Some(until), ..Timing::default() };
    let progress =
        ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
    let mut floor = ShardProcessor::new(Arc::clone(norms), timing, PACKING);
    let mut out = Vec::new();
    for (offset, event) in (0..).zip(events) {
        floor.arrive(Source::Files, offset, event, progress.wall).expect("nothing is too late");
        if offset % 100 == 0 {
            floor.advance(&progress, &mut out);
        }
    }
    assert_eq!(floor.take_counts().late, 0);
    floor.advance(&ShardProgress { close: Some(until), ..progress }, &mut out);
    let alert = |effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None };
    out.into_iter().flat_map(|made| made.effects).filter_map(alert).collect()
}

fn delivered_is_owed(seed: u64, days: i64, disturbed: bool) {
    let norms = Arc::new(parse_norms("norms", norms_yaml()).expect("the demo's norms").norms);
    let mut simulation = Simulation::new(Plan::demo(seed));
    let until = simulation.plan().start + Span(days * Span::DAY.0 + 12_345_000);
    let events: Vec<Event> = simulation.by_ref().take_while(|event| event.at <= until).collect();
    let alerts = if disturbed {
        alerts(events.into_iter().duplicated(0.05, seed).shuffled(Span(10_000), seed), &norms, until)
    } else {
        alerts(events.into_iter(), &norms, until)
    };
    assert!(alerts.iter().all(|alert| alert.status != Status::Retracted));
    let scope = norms.scope(ScopeQuery { tenant: "romashka", department: "moscow", ..ScopeQuery::default() });
    for rule in [Rule::FirstResponseLate, Rule::MissedCallNotReturned] {
        let within = scope.rules[&rule].within.expect("a deadline").span;
        let due = |anchor| scope.deadline(Clock::Business, anchor, within).expect("it comes");
        let owed: BTreeSet<_> = simulation
            .owed()
            .iter()
            .filter(|owed| owed.rule == rule && due(owed.anchor) <= until)
            .map(|owed| (owed.tenant.to_string(), owed.subject.name(owed.tenant.as_str()), owed.manager.to_string()))
            .collect();
        let delivered: BTreeSet<_> = alerts
            .iter()
            .filter(|alert| alert.rule == rule && alert.status == Status::Firing)
            .map(|alert| {
                let manager = alert.manager.as_ref().map(ToString::to_string);
                (alert.tenant.to_string(), alert.subject.to_string(), manager.unwrap_or_default())
            })
            .collect();
        assert!(owed.len() > 50, "seed {seed}: there is something to find");
        assert!(
            owed == delivered,
            "seed {seed}, {}: owed and not delivered {:?}; delivered and not owed {:?}",
            rule.name(),
            owed.difference(&delivered).take(5).collect::<Vec<_>>(),
            delivered.difference(&owed).take(5).collect::<Vec<_>>()
        );
    }
}

#[test]
fn in_order() {
    delivered_is_owed(1, 3, false);
}

#[test]
fn twice_and_in_disorder() {
    delivered_is_owed(2, 3, true);
    delivered_is_owed(3, 1, true);
}

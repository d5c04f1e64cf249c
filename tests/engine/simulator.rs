//! Compares the alerts of a shard with those the simulator expects, also with duplicates and in disorder.

use funnelwatch::codec::state::PACKING;
use funnelwatch::config::parse_norms;
use funnelwatch::domain::alert::{Alert, Status};
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::norms::{Clock, Norms, ScopeQuery};
use funnelwatch::domain::rule::Rule;
use funnelwatch::domain::shard::processor::{ShardProcessor, ShardProgress, SourceProgress, Timing};
use funnelwatch::domain::source::{Offset, Source};
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::sim::{Disorder, Plan, Simulation, norms_yaml};
use std::collections::BTreeSet;
use std::sync::Arc;

/// All alerts of a shard over these events, in batches of a hundred.
fn alerts(events: impl Iterator<Item = Event>, norms: &Arc<Norms>, until: Timestamp) -> Vec<Alert> {
    let timing = Timing { max_future_skew: None, until: Some(until), ..Timing::default() };
    let progress =
        ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
    let mut processor = ShardProcessor::new(Arc::clone(norms), timing, PACKING);
    let mut out = Vec::new();
    for (offset, event) in (0..).zip(events) {
        processor.arrive(Source::Files, Offset(offset), event, Timestamp::default()).expect("nothing is too late");
        if offset % 100 == 0 {
            processor.advance(&progress, &mut out);
        }
    }
    assert_eq!(processor.take_counts().late, 0);
    processor.advance(&ShardProgress { close: Some(until), ..progress }, &mut out);
    let alert = |effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None };
    out.into_iter().flat_map(|output| output.effects).filter_map(alert).collect()
}

/// The rules whose violations are all deliberate, and how many there are in a day or more at least.
const RULES: [(Rule, usize); 10] = [
    (Rule::FirstResponseLate, 50),
    (Rule::MissedCallNotReturned, 50),
    (Rule::MessageUnanswered, 50),
    (Rule::NextStepOverdue, 5),
    (Rule::DisqualifiedWithoutContact, 50),
    (Rule::DisqualifiedWithoutReason, 20),
    (Rule::DiscountOverLimit, 5),
    (Rule::StageSkipped, 0),
    (Rule::StageRequirementsUnmet, 0),
    (Rule::StageOverdue, 0),
];

fn check_alerts(seed: u64, days: i64, disordered: bool) {
    let norms = Arc::new(parse_norms("norms", norms_yaml()).expect("the demo's norms").norms);
    let mut simulation = Simulation::new(Plan::demo(seed));
    let until = simulation.plan().start + Span(days * Span::DAY.0 + 12_345_000);
    let events: Vec<Event> = simulation.by_ref().take_while(|event| event.at <= until).collect();
    let alerts = if disordered {
        alerts(events.into_iter().duplicated(0.05, seed).shuffled(Span(10_000), seed), &norms, until)
    } else {
        alerts(events.into_iter(), &norms, until)
    };
    assert!(alerts.iter().all(|alert| alert.status != Status::Retracted));
    let scope = norms.scope(ScopeQuery { tenant: "romashka", department: "moscow", ..ScopeQuery::default() });
    for (rule, least) in RULES {
        let within = scope.rules[&rule].within.map(|within| within.span);
        let due =
            |anchor| within.map_or(anchor, |within| scope.deadline(Clock::Business, anchor, within).expect("one"));
        let expected: BTreeSet<_> = simulation
            .expected()
            .iter()
            .filter(|expected| expected.rule == rule && due(expected.anchor) <= until)
            .map(|expected| {
                (
                    expected.tenant.to_string(),
                    expected.subject.name(expected.tenant.as_str()),
                    expected.manager.to_string(),
                    expected.anchor,
                )
            })
            .collect();
        let delivered: BTreeSet<_> = alerts
            .iter()
            .filter(|alert| alert.rule == rule && matches!(alert.status, Status::Firing | Status::Raised))
            .map(|alert| {
                let manager = alert.manager.as_ref().map(ToString::to_string);
                (alert.tenant.to_string(), alert.subject.to_string(), manager.unwrap_or_default(), alert.anchor_at)
            })
            .collect();
        assert!(expected.len() >= least, "seed {seed}, {}: only {} expected alerts", rule.name(), expected.len());
        assert!(
            expected == delivered,
            "seed {seed}, {}: missing {:?}; unexpected {:?}",
            rule.name(),
            expected.difference(&delivered).take(5).collect::<Vec<_>>(),
            delivered.difference(&expected).take(5).collect::<Vec<_>>()
        );
    }
}

#[test]
fn in_order() {
    check_alerts(1, 3, false);
}

#[test]
fn with_duplicates_and_in_disorder() {
    check_alerts(2, 3, true);
    check_alerts(3, 1, true);
}

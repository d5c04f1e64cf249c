//! Property test of `source_silent`: alerts and figures follow the definition, also with late events.

use funnelwatch::codec::json;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::domain::alert::{Alert, Status};
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::figures::pane::Measure;
use funnelwatch::domain::index::ManagerIx;
use funnelwatch::domain::norms::{Norms, ScopeQuery};
use funnelwatch::domain::rule::Rule;
use funnelwatch::domain::shard::processor::{ShardProcessor, ShardProgress, Timing};
use funnelwatch::domain::source::{Offset, Source, Topic};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::{Span, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Monday 2026-03-02.
const START: Timestamp = Timestamp(1_772_409_600_000);
/// The watermark moves in steps of this length.
const TICK: Span = Span::HOUR;
const TICKS: i64 = 150;
/// The maximum number of steps by which an event is late; later ones would be rejected.
const LATEST: i64 = 5;

/// One event: minute, topic, lateness in steps.
type TestEvent = (i64, usize, i64);

const NORMS: [&str; 3] = [
    "norms: {source_silent: {within: 3h, escalate_after: [1h, 4h]}}",
    "norms: {source_silent: {within: 20m, escalate_after: [15m]}}",
    "calendars: {c: {timezone: Europe/Moscow, week: {mon: ['09:00-18:00'], tue: ['09:00-18:00'], wed: ['09:00-12:00', \
     '13:00-18:00'], thu: ['09:00-18:00'], sat: ['10:00-10:30']}}}
calendar: c
norms: {source_silent: {within: 90m, clock: business, escalate_after: [1h, 10h]}}",
];

fn norms(text: &str) -> Arc<Norms> {
    Arc::new(config::parse_norms("norms", text).unwrap_or_else(|problems| panic!("{problems}")).norms)
}

fn at(minute: i64) -> Timestamp {
    START + Span(minute * Span::MINUTE.0)
}

/// The state at the end.
#[derive(Debug, PartialEq)]
struct FinalState {
    /// The last status of each alert that was not retracted.
    alerts: BTreeMap<Uuid, Alert>,
    facts: BTreeMap<(Timestamp, ManagerIx, Measure), i32>,
}

/// Delivers the events with their lateness or all in time. Returns all statuses in order and the final state.
fn deliver(norms: &Arc<Norms>, events: &[TestEvent], late: bool) -> (Vec<Alert>, FinalState) {
    let memory = Memory { correction_horizon: Span((LATEST + 1) * TICK.0), ..Memory::default() };
    let mut processor =
        ShardProcessor::new(Arc::clone(norms), Timing { memory, max_future_skew: None, ..Timing::default() }, PACKING);
    let (mut emitted, mut facts) = (Vec::new(), BTreeMap::new());
    for tick in 1..=TICKS {
        for (offset, (minute, topic, delay)) in events.iter().enumerate() {
            // The step that passes the event, plus its lateness.
            let due = (minute + 59) / 60 + if late { *delay } else { 0 };
            if due.clamp(1, TICKS) != tick {
                continue;
            }
            let payload = [
                r#""interaction_reviewed":{"interaction_id":"i","manager_id":"m","reviewer_id":"r","score":1,"verdict":"NEUTRAL"}"#,
                r#""call_started":{"call_id":"c","direction":"INBOUND"}"#,
                r#""message_received":{"message_id":"m","channel":"EMAIL"}"#,
            ][*topic];
            let text = format!(r#"{{"tenant_id":"acme","occurred_at":"{}",{payload}}}"#, at(*minute));
            let event = json::decode(text.as_bytes()).expect("an event");
            let source = Source::Topic(Topic::ALL[*topic]);
            processor.arrive(source, Offset(offset as i64), event, START).expect("not too late");
        }
        let mut outputs = Vec::new();
        let watermark = START + Span(tick * TICK.0);
        processor.advance(&ShardProgress { close: Some(watermark), ..ShardProgress::default() }, &mut outputs);
        for effect in outputs.into_iter().flat_map(|effects| effects.effects) {
            match effect {
                Effect::Alert(alert) => emitted.push(*alert),
                Effect::Fact(fact) => *facts.entry((fact.at, fact.who, fact.measure)).or_default() += fact.times,
                _ => {}
            }
        }
    }
    let mut alerts: BTreeMap<_, _> = emitted.iter().map(|alert| (alert.id, alert.clone())).collect();
    alerts.retain(|_, alert| alert.status != Status::Retracted);
    facts.retain(|_, times| *times != 0);
    (emitted, FinalState { alerts, facts })
}

/// The statuses by the definition: subject, status and instant.
fn expected(norms: &Norms, events: &[TestEvent]) -> Vec<(String, Status, Timestamp)> {
    let scope = norms.scope(ScopeQuery { tenant: "acme", department: "unknown", ..ScopeQuery::default() });
    let norm = &scope.rules[&Rule::SourceSilent];
    let end = START + Span(TICKS * TICK.0);
    let mut all = Vec::new();
    for (index, topic) in Topic::ALL.into_iter().enumerate() {
        let mut own: Vec<_> = events.iter().filter(|event| event.1 == index).map(|event| at(event.0)).collect();
        own.sort();
        for (position, anchor) in own.iter().enumerate() {
            let next = own.get(position + 1).copied();
            // At one instant the topics are in their order.
            let other_events = events.iter().filter(|event| event.1 != index).map(|event| (at(event.0), event.1));
            let Some((other, _)) = other_events.filter(|other| *other > (*anchor, index)).min() else { continue };
            let Some(due) = scope.due(Rule::SourceSilent, *anchor) else { continue };
            let begin = due.max(other);
            let subject = format!("topic:{}", topic.name());
            if begin > end || next.is_some_and(|next| next <= begin) {
                continue;
            }
            all.push((subject.clone(), Status::Firing, begin));
            for step in norm.escalate_after.iter().flatten() {
                let step = scope.deadline(norm.clock.unwrap_or_default(), due, step.span);
                let step = step.map_or(Timestamp::MAX, |step| step.max(begin));
                if step <= end && next.is_none_or(|next| step < next) {
                    all.push((subject.clone(), Status::Escalated, step));
                }
            }
            all.extend(next.map(|next| (subject, Status::Resolved, next)));
        }
    }
    all.sort();
    all
}

fn events() -> impl Strategy<Value = Vec<TestEvent>> {
    // Coarse minutes, so that events coincide with each other and with deadlines.
    let minute = prop_oneof![0..(TICKS - 1) * 6, 200..260_i64, 500..540_i64].prop_map(|tens| tens * 10);
    let topic = prop_oneof![
        Just([0, 1, 2]),
        // One frequent and one rare source: discarded events of the frequent one matter to the rare one.
        Just([0, 0, 0]),
    ];
    let event = (minute, 0..3_usize, prop_oneof![Just(0), 0..=LATEST], 0..30_usize);
    (topic, prop::collection::vec(event, 1..160)).prop_map(|(topics, events)| {
        let topic = |topic: usize, chance| if chance == 0 { 1 } else { topics[topic] };
        events.into_iter().map(|(minute, index, late, chance)| (minute, topic(index, chance), late)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn silences_follow_the_definition(events in events(), norm in 0..NORMS.len()) {
        let norms = norms(NORMS[norm]);
        let (emitted, _) = deliver(&norms, &events, false);
        let mut emitted: Vec<_> =
            emitted.into_iter().map(|alert| (alert.subject.to_string(), alert.status, alert.at)).collect();
        emitted.sort();
        prop_assert_eq!(emitted, expected(&norms, &events));
    }

    #[test]
    fn late_events_do_not_change_the_result(events in events(), norm in 0..NORMS.len()) {
        let norms = norms(NORMS[norm]);
        let (emitted, late) = deliver(&norms, &events, true);
        let (_, mut in_time) = deliver(&norms, &events, false);
        // Nothing follows a retraction, even if a later event shows that there was a silence.
        for alert in emitted.iter().filter(|alert| alert.status == Status::Retracted) {
            in_time.alerts.remove(&alert.id);
        }
        prop_assert_eq!(late, in_time);
        let mut began = BTreeMap::new();
        for alert in emitted {
            match alert.status {
                Status::Firing => drop(began.insert(alert.id, alert.at)),
                Status::Retracted => prop_assert_eq!(Some(&alert.at), began.get(&alert.id), "{:?}", alert),
                _ => {}
            }
        }
    }
}

//! Tests of the time of tenants: whatever one tenant sends, the output for another one is the same, epoch by epoch.

use crate::oracle;
use funnelwatch::codec::json as codec;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::event::progress::Progress;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard::processor::{Effects, ShardProcessor, ShardProgress, SourceProgress, Timing};
use funnelwatch::domain::source::{Offset, Source, Topic};
use funnelwatch::domain::time::{Span, Timestamp};
use std::sync::Arc;

/// The tenant that is watched.
const WATCHED: &str = "watched";
const SECOND: i64 = 1000;

/// What a neighbour does besides ordinary work.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Neighbour {
    /// It does not exist.
    Nobody,
    /// Its clock is 290 s ahead.
    Ahead,
    /// It sends a year of past events, without marks.
    PastWithoutMarks,
    /// Likewise, with marks of a back-fill.
    BackFill,
    /// Its source reports nothing, after a first mark.
    Stopped,
}

struct Shard {
    processor: ShardProcessor,
    offset: i64,
}

impl Shard {
    fn new(norms: &Arc<Norms>, timing: Timing) -> Self {
        Self { processor: ShardProcessor::new(Arc::clone(norms), timing, PACKING), offset: 0 }
    }

    fn arrive(&mut self, event: Event, wall: Timestamp) {
        self.offset += 1;
        let source = Source::Topic(event.payload.topic());
        self.processor.arrive(source, Offset(self.offset), event, wall).expect("accepted");
    }

    fn progress(&mut self, tenant: &str, up_to: Timestamp, backfill: bool, wall: Timestamp) {
        self.offset += 1;
        let progress = Progress { tenant: tenant.into(), source: "gateway".into(), up_to, backfill };
        let at = (Source::Topic(Topic::Crm), Offset(self.offset));
        self.processor.progress(at, Topic::Crm, progress, wall).expect("accepted");
    }

    fn advance(&mut self, wall: Timestamp) -> Vec<Effects> {
        let source = |topic| SourceProgress {
            source: Source::Topic(topic),
            current: true,
            ended: false,
            position: Offset(self.offset + 1),
        };
        let sources = Topic::ALL.map(source).to_vec();
        let mut effects = Vec::new();
        self.processor.advance(&ShardProgress { wall: Some(wall), sources, ..ShardProgress::default() }, &mut effects);
        effects
    }
}

fn lead(tenant: &str, id: &str, at: Timestamp) -> Event {
    let text = format!(
        r#"{{"tenant_id":"{tenant}","occurred_at":"{at}","lead_created":{{"lead_id":"{id}","manager_id":"m"}}}}"#
    );
    codec::decode(text.as_bytes()).expect("an event")
}

/// The effects on the watched tenant, each with the wall clock at which it is emitted.
fn watched(events: &[Event], norms: &Arc<Norms>, neighbour: Neighbour) -> Vec<(Timestamp, Vec<Effect>)> {
    let mut shard = Shard::new(norms, Timing::default());
    let (begin, end) = (events[0].at, events[events.len() - 1].at);
    let (mut output, mut events) = (Vec::new(), events.iter().peekable());
    let mut number = 0;
    let mut wall = begin;
    while wall < end.saturating_add(Span::HOUR) {
        wall = wall.saturating_add(Span(7 * SECOND));
        number += 1;
        while let Some(event) = events.next_if(|event| event.at <= wall) {
            shard.arrive(event.clone(), wall);
        }
        let id = number.to_string();
        let past = wall.saturating_sub(Span(365 * Span::DAY.0)).saturating_add(Span(number * 40 * Span::MINUTE.0));
        match neighbour {
            Neighbour::Nobody => {}
            Neighbour::Ahead => shard.arrive(lead("noisy", &id, wall.saturating_add(Span(290 * SECOND))), wall),
            Neighbour::PastWithoutMarks => shard.arrive(lead("noisy", &id, past), wall),
            Neighbour::BackFill => {
                shard.arrive(lead("noisy", &id, past), wall);
                shard.progress("noisy", past, true, wall);
            }
            Neighbour::Stopped => {
                if number == 1 {
                    shard.progress("noisy", wall, false, wall);
                }
                shard.arrive(lead("noisy", &id, wall), wall);
            }
        }
        let effects = shard.advance(wall).into_iter().find(|effects| effects.tenant.as_str() == WATCHED);
        output.extend(effects.map(|effects| (wall, effects.effects)).filter(|(_, effects)| !effects.is_empty()));
    }
    output
}

#[test]
fn a_neighbour_changes_nothing() {
    for seed in 0..6 {
        let (events, norms) = oracle::stream::stream(seed, 150);
        let document = config::parse_norms("norms", &norms.to_string()).expect("norms");
        let norms = Arc::new(document.norms);
        let mut events: Vec<Event> =
            events.iter().filter_map(|event| codec::decode(event.to_string().as_bytes()).ok()).collect();
        events.retain(|event| event.tenant.as_str() == "acme");
        events.sort_by_key(|event| event.at);
        events.iter_mut().for_each(|event| event.tenant = WATCHED.into());
        // A day of them is enough.
        let until = events[0].at.saturating_add(Span::DAY);
        events.retain(|event| event.at < until);
        let alone = watched(&events, &norms, Neighbour::Nobody);
        assert!(!alone.is_empty(), "seed {seed}");
        for neighbour in [Neighbour::Ahead, Neighbour::PastWithoutMarks, Neighbour::BackFill, Neighbour::Stopped] {
            let found = watched(&events, &norms, neighbour);
            assert!(format!("{found:?}") == format!("{alone:?}"), "seed {seed}: {neighbour:?}");
        }
    }
}

/// Norms with a first response within ten minutes.
fn first_response() -> Arc<Norms> {
    let norms = r#"{"norms": {"first_response_late": {"within": "10m"}}}"#;
    Arc::new(config::parse_norms("norms", norms).expect("norms").norms)
}

/// The alerts about the leads of a tenant.
fn alerts(effects: Vec<Effects>) -> Vec<String> {
    let of = effects.into_iter().flat_map(|effects| effects.effects);
    let alert = |effect| match effect {
        Effect::Alert(alert) => Some(format!("{} {}", alert.status.name(), alert.subject)),
        _ => None,
    };
    of.filter_map(alert).collect()
}

#[test]
fn nobody_is_accused_before_the_source_has_reported() {
    let mut shard = Shard::new(&first_response(), Timing::default());
    let begin = Timestamp(1_772_434_800_000);
    let after = |minutes: i64| begin.saturating_add(Span(minutes * Span::MINUTE.0));
    shard.arrive(lead("acme", "reported", begin), after(1));
    shard.progress("acme", after(1), false, after(1));
    shard.arrive(lead("other", "unmarked", begin), after(1));
    assert_eq!(alerts(shard.advance(after(1))), [""; 0]);
    // Without marks, the wall clock decides; with them, the report of the sweep.
    assert_eq!(alerts(shard.advance(after(20))), ["FIRING lead:unmarked"]);
    shard.progress("acme", after(19), false, after(21));
    assert_eq!(alerts(shard.advance(after(21))), ["FIRING lead:reported"]);
}

/// An event that arrives when its topic is about to be left out is still held when the tenant begins to follow the clock.
#[test]
fn a_tenant_follows_the_clock_after_its_last_held_event() {
    let timing = Timing { allowed_lateness: Span(20 * SECOND), ..Timing::default() };
    let mut shard = Shard::new(&first_response(), timing);
    let begin = Timestamp(1_772_434_800_000);
    let after = |seconds: i64| begin.saturating_add(Span(seconds * SECOND));
    shard.arrive(lead("acme", "1", begin), begin);
    for seconds in (1..60).chain([598]) {
        assert_eq!(alerts(shard.advance(after(seconds))), [""; 0]);
    }
    assert_eq!(alerts(shard.advance(after(620))), ["FIRING lead:1"]);
}

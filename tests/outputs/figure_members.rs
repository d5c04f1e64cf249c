//! Tests that to ask what stands behind figures changes nothing: what follows, late events included, is the same as without.

use funnelwatch::codec::{Encoding, json};
use funnelwatch::config;
use funnelwatch::dataflow::epoch::Batch;
use funnelwatch::dataflow::live::{FigureQuery, LiveState};
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::dataflow::workers;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::figures::behind::Behind;
use funnelwatch::domain::shard::processor::{ShardProgress, Timing};
use funnelwatch::domain::source::{Offset, Source};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::sim::{self, Plan, Simulation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Figures of leads, deals, contacts, calls and clocks.
const ASKED: [&str; 4] = ["touches", "violations", "open_alerts", "unreturned_calls"];

/// The parts of a stream: a third part of its events are late in every part but the first.
fn parts(events: &[Event]) -> Vec<Vec<&Event>> {
    let mut parts = vec![Vec::new(); 4];
    for (index, event) in events.iter().enumerate() {
        let part = index * 3 / events.len();
        parts[if index % 7 == 0 { part + 1 } else { part }].push(event);
    }
    parts
}

/// Asks for the members of some figures of every tenant. Returns how many there were.
fn ask(live_state: &LiveState) -> usize {
    let mut found = 0;
    for snapshot in live_state.snapshots() {
        for figure in ASKED.iter().filter_map(|name| Behind::named(name)) {
            let window = snapshot.norms.windows.iter().find(|window| window.size == Span::DAY).copied();
            let labels = &BTreeMap::new();
            let query = FigureQuery {
                figure,
                labels,
                window: window.filter(|_| !figure.now),
                manager: None,
                at: snapshot.watermark,
            };
            found += live_state.members(&snapshot.tenant, &query).expect("members").len();
        }
    }
    found
}

/// All rows, alerts and reports at the end.
fn run(events: &[Event], asks: bool) -> Vec<String> {
    let norms = config::parse_norms("norms", sim::norms_yaml()).unwrap_or_else(|problems| panic!("{problems}")).norms;
    // Cases of a few events have undo logs already.
    let memory = Memory { undo_events: 8, ..Memory::default() };
    let timing = Timing { max_future_skew: None, follows_clock: false, memory, ..Timing::default() };
    let settings = DataflowSettings { shards: 2, ..DataflowSettings::new(Arc::new(norms), timing) };
    let live_state = Arc::clone(&settings.live_state);
    let (supply, mut collector, guards) = workers::start(1, settings).expect("threads");
    let (mut seen, mut offset, mut found) = (Vec::new(), 0, 0);
    for (epoch, part) in (0..).zip(parts(events)) {
        let mut batch = Batch::new(Source::Files, None, Encoding::Json);
        for event in &part {
            let mut line = Vec::new();
            json::encode_event(event, &mut line);
            batch.push(Offset(offset), None, &line);
            offset += 1;
        }
        let close = part.iter().map(|event| event.at).max().expect("events") + Span::MINUTE;
        let other_shards = Some(ShardProgress { close: Some(close), ..ShardProgress::default() });
        assert!(
            supply.send(EpochHeader { epoch, other_shards, ..EpochHeader::default() }, vec![vec![Arc::new(batch)]])
        );
        let output = collector.next_epoch().expect("workers");
        assert!(output.rejected.is_empty());
        seen.extend(output.alerts.iter().map(|alert| format!("{alert:?}")));
        found += if asks { ask(&live_state) } else { 0 };
    }
    assert_eq!(found > 500, asks, "{found}");
    seen.extend(live_state.rows().iter().map(|row| format!("{row:?}")));
    for (tenant, ..) in live_state.tenants() {
        let (_, clocks) = live_state.running_clocks(&tenant).expect("the tenant");
        seen.extend(clocks.iter().map(|clock| format!("{clock:?}")));
    }
    drop(supply);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    seen
}

#[test]
fn to_ask_for_members_changes_nothing() {
    let plan = Plan { keeps_expected: false, ..Plan::demo(3) };
    let until = Timestamp(plan.start.0 + 50 * Span::MINUTE.0);
    let events: Vec<Event> = Simulation::new(plan).take_while(|event| event.at <= until).collect();
    let (without, with) = (run(&events, false), run(&events, true));
    assert!(without.iter().any(|line| line.contains("LateEvidence")), "a late event retracts an alert");
    for (without, with) in without.iter().zip(&with) {
        assert_eq!(with, without);
    }
    assert_eq!(with.len(), without.len());
}

//! Owns the proof that `/metrics` shows the figures of the rows, all of them and nothing else; and, where one asks for it or
//! where there is no room, less of them.

#[path = "common/figures.rs"]
mod figures;

use figures::{Series, assert_equal, series_of_rows, series_of_scrape};
use funnelwatch::codec::json;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::dataflow::live_state::{LiveState, TenantFigures};
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard_processor::{ShardProcessor, ShardProgress, Source, SourceProgress, Timing};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::sim::{Plan, Simulation, norms_yaml};
use funnelwatch::telemetry::exporter::{Exporter, Selection};
use funnelwatch::telemetry::metric::Metric;
use funnelwatch::telemetry::processor_metrics::ProcessorMetrics;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The demonstration's two companies after some hours.
fn board() -> Arc<LiveState> {
    let norms =
        Arc::new(config::parse_norms("norms", norms_yaml()).unwrap_or_else(|problems| panic!("{problems}")).norms);
    let timing = Timing { max_future_skew: None, ..Timing::default() };
    let mut floor = ShardProcessor::new(Arc::clone(&norms), timing, PACKING);
    let mut last = Timestamp::MIN;
    for (event, offset) in Simulation::new(Plan::demo(3)).take(20_000).zip(0..) {
        last = event.at;
        floor.arrive(Source::Files, offset, event, Timestamp::default()).expect("nothing is late");
    }
    let mut made = Vec::new();
    floor.advance(
        &ShardProgress {
            sources: vec![SourceProgress::of(Source::Files, false)],
            close: Some(last),
            ..ShardProgress::default()
        },
        &mut made,
    );
    let board = LiveState::default();
    for made in made {
        let mut scoreboard = Scoreboard::new(made.tenant.clone(), Arc::clone(&norms));
        let mut alerts = Vec::new();
        made.effects.into_iter().for_each(|effect| scoreboard.take(effect, &mut alerts));
        scoreboard.judge_until(last, &mut alerts);
        board.enter(made.tenant, TenantFigures { shard: 0, at: last, scoreboard, reviews: BTreeMap::new() });
    }
    Arc::new(board)
}

const ALL: Selection = Selection { manager_windows: None, manager_metrics: None, max_series: usize::MAX };

fn scrape(board: &Arc<LiveState>, selection: Selection) -> String {
    let (health, clock) = (Arc::new(ProcessorMetrics::default()), Arc::new(|| Timestamp(0)));
    let exporter = Exporter::new(Arc::clone(board), health, clock, selection);
    String::from_utf8(exporter.render().expect("text")).expect("UTF-8")
}

/// The rows, from the very bytes that a service gets.
fn rows(board: &LiveState) -> Vec<Value> {
    let decoded = |row| {
        let mut line = Vec::new();
        json::encode_row(&row, &mut line);
        serde_json::from_slice(&line).expect("JSON")
    };
    board.rows().into_iter().map(decoded).collect()
}

fn value(text: &str, series: &str) -> usize {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing")).parse().expect("a whole number")
}

#[test]
fn a_scrape_shows_what_the_rows_show() {
    let board = board();
    let (text, rows) = (scrape(&board, ALL), rows(&board));
    let wanted = series_of_rows(&rows);
    assert!(wanted.len() > 5_000, "{}", wanted.len());
    assert_equal(&series_of_scrape(&text), &wanted);
    // Each figure comes with what it is, once.
    let mut told = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert!(told.insert(line), "{line} twice");
    }
}

#[test]
fn single_managers_show_what_is_selected() {
    let board = board();
    let selection = Selection {
        manager_windows: Some(vec!["24h".into()]),
        manager_metrics: Some(vec![Metric::Touches, Metric::OpenAlerts]),
        ..ALL
    };
    let all = series_of_rows(&rows(&board));
    let is_selected = |(series, _): &(String, f64)| {
        let name = series.split('{').next().unwrap_or_default();
        match name.strip_prefix("funnelwatch_manager_") {
            Some("touches") => series.contains(r#"window="24h""#),
            Some(name) => name == "open_alerts",
            None => true,
        }
    };
    let wanted: Series = all.clone().into_iter().filter(is_selected).collect();
    assert!(wanted.len() < all.len());
    assert_equal(&series_of_scrape(&scrape(&board, selection)), &wanted);
}

#[test]
fn what_is_beyond_the_bound_is_left_out_and_counted() {
    let board = board();
    let everything = scrape(&board, ALL);
    let all = value(&everything, "funnelwatch_series");
    let left_out = |text: &str| {
        ["tenant", "department", "manager"]
            .map(|level| value(text, &format!("funnelwatch_series_left_out{{level=\"{level}\"}}")))
    };
    assert_eq!(left_out(&everything), [0; 3]);
    let text = scrape(&board, Selection { max_series: all - 700, ..ALL });
    assert_eq!(left_out(&text), [0, 0, 700], "managers' series go first");
    assert_eq!(value(&text, "funnelwatch_series"), all - 700);
    let (most, full) = (series_of_scrape(&text), series_of_scrape(&everything));
    assert_eq!(full.len() - most.len(), 700);
    assert!(most.iter().all(|(series, value)| full[series] == *value));
    let gone = full.keys().filter(|series| !most.contains_key(*series));
    let last = "window=\"30d\"";
    assert!(gone.clone().all(|series| series.contains(last)), "of managers the longest windows go first");
    let none = scrape(&board, Selection { max_series: 0, ..ALL });
    assert_eq!(left_out(&none).iter().sum::<usize>(), all);
    assert!(series_of_scrape(&none).is_empty() && none.contains("funnelwatch_build_info"));
}

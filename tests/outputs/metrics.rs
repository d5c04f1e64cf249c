//! Tests that `/metrics` exports exactly the figures of the metric rows, or fewer with a selection or a limit on series.

#[path = "../common/figures.rs"]
mod figures;

use figures::{Series, assert_equal, series_of_rows, series_of_scrape};
use funnelwatch::codec::state::PACKING;
use funnelwatch::codec::{Encoding, json};
use funnelwatch::config;
use funnelwatch::dataflow::epoch::Batch;
use funnelwatch::dataflow::live::{LiveState, TenantFigures};
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::dataflow::workers;
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard::processor::{ShardProcessor, ShardProgress, SourceProgress, TenantTime, Timing};
use funnelwatch::domain::shard::tenant_clock::TenantClock;
use funnelwatch::domain::source::{Offset, ShardId, Source};
use funnelwatch::domain::time::Timestamp;
use funnelwatch::sim::{Plan, Simulation, norms_yaml};
use funnelwatch::telemetry::exporter::{Exporter, Selection};
use funnelwatch::telemetry::processor_metrics::ProcessorMetrics;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The two tenants of the demo after some hours.
fn live_state() -> Arc<LiveState> {
    live_state_under(norms_yaml())
}

fn live_state_under(norms: &str) -> Arc<LiveState> {
    let norms = Arc::new(config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}")).norms);
    let timing = Timing { max_future_skew: None, ..Timing::default() };
    let mut processor = ShardProcessor::new(Arc::clone(&norms), timing, PACKING);
    let mut last = Timestamp::MIN;
    for (event, offset) in Simulation::new(Plan::demo(3)).take(20_000).zip(0..) {
        last = event.at;
        processor.arrive(Source::Files, Offset(offset), event, Timestamp::default()).expect("nothing is late");
    }
    let mut outputs = Vec::new();
    processor.advance(
        &ShardProgress {
            sources: vec![SourceProgress::of(Source::Files, false)],
            close: Some(last),
            ..ShardProgress::default()
        },
        &mut outputs,
    );
    let time = TenantTime::restored(TenantClock { watermark: last, ..TenantClock::default() });
    let live_state = LiveState::default();
    for output in outputs {
        let mut scoreboard = Scoreboard::new(output.tenant.clone(), Arc::clone(&norms));
        let mut alerts = Vec::new();
        output.effects.into_iter().for_each(|effect| scoreboard.apply(effect, &mut alerts));
        scoreboard.judge_until(last, &mut alerts);
        live_state.insert_tenant(
            output.tenant.clone(),
            TenantFigures { scoreboard, ..TenantFigures::new(ShardId(0), time.clone(), output.tenant, &norms) },
        );
    }
    Arc::new(live_state)
}

const ALL: Selection = Selection {
    manager_windows: None,
    manager_metrics: None,
    max_series: usize::MAX,
    max_bytes: usize::MAX,
    names: false,
};

fn scrape(live_state: &Arc<LiveState>, selection: Selection) -> String {
    let (metrics, clock) = (Arc::new(ProcessorMetrics::default()), Arc::new(|| Timestamp(0)));
    let exporter = Exporter::new(Arc::clone(live_state), metrics, clock, selection);
    String::from_utf8(exporter.render()).expect("UTF-8")
}

/// The rows, decoded from the bytes that subscribers get.
fn rows(live_state: &LiveState) -> Vec<Value> {
    let decoded = |row| {
        let mut line = Vec::new();
        json::encode_row(&row, &mut line);
        serde_json::from_slice(&line).expect("JSON")
    };
    live_state.rows().into_iter().map(decoded).collect()
}

fn value(text: &str, series: &str) -> usize {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing")).parse().expect("a whole number")
}

#[test]
fn a_scrape_equals_the_rows() {
    let live_state = live_state();
    let (text, rows) = (scrape(&live_state, ALL), rows(&live_state));
    let wanted = series_of_rows(&rows);
    assert!(wanted.len() > 5_000, "{}", wanted.len());
    assert_equal(&series_of_scrape(&text), &wanted);
    // Each metric has its type once.
    let mut types = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert!(types.insert(line), "duplicate {line}");
    }
}

#[test]
fn open_entities_in_unlisted_stages_are_exported() {
    let live_state = live_state_under(
        &norms_yaml().replace("{id: PROPOSAL,", "{id: proposal,").replace("{id: IN_WORK}", "{id: in_work}"),
    );
    let text = scrape(&live_state, ALL);
    let found: BTreeSet<_> = text.lines().filter(|line| line.starts_with("funnelwatch_unlisted_stages{")).collect();
    let mut wanted = BTreeSet::new();
    for row in rows(&live_state).iter().filter(|row| row["subject"] == "tenant" && row["window"] == "now") {
        // Leads of the simulator have no pipeline.
        for (pipeline, stage) in [("sales", "PROPOSAL"), ("unknown", "IN_WORK")] {
            let (tenant, open) = (&row["tenant_id"], &row["open"][pipeline][stage]);
            assert!(open.as_u64() > Some(0), "{row}");
            let labels = format!(r#"tenant={tenant},pipeline="{pipeline}",deal_stage="{stage}""#);
            wanted.insert(format!("funnelwatch_unlisted_stages{{{labels}}} {open}"));
        }
    }
    assert_eq!(found, wanted.iter().map(String::as_str).collect());
}

#[test]
fn manager_series_follow_the_selection() {
    let live_state = live_state();
    let selection = Selection {
        manager_windows: Some(vec!["24h".into()]),
        manager_metrics: Some(vec!["touches".into(), "open_alerts".into()]),
        ..ALL
    };
    let all = series_of_rows(&rows(&live_state));
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
    assert_equal(&series_of_scrape(&scrape(&live_state, selection)), &wanted);
}

#[test]
fn series_beyond_the_limit_are_left_out_and_counted() {
    let live_state = live_state();
    let everything = scrape(&live_state, ALL);
    let all = value(&everything, "funnelwatch_series");
    let left_out = |text: &str| {
        ["tenant", "department", "manager"]
            .map(|level| value(text, &format!("funnelwatch_series_left_out{{level=\"{level}\"}}")))
    };
    assert_eq!(left_out(&everything), [0; 3]);
    let text = scrape(&live_state, Selection { max_series: all - 700, ..ALL });
    assert_eq!(left_out(&text), [0, 0, 700], "series of managers are left out first");
    assert_eq!(value(&text, "funnelwatch_series"), all - 700);
    let (most, full) = (series_of_scrape(&text), series_of_scrape(&everything));
    assert_eq!(full.len() - most.len(), 700);
    assert!(most.iter().all(|(series, value)| full[series] == *value));
    let removed = full.keys().filter(|series| !most.contains_key(*series));
    let longest = "window=\"30d\"";
    assert!(removed.clone().all(|series| series.contains(longest)), "of these, the longest windows are left out first");
    let max_bytes = everything.len() / 2;
    let small = scrape(&live_state, Selection { max_bytes, ..ALL });
    assert!((max_bytes / 2..=max_bytes).contains(&small.len()), "{} of {max_bytes} bytes", small.len());
    assert_eq!(left_out(&small).iter().sum::<usize>() + value(&small, "funnelwatch_series"), all);
    let none = scrape(&live_state, Selection { max_series: 0, ..ALL });
    assert_eq!(left_out(&none).iter().sum::<usize>(), all);
    assert_eq!(series_of_scrape(&none), Series::new());
    assert!(none.contains("funnelwatch_build_info"));
}

#[test]
fn names_are_exported_on_request_and_ids_where_no_name_is_known() {
    let payloads = [
        json!({"manager_upserted": {"manager_id": "ann", "name": "Ann Lee", "department_id": "north"}}),
        json!({"manager_upserted": {"manager_id": "bob", "department_id": "north"}}),
        json!({"department_upserted": {"department_id": "north", "name": "North", "parent_id": "sales",
            "head_manager_id": "bob"}}),
        json!({"department_upserted": {"department_id": "south", "parent_id": "sales"}}),
        // Absent fields stay, an empty id takes one away.
        json!({"department_upserted": {"department_id": "north", "parent_id": ""}}),
        json!({"manager_upserted": {"manager_id": "ann", "department_id": "north"}}),
    ];
    let norms = config::parse_norms("norms", norms_yaml()).unwrap_or_else(|problems| panic!("{problems}")).norms;
    let timing = Timing { max_future_skew: None, follows_clock: false, ..Timing::default() };
    let settings = DataflowSettings { shards: 1, ..DataflowSettings::new(Arc::new(norms), timing) };
    let live_state = Arc::clone(&settings.live_state);
    let mut batch = Batch::new(Source::Files, None, Encoding::Json);
    for (offset, mut event) in (0..).zip(payloads) {
        event["tenant_id"] = "acme".into();
        event["occurred_at"] = format!("2026-03-02T09:0{offset}:00Z").into();
        batch.push(Offset(offset), None, event.to_string().as_bytes());
    }
    let (supply, mut collector, guards) = workers::start(1, settings).expect("threads");
    let close = Some(Timestamp(1_772_448_000_000));
    let header = EpochHeader {
        other_shards: Some(ShardProgress { close, ..ShardProgress::default() }),
        ..EpochHeader::default()
    };
    assert!(supply.send(header, vec![vec![Arc::new(batch)]]));
    assert!(collector.next_epoch().expect("workers").rejected.is_empty());
    drop(supply);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    assert!(!scrape(&live_state, ALL).contains("_info{tenant"), "names are off by default");
    let text = scrape(&live_state, Selection { names: true, ..ALL });
    let info: Vec<_> = text.lines().filter(|line| line.contains("_info{tenant")).collect();
    assert_eq!(
        info,
        [
            r#"funnelwatch_manager_info{tenant="acme",manager="ann",name="Ann Lee",department="north",department_name="North"} 1"#,
            r#"funnelwatch_manager_info{tenant="acme",manager="bob",name="bob",department="north",department_name="North"} 1"#,
            r#"funnelwatch_department_info{tenant="acme",department="north",department_name="North",parent="",head="bob"} 1"#,
            r#"funnelwatch_department_info{tenant="acme",department="south",department_name="south",parent="sales",head=""} 1"#,
            r#"funnelwatch_department_info{tenant="acme",department="unknown",department_name="unknown",parent="",head=""} 1"#,
        ]
    );
}

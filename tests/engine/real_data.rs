//! Compares the replay with the oracle on real call-centre and funnel data in `../shared/data` or `FUNNELWATCH_DATA`:
//! all alerts and figures must be equal with 1, 2 and 4 workers and shuffled.
//!
//! The data are not in this repository, so this test belongs to the services suite and fails without them.
#![cfg(feature = "services")]

use crate::common::Replay;
use crate::oracle;
use flate2::read::GzDecoder;
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::PathBuf;

fn data(name: &str) -> PathBuf {
    let folder = std::env::var_os("FUNNELWATCH_DATA").map(PathBuf::from);
    folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data")).join(name)
}

/// Plans of all lengths, which some people keep and others miss.
const TARGETS: &str = "
targets:
  - {id: talks, figure: conversations, per: day, at_least: 60}
  - {id: answered, figure: conversations, per: week, at_least: 4000, of: tenant, clock: wall}
  - {id: leads, figure: leads_converted, per: month, at_least: 4}
  - {id: desk, figure: leads_converted, per: quarter, at_least: 40, of: department}
  - {id: deals, figure: deals_won, per: quarter, at_least: 12, tolerance: 0.1}
  - {id: shop, figure: deals_won, per: week, at_least: 20, of: tenant}
  - {id: reais, figure: amount_won, currency: BRL, per: month, at_least: 50000}
";

/// How many events are compared with targets.
const WITH_TARGETS: usize = 6000;

fn compare(events: &str, norms: &str, targets: &str) {
    let read = |name| fs::read(data(name)).unwrap_or_else(|error| panic!("read {name}: {error}"));
    let mut ndjson = Vec::new();
    GzDecoder::new(read(events).as_slice()).read_to_end(&mut ndjson).expect("gzip");
    let mut norms = String::from_utf8(read(norms)).expect("UTF-8");
    if !targets.is_empty() {
        // The oracle derives all facts again at every boundary.
        norms = norms.replacen("size: 1h\n  slide: 1m", "size: 8h\n  slide: 8h", 1) + targets;
        let end = ndjson.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).nth(WITH_TARGETS);
        ndjson.truncate(end.map_or(ndjson.len(), |at| at + 1));
    }
    let document = &Yaml::load_from_str(&norms).expect("YAML")[0];
    let lines: Vec<Value> =
        ndjson.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let expected = oracle::judge(&lines, &to_json(document), None);
    assert!(expected.alerts.len() > if targets.is_empty() { 1000 } else { 100 }, "the data are complete");
    for (workers, shuffle) in [(1, None), (2, None), (4, None), (1, Some(1)), (2, Some(2)), (4, Some(3))] {
        let replay = Replay { workers, shuffle, ..Replay::PLAIN };
        let parsed = funnelwatch::config::parse_norms("norms", &norms).expect("norms").norms;
        let output = replay.run_bytes(ndjson.clone(), parsed);
        let differences = oracle::differences(&expected, &output.alerts, &output.rows);
        assert!(differences.is_empty(), "{events}, {replay:?}: {:#?}", &differences[..differences.len().min(12)]);
    }
}

fn to_json(yaml: &Yaml<'_>) -> Value {
    if let Some(map) = yaml.as_mapping() {
        return map.iter().map(|(key, value)| (text(key), to_json(value))).collect::<serde_json::Map<_, _>>().into();
    }
    if let Some(list) = yaml.as_sequence() {
        return list.iter().map(to_json).collect();
    }
    match (yaml.as_bool(), yaml.as_integer(), yaml.as_floating_point()) {
        (Some(flag), ..) => json!(flag),
        (_, Some(number), _) => json!(number),
        (.., Some(number)) => json!(number),
        _ => yaml.as_str().map_or(Value::Null, |text| json!(text)),
    }
}

fn text(key: &Yaml<'_>) -> String {
    key.as_str().map(str::to_owned).or(key.as_integer().map(|key| key.to_string())).expect("a key")
}

#[test]
fn bank_calls_give_the_output_of_the_oracle() {
    compare("technion_calls_january.ndjson.gz", "technion_calls.norms.yaml", "");
}

#[test]
fn a_marketplace_funnel_gives_the_output_of_the_oracle() {
    compare("olist_funnel.ndjson.gz", "olist_funnel.norms.yaml", "");
}

#[test]
fn plans_of_bank_clerks_give_the_output_of_the_oracle() {
    compare("technion_calls_january.ndjson.gz", "technion_calls.norms.yaml", TARGETS);
}

#[test]
fn plans_of_a_marketplace_give_the_output_of_the_oracle() {
    compare("olist_funnel.ndjson.gz", "olist_funnel.norms.yaml", TARGETS);
}

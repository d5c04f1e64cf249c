//! Tests that the size of transactions is bounded, and that rows which follow later are not lost.

use super::child::Child;
use super::fixture::{Fixture, QUICK, Record, at, tick, until};
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::domain::event::Event;
use funnelwatch::edge::kafka::Mode;
use serde_json::Value;
use std::collections::BTreeSet;

/// The rows of so many tenants take several transactions of [`SMALL`].
const TENANTS: usize = 2000;
const SMALL: &str = "engine: {workers: 2, epoch: 100ms, transaction_bytes: 1MiB}";

fn sections() -> String {
    QUICK.replace("engine: {workers: 2, epoch: 100ms}", SMALL)
}

/// An event of each tenant.
fn events(name: &str, second: f64) -> Vec<Event> {
    (0..TENANTS).map(|tenant| tick(&format!("tenant-{tenant:05}"), name, at(second))).collect()
}

/// The tenants with a row of the window as of this second or later.
fn tenants(rows: &[Record], second: f64) -> BTreeSet<String> {
    let from = at(second).to_string();
    let of_tenants = rows.iter().filter_map(|row| {
        let tenant = str::from_utf8(row.key.as_deref()?).ok()?.strip_suffix("/tenant/1h")?;
        let row: Value = serde_json::from_str(row.text()).ok()?;
        (row["at"].as_str()? >= from.as_str()).then(|| tenant.to_owned())
    });
    of_tenants.collect()
}

#[test]
fn rows_of_many_tenants_follow_in_several_transactions() {
    let fixture = Fixture::new("transactions", 2, &sections());
    let settings = DataflowSettings { rows_at_boundaries: true, ..Fixture::settings(&fixture.config) };
    let running = Fixture::start_with(fixture.config.clone(), settings, Mode::Live);
    fixture.produce(&events("first", 0.0));
    fixture.produce(&events("second", 90.0));
    until("the rows of all tenants", || tenants(&fixture.read("metrics"), 90.0).len() == TENANTS);
    fixture.await_no_lag();
    let took = running.seen.transactions.lock().expect("no panic").clone();
    let summary = running.stop();
    let rows = fixture.read("metrics");
    let bytes: usize = rows.iter().map(|row| row.text().len()).sum();
    assert!(bytes > 3 << 20 && took.len() > bytes >> 20, "{bytes} bytes in {} transactions", took.len());
    assert_eq!((summary.aborted, summary.rows), (0, rows.len() as u64));
}

#[test]
fn rows_that_a_killed_process_left_are_written_by_the_next_one() {
    let fixture = Fixture::new("left", 1, &sections());
    let mut first = Child::start_with(&fixture, "a", &sections());
    fixture.produce(&events("first", 0.0));
    until("the rows of all tenants", || tenants(&fixture.read("metrics"), 0.0).len() == TENANTS);
    fixture.produce(&events("second", 90.0));
    fixture.await_no_lag();
    first.kill();
    let written = tenants(&fixture.read("metrics"), 90.0).len();
    assert!(written < TENANTS, "all {written} rows were written before the kill");
    let second = Child::start_with(&fixture, "a", &sections());
    until("all rows", || tenants(&fixture.read("metrics"), 90.0).len() == TENANTS);
    assert!(second.stop().success());
}

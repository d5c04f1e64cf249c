//! Tests that figures are the same in all outputs: at one instant `/metrics`, `/api/v1`, Redis and the topics agree.

use super::child::Child;
use super::demo::get;
use super::figures::{assert_equal, series_of_rows, series_of_scrape};
use super::fixture::{Fixture, at, latest, report, sample_events, tick, until};
use super::redis::{Redis, open};
use funnelwatch::sim::norms_yaml;
use serde_json::Value;

/// Settings for the norms of the simulator, which have four windows and a rule whose alerts are open at the end.
const SECTIONS: &str = "time: {allowed_lateness: 0s, idle_after: 500ms, watermark_follows_clock: false}
engine: {workers: 2}
prometheus: {max_series: 1000000}
";
/// An instant at which all four windows slide; the start of the tests' day is one, too.
const BOUNDARY: f64 = 8.0 * 3600.0;

#[test]
fn all_outputs_agree_at_one_instant() {
    let base = format!("{SECTIONS}{}", norms_yaml());
    let fixture = Fixture::new("one-instant", 4, &base);
    let redis = Redis::start(&fixture);
    let prefix = fixture.topic("view");
    let sections = format!("{base}redis: {{url: '{}', prefix: '{prefix}'}}\n", redis.url());
    let processor = Child::start_with(&fixture, "0", &sections);
    let address = processor.address();
    let (tenants, mut events) = (6, sample_events(6, 1000));
    // One event of each tenant after the last boundary: the figures do not change afterwards.
    events.extend((0..tenants).map(|n| tick(&format!("tenant-{n}"), "last", at(BOUNDARY + 5.0))));
    fixture.produce(&events);
    let ask = |path: &str| serde_json::from_str::<Value>(&get(&address, path)).expect("JSON");
    let end = format!("{}", at(BOUNDARY + 5.0));
    until("all tenants are at the end", || {
        let listed = ask("/api/v1/tenants");
        let listed = listed["tenants"].as_array().expect("a list");
        listed.len() == tenants && listed.iter().all(|tenant| tenant["at"] == *end)
    });
    fixture.await_no_lag();

    let topic = latest(&fixture.read("metrics"));
    until("redis equals the topic", || redis.view(&prefix).0 == topic);
    let rows: Vec<Value> = topic.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    let (mut api_rows, mut alerts) = (Vec::new(), Vec::new());
    for tenant in 0..tenants {
        let tenant = format!("/api/v1/tenants/tenant-{tenant}");
        for subjects in ["", "/managers", "/departments"] {
            api_rows.extend(ask(&format!("{tenant}{subjects}"))["rows"].as_array().expect("rows").clone());
        }
        alerts.extend(ask(&format!("{tenant}/alerts"))["alerts"].as_array().expect("alerts").clone());
    }
    let sorted = |mut values: Vec<Value>, keys: [&str; 3]| {
        values.sort_by_key(|value| keys.map(|key| value[key].as_str().unwrap_or_default().to_owned()));
        values
    };
    let row_keys = ["tenant_id", "subject", "window"];
    assert_eq!(sorted(api_rows, row_keys), sorted(rows.clone(), row_keys), "the API and the topic");
    assert!(rows.iter().all(|row| row["at"] == *end), "all rows are of one instant");

    let wanted = series_of_rows(&rows);
    assert_equal(&series_of_scrape(&get(&address, "/metrics")), &wanted);

    let open: Vec<Value> = open(&fixture).iter().map(|alert| serde_json::from_str(alert).expect("JSON")).collect();
    let in_redis: Vec<Value> =
        redis.view(&prefix).1.iter().map(|alert| serde_json::from_str(alert).expect("JSON")).collect();
    let alert_keys = ["tenant_id", "alert_id", "status"];
    assert_eq!(sorted(alerts, alert_keys), sorted(open.clone(), alert_keys), "the API and the topic");
    assert_eq!(sorted(in_redis, alert_keys), sorted(open.clone(), alert_keys), "Redis and the topic");
    // The figures count the same number of open alerts.
    let counted: f64 =
        wanted.iter().filter(|(name, _)| name.starts_with("funnelwatch_tenant_open_alerts{")).map(|(_, n)| n).sum();
    assert_eq!(counted, open.len() as f64);
    report(&format!(
        "{} rows, {} series and {} open alerts are the same in all outputs",
        rows.len(),
        wanted.len(),
        open.len()
    ));
    assert!(rows.len() > 80 && open.len() > 100);
}

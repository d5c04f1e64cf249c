//! Owns the proof that figures are the same wherever one looks: at one instant `/metrics`, `/api/v1`, Redis and the topics
//! say the same of everybody.

use super::child::Child;
use super::demo::get;
use super::figures::{assert_equal, series_of_rows, series_of_scrape};
use super::redis::{Redis, open};
use super::site::{Site, at, floor, latest, say, tick, until};
use funnelwatch::sim::norms_yaml;
use serde_json::Value;

/// Four windows, and a rule whose alerts are open at the end.
const SECTIONS: &str = "time: {allowed_lateness: 0s, idle_after: 500ms, watermark_follows_clock: false}
engine: {workers: 2}
prometheus: {max_series: 1000000}
";
/// Where all four windows move: the tests' day begins at such an instant, too.
const BOUNDARY: f64 = 8.0 * 3600.0;

#[test]
fn everybody_says_the_same_at_one_instant() {
    let base = format!("{SECTIONS}{}", norms_yaml());
    let site = Site::new("one-instant", 4, &base);
    let redis = Redis::start(&site);
    let prefix = site.topic("view");
    let sections = format!("{base}redis: {{url: '{}', prefix: '{prefix}'}}\n", redis.url());
    let processor = Child::start_with(&site, "0", &sections);
    let address = processor.address();
    let (tenants, mut events) = (6, floor(6, 1000));
    // One after the last boundary, of each company: then nothing moves any more.
    events.extend((0..tenants).map(|n| tick(&format!("tenant-{n}"), "last", at(BOUNDARY + 5.0))));
    site.produce(&events);
    let ask = |path: &str| serde_json::from_str::<Value>(&get(&address, path)).expect("JSON");
    let end = format!("{}", at(BOUNDARY + 5.0));
    until("everybody is there", || {
        let there = ask("/api/v1/tenants");
        let there = there["tenants"].as_array().expect("a list");
        there.len() == tenants && there.iter().all(|tenant| tenant["at"] == *end)
    });
    site.await_no_lag();

    let topic = latest(&site.read("metrics"));
    until("redis says what the topic says", || redis.view(&prefix).0 == topic);
    let rows: Vec<Value> = topic.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    let (mut told, mut alerts) = (Vec::new(), Vec::new());
    for tenant in 0..tenants {
        let tenant = format!("/api/v1/tenants/tenant-{tenant}");
        for of in ["", "/managers", "/departments"] {
            told.extend(ask(&format!("{tenant}{of}"))["rows"].as_array().expect("rows").clone());
        }
        alerts.extend(ask(&format!("{tenant}/alerts"))["alerts"].as_array().expect("alerts").clone());
    }
    let sorted = |mut values: Vec<Value>, keys: [&str; 3]| {
        values.sort_by_key(|value| keys.map(|key| value[key].as_str().unwrap_or_default().to_owned()));
        values
    };
    let of_row = ["tenant_id", "subject", "window"];
    assert_eq!(sorted(told, of_row), sorted(rows.clone(), of_row), "the API and the topic");
    assert!(rows.iter().all(|row| row["at"] == *end), "all of one instant");

    let wanted = series_of_rows(&rows);
    assert_equal(&series_of_scrape(&get(&address, "/metrics")), &wanted);

    let open: Vec<Value> = open(&site).iter().map(|alert| serde_json::from_str(alert).expect("JSON")).collect();
    let in_redis: Vec<Value> =
        redis.view(&prefix).1.iter().map(|alert| serde_json::from_str(alert).expect("JSON")).collect();
    let of_alert = ["tenant_id", "alert_id", "status"];
    assert_eq!(sorted(alerts, of_alert), sorted(open.clone(), of_alert), "the API and the topic");
    assert_eq!(sorted(in_redis, of_alert), sorted(open.clone(), of_alert), "Redis and the topic");
    // And the figures know how many there are.
    let counted: f64 =
        wanted.iter().filter(|(name, _)| name.starts_with("funnelwatch_tenant_open_alerts{")).map(|(_, n)| n).sum();
    assert_eq!(counted, open.len() as f64);
    say(&format!(
        "{} rows, {} series and {} open alerts are the same everywhere",
        rows.len(),
        wanted.len(),
        open.len()
    ));
    assert!(rows.len() > 80 && open.len() > 100);
}

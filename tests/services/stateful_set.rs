//! Tests that rollouts and scaling of a StatefulSet neither lose nor duplicate alerts: processes with the names of its
//! pods are rolled, added and removed under load as the controller does it, by probes and SIGTERM.

use super::child::Child;
use super::demo::{get, status};
use super::fixture::{Fixture, PATIENCE, latest, report, sample_events, until, values};
use funnelwatch::domain::event::Event;
use funnelwatch::edge::kafka::producer::{EventProducer, Pace};
use funnelwatch::edge::kafka::{Mode, Stop};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// `terminationGracePeriodSeconds` of `k8s/base`: a pod that takes longer to exit is killed.
const GRACE: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 6;
/// Events sent per second: seven hours of twelve tenants in about fifty seconds, so the allowed lateness is a few
/// seconds.
const EVENTS_PER_SECOND: f64 = 450.0;
const SECTIONS: &str = "norms:
  first_response_late: {within: 15m, escalate_after: [5m, 30m]}
  too_few_attempts: {within: 1h, attempts: 2}
  neglected: {within: 2h}
windows: [{size: 1h, slide: 5m}, {size: 24h, slide: 1h}]
time: {allowed_lateness: 1h, idle_after: 2s, watermark_follows_clock: false}
engine: {workers: 1}
";
const SHARDS: &str = "funnelwatch_shards_assigned";

/// Sends events in the background.
struct Load {
    total: usize,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(fixture: &Fixture, events: Vec<Event>) -> Self {
        let (total, sent) = (events.len(), Arc::new(AtomicUsize::new(0)));
        let (count, mut producer) = (Arc::clone(&sent), EventProducer::new(&fixture.config).expect("a producer"));
        let thread = std::thread::spawn(move || {
            let (mut pace, never) = (Pace::new(EVENTS_PER_SECOND), Stop::default());
            for event in &events {
                pace.wait(&never);
                producer.send(event).expect("an event is sent");
                count.fetch_add(1, Ordering::Relaxed);
            }
            assert!(producer.flush(PATIENCE), "events are delivered");
        });
        Self { total, sent, thread }
    }

    /// Asserts that the load still runs when a step begins.
    fn assert_running(&self, step: &str) {
        let sent = self.sent.load(Ordering::Relaxed);
        assert!(sent < self.total, "the load ended before: {step}");
        report(&format!("{sent} of {} events sent: {step}", self.total));
    }
}

struct Pod {
    name: String,
    child: Child,
    address: String,
}

impl Pod {
    /// Starts a pod and waits until it is ready.
    fn start(fixture: &Fixture, ordinal: usize) -> Self {
        let (name, started) = (format!("funnelwatch-{ordinal}"), Instant::now());
        let child = Child::start_with(fixture, &name, SECTIONS);
        let address = child.address();
        until("ready", || status(&address, "/readyz") == 200);
        report(&format!("{name} is ready after {:.1} s", started.elapsed().as_secs_f64()));
        Self { name, child, address }
    }

    /// Stops a pod and waits until it has exited.
    fn stop(self) {
        let Self { name, child, address } = self;
        assert_eq!(status(&address, "/livez"), 200, "{name}: the liveness probe fails");
        let started = Instant::now();
        let exit = child.stop();
        report(&format!("{name} exited after {:.1} s", started.elapsed().as_secs_f64()));
        assert!(exit.success(), "{name} exited with {exit}");
        assert!(started.elapsed() < GRACE, "{name} would have been killed");
    }

    /// The sum of the series of a metric.
    fn metric(&self, name: &str) -> u32 {
        let metrics = get(&self.address, "/metrics");
        let values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<u32>().expect("a whole number")).sum()
    }
}

#[test]
fn rollouts_and_scaling_under_load_keep_the_output_exact() {
    let fixture = Fixture::new("stateful-set", PARTITIONS, SECTIONS);
    let events = sample_events(12, 1200);
    let end = events.iter().map(|event| event.at).max();
    let (alerts, rows) = fixture.replay(&events, end);
    assert!(alerts.len() > 10_000, "{}", alerts.len());

    let load = Load::start(&fixture, events);
    let mut pods: Vec<_> = (0..3).map(|ordinal| Pod::start(&fixture, ordinal)).collect();
    load.assert_running("a new version is rolled out, the last pod first");
    for ordinal in (0..3).rev() {
        pods.remove(ordinal).stop();
        pods.insert(ordinal, Pod::start(&fixture, ordinal));
    }
    load.assert_running("two pods are added");
    pods.extend((3..5).map(|ordinal| Pod::start(&fixture, ordinal)));
    await_assignments(&pods);
    load.assert_running("all pods except two are removed, the last one first");
    while pods.len() > 2 {
        pods.pop().expect("a pod").stop();
    }
    await_assignments(&pods);
    load.assert_running("two pods remain");

    load.thread.join().expect("all events are sent");
    until("all messages are read", || sum(&pods, "funnelwatch_lag_messages{") == 0);
    pods.into_iter().rev().for_each(Pod::stop);
    // The last events are held until the watermark passes them. As at the end of a replay, a run up to `end` advances
    // it.
    let mut settings = Fixture::settings(&fixture.config);
    (settings.timing.until, settings.rows_at_boundaries) = (end, true);
    let last = Fixture::start_with(fixture.config.clone(), settings, Mode::Once).join().expect("the run succeeds");
    let found = values(&fixture.read("alerts"));
    report(&format!(
        "{} alerts, {} of them at the end; {} dead letters",
        found.len(),
        last.alerts,
        fixture.read("dlq").len()
    ));
    assert_eq!(found, alerts);
    assert_eq!(latest(&fixture.read("metrics")), rows);
}

fn sum(pods: &[Pod], metric: &str) -> u32 {
    pods.iter().map(|pod| pod.metric(metric)).sum()
}

/// Waits until every shard is assigned and every pod has a shard.
fn await_assignments(pods: &[Pod]) {
    until("every shard is assigned", || sum(pods, SHARDS) == PARTITIONS);
    until("every pod has a shard", || pods.iter().all(|pod| pod.metric(SHARDS) > 0));
}

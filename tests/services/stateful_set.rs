//! Owns the proof that the life of a StatefulSet costs no alert and repeats none: processes with the names of its pods are
//! rolled, added and taken away under load, as its controller does it: by their probes and with its signal.

use super::child::Child;
use super::demo::{get, status};
use super::site::{PATIENCE, Site, floor, latest, say, until, values};
use funnelwatch::domain::event::Event;
use funnelwatch::edge::kafka::producer::{EventProducer, Pace};
use funnelwatch::edge::kafka::{Mode, Stop};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A pod that takes longer to end is killed: `terminationGracePeriodSeconds` of `k8s/base`.
const GRACE: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 6;
/// Events of seven hours of twelve companies, in some fifty seconds: the lateness is seconds of life.
const A_SECOND: f64 = 450.0;
const SECTIONS: &str = "norms:
  first_response_late: {within: 15m, escalate_after: [5m, 30m]}
  too_few_attempts: {within: 1h, attempts: 2}
  neglected: {within: 2h}
windows: [{size: 1h, slide: 5m}, {size: 24h, slide: 1h}]
time: {allowed_lateness: 1h, idle_after: 2s, watermark_follows_clock: false}
engine: {workers: 1}
";
const SHARDS: &str = "funnelwatch_shards_assigned";

/// Sends events until they are all sent.
struct Load {
    all: usize,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(site: &Site, events: Vec<Event>) -> Self {
        let (all, sent) = (events.len(), Arc::new(AtomicUsize::new(0)));
        let (count, mut producer) = (Arc::clone(&sent), EventProducer::new(&site.config).expect("a producer"));
        let thread = std::thread::spawn(move || {
            let (mut pace, never) = (Pace::new(A_SECOND), Stop::default());
            for event in &events {
                pace.wait(&never);
                producer.send(event).expect("an event is sent");
                count.fetch_add(1, Ordering::Relaxed);
            }
            assert!(producer.flush(PATIENCE), "events are delivered");
        });
        Self { all, sent, thread }
    }

    /// That there is load while a step is taken, and not only before it.
    fn still_runs(&self, step: &str) {
        let before = self.sent.load(Ordering::Relaxed);
        assert!(before < self.all, "all was sent before: {step}");
        say(&format!("{before} of {} events are sent: {step}", self.all));
    }
}

struct Pod {
    name: String,
    child: Child,
    address: String,
}

impl Pod {
    /// Starts a pod and waits until its readiness probe is content.
    fn start(site: &Site, ordinal: usize) -> Self {
        let (name, started) = (format!("funnelwatch-{ordinal}"), Instant::now());
        let child = Child::start_with(site, &name, SECTIONS);
        let address = child.address();
        until("ready", || status(&address, "/readyz") == 200);
        say(&format!("{name} is ready after {:.1} s", started.elapsed().as_secs_f64()));
        Self { name, child, address }
    }

    /// Asks a pod to end, and waits until it has.
    fn stop(self) {
        let Self { name, child, address } = self;
        assert_eq!(status(&address, "/livez"), 200, "{name}: what lives is not restarted");
        let asked = Instant::now();
        let ended = child.stop();
        say(&format!("{name} has ended after {:.1} s", asked.elapsed().as_secs_f64()));
        assert!(ended.success(), "{name} ended with {ended}");
        assert!(asked.elapsed() < GRACE, "{name} would have been killed");
    }

    /// The sum of a metric of its own.
    fn metric(&self, name: &str) -> u32 {
        let metrics = get(&self.address, "/metrics");
        let of_it = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        of_it.map(|(_, value)| value.parse::<u32>().expect("a whole number")).sum()
    }
}

#[test]
fn pods_are_rolled_added_and_taken_away_under_load() {
    let site = Site::new("stateful-set", PARTITIONS, SECTIONS);
    let events = floor(12, 1200);
    let end = events.iter().map(|event| event.at).max();
    let (alerts, rows) = site.replay(&events, end);
    assert!(alerts.len() > 10_000, "{}", alerts.len());

    let load = Load::start(&site, events);
    let mut pods: Vec<_> = (0..3).map(|ordinal| Pod::start(&site, ordinal)).collect();
    load.still_runs("a new version is rolled out, the last pod first");
    for ordinal in (0..3).rev() {
        pods.remove(ordinal).stop();
        pods.insert(ordinal, Pod::start(&site, ordinal));
    }
    load.still_runs("two pods are added");
    pods.extend((3..5).map(|ordinal| Pod::start(&site, ordinal)));
    every_shard_has_a_pod(&pods);
    load.still_runs("all pods but two are taken away, the last one first");
    while pods.len() > 2 {
        pods.pop().expect("a pod").stop();
    }
    every_shard_has_a_pod(&pods);
    load.still_runs("two pods go on");

    load.thread.join().expect("all is sent");
    until("all is read", || sum(&pods, "funnelwatch_lag_messages{") == 0);
    pods.into_iter().rev().for_each(Pod::stop);
    // The last events wait for a watermark that would never come: as at the end of a replay, it comes now.
    let mut settings = Site::settings(&site.config);
    (settings.timing.until, settings.rows_at_boundaries) = (end, true);
    let last = Site::start_with(site.config.clone(), settings, Mode::Once).join().expect("the run ends well");
    let found = values(&site.read("alerts"));
    say(&format!(
        "{} alerts, {} of them at the end; {} dead letters",
        found.len(),
        last.alerts,
        site.read("dlq").len()
    ));
    assert_eq!(found, alerts);
    assert_eq!(latest(&site.read("metrics")), rows);
}

fn sum(pods: &[Pod], metric: &str) -> u32 {
    pods.iter().map(|pod| pod.metric(metric)).sum()
}

/// Waits until all shards are shared out.
fn every_shard_has_a_pod(pods: &[Pod]) {
    until("every shard has a pod", || sum(pods, SHARDS) == PARTITIONS);
    until("every pod has a shard", || pods.iter().all(|pod| pod.metric(SHARDS) > 0));
}

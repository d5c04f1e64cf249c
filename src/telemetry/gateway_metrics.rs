//! Metrics of the gateway: what its sources send and answer, how far they are read, and what is written to Kafka. Updated by
//! its threads, rendered on each scrape.
//!
//! **Bound.** Sources come from the configuration; the other labels are names that the program knows, never text from
//! outside.

use super::exporter::Clock;
use super::http_metrics::HttpMetrics;
use super::metric::Metric as M;
use super::page::Page;
use super::processor_metrics::Durations;
use super::{exporter, process};
use crate::dataflow::live::lock;
use crate::domain::event::EventKind;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Metrics of the gateway.
pub struct GatewayMetrics {
    clock: Clock,
    http: Arc<HttpMetrics>,
    sources: BTreeMap<String, Arc<SourceMetrics>>,
    process: Mutex<Process>,
}

/// What concerns no source.
#[derive(Debug, Default)]
struct Process {
    /// Requests that name no source.
    unknown: u64,
    commits: Durations,
    aborted: u64,
    restarts: u64,
}

/// The bytes of a scrape; far more than any configuration needs.
const MAX_BYTES: usize = 64 << 20;

impl GatewayMetrics {
    /// Metrics of these sources; `clock` returns the wall-clock time.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>, http: Arc<HttpMetrics>, clock: Clock) -> Self {
        let sources = names.map(|name| (name.to_owned(), Arc::default())).collect();
        Self { clock, http, sources, process: Mutex::default() }
    }

    /// The metrics of a source of the configuration.
    pub fn source(&self, name: &str) -> Arc<SourceMetrics> {
        self.sources.get(name).cloned().unwrap_or_default()
    }

    /// Metrics of the HTTP server.
    pub fn http(&self) -> &Arc<HttpMetrics> {
        &self.http
    }

    /// Counts a request whose path names no source.
    pub fn unknown_source(&self) {
        lock(&self.process).unknown += 1;
    }

    /// Counts a committed transaction; the time includes aborted attempts.
    pub fn committed(&self, took: Duration) {
        lock(&self.process).commits.add(took);
    }

    /// Counts an aborted transaction.
    pub fn aborted(&self) {
        lock(&self.process).aborted += 1;
    }

    /// Counts a start with new clients, and forgets which sources are read.
    pub fn restarting(&self) {
        lock(&self.process).restarts += 1;
        self.sources.values().for_each(|source| source.set_active(false));
    }

    /// Renders one scrape.
    pub fn render(&self) -> Vec<u8> {
        let mut page = Page::new(0, MAX_BYTES, &[]);
        exporter::http(&mut page, &self.http);
        let now = (self.clock)();
        for (name, source) in &self.sources {
            source.render(&mut page, name, now);
        }
        let process = lock(&self.process);
        page.sample(M::GatewayUnknown, &[], process.unknown as f64);
        page.histogram(M::GatewayCommitSeconds, &process.commits.buckets, process.commits.total.as_secs_f64());
        page.sample(M::GatewayCommitsAborted, &[], process.aborted as f64);
        page.sample(M::GatewayRestarts, &[], process.restarts as f64);
        drop(process);
        exporter::build(&mut page);
        let mut text = page.finish();
        process::append(&mut text);
        text
    }
}

/// Metrics of a source.
#[derive(Debug, Default)]
pub struct SourceMetrics(Mutex<Source>);

#[derive(Debug, Default)]
struct Source {
    /// Webhooks by event and verdict.
    hints: BTreeMap<(&'static str, &'static str), u64>,
    /// Requests with events, and the events in them, by verdict.
    received: BTreeMap<&'static str, u64>,
    /// Written events.
    events: BTreeMap<EventKind, u64>,
    requests: BTreeMap<(&'static str, &'static str), u64>,
    /// Requests that would be accepted at once, and seconds of work that are left.
    budgets: Option<(f64, f64)>,
    /// How far each leg is read, and whether it can be read.
    legs: BTreeMap<&'static str, (Option<Timestamp>, bool)>,
    sweeps: u64,
    sweep: Option<Duration>,
    backfill: Option<f64>,
    waiting: usize,
    left_to_sweep: u64,
    /// Whether this process reads it.
    is_active: bool,
    step: Option<Step>,
}

/// The outcome of the last step of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It succeeded.
    Read,
    /// The source does not answer.
    Unavailable,
    /// The source refuses, and only an administrator can repair that.
    Refused,
}

impl SourceMetrics {
    fn with(&self, change: impl FnOnce(&mut Source)) {
        change(&mut lock(&self.0));
    }

    /// Counts a webhook.
    pub fn hint(&self, event: &'static str, verdict: &'static str) {
        self.with(|source| *source.hints.entry((event, verdict)).or_default() += 1);
    }

    /// Counts events that a program or phone system has sent, or a request that was refused as a whole.
    pub fn received(&self, verdict: &'static str, events: u64) {
        self.with(|source| *source.received.entry(verdict).or_default() += events);
    }

    /// Counts events that were written and acknowledged.
    pub fn written(&self, kinds: impl IntoIterator<Item = EventKind>) {
        self.with(|source| kinds.into_iter().for_each(|kind| *source.events.entry(kind).or_default() += 1));
    }

    /// Counts a request to the source, by method and answer.
    pub fn request(&self, method: &'static str, answer: &'static str) {
        self.with(|source| *source.requests.entry((method, answer)).or_default() += 1);
    }

    /// Sets the requests that would be accepted at once, and the seconds of work that are left.
    pub fn budgets(&self, requests: f64, seconds: f64) {
        self.with(|source| source.budgets = Some((requests, seconds)));
    }

    /// Sets up to which instant a leg is read.
    pub fn leg(&self, leg: &'static str, up_to: Timestamp) {
        self.with(|source| source.legs.entry(leg).or_insert((None, true)).0 = Some(up_to));
    }

    /// Sets whether a leg can be read: not if a right or scope is missing.
    pub fn leg_usable(&self, leg: &'static str, usable: bool) {
        self.with(|source| source.legs.entry(leg).or_insert((None, true)).1 = usable);
    }

    /// Counts a sweep and the time that it took.
    pub fn swept(&self, took: Duration) {
        self.with(|source| (source.sweeps, source.sweep) = (source.sweeps + 1, Some(took)));
    }

    /// Sets the share of the back-fill that is done; 1 at its end.
    pub fn backfill(&self, share: f64) {
        self.with(|source| source.backfill = Some(share));
    }

    /// Sets the number of hints that wait for the reader.
    pub fn waiting(&self, hints: usize) {
        self.with(|source| source.waiting = hints);
    }

    /// Counts hints that were dropped because too many waited; the next sweep finds what they announced.
    pub fn left_to_sweep(&self, hints: u64) {
        self.with(|source| source.left_to_sweep += hints);
    }

    /// Sets whether this process reads the source. What only its reader knows is forgotten with it.
    pub fn set_active(&self, is_active: bool) {
        self.with(|source| {
            (source.is_active, source.step) = (is_active, None);
            (source.waiting, source.sweep, source.backfill) = (0, None, None);
            source.budgets = None;
            source.legs.clear();
        });
    }

    /// Sets the outcome of the last step.
    pub fn stepped(&self, step: Step) {
        self.with(|source| source.step = Some(step));
    }

    fn render(&self, page: &mut Page, name: &str, now: Timestamp) {
        let source = lock(&self.0);
        let own = ("source", name);
        for ((event, verdict), n) in &source.hints {
            page.sample(M::GatewayHints, &[own, ("event", event), ("verdict", verdict)], *n as f64);
        }
        for (verdict, n) in &source.received {
            page.sample(M::GatewayReceived, &[own, ("verdict", verdict)], *n as f64);
        }
        for (kind, n) in &source.events {
            let labels = [own, ("topic", kind.topic().name()), ("event", kind.name())];
            page.sample(M::GatewayEvents, &labels, *n as f64);
        }
        for ((method, answer), n) in &source.requests {
            page.sample(M::GatewayRequests, &[own, ("method", method), ("answer", answer)], *n as f64);
        }
        page.sample(M::GatewayActive, &[own], f64::from(source.is_active));
        page.sample(M::GatewayLeftToSweep, &[own], source.left_to_sweep as f64);
        if !source.is_active {
            return;
        }
        page.sample(M::GatewayWaiting, &[own], source.waiting as f64);
        if let Some(step) = source.step {
            page.sample(M::GatewayUp, &[own], f64::from(step == Step::Read));
            page.sample(M::GatewayRefused, &[own], f64::from(step == Step::Refused));
        }
        if let Some((requests, seconds)) = source.budgets {
            page.sample(M::GatewayRequestsLeft, &[own], requests);
            page.sample(M::GatewayWorkLeft, &[own], seconds);
        }
        for (leg, (up_to, usable)) in &source.legs {
            let labels = [own, ("leg", *leg)];
            page.sample(M::GatewayLegOff, &labels, f64::from(!usable));
            // The age of what is not read says nothing.
            if let Some(up_to) = up_to.filter(|_| *usable) {
                page.sample(M::GatewayCursorAge, &labels, (now - up_to).seconds());
            }
        }
        page.sample(M::GatewaySweeps, &[own], source.sweeps as f64);
        if let Some(took) = source.sweep {
            page.sample(M::GatewaySweepSeconds, &[own], took.as_secs_f64());
        }
        if let Some(share) = source.backfill {
            page.sample(M::GatewayBackfill, &[own], share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_reader_knows_is_shown_by_the_process_that_reads() {
        let clock: Clock = Arc::new(|| Timestamp(100_000));
        let metrics = GatewayMetrics::new(["romashka"].into_iter(), Arc::new(HttpMetrics::new(8)), clock);
        let source = metrics.source("romashka");
        source.hint("ONCRMDEALUPDATE", "accepted");
        source.set_active(true);
        source.leg("calls", Timestamp(40_000));
        source.leg_usable("chats", false);
        source.stepped(Step::Refused);
        source.budgets(12.5, 200.0);
        let text = String::from_utf8(metrics.render()).expect("UTF-8");
        for line in [
            r#"funnelwatch_gateway_hints_total{source="romashka",event="ONCRMDEALUPDATE",verdict="accepted"} 1"#,
            r#"funnelwatch_gateway_cursor_age_seconds{source="romashka",leg="calls"} 60"#,
            r#"funnelwatch_gateway_leg_off{source="romashka",leg="calls"} 0"#,
            r#"funnelwatch_gateway_leg_off{source="romashka",leg="chats"} 1"#,
            r#"funnelwatch_gateway_source_up{source="romashka"} 0"#,
            r#"funnelwatch_gateway_source_refused{source="romashka"} 1"#,
            r#"funnelwatch_gateway_requests_left{source="romashka"} 12.5"#,
            r#"funnelwatch_gateway_work_left_seconds{source="romashka"} 200"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        source.set_active(false);
        let text = String::from_utf8(metrics.render()).expect("UTF-8");
        assert!(text.contains(r#"funnelwatch_gateway_source_active{source="romashka"} 0"#), "{text}");
        assert!(!text.contains("cursor_age") && !text.contains("source_up"), "{text}");
    }
}

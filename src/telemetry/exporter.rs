//! Owns `/metrics`: renders the live figures, the norms they are held against and the processor's health when it is
//! scraped.
//!
//! **One instant.** Figures of a tenant are all of one watermark: its rows are summed while its worker waits. The lines are
//! written afterwards, when nobody does. **No ghosts.** Nothing is kept from one scrape to the next, so that a manager who
//! is gone leaves no series behind. **A bound.** When there are more series of figures and norms than the limit, the least
//! telling ones are left out and counted: managers' figures, the last windows first.

use super::live_view_metrics::LiveViewMetrics;
use super::metric::{Level, Metric};
use super::page::{Page, subject};
use super::processor_metrics::{Counters, ProcessorMetrics, Shard};
use super::samples;
use crate::dataflow::live_state::{LiveState, TenantSnapshot, lock};
use crate::domain::event::EventKind;
use crate::domain::id::{DepartmentId, UNKNOWN};
use crate::domain::norms::ScopeQuery;
use crate::domain::reject::Reason;
use crate::domain::row::{Figures, Row, Subject};
use crate::domain::time::Timestamp;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, TextEncoder};
use std::sync::{Arc, Mutex};

/// Tells the time that watermarks are measured against.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What is exported of single managers, who are many, and of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The windows whose figures are exported for single managers, by name; `None`: all.
    pub manager_windows: Option<Vec<String>>,
    /// The figures that are exported for single managers; `None`: all.
    pub manager_metrics: Option<Vec<Metric>>,
    /// The most series of figures and norms.
    pub max_series: usize,
}

/// Renders everything as Prometheus text.
pub struct Exporter {
    board: Arc<LiveState>,
    metrics: Arc<ProcessorMetrics>,
    clock: Clock,
    selection: Selection,
    live: Option<Arc<LiveViewMetrics>>,
    process: ProcessCollector,
    /// How long the parts of the last page were. Its lock lets one scrape be made at a time.
    sizes: Mutex<Vec<usize>>,
}

impl Exporter {
    /// An exporter over these figures; `clock` tells the wall clock.
    pub fn new(board: Arc<LiveState>, metrics: Arc<ProcessorMetrics>, clock: Clock, selection: Selection) -> Self {
        Self {
            board,
            metrics,
            clock,
            selection,
            live: None,
            process: ProcessCollector::for_self(),
            sizes: Mutex::default(),
        }
    }

    /// The same, and how a live view fares.
    pub fn with_live(self, live: Option<Arc<LiveViewMetrics>>) -> Self {
        Self { live, ..self }
    }

    /// The text of one scrape. Fails if what the system says of this process cannot be written.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut sizes = lock(&self.sizes);
        let mut page = Page::new(self.selection.max_series, &sizes);
        let snapshots = self.board.snapshots();
        snapshots.iter().for_each(|snapshot| norms(&mut page, snapshot));
        for level in Level::ALL {
            // Of managers, what stands now and the first windows matter most.
            let windows = snapshots.iter().map(|snapshot| snapshot.norms.windows.len()).max().unwrap_or_default();
            for window in std::iter::once(None).chain((0..windows).map(Some)) {
                snapshots.iter().for_each(|snapshot| self.rows(&mut page, snapshot, level, window));
            }
        }
        processor(&mut page, &self.metrics.counted(), (self.clock)());
        if let Some(live) = &self.live {
            redis(&mut page, live);
        }
        for snapshot in &snapshots {
            for (manager, requests) in &snapshot.reviews {
                let labels = [("tenant", snapshot.tenant.as_str()), ("manager", manager.as_str())];
                page.sample(Metric::ReviewsOpen, &labels, requests.open as f64);
                page.sample(Metric::ReviewsAnswered, &labels, requests.answered as f64);
            }
        }
        let (series, limit) = (page.written(), self.selection.max_series);
        page.sample(Metric::Series, &[], series as f64);
        page.sample(Metric::SeriesLimit, &[], limit as f64);
        for level in Level::ALL {
            let left_out = page.left_out(level);
            page.sample(Metric::SeriesLeftOut, &[("level", level.name())], left_out as f64);
        }
        *sizes = page.sizes();
        let mut text = page.finish();
        TextEncoder::new().encode(&self.process.collect(), &mut text)?;
        Ok(text)
    }

    /// The rows of one level over the window of this number, or of now.
    fn rows(&self, page: &mut Page, snapshot: &TenantSnapshot, level: Level, window: Option<usize>) {
        let window = window.map(|index| snapshot.norms.windows.get(index).copied());
        for row in &snapshot.rows {
            let of = match &row.figures {
                Figures::Window(window, _) => Some(Some(*window)),
                Figures::Now(_) => None,
            };
            if of == window && level_of(&row.subject) == level && (level == Level::Tenant || !row.is_empty()) {
                self.row(page, row, level);
            }
        }
    }

    fn row(&self, page: &mut Page, row: &Row, level: Level) {
        let (tenant, window) = (("tenant", row.tenant.as_str()), row.figures.window());
        let department = row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        let mut labels = match &row.subject {
            Subject::Tenant => vec![tenant],
            Subject::Department(id) => vec![tenant, ("department", id.as_str())],
            Subject::Manager(id) => vec![tenant, ("department", department), ("manager", id.as_str())],
        };
        let Selection { manager_windows, manager_metrics, .. } = &self.selection;
        let (windows, metrics) = match level {
            Level::Manager => (manager_windows.as_ref(), manager_metrics.as_ref()),
            _ => (None, None),
        };
        let is_wanted = |metric: &Metric| metrics.is_none_or(|wanted| wanted.contains(metric));
        match &row.figures {
            Figures::Window(_, figures) if windows.is_none_or(|wanted| wanted.iter().any(|name| window == *name)) => {
                labels.push(("window", &window));
                let subject = subject(&labels);
                samples::window(figures, |metric, own, value| {
                    if is_wanted(&metric) {
                        page.figure(metric, level, &subject, own, value);
                    }
                });
            }
            Figures::Window(..) => {}
            Figures::Now(figures) => {
                let subject = subject(&labels);
                samples::now(figures, |metric, own, value| {
                    if is_wanted(&metric) {
                        page.figure(metric, level, &subject, own, value);
                    }
                });
            }
        }
    }
}

fn level_of(subject: &Subject) -> Level {
    match subject {
        Subject::Tenant => Level::Tenant,
        Subject::Department(_) => Level::Department,
        Subject::Manager(_) => Level::Manager,
    }
}

/// What is wanted in every department.
fn norms(page: &mut Page, snapshot: &TenantSnapshot) {
    for department in &snapshot.departments {
        let (tenant, department) = (snapshot.tenant.as_str(), department.as_str());
        let subject = subject(&[("tenant", tenant), ("department", department)]);
        let place = ScopeQuery { tenant, department, ..ScopeQuery::default() };
        samples::norms(&snapshot.norms, place, |metric, own, value| {
            page.figure(metric, Level::Department, &subject, own, value);
        });
    }
}

/// What the live view says of itself.
fn redis(page: &mut Page, live: &LiveViewMetrics) {
    page.sample(Metric::RedisUp, &[], f64::from(live.connected()));
    page.sample(Metric::RedisQueue, &[], live.queued() as f64);
    let counts = [Metric::RedisWrites, Metric::RedisDropped, Metric::RedisWhole, Metric::RedisErrors];
    for (metric, count) in counts.into_iter().zip(live.counts()) {
        page.sample(metric, &[], count as f64);
    }
}

/// What the processor says of itself.
fn processor(page: &mut Page, counted: &Counters, now: Timestamp) {
    use Metric as M;
    for kind in EventKind::ALL {
        let labels = [("topic", kind.topic().name()), ("event", kind.name())];
        page.sample(M::Events, &labels, counted.applied[*kind as usize] as f64);
    }
    page.sample(M::Duplicates, &[], counted.duplicates as f64);
    page.sample(M::Late, &[], counted.late as f64);
    page.sample(M::Rerouted, &[], counted.rerouted as f64);
    for reason in Reason::ALL {
        let n = counted.refused.get(&reason).copied().unwrap_or_default();
        page.sample(M::Refused, &[("reason", reason.name())], n as f64);
    }
    for ((rule, severity, status), n) in &counted.alerts {
        let labels = [("rule", rule.name()), ("severity", severity.name()), ("status", status.name())];
        page.sample(M::Alerts, &labels, *n as f64);
    }
    page.sample(M::ReviewRequests, &[], counted.review_requests as f64);
    page.sample(M::Epochs, &[], counted.epochs.count() as f64);
    page.histogram(M::EpochSeconds, &counted.epochs.buckets, counted.epochs.total.as_secs_f64());
    page.histogram(M::CommitSeconds, &counted.commits.buckets, counted.commits.total.as_secs_f64());
    page.sample(M::CommitsAborted, &[], counted.aborted as f64);
    page.sample(M::EpochsInFlight, &[], counted.in_flight as f64);
    page.sample(M::EpochsInFlightLimit, &[], counted.in_flight_limit as f64);
    page.sample(M::ShardsAssigned, &[], (counted.assigned + counted.restoring.len()) as f64);
    page.sample(M::ShardsRestoring, &[], counted.restoring.len() as f64);
    for (shard, share) in &counted.restoring {
        page.sample(M::RestoreProgress, &[("shard", &shard.to_string())], *share);
    }
    for ((topic, partition), behind) in &counted.lag {
        let labels = [("topic", topic.as_str()), ("partition", &partition.to_string())];
        page.sample(M::LagMessages, &labels, behind.messages as f64);
        page.sample(M::LagSeconds, &labels, behind.seconds());
    }
    for (shard, Shard { held, watermark, entries }) in &counted.shards {
        let shard = shard.to_string();
        page.sample(M::Held, &[("shard", &shard)], *held as f64);
        page.sample(M::StateEntries, &[("shard", &shard)], *entries as f64);
        if *watermark > Timestamp::MIN {
            page.sample(M::WatermarkDelay, &[("shard", &shard)], (now - *watermark).seconds());
        }
    }
    page.sample(M::StateRecords, &[], counted.state.0 as f64);
    page.sample(M::StateBytes, &[], counted.state.1 as f64);
    for (result, n) in ["applied", "refused"].into_iter().zip(counted.reloads) {
        page.sample(M::NormsReloads, &[("result", result)], n as f64);
    }
    if let Some(read) = counted.norms_in_force {
        page.sample(M::NormsInForce, &[], (read - Timestamp(0)).seconds());
    }
    page.sample(M::Build, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
}

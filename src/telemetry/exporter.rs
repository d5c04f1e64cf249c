//! Renders `/metrics` on each scrape: live figures, the norms in force and the processor's metrics.
//!
//! **Consistency.** All figures of a tenant refer to the same watermark: its rows are computed under a lock that blocks
//! its worker, and formatted after the lock is released. **No stale series.** Nothing is kept between scrapes, so
//! removed managers disappear. **Limit.** If there are more series of figures and norms than the limits, the least
//! important ones are left out and counted: figures of managers, last windows first.

use super::http_metrics::HttpMetrics;
use super::live_view_metrics::LiveViewMetrics;
use super::log_output;
use super::member_metrics::MemberMetrics;
use super::metric::{Family, Level, Metric};
use super::page::{Labels, Page, subject};
use super::process;
use super::processor_metrics::{Counters, ProcessorMetrics, Shard};
use super::samples;
use crate::dataflow::live::{LiveState, TenantSnapshot, lock};
use crate::domain::event::EventKind;
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repair;
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::figures::table::TargetFigures;
use crate::domain::id::{DepartmentId, ManagerId, UNKNOWN};
use crate::domain::norms::ScopeQuery;
use crate::domain::shard::admission::Limited;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Returns the wall-clock time that watermarks are compared with.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Selects the exported series; there are many managers, so their figures can be restricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The windows whose figures are exported per manager, by name; `None`: all.
    pub manager_windows: Option<Vec<String>>,
    /// The figures exported per manager, by name; `None`: all.
    pub manager_metrics: Option<Vec<String>>,
    /// Maximum number of series of figures, norms and names.
    pub max_series: usize,
    /// Maximum size of a scrape, in bytes.
    pub max_bytes: usize,
    /// Whether names of managers and departments are exported.
    pub names: bool,
}

/// Renders all metrics in the Prometheus text format.
pub struct Exporter {
    live_state: Arc<LiveState>,
    metrics: Arc<ProcessorMetrics>,
    clock: Clock,
    selection: Selection,
    live_view: Option<Arc<LiveViewMetrics>>,
    http: Option<Arc<HttpMetrics>>,
    members: Option<Arc<MemberMetrics>>,
    /// Whether each family is exported per manager.
    manager_families: Vec<bool>,
    /// The sizes of the families of the last page. The lock serializes scrapes.
    sizes: Mutex<Vec<usize>>,
}

impl Exporter {
    /// The wall-clock time that watermarks are compared with.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Creates an exporter of these figures and metrics; `clock` returns the wall-clock time.
    pub fn new(live_state: Arc<LiveState>, metrics: Arc<ProcessorMetrics>, clock: Clock, selection: Selection) -> Self {
        let selected = selection.manager_metrics.as_ref();
        let is_selected = |family: &Family| selected.is_none_or(|names| names.contains(&family.stem));
        let manager_families = Family::all().iter().map(is_selected).collect();
        let sizes = Mutex::default();
        Self {
            live_state,
            metrics,
            clock,
            selection,
            live_view: None,
            http: None,
            members: None,
            manager_families,
            sizes,
        }
    }

    /// Adds the metrics of the live view.
    pub fn with_live(self, live_view: Option<Arc<LiveViewMetrics>>) -> Self {
        Self { live_view, ..self }
    }

    /// Adds the metrics of the HTTP server.
    pub fn with_http(self, http: Arc<HttpMetrics>) -> Self {
        Self { http: Some(http), ..self }
    }

    /// Adds the metrics of the processes that answer for each other.
    pub fn with_members(self, members: Option<Arc<MemberMetrics>>) -> Self {
        Self { members, ..self }
    }

    /// Renders one scrape.
    pub fn render(&self) -> Vec<u8> {
        let mut sizes = lock(&self.sizes);
        let mut page = Page::new(self.selection.max_series, self.selection.max_bytes, &sizes);
        let now = (self.clock)();
        processor(&mut page, &self.metrics.counters());
        if let Some(live_view) = &self.live_view {
            redis(&mut page, live_view);
        }
        if let Some(metrics) = &self.http {
            http(&mut page, metrics);
        }
        if let Some(metrics) = &self.members {
            members(&mut page, metrics);
        }
        let snapshots = self.live_state.snapshots();
        for snapshot in &snapshots {
            let labels = [("tenant", snapshot.tenant.as_str())];
            page.sample_of(Level::Tenant, Metric::SharedContacts, &labels, snapshot.shared_contacts as f64);
            unlisted_stages(&mut page, snapshot);
            progress(&mut page, snapshot, now);
        }
        watermark_delays(&mut page, &snapshots, now);
        snapshots.iter().for_each(|snapshot| norms(&mut page, snapshot));
        if self.selection.names {
            snapshots.iter().for_each(|snapshot| names(&mut page, snapshot));
        }
        for level in Level::ALL {
            // Of managers, the current figures and the first windows matter most.
            let windows = snapshots.iter().map(|snapshot| snapshot.norms.windows.len()).max().unwrap_or_default();
            for window in std::iter::once(None).chain((0..windows).map(Some)) {
                snapshots.iter().for_each(|snapshot| self.rows(&mut page, snapshot, level, window));
            }
        }
        snapshots.iter().for_each(|snapshot| reviews(&mut page, snapshot));
        let (series, bytes) = (page.written(), page.bytes());
        page.sample(Metric::Series, &[], series as f64);
        page.sample(Metric::SeriesLimit, &[], self.selection.max_series as f64);
        page.sample(Metric::ScrapeBytes, &[], bytes as f64);
        page.sample(Metric::ScrapeBytesLimit, &[], self.selection.max_bytes as f64);
        for level in Level::ALL {
            let left_out = page.left_out(level);
            page.sample(Metric::SeriesLeftOut, &[("level", level.name())], left_out as f64);
        }
        *sizes = page.sizes();
        let mut text = page.finish();
        process::append(&mut text);
        text
    }

    /// Adds the rows of one level over the window with this index, or of the current figures.
    fn rows(&self, page: &mut Page, snapshot: &TenantSnapshot, level: Level, window: Option<usize>) {
        let window = window.map(|index| snapshot.norms.windows.get(index).copied());
        for row in &snapshot.rows {
            let of = match &row.figures {
                Figures::Window(window, _) => Some(Some(*window)),
                Figures::Now(_) => None,
                Figures::Closing(..) | Figures::Gone(_) => continue,
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
        if let Figures::Window(..) = row.figures {
            let is_selected = |selected: &Vec<String>| selected.iter().any(|name| window == *name);
            if level == Level::Manager && !self.selection.manager_windows.as_ref().is_none_or(is_selected) {
                return;
            }
            labels.push(("window", &window));
        }
        let subject = subject(&labels);
        if let Figures::Now(figures) = &row.figures {
            targets(page, level, &labels, &figures.targets);
        }
        samples::figures(&row.figures, |family, own, value| {
            if level != Level::Manager || self.manager_families[family] {
                page.figure(family, level, &subject, own, value);
            }
        });
    }
}

fn level_of(subject: &Subject) -> Level {
    match subject {
        Subject::Tenant => Level::Tenant,
        Subject::Department(_) => Level::Department,
        Subject::Manager(_) => Level::Manager,
    }
}

/// Adds the targets of a subject with these labels.
fn targets(page: &mut Page, level: Level, subject: Labels<'_>, targets: &BTreeMap<CompactString, TargetFigures>) {
    for (id, target) in targets {
        for (name, value) in target.gauges() {
            let labels = [subject, &[("target", id.as_str()), ("value", name)]].concat();
            page.figure_of(level, Metric::Target, &labels, value);
        }
        if target.incomplete {
            page.sample_of(level, Metric::TargetIncomplete, &[subject, &[("target", id.as_str())]].concat(), 1.0);
        }
    }
}

/// Adds how far a tenant is processed, and how far its sources have reported.
fn progress(page: &mut Page, snapshot: &TenantSnapshot, now: Timestamp) {
    let tenant = ("tenant", snapshot.tenant.as_str());
    if snapshot.watermark > Timestamp::MIN {
        let delay = (now - snapshot.watermark).seconds();
        page.sample_of(Level::Tenant, Metric::TenantWatermarkDelay, &[tenant], delay);
    }
    page.sample_of(Level::Tenant, Metric::Backfill, &[tenant], f64::from(snapshot.is_backfilling));
    for mark in &snapshot.marks {
        let since = if mark.backfill { mark.arrived } else { mark.up_to };
        let labels = [tenant, ("topic", mark.topic.name()), ("source", mark.source.as_str())];
        page.sample_of(Level::Tenant, Metric::ProgressAge, &labels, (now - since).seconds());
    }
}

/// Adds the largest delay in each shard. Sources with progress marks may report later than others.
fn watermark_delays(page: &mut Page, snapshots: &[TenantSnapshot], now: Timestamp) {
    let mut lowest = BTreeMap::new();
    let without_marks = snapshots.iter().filter(|snapshot| snapshot.marks.is_empty());
    for snapshot in without_marks.filter(|snapshot| snapshot.watermark > Timestamp::MIN) {
        let lowest = lowest.entry(snapshot.shard).or_insert(snapshot.watermark);
        *lowest = snapshot.watermark.min(*lowest);
    }
    for (shard, watermark) in lowest {
        page.sample(Metric::WatermarkDelay, &[("shard", &shard.to_string())], (now - watermark).seconds());
    }
}

/// Adds the norms in force in every department.
fn norms(page: &mut Page, snapshot: &TenantSnapshot) {
    for department in &snapshot.departments {
        let (tenant, department) = (snapshot.tenant.as_str(), department.as_str());
        let subject = subject(&[("tenant", tenant), ("department", department)]);
        let query = ScopeQuery { tenant, department, ..ScopeQuery::default() };
        samples::norms(&snapshot.norms, query, |metric, own, value| {
            page.figure(metric.index(), Level::Department, &subject, own, value);
        });
    }
}

/// Maximum number of unlisted stages per tenant.
const MAX_UNLISTED: usize = 100;

/// Adds the stages that no pipeline lists, with the open entities in them.
fn unlisted_stages(page: &mut Page, snapshot: &TenantSnapshot) {
    let tenant = snapshot.rows.iter().find_map(|row| match (&row.subject, &row.figures) {
        (Subject::Tenant, Figures::Now(figures)) => Some(&figures.open),
        _ => None,
    });
    let by_stage = tenant.into_iter().flatten();
    let all = by_stage.flat_map(|(pipeline, stages)| stages.iter().map(move |(stage, open)| (pipeline, stage, *open)));
    let mut unlisted: Vec<_> = all.filter(|(pipeline, stage, _)| !snapshot.norms.lists(pipeline, stage)).collect();
    unlisted.sort_by_key(|(.., open)| Reverse(*open));
    for (pipeline, stage, open) in unlisted.into_iter().take(MAX_UNLISTED) {
        let labels =
            [("tenant", snapshot.tenant.as_str()), ("pipeline", pipeline.as_str()), ("deal_stage", stage.as_str())];
        page.sample_of(Level::Tenant, Metric::UnlistedStages, &labels, open as f64);
    }
}

/// Adds the review requests of each manager.
fn reviews(page: &mut Page, snapshot: &TenantSnapshot) {
    for (manager, requests) in &snapshot.reviews {
        let labels = [("tenant", snapshot.tenant.as_str()), ("manager", manager.as_str())];
        page.sample_of(Level::Manager, Metric::ReviewsOpen, &labels, requests.open as f64);
        page.sample_of(Level::Manager, Metric::ReviewsAnswered, &labels, requests.answered as f64);
    }
}

/// Adds the names of all managers and departments; where no name is known, the id.
fn names(page: &mut Page, snapshot: &TenantSnapshot) {
    let (tenant, unknown) = (("tenant", snapshot.tenant.as_str()), DepartmentId::from(UNKNOWN));
    for row in &snapshot.rows {
        let (Figures::Now(_), Subject::Manager(id)) = (&row.figures, &row.subject) else { continue };
        let department = row.department.as_ref().unwrap_or(&unknown);
        let labels = [
            tenant,
            ("manager", id.as_str()),
            ("name", snapshot.names.get(id).map_or(id.as_str(), String::as_str)),
            ("department", department.as_str()),
            ("department_name", department_name(snapshot, department)),
        ];
        page.figure(Metric::ManagerInfo.index(), Level::Manager, &[], &labels, 1.0);
    }
    let departments: BTreeSet<_> = snapshot.departments.iter().chain(snapshot.described.keys()).collect();
    for id in departments {
        let described = snapshot.described.get(id);
        let parent = described.and_then(|described| described.parent.as_ref());
        let head = described.and_then(|described| described.head.as_ref());
        let labels = [
            tenant,
            ("department", id.as_str()),
            ("department_name", department_name(snapshot, id)),
            ("parent", parent.map_or("", DepartmentId::as_str)),
            ("head", head.map_or("", ManagerId::as_str)),
        ];
        page.figure(Metric::DepartmentInfo.index(), Level::Department, &[], &labels, 1.0);
    }
}

fn department_name<'a>(snapshot: &'a TenantSnapshot, id: &'a DepartmentId) -> &'a str {
    snapshot.described.get(id).and_then(|described| described.name.as_deref()).unwrap_or(id.as_str())
}

fn redis(page: &mut Page, metrics: &LiveViewMetrics) {
    page.sample(Metric::RedisUp, &[], f64::from(metrics.connected()));
    page.sample(Metric::RedisQueue, &[], metrics.queued() as f64);
    let counts = [Metric::RedisWrites, Metric::RedisDropped, Metric::RedisWhole, Metric::RedisErrors];
    for (metric, count) in counts.into_iter().zip(metrics.counts()) {
        page.sample(metric, &[], count as f64);
    }
}

pub(super) fn http(page: &mut Page, metrics: &HttpMetrics) {
    page.sample(Metric::HttpConnections, &[], metrics.open() as f64);
    page.sample(Metric::HttpConnectionsLimit, &[], metrics.limit() as f64);
    for (reason, n) in metrics.closed() {
        page.sample(Metric::HttpClosed, &[("reason", reason.name())], n as f64);
    }
    page.sample(Metric::HttpRefused, &[], metrics.refused() as f64);
    for (result, n) in ["rendered", "shared"].into_iter().zip(metrics.scrapes()) {
        page.sample(Metric::Scrapes, &[("result", result)], n as f64);
    }
}

fn members(page: &mut Page, metrics: &MemberMetrics) {
    let [known, moving] = metrics.known();
    page.sample(Metric::Members, &[], known as f64);
    page.sample(Metric::MembersShardsMoving, &[], moving as f64);
    for (result, n) in metrics.all_forwarded() {
        page.sample(Metric::MembersForwarded, &[("result", result)], n as f64);
    }
    for (result, n) in metrics.all_received() {
        page.sample(Metric::MembersReceived, &[("result", result)], n as f64);
    }
}

/// Adds the version.
pub(super) fn build(page: &mut Page) {
    page.sample(Metric::Build, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
}

fn processor(page: &mut Page, counters: &Counters) {
    use Metric as M;
    for kind in EventKind::ALL {
        let labels = [("topic", kind.topic().name()), ("event", kind.name())];
        page.sample(M::Events, &labels, counters.applied[*kind as usize] as f64);
    }
    page.sample(M::Duplicates, &[], counters.duplicates as f64);
    page.sample(M::Ignored, &[], counters.ignored as f64);
    page.sample(M::Late, &[], counters.late as f64);
    let (ahead, is_followed) = counters.clock;
    ahead.into_iter().for_each(|ahead| page.sample(M::ClockAhead, &[], ahead.seconds()));
    page.sample(M::ClockFollowed, &[], f64::from(is_followed));
    page.sample(M::PassedEarly, &[], counters.passed_early as f64);
    page.sample(M::ProgressIgnored, &[], counters.marks_below as f64);
    page.sample(M::LeftOut, &[], counters.left_out as f64);
    for limited in Limited::ALL {
        let used = counters.shards.values().map(|shard| shard.limits_used[limited as usize]).fold(0.0, f64::max);
        page.sample(M::LimitUsed, &[("limit", limited.name())], used);
    }
    for (limited, n) in [Limited::TenantStages, Limited::TenantCurrencies].into_iter().zip(counters.summed_up) {
        page.sample(M::SummedUp, &[("limit", limited.name())], n as f64);
    }
    page.sample(M::Rerouted, &[], counters.rerouted as f64);
    for reason in Reason::ALL {
        let n = counters.refused.get(&reason).copied().unwrap_or_default();
        page.sample(M::Refused, &[("reason", reason.name())], n as f64);
    }
    for repair in Repair::ALL {
        let n = counters.repaired.get(&repair).copied().unwrap_or_default();
        page.sample(M::Repaired, &[("reason", repair.name())], n as f64);
    }
    for ((rule, severity, status), n) in &counters.alerts {
        let labels = [("rule", rule.name()), ("severity", severity.name()), ("status", status.name())];
        page.sample(M::Alerts, &labels, *n as f64);
    }
    page.sample(M::ReviewRequests, &[], counters.review_requests as f64);
    page.sample(M::Epochs, &[], counters.epochs.count() as f64);
    page.histogram(M::EpochSeconds, &counters.epochs.buckets, counters.epochs.total.as_secs_f64());
    page.histogram(M::CommitSeconds, &counters.commits.buckets, counters.commits.total.as_secs_f64());
    page.sample(M::CommitsAborted, &[], counters.aborted as f64);
    page.sample(M::Restarts, &[], counters.restarts as f64);
    if let Some(limit) = counters.memory_limit {
        page.sample(M::MemoryLimitBytes, &[], limit as f64);
        page.sample(M::MemoryTight, &[], f64::from(counters.memory_is_tight));
    }
    page.sample(M::EpochsInFlight, &[], counters.in_flight as f64);
    page.sample(M::EpochsInFlightLimit, &[], counters.in_flight_limit as f64);
    page.sample(M::ShardsAssigned, &[], (counters.assigned + counters.restoring.len()) as f64);
    page.sample(M::ShardsRestoring, &[], counters.restoring.len() as f64);
    for (shard, share) in &counters.restoring {
        page.sample(M::RestoreProgress, &[("shard", &shard.to_string())], *share);
    }
    for (topic, offsets) in &counters.offsets_lost {
        page.sample(M::OffsetsLost, &[("topic", topic)], *offsets as f64);
    }
    for ((topic, partition), lag) in &counters.lag {
        let labels = [("topic", topic.as_str()), ("partition", &partition.to_string())];
        page.sample(M::LagMessages, &labels, lag.messages as f64);
        page.sample(M::LagSeconds, &labels, lag.seconds());
    }
    for (shard, Shard { held, entries, .. }) in &counters.shards {
        let shard = shard.to_string();
        page.sample(M::Held, &[("shard", &shard)], *held as f64);
        page.sample(M::StateEntries, &[("shard", &shard)], *entries as f64);
    }
    page.sample(M::StateRecords, &[], counters.state.0 as f64);
    page.sample(M::StateBytes, &[], counters.state.1 as f64);
    for (result, n) in ["applied", "refused"].into_iter().zip(counters.reloads) {
        page.sample(M::NormsReloads, &[("result", result)], n as f64);
    }
    if let Some(read) = counters.norms_in_force {
        page.sample(M::NormsInForce, &[], (read - Timestamp(0)).seconds());
    }
    page.sample(M::LogLinesLost, &[], log_output::lines_lost() as f64);
    build(page);
}

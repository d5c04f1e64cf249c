//! Owns `/metrics`: renders the scoreboard and the processor's health when it is scraped.
//!
//! Families are built afresh from live figures on each scrape, so that a manager who is gone leaves no series behind.

use super::metric::{HealthMetric, NowMetric, WindowMetric};
use crate::dataflow::board::{Board, lock};
use crate::dataflow::epoch::Yield;
use crate::domain::event::Topic;
use crate::domain::id::{DepartmentId, UNKNOWN};
use crate::domain::reject::Reason;
use crate::domain::row::{Figures, NowFigures, Quantiles, Ratio, Row, Subject, WindowFigures};
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the processor knows of itself; told after each commit.
#[derive(Debug, Default)]
pub struct Health {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    applied: [u64; 3],
    duplicates: u64,
    late: u64,
    rerouted: u64,
    epochs: u64,
    refused: BTreeMap<Reason, u64>,
    alerts: BTreeMap<(Rule, &'static str), u64>,
    review_requests: u64,
    /// Held events, watermark and state entries of each shard.
    shards: BTreeMap<u32, (usize, Timestamp, u64)>,
    /// Records and bytes of the state topic.
    state: (u64, u64),
    restoring: BTreeMap<u32, f64>,
    transactions: (u64, Duration),
    /// Applied, and refused.
    reloads: [u64; 2],
    /// When the norms in force were read.
    norms_in_force: Option<Timestamp>,
    /// By topic and partition.
    lag: BTreeMap<(String, i32), i64>,
}

impl Health {
    /// A transaction was committed.
    pub fn transaction(&self, took: Duration) {
        let (count, time) = &mut lock(&self.counted).transactions;
        *count += 1;
        *time += took;
    }

    /// How far behind the partitions that are read are now.
    pub fn lag(&self, lags: impl Iterator<Item = ((String, i32), i64)>) {
        lock(&self.counted).lag = lags.collect();
    }

    /// How much of their state the shards that are being restored have read.
    pub fn restoring(&self, shares: impl Iterator<Item = (u32, f64)>) {
        lock(&self.counted).restoring = shares.collect();
    }

    /// The norms that are in force from now on were read at `now`.
    pub fn norms_in_force(&self, now: Timestamp) {
        lock(&self.counted).norms_in_force = Some(now);
    }

    /// Changed norms were applied, or refused.
    pub fn reloaded(&self, applied: bool) {
        lock(&self.counted).reloads[usize::from(!applied)] += 1;
    }

    /// An epoch was committed.
    pub fn committed(&self, made: &Yield) {
        let mut counted = lock(&self.counted);
        counted.epochs += 1;
        counted.review_requests += made.reviews.len() as u64;
        counted.rerouted += made.misplaced.len() as u64;
        for mark in &made.shards {
            for (sum, n) in counted.applied.iter_mut().zip(mark.counts.applied) {
                *sum += n;
            }
            counted.duplicates += mark.counts.duplicates;
            counted.late += mark.counts.late;
            counted.shards.insert(mark.shard, (mark.held, mark.watermark, mark.entries));
        }
        for (_, records) in &made.state {
            counted.state.0 += records.len() as u64;
            counted.state.1 += records.bytes() as u64;
        }
        for shard in &made.revoked {
            counted.shards.remove(shard);
        }
        for refused in &made.refusals {
            *counted.refused.entry(refused.reject.reason).or_default() += 1;
        }
        for alert in &made.alerts {
            *counted.alerts.entry((alert.rule, alert.status.name())).or_default() += 1;
        }
    }
}

/// Tells the time that watermarks are measured against.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Renders everything as Prometheus text.
pub struct Exporter {
    registry: Registry,
}

impl Exporter {
    /// An exporter over these figures; `clock` tells the wall clock.
    pub fn new(board: Arc<Board>, health: Arc<Health>, clock: Clock) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Figured { board, health, clock, descriptions: descriptions()? }))?;
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { registry })
    }

    /// The text of one scrape.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

const LEVELS: [&str; 3] = ["manager", "department", "tenant"];

/// The labels that say whom a figure of this level is about.
fn subject_labels(level: usize) -> &'static [&'static str] {
    &["tenant", "department", "manager"][..3 - level]
}

fn descriptions() -> Result<Vec<Desc>, prometheus::Error> {
    let describe = |name: String, help: &str, labels: Vec<&str>| {
        Desc::new(name, help.into(), labels.into_iter().map(str::to_owned).collect(), Default::default())
    };
    let mut all = Vec::new();
    for (level, prefix) in LEVELS.iter().enumerate() {
        let subject = subject_labels(level);
        for metric in WindowMetric::ALL {
            let labels = [subject, &["window"], metric.labels()].concat();
            all.push(describe(format!("funnelwatch_{prefix}_{}", metric.name()), metric.help(), labels)?);
        }
        for metric in NowMetric::ALL {
            let labels = [subject, metric.labels()].concat();
            all.push(describe(format!("funnelwatch_{prefix}_{}", metric.name()), metric.help(), labels)?);
        }
    }
    for metric in HealthMetric::ALL {
        all.push(describe(format!("funnelwatch_{}", metric.name()), metric.help(), metric.labels().to_vec())?);
    }
    Ok(all)
}

/// The collector: figures of the board and counts of the processor.
struct Figured {
    board: Arc<Board>,
    health: Arc<Health>,
    clock: Clock,
    descriptions: Vec<Desc>,
}

impl Collector for Figured {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        let rows = self.board.rows();
        for row in rows.iter().filter(|row| row.subject == Subject::Tenant || !row.is_empty()) {
            families.row(row);
        }
        for (tenant, manager, requests) in self.board.reviews() {
            let labels = [("tenant", tenant.as_str()), ("manager", manager.as_str())];
            families.health_gauge(HealthMetric::ReviewsOpen, &labels, requests.open as f64);
            families.counter(HealthMetric::ReviewsAnswered, &labels, requests.answered);
        }
        families.health(&lock(&self.health.counted), (self.clock)());
        families.finish()
    }
}

/// Families under construction, by name.
#[derive(Default)]
struct Families(BTreeMap<String, (&'static str, MetricType, Vec<Metric>)>);

impl Families {
    fn row(&mut self, row: &Row) {
        let tenant = row.tenant.as_str();
        let department = row.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str);
        let (level, subject) = match &row.subject {
            Subject::Manager(id) => (0, vec![("tenant", tenant), ("department", department), ("manager", id.as_str())]),
            Subject::Department(id) => (1, vec![("tenant", tenant), ("department", id.as_str())]),
            Subject::Tenant => (2, vec![("tenant", tenant)]),
        };
        let window = row.figures.window();
        match &row.figures {
            Figures::Window(_, figures) => window_samples(figures, |metric, own, value| {
                let labels = [subject.as_slice(), &[("window", &window)], own].concat();
                self.gauge(format!("funnelwatch_{}_{}", LEVELS[level], metric.name()), metric.help(), &labels, value);
            }),
            Figures::Now(figures) => now_samples(figures, |metric, own, value| {
                let labels = [subject.as_slice(), own].concat();
                self.gauge(format!("funnelwatch_{}_{}", LEVELS[level], metric.name()), metric.help(), &labels, value);
            }),
        }
    }

    fn health(&mut self, counted: &Counted, now: Timestamp) {
        for topic in Topic::ALL {
            self.counter(HealthMetric::Events, &[("topic", topic.name())], counted.applied[topic as usize]);
        }
        self.counter(HealthMetric::Duplicates, &[], counted.duplicates);
        self.counter(HealthMetric::Late, &[], counted.late);
        self.counter(HealthMetric::Rerouted, &[], counted.rerouted);
        self.counter(HealthMetric::Epochs, &[], counted.epochs);
        self.counter(HealthMetric::Commits, &[], counted.transactions.0);
        self.health_counter(HealthMetric::CommitSeconds, &[], counted.transactions.1.as_secs_f64());
        for ((topic, partition), messages) in &counted.lag {
            let labels = [("topic", topic.as_str()), ("partition", &partition.to_string())];
            self.health_gauge(HealthMetric::Lag, &labels, *messages as f64);
        }
        for reason in Reason::ALL {
            let n = counted.refused.get(&reason).copied().unwrap_or_default();
            self.counter(HealthMetric::Refused, &[("reason", reason.name())], n);
        }
        for ((rule, status), n) in &counted.alerts {
            self.counter(HealthMetric::Alerts, &[("rule", rule.name()), ("status", status)], *n);
        }
        for (result, n) in ["applied", "refused"].into_iter().zip(counted.reloads) {
            self.counter(HealthMetric::NormsReloads, &[("result", result)], n);
        }
        if let Some(read) = counted.norms_in_force {
            self.health_gauge(HealthMetric::NormsInForce, &[], (read - Timestamp(0)).seconds());
        }
        self.counter(HealthMetric::ReviewRequests, &[], counted.review_requests);
        self.counter(HealthMetric::StateRecords, &[], counted.state.0);
        self.counter(HealthMetric::StateBytes, &[], counted.state.1);
        for (shard, share) in &counted.restoring {
            self.health_gauge(HealthMetric::RestoreProgress, &[("shard", &shard.to_string())], *share);
        }
        for (shard, (held, watermark, entries)) in &counted.shards {
            let shard = shard.to_string();
            self.health_gauge(HealthMetric::Held, &[("shard", &shard)], *held as f64);
            self.health_gauge(HealthMetric::StateEntries, &[("shard", &shard)], *entries as f64);
            if *watermark > Timestamp::MIN {
                let delay = (now - *watermark).seconds();
                self.health_gauge(HealthMetric::WatermarkDelay, &[("shard", &shard)], delay);
            }
        }
        self.health_gauge(HealthMetric::Build, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    }

    fn health_gauge(&mut self, metric: HealthMetric, labels: &[(&str, &str)], value: f64) {
        self.gauge(format!("funnelwatch_{}", metric.name()), metric.help(), labels, value);
    }

    fn gauge(&mut self, name: String, help: &'static str, labels: &[(&str, &str)], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_gauge(gauge);
        metric.set_label(pairs(labels));
        self.0.entry(name).or_insert((help, MetricType::GAUGE, Vec::new())).2.push(metric);
    }

    fn counter(&mut self, metric: HealthMetric, labels: &[(&str, &str)], value: u64) {
        self.health_counter(metric, labels, value as f64);
    }

    fn health_counter(&mut self, metric: HealthMetric, labels: &[(&str, &str)], value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut sample = Metric::from_label(pairs(labels));
        sample.set_counter(counter);
        let name = format!("funnelwatch_{}", metric.name());
        self.0.entry(name).or_insert((metric.help(), MetricType::COUNTER, Vec::new())).2.push(sample);
    }

    fn finish(self) -> Vec<MetricFamily> {
        let family = |(name, (help, kind, metrics)): (String, (&str, MetricType, Vec<Metric>))| {
            let mut family = MetricFamily::default();
            family.set_name(name);
            family.set_help(help.into());
            family.set_field_type(kind);
            family.set_metric(metrics);
            family
        };
        self.0.into_iter().map(family).collect()
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    labels.iter().map(pair).collect()
}

/// The samples of a window's figures; shares and quantiles of nothing are left out.
fn window_samples(figures: &WindowFigures, mut emit: impl FnMut(WindowMetric, &[(&str, &str)], f64)) {
    use WindowMetric as M;
    emit(M::LeadsReceived, &[], figures.leads_received as f64);
    emit(M::LeadsDisqualified, &[], figures.leads_disqualified as f64);
    let share = |ratio: Ratio| ratio.ratio().zip(ratio.bounds());
    for (basis, ratio) in [("cohort", figures.lead_conversion.cohort), ("closed", figures.lead_conversion.closed)] {
        let basis = [("basis", basis)];
        emit(M::LeadConversionSample, &basis, ratio.n as f64);
        if let Some((ratio, (lower, upper))) = share(ratio) {
            emit(M::LeadConversion, &basis, ratio);
            emit(M::LeadConversionLower, &basis, lower);
            emit(M::LeadConversionUpper, &basis, upper);
        }
    }
    for (basis, ratio) in [("cohort", figures.win_rate.cohort), ("closed", figures.win_rate.closed)] {
        let basis = [("basis", basis)];
        emit(M::WinRateSample, &basis, ratio.n as f64);
        if let Some(ratio) = ratio.ratio() {
            emit(M::WinRate, &basis, ratio);
        }
    }
    let responses = [("wall", &figures.first_response_wall), ("business", &figures.first_response_business)];
    for (clock, lags) in responses {
        for (q, seconds) in quantiles(lags) {
            emit(M::FirstResponseLag, &[("clock", clock), ("q", q)], seconds);
        }
        if lags.n > 0 {
            emit(M::FirstResponseLagMean, &[("clock", clock)], lags.mean_seconds);
        }
    }
    emit(M::FirstResponses, &[], figures.first_response_wall.n as f64);
    emit(M::FirstResponseJudged, &[], figures.first_response_within_norm.n as f64);
    if let Some(ratio) = figures.first_response_within_norm.ratio() {
        emit(M::FirstResponseWithinNorm, &[], ratio);
    }
    for (metric, count, lags) in
        [(M::CallBackLag, M::CallBacks, &figures.call_back), (M::ReplyLag, M::Replies, &figures.reply)]
    {
        emit(count, &[], lags.n as f64);
        for (q, seconds) in quantiles(lags) {
            emit(metric, &[("q", q)], seconds);
        }
    }
    let calls = &figures.calls;
    for (direction, outcome, n) in [
        ("inbound", "answered", calls.inbound_answered),
        ("inbound", "missed", calls.inbound_missed),
        ("outbound", "answered", calls.outbound_answered),
        ("outbound", "unanswered", calls.outbound_unanswered),
    ] {
        emit(M::Calls, &[("direction", direction), ("outcome", outcome)], n as f64);
    }
    emit(M::Talk, &[], figures.talk_seconds);
    for (direction, channels) in [("sent", &figures.messages_sent), ("received", &figures.messages_received)] {
        for (channel, n) in channels {
            emit(M::Messages, &[("direction", direction), ("channel", channel.name())], *n as f64);
        }
    }
    emit(M::Meetings, &[], figures.meetings as f64);
    emit(M::Touches, &[], figures.touches as f64);
    emit(M::DealsWon, &[], figures.deals_won as f64);
    emit(M::DealsLost, &[], figures.deals_lost as f64);
    for (currency, minor) in &figures.amount_won {
        emit(M::AmountWon, &[("currency", currency)], *minor as f64);
    }
    emit(M::Reviews, &[], figures.reviews.n as f64);
    if let Some(score) = figures.reviews.mean_score {
        emit(M::ReviewScore, &[], score);
    }
    for (rule, n) in &figures.violations {
        emit(M::Violations, &[("rule", rule.name())], *n as f64);
    }
}

fn quantiles(lags: &Quantiles) -> impl Iterator<Item = (&'static str, f64)> {
    let all = [("0.5", lags.p50_seconds), ("0.9", lags.p90_seconds), ("0.99", lags.p99_seconds)];
    all.into_iter().filter(|_| lags.n > 0)
}

fn now_samples(figures: &NowFigures, mut emit: impl FnMut(NowMetric, &[(&str, &str)], f64)) {
    use NowMetric as M;
    emit(M::Awaiting, &[], figures.awaiting_first_response as f64);
    emit(M::OldestWait, &[], figures.oldest_wait_seconds.unwrap_or_default());
    for (pipeline, stages) in &figures.open {
        for (stage, n) in stages {
            emit(M::Open, &[("pipeline", pipeline.as_str()), ("deal_stage", stage.as_str())], *n as f64);
        }
    }
    for (rule, n) in &figures.open_alerts {
        emit(M::OpenAlerts, &[("rule", rule.name())], *n as f64);
    }
    emit(M::UnreturnedCalls, &[], figures.unreturned_calls as f64);
    emit(M::UnansweredMessages, &[], figures.unanswered_messages as f64);
}

//! Owns the metric families of `/metrics`: those of figures follow from their table; those of norms and of the processor
//! are declared here. `docs/metrics.md` is generated from them.
//!
//! Names follow the Prometheus conventions (<https://prometheus.io/docs/practices/naming/>): base units, the unit last,
//! `_total` for counters only. Figures of managers, departments and tenants have separate names, so that a sum over one
//! of them counts nothing twice.

use crate::domain::figures::table::{Figure, Kind, NOW, WINDOW};
use crate::domain::named::named_enum;
use std::sync::LazyLock;

/// The group of a metric: determines the prefix of its name and its first labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricGroup {
    /// A figure over a sliding window, for each [`Level`].
    Window,
    /// A current figure, for each [`Level`].
    Now,
    /// A norm in force in a department.
    Norm,
    /// The processor itself.
    Processor,
    /// The gateway itself.
    Gateway,
    /// `notify` itself.
    Notify,
}

impl MetricGroup {
    /// Every group, in order.
    pub const ALL: [Self; 6] = [Self::Window, Self::Now, Self::Norm, Self::Processor, Self::Gateway, Self::Notify];
}

/// The level of the subject of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A tenant.
    Tenant,
    /// A department.
    Department,
    /// One manager.
    Manager,
}

impl Level {
    /// Every level, the most important first.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Department, Self::Manager];

    const NAMES: [&str; 3] = ["tenant", "department", "manager"];

    /// The name in metric names and in the label `level`.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The labels that identify the subject of a figure.
    pub fn labels(self) -> &'static [&'static str] {
        &Self::NAMES[..=self as usize]
    }
}

named_enum! {
    /// The type of a metric.
    pub enum MetricKind, named "in the Prometheus text format" {
        /// A value that goes up and down.
        Gauge = "gauge",
        /// A monotonic sum, starting from 0 with the process.
        Counter = "counter",
        /// Counts of values in the buckets of [`BOUNDS`].
        Histogram = "histogram",
    }
}

/// Upper bounds of histogram buckets, in seconds, covering the durations of commits and epochs.
pub const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// A metric family: series of one name.
#[derive(Debug)]
pub struct Family {
    /// The group.
    pub group: MetricGroup,
    /// The name, without the prefix of its group.
    pub stem: String,
    /// The type.
    pub kind: MetricKind,
    /// The unit, for people.
    pub unit: &'static str,
    /// Its own labels, in addition to those of its group.
    pub labels: Vec<&'static str>,
    /// The help text.
    pub help: String,
}

macro_rules! metrics {
    ($($group:ident { $($metric:ident $name:literal $kind:ident $unit:literal [$($label:literal)*] $help:literal)* })*) => {
        /// A metric that is not a figure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $($(#[doc = $help] $metric,)*)*
        }

        /// The number of families that are not figures; they follow those of figures.
        const OTHERS: usize = [$($(Metric::$metric,)*)*].len();

        static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
            let window = WINDOW.iter().flat_map(|figure| families(MetricGroup::Window, figure));
            let now = NOW.iter().flat_map(|figure| families(MetricGroup::Now, figure));
            window.chain(now).chain([$($(Family {
                group: MetricGroup::$group,
                stem: $name.into(),
                kind: MetricKind::$kind,
                unit: $unit,
                labels: vec![$($label),*],
                help: $help.into(),
            },)*)*]).collect()
        });
    };
}

metrics! {
    Norm {
        NormWithin "norm_within_seconds" Gauge "seconds" ["rule" "clock"] "The deadline of a rule."
        NormAtMost "norm_at_most_seconds" Gauge "seconds" ["rule" "clock" "q" "window"] "The maximum quantile of lags."
        NormAtLeast "norm_at_least_ratio" Gauge "ratio 0 to 1" ["rule" "basis" "window"] "The minimum share."
        NormOfDepartment "norm_of_department_ratio" Gauge "ratio 0 to 1" ["rule" "basis" "window"] "The minimum share, as a fraction of the department's share."
        NormAtMostShare "norm_at_most_ratio" Gauge "ratio 0 to 1" ["rule" "window"] "The maximum share."
        NormScore "norm_at_least_score" Gauge "score 0 to 100" ["rule" "window"] "The minimum mean score."
        NormSample "norm_min_sample" Gauge "count" ["rule" "window"] "The minimum sample size of a window rule."
    }
    Processor {
        Events "events_applied_total" Counter "count" ["topic" "event"] "Events applied."
        Duplicates "events_duplicate_total" Counter "count" [] "Duplicate events, ignored."
        Ignored "events_ignored_total" Counter "count" [] "Calls and messages with contacts that the norms list as ignored."
        Late "events_late_total" Counter "count" [] "Late events: the watermark had already passed them."
        Refused "events_refused_total" Counter "count" ["reason"] "Rejected messages, written to the dead-letter topic."
        Repaired "events_repaired_total" Counter "count" ["reason"] "Accepted events in which a wrong value was put right or dropped."
        LeftOut "left_out_total" Counter "count" [] "Contacts and plans of leads and deals, contacts of threads, and legs of calls, that were left out because there are as many as there may be."
        LimitUsed "limit_used_ratio" Gauge "ratio" ["limit"] "How much of a limit is used; at 1, events that name a further tenant, manager or department are rejected, figures of further stages and currencies of a tenant are summed up as `other`, and the watermark of a tenant passes its oldest held events."
        SummedUp "summed_up_total" Counter "count" ["limit"] "Stages and currencies of tenants whose figures are summed up as `other`, counted when they are first used."
        Rerouted "events_rerouted_total" Counter "count" [] "Misrouted messages, re-produced to the partition of their tenant."
        OffsetsLost "offsets_lost_total" Counter "count" ["topic"] "Offsets of source topics that were gone before they were read. Only with `kafka.lost_log: continue`."
        Held "events_held" Gauge "count" ["shard"] "Events waiting for the watermark."
        PassedEarly "events_passed_early_total" Counter "count" [] "Held events that the watermark passed before it was due, because their tenant holds more than `time.max_held`, or the process more than it can keep."
        WatermarkDelay "watermark_delay_seconds" Gauge "seconds" ["shard"] "The largest delay of the watermark of a tenant behind the wall clock, among the tenants of the shard without progress marks."
        TenantWatermarkDelay "watermark_tenant_delay_seconds" Gauge "seconds" ["tenant"] "Delay of the watermark of a tenant behind the wall clock."
        ProgressAge "progress_age_seconds" Gauge "seconds" ["tenant" "topic" "source"] "How far the last progress mark of a source is behind the wall clock; in a back-fill, the time since it arrived."
        ProgressIgnored "progress_ignored_total" Counter "count" [] "Progress marks that were below the last one of their source, ignored."
        Backfill "backfill" Gauge "0 or 1" ["tenant"] "Whether a source sends past events of the tenant."
        ClockAhead "clock_ahead_seconds" Gauge "seconds" [] "How far the wall clock of the process is ahead of that of the broker; absent if the state topic has no `LogAppendTime`."
        ClockFollowed "clock_followed" Gauge "0 or 1" [] "Whether watermarks follow the wall clock: not while it jumps, or differs from the broker by more than 30 seconds."
        LagMessages "lag_messages" Gauge "count" ["topic" "partition"] "Consumer lag: messages between the last one read and the end of the partition."
        LagSeconds "lag_seconds" Gauge "seconds" ["topic" "partition"] "Age of the last message read while newer ones are available; 0 at the end of the partition."
        Alerts "alerts_total" Counter "count" ["rule" "severity" "status"] "Alert statuses committed."
        ReviewRequests "review_requests_total" Counter "count" [] "Review requests committed."
        SharedContacts "shared_contacts" Gauge "count" ["tenant"] "Contacts of more open leads and deals than `shared_contact_limit`; interactions are not matched by them."
        UnlistedStages "unlisted_stages" Gauge "count" ["tenant" "pipeline" "deal_stage"] "Open leads and deals in a stage that its pipeline does not list, so that it is not judged; of each tenant the 100 stages with the most of them."
        Target "target" Gauge "number" ["tenant" "department" "manager" "target" "value"] "A target in its running period: what is to be reached (`at_least`), what was done (`fact`), what would be done by now if it were reached evenly (`pace`), what the fact will be at the end if it goes on like this (`forecast`, absent while less than 5 % of the counted time has passed). Of a department without the label `manager`, of the company without `department` too. Amounts in minor units."
        TargetIncomplete "target_incomplete" Gauge "0 or 1" ["tenant" "department" "manager" "target"] "1 while a part of the running period of a target is not known, so that it is not judged; absent otherwise. Labels as those of `target`."
        ManagerInfo "manager_info" Gauge "0 or 1" ["tenant" "manager" "name" "department" "department_name"] "Names of managers and of their departments, the id where no name is known: always 1. Only with `prometheus.names`."
        DepartmentInfo "department_info" Gauge "0 or 1" ["tenant" "department" "department_name" "parent" "head"] "Names of departments (the id where no name is known), the departments above them and the managers who head them: always 1. Only with `prometheus.names`."
        ReviewsOpen "reviews_open" Gauge "count" ["tenant" "manager"] "Review requests without a review."
        ReviewsAnswered "reviews_answered" Gauge "count" ["tenant" "manager"] "Review requests that received their review since the tenant was assigned to this process."
        Epochs "epochs_committed_total" Counter "count" [] "Epochs committed."
        EpochSeconds "epoch_seconds" Histogram "seconds" [] "Time from the end of reading an epoch to its commit."
        CommitSeconds "commit_seconds" Histogram "seconds" [] "Duration of Kafka transactions, including aborted attempts."
        MemoryLimitBytes "memory_limit_bytes" Gauge "bytes" [] "Memory limit of the process: the least one of its control groups, or else the memory of the machine."
        MemoryTight "memory_tight" Gauge "0 or 1" [] "1: resident memory is above 80 % of the limit, and less is read at a time."
        Restarts "restarts_total" Counter "count" [] "Restarts of the run within the process: new Kafka clients and restored shards, after an error that ended the old ones."
        CommitsAborted "commits_aborted_total" Counter "count" [] "Kafka transactions that were aborted and retried."
        EpochsInFlight "epochs_in_flight" Gauge "count" [] "Epochs that have been read and not yet committed."
        EpochsInFlightLimit "epochs_in_flight_limit" Gauge "count" [] "Maximum number of epochs in flight; reading pauses at the limit."
        ShardsAssigned "shards_assigned" Gauge "count" [] "Shards that this process reads or restores."
        ShardsRestoring "shards_restoring" Gauge "count" [] "Shards being restored."
        RestoreProgress "restore_progress_ratio" Gauge "ratio 0 to 1" ["shard"] "Share of the state of a restoring shard that has been read."
        StateEntries "state_entries" Gauge "count" ["shard"] "Entries of the changelog that the shard would be restored from."
        StateRecords "state_records_written_total" Counter "count" [] "Records committed to the state topic."
        StateBytes "state_written_bytes_total" Counter "bytes" [] "Bytes committed to the state topic: keys and values before compression."
        NormsReloads "norms_reloads_total" Counter "count" ["result"] "Reloads of changed norms at run time, applied or refused."
        NormsInForce "norms_in_force_timestamp_seconds" Gauge "seconds since 1970" [] "Time at which the norms in force were read."
        LogLinesLost "log_lines_lost_total" Counter "count" [] "Log lines that were lost because nobody read them, such as those of a pipe whose reader hangs."
        Series "series" Gauge "count" [] "Series of figures, norms and names in this scrape."
        SeriesLimit "series_limit" Gauge "count" [] "Maximum number of series of figures, norms and names."
        SeriesLeftOut "series_left_out" Gauge "count" ["level"] "Series omitted from this scrape because of its limits."
        ScrapeBytes "scrape_bytes" Gauge "bytes" [] "Size of the samples in this scrape."
        ScrapeBytesLimit "scrape_limit_bytes" Gauge "bytes" [] "Maximum size of a scrape."
        Scrapes "scrapes_total" Counter "count" ["result"] "Scrapes that were rendered, and those that shared one that had just been rendered."
        HttpConnections "http_connections" Gauge "count" [] "Open HTTP connections."
        HttpConnectionsLimit "http_connections_limit" Gauge "count" [] "Maximum number of open HTTP connections of each listen address."
        HttpClosed "http_connections_closed_total" Counter "count" ["reason"] "HTTP connections closed by the server: no complete request in time (idle ones included), a response not read in time, or the limit reached and a new connection waiting."
        HttpRefused "http_requests_refused_total" Counter "count" [] "HTTP requests refused because of their Host or Origin."
        Members "members" Gauge "count" [] "Processes that answer for each other, this one included, as this process knows them; absent without `members`."
        MembersShardsMoving "members_shards_moving" Gauge "count" [] "Shards that no process answers for at the moment, as this process knows."
        MembersForwarded "members_requests_forwarded_total" Counter "count" ["result"] "Requests for other processes: `answered`, `unreachable`, `late` (no answer in time), `busy` (too many wait for that process), `refused` (that process has another token), `moving` (no process answers for the shard)."
        MembersReceived "members_requests_received_total" Counter "count" ["result"] "Requests from other processes: `accepted`, `moving` (this process does not have the shard, or no longer), `refused` (missing or wrong token)."
        RedisUp "redis_up" Gauge "0 or 1" [] "Whether Redis accepts the live view; absent if Redis is not configured."
        RedisQueue "redis_queue_batches" Gauge "count" [] "Committed batches waiting to be written to Redis."
        RedisWrites "redis_writes_total" Counter "count" [] "Batches written to Redis."
        RedisDropped "redis_batches_dropped_total" Counter "count" [] "Batches dropped before they were written to Redis; the whole view is written instead."
        RedisWhole "redis_whole_writes_total" Counter "count" [] "Full writes of the live view."
        RedisErrors "redis_errors_total" Counter "count" [] "Failed attempts to connect or write to Redis."
        Build "build_info" Gauge "0 or 1" ["version"] "Build information: always 1, the version is a label."
    }
    Gateway {
        GatewayHints "gateway_hints_total" Counter "count" ["source" "event" "verdict"] "Webhooks by event and verdict: `accepted` (stored in Kafka), `not_stored` (no broker has acknowledged it; answered with 503), `replayed` (the same one as some time before), `malformed`, `too_large`, `too_slow`, `wrong_token`."
        GatewayReceived "gateway_received_total" Counter "count" ["source" "verdict"] "Events that programs and phone systems have sent, by verdict: `accepted`, `invalid`, `ignored` (the mapping does not mean them), `not_stored`; and requests that were refused as a whole: `malformed`, `too_large`, `too_slow`, `wrong_token`, `busy`."
        GatewayUnknown "gateway_unknown_sources_total" Counter "count" [] "Requests whose path names no source."
        GatewayEvents "gateway_events_total" Counter "count" ["source" "topic" "event"] "Events written to Kafka."
        GatewayRequests "gateway_requests_total" Counter "count" ["source" "method" "answer"] "Requests to the source, by method and answer."
        GatewayRequestsLeft "gateway_requests_left" Gauge "count" ["source"] "Requests to the source that its limit would accept at once."
        GatewayWorkLeft "gateway_work_left_seconds" Gauge "seconds" ["source"] "Seconds of the source's work in ten minutes that are left of the budget, of the method that has used most."
        GatewayActive "gateway_source_active" Gauge "0 or 1" ["source"] "Whether this process reads the source. Of all processes of the gateway, one does; sources that only send have none."
        GatewayUp "gateway_source_up" Gauge "0 or 1" ["source"] "Whether the source answered at the last attempt."
        GatewayRefused "gateway_source_refused" Gauge "0 or 1" ["source"] "1: the source refuses, and only an administrator can repair that; the log says why."
        GatewayCursorAge "gateway_cursor_age_seconds" Gauge "seconds" ["source" "leg"] "How far the wall clock is ahead of what is read of a leg."
        GatewayLegOff "gateway_leg_off" Gauge "0 or 1" ["source" "leg"] "1: a leg is not read, because a scope or a right is missing; the log says which."
        GatewayWaiting "gateway_hints_waiting" Gauge "count" ["source"] "Webhooks that wait for the source to be read."
        GatewayLeftToSweep "gateway_hints_left_to_sweep_total" Counter "count" ["source"] "Webhooks that were dropped because too many waited; the next sweep finds what they announced."
        GatewaySweeps "gateway_sweeps_total" Counter "count" ["source"] "Sweeps that were completed."
        GatewaySweepSeconds "gateway_sweep_seconds" Gauge "seconds" ["source"] "Duration of the last sweep."
        GatewayBackfill "gateway_backfill_ratio" Gauge "ratio 0 to 1" ["source"] "The share of the back-fill that is done; absent without one."
        GatewayCommitSeconds "gateway_commit_seconds" Histogram "seconds" [] "Duration of Kafka transactions of the gateway, including aborted attempts."
        GatewayCommitsAborted "gateway_commits_aborted_total" Counter "count" [] "Kafka transactions of the gateway that were aborted."
        GatewayRestarts "gateway_restarts_total" Counter "count" [] "Restarts of the gateway within its process, with new Kafka clients, after an error that ended the old ones."
    }
    Notify {
        NotifyAlerts "notify_alerts" Gauge "count" [] "Alerts of which somebody is informed, kept until they are over and cannot be retracted any more."
        NotifyOwed "notify_messages_owed" Gauge "count" [] "Messages that are owed or under way: held, waiting for working time or for a channel."
        NotifyOldest "notify_oldest_message_seconds" Gauge "seconds" [] "Age of the oldest message that is owed, without those that wait for working time."
        NotifyMessages "notify_messages_total" Counter "count" ["channel" "outcome"] "Attempts to send a message by channel and outcome: `sent`, or why not."
        NotifyDoubled "notify_messages_doubled_total" Counter "count" [] "Messages that were under way when a process ended, or whose answer was lost, in channels that cannot be asked whether they arrived: each may have been sent twice."
        NotifyWithheld "notify_messages_withheld_total" Counter "count" [] "Messages that were not sent because their alert was over before."
        NotifyAnswers "notify_answers_total" Counter "count" ["verdict"] "Answers of people by link or button: `accepted`, `used` before, `over`, `not_recipient`, `not_stored`, `forged_or_expired`."
        NotifyUnreadable "notify_unreadable_total" Counter "count" [] "Records of the topic of alerts that are no alerts."
        NotifyCommitSeconds "notify_commit_seconds" Histogram "seconds" [] "Duration of Kafka transactions of `notify`, including aborted attempts."
        NotifyCommitsAborted "notify_commits_aborted_total" Counter "count" [] "Kafka transactions of `notify` that were aborted."
        NotifyRestarts "notify_restarts_total" Counter "count" [] "Restarts of `notify` within its process, with new Kafka clients, after an error that ended the old ones."
    }
}

impl Metric {
    /// The index of its family.
    pub(super) fn index(self) -> usize {
        FAMILIES.len() - OTHERS + self as usize
    }

    /// Its family.
    pub fn family(self) -> &'static Family {
        &FAMILIES[self.index()]
    }
}

/// The families of a figure; a share and statistics of lags have several.
fn families<F>(group: MetricGroup, figure: &Figure<F>) -> Vec<Family> {
    let family = |suffix: &str, unit, labels: &[&'static str], help: String| Family {
        group,
        stem: format!("{}{suffix}", figure.name),
        kind: MetricKind::Gauge,
        unit,
        labels: [figure.labels, labels].concat(),
        help,
    };
    let help = || figure.help.to_owned();
    match figure.kind {
        _ if figure.name.is_empty() => Vec::new(),
        Kind::Share(of, sample) => {
            let bound = |which| format!("{which} bound of the 95 % confidence interval of {of}.");
            vec![
                family("_ratio", "ratio 0 to 1", &[], help()),
                family("_lower_ratio", "ratio 0 to 1", &[], bound("Lower")),
                family("_upper_ratio", "ratio 0 to 1", &[], bound("Upper")),
                family("_sample", "count", &[], sample.into()),
            ]
        }
        Kind::Lags => vec![
            family("_lag_seconds", "seconds", &["q"], format!("Quantile of the {}.", help())),
            family("_lag_mean_seconds", "seconds", &[], format!("Mean {}.", help())),
        ],
        Kind::Plain(unit) => vec![family("", unit, &[], help())],
    }
}

/// The index of the first family of each figure in [`WINDOW`].
pub(super) static OF_WINDOW: LazyLock<Vec<usize>> = LazyLock::new(|| first_families(MetricGroup::Window, WINDOW));

/// The index of the first family of each figure in [`NOW`].
pub(super) static OF_NOW: LazyLock<Vec<usize>> = LazyLock::new(|| first_families(MetricGroup::Now, NOW));

fn first_families<F>(group: MetricGroup, table: &[Figure<F>]) -> Vec<usize> {
    let mut next = FAMILIES.iter().take_while(|family| family.group < group).count();
    let first = |figure| {
        let first = next;
        next += families(group, figure).len();
        first
    };
    table.iter().map(first).collect()
}

impl Family {
    /// Every family, in the order of the page.
    pub fn all() -> &'static [Self] {
        &FAMILIES
    }

    /// The families of figures.
    pub fn figures() -> impl Iterator<Item = &'static Self> {
        FAMILIES.iter().filter(|family| family.is_figure())
    }

    fn is_figure(&self) -> bool {
        matches!(self.group, MetricGroup::Window | MetricGroup::Now)
    }

    /// The exported name; figures have one for each level.
    pub fn name(&self, level: Level) -> String {
        let level = if self.is_figure() { format!("{}_", level.name()) } else { String::new() };
        format!("funnelwatch_{level}{}", self.stem)
    }

    /// All exported names, with their levels.
    pub fn names(&self) -> impl Iterator<Item = (Level, String)> {
        let levels = if self.is_figure() { &Level::ALL[..] } else { &Level::ALL[..1] };
        levels.iter().map(|level| (*level, self.name(*level)))
    }

    /// All its labels, in output order.
    pub fn all_labels(&self, level: Level) -> Vec<&'static str> {
        let first: &[&str] = match self.group {
            MetricGroup::Window | MetricGroup::Now => level.labels(),
            MetricGroup::Norm => Level::Department.labels(),
            MetricGroup::Processor | MetricGroup::Gateway | MetricGroup::Notify => &[],
        };
        let window: &[&str] = if self.group == MetricGroup::Window { &["window"] } else { &[] };
        [first, window, &self.labels].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in Family::all() {
            let stem = &metric.stem;
            let bare = stem.strip_suffix("_total");
            assert_eq!(bare.is_some(), metric.kind == MetricKind::Counter, "{stem}: _total is for counters");
            let bare = bare.unwrap_or(stem);
            assert!(bare.ends_with(&suffix(metric.unit)), "{stem}: the unit comes last");
            for (level, name) in metric.names() {
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
                let labels = metric.all_labels(level);
                assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len(), "{name}: duplicate label");
                assert!(
                    labels.iter().all(|label| RESERVED.split(' ').all(|reserved| reserved != *label)),
                    "{name}: {labels:?}"
                );
                assert!(seen.insert(name.clone()), "duplicate name {name}");
            }
            assert!(metric.help.ends_with('.'), "{stem}: the help text ends with a full stop");
        }
    }

    /// The end of names with this unit, before `_total`.
    fn suffix(unit: &str) -> String {
        match unit {
            "count" | "number" | "0 or 1" => String::new(),
            "seconds since 1970" => "_timestamp_seconds".into(),
            "minor units" => "_minor_units".into(),
            _ => format!("_{}", unit.split(' ').next().unwrap_or_default()),
        }
    }

    #[test]
    fn families_are_found_by_index() {
        assert_eq!(Metric::NormWithin.family().stem, "norm_within_seconds");
        assert_eq!(Metric::NotifyRestarts as usize + 1, Family::all().len() - Family::figures().count());
    }

    /// Labels that are common on targets (<https://prometheus.io/docs/instrumenting/writing_exporters/#target-labels>),
    /// and those reserved by the exposition formats.
    const RESERVED: &str =
        "region zone cluster owner customer stage service env environment type job instance le quantile total";
}

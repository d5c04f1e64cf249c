//! Declares all metrics of `/metrics`: one enum, each metric with its group, kind, unit, labels and help. No other
//! module spells a metric name, and `docs/metrics.md` is generated from it.
//!
//! Names follow the Prometheus conventions (<https://prometheus.io/docs/practices/naming/>): base units, the unit last,
//! `_total` for counters only. Figures of managers, departments and tenants have separate names, so that a sum over one
//! of them counts nothing twice.

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
}

impl MetricGroup {
    /// Every group, in order.
    pub const ALL: [Self; 4] = [Self::Window, Self::Now, Self::Norm, Self::Processor];
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

    /// The name in metric names and in the label `level`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Department => "department",
            Self::Manager => "manager",
        }
    }

    /// The labels that identify the subject of a figure.
    pub fn labels(self) -> &'static [&'static str] {
        &["tenant", "department", "manager"][..=self as usize]
    }
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that goes up and down.
    Gauge,
    /// A monotonic sum, starting from 0 with the process.
    Counter,
    /// Counts of values in the buckets of [`BOUNDS`].
    Histogram,
}

impl MetricKind {
    /// The name in the Prometheus text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Upper bounds of histogram buckets, in seconds, covering the durations of commits and epochs.
pub const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// A count of what the name says.
    Count,
    /// Seconds.
    Seconds,
    /// Seconds since the Unix epoch.
    Timestamp,
    /// Bytes.
    Bytes,
    /// A share, 0 to 1.
    Ratio,
    /// A score, 0 to 100.
    Score,
    /// Minor units of a currency.
    MinorUnits,
    /// 1 for true, 0 for false.
    Flag,
}

impl MetricUnit {
    /// The human-readable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Timestamp => "seconds since 1970",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio 0 to 1",
            Self::Score => "score 0 to 100",
            Self::MinorUnits => "minor units",
            Self::Flag => "0 or 1",
        }
    }

    /// The suffix of names with this unit, before `_total`.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Count | Self::Flag => "",
            Self::Seconds => "_seconds",
            Self::Timestamp => "_timestamp_seconds",
            Self::Bytes => "_bytes",
            Self::Ratio => "_ratio",
            Self::Score => "_score",
            Self::MinorUnits => "_minor_units",
        }
    }
}

macro_rules! metrics {
    ($($group:ident { $($metric:ident $name:literal $kind:ident $unit:ident [$($label:literal)*] $help:literal)* })*) => {
        /// All metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $($(#[doc = $help] $metric,)*)*
        }

        impl Metric {
            /// Every metric, in order.
            pub const ALL: &'static [Self] = &[$($(Self::$metric),*),*];

            /// The group.
            pub const fn group(self) -> MetricGroup {
                match self { $($(Self::$metric => MetricGroup::$group,)*)* }
            }

            /// The name, without the prefix of its group.
            pub const fn stem(self) -> &'static str {
                match self { $($(Self::$metric => $name,)*)* }
            }

            /// The type.
            pub const fn kind(self) -> MetricKind {
                match self { $($(Self::$metric => MetricKind::$kind,)*)* }
            }

            /// The unit.
            pub const fn unit(self) -> MetricUnit {
                match self { $($(Self::$metric => MetricUnit::$unit,)*)* }
            }

            /// Its own labels, in addition to those of its group.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $($(Self::$metric => &[$($label),*],)*)* }
            }

            /// The help text.
            pub const fn help(self) -> &'static str {
                match self { $($(Self::$metric => $help,)*)* }
            }
        }
    };
}

metrics! {
    Window {
        LeadsReceived "leads_received" Gauge Count [] "Leads created in the window, by their current responsible manager."
        LeadsDisqualified "leads_disqualified" Gauge Count [] "Leads closed in the window as DISQUALIFIED; a reopening or a new outcome removes them."
        LeadConversion "lead_conversion_ratio" Gauge Ratio ["basis"] "Share of leads that became deals."
        LeadConversionLower "lead_conversion_lower_ratio" Gauge Ratio ["basis"] "Lower bound of the 95 % confidence interval of lead conversion."
        LeadConversionUpper "lead_conversion_upper_ratio" Gauge Ratio ["basis"] "Upper bound of the 95 % confidence interval of lead conversion."
        LeadConversionSample "lead_conversion_sample" Gauge Count ["basis"] "Number of leads in the lead conversion."
        StageConversion "stage_conversion_ratio" Gauge Ratio ["pipeline" "deal_stage"] "Share of the deals that first reached the stage in the window and moved on to the next one."
        StageConversionLower "stage_conversion_lower_ratio" Gauge Ratio ["pipeline" "deal_stage"] "Lower bound of the 95 % confidence interval of stage conversion."
        StageConversionUpper "stage_conversion_upper_ratio" Gauge Ratio ["pipeline" "deal_stage"] "Upper bound of the 95 % confidence interval of stage conversion."
        StageConversionSample "stage_conversion_sample" Gauge Count ["pipeline" "deal_stage"] "Number of deals in the stage conversion."
        WinRate "win_rate_ratio" Gauge Ratio ["basis"] "Share of deals won."
        WinRateLower "win_rate_lower_ratio" Gauge Ratio ["basis"] "Lower bound of the 95 % confidence interval of the win rate."
        WinRateUpper "win_rate_upper_ratio" Gauge Ratio ["basis"] "Upper bound of the 95 % confidence interval of the win rate."
        WinRateSample "win_rate_sample" Gauge Count ["basis"] "Number of deals in the win rate."
        FirstResponseLag "first_response_lag_seconds" Gauge Seconds ["clock" "q"] "Quantile of the first response lag."
        FirstResponseLagMean "first_response_lag_mean_seconds" Gauge Seconds ["clock"] "Mean first response lag."
        FirstResponses "first_responses" Gauge Count [] "First responses given."
        WithinNorm "first_response_within_norm_ratio" Gauge Ratio [] "Share of the evaluated leads that were answered by their deadline."
        WithinNormLower "first_response_within_norm_lower_ratio" Gauge Ratio [] "Lower bound of the 95 % confidence interval of the share answered by their deadline."
        WithinNormUpper "first_response_within_norm_upper_ratio" Gauge Ratio [] "Upper bound of the 95 % confidence interval of the share answered by their deadline."
        WithinNormSample "first_response_within_norm_sample" Gauge Count [] "Evaluated leads. A lead is evaluated at its response or its deadline, whichever is first."
        CallBackLag "call_back_lag_seconds" Gauge Seconds ["q"] "Quantile of the lag from a missed call to its call-back, on the clock of the norm."
        CallBackLagMean "call_back_lag_mean_seconds" Gauge Seconds [] "Mean lag from a missed call to its call-back, on the clock of the norm."
        CallBacks "call_backs" Gauge Count [] "Missed calls that were called back."
        ReplyLag "reply_lag_seconds" Gauge Seconds ["q"] "Quantile of the lag from a message to its reply, on the clock of the norm."
        ReplyLagMean "reply_lag_mean_seconds" Gauge Seconds [] "Mean lag from a message to its reply, on the clock of the norm."
        Replies "replies" Gauge Count [] "Messages that were answered."
        Calls "calls" Gauge Count ["direction" "outcome"] "Calls; an answered call is a conversation."
        Talk "talk_seconds" Gauge Seconds [] "Talk time of calls."
        Messages "messages" Gauge Count ["direction" "channel"] "Written messages."
        Meetings "meetings" Gauge Count [] "Meetings held."
        Touches "touches" Gauge Count [] "Acts of managers towards customers: calls, messages and meetings."
        DealsWon "deals_won" Gauge Count [] "Deals won."
        DealsLost "deals_lost" Gauge Count [] "Deals lost."
        AmountWon "amount_won_minor_units" Gauge MinorUnits ["currency"] "Amount of deals won."
        TermsOffered "terms_offered" Gauge Count [] "Deals for which terms were offered."
        TermsSpecial "terms_special" Gauge Count [] "Deals for which special terms were offered: a discount, instalments, or a prepayment below 100 %."
        SpecialTerms "special_terms_ratio" Gauge Ratio [] "Share of deals with special terms among those for which terms were offered."
        DiscountMean "discount_mean_ratio" Gauge Ratio [] "Mean discount of the offers; an offer without a discount counts as 0."
        ReviewScore "review_mean_score" Gauge Score [] "Mean score of reviews."
        Reviews "reviews" Gauge Count [] "Reviews."
        ReviewSuccesses "review_successes" Gauge Count [] "Reviews with the verdict SUCCESS."
        ReviewFailures "review_failures" Gauge Count [] "Reviews with the verdict FAILURE."
        Violations "violations" Gauge Count ["rule"] "Violations that began in the window."
    }
    Now {
        Awaiting "awaiting_first_response" Gauge Count [] "Leads waiting for their first response."
        OldestWait "oldest_wait_seconds" Gauge Seconds [] "Longest current wait for a first response, in wall time; 0 if no lead is waiting."
        Open "open_entities" Gauge Count ["pipeline" "deal_stage"] "Open leads and deals."
        Overdue "overdue_entities" Gauge Count ["pipeline" "deal_stage"] "Open leads and deals that have been in their stage longer than its norm."
        OpenAlerts "open_alerts" Gauge Count ["rule"] "Open alerts."
        UnreturnedCalls "unreturned_calls" Gauge Count [] "Contacts with a missed call that has not been returned."
        UnansweredMessages "unanswered_messages" Gauge Count [] "Contacts with a message that has not been answered."
    }
    Norm {
        NormWithin "norm_within_seconds" Gauge Seconds ["rule" "clock"] "The deadline of a rule."
        NormAtMost "norm_at_most_seconds" Gauge Seconds ["rule" "clock" "q" "window"] "The maximum quantile of lags."
        NormAtLeast "norm_at_least_ratio" Gauge Ratio ["rule" "basis" "window"] "The minimum share."
        NormOfDepartment "norm_of_department_ratio" Gauge Ratio ["rule" "basis" "window"] "The minimum share, as a fraction of the department's share."
        NormAtMostShare "norm_at_most_ratio" Gauge Ratio ["rule" "window"] "The maximum share."
        NormScore "norm_at_least_score" Gauge Score ["rule" "window"] "The minimum mean score."
        NormSample "norm_min_sample" Gauge Count ["rule" "window"] "The minimum sample size of a window rule."
    }
    Processor {
        Events "events_applied_total" Counter Count ["topic" "event"] "Events applied."
        Duplicates "events_duplicate_total" Counter Count [] "Duplicate events, ignored."
        Late "events_late_total" Counter Count [] "Late events: the watermark had already passed them."
        Refused "events_refused_total" Counter Count ["reason"] "Rejected messages, written to the dead-letter topic."
        Rerouted "events_rerouted_total" Counter Count [] "Misrouted messages, re-produced to the partition of their tenant."
        Held "events_held" Gauge Count ["shard"] "Events waiting for the watermark."
        WatermarkDelay "watermark_delay_seconds" Gauge Seconds ["shard"] "Delay of the watermark behind the wall clock."
        LagMessages "lag_messages" Gauge Count ["topic" "partition"] "Consumer lag: messages between the last one read and the end of the partition."
        LagSeconds "lag_seconds" Gauge Seconds ["topic" "partition"] "Age of the last message read while newer ones are available; 0 at the end of the partition."
        Alerts "alerts_total" Counter Count ["rule" "severity" "status"] "Alert statuses committed."
        ReviewRequests "review_requests_total" Counter Count [] "Review requests committed."
        ReviewsOpen "reviews_open" Gauge Count ["tenant" "manager"] "Review requests without a review."
        ReviewsAnswered "reviews_answered" Gauge Count ["tenant" "manager"] "Review requests that received their review since the tenant was assigned to this process."
        Epochs "epochs_committed_total" Counter Count [] "Epochs committed."
        EpochSeconds "epoch_seconds" Histogram Seconds [] "Time from the end of reading an epoch to its commit."
        CommitSeconds "commit_seconds" Histogram Seconds [] "Duration of Kafka transactions, including aborted attempts."
        CommitsAborted "commits_aborted_total" Counter Count [] "Kafka transactions that were aborted and retried."
        EpochsInFlight "epochs_in_flight" Gauge Count [] "Epochs that have been read and not yet committed."
        EpochsInFlightLimit "epochs_in_flight_limit" Gauge Count [] "Maximum number of epochs in flight; reading pauses at the limit."
        ShardsAssigned "shards_assigned" Gauge Count [] "Shards that this process reads or restores."
        ShardsRestoring "shards_restoring" Gauge Count [] "Shards being restored."
        RestoreProgress "restore_progress_ratio" Gauge Ratio ["shard"] "Share of the state of a restoring shard that has been read."
        StateEntries "state_entries" Gauge Count ["shard"] "Entries of the changelog that the shard would be restored from."
        StateRecords "state_records_written_total" Counter Count [] "Records committed to the state topic."
        StateBytes "state_written_bytes_total" Counter Bytes [] "Bytes committed to the state topic: keys and values before compression."
        NormsReloads "norms_reloads_total" Counter Count ["result"] "Reloads of changed norms at run time, applied or refused."
        NormsInForce "norms_in_force_timestamp_seconds" Gauge Timestamp [] "Time at which the norms in force were read."
        Series "series" Gauge Count [] "Series of figures and norms in this scrape."
        SeriesLimit "series_limit" Gauge Count [] "Maximum number of series of figures and norms."
        SeriesLeftOut "series_left_out" Gauge Count ["level"] "Series omitted from this scrape because of the limit."
        RedisUp "redis_up" Gauge Flag [] "Whether Redis accepts the live view; absent if Redis is not configured."
        RedisQueue "redis_queue_batches" Gauge Count [] "Committed batches waiting to be written to Redis."
        RedisWrites "redis_writes_total" Counter Count [] "Batches written to Redis."
        RedisDropped "redis_batches_dropped_total" Counter Count [] "Batches dropped before they were written to Redis; the whole view is written instead."
        RedisWhole "redis_whole_writes_total" Counter Count [] "Full writes of the live view."
        RedisErrors "redis_errors_total" Counter Count [] "Failed attempts to connect or write to Redis."
        Build "build_info" Gauge Flag ["version"] "Build information: always 1, the version is a label."
    }
}

impl Metric {
    /// The exported name; figures have one for each level.
    pub fn name(self, level: Level) -> String {
        let level = match self.group() {
            MetricGroup::Window | MetricGroup::Now => format!("{}_", level.name()),
            MetricGroup::Norm | MetricGroup::Processor => String::new(),
        };
        format!("funnelwatch_{level}{}", self.stem())
    }

    /// All exported names, with their levels.
    pub fn names(self) -> impl Iterator<Item = (Level, String)> {
        let levels: &[Level] = match self.group() {
            MetricGroup::Window | MetricGroup::Now => &Level::ALL,
            MetricGroup::Norm | MetricGroup::Processor => &Level::ALL[..1],
        };
        levels.iter().map(move |level| (*level, self.name(*level)))
    }

    /// All its labels, in output order.
    pub fn all_labels(self, level: Level) -> Vec<&'static str> {
        let first: &[&str] = match self.group() {
            MetricGroup::Window | MetricGroup::Now => level.labels(),
            MetricGroup::Norm => Level::Department.labels(),
            MetricGroup::Processor => &[],
        };
        let window: &[&str] = if self.group() == MetricGroup::Window { &["window"] } else { &[] };
        [first, window, self.labels()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in Metric::ALL {
            let stem = metric.stem();
            let bare = stem.strip_suffix("_total");
            assert_eq!(bare.is_some(), metric.kind() == MetricKind::Counter, "{stem}: _total is for counters");
            let bare = bare.unwrap_or(stem);
            assert!(bare.ends_with(metric.unit().suffix()), "{stem}: the unit comes last");
            for (level, name) in metric.names() {
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
                let labels = metric.all_labels(level);
                assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len(), "{name}: duplicate label");
                assert!(labels.iter().all(|label| !RESERVED.contains(label)), "{name}: {labels:?}");
                assert!(seen.insert(name.clone()), "duplicate name {name}");
            }
            assert!(metric.help().ends_with('.'), "{stem}: the help text ends with a full stop");
        }
    }

    /// Labels that are common on targets (<https://prometheus.io/docs/instrumenting/writing_exporters/#target-labels>),
    /// and those reserved by the exposition formats.
    const RESERVED: [&str; 15] = [
        "region",
        "zone",
        "cluster",
        "owner",
        "customer",
        "stage",
        "service",
        "env",
        "environment",
        "type",
        "job",
        "instance",
        "le",
        "quantile",
        "total",
    ];
}

//! Owns the names of what `/metrics` shows: one enum of all metrics, each with its group, kind, unit, labels and help.
//! Nothing else in the program spells a metric's name, and `docs/metrics.md` is written from it.
//!
//! Names follow the Prometheus conventions (<https://prometheus.io/docs/practices/naming/>): base units, the unit last,
//! `_total` for counters only. Figures of managers, departments and tenants have names of their own, so that a sum over
//! one of them never counts anything twice.

/// What a metric is about: this gives its name a prefix, and its first labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricGroup {
    /// A figure over a rolling window, once for each [`Level`].
    Window,
    /// A figure of this instant, once for each [`Level`].
    Now,
    /// What is wanted: the norm of a department.
    Norm,
    /// The processor itself.
    Processor,
}

impl MetricGroup {
    /// Every group, in order.
    pub const ALL: [Self; 4] = [Self::Window, Self::Now, Self::Norm, Self::Processor];
}

/// Whom a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A whole company.
    Tenant,
    /// A department.
    Department,
    /// One manager.
    Manager,
}

impl Level {
    /// Every level, the most telling ones first.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Department, Self::Manager];

    /// The name in metric names and in the label `level`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Department => "department",
            Self::Manager => "manager",
        }
    }

    /// The labels that say whom a figure is about.
    pub fn labels(self) -> &'static [&'static str] {
        &["tenant", "department", "manager"][..=self as usize]
    }
}

/// How a metric is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that goes up and down.
    Gauge,
    /// A sum that only grows, from 0 at the start of the process.
    Counter,
    /// Counts of values up to the bounds in [`BOUNDS`].
    Histogram,
}

impl MetricKind {
    /// As Prometheus' text format calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Upper bounds of the histograms' buckets, in seconds: what a commit or an epoch takes, from a millisecond to a minute.
pub const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Things, as the name says.
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
    /// 1 is yes, 0 is no.
    Flag,
}

impl MetricUnit {
    /// For people.
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

    /// How a name ends that has this unit, `_total` aside.
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
        /// Every metric there is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $($(#[doc = $help] $metric,)*)*
        }

        impl Metric {
            /// Every metric, in order.
            pub const ALL: &'static [Self] = &[$($(Self::$metric),*),*];

            /// What it is about.
            pub const fn group(self) -> MetricGroup {
                match self { $($(Self::$metric => MetricGroup::$group,)*)* }
            }

            /// Its name, without what its group puts before it.
            pub const fn stem(self) -> &'static str {
                match self { $($(Self::$metric => $name,)*)* }
            }

            /// How it is to be read.
            pub const fn kind(self) -> MetricKind {
                match self { $($(Self::$metric => MetricKind::$kind,)*)* }
            }

            /// What its value counts.
            pub const fn unit(self) -> MetricUnit {
                match self { $($(Self::$metric => MetricUnit::$unit,)*)* }
            }

            /// Its own labels, beside those of its group.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $($(Self::$metric => &[$($label),*],)*)* }
            }

            /// What it is, for people.
            pub const fn help(self) -> &'static str {
                match self { $($(Self::$metric => $help,)*)* }
            }
        }
    };
}

metrics! {
    Window {
        LeadsReceived "leads_received" Gauge Count [] "Leads created in the window, by present responsible."
        LeadsDisqualified "leads_disqualified" Gauge Count [] "Leads whose standing closing in the window is DISQUALIFIED."
        LeadConversion "lead_conversion_ratio" Gauge Ratio ["basis"] "Share of leads that became deals."
        LeadConversionLower "lead_conversion_lower_ratio" Gauge Ratio ["basis"] "Lower end of its 95 % interval."
        LeadConversionUpper "lead_conversion_upper_ratio" Gauge Ratio ["basis"] "Upper end of its 95 % interval."
        LeadConversionSample "lead_conversion_sample" Gauge Count ["basis"] "Leads that lead conversion is a share of."
        StageConversion "stage_conversion_ratio" Gauge Ratio ["pipeline" "deal_stage"] "Share of the deals that first reached the stage which went on to the next."
        StageConversionLower "stage_conversion_lower_ratio" Gauge Ratio ["pipeline" "deal_stage"] "Lower end of its 95 % interval."
        StageConversionUpper "stage_conversion_upper_ratio" Gauge Ratio ["pipeline" "deal_stage"] "Upper end of its 95 % interval."
        StageConversionSample "stage_conversion_sample" Gauge Count ["pipeline" "deal_stage"] "Deals that stage conversion is a share of."
        WinRate "win_rate_ratio" Gauge Ratio ["basis"] "Share of deals won."
        WinRateLower "win_rate_lower_ratio" Gauge Ratio ["basis"] "Lower end of its 95 % interval."
        WinRateUpper "win_rate_upper_ratio" Gauge Ratio ["basis"] "Upper end of its 95 % interval."
        WinRateSample "win_rate_sample" Gauge Count ["basis"] "Deals that the win rate is a share of."
        FirstResponseLag "first_response_lag_seconds" Gauge Seconds ["clock" "q"] "Quantile of the lag of first responses given."
        FirstResponseLagMean "first_response_lag_mean_seconds" Gauge Seconds ["clock"] "Mean lag of first responses given."
        FirstResponses "first_responses" Gauge Count [] "First responses given."
        WithinNorm "first_response_within_norm_ratio" Gauge Ratio [] "Share of the leads judged that were answered by their deadline."
        WithinNormLower "first_response_within_norm_lower_ratio" Gauge Ratio [] "Lower end of its 95 % interval."
        WithinNormUpper "first_response_within_norm_upper_ratio" Gauge Ratio [] "Upper end of its 95 % interval."
        WithinNormSample "first_response_within_norm_sample" Gauge Count [] "Leads judged: at their response or their deadline, whichever is first."
        CallBackLag "call_back_lag_seconds" Gauge Seconds ["q"] "Quantile of the lag of call-backs to missed calls, on the clock of their norm."
        CallBackLagMean "call_back_lag_mean_seconds" Gauge Seconds [] "Mean lag of call-backs."
        CallBacks "call_backs" Gauge Count [] "Missed calls that were called back."
        ReplyLag "reply_lag_seconds" Gauge Seconds ["q"] "Quantile of the lag of answers to messages, on the clock of their norm."
        ReplyLagMean "reply_lag_mean_seconds" Gauge Seconds [] "Mean lag of answers."
        Replies "replies" Gauge Count [] "Messages that were answered."
        Calls "calls" Gauge Count ["direction" "outcome"] "Calls; answered is a conversation."
        Talk "talk_seconds" Gauge Seconds [] "Time talked."
        Messages "messages" Gauge Count ["direction" "channel"] "Written messages."
        Meetings "meetings" Gauge Count [] "Meetings held."
        Touches "touches" Gauge Count [] "Acts towards customers."
        DealsWon "deals_won" Gauge Count [] "Deals won."
        DealsLost "deals_lost" Gauge Count [] "Deals lost."
        AmountWon "amount_won_minor_units" Gauge MinorUnits ["currency"] "Amount of deals won."
        TermsOffered "terms_offered" Gauge Count [] "Deals that terms were offered for."
        TermsSpecial "terms_special" Gauge Count [] "Those of them with special terms: a discount, instalments, or prepayment under 100 %."
        SpecialTerms "special_terms_ratio" Gauge Ratio [] "Share of deals with terms that had special ones."
        DiscountMean "discount_mean_ratio" Gauge Ratio [] "Mean discount over offers; none given is 0."
        ReviewScore "review_mean_score" Gauge Score [] "Mean score of reviews."
        Reviews "reviews" Gauge Count [] "Reviews."
        ReviewSuccesses "review_successes" Gauge Count [] "Reviews with the verdict SUCCESS."
        ReviewFailures "review_failures" Gauge Count [] "Reviews with the verdict FAILURE."
        Violations "violations" Gauge Count ["rule"] "Violations that began in the window."
    }
    Now {
        Awaiting "awaiting_first_response" Gauge Count [] "Leads that wait for their first response."
        OldestWait "oldest_wait_seconds" Gauge Seconds [] "The longest of these waits, on the wall clock; 0 if none waits."
        Open "open_entities" Gauge Count ["pipeline" "deal_stage"] "Open leads and deals."
        Overdue "overdue_entities" Gauge Count ["pipeline" "deal_stage"] "Those of them that are in their stage for longer than its norm."
        OpenAlerts "open_alerts" Gauge Count ["rule"] "Open alerts."
        UnreturnedCalls "unreturned_calls" Gauge Count [] "Contacts with a missed call that nobody returned."
        UnansweredMessages "unanswered_messages" Gauge Count [] "Contacts with a message that nobody answered."
    }
    Norm {
        NormWithin "norm_within_seconds" Gauge Seconds ["rule" "clock"] "The deadline of a rule."
        NormAtMost "norm_at_most_seconds" Gauge Seconds ["rule" "clock" "q" "window"] "The most that a quantile of lags should be."
        NormAtLeast "norm_at_least_ratio" Gauge Ratio ["rule" "basis" "window"] "The least that a share should be."
        NormOfDepartment "norm_of_department_ratio" Gauge Ratio ["rule" "basis" "window"] "The least that a share should be, as a part of the department's."
        NormAtMostShare "norm_at_most_ratio" Gauge Ratio ["rule" "window"] "The most that a share should be."
        NormScore "norm_at_least_score" Gauge Score ["rule" "window"] "The least that a mean score should be."
        NormSample "norm_min_sample" Gauge Count ["rule" "window"] "The least sample that a window rule judges by."
    }
    Processor {
        Events "events_applied_total" Counter Count ["topic" "event"] "Events applied."
        Duplicates "events_duplicate_total" Counter Count [] "Events that were known already."
        Late "events_late_total" Counter Count [] "Events that came after the watermark had passed them."
        Refused "events_refused_total" Counter Count ["reason"] "Messages sent to the dead-letter topic."
        Rerouted "events_rerouted_total" Counter Count [] "Messages sent to the partition that their tenant belongs to."
        Held "events_held" Gauge Count ["shard"] "Events that wait for the watermark."
        WatermarkDelay "watermark_delay_seconds" Gauge Seconds ["shard"] "How far the watermark is behind the wall clock."
        LagMessages "lag_messages" Gauge Count ["topic" "partition"] "Messages between the last one read and the end of the partition."
        LagSeconds "lag_seconds" Gauge Seconds ["topic" "partition"] "Age of the last message read, while there are newer ones; 0 at the end of the partition."
        Alerts "alerts_total" Counter Count ["rule" "severity" "status"] "Alert statuses committed."
        ReviewRequests "review_requests_total" Counter Count [] "Requests for reviews committed."
        ReviewsOpen "reviews_open" Gauge Count ["tenant" "manager"] "Requests for reviews that wait for their review."
        ReviewsAnswered "reviews_answered" Gauge Count ["tenant" "manager"] "Requests for reviews that got their review since the process took the tenant over."
        Epochs "epochs_committed_total" Counter Count [] "Epochs committed."
        EpochSeconds "epoch_seconds" Histogram Seconds [] "From the end of an epoch's reading to its commit."
        CommitSeconds "commit_seconds" Histogram Seconds [] "Time that a Kafka transaction took, tries that were taken back included."
        CommitsAborted "commits_aborted_total" Counter Count [] "Kafka transactions that were taken back, to be tried again."
        EpochsInFlight "epochs_in_flight" Gauge Count [] "Epochs that were read and are not committed."
        EpochsInFlightLimit "epochs_in_flight_limit" Gauge Count [] "The most that there may be of them: then reading rests."
        ShardsAssigned "shards_assigned" Gauge Count [] "Shards that this process reads or is restoring."
        ShardsRestoring "shards_restoring" Gauge Count [] "Those of them that are being restored."
        RestoreProgress "restore_progress_ratio" Gauge Ratio ["shard"] "Share of its state that a shard which is being restored has read."
        StateEntries "state_entries" Gauge Count ["shard"] "Applied events that a shard would be restored from."
        StateRecords "state_records_written_total" Counter Count [] "Records committed to the state topic."
        StateBytes "state_written_bytes_total" Counter Bytes [] "Bytes of these, keys and values, before compression."
        NormsReloads "norms_reloads_total" Counter Count ["result"] "Changes of the norms that were taken while running, or refused."
        NormsInForce "norms_in_force_timestamp_seconds" Gauge Timestamp [] "When the norms in force were read."
        Series "series" Gauge Count [] "Series of figures and norms in this scrape."
        SeriesLimit "series_limit" Gauge Count [] "The most that there may be of them."
        SeriesLeftOut "series_left_out" Gauge Count ["level"] "Series that this scrape leaves out, because there would be more than the limit."
        RedisUp "redis_up" Gauge Flag [] "Whether Redis takes the live view; absent where none is configured."
        RedisQueue "redis_queue_batches" Gauge Count [] "Committed batches that wait to be written to Redis."
        RedisWrites "redis_writes_total" Counter Count [] "Batches written to Redis."
        RedisDropped "redis_batches_dropped_total" Counter Count [] "Batches that Redis never got; it gets the whole view instead."
        RedisWhole "redis_whole_writes_total" Counter Count [] "Times that the live view was written whole."
        RedisErrors "redis_errors_total" Counter Count [] "Attempts to reach Redis, or to write to it, that failed."
        Build "build_info" Gauge Flag ["version"] "Always 1; the version is in the label."
    }
}

impl Metric {
    /// The name under which it is exported; figures have one for each level.
    pub fn name(self, level: Level) -> String {
        let level = match self.group() {
            MetricGroup::Window | MetricGroup::Now => format!("{}_", level.name()),
            MetricGroup::Norm | MetricGroup::Processor => String::new(),
        };
        format!("funnelwatch_{level}{}", self.stem())
    }

    /// Every name under which it is exported, with its level.
    pub fn names(self) -> impl Iterator<Item = (Level, String)> {
        let levels: &[Level] = match self.group() {
            MetricGroup::Window | MetricGroup::Now => &Level::ALL,
            MetricGroup::Norm | MetricGroup::Processor => &Level::ALL[..1],
        };
        levels.iter().map(move |level| (*level, self.name(*level)))
    }

    /// All its labels, in the order in which they are written.
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
    fn names_keep_to_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in Metric::ALL {
            let stem = metric.stem();
            let bare = stem.strip_suffix("_total");
            assert_eq!(bare.is_some(), metric.kind() == MetricKind::Counter, "{stem}: _total is for counters");
            let bare = bare.unwrap_or(stem);
            assert!(bare.ends_with(metric.unit().suffix()), "{stem}: the unit stands last");
            for (level, name) in metric.names() {
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
                let labels = metric.all_labels(level);
                assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len(), "{name}: a label twice");
                assert!(labels.iter().all(|label| !CLASHING.contains(label)), "{name}: {labels:?}");
                assert!(seen.insert(name.clone()), "{name} twice");
            }
            assert!(metric.help().ends_with('.'), "{stem}: help is a sentence");
        }
    }

    /// Labels that are common on targets (<https://prometheus.io/docs/instrumenting/writing_exporters/#target-labels>),
    /// and those that the formats keep for themselves.
    const CLASHING: [&str; 15] = [
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

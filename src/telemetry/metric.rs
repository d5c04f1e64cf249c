//! Owns the names of what `/metrics` shows: one enum a family of metrics, with help, unit and labels. Nothing else in
//! the program spells a metric's name.
//!
//! Names follow the Prometheus conventions: base units, the unit last, `_total` for counters only. Figures of managers,
//! departments and tenants have names of their own, so that a sum over one of them never counts anything twice.

macro_rules! metrics {
    ($(#[$doc:meta])* $enum:ident { $($name:ident $text:literal [$($label:literal)*] $help:literal)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $enum {
            $(#[doc = $help] $name,)*
        }

        impl $enum {
            /// Every metric, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name, without its prefix.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it is, for people.
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }

            /// Its own labels, beside those of its family.
            pub fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($label),*],)* }
            }
        }
    };
}

metrics! {
    /// Figures over a rolling window; labels of the subject and `window` stand before their own. Prefix:
    /// `funnelwatch_manager_`, `funnelwatch_department_` or `funnelwatch_tenant_`.
    WindowMetric {
        LeadsReceived "leads_received" [] "Leads created in the window."
        LeadsDisqualified "leads_disqualified" [] "Leads whose standing closing in the window is DISQUALIFIED."
        LeadConversion "lead_conversion_ratio" ["basis"] "Share of leads that became deals."
        LeadConversionLower "lead_conversion_lower_ratio" ["basis"] "Lower end of the 95 % interval of lead conversion."
        LeadConversionUpper "lead_conversion_upper_ratio" ["basis"] "Upper end of the 95 % interval of lead conversion."
        LeadConversionSample "lead_conversion_sample" ["basis"] "Leads that lead conversion is a share of."
        WinRate "win_rate_ratio" ["basis"] "Share of deals won."
        WinRateSample "win_rate_sample" ["basis"] "Deals that the win rate is a share of."
        FirstResponseLag "first_response_lag_seconds" ["clock" "q"] "Quantile of the lag of first responses given."
        FirstResponseLagMean "first_response_lag_mean_seconds" ["clock"] "Mean lag of first responses given."
        FirstResponses "first_responses" [] "First responses given."
        FirstResponseWithinNorm "first_response_within_norm_ratio" [] "Share of judged leads answered by their deadline."
        FirstResponseJudged "first_response_judged" [] "Leads judged by their first-response norm."
        CallBackLag "call_back_lag_seconds" ["q"] "Quantile of the lag of call-backs to missed calls."
        CallBacks "call_backs" [] "Missed calls that were called back."
        ReplyLag "reply_lag_seconds" ["q"] "Quantile of the lag of answers to messages."
        Replies "replies" [] "Messages that were answered."
        Calls "calls" ["direction" "outcome"] "Calls; answered is a conversation."
        Talk "talk_seconds" [] "Time talked."
        Messages "messages" ["direction" "channel"] "Written messages."
        Meetings "meetings" [] "Meetings held."
        Touches "touches" [] "Acts towards customers."
        DealsWon "deals_won" [] "Deals won."
        DealsLost "deals_lost" [] "Deals lost."
        AmountWon "amount_won_minor_units" ["currency"] "Amount of deals won, in minor units of its currency."
        ReviewScore "review_score_mean" [] "Mean score of reviews, 0 to 100."
        Reviews "reviews" [] "Reviews."
        Violations "violations" ["rule"] "Violations that began in the window."
    }
}

metrics! {
    /// Figures of this instant; prefix as above.
    NowMetric {
        Awaiting "awaiting_first_response" [] "Leads that wait for their first response now."
        OldestWait "oldest_wait_seconds" [] "The longest of these waits, on the wall clock."
        Open "open_entities" ["pipeline" "deal_stage"] "Open leads and deals."
        OpenAlerts "open_alerts" ["rule"] "Open alerts."
        UnreturnedCalls "unreturned_calls" [] "Contacts with a missed call that nobody returned."
        UnansweredMessages "unanswered_messages" [] "Contacts with a message that nobody answered."
    }
}

metrics! {
    /// The processor's own health; prefix `funnelwatch_`.
    HealthMetric {
        Events "events_applied_total" ["topic"] "Events applied."
        Duplicates "events_duplicate_total" [] "Events that were known already."
        Late "events_late_total" [] "Events that came after the watermark had passed them."
        Refused "events_refused_total" ["reason"] "Messages sent to the dead-letter topic."
        Rerouted "events_rerouted_total" [] "Messages sent to the partition that their tenant belongs to."
        Alerts "alerts_total" ["rule" "status"] "Alert statuses committed."
        ReviewRequests "review_requests_total" [] "Requests for reviews committed."
        ReviewsOpen "reviews_open" ["tenant" "manager"] "Requests for reviews that wait for their review."
        ReviewsAnswered "reviews_answered_total" ["tenant" "manager"] "Requests for reviews that got their review."
        Epochs "epochs_committed_total" [] "Epochs committed."
        Commits "transactions_committed_total" [] "Kafka transactions committed."
        CommitSeconds "transaction_seconds_total" [] "Time that committed transactions took."
        Lag "lag_messages" ["topic" "partition"] "Messages between the last one read and the end of the partition."
        NormsReloads "norms_reloads_total" ["result"] "Changes of the norms that were taken while running, or refused."
        NormsInForce "norms_in_force_timestamp_seconds" [] "When the norms in force were read."
        StateRecords "state_records_written_total" [] "Records committed to the state topic."
        StateBytes "state_written_bytes_total" [] "Bytes of these, keys and values, before compression."
        StateEntries "state_entries" ["shard"] "Applied events that a shard would be restored from."
        RestoreProgress "restore_progress_ratio" ["shard"] "Share of its state that a shard has read that is being restored."
        Held "events_held" ["shard"] "Events that wait for the watermark."
        WatermarkDelay "watermark_delay_seconds" ["shard"] "How far the watermark is behind the wall clock."
        Build "build_info" ["version"] "Always 1; the version is in the label."
    }
}

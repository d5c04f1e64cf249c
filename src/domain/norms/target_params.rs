//! Owns the keys of targets in norms, and the figures, periods and subjects that they name.

use crate::domain::alert::Severity;
use crate::domain::named::named_enum;
use crate::domain::norms::params::Clock;
use crate::domain::time::Length;
use compact_str::CompactString;
use jiff::civil::Date;

named_enum! {
    /// A figure that a target can be set for.
    pub enum TargetFigure, named "in norms" {
        /// Leads closed as CONVERTED.
        LeadsConverted = "leads_converted",
        /// Deals won.
        DealsWon = "deals_won",
        /// The amount of the deals won in one currency, in minor units.
        AmountWon = "amount_won",
        /// Outbound calls, answered or not.
        CallsOutbound = "calls_outbound",
        /// Answered calls, inbound and outbound.
        Conversations = "conversations",
        /// Messages sent, in all channels.
        MessagesSent = "messages_sent",
        /// Meetings held.
        Meetings = "meetings",
        /// Touches.
        Touches = "touches",
        /// Offers of terms.
        TermsOffered = "terms_offered",
        /// Planned activities that were completed.
        PlansDone = "plans_done",
    }

    /// The length of a period.
    pub enum Per, named "in norms and alerts" {
        /// A local day.
        Day = "day",
        /// From Monday.
        Week = "week",
        /// From the 1st.
        Month = "month",
        /// From January, April, July and October.
        Quarter = "quarter",
    }

    /// Who is to reach a target.
    #[derive(Default)]
    pub enum Of, named "in norms" {
        /// Each manager.
        #[default]
        Manager = "manager",
        /// Each department, all its managers together.
        Department = "department",
        /// The company.
        Tenant = "tenant",
    }
}

/// The keys of a target in a layer; `None` if the layer does not set the key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetParams {
    /// Whether it applies.
    pub enabled: Option<bool>,
    /// What is counted.
    pub figure: Option<TargetFigure>,
    /// The length of its periods.
    pub per: Option<Per>,
    /// What is to be reached.
    pub at_least: Option<f64>,
    /// Who is to reach it.
    pub of: Option<Of>,
    /// Which time counts.
    pub clock: Option<Clock>,
    /// The share of a period from which it is judged.
    pub judge_after: Option<f64>,
    /// The share of the pace that may be missing.
    pub tolerance: Option<f64>,
    /// Whether it is judged.
    pub judge: Option<bool>,
    /// Its first day.
    pub from: Option<Date>,
    /// The currency of amounts.
    pub currency: Option<CompactString>,
    /// The severity of its alerts.
    pub severity: Option<Severity>,
    /// When they escalate.
    pub escalate_after: Option<Vec<Length>>,
}

impl TargetParams {
    /// Overwrites every key that `over` sets.
    pub fn merge(&mut self, over: &Self) {
        fn set<T: Clone>(own: &mut Option<T>, over: &Option<T>) {
            if over.is_some() {
                own.clone_from(over);
            }
        }
        set(&mut self.enabled, &over.enabled);
        set(&mut self.figure, &over.figure);
        set(&mut self.per, &over.per);
        set(&mut self.at_least, &over.at_least);
        set(&mut self.of, &over.of);
        set(&mut self.clock, &over.clock);
        set(&mut self.judge_after, &over.judge_after);
        set(&mut self.tolerance, &over.tolerance);
        set(&mut self.judge, &over.judge);
        set(&mut self.from, &over.from);
        set(&mut self.currency, &over.currency);
        set(&mut self.severity, &over.severity);
        set(&mut self.escalate_after, &over.escalate_after);
    }

    /// Which time counts.
    pub fn clock(&self) -> Clock {
        self.clock.unwrap_or(Clock::Business)
    }
}

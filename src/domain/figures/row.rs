//! Owns the row: the published figures of one subject for one window, or current (`now`).

use crate::domain::event::Channel;
use crate::domain::id::{DepartmentId, ManagerId, PipelineId, StageId, TenantId};
use crate::domain::norms::Basis;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use crate::domain::time::window::Window;
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::fmt;

/// The subject of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The whole company.
    Tenant,
    /// A department; `unknown` for facts without a manager or managers without a department.
    Department(DepartmentId),
    /// A manager.
    Manager(ManagerId),
}

/// As in a row: `tenant`, `department:ID`, `manager:ID`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("tenant"),
            Self::Department(id) => write!(f, "department:{id}"),
            Self::Manager(id) => write!(f, "manager:{id}"),
        }
    }
}

/// The figures of one subject at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The company.
    pub tenant: TenantId,
    /// The subject.
    pub subject: Subject,
    /// The manager's department; `None` is `unknown`. Used for metric labels, not published in rows.
    pub department: Option<DepartmentId>,
    /// Event time of the figures.
    pub at: Timestamp,
    /// The figures.
    pub figures: Figures,
}

/// Figures of a window, or current figures.
#[derive(Clone, Debug, PartialEq)]
pub enum Figures {
    /// Figures of a sliding window.
    Window(Window, Box<WindowFigures>),
    /// Current figures.
    Now(Box<NowFigures>),
}

impl Figures {
    /// The row's `window`: `1h`, `24h`, `7d`… or `now`.
    pub fn window(&self) -> CompactString {
        match self {
            Self::Window(window, _) => window.name(),
            Self::Now(_) => "now".into(),
        }
    }
}

impl Row {
    /// Whether all figures are zero or absent.
    pub fn is_empty(&self) -> bool {
        match &self.figures {
            Figures::Window(_, figures) => **figures == WindowFigures::default(),
            Figures::Now(figures) => **figures == NowFigures::default(),
        }
    }
}

/// A share of `k` in `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio {
    /// Size of the population.
    pub n: i64,
    /// Number of members that satisfy the condition.
    pub k: i64,
}

/// Quantile of the standard normal distribution for a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

impl Ratio {
    /// k ÷ n; `None` when n = 0.
    pub fn ratio(self) -> Option<f64> {
        (self.n > 0).then(|| self.k as f64 / self.n as f64)
    }

    /// Wilson's 95 % score interval (E. B. Wilson, 1927); `None` when n = 0.
    pub fn bounds(self) -> Option<(f64, f64)> {
        let p = self.ratio()?;
        let n = self.n as f64;
        let spread = Z * Z / n;
        let centre = p + spread / 2.0;
        let half = Z * (p * (1.0 - p) / n + spread / (4.0 * n)).sqrt();
        let (lower, upper) = ((centre - half) / (1.0 + spread), (centre + half) / (1.0 + spread));
        Some((lower.max(0.0), upper.min(1.0)))
    }
}

/// Statistics of lags: number, mean and quantiles (nearest rank).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Number of lags.
    pub n: i64,
    /// Mean in seconds; this and the quantiles are meaningless when n = 0.
    pub mean_seconds: f64,
    /// Median.
    pub p50_seconds: f64,
    /// 90th percentile.
    pub p90_seconds: f64,
    /// 99th percentile.
    pub p99_seconds: f64,
}

/// A conversion on both bases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Of entities created in the window.
    pub cohort: Ratio,
    /// Of entities closed in the window.
    pub closed: Ratio,
}

impl Conversion {
    /// The conversion on one basis.
    pub fn of(self, basis: Basis) -> Ratio {
        match basis {
            Basis::Cohort => self.cohort,
            Basis::Closed => self.closed,
        }
    }
}

impl std::ops::AddAssign for Conversion {
    fn add_assign(&mut self, other: Self) {
        for (own, other) in [(&mut self.cohort, other.cohort), (&mut self.closed, other.closed)] {
            *own = Ratio { n: own.n + other.n, k: own.k + other.k };
        }
    }
}

/// The figures of a sliding window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowFigures {
    /// Leads created.
    pub leads_received: i64,
    /// Leads whose current closing is DISQUALIFIED.
    pub leads_disqualified: i64,
    /// Leads that became deals.
    pub lead_conversion: Conversion,
    /// Deals that passed from a stage to the next.
    pub stage_conversion: BTreeMap<PipelineId, BTreeMap<StageId, Ratio>>,
    /// Deals that were won.
    pub win_rate: Conversion,
    /// Lags of first responses on the wall clock.
    pub first_response_wall: Quantiles,
    /// Lags of first responses in working time.
    pub first_response_business: Quantiles,
    /// Of the judged leads, those answered by their deadline.
    pub first_response_within_norm: Ratio,
    /// Lags of returned missed calls.
    pub call_back: Quantiles,
    /// Lags of answers to messages.
    pub reply: Quantiles,
    /// Calls.
    pub calls: Calls,
    /// Talk time in seconds.
    pub talk_seconds: f64,
    /// Messages sent, by channel.
    pub messages_sent: BTreeMap<Channel, i64>,
    /// Messages received, by channel.
    pub messages_received: BTreeMap<Channel, i64>,
    /// Meetings held.
    pub meetings: i64,
    /// Touches.
    pub touches: i64,
    /// Deals won.
    pub deals_won: i64,
    /// Deals lost.
    pub deals_lost: i64,
    /// Amount won in minor units, by currency.
    pub amount_won: BTreeMap<CompactString, i64>,
    /// Terms offered.
    pub terms: Terms,
    /// Reviews.
    pub reviews: Reviews,
    /// Violations that began, by rule.
    pub violations: BTreeMap<Rule, i64>,
}

/// Calls by direction and outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Inbound conversations.
    pub inbound_answered: i64,
    /// Inbound calls without a conversation.
    pub inbound_missed: i64,
    /// Outbound conversations.
    pub outbound_answered: i64,
    /// Outbound calls without a conversation.
    pub outbound_unanswered: i64,
}

/// Terms offered to customers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// Distinct deals with terms.
    pub offered: i64,
    /// Those of them with special terms.
    pub special: i64,
    /// Mean discount per offer; `None` without offers.
    pub mean_discount_percent: Option<f64>,
}

/// Reviews of calls and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reviews {
    /// Number of reviews.
    pub n: i64,
    /// Mean score, 0 to 100; `None` without reviews.
    pub mean_score: Option<f64>,
    /// Verdicts SUCCESS.
    pub successes: i64,
    /// Verdicts FAILURE.
    pub failures: i64,
}

/// Counts of entities by pipeline and stage (`unknown` for missing ones).
pub type ByStage = BTreeMap<PipelineId, BTreeMap<StageId, i64>>;

/// Current figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NowFigures {
    /// Leads that wait for their first response.
    pub awaiting_first_response: i64,
    /// The longest of these waits, on the wall clock.
    pub oldest_wait_seconds: Option<f64>,
    /// Open entities.
    pub open: ByStage,
    /// Open entities that are overdue in their stage.
    pub overdue: ByStage,
    /// Open alerts by rule.
    pub open_alerts: BTreeMap<Rule, i64>,
    /// Contacts with an unreturned missed call.
    pub unreturned_calls: i64,
    /// Contacts with an unanswered message.
    pub unanswered_messages: i64,
}

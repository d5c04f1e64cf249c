//! Owns the metric row: one subject's figures over one window, or now, as downstream services see them.

use super::event::Channel;
use super::id::{DepartmentId, ManagerId, PipelineId, StageId, TenantId};
use super::norms::{Basis, Window};
use super::rule::Rule;
use super::time::Timestamp;
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::fmt;

/// Whom a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The whole company.
    Tenant,
    /// A department, `unknown` for what is nobody's.
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

/// One subject's figures at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The company.
    pub tenant: TenantId,
    /// Whom it is about.
    pub subject: Subject,
    /// A manager's department; `None` is `unknown`. For labels: rows themselves do not show it.
    pub department: Option<DepartmentId>,
    /// Event time of the figures.
    pub at: Timestamp,
    /// The figures.
    pub figures: Figures,
}

/// Figures over a window, or of this instant.
#[derive(Clone, Debug, PartialEq)]
pub enum Figures {
    /// Over a rolling window.
    Window(Window, Box<WindowFigures>),
    /// As things stand.
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
    /// Whether there is nothing in it.
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
    /// How many there were.
    pub n: i64,
    /// How many of them did.
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

/// Lags: their number, mean and quantiles (nearest rank).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// How many lags.
    pub n: i64,
    /// Their mean, p50, p90 and p99 in seconds; meaningless when n = 0.
    pub mean_seconds: f64,
    /// Median.
    pub p50_seconds: f64,
    /// 90th percentile.
    pub p90_seconds: f64,
    /// 99th percentile.
    pub p99_seconds: f64,
}

/// Both conversion bases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Of those created in the window.
    pub cohort: Ratio,
    /// Of those closed in the window.
    pub closed: Ratio,
}

impl Conversion {
    /// That of one basis.
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

/// The figures of a rolling window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowFigures {
    /// Leads created.
    pub leads_received: i64,
    /// Leads whose standing closing is DISQUALIFIED.
    pub leads_disqualified: i64,
    /// Leads that became deals.
    pub lead_conversion: Conversion,
    /// Deals that went from a stage to the next.
    pub stage_conversion: BTreeMap<PipelineId, BTreeMap<StageId, Ratio>>,
    /// Deals that were won.
    pub win_rate: Conversion,
    /// First responses given, lag on the wall clock.
    pub first_response_wall: Quantiles,
    /// First responses given, lag in working time.
    pub first_response_business: Quantiles,
    /// Of the leads judged, those answered by their deadline.
    pub first_response_within_norm: Ratio,
    /// Call-backs to missed calls.
    pub call_back: Quantiles,
    /// Answers to messages.
    pub reply: Quantiles,
    /// Calls.
    pub calls: Calls,
    /// Time talked, in seconds.
    pub talk_seconds: f64,
    /// Messages sent, by channel.
    pub messages_sent: BTreeMap<Channel, i64>,
    /// Messages received, by channel.
    pub messages_received: BTreeMap<Channel, i64>,
    /// Meetings held.
    pub meetings: i64,
    /// Acts towards customers.
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
    /// Inbound calls that were none.
    pub inbound_missed: i64,
    /// Outbound conversations.
    pub outbound_answered: i64,
    /// Outbound calls that were none.
    pub outbound_unanswered: i64,
}

/// Terms offered to customers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// Distinct deals with terms.
    pub offered: i64,
    /// Those of them with special terms.
    pub special: i64,
    /// Mean discount over offers; `None` without offers.
    pub mean_discount_percent: Option<f64>,
}

/// Reviews of calls and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reviews {
    /// How many.
    pub n: i64,
    /// Mean score, 0 to 100; `None` without reviews.
    pub mean_score: Option<f64>,
    /// Verdicts SUCCESS.
    pub successes: i64,
    /// Verdicts FAILURE.
    pub failures: i64,
}

/// Counts of entities by pipeline and stage (`unknown` where there is none).
pub type ByStage = BTreeMap<PipelineId, BTreeMap<StageId, i64>>;

/// The figures of this instant.
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
    /// Contacts with a missed call that nobody returned.
    pub unreturned_calls: i64,
    /// Contacts with a message that nobody answered.
    pub unanswered_messages: i64,
}

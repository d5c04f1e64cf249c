//! Owns what is counted: the measures of facts, and the counters of a pane or a whole window.

use crate::domain::event::{Channel, Direction, Verdict};
use crate::domain::figures::histogram::Histogram;
use crate::domain::figures::statistics::{Conversion, Quantiles, Ratio};
use crate::domain::figures::table::{Calls, Plans, Reviews, WindowFigures};
use crate::domain::index::{CurrencyIx, JourneyIx, ManagerIx, StageIx};
use crate::domain::norms::Clock;
use crate::domain::norms::targets::TargetFigure;
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeMap;

/// A dated, countable observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact {
    /// When it took effect. Facts are emitted in this order; corrections take effect when they are made.
    pub known: Timestamp,
    /// Its date, which determines its pane.
    pub at: Timestamp,
    /// The manager.
    pub who: ManagerIx,
    /// 1, or -1 to retract an earlier fact.
    pub times: i32,
    /// What is counted.
    pub measure: Measure,
}

/// What a fact counts. The measures after `Violation` describe current state: the sum of their facts is the current value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// A lead, dated at its creation.
    LeadReceived,
    /// A lead that was no lost opportunity, counted instead of `LeadReceived` and dated like it.
    LeadExcluded,
    /// A lead that became a deal, dated at its creation.
    LeadConverted,
    /// A lead closed as converted, dated at the closing.
    LeadClosedConverted,
    /// A lead closed as disqualified, dated at the closing.
    LeadDisqualified,
    /// A deal, dated at its creation.
    DealReceived,
    /// A won deal, dated at its creation.
    DealConverted,
    /// A deal that first reached this stage or a later one, dated at that instant.
    StageReached(StageIx),
    /// One of these deals that also reached the next stage, or was won.
    StagePassed(StageIx),
    /// A won deal, dated at the closing.
    DealWon,
    /// A lost deal, dated at the closing.
    DealLost,
    /// The amount of a won deal, dated at the closing.
    AmountWon {
        /// Index of the currency.
        currency: CurrencyIx,
        /// Amount in minor units.
        minor: i64,
    },
    /// A first response, with its lag on both clocks.
    FirstResponse {
        /// On the wall clock.
        wall: Span,
        /// In working time.
        business: Span,
    },
    /// The lag from the assignment to the first touch.
    HumanResponse {
        /// On the wall clock.
        wall: Span,
        /// In working time.
        business: Span,
    },
    /// A lead judged by its response norm.
    FirstResponseJudged {
        /// Whether it was answered by the deadline.
        within: bool,
    },
    /// A returned call, with its lag.
    CallBack(Span),
    /// An answer to a message, with its lag.
    Reply(Span),
    /// A call.
    Call {
        /// Inbound or outbound.
        direction: Direction,
        /// Whether it was a conversation.
        answered: bool,
    },
    /// Talk time.
    Talk(Span),
    /// A message sent.
    MessageSent(Channel),
    /// A message received.
    MessageReceived(Channel),
    /// A meeting.
    Meeting,
    /// A touch.
    Touch,
    /// A dismissal that ended a wait for a reply.
    Dismissed,
    /// An activity that was planned.
    PlanMade,
    /// A plan whose activity was completed.
    PlanDone {
        /// Whether that was not after its deadline.
        in_time: bool,
    },
    /// A plan whose deadline was changed or taken away.
    PlanMoved,
    /// Terms offered.
    Terms {
        /// Index of the deal's journey.
        deal: JourneyIx,
        /// Whether the terms are special.
        special: bool,
        /// The discount, 0 if none was offered.
        discount: Percent,
    },
    /// A review.
    Review {
        /// Score in millionths, so that sums stay exact.
        score_micros: i64,
        /// Success, failure or neither.
        verdict: Verdict,
    },
    /// A violation that began.
    Violation(Rule),
    /// An entity that waits for its first response, dated at its creation.
    Awaiting,
    /// An open entity, by index of its stage.
    Open(StageIx),
    /// An open deal.
    OpenDeal,
    /// An open entity that is overdue in its stage.
    Overdue(StageIx),
    /// An overdue deal in an early stage.
    Stuck,
    /// An open plan, dated at its deadline; `MAX` if it has none.
    OpenPlan,
    /// An open entity that needs a next step and has no plan.
    WithoutPlan,
    /// An open alert.
    OpenAlert(Rule),
    /// A clock whose deadline is near.
    DueSoon(Rule),
    /// A contact with an unreturned missed call.
    Unreturned,
    /// A contact with an unanswered message.
    Unanswered,
    /// A contact of more open entities than the limit.
    SharedContact,
}

impl Measure {
    /// Whether a target can be set for it.
    pub fn counts_for_targets(self) -> bool {
        self.target_figures() != [None; 2]
    }

    /// The figures of targets that it counts for.
    pub fn target_figures(self) -> [Option<TargetFigure>; 2] {
        let figure = match self {
            Self::LeadClosedConverted => TargetFigure::LeadsConverted,
            Self::DealWon => TargetFigure::DealsWon,
            Self::AmountWon { .. } => TargetFigure::AmountWon,
            Self::Call { direction: Direction::Outbound, answered } => {
                return [Some(TargetFigure::CallsOutbound), answered.then_some(TargetFigure::Conversations)];
            }
            Self::Call { answered: true, .. } => TargetFigure::Conversations,
            Self::MessageSent(_) => TargetFigure::MessagesSent,
            Self::Meeting => TargetFigure::Meetings,
            Self::Touch => TargetFigure::Touches,
            Self::Terms { .. } => TargetFigure::TermsOffered,
            Self::PlanDone { .. } => TargetFigure::PlansDone,
            _ => return [None; 2],
        };
        [Some(figure), None]
    }
}

/// A percentage, stored as the bits of its `f64` so that facts can be compared and retracted exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u64);

impl Percent {
    /// From a value between 0 and 100.
    pub fn new(percent: f64) -> Self {
        Self(percent.to_bits())
    }

    /// The value, 0 to 100.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// Counters of a pane; the discriminant is the index in [`PaneAggregate::counts`].
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Count {
    LeadReceived,
    LeadExcluded,
    LeadConverted,
    LeadClosedConverted,
    LeadDisqualified,
    DealReceived,
    DealConverted,
    DealWon,
    DealLost,
    JudgedWithin,
    JudgedLate,
    InboundAnswered,
    InboundMissed,
    OutboundAnswered,
    OutboundUnanswered,
    Meeting,
    Touch,
    Dismissed,
    PlanMade,
    PlanDone,
    PlanDoneInTime,
    PlanMoved,
    Review,
    ReviewSuccess,
    ReviewFailure,
    Sent,
    Received = Self::Sent as usize + Channel::ALL.len(),
    End = Self::Received as usize + Channel::ALL.len(),
}

/// The figures of one pane, or of a whole window.
#[derive(Clone, Debug)]
pub struct PaneAggregate {
    counts: [i32; Count::End as usize],
    /// In milliseconds: no number of the longest calls overflows it.
    talk: i128,
    score_micros: i64,
    lags: [Histogram; 4],
    /// Lags from the assignment to the first touch, wall and business; boxed, because most panes have none.
    human: Option<Box<[Histogram; 2]>>,
    /// Sparse counters: amounts by currency index, violations by rule, and by stage index the deals that reached the stage
    /// and those that passed it.
    amounts: BTreeMap<CurrencyIx, i128>,
    violations: BTreeMap<Rule, i32>,
    stages: BTreeMap<StageIx, (i32, i32)>,
}

/// No counter is set. (Arrays of more than 32 items have no default.)
impl Default for PaneAggregate {
    fn default() -> Self {
        Self {
            counts: [0; Count::End as usize],
            talk: Default::default(),
            score_micros: Default::default(),
            lags: Default::default(),
            human: Default::default(),
            amounts: Default::default(),
            violations: Default::default(),
            stages: Default::default(),
        }
    }
}

/// The lags of a pane; the discriminant is the index in [`PaneAggregate::lags`].
#[derive(Clone, Copy, Debug)]
enum Lag {
    Wall,
    Business,
    CallBack,
    Reply,
}

impl PaneAggregate {
    /// Counts a fact `times` times; facts about current state are ignored.
    pub fn count(&mut self, measure: Measure, times: i32) {
        let counter = match measure {
            Measure::LeadReceived => Count::LeadReceived as usize,
            Measure::LeadExcluded => Count::LeadExcluded as usize,
            Measure::LeadConverted => Count::LeadConverted as usize,
            Measure::LeadClosedConverted => Count::LeadClosedConverted as usize,
            Measure::LeadDisqualified => Count::LeadDisqualified as usize,
            Measure::DealReceived => Count::DealReceived as usize,
            Measure::DealConverted => Count::DealConverted as usize,
            Measure::DealWon => Count::DealWon as usize,
            Measure::DealLost => Count::DealLost as usize,
            Measure::FirstResponseJudged { within: true } => Count::JudgedWithin as usize,
            Measure::FirstResponseJudged { within: false } => Count::JudgedLate as usize,
            Measure::Call { direction: Direction::Inbound, answered: true } => Count::InboundAnswered as usize,
            Measure::Call { direction: Direction::Inbound, answered: false } => Count::InboundMissed as usize,
            Measure::Call { direction: Direction::Outbound, answered: true } => Count::OutboundAnswered as usize,
            Measure::Call { direction: Direction::Outbound, answered: false } => Count::OutboundUnanswered as usize,
            Measure::Meeting => Count::Meeting as usize,
            Measure::Touch => Count::Touch as usize,
            Measure::Dismissed => Count::Dismissed as usize,
            Measure::PlanMade => Count::PlanMade as usize,
            Measure::PlanDone { in_time } => {
                self.counts[Count::PlanDoneInTime as usize] += if in_time { times } else { 0 };
                Count::PlanDone as usize
            }
            Measure::PlanMoved => Count::PlanMoved as usize,
            Measure::MessageSent(channel) => Count::Sent as usize + channel as usize,
            Measure::MessageReceived(channel) => Count::Received as usize + channel as usize,
            Measure::Review { score_micros, verdict } => {
                self.score_micros += score_micros * i64::from(times);
                match verdict {
                    Verdict::Success => self.counts[Count::ReviewSuccess as usize] += times,
                    Verdict::Failure => self.counts[Count::ReviewFailure as usize] += times,
                    Verdict::Neutral => {}
                }
                Count::Review as usize
            }
            Measure::Talk(span) => return self.talk += i128::from(span.0) * i128::from(times),
            Measure::FirstResponse { wall, business } => {
                self.lags[Lag::Wall as usize].add(wall, i64::from(times));
                return self.lags[Lag::Business as usize].add(business, i64::from(times));
            }
            Measure::HumanResponse { wall, business } => {
                let lags = self.human.get_or_insert_default();
                return lags.iter_mut().zip([wall, business]).for_each(|(lags, lag)| lags.add(lag, i64::from(times)));
            }
            Measure::CallBack(lag) => return self.lags[Lag::CallBack as usize].add(lag, i64::from(times)),
            Measure::Reply(lag) => return self.lags[Lag::Reply as usize].add(lag, i64::from(times)),
            Measure::AmountWon { currency, minor } => {
                return *self.amounts.entry(currency).or_default() += i128::from(minor) * i128::from(times);
            }
            Measure::Violation(rule) => return *self.violations.entry(rule).or_default() += times,
            Measure::StageReached(stage_ix) => return self.stages.entry(stage_ix).or_default().0 += times,
            Measure::StagePassed(stage_ix) => return self.stages.entry(stage_ix).or_default().1 += times,
            Measure::Terms { .. }
            | Measure::Awaiting
            | Measure::Open(_)
            | Measure::OpenDeal
            | Measure::Overdue(_)
            | Measure::Stuck
            | Measure::OpenPlan
            | Measure::WithoutPlan
            | Measure::OpenAlert(_)
            | Measure::DueSoon(_)
            | Measure::Unreturned
            | Measure::Unanswered
            | Measure::SharedContact => return,
        };
        self.counts[counter] += times;
    }

    /// Adds (`sign` 1) or subtracts (-1) another aggregate.
    pub fn merge(&mut self, other: &Self, sign: i32) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += sign * theirs;
        }
        self.talk += other.talk * i128::from(sign);
        self.score_micros += other.score_micros * i64::from(sign);
        let merge = |(mine, theirs): (&mut Histogram, &Histogram)| {
            if sign > 0 { mine.merge(theirs) } else { mine.subtract(theirs) }
        };
        self.lags.iter_mut().zip(&other.lags).for_each(merge);
        if let Some(theirs) = &other.human {
            self.human.get_or_insert_default().iter_mut().zip(theirs.iter()).for_each(merge);
        }
        for (currency, minor) in &other.amounts {
            *self.amounts.entry(*currency).or_default() += minor * i128::from(sign);
        }
        for (rule, times) in &other.violations {
            *self.violations.entry(*rule).or_default() += times * sign;
        }
        for (stage_ix, (reached, passed)) in &other.stages {
            let mine = self.stages.entry(*stage_ix).or_default();
            *mine = (mine.0 + sign * reached, mine.1 + sign * passed);
        }
    }

    /// The figures of a row, except those that need more than one aggregate (names of currencies, terms, stages).
    pub fn figures(&self) -> WindowFigures {
        let get = |count: Count| i64::from(self.counts[count as usize]);
        let lags = |lag: Lag| quantiles(&self.lags[lag as usize]);
        let human =
            |clock: Clock| self.human.as_ref().map_or_else(Quantiles::default, |lags| quantiles(&lags[clock as usize]));
        let share = |k: Count, n: i64| Ratio { n, k: get(k) };
        let by_channel = |first: Count| {
            let counts = Channel::ALL.map(|channel| (channel, self.counts[first as usize + channel as usize]));
            counts.into_iter().filter(|(_, n)| *n != 0).map(|(channel, n)| (channel, i64::from(n))).collect()
        };
        WindowFigures {
            leads_received: get(Count::LeadReceived),
            leads_disqualified: get(Count::LeadDisqualified),
            leads_excluded: get(Count::LeadExcluded),
            lead_conversion: self.lead_conversion(),
            win_rate: Conversion {
                cohort: share(Count::DealConverted, get(Count::DealReceived)),
                closed: share(Count::DealWon, get(Count::DealWon) + get(Count::DealLost)),
            },
            first_response_wall: lags(Lag::Wall),
            first_response_business: lags(Lag::Business),
            human_response_wall: human(Clock::Wall),
            human_response_business: human(Clock::Business),
            first_response_within_norm: share(Count::JudgedWithin, get(Count::JudgedWithin) + get(Count::JudgedLate)),
            call_back: lags(Lag::CallBack),
            reply: lags(Lag::Reply),
            calls: Calls {
                inbound_answered: get(Count::InboundAnswered),
                inbound_missed: get(Count::InboundMissed),
                outbound_answered: get(Count::OutboundAnswered),
                outbound_unanswered: get(Count::OutboundUnanswered),
            },
            talk_seconds: self.talk as f64 / 1000.0,
            messages_sent: by_channel(Count::Sent),
            messages_received: by_channel(Count::Received),
            meetings: get(Count::Meeting),
            touches: get(Count::Touch),
            dismissed: get(Count::Dismissed),
            plans: Plans {
                made: get(Count::PlanMade),
                done: get(Count::PlanDone),
                done_in_time: get(Count::PlanDoneInTime),
                moved: get(Count::PlanMoved),
            },
            deals_won: get(Count::DealWon),
            deals_lost: get(Count::DealLost),
            reviews: self.reviews(),
            violations: self.violations.iter().filter(|(_, n)| **n != 0).map(|(r, n)| (*r, i64::from(*n))).collect(),
            amount_won: BTreeMap::new(),
            stage_conversion: BTreeMap::new(),
            terms: Default::default(),
        }
    }

    /// Leads that became deals.
    pub fn lead_conversion(&self) -> Conversion {
        let get = |count: Count| i64::from(self.counts[count as usize]);
        let converted = get(Count::LeadClosedConverted);
        Conversion {
            cohort: Ratio { n: get(Count::LeadReceived), k: get(Count::LeadConverted) },
            closed: Ratio { n: converted + get(Count::LeadDisqualified), k: converted },
        }
    }

    /// Lags of the first responses given.
    pub fn first_response(&self, clock: Clock) -> &Histogram {
        match clock {
            Clock::Wall => &self.lags[Lag::Wall as usize],
            Clock::Business => &self.lags[Lag::Business as usize],
        }
    }

    /// Reviews.
    pub fn reviews(&self) -> Reviews {
        let get = |count: Count| i64::from(self.counts[count as usize]);
        let n = get(Count::Review);
        Reviews {
            n,
            mean_score: (n > 0).then(|| self.score_micros as f64 / 1e6 / n as f64),
            successes: get(Count::ReviewSuccess),
            failures: get(Count::ReviewFailure),
        }
    }

    /// Deals that reached a stage, and those of them that passed it, by stage index.
    pub fn stages(&self) -> impl Iterator<Item = (StageIx, Ratio)> {
        let reached = self.stages.iter().filter(|(_, (reached, _))| *reached != 0);
        reached.map(|(stage_ix, (n, k))| (*stage_ix, Ratio { n: i64::from(*n), k: i64::from(*k) }))
    }

    /// Amounts won by currency index, saturated to the range of a row.
    pub fn amounts(&self) -> impl Iterator<Item = (CurrencyIx, i64)> {
        let saturated = |minor: i128| i64::try_from(minor).unwrap_or(if minor > 0 { i64::MAX } else { i64::MIN });
        self.amounts
            .iter()
            .filter(|(_, minor)| **minor != 0)
            .map(move |(currency, minor)| (*currency, saturated(*minor)))
    }
}

fn quantiles(histogram: &Histogram) -> Quantiles {
    let at = |q| histogram.quantile(q).map_or(0.0, Span::seconds);
    Quantiles {
        n: histogram.count(),
        mean_seconds: histogram.mean().unwrap_or_default(),
        p50_seconds: at(0.5),
        p90_seconds: at(0.9),
        p99_seconds: at(0.99),
    }
}

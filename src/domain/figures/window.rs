//! Owns the sliding window of one manager: a ring of panes and their running total.
//!
//! Definition. With slide s and n panes, the window at time T covers the panes ⌊T/s⌋ − n … ⌊T/s⌋. Counts are integers
//! and histograms subtract exactly, so the total is maintained by adding new facts and subtracting the expired pane. A
//! fact of any date inside the window is added to its own pane; the order of arrival does not matter.

use crate::domain::effect::{Fact, Measure};
use crate::domain::event::{Channel, Direction, Verdict};
use crate::domain::figures::histogram::Histogram;
use crate::domain::figures::statistics::{Conversion, Quantiles, Ratio};
use crate::domain::figures::table::{Calls, Reviews, WindowFigures};
use crate::domain::norms::Clock;
use crate::domain::rule::Rule;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use std::collections::{BTreeMap, VecDeque};

/// Counters of a pane; the discriminant is the index in [`PaneAggregate::counts`].
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Count {
    LeadReceived,
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
    /// Wraps on overflow, because everything added is subtracted again.
    talk: Span,
    score_micros: i64,
    lags: Lags,
    /// Sparse counters: amounts by currency index, violations by rule, and by stage index the deals that reached the stage
    /// and those that passed it.
    amounts: BTreeMap<u32, i128>,
    violations: BTreeMap<Rule, i32>,
    stages: BTreeMap<u32, (i32, i32)>,
}

#[derive(Clone, Debug, Default)]
struct Lags {
    wall: Histogram,
    business: Histogram,
    call_back: Histogram,
    reply: Histogram,
}

impl Default for PaneAggregate {
    fn default() -> Self {
        Self {
            counts: [0; Count::End as usize],
            talk: Span::ZERO,
            score_micros: 0,
            lags: Lags::default(),
            amounts: BTreeMap::new(),
            violations: BTreeMap::new(),
            stages: BTreeMap::new(),
        }
    }
}

impl PaneAggregate {
    /// Counts a fact `times` times; facts about current state are ignored.
    pub fn count(&mut self, measure: Measure, times: i32) {
        let counter = match measure {
            Measure::LeadReceived => Count::LeadReceived as usize,
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
            Measure::Talk(span) => return self.talk.0 = self.talk.0.wrapping_add(span.0.wrapping_mul(times.into())),
            Measure::FirstResponse { wall, business } => {
                self.lags.wall.add(wall, i64::from(times));
                return self.lags.business.add(business, i64::from(times));
            }
            Measure::CallBack(lag) => return self.lags.call_back.add(lag, i64::from(times)),
            Measure::Reply(lag) => return self.lags.reply.add(lag, i64::from(times)),
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
            | Measure::OpenAlert(_)
            | Measure::Unreturned
            | Measure::Unanswered => return,
        };
        self.counts[counter] += times;
    }

    /// Adds (`sign` 1) or subtracts (-1) another aggregate.
    pub fn merge(&mut self, other: &Self, sign: i32) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += sign * theirs;
        }
        self.talk.0 = self.talk.0.wrapping_add(other.talk.0.wrapping_mul(sign.into()));
        self.score_micros += other.score_micros * i64::from(sign);
        for (mine, theirs) in [
            (&mut self.lags.wall, &other.lags.wall),
            (&mut self.lags.business, &other.lags.business),
            (&mut self.lags.call_back, &other.lags.call_back),
            (&mut self.lags.reply, &other.lags.reply),
        ] {
            if sign > 0 { mine.merge(theirs) } else { mine.subtract(theirs) }
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
        let share = |k: Count, n: i64| Ratio { n, k: get(k) };
        let by_channel = |first: Count| {
            let counts = Channel::ALL.map(|channel| (channel, self.counts[first as usize + channel as usize]));
            counts.into_iter().filter(|(_, n)| *n != 0).map(|(channel, n)| (channel, i64::from(n))).collect()
        };
        WindowFigures {
            leads_received: get(Count::LeadReceived),
            leads_disqualified: get(Count::LeadDisqualified),
            lead_conversion: self.lead_conversion(),
            stage_conversion: BTreeMap::new(),
            win_rate: Conversion {
                cohort: share(Count::DealConverted, get(Count::DealReceived)),
                closed: share(Count::DealWon, get(Count::DealWon) + get(Count::DealLost)),
            },
            first_response_wall: quantiles(&self.lags.wall),
            first_response_business: quantiles(&self.lags.business),
            first_response_within_norm: share(Count::JudgedWithin, get(Count::JudgedWithin) + get(Count::JudgedLate)),
            call_back: quantiles(&self.lags.call_back),
            reply: quantiles(&self.lags.reply),
            calls: Calls {
                inbound_answered: get(Count::InboundAnswered),
                inbound_missed: get(Count::InboundMissed),
                outbound_answered: get(Count::OutboundAnswered),
                outbound_unanswered: get(Count::OutboundUnanswered),
            },
            talk_seconds: self.talk.seconds(),
            messages_sent: by_channel(Count::Sent),
            messages_received: by_channel(Count::Received),
            meetings: get(Count::Meeting),
            touches: get(Count::Touch),
            deals_won: get(Count::DealWon),
            deals_lost: get(Count::DealLost),
            amount_won: BTreeMap::new(),
            terms: Default::default(),
            reviews: self.reviews(),
            violations: self.violations.iter().filter(|(_, n)| **n != 0).map(|(r, n)| (*r, i64::from(*n))).collect(),
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
            Clock::Wall => &self.lags.wall,
            Clock::Business => &self.lags.business,
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
    pub fn stages(&self) -> impl Iterator<Item = (u32, Ratio)> {
        let reached = self.stages.iter().filter(|(_, (reached, _))| *reached != 0);
        reached.map(|(stage_ix, (n, k))| (*stage_ix, Ratio { n: i64::from(*n), k: i64::from(*k) }))
    }

    /// Amounts won by currency index, saturated to the range of a row.
    pub fn amounts(&self) -> impl Iterator<Item = (u32, i64)> {
        let saturated = |minor: i128| i64::try_from(minor).unwrap_or(if minor > 0 { i64::MAX } else { i64::MIN });
        self.amounts
            .iter()
            .filter(|(_, minor)| **minor != 0)
            .map(move |(currency, minor)| (*currency, saturated(*minor)))
    }
}

/// A manager's figures at a slide boundary: the input of window rules.
#[derive(Clone, Copy, Debug)]
pub struct WindowSample<'a> {
    /// The manager's window.
    pub own: &'a PaneAggregate,
    /// Lead conversion of the whole department, including this manager; zero unless a norm requires it.
    pub department: Conversion,
    /// Deals with terms in the window, and those of them with special terms.
    pub special: Ratio,
    /// Open deals now, and those of them that are overdue in an early stage.
    pub stuck: Ratio,
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

/// One manager's window.
#[derive(Debug)]
pub struct SlidingWindow {
    window: Window,
    /// Index of the oldest pane in the ring.
    first: i64,
    ring: VecDeque<Option<Box<PaneAggregate>>>,
    total: PaneAggregate,
}

impl SlidingWindow {
    /// An empty window.
    pub fn new(window: Window) -> Self {
        Self { window, first: i64::MIN, ring: VecDeque::new(), total: PaneAggregate::default() }
    }

    /// Counts a fact in its pane; facts older than the window at the last `advance` are ignored.
    pub fn count(&mut self, fact: &Fact) {
        let pane = fact.at.pane(self.window.slide);
        if pane < self.first {
            return;
        }
        if self.ring.is_empty() {
            self.first = self.first.max(pane - self.window.panes());
        }
        self.expire(pane - self.window.panes());
        let index = (pane - self.first) as usize;
        if index >= self.ring.len() {
            self.ring.resize_with(index + 1, || None);
        }
        self.ring[index].get_or_insert_default().count(fact.measure, fact.times);
        self.total.count(fact.measure, fact.times);
    }

    /// Drops the panes that the window at `at` no longer covers.
    pub fn advance(&mut self, at: Timestamp) {
        self.expire(at.pane(self.window.slide) - self.window.panes());
    }

    /// The slide boundary at which the oldest non-empty pane leaves the window.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let index = self.ring.iter().position(Option::is_some)?;
        Some(self.window.leaves(self.first + index as i64))
    }

    /// The total of the covered panes.
    pub fn total(&self) -> &PaneAggregate {
        &self.total
    }

    /// The start of the oldest pane covered at `at`.
    pub fn since(window: Window, at: Timestamp) -> Timestamp {
        Timestamp((at.pane(window.slide) - window.panes()).saturating_mul(window.slide.0))
    }

    fn expire(&mut self, first: i64) {
        while self.first < first {
            let Some(expired) = self.ring.pop_front() else {
                self.first = first;
                return;
            };
            self.first += 1;
            if let Some(aggregate) = expired {
                self.total.merge(&aggregate, -1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effect::ManagerIx;
    use proptest::prelude::*;

    /// One step of a generated run.
    #[derive(Clone, Debug)]
    enum Step {
        /// After `later`, a fact becomes known that is dated `before` earlier.
        Fact { later: i64, before: i64, measure: Measure },
        /// One of the facts so far is retracted.
        Retract(prop::sample::Index),
        /// After `later`, the figures are read.
        Read { later: i64 },
    }

    fn measure() -> impl Strategy<Value = Measure> {
        let lag = || (0i64..5000).prop_map(Span);
        prop_oneof![
            Just(Measure::LeadReceived),
            Just(Measure::Touch),
            (0usize..4).prop_map(|index| Measure::MessageSent(Channel::ALL[index])),
            any::<bool>().prop_map(|within| Measure::FirstResponseJudged { within }),
            (any::<bool>(), any::<bool>()).prop_map(|(inbound, answered)| {
                let direction = if inbound { Direction::Inbound } else { Direction::Outbound };
                Measure::Call { direction, answered }
            }),
            lag().prop_map(Measure::Talk),
            lag().prop_map(Measure::Reply),
            (lag(), lag()).prop_map(|(wall, business)| Measure::FirstResponse { wall, business }),
            (0u32..3, 0i64..1000).prop_map(|(currency, minor)| Measure::AmountWon { currency, minor }),
            (0usize..Rule::ALL.len()).prop_map(|index| Measure::Violation(Rule::ALL[index])),
            (0i64..100_000_000, any::<bool>()).prop_map(|(score_micros, good)| {
                let verdict = if good { Verdict::Success } else { Verdict::Neutral };
                Measure::Review { score_micros, verdict }
            }),
            Just(Measure::Awaiting),
        ]
    }

    /// Steps whose spans are fractions of a window of `size`, or several windows long.
    fn steps(size: i64) -> impl Strategy<Value = Vec<Step>> {
        let later = move || prop_oneof![8 => 0..size / 4 + 1, 1 => 0..size * 3];
        let before = move || prop_oneof![4 => Just(0), 8 => 0..size, 2 => 0..size * 3];
        let step = prop_oneof![
            8 => (later(), before(), measure())
                .prop_map(|(later, before, measure)| Step::Fact { later, before, measure }),
            3 => any::<prop::sample::Index>().prop_map(Step::Retract),
            2 => later().prop_map(|later| Step::Read { later }),
        ];
        prop::collection::vec(step, 1..120)
    }

    fn windows() -> impl Strategy<Value = (Window, Vec<Step>)> {
        (1i64..12, 1i64..40).prop_flat_map(|(panes, slide)| {
            let window = Window { size: Span(panes * slide), in_days: false, slide: Span(slide) };
            steps(window.size.0).prop_map(move |steps| (window, steps))
        })
    }

    /// The definition, implemented literally: a recount of all facts in the covered panes.
    fn recount(window: Window, facts: &[Fact], at: Timestamp) -> PaneAggregate {
        let current = at.pane(window.slide);
        let covered = current - window.panes()..=current;
        let mut aggregate = PaneAggregate::default();
        for fact in facts.iter().filter(|fact| covered.contains(&fact.at.pane(window.slide))) {
            aggregate.count(fact.measure, fact.times);
        }
        aggregate
    }

    proptest! {
        #[test]
        fn the_running_total_equals_a_recount((window, steps) in windows(), start in -1000i64..1000) {
            let mut sliding = SlidingWindow::new(window);
            let mut facts = Vec::<Fact>::new();
            let mut now = Timestamp(start);
            for step in steps.into_iter().chain([Step::Read { later: 0 }]) {
                match step {
                    Step::Fact { later, before, measure } => {
                        now = now + Span(later);
                        let at = now.saturating_sub(Span(before));
                        facts.push(Fact { known: now, at, who: ManagerIx::NONE, times: 1, measure });
                    }
                    Step::Retract(which) => {
                        let Some(fact) = facts.get(which.index(facts.len().max(1))).copied() else { continue };
                        facts.push(Fact { known: now, times: -fact.times, ..fact });
                    }
                    Step::Read { later } => {
                        now = now + Span(later);
                        sliding.advance(now);
                        let expected = recount(window, &facts, now);
                        prop_assert_eq!(sliding.total().figures(), expected.figures());
                        prop_assert!(sliding.total().amounts().eq(expected.amounts()));
                        continue;
                    }
                }
                sliding.count(&facts[facts.len() - 1]);
            }
        }

        #[test]
        fn nothing_remains_when_all_facts_are_retracted((window, steps) in windows()) {
            let mut sliding = SlidingWindow::new(window);
            let mut now = Timestamp(0);
            for step in steps {
                let Step::Fact { later, before, measure } = step else { continue };
                now = now + Span(later);
                let at = now.saturating_sub(Span(before));
                for times in [1, -1] {
                    sliding.count(&Fact { known: now, at, who: ManagerIx::NONE, times, measure });
                }
            }
            prop_assert_eq!(sliding.total().figures(), WindowFigures::default());
            prop_assert_eq!(sliding.total().amounts().count(), 0);
        }
    }

    /// The window covers exactly its size at a slide boundary and at most one slide more elsewhere; a fact dated at a
    /// boundary belongs to the pane that begins there.
    #[test]
    fn a_window_covers_its_complete_panes_and_the_current_one() {
        let window = Window { size: Span(40), in_days: false, slide: Span(10) };
        let touches = |dates: &[i64], at| {
            let mut sliding = SlidingWindow::new(window);
            for date in dates {
                let at = Timestamp(*date);
                sliding.count(&Fact { known: at, at, who: ManagerIx::NONE, times: 1, measure: Measure::Touch });
            }
            sliding.advance(Timestamp(at));
            assert_eq!(SlidingWindow::since(window, Timestamp(at)).0.rem_euclid(10), 0);
            sliding.total().figures().touches
        };
        assert_eq!(touches(&[99, 100, 139], 140), 2);
        assert_eq!(touches(&[99, 100, 149], 149), 2);
        assert_eq!(touches(&[100, 109, 110], 150), 1);
        assert_eq!(touches(&[-50, -51, -1], -1), 2);
        assert_eq!(touches(&[0], 10_000_000), 0);
    }
}

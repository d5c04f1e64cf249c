//! Owns the sliding window of one manager: a ring of panes and their running total.
//!
//! Definition. With slide s and n panes, the window at time T covers the panes ⌊T/s⌋ − n … ⌊T/s⌋. Counts are integers
//! and histograms subtract exactly, so the total is maintained by adding new facts and subtracting the expired pane. A
//! fact of any date inside the window is added to its own pane; the order of arrival does not matter.

use crate::domain::figures::pane::{Fact, PaneAggregate};
use crate::domain::figures::statistics::{Conversion, Ratio};
use crate::domain::time::Timestamp;
use crate::domain::time::window::Window;
use std::collections::VecDeque;

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
    use crate::domain::event::{Channel, Direction, Verdict};
    use crate::domain::figures::pane::Measure;
    use crate::domain::figures::table::WindowFigures;
    use crate::domain::index::{CurrencyIx, ManagerIx};
    use crate::domain::rule::Rule;
    use crate::domain::time::Span;
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
            (lag(), lag()).prop_map(|(wall, business)| Measure::HumanResponse { wall, business }),
            (0u32..3, 0i64..1000)
                .prop_map(|(currency, minor)| Measure::AmountWon { currency: CurrencyIx(currency), minor }),
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

//! Owns whose turn is next. Promises turns in order of their instant, those of one instant in order of their number,
//! whatever the order in which they were entered. Refuses to look into the past: no turn before the last one taken.
//!
//! Later seconds lie about unsorted until their time comes; only what is entered for the running one goes into a heap.
//! With a million customers at hand that is several times as fast as one heap, which no cache can hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Who is next, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ScheduledStep {
    /// Microseconds since the epoch: many can be in one millisecond, in a certain order.
    pub(super) micros: i64,
    pub(super) who: u32,
}

/// All turns to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Which second runs.
    second: i64,
    /// Its turns, the next one at the end.
    running: Vec<ScheduledStep>,
    /// What was entered for it since it runs.
    sudden: BinaryHeap<Reverse<ScheduledStep>>,
    later: BTreeMap<i64, Vec<ScheduledStep>>,
    /// Empty ones, to be used again.
    spare: Vec<Vec<ScheduledStep>>,
}

/// A second, nearly: 2²⁰ microseconds.
const SECOND_BITS: u32 = 20;
const SPARE: usize = 64;
const SOON: usize = 4;

impl Agenda {
    /// Enters a turn.
    pub(super) fn enter(&mut self, turn: ScheduledStep) {
        let second = turn.micros >> SECOND_BITS;
        if second <= self.second {
            self.sudden.push(Reverse(turn));
        } else {
            self.later.entry(second).or_insert_with(|| self.spare.pop().unwrap_or_default()).push(turn);
        }
    }

    /// Takes the next turn.
    pub(super) fn next(&mut self) -> Option<ScheduledStep> {
        loop {
            match (self.running.last(), self.sudden.peek()) {
                (Some(turn), Some(Reverse(sudden))) if turn > sudden => break self.sudden.pop().map(|turn| turn.0),
                (Some(_), _) => break self.running.pop(),
                (None, Some(_)) => break self.sudden.pop().map(|turn| turn.0),
                (None, None) => self.begin_second()?,
            }
        }
    }

    /// Who will have the turn soon, unless somebody comes between: whoever keeps them can look for the papers in time.
    pub(super) fn soon(&self) -> Option<u32> {
        Some(self.running[self.running.len().checked_sub(SOON)?].who)
    }

    fn begin_second(&mut self) -> Option<()> {
        let (second, mut turns) = self.later.pop_first()?;
        turns.sort_unstable_by(|a, b| b.cmp(a));
        let old = std::mem::replace(&mut self.running, turns);
        self.second = second;
        if self.spare.len() < SPARE {
            self.spare.push(old);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Dice;
    use super::*;

    #[test]
    fn turns_come_in_order_whenever_they_were_entered() {
        let (mut agenda, mut dice) = (Agenda::default(), Dice::new(5, 0));
        let (mut naive, mut last) = (BTreeMap::new(), ScheduledStep { micros: i64::MIN, who: 0 });
        for who in 0..20_000 {
            let reach = dice.pick([10, 1 << 19, 1 << 22, 1 << 31]);
            let micros = last.micros.max(1 << 40) + dice.between(0, reach);
            agenda.enter(ScheduledStep { micros, who });
            naive.insert((micros, who), ());
            if dice.chance(60) {
                let turn = agenda.next().expect("one was entered");
                assert_eq!(naive.pop_first().map(|(first, ())| first), Some((turn.micros, turn.who)));
                last = turn;
            }
        }
        let rest: Vec<_> = std::iter::from_fn(|| agenda.next()).map(|turn| (turn.micros, turn.who)).collect();
        assert_eq!(rest, naive.into_keys().collect::<Vec<_>>());
    }
}

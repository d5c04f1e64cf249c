//! Owns the exhaustive search: a breadth-first search over all reachable states, so that the first violation comes with
//! a shortest trace. Then a backward search from the states in which all outputs are visible finds states from which
//! none of these can be reached.

use super::Protocol;
use super::model::{Bounds, Model, Violation};
use super::{faults, process};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// A step of the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) actor: &'static str,
    pub(crate) what: &'static str,
    /// Whether it is a fault: it may occur, but does not have to.
    pub(crate) fault: bool,
}

/// The possible next steps, each with the resulting state.
pub(crate) type Next = Vec<(Step, Model)>;

/// The result of a search.
pub(crate) struct Findings {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) violation: Option<(Violation, Vec<Step>)>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} states, {} steps", self.states, self.steps)?;
        let Some((violation, trace)) = &self.violation else { return writeln!(f, "no violation") };
        writeln!(f, "{violation:?} after {} steps:", trace.len())?;
        for (index, Step { actor, what, fault }) in (1..).zip(trace) {
            let verb = if *actor == "a marker" { "reaches " } else { "" };
            writeln!(f, "{index:4} {}{actor} {verb}{what}", if *fault { "! " } else { "  " })?;
        }
        Ok(())
    }
}

/// Explores all states; stops at the first violation that is not in `ignored`.
pub(crate) fn explore(protocol: &Protocol, bounds: &Bounds, ignored: &[Violation]) -> Findings {
    let mut search = Search::default();
    search.visit(Model::new(bounds), 0, None);
    let mut next = Next::new();
    while let Some((at, model)) = search.open.pop_front() {
        steps(&model, protocol, bounds, &mut next);
        for (step, mut model) in next.drain(..) {
            let missing = model.has_missing_outputs(bounds).then_some(Violation::Missing);
            if let Some(violation) = model.violation.take().or(missing).filter(|violation| !ignored.contains(violation))
            {
                let mut trace = search.trace(at);
                trace.push(step);
                return search.end(Some((violation, trace)));
            }
            search.visit(model, at, Some(step));
        }
    }
    let stuck = search.stuck(bounds.times.len() as u8).map(|at| (Violation::Stuck, search.trace(at)));
    search.end(stuck)
}

fn steps(model: &Model, protocol: &Protocol, bounds: &Bounds, next: &mut Next) {
    (0..model.processes.len()).for_each(|slot| process::steps(model, slot, protocol, bounds, next));
    faults::steps(model, bounds, next);
}

/// The states visited so far, numbered in the order of their distance from the initial one.
#[derive(Default)]
struct Search {
    numbers: HashMap<Model, u32, BuildHasherDefault<Mixer>>,
    open: VecDeque<(u32, Model)>,
    /// The predecessor of each state, and the step from it.
    from: Vec<(u32, Option<Step>)>,
    seen: Vec<u8>,
    /// Steps that are not faults. The system can be relied on to take them.
    reliable: Vec<(u32, u32)>,
    steps: usize,
}

impl Search {
    fn visit(&mut self, model: Model, from: u32, step: Option<Step>) {
        let number = self.from.len() as u32;
        let visited = match self.numbers.entry(model) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.from.push((from, step));
                self.seen.push(entry.key().seen);
                self.open.push_back((number, entry.key().clone()));
                *entry.insert(number)
            }
        };
        self.steps += usize::from(step.is_some());
        if step.is_some_and(|step| !step.fault) {
            self.reliable.push((from, visited));
        }
    }

    fn trace(&self, mut at: u32) -> Vec<Step> {
        let mut trace = Vec::new();
        while let (from, Some(step)) = self.from[at as usize] {
            trace.push(step);
            at = from;
        }
        trace.reverse();
        trace
    }

    /// The nearest state from which no sequence of reliable steps makes all outputs visible.
    fn stuck(&self, outputs: u8) -> Option<u32> {
        let mut predecessors = vec![Vec::new(); self.from.len()];
        self.reliable.iter().for_each(|(from, to)| predecessors[*to as usize].push(*from));
        let mut good: Vec<bool> = self.seen.iter().map(|seen| *seen == outputs).collect();
        let mut open: Vec<u32> = (0..).zip(&good).filter(|(_, good)| **good).map(|(at, _)| at).collect();
        while let Some(at) = open.pop() {
            for from in &predecessors[at as usize] {
                if !std::mem::replace(&mut good[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        (0..).zip(good).find(|(_, good)| !good).map(|(at, _)| at)
    }

    fn end(&self, violation: Option<(Violation, Vec<Step>)>) -> Findings {
        Findings { states: self.from.len(), steps: self.steps, violation }
    }
}

/// A fast hasher: without optimisation the default one takes most of the time, and a test needs no protection from
/// attacks.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

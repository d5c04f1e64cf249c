//! Owns the search: every world that can be reached, the nearest first, so that the first one that is wrong comes with
//! the shortest way there. Then, backwards from the worlds in which all outputs are visible: those from which none is
//! reached.

use crate::Protocol;
use crate::world::{Scope, World, Wrong};
use crate::{faults, process};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) who: &'static str,
    pub(crate) what: &'static str,
    /// It went wrong, and need not have happened.
    pub(crate) fault: bool,
}

/// What can happen next, and the world thereafter.
pub(crate) type Next = Vec<(Step, World)>;

/// What the search came to.
pub(crate) struct Findings {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) wrong: Option<(Wrong, Vec<Step>)>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} states, {} steps", self.states, self.steps)?;
        let Some((wrong, way)) = &self.wrong else { return writeln!(f, "nothing is wrong") };
        writeln!(f, "{wrong:?} after {} steps:", way.len())?;
        for (number, Step { who, what, fault }) in (1..).zip(way) {
            let verb = if *who == "a marker" { "reaches " } else { "" };
            writeln!(f, "{number:4} {}{who} {verb}{what}", if *fault { "! " } else { "  " })?;
        }
        Ok(())
    }
}

/// Explores all; stops at the first world that is wrong, `blind` to what is listed there.
pub(crate) fn explore(protocol: &Protocol, scope: &Scope, blind: &[Wrong]) -> Findings {
    let mut search = Search::default();
    search.meet(World::new(scope), 0, None);
    let mut next = Next::new();
    while let Some((at, world)) = search.open.pop_front() {
        steps(&world, protocol, scope, &mut next);
        for (step, mut world) in next.drain(..) {
            let missing = world.misses(scope).then_some(Wrong::Missing);
            if let Some(wrong) = world.wrong.take().or(missing).filter(|wrong| !blind.contains(wrong)) {
                let mut way = search.way(at);
                way.push(step);
                return search.end(Some((wrong, way)));
            }
            search.meet(world, at, Some(step));
        }
    }
    let stuck = search.stuck(scope.times.len() as u8).map(|at| (Wrong::Stuck, search.way(at)));
    search.end(stuck)
}

fn steps(world: &World, protocol: &Protocol, scope: &Scope, next: &mut Next) {
    (0..world.processes.len()).for_each(|slot| process::steps(world, slot, protocol, scope, next));
    faults::steps(world, scope, next);
}

/// The worlds met so far, by number in the order of their distance from the first.
#[derive(Default)]
struct Search {
    numbers: HashMap<World, u32, BuildHasherDefault<Mixer>>,
    open: VecDeque<(u32, World)>,
    /// How each world was reached first.
    from: Vec<(u32, Option<Step>)>,
    seen: Vec<u8>,
    /// Steps that are no faults: what the world can be relied on to do.
    sure: Vec<(u32, u32)>,
    steps: usize,
}

impl Search {
    fn meet(&mut self, world: World, from: u32, step: Option<Step>) {
        let number = self.from.len() as u32;
        let met = match self.numbers.entry(world) {
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
            self.sure.push((from, met));
        }
    }

    fn way(&self, mut at: u32) -> Vec<Step> {
        let mut way = Vec::new();
        while let (from, Some(step)) = self.from[at as usize] {
            way.push(step);
            at = from;
        }
        way.reverse();
        way
    }

    /// The nearest world from which no sure steps lead to one that shows all outputs.
    fn stuck(&self, outputs: u8) -> Option<u32> {
        let mut before = vec![Vec::new(); self.from.len()];
        self.sure.iter().for_each(|(from, to)| before[*to as usize].push(*from));
        let mut good: Vec<bool> = self.seen.iter().map(|seen| *seen == outputs).collect();
        let mut open: Vec<u32> = (0..).zip(&good).filter(|(_, good)| **good).map(|(at, _)| at).collect();
        while let Some(at) = open.pop() {
            for from in &before[at as usize] {
                if !std::mem::replace(&mut good[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        (0..).zip(good).find(|(_, good)| !good).map(|(at, _)| at)
    }

    fn end(&self, wrong: Option<(Wrong, Vec<Step>)>) -> Findings {
        Findings { states: self.from.len(), steps: self.steps, wrong }
    }
}

/// The standard library's hasher takes most of the time without optimisation, and nobody attacks a test.
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

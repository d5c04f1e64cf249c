//! What an event costs does not grow with the number of events before it, in whatever way an input is repeated.
//!
//! Cost is the number of branches that the library takes, which `tests/growth/rustc` makes it count: the same on every
//! machine and under any load, up to a few in ten thousand. Work of the C library, such as moving memory, is not counted.
//!
//! `tests/growth/run` runs these tests.
#![allow(unsafe_code, missing_docs)]

#[path = "growth/inputs.rs"]
mod inputs;

use funnelwatch::codec::EventLimits;
use funnelwatch::config;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard::admission::AdmissionLimits;
use funnelwatch::domain::shard::processor::Timing;
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::files::EventFiles;
use funnelwatch::edge::replay::{self, Delivery, Options, Outcome};
use inputs::{INPUTS, Input};
use serde_json::json;
use std::cell::Cell;
use std::env;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The events of each input in the short form.
const EVENTS: usize = 1200;
const START: Timestamp = Timestamp(1_772_398_800_000);
/// The time from one event to the next.
const STEP: Span = Span(5 * Span::MINUTE.0);
/// One event in so many is late.
const LATE_EVERY: usize = 100;
/// A late event comes so many events later. That is more than an epoch and the allowed lateness.
const LATE_BY: usize = 40;
/// The branches that all threads have taken, less up to a thousand of each thread.
static BRANCHES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OF_THREAD: Cell<u64> = const { Cell::new(0) };
}

/// The library calls this at every branch.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_pc_guard(_: *mut u32) {
    let taken = OF_THREAD.get() + 1;
    OF_THREAD.set(taken % 1000);
    if taken == 1000 {
        BRANCHES.fetch_add(1000, Ordering::Relaxed);
    }
}

#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_pc_guard_init(_: *mut u32, _: *mut u32) {}

fn norms() -> Arc<Norms> {
    let norms = include_str!("growth/norms.yaml");
    Arc::new(config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}")).norms)
}

/// The events of an input.
fn events(input: &Input, number: usize) -> Vec<String> {
    let event = |n: usize| {
        let at = START + Span(n as i64 * STEP.0);
        let mut event = json!({"event_id": n.to_string(), "tenant_id": "acme", "occurred_at": at.to_string()});
        let fields = (input.event)(n, number, at);
        event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        format!("{event}\n")
    };
    (0..number).map(event).collect()
}

/// How the events are processed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// In order.
    InOrder,
    /// With state, of which what is finished is forgotten after some hours.
    Durable,
    /// With state, and one event in a hundred is late.
    Late,
}

impl Form {
    /// How much an event of the last quarter may cost, compared with one of the second quarter. The first quarter, of more
    /// than a day, fills tables up to their bounds.
    fn max_growth(self) -> f64 {
        match self {
            Self::InOrder | Self::Durable => 1.3,
            // A late event undoes some steps of the undo log, which have different lengths.
            Self::Late => 1.8,
        }
    }

    fn lines(self, input: &Input, number: usize) -> Vec<String> {
        let mut lines = events(input, number);
        if self == Self::Late {
            for late in (LATE_EVERY / 2..number.saturating_sub(LATE_BY)).step_by(LATE_EVERY) {
                lines[late..=late + LATE_BY].rotate_left(1);
            }
        }
        // What is no event is reported when it is its turn: so the branches of each quarter can be told apart, and those
        // of the rows at the end.
        for quarter in (1..=4).rev() {
            lines.insert(quarter * number / 4, "-\n".to_owned());
        }
        lines
    }

    /// Replays events. Returns the number of branches taken in each quarter.
    fn run(self, input: &Input, number: usize, norms: &Arc<Norms>) -> (Vec<u64>, Outcome) {
        let durable = self != Self::InOrder;
        let memory = Memory {
            durable,
            retention: (self == Self::Durable).then_some(Span(12 * Span::HOUR.0)),
            ..Memory::default()
        };
        let options = Options {
            norms: Arc::clone(norms),
            timing: Timing { memory, ..Timing::default() },
            workers: 1,
            max_message_bytes: 1 << 18,
            event_limits: EventLimits::default(),
            admission_limits: AdmissionLimits::default(),
            latest: None,
            epoch_messages: 16,
            delivery: if self == Self::Late { Delivery::AsDelivered } else { Delivery::Sorted },
        };
        let files = EventFiles::from_ndjson(self.lines(input, number).concat().into_bytes());
        let mut marks = vec![BRANCHES.load(Ordering::Relaxed)];
        let outcome = replay::replay(files, &options, |_, _, _| marks.push(BRANCHES.load(Ordering::Relaxed)));
        (marks.windows(2).map(|pair| pair[1] - pair[0]).collect(), outcome.expect("a replay"))
    }

    /// What is wrong with an input: it does not do what it is for, or it costs more and more.
    fn problem(self, input: &Input, number: usize, norms: &Arc<Norms>) -> Option<String> {
        let (branches, outcome) = self.run(input, number, norms);
        let &[_, second, _, last] = branches.as_slice() else {
            return Some(format!("{}: {} events were refused", input.name, branches.len() - 4));
        };
        let growth = last as f64 / second as f64;
        let [second, last] = [second, last].map(|branches| 4 * branches / number as u64);
        let line = format!("{self:?}: {}: {second} branches an event, then {last} {growth:.2}", input.name);
        writeln!(io::stderr(), "{line}").expect("standard error");
        let late = if self == Self::Late { (number - LATE_BY) / LATE_EVERY } else { 0 };
        if outcome.applied == 0 || outcome.late < late as u64 {
            Some(format!("{}: {} events took effect, {} were late", input.name, outcome.applied, outcome.late))
        } else if growth > self.max_growth() {
            Some(format!("{}: {second} branches an event, then {last}", input.name))
        } else {
            None
        }
    }
}

/// Checks all inputs with so many times [`EVENTS`] events, or as the environment says.
fn check(form: Form, share: f64) {
    let number = env::var("GROWTH_EVENTS").map_or(EVENTS, |number| number.parse().expect("GROWTH_EVENTS is a number"));
    let only = env::var("GROWTH_INPUT").unwrap_or_default();
    let norms = norms();
    assert!(BRANCHES.load(Ordering::Relaxed) > 0, "branches are not counted: use tests/growth/run");
    let is_due = |input: &&Input| input.name.contains(&only) && (!input.slow || number > EVENTS);
    let inputs = INPUTS.iter().filter(is_due);
    let number = (number as f64 * share) as usize;
    let problems: Vec<String> = inputs.filter_map(|input| form.problem(input, number, &norms)).collect();
    assert!(problems.is_empty(), "{} inputs cost more and more:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn in_order() {
    check(Form::InOrder, 1.0);
}

#[test]
fn late() {
    check(Form::Late, 1.0);
}

#[test]
#[ignore = "takes long"]
fn durable() {
    check(Form::Durable, 1.0);
}

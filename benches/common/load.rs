//! Owns what the benches share: the events of the simulator's load plan and its norms, tiny inputs for test runs, and
//! the hash by which a changed result is seen.
#![allow(dead_code, reason = "each bench takes what it needs")]

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use funnelwatch::codec::Encoding;
use funnelwatch::config;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::norms::Norms;
use funnelwatch::edge::files::EventWriter;
use funnelwatch::sim::{Plan, Simulation, norms_yaml};
use std::fmt::{Debug, Write};
use std::sync::Arc;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much to measure with: much for `cargo bench`, a little among the tests.
pub(crate) fn size(much: usize, little: usize) -> usize {
    let asked = |word: &str| std::env::args().any(|argument| argument == word);
    if asked("--bench") && !asked("--test") { much } else { little }
}

/// The norms of the demonstration, which the load plan lives by.
pub(crate) fn norms() -> Arc<Norms> {
    let document = config::parse_norms("norms", norms_yaml()).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::new(document.norms)
}

/// So many events of eight companies with fifty managers each, a hundred events a second of event time in all.
pub(crate) fn events(count: usize) -> Vec<Event> {
    Simulation::new(Plan::load(7, 8, 50, 100)).take(count).collect()
}

/// The events as a file of theirs would hold them.
pub(crate) fn written(events: &[Event], encoding: Encoding) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = EventWriter::new(&mut bytes, encoding);
    events.iter().for_each(|event| writer.write(event).expect("memory takes everything"));
    writer.finish().expect("memory takes everything");
    bytes
}

/// A group of measurements of so many things at a time.
pub(crate) fn group<'a>(criterion: &'a mut Criterion, name: &str, things: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(things as u64));
    group
}

/// FNV-1a (64 bits) over the text of results.
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    pub(crate) fn add(mut self, result: &impl Debug) -> Self {
        writeln!(self, "{result:?}").expect("a hash takes everything");
        self
    }
}

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = text.bytes().fold(self.0, step);
        Ok(())
    }
}

/// Prints the hash of what a bench computes, and hands it back.
#[expect(clippy::print_stderr, reason = "for whoever runs the bench")]
pub(crate) fn told(name: &str, hash: Hash) -> u64 {
    eprintln!("{name}: result {:016x}", hash.0);
    hash.0
}

/// Numbers that look random and are the same everywhere (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// A number from 0 up to, not including, `end`.
    pub(crate) fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 1) as i64 % end
    }
}

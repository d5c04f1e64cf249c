//! Shared code of the benchmarks: simulated events and their norms, tiny inputs for test runs, and a hash that reveals
//! changed results.
#![allow(dead_code, reason = "each benchmark uses a part of this")]

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use funnelwatch::codec::Encoding;
use funnelwatch::config;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::norms::Norms;
use funnelwatch::edge::files::EventWriter;
use funnelwatch::sim::{Plan, Simulation, norms_yaml};
use std::fmt::{Debug, Write};
use std::sync::Arc;

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The size of an input: `full` for `cargo bench`, `tiny` for `cargo test`.
pub(crate) fn size(full: usize, tiny: usize) -> usize {
    let has_flag = |flag: &str| std::env::args().any(|argument| argument == flag);
    if has_flag("--bench") && !has_flag("--test") { full } else { tiny }
}

/// The norms of the demo, which fit the simulated load.
pub(crate) fn norms() -> Arc<Norms> {
    let document = config::parse_norms("norms", norms_yaml()).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::new(document.norms)
}

/// Simulated events of eight tenants with fifty managers each, a hundred events per second of event time in all.
pub(crate) fn events(count: usize) -> Vec<Event> {
    Simulation::new(Plan::load(7, 8, 50, 100)).take(count).collect()
}

/// The content of a file with these events.
pub(crate) fn encoded(events: &[Event], encoding: Encoding) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = EventWriter::new(&mut bytes, encoding);
    events.iter().for_each(|event| writer.write(event).expect("writing to memory succeeds"));
    writer.finish().expect("writing to memory succeeds");
    bytes
}

/// A benchmark group that processes `elements` per iteration.
pub(crate) fn group<'a>(criterion: &'a mut Criterion, name: &str, elements: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(elements as u64));
    group
}

/// FNV-1a (64 bits) over the debug text of results.
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    pub(crate) fn add(mut self, result: &impl Debug) -> Self {
        writeln!(self, "{result:?}").expect("writing to a hash succeeds");
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

/// Prints and returns the hash of the result of a benchmark.
#[expect(clippy::print_stderr, reason = "output of the benchmark")]
pub(crate) fn print_hash(name: &str, hash: Hash) -> u64 {
    eprintln!("{name}: result {:016x}", hash.0);
    hash.0
}

/// A random number generator with the same sequence on every machine (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// A number from 0 up to, but not including, `end`.
    pub(crate) fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 1) as i64 % end
    }
}

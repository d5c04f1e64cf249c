//! The benchmarks, one mechanism per file. `cargo bench -- NAME` runs those whose name contains NAME; `cargo test` runs
//! all of them with tiny inputs, so that they always compile and run. They are one binary, which a test build links
//! once.

mod calendar;
mod decode;
mod histogram;
#[path = "common/load.rs"]
mod load;
mod path;
mod restore;
mod scrape;
mod shard;

use criterion::{Criterion, criterion_group};

criterion_group!(
    mechanisms,
    calendar::benches,
    decode::benches,
    histogram::benches,
    path::benches,
    restore::benches,
    scrape::benches,
    shard::benches
);

fn main() {
    if !restore::run_child() {
        mechanisms();
        Criterion::default().configure_from_args().final_summary();
    }
}

//! Benchmarks of restoring a shard: speed, memory, and the cost of writing state; with a million open leads that have a
//! phone number and an e-mail address each and wait for their first response.

use crate::load;
use crate::load::Hash;
use criterion::{BatchSize, Criterion};
use funnelwatch::codec::Encoding;
use funnelwatch::codec::state::Records;
use funnelwatch::config;
use funnelwatch::dataflow::epoch::{Batch, ShardStatus};
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::dataflow::state::{RestoreContext, RestoredShard, StateLoader};
use funnelwatch::dataflow::workers;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard::processor::{ShardProgress, SourceProgress, Timing};
use funnelwatch::domain::source::{Offset, ShardId, Source};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::Timestamp;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Leads of one epoch.
const EPOCH: usize = 20_000;

/// Leads of four tenants, one every 7 ms.
fn leads(count: usize) -> Vec<Arc<Batch>> {
    let numbers: Vec<usize> = (0..count).collect();
    numbers.chunks(EPOCH).map(batch).collect()
}

fn batch(numbers: &[usize]) -> Arc<Batch> {
    let mut batch = Batch::new(Source::Files, Some(ShardId(0)), Encoding::Json);
    for lead in numbers {
        let at = Timestamp(1_772_434_800_000 + *lead as i64 * 7);
        let text = format!(
            r#"{{"event_id":"e{lead}","tenant_id":"t{}","occurred_at":"{at}","lead_created":{{"lead_id":"lead-{lead}",
            "manager_id":"m{}","contacts":[{{"phone":"+7912{lead:07}"}},{{"email":"client{lead}@example.com"}}]}}}}"#,
            lead % 4,
            lead % 200
        );
        batch.push(Offset(*lead as i64), None, text.as_bytes());
    }
    Arc::new(batch)
}

fn settings(norms: &Arc<Norms>, durable: bool) -> DataflowSettings {
    let memory = Memory { durable, retention: Some(Memory::default().correction_horizon), ..Memory::default() };
    let timing = Timing { max_future_skew: None, follows_clock: false, memory, ..Timing::default() };
    DataflowSettings::new(Arc::clone(norms), timing)
}

/// Processes the batches; returns the state written and the last status of the shard.
fn run(batches: &[Arc<Batch>], norms: &Arc<Norms>, durable: bool) -> (Vec<Records>, Option<ShardStatus>) {
    let (sender, mut collector, guards) = workers::start(1, settings(norms, durable)).expect("threads");
    let (mut written, mut status) = (Vec::new(), None);
    for (epoch, batch) in (0..).zip(batches) {
        let position = batch.messages.last().map(|message| message.offset.next()).unwrap_or_default();
        let sources = vec![SourceProgress { source: Source::Files, current: false, ended: false, position }];
        let progress = vec![(ShardId(0), ShardProgress { sources, ..ShardProgress::default() })];
        assert!(sender.send(EpochHeader { epoch, progress, ..EpochHeader::default() }, vec![vec![Arc::clone(batch)]]));
        let mut output = collector.next_epoch().expect("workers");
        written.extend(output.state.drain(..).map(|(_, records)| records));
        status = output.shards.pop();
    }
    drop(sender);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    (written, status)
}

fn load_records(written: &[Records]) -> StateLoader {
    let mut loader = StateLoader::default();
    for (key, value) in written.iter().flat_map(Records::iter) {
        loader.push(key, value);
    }
    loader
}

fn restore(loader: StateLoader, norms: &Arc<Norms>) -> RestoredShard {
    let timing = settings(norms, true).timing;
    let (held_memory, read_norms) = (Arc::default(), config::restore_norms as _);
    let context = RestoreContext { norms: Arc::clone(norms), timing, held_memory, read_norms };
    let restored = loader.restore(ShardId(0), &context).unwrap_or_else(|error| panic!("{error}"));
    restored.expect("the shard has state")
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

/// Set for a child process that only restores the shard, to measure memory: this process would reuse memory freed
/// before.
const ALONE: &str = "FUNNELWATCH_RESTORE_ALONE";

/// Restores a shard from a file of length-prefixed keys and values, and prints the resident memory of the process.
#[expect(clippy::print_stdout, reason = "read by the parent process")]
fn measure_alone(file: &str, norms: &Arc<Norms>) {
    let mut loader = StateLoader::default();
    let mut reader = BufReader::new(File::open(file).expect("the file exists"));
    let (mut key, mut value) = (Vec::new(), Vec::new());
    while part(&mut reader, &mut key) && part(&mut reader, &mut value) {
        loader.push(&key, Some(&value));
    }
    let restored = restore(loader, norms);
    println!("{}", resident());
    drop(restored);
}

/// In a child process of this benchmark: measures and returns `true`.
pub(crate) fn run_child() -> bool {
    let file = std::env::var(ALONE);
    file.inspect(|file| measure_alone(file, &norms())).is_ok()
}

fn norms() -> Arc<Norms> {
    let text = "norms: {first_response_late: {within: 8h}}";
    Arc::new(config::parse_norms("norms", text).unwrap_or_else(|problems| panic!("{problems}")).norms)
}

fn part(reader: &mut impl Read, into: &mut Vec<u8>) -> bool {
    let mut length = [0; 4];
    let has_more = reader.read_exact(&mut length).is_ok();
    into.resize(if has_more { u32::from_le_bytes(length) as usize } else { 0 }, 0);
    has_more && reader.read_exact(into).is_ok()
}

fn memory(written: &[Records]) -> usize {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("restore-bench-{}", std::process::id()));
    let mut file = BufWriter::new(File::create(&path).expect("the target folder is writable"));
    for (key, value) in written.iter().flat_map(Records::iter) {
        for part in [key, value.unwrap_or_default()] {
            file.write_all(&(part.len() as u32).to_le_bytes())
                .and_then(|()| file.write_all(part))
                .expect("the disk has space");
        }
    }
    file.flush().expect("the disk has space");
    let mut child = std::process::Command::new(std::env::current_exe().expect("the path of this program"));
    let output = child.env(ALONE, &path).output().expect("a child process");
    std::fs::remove_file(path).expect("the file exists");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

#[expect(clippy::print_stderr, reason = "output of the benchmark")]
pub(crate) fn benches(criterion: &mut Criterion) {
    let norms = norms();
    let batches = leads(load::size(1_000_000, 500));
    let count: usize = batches.iter().map(|batch| batch.messages.len()).sum();
    let (mut written, status) = run(&batches, &norms, true);
    written.extend(status.and_then(|status| status.checkpoint).map(|checkpoint| checkpoint.encode()));
    let bytes: usize = written.iter().map(Records::bytes).sum();
    load::print_hash("restore", Hash::EMPTY.add(&written.iter().map(Records::len).sum::<usize>()).add(&bytes));
    eprintln!(
        "restore: {count} leads, {} bytes of state and {} bytes of resident memory per lead",
        bytes / count,
        memory(&written) / count
    );

    let mut group = load::group(criterion, "restore", count);
    group.sample_size(10);
    group.bench_function("read", |bencher| bencher.iter_with_large_drop(|| load_records(&written)));
    group.bench_function("restore", |bencher| {
        bencher.iter_batched(|| load_records(&written), |read| restore(read, &norms), BatchSize::PerIteration);
    });
    group.bench_function("process with state", |bencher| {
        bencher.iter_with_large_drop(|| run(&batches, &norms, true));
    });
    group.bench_function("process without state", |bencher| {
        bencher.iter_with_large_drop(|| run(&batches, &norms, false));
    });
    group.finish();
}

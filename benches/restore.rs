//! How fast a shard comes back from its state, how much memory it takes, and what keeping the state costs: a million open
//! leads with a phone and an address each, all waiting for their first response.

#[path = "common/load.rs"]
mod load;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use funnelwatch::codec::Encoding;
use funnelwatch::codec::state::Records;
use funnelwatch::config;
use funnelwatch::dataflow::epoch::{Batch, EpochHeader, ShardStatus};
use funnelwatch::dataflow::state::{RestoreContext, RestoredShard, StateLoader};
use funnelwatch::dataflow::workers::{DataflowSettings, Workers};
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard_processor::{ShardProgress, Source, SourceProgress, Timing};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::Timestamp;
use load::Hash;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Leads of one epoch.
const EPOCH: usize = 20_000;

/// So many leads of four companies, one every 7 ms.
fn leads(count: usize) -> Vec<Arc<Batch>> {
    let numbers: Vec<usize> = (0..count).collect();
    numbers.chunks(EPOCH).map(batch).collect()
}

fn batch(numbers: &[usize]) -> Arc<Batch> {
    let mut batch = Batch::new(Source::Files, Some(0), Encoding::Json);
    for lead in numbers {
        let at = Timestamp(1_772_434_800_000 + *lead as i64 * 7);
        let text = format!(
            r#"{{"event_id":"e{lead}","tenant_id":"t{}","occurred_at":"{at}","lead_created":{{"lead_id":"lead-{lead}",
            "manager_id":"m{}","contacts":[{{"phone":"+7912{lead:07}"}},{{"email":"client{lead}@example.com"}}]}}}}"#,
            lead % 4,
            lead % 200
        );
        batch.push(*lead as i64, None, text.as_bytes());
    }
    Arc::new(batch)
}

fn settings(norms: &Arc<Norms>, durable: bool) -> DataflowSettings {
    let memory = Memory { durable, retention: Some(Memory::default().correction_horizon), ..Memory::default() };
    let timing = Timing { max_future_skew: None, follows_clock: false, memory, ..Timing::default() };
    DataflowSettings::new(Arc::clone(norms), timing)
}

/// What is written of a shard that takes in these.
fn run(batches: &[Arc<Batch>], norms: &Arc<Norms>, durable: bool) -> (Vec<Records>, Option<ShardStatus>) {
    let (supply, mut gather, guards) = Workers::start(1, settings(norms, durable)).expect("threads").split();
    let (mut written, mut mark) = (Vec::new(), None);
    for (epoch, batch) in (0..).zip(batches) {
        let position = batch.messages.last().map_or(0, |message| message.offset + 1);
        let sources = vec![SourceProgress { source: Source::Files, idle: false, position }];
        let progress = vec![(0, ShardProgress { sources, ..ShardProgress::default() })];
        assert!(supply.send(EpochHeader { epoch, progress, ..EpochHeader::default() }, vec![vec![Arc::clone(batch)]]));
        let mut made = gather.gather().expect("workers");
        written.extend(made.state.drain(..).map(|(_, records)| records));
        mark = made.shards.pop();
    }
    drop(supply);
    guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    (written, mark)
}

fn gather(written: &[Records]) -> StateLoader {
    let mut gathering = StateLoader::default();
    for (key, value) in written.iter().flat_map(Records::iter) {
        gathering.push(key, value);
    }
    gathering
}

fn restore(gathering: StateLoader, norms: &Arc<Norms>) -> RestoredShard {
    let plan = RestoreContext { norms: Arc::clone(norms), timing: settings(norms, true).timing };
    let rebuilt = gathering.restore(0, &plan).unwrap_or_else(|error| panic!("{error}"));
    rebuilt.expect("there is state")
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

/// A process of its own in which there is nothing but the shard: here memory that was used before would be used again.
const ALONE: &str = "FUNNELWATCH_RESTORE_ALONE";

/// Rebuilds a shard from records in a file, each part with its length before it, and prints what the process takes.
#[expect(clippy::print_stdout, reason = "for the process that started this one")]
fn alone(file: &str, norms: &Arc<Norms>) {
    let mut gathering = StateLoader::default();
    let mut reader = BufReader::new(File::open(file).expect("the file is there"));
    let (mut key, mut value) = (Vec::new(), Vec::new());
    while part(&mut reader, &mut key) && part(&mut reader, &mut value) {
        gathering.push(&key, Some(&value));
    }
    let rebuilt = restore(gathering, norms);
    println!("{}", resident());
    drop(rebuilt);
}

fn part(reader: &mut impl Read, into: &mut Vec<u8>) -> bool {
    let mut length = [0; 4];
    let there = reader.read_exact(&mut length).is_ok();
    into.resize(if there { u32::from_le_bytes(length) as usize } else { 0 }, 0);
    there && reader.read_exact(into).is_ok()
}

fn memory(written: &[Records]) -> usize {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("restore-bench-{}", std::process::id()));
    let mut file = BufWriter::new(File::create(&path).expect("the target folder takes files"));
    for (key, value) in written.iter().flat_map(Records::iter) {
        for part in [key, value.unwrap_or_default()] {
            file.write_all(&(part.len() as u32).to_le_bytes())
                .and_then(|()| file.write_all(part))
                .expect("a full disk");
        }
    }
    file.flush().expect("a full disk");
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
    let output = child.env(ALONE, &path).output().expect("a second process");
    std::fs::remove_file(path).expect("the file is there");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

#[expect(clippy::print_stderr, reason = "for whoever runs the bench")]
fn benches(criterion: &mut Criterion) {
    let text = "norms: {first_response_late: {within: 8h}}";
    let norms = config::parse_norms("norms", text).unwrap_or_else(|problems| panic!("{problems}")).norms;
    let norms = Arc::new(norms);
    if let Ok(file) = std::env::var(ALONE) {
        return alone(&file, &norms);
    }
    let batches = leads(load::size(1_000_000, 500));
    let count: usize = batches.iter().map(|batch| batch.messages.len()).sum();
    let (mut written, mark) = run(&batches, &norms, true);
    written.extend(mark.map(|mark| mark.checkpoint));
    let bytes: usize = written.iter().map(Records::bytes).sum();
    load::told("restore", Hash::EMPTY.add(&written.iter().map(Records::len).sum::<usize>()).add(&bytes));
    eprintln!(
        "restore: {count} leads, {} bytes of state each; a process that holds nothing else takes {} bytes of memory each",
        bytes / count,
        memory(&written) / count
    );

    let mut group = load::group(criterion, "restore", count);
    group.sample_size(10);
    group.bench_function("read", |bencher| bencher.iter_with_large_drop(|| gather(&written)));
    group.bench_function("rebuild", |bencher| {
        bencher.iter_batched(|| gather(&written), |read| restore(read, &norms), BatchSize::PerIteration);
    });
    group.bench_function("take in, keeping state", |bencher| {
        bencher.iter_with_large_drop(|| run(&batches, &norms, true));
    });
    group.bench_function("take in, keeping none", |bencher| {
        bencher.iter_with_large_drop(|| run(&batches, &norms, false));
    });
    group.finish();
}

criterion_group!(restore_benches, benches);
criterion_main!(restore_benches);

//! End-to-end throughput: from bytes through the dataflow to alerts and rows, with NDJSON in memory and a file of
//! protobuf records (in the page cache), with one and two workers. All four must produce the same result.

use crate::load;
use crate::load::Hash;
use criterion::{BatchSize, Criterion};
use funnelwatch::codec::{Encoding, EventLimits};
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard::admission::AdmissionLimits;
use funnelwatch::domain::shard::processor::Timing;
use funnelwatch::edge::files::EventFiles;
use funnelwatch::edge::replay::{Delivery, EPOCH_MESSAGES, Options, Outcome, replay};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

fn run(files: EventFiles, norms: &Arc<Norms>, workers: usize) -> Outcome {
    let norms = Arc::clone(norms);
    let (timing, delivery) = (Timing::default(), Delivery::Sorted);
    let (event_limits, admission_limits) = (EventLimits::default(), AdmissionLimits::default());
    let options = Options {
        norms,
        timing,
        workers,
        max_message_bytes: 1 << 20,
        event_limits,
        admission_limits,
        latest: None,
        delivery,
        epoch_messages: EPOCH_MESSAGES,
    };
    replay(files, &options, |file, line, rejected| panic!("{file}:{line}: {:?}", rejected.reject))
        .expect("the replay succeeds")
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let norms = load::norms();
    let events = load::events(load::size(200_000, 500));
    let ndjson = load::encoded(&events, Encoding::Json);
    let records = records_file(&load::encoded(&events, Encoding::Protobuf));
    let open = |encoding| match encoding {
        Encoding::Json => EventFiles::from_ndjson(ndjson.clone()),
        _ => EventFiles::open(std::slice::from_ref(&records), &Arc::new(AtomicU64::new(0))).expect("the file exists"),
    };
    let mut expected = None;
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        for workers in [1, 2] {
            let name = format!("path/{}/{workers}", encoding.name());
            let outcome = run(open(encoding), &norms, workers);
            assert_eq!(outcome.applied, events.len() as u64, "{name}");
            let hash = load::print_hash(&name, Hash::EMPTY.add(&outcome.alerts).add(&outcome.rows));
            assert_eq!(*expected.get_or_insert(hash), hash, "{name} differs from the previous result");
        }
    }
    let mut group = load::group(criterion, "path", events.len());
    group.sample_size(10);
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        for workers in [1, 2] {
            group.bench_function(format!("{}/{workers}", encoding.name()), |bencher| {
                bencher.iter_batched(|| open(encoding), |files| run(files, &norms, workers), BatchSize::PerIteration);
            });
        }
    }
    group.finish();
    std::fs::remove_file(records).expect("the file exists");
}

/// Writes protobuf records to a file; the extension determines the format.
fn records_file(bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("path-bench-{}.pb", std::process::id()));
    std::fs::write(&path, bytes).expect("the target folder is writable");
    path
}

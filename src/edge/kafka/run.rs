//! Owns the start of a run: creates its clients and parts, in the order that exactly-once requires.

use super::client;
use super::commit::transaction::{self, TRANSACTION_TIMEOUT};
use super::commit::{self, Summary};
use super::control::{NormsHandle, Stop};
use super::error::RunError;
use super::event::{Observer, RuntimeEvent};
use super::ingest;
use super::ingest::group_member::GroupMember;
use super::ingest::once::BoundedRun;
use super::part::Waker;
use super::patience::Patience;
use super::restarts::Restarts;
use super::restore;
use super::source_logs::SourceLogs;
use super::supervisor::Supervisor;
use super::topics;
use super::watch;
use crate::config::Config;
use crate::dataflow::settings::DataflowSettings;
use crate::dataflow::workers;
use crate::domain::shard::spill::HeldMemory;
use crate::edge::memory::MemoryBudget;
use crate::edge::spill::TemporaryEvents;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// The memory for held events, in bytes; the others are in a temporary file.
const HELD_MEMORY: usize = 128 << 20;

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At a stop request.
    Live,
    /// At the end offsets found at the start; then event time advances to `until` or to the last event.
    Once,
}

/// Reads, processes and commits until `stop` is set or, with [`Mode::Once`], everything is read. `norms_handle`
/// supplies norms that replace those of `settings`.
///
/// A live run waits for brokers and topics without limit. If its clients fail, it starts again with new ones and restores its
/// shards; not if another process has its `transactional_id`, and only a few times in a row. The counts are those since the
/// last start.
///
/// `settings.shards` is overwritten with the partition count of the source topics. Blocks the calling thread.
///
/// *Alternative considered*: to end the process and leave the restart to Kubernetes. Its back-off grows to five minutes, which
/// is how long nobody would read after an outage of Kafka.
pub fn run(
    config: &Config,
    mut settings: DataflowSettings,
    mode: Mode,
    stop: &Stop,
    norms_handle: NormsHandle,
    observer: Arc<Observer>,
) -> Result<Summary, RunError> {
    let mut restarts = Restarts::default();
    loop {
        let handles = (norms_handle.clone(), Arc::clone(&observer));
        let error = match start(config, settings.clone(), mode, stop, handles) {
            Err(error) if mode == Mode::Live => error,
            ended => return ended,
        };
        restarts.after(error, config, (stop, &observer), || {
            settings.live_state.clear();
            settings.known = Arc::default();
            if let Some(norms) = norms_handle.last() {
                settings.norms = norms;
            }
        })?;
    }
}

/// Starts the parts of a run, and waits until they have ended.
fn start(
    config: &Config,
    mut settings: DataflowSettings,
    mode: Mode,
    stop: &Stop,
    (norms_handle, observer): (NormsHandle, Arc<Observer>),
) -> Result<Summary, RunError> {
    let mut patience = match mode {
        Mode::Live => Patience::observed(stop, &observer),
        Mode::Once => Patience::limited(stop),
    };
    let memory = MemoryBudget::detect();
    observer.emit(RuntimeEvent::MemoryLimit(memory.limit()));
    let admin = client::admin(&config.kafka)?;
    let Some(shards) = topics::shards(admin.inner(), config, &mut patience)? else { return Ok(Summary::default()) };
    observer.emit(RuntimeEvent::Shards(shards));
    let record_bytes = topics::record_bytes(&admin, config)?;
    settings.max_message_bytes = message_bytes(settings.max_message_bytes, record_bytes);
    let producer = client::transactional(&config.kafka, memory, TRANSACTION_TIMEOUT, record_bytes)?;
    // Before joining the group: this aborts a transaction that a previous process with the same transactional id left
    // open; until it ends, the committed offsets are unavailable.
    if !transaction::init(&producer, &mut patience)? {
        return Ok(Summary::default());
    }
    observer.emit(RuntimeEvent::Waiting(None));
    let once = mode == Mode::Once;
    settings.shards = shards;
    settings.timing.memory.durable = true;
    // The result of a backfill must not depend on when it runs.
    settings.timing.follows_clock &= !once;
    settings.held_memory = Arc::new(HeldMemory::new(memory.part(8, HELD_MEMORY), Box::<TemporaryEvents>::default()));
    settings.max_output = config.engine.transaction_bytes;
    let held = (settings.timing, memory, Arc::clone(&settings.held_memory));
    let norms = (Arc::clone(&settings.norms), norms_handle);
    let latest = Arc::clone(&settings.latest);
    let bounded = once.then_some(BoundedRun { until: held.0.until, latest, rerouted: false });

    let failed = |reason| RunError::Thread("workers", reason);
    let (input, outputs, threads) = workers::start(config.engine.workers, settings).map_err(failed)?;
    let threads = ManuallyDrop::new(threads);
    let waker = Waker::default();
    let logs = SourceLogs::new(config, admin.inner(), Arc::clone(&observer));
    let group = GroupMember::new((config, memory), shards, logs.clone(), waker.clone(), Arc::clone(&observer))?;
    let consumer = Arc::clone(&group.consumer);
    let (commit_part, commit) = commit::spawn(
        (config, shards, record_bytes),
        producer,
        outputs,
        consumer,
        waker.clone(),
        Arc::clone(&observer),
    )?;
    let (restore_part, restore) = restore::spawn(config, held, logs.clone(), waker.clone(), Arc::clone(&observer))?;
    let watch = watch::spawn(config, shards, logs, waker)?;
    let heartbeat = Arc::clone(&commit.heartbeat);
    let ingest = ingest::spawn(
        (config, memory),
        group,
        (input, commit, restore, watch),
        norms,
        bounded,
        stop.clone(),
        observer,
    )?;
    Supervisor { ingest, commit: commit_part, restore: restore_part, workers: threads, heartbeat, stop: stop.clone() }
        .supervise()
}

/// What a record of an event contains besides the event: ids of the tenant and the event, headers, framing.
const RECORD_ROOM: usize = 16 << 10;

/// The largest message that is decoded: the record of an applied event, and a rerouted message, are not much larger.
fn message_bytes(configured: usize, record_bytes: usize) -> usize {
    let fitting = record_bytes.saturating_sub(RECORD_ROOM);
    if configured > fitting {
        tracing::warn!(
            "engine.max_message_bytes is {configured}, but the topics take records of at most {record_bytes} bytes: \
             messages of more than {fitting} bytes become dead letters"
        );
    }
    configured.min(fitting)
}

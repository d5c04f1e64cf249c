//! The replay: files in; alerts, review requests and figures out. It runs the same dataflow as the live processor,
//! without Kafka and without a wall clock.
//!
//! Every tenant has its own shard here (except for rare hash collisions), so tenants may follow one another in the
//! files. Epochs are cut by number of messages, so the output depends only on the files.
//!
//! **Order.** Most files are in order, and only the workers decode. So the files are replayed as they stand, and if an
//! event turns out to be late, that replay is abandoned and the sorted events are replayed ([`Delivery::Sorted`]).
//! *Alternatives considered*: to look for the order first reads every file twice; to look for it while reading decodes
//! every event twice.
//!
//! Two sets of norms can be applied to the same files side by side ([`replay_both`]); [`compare`] finds the
//! differences, [`report`] formats them.

pub mod compare;
mod refusals;
pub mod report;

pub use refusals::{Refusal, Refusals};

use super::files::{Branch, EventFiles, EventStream, ReadError, file_and_line};
use crate::codec::EventLimits;
use crate::dataflow::epoch::{Batch, EpochOutput, RejectedMessage, UnlistedStage};
use crate::dataflow::messages::EpochHeader;
use crate::dataflow::settings::DataflowSettings;
use crate::dataflow::workers::{self, EpochSender};
use crate::domain::alert::Alert;
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repair;
use crate::domain::figures::row::Row;
use crate::domain::norms::Norms;
use crate::domain::review::ReviewRequest;
use crate::domain::shard::admission::AdmissionLimits;
use crate::domain::shard::processor::{ShardProgress, SourceProgress, Timing};
use crate::domain::source::Source;
use crate::domain::time::{Span, Timestamp};
use crossbeam_channel::{Receiver, unbounded};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The usual number of messages per epoch: many, since latency does not matter here.
pub const EPOCH_MESSAGES: usize = 16_384;
/// Batches per epoch, distributed over the workers.
const EPOCH_PARTS: usize = 16;
/// Maximum number of epochs that are read and not yet processed.
const EPOCHS_IN_FLIGHT: usize = 4;
/// Maximum number of unlisted stages and days that are kept: the earliest ones.
const MAX_UNLISTED: usize = 10_000;
/// Far more shards than tenants.
const SHARDS: u32 = 1 << 20;

/// How to replay.
#[derive(Clone, Debug)]
pub struct Options {
    /// The norms.
    pub norms: Arc<Norms>,
    /// Event-time settings; `until` is the end of the replay, by default the last event.
    pub timing: Timing,
    /// Worker threads.
    pub workers: usize,
    /// Larger messages are rejected.
    pub max_message_bytes: usize,
    /// The bounds on what one event may contain.
    pub event_limits: EventLimits,
    /// How many tenants, managers and departments may be known.
    pub admission_limits: AdmissionLimits,
    /// Later events are rejected, as dated in the future; `None`: none.
    pub latest: Option<Timestamp>,
    /// The order of the events.
    pub delivery: Delivery,
    /// Messages per epoch, usually [`EPOCH_MESSAGES`]. The watermark moves once per epoch, so as they are delivered, an
    /// event can be late only if an earlier epoch has passed it.
    pub epoch_messages: usize,
}

impl Options {
    /// Messages per batch.
    fn batch_messages(&self) -> usize {
        (self.epoch_messages / EPOCH_PARTS).max(1)
    }
}

/// The order in which events are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// By event time, whatever their order in the files: no event is late.
    Sorted,
    /// As they stand in the files, which are merged by event time: late events are corrections.
    AsDelivered,
    /// In a random order within the allowed lateness, by this seed.
    Shuffled(u64),
}

/// The output of a replay.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Event time of the earliest event.
    pub since: Option<Timestamp>,
    /// Event time at the end, which the rows are of.
    pub until: Option<Timestamp>,
    /// All alert statuses in the order in which they are emitted: by watermark step, tenant, order of effect. Sorted
    /// events move the watermark instant by instant; otherwise an epoch is a step.
    pub alerts: Vec<Alert>,
    /// All review requests, in order of event time.
    pub reviews: Vec<ReviewRequest>,
    /// All rows at the end.
    pub rows: Vec<Row>,
    /// Applied events.
    pub applied: u64,
    /// Duplicate events.
    pub duplicates: u64,
    /// Late events.
    pub late: u64,
    /// Rejected messages.
    pub refusals: Refusals,
    /// Events with repairs, by reason.
    pub repaired: BTreeMap<Repair, u64>,
    /// The stages that entities entered and that no pipeline of the norms lists, with the day.
    pub unlisted: BTreeSet<UnlistedStage>,
}

/// A replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A worker thread could not be started, or panicked.
    #[error("replay: {0}")]
    Workers(String),
    /// An event was late in a replay that sorts.
    #[error("the events are not in order")]
    OutOfOrder,
}

/// A source of batches in replay order.
pub trait Batches: Send + 'static {
    /// The next batch; `None` at the end.
    fn next(&mut self) -> Result<Option<Arc<Batch>>, ReadError>;
}

/// Batches of so many messages.
impl Batches for (EventStream, usize) {
    fn next(&mut self) -> Result<Option<Arc<Batch>>, ReadError> {
        Ok(self.0.batch(self.1)?.map(Arc::new))
    }
}

impl Batches for Branch {
    fn next(&mut self) -> Result<Option<Arc<Batch>>, ReadError> {
        self.batch()
    }
}

/// Replays `files` twice, side by side: both replays get the same messages, read and kept in memory once. `on_rejected`
/// is called for the messages that the second replay rejects; the first rejects the same.
///
/// They must have the same delivery.
pub fn replay_both(
    files: EventFiles,
    [first, second]: [&Options; 2],
    mut on_rejected: impl FnMut(usize, u64, &RejectedMessage),
) -> Result<[Outcome; 2], ReplayError> {
    deliver(files, second, |stream| {
        let [first_branch, second_branch] = stream.fork(second.batch_messages());
        std::thread::scope(|scope| {
            let first_thread = scope.spawn(|| run(first_branch, first, |_, _, _| {}));
            let second = run(second_branch, second, &mut on_rejected);
            let first = first_thread.join().map_err(|_| ReplayError::Workers("a replay panicked".into()))?;
            Ok([first?, second?])
        })
    })
}

/// Replays `files`; `on_rejected` is called for every rejected message, with its file index and line; twice for some
/// messages if the events must be sorted.
pub fn replay(
    files: EventFiles,
    options: &Options,
    mut on_rejected: impl FnMut(usize, u64, &RejectedMessage),
) -> Result<Outcome, ReplayError> {
    deliver(files, options, |stream| run((stream, options.batch_messages()), options, &mut on_rejected))
}

/// Calls `run` with the events in the order that the options require: a second time if they turn out to need sorting.
fn deliver<T>(
    mut files: EventFiles,
    options: &Options,
    mut run: impl FnMut(EventStream) -> Result<T, ReplayError>,
) -> Result<T, ReplayError> {
    match options.delivery {
        Delivery::AsDelivered => run(files.stream()?),
        Delivery::Shuffled(seed) => run(files.shuffled(seed, options.timing.allowed_lateness)?),
        Delivery::Sorted => {
            files.keep()?;
            match run(files.stream()?) {
                Err(ReplayError::OutOfOrder) => {
                    tracing::info!("the events are not in the order of their times: sorting them");
                    run(files.sorted()?)
                }
                result => result,
            }
        }
    }
}

/// Replays one reading of the files.
fn run(
    files: impl Batches,
    options: &Options,
    mut on_rejected: impl FnMut(usize, u64, &RejectedMessage),
) -> Result<Outcome, ReplayError> {
    let sorted = options.delivery == Delivery::Sorted;
    let lateness = options.timing.allowed_lateness;
    let timing = Timing {
        max_future_skew: options.latest.map(|_| Span::ZERO),
        follows_clock: false,
        ignores_marks: options.delivery != Delivery::AsDelivered,
        // Nothing is held for long: the files are read to their end.
        max_held: None,
        // No epoch then ends within an instant.
        allowed_lateness: if sorted { lateness.max(Span(1)) } else { lateness },
        ..options.timing
    };
    let settings = DataflowSettings {
        shards: SHARDS,
        max_message_bytes: options.max_message_bytes,
        event_limits: options.event_limits,
        admission_limits: options.admission_limits.clone(),
        ..DataflowSettings::new(Arc::clone(&options.norms), timing)
    };
    let (latest, earliest) = (Arc::clone(&settings.latest), Arc::clone(&settings.earliest));
    let (supply, mut collector, guards) = workers::start(options.workers, settings).map_err(ReplayError::Workers)?;
    let (completed, in_flight) = unbounded();
    let (until, wall) = (options.timing.until, options.latest.unwrap_or_default());
    let reader = std::thread::spawn(move || {
        let last_event = || Some(latest.load(Ordering::Relaxed)).filter(|at| *at > i64::MIN).map(Timestamp);
        supply_epochs(files, wall, &supply, InFlight::new(in_flight), || until.or_else(last_event))
    });
    let mut outcome = Outcome::default();
    let mut out_of_order = false;
    while let Some(output) = collector.next_epoch() {
        let closing = output.closing;
        outcome.absorb(output, &mut on_rejected);
        out_of_order = sorted && (outcome.late > 0 || outcome.refusals.of(Reason::TooLate) > 0);
        if closing || out_of_order {
            break;
        }
        let _ = completed.send(());
    }
    drop(completed);
    let read = reader.join().map_err(|_| ReplayError::Workers("the reading thread panicked".into()))?;
    drop(guards);
    outcome.until = read?;
    if out_of_order {
        return Err(ReplayError::OutOfOrder);
    }
    outcome.since = Some(earliest.load(Ordering::Relaxed)).filter(|at| *at < i64::MAX).map(Timestamp);
    outcome.reviews.sort_by(|a, b| (a.requested_at, &a.tenant).cmp(&(b.requested_at, &b.tenant)));
    outcome.rows.sort_by(|a, b| (&a.tenant, &a.subject).cmp(&(&b.tenant, &b.subject)));
    if sorted {
        outcome.sort_alerts_by_time();
    }
    Ok(outcome)
}

/// Reads `files` into epochs, closes the shards at the time that `end` returns once all events are processed, and
/// returns that time. Stops early if nobody waits for the epochs.
fn supply_epochs(
    mut files: impl Batches,
    wall: Timestamp,
    supply: &EpochSender,
    mut in_flight: InFlight,
    end: impl Fn() -> Option<Timestamp>,
) -> Result<Option<Timestamp>, ReadError> {
    let workers = supply.workers();
    let progress =
        ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
    let header = |epoch, progress| EpochHeader { epoch, wall, other_shards: Some(progress), ..EpochHeader::default() };
    let mut epoch = 0;
    loop {
        let mut batches = vec![Vec::new(); workers];
        for part in 0..EPOCH_PARTS {
            batches[part % workers].extend(files.next()?);
        }
        if batches.iter().all(Vec::is_empty) {
            break;
        }
        if in_flight.wait_for_fewer_than(EPOCHS_IN_FLIGHT).is_none() {
            return Ok(None);
        }
        in_flight.epochs += 1;
        supply.send(header(epoch, progress.clone()), batches);
        epoch += 1;
    }
    if in_flight.wait_for_fewer_than(1).is_none() {
        return Ok(None);
    }
    let end = end();
    supply.send(header(epoch, ShardProgress { close: Some(end.unwrap_or(Timestamp::MIN)), ..progress }), Vec::new());
    Ok(end)
}

/// The epochs that are read and not yet processed.
struct InFlight {
    epochs: usize,
    completed: Receiver<()>,
}

impl InFlight {
    fn new(completed: Receiver<()>) -> Self {
        Self { epochs: 0, completed }
    }

    /// Waits until there are fewer than so many; `None`: the replay was abandoned.
    fn wait_for_fewer_than(&mut self, epochs: usize) -> Option<()> {
        while self.epochs >= epochs {
            self.completed.recv().ok()?;
            self.epochs -= 1;
        }
        Some(())
    }
}

impl Outcome {
    /// Number of messages read.
    pub fn messages(&self) -> u64 {
        self.applied + self.duplicates + self.refusals.total()
    }

    /// Whether there were messages and none of them could be read.
    pub fn is_unreadable(&self) -> bool {
        self.since.is_none() && self.refusals.total() > 0
    }

    /// Sorts the alerts by their instant and tenant; those of one tenant stay in the order in which they are emitted.
    pub fn sort_alerts_by_time(&mut self) {
        self.alerts.sort_by(|a, b| (a.at, &a.tenant).cmp(&(b.at, &b.tenant)));
    }

    fn absorb(&mut self, mut output: EpochOutput, on_rejected: &mut impl FnMut(usize, u64, &RejectedMessage)) {
        // Corrections come first: they concern what was published before.
        output.alerts.sort_by(|a, b| (&a.tenant, a.at).cmp(&(&b.tenant, b.at)));
        self.alerts.append(&mut output.alerts);
        self.reviews.extend(output.reviews);
        self.rows.extend(output.rows);
        self.unlisted.extend(output.unlisted);
        while self.unlisted.len() > MAX_UNLISTED {
            self.unlisted.pop_last();
        }
        for mark in output.shards {
            self.applied += mark.counts.applied.iter().sum::<u64>();
            self.duplicates += mark.counts.duplicates;
            self.late += mark.counts.late;
        }
        for (repair, n) in output.repaired {
            *self.repaired.entry(repair).or_default() += n;
        }
        for rejected in output.rejected {
            let offset = rejected.batch.offset(rejected.message);
            self.refusals.add(offset, &rejected.reject);
            let (file, line) = file_and_line(offset);
            on_rejected(file, line, &rejected);
        }
    }
}

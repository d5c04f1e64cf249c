//! The replay: files in; alerts, review requests and figures out. It runs the same dataflow as the live processor,
//! without Kafka and without a wall clock.
//!
//! Every tenant has its own shard here (except for rare hash collisions), so tenants may follow one another in the
//! files. Epochs are cut by number of messages, so the output depends only on the files.
//!
//! Two sets of norms can be applied to the same files side by side ([`replay_both`]); [`compare`] finds the
//! differences, [`report`] formats them.

pub mod compare;
pub mod report;

use super::files::{Branch, EventFiles, ReadError, file_and_line};
use crate::dataflow::epoch::{Batch, EpochOutput, RejectedMessage, put_in_order};
use crate::dataflow::messages::EpochHeader;
use crate::dataflow::settings::DataflowSettings;
use crate::dataflow::workers::{self, EpochSender};
use crate::domain::alert::Alert;
use crate::domain::event::reject::Reason;
use crate::domain::figures::row::Row;
use crate::domain::norms::Norms;
use crate::domain::review::ReviewRequest;
use crate::domain::shard::processor::{ShardProgress, SourceProgress, Timing};
use crate::domain::source::Source;
use crate::domain::time::Timestamp;
use crossbeam_channel::{Sender, bounded};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Messages per epoch: many, since latency does not matter here.
const EPOCH_MESSAGES: usize = 16_384;
/// Batches per epoch, distributed over the workers.
const EPOCH_PARTS: usize = 16;
/// Maximum number of epochs that are read and not yet processed.
const EPOCHS_IN_FLIGHT: usize = 4;
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
}

/// The output of a replay.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Event time of the earliest event.
    pub since: Option<Timestamp>,
    /// Event time at the end, which the rows are of.
    pub until: Option<Timestamp>,
    /// All alert statuses, in order of event time.
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
    /// Rejected messages by reason.
    pub rejected: BTreeMap<Reason, u64>,
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
}

/// A source of batches in replay order.
pub trait Batches: Send + 'static {
    /// The next batch; `None` at the end.
    fn next(&mut self) -> Result<Option<Arc<Batch>>, ReadError>;
}

impl Batches for EventFiles {
    fn next(&mut self) -> Result<Option<Arc<Batch>>, ReadError> {
        Ok(self.batch(EPOCH_MESSAGES / EPOCH_PARTS)?.map(Arc::new))
    }
}

impl Batches for Branch {
    fn next(&mut self) -> Result<Option<Arc<Batch>>, ReadError> {
        self.batch()
    }
}

/// Replays `files` twice, side by side: both replays get the same messages, read and kept in memory once. `on_rejected`
/// is called for the messages that the second replay rejects; the first rejects the same.
pub fn replay_both(
    files: EventFiles,
    [first, second]: [&Options; 2],
    on_rejected: impl FnMut(usize, u64, &RejectedMessage),
) -> Result<[Outcome; 2], ReplayError> {
    let [first_branch, second_branch] = files.fork(EPOCH_MESSAGES / EPOCH_PARTS);
    std::thread::scope(|scope| {
        let first_thread = scope.spawn(|| replay(first_branch, first, |_, _, _| {}));
        let second = replay(second_branch, second, on_rejected);
        let first = first_thread.join().map_err(|_| ReplayError::Workers("a replay panicked".into()))?;
        Ok([first?, second?])
    })
}

/// Replays `files`; `on_rejected` is called for every rejected message, with its file index and line.
pub fn replay(
    files: impl Batches,
    options: &Options,
    mut on_rejected: impl FnMut(usize, u64, &RejectedMessage),
) -> Result<Outcome, ReplayError> {
    let timing = Timing { max_future_skew: None, follows_clock: false, ..options.timing };
    let settings = DataflowSettings {
        shards: SHARDS,
        max_message_bytes: options.max_message_bytes,
        ..DataflowSettings::new(Arc::clone(&options.norms), timing)
    };
    let (latest, earliest) = (Arc::clone(&settings.latest), Arc::clone(&settings.earliest));
    let (supply, mut collector, guards) = workers::start(options.workers, settings).map_err(ReplayError::Workers)?;
    let (in_flight, completed) = bounded(EPOCHS_IN_FLIGHT);
    let until = options.timing.until;
    let reader = std::thread::spawn(move || {
        let last_event = || Some(latest.load(Ordering::Relaxed)).filter(|at| *at > i64::MIN).map(Timestamp);
        supply_epochs(files, &supply, &in_flight, || until.or_else(last_event))
    });
    let mut outcome = Outcome::default();
    while let Some(output) = collector.next_epoch() {
        let closing = output.closing;
        outcome.absorb(output, &mut on_rejected);
        if closing {
            break;
        }
        let _ = completed.recv();
    }
    let read = reader.join().map_err(|_| ReplayError::Workers("the reading thread panicked".into()))?;
    drop(guards);
    outcome.until = read?;
    outcome.since = Some(earliest.load(Ordering::Relaxed)).filter(|at| *at < i64::MAX).map(Timestamp);
    put_in_order(&mut outcome.alerts, &mut outcome.reviews, &mut outcome.rows);
    Ok(outcome)
}

/// Reads `files` into epochs, closes the shards at the time that `end` returns once all events are processed, and
/// returns that time.
fn supply_epochs(
    mut files: impl Batches,
    supply: &EpochSender,
    in_flight: &Sender<()>,
    end: impl Fn() -> Option<Timestamp>,
) -> Result<Option<Timestamp>, ReadError> {
    let workers = supply.workers();
    let progress =
        ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
    let header = |epoch, progress| EpochHeader { epoch, other_shards: Some(progress), ..EpochHeader::default() };
    let mut epoch = 0;
    loop {
        let mut batches = vec![Vec::new(); workers];
        for part in 0..EPOCH_PARTS {
            batches[part % workers].extend(files.next()?);
        }
        if batches.iter().all(Vec::is_empty) || in_flight.send(()).is_err() {
            break;
        }
        supply.send(header(epoch, progress.clone()), batches);
        epoch += 1;
    }
    while !in_flight.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let end = end();
    supply.send(header(epoch, ShardProgress { close: Some(end.unwrap_or(Timestamp::MIN)), ..progress }), Vec::new());
    Ok(end)
}

impl Outcome {
    /// Number of messages read.
    pub fn messages(&self) -> u64 {
        self.applied + self.duplicates + self.rejected.values().sum::<u64>()
    }

    fn absorb(&mut self, output: EpochOutput, on_rejected: &mut impl FnMut(usize, u64, &RejectedMessage)) {
        self.alerts.extend(output.alerts);
        self.reviews.extend(output.reviews);
        self.rows.extend(output.rows);
        for mark in output.shards {
            self.applied += mark.counts.applied.iter().sum::<u64>();
            self.duplicates += mark.counts.duplicates;
            self.late += mark.counts.late;
        }
        for rejected in output.rejected {
            *self.rejected.entry(rejected.reject.reason).or_default() += 1;
            let (file, line) = file_and_line(rejected.batch.offset(rejected.message));
            on_rejected(file, line, &rejected);
        }
    }
}

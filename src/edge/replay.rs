//! Owns the replay: files in, alerts, review requests and figures out, through the same dataflow as the live processor, without Kafka
//! and without looking at a wall clock.
//!
//! Every tenant has a shard of its own here (but for rare collisions of a hash), so tenants may stand in the files one
//! after another. Epochs are cut by number of messages, so the output depends on the files alone.
//!
//! Two norms can judge the same files side by side ([`replay_both`]); [`compare`] tells what differs, [`report`] tells it
//! to people.

pub mod compare;
pub mod report;

use super::files::{Branch, EventFiles, ReadError, line_of};
use crate::dataflow::epoch::{Batch, EpochHeader, EpochOutput, RejectedMessage, put_in_order};
use crate::dataflow::workers::{DataflowSettings, Workers};
use crate::domain::alert::Alert;
use crate::domain::norms::Norms;
use crate::domain::reject::Reason;
use crate::domain::review::ReviewRequest;
use crate::domain::row::Row;
use crate::domain::shard_processor::{ShardProgress, Source, SourceProgress, Timing};
use crate::domain::time::Timestamp;
use crossbeam_channel::bounded;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Messages of an epoch: large, as nobody waits for a single one.
const EPOCH_MESSAGES: usize = 16_384;
/// An epoch is cut into so many batches, dealt out to the workers.
const EPOCH_PARTS: usize = 16;
/// Epochs that are read and not gathered.
const EPOCHS_IN_FLIGHT: usize = 4;
/// Many more than tenants.
const SHARDS: u32 = 1 << 20;

/// How to replay.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is wanted.
    pub norms: Arc<Norms>,
    /// How event time is kept; `until` is where the replay ends, by default at the last event.
    pub timing: Timing,
    /// Worker threads.
    pub workers: usize,
    /// Larger messages are refused.
    pub max_message_bytes: usize,
}

/// What a replay found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The earliest event.
    pub since: Option<Timestamp>,
    /// Where it ended: the instant of the rows.
    pub until: Option<Timestamp>,
    /// Every alert, in order of its instant.
    pub alerts: Vec<Alert>,
    /// Every request for a review, in order of its instant.
    pub reviews: Vec<ReviewRequest>,
    /// Every row at the end.
    pub rows: Vec<Row>,
    /// Events applied.
    pub applied: u64,
    /// Events that were known already.
    pub duplicates: u64,
    /// Events that were late.
    pub late: u64,
    /// Refusals by reason.
    pub refused: BTreeMap<Reason, u64>,
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

/// Gives the messages of files, in the order of a replay.
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

/// Replays `files` twice, side by side: both replays get the same messages, read and kept in memory once. `refusal` is
/// told what the second refuses: the first refuses the same.
pub fn replay_both(
    files: EventFiles,
    [first, second]: [&Options; 2],
    refusal: impl FnMut(usize, u64, &RejectedMessage),
) -> Result<[Outcome; 2], ReplayError> {
    let [first_branch, second_branch] = files.fork(EPOCH_MESSAGES / EPOCH_PARTS);
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| replay(first_branch, first, |_, _, _| {}));
        let second = replay(second_branch, second, refusal);
        let first = beside.join().map_err(|_| ReplayError::Workers("a replay panicked".into()))?;
        Ok([first?, second?])
    })
}

/// Replays `files`; `refusal` is told of every message that is refused, with its file number and line.
pub fn replay(
    mut files: impl Batches,
    options: &Options,
    mut refusal: impl FnMut(usize, u64, &RejectedMessage),
) -> Result<Outcome, ReplayError> {
    let timing = Timing { max_future_skew: None, follows_clock: false, ..options.timing };
    let settings = DataflowSettings {
        shards: SHARDS,
        max_message_bytes: options.max_message_bytes,
        ..DataflowSettings::new(Arc::clone(&options.norms), timing)
    };
    let (latest, earliest) = (Arc::clone(&settings.latest), Arc::clone(&settings.earliest));
    let (supply, mut gather, guards) = Workers::start(options.workers, settings).map_err(ReplayError::Workers)?.split();
    let (taken, permits) = bounded::<()>(EPOCHS_IN_FLIGHT);
    let (until_in, until_out) = bounded(1);
    let until = options.timing.until;
    let reader = std::thread::spawn(move || -> Result<(), ReadError> {
        let workers = supply.workers();
        let progress =
            ShardProgress { sources: vec![SourceProgress::of(Source::Files, false)], ..ShardProgress::default() };
        let mut epoch = 0;
        loop {
            let mut batches = vec![Vec::new(); workers];
            for part in 0..EPOCH_PARTS {
                batches[part % workers].extend(files.next()?);
            }
            if batches.iter().all(Vec::is_empty) || taken.send(()).is_err() {
                break;
            }
            supply.send(EpochHeader { epoch, other_shards: Some(progress.clone()), ..EpochHeader::default() }, batches);
            epoch += 1;
        }
        // All epochs are gathered once the channel of permits is empty again: then the last event's time is known.
        while !taken.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let last = latest.load(Ordering::Relaxed);
        let end = until.or((last > i64::MIN).then_some(Timestamp(last)));
        let _ = until_in.send(end);
        let progress = ShardProgress { close: Some(end.unwrap_or(Timestamp::MIN)), ..progress };
        supply.send(EpochHeader { epoch, other_shards: Some(progress), ..EpochHeader::default() }, Vec::new());
        Ok(())
    });
    let mut outcome = Outcome::default();
    while let Some(made) = gather.gather() {
        let closing = made.closing;
        outcome.absorb(made, &mut refusal);
        if closing {
            break;
        }
        let _ = permits.recv();
    }
    let read = reader.join().map_err(|_| ReplayError::Workers("the reading thread panicked".into()))?;
    drop(guards);
    read?;
    let earliest = earliest.load(Ordering::Relaxed);
    outcome.since = (earliest < i64::MAX).then_some(Timestamp(earliest));
    outcome.until = until_out.try_recv().ok().flatten();
    put_in_order(&mut outcome.alerts, &mut outcome.reviews, &mut outcome.rows);
    Ok(outcome)
}

impl Outcome {
    /// How many messages were read.
    pub fn messages(&self) -> u64 {
        self.applied + self.duplicates + self.refused.values().sum::<u64>()
    }

    fn absorb(&mut self, made: EpochOutput, refusal: &mut impl FnMut(usize, u64, &RejectedMessage)) {
        self.alerts.extend(made.alerts);
        self.reviews.extend(made.reviews);
        self.rows.extend(made.rows);
        for mark in made.shards {
            self.applied += mark.counts.applied.iter().sum::<u64>();
            self.duplicates += mark.counts.duplicates;
            self.late += mark.counts.late;
        }
        for refused in made.refusals {
            *self.refused.entry(refused.reject.reason).or_default() += 1;
            let offset = refused.batch.messages.get(refused.message as usize).map_or(0, |message| message.offset);
            let (file, line) = line_of(offset);
            refusal(file, line, &refused);
        }
    }
}

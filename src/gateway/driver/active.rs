//! Owns a source that is read: the thread of its reader, and the hints that wait for it.
//!
//! The thread asks the reader for a portion, passes it to the driver, and goes on when it is committed. If it is not, the
//! thread ends: what the reader has in memory is ahead of the committed cursors then.
//!
//! **Bound.** At most [`WAITING`] hints wait. Further ones are dropped and counted: the next sweep finds what they announced.
//! So a source that does not answer delays no other one.

use crate::gateway::lock;
use crate::gateway::source::{Hint, Next, Portion, ReadError, Reader, Stop, Watch};
use crate::telemetry::gateway_metrics::{SourceMetrics, Step};
use crossbeam_channel::{Sender, bounded};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most hints that wait for a reader.
pub(super) const WAITING: usize = 10_000;
/// The pause before a reader is asked again that had nothing to do at once.
const IDLE: Duration = Duration::from_millis(20);
/// How often an error that stays the same is logged.
const REPEAT: Duration = Duration::from_secs(600);

/// A portion on its way to the driver.
pub(super) struct Delivery {
    /// The index of the source.
    pub(super) source: usize,
    /// Distinguishes this reader of the source from earlier ones.
    pub(super) reader: u64,
    pub(super) portion: Portion,
    /// The offsets of the hints that it uses up.
    pub(super) finished: Vec<i64>,
    /// Receives whether it is committed.
    pub(super) answer: Sender<bool>,
}

/// A source that is read.
pub(super) struct Active {
    pub(super) reader: u64,
    mailbox: Arc<Mailbox>,
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Active {
    /// Starts the thread of a reader.
    pub(super) fn start(
        (source, name, reader): (usize, &str, u64),
        open: impl FnOnce() -> Result<Box<dyn Reader>, ReadError> + Send + 'static,
        metrics: Arc<SourceMetrics>,
        deliveries: Sender<Delivery>,
    ) -> std::io::Result<Self> {
        let (mailbox, stop) = (Arc::<Mailbox>::default(), Stop::default());
        metrics.set_active(true);
        let worker = Worker {
            source,
            name: name.to_owned(),
            number: reader,
            mailbox: Arc::clone(&mailbox),
            stop: stop.clone(),
            metrics,
            deliveries,
            logged: None,
        };
        let thread = std::thread::Builder::new().name(format!("read {name}")).spawn(move || worker.run(open))?;
        Ok(Self { reader, mailbox, stop, thread })
    }

    /// Passes a hint to the reader; `false`: too many wait.
    pub(super) fn hint(&self, offset: i64, hint: Hint) -> bool {
        self.mailbox.push(offset, hint)
    }

    /// Asks the reader to return. Does not wait for it.
    pub(super) fn stop(&self) {
        self.stop.set();
        self.mailbox.wake();
    }

    /// Whether the thread has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// The hints that a reader has not seen, and how many it has seen and not used up.
#[derive(Default)]
struct Mailbox {
    hints: Mutex<(VecDeque<(i64, Hint)>, usize)>,
    changed: Condvar,
}

impl Mailbox {
    fn push(&self, offset: i64, hint: Hint) -> bool {
        let mut hints = lock(&self.hints);
        let fits = hints.0.len() + hints.1 < WAITING;
        if fits {
            hints.0.push_back((offset, hint));
            self.changed.notify_all();
        }
        fits
    }

    fn wake(&self) {
        // The lock: the thread must not be between its check and its wait.
        let _hints = lock(&self.hints);
        self.changed.notify_all();
    }

    /// Waits until a time, or until there are hints if they may come earlier, or until the stop.
    fn wait(&self, due: Instant, hints_wake: bool, stop: &Stop) {
        let mut hints = lock(&self.hints);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.is_set() || hints_wake && !hints.0.is_empty() {
                return;
            }
            hints = match self.changed.wait_timeout(hints, left) {
                Ok((hints, _)) => hints,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// The thread of a reader.
struct Worker {
    source: usize,
    name: String,
    number: u64,
    mailbox: Arc<Mailbox>,
    stop: Stop,
    metrics: Arc<SourceMetrics>,
    deliveries: Sender<Delivery>,
    /// The error that was logged last, and when.
    logged: Option<(String, Instant)>,
}

impl Worker {
    fn run(mut self, open: impl FnOnce() -> Result<Box<dyn Reader>, ReadError>) {
        let mut reader = match open() {
            Ok(reader) => reader,
            Err(error) => {
                self.failed(&error);
                self.mailbox.wait(Instant::now() + error.retry_in(), false, &self.stop);
                return;
            }
        };
        let (mut hints, mut offsets) = (Vec::new(), Vec::new());
        while !self.stop.is_set() {
            {
                let mut waiting = lock(&self.mailbox.hints);
                for (offset, hint) in waiting.0.drain(..) {
                    hints.push(hint);
                    offsets.push(offset);
                }
                waiting.1 = hints.len();
            }
            self.metrics.waiting(hints.len());
            let (due, hints_wake) = match reader.step(&hints, &self.stop) {
                Ok(portion) => {
                    self.succeeded();
                    let finished = portion.finished_hints.min(hints.len());
                    let next = portion.next;
                    let is_empty = finished == 0
                        && portion.events.is_empty()
                        && portion.marks.is_empty()
                        && portion.cursors.is_empty();
                    if !is_empty {
                        hints.drain(..finished);
                        if !self.deliver(portion, offsets.drain(..finished).collect()) {
                            return;
                        }
                    }
                    match next {
                        Next::Within(time) => (Instant::now() + time, true),
                        // A reader that has nothing and does not say when would spin.
                        Next::AtOnce if is_empty => (Instant::now() + IDLE, true),
                        Next::AtOnce => continue,
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    (Instant::now() + error.retry_in(), false)
                }
            };
            self.mailbox.wait(due, hints_wake, &self.stop);
        }
    }

    /// Passes a portion to the driver; returns whether it is committed.
    fn deliver(&self, portion: Portion, finished: Vec<i64>) -> bool {
        let (answer, answered) = bounded(1);
        let delivery = Delivery { source: self.source, reader: self.number, portion, finished, answer };
        self.deliveries.send(delivery).is_ok() && answered.recv().unwrap_or(false)
    }

    fn succeeded(&mut self) {
        self.metrics.stepped(Step::Read);
        if self.logged.take().is_some() {
            tracing::info!("source {}: it is read again", self.name);
        }
    }

    fn failed(&mut self, error: &ReadError) {
        self.metrics.stepped(match error {
            ReadError::Unavailable { .. } => Step::Unavailable,
            ReadError::Refused { .. } => Step::Refused,
        });
        let what = match error {
            ReadError::Unavailable { what, .. } | ReadError::Refused { what, .. } => what,
        };
        if self.logged.as_ref().is_some_and(|(last, at)| last == what && at.elapsed() < REPEAT) {
            return;
        }
        self.logged = Some((what.clone(), Instant::now()));
        match error {
            ReadError::Unavailable { .. } => tracing::warn!("source {}: {error}", self.name),
            ReadError::Refused { .. } => tracing::error!("source {}: {error}", self.name),
        }
    }
}

/// Operators see what a reader reports.
impl Watch for SourceMetrics {
    fn request(&self, method: &'static str, answer: &'static str) {
        Self::request(self, method, answer);
    }

    fn budget_left(&self, requests: f64, seconds: f64) {
        self.budgets(requests, seconds);
    }

    fn leg_read(&self, leg: &'static str, up_to: crate::domain::time::Timestamp) {
        self.leg(leg, up_to);
    }

    fn leg_usable(&self, leg: &'static str, usable: bool) {
        Self::leg_usable(self, leg, usable);
    }

    fn swept(&self, took: Duration) {
        Self::swept(self, took);
    }

    fn backfilled(&self, _: crate::domain::time::Timestamp, share: f64) {
        self.backfill(share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crossbeam_channel::{Receiver, unbounded};

    fn hint(id: i64) -> Hint {
        Hint { received_at: Timestamp(id), fields: Vec::new() }
    }

    /// Uses up all hints but the newest, which the next step uses up.
    struct Lagging(Sender<usize>);

    impl Reader for Lagging {
        fn step(&mut self, hints: &[Hint], _: &Stop) -> Result<Portion, ReadError> {
            let _ = self.0.send(hints.len());
            let finished_hints = if hints.len() > 1 { hints.len() - 1 } else { hints.len() };
            Ok(Portion { finished_hints, next: Next::Within(Duration::from_secs(3600)), ..Portion::default() })
        }
    }

    fn start(reader: impl Reader + 'static) -> (Active, Receiver<Delivery>) {
        let (deliveries, delivered) = unbounded();
        let active = Active::start((3, "a", 7), || Ok(Box::new(reader)), Arc::default(), deliveries);
        (active.expect("a thread"), delivered)
    }

    #[test]
    fn hints_wake_a_reader_and_are_given_again_until_they_are_used_up() {
        let (seen_in, seen) = unbounded();
        let (active, delivered) = start(Lagging(seen_in));
        assert_eq!(seen.recv(), Ok(0), "the first step has no hints");
        assert!(active.hint(100, hint(0)));
        assert_eq!(seen.recv(), Ok(1));
        let delivery = delivered.recv().expect("a delivery");
        assert_eq!((delivery.source, delivery.reader, delivery.finished), (3, 7, vec![100]));
        // While the portion is being committed, more hints come.
        assert!(active.hint(101, hint(1)) && active.hint(105, hint(2)));
        delivery.answer.send(true).expect("waiting");
        assert_eq!(seen.recv(), Ok(2));
        let delivery = delivered.recv().expect("a delivery");
        assert_eq!(delivery.finished, [101]);
        delivery.answer.send(true).expect("waiting");
        assert!(active.hint(106, hint(3)));
        assert_eq!(seen.recv(), Ok(2), "the one that is left comes first");
        let delivery = delivered.recv().expect("a delivery");
        assert_eq!(delivery.finished, [105]);
        delivery.answer.send(false).expect("waiting");
        active.thread.join().expect("a portion that is not committed ends the reader");
    }

    #[test]
    fn no_more_hints_wait_than_the_bound() {
        struct Stuck(Receiver<()>);
        impl Reader for Stuck {
            fn step(&mut self, _: &[Hint], _: &Stop) -> Result<Portion, ReadError> {
                let _ = self.0.recv();
                Err(ReadError::Unavailable { what: "away".into(), retry_in: Duration::from_secs(3600) })
            }
        }
        let (release, stuck) = unbounded();
        let (active, _delivered) = start(Stuck(stuck));
        let accepted = (0..WAITING as i64 + 5).filter(|id| active.hint(*id, hint(*id))).count();
        assert_eq!(accepted, WAITING);
        active.stop();
        drop(release);
        active.thread.join().expect("a stop ends the wait");
    }
}

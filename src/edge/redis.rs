//! Owns the live view in Redis: rows and open alerts for services that want to ask rather than subscribe, and every alert
//! status on a channel. Keys, their life and what may be missed stand in `docs/live-view.md`.
//!
//! **Invariant: the stream does not wait.** What is committed is put into a bounded queue; if there is no room, it is
//! dropped and counted. A thread of its own writes. **Invariant: whole again.** Whenever something may be missing (at the
//! start, after Redis was away or the queue was full, when shards have come) all rows and open alerts are written anew from
//! memory; and so they are every third of their life, so that keys outlive silence and nobody's mistake lasts.

mod writer;

use crate::config;
use crate::dataflow::live_state::LiveState;
use crate::dataflow::open_alerts::OpenAlertsView;
use crate::domain::alert::Alert;
use crate::domain::row::Row;
use crate::domain::rule::Language;
use crate::telemetry::live_view_metrics::LiveViewMetrics;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use writer::Writer;

/// The live view cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The address is of no use. It may hold a password, so it is not shown.
    #[error("redis.url: {0}")]
    Address(String),
    /// There is no thread for it.
    #[error("start the redis thread: {0}")]
    Thread(#[from] io::Error),
}

/// What was committed together.
#[derive(Debug)]
struct CommittedBatch {
    alerts: Vec<Alert>,
    rows: Vec<Row>,
}

/// What is written whole, and how.
pub struct LiveViewSource {
    /// The rows.
    pub board: Arc<LiveState>,
    /// The open alerts.
    pub view: Arc<OpenAlertsView>,
    /// The language of alerts' messages.
    pub language: Language,
}

/// Keeps the live view, until it is dropped: then what waits is written, if Redis is quick.
pub struct LiveView {
    queue: Option<Sender<CommittedBatch>>,
    /// Something is missing.
    torn: Arc<AtomicBool>,
    metrics: Arc<LiveViewMetrics>,
    /// Closes when the thread ends.
    ended: Receiver<Infallible>,
}

/// So long is waited for a Redis that is slow when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl LiveView {
    /// Starts the writer. Redis need not be there yet.
    pub fn start(settings: &config::Redis, source: LiveViewSource) -> Result<Self, LiveError> {
        let client =
            redis::Client::open(settings.url.as_str()).map_err(|error| LiveError::Address(error.to_string()))?;
        let (queue, batches) = bounded(settings.queue);
        let (torn, metrics): (_, Arc<LiveViewMetrics>) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let writer = Writer::new(client, settings, source, Arc::clone(&metrics), Arc::clone(&torn));
        let (ending, ended) = bounded(0);
        std::thread::Builder::new().name("redis".into()).spawn(move || {
            writer.run(&batches);
            drop(ending);
        })?;
        Ok(Self { queue: Some(queue), torn, metrics, ended })
    }

    /// How it fares.
    pub fn metrics(&self) -> &Arc<LiveViewMetrics> {
        &self.metrics
    }

    /// More is to be seen than what was committed just now: shards have come.
    pub fn tear(&self) {
        self.torn.store(true, Ordering::Relaxed);
    }

    /// This was committed.
    pub fn committed(&self, alerts: Vec<Alert>, rows: Vec<Row>) {
        if alerts.is_empty() && rows.is_empty() {
            return;
        }
        let Some(queue) = &self.queue else { return };
        match queue.try_send(CommittedBatch { alerts, rows }) {
            Ok(()) => self.metrics.set_queued(queue.len()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.dropped(1);
                self.torn.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.queue = None;
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(LAST_WORDS) {
            tracing::warn!("redis: too slow for what was committed last");
        }
    }
}

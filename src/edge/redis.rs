//! The live view in Redis: rows and open alerts for services that query instead of subscribing, and every alert status
//! on a channel. Keys, expiry and delivery guarantees: `docs/live-view.md`.
//!
//! **Invariant: Redis never blocks the stream.** Committed output goes into a bounded queue and is written by a
//! separate thread; if the queue is full, the output is dropped and counted. **Invariant: the view becomes complete
//! again.** Whenever something may be missing (at the start, after Redis was unavailable or the queue was full, after
//! shards were assigned) all rows and open alerts are rewritten from memory. The same happens every third of the TTL,
//! so that keys do not expire while nothing changes and errors do not persist.

mod connection;
mod writer;

pub use writer::LiveViewSource;

use crate::config;
use crate::domain::alert::{Alert, AlertTaken};
use crate::domain::figures::row::Row;
use crate::telemetry::live_view_metrics::LiveViewMetrics;
use connection::Connector;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use writer::{CommittedBatch, Writer};

/// The live view cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The address or a file of TLS is invalid. The address may contain a password, so it is not printed.
    #[error("start the live view: {0}")]
    Settings(String),
    /// The thread could not be started.
    #[error("start the redis thread: {0}")]
    Thread(#[from] io::Error),
}

/// Maintains the live view. On drop, the queue is flushed within a time limit.
pub struct LiveView {
    queue: Option<Sender<CommittedBatch>>,
    /// The view may miss something and must be rewritten.
    incomplete: Arc<AtomicBool>,
    metrics: Arc<LiveViewMetrics>,
    /// Disconnects when the thread ends.
    ended: Receiver<Infallible>,
}

/// How long the process waits at shutdown for the queue to be written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

impl LiveView {
    /// Starts the writer. Redis need not be reachable yet.
    pub fn start(settings: &config::Redis, source: LiveViewSource) -> Result<Self, LiveError> {
        let connector = Connector::new(settings).map_err(|error| LiveError::Settings(error.to_string()))?;
        let (queue, batches) = bounded(settings.queue);
        let (incomplete, metrics): (_, Arc<LiveViewMetrics>) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let writer = Writer::new(connector, settings, source, Arc::clone(&metrics), Arc::clone(&incomplete));
        let (closed, ended) = bounded(0);
        std::thread::Builder::new().name("redis".into()).spawn(move || {
            writer.run(&batches);
            drop(closed);
        })?;
        Ok(Self { queue: Some(queue), incomplete, metrics, ended })
    }

    /// The metrics of the live view.
    pub fn metrics(&self) -> &Arc<LiveViewMetrics> {
        &self.metrics
    }

    /// Requests a full rewrite: shards were assigned, so more changed than was committed.
    pub fn mark_incomplete(&self) {
        self.incomplete.store(true, Ordering::Relaxed);
    }

    /// Queues committed output.
    pub fn committed(&self, alerts: Vec<Alert>, taken: Vec<AlertTaken>, rows: Vec<Row>) {
        if alerts.is_empty() && taken.is_empty() && rows.is_empty() {
            return;
        }
        let Some(queue) = &self.queue else { return };
        match queue.try_send(CommittedBatch { alerts, taken, rows }) {
            Ok(()) => self.metrics.set_queued(queue.len()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.dropped(1);
                self.incomplete.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.queue = None;
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(SHUTDOWN_TIMEOUT) {
            tracing::warn!("redis: timed out writing the last committed batches");
        }
    }
}

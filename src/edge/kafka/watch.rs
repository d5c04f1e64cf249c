//! Owns the watch over what no client reports: shards without an owner, and source topics that were created again. A
//! thread with a client of its own.

use super::client;
use super::error::RunError;
use super::lost::LostOffsets;
use super::orphans::Orphans;
use super::part::{self, Waker};
use super::source_logs::SourceLogs;
use crate::config::Config;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rdkafka::consumer::Consumer;
use std::time::{Duration, Instant};

/// How often the group and the topics are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// What the ingest thread is to act on.
pub(super) enum Finding {
    /// Shards have no owner: rejoin the group.
    Orphans,
    /// A topic was created again.
    Recreated(LostOffsets),
}

/// The other ends of the channels of the watch, which ends when they are dropped.
pub(super) struct WatchHandle {
    pub(super) findings: Receiver<Finding>,
    /// Dropped with the handle.
    _run: Sender<()>,
}

/// Starts the watch over this number of shards. Its thread may outlive the run by the timeout of a request.
pub(super) fn spawn(config: &Config, shards: u32, logs: SourceLogs, ingest: Waker) -> Result<WatchHandle, RunError> {
    let client = client::metadata_client(&config.kafka)?;
    let mut orphans = Orphans::new(config, shards);
    let ((findings_in, findings), (run, running)) = (bounded(1), bounded::<()>(0));
    part::spawn("watch", move || {
        while running.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let orphan = orphans.look(&client, Instant::now()).then_some(Finding::Orphans);
            let recreated = logs.recreated(client.client()).map(Finding::Recreated);
            if let Some(finding) = recreated.or(orphan) {
                // One that waits already is enough.
                let _ = findings_in.try_send(finding);
                ingest.wake();
            }
        }
    })?;
    Ok(WatchHandle { findings, _run: run })
}

//! Owns the end of a run: the watchdog, the time limit of a stop, and the result.

use super::commit::Summary;
use super::commit::transaction::Heartbeat;
use super::control::Stop;
use super::error::RunError;
use super::part::join;
use crate::dataflow::workers::WorkerThreads;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A librdkafka call that takes longer is considered hung: some calls ignore their timeouts.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a shutdown may take; shorter than a Kubernetes grace period of one minute.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);
/// How often the watchdog checks the threads.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);

/// The parts of a run.
pub(super) struct Supervisor {
    pub(super) ingest: JoinHandle<Result<(), RunError>>,
    pub(super) commit: JoinHandle<Result<Summary, RunError>>,
    pub(super) restore: JoinHandle<()>,
    /// Dropping them waits until they end, but they end when the ingest thread drops their input, which a hung thread
    /// never does. So they are joined only after the other parts have ended, and not if they are what hangs.
    pub(super) workers: ManuallyDrop<WorkerThreads>,
    /// Times the calls of the commit thread.
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) stop: Stop,
}

impl Supervisor {
    /// Waits until the run has ended, and returns its result.
    pub(super) fn supervise(self) -> Result<Summary, RunError> {
        let mut stopping_since = None;
        while !(self.ingest.is_finished() && self.commit.is_finished()) {
            check(self.heartbeat.elapsed(), self.stop.is_set(), &mut stopping_since, Instant::now())?;
            std::thread::sleep(WATCH_INTERVAL);
        }
        let ingest = join("ingest", self.ingest);
        // If both failed, reading failed because committing did.
        let summary = join("commit", self.commit)?.and_then(|summary| ingest?.map(|()| summary));
        if matches!(summary, Err(RunError::NoOutput(_))) {
            return summary;
        }
        let workers: Result<(), _> = ManuallyDrop::into_inner(self.workers).join().into_iter().collect();
        workers.map_err(|reason| RunError::Thread("workers", reason))?;
        join("restore", self.restore)?;
        summary
    }
}

/// Fails if a call of the commit thread, or a stop, takes too long.
fn check(
    call: Duration,
    is_stopping: bool,
    stopping_since: &mut Option<Instant>,
    now: Instant,
) -> Result<(), RunError> {
    if call > CALL_TIMEOUT {
        return Err(RunError::Hung(CALL_TIMEOUT));
    }
    if is_stopping && now - *stopping_since.get_or_insert(now) > STOP_TIMEOUT {
        return Err(RunError::StopTimeout(STOP_TIMEOUT));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hung_call_and_a_long_stop_end_the_run() {
        let (start, mut since) = (Instant::now(), None);
        let mut at = |seconds, call, is_stopping| {
            check(Duration::from_secs(call), is_stopping, &mut since, start + Duration::from_secs(seconds))
        };
        assert!(at(100, 60, false).is_ok());
        assert!(matches!(at(100, 61, false), Err(RunError::Hung(_))));
        assert!(at(200, 0, true).is_ok(), "the limit starts with the stop, not with the run");
        assert!(at(245, 0, true).is_ok());
        assert!(matches!(at(246, 0, true), Err(RunError::StopTimeout(_))));
    }
}

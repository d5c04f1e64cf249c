//! Owns what all parts of a run have in common: a named thread, its result, and the wake-up of the ingest thread.

use super::error::RunError;
use std::sync::{Arc, OnceLock};
use std::thread::{self, Builder, JoinHandle, Thread};

/// Starts a thread.
pub(super) fn spawn<T: Send + 'static>(
    part: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RunError> {
    let thread = Builder::new().name(part.into()).spawn(work);
    thread.map_err(|error| RunError::Thread(part, error.to_string()))
}

/// Waits for the result of a thread.
pub(super) fn join<T>(part: &'static str, thread: JoinHandle<T>) -> Result<T, RunError> {
    thread.join().map_err(|_| RunError::Thread(part, "panicked".into()))
}

/// Wakes the ingest thread when it is parked. Clones wake the same thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Waker(Arc<OnceLock<Thread>>);

impl Waker {
    /// Makes the current thread the one to wake.
    pub(super) fn register(&self) {
        let _ = self.0.set(thread::current());
    }

    /// Wakes the thread; no effect before it has registered.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

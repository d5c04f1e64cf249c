//! Owns the handles that control a run from outside: its stop, and its norms.

use crate::dataflow::live::lock;
use crate::domain::norms::Norms;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Stops a run: it commits what it has read, leaves the group and returns. Clones stop the same run.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Requests the stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Passes new norms to a run, which applies them from its next epoch on. Clones pass them to the same run.
#[derive(Clone, Debug, Default)]
pub struct NormsHandle(Arc<Mutex<NewNorms>>);

/// The last norms that were set, and whether they are still to be applied.
#[derive(Debug, Default)]
struct NewNorms {
    last: Option<Arc<Norms>>,
    is_pending: bool,
}

impl NormsHandle {
    /// Sets the norms for the next epoch, and replaces any that are still pending.
    pub fn set(&self, norms: Arc<Norms>) {
        *lock(&self.0) = NewNorms { last: Some(norms), is_pending: true };
    }

    pub(super) fn take(&self) -> Option<Arc<Norms>> {
        let mut norms = lock(&self.0);
        std::mem::take(&mut norms.is_pending).then(|| norms.last.clone()).flatten()
    }

    /// The last norms that were set.
    pub(super) fn last(&self) -> Option<Arc<Norms>> {
        lock(&self.0).last.clone()
    }
}

//! Owns the scopes that were looked up so far. Everyone to whom the same overrides apply has the same scope: with thousands of
//! tenants, a copy for each would take more memory than their leads.

use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Scopes by the overrides that apply, given by their positions.
#[derive(Debug)]
pub struct SharedScopes<S>(Mutex<FxHashMap<Vec<usize>, Arc<S>>>);

impl<S> SharedScopes<S> {
    /// The scope to which these overrides apply, built on first use.
    pub(super) fn get(&self, overrides: Vec<usize>, build: impl FnOnce() -> S) -> Arc<S> {
        let mut scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(scopes.entry(overrides).or_insert_with(|| Arc::new(build())))
    }
}

impl<S> Default for SharedScopes<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// A copy of norms may be changed, so it has no scopes yet.
impl<S> Clone for SharedScopes<S> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

//! The record of norms that are or were in force.

use super::keys;
use super::records::{Records, text};
use uuid::Uuid;

impl Records {
    /// Adds the document of norms.
    pub fn norms(&mut self, id: &str, document: &str) {
        self.put(|key| keys::norms(id, key), |out| text(7, document, out));
    }

    /// Adds the tombstone of norms.
    pub fn remove_norms(&mut self, id: &str) {
        self.remove(|key| keys::norms(id, key));
    }
}

/// The id of norms, derived from their document.
pub fn norms_id(document: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, document.as_bytes()).to_string()
}

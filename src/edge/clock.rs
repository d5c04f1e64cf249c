//! Owns the wall clock: the only place that reads it.

use crate::domain::time::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as i64)
}

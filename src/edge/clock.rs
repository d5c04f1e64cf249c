//! The wall clock: the only code that reads it.

use crate::domain::time::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// The current wall-clock time.
pub fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(elapsed.as_millis() as i64)
}

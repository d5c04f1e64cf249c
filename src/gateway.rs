//! The gateway: events of real systems become messages of the three source topics.

pub mod bitrix24;
pub mod driver;
pub mod encode;
mod hint_record;
pub mod inbox;
pub mod source;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a thread that has panicked leaves what it protects usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

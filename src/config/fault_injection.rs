//! Owns promises that are broken on purpose, so that the fault suite is seen to notice. Only in builds with the feature
//! `fault_injection`, which are for nothing else.

use std::sync::OnceLock;

/// Which promise is broken, by the variable `FUNNELWATCH_INJECT_FAULT`.
fn broken(promise: &str) -> bool {
    static BROKEN: OnceLock<Option<String>> = OnceLock::new();
    BROKEN.get_or_init(|| std::env::var("FUNNELWATCH_INJECT_FAULT").ok()).as_deref() == Some(promise)
}

/// Where to read on is committed first, and what came of it afterwards.
pub(crate) fn offsets_first() -> bool {
    broken("offsets_first")
}

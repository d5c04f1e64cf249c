//! Deliberately broken guarantees, to verify that the fault suite detects them. Only in builds with the feature
//! `fault_injection`, which are never deployed.

use std::sync::OnceLock;

/// Whether the variable `FUNNELWATCH_INJECT_FAULT` selects this fault.
fn is_injected(fault: &str) -> bool {
    static FAULT: OnceLock<Option<String>> = OnceLock::new();
    FAULT.get_or_init(|| std::env::var("FUNNELWATCH_INJECT_FAULT").ok()).as_deref() == Some(fault)
}

/// Commits source offsets before the results instead of in the same transaction.
pub(crate) fn offsets_first() -> bool {
    is_injected("offsets_first")
}

//! Owns what readers outside the graph can access: figures and shards as processed, open alerts as committed.

mod figures;
mod live_state;
mod open_alerts;

pub use figures::{ReviewCounts, TenantFigures};
pub use live_state::{LiveState, TenantSnapshot, lock};
pub use open_alerts::{OpenAlert, OpenAlertsView};
pub(super) use open_alerts::{take_open, update_open};

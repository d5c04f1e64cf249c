//! Owns what readers outside the graph can access: figures and shards as processed, open alerts as committed.

mod figures;
mod history;
mod live_state;
mod members;
mod open_alerts;

pub use figures::{RequestedReview, ReviewCounts, TenantFigures};
pub use history::{COURSES, Course, History, POINTS, SUBJECTS};
pub use live_state::{CoursePoints, LiveState, TenantSnapshot, lock};
pub use members::{FigureMember, FigureQuery, MOST as MOST_MEMBERS, NotListed};
pub use open_alerts::{OpenAlert, OpenAlertsView};
pub(super) use open_alerts::{take_open, update_open};

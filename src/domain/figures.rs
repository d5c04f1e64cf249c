//! The figures of managers, departments and companies: panes, sliding windows, rows, and the rules judged by them.

pub mod behind;
pub mod histogram;
pub mod pane;
pub mod row;
pub mod statistics;
pub mod table;
pub mod window;

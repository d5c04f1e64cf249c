//! Owns the row: the published figures of one subject for one window, or current (`now`).

use crate::domain::figures::table::{self, Field, NOW, NowFigures, WINDOW, WindowFigures};
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::time::window::Window;
use compact_str::CompactString;
use std::fmt;

/// The subject of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The whole company.
    Tenant,
    /// A department; `unknown` for facts without a manager or managers without a department.
    Department(DepartmentId),
    /// A manager.
    Manager(ManagerId),
}

/// As in a row: `tenant`, `department:ID`, `manager:ID`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("tenant"),
            Self::Department(id) => write!(f, "department:{id}"),
            Self::Manager(id) => write!(f, "manager:{id}"),
        }
    }
}

/// The figures of one subject at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The company.
    pub tenant: TenantId,
    /// The subject.
    pub subject: Subject,
    /// The manager's department; `None` is `unknown`. Used for metric labels, not published in rows.
    pub department: Option<DepartmentId>,
    /// Event time of the figures.
    pub at: Timestamp,
    /// The figures.
    pub figures: Figures,
}

/// Figures of a window, or current figures.
#[derive(Clone, Debug, PartialEq)]
pub enum Figures {
    /// Figures of a sliding window.
    Window(Window, Box<WindowFigures>),
    /// Current figures.
    Now(Box<NowFigures>),
}

impl Figures {
    /// The row's `window`: `1h`, `24h`, `7d`… or `now`.
    pub fn window(&self) -> CompactString {
        match self {
            Self::Window(window, _) => window.name(),
            Self::Now(_) => "now".into(),
        }
    }

    /// The figures as the fields of an encoded row.
    pub fn fields(&self) -> Vec<Field<'_>> {
        match self {
            Self::Window(_, figures) => table::fields(WINDOW, figures.as_ref()),
            Self::Now(figures) => table::fields(NOW, figures.as_ref()),
        }
    }
}

impl Row {
    /// Whether all figures are zero or absent.
    pub fn is_empty(&self) -> bool {
        match &self.figures {
            Figures::Window(_, figures) => **figures == WindowFigures::default(),
            Figures::Now(figures) => **figures == NowFigures::default(),
        }
    }
}

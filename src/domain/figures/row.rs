//! Owns the row: the published figures of one subject for one window, or current (`now`).

use crate::domain::figures::table::TargetFigures;
use crate::domain::figures::table::{self, ByStage, Field, NOW, NowFigures, OTHER, WINDOW, WindowFigures};
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::time::Timestamp;
use crate::domain::time::window::Window;
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

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
    /// Whether it belongs to the past that a back-fill reports.
    pub historic: bool,
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
    /// The figures of a target at the end of the period with this window (`ID/2026-03`); `None`: in a compacted topic this
    /// removes the row.
    Closing(CompactString, Option<TargetFigures>),
    /// None any more, for the window with this name: the subject was forgotten. In a compacted topic this removes the row.
    Gone(CompactString),
}

impl Figures {
    /// The row's `window`: `1h`, `24h`, `7d`… or `now`.
    pub fn window(&self) -> CompactString {
        match self {
            Self::Window(window, _) => window.name(),
            Self::Now(_) => "now".into(),
            Self::Closing(window, _) | Self::Gone(window) => window.clone(),
        }
    }

    /// The figures as the fields of an encoded row.
    pub fn fields(&self) -> Vec<Field<'_>> {
        match self {
            Self::Window(_, figures) => table::fields(WINDOW, figures.as_ref()),
            Self::Now(figures) => table::fields(NOW, figures.as_ref()),
            Self::Closing(_, figures) => figures.iter().flat_map(TargetFigures::closing_fields).collect(),
            Self::Gone(_) => Vec::new(),
        }
    }
}

impl Row {
    /// The row with at most this number of stages and of currencies in each of its maps; the others are summed up.
    pub fn shortened(&self, named: usize) -> Self {
        let mut row = self.clone();
        match &mut row.figures {
            Figures::Window(_, figures) => {
                shorten_stages(&mut figures.stage_conversion, named);
                shorten(&mut figures.amount_won, named);
            }
            Figures::Now(figures) => {
                shorten_stages(&mut figures.open, named);
                shorten_stages(&mut figures.overdue, named);
            }
            Figures::Closing(..) | Figures::Gone(_) => {}
        }
        row
    }

    /// The row that removes this one.
    pub fn into_gone(self) -> Self {
        let figures = Figures::Gone(self.figures.window());
        Self { figures, ..self }
    }

    /// Whether it closes a period of a target. Such a row stays as it is; it is no current figure.
    pub fn is_closing(&self) -> bool {
        matches!(self.figures, Figures::Closing(..))
    }

    /// Whether its record is a tombstone.
    pub fn is_tombstone(&self) -> bool {
        matches!(self.figures, Figures::Gone(_) | Figures::Closing(_, None))
    }

    /// Whether it removes all rows of a subject that was forgotten, one by one.
    pub fn is_gone(&self) -> bool {
        matches!(self.figures, Figures::Gone(_))
    }

    /// Whether all figures are zero or absent.
    pub fn is_empty(&self) -> bool {
        match &self.figures {
            Figures::Window(_, figures) => **figures == WindowFigures::default(),
            Figures::Now(figures) => **figures == NowFigures::default(),
            Figures::Closing(_, figures) => figures.is_none(),
            Figures::Gone(_) => true,
        }
    }
}

/// Sums up all but the first entries.
fn shorten<K: Clone + Ord + for<'a> From<&'a str>, V: AddAssign + Default>(map: &mut BTreeMap<K, V>, named: usize) {
    let Some(first) = map.keys().nth(named).cloned() else { return };
    let mut other = V::default();
    map.split_off(&first).into_values().for_each(|value| other += value);
    *map.entry(OTHER.into()).or_default() += other;
}

/// Sums up all but the first stages.
fn shorten_stages<V: AddAssign + Default>(pipelines: &mut ByStage<V>, named: usize) {
    let mut left = named;
    let mut other = V::default();
    let mut is_short = true;
    pipelines.retain(|_, stages| {
        let rest = stages.keys().nth(left).cloned().map(|first| stages.split_off(&first));
        left -= stages.len();
        is_short &= rest.is_none();
        rest.into_iter().flatten().for_each(|(_, value)| other += value);
        !stages.is_empty()
    });
    if !is_short {
        *pipelines.entry(OTHER.into()).or_default().entry(OTHER.into()).or_default() += other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_row_sums_up_the_rest() {
        let stages = |stages: &[(&str, i64)]| stages.iter().map(|(stage, n)| ((*stage).into(), *n)).collect();
        let open = |pipelines: &[(&str, &[(&str, i64)])]| -> ByStage {
            pipelines.iter().map(|(pipeline, given)| ((*pipeline).into(), stages(given))).collect()
        };
        let figures = NowFigures {
            open: open(&[("p", &[("a", 1), ("b", 2)]), ("q", &[("c", 4), ("d", 8)])]),
            overdue: open(&[("p", &[("a", 1)])]),
            ..NowFigures::default()
        };
        let row = Row {
            tenant: "acme".into(),
            subject: Subject::Tenant,
            department: None,
            at: Timestamp(0),
            historic: false,
            figures: Figures::Now(Box::new(figures.clone())),
        };
        let shortened = |named| match row.shortened(named).figures {
            Figures::Now(figures) => (figures.open, figures.overdue),
            _ => unreachable!("a row of current figures"),
        };
        assert_eq!(shortened(4), (figures.open, figures.overdue.clone()));
        let three = open(&[("other", &[("other", 8)]), ("p", &[("a", 1), ("b", 2)]), ("q", &[("c", 4)])]);
        assert_eq!(shortened(3), (three, figures.overdue.clone()));
        let one = open(&[("other", &[("other", 14)]), ("p", &[("a", 1)])]);
        assert_eq!(shortened(1), (one, figures.overdue));
        let none = open(&[("other", &[("other", 15)])]);
        assert_eq!(shortened(0), (none, open(&[("other", &[("other", 1)])])));
    }

    #[test]
    fn a_shortened_map_keeps_what_is_called_other() {
        let mut amounts: BTreeMap<CompactString, i64> =
            [("EUR", 1), ("RUB", 2), ("other", 4)].map(|(code, minor)| (code.into(), minor)).into();
        shorten(&mut amounts, 1);
        assert_eq!(amounts, [("EUR", 1), ("other", 6)].map(|(code, minor)| (code.into(), minor)).into());
    }
}

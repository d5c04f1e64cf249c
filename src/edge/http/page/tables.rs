//! Owns the tables of the page as CSV (<https://www.rfc-editor.org/rfc/rfc4180>), with bare numbers and ids beside names.

use super::board::Board;
use super::view::Reader;
use crate::domain::figures::table::WindowFigures;
use crate::domain::rule::Rule;
use crate::domain::time::Span;
use crate::edge::http::csv;

/// A table of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    People,
    Clocks,
    Plan,
}

impl Table {
    /// The table of a file name.
    pub(super) fn of_file(name: &str) -> Option<Self> {
        match name {
            "people.csv" => Some(Self::People),
            "clocks.csv" => Some(Self::Clocks),
            "plan.csv" => Some(Self::Plan),
            _ => None,
        }
    }

    /// The table as CSV.
    pub(super) fn csv(self, reader: &Reader<'_>) -> String {
        let mut csv = String::new();
        let mut line = |cells: &[String]| {
            csv += &cells.iter().map(|cell| csv::cell(cell)).collect::<Vec<_>>().join(",");
            csv += "\r\n";
        };
        let head = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let board = reader.board;
        match self {
            Self::People => {
                line(&head(&[
                    "manager_id",
                    "name",
                    "department_id",
                    "open_alerts",
                    "rules",
                    "longest_wait_seconds",
                    "leads_received",
                    "first_response_p90_seconds",
                    "within_norm",
                    "within_norm_n",
                    "lead_conversion",
                    "lead_conversion_n",
                ]));
                people(board).iter().for_each(|cells| line(cells));
            }
            Self::Clocks => {
                line(&head(&[
                    "alert_id",
                    "rule",
                    "severity",
                    "status",
                    "manager_id",
                    "entity",
                    "anchor_at",
                    "due_at",
                    "seconds",
                    "taken_by",
                ]));
                for clock in board.clocks() {
                    let alert = &clock.open.alert;
                    let seconds = clock.left.0 / Span::SECOND.0;
                    line(&[
                        alert.id.to_string(),
                        alert.rule.name().into(),
                        alert.severity.name().into(),
                        alert.status.name().into(),
                        text(alert.manager.as_ref()),
                        text(alert.entity.as_ref()),
                        alert.anchor_at.to_string(),
                        text(alert.due_at.as_ref()),
                        if clock.is_overdue { -seconds } else { seconds }.to_string(),
                        text(clock.open.taken.as_ref().map(|taken| &taken.manager)),
                    ]);
                }
            }
            Self::Plan => {
                line(&head(&[
                    "subject", "name", "target", "figure", "per", "currency", "at_least", "fact", "pace", "share",
                    "forecast",
                ]));
                for (subject, target, figures) in reader.plan_rows(board.subjects()) {
                    line(&[
                        subject.to_string(),
                        reader.subject_name(subject),
                        target.id.to_string(),
                        target.figure.name().into(),
                        target.per.name().into(),
                        text(target.currency.as_ref()),
                        figures.at_least.to_string(),
                        figures.fact.to_string(),
                        figures.pace.to_string(),
                        figures.share.to_string(),
                        text(figures.forecast.as_ref()),
                    ]);
                }
            }
        }
        csv
    }
}

fn people(board: &Board<'_>) -> Vec<Vec<String>> {
    let row = |person: &super::board::Person<'_>| {
        let empty = WindowFigures::default();
        let figures = person.figures.window.unwrap_or(&empty);
        let mut rules: Vec<Rule> = person.open.iter().map(|open| open.alert.rule).collect();
        rules.dedup();
        let (lags, within) = (figures.first_response_business, figures.first_response_within_norm);
        let conversion = figures.lead_conversion.closed;
        vec![
            text(person.id),
            person.id.map_or("", |id| board.manager_name(id)).into(),
            person.department.into(),
            person.open.len().to_string(),
            rules.iter().map(|rule| rule.name()).collect::<Vec<_>>().join(" "),
            text(person.wait.map(|(waited, _)| waited.seconds()).as_ref()),
            figures.leads_received.to_string(),
            text((lags.n > 0).then_some(lags.p90_seconds).as_ref()),
            text(within.ratio().as_ref()),
            within.n.to_string(),
            text(conversion.ratio().as_ref()),
            conversion.n.to_string(),
        ]
    };
    board.people().iter().map(row).collect()
}

fn text<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(String::new, ToString::to_string)
}

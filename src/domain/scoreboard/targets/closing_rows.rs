//! Owns the rows of closed periods: one when a period of a target ends, again when its fact changes.
//!
//! A row follows from the ledger, the norms in force at the end of the period and the managers of that instant.

use super::closings::Key;
use super::ledger::NOBODY;
use super::stored::Published;
use super::{Targets, plan};
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::figures::table::TargetFigures;
use crate::domain::id::DepartmentId;
use crate::domain::norms::targets::{Target, day, midnight};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;

impl Targets {
    /// A fact of a manager that is dated before a running period has changed: so may have rows of closed ones.
    pub(super) fn change_closed(&mut self, slot: usize, at: Timestamp) {
        let person = self.ledger.person(slot);
        let mut subjects = vec![Subject::Tenant];
        subjects.extend(person.departments().into_iter().map(Subject::Department));
        if slot != NOBODY {
            subjects.push(Subject::Manager(person.id.clone()));
        }
        let mut due = Vec::new();
        for subject in subjects {
            let keys = self.closings.published.range((subject.clone(), CompactString::default())..);
            for (key, published) in keys.take_while(|(key, _)| key.0 == subject) {
                // Calendars differ by less than a day from UTC.
                let index = |at| published.per.index(day(None, at));
                let near = index(at.saturating_sub(Span::DAY))..=index(at.saturating_add(Span::DAY));
                let of_fact = |index: &i32| {
                    let target = self.closed_target(key, *published, *index);
                    target.is_some_and(|target| target.period_at(at).index == *index)
                };
                let closed = near.filter(|index| (published.first..=published.last).contains(index));
                due.extend(closed.filter(of_fact).map(|index| (key.clone(), index)));
            }
        }
        self.closings.due.extend(due);
    }

    /// The target of a subject as of an instant.
    fn target_at(&self, (subject, id): &Key, at: Timestamp) -> Option<Target> {
        let department: Option<DepartmentId> = match subject {
            Subject::Tenant => None,
            Subject::Department(id) => {
                let is_there = |slot: usize| self.ledger.person(slot).membership(Some(at)) == (id.as_str(), true);
                if !self.ledger.all().any(is_there) {
                    return None;
                }
                Some(id.clone())
            }
            Subject::Manager(id) => {
                let (department, active) = self.ledger.person(self.ledger.find(id)?).membership(Some(at));
                if !active {
                    return None;
                }
                Some(department.into())
            }
        };
        let targets = self.targets_in(&self.norms_at(at), subject, department.as_ref());
        targets.into_iter().find(|target| target.id == *id)
    }

    /// The target of a subject at the end of a closed period.
    fn closed_target(&self, key: &Key, published: Published, index: i32) -> Option<Target> {
        let near = midnight(None, published.per.first_day(index + 1));
        // Calendars differ by less than a day from UTC, so the end lies near.
        let guess = [near, near.saturating_sub(Span::DAY), near.saturating_add(Span::DAY)];
        let first =
            guess.into_iter().find_map(|at| self.target_at(key, at)).filter(|target| target.per == published.per)?;
        let end = first.period(index).end;
        self.target_at(key, end).filter(|target| target.per == published.per)
    }

    /// The row of a closed period, with what is known now; `None` if it has none, or its figures were dropped.
    fn closing_row(&self, key: &Key, published: Published, index: i32) -> Option<Row> {
        let target = self.closed_target(key, published, index)?;
        let period = target.period(index);
        if !period.counts() || !self.ledger.covers(period.start) {
            return None;
        }
        let fact = self.sum(&key.0, &target, period, Some(period.end));
        let progress = target.progress(&period, fact, period.end);
        let incomplete = self.is_incomplete(&key.0, &period);
        let figures = plan::figures(&progress, incomplete);
        Some(self.row_of(&key.0, target.window(index), period.end, Some(figures)))
    }

    fn row_of(&self, subject: &Subject, window: CompactString, at: Timestamp, figures: Option<TargetFigures>) -> Row {
        Row {
            tenant: self.tenant.clone(),
            subject: subject.clone(),
            department: None,
            at,
            historic: false,
            figures: Figures::Closing(window, figures),
        }
    }

    /// The rows of the periods that ended or changed since the last call, and those that are removed; with `all`, of all
    /// closed periods.
    pub(in crate::domain::scoreboard) fn closing_rows(&mut self, all: bool, at: Timestamp, into: &mut Vec<Row>) {
        for (subject, window) in std::mem::take(&mut self.closings.removed) {
            into.push(self.row_of(&subject, window, at, None));
        }
        let mut due = std::mem::take(&mut self.closings.due);
        if all {
            for (key, published) in &self.closings.published {
                due.extend((published.first..=published.last).map(|index| (key.clone(), index)));
            }
        }
        for (key, index) in due {
            let Some(published) = self.closings.published.get(&key) else { continue };
            into.extend(self.closing_row(&key, *published, index));
        }
    }
}

//! Owns the course of the day: some figures of each subject at the boundaries of one window, in memory.
//!
//! **Bounds.** A day of points, one for each slide and at most one for each quarter of an hour, of at most [`SUBJECTS`] subjects:
//! the company and departments come first. It begins again when the process starts.

use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::figures::table::{NowFigures, WindowFigures};
use crate::domain::norms::Norms;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use std::collections::{BTreeMap, VecDeque};

/// The most subjects with a course.
pub const SUBJECTS: usize = 2_000;
/// The most points of a subject.
pub const POINTS: usize = 97;
/// The least time between two points.
const APART: Span = Span(15 * Span::MINUTE.0);

/// A figure whose course is kept.
#[derive(Debug)]
pub struct Course {
    /// Its name in the API.
    pub name: &'static str,
    value: fn(&WindowFigures) -> Option<f64>,
    now: Option<fn(&NowFigures) -> f64>,
}

const fn of_window(name: &'static str, value: fn(&WindowFigures) -> Option<f64>) -> Course {
    Course { name, value, now: None }
}

const fn of_now(name: &'static str, now: fn(&NowFigures) -> f64) -> Course {
    Course { name, value: |_| None, now: Some(now) }
}

/// The figures whose course is kept.
pub const COURSES: [Course; 14] = [
    of_window("leads_received", |f| Some(f.leads_received as f64)),
    of_window("lead_conversion", |f| f.lead_conversion.closed.ratio()),
    of_window("win_rate", |f| f.win_rate.closed.ratio()),
    of_window("first_response_p90_seconds", |f| {
        let lags = f.first_response_business;
        (lags.n > 0).then_some(lags.p90_seconds)
    }),
    of_window("first_response_within_norm", |f| f.first_response_within_norm.ratio()),
    of_window("calls", |f| {
        let calls = f.calls;
        let all = calls.inbound_answered + calls.inbound_missed + calls.outbound_answered + calls.outbound_unanswered;
        Some(all as f64)
    }),
    of_window("messages_sent", |f| Some(f.messages_sent.values().sum::<i64>() as f64)),
    of_window("meetings", |f| Some(f.meetings as f64)),
    of_window("touches", |f| Some(f.touches as f64)),
    of_window("deals_won", |f| Some(f.deals_won as f64)),
    of_window("review_mean_score", |f| f.reviews.mean_score),
    of_window("violations", |f| Some(f.violations.values().sum::<i64>() as f64)),
    of_now("awaiting_first_response", |f| f.awaiting_first_response as f64),
    of_now("open_alerts", |f| f.open_alerts.values().sum::<i64>() as f64),
];

/// The values of a subject at one instant; `NaN` without a value.
type Point = (Timestamp, [f32; COURSES.len()]);

/// The course of the day of a tenant.
#[derive(Debug, Default)]
pub struct History {
    subjects: BTreeMap<Subject, VecDeque<Point>>,
    last: Option<Timestamp>,
}

impl History {
    /// The window whose figures are kept: a day, else the first one.
    pub fn window(norms: &Norms) -> Option<Window> {
        let windows = &norms.windows;
        windows.iter().find(|window| window.size == Span::DAY).or_else(|| windows.first()).copied()
    }

    /// Whether a point is due at `at`.
    pub fn is_due(&self, at: Timestamp) -> bool {
        self.last.is_none_or(|last| at - last >= APART || at < last)
    }

    /// Adds the points of rows of one instant: of its window, and current ones.
    pub fn record(&mut self, at: Timestamp, rows: &[Row]) {
        self.last = Some(at);
        for row in rows {
            if !self.subjects.contains_key(&row.subject) && self.subjects.len() >= SUBJECTS {
                continue;
            }
            let points = self.subjects.entry(row.subject.clone()).or_default();
            if points.back().is_none_or(|(known, _)| *known != at) {
                points.push_back((at, [f32::NAN; COURSES.len()]));
            }
            let Some((_, values)) = points.back_mut() else { continue };
            for (value, course) in values.iter_mut().zip(&COURSES) {
                match (&row.figures, course.now) {
                    (Figures::Window(_, figures), None) => {
                        *value = (course.value)(figures).map_or(f32::NAN, |known| known as f32);
                    }
                    (Figures::Now(figures), Some(now)) => *value = now(figures) as f32,
                    _ => {}
                }
            }
        }
        let oldest = at.saturating_sub(Span::DAY);
        self.subjects.retain(|_, points| {
            while points.len() > POINTS || points.front().is_some_and(|(known, _)| *known < oldest) {
                points.pop_front();
            }
            !points.is_empty()
        });
    }

    /// The course of a figure, the oldest point first; `None`: there is no such figure.
    pub fn course(&self, subject: &Subject, name: &str) -> Option<Vec<(Timestamp, Option<f64>)>> {
        let index = COURSES.iter().position(|course| course.name == name)?;
        let points = self.subjects.get(subject).into_iter().flatten();
        let value = |values: &[f32]| values.get(index).filter(|value| value.is_finite()).map(|value| f64::from(*value));
        Some(points.map(|(at, values)| (*at, value(values))).collect())
    }

    /// The courses of a figure of all managers.
    pub fn of_managers(&self, name: &str) -> BTreeMap<Subject, Vec<f64>> {
        let Some(index) = COURSES.iter().position(|course| course.name == name) else { return BTreeMap::new() };
        let managers = self.subjects.iter().filter(|(subject, _)| matches!(subject, Subject::Manager(_)));
        let values = |points: &VecDeque<Point>| {
            points.iter().map(|(_, values)| f64::from(values[index])).filter(|value| value.is_finite()).collect()
        };
        managers.map(|(subject, points)| (subject.clone(), values(points))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: i64, leads: i64, at: i64) -> Vec<Row> {
        let row = |subject, figures| Row {
            tenant: "acme".into(),
            subject,
            department: None,
            at: Timestamp(at),
            historic: false,
            figures,
        };
        let window = Window { size: Span::DAY, in_days: false, slide: APART };
        let figures = WindowFigures { leads_received: leads, ..WindowFigures::default() };
        (0..n)
            .map(|id| row(Subject::Manager(id.to_string().into()), Figures::Window(window, Box::new(figures.clone()))))
            .collect()
    }

    #[test]
    fn a_day_of_points_is_kept_of_a_bounded_number_of_subjects() {
        let mut history = History::default();
        for point in 0..200 {
            let at = Timestamp(point * APART.0);
            assert!(history.is_due(at));
            history.record(at, &rows(3, point, at.0));
            assert!(!history.is_due(Timestamp(at.0 + 1)));
        }
        let course = history.course(&Subject::Manager("1".into()), "leads_received").expect("a figure");
        assert_eq!(course.len(), POINTS);
        assert_eq!(course.last(), Some(&(Timestamp(199 * APART.0), Some(199.0))));
        assert_eq!(course[0], (Timestamp(103 * APART.0), Some(103.0)));
        assert_eq!(history.course(&Subject::Manager("1".into()), "lead_conversion").expect("a figure")[0].1, None);
        assert_eq!(history.course(&Subject::Tenant, "no such figure"), None);
        history.record(Timestamp(200 * APART.0), &rows(SUBJECTS as i64 + 50, 1, 0));
        assert_eq!(history.of_managers("leads_received").len(), SUBJECTS);
    }
}

//! Owns a plan: a target of one subject with its running period.

use super::open::Open;
use crate::domain::figures::row::Subject;
use crate::domain::figures::table::TargetFigures;
use crate::domain::norms::targets::{Period, Progress, Target};
use crate::domain::time::Timestamp;

/// A target of a manager, a department or the company.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) subject: Subject,
    pub(super) target: Target,
    /// The running period.
    pub(super) period: Period,
    /// The figure in it so far.
    pub(super) fact: i128,
    /// Whether a part of it is not known; it is not judged then.
    pub(super) incomplete: bool,
    /// Whether it is judged at the next boundary.
    pub(super) is_dirty: bool,
    /// Whether the target does not apply any more; an open alert ends at the next boundary.
    pub(super) is_gone: bool,
    /// The boundary at which it will be behind if nothing happens.
    pub(super) behind_at: Option<Timestamp>,
    /// The open alert; its period may have ended since the last boundary.
    pub(super) open: Option<Box<Open>>,
}

impl Plan {
    /// A plan of which nothing is known yet.
    pub(super) fn new(subject: Subject, target: Target, period: Period) -> Self {
        let (fact, incomplete, is_dirty, is_gone, behind_at, open) = (0, false, false, false, None, None);
        Self { subject, target, period, fact, incomplete, is_dirty, is_gone, behind_at, open }
    }

    /// Whether it has a row at an instant of its period.
    pub(super) fn is_shown(&self, at: Timestamp) -> bool {
        !self.is_gone && self.period.counts() && at >= self.period.start
    }

    /// Whether alerts may begin.
    pub(super) fn is_judged(&self) -> bool {
        !self.is_gone && self.target.judge && self.period.counts() && !self.incomplete
    }

    /// How far it is at an instant.
    pub(super) fn progress(&self, at: Timestamp) -> Progress {
        self.target.progress(&self.period, self.fact, at)
    }

    /// The figures at an instant.
    pub(super) fn figures(&self, at: Timestamp) -> TargetFigures {
        figures(&self.progress(at), self.incomplete)
    }
}

/// The figures of a progress.
pub(super) fn figures(progress: &Progress, incomplete: bool) -> TargetFigures {
    TargetFigures {
        at_least: progress.at_least.get(),
        fact: progress.count(),
        pace: progress.pace(),
        share: progress.share(),
        forecast: progress.forecast(),
        incomplete,
    }
}

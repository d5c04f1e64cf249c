//! Owns the report of a back-fill: how far it is, from committed cursors alone (`gateway backfill`).

use super::memory::{One, Unreadable};
use super::portal::{Backfill, Known};
use crate::domain::time::Timestamp;
use crate::gateway::source::Cursors;

/// How far the back-fill of a source is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The source was never read.
    NotStarted,
    /// The source is read without a back-fill.
    None,
    /// It is under way.
    Running {
        /// Its beginning.
        from: Timestamp,
        /// The month that is being read begins here.
        at: Timestamp,
        /// Its end.
        until: Timestamp,
        /// The part of its span that is complete, from 0 to 1.
        share: f64,
    },
    /// It is complete.
    Over {
        /// Its beginning.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
}

impl Progress {
    /// What the cursors of a source say.
    pub fn of(cursors: &Cursors) -> Result<Self, Unreadable> {
        let backfill = One::<Backfill>::load("backfill", cursors)?;
        let known = One::<Known>::load("portal", cursors)?;
        let backfill = backfill.get();
        let until = Timestamp(backfill.until);
        Ok(match backfill.from.map(Timestamp) {
            None if known.get().started.is_none() => Self::NotStarted,
            None => Self::None,
            Some(from) if backfill.over => Self::Over { from, until },
            Some(from) => {
                let at = Timestamp(backfill.month.max(from.0));
                Self::Running { from, at, until, share: backfill.share() }
            }
        })
    }
}

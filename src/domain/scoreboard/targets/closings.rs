//! Owns which periods of targets are closed: whose rows are to be written, written again, or removed after [`KEPT`].
//!
//! Only the first and the last closed period of each target are stored; the rows follow from the ledger
//! (`closing_rows.rs`).

use super::stored::{Published, TargetChange};
use crate::domain::figures::row::Subject;
use crate::domain::norms::targets::{self, Target, midnight};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use std::collections::{BTreeMap, BTreeSet};

/// How long a row stays after the end of its period.
const KEPT: Span = Span(400 * Span::DAY.0);

/// A target of a subject.
pub(super) type Key = (Subject, CompactString);

/// Which periods are closed.
#[derive(Debug, Default)]
pub(super) struct Closings {
    pub(super) published: BTreeMap<Key, Published>,
    /// Rows to be written.
    pub(super) due: BTreeSet<(Key, i32)>,
    /// Rows to be removed, by subject and window.
    pub(super) removed: Vec<Key>,
    changed: BTreeSet<Key>,
}

impl Closings {
    /// A period has ended.
    pub(super) fn close(&mut self, subject: &Subject, target: &Target, index: i32) {
        let key = (subject.clone(), target.id.clone());
        let new = Published { per: target.per, first: index, last: index };
        let published = self.published.entry(key.clone()).or_insert(new);
        if published.per != target.per {
            // The rows of the other periods stay until they are old; they are not changed any more.
            *published = new;
        }
        (published.first, published.last) = (published.first.min(index), published.last.max(index));
        self.changed.insert(key.clone());
        self.due.insert((key, index));
    }

    pub(super) fn load(&mut self, change: &TargetChange) {
        if let TargetChange::Published(subject, target, Some(published)) = change {
            self.published.insert((subject.clone(), target.clone()), *published);
        }
    }

    pub(super) fn take_changes(&mut self, into: &mut Vec<TargetChange>) {
        for key in std::mem::take(&mut self.changed) {
            let published = self.published.get(&key).copied();
            into.push(TargetChange::Published(key.0, key.1, published));
        }
    }

    /// Removes the rows of periods that ended long ago.
    pub(super) fn forget_past(&mut self, at: Timestamp) {
        let Self { published, removed, changed, .. } = self;
        published.retain(|key, published| {
            let is_old = |index: i32| midnight(None, published.per.first_day(index + 1)).saturating_add(KEPT) <= at;
            let old = (published.first..=published.last).take_while(|index| is_old(*index)).count() as i32;
            if old > 0 {
                let windows =
                    (published.first..published.first + old).map(|index| targets::window(&key.1, published.per, index));
                removed.extend(windows.map(|window| (key.0.clone(), window)));
                published.first += old;
                changed.insert(key.clone());
            }
            published.first <= published.last
        });
    }

    /// Removes all rows.
    pub(super) fn end(&mut self) {
        for (key, Published { per, first, last }) in std::mem::take(&mut self.published) {
            self.removed.extend((first..=last).map(|index| (key.0.clone(), targets::window(&key.1, per, index))));
            self.changed.insert(key);
        }
        self.due.clear();
    }
}

//! Owns what a reader remembers between its steps, as records of the cursor topic: positions, and what was already
//! reported, so that nothing is reported twice later than duplicates are recognized.
//!
//! A large memory is divided into buckets of neighbouring ids. A step writes only the buckets that it has changed.

use crate::gateway::source::Cursors;
use compact_str::{CompactString, format_compact};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Cursors that changed, as a portion takes them.
pub(super) type Changes = Vec<(CompactString, Option<Vec<u8>>)>;

/// A record cannot be read: it was written by another version, or damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored position `{0}` cannot be read: it was written by a later version, or damaged")]
pub struct Unreadable(pub CompactString);

/// One value under one name.
#[derive(Debug)]
pub(super) struct One<T> {
    name: &'static str,
    value: T,
    changed: bool,
}

impl<T: Serialize + DeserializeOwned + Default + PartialEq> One<T> {
    pub(super) fn load(name: &'static str, cursors: &Cursors) -> Result<Self, Unreadable> {
        let value = match cursors.get(name) {
            Some(bytes) => serde_json::from_slice(bytes).map_err(|_| Unreadable(name.into()))?,
            None => T::default(),
        };
        Ok(Self { name, value, changed: false })
    }

    pub(super) fn get(&self) -> &T {
        &self.value
    }

    pub(super) fn set(&mut self, value: T) {
        self.changed |= self.value != value;
        self.value = value;
    }

    /// Changes the value in place.
    pub(super) fn change(&mut self) -> &mut T {
        self.changed = true;
        &mut self.value
    }

    pub(super) fn drain(&mut self, changes: &mut Changes) {
        if std::mem::take(&mut self.changed) {
            changes.push((self.name.into(), serde_json::to_vec(&self.value).ok()));
        }
    }
}

/// Values by id, in buckets of `1 << SHIFT` ids.
#[derive(Debug)]
pub(super) struct Table<V, const SHIFT: u32> {
    name: &'static str,
    rows: BTreeMap<u64, V>,
    changed: BTreeSet<u64>,
}

impl<V: Serialize + DeserializeOwned + PartialEq, const SHIFT: u32> Table<V, SHIFT> {
    pub(super) fn load(name: &'static str, cursors: &Cursors) -> Result<Self, Unreadable> {
        let mut rows = BTreeMap::new();
        for (key, bytes) in buckets(name, cursors) {
            let bucket: Vec<(u64, V)> = serde_json::from_slice(bytes).map_err(|_| Unreadable(key.clone()))?;
            rows.extend(bucket);
        }
        Ok(Self { name, rows, changed: BTreeSet::new() })
    }

    pub(super) fn get(&self, id: u64) -> Option<&V> {
        self.rows.get(&id)
    }

    /// Whether this changes anything.
    pub(super) fn insert(&mut self, id: u64, value: V) -> bool {
        if self.rows.get(&id) == Some(&value) {
            return false;
        }
        self.rows.insert(id, value);
        self.changed.insert(id >> SHIFT);
        true
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<V> {
        let removed = self.rows.remove(&id);
        if removed.is_some() {
            self.changed.insert(id >> SHIFT);
        }
        removed
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &V)> {
        self.rows.iter().map(|(id, value)| (*id, value))
    }

    /// Those after an id.
    pub(super) fn after(&self, id: u64) -> impl Iterator<Item = (u64, &V)> {
        self.rows.range(id.saturating_add(1)..).map(|(id, value)| (*id, value))
    }

    /// Keeps only these.
    pub(super) fn retain(&mut self, keep: impl Fn(u64, &V) -> bool) {
        let gone: Vec<u64> = self.rows.iter().filter(|(id, value)| !keep(**id, value)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| _ = self.remove(id));
    }

    pub(super) fn drain(&mut self, changes: &mut Changes) {
        for bucket in std::mem::take(&mut self.changed) {
            let first = bucket << SHIFT;
            let rows: Vec<(u64, &V)> =
                self.rows.range(first..first.saturating_add(1 << SHIFT)).map(|(id, value)| (*id, value)).collect();
            let bytes = (!rows.is_empty()).then(|| serde_json::to_vec(&rows).ok()).flatten();
            changes.push((format_compact!("{}.{bucket}", self.name), bytes));
        }
    }
}

/// Two marks for each id, 1024 ids in a record.
#[derive(Debug)]
pub(super) struct Marks {
    name: &'static str,
    buckets: BTreeMap<u64, Box<[u8; 256]>>,
    changed: BTreeSet<u64>,
}

/// A mark of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was reported.
    Known = 1,
    /// It has ended.
    Ended = 2,
}

impl Marks {
    /// Ids in a record.
    pub(super) const BUCKET: u64 = 1024;

    pub(super) fn load(name: &'static str, cursors: &Cursors) -> Result<Self, Unreadable> {
        let mut loaded = BTreeMap::new();
        for (key, bytes) in buckets(name, cursors) {
            let number = key.rsplit_once('.').and_then(|(_, number)| number.parse().ok());
            match (number, <[u8; 256]>::try_from(bytes.as_slice())) {
                (Some(number), Ok(bits)) => _ = loaded.insert(number, Box::new(bits)),
                _ => return Err(Unreadable(key.clone())),
            }
        }
        Ok(Self { name, buckets: loaded, changed: BTreeSet::new() })
    }

    pub(super) fn has(&self, id: u64, mark: Mark) -> bool {
        let (byte, shift) = place(id);
        self.buckets.get(&(id / Self::BUCKET)).is_some_and(|bits| bits[byte] >> shift & mark as u8 != 0)
    }

    pub(super) fn set(&mut self, id: u64, mark: Mark, to: bool) {
        if self.has(id, mark) == to {
            return;
        }
        let (byte, shift) = place(id);
        let bucket = id / Self::BUCKET;
        let bits = self.buckets.entry(bucket).or_insert_with(|| Box::new([0; 256]));
        bits[byte] ^= (mark as u8) << shift;
        self.changed.insert(bucket);
    }

    /// The buckets in use.
    pub(super) fn used(&self) -> impl Iterator<Item = u64> {
        self.buckets.keys().copied()
    }

    /// The ids of a bucket that have a mark and lack another.
    pub(super) fn ids(&self, bucket: u64, with: Mark, without: Option<Mark>) -> Vec<u64> {
        let ids = bucket * Self::BUCKET..(bucket + 1) * Self::BUCKET;
        ids.filter(|id| self.has(*id, with) && without.is_none_or(|mark| !self.has(*id, mark))).collect()
    }

    pub(super) fn drain(&mut self, changes: &mut Changes) {
        for bucket in std::mem::take(&mut self.changed) {
            let bytes = self.buckets.get(&bucket).map(|bits| bits.to_vec());
            changes.push((format_compact!("{}.{bucket}", self.name), bytes));
        }
    }
}

fn place(id: u64) -> (usize, u32) {
    let within = id % Marks::BUCKET;
    ((within / 4) as usize, (within % 4) as u32 * 2)
}

fn buckets<'a>(name: &'static str, cursors: &'a Cursors) -> impl Iterator<Item = (&'a CompactString, &'a Vec<u8>)> {
    let from = format_compact!("{name}.");
    cursors.range(from.clone()..).take_while(move |(key, _)| key.starts_with(from.as_str()))
}

/// A position in rows that are read by ascending id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ById {
    /// Whether the position was set.
    pub(super) begun: bool,
    /// The highest id that was read.
    pub(super) last: u64,
    /// Ids below it that were not there yet, with the instant at which that was noticed: rows can become visible late.
    pub(super) gaps: Vec<(u64, i64)>,
}

impl ById {
    /// The most gaps that are remembered.
    const MAX_GAPS: usize = 500;

    /// Records ids that were read; returns those that were not read before.
    pub(super) fn read(&mut self, ids: &BTreeSet<u64>, now: i64) -> BTreeSet<u64> {
        let mut new = BTreeSet::new();
        for id in ids {
            if *id > self.last {
                let missing = (self.last + 1..*id).rev().take(Self::MAX_GAPS).map(|id| (id, now));
                if self.last > 0 {
                    self.gaps.extend(missing.collect::<Vec<_>>().into_iter().rev());
                }
                self.last = *id;
                new.insert(*id);
            } else if let Some(at) = self.gaps.iter().position(|(gap, _)| gap == id) {
                self.gaps.remove(at);
                new.insert(*id);
            }
        }
        let over = self.gaps.len().saturating_sub(Self::MAX_GAPS);
        self.gaps.drain(..over);
        new
    }

    /// Where to read from: before the first gap that is younger than `since`, else after the last row.
    pub(super) fn from(&self, since: i64) -> u64 {
        let gap = self.gaps.iter().find(|(_, noticed)| *noticed >= since);
        gap.map_or(self.last, |(id, _)| id - 1)
    }

    /// Forgets gaps that were noticed before.
    pub(super) fn forget_before(&mut self, instant: i64) {
        self.gaps.retain(|(_, noticed)| *noticed >= instant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(changes: Changes, cursors: &mut Cursors) {
        for (key, bytes) in changes {
            match bytes {
                Some(bytes) => _ = cursors.insert(key, bytes),
                None => _ = cursors.remove(&key),
            }
        }
    }

    #[test]
    fn memory_survives_in_its_records() {
        let mut cursors = Cursors::new();
        let mut table = Table::<String, 8>::load("terms", &cursors).expect("empty");
        let mut marks = Marks::load("terms_marks", &cursors).expect("empty");
        for id in [1, 255, 256, 70_000] {
            assert!(table.insert(id, id.to_string()));
            assert!(!table.insert(id, id.to_string()));
            marks.set(id, Mark::Known, true);
            marks.set(id, Mark::Ended, id > 255);
        }
        let mut changes = Vec::new();
        table.drain(&mut changes);
        assert_eq!(changes.len(), 3);
        marks.drain(&mut changes);
        stored(changes, &mut cursors);
        let mut again = Table::<String, 8>::load("terms", &cursors).expect("readable");
        assert_eq!(again.rows, table.rows);
        again.remove(1);
        again.remove(255);
        let mut changes = Vec::new();
        again.drain(&mut changes);
        assert_eq!(changes, [("terms.0".into(), None)]);
        let again = Marks::load("terms_marks", &cursors).expect("readable");
        assert_eq!(again.ids(0, Mark::Known, Some(Mark::Ended)), [1, 255]);
        assert_eq!(again.ids(0, Mark::Ended, None), [256]);
        cursors.insert("terms.0".into(), b"?".to_vec());
        assert_eq!(Table::<String, 8>::load("terms", &cursors).err(), Some(Unreadable("terms.0".into())));
    }

    #[test]
    fn rows_that_become_visible_late_are_still_read() {
        let mut cursor = ById::default();
        let ids = |list: &[u64]| list.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(cursor.read(&ids(&[5, 6]), 100), ids(&[5, 6]));
        assert_eq!(cursor.read(&ids(&[9]), 200), ids(&[9]));
        assert_eq!((cursor.from(150), cursor.from(201)), (6, 9));
        assert_eq!(cursor.read(&ids(&[7, 9]), 300), ids(&[7]));
        assert_eq!(cursor.read(&ids(&[7, 8, 9, 10]), 300), ids(&[8, 10]));
        assert!(cursor.gaps.is_empty());
        cursor.read(&ids(&[10_000_000]), 400);
        assert_eq!(cursor.gaps.len(), ById::MAX_GAPS);
        cursor.forget_before(401);
        assert!(cursor.gaps.is_empty());
    }
}

//! Owns recording: containers that remember what each item was before its first change, so that changes can be undone.
//!
//! A container records while it holds before-images, which [`swap`](RecordedMap::swap) puts in and takes out. An item costs
//! one before-image, however often it changes.

use crate::domain::mem::seeded::SeededMap;
use std::borrow::Borrow;
use std::hash::Hash;

/// An item whose changes can be undone.
pub trait Recorded {
    /// What it was before.
    type Before;

    /// The before-image of the present state. The item may record further changes by itself until [`Self::end_recording`].
    fn begin_recording(&mut self) -> Self::Before;

    /// Adds to the before-image what the item has recorded by itself.
    fn end_recording(&mut self, before: &mut Self::Before);

    /// Returns to the state of a new item with the same key.
    fn reset(&mut self);

    /// Returns to a before-image. Those of later changes were restored before.
    fn restore(&mut self, before: Self::Before);

    /// Adds the before-image of later changes to the one of earlier changes of the same item.
    fn merge(earlier: &mut Self::Before, later: Self::Before);
}

/// The values of a map before their first change, by key; `None`: there was none.
pub type MapBefore<K, V> = SeededMap<K, Option<V>>;

/// Adds the before-images of later changes of a map to those of earlier ones.
pub fn merge_maps<K: Hash + Eq, V>(earlier: &mut Option<MapBefore<K, V>>, later: Option<MapBefore<K, V>>) {
    let Some(earlier) = earlier else { return };
    for (key, later) in later.into_iter().flatten() {
        earlier.entry(key).or_insert(later);
    }
}

/// A map with keys from input that records.
#[derive(Debug)]
pub struct RecordedMap<K, V> {
    map: SeededMap<K, V>,
    before: Option<MapBefore<K, V>>,
}

impl<K, V> Default for RecordedMap<K, V> {
    fn default() -> Self {
        Self { map: SeededMap::default(), before: None }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> RecordedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key)
    }

    /// Whether it has a key.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.map.contains_key(key)
    }

    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.record(key);
        self.map.get_mut(key)
    }

    /// The value of a key, to be changed; inserted if there is none.
    pub fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        self.record(&key);
        self.map.entry(key).or_insert_with(value)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        self.record(&key);
        self.map.insert(key, value);
    }

    /// Removes a key. Returns its value.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, value) = self.map.remove_entry(key)?;
        if let Some(before) = &mut self.before {
            before.entry(key).or_insert_with(|| Some(value.clone()));
        }
        Some(value)
    }

    /// Exchanges the before-images: with some it records, without any it does not.
    pub fn swap(&mut self, before: &mut Option<MapBefore<K, V>>) {
        std::mem::swap(&mut self.before, before);
    }

    /// Returns to before-images.
    pub fn restore(&mut self, before: MapBefore<K, V>) {
        for (key, value) in before {
            match value {
                Some(value) => drop(self.map.insert(key, value)),
                None => drop(self.map.remove(&key)),
            }
        }
    }

    fn record(&mut self, key: &K) {
        if let Some(before) = &mut self.before
            && !before.contains_key(key)
        {
            before.insert(key.clone(), self.map.get(key).cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_returns_to_its_before_images() {
        let mut map = RecordedMap::<String, u32>::default();
        for key in ["kept", "set", "removed", "changed"] {
            map.insert(key.to_owned(), 1);
        }
        let mut before = Some(MapBefore::default());
        map.swap(&mut before);
        map.insert("set".to_owned(), 2);
        map.insert("set".to_owned(), 3);
        assert_eq!(map.remove("removed"), Some(1));
        *map.get_mut(&"changed".to_owned()).expect("a value") += 1;
        *map.get_or_insert_with("new".to_owned(), || 4) += 1;
        assert_eq!((map.remove("new"), map.remove("absent")), (Some(5), None));
        map.swap(&mut before);
        map.insert("later".to_owned(), 6);
        let before = before.expect("it was recorded");
        assert_eq!(before.len(), 4);
        map.restore(before);
        let mut items: Vec<_> = map.map.into_iter().collect();
        items.sort();
        let expected = [("changed", 1), ("kept", 1), ("later", 6), ("removed", 1), ("set", 1)];
        assert_eq!(items, expected.map(|(key, value)| (key.to_owned(), value)));
    }
}

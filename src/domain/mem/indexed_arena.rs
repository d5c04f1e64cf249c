//! An arena whose items can be found by key. Each key is stored once, in its item; the hash table stores indices. It
//! records changes.

use crate::domain::index::ArenaIndex;
use crate::domain::mem::chunked_arena::ChunkedArena;
use crate::domain::mem::recorded::Recorded;
use crate::domain::mem::seeded::hash;
use hashbrown::HashTable;
use rustc_hash::FxHashMap;
use std::fmt;
use std::hash::Hash;
use std::ops::{Index, IndexMut};

/// An item with a key that never changes.
pub trait Keyed {
    /// The key.
    type Key: Hash + Eq;
    /// Its index.
    type Index: ArenaIndex;

    /// The key of the item.
    fn key(&self) -> &Self::Key;
}

/// The before-images of items, by index; `None`: the item was new.
pub type ArenaBefore<T> = FxHashMap<u32, Option<Box<<T as Recorded>::Before>>>;

/// Items by index and by key.
pub struct IndexedArena<T: Recorded> {
    items: ChunkedArena<T>,
    indices: HashTable<u32>,
    /// Indices of removed items.
    free: Vec<u32>,
    before: Option<ArenaBefore<T>>,
}

impl<T: Recorded> Default for IndexedArena<T> {
    fn default() -> Self {
        Self { items: ChunkedArena::default(), indices: HashTable::new(), free: Vec::new(), before: None }
    }
}

impl<T: Recorded> fmt::Debug for IndexedArena<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexedArena").field("len", &self.items.len()).finish_non_exhaustive()
    }
}

impl<T: Keyed + Recorded> IndexedArena<T> {
    /// All indices assigned so far, including those of removed items.
    pub fn indices(&self) -> impl Iterator<Item = T::Index> + use<T> {
        (0..self.items.len() as u32).map(T::Index::new)
    }

    /// The index of the item with this key.
    pub fn find(&self, key: &T::Key) -> Option<T::Index> {
        self.indices.find(hash(key), |index| self.items[*index].key() == key).copied().map(T::Index::new)
    }

    /// Inserts an item, built from its index, whose key is not present. Reuses the indices of removed items.
    pub fn insert(&mut self, item: impl FnOnce(T::Index) -> T) -> T::Index {
        let free = self.free.pop();
        let index = free.unwrap_or(self.items.len() as u32);
        let item = item(T::Index::new(index));
        let hashed = hash(item.key());
        match free {
            Some(_) => self.items[index] = item,
            None => self.items.push(item),
        }
        let items = &self.items;
        self.indices.insert_unique(hashed, index, |index| hash(items[*index].key()));
        if let Some(before) = &mut self.before {
            before.entry(index).or_insert(None);
        }
        T::Index::new(index)
    }

    /// Exchanges the before-images: with some it records, without any it does not. An item that was new keeps its index.
    pub fn swap(&mut self, before: &mut Option<ArenaBefore<T>>) {
        std::mem::swap(&mut self.before, before);
    }

    /// Adds to before-images what the items have recorded by themselves.
    pub fn end_recording(&mut self, before: &mut ArenaBefore<T>) {
        for (index, before) in before {
            before.iter_mut().for_each(|before| self.items[*index].end_recording(before));
        }
    }

    /// Returns to before-images.
    pub fn restore(&mut self, before: ArenaBefore<T>) {
        for (index, before) in before {
            let item = &mut self.items[index];
            match before {
                Some(before) => item.restore(*before),
                None => item.reset(),
            }
        }
    }

    fn record(&mut self, index: u32) {
        if let Some(before) = &mut self.before {
            let item = &mut self.items[index];
            before.entry(index).or_insert_with(|| Some(Box::new(item.begin_recording())));
        }
    }

    /// Removes an item; `placeholder` takes its slot until the index is reused. This is not recorded.
    pub fn remove(&mut self, index: T::Index, placeholder: T) {
        let index = index.position();
        let hashed = hash(self.items[index].key());
        if let Ok(entry) = self.indices.find_entry(hashed, |other| *other == index) {
            entry.remove();
        }
        self.items[index] = placeholder;
        self.free.push(index);
    }
}

impl<T: Keyed + Recorded> Index<T::Index> for IndexedArena<T> {
    type Output = T;
    #[inline]
    fn index(&self, index: T::Index) -> &T {
        &self.items[index.position()]
    }
}

impl<T: Keyed + Recorded> IndexMut<T::Index> for IndexedArena<T> {
    #[inline]
    fn index_mut(&mut self, index: T::Index) -> &mut T {
        self.record(index.position());
        &mut self.items[index.position()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::index::JourneyIx;

    #[derive(Clone, Debug)]
    struct Named(String, u32);

    impl Recorded for Named {
        type Before = Self;
        fn begin_recording(&mut self) -> Self {
            self.clone()
        }
        fn end_recording(&mut self, _: &mut Self) {}
        fn reset(&mut self) {
            self.1 = 0;
        }
        fn restore(&mut self, before: Self) {
            *self = before;
        }
        fn merge(_: &mut Self, _: Self) {}
    }

    impl Keyed for Named {
        type Key = String;
        type Index = JourneyIx;
        fn key(&self) -> &String {
            &self.0
        }
    }

    #[test]
    fn items_return_to_their_before_images() {
        let mut arena = IndexedArena::<Named>::default();
        let kept = arena.insert(|_| Named("kept".into(), 1));
        let mut before = Some(ArenaBefore::<Named>::default());
        arena.swap(&mut before);
        let new = arena.insert(|_| Named("new".into(), 0));
        for index in [kept, new, kept] {
            arena[index].1 += 10;
        }
        arena.swap(&mut before);
        assert_eq!((arena[kept].1, arena[new].1), (21, 10));
        arena.restore(before.expect("it was recorded"));
        assert_eq!((arena[kept].1, arena[new].1), (1, 0));
        assert_eq!(arena.find(&"new".to_owned()), Some(new), "its index stays assigned");
    }

    #[test]
    fn removed_items_are_not_found_and_their_indices_are_reused() {
        let mut arena = IndexedArena::<Named>::default();
        for count in 0..2000 {
            assert_eq!(arena.insert(|index| Named(count.to_string(), index.0)), JourneyIx(count));
        }
        let find = |arena: &IndexedArena<Named>, name: &str| arena.find(&name.to_owned());
        assert_eq!((find(&arena, "1999"), find(&arena, "2000")), (Some(JourneyIx(1999)), None));
        arena.remove(JourneyIx(7), Named(String::new(), 0));
        arena.remove(JourneyIx(9), Named(String::new(), 0));
        assert_eq!((find(&arena, "7"), find(&arena, "8"), find(&arena, "")), (None, Some(JourneyIx(8)), None));
        assert_eq!(arena.insert(|index| Named("new".into(), index.0)), JourneyIx(9), "last removed, first reused");
        assert_eq!((find(&arena, "new"), arena[JourneyIx(9)].1), (Some(JourneyIx(9)), 9));
        assert!(arena.indices().eq((0..2000).map(JourneyIx)));
    }
}

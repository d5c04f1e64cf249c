//! An arena whose items can be found by key. Each key is stored once, in its item; the hash table stores indices.

use crate::domain::index::ArenaIndex;
use crate::domain::mem::chunked_arena::ChunkedArena;
use crate::domain::mem::seeded::hash;
use hashbrown::HashTable;
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

/// Items by index and by key.
#[derive(Debug)]
pub struct IndexedArena<T> {
    items: ChunkedArena<T>,
    indices: HashTable<u32>,
    /// Indices of removed items.
    free: Vec<u32>,
}

impl<T> Default for IndexedArena<T> {
    fn default() -> Self {
        Self { items: ChunkedArena::default(), indices: HashTable::new(), free: Vec::new() }
    }
}

impl<T: Keyed> IndexedArena<T> {
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
        T::Index::new(index)
    }

    /// Removes an item; `placeholder` takes its slot until the index is reused.
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

impl<T: Keyed> Index<T::Index> for IndexedArena<T> {
    type Output = T;
    fn index(&self, index: T::Index) -> &T {
        &self.items[index.position()]
    }
}

impl<T: Keyed> IndexMut<T::Index> for IndexedArena<T> {
    fn index_mut(&mut self, index: T::Index) -> &mut T {
        &mut self.items[index.position()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::index::JourneyIx;

    #[derive(Debug)]
    struct Named(String, u32);

    impl Keyed for Named {
        type Key = String;
        type Index = JourneyIx;
        fn key(&self) -> &String {
            &self.0
        }
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

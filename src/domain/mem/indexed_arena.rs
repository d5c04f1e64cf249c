//! An arena whose items can be found by key. Each key is stored once, in its item; the hash table stores indices.

use crate::domain::mem::chunked_arena::ChunkedArena;
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
use std::ops::{Index, IndexMut};

/// An item with a key that never changes.
pub trait Keyed {
    /// The key.
    type Key: Hash + Eq;

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
    pub fn indices(&self) -> std::ops::Range<u32> {
        0..self.items.len() as u32
    }

    /// The index of the item with this key.
    pub fn find(&self, key: &T::Key) -> Option<u32> {
        self.indices.find(hash(key), |index| self.items[*index].key() == key).copied()
    }

    /// Inserts an item, built from its index, whose key is not present. Reuses the indices of removed items.
    pub fn insert(&mut self, item: impl FnOnce(u32) -> T) -> u32 {
        let free = self.free.pop();
        let index = free.unwrap_or(self.items.len() as u32);
        let item = item(index);
        let hashed = hash(item.key());
        match free {
            Some(_) => self.items[index] = item,
            None => self.items.push(item),
        }
        let items = &self.items;
        self.indices.insert_unique(hashed, index, |index| hash(items[*index].key()));
        index
    }

    /// Removes an item; `placeholder` takes its slot until the index is reused.
    pub fn remove(&mut self, index: u32, placeholder: T) {
        let hashed = hash(self.items[index].key());
        if let Ok(entry) = self.indices.find_entry(hashed, |other| *other == index) {
            entry.remove();
        }
        self.items[index] = placeholder;
        self.free.push(index);
    }
}

fn hash(key: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

impl<T> Index<u32> for IndexedArena<T> {
    type Output = T;
    fn index(&self, index: u32) -> &T {
        &self.items[index]
    }
}

impl<T> IndexMut<u32> for IndexedArena<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.items[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Named(String, u32);

    impl Keyed for Named {
        type Key = String;
        fn key(&self) -> &String {
            &self.0
        }
    }

    #[test]
    fn removed_items_are_not_found_and_their_indices_are_reused() {
        let mut arena = IndexedArena::default();
        for count in 0..2000 {
            assert_eq!(arena.insert(|index| Named(count.to_string(), index)), count);
        }
        let find = |arena: &IndexedArena<Named>, name: &str| arena.find(&name.to_owned());
        assert_eq!((find(&arena, "1999"), find(&arena, "2000")), (Some(1999), None));
        arena.remove(7, Named(String::new(), 0));
        arena.remove(9, Named(String::new(), 0));
        assert_eq!((find(&arena, "7"), find(&arena, "8"), find(&arena, "")), (None, Some(8), None));
        assert_eq!(arena.insert(|index| Named("new".into(), index)), 9, "last removed, first reused");
        assert_eq!((find(&arena, "new"), arena[9].1), (Some(9), 9));
        assert_eq!(arena.indices(), 0..2000);
    }
}

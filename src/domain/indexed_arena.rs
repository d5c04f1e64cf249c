//! Owns the finding of numbered things by their keys. The table holds numbers only: a key stands once, in its thing.

use super::chunked_arena::ChunkedArena;
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
use std::ops::{Index, IndexMut};

/// Something that is found by a key of its own, which never changes.
pub trait Keyed {
    /// The key.
    type Key: Hash + Eq;

    /// The key of this one.
    fn key(&self) -> &Self::Key;
}

/// Things by number and by key.
#[derive(Debug)]
pub struct IndexedArena<T> {
    things: ChunkedArena<T>,
    numbers: HashTable<u32>,
    /// Numbers of things that are forgotten.
    free: Vec<u32>,
}

impl<T> Default for IndexedArena<T> {
    fn default() -> Self {
        Self { things: ChunkedArena::default(), numbers: HashTable::new(), free: Vec::new() }
    }
}

impl<T: Keyed> IndexedArena<T> {
    /// The numbers that were given so far, those of forgotten things among them.
    pub fn numbers(&self) -> std::ops::Range<u32> {
        0..self.things.len() as u32
    }

    /// The number of the thing with this key.
    pub fn find(&self, key: &T::Key) -> Option<u32> {
        self.numbers.find(hash(key), |number| self.things[*number].key() == key).copied()
    }

    /// Enters a thing whose key is not there, made for its number. Numbers of forgotten things are given again.
    pub fn enter(&mut self, thing: impl FnOnce(u32) -> T) -> u32 {
        let free = self.free.pop();
        let number = free.unwrap_or(self.things.len() as u32);
        let thing = thing(number);
        let found = hash(thing.key());
        match free {
            Some(_) => self.things[number] = thing,
            None => self.things.push(thing),
        }
        let things = &self.things;
        self.numbers.insert_unique(found, number, |number| hash(things[*number].key()));
        number
    }

    /// Forgets a thing; `static_default` takes its place until the number is given again.
    pub fn forget(&mut self, number: u32, static_default: T) {
        let found = hash(self.things[number].key());
        if let Ok(entry) = self.numbers.find_entry(found, |other| *other == number) {
            entry.remove();
        }
        self.things[number] = static_default;
        self.free.push(number);
    }
}

fn hash(key: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

impl<T> Index<u32> for IndexedArena<T> {
    type Output = T;
    fn index(&self, number: u32) -> &T {
        &self.things[number]
    }
}

impl<T> IndexMut<u32> for IndexedArena<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.things[number]
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
    fn what_is_forgotten_is_not_found_and_its_number_is_given_again() {
        let mut register = IndexedArena::default();
        for count in 0..2000 {
            assert_eq!(register.enter(|number| Named(count.to_string(), number)), count);
        }
        let find = |register: &IndexedArena<Named>, name: &str| register.find(&name.to_owned());
        assert_eq!((find(&register, "1999"), find(&register, "2000")), (Some(1999), None));
        register.forget(7, Named(String::new(), 0));
        register.forget(9, Named(String::new(), 0));
        assert_eq!((find(&register, "7"), find(&register, "8"), find(&register, "")), (None, Some(8), None));
        assert_eq!(register.enter(|number| Named("new".into(), number)), 9, "the last one first");
        assert_eq!((find(&register, "new"), register[9].1), (Some(9), 9));
        assert_eq!(register.numbers(), 0..2000);
    }
}

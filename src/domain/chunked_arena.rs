//! Owns the place where things stand by number: in chunks, so that growing moves nothing and wastes a chunk at most.
//!
//! A vector doubles: of a million things it holds room for another million, and the system clears fresh pages for
//! both while the things are copied.

use std::ops::{Index, IndexMut};

/// Things in one chunk. The first one grows as a vector does, as most tenants are small.
const CHUNK: usize = 512;

/// Things by number, in order of arrival.
#[derive(Debug)]
pub struct ChunkedArena<T> {
    /// All are full but the last.
    chunks: Vec<Vec<T>>,
}

impl<T> Default for ChunkedArena<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> ChunkedArena<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Adds one; its number is how many there were.
    pub fn push(&mut self, thing: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(thing),
            last => {
                let mut chunk = Vec::with_capacity(last.map_or(1, |_| CHUNK));
                chunk.push(thing);
                self.chunks.push(chunk);
            }
        }
    }

    /// The one of this number, if it was given.
    pub fn get(&self, number: u32) -> Option<&T> {
        self.chunks.get(number as usize / CHUNK)?.get(number as usize % CHUNK)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> IntoIterator for ChunkedArena<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;
    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flatten()
    }
}

impl<T> Index<u32> for ChunkedArena<T> {
    type Output = T;
    fn index(&self, number: u32) -> &T {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for ChunkedArena<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_in_order_and_stay() {
        let mut slab = ChunkedArena::default();
        assert!(slab.is_empty());
        for number in 0..3 * CHUNK as u32 + 1 {
            assert_eq!(slab.len(), number as usize);
            slab.push(number);
        }
        slab[CHUNK as u32] = 7;
        assert_eq!((slab[CHUNK as u32 - 1], slab[CHUNK as u32], slab[3 * CHUNK as u32]), (511, 7, 1536));
        assert_eq!(
            (slab.get(3 * CHUNK as u32), slab.get(3 * CHUNK as u32 + 1), slab.get(u32::MAX)),
            (Some(&1536), None, None)
        );
        assert_eq!(slab.iter().count(), slab.len());
        assert_eq!(slab.into_iter().last(), Some(1536));
    }

    #[test]
    fn a_small_one_takes_little() {
        let mut slab = ChunkedArena::default();
        slab.push(1u64);
        assert_eq!(slab.chunks[0].capacity(), 1);
    }
}

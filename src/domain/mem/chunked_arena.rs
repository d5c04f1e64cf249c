//! A chunked arena with stable indices: growing moves nothing and wastes at most one chunk.
//!
//! A vector doubles its capacity: with a million items it may reserve space for another million, and growing copies all
//! items into fresh pages.

use std::ops::{Index, IndexMut};

/// Items per chunk. The first chunk grows like a vector, because most tenants are small.
const CHUNK: usize = 512;

/// Items by index, in insertion order.
#[derive(Debug)]
pub struct ChunkedArena<T> {
    /// All chunks except the last are full.
    chunks: Vec<Vec<T>>,
}

impl<T> Default for ChunkedArena<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> ChunkedArena<T> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Whether the arena is empty.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Appends an item; its index is the previous length.
    pub fn push(&mut self, item: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(item),
            last => {
                let mut chunk = Vec::with_capacity(last.map_or(1, |_| CHUNK));
                chunk.push(item);
                self.chunks.push(chunk);
            }
        }
    }

    /// The item at an index, if there is one.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    /// All items, in index order.
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
    fn index(&self, index: u32) -> &T {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for ChunkedArena<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_consecutive_and_stable() {
        let mut arena = ChunkedArena::default();
        assert!(arena.is_empty());
        for index in 0..3 * CHUNK as u32 + 1 {
            assert_eq!(arena.len(), index as usize);
            arena.push(index);
        }
        arena[CHUNK as u32] = 7;
        assert_eq!((arena[CHUNK as u32 - 1], arena[CHUNK as u32], arena[3 * CHUNK as u32]), (511, 7, 1536));
        assert_eq!(
            (arena.get(3 * CHUNK as u32), arena.get(3 * CHUNK as u32 + 1), arena.get(u32::MAX)),
            (Some(&1536), None, None)
        );
        assert_eq!(arena.iter().count(), arena.len());
        assert_eq!(arena.into_iter().last(), Some(1536));
    }

    #[test]
    fn a_small_arena_allocates_little() {
        let mut arena = ChunkedArena::default();
        arena.push(1u64);
        assert_eq!(arena.chunks[0].capacity(), 1);
    }
}

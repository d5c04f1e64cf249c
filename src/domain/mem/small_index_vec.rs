//! A compact vector of indices: up to three are stored inline.
//!
//! It takes 16 bytes; `SmallVec<[u32; 4]>` takes 24, and `ThinVec` allocates memory for the first index.

use crate::domain::index::ArenaIndex;
use std::ops::Deref;

/// Number of indices stored inline.
const INLINE: usize = 3;

/// Indices, in insertion order.
#[derive(Clone, Debug)]
pub enum SmallIndexVec<I> {
    /// Up to three indices, with their count.
    Inline(u8, [I; INLINE]),
    /// More than three indices.
    Heap(Box<Vec<I>>),
}

impl<I: ArenaIndex> SmallIndexVec<I> {
    /// The empty vector.
    pub const EMPTY: Self = Self::Inline(0, [I::FIRST; INLINE]);

    /// Appends an index.
    pub fn push(&mut self, index: I) {
        match self {
            Self::Inline(count, slots) => match slots.get_mut(usize::from(*count)) {
                Some(slot) => (*slot, *count) = (index, *count + 1),
                None => {
                    let mut all = slots.to_vec();
                    all.push(index);
                    *self = Self::Heap(Box::new(all));
                }
            },
            Self::Heap(all) => all.push(index),
        }
    }

    /// Removes all indices.
    pub fn clear(&mut self) {
        *self = Self::EMPTY;
    }
}

impl<I: ArenaIndex> Default for SmallIndexVec<I> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<I: ArenaIndex> FromIterator<I> for SmallIndexVec<I> {
    fn from_iter<T: IntoIterator<Item = I>>(indices: T) -> Self {
        let mut all = Self::EMPTY;
        indices.into_iter().for_each(|index| all.push(index));
        all
    }
}

impl<I> Deref for SmallIndexVec<I> {
    type Target = [I];
    fn deref(&self) -> &[I] {
        match self {
            Self::Inline(count, slots) => &slots[..usize::from(*count)],
            Self::Heap(all) => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::index::JourneyIx;

    #[test]
    fn it_behaves_like_a_vector_and_takes_16_bytes() {
        assert_eq!(size_of::<SmallIndexVec<JourneyIx>>(), 16);
        let mut indices = SmallIndexVec::default();
        let mut all = Vec::new();
        for index in (0..10).map(JourneyIx) {
            assert_eq!(*indices, *all);
            indices.push(index);
            all.push(index);
        }
        assert_eq!(*indices, *all);
        indices.clear();
        assert!(indices.is_empty());
    }
}

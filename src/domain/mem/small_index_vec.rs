//! A compact vector of indices: up to three are stored inline.
//!
//! It takes 16 bytes; `SmallVec<[u32; 4]>` takes 24, and `ThinVec` allocates memory for the first index.

use crate::domain::index::ArenaIndex;
use std::ops::{Deref, DerefMut};

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

    /// Appends an index that it does not contain.
    pub fn insert(&mut self, index: I) {
        if !self.contains(&index) {
            self.push(index);
        }
    }

    /// The indices that are not among `others`.
    pub fn without(&self, others: &[I]) -> Self {
        self.iter().filter(|index| !others.contains(index)).copied().collect()
    }

    /// Removes all indices.
    pub fn clear(&mut self) {
        *self = Self::EMPTY;
    }
}

impl<I: PartialEq> PartialEq for SmallIndexVec<I> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<I: Eq> Eq for SmallIndexVec<I> {}

impl<'a, I> IntoIterator for &'a SmallIndexVec<I> {
    type Item = &'a I;
    type IntoIter = std::slice::Iter<'a, I>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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

impl<I> DerefMut for SmallIndexVec<I> {
    fn deref_mut(&mut self) -> &mut [I] {
        match self {
            Self::Inline(count, slots) => &mut slots[..usize::from(*count)],
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
        let even: Vec<_> = all.iter().copied().filter(|index| index.0 % 2 == 0).collect();
        assert_eq!(*indices.without(&even), *all.iter().copied().filter(|index| index.0 % 2 == 1).collect::<Vec<_>>());
        indices.insert(JourneyIx(9));
        indices.insert(JourneyIx(10));
        assert_eq!(*indices, *all.into_iter().chain([JourneyIx(10)]).collect::<Vec<_>>());
        indices.clear();
        assert!(indices.is_empty());
    }
}

//! A compact vector of indices: up to three are stored inline.

use std::ops::Deref;

/// Number of indices stored inline.
const INLINE: usize = 3;

/// Indices, in insertion order.
#[derive(Clone, Debug)]
pub enum SmallIndexVec {
    /// Up to three indices, with their count.
    Inline(u8, [u32; INLINE]),
    /// More than three indices.
    Heap(Box<Vec<u32>>),
}

impl SmallIndexVec {
    /// The empty vector.
    pub const EMPTY: Self = Self::Inline(0, [0; INLINE]);

    /// Appends an index.
    pub fn push(&mut self, index: u32) {
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

impl Default for SmallIndexVec {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Deref for SmallIndexVec {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        match self {
            Self::Inline(count, slots) => &slots[..usize::from(*count)],
            Self::Heap(all) => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_behaves_like_a_vector_and_takes_16_bytes() {
        assert_eq!(size_of::<SmallIndexVec>(), 16);
        let mut indices = SmallIndexVec::default();
        let mut all = Vec::new();
        for index in 0..10 {
            assert_eq!(*indices, *all);
            indices.push(index);
            all.push(index);
        }
        assert_eq!(*indices, *all);
        indices.clear();
        assert!(indices.is_empty());
    }
}

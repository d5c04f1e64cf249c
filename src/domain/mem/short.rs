//! Owns how vectors grow that mostly hold one item.
//!
//! The first item of a `Vec` takes memory for four. There are several such vectors in each lead, call and contact, so three
//! quarters of their memory would stay unused.

use std::collections::VecDeque;

/// Growth without slack for the first item; afterwards the capacity doubles.
pub trait Short<T> {
    /// Makes room for one more item.
    fn reserve_short(&mut self);

    /// Appends an item.
    fn push_short(&mut self, item: T);
}

impl<T> Short<T> for Vec<T> {
    #[inline]
    fn reserve_short(&mut self) {
        if self.len() == self.capacity() {
            self.reserve_exact(self.len().max(1));
        }
    }

    #[inline]
    fn push_short(&mut self, item: T) {
        self.reserve_short();
        self.push(item);
    }
}

impl<T> Short<T> for VecDeque<T> {
    #[inline]
    fn reserve_short(&mut self) {
        if self.len() == self.capacity() {
            self.reserve_exact(self.len().max(1));
        }
    }

    #[inline]
    fn push_short(&mut self, item: T) {
        self.reserve_short();
        self.push_back(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_item_takes_memory_for_one_and_growth_is_geometric() {
        let (mut vec, mut deque) = (Vec::new(), VecDeque::new());
        for (count, capacity) in [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8)] {
            vec.push_short(count);
            deque.push_short(count);
            assert_eq!((vec.len(), vec.capacity(), deque.capacity()), (count, capacity, capacity));
        }
        assert!(deque.into_iter().eq(vec));
    }
}

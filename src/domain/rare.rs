//! Owns what most things do not have: it takes a pointer in those, and a box of its own in the others.

use std::ops::{Deref, DerefMut};

/// What can be lacking.
pub trait Blank: Default + 'static {
    /// What is read where there is none; equal to the default.
    fn blank() -> &'static Self;
}

/// Something that reads as blank until it is written to for the first time.
#[derive(Debug)]
pub struct Rare<T>(Option<Box<T>>);

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Rare<T> {
    /// It, if there is one: to change what can only be there if there is.
    pub fn taken(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::blank())
    }
}

impl<T: Blank> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Blank for u64 {
        fn blank() -> &'static u64 {
            &0
        }
    }

    #[test]
    fn only_writing_makes_one() {
        let mut rare = Rare::<u64>::default();
        assert_eq!((*rare, size_of_val(&rare)), (0, 8));
        assert_eq!(rare.taken(), None);
        *rare += 1;
        assert_eq!(rare.taken(), Some(&mut 1));
    }
}

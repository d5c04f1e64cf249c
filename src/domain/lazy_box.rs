//! Owns what most things do not have: it takes a pointer in those, and a box of its own in the others.

use std::ops::{Deref, DerefMut};

/// What can be lacking.
pub trait StaticDefault: Default + 'static {
    /// What is read where there is none; equal to the default.
    fn static_default() -> &'static Self;
}

/// Something that reads as blank until it is written to for the first time.
#[derive(Debug)]
pub struct LazyBox<T>(Option<Box<T>>);

impl<T> Default for LazyBox<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> LazyBox<T> {
    /// It, if there is one: to change what can only be there if there is.
    pub fn taken(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: StaticDefault> Deref for LazyBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::static_default())
    }
}

impl<T: StaticDefault> DerefMut for LazyBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl StaticDefault for u64 {
        fn static_default() -> &'static u64 {
            &0
        }
    }

    #[test]
    fn only_writing_makes_one() {
        let mut rare = LazyBox::<u64>::default();
        assert_eq!((*rare, size_of_val(&rare)), (0, 8));
        assert_eq!(rare.taken(), None);
        *rare += 1;
        assert_eq!(rare.taken(), Some(&mut 1));
    }
}

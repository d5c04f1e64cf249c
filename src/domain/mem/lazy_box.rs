//! A lazily allocated optional field: one pointer while empty, a box once it is written.

use std::ops::{Deref, DerefMut};

/// A type with a statically allocated default value.
pub trait StaticDefault: Default + 'static {
    /// The value read while nothing is allocated; equal to the default.
    const DEFAULT: &'static Self;
}

/// A value that reads as its default, and is allocated on the first write.
#[derive(Clone, Debug)]
pub struct LazyBox<T>(Option<Box<T>>);

impl<T> Default for LazyBox<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> LazyBox<T> {
    /// Whether it is allocated.
    pub fn exists(&self) -> bool {
        self.0.is_some()
    }

    /// The value, if it is allocated. Does not allocate.
    pub fn existing_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: StaticDefault> Deref for LazyBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::DEFAULT)
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
        const DEFAULT: &'static Self = &0;
    }

    #[test]
    fn only_writing_allocates() {
        let mut lazy = LazyBox::<u64>::default();
        assert_eq!((*lazy, size_of_val(&lazy)), (0, 8));
        assert_eq!(lazy.existing_mut(), None);
        *lazy += 1;
        assert_eq!(lazy.existing_mut(), Some(&mut 1));
    }
}

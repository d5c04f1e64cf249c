//! Owns lists of numbers that are short: up to three stand in the place where a vector keeps its length.

use std::ops::Deref;

/// How many need no memory of their own.
const INSIDE: usize = 3;

/// Numbers, in order of arrival.
#[derive(Clone, Debug)]
pub enum SmallIndexVec {
    /// So many of these.
    Inside(u8, [u32; INSIDE]),
    /// More.
    Env(Box<Vec<u32>>),
}

impl SmallIndexVec {
    /// None.
    pub const NONE: Self = Self::Inside(0, [0; INSIDE]);

    /// Adds one.
    pub fn push(&mut self, number: u32) {
        match self {
            Self::Inside(count, places) => match places.get_mut(usize::from(*count)) {
                Some(place) => (*place, *count) = (number, *count + 1),
                None => {
                    let mut all = places.to_vec();
                    all.push(number);
                    *self = Self::Env(Box::new(all));
                }
            },
            Self::Env(all) => all.push(number),
        }
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        *self = Self::NONE;
    }
}

impl Default for SmallIndexVec {
    fn default() -> Self {
        Self::NONE
    }
}

impl Deref for SmallIndexVec {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        match self {
            Self::Inside(count, places) => &places[..usize::from(*count)],
            Self::Env(all) => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_put_in_and_takes_16_bytes() {
        assert_eq!(size_of::<SmallIndexVec>(), 16);
        let mut few = SmallIndexVec::default();
        let mut all = Vec::new();
        for number in 0..10 {
            assert_eq!(*few, *all);
            few.push(number);
            all.push(number);
        }
        assert_eq!(*few, *all);
        few.clear();
        assert!(few.is_empty());
    }
}

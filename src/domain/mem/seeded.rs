//! Owns the hashing of keys that come from input: with a random seed of the process, so that no sender can choose keys that
//! collide, which would make the cost of a map grow with the square of its size.
//!
//! *Alternatives considered.* rustc-hash, which hashes indices elsewhere, has no seed that matters for text. SipHash, the
//! default of `std`, resists also senders who can time the process, but costs several times as much for short ids.

use foldhash::SharedSeed;
use foldhash::fast::{FoldHasher, RandomState};
use std::hash::{Hash, Hasher};

/// A map with keys from input.
pub type SeededMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A set of keys from input.
pub type SeededSet<K> = std::collections::HashSet<K, RandomState>;

/// The hash of a key from input; differs between processes.
pub fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = FoldHasher::with_seed(0, SharedSeed::global_random());
    key.hash(&mut hasher);
    hasher.finish()
}

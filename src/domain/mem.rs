//! Memory layouts for millions of small objects: arenas, and boxes and lists that are usually empty.

pub mod chunked_arena;
pub mod indexed_arena;
pub mod lazy_box;
pub mod recorded;
pub mod seeded;
pub mod short;
pub mod small_index_vec;

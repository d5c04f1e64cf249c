//! Owns the generated protobuf messages of `proto/`, as `prost` writes them; nothing by hand.

#![allow(missing_docs, unreachable_pub, rustdoc::all, clippy::all)]

/// Every package, by its path: the generated modules name each other so.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/funnelwatch.rs"));
}

pub use generated::funnelwatch::v1::*;
pub use generated::google::protobuf as well_known;

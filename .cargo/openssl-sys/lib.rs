//! Nothing but the link to OpenSSL, which `build.rs` chooses.

#![no_std]

//! The I/O ring: Kafka, files, HTTP, Redis, the terminal and the wall clock. Everything that blocks, fails or reads the
//! time is here.

pub mod clock;
pub mod deliveries;
pub mod files;
pub mod http;
pub mod http_client;
pub mod kafka;
pub mod members;
pub mod memory;
pub mod redis;
pub mod replay;
pub mod spill;
pub mod table;
pub mod terminal;

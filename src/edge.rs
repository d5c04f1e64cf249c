//! The ring that touches. Owns what meets the world: Kafka, files, HTTP, the terminal, signals. Everything that can block,
//! fail or tell the time is here.

pub mod clock;
pub mod files;
pub mod http;
pub mod kafka;
pub mod redis;
pub mod replay;
pub mod table;
pub mod terminal;

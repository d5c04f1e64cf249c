//! The gateway: events of real systems become messages of the three source topics.

pub mod source;

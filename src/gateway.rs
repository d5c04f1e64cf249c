//! The gateway: events of real systems become messages of the three source topics.

pub mod bitrix24;
pub mod driver;
mod encode;
mod hint_record;
pub mod inbox;
pub mod source;

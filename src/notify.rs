//! Informs people of alerts, in the channels that they use, as one message that follows its alert to the end.
//!
//! ```text
//!  alerts ──► driver thread ──► ledger: who is owed what ──jobs──► a thread for each channel ──► people
//!              ▲   │                ▲                                    │
//!    group ────┘   │                └──────────── outcomes ──────────────┘
//!                  └──► one transaction: records of the ledger, offsets of the alerts
//! ```
//!
//! **Nothing is lost.** The offset of an alert is committed together with what is owed for it.
//!
//! **At most once.** A message is recorded as under way before it is sent, and as sent afterwards. If the process ends in
//! between, it may have arrived. Channels whose requests can be repeated without a second message get it again (Bitrix24
//! notifications and tasks, webhooks, Alertmanager). E-mail, Telegram and to-dos cannot be asked: they get it again, too, it
//! is counted, and at most the messages under way are sent twice.

pub mod answers;
pub mod asked;
pub mod case;
pub mod channel;
pub mod digest;
pub mod directory;
pub mod driver;
#[cfg(test)]
mod fake_server;
pub mod ledger;
pub mod link;
pub mod message;
pub mod notice;
pub mod record;
pub mod routing;
pub mod text;

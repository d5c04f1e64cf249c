//! Owns the channels, by name.

use crate::config::schema::typed::named;
use crate::domain::named::named_enum;

named_enum! {
    /// How somebody is informed.
    pub enum Channel, named "in the configuration, records and labels" {
        /// A notification in Bitrix24.
        Bitrix24 = "bitrix24",
        /// A to-do on the card in Bitrix24.
        Todo = "todo",
        /// A task in Bitrix24.
        Task = "task",
        /// A message in Telegram.
        Telegram = "telegram",
        /// An e-mail.
        Mail = "mail",
        /// A signed request to a program.
        Webhook = "webhook",
        /// An alert of Alertmanager.
        Alertmanager = "alertmanager",
    }
}

named! { Channel }

impl Channel {
    /// Whether it takes no recipients, because a program receives it.
    pub const fn is_program(self) -> bool {
        matches!(self, Self::Webhook | Self::Alertmanager)
    }
}

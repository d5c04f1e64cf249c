//! Owns an answer of a person on its way to the driver, and what became of it.

use super::link::Claim;
use crate::domain::rule::message::Language;
use tokio::sync::oneshot;

/// The answers that wait for the driver.
pub const WAITING: usize = 100;

/// An answer on its way to the driver.
pub struct Asked {
    /// What is answered, by whom.
    pub claim: Claim,
    /// What makes it unique: the signature of a link, or the id of a press of a button.
    pub token: String,
    /// In Telegram: the chat that the message was sent to, which proves who answers.
    pub chat: Option<String>,
    /// Receives what became of it.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// Why an answer has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The link was used before.
    Used,
    /// The alert is over or not known.
    Over,
    /// Somebody else takes care of it.
    Taken,
    /// The answer is of somebody else than the recipient.
    NotRecipient,
    /// It cannot be stored at the moment.
    NotStored,
}

impl Refusal {
    /// What the person is informed.
    pub fn text(self, language: Language) -> &'static str {
        let [english, russian] = match self {
            Self::Used => ["This was answered before.", "Ответ уже был получен."],
            Self::Over => {
                ["There is nothing to do any more: the case is over.", "Делать больше ничего не нужно: вопрос закрыт."]
            }
            Self::Taken => ["Somebody else takes care of it already.", "Этим уже занимается другой сотрудник."],
            Self::NotRecipient => {
                ["This message was sent to somebody else.", "Это сообщение адресовано другому сотруднику."]
            }
            Self::NotStored => [
                "This cannot be stored at the moment. Please try again.",
                "Сейчас ответ не удаётся сохранить. Попробуйте ещё раз.",
            ],
        };
        if language == Language::Ru { russian } else { english }
    }
}

/// What is said after an answer.
pub fn done(language: Language) -> &'static str {
    if language == Language::Ru { "Записано, спасибо." } else { "Noted. Thank you." }
}

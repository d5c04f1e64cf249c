//! Owns `message_unanswered`: a customer's message wants an answer.
//!
//! Any message to the same address, in the thread or in reply counts, and so does a conversation; an automatic message
//! is none. Messages on channels that the norm leaves out ask for no answer.

use super::super::effect::Measure;
use super::super::pending_replies::DemandKind;
use super::super::tenant_context::Timer;
use super::{Definition, Evaluation, Parameter, Rule, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    about: ["a customer's message was not answered", "на сообщение клиента не ответили"],
    why: [
        "Who writes has chosen the quiet way to ask; without an answer he leaves just as quietly.",
        "Кто пишет, тот спрашивает тихо; не дождавшись ответа, он так же тихо уходит.",
    ],
    subjects: &["contact:KEY"],
    takes: &[Parameter::Within, Parameter::Clock, Parameter::Channels],
    observed: &["lag_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "a message of {subject} has had no answer within {within_seconds} ({clock} time): {lag_seconds} so far",
            "{subject}: не ответили на сообщение за {within_seconds} ({clock} время), прошло {lag_seconds}",
        ],
        settled: [
            "a message of {subject} was answered after {lag_seconds}; the norm is {within_seconds} ({clock} time)",
            "{subject}: ответили на сообщение через {lag_seconds} при норме {within_seconds} ({clock} время)",
        ],
    },
    evaluation: Evaluation::Demands(&KIND),
};

/// Unanswered messages as demands.
pub const KIND: DemandKind = DemandKind {
    rule: Rule::MessageUnanswered,
    waiting: Measure::Unanswered,
    lag: Measure::Reply,
    timer: Timer::Messages,
};

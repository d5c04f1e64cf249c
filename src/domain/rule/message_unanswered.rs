//! Owns `message_unanswered`: a customer's message that was not answered.
//!
//! A message to the same address, in the same thread or in reply counts as an answer, and so does a conversation;
//! automatic messages do not. Messages on channels that the norm does not list require no answer.

use crate::domain::context::Timer;
use crate::domain::figures::pane::Measure;
use crate::domain::pending_replies::DemandKind;
use crate::domain::rule::Rule;
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Message not answered", "Нет ответа на сообщение"],
    about: ["a customer's message was not answered", "на сообщение клиента не ответили"],
    why: [
        "A customer who writes asks quietly; without an answer they leave just as quietly.",
        "Клиент, который пишет, ни на чём не настаивает; не дождавшись ответа, он молча уходит.",
    ],
    subjects: &["contact:KEY"],
    takes: &[
        Parameter::Within,
        Parameter::WarnBefore,
        Parameter::Clock,
        Parameter::Channels,
        Parameter::QuietAfterClose,
    ],
    observed: &["lag_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "a message from {subject} had no answer within {within_seconds} ({clock} time): {lag_seconds} so far",
            "{subject}: не ответили на сообщение за {within_seconds} ({clock} время), прошло {lag_seconds}",
        ],
        settled: [
            "a message from {subject} was answered after {lag_seconds}; the norm is {within_seconds} ({clock} time)",
            "{subject}: ответили на сообщение через {lag_seconds} при норме {within_seconds} ({clock} время)",
        ],
        due_soon: [
            "a message from {subject} had no answer for {lag_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: не ответили на сообщение {lag_seconds} ({clock} время) при норме {within_seconds}",
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

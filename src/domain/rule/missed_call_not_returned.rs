//! Owns `missed_call_not_returned`: an inbound call without a conversation that was not returned.
//!
//! A call back is dated by its start and must start at or after the end of the missed call. A customer who calls again
//! and gets through ends the wait as well, but that is not counted as a call-back lag.

use crate::domain::context::Timer;
use crate::domain::figures::pane::Measure;
use crate::domain::pending_replies::DemandKind;
use crate::domain::rule::Rule;
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Missed call not returned", "Не перезвонили"],
    about: ["a missed inbound call was not returned", "на пропущенный звонок клиента не перезвонили"],
    why: [
        "A customer who called and reached nobody calls the next company.",
        "Клиент, который не дозвонился, звонит следующей компании из списка.",
    ],
    subjects: &["contact:KEY"],
    takes: &[Parameter::Within, Parameter::WarnBefore, Parameter::Clock, Parameter::MinRing, Parameter::TextReturns],
    observed: &["lag_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "a missed call from {subject} was not returned within {within_seconds} ({clock} time): {lag_seconds} so far",
            "{subject}: не перезвонили за {within_seconds} ({clock} время), прошло {lag_seconds}",
        ],
        settled: [
            "a missed call from {subject} led to a conversation only after {lag_seconds}; the norm is {within_seconds} \
             ({clock} time)",
            "{subject}: после пропущенного звонка связались только через {lag_seconds} при норме {within_seconds} \
             ({clock} время)",
        ],
        due_soon: [
            "a missed call from {subject} was not returned for {lag_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: не перезвонили {lag_seconds} ({clock} время) при норме {within_seconds}",
        ],
    },
    evaluation: Evaluation::Demands(&KIND),
};

/// Missed calls as demands.
pub const KIND: DemandKind = DemandKind {
    rule: Rule::MissedCallNotReturned,
    waiting: Measure::Unreturned,
    lag: Measure::CallBack,
    timer: Timer::MissedCalls,
};

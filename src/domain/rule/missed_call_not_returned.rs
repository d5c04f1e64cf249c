//! Owns `missed_call_not_returned`: an inbound call that was no conversation wants a call back.
//!
//! Why: a customer who called and reached nobody calls the next company. The call back counts from its start and must
//! start at or after the missed call's end; a customer who gets through himself ends the wait too, but it is no merit
//! of the staff and no call-back lag.

use super::super::desk::Timer;
use super::super::effect::Measure;
use super::super::owed::Kind;
use super::{Rule, Wording};

/// What a person reads.
pub const WORDING: Wording = Wording {
    lasting: [
        "a missed call of {subject} was not returned within {within} ({clock} time): {lag} so far",
        "{subject}: не перезвонили за {within} ({clock} время), прошло {lag}",
    ],
    settled: [
        "a missed call of {subject} led to a talk only after {lag}; the norm is {within} ({clock} time)",
        "{subject}: после пропущенного звонка связались только через {lag} при норме {within} ({clock} время)",
    ],
};

/// Missed calls as demands.
pub const KIND: Kind = Kind {
    rule: Rule::MissedCallNotReturned,
    waiting: Measure::Unreturned,
    lag: Measure::CallBack,
    timer: Some(Timer::MissedCalls),
};

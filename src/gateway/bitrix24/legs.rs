//! Owns the legs of a portal: which parts of it can be read, and which topics depend on each.
//!
//! A leg that lacks a right, a scope or a method rests for ten minutes; the others go on. So does one that has failed for
//! ten minutes, whatever the reason. Topics that depend on it get no
//! progress marks meanwhile, because an answer could be missing.

use super::answer::Failure;
use crate::domain::source::Topic;
use crate::domain::time::{Span, Timestamp};
use crate::gateway::source::Watch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

macro_rules! legs {
    ($($leg:ident $name:literal [$($topic:ident)*])*) => {
        /// A part of a portal that is read by itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) enum Leg {
            $(#[doc = concat!("`", $name, "`")] $leg,)*
        }

        impl Leg {
            /// The name in metrics and logs.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$leg => $name,)* }
            }

            /// The topics that are complete only with it.
            pub(super) fn topics(self) -> &'static [Topic] {
                match self { $(Self::$leg => &[$(Topic::$topic),*],)* }
            }
        }
    };
}

legs! {
    People "users" []
    Departments "departments" []
    Leads "leads" [Crm]
    Deals "deals" [Crm]
    Contacts "contacts" []
    Companies "companies" []
    LeadHistory "lead_history" [Crm]
    DealHistory "deal_history" [Crm]
    Terms "product_rows" [Crm]
    Calls "calls" [Telephony]
    CallsAgain "calls_again" []
    Activities "activities" [Crm Email]
    Chats "open_lines" [Email]
    Plans "plans" []
    Deletions "deletions" []
}

/// How long a leg that cannot be read rests.
const REST: Span = Span(600_000);

/// The state of all legs.
pub(super) struct Legs {
    source: String,
    watch: Arc<dyn Watch>,
    /// Until when each leg rests.
    off: BTreeMap<Leg, Timestamp>,
    /// Those that failed since the last sweep began.
    failed: BTreeSet<Leg>,
    /// Those that could be read at least once.
    used: BTreeSet<Leg>,
    now: Timestamp,
}

impl Legs {
    pub(super) fn new(source: String, watch: Arc<dyn Watch>) -> Self {
        Self { source, watch, off: BTreeMap::new(), failed: BTreeSet::new(), used: BTreeSet::new(), now: Timestamp(0) }
    }

    /// A sweep begins.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.now = now;
        self.failed.clear();
    }

    /// Whether a leg is read; one that rests leaves its topics incomplete.
    pub(super) fn is_on(&mut self, leg: Leg, now: Timestamp) -> bool {
        self.now = now;
        let resting = self.off.get(&leg).is_some_and(|until| *until > now);
        if resting {
            self.failed.insert(leg);
        }
        !resting
    }

    /// What a leg answered; `Ok(None)` if it cannot be read.
    pub(super) fn usable<T>(&mut self, leg: Leg, answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match answer {
            Ok(value) => {
                self.used.insert(leg);
                if self.off.remove(&leg).is_some() {
                    tracing::info!(source = self.source, leg = leg.name(), "can be read again");
                    self.watch.leg_usable(leg.name(), true);
                }
                Ok(Some(value))
            }
            Err(failure @ (Failure::NoRight(_) | Failure::NoMethod | Failure::Wrong(_) | Failure::NotFound)) => {
                let why = match &failure {
                    Failure::NoRight(why) => (*why).to_owned(),
                    Failure::NoMethod => "the portal has no such method".to_owned(),
                    Failure::NotFound => "not found".to_owned(),
                    other => format!("the portal does not accept the request: {other:?}"),
                };
                if self.off.insert(leg, self.now.saturating_add(REST)).is_none() {
                    let topics: Vec<&str> = leg.topics().iter().map(|topic| topic.name()).collect();
                    tracing::warn!(source = self.source, leg = leg.name(), why, ?topics, "cannot be read");
                }
                self.watch.leg_usable(leg.name(), false);
                self.failed.insert(leg);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether a leg could be read since this process began to read it.
    pub(super) fn was_usable(&self, leg: Leg) -> bool {
        self.used.contains(&leg)
    }

    /// A leg was left to the next sweep.
    pub(super) fn unfinished(&mut self, leg: Leg) {
        self.failed.insert(leg);
    }

    /// The topics that a sweep has read completely.
    pub(super) fn complete(&self) -> Vec<Topic> {
        let incomplete: BTreeSet<&str> =
            self.failed.iter().flat_map(|leg| leg.topics()).map(|topic| topic.name()).collect();
        Topic::ALL.iter().copied().filter(|topic| !incomplete.contains(topic.name())).collect()
    }

    /// A leg has been read up to this instant.
    pub(super) fn read_up_to(&self, leg: Leg, instant: Timestamp) {
        if !self.failed.contains(&leg) {
            self.watch.leg_read(leg.name(), instant);
        }
    }
}

/// The value of a leg, or another one if the leg cannot be read; returns from the function if it is only busy.
macro_rules! read_or {
    ($usable:expr, $other:expr) => {
        match $usable {
            Ok(Some(value)) => value,
            Ok(None) => $other,
            Err(failure) => return Ok(Err(failure)),
        }
    };
}
pub(super) use read_or;

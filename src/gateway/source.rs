//! Owns the interface between a source and the driver that commits what it read.
//!
//! A [`Reader`] asks a system for what has changed and returns it in portions. The driver writes the events and marks of a
//! portion, the cursors after them and the positions of the hints that it used up in one transaction, and only then asks
//! for the next one. So a cursor never points past an event that is not in Kafka. A reader that is dropped at any point
//! is built again from its committed cursors, and then returns the same events under the same ids.
//!
//! A reader has no threads and no files of its own. It waits only through its [`Clock`], which returns early when the
//! reader has to stop.

use crate::codec::{Reject, json, protobuf};
use crate::domain::event::Event;
use crate::domain::event::progress::Progress;
use crate::domain::event::reject::Reason;
use crate::domain::source::Topic;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A portion has at most this many events.
pub const MAX_PORTION_EVENTS: usize = 5_000;

/// Cursors by the name of their leg, as committed.
pub type Cursors = BTreeMap<CompactString, Vec<u8>>;

/// Reads one source. Built from the configuration of the source and its committed cursors; dropped when the source is
/// assigned to another process.
pub trait Reader: Send {
    /// Does the next part of the work: takes `hints`, asks the source, returns events with the cursors after them.
    ///
    /// Returns soon after `stop` is set, with an empty portion if nothing is ready. After an error the same call may be
    /// repeated, with the same hints first; the error says when.
    fn step(&mut self, hints: &[Hint], stop: &Stop) -> Result<Portion, ReadError>;
}

/// A message of a source that something has changed, as it was stored in the topic of hints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// When the gateway received it.
    pub received_at: Timestamp,
    /// Its form fields with their full bracketed names as sent (`data[FIELDS][ID]`), without any token.
    pub fields: Vec<(CompactString, CompactString)>,
}

impl Hint {
    /// The value of the first field with this name, whose letter case is ignored.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What one step has read: committed as a whole or not at all.
#[derive(Debug, Default)]
pub struct Portion {
    /// At most [`MAX_PORTION_EVENTS`], in the order in which they are to be written.
    pub events: Vec<Outgoing>,
    /// Written after the events: each with the topics that it is written to.
    pub marks: Vec<(Topic, Progress)>,
    /// The cursors after the events; `None` deletes one. Legs that are not listed stay as they are.
    pub cursors: Vec<(CompactString, Option<Vec<u8>>)>,
    /// The leading hints of those given to the step whose effects are in this portion or an earlier one. The others are
    /// given to the next step again, first.
    pub finished_hints: usize,
    /// When to call again.
    pub next: Next,
}

/// When the next step is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// More work is ready.
    #[default]
    AtOnce,
    /// Nothing is due before this time has passed; a hint makes it due at once.
    Within(Duration),
}

/// Why a step could not read; never contains a secret or personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The source cannot be reached or does not answer at the moment.
    #[error("{what}; next attempt in {} s", retry_in.as_secs())]
    Unavailable {
        /// What was asked and what came back.
        what: String,
        /// Call again after this time.
        retry_in: Duration,
    },
    /// Only an administrator can repair it: the access was revoked, or the configuration does not fit.
    #[error("{what}; next attempt in {} s", retry_in.as_secs())]
    Refused {
        /// What is wrong and what to do about it.
        what: String,
        /// Call again after this time.
        retry_in: Duration,
    },
}

impl ReadError {
    /// How long the driver waits before the next step.
    pub fn retry_in(&self) -> Duration {
        match self {
            Self::Unavailable { retry_in, .. } | Self::Refused { retry_in, .. } => *retry_in,
        }
    }
}

/// An event as it is written to its topic: valid JSON of the project, checked by the codec.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The event as the processor reads it.
    pub event: Event,
    json: Vec<u8>,
}

impl Outgoing {
    /// Checks an event of `topic` in the project's JSON form.
    pub fn new(topic: Topic, json: Vec<u8>) -> Result<Self, Reject> {
        let (incoming, _) = json::decode_with_repairs(Some(topic), &json)?;
        let event = incoming.event().ok_or_else(|| Reject::new(Reason::NoPayload, "a mark, not an event"))?;
        Ok(Self { event, json })
    }

    /// The topic that carries it.
    pub fn topic(&self) -> Topic {
        self.event.payload.topic()
    }

    /// The event in JSON, with all fields that its source gave.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Appends the event in protobuf. Fields that the processor does not use are left out.
    pub fn write_protobuf(&self, out: &mut Vec<u8>) {
        protobuf::encode_event(&self.event, out);
    }
}

/// A signal for a reader to return.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Sets the signal.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What operators see of a source: its metrics. Every method has a default that does nothing.
pub trait Watch: Send + Sync {
    /// A request or a command of a batch was answered: `ok`, or a short name of the failure.
    fn request(&self, method: &'static str, answer: &'static str) {
        let _ = (method, answer);
    }

    /// The requests that would be accepted at once, and the seconds of work that the busiest method has left.
    fn budget_left(&self, requests: f64, seconds: f64) {
        let _ = (requests, seconds);
    }

    /// A leg has been read up to this instant of the source's clock.
    fn leg_read(&self, leg: &'static str, up_to: Timestamp) {
        let _ = (leg, up_to);
    }

    /// A leg cannot be read (`false`), for lack of a right or a scope, or can be read again.
    fn leg_usable(&self, leg: &'static str, usable: bool) {
        let _ = (leg, usable);
    }

    /// A sweep is complete.
    fn swept(&self, took: Duration) {
        let _ = took;
    }

    /// A back-fill has reached this instant, and this share of its span (0 to 1); 1 is its end.
    fn backfilled(&self, up_to: Timestamp, share: f64) {
        let _ = (up_to, share);
    }
}

impl Watch for () {}

/// The clock of this machine, or a simulated one. A reader uses it to pace its requests, and to date what it noticed when
/// the source has no clock.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// Waits, but not after `stop` is set.
    fn wait(&self, time: Duration, stop: &Stop);
}

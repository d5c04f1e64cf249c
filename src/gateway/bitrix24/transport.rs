//! Owns the connection to a portal: one POST at a time, answers bounded in size and time.

use super::answer::Received;
use super::webhook::Webhook;
use crate::edge::http_client::{CaError, HttpClient, HttpClientSettings};
use std::path::Path;
use std::time::Duration;

/// The largest answer that is read. A batch of 25 lists of 50 objects with all fields is about a quarter of it.
const MAX_ANSWER_BYTES: u64 = 32 << 20;

/// A portal ends a request after 60 s.
const MAX_TIME: Duration = Duration::from_secs(75);

/// Sends requests to a portal.
pub trait Transport: Send {
    /// Posts `body`, which is JSON, to a method. The error names the kind of failure.
    fn post(&mut self, webhook: &Webhook, method: &str, body: &str) -> Result<Received, &'static str>;
}

/// The real connection.
pub struct Http(HttpClient);

impl Http {
    /// A connection that trusts the authorities of the system and those in `ca`.
    pub fn new(ca: Option<&Path>) -> Result<Self, CaError> {
        Self::within(ca, MAX_TIME)
    }

    /// The same, which gives a request this time from its beginning to the end of the answer.
    pub fn within(ca: Option<&Path>, time: Duration) -> Result<Self, CaError> {
        let settings = HttpClientSettings { ca, time, max_bytes: MAX_ANSWER_BYTES, name: "gateway" };
        HttpClient::new(settings).map(Self)
    }
}

impl Transport for Http {
    fn post(&mut self, webhook: &Webhook, method: &str, body: &str) -> Result<Received, &'static str> {
        let answer = self.0.post(&webhook.address(method), &[], body)?;
        Ok(Received { status: answer.status, location: answer.location, body: answer.body })
    }
}

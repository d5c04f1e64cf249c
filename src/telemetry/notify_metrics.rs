//! Metrics of `notify`: what is owed, what was sent through which channel, and what people answered.
//!
//! **Bound.** All labels are names that the program knows.

use super::exporter::Clock;
use super::http_metrics::HttpMetrics;
use super::metric::Metric as M;
use super::page::Page;
use super::processor_metrics::Durations;
use super::{exporter, process};
use crate::dataflow::live::lock;
use crate::domain::named::named_enum;
use crate::domain::time::Span;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

named_enum! {
    /// What became of the answer of a person.
    pub enum Verdict, named "in the label `verdict`" {
        /// It was recorded.
        Accepted = "accepted",
        /// The link was used before.
        Used = "used",
        /// The alert is over, or somebody else takes care of it.
        Over = "over",
        /// The message was not sent to this person.
        NotRecipient = "not_recipient",
        /// Kafka did not take it.
        NotStored = "not_stored",
        /// The link is not valid, or not valid any more.
        ForgedOrExpired = "forged_or_expired",
    }
}

/// Metrics of `notify`.
pub struct NotifyMetrics {
    clock: Clock,
    http: Arc<HttpMetrics>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    kept: usize,
    owed: usize,
    oldest: Span,
    doubled: u64,
    withheld: u64,
    unreadable: u64,
    /// Messages by channel and outcome.
    messages: BTreeMap<(&'static str, &'static str), u64>,
    /// Answers by verdict.
    answers: [u64; Verdict::ALL.len()],
    commits: Durations,
    aborted: u64,
    restarts: u64,
}

/// The bytes of a scrape; far more than it needs.
const MAX_BYTES: usize = 4 << 20;

impl NotifyMetrics {
    /// Metrics without any count; `clock` returns the wall-clock time.
    pub fn new(http: Arc<HttpMetrics>, clock: Clock) -> Self {
        Self { clock, http, counts: Mutex::default() }
    }

    /// Metrics of the HTTP server.
    pub fn http(&self) -> &Arc<HttpMetrics> {
        &self.http
    }

    /// Sets what the ledger has: alerts, messages that are owed and the age of the oldest, and counts of its messages that may
    /// have been sent twice and that were withheld.
    pub fn set_ledger(&self, kept: usize, (owed, oldest): (usize, Span), (doubled, withheld): (u64, u64)) {
        let mut counts = lock(&self.counts);
        (counts.kept, counts.owed, counts.oldest) = (kept, owed, oldest);
        (counts.doubled, counts.withheld) = (doubled, withheld);
    }

    /// Counts the outcome of a message: `sent`, or a name of the failure.
    pub fn message(&self, channel: &'static str, outcome: &'static str) {
        *lock(&self.counts).messages.entry((channel, outcome)).or_default() += 1;
    }

    /// Counts an answer of a person.
    pub fn answered(&self, verdict: Verdict) {
        lock(&self.counts).answers[verdict as usize] += 1;
    }

    /// Counts a record of the topic of alerts that is none.
    pub fn unreadable(&self) {
        lock(&self.counts).unreadable += 1;
    }

    /// Counts a committed transaction; the time includes aborted attempts.
    pub fn committed(&self, took: Duration) {
        lock(&self.counts).commits.add(took);
    }

    /// Counts an aborted transaction.
    pub fn aborted(&self) {
        lock(&self.counts).aborted += 1;
    }

    /// Counts a start with new clients.
    pub fn restarting(&self) {
        lock(&self.counts).restarts += 1;
    }

    /// Renders one scrape.
    pub fn render(&self) -> Vec<u8> {
        let _ = (self.clock)();
        let mut page = Page::new(0, MAX_BYTES, &[]);
        exporter::http(&mut page, &self.http);
        let counts = lock(&self.counts);
        page.sample(M::NotifyAlerts, &[], counts.kept as f64);
        page.sample(M::NotifyOwed, &[], counts.owed as f64);
        page.sample(M::NotifyOldest, &[], counts.oldest.seconds());
        for ((channel, outcome), n) in &counts.messages {
            page.sample(M::NotifyMessages, &[("channel", channel), ("outcome", outcome)], *n as f64);
        }
        page.sample(M::NotifyDoubled, &[], counts.doubled as f64);
        page.sample(M::NotifyWithheld, &[], counts.withheld as f64);
        for (verdict, n) in Verdict::ALL.into_iter().zip(counts.answers) {
            page.sample(M::NotifyAnswers, &[("verdict", verdict.name())], n as f64);
        }
        page.sample(M::NotifyUnreadable, &[], counts.unreadable as f64);
        page.histogram(M::NotifyCommitSeconds, &counts.commits.buckets, counts.commits.total.as_secs_f64());
        page.sample(M::NotifyCommitsAborted, &[], counts.aborted as f64);
        page.sample(M::NotifyRestarts, &[], counts.restarts as f64);
        drop(counts);
        exporter::build(&mut page);
        let mut text = page.finish();
        process::append(&mut text);
        text
    }
}

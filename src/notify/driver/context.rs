//! Owns what the driver and the channels share: what they need from the process, and the form of printed messages.

use crate::config::Config;
use crate::config::notify::{Channel, Notify};
use crate::domain::time::Timestamp;
use crate::edge::kafka::acknowledged::AcknowledgedProducer;
use crate::edge::kafka::{Observer, Stop};
use crate::notify::asked::Asked;
use crate::notify::channel::{Item, Job, Outcome};
use crate::notify::text;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::notify_metrics::NotifyMetrics;
use crossbeam_channel::Receiver;
use std::sync::Arc;

/// What the driver needs from its process.
pub struct NotifyContext {
    /// The configuration; its group and transactional id are those of `notify`.
    pub config: Config,
    /// Its section.
    pub notify: Notify,
    /// Metrics.
    pub metrics: Arc<NotifyMetrics>,
    /// Liveness and readiness.
    pub liveness: Arc<Liveness>,
    /// Receives what the Kafka clients report.
    pub observer: Arc<Observer>,
    /// Ends the run.
    pub stop: Stop,
    /// Answers of people.
    pub asked: Receiver<Asked>,
    /// Writes what people answered.
    pub producer: AcknowledgedProducer,
    /// Prints messages in place of sending them.
    pub dry_run: bool,
    /// Records what is owed and sent; without that, the next run begins where this one did.
    pub records: bool,
}

/// What a message says, as text, for the dry run and the log of tests.
pub fn printed(job: &Job, wording: &text::Wording, now: Timestamp) -> String {
    let said = wording.of(job, now);
    let to = job.address.person.as_ref().unwrap_or(&job.address.to);
    let again = if job.replaces.is_some() { " (the message before is changed)" } else { "" };
    let mut lines = vec![format!("{} → {to}{again}: {}", job.address.channel.name(), said.title)];
    for (line, Item { alert, .. }) in said.lines.iter().zip(&job.items) {
        lines.push(format!("  {}: {}", alert.status.name(), line.sentence));
    }
    if job.items.is_empty() {
        lines.extend(said.lines.iter().map(|line| format!("  {}: {}", line.label, line.sentence)));
    }
    lines.extend(said.more.map(|more| format!("  {more}")));
    lines.join("\n")
}

/// Counts the outcome of a message.
pub(super) fn count(metrics: &NotifyMetrics, channel: Channel, outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Sent(_) => "sent",
        Outcome::Later(_, reason) | Outcome::Unknown(_, reason) | Outcome::Refused(reason) => reason,
    };
    metrics.message(channel.name(), outcome);
}

/// A message was given to a channel and has this outcome.
pub(super) type Finished = (u64, Channel, Outcome);

//! Owns what our own clients do with what librdkafka tells them beside messages: it goes to a file, for this suite breaks
//! connections on purpose, and nobody else wants to hear of it. Failed deliveries are counted.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A context that writes down what it is told.
pub(crate) struct Quiet {
    log: PathBuf,
    failed: AtomicU64,
}

/// Adds a line with the present instant to a file; who cannot write says nothing.
pub(crate) fn note(file: &Path, text: &str) {
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(file) {
        let _ = writeln!(file, "{} {text}", funnelwatch::edge::clock::now());
    }
}

impl Quiet {
    pub(crate) fn new(log: PathBuf) -> Self {
        Self { log, failed: AtomicU64::new(0) }
    }

    fn write(&self, text: &str) {
        note(&self.log, text);
    }

    /// Messages that were given up.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, what: &str, text: &str) {
        self.write(&format!("{what} {text}"));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no error.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.write(&format!("{error}: {reason}"));
        }
    }
}

impl ConsumerContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.failed.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
    }
}

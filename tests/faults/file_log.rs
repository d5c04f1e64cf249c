//! A client context that writes the log of librdkafka to a file, because this suite breaks connections on purpose, and
//! counts failed deliveries.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A client context that logs to a file.
pub(crate) struct FileLogContext {
    log: PathBuf,
    failed: AtomicU64,
}

/// Appends a line with the current time to a file. Errors are ignored.
pub(crate) fn append_line(file: &Path, text: &str) {
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(file) {
        let _ = writeln!(file, "{} {text}", funnelwatch::edge::clock::now());
    }
}

impl FileLogContext {
    pub(crate) fn new(log: PathBuf) -> Self {
        Self { log, failed: AtomicU64::new(0) }
    }

    fn write(&self, text: &str) {
        append_line(&self.log, text);
    }

    /// The number of messages that were not delivered.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl ClientContext for FileLogContext {
    fn log(&self, _: RDKafkaLogLevel, what: &str, text: &str) {
        self.write(&format!("{what} {text}"));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is not an error.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.write(&format!("{error}: {reason}"));
        }
    }
}

impl ConsumerContext for FileLogContext {}

impl ProducerContext for FileLogContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.failed.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
    }
}

//! Owns a producer that reports for each record whether all in-sync replicas have it. For records whose sender waits for the
//! answer, such as a webhook.
//!
//! **Bound.** At most [`IN_FLIGHT`] records wait for their acknowledgement; further ones are refused at once, so that nobody
//! waits in a line that does not move. A record that is not acknowledged within [`TIMEOUT`] counts as not stored. It may be
//! stored after all: then its sender sends it twice.

use super::client::{self, CallError};
use super::client_log;
use crate::config::Config;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The most records that wait for their acknowledgement.
pub const IN_FLIGHT: i32 = 20_000;
/// How long a sender waits for the acknowledgement.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// How long one call serves delivery reports, each at once. The binding spins for the last millisecond of a call.
const SERVE: Duration = Duration::from_secs(1);

/// Sends records and reports what became of each. Clones send through the same client.
#[derive(Clone)]
pub struct AcknowledgedProducer(Arc<Client>);

struct Client {
    producer: BaseProducer<Reports>,
    is_closed: AtomicBool,
    is_broken: AtomicBool,
}

/// The answer to a record: whether it is stored.
pub type Acknowledged = oneshot::Receiver<bool>;

impl AcknowledgedProducer {
    /// Creates the producer, which serves its delivery reports on a thread of its own until the process ends. Waits for no
    /// broker.
    pub fn start(config: &Config) -> Result<Self, CallError> {
        let producer = client::acknowledged(&config.kafka, TIMEOUT, Reports)?;
        let (is_closed, is_broken) = Default::default();
        let producer = Self(Arc::new(Client { producer, is_closed, is_broken }));
        let client = Arc::downgrade(&producer.0);
        let serve = move || {
            while let Some(client) = client.upgrade() {
                client.producer.poll(SERVE);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("reports".into()).spawn(serve) {
            tracing::error!("start the thread that serves delivery reports: {error}");
        }
        Ok(producer)
    }

    /// Sends a record to the partition of its key, or to the given one. `None`: it is not accepted, because too many wait, or
    /// because a stop was requested.
    pub fn send(&self, topic: &str, partition: Option<i32>, key: &[u8], value: &[u8]) -> Option<Acknowledged> {
        self.send_with(topic, partition, key, value, None)
    }

    /// The same with headers.
    pub(super) fn send_with(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: &[u8],
        value: &[u8],
        headers: Option<OwnedHeaders>,
    ) -> Option<Acknowledged> {
        let Client { producer, is_closed, is_broken } = &*self.0;
        if is_closed.load(Ordering::Relaxed) || producer.in_flight_count() >= IN_FLIGHT {
            return None;
        }
        let (report, answer) = oneshot::channel();
        let record = BaseRecord {
            topic,
            partition,
            payload: Some(value),
            key: Some(key),
            timestamp: None,
            headers,
            delivery_opaque: Box::new(report),
        };
        match producer.send(record) {
            Ok(()) => Some(answer),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::Fatal), _)) => {
                is_broken.store(true, Ordering::Relaxed);
                None
            }
            Err((error, _)) => {
                tracing::debug!("send to {topic}: {error}");
                None
            }
        }
    }

    /// Whether it will never accept a record again: only a new process helps.
    pub fn is_broken(&self) -> bool {
        self.0.is_broken.load(Ordering::Relaxed)
    }

    /// Accepts no more records, and waits until all have their answer.
    pub fn close(&self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        let started = Instant::now();
        while self.0.producer.in_flight_count() > 0 && started.elapsed() < TIMEOUT + SERVE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The context: answers each sender.
pub(super) struct Reports;

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        client_log::error(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client_log::line(level, facility, line);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<bool>>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        if let Err((error, message)) = result {
            tracing::debug!("deliver to {}: {error}", message.topic());
        }
        // A sender that has left gets no answer.
        let _ = report.send(result.is_ok());
    }
}

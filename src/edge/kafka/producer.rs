//! Owns a non-transactional event producer for the simulator and the demo: sends each event to its topic, keyed by its
//! tenant, in the encoding of the topic. Promises order within a tenant and no duplicates; waits while the queue is
//! full.

use super::client::{self, CallError, Deliveries};
use super::control::Stop;
use super::source_topics::SourceTopics;
use crate::codec::{Encoding, framing, json, protobuf};
use crate::config::Config;
use crate::domain::event::Event;
use crate::domain::source::Source;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The schema id in the Schema Registry framing; it is never looked up.
const SCHEMA_ID: u32 = 1;

/// An event could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("send an event to {topic}: {cause}")]
pub struct SendError {
    topic: String,
    cause: KafkaError,
}

/// Counts of events by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Put into the queue.
    pub sent: u64,
    /// Acknowledged by all in-sync replicas.
    pub delivered: u64,
    /// Not delivered.
    pub failed: u64,
}

/// Sends events.
pub struct EventProducer {
    producer: BaseProducer<Deliveries>,
    sources: SourceTopics,
    value: Vec<u8>,
    sent: u64,
}

impl EventProducer {
    /// Creates a producer for the source topics of a configuration.
    pub fn new(config: &Config) -> Result<Self, CallError> {
        let producer = client::plain(&config.kafka)?;
        Ok(Self { producer, sources: SourceTopics::of(&config.topics), value: Vec::new(), sent: 0 })
    }

    /// Puts an event into the queue; waits while it is full.
    pub fn send(&mut self, event: &Event) -> Result<(), SendError> {
        let topic = event.payload.topic();
        let encoding = self.sources.encoding(Source::Topic(topic));
        self.value.clear();
        match encoding {
            Encoding::Json => json::encode_event(event, &mut self.value),
            Encoding::Protobuf => protobuf::encode_event(event, &mut self.value),
            Encoding::ConfluentProtobuf => {
                framing::write_protobuf_prefix(SCHEMA_ID, topic, &mut self.value);
                protobuf::encode_event(event, &mut self.value);
            }
            Encoding::ConfluentJson => {
                framing::write_json_prefix(SCHEMA_ID, &mut self.value);
                json::encode_event(event, &mut self.value);
            }
        }
        let topic = self.sources.name(Source::Topic(topic));
        let key = event.tenant.as_str();
        let record = BaseRecord::to(topic).key(key).payload(self.value.as_slice());
        client::send(&self.producer, record).map_err(|cause| SendError { topic: topic.into(), cause })?;
        self.sent += 1;
        if self.sent.is_multiple_of(256) {
            self.producer.poll(Duration::ZERO);
        }
        Ok(())
    }

    /// Waits until every event sent is delivered or has failed; `false`: timed out.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            self.producer.poll(Duration::from_millis(1));
        }
        true
    }

    /// Serves delivery reports; for callers that send rarely.
    pub fn serve(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let context = self.producer.client().context();
        Counts {
            sent: self.sent,
            delivered: context.delivered.load(Ordering::Relaxed),
            failed: context.failed.load(Ordering::Relaxed),
        }
    }
}

/// Limits the event rate, with bursts of at most a tenth of a second.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    started: Instant,
    /// Events let through, missed ones included.
    passed: f64,
}

impl Pace {
    /// `per_second` must be above 0.
    pub fn new(per_second: f64) -> Self {
        Self { per_second: per_second.max(f64::MIN_POSITIVE), started: Instant::now(), passed: 0.0 }
    }

    /// Waits until the next event is due; `false`: stop requested.
    pub fn wait(&mut self, stop: &Stop) -> bool {
        // A caller that was delayed does not catch up.
        let due = self.started.elapsed().as_secs_f64() * self.per_second;
        self.passed = self.passed.max(due - self.per_second / 10.0 - 1.0);
        self.passed += 1.0;
        loop {
            let late = self.started.elapsed().as_secs_f64() - self.passed / self.per_second;
            if stop.is_set() {
                return false;
            }
            if late >= 0.0 {
                return true;
            }
            std::thread::sleep(Duration::from_secs_f64((-late).clamp(0.0, 0.05)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_limits_the_rate_and_ends_at_a_stop() {
        let stop = Stop::default();
        let mut pace = Pace::new(1000.0);
        let started = Instant::now();
        assert!((0..100).all(|_| pace.wait(&stop)));
        assert!(started.elapsed() >= Duration::from_millis(99));
        stop.stop();
        assert!(!Pace::new(0.001).wait(&stop));
    }
}

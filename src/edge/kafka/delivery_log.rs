//! Reads the topic of `notify`, on a thread of its own, so that the page and the API show what was sent to whom.
//!
//! `notify` may not run at all: then there is no such topic, and from time to time it is looked for again. Nothing else depends
//! on it.

use super::client::{self, CallError, is_permanent};
use super::client_log::{self, LoggedContext};
use super::control::Stop;
use crate::config::Config;
use crate::edge::deliveries::Deliveries;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a record is waited for: a stop is noticed within this time.
const WAIT: Duration = Duration::from_millis(200);
/// How long a broker may take to describe the topic.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the topic is looked for while there is none, or partitions that were added.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The thread that reads the topic.
pub struct DeliveryLog {
    topic: String,
    consumer: BaseConsumer<LoggedContext>,
    deliveries: Arc<Deliveries>,
    stop: Stop,
    is_refused: bool,
}

impl DeliveryLog {
    /// Starts it, until a stop is requested. Waits for no broker.
    pub fn start(config: &Config, deliveries: Arc<Deliveries>, stop: &Stop) -> Result<(), CallError> {
        let consumer = client::deliveries_consumer(&config.kafka)?;
        let topic = config.topics.notify.clone();
        let log = Self { topic, consumer, deliveries, stop: stop.clone(), is_refused: false };
        let failed = CallError::of_thread("start the thread that reads the topic of notify");
        std::thread::Builder::new().name("deliveries".into()).spawn(move || log.run()).map_err(failed)?;
        Ok(())
    }

    fn run(mut self) {
        let (mut partitions, mut looked) = (0, None::<Instant>);
        while !self.stop.is_set() {
            if looked.is_none_or(|looked| looked.elapsed() > LOOK_AGAIN) {
                looked = Some(Instant::now());
                let found = self.partitions();
                if found > partitions && self.assign(found) {
                    partitions = found;
                }
            }
            match self.consumer.poll(WAIT) {
                // Without an assignment it does not wait.
                None if partitions == 0 => std::thread::sleep(WAIT),
                None => {}
                Some(Ok(message)) => self.deliveries.apply(message.key().unwrap_or_default(), message.payload()),
                Some(Err(error)) if is_permanent(&error) => {
                    self.refused();
                    std::thread::sleep(WAIT);
                }
                Some(Err(error)) => client_log::error(&error, &format!("read {}: {error}", self.topic)),
            }
        }
    }

    /// The partitions of the topic; none if there is no such topic, or if it cannot be found out.
    fn partitions(&mut self) -> usize {
        let Ok(metadata) = self.consumer.fetch_metadata(Some(&self.topic), DESCRIBE_TIMEOUT) else { return 0 };
        let Some(topic) = metadata.topics().first() else { return 0 };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => topic.partitions().len(),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                self.refused();
                0
            }
            Some(_) => 0,
        }
    }

    /// Reads the topic from its beginning.
    fn assign(&self, partitions: usize) -> bool {
        let mut list = TopicPartitionList::with_capacity(partitions);
        let partitions = i32::try_from(partitions).unwrap_or_default();
        let listed = (0..partitions).try_for_each(|one| list.add_partition_offset(&self.topic, one, Offset::Beginning));
        match listed.and_then(|()| self.consumer.assign(&list)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!("read {}: {error}", self.topic);
                false
            }
        }
    }

    /// Says once that the right to read is missing.
    fn refused(&mut self) {
        if !std::mem::replace(&mut self.is_refused, true) {
            tracing::info!(
                "read {}: the right Read on the topic is missing; the page does not show what was sent to whom until it is \
                 granted",
                self.topic
            );
        }
    }
}

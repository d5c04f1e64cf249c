//! Owns the topic of members: writes the announcements of this process and reads those of all, on a thread of its own with
//! clients of its own, so that neither waits for the events.
//!
//! Only the first partition is used: one order of all announcements is what [`crate::edge::members`] relies on.

use super::client::{self, CallError, Deliveries, is_permanent};
use super::client_log::{self, LoggedContext};
use super::control::Stop;
use crate::config::Config;
use crate::edge::members::Members;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The partition that is used.
const PARTITION: i32 = 0;
/// How long a record is waited for: a change of the shards is announced after this time at the latest.
const WAIT: Duration = Duration::from_millis(50);
/// How many records are read before an announcement may be written.
const BATCH: usize = 1000;
/// How long the end of a process waits until the others know of it.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after an attempt to read without the right to do so.
const PAUSE: Duration = Duration::from_secs(1);
/// How often metrics are updated.
const MEASURE_INTERVAL: Duration = Duration::from_millis(500);

/// The thread that announces this process.
pub struct MemberLog {
    stop: Stop,
    thread: JoinHandle<()>,
}

impl MemberLog {
    /// Starts it. Waits for no broker.
    pub fn start(config: &Config, members: Arc<Members>) -> Result<Self, CallError> {
        let topic = config.topics.members.clone();
        let producer = client::announcer(&config.kafka)?;
        let consumer = client::members_consumer(&config.kafka)?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&topic, PARTITION, Offset::Beginning)
            .and_then(|()| consumer.assign(&list))
            .map_err(CallError::of("read the topic of members"))?;
        let stop = Stop::default();
        let thread = Thread { topic, producer, consumer, members, stop: stop.clone() };
        let started = std::thread::Builder::new().name("members".into()).spawn(move || thread.run());
        let failed = CallError::of_thread("start the thread that reads the topic of members");
        Ok(Self { stop, thread: started.map_err(failed)? })
    }

    /// Removes this process from the topic, so that others answer for its shards at once.
    pub fn leave(self) {
        self.stop.stop();
        if self.thread.join().is_err() {
            tracing::error!("the thread that reads the topic of members panicked");
        }
    }
}

struct Thread {
    topic: String,
    producer: BaseProducer<Deliveries>,
    consumer: BaseConsumer<LoggedContext>,
    members: Arc<Members>,
    stop: Stop,
}

impl Thread {
    fn run(self) {
        let (mut is_refused, mut measured) = (false, None);
        while !self.stop.is_set() {
            self.read(&mut is_refused);
            self.announce();
            let now = Instant::now();
            if measured.is_none_or(|measured| now - measured > MEASURE_INTERVAL) {
                measured = Some(now);
                self.members.measure(now);
            }
        }
        self.members.leave();
        let tombstone = BaseRecord::<str, [u8]>::to(&self.topic).partition(PARTITION).key(self.members.name());
        if let Err(error) = client::send(&self.producer, tombstone) {
            tracing::debug!("remove this process from {}: {error}", self.topic);
        }
        // The others wait for the lease otherwise.
        if let Err(error) = self.producer.flush(LEAVE_TIMEOUT) {
            tracing::info!("remove this process from {}: {error}", self.topic);
        }
    }

    /// Applies what others and this process have announced.
    fn read(&self, is_refused: &mut bool) {
        let mut wait = WAIT;
        for _ in 0..BATCH {
            match self.consumer.poll(wait) {
                None => return,
                Some(Ok(message)) => {
                    let appended = match message.timestamp() {
                        Timestamp::LogAppendTime(millis) => Some(millis),
                        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
                    };
                    let key = message.key().unwrap_or_default();
                    self.members.apply(key, message.payload(), message.offset(), appended, Instant::now());
                }
                Some(Err(cause)) if is_permanent(&cause) => {
                    if !std::mem::replace(is_refused, true) {
                        tracing::error!(
                            "read {}: the right Read on the topic is missing; no process answers for the others until it \
                             is granted",
                            self.topic
                        );
                    }
                    std::thread::sleep(PAUSE);
                }
                Some(Err(error)) => client_log::error(&error, &format!("read {}: {error}", self.topic)),
            }
            wait = Duration::ZERO;
        }
    }

    fn announce(&self) {
        if let Some(announcement) = self.members.announcement(Instant::now()) {
            let value = announcement.encode();
            let record = BaseRecord::to(&self.topic).partition(PARTITION).key(self.members.name()).payload(&value);
            // The next announcement follows soon, and says everything again.
            if self.producer.in_flight_count() > 16 {
                tracing::debug!("announcements wait for {}", self.topic);
            } else if let Err(error) = self.producer.send(record).map_err(|(error, _)| error) {
                tracing::debug!("announce this process in {}: {error}", self.topic);
            }
        }
        self.producer.poll(Duration::ZERO);
    }
}

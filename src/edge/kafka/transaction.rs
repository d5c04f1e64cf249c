//! Owns the transactional producer: what a transaction is made of, and what an error of it means.
//!
//! What librdkafka calls retriable is called again, for as long as it takes; what asks for an abort is the caller's to
//! make again; anything else is the end. Every call is timed by a [`Heartbeat`], for some hang past their timeouts.
//!
//! **What a commit costs.** `BaseProducer::commit_transaction` first calls its own `flush`, and that one sleeps in slices
//! of 100 ms that nothing cuts short: with anything in the queue a commit takes 103 ms (p50 on a real broker, as on the
//! mock cluster). So we serve the delivery reports ourselves until the queue is empty, and commit then: 3 ms with an alert
//! or two (p50; p99 20 ms), half of it for the offsets. `linger.ms` comes on top in full. A transaction
//! that begins right after another waits some 10 ms more: the coordinator still writes the markers of the one before
//! (CONCURRENT_TRANSACTIONS), and librdkafka asks again after `retry.backoff.ms`.

use super::commit::CommitError;
use super::producer::Deliveries;
use super::record_writer::OutputRecord;
use super::{Observer, Part, Stop};
use crate::dataflow::live_state::lock;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long one call may wait; those that time out are called again.
const CALL: Duration = Duration::from_secs(5);
/// So long brokers are waited for at the start.
const REACH: Duration = Duration::from_secs(60);

/// Since when the commit thread has been inside librdkafka.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(Mutex<Option<Instant>>);

impl Heartbeat {
    /// For how long the present call has lasted.
    pub(super) fn held(&self) -> Duration {
        lock(&self.0).map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn around<T>(&self, call: impl FnOnce() -> T) -> T {
        *lock(&self.0) = Some(Instant::now());
        let result = call();
        *lock(&self.0) = None;
        result
    }
}

/// Makes the producer transactional: waits until no earlier transaction of its name is open. `false`: asked to stop.
pub(super) fn begin(producer: &BaseProducer<Deliveries>, stop: &Stop) -> Result<bool, CommitError> {
    let started = Instant::now();
    while !stop.is_set() {
        match producer.init_transactions(CALL) {
            Ok(()) => return Ok(true),
            Err(KafkaError::Transaction(error)) if error.is_retriable() && started.elapsed() < REACH => {
                tracing::info!("begin transactions: {error}; trying again");
                producer.poll(Duration::ZERO);
            }
            Err(cause) => return Err(CommitError::Call { what: "begin transactions", cause }),
        }
    }
    Ok(false)
}

/// Why a try came to nothing.
pub(super) enum Failure {
    /// Abort and try again.
    Abort(RDKafkaErrorCode),
    Fatal(CommitError),
}

/// Events that are served at a time.
const SERVED: usize = 16;

/// Makes transactions, one after another.
pub(super) struct Transactions {
    producer: BaseProducer<Deliveries>,
    pulse: Arc<Heartbeat>,
    observer: Arc<dyn Observer>,
    sent: u32,
}

impl Transactions {
    pub(super) fn new(producer: BaseProducer<Deliveries>, pulse: Arc<Heartbeat>, observer: Arc<dyn Observer>) -> Self {
        Self { producer, pulse, observer, sent: 0 }
    }

    /// Serves what waits to be served, for whoever has nothing to send: an event a call, and errors may come in droves.
    pub(super) fn serve(&self) {
        for _ in 0..SERVED {
            self.producer.poll(Duration::ZERO);
        }
    }

    /// Opens a transaction.
    pub(super) fn open(&self) -> Result<(), Failure> {
        self.call("begin a transaction", |producer| producer.begin_transaction())
    }

    /// Puts a record into the producer's queue, waiting for room.
    pub(super) fn send(&mut self, record: OutputRecord<'_>) -> Result<(), Failure> {
        self.sent = self.sent.wrapping_add(1);
        if self.sent.is_multiple_of(1024) {
            self.serve();
        }
        let OutputRecord { topic, partition, key, value, headers, timestamp } = record;
        let mut record = BaseRecord { topic, partition, payload: value, key, timestamp, headers, delivery_opaque: () };
        loop {
            let cause = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(1));
                    record = back;
                    continue;
                }
                Err((cause, _)) => cause,
            };
            return Err(match cause {
                KafkaError::MessageProduction(code) if code != RDKafkaErrorCode::Fatal => Failure::Abort(code),
                cause => Failure::Fatal(CommitError::Call { what: "send a record", cause }),
            });
        }
    }

    /// Puts source offsets into the transaction; the broker refuses them if the group has moved on.
    pub(super) fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), Failure> {
        let send = |producer: &BaseProducer<_>| producer.send_offsets_to_transaction(offsets, group, CALL);
        self.call("send offsets to the transaction", send)
    }

    /// Waits until all records are delivered, and commits.
    pub(super) fn commit(&self) -> Result<(), Failure> {
        self.drain();
        self.call("commit the transaction", |producer| producer.commit_transaction(CALL))
    }

    /// Takes the transaction back.
    pub(super) fn abort(&self) -> Result<(), CommitError> {
        loop {
            // In short calls: librdkafka waits for delivery reports that only we can serve.
            let result = self.pulse.around(|| self.producer.abort_transaction(Duration::from_millis(200)));
            self.producer.poll(Duration::ZERO);
            match result {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if !error.is_fatal() && error.is_retriable() => {
                    self.drain();
                    self.observer.alive(Part::Commit);
                }
                Err(cause) => return Err(CommitError::Call { what: "abort the transaction", cause }),
            }
        }
    }

    /// Serves delivery reports until there is nothing left to deliver: `message.timeout.ms` bounds it.
    pub(super) fn drain(&self) {
        let mut pause = Duration::from_micros(100);
        while self.producer.in_flight_count() > 0 {
            self.serve();
            if self.producer.in_flight_count() > 0 {
                std::thread::sleep(pause);
                pause = Duration::from_millis(1).min(pause * 11 / 10);
            }
        }
    }

    /// Calls until it succeeds or says that calling again is of no use.
    fn call(
        &self,
        what: &'static str,
        call: impl Fn(&BaseProducer<Deliveries>) -> KafkaResult<()>,
    ) -> Result<(), Failure> {
        loop {
            match self.pulse.around(|| call(&self.producer)) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if !error.is_fatal() && error.is_retriable() => {
                    tracing::debug!("{what}: {error}; calling again");
                    self.drain();
                    self.observer.alive(Part::Commit);
                }
                Err(KafkaError::Transaction(error)) if !error.is_fatal() && error.txn_requires_abort() => {
                    return Err(Failure::Abort(error.code()));
                }
                // Records that are not delivered yet: the next call waits again.
                Err(KafkaError::Flush(_)) => self.drain(),
                Err(cause) => return Err(Failure::Fatal(CommitError::Call { what, cause })),
            }
        }
    }
}

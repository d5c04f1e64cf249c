//! Owns the transactional producer: the steps of a transaction, and the classification of its errors.
//!
//! Retriable errors are retried without limit; after errors that require an abort the caller retries the transaction;
//! all other errors are fatal. Every call is timed by a [`Heartbeat`], because some calls hang past their timeouts.
//!
//! **Cost of a commit.** `BaseProducer::commit_transaction` first calls its own `flush`, which sleeps in
//! uninterruptible slices of 100 ms: with anything in the queue a commit takes 103 ms (p50 on a real broker and on the
//! mock cluster). So we serve delivery reports ourselves until the queue is empty, and then commit: 3 ms with one or
//! two alerts (p50; p99 20 ms), half of it for the offsets. `linger.ms` adds to this in full. A transaction that begins
//! right after another one waits about 10 ms longer: the coordinator still writes the markers of the previous one
//! (CONCURRENT_TRANSACTIONS), and librdkafka retries after `retry.backoff.ms`.

use super::record_writer::OutputRecord;
use crate::dataflow::live::lock;
use crate::edge::kafka::client::{self, BrokerTime, CallError, Deliveries, is_connection};
use crate::edge::kafka::event::{Observer, RuntimeEvent};
use crate::edge::kafka::patience::Patience;
use crate::telemetry::liveness::Thread;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The coordinator aborts a transaction that is open for this long; until then read_committed consumers wait for it.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of one call; a call that times out is repeated.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// When the commit thread entered its current librdkafka call.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat(Mutex<Option<Instant>>);

impl Heartbeat {
    /// How long the current call has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        lock(&self.0).map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        *lock(&self.0) = Some(Instant::now());
        let result = call();
        *lock(&self.0) = None;
        result
    }
}

/// Initializes transactions: waits until no earlier transaction of this transactional id is open. `false`: stop
/// requested.
pub(crate) fn init(producer: &BaseProducer<Deliveries>, patience: &mut Patience<'_>) -> Result<bool, CallError> {
    while !patience.is_stopped() {
        match producer.init_transactions(CALL_TIMEOUT) {
            Ok(()) => return Ok(true),
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && patience.go_on(&format!("init transactions: {error}")) =>
            {
                producer.poll(Duration::ZERO);
            }
            Err(cause) => {
                let is_refused =
                    cause.rdkafka_error_code() == Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed);
                let refused = "init transactions; the right Write on the transactional id is missing";
                return Err(CallError { what: if is_refused { refused } else { "init transactions" }, cause });
            }
        }
    }
    Ok(false)
}

/// Why an attempt failed.
pub(crate) enum Failure {
    /// Abort and retry.
    Abort(RDKafkaErrorCode),
    Fatal(CallError),
}

/// Pause after an error of a connection.
const CONNECTION_PAUSE: Duration = Duration::from_millis(200);

/// Polls per call of [`Transactions::serve`]: each poll serves one event, and errors come in bursts.
const POLLS: usize = 16;

/// Runs transactions, one after another.
pub(crate) struct Transactions {
    producer: BaseProducer<Deliveries>,
    heartbeat: Arc<Heartbeat>,
    observer: Arc<Observer>,
    sent: u32,
    /// The bytes sent since the transaction began: keys and values.
    bytes: usize,
}

impl Transactions {
    pub(crate) fn new(producer: BaseProducer<Deliveries>, observer: Arc<Observer>) -> Self {
        Self { producer, heartbeat: Arc::default(), observer, sent: 0, bytes: 0 }
    }

    /// Times the calls.
    pub(crate) fn heartbeat(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.heartbeat)
    }

    /// The time of the broker, and when it was current.
    pub(crate) fn broker_time(&self) -> Option<BrokerTime> {
        self.producer.context().broker_time()
    }

    /// Serves the producer's events (delivery reports, errors); needed while nothing is sent.
    pub(crate) fn serve(&self) {
        for _ in 0..POLLS {
            self.producer.poll(Duration::ZERO);
        }
    }

    /// The bytes sent since the transaction began.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins a transaction.
    pub(crate) fn open(&mut self) -> Result<(), Failure> {
        self.bytes = 0;
        self.call("begin a transaction", |producer| producer.begin_transaction())
    }

    /// Puts a record into the producer's queue; waits while it is full.
    pub(crate) fn send(&mut self, record: OutputRecord<'_>) -> Result<(), Failure> {
        self.sent = self.sent.wrapping_add(1);
        if self.sent.is_multiple_of(1024) {
            self.serve();
        }
        let OutputRecord { topic, partition, key, value, headers } = record;
        self.bytes += key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let record =
            BaseRecord { topic, partition, payload: value, key, timestamp: None, headers, delivery_opaque: () };
        client::send(&self.producer, record).map_err(|cause| match cause {
            KafkaError::MessageProduction(code) if code != RDKafkaErrorCode::Fatal => Failure::Abort(code),
            cause => Failure::Fatal(CallError { what: "send a record", cause }),
        })
    }

    /// Adds source offsets to the transaction; the coordinator refuses them if the generation or the member is stale.
    pub(crate) fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), Failure> {
        let send = |producer: &BaseProducer<_>| producer.send_offsets_to_transaction(offsets, group, CALL_TIMEOUT);
        self.call("send offsets to the transaction", send)
    }

    /// Waits until all records are delivered, and commits.
    pub(crate) fn commit(&self) -> Result<(), Failure> {
        self.drain();
        self.call("commit the transaction", |producer| producer.commit_transaction(CALL_TIMEOUT))
    }

    /// Aborts the transaction.
    pub(crate) fn abort(&self) -> Result<(), CallError> {
        loop {
            // Short timeouts: librdkafka waits for delivery reports that are served only between the calls.
            let result = self.heartbeat.time(|| self.producer.abort_transaction(Duration::from_millis(200)));
            self.producer.poll(Duration::ZERO);
            match result {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if !error.is_fatal() && error.is_retriable() => {
                    self.drain();
                    self.observer.emit(RuntimeEvent::Alive(Thread::Commit));
                }
                // Such as a name of a broker that cannot be resolved.
                Err(KafkaError::Transaction(error)) if !error.is_fatal() && is_connection(error.code()) => {
                    std::thread::sleep(CONNECTION_PAUSE);
                    self.observer.emit(RuntimeEvent::Alive(Thread::Commit));
                }
                Err(cause) => return Err(CallError { what: "abort the transaction", cause }),
            }
        }
    }

    /// Whether the right to write a topic is missing; the log names it.
    pub(crate) fn is_refused(&self) -> bool {
        self.producer.context().is_refused()
    }

    /// Serves delivery reports until nothing is in flight; bounded by `message.timeout.ms`.
    pub(crate) fn drain(&self) {
        let mut pause = Duration::from_micros(100);
        while self.producer.in_flight_count() > 0 {
            self.serve();
            if self.producer.in_flight_count() > 0 {
                std::thread::sleep(pause);
                pause = Duration::from_millis(1).min(pause * 11 / 10);
            }
        }
    }

    /// Repeats a call until it succeeds or its error is not retriable.
    fn call(
        &self,
        what: &'static str,
        call: impl Fn(&BaseProducer<Deliveries>) -> KafkaResult<()>,
    ) -> Result<(), Failure> {
        loop {
            match self.heartbeat.time(|| call(&self.producer)) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if !error.is_fatal() && error.is_retriable() => {
                    tracing::debug!("{what}: {error}; retrying");
                    self.drain();
                    self.observer.emit(RuntimeEvent::Alive(Thread::Commit));
                }
                Err(KafkaError::Transaction(error))
                    if !error.is_fatal() && (error.txn_requires_abort() || is_connection(error.code())) =>
                {
                    return Err(Failure::Abort(error.code()));
                }
                // Some records are not delivered yet: the next call waits again.
                Err(KafkaError::Flush(_)) => self.drain(),
                Err(cause) => return Err(Failure::Fatal(CallError { what, cause })),
            }
        }
    }
}

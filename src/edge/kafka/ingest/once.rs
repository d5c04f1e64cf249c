//! Owns the end of a bounded run: detects that everything that existed at its start is read, and closes event time.

use super::*;

impl Ingest {
    /// Whether a bounded run has read and committed everything that existed at its start, and everything that it sent
    /// to `rerouted` itself.
    pub(super) fn is_all_read(&mut self) -> Result<bool, IngestError> {
        let started = self.joined && self.restoring.is_empty();
        if !started || self.messages > 0 || !self.readers.iter().all(PartitionReader::is_done) {
            return Ok(false);
        }
        if std::mem::take(&mut self.rerouted) {
            for reader in self.readers.iter_mut().filter(|reader| reader.partition.1 == Source::Rerouted) {
                reader.stop_at(bounds(&self.consumer, reader)?.1);
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// Advances event time to its end, after everything is read.
    pub(super) fn conclude(&mut self) -> Result<(), IngestError> {
        let latest = Timestamp(self.stop_condition.latest.load(Ordering::Relaxed));
        self.close(Some(self.stop_condition.until.unwrap_or(latest)), Vec::new())?;
        // The last rows of many managers and the last timers may take long.
        while !self.drain(DRAIN_TIMEOUT)? {
            if self.stop.is_set() {
                return Err(IngestError::Stuck { what: "stop", epochs: self.in_flight, after: DRAIN_TIMEOUT });
            }
        }
        Ok(())
    }
}

/// The current start and end offset of a partition; retries while it has no leader, as just after its creation.
pub(super) fn bounds(
    consumer: &BaseConsumer<GroupContext>,
    reader: &PartitionReader,
) -> Result<(i64, i64), IngestError> {
    let started = Instant::now();
    loop {
        match consumer.fetch_watermarks(&reader.topic, reader.partition.0 as i32, QUERY_TIMEOUT) {
            Ok(bounds) => return Ok(bounds),
            Err(cause) if is_leaderless(&cause) && started.elapsed() < QUERY_TIMEOUT => thread::sleep(MAX_PARK * 10),
            Err(cause) => return Err(IngestError::Call { what: "find the end of a partition", cause }),
        }
    }
}

/// Whether an error resolves as soon as a leader is known.
fn is_leaderless(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}

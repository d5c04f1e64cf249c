//! Owns how a run that is not endless ends: when all is read that was there at its start, and what is done then.

use super::*;

impl Ingest {
    /// Whether a run that is not endless has read and committed all that was there when it began, and all that it sent
    /// to `rerouted` itself.
    pub(super) fn is_all_read(&mut self) -> Result<bool, IngestError> {
        let begun = self.joined && self.restoring.is_empty();
        if !begun || self.messages > 0 || !self.lanes.iter().all(PartitionReader::done) {
            return Ok(false);
        }
        if std::mem::take(&mut self.rerouted) {
            for lane in self.lanes.iter_mut().filter(|lane| lane.place.1 == Source::Rerouted) {
                lane.stop_at(end(&self.consumer, lane)?.1);
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// All is read: event time goes to its end.
    pub(super) fn conclude(&mut self) -> Result<(), IngestError> {
        let latest = Timestamp(self.closing.latest.load(Ordering::Relaxed));
        self.close(Some(self.closing.until.unwrap_or(latest)), Vec::new())?;
        // The last rows of many managers and the last timers may take their time.
        while !self.drain(DRAIN)? {
            if self.stop.is_set() {
                return Err(IngestError::Stuck { what: "stop", epochs: self.in_flight, after: DRAIN });
            }
        }
        Ok(())
    }
}

/// Where a partition begins and ends now; asks again while it has no leader, as just after it was made.
pub(super) fn end(consumer: &BaseConsumer<GroupContext>, lane: &PartitionReader) -> Result<(i64, i64), IngestError> {
    let started = Instant::now();
    loop {
        match consumer.fetch_watermarks(&lane.topic, lane.place.0 as i32, ASK) {
            Ok(ends) => return Ok(ends),
            Err(cause) if is_leaderless(&cause) && started.elapsed() < ASK => thread::sleep(NAP * 10),
            Err(cause) => return Err(IngestError::Call { what: "find the end of a partition", cause }),
        }
    }
}

/// Whether an error passes by itself as soon as a leader is known.
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

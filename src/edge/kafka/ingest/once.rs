//! Owns the end of a bounded run: detects that everything that existed at its start is read.

use super::group_member::GroupMember;
use super::partition_readers::PartitionReader;
use crate::domain::source::Source;
use crate::domain::time::Timestamp;
use crate::edge::kafka::client::CallError;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A run that ends at the end offsets found at its start.
pub(crate) struct BoundedRun {
    /// Where event time ends; `None`: at the last event.
    pub(crate) until: Option<Timestamp>,
    /// The latest event time accepted.
    pub(crate) latest: Arc<AtomicI64>,
    /// Messages were sent to `rerouted` since it was last read to its end.
    pub(crate) rerouted: bool,
}

impl BoundedRun {
    /// The end of event time, once everything is read that existed at the start of the run, and everything that it sent
    /// to `rerouted` itself.
    pub(super) fn end_of_input(
        &mut self,
        group: &GroupMember,
        readers: &mut [PartitionReader],
    ) -> Result<Option<Timestamp>, CallError> {
        if !readers.iter().all(PartitionReader::is_done) {
            return Ok(None);
        }
        if std::mem::take(&mut self.rerouted) {
            for reader in readers.iter_mut().filter(|reader| reader.partition.1 == Source::Rerouted) {
                reader.stop_at(group.bounds(reader)?.1);
            }
            return Ok(None);
        }
        let latest = Timestamp(self.latest.load(Ordering::Relaxed));
        Ok(Some(self.until.unwrap_or(latest)))
    }
}

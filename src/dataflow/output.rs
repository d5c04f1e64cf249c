//! The `output` operator, and the collector that merges the outputs of all workers, epoch by epoch.

use super::epoch::EpochOutput;
use super::messages::Edge;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::collections::BTreeMap;
use std::time::Instant;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::vec::Map;

/// Sends the output of a worker to the collector. The probe shows which epochs have been sent.
pub(super) fn output(epochs: Edge<'_, EpochOutput>, outputs: Sender<EpochOutput>) -> ProbeHandle<u64> {
    // On shutdown the collector may already be gone; the output is not needed then.
    let (probe, _) = epochs.map(move |output| drop(outputs.send(output))).probe();
    probe
}

/// Merges the outputs of the workers, epoch by epoch.
pub struct OutputCollector {
    outputs: Receiver<EpochOutput>,
    workers: usize,
    partial: BTreeMap<u64, (usize, EpochOutput)>,
    next: u64,
}

impl OutputCollector {
    /// A collector, and the sender for the outputs of this number of workers.
    pub(super) fn new(workers: usize) -> (Sender<EpochOutput>, Self) {
        let (sender, outputs) = unbounded();
        (sender, Self { outputs, workers, partial: BTreeMap::new(), next: 0 })
    }

    /// The complete output of the next epoch; `None` once the workers have terminated.
    pub fn next_epoch(&mut self) -> Option<EpochOutput> {
        self.next_received(Receiver::recv).ok()
    }

    /// The same, but waits until `deadline` at most.
    pub fn next_epoch_by(&mut self, deadline: Instant) -> Result<EpochOutput, RecvTimeoutError> {
        self.next_received(|outputs| outputs.recv_deadline(deadline))
    }

    fn next_received<E>(
        &mut self,
        receive: impl Fn(&Receiver<EpochOutput>) -> Result<EpochOutput, E>,
    ) -> Result<EpochOutput, E> {
        loop {
            if self.partial.get(&self.next).is_some_and(|(parts, _)| *parts == self.workers)
                && let Some((_, output)) = self.partial.remove(&self.next)
            {
                self.next += 1;
                return Ok(output);
            }
            let output = receive(&self.outputs)?;
            let (parts, merged) = self.partial.entry(output.epoch).or_default();
            *parts += 1;
            merged.absorb(output);
        }
    }
}

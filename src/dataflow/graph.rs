//! Owns the topology of the dataflow graph. Keep the diagram in `dataflow.rs` up to date with it.

use super::decode::decode;
use super::epoch::{Batch, EpochOutput};
use super::figures::figures;
use super::messages::EpochHeader;
use super::output::output;
use super::settings::DataflowSettings;
use super::shard::shard;
use crossbeam_channel::Sender;
use std::sync::Arc;
use timely::dataflow::operators::Input;
use timely::dataflow::{InputHandleVec, ProbeHandle};
use timely::worker::Worker;

/// The ends of one worker's graph.
pub(super) struct Graph {
    pub(super) headers: InputHandleVec<u64, Arc<EpochHeader>>,
    pub(super) batches: InputHandleVec<u64, Arc<Batch>>,
    /// Shows which epochs have been processed.
    pub(super) probe: ProbeHandle<u64>,
}

/// Builds the graph on one worker.
pub(super) fn build(worker: &mut Worker, settings: &DataflowSettings, outputs: Sender<EpochOutput>) -> Graph {
    worker.dataflow(|scope| {
        let (headers_input, headers) = scope.new_input();
        let (batches_input, batches) = scope.new_input();
        let decoded = decode(batches, settings.clone());
        let shards = shard(headers, decoded, settings.clone());
        let epochs = figures(shards, settings.clone());
        let probe = output(epochs, outputs);
        Graph { headers: headers_input, batches: batches_input, probe }
    })
}

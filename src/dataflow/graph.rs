//! Owns the topology of the dataflow graph. Keep the diagram in `dataflow.rs` up to date with it.

use super::epoch::{EdgeMessage, EpochOutput, WorkerInput};
use super::operators::{self, Settings};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::{Input, Probe, generic::Operator, probe};
use timely::worker::Worker;

/// The input of one worker's graph.
pub(super) type WorkerInputHandle =
    timely::dataflow::InputHandle<u64, timely::container::CapacityContainerBuilder<Vec<WorkerInput>>>;

/// Builds the graph on one worker. `emit` is called once per epoch.
pub(super) fn build(
    worker: &mut Worker,
    settings: &Settings,
    emit: impl FnMut(EpochOutput) + 'static,
) -> (WorkerInputHandle, probe::Handle<u64>) {
    let (index, peers) = (worker.index(), worker.peers());
    worker.dataflow::<u64, _, _>(|scope| {
        let (input, inputs) = scope.new_input::<Vec<WorkerInput>>();
        let (probe, _) = inputs
            .unary(Pipeline, "decode", |_, _| operators::decode(settings.clone(), index))
            .unary_frontier(Exchange::new(move |message: &EdgeMessage| route(message, peers)), "shard", |_, _| {
                operators::shard(settings.clone(), (index, peers))
            })
            .unary(Pipeline, "figures", |_, _| operators::figures(settings.clone()))
            .unary(Pipeline, "output", |_, _| operators::output(emit))
            .probe();
        (input, probe)
    })
}

/// Sends the events of a shard to its worker; headers and rejected messages stay on their worker.
fn route(message: &EdgeMessage, peers: usize) -> u64 {
    match message {
        EdgeMessage::Events { shard, .. } => u64::from(*shard),
        EdgeMessage::Header(worker, _) | EdgeMessage::Rejected(worker, ..) => (*worker % peers) as u64,
        EdgeMessage::Shards(_) | EdgeMessage::Figures(_) => 0,
    }
}

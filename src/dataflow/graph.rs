//! Owns the shape of the graph: which operator follows which. The picture is in `dataflow.rs`; redraw it with this.

use super::epoch::{EdgeMessage, EpochOutput, WorkerInput};
use super::operators::{self, Settings};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::{Input, Probe, generic::Operator, probe};
use timely::worker::Worker;

/// The input of one worker's graph.
pub(super) type WorkerInputHandle =
    timely::dataflow::InputHandle<u64, timely::container::CapacityContainerBuilder<Vec<WorkerInput>>>;

/// Builds the graph on one worker. `yielded` is called once an epoch.
pub(super) fn build(
    worker: &mut Worker,
    settings: &Settings,
    yielded: impl FnMut(EpochOutput) + 'static,
) -> (WorkerInputHandle, probe::Handle<u64>) {
    let (index, peers) = (worker.index(), worker.peers());
    worker.dataflow::<u64, _, _>(|scope| {
        let (input, rations) = scope.new_input::<Vec<WorkerInput>>();
        let (probe, _) = rations
            .unary(Pipeline, "decode", |_, _| operators::decode(settings.clone(), index))
            .unary_frontier(Exchange::new(move |parcel: &EdgeMessage| route(parcel, peers)), "floor", |_, _| {
                operators::processor(settings.clone(), (index, peers))
            })
            .unary(Pipeline, "scoreboard", |_, _| operators::scoreboard(settings.clone()))
            .unary(Pipeline, "capture", |_, _| operators::capture(yielded))
            .probe();
        (input, probe)
    })
}

/// A shard has its own worker; heads and refusals stay where they are.
fn route(parcel: &EdgeMessage, peers: usize) -> u64 {
    match parcel {
        EdgeMessage::Events { shard, .. } => u64::from(*shard),
        EdgeMessage::Header(worker, _) | EdgeMessage::Refused(worker, ..) => (*worker % peers) as u64,
        EdgeMessage::Shards(_) | EdgeMessage::Figures(_) => 0,
    }
}

//! Owns the worker threads: starts them, and sends them epochs.

use super::epoch::{Batch, EpochOutput};
use super::graph;
use super::live::lock;
use super::messages::EpochHeader;
use super::output::OutputCollector;
use super::settings::DataflowSettings;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;
use timely::communication::WorkerGuards;

/// The worker threads. Dropping it waits until they end, and panics if one of them has panicked.
pub type WorkerThreads = WorkerGuards<()>;

/// Sends epochs to the workers. The caller must bound the number of epochs in flight.
pub struct EpochSender {
    workers: Vec<(Sender<WorkerInput>, Thread)>,
}

/// The input of one worker for an epoch.
struct WorkerInput {
    header: Arc<EpochHeader>,
    /// The batches that this worker decodes; there may be none.
    batches: Vec<Arc<Batch>>,
}

/// Starts `workers` threads. Dropping the sender stops them once they have processed everything sent. Fails if a thread
/// cannot be spawned.
pub fn start(
    workers: usize,
    settings: DataflowSettings,
) -> Result<(EpochSender, OutputCollector, WorkerThreads), String> {
    let workers = workers.max(1);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded::<WorkerInput>()).unzip();
    let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<_>>());
    let (outputs, collector) = OutputCollector::new(workers);
    let (ready_sender, ready) = bounded(workers);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let index = worker.index();
        let receiver = lock(&receivers)[index].take();
        let _ = ready_sender.send((index, std::thread::current()));
        if let Some(receiver) = receiver {
            run_worker(worker, &settings, &receiver, outputs.clone());
        }
    })?;
    let threads: BTreeMap<usize, Thread> = ready.iter().take(workers).collect();
    Ok((EpochSender { workers: senders.into_iter().zip(threads.into_values()).collect() }, collector, guards))
}

impl EpochSender {
    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Sends an epoch; worker `i` decodes `batches[i]`. Returns `false` if the workers have terminated.
    pub fn send(&self, header: EpochHeader, mut batches: Vec<Vec<Arc<Batch>>>) -> bool {
        let header = Arc::new(header);
        batches.resize_with(self.workers.len(), Vec::new);
        let mut sent = true;
        for ((input, thread), batches) in self.workers.iter().zip(batches) {
            sent &= input.send(WorkerInput { header: Arc::clone(&header), batches }).is_ok();
            thread.unpark();
        }
        sent
    }
}

/// The main loop of a worker: receives epochs, steps the graph, parks when idle.
fn run_worker(
    worker: &mut timely::worker::Worker,
    settings: &DataflowSettings,
    inputs: &Receiver<WorkerInput>,
    outputs: Sender<EpochOutput>,
) {
    let mut graph = graph::build(worker, settings, outputs);
    loop {
        let busy = graph.probe.less_than(graph.headers.time());
        let received = if busy { inputs.try_recv() } else { inputs.recv().map_err(|_| TryRecvError::Disconnected) };
        match received {
            Ok(WorkerInput { header, mut batches }) => {
                let next = header.epoch + 1;
                graph.headers.send(header);
                graph.batches.send_batch(&mut batches);
                graph.headers.advance_to(next);
                graph.batches.advance_to(next);
                worker.step();
            }
            Err(TryRecvError::Empty) => {
                worker.step_or_park(Some(Duration::from_millis(10)));
            }
            Err(TryRecvError::Disconnected) => break,
        }
    }
    drop(graph);
    while worker.has_dataflows() {
        worker.step_or_park(Some(Duration::from_millis(1)));
    }
}

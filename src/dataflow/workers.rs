//! Owns the worker threads: starts them, sends them epochs, and collects the output of each epoch in order.

use super::epoch::{EpochHeader, EpochOutput, WorkerInput};
use super::graph;
use super::operators::Settings;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;
use timely::communication::WorkerGuards;

pub use super::operators::{Settings as DataflowSettings, TOPIC_HEADER};

/// Handles to the worker threads. Dropping `sender` stops the threads once they have processed everything sent.
pub struct Workers {
    /// Sends epochs to the workers.
    pub sender: EpochSender,
    /// Collects the output of the workers.
    pub collector: OutputCollector,
    guards: WorkerGuards<()>,
}

/// Sends epochs to the workers. The caller must bound the number of epochs in flight.
pub struct EpochSender {
    inputs: Vec<Sender<WorkerInput>>,
    threads: Vec<Thread>,
}

/// Merges the outputs of the workers, epoch by epoch.
pub struct OutputCollector {
    outputs: Receiver<EpochOutput>,
    workers: usize,
    partial: BTreeMap<u64, (usize, EpochOutput)>,
    next: u64,
}

impl Workers {
    /// Starts `workers` threads. Fails if a thread cannot be spawned.
    pub fn start(workers: usize, settings: Settings) -> Result<Self, String> {
        let workers = workers.max(1);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded::<WorkerInput>()).unzip();
        let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<_>>());
        let (output_sender, outputs) = unbounded();
        let (ready_sender, ready) = bounded(workers);
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let index = worker.index();
            let receiver = super::live_state::lock(&receivers)[index].take();
            let _ = ready_sender.send((index, std::thread::current()));
            if let Some(receiver) = receiver {
                let output_sender = output_sender.clone();
                // On shutdown the collector may already be gone; the output is not needed then.
                let emit = move |output| drop(output_sender.send(output));
                run_worker(worker, &settings, &receiver, emit);
            }
        })?;
        let mut threads: Vec<_> = ready.iter().take(workers).collect();
        threads.sort_unstable_by_key(|(index, _)| *index);
        let threads = threads.into_iter().map(|(_, thread)| thread).collect();
        let collector = OutputCollector { outputs, workers, partial: BTreeMap::new(), next: 0 };
        Ok(Self { sender: EpochSender { inputs: senders, threads }, collector, guards })
    }

    /// Drops the sender and waits for the threads to finish. Fails if a worker panicked.
    pub fn join(self) -> Result<(), String> {
        drop(self.sender);
        self.guards.join().into_iter().collect()
    }

    /// Splits the handles, for use in separate threads.
    pub fn split(self) -> (EpochSender, OutputCollector, WorkerGuards<()>) {
        (self.sender, self.collector, self.guards)
    }
}

impl EpochSender {
    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.inputs.len()
    }

    /// Sends an epoch; worker `i` decodes `batches[i]`. Returns `false` if the workers have terminated.
    pub fn send(&self, header: EpochHeader, mut batches: Vec<Vec<Arc<super::epoch::Batch>>>) -> bool {
        let header = Arc::new(header);
        batches.resize_with(self.inputs.len(), Vec::new);
        let mut sent = true;
        for ((input, thread), batches) in self.inputs.iter().zip(&self.threads).zip(batches) {
            sent &= input.send(WorkerInput { header: Arc::clone(&header), batches }).is_ok();
            thread.unpark();
        }
        sent
    }
}

impl OutputCollector {
    /// The complete output of the next epoch; `None` once the workers have terminated.
    pub fn next_epoch(&mut self) -> Option<EpochOutput> {
        loop {
            if self.partial.get(&self.next).is_some_and(|(parts, _)| *parts == self.workers) {
                let (_, output) = self.partial.remove(&self.next)?;
                self.next += 1;
                return Some(output);
            }
            let output = self.outputs.recv().ok()?;
            let (parts, merged) = self.partial.entry(output.epoch).or_default();
            *parts += 1;
            merged.absorb(output);
        }
    }
}

/// The main loop of a worker: receives epochs, steps the graph, parks when idle.
fn run_worker(
    worker: &mut timely::worker::Worker,
    settings: &Settings,
    inputs: &Receiver<WorkerInput>,
    emit: impl FnMut(EpochOutput) + 'static,
) {
    let (mut input, probe) = graph::build(worker, settings, emit);
    loop {
        let busy = probe.less_than(input.time());
        let received = if busy { inputs.try_recv() } else { inputs.recv().map_err(|_| TryRecvError::Disconnected) };
        match received {
            Ok(worker_input) => {
                let next = worker_input.header.epoch + 1;
                input.send(worker_input);
                input.advance_to(next);
                worker.step();
            }
            Err(TryRecvError::Empty) => {
                worker.step_or_park(Some(Duration::from_millis(10)));
            }
            Err(TryRecvError::Disconnected) if busy => {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
            Err(TryRecvError::Disconnected) => break,
        }
    }
    input.close();
    while worker.has_dataflows() {
        worker.step_or_park(Some(Duration::from_millis(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoding;
    use crate::config::parse_norms;

    use crate::dataflow::epoch::Batch;
    use crate::domain::norms::Norms;
    use crate::domain::shard::partitioner;
    use crate::domain::shard::processor::{ShardProgress, Timing};
    use crate::domain::source::Source;
    use crate::domain::time::Timestamp;

    const SHARDS: u32 = 4;

    fn norms(within: &str) -> Arc<Norms> {
        let text = format!("norms: {{first_response_late: {{within: {within}}}}}");
        Arc::new(parse_norms("test", &text).unwrap_or_else(|problems| panic!("{problems}")).norms)
    }

    /// One lead per tenant, at minute 0.
    fn leads(tenants: &[String]) -> Arc<Batch> {
        let mut batch = Batch::new(Source::Files, None, Encoding::Json);
        for (offset, tenant) in (0..).zip(tenants) {
            let text = format!(
                r#"{{"event_id":"1","tenant_id":"{tenant}","occurred_at":"1970-01-01T00:00:00Z",
                "lead_created":{{"lead_id":"1"}}}}"#
            );
            batch.push(offset, None, text.as_bytes());
        }
        Arc::new(batch)
    }

    #[test]
    fn reloaded_norms_apply_on_every_worker_and_to_later_shards() {
        let timing = Timing { max_future_skew: None, follows_clock: false, ..Timing::default() };
        let settings = Settings { shards: SHARDS, ..Settings::new(norms("1h"), timing) };
        let (sender, mut collector, guards) = Workers::start(2, settings).expect("threads").split();
        let tenant = |wanted| {
            let name = (0..).map(|n| format!("t{n}")).find(|name| partitioner::shard(name, SHARDS) == wanted);
            name.expect("such a name exists")
        };
        // Two shards on two workers get a tenant before the reload, the other two after it.
        let [before, after] = [[0, 1], [2, 3]].map(|shards| shards.map(tenant));
        let mut epoch = 0;
        let mut run = |minute: i64, norms: Option<Arc<Norms>>, batches| {
            let close = Some(Timestamp(minute * 60_000));
            let other_shards = Some(ShardProgress { close, ..ShardProgress::default() });
            assert!(sender.send(EpochHeader { epoch, other_shards, norms, ..EpochHeader::default() }, batches));
            epoch += 1;
            let output = collector.next_epoch().expect("workers are running");
            let mut late: Vec<_> = output.alerts.iter().map(|alert| alert.tenant.as_str().to_owned()).collect();
            late.sort();
            late
        };
        assert_eq!(run(10, None, vec![vec![leads(&before)]]), [""; 0]);
        assert_eq!(run(20, Some(norms("15m")), vec![vec![leads(&after)]]), {
            let mut all = [before, after].concat();
            all.sort();
            all
        });
        drop(sender);
        guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    }
}

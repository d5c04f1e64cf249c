//! Owns the worker threads: starts them, hands them epochs, and gathers what came of each epoch in order.

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

/// The worker threads, seen from outside. Dropping the supply ends them when all that was sent is done.
pub struct Workers {
    /// Where epochs go in.
    pub supply: EpochSender,
    /// Where what came of them comes out.
    pub gather: OutputCollector,
    guards: WorkerGuards<()>,
}

/// Hands epochs to the workers. How many are under way at a time is the sender's to bound.
pub struct EpochSender {
    rations: Vec<Sender<WorkerInput>>,
    threads: Vec<Thread>,
}

/// Gathers what the workers made, epoch by epoch.
pub struct OutputCollector {
    made: Receiver<EpochOutput>,
    workers: usize,
    partial: BTreeMap<u64, (usize, EpochOutput)>,
    next: u64,
}

impl Workers {
    /// Starts `workers` threads. Fails if the system refuses threads.
    pub fn start(workers: usize, settings: Settings) -> Result<Self, String> {
        let workers = workers.max(1);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded::<WorkerInput>()).unzip();
        let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<_>>());
        let (made_in, made) = unbounded();
        let (ready_in, ready) = bounded(workers);
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let index = worker.index();
            let receiver = super::live_state::lock(&receivers)[index].take();
            let _ = ready_in.send((index, std::thread::current()));
            if let Some(receiver) = receiver {
                let made_in = made_in.clone();
                // Nobody gathers any more when the process is going down; what is made then is not asked for.
                let yielded = move |made| drop(made_in.send(made));
                work(worker, &settings, &receiver, yielded);
            }
        })?;
        let mut threads: Vec<_> = ready.iter().take(workers).collect();
        threads.sort_unstable_by_key(|(index, _)| *index);
        let threads = threads.into_iter().map(|(_, thread)| thread).collect();
        let gather = OutputCollector { made, workers, partial: BTreeMap::new(), next: 0 };
        Ok(Self { supply: EpochSender { rations: senders, threads }, gather, guards })
    }

    /// Waits for the threads, once the supply is dropped. Fails if a worker panicked.
    pub fn join(self) -> Result<(), String> {
        drop(self.supply);
        self.guards.join().into_iter().collect()
    }

    /// Splits off the parts, for threads of their own.
    pub fn split(self) -> (EpochSender, OutputCollector, WorkerGuards<()>) {
        (self.supply, self.gather, self.guards)
    }
}

impl EpochSender {
    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.rations.len()
    }

    /// Sends an epoch: `batches[i]` is decoded by worker i. `false`: the workers are gone.
    pub fn send(&self, head: EpochHeader, mut batches: Vec<Vec<Arc<super::epoch::Batch>>>) -> bool {
        let head = Arc::new(head);
        batches.resize_with(self.rations.len(), Vec::new);
        let mut sent = true;
        for ((rations, thread), batches) in self.rations.iter().zip(&self.threads).zip(batches) {
            sent &= rations.send(WorkerInput { head: Arc::clone(&head), batches }).is_ok();
            thread.unpark();
        }
        sent
    }
}

impl OutputCollector {
    /// The next epoch in order, whole; `None` when the workers are gone.
    pub fn gather(&mut self) -> Option<EpochOutput> {
        loop {
            if self.partial.get(&self.next).is_some_and(|(parts, _)| *parts == self.workers) {
                let (_, whole) = self.partial.remove(&self.next)?;
                self.next += 1;
                return Some(whole);
            }
            let made = self.made.recv().ok()?;
            let (parts, whole) = self.partial.entry(made.epoch).or_default();
            *parts += 1;
            whole.absorb(made);
        }
    }
}

/// One worker's life: take epochs, run the graph, sleep when there is nothing to do.
fn work(
    worker: &mut timely::worker::Worker,
    settings: &Settings,
    rations: &Receiver<WorkerInput>,
    yielded: impl FnMut(EpochOutput) + 'static,
) {
    let (mut input, probe) = graph::build(worker, settings, yielded);
    loop {
        let busy = probe.less_than(input.time());
        let ration = if busy { rations.try_recv() } else { rations.recv().map_err(|_| TryRecvError::Disconnected) };
        match ration {
            Ok(ration) => {
                let next = ration.head.epoch + 1;
                input.send(ration);
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
    use crate::domain::partitioner;
    use crate::domain::shard_processor::{ShardProgress, Source, Timing};
    use crate::domain::time::Timestamp;

    const SHARDS: u32 = 4;

    fn norms(within: &str) -> Arc<Norms> {
        let text = format!("norms: {{first_response_late: {{within: {within}}}}}");
        Arc::new(parse_norms("test", &text).unwrap_or_else(|problems| panic!("{problems}")).norms)
    }

    /// A lead of each of these tenants, at minute 0.
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
    fn other_norms_are_in_force_on_every_worker_and_for_shards_that_come_later() {
        let timing = Timing { max_future_skew: None, follows_clock: false, ..Timing::default() };
        let settings = Settings { shards: SHARDS, ..Settings::new(norms("1h"), timing) };
        let (supply, mut gather, guards) = Workers::start(2, settings).expect("threads").split();
        let tenant = |wanted| {
            let name = (0..).map(|n| format!("t{n}")).find(|name| partitioner::shard(name, SHARDS) == wanted);
            name.expect("some name")
        };
        // Of two shards on two workers before the reload, of the others after it.
        let [before, after] = [[0, 1], [2, 3]].map(|shards| shards.map(tenant));
        let mut epoch = 0;
        let mut run = |minute: i64, norms: Option<Arc<Norms>>, batches| {
            let close = Some(Timestamp(minute * 60_000));
            let other_shards = Some(ShardProgress { close, ..ShardProgress::default() });
            assert!(supply.send(EpochHeader { epoch, other_shards, norms, ..EpochHeader::default() }, batches));
            epoch += 1;
            let made = gather.gather().expect("workers");
            let mut late: Vec<_> = made.alerts.iter().map(|alert| alert.tenant.as_str().to_owned()).collect();
            late.sort();
            late
        };
        assert_eq!(run(10, None, vec![vec![leads(&before)]]), [""; 0]);
        assert_eq!(run(20, Some(norms("15m")), vec![vec![leads(&after)]]), {
            let mut all = [before, after].concat();
            all.sort();
            all
        });
        drop(supply);
        guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    }
}

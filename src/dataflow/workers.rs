//! Owns the worker threads: starts them, hands them epochs, and gathers what came of each epoch in order.

use super::epoch::{Head, Ration, Yield};
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
    pub supply: Supply,
    /// Where what came of them comes out.
    pub gather: Gather,
    guards: WorkerGuards<()>,
}

/// Hands epochs to the workers. How many are under way at a time is the sender's to bound.
pub struct Supply {
    rations: Vec<Sender<Ration>>,
    threads: Vec<Thread>,
}

/// Gathers what the workers made, epoch by epoch.
pub struct Gather {
    made: Receiver<Yield>,
    workers: usize,
    partial: BTreeMap<u64, (usize, Yield)>,
    next: u64,
}

impl Workers {
    /// Starts `workers` threads. Fails if the system refuses threads.
    pub fn start(workers: usize, settings: Settings) -> Result<Self, String> {
        let workers = workers.max(1);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded::<Ration>()).unzip();
        let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<_>>());
        let (made_in, made) = unbounded();
        let (ready_in, ready) = bounded(workers);
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let index = worker.index();
            let receiver = super::board::lock(&receivers)[index].take();
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
        let gather = Gather { made, workers, partial: BTreeMap::new(), next: 0 };
        Ok(Self { supply: Supply { rations: senders, threads }, gather, guards })
    }

    /// Waits for the threads, once the supply is dropped. Fails if a worker panicked.
    pub fn join(self) -> Result<(), String> {
        drop(self.supply);
        self.guards.join().into_iter().collect()
    }

    /// Splits off the parts, for threads of their own.
    pub fn split(self) -> (Supply, Gather, WorkerGuards<()>) {
        (self.supply, self.gather, self.guards)
    }
}

impl Supply {
    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.rations.len()
    }

    /// Sends an epoch: `batches[i]` is decoded by worker i. `false`: the workers are gone.
    pub fn send(&self, head: Head, mut batches: Vec<Vec<Arc<super::epoch::Batch>>>) -> bool {
        let head = Arc::new(head);
        batches.resize_with(self.rations.len(), Vec::new);
        let mut sent = true;
        for ((rations, thread), batches) in self.rations.iter().zip(&self.threads).zip(batches) {
            sent &= rations.send(Ration { head: Arc::clone(&head), batches }).is_ok();
            thread.unpark();
        }
        sent
    }
}

impl Gather {
    /// The next epoch in order, whole; `None` when the workers are gone.
    pub fn gather(&mut self) -> Option<Yield> {
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
    rations: &Receiver<Ration>,
    yielded: impl FnMut(Yield) + 'static,
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

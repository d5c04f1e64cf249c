//! The `shard` operator: owns the shards of a worker. Once an epoch is complete, it processes the events of each shard
//! into effects.

use super::epoch::{EpochOutput, RejectedMessage, ShardStatus};
use super::live::lock;
use super::messages::{Decoded, Edge, EpochHeader, ProcessLocal, ShardOutput};
use super::settings::DataflowSettings;
use super::state::{RestoredShard, StateWriter};
use crate::codec::Reject;
use crate::codec::state::{PACKING, Records};
use crate::domain::event::repair::Repairs;
use crate::domain::shard::output_room::OutputRoom;
use crate::domain::shard::processor::{ShardProcessor, ShardProgress};
use crate::domain::source::ShardId;
use crate::domain::time::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

/// Processes epochs. Headers stay on their worker; what was decoded goes to the worker of its shard, which is the shard
/// modulo the number of workers.
pub(super) fn shard<'scope>(
    headers: Edge<'scope, Arc<EpochHeader>>,
    decoded: Edge<'scope, ProcessLocal<Decoded>>,
    settings: DataflowSettings,
) -> Edge<'scope, ShardOutput> {
    let scope = headers.scope();
    let mut shards = Shards { worker: scope.index(), workers: scope.peers(), settings, shards: BTreeMap::new() };
    let by_shard = Exchange::new(|decoded: &ProcessLocal<Decoded>| u64::from(decoded.0.shard.0));
    headers.binary_frontier(decoded, Pipeline, by_shard, "shard", |_, _| {
        let (mut waiting, mut received) = (BTreeMap::new(), BTreeMap::<u64, Vec<Decoded>>::new());
        move |(headers, headers_frontier), (decoded, decoded_frontier), output| {
            headers.for_each(|capability, headers| {
                let Some(capability) = capability.retain_least(0) else { return };
                waiting.extend(headers.drain(..).map(|header| (*capability.time(), (capability.clone(), header))));
            });
            decoded.for_each(|capability, decoded| {
                let Some(epoch) = capability.least() else { return };
                received.entry(*epoch).or_default().extend(decoded.drain(..).map(|decoded| decoded.0));
            });
            let is_complete = |epoch: &u64| !headers_frontier.less_equal(epoch) && !decoded_frontier.less_equal(epoch);
            while let Some(entry) = waiting.first_entry().filter(|entry| is_complete(entry.key())) {
                let (epoch, (capability, header)) = entry.remove_entry();
                let decoded = received.remove(&epoch).unwrap_or_default();
                output.session(&capability).give(shards.run_epoch(&header, decoded));
            }
        }
    })
}

/// The shards of one worker.
struct Shards {
    worker: usize,
    workers: usize,
    settings: DataflowSettings,
    shards: BTreeMap<ShardId, Shard>,
}

/// A shard on its worker.
struct Shard {
    /// Behind a lock, so that entity reports can be built from other threads.
    processor: Arc<Mutex<ShardProcessor>>,
    writer: StateWriter,
    /// Whether it had input or output in this epoch.
    dirty: bool,
}

impl Shard {
    fn new(shard: ShardId, processor: ShardProcessor, writer: StateWriter, settings: &DataflowSettings) -> Self {
        Self { processor: settings.live_state.insert_shard(shard, processor), writer, dirty: false }
    }
}

impl Shards {
    fn run_epoch(&mut self, header: &EpochHeader, mut decoded: Vec<Decoded>) -> ShardOutput {
        let mut output = ShardOutput { norms: header.norms.clone(), ..ShardOutput::default() };
        output.rest.epoch = header.epoch;
        if let Some(norms) = &header.norms {
            self.settings.norms = Arc::clone(norms);
            self.shards.values().for_each(|shard| lock(&shard.processor).reload(Arc::clone(norms)));
        }
        self.take_over_restored(header, &mut output);
        for decoded in &mut decoded {
            self.drop_handled(decoded);
            output.rest.rejected.append(&mut decoded.rejected);
            output.rest.misrouted.append(&mut decoded.misrouted);
        }
        for decoded in decoded {
            self.hold(decoded, header.wall, &mut output.rest);
        }
        self.advance(header, &mut output);
        self.shards.retain(|shard, _| !header.revoked.contains(shard));
        output.rest.revoked.clone_from(&header.revoked);
        output.rest.closing = header.is_closing();
        output
    }

    /// Takes over the restored shards of this worker.
    fn take_over_restored(&mut self, header: &EpochHeader, output: &mut ShardOutput) {
        let is_local = |restored: &mut RestoredShard| restored.shard.0 as usize % self.workers == self.worker;
        let restored: Vec<RestoredShard> = lock(&header.restored).extract_if(.., is_local).collect();
        for mut restored in restored {
            restored.reload(&self.settings.norms);
            restored.processor.limit(self.settings.admission_limits.clone(), Arc::clone(&self.settings.known));
            let RestoredShard { shard, processor, writer, figures, open, taken, rows_due } = restored;
            self.shards.insert(shard, Shard::new(shard, processor, writer, &self.settings));
            output.restored.extend(figures);
            output.rows_due.extend(rows_due.then_some(shard));
            output.rest.restored.push((shard, open));
            output.rest.taken.extend(taken);
        }
    }

    /// Drops the rejected and misrouted messages that an earlier process has read, and therefore rejected or rerouted.
    fn drop_handled(&mut self, decoded: &mut Decoded) {
        let Decoded { batch, rejected, misrouted, .. } = decoded;
        let Some(shard) = batch.shard.and_then(|shard| self.shards.get_mut(&shard)) else { return };
        let processor = lock(&shard.processor);
        let is_new = |message| !processor.was_read(batch.source, batch.offset(message));
        rejected.retain(|found| is_new(found.message));
        misrouted.retain(|found| is_new(found.message));
        shard.dirty |= !rejected.is_empty() || !misrouted.is_empty();
    }

    /// Holds events until the watermark passes them. Those that are not admitted are rejected. Repairs of
    /// others are counted, unless an earlier process has read and counted them.
    fn hold(&mut self, decoded: Decoded, wall: Timestamp, output: &mut EpochOutput) {
        let Decoded { shard, batch, events, marks, .. } = decoded;
        if events.is_empty() && marks.is_empty() {
            return;
        }
        let shard = self.shards.entry(shard).or_insert_with(|| {
            let mut processor = ShardProcessor::new(Arc::clone(&self.settings.norms), self.settings.timing, PACKING);
            processor.limit(self.settings.admission_limits.clone(), Arc::clone(&self.settings.known));
            processor.share_held(Arc::clone(&self.settings.held_memory));
            Shard::new(shard, processor, StateWriter::default(), &self.settings)
        });
        shard.dirty = true;
        let mut processor = lock(&shard.processor);
        let (mut earliest, mut latest) = (Timestamp::MAX, Timestamp::MIN);
        for (message, repairs, event) in events {
            let (offset, at) = (batch.offset(message), event.at);
            if let Err(reason) = processor.arrive(batch.source, offset, event, wall) {
                let reject = Reject::on_arrival(reason);
                output.rejected.push(RejectedMessage { batch: Arc::clone(&batch), message, reject });
                continue;
            }
            if repairs != Repairs::default() && !processor.was_read(batch.source, offset) {
                repairs.iter().for_each(|repair| *output.repaired.entry(repair).or_default() += 1);
            }
            earliest = earliest.min(at);
            latest = latest.max(at);
        }
        for (message, topic, progress) in marks {
            let at = (batch.source, batch.offset(message));
            if let Err(reason) = processor.progress(at, topic, progress, wall) {
                let reject = Reject::on_arrival(reason);
                output.rejected.push(RejectedMessage { batch: Arc::clone(&batch), message, reject });
            }
        }
        self.settings.earliest.fetch_min(earliest.0, Ordering::Relaxed);
        self.settings.latest.fetch_max(latest.0, Ordering::Relaxed);
    }

    /// Advances the watermarks of the tenants of each shard, and processes what they pass.
    fn advance(&mut self, header: &EpochHeader, output: &mut ShardOutput) {
        let progress_by_shard: FxHashMap<ShardId, &ShardProgress> =
            header.progress.iter().map(|(shard, progress)| (*shard, progress)).collect();
        let durable = self.settings.timing.memory.durable;
        let mut all_effects = Vec::new();
        let mut room = OutputRoom::new(self.settings.max_output).of_worker(self.workers);
        let shards = self.shards.len();
        for (index, (&number, shard)) in self.shards.iter_mut().enumerate() {
            let mut processor = lock(&shard.processor);
            processor.limit_output(room.part(shards - index));
            let mut records = Records::default();
            let progress = progress_by_shard.get(&number).copied();
            if let Some(progress) = progress.or(header.other_shards.as_ref()) {
                output.times.push((number, processor.advance(progress, &mut all_effects)));
                room.take(processor.output());
            }
            shard.dirty |= !all_effects.is_empty();
            for effects in all_effects.drain(..) {
                shard.writer.write(&processor, &effects, &mut records);
                output.effects.push((number, effects));
            }
            let sources = progress.map(|progress| progress.sources.as_slice()).unwrap_or_default();
            output.rest.shards.push(ShardStatus {
                shard: number,
                watermark: Timestamp::MIN,
                held: processor.held(),
                lowest: processor.lowest_held().collect(),
                paused: processor.sources_to_pause(sources),
                counts: processor.take_counts(),
                limits_used: processor.limits_used(),
                entries: shard.writer.entries(),
                dirty: std::mem::take(&mut shard.dirty),
                checkpoint: durable.then(|| shard.writer.checkpoint(&mut processor, sources, header.wall)),
            });
            if !records.is_empty() {
                output.rest.state.push((number, records));
            }
        }
    }
}

//! Owns the operators. Each reads its input, calls the codec or the domain, sends the output, and manages capabilities.
//! Message semantics are decided elsewhere.

use super::epoch::{
    Batch, EdgeMessage, EpochHeader, EpochOutput, MisroutedMessage, RejectedMessage, ShardOutput, ShardStatus,
    WorkerInput,
};
use super::live_state::{LiveState, TenantFigures, lock};
use super::state::{RestoredShard, ShardState};
use crate::codec::state::Records;
use crate::codec::{self, Encoding, Reject};
use crate::domain::effect::Effect;
use crate::domain::event::Event;
use crate::domain::event::reject::Reason;
use crate::domain::id::TenantId;
use crate::domain::norms::Norms;
use crate::domain::scoreboard::Scoreboard;
use crate::domain::shard::partitioner;
use crate::domain::shard::processor::{Effects, ShardProgress, Timing};
use crate::domain::source::{Source, Topic};
use crate::domain::time::Timestamp;
use crate::domain::time::window::Window;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilderSession};
use timely::progress::frontier::MutableAntichain;

/// Settings shared by all operators of all workers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The norms in force.
    pub norms: Arc<Norms>,
    /// The settings of event time.
    pub timing: Timing,
    /// The number of shards: the partition count of the source topics.
    pub shards: u32,
    /// Larger messages are rejected.
    pub max_message_bytes: usize,
    /// Whether rows are emitted whenever a window slides, or only at the end.
    pub rows_at_boundaries: bool,
    /// The state that is visible outside the graph.
    pub live_state: Arc<LiveState>,
    /// The latest event time decoded so far, in milliseconds.
    pub latest: Arc<AtomicI64>,
    /// The earliest event time decoded so far, in milliseconds.
    pub earliest: Arc<AtomicI64>,
}

impl Settings {
    /// One shard, messages of up to 256 KiB, rows at the end, and a new live state.
    pub fn new(norms: Arc<Norms>, timing: Timing) -> Self {
        Self {
            norms,
            timing,
            shards: 1,
            max_message_bytes: 256 << 10,
            rows_at_boundaries: false,
            live_state: Arc::default(),
            latest: Arc::new(AtomicI64::new(i64::MIN)),
            earliest: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }
}

type Input<C, P> = InputHandleCore<u64, C, P>;
type Output<'a> = OutputBuilderSession<'a, u64, timely::container::CapacityContainerBuilder<Vec<EdgeMessage>>>;

/// Decodes messages into events of a shard, or rejects them.
pub(super) fn decode<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<WorkerInput>>>>(
    settings: Settings,
    index: usize,
) -> impl FnMut(&mut Input<Vec<WorkerInput>, P>, &mut Output<'_>) {
    move |input, output| {
        input.for_each(|capability, inputs| {
            let mut session = output.session(&capability);
            for worker_input in inputs.drain(..) {
                session.give(EdgeMessage::Header(index, worker_input.header));
                for batch in worker_input.batches {
                    let decoded = decode_batch(&settings, &batch);
                    for (shard, events) in decoded.shards {
                        session.give(EdgeMessage::Events { shard, batch: Arc::clone(&batch), events });
                    }
                    if !decoded.rejected.is_empty() || !decoded.misrouted.is_empty() {
                        session.give(EdgeMessage::Rejected(index, decoded.rejected, decoded.misrouted));
                    }
                }
            }
        });
    }
}

#[derive(Default)]
struct Decoded {
    shards: Vec<(u32, Vec<(u32, Event)>)>,
    rejected: Vec<RejectedMessage>,
    misrouted: Vec<MisroutedMessage>,
}

fn decode_batch(settings: &Settings, batch: &Arc<Batch>) -> Decoded {
    let mut decoded = Decoded::default();
    let mut slots = FxHashMap::<u32, usize>::default();
    let (mut earliest, mut latest) = (i64::MAX, i64::MIN);
    for (index, message) in batch.messages.iter().enumerate() {
        let index = index as u32;
        match decode_message(settings, batch, message) {
            Ok(event) => {
                earliest = earliest.min(event.at.0);
                latest = latest.max(event.at.0);
                let shard = partitioner::shard(event.tenant.as_str(), settings.shards);
                if batch.shard.is_some_and(|partition| partition != shard) {
                    let topic = event.payload.topic();
                    decoded.misrouted.push(MisroutedMessage { batch: Arc::clone(batch), message: index, shard, topic });
                    continue;
                }
                let slot = *slots.entry(shard).or_insert_with(|| {
                    decoded.shards.push((shard, Vec::new()));
                    decoded.shards.len() - 1
                });
                decoded.shards[slot].1.push((index, event));
            }
            Err(reject) => {
                decoded.rejected.push(RejectedMessage { batch: Arc::clone(batch), message: index, reject });
            }
        }
    }
    settings.earliest.fetch_min(earliest, Ordering::Relaxed);
    settings.latest.fetch_max(latest, Ordering::Relaxed);
    decoded
}

fn decode_message(settings: &Settings, batch: &Batch, message: &super::epoch::Message) -> Result<Event, Reject> {
    let Some(value) = batch.slice(&message.value) else {
        return Err(Reject::new(Reason::Malformed, "message has no value"));
    };
    if value.len() > settings.max_message_bytes {
        return Err(Reject::new(Reason::Oversized, "value larger than max_message_bytes"));
    }
    let header = |name: &str| {
        let headers = message.headers.as_deref().unwrap_or_default();
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_deref())
    };
    let encoding = match header("content-type") {
        None => batch.encoding,
        Some(content_type) => match Encoding::from_content_type(content_type) {
            // Registry framing is configured per topic; the serializers do not announce it in this header.
            Some(Encoding::Protobuf) if batch.encoding == Encoding::ConfluentProtobuf => batch.encoding,
            Some(encoding) => encoding,
            None => return Err(Reject::new(Reason::UnknownEncoding, "content-type: unknown encoding")),
        },
    };
    let topic = match batch.source {
        Source::Rerouted => header(TOPIC_HEADER).and_then(topic_of).or(message.topic),
        _ => message.topic,
    };
    match topic {
        Some(topic) => codec::decode(encoding, topic, header("__value_schema_id").is_some(), value),
        None => codec::json::decode(value),
    }
}

/// The header of a rerouted message that names its original topic.
pub const TOPIC_HEADER: &str = "funnelwatch-topic";

fn topic_of(name: &[u8]) -> Option<Topic> {
    Topic::ALL.into_iter().find(|topic| topic.name().as_bytes() == name)
}

/// The events of one shard in one batch, each with the index of its message.
type ShardEvents = (u32, Arc<Batch>, Vec<(u32, Event)>);

/// An input and its frontier.
type InputWithFrontier<'a, 'b, P> = (&'a mut Input<Vec<EdgeMessage>, P>, &'b MutableAntichain<u64>);

/// The messages of an epoch received so far by the `shard` operator of one worker.
#[derive(Default)]
struct PendingEpoch {
    header: Option<Arc<EpochHeader>>,
    events: Vec<ShardEvents>,
    rejected: Vec<RejectedMessage>,
    misrouted: Vec<MisroutedMessage>,
}

/// Processes the events of a shard into effects, once the epoch is complete.
pub(super) fn shard<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<EdgeMessage>>>>(
    mut settings: Settings,
    worker: (usize, usize),
) -> impl FnMut(InputWithFrontier<'_, '_, P>, &mut Output<'_>) {
    let mut pending = BTreeMap::<u64, (Capability<u64>, PendingEpoch)>::new();
    let mut shard_states = ShardStates::new();
    move |(input, frontier), output| {
        input.for_each(|capability, messages| {
            let Some(epoch) = capability.least().copied() else { return };
            let Some(retained) = capability.retain_least(0) else { return };
            let (_, pending_epoch) = pending.entry(epoch).or_insert_with(|| (retained, PendingEpoch::default()));
            for message in messages.drain(..) {
                match message {
                    EdgeMessage::Header(_, header) => pending_epoch.header = Some(header),
                    EdgeMessage::Events { shard, batch, events } => pending_epoch.events.push((shard, batch, events)),
                    EdgeMessage::Rejected(_, rejected, misrouted) => {
                        pending_epoch.rejected.extend(rejected);
                        pending_epoch.misrouted.extend(misrouted);
                    }
                    EdgeMessage::Shards(_) | EdgeMessage::Figures(_) => {}
                }
            }
        });
        while let Some(entry) = pending.first_entry() {
            if frontier.less_equal(entry.key()) {
                break;
            }
            let (epoch, (capability, pending_epoch)) = entry.remove_entry();
            let result = run_epoch(&mut settings, worker, &mut shard_states, epoch, pending_epoch);
            output.session(&capability).give(EdgeMessage::Shards(Box::new(result)));
        }
    }
}

/// The shards of a worker, each behind its own lock, so that entity reports can be built from other threads.
type ShardStates = BTreeMap<u32, Arc<Mutex<ShardState>>>;

fn run_epoch(
    settings: &mut Settings,
    worker: (usize, usize),
    shard_states: &mut ShardStates,
    epoch: u64,
    pending: PendingEpoch,
) -> ShardOutput {
    let PendingEpoch { header, events, rejected, misrouted } = pending;
    let header = header.unwrap_or_default();
    let mut output = ShardOutput::default();
    output.rest.epoch = epoch;
    if let Some(norms) = &header.norms {
        settings.norms = Arc::clone(norms);
        shard_states.values().for_each(|shard_state| lock(shard_state).processor.reload(Arc::clone(norms)));
        output.norms = Some(Arc::clone(norms));
    }
    take_over_restored(settings, worker, shard_states, &header, &mut output);
    let mut dirty = BTreeSet::new();
    // Messages read before this process took over the shard have already been rejected or rerouted.
    let is_new = |batch: &Batch, message: u32| {
        let shard_state = batch.shard.and_then(|shard| shard_states.get(&shard));
        let offset = batch.messages.get(message as usize).map_or(0, |message| message.offset);
        shard_state.is_none_or(|shard_state| !lock(shard_state).processor.was_read(batch.source, offset))
    };
    output.rest.rejected = rejected.into_iter().filter(|found| is_new(&found.batch, found.message)).collect();
    output.rest.misrouted = misrouted.into_iter().filter(|found| is_new(&found.batch, found.message)).collect();
    dirty.extend(output.rest.rejected.iter().filter_map(|found| found.batch.shard));
    dirty.extend(output.rest.misrouted.iter().filter_map(|found| found.batch.shard));
    for (shard, batch, events) in events {
        dirty.insert(shard);
        let new_shard = || settings.live_state.insert_shard(shard, ShardState::new(&settings.norms, settings.timing));
        let mut shard_state = lock(shard_states.entry(shard).or_insert_with(new_shard));
        for (message, event) in events {
            let offset = batch.messages.get(message as usize).map_or(0, |message| message.offset);
            if let Err(reason) = shard_state.processor.arrive(batch.source, offset, event, header.wall) {
                let reject = Reject::new(reason, "occurred_at: outside the accepted time range");
                output.rest.rejected.push(RejectedMessage { batch: Arc::clone(&batch), message, reject });
            }
        }
    }
    let progress_by_shard: FxHashMap<u32, &ShardProgress> =
        header.progress.iter().map(|(shard, progress)| (*shard, progress)).collect();
    let mut effects = Vec::new();
    for (shard, shard_state) in shard_states.iter() {
        let mut shard_state = lock(shard_state);
        let mut records = Records::default();
        if let Some(progress) = progress_by_shard.get(shard).copied().or(header.other_shards.as_ref()) {
            shard_state.processor.advance(progress, &mut effects);
            for effects in effects.drain(..) {
                dirty.insert(*shard);
                shard_state.write(&effects, &mut records);
                output.effects.push((*shard, effects));
            }
        }
        let sources = progress_by_shard.get(shard).map(|progress| progress.sources.as_slice()).unwrap_or_default();
        let durable = settings.timing.memory.durable;
        let counts = shard_state.processor.take_counts();
        output.rest.shards.push(ShardStatus {
            shard: *shard,
            watermark: shard_state.processor.watermark(),
            held: shard_state.processor.held(),
            lowest: shard_state.processor.lowest_held().collect(),
            paused: shard_state.processor.sources_to_pause(sources),
            counts,
            entries: shard_state.entries(),
            dirty: dirty.contains(shard),
            checkpoint: durable.then(|| shard_state.checkpoint(sources, header.wall)),
        });
        if !records.is_empty() {
            output.rest.state.push((*shard, records));
        }
    }
    output.rest.revoked.clone_from(&header.revoked);
    shard_states.retain(|shard, _| !header.revoked.contains(shard));
    output.rest.closing = header
        .progress
        .iter()
        .map(|(_, progress)| progress)
        .chain(&header.other_shards)
        .any(|progress| progress.close.is_some());
    output
}

/// Takes over the restored shards of this worker. If the norms have changed since, the current ones apply from now on.
fn take_over_restored(
    settings: &Settings,
    (index, peers): (usize, usize),
    shard_states: &mut ShardStates,
    header: &EpochHeader,
    output: &mut ShardOutput,
) {
    let is_local = |restored: &mut RestoredShard| restored.shard as usize % peers == index;
    let restored: Vec<RestoredShard> = lock(&header.restored).extract_if(.., is_local).collect();
    for restored in restored {
        let (shard, mut shard_state, figures, open) = restored.split();
        output.rest.restored.push((shard, open));
        let changed = !Arc::ptr_eq(shard_state.processor.norms(), &settings.norms);
        if changed {
            shard_state.processor.reload(Arc::clone(&settings.norms));
        }
        shard_states.insert(shard, settings.live_state.insert_shard(shard, shard_state));
        output.figures.extend(figures.into_iter().map(|(tenant, figures)| (tenant, figures, changed)));
    }
}

/// Aggregates effects into figures, and emits rows, alerts and review requests.
pub(super) fn figures<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<EdgeMessage>>>>(
    mut settings: Settings,
) -> impl FnMut(&mut Input<Vec<EdgeMessage>, P>, &mut Output<'_>) {
    let mut tenants = Tenants::default();
    move |input, output| {
        input.for_each(|capability, messages| {
            let mut session = output.session(&capability);
            for message in messages.drain(..) {
                if let EdgeMessage::Shards(shards) = message {
                    session.give(EdgeMessage::Figures(Box::new(tenants.count_epoch(&mut settings, *shards))));
                }
            }
        });
    }
}

/// The figures of one worker's tenants, by shard.
#[derive(Default)]
struct Tenants(BTreeMap<u32, BTreeMap<TenantId, CountedTenant>>);

struct CountedTenant {
    figures: Arc<Mutex<TenantFigures>>,
    /// For each window, the pane in which its rows were last emitted.
    last_emitted: Vec<i64>,
}

impl Tenants {
    fn count_epoch(&mut self, settings: &mut Settings, output: ShardOutput) -> EpochOutput {
        let ShardOutput { effects, norms, figures, mut rest } = output;
        if let Some(norms) = norms {
            for counted in self.0.values().flat_map(BTreeMap::values) {
                lock(&counted.figures).scoreboard.reload(Arc::clone(&norms));
            }
            settings.norms = norms;
        }
        for (tenant, figures, changed) in figures {
            self.take_over_restored(settings, tenant, figures, changed);
        }
        for (shard, effects) in effects {
            self.count(settings, shard, effects, &mut rest);
        }
        for status in &mut rest.shards {
            let Some(tenants) = self.0.get_mut(&status.shard) else { continue };
            let before = rest.alerts.len() + rest.rows.len();
            let mut records = Records::default();
            for (tenant, counted) in tenants {
                let mut figures = lock(&counted.figures);
                figures.at = status.watermark;
                figures.scoreboard.judge_until(status.watermark, &mut rest.alerts);
                if rest.closing {
                    figures.scoreboard.rows(status.watermark, &mut rest.rows);
                } else if settings.rows_at_boundaries && status.watermark > Timestamp::MIN {
                    let scoreboard = &mut figures.scoreboard;
                    emit_rows(
                        scoreboard,
                        &settings.norms.windows,
                        status.watermark,
                        &mut counted.last_emitted,
                        &mut rest.rows,
                    );
                }
                for (key, violation) in figures.scoreboard.take_changes() {
                    records.violation(tenant, &key, violation.as_ref());
                }
            }
            status.dirty |= before < rest.alerts.len() + rest.rows.len();
            if settings.timing.memory.durable && !records.is_empty() {
                status.dirty = true;
                rest.state.push((status.shard, records));
            }
        }
        for shard in &rest.revoked {
            self.0.remove(shard);
            settings.live_state.remove_shard(*shard);
        }
        rest
    }

    /// Takes over a tenant of a restored shard.
    fn take_over_restored(&mut self, settings: &Settings, tenant: TenantId, mut figures: TenantFigures, changed: bool) {
        if changed {
            figures.scoreboard.reload(Arc::clone(&settings.norms));
        }
        let last_emitted = settings.norms.windows.iter().map(|window| figures.at.pane(window.slide)).collect();
        let shard = figures.shard;
        let counted =
            CountedTenant { figures: settings.live_state.insert_tenant(tenant.clone(), figures), last_emitted };
        self.0.entry(shard).or_default().insert(tenant, counted);
    }

    fn count(&mut self, settings: &Settings, shard: u32, effects: Effects, rest: &mut EpochOutput) {
        let Effects { tenant, effects, .. } = effects;
        let counted = self.0.entry(shard).or_default().entry(tenant.clone()).or_insert_with(|| {
            let last_emitted = vec![i64::MIN; settings.norms.windows.len()];
            let scoreboard = Scoreboard::new(tenant.clone(), Arc::clone(&settings.norms));
            let figures = TenantFigures { shard, at: Timestamp::MIN, scoreboard, reviews: BTreeMap::new() };
            CountedTenant { figures: settings.live_state.insert_tenant(tenant.clone(), figures), last_emitted }
        });
        let mut figures = lock(&counted.figures);
        for effect in effects {
            match effect {
                Effect::Review(request) => {
                    figures.reviews.entry(request.manager.clone()).or_default().open += 1;
                    rest.reviews.push(*request);
                }
                Effect::ReviewOver { manager, answered } => {
                    let requests = figures.reviews.entry(manager).or_default();
                    requests.open -= 1;
                    requests.answered += u64::from(answered);
                }
                effect => figures.scoreboard.apply(effect, &mut rest.alerts),
            }
        }
    }
}

/// Emits the rows of the windows that slid since the last emission. `now` rows are emitted with the first window.
fn emit_rows(
    scoreboard: &mut Scoreboard,
    windows: &[Window],
    at: Timestamp,
    last_emitted: &mut [i64],
    rows: &mut Vec<crate::domain::figures::row::Row>,
) {
    for (index, (window, last_emitted)) in windows.iter().zip(last_emitted).enumerate() {
        let pane = at.pane(window.slide);
        if pane > *last_emitted {
            *last_emitted = pane;
            scoreboard.window_rows(index, at, rows);
            if index == 0 {
                scoreboard.now_rows(at, rows);
            }
        }
    }
}

/// Passes the output of each epoch to `emit`.
pub(super) fn output<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<EdgeMessage>>>>(
    mut emit: impl FnMut(EpochOutput),
) -> impl FnMut(&mut Input<Vec<EdgeMessage>, P>, &mut Output<'_>) {
    move |input, _| {
        input.for_each(|_, messages| {
            for message in messages.drain(..) {
                if let EdgeMessage::Figures(output) = message {
                    emit(*output);
                }
            }
        });
    }
}

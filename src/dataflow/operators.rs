//! Owns the operators: each takes input, calls the codec or the domain, gives output and moves capabilities. What a
//! message means is decided elsewhere.

use super::epoch::{
    Batch, EdgeMessage, EpochHeader, EpochOutput, MisroutedMessage, RejectedMessage, ShardOutput, ShardStatus,
    WorkerInput,
};
use super::live_state::{LiveState, TenantFigures, lock};
use super::state::{RestoredShard, ShardState};
use crate::codec::state::Records;
use crate::codec::{self, Encoding, Reject};
use crate::domain::effect::Effect;
use crate::domain::event::{Event, Topic};
use crate::domain::id::TenantId;
use crate::domain::norms::{Norms, Window};
use crate::domain::partitioner;
use crate::domain::reject::Reason;
use crate::domain::scoreboard::Scoreboard;
use crate::domain::shard_processor::{Effects, ShardProgress, Source, Timing};
use crate::domain::time::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilderSession};
use timely::progress::frontier::MutableAntichain;

/// What all operators of all workers share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is wanted.
    pub norms: Arc<Norms>,
    /// How event time is kept.
    pub timing: Timing,
    /// How many shards there are: the partition count of the source topics.
    pub shards: u32,
    /// Larger messages are refused.
    pub max_message_bytes: usize,
    /// Whether rows are made whenever a window moves, or only at the end.
    pub rows_at_boundaries: bool,
    /// The figures that readers outside look at.
    pub board: Arc<LiveState>,
    /// The latest event time decoded so far, in milliseconds.
    pub latest: Arc<AtomicI64>,
    /// The earliest one.
    pub earliest: Arc<AtomicI64>,
}

impl Settings {
    /// One shard, messages of up to 256 KiB, rows at the end, and a board of its own.
    pub fn new(norms: Arc<Norms>, timing: Timing) -> Self {
        Self {
            norms,
            timing,
            shards: 1,
            max_message_bytes: 256 << 10,
            rows_at_boundaries: false,
            board: Arc::default(),
            latest: Arc::new(AtomicI64::new(i64::MIN)),
            earliest: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }
}

type Input<C, P> = InputHandleCore<u64, C, P>;
type Output<'a> = OutputBuilderSession<'a, u64, timely::container::CapacityContainerBuilder<Vec<EdgeMessage>>>;

/// Bytes → events of a shard, or refusals.
pub(super) fn decode<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<WorkerInput>>>>(
    settings: Settings,
    index: usize,
) -> impl FnMut(&mut Input<Vec<WorkerInput>, P>, &mut Output<'_>) {
    move |input, output| {
        input.for_each(|capability, rations| {
            let mut session = output.session(&capability);
            for ration in rations.drain(..) {
                session.give(EdgeMessage::Header(index, ration.head));
                for batch in ration.batches {
                    let decoded = decode_batch(&settings, &batch);
                    for (shard, events) in decoded.shards {
                        session.give(EdgeMessage::Events { shard, batch: Arc::clone(&batch), events });
                    }
                    if !decoded.refusals.is_empty() || !decoded.misplaced.is_empty() {
                        session.give(EdgeMessage::Refused(index, decoded.refusals, decoded.misplaced));
                    }
                }
            }
        });
    }
}

#[derive(Default)]
struct Decoded {
    shards: Vec<(u32, Vec<(u32, Event)>)>,
    refusals: Vec<RejectedMessage>,
    misplaced: Vec<MisroutedMessage>,
}

fn decode_batch(settings: &Settings, batch: &Arc<Batch>) -> Decoded {
    let mut decoded = Decoded::default();
    let mut places = FxHashMap::<u32, usize>::default();
    let (mut earliest, mut latest) = (i64::MAX, i64::MIN);
    for (number, message) in batch.messages.iter().enumerate() {
        let number = number as u32;
        match decode_message(settings, batch, message) {
            Ok(event) => {
                earliest = earliest.min(event.at.0);
                latest = latest.max(event.at.0);
                let shard = partitioner::shard(event.tenant.as_str(), settings.shards);
                if batch.shard.is_some_and(|here| here != shard) {
                    let topic = event.payload.topic();
                    decoded.misplaced.push(MisroutedMessage {
                        batch: Arc::clone(batch),
                        message: number,
                        shard,
                        topic,
                    });
                    continue;
                }
                let place = *places.entry(shard).or_insert_with(|| {
                    decoded.shards.push((shard, Vec::new()));
                    decoded.shards.len() - 1
                });
                decoded.shards[place].1.push((number, event));
            }
            Err(reject) => {
                decoded.refusals.push(RejectedMessage { batch: Arc::clone(batch), message: number, reject });
            }
        }
    }
    settings.earliest.fetch_min(earliest, Ordering::Relaxed);
    settings.latest.fetch_max(latest, Ordering::Relaxed);
    decoded
}

fn decode_message(settings: &Settings, batch: &Batch, message: &super::epoch::Message) -> Result<Event, Reject> {
    let Some(value) = batch.slice(&message.value) else {
        return Err(Reject::new(Reason::Malformed, "a message without a value"));
    };
    if value.len() > settings.max_message_bytes {
        return Err(Reject::new(Reason::Oversized, "larger than max_message_bytes"));
    }
    let header = |name: &str| {
        let headers = message.headers.as_deref().unwrap_or_default();
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_deref())
    };
    let encoding = match header("content-type") {
        None => batch.encoding,
        Some(content_type) => match Encoding::from_content_type(content_type) {
            // Registry framing is a matter of the topic: its serializers do not say so in the header.
            Some(Encoding::Protobuf) if batch.encoding == Encoding::ConfluentProtobuf => batch.encoding,
            Some(encoding) => encoding,
            None => return Err(Reject::new(Reason::UnknownEncoding, "content-type: not a known encoding")),
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

/// The header of a rerouted message that names the topic it was found in.
pub const TOPIC_HEADER: &str = "funnelwatch-topic";

fn topic_of(name: &[u8]) -> Option<Topic> {
    Topic::ALL.into_iter().find(|topic| topic.name().as_bytes() == name)
}

/// Events of one shard, each with the number of its message in the batch.
type ShardEvents = (u32, Arc<Batch>, Vec<(u32, Event)>);

/// An input with its frontier.
type Watched<'a, 'b, P> = (&'a mut Input<Vec<EdgeMessage>, P>, &'b MutableAntichain<u64>);

/// What of an epoch has come in at one worker's floor.
#[derive(Default)]
struct PendingEpoch {
    head: Option<Arc<EpochHeader>>,
    events: Vec<ShardEvents>,
    refusals: Vec<RejectedMessage>,
    misplaced: Vec<MisroutedMessage>,
}

/// Events of a shard → effects, once the epoch is whole.
pub(super) fn processor<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<EdgeMessage>>>>(
    mut settings: Settings,
    worker: (usize, usize),
) -> impl FnMut(Watched<'_, '_, P>, &mut Output<'_>) {
    let mut stashed = BTreeMap::<u64, (Capability<u64>, PendingEpoch)>::new();
    let mut shard_states = ShardStates::new();
    move |(input, frontier), output| {
        input.for_each(|capability, parcels| {
            let Some(epoch) = capability.least().copied() else { return };
            let Some(retained) = capability.retain_least(0) else { return };
            let (_, stash) = stashed.entry(epoch).or_insert_with(|| (retained, PendingEpoch::default()));
            for parcel in parcels.drain(..) {
                match parcel {
                    EdgeMessage::Header(_, head) => stash.head = Some(head),
                    EdgeMessage::Events { shard, batch, events } => stash.events.push((shard, batch, events)),
                    EdgeMessage::Refused(_, refusals, misplaced) => {
                        stash.refusals.extend(refusals);
                        stash.misplaced.extend(misplaced);
                    }
                    EdgeMessage::Shards(_) | EdgeMessage::Figures(_) => {}
                }
            }
        });
        while let Some(entry) = stashed.first_entry() {
            if frontier.less_equal(entry.key()) {
                break;
            }
            let (epoch, (capability, stash)) = entry.remove_entry();
            let made = run_epoch(&mut settings, worker, &mut shard_states, epoch, stash);
            output.session(&capability).give(EdgeMessage::Shards(Box::new(made)));
        }
    }
}

/// The shards of a worker. Each is behind a lock of its own, for those who ask about a lead or deal.
type ShardStates = BTreeMap<u32, Arc<Mutex<ShardState>>>;

fn run_epoch(
    settings: &mut Settings,
    worker: (usize, usize),
    shard_states: &mut ShardStates,
    epoch: u64,
    stash: PendingEpoch,
) -> ShardOutput {
    let PendingEpoch { head, events, refusals, misplaced } = stash;
    let head = head.unwrap_or_default();
    let mut made = ShardOutput::default();
    made.rest.epoch = epoch;
    if let Some(norms) = &head.norms {
        settings.norms = Arc::clone(norms);
        shard_states.values().for_each(|shard_state| lock(shard_state).processor.reload(Arc::clone(norms)));
        made.norms = Some(Arc::clone(norms));
    }
    adopt(settings, worker, shard_states, &head, &mut made);
    let mut dirty = BTreeSet::new();
    // What was read before it came to us has been refused or sent on before.
    let is_news = |batch: &Batch, message: u32| {
        let shard_state = batch.shard.and_then(|shard| shard_states.get(&shard));
        let offset = batch.messages.get(message as usize).map_or(0, |message| message.offset);
        shard_state.is_none_or(|shard_state| !lock(shard_state).processor.was_read(batch.source, offset))
    };
    made.rest.refusals = refusals.into_iter().filter(|refused| is_news(&refused.batch, refused.message)).collect();
    made.rest.misplaced = misplaced.into_iter().filter(|found| is_news(&found.batch, found.message)).collect();
    dirty.extend(made.rest.refusals.iter().filter_map(|refused| refused.batch.shard));
    dirty.extend(made.rest.misplaced.iter().filter_map(|found| found.batch.shard));
    for (shard, batch, events) in events {
        dirty.insert(shard);
        let fresh = || settings.board.open(shard, ShardState::new(&settings.norms, settings.timing));
        let mut shard_state = lock(shard_states.entry(shard).or_insert_with(fresh));
        for (message, event) in events {
            let offset = batch.messages.get(message as usize).map_or(0, |message| message.offset);
            if let Err(reason) = shard_state.processor.arrive(batch.source, offset, event, head.wall) {
                let reject = Reject::new(reason, "occurred_at: outside the time that is processed");
                made.rest.refusals.push(RejectedMessage { batch: Arc::clone(&batch), message, reject });
            }
        }
    }
    let progress: FxHashMap<u32, &ShardProgress> =
        head.progress.iter().map(|(shard, progress)| (*shard, progress)).collect();
    let mut effects = Vec::new();
    for (shard, shard_state) in shard_states.iter() {
        let mut shard_state = lock(shard_state);
        let mut records = Records::default();
        if let Some(progress) = progress.get(shard).copied().or(head.other_shards.as_ref()) {
            shard_state.processor.advance(progress, &mut effects);
            for effects in effects.drain(..) {
                dirty.insert(*shard);
                shard_state.write(&effects, &mut records);
                made.effects.push((*shard, effects));
            }
        }
        let progress = progress.get(shard).map(|progress| progress.sources.as_slice()).unwrap_or_default();
        let durable = settings.timing.memory.durable;
        let counts = shard_state.processor.take_counts();
        let lowest = shard_state.processor.lowest_held();
        made.rest.shards.push(ShardStatus {
            shard: *shard,
            watermark: shard_state.processor.watermark(),
            held: shard_state.processor.held(),
            lowest: progress
                .iter()
                .filter_map(|progress| Some((progress.source, *lowest.get(&progress.source)?)))
                .collect(),
            paused: shard_state.processor.sources_to_pause(progress),
            counts,
            entries: shard_state.entries(),
            dirty: dirty.contains(shard),
            checkpoint: if durable { shard_state.checkpoint(progress, &lowest, head.wall) } else { Records::default() },
        });
        if !records.is_empty() {
            made.rest.state.push((*shard, records));
        }
    }
    made.rest.revoked.clone_from(&head.revoked);
    shard_states.retain(|shard, _| !head.revoked.contains(shard));
    made.rest.closing = head
        .progress
        .iter()
        .map(|(_, progress)| progress)
        .chain(&head.other_shards)
        .any(|progress| progress.close.is_some());
    made
}

/// Takes in the shards of this worker that were rebuilt; norms that have changed since are in force from here on.
fn adopt(
    settings: &Settings,
    (index, peers): (usize, usize),
    shard_states: &mut ShardStates,
    head: &EpochHeader,
    made: &mut ShardOutput,
) {
    let here = |restored: &mut RestoredShard| restored.shard as usize % peers == index;
    let restored: Vec<RestoredShard> = lock(&head.restored).extract_if(.., here).collect();
    for restored in restored {
        let (shard, mut shard_state, boards, open) = restored.split();
        made.rest.adopted.push((shard, open));
        let changed = !Arc::ptr_eq(shard_state.processor.norms(), &settings.norms);
        if changed {
            shard_state.processor.reload(Arc::clone(&settings.norms));
        }
        shard_states.insert(shard, settings.board.open(shard, shard_state));
        made.boards.extend(boards.into_iter().map(|(tenant, figures)| (tenant, figures, changed)));
    }
}

/// Effects → figures, rows, alerts and review requests.
pub(super) fn scoreboard<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<EdgeMessage>>>>(
    mut settings: Settings,
) -> impl FnMut(&mut Input<Vec<EdgeMessage>, P>, &mut Output<'_>) {
    let mut tenants = Tenants::default();
    move |input, output| {
        input.for_each(|capability, parcels| {
            let mut session = output.session(&capability);
            for parcel in parcels.drain(..) {
                if let EdgeMessage::Shards(made) = parcel {
                    session.give(EdgeMessage::Figures(Box::new(tenants.score(&mut settings, *made))));
                }
            }
        });
    }
}

/// The scoreboards of one worker's tenants.
#[derive(Default)]
struct Tenants(BTreeMap<u32, BTreeMap<TenantId, CountedTenant>>);

struct CountedTenant {
    figures: Arc<Mutex<TenantFigures>>,
    /// The pane in which each window's rows were last made.
    last_emitted: Vec<i64>,
}

impl Tenants {
    fn score(&mut self, settings: &mut Settings, made: ShardOutput) -> EpochOutput {
        let ShardOutput { effects, norms, boards, mut rest } = made;
        if let Some(norms) = norms {
            for scored in self.0.values().flat_map(BTreeMap::values) {
                lock(&scored.figures).scoreboard.reload(Arc::clone(&norms));
            }
            settings.norms = norms;
        }
        for (tenant, figures, changed) in boards {
            self.adopt(settings, tenant, figures, changed);
        }
        for (shard, effects) in effects {
            self.count(settings, shard, effects, &mut rest);
        }
        for mark in &mut rest.shards {
            let Some(tenants) = self.0.get_mut(&mark.shard) else { continue };
            let before = rest.alerts.len() + rest.rows.len();
            let mut records = Records::default();
            for (tenant, scored) in tenants {
                let mut figures = lock(&scored.figures);
                figures.at = mark.watermark;
                figures.scoreboard.judge_until(mark.watermark, &mut rest.alerts);
                if rest.closing {
                    figures.scoreboard.rows(mark.watermark, &mut rest.rows);
                } else if settings.rows_at_boundaries && mark.watermark > Timestamp::MIN {
                    let board = &mut figures.scoreboard;
                    make_rows(board, &settings.norms.windows, mark.watermark, &mut scored.last_emitted, &mut rest.rows);
                }
                for (key, violation) in figures.scoreboard.take_changes() {
                    records.violation(tenant, &key, violation.as_ref());
                }
            }
            mark.dirty |= before < rest.alerts.len() + rest.rows.len();
            if settings.timing.memory.durable && !records.is_empty() {
                mark.dirty = true;
                rest.state.push((mark.shard, records));
            }
        }
        for shard in &rest.revoked {
            self.0.remove(shard);
            settings.board.leave(*shard);
        }
        rest
    }

    /// Puts up a tenant of a shard that was rebuilt.
    fn adopt(&mut self, settings: &Settings, tenant: TenantId, mut figures: TenantFigures, changed: bool) {
        if changed {
            figures.scoreboard.reload(Arc::clone(&settings.norms));
        }
        let last_emitted = settings.norms.windows.iter().map(|window| figures.at.pane(window.slide)).collect();
        let shard = figures.shard;
        let scored = CountedTenant { figures: settings.board.enter(tenant.clone(), figures), last_emitted };
        self.0.entry(shard).or_default().insert(tenant, scored);
    }

    fn count(&mut self, settings: &Settings, shard: u32, effects: Effects, rest: &mut EpochOutput) {
        let Effects { tenant, effects, .. } = effects;
        let scored = self.0.entry(shard).or_default().entry(tenant.clone()).or_insert_with(|| {
            let last_emitted = vec![i64::MIN; settings.norms.windows.len()];
            let scoreboard = Scoreboard::new(tenant.clone(), Arc::clone(&settings.norms));
            let figures = TenantFigures { shard, at: Timestamp::MIN, scoreboard, reviews: BTreeMap::new() };
            CountedTenant { figures: settings.board.enter(tenant.clone(), figures), last_emitted }
        });
        let mut figures = lock(&scored.figures);
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
                effect => figures.scoreboard.take(effect, &mut rest.alerts),
            }
        }
    }
}

/// Rows of the windows that moved since they were last made; the first window's step is also that of the `now` rows.
fn make_rows(
    board: &mut Scoreboard,
    windows: &[Window],
    at: Timestamp,
    last_emitted: &mut [i64],
    rows: &mut Vec<crate::domain::row::Row>,
) {
    for (index, (window, last_emitted)) in windows.iter().zip(last_emitted).enumerate() {
        let pane = at.pane(window.slide);
        if pane > *last_emitted {
            *last_emitted = pane;
            board.window_rows(index, at, rows);
            if index == 0 {
                board.now_rows(at, rows);
            }
        }
    }
}

/// Hands out what came of each epoch.
pub(super) fn capture<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<EdgeMessage>>>>(
    mut yielded: impl FnMut(EpochOutput),
) -> impl FnMut(&mut Input<Vec<EdgeMessage>, P>, &mut Output<'_>) {
    move |input, _| {
        input.for_each(|_, parcels| {
            for parcel in parcels.drain(..) {
                if let EdgeMessage::Figures(made) = parcel {
                    yielded(*made);
                }
            }
        });
    }
}

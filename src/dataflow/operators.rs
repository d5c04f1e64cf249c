//! Owns the operators: each takes input, calls the codec or the domain, gives output and moves capabilities. What a
//! message means is decided elsewhere.

use super::board::{Board, Standing, lock};
use super::epoch::{Batch, FloorYield, Head, Misplaced, Parcel, Ration, Refusal, ShardMark, Yield};
use super::state::{Post, Rebuilt};
use crate::codec::state::Records;
use crate::codec::{self, Encoding, Reject};
use crate::domain::effect::Effect;
use crate::domain::event::{Event, Topic};
use crate::domain::floor::{Effects, Feed, Tide, Timing};
use crate::domain::id::TenantId;
use crate::domain::norms::{Norms, Window};
use crate::domain::reject::Reason;
use crate::domain::scoreboard::Scoreboard;
use crate::domain::shard;
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
    pub board: Arc<Board>,
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
type Output<'a> = OutputBuilderSession<'a, u64, timely::container::CapacityContainerBuilder<Vec<Parcel>>>;

/// Bytes → events of a shard, or refusals.
pub(super) fn decode<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<Ration>>>>(
    settings: Settings,
    index: usize,
) -> impl FnMut(&mut Input<Vec<Ration>, P>, &mut Output<'_>) {
    move |input, output| {
        input.for_each(|capability, rations| {
            let mut session = output.session(&capability);
            for ration in rations.drain(..) {
                session.give(Parcel::Head(index, ration.head));
                for batch in ration.batches {
                    let decoded = decode_batch(&settings, &batch);
                    for (shard, events) in decoded.shards {
                        session.give(Parcel::Events { shard, batch: Arc::clone(&batch), events });
                    }
                    if !decoded.refusals.is_empty() || !decoded.misplaced.is_empty() {
                        session.give(Parcel::Refused(index, decoded.refusals, decoded.misplaced));
                    }
                }
            }
        });
    }
}

#[derive(Default)]
struct Decoded {
    shards: Vec<(u32, Vec<(u32, Event)>)>,
    refusals: Vec<Refusal>,
    misplaced: Vec<Misplaced>,
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
                let shard = shard::shard(event.tenant.as_str(), settings.shards);
                if batch.shard.is_some_and(|here| here != shard) {
                    let topic = event.payload.topic();
                    decoded.misplaced.push(Misplaced { batch: Arc::clone(batch), message: number, shard, topic });
                    continue;
                }
                let place = *places.entry(shard).or_insert_with(|| {
                    decoded.shards.push((shard, Vec::new()));
                    decoded.shards.len() - 1
                });
                decoded.shards[place].1.push((number, event));
            }
            Err(reject) => {
                decoded.refusals.push(Refusal { batch: Arc::clone(batch), message: number, reject });
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
    let topic = match batch.feed {
        Feed::Rerouted => header(TOPIC_HEADER).and_then(topic_of).or(message.topic),
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
type Watched<'a, 'b, P> = (&'a mut Input<Vec<Parcel>, P>, &'b MutableAntichain<u64>);

/// What of an epoch has come in at one worker's floor.
#[derive(Default)]
struct Stash {
    head: Option<Arc<Head>>,
    events: Vec<ShardEvents>,
    refusals: Vec<Refusal>,
    misplaced: Vec<Misplaced>,
}

/// Events of a shard → effects, once the epoch is whole.
pub(super) fn floor<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<Parcel>>>>(
    mut settings: Settings,
    worker: (usize, usize),
) -> impl FnMut(Watched<'_, '_, P>, &mut Output<'_>) {
    let mut stashed = BTreeMap::<u64, (Capability<u64>, Stash)>::new();
    let mut posts = Posts::new();
    move |(input, frontier), output| {
        input.for_each(|capability, parcels| {
            let Some(epoch) = capability.least().copied() else { return };
            let Some(retained) = capability.retain_least(0) else { return };
            let (_, stash) = stashed.entry(epoch).or_insert_with(|| (retained, Stash::default()));
            for parcel in parcels.drain(..) {
                match parcel {
                    Parcel::Head(_, head) => stash.head = Some(head),
                    Parcel::Events { shard, batch, events } => stash.events.push((shard, batch, events)),
                    Parcel::Refused(_, refusals, misplaced) => {
                        stash.refusals.extend(refusals);
                        stash.misplaced.extend(misplaced);
                    }
                    Parcel::Floor(_) | Parcel::Scored(_) => {}
                }
            }
        });
        while let Some(entry) = stashed.first_entry() {
            if frontier.less_equal(entry.key()) {
                break;
            }
            let (epoch, (capability, stash)) = entry.remove_entry();
            let made = run_epoch(&mut settings, worker, &mut posts, epoch, stash);
            output.session(&capability).give(Parcel::Floor(Box::new(made)));
        }
    }
}

/// The shards of a worker. Each is behind a lock of its own, for those who ask about a lead or deal.
type Posts = BTreeMap<u32, Arc<Mutex<Post>>>;

fn run_epoch(
    settings: &mut Settings,
    worker: (usize, usize),
    posts: &mut Posts,
    epoch: u64,
    stash: Stash,
) -> FloorYield {
    let Stash { head, events, refusals, misplaced } = stash;
    let head = head.unwrap_or_default();
    let mut made = FloorYield::default();
    made.rest.epoch = epoch;
    if let Some(norms) = &head.norms {
        settings.norms = Arc::clone(norms);
        posts.values().for_each(|post| lock(post).floor.reload(Arc::clone(norms)));
        made.norms = Some(Arc::clone(norms));
    }
    adopt(settings, worker, posts, &head, &mut made);
    let mut stirred = BTreeSet::new();
    // What was read before it came to us has been refused or sent on before.
    let is_news = |batch: &Batch, message: u32| {
        let post = batch.shard.and_then(|shard| posts.get(&shard));
        let offset = batch.messages.get(message as usize).map_or(0, |message| message.offset);
        post.is_none_or(|post| !lock(post).floor.was_read(batch.feed, offset))
    };
    made.rest.refusals = refusals.into_iter().filter(|refused| is_news(&refused.batch, refused.message)).collect();
    made.rest.misplaced = misplaced.into_iter().filter(|found| is_news(&found.batch, found.message)).collect();
    stirred.extend(made.rest.refusals.iter().filter_map(|refused| refused.batch.shard));
    stirred.extend(made.rest.misplaced.iter().filter_map(|found| found.batch.shard));
    for (shard, batch, events) in events {
        stirred.insert(shard);
        let fresh = || settings.board.open(shard, Post::new(&settings.norms, settings.timing));
        let mut post = lock(posts.entry(shard).or_insert_with(fresh));
        for (message, event) in events {
            let offset = batch.messages.get(message as usize).map_or(0, |message| message.offset);
            if let Err(reason) = post.floor.arrive(batch.feed, offset, event, head.wall) {
                let reject = Reject::new(reason, "occurred_at: outside the time that is processed");
                made.rest.refusals.push(Refusal { batch: Arc::clone(&batch), message, reject });
            }
        }
    }
    let tides: FxHashMap<u32, &Tide> = head.tides.iter().map(|(shard, tide)| (*shard, tide)).collect();
    let mut effects = Vec::new();
    for (shard, post) in posts.iter() {
        let mut post = lock(post);
        let mut records = Records::default();
        if let Some(tide) = tides.get(shard).copied().or(head.others.as_ref()) {
            post.floor.advance(tide, &mut effects);
            for effects in effects.drain(..) {
                stirred.insert(*shard);
                post.write(&effects, &mut records);
                made.effects.push((*shard, effects));
            }
        }
        let flows = tides.get(shard).map(|tide| tide.feeds.as_slice()).unwrap_or_default();
        let durable = settings.timing.memory.durable;
        let counts = post.floor.take_counts();
        let lowest = post.floor.lowest_held();
        made.rest.shards.push(ShardMark {
            shard: *shard,
            watermark: post.floor.watermark(),
            held: post.floor.held(),
            lowest: flows.iter().filter_map(|flow| Some((flow.feed, *lowest.get(&flow.feed)?))).collect(),
            ahead: post.floor.ahead(flows),
            counts,
            entries: post.entries(),
            stirred: stirred.contains(shard),
            stand: if durable { post.stand(flows, &lowest, head.wall) } else { Records::default() },
        });
        if !records.is_empty() {
            made.rest.state.push((*shard, records));
        }
    }
    made.rest.revoked.clone_from(&head.revoked);
    posts.retain(|shard, _| !head.revoked.contains(shard));
    made.rest.closing = head.tides.iter().map(|(_, tide)| tide).chain(&head.others).any(|tide| tide.close.is_some());
    made
}

/// Takes in the shards of this worker that were rebuilt; norms that have changed since are in force from here on.
fn adopt(settings: &Settings, (index, peers): (usize, usize), posts: &mut Posts, head: &Head, made: &mut FloorYield) {
    let here = |rebuilt: &mut Rebuilt| rebuilt.shard as usize % peers == index;
    let rebuilt: Vec<Rebuilt> = lock(&head.rebuilt).extract_if(.., here).collect();
    for rebuilt in rebuilt {
        let (shard, mut post, boards, open) = rebuilt.split();
        made.rest.adopted.push((shard, open));
        let changed = !Arc::ptr_eq(post.floor.norms(), &settings.norms);
        if changed {
            post.floor.reload(Arc::clone(&settings.norms));
        }
        posts.insert(shard, settings.board.open(shard, post));
        made.boards.extend(boards.into_iter().map(|(tenant, standing)| (tenant, standing, changed)));
    }
}

/// Effects → figures, rows, alerts and review requests.
pub(super) fn scoreboard<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<Parcel>>>>(
    mut settings: Settings,
) -> impl FnMut(&mut Input<Vec<Parcel>, P>, &mut Output<'_>) {
    let mut tenants = Tenants::default();
    move |input, output| {
        input.for_each(|capability, parcels| {
            let mut session = output.session(&capability);
            for parcel in parcels.drain(..) {
                if let Parcel::Floor(made) = parcel {
                    session.give(Parcel::Scored(Box::new(tenants.score(&mut settings, *made))));
                }
            }
        });
    }
}

/// The scoreboards of one worker's tenants.
#[derive(Default)]
struct Tenants(BTreeMap<u32, BTreeMap<TenantId, Scored>>);

struct Scored {
    standing: Arc<Mutex<Standing>>,
    /// The pane in which each window's rows were last made.
    rowed: Vec<i64>,
}

impl Tenants {
    fn score(&mut self, settings: &mut Settings, made: FloorYield) -> Yield {
        let FloorYield { effects, norms, boards, mut rest } = made;
        if let Some(norms) = norms {
            for scored in self.0.values().flat_map(BTreeMap::values) {
                lock(&scored.standing).scoreboard.reload(Arc::clone(&norms));
            }
            settings.norms = norms;
        }
        for (tenant, standing, changed) in boards {
            self.adopt(settings, tenant, standing, changed);
        }
        for (shard, effects) in effects {
            self.count(settings, shard, effects, &mut rest);
        }
        for mark in &mut rest.shards {
            let Some(tenants) = self.0.get_mut(&mark.shard) else { continue };
            let before = rest.alerts.len() + rest.rows.len();
            let mut records = Records::default();
            for (tenant, scored) in tenants {
                let mut standing = lock(&scored.standing);
                standing.at = mark.watermark;
                standing.scoreboard.judge_until(mark.watermark, &mut rest.alerts);
                if rest.closing {
                    standing.scoreboard.rows(mark.watermark, &mut rest.rows);
                } else if settings.rows_at_boundaries && mark.watermark > Timestamp::MIN {
                    let board = &mut standing.scoreboard;
                    make_rows(board, &settings.norms.windows, mark.watermark, &mut scored.rowed, &mut rest.rows);
                }
                for (charge, violation) in standing.scoreboard.take_changes() {
                    records.violation(tenant, &charge, violation.as_ref());
                }
            }
            mark.stirred |= before < rest.alerts.len() + rest.rows.len();
            if settings.timing.memory.durable && !records.is_empty() {
                mark.stirred = true;
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
    fn adopt(&mut self, settings: &Settings, tenant: TenantId, mut standing: Standing, changed: bool) {
        if changed {
            standing.scoreboard.reload(Arc::clone(&settings.norms));
        }
        let rowed = settings.norms.windows.iter().map(|window| standing.at.pane(window.slide)).collect();
        let shard = standing.shard;
        let scored = Scored { standing: settings.board.enter(tenant.clone(), standing), rowed };
        self.0.entry(shard).or_default().insert(tenant, scored);
    }

    fn count(&mut self, settings: &Settings, shard: u32, effects: Effects, rest: &mut Yield) {
        let Effects { tenant, effects, .. } = effects;
        let scored = self.0.entry(shard).or_default().entry(tenant.clone()).or_insert_with(|| {
            let rowed = vec![i64::MIN; settings.norms.windows.len()];
            let scoreboard = Scoreboard::new(tenant.clone(), Arc::clone(&settings.norms));
            let standing = Standing { shard, at: Timestamp::MIN, scoreboard, reviews: BTreeMap::new() };
            Scored { standing: settings.board.enter(tenant.clone(), standing), rowed }
        });
        let mut standing = lock(&scored.standing);
        for effect in effects {
            match effect {
                Effect::Review(request) => {
                    standing.reviews.entry(request.manager.clone()).or_default().open += 1;
                    rest.reviews.push(*request);
                }
                Effect::ReviewOver { manager, answered } => {
                    let requests = standing.reviews.entry(manager).or_default();
                    requests.open -= 1;
                    requests.answered += u64::from(answered);
                }
                effect => standing.scoreboard.take(effect, &mut rest.alerts),
            }
        }
    }
}

/// Rows of the windows that moved since they were last made; the first window's step is also that of the `now` rows.
fn make_rows(
    board: &mut Scoreboard,
    windows: &[Window],
    at: Timestamp,
    rowed: &mut [i64],
    rows: &mut Vec<crate::domain::row::Row>,
) {
    for (index, (window, rowed)) in windows.iter().zip(rowed).enumerate() {
        let pane = at.pane(window.slide);
        if pane > *rowed {
            *rowed = pane;
            board.window_rows(index, at, rows);
            if index == 0 {
                board.now_rows(at, rows);
            }
        }
    }
}

/// Hands out what came of each epoch.
pub(super) fn capture<P: timely::communication::Pull<timely::dataflow::channels::Message<u64, Vec<Parcel>>>>(
    mut yielded: impl FnMut(Yield),
) -> impl FnMut(&mut Input<Vec<Parcel>, P>, &mut Output<'_>) {
    move |input, _| {
        input.for_each(|_, parcels| {
            for parcel in parcels.drain(..) {
                if let Parcel::Scored(made) = parcel {
                    yielded(*made);
                }
            }
        });
    }
}

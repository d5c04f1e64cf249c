//! Tests of held events that are too many, and of output that is too much for one epoch: what is published does not change,
//! and neither memory nor an epoch grows beyond its bound.

use funnelwatch::codec::json as codec;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::EventOrder;
use funnelwatch::domain::event::progress::Progress;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard::admission::Limited;
use funnelwatch::domain::shard::processor::{
    Effects, MAX_HELD, ShardCheckpoint, ShardProcessor, ShardProgress, SourceProgress, Timing,
};
use funnelwatch::domain::shard::spill::{HeldMemory, HeldSpill};
use funnelwatch::domain::shard::tenant_clock::Timeouts;
use funnelwatch::domain::source::{Offset, Source, Topic};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::tenant::changelog::PackedEvents;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::spill::TemporaryEvents;
use std::sync::Arc;

const BEGIN: Timestamp = Timestamp(1_772_434_800_000);
const CRM: Source = Source::Topic(Topic::Crm);
/// About the size of a lead of these tests.
const LEAD: usize = 460;

/// A shard with one source of one tenant whose gateway sends marks.
struct Shard {
    processor: ShardProcessor,
    offset: i64,
    wall: Timestamp,
}

/// What an epoch has emitted.
#[derive(Debug, Default, PartialEq)]
struct Output {
    alerts: Vec<String>,
    applied: usize,
    /// The positions of what was applied.
    orders: Vec<EventOrder>,
}

impl Shard {
    fn new(max_held: Option<usize>) -> Self {
        Self { processor: ShardProcessor::new(norms(), timing(max_held), PACKING), offset: 0, wall: BEGIN }
    }

    fn lead(&mut self, tenant: &str, after: Span) {
        self.offset += 1;
        let (at, id) = (BEGIN.saturating_add(after), self.offset);
        let payload = format!(r#""lead_created":{{"lead_id":"{id}","manager_id":"m"}}"#);
        let text = format!(r#"{{"tenant_id":"{tenant}","occurred_at":"{at}",{payload}}}"#);
        let event = codec::decode(text.as_bytes()).expect("an event");
        self.processor.arrive(CRM, Offset(id), event, self.wall).expect("accepted");
    }

    fn mark(&mut self, tenant: &str, after: Span) {
        self.offset += 1;
        let up_to = BEGIN.saturating_add(after);
        let progress = Progress { tenant: tenant.into(), source: "gateway".into(), up_to, backfill: false };
        self.processor.progress((CRM, Offset(self.offset)), Topic::Crm, progress, self.wall).expect("accepted");
    }

    fn progress(&self, current: bool) -> ShardProgress {
        let of = |topic| SourceProgress {
            source: Source::Topic(topic),
            current: current || topic != Topic::Telephony,
            ended: false,
            position: Offset(self.offset + 1),
        };
        let sources = Topic::ALL.map(of).to_vec();
        ShardProgress { wall: Some(self.wall), sources, ..ShardProgress::default() }
    }

    /// Ends an epoch, `after` the beginning.
    fn advance(&mut self, after: Span) -> Output {
        let mut effects = Vec::new();
        self.wall = BEGIN.saturating_add(after);
        self.processor.advance(&self.progress(true), &mut effects);
        output(&effects)
    }

    fn watermark(&self) -> Span {
        self.processor.watermark() - BEGIN
    }
}

/// Marks of these tests are never too old.
fn timing(max_held: Option<usize>) -> Timing {
    let memory = Memory { durable: true, ..Memory::default() };
    let timeouts = Timeouts { progress: Span(1000 * Span::DAY.0), ..Timeouts::default() };
    Timing { max_held, memory, timeouts, max_future_skew: None, ..Timing::default() }
}

fn norms() -> Arc<Norms> {
    let norms = r#"{"norms": {"first_response_late": {"within": "10m"}}}"#;
    Arc::new(config::parse_norms("norms", norms).expect("norms").norms)
}

fn output(effects: &[Effects]) -> Output {
    let mut output = Output::default();
    for effects in effects {
        output.orders.extend(effects.changelog.applied.iter().map(|(order, ..)| order));
        output.applied = output.orders.len();
        output.alerts.extend(effects.effects.iter().filter_map(|effect| match effect {
            Effect::Alert(alert) => Some(format!("{} {} {}", alert.at, alert.status.name(), alert.subject)),
            _ => None,
        }));
    }
    output
}

const fn seconds(seconds: i64) -> Span {
    Span(seconds * 1000)
}

/// A source that is silent for longer than the bound allows is not waited for.
#[test]
fn beyond_the_bound_the_watermark_passes_the_oldest_events() {
    let bound = 100 * LEAD;
    let mut shard = Shard::new(Some(bound));
    shard.mark("acme", seconds(0));
    for n in 1..=60 {
        shard.lead("acme", seconds(n));
    }
    assert_eq!(shard.advance(seconds(1300)).applied, 0);
    assert_eq!((shard.watermark(), shard.processor.take_counts().passed_early), (seconds(0), 0));
    let used = shard.processor.limits_used()[Limited::TenantHeld as usize];
    assert!((0.4..0.6).contains(&used), "{used}");
    // They arrive out of order.
    for n in (61..=1000).rev() {
        shard.lead("acme", seconds(n));
    }
    let found = shard.advance(seconds(1310));
    let (held, passed) = (shard.processor.held(), shard.processor.take_counts().passed_early as usize);
    assert!((95..=100).contains(&held) && passed == 1000 - held, "{held} are held");
    assert_eq!((found.applied, shard.watermark()), (passed, seconds(passed as i64)), "the oldest, and no more");
    assert!(shard.processor.limits_used()[Limited::TenantHeld as usize] <= 1.0);
    assert_eq!(found.alerts.len(), passed - 600, "the first ones have had their ten minutes");
    assert_eq!(shard.advance(seconds(1320)), Output::default(), "nothing more is passed");
    shard.mark("acme", seconds(10));
    assert_eq!(shard.advance(seconds(1330)), Output::default(), "a mark behind the watermark");
    shard.mark("acme", seconds(1200));
    assert_eq!((shard.advance(seconds(1340)).applied, shard.processor.held()), (held, 0), "the next mark counts again");
    assert_eq!(shard.processor.take_counts().passed_early, 0);
}

#[test]
fn one_tenant_that_holds_too_much_moves_no_other() {
    let mut shard = Shard::new(Some(100 * LEAD));
    for tenant in ["acme", "other"] {
        shard.mark(tenant, seconds(0));
    }
    shard.lead("other", seconds(1));
    (1..=1000).for_each(|n| shard.lead("acme", seconds(n)));
    let mut effects = Vec::new();
    shard.wall = BEGIN.saturating_add(seconds(1300));
    let time = shard.processor.advance(&shard.progress(true), &mut effects);
    let watermark = |tenant: &str| {
        let (_, time) = time.tenants.iter().find(|(id, _)| id.as_str() == tenant).expect("a change");
        time.clock.watermark - BEGIN
    };
    assert_eq!(watermark("other"), seconds(0));
    assert!(watermark("acme") > seconds(800));
}

/// The same events, restored at the end of every epoch or never.
#[test]
fn a_restart_passes_the_same_events() {
    let run = |restarts: bool| {
        let mut shard = Shard::new(Some(100 * LEAD));
        shard.mark("acme", seconds(0));
        let mut found = Vec::new();
        // What the state has of the tenant: its held events.
        let mut held: Vec<(EventOrder, Vec<u8>)> = Vec::new();
        for epoch in 0..20 {
            (1..=20).for_each(|n| shard.lead("acme", seconds(epoch * 20 + n)));
            // After 30 s they are stored.
            let mut applied = 0;
            let mut times = Vec::new();
            for wall in [1300 + epoch * 100, 1340 + epoch * 100] {
                let mut effects = Vec::new();
                shard.wall = BEGIN.saturating_add(seconds(wall));
                times.extend(shard.processor.advance(&shard.progress(true), &mut effects).tenants);
                for effects in &effects {
                    let stored = effects.held.stored.iter();
                    held.extend(stored.map(|(order, _, packed)| (order, packed.to_vec())));
                    held.retain(|(order, _)| !effects.held.released.contains(&(order.source, order.offset)));
                }
                applied += output(&effects).applied;
            }
            let watermark = shard.watermark();
            found.push((applied, watermark, shard.processor.held()));
            if restarts && let Some((_, time)) = times.pop() {
                let progress = shard.progress(true).sources;
                let checkpoint: ShardCheckpoint = shard.processor.checkpoint(&progress);
                let timing = timing(Some(100 * LEAD));
                let mut restored = ShardProcessor::restore(norms(), timing, PACKING, checkpoint);
                restored.adopt_clock(&"acme".into(), time.clock);
                for (order, packed) in &held {
                    let payload = PACKING.unpack_trusted(*order, packed);
                    let event =
                        funnelwatch::domain::event::Event { tenant: "acme".into(), at: order.at, id: None, payload };
                    restored.adopt_held(*order, event);
                }
                shard.processor = restored;
            }
        }
        found
    };
    let found = run(false);
    assert!(found.last().is_some_and(|(_, watermark, held)| *watermark == seconds(300) && *held == 100), "{found:?}");
    assert_eq!(run(true), found);
}

/// Runs a back-fill of many events that arrive out of order, with memory for few.
fn back_fill(memory: &Arc<HeldMemory>, mut each: impl FnMut(&Shard)) -> Vec<Output> {
    let mut shard = Shard::new(None);
    shard.processor.share_held(Arc::clone(memory));
    shard.mark("acme", seconds(0));
    let mut found = Vec::new();
    for epoch in 0..20 {
        for n in 0..100 {
            shard.lead("acme", seconds(1 + (n * 37 + epoch) % 2000));
            shard.lead("small", seconds(1));
        }
        found.push(shard.advance(seconds(2000 + epoch * 4)));
        each(&shard);
    }
    // The watermark passes them in steps that are not those of their arrival.
    for step in 1..=20 {
        let after = seconds(2080 + step * 4);
        // Between those that are spilled and after them.
        (0..10).for_each(|n| shard.lead("acme", seconds(step * 111 - 50 + n * 37)));
        shard.mark("acme", seconds(step * 111));
        found.push(shard.advance(after));
        each(&shard);
    }
    shard.mark("acme", seconds(3000));
    found.push(shard.advance(seconds(4000)));
    assert_eq!(shard.processor.held(), 0);
    found
}

#[test]
fn spilled_events_are_applied_as_if_they_were_in_memory() {
    let unbounded = Arc::new(HeldMemory::default());
    let mut most = 0;
    let expected = back_fill(&unbounded, |_| most = most.max(unbounded.used()));
    assert!(most > 700_000, "{most} bytes");
    assert_eq!(expected.iter().map(|output| output.applied).sum::<usize>(), 4200);
    let share = 100_000;
    let memory = Arc::new(HeldMemory::new(share, Box::<TemporaryEvents>::default()));
    let mut most_held = 0;
    let found = back_fill(&memory, |shard| {
        assert!(memory.used() <= share, "{} bytes", memory.used());
        most_held = most_held.max(shard.processor.held());
    });
    assert_eq!(most_held, 2000, "those of the tenant with marks");
    assert_eq!(found, expected);
    assert_eq!(memory.used(), 0, "nothing is held any more");
}

/// The memory of this process at its largest, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
#[ignore = "takes a minute, and measures the whole process"]
fn a_back_fill_of_half_a_gibibyte_fits_into_a_small_process() {
    let max_held = 512 << 20;
    let memory = Arc::new(HeldMemory::new(128 << 20, Box::<TemporaryEvents>::default()));
    let mut shard = Shard::new(Some(max_held));
    shard.processor.share_held(Arc::clone(&memory));
    shard.mark("acme", seconds(0));
    let used = |shard: &Shard| shard.processor.limits_used()[Limited::TenantHeld as usize];
    let mut epochs = 0;
    while used(&shard) < 0.99 {
        // As many as one epoch reads, from two sources that are a day apart.
        (0..5000).for_each(|n| shard.lead("acme", seconds(1 + epochs * 50 + n / 100)));
        (0..5000).for_each(|n| shard.lead("acme", seconds(86_400 + epochs * 50 + n / 100)));
        shard.advance(seconds(200_000 + epochs));
        epochs += 1;
        assert!(epochs < 300, "{} events are held", shard.processor.held());
    }
    let (held, found) = (shard.processor.held(), peak());
    assert!(held > 1_000_000 && found < 300 << 20, "{held} events, {found} bytes");
    assert_eq!(shard.processor.take_counts().passed_early, 0);
}

/// A disk that is always full.
#[derive(Debug)]
struct FullDisk;

impl HeldSpill for FullDisk {
    fn open(&self) -> u64 {
        0
    }

    fn close(&self, _: u64) {}

    fn write(&self, _: u64, _: u32, _: &PackedEvents) -> bool {
        false
    }

    fn take(&self, _: u64, _: u32, _: Timestamp, _: usize) -> (PackedEvents, Option<EventOrder>) {
        unreachable!("nothing was written")
    }
}

#[test]
fn without_a_disk_memory_is_bounded_too() {
    let share = 100_000;
    let memory = Arc::new(HeldMemory::new(share, Box::new(FullDisk)));
    let mut shard = Shard::new(None);
    shard.processor.share_held(Arc::clone(&memory));
    for tenant in ["acme", "small"] {
        shard.mark(tenant, seconds(0));
    }
    shard.lead("small", seconds(1));
    for epoch in 0..20 {
        (0..100).for_each(|n| shard.lead("acme", seconds(1 + epoch * 100 + n)));
        shard.advance(seconds(2100 + epoch));
        assert!(memory.used() <= 2 * share, "{} bytes", memory.used());
    }
    let passed = shard.processor.take_counts().passed_early;
    assert!((1500..1900).contains(&passed), "{passed}: those of the tenant with the most");
    assert_eq!(shard.processor.held() as u64, 2001 - passed);
    drop(shard);
    assert_eq!(memory.used(), 0, "a shard that is dropped needs no memory");
}

/// Many deadlines that pass at once are reported in several epochs, in the same order.
#[test]
fn what_is_due_at_once_is_published_in_several_epochs() {
    let alerts = 400;
    // One tenant waits for marks, one follows the clock.
    for tenant in ["acme", "follower"] {
        let run = |max_output| {
            let mut shard = Shard::new(None);
            shard.processor.limit_output(max_output);
            if tenant == "acme" {
                shard.mark(tenant, seconds(0));
            }
            (1..=alerts).for_each(|n| shard.lead(tenant, Span(n)));
            let mut outputs = vec![shard.advance(seconds(20)), shard.advance(seconds(30))];
            if tenant == "acme" {
                shard.mark(tenant, seconds(650));
            }
            for epoch in 0..100 {
                let before = shard.watermark();
                outputs.push(shard.advance(seconds(700 + epoch)));
                assert!(shard.watermark() >= before);
            }
            outputs
        };
        let whole = run(usize::MAX);
        let all = |outputs: &[Output]| outputs.iter().flat_map(|output| output.alerts.clone()).collect::<Vec<_>>();
        let most = |outputs: &[Output]| outputs.iter().map(|output| output.alerts.len()).max();
        assert_eq!((all(&whole).len(), most(&whole)), (400, Some(400)), "{tenant}");
        let found = run(64 << 10);
        assert_eq!(most(&found), Some(32), "{tenant}: of 2 KiB each");
        assert_eq!(all(&found), all(&whole), "{tenant}");
    }
}

/// A mark that comes late sets many events free: their records do not fit into one epoch either.
#[test]
fn held_events_are_applied_in_several_epochs() {
    let run = |max_output| {
        let mut shard = Shard::new(None);
        shard.processor.limit_output(max_output);
        shard.mark("acme", seconds(0));
        (1..=2000).for_each(|n| shard.lead("acme", Span(n)));
        // One epoch in which nothing arrives.
        let mut outputs = vec![shard.advance(seconds(20)), shard.advance(seconds(30))];
        shard.mark("acme", seconds(20));
        outputs.extend((0..20).map(|epoch| shard.advance(seconds(40 + epoch))));
        assert_eq!((shard.watermark(), shard.processor.held()), (seconds(20), 0));
        outputs.into_iter().map(|output| output.applied).collect::<Vec<_>>()
    };
    let whole = run(usize::MAX);
    assert_eq!(whole[..3], [0, 0, 2000]);
    let found = run(64 << 10);
    assert!(found.iter().max().is_some_and(|most| (200..400).contains(most)), "{found:?}");
    assert_eq!(found.iter().sum::<usize>(), 2000);
}

/// Reading other sources does not help a tenant that waits for a mark, so it pauses none.
#[test]
fn events_that_wait_for_a_mark_pause_nothing() {
    for is_marked in [true, false] {
        let mut shard = Shard::new(None);
        if is_marked {
            shard.mark("acme", seconds(-20));
        }
        let call = r#""call_started":{"call_id":"c","direction":"OUTBOUND","phone":"+79120000000"}"#;
        let call = format!(r#"{{"tenant_id":"other","occurred_at":"{}",{call}}}"#, BEGIN.saturating_add(seconds(5)));
        let call = codec::decode(call.as_bytes()).expect("an event");
        shard.processor.arrive(Source::Topic(Topic::Telephony), Offset(1), call, shard.wall).expect("accepted");
        (0..=MAX_HELD as i64).for_each(|n| shard.lead("acme", Span(n)));
        let progress = shard.progress(false);
        shard.processor.advance(&progress, &mut Vec::new());
        assert!(shard.processor.held() > MAX_HELD);
        let paused = shard.processor.sources_to_pause(&progress.sources);
        assert_eq!(paused, if is_marked { vec![] } else { vec![CRM] });
    }
}

//! Tests of the pending replies of a contact: segments change nothing but the cost.

use super::*;
use crate::domain::alert::Resolution;
use crate::domain::context::Timer;
use crate::domain::figures::pane::Measure;
use crate::domain::id::{TenantId, ThreadId};
use crate::domain::index::{ArenaIndex, ContactIx};
use crate::domain::norms::{Layer, Norms, Params};
use crate::domain::pending_replies::demand::{Reach, Shared};
use crate::domain::pending_replies::segment::Segment;
use crate::domain::rule::Rule;
use crate::domain::time::{Length, Span};
use compact_str::CompactString;
use proptest::prelude::*;

const CALLS: DemandKind = DemandKind {
    rule: Rule::MissedCallNotReturned,
    waiting: Measure::Unreturned,
    lag: Measure::CallBack,
    timer: Timer::MissedCalls,
};

/// The missed calls of one contact, whose acts happen minute by minute.
struct Contact {
    pending_replies: PendingReplies,
    context: TenantContext,
    keys: Vec<DemandKey>,
    acts: Vec<((CallIx, Position), Timestamp)>,
}

#[derive(Clone, Debug)]
enum Act {
    Missed {
        counts: bool,
        thread: u8,
    },
    Returned {
        minutes_ago: u8,
    },
    /// Reaches only what is of its thread.
    Answered {
        minutes_ago: u8,
        thread: u8,
    },
    Counts {
        demand: u8,
        counts: bool,
    },
    Replaced {
        act: u8,
    },
    Withdrawn {
        demand: u8,
    },
    Dismissed {
        demand: u8,
    },
}

fn norms() -> Norms {
    let within = Some(Length { span: Span(600_000), in_days: false });
    let rules = [(Rule::MissedCallNotReturned, Params { within, ..Params::default() })];
    Norms {
        document: String::new(),
        calendars: Default::default(),
        pipelines: Default::default(),
        windows: Vec::new(),
        min_talk: Span::SECOND,
        conversation_needs_manager: false,
        shared_contact_limit: 20,
        excluded_reasons: Vec::new(),
        country: Default::default(),
        privacy_key: None,
        base: Layer { rules: rules.into_iter().collect(), ..Layer::default() },
        overrides: Vec::new(),
        scopes: Default::default(),
    }
}

impl Contact {
    fn new() -> Self {
        let mut context = TenantContext::new(TenantId::from("acme"), Arc::new(norms()), false);
        context.now = Timestamp(0);
        Self { pending_replies: PendingReplies::default(), context, keys: Vec::new(), acts: Vec::new() }
    }

    fn apply(&mut self, act: &Act) {
        self.context.now = Timestamp(self.context.now.0 + 60_000);
        self.context.position = self.context.position.next();
        let (now, position, scope) =
            (self.context.now, self.context.position, self.context.scope(ManagerIx::NONE, None, None));
        let (journeys, subject) = (Default::default(), CompactString::const_new("contact:1"));
        let about = DemandContext { journeys: &journeys, subject: &subject, contact: ContactIx(1), kind: CALLS };
        let Self { pending_replies, context, keys, acts } = self;
        let end = |resolution, at| Settlement {
            at,
            order: position,
            resolution,
            who: ManagerIx::NONE,
            reach: None,
            act: None,
            text: false,
            reply: resolution == Resolution::Returned,
            replaced: false,
        };
        let key = |index: &u8| keys.get(keys.len().wrapping_sub(1 + usize::from(*index % 8))).copied();
        match act {
            Act::Missed { counts, thread } => {
                keys.push((now, position));
                let counts = if *counts { Counts::ALL } else { Counts::NOT };
                let demand = Demand { counts, thread: Some(thread_id(*thread)), ..demand(now, position, scope) };
                pending_replies.add_demand(context, &about, demand);
            }
            Act::Returned { minutes_ago } => {
                let at = Timestamp(now.0 - i64::from(minutes_ago % 16) * 60_000);
                let act = (CallIx::new(acts.len() as u32), position);
                acts.push((act, at));
                let settlement = Settlement { order: Position::MAX, act: Some(act), ..end(Resolution::Returned, at) };
                pending_replies.add_settlement(context, &about, settlement);
            }
            Act::Answered { minutes_ago, thread } => {
                let at = Timestamp(now.0 - i64::from(minutes_ago % 16) * 60_000);
                let reach = Some(Arc::new(Reach { thread: Some(thread_id(*thread)), ..Reach::default() }));
                let act = (CallIx::new(acts.len() as u32), position);
                acts.push((act, at));
                let settlement = Settlement { reach, act: Some(act), ..end(Resolution::Answered, at) };
                pending_replies.add_settlement(context, &about, settlement);
            }
            Act::Counts { demand, counts } => {
                let counts = if *counts { Counts::ALL } else { Counts::NOT };
                if let Some(key) = key(demand) {
                    pending_replies.set_counts(context, &about, key, |_| Some(counts), position);
                }
            }
            Act::Replaced { act } => {
                if let Some(act) = acts.get(acts.len().wrapping_sub(1 + usize::from(*act % 8))) {
                    pending_replies.replace_act(context, &about, *act);
                }
            }
            Act::Withdrawn { demand } => {
                key(demand).into_iter().for_each(|key| pending_replies.withdraw(context, &about, &[(key, now)]));
            }
            Act::Dismissed { demand } => {
                if let Some(key) = key(demand) {
                    pending_replies.dismiss(context, &about, &end(Resolution::Dismissed, now), key);
                }
            }
        }
        self.check(&about);
    }

    /// The clocks and facts are those of an undivided history.
    fn check(&self, about: &DemandContext<'_>) {
        let segments = &self.pending_replies.segments;
        let whole = segments.iter().cloned().reduce(|mut whole, next| {
            whole.append(next);
            whole
        });
        let Some(whole) = whole else { return };
        let settled = |end: Option<&Settlement>| end.map(|end| (end.at, end.order, end.resolution));
        let clocks = segments.iter().flat_map(|segment| &segment.clocks);
        let clocks: Vec<_> = clocks.map(|clock| (clock.first.key(), settled(clock.settled.as_ref()))).collect();
        let groups = whole.groups();
        let groups: Vec<_> = groups.iter().map(|(first, end)| (first.key(), settled(end.as_ref()))).collect();
        assert_eq!(clocks, groups);
        let sorted = |facts: &[Counted]| {
            let mut facts: Vec<_> = facts.iter().map(|fact| format!("{fact:?}")).collect();
            facts.sort_unstable();
            facts
        };
        assert_eq!(sorted(&whole.counted), sorted(&whole.facts(about)));
        assert!(segments.iter().rev().skip(1).all(|segment| segment.running().is_none()));
    }

    fn longest_segment(&self) -> usize {
        let demands = |segment: &Segment| segment.demands.len();
        self.pending_replies.segments.iter().map(demands).max().unwrap_or_default()
    }
}

fn demand(at: Timestamp, position: Position, scope: Arc<Scope>) -> Demand {
    Demand {
        at,
        order: position,
        interaction: CompactString::default(),
        entity: None,
        entities: Vec::new(),
        thread: None,
        who: ManagerIx::NONE,
        accountable: ManagerIx::NONE,
        scope,
        open: false,
        call: None,
        ended: None,
        counts: Counts::ALL,
        opened: position,
    }
}

fn thread_id(thread: u8) -> ThreadId {
    thread.to_string().as_str().into()
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        9 => (any::<bool>(), 0..3u8).prop_map(|(counts, thread)| Act::Missed { counts, thread }),
        3 => (any::<u8>(), 0..4u8).prop_map(|(minutes_ago, thread)| Act::Answered { minutes_ago, thread }),
        4 => any::<u8>().prop_map(|minutes_ago| Act::Returned { minutes_ago }),
        2 => any::<(u8, bool)>().prop_map(|(demand, counts)| Act::Counts { demand, counts }),
        1 => any::<u8>().prop_map(|act| Act::Replaced { act }),
        1 => any::<u8>().prop_map(|demand| Act::Withdrawn { demand }),
        3 => any::<u8>().prop_map(|demand| Act::Dismissed { demand }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn segments_change_nothing(acts in proptest::collection::vec(act(), 0..60)) {
        let mut contact = Contact::new();
        acts.iter().for_each(|act| contact.apply(act));
    }
}

#[test]
fn what_is_over_is_in_segments_of_its_own() {
    let mut contact = Contact::new();
    for _ in 0..100 {
        contact.apply(&Act::Missed { counts: true, thread: 0 });
        contact.apply(&Act::Missed { counts: true, thread: 0 });
        contact.apply(&Act::Returned { minutes_ago: 0 });
        contact.apply(&Act::Returned { minutes_ago: 0 });
    }
    assert_eq!((contact.pending_replies.segments.len(), contact.longest_segment()), (100, 2));
    // A return that becomes known later than the next missed call settles the one before it only.
    contact.apply(&Act::Missed { counts: true, thread: 0 });
    contact.apply(&Act::Missed { counts: true, thread: 0 });
    contact.apply(&Act::Returned { minutes_ago: 2 });
    assert_eq!(contact.pending_replies.segments.len(), 102);
    contact.apply(&Act::Returned { minutes_ago: 0 });
    assert_eq!(contact.longest_segment(), 2);
}

#[test]
fn what_does_not_reach_a_wait_changes_nothing() {
    let mut contact = Contact::new();
    for _ in 0..100 {
        contact.apply(&Act::Missed { counts: true, thread: 0 });
        contact.apply(&Act::Answered { minutes_ago: 0, thread: 1 });
    }
    let pending = |contact: &Contact| contact.pending_replies.pending().count();
    assert_eq!((contact.pending_replies.segments.len(), pending(&contact)), (1, 100));
    contact.apply(&Act::Answered { minutes_ago: 0, thread: 0 });
    assert_eq!(pending(&contact), 0);
}

#[test]
fn what_belongs_to_what_has_ended_changes_nothing() {
    let mut contact = Contact::new();
    contact.apply(&Act::Missed { counts: true, thread: 1 });
    contact.apply(&Act::Missed { counts: true, thread: 0 });
    contact.apply(&Act::Dismissed { demand: 1 });
    for _ in 0..100 {
        contact.apply(&Act::Missed { counts: true, thread: 0 });
        contact.apply(&Act::Answered { minutes_ago: 0, thread: 1 });
    }
    assert_eq!(contact.pending_replies.pending().count(), 101);
    // A late answer from before the dismissal, and after the second call.
    contact.context.now = Timestamp(150_000);
    contact.apply(&Act::Answered { minutes_ago: 1, thread: 1 });
    assert_eq!(contact.pending_replies.pending().count(), 100);
    contact.context.now = Timestamp(20_000_000);
    contact.apply(&Act::Answered { minutes_ago: 0, thread: 0 });
    assert_eq!(contact.pending_replies.pending().count(), 0);
}

prop_compose! {
    /// A demand with one of few threads, ids and entities, which may have ended.
    fn demand_of_few()(
        at in 0..20i64, order in 0..3i64, of in 0..4u8, entity in 0..4u8, open in any::<bool>(),
        ended in prop::option::of(0..20i64),
    ) -> Demand {
        let mut context = Contact::new().context;
        let ended = ended.map(|ended| Box::new(settlement_at(Timestamp(at + ended), None)));
        Demand {
            interaction: format!("<m{of}>").into(),
            thread: Some(thread_id(of)),
            entities: vec![JourneyIx::new(u32::from(entity))],
            open,
            ended,
            ..demand(Timestamp(at), position(order), context.scope(ManagerIx::NONE, None, None))
        }
    }
}

fn position(order: i64) -> Position {
    (0..order).fold(Position::MIN, |position, _| position.next())
}

fn settlement_at(at: Timestamp, reach: Option<Reach>) -> Settlement {
    Settlement {
        at,
        order: position(1),
        resolution: Resolution::Answered,
        who: ManagerIx::NONE,
        reach: reach.map(Arc::new),
        act: None,
        text: false,
        reply: true,
        replaced: false,
    }
}

proptest! {
    /// Of one demand it says exactly what settles it; of several never too little.
    #[test]
    fn what_demands_share_is_what_settles_them(
        demands in proptest::collection::vec(demand_of_few(), 1..12),
        (at, of, kind, text) in (0..25i64, 0..5u8, 0..4u8, any::<bool>()),
    ) {
        let ix = JourneyIx::new(u32::from(of));
        let reach = match kind {
            0 => Reach { thread: Some(thread_id(of)), ..Reach::default() },
            1 => Reach { reply: Some(format!("m{of}").as_str().into()), ..Reach::default() },
            2 => Reach { entities: vec![JourneyIx::new(99), ix], ..Reach::default() },
            _ => Reach { leads: vec![ix], ..Reach::default() },
        };
        let settlement = Settlement { text, ..settlement_at(Timestamp(at), Some(reach.clone())) };
        for demand in &demands {
            let settles = settlement.settles_by(demand, &reach);
            prop_assert_eq!(Shared::of([demand]).may_settle(&settlement, &reach), settles);
        }
        let settles = demands.iter().any(|demand| settlement.settles_by(demand, &reach));
        prop_assert!(!settles || Shared::of(&demands).may_settle(&settlement, &reach));
    }
}

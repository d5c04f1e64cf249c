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
                pending_replies.add_settlement(context, &about, Settlement { reach, ..end(Resolution::Answered, at) });
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
        1 => any::<u8>().prop_map(|demand| Act::Dismissed { demand }),
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
fn a_settlement_that_may_cover_no_demand_covers_none() {
    let scope = Contact::new().context.scope(ManagerIx::NONE, None, None);
    let ix = |number: u8| JourneyIx::new(u32::from(number));
    let demands: Vec<Demand> = (0..20u8)
        .map(|number| Demand {
            interaction: format!("<m{number}>").into(),
            thread: Some(thread_id(number)),
            entities: vec![ix(number)],
            open: true,
            ..demand(Timestamp(0), Position::MIN, Arc::clone(&scope))
        })
        .collect();
    let shared = Shared::of(&demands.iter().collect::<Vec<_>>());
    for number in 10..30u8 {
        let reaches = [
            Reach { thread: Some(thread_id(number)), ..Reach::default() },
            Reach { reply: Some(format!("m{number}").as_str().into()), ..Reach::default() },
            Reach { entities: vec![ix(99), ix(number)], ..Reach::default() },
            Reach { leads: vec![ix(number)], ..Reach::default() },
        ];
        for reach in reaches {
            let covers = demands.iter().any(|demand| reach.covers(demand));
            assert_eq!((covers, shared.may_be_covered_by(&reach)), (number < 20, number < 20), "{reach:?}");
        }
    }
}

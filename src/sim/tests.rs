//! Tests of the simulator: determinism, event order, unique ids, and that the expected alerts are exactly the
//! violations that an independent auditor finds in the events.

use super::*;
use crate::domain::event::{AnsweredBy, Call, CallEnd, CallOutcome, Contact, CrmPayload, Direction, Message};
use crate::domain::event::{Outcome, Payload};
use crate::domain::id::ManagerId;
use crate::domain::identity::{Country, normal_forms, phones};
use crate::domain::rule::Rule;
use crate::domain::time::Span;
use std::collections::{BTreeMap, BTreeSet};

fn demo(seed: u64) -> Simulation {
    Simulation::new(Plan::demo(seed))
}

/// The events up to this many minutes after the start.
fn minutes(simulation: &mut Simulation, minutes: i64) -> Vec<Event> {
    let until = simulation.plan().start + Span(minutes * Span::MINUTE.0);
    simulation.by_ref().take_while(|event| event.at < until).collect()
}

/// FNV-1a over the events; of the payload, the kind, the ids and a few values.
fn fingerprint(events: impl Iterator<Item = Event>) -> u64 {
    events.fold(0xcbf2_9ce4_8422_2325, |hash, event| {
        let id = event.id.map(|id| id.to_string()).unwrap_or_default();
        let text = format!("{} {} {id} {}\n", event.tenant, event.at.0, describe(&event.payload));
        text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    })
}

fn crm(payload: &Payload) -> &CrmPayload {
    let Payload::Crm(payload) = payload else { panic!("neither of the CRM nor a call nor a message") };
    payload
}

fn describe(payload: &Payload) -> String {
    match payload {
        Payload::Call(call) => {
            let outcome = call.end.as_ref().map(|end| (end.talk.0, end.outcome, end.answered_by, end.leg.is_some()));
            let session = call.session.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("call {} {session} {} {:?} {outcome:?}", call.id, call.phone, call.direction)
        }
        Payload::Message(message) => {
            format!("message {} {:?} {}", message.id, message.direction, message.in_reply_to.is_some())
        }
        other => match crm(other) {
            CrmPayload::LeadCreated(created) => format!("lead {} {}", created.id, created.contacts.len()),
            CrmPayload::DealCreated(created) => format!("deal {} {:?}", created.id, created.amount.minor),
            CrmPayload::StageChanged(change) => format!("stage {} {}", change.entity, change.to),
            CrmPayload::Assigned { entity, manager } => format!("assigned {entity} {manager}"),
            CrmPayload::Closed { entity, outcome, .. } => format!("closed {entity} {}", outcome.name()),
            CrmPayload::ContactLinked { entity, .. } => format!("linked {entity}"),
            CrmPayload::TermsOffered(terms) => format!("terms {} {:?}", terms.deal, terms.discount_percent),
            CrmPayload::ActivityPlanned(planned) => format!("planned {} {:?}", planned.entity, planned.deadline),
            CrmPayload::ActivityCompleted { entity, kind, .. } => format!("activity {entity} {kind:?}"),
            CrmPayload::InteractionReviewed { interaction, score, .. } => format!("reviewed {interaction} {score}"),
            CrmPayload::InteractionDismissed { interaction, .. } => format!("dismissed {interaction}"),
            CrmPayload::AlertTaken { alert, .. } => format!("taken {alert}"),
            CrmPayload::ManagerUpserted { manager, .. } => format!("manager {manager}"),
            CrmPayload::DepartmentUpserted { department, .. } => format!("department {department}"),
            CrmPayload::Snapshot(snapshot) => format!("snapshot {} {:?}", snapshot.entity, snapshot.outcome),
            CrmPayload::Reopened { entity, .. }
            | CrmPayload::Deleted { entity }
            | CrmPayload::ActivityCancelled { entity, .. } => format!("other {entity}"),
            CrmPayload::Merged { entity, into } => format!("merged {entity} {into}"),
        },
    }
}

/// The fingerprints change only when the stories change: mention that in the commit.
#[test]
fn a_seed_always_gives_the_same_events() {
    let load = Simulation::new(Plan::load(1, 50, 4, 5000)).take(20_000);
    let disturbed = demo(1).duplicated(0.1, 2).shuffled(Span(10_000), 3).take(20_000);
    let found = [fingerprint(demo(1).take(20_000)), fingerprint(load), fingerprint(disturbed)];
    assert_eq!(
        found,
        [1_752_529_964_634_476_089, 2_127_332_945_465_275_447, 17_233_438_675_464_464_919],
        "demo, load, disturbed"
    );
    assert_ne!(fingerprint(demo(2).take(1000)), fingerprint(demo(1).take(1000)));
}

/// The calls of a load by what the exchange reports about them: ring groups with and without a session, queues,
/// transfers, repeated and corrected records, and calls to a second number.
#[test]
fn exchanges_report_calls_in_realistic_shares() {
    let mut simulation = Simulation::new(Plan::load(6, 10, 20, 500));
    let events = minutes(&mut simulation, 20);
    let (mut calls, mut legs) = (0, BTreeMap::<String, Vec<Call>>::new());
    let mut dismissed = [0; 2];
    for event in &events {
        match &event.payload {
            Payload::Call(call) if call.end.is_none() => calls += 1,
            Payload::Call(call) => legs.entry(call.id.to_string()).or_default().push((**call).clone()),
            Payload::Crm(payload) => {
                if let CrmPayload::InteractionDismissed { interaction, .. } = &**payload {
                    dismissed[usize::from(interaction.starts_with('m'))] += 1;
                }
            }
            Payload::Message(_) => {}
        }
    }
    let end = |call: &Call| call.end.clone().expect("an end");
    let share = |n: usize| n * 1000 / calls;
    let queued = legs.values().filter(|legs| end(&legs[0]).answered_by == Some(AnsweredBy::Queue)).count();
    let repeated = legs.values().filter(|legs| legs.len() == 2 && legs[0].end != legs[1].end);
    let (corrected, filled): (Vec<_>, Vec<_>) = repeated.partition(|legs| end(&legs[0]).leg.is_some());
    let extra = legs.len() + queued - calls;
    let named = legs.values().filter(|legs| legs[0].session.is_some()).count();
    // Per mille of the calls; four calls in ten come from customers.
    let shares = [share(queued), share(extra), share(named), share(corrected.len()), share(filled.len())];
    let bounds = [20..60, 130..260, 150..330, 2..12, 2..12];
    assert!(shares.iter().zip(&bounds).all(|(share, bounds)| bounds.contains(share)), "{shares:?} of {bounds:?}");
    assert!(corrected.iter().all(|legs| end(&legs[0]).leg == end(&legs[1]).leg));
    assert!(filled.iter().all(|legs| end(&legs[0]).recording_url.is_none() && end(&legs[1]).recording_url.is_some()));
    assert!(dismissed.iter().all(|n| *n > 0), "calls, messages: {dismissed:?}");
}

#[test]
fn event_time_is_monotonic_and_ids_are_unique() {
    for plan in [Plan::demo(3), Plan::load(3, 20, 5, 100_000)] {
        let (mut last, mut ids) = (plan.start, BTreeSet::new());
        for event in Simulation::new(plan).take(100_000) {
            assert!(event.at >= last && event.at.0 - last.0 < 2 * Span::HOUR.0, "{last} {}", event.at);
            last = event.at;
            assert!(ids.insert((event.tenant, event.id)));
        }
    }
}

#[test]
fn a_load_has_the_requested_rate_and_mix() {
    for (tenants, managers, rate) in [(40, 10, 2000), (5, 10, 1000)] {
        let mut simulation = Simulation::new(Plan::load(4, tenants, managers, rate));
        minutes(&mut simulation, 1);
        let mut topics = [0_u32; 3];
        minutes(&mut simulation, 2).iter().for_each(|event| topics[event.payload.topic() as usize] += 1);
        let found: u32 = topics.iter().sum();
        assert!(found.abs_diff(60 * rate) < 8 * rate, "found {found}, expected {}", 60 * rate);
        for (topic, percent) in topics.into_iter().zip([20, 60, 20]) {
            assert!((topic * 100).abs_diff(found * percent) < found * 3, "{topics:?}");
        }
        // The number of active customers is bounded.
        let active = simulation.active_customers();
        minutes(&mut simulation, 3);
        assert!(
            simulation.active_customers() < active * 3 / 2 + 100,
            "{} after {active}",
            simulation.active_customers()
        );
    }
}

#[test]
fn the_demo_starts_on_a_working_morning_and_its_deadlines_match_the_norms() {
    assert_eq!(Plan::demo(0).start, Timestamp::parse("2026-03-02T10:00:00+03:00").expect("a time"));
    let Norm { first_response, call_back, reply, next_step } = Norm::DEMO;
    for (rule, within) in [
        (Rule::FirstResponseLate, first_response),
        (Rule::MissedCallNotReturned, call_back),
        (Rule::MessageUnanswered, reply),
        (Rule::NextStepOverdue, next_step),
    ] {
        let line = format!("{}: {{within: {within}, clock: business", rule.name());
        assert!(norms_yaml().contains(&line), "{line}");
    }
}

/// The managers with a bad habit.
fn norm_breakers(simulation: &Simulation) -> BTreeSet<&ManagerId> {
    let staff = simulation.plan().companies.iter().flat_map(|company| &company.staff);
    staff.filter(|member| member.habit.breaks_norms()).map(|member| &member.id).collect()
}

/// The managers with an expected alert.
fn violators(simulation: &Simulation) -> BTreeSet<&ManagerId> {
    simulation.expected().iter().map(|expected| &expected.manager).collect()
}

#[test]
fn every_bad_habit_and_no_other_causes_violations_within_the_first_hour() {
    for seed in 0..20 {
        let mut simulation = demo(seed);
        minutes(&mut simulation, 60);
        let (norm_breakers, expected) = (norm_breakers(&simulation), violators(&simulation));
        assert!(expected.is_subset(&norm_breakers), "seed {seed}: {expected:?}");
        // It takes longer until there is a deal to give a discount on.
        let missing: Vec<_> = norm_breakers.difference(&expected).filter(|id| id.as_str() != "ilya").collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?}");
    }
}

#[test]
fn expected_alerts_are_the_violations_in_the_events() {
    for seed in 0..2 {
        let mut simulation = demo(seed);
        let events = minutes(&mut simulation, 3 * 24 * 60);
        let until = events.last().map(|event| event.at).expect("events");
        let mut auditor = Auditor::default();
        events.iter().for_each(|event| auditor.record(event));
        assert!(auditor.duplicates > 10, "{} merges", auditor.duplicates);
        let found = auditor.violations(until);
        let due = |expected: &&ExpectedAlert| due(expected.rule, expected.anchor) < until;
        let expected: BTreeMap<Entry, Option<Timestamp>> =
            simulation.expected().iter().filter(due).map(entry).collect();
        assert!(expected.len() > 1000);
        assert_eq!(violators(&simulation), norm_breakers(&simulation));
        let only = |a: &BTreeMap<Entry, _>, b: &BTreeMap<Entry, _>| -> Vec<Entry> {
            a.keys().filter(|entry| !b.contains_key(entry)).take(3).cloned().collect()
        };
        assert_eq!(
            (only(&expected, &found), only(&found, &expected)),
            (Vec::new(), Vec::new()),
            "seed {seed}: only expected, only found"
        );
        for (entry, settled) in &found {
            let planned = expected[entry].filter(|planned| *planned <= until);
            assert!(settled.is_none() || *settled == planned, "seed {seed}: {entry:?} {settled:?} {planned:?}");
        }
    }
}

fn is_conversation(end: &CallEnd) -> bool {
    end.outcome == CallOutcome::Answered && end.answered_by.is_none_or(|by| by == AnsweredBy::Person)
}

/// Tenant, rule, subject, anchor.
type Entry = (String, Rule, String, Timestamp);

fn entry(expected: &ExpectedAlert) -> (Entry, Option<Timestamp>) {
    ((expected.tenant.to_string(), expected.rule, expected.subject.to_string(), expected.anchor), expected.settled)
}

fn within(rule: Rule) -> Span {
    match rule {
        Rule::FirstResponseLate => Norm::DEMO.first_response,
        Rule::MissedCallNotReturned => Norm::DEMO.call_back,
        Rule::MessageUnanswered => Norm::DEMO.reply,
        Rule::NextStepOverdue => Norm::DEMO.next_step,
        _ => Span::ZERO,
    }
}

fn due(rule: Rule, anchor: Timestamp) -> Timestamp {
    Shift::Moscow.after(anchor, within(rule))
}

/// A clock: when it started, and when it was stopped.
type Clock = (Timestamp, Option<Timestamp>);

/// Derives violations from the events alone.
#[derive(Debug, Default)]
struct Auditor {
    /// The lead or deal of a phone or an address, by tenant and normal form.
    known: BTreeMap<(String, String), String>,
    /// The phones and addresses of a customer, by tenant and number.
    forms: BTreeMap<(String, String), BTreeSet<String>>,
    clocks: BTreeMap<(String, Rule, String), Vec<Clock>>,
    touched: BTreeSet<(String, String)>,
    /// The clocks of calls, sessions and messages, by tenant and id.
    interactions: BTreeMap<(String, String), (Rule, String)>,
    /// Customers, by tenant and number, whose lead or deal ended without another.
    gone: BTreeSet<(String, String)>,
    /// Leads that were merged into another one.
    duplicates: usize,
    acts: Vec<Entry>,
}

/// The number of a lead or deal.
fn number_of(entity: &str) -> &str {
    entity.split_once(':').expect("kind and number").1
}

impl Auditor {
    fn record(&mut self, event: &Event) {
        let tenant = event.tenant.to_string();
        match &event.payload {
            Payload::Call(call) => self.call(&tenant, event.at, call),
            Payload::Message(message) => self.message(&tenant, event.at, message),
            other => self.crm(&tenant, event.at, crm(other)),
        }
    }

    fn crm(&mut self, tenant: &str, at: Timestamp, payload: &CrmPayload) {
        match payload {
            CrmPayload::LeadCreated(new) => self.created(tenant, at, format!("lead:{}", new.id), &new.contacts),
            CrmPayload::DealCreated(new) if new.lead.is_none() => {
                self.created(tenant, at, format!("deal:{}", new.id), &new.contacts);
            }
            CrmPayload::Snapshot(new) => {
                if let Some(created) = new.created_at.filter(|_| new.lead.is_none()) {
                    self.created(tenant, created, new.entity.to_string(), &new.contacts);
                }
                if let Some(outcome) = new.outcome {
                    self.closed(tenant, at, new.entity.to_string(), outcome, new.reason.is_some());
                }
            }
            CrmPayload::Closed { entity, outcome, reason } => {
                self.closed(tenant, at, entity.to_string(), *outcome, reason.is_some());
            }
            CrmPayload::TermsOffered(terms) if terms.approved_by.is_none() && terms.discount_percent > Some(10.0) => {
                self.act(tenant, Rule::DiscountOverLimit, format!("deal:{}", terms.deal), at);
            }
            CrmPayload::ContactLinked { entity, contact } => self.link(tenant, &entity.to_string(), contact.as_slice()),
            CrmPayload::Merged { entity, into } => self.merged(tenant, at, &entity.to_string(), &into.to_string()),
            CrmPayload::ActivityPlanned(planned) => {
                let (plan, deadline) = (format!("{}/{}", planned.entity, planned.activity), planned.deadline);
                self.stop(tenant, Rule::NextStepOverdue, &plan, at);
                self.start(tenant, Rule::NextStepOverdue, plan, deadline.expect("a deadline"));
            }
            CrmPayload::ActivityCompleted { entity, activity: Some(activity), .. } => {
                self.stop(tenant, Rule::NextStepOverdue, &format!("{entity}/{activity}"), at);
            }
            CrmPayload::InteractionDismissed { interaction, .. } => {
                let (rule, form) = self.interactions[&(tenant.to_owned(), interaction.to_string())].clone();
                self.stop(tenant, rule, &form, at);
            }
            _ => {}
        }
    }

    fn created(&mut self, tenant: &str, at: Timestamp, entity: String, contacts: &[Contact]) {
        let clock = self.clocks.entry((tenant.into(), Rule::FirstResponseLate, entity.clone())).or_default();
        if clock.is_empty() {
            clock.push((at, None));
        }
        self.link(tenant, &entity, contacts);
    }

    /// The duplicate leaves its phones and addresses to the survivor, and waits for nothing any more.
    fn merged(&mut self, tenant: &str, at: Timestamp, duplicate: &str, survivor: &str) {
        assert!(!self.touched.contains(&(tenant.into(), duplicate.into())), "{duplicate} was touched");
        self.stop(tenant, Rule::FirstResponseLate, duplicate, at);
        let [left, kept] = [duplicate, survivor].map(|entity| (tenant.to_owned(), number_of(entity).to_owned()));
        let forms = self.forms.remove(&left).expect("phones or addresses");
        for form in &forms {
            self.known.insert((tenant.into(), form.clone()), survivor.into());
        }
        self.forms.entry(kept).or_default().extend(forms);
        self.duplicates += 1;
    }

    fn link(&mut self, tenant: &str, entity: &str, contacts: &[Contact]) {
        for form in contacts.iter().flat_map(|contact| normal_forms(contact, Country::default())) {
            self.forms.entry((tenant.into(), number_of(entity).into())).or_default().insert(form.to_string());
            self.known.insert((tenant.into(), form.into()), entity.into());
        }
    }

    /// The number of the customer with this phone or address.
    fn number(&self, tenant: &str, form: &str) -> Option<&str> {
        Some(number_of(self.known.get(&(tenant.to_owned(), form.to_owned()))?))
    }

    /// Every phone and address of the customer with this one.
    fn same_customer(&self, tenant: &str, form: &str) -> Vec<String> {
        let number = self.number(tenant, form).map(|number| (tenant.to_owned(), number.to_owned()));
        number.map_or_else(|| vec![form.into()], |number| self.forms[&number].iter().cloned().collect())
    }

    fn closed(&mut self, tenant: &str, at: Timestamp, entity: String, outcome: Outcome, reasoned: bool) {
        self.stop(tenant, Rule::FirstResponseLate, &entity, at);
        self.stop(tenant, Rule::NextStepOverdue, &format!("{entity}/a{}", number_of(&entity)), at);
        if outcome != Outcome::Converted {
            self.gone.insert((tenant.into(), number_of(&entity).into()));
        }
        if outcome == Outcome::Disqualified {
            if !reasoned {
                self.act(tenant, Rule::DisqualifiedWithoutReason, entity.clone(), at);
            }
            if !self.touched.contains(&(tenant.to_owned(), entity.clone())) {
                self.act(tenant, Rule::DisqualifiedWithoutContact, entity, at);
            }
        }
    }

    fn call(&mut self, tenant: &str, at: Timestamp, call: &Call) {
        let form = phones(&call.phone, Country::default()).next().expect("a number").to_string();
        match (call.direction, &call.end) {
            (Direction::Outbound, None) => {
                self.touch(tenant, &form, at);
                self.returned(tenant, &form, at);
            }
            (Direction::Inbound, Some(end)) if is_conversation(end) => {
                let started = end.started_at.expect("a start");
                self.touch(tenant, &form, started);
                self.returned(tenant, &form, started);
                self.stop(tenant, Rule::MessageUnanswered, &form, started);
            }
            (Direction::Inbound, Some(_)) => {
                let ids = [Some(call.id.to_string()), call.session.as_ref().map(ToString::to_string)];
                for id in ids.into_iter().flatten() {
                    self.interactions.insert((tenant.into(), id), (Rule::MissedCallNotReturned, form.clone()));
                }
                self.start(tenant, Rule::MissedCallNotReturned, form, at);
            }
            _ => {}
        }
    }

    /// The customer was called back, on one phone or another, or got through.
    fn returned(&mut self, tenant: &str, form: &str, at: Timestamp) {
        for form in self.same_customer(tenant, form) {
            self.stop(tenant, Rule::MissedCallNotReturned, &form, at);
        }
    }

    fn message(&mut self, tenant: &str, at: Timestamp, message: &Message) {
        let form = message.contact.as_ref().and_then(|contact| normal_forms(contact, Country::default()).next());
        let form = form.expect("an address").to_string();
        match message.direction {
            _ if message.automatic => {}
            Direction::Inbound => {
                let number = self.number(tenant, &form).map(|number| (tenant.to_owned(), number.to_owned()));
                if number.is_none_or(|number| !self.gone.contains(&number)) {
                    let clock = (Rule::MessageUnanswered, form.clone());
                    self.interactions.insert((tenant.into(), message.id.to_string()), clock);
                    self.start(tenant, Rule::MessageUnanswered, form, at);
                }
            }
            Direction::Outbound => {
                self.touch(tenant, &form, at);
                self.stop(tenant, Rule::MessageUnanswered, &form, at);
            }
        }
    }

    fn touch(&mut self, tenant: &str, form: &str, at: Timestamp) {
        if let Some(entity) = self.known.get(&(tenant.to_owned(), form.to_owned())).cloned() {
            self.stop(tenant, Rule::FirstResponseLate, &entity, at);
            self.touched.insert((tenant.to_owned(), entity));
        }
    }

    fn start(&mut self, tenant: &str, rule: Rule, subject: String, at: Timestamp) {
        let clocks = self.clocks.entry((tenant.into(), rule, subject)).or_default();
        if clocks.last().is_none_or(|(_, stopped)| stopped.is_some()) {
            clocks.push((at, None));
        }
    }

    fn stop(&mut self, tenant: &str, rule: Rule, subject: &str, at: Timestamp) {
        let clocks = self.clocks.get_mut(&(tenant.to_owned(), rule, subject.to_owned()));
        if let Some((_, stopped)) = clocks.and_then(|clocks| clocks.last_mut()) {
            stopped.get_or_insert(at);
        }
    }

    fn act(&mut self, tenant: &str, rule: Rule, subject: String, at: Timestamp) {
        self.acts.push((tenant.into(), rule, subject, at));
    }

    /// The violations due before `until`, each with the time of the act that stopped its clock.
    fn violations(self, until: Timestamp) -> BTreeMap<Entry, Option<Timestamp>> {
        let mut found: BTreeMap<Entry, Option<Timestamp>> =
            self.acts.into_iter().filter(|(_, _, _, at)| *at < until).map(|act| (act, None)).collect();
        for ((tenant, rule, subject), clocks) in self.clocks {
            for (anchor, stopped) in clocks {
                let part = |percent| Shift::Moscow.after(anchor, Span(within(rule).0 * percent / 100));
                let kept = stopped.is_some_and(|stopped| stopped <= part(75));
                let broken = stopped.is_none_or(|stopped| stopped >= part(115));
                assert!(kept || broken, "too close to the deadline: {tenant} {rule:?} {subject} {anchor} {stopped:?}");
                if broken && due(rule, anchor) < until {
                    found.insert((tenant.clone(), rule, subject.clone(), anchor), stopped);
                }
            }
        }
        found
    }
}

#[test]
fn shuffling_stays_within_the_lateness_and_loses_nothing() {
    let lateness = Span(10_000);
    let straight: Vec<Event> = demo(5).take(5000).collect();
    let shuffled: Vec<Event> = straight.clone().into_iter().shuffled(lateness, 1).collect();
    assert_ne!(straight, shuffled);
    let mut newest = Timestamp::MIN;
    for event in &shuffled {
        assert!(event.at > newest.saturating_sub(lateness), "late");
        newest = newest.max(event.at);
    }
    let ids = |events: &[Event]| -> BTreeSet<_> { events.iter().map(|event| event.id.clone()).collect() };
    assert_eq!((shuffled.len(), ids(&shuffled)), (straight.len(), ids(&straight)));
    let untouched: Vec<Event> = straight.clone().into_iter().shuffled(Span::ZERO, 1).collect();
    assert_eq!(straight, untouched);
}

#[test]
fn a_fraction_of_the_events_is_duplicated() {
    let straight: Vec<Event> = demo(5).take(5000).collect();
    let twice: Vec<Event> = straight.clone().into_iter().duplicated(0.1, 1).collect();
    assert!((5400..5600).contains(&twice.len()), "{}", twice.len());
    let mut once = twice;
    once.dedup();
    assert_eq!(once, straight);
    assert_eq!(straight.iter().cloned().duplicated(0.0, 1).count(), 5000);
    assert_eq!(straight.into_iter().duplicated(1.0, 1).count(), 10_000);
}

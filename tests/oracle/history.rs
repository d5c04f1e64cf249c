//! Replays the events of one tenant once, in event order, into plain dated histories.
//!
//! Nothing is judged here and nothing is discarded. A **moment** is a number of applied events: the effects of event *i*
//! (from 1) are known from moment *i* on, and a timer at instant *t* sees [`TenantHistory::moment_at`]`(t)`, every event
//! up to and including *t* (decision 3: events precede deadlines). An act has a date and the moment when it became known
//! (decision 2).

use std::collections::{BTreeMap, BTreeSet};

use super::calls::{Calls, Key, Leg, Start};
use super::contacts::{Ignored, message_key};
use super::decode::{Body, Call, CallEnd, Event, Message, Object, Outcome, StageChange, Terms, Topic};
use super::identity::{EntityId, Kind};
use super::norms::{Norms, Pipeline, Pipelines, Scope};
use super::readings;
use super::rules::Ending;
use super::steps::{Bare, Plan, PlanFact};

pub const UNKNOWN: &str = "unknown";

/// Currency, minor units.
pub type Money = (String, i64);

/// A dated touch, two-way contact or conversation of an entity.
#[derive(Clone, Debug)]
pub struct Act {
    pub date: i64,
    pub moment: usize,
    /// The moment when it became known at all: of an act that was taken over, before the merge.
    pub origin: usize,
    /// The moment when it turned out that there was no such act: another version of a leg, an earlier leg.
    pub gone: Option<usize>,
    /// The `call_id` of the leg that makes it.
    pub call: Option<String>,
    /// Who made it, if it is no call.
    pub by: Option<String>,
}

impl Act {
    fn new(date: i64, moment: usize) -> Act {
        Act { date, moment, origin: moment, gone: None, call: None, by: None }
    }

    pub fn stands_at(&self, moment: usize) -> bool {
        self.moment <= moment && self.gone.is_none_or(|gone| gone > moment)
    }
}

/// The instant of creation, once it is known.
#[derive(Clone, Copy, Debug)]
pub struct Creation {
    pub at: i64,
    pub moment: usize,
}

/// A running first-response clock.
#[derive(Clone, Debug)]
pub struct FirstResponse {
    pub created_at: i64,
    pub moment: usize,
    pub scope: Scope,
}

#[derive(Clone, Debug)]
pub struct Closing {
    pub at: i64,
    pub moment: usize,
    pub outcome: Outcome,
    pub reason: Option<String>,
    /// The number of touches known when it takes effect.
    pub touches: usize,
    pub scope: Scope,
    /// The manager responsible at the closing (decision 5).
    pub who: Option<String>,
    pub amount: Option<Money>,
}

/// A stage entered by creation, a move, a snapshot or a reopening.
#[derive(Clone, Debug)]
pub struct StageVisit {
    /// The entry into the stage.
    pub date: i64,
    pub moment: usize,
    /// As known at the entry; filled in later if the pipeline was still unknown.
    pub pipeline: Option<String>,
    pub stage: String,
    pub scope: Scope,
    /// The moment when the pipeline became known, if later.
    pub pipeline_known: Option<usize>,
    /// The scope from that moment on, if the entity was still in this stage.
    pub pipeline_scope: Option<Scope>,
}

/// A closing or reopening.
#[derive(Clone, Debug)]
pub struct OpenChange {
    pub at: i64,
    pub moment: usize,
    pub open: bool,
    pub scope: Scope,
}

/// The stages before the first known stage are unknown (decision 9).
#[derive(Clone, Debug)]
pub struct UnknownPast {
    pub pipeline: Option<String>,
    pub first: String,
    pub from: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Goal {
    Stage(String),
    /// Past the last stage: `WON` or `CONVERTED`.
    Closed(&'static str),
}

/// A move to be judged by the move rules, with the state known at that moment.
#[derive(Clone, Debug)]
pub struct Move {
    pub at: i64,
    pub moment: usize,
    pub scope: Scope,
    pub pipeline: Option<String>,
    /// It changed the pipeline.
    pub changes_pipeline: bool,
    /// The current stage, else `from_stage_id`; `None`: not a move, only the requirements are judged.
    pub from: Option<String>,
    pub to: Goal,
    /// The stages of `pipeline` visited before.
    pub visited: BTreeSet<String>,
    pub fields: BTreeSet<String>,
    pub activities: BTreeSet<String>,
}

/// A clock of the rule `neglected`.
#[derive(Clone, Debug)]
pub struct Idle {
    pub anchor: i64,
    pub moment: usize,
    pub scope: Scope,
    /// Started by the creation or a reopening, not by a touch.
    pub untouched: bool,
    /// The moment when it turned out that its touch was earlier.
    pub dated_back: Option<usize>,
    /// Entries into a stage that waits for the customer.
    pub waits: Vec<Ending>,
}

/// Another manager becomes responsible.
#[derive(Clone, Debug)]
pub struct HandOver {
    pub at: i64,
    pub moment: usize,
    pub scope: Scope,
}

#[derive(Clone, Debug)]
pub struct Entity {
    pub id: EntityId,
    pub seen: usize,
    pub seen_at: i64,
    pub created: Option<Creation>,
    pub first_response: Option<FirstResponse>,
    /// A deal's lead: the first one named is kept (decision 10).
    pub lead: Option<String>,
    /// The leads that a deal names, its own and those of deals merged into it, and since when.
    pub names: Vec<(EntityId, usize)>,
    /// (moment, manager) of each assignment.
    pub managers: Vec<(usize, String)>,
    /// Those that changed the manager.
    pub handovers: Vec<HandOver>,
    pub pipeline: Option<String>,
    pub stage: Option<String>,
    pub source: Option<String>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub closings: Vec<Closing>,
    /// The closing in effect (decision 12), as an index into `closings`.
    pub current_closing: Option<usize>,
    /// (instant, moment).
    pub deleted: Option<(i64, usize)>,
    /// It was merged into another, and into which if that was not deleted.
    pub merged: bool,
    pub survivor: Option<(EntityId, usize)>,
    pub touches: Vec<Act>,
    pub two_way_contacts: Vec<Act>,
    /// The customer's messages.
    pub heard: Vec<Act>,
    /// Answered calls with talk time.
    pub conversations: Vec<Act>,
    /// `lead_created` or `deal_created` was seen.
    pub creation_event: bool,
    pub visits: Vec<StageVisit>,
    pub open_changes: Vec<OpenChange>,
    pub unknown_past: Option<UnknownPast>,
    /// Every `from_stage_id`, with its pipeline.
    pub left_stages: Vec<(Option<String>, String)>,
    pub moves: Vec<Move>,
    pub fields: BTreeSet<String>,
    pub activities: BTreeSet<String>,
    pub idle: Vec<Idle>,
    /// The anchor of the running clock of `neglected`.
    pub idle_since: Option<i64>,
    pub plans: Vec<Plan>,
    pub last_plan_ended: Option<i64>,
    pub bare: Vec<Bare>,
    /// Since when it is open without a plan and does not wait.
    pub bare_since: Option<i64>,
    /// Its stage waits for the customer.
    pub waiting: bool,
    /// When it last left such a stage.
    pub left_waiting: Option<i64>,
}

impl Entity {
    pub fn is_open(&self) -> bool {
        self.current_closing.is_none() && self.deleted.is_none()
    }

    /// The touches as known now.
    pub fn standing_touches(&self) -> impl Iterator<Item = &Act> {
        self.touches.iter().filter(|act| act.gone.is_none())
    }

    /// Whether it is closed as no lost opportunity.
    pub fn is_excluded(&self, reasons: &[String]) -> bool {
        self.current_closing().is_some_and(|closing| {
            let reason = closing.reason.as_ref().map(|reason| reason.trim());
            closing.outcome == Outcome::Disqualified && reason.is_some_and(|reason| reasons.iter().any(|r| r == reason))
        })
    }

    /// The latest closing or reopening by then; `None` if it was open all the time.
    pub fn open_change_at(&self, moment: usize) -> Option<&OpenChange> {
        self.open_changes.iter().rfind(|change| change.moment <= moment)
    }

    pub fn is_open_at(&self, moment: usize) -> bool {
        !self.is_deleted_at(moment) && self.open_change_at(moment).is_none_or(|change| change.open)
    }

    /// The end of a clock with the deletion.
    pub fn deletion(&self) -> Option<Ending> {
        let resolution = if self.merged { "merged" } else { "deleted" };
        self.deleted.map(|(at, moment)| Ending::new(at, moment, resolution))
    }

    pub fn is_deleted_at(&self, moment: usize) -> bool {
        self.deleted.is_some_and(|(_, since)| since <= moment)
    }

    /// The outcome with which it was closed at this moment.
    pub fn outcome_at(&self, moment: usize) -> Option<Outcome> {
        self.closings.iter().find(|closing| closing.moment == moment).map(|closing| closing.outcome)
    }

    pub fn current_closing(&self) -> Option<&Closing> {
        self.current_closing.map(|index| &self.closings[index])
    }

    pub fn responsible_at(&self, moment: usize) -> Option<&str> {
        self.managers.iter().rev().find(|(since, _)| *since <= moment).map(|(_, manager)| manager.as_str())
    }

    pub fn responsible(&self) -> Option<&str> {
        self.managers.last().map(|(_, manager)| manager.as_str())
    }

    /// The amount with its currency, or `unknown` if it has none.
    fn money(&self) -> Option<Money> {
        Some((self.currency.clone().unwrap_or(UNKNOWN.to_owned()), self.amount?))
    }

    pub fn amount_won(&self) -> Option<Money> {
        if readings::AMOUNT_WON_AS_KNOWN_AT_T { self.money() } else { self.current_closing()?.amount.clone() }
    }
}

/// The manager, entity and scope of a call or message, fixed for a clock that starts with it.
#[derive(Clone, Debug)]
pub struct Attribution {
    /// The event's own `manager_id`.
    pub manager: Option<String>,
    pub primary: Option<EntityId>,
    /// The manager then responsible for the primary entity, else the event's manager.
    pub who: Option<String>,
    pub scope: Scope,
}

/// A received message with a contact.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    pub at: i64,
    pub moment: usize,
    pub contact: String,
    /// As it came.
    pub id: String,
    /// As it is compared.
    pub key: String,
    pub thread: Option<String>,
    pub channel: String,
    pub automatic: bool,
    pub entities: Vec<EntityId>,
    /// None of its entities, named or by contact, is open: the latest standing closing.
    pub closed_at: Option<i64>,
    pub attribution: Attribution,
}

/// A sent message, as a possible answer.
#[derive(Clone, Debug)]
pub struct SentMessage {
    pub at: i64,
    pub moment: usize,
    pub contact: Option<String>,
    pub thread: Option<String>,
    pub in_reply_to: Option<String>,
    pub who: Option<String>,
}

/// An `interaction_dismissed`.
#[derive(Clone, Debug)]
pub struct Dismissal {
    pub at: i64,
    pub moment: usize,
    /// As it is compared.
    pub key: String,
    pub manager: Option<String>,
}

/// A dated fact of a figure and the manager it counts for (without one: department `unknown`).
#[derive(Clone, Debug)]
pub struct Fact<T> {
    pub date: i64,
    pub who: Option<String>,
    pub value: T,
}

#[derive(Clone, Debug)]
pub struct CallFact {
    pub outbound: bool,
    pub conversation: bool,
    pub talk_seconds: f64,
}

#[derive(Clone, Debug)]
pub struct Offer {
    pub deal: String,
    pub special: bool,
    pub discount: f64,
}

/// A `terms_offered` as judged by the rules.
#[derive(Clone, Debug)]
pub struct Offered {
    pub at: i64,
    pub moment: usize,
    pub deal: EntityId,
    pub who: Option<String>,
    pub grade: Option<String>,
    pub pipeline: Option<String>,
    /// The event's amount, else the deal's last known amount.
    pub amount: Option<i64>,
    pub scope: Scope,
    pub terms: Terms,
}

#[derive(Clone, Debug)]
pub struct Review {
    pub score: f64,
    pub verdict: String,
}

pub struct TenantHistory {
    pub tenant: String,
    /// The instant of the first event seen of the tenant (decision 8).
    pub first_seen: i64,
    /// The instants of the events, in event order.
    instants: Vec<i64>,
    /// The topic of each event.
    pub topics: Vec<Topic>,
    pub pipelines: Pipelines,
    /// The `stage_changed` of each entity and instant with several, and those of a chain that took effect already.
    pub moves_at: BTreeMap<(i64, EntityId), Vec<(usize, StageChange)>>,
    chained: BTreeSet<usize>,
    pub entities: BTreeMap<EntityId, Entity>,
    /// (moment, department) of each `manager_upserted`.
    pub managers: BTreeMap<String, Vec<(usize, Option<String>)>>,
    /// All managers: upserted, responsible or acting.
    pub all_managers: BTreeSet<String>,
    pub calls: Calls,
    /// The `call_id`s whose calls an event changed, by moment.
    pub call_changes: BTreeMap<usize, Vec<String>>,
    pub received: Vec<ReceivedMessage>,
    pub sent: Vec<SentMessage>,
    pub dismissals: Vec<Dismissal>,
    /// `value`: sent, channel.
    pub messages: Vec<Fact<(bool, String)>>,
    /// Those that are no calls.
    pub touches: Vec<Fact<()>>,
    pub meetings: Vec<Fact<()>>,
    pub offers: Vec<Fact<Offer>>,
    pub offered: Vec<Offered>,
    /// (moment, grade) of each `manager_upserted`.
    grades: BTreeMap<String, Option<String>>,
    pub reviews: Vec<Fact<Review>>,
    /// The entities that a `call_id` ever touched or had a conversation with.
    pub acted_on: BTreeMap<String, BTreeSet<EntityId>>,
    /// The instant of the first `activity_planned`.
    pub first_plan: Option<i64>,
    pub plan_facts: Vec<Fact<PlanFact>>,
    /// The entities that list a contact, and since when.
    pub entities_by_contact: BTreeMap<String, BTreeMap<EntityId, usize>>,
    /// Decision 10: a thread is tied permanently by its first message that belongs to an entity.
    pub threads: BTreeMap<String, EntityId>,
    min_talk_seconds: f64,
    conversation_needs_manager: bool,
    shared_contact_limit: usize,
    ignored: Vec<Ignored>,
}

impl TenantHistory {
    /// `events`: those of one tenant, in event order, without duplicates.
    pub fn replay(tenant: &str, events: &[Event], norms: &Norms) -> TenantHistory {
        let mut history = TenantHistory::empty(tenant, events, norms);
        for (index, event) in events.iter().enumerate() {
            history.apply(event, index + 1);
        }
        history
    }

    /// The state before the first event; [`TenantHistory::apply`] applies the events one by one.
    pub fn empty(tenant: &str, events: &[Event], norms: &Norms) -> TenantHistory {
        TenantHistory {
            tenant: tenant.to_owned(),
            first_seen: events.iter().map(|e| e.at).min().unwrap_or(0),
            instants: events.iter().map(|e| e.at).collect(),
            topics: events.iter().map(|e| e.topic).collect(),
            pipelines: norms.pipelines.clone(),
            moves_at: moves_at(events),
            chained: BTreeSet::new(),
            entities: BTreeMap::new(),
            managers: BTreeMap::new(),
            all_managers: BTreeSet::new(),
            calls: Calls::default(),
            call_changes: BTreeMap::new(),
            received: Vec::new(),
            sent: Vec::new(),
            dismissals: Vec::new(),
            messages: Vec::new(),
            touches: Vec::new(),
            meetings: Vec::new(),
            offers: Vec::new(),
            offered: Vec::new(),
            grades: BTreeMap::new(),
            reviews: Vec::new(),
            acted_on: BTreeMap::new(),
            first_plan: None,
            plan_facts: Vec::new(),
            entities_by_contact: BTreeMap::new(),
            threads: BTreeMap::new(),
            min_talk_seconds: norms.min_talk_seconds,
            conversation_needs_manager: norms.conversation_needs_manager,
            shared_contact_limit: norms.shared_contact_limit,
            ignored: norms.ignored(tenant),
        }
    }

    /// The number of all events.
    pub fn moments(&self) -> usize {
        self.instants.len()
    }

    /// The number of events that a timer at this instant sees.
    pub fn moment_at(&self, at: i64) -> usize {
        self.instants.partition_point(|instant| *instant <= at)
    }

    /// The instant of a moment's last event.
    pub fn instant_of(&self, moment: usize) -> i64 {
        self.instants[moment - 1]
    }

    /// The department in the manager's latest `manager_upserted` by then; without a manager `unknown` (decision 6).
    pub fn department_at(&self, manager: Option<&str>, moment: usize) -> &str {
        manager
            .and_then(|manager| self.managers.get(manager))
            .and_then(|upserts| upserts.iter().rev().find(|(since, _)| *since <= moment))
            .and_then(|(_, department)| department.as_deref())
            .unwrap_or(UNKNOWN)
    }

    pub fn apply(&mut self, event: &Event, moment: usize) {
        let at = event.at;
        match &event.body {
            Body::Created(object) => self.created(object, at, moment),
            Body::Snapshot(object) => self.snapshot(object, at, moment),
            Body::StageChanged(change) => {
                if let Some(chain) = self.chain(change, at, moment) {
                    for (own, change) in chain {
                        self.chained.insert(own);
                        self.stage_changed(&change, at, moment);
                    }
                } else if !self.chained.contains(&moment) {
                    self.stage_changed(change, at, moment);
                }
            }
            Body::Assigned { entity, manager } => {
                self.assign(entity, manager, at, moment);
                self.handed_over(entity, moment);
            }
            Body::Closed { entity, outcome, reason } => self.close(entity, *outcome, reason.as_ref(), at, moment),
            Body::Reopened { entity: id, stage } => {
                let Some(entity) = self.entity(id, at, moment) else { return };
                let was_closed = entity.current_closing.take().is_some();
                if was_closed {
                    let scope = self.scope_of(id);
                    let entity = self.entities.get_mut(id).unwrap();
                    entity.open_changes.push(OpenChange { at, moment, open: true, scope });
                    self.idle_from(id, at, moment, false);
                    self.bare_from(id, at, moment);
                }
                if was_closed || readings::REOPENED_PLACES_AN_OPEN_ENTITY {
                    let update =
                        StageUpdate { stage: stage.as_ref(), from: None, date: None, kind: UpdateKind::Placed };
                    self.update_stage(id, at, moment, &update, PipelineChange::Same);
                }
            }
            Body::Deleted { entity } => {
                // A deletion creates an unknown entity as deleted: deletion is permanent (decision 11).
                if let Some(deleted) = self.entity(entity, at, moment) {
                    deleted.deleted = Some((at, moment));
                    self.end_plans(entity, at, moment, "deleted");
                }
            }
            Body::ContactLinked { entity, contacts } => {
                if self.entity(entity, at, moment).is_some() {
                    self.link(entity, contacts, moment);
                }
            }
            Body::TermsOffered(terms) => self.terms(terms, at, moment),
            Body::Activity { entity, manager, kind, activity } => {
                let Some(subject) = self.entity(entity, at, moment) else { return };
                let who = manager.clone().or(subject.responsible().map(str::to_owned));
                subject.activities.insert(kind.clone());
                let (meeting, demo) = (kind == "MEETING", kind == "DEMO");
                if meeting || demo {
                    let act = Act { by: who.clone(), ..Act::new(at, moment) };
                    self.touch(std::slice::from_ref(entity), &act);
                    let subject = self.entities.get_mut(entity).unwrap();
                    subject.two_way_contacts.push(Act::new(at, moment));
                    self.touches.push(Fact { date: at, who: who.clone(), value: () });
                }
                if meeting {
                    // Decision 22: `meetings` are MEETING.
                    self.meetings.push(Fact { date: at, who, value: () });
                }
                self.all_managers.extend(manager.clone());
                if let Some(activity) = activity {
                    self.end_plan(entity, activity, Some(manager.as_ref()), at, moment);
                }
            }
            Body::Planned(planned) => self.plan(planned, at, moment),
            Body::Cancelled { entity, activity } => {
                if self.entity(entity, at, moment).is_some() {
                    self.end_plan(entity, activity, None, at, moment);
                }
            }
            Body::Merged { entity, into } => self.merge(entity, into, at, moment),
            Body::Annotation => {}
            Body::Reviewed { manager, score, verdict } => {
                self.all_managers.insert(manager.clone());
                let value = Review { score: *score, verdict: verdict.clone() };
                self.reviews.push(Fact { date: at, who: Some(manager.clone()), value });
            }
            Body::Dismissed { interaction, manager } => {
                self.all_managers.extend(manager.clone());
                let (key, manager) = (message_key(interaction), manager.clone());
                self.dismissals.push(Dismissal { at, moment, key, manager });
            }
            Body::Manager { manager, department, grade, .. } => {
                if let Some(grade) = grade {
                    self.grades.insert(manager.clone(), grade.clone());
                }
                self.all_managers.insert(manager.clone());
                let upserts = self.managers.entry(manager.clone()).or_default();
                let known = upserts.last().and_then(|(_, department)| department.clone());
                upserts.push((moment, department.clone().unwrap_or(known)));
            }
            // Interactions with an ignored contact are events of their topic, nothing else.
            Body::CallStarted(call) if !self.ignores(&call.phones) => self.call_started(call, at, moment),
            Body::CallEnded(call, ending) if !self.ignores(&call.phones) => self.call_ended(call, ending, at, moment),
            Body::Message(message) if !self.ignores(&message.contacts) => self.message(message, at, moment),
            Body::CallStarted(_) | Body::CallEnded(..) | Body::Message(_) => {}
        }
    }

    // ---- entities

    /// The entity of an event, created with unknown creation if new; `None` if deleted (decision 11).
    pub fn entity(&mut self, id: &EntityId, at: i64, moment: usize) -> Option<&mut Entity> {
        let entity = self.entities.entry(id.clone()).or_insert_with(|| Entity {
            id: id.clone(),
            seen: moment,
            seen_at: at,
            created: None,
            first_response: None,
            lead: None,
            names: Vec::new(),
            managers: Vec::new(),
            handovers: Vec::new(),
            pipeline: None,
            stage: None,
            source: None,
            amount: None,
            currency: None,
            closings: Vec::new(),
            current_closing: None,
            deleted: None,
            merged: false,
            survivor: None,
            touches: Vec::new(),
            two_way_contacts: Vec::new(),
            heard: Vec::new(),
            conversations: Vec::new(),
            creation_event: false,
            visits: Vec::new(),
            open_changes: Vec::new(),
            unknown_past: None,
            left_stages: Vec::new(),
            moves: Vec::new(),
            fields: BTreeSet::new(),
            activities: BTreeSet::new(),
            idle: Vec::new(),
            idle_since: None,
            plans: Vec::new(),
            last_plan_ended: None,
            bare: Vec::new(),
            bare_since: None,
            waiting: false,
            left_waiting: None,
        });
        entity.deleted.is_none().then_some(entity)
    }

    /// `lead_created`, `deal_created`. Decision 8: known attributes are kept, only gaps are filled.
    fn created(&mut self, o: &Object, at: i64, moment: usize) {
        let Some(entity) = self.entity(&o.entity, at, moment) else { return };
        entity.creation_event = true;
        let (pipeline_known, stage_known) = (entity.pipeline.is_some(), entity.stage.is_some());
        fill(&mut entity.source, &o.source);
        fill(&mut entity.amount, &o.amount);
        fill(&mut entity.currency, &o.currency);
        if let Some(manager) = &o.manager
            && entity.managers.is_empty()
        {
            self.assign(&o.entity, manager, at, moment);
        }
        self.link(&o.entity, &o.contacts, moment);
        self.link_lead(o, at, moment);
        let change =
            if pipeline_known { PipelineChange::Same } else { self.set_pipeline(&o.entity, &o.pipeline, moment) };
        self.creation_known(&o.entity, at, moment);
        let stage = if stage_known { None } else { o.stage.as_ref() };
        let update = StageUpdate { stage, from: None, date: None, kind: UpdateKind::Placed };
        self.update_stage(&o.entity, at, moment, &update, change);
        self.handed_over(&o.entity, moment);
    }

    /// Decision 10: implies creation, assignment, stage moves and closing; absent fields mean no change.
    fn snapshot(&mut self, o: &Object, at: i64, moment: usize) {
        let Some(entity) = self.entity(&o.entity, at, moment) else { return };
        replace(&mut entity.source, &o.source);
        replace(&mut entity.amount, &o.amount);
        replace(&mut entity.currency, &o.currency);
        entity.fields.extend(o.fields.iter().cloned());
        if let Some(manager) = &o.manager {
            self.assign(&o.entity, manager, at, moment);
        }
        self.link(&o.entity, &o.contacts, moment);
        self.link_lead(o, at, moment);
        let change = self.set_pipeline(&o.entity, &o.pipeline, moment);
        if let Some(created_at) = o.created_at {
            // A creation cannot be later than the event that reports it.
            self.creation_known(&o.entity, created_at.min(at), moment);
        }
        // A snapshot with the stage at creation is equivalent to a creation event.
        let entity = self.entities.get_mut(&o.entity).unwrap();
        let shown = o.stage.as_ref().and(o.stage_entered_at).map_or(at, |entered| entered.min(at));
        if entity.stage.is_none() && entity.created.is_some_and(|created| shown <= created.at) {
            entity.creation_event = true;
        }
        let update =
            StageUpdate { stage: o.stage.as_ref(), from: None, date: o.stage_entered_at, kind: UpdateKind::Snapshot };
        self.update_stage(&o.entity, at, moment, &update, change);
        if let Some(outcome) = o.outcome {
            // Dated `occurred_at`. A snapshot without an outcome reopens nothing.
            self.close(&o.entity, outcome, o.reason.as_ref(), at, moment);
        }
        self.handed_over(&o.entity, moment);
    }

    // ---- stages

    fn stage_changed(&mut self, change: &StageChange, at: i64, moment: usize) {
        let id = &change.entity;
        let Some(entity) = self.entity(id, at, moment) else { return };
        entity.fields.extend(change.fields.iter().cloned());
        let pipeline = self.set_pipeline(id, &change.pipeline, moment);
        let (stage, from) = (Some(&change.to), change.from.as_ref());
        let update = StageUpdate { stage, from, date: None, kind: UpdateKind::Moved };
        self.update_stage(id, at, moment, &update, pipeline);
    }

    /// Sets the pipeline named by an event. The first pipeline also applies to everything before; the visit continues.
    fn set_pipeline(&mut self, id: &EntityId, reported: &Option<String>, moment: usize) -> PipelineChange {
        let entity = self.entities.get_mut(id).unwrap();
        let Some(reported) = reported else { return PipelineChange::Same };
        match entity.pipeline.replace(reported.clone()) {
            None => {
                let fill = |held: &mut Option<String>| *held = held.take().or(Some(reported.clone()));
                for visit in &mut entity.visits {
                    fill(&mut visit.pipeline);
                    visit.pipeline_known = Some(moment);
                }
                entity.left_stages.iter_mut().for_each(|(pipeline, _)| fill(pipeline));
                entity.unknown_past.iter_mut().for_each(|unknown_past| fill(&mut unknown_past.pipeline));
                PipelineChange::First
            }
            Some(old) if old != *reported => PipelineChange::Another(old),
            Some(_) => PipelineChange::Same,
        }
    }

    fn update_stage(&mut self, id: &EntityId, at: i64, moment: usize, update: &StageUpdate, change: PipelineChange) {
        self.visit_stage(id, at, moment, update, change);
        self.update_waiting(id, moment);
    }

    /// Records that an entity entered a stage, moved, or is still in its stage.
    fn visit_stage(&mut self, id: &EntityId, at: i64, moment: usize, update: &StageUpdate, change: PipelineChange) {
        let scope = self.scope_of(id);
        let pipelines = self.pipelines.clone();
        let entity = self.entities.get_mut(id).unwrap();
        if change == PipelineChange::First
            && let Some(visit) = entity.visits.last_mut()
        {
            visit.pipeline_scope = Some(scope.clone());
        }
        if let Some(from) = update.from {
            // The stage was left; in a pipeline change it belongs to the old pipeline.
            let pipeline =
                if let PipelineChange::Another(old) = &change { Some(old.clone()) } else { entity.pipeline.clone() };
            entity.left_stages.push((pipeline, from.clone()));
        }
        let changes_pipeline = matches!(change, PipelineChange::Another(_));
        let held = entity.stage.clone();
        // A snapshot may name another pipeline and no stage: the stage is kept.
        let to = match (update.stage, &held) {
            (Some(stage), _) => stage.clone(),
            (None, Some(held)) if changes_pipeline => held.clone(),
            _ => return,
        };
        if held.as_ref() == Some(&to) && !changes_pipeline {
            return;
        }
        let mut date = update.date.unwrap_or(at).min(at);
        if let Some(visit) = entity.visits.last() {
            // Decision 10: between the entry into the current stage and `occurred_at`.
            date = date.max(visit.date);
            if !readings::STAGE_DATE_MAY_PRECEDE_A_REOPENING
                && let Some(open_change) = entity.open_changes.last()
            {
                date = date.max(open_change.at);
            }
        }
        if held.is_none() {
            // Decision 9: the past is known after a creation event or a snapshot with its stage dated at creation.
            if !entity.creation_event {
                let pipeline = entity.pipeline.clone();
                entity.unknown_past = Some(UnknownPast { pipeline, first: to.clone(), from: update.from.cloned() });
            }
        }
        let (judged, from) = match update.kind {
            UpdateKind::Placed => (false, None),
            UpdateKind::Snapshot => (held.is_some(), held),
            UpdateKind::Moved => (true, held.or(update.from.cloned())),
        };
        if judged {
            let visited = visited(entity, &pipelines);
            entity.moves.push(Move {
                at,
                moment,
                scope: scope.clone(),
                pipeline: entity.pipeline.clone(),
                changes_pipeline,
                from,
                to: Goal::Stage(to.clone()),
                visited,
                fields: entity.fields.clone(),
                activities: entity.activities.clone(),
            });
        }
        entity.stage = Some(to.clone());
        let pipeline = entity.pipeline.clone();
        entity.visits.push(StageVisit {
            date,
            moment,
            pipeline,
            stage: to,
            scope,
            pipeline_known: None,
            pipeline_scope: None,
        });
    }

    /// Starts a clock of `neglected` unless one with the same or a later anchor runs. Decision 8: it is never anchored
    /// before the tenant's first event.
    pub fn idle_from(&mut self, id: &EntityId, date: i64, moment: usize, touch: bool) {
        let anchor = date.max(self.first_seen);
        let scope = self.scope_of(id);
        let entity = self.entities.get_mut(id).unwrap();
        // "Last touch, else creation": the first touch takes precedence over the creation even if dated earlier.
        let first = touch && entity.touches.len() == 1 && entity.open_changes.is_empty();
        let first = first && entity.left_waiting.is_none();
        if entity.is_open() && !entity.waiting && (first || entity.idle_since.is_none_or(|since| anchor > since)) {
            entity.idle_since = Some(anchor);
            entity.idle.push(Idle { anchor, moment, scope, untouched: !touch, dated_back: None, waits: Vec::new() });
        }
    }

    /// The first report of the creation is final. It starts the first-response clock of a lead, or of a deal without a
    /// lead (learning the lead later changes nothing, decision 10), in the current scope (decision 7), unless the
    /// creation precedes the tenant's first event (decision 8).
    fn creation_known(&mut self, id: &EntityId, created_at: i64, moment: usize) {
        let scope = self.scope_of(id);
        let first_seen = self.first_seen;
        let entity = self.entities.get_mut(id).unwrap();
        if entity.created.is_some() {
            return;
        }
        entity.created = Some(Creation { at: created_at, moment });
        let idle = entity.idle_since.is_none() && entity.touches.is_empty();
        let awaits_response = id.kind == Kind::Lead || entity.lead.is_none();
        if awaits_response && created_at >= first_seen {
            entity.first_response = Some(FirstResponse { created_at, moment, scope });
        }
        if idle {
            self.idle_from(id, created_at, moment, false);
        }
        if self.entities[id].bare_since.is_none() {
            self.bare_from(id, created_at, moment);
        }
    }

    /// Decision 7: the responsible manager's department, the entity's pipeline, its source (for a deal else its lead's).
    pub fn scope_of(&self, id: &EntityId) -> Scope {
        let entity = &self.entities[id];
        let lead = entity.lead.as_ref().map(|lead| EntityId::lead(lead));
        let lead = lead.as_ref().and_then(|lead| self.entities.get(self.survivor_at(lead, usize::MAX)));
        Scope {
            tenant: self.tenant.clone(),
            department: self.department_at(entity.responsible(), usize::MAX).to_owned(),
            manager: entity.responsible().map(str::to_owned),
            pipeline: entity.pipeline.clone(),
            source: entity.source.clone().or_else(|| lead?.source.clone()),
        }
    }

    fn assign(&mut self, id: &EntityId, manager: &str, at: i64, moment: usize) {
        let Some(entity) = self.entity(id, at, moment) else { return };
        let changes = entity.responsible() != Some(manager);
        entity.managers.push((moment, manager.to_owned()));
        self.all_managers.insert(manager.to_owned());
        if changes {
            let scope = self.scope_of(id);
            self.entities.get_mut(id).unwrap().handovers.push(HandOver { at, moment, scope });
        }
    }

    /// The scope of a hand-over is that after its whole event.
    fn handed_over(&mut self, id: &EntityId, moment: usize) {
        let scope = self.scope_of(id);
        let last = self.entities.get_mut(id).unwrap().handovers.last_mut();
        last.into_iter().filter(|last| last.moment == moment).for_each(|last| last.scope = scope.clone());
    }

    /// Decision 12: repeating the outcome changes nothing; another outcome replaces the closing and is a new act.
    pub fn close(&mut self, id: &EntityId, outcome: Outcome, reason: Option<&String>, at: i64, moment: usize) {
        let Some(entity) = self.entity(id, at, moment) else { return };
        if entity.current_closing().is_some_and(|closing| closing.outcome == outcome) {
            return;
        }
        let scope = self.scope_of(id);
        let pipelines = self.pipelines.clone();
        let entity = self.entities.get_mut(id).unwrap();
        // WON and CONVERTED are moves past the last stage (decision 13).
        let goal = match outcome {
            Outcome::Won => Some("WON"),
            Outcome::Converted => Some("CONVERTED"),
            _ => None,
        };
        if let Some(goal) = goal
            && (entity.stage.is_some() || (entity.creation_event && readings::WINNING_WITHOUT_A_KNOWN_STAGE_SKIPS))
        {
            let visited = visited(entity, &pipelines);
            entity.moves.push(Move {
                at,
                moment,
                scope: scope.clone(),
                pipeline: entity.pipeline.clone(),
                changes_pipeline: false,
                from: entity.stage.clone(),
                to: Goal::Closed(goal),
                visited,
                fields: BTreeSet::new(),
                activities: BTreeSet::new(),
            });
        }
        let who = entity.responsible().map(str::to_owned);
        if entity.is_open() {
            entity.open_changes.push(OpenChange { at, moment, open: false, scope: scope.clone() });
            self.end_plans(id, at, moment, "closed");
        }
        let entity = self.entities.get_mut(id).unwrap();
        entity.idle_since = None;
        let (touches, amount) = (entity.standing_touches().count(), entity.money());
        entity.closings.push(Closing { at, moment, outcome, reason: reason.cloned(), touches, scope, who, amount });
        entity.current_closing = Some(entity.closings.len() - 1);
    }

    /// Decision 12: when a deal first names an open lead, that lead is closed as CONVERTED at that instant, unless it
    /// was unknown. Decision 10: the first lead is kept.
    fn link_lead(&mut self, o: &Object, at: i64, moment: usize) {
        let Some(lead) = &o.lead else { return };
        let deal = self.entities.get_mut(&o.entity).unwrap();
        if deal.lead.is_some() {
            return;
        }
        deal.lead = Some(lead.clone());
        let lead = EntityId::lead(lead);
        deal.names.push((lead.clone(), moment));
        let lead = self.survivor_at(&lead, moment).clone();
        if self.entities.get(&lead).is_some_and(Entity::is_open) {
            self.close(&lead, Outcome::Converted, None, at, moment);
        }
    }

    fn link(&mut self, id: &EntityId, contacts: &[String], moment: usize) {
        for contact in contacts {
            self.entities_by_contact.entry(contact.clone()).or_default().entry(id.clone()).or_insert(moment);
        }
    }

    /// Whether an entity, by then and if not deleted, lists this contact.
    pub fn lists(&self, id: &EntityId, contact: &str, moment: usize) -> bool {
        let since = self.entities_by_contact.get(contact).and_then(|of| of.get(id));
        since.is_some_and(|since| *since <= moment)
            && (readings::A_DELETED_ENTITY_STILL_LINKS_ITS_CONTACTS || !self.entities[id].is_deleted_at(moment))
    }

    fn ignores(&self, contacts: &[String]) -> bool {
        contacts.iter().any(|contact| self.ignored.iter().any(|ignored| ignored.fits(contact)))
    }

    fn terms(&mut self, terms: &Terms, at: i64, moment: usize) {
        let id = EntityId::deal(&terms.deal);
        let Some(deal) = self.entity(&id, at, moment) else { return };
        if readings::TERMS_SET_THE_DEALS_AMOUNT {
            replace(&mut deal.amount, &terms.amount);
            replace(&mut deal.currency, &terms.currency);
        }
        let who = terms.manager.clone().or(deal.responsible().map(str::to_owned));
        // Special: any discount, instalment plan, or prepayment below 100 %.
        let special = terms.discount.is_some_and(|percent| percent > 0.0)
            || terms.installment.is_some_and(|months| months > 0)
            || terms.prepayment.is_some_and(|percent| percent < 100.0);
        self.all_managers.extend(terms.manager.clone());
        // Decision 17: a missing discount counts as 0.
        let value = Offer { deal: terms.deal.clone(), special, discount: terms.discount.unwrap_or(0.0) };
        self.offers.push(Fact { date: at, who: who.clone(), value });
        let scope = self.scope_of(&id);
        let deal = &self.entities[&id];
        self.offered.push(Offered {
            at,
            moment,
            // Decision 17: the offering manager's grade.
            grade: who.as_ref().and_then(|who| self.grades.get(who)?.clone()),
            who,
            pipeline: deal.pipeline.clone(),
            amount: terms.amount.or(deal.amount),
            deal: id,
            scope,
            terms: terms.clone(),
        });
    }

    // ---- interactions

    /// Semantics, *Identity*: the entities that a call or message belongs to, and the primary one.
    fn resolve_entities(
        &mut self,
        entity: Option<&EntityId>,
        thread: Option<&str>,
        contact: Option<&str>,
        at: i64,
        moment: usize,
    ) -> (Vec<EntityId>, Option<EntityId>) {
        // Decision 11: an event that names a deleted entity is resolved by its contact. An unknown entity is created.
        if let Some(id) = entity
            && self.entity(id, at, moment).is_some()
        {
            return (vec![id.clone()], Some(id.clone()));
        }
        if let Some(id) = thread.and_then(|thread| self.threads.get(thread))
            && self.entities[id].deleted.is_none()
        {
            return (vec![id.clone()], Some(id.clone()));
        }
        let entities_by_contact = contact.and_then(|contact| self.entities_by_contact.get(contact));
        let mut open: Vec<&Entity> = entities_by_contact
            .into_iter()
            .flatten()
            .map(|(id, _)| &self.entities[id])
            .filter(|e| e.is_open())
            .collect();
        if open.len() > self.shared_contact_limit {
            // The number of an aggregator or a switchboard.
            open.clear();
        }
        let primary = open.iter().max_by_key(|e| {
            let unknown = if readings::UNKNOWN_CREATION_IS_OLDEST { i64::MIN } else { e.seen_at };
            (e.created.map_or(unknown, |c| c.at), e.seen)
        });
        (open.iter().map(|e| e.id.clone()).collect(), primary.map(|e| e.id.clone()))
    }

    /// Decision 5: the event's manager, else the manager responsible for the primary entity.
    fn actor(&self, manager: Option<&String>, primary: Option<&EntityId>) -> Option<String> {
        manager.cloned().or_else(|| self.entities[primary?].responsible().map(str::to_owned))
    }

    /// Decisions 5 and 7, for contact clocks and lags: the manager responsible for the primary entity, else the event's.
    fn owner(&self, manager: Option<&String>, primary: Option<&EntityId>) -> Option<String> {
        primary.and_then(|id| self.entities[id].responsible()).or(manager.map(String::as_str)).map(str::to_owned)
    }

    /// The same, as known at a moment.
    pub fn owner_at(&self, manager: Option<&String>, primary: Option<&EntityId>, moment: usize) -> Option<String> {
        let responsible = primary.and_then(|id| self.entities[id].responsible_at(moment));
        responsible.or(manager.map(String::as_str)).map(str::to_owned)
    }

    fn attribution(&self, manager: Option<&String>, primary: Option<EntityId>) -> Attribution {
        let who = self.owner(manager, primary.as_ref());
        let mut scope = match &primary {
            Some(id) => self.scope_of(id),
            None => Scope {
                tenant: self.tenant.clone(),
                department: UNKNOWN.to_owned(),
                manager: None,
                pipeline: None,
                source: None,
            },
        };
        // Without an entity or responsible manager: the department of the event's manager.
        scope.department = self.department_at(who.as_deref(), usize::MAX).to_owned();
        scope.manager = who.clone();
        Attribution { manager: manager.cloned(), primary, who, scope }
    }

    fn touch(&mut self, entities: &[EntityId], act: &Act) {
        for id in entities {
            self.entities.get_mut(id).unwrap().touches.push(act.clone());
            self.idle_from(id, act.date, act.moment, true);
        }
    }

    /// Decision 2: an outbound `call_started` is an attempt at its own instant.
    fn call_started(&mut self, call: &Call, at: i64, moment: usize) {
        self.all_managers.extend(call.manager.clone());
        self.calls.name_session(&call.id, call.session.as_ref(), moment);
        let known = self.calls.starts_of(&call.id).next().is_some() || self.calls.legs_of(&call.id).next().is_some();
        let counts = !known || !readings::ONLY_THE_FIRST_CALL_STARTED_COUNTS;
        let number = call.phones.first().cloned();
        let (entities, primary) = match counts {
            true => self.resolve_entities(call.entity.as_ref(), None, number.as_deref(), at, moment),
            false => (Vec::new(), None),
        };
        self.calls.push_start(Start {
            moment,
            at,
            call: call.id.clone(),
            outbound: call.outbound,
            counts,
            number,
            named: call.entity.clone().filter(|id| entities.contains(id)),
            manager: call.manager.clone(),
            actor: self.actor(call.manager.as_ref(), primary.as_ref()),
            primary,
            entities,
        });
        self.calls_changed(vec![call.id.clone()], moment);
    }

    fn call_ended(&mut self, call: &Call, ending: &CallEnd, at: i64, moment: usize) {
        const DAY: i64 = 24 * 3_600_000;
        self.all_managers.extend(call.manager.clone());
        self.calls.name_session(&call.id, call.session.as_ref(), moment);
        let number = call.phones.first().cloned();

        let answered_at = ending.answered_at.filter(|answered| (at - DAY..=at).contains(answered));
        let talk_seconds = match (ending.talk_seconds, answered_at) {
            (Some(talk), _) => talk.max(0.0),
            (None, Some(answered)) => (at - answered) as f64 / 1000.0,
            (None, None) => 0.0,
        };
        let start = ending.started_at.filter(|started| (at - DAY..=at).contains(started)).unwrap_or_else(|| {
            let talk = ((talk_seconds * 1000.0).round() as i64).min(DAY);
            self.calls.started(&call.id, at).unwrap_or(at - talk)
        });

        let mut changed = vec![call.id.clone()];
        let same = |leg: &&Leg| {
            leg.gone.is_none()
                && (leg.start, leg.end, &leg.outcome) == (start, at, &ending.outcome)
                && (leg.talk_seconds, &leg.manager) == (talk_seconds, &call.manager)
        };
        let repeated = self.calls.legs_of(&call.id).find(same).map(|leg| leg.moment);
        if let Some(index) = repeated.and_then(|moment| self.calls.leg_of_moment(moment)) {
            // The same leg again: it fills what was absent.
            let leg = &mut self.calls.legs[index];
            if leg.leg_id.is_none() {
                leg.leg_id.clone_from(&ending.leg);
            }
            if leg.named.is_empty()
                && let Some(id) = &call.entity
                && self.entity(id, at, moment).is_some()
            {
                let actor = self.entities[id].responsible().map(str::to_owned);
                let leg = &mut self.calls.legs[index];
                leg.named.push((id.clone(), moment));
                if leg.belongs.iter().all(|(own, _)| own != id) {
                    leg.belongs.push((id.clone(), moment));
                }
                leg.attribution.who = leg.attribution.who.take().or(actor.clone());
                leg.actor = leg.actor.take().or(actor);
            }
            self.calls_changed(changed, moment);
            return;
        }
        let mut replaces = false;
        if let Some(id) = &ending.leg
            && let Some(leg) =
                self.calls.legs.iter_mut().find(|leg| leg.gone.is_none() && leg.leg_id.as_ref() == Some(id))
        {
            leg.gone = Some(moment);
            replaces = true;
            changed.push(leg.call.clone());
        }

        let (entities, primary) = self.resolve_entities(call.entity.as_ref(), None, number.as_deref(), at, moment);
        let answered = ending.outcome == "ANSWERED";
        let by_person = ending.answered_by.as_ref().is_none_or(|by| by == "PERSON");
        let by_machine = ending.outcome == "VOICEMAIL"
            || ending.answered_by.as_ref().is_some_and(|by| ["IVR", "VOICEMAIL"].contains(&by.as_str()));
        let nobodys = self.conversation_needs_manager && !call.outbound && call.manager.is_none();
        let named = call.entity.clone().filter(|id| entities.contains(id));
        let leg = Leg {
            moment,
            gone: None,
            call: call.id.clone(),
            leg_id: ending.leg.clone(),
            replaces,
            outbound: call.outbound,
            number,
            start,
            end: at,
            rang_until: answered_at.filter(|_| by_machine).unwrap_or(at),
            outcome: ending.outcome.clone(),
            talk_seconds,
            conversation: answered && by_person && !nobodys && talk_seconds >= self.min_talk_seconds,
            manager: call.manager.clone(),
            actor: self.actor(call.manager.as_ref(), primary.as_ref()),
            attribution: self.attribution(call.manager.as_ref(), primary),
            belongs: entities.into_iter().map(|id| (id, moment)).collect(),
            named: named.into_iter().map(|id| (id, moment)).collect(),
        };
        self.calls.push_leg(leg);
        self.calls_changed(changed, moment);
    }

    /// Corrects the acts of entities to what is now known of these calls.
    fn calls_changed(&mut self, changed: Vec<String>, moment: usize) {
        let keys: BTreeSet<Key> = changed.iter().map(|call| self.calls.key(call, moment)).collect();
        for key in keys {
            let group = self.calls.group(&key, moment);
            // What an entity had counts for the one into which it was merged.
            let mut touches: BTreeMap<EntityId, (i64, usize, String)> = BTreeMap::new();
            for (id, touch) in group.touches(moment) {
                let all = touches.entry(self.survivor_at(&id, moment).clone()).or_insert_with(|| touch.clone());
                *all = touch.min(all.clone());
            }
            let talks: Vec<(i64, String)> = group.conversations().map(|leg| (leg.start, leg.call.clone())).collect();
            let entities = group.entities(moment).into_iter().map(|id| self.survivor_at(id, moment).clone());
            let entities: BTreeSet<EntityId> = entities.collect();
            // The calls that this one consists of.
            let own: BTreeSet<String> = self.calls.calls_of(&key, moment).into_iter().map(str::to_owned).collect();
            let mut ids: BTreeSet<EntityId> = touches.keys().chain(&entities).cloned().collect();
            for call in &own {
                let acted_on = self.acted_on.entry(call.clone()).or_default();
                acted_on.extend(ids.iter().cloned());
                ids.extend(acted_on.iter().cloned());
            }
            for id in ids {
                let touch = touches.get(&id).map(|(date, _, call)| (*date, call.clone()));
                let conversations = if entities.contains(&id) { talks.clone() } else { Vec::new() };
                let entity = self.entities.get_mut(&id).unwrap();
                if entity.deleted.is_some() {
                    continue;
                }
                let new = correct(&mut entity.touches, touch.into_iter().collect(), &own, moment);
                if !new.is_empty() {
                    self.date_idle_back(&id, moment);
                }
                let entity = self.entities.get_mut(&id).unwrap();
                correct(&mut entity.conversations, conversations.clone(), &own, moment);
                correct(&mut entity.two_way_contacts, conversations, &own, moment);
                for act in new {
                    self.idle_from(&id, act.date, moment, true);
                }
            }
        }
        self.call_changes.insert(moment, changed);
    }

    /// "Last touch": the touch that a clock of `neglected` counts from turned out to be earlier.
    fn date_idle_back(&mut self, id: &EntityId, moment: usize) {
        let first_seen = self.first_seen;
        let entity = self.entities.get_mut(id).unwrap();
        let Some(since) = entity.idle_since.filter(|_| readings::AN_EARLIER_TOUCH_MOVES_THE_NEGLECTED_CLOCK) else {
            return;
        };
        let was_touch = entity.touches.iter().any(|act| act.gone == Some(moment) && act.date.max(first_seen) == since);
        let last = entity.standing_touches().map(|act| act.date).max().max(entity.left_waiting);
        if let Some(last) = last.filter(|last| was_touch && last.max(&first_seen) < &since) {
            entity.idle.last_mut().unwrap().dated_back = Some(moment);
            entity.idle_since = None;
            self.idle_from(id, last, moment, true);
        }
    }

    fn message(&mut self, m: &Message, at: i64, moment: usize) {
        self.all_managers.extend(m.manager.clone());
        let contact = m.contacts.first();
        let (entities, primary) =
            self.resolve_entities(m.entity.as_ref(), m.thread.as_deref(), contact.map(String::as_str), at, moment);
        if let (Some(thread), Some(primary)) = (&m.thread, &primary)
            && (!m.automatic || readings::AUTOMATIC_MESSAGES_TIE_THREADS)
        {
            self.threads.entry(thread.clone()).or_insert_with(|| primary.clone());
        }
        let who = self.actor(m.manager.as_ref(), primary.as_ref());
        // Decision 22: automatic messages count in `messages`.
        self.messages.push(Fact { date: at, who: who.clone(), value: (m.sent, m.channel.clone()) });
        if !m.sent
            && let Some(contact) = contact
        {
            let closed_at = self.closed_at(contact, &entities);
            self.received.push(ReceivedMessage {
                at,
                moment,
                contact: contact.clone(),
                id: m.id.clone(),
                key: message_key(&m.id),
                thread: m.thread.clone(),
                channel: m.channel.clone(),
                automatic: m.automatic,
                entities: entities.clone(),
                closed_at,
                attribution: self.attribution(m.manager.as_ref(), primary.clone()),
            });
        }
        if m.automatic {
            return;
        }
        if m.sent {
            self.touch(&entities, &Act { by: who.clone(), ..Act::new(at, moment) });
            self.touches.push(Fact { date: at, who, value: () });
            self.sent.push(SentMessage {
                at,
                moment,
                contact: contact.cloned(),
                thread: m.thread.clone(),
                in_reply_to: m.in_reply_to.clone(),
                who: self.owner(m.manager.as_ref(), primary.as_ref()),
            });
        } else {
            for id in &entities {
                let entity = self.entities.get_mut(id).unwrap();
                entity.heard.push(Act::new(at, moment));
                // Decision 2: two-way contact by message follows event order.
                if entity.standing_touches().next().is_some() {
                    entity.two_way_contacts.push(Act::new(at, moment));
                }
            }
        }
    }

    /// The latest standing closing of the entities that have the contact or that the message belongs to, if none of them
    /// is open.
    fn closed_at(&self, contact: &str, entities: &[EntityId]) -> Option<i64> {
        let by_contact = self.entities_by_contact.get(contact).into_iter().flat_map(|of| of.keys());
        let all = by_contact.chain(entities).map(|id| &self.entities[id]).filter(|entity| entity.deleted.is_none());
        let closings: Option<Vec<i64>> = all.map(|entity| entity.current_closing().map(|closing| closing.at)).collect();
        closings?.into_iter().max()
    }
}

/// The moves of one entity at one instant.
fn moves_at(events: &[Event]) -> BTreeMap<(i64, EntityId), Vec<(usize, StageChange)>> {
    let mut moves: BTreeMap<(i64, EntityId), Vec<(usize, StageChange)>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        if let Body::StageChanged(change) = &event.body {
            moves.entry((event.at, change.entity.clone())).or_default().push((index + 1, change.clone()));
        }
    }
    moves
}

/// Corrects the acts of an entity that these calls make. Returns the new ones.
fn correct(acts: &mut Vec<Act>, wanted: Vec<(i64, String)>, own: &BTreeSet<String>, moment: usize) -> Vec<Act> {
    let mut missing = wanted;
    for act in
        acts.iter_mut().filter(|act| act.gone.is_none() && act.call.as_ref().is_some_and(|call| own.contains(call)))
    {
        match missing.iter().position(|(date, _)| *date == act.date) {
            Some(index) => drop(missing.remove(index)),
            None => act.gone = Some(moment),
        }
    }
    let new = missing.into_iter().map(|(date, call)| Act { gone: None, call: Some(call), ..Act::new(date, moment) });
    let new: Vec<Act> = new.collect();
    acts.extend(new.iter().cloned());
    new
}

/// The stage information of an event.
struct StageUpdate<'a> {
    stage: Option<&'a String>,
    from: Option<&'a String>,
    date: Option<i64>,
    kind: UpdateKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UpdateKind {
    /// `stage_changed`.
    Moved,
    Snapshot,
    /// Created or reopened in the stage: not a move.
    Placed,
}

/// The pipeline of an event relative to that of the entity.
#[derive(PartialEq, Eq)]
enum PipelineChange {
    Same,
    First,
    Another(String),
}

/// The stages of the entity's current pipeline that it has visited so far.
fn visited(entity: &Entity, pipelines: &Pipelines) -> BTreeSet<String> {
    let visits = entity.visits.iter().filter(|visit| visit.pipeline == entity.pipeline).map(|visit| &visit.stage);
    let left_stages =
        entity.left_stages.iter().filter(|(pipeline, _)| *pipeline == entity.pipeline).map(|(_, stage)| stage);
    let mut visited: BTreeSet<String> = visits.chain(left_stages).cloned().collect();
    let pipeline = entity.pipeline.as_ref().and_then(|name| pipelines.get(name));
    if let (Some(unknown_past), Some(pipeline)) = (&entity.unknown_past, pipeline)
        && unknown_past.pipeline == entity.pipeline
    {
        visited.extend(pipeline.stages[..unknown_past.known_before(pipeline)].iter().map(|stage| stage.id.clone()));
    }
    visited
}

impl UnknownPast {
    /// The number of stages of its pipeline that count as visited, and as reached before any window.
    pub fn known_before(&self, pipeline: &Pipeline) -> usize {
        let from = self.from.as_ref().and_then(|from| pipeline.order(from));
        from.map(|from| from + 1).or(pipeline.order(&self.first)).unwrap_or(0)
    }
}

fn fill<T: Clone>(held: &mut Option<T>, reported: &Option<T>) {
    if held.is_none() {
        held.clone_from(reported);
    }
}

fn replace<T: Clone>(held: &mut Option<T>, reported: &Option<T>) {
    if reported.is_some() {
        held.clone_from(reported);
    }
}

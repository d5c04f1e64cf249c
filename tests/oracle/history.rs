//! One tenant's events, replayed once in the order of effect into plain dated histories.
//!
//! Nothing is judged here and nothing is forgotten. A **moment** is a number of events applied: what event number *i*
//! (from 1) did is known from moment *i* on, and a timer at instant *t* sees [`World::moment_at`]`(t)`, that is every
//! event up to and including *t* (decision 3: events go before deadlines). An act has a date and the moment when it
//! became known (decision 2).

use std::collections::{BTreeMap, BTreeSet};

use super::decode::{Body, Call, Ending, Event, Message, Object, Outcome, Terms, Topic};
use super::identity::{EntityId, Kind};
use super::norms::{Norms, Pipeline, Pipelines, Scope};
use super::readings;

pub const UNKNOWN: &str = "unknown";

/// Currency, minor units.
pub type Money = (String, i64);

/// A touch or a contact both ways, on an entity's history.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    pub date: i64,
    pub moment: usize,
}

/// The instant of creation, once it is known.
#[derive(Clone, Copy, Debug)]
pub struct Creation {
    pub at: i64,
    pub moment: usize,
}

/// A first-response clock that runs.
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
    /// Touches known when it takes effect.
    pub touches: usize,
    pub scope: Scope,
    /// Responsible at the closing (decision 5).
    pub who: Option<String>,
    pub amount: Option<Money>,
}

/// Where an entity was put: by its creation, a move, a snapshot or a reopening.
#[derive(Clone, Debug)]
pub struct Place {
    /// The entry into the stage.
    pub date: i64,
    pub moment: usize,
    /// As given then, or as named for the first time while nothing was known of it.
    pub pipeline: Option<String>,
    pub stage: String,
    pub scope: Scope,
    /// When its pipeline became known, if that was later.
    pub named: Option<usize>,
    /// It stood here when the pipeline was named: the scope from then on.
    pub named_scope: Option<Scope>,
}

/// Closed or open again.
#[derive(Clone, Debug)]
pub struct Turning {
    pub at: i64,
    pub moment: usize,
    pub open: bool,
    pub scope: Scope,
}

/// Nothing is known of what was before the first known stage (decision 9).
#[derive(Clone, Debug)]
pub struct Past {
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

/// What the rules about moves judge, with what was known then.
#[derive(Clone, Debug)]
pub struct Move {
    pub at: i64,
    pub moment: usize,
    pub scope: Scope,
    pub pipeline: Option<String>,
    /// It left another pipeline.
    pub from_another: bool,
    /// The held stage, else `from_stage_id`; `None`: a placing of which only the requirements are judged.
    pub from: Option<String>,
    pub to: Goal,
    /// The stages of `pipeline` visited before it.
    pub visited: BTreeSet<String>,
    pub fields: BTreeSet<String>,
    pub activities: BTreeSet<String>,
}

/// A clock of `neglected`.
#[derive(Clone, Debug)]
pub struct Idle {
    pub anchor: i64,
    pub moment: usize,
    pub scope: Scope,
    /// From the creation or a reopening, not from a touch.
    pub untouched: bool,
}

#[derive(Debug)]
pub struct Entity {
    pub id: EntityId,
    pub seen: usize,
    pub seen_at: i64,
    pub created: Option<Creation>,
    pub first_response: Option<FirstResponse>,
    /// A deal's lead: the first one named stays (decision 10).
    pub lead: Option<String>,
    /// (moment, manager): who was responsible from when.
    pub managers: Vec<(usize, String)>,
    pub pipeline: Option<String>,
    pub stage: Option<String>,
    pub source: Option<String>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub closings: Vec<Closing>,
    /// The closing that stands (decision 12), as an index of `closings`.
    pub standing: Option<usize>,
    /// (instant, moment).
    pub deleted: Option<(i64, usize)>,
    pub touches: Vec<Act>,
    pub both_ways: Vec<Act>,
    /// Answered calls with talk time.
    pub conversations: Vec<Act>,
    /// `lead_created` or `deal_created` was seen.
    pub creation_event: bool,
    pub places: Vec<Place>,
    pub turnings: Vec<Turning>,
    pub past: Option<Past>,
    /// Every `from_stage_id`, with its pipeline.
    pub froms: Vec<(Option<String>, String)>,
    pub moves: Vec<Move>,
    pub fields: BTreeSet<String>,
    pub activities: BTreeSet<String>,
    pub idle: Vec<Idle>,
    /// The anchor of the clock of `neglected` that runs.
    idle_since: Option<i64>,
}

impl Entity {
    pub fn is_open(&self) -> bool {
        self.standing.is_none() && self.deleted.is_none()
    }

    pub fn standing(&self) -> Option<&Closing> {
        self.standing.map(|index| &self.closings[index])
    }

    pub fn responsible_at(&self, moment: usize) -> Option<&str> {
        self.managers.iter().rev().find(|(since, _)| *since <= moment).map(|(_, manager)| manager.as_str())
    }

    pub fn responsible(&self) -> Option<&str> {
        self.managers.last().map(|(_, manager)| manager.as_str())
    }

    /// The amount by currency; one without a currency is in `unknown`.
    fn money(&self) -> Option<Money> {
        Some((self.currency.clone().unwrap_or(UNKNOWN.to_owned()), self.amount?))
    }

    pub fn amount_won(&self) -> Option<Money> {
        if readings::AMOUNT_WON_AS_KNOWN_AT_T { self.money() } else { self.standing()?.amount.clone() }
    }
}

/// Whom a call or message belongs to, and what that fixed for a clock that starts with it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The event's own `manager_id`.
    pub manager: Option<String>,
    pub primary: Option<EntityId>,
    /// Responsible of the primary entity then, else the event's manager.
    pub who: Option<String>,
    pub scope: Scope,
}

/// A missed call: its end starts the clock.
#[derive(Clone, Debug)]
pub struct Missed {
    pub end: i64,
    pub moment: usize,
    pub call: String,
    pub standing: Standing,
}

/// A call that may answer missed ones: an outbound call, or a conversation.
#[derive(Clone, Debug)]
pub struct CallBack {
    pub date: i64,
    pub moment: usize,
    pub by_staff: bool,
    pub who: Option<String>,
}

/// A message received that asks for an answer.
#[derive(Clone, Debug)]
pub struct Letter {
    pub at: i64,
    pub moment: usize,
    pub id: String,
    pub thread: Option<String>,
    pub channel: String,
    pub entities: Vec<EntityId>,
    pub standing: Standing,
}

/// A message sent or a conversation, as a possible answer to letters.
#[derive(Clone, Debug)]
pub struct Answer {
    pub date: i64,
    pub moment: usize,
    pub conversation: bool,
    pub contact: Option<String>,
    pub thread: Option<String>,
    pub in_reply_to: Option<String>,
    pub entities: Vec<EntityId>,
    pub who: Option<String>,
}

#[derive(Default, Debug)]
pub struct ContactLog {
    pub missed: Vec<Missed>,
    pub call_backs: Vec<CallBack>,
    pub letters: Vec<Letter>,
}

/// A dated fact of a figure and the manager that it counts for (nobody: department `unknown`).
#[derive(Clone, Debug)]
pub struct Fact<T> {
    pub date: i64,
    pub who: Option<String>,
    pub what: T,
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

/// `terms_offered`, for the rules.
#[derive(Clone, Debug)]
pub struct Offered {
    pub at: i64,
    pub moment: usize,
    pub deal: EntityId,
    pub who: Option<String>,
    pub grade: Option<String>,
    pub pipeline: Option<String>,
    /// The event's, else the deal's last known.
    pub amount: Option<i64>,
    pub scope: Scope,
    pub terms: Terms,
}

#[derive(Clone, Debug)]
pub struct Review {
    pub score: f64,
    pub verdict: String,
}

/// What is known of a call while its `call_ended` has not come, and after.
#[derive(Default)]
struct CallState {
    /// Its outbound `call_started` already was the touch: of these entities and to this contact.
    attempted: bool,
    entities: Vec<EntityId>,
    contact: Option<String>,
    ended: bool,
}

pub struct World {
    pub tenant: String,
    /// The instant of the first event seen of the tenant (decision 8).
    pub first_seen: i64,
    /// The instants of the events, in order of effect.
    instants: Vec<i64>,
    /// The topic of each event.
    pub topics: Vec<Topic>,
    pipelines: Pipelines,
    pub entities: BTreeMap<EntityId, Entity>,
    /// (moment, department) of each `manager_upserted`.
    pub managers: BTreeMap<String, Vec<(usize, Option<String>)>>,
    /// Everybody named as a manager: upserted, responsible or acting.
    pub everybody: BTreeSet<String>,
    pub contacts: BTreeMap<String, ContactLog>,
    pub answers: Vec<Answer>,
    pub calls: Vec<Fact<CallFact>>,
    /// `what`: sent, channel.
    pub messages: Vec<Fact<(bool, String)>>,
    pub touches: Vec<Fact<()>>,
    pub meetings: Vec<Fact<()>>,
    pub offers: Vec<Fact<Offer>>,
    pub offered: Vec<Offered>,
    /// (moment, grade) of each `manager_upserted`.
    grades: BTreeMap<String, Option<String>>,
    pub reviews: Vec<Fact<Review>>,
    /// Contact → the entities that list it.
    holders: BTreeMap<String, BTreeSet<EntityId>>,
    /// Decision 10: tied by the first message that belongs to an entity; the tie never moves.
    threads: BTreeMap<String, EntityId>,
    call_states: BTreeMap<String, CallState>,
    min_talk_seconds: f64,
}

impl World {
    /// `events`: one tenant's, in order of effect, without duplicates.
    pub fn replay(tenant: &str, events: &[Event], norms: &Norms) -> World {
        let mut world = World::empty(tenant, events, norms);
        for (index, event) in events.iter().enumerate() {
            world.apply(event, index + 1);
        }
        world
    }

    /// Before the first event; [`World::apply`] takes them one by one.
    pub fn empty(tenant: &str, events: &[Event], norms: &Norms) -> World {
        World {
            tenant: tenant.to_owned(),
            first_seen: events.iter().map(|e| e.at).min().unwrap_or(0),
            instants: events.iter().map(|e| e.at).collect(),
            topics: events.iter().map(|e| e.topic).collect(),
            pipelines: norms.pipelines.clone(),
            entities: BTreeMap::new(),
            managers: BTreeMap::new(),
            everybody: BTreeSet::new(),
            contacts: BTreeMap::new(),
            answers: Vec::new(),
            calls: Vec::new(),
            messages: Vec::new(),
            touches: Vec::new(),
            meetings: Vec::new(),
            offers: Vec::new(),
            offered: Vec::new(),
            grades: BTreeMap::new(),
            reviews: Vec::new(),
            holders: BTreeMap::new(),
            threads: BTreeMap::new(),
            call_states: BTreeMap::new(),
            min_talk_seconds: norms.min_talk_seconds,
        }
    }

    /// How many events a timer at this instant sees.
    pub fn moment_at(&self, at: i64) -> usize {
        self.instants.partition_point(|instant| *instant <= at)
    }

    /// The instant of a moment's last event.
    pub fn instant_of(&self, moment: usize) -> i64 {
        self.instants[moment - 1]
    }

    /// The department of somebody's latest `manager_upserted` by then; nobody's is `unknown` (decision 6).
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
            Body::StageChanged { entity: id, pipeline, from, to, fields } => {
                let Some(entity) = self.entity(id, at, moment) else { return };
                entity.fields.extend(fields.iter().cloned());
                let named = self.pipeline_said(id, pipeline, moment);
                let said = Said { stage: Some(to), from: from.as_ref(), date: None, how: How::Moved };
                self.put(id, at, moment, &said, named);
            }
            Body::Assigned { entity, manager } => self.assign(entity, manager, at, moment),
            Body::Closed { entity, outcome, reason } => self.close(entity, *outcome, reason.as_ref(), at, moment),
            Body::Reopened { entity: id, stage } => {
                let Some(entity) = self.entity(id, at, moment) else { return };
                let was_closed = entity.standing.take().is_some();
                if was_closed {
                    let scope = self.scope_of(id);
                    let entity = self.entities.get_mut(id).unwrap();
                    entity.turnings.push(Turning { at, moment, open: true, scope });
                    self.idle_from(id, at, moment, false);
                }
                if was_closed || readings::REOPENED_PLACES_AN_OPEN_ENTITY {
                    let said = Said { stage: stage.as_ref(), from: None, date: None, how: How::Put };
                    self.put(id, at, moment, &said, Named::Same);
                }
            }
            Body::Deleted { entity } => {
                // An unknown one is created by its deletion: decision 11, deleted is for good.
                if let Some(entity) = self.entity(entity, at, moment) {
                    entity.deleted = Some((at, moment));
                }
            }
            Body::ContactLinked { entity, contact } => {
                if self.entity(entity, at, moment).is_some() {
                    self.link(entity, contact.as_deref());
                }
            }
            Body::TermsOffered(terms) => self.terms(terms, at, moment),
            Body::Activity { entity, manager, kind } => {
                let Some(subject) = self.entity(entity, at, moment) else { return };
                let who = manager.clone().or(subject.responsible().map(str::to_owned));
                subject.activities.insert(kind.clone());
                let (meeting, demo) = (kind == "MEETING", kind == "DEMO");
                if meeting || demo {
                    self.touch(std::slice::from_ref(entity), Act { date: at, moment });
                    let subject = self.entities.get_mut(entity).unwrap();
                    subject.both_ways.push(Act { date: at, moment });
                    self.touches.push(Fact { date: at, who: who.clone(), what: () });
                }
                if meeting {
                    // Decision 22: `meetings` are MEETING.
                    self.meetings.push(Fact { date: at, who, what: () });
                }
                self.everybody.extend(manager.clone());
            }
            Body::Reviewed { manager, score, verdict } => {
                self.everybody.insert(manager.clone());
                let what = Review { score: *score, verdict: verdict.clone() };
                self.reviews.push(Fact { date: at, who: Some(manager.clone()), what });
            }
            Body::Manager { manager, department, grade } => {
                self.grades.insert(manager.clone(), grade.clone());
                // Decision 14: the whole is replaced.
                self.everybody.insert(manager.clone());
                self.managers.entry(manager.clone()).or_default().push((moment, department.clone()));
            }
            Body::CallStarted(call) => self.call_started(call, at, moment),
            Body::CallEnded(call, ending) => self.call_ended(call, ending, at, moment),
            Body::Message(message) => self.message(message, at, moment),
        }
    }

    // ---- entities

    /// The entity of an event: an unknown one is created with unknown creation; `None` if it is deleted (decision 11).
    fn entity(&mut self, id: &EntityId, at: i64, moment: usize) -> Option<&mut Entity> {
        let entity = self.entities.entry(id.clone()).or_insert_with(|| Entity {
            id: id.clone(),
            seen: moment,
            seen_at: at,
            created: None,
            first_response: None,
            lead: None,
            managers: Vec::new(),
            pipeline: None,
            stage: None,
            source: None,
            amount: None,
            currency: None,
            closings: Vec::new(),
            standing: None,
            deleted: None,
            touches: Vec::new(),
            both_ways: Vec::new(),
            conversations: Vec::new(),
            creation_event: false,
            places: Vec::new(),
            turnings: Vec::new(),
            past: None,
            froms: Vec::new(),
            moves: Vec::new(),
            fields: BTreeSet::new(),
            activities: BTreeSet::new(),
            idle: Vec::new(),
            idle_since: None,
        });
        entity.deleted.is_none().then_some(entity)
    }

    /// `lead_created`, `deal_created`. Decision 8: what is known already stays, attributes only fill gaps.
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
        self.link_all(o);
        self.names_lead(o, at, moment);
        let named = if pipeline_known { Named::Same } else { self.pipeline_said(&o.entity, &o.pipeline, moment) };
        self.creation_known(&o.entity, at, moment);
        let stage = if stage_known { None } else { o.stage.as_ref() };
        let said = Said { stage, from: None, date: None, how: How::Put };
        self.put(&o.entity, at, moment, &said, named);
    }

    /// Decision 10: derived are created, assigned, stage moves and closed; absent fields say nothing.
    fn snapshot(&mut self, o: &Object, at: i64, moment: usize) {
        let Some(entity) = self.entity(&o.entity, at, moment) else { return };
        replace(&mut entity.source, &o.source);
        replace(&mut entity.amount, &o.amount);
        replace(&mut entity.currency, &o.currency);
        entity.fields.extend(o.fields.iter().cloned());
        if let Some(manager) = &o.manager {
            self.assign(&o.entity, manager, at, moment);
        }
        self.link_all(o);
        self.names_lead(o, at, moment);
        let named = self.pipeline_said(&o.entity, &o.pipeline, moment);
        if let Some(created_at) = o.created_at {
            // A creation cannot lie after the event that tells of it.
            self.creation_known(&o.entity, created_at.min(at), moment);
        }
        // Shown as it was created, it is as if its creation had been told: the same story by other means.
        let entity = self.entities.get_mut(&o.entity).unwrap();
        let shown = o.stage.as_ref().and(o.stage_entered_at).map_or(at, |entered| entered.min(at));
        if entity.stage.is_none() && entity.created.is_some_and(|created| shown <= created.at) {
            entity.creation_event = true;
        }
        let said = Said { stage: o.stage.as_ref(), from: None, date: o.stage_entered_at, how: How::Snapshot };
        self.put(&o.entity, at, moment, &said, named);
        if let Some(outcome) = o.outcome {
            // Dated `occurred_at`; without an outcome nothing is reopened.
            self.close(&o.entity, outcome, o.reason.as_ref(), at, moment);
        }
    }

    // ---- stages

    /// A pipeline that an event names. Named for the first time it is that of everything before; the stay goes on.
    fn pipeline_said(&mut self, id: &EntityId, said: &Option<String>, moment: usize) -> Named {
        let entity = self.entities.get_mut(id).unwrap();
        let Some(said) = said else { return Named::Same };
        match entity.pipeline.replace(said.clone()) {
            None => {
                let fill = |held: &mut Option<String>| *held = held.take().or(Some(said.clone()));
                for place in &mut entity.places {
                    fill(&mut place.pipeline);
                    place.named = Some(moment);
                }
                entity.froms.iter_mut().for_each(|(pipeline, _)| fill(pipeline));
                entity.past.iter_mut().for_each(|past| fill(&mut past.pipeline));
                Named::First
            }
            Some(old) if old != *said => Named::Another(old),
            Some(_) => Named::Same,
        }
    }

    /// An entity is put into a stage, or moves there, or is told to be where it is.
    fn put(&mut self, id: &EntityId, at: i64, moment: usize, said: &Said, named: Named) {
        let scope = self.scope_of(id);
        let pipelines = self.pipelines.clone();
        let entity = self.entities.get_mut(id).unwrap();
        if named == Named::First
            && let Some(place) = entity.places.last_mut()
        {
            place.named_scope = Some(scope.clone());
        }
        if let Some(from) = said.from {
            // It was left: in a change of pipeline it was a stage of the old one.
            let pipeline = if let Named::Another(old) = &named { Some(old.clone()) } else { entity.pipeline.clone() };
            entity.froms.push((pipeline, from.clone()));
        }
        let from_another = matches!(named, Named::Another(_));
        let held = entity.stage.clone();
        // A snapshot may name another pipeline and no stage: the stage goes along.
        let to = match (said.stage, &held) {
            (Some(stage), _) => stage.clone(),
            (None, Some(held)) if from_another => held.clone(),
            _ => return,
        };
        if held.as_ref() == Some(&to) && !from_another {
            return;
        }
        let mut date = said.date.unwrap_or(at).min(at);
        if let Some(place) = entity.places.last() {
            // Decision 10: between the entry into the held stage and `occurred_at`.
            date = date.max(place.date);
            if !readings::STAGE_DATE_MAY_PRECEDE_A_REOPENING
                && let Some(turning) = entity.turnings.last()
            {
                date = date.max(turning.at);
            }
        }
        if held.is_none() {
            // Decision 9: from or after its own creation event, or a snapshot whose stage is dated at its creation.
            if !entity.creation_event {
                let pipeline = entity.pipeline.clone();
                entity.past = Some(Past { pipeline, first: to.clone(), from: said.from.cloned() });
            }
        }
        let (judged, from) = match said.how {
            How::Put => (false, None),
            How::Snapshot => (held.is_some(), held),
            How::Moved => (true, held.or(said.from.cloned())),
        };
        if judged {
            let visited = visited(entity, &pipelines);
            entity.moves.push(Move {
                at,
                moment,
                scope: scope.clone(),
                pipeline: entity.pipeline.clone(),
                from_another,
                from,
                to: Goal::Stage(to.clone()),
                visited,
                fields: entity.fields.clone(),
                activities: entity.activities.clone(),
            });
        }
        entity.stage = Some(to.clone());
        let pipeline = entity.pipeline.clone();
        entity.places.push(Place { date, moment, pipeline, stage: to, scope, named: None, named_scope: None });
    }

    /// A clock of `neglected` starts, unless one runs that is as young (decision 8: never before the first event seen).
    fn idle_from(&mut self, id: &EntityId, date: i64, moment: usize, touch: bool) {
        let anchor = date.max(self.first_seen);
        let scope = self.scope_of(id);
        let entity = self.entities.get_mut(id).unwrap();
        // "Last touch, else creation": the first touch goes before the creation, also if it is dated earlier.
        let first = touch && entity.touches.len() == 1 && entity.turnings.is_empty();
        if entity.is_open() && (first || entity.idle_since.is_none_or(|since| anchor > since)) {
            entity.idle_since = Some(anchor);
            entity.idle.push(Idle { anchor, moment, scope, untouched: !touch });
        }
    }

    /// The first word on the creation stands. It starts the first-response clock of a lead, or of a deal that has no lead
    /// then (learning the lead later changes nothing, decision 10), in the scope that holds now (decision 7), unless
    /// the creation is earlier than the first event seen of the tenant (decision 8).
    fn creation_known(&mut self, id: &EntityId, created_at: i64, moment: usize) {
        let scope = self.scope_of(id);
        let first_seen = self.first_seen;
        let entity = self.entities.get_mut(id).unwrap();
        if entity.created.is_some() {
            return;
        }
        entity.created = Some(Creation { at: created_at, moment });
        let idle = entity.idle_since.is_none() && entity.touches.is_empty();
        let owed = id.kind == Kind::Lead || entity.lead.is_none();
        if owed && created_at >= first_seen {
            entity.first_response = Some(FirstResponse { created_at, moment, scope });
        }
        if idle {
            self.idle_from(id, created_at, moment, false);
        }
    }

    /// Decision 7: the responsible's department, the entity's pipeline, its source (a deal's: its own, else its lead's).
    fn scope_of(&self, id: &EntityId) -> Scope {
        let entity = &self.entities[id];
        let lead = entity.lead.as_ref().and_then(|lead| self.entities.get(&EntityId::lead(lead)));
        Scope {
            tenant: self.tenant.clone(),
            department: self.department_at(entity.responsible(), usize::MAX).to_owned(),
            pipeline: entity.pipeline.clone(),
            source: entity.source.clone().or_else(|| lead?.source.clone()),
        }
    }

    fn assign(&mut self, id: &EntityId, manager: &str, at: i64, moment: usize) {
        if let Some(entity) = self.entity(id, at, moment) {
            entity.managers.push((moment, manager.to_owned()));
            self.everybody.insert(manager.to_owned());
        }
    }

    /// Decision 12: the same outcome again changes nothing, another one replaces the closing and is a new act.
    fn close(&mut self, id: &EntityId, outcome: Outcome, reason: Option<&String>, at: i64, moment: usize) {
        let Some(entity) = self.entity(id, at, moment) else { return };
        if entity.standing().is_some_and(|closing| closing.outcome == outcome) {
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
                from_another: false,
                from: entity.stage.clone(),
                to: Goal::Closed(goal),
                visited,
                fields: BTreeSet::new(),
                activities: BTreeSet::new(),
            });
        }
        let who = entity.responsible().map(str::to_owned);
        if entity.is_open() {
            entity.turnings.push(Turning { at, moment, open: false, scope: scope.clone() });
        }
        entity.idle_since = None;
        let (touches, amount) = (entity.touches.len(), entity.money());
        entity.closings.push(Closing { at, moment, outcome, reason: reason.cloned(), touches, scope, who, amount });
        entity.standing = Some(entity.closings.len() - 1);
    }

    /// Decision 12: a deal's first naming of an open lead closes it as CONVERTED at that instant; not one that was unknown
    /// when it was named. Decision 10: the first lead stays.
    fn names_lead(&mut self, o: &Object, at: i64, moment: usize) {
        let Some(lead) = &o.lead else { return };
        let deal = self.entities.get_mut(&o.entity).unwrap();
        if deal.lead.is_some() {
            return;
        }
        deal.lead = Some(lead.clone());
        let lead = EntityId::lead(lead);
        if self.entities.get(&lead).is_some_and(Entity::is_open) {
            self.close(&lead, Outcome::Converted, None, at, moment);
        }
    }

    fn link(&mut self, id: &EntityId, contact: Option<&str>) {
        if let Some(contact) = contact {
            self.holders.entry(contact.to_owned()).or_default().insert(id.clone());
        }
    }

    fn link_all(&mut self, o: &Object) {
        for contact in &o.contacts {
            self.link(&o.entity, contact.as_deref());
        }
    }

    fn terms(&mut self, terms: &Terms, at: i64, moment: usize) {
        let id = EntityId::deal(&terms.deal);
        let Some(deal) = self.entity(&id, at, moment) else { return };
        if readings::TERMS_SET_THE_DEALS_AMOUNT {
            replace(&mut deal.amount, &terms.amount);
            replace(&mut deal.currency, &terms.currency);
        }
        let who = terms.manager.clone().or(deal.responsible().map(str::to_owned));
        // Special: any discount, instalment, or prepayment under 100 %.
        let special = terms.discount.is_some_and(|percent| percent > 0.0)
            || terms.installment.is_some_and(|months| months > 0)
            || terms.prepayment.is_some_and(|percent| percent < 100.0);
        self.everybody.extend(terms.manager.clone());
        // Decision 17: none given = 0.
        let what = Offer { deal: terms.deal.clone(), special, discount: terms.discount.unwrap_or(0.0) };
        self.offers.push(Fact { date: at, who: who.clone(), what });
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

    /// Semantics, *Identity*: the entities a call or message belongs to, and the primary one.
    fn belongs(
        &mut self,
        entity: Option<&EntityId>,
        thread: Option<&str>,
        contact: Option<&str>,
        at: i64,
        moment: usize,
    ) -> (Vec<EntityId>, Option<EntityId>) {
        // Decision 11: what names a deleted entity goes by the contact. An unknown one is created.
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
        let holders = contact.and_then(|contact| self.holders.get(contact));
        let open: Vec<&Entity> =
            holders.into_iter().flatten().map(|id| &self.entities[id]).filter(|e| e.is_open()).collect();
        let primary = open.iter().max_by_key(|e| {
            let unknown = if readings::UNKNOWN_CREATION_IS_OLDEST { i64::MIN } else { e.seen_at };
            (e.created.map_or(unknown, |c| c.at), e.seen)
        });
        (open.iter().map(|e| e.id.clone()).collect(), primary.map(|e| e.id.clone()))
    }

    /// Decision 5: the event's manager, else the responsible of the primary entity.
    fn actor(&self, manager: Option<&String>, primary: Option<&EntityId>) -> Option<String> {
        manager.cloned().or_else(|| self.entities[primary?].responsible().map(str::to_owned))
    }

    /// Decisions 5 and 7, for contact clocks and lags: responsible of the primary entity, else the event's manager.
    fn owner(&self, manager: Option<&String>, primary: Option<&EntityId>) -> Option<String> {
        primary.and_then(|id| self.entities[id].responsible()).or(manager.map(String::as_str)).map(str::to_owned)
    }

    fn standing(&self, manager: Option<&String>, primary: Option<EntityId>) -> Standing {
        let who = self.owner(manager, primary.as_ref());
        let mut scope = match &primary {
            Some(id) => self.scope_of(id),
            None => Scope { tenant: self.tenant.clone(), department: UNKNOWN.to_owned(), pipeline: None, source: None },
        };
        // Without an entity (or a responsible): the department of the event's manager.
        scope.department = self.department_at(who.as_deref(), usize::MAX).to_owned();
        Standing { manager: manager.cloned(), primary, who, scope }
    }

    fn touch(&mut self, entities: &[EntityId], act: Act) {
        for id in entities {
            self.entities.get_mut(id).unwrap().touches.push(act);
            self.idle_from(id, act.date, act.moment, true);
        }
    }

    /// Decision 2: an outbound `call_started` is an attempt at its own instant. Of an inbound one nothing counts yet.
    fn call_started(&mut self, call: &Call, at: i64, moment: usize) {
        if self.call_states.contains_key(&call.id) {
            return;
        }
        self.everybody.extend(call.manager.clone());
        let (entities, primary) = self.belongs(call.entity.as_ref(), None, call.phone.as_deref(), at, moment);
        let mut state = CallState::default();
        if call.outbound {
            self.touch(&entities, Act { date: at, moment });
            let who = self.actor(call.manager.as_ref(), primary.as_ref());
            self.touches.push(Fact { date: at, who, what: () });
            self.call_back(call, primary.as_ref(), at, moment);
            state = CallState { attempted: true, entities, contact: call.phone.clone(), ended: false };
        }
        self.call_states.insert(call.id.clone(), state);
    }

    fn call_ended(&mut self, call: &Call, ending: &Ending, at: i64, moment: usize) {
        let state = self.call_states.entry(call.id.clone()).or_default();
        if state.ended {
            // Decision 26: a call counts once for ever.
            return;
        }
        state.ended = true;
        let (attempted, attempted_entities, attempted_contact) =
            (state.attempted, std::mem::take(&mut state.entities), state.contact.take());

        self.everybody.extend(call.manager.clone());
        let (entities, primary) = self.belongs(call.entity.as_ref(), None, call.phone.as_deref(), at, moment);
        let who = self.actor(call.manager.as_ref(), primary.as_ref());
        // Decision 22: dated `started_at`; missing: the end.
        let date = ending.started_at.map_or(at, |started| started.min(at));
        let conversation = ending.answered && ending.talk_seconds >= self.min_talk_seconds;
        let talk_seconds = if conversation { ending.talk_seconds } else { 0.0 };
        let what = CallFact { outbound: call.outbound, conversation, talk_seconds };
        self.calls.push(Fact { date, who: who.clone(), what });

        if call.outbound || conversation {
            // Entities that the attempt touched are not touched again; those that join now get their touch now.
            let joining: Vec<EntityId> =
                entities.iter().filter(|id| !attempted_entities.contains(id)).cloned().collect();
            self.touch(&joining, Act { date, moment });
            if !attempted {
                self.touches.push(Fact { date, who, what: () });
            }
        }
        // Whether it was a conversation matters to all whom the call touched.
        let mut met = entities;
        met.extend(attempted_entities.into_iter().filter(|id| self.entities[id].deleted.is_none()));
        met.sort();
        met.dedup();
        if conversation {
            for id in &met {
                let entity = self.entities.get_mut(id).unwrap();
                entity.both_ways.push(Act { date, moment });
                entity.conversations.push(Act { date, moment });
            }
            self.answers.push(Answer {
                date,
                moment,
                conversation: true,
                contact: call.phone.clone(),
                thread: None,
                in_reply_to: None,
                entities: met,
                who: self.owner(call.manager.as_ref(), primary.as_ref()),
            });
        }
        let rang_already = attempted && attempted_contact == call.phone;
        if (call.outbound || conversation) && !rang_already {
            self.call_back(call, primary.as_ref(), date, moment);
        } else if !call.outbound
            && !conversation
            && let Some(contact) = &call.phone
        {
            let standing = self.standing(call.manager.as_ref(), primary);
            let missed = Missed { end: at, moment, call: call.id.clone(), standing };
            self.contacts.entry(contact.clone()).or_default().missed.push(missed);
        }
    }

    fn call_back(&mut self, call: &Call, primary: Option<&EntityId>, date: i64, moment: usize) {
        let Some(contact) = &call.phone else { return };
        let who = self.owner(call.manager.as_ref(), primary);
        let call_back = CallBack { date, moment, by_staff: call.outbound, who };
        self.contacts.entry(contact.clone()).or_default().call_backs.push(call_back);
    }

    fn message(&mut self, m: &Message, at: i64, moment: usize) {
        self.everybody.extend(m.manager.clone());
        let (entities, primary) =
            self.belongs(m.entity.as_ref(), m.thread.as_deref(), m.contact.as_deref(), at, moment);
        if let (Some(thread), Some(primary)) = (&m.thread, &primary)
            && (!m.automatic || readings::AUTOMATIC_MESSAGES_TIE_THREADS)
        {
            self.threads.entry(thread.clone()).or_insert_with(|| primary.clone());
        }
        let who = self.actor(m.manager.as_ref(), primary.as_ref());
        // Decision 22: automatic messages are counted.
        self.messages.push(Fact { date: at, who: who.clone(), what: (m.sent, m.channel.clone()) });
        if m.automatic {
            return;
        }
        if m.sent {
            self.touch(&entities, Act { date: at, moment });
            self.touches.push(Fact { date: at, who, what: () });
            self.answers.push(Answer {
                date: at,
                moment,
                conversation: false,
                contact: m.contact.clone(),
                thread: m.thread.clone(),
                in_reply_to: m.in_reply_to.clone(),
                who: self.owner(m.manager.as_ref(), primary.as_ref()),
                entities,
            });
        } else {
            for id in &entities {
                let entity = self.entities.get_mut(id).unwrap();
                // Decision 2: contact both ways by message goes by the order of effect.
                if !entity.touches.is_empty() {
                    entity.both_ways.push(Act { date: at, moment });
                }
            }
            // Decision 15: no normal form, no clock.
            if let Some(contact) = &m.contact {
                let letter = Letter {
                    at,
                    moment,
                    id: m.id.clone(),
                    thread: m.thread.clone(),
                    channel: m.channel.clone(),
                    entities,
                    standing: self.standing(m.manager.as_ref(), primary),
                };
                self.contacts.entry(contact.clone()).or_default().letters.push(letter);
            }
        }
    }
}

/// What an event says of a stage.
struct Said<'a> {
    stage: Option<&'a String>,
    from: Option<&'a String>,
    date: Option<i64>,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// `stage_changed`.
    Moved,
    Snapshot,
    /// Created there, or reopened there: no move.
    Put,
}

/// What an event's pipeline was to the entity.
#[derive(PartialEq, Eq)]
enum Named {
    Same,
    First,
    Another(String),
}

/// The stages of the entity's present pipeline that it has visited so far.
fn visited(entity: &Entity, pipelines: &Pipelines) -> BTreeSet<String> {
    let places = entity.places.iter().filter(|place| place.pipeline == entity.pipeline).map(|place| &place.stage);
    let froms = entity.froms.iter().filter(|(pipeline, _)| *pipeline == entity.pipeline).map(|(_, stage)| stage);
    let mut visited: BTreeSet<String> = places.chain(froms).cloned().collect();
    let pipeline = entity.pipeline.as_ref().and_then(|name| pipelines.get(name));
    if let (Some(past), Some(pipeline)) = (&entity.past, pipeline)
        && past.pipeline == entity.pipeline
    {
        visited.extend(pipeline.stages[..past.known_before(pipeline)].iter().map(|stage| stage.id.clone()));
    }
    visited
}

impl Past {
    /// How many stages of its pipeline count as visited, and as reached before any window.
    pub fn known_before(&self, pipeline: &Pipeline) -> usize {
        let from = self.from.as_ref().and_then(|from| pipeline.order(from));
        from.map(|from| from + 1).or(pipeline.order(&self.first)).unwrap_or(0)
    }
}

fn fill<T: Clone>(held: &mut Option<T>, said: &Option<T>) {
    if held.is_none() {
        held.clone_from(said);
    }
}

fn replace<T: Clone>(held: &mut Option<T>, said: &Option<T>) {
    if said.is_some() {
        held.clone_from(said);
    }
}

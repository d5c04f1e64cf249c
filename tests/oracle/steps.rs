//! Plans (next steps) of entities, the time without one, stages in which an entity waits for the customer, and moves of one
//! instant that form a chain.

use super::decode::{Planned, StageChange};
use super::history::{Entity, Fact, TenantHistory};
use super::identity::EntityId;
use super::norms::Scope;
use super::rules::Ending;

/// A planned activity.
#[derive(Clone, Debug)]
pub struct Plan {
    pub activity: String,
    pub made: i64,
    /// The deadlines that it had, the present one last. One without a date has no clock.
    pub terms: Vec<Term>,
    pub ended: bool,
}

/// A deadline of a plan, and the end of its clock.
#[derive(Clone, Debug)]
pub struct Term {
    pub deadline: Option<i64>,
    pub moment: usize,
    pub scope: Scope,
    pub end: Option<Ending>,
}

impl Plan {
    pub fn deadline(&self) -> Option<i64> {
        self.terms.last().and_then(|term| term.deadline)
    }
}

/// A clock of `next_step_missing`.
#[derive(Clone, Debug)]
pub struct Bare {
    pub anchor: i64,
    pub moment: usize,
    pub scope: Scope,
    /// `planned`, `waiting`.
    pub ends: Vec<Ending>,
}

/// What figures count of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanFact {
    Made,
    Done { in_time: bool },
    Moved,
}

impl Entity {
    pub fn open_plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter().filter(|plan| !plan.ended)
    }
}

impl TenantHistory {
    pub(super) fn plan(&mut self, planned: &Planned, at: i64, moment: usize) {
        self.all_managers.extend(planned.manager.clone());
        if self.first_plan.is_none() {
            // From now on entities can be without a plan.
            self.first_plan = Some(at);
            let ids: Vec<EntityId> = self.entities.keys().cloned().collect();
            for id in ids {
                if self.entities[&id].bare_since.is_some() {
                    self.start_bare(&id, moment);
                }
            }
        }
        let id = &planned.entity;
        let Some(entity) = self.entity(id, at, moment) else { return };
        let who = planned.manager.clone().or(entity.responsible().map(str::to_owned));
        let open = entity.is_open();
        let scope = self.scope_of(id);
        let entity = self.entities.get_mut(id).unwrap();
        let term = Term { deadline: planned.deadline, moment, scope, end: None };
        if let Some(plan) = entity.plans.iter_mut().find(|plan| !plan.ended && plan.activity == planned.activity) {
            let before = plan.deadline();
            if before != planned.deadline {
                plan.terms.last_mut().unwrap().end = Some(Ending::new(at, moment, "rescheduled"));
                plan.terms.push(term);
                if before.is_some() {
                    self.plan_facts.push(Fact { date: at, who, value: PlanFact::Moved });
                }
            }
            return;
        }
        self.plan_facts.push(Fact { date: at, who, value: PlanFact::Made });
        if open {
            entity.plans.push(Plan { activity: planned.activity.clone(), made: at, terms: vec![term], ended: false });
            entity.bare_since = None;
            entity.bare.iter_mut().for_each(|bare| bare.ends.push(Ending::new(at, moment, "planned")));
        }
    }

    /// `manager`: the event's; given if the plan was done.
    pub(super) fn end_plan(
        &mut self,
        id: &EntityId,
        activity: &str,
        done: Option<Option<&String>>,
        at: i64,
        moment: usize,
    ) {
        let entity = self.entities.get_mut(id).unwrap();
        let responsible = entity.responsible().map(str::to_owned);
        let Some(plan) = entity.plans.iter_mut().find(|plan| !plan.ended && plan.activity == activity) else { return };
        plan.ended = true;
        let resolution = if done.is_some() { "done" } else { "cancelled" };
        plan.terms.last_mut().unwrap().end = Some(Ending::new(at, moment, resolution));
        if let Some(manager) = done {
            let in_time = plan.deadline().is_some_and(|deadline| at <= deadline);
            let who = manager.cloned().or(responsible);
            self.plan_facts.push(Fact { date: at, who, value: PlanFact::Done { in_time } });
        }
        let entity = self.entities.get_mut(id).unwrap();
        entity.last_plan_ended = Some(at);
        self.bare_from(id, at, moment);
    }

    /// Plans end with their entity.
    pub(super) fn end_plans(&mut self, id: &EntityId, at: i64, moment: usize, resolution: &'static str) {
        let entity = self.entities.get_mut(id).unwrap();
        entity.bare_since = None;
        for plan in entity.plans.iter_mut().filter(|plan| !plan.ended) {
            plan.ended = true;
            plan.terms.last_mut().unwrap().end = Some(Ending::new(at, moment, resolution));
        }
    }

    /// From this date on the entity has no plan, if it is open and does not wait.
    pub(super) fn bare_from(&mut self, id: &EntityId, date: i64, moment: usize) {
        let entity = self.entities.get_mut(id).unwrap();
        if !entity.is_open() || entity.waiting || entity.open_plans().next().is_some() {
            return;
        }
        entity.bare_since = Some(date);
        if self.first_plan.is_some() {
            self.start_bare(id, moment);
        }
    }

    fn start_bare(&mut self, id: &EntityId, moment: usize) {
        let scope = self.scope_of(id);
        let entity = self.entities.get_mut(id).unwrap();
        let anchor = entity.bare_since.unwrap().max(self.first_plan.unwrap());
        entity.bare.push(Bare { anchor, moment, scope, ends: Vec::new() });
    }

    // ---- waiting for the customer

    /// To be called when the stage or the pipeline may have changed.
    pub(super) fn update_waiting(&mut self, id: &EntityId, moment: usize) {
        let pipelines = self.pipelines.clone();
        let entity = self.entities.get_mut(id).unwrap();
        let pipeline = entity.pipeline.as_ref().and_then(|name| pipelines.get(name));
        let stage = pipeline.zip(entity.stage.as_ref()).and_then(|(pipeline, stage)| pipeline.stage(stage));
        let waiting = stage.is_some_and(|stage| stage.waiting);
        if waiting == entity.waiting {
            return;
        }
        entity.waiting = waiting;
        let Some(date) = entity.visits.last().map(|visit| visit.date) else { return };
        if waiting {
            let end = Ending::new(date, moment, "waiting");
            entity.idle.iter_mut().for_each(|idle| idle.waits.push(end));
            entity.bare.iter_mut().for_each(|bare| bare.ends.push(end));
            entity.idle_since = None;
            entity.bare_since = None;
        } else {
            entity.left_waiting = Some(date);
            let touched = entity.standing_touches().map(|act| act.date).max();
            let planned = entity.last_plan_ended;
            self.idle_from(id, touched.map_or(date, |touched| touched.max(date)), moment, false);
            self.bare_from(id, planned.map_or(date, |planned| planned.max(date)), moment);
        }
    }

    // ---- moves of one instant

    /// The moves of this entity and instant in the order of their chain, if this is the first of them and all of them fit
    /// one chain from the stage held.
    pub(super) fn chain(&self, first: &StageChange, at: i64, moment: usize) -> Option<Vec<(usize, StageChange)>> {
        let moves = self.moves_at.get(&(at, first.entity.clone())).filter(|moves| moves.len() > 1)?;
        let held = self.entities.get(&first.entity).filter(|entity| entity.deleted.is_none())?.stage.clone()?;
        if moves[0].0 != moment {
            return None;
        }
        let order = chained(&held, moves)?;
        Some(order.into_iter().map(|index| moves[index].clone()).collect())
    }
}

/// A chain of all moves from a stage; at each branch the earliest move that leads to one.
fn chained(from: &str, moves: &[(usize, StageChange)]) -> Option<Vec<usize>> {
    fn go(held: &str, moves: &[(usize, StageChange)], taken: &mut Vec<usize>) -> bool {
        if taken.len() == moves.len() {
            return true;
        }
        for (index, (_, change)) in moves.iter().enumerate() {
            if !taken.contains(&index) && change.from.as_deref() == Some(held) {
                taken.push(index);
                if go(&change.to, moves, taken) {
                    return true;
                }
                taken.pop();
            }
        }
        false
    }
    let mut taken = Vec::new();
    go(from, moves, &mut taken).then_some(taken)
}

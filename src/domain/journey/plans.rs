//! Owns how the plans of a journey are made and ended. A closing or a deletion ends all of them; a reopening does not bring
//! them back.

use crate::domain::alert::Resolution;
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::id::ActivityId;
use crate::domain::journey::Journey;
use crate::domain::journey::open_plans::{Plan, Plans};
use crate::domain::time::Timestamp;

/// The most open plans of a lead or deal: each act looks at all of them.
const MAX_PLANS: usize = 256;

impl Journey {
    /// The deadline of the open plan with this id; the outer option is `None` if there is no such plan.
    pub fn plan(&self, activity: &ActivityId) -> Option<Option<Timestamp>> {
        self.plans.open.get(activity).map(|plan| plan.deadline)
    }

    /// Whether it has as many open plans as it may have.
    pub fn is_full_of_plans(&self) -> bool {
        self.plans.open.len() >= MAX_PLANS
    }

    /// The open plans: the activity, when it was planned, and its deadline.
    pub fn open_plans(&self) -> impl Iterator<Item = (&ActivityId, Timestamp, Option<Timestamp>)> {
        self.plans.open.iter().map(|(activity, plan)| (activity, plan.made, plan.deadline))
    }

    /// The open plans that have a deadline.
    pub fn dated_plans(&self) -> impl Iterator<Item = (&ActivityId, Timestamp)> {
        self.plans.open.iter().filter_map(|(activity, plan)| Some((activity, plan.deadline?)))
    }

    /// Whether it is open and nothing is planned.
    pub fn is_without_plan(&self) -> bool {
        self.open() && self.plans.open.is_empty()
    }

    /// Since when it lacks a plan; `None` if it has one or waits for the customer, or if that instant is unknown.
    pub fn without_plan_since(&self) -> Option<Timestamp> {
        let since = [self.created(), self.plans.needed_since.get(), self.waited_until()];
        if self.is_without_plan() && !self.is_waiting() { since.into_iter().flatten().max() } else { None }
    }

    /// Plans an activity, or changes its plan. A closed entity has no open plans.
    pub fn make_plan(&mut self, context: &mut TenantContext, activity: &ActivityId, deadline: Option<Timestamp>) {
        if self.open() {
            let plan = self.plans.open.entry(activity.clone()).or_insert(Plan { made: context.now, deadline });
            plan.deadline = deadline;
            let at = plan.made;
            context.record_change(JourneyChange::Planned { at });
        }
    }

    /// Ends an open plan.
    pub fn end_plan(&mut self, context: &mut TenantContext, activity: &ActivityId, resolution: Resolution) {
        self.plans.open.remove(activity);
        self.need_plan_since(context.now);
        context.record_change(JourneyChange::PlanEnded { resolution });
    }

    /// Ends all open plans, because the entity was closed.
    pub(super) fn drop_plans(&mut self) {
        if let Some(plans) = self.plans.existing_mut() {
            plans.open.clear();
        }
    }

    /// Takes over the open plans of an entity that was merged into this one. Of two with one id, its own stays.
    pub(super) fn take_over_plans(&mut self, context: &mut TenantContext, plans: &Plans) {
        let is_new = |activity: &ActivityId| self.plan(activity).is_none();
        let new: Vec<_> = plans.open.iter().filter(|(activity, _)| self.open() && is_new(activity)).collect();
        for (activity, plan) in new {
            self.plans.open.insert(activity.clone(), *plan);
            context.record_change(JourneyChange::Planned { at: plan.made });
        }
    }

    /// Records that it needs a plan from an instant on.
    pub(super) fn need_plan_since(&mut self, at: Timestamp) {
        self.plans.needed_since = self.plans.needed_since.get().map_or(at, |since| since.max(at)).into();
    }
}

//! Owns the activities of leads and deals: planned, completed, cancelled.

use crate::domain::alert::Resolution;
use crate::domain::context::Timer;
use crate::domain::event::{ActivityKind, ActivityPlanned};
use crate::domain::figures::pane::Measure;
use crate::domain::id::{ActivityId, EntityId, ManagerId};
use crate::domain::index::JourneyIx;
use crate::domain::tenant::Tenant;

impl Tenant {
    /// Handles `activity_planned`: a new plan, or another version of an open one. A plan for a closed entity is made, but
    /// never open; one too many is left out.
    pub(super) fn activity_planned(&mut self, planned: &ActivityPlanned) {
        let Some(ix) = self.journey_ix(&planned.entity) else { return };
        let who = self.manager_ix(planned.manager.as_ref()).or(self.journeys[ix].who);
        let measure = match self.journeys[ix].plan(&planned.activity) {
            None => Some(Measure::PlanMade),
            Some(Some(before)) if planned.deadline != Some(before) => Some(Measure::PlanMoved),
            Some(_) => None,
        };
        if measure == Some(Measure::PlanMade) && self.journeys[ix].is_full_of_plans() {
            self.left_out += 1;
            return;
        }
        self.refresh_lead_source(ix);
        self.change(ix, |journey, context| journey.make_plan(context, &planned.activity, planned.deadline));
        measure.into_iter().for_each(|measure| self.context.emit_fact(self.context.now, who, 1, measure));
        self.emit_facts(ix);
    }

    /// Handles `activity_completed`, of a plan or not.
    pub(super) fn activity_completed(
        &mut self,
        entity: &EntityId,
        activity: Option<&ActivityId>,
        manager: Option<&ManagerId>,
        kind: ActivityKind,
    ) {
        // Whatever follows from it, it names the manager.
        let by = self.manager_ix(manager);
        let Some(ix) = self.journey_ix(entity) else { return };
        self.journeys[ix].complete_activity(kind);
        let now = self.context.now;
        if let Some(activity) = activity
            && let Some(deadline) = self.journeys[ix].plan(activity)
        {
            let who = by.or(self.journeys[ix].who);
            let in_time = deadline.is_some_and(|deadline| now <= deadline);
            self.end_plan(ix, activity, Resolution::Done);
            self.context.emit_fact(now, who, 1, Measure::PlanDone { in_time });
        }
        if matches!(kind, ActivityKind::Meeting | ActivityKind::Demo) {
            let who = by.or(self.journeys[ix].who);
            self.refresh_lead_source(ix);
            self.change(ix, |journey, context| journey.touch(context, now, who));
            self.change(ix, |journey, context| journey.exchange(context, now));
            self.context.emit_fact(now, who, 1, Measure::Touch);
            if kind == ActivityKind::Meeting {
                self.context.emit_fact(now, who, 1, Measure::Meeting);
            }
        }
        self.emit_facts(ix);
    }

    /// Handles `activity_cancelled`.
    pub(super) fn activity_cancelled(&mut self, entity: &EntityId, activity: &ActivityId) {
        let Some(ix) = self.journey_ix(entity) else { return };
        if self.journeys[ix].plan(activity).is_some() {
            self.end_plan(ix, activity, Resolution::Cancelled);
        }
        self.emit_facts(ix);
    }

    /// Ends an open plan.
    fn end_plan(&mut self, ix: JourneyIx, activity: &ActivityId, resolution: Resolution) {
        self.refresh_lead_source(ix);
        self.change(ix, |journey, context| journey.end_plan(context, activity, resolution));
    }

    /// Records the first plan of the tenant: from now on, every entity is expected to have one.
    pub(super) fn first_planned(&mut self) {
        let now = self.context.now;
        self.context.first_plan = Some(now);
        self.changelog.mark_changed = true;
        for ix in self.journeys.indices() {
            if self.journeys[ix].without_plan_since().is_some() {
                self.context.set_timer(now, Timer::Journey(ix));
            }
        }
    }
}

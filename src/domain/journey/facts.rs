//! Owns the facts of a journey: compares what it counts after a change with what it counted before.

use crate::domain::context::TenantContext;
use crate::domain::event::Outcome;
use crate::domain::figures::pane::Measure;
use crate::domain::id::EntityKind;
use crate::domain::index::StageIx;
use crate::domain::journey::Journey;
use crate::domain::journey::counts::{Counted, CountedRarely};
use crate::domain::time::Timestamp;

impl Journey {
    /// Emits facts for the difference between the current and the previous counts.
    pub fn emit_facts(&mut self, context: &mut TenantContext) {
        let (new, new_rare) = self.compute_counted(context);
        if self.counted == new && *self.counted_rarely == new_rare {
            return;
        }
        let old = std::mem::replace(&mut self.counted, new);
        let old_rare = match self.counted_rarely.existing_mut() {
            Some(current) => std::mem::replace(current, new_rare),
            None if new_rare == CountedRarely::default() => new_rare,
            None => std::mem::replace(&mut *self.counted_rarely, new_rare),
        };
        let new_rare = &*self.counted_rarely;
        let is_deal = self.id.kind == EntityKind::Deal;
        let (received, converted) = match self.id.kind {
            EntityKind::Lead => (Measure::LeadReceived, Measure::LeadConverted),
            EntityKind::Deal => (Measure::DealReceived, Measure::DealConverted),
        };
        // A known creation time never changes, so the same date applies to old and new counts.
        let created = self.created().unwrap_or_default();
        let flag = |is: fn(&Counted) -> bool, measure: Measure| {
            let fact = |counted: &Counted| is(counted).then_some((created, counted.who, measure));
            (fact(&old), fact(&new))
        };
        let stage_gauge = |stage_ix: fn(&Counted) -> Option<StageIx>, measure: fn(StageIx) -> Measure| {
            let fact = |counted: &Counted| stage_ix(counted).map(|stage_ix| (created, counted.who, measure(stage_ix)));
            (fact(&old), fact(&new))
        };
        let open_deal = |(old, new)| if is_deal { (old, new) } else { (None, None) };
        for (old, new) in [
            flag(|counted| counted.received, received),
            flag(|counted| counted.converted, converted),
            flag(|counted| counted.awaiting, Measure::Awaiting),
            stage_gauge(|counted| counted.open, Measure::Open),
            open_deal(flag(|counted| counted.open.is_some(), Measure::OpenDeal)),
            stage_gauge(|counted| counted.overdue, Measure::Overdue),
            flag(|counted| counted.overdue.is_some() && counted.stuck, Measure::Stuck),
            flag(|counted| counted.without_plan, Measure::WithoutPlan),
            (old_rare.closing, new_rare.closing),
            (old_rare.amount, new_rare.amount),
            (old_rare.excluded, new_rare.excluded),
        ] {
            if old != new {
                for ((at, who, measure), times) in
                    old.into_iter().map(|fact| (fact, -1)).chain(new.into_iter().map(|fact| (fact, 1)))
                {
                    context.emit_fact(at, who, times, measure);
                }
            }
        }
        if (&old_rare.plans, old.who) != (&new_rare.plans, new.who) {
            for (plans, who, times) in [(&old_rare.plans, old.who, -1), (&new_rare.plans, new.who, 1)] {
                plans.iter().for_each(|deadline| context.emit_fact(*deadline, who, times, Measure::OpenPlan));
            }
        }
        if (&old_rare.reached, old.who) != (&new_rare.reached, new.who) {
            for (reached, who, times) in [(&old_rare.reached, old.who, -1), (&new_rare.reached, new.who, 1)] {
                for (stage_ix, at, passed) in reached {
                    context.emit_fact(*at, who, times, Measure::StageReached(*stage_ix));
                    if *passed {
                        context.emit_fact(*at, who, times, Measure::StagePassed(*stage_ix));
                    }
                }
            }
        }
    }

    fn compute_counted(&self, context: &mut TenantContext) -> (Counted, CountedRarely) {
        if self.deleted() || self.first_event().is_none() {
            return Default::default();
        }
        let outcome = self.outcome();
        let converted = match self.id.kind {
            EntityKind::Lead => outcome == Some(Outcome::Converted) || self.naming_deals > 0,
            EntityKind::Deal => outcome == Some(Outcome::Won),
        };
        let is_excluded =
            self.id.kind == EntityKind::Lead && self.end_state.closing.is_some_and(|closing| closing.excluded);
        let received = self.created().is_some() && !is_excluded;
        let excluded = self.created().filter(|_| is_excluded).map(|created| (created, self.who, Measure::LeadExcluded));
        let awaits = self.clocks.response.as_ref().is_some_and(|response| response.awaits());
        let measure = match (self.id.kind, outcome) {
            (EntityKind::Lead, Some(Outcome::Converted)) => Some(Measure::LeadClosedConverted),
            (EntityKind::Lead, Some(Outcome::Disqualified)) if !is_excluded => Some(Measure::LeadDisqualified),
            (EntityKind::Deal, Some(Outcome::Won)) => Some(Measure::DealWon),
            (EntityKind::Deal, Some(Outcome::Lost)) => Some(Measure::DealLost),
            _ => None,
        };
        let closing = self.end_state.closing.and_then(|closing| Some((closing.at, closing.by, measure?)));
        let amount = closing.filter(|closing| closing.2 == Measure::DealWon).and_then(|(at, by, _)| {
            let currency = context.currency(self.sale.amount.currency.as_ref());
            Some((at, by, Measure::AmountWon { currency, minor: self.sale.amount.minor? }))
        });
        let (overdue, stuck) = self.overdue().unzip();
        let won = outcome == Some(Outcome::Won);
        let counted = Counted {
            who: self.who,
            received,
            converted: received && converted,
            awaiting: received && awaits && self.end_state.first_closed.is_none(),
            stuck: stuck.unwrap_or_default() && self.id.kind == EntityKind::Deal,
            without_plan: self.is_without_plan() && self.needs_plan(context),
            open: outcome.is_none().then(|| {
                let (pipeline, stage) = (self.pipeline(), self.stage());
                let same = self.counted.open.filter(|ix| context.is_stage(*ix, pipeline, stage));
                same.unwrap_or_else(|| context.stage_ix(pipeline, stage))
            }),
            overdue,
        };
        let reached = if self.id.kind == EntityKind::Deal { self.stage_history.reached(won) } else { Vec::new() };
        let mut plans = Vec::new();
        if !self.plans.open.is_empty() {
            plans.extend(self.plans.deadlines().map(|deadline| deadline.unwrap_or(Timestamp::MAX)));
        }
        (counted, CountedRarely { closing, amount, excluded, reached, plans })
    }

    /// Whether it counts as without a next step while nothing is planned: deals always do, leads if the norms say so.
    fn needs_plan(&self, context: &mut TenantContext) -> bool {
        let kind = self.id.kind;
        kind == EntityKind::Deal || context.leads_need_steps && self.scope(context).needs_step(kind)
    }
}

//! Owns what a journey counts for targets if its entity had a closing whose case was dropped.
//!
//! That closing stands until the entity is reopened, deleted or closed with another outcome. As long as it stands, the same
//! outcome again is no closing of its own, and a new amount replaces the old one.

use crate::domain::context::TenantContext;
use crate::domain::effect::{ArchivedClosing, Effect, PastClosing};
use crate::domain::event::Outcome;
use crate::domain::figures::pane::Measure;
use crate::domain::id::EntityKind;
use crate::domain::journey::Journey;
use crate::domain::norms::targets::TargetFigure;
use crate::domain::time::Timestamp;

impl Journey {
    /// The entity was reopened: a past closing does not stand any more.
    pub fn void_past(&mut self) {
        self.end_state.past_void = true;
    }

    /// Emits the difference between what a past closing changes now, and what it changed before.
    pub fn emit_past(&mut self, archived: &ArchivedClosing, context: &mut TenantContext) {
        if self.first_event().is_none() {
            return;
        }
        if self.deleted() || self.outcome().is_some_and(|outcome| outcome != archived.outcome) {
            self.end_state.past_void = true;
        }
        let new = self.past_changes(archived, context);
        if new == self.end_state.past {
            return;
        }
        let old = std::mem::replace(&mut self.end_state.past, new.clone());
        let known = context.now;
        let taken_back = old.into_iter().map(|past| PastClosing { times: -past.times, ..past });
        for past in taken_back.chain(new) {
            context.emit(Effect::PastClosing(Box::new(PastClosing { known, ..past })));
        }
    }

    /// By what the figures differ from those of the past closing and the own closing together.
    fn past_changes(&self, archived: &ArchivedClosing, context: &TenantContext) -> Vec<PastClosing> {
        if self.end_state.past_void {
            let mut changes = counts(archived, self.id.kind, -1);
            let (own, complete) = (self.archived(context), self.archived_after(archived, context));
            if own != complete {
                own.iter().for_each(|own| changes.extend(counts(own, self.id.kind, -1)));
                complete.iter().for_each(|complete| changes.extend(counts(complete, self.id.kind, 1)));
            }
            return changes;
        }
        let mut changes = Vec::new();
        let amount = &self.sale.amount;
        if let (Some(minor), Some((old, old_currency)), true) =
            (amount.minor, &archived.amount, self.id.kind == EntityKind::Deal)
        {
            let currency = amount.currency.clone().unwrap_or_else(|| old_currency.clone());
            if (minor, &currency) != (*old, old_currency) {
                let with = |amount| ArchivedClosing { amount: Some(amount), ..archived.clone() };
                changes.extend(counts(&with((*old, old_currency.clone())), self.id.kind, -1));
                changes.extend(counts(&with((minor, currency)), self.id.kind, 1));
            }
        }
        if let Some(own) = self.archived(context) {
            changes.extend(counts(&own, self.id.kind, -1));
        }
        changes
    }

    /// Its own closing, if targets count it.
    pub fn archived(&self, context: &TenantContext) -> Option<ArchivedClosing> {
        let (at, by, measure) = self.counted_rarely.closing?;
        let outcome = match measure {
            Measure::LeadClosedConverted => Outcome::Converted,
            Measure::DealWon => Outcome::Won,
            _ => return None,
        };
        let amount = match self.counted_rarely.amount {
            Some((_, _, Measure::AmountWon { currency, minor })) => Some((minor, context.currency_code(currency))),
            _ => None,
        };
        Some(ArchivedClosing { outcome, at, manager: context.people.id(by).cloned(), amount })
    }

    /// The same after a past closing that does not stand any more. Events of the new case may name neither the manager nor the
    /// amount, because events that were dropped did: then they are those of the past closing.
    fn archived_after(&self, past: &ArchivedClosing, context: &TenantContext) -> Option<ArchivedClosing> {
        let mut own = self.archived(context)?;
        own.manager = own.manager.or_else(|| past.manager.clone());
        own.amount = own.amount.or_else(|| past.amount.clone());
        Some(own)
    }

    /// What is to be kept when its case is dropped, after a past closing that stands or not.
    pub fn archive(&self, past: Option<&ArchivedClosing>, context: &TenantContext) -> Option<ArchivedClosing> {
        let Some(past) = past else { return self.archived(context) };
        if self.end_state.past_void {
            return self.archived_after(past, context);
        }
        let mut kept = past.clone();
        if let (Some(minor), Some((old, currency))) = (self.sale.amount.minor, &mut kept.amount) {
            *old = minor;
            if let Some(new) = &self.sale.amount.currency {
                currency.clone_from(new);
            }
        }
        Some(kept)
    }
}

/// What a closing counts, `times` times.
fn counts(closing: &ArchivedClosing, kind: EntityKind, times: i64) -> Vec<PastClosing> {
    let figure = if kind == EntityKind::Lead { TargetFigure::LeadsConverted } else { TargetFigure::DealsWon };
    let (at, manager, known) = (closing.at, closing.manager.clone(), Timestamp::MIN);
    let count = PastClosing { at, manager: manager.clone(), figure, currency: None, times, known };
    let amount = closing.amount.iter().map(|(minor, currency)| PastClosing {
        at,
        manager: manager.clone(),
        figure: TargetFigure::AmountWon,
        currency: Some(currency.clone()),
        times: times.saturating_mul(*minor),
        known,
    });
    std::iter::once(count).chain(amount).collect()
}

//! Owns special terms: which policy row applies to an offer, and whether an approver allowed more.

use crate::domain::alert::{Value, Values};
use crate::domain::change::Act;
use crate::domain::event::TermsOffered;
use crate::domain::journey::Journey;
use crate::domain::norms::{Scope, TermsPolicy};
use crate::domain::rule::definition::Finding;

/// Whether an offer is special: any discount, instalment plan, or prepayment under 100 %.
pub fn special(terms: &TermsOffered) -> bool {
    terms.discount_percent.is_some_and(|discount| discount > 0.0)
        || terms.installment_months.is_some_and(|months| months > 0)
        || terms.prepayment_percent.is_some_and(|prepayment| prepayment < 100.0)
}

/// The offered terms of an act and the policy row that applies; `None` if no row applies or an approver allowed the offer.
pub fn judged<'a>(act: &'a Act, deal: &Journey, scope: &'a Scope) -> Option<(&'a TermsOffered, &'a TermsPolicy)> {
    let Act::Offered { terms, grade } = act else { return None };
    let norm = scope.terms.as_deref()?;
    let is_approver = |by: &str| norm.approvers.iter().any(|approver| approver == by);
    if terms.approved_by.as_ref().is_some_and(|by| is_approver(by.as_str())) {
        return None;
    }
    let amount = terms.amount.minor.or(deal.sale.amount.minor);
    let applies = |row: &&TermsPolicy| {
        (row.pipeline.is_none() || row.pipeline.as_ref() == deal.pipeline())
            && row.grade.as_deref().is_none_or(|required| grade.as_deref() == Some(required))
            && row.amount_minor_below.is_none_or(|limit| amount.is_some_and(|amount| amount < limit))
    };
    Some((terms, norm.policies.iter().find(applies)?))
}

/// The finding for an offer beyond a limit.
pub fn beyond(observed: (&'static str, Value), norm: (&'static str, Value)) -> Vec<Finding> {
    let (observed, norm): (Values, Values) = (vec![observed], vec![norm]);
    vec![Finding { part: None, observed, norm }]
}

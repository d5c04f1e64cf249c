//! Owns the parts of a rule's definition: what it says, which parameters it takes, and how it is evaluated.

use crate::domain::alert::Values;
use crate::domain::change::{Act, JourneyChange};
use crate::domain::context::TenantContext;
use crate::domain::figures::statistics::Ratio;
use crate::domain::figures::window::WindowSample;
use crate::domain::id::StageId;
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::Clocks;
use crate::domain::norms::targets::{Progress, Target};
use crate::domain::norms::{Params, Scope};
use crate::domain::pending_replies::DemandKind;

pub use crate::domain::norms::params::Parameter;

/// The definition of a rule. Texts are in English and Russian.
#[derive(Debug)]
pub struct Definition {
    /// A short name for boards.
    pub title: [&'static str; 2],
    /// What the rule detects, in one line.
    pub about: [&'static str; 2],
    /// Why it matters to a head of sales.
    pub why: [&'static str; 2],
    /// The forms of the `subject` of its alerts.
    pub subjects: &'static [&'static str],
    /// Its parameters besides those of every rule.
    pub takes: &'static [Parameter],
    /// The keys of `observed`, in order.
    pub observed: &'static [&'static str],
    /// The keys of `norm`, in order.
    pub norm: &'static [&'static str],
    /// Sentences of its alert messages.
    pub wording: Wording,
    /// How it is judged.
    pub evaluation: Evaluation,
}

/// Message templates in English and Russian, with `{subject}` and keys of `observed` and `norm` as placeholders.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// While the violation is open, or for the act.
    pub lasting: [&'static str; 2],
    /// When an act settled the violation or the figure recovered; empty for act rules.
    pub settled: [&'static str; 2],
    /// When the deadline is near; empty for rules without warnings.
    pub due_soon: [&'static str; 2],
}

impl Wording {
    /// The wording of an act rule.
    pub const fn of_act(lasting: [&'static str; 2]) -> Self {
        Self { lasting, settled: [""; 2], due_soon: [""; 2] }
    }
}

/// Updates the clocks of a rule after a change of the journey.
pub type JourneyRule = fn(&mut Clocks, &Journey, &mut TenantContext, JourneyChange);

/// How a rule is judged.
#[derive(Clone, Copy, Debug)]
pub enum Evaluation {
    /// By clocks of a lead or deal, which the function updates at every change of the journey.
    Journey(JourneyRule),
    /// By an act on a lead or deal.
    Act(fn(&Act, &Journey, &Params, &Scope) -> Vec<Finding>),
    /// By the pending replies of a contact.
    Demands(&'static DemandKind),
    /// By a manager's figures at the slide boundaries of a window; `None` if no limit is set.
    Window(fn(&Params, &WindowSample<'_>) -> Option<Judgement>),
    /// By the progress of targets at the slide boundaries of the first window.
    Targets(fn(&Target, &Progress) -> Judgement),
    /// By silences of source topics.
    Topics,
}

/// A norm that an act violates.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The stage in the subject, after the entity; such a violation is raised once per entity and stage.
    pub part: Option<StageId>,
    /// The observed values.
    pub observed: Values,
    /// The required values.
    pub norm: Values,
}

/// The verdict of a window rule on a manager's figures at a boundary.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The sample size.
    pub n: i64,
    /// Whether the norm is violated: a violation begins if none is open and the sample is large enough.
    pub violated: bool,
    /// Whether the figure itself meets the norm: an open violation ends.
    pub met: bool,
    /// The observed values, counts (`n`, `k`) first; an empty sample has only counts.
    pub observed: Values,
    /// The required values.
    pub norm: Values,
}

/// Judges a share with an upper limit.
pub fn share_over(share: Ratio, norm: &Params) -> Option<Judgement> {
    let limit = norm.at_most?;
    let ratio = share.ratio();
    let mut observed = vec![("n", share.n.into()), ("k", share.k.into())];
    observed.extend(ratio.map(|ratio| ("ratio", ratio.into())));
    let is_over = |over: bool| ratio.is_some_and(|ratio| (ratio > limit) == over);
    let norm = vec![("at_most", limit.into()), ("min_sample", norm.min_sample.unwrap_or(1).into())];
    Some(Judgement { n: share.n, violated: is_over(true), met: is_over(false), observed, norm })
}

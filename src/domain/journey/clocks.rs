//! Owns the rule clocks of one lead or deal.

use crate::domain::journey::response::FirstResponse;
use crate::domain::lifecycle::Violation;
use crate::domain::mem::lazy_box::{LazyBox, StaticDefault};
use crate::domain::mem::short::Short;
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::time::{Maybe, Span, Timestamp};
use compact_str::CompactString;
use std::sync::Arc;

/// The clocks of one lead or deal.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    /// The first-response clock; it also feeds figures when the rule is off.
    pub response: Option<Box<FirstResponse>>,
    /// The latest touch (or creation or reopening) of an open entity, even if no rule uses it.
    pub idle_since: Maybe,
    rule_clocks: LazyBox<Vec<RuleClock>>,
}

impl StaticDefault for Vec<RuleClock> {
    const DEFAULT: &'static Self = &Vec::new();
}

/// A running or resolved clock of a rule.
#[derive(Clone, Debug)]
pub struct RuleClock {
    /// The rule.
    pub rule: Rule,
    /// The scope at its start.
    pub scope: Arc<Scope>,
    /// The part of the lead or deal that it is about: a stage or a planned activity.
    pub part: Option<CompactString>,
    /// Time already counted before the anchor, where several stays are added up.
    pub before: Span,
    /// The time allowed.
    pub limit: Span,
    /// The pending or actual violation.
    pub violation: Violation,
}

impl RuleClock {
    /// A clock of the whole lead or deal.
    pub fn new(rule: Rule, scope: Arc<Scope>, anchor: Timestamp, due: Timestamp) -> Self {
        let violation = Violation::new(anchor, due);
        Self { rule, scope, part: None, before: Span::ZERO, limit: Span::ZERO, violation }
    }

    /// Whether it runs, or its violation is open.
    pub fn is_current(&self) -> bool {
        self.violation.is_current()
    }
}

impl Clocks {
    /// Adds a clock.
    pub fn add(&mut self, rule_clock: RuleClock) {
        self.rule_clocks.push_short(rule_clock);
    }

    /// Whether a rule has a clock that runs or a violation that is open.
    pub fn is_active(&self, rule: Rule) -> bool {
        self.rule_clocks.iter().any(|rule_clock| rule_clock.rule == rule && rule_clock.is_current())
    }

    /// All running and resolved clocks, except the first response.
    pub fn rule_clocks(&self) -> &[RuleClock] {
        &self.rule_clocks
    }

    /// The same, mutable; `None` if there never was one.
    pub fn rule_clocks_mut(&mut self) -> Option<&mut Vec<RuleClock>> {
        self.rule_clocks.existing_mut()
    }
}

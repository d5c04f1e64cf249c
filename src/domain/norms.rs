//! Owns the norms: the requirements a company has for its sales department, and where each of them applies (scopes).
//!
//! A document is a base layer and overrides, merged key by key inside a rule; later overrides win. Which parameters a rule
//! takes is declared in the rule's own file; the parameters are rows of a table ([`params`]).

pub mod params;
mod shared_scopes;
mod target_params;
pub mod targets;

use crate::domain::alert::{Severity, Values};
use crate::domain::id::{EntityKind, ManagerId, PipelineId, StageId, TenantId, UNKNOWN};
use crate::domain::identity::{Country, IgnoredContacts};
use crate::domain::rule::Rule;
use crate::domain::time::calendar::Calendar;
use crate::domain::time::window::Window;
use crate::domain::time::{Length, Span, Timestamp};
use compact_str::CompactString;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use params::{Basis, Clock, ClockStart, Params, Response};
pub use shared_scopes::SharedScopes;
pub use target_params::TargetParams;

/// The norms of all tenants, as configured.
#[derive(Clone)]
pub struct Norms {
    /// The document that defines them, in canonical form: with included files and defaults, without the privacy key. State
    /// records contain it. Equal documents define equal norms.
    pub document: String,
    /// Calendars by name.
    pub calendars: BTreeMap<CompactString, Arc<Calendar>>,
    /// Pipelines by id.
    pub pipelines: BTreeMap<PipelineId, Pipeline>,
    /// Sliding windows; the first one is the default of window rules.
    pub windows: Vec<Window>,
    /// Minimum talk time that makes an answered call a conversation.
    pub min_talk: Span,
    /// Whether an answered inbound call is a conversation only if it names a manager.
    pub conversation_needs_manager: bool,
    /// A contact of more open entities than this belongs to none of them.
    pub shared_contact_limit: u32,
    /// The reasons of disqualified leads that were no lost opportunities.
    pub excluded_reasons: Vec<CompactString>,
    /// The country whose national phone number formats are recognized.
    pub country: Country,
    /// HMAC key of contact keys; `None`: the tenant id is used.
    pub privacy_key: Option<String>,
    /// The layer that applies everywhere.
    pub base: Layer,
    /// Overrides for parts of the company; later ones win.
    pub overrides: Vec<Override>,
    /// The scopes that were looked up.
    pub scopes: SharedScopes<Scope>,
}

/// Does not show the privacy key, nor the document and the scopes, which say the same as the other fields.
impl fmt::Debug for Norms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            document: _, scopes: _, privacy_key, calendars, pipelines, windows, country, base, overrides, ..
        } = self;
        let Self { min_talk, conversation_needs_manager, shared_contact_limit, excluded_reasons, .. } = self;
        f.debug_struct("Norms")
            .field("calendars", calendars)
            .field("pipelines", pipelines)
            .field("windows", windows)
            .field("min_talk", min_talk)
            .field("conversation_needs_manager", conversation_needs_manager)
            .field("shared_contact_limit", shared_contact_limit)
            .field("excluded_reasons", excluded_reasons)
            .field("country", country)
            .field("privacy_key", &privacy_key.as_ref().map(|_| "(secret)"))
            .field("base", base)
            .field("overrides", overrides)
            .finish()
    }
}

impl Norms {
    /// Whether a pipeline lists a stage; of an unknown pipeline, whether any does. True if there is nothing to list it
    /// in: without a stage, or norms without pipelines.
    pub fn lists(&self, pipeline: &PipelineId, stage: &StageId) -> bool {
        let lists = |pipeline: &Pipeline| pipeline.stages.iter().any(|listed| listed.id == *stage);
        match self.pipelines.get(pipeline) {
            _ if self.pipelines.is_empty() || stage.as_str() == UNKNOWN => true,
            Some(pipeline) => lists(pipeline),
            None => pipeline.as_str() == UNKNOWN && self.pipelines.values().any(lists),
        }
    }

    /// Whether a lead disqualified for this reason was no lost opportunity.
    pub fn excludes(&self, reason: &str) -> bool {
        self.excluded_reasons.iter().any(|excluded| excluded.trim() == reason.trim())
    }
}

/// What the base and every override can set.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// The default calendar's name.
    pub calendar: Option<CompactString>,
    /// Contacts that are not customers. Only the base and overrides by tenant set it.
    pub ignored_contacts: Option<Arc<IgnoredContacts>>,
    /// Parameters of the rules that it names.
    pub rules: BTreeMap<Rule, Params>,
    /// The allowed special terms; shared by the three terms rules.
    pub terms: TermsParams,
    /// Which interactions are sampled for review.
    pub review_sampling: SamplingParams,
    /// Targets, by id. The base has all of them.
    pub targets: BTreeMap<CompactString, TargetParams>,
}

/// A layer with the conditions under which it applies.
#[derive(Clone, Debug, Default)]
pub struct Override {
    /// Only in this tenant.
    pub tenant: Option<CompactString>,
    /// Only in this department.
    pub department: Option<CompactString>,
    /// Only for this manager.
    pub manager: Option<CompactString>,
    /// Only in this pipeline.
    pub pipeline: Option<CompactString>,
    /// Only for leads of this source.
    pub source: Option<CompactString>,
    /// The overriding layer.
    pub layer: Layer,
}

/// The attributes that overrides are matched against, as of the start of a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeQuery<'a> {
    /// The company.
    pub tenant: &'a str,
    /// The department of the responsible manager, `unknown` if none.
    pub department: &'a str,
    /// The responsible manager; without one, or if no override names the manager, `None`.
    pub manager: Option<&'a str>,
    /// The entity's pipeline.
    pub pipeline: Option<&'a str>,
    /// The entity's source.
    pub source: Option<&'a str>,
}

/// An ordered list of stages.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The kind of entity that passes through it.
    pub entity: EntityKind,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
}

/// One stage of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// The CRM's id.
    pub id: StageId,
    /// Counts for `stuck_early`.
    pub early: bool,
    /// Must be visited before a later one.
    pub required: bool,
    /// The customer is to act: meanwhile nobody neglects the entity.
    pub waiting: bool,
    /// Maximum time an entity should spend in it.
    pub max_time: Option<Length>,
    /// Fields that must be filled before a move into it.
    pub requires_fields: Vec<CompactString>,
    /// Activities that must be completed before a move into it.
    pub requires_activities: Vec<CompactString>,
}

/// The keys of `norms.terms`; `None` if the layer does not set the key. `enabled` and `severity` apply to the three terms
/// rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TermsParams {
    /// Managers who may approve more.
    pub approvers: Option<Vec<CompactString>>,
    /// The policy rows; the first match wins.
    pub policies: Option<Vec<TermsPolicy>>,
}

/// The allowed special terms in a scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TermsNorm {
    /// Managers who may approve more.
    pub approvers: Vec<CompactString>,
    /// The policy rows; the first match wins.
    pub policies: Vec<TermsPolicy>,
}

/// One row of the terms policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TermsPolicy {
    /// Only for deals in this pipeline.
    pub pipeline: Option<PipelineId>,
    /// Only for managers of this grade.
    pub grade: Option<CompactString>,
    /// Only for deals below this amount, in minor units.
    pub amount_minor_below: Option<i64>,
    /// Maximum discount in percent, 0 to 100.
    pub max_discount_percent: Option<f64>,
    /// Maximum instalment plan in months.
    pub max_installment_months: Option<i64>,
    /// Minimum prepayment in percent, 0 to 100.
    pub min_prepayment_percent: Option<f64>,
}

/// The keys of `review_sampling`; `None` if the layer does not set the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplingParams {
    /// Interactions per manager and day.
    pub per_day: Option<u32>,
    /// Shorter conversations are not sampled.
    pub min_talk: Option<Span>,
}

/// Which interactions of a scope are sampled for review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewSampling {
    /// Interactions per manager and day.
    pub per_day: u32,
    /// Shorter conversations are not sampled.
    pub min_talk: Span,
}

/// The effective norms of one department or manager, pipeline and source, with all layers merged.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The calendar of business clocks; `None`: wall time.
    pub calendar: Option<Arc<Calendar>>,
    /// Parameters of the rules that are on.
    pub rules: BTreeMap<Rule, Params>,
    /// The allowed special terms; `None`: they are not judged.
    pub terms: Option<Arc<TermsNorm>>,
    /// Which interactions are sampled for review; `None`: none.
    pub review_sampling: Option<ReviewSampling>,
}

impl Norms {
    /// The base layer, then the layers of the overrides.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.base).chain(self.overrides.iter().map(|over| &over.layer))
    }

    /// The HMAC key of a tenant: the privacy key, or the tenant's id without one.
    pub fn secret<'a>(&'a self, tenant: &'a TenantId) -> &'a str {
        self.privacy_key.as_deref().unwrap_or(tenant.as_str())
    }

    /// The contacts of a tenant that are not customers; `None` if there are none.
    pub fn ignored_contacts(&self, tenant: &TenantId) -> Option<&Arc<IgnoredContacts>> {
        let query = ScopeQuery { tenant: tenant.as_str(), ..ScopeQuery::default() };
        let applying = self.overrides.iter().rev().filter(|over| over.applies(query)).map(|over| &over.layer);
        let set = applying.chain([&self.base]).find_map(|layer| layer.ignored_contacts.as_ref());
        set.filter(|contacts| !contacts.is_empty())
    }

    /// Whether a text returns a missed call in some scope.
    pub fn texts_return(&self) -> bool {
        self.layers().any(|layer| {
            layer.rules.get(&Rule::MissedCallNotReturned).is_some_and(|norm| norm.text_returns == Some(true))
        })
    }

    /// Whether leads need a next step in some scope.
    pub fn leads_need_steps(&self) -> bool {
        self.layers().any(|layer| {
            let norm = layer.rules.get(&Rule::NextStepMissing);
            norm.and_then(|norm| norm.step_entities.as_ref())
                .is_some_and(|entities| entities.contains(&EntityKind::Lead))
        })
    }

    /// The managers of a tenant who have norms of their own: overrides name them.
    pub fn named_managers(&self, tenant: &TenantId) -> FxHashSet<ManagerId> {
        let here = |over: &&Override| over.tenant.as_ref().is_none_or(|name| name == tenant.as_str());
        self.overrides.iter().filter(here).filter_map(|over| Some(over.manager.clone()?.into())).collect()
    }

    /// The window of a window rule: the one that its parameters name, otherwise the first.
    pub fn window_of(&self, params: &Params) -> Option<Window> {
        self.windows.iter().find(|window| params.window.is_none_or(|size| size == window.size)).copied()
    }

    /// The merged layers that apply to `query`.
    pub fn layer(&self, query: ScopeQuery<'_>) -> Layer {
        let mut layer = self.base.clone();
        for over in self.overrides.iter().filter(|over| over.applies(query)) {
            layer.merge(&over.layer);
        }
        layer
    }

    /// The effective norms for `query`, shared with all others to whom the same overrides apply.
    pub fn shared_scope(&self, query: ScopeQuery<'_>) -> Arc<Scope> {
        let applying = self.overrides.iter().enumerate().filter(|(_, over)| over.applies(query));
        self.scopes.get(applying.map(|(position, _)| position).collect(), || self.scope(query))
    }

    /// The effective norms for `query`.
    pub fn scope(&self, query: ScopeQuery<'_>) -> Scope {
        let mut layer = self.layer(query);
        layer.rules.retain(|_, params| params.enabled != Some(false));
        Scope {
            calendar: layer.calendar.and_then(|name| self.calendars.get(&name).cloned()),
            terms: layer.terms.completed().map(Arc::new),
            review_sampling: layer.review_sampling.completed(),
            rules: layer.rules,
        }
    }
}

impl Layer {
    /// Overwrites every key that `over` sets, rule by rule.
    pub fn merge(&mut self, over: &Self) {
        if over.calendar.is_some() {
            self.calendar.clone_from(&over.calendar);
        }
        if over.ignored_contacts.is_some() {
            self.ignored_contacts.clone_from(&over.ignored_contacts);
        }
        for (rule, params) in &over.rules {
            self.rules.entry(*rule).or_default().merge(params);
        }
        if over.terms.approvers.is_some() {
            self.terms.approvers.clone_from(&over.terms.approvers);
        }
        if over.terms.policies.is_some() {
            self.terms.policies.clone_from(&over.terms.policies);
        }
        let (own, sampling) = (&mut self.review_sampling, over.review_sampling);
        own.per_day = sampling.per_day.or(own.per_day);
        own.min_talk = sampling.min_talk.or(own.min_talk);
        for (id, params) in &over.targets {
            self.targets.entry(id.clone()).or_default().merge(params);
        }
    }
}

impl TermsParams {
    /// The norm, if there are policy rows.
    pub fn completed(self) -> Option<TermsNorm> {
        Some(TermsNorm { policies: self.policies?, approvers: self.approvers.unwrap_or_default() })
    }
}

impl SamplingParams {
    /// The sampling, if the number per day is known.
    pub fn completed(self) -> Option<ReviewSampling> {
        Some(ReviewSampling { per_day: self.per_day?, min_talk: self.min_talk.unwrap_or_default() })
    }
}

impl Override {
    /// Whether every condition that is set matches.
    pub fn applies(&self, query: ScopeQuery<'_>) -> bool {
        let matches = |expected: &Option<CompactString>, found: Option<&str>| {
            expected.as_ref().is_none_or(|expected| found == Some(expected.as_str()))
        };
        matches(&self.tenant, Some(query.tenant))
            && matches(&self.department, Some(query.department))
            && matches(&self.manager, query.manager)
            && matches(&self.pipeline, query.pipeline)
            && matches(&self.source, query.source)
    }
}

impl Scope {
    /// The deadline of a clock; `None` if it never comes.
    pub fn deadline(&self, clock: Clock, from: Timestamp, span: Span) -> Option<Timestamp> {
        match (clock, &self.calendar) {
            (Clock::Business, Some(calendar)) => calendar.deadline(from, span),
            _ => Some(from.saturating_add(span)),
        }
    }

    /// The deadline of a rule's clock that starts at `from`; `None` if the rule is off or the deadline never comes.
    pub fn due(&self, rule: Rule, from: Timestamp) -> Option<Timestamp> {
        let norm = self.rules.get(&rule)?;
        self.deadline(norm.clock.unwrap_or_default(), from, norm.within?.span)
    }

    /// When a rule warns of a deadline: the latest instant from which exactly `warn_before` of counted time remains.
    pub fn warning(&self, rule: Rule, due: Timestamp) -> Option<Timestamp> {
        let norm = self.rules.get(&rule)?;
        let before = norm.warn_before?.span;
        match (norm.clock.unwrap_or_default(), &self.calendar) {
            (Clock::Business, Some(calendar)) => calendar.latest_before(due, before),
            _ => Some(due.saturating_sub(before)),
        }
    }

    /// The time between two instants on a rule's clock.
    pub fn counted(&self, rule: Rule, from: Timestamp, to: Timestamp) -> Span {
        self.elapsed(self.clock(rule), from, to)
    }

    /// The clock of a rule.
    pub fn clock(&self, rule: Rule) -> Clock {
        self.rules.get(&rule).and_then(|norm| norm.clock).unwrap_or_default()
    }

    /// Whether entities of a kind need a next step.
    pub fn needs_step(&self, kind: EntityKind) -> bool {
        self.rules.get(&Rule::NextStepMissing).is_some_and(|norm| {
            norm.step_entities.as_ref().map_or(kind == EntityKind::Deal, |entities| entities.contains(&kind))
        })
    }

    /// The ring time below which a missed call needs no call back.
    pub fn min_ring(&self) -> Span {
        self.rules.get(&Rule::MissedCallNotReturned).and_then(|norm| norm.min_ring).unwrap_or_default()
    }

    /// Whether a written answer returns a missed call.
    pub fn text_returns(&self) -> bool {
        self.rules.get(&Rule::MissedCallNotReturned).and_then(|norm| norm.text_returns).unwrap_or_default()
    }

    /// How long after its last entity was closed a contact's message needs no answer, in wall time.
    pub fn quiet_after_close(&self) -> Span {
        self.rules.get(&Rule::MessageUnanswered).and_then(|norm| norm.quiet_after_close).unwrap_or_default()
    }

    /// The severity of a rule's violations, before escalations.
    pub fn severity(&self, rule: Rule) -> Severity {
        self.rules.get(&rule).and_then(|norm| norm.severity).unwrap_or_default()
    }

    /// The deadline of a rule as alert values.
    pub fn within(&self, rule: Rule) -> Values {
        let within = self.rules.get(&rule).and_then(|norm| norm.within).unwrap_or_default();
        vec![("within_seconds", within.span.into()), ("clock", self.clock(rule).name().into())]
    }

    /// The time between two instants on a clock; never negative.
    pub fn elapsed(&self, clock: Clock, from: Timestamp, to: Timestamp) -> Span {
        match (clock, &self.calendar) {
            (Clock::Business, Some(calendar)) => calendar.working(from, to),
            _ => (to - from).max(Span::ZERO),
        }
    }
}

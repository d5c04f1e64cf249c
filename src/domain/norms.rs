//! Owns the norms: what a company wants of its sales department, and which of it applies where (scopes).
//!
//! A document is a base layer and overrides, merged key by key inside a rule, later ones winning. What a rule needs of
//! its parameters stands in the rule's own file; here they are one set of optional keys, so that merging is uniform and
//! a new rule needs no code here.

use super::alert::{Severity, Values};
use super::calendar::Calendar;
use super::event::{Channel, Outcome};
use super::id::{EntityKind, PipelineId, StageId, TenantId};
use super::identity::Country;
use super::rule::{Evaluation, Rule};
use super::time::{Span, Timestamp};
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The norms of all tenants, as configured.
#[derive(Clone)]
pub struct Norms {
    /// Calendars by name.
    pub calendars: BTreeMap<CompactString, Arc<Calendar>>,
    /// Pipelines by id.
    pub pipelines: BTreeMap<PipelineId, Pipeline>,
    /// Rolling windows, the first being the default one of window rules.
    pub windows: Vec<Window>,
    /// From this talk time on an answered call is a conversation.
    pub min_talk: Span,
    /// Whose national phone forms are read.
    pub country: Country,
    /// Key of the HMAC in contact keys; `None`: the tenant id.
    pub privacy_key: Option<String>,
    /// The layer that applies everywhere.
    pub base: Layer,
    /// What applies in places; later wins.
    pub overrides: Vec<Override>,
}

/// The privacy key is not shown.
impl fmt::Debug for Norms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calendars, pipelines, windows, min_talk, country, privacy_key, base, overrides } = self;
        f.debug_struct("Norms")
            .field("calendars", calendars)
            .field("pipelines", pipelines)
            .field("windows", windows)
            .field("min_talk", min_talk)
            .field("country", country)
            .field("privacy_key", &privacy_key.as_ref().map(|_| "(secret)"))
            .field("base", base)
            .field("overrides", overrides)
            .finish()
    }
}

/// What can be set everywhere or in places.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// The default calendar's name.
    pub calendar: Option<CompactString>,
    /// Parameters of the rules that are named.
    pub rules: BTreeMap<Rule, Params>,
    /// What special terms are allowed; shared by the three terms rules.
    pub terms: TermsParams,
    /// Which interactions are picked for review.
    pub review_sampling: SamplingParams,
}

/// A layer and where it applies.
#[derive(Clone, Debug, Default)]
pub struct Override {
    /// Only in this tenant.
    pub tenant: Option<CompactString>,
    /// Only in this department.
    pub department: Option<CompactString>,
    /// Only in this pipeline.
    pub pipeline: Option<CompactString>,
    /// Only for leads of this source.
    pub source: Option<CompactString>,
    /// What applies there.
    pub layer: Layer,
}

/// Where a clock starts: what overrides are matched against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeQuery<'a> {
    /// The company.
    pub tenant: &'a str,
    /// The responsible's department, `unknown` if none.
    pub department: &'a str,
    /// The entity's pipeline.
    pub pipeline: Option<&'a str>,
    /// The entity's source.
    pub source: Option<&'a str>,
}

/// An ordered list of stages.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What goes through it.
    pub entity: EntityKind,
    /// In order.
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
    /// Longest time that an entity should spend in it.
    pub max_time: Option<Length>,
    /// Fields that must be filled before a move into it.
    pub requires_fields: Vec<CompactString>,
    /// Activities that must be completed before a move into it.
    pub requires_activities: Vec<CompactString>,
}

/// A rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// How much time it covers.
    pub size: Span,
    /// The norms spell the size in days.
    pub in_days: bool,
    /// How often it moves; a divisor of `size`.
    pub slide: Span,
}

impl Window {
    /// The windows when none are configured: 1h/1m, 24h/15m, 7d/2h, 30d/8h.
    pub const DEFAULT: [Self; 4] = [
        Self { size: Span::HOUR, in_days: false, slide: Span::MINUTE },
        Self { size: Span::DAY, in_days: false, slide: Span(15 * Span::MINUTE.0) },
        Self { size: Span(7 * Span::DAY.0), in_days: true, slide: Span(2 * Span::HOUR.0) },
        Self { size: Span(30 * Span::DAY.0), in_days: true, slide: Span(8 * Span::HOUR.0) },
    ];

    /// What it is called in rows, alerts and labels: as the norms spell its size (`24h`, `7d`).
    pub fn name(self) -> CompactString {
        if self.in_days { self.size.to_string().into() } else { self.size.in_hours() }
    }

    /// Complete panes before the running one.
    pub fn panes(self) -> i64 {
        self.size.0 / self.slide.0
    }

    /// The slide boundary from which on the window no longer covers a pane.
    pub fn leaves(self, pane: i64) -> Timestamp {
        Timestamp(pane.saturating_add(self.panes() + 1).saturating_mul(self.slide.0))
    }

    /// The first slide boundary after an instant.
    pub fn boundary_after(self, at: Timestamp) -> Timestamp {
        Timestamp((at.pane(self.slide) + 1).saturating_mul(self.slide.0))
    }
}

/// A span as a norm gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// How long.
    pub span: Span,
    /// Written in days, which only wall clocks have.
    pub in_days: bool,
}

/// What time a norm counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// All time.
    #[default]
    Wall,
    /// Working time on the scope's calendar.
    Business,
}

impl Clock {
    /// Every clock, in order.
    pub const ALL: [Self; 2] = [Self::Wall, Self::Business];

    /// The name in norms and alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Business => "business",
        }
    }
}

/// What counts as a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// Any touch.
    #[default]
    Attempt,
    /// Contact both ways.
    Conversation,
}

impl Response {
    /// Every response, in order.
    pub const ALL: [Self; 2] = [Self::Attempt, Self::Conversation];

    /// The name in norms and alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Conversation => "conversation",
        }
    }
}

/// What a conversion is counted over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// Those created in the window.
    #[default]
    Cohort,
    /// Those closed in the window.
    Closed,
}

impl Basis {
    /// Every basis, in order.
    pub const ALL: [Self; 2] = [Self::Cohort, Self::Closed];

    /// The name in norms and alerts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cohort => "cohort",
            Self::Closed => "closed",
        }
    }
}

/// The keys that rules may have; `None` where a layer does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// `false` switches a rule off.
    pub enabled: Option<bool>,
    /// How much a violation matters.
    pub severity: Option<Severity>,
    /// From the deadline, on the rule's clock.
    pub escalate_after: Option<Vec<Length>>,
    /// The deadline, from the anchor.
    pub within: Option<Length>,
    /// What time `within` counts.
    pub clock: Option<Clock>,
    /// What counts as a response.
    pub response: Option<Response>,
    /// How many touches are wanted.
    pub attempts: Option<i64>,
    /// Which entities are watched.
    pub entities: Option<Vec<EntityKind>>,
    /// Which outcomes are watched.
    pub applies_to: Option<Vec<Outcome>>,
    /// Which reasons are good ones.
    pub allowed_reasons: Option<Vec<CompactString>>,
    /// How many touches are wanted before a closing.
    pub min_touches: Option<i64>,
    /// Which channels are watched.
    pub channels: Option<Vec<Channel>>,
    /// Which window is judged, by size.
    pub window: Option<Span>,
    /// What a conversion is counted over.
    pub basis: Option<Basis>,
    /// Lower limit of a figure.
    pub at_least: Option<f64>,
    /// Lower limit as a part of the department's figure.
    pub of_department: Option<f64>,
    /// Upper limit of a share.
    pub at_most: Option<f64>,
    /// Upper limit of a lag.
    pub at_most_lag: Option<Length>,
    /// Which quantile is judged.
    pub quantile: Option<f64>,
    /// Below this many there is no judgement.
    pub min_sample: Option<i64>,
}

impl Params {
    /// Takes over every key that `over` says. `at_least` and `of_department` are two ways to say one thing: who says
    /// one of them takes back the other.
    pub fn merge(&mut self, over: &Self) {
        if over.at_least.is_some() || over.of_department.is_some() {
            (self.at_least, self.of_department) = (None, None);
        }
        macro_rules! keys {
            ($($key:ident)*) => {$(
                if over.$key.is_some() {
                    self.$key.clone_from(&over.$key);
                }
            )*};
        }
        keys! { enabled severity escalate_after within clock response attempts entities applies_to allowed_reasons
        min_touches channels window basis at_least of_department at_most at_most_lag quantile min_sample }
    }
}

/// The keys of `norms.terms`; `None` where a layer does not say. `enabled` and `severity` are those of the three rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TermsParams {
    /// Who may allow more.
    pub approvers: Option<Vec<CompactString>>,
    /// What is allowed; first match wins.
    pub policies: Option<Vec<TermsPolicy>>,
}

/// What special terms are allowed in a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TermsNorm {
    /// Who may allow more.
    pub approvers: Vec<CompactString>,
    /// First match wins.
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
    /// Largest discount, 0 to 100.
    pub max_discount_percent: Option<f64>,
    /// Longest instalment plan in months.
    pub max_installment_months: Option<i64>,
    /// Smallest prepayment, 0 to 100.
    pub min_prepayment_percent: Option<f64>,
}

/// The keys of `review_sampling`; `None` where a layer does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplingParams {
    /// Interactions per manager and day.
    pub per_day: Option<u32>,
    /// Shorter conversations are not picked.
    pub min_talk: Option<Span>,
}

/// Which interactions are picked for review in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewSampling {
    /// Interactions per manager and day.
    pub per_day: u32,
    /// Shorter conversations are not picked.
    pub min_talk: Span,
}

/// The norms of one place, with everything merged: what a clock that starts there goes by.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The calendar of business clocks; none: wall time.
    pub calendar: Option<Arc<Calendar>>,
    /// Parameters of the rules that are on.
    pub rules: BTreeMap<Rule, Params>,
    /// What special terms are allowed; `None`: they are not judged.
    pub terms: Option<Arc<TermsNorm>>,
    /// Which interactions are picked for review; `None`: none.
    pub review_sampling: Option<ReviewSampling>,
}

impl Norms {
    /// What is said everywhere, and then in places.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.base).chain(self.overrides.iter().map(|over| &over.layer))
    }

    /// The key of a tenant's HMACs: the privacy key, or without one the tenant's id.
    pub fn secret<'a>(&'a self, tenant: &'a TenantId) -> &'a str {
        self.privacy_key.as_deref().unwrap_or(tenant.as_str())
    }

    /// Whether any rule about acts is named anywhere.
    pub fn judges_acts(&self) -> bool {
        let act = |rule: &Rule| matches!(rule.definition().evaluation, Evaluation::Act(_));
        self.layers().flat_map(|layer| layer.rules.keys()).any(act)
    }

    /// The window that a window rule judges: the one it names, else the first.
    pub fn window_of(&self, params: &Params) -> Option<Window> {
        self.windows.iter().find(|window| params.window.is_none_or(|size| size == window.size)).copied()
    }

    /// What the layers that apply in `place` say together.
    pub fn layer(&self, place: ScopeQuery<'_>) -> Layer {
        let mut layer = self.base.clone();
        for over in self.overrides.iter().filter(|over| over.applies(place)) {
            layer.merge(&over.layer);
        }
        layer
    }

    /// The norms that apply in `place`.
    pub fn scope(&self, place: ScopeQuery<'_>) -> Scope {
        let mut layer = self.layer(place);
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
    /// Takes over every key that `over` says, rule by rule.
    pub fn merge(&mut self, over: &Self) {
        if over.calendar.is_some() {
            self.calendar.clone_from(&over.calendar);
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
        let (own, over) = (&mut self.review_sampling, over.review_sampling);
        own.per_day = over.per_day.or(own.per_day);
        own.min_talk = over.min_talk.or(own.min_talk);
    }
}

impl TermsParams {
    /// What is allowed, if there are rows to go by.
    pub fn completed(self) -> Option<TermsNorm> {
        Some(TermsNorm { policies: self.policies?, approvers: self.approvers.unwrap_or_default() })
    }
}

impl SamplingParams {
    /// What is picked, if it is known how many.
    pub fn completed(self) -> Option<ReviewSampling> {
        Some(ReviewSampling { per_day: self.per_day?, min_talk: self.min_talk.unwrap_or_default() })
    }
}

impl Override {
    /// Whether every key of its `when` that is given matches.
    pub fn applies(&self, place: ScopeQuery<'_>) -> bool {
        let fits = |wanted: &Option<CompactString>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| found == Some(wanted.as_str()))
        };
        fits(&self.tenant, Some(place.tenant))
            && fits(&self.department, Some(place.department))
            && fits(&self.pipeline, place.pipeline)
            && fits(&self.source, place.source)
    }
}

impl Scope {
    /// The deadline of a clock: `None` where its time never comes.
    pub fn deadline(&self, clock: Clock, from: Timestamp, span: Span) -> Option<Timestamp> {
        match (clock, &self.calendar) {
            (Clock::Business, Some(calendar)) => calendar.deadline(from, span),
            _ => Some(from.saturating_add(span)),
        }
    }

    /// When a clock of a rule that starts at `from` falls due: `None` where the rule is off, or its time never comes.
    pub fn due(&self, rule: Rule, from: Timestamp) -> Option<Timestamp> {
        let norm = self.rules.get(&rule)?;
        self.deadline(norm.clock.unwrap_or_default(), from, norm.within?.span)
    }

    /// The time that a rule's clock counts between two instants.
    pub fn counted(&self, rule: Rule, from: Timestamp, to: Timestamp) -> Span {
        self.elapsed(self.clock(rule), from, to)
    }

    /// A rule's clock.
    pub fn clock(&self, rule: Rule) -> Clock {
        self.rules.get(&rule).and_then(|norm| norm.clock).unwrap_or_default()
    }

    /// What an alert says of a rule's deadline.
    pub fn within(&self, rule: Rule) -> Values {
        let within = self.rules.get(&rule).and_then(|norm| norm.within).unwrap_or_default();
        vec![("within_seconds", within.span.into()), ("clock", self.clock(rule).name().into())]
    }

    /// The time that a clock counts between two instants; never negative.
    pub fn elapsed(&self, clock: Clock, from: Timestamp, to: Timestamp) -> Span {
        match (clock, &self.calendar) {
            (Clock::Business, Some(calendar)) => calendar.working(from, to),
            _ => (to - from).max(Span::ZERO),
        }
    }
}

//! Owns the figures of one tenant (sliding windows per manager, cohorts, current values) and builds rows from them.
//!
//! Only managers have panes. A department's figures are the sums over its current managers, a tenant's the sums over all
//! managers. Both are computed when a row is requested, and a manager who changes department takes their figures along.
//!
//! Window rules are evaluated in `scoreboard/window_evaluator.rs`.

mod managers;
mod open_violations;
mod targets;
mod window_evaluator;
mod window_violation;

use crate::domain::alert::Alert;
use crate::domain::effect::{Effect, ManagerUpdate, StageDeclaration};
use crate::domain::figures::pane::{Measure, PaneAggregate};
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::figures::table::{MAX_CURRENCIES, NowFigures, OTHER, Terms, WindowFigures};
use crate::domain::id::{DepartmentId, ManagerId, TenantId, UNKNOWN};
use crate::domain::index::{CurrencyIx, StageIx};
use crate::domain::norms::Norms;
use crate::domain::scoreboard::managers::{CurrentFigures, Managers, Offer, by_stage, terms};
use crate::domain::scoreboard::targets::Targets;
use crate::domain::scoreboard::window_evaluator::WindowEvaluator;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
pub use targets::{DayRecord, Membership, PersonRecord, Published, TargetChange, TargetViolation, TargetViolationKey};
pub use window_violation::{LastStatus, WindowViolation, WindowViolationKey};

/// The figures of one tenant.
#[derive(Debug)]
pub struct Scoreboard {
    managers: Managers,
    /// Every department ever seen: one without managers still has rows, with empty figures.
    departments: BTreeSet<DepartmentId>,
    stages: Vec<StageDeclaration>,
    currencies: Vec<CompactString>,
    evaluator: WindowEvaluator,
    targets: Targets,
    /// The instant up to which everything was judged, if nothing but facts was applied since: facts of one instant are many,
    /// and only a boundary after it can be due because of them.
    judged: Option<Timestamp>,
}

impl Scoreboard {
    /// An empty scoreboard with the windows of these norms.
    pub fn new(tenant: TenantId, norms: Arc<Norms>) -> Self {
        let managers = Managers::new(tenant, norms.windows.clone());
        Self {
            targets: Targets::new(Arc::clone(&norms), &managers.tenant),
            evaluator: WindowEvaluator::new(norms, &managers.tenant),
            managers,
            departments: BTreeSet::from([UNKNOWN.into()]),
            stages: Vec::new(),
            currencies: Vec::new(),
            judged: None,
        }
    }

    /// Applies an effect, after judging the slide boundaries before it; alerts of both are appended to `alerts`.
    pub fn apply(&mut self, effect: Effect, alerts: &mut Vec<Alert>) {
        let judged = self.judged.take();
        match effect {
            Effect::Fact(fact) => {
                let before = fact.known.saturating_sub(Span(1));
                if judged != Some(before) {
                    self.judge_until(before, alerts);
                }
                self.judged = Some(before);
                self.targets.count(&fact, currency_of(&self.currencies, fact.measure));
                if fact.times != 0 {
                    self.managers.count(&fact);
                    self.evaluator.mark_dirty(fact.who);
                }
            }
            Effect::FirstEvent(at) => self.targets.begin(at),
            Effect::Expired { last } => self.targets.expire(last),
            Effect::PastClosing(past) => {
                self.judge_until(past.known.saturating_sub(Span(1)), alerts);
                self.targets.count_past(&past);
            }
            Effect::ManagerUpdate(update) => {
                // Who was named for the first time has targets from then on.
                self.judge_until(update.known.max(update.seen).saturating_sub(Span(1)), alerts);
                self.targets.update(&update);
                self.update_manager(*update);
            }
            Effect::StageDeclaration(stage) => self.declare_stage(*stage),
            Effect::Currency(_, code) => self.currencies.push(code),
            Effect::ManagerForgotten { known, who, .. } => {
                self.judge_until(known, alerts);
                self.evaluator.forget(&mut self.managers, known, who, alerts);
                self.targets.forget(&mut self.managers, known, who, alerts);
                self.managers.forget(who);
            }
            Effect::DepartmentForgotten { id, .. } => {
                self.departments.remove(&id);
                self.managers.others.remove(&Some(id));
            }
            Effect::Alert(alert) => alerts.push(*alert),
            // Review requests are counted where they are published, takers are kept with the open alerts, and departments
            // are described where they are shown.
            // Forgotten tenants are replaced where they are kept.
            Effect::Review(_)
            | Effect::ReviewOver { .. }
            | Effect::AlertTaken(_)
            | Effect::DepartmentUpdate(_)
            | Effect::Forgotten(_) => {}
        }
    }

    /// Applies an effect of a replay after a restore: counts it, but does not judge boundaries or emit alerts again.
    pub fn replay(&mut self, effect: Effect) {
        match effect {
            Effect::Fact(fact) => {
                self.managers.count(&fact);
                self.targets.replay(&fact, currency_of(&self.currencies, fact.measure));
            }
            Effect::ManagerUpdate(update) => {
                self.targets.replay_update(&update);
                self.update_manager(*update);
            }
            Effect::FirstEvent(at) => self.targets.replay_begin(at),
            Effect::Expired { last } => self.targets.expire(last),
            Effect::PastClosing(past) => self.targets.replay_past(&past),
            Effect::StageDeclaration(stage) => self.declare_stage(*stage),
            Effect::Currency(_, code) => self.currencies.push(code),
            Effect::ManagerForgotten { who, .. } => {
                self.targets.replay_forget(who);
                self.managers.forget(who);
            }
            Effect::DepartmentForgotten { id, .. } => drop(self.departments.remove(&id)),
            Effect::Alert(_)
            | Effect::Review(_)
            | Effect::ReviewOver { .. }
            | Effect::AlertTaken(_)
            | Effect::DepartmentUpdate(_)
            | Effect::Forgotten(_) => {}
        }
    }

    /// The names of managers, as far as they are known.
    pub fn names(&self) -> impl Iterator<Item = (&ManagerId, &str)> {
        self.managers.all.iter().filter_map(|manager| Some((&manager.id, manager.name.as_deref()?)))
    }

    /// The number of contacts of more open entities than the limit.
    pub fn shared_contacts(&self) -> i64 {
        self.managers.shared_contacts
    }

    /// Applies new norms; the windows must be the same.
    pub fn reload(&mut self, norms: Arc<Norms>) {
        self.judged = None;
        self.targets.reload(Arc::clone(&norms));
        self.evaluator.reload(norms, &self.managers);
    }

    /// Resumes evaluation after a restore: everything up to `at` has been judged, with these stored violations. `norms`
    /// returns the norms in force at an instant. Returns the last alert of each open violation.
    pub fn resume(
        &mut self,
        at: Timestamp,
        violations: BTreeMap<WindowViolationKey, WindowViolation>,
        norms: impl Fn(Timestamp) -> Arc<Norms>,
    ) -> Vec<Alert> {
        self.judged = None;
        self.evaluator.resume(&mut self.managers, at, violations, norms)
    }

    /// Takes over what was stored of targets, before the events are replayed. `versions`: the norms in force, each with the
    /// instant from which they apply. `unknown_until`: the latest event that was dropped.
    pub fn load_targets(
        &mut self,
        stored: &[TargetChange],
        versions: Vec<(Timestamp, Arc<Norms>)>,
        unknown_until: Timestamp,
    ) {
        self.targets.load(stored, versions, unknown_until);
    }

    /// Resumes the evaluation of targets after a restore, like [`Self::resume`].
    pub fn resume_targets(&mut self, at: Timestamp, stored: Vec<TargetChange>) -> Vec<Alert> {
        self.judged = None;
        self.targets.resume(&mut self.managers, at, stored)
    }

    /// What to store of targets at the end of an epoch of which everything known up to `at` was counted.
    pub fn take_target_changes(&mut self, at: Timestamp) -> Vec<TargetChange> {
        self.targets.take_changes(at)
    }

    /// Deletes what is stored of targets.
    pub fn delete_targets(&mut self) -> Vec<TargetChange> {
        self.targets.delete()
    }

    /// The rows of the periods of targets that ended or changed since the last call, and those that are removed; with `all`,
    /// of all closed periods.
    pub fn closing_rows(&mut self, all: bool, at: Timestamp, into: &mut Vec<Row>) {
        self.targets.closing_rows(all, at, into);
    }

    /// Drops figures of targets that are before the previous quarter, and old closing rows.
    pub fn forget_past(&mut self, at: Timestamp) {
        self.targets.forget_past(at);
    }

    /// Judges all slide boundaries and performs all escalations up to and including `until`, in time order.
    pub fn judge_until(&mut self, until: Timestamp, alerts: &mut Vec<Alert>) {
        self.evaluator.judge_until(&mut self.managers, until, alerts);
        self.targets.judge_until(&mut self.managers, until, alerts);
    }

    /// Ends at `at`, because the tenant is forgotten: judges everything until then, ends what is open even so, and deletes
    /// the stored violations.
    pub fn end(&mut self, at: Timestamp, alerts: &mut Vec<Alert>) {
        self.judge_until(at, alerts);
        self.evaluator.end(&mut self.managers, at, alerts);
        self.targets.end(&mut self.managers, at, alerts);
    }

    /// The violations to store, as far as they changed since the last call; `None`: delete.
    pub fn take_changes(&mut self) -> BTreeMap<WindowViolationKey, Option<WindowViolation>> {
        self.evaluator.take_changes()
    }

    /// The norms in force.
    pub fn norms(&self) -> &Arc<Norms> {
        &self.evaluator.norms
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.managers.tenant
    }

    /// A declared stage and the tenant.
    pub fn stage(&self, ix: StageIx) -> Option<(&TenantId, &StageDeclaration)> {
        Some((&self.managers.tenant, self.stages.get(ix.0 as usize)?))
    }

    /// The declared stages, by index.
    pub fn stages(&self) -> &[StageDeclaration] {
        &self.stages
    }

    /// Whether the pipeline of a declared stage [lists](Norms::lists) it.
    pub fn is_listed(&self, ix: StageIx) -> bool {
        let declared = self.stages.get(ix.0 as usize);
        declared.is_none_or(|declared| self.norms().lists(&declared.pipeline, &declared.stage))
    }

    /// Every department ever seen, including `unknown`.
    pub fn departments(&self) -> impl Iterator<Item = &DepartmentId> {
        self.departments.iter()
    }

    fn update_manager(&mut self, update: ManagerUpdate) {
        let who = update.who;
        if let Some((from, to)) = self.managers.update(update) {
            self.departments.insert(to.clone());
            self.evaluator.change_department(who, from, to);
        }
    }

    fn declare_stage(&mut self, stage: StageDeclaration) {
        debug_assert_eq!(stage.ix.0 as usize, self.stages.len(), "stages are declared in index order");
        self.stages.push(stage);
    }

    /// All rows at `at`: managers, departments and the tenant, each for every window and `now`. Empty rows are included:
    /// in a compacted topic they replace the previous ones.
    pub fn rows(&mut self, at: Timestamp, into: &mut Vec<Row>) {
        for index in 0..self.managers.windows.len() {
            self.window_rows(index, at, into);
        }
        self.now_rows(at, into);
    }

    /// The rows of one window at `at`.
    pub fn window_rows(&mut self, index: usize, at: Timestamp, into: &mut Vec<Row>) {
        let window = self.managers.windows[index];
        self.managers.advance_all(index, at);
        let row = |subject, department, aggregate: &PaneAggregate, terms| {
            let figures = Figures::Window(window, Box::new(self.window_figures(aggregate, terms)));
            Row { tenant: self.managers.tenant.clone(), subject, department, at, historic: false, figures }
        };
        let mut departments: BTreeMap<DepartmentId, (PaneAggregate, Vec<&Offer>)> = self.default_per_department();
        for (manager_ix, manager) in self.managers.all.iter().enumerate() {
            let total = manager.sliding[index].total();
            let (aggregate, offers) = departments.entry(manager.department()).or_default();
            aggregate.merge(total, 1);
            offers.extend(manager.offers(window, at));
            if manager_ix > 0 && !manager.is_forgotten {
                let (subject, terms) = (Subject::Manager(manager.id.clone()), terms(manager.offers(window, at)));
                into.push(row(subject, manager.department.clone(), total, terms));
            }
        }
        let mut tenant = (PaneAggregate::default(), Vec::new());
        for (department, others) in &self.managers.others {
            let aggregate = match department {
                Some(id) if self.managers.is_staffed(id) => &mut departments.entry(id.clone()).or_default().0,
                _ => &mut tenant.0,
            };
            aggregate.merge(others.sliding[index].total(), 1);
        }
        for (id, (aggregate, offers)) in departments {
            tenant.0.merge(&aggregate, 1);
            tenant.1.extend(&offers);
            into.push(row(Subject::Department(id), None, &aggregate, terms(offers)));
        }
        into.push(row(Subject::Tenant, None, &tenant.0, terms(tenant.1)));
    }

    /// The `now` rows at `at`.
    pub fn now_rows(&self, at: Timestamp, into: &mut Vec<Row>) {
        let mut departments: BTreeMap<DepartmentId, CurrentFigures> = self.default_per_department();
        let mut tenant = CurrentFigures::default();
        let row = |subject, department, current: &CurrentFigures| {
            let targets = self.targets.figures(&subject, at);
            let figures = Figures::Now(Box::new(NowFigures { targets, ..current.figures(&self.stages, at) }));
            Row { tenant: self.managers.tenant.clone(), subject, department, at, historic: false, figures }
        };
        for (manager_ix, manager) in self.managers.all.iter().enumerate() {
            tenant.merge(&manager.now, at);
            departments.entry(manager.department()).or_default().merge(&manager.now, at);
            if manager_ix > 0 && !manager.is_forgotten {
                into.push(row(Subject::Manager(manager.id.clone()), manager.department.clone(), &manager.now));
            }
        }
        for (department, others) in &self.managers.others {
            tenant.merge(&others.now, at);
            if let Some(id) = department.as_ref().filter(|id| self.managers.is_staffed(id)) {
                departments.entry(id.clone()).or_default().merge(&others.now, at);
            }
        }
        for (id, current) in departments {
            into.push(row(Subject::Department(id), None, &current));
        }
        into.push(row(Subject::Tenant, None, &tenant));
    }

    fn default_per_department<T: Default>(&self) -> BTreeMap<DepartmentId, T> {
        self.departments.iter().map(|id| (id.clone(), T::default())).collect()
    }

    /// The code of a currency; [`OTHER`] beyond [`MAX_CURRENCIES`].
    fn currency(&self, ix: CurrencyIx) -> CompactString {
        match ix.0 as usize {
            MAX_CURRENCIES.. => OTHER.into(),
            ix => self.currencies.get(ix).cloned().unwrap_or_default(),
        }
    }

    fn window_figures(&self, aggregate: &PaneAggregate, terms: Terms) -> WindowFigures {
        let mut amount_won = BTreeMap::<CompactString, i64>::new();
        for (currency, minor) in aggregate.amounts() {
            let sum = amount_won.entry(self.currency(currency)).or_default();
            *sum = sum.saturating_add(minor);
        }
        let stage_conversion = by_stage(&self.stages, aggregate.stages());
        WindowFigures { terms, amount_won, stage_conversion, ..aggregate.figures() }
    }
}

/// The currency of a fact about an amount.
fn currency_of(currencies: &[CompactString], measure: Measure) -> Option<&CompactString> {
    match measure {
        Measure::AmountWon { currency, .. } => currencies.get(currency.0 as usize),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Resolution, Severity, Status, Values};
    use crate::domain::event::Verdict;
    use crate::domain::figures::pane::{Fact, Measure, Percent};
    use crate::domain::figures::statistics::Ratio;
    use crate::domain::figures::window::WindowSample;
    use crate::domain::identity::Country;
    use crate::domain::index::{JourneyIx, ManagerIx};
    use crate::domain::norms::{Basis, Layer, Override, Params, Scope, ScopeQuery};
    use crate::domain::rule::definition::{Evaluation, Judgement};
    use crate::domain::rule::{Rule, catalog};
    use crate::domain::time::Length;
    use crate::domain::time::window::Window;
    use proptest::prelude::*;

    const SHORT: Window = Window { size: Span(40), in_days: false, slide: Span(10) };
    const LONG: Window = Window { size: Span(60), in_days: false, slide: Span(20) };
    const UNUSED: Window = Window { size: Span(7), in_days: false, slide: Span(1) };
    const DEPARTMENTS: [&str; 3] = ["north", "south", UNKNOWN];
    const MANAGERS: u32 = 4;

    fn norms() -> Norms {
        let length = |span| Length { span: Span(span), in_days: false };
        let steps = |steps: &[i64]| Some(steps.iter().map(|step| length(*step)).collect());
        let none = Params::default;
        let base = [
            (
                Rule::ConversionLow,
                Params {
                    of_department: Some(0.95),
                    basis: Some(Basis::Closed),
                    min_sample: Some(2),
                    escalate_after: steps(&[7, 40]),
                    ..none()
                },
            ),
            (Rule::ResponseSlow, Params { at_most_lag: Some(length(3)), quantile: Some(0.5), ..none() }),
            (
                Rule::QualityLow,
                Params { min_score: Some(60.0), window: Some(LONG.size), escalate_after: steps(&[5]), ..none() },
            ),
            (Rule::StuckEarly, Params { at_most: Some(0.5), escalate_after: steps(&[0, 35]), ..none() }),
            (Rule::SpecialTermsFrequent, Params { at_most: Some(0.5), window: Some(LONG.size), ..none() }),
        ];
        let south = [
            (Rule::ConversionLow, Params { at_least: Some(0.9), window: Some(LONG.size), ..none() }),
            (Rule::QualityLow, Params { enabled: Some(false), ..none() }),
            (Rule::StuckEarly, Params { severity: Some(Severity::Info), escalate_after: steps(&[3]), ..none() }),
        ];
        // In a department without norms relative to it, one manager has such a norm, and vice versa.
        let of_m1 = [
            (Rule::ConversionLow, Params { of_department: Some(0.9), window: Some(LONG.size), ..none() }),
            (Rule::ResponseSlow, Params { at_most_lag: Some(length(1)), window: Some(LONG.size), ..none() }),
        ];
        let of_m2 = [
            (Rule::ConversionLow, Params { at_least: Some(0.5), ..none() }),
            (Rule::StuckEarly, Params { enabled: Some(false), ..none() }),
        ];
        let layer = |rules: &[(Rule, Params)]| Layer { rules: rules.iter().cloned().collect(), ..Layer::default() };
        Norms {
            document: String::new(),
            calendars: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            windows: vec![SHORT, LONG, UNUSED],
            min_talk: Span::SECOND,
            conversation_needs_manager: false,
            shared_contact_limit: 20,
            excluded_reasons: Vec::new(),
            country: Country::default(),
            privacy_key: None,
            base: layer(&base),
            overrides: vec![
                Override { department: Some("south".into()), layer: layer(&south), ..Override::default() },
                Override { manager: Some("m1".into()), layer: layer(&of_m1), ..Override::default() },
                Override {
                    department: Some("north".into()),
                    manager: Some("m2".into()),
                    layer: layer(&of_m2),
                    ..Override::default()
                },
            ],
            scopes: Default::default(),
        }
    }

    /// One step of a generated run; each comes with its delay after the step before.
    #[derive(Clone, Debug)]
    enum Step {
        Fact { before: i64, who: u32, times: i32, measure: Measure },
        Retract(prop::sample::Index),
        Move { who: u32, department: usize },
        Watermark,
    }

    fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
        let measure = prop_oneof![
            Just(Measure::OpenDeal),
            Just(Measure::Stuck),
            Just(Measure::Touch),
            (0..6i64).prop_map(|lag| Measure::HumanResponse { wall: Span(lag), business: Span(0) }),
            (0..6i64).prop_map(|lag| Measure::FirstResponse { wall: Span(lag), business: Span(0) }),
            (0..100i64)
                .prop_map(|score| Measure::Review { score_micros: score * 1_000_000, verdict: Verdict::Neutral }),
            (0..3u32, any::<bool>()).prop_map(|(deal, special)| Measure::Terms {
                deal: JourneyIx(deal),
                special,
                discount: Percent::default()
            }),
        ];
        let closing =
            any::<bool>().prop_map(|good| if good { Measure::LeadClosedConverted } else { Measure::LeadDisqualified });
        let measure = prop_oneof![4 => measure.prop_map(|measure| (1, measure)), 3 => (1..9, closing)];
        let before = prop_oneof![3 => Just(0), 2 => 0..90i64];
        let step = prop_oneof![
            12 => (before, 0..=MANAGERS, measure)
                .prop_map(|(before, who, (times, measure))| Step::Fact { before, who, times, measure }),
            3 => any::<prop::sample::Index>().prop_map(Step::Retract),
            2 => (1..=MANAGERS, 0..3usize).prop_map(|(who, department)| Step::Move { who, department }),
            2 => Just(Step::Watermark),
        ];
        let later = prop_oneof![4 => Just(0), 8 => 0..12i64, 1 => 0..150i64];
        prop::collection::vec((later, step), 1..100)
    }

    fn manager_update(known: Timestamp, who: u32, department: usize) -> ManagerUpdate {
        let department = Some(DEPARTMENTS[department].into()).filter(|_| department < 2);
        let id = format!("m{who}").into();
        ManagerUpdate { known, who: ManagerIx(who), id, department, active: true, name: None, seen: known }
    }

    /// An open violation of the naive model: beginning, level, severity, norm at the beginning, and the figures and norm
    /// of the last boundary.
    type Open = (Timestamp, u32, Severity, Params, Values, Values);

    /// The definition, implemented literally: every manager is judged at every boundary on a recount of all facts.
    #[derive(Default)]
    struct Naive {
        windows: Vec<Window>,
        /// By indices of manager and department.
        scopes: Vec<[Arc<Scope>; 3]>,
        facts: Vec<Fact>,
        departments: [usize; MANAGERS as usize + 1],
        judged_through: i64,
        open: BTreeMap<(usize, u32, Rule), Open>,
        alerts: Vec<String>,
    }

    impl Naive {
        fn until(&mut self, until: i64) {
            let windows = self.windows.clone();
            let rules = || {
                Rule::ALL.iter().filter(|rule| matches!(catalog::definition(**rule).evaluation, Evaluation::Window(_)))
            };
            for at in self.judged_through + 1..=until {
                for (index, window) in windows.iter().enumerate().filter(|(_, window)| at % window.slide.0 == 0) {
                    for (who, rule) in (1..=MANAGERS).flat_map(|who| rules().map(move |rule| (who, *rule))) {
                        self.judge_manager(Timestamp(at), (index, *window), who, rule);
                    }
                }
                self.escalate(Timestamp(at));
            }
            self.judged_through = self.judged_through.max(until);
        }

        fn aggregate(&self, at: Timestamp, window: Window, of: impl Fn(u32) -> bool) -> PaneAggregate {
            let running = at.pane(window.slide);
            let covered = running - window.panes()..=running;
            let mut aggregate = PaneAggregate::default();
            let facts =
                self.facts.iter().filter(|fact| of(fact.who.0) && covered.contains(&fact.at.pane(window.slide)));
            facts.for_each(|fact| aggregate.count(fact.measure, fact.times));
            aggregate
        }

        fn judge(&self, at: Timestamp, window: Window, who: u32, rule: Rule, norm: &Params) -> Option<Judgement> {
            let Evaluation::Window(judge) = catalog::definition(rule).evaluation else { return None };
            let own_department = self.departments[who as usize];
            let own = self.aggregate(at, window, |other| other == who);
            let department = self
                .aggregate(at, window, |other| self.departments[other as usize] == own_department)
                .lead_conversion();
            let running = at.pane(window.slide);
            let mut offers = BTreeMap::<(Timestamp, JourneyIx, bool), i32>::new();
            let (mut open, mut stuck) = (0, 0);
            for fact in self.facts.iter().filter(|fact| fact.who.0 == who) {
                let times = i64::from(fact.times);
                match fact.measure {
                    Measure::OpenDeal => open += times,
                    Measure::Stuck => stuck += times,
                    Measure::Terms { deal, special, .. } if fact.at.pane(window.slide) >= running - window.panes() => {
                        *offers.entry((fact.at, deal, special)).or_default() += fact.times;
                    }
                    _ => {}
                }
            }
            let deals = |special: bool| {
                let counted = offers.iter().filter(|((_, _, is), times)| **times > 0 && (*is || !special));
                counted.map(|((_, deal, _), _)| deal).collect::<BTreeSet<_>>().len() as i64
            };
            let special = Ratio { n: deals(false), k: deals(true) };
            judge(norm, &WindowSample { own: &own, department, special, stuck: Ratio { n: open, k: stuck } })
        }

        fn judge_manager(&mut self, at: Timestamp, (index, window): (usize, Window), who: u32, rule: Rule) {
            let scope = Arc::clone(&self.scopes[who as usize][self.departments[who as usize]]);
            let norm = scope.rules.get(&rule).filter(|norm| norm.window.unwrap_or(SHORT.size) == window.size);
            let open = self.open.remove(&(index, who, rule));
            let judged = norm.and_then(|norm| Some((norm, self.judge(at, window, who, rule, norm)?)));
            let Some((norm, judgement)) = judged else {
                let Some((began, level, severity, _, observed, limits)) = open else { return };
                let end = (Status::Resolved, Some(Resolution::Disabled));
                return self.emit(at, window, who, rule, (began, level, severity), end, Some(&observed), &limits);
            };
            let Judgement { n, violated, met, mut observed, norm: limits } = judgement;
            let enough = n >= norm.min_sample.unwrap_or(1);
            let resolution = if !enough { Resolution::SampleTooSmall } else { Resolution::Recovered };
            match open {
                Some((began, level, severity, ..)) if !enough || met => {
                    observed.retain(|(key, _)| enough || ["n", "k"].contains(key));
                    let end = (Status::Resolved, Some(resolution));
                    self.emit(at, window, who, rule, (began, level, severity), end, Some(&observed), &limits);
                }
                Some((began, level, severity, norm, ..)) => {
                    self.open.insert((index, who, rule), (began, level, severity, norm, observed, limits));
                }
                None if enough && violated => {
                    let severity = norm.severity.unwrap_or_default();
                    self.emit(
                        at,
                        window,
                        who,
                        rule,
                        (at, 0, severity),
                        (Status::Firing, None),
                        Some(&observed),
                        &limits,
                    );
                    self.open.insert((index, who, rule), (at, 0, severity, norm.clone(), observed, limits));
                }
                None => {}
            }
        }

        fn escalate(&mut self, at: Timestamp) {
            let keys: Vec<_> = self.open.keys().copied().collect();
            for (index, who, rule) in keys {
                while let Some((began, level, _, norm, observed, limits)) = self.open.get(&(index, who, rule)).cloned()
                {
                    let after = norm.escalate_after.as_ref().and_then(|steps| steps.get(level as usize));
                    if after.is_none_or(|after| began + after.span > at) {
                        break;
                    }
                    let severity = norm.severity.unwrap_or_default().raised(level + 1);
                    let window = self.windows[index];
                    let state = (began, level + 1, severity);
                    self.emit(at, window, who, rule, state, (Status::Escalated, None), Some(&observed), &limits);
                    self.open.insert((index, who, rule), (began, level + 1, severity, norm, observed, limits));
                }
            }
        }

        #[expect(clippy::too_many_arguments, reason = "everything an alert contains")]
        fn emit(
            &mut self,
            at: Timestamp,
            window: Window,
            who: u32,
            rule: Rule,
            (began, level, severity): (Timestamp, u32, Severity),
            (status, resolution): (Status, Option<Resolution>),
            observed: Option<&Values>,
            norm: &Values,
        ) {
            let department = DEPARTMENTS[self.departments[who as usize]];
            let (rule, subject) = (rule.name(), format!("manager:m{who}/{}", window.name()));
            let observed = observed.cloned().unwrap_or_default();
            self.alerts.push(format!(
                "{} {status:?} {rule} {subject} {department} {level} {severity:?} {} {resolution:?} {observed:?} {norm:?}",
                at.0, began.0
            ));
        }
    }

    fn describe(alert: &Alert) -> String {
        let Alert { rule, severity, level, status, subject, at, anchor_at, resolution, .. } = alert;
        let department = alert.department.as_ref().map_or("", DepartmentId::as_str);
        let (rule, observed, norm) = (rule.name(), &alert.observed, &alert.norm);
        format!(
            "{} {status:?} {rule} {subject} {department} {level} {severity:?} {} {resolution:?} {observed:?} {norm:?}",
            at.0, anchor_at.0
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn lazy_evaluation_finds_the_same_as_judging_every_manager_at_every_boundary(steps in steps()) {
            let mut board = Scoreboard::new("acme".into(), Arc::new(norms()));
            let scope = |department, who| {
                let manager = format!("m{who}");
                let query = ScopeQuery { tenant: "acme", department, manager: Some(&manager), ..ScopeQuery::default() };
                Arc::new(norms().scope(query))
            };
            let scopes = |who| DEPARTMENTS.map(|department| scope(department, who));
            let (windows, scopes) = (norms().windows, (0..=MANAGERS).map(scopes).collect());
            let mut naive = Naive { windows, scopes, ..Naive::default() };
            let mut alerts = Vec::new();
            for who in 1..=MANAGERS {
                let department = who as usize % 3;
                naive.departments[who as usize] = department;
                board.apply(Effect::ManagerUpdate(Box::new(manager_update(Timestamp::MIN, who, department))), &mut alerts);
            }
            naive.departments[0] = 2;
            board.judge_until(Timestamp::MIN, &mut alerts);
            let mut now = 1;
            let mut retracted = BTreeSet::new();
            for (later, step) in steps.into_iter().chain([(500, Step::Watermark)]) {
                now += later;
                let known = Timestamp(now);
                // A fact at a watermark is a correction: boundaries already judged stay as they are.
                naive.until(now - 1);
                let fact = match step {
                    Step::Watermark => {
                        naive.until(now);
                        board.judge_until(known, &mut alerts);
                        continue;
                    }
                    Step::Move { who, department } => {
                        naive.departments[who as usize] = department;
                        board.apply(Effect::ManagerUpdate(Box::new(manager_update(known, who, department))), &mut alerts);
                        continue;
                    }
                    Step::Fact { before, who, times, measure } => {
                        Fact { known, at: Timestamp(now - before), who: ManagerIx(who), times, measure }
                    }
                    Step::Retract(which) => {
                        let which = which.index(naive.facts.len().max(1));
                        let Some(fact) = naive.facts.get(which).filter(|fact| fact.times > 0) else { continue };
                        if !retracted.insert(which) {
                            continue;
                        }
                        Fact { known, times: -fact.times, ..*fact }
                    }
                };
                naive.facts.push(fact);
                board.apply(Effect::Fact(fact), &mut alerts);
            }
            prop_assert_eq!(alerts.iter().map(describe).collect::<Vec<_>>(), naive.alerts);
            let open: i64 = board.managers.all.iter().flat_map(|manager| manager.now.open_alerts.values()).sum();
            prop_assert_eq!(open, naive.open.len() as i64);
        }
    }

    #[test]
    fn a_window_without_rules_has_no_schedule() {
        let board = |norms| Scoreboard::new("acme".into(), Arc::new(norms));
        let all = board(norms()).evaluator.schedules;
        assert_eq!(all.iter().map(|schedule| schedule.window).collect::<Vec<_>>(), [SHORT, LONG]);
        let none = board(Norms { base: Layer::default(), overrides: Vec::new(), ..norms() }).evaluator.schedules;
        assert!(none.is_empty());
        let mut elsewhere = norms();
        elsewhere.base = Layer::default();
        elsewhere.overrides.iter_mut().for_each(|over| over.tenant = Some("other".into()));
        assert!(board(elsewhere).evaluator.schedules.is_empty());
    }
}

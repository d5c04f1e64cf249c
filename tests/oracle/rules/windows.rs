//! The window rules, judged per manager at each slide boundary: `conversion_low`, `response_slow`, `quality_low`,
//! `stuck_early`, `special_terms_frequent`.
//!
//! For each rule and window the events are replayed again from boundary to boundary, so that each boundary sees exactly
//! what was known by then. Boundaries at which no figure can have changed are skipped.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::super::alert::{Alert, AlertHeader, AlertOwner, StatusDetails};
use super::super::decode::{Event, Outcome, Topic};
use super::super::figures::wilson;
use super::super::history::{TenantHistory, UNKNOWN};
use super::super::identity::{EntityId, Kind};
use super::super::norms::{Norm, Norms, Scope, Window};
use super::first_response_late::{self, Lag};
use super::{StatusKind, Step, seconds, stage_overdue};

pub const RULES: [&str; 5] =
    ["conversion_low", "response_slow", "quality_low", "stuck_early", "special_terms_frequent"];

/// `response_slow` is judged on an estimate; within this relative distance of the norm the result is undecided.
const BORDERLINE: f64 = 0.005;

pub struct Judged {
    pub alerts: Vec<Alert>,
    /// Some `response_slow` value was too close to its norm to decide.
    pub borderline: bool,
}

/// `history` is the full history; only its managers and departments are used.
pub fn judge(history: &TenantHistory, events: &[Event], norms: &Norms, until: i64) -> Judged {
    let mut judged = Judged { alerts: Vec::new(), borderline: false };
    let departments: BTreeSet<&str> =
        history.managers.values().flatten().filter_map(|(_, d)| d.as_deref()).chain([UNKNOWN]).collect();
    for rule in RULES {
        // The norm of each manager in each department.
        let mut all: BTreeMap<(String, String), Norm> = BTreeMap::new();
        for department in &departments {
            for manager in &history.all_managers {
                if let Some(norm) = norms.rule(rule, &scope(history, department, manager)) {
                    all.insert(((*department).to_owned(), manager.clone()), norm);
                }
            }
        }
        let windows = all.values().filter_map(|norm| norms.window(norm));
        let windows: BTreeMap<&str, &Window> = windows.map(|window| (window.name.as_str(), window)).collect();
        for window in windows.into_values() {
            let of_window = |norm: &&Norm| norms.window(norm).is_some_and(|own| own.name == window.name);
            let own = all.iter().filter(|(_, norm)| of_window(norm));
            let norms_of = own.map(|((department, manager), norm)| ((department.as_str(), manager.as_str()), norm));
            let norms_of = norms_of.collect();
            let mut run = Run { history, norms, rule, window, norms_of, cache: Cache::default(), judged: &mut judged };
            run.judge(events, until);
        }
    }
    judged.alerts.sort_by_key(|alert| (alert.statuses[0].at, alert.rule, alert.id.clone()));
    judged
}

/// Decision 18: a `when` with pipeline or source does not match.
fn scope(history: &TenantHistory, department: &str, manager: &str) -> Scope {
    Scope {
        tenant: history.tenant.clone(),
        department: department.to_owned(),
        manager: Some(manager.to_owned()),
        pipeline: None,
        source: None,
    }
}

struct Run<'a> {
    history: &'a TenantHistory,
    norms: &'a Norms,
    rule: &'static str,
    window: &'a Window,
    /// By department and manager.
    norms_of: BTreeMap<(&'a str, &'a str), &'a Norm>,
    cache: Cache,
    judged: &'a mut Judged,
}

/// Values that are slow to compute and do not change between boundaries.
#[derive(Default)]
struct Cache {
    lags: HashMap<(EntityId, (i64, usize), usize), Option<Lag>>,
    stays: HashMap<EntityId, (Version, Option<Stuck>)>,
}

/// Of a deal: the number of its visits and open changes, whether its pipeline is known.
type Version = (usize, usize, bool);

/// Early, due.
type Stuck = (bool, Option<i64>);

/// One fact that counts in the window.
struct WindowFact {
    date: i64,
    who: Option<String>,
    value: FactValue,
}

#[derive(Clone)]
enum FactValue {
    /// Whether a lead, by creation or by closing, was converted.
    Cohort(bool),
    Closed(bool),
    /// Wall time, business time.
    Lag(i64, i64),
    Score(f64),
    Deal(bool),
    Offer(String, bool),
}

/// A manager's figure.
#[derive(Default)]
struct Figure {
    n: usize,
    k: Option<usize>,
    value: Option<f64>,
    upper: Option<f64>,
}

struct OpenAlert {
    manager: String,
    began: i64,
    moment: usize,
    /// From the norm at the beginning.
    severity: usize,
    escalations: Vec<i64>,
    level: usize,
    observed: Value,
    required: Value,
    details: Vec<StatusDetails>,
}

impl Run<'_> {
    fn judge(&mut self, events: &[Event], until: i64) {
        let slide = self.window.slide;
        let ceil = |at: i64| at.div_euclid(slide) * slide + if at.rem_euclid(slide) == 0 { 0 } else { slide };
        let mut as_of = TenantHistory::empty(&self.history.tenant, events, self.norms);
        let mut applied = 0;
        let mut open: BTreeMap<String, OpenAlert> = BTreeMap::new();
        let Some(first) = events.first() else { return };
        let mut boundary = ceil(first.at);
        while boundary <= until {
            while applied < events.len() && events[applied].at <= boundary {
                applied += 1;
                as_of.apply(&events[applied - 1], applied);
            }
            let facts = self.facts(&as_of, boundary);
            self.boundary(&as_of, &facts, boundary, applied, &mut open);

            // The next boundary where something can change: an event, a fact that leaves the window, a deadline.
            let matters = |event: &&Event| self.rule == "response_slow" || event.topic == Topic::Crm;
            let event = events[applied..].iter().find(matters).map(|event| ceil(event.at));
            let size = self.window.size;
            let leaves = facts.iter().filter(|fact| !matches!(fact.value, FactValue::Deal(_)));
            let leaves = leaves.map(|fact| (fact.date + size).div_euclid(slide) * slide + slide).min();
            let due = self.cache.stays.values().filter_map(|(_, stay)| (*stay)?.1).filter(|due| *due > boundary);
            let due = if self.rule == "stuck_early" { due.map(ceil).min() } else { None };
            let Some(next) = [event, leaves, due].into_iter().flatten().min() else { break };
            boundary = next;
        }
        for (_, mut alert) in open {
            self.escalate(&mut alert, until, true);
            self.close(alert);
        }
    }

    /// The facts in the window at this boundary: exactly `size`, including the boundary itself.
    fn facts(&mut self, as_of: &TenantHistory, boundary: i64) -> Vec<WindowFact> {
        let own = |who: Option<&str>| who.map(str::to_owned);
        let mut facts: Vec<WindowFact> = Vec::new();
        match self.rule {
            "conversion_low" => {
                let named_by_deals = as_of.leads_named();
                let leads = as_of.entities.values().filter(|e| e.id.kind == Kind::Lead && e.deleted.is_none());
                let leads = leads.filter(|lead| !lead.is_excluded(&self.norms.excluded_reasons));
                for lead in leads {
                    let outcome = lead.current_closing().map(|closing| closing.outcome);
                    if let Some(created) = lead.created {
                        let converted = outcome == Some(Outcome::Converted) || named_by_deals.contains(&lead.id);
                        let value = FactValue::Cohort(converted);
                        facts.push(WindowFact { date: created.at, who: own(lead.responsible()), value });
                    }
                    if let Some(closing) = lead.current_closing()
                        && matches!(closing.outcome, Outcome::Converted | Outcome::Disqualified)
                    {
                        let value = FactValue::Closed(closing.outcome == Outcome::Converted);
                        facts.push(WindowFact { date: closing.at, who: closing.who.clone(), value });
                    }
                }
            }
            "response_slow" => {
                for entity in as_of.entities.values() {
                    let Some(act) = first_response_late::first_response(entity) else { continue };
                    let key = (entity.id.clone(), (act.date, act.moment), entity.closings.len());
                    let known = entity.first_response.is_some() && !entity.merged;
                    let norms = self.norms;
                    let lag = if known {
                        self.cache.lags.entry(key).or_insert_with(|| first_response_late::lag(norms, entity)).as_ref()
                    } else {
                        None
                    };
                    if let Some(lag) = lag {
                        let value = FactValue::Lag(lag.wall, lag.business);
                        facts.push(WindowFact { date: lag.date, who: lag.who.clone(), value });
                    }
                }
            }
            "quality_low" => {
                facts.extend(as_of.reviews.iter().map(|review| WindowFact {
                    date: review.date,
                    who: review.who.clone(),
                    value: FactValue::Score(review.value.score),
                }));
            }
            "stuck_early" => {
                for deal in as_of.entities.values().filter(|e| e.id.kind == Kind::Deal && e.is_open()) {
                    let pipeline_known = deal.visits.last().is_some_and(|visit| visit.pipeline.is_some());
                    let key = (deal.visits.len(), deal.open_changes.len(), pipeline_known);
                    let held = self.cache.stays.get(&deal.id).filter(|(have, _)| *have == key);
                    let stay = match held {
                        Some((_, stay)) => *stay,
                        None => {
                            let stay = stage_overdue::present(self.norms, deal).map(|stay| (stay.early, stay.due));
                            self.cache.stays.insert(deal.id.clone(), (key, stay));
                            stay
                        }
                    };
                    let stuck = stay.is_some_and(|(early, due)| early && due.is_some_and(|due| due <= boundary));
                    facts.push(WindowFact {
                        date: boundary,
                        who: own(deal.responsible()),
                        value: FactValue::Deal(stuck),
                    });
                }
            }
            _ => {
                facts.extend(as_of.offers.iter().map(|offer| WindowFact {
                    date: offer.date,
                    who: offer.who.clone(),
                    value: FactValue::Offer(offer.value.deal.clone(), offer.value.special),
                }));
            }
        }
        let start = boundary - self.window.size;
        facts.retain(|fact| (start..=boundary).contains(&fact.date));
        facts
    }

    fn boundary(
        &mut self,
        as_of: &TenantHistory,
        facts: &[WindowFact],
        boundary: i64,
        moment: usize,
        open: &mut BTreeMap<String, OpenAlert>,
    ) {
        let department_of = |who: Option<&str>| as_of.department_at(who, usize::MAX);
        let mut of_department: BTreeMap<&str, Vec<&WindowFact>> = BTreeMap::new();
        let mut of_manager: BTreeMap<&str, Vec<&WindowFact>> = BTreeMap::new();
        for fact in facts {
            of_department.entry(department_of(fact.who.as_deref())).or_default().push(fact);
            if let Some(who) = &fact.who {
                of_manager.entry(who).or_default().push(fact);
            }
        }
        let none = Vec::new();
        for manager in &as_of.all_managers {
            let department = department_of(Some(manager));
            let own_facts = of_manager.get(manager.as_str()).unwrap_or(&none);
            let norm = self.norms_of.get(&(department, manager.as_str())).copied();
            if norm.is_none() && !open.contains_key(manager) {
                continue;
            }
            // Escalations before this boundary come first; one at the boundary only if it does not end the alert.
            if let Some(alert) = open.get_mut(manager) {
                self.escalate(alert, boundary, false);
            }
            let step =
                |kind, level, resolution| Step { kind, at: boundary, moment, level, observed_to: boundary, resolution };
            let Some(norm) = norm else {
                let mut alert = open.remove(manager).expect("an open alert");
                let step = step(StatusKind::Resolved, alert.level, Some("disabled"));
                alert.details.push((step, alert.observed.clone(), alert.required.clone()));
                self.close(alert);
                continue;
            };
            let department_facts = of_department.get(department).map_or(&none, |all| all);
            let department_value = self.figure(norm, department_facts).value;
            let figure = self.figure(norm, own_facts);
            let min_sample = norm.number("min_sample").unwrap_or(1.0) as usize;
            let applied = match norm.number("of_department") {
                Some(factor) => department_value.map(|value| factor * value),
                None => norm.number(if self.is_lower_limit() { "at_least" } else { "at_most" }),
            };
            let enough = figure.n >= min_sample;
            let (violated, met) = match (figure.value, self.limit(norm, applied)) {
                (Some(value), Some(limit)) if self.rule == "conversion_low" => {
                    (figure.upper.unwrap() < limit, value >= limit)
                }
                (Some(value), Some(limit)) if self.is_lower_limit() => (value < limit, value >= limit),
                (Some(value), Some(limit)) => {
                    if self.rule == "response_slow" && (value - limit).abs() <= BORDERLINE * limit {
                        self.judged.borderline = true;
                    }
                    (value > limit, value <= limit)
                }
                _ => (false, true),
            };
            let observed = self.observed(&figure, enough);
            let required = self.required(norm, applied, min_sample);
            match open.get_mut(manager) {
                None if enough && violated => {
                    let after = |span: &i64| norm.clock.after(boundary, *span);
                    let details = vec![(step(StatusKind::Firing, 0, None), observed.clone(), required.clone())];
                    let alert = OpenAlert {
                        manager: manager.clone(),
                        began: boundary,
                        moment,
                        severity: norm.severity,
                        escalations: norm.escalate_after.iter().map_while(after).collect(),
                        level: 0,
                        observed,
                        required,
                        details,
                    };
                    open.insert(manager.clone(), alert);
                }
                Some(_) if !enough || met => {
                    let mut alert = open.remove(manager).expect("an open alert");
                    // An empty department has no ratio to derive the norm from: keep the last norm.
                    let required = if required["at_least"].is_null() && self.is_lower_limit() {
                        alert.required.clone()
                    } else {
                        required
                    };
                    let resolution = if enough { "recovered" } else { "sample_too_small" };
                    alert.details.push((step(StatusKind::Resolved, alert.level, Some(resolution)), observed, required));
                    self.close(alert);
                }
                Some(alert) => {
                    (alert.observed, alert.required) = (observed, required);
                }
                None => {}
            }
        }
    }

    /// Adds the escalations due before an instant, or up to it. They use the values of the last boundary.
    fn escalate(&self, alert: &mut OpenAlert, to: i64, inclusive: bool) {
        while let Some(at) = alert.escalations.get(alert.level).copied()
            && (at < to || inclusive && at == to)
        {
            alert.level += 1;
            let step = Step {
                kind: StatusKind::Escalated,
                at,
                moment: self.history.moment_at(at),
                level: alert.level,
                observed_to: at,
                resolution: None,
            };
            alert.details.push((step, alert.observed.clone(), alert.required.clone()));
        }
    }

    fn close(&mut self, alert: OpenAlert) {
        debug_assert!(alert.moment <= self.history.moment_at(alert.began));
        let header = AlertHeader {
            rule: self.rule,
            subject: format!("manager:{}/{}", alert.manager, self.window.name),
            owner: AlertOwner::Manager(Some(alert.manager)),
            entity: None,
            interaction: None,
            window: Some(&self.window.name),
            anchor: alert.began,
            due: None,
            severity: alert.severity,
        };
        self.judged.alerts.push(header.build(self.history, alert.details));
    }

    /// Whether the norm is a lower limit.
    fn is_lower_limit(&self) -> bool {
        ["conversion_low", "quality_low"].contains(&self.rule)
    }

    fn limit(&self, norm: &Norm, applied: Option<f64>) -> Option<f64> {
        if self.rule == "response_slow" { at_most_seconds(norm) } else { applied }
    }

    fn figure(&self, norm: &Norm, facts: &[&WindowFact]) -> Figure {
        let closed = norm.keys.get("basis").and_then(Value::as_str) == Some("closed");
        let share = |each: Vec<bool>| {
            let (n, k) = (each.len(), each.iter().filter(|yes| **yes).count());
            let value = (n > 0).then(|| k as f64 / n as f64);
            Figure { n, k: Some(k), value, upper: wilson(n, k).map(|bounds| bounds.1) }
        };
        match self.rule {
            "conversion_low" => share(
                facts
                    .iter()
                    .filter_map(|fact| match fact.value {
                        FactValue::Cohort(converted) if !closed => Some(converted),
                        FactValue::Closed(converted) if closed => Some(converted),
                        _ => None,
                    })
                    .collect(),
            ),
            "stuck_early" => share(facts.iter().map(|fact| matches!(fact.value, FactValue::Deal(true))).collect()),
            "special_terms_frequent" => {
                // Decision 17: a deal is special if any of its offers in the window was.
                let mut deals: BTreeMap<&str, bool> = BTreeMap::new();
                for fact in facts {
                    if let FactValue::Offer(deal, special) = &fact.value {
                        *deals.entry(deal).or_default() |= special;
                    }
                }
                share(deals.into_values().collect())
            }
            "quality_low" => {
                let scores =
                    facts.iter().filter_map(|fact| if let FactValue::Score(s) = fact.value { Some(s) } else { None });
                let scores: Vec<f64> = scores.collect();
                let value = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
                Figure { n: scores.len(), value, ..Figure::default() }
            }
            _ => {
                let business = norm.clock_name == "business";
                let lag = |fact: &&WindowFact| match fact.value {
                    FactValue::Lag(wall, working) => Some(if business { working } else { wall }),
                    _ => None,
                };
                let mut lags: Vec<i64> = facts.iter().filter_map(lag).collect();
                lags.sort_unstable();
                // Nearest rank; computed in thousandths so that it is exact.
                let thousandths = (quantile(norm) * 1000.0).round() as usize;
                let rank = (thousandths * lags.len()).div_ceil(1000).max(1);
                Figure { n: lags.len(), value: lags.get(rank - 1).map(|lag| seconds(*lag)), ..Figure::default() }
            }
        }
    }

    /// Only `n` and `k` if the sample is too small.
    fn observed(&self, figure: &Figure, enough: bool) -> Value {
        let mut observed = Map::new();
        observed.insert("n".to_owned(), json!(figure.n));
        if let Some(k) = figure.k {
            observed.insert("k".to_owned(), json!(k));
        }
        if enough {
            let key = match self.rule {
                "response_slow" => "quantile_seconds",
                "quality_low" => "mean_score",
                _ => "ratio",
            };
            observed.insert(key.to_owned(), json!(figure.value));
            if self.rule == "conversion_low" {
                observed.insert("upper".to_owned(), json!(figure.upper));
            }
        }
        Value::Object(observed)
    }

    fn required(&self, norm: &Norm, applied: Option<f64>, min_sample: usize) -> Value {
        match self.rule {
            "conversion_low" => {
                let basis = norm.keys.get("basis").and_then(Value::as_str).unwrap_or("cohort");
                json!({"at_least": applied, "min_sample": min_sample, "basis": basis})
            }
            "response_slow" => json!({
                "at_most_seconds": at_most_seconds(norm),
                "quantile": quantile(norm),
                "clock": norm.clock_name,
                "min_sample": min_sample,
            }),
            "quality_low" => json!({"at_least": applied, "min_sample": min_sample}),
            _ => json!({"at_most": applied, "min_sample": min_sample}),
        }
    }
}

fn at_most_seconds(norm: &Norm) -> Option<f64> {
    Some(seconds(super::super::calendar::span(norm.keys.get("at_most")?.as_str()?)?))
}

fn quantile(norm: &Norm) -> f64 {
    norm.number("quantile").unwrap_or(0.9)
}

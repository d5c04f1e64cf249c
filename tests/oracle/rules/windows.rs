//! The rules about a manager's window: `conversion_low`, `response_slow`, `quality_low`, `stuck_early`,
//! `special_terms_frequent`, judged at each slide boundary.
//!
//! For each rule and window the events are replayed once more, up to boundary after boundary, so that each boundary sees
//! what was known by then and nothing else. Boundaries at which no figure can have changed are passed over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::super::alert::{Alert, Heading, Told, Whose};
use super::super::decode::{Event, Outcome, Topic};
use super::super::figures::wilson;
use super::super::history::{UNKNOWN, World};
use super::super::identity::{EntityId, Kind};
use super::super::norms::{Norm, Norms, Scope, Window};
use super::first_response_late::{self, Lag};
use super::{Step, Turn, seconds, stage_overdue};

pub const RULES: [&str; 5] =
    ["conversion_low", "response_slow", "quality_low", "stuck_early", "special_terms_frequent"];

/// `response_slow` is judged on an estimate; nearer to the norm than this nobody can tell.
const BORDER: f64 = 0.005;

pub struct Judged {
    pub alerts: Vec<Alert>,
    /// Some `response_slow` was too close to tell.
    pub borderline: bool,
}

/// `world` knows everything; it is asked for departments only.
pub fn judge(world: &World, events: &[Event], norms: &Norms, until: i64) -> Judged {
    let mut judged = Judged { alerts: Vec::new(), borderline: false };
    let departments: BTreeSet<&str> =
        world.managers.values().flatten().filter_map(|(_, d)| d.as_deref()).chain([UNKNOWN]).collect();
    for rule in RULES {
        let norm = |department: &&str| (department.to_string(), norms.rule(rule, &scope(world, department)));
        let by_department: BTreeMap<String, Option<Norm>> = departments.iter().map(norm).collect();
        let windows = by_department.values().flatten().filter_map(|norm| norms.window(norm));
        let windows: BTreeMap<&str, &Window> = windows.map(|window| (window.name.as_str(), window)).collect();
        for window in windows.into_values() {
            let of_window = |norm: &&Norm| norms.window(norm).is_some_and(|own| own.name == window.name);
            let norms_of: BTreeMap<&str, &Norm> = by_department
                .iter()
                .filter_map(|(department, norm)| Some((department.as_str(), norm.as_ref().filter(of_window)?)))
                .collect();
            let mut run = Run { world, norms, rule, window, norms_of, cache: Cache::default(), judged: &mut judged };
            run.judge(events, until);
        }
    }
    judged.alerts.sort_by_key(|alert| (alert.began().at, alert.rule, alert.id.clone()));
    judged
}

/// Decision 18: a `when` with pipeline or source does not fit.
fn scope(world: &World, department: &str) -> Scope {
    Scope { tenant: world.tenant.clone(), department: department.to_owned(), pipeline: None, source: None }
}

struct Run<'a> {
    world: &'a World,
    norms: &'a Norms,
    rule: &'static str,
    window: &'a Window,
    norms_of: BTreeMap<&'a str, &'a Norm>,
    cache: Cache,
    judged: &'a mut Judged,
}

/// What does not change between boundaries and is slow to reckon.
#[derive(Default)]
struct Cache {
    lags: HashMap<(EntityId, usize, usize), Option<Lag>>,
    stays: HashMap<EntityId, (Version, Option<Stuck>)>,
}

/// Of a deal: its places, its turnings, whether its pipeline is known.
type Version = (usize, usize, bool);

/// Early, due.
type Stuck = (bool, Option<i64>);

/// One fact that counts in the window.
struct One {
    date: i64,
    who: Option<String>,
    what: What,
}

#[derive(Clone)]
enum What {
    /// Of a cohort of leads; of closings of leads.
    Cohort(bool),
    Closed(bool),
    /// On the wall, in business time.
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

struct Open {
    manager: String,
    began: i64,
    moment: usize,
    /// The norm of the beginning: its severity and escalations.
    severity: usize,
    escalations: Vec<i64>,
    level: usize,
    observed: Value,
    asked: Value,
    told: Vec<Told>,
}

impl Run<'_> {
    fn judge(&mut self, events: &[Event], until: i64) {
        let slide = self.window.slide;
        let ceil = |at: i64| at.div_euclid(slide) * slide + if at.rem_euclid(slide) == 0 { 0 } else { slide };
        let mut then = World::empty(&self.world.tenant, events, self.norms);
        let mut applied = 0;
        let mut open: BTreeMap<String, Open> = BTreeMap::new();
        let Some(first) = events.first() else { return };
        let mut boundary = ceil(first.at);
        while boundary <= until {
            while applied < events.len() && events[applied].at <= boundary {
                applied += 1;
                then.apply(&events[applied - 1], applied);
            }
            let facts = self.facts(&then, boundary);
            self.boundary(&then, &facts, boundary, applied, &mut open);

            // The next one at which anything may differ: an event, a fact that leaves the window, a deadline.
            let matters = |event: &&Event| self.rule == "response_slow" || event.topic == Topic::Crm;
            let event = events[applied..].iter().find(matters).map(|event| ceil(event.at));
            let size = self.window.size;
            let leaves = facts.iter().filter(|one| !matches!(one.what, What::Deal(_)));
            let leaves = leaves.map(|one| (one.date + size).div_euclid(slide) * slide + slide).min();
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

    /// What is in the window at this boundary: exactly `size`, and the instant itself.
    fn facts(&mut self, then: &World, boundary: i64) -> Vec<One> {
        let own = |who: Option<&str>| who.map(str::to_owned);
        let mut facts: Vec<One> = Vec::new();
        match self.rule {
            "conversion_low" => {
                let present = then.entities.values().filter(|deal| deal.deleted.is_none());
                let named: BTreeSet<&str> = present.filter_map(|deal| deal.lead.as_deref()).collect();
                let leads = then.entities.values().filter(|e| e.id.kind == Kind::Lead && e.deleted.is_none());
                for lead in leads {
                    let outcome = lead.standing().map(|closing| closing.outcome);
                    if let Some(created) = lead.created {
                        let converted = outcome == Some(Outcome::Converted) || named.contains(lead.id.id.as_str());
                        let what = What::Cohort(converted);
                        facts.push(One { date: created.at, who: own(lead.responsible()), what });
                    }
                    if let Some(closing) = lead.standing()
                        && matches!(closing.outcome, Outcome::Converted | Outcome::Disqualified)
                    {
                        let what = What::Closed(closing.outcome == Outcome::Converted);
                        facts.push(One { date: closing.at, who: closing.who.clone(), what });
                    }
                }
            }
            "response_slow" => {
                for entity in then.entities.values() {
                    let Some(act) = first_response_late::first_response(entity) else { continue };
                    let key = (entity.id.clone(), act.moment, entity.closings.len());
                    let known = entity.first_response.is_some();
                    let norms = self.norms;
                    let lag = if known {
                        self.cache.lags.entry(key).or_insert_with(|| first_response_late::lag(norms, entity)).as_ref()
                    } else {
                        None
                    };
                    if let Some(lag) = lag {
                        let what = What::Lag(lag.wall, lag.business);
                        facts.push(One { date: lag.date, who: lag.who.clone(), what });
                    }
                }
            }
            "quality_low" => {
                facts.extend(then.reviews.iter().map(|review| One {
                    date: review.date,
                    who: review.who.clone(),
                    what: What::Score(review.what.score),
                }));
            }
            "stuck_early" => {
                for deal in then.entities.values().filter(|e| e.id.kind == Kind::Deal && e.is_open()) {
                    let named = deal.places.last().is_some_and(|place| place.pipeline.is_some());
                    let key = (deal.places.len(), deal.turnings.len(), named);
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
                    facts.push(One { date: boundary, who: own(deal.responsible()), what: What::Deal(stuck) });
                }
            }
            _ => {
                facts.extend(then.offers.iter().map(|offer| One {
                    date: offer.date,
                    who: offer.who.clone(),
                    what: What::Offer(offer.what.deal.clone(), offer.what.special),
                }));
            }
        }
        let start = boundary - self.window.size;
        facts.retain(|one| (start..=boundary).contains(&one.date));
        facts
    }

    fn boundary(
        &mut self,
        then: &World,
        facts: &[One],
        boundary: i64,
        moment: usize,
        open: &mut BTreeMap<String, Open>,
    ) {
        let department_of = |who: Option<&str>| then.department_at(who, usize::MAX);
        let mut of_department: BTreeMap<&str, Vec<&One>> = BTreeMap::new();
        let mut of_manager: BTreeMap<&str, Vec<&One>> = BTreeMap::new();
        for one in facts {
            of_department.entry(department_of(one.who.as_deref())).or_default().push(one);
            if let Some(who) = &one.who {
                of_manager.entry(who).or_default().push(one);
            }
        }
        let none = Vec::new();
        for manager in &then.everybody {
            let department = department_of(Some(manager));
            let mine = of_manager.get(manager.as_str()).unwrap_or(&none);
            let norm = self.norms_of.get(department).copied();
            if norm.is_none() && !open.contains_key(manager) {
                continue;
            }
            // An escalation before this boundary comes first; one at it only if the boundary does not end the alert.
            if let Some(alert) = open.get_mut(manager) {
                self.escalate(alert, boundary, false);
            }
            let step =
                |turn, level, resolution| Step { turn, at: boundary, moment, level, observed_to: boundary, resolution };
            let Some(norm) = norm else {
                let mut alert = open.remove(manager).expect("there is one");
                let step = step(Turn::Resolved, alert.level, Some("disabled"));
                alert.told.push((step, alert.observed.clone(), alert.asked.clone()));
                self.close(alert);
                continue;
            };
            let rate = of_department.get(department).map_or(&none, |all| all);
            let rate = self.figure(norm, rate).value;
            let figure = self.figure(norm, mine);
            let min_sample = norm.number("min_sample").unwrap_or(1.0) as usize;
            let applied = match norm.number("of_department") {
                Some(factor) => rate.map(|rate| factor * rate),
                None => norm.number(if self.is_floor() { "at_least" } else { "at_most" }),
            };
            let enough = figure.n >= min_sample;
            let (worse, well) = match (figure.value, self.limit(norm, applied)) {
                (Some(value), Some(limit)) if self.rule == "conversion_low" => {
                    (figure.upper.unwrap() < limit, value >= limit)
                }
                (Some(value), Some(limit)) if self.is_floor() => (value < limit, value >= limit),
                (Some(value), Some(limit)) => {
                    if self.rule == "response_slow" && (value - limit).abs() <= BORDER * limit {
                        self.judged.borderline = true;
                    }
                    (value > limit, value <= limit)
                }
                _ => (false, true),
            };
            let observed = self.observed(&figure, enough);
            let asked = self.asked(norm, applied, min_sample);
            match open.get_mut(manager) {
                None if enough && worse => {
                    let after = |span: &i64| norm.clock.after(boundary, *span);
                    let told = vec![(step(Turn::Firing, 0, None), observed.clone(), asked.clone())];
                    let alert = Open {
                        manager: manager.clone(),
                        began: boundary,
                        moment,
                        severity: norm.severity,
                        escalations: norm.escalate_after.iter().map_while(after).collect(),
                        level: 0,
                        observed,
                        asked,
                        told,
                    };
                    open.insert(manager.clone(), alert);
                }
                Some(_) if !enough || well => {
                    let mut alert = open.remove(manager).expect("there is one");
                    // Of an empty department no norm can be reckoned: the last one stands.
                    let asked =
                        if asked["at_least"].is_null() && self.is_floor() { alert.asked.clone() } else { asked };
                    let resolution = if enough { "recovered" } else { "sample_too_small" };
                    alert.told.push((step(Turn::Resolved, alert.level, Some(resolution)), observed, asked));
                    self.close(alert);
                }
                Some(alert) => {
                    (alert.observed, alert.asked) = (observed, asked);
                }
                None => {}
            }
        }
    }

    /// Tells the escalations due before an instant, or by it. They observe what the last boundary saw.
    fn escalate(&self, alert: &mut Open, to: i64, inclusive: bool) {
        while let Some(at) = alert.escalations.get(alert.level).copied()
            && (at < to || inclusive && at == to)
        {
            alert.level += 1;
            let step = Step {
                turn: Turn::Escalated,
                at,
                moment: self.world.moment_at(at),
                level: alert.level,
                observed_to: at,
                resolution: None,
            };
            alert.told.push((step, alert.observed.clone(), alert.asked.clone()));
        }
    }

    fn close(&mut self, alert: Open) {
        debug_assert!(alert.moment <= self.world.moment_at(alert.began));
        let heading = Heading {
            rule: self.rule,
            subject: format!("manager:{}/{}", alert.manager, self.window.name),
            whose: Whose::Manager(Some(alert.manager)),
            entity: None,
            interaction: None,
            window: Some(&self.window.name),
            anchor: alert.began,
            due: None,
            severity: alert.severity,
        };
        self.judged.alerts.push(heading.tell(self.world, alert.told));
    }

    /// Must the figure be at or over the norm?
    fn is_floor(&self) -> bool {
        ["conversion_low", "quality_low"].contains(&self.rule)
    }

    fn limit(&self, norm: &Norm, applied: Option<f64>) -> Option<f64> {
        if self.rule == "response_slow" { at_most_seconds(norm) } else { applied }
    }

    fn figure(&self, norm: &Norm, facts: &[&One]) -> Figure {
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
                    .filter_map(|one| match one.what {
                        What::Cohort(converted) if !closed => Some(converted),
                        What::Closed(converted) if closed => Some(converted),
                        _ => None,
                    })
                    .collect(),
            ),
            "stuck_early" => share(facts.iter().map(|one| matches!(one.what, What::Deal(true))).collect()),
            "special_terms_frequent" => {
                // Decision 17: special if one offer in the window was.
                let mut deals: BTreeMap<&str, bool> = BTreeMap::new();
                for one in facts {
                    if let What::Offer(deal, special) = &one.what {
                        *deals.entry(deal).or_default() |= special;
                    }
                }
                share(deals.into_values().collect())
            }
            "quality_low" => {
                let scores = facts.iter().filter_map(|one| if let What::Score(s) = one.what { Some(s) } else { None });
                let scores: Vec<f64> = scores.collect();
                let value = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
                Figure { n: scores.len(), value, ..Figure::default() }
            }
            _ => {
                let business = norm.clock_name == "business";
                let lag = |one: &&One| match one.what {
                    What::Lag(wall, working) => Some(if business { working } else { wall }),
                    _ => None,
                };
                let mut lags: Vec<i64> = facts.iter().filter_map(lag).collect();
                lags.sort_unstable();
                // Nearest rank, in thousandths so that the rank is exact.
                let thousandths = (quantile(norm) * 1000.0).round() as usize;
                let rank = (thousandths * lags.len()).div_ceil(1000).max(1);
                Figure { n: lags.len(), value: lags.get(rank - 1).map(|lag| seconds(*lag)), ..Figure::default() }
            }
        }
    }

    /// With too small a sample only `n` (and `k`).
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

    fn asked(&self, norm: &Norm, applied: Option<f64>, min_sample: usize) -> Value {
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

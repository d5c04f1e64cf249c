//! Computes the metric rows at T: every figure is a query over the full history.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::alert::{Alert, AlertOwner};
use super::calendar::{Clock, written};
use super::decode::Outcome;
use super::history::{Attribution, CallFact, Entity, Fact, Money, TenantHistory, UNKNOWN};
use super::identity::{EntityId, Kind};
use super::norms::{Norms, Pipelines, Scope, Window};
use super::rules::{
    first_response_late, message_unanswered, missed_call_not_returned, next_step, stage_overdue, waits,
};
use super::steps::PlanFact;
use super::{calls, readings};

/// Everything that rows count, with its date and manager.
struct Facts<'a> {
    history: &'a TenantHistory,
    until: i64,
    /// Leads by creation: converted by T?
    leads: Vec<Fact<bool>>,
    /// Leads that were no opportunities, by creation.
    excluded: Vec<Fact<()>>,
    /// Deals by creation: won by T?
    deals: Vec<Fact<bool>>,
    /// Closings in effect.
    lead_closings: Vec<Fact<Outcome>>,
    deal_closings: Vec<Fact<(Outcome, Option<Money>)>>,
    lags_wall: Vec<Fact<i64>>,
    lags_business: Vec<Fact<i64>>,
    human_wall: Vec<Fact<i64>>,
    human_business: Vec<Fact<i64>>,
    judged: Vec<Fact<bool>>,
    calls: Vec<Fact<CallFact>>,
    touches: Vec<Fact<()>>,
    dismissed: Vec<Fact<()>>,
    call_backs: Vec<Fact<i64>>,
    replies: Vec<Fact<i64>>,
    violations: Vec<Fact<&'static str>>,
    /// Deals, for each pipeline they were in.
    stages: Vec<Fact<Reached>>,
    pipelines: Pipelines,
    // Current values; the dates are irrelevant.
    awaiting: Vec<Fact<i64>>,
    open: Vec<Fact<(String, String)>>,
    overdue: Vec<Fact<(String, String)>>,
    open_alerts: Vec<Fact<&'static str>>,
    due_soon: Vec<Fact<&'static str>>,
    open_plans: Vec<Fact<()>>,
    overdue_plans: Vec<Fact<()>>,
    without_next_step: Vec<Fact<()>>,
    unreturned: Vec<Fact<()>>,
    unanswered: Vec<Fact<()>>,
}

/// The stage orders that a deal has reached in a pipeline.
struct Reached {
    pipeline: String,
    /// (date, order) of each entry; stages reached before any window have the minimum date.
    entries: Vec<(i64, usize)>,
    won: bool,
}

impl Reached {
    /// The date when it first reached this order or a higher one.
    fn first(&self, order: usize) -> Option<i64> {
        self.entries.iter().filter(|(_, reached)| *reached >= order).map(|(date, _)| *date).min()
    }
}

/// Every row of one tenant at `until`.
pub fn rows(history: &TenantHistory, norms: &Norms, alerts: &[Alert], until: i64) -> Vec<Value> {
    let facts = gather(history, norms, alerts, until);
    let department = |who: Option<&str>| match who.and_then(|who| who.strip_prefix('\0')) {
        Some(itself) => itself.strip_prefix("department:").unwrap_or("\0").to_owned(),
        None => history.department_at(who, usize::MAX).to_owned(),
    };

    // Decision 25: all managers upserted, responsible or acting, and their departments.
    let mut departments: BTreeSet<String> = history.all_managers.iter().map(|m| department(Some(m))).collect();
    departments.insert(UNKNOWN.to_owned());

    let mut rows = Vec::new();
    for manager in &history.all_managers {
        facts.rows_of(&format!("manager:{manager}"), &norms.windows, &|who| who == Some(manager), &mut rows);
    }
    for name in &departments {
        // Decision 6: departments have their managers at T; facts without a manager count in `unknown`.
        facts.rows_of(&format!("department:{name}"), &norms.windows, &|who| department(who) == *name, &mut rows);
    }
    facts.rows_of("tenant", &norms.windows, &|_| true, &mut rows);
    rows
}

fn gather<'a>(history: &'a TenantHistory, norms: &Norms, alerts: &[Alert], until: i64) -> Facts<'a> {
    let missed = missed_call_not_returned::replay(history, norms);
    let messages = message_unanswered::replay(history, norms, readings::CHANNELS_LIMIT_THE_FIGURES);
    let (calls, mut touches) = calls::facts(history);
    touches.extend(history.touches.iter().cloned());
    let mut facts = Facts {
        history,
        until,
        leads: Vec::new(),
        excluded: Vec::new(),
        deals: Vec::new(),
        lead_closings: Vec::new(),
        deal_closings: Vec::new(),
        lags_wall: Vec::new(),
        lags_business: Vec::new(),
        human_wall: Vec::new(),
        human_business: Vec::new(),
        judged: Vec::new(),
        calls,
        touches,
        dismissed: waits::dismissed(&missed, &messages),
        call_backs: Vec::new(),
        replies: Vec::new(),
        violations: Vec::new(),
        awaiting: Vec::new(),
        open: Vec::new(),
        overdue: Vec::new(),
        stages: Vec::new(),
        pipelines: norms.pipelines.clone(),
        open_alerts: Vec::new(),
        due_soon: Vec::new(),
        open_plans: Vec::new(),
        overdue_plans: Vec::new(),
        without_next_step: Vec::new(),
        unreturned: Vec::new(),
        unanswered: Vec::new(),
    };
    // Decision 24: the leads named by a deal that is not deleted.
    let named_by_deals = history.leads_named();
    for entity in history.entities.values() {
        gather_entity(&mut facts, norms, entity, &named_by_deals);
    }
    gather_calls(&mut facts, norms, &missed);
    gather_messages(&mut facts, norms, &messages);
    for alert in alerts {
        // Decision 22: without retracted alerts; decision 20: with the alert's manager.
        if let Some(began) = alert.began()
            && !alert.is_retracted()
        {
            let who = itself(&alert.owner).or_else(|| began.manager.clone());
            facts.violations.push(Fact { date: began.at, who, value: alert.rule });
        }
        if alert.is_open() || alert.is_due_soon() {
            // Decision 5: `now` rows use the manager responsible at T.
            let who = match &alert.owner {
                AlertOwner::Contact { primary, event, fixed } => {
                    responsible_or_event_manager(history, primary.as_ref(), event, fixed)
                }
                AlertOwner::Responsible(id) => history.entities[id].responsible().map(str::to_owned),
                AlertOwner::Manager(manager) => manager.clone(),
                owner @ (AlertOwner::Department(_) | AlertOwner::Tenant) => itself(owner),
            };
            let list = if alert.is_open() { &mut facts.open_alerts } else { &mut facts.due_soon };
            list.push(Fact { date: 0, who, value: alert.rule });
        }
    }
    facts
}

/// What stands for a department itself or the company, where a manager's id is expected: no id contains a NUL.
fn itself(owner: &AlertOwner) -> Option<String> {
    match owner {
        AlertOwner::Department(id) => Some(format!("\0department:{id}")),
        AlertOwner::Tenant => Some("\0tenant".to_owned()),
        _ => None,
    }
}

fn gather_entity(facts: &mut Facts, norms: &Norms, entity: &Entity, named_by_deals: &BTreeSet<&EntityId>) {
    let history = facts.history;
    let is_lead = entity.id.kind == Kind::Lead;
    let responsible = entity.responsible().map(str::to_owned);

    // Decision 11: deleted entities do not count in received, conversions, win rates and outcomes.
    if entity.deleted.is_none() {
        let outcome = entity.current_closing().map(|closing| closing.outcome);
        let excluded = is_lead && entity.is_excluded(&norms.excluded_reasons);
        // Decision 8: no cohort without a known creation.
        if let Some(created) = entity.created {
            if excluded {
                facts.excluded.push(Fact { date: created.at, who: responsible.clone(), value: () });
            } else if is_lead {
                // Closed as CONVERTED, or named by a deal that is not deleted.
                let converted = outcome == Some(Outcome::Converted) || named_by_deals.contains(&entity.id);
                facts.leads.push(Fact { date: created.at, who: responsible.clone(), value: converted });
            } else {
                let won = outcome == Some(Outcome::Won);
                facts.deals.push(Fact { date: created.at, who: responsible.clone(), value: won });
            }
        }
        if !is_lead && (entity.created.is_some() || !readings::STAGE_CONVERSION_NEEDS_A_CREATION) {
            let won = outcome == Some(Outcome::Won);
            facts.stages.extend(reached(norms, entity, won));
        }
        // Decision 12: only closings in effect count; decision 5: for the manager responsible at the closing.
        if let Some(closing) = entity.current_closing() {
            let (date, who) = (closing.at, closing.who.clone());
            if excluded {
                // No lost opportunity.
            } else if is_lead {
                facts.lead_closings.push(Fact { date, who, value: closing.outcome });
            } else {
                facts.deal_closings.push(Fact { date, who, value: (closing.outcome, entity.amount_won()) });
            }
        } else {
            let name = |id: &Option<String>| id.clone().unwrap_or(UNKNOWN.to_owned());
            let stage = (name(&entity.pipeline), name(&entity.stage));
            if stage_overdue::present(norms, entity).is_some_and(|stay| stay.due.is_some_and(|due| due <= facts.until))
            {
                facts.overdue.push(Fact { date: 0, who: responsible.clone(), value: stage.clone() });
            }
            facts.open.push(Fact { date: 0, who: responsible.clone(), value: stage });
            let fact = Fact { date: 0, who: responsible.clone(), value: () };
            for plan in entity.open_plans() {
                facts.open_plans.push(fact.clone());
                if plan.deadline().is_some_and(|deadline| deadline < facts.until) {
                    facts.overdue_plans.push(fact.clone());
                }
            }
            if entity.open_plans().next().is_none() && next_step::counts(history, norms, entity) {
                facts.without_next_step.push(fact);
            }
        }
        if let Some(since) = first_response_late::awaiting_since(entity) {
            facts.awaiting.push(Fact { date: since, who: responsible, value: facts.until - since });
        }
    }
    // Acts (lags) still count when the entity is closed or deleted.
    if let Some(lag) = first_response_late::lag(norms, entity) {
        facts.lags_wall.push(Fact { date: lag.date, who: lag.who.clone(), value: lag.wall });
        facts.lags_business.push(Fact { date: lag.date, who: lag.who, value: lag.business });
    }
    if let Some(lag) = first_response_late::human_response(history, norms, entity) {
        facts.human_wall.push(Fact { date: lag.date, who: lag.who.clone(), value: lag.wall });
        facts.human_business.push(Fact { date: lag.date, who: lag.who, value: lag.business });
    }
    if let Some(judged) = first_response_late::judged(history, norms, entity, facts.until) {
        facts.judged.push(Fact { date: judged.date, who: judged.who, value: judged.in_time });
    }
}

/// Decision 24: only entries reach an order. Decision 9: stages of an unknown past were reached before any window.
fn reached(norms: &Norms, deal: &Entity, won: bool) -> Vec<Fact<Reached>> {
    let mut of: BTreeMap<&str, Vec<(i64, usize)>> = BTreeMap::new();
    let pipeline = |name: &Option<String>| norms.pipelines.get_key_value(name.as_ref()?);
    for visit in &deal.visits {
        if let Some((name, pipeline)) = pipeline(&visit.pipeline)
            && let Some(order) = pipeline.order(&visit.stage)
        {
            of.entry(name).or_default().push((visit.date, order));
        }
    }
    if let Some(unknown_past) = &deal.unknown_past
        && let Some((name, pipeline)) = pipeline(&unknown_past.pipeline)
        && let Some(order) = unknown_past.known_before(pipeline).checked_sub(1)
    {
        of.entry(name).or_default().push((i64::MIN, order));
    }
    let who = deal.responsible().map(str::to_owned);
    let reached = |(name, entries): (&str, _)| Reached { pipeline: name.to_owned(), entries, won };
    of.into_iter().map(|one| Fact { date: 0, who: who.clone(), value: reached(one) }).collect()
}

/// Decision 5 for contacts: the manager responsible at T for the clock's primary entity, else the event's manager.
fn responsible_or_event_manager(
    history: &TenantHistory,
    entity: Option<&EntityId>,
    event: &Option<String>,
    fixed: &Option<String>,
) -> Option<String> {
    if !readings::CONTACT_NOW_FIGURES_BY_RESPONSIBLE_AT_T {
        return fixed.clone();
    }
    let entity = entity.map(|id| history.survivor_at(id, usize::MAX));
    entity.and_then(|id| history.entities[id].responsible()).map(str::to_owned).or_else(|| event.clone())
}

fn attributed_manager_now(history: &TenantHistory, attribution: &Attribution) -> Option<String> {
    responsible_or_event_manager(history, attribution.primary.as_ref(), &attribution.manager, &attribution.who)
}

/// Call-back and reply lags use the clock of their rule in the scope where the clock started (wall if the rule is off).
fn rule_clock(norms: &Norms, rule: &str, scope: &Scope) -> Clock {
    norms.rule(rule, scope).map_or(Clock::Wall, |norm| norm.clock)
}

fn gather_calls(facts: &mut Facts, norms: &Norms, missed: &waits::Waits) {
    for group in missed_call_not_returned::groups(facts.history, norms, missed) {
        let first = group.first;
        if group.pending {
            let who = attributed_manager_now(facts.history, &first.attribution);
            facts.unreturned.push(Fact { date: first.anchor, who, value: () });
        } else if let Some((date, who)) = group.returned {
            let clock = rule_clock(norms, "missed_call_not_returned", &first.attribution.scope);
            facts.call_backs.push(Fact { date, who, value: clock.between(first.anchor, date) });
        }
    }
}

fn gather_messages(facts: &mut Facts, norms: &Norms, messages: &waits::Waits) {
    for group in message_unanswered::groups(facts.history, messages) {
        let first = group.first;
        if let Some((date, who)) = group.answered {
            let clock = rule_clock(norms, "message_unanswered", &first.attribution.scope);
            facts.replies.push(Fact { date, who, value: clock.between(first.anchor, date.max(first.anchor)) });
        } else {
            let who = attributed_manager_now(facts.history, &first.attribution);
            facts.unanswered.push(Fact { date: first.anchor, who, value: () });
        }
    }
}

impl Facts<'_> {
    fn rows_of(
        &self,
        subject: &str,
        windows: &[Window],
        includes: &dyn Fn(Option<&str>) -> bool,
        rows: &mut Vec<Value>,
    ) {
        for window in windows {
            rows.push(self.row(subject, &window.name, self.window(window, includes)));
        }
        rows.push(self.row(subject, "now", self.now(includes)));
    }

    fn row(&self, subject: &str, window: &str, values: Value) -> Value {
        let Value::Object(mut row) = values else { unreachable!("values are an object") };
        row.insert("tenant_id".to_owned(), json!(self.history.tenant));
        row.insert("subject".to_owned(), json!(subject));
        row.insert("window".to_owned(), json!(window));
        row.insert("at".to_owned(), json!(written(self.until)));
        Value::Object(row)
    }

    /// The panes k−n … k with k = ⌊T / slide⌋: the current pane and the n complete ones before it.
    fn window(&self, window: &Window, includes: &dyn Fn(Option<&str>) -> bool) -> Value {
        let panes = window.size / window.slide;
        let start = (self.until.div_euclid(window.slide) - panes) * window.slide;
        let span = start..=self.until;
        let selection = Selection { span: &span, includes };

        let won_lost = selection.of(&self.deal_closings);
        let won = won_lost.iter().filter(|f| f.value.0 == Outcome::Won).count();
        let lost = won_lost.iter().filter(|f| f.value.0 == Outcome::Lost).count();
        let mut amounts: BTreeMap<String, i64> = BTreeMap::new();
        for closing in won_lost.iter().filter(|f| f.value.0 == Outcome::Won) {
            if let Some((currency, minor)) = &closing.value.1 {
                *amounts.entry(currency.clone()).or_default() += minor;
            }
        }
        let lead_closings = selection.of(&self.lead_closings);
        let closed_as = |outcome| lead_closings.iter().filter(|f| f.value == outcome).count();
        let (converted, disqualified) = (closed_as(Outcome::Converted), closed_as(Outcome::Disqualified));

        let calls = selection.of(&self.calls);
        let count = |outbound, conversation| {
            calls.iter().filter(|c| c.value.outbound == outbound && c.value.conversation == conversation).count()
        };
        let messages = selection.of(&self.history.messages);
        let by_channel = |sent| counts(messages.iter().filter(|m| m.value.0 == sent).map(|m| m.value.1.as_str()));

        let offers = selection.of(&self.history.offers);
        let deals: BTreeSet<&str> = offers.iter().map(|o| o.value.deal.as_str()).collect();
        let special: BTreeSet<&str> =
            offers.iter().filter(|o| o.value.special).map(|o| o.value.deal.as_str()).collect();
        let reviews = selection.of(&self.history.reviews);
        let verdicts = |verdict: &str| reviews.iter().filter(|r| r.value.verdict == verdict).count();

        let planned = selection.of(&self.history.plan_facts);
        let plans = |counts: fn(&PlanFact) -> bool| planned.iter().filter(|fact| counts(&fact.value)).count();

        json!({
            "leads_received": selection.of(&self.leads).len(),
            "leads_excluded": selection.of(&self.excluded).len(),
            "leads_disqualified": disqualified,
            "lead_conversion": {
                "cohort": share(selection.of(&self.leads).iter().map(|f| f.value)),
                // Decision 24: LOST counts in neither.
                "closed": ratio(converted + disqualified, converted),
            },
            "stage_conversion": self.stage_conversion(&span, includes),
            "win_rate": {"cohort": share(selection.of(&self.deals).iter().map(|f| f.value)), "closed": ratio(won + lost, won)},
            "first_response": {
                "wall": lags(selection.of(&self.lags_wall)),
                "business": lags(selection.of(&self.lags_business)),
                "within_norm": share(selection.of(&self.judged).iter().map(|f| f.value)),
            },
            "human_response": {
                "wall": lags(selection.of(&self.human_wall)),
                "business": lags(selection.of(&self.human_business)),
            },
            "plans": {
                "made": plans(|fact| *fact == PlanFact::Made),
                "done": plans(|fact| matches!(fact, PlanFact::Done { .. })),
                "done_in_time": plans(|fact| *fact == PlanFact::Done { in_time: true }),
                "moved": plans(|fact| *fact == PlanFact::Moved),
            },
            "call_back": lags(selection.of(&self.call_backs)),
            "reply": lags(selection.of(&self.replies)),
            "calls": {
                "inbound_answered": count(false, true),
                "inbound_missed": count(false, false),
                "outbound_answered": count(true, true),
                "outbound_unanswered": count(true, false),
            },
            "talk_seconds": calls.iter().fold(0.0, |sum, c| sum + c.value.talk_seconds),
            "messages": {"sent": by_channel(true), "received": by_channel(false)},
            "meetings": selection.of(&self.history.meetings).len(),
            "touches": selection.of(&self.touches).len(),
            "dismissed": selection.of(&self.dismissed).len(),
            "deals_won": won,
            "deals_lost": lost,
            "amount_won": amounts,
            "terms": {
                "offered": deals.len(),
                "special": special.len(),
                "mean_discount_percent": mean(offers.iter().map(|o| o.value.discount)),
            },
            "reviews": {
                "n": reviews.len(),
                "mean_score": mean(reviews.iter().map(|r| r.value.score)),
                "successes": verdicts("SUCCESS"),
                "failures": verdicts("FAILURE"),
            },
            "violations": counts(selection.of(&self.violations).iter().map(|f| f.value)),
        })
    }

    /// Of the deals that first reached order ≥ k in the window, the ratio that reached order ≥ k+1 or is won.
    fn stage_conversion(&self, span: &std::ops::RangeInclusive<i64>, includes: &dyn Fn(Option<&str>) -> bool) -> Value {
        let mut all = Map::new();
        for (name, pipeline) in self.pipelines.iter() {
            let deals: Vec<&Reached> = self
                .stages
                .iter()
                .filter(|deal| deal.value.pipeline == *name && includes(deal.who.as_deref()))
                .map(|deal| &deal.value)
                .collect();
            let mut stages = Map::new();
            for (order, stage) in pipeline.stages.iter().enumerate() {
                let cohort = deals.iter().filter(|d| d.first(order).is_some_and(|date| span.contains(&date)));
                let on: Vec<bool> = cohort.map(|deal| deal.won || deal.first(order + 1).is_some()).collect();
                if !on.is_empty() {
                    stages.insert(stage.id.clone(), share(on.into_iter()));
                }
            }
            if !stages.is_empty() {
                all.insert(name.clone(), Value::Object(stages));
            }
        }
        Value::Object(all)
    }

    fn now(&self, includes: &dyn Fn(Option<&str>) -> bool) -> Value {
        let selection = Selection { span: &(i64::MIN..=i64::MAX), includes };
        let waits = selection.of(&self.awaiting);
        let mut open: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for fact in selection.of(&self.open) {
            *open.entry(&fact.value.0).or_default().entry(&fact.value.1).or_default() += 1;
        }
        let mut overdue: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for fact in selection.of(&self.overdue) {
            *overdue.entry(&fact.value.0).or_default().entry(&fact.value.1).or_default() += 1;
        }
        json!({
            "awaiting_first_response": waits.len(),
            "oldest_wait_seconds": waits.iter().map(|f| f.value).max().map(seconds),
            "open": open,
            "overdue": overdue,
            "open_alerts": counts(selection.of(&self.open_alerts).iter().map(|f| f.value)),
            "due_soon": counts(selection.of(&self.due_soon).iter().map(|f| f.value)),
            "open_plans": selection.of(&self.open_plans).len(),
            "overdue_plans": selection.of(&self.overdue_plans).len(),
            "without_next_step": selection.of(&self.without_next_step).len(),
            "unreturned_calls": selection.of(&self.unreturned).len(),
            "unanswered_messages": selection.of(&self.unanswered).len(),
        })
    }
}

/// The facts of a window and a subject.
struct Selection<'a> {
    span: &'a std::ops::RangeInclusive<i64>,
    includes: &'a dyn Fn(Option<&str>) -> bool,
}

impl Selection<'_> {
    fn of<'f, T>(&self, facts: &'f [Fact<T>]) -> Vec<&'f Fact<T>> {
        facts.iter().filter(|f| self.span.contains(&f.date) && (self.includes)(f.who.as_deref())).collect()
    }
}

fn counts<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    let mut counts: Map<String, Value> = Map::new();
    for name in names {
        let n = counts.get(name).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(name.to_owned(), json!(n + 1));
    }
    Value::Object(counts)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn lags(facts: Vec<&Fact<i64>>) -> Value {
    let mut lags: Vec<f64> = facts.iter().map(|f| seconds(f.value)).collect();
    lags.sort_by(f64::total_cmp);
    json!({
        "n": lags.len(),
        "mean_seconds": mean(lags.iter().copied()),
        "p50_seconds": quantile(&lags, 50),
        "p90_seconds": quantile(&lags, 90),
        "p99_seconds": quantile(&lags, 99),
    })
}

/// Nearest rank: the value of rank ⌈q·n⌉ (q in percent, so that the rank is exact).
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (percent * sorted.len()).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn share(each: impl Iterator<Item = bool>) -> Value {
    let each: Vec<bool> = each.collect();
    ratio(each.len(), each.iter().filter(|yes| **yes).count())
}

/// `R`: with the Wilson 95 % bounds; null when n = 0.
fn ratio(n: usize, k: usize) -> Value {
    let bounds = wilson(n, k);
    json!({
        "n": n,
        "k": k,
        "ratio": (n > 0).then(|| k as f64 / n as f64),
        "lower": bounds.map(|b| b.0),
        "upper": bounds.map(|b| b.1),
    })
}

/// Decision 18: z = 1.959963984540054.
pub fn wilson(n: usize, k: usize) -> Option<(f64, f64)> {
    if n == 0 {
        return None;
    }
    let z = 1.959_963_984_540_054_f64;
    let (n, p) = (n as f64, k as f64 / n as f64);
    let middle = p + z * z / (2.0 * n);
    let reach = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    Some((((middle - reach) / scale).max(0.0), ((middle + reach) / scale).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn wilson_bounds() {
        // statsmodels.stats.proportion.proportion_confint(k, n, method="wilson").
        for (n, k, lower, upper) in [(10, 3, 0.1077912674, 0.6032218525), (100, 50, 0.4038315304, 0.5961684696)] {
            let (l, u) = wilson(n, k).unwrap();
            assert!((l - lower).abs() < 1e-9 && (u - upper).abs() < 1e-9, "{n} {k}: {l} {u}");
        }
        // For k = 0 and k = n one bound has a closed form: z²/(n+z²).
        let z2 = 1.959_963_984_540_054_f64.powi(2);
        let (l, u) = wilson(10, 0).unwrap();
        assert!(close(l, 0.0) && close(u, z2 / (10.0 + z2)));
        let (l, u) = wilson(10, 10).unwrap();
        assert!(close(l, 10.0 / (10.0 + z2)) && close(u, 1.0));
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn nearest_rank() {
        let sorted: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!([50, 90, 99].map(|q| quantile(&sorted, q).unwrap()), [5.0, 9.0, 10.0]);
        assert_eq!(quantile(&[7.0], 50), Some(7.0));
        assert_eq!(quantile(&[], 50), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 90), Some(90.0));
    }
}

//! The metric rows at T: every figure a query over the full histories.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::alert::{Alert, Whose};
use super::calendar::{Clock, written};
use super::decode::Outcome;
use super::history::{Answer, ContactLog, Entity, Fact, Letter, Missed, Money, Standing, UNKNOWN, World};
use super::identity::{EntityId, Kind};
use super::norms::{Norms, Pipelines, Scope, Window};
use super::readings;
use super::rules::{first_response_late, message_unanswered, missed_call_not_returned, stage_overdue};

/// Everything that rows count, each with its date and the manager that it counts for.
struct Facts<'a> {
    world: &'a World,
    until: i64,
    /// Leads by creation: converted by T?
    leads: Vec<Fact<bool>>,
    /// Deals by creation: won by T?
    deals: Vec<Fact<bool>>,
    /// Standing closings.
    lead_closings: Vec<Fact<Outcome>>,
    deal_closings: Vec<Fact<(Outcome, Option<Money>)>>,
    lags_wall: Vec<Fact<i64>>,
    lags_business: Vec<Fact<i64>>,
    judged: Vec<Fact<bool>>,
    call_backs: Vec<Fact<i64>>,
    replies: Vec<Fact<i64>>,
    violations: Vec<Fact<&'static str>>,
    /// Deals, of each pipeline that they were in.
    stages: Vec<Fact<Reached>>,
    pipelines: Pipelines,
    // What stands now; the dates are of no interest.
    awaiting: Vec<Fact<i64>>,
    open: Vec<Fact<(String, String)>>,
    overdue: Vec<Fact<(String, String)>>,
    open_alerts: Vec<Fact<&'static str>>,
    unreturned: Vec<Fact<()>>,
    unanswered: Vec<Fact<()>>,
}

/// The orders that a deal has reached in a pipeline.
struct Reached {
    pipeline: String,
    /// (date, order) of each entry; what was reached before any window at the beginning of time.
    entries: Vec<(i64, usize)>,
    won: bool,
}

impl Reached {
    /// When it first reached this order or a higher one.
    fn first(&self, order: usize) -> Option<i64> {
        self.entries.iter().filter(|(_, reached)| *reached >= order).map(|(date, _)| *date).min()
    }
}

/// Every row of one tenant at `until`.
pub fn rows(world: &World, norms: &Norms, alerts: &[Alert], until: i64) -> Vec<Value> {
    let facts = gather(world, norms, alerts, until);
    let department = |who: Option<&str>| world.department_at(who, usize::MAX).to_owned();

    // Decision 25: every manager upserted, responsible or acting, and their departments.
    let mut departments: BTreeSet<String> = world.everybody.iter().map(|m| department(Some(m))).collect();
    departments.insert(UNKNOWN.to_owned());

    let mut rows = Vec::new();
    for manager in &world.everybody {
        facts.rows_of(&format!("manager:{manager}"), &norms.windows, &|who| who == Some(manager), &mut rows);
    }
    for name in &departments {
        // Decision 6: departments follow their managers of T; what is nobody's counts in `unknown`.
        facts.rows_of(&format!("department:{name}"), &norms.windows, &|who| department(who) == *name, &mut rows);
    }
    facts.rows_of("tenant", &norms.windows, &|_| true, &mut rows);
    rows
}

fn gather<'a>(world: &'a World, norms: &Norms, alerts: &[Alert], until: i64) -> Facts<'a> {
    let mut facts = Facts {
        world,
        until,
        leads: Vec::new(),
        deals: Vec::new(),
        lead_closings: Vec::new(),
        deal_closings: Vec::new(),
        lags_wall: Vec::new(),
        lags_business: Vec::new(),
        judged: Vec::new(),
        call_backs: Vec::new(),
        replies: Vec::new(),
        violations: Vec::new(),
        awaiting: Vec::new(),
        open: Vec::new(),
        overdue: Vec::new(),
        stages: Vec::new(),
        pipelines: norms.pipelines.clone(),
        open_alerts: Vec::new(),
        unreturned: Vec::new(),
        unanswered: Vec::new(),
    };
    // Decision 24: the leads that a present deal names.
    let present = world.entities.values().filter(|deal| deal.deleted.is_none());
    let named: BTreeSet<&str> = present.filter_map(|deal| deal.lead.as_deref()).collect();
    for entity in world.entities.values() {
        gather_entity(&mut facts, norms, entity, &named);
    }
    for (contact, log) in &world.contacts {
        gather_calls(&mut facts, norms, log);
        gather_letters(&mut facts, norms, contact, log);
    }
    for alert in alerts {
        // Decision 22: retracted alerts leave; decision 20: with the alert's manager.
        let began = alert.began();
        if !alert.is_retracted() {
            facts.violations.push(Fact { date: began.at, who: began.manager.clone(), what: alert.rule });
        }
        if alert.is_open() {
            // Decision 5: `now` rows go by the responsible at T.
            let who = match &alert.whose {
                Whose::Contact { primary, event, fixed } => now_manager(world, primary.as_ref(), event, fixed),
                Whose::Responsible(id) => world.entities[id].responsible().map(str::to_owned),
                Whose::Manager(manager) => manager.clone(),
            };
            facts.open_alerts.push(Fact { date: began.at, who, what: alert.rule });
        }
    }
    facts
}

fn gather_entity(facts: &mut Facts, norms: &Norms, entity: &Entity, named: &BTreeSet<&str>) {
    let world = facts.world;
    let is_lead = entity.id.kind == Kind::Lead;
    let responsible = entity.responsible().map(str::to_owned);

    // Decision 11: the deleted leave received, conversions, win rates, outcomes.
    if entity.deleted.is_none() {
        let outcome = entity.standing().map(|closing| closing.outcome);
        // Decision 8: no cohort without a known creation.
        if let Some(created) = entity.created {
            if is_lead {
                // Closed so, or a present deal names it.
                let converted = outcome == Some(Outcome::Converted) || named.contains(entity.id.id.as_str());
                facts.leads.push(Fact { date: created.at, who: responsible.clone(), what: converted });
            } else {
                let won = outcome == Some(Outcome::Won);
                facts.deals.push(Fact { date: created.at, who: responsible.clone(), what: won });
            }
        }
        if !is_lead && (entity.created.is_some() || !readings::STAGE_CONVERSION_NEEDS_A_CREATION) {
            let won = outcome == Some(Outcome::Won);
            facts.stages.extend(reached(norms, entity, won));
        }
        // Decision 12: only standing closings count; decision 5: by the responsible at the closing.
        if let Some(closing) = entity.standing() {
            let (date, who) = (closing.at, closing.who.clone());
            if is_lead {
                facts.lead_closings.push(Fact { date, who, what: closing.outcome });
            } else {
                facts.deal_closings.push(Fact { date, who, what: (closing.outcome, entity.amount_won()) });
            }
        } else {
            let name = |id: &Option<String>| id.clone().unwrap_or(UNKNOWN.to_owned());
            let place = (name(&entity.pipeline), name(&entity.stage));
            if stage_overdue::present(norms, entity).is_some_and(|stay| stay.due.is_some_and(|due| due <= facts.until))
            {
                facts.overdue.push(Fact { date: 0, who: responsible.clone(), what: place.clone() });
            }
            facts.open.push(Fact { date: 0, who: responsible.clone(), what: place });
        }
        if let Some(since) = first_response_late::awaiting_since(entity) {
            facts.awaiting.push(Fact { date: since, who: responsible, what: facts.until - since });
        }
    }
    // Acts (lags) stay whatever becomes of the entity.
    if let Some(lag) = first_response_late::lag(norms, entity) {
        facts.lags_wall.push(Fact { date: lag.date, who: lag.who.clone(), what: lag.wall });
        facts.lags_business.push(Fact { date: lag.date, who: lag.who, what: lag.business });
    }
    if let Some(judged) = first_response_late::judged(world, norms, entity, facts.until) {
        facts.judged.push(Fact { date: judged.date, who: judged.who, what: judged.in_time });
    }
}

/// Decision 24: only entries reach an order. Decision 9: what lies in an unknown past was reached before any window.
fn reached(norms: &Norms, deal: &Entity, won: bool) -> Vec<Fact<Reached>> {
    let mut of: BTreeMap<&str, Vec<(i64, usize)>> = BTreeMap::new();
    let pipeline = |name: &Option<String>| norms.pipelines.get_key_value(name.as_ref()?);
    for place in &deal.places {
        if let Some((name, pipeline)) = pipeline(&place.pipeline)
            && let Some(order) = pipeline.order(&place.stage)
        {
            of.entry(name).or_default().push((place.date, order));
        }
    }
    if let Some(past) = &deal.past
        && let Some((name, pipeline)) = pipeline(&past.pipeline)
        && let Some(order) = past.known_before(pipeline).checked_sub(1)
    {
        of.entry(name).or_default().push((i64::MIN, order));
    }
    let who = deal.responsible().map(str::to_owned);
    let reached = |(name, entries): (&str, _)| Reached { pipeline: name.to_owned(), entries, won };
    of.into_iter().map(|one| Fact { date: 0, who: who.clone(), what: reached(one) }).collect()
}

/// Decision 5 for contacts: the responsible at T of the clock's primary entity, else the event's manager.
fn now_manager(
    world: &World,
    entity: Option<&EntityId>,
    event: &Option<String>,
    fixed: &Option<String>,
) -> Option<String> {
    if !readings::CONTACT_NOW_FIGURES_BY_RESPONSIBLE_AT_T {
        return fixed.clone();
    }
    entity.and_then(|id| world.entities[id].responsible()).map(str::to_owned).or_else(|| event.clone())
}

fn standing_now(world: &World, standing: &Standing) -> Option<String> {
    now_manager(world, standing.primary.as_ref(), &standing.manager, &standing.who)
}

/// Call-back and reply lags are on the clock of their rule as it stood where the clock started (wall if the rule is off).
fn rule_clock(norms: &Norms, rule: &str, scope: &Scope) -> Clock {
    norms.rule(rule, scope).map_or(Clock::Wall, |norm| norm.clock)
}

fn gather_calls(facts: &mut Facts, norms: &Norms, log: &ContactLog) {
    for group in missed_call_not_returned::groups(log) {
        let first: &Missed = group.first;
        match group.answer {
            None => {
                let who = standing_now(facts.world, &first.standing);
                facts.unreturned.push(Fact { date: first.end, who, what: () });
            }
            // Fixed reading b: only call-backs by the staff.
            Some(answer) if answer.by_staff => {
                let clock = rule_clock(norms, "missed_call_not_returned", &first.standing.scope);
                let what = clock.between(first.end, answer.date);
                facts.call_backs.push(Fact { date: answer.date, who: answer.who.clone(), what });
            }
            Some(_) => {}
        }
    }
}

fn gather_letters(facts: &mut Facts, norms: &Norms, contact: &str, log: &ContactLog) {
    const RULE: &str = "message_unanswered";
    let asks =
        |letter: &&Letter| message_unanswered::asks_by_channel(norms, letter, readings::CHANNELS_LIMIT_THE_FIGURES);
    let letters: Vec<&Letter> = log.letters.iter().filter(asks).collect();
    let (answered, pending) = replies(facts.world, contact, &letters);
    for (first, answer) in answered {
        let clock = rule_clock(norms, RULE, &first.standing.scope);
        let what = clock.between(first.at, answer.date.max(first.at));
        facts.replies.push(Fact { date: answer.date, who: answer.who.clone(), what });
    }
    if let Some(first) = pending {
        let who = standing_now(facts.world, &first.standing);
        facts.unanswered.push(Fact { date: first.at, who, what: () });
    }
}

/// One contact's letters and all answers by their dates (at one instant in the order of effect): an answer ends all that
/// is pending then. Each answer with the first pending letter, and the first one that is pending still.
fn replies<'a>(
    world: &'a World,
    contact: &str,
    letters: &[&'a Letter],
) -> (Vec<(&'a Letter, &'a Answer)>, Option<&'a Letter>) {
    if letters.is_empty() {
        return (Vec::new(), None);
    }
    enum What<'a> {
        Letter(&'a Letter),
        Answer(&'a Answer),
    }
    let date_of = |answer: &Answer| match readings::CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES {
        true => answer.date,
        false => world.instant_of(answer.moment),
    };
    let mut dated: Vec<(i64, usize, What)> = Vec::new();
    dated.extend(letters.iter().map(|letter| (letter.at, letter.moment, What::Letter(letter))));
    // Only those that could ever matter to one of these letters.
    let relevant = world
        .answers
        .iter()
        .filter(|answer| letters.iter().any(|letter| message_unanswered::answers(answer, letter, contact)));
    dated.extend(relevant.map(|answer| (date_of(answer), answer.moment, What::Answer(answer))));
    dated.sort_by_key(|(date, moment, _)| (*date, *moment));

    let mut answered = Vec::new();
    let mut pending: Vec<&Letter> = Vec::new();
    for (_, _, what) in dated {
        match what {
            What::Letter(letter) => pending.push(letter),
            What::Answer(answer) => {
                if pending.iter().any(|letter| message_unanswered::answers(answer, letter, contact)) {
                    answered.push((pending[0], answer));
                    pending.clear();
                }
            }
        }
    }
    (answered, pending.first().copied())
}

impl Facts<'_> {
    fn rows_of(&self, subject: &str, windows: &[Window], whose: &dyn Fn(Option<&str>) -> bool, rows: &mut Vec<Value>) {
        for window in windows {
            rows.push(self.row(subject, &window.name, self.window(window, whose)));
        }
        rows.push(self.row(subject, "now", self.now(whose)));
    }

    fn row(&self, subject: &str, window: &str, values: Value) -> Value {
        let Value::Object(mut row) = values else { unreachable!("values are an object") };
        row.insert("tenant_id".to_owned(), json!(self.world.tenant));
        row.insert("subject".to_owned(), json!(subject));
        row.insert("window".to_owned(), json!(window));
        row.insert("at".to_owned(), json!(written(self.until)));
        Value::Object(row)
    }

    /// The panes k−n … k with k = ⌊T / slide⌋: the n complete ones before the running one, and the running one.
    fn window(&self, window: &Window, whose: &dyn Fn(Option<&str>) -> bool) -> Value {
        let panes = window.size / window.slide;
        let start = (self.until.div_euclid(window.slide) - panes) * window.slide;
        let span = start..=self.until;
        let pick = Pick { span: &span, whose };

        let won_lost = pick.of(&self.deal_closings);
        let won = won_lost.iter().filter(|f| f.what.0 == Outcome::Won).count();
        let lost = won_lost.iter().filter(|f| f.what.0 == Outcome::Lost).count();
        let mut amounts: BTreeMap<String, i64> = BTreeMap::new();
        for closing in won_lost.iter().filter(|f| f.what.0 == Outcome::Won) {
            if let Some((currency, minor)) = &closing.what.1 {
                *amounts.entry(currency.clone()).or_default() += minor;
            }
        }
        let lead_closings = pick.of(&self.lead_closings);
        let closed_as = |outcome| lead_closings.iter().filter(|f| f.what == outcome).count();
        let (converted, disqualified) = (closed_as(Outcome::Converted), closed_as(Outcome::Disqualified));

        let calls = pick.of(&self.world.calls);
        let count = |outbound, conversation| {
            calls.iter().filter(|c| c.what.outbound == outbound && c.what.conversation == conversation).count()
        };
        let messages = pick.of(&self.world.messages);
        let by_channel = |sent| counts(messages.iter().filter(|m| m.what.0 == sent).map(|m| m.what.1.as_str()));

        let offers = pick.of(&self.world.offers);
        let deals: BTreeSet<&str> = offers.iter().map(|o| o.what.deal.as_str()).collect();
        let special: BTreeSet<&str> = offers.iter().filter(|o| o.what.special).map(|o| o.what.deal.as_str()).collect();
        let reviews = pick.of(&self.world.reviews);
        let verdicts = |verdict: &str| reviews.iter().filter(|r| r.what.verdict == verdict).count();

        json!({
            "leads_received": pick.of(&self.leads).len(),
            "leads_disqualified": disqualified,
            "lead_conversion": {
                "cohort": share(pick.of(&self.leads).iter().map(|f| f.what)),
                // Decision 24: LOST is in neither.
                "closed": ratio(converted + disqualified, converted),
            },
            "stage_conversion": self.stage_conversion(&span, whose),
            "win_rate": {"cohort": share(pick.of(&self.deals).iter().map(|f| f.what)), "closed": ratio(won + lost, won)},
            "first_response": {
                "wall": lags(pick.of(&self.lags_wall)),
                "business": lags(pick.of(&self.lags_business)),
                "within_norm": share(pick.of(&self.judged).iter().map(|f| f.what)),
            },
            "call_back": lags(pick.of(&self.call_backs)),
            "reply": lags(pick.of(&self.replies)),
            "calls": {
                "inbound_answered": count(false, true),
                "inbound_missed": count(false, false),
                "outbound_answered": count(true, true),
                "outbound_unanswered": count(true, false),
            },
            "talk_seconds": calls.iter().fold(0.0, |sum, c| sum + c.what.talk_seconds),
            "messages": {"sent": by_channel(true), "received": by_channel(false)},
            "meetings": pick.of(&self.world.meetings).len(),
            "touches": pick.of(&self.world.touches).len(),
            "deals_won": won,
            "deals_lost": lost,
            "amount_won": amounts,
            "terms": {
                "offered": deals.len(),
                "special": special.len(),
                "mean_discount_percent": mean(offers.iter().map(|o| o.what.discount)),
            },
            "reviews": {
                "n": reviews.len(),
                "mean_score": mean(reviews.iter().map(|r| r.what.score)),
                "successes": verdicts("SUCCESS"),
                "failures": verdicts("FAILURE"),
            },
            "violations": counts(pick.of(&self.violations).iter().map(|f| f.what)),
        })
    }

    /// Of deals that first reached order ≥ k in the window, the share that reached order ≥ k+1, or is won.
    fn stage_conversion(&self, span: &std::ops::RangeInclusive<i64>, whose: &dyn Fn(Option<&str>) -> bool) -> Value {
        let mut all = Map::new();
        for (name, pipeline) in self.pipelines.iter() {
            let deals: Vec<&Reached> = self
                .stages
                .iter()
                .filter(|deal| deal.what.pipeline == *name && whose(deal.who.as_deref()))
                .map(|deal| &deal.what)
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

    fn now(&self, whose: &dyn Fn(Option<&str>) -> bool) -> Value {
        let pick = Pick { span: &(i64::MIN..=i64::MAX), whose };
        let waits = pick.of(&self.awaiting);
        let mut open: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for fact in pick.of(&self.open) {
            *open.entry(&fact.what.0).or_default().entry(&fact.what.1).or_default() += 1;
        }
        let mut overdue: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for fact in pick.of(&self.overdue) {
            *overdue.entry(&fact.what.0).or_default().entry(&fact.what.1).or_default() += 1;
        }
        json!({
            "awaiting_first_response": waits.len(),
            "oldest_wait_seconds": waits.iter().map(|f| f.what).max().map(seconds),
            "open": open,
            "overdue": overdue,
            "open_alerts": counts(pick.of(&self.open_alerts).iter().map(|f| f.what)),
            "unreturned_calls": pick.of(&self.unreturned).len(),
            "unanswered_messages": pick.of(&self.unanswered).len(),
        })
    }
}

/// The facts of a window and a subject.
struct Pick<'a> {
    span: &'a std::ops::RangeInclusive<i64>,
    whose: &'a dyn Fn(Option<&str>) -> bool,
}

impl Pick<'_> {
    fn of<'f, T>(&self, facts: &'f [Fact<T>]) -> Vec<&'f Fact<T>> {
        facts.iter().filter(|f| self.span.contains(&f.date) && (self.whose)(f.who.as_deref())).collect()
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
    let mut lags: Vec<f64> = facts.iter().map(|f| seconds(f.what)).collect();
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
        // At the ends one bound has a closed form: z²/(n+z²).
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

//! A seeded generator of event streams full of edge cases: the same seed gives the same bytes.
//!
//! It generates scenarios (a lead, a deal, a caller, a correspondence) at random instants biased towards edge cases:
//! deadlines and escalations of its own norms, one millisecond before or after them, pane boundaries, boundaries of
//! working time, DST changes, instants of other events. Events are in time order; ties are in random order, so that
//! topic and line decide.
//!
//! [`stream`] keeps to what the first edition of the specification knew; undefined by it and therefore not generated: a
//! call whose start and end name different parties or directions, a start after the end, a creation in the future, phone
//! spellings with an ambiguous country. [`exchange_stream`] adds what exchanges and customers really send.

mod exchanges;
mod floors;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::calendar::{Calendar, Clock, span, written};
use super::norms::{Norms, Scope};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Days shortly before a DST change, a holiday season or the new year.
const STARTS: [&str; 7] = [
    "2026-03-27T00:00:00Z",
    "2026-10-23T00:00:00Z",
    "2026-03-06T00:00:00Z",
    "2026-10-30T00:00:00Z",
    "2025-12-29T00:00:00Z",
    "2026-04-02T00:00:00Z",
    "2026-06-15T00:00:00Z",
];

const ZONES: [&str; 9] = [
    "Europe/Moscow",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Almaty",
    "Pacific/Auckland",
    "UTC",
];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1).max(1) as u64) as i64
    }

    /// True with this probability in percent.
    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn maybe<T>(&mut self, percent: usize, value: T) -> Option<T> {
        self.percent(percent).then_some(value)
    }
}

/// A stream of this many events in time order, and norms to judge them by.
pub fn stream(seed: u64, events: usize) -> (Vec<Value>, Value) {
    stream_of(seed, events, Extra::None)
}

/// The same with legs and sessions of calls, corrected records, second numbers, spellings, dismissals, closings with
/// waiting messages, loose JSON, and norms for them.
pub fn exchange_stream(seed: u64, events: usize) -> (Vec<Value>, Value) {
    stream_of(seed, events, Extra::Exchanges)
}

/// A stream of [`stream`] with plans, hand-overs, waiting stages, moves of one instant, reasons that exclude a lead, and
/// norms for them.
pub fn floor_stream(seed: u64, events: usize) -> (Vec<Value>, Value) {
    stream_of(seed, events, Extra::Floors { merges: false })
}

/// A [`floor_stream`] in which leads and deals are merged.
pub fn merge_stream(seed: u64, events: usize) -> (Vec<Value>, Value) {
    stream_of(seed, events, Extra::Floors { merges: true })
}

/// What a stream has beyond the first edition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    Exchanges,
    Floors { merges: bool },
}

fn stream_of(seed: u64, events: usize, extra: Extra) -> (Vec<Value>, Value) {
    let mut rng = Rng(seed ^ 0x5eed_f00d);
    let start = super::calendar::instant(rng.pick(&STARTS)).unwrap() + rng.between(0, 20) * HOUR;
    // Some streams are dense, so that windows fill.
    let span = if rng.percent(45) { rng.between(1, 4) } else { rng.between(3, 40) } * DAY;
    let tenants: Vec<String> =
        ["acme", "globex", "initech"][..1 + rng.below(3)].iter().map(|t| (*t).to_owned()).collect();
    let norms = norms(&mut rng, &tenants, start, extra);
    let mut generator = Generator::new(rng, start, start + span, tenants, &norms, extra);
    generator.emit_managers();
    while generator.events.len() < events {
        generator.scenario();
    }
    (generator.finish(events), norms)
}

// ---- norms

fn norms(rng: &mut Rng, tenants: &[String], start: i64, extra: Extra) -> Value {
    let mut calendars = Map::new();
    let names: Vec<String> = (0..1 + rng.below(3)).map(|i| format!("calendar-{i}")).collect();
    for name in &names {
        calendars.insert(name.clone(), calendar(rng, start));
    }
    let mut document = json!({
        "calendars": calendars,
        "pipelines": pipelines(rng),
        "min_talk_seconds": rng.pick(&[1, 1, 5, 10]),
        "windows": match rng.below(3) {
            0 => json!([{"size": "1h", "slide": "1m"}, {"size": "24h", "slide": "15m"}, {"size": "7d", "slide": "2h"}, {"size": "30d", "slide": "8h"}]),
            1 => json!([{"size": "6h", "slide": "30m"}, {"size": "3d", "slide": "6h"}]),
            _ => json!([{"size": "24h", "slide": "24h"}, {"size": "10d", "slide": "12h"}, {"size": "30d", "slide": "1d"}]),
        },
        "norms": {},
    });
    if rng.percent(85) {
        document["calendar"] = json!(rng.pick(&names));
    }
    let style = Style {
        windows: document["windows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w["size"].as_str().unwrap().to_owned())
            .collect(),
        window: rng.next(),
        of_department: rng.percent(40),
    };
    for rule in rules() {
        if rng.percent(if rule.ends_with('d') { 85 } else { 75 }) {
            document["norms"][rule] = rule_norm(rng, rule, false, &style);
        }
    }
    let mut overrides = Vec::new();
    for _ in 0..rng.below(5) {
        let mut when = Map::new();
        if rng.percent(50) {
            when.insert("tenant".to_owned(), json!(rng.pick(tenants)));
        }
        match rng.below(4) {
            0 => drop(when.insert("department".to_owned(), json!(rng.pick(&["north", "south"])))),
            1 => drop(when.insert("pipeline".to_owned(), json!(rng.pick(&["inbound", "sales", "renewal"])))),
            2 => drop(when.insert("source_id".to_owned(), json!(rng.pick(&["WEB", "ADS"])))),
            _ => {}
        }
        if when.is_empty() {
            when.insert("tenant".to_owned(), json!(tenants[0]));
        }
        let mut one = json!({"when": when});
        if rng.percent(40) {
            one["calendar"] = json!(rng.pick(&names));
        }
        let mut changed = Map::new();
        for rule in rules() {
            if rng.percent(30) {
                changed.insert(rule.to_owned(), rule_norm(rng, rule, true, &style));
            }
        }
        if !changed.is_empty() {
            one["norms"] = Value::Object(changed);
        }
        overrides.push(one);
    }
    if !overrides.is_empty() {
        document["overrides"] = Value::Array(overrides);
    }
    match extra {
        Extra::None => {}
        Extra::Exchanges => exchanges::norms(rng, &mut document, tenants, &style),
        Extra::Floors { .. } => floors::norms(rng, &mut document, &style),
    }
    document
}

/// The keys of all rules in the norms; the three rules about terms share one.
fn rules() -> impl Iterator<Item = &'static str> {
    super::RULES.into_iter().filter_map(|rule| match rule {
        "discount_over_limit" => Some("terms"),
        "installment_not_allowed"
        | "prepayment_too_low"
        | "next_step_missing"
        | "next_step_overdue"
        | "target_behind" => None,
        other => Some(other),
    })
}

/// Choices shared by all norms of one stream.
struct Style {
    windows: Vec<String>,
    window: u64,
    of_department: bool,
}

const REASONS: [&str; 3] = ["no_budget", "spam", "whim"];
const FIELDS: [&str; 3] = ["budget", "city", "needs"];
const KINDS: [&str; 7] = ["MEETING", "DEMO", "PROPOSAL", "TASK", "NEEDS_ANALYSIS", "INVOICE", "OTHER"];

/// Stages of the pipelines; stages of other pipelines and `ELSEWHERE` have no order.
const INBOUND: [&str; 3] = ["NEW", "TALK", "READY"];
const SALES: [&str; 4] = ["NEW", "NEEDS", "OFFER", "INVOICE"];
const RENEWAL: [&str; 3] = ["NEW", "CHECK", "SIGN"];

fn stages_of(pipeline: &str) -> &'static [&'static str] {
    match pipeline {
        "inbound" => &INBOUND,
        "sales" => &SALES,
        _ => &RENEWAL,
    }
}

fn pipelines(rng: &mut Rng) -> Value {
    let mut all = Map::new();
    for (name, entity) in [("inbound", "lead"), ("sales", "deal"), ("renewal", "deal")] {
        let mut stages = Vec::new();
        for (order, id) in stages_of(name).iter().enumerate() {
            let mut stage = json!({"id": id});
            if rng.percent(55) {
                stage["max_time"] = json!(rng.pick(&["20m", "1h", "4h", "9h", "16h", "40h"]));
            }
            if order < 2 && rng.percent(70) {
                stage["early"] = json!(true);
            }
            if rng.percent(if order == 0 { 10 } else { 45 }) {
                stage["required"] = json!(true);
            }
            if rng.percent(40) {
                let mut requires = Map::new();
                if rng.percent(70) {
                    requires.insert("fields".to_owned(), json!(FIELDS[..1 + rng.below(2)]));
                }
                if rng.percent(50) {
                    requires.insert("activities".to_owned(), json!([rng.pick(&KINDS)]));
                }
                if !requires.is_empty() {
                    stage["requires"] = Value::Object(requires);
                }
            }
            stages.push(stage);
        }
        all.insert(name.to_owned(), json!({"entity": entity, "stages": stages}));
    }
    Value::Object(all)
}

/// A complete norm, or a partial one for an override. Required keys are always present, because an override may be the
/// only norm of a rule.
fn rule_norm(rng: &mut Rng, rule: &str, partial: bool, style: &Style) -> Value {
    if partial && rng.percent(20) {
        return json!({"enabled": false});
    }
    let keep = if partial { 45 } else { 100 };
    let mut norm = Map::new();
    let mut put = |key: &str, value: Value| {
        norm.insert(key.to_owned(), value);
    };
    let clocked = matches!(
        rule,
        "first_response_late"
            | "too_few_attempts"
            | "neglected"
            | "missed_call_not_returned"
            | "message_unanswered"
            | "source_silent"
            | "next_step_missing"
            | "next_step_overdue"
    );
    let windowed =
        matches!(rule, "conversion_low" | "response_slow" | "quality_low" | "stuck_early" | "special_terms_frequent");
    if clocked {
        let rare = rule == "source_silent";
        let list =
            if rare { &["2h", "9h", "24h", "30h"][..] } else { &["90s", "5m", "15m", "30m", "1h", "4h", "9h", "24h"] };
        put("within", json!(rng.pick(list)));
    }
    if (clocked || rule == "stage_overdue" || rule == "response_slow") && rng.percent(keep) {
        put("clock", json!(rng.pick(&["wall", "business", "business"])));
    }
    if rng.percent(keep * 7 / 10) {
        put("severity", json!(rng.pick(&["info", "warning", "critical"])));
    }
    if (clocked || windowed || rule == "stage_overdue") && rng.percent(keep * 7 / 10) {
        let list = rng.pick(&[&["15m", "2h"][..], &["30s"], &["1h", "3h", "20h"], &[]]);
        put("escalate_after", json!(list));
    }
    if windowed {
        // The same window for all rules of a stream, named or by default.
        if style.window & 1 == 0 {
            put("window", json!(style.windows[(style.window >> 8) as usize % style.windows.len()]));
        }
        if rng.percent(keep) {
            put("min_sample", json!(rng.pick(&[1, 2, 2, 3, 5])));
        }
    }
    match rule {
        "first_response_late" if rng.percent(keep) => {
            put("response", json!(rng.pick(&["attempt", "attempt", "conversation"])));
        }
        "message_unanswered" if rng.percent(keep / 3) => put("channels", json!(["EMAIL", "CHAT"])),
        "too_few_attempts" => put("attempts", json!(rng.pick(&[1, 2, 2, 3, 4]))),
        "neglected" if rng.percent(keep / 2) => {
            put("entities", rng.pick(&[json!(["lead"]), json!(["deal"]), json!(["lead", "deal"])]));
        }
        "next_step_missing" if rng.percent(keep / 2) => {
            put("entities", rng.pick(&[json!(["lead"]), json!(["lead", "deal"])]));
        }
        "disqualified_without_reason" => {
            if rng.percent(keep / 2) {
                put(
                    "applies_to",
                    rng.pick(&[json!(["DISQUALIFIED"]), json!(["LOST"]), json!(["DISQUALIFIED", "LOST"])]),
                );
            }
            if rng.percent(keep / 2) {
                put("allowed_reasons", json!(REASONS[..1 + rng.below(2)]));
            }
        }
        "disqualified_without_contact" if rng.percent(keep * 7 / 10) => {
            put("min_touches", json!(rng.pick(&[1, 1, 2, 3])));
        }
        "terms" => {
            if rng.percent(keep * 8 / 10) {
                put("approvers", json!(["boss-1", "m0"]));
            }
            let policies: Vec<Value> = (0..1 + rng.below(3)).map(|_| policy(rng)).collect();
            put("policies", Value::Array(policies));
        }
        "conversion_low" => {
            if style.of_department {
                put("of_department", json!(rng.pick(&[0.5, 1.0])));
            } else {
                put("at_least", json!(rng.pick(&[0.5, 0.7, 0.9])));
            }
            if rng.percent(keep / 2) {
                put("basis", json!(rng.pick(&["cohort", "closed"])));
            }
        }
        "response_slow" => {
            // None of these is a deadline of another rule.
            put("at_most", json!(rng.pick(&["7m", "37m", "100m", "11h"])));
            if rng.percent(keep / 2) {
                put("quantile", json!(rng.pick(&[0.5, 0.75, 0.9, 0.99])));
            }
        }
        "quality_low" => put("at_least", json!(rng.pick(&[40, 60, 75]))),
        "stuck_early" | "special_terms_frequent" => put("at_most", json!(rng.pick(&[0.1, 0.3, 0.5]))),
        _ => {}
    }
    if partial && rng.percent(30) {
        put("enabled", json!(true));
    }
    Value::Object(norm)
}

/// A policy row of allowed terms.
fn policy(rng: &mut Rng) -> Value {
    let mut row = Map::new();
    if rng.percent(35) {
        row.insert("pipeline".to_owned(), json!(rng.pick(&["sales", "sales", "renewal"])));
    }
    if rng.percent(35) {
        row.insert("grade".to_owned(), json!(rng.pick(&["junior", "senior"])));
    }
    if rng.percent(35) {
        row.insert("amount_minor_below".to_owned(), json!(rng.pick(&[12_300_000, 4_000_000])));
    }
    if rng.percent(85) {
        row.insert("max_discount_percent".to_owned(), json!(rng.pick(&[0.0, 5.5, 15.0])));
    }
    if rng.percent(70) {
        row.insert("max_installment_months".to_owned(), json!(rng.pick(&[0, 6])));
    }
    if rng.percent(70) {
        row.insert("min_prepayment_percent".to_owned(), json!(rng.pick(&[30.0, 100.0])));
    }
    Value::Object(row)
}

fn calendar(rng: &mut Rng, start: i64) -> Value {
    let weeks = [
        (&["mon", "tue", "wed", "thu", "fri"][..], &["09:00-18:00"][..]),
        (&["mon", "tue", "wed", "thu", "fri"], &["09:00-13:00", "14:00-18:00"]),
        (&["sun", "mon", "tue", "wed", "thu"], &["07:00-24:00"]),
        (&["mon", "tue", "wed", "thu", "fri", "sat", "sun"], &["00:00-03:30", "20:00-24:00"]),
        (&["mon", "tue", "wed", "thu", "fri", "sat", "sun"], &["00:00-24:00"]),
        (&["sat", "sun", "mon"], &["01:30-02:30", "02:45-10:00"]),
    ];
    let (days, hours) = rng.pick(&weeks);
    let week: Map<String, Value> = days.iter().map(|day| ((*day).to_owned(), json!(hours))).collect();
    let mut exceptions = Map::new();
    for _ in 0..rng.below(6) {
        let date = written(start + rng.between(0, 35) * DAY)[..10].to_owned();
        let hours = rng.pick(&[&[][..], &["09:00-17:00"], &["10:00-12:00"], &["22:00-24:00"]]).to_vec();
        exceptions.insert(date, json!(hours));
    }
    json!({"timezone": rng.pick(&ZONES), "week": week, "days": exceptions, "years": [2025, 2026]})
}

// ---- customers, leads and deals

/// A customer: phone digits with country code, e-mail address, handle.
#[derive(Clone)]
struct Person {
    phone: String,
    /// A second number; none in streams of the first edition.
    mobile: String,
    email: String,
    handle: String,
}

#[derive(Clone, Debug)]
struct Subject {
    is_lead: bool,
    id: String,
    /// Its creation, or its first event.
    anchor: i64,
}

struct Tenant {
    name: String,
    managers: Vec<String>,
    people: Vec<Person>,
    leads: Vec<Subject>,
    deals: Vec<Subject>,
    /// Event id counters by topic: different topics use the same ids on purpose.
    ids: [usize; 3],
    /// Interactions that can be dismissed, with their instants.
    interactions: Vec<(i64, String)>,
}

struct Generator {
    rng: Rng,
    start: i64,
    end: i64,
    clocks: Vec<Clock>,
    calendars: Vec<Calendar>,
    spans: Vec<i64>,
    min_talk: i64,
    tenants: Vec<Tenant>,
    /// (instant, event).
    events: Vec<(i64, Value)>,
    serial: usize,
    /// (tenant, topic, from, to): no events are generated.
    silences: Vec<(usize, usize, i64, i64)>,
    /// `max_time` by pipeline and stage.
    max_times: BTreeMap<(String, String), i64>,
    /// Whether the stream has what [`exchange_stream`] adds.
    exchanges: bool,
    floors: bool,
    merges: bool,
}

const CRM: usize = 0;
const TELEPHONY: usize = 1;
const EMAIL: usize = 2;

impl Generator {
    fn new(mut rng: Rng, start: i64, end: i64, names: Vec<String>, document: &Value, extra: Extra) -> Generator {
        let exchanges = extra == Extra::Exchanges;
        let norms = Norms::read(document);
        let mut clocks = vec![Clock::Wall];
        for tenant in &names {
            for department in ["north", "south", "unknown"] {
                let scope = Scope {
                    tenant: tenant.clone(),
                    department: department.to_owned(),
                    manager: None,
                    pipeline: None,
                    source: None,
                };
                clocks.push(norms.business(&scope));
            }
        }
        let calendars = document["calendars"].as_object().unwrap().values().map(Calendar::read).collect();
        let mut spans = Vec::new();
        collect_spans(document, &mut spans);
        let mut tenants = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let managers = (0..2 + rng.below(5)).map(|i| format!("m{i}")).collect();
            let people = match exchanges {
                true => exchanges::people(&mut rng, index),
                false => (0..3 + rng.below(8)).map(|i| person(&mut rng, index * 100 + i)).collect(),
            };
            tenants.push(Tenant {
                name,
                managers,
                people,
                leads: Vec::new(),
                deals: Vec::new(),
                ids: [0; 3],
                interactions: Vec::new(),
            });
        }
        let min_talk = document["min_talk_seconds"].as_i64().unwrap();
        let mut silences = Vec::new();
        for _ in 0..rng.below(3) {
            let from = rng.between(start, end);
            let long = rng.between(1, 60) * HOUR;
            silences.push((rng.below(tenants.len()), rng.below(3), from, from + long));
        }
        let mut max_times = BTreeMap::new();
        for (name, pipeline) in document["pipelines"].as_object().unwrap() {
            for stage in pipeline["stages"].as_array().unwrap() {
                if let Some(max) = stage["max_time"].as_str().and_then(span) {
                    max_times.insert((name.clone(), stage["id"].as_str().unwrap().to_owned()), max);
                }
            }
        }
        Generator {
            rng,
            start,
            end,
            clocks,
            calendars,
            spans,
            min_talk,
            tenants,
            events: Vec::new(),
            serial: 0,
            silences,
            max_times,
            exchanges,
            floors: matches!(extra, Extra::Floors { .. }),
            merges: extra == Extra::Floors { merges: true },
        }
    }

    /// The first `events` generated events, in time order; ties in random order.
    fn finish(mut self, events: usize) -> Vec<Value> {
        self.events.truncate(events);
        let mut keyed: Vec<(i64, u64, Value)> =
            self.events.drain(..).map(|(at, event)| (at, self.rng.next(), event)).collect();
        keyed.sort_by_key(|(at, tie, _)| (*at, *tie));
        keyed.into_iter().map(|(_, _, event)| event).collect()
    }

    // ---- instants

    /// A random instant, biased towards working hours and edge cases.
    fn random_instant(&mut self) -> i64 {
        let at = self.rng.between(self.start, self.end);
        match self.rng.below(20) {
            0..=6 => {
                // In the working time of some calendar.
                let calendar = self.rng.below(self.calendars.len());
                let edges = self.calendars[calendar].edges(at - 2 * DAY, at + 2 * DAY);
                match edges.chunks_exact(2).nth(edges.len() / 4) {
                    Some(pair) => self.rng.between(pair[0], pair[1]) / SECOND * SECOND,
                    None => at,
                }
            }
            7..=8 => {
                let calendar = self.rng.below(self.calendars.len());
                let edges = self.calendars[calendar].edges(at - DAY, at + DAY);
                if edges.is_empty() { at } else { self.rng.pick(&edges) }
            }
            9..=11 => {
                let slide = self.rng.pick(&[MINUTE, 15 * MINUTE, 2 * HOUR, 8 * HOUR, DAY]);
                at.div_euclid(slide) * slide
            }
            12..=13 if !self.events.is_empty() => {
                let index = self.rng.below(self.events.len());
                self.events[index].0
            }
            14 => at,
            _ => at / SECOND * SECOND,
        }
    }

    /// At or after an instant: at once, soon, around one of its deadlines, or much later.
    fn after(&mut self, anchor: i64) -> i64 {
        match self.rng.below(12) {
            0 => anchor,
            1 => anchor + self.rng.between(0, 3),
            2..=3 => anchor + self.rng.between(1, 600) * SECOND,
            4..=7 => {
                let due = self.deadline(anchor);
                let mut off = self.rng.pick(&[0, 0, 0, -1, 1, -SECOND, SECOND, -5 * MINUTE, 5 * MINUTE, 40 * MINUTE]);
                if self.floors && self.rng.percent(40) {
                    // Between a warning and its deadline.
                    off = -self.rng.between(1, 1200) * SECOND;
                }
                (due + off).max(anchor)
            }
            8..=9 => anchor + self.rng.between(1, 10 * 60) * MINUTE,
            10 => anchor + self.rng.between(1, 120) * HOUR + self.rng.between(0, 999),
            _ => {
                let slide = self.rng.pick(&[MINUTE, 15 * MINUTE, 2 * HOUR, 8 * HOUR]);
                (anchor + self.rng.between(0, 8) * HOUR).div_euclid(slide) * slide + slide
            }
        }
    }

    /// A deadline or escalation of some norm, on some clock.
    fn deadline(&mut self, anchor: i64) -> i64 {
        let clock = self.rng.below(self.clocks.len());
        let mut within = self.rng.pick(&self.spans);
        if self.rng.percent(30) {
            within += self.rng.pick(&self.spans);
        }
        self.clocks[clock].after(anchor, within).unwrap_or(anchor + within).min(anchor + 20 * DAY)
    }

    // ---- emitting events

    fn emit(&mut self, tenant: usize, topic: usize, at: i64, name: &str, payload: Value) {
        if self.silences.iter().any(|(t, o, from, to)| (*t, *o) == (tenant, topic) && (*from..*to).contains(&at)) {
            return;
        }
        let ids = &mut self.tenants[tenant].ids[topic];
        *ids += 1;
        let id = format!("{ids}");
        let mut event = json!({
            "event_id": id,
            "tenant_id": self.tenants[tenant].name,
            "occurred_at": written(at),
            "source": "generator",
        });
        if self.rng.percent(2) {
            event["event_id"] = json!(self.rng.pick(&["", "null"]));
            if event["event_id"] == "null" {
                event["event_id"] = Value::Null;
            }
        }
        if self.rng.percent(5) {
            // The same instant with another UTC offset.
            event["occurred_at"] = json!(written(at + 3 * HOUR).replace('Z', "+03:00"));
        }
        let mut payload = payload;
        payload.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        if self.rng.percent(4) {
            payload["unheard_of"] = json!({"pipeline_id": 1});
            payload["stage_id"] = payload.get("stage_id").cloned().unwrap_or(Value::Null);
            payload["comment"] = json!("");
        }
        if self.exchanges {
            self.loosened(&mut event, &mut payload);
        }
        event[name] = payload;
        if self.rng.percent(6) {
            event = camel_keys(&event);
        }
        self.events.push((at, event));
    }

    fn serial(&mut self, prefix: &str) -> String {
        self.serial += 1;
        // Some exchanges have numbers as ids.
        if self.exchanges && prefix == "call-" && self.rng.percent(15) {
            return self.serial.to_string();
        }
        format!("{prefix}{}", self.serial)
    }

    /// The managers with their departments, most of them known from the start.
    fn emit_managers(&mut self) {
        for tenant in 0..self.tenants.len() {
            let early = self.start + self.rng.between(0, 3) * SECOND;
            for manager in self.tenants[tenant].managers.clone() {
                if self.rng.percent(75) {
                    self.upsert(tenant, &manager, early);
                }
            }
        }
    }

    fn upsert(&mut self, tenant: usize, manager: &str, at: i64) {
        let department = self.rng.pick(&["north", "north", "south", ""]);
        let active = self.rng.percent(90);
        let grade = self.rng.pick(&[Value::Null, json!("junior"), json!("senior"), json!("senior")]);
        self.emit(
            tenant,
            CRM,
            at,
            "manager_upserted",
            json!({
                "manager_id": manager,
                // Empty text takes the department away.
                "department_id": if department.is_empty() && self.serial.is_multiple_of(2) { Value::Null } else { json!(department) },
                "name": "Somebody",
                "grade": grade,
                "active": active,
            }),
        );
    }

    fn manager(&mut self, tenant: usize, percent: usize) -> Value {
        let manager = self.rng.pick(&self.tenants[tenant].managers);
        self.rng.maybe(percent, manager).map_or(Value::Null, Value::from)
    }

    fn person(&mut self, tenant: usize) -> Person {
        self.rng.pick(&self.tenants[tenant].people)
    }

    fn subject(&mut self, tenant: usize) -> Option<Subject> {
        let lead = self.rng.percent(65);
        let tenant = &self.tenants[tenant];
        let list = if lead || tenant.deals.is_empty() { &tenant.leads } else { &tenant.deals };
        (!list.is_empty()).then(|| self.rng.pick(list))
    }

    fn scenario(&mut self) {
        let tenant = self.rng.below(self.tenants.len());
        if self.exchanges && self.rng.percent(55) {
            return self.exchange_scenario(tenant);
        }
        if self.floors && self.rng.percent(50) {
            return self.floor_scenario(tenant);
        }
        match self.rng.below(100) {
            0..=29 => self.lead(tenant),
            30..=44 => self.deal(tenant),
            45..=61 => self.caller(tenant),
            62..=75 => self.correspondence(tenant),
            76..=80 => {
                let (manager, at) = (self.manager(tenant, 100), self.random_instant());
                self.upsert(tenant, manager.as_str().unwrap(), at);
            }
            81..=85 => self.review(tenant),
            86..=90 => self.duplicate(),
            91..=92 => self.reject(tenant),
            _ => {
                if let Some(subject) = self.subject(tenant) {
                    let at = self.after(subject.anchor);
                    self.act(tenant, &subject, at);
                }
            }
        }
    }

    // ---- leads and deals

    fn contacts(&mut self, tenant: usize) -> Vec<Value> {
        let mut contacts = Vec::new();
        for _ in 0..self.rng.pick(&[0, 1, 1, 2, 3]) {
            let person = self.person(tenant);
            contacts.push(self.contact_of(&person));
        }
        contacts
    }

    fn contact_of(&mut self, person: &Person) -> Value {
        match self.rng.below(10) {
            0..=5 => json!({"phone": self.spelled(person)}),
            6..=8 => json!({"email": self.address(person)}),
            _ if self.exchanges => self.respelled_handle(person),
            _ => json!({"handle": person.handle, "channel": "MESSENGER"}),
        }
    }

    fn lead(&mut self, tenant: usize) {
        let id = self.serial("L");
        let created = self.random_instant();
        let entity = json!({"kind": "LEAD", "id": id});
        let subject = Subject { is_lead: true, id: id.clone(), anchor: created };
        let attributes = json!({
            "lead_id": id,
            "manager_id": self.manager(tenant, 75),
            "pipeline_id": self.rng.maybe(70, "inbound"),
            "stage_id": self.rng.maybe(70, *["NEW", "TALK"].first().unwrap()),
            "source_id": self.rng.maybe(50, "WEB").or(self.rng.maybe(40, "ADS")),
            "contacts": self.contacts(tenant),
        });
        self.first_events(tenant, &subject, &entity, attributes, created);
        if self.rng.percent(40) {
            self.move_through_stages(tenant, &subject, "inbound");
        }
        self.follow_up(tenant, subject);
    }

    fn deal(&mut self, tenant: usize) {
        let id = self.serial("D");
        let created = self.random_instant();
        let entity = json!({"kind": "DEAL", "id": id});
        let subject = Subject { is_lead: false, id: id.clone(), anchor: created };
        let leads = &self.tenants[tenant].leads;
        let lead = match self.rng.below(10) {
            0..=3 if !leads.is_empty() => json!(self.rng.pick(leads).id),
            // A lead that may be created later.
            4 => json!(format!("L{}", self.serial + 1 + self.rng.below(4))),
            5 => json!("nobody"),
            _ => Value::Null,
        };
        let priced = self.rng.percent(60);
        let pipeline = self.rng.pick(&["sales", "sales", "renewal"]);
        let stage = self.rng.pick(&["NEW", "NEW", "NEEDS", "CHECK"]);
        let attributes = json!({
            "deal_id": id,
            "lead_id": lead,
            "manager_id": self.manager(tenant, 80),
            "pipeline_id": self.rng.maybe(75, pipeline),
            "stage_id": self.rng.maybe(70, stage),
            "amount_minor": priced.then(|| self.rng.between(1, 900) * 10_000),
            "currency": priced.then_some("RUB"),
            "contacts": self.contacts(tenant),
        });
        self.first_events(tenant, &subject, &entity, attributes, created);
        if self.rng.percent(70) {
            self.move_through_stages(tenant, &subject, pipeline);
        }
        for _ in 0..self.rng.pick(&[0, 0, 1, 2, 3]) {
            let at = self.after(created);
            self.terms(tenant, &subject, at);
        }
        self.follow_up(tenant, subject);
    }

    /// Stage moves in time order: forwards, backwards, skipping, to an unlisted stage, to another pipeline, closed and
    /// reopened, and around the remaining time of a stage.
    fn move_through_stages(&mut self, tenant: usize, subject: &Subject, pipeline: &'static str) {
        let entity = json!({"kind": if subject.is_lead { "LEAD" } else { "DEAL" }, "id": subject.id});
        let mut pipeline = pipeline;
        let mut stage = "NEW";
        let mut at = subject.anchor;
        let mut entered = at;
        // Wall time.
        let mut spent: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for _ in 0..1 + self.rng.below(7) {
            let left = self.max_times.get(&(pipeline.to_owned(), stage.to_owned())).copied();
            let left = left.map(|max| (max - spent.get(&(pipeline, stage)).copied().unwrap_or(0)).max(0));
            at = match left {
                Some(left) if self.rng.percent(35) => {
                    (entered + left + self.rng.pick(&[0, 0, -1, 1, -5 * MINUTE, HOUR])).max(at)
                }
                _ => self.after(at),
            };
            *spent.entry((pipeline, stage)).or_default() += at - entered;
            entered = at;
            let stages = stages_of(pipeline);
            let order = stages.iter().position(|s| *s == stage);
            let from = stage;
            let mut changed = false;
            match self.rng.below(20) {
                0..=8 => stage = order.and_then(|order| stages.get(order + 1)).unwrap_or(&stages[0]),
                9..=11 => stage = self.rng.pick(stages),
                12..=13 => stage = order.map_or(stages[0], |order| stages[order.saturating_sub(1)]),
                14 => stage = "ELSEWHERE",
                15 if !subject.is_lead => {
                    pipeline = if pipeline == "sales" { "renewal" } else { "sales" };
                    stage = self.rng.pick(stages_of(pipeline));
                    changed = true;
                }
                16 => {
                    let kind = self.rng.pick(&KINDS);
                    let activity = json!({"entity": entity, "kind": kind, "manager_id": self.manager(tenant, 60)});
                    self.emit(tenant, CRM, at, "activity_completed", activity);
                    continue;
                }
                17..=18 => {
                    self.closing(tenant, subject, &entity, at);
                    if self.rng.percent(60) {
                        at = self.after(at);
                        entered = at;
                        let stage = self.rng.maybe(30, stage);
                        self.emit(tenant, CRM, at, "reopened", json!({"entity": entity, "stage_id": stage}));
                    }
                    continue;
                }
                // The same stage is reported again.
                _ => {}
            }
            let fields = self.fields();
            let named_pipeline = if changed || self.rng.percent(30) { json!(pipeline) } else { Value::Null };
            if self.rng.percent(15) {
                // A snapshot reports it, possibly later, with or without its date.
                let reported_at = if self.rng.percent(40) { at } else { self.after(at) };
                let (name, key) =
                    if subject.is_lead { ("lead_snapshot", "lead_id") } else { ("deal_snapshot", "deal_id") };
                let dated = self.rng.maybe(75, json!(written(at)));
                let mut payload = json!({"pipeline_id": named_pipeline, "stage_id": stage, "stage_entered_at": dated, "filled_fields": fields});
                payload[key] = json!(subject.id);
                self.emit(tenant, CRM, reported_at, name, payload);
            } else {
                let from = self.rng.maybe(50, from);
                self.emit(
                    tenant,
                    CRM,
                    at,
                    "stage_changed",
                    json!({
                        "entity": entity,
                        "pipeline_id": named_pipeline,
                        "from_stage_id": from,
                        "to_stage_id": stage,
                        "filled_fields": fields,
                    }),
                );
            }
        }
    }

    fn fields(&mut self) -> Value {
        let fields: Vec<&str> = FIELDS.into_iter().filter(|_| self.rng.percent(30)).collect();
        if fields.is_empty() { Value::Null } else { json!(fields) }
    }

    /// A random stage, mostly of the entity's own pipeline.
    fn stage(&mut self, subject: &Subject) -> &'static str {
        match self.rng.below(20) {
            0..=16 => self.rng.pick(if subject.is_lead { &INBOUND[..] } else { &SALES[..] }),
            17..=18 => self.rng.pick(&RENEWAL),
            _ => "ELSEWHERE",
        }
    }

    /// The first events of an entity.
    fn first_events(&mut self, tenant: usize, subject: &Subject, entity: &Value, attributes: Value, created: i64) {
        let (creation, snapshot) =
            if subject.is_lead { ("lead_created", "lead_snapshot") } else { ("deal_created", "deal_snapshot") };
        match self.rng.below(100) {
            0..=54 => self.emit(tenant, CRM, created, creation, attributes),
            55..=69 => {
                // A snapshot with the creation: at once, later, or with a creation before the start of the stream.
                let mut attributes = attributes;
                let reported_at = if self.rng.percent(40) { created } else { self.after(created) };
                let before = self.start - self.rng.between(1, 100) * HOUR;
                attributes["created_at"] = json!(written(if self.rng.percent(15) { before } else { created }));
                self.emit(tenant, CRM, reported_at, snapshot, attributes);
            }
            70..=76 => self.emit(tenant, CRM, created, snapshot, attributes),
            77..=94 => {
                // Unknown creation at first, known later from an event or a snapshot.
                self.act(tenant, subject, created);
                let later = self.after(created);
                if self.rng.percent(60) {
                    self.emit(tenant, CRM, later, creation, attributes);
                } else {
                    let mut attributes = attributes;
                    attributes["created_at"] = json!(written(self.rng.between(created - 2 * HOUR, later).min(later)));
                    self.emit(tenant, CRM, later, snapshot, attributes);
                }
            }
            _ => {
                self.emit(
                    tenant,
                    CRM,
                    created,
                    "contact_linked",
                    json!({"entity": entity, "contact": {"phone": "+79160000000"}}),
                );
            }
        }
    }

    fn follow_up(&mut self, tenant: usize, subject: Subject) {
        if self.rng.percent(12) {
            // An act dated before a deadline and known after it.
            let mut plan = self.some_call(tenant, None);
            plan.entity = Some(json!({"kind": if subject.is_lead { "LEAD" } else { "DEAL" }, "id": subject.id}));
            self.call_across_deadline(tenant, subject.anchor, plan);
        }
        for _ in 0..self.rng.below(6) {
            let at = self.after(subject.anchor);
            self.act(tenant, &subject, at);
        }
        let list = if subject.is_lead { &mut self.tenants[tenant].leads } else { &mut self.tenants[tenant].deals };
        list.push(subject);
    }

    /// A random event of an entity.
    fn act(&mut self, tenant: usize, subject: &Subject, at: i64) {
        let entity = json!({"kind": if subject.is_lead { "LEAD" } else { "DEAL" }, "id": subject.id});
        match self.rng.below(100) {
            0..=24 => {
                let call = self.some_call(tenant, Some(entity));
                self.call(tenant, at, call);
            }
            25..=39 => {
                let person = self.person(tenant);
                let entity = self.rng.maybe(80, entity);
                self.message(tenant, at, &person, entity, None, None);
            }
            40..=45 => {
                let kind = self.rng.pick(&KINDS);
                let manager = self.manager(tenant, 70);
                self.emit(
                    tenant,
                    CRM,
                    at,
                    "activity_completed",
                    json!({"entity": entity, "manager_id": manager, "kind": kind}),
                );
            }
            46..=55 => {
                let manager = self.manager(tenant, 100);
                self.emit(tenant, CRM, at, "assigned", json!({"entity": entity, "manager_id": manager}));
            }
            56..=60 => {
                let to = self.stage(subject);
                let pipeline = self.pipeline(subject);
                // Only listed stages: an unknown past up to an unlisted stage is undefined.
                let own = if subject.is_lead { &INBOUND[..] } else { &SALES[..] };
                let from = self.rng.pick(own);
                let from = self.rng.maybe(30, from).filter(|from| *from != to);
                let fields = self.fields();
                self.emit(
                    tenant,
                    CRM,
                    at,
                    "stage_changed",
                    json!({
                        "entity": entity,
                        "to_stage_id": to,
                        "from_stage_id": from,
                        "pipeline_id": pipeline,
                        "filled_fields": fields,
                    }),
                );
            }
            61..=64 => {
                let person = self.person(tenant);
                let contact = self.contact_of(&person);
                self.emit(tenant, CRM, at, "contact_linked", json!({"entity": entity, "contact": contact}));
            }
            65..=79 => self.closing(tenant, subject, &entity, at),
            80..=82 => self.emit(tenant, CRM, at, "deleted", json!({"entity": entity})),
            83..=84 => self.emit(tenant, CRM, at, "reopened", json!({"entity": entity})),
            85..=90 if !subject.is_lead => self.terms(tenant, subject, at),
            _ => self.snapshot(tenant, subject, at),
        }
    }

    fn pipeline(&mut self, subject: &Subject) -> Option<&'static str> {
        let own = if subject.is_lead { "inbound" } else { self.rng.pick(&["sales", "sales", "sales", "renewal"]) };
        self.rng.maybe(30, own)
    }

    fn outcome(&mut self, subject: &Subject) -> &'static str {
        if subject.is_lead {
            self.rng.pick(&["CONVERTED", "DISQUALIFIED", "DISQUALIFIED", "LOST"])
        } else {
            self.rng.pick(&["WON", "WON", "LOST", "DISQUALIFIED"])
        }
    }

    /// A closing, possibly repeated, replaced or reopened.
    fn closing(&mut self, tenant: usize, subject: &Subject, entity: &Value, at: i64) {
        let mut at = at;
        let outcome = self.outcome(subject);
        let close = |generator: &mut Generator, outcome: &str, at: i64| {
            let reason = generator.rng.pick(&REASONS);
            let reason = generator.rng.maybe(65, reason);
            let closed = json!({"entity": entity, "outcome": outcome, "reason": reason});
            generator.emit(tenant, CRM, at, "closed", closed);
        };
        close(self, outcome, at);
        while self.rng.percent(35) {
            at = self.after(at);
            match self.rng.below(4) {
                0 => close(self, outcome, at),
                1 => {
                    let outcome = self.outcome(subject);
                    close(self, outcome, at);
                }
                _ => {
                    let stage = self.stage(subject);
                    let stage = self.rng.maybe(50, stage);
                    self.emit(tenant, CRM, at, "reopened", json!({"entity": entity, "stage_id": stage}));
                }
            }
        }
    }

    fn terms(&mut self, tenant: usize, subject: &Subject, at: i64) {
        // One manager makes most offers.
        let manager = if self.rng.percent(50) { json!("m0") } else { self.manager(tenant, 60) };
        let discount = self.rng.pick(&[Value::Null, json!(0), json!(5.5), json!(15), json!(20)]);
        let installment = self.rng.pick(&[None, None, Some(0), Some(6)]);
        let prepayment = self.rng.pick(&[None, None, Some(100), Some(30)]);
        let amount = self.rng.pick(&[12_300_000, 12_299_999, 1_000_000]);
        let amount = self.rng.maybe(30, amount);
        let approved_by = self.rng.pick(&["boss-1", "m0", "m1"]);
        let approved_by = self.rng.maybe(25, approved_by);
        self.emit(
            tenant,
            CRM,
            at,
            "terms_offered",
            json!({
                "deal_id": subject.id,
                "manager_id": manager,
                "discount_percent": discount,
                "installment_months": installment,
                "prepayment_percent": prepayment,
                "approved_by": approved_by,
                "amount_minor": amount,
                "currency": amount.map(|_| "RUB"),
            }),
        );
    }

    fn snapshot(&mut self, tenant: usize, subject: &Subject, at: i64) {
        let leads = &self.tenants[tenant].leads;
        let lead = if leads.is_empty() { Value::Null } else { json!(self.rng.pick(leads).id) };
        let outcome = self.outcome(subject);
        let manager = self.manager(tenant, 40);
        let contacts = self.contacts(tenant);
        let created_at = written(subject.anchor.min(at));
        let stage = self.stage(subject);
        let entered = match self.rng.below(4) {
            0 => subject.anchor,
            1 => self.after(subject.anchor),
            _ => self.rng.between(subject.anchor - HOUR, at + HOUR),
        };
        let reason = self.rng.pick(&REASONS);
        let mut payload = json!({
            "manager_id": manager,
            "pipeline_id": self.pipeline(subject),
            "stage_id": self.rng.maybe(50, stage),
            "stage_entered_at": self.rng.maybe(60, written(entered)),
            "filled_fields": self.fields(),
            "reason": self.rng.maybe(50, reason),
            "contacts": if self.rng.percent(30) { json!(contacts) } else { Value::Null },
            "source_id": self.rng.maybe(20, "ADS"),
            "outcome": self.rng.maybe(20, outcome),
            "created_at": self.rng.maybe(50, created_at),
        });
        if subject.is_lead {
            payload["lead_id"] = json!(subject.id);
            self.emit(tenant, CRM, at, "lead_snapshot", payload);
        } else {
            payload["deal_id"] = json!(subject.id);
            payload["lead_id"] = self.rng.maybe(40, lead).unwrap_or(Value::Null);
            if self.rng.percent(40) {
                payload["amount_minor"] = json!(self.rng.between(1, 900) * 10_000);
                payload["currency"] = json!(self.rng.pick(&["RUB", "EUR"]));
            }
            self.emit(tenant, CRM, at, "deal_snapshot", payload);
        }
    }

    // ---- calls

    fn some_call(&mut self, tenant: usize, entity: Option<Value>) -> CallPlan {
        let person = self.person(tenant);
        let phone = match self.rng.below(20) {
            0 => "anonymous".to_owned(),
            1 => String::new(),
            2 => "ivan.petrov".to_owned(),
            _ => self.spelled(&person),
        };
        let entity = entity.filter(|_| self.rng.percent(65));
        CallPlan {
            outbound: self.rng.percent(55),
            answered: self.rng.percent(50),
            phone,
            entity,
            long: self.rng.percent(15),
            end: None,
        }
    }

    /// A call from `start`, with or without its `call_started`. Returns its end.
    fn call(&mut self, tenant: usize, start: i64, plan: CallPlan) -> i64 {
        let id = self.serial("call-");
        let manager = self.manager(tenant, if plan.outbound { 80 } else { 50 });
        let ring = self.rng.between(0, 30) * SECOND;
        let talk = if plan.answered {
            if plan.long { self.rng.between(10 * 60, 6 * 3600) } else { self.rng.between(0, 300) }
        } else {
            0
        };
        // A call may be answered without being a conversation.
        let talk = if self.rng.percent(10) { talk.min(self.min_talk - 1).max(0) } else { talk };
        let mut end = start + ring + talk * SECOND;
        if self.exchanges && !plan.outbound {
            self.tenants[tenant].interactions.push((end, id.clone()));
        }
        if plan.long && self.rng.percent(50) {
            // Ends around a deadline counted from its own start.
            end = self.after(start).clamp(start, start + 12 * HOUR);
        }
        let started = self.rng.percent(if plan.end.is_some() { 15 } else { 45 });
        // With a `call_started`, an end in the same millisecond could precede it in event order: not generated.
        let end = plan.end.unwrap_or(end).max(start + if started { 1 } else { 0 });
        let outcome = if plan.answered {
            "ANSWERED"
        } else {
            self.rng.pick(&["NO_ANSWER", "BUSY", "REJECTED", "VOICEMAIL", "FAILED"])
        };
        let base = json!({
            "call_id": id,
            "direction": if plan.outbound { "OUTBOUND" } else { "INBOUND" },
            "phone": plan.phone,
            "manager_id": manager,
            "entity": plan.entity,
            "line": "100",
        });
        if started {
            self.emit(tenant, TELEPHONY, start, "call_started", base.clone());
        }
        let mut ended = base;
        ended["started_at"] = if started || self.rng.percent(92) { json!(written(start)) } else { Value::Null };
        ended["talk_seconds"] = json!(talk as f64);
        ended["outcome"] = json!(outcome);
        if !started || self.rng.percent(95) {
            self.emit(tenant, TELEPHONY, end, "call_ended", ended.clone());
            if self.rng.percent(4) {
                // The same call again with another event id: it counts once.
                let again = self.after(end);
                self.emit(tenant, TELEPHONY, again, "call_ended", ended);
            }
        }
        end
    }

    /// Missed calls of a customer, possibly returned before, at or after the deadline or during another call.
    fn caller(&mut self, tenant: usize) {
        let person = self.person(tenant);
        let mut at = self.random_instant();
        let missed = |generator: &mut Generator| {
            let entity = generator.subject(tenant).filter(|_| generator.rng.percent(20));
            let entity = entity.map(|s| json!({"kind": if s.is_lead { "LEAD" } else { "DEAL" }, "id": s.id}));
            CallPlan {
                outbound: false,
                answered: generator.rng.percent(10),
                phone: generator.spelled(&person),
                entity,
                long: false,
                end: None,
            }
        };
        let plan = missed(self);
        let end = self.call(tenant, at, plan);
        if self.rng.percent(15) {
            let phone = self.spelled(&person);
            let outbound = self.rng.percent(70);
            self.call_across_deadline(
                tenant,
                end,
                CallPlan { outbound, answered: true, phone, entity: None, long: true, end: None },
            );
        }
        for _ in 0..self.rng.below(4) {
            match self.rng.below(6) {
                0..=1 => {
                    at = self.after(end);
                    let plan = missed(self);
                    self.call(tenant, at, plan);
                }
                2 => {
                    // A call during which the next one is missed.
                    let start = self.after(end);
                    let answered = self.rng.percent(70);
                    let outbound = self.rng.percent(70);
                    let phone = self.spelled(&person);
                    let over = self.call(
                        tenant,
                        start,
                        CallPlan { outbound, answered, phone, entity: None, long: true, end: None },
                    );
                    at = self.rng.between(start, over.max(start));
                    let plan = missed(self);
                    self.call(tenant, at, plan);
                }
                _ => {
                    at = self.after(end);
                    let phone = self.spelled(&person);
                    let (outbound, answered, long) = (self.rng.percent(65), self.rng.percent(50), self.rng.percent(25));
                    self.call(tenant, at, CallPlan { outbound, answered, phone, entity: None, long, end: None });
                }
            }
        }
    }

    /// A call that begins before a deadline counted from `anchor` and ends at or after that deadline.
    fn call_across_deadline(&mut self, tenant: usize, anchor: i64, mut plan: CallPlan) {
        let due = self.deadline(anchor);
        let start = self.rng.between(anchor, due);
        plan.end = Some(due + self.rng.pick(&[0, 1, SECOND, 10 * MINUTE, 2 * HOUR]));
        self.call(tenant, start, plan);
    }

    // ---- messages

    fn message(
        &mut self,
        tenant: usize,
        at: i64,
        person: &Person,
        entity: Option<Value>,
        thread: Option<&str>,
        reply: Option<&str>,
    ) -> (String, bool) {
        let id = if self.exchanges { self.message_id() } else { self.serial("msg-") };
        let reply = match reply {
            Some(reply) if self.exchanges => Some(self.spelled_id(reply)),
            reply => reply.map(str::to_owned),
        };
        let sent = self.rng.percent(50);
        let (channel, contact) = match self.rng.below(10) {
            0..=4 => ("EMAIL", json!({"email": self.address(person)})),
            5 => ("SMS", json!({"phone": self.spelled(person)})),
            6 => ("CHAT", json!({"email": self.address(person)})),
            7 => ("MESSENGER", json!({"phone": self.spelled(person)})),
            8 if self.exchanges => ("MESSENGER", self.respelled_handle(person)),
            8 => ("MESSENGER", json!({"handle": person.handle, "channel": "MESSENGER"})),
            _ => ("CHAT", Value::Null),
        };
        let manager = self.manager(tenant, if sent { 75 } else { 30 });
        let automatic = self.rng.percent(12);
        let name = if sent { "message_sent" } else { "message_received" };
        self.emit(
            tenant,
            EMAIL,
            at,
            name,
            json!({
                "message_id": id,
                "thread_id": thread,
                "in_reply_to": reply,
                "channel": channel,
                "contact": contact,
                "manager_id": manager,
                "entity": entity,
                "automatic": automatic,
            }),
        );
        if self.exchanges && !sent {
            self.tenants[tenant].interactions.push((at, id.clone()));
        }
        (id, sent)
    }

    /// Messages in both directions, in threads and as replies, with calls between them.
    fn correspondence(&mut self, tenant: usize) {
        let person = self.person(tenant);
        let threads: Vec<String> = (0..2).map(|_| self.serial("thread-")).collect();
        let mut at = self.random_instant();
        let mut last: Option<String> = None;
        for _ in 0..1 + self.rng.below(6) {
            let sender = if self.rng.percent(85) { person.clone() } else { self.person(tenant) };
            let thread = self.rng.pick(&threads);
            let thread = self.rng.maybe(60, thread);
            let reply = last.clone().filter(|_| self.rng.percent(40));
            let subject = self.subject(tenant).filter(|_| self.rng.percent(25));
            let entity = subject.map(|s| json!({"kind": if s.is_lead { "LEAD" } else { "DEAL" }, "id": s.id}));
            if entity.is_some() && self.rng.percent(35) {
                // A conversation about the same entity that began in time and is known late.
                let phone = self.spelled(&person);
                let entity = entity.clone();
                self.call_across_deadline(
                    tenant,
                    at,
                    CallPlan { outbound: true, answered: true, phone, entity, long: true, end: None },
                );
            }
            let (id, sent) = self.message(tenant, at, &sender, entity, thread.as_deref(), reply.as_deref());
            if !sent {
                last = Some(id);
            }
            if self.rng.percent(20) {
                let start = self.after(at);
                let (outbound, answered, long) = (self.rng.percent(60), self.rng.percent(80), self.rng.percent(30));
                let phone = self.spelled(&person);
                self.call(tenant, start, CallPlan { outbound, answered, phone, entity: None, long, end: None });
            }
            at = self.after(at);
        }
    }

    fn review(&mut self, tenant: usize) {
        let (mut at, manager) = (self.random_instant(), self.manager(tenant, 100));
        for _ in 0..self.rng.pick(&[1, 1, 2, 4]) {
            let score = self.rng.between(0, 100);
            let verdict = self.rng.pick(&["SUCCESS", "FAILURE", "NEUTRAL"]);
            let interaction = self.serial("call-");
            self.emit(
                tenant,
                CRM,
                at,
                "interaction_reviewed",
                json!({
                    "interaction_id": interaction,
                    "manager_id": manager,
                    "reviewer_id": "boss",
                    "score": score,
                    "verdict": verdict,
                    "checklist": [{"item": "greeting", "passed": true}],
                }),
            );
            at = self.after(at);
            if self.rng.percent(12) {
                self.upsert(tenant, manager.as_str().unwrap(), at);
            }
        }
    }

    // ---- noise

    /// An event repeated with its id: at the same instant, later in the window, at its end, after it.
    fn duplicate(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let index = self.rng.below(self.events.len());
        let (at, event) = self.events[index].clone();
        for _ in 0..1 + self.rng.below(2) {
            let again = at
                + self.rng.pick(&[
                    0,
                    0,
                    1,
                    5 * MINUTE,
                    5 * HOUR,
                    6 * HOUR - 1,
                    6 * HOUR,
                    6 * HOUR + 1,
                    7 * HOUR,
                    30 * HOUR,
                ]);
            let mut copy = event.clone();
            let key = if copy.get("occurredAt").is_some() { "occurredAt" } else { "occurred_at" };
            copy[key] = json!(written(again));
            self.events.push((again, copy));
        }
    }

    /// An event that must be rejected.
    fn reject(&mut self, tenant: usize) {
        let at = self.random_instant();
        let lead = json!({"lead_id": "never"});
        let (name, payload) = match self.rng.below(6) {
            0 => ("lead_created", json!({"lead_id": 7})),
            1 => ("closed", json!({"entity": {"kind": "LEAD", "id": "never"}, "outcome": "VANISHED"})),
            2 => ("call_ended", json!({"call_id": "never", "direction": "SIDEWAYS", "outcome": "BUSY"})),
            3 => ("assigned", json!({"entity": {"kind": "LEAD", "id": "never"}})),
            4 => ("surprise", json!({})),
            _ => ("lead_created", lead.clone()),
        };
        let before = self.events.len();
        self.emit(tenant, CRM, at, name, payload);
        if self.events.len() == before {
            return;
        }
        let event = &mut self.events.last_mut().unwrap().1;
        if event.get("lead_created").or(event.get("leadCreated")).is_some() {
            // Several payloads, or no tenant.
            match self.rng.below(2) {
                0 => event["lead_snapshot"] = lead,
                _ => {
                    event.as_object_mut().unwrap().retain(|key, _| key != "tenant_id" && key != "tenantId");
                }
            }
        }
    }

    // ---- spellings

    fn spelled(&mut self, person: &Person) -> String {
        let digits = person.phone.clone();
        let spaced = |d: &str| format!("{} {}-{}-{}", &d[..3], &d[3..6], &d[6..8], &d[8..]);
        let mut number = match digits.strip_prefix('7').filter(|rest| rest.len() == 10) {
            Some(national) => match self.rng.below(8) {
                0 => format!("+7 {}", spaced(national)),
                1 => format!("8 ({}) {}-{}-{}", &national[..3], &national[3..6], &national[6..8], &national[8..]),
                2 => format!("8{national}"),
                3 => national.to_owned(),
                4 => digits.clone(),
                5 => format!("+7({}){}", &national[..3], &national[3..]),
                6 => format!("00{digits}"),
                _ => format!("+{digits}"),
            },
            None => match self.rng.below(4) {
                0 => format!("+{} {}", &digits[..2], &digits[2..]),
                1 => format!("00 {}", digits),
                2 => format!("8~10 {}", digits),
                _ => format!("+{digits}"),
            },
        };
        if self.rng.percent(12) {
            number.push_str(self.rng.pick(&[" доб. 12", " ext 12", ",12", " Доб.7", " EXT. 301"]));
        }
        if self.exchanges { self.respelled(&digits, number) } else { number }
    }

    fn address(&mut self, person: &Person) -> String {
        let address = match self.rng.below(4) {
            0 => person.email.to_uppercase(),
            1 => format!("Some Body <{}>", person.email),
            _ => person.email.clone(),
        };
        if self.exchanges { self.respelled_address(address) } else { address }
    }
}

struct CallPlan {
    outbound: bool,
    answered: bool,
    phone: String,
    entity: Option<Value>,
    /// Long enough to cross deadlines.
    long: bool,
    /// Its end, if the scenario requires one.
    end: Option<i64>,
}

fn person(rng: &mut Rng, index: usize) -> Person {
    let area = rng.pick(&["812", "800", "495", "916", "701", "831", "861", "862"]);
    let phone = match rng.below(10) {
        0 => format!("4420794{:05}", 60_000 + index),
        1 => format!("4930901{:05}", 82_000 + index),
        _ => format!("7{area}{:07}", 1_234_567 + index * 7919),
    };
    let (email, handle) = (format!("person{index}@example.com"), format!("@person{index}"));
    Person { phone, mobile: String::new(), email, handle }
}

/// All durations in the norms that a clock can have.
fn collect_spans(document: &Value, spans: &mut Vec<i64>) {
    let rules =
        document["overrides"].as_array().into_iter().flatten().map(|one| &one["norms"]).chain([&document["norms"]]);
    for stages in document["pipelines"].as_object().into_iter().flatten().map(|(_, pipeline)| &pipeline["stages"]) {
        spans.extend(stages.as_array().unwrap().iter().filter_map(|stage| span(stage["max_time"].as_str()?)));
    }
    for norm in rules.filter_map(Value::as_object).flat_map(|norms| norms.values()) {
        let within = norm["within"].as_str().and_then(span);
        spans.extend(within);
        let warning = within.zip(norm["warn_before"].as_str().and_then(span)).map(|(within, before)| within - before);
        spans.extend(warning.filter(|left| *left > 0));
        spans.extend(norm["escalate_after"].as_array().into_iter().flatten().filter_map(|s| span(s.as_str()?)));
    }
    if spans.is_empty() {
        spans.push(HOUR);
    }
}

fn camel_keys(value: &Value) -> Value {
    let camel = |key: &str| {
        let mut out = String::new();
        for (index, part) in key.split('_').enumerate() {
            match part.chars().next() {
                Some(first) if index > 0 => {
                    out.push(first.to_ascii_uppercase());
                    out.push_str(&part[first.len_utf8()..]);
                }
                _ => out.push_str(part),
            }
        }
        out
    };
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (camel(key), camel_keys(value))).collect(),
        Value::Array(list) => list.iter().map(camel_keys).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{decodes, judge};
    use super::*;

    #[test]
    fn same_seed_same_bytes_in_time_order() {
        let (events, norms) = stream(7, 300);
        assert_eq!((events.clone(), norms), stream(7, 300));
        assert_eq!(events.len(), 300);
        let at = |e: &Value| {
            let text = e.get("occurred_at").or(e.get("occurredAt")).unwrap();
            super::super::calendar::instant(text.as_str().unwrap()).unwrap()
        };
        assert!(events.windows(2).all(|pair| at(&pair[0]) <= at(&pair[1])));
        assert!(events.iter().filter(|e| !decodes(e)).count() < 20);
    }

    /// What exchanges send has an effect.
    #[test]
    fn exchange_streams_cover_all_outcomes() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..60 {
            let (events, norms) = exchange_stream(seed, 400);
            assert!(events.iter().filter(|e| !decodes(e)).count() < 20, "{seed}");
            let verdict = judge(&events, &norms, None);
            for alert in &verdict.alerts {
                let key = format!("{} {} {}", alert["rule"], alert["status"], alert["resolution"]);
                *counts.entry(key).or_default() += 1;
            }
            for row in verdict.rows.iter().filter(|row| row["subject"] == "tenant") {
                for path in ["/dismissed", "/call_back/n", "/reply/n", "/calls/inbound_missed", "/unreturned_calls"] {
                    let n = row.pointer(path).and_then(Value::as_u64).unwrap_or(0) as usize;
                    *counts.entry(path.to_owned()).or_default() += n;
                }
            }
        }
        for (wanted, least) in [
            (r#""missed_call_not_returned" "FIRING" null"#, 200),
            (r#""missed_call_not_returned" "RESOLVED" "returned""#, 50),
            (r#""missed_call_not_returned" "RESOLVED" "customer_called_again""#, 20),
            (r#""missed_call_not_returned" "RESOLVED" "dismissed""#, 10),
            (r#""missed_call_not_returned" "RETRACTED" "late_evidence""#, 20),
            (r#""message_unanswered" "RESOLVED" "answered""#, 50),
            (r#""message_unanswered" "RESOLVED" "closed""#, 20),
            (r#""message_unanswered" "RESOLVED" "dismissed""#, 10),
            (r#""message_unanswered" "RETRACTED" "late_evidence""#, 5),
            (r#""first_response_late" "RETRACTED" "late_evidence""#, 5),
            ("/dismissed", 100),
            ("/call_back/n", 100),
            ("/reply/n", 100),
        ] {
            assert!(counts.get(wanted).is_some_and(|n| *n >= least), "too rare: {wanted}\n{counts:#?}");
        }
    }

    /// What sales floors do has an effect.
    #[test]
    fn floor_streams_cover_all_outcomes() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..60 {
            let (events, norms) = merge_stream(seed, 400);
            assert!(events.iter().filter(|e| !decodes(e)).count() < 20, "{seed}");
            let verdict = judge(&events, &norms, None);
            for alert in &verdict.alerts {
                let key = format!("{} {} {}", alert["rule"], alert["status"], alert["resolution"]);
                *counts.entry(key).or_default() += 1;
            }
            for row in verdict.rows.iter().filter(|row| row["subject"] == "tenant") {
                for path in floors::FIGURES {
                    let n = row.pointer(path).and_then(Value::as_u64).unwrap_or(0) as usize;
                    *counts.entry(path.to_owned()).or_default() += n;
                }
            }
        }
        for (wanted, least) in floors::OUTCOMES.into_iter().chain(floors::FIGURES.map(|path| (path, 10))) {
            assert!(counts.get(wanted).is_some_and(|n| *n >= least), "too rare: {wanted}\n{counts:#?}");
        }
    }

    /// Over some seeds, every kind of output of the oracle occurs.
    #[test]
    fn streams_cover_all_outcomes() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..60 {
            let (events, norms) = stream(seed, 400);
            let verdict = judge(&events, &norms, None);
            for alert in &verdict.alerts {
                let key = format!("{} {} {}", alert["rule"], alert["status"], alert["resolution"]);
                *counts.entry(format!("any {}", alert["resolution"])).or_default() += 1;
                *counts.entry(key).or_default() += 1;
            }
            for row in verdict.rows.iter().filter(|row| row["subject"] == "tenant") {
                for (name, value) in row.as_object().unwrap() {
                    let nested = |map: &Value| {
                        map.as_object().map_or(0, |of| {
                            of.values().filter_map(Value::as_object).map(|stages| stages.len() as u64).sum()
                        })
                    };
                    if ["stage_conversion", "overdue"].contains(&name.as_str()) {
                        *counts.entry(format!("row {name}")).or_default() += nested(value) as usize;
                        continue;
                    }
                    let n = value
                        .as_u64()
                        .or(value["n"].as_u64())
                        .or(value["business"]["n"].as_u64())
                        .or(value["cohort"]["n"].as_u64());
                    *counts.entry(format!("row {name}")).or_default() += n.unwrap_or(0) as usize;
                }
            }
        }
        for wanted in [
            r#""too_few_attempts" "RESOLVED" "responded""#,
            r#""too_few_attempts" "RESOLVED" "closed""#,
            r#""too_few_attempts" "RETRACTED" "late_evidence""#,
            r#""neglected" "RESOLVED" "responded""#,
            r#""neglected" "RESOLVED" "closed""#,
            r#""neglected" "RETRACTED" "late_evidence""#,
            r#""disqualified_without_reason" "RAISED" null"#,
            r#""disqualified_without_contact" "RAISED" null"#,
            r#""stage_skipped" "RAISED" null"#,
            r#""stage_requirements_unmet" "RAISED" null"#,
            r#""stage_reverted" "RAISED" null"#,
            r#""stage_overdue" "ESCALATED" null"#,
            r#""stage_overdue" "RESOLVED" "left_stage""#,
            r#""stage_overdue" "RESOLVED" "closed""#,
            r#""stage_overdue" "RESOLVED" "deleted""#,
            r#""stage_overdue" "RETRACTED" "late_evidence""#,
            r#""message_unanswered" "ESCALATED" null"#,
            r#""message_unanswered" "RESOLVED" "answered""#,
            r#""message_unanswered" "RETRACTED" "late_evidence""#,
            r#""discount_over_limit" "RAISED" null"#,
            r#""installment_not_allowed" "RAISED" null"#,
            r#""prepayment_too_low" "RAISED" null"#,
            r#""conversion_low" "ESCALATED" null"#,
            r#""conversion_low" "RESOLVED" "recovered""#,
            r#""conversion_low" "RESOLVED" "sample_too_small""#,
            r#""response_slow" "ESCALATED" null"#,
            r#""response_slow" "RESOLVED" "recovered""#,
            r#""response_slow" "RESOLVED" "sample_too_small""#,
            r#""quality_low" "ESCALATED" null"#,
            r#""quality_low" "RESOLVED" "recovered""#,
            r#""quality_low" "RESOLVED" "sample_too_small""#,
            r#"any "disabled""#,
            r#""stuck_early" "ESCALATED" null"#,
            r#""stuck_early" "RESOLVED" "recovered""#,
            r#""special_terms_frequent" "ESCALATED" null"#,
            r#""special_terms_frequent" "RESOLVED" "recovered""#,
            r#""source_silent" "ESCALATED" null"#,
            r#""source_silent" "RESOLVED" "recovered""#,
            "row stage_conversion",
            "row overdue",
            r#""first_response_late" "RESOLVED" "responded""#,
            r#""first_response_late" "RESOLVED" "closed""#,
            r#""first_response_late" "RESOLVED" "deleted""#,
            r#""first_response_late" "RETRACTED" "late_evidence""#,
            r#""first_response_late" "ESCALATED" null"#,
            r#""missed_call_not_returned" "RESOLVED" "returned""#,
            r#""missed_call_not_returned" "RESOLVED" "customer_called_again""#,
            r#""missed_call_not_returned" "RETRACTED" "late_evidence""#,
            r#""missed_call_not_returned" "ESCALATED" null"#,
            "row leads_received",
            "row leads_disqualified",
            "row lead_conversion",
            "row win_rate",
            "row first_response",
            "row call_back",
            "row reply",
            "row meetings",
            "row touches",
            "row deals_won",
            "row deals_lost",
            "row awaiting_first_response",
            "row unreturned_calls",
            "row unanswered_messages",
        ] {
            assert!(counts.get(wanted).is_some_and(|n| *n > 0), "never occurred: {wanted}\n{counts:#?}");
        }
    }
}

//! A back-fill of a large portal on a simulated clock: complete, in order, within both budgets and in bounded memory, though
//! the reader is killed again and again. Rows are computed when they are asked for, so that only the reader needs memory.

use funnelwatch::domain::source::Topic;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::gateway::bitrix24::{
    BackfillProgress, Bitrix24, Budget, Fields, Received, Settings, Transport, Webhook,
};
use funnelwatch::gateway::source::{Clock, Cursors, MAX_PORTION_EVENTS, Next, Reader, Stop, Watch};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PAGE: usize = 50;
const DAY: i64 = 86_400_000;
/// Rows of this many kinds before the move of the same object.
const MOVED_AFTER: i64 = 3 * DAY;

/// Objects of one kind: one is created at each step of time, is moved three days later, and is changed once more.
#[derive(Clone, Copy)]
struct Kind {
    of: u64,
    begin: i64,
    step: i64,
}

impl Kind {
    fn at(self, id: u64) -> i64 {
        self.begin + id as i64 * self.step
    }

    /// The highest id at an instant.
    fn last(self, now: i64) -> u64 {
        ((now - self.begin) / self.step).max(0) as u64
    }

    /// How many objects are created until an object is moved.
    fn lag(self) -> u64 {
        (MOVED_AFTER / self.step).max(1) as u64
    }

    fn moved(self, id: u64) -> i64 {
        self.at(id + self.lag())
    }

    fn touched(self, id: u64) -> i64 {
        self.at(id + self.lag() * (1 + id % 7))
    }

    fn updated(self, id: u64, now: i64) -> i64 {
        [self.touched(id), self.moved(id), self.at(id)].into_iter().find(|at| *at <= now).unwrap_or(self.at(id))
    }

    fn is_open(self, id: u64, now: i64) -> bool {
        self.moved(id) > now || id.is_multiple_of(3)
    }

    fn stage(self, id: u64, now: i64) -> (&'static str, char) {
        match (self.moved(id) > now, id % 3, self.of) {
            (true, ..) => ("NEW", 'P'),
            (_, 0, _) => ("IN_PROCESS", 'P'),
            (_, 1, 1) => ("CONVERTED", 'S'),
            (_, 1, _) => ("WON", 'S'),
            (_, _, 1) => ("JUNK", 'F'),
            _ => ("LOSE", 'F'),
        }
    }

    fn item(self, id: u64, now: i64) -> String {
        let (created, updated, (stage, meaning)) =
            (time(self.at(id)), time(self.updated(id, now)), self.stage(id, now));
        let moved = time(if self.moved(id) > now { self.at(id) } else { self.moved(id) });
        let manager = id % 40 + 1;
        let rest = match self.of {
            1 => format!(r#""contactId":null,"contactIds":[],"fm":[{{"typeId":"PHONE","value":"+7900{id:07}"}}]"#),
            _ => format!(r#""contactId":{0},"contactIds":[{0}],"leadId":{id},"categoryId":0"#, id % 20_000 + 1),
        };
        format!(
            r#"{{"id":{id},"createdTime":"{created}","updatedTime":"{updated}","movedTime":"{moved}","movedBy":{manager},
            "assignedById":{manager},"companyId":0,"stageId":"{stage}","stageSemanticId":"{meaning}","opportunity":1500.5,
            "currencyId":"RUB","sourceId":"WEB","title":"x","lastActivityTime":"{updated}","entityTypeId":{},{rest}}}"#,
            self.of
        )
    }

    /// A row of the history: odd ones are creations, even ones are moves of an earlier object.
    fn history(self, row: u64) -> Option<(u64, String)> {
        let place = row.div_ceil(2);
        let (kind, owner) =
            if row % 2 == 1 { (1, place) } else { (2, place.checked_sub(self.lag()).filter(|id| *id > 0)?) };
        let at = self.at(place);
        let (stage, meaning) = if kind == 1 { ("NEW", 'P') } else { self.stage(owner, at) };
        let kind = if meaning == 'P' { kind } else { 3 };
        let names = if self.of == 1 { ["STATUS_ID", "STATUS_SEMANTIC_ID"] } else { ["STAGE_ID", "STAGE_SEMANTIC_ID"] };
        let row = format!(
            r#"{{"ID":{row},"TYPE_ID":{kind},"OWNER_ID":{owner},"CREATED_TIME":"{}","CATEGORY_ID":0,"{}":"{stage}","{}":"{meaning}"}}"#,
            time(at),
            names[0],
            names[1]
        );
        Some((owner, row))
    }
}

/// Whole seconds, in UTC.
fn time(at: i64) -> String {
    format!("{}+00:00", &Timestamp(at).to_string()[..19])
}

/// A portal that computes its rows.
struct Portal {
    leads: Kind,
    deals: Kind,
    now: i64,
    /// The counter of requests.
    level: f64,
    counted_at: i64,
    /// Seconds of work of each method in each minute.
    work: BTreeMap<String, VecDeque<(i64, f64)>>,
    most_work: BTreeMap<String, f64>,
    most_level: f64,
    requests: u64,
    refused: u64,
}

type Params = BTreeMap<String, Vec<String>>;

/// The parameters of a command: those with an index below their name are lists.
fn params(query: &str) -> Params {
    let mut params = Params::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let key = match key.rfind('[') {
            Some(at) if key[at + 1..].trim_end_matches(']').parse::<usize>().is_ok() => &key[..at],
            _ => &key,
        };
        params.entry(key.to_owned()).or_default().push(value.into_owned());
    }
    params
}

impl Portal {
    fn kind(&self, params: &Params) -> Kind {
        if params["entityTypeId"][0] == "1" { self.leads } else { self.deals }
    }

    fn spend(&mut self, method: &str, seconds: f64) -> f64 {
        let minute = self.now / 60_000;
        let work = self.work.entry(method.to_owned()).or_default();
        while work.front().is_some_and(|(at, _)| minute - at >= 10) {
            work.pop_front();
        }
        match work.back_mut() {
            Some((at, sum)) if *at == minute => *sum += seconds,
            _ => work.push_back((minute, seconds)),
        }
        let sum = work.iter().map(|(_, seconds)| seconds).sum();
        let most = self.most_work.entry(method.to_owned()).or_default();
        *most = most.max(sum);
        sum
    }

    fn timing(&mut self, method: &str, cost: f64) -> Value {
        let operating = self.spend(method, cost);
        let oldest = self.work[method].front().map_or(0, |(minute, _)| *minute);
        json!({"date_start": time(self.now), "operating": operating, "operating_reset_at": (oldest + 10) * 60})
    }

    fn answer(&mut self, method: &str, body: &str) -> Received {
        let received = |status, body: String| Received { status, location: None, body: body.into_bytes() };
        self.now += 100;
        self.level = (self.level - (self.now - self.counted_at) as f64 / 500.0).max(0.0) + 1.0;
        self.counted_at = self.now;
        self.most_level = self.most_level.max(self.level);
        self.requests += 1;
        let over = self.work.iter().any(|(name, work)| {
            let sum: f64 = work.iter().map(|(_, seconds)| seconds).sum();
            name == method && sum > 480.0
        });
        if self.level > 50.0 || over {
            self.refused += 1;
            return received(503, json!({"error": "QUERY_LIMIT_EXCEEDED"}).to_string());
        }
        let body: Value = serde_json::from_str(body).expect("JSON");
        if method != "batch" {
            let timing = self.timing(method, 0.02);
            return received(200, json!({"result": 1, "time": timing}).to_string());
        }
        let (mut results, mut errors, mut totals, mut times) = (Vec::new(), Map::new(), Map::new(), Map::new());
        let mut ids: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut commands: Vec<(&String, &Value)> = body["cmd"].as_object().expect("commands").iter().collect();
        commands.sort_by_key(|(label, _)| label[1..].parse::<usize>().expect("a label"));
        let mut whole = 0.0;
        for (label, command) in commands {
            let command = command.as_str().unwrap_or_default();
            let (method, query) = command.split_once('?').unwrap_or((command, ""));
            let mut params = params(query);
            if !resolve(&mut params, &ids) {
                errors.insert(label.clone(), json!({"error": "INVALID_ARG_VALUE", "error_description": ""}));
                continue;
            }
            let (rows, cost, total) = self.call(method, &params);
            whole += cost;
            self.now += (cost * 1000.0) as i64;
            let (page, row_ids) = rows;
            ids.insert(label.clone(), row_ids);
            results.push(format!("\"{label}\":{page}"));
            totals.extend(total.map(|total| (label.clone(), total.into())));
            times.insert(label.clone(), self.timing(method, cost));
        }
        let timing = self.timing("batch", whole);
        let errors = if errors.is_empty() { json!([]) } else { errors.into() };
        let text = format!(
            r#"{{"result":{{"result":{{{}}},"result_error":{errors},"result_total":{},"result_next":[],"result_time":{}}},"time":{timing}}}"#,
            results.join(","),
            Value::from(totals),
            Value::from(times)
        );
        received(200, text)
    }

    /// The result with the ids of its rows, what it costs, and the count if it is asked for.
    fn call(&self, method: &str, params: &Params) -> ((String, Vec<u64>), f64, Option<u64>) {
        let number = |key: &str| params.get(key).and_then(|values| values[0].parse::<u64>().ok());
        let list = |key: &str| {
            params.get(key).map(|values| values.iter().filter_map(|id| id.parse::<u64>().ok()).collect::<Vec<_>>())
        };
        let instant = |key: &str| params.get(key).and_then(|values| Timestamp::parse(&values[0])).map(|at| at.0);
        let joined = |rows: Vec<(u64, String)>, within: &str| {
            let (ids, texts): (Vec<u64>, Vec<String>) = rows.into_iter().unzip();
            let page = format!("[{}]", texts.join(","));
            (if within.is_empty() { page } else { format!("{{\"{within}\":{page}}}") }, ids)
        };
        let descending =
            params.iter().any(|(key, value)| key.to_uppercase().starts_with("ORDER") && value[0] == "DESC");
        let now = self.now;
        match method {
            "crm.item.list" if matches!(number("entityTypeId"), Some(3 | 4)) => {
                let ids = list("filter[@id]").unwrap_or_default();
                let rows = ids.into_iter().filter(|_| number("entityTypeId") == Some(3)).map(|id| {
                    let row = format!(
                        r#"{{"id":{id},"createdTime":"{0}","updatedTime":"{0}","fm":[{{"typeId":"EMAIL","value":"c{id}@example.com"}}]}}"#,
                        time(self.deals.begin)
                    );
                    (id, row)
                });
                (joined(rows.collect(), "items"), 0.3, None)
            }
            "crm.item.list" => {
                let kind = self.kind(params);
                let last = kind.last(now);
                if let Some(ids) = list("filter[@id]") {
                    let rows = ids.into_iter().filter(|id| (1..=last).contains(id));
                    return (joined(rows.map(|id| (id, kind.item(id, now))).collect(), "items"), 0.3, None);
                }
                let [from, to] = ["filter[>=createdTime]", "filter[<createdTime]"].map(instant);
                let [since, until] = ["filter[>=updatedTime]", "filter[<updatedTime]"].map(instant);
                let open = params.contains_key("filter[=stageSemanticId]");
                let after =
                    number("filter[>id]").map(|id| id + 1).or_else(|| number("filter[>=id]")).unwrap_or(1).max(1);
                // An object is changed last after at most seven lags.
                let earliest = from.max(since.map(|since| since - 8 * MOVED_AFTER));
                let first = after.max(earliest.map_or(1, |at| kind.last(at)));
                let end = number("filter[<id]").map_or(last, |id| last.min(id - 1));
                let end = to.into_iter().chain(until).fold(end, |end, at| end.min(kind.last(at)));
                let passes = |id: &u64| {
                    let (created, updated) = (kind.at(*id), kind.updated(*id, now));
                    from.is_none_or(|at| created >= at)
                        && to.is_none_or(|at| created < at)
                        && since.is_none_or(|at| updated >= at)
                        && until.is_none_or(|at| updated < at)
                        && (!open || kind.is_open(*id, now))
                };
                if descending {
                    let mut ids: Vec<u64> = (first..=end).filter(passes).collect();
                    ids.sort_by_key(|id| std::cmp::Reverse(kind.updated(*id, now)));
                    ids.truncate(PAGE);
                    return (joined(ids.into_iter().map(|id| (id, kind.item(id, now))).collect(), "items"), 0.3, None);
                }
                let total = (params["start"][0] == "0").then(|| (end + 1).saturating_sub(first));
                let ids = (first..=end).filter(passes).take(PAGE);
                (joined(ids.map(|id| (id, kind.item(id, now))).collect(), "items"), 0.3, total)
            }
            "crm.stagehistory.list" => {
                let kind = self.kind(params);
                let last = 2 * kind.last(now);
                let rows: Vec<u64> = match (list("filter[@OWNER_ID]"), descending) {
                    (Some(owners), _) => {
                        let after = number("filter[>ID]").unwrap_or(0);
                        let mut rows: Vec<u64> =
                            owners.iter().flat_map(|id| [2 * id - 1, 2 * (id + kind.lag())]).collect();
                        rows.retain(|row| *row <= last && *row > after);
                        rows.sort_unstable();
                        rows
                    }
                    (None, true) => (1..=last).rev().collect(),
                    (None, false) => {
                        let first = number("filter[>ID]").unwrap_or(0) + 1;
                        (first..=last.min(first + 2 * PAGE as u64 + 2 * kind.lag())).collect()
                    }
                };
                let rows = rows.into_iter().filter_map(|row| Some((row, kind.history(row)?.1)));
                (joined(rows.take(PAGE).collect(), "items"), 0.02, None)
            }
            "voximplant.statistic.get" => {
                let last = self.leads.last(now - 60_000);
                let first = number("FILTER[>ID]").unwrap_or(0) + 1;
                let ids: Vec<u64> = match descending {
                    true => (1..=last).rev().take(PAGE).collect(),
                    false => (first..=last).take(PAGE).collect(),
                };
                (joined(ids.into_iter().map(|id| (id, self.call_row(id))).collect(), ""), 0.1, None)
            }
            "crm.activity.list" => {
                let last = self.leads.last(now) / 10;
                let mut ids = number("filter[>ID]").map_or(1, |id| id + 1)..=last;
                if let Some(ids) = list("filter[@ID]") {
                    return (joined(ids.into_iter().map(|id| (id, self.mail(id))).collect(), ""), 0.1, None);
                }
                for field in ["START_TIME", "CREATED", "LAST_UPDATED"] {
                    let from = instant(&format!("filter[>={field}]"));
                    let to = instant(&format!("filter[<{field}]"));
                    let first = from.map_or(1, |at| (self.leads.last(at) / 10).max(1));
                    let end = to.map_or(last, |at| self.leads.last(at) / 10);
                    ids = *ids.start().max(&first)..=*ids.end().min(&end);
                }
                let ids: Vec<u64> = if descending { ids.rev().take(PAGE).collect() } else { ids.take(PAGE).collect() };
                (joined(ids.into_iter().map(|id| (id, self.mail(id))).collect(), ""), 0.1, None)
            }
            "crm.item.productrow.list" => {
                let deal = number("filter[=ownerId]").unwrap_or(0);
                let row = r#"{"id":1,"price":90,"priceBrutto":100,"quantity":1}"#;
                let rows = if deal.is_multiple_of(10) { row } else { "" };
                ((format!("{{\"productRows\":[{rows}]}}"), Vec::new()), 0.02, None)
            }
            "user.get" => {
                let row = |id: u64| format!(r#"{{"ID":"{id}","NAME":"N{id}","ACTIVE":true,"UF_DEPARTMENT":[1]}}"#);
                (joined((1..=40).map(|id| (id, row(id))).collect(), ""), 0.02, None)
            }
            "department.get" => (("[{\"ID\":\"1\",\"NAME\":\"Sales\"}]".to_owned(), Vec::new()), 0.02, None),
            "crm.settings.mode.get" => (("1".to_owned(), Vec::new()), 0.02, None),
            other => panic!("{other} was not expected"),
        }
    }

    fn call_row(&self, id: u64) -> String {
        let (at, code) = (time(self.leads.at(id)), if id.is_multiple_of(4) { "304" } else { "200" });
        let seconds = if id.is_multiple_of(4) { 0 } else { 50 };
        format!(
            r#"{{"ID":"{id}","CALL_ID":"call.{id}","CALL_TYPE":"2","CALL_START_DATE":"{at}","CALL_DURATION":"{seconds}",
            "CALL_FAILED_CODE":"{code}","PHONE_NUMBER":"+7900{id:07}","PORTAL_USER_ID":"{}","CRM_ENTITY_TYPE":"LEAD",
            "CRM_ENTITY_ID":"{id}","CALL_VOTE":"0","CRM_ACTIVITY_ID":null}}"#,
            id % 40 + 1
        )
    }

    fn mail(&self, id: u64) -> String {
        let at = time(self.leads.at(10 * id));
        format!(
            r#"{{"ID":"{id}","OWNER_TYPE_ID":"1","OWNER_ID":"{}","TYPE_ID":"4","PROVIDER_ID":"CRM_EMAIL","CREATED":"{at}",
            "LAST_UPDATED":"{at}","START_TIME":"{at}","DIRECTION":"1","COMPLETED":"N","RESPONSIBLE_ID":"1","SETTINGS":[],
            "COMMUNICATIONS":[{{"TYPE":"EMAIL","VALUE":"l{id}@example.com"}}]}}"#,
            10 * id
        )
    }
}

/// Replaces a reference to an earlier row by its id; `false` if there is no such row.
fn resolve(params: &mut Params, ids: &BTreeMap<String, Vec<u64>>) -> bool {
    params.values_mut().flatten().filter(|value| value.starts_with("$result[")).all(|value| {
        let parts: Vec<&str> = value["$result[".len()..].split(['[', ']']).filter(|part| !part.is_empty()).collect();
        let place = parts.iter().rev().find_map(|part| part.parse::<usize>().ok());
        let id = ids.get(parts[0]).zip(place).and_then(|(ids, place)| ids.get(place));
        id.inspect(|id| *value = id.to_string()).is_some()
    })
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Portal>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Portal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Shared {
    fn now(&self) -> Timestamp {
        Timestamp(self.lock().now)
    }

    fn wait(&self, time: Duration, _: &Stop) {
        self.lock().now += time.as_millis() as i64;
    }
}

impl Transport for Shared {
    fn post(&mut self, _: &Webhook, method: &str, body: &str) -> Result<Received, &'static str> {
        Ok(self.lock().answer(method, body))
    }
}

/// How far the back-fill is, as operators see it.
#[derive(Default)]
struct Seen(Mutex<Vec<f64>>);

impl Watch for Seen {
    fn backfilled(&self, _: Timestamp, share: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(share);
    }
}

/// Which rows were reported: one flag an id.
#[derive(Default)]
struct Flags(Vec<bool>);

impl Flags {
    fn set(&mut self, id: u64) {
        if self.0.len() <= id as usize {
            self.0.resize(id as usize + 1, false);
        }
        self.0[id as usize] = true;
    }

    fn missing(&self, ids: impl Iterator<Item = u64>) -> Vec<u64> {
        ids.filter(|id| !self.0.get(*id as usize).copied().unwrap_or(false)).take(5).collect()
    }
}

/// The memory of this process that is its own, in KiB.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Fills in eleven months of a portal of this size; the reader is killed after every `kill_every` steps.
#[allow(clippy::print_stdout, reason = "the test harness captures it unless --nocapture is passed")]
fn fill(leads: u64, deals: u64, kill_every: u64) {
    let from = Timestamp::parse("2025-04-01T00:00:00Z").expect("an instant");
    let now = Timestamp::parse("2026-03-01T09:00:00Z").expect("an instant");
    let begin = from.0 - 31 * DAY;
    let whole_seconds = |count: u64| ((now.0 - begin) / count as i64 / 1000).max(1) * 1000;
    let leads = Kind { of: 1, begin, step: whole_seconds(leads) };
    let deals = Kind { of: 2, begin, step: whole_seconds(deals) };
    let shared = Shared(Arc::new(Mutex::new(Portal {
        leads,
        deals,
        now: now.0,
        level: 0.0,
        counted_at: now.0,
        work: BTreeMap::new(),
        most_work: BTreeMap::new(),
        most_level: 0.0,
        requests: 0,
        refused: 0,
    })));
    let settings = Settings {
        name: "large".into(),
        tenant: "large".into(),
        time_zone: jiff::tz::TimeZone::UTC,
        webhook: Webhook::parse("https://large.bitrix24.ru/rest/1/code/").expect("a webhook"),
        ca: None,
        sweep: Span(300_000),
        backfill_from: Some(from),
        budget: Budget::default(),
        lead_pipeline: "leads".into(),
        deal_pipelines: [(0, "sales".into())].into(),
        fields: Fields::default(),
        grade: None,
    };
    let seen = Arc::new(Seen::default());
    let open = |cursors: &Cursors| {
        let (transport, clock) = (Box::new(shared.clone()), Arc::new(shared.clone()));
        let watch = Arc::clone(&seen) as Arc<dyn Watch>;
        Bitrix24::new(settings.clone(), cursors, transport, clock, watch).expect("readable cursors")
    };
    let before = own_memory();
    let mut cursors = Cursors::new();
    let mut reader = open(&cursors);
    let mut flags: BTreeMap<String, Flags> = BTreeMap::new();
    let mut floors: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let (mut steps, mut kills, mut events, mut most_memory, mut is_over) = (0u64, 0u64, 0u64, 0u64, false);
    let mut shown = 0.0;
    while !is_over {
        steps += 1;
        let portion = reader.step(&[], &Stop::default()).expect("a portal without faults");
        if steps.is_multiple_of(kill_every) {
            kills += 1;
            reader = open(&cursors);
            // What `gateway backfill` says.
            match BackfillProgress::of(&cursors).expect("readable cursors") {
                BackfillProgress::Running { share, at, until, .. } => {
                    assert!(share >= shown && at <= until, "{share} after {shown}");
                    shown = share;
                }
                BackfillProgress::Over { .. } => shown = 1.0,
                other => assert!(cursors.is_empty(), "{other:?}"),
            }
            continue;
        }
        assert!(portion.events.len() <= MAX_PORTION_EVENTS);
        events += portion.events.len() as u64;
        for event in &portion.events {
            let json: Value = serde_json::from_slice(event.json()).expect("JSON");
            let id = json["event_id"].as_str().expect("an id");
            let parts: Vec<&str> = id.split(':').collect();
            let number = |part: usize| parts[part].parse::<u64>().expect("a number");
            let (name, number) = match parts[1] {
                "item" if id.ends_with(":created") => (format!("created {}", parts[2]), number(3)),
                "item" | "sh" => (format!("{} {}", parts[1], parts[2]), number(3)),
                "user" | "dep" => continue,
                other => (other.to_owned(), number(2)),
            };
            flags.entry(name.clone()).or_default().set(number);
            let floor = floors.get(event.topic().name()).copied().unwrap_or(Timestamp::MIN);
            assert!(event.event.at > floor, "{json} comes after the mark {floor}");
        }
        for (topic, mark) in &portion.marks {
            let floor = floors.entry(topic.name()).or_insert(Timestamp::MIN);
            assert!(mark.up_to >= *floor, "a mark goes back");
            *floor = mark.up_to;
            is_over |= *topic == Topic::Crm && !mark.backfill;
        }
        super::portal::store(&mut cursors, portion.cursors);
        if let Next::Within(time) = portion.next {
            shared.lock().now += time.as_millis() as i64;
        }
        if steps.is_multiple_of(64) {
            most_memory = most_memory.max(own_memory());
        }
    }
    let end = BackfillProgress::of(&cursors).expect("readable cursors");
    assert!(matches!(end, BackfillProgress::Over { .. }) && shown > 0.5, "{end:?}, {shown} before");
    let portal = shared.lock();
    let stored: usize = cursors.values().map(Vec::len).sum();
    let work: Vec<String> = portal.most_work.iter().map(|(name, most)| format!("{name} {most:.0} s")).collect();
    println!(
        "{} leads, {} deals: {events} events in {steps} steps, {kills} kills, {} requests in {:.1} h of the portal's clock; \
         counter of requests at most {:.0}; work in ten minutes at most: {}; {} cursors of {stored} bytes; own memory {} to {} MiB",
        leads.last(now.0),
        deals.last(now.0),
        portal.requests,
        (portal.now - now.0) as f64 / 3_600_000.0,
        portal.most_level,
        work.join(", "),
        cursors.len(),
        before >> 10,
        most_memory >> 10,
    );
    assert_eq!(portal.refused, 0, "the portal had to refuse requests");
    // One batch of 25 lists more than the budget.
    let over: Vec<_> = portal.most_work.iter().filter(|(_, most)| **most > 240.0 + 10.0).collect();
    assert!(over.is_empty() && portal.most_level <= 41.0, "over the budget: {over:?}, {}", portal.most_level);
    // A part of the memory is that of other tests in this process, but 400,000 objects need no more than this.
    assert!(most_memory.saturating_sub(before) < 512 << 10, "{most_memory} KiB, {before} KiB before");
    let shares = seen.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(shares.is_sorted() && shares.last() == Some(&1.0) && shares.len() >= 11, "{shares:?}");
    for kind in [leads, deals] {
        let (of, first, last) = (kind.of, kind.last(from.0) + 1, kind.last(now.0));
        let none = Vec::<u64>::new();
        assert_eq!(flags[&format!("created {of}")].missing(first..=last), none, "created, of {of}");
        assert_eq!(flags[&format!("item {of}")].missing(first..=last), none, "snapshots, of {of}");
        let rows = (2 * first..=2 * last).filter(|row| kind.history(*row).is_some());
        assert_eq!(flags[&format!("sh {of}")].missing(rows), none, "history, of {of}");
    }
    let (first, last) = (leads.last(from.0) + 1, leads.last(now.0));
    assert_eq!(flags["vx"].missing(first..last), Vec::<u64>::new(), "calls");
    assert_eq!(flags["act"].missing(first.div_ceil(10)..last / 10), Vec::<u64>::new(), "mails");
    let (first, last) = (deals.last(from.0) + 1, deals.last(now.0));
    let with_rows = (first..=last).filter(|id| id.is_multiple_of(10));
    assert_eq!(flags["terms"].missing(with_rows), Vec::<u64>::new(), "terms");
    assert!(kills > 10, "only {kills} kills");
}

#[test]
fn a_back_fill_is_complete_and_within_the_budget_though_the_reader_is_killed() {
    fill(3_000, 1_000, 23);
}

#[test]
#[ignore = "takes minutes; docs/testing.md has the command"]
fn a_back_fill_of_300_000_leads_and_100_000_deals() {
    fill(300_000, 100_000, 497);
}

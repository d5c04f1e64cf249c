//! Owns the interface of a simulated portal: methods, envelopes, batches, limits and faults.

use super::filter::{passes, query, sort};
use super::tables::Tables;
use crate::domain::time::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};

/// What is wrong with a portal at the moment.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Milliseconds by which the bounds of date filters are shifted.
    pub shift: i64,
    /// Requests are refused above 50 of them, two of which are forgotten each second.
    pub counts_requests: bool,
    /// The seconds that a method may work in ten minutes; `None`: a box without the limiter.
    pub operating_limit: Option<f64>,
    /// Every answer is an HTML page.
    pub html: bool,
    /// The webhook has expired.
    pub expired: bool,
    /// Methods with this prefix lack the right.
    pub denied: Option<&'static str>,
    /// Requests are redirected here.
    pub renamed: Option<String>,
    /// The portal has no leads.
    pub without_leads: bool,
    /// Commands of a batch with labels after this number are not run.
    pub forgets_after: Option<usize>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            shift: 0,
            counts_requests: true,
            operating_limit: Some(480.0),
            html: false,
            expired: false,
            denied: None,
            renamed: None,
            without_leads: false,
            forgets_after: None,
        }
    }
}

/// An answer: status, address of a redirect, body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The address of a redirect.
    pub location: Option<String>,
    /// The body.
    pub body: String,
}

/// The limits of a portal, as used up.
#[derive(Debug, Default)]
pub(super) struct Used {
    level: f64,
    counted_at: Timestamp,
    work: BTreeMap<String, VecDeque<(i64, f64)>>,
    /// Requests that were answered.
    pub(super) requests: u64,
    /// Requests that were refused by a limit.
    pub(super) refused: u64,
}

type Failed = (u16, &'static str, &'static str);

/// Answers a request to `method` with a JSON body.
pub(super) fn answer(tables: &mut Tables, faults: &Faults, used: &mut Used, method: &str, body: &str) -> Answer {
    let plain = |status, body: String| Answer { status, location: None, body };
    let error =
        |(status, code, text): Failed| plain(status, json!({"error": code, "error_description": text}).to_string());
    if let Some(location) = &faults.renamed {
        let body = "<html>moved</html>".to_owned();
        return Answer { status: 302, location: Some(format!("{location}{method}")), body };
    }
    if faults.html {
        return plain(502, "<html><body>Bad Gateway</body></html>".to_owned());
    }
    if faults.expired {
        return error((401, "expired_token", "The access token provided has expired."));
    }
    let now = tables.now;
    if faults.counts_requests {
        let passed = (now.0 - used.counted_at.0).max(0) as f64 / 1000.0;
        used.level = (used.level - 2.0 * passed).max(0.0) + 1.0;
        used.counted_at = now;
        if used.level > 50.0 {
            used.refused += 1;
            return error((503, "QUERY_LIMIT_EXCEEDED", "Too many requests"));
        }
    }
    let name = method.trim_end_matches(".json").to_ascii_lowercase();
    if faults.operating_limit.is_some_and(|limit| operating(used, &name, now) > limit) {
        used.refused += 1;
        return error((429, "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit."));
    }
    used.requests += 1;
    let params: Value = serde_json::from_str(body).unwrap_or_else(|_| json!({}));
    let result = if name == "batch" {
        Ok(batch(tables, faults, used, &params))
    } else {
        call(tables, faults, &name, &params).map(|(result, cost, rest)| {
            work(used, &name, now, cost);
            let mut whole = json!({"result": result});
            merge_rest(&mut whole, rest);
            whole
        })
    };
    match result {
        Ok(mut whole) => {
            whole["time"] = timing(used, faults, &name, now);
            plain(200, whole.to_string())
        }
        Err(failed) => error(failed),
    }
}

fn merge_rest(whole: &mut Value, rest: Value) {
    super::tables::merge(whole, rest);
}

fn operating(used: &mut Used, name: &str, now: Timestamp) -> f64 {
    let work = used.work.entry(name.to_owned()).or_default();
    while work.front().is_some_and(|(minute, _)| now.0 / 60_000 - minute >= 10) {
        work.pop_front();
    }
    work.iter().map(|(_, seconds)| seconds).sum()
}

fn work(used: &mut Used, name: &str, now: Timestamp, seconds: f64) {
    let work = used.work.entry(name.to_owned()).or_default();
    match work.back_mut() {
        Some((minute, sum)) if *minute == now.0 / 60_000 => *sum += seconds,
        _ => work.push_back((now.0 / 60_000, seconds)),
    }
}

fn timing(used: &mut Used, faults: &Faults, name: &str, now: Timestamp) -> Value {
    let start = now.0 as f64 / 1000.0;
    let mut time = json!({"start": start, "finish": start + 0.2, "duration": 0.2, "processing": 0.1,
        "date_start": Tables::time(now), "date_finish": Tables::time(now)});
    if faults.operating_limit.is_some() {
        time["operating"] = operating(used, name, now).into();
        let oldest = used.work.get(name).and_then(|work| work.front()).map_or(now.0 / 60_000, |(minute, _)| *minute);
        time["operating_reset_at"] = ((oldest + 10) * 60).into();
    }
    time
}

fn batch(tables: &mut Tables, faults: &Faults, used: &mut Used, params: &Value) -> Value {
    let now = tables.now;
    let mut parts = ["result", "result_error", "result_total", "result_next", "result_time"].map(|_| Map::new());
    let [results, errors, totals, nexts, times] = &mut parts;
    let none = Map::new();
    let mut commands: Vec<(&String, &Value)> = params["cmd"].as_object().unwrap_or(&none).iter().collect();
    commands.sort_by_key(|(label, _)| label.trim_start_matches(char::is_alphabetic).parse::<u64>().unwrap_or(0));
    let mut batch_cost = 0.0;
    for (index, (label, command)) in commands.into_iter().take(50).enumerate() {
        if faults.forgets_after.is_some_and(|last| index > last) {
            continue;
        }
        let text = command.as_str().unwrap_or_default();
        let (method, text) = text.split_once('?').unwrap_or((text, ""));
        let name = method.to_ascii_lowercase();
        let mut params = query(text);
        let answer = if faults.operating_limit.is_some_and(|limit| operating(used, &name, now) > limit) {
            Err((429, "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit."))
        } else if resolve(&mut params, results).is_err() {
            Err((400, "INVALID_ARG_VALUE", "Invalid value"))
        } else {
            call(tables, faults, &name, &params)
        };
        match answer {
            Ok((result, cost, rest)) => {
                batch_cost += cost;
                work(used, &name, now, cost);
                results.insert(label.clone(), result);
                rest.get("total").map(|total| totals.insert(label.clone(), total.clone()));
                rest.get("next").map(|next| nexts.insert(label.clone(), next.clone()));
            }
            Err((_, code, text)) => {
                errors.insert(label.clone(), json!({"error": code, "error_description": text}));
            }
        }
        times.insert(label.clone(), timing(used, faults, &name, now));
    }
    work(used, "batch", now, batch_cost);
    // An empty map is an empty list.
    let part = |map: Map<String, Value>| if map.is_empty() { json!([]) } else { Value::Object(map) };
    let [results, errors, totals, nexts, times] = parts;
    json!({"result": {"result": part(results), "result_error": part(errors), "result_total": part(totals),
        "result_next": part(nexts), "result_time": part(times)}})
}

/// Replaces references to earlier results; one that leads nowhere is an error.
fn resolve(params: &mut Value, results: &Map<String, Value>) -> Result<(), ()> {
    match params {
        Value::Object(map) => map.values_mut().try_for_each(|value| resolve(value, results)),
        Value::String(text) if text.starts_with("$result[") => {
            let path = text.trim_start_matches("$result");
            let mut parts = path.split('[').skip(1).map(|part| part.trim_end_matches(']'));
            let mut value = results.get(parts.next().ok_or(())?).ok_or(())?;
            for part in parts {
                value = match value {
                    Value::Array(list) => list.get(part.parse::<usize>().map_err(|_| ())?).ok_or(())?,
                    other => other.get(part).ok_or(())?,
                };
            }
            *text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// Runs a method; returns its result, the seconds that it costs, and `total` and `next`.
fn call(tables: &Tables, faults: &Faults, name: &str, params: &Value) -> Result<(Value, f64, Value), Failed> {
    const DENIED: Failed = (403, "ACCESS_DENIED", "Access denied.");
    if faults.denied.is_some_and(|prefix| name.starts_with(prefix)) {
        return Err(DENIED);
    }
    let none = BTreeMap::new();
    let plain = |result: Value| Ok((result, 0.02, json!({})));
    match name {
        "crm.settings.mode.get" => plain(if faults.without_leads { json!(2) } else { json!(1) }),
        "profile" => plain(json!({"ID": "1", "ADMIN": true, "NAME": "Ann", "LAST_NAME": "B"})),
        "scope" => plain(json!(["crm", "telephony", "user", "department", "imopenlines"])),
        "crm.category.list" => {
            let list = [(0, "Sales", 300), (9, "Service", 400)];
            let list: Vec<Value> = list
                .iter()
                .map(|(id, name, sort)| json!({"id": id, "name": name, "sort": sort, "entityTypeId": 2, "isDefault": "Y"}))
                .collect();
            plain(json!({"categories": list}))
        }
        "crm.status.list" => plain(statuses(params["filter"]["ENTITY_ID"].as_str().unwrap_or_default())),
        "crm.item.list" => {
            let of = number(&params["entityTypeId"]);
            let rows = tables.items.get(&of).unwrap_or(&none);
            listed(rows, params, faults, Some("items"), &["createdTime", "updatedTime"], 0.3)
        }
        "crm.item.get" => match tables.items.get(&number(&params["entityTypeId"])) {
            Some(items) => match items.get(&number(&params["id"])) {
                Some(item) => plain(json!({"item": item})),
                None => Err((400, "NOT_FOUND", "The item was not found")),
            },
            None => Err((400, "NOT_FOUND", "The item was not found")),
        },
        "crm.stagehistory.list" => {
            let rows = tables.history.get(&number(&params["entityTypeId"])).unwrap_or(&none);
            listed(rows, params, faults, Some("items"), &["ID", "OWNER_ID", "CREATED_TIME"], 0.0)
        }
        "crm.activity.list" => {
            let fields = ["ID", "PROVIDER_ID", "CREATED", "LAST_UPDATED", "START_TIME"];
            let (mut result, cost, rest) = listed(&tables.activities, params, faults, None, &fields, 0.1)?;
            let selected = params["select"].to_string().contains("COMMUNICATIONS");
            for row in result.as_array_mut().into_iter().flatten().filter(|_| !selected) {
                row.as_object_mut().map(|row| row.remove("COMMUNICATIONS"));
            }
            Ok((result, cost, rest))
        }
        "crm.activity.get" => match tables.activities.get(&number(&params["id"])) {
            Some(row) => plain(row.clone()),
            None => Err((400, "", "Not found")),
        },
        "crm.activity.binding.list" => {
            let bound = tables.bindings.get(&number(&params["activityId"])).cloned().unwrap_or_default();
            plain(bound.iter().map(|(of, id)| json!({"entityTypeId": of, "entityId": id})).collect())
        }
        "crm.item.productrow.list" => {
            let rows = tables.products.get(&number(&params["filter"]["=ownerId"])).cloned().unwrap_or_default();
            plain(json!({"productRows": rows}))
        }
        "user.get" => listed(&tables.users, params, faults, None, &["ID"], 0.02),
        "department.get" => listed(&tables.departments, params, faults, None, &["ID"], 0.02),
        "voximplant.statistic.get" => {
            let order = json!({params["SORT"].as_str().unwrap_or("ID"): params["ORDER"].clone()});
            let params = json!({"filter": params["FILTER"], "order": order, "start": params["start"]});
            listed(&tables.calls, &params, faults, None, &["ID", "CALL_START_DATE"], 0.1)
        }
        "imopenlines.session.history.get" => match tables.sessions.get(&number(&params["SESSION_ID"])) {
            Some(history) => plain(history.clone()),
            None => Err((400, "CHAT_ID", "Chat not found")),
        },
        "imopenlines.dialog.get" => Err((400, "DIALOG_ID_EMPTY", "Dialog ID can't be empty")),
        _ => Err((404, "ERROR_METHOD_NOT_FOUND", "Method not found!")),
    }
}

fn statuses(of: &str) -> Value {
    let stages: &[(&str, &str)] = match of {
        "STATUS" => &[("NEW", ""), ("IN_PROCESS", ""), ("CONVERTED", "S"), ("JUNK", "F")],
        "DEAL_STAGE" => &[("NEW", ""), ("PREPARATION", ""), ("EXECUTING", ""), ("WON", "S"), ("LOSE", "F")],
        "DEAL_STAGE_9" => &[("C9:NEW", ""), ("C9:WORK", ""), ("C9:WON", "S"), ("C9:LOSE", "F")],
        _ => &[],
    };
    let row = |(at, (id, meaning)): (usize, &(&str, &str))| {
        json!({"ID": (at + 1).to_string(), "ENTITY_ID": of, "STATUS_ID": id, "NAME": format!("Stage {id}"),
            "SORT": ((at + 1) * 10).to_string(), "SEMANTICS": if meaning.is_empty() { Value::Null } else { json!(meaning) }})
    };
    stages.iter().enumerate().map(row).collect()
}

/// A page of a list.
fn listed(
    rows: &BTreeMap<u64, Value>,
    params: &Value,
    faults: &Faults,
    within: Option<&str>,
    fields: &[&str],
    cost: f64,
) -> Result<(Value, f64, Value), Failed> {
    let start = params["start"].as_i64().or_else(|| params["start"].as_str()?.parse().ok()).unwrap_or(0);
    let mut found = Vec::new();
    // Most lists name ids, or the id that they continue after.
    let named = |key: &str| params["filter"].get(key);
    let first = named(">ID").or_else(|| named(">id")).map_or(0, |after| number(after) + 1);
    let ids: Option<Vec<u64>> = named("@ID").or_else(|| named("@id")).map(|ids| match ids {
        Value::Object(map) => map.values().map(number).collect(),
        Value::Array(list) => list.iter().map(number).collect(),
        other => vec![number(other)],
    });
    let chosen: Vec<&Value> = match &ids {
        Some(ids) => ids.iter().filter_map(|id| rows.get(id)).collect(),
        None => rows.range(first..).map(|(_, row)| row).collect(),
    };
    for row in chosen {
        match passes(row, &params["filter"], fields, faults.shift) {
            Ok(true) => found.push(row.clone()),
            Ok(false) => {}
            Err(()) => return Err((400, "INVALID_ARG_VALUE", "Invalid value for filter")),
        }
    }
    let order: Vec<(String, bool)> = params["order"]
        .as_object()
        .map(|order| order.iter().map(|(field, way)| (field.clone(), way.as_str() == Some("DESC"))).collect())
        .unwrap_or_default();
    sort(&mut found, &order);
    let total = found.len();
    let from = usize::try_from(start).unwrap_or(0);
    let page: Vec<Value> = found.into_iter().skip(from).take(50).collect();
    let mut rest = json!({});
    if start >= 0 {
        rest["total"] = total.into();
        if from + page.len() < total {
            rest["next"] = (from + page.len()).into();
        }
    } else {
        rest["total"] = 0.into();
    }
    let page = Value::Array(page);
    Ok((within.map_or(page.clone(), |name| json!({name: page})), cost, rest))
}

/// A portal that is asked.
#[derive(Debug, Default)]
pub struct Interface {
    used: Used,
    /// What is wrong.
    pub faults: Faults,
}

impl Interface {
    /// Answers a request at the present instant of the tables.
    pub fn answer(&mut self, tables: &mut Tables, method: &str, body: &str) -> Answer {
        answer(tables, &self.faults, &mut self.used, method, body)
    }

    /// Requests answered, and refused by a limit.
    pub fn requests(&self) -> (u64, u64) {
        (self.used.requests, self.used.refused)
    }
}

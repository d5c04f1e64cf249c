//! The norms document: the norm of each rule in a given scope.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::calendar::{self, Calendar, Clock};
use super::contacts::Ignored;

/// The scope in which a clock starts (decision 7). A missing department is `unknown` (decision 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub tenant: String,
    pub department: String,
    pub manager: Option<String>,
    pub pipeline: Option<String>,
    pub source: Option<String>,
}

pub struct Window {
    pub name: String,
    pub size: i64,
    pub slide: i64,
}

/// A pipeline's stages, in order.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
pub struct Stage {
    pub id: String,
    pub early: bool,
    pub required: bool,
    /// An entity in it waits for the customer.
    pub waiting: bool,
    pub max_time: Option<i64>,
    pub fields: Vec<String>,
    pub activities: Vec<String>,
}

impl Pipeline {
    /// A stage that the pipeline does not list has no order (decision 13).
    pub fn order(&self, stage: &str) -> Option<usize> {
        self.stages.iter().position(|s| s.id == stage)
    }

    pub fn stage(&self, stage: &str) -> Option<&Stage> {
        self.stages.iter().find(|s| s.id == stage)
    }
}

pub type Pipelines = Rc<BTreeMap<String, Pipeline>>;

/// Rules that are off without a `within`.
const NEED_WITHIN: [&str; 8] = [
    "first_response_late",
    "too_few_attempts",
    "neglected",
    "missed_call_not_returned",
    "message_unanswered",
    "source_silent",
    "next_step_missing",
    "next_step_overdue",
];

pub struct Norms {
    document: Value,
    pub pipelines: Pipelines,
    calendars: BTreeMap<String, Rc<Calendar>>,
    pub windows: Vec<Window>,
    pub min_talk_seconds: f64,
    /// An inbound answer without manager is no conversation.
    pub conversation_needs_manager: bool,
    /// A contact of more open entities is not matched.
    pub shared_contact_limit: usize,
    /// A lead disqualified with one of these is no lost opportunity.
    pub excluded_reasons: Vec<String>,
}

/// The effective norm of a rule in one scope.
#[derive(Clone, Debug)]
pub struct Norm {
    pub within: i64,
    pub clock_name: &'static str,
    pub clock: Clock,
    pub severity: usize,
    pub escalate_after: Vec<i64>,
    /// All keys of the rule.
    pub keys: Map<String, Value>,
}

pub const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];

impl Norms {
    pub fn read(document: &Value) -> Norms {
        let mut calendars = BTreeMap::new();
        if let Some(listed) = document["calendars"].as_object() {
            for (name, calendar) in listed {
                calendars.insert(name.clone(), Rc::new(Calendar::read(calendar)));
            }
        }
        let default = serde_json::json!([
            {"size": "1h", "slide": "1m"}, {"size": "24h", "slide": "15m"}, {"size": "7d", "slide": "2h"}, {"size": "30d", "slide": "8h"}
        ]);
        let windows = document.get("windows").unwrap_or(&default).as_array().unwrap();
        let windows = windows
            .iter()
            .map(|w| {
                let name = w["size"].as_str().unwrap().to_owned();
                Window {
                    size: calendar::span(&name).unwrap(),
                    slide: calendar::span(w["slide"].as_str().unwrap()).unwrap(),
                    name,
                }
            })
            .collect();
        let mut pipelines = BTreeMap::new();
        for (name, pipeline) in document["pipelines"].as_object().into_iter().flatten() {
            pipelines.insert(name.clone(), read_pipeline(pipeline));
        }
        let min_talk_seconds = document["min_talk_seconds"].as_f64().unwrap_or(1.0);
        Norms {
            document: document.clone(),
            pipelines: Rc::new(pipelines),
            calendars,
            windows,
            min_talk_seconds,
            conversation_needs_manager: document["conversation_needs_manager"] == true,
            shared_contact_limit: document["shared_contact_limit"].as_u64().unwrap_or(20) as usize,
            excluded_reasons: texts(&document["excluded_reasons"]).iter().map(|text| text.trim().to_owned()).collect(),
        }
    }

    /// The contacts of a tenant that are ignored; an override replaces the list.
    pub fn ignored(&self, tenant: &str) -> Vec<Ignored> {
        let scope =
            Scope { tenant: tenant.to_owned(), department: String::new(), manager: None, pipeline: None, source: None };
        let lists = self.overrides(&scope).filter_map(|one| one["ignored_contacts"].as_array());
        let list = lists.last().or(self.document["ignored_contacts"].as_array());
        list.into_iter().flatten().filter_map(Value::as_str).flat_map(Ignored::read).collect()
    }

    /// The matching overrides, in order: every given key of `when` must match.
    fn overrides<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Value> {
        let fits = move |one: &&Value| {
            let when = &one["when"];
            let agrees = |key: &str, have: Option<&str>| when[key].as_str().is_none_or(|want| have == Some(want));
            agrees("tenant", Some(&scope.tenant))
                && agrees("department", Some(&scope.department))
                && agrees("manager", scope.manager.as_deref())
                && agrees("pipeline", scope.pipeline.as_deref())
                && agrees("source_id", scope.source.as_deref())
        };
        self.document["overrides"].as_array().into_iter().flatten().filter(fits)
    }

    pub fn calendar(&self, scope: &Scope) -> Option<Rc<Calendar>> {
        let mut name = self.document["calendar"].as_str();
        for one in self.overrides(scope) {
            name = one["calendar"].as_str().or(name);
        }
        name.map(|name| self.calendars.get(name).expect("a calendar of the document").clone())
    }

    /// The business clock in this scope.
    pub fn business(&self, scope: &Scope) -> Clock {
        Clock::business(self.calendar(scope))
    }

    /// Merges by key within a rule, the last one wins; a rule that is not mentioned or not `enabled` is off.
    pub fn rule(&self, rule: &str, scope: &Scope) -> Option<Norm> {
        let mut keys: Option<Map<String, Value>> = self.document["norms"].get(rule).map(map);
        for one in self.overrides(scope) {
            if let Some(more) = one["norms"].get(rule) {
                keys.get_or_insert_default().extend(map(more));
            }
        }
        let keys = keys?;
        if keys.get("enabled") == Some(&Value::Bool(false)) {
            return None;
        }
        let spans = |value: &Value| calendar::span(value.as_str()?);
        // Decision 20: the defaults are wall time and severity `warning`.
        let business = keys.get("clock").and_then(Value::as_str) == Some("business");
        let severity = keys.get("severity").and_then(Value::as_str).unwrap_or("warning");
        let escalate_after = keys.get("escalate_after").and_then(Value::as_array);
        Some(Norm {
            within: match keys.get("within").and_then(spans) {
                None if NEED_WITHIN.contains(&rule) => return None,
                within => within.unwrap_or(0),
            },
            clock_name: if business { "business" } else { "wall" },
            clock: if business { self.business(scope) } else { Clock::Wall },
            severity: SEVERITIES.iter().position(|s| *s == severity).expect("a severity"),
            escalate_after: escalate_after.into_iter().flatten().filter_map(spans).collect(),
            keys,
        })
    }
}

impl Norms {
    /// The listed targets.
    pub fn targets(&self) -> &[Value] {
        self.document["targets"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The keys of each target in a scope, by id: overrides win key by key.
    pub fn targets_in(&self, scope: &Scope) -> Vec<(String, Map<String, Value>)> {
        let id = |target: &Value| target["id"].as_str().expect("an id").to_owned();
        let mut targets: Vec<(String, Map<String, Value>)> =
            self.targets().iter().map(|target| (id(target), map(target))).collect();
        for one in self.overrides(scope) {
            for (id, keys) in &mut targets {
                if let Some(more) = one["targets"].get(id.as_str()) {
                    keys.extend(map(more));
                }
            }
        }
        targets
    }

    /// The keys of a rule in a scope, whether it is on or not.
    pub fn keys_of(&self, rule: &str, scope: &Scope) -> Map<String, Value> {
        let mut keys: Map<String, Value> = self.document["norms"].get(rule).map(map).unwrap_or_default();
        for one in self.overrides(scope) {
            keys.extend(one["norms"].get(rule).map(map).unwrap_or_default());
        }
        keys
    }

    /// The window of a window rule, by default the first; `None` if the document does not list it.
    pub fn window(&self, norm: &Norm) -> Option<&Window> {
        match norm.keys.get("window").and_then(Value::as_str) {
            Some(name) => self.windows.iter().find(|w| w.name == name),
            None => self.windows.first(),
        }
    }
}

fn read_pipeline(value: &Value) -> Pipeline {
    let stage = |s: &Value| Stage {
        id: s["id"].as_str().expect("a stage has an id").to_owned(),
        early: s["early"] == true,
        required: s["required"] == true,
        waiting: s["waiting"] == true,
        max_time: s["max_time"].as_str().and_then(calendar::span),
        fields: texts(&s["requires"]["fields"]),
        activities: texts(&s["requires"]["activities"]),
    };
    Pipeline { stages: value["stages"].as_array().into_iter().flatten().map(stage).collect() }
}

impl Norm {
    pub fn number(&self, key: &str) -> Option<f64> {
        self.keys.get(key).and_then(Value::as_f64)
    }

    /// How much counted time is left at the warning.
    pub fn warn_before(&self) -> Option<i64> {
        self.span("warn_before")
    }

    /// A duration.
    pub fn span(&self, key: &str) -> Option<i64> {
        calendar::span(self.keys.get(key)?.as_str()?)
    }

    pub fn texts(&self, key: &str) -> Option<Vec<&str>> {
        Some(self.keys.get(key)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn overrides_merge_by_key_in_order() {
        let norms = Norms::read(&json!({
            "norms": {"first_response_late": {"within": "15m", "escalate_after": ["1h"], "severity": "info"}},
            "overrides": [
                {"when": {"tenant": "a"}, "norms": {"first_response_late": {"within": "5m"}}},
                {"when": {"tenant": "a", "pipeline": "p"}, "norms": {"first_response_late": {"enabled": false}, "missed_call_not_returned": {"within": "1h"}}},
                {"when": {"source_id": "WEB"}, "norms": {"first_response_late": {"enabled": true, "within": "7m"}}},
            ],
        }));
        let scope = |tenant: &str, pipeline: Option<&str>, source: Option<&str>| Scope {
            tenant: tenant.to_owned(),
            department: "unknown".to_owned(),
            manager: None,
            pipeline: pipeline.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let within = |rule: &str, scope: &Scope| norms.rule(rule, scope).map(|n| n.within / 60_000);
        assert_eq!(within("first_response_late", &scope("b", None, None)), Some(15));
        assert_eq!(within("first_response_late", &scope("a", None, None)), Some(5));
        assert_eq!(within("first_response_late", &scope("a", Some("p"), None)), None);
        assert_eq!(within("first_response_late", &scope("a", Some("p"), Some("WEB"))), Some(7));
        assert_eq!(within("missed_call_not_returned", &scope("a", Some("p"), None)), Some(60));
        assert_eq!(within("missed_call_not_returned", &scope("a", None, None)), None);
        let merged = norms.rule("first_response_late", &scope("a", None, None)).unwrap();
        assert_eq!((merged.escalate_after, merged.severity), (vec![3_600_000], 0));
    }
}

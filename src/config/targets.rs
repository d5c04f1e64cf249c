//! The targets of the norms: their keys, how they are read, checked across layers, and shown.

use super::params::{CLOCK, NOT_ASCENDING, SEVERITY, are_ascending, not_in_days};
use super::schema::key::ValueKind::{Flag, Length, List, Map, Number};
use super::schema::key::{ANY, Absent, Form, KeySpec, ValueKind};
use super::schema::reader::Reader;
use super::schema::similar::suggestion;
use super::schema::text::word;
use super::schema::typed::{Typed, named, one_of};
use super::schema::value::{Data, Table, Value};
use crate::domain::norms::targets::{MAX_AT_LEAST, Of, Per, TargetFigure, TargetParams};
use crate::domain::norms::{Clock, Override};
use compact_str::CompactString;
use std::collections::BTreeMap;

named! { TargetFigure Per Of }

pub(super) const DATE: Form = Form {
    expected: "a date such as 2026-01-31",
    fits: |text| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
    pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    ..ANY
};
const CURRENCY: Form = Form {
    expected: "the ISO 4217 code of a currency, such as RUB",
    fits: |text| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic()),
    pattern: "^[A-Za-z]{3}$",
    canonical: |text| text.to_ascii_uppercase(),
    ..ANY
};
const ID: Form = Form {
    expected: "a name without `/`",
    fits: |text| !text.is_empty() && !text.contains('/') && text.trim() == text,
    pattern: "^[^/]+$",
    ..ANY
};

/// `targets` of the document.
pub(super) const LISTED: KeySpec = KeySpec::new(
    "targets",
    List(&ValueKind::Table(&[LISTED_ID, IDENTITY, PARAMETERS]), 0),
    "what managers, departments or the company are to reach in a period; `target_behind` reports who is behind",
);

/// `targets` of an override.
pub(super) const OVERRIDING: KeySpec = KeySpec::new(
    "targets",
    Map(ANY, &ValueKind::Table(&[OVERRIDING_IDENTITY, PARAMETERS])),
    "keys of targets that differ, by id; with `when: {manager}` a personal plan",
);

const LISTED_ID: &[KeySpec] =
    &[KeySpec::new("id", ValueKind::Form(ID), "its name in rows, alerts and labels").required()];

const FIGURE: KeySpec = KeySpec::new("figure", one_of::<TargetFigure>(), "what is counted, as in the windows");
const PER: KeySpec =
    KeySpec::new("per", one_of::<Per>(), "the length of a period: from local midnight, Monday, the 1st, or January");
const AT_LEAST: KeySpec = KeySpec::new(
    "at_least",
    Number(0.000_001, MAX_AT_LEAST),
    "what is to be reached in a period; amounts in minor units",
);

const IDENTITY: &[KeySpec] = &[FIGURE.required(), PER.required(), AT_LEAST.required()];
const OVERRIDING_IDENTITY: &[KeySpec] =
    &[FIGURE.described("unchanged"), PER.described("unchanged"), AT_LEAST.described("unchanged")];

const PARAMETERS: &[KeySpec] = &[
    KeySpec::new("enabled", Flag, "whether it applies").rule_default("true"),
    KeySpec::new("of", one_of::<Of>(), "who is to reach it: each manager, each department together, or the company")
        .rule_default("manager"),
    KeySpec::new("clock", CLOCK, "which time of a period counts: working time or all").rule_default("business"),
    KeySpec::new("judge", Flag, "whether `target_behind` judges it").rule_default("true"),
    KeySpec::new("judge_after", Number(0.0, 1.0), "the share of the period from which it is judged")
        .rule_default("0.5"),
    KeySpec::new("tolerance", Number(0.0, 0.999_999), "the share of the pace that may be missing without an alert")
        .rule_default("0.1"),
    KeySpec::new("from", ValueKind::Form(DATE), "its first day: the period of that day begins then")
        .described("none: periods are whole"),
    KeySpec::new("currency", ValueKind::Form(CURRENCY), "the currency of `amount_won`")
        .described("required by `amount_won`"),
    KeySpec::new("severity", SEVERITY, "the severity of its alerts").described("that of `target_behind`"),
    KeySpec::new("escalate_after", List(&Length, 0), "when an alert escalates, from its beginning, on its clock")
        .described("that of `target_behind`"),
];

/// Reads the targets of a layer: listed in the document, by id in an override.
pub(super) fn read(table: &Table) -> BTreeMap<CompactString, TargetParams> {
    let listed = table.list("targets").iter().filter_map(Value::table);
    let listed = listed.filter_map(|target| Some((target.get::<CompactString>("id")?, params(target))));
    let by_id = table.map("targets").iter();
    let by_id = by_id.filter_map(|(id, target)| Some((CompactString::from(id), params(target.table()?))));
    listed.chain(by_id).collect()
}

fn params(table: &Table) -> TargetParams {
    TargetParams {
        enabled: table.get("enabled"),
        figure: table.get("figure"),
        per: table.get("per"),
        at_least: table.get("at_least"),
        of: table.get("of"),
        clock: table.get("clock"),
        judge_after: table.get("judge_after"),
        tolerance: table.get("tolerance"),
        judge: table.get("judge"),
        from: table.text("from").and_then(|date| date.parse().ok()),
        currency: table.get("currency"),
        severity: table.get("severity"),
        escalate_after: table.get("escalate_after"),
    }
}

/// Checks the targets of a layer: `site` is its table, `over` what it says, `applying` the layers that apply wherever it
/// does, in order, with itself. `is_base`: it is the document.
pub(super) fn check(reader: &mut Reader<'_>, site: &Table, over: &Override, applying: &[&Override], is_base: bool) {
    if is_base {
        unique(reader, site);
    }
    let base = applying.first().map(|base| &base.layer.targets);
    let known: Vec<&str> = base.into_iter().flatten().map(|(id, _)| id.as_str()).collect();
    if !is_base && site.is_set("targets") && (over.pipeline.is_some() || over.source.is_some()) {
        reader.note_of(site, "targets", "targets are of managers: an override by pipeline or source never applies");
    }
    for (id, line, path, table) in tables(site) {
        if !known.contains(&id) {
            let text = format!("unknown target `{id}`{}", suggestion(id, &known));
            reader.problem(line, path, text);
            continue;
        }
        let mut params = TargetParams::default();
        applying.iter().filter_map(|over| over.layer.targets.get(id)).for_each(|layer| params.merge(layer));
        if params.enabled == Some(false) {
            continue;
        }
        let is_amount = params.figure == Some(TargetFigure::AmountWon);
        if is_amount && params.currency.is_none() {
            reader.problem_of(table, "currency", "required key is missing: `amount_won` counts one currency");
        } else if !is_amount && table.is_set("currency") {
            reader.note_of(table, "currency", "only `amount_won` has a currency: the key has no effect");
        }
        let clock = params.clock();
        let steps = params.escalate_after.unwrap_or_default();
        if !are_ascending(&steps) {
            reader.problem_of(table, "escalate_after", NOT_ASCENDING);
        }
        if let Some(step) = steps.iter().find(|step| step.in_days && clock == Clock::Business) {
            reader.problem_of(table, "escalate_after", not_in_days(step));
        }
        if is_base && clock == Clock::Business && applying.iter().all(|over| over.layer.calendar.is_none()) {
            let text = "business clock without a calendar: periods begin at midnight UTC, and all time counts";
            reader.note_of(table, "clock", text);
        }
    }
}

/// Checks that no two targets have the same id.
fn unique(reader: &mut Reader<'_>, site: &Table) {
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for target in site.list("targets").iter().filter_map(Value::table) {
        let Some(id) = target.text("id") else { continue };
        if let Some(line) = ids.get(id) {
            let text = format!("duplicate target `{id}`, first defined on line {line}");
            reader.problem_of(target, "id", text);
        }
        ids.entry(id).or_insert(target.line_of("id"));
    }
}

/// The targets of a layer, each with its id, line and path.
fn tables(site: &Table) -> Vec<(&str, usize, String, &Table)> {
    let listed = site.list("targets").iter().filter_map(Value::table);
    let listed = listed.filter_map(|table| Some((table.text("id")?, table.line, table.path.clone(), table)));
    let by_id = site.map("targets").iter().filter_map(|(id, value)| {
        let Data::Table(table) = &value.data else { return None };
        Some((id.as_str(), value.line, table.path.clone(), table))
    });
    listed.chain(by_id).collect()
}

/// The targets in force as a list in document syntax, with the defaults: one line each.
pub(super) fn show(targets: &BTreeMap<CompactString, TargetParams>) -> Vec<String> {
    let line = |(id, params): (&CompactString, &TargetParams)| {
        let mut parts = vec![format!("id: {}", word(id))];
        let mut add = |name: &str, value: Option<String>| {
            let key = IDENTITY.iter().chain(PARAMETERS).find(|key| key.name == name);
            let default = match key.map(|key| key.absent) {
                Some(Absent::RuleDefault(default)) => Some(default.to_owned()),
                _ => None,
            };
            parts.extend(value.or(default).filter(|value| value != "[]").map(|value| format!("{name}: {value}")));
        };
        add("figure", params.figure.as_ref().map(Typed::show));
        add("per", params.per.as_ref().map(Typed::show));
        add("at_least", params.at_least.as_ref().map(Typed::show));
        add("currency", params.currency.as_ref().map(Typed::show));
        add("of", params.of.as_ref().map(Typed::show));
        add("clock", params.clock.as_ref().map(Typed::show));
        add("judge", params.judge.as_ref().map(Typed::show));
        add("judge_after", params.judge_after.as_ref().map(Typed::show));
        add("tolerance", params.tolerance.as_ref().map(Typed::show));
        add("from", params.from.map(|date| format!("\"{date}\"")));
        add("severity", params.severity.as_ref().map(Typed::show));
        add("escalate_after", params.escalate_after.as_ref().map(Typed::show));
        format!("{{{}}}", parts.join(", "))
    };
    targets.iter().filter(|(_, params)| params.enabled != Some(false)).map(line).collect()
}

//! Cross-layer checks of the norms: every rule is complete and consistent wherever it is enabled, all references
//! resolve, and suspicious settings are noted.
//!
//! **Scopes.** Norms are checked in their merged form: in the base, in the scope of each override (exactly its `when`)
//! and where two overrides overlap. A fault is reported where it arises, not again in the scopes that inherit it.

use super::keys::{is_window_rule, of_rule, of_terms, parameters_of};
use super::params::{key, lengths, not_in_days};
use super::schema::key::Need;
use super::schema::reader::Reader;
use super::schema::similar::suggestion;
use super::schema::value::{Table, Value};
use super::targets;
use crate::domain::norms::params::Params;
use crate::domain::norms::{Clock, Norms, Override};
use crate::domain::rule::Rule;
use crate::domain::time::Length;
use compact_str::CompactString;
use std::collections::BTreeSet;

/// One layer: its table in the document and the parsed override.
struct Site<'a> {
    table: &'a Table,
    over: &'a Override,
}

impl Site<'_> {
    fn rule(&self, rule: Rule) -> Option<&Table> {
        self.table.table("norms")?.table(rule.name())
    }
}

/// The index of the base among the sites.
const BASE: usize = 0;

/// An error of a rule in a scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    /// Line and path to report it at; `None`: the key in the layer.
    at: Option<(usize, String)>,
    key: &'static str,
    text: String,
}

/// Checks norms against the document that they were read from. `calendars` holds the defined names; `None` if a file
/// with calendars could not be read.
pub(super) fn check(reader: &mut Reader<'_>, root: &Table, norms: &Norms, calendars: Option<Vec<&str>>) {
    let base = Override { layer: norms.base.clone(), ..Override::default() };
    let tables = root.list("overrides").iter().filter_map(Value::table);
    let mut sites = vec![Site { table: root, over: &base }];
    sites.extend(tables.zip(&norms.overrides).map(|(table, over)| Site { table, over }));
    references(reader, &sites, norms, calendars);
    ignored_contacts(reader, &sites);
    for rule in Rule::ALL {
        completeness(reader, root, &sites, *rule);
        clocks(reader, &sites, *rule);
        purpose(reader, &sites, *rule, norms);
    }
    terms(reader, &sites);
    sampling(reader, &sites);
    for (index, site) in sites.iter().enumerate() {
        let applying: Vec<_> = sites.iter().map(|other| other.over).filter(|other| implies(site.over, other)).collect();
        targets::check(reader, site.table, site.over, &applying, index == BASE);
    }
    if sites.iter().all(|site| site.over.layer.rules.is_empty()) && !norms.has_targets() {
        reader.note(root.line_of("norms"), "norms", "no rule is enabled: nothing is supervised");
    }
}

/// Checks references to calendars and pipelines.
fn references(reader: &mut Reader<'_>, sites: &[Site<'_>], norms: &Norms, calendars: Option<Vec<&str>>) {
    let pipelines: Vec<_> = norms.pipelines.keys().map(|id| id.as_str()).collect();
    for site in sites {
        if let (Some(name), Some(known)) = (site.table.text("calendar"), &calendars)
            && !known.contains(&name)
        {
            let text = format!("unknown calendar `{name}`{}", suggestion(name, known));
            reader.problem_of(site.table, "calendar", text);
        }
        let when = site.table.table("when");
        if let Some(when) = when.filter(|when| when.set_keys().next().is_none()) {
            reader.note(when.line, &when.path, "no key is set: the override applies everywhere");
        }
        let terms = site.table.table("norms").and_then(|norms| norms.table("terms"));
        let rows = terms.into_iter().flat_map(|terms| terms.list("policies")).filter_map(Value::table);
        for table in when.into_iter().chain(rows) {
            if let Some(id) = table.text("pipeline").filter(|id| !pipelines.contains(id)) {
                let text = format!("unknown pipeline `{id}`{}", suggestion(id, &pipelines));
                reader.note_of(table, "pipeline", text);
            }
        }
    }
}

/// Checks that contacts are ignored only for whole tenants: an event of a contact has no other part of a scope yet.
fn ignored_contacts(reader: &mut Reader<'_>, sites: &[Site<'_>]) {
    for site in &sites[BASE + 1..] {
        let of_tenant = site.table.table("when").is_none_or(|when| when.set_keys().eq(["tenant"]));
        if site.table.is_set("ignored_contacts") && !of_tenant {
            let text = "allowed only in an override by `tenant` alone: contacts are ignored for a whole tenant";
            reader.problem_of(site.table, "ignored_contacts", text);
        }
    }
}

/// Whether `general` applies wherever `special` does.
fn implies(special: &Override, general: &Override) -> bool {
    let fits =
        |special: &Option<CompactString>, general: &Option<CompactString>| general.is_none() || special == general;
    fits(&special.tenant, &general.tenant)
        && fits(&special.department, &general.department)
        && fits(&special.manager, &general.manager)
        && fits(&special.pipeline, &general.pipeline)
        && fits(&special.source, &general.source)
}

/// Checks that the rule has all required keys and no contradictions in every scope.
fn completeness(reader: &mut Reader<'_>, root: &Table, sites: &[Site<'_>], rule: Rule) {
    let named: Vec<usize> = (0..sites.len()).filter(|site| sites[*site].rule(rule).is_some()).collect();
    let base = named.first().filter(|site| **site == BASE).map(|_| 0);
    let mut alone: Vec<BTreeSet<Fault>> = Vec::new();
    for site in &named {
        let faults = faults(root, sites, rule, &named, sites[*site].over);
        let inherited = |fault: &Fault| base.is_some_and(|base| alone.get(base).is_some_and(|all| all.contains(fault)));
        for fault in faults.iter().filter(|fault| !inherited(fault)) {
            report(reader, sites, rule, *site, fault, "");
        }
        alone.push(faults);
    }
    for (later, site) in named.iter().enumerate() {
        for (earlier, other) in named[..later].iter().enumerate().filter(|(_, other)| **other != BASE) {
            let Some(scope) = overlap(sites[*other].over, sites[*site].over) else { continue };
            let line = sites[*other].rule(rule).map_or(0, |table| table.line);
            let addition = format!(" (where the override on line {line} also applies)");
            for fault in faults(root, sites, rule, &named, &scope) {
                let arises =
                    [Some(earlier), Some(later), base].into_iter().flatten().all(|site| !alone[site].contains(&fault));
                if arises {
                    report(reader, sites, rule, *site, &fault, &addition);
                }
            }
        }
    }
}

fn report(reader: &mut Reader<'_>, sites: &[Site<'_>], rule: Rule, site: usize, fault: &Fault, addition: &str) {
    let Some(table) = sites[site].rule(rule) else { return };
    let (line, path) = fault.at.clone().unwrap_or((table.line_of(fault.key), table.path_of(fault.key)));
    reader.problem(line, path, format!("{}{addition}", fault.text));
}

/// The scope in which both overrides apply; `None` if they are disjoint.
fn overlap(one: &Override, other: &Override) -> Option<Override> {
    let both = Override {
        tenant: one.tenant.clone().or(other.tenant.clone()),
        department: one.department.clone().or(other.department.clone()),
        manager: one.manager.clone().or(other.manager.clone()),
        pipeline: one.pipeline.clone().or(other.pipeline.clone()),
        source: one.source.clone().or(other.source.clone()),
        ..Override::default()
    };
    (implies(&both, one) && implies(&both, other)).then_some(both)
}

/// The merged parameters of the rule in `scope`, and the layers that contribute to them.
fn in_force<'s>(sites: &'s [Site<'_>], rule: Rule, named: &[usize], scope: &Override) -> (Params, Vec<&'s Table>) {
    let mut params = Params::default();
    let mut tables = Vec::new();
    for site in named.iter().map(|site| &sites[*site]).filter(|site| implies(scope, site.over)) {
        if let Some(layer) = site.over.layer.rules.get(&rule) {
            params.merge(layer);
        }
        tables.extend(site.rule(rule));
    }
    (params, tables)
}

fn faults(root: &Table, sites: &[Site<'_>], rule: Rule, named: &[usize], scope: &Override) -> BTreeSet<Fault> {
    let mut faults = BTreeSet::new();
    let (params, tables) = in_force(sites, rule, named, scope);
    if params.enabled != Some(false) {
        let mut add = |key, text| faults.insert(Fault { at: None, key, text });
        let is_set = |key: &str| tables.iter().any(|table| table.is_set(key));
        for key in of_rule(rule).filter(|key| key.need == Need::InForce && !is_set(key.name)) {
            add(key.name, format!("required key is missing: {}", key.help));
        }
        let one_of: Vec<_> = of_rule(rule).filter(|key| key.need == Need::OneInForce).map(|key| key.name).collect();
        if let Some(first) = one_of.first() {
            // A layer that sets one of them clears those set by earlier layers.
            let given = tables.iter().map(|table| one_of.iter().filter(|key| table.is_set(key)).count());
            match given.rev().find(|count| *count > 0).unwrap_or(0) {
                0 => drop(add(first, format!("required key is missing: `{}`", one_of.join("` or `")))),
                1 => {}
                _ => drop(add(first, format!("`{}` are mutually exclusive", one_of.join("` and `")))),
            }
        }
        // A warning of a planned activity may precede its deadline, which is the anchor.
        if let (Some(before), Some(within)) = (params.warn_before, params.within)
            && before.span >= within.span
            && rule != Rule::NextStepOverdue
        {
            add("warn_before", format!("{before} is not less than `within`, which is {within}"));
        }
        if params.clock == Some(Clock::Business) {
            for parameter in parameters_of(rule) {
                let key = key(parameter).map_or("", |key| key.name);
                for length in lengths(&params, parameter).into_iter().filter(|length| length.in_days) {
                    add(key, not_in_days(&length));
                }
            }
        }
    }
    if rule == Rule::StageOverdue {
        faults.extend(limits_of_stages(root, sites, named, scope));
    }
    faults
}

/// Stages whose `max_time` is in days although `stage_overdue` counts business time in their pipeline, or is no longer
/// than its `warn_before`.
fn limits_of_stages(root: &Table, sites: &[Site<'_>], named: &[usize], scope: &Override) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (id, pipeline) in root.map("pipelines") {
        if scope.pipeline.as_ref().is_some_and(|pipeline| pipeline != id) {
            continue;
        }
        let scope = Override { pipeline: Some(id.into()), ..scope.clone() };
        let (params, _) = in_force(sites, Rule::StageOverdue, named, &scope);
        if params.enabled == Some(false) {
            continue;
        }
        let stages = pipeline.table().map(|table| table.list("stages")).unwrap_or_default();
        for stage in stages.iter().filter_map(Value::table) {
            let Some(time) = stage.get::<Length>("max_time") else { continue };
            if time.in_days && params.clock == Some(Clock::Business) {
                let text = format!("{} is in days, but `stage_overdue` counts business time; use hours", time.span);
                let at = Some((stage.line_of("max_time"), stage.path_of("max_time")));
                faults.push(Fault { at, key: "clock", text });
            }
            if let Some(before) = params.warn_before.filter(|before| before.span >= time.span) {
                let path = stage.path_of("max_time");
                let text = format!("{before} is not less than `{path}`, which is {time}");
                faults.push(Fault { at: None, key: "warn_before", text });
            }
        }
    }
    faults
}

/// Notes business clocks without a calendar.
fn clocks(reader: &mut Reader<'_>, sites: &[Site<'_>], rule: Rule) {
    let named: Vec<usize> = (0..sites.len()).filter(|site| sites[*site].rule(rule).is_some()).collect();
    let mut inherited = false;
    for index in &named {
        let site = &sites[*index];
        let (params, _) = in_force(sites, rule, &named, site.over);
        let on = params.enabled != Some(false) && params.clock == Some(Clock::Business);
        let mut applying = sites.iter().filter(|other| implies(site.over, other.over));
        let lacking = on && applying.all(|other| other.over.layer.calendar.is_none());
        if let Some(table) = site.rule(rule).filter(|_| lacking && !inherited) {
            let text = "business clock without a calendar: the clock counts wall time";
            reader.note_of(table, "clock", text);
        }
        inherited |= lacking && *index == BASE;
    }
}

/// Checks that the terms rules have rows wherever they are enabled.
fn terms(reader: &mut Reader<'_>, sites: &[Site<'_>]) {
    let shared = |site: &Site<'_>| site.table.table("norms")?.table("terms").cloned();
    for site in sites {
        let applying = || sites.iter().filter(|other| implies(site.over, other.over));
        if applying().filter_map(shared).any(|terms| terms.is_set("policies")) {
            continue;
        }
        let on = |rule: &Rule| {
            let enabled = applying().filter_map(|other| other.over.layer.rules.get(rule)?.enabled).next_back();
            site.over.layer.rules.contains_key(rule) && enabled != Some(false)
        };
        let on: Vec<_> = of_terms().filter(on).collect();
        if let Some(terms) = shared(site).filter(|_| !on.is_empty()) {
            let text = "required key is missing: without rows, terms cannot be checked";
            reader.problem(terms.line, terms.path_of("policies"), text);
        } else if applying().all(|other| shared(other).is_none()) {
            for rule in on.into_iter().filter_map(|rule| site.rule(rule)) {
                reader.problem(rule.line, &rule.path, "the rule requires `norms.terms`, which is missing");
            }
        }
    }
}

/// Checks that `per_day` is set wherever review sampling is configured.
fn sampling(reader: &mut Reader<'_>, sites: &[Site<'_>]) {
    for site in sites {
        let applying = sites.iter().filter(|other| implies(site.over, other.over));
        let own = site.table.table("review_sampling");
        if let Some(own) = own.filter(|_| site.over.pipeline.is_some() || site.over.source.is_some()) {
            let text = "reviews are sampled per manager: an override by pipeline or source never applies";
            reader.note(own.line, &own.path, text);
        }
        let known =
            applying.filter_map(|other| other.table.table("review_sampling")).any(|table| table.is_set("per_day"));
        if let Some(own) = own.filter(|_| !known) {
            let text = "required key is missing: the number of samples per manager and day";
            reader.problem(own.line, own.path_of("per_day"), text);
        }
    }
}

/// Notes rules that are enabled but can never apply.
fn purpose(reader: &mut Reader<'_>, sites: &[Site<'_>], rule: Rule, norms: &Norms) {
    let mut stages = norms.pipelines.values().flat_map(|pipeline| &pipeline.stages);
    let lacking = match rule {
        Rule::StageSkipped if !stages.any(|stage| stage.required) => "no stage is `required`",
        Rule::StageRequirementsUnmet
            if !stages.any(|stage| !stage.requires_fields.is_empty() || !stage.requires_activities.is_empty()) =>
        {
            "no stage `requires` anything"
        }
        Rule::TargetBehind if !norms.has_targets() => "there are no `targets`",
        Rule::StageReverted if stages.next().is_none() => "there is no pipeline",
        Rule::StageOverdue if !stages.any(|stage| stage.max_time.is_some()) => "no stage has a `max_time`",
        Rule::StuckEarly if !stages.any(|stage| stage.early && stage.max_time.is_some()) => {
            "no stage is `early` and has a `max_time`"
        }
        _ => "",
    };
    let on = |site: &&Site<'_>| site.rule(rule).is_some_and(|table| table.get("enabled") != Some(false));
    if let Some(table) = sites.iter().find(on).and_then(|site| site.rule(rule)).filter(|_| !lacking.is_empty()) {
        reader.note(table.line, &table.path, format!("{lacking}: the rule never applies"));
    }
    for site in sites.iter().filter(|site| site.over.pipeline.is_some() || site.over.source.is_some()) {
        if let Some(table) = site.rule(rule).filter(|_| is_window_rule(rule)) {
            let text = "the rule is evaluated per manager: an override by pipeline or source never applies";
            reader.note(table.line, &table.path, text);
        }
    }
}

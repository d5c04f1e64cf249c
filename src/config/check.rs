//! Owns the checks that look across layers: whether every rule is complete and consistent wherever it is on, whether
//! names refer to something, and what is suspicious.
//!
//! **Places.** Norms are judged as they are in force in the base, in the general place of each override (its `when` and
//! no more) and where two overrides meet. A fault is told where it arises: not again in the places that inherit it.

use super::key::Need;
use super::keys::{judges_managers, of, of_terms};
use super::norms::implies;
use super::reader::{Reader, nearest};
use super::value::{Table, Value};
use crate::domain::norms::{Clock, Norms, Override, Params};
use crate::domain::rule::Rule;
use std::collections::{BTreeMap, BTreeSet};

/// One layer: what is written and what came of it.
struct Site<'a> {
    table: &'a Table,
    over: &'a Override,
}

impl Site<'_> {
    fn rule(&self, rule: Rule) -> Option<&Table> {
        self.table.table("norms")?.table(rule.name())
    }
}

/// The number of the base among the sites.
const BASE: usize = 0;

/// What is wrong with a rule in a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    /// Where it is told, unless that is the layer.
    at: Option<(usize, String)>,
    key: &'static str,
    text: String,
}

/// Checks norms against the document that they were read from; `calendars` are there by these names, if that is known.
pub(crate) fn check(
    reader: &mut Reader<'_>,
    root: &Table,
    norms: &Norms,
    calendars: Option<&BTreeMap<String, (String, usize)>>,
) {
    let base = Override { layer: norms.base.clone(), ..Override::default() };
    let tables = root.list("overrides").iter().filter_map(Value::table);
    let mut sites = vec![Site { table: root, over: &base }];
    sites.extend(tables.zip(&norms.overrides).map(|(table, over)| Site { table, over }));
    references(reader, &sites, norms, calendars);
    for rule in Rule::ALL {
        completeness(reader, root, &sites, *rule);
        clocks(reader, &sites, *rule);
        purpose(reader, &sites, *rule, norms);
    }
    terms(reader, &sites);
    sampling(reader, &sites);
    if sites.iter().all(|site| site.over.layer.rules.is_empty()) {
        reader.note(root.line_of("norms"), "norms", "no rule is named: nothing is supervised");
    }
}

/// Names of calendars and pipelines.
fn references(
    reader: &mut Reader<'_>,
    sites: &[Site<'_>],
    norms: &Norms,
    calendars: Option<&BTreeMap<String, (String, usize)>>,
) {
    let calendars: Option<Vec<_>> = calendars.map(|calendars| calendars.keys().map(String::as_str).collect());
    let pipelines: Vec<_> = norms.pipelines.keys().map(|id| id.as_str()).collect();
    for site in sites {
        if let (Some(name), Some(known)) = (site.table.text("calendar"), &calendars)
            && !known.contains(&name)
        {
            let text = format!("there is no calendar `{name}`{}", meant(name, known));
            reader.problem(site.table.line_of("calendar"), site.table.path_of("calendar"), text);
        }
        let when = site.table.table("when");
        if let Some(when) = when.filter(|when| when.given().next().is_none()) {
            reader.note(when.line, &when.path, "no key is given: the override applies everywhere");
        }
        let terms = site.table.table("norms").and_then(|norms| norms.table("terms"));
        let rows = terms.into_iter().flat_map(|terms| terms.list("policies")).filter_map(Value::table);
        for table in when.into_iter().chain(rows) {
            if let Some(id) = table.text("pipeline").filter(|id| !pipelines.contains(id)) {
                let text = format!("there is no pipeline `{id}` among `pipelines`{}", meant(id, &pipelines));
                reader.note(table.line_of("pipeline"), table.path_of("pipeline"), text);
            }
        }
    }
}

fn meant(name: &str, known: &[&str]) -> String {
    nearest(name, known).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

/// Whether the rule has what it needs, and nothing that contradicts itself, in every place.
fn completeness(reader: &mut Reader<'_>, root: &Table, sites: &[Site<'_>], rule: Rule) {
    let named: Vec<usize> = (0..sites.len()).filter(|site| sites[*site].rule(rule).is_some()).collect();
    let base = named.first().filter(|site| **site == BASE).map(|_| 0);
    let mut alone: Vec<BTreeSet<Fault>> = Vec::new();
    for site in &named {
        let faults = faults(root, sites, rule, &named, sites[*site].over);
        let inherited = |fault: &Fault| base.is_some_and(|base| alone.get(base).is_some_and(|all| all.contains(fault)));
        for fault in faults.iter().filter(|fault| !inherited(fault)) {
            tell(reader, sites, rule, *site, fault, "");
        }
        alone.push(faults);
    }
    for (later, site) in named.iter().enumerate() {
        for (earlier, other) in named[..later].iter().enumerate().filter(|(_, other)| **other != BASE) {
            let Some(place) = meeting(sites[*other].over, sites[*site].over) else { continue };
            let line = sites[*other].rule(rule).map_or(0, |table| table.line);
            let addition = format!(" (where the override of line {line} applies too)");
            for fault in faults(root, sites, rule, &named, &place) {
                let arises =
                    [Some(earlier), Some(later), base].into_iter().flatten().all(|one| !alone[one].contains(&fault));
                if arises {
                    tell(reader, sites, rule, *site, &fault, &addition);
                }
            }
        }
    }
}

fn tell(reader: &mut Reader<'_>, sites: &[Site<'_>], rule: Rule, site: usize, fault: &Fault, addition: &str) {
    let Some(table) = sites[site].rule(rule) else { return };
    let (line, path) = fault.at.clone().unwrap_or((table.line_of(fault.key), table.path_of(fault.key)));
    reader.problem(line, path, format!("{}{addition}", fault.text));
}

/// Where both overrides apply; `None` if nowhere.
fn meeting(one: &Override, other: &Override) -> Option<Override> {
    let both = Override {
        tenant: one.tenant.clone().or(other.tenant.clone()),
        department: one.department.clone().or(other.department.clone()),
        pipeline: one.pipeline.clone().or(other.pipeline.clone()),
        source: one.source.clone().or(other.source.clone()),
        ..Override::default()
    };
    (implies(&both, one) && implies(&both, other)).then_some(both)
}

/// The rule as it is in force in `place`, and the layers that say something of it there.
fn in_force<'s>(sites: &'s [Site<'_>], rule: Rule, named: &[usize], place: &Override) -> (Params, Vec<&'s Table>) {
    let mut params = Params::default();
    let mut tables = Vec::new();
    for site in named.iter().map(|site| &sites[*site]).filter(|site| implies(place, site.over)) {
        if let Some(layer) = site.over.layer.rules.get(&rule) {
            params.merge(layer);
        }
        tables.extend(site.rule(rule));
    }
    (params, tables)
}

fn faults(root: &Table, sites: &[Site<'_>], rule: Rule, named: &[usize], place: &Override) -> BTreeSet<Fault> {
    let mut faults = BTreeSet::new();
    let (params, tables) = in_force(sites, rule, named, place);
    if params.enabled != Some(false) {
        let mut add = |key, text| faults.insert(Fault { at: None, key, text });
        let gives = |key: &str| tables.iter().any(|table| table.gives(key));
        for key in of(rule).filter(|key| key.need == Need::InForce && !gives(key.name)) {
            add(key.name, format!("this key is missing: {}", key.help));
        }
        let one_of: Vec<_> = of(rule).filter(|key| key.need == Need::OneInForce).map(|key| key.name).collect();
        if let Some(first) = one_of.first() {
            let names = one_of.join("` and `");
            // A layer that gives one takes back what those before it gave.
            let given = tables.iter().map(|table| one_of.iter().filter(|key| table.gives(key)).count());
            match given.rev().find(|count| *count > 0).unwrap_or(0) {
                0 => drop(add(first, format!("one of `{names}` is wanted"))),
                1 => {}
                _ => drop(add(first, format!("of `{names}` only one may be in force"))),
            }
        }
        if params.clock == Some(Clock::Business) {
            let steps = params.escalate_after.iter().flatten().copied().map(|step| ("escalate_after", step));
            let lengths = params.within.map(|length| ("within", length));
            let limit = params.at_most_lag.map(|length| ("at_most", length));
            for (key, length) in steps.chain(lengths).chain(limit).filter(|(_, length)| length.in_days) {
                add(key, format!("{} is in days, which a business clock does not have: write hours", length.span));
            }
        }
    }
    if rule == Rule::StageOverdue {
        faults.extend(stages_in_days(root, sites, named, place));
    }
    faults
}

/// Stages whose `max_time` is in days though `stage_overdue` counts business time in their pipeline.
fn stages_in_days(root: &Table, sites: &[Site<'_>], named: &[usize], place: &Override) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (id, pipeline) in root.map("pipelines") {
        if place.pipeline.as_ref().is_some_and(|pipeline| pipeline != id) {
            continue;
        }
        let place = Override { pipeline: Some(id.into()), ..place.clone() };
        let (params, _) = in_force(sites, Rule::StageOverdue, named, &place);
        if params.enabled == Some(false) || params.clock != Some(Clock::Business) {
            continue;
        }
        let stages = pipeline.table().map(|table| table.list("stages")).unwrap_or_default();
        for stage in stages.iter().filter_map(Value::table) {
            if let Some(time) = stage.length("max_time").filter(|time| time.in_days) {
                let text =
                    format!("{} is in days, though `stage_overdue` counts business time: write hours", time.span);
                let at = Some((stage.line_of("max_time"), stage.path_of("max_time")));
                faults.push(Fault { at, key: "clock", text });
            }
        }
    }
    faults
}

/// Business clocks without a calendar.
fn clocks(reader: &mut Reader<'_>, sites: &[Site<'_>], rule: Rule) {
    let named: Vec<usize> = (0..sites.len()).filter(|site| sites[*site].rule(rule).is_some()).collect();
    let mut inherited = false;
    for index in &named {
        let site = &sites[*index];
        let (params, _) = in_force(sites, rule, &named, site.over);
        let on = params.enabled != Some(false) && params.clock == Some(Clock::Business);
        let mut around = sites.iter().filter(|other| implies(site.over, other.over));
        let lacking = on && around.all(|other| other.over.layer.calendar.is_none());
        if let Some(table) = site.rule(rule).filter(|_| lacking && !inherited) {
            let text = "the clock is a business one, but no calendar is set here: wall time counts";
            reader.note(table.line_of("clock"), table.path_of("clock"), text);
        }
        inherited |= lacking && *index == BASE;
    }
}

/// Whether the terms rules have rows to go by wherever they are on.
fn terms(reader: &mut Reader<'_>, sites: &[Site<'_>]) {
    let shared = |site: &Site<'_>| site.table.table("norms")?.table("terms").cloned();
    for site in sites {
        let around = || sites.iter().filter(|other| implies(site.over, other.over));
        if around().filter_map(shared).any(|terms| terms.gives("policies")) {
            continue;
        }
        let on = |rule: &Rule| {
            let said = around().filter_map(|other| other.over.layer.rules.get(rule)?.enabled).next_back();
            site.over.layer.rules.contains_key(rule) && said != Some(false)
        };
        let on: Vec<_> = of_terms().filter(on).collect();
        if let Some(terms) = shared(site).filter(|_| !on.is_empty()) {
            let text = "this key is missing: without rows nothing is judged";
            reader.problem(terms.line, terms.path_of("policies"), text);
        } else if around().all(|other| shared(other).is_none()) {
            for rule in on.into_iter().filter_map(|rule| site.rule(rule)) {
                reader.problem(rule.line, &rule.path, "the rule is judged by `norms.terms`, which is missing");
            }
        }
    }
}

/// Whether it is known how many to pick wherever picking is spoken of.
fn sampling(reader: &mut Reader<'_>, sites: &[Site<'_>]) {
    for site in sites {
        let around = sites.iter().filter(|other| implies(site.over, other.over));
        let own = site.table.table("review_sampling");
        if let Some(own) = own.filter(|_| site.over.pipeline.is_some() || site.over.source.is_some()) {
            let text = "reviews are picked per manager: an override by pipeline or source never applies to them";
            reader.note(own.line, &own.path, text);
        }
        let known = around.filter_map(|other| other.table.table("review_sampling")).any(|table| table.gives("per_day"));
        if let Some(own) = own.filter(|_| !known) {
            reader.problem(own.line, own.path_of("per_day"), "this key is missing: how many to pick");
        }
    }
}

/// Rules that are on and can never hold.
fn purpose(reader: &mut Reader<'_>, sites: &[Site<'_>], rule: Rule, norms: &Norms) {
    let mut stages = norms.pipelines.values().flat_map(|pipeline| &pipeline.stages);
    let lacking = match rule {
        Rule::StageSkipped if !stages.any(|stage| stage.required) => "no stage is `required`",
        Rule::StageRequirementsUnmet
            if !stages.any(|stage| !stage.requires_fields.is_empty() || !stage.requires_activities.is_empty()) =>
        {
            "no stage `requires` anything"
        }
        Rule::StageReverted if stages.next().is_none() => "there is no pipeline",
        Rule::StageOverdue if !stages.any(|stage| stage.max_time.is_some()) => "no stage has a `max_time`",
        Rule::StuckEarly if !stages.any(|stage| stage.early && stage.max_time.is_some()) => {
            "no stage is `early` and has a `max_time`"
        }
        _ => "",
    };
    let on = |site: &&Site<'_>| site.rule(rule).is_some_and(|table| table.flag("enabled") != Some(false));
    if let Some(table) = sites.iter().find(on).and_then(|site| site.rule(rule)).filter(|_| !lacking.is_empty()) {
        reader.note(table.line, &table.path, format!("{lacking}: the rule never holds"));
    }
    for site in sites.iter().filter(|site| site.over.pipeline.is_some() || site.over.source.is_some()) {
        if let Some(table) = site.rule(rule).filter(|_| judges_managers(rule)) {
            let text = "the rule judges managers: an override by pipeline or source never applies to it";
            reader.note(table.line, &table.path, text);
        }
    }
}

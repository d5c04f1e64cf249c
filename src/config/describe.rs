//! Prints the norms in force in a scope as commented YAML, which can be parsed again together with its calendars.
//!
//! Shows the overrides that apply, the defaults applied by the rules, and names unknown to the norms. Never shows the
//! privacy key.

use super::schema::key::{Absent, KeySpec};
use super::schema::text::word;
use super::schema::typed::Typed;
use super::{keys, params, targets, worktime};
use crate::domain::id::UNKNOWN;
use crate::domain::norms::params::{Parameter, Params};
use crate::domain::norms::{Layer, Norms, Override, ScopeQuery, Stage, TermsPolicy};
use crate::domain::rule::{Rule, catalog};

/// The norms in force in the scope of `query`, as YAML.
pub fn describe(norms: &Norms, query: ScopeQuery<'_>) -> String {
    let layer = norms.layer(query);
    // Evaluation and sampling per manager are independent of pipeline and source.
    let of_manager = norms.layer(ScopeQuery { pipeline: None, source: None, ..query });
    let mut page = Page { norms, query, layer, of_manager, out: String::new() };
    page.line(&format!("# {}", heading(query)));
    remarks(norms, query).into_iter().for_each(|remark| page.line(&format!("# {remark}")));
    page.general();
    page.pipelines();
    page.rules();
    page.review_sampling();
    page.targets();
    page.out
}

/// The output so far, and what it is about.
struct Page<'a> {
    norms: &'a Norms,
    query: ScopeQuery<'a>,
    layer: Layer,
    of_manager: Layer,
    out: String,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn general(&mut self) {
        let Norms { calendars, windows, min_talk, country, privacy_key, .. } = self.norms;
        let Norms { conversation_needs_manager, shared_contact_limit, excluded_reasons, .. } = self.norms;
        let key = if privacy_key.is_some() { "set, not shown" } else { "the tenant's id" };
        self.line(&format!("# privacy_key: {key}"));
        self.line(&format!("default_country: {}", country.name()));
        match &self.layer.calendar {
            Some(name) => {
                let lines = calendars.get(name).map(|calendar| worktime::description(calendar)).unwrap_or_default();
                self.line(&format!("calendar: {}", word(name)));
                lines.into_iter().for_each(|text| self.line(&format!("  # {text}")));
            }
            None => self.line("# no calendar: business clocks count wall time"),
        }
        self.line(&format!("min_talk_seconds: {}", min_talk.seconds()));
        self.line(&format!("conversation_needs_manager: {conversation_needs_manager}"));
        let ignored = self.layer.ignored_contacts.as_ref().map(|contacts| contacts.entries()).unwrap_or_default();
        self.line(&format!("ignored_contacts: {}", ignored.show()));
        self.line(&format!("shared_contact_limit: {shared_contact_limit}"));
        self.line(&format!("excluded_reasons: {}", excluded_reasons.show()));
        self.line("windows:");
        for window in windows {
            self.line(&format!("  - {{size: {}, slide: {}}}", window.name(), window.slide));
        }
    }

    fn pipelines(&mut self) {
        let shown = |id: &str| self.query.pipeline.is_none_or(|pipeline| pipeline == id);
        let pipelines: Vec<_> = self.norms.pipelines.iter().filter(|(id, _)| shown(id.as_str())).collect();
        if !pipelines.is_empty() {
            self.line("pipelines:");
        }
        for (id, pipeline) in pipelines {
            self.line(&format!("  {}:\n    entity: {}\n    stages:", word(id.as_str()), pipeline.entity.name()));
            for each in &pipeline.stages {
                self.line(&format!("      - {}", stage(each)));
            }
        }
    }

    /// The parameters of a rule; `None` if it is off.
    fn on(&self, rule: Rule) -> Option<&Params> {
        let layer = if keys::is_window_rule(rule) { &self.of_manager } else { &self.layer };
        layer.rules.get(&rule).filter(|params| params.enabled != Some(false))
    }

    fn rules(&mut self) {
        self.line("norms:");
        let terms_on = keys::of_terms().any(|rule| self.on(rule).is_some());
        for rule in Rule::ALL {
            if let Some(params) = self.on(*rule) {
                let keys = rule_keys(self.norms, *rule, params);
                self.line(&format!("  # {}", catalog::definition(*rule).about[0]));
                self.line(&format!("  {}:{keys}", rule.name()));
            } else if terms_on && keys::of_terms().any(|other| other == *rule) {
                self.line(&format!("  {}: {{enabled: false}}", rule.name()));
            }
        }
        if let Some(terms) = self.layer.terms.clone().completed().filter(|_| terms_on) {
            self.line("  # the first matching row applies, omitted limits are not checked; amounts in minor units");
            self.line(&format!("  terms:\n    approvers: {}\n    policies:", terms.approvers.show()));
            for row in &terms.policies {
                self.line(&format!("      - {}", policy(row)));
            }
        }
        // It needs no norm: it is on for every target.
        let by_targets = |rule: Rule| {
            let norm = self.of_manager.rules.get(&rule);
            rule == Rule::TargetBehind
                && self.norms.has_targets()
                && norm.is_none_or(|norm| norm.enabled != Some(false))
        };
        let is_off = |rule: &&Rule| self.on(**rule).is_none() && !by_targets(**rule);
        let off: Vec<_> = Rule::ALL.iter().filter(is_off).map(|rule| rule.name()).collect();
        if !off.is_empty() {
            self.line(&format!("  # disabled: {}", off.join(", ")));
        }
    }

    fn review_sampling(&mut self) {
        if let Some(sampling) = self.of_manager.review_sampling.completed() {
            self.line("# conversations and messages sampled for review, per manager and day");
            let seconds = sampling.min_talk.seconds();
            self.line(&format!("review_sampling: {{per_day: {}, min_talk_seconds: {seconds}}}", sampling.per_day));
        }
    }
}

impl Page<'_> {
    fn targets(&mut self) {
        let targets = targets::show(&self.of_manager.targets);
        if !targets.is_empty() {
            self.line("# what is to be reached in a period; amounts in minor units");
            self.line("targets:");
            targets.iter().for_each(|target| self.line(&format!("  - {target}")));
        }
    }
}

/// The dimensions of a scope, with their values if set.
type Dimensions<'a> = [(&'static str, Option<&'a str>); 5];

fn dimensions_of(query: ScopeQuery<'_>) -> Dimensions<'_> {
    [
        ("tenant", Some(query.tenant).filter(|tenant| !tenant.is_empty())),
        ("department", Some(query.department).filter(|department| !department.is_empty())),
        ("manager", query.manager),
        ("pipeline", query.pipeline),
        ("source", query.source),
    ]
}

fn override_dimensions(over: &Override) -> Dimensions<'_> {
    [
        ("tenant", over.tenant.as_deref()),
        ("department", over.department.as_deref()),
        ("manager", over.manager.as_deref()),
        ("pipeline", over.pipeline.as_deref()),
        ("source", over.source.as_deref()),
    ]
}

/// A scope in words; empty if it is unrestricted.
fn scope_text(dimensions: Dimensions<'_>) -> String {
    let parts = dimensions.into_iter().filter_map(|(what, name)| Some(format!("{what} {}", word(name?))));
    parts.collect::<Vec<_>>().join(", ")
}

fn heading(query: ScopeQuery<'_>) -> String {
    match scope_text(dimensions_of(query)) {
        scope if scope.is_empty() => "norms in force where no override applies".into(),
        scope => format!("norms in force: {scope}"),
    }
}

/// The overrides that apply, and the names unknown to the norms: a misspelled name silently gets the general norms.
fn remarks(norms: &Norms, query: ScopeQuery<'_>) -> Vec<String> {
    let mut remarks = Vec::new();
    let applying =
        norms.overrides.iter().filter(|over| over.applies(query)).map(|over| scope_text(override_dimensions(over)));
    let applying: Vec<_> = applying.map(|scope| if scope.is_empty() { "everywhere".into() } else { scope }).collect();
    if !applying.is_empty() {
        remarks.push(format!("overrides that apply, later ones win: {}", applying.join("; ")));
    }
    for (index, (what, name)) in dimensions_of(query).into_iter().enumerate() {
        let Some(name) = name.filter(|name| *name != UNKNOWN) else { continue };
        if what == "pipeline" {
            if !norms.pipelines.keys().any(|known| known.as_str() == name) {
                remarks.push(format!("unknown pipeline {}: no stage is evaluated", word(name)));
            }
            continue;
        }
        // If no override restricts this dimension, every name is valid.
        let known: Vec<_> = norms.overrides.iter().filter_map(|over| override_dimensions(over)[index].1).collect();
        if !known.is_empty() && !known.contains(&name) {
            remarks.push(format!("no override refers to {what} {}", word(name)));
        }
    }
    remarks
}

fn stage(stage: &Stage) -> String {
    let mut parts = vec![format!("id: {}", word(stage.id.as_str()))];
    if stage.early {
        parts.push("early: true".into());
    }
    if stage.required {
        parts.push("required: true".into());
    }
    if stage.waiting {
        parts.push("waiting: true".into());
    }
    parts.extend(stage.max_time.map(|time| format!("max_time: {time}")));
    let mut requires = Vec::new();
    for (key, names) in [("fields", &stage.requires_fields), ("activities", &stage.requires_activities)] {
        if !names.is_empty() {
            requires.push(format!("{key}: {}", names.show()));
        }
    }
    if !requires.is_empty() {
        parts.push(format!("requires: {{{}}}", requires.join(", ")));
    }
    format!("{{{}}}", parts.join(", "))
}

fn policy(row: &TermsPolicy) -> String {
    let parts = [
        row.pipeline.as_ref().map(|id| format!("pipeline: {}", word(id.as_str()))),
        row.grade.as_ref().map(|grade| format!("grade: {}", word(grade))),
        row.amount_minor_below.map(|amount| format!("amount_minor_below: {amount}")),
        row.max_discount_percent.map(|percent| format!("max_discount_percent: {percent}")),
        row.max_installment_months.map(|months| format!("max_installment_months: {months}")),
        row.min_prepayment_percent.map(|percent| format!("min_prepayment_percent: {percent}")),
    ];
    format!("{{{}}}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// The keys of a rule with their values or the rule's defaults; keys common to all rules come last. On one line if they
/// fit.
fn rule_keys(norms: &Norms, rule: Rule, params: &Params) -> String {
    let (last, first): (Vec<_>, Vec<_>) =
        keys::parameters_of(rule).partition(|parameter| keys::COMMON.contains(parameter));
    let mut parts = Vec::new();
    for parameter in first.into_iter().chain(last).filter(|parameter| *parameter != Parameter::Enabled) {
        let Some(KeySpec { name, absent, .. }) = params::key(parameter) else { continue };
        let default = match (parameter, absent) {
            (_, Absent::RuleDefault(default)) => Some((*default).to_owned()),
            (Parameter::Window, _) => norms.windows.first().map(|window| window.name().into()),
            _ => None,
        };
        let value = params::show(params, parameter).or(default).filter(|value| value != "[]");
        parts.extend(value.map(|value| format!("{name}: {value}")));
    }
    let line = format!(" {{{}}}", parts.join(", "));
    if rule.name().len() + line.len() <= 115 {
        line
    } else {
        parts.iter().map(|part| format!("\n    {part}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::norms::parse_norms;
    use super::super::samples::EVERYTHING;
    use super::*;

    const BASE: ScopeQuery<'_> = ScopeQuery { tenant: "", department: "", manager: None, pipeline: None, source: None };
    const WEB: ScopeQuery<'_> =
        ScopeQuery { tenant: "acme", department: "north", manager: None, pipeline: Some("9"), source: Some("WEB") };

    fn norms(text: &str) -> Norms {
        parse_norms("norms.yaml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}")).norms
    }

    /// The text without the comment of each rule and without the names of disabled rules: both follow from the list of
    /// rules alone.
    fn without_remarks(text: &str) -> String {
        let mut text = text.to_owned();
        let mut off: Vec<&str> = Vec::new();
        for rule in Rule::ALL {
            let (name, about) = (rule.name(), catalog::definition(*rule).about[0]);
            if text.contains(&format!("  # {about}\n  {name}:")) {
                text = text.replacen(&format!("  # {about}\n"), "", 1);
            } else {
                off.push(name);
            }
        }
        text.replacen(&format!("  # disabled: {}\n", off.join(", ")), "  # disabled: ALL OTHERS\n", 1)
    }

    #[test]
    fn norms_in_force_are_shown_with_defaults() {
        assert_eq!(
            without_remarks(&describe(&norms(EVERYTHING), WEB)),
            r#"# norms in force: tenant acme, department north, pipeline "9", source WEB
# overrides that apply, later ones win: tenant acme; tenant acme, department north, pipeline "9", source WEB; tenant acme, department north
# privacy_key: set, not shown
default_country: KZ
calendar: round
  # mon 00:00-24:00 (UTC+00:00)
  # no years listed: holidays count as regular days
min_talk_seconds: 0.5
conversation_needs_manager: true
ignored_contacts: ["+79000000001", "@bot"]
shared_contact_limit: 5
excluded_reasons: [spam, "7"]
windows:
  - {size: 2h, slide: 1m}
  - {size: 7d, slide: 2h}
pipelines:
  "9":
    entity: deal
    stages:
      - {id: "C9:NEW", early: true, max_time: 90s}
      - {id: "142", required: true, requires: {fields: [budget, "7"], activities: [DEMO, NEEDS_ANALYSIS]}}
      - {id: last, waiting: true}
norms:
  first_response_late:
    within: 5m
    clock: business
    response: conversation
    from: assigned
    severity: info
    escalate_after: [15m, 2h]
  too_few_attempts: {within: 2d, clock: wall, attempts: 3, severity: warning}
  disqualified_without_reason:
    applies_to: [LOST, DISQUALIFIED]
    allowed_reasons: [no_budget, "12"]
    severity: warning
  disqualified_without_contact: {min_touches: 2, severity: warning}
  stage_skipped: {severity: warning}
  stage_requirements_unmet: {severity: warning}
  stage_reverted: {severity: critical}
  stage_overdue: {clock: wall, severity: warning, escalate_after: [1d]}
  next_step_missing: {within: 1d, clock: wall, entities: [lead, deal], severity: warning}
  next_step_overdue: {within: 30m, clock: business, severity: warning, escalate_after: [2h]}
  missed_call_not_returned: {within: 30m, clock: wall, min_ring: 1500ms, text_returns: true, severity: warning}
  message_unanswered: {within: 4h, clock: wall, channels: [SMS, EMAIL], quiet_after_close: 1d, severity: warning}
  discount_over_limit: {severity: critical}
  installment_not_allowed: {severity: critical}
  prepayment_too_low: {severity: info}
  conversion_low: {window: 7d, basis: closed, of_department: 0.5, min_sample: 20, severity: warning}
  response_slow: {window: 2h, quantile: 0.95, clock: business, at_most: 30m, min_sample: 1, severity: warning}
  quality_low: {window: 2h, at_least: 60, min_sample: 5, severity: warning}
  stuck_early: {window: 2h, at_most: 0.5, min_sample: 1, severity: warning}
  special_terms_frequent: {window: 2h, at_most: 1, min_sample: 10, severity: warning}
  target_behind: {severity: critical}
  source_silent: {within: 2h, clock: business, severity: warning}
  # the first matching row applies, omitted limits are not checked; amounts in minor units
  terms:
    approvers: [boss]
    policies:
      - {pipeline: "9", grade: senior, max_discount_percent: 12.5, max_installment_months: 6, min_prepayment_percent: 30}
      - {amount_minor_below: 10000000}
  # disabled: ALL OTHERS
# conversations and messages sampled for review, per manager and day
review_sampling: {per_day: 3, min_talk_seconds: 30}
# what is to be reached in a period; amounts in minor units
targets:
  - {id: calls, figure: calls_outbound, per: day, at_least: 10, of: manager, clock: wall, judge: false, judge_after: 0.25, tolerance: 0, from: "2026-03-10", severity: info, escalate_after: [1d]}
"#
        );
    }

    #[test]
    fn the_output_can_be_parsed_again() {
        let calendars =
            &EVERYTHING[EVERYTHING.find("calendars:").expect("there")..EVERYTHING.find("pipelines:").expect("there")];
        // Overrides and the privacy key appear only in comments.
        let lines = |text: &str| Vec::from_iter(text.lines().filter(|line| !line.starts_with('#')).map(String::from));
        let partly = EVERYTHING.replace("prepayment_too_low: {severity: info}", "prepayment_too_low: {enabled: false}");
        for text in [EVERYTHING, &partly, "norms: {stage_skipped: {}}", ""] {
            for query in [BASE, WEB] {
                let norms = norms(text);
                let shown = describe(&norms, query);
                let again = self::norms(&format!("{calendars}{shown}"));
                assert_eq!(lines(&describe(&again, query)), lines(&shown));
                let (before, after) = (norms.scope(query).rules, again.scope(query).rules);
                assert!(before.keys().eq(after.keys()), "{before:?}\n{after:?}");
            }
        }
    }

    #[test]
    fn unknown_names_are_reported() {
        let text = "\
norms: {conversion_low: {at_least: 0.2}, neglected: {within: 2d}}
review_sampling: {per_day: 1}
overrides:
- when: {department: north}
  norms: {neglected: {within: 1d}}
- when: {pipeline: sales}
  norms: {conversion_low: {of_department: 0.5}}
  review_sampling: {per_day: 9}
- when: {}
- when: {manager: ann}
  norms: {neglected: {within: 3d}}
";
        let query = ScopeQuery {
            tenant: "acme",
            department: "nroth",
            manager: Some("nan"),
            pipeline: Some("sales"),
            source: Some("WEB"),
        };
        assert_eq!(
            without_remarks(&describe(&norms(text), query)),
            r#"# norms in force: tenant acme, department nroth, manager nan, pipeline sales, source WEB
# overrides that apply, later ones win: pipeline sales; everywhere
# no override refers to department nroth
# no override refers to manager nan
# unknown pipeline sales: no stage is evaluated
# privacy_key: the tenant's id
default_country: RU
# no calendar: business clocks count wall time
min_talk_seconds: 1
conversation_needs_manager: false
ignored_contacts: []
shared_contact_limit: 20
excluded_reasons: []
windows:
  - {size: 1h, slide: 1m}
  - {size: 24h, slide: 15m}
  - {size: 7d, slide: 2h}
  - {size: 30d, slide: 8h}
norms:
  neglected: {within: 2d, clock: wall, entities: [lead, deal], severity: warning}
  conversion_low: {window: 1h, basis: cohort, at_least: 0.2, min_sample: 1, severity: warning}
  # disabled: ALL OTHERS
# conversations and messages sampled for review, per manager and day
review_sampling: {per_day: 1, min_talk_seconds: 0}
"#
        );
    }
}

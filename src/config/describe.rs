//! Prints the norms in force in a scope as commented YAML, which can be parsed again together with its calendars.
//!
//! Shows the overrides that apply, the defaults applied by the rules, and names unknown to the norms. Never shows the
//! privacy key.

use super::key::{Absent, KeySpec, ValueKind};
use super::keys;
use super::worktime;
use crate::domain::event::{Channel, Outcome};
use crate::domain::id::UNKNOWN;
use crate::domain::norms::{Length, Norms, Override, Params, Pipeline, ScopeQuery, Stage, TermsPolicy};
use crate::domain::rule::Rule;
use crate::domain::rule::catalog;
use crate::domain::time::Span;
use compact_str::CompactString;
use std::fmt::Write as _;

/// The norms in force in the scope of `query`, as YAML.
pub fn describe(norms: &Norms, query: ScopeQuery<'_>) -> String {
    let layer = norms.layer(query);
    // Evaluation and sampling per manager are independent of pipeline and source.
    let of_manager = norms.layer(ScopeQuery { pipeline: None, source: None, ..query });
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("# {}", heading(query)));
    remarks(norms, query).into_iter().for_each(|remark| line(format!("# {remark}")));
    let key = if norms.privacy_key.is_some() { "set, not shown" } else { "the tenant's id" };
    line(format!("# privacy_key: {key}"));
    line(format!("default_country: {}", norms.country.name()));
    match &layer.calendar {
        Some(name) => {
            line(format!("calendar: {}", word(name)));
            let lines = norms.calendars.get(name).map(|calendar| worktime::description(calendar)).unwrap_or_default();
            lines.into_iter().for_each(|text| line(format!("  # {text}")));
        }
        None => line("# no calendar: business clocks count wall time".into()),
    }
    line(format!("min_talk_seconds: {}", norms.min_talk.seconds()));
    line("windows:".into());
    for window in &norms.windows {
        line(format!("  - {{size: {}, slide: {}}}", window.name(), window.slide));
    }
    let shown = |id: &str| query.pipeline.is_none_or(|pipeline| pipeline == id);
    let mut pipelines = norms.pipelines.iter().filter(|(id, _)| shown(id.as_str())).peekable();
    if pipelines.peek().is_some() {
        line("pipelines:".into());
    }
    for (id, pipeline) in pipelines {
        line(format!("  {}:\n    entity: {}\n    stages:", word(id.as_str()), entity(pipeline)));
        for each in &pipeline.stages {
            line(format!("      - {}", stage(each)));
        }
    }
    line("norms:".into());
    let on = |rule: &Rule| {
        let layer = if keys::is_window_rule(*rule) { &of_manager } else { &layer };
        layer.rules.get(rule).filter(|params| params.enabled != Some(false))
    };
    let terms_on = keys::of_terms().any(|rule| on(&rule).is_some());
    for rule in Rule::ALL {
        if let Some(params) = on(rule) {
            line(format!("  # {}", catalog::definition(*rule).about[0]));
            line(format!("  {}:{}", rule.name(), rule_keys(norms, *rule, params)));
        } else if terms_on && keys::of_terms().any(|other| other == *rule) {
            line(format!("  {}: {{enabled: false}}", rule.name()));
        }
    }
    if let Some(terms) = layer.terms.clone().completed().filter(|_| terms_on) {
        line("  # the first matching row applies, omitted limits are not checked; amounts in minor units".into());
        line(format!("  terms:\n    approvers: {}\n    policies:", words(&terms.approvers)));
        for row in &terms.policies {
            line(format!("      - {}", policy(row)));
        }
    }
    let off: Vec<_> = Rule::ALL.iter().filter(|rule| on(rule).is_none()).map(|rule| rule.name()).collect();
    if !off.is_empty() {
        line(format!("  # disabled: {}", off.join(", ")));
    }
    if let Some(sampling) = of_manager.review_sampling.completed() {
        line("# conversations and messages sampled for review, per manager and day".into());
        let seconds = sampling.min_talk.seconds();
        line(format!("review_sampling: {{per_day: {}, min_talk_seconds: {seconds}}}", sampling.per_day));
    }
    out
}

/// The dimensions of a scope, with their values if set.
type Dimensions<'a> = [(&'static str, Option<&'a str>); 4];

fn dimensions_of(query: ScopeQuery<'_>) -> Dimensions<'_> {
    [
        ("tenant", Some(query.tenant).filter(|tenant| !tenant.is_empty())),
        ("department", Some(query.department).filter(|department| !department.is_empty())),
        ("pipeline", query.pipeline),
        ("source", query.source),
    ]
}

fn override_dimensions(over: &Override) -> Dimensions<'_> {
    [
        ("tenant", over.tenant.as_deref()),
        ("department", over.department.as_deref()),
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

fn entity(pipeline: &Pipeline) -> &'static str {
    keys::ENTITIES.into_iter().find(|(_, kind)| *kind == pipeline.entity).map_or("", |(name, _)| name)
}

fn stage(stage: &Stage) -> String {
    let mut parts = vec![format!("id: {}", word(stage.id.as_str()))];
    if stage.early {
        parts.push("early: true".into());
    }
    if stage.required {
        parts.push("required: true".into());
    }
    parts.extend(stage.max_time.map(|time| format!("max_time: {}", length(time))));
    let mut requires = Vec::new();
    for (key, names) in [("fields", &stage.requires_fields), ("activities", &stage.requires_activities)] {
        if !names.is_empty() {
            requires.push(format!("{key}: {}", words(names)));
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
    const LAST: [&str; 2] = ["severity", "escalate_after"];
    let mut parts = Vec::new();
    let (last, first): (Vec<&KeySpec>, Vec<&KeySpec>) =
        keys::of_rule(rule).filter(|key| key.name != "enabled").partition(|key| LAST.contains(&key.name));
    for key in first.into_iter().chain(last) {
        let default = match key.absent {
            Absent::RuleDefault(default) => Some(default.to_owned()),
            _ if key.name == "window" => norms.windows.first().map(|window| window.name().into()),
            _ => None,
        };
        let is_duration = matches!(key.kind, ValueKind::Length);
        let value = value(params, key.name, is_duration).or(default).filter(|value| value != "[]");
        parts.extend(value.map(|value| format!("{}: {value}", key.name)));
    }
    let line = format!(" {{{}}}", parts.join(", "));
    if rule.name().len() + line.len() <= 115 {
        line
    } else {
        parts.iter().map(|part| format!("\n    {part}")).collect()
    }
}

/// The value of a rule's key in document syntax; `is_duration` distinguishes the two kinds of `at_most`.
fn value(params: &Params, key: &str, is_duration: bool) -> Option<String> {
    let names = |names: Vec<&str>| format!("[{}]", names.join(", "));
    match key {
        "severity" => params.severity.map(|severity| severity.name().into()),
        "escalate_after" => params.escalate_after.as_ref().map(|steps| {
            let steps: Vec<_> = steps.iter().copied().map(length).collect();
            format!("[{}]", steps.join(", "))
        }),
        "within" => params.within.map(length),
        "clock" => params.clock.map(|clock| clock.name().into()),
        "response" => params.response.map(|response| response.name().into()),
        "attempts" => params.attempts.map(|count| count.to_string()),
        "entities" => params.entities.as_ref().map(|entities| {
            names(
                keys::ENTITIES.into_iter().filter(|(_, kind)| entities.contains(kind)).map(|(name, _)| name).collect(),
            )
        }),
        "applies_to" => params.applies_to.as_ref().map(|all| names(all.iter().copied().map(Outcome::name).collect())),
        "allowed_reasons" => params.allowed_reasons.as_ref().map(|reasons| words(reasons)),
        "min_touches" => params.min_touches.map(|count| count.to_string()),
        "channels" => params.channels.as_ref().map(|all| names(all.iter().copied().map(Channel::name).collect())),
        "window" => params.window.map(|size| size.to_string()),
        "basis" => params.basis.map(|basis| basis.name().into()),
        "at_least" => params.at_least.map(|number| number.to_string()),
        "of_department" => params.of_department.map(|number| number.to_string()),
        "at_most" if is_duration => params.at_most_lag.map(length),
        "at_most" => params.at_most.map(|number| number.to_string()),
        "quantile" => params.quantile.map(|number| number.to_string()),
        "min_sample" => params.min_sample.map(|count| count.to_string()),
        _ => None,
    }
}

/// A duration in document syntax; in days only if it was written in days.
fn length(length: Length) -> String {
    let Length { span, in_days } = length;
    let unit = [(Span::DAY, "d"), (Span::HOUR, "h"), (Span::MINUTE, "m"), (Span::SECOND, "s")]
        .into_iter()
        .find(|(unit, name)| span.0 % unit.0 == 0 && (*name != "d" || in_days));
    unit.map_or_else(|| span.to_string(), |(unit, name)| format!("{}{name}", span.0 / unit.0))
}

fn words(all: &[CompactString]) -> String {
    format!("[{}]", all.iter().map(|text| word(text)).collect::<Vec<_>>().join(", "))
}

/// A string as YAML, quoted unless it is unambiguous.
fn word(text: &str) -> String {
    let plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.into() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::norms::parse_norms;
    use super::super::samples::EVERYTHING;
    use super::*;

    const BASE: ScopeQuery<'_> = ScopeQuery { tenant: "", department: "", pipeline: None, source: None };
    const WEB: ScopeQuery<'_> =
        ScopeQuery { tenant: "acme", department: "north", pipeline: Some("9"), source: Some("WEB") };

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
# overrides that apply, later ones win: tenant acme; tenant acme, department north, pipeline "9", source WEB
# privacy_key: set, not shown
default_country: KZ
calendar: round
  # mon 00:00-24:00 (UTC+00:00)
  # no years listed: holidays count as regular days
min_talk_seconds: 0.5
windows:
  - {size: 2h, slide: 1m}
  - {size: 7d, slide: 2h}
pipelines:
  "9":
    entity: deal
    stages:
      - {id: "C9:NEW", early: true, max_time: 90s}
      - {id: "142", required: true, requires: {fields: [budget, "7"], activities: [DEMO, NEEDS_ANALYSIS]}}
      - {id: last}
norms:
  first_response_late:
    within: 5m
    clock: business
    response: conversation
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
  missed_call_not_returned: {within: 30m, clock: wall, severity: warning}
  message_unanswered: {within: 4h, clock: wall, channels: [SMS, EMAIL], severity: warning}
  discount_over_limit: {severity: critical}
  installment_not_allowed: {severity: critical}
  prepayment_too_low: {severity: info}
  conversion_low: {window: 7d, basis: closed, of_department: 0.5, min_sample: 20, severity: warning}
  response_slow: {window: 2h, quantile: 0.95, clock: business, at_most: 30m, min_sample: 1, severity: warning}
  quality_low: {window: 2h, at_least: 60, min_sample: 5, severity: warning}
  stuck_early: {window: 2h, at_most: 0.5, min_sample: 1, severity: warning}
  special_terms_frequent: {window: 2h, at_most: 1, min_sample: 10, severity: warning}
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
";
        let query = ScopeQuery { tenant: "acme", department: "nroth", pipeline: Some("sales"), source: Some("WEB") };
        assert_eq!(
            without_remarks(&describe(&norms(text), query)),
            r#"# norms in force: tenant acme, department nroth, pipeline sales, source WEB
# overrides that apply, later ones win: pipeline sales; everywhere
# no override refers to department nroth
# unknown pipeline sales: no stage is evaluated
# privacy_key: the tenant's id
default_country: RU
# no calendar: business clocks count wall time
min_talk_seconds: 1
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

    #[test]
    fn durations_keep_their_unit() {
        let day = |in_days| length(Length { span: Span::DAY, in_days });
        assert_eq!((day(true), day(false)), ("1d".into(), "24h".into()));
    }

    #[test]
    fn ambiguous_strings_are_quoted() {
        for (text, shown) in [("WEB", "WEB"), ("no", "\"no\""), ("1", "\"1\""), ("a: b", "\"a: b\""), ("ж", "\"ж\"")]
        {
            assert_eq!(word(text), shown);
        }
    }
}

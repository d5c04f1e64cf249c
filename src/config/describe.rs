//! Owns showing norms: what is in force in a place, as YAML that can be read again beside its calendars. Promises to
//! say the defaults that rules fill in themselves, and never to show the privacy key.

use super::key::{Absent, Kind};
use super::keys::{self, TERMS_RULES};
use crate::domain::event::{Channel, Outcome};
use crate::domain::identity::Country;
use crate::domain::norms::{Length, Norms, Params, Pipeline, Place, Stage, TermsPolicy};
use crate::domain::rule::Rule;
use crate::domain::time::Span;
use compact_str::CompactString;
use std::fmt::Write as _;

/// The norms in force in `place`, as YAML.
pub fn describe(norms: &Norms, place: Place<'_>) -> String {
    let layer = norms.layer(place);
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("# {}", heading(place)));
    let key = if norms.privacy_key.is_some() { "set, not shown" } else { "the tenant's id" };
    line(format!("# privacy_key: {key}"));
    if let Some(code) = keys::COUNTRIES.into_iter().find(|code| Country::from_code(code) == Some(norms.country)) {
        line(format!("default_country: {code}"));
    }
    if let Some(calendar) = &layer.calendar {
        line(format!("calendar: {}", word(calendar)));
    }
    line(format!("min_talk_seconds: {}", norms.min_talk.seconds()));
    line("windows:".into());
    for window in &norms.windows {
        line(format!("  - {{size: {}, slide: {}}}", window.name(), window.slide));
    }
    let shown = |id: &str| place.pipeline.is_none_or(|pipeline| pipeline == id);
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
    let on = |rule: &Rule| layer.rules.get(rule).filter(|params| params.enabled != Some(false));
    let judged = TERMS_RULES.iter().any(|rule| on(rule).is_some());
    for rule in Rule::ALL {
        if let Some(params) = on(rule) {
            line(format!("  {}: {}", rule.name(), rule_keys(norms, *rule, params)));
        } else if judged && TERMS_RULES.contains(rule) {
            line(format!("  {}: {{enabled: false}}", rule.name()));
        }
    }
    if let Some(terms) = layer.terms.completed().filter(|_| judged) {
        line(format!("  terms:\n    approvers: {}\n    policies:", words(&terms.approvers)));
        for row in &terms.policies {
            line(format!("      - {}", policy(row)));
        }
    }
    let off: Vec<_> = Rule::ALL.iter().filter(|rule| on(rule).is_none()).map(|rule| rule.name()).collect();
    if !off.is_empty() {
        line(format!("  # off: {}", off.join(", ")));
    }
    if let Some(sampling) = layer.review_sampling.completed() {
        let seconds = sampling.min_talk.seconds();
        line(format!("review_sampling: {{per_day: {}, min_talk_seconds: {seconds}}}", sampling.per_day));
    }
    out
}

fn heading(place: Place<'_>) -> String {
    let mut parts = Vec::new();
    let names = [
        ("tenant", Some(place.tenant).filter(|tenant| !tenant.is_empty())),
        ("department", Some(place.department).filter(|department| !department.is_empty())),
        ("pipeline", place.pipeline),
        ("source", place.source),
    ];
    for (what, name) in names {
        parts.extend(name.map(|name| format!("{what} {}", word(name))));
    }
    if parts.is_empty() {
        "norms in force where no override applies".into()
    } else {
        format!("norms in force: {}", parts.join(", "))
    }
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

/// The keys of a rule with their values, or with the defaults that the rule fills in.
fn rule_keys(norms: &Norms, rule: Rule, params: &Params) -> String {
    let mut parts = Vec::new();
    for key in keys::of(rule).filter(|key| key.name != "enabled") {
        let default = match key.absent {
            Absent::Known(default) => Some(default.to_owned()),
            _ if key.name == "window" => norms.windows.first().map(|window| window.name().into()),
            _ => None,
        };
        let lag = matches!(key.kind, Kind::Length);
        let value = value(params, key.name, lag).or(default).filter(|value| value != "[]");
        parts.extend(value.map(|value| format!("{}: {value}", key.name)));
    }
    format!("{{{}}}", parts.join(", "))
}

/// A key of a rule as one would write it; `lag` tells the two kinds of `at_most` from each other.
fn value(params: &Params, key: &str, lag: bool) -> Option<String> {
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
        "basis" => keys::BASES.into_iter().find(|(_, basis)| Some(*basis) == params.basis).map(|(name, _)| name.into()),
        "at_least" => params.at_least.map(|number| number.to_string()),
        "of_department" => params.of_department.map(|number| number.to_string()),
        "at_most" if lag => params.at_most_lag.map(length),
        "at_most" => params.at_most.map(|number| number.to_string()),
        "quantile" => params.quantile.map(|number| number.to_string()),
        "min_sample" => params.min_sample.map(|count| count.to_string()),
        _ => None,
    }
}

/// A length as one would write it: in days only if it was.
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

/// Text as YAML: in quotes unless it can be nothing else.
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

    const BASE: Place<'_> = Place { tenant: "", department: "", pipeline: None, source: None };
    const WEB: Place<'_> = Place { tenant: "acme", department: "north", pipeline: Some("9"), source: Some("WEB") };

    fn norms(text: &str) -> Norms {
        parse_norms("norms.yaml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}")).norms
    }

    #[test]
    fn what_is_in_force_is_shown_with_its_defaults() {
        assert_eq!(
            describe(&norms(EVERYTHING), WEB),
            r#"# norms in force: tenant acme, department north, pipeline "9", source WEB
# privacy_key: set, not shown
default_country: KZ
calendar: round
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
  first_response_late: {severity: info, escalate_after: [15m, 2h], within: 5m, clock: business, response: conversation}
  too_few_attempts: {severity: warning, within: 2d, clock: wall, attempts: 3}
  disqualified_without_reason: {severity: warning, applies_to: [LOST, DISQUALIFIED], allowed_reasons: [no_budget, "12"]}
  disqualified_without_contact: {severity: warning, min_touches: 2}
  stage_skipped: {severity: warning}
  stage_requirements_unmet: {severity: warning}
  stage_reverted: {severity: critical}
  stage_overdue: {severity: warning, escalate_after: [1d], clock: wall}
  missed_call_not_returned: {severity: warning, within: 30m, clock: wall}
  message_unanswered: {severity: warning, within: 4h, clock: wall, channels: [SMS, EMAIL]}
  discount_over_limit: {severity: critical}
  installment_not_allowed: {severity: critical}
  prepayment_too_low: {severity: info}
  conversion_low: {severity: warning, window: 7d, basis: closed, of_department: 0.5, min_sample: 20}
  response_slow: {severity: warning, window: 2h, quantile: 0.95, clock: business, at_most: 30m, min_sample: 1}
  quality_low: {severity: warning, window: 2h, at_least: 60, min_sample: 5}
  stuck_early: {severity: warning, window: 2h, at_most: 0.5, min_sample: 1}
  special_terms_frequent: {severity: warning, window: 2h, at_most: 1, min_sample: 10}
  source_silent: {severity: warning, within: 2h, clock: business}
  terms:
    approvers: [boss]
    policies:
      - {pipeline: "9", grade: senior, max_discount_percent: 12.5, max_installment_months: 6, min_prepayment_percent: 30}
      - {amount_minor_below: 10000000}
  # off: neglected
review_sampling: {per_day: 3, min_talk_seconds: 30}
"#
        );
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let calendars = "calendars:\n  almaty: {timezone: Asia/Almaty, week: {mon: [\"09:00-18:00\"]}}\n  \
                         round: {timezone: UTC, week: {mon: [\"00:00-24:00\"]}}\nprivacy_key: secret\n";
        let partly = EVERYTHING.replace("prepayment_too_low: {severity: info}", "prepayment_too_low: {enabled: false}");
        for text in [EVERYTHING, &partly, "norms: {stage_skipped: {}}", ""] {
            for place in [BASE, WEB] {
                let norms = norms(text);
                let shown = describe(&norms, place);
                let again = self::norms(&format!("{calendars}{shown}"));
                let key = |text: String| text.replace("the tenant's id", "set, not shown");
                assert_eq!(key(describe(&again, place)), key(shown));
                let (was, is) = (norms.scope(place).rules, again.scope(place).rules);
                assert!(was.keys().eq(is.keys()), "{was:?}\n{is:?}");
            }
        }
    }

    #[test]
    fn hours_stay_hours() {
        let day = |in_days| length(Length { span: Span::DAY, in_days });
        assert_eq!((day(true), day(false)), ("1d".into(), "24h".into()));
    }

    #[test]
    fn words_are_quoted_where_they_could_be_something_else() {
        for (text, shown) in [("WEB", "WEB"), ("no", "\"no\""), ("1", "\"1\""), ("a: b", "\"a: b\""), ("ж", "\"ж\"")]
        {
            assert_eq!(word(text), shown);
        }
    }
}

//! Declares all keys of the norms document: kind of value, default and help text.
//!
//! A rule accepts only the keys of the parameters that its definition takes; a key in the wrong rule is an error. No
//! rule is named here: the list of rules is in [`crate::domain::rule`].

use super::key::{ANY, Form, KeySpec, ValueKind};
use crate::domain::alert::Severity;
use crate::domain::event::{Channel, Outcome};
use crate::domain::id::EntityKind;
use crate::domain::norms::{Basis, Clock, Response};
use crate::domain::rule::Rule;
use crate::domain::rule::catalog;
use crate::domain::rule::definition::{Evaluation, Parameter};
use crate::domain::time::Span;
use crate::domain::time::calendar::{Calendar, Hours};
use std::collections::{BTreeMap, BTreeSet};

/// The entities that can move through a pipeline.
pub(crate) const ENTITIES: [(&str, EntityKind); 2] = [("lead", EntityKind::Lead), ("deal", EntityKind::Deal)];
/// The outcomes that can require a reason.
pub(crate) const ENDINGS: [Outcome; 2] = [Outcome::Disqualified, Outcome::Lost];
/// The countries whose national phone number formats are recognized.
pub(crate) const COUNTRIES: [&str; 2] = ["RU", "KZ"];
/// The days of the week, in the order of [`crate::domain::time::calendar::Calendar`].
pub(crate) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Kinds of completed activities, as spelled in events.
const ACTIVITIES: [&str; 7] = ["MEETING", "DEMO", "PROPOSAL", "INVOICE", "TASK", "NEEDS_ANALYSIS", "OTHER"];

const HOURS: Form = Form {
    expected: "an interval such as 09:00-18:00",
    fits: |text| Hours::parse(text).is_some(),
    pattern: "^[0-2][0-9]:[0-5][0-9] *- *[0-2][0-9]:[0-5][0-9]$",
};
const DATE: Form = Form {
    expected: "a date such as 2026-01-31",
    fits: |text| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
    pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
};
const ZONE: Form = Form {
    expected: "an IANA time zone such as Europe/Moscow",
    fits: |text| Calendar::new("", text, Default::default(), BTreeMap::new(), BTreeSet::new()).is_ok(),
    pattern: "",
};

const SHARE: ValueKind = ValueKind::Number(0.0, 1.0);
const PERCENT: ValueKind = ValueKind::Number(0.0, 100.0);
const TEXTS: ValueKind = ValueKind::List(&ValueKind::Text, 0);
const DAY_HOURS: ValueKind = ValueKind::List(&ValueKind::Form(HOURS), 0);

/// The keys of a file included by the norms document.
pub(crate) const INCLUDED: &[KeySpec] = &[KeySpec::new(
    "calendars",
    ValueKind::Map(ANY, &ValueKind::Table(&[CALENDAR])),
    "working-time calendars, by name",
)];

/// The norms document.
pub(crate) const NORMS: &[KeySpec] = &[
    KeySpec::new("include", TEXTS, "files that contain only `calendars`, relative to this file"),
    INCLUDED[0],
    KeySpec::new(
        "pipelines",
        ValueKind::Map(ANY, &ValueKind::Table(&[PIPELINE])),
        "pipelines and their stages, by CRM id",
    ),
    CALENDAR_NAME.described("none: every clock counts wall time"),
    KeySpec::new(
        "min_talk_seconds",
        ValueKind::Number(0.0, 3600.0),
        "minimum talk time for an answered call to count as a conversation",
    )
    .default("1"),
    KeySpec::new(
        "windows",
        ValueKind::List(&ValueKind::Table(&[WINDOW]), 1),
        "the sliding windows of figures and window rules",
    )
    .default("[{size: 1h, slide: 1m}, {size: 24h, slide: 15m}, {size: 7d, slide: 2h}, {size: 30d, slide: 8h}]"),
    KeySpec::new("norms", ValueKind::Table(&[RULES]), "the enabled rules; a rule that is not listed is off"),
    REVIEW_SAMPLING,
    KeySpec::new(
        "overrides",
        ValueKind::List(&ValueKind::Table(&[OVERRIDE]), 0),
        "overrides for parts of the organization, merged in order: later ones win, key by key within a rule",
    ),
    KeySpec::new(
        "default_country",
        ValueKind::Name(|| COUNTRIES.to_vec()),
        "the country whose national phone number formats are recognized",
    )
    .default("RU"),
    KeySpec::new(
        "privacy_key",
        ValueKind::Secret,
        "key of the hash that replaces phone numbers and addresses in alerts",
    )
    .described("the tenant's id"),
    KeySpec::new("language", ValueKind::Name(|| vec!["en", "ru"]), "the language of alert messages").default("en"),
];

const CALENDAR_NAME: KeySpec =
    KeySpec::new("calendar", ValueKind::Text, "the calendar for business clocks, one of `calendars`");

const REVIEW_SAMPLING: KeySpec = KeySpec::new(
    "review_sampling",
    ValueKind::Table(&[SAMPLING]),
    "random sampling of conversations and sent messages for review",
);

pub(crate) const CALENDAR: &[KeySpec] = &[
    KeySpec::new("timezone", ValueKind::Form(ZONE), "the IANA time zone of the working hours").required(),
    KeySpec::new("week", ValueKind::Table(&[WEEK]), "working hours of a regular week; an omitted day is a day off")
        .required(),
    KeySpec::new(
        "days",
        ValueKind::Map(DATE, &DAY_HOURS),
        "exceptions by date: `[]` is a day off, fewer hours make a short day, hours on a weekend make it a working day",
    ),
    KeySpec::new(
        "years",
        ValueKind::List(&ValueKind::Count(1900, 2199), 0),
        "the years whose exceptions are listed; other years use the regular week, with one warning each",
    ),
];

pub(crate) const WEEK: &[KeySpec] = &[
    KeySpec::new("mon", DAY_HOURS, "Monday"),
    KeySpec::new("tue", DAY_HOURS, "Tuesday"),
    KeySpec::new("wed", DAY_HOURS, "Wednesday"),
    KeySpec::new("thu", DAY_HOURS, "Thursday"),
    KeySpec::new("fri", DAY_HOURS, "Friday"),
    KeySpec::new("sat", DAY_HOURS, "Saturday"),
    KeySpec::new("sun", DAY_HOURS, "Sunday"),
];

pub(crate) const PIPELINE: &[KeySpec] = &[
    KeySpec::new(
        "entity",
        ValueKind::Name(|| ENTITIES.map(|(name, _)| name).to_vec()),
        "the entity that moves through it",
    )
    .required(),
    KeySpec::new("stages", ValueKind::List(&ValueKind::Table(&[STAGE]), 1), "the stages, in order").required(),
];

pub(crate) const STAGE: &[KeySpec] = &[
    KeySpec::new("id", ValueKind::Text, "the CRM id of the stage").required(),
    KeySpec::new("early", ValueKind::Flag, "counts as early, see `stuck_early`").default("false"),
    KeySpec::new("required", ValueKind::Flag, "must be visited before any later stage, see `stage_skipped`")
        .default("false"),
    KeySpec::new("max_time", ValueKind::Length, "the maximum time in the stage, see `stage_overdue`")
        .described("no limit"),
    KeySpec::new(
        "requires",
        ValueKind::Table(&[REQUIRES]),
        "requirements for entering the stage, see `stage_requirements_unmet`",
    ),
];

pub(crate) const REQUIRES: &[KeySpec] = &[
    KeySpec::new("fields", TEXTS, "CRM fields that must be filled in"),
    KeySpec::new(
        "activities",
        ValueKind::List(&ValueKind::Name(|| ACTIVITIES.to_vec()), 0),
        "types of activities that must be completed",
    ),
];

pub(crate) const WINDOW: &[KeySpec] = &[
    KeySpec::new("size", ValueKind::Length, "the length of the window").required(),
    KeySpec::new(
        "slide",
        ValueKind::Length,
        "how often it advances; `size` must be a multiple of it, at most 10000 times",
    )
    .required(),
];

const ENABLED: KeySpec = KeySpec::new("enabled", ValueKind::Flag, "`false` disables the rule").rule_default("true");
const SEVERITY: KeySpec = KeySpec::new(
    "severity",
    ValueKind::Name(|| Severity::ALL.map(Severity::name).to_vec()),
    "the severity of a violation; each escalation raises it by one level",
)
.rule_default("warning");
const ESCALATE_AFTER: KeySpec = KeySpec::new(
    "escalate_after",
    ValueKind::List(&ValueKind::Length, 0),
    "escalation times in ascending order, measured from the deadline on the rule's clock",
)
.rule_default("[]");

/// The keys of every rule.
pub(crate) const COMMON: &[KeySpec] = &[ENABLED, SEVERITY, ESCALATE_AFTER];

/// The common keys of the rules that are configured by `terms`.
const OF_TERMS: &[KeySpec] = &[ENABLED, SEVERITY];

/// The keys of a parameter.
pub(crate) const fn keys(parameter: Parameter) -> &'static [KeySpec] {
    match parameter {
        Parameter::Within => {
            const {
                &[KeySpec::new(
                    "within",
                    ValueKind::Length,
                    "the deadline, measured from the anchor on the rule's clock",
                )
                .in_force()]
            }
        }
        Parameter::Clock => {
            const {
                &[KeySpec::new(
                    "clock",
                    ValueKind::Name(|| Clock::ALL.map(Clock::name).to_vec()),
                    "which time counts: all time or working time; days (`d`) require a wall clock",
                )
                .rule_default("wall")]
            }
        }
        Parameter::Response => {
            const {
                &[KeySpec::new(
                    "response",
                    ValueKind::Name(|| Response::ALL.map(Response::name).to_vec()),
                    "what counts as a response: any touch, or two-way contact",
                )
                .rule_default("attempt")]
            }
        }
        Parameter::Attempts => {
            const { &[KeySpec::new("attempts", ValueKind::Count(1, 1000), "number of touches required").in_force()] }
        }
        Parameter::Entities => {
            const {
                &[KeySpec::new(
                    "entities",
                    ValueKind::List(&ValueKind::Name(|| ENTITIES.map(|(name, _)| name).to_vec()), 1),
                    "which entities the rule applies to",
                )
                .rule_default("[lead, deal]")]
            }
        }
        Parameter::AppliesTo => {
            const {
                &[KeySpec::new(
                    "applies_to",
                    ValueKind::List(&ValueKind::Name(|| ENDINGS.map(Outcome::name).to_vec()), 1),
                    "which outcomes require a reason",
                )
                .rule_default("[DISQUALIFIED]")]
            }
        }
        Parameter::AllowedReasons => {
            const { &[KeySpec::new("allowed_reasons", TEXTS, "which reasons are accepted").described("any reason")] }
        }
        Parameter::MinTouches => {
            const {
                &[KeySpec::new("min_touches", ValueKind::Count(1, 1000), "number of touches required before closing")
                    .rule_default("1")]
            }
        }
        Parameter::Channels => {
            const {
                &[KeySpec::new(
                    "channels",
                    ValueKind::List(&ValueKind::Name(|| Channel::ALL.map(Channel::name).to_vec()), 1),
                    "which channels the rule applies to",
                )
                .rule_default("[EMAIL, CHAT, SMS, MESSENGER]")]
            }
        }
        Parameter::Window => {
            const {
                &[KeySpec::new("window", ValueKind::Length, "the size of the evaluated window")
                    .described("the first of `windows`")]
            }
        }
        Parameter::Basis => {
            const {
                &[KeySpec::new(
                    "basis",
                    ValueKind::Name(|| Basis::ALL.map(Basis::name).to_vec()),
                    "measured over the leads created in the window, or over those closed in it",
                )
                .rule_default("cohort")]
            }
        }
        Parameter::Share => {
            const {
                &[
                    KeySpec::new("at_least", SHARE, "the minimum share of leads that a manager converts")
                        .one_in_force(),
                    KeySpec::new("of_department", SHARE, "the same, as a fraction of the department's share")
                        .one_in_force(),
                ]
            }
        }
        Parameter::Score => const { &[KeySpec::new("at_least", PERCENT, "the minimum mean score").in_force()] },
        Parameter::AtMostLag => const { &[KeySpec::new("at_most", ValueKind::Length, "the maximum lag").in_force()] },
        Parameter::AtMost => const { &[KeySpec::new("at_most", SHARE, "the maximum share").in_force()] },
        Parameter::Quantile => {
            const {
                &[KeySpec::new("quantile", ValueKind::Between(0.0, 1.0), "the quantile of the lags that is evaluated")
                    .rule_default("0.9")]
            }
        }
        Parameter::MinSample => {
            const {
                &[KeySpec::new(
                    "min_sample",
                    ValueKind::Count(1, i64::MAX),
                    "the minimum sample size; smaller samples are not evaluated",
                )
                .rule_default("1")]
            }
        }
        // Declared in the separate `terms` table.
        Parameter::Terms => &[],
    }
}

/// Capacity for the common keys and the parameters of a rule.
const MAX_PARTS: usize = 12;

/// The parts of every rule's table, in the order of [`Rule::ALL`].
const PARTS: &[[&[KeySpec]; MAX_PARTS]; Rule::ALL.len()] = &{
    let mut all = [[&[] as &[KeySpec]; MAX_PARTS]; Rule::ALL.len()];
    let mut rule = 0;
    while rule < all.len() {
        let takes = catalog::definition(Rule::ALL[rule]).takes;
        all[rule][0] = COMMON;
        let mut part = 0;
        while part < takes.len() {
            if matches!(takes[part], Parameter::Terms) {
                all[rule][0] = OF_TERMS;
            }
            all[rule][part + 1] = keys(takes[part]);
            part += 1;
        }
        rule += 1;
    }
    all
};

/// The keys of all rules, in the order of [`Rule::ALL`], and `terms`.
pub(crate) const RULES: &[KeySpec] = &{
    let about = "which special terms are allowed; enables all rules that check them";
    let mut all = [KeySpec::new("terms", ValueKind::Table(&[TERMS]), about); Rule::ALL.len() + 1];
    let mut index = 0;
    while index < PARTS.len() {
        let rule = Rule::ALL[index];
        all[index] = KeySpec::new(rule.name(), ValueKind::Table(&PARTS[index]), catalog::definition(rule).about[0]);
        index += 1;
    }
    all
};

pub(crate) const TERMS: &[KeySpec] = &[
    ENABLED,
    SEVERITY,
    KeySpec::new("approvers", TEXTS, "managers whose approval lifts the limits"),
    KeySpec::new("policies", ValueKind::List(&ValueKind::Table(&[POLICY]), 1), "the rows; the first match applies")
        .in_force(),
];

pub(crate) const POLICY: &[KeySpec] = &[
    KeySpec::new("pipeline", ValueKind::Text, "only deals in this pipeline").described("any"),
    KeySpec::new("grade", ValueKind::Text, "only managers of this grade").described("any"),
    KeySpec::new("amount_minor_below", ValueKind::Count(1, i64::MAX), "only deals below this amount, in minor units")
        .described("any"),
    KeySpec::new("max_discount_percent", PERCENT, "the maximum discount").described("not checked"),
    KeySpec::new("max_installment_months", ValueKind::Count(0, 1200), "the longest instalment plan")
        .described("not checked"),
    KeySpec::new("min_prepayment_percent", PERCENT, "the minimum prepayment").described("not checked"),
];

pub(crate) const SAMPLING: &[KeySpec] = &[
    KeySpec::new("per_day", ValueKind::Count(0, 10_000), "the number of samples per manager and day").in_force(),
    KeySpec::new("min_talk_seconds", ValueKind::Number(0.0, 86_400.0), "shorter conversations are not sampled")
        .rule_default("0"),
];

pub(crate) const OVERRIDE: &[KeySpec] = &[
    KeySpec::new("when", ValueKind::Table(&[WHEN]), "where the override applies: all keys that are set must match")
        .required(),
    CALENDAR_NAME.described("unchanged"),
    KeySpec::new("norms", ValueKind::Table(&[RULES]), "rule parameters that differ").described("unchanged"),
    REVIEW_SAMPLING.described("unchanged"),
];

pub(crate) const WHEN: &[KeySpec] = &[
    KeySpec::new("tenant", ValueKind::Text, "only this tenant").described("any"),
    KeySpec::new("department", ValueKind::Text, "only managers of this department").described("any"),
    KeySpec::new("pipeline", ValueKind::Text, "only leads and deals in this pipeline").described("any"),
    KeySpec::new("source_id", ValueKind::Text, "only leads from this source and their deals").described("any"),
];

/// Whether a rule evaluates managers, at slide boundaries.
pub(crate) fn is_window_rule(rule: Rule) -> bool {
    matches!(catalog::definition(rule).evaluation, Evaluation::Window(_))
}

/// Whether a rule is an act rule: acts have no duration, so their alerts never escalate.
pub(crate) fn is_act_rule(rule: Rule) -> bool {
    matches!(catalog::definition(rule).evaluation, Evaluation::Act(_))
}

/// The rules that `terms` configures.
pub(crate) fn of_terms() -> impl Iterator<Item = Rule> {
    Rule::ALL.iter().copied().filter(|rule| catalog::definition(*rule).takes.contains(&Parameter::Terms))
}

/// The maximum size of a window, in slides.
pub(crate) const MAX_PANES: i64 = 10_000;
/// The minimum slide of a window.
pub(crate) const MIN_SLIDE: Span = Span::SECOND;

/// The keys of a rule.
pub(crate) fn of_rule(rule: Rule) -> impl Iterator<Item = &'static KeySpec> {
    PARTS[rule as usize].iter().copied().flatten()
}

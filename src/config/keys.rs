//! The keys of the norms document: kind of value, default and help text.
//!
//! A rule accepts only the keys of the parameters that its definition takes; a key in the wrong rule is an error. No
//! rule and no parameter of one rule is named here: the lists are in [`crate::domain::rule`] and in
//! [`crate::domain::norms::params`].

use super::params::key;
use super::schema::key::ValueKind::{Count, Flag, Length, List, Map, Number, Secret, Text};
use super::schema::key::{ANY, Form, KeySpec, ValueKind};
use super::schema::typed::{named, one_of};
use super::targets;
use crate::domain::event::ActivityKind;
use crate::domain::id::EntityKind;
use crate::domain::identity::Country;
use crate::domain::norms::params::Parameter;
use crate::domain::rule::definition::Evaluation;
use crate::domain::rule::message::Language;
use crate::domain::rule::{Rule, catalog};
use crate::domain::time::Span;
use crate::domain::time::calendar::Calendar;
use crate::domain::time::hours::Hours;
use std::collections::{BTreeMap, BTreeSet};

named! { ActivityKind Language }

const COUNTRY: Form = Form {
    expected: "the ISO 3166 code of a country, such as RU",
    fits: |text| Country::parse(text).is_some(),
    pattern: "^[A-Za-z]{2}$",
    canonical: |text| text.to_ascii_uppercase(),
    hint: |_| String::new(),
};

const HOURS: Form = Form {
    expected: "an interval such as 09:00-18:00",
    fits: |text| Hours::parse(text).is_ok(),
    pattern: "^ *[0-9]{1,2}([:.][0-9]{2})? *([AaPp]\\.?[Mm]\\.?)? *[-‐‑‒–—−] *[0-9]{1,2}([:.][0-9]{2})? *([AaPp]\\.?[Mm]\\.?)? *$",
    canonical: |text| Hours::parse(&text).map_or(text, |hours| hours.to_string()),
    hint: |text| Hours::parse(text).err().map(|error| error.to_string()).unwrap_or_default(),
};
const ZONE: Form = Form {
    expected: "an IANA time zone such as Europe/Moscow",
    fits: |text| Calendar::new("", text, Default::default(), BTreeMap::new(), BTreeSet::new()).is_ok(),
    pattern: "",
    ..ANY
};

const PERCENT: ValueKind = Number(0.0, 100.0);
const TEXTS: ValueKind = List(&Text, 0);
const DAY_HOURS: ValueKind = List(&ValueKind::Form(HOURS), 0);

/// The keys of a file included by the norms document.
pub(super) const INCLUDED: &[KeySpec] =
    &[KeySpec::new("calendars", Map(ANY, &ValueKind::Table(&[CALENDAR])), "working-time calendars, by name")];

/// The norms document, in parts.
pub const NORMS: &[&[KeySpec]; 3] = &[INCLUDE, EFFECTIVE, GENERAL];

const INCLUDE: &[KeySpec] =
    &[KeySpec::new("include", TEXTS, "files that contain only `calendars`, relative to this file")];

/// The keys that define the norms completely once the included files are merged, except for the privacy key.
pub(super) const EFFECTIVE: &[KeySpec] = &[
    INCLUDED[0],
    KeySpec::new("pipelines", Map(ANY, &ValueKind::Table(&[PIPELINE])), "pipelines and their stages, by CRM id"),
    CALENDAR_NAME.described("none: every clock counts wall time"),
    KeySpec::new(
        "min_talk_seconds",
        Number(0.0, 3600.0),
        "minimum talk time for an answered call to count as a conversation",
    )
    .default("1"),
    KeySpec::new(
        "conversation_needs_manager",
        Flag,
        "`true`: an inbound call that was answered without naming a manager is not a conversation",
    )
    .default("false"),
    IGNORED_CONTACTS.default("[]"),
    KeySpec::new(
        "shared_contact_limit",
        Count(1, 1_000_000),
        "an interaction whose contact belongs to more open leads and deals than this is matched to none of them by contact",
    )
    .default("20"),
    KeySpec::new(
        "excluded_reasons",
        TEXTS,
        "reasons of disqualified leads that were no lost opportunities: the figures count them as `leads_excluded` only",
    )
    .default("[]"),
    KeySpec::new("windows", List(&ValueKind::Table(&[WINDOW]), 1), "the sliding windows of figures and window rules")
        .default("[{size: 1h, slide: 1m}, {size: 24h, slide: 15m}, {size: 7d, slide: 2h}, {size: 30d, slide: 8h}]"),
    KeySpec::new("norms", ValueKind::Table(&[RULES]), "the enabled rules; a rule that is not listed is off"),
    REVIEW_SAMPLING,
    targets::LISTED,
    KeySpec::new(
        "overrides",
        List(&ValueKind::Table(&[OVERRIDE]), 0),
        "overrides for parts of the organization, merged in order: later ones win, key by key within a rule",
    ),
    KeySpec::new(
        "default_country",
        ValueKind::Form(COUNTRY),
        "the country whose national phone number formats are recognized; numbers with a country code are in any case",
    )
    .default("RU"),
];

const GENERAL: &[KeySpec] = &[
    KeySpec::new("privacy_key", Secret, "key of the hash that replaces phone numbers and addresses in alerts")
        .described("the tenant's id"),
    KeySpec::new("language", one_of::<Language>(), "the language of alert messages").default("en"),
];

const CALENDAR_NAME: KeySpec = KeySpec::new("calendar", Text, "the calendar for business clocks, one of `calendars`");

const IGNORED_CONTACTS: KeySpec = KeySpec::new(
    "ignored_contacts",
    TEXTS,
    "contacts that are not customers: phone numbers, e-mail addresses, `@example.com` for all addresses of a domain, \
     `@name` for a handle",
);

const REVIEW_SAMPLING: KeySpec = KeySpec::new(
    "review_sampling",
    ValueKind::Table(&[SAMPLING]),
    "random sampling of conversations and sent messages for review",
);

const CALENDAR: &[KeySpec] = &[
    KeySpec::new("timezone", ValueKind::Form(ZONE), "the IANA time zone of the working hours").required(),
    KeySpec::new("week", ValueKind::Table(&[WEEK]), "working hours of a regular week; an omitted day is a day off")
        .required(),
    KeySpec::new(
        "days",
        Map(targets::DATE, &DAY_HOURS),
        "exceptions by date: `[]` is a day off, fewer hours make a short day, hours on a weekend make it a working day",
    ),
    KeySpec::new(
        "years",
        List(&Count(1900, 2199), 0),
        "the years whose exceptions are listed; other years use the regular week, with one warning each",
    ),
];

const WEEK: &[KeySpec] = &[
    KeySpec::new("mon", DAY_HOURS, "Monday"),
    KeySpec::new("tue", DAY_HOURS, "Tuesday"),
    KeySpec::new("wed", DAY_HOURS, "Wednesday"),
    KeySpec::new("thu", DAY_HOURS, "Thursday"),
    KeySpec::new("fri", DAY_HOURS, "Friday"),
    KeySpec::new("sat", DAY_HOURS, "Saturday"),
    KeySpec::new("sun", DAY_HOURS, "Sunday"),
];

const PIPELINE: &[KeySpec] = &[
    KeySpec::new("entity", one_of::<EntityKind>(), "the entity that moves through it").required(),
    KeySpec::new("stages", List(&ValueKind::Table(&[STAGE]), 1), "the stages, in order").required(),
];

const STAGE: &[KeySpec] = &[
    KeySpec::new("id", Text, "the CRM id of the stage").required(),
    KeySpec::new("early", Flag, "counts as early, see `stuck_early`").default("false"),
    KeySpec::new("required", Flag, "must be visited before any later stage, see `stage_skipped`").default("false"),
    KeySpec::new("waiting", Flag, "the customer is to act: meanwhile `neglected` and `next_step_missing` do not run")
        .default("false"),
    KeySpec::new("max_time", Length, "the maximum time in the stage, see `stage_overdue`").described("no limit"),
    KeySpec::new(
        "requires",
        ValueKind::Table(&[REQUIRES]),
        "requirements for entering the stage, see `stage_requirements_unmet`",
    ),
];

const REQUIRES: &[KeySpec] = &[
    KeySpec::new("fields", TEXTS, "CRM fields that must be filled in"),
    KeySpec::new("activities", List(&one_of::<ActivityKind>(), 0), "types of activities that must be completed"),
];

const WINDOW: &[KeySpec] = &[
    KeySpec::new("size", Length, "the length of the window").required(),
    KeySpec::new("slide", Length, "how often it advances; `size` must be a multiple of it, at most 10000 times")
        .required(),
];

/// The parameters of every rule.
pub const COMMON: &[Parameter] = &[Parameter::Enabled, Parameter::Severity, Parameter::EscalateAfter];

/// The parameters of every rule that is configured by `terms`, whose keys these are too.
const OF_TERMS: &[Parameter] = &[Parameter::Enabled, Parameter::Severity];

/// The parameters of a rule: those of every rule, then its own.
const fn takes(rule: Rule) -> [&'static [Parameter]; 2] {
    let own = catalog::definition(rule).takes;
    let mut index = 0;
    while index < own.len() {
        if matches!(own[index], Parameter::Terms) {
            return [OF_TERMS, own];
        }
        index += 1;
    }
    [COMMON, own]
}

/// The parameters of a rule, in the order of its keys.
pub(super) fn parameters_of(rule: Rule) -> impl Iterator<Item = Parameter> {
    takes(rule).into_iter().flatten().copied()
}

/// The keys of a rule.
pub(super) fn of_rule(rule: Rule) -> impl Iterator<Item = &'static KeySpec> {
    parameters_of(rule).filter_map(key)
}

/// The maximum number of parameters of a rule.
const MAX_PARAMETERS: usize = 12;

/// The parts of every rule's table, one key each, in the order of [`Rule::ALL`].
const PARTS: &[[&[KeySpec]; MAX_PARAMETERS]; Rule::ALL.len()] = &{
    let mut all = [[&[] as &[KeySpec]; MAX_PARAMETERS]; Rule::ALL.len()];
    let mut rule = 0;
    while rule < all.len() {
        let [common, own] = takes(Rule::ALL[rule]);
        let mut part = 0;
        while part < common.len() + own.len() {
            let parameter = if part < common.len() { common[part] } else { own[part - common.len()] };
            if let Some(key) = key(parameter) {
                all[rule][part] = std::slice::from_ref(key);
            }
            part += 1;
        }
        rule += 1;
    }
    all
};

/// The keys of all rules, in the order of [`Rule::ALL`], and `terms`.
pub const RULES: &[KeySpec] = &{
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

const fn common(parameter: Parameter) -> KeySpec {
    *key(parameter).expect("a parameter of every rule")
}

const TERMS: &[KeySpec] = &[
    common(Parameter::Enabled),
    common(Parameter::Severity),
    KeySpec::new("approvers", TEXTS, "managers whose approval lifts the limits"),
    KeySpec::new("policies", List(&ValueKind::Table(&[POLICY]), 1), "the rows; the first match applies").in_force(),
];

const POLICY: &[KeySpec] = &[
    KeySpec::new("pipeline", Text, "only deals in this pipeline").described("any"),
    KeySpec::new("grade", Text, "only managers of this grade").described("any"),
    KeySpec::new("amount_minor_below", Count(1, i64::MAX), "only deals below this amount, in minor units")
        .described("any"),
    KeySpec::new("max_discount_percent", PERCENT, "the maximum discount").described("not checked"),
    KeySpec::new("max_installment_months", Count(0, 1200), "the longest instalment plan").described("not checked"),
    KeySpec::new("min_prepayment_percent", PERCENT, "the minimum prepayment").described("not checked"),
];

const SAMPLING: &[KeySpec] = &[
    KeySpec::new("per_day", Count(0, 10_000), "the number of samples per manager and day").in_force(),
    KeySpec::new("min_talk_seconds", Number(0.0, 86_400.0), "shorter conversations are not sampled").rule_default("0"),
];

/// The keys of an override.
pub const OVERRIDE: &[KeySpec] = &[
    KeySpec::new("when", ValueKind::Table(&[WHEN]), "where the override applies: all keys that are set must match")
        .required(),
    CALENDAR_NAME.described("unchanged"),
    IGNORED_CONTACTS.described("unchanged; only with `when: {tenant}`"),
    KeySpec::new("norms", ValueKind::Table(&[RULES]), "rule parameters that differ").described("unchanged"),
    REVIEW_SAMPLING.described("unchanged"),
    targets::OVERRIDING.described("unchanged"),
];

const WHEN: &[KeySpec] = &[
    KeySpec::new("tenant", Text, "only this tenant").described("any"),
    KeySpec::new("department", Text, "only managers of this department").described("any"),
    KeySpec::new("manager", Text, "only this manager").described("any"),
    KeySpec::new("pipeline", Text, "only leads and deals in this pipeline").described("any"),
    KeySpec::new("source_id", Text, "only leads from this source and their deals").described("any"),
];

/// Whether a rule evaluates managers or their targets, at slide boundaries.
pub(super) fn is_window_rule(rule: Rule) -> bool {
    matches!(catalog::definition(rule).evaluation, Evaluation::Window(_) | Evaluation::Targets(_))
}

/// Whether a rule is an act rule: acts have no duration, so their alerts never escalate.
pub(super) fn is_act_rule(rule: Rule) -> bool {
    matches!(catalog::definition(rule).evaluation, Evaluation::Act(_))
}

/// The rules that `terms` configures.
pub(super) fn of_terms() -> impl Iterator<Item = Rule> {
    Rule::ALL.iter().copied().filter(|rule| catalog::definition(*rule).takes.contains(&Parameter::Terms))
}

/// The maximum size of a window, in slides.
pub(super) const MAX_PANES: i64 = 10_000;
/// The minimum slide of a window.
pub(super) const MIN_SLIDE: Span = Span::SECOND;

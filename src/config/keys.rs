//! Owns the declaration of the norms document: every key, what may stand there and what it is for.
//!
//! Promises that a rule takes the keys of the parameters that its file says it takes, and no other: a key in the wrong
//! rule is a mistake, and is told. Names no rule: what there is stands in [`crate::domain::rule`].

use super::key::{ANY, Form, KeySpec, ValueKind};
use crate::domain::alert::Severity;
use crate::domain::calendar::{Calendar, Hours};
use crate::domain::event::{Channel, Outcome};
use crate::domain::id::EntityKind;
use crate::domain::norms::{Basis, Clock, Response};
use crate::domain::rule::{Evaluation, Parameter, Rule};
use crate::domain::time::Span;
use std::collections::{BTreeMap, BTreeSet};

/// What may go through a pipeline.
pub(crate) const ENTITIES: [(&str, EntityKind); 2] = [("lead", EntityKind::Lead), ("deal", EntityKind::Deal)];
/// The endings that want a reason.
pub(crate) const ENDINGS: [Outcome; 2] = [Outcome::Disqualified, Outcome::Lost];
/// The countries whose national phone forms are read.
pub(crate) const COUNTRIES: [&str; 2] = ["RU", "KZ"];
/// The days of a week, in the order of [`crate::domain::calendar::Calendar`].
pub(crate) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Kinds of completed activities, as events name them.
const ACTIVITIES: [&str; 7] = ["MEETING", "DEMO", "PROPOSAL", "INVOICE", "TASK", "NEEDS_ANALYSIS", "OTHER"];

const HOURS: Form = Form {
    wanted: "an interval such as 09:00-18:00",
    fits: |text| Hours::parse(text).is_some(),
    pattern: "^[0-2][0-9]:[0-5][0-9] *- *[0-2][0-9]:[0-5][0-9]$",
};
const DATE: Form = Form {
    wanted: "a date such as 2026-01-31",
    fits: |text| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
    pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
};
const ZONE: Form = Form {
    wanted: "an IANA time zone such as Europe/Moscow",
    fits: |text| Calendar::new("", text, Default::default(), BTreeMap::new(), BTreeSet::new()).is_ok(),
    pattern: "",
};

const SHARE: ValueKind = ValueKind::Number(0.0, 1.0);
const PERCENT: ValueKind = ValueKind::Number(0.0, 100.0);
const TEXTS: ValueKind = ValueKind::List(&ValueKind::Text, 0);
const DAY_HOURS: ValueKind = ValueKind::List(&ValueKind::Form(HOURS), 0);

/// A file that the norms document includes.
pub(crate) const INCLUDED: &[KeySpec] = &[KeySpec::new(
    "calendars",
    ValueKind::Map(ANY, &ValueKind::Table(&[CALENDAR])),
    "working time, by names of one's own",
)];

/// The norms document.
pub(crate) const NORMS: &[KeySpec] = &[
    KeySpec::new("include", TEXTS, "files with `calendars` and nothing else, relative to this one"),
    INCLUDED[0],
    KeySpec::new(
        "pipelines",
        ValueKind::Map(ANY, &ValueKind::Table(&[PIPELINE])),
        "pipelines and their stages, by the CRM's ids",
    ),
    CALENDAR_NAME.told("wall time for every clock"),
    KeySpec::new(
        "min_talk_seconds",
        ValueKind::Number(0.0, 3600.0),
        "an answered call with at least this much talk is a conversation",
    )
    .filled("1"),
    KeySpec::new(
        "windows",
        ValueKind::List(&ValueKind::Table(&[WINDOW]), 1),
        "the rolling windows of figures and of window rules",
    )
    .filled("[{size: 1h, slide: 1m}, {size: 24h, slide: 15m}, {size: 7d, slide: 2h}, {size: 30d, slide: 8h}]"),
    KeySpec::new("norms", ValueKind::Table(&[RULES]), "the rules that are on; a rule that is not named is off"),
    REVIEW_SAMPLING,
    KeySpec::new(
        "overrides",
        ValueKind::List(&ValueKind::Table(&[OVERRIDE]), 0),
        "what differs in places: in order, later wins, key by key inside a rule",
    ),
    KeySpec::new(
        "default_country",
        ValueKind::Name(|| COUNTRIES.to_vec()),
        "whose national forms of phone numbers are read",
    )
    .filled("RU"),
    KeySpec::new("privacy_key", ValueKind::Secret, "key of the hash that stands for a phone or an address in alerts")
        .told("the tenant's id"),
    KeySpec::new("language", ValueKind::Name(|| vec!["en", "ru"]), "the language of the messages in alerts")
        .filled("en"),
];

const CALENDAR_NAME: KeySpec =
    KeySpec::new("calendar", ValueKind::Text, "the calendar, out of `calendars`, that business clocks go by");

const REVIEW_SAMPLING: KeySpec = KeySpec::new(
    "review_sampling",
    ValueKind::Table(&[SAMPLING]),
    "which conversations and sent messages are picked for review at random",
);

pub(crate) const CALENDAR: &[KeySpec] = &[
    KeySpec::new("timezone", ValueKind::Form(ZONE), "the IANA time zone of its hours").must(),
    KeySpec::new("week", ValueKind::Table(&[WEEK]), "working hours of an ordinary week; a day that is left out is off")
        .must(),
    KeySpec::new(
        "days",
        ValueKind::Map(DATE, &DAY_HOURS),
        "dates that differ: `[]` is off, fewer hours make a short day, hours on a weekend make it a working day",
    ),
    KeySpec::new(
        "years",
        ValueKind::List(&ValueKind::Count(1900, 2199), 0),
        "the years whose dates are listed; any other is warned of once and is ordinary weeks",
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
    KeySpec::new("entity", ValueKind::Name(|| ENTITIES.map(|(name, _)| name).to_vec()), "what goes through it").must(),
    KeySpec::new("stages", ValueKind::List(&ValueKind::Table(&[STAGE]), 1), "its stages, in order").must(),
];

pub(crate) const STAGE: &[KeySpec] = &[
    KeySpec::new("id", ValueKind::Text, "the CRM's id of the stage").must(),
    KeySpec::new("early", ValueKind::Flag, "counts for `stuck_early`").filled("false"),
    KeySpec::new("required", ValueKind::Flag, "must be visited before a later stage, see `stage_skipped`")
        .filled("false"),
    KeySpec::new("max_time", ValueKind::Length, "longest time that an entity should spend in it, see `stage_overdue`")
        .told("no limit"),
    KeySpec::new("requires", ValueKind::Table(&[REQUIRES]), "what must be there before a move into it"),
];

pub(crate) const REQUIRES: &[KeySpec] = &[
    KeySpec::new("fields", TEXTS, "CRM fields that must be filled"),
    KeySpec::new(
        "activities",
        ValueKind::List(&ValueKind::Name(|| ACTIVITIES.to_vec()), 0),
        "kinds of activities that must be completed",
    ),
];

pub(crate) const WINDOW: &[KeySpec] = &[
    KeySpec::new("size", ValueKind::Length, "how much time it covers").must(),
    KeySpec::new("slide", ValueKind::Length, "how often it moves; `size` is a multiple of it, at most 10000 times")
        .must(),
];

const ENABLED: KeySpec = KeySpec::new("enabled", ValueKind::Flag, "`false` switches the rule off").known("true");
const SEVERITY: KeySpec = KeySpec::new(
    "severity",
    ValueKind::Name(|| Severity::ALL.map(Severity::name).to_vec()),
    "how much a violation matters; an escalation raises it by one",
)
.known("warning");
const ESCALATE_AFTER: KeySpec = KeySpec::new(
    "escalate_after",
    ValueKind::List(&ValueKind::Length, 0),
    "when it escalates: ascending, counted from the deadline on the rule's clock",
)
.known("[]");

/// What every rule takes.
pub(crate) const COMMON: &[KeySpec] = &[ENABLED, SEVERITY, ESCALATE_AFTER];

/// What the rules that go by `terms` take by their own names.
const OF_TERMS: &[KeySpec] = &[ENABLED, SEVERITY];

/// The keys of a parameter.
pub(crate) const fn keys(parameter: Parameter) -> &'static [KeySpec] {
    match parameter {
        Parameter::Within => {
            const {
                &[KeySpec::new(
                    "within",
                    ValueKind::Length,
                    "the deadline, counted from the anchor on the rule's clock",
                )
                .in_force()]
            }
        }
        Parameter::Clock => {
            const {
                &[KeySpec::new(
                    "clock",
                    ValueKind::Name(|| Clock::ALL.map(Clock::name).to_vec()),
                    "what time counts: all of it, or working time; days (`d`) are for wall clocks only",
                )
                .known("wall")]
            }
        }
        Parameter::Response => {
            const {
                &[KeySpec::new(
                    "response",
                    ValueKind::Name(|| Response::ALL.map(Response::name).to_vec()),
                    "what counts as a response: any touch, or contact both ways",
                )
                .known("attempt")]
            }
        }
        Parameter::Attempts => {
            const { &[KeySpec::new("attempts", ValueKind::Count(1, 1000), "how many touches are wanted").in_force()] }
        }
        Parameter::Entities => {
            const {
                &[KeySpec::new(
                    "entities",
                    ValueKind::List(&ValueKind::Name(|| ENTITIES.map(|(name, _)| name).to_vec()), 1),
                    "what is watched",
                )
                .known("[lead, deal]")]
            }
        }
        Parameter::AppliesTo => {
            const {
                &[KeySpec::new(
                    "applies_to",
                    ValueKind::List(&ValueKind::Name(|| ENDINGS.map(Outcome::name).to_vec()), 1),
                    "which endings want a reason",
                )
                .known("[DISQUALIFIED]")]
            }
        }
        Parameter::AllowedReasons => {
            const { &[KeySpec::new("allowed_reasons", TEXTS, "which reasons are good ones").told("any reason")] }
        }
        Parameter::MinTouches => {
            const {
                &[KeySpec::new("min_touches", ValueKind::Count(1, 1000), "how many touches are wanted before")
                    .known("1")]
            }
        }
        Parameter::Channels => {
            const {
                &[KeySpec::new(
                    "channels",
                    ValueKind::List(&ValueKind::Name(|| Channel::ALL.map(Channel::name).to_vec()), 1),
                    "which channels are watched",
                )
                .known("[EMAIL, CHAT, SMS, MESSENGER]")]
            }
        }
        Parameter::Window => {
            const {
                &[KeySpec::new("window", ValueKind::Length, "the size of the window that is judged")
                    .told("the first of `windows`")]
            }
        }
        Parameter::Basis => {
            const {
                &[KeySpec::new(
                    "basis",
                    ValueKind::Name(|| Basis::ALL.map(Basis::name).to_vec()),
                    "over the leads created in the window, or over those closed in it",
                )
                .known("cohort")]
            }
        }
        Parameter::Share => {
            const {
                &[
                    KeySpec::new("at_least", SHARE, "the lowest share of leads that a manager should convert")
                        .one_in_force(),
                    KeySpec::new("of_department", SHARE, "the same, as a part of the department's share")
                        .one_in_force(),
                ]
            }
        }
        Parameter::Score => const { &[KeySpec::new("at_least", PERCENT, "the lowest good mean score").in_force()] },
        Parameter::AtMostLag => {
            const { &[KeySpec::new("at_most", ValueKind::Length, "the longest that it should be").in_force()] }
        }
        Parameter::AtMost => {
            const { &[KeySpec::new("at_most", SHARE, "the largest share that it should be").in_force()] }
        }
        Parameter::Quantile => {
            const {
                &[KeySpec::new("quantile", ValueKind::Between(0.0, 1.0), "which quantile of the lags is judged")
                    .known("0.9")]
            }
        }
        Parameter::MinSample => {
            const {
                &[KeySpec::new("min_sample", ValueKind::Count(1, i64::MAX), "with fewer there is no judgement")
                    .known("1")]
            }
        }
        // A table of its own.
        Parameter::Terms => &[],
    }
}

/// Room for what every rule takes and for the parameters of one.
const MOST_PARTS: usize = 12;

/// The parts of every rule's table, in the order of [`Rule::ALL`].
const PARTS: &[[&[KeySpec]; MOST_PARTS]; Rule::ALL.len()] = &{
    let mut all = [[&[] as &[KeySpec]; MOST_PARTS]; Rule::ALL.len()];
    let mut place = 0;
    while place < all.len() {
        let takes = Rule::ALL[place].definition().takes;
        all[place][0] = COMMON;
        let mut part = 0;
        while part < takes.len() {
            if matches!(takes[part], Parameter::Terms) {
                all[place][0] = OF_TERMS;
            }
            all[place][part + 1] = keys(takes[part]);
            part += 1;
        }
        place += 1;
    }
    all
};

/// The rules as they define themselves, in the order of [`Rule::ALL`], and `terms`.
pub(crate) const RULES: &[KeySpec] = &{
    let about = "what special terms are allowed; names the rules that go by it at once";
    let mut all = [KeySpec::new("terms", ValueKind::Table(&[TERMS]), about); Rule::ALL.len() + 1];
    let mut place = 0;
    while place < PARTS.len() {
        let rule = Rule::ALL[place];
        all[place] = KeySpec::new(rule.name(), ValueKind::Table(&PARTS[place]), rule.definition().about[0]);
        place += 1;
    }
    all
};

pub(crate) const TERMS: &[KeySpec] = &[
    ENABLED,
    SEVERITY,
    KeySpec::new("approvers", TEXTS, "managers whose approval allows more"),
    KeySpec::new("policies", ValueKind::List(&ValueKind::Table(&[POLICY]), 1), "the rows; the first that fits decides")
        .in_force(),
];

pub(crate) const POLICY: &[KeySpec] = &[
    KeySpec::new("pipeline", ValueKind::Text, "only for deals in this pipeline").told("any"),
    KeySpec::new("grade", ValueKind::Text, "only for managers of this grade").told("any"),
    KeySpec::new(
        "amount_minor_below",
        ValueKind::Count(1, i64::MAX),
        "only for deals below this amount, in minor units",
    )
    .told("any"),
    KeySpec::new("max_discount_percent", PERCENT, "the largest discount").told("not judged"),
    KeySpec::new("max_installment_months", ValueKind::Count(0, 1200), "the longest instalment plan").told("not judged"),
    KeySpec::new("min_prepayment_percent", PERCENT, "the smallest prepayment").told("not judged"),
];

pub(crate) const SAMPLING: &[KeySpec] = &[
    KeySpec::new("per_day", ValueKind::Count(0, 10_000), "how many per manager and day").in_force(),
    KeySpec::new("min_talk_seconds", ValueKind::Number(0.0, 86_400.0), "shorter conversations are not picked")
        .known("0"),
];

pub(crate) const OVERRIDE: &[KeySpec] = &[
    KeySpec::new("when", ValueKind::Table(&[WHEN]), "where it applies: every key that is given must match").must(),
    CALENDAR_NAME.told("as before"),
    KeySpec::new("norms", ValueKind::Table(&[RULES]), "parts of rules that differ").told("as before"),
    REVIEW_SAMPLING.told("as before"),
];

pub(crate) const WHEN: &[KeySpec] = &[
    KeySpec::new("tenant", ValueKind::Text, "only in this tenant").told("any"),
    KeySpec::new("department", ValueKind::Text, "only for managers of this department").told("any"),
    KeySpec::new("pipeline", ValueKind::Text, "only for leads and deals in this pipeline").told("any"),
    KeySpec::new("source_id", ValueKind::Text, "only for leads from this source and their deals").told("any"),
];

/// Whether a rule judges managers, at slide boundaries.
pub(crate) fn judges_managers(rule: Rule) -> bool {
    matches!(rule.definition().evaluation, Evaluation::Window(_))
}

/// Whether a rule is about acts that are wrong in themselves: they have no duration, so they never escalate.
pub(crate) fn judges_acts(rule: Rule) -> bool {
    matches!(rule.definition().evaluation, Evaluation::Act(_))
}

/// The rules that `terms` names at once.
pub(crate) fn of_terms() -> impl Iterator<Item = Rule> {
    Rule::ALL.iter().copied().filter(|rule| rule.definition().takes.contains(&Parameter::Terms))
}

/// Longest size of a window in slides.
pub(crate) const MOST_PANES: i64 = 10_000;
/// Shortest slide of a window.
pub(crate) const SHORTEST_SLIDE: Span = Span::SECOND;

/// The keys of a rule.
pub(crate) fn of(rule: Rule) -> impl Iterator<Item = &'static KeySpec> {
    PARTS[rule as usize].iter().copied().flatten()
}

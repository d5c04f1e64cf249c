//! Owns the declaration of the norms document: every key, what may stand there and what it is for.
//!
//! Promises that a rule takes no key that it does not go by: a key in the wrong rule is a mistake, and is told.

use super::key::{ANY, Form, Key, Kind};
use crate::domain::alert::Severity;
use crate::domain::calendar::{Calendar, Hours};
use crate::domain::event::{Channel, Outcome};
use crate::domain::id::EntityKind;
use crate::domain::norms::{Basis, Clock, Response};
use crate::domain::rule::Rule;
use crate::domain::time::Span;
use std::collections::{BTreeMap, BTreeSet};

/// The clocks of norms.
pub(crate) const CLOCKS: [Clock; 2] = [Clock::Wall, Clock::Business];
/// What may count as a response.
pub(crate) const RESPONSES: [Response; 2] = [Response::Attempt, Response::Conversation];
/// What a conversion may be counted over.
pub(crate) const BASES: [(&str, Basis); 2] = [("cohort", Basis::Cohort), ("closed", Basis::Closed)];
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

const SHARE: Kind = Kind::Number(0.0, 1.0);
const PERCENT: Kind = Kind::Number(0.0, 100.0);
const TEXTS: Kind = Kind::List(&Kind::Text, 0);
const DAY_HOURS: Kind = Kind::List(&Kind::Form(HOURS), 0);

/// A file that the norms document includes.
pub(crate) const INCLUDED: &[Key] =
    &[Key::new("calendars", Kind::Map(ANY, &Kind::Table(&[CALENDAR])), "working time, by names of one's own")];

/// The norms document.
pub(crate) const NORMS: &[Key] = &[
    Key::new("include", TEXTS, "files with `calendars` and nothing else, relative to this one"),
    INCLUDED[0],
    Key::new("pipelines", Kind::Map(ANY, &Kind::Table(&[PIPELINE])), "pipelines and their stages, by the CRM's ids"),
    CALENDAR_NAME.told("wall time for every clock"),
    Key::new(
        "min_talk_seconds",
        Kind::Number(0.0, 3600.0),
        "an answered call with at least this much talk is a conversation",
    )
    .filled("1"),
    Key::new("windows", Kind::List(&Kind::Table(&[WINDOW]), 1), "the rolling windows of figures and of window rules")
        .filled("[{size: 1h, slide: 1m}, {size: 24h, slide: 15m}, {size: 7d, slide: 2h}, {size: 30d, slide: 8h}]"),
    Key::new("norms", Kind::Table(&[RULES]), "the rules that are on; a rule that is not named is off"),
    REVIEW_SAMPLING,
    Key::new(
        "overrides",
        Kind::List(&Kind::Table(&[OVERRIDE]), 0),
        "what differs in places: in order, later wins, key by key inside a rule",
    ),
    Key::new("default_country", Kind::Name(|| COUNTRIES.to_vec()), "whose national forms of phone numbers are read")
        .filled("RU"),
    Key::new("privacy_key", Kind::Secret, "key of the hash that stands for a phone or an address in alerts")
        .told("the tenant's id"),
    Key::new("language", Kind::Name(|| vec!["en", "ru"]), "the language of the messages in alerts").filled("en"),
];

const CALENDAR_NAME: Key =
    Key::new("calendar", Kind::Text, "the calendar, out of `calendars`, that business clocks go by");

const REVIEW_SAMPLING: Key = Key::new(
    "review_sampling",
    Kind::Table(&[SAMPLING]),
    "which conversations and sent messages are picked for review at random",
);

pub(crate) const CALENDAR: &[Key] = &[
    Key::new("timezone", Kind::Form(ZONE), "the IANA time zone of its hours").must(),
    Key::new("week", Kind::Table(&[WEEK]), "working hours of an ordinary week; a day that is left out is off").must(),
    Key::new(
        "days",
        Kind::Map(DATE, &DAY_HOURS),
        "dates that differ: `[]` is off, fewer hours make a short day, hours on a weekend make it a working day",
    ),
    Key::new(
        "years",
        Kind::List(&Kind::Count(1900, 2199), 0),
        "the years whose dates are listed; any other is warned of once and is ordinary weeks",
    ),
];

pub(crate) const WEEK: &[Key] = &[
    Key::new("mon", DAY_HOURS, "Monday"),
    Key::new("tue", DAY_HOURS, "Tuesday"),
    Key::new("wed", DAY_HOURS, "Wednesday"),
    Key::new("thu", DAY_HOURS, "Thursday"),
    Key::new("fri", DAY_HOURS, "Friday"),
    Key::new("sat", DAY_HOURS, "Saturday"),
    Key::new("sun", DAY_HOURS, "Sunday"),
];

pub(crate) const PIPELINE: &[Key] = &[
    Key::new("entity", Kind::Name(|| ENTITIES.map(|(name, _)| name).to_vec()), "what goes through it").must(),
    Key::new("stages", Kind::List(&Kind::Table(&[STAGE]), 1), "its stages, in order").must(),
];

pub(crate) const STAGE: &[Key] = &[
    Key::new("id", Kind::Text, "the CRM's id of the stage").must(),
    Key::new("early", Kind::Flag, "counts for `stuck_early`").filled("false"),
    Key::new("required", Kind::Flag, "must be visited before a later stage, see `stage_skipped`").filled("false"),
    Key::new("max_time", Kind::Length, "longest time that an entity should spend in it, see `stage_overdue`")
        .told("no limit"),
    Key::new("requires", Kind::Table(&[REQUIRES]), "what must be there before a move into it"),
];

pub(crate) const REQUIRES: &[Key] = &[
    Key::new("fields", TEXTS, "CRM fields that must be filled"),
    Key::new(
        "activities",
        Kind::List(&Kind::Name(|| ACTIVITIES.to_vec()), 0),
        "kinds of activities that must be completed",
    ),
];

pub(crate) const WINDOW: &[Key] = &[
    Key::new("size", Kind::Length, "how much time it covers").must(),
    Key::new("slide", Kind::Length, "how often it moves; `size` is a multiple of it, at most 10000 times").must(),
];

const ENABLED: Key = Key::new("enabled", Kind::Flag, "`false` switches the rule off").known("true");
const SEVERITY: Key = Key::new(
    "severity",
    Kind::Name(|| Severity::ALL.map(Severity::name).to_vec()),
    "how much a violation matters; an escalation raises it by one",
)
.known("warning");
const ESCALATE_AFTER: Key = Key::new(
    "escalate_after",
    Kind::List(&Kind::Length, 0),
    "when it escalates: ascending, counted from the deadline on the rule's clock",
)
.known("[]");
const WITHIN: Key = Key::new("within", Kind::Length, "the deadline, counted from the anchor on the rule's clock");
const CLOCK: Key = Key::new(
    "clock",
    Kind::Name(|| CLOCKS.map(Clock::name).to_vec()),
    "what time counts: all of it, or working time; days (`d`) are for wall clocks only",
)
.known("wall");
const WINDOW_SIZE: Key =
    Key::new("window", Kind::Length, "the size of the window that is judged").told("the first of `windows`");
const MIN_SAMPLE: Key = Key::new("min_sample", Kind::Count(1, i64::MAX), "with fewer there is no judgement").known("1");

/// What every rule takes.
const COMMON: &[Key] = &[ENABLED, SEVERITY, ESCALATE_AFTER];

/// What the three terms rules take by their own names.
const OF_TERMS: &[Key] = &[ENABLED, SEVERITY];

/// The rules, in the order of [`Rule::ALL`], and `terms`.
pub(crate) const RULES: &[Key] = &[
    rule(
        "first_response_late",
        &[
            COMMON,
            &[
                WITHIN.in_force(),
                CLOCK,
                Key::new(
                    "response",
                    Kind::Name(|| RESPONSES.map(Response::name).to_vec()),
                    "what counts as a response: any touch, or contact both ways",
                )
                .known("attempt"),
            ],
        ],
        "a lead, or a deal without lead, had no response by its deadline",
    ),
    rule(
        "too_few_attempts",
        &[
            COMMON,
            &[
                WITHIN.in_force(),
                CLOCK,
                Key::new("attempts", Kind::Count(1, 1000), "how many touches are wanted").in_force(),
            ],
        ],
        "an open lead had fewer touches than wanted and no conversation",
    ),
    rule(
        "neglected",
        &[
            COMMON,
            &[
                WITHIN.in_force(),
                CLOCK,
                Key::new(
                    "entities",
                    Kind::List(&Kind::Name(|| ENTITIES.map(|(name, _)| name).to_vec()), 1),
                    "what is watched",
                )
                .known("[lead, deal]"),
            ],
        ],
        "an open lead or deal had no touch for too long",
    ),
    rule(
        "disqualified_without_reason",
        &[
            COMMON,
            &[
                Key::new(
                    "applies_to",
                    Kind::List(&Kind::Name(|| ENDINGS.map(Outcome::name).to_vec()), 1),
                    "which endings want a reason",
                )
                .known("[DISQUALIFIED]"),
                Key::new("allowed_reasons", TEXTS, "which reasons are good ones").told("any reason"),
            ],
        ],
        "a lead was turned down without a good reason",
    ),
    rule(
        "disqualified_without_contact",
        &[COMMON, &[Key::new("min_touches", Kind::Count(1, 1000), "how many touches are wanted before").known("1")]],
        "a lead was turned down after too few touches",
    ),
    rule("stage_skipped", &[COMMON], "a `required` stage was passed over"),
    rule("stage_requirements_unmet", &[COMMON], "an entity entered a stage before what it `requires` was there"),
    rule("stage_reverted", &[COMMON], "an entity moved to an earlier stage"),
    rule("stage_overdue", &[COMMON, &[CLOCK]], "an entity stays in its stage for longer than `max_time`"),
    rule(
        "missed_call_not_returned",
        &[COMMON, &[WITHIN.in_force(), CLOCK]],
        "an inbound call that was no conversation was not returned",
    ),
    rule(
        "message_unanswered",
        &[
            COMMON,
            &[
                WITHIN.in_force(),
                CLOCK,
                Key::new(
                    "channels",
                    Kind::List(&Kind::Name(|| Channel::ALL.map(Channel::name).to_vec()), 1),
                    "which channels are watched",
                )
                .known("[EMAIL, CHAT, SMS, MESSENGER]"),
            ],
        ],
        "a customer's message was not answered",
    ),
    rule("discount_over_limit", &[OF_TERMS], "a discount beyond `terms`"),
    rule("installment_not_allowed", &[OF_TERMS], "an instalment plan beyond `terms`"),
    rule("prepayment_too_low", &[OF_TERMS], "a prepayment below `terms`"),
    rule(
        "conversion_low",
        &[
            COMMON,
            &[
                WINDOW_SIZE,
                Key::new(
                    "basis",
                    Kind::Name(|| BASES.map(|(name, _)| name).to_vec()),
                    "over the leads created in the window, or over those closed in it",
                )
                .known("cohort"),
                Key::new("at_least", SHARE, "the lowest share of leads that a manager should convert").one_in_force(),
                Key::new("of_department", SHARE, "the same, as a part of the department's share").one_in_force(),
                MIN_SAMPLE,
            ],
        ],
        "a manager converts too few leads, beyond chance",
    ),
    rule(
        "response_slow",
        &[
            COMMON,
            &[
                WINDOW_SIZE,
                Key::new("quantile", Kind::Between(0.0, 1.0), "which quantile of the lags is judged").known("0.9"),
                CLOCK,
                Key::new("at_most", Kind::Length, "the longest that it should be").in_force(),
                MIN_SAMPLE,
            ],
        ],
        "a manager's first responses are too slow",
    ),
    rule(
        "quality_low",
        &[COMMON, &[WINDOW_SIZE, Key::new("at_least", PERCENT, "the lowest good mean score").in_force(), MIN_SAMPLE]],
        "a manager's reviews are bad on average",
    ),
    rule(
        "stuck_early",
        &[
            COMMON,
            &[
                WINDOW_SIZE,
                Key::new("at_most", SHARE, "the largest share of open deals overdue in `early` stages").in_force(),
                MIN_SAMPLE,
            ],
        ],
        "too many of a manager's open deals are stuck in early stages",
    ),
    rule(
        "special_terms_frequent",
        &[
            COMMON,
            &[
                WINDOW_SIZE,
                Key::new("at_most", SHARE, "the largest share of deals with special terms").in_force(),
                MIN_SAMPLE,
            ],
        ],
        "too many of a manager's deals get a discount, an instalment plan or less than full prepayment",
    ),
    rule(
        "source_silent",
        &[COMMON, &[WITHIN.in_force(), CLOCK]],
        "nothing comes from a source topic of a tenant, though its others speak",
    ),
    rule("terms", &[TERMS], "what special terms are allowed; names the three terms rules at once"),
];

pub(crate) const TERMS: &[Key] = &[
    ENABLED,
    SEVERITY,
    Key::new("approvers", TEXTS, "managers whose approval allows more"),
    Key::new("policies", Kind::List(&Kind::Table(&[POLICY]), 1), "the rows; the first that fits decides").in_force(),
];

pub(crate) const POLICY: &[Key] = &[
    Key::new("pipeline", Kind::Text, "only for deals in this pipeline").told("any"),
    Key::new("grade", Kind::Text, "only for managers of this grade").told("any"),
    Key::new("amount_minor_below", Kind::Count(1, i64::MAX), "only for deals below this amount, in minor units")
        .told("any"),
    Key::new("max_discount_percent", PERCENT, "the largest discount").told("not judged"),
    Key::new("max_installment_months", Kind::Count(0, 1200), "the longest instalment plan").told("not judged"),
    Key::new("min_prepayment_percent", PERCENT, "the smallest prepayment").told("not judged"),
];

pub(crate) const SAMPLING: &[Key] = &[
    Key::new("per_day", Kind::Count(0, 10_000), "how many per manager and working day").in_force(),
    Key::new("min_talk_seconds", Kind::Number(0.0, 86_400.0), "shorter conversations are not picked").known("0"),
];

pub(crate) const OVERRIDE: &[Key] = &[
    Key::new("when", Kind::Table(&[WHEN]), "where it applies: every key that is given must match").must(),
    CALENDAR_NAME.told("as before"),
    Key::new("norms", Kind::Table(&[RULES]), "parts of rules that differ").told("as before"),
    REVIEW_SAMPLING.told("as before"),
];

pub(crate) const WHEN: &[Key] = &[
    Key::new("tenant", Kind::Text, "only in this tenant").told("any"),
    Key::new("department", Kind::Text, "only for managers of this department").told("any"),
    Key::new("pipeline", Kind::Text, "only for leads and deals in this pipeline").told("any"),
    Key::new("source_id", Kind::Text, "only for leads from this source and their deals").told("any"),
];

/// The rules that are judged at slide boundaries, per manager.
pub(crate) const WINDOW_RULES: [Rule; 5] =
    [Rule::ConversionLow, Rule::ResponseSlow, Rule::QualityLow, Rule::StuckEarly, Rule::SpecialTermsFrequent];

/// The rules about acts that are wrong in themselves: they have no duration, so they never escalate.
pub(crate) const ACT_RULES: [Rule; 8] = [
    Rule::DisqualifiedWithoutReason,
    Rule::DisqualifiedWithoutContact,
    Rule::StageSkipped,
    Rule::StageRequirementsUnmet,
    Rule::StageReverted,
    Rule::DiscountOverLimit,
    Rule::InstallmentNotAllowed,
    Rule::PrepaymentTooLow,
];

/// The rules that `terms` names at once.
pub(crate) const TERMS_RULES: [Rule; 3] =
    [Rule::DiscountOverLimit, Rule::InstallmentNotAllowed, Rule::PrepaymentTooLow];

/// Longest size of a window in slides.
pub(crate) const MOST_PANES: i64 = 10_000;
/// Shortest slide of a window.
pub(crate) const SHORTEST_SLIDE: Span = Span::SECOND;

const fn rule(name: &'static str, keys: &'static [&'static [Key]], help: &'static str) -> Key {
    Key::new(name, Kind::Table(keys), help)
}

/// When a rule holds, in words.
pub(crate) fn help(rule: Rule) -> &'static str {
    RULES.iter().find(|key| key.name == rule.name()).map_or("", |key| key.help)
}

/// The keys of a rule.
pub(crate) fn of(rule: Rule) -> impl Iterator<Item = &'static Key> {
    let parts = RULES.iter().find(|key| key.name == rule.name()).map(|key| &key.kind);
    let parts: &[&[Key]] = match parts {
        Some(Kind::Table(parts)) => parts,
        _ => &[],
    };
    parts.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_declared_in_its_order() {
        let declared: Vec<_> = RULES.iter().map(|key| key.name).collect();
        let wanted: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).chain(["terms"]).collect();
        assert_eq!(declared, wanted);
    }
}

//! Owns the table of evidence: every key of `observed` and `norm` of alerts, with its unit and its meaning in English and
//! Russian. Messages, `docs/rules.md` and the JSON Schema of alerts are generated from it; rules use no other keys.

use crate::domain::alert::Value;
use crate::domain::event::Outcome;
use crate::domain::norms::targets::Per;
use crate::domain::norms::{Clock, Response};
use crate::domain::rule::definition::Parameter;
use crate::domain::rule::{Rule, catalog};

/// One key of `observed` or `norm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The key in alerts.
    pub key: &'static str,
    /// The unit of its value.
    pub unit: Unit,
    /// Its meaning, in English and Russian.
    pub about: [&'static str; 2],
}

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A duration on the rule's clock.
    Seconds,
    /// A count.
    Count,
    /// Months.
    Months,
    /// A number, not always whole; amounts in minor units.
    Quantity,
    /// A share, 0 to 1.
    Share,
    /// A quantile, above 0 and below 1.
    Quantile,
    /// Percent.
    Percent,
    /// A score, 0 to 100.
    Score,
    /// 1 for yes, 0 for no.
    Flag,
    /// The id of a stage, or how an entity ended.
    Stage,
    /// Names, separated by commas.
    Names,
    /// One of these names.
    Name(&'static [&'static str]),
}

impl Unit {
    /// The unit in English and Russian, for documentation.
    pub fn name(self) -> [&'static str; 2] {
        match self {
            Self::Seconds => ["seconds", "секунды"],
            Self::Count => ["a number", "число"],
            Self::Months => ["months", "месяцы"],
            Self::Quantity => ["a number; amounts in minor units", "число; суммы в минимальных единицах валюты"],
            Self::Share => ["a share, 0 to 1", "доля, от 0 до 1"],
            Self::Quantile => ["a quantile, 0 to 1", "квантиль, от 0 до 1"],
            Self::Percent => ["percent", "проценты"],
            Self::Score => ["a score, 0 to 100", "баллы, от 0 до 100"],
            Self::Flag => ["0 or 1", "0 или 1"],
            Self::Stage => ["the CRM's id", "идентификатор из CRM"],
            Self::Names => ["names, separated by commas", "названия через запятую"],
            Self::Name(_) => ["a name", "название"],
        }
    }

    /// A number that was read as the value that was written.
    pub fn number(self, number: f64) -> Value {
        match self {
            Self::Count | Self::Months | Self::Flag => Value::Count(number as i64),
            Self::Quantity if number.fract() == 0.0 => Value::Count(number as i64),
            _ => Value::Number(number),
        }
    }

    /// Whether a value is valid for this unit.
    pub fn fits(self, value: &Value) -> bool {
        match value {
            Value::Count(count) => match self {
                Self::Count | Self::Months => *count >= 0,
                Self::Flag => (0..=1).contains(count),
                Self::Quantity => true,
                _ => false,
            },
            Value::Number(number) => match self {
                Self::Seconds => *number >= 0.0,
                Self::Quantity => number.is_finite(),
                Self::Share | Self::Quantile => (0.0..=1.0).contains(number),
                Self::Percent | Self::Score => (0.0..=100.0).contains(number),
                _ => false,
            },
            Value::Text(text) => match self {
                Self::Stage | Self::Names => true,
                Self::Name(names) => names.contains(&text.as_str()),
                _ => false,
            },
        }
    }
}

const fn key(key: &'static str, unit: Unit, english: &'static str, russian: &'static str) -> Evidence {
    Evidence { key, unit, about: [english, russian] }
}

const CLOCKS: Unit = Unit::Name(&[Clock::Wall.name(), Clock::Business.name()]);
const RESPONSES: Unit = Unit::Name(&[Response::Attempt.name(), Response::Conversation.name()]);
const BASES: Unit = Unit::Name(&["cohort", "closed"]);
const OUTCOMES: Unit =
    Unit::Name(&[Outcome::Won.name(), Outcome::Lost.name(), Outcome::Converted.name(), Outcome::Disqualified.name()]);

const PERIODS: Unit = Unit::Name(&[Per::Day.name(), Per::Week.name(), Per::Month.name(), Per::Quarter.name()]);

const ALL: &[Evidence] = &[
    // Observed.
    key("lag_seconds", Unit::Seconds, "how long the customer has waited", "сколько времени ждёт клиент"),
    key("idle_seconds", Unit::Seconds, "time since the latest touch", "сколько времени с клиентом не связывались"),
    key(
        "time_in_stage_seconds",
        Unit::Seconds,
        "time in the stage, the sum of all stays",
        "время на этапе, сумма за все заходы",
    ),
    key(
        "overdue_seconds",
        Unit::Seconds,
        "time since the deadline of the activity",
        "сколько времени прошло после срока",
    ),
    key("silent_seconds", Unit::Seconds, "how long no event has come", "сколько времени нет событий"),
    key("touches", Unit::Count, "touches so far", "сколько было попыток связаться"),
    key("outcome", OUTCOMES, "the outcome of the lead or deal", "итог лида или сделки"),
    key("reason_given", Unit::Flag, "whether any reason was given", "указана ли какая-нибудь причина"),
    key("stage", Unit::Stage, "the stage that was entered", "этап, на который перешли"),
    key("missing", Unit::Names, "what was missing, fields first", "чего не хватало, сначала поля"),
    key("from_stage", Unit::Stage, "the stage that was left", "этап, с которого ушли"),
    key("to_stage", Unit::Stage, "the stage that was entered, or the outcome", "этап, на который перешли, или итог"),
    key("discount_percent", Unit::Percent, "the discount that was offered", "предложенная скидка"),
    key("installment_months", Unit::Months, "the instalment plan that was offered", "предложенная рассрочка"),
    key("prepayment_percent", Unit::Percent, "the prepayment that was offered", "предложенная предоплата"),
    key("n", Unit::Count, "number of cases in the sample", "сколько случаев учтено"),
    key("k", Unit::Count, "how many of them count towards the share", "сколько из них засчитано в долю"),
    key("ratio", Unit::Share, "the share, `k` of `n`", "доля `k` от `n`"),
    key(
        "upper",
        Unit::Share,
        "upper bound of the share's 95 % confidence interval",
        "верхняя граница 95-процентного доверительного интервала доли",
    ),
    key("quantile_seconds", Unit::Seconds, "the lag at this quantile", "задержка на этом квантиле"),
    key("mean_score", Unit::Score, "the mean score of the reviews", "средняя оценка"),
    key("fact", Unit::Quantity, "the figure of the target so far", "сколько сделано"),
    key(
        "pace",
        Unit::Quantity,
        "what it would be if the target were reached evenly over the counted time",
        "сколько было бы сделано при равномерной работе",
    ),
    key(
        "share",
        Unit::Share,
        "how much of the counted time of the period has passed",
        "какая часть учитываемого времени периода прошла",
    ),
    key(
        "forecast",
        Unit::Quantity,
        "what the figure will be at the end of the period if it goes on like this; absent while the share is below 0.05",
        "сколько будет к концу периода, если так пойдёт дальше; нет, пока доля меньше 0,05",
    ),
    // Norm.
    key("per", PERIODS, "the length of the period", "длина периода"),
    key(
        "tolerance",
        Unit::Share,
        "the share of the pace that may be missing",
        "какая часть от равномерного темпа может не быть сделана",
    ),
    key("within_seconds", Unit::Seconds, "the deadline, from the anchor", "срок от начала отсчёта"),
    key("clock", CLOCKS, "which time counts", "какое время считается"),
    key("response", RESPONSES, "what counts as a response", "что считается ответом"),
    key("attempts", Unit::Count, "how many touches are required", "сколько нужно попыток"),
    key(
        "min_touches",
        Unit::Count,
        "how many touches are required before a disqualification",
        "сколько попыток нужно до отказа",
    ),
    key("required_stage", Unit::Stage, "the stage that was skipped", "пропущенный этап"),
    key("fields", Unit::Names, "the fields that the stage requires", "поля, которых требует этап"),
    key("activities", Unit::Names, "the activities that the stage requires", "дела, которых требует этап"),
    key("max_time_seconds", Unit::Seconds, "maximum time in the stage", "предельное время на этапе"),
    key("max_discount_percent", Unit::Percent, "maximum discount", "наибольшая скидка"),
    key("max_installment_months", Unit::Months, "maximum instalment plan", "самая длинная рассрочка"),
    key("min_prepayment_percent", Unit::Percent, "minimum prepayment", "наименьшая предоплата"),
    key("at_least", Unit::Share, "minimum share", "наименьшая допустимая доля"),
    key("at_most", Unit::Share, "maximum share", "наибольшая допустимая доля"),
    key("at_most_seconds", Unit::Seconds, "maximum lag", "наибольшая допустимая задержка"),
    key("quantile", Unit::Quantile, "which quantile is judged", "какой квантиль оценивается"),
    key("basis", BASES, "what the share is counted over", "от чего считается доля"),
    key(
        "min_sample",
        Unit::Count,
        "minimum number of cases; smaller samples are not judged",
        "минимум случаев; при меньшем числе оценки нет",
    ),
];

/// `at_least` of rules that judge scores.
const SCORE: Evidence = key("at_least", Unit::Score, "minimum mean score", "наименьшая допустимая средняя оценка");

/// `at_least` of targets.
const PLAN: Evidence = key("at_least", Unit::Quantity, "what is to be reached in the period", "план на период");

/// `idle_seconds` of the rule about next steps.
const WITHOUT_PLAN: Evidence =
    key("idle_seconds", Unit::Seconds, "time without a planned activity", "сколько времени ничего не запланировано");

/// The entry of a key in the alerts of a rule.
pub fn of(rule: Rule, key: &str) -> Option<&'static Evidence> {
    if key == SCORE.key && catalog::definition(rule).takes.contains(&Parameter::Score) {
        return Some(&SCORE);
    }
    if key == PLAN.key && rule == Rule::TargetBehind {
        return Some(&PLAN);
    }
    if key == WITHOUT_PLAN.key && rule == Rule::NextStepMissing {
        return Some(&WITHOUT_PLAN);
    }
    ALL.iter().find(|evidence| evidence.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_of_a_rule_is_listed() {
        for rule in Rule::ALL {
            let definition = catalog::definition(*rule);
            for key in [definition.observed, definition.norm].concat() {
                assert!(of(*rule, key).is_some(), "{}: `{key}` is missing in src/domain/rule/evidence.rs", rule.name());
            }
        }
    }

    #[test]
    fn every_key_is_listed_once() {
        let keys: BTreeSet<_> = ALL.iter().map(|evidence| evidence.key).collect();
        assert_eq!(keys.len(), ALL.len());
    }
}

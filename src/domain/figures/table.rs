//! Owns the figures and the table that describes them: a figure is one field and one row here. The encodings of rows, the
//! metrics, their documentation and the schema are derived from the table; `alert.proto` is tested against it.

use crate::domain::event::Channel;
use crate::domain::figures::statistics::{Conversion, Quantiles, Ratio};
use crate::domain::id::{PipelineId, StageId};
use crate::domain::rule::Rule;
use FigureValue::{Absent, Count, Group, Lags, Map, Number, Optional, Share};
use compact_str::CompactString;
use std::collections::BTreeMap;

/// The figures of a sliding window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowFigures {
    /// Leads created.
    pub leads_received: i64,
    /// Leads whose current closing is DISQUALIFIED.
    pub leads_disqualified: i64,
    /// Leads that were no lost opportunities; they are not among those created, disqualified or converted.
    pub leads_excluded: i64,
    /// Leads that became deals.
    pub lead_conversion: Conversion,
    /// Deals that passed from a stage to the next.
    pub stage_conversion: ByStage<Ratio>,
    /// Deals that were won.
    pub win_rate: Conversion,
    /// Lags of first responses on the wall clock.
    pub first_response_wall: Quantiles,
    /// Lags of first responses in working time.
    pub first_response_business: Quantiles,
    /// Lags from the assignment to the first touch, on the wall clock.
    pub human_response_wall: Quantiles,
    /// Lags from the assignment to the first touch, in working time.
    pub human_response_business: Quantiles,
    /// Of the judged leads, those answered by their deadline.
    pub first_response_within_norm: Ratio,
    /// Lags of returned missed calls.
    pub call_back: Quantiles,
    /// Lags of answers to messages.
    pub reply: Quantiles,
    /// Calls.
    pub calls: Calls,
    /// Talk time in seconds.
    pub talk_seconds: f64,
    /// Messages sent, by channel.
    pub messages_sent: BTreeMap<Channel, i64>,
    /// Messages received, by channel.
    pub messages_received: BTreeMap<Channel, i64>,
    /// Meetings held.
    pub meetings: i64,
    /// Touches.
    pub touches: i64,
    /// Dismissals that ended a wait for a reply.
    pub dismissed: i64,
    /// Planned activities.
    pub plans: Plans,
    /// Deals won.
    pub deals_won: i64,
    /// Deals lost.
    pub deals_lost: i64,
    /// Amount won in minor units, by currency.
    pub amount_won: BTreeMap<CompactString, i64>,
    /// Terms offered.
    pub terms: Terms,
    /// Reviews.
    pub reviews: Reviews,
    /// Violations that began, by rule.
    pub violations: BTreeMap<Rule, i64>,
}

/// Calls by direction and outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Inbound conversations.
    pub inbound_answered: i64,
    /// Inbound calls without a conversation.
    pub inbound_missed: i64,
    /// Outbound conversations.
    pub outbound_answered: i64,
    /// Outbound calls without a conversation.
    pub outbound_unanswered: i64,
}

/// Planned activities: what became of the plans in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    /// Plans made.
    pub made: i64,
    /// Plans whose activity was completed.
    pub done: i64,
    /// Those of them that had a deadline and met it.
    pub done_in_time: i64,
    /// Changes of a deadline.
    pub moved: i64,
}

/// Terms offered to customers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// Distinct deals with terms.
    pub offered: i64,
    /// Those of them with special terms.
    pub special: i64,
    /// Mean discount per offer; `None` without offers.
    pub mean_discount_percent: Option<f64>,
}

/// Reviews of calls and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reviews {
    /// Number of reviews.
    pub n: i64,
    /// Mean score, 0 to 100; `None` without reviews.
    pub mean_score: Option<f64>,
    /// Verdicts SUCCESS.
    pub successes: i64,
    /// Verdicts FAILURE.
    pub failures: i64,
}

/// Counts or shares by pipeline and stage (`unknown` for missing ones).
pub type ByStage<V = i64> = BTreeMap<PipelineId, BTreeMap<StageId, V>>;

/// The name of all stages, pipelines and currencies of a tenant beyond a bound.
pub const OTHER: &str = "other";

/// How many stages of a tenant have figures of their own.
pub const MAX_STAGES: usize = 512;

/// How many currencies of a tenant have figures of their own.
pub const MAX_CURRENCIES: usize = 64;

/// Current figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NowFigures {
    /// Leads that wait for their first response.
    pub awaiting_first_response: i64,
    /// The longest of these waits, on the wall clock.
    pub oldest_wait_seconds: Option<f64>,
    /// Open entities.
    pub open: ByStage,
    /// Open entities that are overdue in their stage.
    pub overdue: ByStage,
    /// Open alerts by rule.
    pub open_alerts: BTreeMap<Rule, i64>,
    /// Clocks whose deadline is near, by rule.
    pub due_soon: BTreeMap<Rule, i64>,
    /// Contacts with an unreturned missed call.
    pub unreturned_calls: i64,
    /// Contacts with an unanswered message.
    pub unanswered_messages: i64,
    /// Open plans.
    pub open_plans: i64,
    /// Those of them whose deadline has passed.
    pub overdue_plans: i64,
    /// Open entities that need a next step and have no plan.
    pub without_next_step: i64,
    /// Targets, by id.
    pub targets: BTreeMap<CompactString, TargetFigures>,
}

/// A figure: one value of a row, or several of one kind that differ in their labels.
#[derive(Debug)]
pub struct Figure<F: 'static> {
    /// Its name as a metric, for shares and lags without the suffix; empty: not a metric.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The names of its labels: those with fixed values, then one for each level of maps.
    pub labels: &'static [&'static str],
    /// What it counts; for lags, what their quantiles are of.
    pub help: &'static str,
    /// Its values.
    pub values: &'static [Part<F>],
}

/// One value of a figure.
#[derive(Debug)]
pub struct Part<F: 'static> {
    /// The values of the first labels.
    pub labels: &'static [&'static str],
    /// The key and protobuf tag in a row, after those of its group; empty: not in rows.
    pub path: &'static [(&'static str, u32)],
    /// Takes the value from the figures.
    pub value: for<'a> fn(&'a F) -> FigureValue<'a>,
}

/// What the values of a figure are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers of this unit.
    Plain(&'static str),
    /// Shares: how their bounds name them, and what their samples count.
    Share(&'static str, &'static str),
    /// Statistics of lags.
    Lags,
}

/// The value of a figure.
#[derive(Clone, Debug, PartialEq)]
pub enum FigureValue<'a> {
    /// A count.
    Count(i64),
    /// A number that is always present.
    Number(f64),
    /// A number that is absent for an empty sample.
    Optional(Option<f64>),
    /// A share of a sample.
    Share(Ratio),
    /// Statistics of lags.
    Lags(Quantiles),
    /// Values by name.
    Map(Vec<(&'a str, FigureValue<'a>)>),
    /// Yes or no.
    Flag(bool),
    /// Nothing: the key is left out.
    Absent,
    /// Several figures under one key.
    Group(Vec<Field<'a>>),
}

/// A key, its protobuf tag, and the value.
pub type Field<'a> = (&'static str, u32, FigureValue<'a>);

/// The fields of these figures, in the order of the table; neighbours with the same group become one field.
pub fn fields<'a, F>(table: &[Figure<F>], figures: &'a F) -> Vec<Field<'a>> {
    let mut fields = Vec::<Field<'a>>::with_capacity(table.len());
    for part in table.iter().flat_map(|figure| figure.values) {
        let [groups @ .., (key, tag)] = part.path else { continue };
        let field = (*key, *tag, (part.value)(figures));
        if field.2 == Absent {
            continue;
        }
        match (groups, fields.last_mut()) {
            ([], _) => fields.push(field),
            ([(group, _), ..], Some((key, _, Group(fields)))) if key == group => fields.push(field),
            ([(group, tag), ..], _) => fields.push((group, *tag, Group(vec![field]))),
        }
    }
    fields
}

impl Ratio {
    /// The fields of an encoded share.
    pub fn fields(self) -> [Field<'static>; 5] {
        let (lower, upper) = self.bounds().unzip();
        [
            ("n", 1, Count(self.n)),
            ("k", 2, Count(self.k)),
            ("ratio", 3, Optional(self.ratio())),
            ("lower", 4, Optional(lower)),
            ("upper", 5, Optional(upper)),
        ]
    }
}

impl Quantiles {
    /// The fields of encoded statistics.
    pub fn fields(self) -> [Field<'static>; 5] {
        let known = |seconds| Optional((self.n > 0).then_some(seconds));
        [
            ("n", 1, Count(self.n)),
            ("mean_seconds", 2, known(self.mean_seconds)),
            ("p50_seconds", 3, known(self.p50_seconds)),
            ("p90_seconds", 4, known(self.p90_seconds)),
            ("p99_seconds", 5, known(self.p99_seconds)),
        ]
    }
}

fn map<'a, K, V>(
    map: &'a BTreeMap<K, V>,
    name: impl Fn(&'a K) -> &'a str,
    value: impl Fn(&'a V) -> FigureValue<'a>,
) -> FigureValue<'a> {
    Map(map.iter().map(|(key, item)| (name(key), value(item))).collect())
}

fn count(n: &i64) -> FigureValue<'_> {
    Count(*n)
}

fn by_stage<V>(pipelines: &ByStage<V>, value: fn(&V) -> FigureValue<'_>) -> FigureValue<'_> {
    map(pipelines, PipelineId::as_str, |stages| map(stages, StageId::as_str, value))
}

macro_rules! figures {
    ($(#[$doc:meta])* $table:ident: $figures:ty {$(
        $name:literal $kind:ident $(($($text:literal),+))? [$($label:literal)*] $help:literal
            $({ [$($at:literal)*] $($key:ident=$tag:literal)/ * |$f:ident| $value:expr })+
    )*}) => {
        $(#[$doc])*
        pub const $table: &[Figure<$figures>] = &[$(Figure {
            name: $name,
            kind: Kind::$kind $(($($text),+))?,
            labels: &[$($label),*],
            help: $help,
            values: &[$(Part {
                labels: &[$($at),*],
                path: &[$((stringify!($key), $tag)),*],
                value: |$f| $value,
            }),+],
        }),*];
    };
}

figures! {
    /// The figures of a sliding window, in the order of the keys of a row and of metrics.
    WINDOW: WindowFigures {
        "leads_received" Plain("count") [] "Leads created in the window, by their current responsible manager." { [] leads_received=10 |f| Count(f.leads_received) }
        "leads_disqualified" Plain("count") [] "Leads closed in the window as DISQUALIFIED; a reopening or a new outcome removes them." { [] leads_disqualified=11 |f| Count(f.leads_disqualified) }
        "lead_conversion" Share("lead conversion", "Number of leads in the lead conversion.") ["basis"] "Share of leads that became deals."
            { ["cohort"] lead_conversion=12/cohort=1 |f| Share(f.lead_conversion.cohort) }
            { ["closed"] lead_conversion=12/closed=2 |f| Share(f.lead_conversion.closed) }
        "stage_conversion" Share("stage conversion", "Number of deals in the stage conversion.") ["pipeline" "deal_stage"]
            "Share of the deals that first reached the stage in the window and moved on to the next one."
            { [] stage_conversion=13 |f| by_stage(&f.stage_conversion, |ratio| Share(*ratio)) }
        "win_rate" Share("the win rate", "Number of deals in the win rate.") ["basis"] "Share of deals won."
            { ["cohort"] win_rate=14/cohort=1 |f| Share(f.win_rate.cohort) }
            { ["closed"] win_rate=14/closed=2 |f| Share(f.win_rate.closed) }
        "first_response" Lags ["clock"] "first response lag"
            { ["wall"] first_response=15/wall=1 |f| Lags(f.first_response_wall) }
            { ["business"] first_response=15/business=2 |f| Lags(f.first_response_business) }
        "first_responses" Plain("count") [] "First responses given." { [] |f| Count(f.first_response_wall.n) }
        "first_response_within_norm" Share("the share answered by their deadline", "Evaluated leads. A lead is evaluated at its response or its deadline, whichever is first.") []
            "Share of the evaluated leads that were answered by their deadline."
            { [] first_response=15/within_norm=3 |f| Share(f.first_response_within_norm) }
        "call_back" Lags [] "lag from a missed call to its call-back, on the clock of the norm" { [] call_back=16 |f| Lags(f.call_back) }
        "call_backs" Plain("count") [] "Missed calls that were called back." { [] |f| Count(f.call_back.n) }
        "reply" Lags [] "lag from a message to its reply, on the clock of the norm" { [] reply=17 |f| Lags(f.reply) }
        "replies" Plain("count") [] "Messages that were answered." { [] |f| Count(f.reply.n) }
        "calls" Plain("count") ["direction" "outcome"] "Calls; an answered call is a conversation."
            { ["inbound" "answered"] calls=18/inbound_answered=1 |f| Count(f.calls.inbound_answered) }
            { ["inbound" "missed"] calls=18/inbound_missed=2 |f| Count(f.calls.inbound_missed) }
            { ["outbound" "answered"] calls=18/outbound_answered=3 |f| Count(f.calls.outbound_answered) }
            { ["outbound" "unanswered"] calls=18/outbound_unanswered=4 |f| Count(f.calls.outbound_unanswered) }
        "talk_seconds" Plain("seconds") [] "Talk time of calls." { [] talk_seconds=19 |f| Number(f.talk_seconds) }
        "messages" Plain("count") ["direction" "channel"] "Written messages."
            { ["sent"] messages=20/sent=1 |f| map(&f.messages_sent, |channel| channel.name(), count) }
            { ["received"] messages=20/received=2 |f| map(&f.messages_received, |channel| channel.name(), count) }
        "meetings" Plain("count") [] "Meetings held." { [] meetings=21 |f| Count(f.meetings) }
        "touches" Plain("count") [] "Acts of managers towards customers: calls, messages and meetings." { [] touches=22 |f| Count(f.touches) }
        "deals_won" Plain("count") [] "Deals won." { [] deals_won=23 |f| Count(f.deals_won) }
        "deals_lost" Plain("count") [] "Deals lost." { [] deals_lost=24 |f| Count(f.deals_lost) }
        "amount_won_minor_units" Plain("minor units") ["currency"] "Amount of deals won." { [] amount_won=25 |f| map(&f.amount_won, |currency| currency.as_str(), count) }
        "terms_offered" Plain("count") [] "Deals for which terms were offered." { [] terms=26/offered=1 |f| Count(f.terms.offered) }
        "terms_special" Plain("count") [] "Deals for which special terms were offered: a discount, instalments, or a prepayment below 100 %." { [] terms=26/special=2 |f| Count(f.terms.special) }
        "special_terms_ratio" Plain("ratio 0 to 1") [] "Share of deals with special terms among those for which terms were offered."
            { [] |f| Optional(Ratio { n: f.terms.offered, k: f.terms.special }.ratio()) }
        "" Plain("percent") [] "Mean discount of the offers; an offer without a discount counts as 0." { [] terms=26/mean_discount_percent=3 |f| Optional(f.terms.mean_discount_percent) }
        "discount_mean_ratio" Plain("ratio 0 to 1") [] "Mean discount of the offers; an offer without a discount counts as 0."
            { [] |f| Optional(f.terms.mean_discount_percent.map(|percent| percent / 100.0)) }
        "review_mean_score" Plain("score 0 to 100") [] "Mean score of reviews." { [] |f| Optional(f.reviews.mean_score) }
        "reviews" Plain("count") [] "Reviews." { [] reviews=27/n=1 |f| Count(f.reviews.n) }
        "" Plain("score 0 to 100") [] "Mean score of reviews." { [] reviews=27/mean_score=2 |f| Optional(f.reviews.mean_score) }
        "review_successes" Plain("count") [] "Reviews with the verdict SUCCESS." { [] reviews=27/successes=3 |f| Count(f.reviews.successes) }
        "review_failures" Plain("count") [] "Reviews with the verdict FAILURE." { [] reviews=27/failures=4 |f| Count(f.reviews.failures) }
        "violations" Plain("count") ["rule"] "Violations that began in the window." { [] violations=28 |f| map(&f.violations, |rule| rule.name(), count) }
        "human_response" Lags ["clock"] "lag from the assignment of a lead to the first touch, by the manager who made the touch"
            { ["wall"] human_response=31/wall=1 |f| Lags(f.human_response_wall) }
            { ["business"] human_response=31/business=2 |f| Lags(f.human_response_business) }
        "human_responses" Plain("count") [] "First touches of leads that somebody was responsible for, by the manager who made the touch." { [] |f| Count(f.human_response_wall.n) }
        "dismissed" Plain("count") [] "Calls and messages dismissed while they waited for a reply." { [] dismissed=29 |f| Count(f.dismissed) }
        "plans_made" Plain("count") [] "Activities planned." { [] plans=33/made=1 |f| Count(f.plans.made) }
        "plans_done" Plain("count") [] "Planned activities that were completed." { [] plans=33/done=2 |f| Count(f.plans.done) }
        "plans_done_in_time" Plain("count") [] "Planned activities that were completed by their deadline." { [] plans=33/done_in_time=3 |f| Count(f.plans.done_in_time) }
        "plans_moved" Plain("count") [] "Changes of the deadline of a planned activity." { [] plans=33/moved=4 |f| Count(f.plans.moved) }
        "leads_excluded" Plain("count") [] "Leads created in the window and disqualified for one of the `excluded_reasons`; `leads_received`, `leads_disqualified` and the lead conversion leave them out." { [] leads_excluded=30 |f| Count(f.leads_excluded) }
    }
}

figures! {
    /// The current figures, likewise.
    NOW: NowFigures {
        "awaiting_first_response" Plain("count") [] "Leads waiting for their first response." { [] awaiting_first_response=40 |f| Count(f.awaiting_first_response) }
        "" Plain("seconds") [] "Longest current wait for a first response, in wall time." { [] oldest_wait_seconds=41 |f| Optional(f.oldest_wait_seconds) }
        "oldest_wait_seconds" Plain("seconds") [] "Longest current wait for a first response, in wall time; 0 if no lead is waiting." { [] |f| Number(f.oldest_wait_seconds.unwrap_or_default()) }
        "open_entities" Plain("count") ["pipeline" "deal_stage"] "Open leads and deals." { [] open=42 |f| by_stage(&f.open, count) }
        "overdue_entities" Plain("count") ["pipeline" "deal_stage"] "Open leads and deals that have been in their stage longer than its norm." { [] overdue=43 |f| by_stage(&f.overdue, count) }
        "open_alerts" Plain("count") ["rule"] "Open alerts." { [] open_alerts=44 |f| map(&f.open_alerts, |rule| rule.name(), count) }
        "unreturned_calls" Plain("count") [] "Contacts with a missed call that has not been returned." { [] unreturned_calls=45 |f| Count(f.unreturned_calls) }
        "unanswered_messages" Plain("count") [] "Contacts with a message that has not been answered." { [] unanswered_messages=46 |f| Count(f.unanswered_messages) }
        "open_plans" Plain("count") [] "Planned activities that are neither completed nor cancelled." { [] open_plans=48 |f| Count(f.open_plans) }
        "overdue_plans" Plain("count") [] "Open planned activities whose deadline has passed." { [] overdue_plans=49 |f| Count(f.overdue_plans) }
        "without_next_step" Plain("count") [] "Open deals for which nothing is planned; leads too if the norms require it." { [] without_next_step=50 |f| Count(f.without_next_step) }
        "due_soon" Plain("count") ["rule"] "Waits whose deadline is near; no violations yet." { [] due_soon=47 |f| map(&f.due_soon, |rule| rule.name(), count) }
        "" Plain("number") [] "Targets: plan, fact, pace, share of the counted time that has passed, forecast." { [] targets=51 |f| if f.targets.is_empty() { Absent } else { map(&f.targets, |id| id.as_str(), |target| Group(target.fields())) } }
    }
}

/// The figures of a target in a `now` row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TargetFigures {
    /// What is to be reached.
    pub at_least: f64,
    /// The figure so far.
    pub fact: i64,
    /// What it would be if the target were reached evenly.
    pub pace: f64,
    /// The share of the counted time of the period that has passed.
    pub share: f64,
    /// What it will be at the end; `None` while little time has passed.
    pub forecast: Option<f64>,
    /// Whether a part of the period is not known.
    pub incomplete: bool,
}

impl TargetFigures {
    /// The fields in a `now` row.
    pub fn fields(&self) -> Vec<Field<'static>> {
        let mut fields = vec![
            ("at_least", 1, FigureValue::Number(self.at_least)),
            ("fact", 2, FigureValue::Count(self.fact)),
            ("pace", 3, FigureValue::Number(self.pace)),
            ("share", 4, FigureValue::Number(self.share)),
            ("forecast", 5, FigureValue::Optional(self.forecast)),
        ];
        fields.extend(self.incomplete.then_some(("incomplete", 6, FigureValue::Flag(true))));
        fields
    }

    /// The fields of a closing row.
    pub fn closing_fields(&self) -> Vec<Field<'static>> {
        let mut fields = vec![
            ("at_least", 60, FigureValue::Number(self.at_least)),
            ("fact", 61, FigureValue::Count(self.fact)),
            ("share", 62, FigureValue::Number(self.share)),
        ];
        fields.extend(self.incomplete.then_some(("incomplete", 63, FigureValue::Flag(true))));
        fields
    }

    /// The values of gauges, by the label `value`; the forecast only if there is one.
    pub fn gauges(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let values = [("at_least", self.at_least), ("fact", self.fact as f64), ("pace", self.pace)];
        values.into_iter().chain(self.forecast.map(|forecast| ("forecast", forecast)))
    }
}

//! Owns which facts stand behind a figure: for each count and share of the table, what it counts.

use crate::domain::event::{Direction, Verdict};
use crate::domain::figures::pane::Measure;
use crate::domain::figures::row::{Figures, Row};
use crate::domain::figures::table::{Figure, FigureValue, NOW, WINDOW};
use crate::domain::index::StageIx;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;

/// A figure whose members can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Its name as a metric.
    pub name: &'static str,
    /// Its labels whose values choose some of its members.
    pub labels: &'static [&'static str],
    /// Whether it is a current figure, and not one of a window.
    pub now: bool,
    /// Whether it is a share: then its members are those of the sample, and some of them count.
    pub share: bool,
}

const fn of_window(name: &'static str, labels: &'static [&'static str]) -> Behind {
    Behind { name, labels, now: false, share: false }
}

const fn share(name: &'static str, labels: &'static [&'static str]) -> Behind {
    Behind { name, labels, now: false, share: true }
}

const fn of_now(name: &'static str, labels: &'static [&'static str]) -> Behind {
    Behind { name, labels, now: true, share: false }
}

/// The figures whose members can be listed. Those that are missing are sums, means and the waits that `now` measures, and
/// lags, whose samples are `first_responses`, `human_responses`, `call_backs` and `replies`.
pub const BEHIND: &[Behind] = &[
    of_window("leads_received", &[]),
    of_window("leads_disqualified", &[]),
    of_window("leads_excluded", &[]),
    share("lead_conversion", &["basis"]),
    share("stage_conversion", &["pipeline", "deal_stage"]),
    share("win_rate", &["basis"]),
    of_window("first_responses", &[]),
    share("first_response_within_norm", &[]),
    of_window("human_responses", &[]),
    of_window("call_backs", &[]),
    of_window("replies", &[]),
    of_window("calls", &["direction", "outcome"]),
    of_window("messages", &["direction", "channel"]),
    of_window("meetings", &[]),
    of_window("touches", &[]),
    of_window("dismissed", &[]),
    of_window("deals_won", &[]),
    of_window("deals_lost", &[]),
    of_window("terms_offered", &[]),
    of_window("terms_special", &[]),
    share("special_terms_ratio", &[]),
    of_window("reviews", &[]),
    of_window("review_successes", &[]),
    of_window("review_failures", &[]),
    of_window("violations", &["rule"]),
    of_window("plans_made", &[]),
    of_window("plans_done", &[]),
    of_window("plans_done_in_time", &[]),
    of_window("plans_moved", &[]),
    of_now("awaiting_first_response", &[]),
    of_now("open_entities", &["pipeline", "deal_stage"]),
    of_now("overdue_entities", &["pipeline", "deal_stage"]),
    of_now("open_alerts", &["rule"]),
    of_now("due_soon", &["rule"]),
    of_now("unreturned_calls", &[]),
    of_now("unanswered_messages", &[]),
    of_now("open_plans", &[]),
    of_now("overdue_plans", &[]),
    of_now("without_next_step", &[]),
];

/// How a fact stands behind a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is a member that counts: of a share, one of those that reached what the share measures.
    Counts,
    /// It is a member of the sample of a share.
    Sample,
    /// It says that a member of the sample with the same origin counts.
    Marks,
}

/// The value of a label by which members are chosen; `None`: all.
pub type Chosen<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

impl Behind {
    /// The figure of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        BEHIND.iter().find(|figure| figure.name == name)
    }

    /// How a fact dated `dated` stands behind the figure as of `at`, if it does. `stage` returns the pipeline and stage of an
    /// index.
    pub fn has<'s>(
        &self,
        (measure, dated, at): (Measure, Timestamp, Timestamp),
        chosen: Chosen<'_>,
        stage: &dyn Fn(StageIx) -> Option<(&'s str, &'s str)>,
    ) -> Option<Part> {
        let is = |label: &str, value: &str| chosen(label).is_none_or(|wanted| wanted == value);
        let is_stage = |ix: StageIx| {
            stage(ix).is_some_and(|(pipeline, stage)| is("pipeline", pipeline) && is("deal_stage", stage))
        };
        // A share with a basis that is not chosen has the members of its closings.
        let closed = chosen("basis") != Some("cohort");
        let of_rule = |rule: Rule| is("rule", rule.name()).then_some(Part::Counts);
        match (self.name, measure) {
            ("leads_received", Measure::LeadReceived)
            | ("leads_disqualified", Measure::LeadDisqualified)
            | ("leads_excluded", Measure::LeadExcluded)
            | ("first_responses", Measure::FirstResponse { .. })
            | ("human_responses", Measure::HumanResponse { .. })
            | ("call_backs", Measure::CallBack(_))
            | ("replies", Measure::Reply(_))
            | ("meetings", Measure::Meeting)
            | ("touches", Measure::Touch)
            | ("dismissed", Measure::Dismissed)
            | ("deals_won", Measure::DealWon)
            | ("deals_lost", Measure::DealLost)
            | ("reviews", Measure::Review { .. })
            | ("plans_made", Measure::PlanMade)
            | ("plans_done", Measure::PlanDone { .. })
            | ("plans_done_in_time", Measure::PlanDone { in_time: true })
            | ("plans_moved", Measure::PlanMoved)
            | ("awaiting_first_response", Measure::Awaiting)
            | ("unreturned_calls", Measure::Unreturned)
            | ("unanswered_messages", Measure::Unanswered)
            | ("open_plans", Measure::OpenPlan)
            | ("without_next_step", Measure::WithoutPlan)
            | ("terms_offered", Measure::Terms { .. })
            | ("terms_special", Measure::Terms { special: true, .. })
            | ("review_successes", Measure::Review { verdict: Verdict::Success, .. })
            | ("review_failures", Measure::Review { verdict: Verdict::Failure, .. }) => Some(Part::Counts),
            ("lead_conversion", Measure::LeadReceived) if !closed => Some(Part::Sample),
            ("lead_conversion", Measure::LeadConverted) if !closed => Some(Part::Marks),
            ("lead_conversion", Measure::LeadDisqualified) if closed => Some(Part::Sample),
            ("lead_conversion", Measure::LeadClosedConverted) if closed => Some(Part::Counts),
            ("win_rate", Measure::DealReceived) if !closed => Some(Part::Sample),
            ("win_rate", Measure::DealConverted) if !closed => Some(Part::Marks),
            ("win_rate", Measure::DealLost) if closed => Some(Part::Sample),
            ("win_rate", Measure::DealWon) if closed => Some(Part::Counts),
            ("stage_conversion", Measure::StageReached(ix)) => is_stage(ix).then_some(Part::Sample),
            ("stage_conversion", Measure::StagePassed(ix)) => is_stage(ix).then_some(Part::Marks),
            ("first_response_within_norm", Measure::FirstResponseJudged { within }) => {
                Some(if within { Part::Counts } else { Part::Sample })
            }
            ("special_terms_ratio", Measure::Terms { special, .. }) => {
                Some(if special { Part::Counts } else { Part::Sample })
            }
            ("open_entities", Measure::Open(ix)) | ("overdue_entities", Measure::Overdue(ix)) => {
                is_stage(ix).then_some(Part::Counts)
            }
            ("overdue_plans", Measure::OpenPlan) => (dated < at).then_some(Part::Counts),
            ("violations", Measure::Violation(rule))
            | ("open_alerts", Measure::OpenAlert(rule))
            | ("due_soon", Measure::DueSoon(rule)) => of_rule(rule),
            ("calls", Measure::Call { direction, answered }) => {
                let outcome = match (direction, answered) {
                    (_, true) => "answered",
                    (Direction::Inbound, false) => "missed",
                    (Direction::Outbound, false) => "unanswered",
                };
                let direction = if direction == Direction::Inbound { "inbound" } else { "outbound" };
                (is("direction", direction) && is("outcome", outcome)).then_some(Part::Counts)
            }
            ("messages", Measure::MessageSent(channel)) => {
                (is("direction", "sent") && is("channel", channel.name())).then_some(Part::Counts)
            }
            ("messages", Measure::MessageReceived(channel)) => {
                (is("direction", "received") && is("channel", channel.name())).then_some(Part::Counts)
            }
            _ => None,
        }
    }

    /// The figure in a row: its count, and for a share the size of the sample and what counts of it.
    pub fn value(&self, row: &Row, chosen: Chosen<'_>) -> Option<(i64, Option<i64>)> {
        match &row.figures {
            Figures::Window(_, figures) if !self.now => self.value_in(WINDOW, figures, chosen),
            Figures::Now(figures) if self.now => self.value_in(NOW, figures, chosen),
            _ => None,
        }
    }

    fn value_in<F>(&self, table: &[Figure<F>], figures: &F, chosen: Chosen<'_>) -> Option<(i64, Option<i64>)> {
        if self.name == "special_terms_ratio" {
            let of = |name| Self::named(name)?.value_in(table, figures, chosen);
            return Some((of("terms_offered")?.0, Some(of("terms_special")?.0)));
        }
        let figure = table.iter().find(|figure| figure.name == self.name)?;
        let mut sum = (0, self.share.then_some(0));
        for part in figure.values {
            let fixed = part.labels.iter().zip(figure.labels).all(|(value, label)| match chosen(label) {
                Some(wanted) => wanted == *value,
                None => *label != "basis" || *value == "closed",
            });
            if fixed {
                add(&mut sum, &(part.value)(figures), &figure.labels[part.labels.len()..], chosen);
            }
        }
        Some(sum)
    }
}

/// Adds the counts of a value, of maps those of the chosen keys.
fn add(sum: &mut (i64, Option<i64>), value: &FigureValue<'_>, labels: &[&str], chosen: Chosen<'_>) {
    match value {
        FigureValue::Count(n) => sum.0 += n,
        FigureValue::Share(share) => *sum = (sum.0 + share.n, sum.1.map(|k| k + share.k)),
        FigureValue::Map(items) => {
            let [label, rest @ ..] = labels else { return };
            let of_key = |(key, _): &&(&str, FigureValue<'_>)| chosen(label).is_none_or(|wanted| wanted == *key);
            items.iter().filter(of_key).for_each(|(_, item)| add(sum, item, rest, chosen));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::figures::table::Kind;

    /// Figures that are no counts of anything that could be listed.
    const WITHOUT: [&str; 9] = [
        "first_response",
        "call_back",
        "reply",
        "human_response",
        "talk_seconds",
        "amount_won_minor_units",
        "discount_mean_ratio",
        "review_mean_score",
        "oldest_wait_seconds",
    ];

    #[test]
    fn every_count_and_share_has_members() {
        let window = WINDOW.iter().map(|figure| (figure.name, figure.kind, figure.labels, false));
        let now = NOW.iter().map(|figure| (figure.name, figure.kind, figure.labels, true));
        let all: Vec<_> = window.chain(now).filter(|(name, ..)| !name.is_empty()).collect();
        for (name, kind, labels, is_now) in &all {
            match Behind::named(name) {
                Some(figure) => {
                    assert_eq!((figure.now, figure.labels), (*is_now, *labels), "{name}");
                    assert_eq!(
                        figure.share,
                        matches!(kind, Kind::Share(..)) || *name == "special_terms_ratio",
                        "{name}"
                    );
                }
                None => assert!(WITHOUT.contains(name), "{name}"),
            }
        }
        for figure in BEHIND {
            assert!(all.iter().any(|(name, ..)| *name == figure.name), "{}", figure.name);
        }
    }
}

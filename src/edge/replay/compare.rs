//! Owns the back-test: what becomes of the alerts when the same events are judged by other norms. Pure.
//!
//! **What is compared is violations, not statuses.** The statuses of one `alert_id` are one [`Life`]; a life that was
//! retracted never was, and is left out.
//!
//! **The same violation has the same id under both norms**, as ids know the anchor and no deadline. Only where the norm
//! decides when a violation begins (the rules over windows: their anchor is the instant at which a figure left its norm)
//! ids differ; so what is left over is paired if tenant, rule and subject are the same and the spans from anchor to end
//! overlap. A pair is one of one and one: where one long violation takes the place of two short ones, one of the two is
//! changed and the other removed. So **new = old + added − removed**, always.

use crate::domain::alert::{Alert, Status};
use crate::domain::id::TenantId;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A violation from its beginning to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Dated, and charged to a manager, as it began; severity, level, status and the rest as they were at the end.
    pub alert: Alert,
    /// When it ended; `None`: it lasts.
    pub ended: Option<Timestamp>,
}

/// Something that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertChange {
    /// Only the new norms find it.
    Added,
    /// Only the old ones do.
    Removed,
    /// Both do, with another deadline, severity, level or manager, or (over windows) with another beginning.
    Changed,
}

impl AlertChange {
    /// The name in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// One violation under the old norms, the new ones, or both.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Only the new norms find it.
    New(Life),
    /// Only the old ones do.
    Old(Life),
    /// Both do.
    Both {
        /// Under the old norms.
        old: Box<Life>,
        /// Under the new ones.
        new: Life,
    },
}

impl Verdict {
    /// How it went under the old norms.
    pub fn under_old(&self) -> Option<&Life> {
        match self {
            Self::Old(old) => Some(old),
            Self::Both { old, .. } => Some(old),
            Self::New(_) => None,
        }
    }

    /// How it went under the new norms.
    pub fn under_new(&self) -> Option<&Life> {
        match self {
            Self::New(new) | Self::Both { new, .. } => Some(new),
            Self::Old(_) => None,
        }
    }

    /// What differs; `None`: nothing does.
    pub fn change(&self) -> Option<AlertChange> {
        match self {
            Self::New(_) => Some(AlertChange::Added),
            Self::Old(_) => Some(AlertChange::Removed),
            Self::Both { old, new } => {
                let shown = |life: &Life| (life.alert.id, life.alert.due_at, life.alert.severity, life.alert.level);
                let same = shown(old) == shown(new) && old.alert.manager == new.alert.manager;
                (!same).then_some(AlertChange::Changed)
            }
        }
    }

    /// Whether it went further under the new norms than under the old (`Greater`), or less far, by severity and level.
    pub fn gravity(&self) -> Ordering {
        let reached = |life: &Life| (life.alert.severity, life.alert.level);
        self.under_new().map(reached).cmp(&self.under_old().map(reached))
    }

    /// Under the new norms, or else under the old: its names.
    pub fn alert(&self) -> &Alert {
        match self {
            Self::New(life) | Self::Old(life) | Self::Both { new: life, .. } => &life.alert,
        }
    }

    /// When it began, under whichever norms it did so first.
    fn began(&self) -> Timestamp {
        match self {
            Self::New(life) | Self::Old(life) => life.alert.at,
            Self::Both { old, new } => old.alert.at.min(new.alert.at),
        }
    }
}

/// Makes lives out of statuses, which are in order of their instants. Those that were retracted are left out.
pub fn lives(statuses: Vec<Alert>) -> Vec<Life> {
    let mut places = HashMap::<Uuid, usize>::new();
    let mut lives: Vec<Life> = Vec::new();
    for status in statuses {
        let ended = matches!(status.status, Status::Raised | Status::Resolved | Status::Retracted).then_some(status.at);
        match places.get(&status.id) {
            Some(place) => {
                let life = &mut lives[*place];
                let Alert { at, manager, department, .. } = life.alert.clone();
                *life = Life { alert: Alert { at, manager, department, ..status }, ended };
            }
            None => {
                places.insert(status.id, lives.len());
                lives.push(Life { alert: status, ended });
            }
        }
    }
    lives.retain(|life| life.alert.status != Status::Retracted);
    lives
}

/// Holds the lives under two norms against each other. With `since`, only what began then or later counts, under
/// whichever norms it began first. In order of tenant, then of when it began.
pub fn compare(old: Vec<Life>, new: Vec<Life>, since: Option<Timestamp>) -> Vec<Verdict> {
    let mut unmatched: HashMap<Uuid, Life> = old.into_iter().map(|life| (life.alert.id, life)).collect();
    let mut verdicts = Vec::new();
    let mut left = BTreeMap::<(TenantId, Rule, String), [Vec<Life>; 2]>::new();
    let key = |life: &Life| (life.alert.tenant.clone(), life.alert.rule, life.alert.subject.to_string());
    for new in new {
        match unmatched.remove(&new.alert.id) {
            Some(old) => verdicts.push(Verdict::Both { old: Box::new(old), new }),
            None => left.entry(key(&new)).or_default()[1].push(new),
        }
    }
    for old in unmatched.into_values() {
        left.entry(key(&old)).or_default()[0].push(old);
    }
    for [old, new] in left.into_values() {
        pair_up(old, new, &mut verdicts);
    }
    verdicts.retain(|verdict| since.is_none_or(|since| verdict.began() >= since));
    // Everything that tells two verdicts apart, so that the order never depends on a hash.
    verdicts.sort_by_cached_key(|verdict| {
        let alert = verdict.alert();
        (alert.tenant.clone(), verdict.began(), alert.rule, alert.subject.clone(), alert.id)
    });
    verdicts
}

/// Pairs the lives of one subject whose spans overlap, in order of time. Lives of one side do not overlap each other, so
/// this finds as many pairs as there can be.
fn pair_up(mut old: Vec<Life>, mut new: Vec<Life>, verdicts: &mut Vec<Verdict>) {
    for lives in [&mut old, &mut new] {
        lives.sort_by_key(|life| (life.alert.anchor_at, life.alert.id));
    }
    let end = |life: &Life| life.ended.unwrap_or(Timestamp::MAX);
    let before = |a: &Life, b: &Life| end(a) <= b.alert.anchor_at;
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    while let (Some(one), Some(other)) = (old.peek(), new.peek()) {
        let (one_first, other_first) = (before(one, other), before(other, one));
        // Acts have no length: two of them at different instants are two.
        let verdict = match (one_first, other_first) {
            (true, _) => old.next().map(Verdict::Old),
            (_, true) => new.next().map(Verdict::New),
            _ => old.next().zip(new.next()).map(|(old, new)| Verdict::Both { old: Box::new(old), new }),
        };
        verdicts.extend(verdict);
    }
    verdicts.extend(old.map(Verdict::Old));
    verdicts.extend(new.map(Verdict::New));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Severity, alert_id};
    use proptest::prelude::*;

    /// A status of a violation of `subject` anchored at second `anchor`, at second `at`.
    fn status(rule: Rule, subject: &str, anchor: i64, at: i64, status: Status) -> Alert {
        let (tenant, anchor_at) = (TenantId::from("romashka"), Timestamp(anchor * 1000));
        Alert {
            id: alert_id(&tenant, rule, subject, anchor_at),
            tenant,
            rule,
            severity: Severity::Warning,
            level: 0,
            status,
            subject: subject.into(),
            at: Timestamp(at * 1000),
            anchor_at,
            due_at: None,
            manager: Some("vera".into()),
            department: Some("moscow".into()),
            entity: None,
            interaction: None,
            window: None,
            observed: Vec::new(),
            norm: Vec::new(),
            resolution: None,
        }
    }

    /// A violation of a window rule from one second to another; open if it ends at 0.
    fn spell(rule: Rule, from: i64, to: i64) -> Vec<Alert> {
        let mut statuses = vec![status(rule, "manager:vera/7d", from, from, Status::Firing)];
        if to > 0 {
            statuses.push(status(rule, "manager:vera/7d", from, to, Status::Resolved));
        }
        statuses
    }

    fn changes(old: &[Vec<Alert>], new: &[Vec<Alert>]) -> Vec<Option<AlertChange>> {
        let verdicts = compare(lives(old.concat()), lives(new.concat()), None);
        verdicts.iter().map(Verdict::change).collect()
    }

    #[test]
    fn a_life_is_charged_to_whoever_had_it_when_it_began_and_ends_as_bad_as_it_got() {
        let rule = Rule::FirstResponseLate;
        let firing = status(rule, "lead:1", 0, 900, Status::Firing);
        let mut escalated = status(rule, "lead:1", 0, 1800, Status::Escalated);
        (escalated.level, escalated.severity, escalated.manager) = (1, Severity::Critical, Some("anna".into()));
        let resolved = Alert { status: Status::Resolved, at: Timestamp(2_000_000), ..escalated.clone() };
        let open = lives(vec![firing.clone(), escalated.clone()]);
        assert_eq!((open.len(), open[0].ended), (1, None));
        let [life] = &lives(vec![firing.clone(), escalated.clone(), resolved.clone()])[..] else { panic!("one life") };
        assert_eq!((life.alert.at, life.ended), (Timestamp(900_000), Some(Timestamp(2_000_000))));
        assert_eq!((life.alert.manager.clone(), life.alert.severity), (Some("vera".into()), Severity::Critical));
        let retracted = Alert { status: Status::Retracted, ..resolved.clone() };
        assert_eq!(lives(vec![firing, escalated, resolved, retracted]), []);
    }

    #[test]
    fn what_one_side_lacks_is_added_or_removed() {
        let lead = |id: &str| vec![status(Rule::FirstResponseLate, id, 0, 900, Status::Firing)];
        assert_eq!(changes(&[lead("lead:1")], &[]), [Some(AlertChange::Removed)]);
        assert_eq!(changes(&[], &[lead("lead:1")]), [Some(AlertChange::Added)]);
        assert_eq!(changes(&[lead("lead:1")], &[lead("lead:1")]), [None]);
        // Two leads at one instant are two.
        assert_eq!(
            changes(&[lead("lead:1")], &[lead("lead:2")]),
            [Some(AlertChange::Removed), Some(AlertChange::Added)]
        );
    }

    #[test]
    fn what_both_have_is_changed_if_it_is_worse_or_due_at_another_time_or_somebody_elses() {
        let old = || status(Rule::FirstResponseLate, "lead:1", 0, 900, Status::Firing);
        let change = |new: Alert| changes(&[vec![old()]], &[vec![new]])[0];
        assert_eq!(change(Alert { due_at: Some(Timestamp(300_000)), ..old() }), Some(AlertChange::Changed));
        assert_eq!(change(Alert { severity: Severity::Critical, ..old() }), Some(AlertChange::Changed));
        assert_eq!(change(Alert { level: 1, ..old() }), Some(AlertChange::Changed));
        assert_eq!(change(Alert { manager: None, ..old() }), Some(AlertChange::Changed));
        assert_eq!(change(Alert { at: Timestamp(901_000), ..old() }), None);
        let gravity = |new: Alert| compare(lives(vec![old()]), lives(vec![new]), None)[0].gravity();
        assert_eq!(gravity(Alert { severity: Severity::Critical, ..old() }), Ordering::Greater);
        assert_eq!(gravity(Alert { severity: Severity::Info, level: 1, ..old() }), Ordering::Less);
        assert_eq!(gravity(Alert { due_at: Some(Timestamp(300_000)), ..old() }), Ordering::Equal);
    }

    #[test]
    fn spells_of_one_subject_that_overlap_are_the_same() {
        let rule = Rule::ConversionLow;
        let (changed, added, removed) =
            (Some(AlertChange::Changed), Some(AlertChange::Added), Some(AlertChange::Removed));
        assert_eq!(changes(&[spell(rule, 100, 200)], &[spell(rule, 50, 300)]), [changed]);
        assert_eq!(changes(&[spell(rule, 100, 0)], &[spell(rule, 150, 0)]), [changed]);
        assert_eq!(changes(&[spell(rule, 100, 200)], &[spell(rule, 200, 300)]), [removed, added]);
        assert_eq!(changes(&[spell(rule, 100, 200)], &[spell(Rule::ResponseSlow, 50, 300)]), [added, removed]);
        // One long spell in place of two short ones.
        let short = [spell(rule, 100, 200), spell(rule, 250, 280)];
        assert_eq!(changes(&short, &[spell(rule, 90, 300)]), [changed, removed]);
        assert_eq!(changes(&[spell(rule, 90, 300)], &short), [changed, added]);
    }

    #[test]
    fn acts_are_the_same_at_the_same_instant_only() {
        let act = |at| vec![status(Rule::StageReverted, "deal:1", at, at, Status::Raised)];
        assert_eq!(changes(&[act(10)], &[act(10)]), [None]);
        assert_eq!(changes(&[act(10)], &[act(11)]), [Some(AlertChange::Removed), Some(AlertChange::Added)]);
    }

    #[test]
    fn what_began_before_the_period_under_either_norms_does_not_count() {
        let rule = Rule::ConversionLow;
        let count = |since: i64| {
            let old = lives([spell(rule, 100, 200), spell(rule, 400, 500)].concat());
            compare(old, lives(spell(rule, 150, 250)), Some(Timestamp(since * 1000))).len()
        };
        assert_eq!([count(100), count(101), count(150), count(400), count(401)], [2, 1, 1, 1, 0]);
    }

    /// Lives of three subjects under a window rule, apart from each other, the last one open or not.
    fn histories() -> impl Strategy<Value = Vec<Alert>> {
        let history = (proptest::collection::vec((1i64..20, 1i64..20), 0..6), any::<bool>());
        proptest::collection::vec(history, 3).prop_map(|histories| {
            let mut statuses = Vec::new();
            for (number, (spells, open)) in histories.into_iter().enumerate() {
                let (mut at, last) = (0, spells.len().saturating_sub(1));
                for (index, (gap, length)) in spells.into_iter().enumerate() {
                    let (from, to) = (at + gap, at + gap + length);
                    let subject = format!("manager:{number}/7d");
                    statuses.push(status(Rule::ConversionLow, &subject, from, from, Status::Firing));
                    if index < last || !open {
                        statuses.push(status(Rule::ConversionLow, &subject, from, to, Status::Resolved));
                    }
                    at = to;
                }
            }
            statuses.sort_by_key(|status| status.at);
            statuses
        })
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself(statuses in histories()) {
            let lives = lives(statuses);
            let verdicts = compare(lives.clone(), lives.clone(), None);
            prop_assert_eq!(verdicts.len(), lives.len());
            prop_assert!(verdicts.iter().all(|verdict| verdict.change().is_none()));
        }

        #[test]
        fn every_life_counts_once_and_the_way_back_is_the_way_there(old in histories(), new in histories()) {
            let (old, new) = (lives(old), lives(new));
            let there = compare(old.clone(), new.clone(), None);
            let back = compare(new.clone(), old.clone(), None);
            let count = |verdicts: &[Verdict], change| verdicts.iter().filter(|v| v.change() == Some(change)).count();
            prop_assert_eq!(there.iter().filter_map(Verdict::under_old).count(), old.len());
            prop_assert_eq!(there.iter().filter_map(Verdict::under_new).count(), new.len());
            prop_assert_eq!(new.len() + count(&there, AlertChange::Removed), old.len() + count(&there, AlertChange::Added));
            for (change, reverse) in [(AlertChange::Added, AlertChange::Removed), (AlertChange::Removed, AlertChange::Added),
                (AlertChange::Changed, AlertChange::Changed)] {
                prop_assert_eq!(count(&there, change), count(&back, reverse));
            }
        }
    }
}

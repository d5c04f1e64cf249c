//! Compares the alerts of two replays of the same events under different norms. Pure.
//!
//! **Violations are compared, not statuses.** The statuses of one `alert_id` form one [`Life`]; retracted ones are
//! ignored.
//!
//! **The same violation has the same id under both norms**, because the id depends on the anchor and not on the
//! deadline. Ids differ only for rules over windows, where the norm decides when a violation begins (the anchor is the
//! instant at which a figure left its norm). So unmatched violations are paired if tenant, rule and subject are equal
//! and the spans from anchor to end overlap. Pairs are one to one: if one long violation replaces two short ones, one
//! of the two is changed and the other removed. So **new = old + added − removed** always holds.

use crate::domain::alert::{Alert, Status};
use crate::domain::id::TenantId;
use crate::domain::named::named_enum;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A violation from its first status to its last.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Time, manager and department of the first status; severity, level, status and everything else of the last.
    pub alert: Alert,
    /// When it ended; `None`: it is open.
    pub ended: Option<Timestamp>,
}

named_enum! {
    /// A difference.
    pub enum AlertChange, named "in output" {
        /// Only under the new norms.
        Added = "added",
        /// Only under the old norms.
        Removed = "removed",
        /// Under both, with a different deadline, severity, level or manager, or (rules over windows) a different
        /// beginning.
        Changed = "changed",
    }
}

/// One violation under the old norms, the new norms, or both.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Only under the new norms.
    New(Life),
    /// Only under the old norms.
    Old(Life),
    /// Under both.
    Both {
        /// Under the old norms.
        old: Box<Life>,
        /// Under the new norms.
        new: Life,
    },
}

impl Verdict {
    /// The violation under the old norms.
    pub fn under_old(&self) -> Option<&Life> {
        match self {
            Self::Old(old) => Some(old),
            Self::Both { old, .. } => Some(old),
            Self::New(_) => None,
        }
    }

    /// The violation under the new norms.
    pub fn under_new(&self) -> Option<&Life> {
        match self {
            Self::New(new) | Self::Both { new, .. } => Some(new),
            Self::Old(_) => None,
        }
    }

    /// The difference; `None`: there is none.
    pub fn change(&self) -> Option<AlertChange> {
        match self {
            Self::New(_) => Some(AlertChange::Added),
            Self::Old(_) => Some(AlertChange::Removed),
            Self::Both { old, new } => {
                let key = |life: &Life| (life.alert.id, life.alert.due_at, life.alert.severity, life.alert.level);
                let same = key(old) == key(new) && old.alert.manager == new.alert.manager;
                (!same).then_some(AlertChange::Changed)
            }
        }
    }

    /// Compares severity and level under the new norms with those under the old: `Greater` is worse.
    pub fn gravity(&self) -> Ordering {
        let reached = |life: &Life| (life.alert.severity, life.alert.level);
        self.under_new().map(reached).cmp(&self.under_old().map(reached))
    }

    /// The alert under the new norms, or else under the old.
    pub fn alert(&self) -> &Alert {
        match self {
            Self::New(life) | Self::Old(life) | Self::Both { new: life, .. } => &life.alert,
        }
    }

    /// When it began, under whichever norms it began first.
    fn began(&self) -> Timestamp {
        match self {
            Self::New(life) | Self::Old(life) => life.alert.at,
            Self::Both { old, new } => old.alert.at.min(new.alert.at),
        }
    }
}

/// Groups statuses, in the order in which they were emitted, by violation. Retracted violations and warnings are omitted.
pub fn lives(statuses: Vec<Alert>) -> Vec<Life> {
    let mut indexes = HashMap::<Uuid, usize>::new();
    let mut lives: Vec<Life> = Vec::new();
    for status in statuses.into_iter().filter(|alert| !alert.status.is_of_warning()) {
        let ended = matches!(status.status, Status::Raised | Status::Resolved | Status::Retracted).then_some(status.at);
        match indexes.get(&status.id) {
            Some(index) => {
                let life = &mut lives[*index];
                let Alert { at, manager, department, .. } = life.alert.clone();
                *life = Life { alert: Alert { at, manager, department, ..status }, ended };
            }
            None => {
                indexes.insert(status.id, lives.len());
                lives.push(Life { alert: status, ended });
            }
        }
    }
    lives.retain(|life| life.alert.status != Status::Retracted);
    lives
}

/// Matches the violations under two norms. With `since`, only those count that began then or later, under whichever
/// norms they began first. The result is in order of tenant, then of the beginning.
pub fn compare(old: Vec<Life>, new: Vec<Life>, since: Option<Timestamp>) -> Vec<Verdict> {
    let mut unmatched: HashMap<Uuid, Life> = old.into_iter().map(|life| (life.alert.id, life)).collect();
    let mut verdicts = Vec::new();
    let mut unpaired = BTreeMap::<(TenantId, Rule, String), [Vec<Life>; 2]>::new();
    let key = |life: &Life| (life.alert.tenant.clone(), life.alert.rule, life.alert.subject.to_string());
    for new in new {
        match unmatched.remove(&new.alert.id) {
            Some(old) => verdicts.push(Verdict::Both { old: Box::new(old), new }),
            None => unpaired.entry(key(&new)).or_default()[1].push(new),
        }
    }
    for old in unmatched.into_values() {
        unpaired.entry(key(&old)).or_default()[0].push(old);
    }
    for [old, new] in unpaired.into_values() {
        pair_up(old, new, &mut verdicts);
    }
    verdicts.retain(|verdict| since.is_none_or(|since| verdict.began() >= since));
    // A total order, so that the result never depends on hashing.
    verdicts.sort_by_cached_key(|verdict| {
        let alert = verdict.alert();
        (alert.tenant.clone(), verdict.began(), alert.rule, alert.subject.clone(), alert.id)
    });
    verdicts
}

/// Pairs the violations of one subject whose spans overlap, in order of time. Violations of one side do not overlap
/// each other, so this finds the maximum number of pairs.
fn pair_up(mut old: Vec<Life>, mut new: Vec<Life>, verdicts: &mut Vec<Verdict>) {
    for lives in [&mut old, &mut new] {
        lives.sort_by_key(|life| (life.alert.anchor_at, life.alert.id));
    }
    let end = |life: &Life| life.ended.unwrap_or(Timestamp::MAX);
    let before = |a: &Life, b: &Life| end(a) <= b.alert.anchor_at;
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    while let (Some(one), Some(other)) = (old.peek(), new.peek()) {
        let (one_first, other_first) = (before(one, other), before(other, one));
        // Violations of act rules have no duration: two at different instants never overlap.
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
    use crate::domain::alert::Severity;
    use proptest::prelude::*;

    /// A status of a violation of `subject` anchored at second `anchor`, at second `at`.
    fn status(rule: Rule, subject: &str, anchor: i64, at: i64, status: Status) -> Alert {
        let (at, manager, department) = (Timestamp(at * 1000), Some("vera".into()), Some("moscow".into()));
        let alert = Alert::sample("romashka", rule, subject, Timestamp(anchor * 1000));
        Alert { status, at, manager, department, ..alert }
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
    fn a_life_has_the_manager_of_the_first_status_and_the_severity_of_the_last() {
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
    fn violations_of_only_one_side_are_added_or_removed() {
        let lead = |id: &str| vec![status(Rule::FirstResponseLate, id, 0, 900, Status::Firing)];
        assert_eq!(changes(&[lead("lead:1")], &[]), [Some(AlertChange::Removed)]);
        assert_eq!(changes(&[], &[lead("lead:1")]), [Some(AlertChange::Added)]);
        assert_eq!(changes(&[lead("lead:1")], &[lead("lead:1")]), [None]);
        // Two leads at the same instant are two violations.
        assert_eq!(
            changes(&[lead("lead:1")], &[lead("lead:2")]),
            [Some(AlertChange::Removed), Some(AlertChange::Added)]
        );
    }

    #[test]
    fn violations_of_both_sides_are_changed_if_severity_deadline_or_manager_differ() {
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
    fn overlapping_violations_of_one_subject_are_paired() {
        let rule = Rule::ConversionLow;
        let (changed, added, removed) =
            (Some(AlertChange::Changed), Some(AlertChange::Added), Some(AlertChange::Removed));
        assert_eq!(changes(&[spell(rule, 100, 200)], &[spell(rule, 50, 300)]), [changed]);
        assert_eq!(changes(&[spell(rule, 100, 0)], &[spell(rule, 150, 0)]), [changed]);
        assert_eq!(changes(&[spell(rule, 100, 200)], &[spell(rule, 200, 300)]), [removed, added]);
        assert_eq!(changes(&[spell(rule, 100, 200)], &[spell(Rule::ResponseSlow, 50, 300)]), [added, removed]);
        // One long violation in place of two short ones.
        let short = [spell(rule, 100, 200), spell(rule, 250, 280)];
        assert_eq!(changes(&short, &[spell(rule, 90, 300)]), [changed, removed]);
        assert_eq!(changes(&[spell(rule, 90, 300)], &short), [changed, added]);
    }

    #[test]
    fn violations_of_act_rules_are_equal_only_at_the_same_instant() {
        let act = |at| vec![status(Rule::StageReverted, "deal:1", at, at, Status::Raised)];
        assert_eq!(changes(&[act(10)], &[act(10)]), [None]);
        assert_eq!(changes(&[act(10)], &[act(11)]), [Some(AlertChange::Removed), Some(AlertChange::Added)]);
    }

    #[test]
    fn violations_that_began_before_the_period_under_either_norms_do_not_count() {
        let rule = Rule::ConversionLow;
        let count = |since: i64| {
            let old = lives([spell(rule, 100, 200), spell(rule, 400, 500)].concat());
            compare(old, lives(spell(rule, 150, 250)), Some(Timestamp(since * 1000))).len()
        };
        assert_eq!([count(100), count(101), count(150), count(400), count(401)], [2, 1, 1, 1, 0]);
    }

    /// Statuses of three subjects under a window rule: disjoint violations, the last one possibly open.
    fn histories() -> impl Strategy<Value = Vec<Alert>> {
        let history = (proptest::collection::vec((1i64..20, 1i64..20), 0..6), any::<bool>());
        proptest::collection::vec(history, 3).prop_map(|histories| {
            let mut statuses = Vec::new();
            for (subject_index, (spells, open)) in histories.into_iter().enumerate() {
                let (mut at, last) = (0, spells.len().saturating_sub(1));
                for (index, (gap, length)) in spells.into_iter().enumerate() {
                    let (from, to) = (at + gap, at + gap + length);
                    let subject = format!("manager:{subject_index}/7d");
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
        fn equal_sides_have_no_differences(statuses in histories()) {
            let lives = lives(statuses);
            let verdicts = compare(lives.clone(), lives.clone(), None);
            prop_assert_eq!(verdicts.len(), lives.len());
            prop_assert!(verdicts.iter().all(|verdict| verdict.change().is_none()));
        }

        #[test]
        fn every_violation_counts_once_and_the_comparison_is_symmetric(old in histories(), new in histories()) {
            let (old, new) = (lives(old), lives(new));
            let forward = compare(old.clone(), new.clone(), None);
            let reverse = compare(new.clone(), old.clone(), None);
            let count = |verdicts: &[Verdict], change| verdicts.iter().filter(|v| v.change() == Some(change)).count();
            prop_assert_eq!(forward.iter().filter_map(Verdict::under_old).count(), old.len());
            prop_assert_eq!(forward.iter().filter_map(Verdict::under_new).count(), new.len());
            let (added, removed) = (count(&forward, AlertChange::Added), count(&forward, AlertChange::Removed));
            prop_assert_eq!(new.len() + removed, old.len() + added);
            for (change, opposite) in [
                (AlertChange::Added, AlertChange::Removed),
                (AlertChange::Removed, AlertChange::Added),
                (AlertChange::Changed, AlertChange::Changed),
            ] {
                prop_assert_eq!(count(&forward, change), count(&reverse, opposite));
            }
        }
    }
}

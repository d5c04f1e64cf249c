//! Owns the undo log of a case: what its events and timers have changed, so that the last of them can be undone.
//!
//! The log is a list of steps. Each holds the before-images of what its events have changed, the timers that fired, and
//! which alerts got a status. Older steps are merged, so that each covers about as many events as all later ones: there are
//! as many as the logarithm of the number of events, and the step that covers a date reaches back from the end at most a
//! few times as far as the date does.
//!
//! A case that another one was merged into keeps its events apart: up to the merge they changed other objects. If a date
//! before the merge is reached, all of them are undone.

use crate::domain::alert::{Alert, Status};
use crate::domain::call::registry::CallsBefore;
use crate::domain::context::Timer;
use crate::domain::id::ThreadId;
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx};
use crate::domain::journey::Journey;
use crate::domain::mem::indexed_arena::ArenaBefore;
use crate::domain::mem::recorded::{MapBefore, Recorded, merge_maps};
use crate::domain::mem::seeded::SeededMap;
use crate::domain::mem::small_index_vec::SmallIndexVec;
use crate::domain::pending_replies::demand::DemandKey;
use crate::domain::rule::Rule;
use crate::domain::tenant::contacts::ContactState;
use crate::domain::tenant::event_log::Log;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use uuid::Uuid;

/// Steps of a size are merged when there are more.
const STEPS_OF_A_SIZE: usize = 2;

/// The undo log of a case.
#[derive(Debug, Default)]
pub(super) struct UndoLog {
    /// In order. The last one is recording.
    steps: Vec<Step>,
    /// The cases that were merged into this one, ordered by the date of the merge.
    absorbed: Vec<Absorbed>,
    /// The events of such cases that no late event can reach any more.
    pub(super) settled: Log,
    /// The statuses of the alerts of the case, in order.
    statuses: SeededMap<Uuid, Vec<Alert>>,
    /// Alerts whose step is over, and that can get further statuses.
    open: Vec<Uuid>,
}

/// The changes since an instant.
#[derive(Debug)]
pub(super) struct Step {
    /// Undoing it returns to the state before the events of this instant.
    pub(super) from: Timestamp,
    /// The date of its latest event.
    last: Timestamp,
    /// The number of its events.
    events: usize,
    /// The length of the log of the case at its beginning.
    pub(super) log_length: usize,
    pub(super) before: BeforeImages,
    /// The timers that fired.
    pub(super) timers: Vec<(Timestamp, Timer)>,
    /// The alerts that got a status, in order.
    alerts: Vec<Uuid>,
}

/// A case that was merged into another one.
#[derive(Debug)]
pub(super) struct Absorbed {
    /// The date of the merge.
    until: Timestamp,
    pub(super) log: Log,
    /// Its alerts before the merge; one for each status.
    alerts: Vec<Uuid>,
}

/// The before-images of what the events of a case have changed.
#[derive(Debug)]
pub(super) struct BeforeImages {
    pub(super) journeys: Option<ArenaBefore<Journey>>,
    pub(super) contacts: Option<ArenaBefore<ContactState>>,
    pub(super) calls: CallsBefore,
    pub(super) dismissed_early: Option<MapBefore<CompactString, ManagerIx>>,
    pub(super) entity_by_thread: Option<MapBefore<ThreadId, JourneyIx>>,
    pub(super) contacts_by_thread: Option<MapBefore<ThreadId, Vec<ContactIx>>>,
    pub(super) received: Option<MapBefore<CompactString, (ContactIx, DemandKey)>>,
    pub(super) deals_by_lead: Option<MapBefore<CompactString, SmallIndexVec<JourneyIx>>>,
}

impl UndoLog {
    /// An undo log without steps of a case that has published these statuses.
    pub(super) fn new(statuses: Vec<Alert>) -> Self {
        let mut undo = Self::default();
        for alert in statuses {
            undo.open.push(alert.id);
            undo.add_status(alert);
        }
        undo
    }

    fn add_status(&mut self, alert: Alert) {
        self.statuses.entry(alert.id).or_default().push(alert);
    }

    /// The step that is recording.
    pub(super) fn last_step(&mut self) -> Option<&mut Step> {
        self.steps.last_mut()
    }

    /// Whether a further step begins with an event of `at`.
    pub(super) fn is_step_due(&self, at: Timestamp, events: usize) -> bool {
        self.steps.last().is_none_or(|step| step.events >= events && step.last.max(step.from) < at)
    }

    /// Begins a step. The before-images of the last one are complete.
    pub(super) fn begin_step(&mut self, from: Timestamp, log_length: usize) {
        self.steps.push(Step::new(from, log_length));
    }

    /// Merges older steps.
    pub(super) fn merge_steps(&mut self) {
        let size = |step: &Step| step.events.max(1).ilog2();
        let mut index = self.steps.len().saturating_sub(1);
        while index > STEPS_OF_A_SIZE {
            index -= 1;
            let first = index - STEPS_OF_A_SIZE;
            if size(&self.steps[first]) <= size(&self.steps[index]) {
                let later = self.steps.remove(first + 1);
                self.steps[first].merge(later);
            }
        }
    }

    /// Counts an event of the last step.
    pub(super) fn count_event(&mut self, at: Timestamp) {
        if let Some(step) = self.steps.last_mut() {
            step.events += 1;
            step.last = step.last.max(at);
        }
    }

    /// Records the statuses of alerts.
    pub(super) fn add_statuses(&mut self, statuses: impl IntoIterator<Item = Alert>) {
        for alert in statuses {
            if let Some(step) = self.steps.last_mut() {
                step.alerts.push(alert.id);
            }
            self.add_status(alert);
        }
    }

    /// The statuses of an alert, in order.
    pub(super) fn statuses(&self, alert: Uuid) -> &[Alert] {
        self.statuses.get(&alert).map_or(&[], Vec::as_slice)
    }

    /// Takes the steps that are later than a date and the one that covers it, from the last to the first. Their statuses are
    /// undone. There are none if the state before the date cannot be restored.
    pub(super) fn take_steps(&mut self, date: Timestamp) -> Vec<Step> {
        let Some(covering) = self.steps.partition_point(|step| step.from <= date).checked_sub(1) else {
            return Vec::new();
        };
        std::iter::from_fn(|| if self.steps.len() > covering { self.take_step() } else { None }).collect()
    }

    /// Takes the last step. Its statuses are undone.
    pub(super) fn take_step(&mut self) -> Option<Step> {
        let step = self.steps.pop()?;
        self.remove_statuses(&step.alerts);
        Some(step)
    }

    fn remove_statuses(&mut self, alerts: &[Uuid]) {
        for alert in alerts {
            if let Some(statuses) = self.statuses.get_mut(alert) {
                statuses.pop();
                if statuses.is_empty() {
                    self.statuses.remove(alert);
                }
            }
        }
    }

    /// Takes all steps and the events of all cases that were merged into this one.
    pub(super) fn into_parts(self) -> (Vec<Step>, Vec<Log>) {
        let logs = self.absorbed.into_iter().map(|absorbed| absorbed.log).chain([self.settled]);
        (self.steps, logs.collect())
    }

    /// The logs of the cases that were merged into this one.
    pub(super) fn logs(&self) -> impl Iterator<Item = &Log> {
        self.absorbed.iter().map(|absorbed| &absorbed.log).chain([&self.settled])
    }

    /// Adds a case that is merged into this one, with the statuses that it has published.
    pub(super) fn absorb(&mut self, until: Timestamp, log: Log, statuses: Vec<Alert>) {
        let alerts = statuses.iter().map(|alert| alert.id).collect();
        statuses.into_iter().for_each(|alert| self.add_status(alert));
        let position = self.absorbed.partition_point(|other| other.until <= until);
        self.absorbed.insert(position, Absorbed { until, log, alerts });
    }

    /// Takes the cases that were merged into this one at or after a date. Their statuses are undone.
    pub(super) fn take_absorbed(&mut self, date: Timestamp) -> Vec<Absorbed> {
        let from = self.absorbed.partition_point(|absorbed| absorbed.until < date);
        let taken = self.absorbed.split_off(from);
        taken.iter().for_each(|absorbed| self.remove_statuses(&absorbed.alerts));
        taken
    }

    /// The statuses that the case has published, for a case into which it is merged.
    pub(super) fn take_statuses(&mut self) -> Vec<Alert> {
        std::mem::take(&mut self.statuses).into_values().flatten().collect()
    }

    /// Takes the steps that no late event can reach: those before another one that begins at or before `horizon`. What was
    /// needed only for them is forgotten.
    pub(super) fn forget(&mut self, horizon: Timestamp) -> Vec<Step> {
        let reached = self.steps.partition_point(|step| step.from <= horizon).saturating_sub(1);
        let forgotten: Vec<Step> = self.steps.drain(..reached).collect();
        let settled = self.absorbed.partition_point(|absorbed| absorbed.until < horizon);
        if forgotten.is_empty() && settled == 0 {
            return forgotten;
        }
        self.open.extend(forgotten.iter().flat_map(|step| &step.alerts));
        for absorbed in self.absorbed.drain(..settled) {
            self.settled.append(absorbed.log);
            self.open.extend(absorbed.alerts);
        }
        self.open.sort_unstable();
        self.open.dedup();
        let statuses = &mut self.statuses;
        self.open.retain(|alert| {
            let last = statuses.get(alert).and_then(|statuses| statuses.last());
            let goes_on = last.is_some_and(|last| !is_final(last) || last.at >= horizon);
            if !goes_on {
                statuses.remove(alert);
            }
            goes_on
        });
        forgotten
    }
}

/// Whether only a late event about its time can give the alert a further status. A lead or deal that is opened again goes on
/// with its alerts.
fn is_final(last: &Alert) -> bool {
    let of_demand = matches!(last.rule, Rule::MissedCallNotReturned | Rule::MessageUnanswered);
    match last.status {
        Status::Raised | Status::Retracted => true,
        Status::Resolved | Status::Averted => of_demand,
        Status::DueSoon | Status::Firing | Status::Escalated => false,
    }
}

impl Step {
    fn new(from: Timestamp, log_length: usize) -> Self {
        let before = BeforeImages::empty();
        Self { from, last: Timestamp::MIN, events: 0, log_length, before, timers: Vec::new(), alerts: Vec::new() }
    }

    /// Adds the next step.
    fn merge(&mut self, later: Self) {
        self.last = self.last.max(later.last);
        self.events += later.events;
        self.before.merge(later.before);
        self.timers.extend(later.timers);
        self.alerts.extend(later.alerts);
    }
}

impl BeforeImages {
    /// Empty before-images, with which containers record.
    pub(super) fn empty() -> Self {
        Self {
            journeys: Some(ArenaBefore::<Journey>::default()),
            contacts: Some(ArenaBefore::<ContactState>::default()),
            calls: CallsBefore::empty(),
            dismissed_early: Some(MapBefore::default()),
            entity_by_thread: Some(MapBefore::default()),
            contacts_by_thread: Some(MapBefore::default()),
            received: Some(MapBefore::default()),
            deals_by_lead: Some(MapBefore::default()),
        }
    }

    fn merge(&mut self, later: Self) {
        merge_items::<Journey>(&mut self.journeys, later.journeys);
        merge_items::<ContactState>(&mut self.contacts, later.contacts);
        self.calls.merge(later.calls);
        merge_maps(&mut self.dismissed_early, later.dismissed_early);
        merge_maps(&mut self.entity_by_thread, later.entity_by_thread);
        merge_maps(&mut self.contacts_by_thread, later.contacts_by_thread);
        merge_maps(&mut self.received, later.received);
        merge_maps(&mut self.deals_by_lead, later.deals_by_lead);
    }
}

fn merge_items<T: Recorded>(earlier: &mut Option<ArenaBefore<T>>, later: Option<ArenaBefore<T>>) {
    let Some(earlier) = earlier else { return };
    for (index, later) in later.into_iter().flatten() {
        match (earlier.get_mut(&index), later) {
            (Some(Some(earlier)), Some(later)) => T::merge(earlier, *later),
            // It was new earlier.
            (Some(_), _) => {}
            (None, later) => drop(earlier.insert(index, later)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten events a step, one a second.
    fn long_log(events: i64) -> UndoLog {
        let mut undo = UndoLog::default();
        for second in 0..events {
            let at = Timestamp(second * 1000);
            if undo.is_step_due(at, 10) {
                undo.begin_step(at, second as usize);
                undo.merge_steps();
            }
            undo.count_event(at);
        }
        undo
    }

    #[test]
    fn steps_are_few_and_reach_back_little_further_than_needed() {
        for events in [10, 25, 300, 3000] {
            let undo = long_log(events);
            assert!(undo.steps.len() <= 3 * (events as usize / 10 + 1).ilog2() as usize + 3, "{}", undo.steps.len());
            assert_eq!(undo.steps.iter().map(|step| step.events).sum::<usize>(), events as usize);
            for back in 1..=events {
                let mut undo = long_log(events);
                let date = Timestamp((events - back) * 1000);
                let from = undo.take_steps(date).last().expect("a step").from;
                assert!(from <= date);
                let undone = events - from.0 / 1000;
                assert!(undone <= 4 * back + 20, "{undone} events undone for the last {back} of {events}");
                if events > 300 && back > 100 {
                    break;
                }
            }
        }
    }

    #[test]
    fn an_instant_is_not_divided() {
        let mut undo = UndoLog::default();
        for _ in 0..25 {
            if undo.is_step_due(Timestamp(5), 10) {
                undo.begin_step(Timestamp(5), 0);
            }
            undo.count_event(Timestamp(5));
        }
        assert_eq!(undo.steps.len(), 1);
        assert!(undo.is_step_due(Timestamp(6), 10));
        assert!(undo.take_steps(Timestamp(4)).is_empty());
        assert_eq!(undo.take_steps(Timestamp(5)).len(), 1);
    }

    #[test]
    fn what_no_late_event_reaches_is_forgotten() {
        let mut undo = long_log(1000);
        let first = undo.steps[0].from;
        assert!(undo.forget(Timestamp(900_000)).iter().any(|step| step.from == first));
        assert!(undo.steps[0].from <= Timestamp(900_000) && undo.steps[1].from > Timestamp(900_000));
        assert!(undo.forget(Timestamp(900_000)).is_empty());
    }
}

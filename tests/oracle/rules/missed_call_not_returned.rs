//! `missed_call_not_returned`: an inbound call without a conversation is not followed by an outbound call to the contact
//! or a conversation with it; and the call-back figures.
//!
//! Fixed reading c: the missed calls of a contact are a list of ends, each settled by the first act that starts at or
//! after its end. Missed calls settled by the same act form one clock: for alerts by what was known then, for figures by
//! what is known at T.

use super::super::alert::{Alert, AlertHeader};
use super::super::history::{CallBack, ContactLog, MissedCall, TenantHistory};
use super::super::norms::Norms;
use super::super::readings;
use super::{Ending, RunningClock, lifecycle, observe_duration, within};

const RULE: &str = "missed_call_not_returned";

pub fn judge(history: &TenantHistory, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (contact, log) in &history.contacts {
        for (first, opened) in clocks(log) {
            alerts.extend(alert(history, norms, contact, log, first, opened, until));
        }
    }
    alerts
}

fn alert(
    history: &TenantHistory,
    norms: &Norms,
    contact: &str,
    log: &ContactLog,
    first: &MissedCall,
    opened: usize,
    until: i64,
) -> Option<Alert> {
    // Decision 7: the norm of the scope where the clock starts.
    let norm = norms.rule(RULE, &first.attribution.scope)?;
    let running = RunningClock {
        anchor: first.end,
        opened,
        within: norm.within,
        clock: &norm.clock,
        escalate_after: &norm.escalate_after,
        acts: log.call_backs.iter().filter(|act| answers(act, first)).map(ending).collect(),
        // Decision 11: alerts of a contact do not end with its entities.
        stop: None,
    };
    let (due, steps) = lifecycle(history, &running, until)?;
    let header =
        AlertHeader::contact(history, RULE, contact, &first.attribution, &first.call, first.end, norm.severity);
    let details = observe_duration(steps, &norm.clock, first.end, 0, "lag_seconds", &within(&norm));
    Some(AlertHeader { due: Some(due), ..header }.build(history, details))
}

/// Decision 15: the call back must start at or after the missed call's end.
fn answers(act: &CallBack, missed: &MissedCall) -> bool {
    act.date >= missed.end && (act.moment > missed.moment || readings::CALL_BACK_AT_THE_SAME_INSTANT_COUNTS)
}

fn ending(act: &CallBack) -> Ending {
    let resolution = if act.by_staff { "returned" } else { "customer_called_again" };
    Ending { date: act.date, moment: act.moment, resolution }
}

/// The clocks in the order they started: the first pending missed call, and the moment when it was known to be the first.
fn clocks(log: &ContactLog) -> Vec<(&MissedCall, usize)> {
    enum Entry<'a> {
        MissedCall(&'a MissedCall),
        Act(&'a CallBack),
    }
    let mut known: Vec<(usize, Entry)> = Vec::new();
    known.extend(log.missed.iter().map(|missed| (missed.moment, Entry::MissedCall(missed))));
    known.extend(log.call_backs.iter().map(|act| (act.moment, Entry::Act(act))));
    known.sort_by_key(|(moment, _)| *moment);

    let mut clocks: Vec<(&MissedCall, usize)> = Vec::new();
    let mut pending: Vec<&MissedCall> = Vec::new();
    for (moment, entry) in known {
        let before = pending.first().map(|missed| missed.moment);
        match entry {
            Entry::MissedCall(missed) => {
                // A call back at the same instant but earlier in event order starts at or after the end.
                let answered = log.call_backs.iter().any(|act| act.moment < moment && answers(act, missed));
                if !answered {
                    pending.push(missed);
                }
            }
            Entry::Act(act) => pending.retain(|missed| !answers(act, missed)),
        }
        if let Some(first) = pending.first()
            && before != Some(first.moment)
        {
            clocks.push((first, moment));
        }
    }
    clocks
}

/// A group of missed calls as known at T: the first one and the act that settled it.
pub struct Group<'a> {
    pub first: &'a MissedCall,
    pub answer: Option<&'a CallBack>,
}

pub fn groups(log: &ContactLog) -> Vec<Group<'_>> {
    let mut missed: Vec<&MissedCall> = log.missed.iter().collect();
    missed.sort_by_key(|m| (m.end, m.moment));
    let mut groups: Vec<Group> = Vec::new();
    for missed in missed {
        let answer = log.call_backs.iter().filter(|act| answers(act, missed)).min_by_key(|act| (act.date, act.moment));
        // Consecutive missed calls settled by the same act, or still pending, form one group.
        let same = groups.last().is_some_and(|last| last.answer.map(|a| a.moment) == answer.map(|a| a.moment));
        if !same {
            groups.push(Group { first: missed, answer });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::super::super::history::Attribution;
    use super::super::super::norms::Scope;
    use super::*;

    fn missed(end: i64, moment: usize) -> MissedCall {
        let scope = Scope { tenant: "t".into(), department: "unknown".into(), pipeline: None, source: None };
        MissedCall {
            end,
            moment,
            call: "c".into(),
            attribution: Attribution { manager: None, primary: None, who: None, scope },
        }
    }

    fn act(date: i64, moment: usize) -> CallBack {
        CallBack { date, moment, by_staff: true, who: None }
    }

    #[test]
    fn a_call_back_that_began_before_the_second_missed_call_leaves_it_pending() {
        // Missed at 10 and 20; an act of 15, known at 30, settles only the first.
        let log = ContactLog {
            missed: vec![missed(10, 1), missed(20, 2)],
            call_backs: vec![act(15, 3)],
            messages: Vec::new(),
        };
        let clocks: Vec<_> = clocks(&log).into_iter().map(|(m, opened)| (m.end, opened)).collect();
        assert_eq!(clocks, [(10, 1), (20, 3)]);
        let groups: Vec<_> = groups(&log).into_iter().map(|g| (g.first.end, g.answer.map(|a| a.date))).collect();
        assert_eq!(groups, [(10, Some(15)), (20, None)]);
    }

    #[test]
    fn evidence_known_after_the_answer_regroups_the_figures_but_not_the_clocks() {
        // Missed at 10 and 20, called back at 30 (known then); a call of 15 is known only at 40.
        let log = ContactLog {
            missed: vec![missed(10, 1), missed(20, 2)],
            call_backs: vec![act(30, 3), act(15, 4)],
            messages: Vec::new(),
        };
        assert_eq!(clocks(&log).len(), 1);
        let groups: Vec<_> = groups(&log).into_iter().map(|g| (g.first.end, g.answer.map(|a| a.date))).collect();
        assert_eq!(groups, [(10, Some(15)), (20, Some(30))]);
    }
}

//! `missed_call_not_returned`: an inbound call that was no conversation has not been followed by an outbound call to the
//! contact or a conversation with it; and the call-back figures.
//!
//! Fixed reading c: a contact's missed calls are a list of ends, each answered by the first act that starts at or after
//! its end. The clocks are the groups so formed: as far as known then, for the alerts; with all that is known at T, for
//! the figures.

use super::super::alert::{Alert, Heading};
use super::super::history::{CallBack, ContactLog, Missed, World};
use super::super::norms::Norms;
use super::super::readings;
use super::{Ending, Watch, lasting, life, within};

const RULE: &str = "missed_call_not_returned";

pub fn judge(world: &World, norms: &Norms, until: i64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (contact, log) in &world.contacts {
        for (first, opened) in clocks(log) {
            alerts.extend(alert(world, norms, contact, log, first, opened, until));
        }
    }
    alerts
}

fn alert(
    world: &World,
    norms: &Norms,
    contact: &str,
    log: &ContactLog,
    first: &Missed,
    opened: usize,
    until: i64,
) -> Option<Alert> {
    // Decision 7: the norm of the scope where the clock starts.
    let norm = norms.rule(RULE, &first.standing.scope)?;
    let watch = Watch {
        anchor: first.end,
        opened,
        within: norm.within,
        clock: &norm.clock,
        escalate_after: &norm.escalate_after,
        acts: log.call_backs.iter().filter(|act| answers(act, first)).map(ending).collect(),
        // Decision 11: a contact's alerts stay whatever becomes of its entities.
        stop: None,
    };
    let (due, steps) = life(world, &watch, until)?;
    let heading = Heading::contact(world, RULE, contact, &first.standing, &first.call, first.end, norm.severity);
    let told = lasting(steps, &norm.clock, first.end, 0, "lag_seconds", &within(&norm));
    Some(Heading { due: Some(due), ..heading }.tell(world, told))
}

/// Decision 15: the call back must start at or after the missed call's end.
fn answers(act: &CallBack, missed: &Missed) -> bool {
    act.date >= missed.end && (act.moment > missed.moment || readings::CALL_BACK_AT_THE_SAME_INSTANT_COUNTS)
}

fn ending(act: &CallBack) -> Ending {
    let resolution = if act.by_staff { "returned" } else { "customer_called_again" };
    Ending { date: act.date, moment: act.moment, resolution }
}

/// The clocks as they started one after the other: each one's first missed call and the moment when it was known to be
/// the first pending one.
fn clocks(log: &ContactLog) -> Vec<(&Missed, usize)> {
    enum What<'a> {
        Missed(&'a Missed),
        Act(&'a CallBack),
    }
    let mut known: Vec<(usize, What)> = Vec::new();
    known.extend(log.missed.iter().map(|missed| (missed.moment, What::Missed(missed))));
    known.extend(log.call_backs.iter().map(|act| (act.moment, What::Act(act))));
    known.sort_by_key(|(moment, _)| *moment);

    let mut clocks: Vec<(&Missed, usize)> = Vec::new();
    let mut pending: Vec<&Missed> = Vec::new();
    for (moment, what) in known {
        let before = pending.first().map(|missed| missed.moment);
        match what {
            What::Missed(missed) => {
                // A call back that began at this very instant, earlier in order, does start at or after the end.
                let answered = log.call_backs.iter().any(|act| act.moment < moment && answers(act, missed));
                if !answered {
                    pending.push(missed);
                }
            }
            What::Act(act) => pending.retain(|missed| !answers(act, missed)),
        }
        if let Some(first) = pending.first()
            && before != Some(first.moment)
        {
            clocks.push((first, moment));
        }
    }
    clocks
}

/// A group of missed calls, by what is known at T: its first one and the act that answered it.
pub struct Group<'a> {
    pub first: &'a Missed,
    pub answer: Option<&'a CallBack>,
}

pub fn groups(log: &ContactLog) -> Vec<Group<'_>> {
    let mut missed: Vec<&Missed> = log.missed.iter().collect();
    missed.sort_by_key(|m| (m.end, m.moment));
    let mut groups: Vec<Group> = Vec::new();
    for missed in missed {
        let answer = log.call_backs.iter().filter(|act| answers(act, missed)).min_by_key(|act| (act.date, act.moment));
        // The same act (or none yet) answers a run of missed calls.
        let same = groups.last().is_some_and(|last| last.answer.map(|a| a.moment) == answer.map(|a| a.moment));
        if !same {
            groups.push(Group { first: missed, answer });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::super::super::history::Standing;
    use super::super::super::norms::Scope;
    use super::*;

    fn missed(end: i64, moment: usize) -> Missed {
        let scope = Scope { tenant: "t".into(), department: "unknown".into(), pipeline: None, source: None };
        Missed { end, moment, call: "c".into(), standing: Standing { manager: None, primary: None, who: None, scope } }
    }

    fn act(date: i64, moment: usize) -> CallBack {
        CallBack { date, moment, by_staff: true, who: None }
    }

    #[test]
    fn a_call_back_that_began_before_the_second_missed_call_leaves_it_pending() {
        // Missed at 10 and 20; an act of 15, known at 30, answers the first alone.
        let log = ContactLog {
            missed: vec![missed(10, 1), missed(20, 2)],
            call_backs: vec![act(15, 3)],
            letters: Vec::new(),
        };
        let clocks: Vec<_> = clocks(&log).into_iter().map(|(m, opened)| (m.end, opened)).collect();
        assert_eq!(clocks, [(10, 1), (20, 3)]);
        let groups: Vec<_> = groups(&log).into_iter().map(|g| (g.first.end, g.answer.map(|a| a.date))).collect();
        assert_eq!(groups, [(10, Some(15)), (20, None)]);
    }

    #[test]
    fn evidence_that_comes_after_the_answer_regroups_the_figures_but_not_the_clocks() {
        // Missed at 10 and 20, called back at 30 (known then); a call of 15 is known only at 40.
        let log = ContactLog {
            missed: vec![missed(10, 1), missed(20, 2)],
            call_backs: vec![act(30, 3), act(15, 4)],
            letters: Vec::new(),
        };
        assert_eq!(clocks(&log).len(), 1);
        let groups: Vec<_> = groups(&log).into_iter().map(|g| (g.first.end, g.answer.map(|a| a.date))).collect();
        assert_eq!(groups, [(10, Some(15)), (20, Some(30))]);
    }
}

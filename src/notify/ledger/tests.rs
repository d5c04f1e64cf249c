//! Tests of the ledger: what is sent, once, and what is not; also after a restart at any point.

use super::*;
use crate::domain::rule::Rule;
use crate::domain::rule::message::Language;
use crate::notify::channel::Item;
use proptest::prelude::*;

const SHARD: ShardId = ShardId(3);
const HOLD: Span = Span(30_000);

fn address(channel: Channel, to: &str) -> Address {
    Address { channel, to: to.into(), person: Some(to.into()), language: Language::En }
}

fn alert(subject: &str, status: Status, level: u32) -> Alert {
    Alert { status, level, ..Alert::sample("acme", Rule::Neglected, subject, Timestamp(0)) }
}

fn duty(channel: Channel, to: &str, ready_at: Timestamp) -> Duty {
    Duty { address: address(channel, to), ready_at, group: None, most: 1, is_quiet: false }
}

fn grouped(channel: Channel, to: &str, ready_at: Timestamp, most: usize) -> Duty {
    Duty { group: Some("same".into()), most, ..duty(channel, to, ready_at) }
}

fn due(ledger: &mut Ledger, now: i64) -> Vec<Job> {
    ledger.take_due(Timestamp(now), |_| None, |_| None)
}

fn said(job: &Job) -> Vec<(&str, &'static str)> {
    job.items.iter().map(|Item { alert, .. }| (alert.subject.as_str(), alert.status.name())).collect()
}

fn sent(ledger: &mut Ledger, job: &Job, message: &str, now: i64) {
    assert!(ledger.done(job.id, &Outcome::Sent(Some(message.into())), Timestamp(now)));
}

fn ledger() -> Ledger {
    Ledger::new(Span::HOUR)
}

/// What another process restores from the records of this one.
fn restarted(ledger: &mut Ledger) -> Ledger {
    let mut other = Ledger::new(ledger.summary_after);
    let all: Vec<CaseKey> = ledger.cases.keys().copied().collect();
    ledger.changed.extend(all);
    for (shard, key, value) in ledger.take_records() {
        value.into_iter().for_each(|value| other.restore(shard, &key, &value));
    }
    other
}

#[test]
fn one_message_follows_an_alert_to_its_end() {
    let mut ledger = ledger();
    let to = |at: i64| vec![duty(Channel::Telegram, "vera", Timestamp(at))];
    ledger.status(SHARD, alert("lead:1", Status::DueSoon, 0), to(0), Timestamp(0));
    let job = due(&mut ledger, 0).remove(0);
    assert_eq!((said(&job), &job.replaces), (vec![("lead:1", "DUE_SOON")], &None));
    sent(&mut ledger, &job, "m1", 10);
    assert!(due(&mut ledger, 1_000_000).is_empty(), "nothing is said twice");
    for (status, level) in [(Status::Firing, 0), (Status::Escalated, 1), (Status::Resolved, 1), (Status::Retracted, 1)]
    {
        ledger.status(SHARD, alert("lead:1", status, level), to(20), Timestamp(20));
        let job = due(&mut ledger, 20).remove(0);
        assert_eq!((said(&job), job.replaces.as_deref()), (vec![("lead:1", status.name())], Some("m1")));
        sent(&mut ledger, &job, "m1", 30);
    }
    assert!(due(&mut ledger, 100).is_empty());
}

#[test]
fn what_is_over_before_it_is_sent_is_withheld() {
    for end in [Status::Resolved, Status::Retracted] {
        let mut ledger = ledger();
        ledger.status(
            SHARD,
            alert("lead:1", Status::Firing, 0),
            vec![duty(Channel::Mail, "vera", Timestamp(0) + HOLD)],
            Timestamp(0),
        );
        assert!(due(&mut ledger, HOLD.0 - 1).is_empty(), "held");
        ledger.status(SHARD, alert("lead:1", end, 0), Vec::new(), Timestamp(100));
        assert!(due(&mut ledger, HOLD.0).is_empty());
        assert_eq!(ledger.counts(), (0, 1));
    }
}

#[test]
fn a_status_that_is_overtaken_is_not_sent() {
    let mut ledger = ledger();
    let to = || vec![duty(Channel::Bitrix24, "7", Timestamp(100))];
    ledger.status(SHARD, alert("lead:1", Status::DueSoon, 0), to(), Timestamp(0));
    ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to(), Timestamp(50));
    let jobs = due(&mut ledger, 100);
    assert_eq!(jobs.iter().flat_map(said).collect::<Vec<_>>(), [("lead:1", "FIRING")]);
}

#[test]
fn history_and_ends_of_unknown_alerts_tell_nobody() {
    let mut ledger = ledger();
    let to = || vec![duty(Channel::Mail, "vera", Timestamp(0))];
    let past = Alert { historic: true, ..alert("lead:1", Status::Firing, 0) };
    ledger.status(SHARD, past, to(), Timestamp(0));
    ledger.status(SHARD, alert("lead:2", Status::Resolved, 0), to(), Timestamp(0));
    ledger.status(SHARD, alert("lead:3", Status::Firing, 0), Vec::new(), Timestamp(0));
    assert!(due(&mut ledger, 100).is_empty() && ledger.is_empty() && ledger.take_records().is_empty());
}

#[test]
fn alerts_of_a_group_are_one_message_that_says_how_many_more() {
    let mut ledger = ledger();
    for n in 0..12 {
        let to = vec![grouped(Channel::Telegram, "head", Timestamp(100), 10)];
        ledger.status(SHARD, alert(&format!("lead:{n}"), Status::Firing, 0), to, Timestamp(n));
    }
    let jobs = due(&mut ledger, 100);
    assert_eq!(
        jobs.iter().map(|job| (job.items.len(), job.more, job.is_summary)).collect::<Vec<_>>(),
        [(10, 2, false)]
    );
    sent(&mut ledger, &jobs[0], "m1", 100);
    ledger.status(SHARD, alert("lead:4", Status::Resolved, 0), Vec::new(), Timestamp(200));
    let edit = due(&mut ledger, 200).remove(0);
    assert_eq!(
        (edit.replaces.as_deref(), edit.items.len(), edit.more),
        (Some("m1"), 10, 2),
        "all of them are named again"
    );
    let resolved = ("lead:4", "RESOLVED");
    assert!(said(&edit).last() == Some(&resolved) || !said(&edit).contains(&resolved), "what is over comes last");
}

#[test]
fn after_a_long_outage_there_is_one_summary() {
    let mut ledger = ledger();
    for n in 0..400 {
        let to = vec![duty(Channel::Telegram, "head", Timestamp(0))];
        ledger.status(SHARD, alert(&format!("lead:{n}"), Status::Firing, 0), to, Timestamp(0));
    }
    let mut messages = 0;
    let mut now = Span::HOUR.0 + 1;
    while ledger.owed() > 0 {
        for job in due(&mut ledger, now) {
            messages += 1;
            assert!(job.is_summary && job.items.len() + job.more == 400, "{} and {}", job.items.len(), job.more);
            sent(&mut ledger, &job, "m1", now);
        }
        now += 1000;
    }
    assert_eq!(messages, 1);
}

#[test]
fn an_address_gets_one_message_at_a_time() {
    let mut ledger = ledger();
    for n in 0..3 {
        let to = vec![duty(Channel::Mail, "vera", Timestamp(0))];
        ledger.status(SHARD, alert(&format!("lead:{n}"), Status::Firing, 0), to, Timestamp(0));
    }
    let jobs = due(&mut ledger, 0);
    assert_eq!(jobs.len(), 1);
    assert!(due(&mut ledger, 10_000).is_empty(), "the first is under way");
    sent(&mut ledger, &jobs[0], "m1", 10_000);
    assert_eq!(due(&mut ledger, 20_000).len(), 1);
}

#[test]
fn what_failed_is_sent_later_and_what_is_refused_never() {
    let mut ledger = ledger();
    ledger.status(
        SHARD,
        alert("lead:1", Status::Firing, 0),
        vec![duty(Channel::Telegram, "vera", Timestamp(0))],
        Timestamp(0),
    );
    let job = due(&mut ledger, 0).remove(0);
    assert!(ledger.done(job.id, &Outcome::Later(Span(5_000), "timeout"), Timestamp(100)));
    assert!(due(&mut ledger, 5_099).is_empty());
    let job = due(&mut ledger, 5_100).remove(0);
    assert!(ledger.done(job.id, &Outcome::Refused("blocked_by_user"), Timestamp(5_200)));
    assert!(due(&mut ledger, i64::MAX / 4).is_empty() && ledger.owed() == 0);
}

#[test]
fn who_takes_care_of_an_alert_is_told_no_more_of_it() {
    let mut ledger = ledger();
    let to = |channel| vec![duty(Channel::Telegram, "vera", Timestamp(0)), duty(channel, "vera", Timestamp(500))];
    ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to(Channel::Mail), Timestamp(0));
    let job = due(&mut ledger, 0).remove(0);
    sent(&mut ledger, &job, "m1", 10);
    assert!(ledger.take(alert("lead:1", Status::Firing, 0).id, "vera", Timestamp(20)).is_some());
    let jobs = due(&mut ledger, 1000);
    assert_eq!(jobs.len(), 1, "the mail is not sent; the message says who takes care");
    assert_eq!((jobs[0].items[0].taken_by.as_deref(), jobs[0].replaces.as_deref()), (Some("vera"), Some("m1")));
    sent(&mut ledger, &jobs[0], "m1", 1000);
    ledger.status(SHARD, alert("lead:1", Status::Resolved, 0), Vec::new(), Timestamp(2000));
    assert_eq!(due(&mut ledger, 2000).iter().flat_map(said).collect::<Vec<_>>(), [("lead:1", "RESOLVED")]);
}

#[test]
fn settled_alerts_are_forgotten() {
    let mut ledger = ledger();
    ledger.status(
        SHARD,
        alert("lead:1", Status::Firing, 0),
        vec![duty(Channel::Telegram, "vera", Timestamp(0))],
        Timestamp(0),
    );
    let job = due(&mut ledger, 0).remove(0);
    sent(&mut ledger, &job, "m1", 0);
    ledger.status(SHARD, alert("lead:1", Status::Resolved, 0), Vec::new(), Timestamp(10));
    let job = due(&mut ledger, 10).remove(0);
    sent(&mut ledger, &job, "m1", 10);
    assert!(due(&mut ledger, KEEP.0).is_empty() && ledger.len() == 1, "it may still be retracted");
    ledger.take_records();
    assert!(due(&mut ledger, KEEP.0 + 10).is_empty() && ledger.is_empty());
    assert!(matches!(ledger.take_records().as_slice(), [(SHARD, _, None)]), "its record is deleted");
}

#[test]
fn a_stage_is_said_again_if_another_one_may_have_arrived_since() {
    for (channel, replaces) in [(Channel::Telegram, Some("m1")), (Channel::Mail, None)] {
        let mut ledger = ledger();
        let to = || vec![duty(channel, "vera", Timestamp(0))];
        ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to(), Timestamp(0));
        let job = due(&mut ledger, 0).remove(0);
        assert!(ledger.done(job.id, &Outcome::Sent(replaces.map(str::to_owned)), Timestamp(0)));
        ledger.status(SHARD, alert("lead:1", Status::Escalated, 1), to(), Timestamp(10));
        assert_eq!(due(&mut ledger, 10).len(), 1);
        // The process ends before it knows what became of the message.
        let mut ledger = restarted(&mut ledger);
        ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to(), Timestamp(20));
        let job = due(&mut ledger, 20).remove(0);
        assert_eq!((said(&job), job.replaces.as_deref()), (vec![("lead:1", "FIRING")], replaces), "{channel:?}");
        assert!(ledger.done(job.id, &Outcome::Sent(replaces.map(str::to_owned)), Timestamp(20)));
        assert!(due(&mut ledger, 1000).is_empty() && ledger.owed() == 0);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Status {
        subject: usize,
        status: usize,
        level: u32,
    },
    Wait(i64),
    /// The messages that are due are sent, or the channel is away.
    Send {
        works: bool,
    },
    /// The process ends after the messages that are due were recorded as under way, and perhaps sent.
    Kill {
        arrived: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4usize, 0..5usize, 0..3u32).prop_map(|(subject, status, level)| Step::Status { subject, status, level }),
        3 => (0..60_000i64).prop_map(Step::Wait),
        4 => any::<bool>().prop_map(|works| Step::Send { works }),
        1 => any::<bool>().prop_map(|arrived| Step::Kill { arrived }),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever happens, an address is informed of each stage of an alert once, except what was under way when a process ended;
    /// and at the end nothing is owed.
    #[test]
    fn every_stage_is_sent_once(steps in steps(), follows in any::<bool>()) {
        const STATUSES: [Status; 5] =
            [Status::DueSoon, Status::Firing, Status::Escalated, Status::Resolved, Status::Retracted];
        let channel = if follows { Channel::Telegram } else { Channel::Mail };
        let (mut ledger, mut now, mut messages) = (ledger(), 0i64, 0u32);
        // For each subject: what it was informed last, and how often the same was said again.
        let mut arrived: BTreeMap<String, (Status, u32)> = BTreeMap::new();
        let mut current: BTreeMap<String, (Status, u32)> = BTreeMap::new();
        let (mut twice, mut kills) = (0, 0);
        let deliver = |arrived: &mut BTreeMap<String, (Status, u32)>, jobs: &[Job]| {
            let items = jobs.iter().flat_map(|job| &job.items);
            let stages = items.map(|Item { alert, .. }| (alert.subject.to_string(), (alert.status, alert.level)));
            stages.filter(|(subject, stage)| arrived.insert(subject.clone(), *stage) == Some(*stage)).count()
        };
        for step in steps.into_iter().chain((0..40).flat_map(|_| [Step::Wait(60_000), Step::Send { works: true }])) {
            match step {
                Step::Status { subject, status, level } => {
                    let subject = format!("lead:{subject}");
                    let status = STATUSES[status];
                    let before = current.get(&subject);
                    // What is over does not open again: a second violation is another alert.
                    if before == Some(&(status, level)) || before.is_some_and(|(before, _)| is_over(*before) && !is_over(status)) {
                        continue;
                    }
                    current.insert(subject.clone(), (status, level));
                    let duties = vec![duty(channel, "vera", Timestamp(now) + HOLD)];
                    ledger.status(SHARD, alert(&subject, status, level), duties, Timestamp(now));
                }
                Step::Wait(time) => now += time,
                Step::Send { works } => {
                    for job in due(&mut ledger, now) {
                        let outcome = if works {
                            messages += 1;
                            twice += deliver(&mut arrived, std::slice::from_ref(&job));
                            Outcome::Sent(Some(job.replaces.clone().unwrap_or_else(|| messages.to_string())))
                        } else {
                            Outcome::Later(Span(1000), "timeout")
                        };
                        prop_assert!(ledger.done(job.id, &outcome, Timestamp(now)));
                    }
                }
                Step::Kill { arrived: has_arrived } => {
                    let jobs = due(&mut ledger, now);
                    kills += jobs.len();
                    if has_arrived {
                        twice += deliver(&mut arrived, &jobs);
                    }
                    ledger = restarted(&mut ledger);
                }
            }
        }
        prop_assert_eq!(ledger.owed(), 0);
        prop_assert!(twice <= kills, "{twice} doubles");
        for (subject, stage) in current {
            let last = arrived.get(&subject).copied();
            // An open alert is informed of. The end is informed to those who were informed of the alert, where a message can follow it.
            let is_right = if is_over(stage.0) { last.is_none() || !follows || last == Some(stage) } else { last == Some(stage) };
            prop_assert!(is_right, "{subject} {stage:?}: {last:?}");
        }
    }
}

#[test]
fn a_channel_that_cannot_be_asked_has_one_message_under_way() {
    for (channel, at_once) in [(Channel::Mail, 1), (Channel::Telegram, 1), (Channel::Todo, 1), (Channel::Bitrix24, 3)] {
        let mut ledger = ledger();
        for n in 0..3 {
            let to = vec![duty(channel, &format!("{n}"), Timestamp(0))];
            ledger.status(SHARD, alert(&format!("lead:{n}"), Status::Firing, 0), to, Timestamp(0));
        }
        let jobs = due(&mut ledger, 0);
        assert_eq!(jobs.len(), at_once, "{channel:?}");
        assert!(due(&mut ledger, 10_000).is_empty());
        assert_eq!(restarted(&mut ledger).counts().0, u64::from(at_once == 1));
        sent(&mut ledger, &jobs[0], "m", 10_000);
        assert_eq!(due(&mut ledger, 20_000).len(), usize::from(at_once == 1));
    }
}

#[test]
fn what_may_have_arrived_is_repeated_as_it_was() {
    let mut ledger = ledger();
    let to = || vec![grouped(Channel::Bitrix24, "head", Timestamp(100), 10)];
    (0..3).for_each(|n| ledger.status(SHARD, alert(&format!("lead:{n}"), Status::Firing, 0), to(), Timestamp(n)));
    let before = due(&mut ledger, 100).remove(0);
    let mut ledger = restarted(&mut ledger);
    ledger.status(SHARD, alert("lead:9", Status::Firing, 0), to(), Timestamp(200));
    ledger.status(SHARD, alert("lead:1", Status::Escalated, 1), to(), Timestamp(200));
    let again = due(&mut ledger, 300).remove(0);
    assert_eq!(
        (again.items.len(), again.items.iter().map(|item| item.alert.id).min()),
        (3, before.items.iter().map(|item| item.alert.id).min())
    );
    sent(&mut ledger, &again, "m1", 300);
    assert_eq!(due(&mut ledger, 1000).iter().map(|job| job.items.len()).collect::<Vec<_>>(), [1], "the new one apart");
}

#[test]
fn a_task_that_is_sent_again_keeps_its_key() {
    let mut ledger = ledger();
    let to = || vec![duty(Channel::Task, "head", Timestamp(0))];
    ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to(), Timestamp(0));
    let key = due(&mut ledger, 0).remove(0).key;
    let mut ledger = restarted(&mut ledger);
    ledger.status(SHARD, alert("lead:1", Status::Escalated, 1), to(), Timestamp(10));
    assert_eq!(due(&mut ledger, 10).remove(0).key, key);
}

#[test]
fn a_lost_answer_counts_once_for_a_message_and_never_for_an_edit() {
    let mut ledger = ledger();
    let to = || vec![duty(Channel::Telegram, "vera", Timestamp(0))];
    ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to(), Timestamp(0));
    let job = due(&mut ledger, 0).remove(0);
    assert!(ledger.done(job.id, &Outcome::Unknown(Span(10), "cut_off"), Timestamp(0)));
    let job = due(&mut ledger, 10).remove(0);
    sent(&mut ledger, &job, "m1", 10);
    assert_eq!(ledger.counts(), (1, 0));
    ledger.status(SHARD, alert("lead:1", Status::Resolved, 0), Vec::new(), Timestamp(20));
    let job = due(&mut ledger, 20).remove(0);
    assert!(ledger.done(job.id, &Outcome::Unknown(Span(10), "cut_off"), Timestamp(20)));
    assert_eq!((due(&mut ledger, 30).len(), ledger.counts()), (1, (1, 0)));
}

#[test]
fn a_mail_about_what_is_over_is_not_sent() {
    let mut ledger = ledger();
    let to = || vec![duty(Channel::Mail, "vera", Timestamp(0))];
    ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to(), Timestamp(0));
    let job = due(&mut ledger, 0).remove(0);
    sent(&mut ledger, &job, "m1", 0);
    ledger.status(SHARD, alert("lead:1", Status::Escalated, 1), to(), Timestamp(10));
    let job = due(&mut ledger, 10).remove(0);
    ledger.status(SHARD, alert("lead:1", Status::Resolved, 1), Vec::new(), Timestamp(20));
    assert!(ledger.done(job.id, &Outcome::Later(Span(10), "busy"), Timestamp(20)));
    assert!(due(&mut ledger, 1000).is_empty() && ledger.owed() == 0);
}

#[test]
fn an_alertmanager_is_told_of_ends_for_some_minutes() {
    let mut ledger = ledger();
    let to = || vec![duty(Channel::Alertmanager, "", Timestamp(0))];
    for (subject, status) in [("lead:1", Status::Firing), ("lead:2", Status::Firing), ("lead:3", Status::Raised)] {
        ledger.status(SHARD, alert(subject, status, 0), to(), Timestamp(0));
    }
    ledger.status(SHARD, alert("lead:1", Status::Resolved, 0), Vec::new(), Timestamp(0));
    let told = |ledger: &Ledger, now: Timestamp| {
        let told =
            ledger.for_alertmanager(now).into_iter().map(|(alert, ended)| (alert.subject.to_string(), ended.is_some()));
        told.collect::<BTreeMap<_, _>>()
    };
    let all = |ends: &[(&str, bool)]| ends.iter().map(|(subject, ended)| ((*subject).to_owned(), *ended)).collect();
    assert_eq!(told(&ledger, Timestamp(1)), all(&[("lead:1", true), ("lead:2", false), ("lead:3", false)]));
    assert_eq!(told(&ledger, Timestamp(0) + TELL_END), all(&[("lead:1", true), ("lead:2", false), ("lead:3", true)]));
    assert_eq!(told(&ledger, Timestamp(1) + Span(2 * TELL_END.0)), all(&[("lead:2", false)]));
    assert_eq!(ledger.counts(), (0, 0), "that is no message that was withheld");
}

#[test]
fn a_message_is_given_up_a_day_after_the_channel_began_to_fail_and_the_next_stage_is_tried() {
    let mut ledger = ledger();
    // It waits for the end of a long weekend, or for this process.
    let monday = Timestamp(4 * Span::DAY.0);
    let to = |channel: Channel| vec![duty(channel, "1", monday)];
    ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to(Channel::Telegram), Timestamp(0));
    assert_eq!(ledger.oldest(monday), Span::ZERO, "until then it is not late");
    let fail = |ledger: &mut Ledger, now: Timestamp| {
        let jobs = ledger.take_due(now, |_| None, |_| None);
        for job in &jobs {
            ledger.done(job.id, &Outcome::Later(Span(1_000), "paced"), now);
        }
        jobs.len()
    };
    assert_eq!((fail(&mut ledger, monday), ledger.owed()), (1, 1), "it is tried again");
    let mut ledger = restarted(&mut ledger);
    let next_day = monday + Span::DAY;
    assert_eq!((fail(&mut ledger, next_day), ledger.owed()), (1, 1));
    assert_eq!((fail(&mut ledger, next_day + Span::MINUTE), ledger.owed()), (1, 0), "given up");
    let later = next_day + Span::HOUR;
    ledger.status(SHARD, alert("lead:1", Status::Escalated, 1), Vec::new(), later);
    assert_eq!(ledger.owed(), 1);
    assert_eq!((fail(&mut ledger, later), ledger.owed()), (1, 1), "for a day");
    let job = ledger.take_due(later + Span::MINUTE, |_| None, |_| None).remove(0);
    assert_eq!(said(&job), [("lead:1", "ESCALATED")]);
    sent(&mut ledger, &job, "m1", (later + Span::MINUTE).0);
    assert_eq!(ledger.owed(), 0);
}

#[test]
fn who_is_no_head_any_more_is_not_told_and_who_is_now_is_told() {
    let mut ledger = ledger();
    let id = alert("lead:1", Status::Firing, 0).id;
    let to = |who: &str| vec![duty(Channel::Telegram, who, Timestamp(100))];
    ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to("old"), Timestamp(0));
    ledger.reroute(SHARD, id, &to("old"), to("new"), Timestamp(10));
    let job = due(&mut ledger, 100).remove(0);
    assert_eq!((job.address.to.as_str(), ledger.owed()), ("new", 1));
    sent(&mut ledger, &job, "m1", 100);
    // Who has a message learns how it ends.
    ledger.reroute(SHARD, id, &to("new"), to("newest"), Timestamp(200));
    ledger.status(SHARD, alert("lead:1", Status::Escalated, 1), Vec::new(), Timestamp(300));
    let mut told: Vec<_> = Vec::new();
    for now in [1_000, 2_000] {
        // One message of the channel at a time.
        for job in due(&mut ledger, now) {
            told.push((job.address.to.clone(), job.items[0].alert.status));
            sent(&mut ledger, &job, &format!("m-{}", job.address.to), now);
        }
    }
    told.sort();
    assert_eq!(told, [("new".to_owned(), Status::Escalated), ("newest".to_owned(), Status::Escalated)]);
    // What is over is for nobody else.
    ledger.status(SHARD, alert("lead:1", Status::Resolved, 1), Vec::new(), Timestamp(3_000));
    ledger.reroute(SHARD, id, &[], to("late"), Timestamp(3_000));
    assert!(due(&mut ledger, 4_000).iter().all(|job| job.address.to != "late"));
}

#[test]
fn an_alert_waits_until_it_is_known_whom_to_tell() {
    let mut ledger = ledger();
    ledger.keep(SHARD, alert("lead:1", Status::Firing, 0), Timestamp(0));
    ledger.keep(SHARD, alert("lead:2", Status::Firing, 0), Timestamp(0));
    ledger.keep(SHARD, alert("lead:3", Status::Resolved, 0), Timestamp(0));
    let mut ledger = restarted(&mut ledger);
    assert_eq!((ledger.len(), ledger.owed(), ledger.open_alerts("acme").len()), (2, 0, 2));
    assert_eq!(ledger.companies().into_iter().collect::<Vec<_>>(), ["acme"]);
    let to = vec![duty(Channel::Telegram, "head", Timestamp(100))];
    ledger.reroute(SHARD, alert("lead:1", Status::Firing, 0).id, &[], to, Timestamp(10));
    assert_eq!(due(&mut ledger, 100).iter().flat_map(said).collect::<Vec<_>>(), [("lead:1", "FIRING")]);
    due(&mut ledger, KEEP_SETTLED.0);
    assert_eq!(ledger.len(), 1, "the other one is forgotten");
}

#[test]
fn other_messages_and_those_about_alerts_are_not_under_way_together() {
    let mut ledger = ledger();
    let other = address(Channel::Mail, "boss@x.example");
    assert!(ledger.begin(&other) && !ledger.begin(&address(Channel::Mail, "vera@x.example")));
    let to = vec![duty(Channel::Mail, "1", Timestamp(0))];
    ledger.status(SHARD, alert("lead:1", Status::Firing, 0), to, Timestamp(0));
    assert!(due(&mut ledger, 0).is_empty());
    ledger.end(&other);
    assert_eq!(due(&mut ledger, 100).len(), 1);
    assert!(!ledger.begin(&other));
    // An address of a channel that recognizes repetitions.
    assert!(ledger.begin(&address(Channel::Bitrix24, "7")) && ledger.begin(&address(Channel::Bitrix24, "8")));
    assert!(!ledger.begin(&address(Channel::Bitrix24, "7")));
}

#[test]
fn what_could_not_be_sent_in_working_time_waits_for_it() {
    let mut ledger = ledger();
    let quiet = |to: &str| vec![Duty { is_quiet: true, ..duty(Channel::Bitrix24, to, Timestamp(0)) }];
    for n in 1..=2 {
        ledger.status(SHARD, alert(&format!("lead:{n}"), Status::Firing, 0), quiet("7"), Timestamp(0));
    }
    ledger.status(SHARD, alert("lead:3", Status::Firing, 0), quiet("8"), Timestamp(0));
    for job in due(&mut ledger, 0) {
        let outcome =
            if job.address.to == "8" { Outcome::Sent(None) } else { Outcome::Later(Span(10), "no_connection") };
        ledger.done(job.id, &outcome, Timestamp(0));
    }
    // The portal answers again in the evening.
    let opens_at = Timestamp(Span::DAY.0);
    let at =
        |ledger: &mut Ledger, now: Timestamp| ledger.take_due(now, |_| None, |_| (now < opens_at).then_some(opens_at));
    let evening = Timestamp(Span::HOUR.0 / 2);
    assert!(at(&mut ledger, evening).is_empty());
    let mut ledger = restarted(&mut ledger);
    assert!(at(&mut ledger, opens_at + Span(-1)).is_empty());
    // What was sent is changed all the same.
    ledger.status(SHARD, alert("lead:3", Status::Resolved, 0), Vec::new(), evening);
    let job = at(&mut ledger, evening).remove(0);
    assert_eq!(said(&job), [("lead:3", "RESOLVED")]);
    let jobs = at(&mut ledger, opens_at);
    assert_eq!(
        jobs.iter().map(|job| (job.items.len(), job.is_summary)).collect::<Vec<_>>(),
        [(2, true)],
        "one summary"
    );
}

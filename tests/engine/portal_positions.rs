//! What is too much for one step, one sweep or the budget of ten minutes is read in parts: each continues where the one before
//! stopped, though the reader is killed in between.

use super::portal_errors::{Portal, Run, add_lead, minutes, open_chat};
use funnelwatch::domain::source::Topic;
use funnelwatch::domain::time::Span;
use funnelwatch::gateway::bitrix24::{Budget, Settings};
use funnelwatch::gateway::source::Clock;
use serde_json::json;
use std::collections::BTreeSet;

/// A reader of a portal that may let its methods work this long in ten minutes. A sweep without news takes 1.5 s of them.
fn run_within(portal: &Portal, operating_seconds: f64) -> Run {
    let budget = Budget { operating_seconds, ..Budget::default() };
    let mut run = Run::new(portal, Settings { budget, sweep: Span(1_200_000), ..portal.settings() });
    run.run(minutes(21));
    run
}

/// Runs for ten minutes so many times; the reader is killed after every third of them.
fn run_on(run: &mut Run, times: u32) {
    for part in 1..=times {
        run.run(minutes(10));
        if part % 3 == 0 {
            run.restart();
        }
    }
}

#[test]
fn a_right_that_is_lost_for_hours_leaves_no_gap_in_the_past() {
    let portal = Portal::new();
    let first = portal.now();
    for _ in 0..100 {
        portal.lock().tables.call(json!({"CALL_TYPE": "2", "CALL_DURATION": "60"}), Span::ZERO);
        portal.wait(minutes(24 * 60));
    }
    let settings = Settings { backfill_from: Some(first), ..portal.settings() };
    let mut run = Run::new(&portal, settings);
    let calls = |run: &Run| run.ids("b24:vx:").len();
    while calls(&run) == 0 {
        let wait = run.step();
        portal.wait(Span(wait.as_millis() as i64));
    }
    assert!(calls(&run) < 50, "the first month");
    portal.fail("voximplant.statistic.get", Some((403, "ACCESS_DENIED")));
    run.run(minutes(5 * 60));
    assert!(calls(&run) < 50);
    portal.fail("voximplant.statistic.get", None);
    run.run(minutes(60));
    assert_eq!(calls(&run), 100);
    assert!(
        run.first_mark(Topic::Telephony, portal.now().saturating_sub(minutes(5))).is_some(),
        "the present is reached"
    );
}

#[test]
fn a_portal_that_is_busy_when_the_back_fill_begins_loses_nothing() {
    let busy = [(429, "OPERATION_TIME_LIMIT"), (500, "INTERNAL_SERVER_ERROR")];
    let cases = busy.iter().flat_map(|error| [(*error, false), (*error, true)]);
    for (error, at_once) in cases.chain([((403, "ACCESS_DENIED"), false)]) {
        let portal = Portal::new();
        let first = portal.now();
        let leads: Vec<u64> = (0..60).map(|_| add_lead(&portal)).collect();
        for _ in &leads {
            portal.lock().tables.call(json!({"CALL_TYPE": "2", "CALL_DURATION": "60"}), Span::ZERO);
        }
        portal.wait(minutes(40 * 24 * 60));
        let mut run = Run::new(&portal, Settings { backfill_from: Some(first), ..portal.settings() });
        let methods = ["crm.stagehistory.list", "voximplant.statistic.get"];
        if !at_once {
            // The first sweep is complete, and the back-fill begins next.
            let is_swept = |known: &Vec<u8>| String::from_utf8_lossy(known).contains("\"swept\":true");
            while !run.cursors.get("portal").is_some_and(is_swept) {
                run.step();
            }
        }
        methods.iter().for_each(|method| portal.fail(method, Some(error)));
        run.run(minutes(25));
        methods.iter().for_each(|method| portal.fail(method, None));
        run.run(minutes(60));
        assert_eq!(run.ids("b24:sh:1:").len(), leads.len(), "{error:?} {at_once}: moves");
        assert_eq!(run.ids("b24:vx:").len(), leads.len(), "{error:?} {at_once}: calls");
    }
}

#[test]
fn what_was_refused_from_the_beginning_does_not_delay_the_past() {
    let portal = Portal::new();
    let (first, lead) = (portal.now(), add_lead(&portal));
    portal.wait(minutes(100 * 24 * 60));
    portal.fail("voximplant.statistic.get", Some((403, "ACCESS_DENIED")));
    let mut run = Run::new(&portal, Settings { backfill_from: Some(first), ..portal.settings() });
    run.run(minutes(20));
    assert!(run.ids("b24:item:1:").contains(&format!("b24:item:1:{lead}:created")));
    assert!(run.marks_of(Topic::Crm, portal.now().saturating_sub(minutes(5))) > 0, "the present is reached");
}

#[test]
fn what_changes_while_very_many_changes_are_read_comes_before_the_mark_that_covers_it() {
    const LEADS: u64 = 2_000;
    let portal = Portal::new();
    for _ in 0..LEADS {
        portal.lock().tables.create(1, json!({"stageId": "NEW", "stageSemanticId": "P"}));
    }
    portal.wait(minutes(24 * 60));
    let mut run = run_within(&portal, 4.0);
    for id in 1..=LEADS {
        portal.lock().tables.update(1, id, json!({"assignedById": 2}));
    }
    while run.ids("b24:item:1:1:").is_empty() {
        run.run(minutes(1));
    }
    assert!((run.ids("b24:item:1:").len() as u64) < LEADS, "it takes several sweeps");
    // Behind the position.
    portal.lock().tables.update(1, 1, json!({"assignedById": 9}));
    let changed = portal.now();
    run_on(&mut run, 12);
    let reported = run.events.iter().position(|(_, event)| event["lead_snapshot"]["manager_id"] == "9");
    let mark = run.first_mark(Topic::Crm, changed);
    assert!(reported.is_some() && mark.is_some(), "{reported:?} {mark:?}");
    assert!(reported < mark, "the mark comes after {mark:?} events, the change is event {reported:?}");
}

#[test]
fn open_plans_are_all_asked_for_though_the_budget_allows_only_a_part_of_them() {
    const PLANS: u64 = 1_600;
    let portal = Portal::new();
    let lead = add_lead(&portal);
    // 20 lists of 50 more than a sweep needs; all plans are 32.
    let mut run = run_within(&portal, 3.5);
    for _ in 0..PLANS {
        portal.lock().tables.activity((1, lead), json!({"PROVIDER_ID": "CRM_TODO"}));
    }
    run_on(&mut run, 9);
    let planned = run.events.iter().filter(|(_, event)| event.get("activity_planned").is_some()).count() as u64;
    assert_eq!(planned, PLANS);
    for id in [1, PLANS / 2, PLANS] {
        portal.lock().tables.delete_activity(id);
    }
    run_on(&mut run, 18);
    let expected: BTreeSet<String> = [1, PLANS / 2, PLANS].map(|id| format!("b24:gone:act:{id}")).into();
    assert_eq!(run.ids("b24:gone:act:"), expected);
}

#[test]
fn calls_are_all_read_again_though_the_budget_allows_only_a_part_of_them() {
    const CALLS: u64 = 1_600;
    let portal = Portal::new();
    // 20 lists of 50 more than a sweep needs; all calls of a day are 32.
    let mut run = run_within(&portal, 3.5);
    for _ in 0..CALLS {
        portal.lock().tables.call(json!({"CALL_TYPE": "2", "CALL_DURATION": "60"}), Span::ZERO);
    }
    run_on(&mut run, 9);
    assert_eq!(run.ids("b24:vx:").len() as u64, CALLS);
    for id in [1, CALLS / 2, CALLS] {
        portal.lock().tables.calls.get_mut(&id).expect("a call")["CALL_VOTE"] = "5".into();
    }
    let voted = portal.now();
    run_on(&mut run, 9);
    let expected: BTreeSet<String> = [1, CALLS / 2, CALLS].map(|id| format!("b24:vote:{id}:5")).into();
    assert_eq!(run.ids("b24:vote:"), expected);
    // The statistics were read in each sweep, so each has a mark.
    let (calls, mails) = (run.marks_of(Topic::Telephony, voted), run.marks_of(Topic::Email, voted));
    assert!(calls == mails && calls >= 2, "{calls} marks of calls, {mails} of mails");
    // What is new does not wait for what is read again.
    let new = portal.lock().tables.call(json!({"CALL_TYPE": "2", "CALL_DURATION": "60"}), Span::ZERO);
    run.run(minutes(11));
    assert_eq!(run.ids(&format!("b24:vx:{new}:")).len(), 1);
}

#[test]
fn open_chats_are_all_read_though_the_budget_allows_only_a_part_of_them() {
    const CHATS: u64 = 300;
    let portal = Portal::new();
    // 150 histories more than a sweep needs.
    let mut run = run_within(&portal, 4.5);
    (1..=CHATS).for_each(|session| open_chat(&portal, session));
    run_on(&mut run, 12);
    assert_eq!(run.ids("b24:ol:").len() as u64, CHATS);
}

#[test]
fn a_contact_of_very_many_deals_is_linked_to_them_in_steps_that_survive_a_kill() {
    const DEALS: u64 = 1_200;
    let portal = Portal::new();
    let mut run = Run::new(&portal, portal.settings());
    run.run(minutes(2));
    let phone =
        |number: &str| json!({"fm": [{"typeId": "PHONE", "value": number}, {"typeId": "EMAIL", "value": "a@b.c"}]});
    let contact = portal.lock().tables.create(3, phone("+7 900 000-00-01"));
    for _ in 0..DEALS {
        let fields = json!({"stageId": "NEW", "stageSemanticId": "P", "contactIds": [contact], "categoryId": 0});
        portal.lock().tables.create(2, fields);
    }
    run.run(minutes(10));
    assert_eq!(run.ids("b24:item:2:").len() as u64, DEALS);
    portal.lock().tables.update(3, contact, phone("+7 900 000-00-02"));
    let before = run.events.len();
    run.most = 0;
    let mut kills = 0;
    for step in 1..=120 {
        let wait = run.step();
        portal.wait(Span(wait.as_millis() as i64));
        // What the next step has made is lost with the process.
        // A sweep has about 15 steps.
        if step % 19 == 0 {
            run.lose_a_step();
            kills += 1;
        }
    }
    let linked: Vec<_> =
        run.events[before..].iter().filter(|(_, event)| event.get("contact_linked").is_some()).collect();
    let deals: BTreeSet<String> = linked
        .iter()
        .filter(|(_, event)| event["contact_linked"]["contact"]["phone"] == "+7 900 000-00-02")
        .map(|(_, event)| event["contact_linked"]["entity"]["id"].to_string())
        .collect();
    assert_eq!(deals.len() as u64, DEALS, "after {kills} kills");
    let ids: BTreeSet<String> = linked.iter().map(|(_, event)| event["event_id"].to_string()).collect();
    assert!(ids.len() as u64 >= 2 * DEALS, "the phone and the address of each deal");
    assert!(run.most <= 1_100, "{} events in one step", run.most);
    // A contact that has just changed is looked at again after a kill.
    run.run(minutes(5));
    let noted = run.cursors.get("linking").map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(noted.as_deref(), Some("[]"), "nothing is left to do");
}

#[test]
fn to_dos_and_tasks_that_the_program_makes_are_nobodys_plan() {
    let portal = Portal::new();
    let lead = add_lead(&portal);
    let mut run = run_within(&portal, 3.5);
    let add = |fields: serde_json::Value| portal.lock().tables.activity((1, lead), fields);
    let own = add(json!({"PROVIDER_ID": "CRM_TODO", "SUBJECT": "funnelwatch: Due soon"}));
    let task = add(json!({"PROVIDER_ID": "CRM_TASKS_TASK", "SUBJECT": "funnelwatch: Violation"}));
    let done = add(json!({"PROVIDER_ID": "CRM_TODO", "SUBJECT": "funnelwatch: Violation", "COMPLETED": "Y"}));
    let theirs = add(json!({"PROVIDER_ID": "CRM_TODO", "SUBJECT": "Ask about funnelwatch: a demo"}));
    run_on(&mut run, 9);
    let ids = run.ids("b24:act:");
    assert!(ids.iter().any(|id| id.starts_with(&format!("b24:act:{theirs}:"))), "{ids:?}");
    for id in [own, task, done] {
        assert!(!ids.iter().any(|found| found.starts_with(&format!("b24:act:{id}"))), "{id}: {ids:?}");
    }
}

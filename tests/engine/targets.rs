//! Targets, computed by hand: what counts as the time of a period, who has a plan, which facts count, and how alerts begin
//! and end. Times in comments are local.

use crate::common::{Output, Replay};
use crate::oracle::calendar::instant;
use funnelwatch::codec::json as json_codec;
use funnelwatch::domain::time::Span;
use funnelwatch::sim::{Habit, Plan, Simulation, norms_yaml};
use serde_json::{Value, json};

/// An event of the tenant `acme`.
fn event(at: &str, payload: &str, content: Value) -> Value {
    json!({"tenant_id": "acme", "occurred_at": at, payload: content})
}

fn manager(at: &str, id: &str, department: &str) -> Value {
    event(at, "manager_upserted", json!({"manager_id": id, "department_id": department, "active": true}))
}

fn meeting(at: &str, manager: &str) -> Value {
    let entity = json!({"kind": "DEAL", "id": format!("of-{manager}")});
    event(at, "activity_completed", json!({"entity": entity, "manager_id": manager, "kind": "MEETING"}))
}

/// A deal that is created and won.
fn won(created: &str, at: &str, id: &str, manager: &str, amount: (i64, &str)) -> [Value; 2] {
    let deal = json!({"deal_id": id, "manager_id": manager, "amount_minor": amount.0, "currency": amount.1});
    let closed = json!({"entity": {"kind": "DEAL", "id": id}, "outcome": "WON"});
    [event(created, "deal_created", deal), event(at, "closed", closed)]
}

/// Replays up to an instant.
fn run(norms: &str, events: &[Value], until: &str) -> Output {
    Replay { until: instant(until), ..Replay::PLAIN }.run(events, norms)
}

/// The targets of the `now` row of a subject.
fn now<'a>(output: &'a Output, subject: &str) -> &'a Value {
    let row = output.rows.iter().find(|row| row["subject"] == subject && row["window"] == "now");
    &row.unwrap_or_else(|| panic!("no row of {subject}"))["targets"]
}

/// The alerts: instant, status or resolution, subject, fact and pace.
fn alerts(output: &Output) -> Vec<String> {
    let line = |alert: &Value| {
        let what = alert["resolution"].as_str().or(alert["status"].as_str()).unwrap_or_default();
        let (observed, at) = (&alert["observed"], &alert["at"].as_str().unwrap_or_default()[..16]);
        let subject = alert["subject"].as_str().unwrap_or_default();
        format!("{at} {what} {subject} {} of {}", observed["fact"], observed["pace"])
    };
    output.alerts.iter().map(line).collect()
}

/// The closing rows of a subject: window and fact.
fn closed(output: &Output, subject: &str) -> Vec<String> {
    let rows = output.rows.iter().filter(|row| row["subject"] == subject);
    let rows = rows.filter(|row| row["window"].as_str().is_some_and(|window| window.contains('/')));
    rows.map(|row| format!("{} {}", row["window"].as_str().unwrap_or_default(), row["fact"])).collect()
}

const JUNE: &str = r#"
calendars:
  moscow:
    timezone: Europe/Moscow
    week: {mon: ["09:00-18:00"], tue: ["09:00-18:00"], wed: ["09:00-18:00"], thu: ["09:00-18:00"], fri: ["09:00-18:00"]}
    days: {"2026-06-11": ["09:00-17:00"], "2026-06-12": [], "2026-06-20": ["09:00-18:00"]}
    years: [2026]
calendar: moscow
windows: [{size: 24h, slide: 15m}]
targets: [{id: m, figure: meetings, per: month, at_least: 197}]
"#;

#[test]
fn a_month_has_holidays_a_short_day_and_a_working_saturday() {
    // June 2026 has 22 weekdays. Without the 12th, with the short 11th and the Saturday: 20 × 9 + 8 + 9 = 197 hours.
    let events = [manager("2026-05-30T10:00:00Z", "ann", "north"), meeting("2026-06-02T09:00:00Z", "ann")];
    // On the holiday, 5 + 3 days of 9 hours and the short day have passed.
    let output = run(JUNE, &events, "2026-06-12T09:00:00Z");
    let target = &now(&output, "manager:ann")["m"];
    assert_eq!((&target["fact"], &target["pace"], target.get("incomplete")), (&json!(1), &json!(80), None));
    let is_near = |value: &Value, wanted: f64| value.as_f64().is_some_and(|value| (value - wanted).abs() < 1e-12);
    assert!(is_near(&target["share"], 80.0 / 197.0) && is_near(&target["forecast"], 197.0 / 80.0), "{target}");
    // Half of the hours have passed on Wednesday the 17th at 09:30.
    let output = run(JUNE, &events, "2026-06-20T15:00:00Z");
    assert_eq!(alerts(&output), ["2026-06-17T06:30 FIRING manager:ann/m 1 of 98.5"]);
    // The Saturday counts: 80 + 5 × 9 + 9.
    assert_eq!(now(&output, "manager:ann")["m"]["pace"], 134);
    let output = run(JUNE, &events, "2026-07-01T09:00:00Z");
    assert_eq!(alerts(&output)[1..], ["2026-06-30T21:00 period_over manager:ann/m 1 of 197"]);
    assert_eq!(closed(&output, "manager:ann"), ["m/2026-05 0", "m/2026-06 1"]);
    let may = output.rows.iter().find(|row| row["window"] == "m/2026-05").expect("a row");
    assert_eq!((&may["incomplete"], &may["at"]), (&json!(true), &json!("2026-05-31T21:00:00.000Z")));
}

#[test]
fn a_day_on_which_clocks_change_has_23_hours() {
    let norms = r#"
calendars: {berlin: {timezone: Europe/Berlin, week: {}}}
calendar: berlin
windows: [{size: 24h, slide: 15m}]
targets:
  - {id: d, figure: meetings, per: day, at_least: 23, clock: wall}
  - {id: w, figure: meetings, per: week, at_least: 167, clock: wall, judge: false}
"#;
    let events = [manager("2026-03-20T10:00:00Z", "ann", "north"), meeting("2026-03-28T23:30:00Z", "ann")];
    // 29 March begins at 23:00 UTC. At 12:00 summer time eleven hours have passed, of the week 6 × 24 + 11.
    let output = run(norms, &events, "2026-03-29T10:00:00Z");
    let targets = now(&output, "manager:ann");
    assert_eq!((&targets["d"]["pace"], &targets["d"]["fact"]), (&json!(11), &json!(1)));
    assert_eq!((&targets["w"]["pace"], &targets["w"]["fact"]), (&json!(155), &json!(1)));
    let output = run(norms, &events, "2026-03-29T23:00:00Z");
    let last: Vec<_> = alerts(&output).into_iter().filter(|alert| alert.starts_with("2026-03-29")).collect();
    // Half of 23 hours; the day ends at 22:00 UTC.
    let expected =
        ["2026-03-29T10:30 FIRING manager:ann/d 1 of 11.5", "2026-03-29T22:00 period_over manager:ann/d 1 of 23"];
    assert_eq!(last, expected);
    assert!(closed(&output, "manager:ann").contains(&"w/2026-W13 1".to_owned()));
}

const PERSONAL: &str = r#"
calendars:
  full: {timezone: UTC, week: {mon: ["09:00-17:00"], tue: ["09:00-17:00"], wed: ["09:00-17:00"], thu: ["09:00-17:00"], fri: ["09:00-17:00"]}}
  half: {timezone: UTC, week: {mon: ["09:00-13:00"], tue: ["09:00-13:00"], wed: ["09:00-13:00"]}}
calendar: full
windows: [{size: 24h, slide: 1h}]
targets: [{id: m, figure: meetings, per: month, at_least: 22}]
overrides:
  - {when: {manager: bob}, calendar: half, targets: {m: {at_least: 14}}}
  - {when: {manager: cid}, targets: {m: {at_least: 16, from: 2026-06-10}}}
"#;

#[test]
fn half_hours_and_a_plan_from_the_10th_are_personal() {
    let mut events =
        vec![manager("2026-05-01T10:00:00Z", "ann", "north"), manager("2026-05-01T10:00:00Z", "bob", "north")];
    events.push(manager("2026-06-10T10:00:00Z", "cid", "north"));
    events.push(manager("2026-06-10T10:00:00Z", "dee", "north"));
    // June 2026 begins on a Monday: Ann has 22 days, Bob 14 (Monday to Wednesday), Cid 15 from the 10th on.
    let output = run(PERSONAL, &events, "2026-06-17T13:00:00Z");
    let m = |who: &str| &now(&output, &format!("manager:{who}"))["m"];
    // Ann: 12.5 of 22 days. Bob: 9 of 14. Cid: 5.5 of 15 days. Dee came on the 10th without a plan of her own.
    assert_eq!(m("ann")["pace"], 12.5);
    assert_eq!(m("bob")["pace"], 9);
    assert!(m("cid")["share"].as_f64().is_some_and(|share| (share - 5.5 / 15.0).abs() < 1e-12));
    assert_eq!((&m("dee")["pace"], &m("dee")["incomplete"]), (&json!(12.5), &json!(true)));
    assert_eq!(m("cid").get("incomplete"), None);
    // Half of the time: Ann's eleventh day, Bob's seventh, and noon of Cid's eighth of fifteen.
    let output = run(PERSONAL, &events, "2026-06-22T13:00:00Z");
    let june: Vec<_> = alerts(&output).into_iter().filter(|alert| alert.starts_with("2026-06")).collect();
    let first: Vec<_> = june.iter().filter(|alert| alert.contains("FIRING")).map(String::as_str).collect();
    assert_eq!(
        first,
        [
            "2026-06-15T13:00 FIRING manager:bob/m 0 of 7",
            "2026-06-15T17:00 FIRING manager:ann/m 0 of 11",
            "2026-06-19T13:00 FIRING manager:cid/m 0 of 8",
        ]
    );
}

#[test]
fn midnight_divides_a_night_shift() {
    let week =
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].map(|day| format!(r#"{day}: ["21:00-06:00"]"#)).join(", ");
    let norms = format!(
        "calendars: {{night: {{timezone: UTC, week: {{{week}}}}}}}\ncalendar: night\nwindows: [{{size: 24h, slide: 1h}}]\n\
         targets: [{{id: d, figure: meetings, per: day, at_least: 9, judge: false}}]\n"
    );
    let events = [
        manager("2026-06-01T10:00:00Z", "ann", "north"),
        meeting("2026-06-02T23:59:59.999Z", "ann"),
        meeting("2026-06-03T00:00:00Z", "ann"),
    ];
    // Six hours until 06:00, then one from 21:00 to 22:00, of nine.
    for (until, pace, fact) in [
        ("2026-06-02T06:00:00Z", 6, 0),
        ("2026-06-02T22:00:00Z", 7, 0),
        ("2026-06-02T23:59:59.999Z", 9, 1),
        ("2026-06-03T00:00:00Z", 0, 1),
    ] {
        let target = now(&run(&norms, &events, until), "manager:ann")["d"].clone();
        assert_eq!(
            (target["pace"].as_f64().map(f64::round), &target["fact"]),
            (Some(f64::from(pace)), &json!(fact)),
            "{until}"
        );
    }
    let output = run(&norms, &events, "2026-06-04T01:00:00Z");
    assert_eq!(closed(&output, "manager:ann"), ["d/2026-06-01 0", "d/2026-06-02 1", "d/2026-06-03 1"]);
}

const SALES: &str = r#"
windows: [{size: 24h, slide: 1h}]
targets:
  - {id: won, figure: deals_won, per: month, at_least: 3, clock: wall}
  - {id: rub, figure: amount_won, currency: RUB, per: month, at_least: 1000, clock: wall, of: department, judge_after: 0.9}
  - {id: all, figure: deals_won, per: quarter, at_least: 5, clock: wall, of: tenant, judge: false}
"#;

#[test]
fn only_closings_that_stand_count_by_the_amount_that_is_known() {
    let deal = |id: &str| json!({"kind": "DEAL", "id": id});
    let mut events = vec![manager("2026-02-27T10:00:00Z", "ann", "north")];
    for (id, amount) in [("1", (100, "RUB")), ("2", (200, "RUB")), ("3", (400, "USD")), ("4", (800, "rub "))] {
        events.extend(won("2026-03-02T10:00:00Z", "2026-03-03T10:00:00Z", id, "ann", amount));
    }
    events.push(event(
        "2026-03-04T10:00:00Z",
        "deal_snapshot",
        json!({"deal_id": "2", "amount_minor": 250, "currency": "RUB"}),
    ));
    events.push(event("2026-03-05T10:00:00Z", "assigned", json!({"entity": deal("2"), "manager_id": "bob"})));
    let output = run(SALES, &events, "2026-03-10T00:00:00Z");
    // A closing counts for the responsible at the closing.
    assert_eq!(now(&output, "manager:ann")["won"]["fact"], 4);
    assert_eq!(now(&output, "department:north")["rub"]["fact"], 100 + 250 + 800);
    events.push(event("2026-04-02T10:00:00Z", "reopened", json!({"entity": deal("1")})));
    events.push(event("2026-04-03T10:00:00Z", "deleted", json!({"entity": deal("4")})));
    events.push(event("2026-04-04T10:00:00Z", "closed", json!({"entity": deal("3"), "outcome": "LOST"})));
    events.push(event("2026-04-05T10:00:00Z", "closed", json!({"entity": deal("1"), "outcome": "WON"})));
    // The rows of March say what is known now; the new win counts in April.
    let output = run(SALES, &events, "2026-04-06T00:00:00Z");
    assert_eq!(closed(&output, "manager:ann"), ["won/2026-02 0", "won/2026-03 1"]);
    assert_eq!(closed(&output, "department:north"), ["rub/2026-02 0", "rub/2026-03 250"]);
    assert_eq!(closed(&output, "tenant"), ["all/2026-Q1 1"]);
    assert_eq!(now(&output, "manager:ann")["won"]["fact"], 1);
    assert_eq!(now(&output, "tenant")["all"]["fact"], 1);
}

#[test]
fn facts_follow_managers_to_their_departments() {
    let mut events =
        vec![manager("2026-02-27T10:00:00Z", "ann", "north"), manager("2026-02-27T10:00:00Z", "bob", "south")];
    events.extend(won("2026-03-02T10:00:00Z", "2026-03-03T10:00:00Z", "1", "ann", (100, "RUB")));
    events.push(manager("2026-03-20T10:00:00Z", "ann", "south"));
    let output = run(SALES, &events, "2026-03-19T00:00:00Z");
    assert_eq!(
        (&now(&output, "department:north")["rub"]["fact"], &now(&output, "department:south")["rub"]["fact"]),
        (&json!(100), &json!(0))
    );
    let output = run(SALES, &events, "2026-03-21T00:00:00Z");
    // A department has targets while an active manager is in it.
    assert_eq!(now(&output, "department:north").get("rub"), None);
    assert_eq!(now(&output, "department:south")["rub"]["fact"], 100);
    // The row of a period keeps the managers of its end.
    events.push(manager("2026-04-02T10:00:00Z", "ann", "north"));
    let output = run(SALES, &events, "2026-04-03T00:00:00Z");
    assert_eq!(closed(&output, "department:south"), ["rub/2026-02 0", "rub/2026-03 100"]);
    assert_eq!(now(&output, "department:north")["rub"]["fact"], 0);
}

#[test]
fn an_alert_ends_when_the_plan_is_reached_or_caught_up_or_does_not_apply() {
    let norms = r#"
windows: [{size: 24h, slide: 1h}]
targets: [{id: d, figure: meetings, per: day, at_least: 4, clock: wall, escalate_after: [1h 30m]}]
norms: {target_behind: {severity: info}}
"#;
    let norms = &norms.replace("[1h 30m]", "[90m]");
    let mut events =
        vec![manager("2026-06-01T10:00:00Z", "ann", "north"), manager("2026-06-01T10:00:00Z", "bob", "north")];
    // At noon two of four are due. Ann catches up at 14:00 with three, Bob reaches four; then Ann is gone.
    for (at, who) in [
        ("2026-06-02T12:30:00Z", "ann"),
        ("2026-06-02T12:31:00Z", "ann"),
        ("2026-06-02T12:32:00Z", "ann"),
        ("2026-06-02T13:40:00Z", "bob"),
        ("2026-06-02T13:41:00Z", "bob"),
        ("2026-06-02T13:42:00Z", "bob"),
        ("2026-06-02T13:43:00Z", "bob"),
    ] {
        events.push(meeting(at, who));
    }
    events.push(event(
        "2026-06-03T12:10:00Z",
        "manager_upserted",
        json!({"manager_id": "ann", "department_id": "north", "active": false}),
    ));
    let output = run(norms, &events, "2026-06-03T13:00:00Z");
    let quarter = 4.0 * 13.0 / 24.0;
    assert_eq!(
        alerts(&output),
        [
            "2026-06-02T12:00 FIRING manager:ann/d 0 of 2".to_owned(),
            "2026-06-02T12:00 FIRING manager:bob/d 0 of 2".to_owned(),
            format!("2026-06-02T13:00 recovered manager:ann/d 3 of {quarter}"),
            // With what the last boundary found.
            format!("2026-06-02T13:30 ESCALATED manager:bob/d 0 of {quarter}"),
            format!("2026-06-02T14:00 reached manager:bob/d 4 of {}", 4.0 * 14.0 / 24.0),
            // Three are not enough any more when 0.9 × 20.1 hours have passed.
            format!("2026-06-02T21:00 FIRING manager:ann/d 3 of {}", 4.0 * 21.0 / 24.0),
            format!("2026-06-02T22:30 ESCALATED manager:ann/d 3 of {}", 4.0 * 22.0 / 24.0),
            "2026-06-03T00:00 period_over manager:ann/d 3 of 4".to_owned(),
            "2026-06-03T12:00 FIRING manager:ann/d 0 of 2".to_owned(),
            "2026-06-03T12:00 FIRING manager:bob/d 0 of 2".to_owned(),
            "2026-06-03T13:00 disabled manager:ann/d 0 of 2".to_owned(),
        ]
    );
    assert_eq!((&output.alerts[0]["severity"], &output.alerts[3]["severity"]), (&json!("info"), &json!("warning")));
}

#[test]
fn a_period_inside_a_back_fill_is_judged_as_of_its_time() {
    let norms =
        "windows: [{size: 24h, slide: 1h}]\ntargets: [{id: d, figure: meetings, per: day, at_least: 4, clock: wall}]\n";
    let progress =
        |at: &str, up_to: &str, backfill: bool| event(at, "progress", json!({"up_to": up_to, "backfill": backfill}));
    let mut events = vec![progress("2026-06-10T00:00:00Z", "2026-06-01T00:00:00Z", true)];
    events.push(manager("2026-06-01T10:00:00Z", "ann", "north"));
    events.push(meeting("2026-06-02T09:00:00Z", "ann"));
    events.push(progress("2026-06-10T00:00:01Z", "2026-06-02T13:00:00Z", true));
    events.push(progress("2026-06-10T00:00:02Z", "2026-06-03T13:00:00Z", true));
    events.iter_mut().for_each(|event| event["source"] = json!("crm-gateway"));
    let replay = Replay { as_delivered: true, until: instant("2026-06-03T13:00:00Z"), ..Replay::PLAIN };
    let output = replay.run(&events, norms);
    let expected = [
        "2026-06-02T12:00 FIRING manager:ann/d 1 of 2",
        "2026-06-03T00:00 period_over manager:ann/d 1 of 4",
        "2026-06-03T12:00 FIRING manager:ann/d 0 of 2",
    ];
    assert_eq!(alerts(&output), expected);
    assert!(output.alerts.iter().all(|alert| alert["historic"] == true), "{:?}", output.alerts);
    // Nothing is known of the morning of the first day.
    let rows: Vec<_> =
        output.rows.iter().filter(|row| row["subject"] == "manager:ann" && row.get("fact").is_some()).collect();
    assert_eq!(rows.iter().map(|row| &row["incomplete"]).collect::<Vec<_>>(), [&json!(true), &Value::Null]);
    assert!(rows.iter().all(|row| row["historic"] == true));
}

/// The demo: who answers at once is ahead, who neglects leads is behind, and an alert says so.
#[test]
fn simulated_managers_are_ahead_and_behind() {
    let plan = Plan::demo(1);
    let start = plan.start;
    let habits: Vec<(String, Habit)> =
        plan.companies[0].staff.iter().map(|member| (format!("manager:{}", member.id), member.habit)).collect();
    let until = start + Span(26 * Span::HOUR.0 + 7 * Span::MINUTE.0);
    let events = Simulation::new(plan).take_while(|event| event.at <= until).map(|event| {
        let mut line = Vec::new();
        json_codec::encode_event(&event, &mut line);
        serde_json::from_slice(&line).expect("JSON")
    });
    let events: Vec<Value> = events.collect();
    let output = Replay { until: Some(until.0), ..Replay::PLAIN }.run(&events, norms_yaml());
    let talks = |subject: &str| {
        let row = output
            .rows
            .iter()
            .find(|row| row["tenant_id"] == "romashka" && row["subject"] == subject && row["window"] == "now");
        row.unwrap_or_else(|| panic!("no row of {subject}"))["targets"]["talks"].clone()
    };
    let is_behind = |subject: &str| {
        output.alerts.iter().any(|alert| {
            alert["tenant_id"] == "romashka"
                && alert["rule"] == "target_behind"
                && alert["subject"] == format!("{subject}/talks")
        })
    };
    for (subject, habit) in habits {
        let target = talks(&subject);
        match habit {
            Habit::Brisk => assert!(
                !is_behind(&subject) && target["fact"].as_f64() > target["pace"].as_f64(),
                "{subject}: {target}"
            ),
            Habit::Neglects => {
                assert!(is_behind(&subject) && target["fact"].as_f64() < target["pace"].as_f64(), "{subject}: {target}")
            }
            _ => {}
        }
    }
}

#[test]
fn what_is_nobodys_counts_in_unknown_and_in_the_company() {
    let mut events = vec![manager("2026-02-27T10:00:00Z", "ann", ""), manager("2026-02-27T10:00:00Z", "bob", "south")];
    events.push(event(
        "2026-03-02T10:00:00Z",
        "deal_created",
        json!({"deal_id": "1", "amount_minor": 5, "currency": "RUB"}),
    ));
    events.push(event(
        "2026-03-03T10:00:00Z",
        "closed",
        json!({"entity": {"kind": "DEAL", "id": "1"}, "outcome": "WON"}),
    ));
    let output = run(SALES, &events, "2026-03-04T00:00:00Z");
    assert_eq!(now(&output, "department:unknown")["rub"]["fact"], 5);
    assert_eq!(now(&output, "tenant")["all"]["fact"], 1);
    assert_eq!(now(&output, "manager:ann")["won"]["fact"], 0);
}

#[test]
fn a_late_event_corrects_facts_and_closed_periods() {
    let mut events =
        vec![manager("2026-02-27T10:00:00Z", "ann", "north"), manager("2026-02-27T10:00:00Z", "bob", "north")];
    events.extend(won("2026-03-30T10:00:00Z", "2026-03-31T10:00:00Z", "1", "ann", (100, "RUB")));
    events.extend((1..40).map(|minute| meeting(&format!("2026-04-02T10:{minute:02}:00Z"), "bob")));
    // The deal was handed over before it was won.
    events.push(event(
        "2026-03-30T12:00:00Z",
        "assigned",
        json!({"entity": {"kind": "DEAL", "id": "1"}, "manager_id": "bob"}),
    ));
    events.extend((41..60).map(|minute| meeting(&format!("2026-04-02T10:{minute:02}:00Z"), "bob")));
    let late = Replay { as_delivered: true, ..Replay::PLAIN }.run(&events, SALES);
    assert_eq!(late.late, 1);
    assert_eq!(closed(&late, "manager:ann"), ["won/2026-02 0", "won/2026-03 0"]);
    assert_eq!(closed(&late, "manager:bob"), ["won/2026-02 0", "won/2026-03 1"]);
    assert_eq!(closed(&late, "department:north"), ["rub/2026-02 0", "rub/2026-03 100"]);
}

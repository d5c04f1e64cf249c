//! Bounds on what can become known, and on what one lead may have: nothing else is affected, and a restart does not change
//! what was rejected.

use crate::common::Replay;
use funnelwatch::codec::json;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::event::reject::Reason;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard::admission::AdmissionLimits;
use funnelwatch::domain::shard::processor::{ShardProcessor, SourceProgress, Timing};
use funnelwatch::domain::source::{Offset, Source, Topic};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::{Span, Timestamp};
use std::sync::Arc;

const START: Timestamp = Timestamp(1_772_398_800_000);
const CRM: Source = Source::Topic(Topic::Crm);

fn norms() -> Norms {
    config::parse_norms("norms", "{}").unwrap_or_else(|problems| panic!("{problems}")).norms
}

fn lead(tenant: &str, minute: i64) -> Event {
    let at = START + Span(minute * Span::MINUTE.0);
    let text = format!(r#"{{"tenant_id":"{tenant}","occurred_at":"{at}","lead_created":{{"lead_id":"1"}}}}"#);
    json::decode(text.as_bytes()).expect("an event")
}

#[test]
fn an_event_of_one_tenant_too_many_stays_rejected_after_a_restart() {
    let timing = Timing { memory: Memory { durable: true, ..Memory::default() }, ..Timing::default() };
    let limits = |tenants| AdmissionLimits { tenants, ..AdmissionLimits::default() };
    let norms = Arc::new(norms());
    let mut processor = ShardProcessor::new(Arc::clone(&norms), timing, PACKING);
    processor.limit(limits(2), Arc::default());
    let arrive = |processor: &mut ShardProcessor, offset, tenant| {
        processor.arrive(CRM, Offset(offset), lead(tenant, offset), START + Span::HOUR)
    };
    assert_eq!(arrive(&mut processor, 0, "a"), Ok(()));
    assert_eq!(arrive(&mut processor, 1, "b"), Ok(()));
    assert_eq!(arrive(&mut processor, 2, "c"), Err(Reason::OverLimit));
    assert_eq!(arrive(&mut processor, 3, "a"), Ok(()));
    assert_eq!((processor.held(), processor.limits_used()[0]), (3, 1.0));
    let read = SourceProgress { source: CRM, current: false, ended: false, position: Offset(4) };
    let checkpoint = processor.checkpoint(&[read]);
    assert_eq!(checkpoint.next[&CRM], Offset(0), "what was held is read again");
    drop(processor);

    let mut processor = ShardProcessor::restore(norms, timing, PACKING, checkpoint);
    processor.limit(limits(9), Arc::default());
    for (offset, tenant) in ["a", "b", "c", "a", "d"].into_iter().enumerate() {
        assert_eq!(arrive(&mut processor, offset as i64, tenant), Ok(()));
    }
    assert_eq!(processor.held(), 4, "all but the one that was rejected");
}

#[test]
fn stages_and_currencies_beyond_the_bound_are_summed_up() {
    let mut events = String::new();
    for n in 0..600 {
        let at = START + Span(n * 1000);
        events += &format!(
            r#"{{"tenant_id":"t","occurred_at":"{at}","deal_created":{{"deal_id":"{n}","pipeline_id":"p","stage_id":"s{n}","amount_minor":5,"currency":"C{n}"}}}}
{{"tenant_id":"t","occurred_at":"{at}","closed":{{"entity":{{"kind":"DEAL","id":"{n}"}},"outcome":"WON"}}}}
{{"tenant_id":"t","occurred_at":"{at}","deal_created":{{"deal_id":"o{n}","pipeline_id":"p","stage_id":"s{n}"}}}}
"#
        );
    }
    let output = Replay::PLAIN.run_bytes(events.into_bytes(), norms());
    let row = |window: &str| {
        let is_sought = |row: &&serde_json::Value| row["subject"] == "tenant" && row["window"] == window;
        output.rows.iter().find(is_sought).expect("a row").clone()
    };
    let open = &row("now")["open"];
    assert_eq!(open["p"].as_object().map(|stages| stages.len()), Some(512));
    assert_eq!(open["other"]["other"], 600 - 512);
    let won = row("24h")["amount_won"].clone();
    assert_eq!(won.as_object().map(|currencies| currencies.len()), Some(65));
    assert_eq!(won["other"], (600 - 64) * 5);
}

/// The rows of the tenant over 24 hours and now, after events, and the alerts.
fn replay(events: impl Iterator<Item = (i64, String)>, norms: &str) -> (serde_json::Value, Vec<serde_json::Value>) {
    let event = |(seconds, payload): (i64, String)| {
        let at = START + Span(seconds * 1000);
        format!("{{\"tenant_id\":\"t\",\"occurred_at\":\"{at}\",{payload}}}\n")
    };
    let events: String = events.map(event).collect();
    let norms = config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}")).norms;
    let output = Replay::PLAIN.run_bytes(events.into_bytes(), norms);
    let row = output.rows.into_iter().find(|row| row["subject"] == "tenant" && row["window"] == "24h");
    (row.expect("a row"), output.alerts)
}

fn call(seconds: i64, ids: &str, outcome: &str) -> (i64, String) {
    let started = START + Span((seconds - 400) * 1000);
    let payload = format!(
        r#""call_ended":{{{ids},"direction":"INBOUND","phone":"+79161234567","manager_id":"ann","started_at":"{started}","talk_seconds":30,"outcome":"{outcome}"}}"#
    );
    (seconds, payload)
}

#[test]
fn plans_and_legs_beyond_the_bound_are_left_out() {
    let deal = [(0, r#""deal_created":{"deal_id":"1"}"#.to_owned())];
    let plan = |n: i64| {
        let deadline = START + Span::HOUR;
        let plan =
            format!(r#""entity":{{"kind":"DEAL","id":"1"}},"activity_id":"{n}","kind":"TASK","deadline":"{deadline}""#);
        (n, format!("\"activity_planned\":{{{plan}}}"))
    };
    let later = [(9000, r#""deal_created":{"deal_id":"2"}"#.to_owned())];
    let plans = deal.into_iter().chain((1..=300).map(plan)).chain(later);
    let (_, alerts) = replay(plans, "norms: {next_step_overdue: {within: 30m}}");
    assert_eq!(alerts.iter().filter(|alert| alert["rule"] == "next_step_overdue").count(), 256);

    // A call that rang at 300 telephones was answered at the last one.
    let missed = (1..=300).map(|n| call(n, &format!(r#""session_id":"s","call_id":"{n}""#), "NO_ANSWER"));
    let answered = (301..=601).map(|n| call(n, &format!(r#""session_id":"s","call_id":"{n}""#), "ANSWERED"));
    let (row, alerts) = replay(missed.chain(answered), "norms: {missed_call_not_returned: {within: 30m}}");
    assert_eq!((row["calls"]["inbound_answered"].clone(), alerts.len()), (1.into(), 0), "{row}");

    // Calls of one number that overlap.
    let calls = (1..=300).map(|n| call(n, &format!(r#""call_id":"{n}""#), "ANSWERED"));
    let (row, _) = replay(calls, "{}");
    assert_eq!(row["calls"]["inbound_answered"], 2, "{row}");
}

#[test]
fn an_answer_in_a_thread_reaches_so_many_contacts() {
    let ask = |n: i64| {
        let contact = format!(r#""thread_id":"t","channel":"EMAIL","contact":{{"email":"a{n}@example.com"}}"#);
        (n, format!(r#""message_received":{{"message_id":"m{n}",{contact}}}"#))
    };
    let answer = r#""message_sent":{"message_id":"a","thread_id":"t","channel":"EMAIL","manager_id":"ann"}"#.to_owned();
    let later = (9000, r#""deal_created":{"deal_id":"1"}"#.to_owned());
    let events = (1..=300).map(ask).chain([(301, answer), later]);
    let (_, alerts) = replay(events, "norms: {message_unanswered: {within: 1h}}");
    assert_eq!(alerts.iter().filter(|alert| alert["status"] == "FIRING").count(), 300 - 256);
}

#[test]
fn the_time_in_a_stage_adds_up_over_any_number_of_moves() {
    let norms =
        "pipelines: {p: {entity: deal, stages: [{id: a, max_time: 300m}, {id: b}]}}\nnorms: {stage_overdue: {}}";
    let deal = r#""deal_created":{"deal_id":"1","pipeline_id":"p","stage_id":"a"}"#.to_owned();
    // A minute in each stage, and half a minute of it closed in each third one.
    let steps = (1..1000).flat_map(|n: i64| {
        let (from, to) = if n % 2 == 1 { ("a", "b") } else { ("b", "a") };
        let entity = r#""entity":{"kind":"DEAL","id":"1"}"#;
        let moved = format!(r#""stage_changed":{{{entity},"from_stage_id":"{from}","to_stage_id":"{to}"}}"#);
        let closed = format!(r#""closed":{{{entity},"outcome":"LOST"}}"#);
        let reopened = format!(r#""reopened":{{{entity}}}"#);
        let break_for = |n: i64| [(n * 60 + 10, closed.clone()), (n * 60 + 40, reopened.clone())];
        [(n * 60, moved)].into_iter().chain(Some(break_for(n)).filter(|_| n % 3 == 0).into_iter().flatten())
    });
    let (_, alerts) = replay([(0, deal)].into_iter().chain(steps), norms);
    let fired: Vec<_> = alerts.iter().filter(|alert| alert["status"] == "FIRING").collect();
    // 60 s in the first stay, and 60, 60 and 30 s in each three after it: 17,970 s in 359 stays, and the rest of the
    // 300 minutes 30 s after the beginning of the next stay, which is after 718 minutes.
    let due = START + Span(718 * Span::MINUTE.0 + 30_000);
    assert_eq!(fired.first().map(|alert| alert["due_at"].clone()), Some(due.to_string().into()), "{fired:?}");
}

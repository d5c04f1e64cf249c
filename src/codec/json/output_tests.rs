//! Owns the tests of the JSON output, byte by byte.

use super::*;
use crate::domain::alert::{Alert, Resolution, Severity, Status, Value as Figure};
use crate::domain::event::{Channel, Direction};
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::figures::statistics::{Conversion, Quantiles, Ratio};
use crate::domain::figures::table::{Calls, NowFigures, WindowFigures};
use crate::domain::id::{EntityId, PipelineId};
use crate::domain::review::{About, Ending, Medium, ReviewRequest};
use crate::domain::rule::Rule;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use serde_json::Value;

fn alert() -> Alert {
    let at = Timestamp(1_772_367_300_000);
    Alert { at, ..Alert::sample("acme", Rule::FirstResponseLate, "lead:1001", Timestamp(1_772_366_400_000)) }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes);
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
    text
}

#[test]
fn an_alert_with_all_fields_is_written_exactly() {
    let alert = Alert {
        severity: Severity::Critical,
        level: 2,
        status: Status::Resolved,
        due_at: Some(Timestamp(1_772_367_300_000)),
        manager: Some("m1".into()),
        department: Some("unknown".into()),
        entity: Some(EntityId::lead("10\"01")),
        interaction: Some("C1".into()),
        window: Some("24h".into()),
        observed: vec![
            ("lag_seconds", Figure::Number(1234.5)),
            ("n", Figure::Count(7)),
            ("ratio", Figure::Number(0.1)),
        ],
        norm: vec![("within_seconds", Span(900_000).into()), ("clock", "business".into())],
        resolution: Some(Resolution::Responded),
        ..alert()
    };
    let expected = concat!(
        r#"{"alert_id":"ID","tenant_id":"acme","rule":"first_response_late","severity":"critical","level":2,"#,
        r#""status":"RESOLVED","subject":"lead:1001","at":"2026-03-01T12:15:00.000Z","#,
        r#""anchor_at":"2026-03-01T12:00:00.000Z","due_at":"2026-03-01T12:15:00.000Z","manager_id":"m1","#,
        r#""department_id":"unknown","entity":"lead:10\"01","interaction_id":"C1","window":"24h","#,
        r#""observed":{"lag_seconds":1234.5,"n":7,"ratio":0.1},"norm":{"within_seconds":900,"clock":"business"},"#,
        r#""resolution":"responded","message":"Лид ждал\n20 минут"}"#,
    );
    let text = written(|out| encode_alert(&alert, "Лид ждал\n20 минут", out));
    assert_eq!(text, expected.replace("ID", &alert.id.to_string()));
}

#[test]
fn absent_fields_of_an_alert_are_omitted() {
    let expected = concat!(
        r#"{"alert_id":"ID","tenant_id":"acme","rule":"first_response_late","severity":"warning","level":0,"#,
        r#""status":"FIRING","subject":"lead:1001","at":"2026-03-01T12:15:00.000Z","#,
        r#""anchor_at":"2026-03-01T12:00:00.000Z","observed":{},"norm":{},"message":"late"}"#,
    );
    assert_eq!(written(|out| encode_alert(&alert(), "late", out)), expected.replace("ID", &alert().id.to_string()));
}

#[test]
fn a_review_request_is_written_exactly() {
    let about = About {
        entity: EntityId::lead("1"),
        ending: Ending::Deleted,
        pipeline: Some("sales".into()),
        stage: Some("NEW".into()),
    };
    let recording_url = Some("https://pbx/1".into());
    let call = ReviewRequest {
        tenant: "acme".into(),
        manager: "m1".into(),
        department: "north".into(),
        interaction: "C\"1".into(),
        medium: Medium::Call { direction: Direction::Inbound, talk: Span(61_500), recording_url },
        at: Timestamp(1_772_366_400_000),
        day: "2026-03-01".parse().expect("a day"),
        requested_at: Timestamp(1_772_398_800_000),
        about: Some(about),
    };
    let expected = concat!(
        r#"{"tenant_id":"acme","interaction_id":"C\"1","kind":"call","direction":"INBOUND","talk_seconds":61.5,"#,
        r#""recording_url":"https://pbx/1","at":"2026-03-01T12:00:00.000Z","day":"2026-03-01","#,
        r#""requested_at":"2026-03-01T21:00:00.000Z","manager_id":"m1","department_id":"north","entity":"lead:1","#,
        r#""outcome":"deleted","pipeline_id":"sales","stage_id":"NEW"}"#,
    );
    assert_eq!(written(|out| encode_review(&call, out)), expected);
    let message = ReviewRequest { medium: Medium::Message { channel: Channel::Chat }, about: None, ..call };
    let expected = concat!(
        r#"{"tenant_id":"acme","interaction_id":"C\"1","kind":"message","channel":"CHAT","#,
        r#""at":"2026-03-01T12:00:00.000Z","day":"2026-03-01","requested_at":"2026-03-01T21:00:00.000Z","#,
        r#""manager_id":"m1","department_id":"north"}"#,
    );
    assert_eq!(written(|out| encode_review(&message, out)), expected);
}

#[test]
fn a_window_row_is_written_exactly() {
    let half = Ratio { n: 4, k: 2 };
    let figures = WindowFigures {
        leads_received: 4,
        lead_conversion: Conversion { cohort: half, closed: Ratio::default() },
        stage_conversion: [(PipelineId::from("sales"), [("NEW".into(), Ratio { n: 1, k: 1 })].into())].into(),
        first_response_wall: Quantiles {
            n: 1,
            mean_seconds: 60.0,
            p50_seconds: 60.25,
            p90_seconds: 61.0,
            p99_seconds: 61.0,
        },
        calls: Calls { inbound_answered: 1, inbound_missed: 2, outbound_answered: 3, outbound_unanswered: 4 },
        talk_seconds: 90.5,
        messages_sent: [(Channel::Email, 2), (Channel::Sms, 1)].into(),
        amount_won: [("RUB".into(), 12_345_678_901)].into(),
        violations: [(Rule::FirstResponseLate, 3)].into(),
        ..WindowFigures::default()
    };
    let row = Row {
        tenant: "acme".into(),
        subject: Subject::Manager("m1".into()),
        department: Some("north".into()),
        at: Timestamp(1_772_366_400_001),
        historic: false,
        figures: Figures::Window(
            Window { size: Span(7 * Span::DAY.0), in_days: true, slide: Span(2 * Span::HOUR.0) },
            Box::new(figures),
        ),
    };
    let no_ratio = r#"{"n":0,"k":0,"ratio":null,"lower":null,"upper":null}"#;
    let no_lags = r#"{"n":0,"mean_seconds":null,"p50_seconds":null,"p90_seconds":null,"p99_seconds":null}"#;
    let expected = concat!(
        r#"{"tenant_id":"acme","subject":"manager:m1","window":"7d","at":"2026-03-01T12:00:00.001Z","#,
        r#""leads_received":4,"leads_disqualified":0,"#,
        r#""lead_conversion":{"cohort":{"n":4,"k":2,"ratio":0.5,"lower":LOW4,"upper":UP4},"closed":NONE},"#,
        r#""stage_conversion":{"sales":{"NEW":{"n":1,"k":1,"ratio":1,"lower":LOW1,"upper":1}}},"#,
        r#""win_rate":{"cohort":NONE,"closed":NONE},"#,
        r#""first_response":{"wall":{"n":1,"mean_seconds":60,"p50_seconds":60.25,"p90_seconds":61,"p99_seconds":61},"#,
        r#""business":LAGS,"within_norm":NONE},"call_back":LAGS,"reply":LAGS,"#,
        r#""calls":{"inbound_answered":1,"inbound_missed":2,"outbound_answered":3,"outbound_unanswered":4},"#,
        r#""talk_seconds":90.5,"messages":{"sent":{"EMAIL":2,"SMS":1},"received":{}},"meetings":0,"touches":0,"#,
        r#""deals_won":0,"deals_lost":0,"amount_won":{"RUB":12345678901},"#,
        r#""terms":{"offered":0,"special":0,"mean_discount_percent":null},"#,
        r#""reviews":{"n":0,"mean_score":null,"successes":0,"failures":0},"violations":{"first_response_late":3}"#,
    );
    let (low4, up4) = half.bounds().expect("n is not 0");
    let (low1, _) = Ratio { n: 1, k: 1 }.bounds().expect("n is not 0");
    let expected = expected.replace("NONE", no_ratio).replace("LAGS", no_lags).replace("LOW4", &low4.to_string());
    let expected = expected.replace("UP4", &up4.to_string()).replace("LOW1", &low1.to_string());
    // Figures that are added to the table follow.
    assert_eq!(written(|out| encode_row(&row, out)).get(..expected.len()), Some(expected.as_str()));
}

#[test]
fn a_now_row_is_written_exactly() {
    let row = |figures| Row {
        tenant: "acme".into(),
        subject: Subject::Department("unknown".into()),
        department: None,
        at: Timestamp(1_772_366_400_000),
        historic: false,
        figures: Figures::Now(Box::new(figures)),
    };
    let figures = NowFigures {
        awaiting_first_response: 2,
        oldest_wait_seconds: Some(61.5),
        open: [("sales".into(), [("NEW".into(), 2), ("NEEDS".into(), 1)].into())].into(),
        overdue: [("sales".into(), [("NEW".into(), 1)].into())].into(),
        open_alerts: [(Rule::MissedCallNotReturned, 1)].into(),
        unreturned_calls: 1,
        ..NowFigures::default()
    };
    let expected = concat!(
        r#"{"tenant_id":"acme","subject":"department:unknown","window":"now","at":"2026-03-01T12:00:00.000Z","#,
        r#""awaiting_first_response":2,"oldest_wait_seconds":61.5,"open":{"sales":{"NEEDS":1,"NEW":2}},"#,
        r#""overdue":{"sales":{"NEW":1}},"open_alerts":{"missed_call_not_returned":1},"unreturned_calls":1,"#,
        r#""unanswered_messages":0"#,
    );
    assert_eq!(written(|out| encode_row(&row(figures), out)).get(..expected.len()), Some(expected));
    let empty = written(|out| encode_row(&row(NowFigures::default()), out));
    assert!(empty.contains(r#""oldest_wait_seconds":null,"#));
    assert!(empty.contains(r#""open":{},"overdue":{},"open_alerts":{},"unreturned_calls":0,"unanswered_messages":0"#));
}

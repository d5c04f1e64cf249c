//! Writes alerts, review requests and metric rows as protobuf.

use super::write::{text, time, write};
use crate::codec::names::Name;
use crate::codec::proto;
use crate::domain::alert::{Alert, Status, Value, Values};
use crate::domain::figures::row::{ByStage, Conversion, Figures, NowFigures, Quantiles, Ratio, Row, WindowFigures};
use crate::domain::review::{Medium, ReviewRequest};
use crate::domain::time::window::Window;
use proto::well_known;
use std::collections::BTreeMap;

/// Writes an alert with its human-readable message.
pub fn encode_alert(alert: &Alert, message: &str, out: &mut Vec<u8>) {
    let message = proto::Alert {
        alert_id: alert.id.to_string(),
        tenant_id: alert.tenant.to_string(),
        rule: alert.rule.name().into(),
        severity: alert.severity.name().into(),
        level: alert.level,
        status: status(alert.status).into(),
        subject: alert.subject.to_string(),
        at: Some(time(alert.at)),
        anchor_at: Some(time(alert.anchor_at)),
        due_at: alert.due_at.map(time),
        manager_id: text(&alert.manager),
        department_id: text(&alert.department),
        entity: text(&alert.entity),
        interaction_id: text(&alert.interaction),
        window: text(&alert.window.map(Window::name)),
        observed: Some(values(&alert.observed)),
        norm: Some(values(&alert.norm)),
        resolution: text(&alert.resolution.map(|resolution| resolution.name())),
        message: message.into(),
    };
    write(&message, out);
}

fn status(status: Status) -> proto::Status {
    match status {
        Status::Raised => proto::Status::Raised,
        Status::Firing => proto::Status::Firing,
        Status::Escalated => proto::Status::Escalated,
        Status::Resolved => proto::Status::Resolved,
        Status::Retracted => proto::Status::Retracted,
    }
}

fn values(values: &Values) -> well_known::Struct {
    let fields = values.iter().map(|(key, value)| {
        let kind = match value {
            Value::Count(count) => well_known::value::Kind::NumberValue(*count as f64),
            Value::Number(number) => well_known::value::Kind::NumberValue(*number),
            Value::Text(text) => well_known::value::Kind::StringValue(text.to_string()),
        };
        (key.to_string(), well_known::Value { kind: Some(kind) })
    });
    well_known::Struct { fields: fields.collect() }
}

/// Writes a review request.
pub fn encode_review(request: &ReviewRequest, out: &mut Vec<u8>) {
    let envelope = proto::ReviewRequest {
        tenant_id: request.tenant.to_string(),
        interaction_id: request.interaction.to_string(),
        kind: request.medium.name().into(),
        at: Some(time(request.at)),
        day: request.day.to_string(),
        requested_at: Some(time(request.requested_at)),
        manager_id: request.manager.to_string(),
        department_id: request.department.to_string(),
        ..Default::default()
    };
    let mut message = match &request.medium {
        Medium::Call { direction, talk, recording_url } => proto::ReviewRequest {
            direction: direction.number(),
            talk_seconds: Some(talk.seconds()),
            recording_url: text(recording_url),
            ..envelope
        },
        Medium::Message { channel } => proto::ReviewRequest { channel: channel.number(), ..envelope },
    };
    if let Some(about) = &request.about {
        message.entity = about.entity.to_string();
        message.outcome = about.ending.name().into();
        message.pipeline_id = text(&about.pipeline);
        message.stage_id = text(&about.stage);
    }
    write(&message, out);
}

/// Writes a metric row.
pub fn encode_row(row: &Row, out: &mut Vec<u8>) {
    let envelope = proto::MetricRow {
        tenant_id: row.tenant.to_string(),
        subject: row.subject.to_string(),
        window: row.figures.window().into(),
        at: Some(time(row.at)),
        ..Default::default()
    };
    let message = match &row.figures {
        Figures::Window(_, figures) => window(figures, envelope),
        Figures::Now(figures) => now(figures, envelope),
    };
    write(&message, out);
}

fn window(figures: &WindowFigures, envelope: proto::MetricRow) -> proto::MetricRow {
    proto::MetricRow {
        leads_received: figures.leads_received,
        leads_disqualified: figures.leads_disqualified,
        lead_conversion: Some(conversion(figures.lead_conversion)),
        stage_conversion: keyed(&figures.stage_conversion, |stages| proto::StageRatios {
            stages: keyed(stages, |share| ratio(*share)),
        }),
        win_rate: Some(conversion(figures.win_rate)),
        first_response: Some(proto::FirstResponse {
            wall: Some(quantiles(figures.first_response_wall)),
            business: Some(quantiles(figures.first_response_business)),
            within_norm: Some(ratio(figures.first_response_within_norm)),
        }),
        call_back: Some(quantiles(figures.call_back)),
        reply: Some(quantiles(figures.reply)),
        calls: Some(proto::Calls {
            inbound_answered: figures.calls.inbound_answered,
            inbound_missed: figures.calls.inbound_missed,
            outbound_answered: figures.calls.outbound_answered,
            outbound_unanswered: figures.calls.outbound_unanswered,
        }),
        talk_seconds: figures.talk_seconds,
        messages: Some(proto::Messages {
            sent: figures.messages_sent.iter().map(|(channel, count)| (channel.name().into(), *count)).collect(),
            received: figures
                .messages_received
                .iter()
                .map(|(channel, count)| (channel.name().into(), *count))
                .collect(),
        }),
        meetings: figures.meetings,
        touches: figures.touches,
        deals_won: figures.deals_won,
        deals_lost: figures.deals_lost,
        amount_won: keyed(&figures.amount_won, |minor| *minor),
        terms: Some(proto::Terms {
            offered: figures.terms.offered,
            special: figures.terms.special,
            mean_discount_percent: figures.terms.mean_discount_percent,
        }),
        reviews: Some(proto::Reviews {
            n: figures.reviews.n,
            mean_score: figures.reviews.mean_score,
            successes: figures.reviews.successes,
            failures: figures.reviews.failures,
        }),
        violations: figures.violations.iter().map(|(rule, count)| (rule.name().into(), *count)).collect(),
        ..envelope
    }
}

fn now(figures: &NowFigures, envelope: proto::MetricRow) -> proto::MetricRow {
    proto::MetricRow {
        awaiting_first_response: figures.awaiting_first_response,
        oldest_wait_seconds: figures.oldest_wait_seconds,
        open: by_stage(&figures.open),
        overdue: by_stage(&figures.overdue),
        open_alerts: figures.open_alerts.iter().map(|(rule, count)| (rule.name().into(), *count)).collect(),
        unreturned_calls: figures.unreturned_calls,
        unanswered_messages: figures.unanswered_messages,
        ..envelope
    }
}

/// Converts a map to one with string keys.
pub(super) fn keyed<K: ToString, V, W>(map: &BTreeMap<K, V>, value: impl Fn(&V) -> W) -> BTreeMap<String, W> {
    map.iter().map(|(key, item)| (key.to_string(), value(item))).collect()
}

fn by_stage(pipelines: &ByStage) -> BTreeMap<String, proto::StageCounts> {
    keyed(pipelines, |stages| proto::StageCounts { stages: keyed(stages, |count| *count) })
}

fn conversion(conversion: Conversion) -> proto::Conversion {
    proto::Conversion { cohort: Some(ratio(conversion.cohort)), closed: Some(ratio(conversion.closed)) }
}

fn ratio(share: Ratio) -> proto::Ratio {
    let (lower, upper) = share.bounds().unzip();
    proto::Ratio { n: share.n, k: share.k, ratio: share.ratio(), lower, upper }
}

fn quantiles(lags: Quantiles) -> proto::Quantiles {
    let known = |seconds| (lags.n > 0).then_some(seconds);
    proto::Quantiles {
        n: lags.n,
        mean_seconds: known(lags.mean_seconds),
        p50_seconds: known(lags.p50_seconds),
        p90_seconds: known(lags.p90_seconds),
        p99_seconds: known(lags.p99_seconds),
    }
}

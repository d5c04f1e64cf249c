//! Writes alerts, alert changes between norms, review requests and metric rows as JSON. Owns the keys, their order, and
//! which absent values are `null` and which are omitted.

use super::write::{Object, object};
use crate::codec::names::Name;
use crate::domain::alert::{Alert, Value, Values};
use crate::domain::figures::row::{ByStage, Conversion, Figures, NowFigures, Quantiles, Ratio, Row, WindowFigures};
use crate::domain::review::{Medium, ReviewRequest};

/// Writes an alert as one JSON object with its human-readable message.
pub fn encode_alert(alert: &Alert, message: &str, out: &mut Vec<u8>) {
    object(out, |object| {
        object.plain("alert_id", alert.id);
        object.text("tenant_id", alert.tenant.as_str());
        object.text("rule", alert.rule.name());
        object.text("severity", alert.severity.name());
        object.bare("level", alert.level);
        object.text("status", alert.status.name());
        object.text("subject", &alert.subject);
        object.plain("at", alert.at);
        object.plain("anchor_at", alert.anchor_at);
        object.maybe_time("due_at", alert.due_at);
        object.maybe("manager_id", alert.manager.as_ref().map(|id| id.as_str()));
        object.maybe("department_id", alert.department.as_ref().map(|id| id.as_str()));
        if let Some(entity) = &alert.entity {
            object.text("entity", &entity.to_string());
        }
        object.maybe("interaction_id", alert.interaction.as_deref());
        if let Some(window) = alert.window {
            object.text("window", &window.name());
        }
        object.object("observed", |object| values(object, &alert.observed));
        object.object("norm", |object| values(object, &alert.norm));
        object.maybe("resolution", alert.resolution.map(|resolution| resolution.name()));
        object.text("message", message);
    });
}

/// Writes how one violation differs between two sets of norms: its alert under the `old` and under the `new` norms. If
/// both exist, the identifying fields (manager, anchor) are taken from the new one.
pub fn encode_change(change: &str, old: Option<&Alert>, new: Option<&Alert>, out: &mut Vec<u8>) {
    let Some(alert) = new.or(old) else { return };
    object(out, |object| {
        object.text("change", change);
        object.text("tenant_id", alert.tenant.as_str());
        object.text("rule", alert.rule.name());
        object.text("subject", &alert.subject);
        object.plain("anchor_at", alert.anchor_at);
        object.maybe("manager_id", alert.manager.as_ref().map(|id| id.as_str()));
        object.maybe("department_id", alert.department.as_ref().map(|id| id.as_str()));
        if let Some(entity) = &alert.entity {
            object.text("entity", &entity.to_string());
        }
        object.maybe("interaction_id", alert.interaction.as_deref());
        if let Some(window) = alert.window {
            object.text("window", &window.name());
        }
        for (key, version) in [("old", old), ("new", new)] {
            if let Some(version) = version {
                object.object(key, |object| alert_course(object, version));
            }
        }
    });
}

/// Writes the course of an alert: its start, its manager at that time, and its final status.
fn alert_course(object: &mut Object<'_>, alert: &Alert) {
    object.plain("alert_id", alert.id);
    object.plain("anchor_at", alert.anchor_at);
    object.maybe_time("due_at", alert.due_at);
    object.plain("began_at", alert.at);
    object.maybe("manager_id", alert.manager.as_ref().map(|id| id.as_str()));
    object.text("severity", alert.severity.name());
    object.bare("level", alert.level);
    object.text("status", alert.status.name());
    object.maybe("resolution", alert.resolution.map(|resolution| resolution.name()));
    object.object("observed", |object| values(object, &alert.observed));
    object.object("norm", |object| values(object, &alert.norm));
}

pub(super) fn values(object: &mut Object<'_>, values: &Values) {
    for (key, value) in values {
        match value {
            Value::Count(count) => object.bare(key, count),
            Value::Number(number) => object.number(key, *number),
            Value::Text(text) => object.text(key, text),
        }
    }
}

/// Writes a review request as one JSON object.
pub fn encode_review(request: &ReviewRequest, out: &mut Vec<u8>) {
    object(out, |object| {
        object.text("tenant_id", request.tenant.as_str());
        object.text("interaction_id", &request.interaction);
        object.text("kind", request.medium.name());
        match &request.medium {
            Medium::Call { direction, talk, recording_url } => {
                object.text("direction", direction.wire_name());
                object.number("talk_seconds", talk.seconds());
                object.maybe("recording_url", recording_url.as_deref());
            }
            Medium::Message { channel } => object.text("channel", channel.wire_name()),
        }
        object.plain("at", request.at);
        object.plain("day", request.day);
        object.plain("requested_at", request.requested_at);
        object.text("manager_id", request.manager.as_str());
        object.text("department_id", request.department.as_str());
        if let Some(about) = &request.about {
            object.text("entity", &about.entity.to_string());
            object.text("outcome", about.ending.name());
            object.maybe("pipeline_id", about.pipeline.as_ref().map(|id| id.as_str()));
            object.maybe("stage_id", about.stage.as_ref().map(|id| id.as_str()));
        }
    });
}

/// Writes a metric row as one JSON object.
pub fn encode_row(row: &Row, out: &mut Vec<u8>) {
    object(out, |object| {
        object.text("tenant_id", row.tenant.as_str());
        object.text("subject", &row.subject.to_string());
        object.text("window", &row.figures.window());
        object.plain("at", row.at);
        match &row.figures {
            Figures::Window(_, figures) => window(object, figures),
            Figures::Now(figures) => now(object, figures),
        }
    });
}

fn window(object: &mut Object<'_>, figures: &WindowFigures) {
    object.bare("leads_received", figures.leads_received);
    object.bare("leads_disqualified", figures.leads_disqualified);
    conversion(object, "lead_conversion", figures.lead_conversion);
    object.object("stage_conversion", |object| {
        for (pipeline, stages) in &figures.stage_conversion {
            object.object(pipeline.as_str(), |object| {
                stages.iter().for_each(|(stage, value)| ratio(object, stage.as_str(), *value));
            });
        }
    });
    conversion(object, "win_rate", figures.win_rate);
    object.object("first_response", |object| {
        quantiles(object, "wall", figures.first_response_wall);
        quantiles(object, "business", figures.first_response_business);
        ratio(object, "within_norm", figures.first_response_within_norm);
    });
    quantiles(object, "call_back", figures.call_back);
    quantiles(object, "reply", figures.reply);
    object.object("calls", |object| {
        object.bare("inbound_answered", figures.calls.inbound_answered);
        object.bare("inbound_missed", figures.calls.inbound_missed);
        object.bare("outbound_answered", figures.calls.outbound_answered);
        object.bare("outbound_unanswered", figures.calls.outbound_unanswered);
    });
    object.number("talk_seconds", figures.talk_seconds);
    object.object("messages", |object| {
        counts(object, "sent", figures.messages_sent.iter().map(|(channel, count)| (channel.name(), count)));
        counts(object, "received", figures.messages_received.iter().map(|(channel, count)| (channel.name(), count)));
    });
    object.bare("meetings", figures.meetings);
    object.bare("touches", figures.touches);
    object.bare("deals_won", figures.deals_won);
    object.bare("deals_lost", figures.deals_lost);
    counts(object, "amount_won", figures.amount_won.iter().map(|(currency, minor)| (currency.as_str(), minor)));
    object.object("terms", |object| {
        object.bare("offered", figures.terms.offered);
        object.bare("special", figures.terms.special);
        object.nullable("mean_discount_percent", figures.terms.mean_discount_percent);
    });
    object.object("reviews", |object| {
        object.bare("n", figures.reviews.n);
        object.nullable("mean_score", figures.reviews.mean_score);
        object.bare("successes", figures.reviews.successes);
        object.bare("failures", figures.reviews.failures);
    });
    counts(object, "violations", figures.violations.iter().map(|(rule, count)| (rule.name(), count)));
}

fn now(object: &mut Object<'_>, figures: &NowFigures) {
    object.bare("awaiting_first_response", figures.awaiting_first_response);
    object.nullable("oldest_wait_seconds", figures.oldest_wait_seconds);
    by_stage(object, "open", &figures.open);
    by_stage(object, "overdue", &figures.overdue);
    counts(object, "open_alerts", figures.open_alerts.iter().map(|(rule, count)| (rule.name(), count)));
    object.bare("unreturned_calls", figures.unreturned_calls);
    object.bare("unanswered_messages", figures.unanswered_messages);
}

fn conversion(object: &mut Object<'_>, key: &str, conversion: Conversion) {
    object.object(key, |object| {
        ratio(object, "cohort", conversion.cohort);
        ratio(object, "closed", conversion.closed);
    });
}

fn ratio(object: &mut Object<'_>, key: &str, ratio: Ratio) {
    let (lower, upper) = ratio.bounds().unzip();
    object.object(key, |object| {
        object.bare("n", ratio.n);
        object.bare("k", ratio.k);
        object.nullable("ratio", ratio.ratio());
        object.nullable("lower", lower);
        object.nullable("upper", upper);
    });
}

fn quantiles(object: &mut Object<'_>, key: &str, lags: Quantiles) {
    let known = |seconds| (lags.n > 0).then_some(seconds);
    object.object(key, |object| {
        object.bare("n", lags.n);
        object.nullable("mean_seconds", known(lags.mean_seconds));
        object.nullable("p50_seconds", known(lags.p50_seconds));
        object.nullable("p90_seconds", known(lags.p90_seconds));
        object.nullable("p99_seconds", known(lags.p99_seconds));
    });
}

fn counts<'a>(object: &mut Object<'_>, key: &str, counts: impl Iterator<Item = (&'a str, &'a i64)>) {
    object.object(key, |object| counts.for_each(|(key, count)| object.bare(key, count)));
}

fn by_stage(object: &mut Object<'_>, key: &str, pipelines: &ByStage) {
    object.object(key, |object| {
        for (pipeline, stages) in pipelines {
            counts(object, pipeline.as_str(), stages.iter().map(|(stage, count)| (stage.as_str(), count)));
        }
    });
}

//! Converts norms to their protobuf message. Everything except the privacy key is stored: values are destructured
//! without `..`, so that the compiler reports a key that is not stored.

use crate::codec::names::Name;
use crate::codec::proto::{self, norms as stored};
use crate::codec::protobuf::write::texts;
use crate::domain::alert::Severity;
use crate::domain::norms::{
    Basis, Clock, Layer, Length, Norms, Override, Params, Pipeline, Response, SamplingParams, Stage, TermsParams,
    TermsPolicy,
};
use crate::domain::time::Span;
use crate::domain::time::calendar::{Calendar, Hours};
use crate::domain::time::window::Window;
use std::collections::BTreeMap;

/// Converts norms to their stored form.
pub(super) fn norms(norms: &Norms) -> proto::Norms {
    // State records are readable by more people than the configuration, so the privacy key is left out.
    let Norms { calendars, pipelines, windows, min_talk, country, privacy_key: _, base, overrides } = norms;
    proto::Norms {
        // The key of the map is the name of the calendar.
        calendars: keyed(calendars, |item| calendar(item)),
        pipelines: keyed(pipelines, pipeline),
        windows: windows.iter().copied().map(window).collect(),
        min_talk_ms: min_talk.0,
        country: country.name().into(),
        overrides: overrides.iter().map(override_layer).collect(),
        base: Some(layer(base)),
    }
}

fn calendar(calendar: &Calendar) -> stored::Calendar {
    stored::Calendar {
        timezone: calendar.timezone().into(),
        week: calendar.week().iter().map(|hours| day(hours)).collect(),
        days: keyed(calendar.days(), |hours| day(hours)),
        years: calendar.years().iter().copied().map(i32::from).collect(),
    }
}

fn day(hours: &[Hours]) -> stored::Day {
    stored::Day { hours: hours.iter().map(ToString::to_string).collect() }
}

fn pipeline(pipeline: &Pipeline) -> stored::Pipeline {
    let Pipeline { entity, stages } = pipeline;
    stored::Pipeline { entity: entity.wire_name().into(), stages: stages.iter().map(stage).collect() }
}

fn stage(stage: &Stage) -> stored::Stage {
    let Stage { id, early, required, max_time, requires_fields, requires_activities } = stage;
    stored::Stage {
        id: id.to_string(),
        early: *early,
        required: *required,
        max_time: max_time.map(length),
        requires_fields: texts(requires_fields),
        requires_activities: texts(requires_activities),
    }
}

fn window(window: Window) -> stored::Window {
    let Window { size: Span(size_ms), in_days, slide: Span(slide_ms) } = window;
    stored::Window { size_ms, in_days, slide_ms }
}

fn length(length: Length) -> stored::Length {
    let Length { span: Span(span_ms), in_days } = length;
    stored::Length { span_ms, in_days }
}

fn override_layer(value: &Override) -> stored::Override {
    let Override { tenant, department, pipeline, source, layer: inner } = value;
    stored::Override {
        tenant: text(tenant),
        department: text(department),
        pipeline: text(pipeline),
        source: text(source),
        layer: Some(layer(inner)),
    }
}

fn layer(layer: &Layer) -> stored::Layer {
    let Layer { calendar, rules, terms: allowed, review_sampling } = layer;
    stored::Layer {
        calendar: text(calendar),
        rules: rules.iter().map(|(rule, item)| (rule.name().into(), params(item))).collect(),
        terms: Some(terms(allowed)),
        review_sampling: Some(sampling(*review_sampling)),
    }
}

fn params(params: &Params) -> stored::Params {
    let Params {
        enabled,
        severity,
        escalate_after,
        within,
        clock,
        response,
        attempts,
        entities,
        applies_to,
        allowed_reasons,
        min_touches,
        channels,
        window,
        basis,
        at_least,
        of_department,
        at_most,
        at_most_lag,
        quantile,
        min_sample,
    } = params;
    stored::Params {
        enabled: *enabled,
        severity: text(&severity.map(Severity::name)),
        escalate_after: escalate_after
            .as_ref()
            .map(|steps| stored::Lengths { lengths: steps.iter().copied().map(length).collect() }),
        within: within.map(length),
        clock: text(&clock.map(Clock::name)),
        response: text(&response.map(Response::name)),
        attempts: *attempts,
        entities: entities.as_deref().map(names),
        applies_to: applies_to.as_deref().map(names),
        allowed_reasons: allowed_reasons.as_deref().map(|reasons| stored::Names { names: texts(reasons) }),
        min_touches: *min_touches,
        channels: channels.as_deref().map(names),
        window_ms: window.map(|Span(size_ms)| size_ms),
        basis: text(&basis.map(Basis::name)),
        at_least: *at_least,
        of_department: *of_department,
        at_most: *at_most,
        at_most_lag: at_most_lag.map(length),
        quantile: *quantile,
        min_sample: *min_sample,
    }
}

fn terms(terms: &TermsParams) -> stored::Terms {
    let TermsParams { approvers, policies } = terms;
    stored::Terms {
        approvers: approvers.as_deref().map(|approvers| stored::Names { names: texts(approvers) }),
        policies: policies.as_ref().map(|rows| stored::TermsPolicies { policies: rows.iter().map(policy).collect() }),
    }
}

fn policy(policy: &TermsPolicy) -> stored::TermsPolicy {
    let TermsPolicy {
        pipeline,
        grade,
        amount_minor_below,
        max_discount_percent,
        max_installment_months,
        min_prepayment_percent,
    } = policy;
    stored::TermsPolicy {
        pipeline: text(pipeline),
        grade: text(grade),
        amount_minor_below: *amount_minor_below,
        max_discount_percent: *max_discount_percent,
        max_installment_months: *max_installment_months,
        min_prepayment_percent: *min_prepayment_percent,
    }
}

fn sampling(sampling: SamplingParams) -> stored::ReviewSampling {
    let SamplingParams { per_day, min_talk } = sampling;
    stored::ReviewSampling { per_day, min_talk_ms: min_talk.map(|Span(talk_ms)| talk_ms) }
}

/// An optional string; an empty string is not absent.
fn text(value: &Option<impl ToString>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

fn names(values: &[impl Name]) -> stored::Names {
    stored::Names { names: values.iter().map(|value| value.wire_name().into()).collect() }
}

/// Converts a map to one with string keys.
fn keyed<K: ToString, V, W>(map: &BTreeMap<K, V>, value: impl Fn(&V) -> W) -> BTreeMap<String, W> {
    map.iter().map(|(key, item)| (key.to_string(), value(item))).collect()
}

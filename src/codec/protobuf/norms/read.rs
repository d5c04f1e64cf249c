//! Converts the protobuf message to norms. Every message is destructured without `..`, so that the compiler reports a
//! field that is stored but not read.

use super::{NormsFlaw, Read};
use crate::codec::names::{Name, Named};
use crate::codec::proto::{self, norms as stored};
use crate::domain::alert::Severity;
use crate::domain::id::{PipelineId, StageId};
use crate::domain::identity::Country;
use crate::domain::norms::{
    Basis, Clock, Layer, Length, Norms, Override, Params, Pipeline, Response, SamplingParams, Stage, TermsParams,
    TermsPolicy,
};
use crate::domain::rule::Rule;
use crate::domain::time::Span;
use crate::domain::time::calendar::{Calendar, Hours};
use crate::domain::time::window::Window;
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Converts stored norms.
pub(super) fn norms(message: proto::Norms, privacy_key: Option<String>) -> Read<Norms> {
    let proto::Norms { calendars, pipelines, windows, min_talk_ms, country, overrides, base } = message;
    let base = base.ok_or_else(|| NormsFlaw::new("missing: the record is truncated").within("base"))?;
    Ok(Norms {
        calendars: keyed("calendars", calendars, any_name, |name, message| calendar(name, message).map(Arc::new))?,
        pipelines: keyed("pipelines", pipelines, |id| Ok(PipelineId::from(id)), |_, message| pipeline(message))?,
        windows: each("windows", windows, window)?,
        min_talk: Span(min_talk_ms),
        country: Country::from_code(&country).ok_or_else(|| unknown(&country).within("country"))?,
        privacy_key,
        base: layer(base).map_err(|flaw| flaw.within("base"))?,
        overrides: each("overrides", overrides, override_layer)?,
    })
}

fn calendar(name: &str, message: stored::Calendar) -> Read<Calendar> {
    let stored::Calendar { timezone, week, days, years } = message;
    let week = each("week", week, hours)?;
    let week = week.try_into().map_err(|_| NormsFlaw::new("expected seven days").within("week"))?;
    let date = |text: &str| text.parse().map_err(|_| NormsFlaw::new(format!("invalid date `{text}`")));
    let days = keyed("days", days, date, |_, day| hours(day))?;
    let years = each("years", years, |year| i16::try_from(year).map_err(|_| NormsFlaw::new("invalid year")))?;
    Calendar::new(name, &timezone, week, days, years.into_iter().collect())
        .map_err(|error| NormsFlaw::new(error.to_string()))
}

fn hours(message: stored::Day) -> Read<Vec<Hours>> {
    let stored::Day { hours } = message;
    each("hours", hours, |text| Hours::parse(&text).ok_or_else(|| NormsFlaw::new(format!("invalid hours `{text}`"))))
}

fn pipeline(message: stored::Pipeline) -> Read<Pipeline> {
    let stored::Pipeline { entity, stages } = message;
    Ok(Pipeline {
        entity: named(&entity).map_err(|flaw| flaw.within("entity"))?,
        stages: stages.into_iter().map(stage).collect(),
    })
}

fn stage(message: stored::Stage) -> Stage {
    let stored::Stage { id, early, required, max_time, requires_fields, requires_activities } = message;
    Stage {
        id: StageId::from(id),
        early,
        required,
        max_time: max_time.map(length),
        requires_fields: texts(requires_fields),
        requires_activities: texts(requires_activities),
    }
}

fn window(message: stored::Window) -> Read<Window> {
    let stored::Window { size_ms, in_days, slide_ms } = message;
    // The number of panes is `size / slide`.
    if size_ms <= 0 || slide_ms <= 0 || size_ms % slide_ms != 0 {
        return Err(NormsFlaw::new(format!("size {size_ms} ms is not a multiple of slide {slide_ms} ms")));
    }
    Ok(Window { size: Span(size_ms), in_days, slide: Span(slide_ms) })
}

fn length(message: stored::Length) -> Length {
    let stored::Length { span_ms, in_days } = message;
    Length { span: Span(span_ms), in_days }
}

fn override_layer(message: stored::Override) -> Read<Override> {
    let stored::Override { tenant, department, pipeline, source, layer: inner } = message;
    Ok(Override {
        tenant: tenant.map(Into::into),
        department: department.map(Into::into),
        pipeline: pipeline.map(Into::into),
        source: source.map(Into::into),
        layer: layer(inner.unwrap_or_default()).map_err(|flaw| flaw.within("layer"))?,
    })
}

fn layer(message: stored::Layer) -> Read<Layer> {
    let stored::Layer { calendar, rules, terms: allowed, review_sampling } = message;
    let stored::ReviewSampling { per_day, min_talk_ms } = review_sampling.unwrap_or_default();
    Ok(Layer {
        calendar: calendar.map(Into::into),
        rules: keyed("rules", rules, |name| lookup(Rule::ALL, Rule::name, name), |_, message| params(message))?,
        terms: terms(allowed.unwrap_or_default()),
        review_sampling: SamplingParams { per_day, min_talk: min_talk_ms.map(Span) },
    })
}

fn params(message: stored::Params) -> Read<Params> {
    let stored::Params {
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
        window_ms,
        basis,
        at_least,
        of_department,
        at_most,
        at_most_lag,
        quantile,
        min_sample,
    } = message;
    Ok(Params {
        enabled,
        severity: maybe("severity", severity, |name| lookup(&Severity::ALL, Severity::name, &name))?,
        escalate_after: escalate_after.map(|steps| steps.lengths.into_iter().map(length).collect()),
        within: within.map(length),
        clock: maybe("clock", clock, |name| lookup(&Clock::ALL, Clock::name, &name))?,
        response: maybe("response", response, |name| lookup(&Response::ALL, Response::name, &name))?,
        attempts,
        entities: maybe("entities", entities, names)?,
        applies_to: maybe("applies_to", applies_to, names)?,
        allowed_reasons: allowed_reasons.map(|reasons| texts(reasons.names)),
        min_touches,
        channels: maybe("channels", channels, names)?,
        window: window_ms.map(Span),
        basis: maybe("basis", basis, |name| lookup(&Basis::ALL, Basis::name, &name))?,
        at_least,
        of_department,
        at_most,
        at_most_lag: at_most_lag.map(length),
        quantile,
        min_sample,
    })
}

fn terms(message: stored::Terms) -> TermsParams {
    let stored::Terms { approvers, policies } = message;
    TermsParams {
        approvers: approvers.map(|approvers| texts(approvers.names)),
        policies: policies.map(|rows| rows.policies.into_iter().map(policy).collect()),
    }
}

fn policy(message: stored::TermsPolicy) -> TermsPolicy {
    let stored::TermsPolicy {
        pipeline,
        grade,
        amount_minor_below,
        max_discount_percent,
        max_installment_months,
        min_prepayment_percent,
    } = message;
    TermsPolicy {
        pipeline: pipeline.map(PipelineId::from),
        grade: grade.map(Into::into),
        amount_minor_below,
        max_discount_percent,
        max_installment_months,
        min_prepayment_percent,
    }
}

/// Reads an optional value.
fn maybe<V, W>(field: &str, value: Option<V>, read: impl Fn(V) -> Read<W>) -> Read<Option<W>> {
    value.map(read).transpose().map_err(|flaw| flaw.within(field))
}

/// Reads the items of a list.
fn each<V, W>(field: &str, list: Vec<V>, read: impl Fn(V) -> Read<W>) -> Read<Vec<W>> {
    let read = |(index, item)| read(item).map_err(|flaw| flaw.within(&format!("{field}[{index}]")));
    list.into_iter().enumerate().map(read).collect()
}

/// Reads the entries of a map.
fn keyed<K: Ord, V, W>(
    field: &str,
    map: BTreeMap<String, V>,
    key: impl Fn(&str) -> Read<K>,
    value: impl Fn(&str, V) -> Read<W>,
) -> Read<BTreeMap<K, W>> {
    let mut read = BTreeMap::new();
    for (name, message) in map {
        let entry = key(&name).map_err(|flaw| flaw.within(field))?;
        let value = value(&name, message).map_err(|flaw| flaw.within(&name).within(field))?;
        // Two keys may spell the same date.
        if read.insert(entry, value).is_some() {
            return Err(NormsFlaw::new(format!("duplicate entry `{name}`")).within(field));
        }
    }
    Ok(read)
}

fn any_name(name: &str) -> Read<CompactString> {
    Ok(name.into())
}

fn texts(texts: Vec<String>) -> Vec<CompactString> {
    texts.into_iter().map(Into::into).collect()
}

fn names<T: Name>(message: stored::Names) -> Read<Vec<T>> {
    message.names.iter().map(|name| named(name)).collect()
}

/// Looks up an event enum by name.
fn named<T: Name>(name: &str) -> Read<T> {
    match T::from_name(name) {
        Named::Known(value) => Ok(value),
        Named::Absent | Named::Unknown => Err(unknown(name)),
    }
}

/// Looks up a norms enum by name.
fn lookup<T: Copy>(all: &[T], name: fn(T) -> &'static str, found: &str) -> Read<T> {
    all.iter().copied().find(|value| name(*value) == found).ok_or_else(|| unknown(found))
}

fn unknown(name: &str) -> NormsFlaw {
    NormsFlaw::new(format!("unknown value `{name}`"))
}

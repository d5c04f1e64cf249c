//! Owns the way from a message back to norms. Everything is taken apart without `..`, so that the compiler tells of a
//! field that is kept and not read.

use super::{NormsFlaw, Read};
use crate::codec::names::{Name, Named};
use crate::codec::proto::{self, norms as kept};
use crate::domain::alert::Severity;
use crate::domain::calendar::{Calendar, Hours};
use crate::domain::id::{PipelineId, StageId};
use crate::domain::identity::Country;
use crate::domain::norms::{
    Basis, Clock, Layer, Length, Norms, Override, Params, Pipeline, Response, SamplingParams, Stage, TermsParams,
    TermsPolicy, Window,
};
use crate::domain::rule::Rule;
use crate::domain::time::Span;
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The norms that were kept.
pub(super) fn norms(message: proto::Norms, privacy_key: Option<String>) -> Read<Norms> {
    let proto::Norms { calendars, pipelines, windows, min_talk_ms, country, overrides, base } = message;
    let base = base.ok_or_else(|| NormsFlaw::new("missing: the record was cut short").within("base"))?;
    Ok(Norms {
        calendars: keyed("calendars", calendars, plain, |name, each| calendar(name, each).map(Arc::new))?,
        pipelines: keyed("pipelines", pipelines, |id| Ok(PipelineId::from(id)), |_, each| pipeline(each))?,
        windows: each("windows", windows, window)?,
        min_talk: Span(min_talk_ms),
        country: Country::from_code(&country).ok_or_else(|| unknown(&country).within("country"))?,
        privacy_key,
        base: layer(base).map_err(|flaw| flaw.within("base"))?,
        overrides: each("overrides", overrides, over)?,
    })
}

fn calendar(name: &str, message: kept::Calendar) -> Read<Calendar> {
    let kept::Calendar { timezone, week, days, years } = message;
    let week = each("week", week, hours)?;
    let week = week.try_into().map_err(|_| NormsFlaw::new("not of seven days").within("week"))?;
    let date = |text: &str| text.parse().map_err(|_| NormsFlaw::new(format!("`{text}` is no date")));
    let days = keyed("days", days, date, |_, day| hours(day))?;
    let years = each("years", years, |year| i16::try_from(year).map_err(|_| NormsFlaw::new("no year")))?;
    Calendar::new(name, &timezone, week, days, years.into_iter().collect())
        .map_err(|error| NormsFlaw::new(error.to_string()))
}

fn hours(message: kept::Day) -> Read<Vec<Hours>> {
    let kept::Day { hours } = message;
    each("hours", hours, |text| Hours::parse(&text).ok_or_else(|| NormsFlaw::new(format!("`{text}` are no hours"))))
}

fn pipeline(message: kept::Pipeline) -> Read<Pipeline> {
    let kept::Pipeline { entity, stages } = message;
    Ok(Pipeline {
        entity: named(&entity).map_err(|flaw| flaw.within("entity"))?,
        stages: stages.into_iter().map(stage).collect(),
    })
}

fn stage(message: kept::Stage) -> Stage {
    let kept::Stage { id, early, required, max_time, requires_fields, requires_activities } = message;
    Stage {
        id: StageId::from(id),
        early,
        required,
        max_time: max_time.map(length),
        requires_fields: texts(requires_fields),
        requires_activities: texts(requires_activities),
    }
}

fn window(message: kept::Window) -> Read<Window> {
    let kept::Window { size_ms, in_days, slide_ms } = message;
    // Panes are counted by division.
    if size_ms <= 0 || slide_ms <= 0 || size_ms % slide_ms != 0 {
        return Err(NormsFlaw::new(format!("a size of {size_ms} ms is no multiple of a slide of {slide_ms} ms")));
    }
    Ok(Window { size: Span(size_ms), in_days, slide: Span(slide_ms) })
}

fn length(message: kept::Length) -> Length {
    let kept::Length { span_ms, in_days } = message;
    Length { span: Span(span_ms), in_days }
}

fn over(message: kept::Override) -> Read<Override> {
    let kept::Override { tenant, department, pipeline, source, layer: inner } = message;
    Ok(Override {
        tenant: tenant.map(Into::into),
        department: department.map(Into::into),
        pipeline: pipeline.map(Into::into),
        source: source.map(Into::into),
        layer: layer(inner.unwrap_or_default()).map_err(|flaw| flaw.within("layer"))?,
    })
}

fn layer(message: kept::Layer) -> Read<Layer> {
    let kept::Layer { calendar, rules, terms: allowed, review_sampling } = message;
    let kept::ReviewSampling { per_day, min_talk_ms } = review_sampling.unwrap_or_default();
    Ok(Layer {
        calendar: calendar.map(Into::into),
        rules: keyed("rules", rules, |name| among(Rule::ALL, Rule::name, name), |_, each| params(each))?,
        terms: terms(allowed.unwrap_or_default()),
        review_sampling: SamplingParams { per_day, min_talk: min_talk_ms.map(Span) },
    })
}

fn params(message: kept::Params) -> Read<Params> {
    let kept::Params {
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
        severity: maybe("severity", severity, |name| among(&Severity::ALL, Severity::name, &name))?,
        escalate_after: escalate_after.map(|steps| steps.lengths.into_iter().map(length).collect()),
        within: within.map(length),
        clock: maybe("clock", clock, |name| among(&Clock::ALL, Clock::name, &name))?,
        response: maybe("response", response, |name| among(&Response::ALL, Response::name, &name))?,
        attempts,
        entities: maybe("entities", entities, names)?,
        applies_to: maybe("applies_to", applies_to, names)?,
        allowed_reasons: allowed_reasons.map(|reasons| texts(reasons.names)),
        min_touches,
        channels: maybe("channels", channels, names)?,
        window: window_ms.map(Span),
        basis: maybe("basis", basis, |name| among(&Basis::ALL, Basis::name, &name))?,
        at_least,
        of_department,
        at_most,
        at_most_lag: at_most_lag.map(length),
        quantile,
        min_sample,
    })
}

fn terms(message: kept::Terms) -> TermsParams {
    let kept::Terms { approvers, policies } = message;
    TermsParams {
        approvers: approvers.map(|approvers| texts(approvers.names)),
        policies: policies.map(|rows| rows.policies.into_iter().map(policy).collect()),
    }
}

fn policy(message: kept::TermsPolicy) -> TermsPolicy {
    let kept::TermsPolicy {
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

/// What `read` makes of a value that may be absent.
fn maybe<V, W>(field: &str, value: Option<V>, read: impl Fn(V) -> Read<W>) -> Read<Option<W>> {
    value.map(read).transpose().map_err(|flaw| flaw.within(field))
}

/// What `read` makes of the items of a list.
fn each<V, W>(field: &str, list: Vec<V>, read: impl Fn(V) -> Read<W>) -> Read<Vec<W>> {
    let read = |(index, item)| read(item).map_err(|flaw| flaw.within(&format!("{field}[{index}]")));
    list.into_iter().enumerate().map(read).collect()
}

/// What `key` and `value` make of the entries of a map.
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
        // Two spellings of one date.
        if read.insert(entry, value).is_some() {
            return Err(NormsFlaw::new(format!("`{name}` is there twice")).within(field));
        }
    }
    Ok(read)
}

fn plain(name: &str) -> Read<CompactString> {
    Ok(name.into())
}

fn texts(texts: Vec<String>) -> Vec<CompactString> {
    texts.into_iter().map(Into::into).collect()
}

fn names<T: Name>(message: kept::Names) -> Read<Vec<T>> {
    message.names.iter().map(|name| named(name)).collect()
}

/// The one of this name in events.
fn named<T: Name>(name: &str) -> Read<T> {
    match T::from_name(name) {
        Named::Known(one) => Ok(one),
        Named::Absent | Named::Unknown => Err(unknown(name)),
    }
}

/// The one of this name in norms.
fn among<T: Copy>(all: &[T], name: fn(T) -> &'static str, found: &str) -> Read<T> {
    all.iter().copied().find(|one| name(*one) == found).ok_or_else(|| unknown(found))
}

fn unknown(name: &str) -> NormsFlaw {
    NormsFlaw::new(format!("this version knows no `{name}`"))
}

//! Converts rows and the norms of departments to samples. A share, mean or quantile of an empty sample is not exported.

use super::metric::Metric;
use super::page::Labels;
use crate::domain::figures::row::{ByStage, NowFigures, Quantiles, Ratio, WindowFigures};
use crate::domain::norms::{Norms, ScopeQuery};
use crate::domain::rule::catalog;
use crate::domain::rule::definition::Parameter;
use crate::domain::time::window::Window;
use Metric as M;

/// A ratio, the bounds of its confidence interval, and its sample size.
type Share = [Metric; 4];

const LEAD_CONVERSION: Share =
    [M::LeadConversion, M::LeadConversionLower, M::LeadConversionUpper, M::LeadConversionSample];
const STAGE_CONVERSION: Share =
    [M::StageConversion, M::StageConversionLower, M::StageConversionUpper, M::StageConversionSample];
const WIN_RATE: Share = [M::WinRate, M::WinRateLower, M::WinRateUpper, M::WinRateSample];
const WITHIN_NORM: Share = [M::WithinNorm, M::WithinNormLower, M::WithinNormUpper, M::WithinNormSample];

/// Emits the samples of the figures of a window.
pub(super) fn window(figures: &WindowFigures, mut emit: impl FnMut(Metric, Labels<'_>, f64)) {
    emit(M::LeadsReceived, &[], figures.leads_received as f64);
    emit(M::LeadsDisqualified, &[], figures.leads_disqualified as f64);
    for (metrics, conversion) in [(LEAD_CONVERSION, figures.lead_conversion), (WIN_RATE, figures.win_rate)] {
        share(metrics, &[("basis", "cohort")], conversion.cohort, &mut emit);
        share(metrics, &[("basis", "closed")], conversion.closed, &mut emit);
    }
    for (pipeline, stages) in &figures.stage_conversion {
        for (stage, ratio) in stages {
            let labels = [("pipeline", pipeline.as_str()), ("deal_stage", stage.as_str())];
            share(STAGE_CONVERSION, &labels, *ratio, &mut emit);
        }
    }
    let responses = [("wall", &figures.first_response_wall), ("business", &figures.first_response_business)];
    for (clock, lags) in responses {
        for (q, seconds) in quantiles(lags) {
            emit(M::FirstResponseLag, &[("clock", clock), ("q", q)], seconds);
        }
        if lags.n > 0 {
            emit(M::FirstResponseLagMean, &[("clock", clock)], lags.mean_seconds);
        }
    }
    emit(M::FirstResponses, &[], figures.first_response_wall.n as f64);
    share(WITHIN_NORM, &[], figures.first_response_within_norm, &mut emit);
    for (quantile, mean, count, lags) in [
        (M::CallBackLag, M::CallBackLagMean, M::CallBacks, &figures.call_back),
        (M::ReplyLag, M::ReplyLagMean, M::Replies, &figures.reply),
    ] {
        emit(count, &[], lags.n as f64);
        for (q, seconds) in quantiles(lags) {
            emit(quantile, &[("q", q)], seconds);
        }
        if lags.n > 0 {
            emit(mean, &[], lags.mean_seconds);
        }
    }
    let calls = &figures.calls;
    for (direction, outcome, n) in [
        ("inbound", "answered", calls.inbound_answered),
        ("inbound", "missed", calls.inbound_missed),
        ("outbound", "answered", calls.outbound_answered),
        ("outbound", "unanswered", calls.outbound_unanswered),
    ] {
        emit(M::Calls, &[("direction", direction), ("outcome", outcome)], n as f64);
    }
    emit(M::Talk, &[], figures.talk_seconds);
    for (direction, channels) in [("sent", &figures.messages_sent), ("received", &figures.messages_received)] {
        for (channel, n) in channels {
            emit(M::Messages, &[("direction", direction), ("channel", channel.name())], *n as f64);
        }
    }
    emit(M::Meetings, &[], figures.meetings as f64);
    emit(M::Touches, &[], figures.touches as f64);
    emit(M::DealsWon, &[], figures.deals_won as f64);
    emit(M::DealsLost, &[], figures.deals_lost as f64);
    for (currency, minor) in &figures.amount_won {
        emit(M::AmountWon, &[("currency", currency)], *minor as f64);
    }
    let terms = &figures.terms;
    emit(M::TermsOffered, &[], terms.offered as f64);
    emit(M::TermsSpecial, &[], terms.special as f64);
    if let Some(ratio) = (Ratio { n: terms.offered, k: terms.special }).ratio() {
        emit(M::SpecialTerms, &[], ratio);
    }
    if let Some(percent) = terms.mean_discount_percent {
        emit(M::DiscountMean, &[], percent / 100.0);
    }
    emit(M::Reviews, &[], figures.reviews.n as f64);
    emit(M::ReviewSuccesses, &[], figures.reviews.successes as f64);
    emit(M::ReviewFailures, &[], figures.reviews.failures as f64);
    if let Some(score) = figures.reviews.mean_score {
        emit(M::ReviewScore, &[], score);
    }
    for (rule, n) in &figures.violations {
        emit(M::Violations, &[("rule", rule.name())], *n as f64);
    }
}

fn share(metrics: Share, labels: Labels<'_>, share: Ratio, emit: &mut impl FnMut(Metric, Labels<'_>, f64)) {
    let [ratio, lower, upper, sample] = metrics;
    emit(sample, labels, share.n as f64);
    if let (Some(found), Some((low, high))) = (share.ratio(), share.bounds()) {
        emit(ratio, labels, found);
        emit(lower, labels, low);
        emit(upper, labels, high);
    }
}

fn quantiles(lags: &Quantiles) -> impl Iterator<Item = (&'static str, f64)> {
    let all = [("0.5", lags.p50_seconds), ("0.9", lags.p90_seconds), ("0.99", lags.p99_seconds)];
    all.into_iter().filter(|_| lags.n > 0)
}

/// Emits the samples of the current figures.
pub(super) fn now(figures: &NowFigures, mut emit: impl FnMut(Metric, Labels<'_>, f64)) {
    emit(M::Awaiting, &[], figures.awaiting_first_response as f64);
    emit(M::OldestWait, &[], figures.oldest_wait_seconds.unwrap_or_default());
    let mut by_stage = |metric, counts: &ByStage| {
        for (pipeline, stages) in counts {
            for (stage, n) in stages {
                emit(metric, &[("pipeline", pipeline.as_str()), ("deal_stage", stage.as_str())], *n as f64);
            }
        }
    };
    by_stage(M::Open, &figures.open);
    by_stage(M::Overdue, &figures.overdue);
    for (rule, n) in &figures.open_alerts {
        emit(M::OpenAlerts, &[("rule", rule.name())], *n as f64);
    }
    emit(M::UnreturnedCalls, &[], figures.unreturned_calls as f64);
    emit(M::UnansweredMessages, &[], figures.unanswered_messages as f64);
}

/// Emits the samples of the norms in force in a scope.
pub(super) fn norms(norms: &Norms, query: ScopeQuery<'_>, mut emit: impl FnMut(Metric, Labels<'_>, f64)) {
    for (rule, norm) in &norms.scope(query).rules {
        let takes = catalog::definition(*rule).takes;
        let clock = norm.clock.unwrap_or_default().name();
        let basis = norm.basis.unwrap_or_default().name();
        let window = norms.window_of(norm).map(Window::name).unwrap_or_default();
        let (rule, window) = (("rule", rule.name()), ("window", window.as_str()));
        if let Some(within) = norm.within {
            emit(M::NormWithin, &[rule, ("clock", clock)], within.span.seconds());
        }
        if let Some(most) = norm.at_most_lag {
            let q = norm.quantile.unwrap_or(0.9).to_string();
            emit(M::NormAtMost, &[rule, ("clock", clock), ("q", &q), window], most.span.seconds());
        }
        if let Some(least) = norm.at_least {
            if takes.contains(&Parameter::Score) {
                emit(M::NormScore, &[rule, window], least);
            } else {
                emit(M::NormAtLeast, &[rule, ("basis", basis), window], least);
            }
        }
        if let Some(part) = norm.of_department {
            emit(M::NormOfDepartment, &[rule, ("basis", basis), window], part);
        }
        if let Some(most) = norm.at_most {
            emit(M::NormAtMostShare, &[rule, window], most);
        }
        if takes.contains(&Parameter::MinSample) {
            emit(M::NormSample, &[rule, window], norm.min_sample.unwrap_or(1) as f64);
        }
    }
}

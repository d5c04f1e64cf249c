//! Converts the figures of rows and the norms of departments to samples. A share, mean or quantile of an empty sample is
//! not exported.

use super::metric::{Metric, family_count};
use super::page::Labels;
use crate::domain::figures::row::Figures;
use crate::domain::figures::table::{Figure, FigureValue, NOW, WINDOW};
use crate::domain::norms::{Norms, ScopeQuery};
use crate::domain::rule::catalog;
use crate::domain::rule::definition::Parameter;
use crate::domain::time::window::Window;
use Metric as M;

/// Emits the samples of the figures of a row, with the indexes of their families.
pub(super) fn figures(figures: &Figures, emit: impl FnMut(usize, Labels<'_>, f64)) {
    match figures {
        Figures::Window(_, figures) => of_table(WINDOW, 0, figures.as_ref(), emit),
        Figures::Now(figures) => of_table(NOW, family_count(WINDOW), figures.as_ref(), emit),
    }
}

fn of_table<F>(table: &[Figure<F>], first: usize, figures: &F, mut emit: impl FnMut(usize, Labels<'_>, f64)) {
    let mut family = first;
    for figure in table.iter().filter(|figure| !figure.name.is_empty()) {
        for part in figure.values {
            let mut labels = figure.labels.iter().copied().zip(part.labels.iter().copied()).collect();
            samples(&(part.value)(figures), figure.labels, &mut labels, &mut |offset, labels, value| {
                emit(family + offset, labels, value);
            });
        }
        family += family_count(std::slice::from_ref(figure));
    }
}

/// Emits the samples of a value that has these labels so far, with the offsets of their families.
fn samples<'a>(
    value: &'a FigureValue<'a>,
    names: &[&'static str],
    labels: &mut Vec<(&'static str, &'a str)>,
    emit: &mut impl FnMut(usize, Labels<'_>, f64),
) {
    match value {
        FigureValue::Count(n) => emit(0, labels, *n as f64),
        FigureValue::Number(number) | FigureValue::Optional(Some(number)) => emit(0, labels, *number),
        FigureValue::Share(share) => {
            if let (Some(ratio), Some((lower, upper))) = (share.ratio(), share.bounds()) {
                [ratio, lower, upper].into_iter().enumerate().for_each(|(offset, value)| emit(offset, labels, value));
            }
            emit(3, labels, share.n as f64);
        }
        FigureValue::Lags(lags) if lags.n > 0 => {
            for (q, seconds) in [("0.5", lags.p50_seconds), ("0.9", lags.p90_seconds), ("0.99", lags.p99_seconds)] {
                labels.push(("q", q));
                emit(0, labels, seconds);
                labels.pop();
            }
            emit(1, labels, lags.mean_seconds);
        }
        FigureValue::Map(entries) => {
            for (name, value) in entries {
                labels.push((names[labels.len()], name));
                samples(value, names, labels, emit);
                labels.pop();
            }
        }
        FigureValue::Optional(None) | FigureValue::Lags(_) | FigureValue::Group(_) => {}
    }
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
        if let Some(least) = norm.min_score {
            emit(M::NormScore, &[rule, window], least);
        }
        if let Some(least) = norm.at_least {
            emit(M::NormAtLeast, &[rule, ("basis", basis), window], least);
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

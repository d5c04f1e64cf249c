//! Converts the figures of rows and the norms of departments to samples. A share, mean or quantile of an empty sample is
//! not exported.

use super::metric::{Metric, OF_NOW, OF_WINDOW};
use super::page::Labels;
use crate::domain::figures::row::Figures;
use crate::domain::figures::table::{Figure, FigureValue, NOW, WINDOW};
use crate::domain::norms::{Norms, ScopeQuery};
use crate::domain::rule::catalog;
use crate::domain::rule::definition::Parameter;
use crate::domain::time::Length;
use crate::domain::time::window::Window;
use Metric as M;

/// Emits the samples of the figures of a row, with the indexes of their families.
pub(super) fn figures(figures: &Figures, emit: impl FnMut(usize, Labels<'_>, f64)) {
    match figures {
        Figures::Window(_, figures) => of_table(WINDOW, &OF_WINDOW, figures.as_ref(), emit),
        Figures::Now(figures) => of_table(NOW, &OF_NOW, figures.as_ref(), emit),
        Figures::Closing(..) | Figures::Gone(_) => {}
    }
}

fn of_table<F>(table: &[Figure<F>], families: &[usize], figures: &F, mut emit: impl FnMut(usize, Labels<'_>, f64)) {
    for (figure, family) in table.iter().zip(families).filter(|(figure, _)| !figure.name.is_empty()) {
        for part in figure.values {
            let mut labels = figure.labels.iter().copied().zip(part.labels.iter().copied()).collect();
            samples(&(part.value)(figures), figure.labels, &mut labels, &mut |offset, labels, value| {
                emit(family + offset, labels, value);
            });
        }
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
        FigureValue::Optional(None)
        | FigureValue::Absent
        | FigureValue::Lags(_)
        | FigureValue::Flag(_)
        | FigureValue::Group(_) => {}
    }
}

/// Emits the samples of the norms in force in a scope.
pub(super) fn norms(norms: &Norms, query: ScopeQuery<'_>, mut emit: impl FnMut(Metric, Labels<'_>, f64)) {
    for (rule, norm) in &norms.scope(query).rules {
        let takes = catalog::definition(*rule).takes;
        let clock = ("clock", norm.clock.unwrap_or_default().name());
        let basis = ("basis", norm.basis.unwrap_or_default().name());
        let window = norms.window_of(norm).map(Window::name).unwrap_or_default();
        let (rule, window) = (("rule", rule.name()), ("window", window.as_str()));
        let q = norm.quantile.unwrap_or(0.9).to_string();
        let min_sample = takes.contains(&Parameter::MinSample).then(|| norm.min_sample.unwrap_or(1) as f64);
        let seconds = |length: Length| length.span.seconds();
        let values: [(_, _, Labels<'_>); 7] = [
            (M::NormWithin, norm.within.map(seconds), &[rule, clock]),
            (M::NormAtMost, norm.at_most_lag.map(seconds), &[rule, clock, ("q", &q), window]),
            (M::NormScore, norm.min_score, &[rule, window]),
            (M::NormAtLeast, norm.at_least, &[rule, basis, window]),
            (M::NormOfDepartment, norm.of_department, &[rule, basis, window]),
            (M::NormAtMostShare, norm.at_most, &[rule, window]),
            (M::NormSample, min_sample, &[rule, window]),
        ];
        for (metric, value, labels) in values {
            value.into_iter().for_each(|value| emit(metric, labels, value));
        }
    }
}

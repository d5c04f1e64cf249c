//! Owns `conversion_low`: a manager who converts too few of their leads into deals.
//!
//! Small samples are noisy, so a violation begins only if the upper bound of Wilson's 95 % interval is below the norm. It
//! ends when the share itself is back at the norm. The norm is a share, or a part of the department's share at that
//! instant. A department without leads has the share 0; none of its managers has a sample then.

use crate::domain::figures::statistics::Ratio;
use crate::domain::figures::window::WindowSample;
use crate::domain::norms::Params;
use crate::domain::rule::definition::{Definition, Evaluation, Judgement, Parameter, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Conversion low", "Низкая конверсия"],
    about: [
        "a manager converts fewer leads into deals than required, beyond random variation",
        "менеджер переводит в сделки меньше лидов, чем нужно, и это не случайность",
    ],
    why: [
        "Leads cost money. A manager who loses more of them than their colleagues needs help, or other leads, before the \
         month is over.",
        "За лиды заплачено; менеджеру, который теряет их чаще коллег, помощь или другие лиды нужны сейчас, а не в конце \
         месяца.",
    ],
    subjects: &["manager:ID/WINDOW"],
    takes: &[Parameter::Window, Parameter::Basis, Parameter::AtLeast, Parameter::OfDepartment, Parameter::MinSample],
    observed: &["n", "k", "ratio", "upper"],
    norm: &["at_least", "min_sample", "basis"],
    wording: Wording {
        lasting: [
            "{subject}: {k} of {n} leads became deals, {ratio}; the norm is at least {at_least}",
            "{subject}: стали сделками {k} из {n} лидов, {ratio} при норме от {at_least}",
        ],
        settled: [
            "{subject}: {k} of {n} leads became deals, {ratio}; that is back at the norm of at least {at_least}",
            "{subject}: стали сделками {k} из {n} лидов, {ratio}; это снова в норме (от {at_least})",
        ],
        due_soon: [""; 2],
    },
    evaluation: Evaluation::Window(judge),
};

fn judge(norm: &Params, sample: &WindowSample<'_>) -> Option<Judgement> {
    let basis = norm.basis.unwrap_or_default();
    let of_department = |part: f64| part * sample.department.of(basis).ratio().unwrap_or_default();
    let limit = norm.at_least.or_else(|| norm.of_department.map(of_department))?;
    let share @ Ratio { n, k } = sample.own.lead_conversion().of(basis);
    let mut observed = vec![("n", n.into()), ("k", k.into())];
    let (mut violated, mut met) = (false, false);
    if let (Some(ratio), Some((_, upper))) = (share.ratio(), share.bounds()) {
        observed.extend([("ratio", ratio.into()), ("upper", upper.into())]);
        (violated, met) = (upper < limit, ratio >= limit);
    }
    let norm = vec![
        ("at_least", limit.into()),
        ("min_sample", norm.min_sample.unwrap_or(1).into()),
        ("basis", basis.name().into()),
    ];
    Some(Judgement { n, violated, met, observed, norm })
}

//! Owns `stuck_early`: a manager with too many open deals that are overdue in early stages.
//!
//! It judges the current state, not the window: the window only sets the boundaries and the subject. A deal is overdue by
//! its stage's `max_time`, even if `stage_overdue` is off.

use crate::domain::figures::window::WindowSample;
use crate::domain::norms::Params;
use crate::domain::rule::definition::{Definition, Evaluation, Judgement, Parameter, Wording, share_over};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Deals stuck early", "Сделки копятся в начале воронки"],
    about: [
        "too many of a manager's open deals are overdue in stages marked `early`",
        "у менеджера слишком много открытых сделок зависло на ранних этапах (`early`)",
    ],
    why: [
        "Deals that pile up at the beginning are never sold: the manager has more than they can handle, or avoids the \
         next step.",
        "Сделки, которые копятся в начале воронки, не продаются: у менеджера их слишком много, или следующий шаг \
         откладывают.",
    ],
    subjects: &["manager:ID/WINDOW"],
    takes: &[Parameter::Window, Parameter::AtMost, Parameter::MinSample],
    observed: &["n", "k", "ratio"],
    norm: &["at_most", "min_sample"],
    wording: Wording {
        lasting: [
            "{subject}: {k} of {n} open deals overdue in an early stage, {ratio}; the norm is at most {at_most}",
            "{subject}: на ранних этапах просрочено {k} из {n} открытых сделок, {ratio} при норме до {at_most}",
        ],
        settled: [
            "{subject}: {k} of {n} open deals overdue in an early stage, {ratio}; that is back at the norm of at most \
             {at_most}",
            "{subject}: на ранних этапах просрочено {k} из {n} открытых сделок, {ratio}; это снова в норме (до {at_most})",
        ],
        due_soon: [""; 2],
    },
    evaluation: Evaluation::Window(judge),
};

fn judge(norm: &Params, sample: &WindowSample<'_>) -> Option<Judgement> {
    share_over(sample.stuck, norm)
}

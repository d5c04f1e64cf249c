//! Owns `target_behind`: a target that will be missed if the work goes on like this.

use crate::domain::alert::{Value, Values};
use crate::domain::norms::targets::{Progress, Target};
use crate::domain::rule::definition::{Definition, Evaluation, Judgement, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Behind plan", "Отставание от плана"],
    about: [
        "the figure of a target is behind its pace: in the working time that has passed, a smaller part of the plan was \
         done than the `tolerance` allows; on for every target, see `targets`",
        "показатель отстаёт от плана: за прошедшее рабочее время сделано меньше, чем допускает `tolerance`; действует для \
         каждого плана из `targets`",
    ],
    why: [
        "At the end of the month a missed plan is a fact. On the 12th there is still time to do something about it.",
        "В конце месяца невыполненный план уже не исправить. Двенадцатого числа время ещё есть.",
    ],
    subjects: &["manager:ID/TARGET", "department:ID/TARGET", "tenant/TARGET"],
    takes: &[],
    observed: &["fact", "pace", "share", "forecast"],
    norm: &["at_least", "per", "tolerance"],
    wording: Wording {
        lasting: [
            "{subject}: {fact} of {at_least} is done; after {share} of the working time it should be {pace}",
            "{subject}: сделано {fact} из {at_least}; прошло {share} рабочего времени, по плану уже {pace}",
        ],
        settled: [
            "{subject}: {fact} of {at_least} is done; that is back on plan",
            "{subject}: сделано {fact} из {at_least}; отставания больше нет",
        ],
        due_soon: [""; 2],
    },
    evaluation: Evaluation::Targets(judge),
};

fn judge(target: &Target, progress: &Progress) -> Judgement {
    Judgement {
        n: 0,
        violated: progress.is_behind(target.judge_after),
        met: progress.is_on_pace(),
        observed: observed(progress),
        norm: norm(target),
    }
}

fn observed(progress: &Progress) -> Values {
    let mut observed =
        vec![("fact", progress.count().into()), ("pace", progress.pace().into()), ("share", progress.share().into())];
    observed.extend(progress.forecast().map(|forecast| ("forecast", forecast.into())));
    observed
}

fn norm(target: &Target) -> Values {
    let tolerance = Value::Number(target.tolerance.get());
    vec![("at_least", target.at_least.get().into()), ("per", target.per.name().into()), ("tolerance", tolerance)]
}

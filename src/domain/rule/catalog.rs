//! Owns the catalog: the definition of each rule, and the evaluation of the rules about journeys.

use crate::domain::change::{Act, Change};
use crate::domain::context::TenantContext;
use crate::domain::id::StageId;
use crate::domain::index::ManagerIx;
use crate::domain::journey::Journey;
use crate::domain::lifecycle::{Description, Violation};
use crate::domain::norms::Norms;
use crate::domain::rule::definition::{Definition, Evaluation, Finding, JourneyRule};
use crate::domain::rule::{self, Rule, for_each_rule};
use std::sync::LazyLock;

macro_rules! definitions {
    ($($rule:ident $module:ident)*) => {
        /// The definition in the rule's file.
        pub const fn definition(rule: Rule) -> &'static Definition {
            match rule {
                $(Rule::$rule => &rule::$module::RULE,)*
            }
        }
    };
}
for_each_rule!(definitions);

/// The handlers of the rules with journey clocks, in rule order.
static JOURNEY_RULES: LazyLock<Vec<JourneyRule>> = LazyLock::new(|| {
    let handler = |rule: &Rule| match definition(*rule).evaluation {
        Evaluation::Journey(handler) => Some(handler),
        _ => None,
    };
    Rule::ALL.iter().filter_map(handler).collect()
});

/// Whether any layer of the norms names an act rule.
pub fn judges_acts(norms: &Norms) -> bool {
    let is_act = |rule: &Rule| matches!(definition(*rule).evaluation, Evaluation::Act(_));
    norms.layers().flat_map(|layer| layer.rules.keys()).any(is_act)
}

/// Passes the recorded changes of a journey to the rules, in order.
pub fn react(journey: &mut Journey, context: &mut TenantContext) {
    let changes = context.take_changes();
    for change in &changes {
        match change {
            Change::State(change) => journey.update_clocks(|clocks, journey| {
                JOURNEY_RULES.iter().for_each(|handler| handler(clocks, journey, context, *change));
            }),
            Change::Act(act, who) => judge(journey, context, act, *who),
        }
    }
    context.recycle_changes(changes);
}

/// Judges an act by the act rules, and raises an alert for each finding.
fn judge(journey: &mut Journey, context: &mut TenantContext, act: &Act, who: ManagerIx) {
    let scope = journey.scope(context);
    for (rule, params) in &scope.rules {
        let Evaluation::Act(find) = definition(*rule).evaluation else { continue };
        for Finding { part, observed, norm } in find(act, journey, params, &scope) {
            let stage_ix = part.as_ref().map(|part| context.stage_ix(journey.pipeline(), Some(part)));
            if stage_ix.is_some_and(|stage_ix| !journey.mark_raised(*rule, stage_ix)) {
                continue;
            }
            let (name, severity) =
                (journey.id.subject(part.as_ref().map(StageId::as_str)), params.severity.unwrap_or_default());
            let entity = Some(journey.id.clone());
            let description = Description { name, severity, entity, observed, norm, ..Description::default() };
            Violation::raise(context, *rule, who, description);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Outcome;
    use crate::domain::id::EntityId;
    use crate::domain::index::JourneyIx;
    use crate::domain::norms::{Params, Scope};
    use crate::domain::rule::definition::Parameter;
    use crate::domain::rule::won_without_amount;

    fn check_texts(name: &str, definition: &Definition) {
        let Definition { title, wording, observed, norm, about, why, takes, .. } = definition;
        for sentence in [wording.lasting, wording.settled, wording.due_soon].concat() {
            for key in sentence.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)) {
                let known = key == "subject" || observed.contains(&key) || norm.contains(&key);
                assert!(known, "{name}: {{{key}}} in {sentence:?}");
            }
        }
        assert_eq!(takes.contains(&Parameter::WarnBefore), !wording.due_soon[0].is_empty(), "{name}");
        assert!(title.iter().chain(about).chain(why).all(|text| !text.is_empty()), "{name}");
    }

    #[test]
    fn message_templates_use_only_evidence_of_their_rule() {
        Rule::ALL.iter().for_each(|rule| check_texts(rule.name(), definition(*rule)));
    }

    #[test]
    fn the_tutorial_shows_a_rule_that_compiles() {
        let code = include_str!("../../../docs/examples/won_without_amount.rs");
        let page = include_str!("../../../docs/add-a-rule.md");
        assert!(page.contains(&format!("```rust\n{code}```")), "docs/add-a-rule.md shows other code");
        check_texts("won_without_amount", &won_without_amount::RULE);
        let Evaluation::Act(judge) = won_without_amount::RULE.evaluation else { panic!("a rule about acts") };
        let findings = |outcome| {
            let journey = Journey::new(EntityId::deal("1"), JourneyIx(0));
            judge(&Act::Closed { outcome, reason: None }, &journey, &Params::default(), &Scope::default()).len()
        };
        assert_eq!((findings(Outcome::Won), findings(Outcome::Lost)), (1, 0));
    }
}

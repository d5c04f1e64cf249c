//! Owns the list of rules: one line each, in the order of the table in the docs, and one file per rule.
//!
//! This file is the bottom of the folder: alerts, norms and figures refer to rules by the ids here. The files of the
//! rules are above journeys and figures, which they judge; `catalog` connects the two.

pub mod catalog;
pub mod clock;
pub mod conversion_low;
pub mod definition;
pub mod discount_over_limit;
pub mod disqualified_without_contact;
pub mod disqualified_without_reason;
pub mod evidence;
pub mod first_response_late;
pub mod installment_not_allowed;
pub mod message;
pub mod message_unanswered;
pub mod missed_call_not_returned;
pub mod neglected;
pub mod next_step_missing;
pub mod next_step_overdue;
pub mod prepayment_too_low;
pub mod quality_low;
pub mod response_slow;
pub mod source_silent;
pub mod special_terms_frequent;
pub mod stage_overdue;
pub mod stage_requirements_unmet;
pub mod stage_reverted;
pub mod stage_skipped;
pub mod stuck_early;
pub mod target_behind;
pub mod terms;
pub mod too_few_attempts;

/// The example of `docs/add-a-rule.md`.
#[cfg(test)]
#[path = "../../docs/examples/won_without_amount.rs"]
pub mod won_without_amount;

/// Passes the table of rules to a macro: the id of each rule, and the file that defines it.
macro_rules! for_each_rule {
    ($apply:ident) => {
        $apply! {
            FirstResponseLate first_response_late
            TooFewAttempts too_few_attempts
            Neglected neglected
            DisqualifiedWithoutReason disqualified_without_reason
            DisqualifiedWithoutContact disqualified_without_contact
            StageSkipped stage_skipped
            StageRequirementsUnmet stage_requirements_unmet
            StageReverted stage_reverted
            StageOverdue stage_overdue
            NextStepMissing next_step_missing
            NextStepOverdue next_step_overdue
            MissedCallNotReturned missed_call_not_returned
            MessageUnanswered message_unanswered
            DiscountOverLimit discount_over_limit
            InstallmentNotAllowed installment_not_allowed
            PrepaymentTooLow prepayment_too_low
            ConversionLow conversion_low
            ResponseSlow response_slow
            QualityLow quality_low
            StuckEarly stuck_early
            SpecialTermsFrequent special_terms_frequent
            TargetBehind target_behind
            SourceSilent source_silent
        }
    };
}
use for_each_rule;

macro_rules! ids {
    ($($rule:ident $module:ident)*) => {
        /// The rules that norms can be set for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Rule {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $rule,)*
        }

        impl Rule {
            /// Every rule, in order.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// The rule with this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.name() == name)
            }

            /// The name in norms, alerts and labels.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => stringify!($module),)*
                }
            }
        }
    };
}
for_each_rule!(ids);

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule names are on the wire: in norms, alerts, labels and stored records. Add a line for a new rule, change none.
    #[test]
    fn rule_names_are_pinned() {
        let names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        let pinned = [
            "first_response_late",
            "too_few_attempts",
            "neglected",
            "disqualified_without_reason",
            "disqualified_without_contact",
            "stage_skipped",
            "stage_requirements_unmet",
            "stage_reverted",
            "stage_overdue",
            "next_step_missing",
            "next_step_overdue",
            "missed_call_not_returned",
            "message_unanswered",
            "discount_over_limit",
            "installment_not_allowed",
            "prepayment_too_low",
            "conversion_low",
            "response_slow",
            "quality_low",
            "stuck_early",
            "special_terms_frequent",
            "target_behind",
            "source_silent",
        ];
        assert_eq!(names, pinned);
    }
}

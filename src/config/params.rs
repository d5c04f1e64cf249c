//! The parameters of rules as keys of the norms: declared, read and shown as the table of
//! [`domain::norms::params`](crate::domain::norms::params) says.

use super::schema::key::ValueKind::{Between, Count, Flag, Length, List, Number, Text};
use super::schema::key::{KeySpec, ValueKind};
use super::schema::typed::{Typed, named, one_of};
use super::schema::value::{Table, Value};
use crate::domain::alert::Severity;
use crate::domain::event::{Channel, Outcome};
use crate::domain::id::EntityKind;
use crate::domain::norms::params::{Parameter, Params, for_each_parameter};
use crate::domain::norms::{Basis, Clock, ClockStart, Response};
use crate::domain::time;

/// What is said of steps of an escalation that do not follow each other.
pub(super) const NOT_ASCENDING: &str = "expected ascending durations";

/// Whether the steps of an escalation follow each other.
pub(super) fn are_ascending(steps: &[time::Length]) -> bool {
    steps.is_sorted_by(|one, next| one.span < next.span)
}

/// What is said of a duration in days that a business clock measures.
pub(super) fn not_in_days(length: &time::Length) -> String {
    format!("{} is in days, which business clocks do not support; use hours", length.span)
}

macro_rules! define {
    ($($parameter:ident $field:ident: $type:ty {
        key: $key:literal $without:ident($($default:literal)?),
        values: $values:expr,
        help: $english:literal, $russian:literal,
    })*) => {
        /// The key of a parameter; `None` for `terms`, which is a table of its own.
        pub const fn key(parameter: Parameter) -> Option<&'static KeySpec> {
            match parameter {
                $(Parameter::$parameter => {
                    Some(const { &KeySpec::new($key, $values, $english).$without($($default)?) })
                })*
                Parameter::Terms => None,
            }
        }

        fn set(params: &mut Params, parameter: Parameter, value: &Value) {
            match parameter {
                $(Parameter::$parameter => params.$field = Typed::read(value),)*
                Parameter::Terms => {}
            }
        }

        /// The value of a parameter in document syntax.
        pub(super) fn show(params: &Params, parameter: Parameter) -> Option<String> {
            match parameter {
                $(Parameter::$parameter => params.$field.as_ref().map(Typed::show),)*
                Parameter::Terms => None,
            }
        }

        /// The durations that a parameter contains.
        pub(super) fn lengths(params: &Params, parameter: Parameter) -> Vec<time::Length> {
            match parameter {
                $(Parameter::$parameter => params.$field.as_ref().map(Typed::lengths).unwrap_or_default(),)*
                Parameter::Terms => Vec::new(),
            }
        }
    };
}

pub(super) const SEVERITY: ValueKind = one_of::<Severity>();
pub(super) const CLOCK: ValueKind = one_of::<Clock>();
const RESPONSE: ValueKind = one_of::<Response>();
const CLOCK_START: ValueKind = one_of::<ClockStart>();
const ENTITY: ValueKind = one_of::<EntityKind>();
const ENDING: ValueKind = one_of::<Outcome>();
const CHANNEL: ValueKind = one_of::<Channel>();
const BASIS: ValueKind = one_of::<Basis>();

for_each_parameter!(define);

/// Reads the given parameters of a rule from its table.
pub(super) fn read(parameters: impl Iterator<Item = Parameter>, table: &Table) -> Params {
    let mut params = Params::default();
    for parameter in parameters {
        if let Some(value) = key(parameter).and_then(|key| table.value(key.name)) {
            set(&mut params, parameter, value);
        }
    }
    params
}

named! { Severity Clock Response ClockStart EntityKind Channel Basis }
// The outcomes that can require a reason.
named! { Outcome: [Outcome::Disqualified, Outcome::Lost]; }

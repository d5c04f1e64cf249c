//! Owns the parameters of rules, one table row each. The list [`Parameter`], the fields of [`Params`], how layers are
//! merged, the keys of the norms and their documentation are derived from the row.

use crate::domain::alert::Severity;
use crate::domain::event::{Channel, Outcome};
use crate::domain::id::EntityKind;
use crate::domain::named::named_enum;
use crate::domain::time::{Length, Span};
use compact_str::CompactString;

/// Passes the table to the macro. A row is
///
/// - the variant of [`Parameter`], and the field of [`Params`] with its type;
/// - the key in the norms, and what applies without it: `in_force()` (some layer must set it), `one_in_force()` (exactly
///   one of the parameters marked so must be set; a layer that sets one unsets the others), `rule_default(VALUE)` or
///   `described(TEXT)`;
/// - the accepted values, in the terms of `config::params`;
/// - what it means, in English and in Russian.
macro_rules! for_each_parameter {
    ($apply:ident) => {
        $apply! {
            Enabled enabled: bool {
                key: "enabled" rule_default("true"), values: Flag,
                help: "`false` disables the rule", "`false` выключает правило",
            }
            Severity severity: Severity {
                key: "severity" rule_default("warning"), values: SEVERITY,
                help: "the severity of a violation; each escalation raises it by one level",
                    "важность нарушения; каждая эскалация повышает её на одну ступень",
            }
            EscalateAfter escalate_after: Vec<Length> {
                key: "escalate_after" rule_default("[]"), values: List(&Length, 0),
                help: "escalation times in ascending order, measured from the deadline on the rule's clock",
                    "моменты эскалации: по возрастанию, от срока, по часам правила",
            }
            Within within: Length {
                key: "within" in_force(), values: Length,
                help: "the deadline, measured from the anchor on the rule's clock",
                    "срок от начала отсчёта, по часам правила (`clock`)",
            }
            WarnBefore warn_before: Length {
                key: "warn_before" described("no warning"), values: Length,
                help: "how long before the deadline a warning is published, on the rule's clock; less than the time allowed, except for `next_step_overdue`",
                    "за сколько до срока предупредить, по часам правила; меньше самого срока, кроме `next_step_overdue`",
            }
            Clock clock: Clock {
                key: "clock" rule_default("wall"), values: CLOCK,
                help: "which time counts: all time or working time; days (`d`) require a wall clock",
                    "какое время учитывается: всё (`wall`) или рабочее (`business`)",
            }
            Response response: Response {
                key: "response" rule_default("attempt"), values: RESPONSE,
                help: "what counts as a response: any touch, or two-way contact",
                    "что считается ответом: любая попытка связаться (`attempt`) или разговор (`conversation`)",
            }
            From from: ClockStart {
                key: "from" rule_default("created"), values: CLOCK_START,
                help: "when the clock starts: at the creation, or again whenever the lead or deal is handed over",
                    "когда начинается отсчёт: при создании (`created`) или заново при каждой передаче (`assigned`)",
            }
            Attempts attempts: i64 {
                key: "attempts" in_force(), values: Count(1, 1000),
                help: "number of touches required", "требуемое число попыток связаться",
            }
            Entities entities: Vec<EntityKind> {
                key: "entities" rule_default("[lead, deal]"), values: List(&ENTITY, 1),
                help: "which entities the rule applies to", "к чему применяется правило: к лидам, к сделкам",
            }
            StepEntities step_entities: Vec<EntityKind> {
                key: "entities" rule_default("[deal]"), values: List(&ENTITY, 1),
                help: "which entities need a next step", "кому нужен следующий шаг: лидам, сделкам",
            }
            AppliesTo applies_to: Vec<Outcome> {
                key: "applies_to" rule_default("[DISQUALIFIED]"), values: List(&ENDING, 1),
                help: "which outcomes require a reason", "какие исходы требуют причины",
            }
            AllowedReasons allowed_reasons: Vec<CompactString> {
                key: "allowed_reasons" described("any reason"), values: List(&Text, 0),
                help: "which reasons are accepted", "какие причины допустимы",
            }
            MinTouches min_touches: i64 {
                key: "min_touches" rule_default("1"), values: Count(1, 1000),
                help: "number of touches required before closing", "требуемое число попыток связаться до закрытия",
            }
            Channels channels: Vec<Channel> {
                key: "channels" rule_default("[EMAIL, CHAT, SMS, MESSENGER]"), values: List(&CHANNEL, 1),
                help: "which channels the rule applies to", "к каким каналам применяется правило",
            }
            MinRing min_ring: Span {
                key: "min_ring" rule_default("0s"), values: ValueKind::Span(time::Span::ZERO, time::Span::DAY),
                help: "a missed call that rang for less needs no call back; wall time, waiting in a queue included",
                    "на пропущенный звонок короче этого перезванивать не нужно; всё время, с ожиданием в очереди",
            }
            TextReturns text_returns: bool {
                key: "text_returns" rule_default("false"), values: Flag,
                help: "`true`: a message that a person sends returns a missed call too",
                    "`true`: сообщение, которое отправил человек, тоже считается ответом на пропущенный звонок",
            }
            QuietAfterClose quiet_after_close: Span {
                key: "quiet_after_close" rule_default("0s"),
                values: ValueKind::Span(time::Span::ZERO, time::Span(365 * time::Span::DAY.0)),
                help: "a contact whose last lead or deal was closed no longer ago than this needs no answer; wall time",
                    "сообщение не требует ответа, если последний лид или сделка контакта закрыты не раньше; всё время",
            }
            Window window: Span {
                key: "window" described("the first of `windows`"), values: Length,
                help: "the size of the evaluated window", "размер окна, за которое проверяется показатель",
            }
            Basis basis: Basis {
                key: "basis" rule_default("cohort"), values: BASIS,
                help: "measured over the leads created in the window, or over those closed in it",
                    "от чего считается доля: от лидов, созданных в окне (`cohort`), или от закрытых в нём (`closed`)",
            }
            AtLeast at_least: f64 {
                key: "at_least" one_in_force(), values: Number(0.0, 1.0),
                help: "the minimum share of leads that a manager converts",
                    "минимальная доля лидов, которые становятся сделками у менеджера",
            }
            OfDepartment of_department: f64 {
                key: "of_department" one_in_force(), values: Number(0.0, 1.0),
                help: "the same, as a fraction of the department's share",
                    "то же, но относительно доли отдела; задаётся один из двух ключей",
            }
            Score min_score: f64 {
                key: "at_least" in_force(), values: Number(0.0, 100.0),
                help: "the minimum mean score", "минимальная средняя оценка",
            }
            AtMostLag at_most_lag: Length {
                key: "at_most" in_force(), values: Length,
                help: "the maximum lag", "максимальная задержка",
            }
            AtMost at_most: f64 {
                key: "at_most" in_force(), values: Number(0.0, 1.0),
                help: "the maximum share", "максимальная доля",
            }
            Quantile quantile: f64 {
                key: "quantile" rule_default("0.9"), values: Between(0.0, 1.0),
                help: "the quantile of the lags that is evaluated", "какой квантиль задержек проверяется",
            }
            MinSample min_sample: i64 {
                key: "min_sample" rule_default("1"), values: Count(1, i64::MAX),
                help: "the minimum sample size; smaller samples are not evaluated",
                    "минимальное число случаев; при меньшем показатель не проверяется",
            }
        }
    };
}

macro_rules! define {
    ($($parameter:ident $field:ident: $type:ty {
        key: $key:literal $without:ident($($default:literal)?),
        values: $values:expr,
        help: $english:literal, $russian:literal,
    })*) => {
        /// The parameters that rules take.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Parameter {
            $(#[doc = concat!("`", $key, "`: ", $english)] $parameter,)*
            /// `terms`: the allowed special terms, which are a table of their own.
            Terms,
        }

        impl Parameter {
            /// What it means, in English and Russian; empty for `terms`.
            pub const fn help(self) -> [&'static str; 2] {
                match self {
                    $(Self::$parameter => [$english, $russian],)*
                    Self::Terms => [""; 2],
                }
            }
        }

        /// The parameters of a rule in a layer; `None` if the layer does not set the key.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Params {
            $(#[doc = concat!("`", $key, "`: ", $english)] pub $field: Option<$type>,)*
        }

        impl Params {
            /// Overwrites every parameter that `over` sets. A layer that sets one of several alternatives unsets the others.
            pub fn merge(&mut self, over: &Self) {
                let replaces = [$((is_alternative!($without), over.$field.is_some())),*].contains(&(true, true));
                $(if over.$field.is_some() || replaces && is_alternative!($without) {
                    self.$field.clone_from(&over.$field);
                })*
            }
        }
    };
}

macro_rules! is_alternative {
    (one_in_force) => {
        true
    };
    ($other:ident) => {
        false
    };
}

for_each_parameter!(define);
pub(crate) use for_each_parameter;

named_enum! {
    /// Which time a norm counts.
    #[derive(Default)]
    pub enum Clock, named "in norms and alerts" {
        /// All time.
        #[default]
        Wall = "wall",
        /// Working time of the scope's calendar.
        Business = "business",
    }

    /// What counts as a response.
    #[derive(Default)]
    pub enum Response, named "in norms and alerts" {
        /// Any touch.
        #[default]
        Attempt = "attempt",
        /// Two-way contact.
        Conversation = "conversation",
    }

    /// When the clock of the first response starts.
    #[derive(Default)]
    pub enum ClockStart, named "in norms" {
        /// At the creation.
        #[default]
        Created = "created",
        /// At each assignment before the response.
        Assigned = "assigned",
    }

    /// The population that a conversion is counted over.
    #[derive(Default)]
    pub enum Basis, named "in norms and alerts" {
        /// Entities created in the window.
        #[default]
        Cohort = "cohort",
        /// Entities closed in the window.
        Closed = "closed",
    }
}

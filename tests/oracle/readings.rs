//! The chosen readings of ambiguous clauses of the specification, each a constant with its alternative.
//!
//! Check them first when the program and the oracle disagree.

/// "The manager on an alert is the one responsible at its moment": each status names the manager responsible at its own
/// instant. `false`: all statuses name the manager of FIRING. (Contact alerts are fixed at the first call.)
pub const ENTITY_ALERT_MANAGER_AT_EACH_STATUS: bool = true;

/// Decision 6, "what is nobody's counts in department `unknown`": an alert without a manager has
/// `department_id: unknown`. `false`: the field is absent.
pub const UNASSIGNED_ALERT_IS_IN_UNKNOWN: bool = false;

/// The alert is about one call: `interaction_id` is the `call_id` of the missed call that started the clock.
/// `false`: absent.
pub const MISSED_CALL_ALERT_NAMES_CALL: bool = true;

/// Decision 5, "`now` rows: responsible at T": unreturned calls, unanswered messages and open contact alerts count for
/// the manager responsible at T for the clock's primary entity. `false`: for the manager fixed at the first call.
pub const CONTACT_NOW_FIGURES_BY_RESPONSIBLE_AT_T: bool = true;

/// Decision 23 says "the earliest dated touch known" and does not mention closings, so a touch of a lead that was closed
/// unanswered is still its first response (lag only; it is not judged). `false`: it has no lag.
pub const FIRST_RESPONSE_AFTER_CLOSING_GIVES_LAG: bool = true;

/// Decision 5 literally, "lags: responsible when the act became known", even if the entity's creation (and with it the
/// lag) became known later. `true`: the manager responsible when both were known.
pub const LAG_MANAGER_WHEN_CREATION_KNOWN_TOO: bool = false;

/// A conversation that began before a message was received does not settle it (as for missed calls, decision 15).
/// `false`: it settles everything pending when it becomes known, with a lag of at least 0.
pub const CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES: bool = true;

/// A message on a channel missing from the rule's `channels` requires no reply: it counts neither in `reply` nor in
/// `unanswered_messages`. `false`: it counts in the figures like any other.
pub const CHANNELS_LIMIT_THE_FIGURES: bool = true;

/// `amount_won` is the deal's amount as known at T. `false`: as known at the closing.
pub const AMOUNT_WON_AS_KNOWN_AT_T: bool = true;

/// An amount in `terms_offered` becomes the deal's last known amount. `false`: it belongs to the offer only.
pub const TERMS_SET_THE_DEALS_AMOUNT: bool = false;

/// `reopened` with a stage moves the entity there even if it was already open. `false`: then it changes nothing.
pub const REOPENED_PLACES_AN_OPEN_ENTITY: bool = true;

/// "The most recently created": entities with an unknown creation count as the oldest. `false`: they count from the
/// instant when they were first seen.
pub const UNKNOWN_CREATION_IS_OLDEST: bool = true;

/// Decision 10, "tied by the first message that belongs to an entity": an automatic message ties its thread too.
pub const AUTOMATIC_MESSAGES_TIE_THREADS: bool = true;

/// Fixed reading c literally: a call back that starts in the millisecond in which a missed call ends settles it, even if
/// it precedes it in event order. `false`: only a later event settles it.
pub const CALL_BACK_AT_THE_SAME_INSTANT_COUNTS: bool = true;

/// Decision 10, "a stage date lies between the entry into the held stage and `occurred_at`", literally: a later
/// reopening or closing is no bound. `false`: the date is not before the last closing or reopening either.
pub const STAGE_DATE_MAY_PRECEDE_A_REOPENING: bool = true;

/// If an entity with a known creation becomes WON or CONVERTED without having been in a stage, every required stage was
/// skipped. `false`: nothing is judged.
pub const WINNING_WITHOUT_A_KNOWN_STAGE_SKIPS: bool = true;

/// If the pipeline becomes known while the stage is unchanged, the visit continues in the scope of that moment, because
/// its clock is known only then. `false`: in the scope of the entry into the stage.
pub const NAMING_THE_PIPELINE_SETS_THE_SCOPE: bool = true;

/// The topic names in `topic:NAME`: the default names, in the order crm, telephony, email.
pub const TOPICS: [&str; 3] = ["crm.events", "telephony.events", "email.events"];

/// "Each skipped stage once per entity": stages of the same name in two pipelines are two stages. `false`: one stage.
pub const SKIPPED_ONCE_PER_PIPELINE: bool = true;

/// Decision 8, "no cohort without a known creation", also applies to stage conversion. `false`: its cohort uses the date
/// of the stage, and decision 9 defines what counts of an unknown past.
pub const STAGE_CONVERSION_NEEDS_A_CREATION: bool = false;

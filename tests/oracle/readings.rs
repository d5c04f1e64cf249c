//! The readings of clauses on which two honest readers may still differ, each a constant with its alternative.
//! They are the places to look at first when the program and the oracle disagree.

/// "The manager on an alert is the one responsible at its moment": each status names the manager responsible at that
/// status' own instant. `false`: all statuses name the one of FIRING. (Contact alerts are fixed at the first call.)
pub const ENTITY_ALERT_MANAGER_AT_EACH_STATUS: bool = true;

/// Decision 6, "what is nobody's counts in department `unknown`": so an alert without a manager carries
/// `department_id: unknown`. `false`: the field is absent.
pub const NOBODYS_ALERT_IS_IN_UNKNOWN: bool = false;

/// The alert is about one call: `interaction_id` is the `call_id` of the missed call that started the clock.
/// `false`: absent.
pub const MISSED_CALL_ALERT_NAMES_CALL: bool = true;

/// Decision 5, "`now` rows: responsible at T": unreturned calls, unanswered messages and open contact alerts count for
/// the manager responsible at T for the clock's primary entity. `false`: for the manager fixed at the first call.
pub const CONTACT_NOW_FIGURES_BY_RESPONSIBLE_AT_T: bool = true;

/// Decision 23 says "the earliest dated touch known" and nothing of closings, so a touch of a lead that was closed
/// unanswered is still its first response (lag only; it is not judged). `false`: it gives no lag.
pub const FIRST_RESPONSE_AFTER_CLOSING_GIVES_LAG: bool = true;

/// Decision 5 to the letter, "lags: responsible when the act became known", even if the entity's creation (and with it
/// the lag) became known only later. `true`: responsible when both were known.
pub const LAG_MANAGER_WHEN_CREATION_KNOWN_TOO: bool = false;

/// A conversation that began before a message was received does not answer it (as for missed calls, decision 15).
/// `false`: it ends whatever is pending when it becomes known, with lag 0 at least.
pub const CONVERSATION_ANSWERS_ONLY_EARLIER_MESSAGES: bool = true;

/// A message on a channel that the rule's `channels` leaves out asks for no answer: it is in neither `reply` nor
/// `unanswered_messages`. `false`: it counts in the figures like any other.
pub const CHANNELS_LIMIT_THE_FIGURES: bool = true;

/// `amount_won` is the deal's amount as it is known at T. `false`: as it was at the closing.
pub const AMOUNT_WON_AS_KNOWN_AT_T: bool = true;

/// An amount in `terms_offered` is the deal's last known amount from then on. `false`: it is the offer's alone.
pub const TERMS_SET_THE_DEALS_AMOUNT: bool = false;

/// `reopened` with a stage places the entity there even if it was open already. `false`: then it changes nothing.
pub const REOPENED_PLACES_AN_OPEN_ENTITY: bool = true;

/// "The most recently created" among entities some of which have an unknown creation: those are the oldest.
/// `false`: they count from the instant when they were first seen.
pub const UNKNOWN_CREATION_IS_OLDEST: bool = true;

/// Decision 10, "tied by the first message that belongs to an entity": an automatic message ties its thread too.
pub const AUTOMATIC_MESSAGES_TIE_THREADS: bool = true;

/// Fixed reading c to the letter: a call back that starts in the very millisecond in which a missed call ends answers
/// it, even if it comes before it in the order of effect. `false`: only what comes after it in order answers.
pub const CALL_BACK_AT_THE_SAME_INSTANT_COUNTS: bool = true;

/// Decision 10, "a stage date lies between the entry into the held stage and `occurred_at`", to the letter: a reopening
/// (or closing) since is no bound. `false`: the date is not before the last closing or reopening either.
pub const STAGE_DATE_MAY_PRECEDE_A_REOPENING: bool = true;

/// An entity whose creation was seen and that was never in a stage is WON or CONVERTED: every required stage was
/// skipped. `false`: nothing is judged.
pub const WINNING_WITHOUT_A_KNOWN_STAGE_SKIPS: bool = true;

/// A pipeline named for the first time while the stage stays: the stay goes on, in the scope of that moment, for only
/// then is its clock known. `false`: in the scope of the entry into the stage.
pub const NAMING_THE_PIPELINE_SETS_THE_SCOPE: bool = true;

/// What `topic:NAME` names: the topics by their default names, in the order crm, telephony, email.
pub const TOPICS: [&str; 3] = ["crm.events", "telephony.events", "email.events"];

/// "Each skipped stage once per entity": stages of one name in two pipelines are two stages. `false`: one.
pub const SKIPPED_ONCE_PER_PIPELINE: bool = true;

/// Decision 8, "no cohort without a known creation", also for stage conversion. `false`: its cohort goes by the date of
/// the stage, and decision 9 says what counts of an unknown past.
pub const STAGE_CONVERSION_NEEDS_A_CREATION: bool = false;

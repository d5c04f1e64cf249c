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

// ---- calls

/// "A `call_id` counts once for ever" still holds for `call_started`: only the first of a `call_id`, before its first
/// `call_ended`, is an attempt; a later one may name a session and a start. `false`: each is an attempt of the call.
pub const ONLY_THE_FIRST_CALL_STARTED_COUNTS: bool = true;

/// "Its direction is that of its earliest leg, as far as known": a leg that started and has not ended counts. `false`:
/// only ended legs do.
pub const A_STARTED_LEG_COUNTS_FOR_THE_DIRECTION: bool = true;

/// "A conversation counts for every entity and number on any known leg": an inbound leg is known by its `call_ended`, as in
/// the first edition. `true`: also those of an inbound `call_started`.
pub const AN_INBOUND_START_BELONGS: bool = false;

/// `neglected` counts from the last touch: if a leg that becomes known later dates the touch of a call back, the clock is
/// withdrawn and starts again from there. `false`: it goes on as it was.
pub const AN_EARLIER_TOUCH_MOVES_THE_NEGLECTED_CLOCK: bool = true;

/// Decision 2, "`call_ended` of that call adds no second touch": the touch of a call that was seen starting is dated at its
/// `call_started`. `false`: the `call_ended` is an attempt at the start that it reports too, and the earlier one dates the
/// touch.
pub const THE_END_OF_A_STARTED_CALL_IS_NO_SECOND_ATTEMPT: bool = true;

/// "Alerts that the first version ended stay ended": so do clocks that it ended in time. `false`: a clock that a replaced
/// version had ended runs on, if its deadline is still ahead.
pub const A_REPLACED_ACT_STILL_ENDED_ITS_CLOCKS: bool = true;

/// "A version that is now missed" (the one before was not) "opens its demand at its end": even if the call has an earlier
/// missed leg, whose demand the conversation had prevented. `false`: at the end of the first missed leg.
pub const A_MISSED_VERSION_OPENS_AT_ITS_OWN_END: bool = true;

/// "The entity's contacts as known when the act becomes known": a deleted entity has none any more. `true`: it keeps them.
pub const A_DELETED_ENTITY_STILL_LINKS_ITS_CONTACTS: bool = false;

// ---- messages

/// "Ends the contact's demands dated up to and including it": also if the interaction itself opened no clock (automatic,
/// quiet after a closing, on another channel, a short ring). `false`: then the dismissal names nothing.
pub const WHAT_DID_NOT_WAIT_CAN_BE_DISMISSED: bool = true;

/// "By the event's manager, else the demand's": the demand of the interaction that is named, if it was pending. `false`:
/// the first demand that the dismissal took off the list.
pub const A_DISMISSAL_COUNTS_FOR_THE_DEMAND_THAT_IT_NAMES: bool = true;

/// "CONVERTED: the wait goes on and from then on belongs to all deals that name the lead too": a message that names a
/// lead already converted belongs to the lead alone. `true`: a conversation with such a deal answers it too.
pub const A_CONVERTED_LEADS_LATER_MESSAGES_BELONG_TO_ITS_DEALS: bool = false;

//! Owns the table of the endpoints of `/api/v1`: paths, parameters and answers. The routes, the checks of parameters and the
//! OpenAPI document are made of it.

use super::schema::{Field, Kind, list, optional, required};
use crate::dataflow::live::COURSES;
use crate::domain::alert::Severity;
use crate::domain::figures::behind::BEHIND;
use crate::domain::rule::Rule;
use crate::edge::deliveries::Outcome;

/// An endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its path below `/api/v1`.
    pub(super) path: &'static str,
    /// Its name in the OpenAPI document.
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// Its query parameters.
    pub(super) parameters: &'static [Parameter],
    pub(super) answer: Answer,
    /// The fields of the JSON that is sent; `None`: it is a `GET`.
    pub(super) body: Option<&'static [Field]>,
}

/// A query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: ParameterKind,
    pub(super) help: &'static str,
}

/// The values of a parameter.
#[derive(Clone, Copy, Debug)]
pub(super) enum ParameterKind {
    /// Any text, such as an id.
    Text,
    /// One of these names.
    Names(fn() -> Vec<&'static str>),
    /// A whole number from 1 on.
    Count(u64),
    /// A duration such as `30m`.
    Duration,
    /// Where a list goes on: the `next` of the answer before.
    Cursor,
}

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// An object with these fields.
    Object(&'static str, &'static [Field]),
    /// Metric rows.
    Rows,
    /// Open alerts.
    Alerts,
    /// Server-sent events with open alerts.
    Events,
    /// The document itself.
    OpenApi,
}

const fn text(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, kind: ParameterKind::Text, help }
}

const fn names(name: &'static str, values: fn() -> Vec<&'static str>, help: &'static str) -> Parameter {
    Parameter { name, kind: ParameterKind::Names(values), help }
}

const fn get(
    path: &'static str,
    name: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    answer: Answer,
) -> Endpoint {
    Endpoint { path, name, summary, parameters, answer, body: None }
}

const WINDOW: Parameter = text("window", "a configured window such as `24h`, or `now`");
const DEPARTMENT: Parameter = text("department", "only of this department");
const MANAGER: Parameter = text("manager", "only of this manager");
const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: ParameterKind::Count(MOST_LISTED),
    help: "the most entries of the answer; 100 without it",
};
const CURSOR: Parameter = Parameter {
    name: "cursor",
    kind: ParameterKind::Cursor,
    help: "where the list goes on: the `next` of the answer before",
};
const STATE: Parameter = names("state", || vec!["running", "due_soon", "overdue"], "only clocks in this state");

/// The most entries of a list that an answer can have.
pub(super) const MOST_LISTED: u64 = 1000;

fn rules() -> Vec<&'static str> {
    Rule::ALL.iter().map(|rule| rule.name()).collect()
}

fn severities() -> Vec<&'static str> {
    Severity::ALL.iter().map(|severity| severity.name()).collect()
}

fn outcomes() -> Vec<&'static str> {
    Outcome::ALL.map(Outcome::name).to_vec()
}

/// The figures whose members are listed.
pub(super) fn figures() -> Vec<&'static str> {
    BEHIND.iter().map(|figure| figure.name).collect()
}

/// The figures whose course is kept.
pub(super) fn courses() -> Vec<&'static str> {
    COURSES.iter().map(|course| course.name).collect()
}

pub(super) const TENANTS: Endpoint = get(
    "/tenants",
    "listTenants",
    "the tenants of this process, each with its shard, its watermark and whether there is a back-fill",
    &[],
    Answer::Object(
        "Tenants",
        &[list(
            "tenants",
            &[
                required("tenant_id", Kind::Text),
                required("shard", Kind::Count),
                optional("at", Kind::Time),
                optional("backfill", Kind::Flag),
            ],
        )],
    ),
);
pub(super) const TENANT: Endpoint =
    get("/tenants/{tenant}", "getTenant", "the rows of the whole tenant", &[WINDOW], Answer::Rows);
pub(super) const MANAGERS: Endpoint =
    get("/tenants/{tenant}/managers", "listManagers", "the rows of every manager", &[WINDOW, DEPARTMENT], Answer::Rows);
pub(super) const MANAGER_ROWS: Endpoint =
    get("/tenants/{tenant}/managers/{id}", "getManager", "the rows of one manager", &[WINDOW], Answer::Rows);
pub(super) const DEPARTMENTS: Endpoint =
    get("/tenants/{tenant}/departments", "listDepartments", "the rows of all departments", &[WINDOW], Answer::Rows);
pub(super) const DEPARTMENT_ROWS: Endpoint =
    get("/tenants/{tenant}/departments/{id}", "getDepartment", "the rows of one department", &[WINDOW], Answer::Rows);
pub(super) const ALERTS: Endpoint = get(
    "/tenants/{tenant}/alerts",
    "listAlerts",
    "the open alerts, warnings (`DUE_SOON`) included",
    &[
        names("rule", rules, "only of this rule"),
        MANAGER,
        DEPARTMENT,
        names("severity", severities, "only of this severity"),
        text("entity", "only about this lead or deal, such as `lead:17`"),
    ],
    Answer::Alerts,
);

const CONTACTS_ANSWER: Answer = Answer::Object(
    "Contacts",
    &[
        required("tenant_id", Kind::Text),
        list(
            "contacts",
            &[required("kind", Kind::Names(&["phone", "email", "handle"])), required("value", Kind::Text)],
        ),
    ],
);
pub(super) const TAKEN: Endpoint = Endpoint {
    path: "/tenants/{tenant}/alerts/{alert}/taken",
    name: "takeAlert",
    summary: "takes care of an open alert: writes `alert_taken` to the CRM events; roles `reviewer` and `admin`",
    parameters: &[],
    answer: Answer::Object("Accepted", &[required("event_id", Kind::Text)]),
    body: Some(&[optional("manager_id", Kind::Text)]),
};
pub(super) const ALERT_CONTACTS: Endpoint = get(
    "/tenants/{tenant}/alerts/{alert}/contacts",
    "listAlertContacts",
    "the numbers and addresses of the customer whom an open alert is about, for instance to call back; role `contacts`",
    &[],
    CONTACTS_ANSWER,
);

const CLOCK_FIELDS: &[Field] = &[
    required("rule", Kind::Text),
    required("subject", Kind::Text),
    required("state", Kind::Text),
    required("anchor_at", Kind::Time),
    optional("due_at", Kind::Time),
    required("clock", Kind::Names(&["wall", "business"])),
    optional("calendar", Kind::Text),
    optional("within_seconds", Kind::Number),
    required("counted_seconds", Kind::Number),
    optional("stopped_at", Kind::Time),
    optional(
        "alert",
        Kind::Object(&[
            required("alert_id", Kind::Text),
            required("level", Kind::Count),
            required("severity", Kind::Text),
            optional("next_escalation_at", Kind::Time),
        ]),
    ),
];
const ENTITY_ANSWER: Answer = Answer::Object(
    "EntityReport",
    &[
        required("tenant_id", Kind::Text),
        required("entity", Kind::Text),
        required("at", Kind::Time),
        optional("manager_id", Kind::Text),
        optional("department_id", Kind::Text),
        optional("pipeline_id", Kind::Text),
        optional("stage_id", Kind::Text),
        optional("stage_since", Kind::Time),
        optional("created_at", Kind::Time),
        required("open", Kind::Flag),
        optional("outcome", Kind::Text),
        optional("closed_at", Kind::Time),
        optional("deleted_at", Kind::Time),
        optional("merged_into", Kind::Text),
        optional("merged", Kind::Texts),
        optional("lead_id", Kind::Text),
        required("contacts", Kind::Texts),
        required(
            "touches",
            Kind::Object(&[
                required("n", Kind::Count),
                optional("first_at", Kind::Time),
                optional("last_at", Kind::Time),
            ]),
        ),
        list("clocks", CLOCK_FIELDS),
        list(
            "history",
            &[required("at", Kind::Time), required("event", Kind::Text), optional("manager_id", Kind::Text)],
        ),
    ],
);
const REPORT: &str = "the entity report: current state, clocks, history";
pub(super) const LEAD: Endpoint = get("/tenants/{tenant}/leads/{id}", "getLead", REPORT, &[], ENTITY_ANSWER);
pub(super) const DEAL: Endpoint = get("/tenants/{tenant}/deals/{id}", "getDeal", REPORT, &[], ENTITY_ANSWER);
const CONTACTS: &str = "the numbers and addresses of its customer; role `contacts`";
pub(super) const LEAD_CONTACTS: Endpoint =
    get("/tenants/{tenant}/leads/{id}/contacts", "listLeadContacts", CONTACTS, &[], CONTACTS_ANSWER);
pub(super) const DEAL_CONTACTS: Endpoint =
    get("/tenants/{tenant}/deals/{id}/contacts", "listDealContacts", CONTACTS, &[], CONTACTS_ANSWER);

pub(super) const CLOCKS: Endpoint = get(
    "/tenants/{tenant}/clocks",
    "listClocks",
    "the clocks that run, those with the nearest deadlines first",
    &[
        Parameter {
            name: "due_within",
            kind: ParameterKind::Duration,
            help: "only those whose deadline is no further ahead than this; those past it are included",
        },
        STATE,
        names("rule", rules, "only of this rule"),
        MANAGER,
        DEPARTMENT,
        LIMIT,
    ],
    Answer::Object(
        "Clocks",
        &[
            required("tenant_id", Kind::Text),
            required("at", Kind::Time),
            required("n", Kind::Count),
            list(
                "clocks",
                &[
                    required("rule", Kind::Text),
                    required("subject", Kind::Text),
                    required("state", Kind::Names(&["running", "due_soon", "overdue"])),
                    optional("entity", Kind::Text),
                    optional("manager_id", Kind::Text),
                    optional("department_id", Kind::Text),
                    required("anchor_at", Kind::Time),
                    required("due_at", Kind::Time),
                    required("clock", Kind::Names(&["wall", "business"])),
                    optional("calendar", Kind::Text),
                    optional("within_seconds", Kind::Number),
                    required("counted_seconds", Kind::Number),
                    optional(
                        "alert",
                        Kind::Object(&[
                            required("alert_id", Kind::Text),
                            required("level", Kind::Count),
                            required("severity", Kind::Text),
                            optional("next_escalation_at", Kind::Time),
                        ]),
                    ),
                ],
            ),
        ],
    ),
);
pub(super) const MEMBERS: Endpoint = get(
    "/tenants/{tenant}/figures/{figure}/members",
    "listMembers",
    "what stands behind a figure: as many members as it counts, the latest first; of a share the members of its sample",
    &[
        MANAGER,
        DEPARTMENT,
        text("window", "a configured window such as `24h`; not for current figures; the longest without it"),
        names("basis", || vec!["closed", "cohort"], "of a share with two: which one; `closed` without it"),
        names("direction", || vec!["inbound", "outbound", "sent", "received"], "of calls and messages"),
        names("outcome", || vec!["answered", "missed", "unanswered"], "of calls"),
        text("channel", "of messages"),
        text("pipeline", "of figures by stage"),
        text("deal_stage", "of figures by stage"),
        names("rule", rules, "of violations, alerts and warnings"),
        LIMIT,
        CURSOR,
    ],
    Answer::Object(
        "Members",
        &[
            required("tenant_id", Kind::Text),
            required("figure", Kind::Text),
            optional("window", Kind::Text),
            required("at", Kind::Time),
            required("n", Kind::Count),
            optional("k", Kind::Count),
            optional("elsewhere", Kind::Count),
            list(
                "members",
                &[
                    optional("at", Kind::Time),
                    optional("manager_id", Kind::Text),
                    required("department_id", Kind::Text),
                    optional("entity", Kind::Text),
                    optional("contact", Kind::Text),
                    optional("interaction_id", Kind::Text),
                    optional("counts", Kind::Flag),
                    optional("value", Kind::Number),
                ],
            ),
            optional("next", Kind::Text),
        ],
    ),
);
pub(super) const HISTORY: Endpoint = get(
    "/tenants/{tenant}/figures/{figure}/history",
    "getHistory",
    "the course of a figure over the last day, one point for each slide of its window",
    &[MANAGER, DEPARTMENT],
    Answer::Object(
        "History",
        &[
            required("tenant_id", Kind::Text),
            required("figure", Kind::Text),
            required("subject", Kind::Text),
            required("window", Kind::Text),
            list("points", &[required("at", Kind::Time), optional("value", Kind::Number)]),
        ],
    ),
);
pub(super) const PLANS: Endpoint = get(
    "/tenants/{tenant}/plans",
    "listPlans",
    "the planned steps that are neither done nor cancelled, those with the earliest deadlines first",
    &[MANAGER, DEPARTMENT, LIMIT],
    Answer::Object(
        "Plans",
        &[
            required("tenant_id", Kind::Text),
            required("at", Kind::Time),
            required("n", Kind::Count),
            list(
                "plans",
                &[
                    required("entity", Kind::Text),
                    required("activity_id", Kind::Text),
                    required("made_at", Kind::Time),
                    optional("deadline", Kind::Time),
                    required("overdue", Kind::Flag),
                    optional("manager_id", Kind::Text),
                    optional("department_id", Kind::Text),
                ],
            ),
        ],
    ),
);
pub(super) const PEOPLE: Endpoint = get(
    "/tenants/{tenant}/people",
    "listPeople",
    "the managers, in the order in which the page says who to talk to first; and the departments with their heads",
    &[
        WINDOW,
        DEPARTMENT,
        names("language", || vec!["en", "ru"], "the language of messages; without it that of the configuration"),
    ],
    Answer::Object(
        "People",
        &[
            required("tenant_id", Kind::Text),
            required("at", Kind::Time),
            required("window", Kind::Text),
            list(
                "managers",
                &[
                    required("id", Kind::Text),
                    optional("name", Kind::Text),
                    optional("department", Kind::Text),
                    required("open_alerts", Kind::Count),
                    optional("longest_wait_seconds", Kind::Number),
                    optional(
                        "about",
                        Kind::Object(&[
                            required("alert_id", Kind::Text),
                            required("rule", Kind::Text),
                            required("severity", Kind::Text),
                            required("message", Kind::Text),
                        ]),
                    ),
                ],
            ),
            list(
                "departments",
                &[
                    required("id", Kind::Text),
                    optional("name", Kind::Text),
                    optional("parent", Kind::Text),
                    optional("head", Kind::Text),
                ],
            ),
        ],
    ),
);
pub(super) const TARGETS: Endpoint = get(
    "/tenants/{tenant}/targets",
    "listTargets",
    "plan, fact, pace and forecast of every running target",
    &[MANAGER, DEPARTMENT],
    Answer::Object(
        "Targets",
        &[
            required("tenant_id", Kind::Text),
            required("at", Kind::Time),
            list(
                "targets",
                &[
                    required("subject", Kind::Text),
                    required("target", Kind::Text),
                    required("figure", Kind::Text),
                    required("per", Kind::Text),
                    optional("currency", Kind::Text),
                    required("at_least", Kind::Number),
                    required("fact", Kind::Number),
                    required("pace", Kind::Number),
                    required("share", Kind::Number),
                    optional("forecast", Kind::Number),
                    optional("incomplete", Kind::Flag),
                ],
            ),
        ],
    ),
);
pub(super) const REVIEWS: Endpoint = get(
    "/tenants/{tenant}/reviews",
    "listReviews",
    "the calls and messages of the last seven days that were picked for review, the latest day first",
    &[
        names("state", || vec!["open", "answered", "given_up"], "only those in this state"),
        text("day", "only those of this day, such as `2026-03-02`"),
        MANAGER,
        DEPARTMENT,
        LIMIT,
    ],
    Answer::Object(
        "Reviews",
        &[
            required("tenant_id", Kind::Text),
            required("n", Kind::Count),
            list(
                "reviews",
                &[
                    required("interaction_id", Kind::Text),
                    required("kind", Kind::Names(&["call", "message"])),
                    optional("direction", Kind::Text),
                    optional("talk_seconds", Kind::Number),
                    optional("recording_url", Kind::Text),
                    optional("channel", Kind::Text),
                    required("at", Kind::Time),
                    required("day", Kind::Text),
                    required("requested_at", Kind::Time),
                    required("manager_id", Kind::Text),
                    required("department_id", Kind::Text),
                    optional("entity", Kind::Text),
                    optional("outcome", Kind::Text),
                    optional("pipeline_id", Kind::Text),
                    optional("stage_id", Kind::Text),
                    required("state", Kind::Names(&["open", "answered", "given_up"])),
                    optional("score", Kind::Number),
                    optional("verdict", Kind::Names(&["SUCCESS", "FAILURE", "NEUTRAL"])),
                    optional("reviewed_at", Kind::Time),
                ],
            ),
        ],
    ),
);
pub(super) const REVIEW: Endpoint = Endpoint {
    path: "/tenants/{tenant}/reviews/{interaction}",
    name: "review",
    summary: "scores a call or message: writes `interaction_reviewed` to the CRM events; roles `reviewer` and `admin`",
    parameters: &[],
    answer: Answer::Object("Accepted", &[required("event_id", Kind::Text)]),
    body: Some(&[
        required("score", Kind::Range(0, 100)),
        required("verdict", Kind::Names(&["SUCCESS", "FAILURE", "NEUTRAL"])),
        Field {
            name: "checklist",
            kind: Kind::List(&[required("item", Kind::Text), required("passed", Kind::Flag)]),
            need: false,
        },
        optional("comment", Kind::Text),
    ]),
};
pub(super) const CASES: Endpoint = get(
    "/tenants/{tenant}/cases",
    "listCases",
    "the best and worst cases to learn from: reviewed calls and messages, the highest and the lowest scores first",
    &[names("verdict", || vec!["SUCCESS", "FAILURE"], "only of this verdict"), MANAGER, DEPARTMENT, LIMIT],
    Answer::Object(
        "Cases",
        &[
            required("tenant_id", Kind::Text),
            required("n", Kind::Count),
            list(
                "cases",
                &[
                    required("interaction_id", Kind::Text),
                    required("manager_id", Kind::Text),
                    required("department_id", Kind::Text),
                    required("verdict", Kind::Names(&["SUCCESS", "FAILURE"])),
                    required("score", Kind::Number),
                    required("reviewed_at", Kind::Time),
                    optional("kind", Kind::Text),
                    optional("recording_url", Kind::Text),
                    optional("entity", Kind::Text),
                ],
            ),
        ],
    ),
);
pub(super) const DELIVERIES: Endpoint = get(
    "/tenants/{tenant}/deliveries",
    "listDeliveries",
    "what `notify` sent to whom, the latest first; a message that follows its alert is one entry",
    &[
        text("manager", "only about this manager, or sent to this manager"),
        DEPARTMENT,
        text("entity", "only about this lead or deal, such as `lead:17`"),
        names("rule", rules, "only of this rule"),
        names("outcome", outcomes, "only with this outcome"),
        LIMIT,
    ],
    Answer::Object(
        "Deliveries",
        &[
            required("tenant_id", Kind::Text),
            required("n", Kind::Count),
            list(
                "deliveries",
                &[
                    required("alert_id", Kind::Text),
                    required("rule", Kind::Text),
                    optional("entity", Kind::Text),
                    optional("manager_id", Kind::Text),
                    optional("department_id", Kind::Text),
                    required("channel", Kind::Text),
                    optional("person_id", Kind::Text),
                    required(
                        "outcome",
                        Kind::Names(&[Outcome::Sent.name(), Outcome::Waiting.name(), Outcome::Refused.name()]),
                    ),
                    required("status", Kind::Text),
                    required("level", Kind::Count),
                    required("at", Kind::Time),
                    optional("taken_by", Kind::Text),
                ],
            ),
        ],
    ),
);
pub(super) const STREAM: Endpoint = get(
    "/tenants/{tenant}/stream",
    "streamAlerts",
    "the open alerts as server-sent events: all of them at first and whenever one changes",
    &[],
    Answer::Events,
);
pub(super) const OPENAPI: Endpoint = get("/openapi.json", "getDocument", "this document", &[], Answer::OpenApi);

/// All endpoints.
pub(super) const ENDPOINTS: &[&Endpoint] = &[
    &TENANTS,
    &TENANT,
    &MANAGERS,
    &MANAGER_ROWS,
    &DEPARTMENTS,
    &DEPARTMENT_ROWS,
    &ALERTS,
    &TAKEN,
    &ALERT_CONTACTS,
    &LEAD,
    &DEAL,
    &LEAD_CONTACTS,
    &DEAL_CONTACTS,
    &CLOCKS,
    &MEMBERS,
    &HISTORY,
    &PEOPLE,
    &PLANS,
    &TARGETS,
    &REVIEWS,
    &REVIEW,
    &CASES,
    &DELIVERIES,
    &STREAM,
    &OPENAPI,
];

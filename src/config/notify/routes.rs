//! Owns the routes: which alerts go to whom.

use super::channel::Channel;
use super::people::MAILBOX;
use super::targets::Targets;
use crate::config::schema::key::ValueKind::{Count, Either, Flag, Form as Of, List, Name, Table as Keys, Text};
use crate::config::schema::key::{ANY, Form, KeySpec, ValueKind};
use crate::config::schema::reader::Reader;
use crate::config::schema::typed::{named, one_of};
use crate::config::schema::value::{Table, Value};
use crate::domain::alert::{Alert, Severity, Status};
use crate::domain::named::named_enum;
use crate::domain::rule::Rule;
use crate::domain::time::Span;

/// Who is informed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The manager of the alert.
    Manager,
    /// The head of the manager's department; of the department above, if that is the manager.
    Head,
    /// The head of the department above that of [`Self::Head`].
    HeadOfHead,
    /// A person by the id in the CRM.
    Person(String),
    /// A user of Bitrix24.
    User(i64),
    /// A chat of Telegram.
    Chat(i64),
    /// An e-mail address.
    Mail(String),
}

/// Which alerts a route is for. An empty list stands for all values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The rules.
    pub rules: Vec<Rule>,
    /// The severities.
    pub severities: Vec<Severity>,
    /// The statuses; empty: those with which something begins or goes on.
    pub statuses: Vec<Status>,
    /// The number of escalations.
    pub level: Option<u32>,
    /// The tenants.
    pub tenants: Vec<String>,
    /// The departments.
    pub departments: Vec<String>,
    /// The managers.
    pub managers: Vec<String>,
}

impl Selector {
    /// Whether the current status of an alert is meant.
    pub fn fits(&self, alert: &Alert) -> bool {
        fn allows<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        let named = |list: &[String], name: Option<&str>| {
            list.is_empty() || name.is_some_and(|name| list.iter().any(|listed| listed == name))
        };
        let begins = matches!(alert.status, Status::DueSoon | Status::Firing | Status::Escalated | Status::Raised);
        allows(&self.rules, &alert.rule)
            && allows(&self.severities, &alert.severity)
            && if self.statuses.is_empty() { begins } else { self.statuses.contains(&alert.status) }
            && self.level.is_none_or(|level| level == alert.level)
            && named(&self.tenants, Some(alert.tenant.as_str()))
            && named(&self.departments, alert.department.as_ref().map(|id| id.as_str()))
            && named(&self.managers, alert.manager.as_ref().map(|id| id.as_str()))
    }
}

/// How alerts become one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// What the alerts of a message have in common.
    pub by: Vec<GroupKey>,
    /// How long further alerts are waited for.
    pub wait: Span,
    /// The alerts that a message names; of others it says how many.
    pub most: usize,
}

named_enum! {
    /// What the alerts of a message have in common.
    pub enum GroupKey, named "in the configuration" {
        /// The company.
        Tenant = "tenant",
        /// The department.
        Department = "department",
        /// The manager.
        Manager = "manager",
        /// The rule.
        Rule = "rule",
        /// The lead or deal.
        Entity = "entity",
    }
}

named! { GroupKey Status }

/// Which alerts go to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which alerts.
    pub when: Selector,
    /// To whom.
    pub to: Vec<Recipient>,
    /// Through which channels.
    pub via: Vec<Channel>,
    /// How alerts become one message; `None`: each has its own.
    pub group: Option<Grouping>,
    /// Whether messages wait for the working time of the manager's calendar.
    pub quiet_hours: bool,
    /// Whether further routes are looked at.
    pub goes_on: bool,
}

const RECIPIENT_FORM: Form = Form {
    expected: "manager, head, head_of_head, or one of {person: ID}, {user: NUMBER}, {chat: NUMBER}, {mail: ADDRESS}",
    fits: |text| ["manager", "head", "head_of_head"].contains(&text),
    pattern: "^(manager|head|head_of_head)$",
    ..ANY
};

pub(super) const RECIPIENT: ValueKind = Either(RECIPIENT_FORM, &[ADDRESSES]);

const ADDRESSES: &[KeySpec] = &[
    KeySpec::new("person", Text, "one of `people`, by id"),
    KeySpec::new("user", Count(1, i64::MAX), "a user of Bitrix24, by id"),
    KeySpec::new("chat", Count(i64::MIN, i64::MAX), "a chat of Telegram, by id"),
    KeySpec::new("mail", Of(MAILBOX), "an e-mail address"),
];

const RULES: ValueKind = Name(|| Rule::ALL.iter().map(|rule| rule.name()).collect());

const WHEN: &[KeySpec] = &[
    KeySpec::new("rule", List(&RULES, 1), "rules").described("all"),
    KeySpec::new("severity", List(&one_of::<Severity>(), 1), "severities").described("all"),
    KeySpec::new("status", List(&one_of::<Status>(), 1), "statuses")
        .described("DUE_SOON, FIRING, ESCALATED and RAISED"),
    KeySpec::new("level", Count(0, 100), "the number of escalations").described("any"),
    KeySpec::new("tenant", List(&Text, 1), "companies").described("all"),
    KeySpec::new("department", List(&Text, 1), "departments").described("all"),
    KeySpec::new("manager", List(&Text, 1), "managers").described("all"),
];

const GROUP: &[KeySpec] = &[
    KeySpec::new("by", List(&one_of::<GroupKey>(), 0), "what the alerts of a message have in common").default("[]"),
    KeySpec::new("wait", ValueKind::Span(Span::ZERO, Span::HOUR), "how long further alerts are waited for")
        .default("30s"),
    KeySpec::new("most", Count(1, 50), "the alerts that a message names; of others it says how many").default("10"),
];

pub(super) const ROUTE: &[KeySpec] = &[
    KeySpec::new("when", Keys(&[WHEN]), "which alerts").default("{}"),
    KeySpec::new("to", List(&RECIPIENT, 0), "to whom; `webhook` and `alertmanager` need nobody").default("[]"),
    KeySpec::new("via", List(&one_of::<Channel>(), 1), "through which channels").required(),
    KeySpec::new("group", Keys(&[GROUP]), "several alerts in one message").described("each alert has its own message"),
    KeySpec::new(
        "quiet_hours",
        Name(|| vec!["calendar"]),
        "`calendar`: outside the working time of the manager's calendar, messages wait for its begin and are summed up",
    )
    .described("messages are sent at any time"),
    KeySpec::new("continue", Flag, "whether further routes are looked at").default("false"),
];

pub(super) fn recipients(reader: &mut Reader<'_>, table: &Table, key: &str) -> Vec<Recipient> {
    let items: Vec<Value> = table.list(key).to_vec();
    let mut recipients = Vec::new();
    for item in &items {
        let found = match (item.text(), item.table()) {
            (Some("manager"), _) => Some(Recipient::Manager),
            (Some("head"), _) => Some(Recipient::Head),
            (Some("head_of_head"), _) => Some(Recipient::HeadOfHead),
            (_, Some(of)) => {
                let all = [
                    of.get("person").map(Recipient::Person),
                    of.get("user").map(Recipient::User),
                    of.get("chat").map(Recipient::Chat),
                    of.get("mail").map(Recipient::Mail),
                ];
                let mut set = all.into_iter().flatten();
                let found = set.next();
                if set.next().is_some() || found.is_none() {
                    reader.problem(item.line, table.path_of(key), format!("expected {}", RECIPIENT_FORM.expected));
                }
                found
            }
            _ => None,
        };
        recipients.extend(found);
    }
    recipients
}

pub(super) fn read(reader: &mut Reader<'_>, notify: &Table, targets: &Targets) -> Vec<Route> {
    let tables: Vec<Table> = notify.list("routes").iter().filter_map(Value::table).cloned().collect();
    tables.iter().filter_map(|table| route(reader, table, targets)).collect()
}

fn route(reader: &mut Reader<'_>, table: &Table, targets: &Targets) -> Option<Route> {
    let when = table.table("when")?;
    let rules = when.get::<Vec<String>>("rule").unwrap_or_default();
    let names = |key| when.get::<Vec<String>>(key).unwrap_or_default();
    let selector = Selector {
        rules: Rule::ALL.iter().copied().filter(|rule| rules.iter().any(|name| name == rule.name())).collect(),
        severities: when.get("severity").unwrap_or_default(),
        statuses: when.get("status").unwrap_or_default(),
        level: when.get::<i64>("level").and_then(|level| u32::try_from(level).ok()),
        tenants: names("tenant"),
        departments: names("department"),
        managers: names("manager"),
    };
    let to = recipients(reader, table, "to");
    let via: Vec<Channel> = table.get("via")?;
    for channel in via.iter().filter(|channel| !targets.has(**channel)) {
        let target = Targets::key_of(*channel);
        reader.problem_of(table, "via", format!("`{}` needs `notify.targets.{target}`", channel.name()));
    }
    if to.is_empty() && via.iter().any(|channel| !channel.is_program()) {
        reader.problem_of(table, "to", "expected at least one recipient");
    }
    let group = table.table("group").and_then(|group| {
        let most = group.get::<i64>("most").and_then(|most| usize::try_from(most).ok())?;
        Some(Grouping { by: group.get("by")?, wait: group.get("wait")?, most })
    });
    Some(Route {
        when: selector,
        to,
        via,
        group,
        quiet_hours: table.is_set("quiet_hours"),
        goes_on: table.get("continue")?,
    })
}

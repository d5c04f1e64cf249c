//! Owns the decision who is informed of a status, and when at the earliest.

use super::channel::Address;
use super::directory::{self, Directory};
use crate::config::notify::{Channel, GroupKey, Notify, Person, Recipient, Route};
use crate::domain::alert::Alert;
use crate::domain::norms::{Norms, ScopeQuery};
use crate::domain::rule::message::Language;
use crate::domain::time::{Span, Timestamp};

/// A message that a route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duty {
    /// To whom, and how.
    pub address: Address,
    /// When at the earliest, on the wall clock.
    pub ready_at: Timestamp,
    /// Alerts for one address with the same text are one message.
    pub group: Option<String>,
    /// The alerts that a message names.
    pub most: usize,
    /// Whether it waits for the working time of the manager, also if it could not be sent in it.
    pub is_quiet: bool,
}

/// The group of what waits for working time.
pub const QUIET: &str = "quiet";
/// The alerts that a summary names.
pub const SUMMARY_MOST: usize = 10;

/// What the routes ask for when an alert has its present status, without repetitions. `now` is the wall clock.
pub fn duties(notify: &Notify, norms: &Norms, directory: &Directory, alert: &Alert, now: Timestamp) -> Vec<Duty> {
    let mut duties: Vec<Duty> = Vec::new();
    for route in notify.routes.iter().filter(|route| route.when.fits(alert)) {
        for duty in of_route(notify, norms, directory, route, alert, now) {
            if !duties.iter().any(|known| known.address == duty.address) {
                duties.push(duty);
            }
        }
        if !route.goes_on {
            break;
        }
    }
    duties
}

/// Whether routes name recipients of an alert that only the API knows.
pub fn needs_heads(notify: &Notify, alert: &Alert) -> bool {
    let heads = |route: &Route| route.to.iter().any(|to| matches!(to, Recipient::Head | Recipient::HeadOfHead));
    notify.routes.iter().any(|route| route.when.fits(alert) && heads(route))
}

fn of_route(
    notify: &Notify,
    norms: &Norms,
    directory: &Directory,
    route: &Route,
    alert: &Alert,
    now: Timestamp,
) -> Vec<Duty> {
    let mut addresses: Vec<Address> =
        route.to.iter().flat_map(|to| reach(notify, directory, to, alert, &route.via)).collect();
    if addresses.is_empty() && !route.to.is_empty() {
        // Any channel is better than none.
        addresses.extend(notify.fallback.iter().flat_map(|to| {
            let via: Vec<Channel> = Channel::ALL.into_iter().filter(|channel| notify.targets.has(*channel)).collect();
            let mut found = reach(notify, directory, to, alert, &via);
            found.retain(|address| !matches!(address.channel, Channel::Todo | Channel::Task));
            found
        }));
    }
    let program =
        |channel: &Channel| Address { channel: *channel, to: String::new(), person: None, language: notify.language };
    addresses.extend(route.via.iter().filter(|channel| channel.is_program()).map(program));
    let opens_at = if route.quiet_hours { opening(norms, alert, now) } else { None };
    let wait = route.group.as_ref().map_or(Span::ZERO, |group| group.wait);
    let duty = |address: Address| {
        let is_program = address.channel.is_program();
        let is_quiet = route.quiet_hours && !is_program;
        let ready_at = if is_program { now } else { now + Span(notify.hold.0.max(wait.0)) };
        match opens_at.filter(|opens_at| *opens_at > ready_at && !is_program) {
            Some(opens_at) => {
                let (group, most) = (Some(QUIET.to_owned()), SUMMARY_MOST);
                Duty { address, ready_at: opens_at, group, most, is_quiet }
            }
            None => {
                let group = route.group.as_ref().filter(|_| !is_program);
                let most = group.map_or(1, |group| group.most);
                Duty { address, ready_at, group: group.map(|group| group_key(&group.by, alert)), most, is_quiet }
            }
        }
    };
    addresses.into_iter().map(duty).collect()
}

/// When working time begins again on the calendar of the alert's manager; `None`: it is now, or there is no calendar.
pub fn opening(norms: &Norms, alert: &Alert, now: Timestamp) -> Option<Timestamp> {
    let department = alert.department.as_ref().map_or(crate::domain::id::UNKNOWN, |id| id.as_str());
    let manager = alert.manager.as_ref().map(|id| id.as_str());
    let query = ScopeQuery { tenant: alert.tenant.as_str(), department, manager, pipeline: None, source: None };
    let calendar = norms.shared_scope(query).calendar.clone()?;
    let is_open = calendar.working(now, now + Span(1)) > Span::ZERO;
    if is_open { None } else { calendar.deadline(now, Span(1)) }
}

fn group_key(by: &[GroupKey], alert: &Alert) -> String {
    let value = |key: &GroupKey| match key {
        GroupKey::Tenant => alert.tenant.to_string(),
        GroupKey::Department => alert.department.as_ref().map(ToString::to_string).unwrap_or_default(),
        GroupKey::Manager => alert.manager.as_ref().map(ToString::to_string).unwrap_or_default(),
        GroupKey::Rule => alert.rule.name().to_owned(),
        GroupKey::Entity => alert.entity.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    by.iter().map(value).collect::<Vec<_>>().join("\u{1f}")
}

/// The addresses of a recipient in these channels.
fn reach(notify: &Notify, directory: &Directory, to: &Recipient, alert: &Alert, via: &[Channel]) -> Vec<Address> {
    let (tenant, manager) = (alert.tenant.as_str(), alert.manager.as_ref().map(|id| id.as_str()));
    let head = |place: usize| {
        let department = alert.department.as_ref().map(|id| id.as_str());
        directory.heads(tenant, department, manager).get(place).copied()
    };
    let direct = |channel: Channel, to: String| {
        let address = Address { channel, to, person: None, language: notify.language };
        via.contains(&channel).then_some(address).into_iter().collect()
    };
    let id = match to {
        Recipient::User(id) => return direct(Channel::Bitrix24, id.to_string()),
        Recipient::Chat(id) => return direct(Channel::Telegram, id.to_string()),
        Recipient::Mail(mail) => return direct(Channel::Mail, mail.clone()),
        Recipient::Manager => manager,
        Recipient::Head => head(0),
        Recipient::HeadOfHead => head(1),
        Recipient::Person(id) => Some(id.as_str()),
    };
    let Some(id) = id else { return Vec::new() };
    let Some(person) = directory::person(notify, tenant, id) else { return Vec::new() };
    let language = directory::language(notify, Some(person));
    via.iter().filter_map(|channel| of_person(*channel, person, id, alert, language)).collect()
}

fn of_person(channel: Channel, person: &Person, id: &str, alert: &Alert, language: Language) -> Option<Address> {
    let to = match channel {
        Channel::Bitrix24 => person.bitrix24?.to_string(),
        // They stand on a card.
        Channel::Todo | Channel::Task => {
            alert.entity.as_ref()?;
            person.bitrix24?.to_string()
        }
        Channel::Telegram => person.telegram?.to_string(),
        Channel::Mail => person.mail.clone()?,
        Channel::Webhook | Channel::Alertmanager => return None,
    };
    Some(Address { channel, to, person: Some(id.to_owned()), language })
}

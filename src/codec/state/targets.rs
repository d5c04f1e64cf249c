//! The records of targets: the figures of days, managers, closed periods, violations, and closings whose case was dropped.

use super::flaw::StateFlaw;
use super::keys;
use super::records::Records;
use super::violation::{last_status, read_last_status};
use crate::codec::proto;
use crate::domain::alert::Severity;
use crate::domain::effect::ArchivedClosing;
use crate::domain::event::Outcome;
use crate::domain::figures::row::Subject;
use crate::domain::id::{EntityId, EntityKind, ManagerId, TenantId};
use crate::domain::norms::targets::{Per, TargetFigure};
use crate::domain::rule::Rule;
use crate::domain::scoreboard::{
    DayRecord, Membership, PersonRecord, Published, TargetChange, TargetViolation, TargetViolationKey,
};
use crate::domain::time::Timestamp;
use prost::encoding::message;

impl Records {
    /// Adds a change of what is stored of targets.
    pub fn target(&mut self, tenant: &TenantId, change: &TargetChange) {
        match change {
            TargetChange::Day(manager, start, day) => self.day(tenant, manager, *start, day.as_ref()),
            TargetChange::Person(manager, person) => self.person(tenant, manager, person.as_ref()),
            TargetChange::Published(subject, target, published) => {
                self.published(tenant, subject, target, published.as_ref());
            }
            TargetChange::Violation(id, violation) => self.target_violation(tenant, id, violation.as_ref()),
        }
    }

    fn day(&mut self, tenant: &TenantId, manager: &ManagerId, start: Timestamp, day: Option<&DayRecord>) {
        let key = |key: &mut Vec<u8>| keys::of_day(tenant, manager, start, key);
        let Some(day) = day else {
            self.remove(key);
            return;
        };
        let mut counts = vec![0; TargetFigure::ALL.len()];
        day.counts.iter().for_each(|(figure, n)| counts[*figure as usize] = *n);
        let amount = |(currency, minor): &(compact_str::CompactString, i128)| proto::target_day::Amount {
            currency: currency.to_string(),
            minor: minor.to_le_bytes().to_vec(),
        };
        let message = proto::TargetDay {
            tenant_id: tenant.to_string(),
            manager_id: manager.to_string(),
            start_ms: start.0,
            known_ms: day.known.0,
            counts,
            amounts: day.amounts.iter().map(amount).collect(),
        };
        self.put(key, |out| message::encode(10, &message, out));
    }

    fn person(&mut self, tenant: &TenantId, manager: &ManagerId, person: Option<&PersonRecord>) {
        let key = |key: &mut Vec<u8>| keys::of_person(tenant, manager, key);
        let Some(person) = person else {
            self.remove(key);
            return;
        };
        let membership = |membership: &Membership| proto::target_person::Membership {
            from_ms: membership.from.0,
            department_id: membership.department.as_ref().map(ToString::to_string).unwrap_or_default(),
            active: membership.active,
        };
        let message = proto::TargetPerson {
            tenant_id: tenant.to_string(),
            manager_id: manager.to_string(),
            seen_ms: person.seen.0,
            history: person.history.iter().map(membership).collect(),
        };
        self.put(key, |out| message::encode(11, &message, out));
    }

    fn published(&mut self, tenant: &TenantId, subject: &Subject, target: &str, published: Option<&Published>) {
        let key = |key: &mut Vec<u8>| keys::of_published(tenant, subject, target, key);
        let Some(published) = published else {
            self.remove(key);
            return;
        };
        let message = proto::TargetPeriods {
            tenant_id: tenant.to_string(),
            subject: subject.to_string(),
            target: target.into(),
            per: published.per.name().into(),
            first: published.first,
            last: published.last,
        };
        self.put(key, |out| message::encode(12, &message, out));
    }

    fn target_violation(&mut self, tenant: &TenantId, id: &TargetViolationKey, violation: Option<&TargetViolation>) {
        let key = |key: &mut Vec<u8>| keys::of_target_violation(tenant, id, key);
        let Some(violation) = violation else {
            self.remove(key);
            return;
        };
        let message = proto::TargetViolationState {
            tenant_id: tenant.to_string(),
            subject: id.subject.to_string(),
            target: id.target.to_string(),
            began_ms: id.began.0,
            over: violation.ended,
            department_id: violation.department.as_ref().map(ToString::to_string),
            per: violation.per.name().into(),
            period: violation.period,
            severity: violation.severity.name().into(),
            level: violation.level,
            fact: violation.fact,
            evaluated_ms: violation.evaluated.0,
            last_status: violation.last_status.as_ref().map(last_status),
        };
        self.put(key, |out| message::encode(13, &message, out));
    }

    /// Adds a closing whose case was dropped; `None` adds its tombstone.
    pub fn closing(&mut self, tenant: &TenantId, entity: &EntityId, closing: Option<&ArchivedClosing>) {
        let key = |key: &mut Vec<u8>| keys::of_closing(tenant, entity, key);
        let Some(closing) = closing else {
            self.remove(key);
            return;
        };
        let message = proto::PastClosing {
            tenant_id: tenant.to_string(),
            entity: entity.to_string(),
            outcome: closing.outcome.name().into(),
            at_ms: closing.at.0,
            manager_id: closing.manager.as_ref().map(ToString::to_string).unwrap_or_default(),
            minor: closing.amount.as_ref().map(|(minor, _)| *minor),
            currency: closing.amount.as_ref().map(|(_, currency)| currency.to_string()).unwrap_or_default(),
        };
        self.put(key, |out| message::encode(14, &message, out));
    }
}

/// Decodes the figures of a day.
pub(super) fn read_day(day: proto::TargetDay) -> Result<(TenantId, TargetChange), StateFlaw> {
    if day.counts.len() > TargetFigure::ALL.len() {
        return Err(StateFlaw::Unknown("a figure"));
    }
    let counts = TargetFigure::ALL.into_iter().zip(day.counts).filter(|(_, n)| *n != 0).collect();
    let amount = |amount: proto::target_day::Amount| {
        let minor = amount.minor.try_into().map_err(|_| StateFlaw::Damaged)?;
        Ok((amount.currency.into(), i128::from_le_bytes(minor)))
    };
    let amounts = day.amounts.into_iter().map(amount).collect::<Result<_, _>>()?;
    let record = DayRecord { known: Timestamp(day.known_ms), counts, amounts };
    Ok((day.tenant_id.into(), TargetChange::Day(day.manager_id.into(), Timestamp(day.start_ms), Some(record))))
}

/// Decodes a manager.
pub(super) fn read_person(person: proto::TargetPerson) -> (TenantId, TargetChange) {
    let membership = |membership: proto::target_person::Membership| Membership {
        from: Timestamp(membership.from_ms),
        department: Some(membership.department_id).filter(|id| !id.is_empty()).map(Into::into),
        active: membership.active,
    };
    let history = person.history.into_iter().map(membership).collect();
    let record = PersonRecord { seen: Timestamp(person.seen_ms), history };
    (person.tenant_id.into(), TargetChange::Person(person.manager_id.into(), Some(record)))
}

/// Decodes closed periods.
pub(super) fn read_published(periods: proto::TargetPeriods) -> Result<(TenantId, TargetChange), StateFlaw> {
    let published = Published { per: per(&periods.per)?, first: periods.first, last: periods.last };
    let change = TargetChange::Published(subject(&periods.subject)?, periods.target.into(), Some(published));
    Ok((periods.tenant_id.into(), change))
}

/// Decodes a violation.
pub(super) fn read_violation(stored: proto::TargetViolationState) -> Result<(TenantId, TargetChange), StateFlaw> {
    let severity = Severity::named(&stored.severity);
    let key = TargetViolationKey {
        began: Timestamp(stored.began_ms),
        subject: subject(&stored.subject)?,
        target: stored.target.into(),
    };
    let violation = TargetViolation {
        ended: stored.over,
        department: stored.department_id.map(Into::into),
        per: per(&stored.per)?,
        period: stored.period,
        severity: severity.ok_or(StateFlaw::Unknown("a severity"))?,
        level: stored.level,
        fact: stored.fact,
        evaluated: Timestamp(stored.evaluated_ms),
        last_status: stored.last_status.map(|last| read_last_status(last, Rule::TargetBehind)).transpose()?,
    };
    Ok((stored.tenant_id.into(), TargetChange::Violation(key, Some(violation))))
}

/// Decodes a closing whose case was dropped.
pub(super) fn read_closing(stored: proto::PastClosing) -> Result<(TenantId, EntityId, ArchivedClosing), StateFlaw> {
    let (kind, id) = stored.entity.split_once(':').ok_or(StateFlaw::Damaged)?;
    let kind = EntityKind::named(kind);
    let entity = EntityId { kind: kind.ok_or(StateFlaw::Unknown("a kind of entity"))?, id: id.into() };
    let outcome = Outcome::named(&stored.outcome);
    let closing = ArchivedClosing {
        outcome: outcome.ok_or(StateFlaw::Unknown("an outcome"))?,
        at: Timestamp(stored.at_ms),
        manager: Some(stored.manager_id).filter(|id| !id.is_empty()).map(Into::into),
        amount: stored.minor.map(|minor| (minor, stored.currency.into())),
    };
    Ok((stored.tenant_id.into(), entity, closing))
}

fn per(name: &str) -> Result<Per, StateFlaw> {
    Per::named(name).ok_or(StateFlaw::Unknown("a length of periods"))
}

fn subject(text: &str) -> Result<Subject, StateFlaw> {
    match text.split_once(':') {
        None if text == "tenant" => Ok(Subject::Tenant),
        Some(("department", id)) => Ok(Subject::Department(id.into())),
        Some(("manager", id)) => Ok(Subject::Manager(id.into())),
        _ => Err(StateFlaw::Unknown("a subject")),
    }
}

//! The record of a violation of a window rule.

use super::flaw::StateFlaw;
use super::keys;
use super::records::Records;
use crate::codec::proto;
use crate::domain::alert::{Severity, Value, Values};
use crate::domain::id::TenantId;
use crate::domain::rule::{Rule, catalog};
use crate::domain::scoreboard::{LastStatus, WindowViolation, WindowViolationKey};
use crate::domain::time::{Span, Timestamp};
use prost::encoding::message;
use proto::named_value::Value as Kind;

impl Records {
    /// Adds a violation of a window rule; `None` adds its tombstone.
    pub fn violation(&mut self, tenant: &TenantId, id: &WindowViolationKey, violation: Option<&WindowViolation>) {
        let key = |key: &mut Vec<u8>| keys::violation(tenant, id, key);
        let Some(violation) = violation else {
            self.remove(key);
            return;
        };
        let message = proto::WindowViolationState {
            tenant_id: tenant.to_string(),
            manager_id: id.manager.to_string(),
            rule: id.rule.name().into(),
            window_ms: id.window.0,
            began_ms: id.began.0,
            over: violation.ended,
            department_id: violation.department.to_string(),
            severity: violation.severity.name().into(),
            level: violation.level,
            observed: violation.observed.iter().map(named).collect(),
            norm: violation.norm.iter().map(named).collect(),
            last_status: violation.last_status.as_ref().map(last_status),
        };
        self.put(key, |out| message::encode(6, &message, out));
    }
}

/// Decodes a violation.
pub(super) fn read(
    stored: proto::WindowViolationState,
) -> Result<(TenantId, WindowViolationKey, WindowViolation), StateFlaw> {
    let rule = Rule::named(&stored.rule).ok_or(StateFlaw::Unknown("a rule"))?;
    let severity = Severity::named(&stored.severity);
    let definition = catalog::definition(rule);
    let violation = WindowViolation {
        ended: stored.over,
        department: stored.department_id.into(),
        severity: severity.ok_or(StateFlaw::Unknown("a severity"))?,
        level: stored.level,
        observed: values(stored.observed, definition.observed)?,
        norm: values(stored.norm, definition.norm)?,
        last_status: stored.last_status.map(|last| read_last_status(last, rule)).transpose()?,
    };
    let key = WindowViolationKey {
        began: Timestamp(stored.began_ms),
        window: Span(stored.window_ms),
        manager: stored.manager_id.into(),
        rule,
    };
    Ok((stored.tenant_id.into(), key, violation))
}

/// The last status of a violation, also of a target.
pub(super) fn last_status(last: &LastStatus) -> proto::LastStatus {
    proto::LastStatus {
        at_ms: last.at.0,
        department_id: last.department.to_string(),
        observed: last.observed.iter().map(named).collect(),
        norm: last.norm.iter().map(named).collect(),
    }
}

/// Decodes the last status of a violation of a rule.
pub(super) fn read_last_status(last: proto::LastStatus, rule: Rule) -> Result<LastStatus, StateFlaw> {
    let definition = catalog::definition(rule);
    Ok(LastStatus {
        at: Timestamp(last.at_ms),
        department: last.department_id.into(),
        observed: values(last.observed, definition.observed)?,
        norm: values(last.norm, definition.norm)?,
    })
}

fn values(named: Vec<proto::NamedValue>, names: &[&'static str]) -> Result<Values, StateFlaw> {
    let value = |named: proto::NamedValue| {
        let name = names.iter().find(|name| **name == named.name).ok_or(StateFlaw::Unknown("a figure"))?;
        let value = match named.value.ok_or(StateFlaw::Damaged)? {
            Kind::Count(count) => Value::Count(count),
            Kind::Number(number) => Value::Number(number),
            Kind::Text(text) => Value::Text(text.into()),
        };
        Ok((*name, value))
    };
    named.into_iter().map(value).collect()
}

fn named((name, value): &(&'static str, Value)) -> proto::NamedValue {
    let value = match value {
        Value::Count(count) => Kind::Count(*count),
        Value::Number(number) => Kind::Number(*number),
        Value::Text(text) => Kind::Text(text.to_string()),
    };
    proto::NamedValue { name: name.to_string(), value: Some(value) }
}

//! The keys of state records: a prefix for the kind of record, then its ids, separated by `/`.

use crate::domain::figures::row::Subject;
use crate::domain::id::{EntityId, EntityKind, ManagerId, TenantId};
use crate::domain::scoreboard::{TargetViolationKey, WindowViolationKey};
use crate::domain::source::Offset;
use crate::domain::tenant::changelog::SourceOffset;
use crate::domain::time::Timestamp;
use std::io::Write;

/// The key of the shard record.
pub const SHARD: &[u8] = b"s";
const EVENT: &str = "e";
const HELD: &str = "h";
const CLOCK: &str = "c";
const TENANT: &str = "t";
const VIOLATION: &str = "w";
const NORMS: &str = "n";
const DAY: &str = "d";
const PERSON: &str = "m";
const PUBLISHED: &str = "p";
const TARGET_VIOLATION: &str = "b";
const CLOSING: &str = "k";

/// The decoded key of a record. Of a damaged record it is all that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKey {
    /// An applied event.
    Event(TenantId, SourceOffset),
    /// A held event.
    Held(TenantId, SourceOffset),
    /// The time of a tenant.
    Clock(TenantId),
    /// The state of a tenant.
    Tenant(TenantId),
    /// A violation of a window rule.
    Violation(TenantId),
    /// Figures, managers, closed periods or a violation of targets.
    Target(TenantId),
    /// A closing whose case was dropped.
    Closing(TenantId, EntityId),
    /// Norms, by their id.
    Norms(String),
    /// The shard record.
    Shard,
}

impl StateKey {
    /// Decodes a key; `None` if this program does not write such keys.
    pub fn read(key: &[u8]) -> Option<Self> {
        if key == SHARD {
            return Some(Self::Shard);
        }
        let (prefix, rest) = str::from_utf8(key).ok()?.split_once('/')?;
        match prefix {
            EVENT => position(rest).map(|(tenant, source)| Self::Event(tenant, source)),
            HELD => position(rest).map(|(tenant, source)| Self::Held(tenant, source)),
            CLOCK => Some(Self::Clock(unescape(rest).into())),
            TENANT => Some(Self::Tenant(unescape(rest).into())),
            VIOLATION => Some(Self::Violation(unescape(rest.split_once('/')?.0).into())),
            DAY | PERSON | PUBLISHED | TARGET_VIOLATION => Some(Self::Target(unescape(rest.split_once('/')?.0).into())),
            CLOSING => {
                let (tenant, entity) = rest.split_once('/')?;
                let (kind, id) = entity.split_once(':')?;
                let kind = EntityKind::named(kind)?;
                Some(Self::Closing(unescape(tenant).into(), EntityId { kind, id: unescape(id).into() }))
            }
            NORMS => Some(Self::Norms(rest.into())),
            _ => None,
        }
    }

    /// The name of the record type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Event(..) => "event",
            Self::Held(..) => "held event",
            Self::Clock(_) => "clock",
            Self::Tenant(_) => "tenant",
            Self::Violation(_) => "violation",
            Self::Target(_) => "target",
            Self::Closing(..) => "closing",
            Self::Norms(_) => "norms",
            Self::Shard => "shard",
        }
    }

    /// The tenant of the record, if it has one.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Event(tenant, _)
            | Self::Held(tenant, _)
            | Self::Clock(tenant)
            | Self::Tenant(tenant)
            | Self::Target(tenant)
            | Self::Closing(tenant, _)
            | Self::Violation(tenant) => Some(tenant),
            Self::Norms(_) | Self::Shard => None,
        }
    }
}

/// The tenant and the source position of an applied or held event, from its key.
pub fn source(key: &[u8]) -> Option<(TenantId, SourceOffset)> {
    match StateKey::read(key)? {
        StateKey::Event(tenant, source) | StateKey::Held(tenant, source) => Some((tenant, source)),
        _ => None,
    }
}

fn position(rest: &str) -> Option<(TenantId, SourceOffset)> {
    let (tenant, position) = rest.split_once('/')?;
    let (source, offset) = position.split_once('/')?;
    Some((unescape(tenant).into(), (source.parse().ok()?, Offset(offset.parse().ok()?))))
}

/// Writes the key of an applied event.
pub(super) fn event(tenant: &TenantId, source: SourceOffset, out: &mut Vec<u8>) {
    of_position(EVENT, tenant, source, out);
}

/// Writes the key of a held event.
pub(super) fn held(tenant: &TenantId, source: SourceOffset, out: &mut Vec<u8>) {
    of_position(HELD, tenant, source, out);
}

fn of_position(prefix: &str, tenant: &TenantId, (source, offset): SourceOffset, out: &mut Vec<u8>) {
    prefixed(prefix, tenant.as_str(), out);
    let _ = write!(out, "/{source}/{offset}");
}

/// Writes the key of the time of a tenant.
pub(super) fn clock(tenant: &TenantId, out: &mut Vec<u8>) {
    prefixed(CLOCK, tenant.as_str(), out);
}

/// Writes the key of the state of a tenant.
pub(super) fn tenant(tenant: &TenantId, out: &mut Vec<u8>) {
    prefixed(TENANT, tenant.as_str(), out);
}

/// Writes the key of a violation of a window rule.
pub(super) fn violation(tenant: &TenantId, id: &WindowViolationKey, out: &mut Vec<u8>) {
    prefixed(VIOLATION, tenant.as_str(), out);
    prefixed("", id.manager.as_str(), out);
    let _ = write!(out, "/{}/{}/{}", id.rule.name(), id.window.0, id.began.0);
}

/// Writes the key of the figures of a day.
pub(super) fn of_day(tenant: &TenantId, manager: &ManagerId, start: Timestamp, out: &mut Vec<u8>) {
    prefixed(DAY, tenant.as_str(), out);
    prefixed("", manager.as_str(), out);
    let _ = write!(out, "/{}", start.0);
}

/// Writes the key of a manager.
pub(super) fn of_person(tenant: &TenantId, manager: &ManagerId, out: &mut Vec<u8>) {
    prefixed(PERSON, tenant.as_str(), out);
    prefixed("", manager.as_str(), out);
}

/// Writes the key of closed periods.
pub(super) fn of_published(tenant: &TenantId, subject: &Subject, target: &str, out: &mut Vec<u8>) {
    prefixed(PUBLISHED, tenant.as_str(), out);
    prefixed("", &subject.to_string(), out);
    prefixed("", target, out);
}

/// Writes the key of a violation of a target.
pub(super) fn of_target_violation(tenant: &TenantId, id: &TargetViolationKey, out: &mut Vec<u8>) {
    prefixed(TARGET_VIOLATION, tenant.as_str(), out);
    prefixed("", &id.subject.to_string(), out);
    prefixed("", &id.target, out);
    let _ = write!(out, "/{}", id.began.0);
}

/// Writes the key of a closing.
pub(super) fn of_closing(tenant: &TenantId, entity: &EntityId, out: &mut Vec<u8>) {
    prefixed(CLOSING, tenant.as_str(), out);
    prefixed("", &entity.to_string(), out);
}

/// Writes the key of norms.
pub(super) fn norms(id: &str, out: &mut Vec<u8>) {
    prefixed(NORMS, id, out);
}

/// Writes a prefix and an escaped id. Ids may contain any characters; escaping keeps keys unique.
fn prefixed(prefix: &str, id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(prefix.as_bytes());
    out.push(b'/');
    for byte in id.bytes() {
        match byte {
            b'/' => out.extend_from_slice(b"%2F"),
            b'%' => out.extend_from_slice(b"%25"),
            byte => out.push(byte),
        }
    }
}

fn unescape(id: &str) -> String {
    if id.contains('%') { id.replace("%2F", "/").replace("%25", "%") } else { id.into() }
}
